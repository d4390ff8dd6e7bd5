"""Rules: does an adapted layer, above all one of your own, compute what LoRA computes?"""

import copy

import torch

from lora_course.preflight.report import Undecided, ok, problem


def _specimens(run, own_only=True):
    """One adapted layer of each class as (name, layer, pair, input): a random input, (2, 3, in)."""
    named, found = dict(run.model.named_modules()), {}
    for pair in run.pairs:
        layer = named.get(pair.layer)
        foreign = type(layer).__module__.split(".")[0] in ("peft", "transformers", "torch")
        parts = sum(name.startswith(f"{pair.layer}.") for name in run.added)
        if layer is None or pair.first.dim() != 2 or (own_only and (foreign or parts != 2)):
            continue
        inside = [type(m).__name__ for m in layer.modules()]
        if "Embedding" not in " ".join(inside):
            found.setdefault((type(layer), *inside), (pair.layer, layer, pair))
    if not found:
        raise Undecided("no layer of one's own is plain LoRA" if own_only else "no linear layer")
    for name, layer, pair in found.values():
        rank = (set(pair.first.shape) & set(pair.second.shape)) or {min(pair.first.shape)}
        wide = next((n for n in pair.first.shape if n not in rank), max(pair.first.shape))
        base = [p for p in layer.parameters() if not any(p is q for q in (pair.first, pair.second))]
        kinds = [p.dtype for p in base if p.is_floating_point()] or [torch.float32]
        x = torch.randn(2, 3, wide, device=pair.first.device)
        yield name, layer.eval(), pair, x.to(kinds[0])


def base_path_cut(run):
    """Gradients pass through an adapted layer as its output says: along W and along B A."""
    for name, layer, _, x in _specimens(run, own_only=False):
        step = x.clone()
        x.requires_grad_(True)
        out = layer(x)
        (got,) = torch.autograd.grad(out.float().square().sum() / 2, x, allow_unused=True)
        moved = (layer(x + step) - out).float()  # exact: the layer is affine in x
        wanted = float((moved * out.float()).sum().detach())
        told = 0.0 if got is None else float((got * step).float().sum())
        size = float(moved.norm() * out.float().norm())
        if abs(told - wanted) > 0.05 * size:
            return problem(
                f"The gradient through {name} is not that of its output: a part of the forward "
                "pass is hidden from it.",
                "Take no_grad() and detach() out of the base's path. A frozen weight still passes "
                "gradients on to the layers under it.",
            )
    return ok()


def _with_factors(layer, pair, values, x):
    """The layer's output with other numbers in its factors, which stay as they are."""
    names = {id(p): n for n, p in layer.named_parameters()}
    new = {names[id(pair.first)]: values[0], names[id(pair.second)]: values[1]}
    return torch.func.functional_call(layer, new, (x,)).detach().float()


def scale_not_alpha_over_r(run):
    """A layer of one's own scales its update by lora_alpha / r, or by lora_alpha / sqrt(r)."""
    for name, layer, pair, x in _specimens(run):
        alpha = _number(layer, ("lora_alpha", "alpha"))
        rank = _number(layer, ("r", "rank", "lora_r")) or min(pair.first.shape)
        if not alpha:
            raise Undecided("the layer does not tell its alpha")
        one, two = (torch.randn_like(p) for p in (pair.first, pair.second))
        added = _with_factors(layer, pair, (one, two), x)
        added = added - _with_factors(layer, pair, (one, torch.zeros_like(two)), x)
        down = x @ (one.T if one.shape[-1] == x.shape[-1] else one)
        plain = (down @ (two.T if two.shape[-1] == down.shape[-1] else two)).float()
        scale = float((added * plain).sum() / plain.square().sum())
        asked = [alpha / rank, alpha / rank**0.5]
        if min(abs(scale - a) for a in asked) > 0.02 * max(asked):
            return problem(
                f"{name} scales its update by {scale:.3g}; lora_alpha / r is {asked[0]:.3g}.",
                "Multiply B A x by lora_alpha / r, once: else the rank changes the learning rate.",
            )
    return ok()


def _number(layer, names):
    values = [getattr(layer, name, None) for name in names]
    return next((float(v) for v in values if isinstance(v, int | float) and v), None)


def dropout_on_base_path(run):
    """In a layer of one's own dropout touches the update only."""
    for name, layer, pair, x in _specimens(run):
        zero = pair.first.detach(), torch.zeros_like(pair.second)
        calm = _with_factors(layer, pair, zero, x)
        noisy = _with_factors(layer.train(), pair, zero, x)
        if not torch.allclose(calm, noisy, rtol=1e-3, atol=1e-3 * float(calm.abs().max())):
            return problem(
                f"With B = 0, {name} gives another output in training mode than in eval mode.",
                "Drop the input of A, not that of the base layer.",
            )
    return ok()


def merge_changes_output(run):
    """A layer of one's own gives the same output merged and not merged."""
    for name, layer, pair, x in _specimens(run):
        if not callable(getattr(layer, "merge", None)):
            raise Undecided("the layer has no merge()")
        twin = copy.deepcopy(layer).eval()
        places = dict(twin.named_parameters())
        names = {id(p): n for n, p in layer.named_parameters()}
        with torch.no_grad():
            for p in (pair.first, pair.second):
                places[names[id(p)]].normal_(std=0.1)
            apart = twin(x).float()
            twin.merge()
            gap = float((twin(x).float() - apart).abs().max() / apart.abs().max())
        if gap > 0.02:
            return problem(
                f"Merged, {name} gives outputs that are {gap:.0%} off.",
                "Add scaling * B A to the weight in its own layout, once, and leave the update out "
                "of the forward pass afterwards.",
            )
    return ok()
