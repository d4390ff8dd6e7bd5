"""Many small training runs at once: one frozen model, and K sets of trained weights in its layers.

Every layer that trains holds its weights K times, with the run as the first axis. A batch is
repeated K times, and part k of it sees only the weights of run k. All runs read the same batches.
"""

import torch
from torch import nn

from lora_course.inject import find_targets, lora_layers


# owned by chapter 06
class ManyLoRA(nn.Module):
    """K LoRA updates of one frozen layer; all start with the A and B of `layer`, a LoRALinear."""

    def __init__(self, layer, runs):
        super().__init__()
        self.base_layer, self.scaling = layer.base_layer, layer.scaling
        self.lora_A = nn.Parameter(layer.lora_A.detach().repeat(runs, 1, 1))  # (K, r, in)
        self.lora_B = nn.Parameter(layer.lora_B.detach().repeat(runs, 1, 1))  # (K, out, r)

    def forward(self, x):
        rows = x.reshape(len(self.lora_A), -1, x.shape[-1])  # (K, rows, in)
        update = (self.scaling * (rows @ self.lora_A.mT)) @ self.lora_B.mT  # (K, rows, out)
        return self.base_layer(x) + update.view(*x.shape[:-1], -1)


# owned by chapter 06
class ManyLinear(nn.Module):
    """K copies of the weight of one linear layer: full fine-tuning. A bias stays as it is."""

    def __init__(self, layer, runs):
        super().__init__()
        weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T  # (out, in)
        self.weight = nn.Parameter(weight.detach().repeat(runs, 1, 1))  # (K, out, in)
        self.bias = layer.bias

    def forward(self, x):
        rows = x.reshape(len(self.weight), -1, x.shape[-1])  # (K, rows, in)
        out = (rows @ self.weight.mT).view(*x.shape[:-1], -1)
        return out if self.bias is None else out + self.bias


# owned by chapter 06
def many(model, runs):
    """Replace every layer that trains by K of it, in place; returns the model.

    model: with LoRA injected in linear layers, or, for full fine-tuning, without LoRA: then the
    weights of all linear layers but the head train, and nothing else does.
    runs: K, how many runs.
    """
    layers, kind = lora_layers(model), ManyLoRA
    if not layers:
        kind = ManyLinear
        layers = {n: model.get_submodule(n) for n in find_targets(model, "all-linear")}
    model.requires_grad_(False)
    for name, layer in layers.items():
        model.set_submodule(name, kind(layer, runs))
    return model


# owned by chapter 14
class ManyLayers(nn.Module):
    """K sets of whatever `layer` itself trains, under the same names with K as the first axis.

    layer: any module of one input. What it does not train is there once, for all runs.
    """

    def __init__(self, layer, runs):
        super().__init__()
        self.layer, self.runs = layer, runs
        for name, p in list(layer.named_parameters(recurse=False)):
            if p.requires_grad:
                self.register_parameter(name, nn.Parameter(p.detach().repeat(runs, *[1] * p.ndim)))
        layer.requires_grad_(False)

    def forward(self, x):
        own = dict(self.named_parameters(recurse=False))  # name -> (K, ...)
        one = lambda own, rows: torch.func.functional_call(self.layer, own, (rows,))  # noqa: E731
        return torch.vmap(one)(own, x.unflatten(0, (self.runs, -1))).flatten(0, 1)  # (K B, ...)


# owned by chapter 14
def many_layers(model, runs):
    """Replace every module that trains something itself by ManyLayers, in place; returns the model.

    The way of any method, DoRA for instance: what requires a gradient is trained K times.
    """
    trains = lambda m: any(p.requires_grad for p in m.parameters(recurse=False))  # noqa: E731
    for name, layer in [(n, m) for n, m in model.named_modules() if trains(m)]:
        model.set_submodule(name, ManyLayers(layer, runs))
    return model


# owned by chapter 06
def losses(model, batch, runs):
    """The loss of every run on one batch, (K,): the mean over the tokens with a label."""
    inputs = {key: batch[key].repeat(runs, 1) for key in ("input_ids", "attention_mask")}
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state  # (K B, T, d)
    labels = batch["labels"][:, 1:].repeat(runs, 1)  # (K B, T - 1)
    told = labels != -100  # the head is wanted for these tokens only: n of every run
    logits = model.get_output_embeddings()(hidden[:, :-1][told])  # (K n, vocabulary)
    each = nn.functional.cross_entropy(logits, labels[told], reduction="none")
    return each.view(runs, -1).mean(1)


# owned by chapter 06
def train_many(model, batches, steps, lr, ratio=1.0, penalty=None, after=None):
    """Train all runs with Adam; returns the loss of every run at every step, (steps, K).

    model: from `many` or `many_layers`. batches: as of `data.batches`; at least `steps` of them.
    lr: (K,), the first learning rate of each run; all fall to zero in a straight line.
    ratio: number or (K,); lora_B learns `ratio` times as fast.
    penalty: model -> (K,), goes into what is minimized, and not into the losses returned.
    after: called after every step with its number, from 0, and {name: gradient}.
    A run that diverges stays alone with it: the others do not see its numbers.
    """
    lr, curve = torch.as_tensor(lr, device=model.device), []
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rates = {n: lr * ratio if n.endswith("lora_B") else lr for n in weights}  # name -> (K,)
    state = {n: (torch.zeros_like(p), torch.zeros_like(p)) for n, p in weights.items()}
    for step, batch in zip(range(steps), batches, strict=False):
        loss = losses(model, batch, len(lr))  # (K,)
        total = loss + penalty(model) if penalty else loss
        grads = dict(zip(weights, torch.autograd.grad(total.sum(), weights.values()), strict=True))
        for name, p in weights.items():
            rate = rates[name].view(-1, *[1] * (p.ndim - 1)) * (1 - step / steps)  # (K, 1, ...)
            adam_step(p, grads[name], *state[name], rate, step + 1)
        if after:
            after(step, grads)
        curve.append(loss.detach())
    return torch.stack(curve)


# owned by chapter 06
@torch.no_grad()
def adam_step(p, grad, m, v, rate, t, betas=(0.9, 0.999), eps=1e-8):
    """One step of torch.optim.Adam, number t, with a learning rate for each run; in place."""
    m.lerp_(grad, 1 - betas[0])
    v.lerp_(grad.square(), 1 - betas[1])
    root = (v / (1 - betas[1] ** t)).sqrt_().add_(eps)
    p.sub_(rate * (m / (1 - betas[0] ** t)) / root)
