"""Checks of chapter 19: diagnoses of runs, cures, leaks, and a rule for preflight."""

import re

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, in_parts, judged
from lora_course.checks.values import Refused, array, kind
from lora_course.checks.wording import differ


def chosen(value, names, function):
    """The place of the learner's text among the texts that the task lists; -1 for another one."""
    listed = ", ".join(f'"{name}"' for name in names)
    value = fixtures.expect(value, str, function, f"one of {listed}")
    return names.index(value) if value in names else -1


def names_it(key, right, names, case, **options):
    """The promise that a diagnosis has this name."""

    def seen(v):
        known = v.shape == () and 0 <= float(v) < len(names)
        return f'{case}: "{names[int(v)]}"' if known else f"{case}: a text that is not on the list"

    return Promise(key, names.index(right), seen=seen, expected=f'"{right}"', **options)


# 19.1 Who is trained?
OPTIMIZER_NAMES = ("nothing trains", "none held", "some missing", "fine")
OPTIMIZER_CASES = {  # key: (right name, words)
    "all": ("fine", "an optimizer of what trains"),
    "more": ("fine", "an optimizer that holds frozen parameters and strangers too"),
    "groups": ("fine", "an optimizer with two groups"),
    "before": ("none held", "an optimizer built before injection"),
    "copied": ("none held", "an optimizer of another copy of the model"),
    "one": ("some missing", "an optimizer that lacks one parameter"),
    "second": ("some missing", "an optimizer whose second group lacks one"),
    "frozen": ("nothing trains", "a model that is frozen, and an optimizer that holds all"),
}


def make_optimizer_case(seed):
    rng = np.random.default_rng(seed)
    n = fixtures.normal(rng)
    a, b, r = fixtures.sizes(rng, 3, 3, 9)
    return {
        "weight": n(b, a),
        "A": n(r, a),
        "B": n(b, r),
        "other": n(b, a),
        "rate": rng.uniform(1e-3, 9e-3),
        "second": rng.uniform(0.02, 0.04),
        "missing": int(rng.integers(2)),
    }


def small_model(a):
    """A frozen layer, a trained one beside it, and a trained parameter of the model's own."""
    import torch
    from torch import nn

    model = nn.Module()
    model.frozen = fixtures.linear(a["weight"], frozen=True)
    model.other = fixtures.linear(a["other"], frozen=True)
    model.lora_A, model.late = nn.Parameter(tensor(a["A"])), nn.Module()
    model.late.head = nn.Parameter(tensor(a["B"]))  # the last one, and not called lora_
    model.shared = model.late.tied = model.lora_A  # one parameter, three names
    return model, torch


def optimizer_of(case, a):
    """(model, optimizer) of one case."""
    import copy

    model, torch = small_model(a)
    factors, rate = [model.lora_A, model.late.head], float(a["rate"])
    frozen = list(model.frozen.parameters()) + list(model.other.parameters())
    held = {"params": factors}
    if case == "more":
        held = {"params": frozen + factors + [torch.nn.Parameter(torch.ones(2))]}
    elif case == "before":
        held = {"params": frozen}
    elif case == "copied":
        held = {"params": [p for p in copy.deepcopy(model).parameters() if p.requires_grad]}
    elif case == "one":
        held = {"params": frozen + [factors[1 - a["missing"]]]}
    elif case == "frozen":
        held = {"params": factors + frozen}
        model.requires_grad_(False)
    groups = [held]
    if case in ("groups", "second"):
        last = factors[1:] if case == "groups" else frozen[1:]
        groups = [{"params": factors[:1]}, {"params": last, "lr": float(a["second"])}]
    groups[0]["lr"] = rate  # not that of `defaults`
    return model, torch.optim.SGD(groups, lr=2 * rate)


def moved_by_a_step(model, optimizer):
    """How many of the two that should train a step of the cured optimizer moves."""
    trained = [model.lora_A, model.late.head]
    was = [p.detach().clone() for p in trained]
    optimizer.zero_grad()
    sum((p**2).sum() for p in trained if p.requires_grad).backward()
    optimizer.step()
    return sum(bool((p != old).any()) for p, old in zip(trained, was, strict=True))


def probe_optimizer_case(namespace, a):
    import torch

    made = {}
    for case in OPTIMIZER_CASES:
        model, optimizer = optimizer_of(case, a)
        before = callers.Before(model)
        groups = [list(group["params"]) for group in optimizer.param_groups]
        said = namespace["diagnose_optimizer"](model, optimizer)
        made[f"said_{case}"] = chosen(said, OPTIMIZER_NAMES, "diagnose_optimizer")
        if case != "frozen":
            new = namespace["cure_optimizer"](model, optimizer)
            new = fixtures.expect(new, torch.optim.Optimizer, "cure_optimizer", "an AdamW")
            made[f"kind_{case}"] = float(type(new) is torch.optim.AdamW)
            held = [p for group in new.param_groups for p in group["params"]]
            want = {id(model.lora_A), id(model.late.head)}
            made[f"held_{case}"] = [
                len({id(p) for p in held} & want),
                len({id(p) for p in held} - want),
                len(held),
            ]
            made[f"rate_{case}"] = [group["lr"] for group in new.param_groups][:1]
            made[f"new_{case}"] = float(new is not optimizer)
        left = before.change()
        same = all(
            len(g) == len(now["params"])
            and all(p is q for p, q in zip(g, now["params"], strict=True))
            for g, now in zip(groups, optimizer.param_groups, strict=False)
        )
        made[f"left_{case}"] = left
        made[f"kept_{case}"] = float(same and len(groups) == len(optimizer.param_groups))
        if case != "frozen":
            made[f"moved_{case}"] = moved_by_a_step(model, new)
    return {key: array(np.array(value, float), key) for key, value in made.items()}


def judge_optimizer_case(i, o):
    promises = []
    for case, (right, words) in OPTIMIZER_CASES.items():
        promises.append(names_it(f"said_{case}", right, OPTIMIZER_NAMES, words))
    for case, (_, words) in OPTIMIZER_CASES.items():
        if case != "frozen":
            promises += [
                Promise(
                    f"new_{case}",
                    1,
                    seen=f"{words}: the old optimizer comes back",
                    expected="a new one",
                    share=0.5,
                ),
                Promise(
                    f"kind_{case}",
                    1,
                    seen=f"{words}: the cure is another kind of optimizer",
                    expected="a torch.optim.AdamW",
                    share=0.5,
                ),
                Promise(
                    f"moved_{case}",
                    2,
                    seen=f"{words}: a step with the cure moves {{}} of the 2 that should train",
                    expected="both move",
                    share=0.5,
                ),
                Promise(
                    f"held_{case}",
                    [2, 0, 2],
                    share=0.5,
                    expected="2, 0 and 2",
                    seen=lambda v, w=words: (
                        f"{w}: the cure holds {_show(v)} (trained "
                        "parameters, others, and all entries)"
                    ),
                ),
                Promise(f"rate_{case}", [i["rate"]], f"{words}: the rate of the cure", share=0.5),
            ]
        promises += [
            callers.unchanged(f"left_{case}", "the model", share=0.5),
            Promise(
                f"kept_{case}",
                1,
                seen=f"{words}: the old optimizer was changed",
                expected="it stays as it is",
                share=0.5,
            ),
        ]
    return judged(i, o, promises, OPTIMIZER)


def _show(v):
    return ", ".join(f"{x:g}" for x in np.asarray(v).ravel()[:3])


def optimizer_says(**changed):
    """A slip's values: the right names, but for these cases."""
    right = {case: name for case, (name, _) in OPTIMIZER_CASES.items()} | changed
    return lambda i: {f"said_{case}": OPTIMIZER_NAMES.index(n) for case, n in right.items()}


def optimizer_holds(count):
    """A slip's values: what the cure holds in every case."""

    def values(i):
        made = {}
        for case in OPTIMIZER_CASES:
            if case != "frozen":
                made |= {f"held_{case}": count(case), f"moved_{case}": count(case)[0]}
        return made

    return values


OPTIMIZER = (
    Slip(
        "frozen_wanted",
        "Frozen parameters want no optimizer: count only those that require a gradient.",
        optimizer_says(
            all="some missing", groups="some missing", before="some missing", frozen="fine"
        ),
    ),
    Slip(
        "held_is_empty",
        "None held means none of those that train. The optimizer may hold others, so it need not "
        "be empty.",
        optimizer_says(before="some missing", copied="some missing"),
    ),
    Slip(
        "any_is_enough",
        "One factor in the optimizer is not enough: those it lacks never move.",
        optimizer_says(one="fine", second="fine"),
    ),
    Slip(
        "equal_sets",
        "An optimizer may hold frozen parameters too: they get no gradient, so it "
        "skips them. Ask whether the trained ones are among those it holds.",
        lambda i: [
            optimizer_says(more="some missing")(i),
            optimizer_says(more="some missing", one="some missing")(i),
        ],
    ),
    Slip(
        "first_group",
        "An optimizer can have several groups. Go through all of `optimizer.param_groups`.",
        lambda i: [optimizer_says(groups="some missing")(i)],
    ),
    Slip(
        "frozen_first",
        "A model in which nothing requires a gradient has a name of its own. Ask that first.",
        lambda i: [optimizer_says(frozen="fine")(i), optimizer_says(frozen="none held")(i)],
    ),
    Slip(
        "counts",
        "Compare the parameters themselves, by `is` or `id`, not how many there are: an "
        "optimizer of another model has as many.",
        lambda i: [
            optimizer_says(copied="fine")(i),
            optimizer_says(copied="fine", before="fine", more="fine")(i),
            optimizer_says(copied="fine", before="fine", one="fine", second="fine")(i),
        ],
    ),
    Slip(
        "holds_all",
        "The cure holds frozen parameters as well. Take those that require a gradient.",
        optimizer_holds(lambda case: [2, 2, 4]),
    ),
    Slip(
        "old_list",
        "The cure takes the old optimizer's list. What it lacked is still missing: ask the model.",
        optimizer_holds(
            lambda case: {
                "all": [2, 0, 2],
                "more": [2, 3, 5],
                "groups": [2, 0, 2],
                "before": [0, 2, 2],
                "copied": [0, 2, 2],
                "one": [1, 2, 3],
                "second": [1, 1, 2],
            }[case]
        ),
    ),
    Slip(
        "another_rate",
        "The learning rate of the old optimizer's first group is asked for: "
        '`optimizer.param_groups[0]["lr"]`.',
        lambda i: (
            [
                {f"rate_{case}": [rate] for case in OPTIMIZER_CASES if case != "frozen"}
                for rate in (1e-3, 1e-2, 2e-4, 2 * i["rate"])
            ]
            + [{"rate_groups": [i["second"]], "rate_second": [i["second"]]}]
        ),
    ),
    Slip(
        "by_name",
        "Not everything that trains is called `lora_`: ask `requires_grad`, not the name.",
        optimizer_holds(lambda case: [1, 0, 1]),
    ),
    Slip(
        "each_name",
        "One parameter can have several names. `model.parameters()` gives it once.",
        lambda i: [optimizer_holds(lambda case, n=n: [2, 0, n])(i) for n in (3, 4)],
    ),
)

