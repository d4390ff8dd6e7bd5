"""Which parameters were added to a model by an adapter method, whichever it is.

Nothing here knows one library only: PEFT's layers say what they added; for all others the model is
built once more without numbers (on the device "meta"), and what is not in it was added.
"""

import copy
import re

import torch

from lora_course.preflight.adapted import ADDED, pretrained

OWN_WORDS = re.compile(r"(^|[._])(adapter|prompt|prefix|magnitude)([._]|$)", re.I)


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
    if any(OWN_WORDS.search(name) for name in found):  # some models have such a module themselves
        own = _architecture(model)
        found -= {n for n in found if n.removeprefix("base_model.model.") in own}
    return found | _not_in_architecture(model, names - found)


def _architecture(model):
    """{name: shape} of the transformers model inside, built anew without numbers; or {}."""
    known = pretrained(model)
    try:
        with torch.device("meta"):
            fresh = type(known)(copy.deepcopy(known.config))
    except Exception:  # a class that cannot be built from its config alone
        return {}
    return {name: p.shape for name, p in fresh.named_parameters(remove_duplicate=False)}


def _not_in_architecture(model, names):
    """Names that the architecture does not have, found by building it once more without numbers."""
    known = pretrained(model)
    prefix = next((n for n, m in model.named_modules() if m is known), "")
    if known is None:
        return _low_rank(model)
    if not _has_custom(model):
        return set()
    shapes = _architecture(model)
    if not shapes:
        return set()
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


def _low_rank(model):
    """Two factors beside a larger matrix whose sides they have, in modules of any class."""
    found = set()
    for where, module in model.named_modules():
        inside = {n: p for n, p in module.named_parameters() if p.dim() == 2 and n.count(".") < 3}
        if len(inside) != 3 or type(module).__module__.split(".")[0] == "torch":
            continue
        names = sorted(inside, key=lambda n: -inside[n].numel())
        sides = set(inside[names[0]].shape)
        one, two = (set(inside[n].shape) for n in names[1:])
        thin = [r for r in one & two if r < min(sides)]
        if thin and (one | two) - {thin[0]} <= sides:
            found |= {f"{where}.{n}".lstrip(".") for n in names[1:]}
    return found


def _has_custom(model):
    """True when some module is of a class that neither torch nor transformers nor PEFT brings."""
    kinds = {type(module).__module__.split(".")[0] for module in model.modules()}
    return bool(kinds - {"torch", "transformers", "peft", "bitsandbytes", "trl"})
