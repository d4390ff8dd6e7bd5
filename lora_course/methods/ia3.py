"""IA3: learned vectors that scale keys, values and the hidden activations of the MLP.

Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning", arXiv 2205.05638, section 3.3. All start at 1. Each is a scale before or after a linear
layer, so it can be multiplied into that layer's weight: rows for outputs, columns for inputs.
"""

import torch
from torch import nn

from lora_course.inject import LINEAR, find_targets, widths


# owned by chapter 13
class IA3Linear(nn.Module):
    """l * base_layer(x), or base_layer(l * x) for a layer that follows an activation.

    base_layer: a Linear or Conv1D, in -> out. It is kept; inject_ia3 freezes it.
    feedforward: scale the input, (in,), instead of the output, (out,). l starts at 1.
    Raises TypeError for another kind of layer.
    """

    def __init__(self, base_layer, feedforward=False):
        super().__init__()
        if not isinstance(base_layer, LINEAR):
            raise TypeError(f"IA3Linear wraps a linear layer, not a {type(base_layer).__name__}.")
        self.base_layer, self.feedforward = base_layer, feedforward
        weight = base_layer.weight
        # The axis of the weight along which l runs: a Linear is (out, in), a Conv1D (in, out).
        self.axis = int(feedforward) if isinstance(base_layer, nn.Linear) else int(not feedforward)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        n = widths(base_layer)[0 if feedforward else 1]
        self.ia3_l = nn.Parameter(torch.ones(n, dtype=dtype, device=weight.device))

    def forward(self, x):
        if self.feedforward:
            return self.base_layer((x * self.ia3_l).to(x.dtype))
        y = self.base_layer(x)  # (..., out)
        return (y * self.ia3_l).to(y.dtype)

    @torch.no_grad()
    def merged(self):
        """The base layer with l in its weight, and in its bias where l scales the output.

        The layer itself is changed and returned. A weight that another layer shares is not.
        """
        layer, scale = self.base_layer, self.ia3_l
        W = layer.weight * (scale[:, None] if self.axis == 0 else scale)
        layer.weight = nn.Parameter(W.to(layer.weight.dtype), False)
        if layer.bias is not None and not self.feedforward:
            layer.bias = nn.Parameter((layer.bias * scale).to(layer.bias.dtype), False)
        return layer


# owned by chapter 13
def inject_ia3(model, target_modules=("k_proj", "v_proj", "down_proj"), feedforward=("down_proj",)):
    """Scale the outputs of layers, and the inputs of some; freeze all else; returns the model.

    target_modules: see find_targets. feedforward: those of them whose input is scaled.
    The model's output is not changed: every scale is 1. Build the optimizer after this call.
    Raises ValueError when a rule hits nothing, feedforward hits a layer that target_modules does
    not, or there is IA3 already.
    """
    if any(isinstance(layer, IA3Linear) for layer in model.modules()):
        raise ValueError("This model has IA3 already: load a fresh base model and inject once.")
    names, inner = find_targets(model, target_modules), find_targets(model, feedforward)
    if odd := set(inner) - set(names):
        raise ValueError(f"feedforward hits {min(odd)}, which target_modules leaves out.")
    bases = {name: model.get_submodule(name) for name in names}
    inner = {bases[name] for name in inner}
    wrapped = {m: IA3Linear(m, m in inner).train(m.training) for m in bases.values()}
    model.requires_grad_(False)
    for name, base in bases.items():  # a layer used twice has two names and one scale
        model.set_submodule(name, wrapped[base])
    return model


# owned by chapter 13
def merge_ia3(model):
    """Multiply every scale into its weight and take the IA3 layers out; returns the model.

    Raises ValueError when there are none, or when a weight is packed (8-bit, 4-bit).
    """
    named = model.named_modules(remove_duplicate=False)  # a layer used twice has two names
    layers = {name: layer for name, layer in named if isinstance(layer, IA3Linear)}
    if not layers:
        raise ValueError("This model has no IA3 layers: inject first; or it is merged already.")
    if not all(layer.base_layer.weight.is_floating_point() for layer in layers.values()):
        raise ValueError("The base holds packed weights: dequantize it first, then merge.")
    plain = {layer: layer.merged() for layer in dict.fromkeys(layers.values())}
    for name, layer in layers.items():
        model.set_submodule(name, plain[layer])
    return model
