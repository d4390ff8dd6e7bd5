"""LoRA for the experts of a mixture, whose weights are no layers but stacks: one tensor for all.

A stack W of shape (E, out, in) becomes W + (lora_alpha / r) B A, expert by expert: the formula of
chapter 03 with one more dimension. Hu et al. 2021, arXiv 2106.09685, section 4.1; the same as
`target_parameters` in PEFT. As nothing calls a stack, the sum takes the place of W whenever the
model reads it (a parametrization of torch), so every forward pass makes one matrix of W's size.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize

from lora_course.inject import mark_only_lora_as_trainable


class LoRAStack(nn.Module):
    """What the model reads in place of a stack: W + (lora_alpha / r) B A.

    weight: (E, out, in), or (E, in, out) where `transposed`, or one matrix (out, in).
    """

    def __init__(self, weight, r=8, lora_alpha=16, transposed=False):
        super().__init__()
        *experts, d_out, d_in = weight.mT.shape if transposed else weight.shape
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.r, self.lora_alpha, self.scaling = r, lora_alpha, lora_alpha / r
        self.lora_dropout = nn.Dropout(0.0)  # x is not seen here
        self.transposed, bound = transposed, d_in**-0.5
        A = torch.empty(*experts, r, d_in, dtype=dtype, device=weight.device)
        self.lora_A = nn.Parameter(A.uniform_(-bound, bound))  # (E, r, in)
        self.lora_B = nn.Parameter(A.new_zeros(*experts, d_out, r))  # (E, out, r)

    @property
    def base_layer(self):
        raise ValueError(
            "This LoRA is on a stack of experts, which is no layer: merge_experts(model) puts it "
            "into the weights; save_adapter() keeps it; merge() and to_peft() know layers only."
        )

    def get_delta_weight(self):
        """What is added to the stack, in its layout."""
        delta = self.scaling * self.lora_B @ self.lora_A  # (E, out, in)
        return delta.mT if self.transposed else delta

    def forward(self, weight):
        return weight + self.get_delta_weight().to(weight.dtype)


def inject_experts(model, target_parameters, r=8, lora_alpha=16, seed=None):
    """LoRA on parameters by the end of their names, ["experts.down_proj"]; the rest is frozen.

    Layers that have LoRA already (inject_lora) train on. Returns the model, which is changed.
    Raises ValueError when an entry hits no matrix or stack, or r is no rank.
    """
    named = {n: p for n, p in model.named_parameters() if p.ndim in (2, 3) and "lora_" not in n}
    hits = {e: [n for n in named if f".{n}".endswith(f".{e}")] for e in target_parameters}
    if r < 1 or not hits or not all(hits.values()):
        missed = [e for e in hits if not hits[e]] or f"r = {r}"
        stacks = sorted({".".join(n.split(".")[-2:]) for n in named if named[n].ndim == 3})
        raise ValueError(f"No stack is hit by {missed}. Expected r >= 1 and ends of {stacks}.")
    if seed is not None:
        torch.manual_seed(seed)
    for name in dict.fromkeys(n for names in hits.values() for n in names):
        place, _, part = name.rpartition(".")
        module = model.get_submodule(place)
        transposed = getattr(module, "is_transposed", False) and named[name].ndim == 3
        stack = LoRAStack(named[name], r, lora_alpha, transposed).train(module.training)
        parametrize.register_parametrization(module, part, stack)
    mark_only_lora_as_trainable(model)
    return model


def merge_experts(model):
    """Put every stack's update into its weight, for good; the model has its own form again."""
    for module in list(model.modules()):
        for part in list(getattr(module, "parametrizations", ())):
            if isinstance(module.parametrizations[part][0], LoRAStack):
                parametrize.remove_parametrizations(module, part)
                getattr(module, part).requires_grad_(False)