optimizer_case = Check(
    name="optimizer_case",
    title="Who is trained?",
    wants=("diagnose_optimizer", "cure_optimizer"),
    difficulty=2,
    minutes=12,
    points=15,
    verified="eight pairs of model and optimizer, two groups and another copy among them; what "
    "the cure holds, its rate, and that nothing else changed",
    hints=(
        "Two sets: what the model wants trained, and what the optimizer holds. What are the "
        "elements? Parameters have no `==` that helps.",
        "`{id(p) for p in model.parameters() if p.requires_grad}`, and the same over every group "
        'of `optimizer.param_groups`, each with its list `group["params"]`.',
        'With `wanted` and `held`: empty wanted is "nothing trains"; `not wanted & held` is '
        '"none held"; `wanted <= held` is "fine"; what remains is "some missing".',
    ),
    slips=OPTIMIZER,
    other="Compare ids: what requires a gradient in the model against what all groups hold.",
    make=make_optimizer_case,
    probe=probe_optimizer_case,
    judge=judge_optimizer_case,
)


# 19.2 A rate that it learns with
RATE_NAMES = ("nothing moves", "too high", "too low", "fine")
RUNS, STEPS = 30, 16
# The rate a run had, as powers of ten from the middle of the good ones.
STARTS = {"slow": (-2, -1.6), "slower": (-4, -3.3), "high": (1.6, 2), "higher": (3.3, 4),
          "fine": (-0.3, 0.3), "dead": (-1, 1)}  # fmt: skip


def make_rate_case(seed):
    rng = np.random.default_rng(seed)
    made, wide = {}, rng.permutation(np.linspace(-4, -1.2, len(STARTS)))
    for (case, (low, high)), size in zip(STARTS.items(), wide, strict=True):
        out, r = fixtures.sizes(rng, 2, 2, 6)
        A = np.linalg.qr(rng.normal(size=(r + 2, r)))[0].T  # (r, in)
        B = rng.choice([-1, 1], (out, r)) * rng.uniform(0.7, 1.3, (out, r)) * 10**size
        x = np.linalg.qr(rng.normal(size=(12, r + 2)))[0] * 12**0.5
        rate = 0.17 * 10 ** (size + rng.uniform(low, high))
        made |= {f"A_{case}": A, f"B_{case}": B, f"x_{case}": x, f"rate_{case}": rate}

    first = rng.uniform(1, 4, 11)  # a loss below 0 stands for one that is not a number
    falls = [np.sort(rng.uniform(low, 0.95, 6))[::-1] for low in [0.7] * 6 + [0.2] * 4]
    runs = [  # (losses as shares of the first, moved)
        (np.append(falls[0], 0.68), 2e-9),  # too low, and it has hardly moved
        (np.append(falls[1], 0.55), 0.2),
        (np.append(falls[5], [0.18, 0.3, 0.15]), 0.03),
        (np.append(falls[4], 0.5), 0.1),  # exactly half
        (np.concatenate([falls[2][:2], [1.3, 0.9, 0.3, 0.1]]), 0.9),  # over it, and back
        (np.append(falls[3], 1.8), 0.4),
        (np.append(falls[7], [-1, -1]), 0.2),
        (np.append(falls[8], [np.inf, 0.3]), 0.3),
        (np.ones(7), 0),
        (rng.uniform(0.9, 1.1, 5).tolist() + [1.2], 0),  # other rows in each step
        (np.full(3, np.inf), np.inf),
    ]
    for n, (shares, moved) in enumerate(runs):
        begin = 1 if np.isfinite(moved) else np.inf
        made[f"losses_{n}"] = np.float32(first[n]) * np.append(begin, shares)
        made[f"moved_{n}"] = moved
    return made


RATE_RIGHT = (
    "too low",
    "too low",
    "fine",
    "fine",
    *["too high"] * 4,
    *["nothing moves"] * 2,
    "too high",
)


def losses_of(a, n):
    """The losses of run n as a list, with what is no number."""
    return np.where(a[f"losses_{n}"] < 0, np.nan, a[f"losses_{n}"]).tolist()


def trained_at(a, case, rate):
    """(losses, moved) of a LoRA regression after STEPS of Adam at this rate, from the beginning."""
    start, wanted, x = a[f"A_{case}"], 2 * a[f"B_{case}"] @ a[f"A_{case}"], a[f"x_{case}"]
    factors = [start.copy(), np.zeros_like(a[f"B_{case}"])]
    means, squares, losses = [0, 0], [0, 0], []
    for step in range(1, STEPS + 1):
        A, B = factors
        off = x @ (2 * B @ A - wanted).T  # (rows, out)
        losses.append(float(np.mean(off**2)))
        slope = 2 / off.size * off.T @ x  # (out, in)
        for k, gradient in enumerate((2 * B.T @ slope, 2 * slope @ A.T)):
            means[k] = 0.9 * means[k] + 0.1 * gradient
            squares[k] = 0.999 * squares[k] + 0.001 * gradient**2
            size = np.sqrt(squares[k] / (1 - 0.999**step)) + 1e-12
            move = rate * means[k] / (1 - 0.9**step) / size
            factors[k] = factors[k] - move * (case != "dead")
    moved = max(np.abs(factors[0] - start).max(), np.abs(factors[1]).max())
    return losses, float(moved)


class TooMany(Exception):
    """Stops a search that does not end."""


def diagnosed_rates(diagnose, a):
    said = [diagnose(losses_of(a, n), float(a[f"moved_{n}"])) for n in range(len(RATE_RIGHT))]
    return {
        f"said_{n}": array(chosen(name, RATE_NAMES, "diagnose_rate")) for n, name in enumerate(said)
    }


def cured_rates(cure_rate, a):
    made = {}
    for case in STARTS:
        tried = []

        def train(rate, case=case, tried=tried):
            tried.append(float(rate))
            if len(tried) > RUNS:
                raise TooMany(f"more than {RUNS} runs, the last with a rate of {tried[-2]:.1e}")
            return trained_at(a, case, tried[-1])

        def cure(case=case, train=train):
            return cure_rate(train, float(a[f"rate_{case}"]))

        if case == "dead":
            made |= callers.failing("dead", cure, ValueError)
        else:
            try:
                rate = array(cure(), "the rate").reshape(-1)
            except TooMany:
                rate = np.array(tried[-2:-1])
            rate = float(rate[0]) if rate.size == 1 and np.isfinite(rate[0]) else 0.0
            losses, _ = trained_at(a, case, rate)
            made[f"given_{case}"] = rate
            made[f"peak_{case}"] = min(max(losses) / losses[0], 1e30)
            made[f"end_{case}"] = min(losses[-1] / losses[0], 1e30)
        made[f"runs_{case}"] = len(tried)
        made[f"tried_{case}"] = np.array(tried[-2:-1] or [0.0])
    return {key: value if key.endswith("_said") else array(value) for key, value in made.items()}


def probe_rate_case(namespace, a):
    names = namespace["diagnose_rate"], namespace["cure_rate"]
    made = fixtures.attempt("diagnosis", lambda: diagnosed_rates(names[0], a))
    made |= fixtures.attempt("cure", lambda: cured_rates(names[1], a))
    return fixtures.unless_all_open(made, ("diagnosis", "cure"))


def judge_rate_case(i, o):
    diagnoses, cures = [], []
    for n, right in enumerate(RATE_RIGHT):
        losses = " ".join(f"{loss:.3g}" for loss in losses_of(i, n))
        words = f"losses {losses}, moved {i[f'moved_{n}']:g}"
        diagnoses.append(names_it(f"said_{n}", right, RATE_NAMES, words))
    for case in STARTS:
        begin = f"a run that had the rate {float(i[f'rate_{case}']):.1e}"
        if case == "dead":
            cures += callers.raises(o, "dead", "a run in which nothing moves", "ValueError")
            continue
        given = f"{begin}: with your {float(np.max(o.get(f'given_{case}', 0))):.1e} the"
        last = float(np.max(o.get(f"tried_{case}", 0)))
        cures += [
            Promise(
                f"runs_{case}",
                lambda v: v <= RUNS,
                seen=f"{begin}: more than {RUNS} runs, the last with the rate {last:.1e}",
                expected="a rate with which it is fine",
            ),
            Promise(
                f"peak_{case}",
                lambda v: v <= 1,
                seen=given + " loss rises to {} times the first",
                expected="no loss above the first",
            ),
            Promise(
                f"end_{case}",
                lambda v: v <= 0.5,
                seen=given + " last loss is {} times the first",
                expected="half of it or less",
            ),
        ]
    return in_parts(judged(i, o, diagnoses, RATES, "diagnosis"), judged(i, o, cures, RATES, "cure"))


def rate_says(**changed):
    """A slip's values: the right names, but for these; keys as in `n4`, None for any name."""
    right = {f"n{n}": name for n, name in enumerate(RATE_RIGHT)} | changed
    return {f"said_{n[1:]}": RATE_NAMES.index(name) for n, name in right.items() if name}


def rates_given(rule):
    """A slip's values: what comes back is rule(case, rate), in every case that has a cure."""

    def values(i):
        made = {}
        for case in STARTS:
            if case != "dead":
                made[f"given_{case}"] = rule(case, float(i[f"rate_{case}"]))
                made |= {
                    f"peak_{case}": lambda v: v.size == 1,
                    f"end_{case}": lambda v: v.size == 1,
                }
        return made

    return values


