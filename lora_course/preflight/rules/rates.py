"""Rules: is the learning rate one that LoRA learns with?"""

import torch

from lora_course.preflight.report import Undecided, ok, problem, some

SMALL = 512  # models up to this width take much higher rates, as the course's own sweeps show
ADAM = ("adam", "lion")
OTHER = ("adafactor", "schedulefree", "prodigy", "dadapt")
PREFERENCE = ("DPO", "GRPO", "PPO", "KTO", "ORPO", "RLOO", "CPO", "Reward", "OnlineDPO", "XPO")


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
        low, high = 5e-5, 5e-2 if width <= SMALL else 1e-2
        what = "LoRA"
    elif run.added:
        low, high, what = 1e-4, 1.0, "this kind of adapter"
    else:
        low, high = 1e-7, 3e-2 if width <= SMALL else 2e-3
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


def warm_up_never_ends(run):
    """The warm-up is shorter than the training, so that the peak rate is reached."""
    steps, warm = (getattr(run.args, name, 0) or 0 for name in ("max_steps", "warmup_steps"))
    if run.args is None or steps <= 0:
        raise Undecided("the number of steps is not known")
    if warm < 1 or warm < steps:
        return ok()
    return problem(
        f"The warm-up takes {warm:g} steps, and the training has {steps}.",
        "Give warmup_steps below 1 as a share of all steps, 0.1 for instance.",
    )


def adapter_in_16_bits(run):
    """The factors are stored with enough bits for the steps that they take."""
    kinds = {run.params[name].dtype for name in run.trained}
    if torch.float16 in kinds:
        return problem(
            "What trains is stored in float16. Gradients vanish, AdamW divides by an epsilon that "
            "is rounded to 0, and a gradient scaler refuses float16 weights.",
            "Store what trains in float32 (PEFT's autocast_adapter_dtype=True) and compute in 16 "
            "bits by autocast.",
        )
    halves = [p for p in run.active if p.first.dtype == torch.bfloat16]
    if not halves:
        return ok()
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
