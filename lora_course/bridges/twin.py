"""Ours and PEFT's side by side: the same numbers in both, then the same logits and gradients."""

import copy

import torch

from lora_course.adapters import lora_state_dict

CALLED = (  # what PEFT calls what is ours; in this order
    (".default", ""),
    (".weight", ""),
    ("lora_magnitude_vector", "lora_magnitude"),
    ("vera_lambda", "lora_lambda"),
)


def twin(base, ours, config):
    """PEFT's model of `base` with the numbers of ours; (model, {our name: its parameter}).

    base: the model before injection; it is copied. ours: a course model, LoRA or a descendant.
    config: of PEFT, with the same layers and rank. Raises ValueError when the two train other
    numbers.
    """
    from peft import get_peft_model

    theirs, names = get_peft_model(copy.deepcopy(base), config).eval(), {}
    for name, p in theirs.named_parameters():
        if p.requires_grad:
            name = name.removeprefix("base_model.model.")
            for old, new in CALLED:
                name = name.replace(old, new)
            names[name] = p
    mine = lora_state_dict(ours)
    if {n: p.shape for n, p in mine.items()} != {n: p.shape for n, p in names.items()}:
        odd = min(mine.keys() ^ names.keys(), default="a shape")
        raise ValueError(f"The two models train other numbers, for instance {odd}.")
    with torch.no_grad():
        for name, p in mine.items():
            names[name].copy_(p)
    return theirs, names


def same_as_peft(base, ours, config, batch, std=0.05):
    """(logits equal, gradients equal): two bools, after every number was moved a little.

    base, ours, config: see `twin`. batch: with labels. std: how far numbers move, so that none is
    at its start, where much is zero. Ours keeps the moved numbers.
    """
    with torch.no_grad():
        for p in lora_state_dict(ours).values():
            p.add_(torch.randn_like(p) * std)
    theirs, names = twin(base, ours, config)
    mine = {n: p for n, p in ours.named_parameters() if n in names}
    one, other = ours(**batch), theirs(**batch)
    grads = torch.autograd.grad(one.loss, mine.values())
    wanted = torch.autograd.grad(other.loss, [names[n] for n in mine])
    close = {"rtol": 1e-3, "atol": 1e-4}
    logits = torch.allclose(one.logits, other.logits, rtol=1e-3, atol=1e-3)
    return logits, all(torch.allclose(g, w, **close) for g, w in zip(grads, wanted, strict=True))
