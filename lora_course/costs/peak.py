"""The most bytes that a step holds at once, counted tensor by tensor where there is no GPU to ask.

On a GPU `torch.cuda.max_memory_allocated` says the same of the tensors, rounded up to its blocks.
"""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lora_course.bits.fourbit import constants, four_bit_layers


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that live while the `with` block runs; `.peak` is the most.

    held: tensors that are there before. Two views of one storage count once. Works on the meta
    device as well. What a kernel takes for itself inside one operation is not seen.
    """

    def __init__(self, held=()):
        super().__init__()
        self.live = self.peak = 0
        self.known = {}  # address of a storage -> its finalizer
        for tensor in held:
            self.note(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.note(leaf)
        return out

    def note(self, tensor):
        """Count the storage of a tensor, unless it is counted already, until it is freed."""
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self.known:
            return
        self.live += size
        self.peak = max(self.peak, self.live)
        self.known[address] = weakref.finalize(storage, self.forget, address, size)

    def forget(self, address, size):
        del self.known[address]
        self.live -= size


def held_by(model, optimizer=None):
    """Every tensor that a model and its optimizer hold: weights with their 4-bit constants,
    buffers, gradients and states."""
    held = [*model.parameters(), *model.buffers()]
    held += [p.grad for p in model.parameters() if p.grad is not None]
    for layer in four_bit_layers(model).values():
        held += constants(layer.weight.quant_state)
    states = optimizer.state.values() if optimizer else ()
    return held + [t for state in states for t in state.values() if isinstance(t, torch.Tensor)]


def peak_bytes(step, model, optimizer=None):
    """Run `step()` and return the most bytes held at once, those of model and optimizer included.

    On a GPU this is what the allocator says, other models on that GPU included.
    """
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    with PeakBytes(held_by(model, optimizer)) as meter:
        step()
    return meter.peak
