"""Rules: do gradients arrive, and does the optimizer move what they arrive at?"""

import math

import torch
from torch import nn

from lora_course.preflight.report import Undecided, ok, problem, some, warning

SMALL = 1024  # models up to this width take much higher rates, as the course's own sweeps show
ADAM = ("adam", "lion")
OTHER = ("adafactor", "schedulefree", "prodigy", "dadapt")
PREFERENCE = ("DPO", "GRPO", "PPO", "KTO", "ORPO", "RLOO", "CPO", "Reward", "OnlineDPO", "XPO")


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
        layers.setdefault(paired.get(name, name), []).append(grads[name])
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


def optimizer_misses(run):
    """The optimizer holds every parameter that trains, and each is the model's own."""
    if not run.optimizers:
        raise Undecided("there is no optimizer yet")
    run.trained  # noqa: B018
    if hasattr(run.wrapped, "ds_config") or "FSDP" in type(run.wrapped).__name__:
        raise Undecided("the parameters are spread over several machines")
    held = {id(p) for o in run.optimizers for group in o.param_groups for p in group["params"]}
    missing = [n for n in run.trained if id(run.params[n]) not in held]
    own = {id(p) for p in run.model.parameters()}
    frozen = sum(id(p) in held and not p.requires_grad for p in run.params.values())
    if missing:
        foreign = len(held - own)
        also = f" It holds {frozen} frozen parameters" if frozen else ""
        also += f" and {foreign} that are not in the model" if foreign else ""
        return problem(
            f"The optimizer lacks {len(missing)} of the {len(run.trained)} parameters that train: "
            f"{some(missing)}.{also}{'.' if also else ''}",
            "Build the optimizer after the adapter is in and the model is on its device, from "
            "the parameters that require a gradient.",
        )
    stale = [n for n, p in run.params.items() if id(p) in held and not p.requires_grad and (
        p.grad is not None and p.grad.any())]  # fmt: skip
    if stale:
        return problem(
            f"The optimizer holds frozen parameters that have a gradient: {some(stale)}. It will "
            "move them.",
            "Build it from the parameters that require a gradient.",
        )
    return ok(f"it holds all {len(run.trained)}" + (f" and {frozen} frozen" if frozen else ""))


def _rates(run):
    """The peak rates of what trains, and the class name of the optimizer."""
    if run.optimizers:
        trains = {id(run.params[n]) for n in run.trained}
        groups = [
            group for o in run.optimizers for group in o.param_groups
            if trains & {id(p) for p in group["params"]}
        ]  # fmt: skip
        rates = [float(g.get("initial_lr", g["lr"])) for g in groups]
        if rates:
            return rates, " ".join(type(o).__name__ for o in run.optimizers)
    if run.args is None or not hasattr(run.args, "learning_rate"):
        raise Undecided("there is no optimizer yet, so no rate is known")
    kind = getattr(run.args, "optim", "adamw")
    return [run.args.learning_rate], str(getattr(kind, "value", kind))


def rate_out_of_range(run):
    """The peak rate lies in the range where this kind of training learns and stays whole."""
    rates, kind = _rates(run)
    if not run.trained:
        raise Undecided("nothing trains")
    if not any(word in kind.lower() for word in ADAM) or any(w in kind.lower() for w in OTHER):
        raise Undecided(f"{kind} has other rates than AdamW")
    if any(word in type(run.trainer).__name__ for word in PREFERENCE):
        raise Undecided("training on preferences has other rates")
    width = _width(run)
    lora = bool(run.pairs_or_none)
    if lora:
        low, high = 5e-5, 5e-2 if width <= SMALL else 5e-3
        what = "LoRA"
    elif run.added:
        low, high, what = 1e-4, 1.0, "this kind of adapter"
    else:
        low, high = 1e-7, 3e-2 if width <= SMALL else 1e-3
        what = "full fine-tuning"
    if "lion" in kind.lower():
        low, high = low / 10, high / 3
    if low <= max(rates) and min(rates) <= high:
        return ok(f"{some([f'{rate:g}' for rate in rates])}")
    small = max(rates) < low
    return problem(
        f"The learning rate is {(max if small else min)(rates):g}. For {what} with AdamW and a "
        f"model of width {width} it lies between {low:g} and {high:g}.",
        "LoRA wants about ten times the rate of full fine-tuning: begin with 2e-4, and sweep."
        if small
        else "Begin at a tenth of it, and sweep.",
    )


def _width(run):
    try:
        return run.table.weight.shape[1]
    except Undecided:
        return max((min(p.shape) for p in run.params.values() if p.dim() == 2), default=0)