def same_everywhere(i):
    """One rate for all: known when the first is close to each of the others in the judge."""
    return [rates_given(lambda case, rate, k=k: k)(i) for k in (1e-4, 2e-4, 1e-3, 2e-3, 1e-2, 2e-5)]


DOWN = {"high", "higher"}
RATES = (
    Slip(
        "nan_unseen",
        "Comparisons with a loss that is not a number are always False, and `max` may skip it: "
        "ask `math.isfinite` of every loss.",
        lambda i: [rate_says(n6=name, n7=None, n10=None) for name in ("fine", "too low")],
    ),
    Slip(
        "last_only",
        "A loss that rose above the first one and came back counts too: look at every loss.",
        lambda i: rate_says(n4="fine", n6=None, n7=None, n10=None),
    ),
    Slip(
        "infinite_first",
        "Where the first loss is infinite, none is larger: ask `math.isfinite` of every loss.",
        lambda i: [rate_says(n10=name) for name in ("fine", "too low")],
    ),
    Slip(
        "rise_unseen",
        "A rate can be too high while every loss is a number: ask as well whether one is above "
        "the first.",
        lambda i: rate_says(n4="fine", n5="too low"),
    ),
    Slip(
        "any_rise",
        "Too high is above the first loss, not above the one before.",
        lambda i: rate_says(n2="too high"),
    ),
    Slip(
        "moved_last",
        "Ask `moved` first: where it is 0, losses differ only because the rows do.",
        lambda i: [
            rate_says(n9="too high"),
            rate_says(n9="too high", n10="nothing moves"),
            rate_says(n8="too low", n9="too high"),
        ],
    ),
    Slip(
        "nearly_still",
        "A number that has moved by a billionth has moved: at a tiny rate, that is all it can do. "
        "Compare with 0 itself.",
        lambda i: rate_says(n0="nothing moves"),
    ),
    Slip(
        "below_half",
        "A last loss of exactly half the first one is fine: `>`, not `>=`.",
        lambda i: rate_says(n3="too low"),
    ),
    Slip(
        "another_half",
        "What counts is the last loss against half the first one: `losses[-1] > losses[0] / 2`.",
        lambda i: rate_says(n2="too low", n3="too low"),
    ),
    Slip(
        "low_first",
        "A run can be too high and too low at once. Ask in the order of the text: too high first.",
        lambda i: rate_says(n5="too low"),
    ),
    Slip(
        "any_fall",
        "It is not enough that the loss falls: at the end it must be half the first one or less.",
        lambda i: [rate_says(n0="fine", n1="fine"), rate_says(n0="fine")],
    ),
    Slip(
        "untouched",
        "The rate comes back as it was. Make a run, name what is wrong, change the rate; repeat.",
        rates_given(lambda case, rate: rate),
    ),
    Slip(
        "one_step",
        "One change of the rate is not always enough: train and look again, until it is fine.",
        lambda i: [
            rates_given(
                lambda c, rate, k=k: rate / k if c in DOWN else rate * (k if c != "fine" else 1)
            )(i)
            for k in (2, 3, 5, 10, 100)
        ],
    ),
    Slip(
        "always_up",
        "Too high and too low want opposite changes: look at which of them it is.",
        lambda i: (
            [rates_given(lambda c, rate, k=k: rate * k)(i) for k in (2, 3, 5, 10, 100)]
            + [
                rates_given(lambda c, rate, k=k: rate if c == "fine" else rate * k)(i)
                for k in (2, 3, 5, 10)
            ]
            + [
                {f"runs_{c}": RUNS + 1, f"tried_{c}": lambda v, c=c: v.max() > i[f"rate_{c}"]}
                for c in DOWN
            ]
        ),
    ),
    Slip(
        "upside_down",
        "Where the rate is too low a higher one helps, and the other way round: the change is "
        "upside down.",
        lambda i: {"runs_slow": RUNS + 1, "tried_slow": lambda v: v.max() < i["rate_slow"]},
    ),
    Slip(
        "small_steps",
        "The way may be long, up to a factor of ten thousand. Change the rate by a larger factor, "
        "such as 3 or 5.",
        lambda i: [
            {
                f"runs_{case}": RUNS + 1,
                f"tried_{case}": lambda v, case=case: (
                    (v.max() > i[f"rate_{case}"]) != (case in DOWN)
                ),
            }
            for case in STARTS
            if case not in ("fine", "dead")
        ],
    ),
    Slip(
        "same_everywhere",
        "No one rate is good for every run: these factors are small in one and large in another. "
        "Search with `train`.",
        same_everywhere,
    ),
    Slip(
        "searches_the_dead",
        "No rate moves what is not trained. Where `moved` is 0, raise a ValueError and stop.",
        lambda i: {"dead_error": 2, "runs_dead": RUNS + 1},
    ),
)

rate_case = Check(
    name="rate_case",
    title="A rate that it learns with",
    wants=("diagnose_rate", "cure_rate"),
    difficulty=3,
    minutes=12,
    points=15,
    verified="ten runs, with a loss that is no number, a rise that comes back, exactly half, and "
    "a move of a billionth; six searches from a ten thousandth to ten thousand times a good rate, "
    "each trained once more with the rate found",
    hints=(
        "The diagnosis is four questions in the order of the text. The cure asks it again after "
        "every run: what does each name tell you about the rate?",
        "`math.isfinite(loss)` finds what is infinite or not a number; ask it, and "
        "`loss <= losses[0]`, of every loss. In the cure, `diagnose_rate(*train(rate))` in a loop.",
        '`while case != "fine":` raise for "nothing moves", multiply by 5 for "too low", divide '
        "by 5 otherwise, then `case = diagnose_rate(*train(rate))`. Return the rate.",
    ),
    slips=RATES,
    other="Name the run, change the rate as the name says, train again, and stop when it is fine.",
    make=make_rate_case,
    probe=probe_rate_case,
    judge=judge_rate_case,
)


# 19.3 Which tokens are graded?
LABEL_NAMES = ("fine", "prompt graded", "end lost", "shifted", "filler graded")


def make_label_case(seed):
    rng = np.random.default_rng(seed)
    made = {}
    for n, name in enumerate(LABEL_NAMES * 2):
        prompt, answer, filler = fixtures.sizes(rng, 3, 2, 9)
        if n >= len(LABEL_NAMES) and name != "filler graded":
            filler = 0
        ids = rng.permutation(np.arange(5, 60))[: prompt + answer]
        if n < len(LABEL_NAMES):  # the number of the filler also occurs in the prompt
            ids[0] = 3
        last = prompt + answer
        ids = np.concatenate([ids, np.full(filler, 3)])
        labels = ids.copy()
        labels[:prompt] = labels[last:] = -100
        if name == "prompt graded":
            graded = slice(1, prompt) if n < len(LABEL_NAMES) else slice(1)  # not all of them
            labels[graded] = ids[graded]
        elif name == "end lost":
            labels[last - 1] = -100
        elif name == "shifted":
            labels = np.append(labels[1:], -100)
        elif name == "filler graded":
            labels[last:] = ids[last:]
        mask = (np.arange(len(ids)) < last).astype(np.int64)
        made |= {f"ids_{n}": ids, f"labels_{n}": labels, f"mask_{n}": mask, f"start_{n}": prompt}
    return made


def right_labels(i, n):
    start, last = int(i[f"start_{n}"]), int(i[f"mask_{n}"].sum())
    right = np.full_like(i[f"ids_{n}"], -100)
    right[start:last] = i[f"ids_{n}"][start:last]
    return right


def answer_after(ids, labels, start):
    """What a table of next tokens says after the prompt when one step has taught it these labels.

    It stops where it has learned nothing, or after as many tokens as the row has.
    """
    import torch

    if labels.shape != ids.shape or not np.isin(labels, [-100, *range(60)]).all():
        return [-1]
    ids, labels = torch.from_numpy(ids), torch.from_numpy(labels).long()
    if (labels[1:] == -100).all():
        return []
    table = torch.zeros(60, 60, requires_grad=True)  # (token, next one)
    torch.nn.functional.cross_entropy(table[ids[:-1]], labels[1:]).backward()
    learned, said = -table.grad, [int(ids[start - 1])]
    while learned[said[-1]].any() and len(said) <= len(ids):
        said.append(int(learned[said[-1]].argmax()))
    return said[1:]


def row_of(a, n):
    """ids, labels, mask and start of one row."""
    import torch

    row = [torch.from_numpy(np.array(a[f"{key}_{n}"])) for key in ("ids", "labels", "mask")]
    return *row, int(a[f"start_{n}"])


def cured_rows(cure, a):
    made = {}
    for n in range(2 * len(LABEL_NAMES)):
        ids, _, mask, start = row_of(a, n)
        before = callers.Before(ids, mask)
        made[f"cured_{n}"] = array(cure(ids, mask, start), "the right labels")
        made[f"left_{n}"] = array(before.change())
        said = answer_after(np.array(a[f"ids_{n}"]), made[f"cured_{n}"], start)
        made[f"says_{n}"] = array(np.array(said, float))
    return made


def diagnosed_rows(diagnose, a):
    made = {}
    for n in range(2 * len(LABEL_NAMES)):
        row = row_of(a, n)
        before = callers.Before(*row[:3])
        made[f"said_{n}"] = array(chosen(diagnose(*row), LABEL_NAMES, "diagnose_labels"))
        made[f"looked_{n}"] = array(before.change())
    return made


def probe_label_case(namespace, a):
    names = namespace["cure_labels"], namespace["diagnose_labels"]
    made = fixtures.attempt("cure", lambda: cured_rows(names[0], a))
    made |= fixtures.attempt("diagnosis", lambda: diagnosed_rows(names[1], a))
    return fixtures.unless_all_open(made, ("cure", "diagnosis"))


def tokens(numbers):
    """Tokens in words: the first six of them."""
    listed = [f"{float(t):g}" for t in np.ravel(numbers)]
    return " ".join(listed[:6] + ["..."] * (len(listed) > 6)) or "nothing"


