"""A model in shards: each rank holds a part of every tensor, and files hold whole ones.

`fully_shard` cuts each tensor along its first axis into one piece a rank (Zhao et al. 2023, arXiv
2304.11277; this is its second version, one tensor at a time). Whoever needs a whole tensor gathers
it, and then all ranks must ask at the same time, or those that ask wait for ever.
"""

from pathlib import Path

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from lora_course.bits.fourbit import constants
from lora_course.inject import lora_layers
from lora_course.plumbing.files import replacing


# owned by chapter 17
def shard(model):
    """Leave each rank a part of every tensor, adapter included; a block is whole while it works.

    Needs a process group. Each call of fully_shard makes one group of tensors that are gathered
    together: one for each decoder block, one for what is outside them. Returns the model.
    """
    from torch.distributed.fsdp import fully_shard

    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    for block in max(lists, key=len):  # the decoder blocks
        fully_shard(block)
    return fully_shard(model)


# owned by chapter 17
def whole(tensor):
    """The tensor itself, or, of a shard, all of it; then all ranks must ask at the same time."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


# owned by chapter 17
def local(tensor):
    """What this rank holds of a tensor: its shard, or all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_adapter(model):
    """Make the factors whole on every rank, for save_adapter; the base stays in shards.

    This ends the training: FSDP no longer knows the new factors.
    """
    for layer in lora_layers(model).values():
        for name in ("lora_A", "lora_B"):
            setattr(layer, name, torch.nn.Parameter(whole(getattr(layer, name).detach())))


def held_bytes(model, optimizer):
    """{"weights", "gradients", "optimizer"}: bytes that this rank holds between two steps.

    Storages are counted, each once: the last shard of a weight is padded to the size of the first,
    and the gradients of a group lie in one.
    """
    weights = list(model.parameters())
    for layer in model.modules():
        if state := getattr(layer, "quant_state", None):  # of a layer in 4 bits
            weights += constants(state)  # every rank has all of them
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    states = [s for state in optimizer.state.values() for s in state.values() if s.ndim]
    parts, made = {"weights": weights, "gradients": gradients, "optimizer": states}, {}
    for part, tensors in parts.items():
        places = [local(t).untyped_storage() for t in tensors]
        made[part] = sum({place._cdata: place.nbytes() for place in places}.values())
    return made


def save_state(path, plan, weights, optimizer, losses, seen, rank):
    """Write what a run needs to go on, in whole tensors: all ranks gather, rank 0 writes."""
    moments = [optimizer.state[p] for p in weights]
    state = {"plan": plan, "losses": losses, "seen": seen}
    state["weights"] = [whole(p.detach()) for p in weights]
    state["moments"] = [{key: whole(value) for key, value in m.items()} for m in moments]
    if rank == 0:
        with replacing(path) as draft:
            torch.save(state, draft)


def load_state(path, plan, weights, optimizer):
    """Put weights and AdamW's moments back, cut anew; returns losses and check sum of batches.

    Without a file these are [] and 0. Raises ValueError, and changes nothing, when the file is
    damaged or of another run.
    """
    if not Path(path).exists():
        return [], 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["plan"]
    except Exception as error:
        raise ValueError(
            f"{path} is no checkpoint of this script. Delete it to start anew."
        ) from error
    if found != plan:
        raise ValueError(
            f"{path} is of another run: steps, rate and shapes were {found[:5]}..., now they "
            f"are {plan[:5]}... Delete it to start anew."
        )
    with torch.no_grad():
        for p, value, moments in zip(weights, state["weights"], state["moments"], strict=True):
            p.copy_(cut_like(value, p))
            cut = {key: cut_like(m, p) if m.ndim else m for key, m in moments.items()}
            optimizer.state[p] = cut
    return state["losses"], state["seen"]


def cut_like(value, place):
    """A whole tensor, on the device of `place` and cut as that one is."""
    value = value.to(place.device)
    if not isinstance(place, DTensor):
        return value
    return distribute_tensor(value, place.device_mesh, place.placements)
