"""One forward and backward pass on a few rows, of which nothing stays in the model."""

import warnings
from dataclasses import dataclass, field

import torch

from lora_course.preflight.report import Undecided

FEW = 4  # rows of the batch
LARGE = 2_000_000_000  # parameters, on a CPU


@dataclass
class Step:
    """loss: a float. grads: {name: largest absolute gradient, or None where none arrived}.

    said: warnings of torch. copies: bytes of the float32 copies of 16-bit inputs kept for the
    backward pass. kept: bytes of everything kept for it.
    """

    loss: float
    grads: dict
    said: list = field(default_factory=list)
    copies: int = 0
    kept: int = 0


def few_rows(batch, rows, first=0):
    """Some rows of a batch; what is not one for each row stays whole."""
    size = len(batch["input_ids"]) if "input_ids" in batch else None
    fits = {k: torch.is_tensor(v) and v.dim() > 0 and len(v) == size for k, v in batch.items()}
    return {k: v[first : first + rows] if fits[k] else v for k, v in batch.items()}


def moved(batch, model):
    """The batch on the model's device, with tensors that the model may change."""
    device = next(model.parameters()).device
    return {k: v.to(device, copy=True) if torch.is_tensor(v) else v for k, v in batch.items()}


def take_step(model, batch, trainer):
    """The Step of a batch, in training mode, by the trainer's own loss where there is a trainer.

    Raises Undecided where the forward pass fails or gives no loss.
    """
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not params:
        raise Undecided("nothing trains, so there are no gradients")
    device = next(iter(params.values())).device
    if device.type == "cpu" and sum(p.numel() for p in model.parameters()) > LARGE:
        raise Undecided("a step of this model would take too long on a CPU")
    model.train()
    sizes, rows = {"copies": 0, "kept": 0}, moved(batch, model)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with _weighing(sizes, model):
            loss = _loss(model, rows, trainer)
        if not torch.is_tensor(loss):
            raise Undecided("the model gives no loss for this batch")
        grads = dict.fromkeys(params)
        if loss.requires_grad:
            grads = _gradients(loss, params)
    largest = {n: None if g is None else float(g.abs().max()) for n, g in grads.items()}
    return Step(loss.item(), largest, [str(w.message) for w in said], **sizes)


@torch.no_grad()
def loss_in_eval(model, batch, trainer):
    """The loss of these rows without dropout, a float."""
    model.eval()
    loss = _loss(model, moved(batch, model), trainer)
    if not torch.is_tensor(loss):
        raise Undecided("the model gives no loss for this batch")
    return loss.item()


def _loss(model, rows, trainer):
    if trainer is None:
        out = model(**rows)
        if isinstance(out, dict):
            return out.get("loss")
        return getattr(out, "loss", out[0] if isinstance(out, tuple) else None)
    with trainer.accelerator.autocast():
        return trainer.compute_loss(model, rows)


def _gradients(loss, params):
    """{name: gradient or None}. The .grad of the parameters is put back by `untouched`."""
    if any(getattr(p, "_post_accumulate_grad_hooks", None) for p in params.values()):
        found = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        return dict(zip(params, found, strict=True))  # a backward pass would make a step here
    for p in params.values():
        p.grad = None
    loss.backward()  # re-entrant checkpoints know nothing but .backward()
    return {name: p.grad for name, p in params.items()}


class _weighing(torch.autograd.graph.saved_tensors_hooks):
    """Counts what autograd keeps, each storage once; float32 in a 16-bit model is a copy."""

    def __init__(self, sizes, model):
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        half = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())
        seen = set()

        def pack(tensor):
            key = tensor.untyped_storage().data_ptr()
            if key not in own and key not in seen and tensor.is_floating_point():
                seen.add(key)
                size = tensor.numel() * tensor.element_size()
                sizes["kept"] += size
                if half and tensor.dtype == torch.float32 and tensor.dim() == 3:
                    sizes["copies"] += size
            return tensor

        super().__init__(pack, lambda tensor: tensor)
