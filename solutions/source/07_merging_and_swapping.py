# %% [markdown]
# # Exercises 07: Merging and swapping
#
# Five exercises to the chapter
# [Merging and swapping](../chapters/07_merging_and_swapping.ipynb). Write your code in
# place of the line that raises `NotImplementedError`, run the cell, then run the check
# under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
from contextlib import contextmanager

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.checks import ch07 as check

# %% [markdown]
# ## Exercise
#
# This layer stays where it is and remembers in `self.merged` whether its update is in
# the weight. Write the three methods. `merge` folds the scaled update into
# `base_layer.weight`, `unmerge` takes it off, and `forward` gives the same output in
# both states. The base is an `nn.Linear`, weight `(out, in)`, or a `Conv1D`, weight
# `(in, out)`; some are square. The weight stays frozen. In both states gradients reach
# `x`; unmerged they reach `lora_A` and `lora_B` too, whose values may change before the
# next merge.

# %% exercise="merge_layer"
class LoRALayer(nn.Module):
    """A frozen base layer and an update that can be folded into it.

    base_layer: nn.Linear or Conv1D. lora_A: (r, in). lora_B: (out, r).
    lora_alpha: the update is scaled by lora_alpha / r.
    """

    def __init__(self, base_layer, lora_A, lora_B, lora_alpha):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A, self.lora_B = nn.Parameter(lora_A), nn.Parameter(lora_B)
        self.scaling = lora_alpha / lora_A.shape[0]
        self.merged = False

    def delta(self):
        """The scaled update, in the layout of base_layer.weight."""
        ### BEGIN SOLUTION
        delta = self.scaling * self.lora_B @ self.lora_A  # (out, in)
        return delta.T if isinstance(self.base_layer, Conv1D) else delta
        ### END SOLUTION

    def merge(self):
        """Fold the update into base_layer.weight, in place or by a new weight."""
        ### BEGIN SOLUTION
        with torch.no_grad():
            self.base_layer.weight += self.delta()
        self.merged = True
        ### END SOLUTION

    def unmerge(self):
        """Take the update off again."""
        ### BEGIN SOLUTION
        with torch.no_grad():
            self.base_layer.weight -= self.delta()
        self.merged = False
        ### END SOLUTION

    def forward(self, x):
        """x: (..., in). Returns (..., out)."""
        ### BEGIN SOLUTION
        out = self.base_layer(x)  # (..., out)
        if self.merged:
            return out
        return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
        ### END SOLUTION


# %%
check.merge_layer(LoRALayer)

# %% [markdown]
# ## Exercise
#
# `merge_all` gets a list of layers. Each has `base_layer.weight`, `merged` (True or
# False), and `get_delta_weight()`, which returns the scaled update in the right layout,
# as a result of trainable factors. Merge them all and set their `merged`; the weights
# stay frozen. If even one of them is merged already, raise a `ValueError`, and leave
# every weight and every `merged` as it was.

# %% exercise="merge_all"
def merge_all(layers):
    """Merge every layer, or none.

    layers: list of layers with base_layer, merged and get_delta_weight().
    Raises ValueError, before any weight changes, when one is merged already.
    """
    ### BEGIN SOLUTION
    if any(layer.merged for layer in layers):
        raise ValueError("A layer is merged already: unmerge it first.")
    for layer in layers:
        layer.base_layer.weight.data += layer.get_delta_weight()
        layer.merged = True
    ### END SOLUTION


# %%
check.merge_all(merge_all)

# %% [markdown]
# ## Exercise
#
# Write a context manager. Inside the `with` block the model's LoRA factors have the
# values of `state`. After the block they have their old values again, also when the
# code inside raised an error; the error goes on. The code inside may train the model,
# so gradients are on there; the tensors in `state` stay as they are all the same. The
# rest of the model, and the parameters themselves, are left alone: only the values of
# the factors change and come back.

# %% exercise="adapter"
@contextmanager
def adapter(model, state):
    """The model with another adapter, for the time of a `with` block.

    model: its LoRA factors are among model.named_parameters().
    state: {name: tensor} for every LoRA factor, and for nothing else.
    """
    ### BEGIN SOLUTION
    places = {n: p.data for n, p in model.named_parameters() if n in state}
    before = {n: place.clone() for n, place in places.items()}
    for name, place in places.items():
        place.copy_(state[name])
    try:
        yield
    finally:
        for name, place in places.items():
            place.copy_(before[name])
    ### END SOLUTION


# %%
check.adapter(adapter)

# %% [markdown]
# ## Exercise
#
# A merge adds `update` to a bfloat16 weight and rounds the sum to bfloat16. Write two
# functions, each worth half of the points. `half_unit` returns half the distance from
# |weight| to the next larger bfloat16: between two powers of two the 128 numbers are
# evenly spaced. `survives` returns True where the weight is another number after the
# merge. Mind the edges: a sum in the middle of two numbers goes to the one whose last
# bit is 0, and below a power of two the numbers lie closer. Leave the inputs unchanged.

# %% exercise="rounding"
def half_unit(weight):
    """Half a unit in the last place of bfloat16.

    weight: (n,) float32, values of bfloat16, not zero. Returns (n,).
    """
    ### BEGIN SOLUTION
    exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= |weight|
    return 2.0 ** (exponent - 8)
    ### END SOLUTION


def survives(weight, update):
    """Does the merged bfloat16 weight differ from the old one?

    weight: (n,) float32, values of bfloat16. update: (n,) float32.
    Returns (n,) of True and False.
    """
    ### BEGIN SOLUTION
    return (weight + update).bfloat16() != weight.bfloat16()
    ### END SOLUTION


# %%
check.rounding(half_unit, survives)

# %% [markdown]
# ## Exercise
#
# Return one adapter whose update is the sum of two. A1 is `(r1, in)`, B1 `(out, r1)`,
# A2 `(r2, in)`, B2 `(out, r2)`. The ranks and the alphas may differ. The result has
# rank `r1 + r2` and an alpha of your choice. The four tensors stay as they are.

# %% exercise="add_adapters"
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    """One adapter for the sum of two updates.

    Returns (A, B, alpha): A (r, in), B (out, r), r = r1 + r2, so that
    alpha / r * B @ A = alpha1 / r1 * B1 @ A1 + alpha2 / r2 * B2 @ A2.
    """
    ### BEGIN SOLUTION
    r1, r2 = len(A1), len(A2)
    A = torch.cat([A1, A2])  # (r1 + r2, in)
    B = torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)  # (out, r1 + r2)
    return A, B, r1 + r2
    ### END SOLUTION


# %%
check.add_adapters(add_adapters)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Just above 2⁻¹⁰, about 0.00098. Between 0.25 and 0.5 neighbours in bfloat16 are 2⁻⁹
# apart. Half of that is a tie, and a tie goes to the even neighbour, which is 0.3125
# itself.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# 4096 · 4096 · 4 = 67,108,864 bytes, 67 MB.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Mostly swap: a hundred merged copies need a hundred times the base. Merge for a customer
# who has most of the requests and needs the shortest latency. What decides is how the
# requests are spread, and the memory.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# When the adapters share one factor. With the same A and the same scale, the mean of the
# two products is the mean of the two B times A. The same holds for a shared B.
#
# </details>