def judge_label_case(i, o):
    names, cures = [], []
    for n, name in enumerate(LABEL_NAMES * 2):
        place = f"a row of {len(i[f'ids_{n}'])} tokens, its answer from {int(i[f'start_{n}'])} on"
        names.append(names_it(f"said_{n}", name, LABEL_NAMES, place))
        names.append(callers.unchanged(f"looked_{n}", "ids, labels or mask, after the diagnosis"))
        right, cured = right_labels(i, n), o.get(f"cured_{n}", np.zeros(0))
        seen, expected = differ(cured, right, "cure_labels: labels", 1e-4, 1e-6)
        said, answer = o.get(f"says_{n}", []), right[right != -100]
        spoken = f"trained on them, a small model says {tokens(said)} after the prompt"
        cures += [
            Promise(
                f"cured_{n}",
                right,
                seen=lambda v, words=f"{seen}; {spoken}": words,
                expected=f"{expected}; {tokens(answer)}",
            ),
            Promise(
                f"says_{n}",
                answer,
                seen=lambda v, words=spoken: words,
                expected=tokens(answer),
            ),
            callers.unchanged(f"left_{n}", "ids or mask, after the cure"),
        ]
    return in_parts(judged(i, o, cures, LABELS, "cure"), judged(i, o, names, LABELS, "diagnosis"))


def label_says(**changed):
    """A slip's values: the right names, but for these (by name with _ for a space)."""
    other = {key.replace("_", " "): value for key, value in changed.items()}
    right = [other.get(name, name) for name in LABEL_NAMES * 2]
    return lambda i: {f"said_{n}": LABEL_NAMES.index(name) for n, name in enumerate(right)}


def cured_as(rule):
    """A slip's values: the cure of every row by another rule of (ids, start, last, T)."""

    def values(i):
        made = {}
        for n in range(2 * len(LABEL_NAMES)):
            ids, start, last = i[f"ids_{n}"], int(i[f"start_{n}"]), int(i[f"mask_{n}"].sum())
            keep = rule(ids, start, last, np.arange(len(ids)))
            made[f"cured_{n}"] = np.where(keep, ids, -100)
        return made

    return values


LABELS = (
    Slip(
        "shift_unseen",
        "Shifted labels also grade the last place of the prompt. Look for the shift first: compare "
        "with the right labels moved by one to the front, `torch.cat([right[1:], ...])`.",
        label_says(shifted="prompt graded"),
    ),
    Slip(
        "shift_is_end",
        "In shifted labels the last real token has -100 too. Look for the shift first.",
        label_says(shifted="end lost"),
    ),
    Slip(
        "filler_unseen",
        "Filler behind the answer is graded in some rows. Where the mask is 0, a "
        "label must be -100.",
        label_says(filler_graded="fine"),
    ),
    Slip(
        "end_unseen",
        "The end token is part of the answer, its last token. Without it the model "
        "never learns to stop.",
        label_says(end_lost="fine"),
    ),
    Slip(
        "part_of_prompt",
        "One graded place before `start` is enough: look at all of them.",
        lambda i: [
            label_says(prompt_graded="filler graded")(i),
            *({**label_says()(i), f"said_{n}": LABEL_NAMES.index("filler graded")} for n in (1, 6)),
        ],
    ),
    Slip(
        "end_not_cured",
        "The end token must be graded too: it is the last real token of the row.",
        cured_as(lambda ids, start, last, t: (t >= start) & (t < last - 1)),
    ),
    Slip(
        "filler_cured",
        "Filler is still graded. Where the mask is 0, the label is -100.",
        cured_as(lambda ids, start, last, t: t >= start),
    ),
    Slip(
        "prompt_cured",
        "The prompt is still graded. Before `start`, the label is -100.",
        cured_as(lambda ids, start, last, t: t < last),
    ),
    Slip(
        "one_late",
        "The first token of the answer must be graded too: it stands at `start`.",
        cured_as(lambda ids, start, last, t: (t > start) & (t < last)),
    ),
    Slip(
        "one_early",
        "One place of the prompt is graded: the answer begins at `start`, so what comes before "
        "has -100.",
        cured_as(lambda ids, start, last, t: (t >= start - 1) & (t < last)),
    ),
    Slip(
        "zero_ignored",
        "0 is a token, and would be learned. What is not graded has -100.",
        lambda i: [
            {
                f"cured_{n}": np.where(right_labels(i, n) == -100, off(i, n), right_labels(i, n))
                for n in range(2 * len(LABEL_NAMES))
            }
            for off in (
                lambda i, n: np.where(i[f"mask_{n}"] == 0, 0, -100),
                lambda i, n: np.zeros_like(i[f"mask_{n}"]),
            )
        ],
    ),
    Slip(
        "by_number",
        "Mask by place, not by number: in a row without filler the last token is the end token, "
        "which is graded.",
        cured_as(lambda ids, start, last, t: (t >= start) & (ids != ids[-1])),
    ),
    Slip(
        "cured_shifted",
        "The model shifts labels itself. Right labels stand at the place of their token.",
        lambda i: {
            f"cured_{n}": np.append(right_labels(i, n)[1:], -100)
            for n in range(2 * len(LABEL_NAMES))
        },
    ),
)

label_case = Check(
    name="label_case",
    title="Which tokens are graded?",
    wants=("diagnose_labels", "cure_labels"),
    difficulty=3,
    minutes=15,
    points=15,
    verified="ten rows with two of each case, with the filler's number inside the prompt as well",
    hints=(
        "Write `cure_labels` first. Then ask how the given labels differ from the right ones, and "
        "in which order you must ask.",
        "Shifted labels look like two other cases at once. So compare with `right`, then with "
        "`right` moved by one place, and only then look at the parts.",
        "`torch.cat([right[1:], right.new_tensor([-100])])` is the shifted form. The last real "
        "token stands at `mask.sum() - 1`.",
    ),
    slips=LABELS,
    other="Compare with the right labels, then with them moved by one, then part by part.",
    make=make_label_case,
    probe=probe_label_case,
    judge=judge_label_case,
)


# 19.4 What the test has seen
WORDS = ("Lena", "hat", "market", "Ömer", "STRASSE", "boat", "7", "rain", "mill", "café", "tea")


def clean(text):
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def make_leaks(seed):
    rng = np.random.default_rng(seed)

    def line(k=4):
        return [str(w) for w in rng.permutation(WORDS)[:k]]

    train = [line(int(rng.integers(3, 6))) for _ in range(7)]
    seen = [train[k] for k in rng.permutation(7)[:5]]
    train = [words for words in train if words is not seen[2]]
    seen[3][0] = "STRASSE"
    test = [
        " ".join(seen[0]),  # letter by letter
        f"  {'  '.join(seen[1]).upper()}",
        f"«{', '.join(seen[2])}?»",
        "\t".join(seen[3]).replace("STRASSE", "Straße") + "\n",
        " ".join(seen[4][:-1]),  # a part of one
        " ".join(reversed(seen[4])),
        "".join(seen[3]),  # no spaces at all
        "...",
        "?!",  # nothing is left of them
        " ".join(seen[0]) + ".",  # leaked again
        " ".join(seen[1]).upper(),
    ]
    own = [line(6) for _ in range(3)]
    test += [" ".join(own[0]), f"{' '.join(own[0]).casefold()}!", " ".join(own[1])]
    test += [f"{' '.join(own[0])} ", " ".join(own[2])]
    test += ["gate lamp 8 oak", "gate_lamp 7_oak", "lamp caf mer gate", "oak gate"]
    order = rng.permutation(len(test))
    train.insert(2, ["", "-", ""])
    train += [
        ["gate", "lamp", "7", "oak"],
        ["lamp", "café", "Ömer", "gate"],
        ["oak", "oak", "gate"],
    ]
    train.append(seen[2])  # the last one counts too
    made = {f"train_{n}": np.array(" ".join(words)) for n, words in enumerate(train)}
    made |= {f"test_{n}": np.array(test[k]) for n, k in enumerate(order)}
    return {key: texts_as_numbers(str(value)) for key, value in made.items()}


def texts_as_numbers(text):
    return np.array([ord(c) for c in text], dtype=np.int64)


def as_texts(i, part):
    found = sorted((int(k.rpartition("_")[2]), k) for k in i if k.startswith(f"{part}_"))
    return ["".join(chr(int(c)) for c in np.atleast_1d(i[key])) for _, key in found]


def probe_leaks(namespace, a):
    train, test = as_texts(a, "train"), as_texts(a, "test")
    given = list(train), list(test)
    names = ("the leaked places", "the repeated places")
    found = fixtures.several(namespace["find_leaks"](train, test), names, "find_leaks")
    left = (train, test) != given
    train, test = list(given[0]), list(given[1])
    kept = namespace["cure_test"](train, test)
    wanted = "a list of prompts"
    kept = list(fixtures.expect(kept, (list, tuple), "cure_test", wanted))
    kept = [
        fixtures.expect(text, str, "cure_test, as the first of its list,", "a text")
        for text in kept
    ]
    left |= (train, test) != given
    train, test = given
    known = {clean(text) for text in train} - {""}
    return {
        "leaked": found[0],
        "repeated": found[1],
        "left": array(float(left)),
        "kept": array([test.index(text) if text in test else -1 for text in kept]),
        "by_heart": array(sum(clean(text) in known for text in kept)),
    }


def left_by(leaked, repeated, i):
    """The places of test that are neither."""
    out = {int(place) for place in (*leaked, *repeated)}
    return [n for n in range(len(as_texts(i, "test"))) if n not in out]


def leaks_by(how, empty=True, among_train=True):
    """(leaked, repeated) with another way to clean."""

    def values(i):
        train, test = as_texts(i, "train"), as_texts(i, "test")
        known, seen, leaked, repeated = {how(text) for text in train}, set(), [], []
        if empty:
            known -= {""}
        for place, text in enumerate(map(how, test)):
            if text in known:
                leaked.append(place)
                if not among_train and text in seen:
                    repeated.append(place)
            elif text in seen and (text or not empty):
                repeated.append(place)
            seen.add(text)
        return {"leaked": np.array(leaked, float), "repeated": np.array(repeated, float)}

    return values


