"""LoRA for a convolution: A is a convolution into r channels, B a 1 x 1 convolution out of them.

A convolution is a linear layer that reads a patch, in * kh * kw numbers, at every place. So its
weight (out, in, kh, kw) is the matrix (out, in kh kw) of Hu et al. 2021, arXiv 2106.09685, section
4.1, and the update is its low-rank one. The authors' code and PEFT have the same form.
"""

import torch
from torch import nn

from lora_course.inject import find_targets, mark_only_lora_as_trainable
from lora_course.lora import LoRALinear


# owned by chapter 16
class LoRAConv2d(LoRALinear):
    """y = base_layer(x) + (lora_alpha / r) * B(A(dropout(x))); only A and B train.

    base_layer: nn.Conv2d, with any stride, padding and dilation. With g groups, r must be a
    multiple of g: A reads all channels and B has g groups, as in PEFT; that cannot be merged.
    A: (r, in kh kw). B: (out, r / g). r, lora_alpha, lora_dropout: see LoRALinear.
    """

    def __init__(self, base_layer, r=8, lora_alpha=16, lora_dropout=0.0):
        super().__init__(base_layer, r, lora_alpha, lora_dropout)
        if r % base_layer.groups:
            raise ValueError(f"r = {r} is no multiple of the {base_layer.groups} groups: make it.")
        if base_layer.groups > 1:
            self.lora_B = nn.Parameter(self.lora_B.detach()[:, : r // base_layer.groups].clone())

    @property
    def weight(self):  # the ViT of transformers asks its patch projection for it
        return self.base_layer.weight

    def sizes(self, base_layer):
        if not isinstance(base_layer, nn.Conv2d):
            kind = type(base_layer).__name__
            raise TypeError(f"LoRAConv2d wraps an nn.Conv2d, but got a {kind}.")
        kh, kw = base_layer.kernel_size
        return base_layer.in_channels * kh * kw, base_layer.out_channels

    def forward(self, x):
        base = self.base_layer
        out = base(x)  # (B, out, h, w)
        A = self.lora_A.to(x.dtype).view(self.r, base.in_channels, *base.kernel_size)
        B = self.lora_B.to(x.dtype)[:, :, None, None]  # (out, r / g, 1, 1)
        x, padding = self.lora_dropout(x), base.padding
        if base.padding_mode != "zeros":
            edges = base._reversed_padding_repeated_twice  # as nn.Conv2d pads
            x, padding = nn.functional.pad(x, edges, mode=base.padding_mode), 0
        down = nn.functional.conv2d(x, A, None, base.stride, padding, base.dilation)  # (B, r, h, w)
        update = nn.functional.conv2d(self.scaling * down, B, groups=base.groups)
        return (out + update).to(out.dtype)

    def get_delta_weight(self):
        """What the adapter adds to base_layer.weight: (out, in, kh, kw)."""
        if self.base_layer.groups > 1:
            raise ValueError("With groups, A reads channels that the weight has no place for.")
        return super().get_delta_weight().view_as(self.base_layer.weight)


# owned by chapter 16
def inject_conv(model, target_modules, r=8, lora_alpha=16, lora_dropout=0.0, seed=None):
    """Wrap the convolutions that the rule hits, freeze all but LoRA's factors; returns the model.

    model: as it came, or after inject_lora, whose layers stay and train too.
    target_modules, seed: see inject_lora; the rule is for nn.Conv2d alone.
    Raises ValueError when the rule hits no convolution; the model is then as it was.
    """
    names = find_targets(model, target_modules, kinds=(nn.Conv2d,))
    if seed is not None:
        torch.manual_seed(seed)
    bases = dict.fromkeys(map(model.get_submodule, names))  # one used twice gets one wrapper
    for base in bases:
        bases[base] = LoRAConv2d(base, r, lora_alpha, lora_dropout).train(base.training)
    for name in names:
        model.set_submodule(name, bases[model.get_submodule(name)])
    mark_only_lora_as_trainable(model)
    return model
