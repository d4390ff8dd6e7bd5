"""Rules: do the adapted layers start right, and at a sensible scale?"""

from lora_course.preflight.report import Undecided, ok, problem, some


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
    chance = 3 / (2 * min(f.numel() for f in factors)) ** 0.5  # of the spread of few numbers
    even = max(spreads) < (1.1 + chance) * min(spreads)
    form = sum(forms) / len(forms)
    return even and (1.7 < form < 1.9 or 2.7 < form < 3.3)