def judge_leaks(i, o):
    right = leaks_by(clean)(i)
    promises = [
        Promise("leaked", right["leaked"], "the places that leaked"),
        Promise("repeated", right["repeated"], "the places that repeat another", share=0.6),
        Promise(
            "left", 0, seen="train or test was changed", expected="they stay as they are", share=0.6
        ),
    ]
    promises += [
        Promise(
            "by_heart",
            0,
            seen="a model that knows train by heart answers {} of the prompts that are left",
            expected="none",
            share=0.6,
        ),
        Promise(
            "kept",
            left_by(*right.values(), i),
            "the places in test of the prompts that are left",
            share=0.6,
        ),
    ]
    return judged(i, o, promises, LEAKS)


def kept_by(rule):
    """A slip's values: what is left by rule(leaked, repeated, i), both lists being right."""

    def values(i):
        train, test = as_texts(i, "train"), as_texts(i, "test")
        left = rule(*leaks_by(clean)(i).values(), i)
        known = {clean(text) for text in train} - {""}
        by_heart = sum(clean(test[n]) in known for n in left)
        return {"kept": np.array(left, float), "by_heart": by_heart}

    return values


def unlike(i, repeated, whole):
    """Places whose text, as written, is not in train; whole: without those that repeat."""
    train, test = as_texts(i, "train"), as_texts(i, "test")
    left = [n for n, text in enumerate(test) if text not in train]
    return [n for n in left if n not in repeated] if whole else left


LEAKS = (
    Slip(
        "letter_by_letter",
        "A comparison letter by letter misses capitals, spaces and marks. Clean both sides first.",
        lambda i: [leaks_by(lambda t: t, empty=False)(i), leaks_by(lambda t: t.strip())(i)],
    ),
    Slip(
        "lower_only",
        "Small letters alone are not enough: commas, quotes and runs of spaces are "
        "still different.",
        lambda i: [
            leaks_by(str.casefold, empty=False)(i),
            leaks_by(str.lower, empty=False)(i),
            leaks_by(lambda t: t.casefold().strip())(i),
            leaks_by(lambda t: " ".join(t.casefold().split()))(i),
        ],
    ),
    Slip(
        "lower",
        "`str.casefold` knows that ß and ss are one; `str.lower` does not.",
        leaks_by(lambda t: " ".join("".join(c if c.isalnum() else " " for c in t.lower()).split())),
    ),
    Slip(
        "removed",
        "A mark becomes a space, it does not vanish: «tea,hat» is two words.",
        leaks_by(lambda t: "".join(c for c in t.casefold() if c.isalnum())),
    ),
    Slip(
        "bag",
        "The order of words belongs to a question: do not sort them.",
        lambda i: [
            leaks_by(lambda t: " ".join(sorted(clean(t).split())))(i),
            leaks_by(lambda t: " ".join(sorted(set(clean(t).split()))))(i),
        ],
    ),
    Slip(
        "no_digits",
        "Digits stay: `isalnum`, not `isalpha`.",
        leaks_by(
            lambda t: " ".join("".join(c if c.isalpha() else " " for c in t.casefold()).split())
        ),
    ),
    Slip(
        "underscore",
        "`_` is neither letter nor digit, though `\\w` takes it: it becomes a space.",
        leaks_by(lambda t: " ".join(re.findall(r"\w+", t.casefold()))),
    ),
    Slip(
        "ascii",
        "Letters are more than a to z: `str.isalnum` knows ö and é.",
        leaks_by(lambda t: " ".join(re.findall(r"[a-z0-9]+", t.casefold()))),
    ),
    Slip(
        "words_once",
        "A word that stands twice stays twice.",
        leaks_by(lambda t: " ".join(dict.fromkeys(clean(t).split()))),
    ),
    Slip(
        "empty_equal",
        "Nothing is left of «...» after cleaning, and nothing equals nothing: leave such rows out.",
        leaks_by(clean, empty=False),
    ),
    Slip(
        "counted_twice",
        "A leaked prompt that comes again is leaked, not repeated: it stands in "
        "the first list alone.",
        leaks_by(clean, among_train=False),
    ),
    Slip(
        "first_counts",
        "The first of several equal prompts repeats nothing: look only at those before.",
        lambda i: {
            "leaked": leaks_by(clean)(i)["leaked"],
            "repeated": [
                n
                for n in left_by(leaks_by(clean)(i)["leaked"], [], i)
                if sum(clean(t) == clean(as_texts(i, "test")[n]) for t in as_texts(i, "test")) > 1
                and clean(as_texts(i, "test")[n])
            ],
        },
    ),
    Slip(
        "swapped",
        "The two lists are in the wrong order: those that leaked come first.",
        lambda i: dict(zip(("repeated", "leaked"), leaks_by(clean)(i).values(), strict=True)),
    ),
    Slip(
        "runs_of_spaces",
        "A mark and the space beside it make two spaces: runs become one, "
        '`" ".join(text.split())`.',
        leaks_by(lambda t: "".join(c if c.isalnum() else " " for c in t.casefold()).strip()),
    ),
    Slip(
        "repeats_left",
        "Prompts that repeat another go as well: one question must not count twice.",
        kept_by(lambda leaked, repeated, i: left_by(leaked, [], i)),
    ),
    Slip(
        "leaks_left",
        "Prompts that leaked go as well: they are in the first list.",
        kept_by(lambda leaked, repeated, i: left_by([], repeated, i)),
    ),
    Slip(
        "as_written",
        "Leaks hide behind capitals and marks: use the places that `find_leaks` names, not the "
        "texts as they are written.",
        lambda i: [
            kept_by(lambda leaked, repeated, i: unlike(i, repeated, True))(i),
            kept_by(lambda leaked, repeated, i: unlike(i, repeated, False))(i),
        ],
    ),
    Slip(
        "nothing_left_out",
        "All of test comes back. Leave out the places that `find_leaks` names.",
        kept_by(lambda leaked, repeated, i: left_by([], [], i)),
    ),
    Slip(
        "the_others",
        "These are the prompts that should go. What is wanted is what is left.",
        kept_by(lambda leaked, repeated, i: sorted(map(int, [*leaked, *repeated]))),
    ),
    Slip(
        "empty_dropped",
        "A prompt that is empty after cleaning equals nothing, so it neither leaked nor repeats: "
        "it stays.",
        kept_by(
            lambda leaked, repeated, i: [
                n for n in left_by(leaked, repeated, i) if clean(as_texts(i, "test")[n])
            ]
        ),
    ),
    Slip(
        "as_cleaned",
        "The prompts come back as they are written, not cleaned.",
        lambda i: {"kept": lambda v: (v == -1).sum() > 1},
    ),
    Slip(
        "another_order",
        "The prompts keep the order that they have in test.",
        lambda i: {
            "kept": lambda v: sorted(v.tolist()) == left_by(*leaks_by(clean)(i).values(), i)
        },
    ),
)

leaks = Check(
    name="leaks",
    title="What the test has seen",
    wants=("find_leaks", "cure_test"),
    difficulty=2,
    minutes=12,
    points=15,
    verified="copies with capitals, quotes, tabs, ß for SS; near misses; empty rows; repeats; that "
    "what is left holds none of them and all of the rest",
    hints=(
        "Write the cleaning as a function of its own, and use it on both sides.",
        "`text.casefold()`, then each character that is not `isalnum()` becomes a space, then "
        '`" ".join(text.split())`. Sets make the search fast.',
        "Go through test once. In the set of train: leaked. Else, if it has been seen in test: "
        "repeated. Skip what is empty. For the cure, go through `enumerate(test)` and keep the "
        "places that are in neither list.",
    ),
    slips=LEAKS,
    other="Clean both sides in the same way, then compare whole texts, not parts.",
    make=make_leaks,
    probe=probe_leaks,
    judge=judge_leaks,
)


# 19.5 Once, twice, or elsewhere
MERGE_NAMES = ("base", "merged", "merged twice", "another base")


def make_merge_case(seed):
    rng = np.random.default_rng(seed)
    n = fixtures.normal(rng)
    rows, columns = fixtures.sizes(rng, 2, 4, 9)
    made = {}
    for k, name in enumerate(MERGE_NAMES * 2):
        W, delta = 3 * n(rows, columns), (0.5 if k < 4 else 0.005) * n(rows, columns)
        if k < 2:  # the largest magnitude is that of a negative number
            delta *= -np.sign(delta.flat[np.abs(delta).argmax()])
            delta[delta > 0] *= 0.5
        largest = np.abs(delta).max()
        noise = rng.uniform(-0.007, 0.007, W.shape).astype(np.float32) * largest
        noise[0, 0] = 0.007 * largest
        stored = W + min(MERGE_NAMES.index(name), 2) * delta + noise
        if k == 3:  # one entry is off, by less than a merge moves it
            stored = W + delta + noise / 4
            stored[rng.integers(rows), rng.integers(columns)] += 0.05 * largest
        if k == 7:
            stored = W + 2 * delta + noise / 4 - 0.03 * largest  # all entries are off
        made |= {f"stored_{k}": stored, f"W_{k}": W, f"delta_{k}": delta}
    return {key: value.astype(np.float32) for key, value in made.items()}


def probe_merge_case(namespace, a):
    made = {}
    for k, name in enumerate(MERGE_NAMES * 2):
        stored, W, delta = (tensor(a[f"{key}_{k}"]) for key in ("stored", "W", "delta"))
        before = callers.Before(stored, W, delta)
        said = namespace["diagnose_merge"](stored, W, delta)
        made[f"said_{k}"] = array(chosen(said, MERGE_NAMES, "diagnose_merge"))
        if name != "another base":
            cured = namespace["cure_merge"](stored, delta, name)
            made[f"cured_{k}"] = array(cured, "the weight merged once")
        else:
            call = lambda s=stored, d=delta: namespace["cure_merge"](s, d, "another base")  # noqa: E731
            made |= callers.failing(f"refused_{k}", call, ValueError)
        made[f"left_{k}"] = array(before.change())
    return made


def judge_merge_case(i, o):
    promises = []
    for k, name in enumerate(MERGE_NAMES * 2):
        what = f"a stored weight of {i[f'W_{k}'].shape[0]} rows"
        promises.append(names_it(f"said_{k}", name, MERGE_NAMES, what))
    for k, name in enumerate(MERGE_NAMES * 2):
        if name == "another base":
            promises += callers.raises(o, f"refused_{k}", '"another base"', "ValueError")
        else:
            promises.append(
                Promise(
                    f"cured_{k}", cured_weight(i, k), f'the cure for "{name}"', share=0.5, atol=1e-5
                )
            )
        promises.append(callers.unchanged(f"left_{k}", "stored, W or delta", share=0.5))
    return judged(i, o, promises, MERGES)


