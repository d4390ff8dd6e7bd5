"""Which of a model's parameters make up an update, and which train because a config says so."""

import re
from dataclasses import dataclass

import torch

ADDED = re.compile(
    r"(^|[._])(lora|loha|lokr|hada|ia3|vera|oft|boft|dora|vblora|randlora|adapter|prompt_encoder"
    r"|prompt|prefix|magnitude)([._]|$)",
    re.I,
)
HALVES = [
    ("lora_A", "lora_E"),  # AdaLoRA: the update is zero while E is
    ("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"), ("lora_a", "lora_b"),
    ("lora_down", "lora_up"), ("down", "up"), ("A", "B"), ("a", "b"), ("lora_1", "lora_2"),
    ("W_A", "W_B"), ("w_a", "w_b"), ("adapter_a", "adapter_b"), ("adapter_A", "adapter_B"),
    ("vera_lambda_d", "vera_lambda_b"), ("lora_lambda_d", "lora_lambda_b"),
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


def layer_of(name):
    """The adapted layer that an added parameter belongs to, by its name."""
    hit = ADDED.search(name)
    return name[: hit.start()] if hit else _host(name)


def is_declared(model):
    """A function name -> True for parameters that a PEFT config says shall train as well."""
    found = [getattr(module, "peft_config", None) for module in model.modules()]
    configs = next((configs.values() for configs in found if isinstance(configs, dict)), ())
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
