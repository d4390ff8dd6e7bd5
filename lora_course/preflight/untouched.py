"""Look without leaving a trace: whatever an examination moves is put back, bit for bit."""

import contextlib
import copy
import random

import numpy as np
import torch

PARTS = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks",
         "_backward_hooks", "_backward_pre_hooks")  # fmt: skip
PLAIN = (int, float, str, bool, type(None))


@contextlib.contextmanager
def untouched(model, trainer=None):
    """Restores random states, modes, gradients, buffers, hooks and attributes of the modules.

    The states of the trainer that are plain numbers and lists are restored as well.
    """
    dice = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    modules = [(module, *_copies(module)) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    weights = [(p, p.grad, p.requires_grad, p.data) for p in model.parameters()]
    notes = _notes(trainer)
    for module in model.modules():  # an evaluation repacks 4-bit weights on some CPUs
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    try:
        with torch.enable_grad():
            yield
    finally:
        for owner, key, value in notes:
            if getattr(owner, key, None) != value:
                setattr(owner, key, value)
        for module, attributes, parts in modules:
            for key, part in parts.items():
                if _differ(vars(module)[key], part):
                    vars(module)[key].clear()
                    vars(module)[key].update(part)
            for key in vars(module).keys() - attributes.keys():
                del vars(module)[key]
            vars(module).update(attributes)
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
        for p, grad, trains, data in weights:
            if p.data.data_ptr() != data.data_ptr():
                p.data = data
            p.requires_grad_(trains) if p.requires_grad != trains else None
            p.grad = grad
        random.setstate(dice[0])
        np.random.set_state(dice[1])
        torch.set_rng_state(dice[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _copies(module):
    """(all attributes, the dicts of parts among them): shallow copies, to compare and put back."""
    return dict(vars(module)), {
        key: dict(vars(module)[key]) for key in PARTS if key in vars(module)
    }


def _differ(now, before):
    """True when two dicts do not hold the same objects in the same order."""
    return [(k, id(v)) for k, v in now.items()] != [(k, id(v)) for k, v in before.items()]


def _notes(trainer):
    """What a trainer writes down while it computes a loss: (owner, key, copy)."""
    owners = [trainer, *(getattr(trainer, part, None) for part in ("state", "control"))]
    found = []
    for owner in filter(None, owners):
        for key, value in vars(owner).items():
            if _is_plain(value):
                found.append((owner, key, copy.deepcopy(value)))
    return found


def _is_plain(value, depth=4):
    if isinstance(value, PLAIN):
        return True
    if isinstance(value, dict) and depth:
        return len(value) < 10_000 and all(_is_plain(v, depth - 1) for v in value.values())
    if isinstance(value, list | tuple | set) and depth:
        return len(value) < 100_000 and all(_is_plain(v, depth - 1) for v in value)
    return False
