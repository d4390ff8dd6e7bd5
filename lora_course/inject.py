"""Putting LoRA into a model: find the layers by a rule, wrap them in place, freeze the rest.

Hu et al. 2021, arXiv 2106.09685, section 4.2: some of the weight matrices get an update, everything
else stays frozen. The rules mean what they mean in PEFT, but a rule without a hit is an error.
"""

import re
from difflib import get_close_matches

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.lora import LoRAConv1D, LoRAEmbedding, LoRALinear
from lora_course.plumbing.model_facts import fitting

LINEAR = (nn.Linear, Conv1D)  # owned by chapter 04
KINDS = (*LINEAR, nn.Embedding)  # owned by chapter 04


# owned by chapter 04
def find_targets(model, target_modules, kinds=KINDS):
    """Names of the layers that a rule hits, in the order of the model.

    target_modules: a list of endings (["q_proj", "mlp.up_proj"]), or one regular expression that
    must match the whole name, or "all-linear": every Linear and Conv1D except the output head.
    kinds: the classes of layers that are looked at.
    Raises ValueError, with near misses, when the rule or one entry of the list hits no layer; and
    with the reason when LoRA on what it hits would be lost, or is not all that it promises.
    """
    layers = {n: m for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, kinds)}
    layers.pop("", None)  # the model itself has no place in which to be replaced
    if target_modules == "all-linear":
        head = getattr(model, "get_output_embeddings", lambda: None)()
        hits = [n for n, m in layers.items() if isinstance(m, LINEAR) and m is not head]
        found = {target_modules: hits}
    elif isinstance(target_modules, str):
        found = {target_modules: [n for n in layers if full_match(target_modules, n)]}
    else:
        found = {e: [n for n in layers if f".{n}".endswith(f".{e}")] for e in target_modules or ()}
    if not found or not all(found.values()):
        raise ValueError(no_hit(found, layers))
    return fitting(model, layers, found)  # in the model's order, if LoRA works there


# owned by chapter 04
def inject_lora(model, target_modules="all-linear", r=8, lora_alpha=16, lora_dropout=0, seed=None):
    """Wrap the layers that the rule hits, freeze everything but their factors; returns the model.

    The model itself is changed, and its output is not: B is zero. A layer used in two places gets
    one wrapper. Build the optimizer after this call.
    target_modules: see find_targets. r, lora_alpha, lora_dropout: see LoRALinear.
    seed: torch.manual_seed(seed) before A is drawn; None draws on from where torch stands.
    Raises ValueError when the rule hits nothing, a value is out of range, or there is LoRA already;
    the model is then as it was.
    """
    if lora_layers(model):
        raise ValueError("This model has LoRA already: load a fresh base model and inject once.")
    bases = {name: model.get_submodule(name) for name in find_targets(model, target_modules)}
    trained = [p for p in model.parameters() if p.requires_grad]
    if seed is not None:
        torch.manual_seed(seed)
    try:
        wrapped = {base: wrap(base, r, lora_alpha, lora_dropout) for base in bases.values()}
    except BaseException:
        nn.ParameterList(trained).requires_grad_(True)  # the wrappers froze some of them
        raise
    for name, base in bases.items():
        model.set_submodule(name, wrapped[base])
    mark_only_lora_as_trainable(model)
    return model


# owned by chapter 04
def mark_only_lora_as_trainable(model):
    """Freeze every parameter but those of LoRA. Raises ValueError when there are none."""
    if not lora_layers(model):
        raise ValueError("This model has no LoRA layers, so nothing would train: inject first.")
    for name, p in model.named_parameters():
        p.requires_grad = ".lora_" in f".{name}"


# owned by chapter 04
def lora_layers(model, remove_duplicate=True):
    """The layers that have LoRA, {name: layer}.

    remove_duplicate: a layer used in two places has one entry; False gives it both names.
    """
    named = model.named_modules(remove_duplicate=remove_duplicate)
    return {name: layer for name, layer in named if hasattr(layer, "lora_A")}


def widths(layer):
    """(in, out) of a Linear or Conv1D, also where its weight is packed into 4 bits."""
    linear = isinstance(layer, nn.Linear)
    return (layer.in_features, layer.out_features) if linear else tuple(layer.weight.shape)


def lora_targets(model):
    """The target_modules that hit the layers of this model's LoRA again, and no others.

    Endings such as "q_proj", or whole names where the endings would hit more layers than these.
    """
    layers = lora_layers(model)
    endings = {name.split(".")[-1] for name in layers}
    hit = {name for name, _ in model.named_modules() if name.split(".")[-1] in endings}
    return sorted(endings if hit == layers.keys() else layers)


# owned by chapter 04
def count_parameters(model):
    """(trainable, total): how many numbers train, and how many there are; tied ones count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


# owned by chapter 04
def wrap(base, r, lora_alpha, lora_dropout):
    """The LoRA layer around `base`, in the mode (train or eval) of the base."""
    if isinstance(base, nn.Embedding):  # a token id cannot be partly dropped
        return LoRAEmbedding(base, r, lora_alpha).train(base.training)
    kind = LoRALinear if isinstance(base, nn.Linear) else LoRAConv1D
    return kind(base, r, lora_alpha, lora_dropout).train(base.training)


def full_match(pattern, name):
    try:
        return re.fullmatch(pattern, name)
    except re.error as error:
        raise ValueError(
            f"The rule {pattern!r} is not a regular expression ({error}). Any text is `.*` in one, "
            "and a dot is `\\.`; or give a list of name endings."
        ) from error


def no_hit(found, layers):
    """The message for rules that hit nothing: what was given, what comes near, what to give."""
    missed = [rule for rule, names in found.items() if not names]
    parts = [".".join(name.split(".")[-n:]) for name in layers for n in (1, 2)]
    endings = list(dict.fromkeys(parts))
    words = [w.strip(".") for rule in missed for w in re.split(r"[^\w.]+", str(rule).lower())]
    near = []
    for word in filter(None, words):
        near += [e for e in endings if word in e][:2] or get_close_matches(word, endings, 2, 0.5)
    near = list(dict.fromkeys(near)) or sorted({name.split(".")[-1] for name in layers})
    return (
        f"No layer is hit by {', '.join(map(repr, missed)) or 'an empty list'}. "
        f"Near misses: {', '.join(near) or 'none, the model has no linear layer'}. "
        "A list holds name endings, compared letter by letter; a string is one regular expression "
        'for the whole name, or "all-linear".'
    )
