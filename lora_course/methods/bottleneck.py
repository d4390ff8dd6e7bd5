"""Bottleneck adapters: two small layers with a nonlinearity between, behind every sublayer.

Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv 1902.00751, section 2.1:
one behind the attention's last projection, one behind the MLP's, each before the residual sum.
"""

import torch
from torch import nn

from lora_course.inject import LINEAR, find_targets, widths


# owned by chapter 13
class Bottleneck(nn.Module):
    """y + up(relu(down(y))) with y = base_layer(x).

    base_layer: a Linear or Conv1D, in -> d. It is kept; inject_bottlenecks freezes it.
    m: the width of the bottleneck, at least 1. Numbers that train: 2 m d + m + d.
    Both matrices start normal with standard deviation 0.001, cut at two of them, and both biases at
    zero: nearly the identity (as in the authors' code, google-research/adapter-bert, modeling.py).
    Raises TypeError for another kind of layer, ValueError for an m below 1.
    """

    def __init__(self, base_layer, m=8):
        super().__init__()
        if not isinstance(base_layer, LINEAR):
            raise TypeError(
                f"Bottleneck follows a linear layer, not a {type(base_layer).__name__}."
            )
        if m < 1:
            raise ValueError(
                f"m = {m}, but a width is a whole number from 1 up; 8 is a good start."
            )
        weight, d = base_layer.weight, widths(base_layer)[1]
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.base_layer = base_layer
        self.adapter_down = nn.Linear(d, m, device=weight.device, dtype=dtype)
        self.adapter_up = nn.Linear(m, d, device=weight.device, dtype=dtype)
        for layer in (self.adapter_down, self.adapter_up):
            nn.init.trunc_normal_(layer.weight, std=1e-3, a=-2e-3, b=2e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        y = self.base_layer(x)  # (..., d)
        h = self.adapter_down(y.to(self.adapter_down.weight.dtype)).relu()  # (..., m)
        return (y + self.adapter_up(h)).to(y.dtype)  # (..., d)


# owned by chapter 13
def inject_bottlenecks(model, m=8, target_modules=None, seed=None):
    """Put a Bottleneck behind layers of the model, freeze all else; returns the model.

    m: see Bottleneck. target_modules: see find_targets; None takes what sublayer_ends finds.
    seed: torch.manual_seed(seed) before the first is drawn. Build the optimizer after this call.
    Raises ValueError when no layer is found, m is below 1, or there are bottlenecks already; the
    model is then as it was.
    """
    if any(isinstance(layer, Bottleneck) for layer in model.modules()):
        raise ValueError("This model has bottlenecks already: load a fresh base, inject once.")
    names = find_targets(model, target_modules or sublayer_ends(model))
    if seed is not None:
        torch.manual_seed(seed)
    bases = {name: model.get_submodule(name) for name in names}
    wrapped = {base: Bottleneck(base, m).train(base.training) for base in bases.values()}
    model.requires_grad_(False)
    for name, base in bases.items():  # a layer used twice has two names and one bottleneck
        model.set_submodule(name, wrapped[base])
    return model


# owned by chapter 13
def sublayer_ends(model):
    """Names of the last linear layer, as wide as the model, of every attention and every MLP.

    A sublayer is a module whose class ends in Attention or MLP, as in Llama, Qwen and GPT-2.
    """
    ends = {}
    for name, module in model.named_modules():
        if type(module).__name__.endswith(("Attention", "MLP")):
            for inner, layer in module.named_modules():
                if isinstance(layer, LINEAR) and widths(layer)[1] == model.config.hidden_size:
                    ends[name] = f"{name}.{inner}"
    return list(ends.values())