def adapter_in_16_bits(run):
    """The factors are stored with enough bits for the steps that they take."""
    halves = [p for p in run.active if p.first.dtype in (torch.float16, torch.bfloat16)]
    if not halves:
        return ok()
    if any(p.first.dtype == torch.float16 for p in halves):
        return problem(
            f"{len(halves)} adapted layers are stored in float16. Gradients vanish, AdamW divides "
            "by an epsilon that is rounded to 0, and a gradient scaler refuses float16 weights.",
            "Store the adapter in float32 (PEFT's autocast_adapter_dtype=True) and compute in 16 "
            "bits by autocast.",
        )
    rates, _ = _rates(run)
    lost = [_lost(p, max(rates)) for p in halves]
    share = sum(lost) / len(lost)
    if share < 0.5:
        return ok("bfloat16, and the steps are large enough to be kept")
    return problem(
        f"The factors are in bfloat16, and at a rate of {max(rates):g} a step is less than half "
        f"the distance of two neighbours for {share:.0%} of the numbers: it is rounded away.",
        "Store the adapter in float32, or raise the rate.",
    )


def _lost(pair, rate):
    """The share of a random factor's numbers that a step of size `rate` does not change."""
    factor = pair.first if pair.first.any() else pair.second
    size = factor.detach().float().abs()
    gap = torch.exp2(torch.floor(torch.log2(size.clamp(min=1e-30))) - 7)  # bfloat16: 8 bits
    return float((gap / 2 > rate).float().mean())


def dropout_off(run):
    """Dropout works in training mode only."""
    run.trained  # noqa: B018
    drops = [n for n, m in run.model.named_modules() if isinstance(m, nn.Dropout) and m.p > 0]
    asked = [n for n in drops if any(n.startswith(f"{p.layer}.") for p in run.pairs_or_none)]
    if run.trainer is not None:
        return ok("the trainer sets the mode")
    drops = drops if run.steps_done else asked  # before the first step a loop may still set it
    if not run.optimizers or not drops or run.was_training:
        return ok()
    return warning(
        f"The model is in eval mode, so its {len(drops)} dropout layers do nothing.",
        "Call model.train() before the loop, and again after each evaluation.",
    )


def update_still_zero(run):
    """After some steps no adapted layer's update is zero."""
    if not run.steps_done:
        raise Undecided("no step was made yet")
    if run.steps_done < 2 and run.trainer is None:
        raise Undecided("one step may have had the rate 0 of a warm-up")
    zero = [p.layer for p in run.active if p.is_zero()]
    if not zero or run.steps_done < 3:
        return ok()
    return problem(
        f"After {run.steps_done} steps the update of {len(zero)} of {len(run.active)} adapted "
        f"layers is still zero: {some(zero)}.",
        "Look at the optimizer's parameters, at the gradients of these layers, and at the rate.",
    )


def scale_is_zero(run):
    """lora_alpha / r is neither zero nor beyond all reason."""
    found = {}
    for name, module in run.model.named_modules():
        scaling = getattr(module, "scaling", None)
        if name in {p.layer for p in run.pairs}:
            values = scaling.values() if isinstance(scaling, dict) else [scaling]
            found |= {(name, v): float(v) for v in values if isinstance(v, int | float)}
    if not found:
        raise Undecided("the layers do not tell their scale")
    odd = [n for n, v in found.items() if not 1 / 256 <= abs(v) <= 256]
    if not odd:
        return ok(f"scale {some(sorted({f'{v:g}' for v in found.values()}))}")
    return problem(
        f"The scale of {len(odd)} adapted layers is {found[odd[0]]:g}.",
        "Set lora_alpha between r / 2 and 2 r.",
    )


def started_damaged(run):
    """A new adapter starts as the base: one factor is zero."""
    if run.steps_done:
        raise Undecided("steps were made already")
    configs = getattr(run.model, "peft_config", {})
    configs = configs.values() if isinstance(configs, dict) else []
    flagged = any(getattr(c, "init_lora_weights", True) is False for c in configs)
    live = [p for p in run.active if not p.is_zero()]
    if not live:
        return ok("the update is zero")
    if flagged or _drawn([p.second for p in live]):
        return problem(
            f"Both factors of {len(live)} adapted layers are random: the model does not start as "
            "its base.",
            "Leave init_lora_weights at its default, or set B to zero.",
        )
    return ok("the adapter was trained before, or has an initialization of its own")


def _drawn(factors):
    """True when all factors look like one random draw: the same spread everywhere, no tails."""
    if len(factors) < 4 or min(f.numel() for f in factors) < 64:
        return False
    spreads, forms = [], []
    for factor in factors:
        x = factor.detach().float().flatten()
        spreads.append(float(x.std()))
        forms.append(float(((x - x.mean()) ** 4).mean() / x.var() ** 2))
    even = max(spreads) < 1.1 * min(spreads)
    form = sum(forms) / len(forms)
    return even and (1.7 < form < 1.9 or 2.7 < form < 3.3)
