"""What LoRA's descendants share: each takes the place of a LoRA layer and takes over its parts.

So chapter 04's injection finds, wraps and freezes the layers, whatever the method:
use_dora(inject_lora(model, targets, r)).
"""

from torch import nn

from lora_course.inject import lora_layers


# owned by chapter 14
class Descendant(nn.Module):
    """A layer with the base, factors, scale and dropout of `layer`, a LoRALinear or LoRAConv1D.

    A subclass defines delta(), its update of the weight, (out, in), and adds what it trains under
    names that begin with lora_: by them it is found, frozen, saved and merged like LoRA itself.
    Raises TypeError for LoRA on an embedding, ValueError for a base with packed weights.
    """

    def __init__(self, layer):
        super().__init__()
        base = layer.base_layer
        if isinstance(base, nn.Embedding):
            raise TypeError(f"{type(self).__name__} takes linear layers: leave embeddings out.")
        if not base.weight.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} has to read the base's weights, and these are packed "
                f"({base.weight.dtype}). Load the base in 16 or 32 bits."
            )
        self.r, self.lora_alpha, self.scaling = layer.r, layer.lora_alpha, layer.scaling
        self.base_layer, self.lora_dropout = base, layer.lora_dropout
        self.lora_A, self.lora_B = layer.lora_A, layer.lora_B
        self.train(layer.training)

    def lay(self, matrix):
        """(out, in) as the base stores its weight, or back: a Conv1D keeps (in, out)."""
        return matrix if isinstance(self.base_layer, nn.Linear) else matrix.T

    def get_delta_weight(self):
        """What the adapter adds to base_layer.weight, in that weight's layout."""
        return self.lay(self.delta())


# owned by chapter 14
def descend(model, kind):
    """Put kind(layer) into the place of every LoRA layer, in place; returns the model.

    model: after inject_lora. kind: a Descendant, or a function that makes one.
    A layer used in two places gets one successor. Build the optimizer after this call.
    Raises ValueError when there is no LoRA, or a descendant already; the model is then as it was.
    """
    layers = lora_layers(model, remove_duplicate=False)
    if not layers:
        raise ValueError("This model has no LoRA layers to build on: call inject_lora first.")
    if any(isinstance(layer, Descendant) for layer in layers.values()):
        raise ValueError("These layers are no plain LoRA any more: inject into a fresh base.")
    made = {layer: kind(layer) for layer in dict.fromkeys(layers.values())}
    for name, layer in layers.items():
        model.set_submodule(name, made[layer])
    return model
