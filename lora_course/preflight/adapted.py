"""Whose adapters are these? Which parameters were added to a model, and which make up an update.

Nothing here knows one library only: PEFT's layers say what they added; for all others the model is
built once more without numbers (on the device "meta"), and what is not in it was added.
"""

import copy
import re
from dataclasses import dataclass

import torch

ADDED = re.compile(
    r"(^|[._])(lora|loha|lokr|hada|ia3|vera|oft|boft|dora|vblora|randlora|adapter|prompt_encoder"
    r"|prompt|prefix|magnitude)([._]|$)",
    re.I,
)
WRAPPED = re.compile(r"(^|\.)(_orig_mod|module|base_layer|base_model\.model|original_module)(?=\.)")
HALVES = [
    ("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"), ("lora_a", "lora_b"),
    ("lora_down", "lora_up"), ("down", "up"), ("A", "B"), ("a", "b"), ("lora_1", "lora_2"),
    ("W_A", "W_B"), ("w_a", "w_b"), ("adapter_a", "adapter_b"), ("adapter_A", "adapter_B"),
    ("vera_lambda_d", "vera_lambda_b"),
]  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two factors of one layer's update. layer: the name of the module that holds them."""

    layer: str
    names: tuple
    first: torch.Tensor
    second: torch.Tensor

    def is_zero(self):
        """True when the update is zero because one factor is."""
        return not (self.first.detach().any() and self.second.detach().any())


def inner(model):
    """The model without the wrappers of compilation, of accelerate and of several GPUs."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif type(model).__name__ in ("DistributedDataParallel", "DataParallel", "FSDP"):
            model = model.module
        else:
            return model


def pretrained(model):
    """The transformers model inside of whatever wraps it, or None."""
    for module in inner(model).modules():
        if hasattr(module, "base_model_prefix") and hasattr(module, "config_class"):
            return module
    return None


def added_names(model):
    """Names of the parameters that an adapter method added; () when there is no adapter."""
    names = {name for name, _ in model.named_parameters()}
    found = {name for name in names if ".modules_to_save." not in name and ADDED.search(name)}
    for where, module in model.named_modules():
        if hasattr(module, "active_adapters") and hasattr(module, "adapter_layer_names"):
            for part in module.adapter_layer_names:
                prefix = f"{where}.{part}".lstrip(".")
                found |= {n for n in names if n == prefix or n.startswith(f"{prefix}.")}
    found = {name for name in found if ".modules_to_save." not in name}
    return found | _not_in_architecture(model, names - found)


def _not_in_architecture(model, names):
    """Names that the architecture does not have, found by building it once more without numbers."""
    known = pretrained(model)
    prefix = next((n for n, m in model.named_modules() if m is known), "")
    if known is None or not _has_custom(model):
        return set()
    try:
        with torch.device("meta"):
            fresh = type(known)(copy.deepcopy(known.config))
    except Exception:  # a class that cannot be built from its config alone
        return set()
    shapes = {n: p.shape for n, p in fresh.named_parameters(remove_duplicate=False)}
    whole = {n: m.shape for n, m in known.named_parameters(remove_duplicate=False)}
    start = f"{prefix}." if prefix else ""
    mine = {n for n in names if n.startswith(start)}
    odd = {n for n in mine if n.removeprefix(start) not in shapes and ".modules_to_save." not in n}
    gone = {n.rpartition(".")[0] for n in shapes.keys() - whole.keys()}
    base = set()
    for place in gone:  # the wrapper at `place` holds the lost weight somewhere
        inside = [n for n in odd if n.removeprefix(start).startswith(f"{place}.")]
        sizes = {tuple(shapes[n]) for n in shapes if n.rpartition(".")[0] == place}
        base |= {n for n in inside if tuple(whole[n.removeprefix(start)]) in sizes}
    outside = {n for n in names - mine}
    return (odd | outside) - base


def _has_custom(model):
    """True when some module is of a class that neither torch nor transformers nor PEFT brings."""
    kinds = {type(module).__module__.split(".")[0] for module in model.modules()}
    return bool(kinds - {"torch", "transformers", "peft", "bitsandbytes", "trl"})


def is_declared(model):
    """A function name -> True for parameters that a PEFT config says shall train as well."""
    configs = getattr(model, "peft_config", {})
    configs = configs.values() if isinstance(configs, dict) else [configs]
    biases = {getattr(config, "bias", "none") for config in configs}

    def declared(name):
        if ".modules_to_save." in name or "trainable_tokens" in name:
            return True
        return bool(biases - {"none", None}) and name.endswith("bias")

    return declared


def find_pairs(model, added):
    """The factors of every update, as Pairs: by their names, and else by their shapes."""
    params = {n: p for n, p in model.named_parameters() if n in added}
    found, used = [], set()
    for name, p in params.items():
        for one, two in HALVES:
            other = re.sub(rf"(^|\.){one}(?=\.|$)", rf"\g<1>{two}", name)
            if other != name and other in params and not used & {name, other}:
                place = re.split(rf"(?:^|\.){one}(?=\.|$)", name)[0]
                found.append(Pair(place, (name, other), p, params[other]))
                used |= {name, other}
    rest = {}
    for name, p in params.items():
        if name not in used and p.dim() == 2:
            rest.setdefault(_host(name), []).append((name, p))
    for place, factors in rest.items():
        if len(factors) == 2 and set(factors[0][1].shape) & set(factors[1][1].shape):
            (one, p), (two, q) = factors
            found.append(Pair(place, (one, two), p, q))
    return found


def _host(name):
    """The module that two factors share: their name without its last parts."""
    parts = name.removesuffix(".weight").split(".")
    return ".".join(parts[:-1])


def base_name(name):
    """A parameter's name as the base model has it."""
    while (shorter := WRAPPED.sub("", name).lstrip(".")) != name:
        name = shorter
    return name
