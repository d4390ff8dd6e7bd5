"""A frozen base model in 4 bits: the one loader of the course, and how many bytes it takes.

QLoRA, Dettmers et al. 2023, arXiv 2305.14314, section 3. bitsandbytes does the arithmetic (chapter
10 builds it by hand), transformers puts its `Linear4bit` in the place of every linear layer.
"""

import torch

from lora_course.bits.coverage import kept_out
from lora_course.kit.models import looked_at, quiet
from lora_course.plumbing.origin import Explained


def load_four_bit(
    name=None, compute_dtype=None, double_quant=True, skip=(), device=None, quant_type="nf4"
):
    """A causal language model in eval mode whose linear layers, but the head, hold 4-bit weights.

    name: as for `load_base`: "base", a hub id or a folder; None asks $LORA_COURSE_MODEL.
    compute_dtype: type of every product and of what stays unquantized; None is float32 on a CPU,
    and on a GPU bfloat16, or float16 where the GPU has no bfloat16.
    double_quant: store the scales of the blocks in a byte each, not in float32.
    skip: ends of names of more layers to keep out of 4 bits, such as ["down_proj"].
    device: None takes the GPU when there is one, else the CPU. quant_type: "nf4" or "fp4".
    On a CPU, layers whose input width is not a multiple of 64 stay unquantized as well, with a
    warning: bitsandbytes 0.50 reads them back with the wrong scales where there is AVX-512.
    Weights that are no layers, such as stacks of experts, stay as they are, with a warning.
    Raises OSError for what `load_base` refuses, ValueError when `skip` names no linear layer, no
    layer is left for 4 bits, or this machine does not read 4 bits back right.
    """
    from transformers import AutoModelForCausalLM

    quiet()
    source = looked_at(name)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    compute_dtype = compute_dtype or best_dtype(device)
    keep = kept_out(source, skip, device)
    with Explained(source, "model"):
        model = AutoModelForCausalLM.from_pretrained(
            source,
            quantization_config=four_bit_config(compute_dtype, double_quant, quant_type, keep),
            dtype=compute_dtype,
            device_map={"": device},
        )
    return keep_packing(model).eval()


# owned by chapter 11
def four_bit_config(compute_dtype, double_quant=True, quant_type="nf4", keep=None):
    """The settings of QLoRA for transformers. None of them is the default: those are FP4, no
    double quantization, and products in float32.

    keep: names of layers that stay unquantized. None keeps the output head out. A list takes the
    place of that rule: it must name the head as well.
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quant_type,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=keep,
    )


# owned by chapter 11
def keep_packing(model):
    """Forbid every `Linear4bit` to repack its weight, for good; returns the model.

    bitsandbytes 0.50 repacks a 4-bit weight in the first `eval()` forward on a CPU with the
    instruction AVX512-BF16. From then on backward loses the gradient that flows through the layer,
    without an error, and a merge reads the bytes in the wrong order. Call this before any forward.
    """
    for layer in four_bit_layers(model).values():
        layer.support_avx512bf16_for_cpu = False
    return model


# owned by chapter 11
def four_bit_layers(model):
    """The layers that hold 4-bit weights, {name: layer}."""
    from bitsandbytes.nn import Linear4bit

    return {name: m for name, m in model.named_modules() if isinstance(m, Linear4bit)}


# owned by chapter 11
def bytes_by_part(model):
    """Measure the weights of a model in bytes: {"4-bit", "constants", "rest", "adapter"}.

    "4-bit": two weights a byte. "constants": their scales and tables. "adapter": parameters with
    "lora_" in their name. "rest": every other parameter, a tied one once. Buffers do not count.
    """
    parts = dict.fromkeys(("4-bit", "constants", "rest", "adapter"), 0)
    packed = [layer.weight for layer in four_bit_layers(model).values()]
    for weight in packed:
        parts["4-bit"] += weight.nbytes
        parts["constants"] += sum(t.nbytes for t in constants(weight.quant_state))
    known = {id(weight) for weight in packed}
    for name, p in model.named_parameters():
        if id(p) not in known:
            parts["adapter" if "lora_" in name else "rest"] += p.nbytes
    return parts


# owned by chapter 11
def constants(state):
    """The tensors that bitsandbytes keeps beside a 4-bit weight: scales, tables, an offset."""
    own = [state.absmax, state.code]
    return own if not state.nested else [*own, state.offset, *constants(state.state2)]


def best_dtype(device):
    """The type to compute in on a device: float32 on a CPU, 16 bits on a GPU."""
    if torch.device(device).type != "cuda":
        return torch.float32
    return (
        torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    )
