"""Many adapters on one base: every row of a batch takes its own.

The base multiplies all rows at once. A and B of all adapters are stacked, an index picks a pair for
each row, and a batched product (bmm) applies them. The idea of Punica (Chen et al. 2023, arXiv
2310.18547) and S-LoRA (Sheng et al. 2023, arXiv 2311.03285), without their GPU kernels, which need
no copy of the picked pairs and do not pad.
"""

import torch
from torch import nn

from lora_course.inject import find_targets, widths


# owned by chapter 18
class GatheredLoRA(nn.Module):
    """A frozen linear layer with K adapters beside it; every row of a batch takes one of them.

    base_layer: nn.Linear or Conv1D. stack() fills factors_A (K + 1, r, in) and factors_B
    (K + 1, out, r), scaling included; the last pair is zero: -1 is the base alone. pick() fills
    A (B, r, in) and B (B, out, r), the pairs of the batch's rows.
    """

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        for name in ("factors_A", "factors_B", "A", "B"):
            self.register_buffer(name, None, persistent=False)

    def forward(self, x):  # (B, T, in)
        y = self.base_layer(x)  # (B, T, out), all rows at once
        if self.A is None:
            return y
        if len(self.A) != len(x):
            raise ValueError(
                f"{len(x)} rows came, and pick() named adapters for {len(self.A)}. Call "
                "pick(model, rows) with one number for each row of this batch."
            )
        return torch.baddbmm(y, x @ self.A.mT, self.B.mT)  # y + (x A^T) B^T, row by row


# owned by chapter 18
def gather(model, target_modules="all-linear"):
    """Wrap the linear layers that a rule hits, in place, with room for adapters; returns the model.

    target_modules: see find_targets. Raises ValueError when the rule hits nothing.
    """
    for name in find_targets(model.requires_grad_(False), target_modules):
        model.set_submodule(name, GatheredLoRA(model.get_submodule(name)))
    return model


# owned by chapter 18
def stack(model, adapters):
    """Put K adapters beside the base, in place of those that were there; no row has one yet.

    model: from gather(). adapters: list of (factors, scaling): {name: tensor} as lora_state_dict
    gives it, with any r, and lora_alpha / r. A smaller r is padded with zeros; a layer that an
    adapter lacks gets zeros.
    Raises ValueError, and changes nothing, when an adapter has a layer that the model has not.
    """
    layers = gathered_layers(model)
    known = {f"{name}.lora_{letter}" for name in layers for letter in "AB"}
    if odd := {name for factors, _ in adapters for name in factors} - known:
        raise ValueError(f"The model has no room for {min(odd)}: gather() that layer, too.")
    for name, layer in layers.items():
        ranks = [len(f[f"{name}.lora_A"]) for f, _ in adapters if f"{name}.lora_A" in f]
        (n_in, n_out), r, K = widths(layer.base_layer), max(ranks, default=1), len(adapters)
        layer.factors_A = layer.base_layer.weight.new_zeros(K + 1, r, n_in)
        layer.factors_B = layer.base_layer.weight.new_zeros(K + 1, n_out, r)
        for k, (factors, scaling) in enumerate(adapters):
            if (A := factors.get(f"{name}.lora_A")) is not None:
                layer.factors_A[k, : len(A)] = A
                layer.factors_B[k, :, : len(A)] = scaling * factors[f"{name}.lora_B"]
        layer.A = layer.B = None


# owned by chapter 18
def pick(model, rows):
    """Say which adapter each row of the next batches takes, until the next call.

    rows: (B,) places in stack()'s list, -1 for the base alone; or None: the base alone for all.
    Raises ValueError, and changes nothing, for a number that stands for no adapter.
    """
    layers = gathered_layers(model).values()
    count = min(0 if layer.factors_A is None else len(layer.factors_A) - 1 for layer in layers)
    wanted = [] if rows is None else [int(k) for k in rows]
    if odd := set(wanted) - set(range(-1, count)):
        raise ValueError(f"Row with adapter {min(odd)}: there are {count}, from 0 on, and -1.")
    for layer in layers:
        layer.A = None if rows is None else layer.factors_A[wanted]  # (B, r, in), a copy
        layer.B = None if rows is None else layer.factors_B[wanted]  # (B, out, r)


# owned by chapter 18
def gathered_layers(model):
    """{name: layer} of those that gather() wrapped. Raises ValueError when there are none."""
    found = {name: layer for name, layer in model.named_modules() if hasattr(layer, "factors_A")}
    if not found:
        raise ValueError("This model has no gathered layers: call gather(model) first.")
    return found
