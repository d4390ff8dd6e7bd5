"""Two small changes to LoRA's rates: rsLoRA divides alpha by sqrt(r), LoRA+ lets B learn faster.

rsLoRA: Kalajdzievski 2023, arXiv 2312.03732. LoRA+: Hayou et al. 2024, arXiv 2402.12354.
"""

import math

from torch import nn


def use_rslora(model):
    """Scale every update by lora_alpha / sqrt(r) instead of lora_alpha / r; returns the model.

    model: has layers with lora_A, after injection. Only their `scaling` is set.
    Raises ValueError when there are none.
    """
    layers = [layer for layer in model.modules() if hasattr(layer, "lora_A")]
    if not layers:
        raise ValueError("This model has no LoRA layers, so nothing was scaled: inject first.")
    for layer in layers:
        layer.scaling = layer.lora_alpha / math.sqrt(layer.r)
    return model


def loraplus_groups(model, lr, ratio, lr_embedding=1e-6):
    """Parameter groups for an optimizer: A learns with lr, B with lr * ratio.

    Only what requires a gradient is in a group. LoRA on an embedding gets lr_embedding, biases and
    norms that train go with B, and all else with A, as in PEFT's create_loraplus_optimizer.
    Raises ValueError when nothing requires a gradient.
    """
    tables = {
        id(factor)
        for layer in model.modules()
        if isinstance(getattr(layer, "base_layer", None), nn.Embedding)
        for factor in (layer.lora_A, layer.lora_B)
    }
    groups = {"A": [], "B": [], "embedding": []}
    for name, p in model.named_parameters():
        if p.requires_grad:
            fast = name.split(".")[-1] == "lora_B" or p.ndim == 1
            groups["embedding" if id(p) in tables else "B" if fast else "A"].append(p)
    rates = {"A": lr, "B": lr * ratio, "embedding": lr_embedding}
    found = [{"params": ps, "lr": rates[key]} for key, ps in groups.items() if ps]
    if not found:
        raise ValueError("Nothing requires a gradient, so there is nothing to group: inject first.")
    return found