def cured_weight(i, k):
    times = MERGE_NAMES.index((MERGE_NAMES * 2)[k])
    return i[f"stored_{k}"] + (1 - times) * i[f"delta_{k}"]


def merge_says(rule):
    """A slip's values: names by another distance. rule(difference, delta, W) -> is it the same."""

    def values(i):
        made = {}
        for k in range(2 * len(MERGE_NAMES)):
            W, delta, stored = (i[f"{key}_{k}"] for key in ("W", "delta", "stored"))
            same = [rule(stored - W - t * delta, delta, W) for t in range(3)]
            made[f"said_{k}"] = same.index(True) if any(same) else 3
        return made

    return values


def all_cured(weight):
    return lambda i: {f"cured_{k}": weight(i, k) for k in range(8) if k % 4 < 3}


MERGES = (
    Slip(
        "equal",
        "Stored weights were rounded, so they are never equal. Allow a hundredth of the "
        "delta's largest magnitude.",
        merge_says(lambda d, delta, W: not d.any()),
    ),
    Slip(
        "mean",
        "One entry that is off makes another weight: take the largest difference, not the mean "
        "or the smallest.",
        lambda i: [
            merge_says(lambda d, delta, W: np.abs(d).min() <= np.abs(delta).max() / 100)(i),
            merge_says(lambda d, delta, W: np.abs(d).mean() <= np.abs(delta).max() / 100)(i),
            merge_says(lambda d, delta, W: abs(d.mean()) <= np.abs(delta).max() / 100)(i),
        ],
    ),
    Slip(
        "nearest",
        "The nearest of the three is not always one of them. Where no distance is small "
        "enough, at most a hundredth of the largest delta, it is another base.",
        lambda i: [
            nearest_name(i),
            merge_says(lambda d, delta, W: np.abs(d).max() <= np.abs(delta).max() / 10)(i),
        ],
    ),
    Slip(
        "of_the_weight",
        "The tolerance is a hundredth of the *delta*: a hundredth of W is larger "
        "than the whole update.",
        merge_says(lambda d, delta, W: np.abs(d).max() <= np.abs(W).max() / 100),
    ),
    Slip(
        "no_magnitude",
        "Numbers below zero are large too: take `.abs()` before `.max()`.",
        lambda i: [
            merge_says(lambda d, delta, W: d.max() <= np.abs(delta).max() / 100)(i),
            merge_says(lambda d, delta, W: np.abs(d).max() <= delta.max() / 100)(i),
        ],
    ),
    Slip(
        "fixed",
        "A fixed limit is too small for a large delta and too large for a small one.",
        lambda i: [merge_says(lambda d, delta, W, k=k: np.abs(d).max() <= k)(i) for k in (1e-3,)],
    ),
    Slip(
        "subtracts_once",
        "The cure depends on the case: the base lacks one delta, a twofold merge has one too many.",
        all_cured(lambda i, k: i[f"stored_{k}"] - i[f"delta_{k}"]),
    ),
    Slip(
        "back_to_base",
        "All of the delta comes off here, which leaves the base. One delta has to stay.",
        all_cured(lambda i, k: cured_weight(i, k) - i[f"delta_{k}"]),
    ),
    Slip(
        "cure_upside_down",
        "Add where it is missing, take off where it is twice: the sign is upside down.",
        all_cured(lambda i, k: 2 * i[f"stored_{k}"] - cured_weight(i, k)),
    ),
)


def nearest_name(i):
    made = {}
    for k in range(2 * len(MERGE_NAMES)):
        W, delta, stored = (i[f"{key}_{k}"] for key in ("W", "delta", "stored"))
        made[f"said_{k}"] = int(np.argmin([np.abs(stored - W - t * delta).max() for t in range(3)]))
    return made


merge_case = Check(
    name="merge_case",
    title="Once, twice, or elsewhere",
    wants=("diagnose_merge", "cure_merge"),
    difficulty=2,
    minutes=12,
    points=10,
    verified="eight stored weights with rounding in every entry; another base that differs in one",
    hints=(
        "Three guesses: W, W + delta, W + 2 delta. How far is the stored weight from each?",
        "The distance is the largest magnitude of the difference, the limit is "
        "`delta.abs().max() / 100`.",
        "With `times` 0, 1 or 2 in the stored weight, `stored + (1 - times) * delta` has it once.",
    ),
    slips=MERGES,
    other="Compare stored with W + times * delta for times = 0, 1, 2 by the largest difference.",
    make=make_merge_case,
    probe=probe_merge_case,
    judge=judge_merge_case,
)


# 19.6 What should train
FLAG_NAMES = ("nothing trains", "base trains", "head frozen", "factor frozen", "fine")
ROLES = ("head", "factor", "base")
LAYERS = ("up", "gate", "down", "query", "value", "mix")
HEADS = ("score", "classifier", "verdict", "grade")


def flag_parts(i):
    """{name: role} of every parameter, in an order that says nothing; the names of the head."""
    first, second = (LAYERS[int(k)] for k in i["layers"])
    new = ["pool.dense", HEADS[int(i["head"])]]
    roles = {f"body.{new[1]}.weight": "base", f"{new[1]}_norm.weight": "base"}
    for layer in (first, second):
        roles |= {f"body.{layer}.base_layer.{part}": "base" for part in ("weight", "bias")}
        roles |= {f"body.{layer}.lora_{part}.default.weight": "factor" for part in "BA"}
    roles |= {"body.flora_A.weight": "base", "pool.dense_base.weight": "base"}
    roles |= {f"{name}.{part}": "head" for name in new for part in ("weight", "bias")}
    names = sorted(roles)
    return {names[int(k)]: roles[names[int(k)]] for k in i["order"]}, new


FLAG_CASES = {  # key: (right name, words)
    "fine": ("fine", "a model in which head and factors train"),
    "none": ("fine", "a model with new = [] in which the factors train"),
    "all": ("base trains", "a model in which everything trains"),
    "one": ("base trains", "a model in which {base} trains too"),
    "both": ("base trains", "a model in which {base} trains, and {head} is frozen"),
    "head": ("head frozen", "a model whose new modules are frozen"),
    "part": ("head frozen", "a model in which {head} is frozen"),
    "two": ("head frozen", "a model in which {head} and {factor} are frozen"),
    "factor": ("factor frozen", "a model in which {factor} is frozen"),
    "factors": ("factor frozen", "a model in which no factor trains"),
    "nothing": ("nothing trains", "a model in which nothing trains"),
}


CURED = ("none", "all", "both", "part", "factor", "nothing")  # those that are trained


def make_flags_case(seed):
    rng = np.random.default_rng(seed)
    made = {"layers": rng.permutation(len(LAYERS))[:2], "head": int(rng.integers(len(HEADS)))}
    made |= {"order": rng.permutation(16), "odd": rng.integers(0, 8, len(FLAG_CASES))}
    return made | {"values": rng.normal(size=(16, 5, 5)), "rows": rng.normal(size=(2, 9, 5))}


def flags_of(i, case):
    """{name: whether it trains} as the case gives it, and the words for the case."""
    roles, _ = flag_parts(i)
    of = {role: sorted(n for n, r in roles.items() if r == role) for role in ROLES}
    if case == "none":
        return {n: r == "factor" for n, r in roles.items()}, FLAG_CASES[case][1]
    k = int(i["odd"][list(FLAG_CASES).index(case)])
    odd = {role: of[role][k % len(of[role])] for role in ROLES}
    flags = {n: r != "base" for n, r in roles.items()}
    if case in ("all", "nothing"):
        flags = dict.fromkeys(flags, case == "all")
    if case in ("one", "both"):
        flags[odd["base"]] = True
    if case in ("both", "part", "two"):
        flags[odd["head"]] = False
    if case in ("two", "factor"):
        flags[odd["factor"]] = False
    if case in ("head", "factors"):
        flags |= dict.fromkeys(of[case.removesuffix("s")], False)
    return flags, FLAG_CASES[case][1].format(**odd)


def flagged_model(a, case):
    """A model of 16 parameters, all (5, 5) or (5,), with B = 0 and the flags of the case."""
    from torch import nn

    model, (roles, _) = nn.Module(), flag_parts(a)
    flags, _ = flags_of(a, case)
    for n, name in enumerate(roles):
        *path, last = name.split(".")
        part = model
        for step in path:
            if not hasattr(part, step):
                part.add_module(step, nn.Module())
            part = getattr(part, step)
        value = tensor(a["values"][n].astype(np.float32)) / 2
        value = value[0] if last == "bias" else value * ("lora_B" not in name)
        part.register_parameter(last, nn.Parameter(value, requires_grad=flags[name]))
    return model


def learns(model, a):
    """(which parameters move in four steps of what trains, last loss / first)."""
    import torch

    p, losses = dict(model.named_parameters()), []
    was = {name: value.detach().clone() for name, value in p.items()}
    x, y = (tensor(rows.astype(np.float32)) for rows in a["rows"])
    layers = [LAYERS[int(k)] for k in a["layers"]]
    head = HEADS[int(a["head"])]
    held = [value for value in p.values() if value.requires_grad]
    for value in p.values():
        value.grad = None
    optimizer = torch.optim.AdamW(held, lr=0.01, weight_decay=0.0, foreach=False) if held else None
    for _ in range(4):
        h = x
        for layer in layers:
            base, lora = f"body.{layer}.base_layer", f"body.{layer}.lora_"
            change = h @ p[f"{lora}A.default.weight"].T @ p[f"{lora}B.default.weight"].T
            h = torch.tanh(h @ p[f"{base}.weight"].T + p[f"{base}.bias"] + 2 * change)
        h = torch.tanh(h @ p["body.flora_A.weight"] + h @ p[f"body.{head}.weight"])
        h = torch.tanh(h @ p["pool.dense.weight"] + p["pool.dense.bias"])
        h = h + h @ p["pool.dense_base.weight"] + h @ p[f"{head}_norm.weight"]
        loss = (h @ p[f"{head}.weight"] + p[f"{head}.bias"] - y).square().mean()
        losses.append(float(loss.detach()))
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {n: float(not torch.equal(p[n].detach(), was[n])) for n in was}, losses[-1] / losses[0]


