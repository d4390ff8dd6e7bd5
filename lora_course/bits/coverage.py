"""Which layers of a model go into 4 bits, looked up before a weight is read."""

import warnings

import torch

from lora_course.plumbing.model_facts import share, stacks
from lora_course.plumbing.origin import Explained

BLOCK = 64  # weights that share a scale; the default of bitsandbytes


def kept_out(source, skip, device):
    """Names of the layers that `load_four_bit` leaves unquantized; see there for the arguments."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.quantizers.base import get_keys_to_not_convert

    with Explained(source, "model"), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
    widths = {name: width(m) for name, m in model.named_modules() if width(m)}
    missed = [end for end in skip if not any(name.endswith(end) for name in widths)]
    if missed:
        ends = sorted({name.split(".")[-1] for name in widths})
        raise ValueError(f"No linear layer has a name that ends in {missed}. Choose from {ends}.")
    keep = [*get_keys_to_not_convert(model), *skip]
    misread = [name for name, size in widths.items() if size % BLOCK] * (device.type == "cpu")
    if misread := [name for name in misread if not any(name.endswith(end) for end in keep)]:
        warnings.warn(
            f"{len(misread)} of {len(widths)} layers, such as {misread[0]}, stay out of 4 bits: a "
            "CPU with AVX-512 reads only layers back right whose input width is a multiple of "
            f"{BLOCK}.",
            stacklevel=3,
        )
    rest = [n for n in widths if not any(n.endswith(end) for end in (*keep, *misread))]
    if not rest:
        raise ValueError(
            f"Nothing of {source} would be in 4 bits: of its {len(widths)} linear layers, such as "
            f"{next(iter(widths), 'none')}, all stay out. Use load_base(), or skip fewer layers."
        )
    if experts := stacks(model):
        warnings.warn(
            f"4 bits cover {share(model, rest):.0%} of this model's numbers: {len(experts)} stacks "
            f"of experts, such as {next(iter(experts))}, are no layers and stay unquantized.",
            stacklevel=3,
        )
    compare({widths[name] for name in rest}, device)
    return [*keep, *misread]


def compare(widths, device):
    """Raise ValueError where weights of one of these input widths do not come back from 4 bits.

    Tried on this machine with random weights, (64, width). Right are about 10 % off; weights that
    are read with the scales of others, or in another order, are off by much more.
    """
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    draw = torch.Generator().manual_seed(0)
    for n in sorted(widths):
        W = torch.randn(64, n, generator=draw) * torch.logspace(-1, 1, 64)[:, None]
        W = W.to(device)
        packed, state = quantize_4bit(W, blocksize=BLOCK, quant_type="nf4")
        off = ((dequantize_4bit(packed, state) - W).norm() / W.norm()).item()
        if not off < 0.2:
            raise ValueError(
                f"On this {device.type}, 4-bit weights of width {n} come back {off:.0%} off, and "
                "about 10 % are right. Use load_base(), another device, or another version of "
                "bitsandbytes."
            )


def width(layer):
    """Input width of a layer that can be quantized, else None."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(layer, Conv1D):
        return layer.weight.shape[0]
    return layer.in_features if isinstance(layer, torch.nn.Linear) else None
