"""DoRA: the size of each output's weights, and their direction, are trained apart.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv 2402.09353, section 4.
W' = m * V / |V| with V = W + scaling * B A; m has one number for each output (each row of W, which
is a column in the paper, where weights are transposed). It starts as |W|, so W' starts as W.
"""

import torch
from torch import nn

from lora_course.methods.descendant import Descendant, descend


# owned by chapter 14
class DoRALinear(Descendant):
    """y = (m / |V|) * (V x) + bias, with V = W + scaling * B A; m, A and B train.

    layer: a LoRA layer, whose place this one takes. detach_norm: the gradient takes |V| for a
    constant, as section 4.3 of the paper proposes to save memory.
    lora_dropout acts on the way into A only. (PEFT then also drops inputs of (m / |V| - 1) W x.)
    """

    def __init__(self, layer, detach_norm=True):
        super().__init__(layer)
        self.detach_norm = detach_norm
        self.start = (layer.base_layer.weight,)  # delta() is about this weight, also after a merge
        with torch.no_grad():
            norm = self.direction().norm(dim=1)  # (out,)
        self.lora_magnitude = nn.Parameter(norm)

    def direction(self):
        """V = W + scaling * B A, (out, in)."""
        return self.lay(self.start[0]) + self.scaling * self.lora_B @ self.lora_A

    def factor(self):
        """m / |V|, (out,): what each row of V is multiplied by. It starts as 1."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_norm):
            norm = self.direction().norm(dim=1)  # (out,)
        return self.lora_magnitude / norm

    def forward(self, x):
        out, bias = self.base_layer(x), self.base_layer.bias  # (..., out)
        down = self.lora_dropout(x) @ self.lora_A.to(x.dtype).T  # (..., r)
        plain = out if bias is None else out - bias
        V_x = plain + (self.scaling * down) @ self.lora_B.to(x.dtype).T  # (..., out)
        scaled = self.factor().to(x.dtype) * V_x
        return (scaled if bias is None else scaled + bias).to(out.dtype)

    def delta(self):
        """W' - W, (out, in): of full rank, because every row is scaled."""
        return self.factor()[:, None] * self.direction() - self.lay(self.start[0])


# owned by chapter 14
def use_dora(model, detach_norm=True):
    """Turn the LoRA layers of a model into DoRA, in place; returns the model."""
    return descend(model, lambda layer: DoRALinear(layer, detach_norm))