def probe_flags_case(namespace, a):
    made, (roles, new) = {}, flag_parts(a)
    for key, modules in (("new", new), ("none", [])):
        said = [namespace["role"](name, list(modules)) for name in roles]
        made[f"roles_{key}"] = [chosen(one, ROLES, "role") for one in said]
    for case in FLAG_CASES:
        model, modules = flagged_model(a, case), [] if case == "none" else list(new)
        before = callers.Before(model)
        said = namespace["diagnose_flags"](model, modules)
        made[f"said_{case}"] = chosen(said, FLAG_NAMES, "diagnose_flags")
        made[f"looked_{case}"] = before.change()
        if case not in CURED:
            continue
        namespace["cure_flags"](model, modules)
        made[f"left_{case}"] = before.change(but=3)
        if not made[f"left_{case}"]:
            moved, made[f"loss_{case}"] = learns(model, a)
            made[f"moved_{case}"] = [moved[name] for name in roles]
    return {key: array(value) for key, value in made.items()}


def cured_flags(i, case):
    """{name: whether it should train}."""
    roles, _ = flag_parts(i)
    return {n: r == "factor" or (r == "head" and case != "none") for n, r in roles.items()}


def judge_flags_case(i, o):
    promises, (roles, new) = [], flag_parts(i)
    for key, modules in (("new", new), ("none", [])):
        right = [r if r != "head" or modules else "base" for r in roles.values()]
        right = np.array([ROLES.index(r) for r in right], float)

        def first_off(v, right=right, modules=modules):
            k = int(np.argmax(v != right)) if v.shape == right.shape else 0
            known = v.shape == right.shape and 0 <= v[k] < len(ROLES)
            named = f'"{ROLES[int(v[k])]}"' if known else "a text that is not on the list"
            return f'role("{list(roles)[k]}", {modules}): {named}'

        wrong = np.ravel(o.get(f"roles_{key}", right))
        k = int(np.argmax(wrong != right)) if wrong.shape == right.shape else 0
        expected = f'"{ROLES[int(right[k])]}"'
        promises.append(Promise(f"roles_{key}", right, seen=first_off, expected=expected))
    for case, (right, _) in FLAG_CASES.items():
        words = flags_of(i, case)[1]
        promises += [
            callers.unchanged(f"looked_{case}", "the model, after the diagnosis", share=0.3),
            names_it(f"said_{case}", right, FLAG_NAMES, words, share=0.3),
        ]
    for case in CURED:
        words, wanted = flags_of(i, case)[1], cured_flags(i, case)
        right = np.array(list(wanted.values()), float)

        def off(v, right=right, words=words):
            if v.shape != right.shape:
                return words
            lists = [[n for n, a, b in zip(roles, v, right, strict=True) if a > b],
                     [n for n, a, b in zip(roles, v, right, strict=True) if a < b]]  # fmt: skip
            said = [
                f"{', '.join(names[:2])}{' and more' if len(names) > 2 else ''} {does}"
                for names, does in zip(lists, ("moved", "did not move"), strict=True)
                if names
            ]
            return f"{words}, cured and trained for a few steps: {'; '.join(said)}"

        promises += [
            callers.unchanged(f"left_{case}", "the model, flags apart", share=0.6),
            Promise(
                f"moved_{case}",
                right,
                seen=off,
                share=0.6,
                expected="the head and the factors move, and nothing else",
            ),  # fmt: skip
            Promise(
                f"loss_{case}",
                lambda v: v < 1,
                share=0.6,
                expected="less than 1",
                seen=words + ", cured and trained: the last loss is {} of the first",
            ),  # fmt: skip
        ]
    return judged(i, o, promises, FLAGS)


def flags_say(**changed):
    right = {case: name for case, (name, _) in FLAG_CASES.items()} | changed
    return {f"said_{case}": FLAG_NAMES.index(name) for case, name in right.items()}


def roles_by(rule):
    """A slip's values: roles by another rule of (name, new)."""

    def values(i):
        roles, new = flag_parts(i)
        return {f"roles_{key}": [ROLES.index(rule(name, modules)) for name in roles]
                for key, modules in (("new", new), ("none", []))}  # fmt: skip

    return values


def moved_by(rule):
    """A slip's values: what moves where the flags are rule(role, given, name, case)."""

    def values(i):
        made, (roles, _) = {}, flag_parts(i)
        for case in CURED:
            given, _ = flags_of(i, case)
            on = {n: rule("base" if r == "head" and case == "none" else r, given[n], n)
                  for n, r in roles.items()}  # fmt: skip
            for name in on:  # behind a B of zeros that is frozen, A has no gradient
                if "lora_A" in name.split(".") and not on[name.replace("lora_A", "lora_B")]:
                    on[name] = False
            made[f"moved_{case}"] = np.array(list(on.values()), float)
        return made

    return values


def inside(name, new):
    return any(name.startswith(f"{module}.") for module in new)


def lora(name):
    return bool({"lora_A", "lora_B"} & set(name.split(".")))


def by(head, factor):
    return roles_by(lambda n, new: "head" if head(n, new) else "factor" if factor(n) else "base")


FLAGS = (
    Slip(
        "looks_like",
        '`lora_A` also stands in `flora_A`. Compare whole parts of the name: `name.split(".")`.',
        lambda i: [
            by(inside, lambda n: "lora_A" in n or "lora_B" in n)(i),
            by(inside, lambda n: "lora_" in n)(i),
            by(inside, lambda n: n.endswith(("lora_A.weight", "lora_B.weight")))(i),
            by(inside, lambda n: "lora" in n)(i),
        ],
    ),
    Slip(
        "head_anywhere",
        "The name of a new module is full: `score` is not `body.score`, nor `score_norm`. A "
        "parameter inside it has a name that begins with it and a dot.",
        lambda i: [
            by(rule, lora)(i)
            for rule in (
                lambda n, new: any(m in n for m in new),
                lambda n, new: any(n.startswith(m) for m in new),
                lambda n, new: any(f"{m}." in n for m in new),
                lambda n, new: any(m.split(".")[-1] in n.split(".") for m in new),
            )
        ],
    ),
    Slip(
        "first_part",
        "A new module may lie deeper, as `pool.dense` does: compare with the whole name, not with "
        "its first part.",
        lambda i: [
            by(lambda n, new: n.split(".")[0] in new, lora)(i),
            by(lambda n, new: n.split(".")[-2] in new and len(n.split(".")) == 2, lora)(i),
        ],
    ),
    Slip(
        "last_module",
        'The name of a new module is full: all parts but the last, `name.rpartition(".")[0]`.',
        lambda i: [by(lambda n, new: n.split(".")[-2] in new, lora)(i)],
    ),
    Slip(
        "first_module",
        "`new` may name several modules: look at all of them.",
        lambda i: [by(lambda n, new: inside(n, new[:1]), lora)(i)],
    ),
    Slip(
        "one_factor",
        "Both `lora_A` and `lora_B` are factors.",
        lambda i: [
            by(inside, lambda n: "lora_A" in n.split("."))(i),
            by(inside, lambda n: "lora_B" in n.split("."))(i),
        ],
    ),
    Slip(
        "head_is_base",
        "A new module was not trained before: it belongs to the head, not to the base.",
        by(lambda n, new: False, lora),
    ),
    Slip(
        "any_is_enough",
        "One part that trains is not enough: ask of all of them.",
        lambda i: [
            flags_say(part="fine", two="factor frozen", factor="fine"),
            flags_say(factor="fine"),
            flags_say(part="fine", two="factor frozen"),
            flags_say(part="fine", two="fine", factor="fine"),
            flags_say(part="fine", two="factor frozen", none="head frozen"),
        ],
    ),
    Slip(
        "all_of_base",
        "One parameter of the base that trains is too many: `any`, not `all`.",
        lambda i: [flags_say(one="fine", both="head frozen")],
    ),
    Slip(
        "list_is_true",
        "A list with something in it is true, `[False]` as well: ask `any` of its entries.",
        lambda i: flags_say(**{case: "base trains" for case in FLAG_CASES if case != "nothing"}),
    ),
    Slip(
        "head_and_factors",
        "A frozen factor has a name of its own. Ask for the head alone, then for the factors.",
        lambda i: flags_say(factor="head frozen", factors="head frozen"),
    ),
    Slip(
        "base_last",
        "The base comes before the head: ask in the order of the text.",
        lambda i: [flags_say(both="head frozen")],
    ),
    Slip(
        "factor_first",
        "The head comes before the factors: ask in the order of the text.",
        lambda i: [flags_say(two="factor frozen")],
    ),
    Slip(
        "nothing_last",
        "A model in which nothing trains has a name of its own. Ask that first.",
        lambda i: [flags_say(nothing=name) for name in ("head frozen", "factor frozen", "fine")],
    ),
    Slip(
        "empty_head",
        "`new` may be empty: there is no head then, so none is frozen (`all([])` is True).",
        lambda i: flags_say(none="head frozen"),
    ),
    Slip(
        "only_on",
        "What must not train has to be switched off: set the flag of every parameter, to True or "
        "to False.",
        lambda i: [
            moved_by(lambda role, given, name: given or role != "base")(i),
            moved_by(lambda role, given, name: given or role == "head")(i),
        ],
    ),
    Slip(
        "only_off",
        "What must train has to be switched on: set the flag of every parameter, to True or to "
        "False.",
        moved_by(lambda role, given, name: given and role != "base"),
    ),
    Slip(
        "all_on",
        "Everything is switched on, the base too: that is patient 8.",
        moved_by(lambda role, given, name: True),
    ),
    Slip(
        "head_left",
        "The head is new and random. It has to train as well: that is patient 12.",
        lambda i: [
            moved_by(lambda role, given, name: role == "factor")(i),
            moved_by(lambda role, given, name: role == "factor" or (given and role == "head"))(i),
        ],
    ),
    Slip(
        "factors_left",
        "The factors have to train as well.",
        lambda i: [
            moved_by(lambda role, given, name: role == "head")(i),
            moved_by(lambda role, given, name: role == "head" or (given and role == "factor"))(i),
        ],
    ),
    Slip(
        "untouched",
        "The flags are as they were. Set `p.requires_grad` of the model's own parameters.",
        moved_by(lambda role, given, name: given),
    ),
    Slip(
        "weights_only",
        "A bias of the head trains too.",
        moved_by(lambda role, given, name: role != "base" and "bias" not in name),
    ),
)

