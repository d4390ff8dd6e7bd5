"""Merging an adapter into the weights, W + (lora_alpha / r) * B @ A, and swapping adapters.

Hu et al. 2021, arXiv 2106.09685, section 4.1 (no extra latency) and section 4.2 (task switching).
A LoRA layer always adds its update. So the merged model does not keep it: merge() puts the plain
base layer in its place, with the new weight, and nothing is left that could add the update again.
What comes out is a model of the base's own shape, and can be saved as one.
"""

import math
import warnings
from collections import Counter
from contextlib import contextmanager

import torch
from torch import nn

from lora_course.inject import lora_layers


# owned by chapter 07
def compared(W, update, merged):
    """The sum of squares of an update, and of what rounding took from it: (2,), float64."""
    error = (merged.to(update.dtype) - W).sub_(update)
    return torch.stack([t.norm() for t in (update, error)]).double().square().cpu()


# owned by chapter 07
def warn_of_rounding(update, error, dtype):
    """Warn when rounding took more than half of an update. update, error: sums of squares."""
    if error > update / 4:
        warnings.warn(
            f"Rounding to {dtype} took {math.sqrt(error / update):.0%} of the update away. Merge "
            "into a float32 copy of the base, or keep the adapter beside it.",
            stacklevel=3,
        )


# owned by chapter 07
def merge(model):
    """Fold every update into its base weight and take the LoRA layers out. Changes the model.

    Each sum is computed in the type of the factors, float32 or more, and rounded once to the type
    of the weight. Warns when rounding took more than half of the update: small steps vanish beside
    large weights in 16 bits. A weight that another layer shares is not changed under it: the merged
    layer gets a weight of its own.
    model.merged then holds what unmerge() needs, {name: (LoRA layer, shared weight or None)}.
    Delete it to make the merge final.
    Raises ValueError, and changes nothing, for a model that is merged already, has no LoRA layers
    inside, has packed (8-bit, 4-bit) weights, or LoRA in a convolution with groups.
    """
    if any(getattr(module, "merged", None) for module in model.modules()):
        raise ValueError("This model is merged already: again, its update would count twice.")
    layers = lora_layers(model, remove_duplicate=False)  # a layer used twice has two names
    if not layers or "" in layers:
        raise ValueError("There are no LoRA layers inside this model. Give the model around them.")
    if not all(layer.base_layer.weight.is_floating_point() for layer in layers.values()):
        raise ValueError("The base holds packed weights: dequantize it first, then merge.")
    if any(getattr(layer.base_layer, "groups", 1) > 1 for layer in layers.values()):
        raise ValueError("With groups, A reads channels that the weight has no place for.")
    users = Counter(p for module in model.modules() for p in module.parameters(recurse=False))
    shared = {m: W for m in layers.values() if users[W := m.base_layer.weight] > 1}
    squares = 0
    for layer, base in {layer: layer.base_layer for layer in layers.values()}.items():
        W, update = base.weight.detach(), layer.get_delta_weight().detach()  # (out, in)
        base.weight = nn.Parameter((W + update).to(W.dtype), False)  # frozen, as it was
        squares = squares + compared(W, update, base.weight)
    for name, layer in layers.items():
        model.set_submodule(name, layer.base_layer)
    model.merged = {name: (layer, shared.get(layer)) for name, layer in layers.items()}
    types = {layer.base_layer.weight.dtype for layer in layers.values()}
    warn_of_rounding(*squares.tolist(), max(types, key=lambda t: torch.finfo(t).eps))


# owned by chapter 07
def unmerge(model):
    """Take the updates off again and put the LoRA layers back. Changes the model.

    The update is subtracted, so a weight comes back up to the rounding of two sums; a shared one
    comes back itself. Where every bit counts, keep a copy of the base.
    Raises ValueError, and changes nothing, when the model is not merged, or a layer was replaced.
    """
    merged = getattr(model, "merged", {})
    if not merged or any(model.get_submodule(n) is not m[0].base_layer for n, m in merged.items()):
        raise ValueError("This model is not merged, or merged layers were replaced since.")
    for layer, original in dict.fromkeys(merged.values()):
        W = layer.base_layer.weight
        layer.to(W.device).train(layer.base_layer.training)  # may have changed since the merge
        rest = (W - layer.get_delta_weight()).to(W.dtype).detach()  # (out, in)
        layer.base_layer.weight = nn.Parameter(rest, False) if original is None else original
    for name, (layer, _) in merged.items():
        model.set_submodule(name, layer)
    del model.merged


# owned by chapter 07
@contextmanager
def adapter(model, state):
    """Inside the block the model has this adapter; after it what it had before, bit for bit.

    That holds after an error, too. A merge that is made inside the block ends with it.
    state: {name: tensor} as lora_state_dict() gives it, of an adapter with the same r and
    lora_alpha, which are not part of it.
    Raises ValueError when names or shapes do not fit; the model is then as it was.
    """
    places = {n: p.detach() for n, p in model.named_parameters() if ".lora_" in f".{n}"}
    if not places:
        raise ValueError("There is no room for an adapter: inject LoRA, or unmerge, first.")
    for name in {**places, **state}:
        place, value = places.get(name), state.get(name)
        if place is None or value is None or place.shape != value.shape:
            place, value = ("nothing" if t is None else tuple(t.shape) for t in (place, value))
            raise ValueError(
                f"The adapter does not fit: {name} is {value} in it, and {place} in the model. "
                "Load it into a model that was injected as for its training."
            )
    before = {name: place.clone() for name, place in places.items()}
    for name, place in places.items():
        place.copy_(state[name])
    try:
        yield model
    finally:
        if getattr(model, "merged", None):
            unmerge(model)
        for name, place in places.items():
            place.copy_(before[name])


# owned by chapter 07
def concatenate(states, scalings, weights=None):
    """One adapter whose update is the sum of several: rows of A under rows, columns of B beside.

    states: one {name: tensor} for each adapter, with the same names; their r may differ.
    scalings: lora_alpha / r of each. weights: a factor for each; None takes 1 for all.
    Returns the {name: tensor} of rank r_1 + r_2 + ..., for layers with lora_alpha = r, because the
    scalings went into B.
    Raises ValueError when the lists differ in length or the adapters cover different layers.
    """
    weights = [1.0] * len(states) if weights is None else weights
    if not states or not len(states) == len(scalings) == len(weights):
        counts = f"{len(states)} states, {len(scalings)} scalings and {len(weights)} weights"
        raise ValueError(f"Got {counts}: give one scaling and one weight for each adapter.")
    if odd := {name for state in states for name in state.keys() ^ states[0].keys()}:
        raise ValueError(f"Not every adapter has {min(odd)}. All must cover the same layers.")
    factors = [w * s for w, s in zip(weights, scalings, strict=True)]
    joined = {}
    for name in states[0]:
        parts = [state[name] for state in states]
        if name.endswith("lora_B"):
            parts = [c * B for c, B in zip(factors, parts, strict=True)]
        joined[name] = torch.cat(parts, dim=1 if name.endswith("lora_B") else 0)
    return joined
