"""LoRA and a trained prompt in one model; and the file of whatever trains, for any method.

The two do not meet: LoRA changes weights inside, the prompt is read outside. Hu et al. 2021, arXiv
2106.09685, appendix E, tries LoRA with prefixes.
"""

import torch
from safetensors.torch import load_file, save_file

from lora_course.inject import inject_lora
from lora_course.methods.prompt import PromptTuning


# owned by chapter 13
def inject_hybrid(model, init_ids, target_modules="all-linear", r=8, lora_alpha=16, seed=None):
    """A PromptTuning around the model, with LoRA inside; both train. Numbers: their sum.

    init_ids: see PromptTuning. The rest: see inject_lora.
    """
    prompted = PromptTuning(model, init_ids)  # freezes the model: so it comes first
    inject_lora(prompted.model, target_modules, r, lora_alpha, seed=seed)
    return prompted


# owned by chapter 13
def hybrid_groups(model, lr, ratio=10):
    """Parameter groups for an optimizer: a prompt beside something else learns ratio times as fast.

    A prompt alone, or a model without one, gets lr. Only what requires a gradient is in a group.
    """
    inside = [p for n, p in model.named_parameters() if p.requires_grad and n != "prompt"]
    groups = [{"params": inside, "lr": lr}] if inside else []
    if hasattr(model, "prompt"):
        groups.append({"params": [model.prompt], "lr": ratio * lr if inside else lr})
    return groups


# owned by chapter 13
def trained_state_dict(model):
    """{name: tensor} of all that trains, not copied: the file of any method.

    Raises ValueError when nothing requires a gradient.
    """
    state = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    if not state:
        raise ValueError("Nothing in this model trains, so there is nothing to save: inject first.")
    return state


# owned by chapter 13
def save_trained(model, path):
    """Write all that trains, and nothing else, to one safetensors file."""
    save_file({n: t.cpu().contiguous() for n, t in trained_state_dict(model).items()}, path)


# owned by chapter 13
def load_trained(model, path):
    """Put the numbers of such a file back into a model that was made the same way.

    Raises ValueError when a name or a shape differs; the model is then as it was.
    """
    places, state = trained_state_dict(model), load_file(path)
    for name in {**places, **state}:
        place, value = places.get(name), state.get(name)
        if place is None or value is None or place.shape != value.shape:
            place, value = ("nothing" if t is None else tuple(t.shape) for t in (place, value))
            raise ValueError(f"{name} is {value} in {path}, and {place} in the model.")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(state[name])