flags_case = Check(
    name="flags_case",
    title="What should train",
    wants=("role", "diagnose_flags", "cure_flags"),
    difficulty=3,
    minutes=15,
    points=15,
    verified="sixteen parameters with names that look alike; eleven models, one of them without "
    "a head; what moves in a few steps after the cure, and that the loss falls",
    hints=(
        "Write `role` first. The other two ask it of every name in `model.named_parameters()`.",
        'Head: `name.startswith(module + ".")` for a module of `new`. Factor: `lora_A` or '
        '`lora_B` is in `name.split(".")`. Collect the flags of each role in a list.',
        "With the lists: `any` over all of them, `any` of the base, `all` of the head, `all` of "
        "the factors. The cure is one line in a loop: "
        '`p.requires_grad = role(name, new) != "base"`.',
    ),
    slips=FLAGS,
    other="Give each parameter its role, then compare its flag with what the role wants.",
    make=make_flags_case,
    probe=probe_flags_case,
    judge=judge_flags_case,
)


# 19.7 A rule of your own
RULE_VERDICTS = ("ok", "problem", "undecided", "warning")
NAMES = [f"{a}.{b}" for a in ("west", "north", "east") for b in ("query", "up", "gate")]


def make_rank_rule(seed):
    rng = np.random.default_rng(seed)
    made = {}
    for n in range(8):
        count = int(rng.integers(3, 5))
        wide, out = fixtures.sizes(rng, 2, 9, 20)
        low, high = min(wide, out), max(wide, out)
        fit = (out * wide - 1) // (out + wide)  # the largest rank with fewer numbers
        sizes = np.array([[r, wide, out] for r in rng.integers(1, fit + 1, count)])
        place = int(rng.integers(1, count))  # never the first
        if n in (1, 2):
            sizes[place, 0] = high + int(rng.integers(1, 4))
        if n == 2:
            sizes[0, 0] = high + 1  # beside another one
        if n == 3:  # exactly as many: 6 * 3 numbers against 2 * (6 + 3)
            k = int(rng.integers(2, 5))
            sizes[place] = [2 * k, 6 * k, 3 * k]
        if n == 4:  # r below both sides, and still too large
            sizes[place, 0] = fit + 2
        if n in (5, 6):  # between the sides: in < r < out, and the other way round
            sides = (low, high + 2) if n == 5 else (high + 2, low)
            sizes[place if n == 5 else slice(None)] = [low + 1, *sides]  # one, or all
        if n == 7:  # large in r, small in numbers
            sizes[place] = [40, 300, 200]
        if n == 0:  # long one way or the other, and small enough
            sizes[:, 0] = np.minimum(sizes[:, 0], 7)
            sizes[:2] = [[7, 120, 10], [7, 10, 120]]
        made |= {f"sizes_{n}": sizes, f"names_{n}": rng.permutation(9)[:count]}
    return made


def too_large(i, n):
    return [r * (wide + out) >= wide * out for r, wide, out in i[f"sizes_{n}"].tolist()]


def probe_rank_rule(namespace, a):
    import torch

    from lora_course.preflight.report import Finding, Undecided

    rule, made = namespace["adapter_smaller_than_weight"], {}
    for n in range(9):
        pairs = (
            []
            if n == 8
            else [
                Pair(
                    NAMES[int(k)],
                    ("A", "B"),
                    torch.nn.Parameter(torch.ones(r, wide)),
                    torch.nn.Parameter(torch.zeros(out, r)),
                )
                for k, (r, wide, out) in zip(
                    a[f"names_{n}"].tolist(), a[f"sizes_{n}"].tolist(), strict=True
                )
            ]
        )
        run = Run(list(pairs))
        before = callers.Before(*[t for p in pairs for t in (p.first, p.second)])
        try:
            said = rule(run)
        except Undecided as error:
            made |= {f"verdict_{n}": array(2), f"named_{n}": array(np.zeros(len(NAMES)))}
            made[f"why_{n}"] = array(float(bool(str(error).strip())))
        else:
            if not isinstance(said, Finding):
                raise Refused(
                    "type", f"what the rule returns is {kind(said)}.", "ok(...) or problem(...)."
                )
            known = said.verdict in RULE_VERDICTS
            made[f"verdict_{n}"] = array(RULE_VERDICTS.index(said.verdict) if known else -1)
            made[f"named_{n}"] = array(np.array([float(name in said.saw) for name in NAMES]))
            made[f"why_{n}"] = array(float(bool(said.do.strip() or said.verdict == "ok")))
        made[f"left_{n}"] = array(max(before.change(), float(run.pairs != pairs)))
    return made


class Pair:
    """As in lora_course/preflight/evidence.py: A and B of one adapted layer."""

    def __init__(self, layer, names, first, second):
        self.layer, self.names, self.first, self.second = layer, names, first, second


class Run:
    """As much of preflight's evidence as the task names."""

    def __init__(self, pairs):
        self.pairs = pairs


def listed_names(flags):
    named = [name for name, on in zip(NAMES, np.ravel(flags), strict=False) if on]
    return ", ".join(named) or "no layer"


def judge_rank_rule(i, o):
    promises = []
    for n in range(9):
        layers = i[f"sizes_{n}"].tolist() if n < 8 else []
        about = "; ".join(f"r {r} beside {out} × {wide}" for r, wide, out in layers) or "no pairs"
        bad = any(too_large(i, n)) if n < 8 else False
        right = "undecided" if n == 8 else "problem" if bad else "ok"
        promises.append(names_it(f"verdict_{n}", right, RULE_VERDICTS, about))
    for n in range(9):
        named = np.zeros(len(NAMES))
        if n < 8:
            for k, large in zip(i[f"names_{n}"].tolist(), too_large(i, n), strict=True):
                named[k] = float(large)
        if named.any():
            listed = listed_names(named)
            promises += [
                Promise(
                    f"named_{n}",
                    named,
                    expected=listed,
                    share=0.6,
                    seen=lambda v: "`saw` names " + listed_names(v),
                ),
                Promise(
                    f"why_{n}",
                    1,
                    seen="a problem without a word on what to do",
                    expected="problem(saw, do)",
                    share=0.6,
                ),
            ]
        promises.append(callers.unchanged(f"left_{n}", "the run", share=0.6))
    return judged(i, o, promises, RANK_RULE)


def verdicts_by(rule):
    """A slip's values: verdicts where a layer counts as large by another rule of (r, in, out)."""

    def values(i):
        found = [any(rule(*row) for row in i[f"sizes_{n}"].tolist()) for n in range(8)]
        return {f"verdict_{n}": float(bad) for n, bad in enumerate(found)}

    return values


RANK_RULE = (
    Slip(
        "more_only",
        "As many numbers as the weight is too many as well: `>=`.",
        verdicts_by(lambda r, wide, out: r * (wide + out) > wide * out),
    ),
    Slip(
        "rank_only",
        "A rank below both sides can still cost more numbers than the weight: count "
        "them, r (in + out) against in times out.",
        lambda i: [
            verdicts_by(lambda r, wide, out: r >= min(wide, out))(i),
            verdicts_by(lambda r, wide, out: r > min(wide, out))(i),
            verdicts_by(lambda r, wide, out: r >= wide * out)(i),
        ],
    ),
    Slip(
        "one_factor",
        "Both factors count: A has r times in, B has out times r.",
        lambda i: [
            verdicts_by(lambda r, wide, out: r * wide >= wide * out)(i),
            verdicts_by(lambda r, wide, out: r * out >= wide * out)(i),
        ],
    ),
    Slip(
        "square",
        "The weight has in times out numbers; it need not be square.",
        lambda i: [
            verdicts_by(lambda r, wide, out: r * (wide + out) >= wide**2)(i),
            verdicts_by(lambda r, wide, out: r * (wide + out) >= out**2)(i),
        ],
    ),
    Slip(
        "fixed_rank",
        "A large rank is no fault beside a large weight. Compare numbers.",
        lambda i: [verdicts_by(lambda r, wide, out, k=k: r >= k)(i) for k in (8, 16, 20, 30)],
    ),
    Slip(
        "first_pair",
        "Look at every pair, not at the first one alone.",
        lambda i: {f"verdict_{n}": float(too_large(i, n)[0]) for n in range(8)},
    ),
    Slip(
        "every_pair",
        "One layer that is too large is a problem already: `if large:`.",
        lambda i: {f"verdict_{n}": float(all(too_large(i, n))) for n in range(8)},
    ),
    Slip(
        "no_pairs",
        'Without a pair the rule can say nothing. That is `raise Undecided("...")`, '
        "not ok: an examination that did not happen is no good news.",
        lambda i: {"verdict_8": 0.0},
    ),
    Slip(
        "names_all",
        "`saw` names the layers that are too large, and no other.",
        lambda i: [
            {f"named_{n}": np.isin(np.arange(9), i[f"names_{n}"]) * 1.0}
            for n in range(8)
            if any(too_large(i, n)) and not all(too_large(i, n))
        ],
    ),
)

rank_rule = Check(
    name="rank_rule",
    title="A rule of your own",
    wants=("adapter_smaller_than_weight",),
    difficulty=3,
    minutes=15,
    points=15,
    verified="runs with small and large ranks, one layer exactly as large, a large rank beside a "
    "large weight, and a run without pairs",
    hints=(
        "How many numbers has A, how many has B, how many the weight beside them? All three "
        "follow from the two shapes.",
        "`pair.first.numel() + pair.second.numel()` against "
        "`pair.second.shape[0] * pair.first.shape[1]`.",
        'Collect the names of the layers where it is `>=`. No pairs: `raise Undecided("no layer '
        'is adapted")`. Names found: `problem(", ".join(names), "Lower r.")`. Else `ok()`.',
    ),
    slips=RANK_RULE,
    other="For each pair compare r (in + out) with in times out, and name the layers found.",
    make=make_rank_rule,
    probe=probe_rank_rule,
    judge=judge_rank_rule,
)

EXERCISES = (optimizer_case, rate_case, label_case, leaks, merge_case, flags_case, rank_rule)
