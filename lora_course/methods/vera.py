"""VeRA: all layers share two random, frozen matrices; each layer trains two vectors.

Kopiczko et al. 2023, "VeRA: Vector-based Random Matrix Adaptation", arXiv 2310.11454, section 3.
W' = W + diag(b) B diag(d) A. Both matrices come from one seed, so the file needs the vectors only.
"""

import torch
from torch import nn

from lora_course.inject import lora_layers
from lora_course.methods.descendant import Descendant, descend


# owned by chapter 14
def projections(r, d_in, d_out, seed):
    """The shared A (r, d_in) and B (d_out, r), from one seed; the same draws as PEFT's.

    Uniform, with the bound sqrt(6 / columns) of Kaiming's initialization.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(rows, columns):
        bound = (6 / columns) ** 0.5
        return torch.empty(rows, columns).uniform_(-bound, bound, generator=generator)

    return draw(r, d_in), draw(d_out, r)


# owned by chapter 14
class VeRALinear(Descendant):
    """y = base_layer(x) + b * (B (d * (A x))); the vectors d (r,) and b (out,) train.

    layer: a LoRA layer, whose place this one takes; its lora_alpha does not count.
    A, B: frozen and shared; a smaller layer uses their first rows and columns.
    d_initial: where d starts. b starts at 0, so the layer starts as its base.
    """

    def __init__(self, layer, A, B, d_initial=0.1):
        super().__init__(layer)
        like, d_in, d_out = layer.lora_A, layer.lora_A.shape[1], len(layer.lora_B)
        del self.lora_A, self.lora_B
        self.scaling = 1.0
        self.register_buffer("lora_A", A[: self.r, :d_in].to(like), persistent=False)  # a view
        self.register_buffer("lora_B", B[:d_out, : self.r].to(like), persistent=False)
        self.lora_lambda_d = nn.Parameter(like.new_full((self.r,), d_initial))
        self.lora_lambda_b = nn.Parameter(like.new_zeros(d_out))

    def forward(self, x):
        out = self.base_layer(x)  # (..., out)
        down = self.lora_dropout(x) @ self.lora_A.to(x.dtype).T  # (..., r)
        middle = self.lora_lambda_d.to(x.dtype) * down
        update = self.lora_lambda_b.to(x.dtype) * (middle @ self.lora_B.to(x.dtype).T)  # (..., out)
        return (out + update).to(out.dtype)

    def delta(self):
        """diag(b) B diag(d) A, (out, in)."""
        return self.lora_lambda_b[:, None] * (self.lora_B * self.lora_lambda_d) @ self.lora_A


# owned by chapter 14
def use_vera(model, seed=0, d_initial=0.1):
    """Turn the LoRA layers of a model into VeRA, in place; returns the model.

    model: after inject_lora; r may be large, because a layer trains r + out numbers.
    seed: of the two shared matrices, which are as large as the widest layer wants.
    """
    layers = list(lora_layers(model).values())
    sizes = [(m.r, m.lora_A.shape[1], len(m.lora_B)) for m in layers] or [(1, 1, 1)]
    shared = projections(*map(max, zip(*sizes, strict=True)), seed)
    A, B = (M.to(layers[0].lora_A) if layers else M for M in shared)  # moved once, for all layers
    return descend(model, lambda layer: VeRALinear(layer, A, B, d_initial))
