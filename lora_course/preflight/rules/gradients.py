"""Rules: do gradients arrive where they shall?"""

import math

from torch import nn

from lora_course.preflight.adapted import layer_of
from lora_course.preflight.report import Undecided, ok, problem, some, warning


def _graded(run):
    labels = run.batch.get("labels")
    if labels is not None and not (labels != -100).any():
        raise Undecided("no token is graded, so there is no gradient to look at")


def layers_without_gradient(run):
    """After one backward pass every adapted layer has a gradient in A or in B."""
    _graded(run)
    grads, layers = run.step.grads, {}
    live = [name for name in run.added if name in grads]
    if not live:
        raise Undecided("no adapter trains")
    paired = {name: pair.layer for pair in run.pairs_or_none for name in pair.names}
    for name in live:
        layers.setdefault(paired.get(name, layer_of(name)), []).append(grads[name])
    dead = [layer for layer, found in layers.items() if not any(found)]
    dead = [n for n in dead if "expert" not in n] or (dead if len(dead) == len(layers) else [])
    if not dead:
        return ok(f"all {len(layers)} adapted layers get a gradient")
    zero = [p for p in run.pairs_or_none if p.layer in dead and not p.first.any()]
    both = [p for p in zero if not p.second.any()]
    if both:
        return problem(
            f"A and B are both zero in {len(both)} layers ({some([p.layer for p in both])}): each "
            "factor's gradient is a product with the other, so neither ever moves.",
            "Start one factor at random, as LoRA does with A, and only the other at zero.",
        )
    return problem(
        f"{len(dead)} of {len(layers)} adapted layers get no gradient: {some(dead)}.",
        "Look for what cuts the path above them: no_grad or detach in a forward pass, checkpoints "
        "without input gradients, merged or inactive adapters, layers that text never reaches.",
    )


def loss_not_finite(run):
    """The first loss is a number."""
    _graded(run)
    if math.isfinite(run.step.loss):
        return ok(f"the loss is {run.step.loss:.3g}")
    return problem(
        f"The first loss is {run.step.loss}.",
        "Look for float16 that overflows, broken weights, or rows without a graded token.",
    )


def checkpoints_without_input_gradients(run):
    """Checkpoints under a frozen embedding need enable_input_require_grads()."""
    _graded(run)
    told = [s for s in run.step.said if "None of the inputs have requires_grad" in s]
    if not told:
        return ok()
    return problem(
        "Checkpointed blocks get an input that needs no gradient, so they compute none.",
        "Call model.enable_input_require_grads(), or checkpoint with use_reentrant=False.",
    )


def dropout_off(run):
    """Dropout works in training mode only."""
    run.must_train()
    drops = [n for n, m in run.model.named_modules() if isinstance(m, nn.Dropout) and m.p > 0]
    drops = [n for n in drops if not run.modes[n]]
    asked = [n for n in drops if any(n.startswith(f"{p.layer}.") for p in run.pairs_or_none)]
    if run.trainer is not None:
        return ok("the trainer sets the mode")
    drops = drops if run.steps_done else asked  # before the first step a loop may still set it
    if not run.optimizers or not drops or run.modes[""]:
        return ok()
    return warning(
        f"The model is in eval mode, so its {len(drops)} dropout layers do nothing.",
        "Call model.train() before the loop, and again after each evaluation.",
    )
