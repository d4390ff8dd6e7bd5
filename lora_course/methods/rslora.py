"""rsLoRA: the update is divided by sqrt(r) instead of r, so that a large rank still counts.

Kalajdzievski 2023, arXiv 2312.03732.
"""

import math

from lora_course.inject import lora_layers


# owned by chapter 06
def use_rslora(model):
    """Scale every update by lora_alpha / sqrt(r) instead of lora_alpha / r; returns the model.

    model: has layers with lora_A, after injection. Only their `scaling` is set.
    Raises ValueError when there are none.
    """
    layers = lora_layers(model)
    if not layers:
        raise ValueError("This model has no LoRA layers, so nothing was scaled: inject first.")
    for layer in layers.values():
        layer.scaling = layer.lora_alpha / math.sqrt(layer.r)
    return model
