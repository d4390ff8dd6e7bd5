"""LoRA+: two learning rates, B faster than A.

Hayou et al. 2024, arXiv 2402.12354.
"""

from torch import nn


# owned by chapter 06
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
