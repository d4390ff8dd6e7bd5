"""Checks of chapter 19: diagnoses of runs, cures, leaks, and a rule for preflight."""

import difflib

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, in_parts, judged
from lora_course.checks.values import Refused, array, kind
from lora_course.checks.wording import differ, multiple


def chosen(value, names, function):
    """The place of the learner's text among the texts that the task lists; -1 for another one."""
    listed = ", ".join(f'"{name}"' for name in names)
    value = fixtures.expect(value, str, function, f"one of {listed}")
    return names.index(value) if value in names else -1


def quoted(number, names):
    """The text behind a number of `chosen`, in words."""
    number = np.asarray(number)
    known = number.shape == () and 0 <= float(number) < len(names)
    return f'"{names[int(number)]}"' if known else "a text that is not on the list"


def names_it(key, right, names, case, why="", **options):
    """The promise that a diagnosis has this name. case: what is diagnosed; why: the reason."""
    seen = lambda v: f"{case}: {quoted(v, names)}"  # noqa: E731
    return Promise(key, names.index(right), seen=seen, expected=f'"{right}"{why}', **options)


def anything(value):
    """For a slip: whatever was seen."""
    return True


def says(names, right, *free, **changed):
    """A slip's values: the right names of {case: name}, but for these.

    free: cases that may have any name. changed: cases that must have this name.
    """
    made = {f"said_{case}": names.index(name) for case, name in (right | changed).items()}
    return lambda i: made | {f"said_{case}": anything for case in free}


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
OPTIMIZER_RIGHT = {case: name for case, (name, _) in OPTIMIZER_CASES.items()}
TRAINED = ("lora_A", "late.head")


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
    from torch import nn

    model = nn.Module()
    model.frozen = fixtures.linear(a["weight"], frozen=True)
    model.other = fixtures.linear(a["other"], frozen=True)
    model.lora_A, model.late = nn.Parameter(tensor(a["A"])), nn.Module()
    model.late.head = nn.Parameter(tensor(a["B"]))  # the last one, and not called lora_
    model.shared = model.late.tied = model.lora_A  # one parameter, three names
    return model


def optimizer_of(case, a):
    """(model, optimizer) of one case."""
    import copy

    import torch

    model = small_model(a)
    factors, rate = [model.get_parameter(name) for name in TRAINED], float(a["rate"])
    frozen = list(model.frozen.parameters()) + list(model.other.parameters())
    twin = [p for p in copy.deepcopy(model).parameters() if p.requires_grad]
    held = {
        "more": frozen + factors + [torch.nn.Parameter(torch.ones(2))],
        "groups": factors[:1],
        "before": frozen,
        "copied": twin,
        "one": frozen + [factors[1 - a["missing"]]],
        "second": factors[:1],
        "frozen": factors + frozen,
    }
    groups = [{"params": held.get(case, factors), "lr": rate}]  # not that of `defaults`
    if case in ("groups", "second"):
        last = factors[1:] if case == "groups" else frozen[1:]
        groups.append({"params": last, "lr": float(a["second"])})
    if case == "frozen":
        model.requires_grad_(False)
    return model, torch.optim.SGD(groups, lr=2 * rate)


def moved_by_a_step(trained, optimizer):
    """Whether a step of the cured optimizer moves each of the two that should train."""
    was = [p.detach().clone() for p in trained]
    optimizer.zero_grad()
    sum((p**2).sum() for p in trained if p.requires_grad).backward()
    optimizer.step()
    return [bool((p != old).any()) for p, old in zip(trained, was, strict=True)]


def held_and_rates(optimizer):
    return [([id(p) for p in g["params"]], g["lr"]) for g in optimizer.param_groups]


def probe_optimizer_case(namespace, a):
    import torch

    made = {}
    for case in OPTIMIZER_CASES:
        model, optimizer = optimizer_of(case, a)
        trained = [model.get_parameter(name) for name in TRAINED]
        before, cured = callers.Before(model), case != "frozen"
        was = held_and_rates(optimizer)
        said = namespace["diagnose_optimizer"](model, optimizer)
        made[f"said_{case}"] = chosen(said, OPTIMIZER_NAMES, "diagnose_optimizer")
        if cured:
            new = namespace["cure_optimizer"](model, optimizer)
            new = fixtures.expect(new, torch.optim.Optimizer, "cure_optimizer", "an AdamW")
            made[f"kind_{case}"] = type(new) is torch.optim.AdamW
            held, want = [id(p) for g in new.param_groups for p in g["params"]], {*map(id, trained)}
            made[f"held_{case}"] = [len({*held} & want), len({*held} - want), len(held)]
            made[f"rate_{case}"] = sorted({float(group["lr"]) for group in new.param_groups})
            made[f"new_{case}"] = new is not optimizer
        made[f"kept_{case}"] = held_and_rates(optimizer) == was
        made[f"left_{case}"] = before.change()
        if cured:
            made[f"moved_{case}"] = moved_by_a_step(trained, new)
    return {key: array(np.array(value, float), key) for key, value in made.items()}


def still(moved):
    """The names of what a step did not move."""
    return " and ".join(n for n, on in zip(TRAINED, np.ravel(moved), strict=False) if not on)


def numbers(values):
    return " and ".join(f"{float(v):.6g}" for v in np.ravel(np.real(values)))


def holds(held):
    trained, others, entries = (f"{n:g}" for n in [*np.ravel(held), 0, 0, 0][:3])
    return f"the cure holds {trained} that train and {others} others, in {entries} entries"


def judge_optimizer_case(i, o):
    promises = [
        names_it(f"said_{case}", right, OPTIMIZER_NAMES, words)
        for case, (right, words) in OPTIMIZER_CASES.items()
    ]
    for case, (_, words) in OPTIMIZER_CASES.items():

        def half(key, right, seen, expected, case=case, words=words):
            """A promise of the cure: worth half the points."""
            told = (lambda v: f"{words}: {seen(v)}") if callable(seen) else f"{words}: {seen}"
            return Promise(f"{key}_{case}", right, seen=told, expected=expected, share=0.5)

        if case != "frozen":
            promises += [
                half("new", 1, "the old optimizer comes back", "a new one"),
                half("kind", 1, "the cure is another kind of optimizer", "a torch.optim.AdamW"),
                half(
                    "moved",
                    [1, 1],
                    lambda v: f"a step with the cure does not move {still(v)}",
                    "lora_A and late.head both move",
                ),
                half("held", [2, 0, 2], holds, "2, no others, and 2 entries"),
                half(
                    "rate",
                    [i["rate"]],
                    lambda v: f"the cure has the rate {numbers(v)}",
                    f"{numbers(i['rate'])}, that of the old optimizer's first group",
                ),
            ]
        promises += [
            callers.unchanged(f"left_{case}", "the model", share=0.5),
            half("kept", 1, "the old optimizer was changed", "it stays as it is"),
        ]
    return judged(i, o, promises, OPTIMIZER)


def held_in_all(count):
    """A slip's values: what the cure holds in every case."""
    return {f"held_{case}": count for case in OPTIMIZER_CASES if case != "frozen"}


OPTIMIZER = (
    Slip(
        "frozen_wanted",
        "Frozen parameters want no optimizer: count only those that require a gradient.",
        says(
            OPTIMIZER_NAMES,
            OPTIMIZER_RIGHT | dict.fromkeys(("all", "groups", "before"), "some missing"),
            frozen="fine",
        ),
    ),
    Slip(
        "held_is_empty",
        "None held means none of those that train. The optimizer may hold others, so it need not "
        "be empty.",
        says(OPTIMIZER_NAMES, OPTIMIZER_RIGHT, before="some missing", copied="some missing"),
    ),
    Slip(
        "counts",
        "Compare the parameters themselves, by `is` or `id`: those of another copy of the model "
        "are as many, and have the same shapes.",
        says(OPTIMIZER_NAMES, OPTIMIZER_RIGHT, "before", "more", "one", "second", copied="fine"),
    ),
    Slip(
        "each_name",
        "A parameter is held twice: it can have several names. `model.parameters()` gives it once.",
        lambda i: [held_in_all([2, 0, n]) for n in (3, 4)],
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
    other="Compare ids: what requires a gradient in the model against what all groups hold. The "
    "cure takes what requires a gradient in the model, whatever its name, each once.",
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

    first = rng.uniform(1, 4, 13)  # a loss below 0 stands for one that is not a number
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
        (np.array([0.9, 0.3]), np.inf),  # the first loss alone is not finite
        (np.append(falls[6], [0.4, 0.6]), 0.2),  # under half of it, and back
        (np.append(1, falls[9] / 2), 0.3),  # one as large as the first
    ]
    for n, (shares, moved) in enumerate(runs):
        begin = 1 if np.isfinite(moved) else np.inf
        made[f"losses_{n}"] = np.float32(first[n]) * np.append(begin, shares)
        made[f"moved_{n}"] = moved
    return made


RATE_RIGHT = ("too low", "too low", "fine", "fine", *["too high"] * 4, *["nothing moves"] * 2,
              "too high", "too low", "fine")  # fmt: skip


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
    return {f"said_{n}": array(chosen(s, RATE_NAMES, "diagnose_rate")) for n, s in enumerate(said)}


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
            continue
        try:
            rate = array(cure(), "the rate").reshape(-1)
        except TooMany:
            rate = np.array(tried[-2:-1])
        rate = float(rate[0]) if rate.size == 1 and np.isfinite(rate[0]) else 0.0
        losses, _ = trained_at(a, case, rate)
        made |= {f"given_{case}": rate, f"runs_{case}": len(tried)}
        made[f"peak_{case}"] = min(max(losses) / losses[0], 1e30)
        made[f"end_{case}"] = min(losses[-1] / losses[0], 1e30)
    return {key: array(value) for key, value in made.items()}


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
        if case == "dead":
            cures += callers.raises(o, "dead", "a run in which nothing moves", "ValueError")
            continue
        begin = f"a run that had the rate {float(i[f'rate_{case}']):.1e}"
        last = f"{float(np.max(o.get(f'given_{case}', 0))):.1e}"
        for key, most, seen, expected in (
            ("runs", RUNS, f": more than {RUNS} runs, and a rate of {last} at the end",
             "a rate with which it is fine"),
            ("peak", 1, f": with your {last} the loss rises to {{}} times the first",
             "no loss above the first"),
            ("end", 0.5, f": with your {last} the last loss is {{}} times the first",
             "half of it or less"),
        ):  # fmt: skip
            fits = lambda v, most=most: v.shape == () and v <= most  # noqa: E731
            cures.append(Promise(f"{key}_{case}", fits, seen=begin + seen, expected=expected))
    return in_parts(judged(i, o, diagnoses, RATES, "diagnosis"), judged(i, o, cures, RATES, "cure"))


def rate_says(*free):
    """A slip's values: the right names, but any in these runs."""
    return says(RATE_NAMES, dict(enumerate(RATE_RIGHT)), *free)


RATES = (
    Slip(
        "every_loss",
        "Ask of every loss whether it is finite (`math.isfinite`) and at most the first one, and "
        "ask it before the name too low. A loss can rise and come back; a comparison with one "
        "that is not a number is always False.",
        rate_says(4, 5, 6, 7, 10),
    ),
    Slip(
        "half",
        "What counts is the last loss against half the first one: `losses[-1] > losses[0] / 2`. "
        "Exactly half is fine.",
        lambda i: (
            rate_says()(i)
            | {f"said_{n}": lambda v: np.isin(v, (2, 3)).all() for n in (0, 1, 2, 3, 11, 12)}
        ),
    ),
    Slip(
        "no_end",
        "30 runs are enough when the rate goes up where it is too low, down where it is too high, "
        "and by a factor such as 3 or 5: the way may be as long as a factor of ten thousand.",
        lambda i: [{f"runs_{case}": RUNS + 1} for case in STARTS if case != "dead"],
    ),
)

rate_case = Check(
    name="rate_case",
    title="A rate that it learns with",
    wants=("diagnose_rate", "cure_rate"),
    difficulty=3,
    minutes=12,
    points=15,
    verified="thirteen runs, with a loss that is no number, a rise that comes back, exactly half, "
    "and a move of a billionth; six searches from a ten thousandth to ten thousand times a good "
    "rate, each trained once more with the rate found",
    hints=(
        "The diagnosis is four questions in the order of the text. The cure asks it again after "
        "every run: what does each name tell you about the rate?",
        "`math.isfinite(loss)` finds what is infinite or not a number; ask it, and "
        "`loss <= losses[0]`, of every loss. In the cure, `diagnose_rate(*train(rate))` in a loop.",
        '`while case != "fine":` raise for "nothing moves", multiply by 5 for "too low", divide '
        "by 5 otherwise, then `case = diagnose_rate(*train(rate))`. Return the rate.",
    ),
    slips=RATES,
    other="Diagnosis: the four questions in the order of the text. Cure: name the run, change the "
    "rate as the name says, train again, and stop when it is fine.",
    make=make_rate_case,
    probe=probe_rate_case,
    judge=judge_rate_case,
)


# 19.3 Which tokens are graded?
LABEL_NAMES = ("fine", "prompt graded", "end lost", "shifted", "filler graded")
LABEL_RIGHT = dict(enumerate(LABEL_NAMES * 2))  # the names of ten rows
LABEL_WHY = {
    "prompt graded": ": a place before `start` has its token",
    "end lost": ": the last real token has -100",
    "shifted": ": each place has the label of the next one",
    "filler graded": ": filler has its token",
}


def make_label_case(seed):
    rng = np.random.default_rng(seed)
    made = {}
    for n, name in LABEL_RIGHT.items():
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
    import torch

    made = {}
    for n in LABEL_RIGHT:
        ids, _, mask, start = row_of(a, n)
        before = callers.Before(ids, mask)
        cured = fixtures.expect(cure(ids, mask, start), torch.Tensor, "cure_labels", "a tensor")
        made[f"cured_{n}"] = array(cured, "the right labels")
        if made[f"cured_{n}"].dtype.kind == "f":
            raise Refused("type", "cure_labels returns numbers with a fraction.", "whole ones.")
        made[f"left_{n}"] = array(before.change())
        said = answer_after(np.array(a[f"ids_{n}"]), made[f"cured_{n}"], start)
        made[f"says_{n}"] = array(np.array(said, float))
    return made


def diagnosed_rows(diagnose, a):
    made = {}
    for n in LABEL_RIGHT:
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


def wrong_label(i, n, cured):
    """(seen, expected) at the first label of a cure that is wrong, and in which part it stands."""
    right, start, last = right_labels(i, n), int(i[f"start_{n}"]), int(i[f"mask_{n}"].sum())
    where = ""
    if cured.shape == right.shape and (cured != right).any():
        place = int(np.argmax(cured != right))
        parts = (", in the prompt", ", in the answer", ", at the end token", ", in the filler")
        where = parts[(place >= start) + (place >= last - 1) + (place >= last)]
    return differ(cured, right, f"cure_labels{where}: labels")


def judge_label_case(i, o):
    names, cures = [], []
    for n, name in LABEL_RIGHT.items():
        place = f"a row of {len(i[f'ids_{n}'])} tokens, its answer from {int(i[f'start_{n}'])} on"
        names.append(names_it(f"said_{n}", name, LABEL_NAMES, place, LABEL_WHY.get(name, "")))
        names.append(callers.unchanged(f"looked_{n}", "ids, labels or mask, after the diagnosis"))
        right = right_labels(i, n)
        seen, expected = wrong_label(i, n, o.get(f"cured_{n}", np.zeros(0)))
        spoken, answer = tokens(o.get(f"says_{n}", [])), tokens(right[right != -100])
        spoken = f"trained on them, a small model says {spoken} after the prompt"
        cures += [
            Promise(
                f"cured_{n}",
                right,
                seen=lambda v, words=f"{seen}; {spoken}": words,
                expected=f"{expected}; {answer}",
            ),
            Promise(
                f"says_{n}",
                right[right != -100],
                seen=lambda v, words=spoken: words,
                expected=answer,
            ),
            callers.unchanged(f"left_{n}", "ids or mask, after the cure"),
        ]
    return in_parts(judged(i, o, cures, LABELS, "cure"), judged(i, o, names, LABELS, "diagnosis"))


def end_by_number(i, n):
    """The cure of one row that takes the number of the last token for filler."""
    ids = i[f"ids_{n}"]
    return np.where((np.arange(len(ids)) >= i[f"start_{n}"]) & (ids != ids[-1]), ids, -100)


LABELS = (
    Slip(
        "shift_unseen",
        "Shifted labels also grade the last place of the prompt, and have -100 at the end token. "
        "Look for the shift first: compare with the right labels moved by one to the front, "
        "`torch.cat([right[1:], ...])`.",
        says(LABEL_NAMES, LABEL_RIGHT, 3, 8),
    ),
    Slip(
        "part_of_prompt",
        "One graded place before `start` is enough: look at all of them.",
        lambda i: (
            says(LABEL_NAMES, LABEL_RIGHT)(i)
            | {f"said_{n}": lambda v: np.isin(v, (0, 1, 4)).all() for n in (1, 6)}
        ),
    ),
    Slip(
        "by_number",
        "Mask by place, not by number: in a row without filler the last token is the end token, "
        "which is graded.",
        lambda i: {f"cured_{n}": end_by_number(i, n) for n in LABEL_RIGHT},
    ),
    Slip(
        "cured_shifted",
        "The model shifts labels itself. Right labels stand at the place of their token.",
        lambda i: {f"cured_{n}": np.append(right_labels(i, n)[1:], -100) for n in LABEL_RIGHT},
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
    test += [f"{' '.join(own[0])} ", " ".join(own[2]), " ".join(own[2]), " ".join(seen[0])]
    test += ["gate lamp 8 oak", "gate_lamp 7_oak", "lamp caf mer gate", "oak gate"]
    last = test.index(" ".join(own[1]) if seed % 2 else f"{' '.join(seen[0])}.")  # stays, leaked
    order = [*(k for k in rng.permutation(len(test)) if k != last), last]
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
    kept = list(fixtures.expect(kept, (list, tuple), "cure_test", "a list of prompts"))
    for text in kept:
        fixtures.expect(text, str, "cure_test, as one of its list,", "a text")
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


def places_of(i):
    """({key: the right places in test}, for each place why)."""
    train, test = ([clean(text) for text in as_texts(i, part)] for part in ("train", "test"))
    places, why = {"leaked": [], "repeated": [], "kept": []}, []
    for place, text in enumerate(test):
        key, reason = "kept", "after cleaning nothing is left of it, and that equals nothing"
        if text in train and text:
            key, reason = "leaked", f"after cleaning it is {text!r}, which train has"
        elif text in test[:place] and text:
            key, reason = "repeated", f"after cleaning it is {text!r}, as an earlier one is"
        elif text:
            near = max(train, key=lambda known, text=text: likeness(known, text))
            reason = f"after cleaning it is {text!r}, and the nearest in train {near!r}"
            if text in test[place + 1 :]:
                reason += "; others repeat it, not the other way round"
        places[key].append(place)
        why.append(reason)
    return places, why


def likeness(known, text):
    """How like two texts are: by their words, then by their letters."""
    common = set(known.split()) & set(text.split())
    return len(common), difflib.SequenceMatcher(None, known, text).ratio()


def listed(i, o, key, where, share=0.0):
    """The promise that the right places of test are listed, told by the first one that is not."""
    (places, why), test = places_of(i), as_texts(i, "test")
    right, found = places[key], set(np.ravel(np.real(o.get(key, []))).tolist())
    place = min(found ^ set(right), default=None)
    seen, expected = f"{where}: all, in another order or twice", "each once, in the order of test"
    if place is not None and place not in range(len(test)):
        seen, expected = f"{where}: one that test does not have", "those of test, as they are there"
    elif place is not None:
        no = "" if place in found else "not "
        seen = f"place {int(place)} of test, {test[int(place)]!r}, is {no}{where}"
        expected = f"it is{'' if place in right else ' not'}: {why[int(place)]}"
    return Promise(key, right, seen=lambda v: seen, expected=expected, share=share)


def judge_leaks(i, o):
    promises = [
        listed(i, o, "leaked", "among those that leaked"),
        listed(i, o, "repeated", "among those that repeat another", 0.6),
        Promise("left", 0, "", "train or test was changed", "they stay as they are", 0.6),
        Promise(
            "by_heart",
            0,
            seen="a model that knows train by heart answers {} of the prompts that are left",
            expected="none",
            share=0.6,
        ),
        listed(i, o, "kept", "among the prompts that are left", 0.6),
    ]
    return judged(i, o, promises, LEAKS)


def swapped_lists(i):
    places, _ = places_of(i)
    return {"leaked": places["repeated"], "repeated": places["leaked"]}


LEAKS = (
    Slip(
        "swapped",
        "The two lists are in the wrong order: those that leaked come first.",
        swapped_lists,
    ),
    Slip(
        "from_one",
        "Places count from 0, as `enumerate` counts.",
        lambda i: {key: np.array(places_of(i)[0][key]) + 1 for key in ("leaked", "repeated")},
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
    other="Clean both sides in the same way, compare whole texts, and give places in test. The "
    "cure leaves out all those places, as they are before anything is taken out.",
    make=make_leaks,
    probe=probe_leaks,
    judge=judge_leaks,
)


# 19.5 Once, twice, or elsewhere
MERGE_NAMES = ("base", "merged", "merged twice", "another base")
MERGE_RIGHT = dict(enumerate(MERGE_NAMES * 2))  # the names of eight weights


def make_merge_case(seed):
    rng = np.random.default_rng(seed)
    n = fixtures.normal(rng)
    rows, columns = fixtures.sizes(rng, 2, 4, 9)
    made = {}
    for k, name in MERGE_RIGHT.items():
        size = 0.0003 if k == 3 else 0.5 if k < 4 else 0.005  # `rtol` of allclose is not 0
        W, delta = 3 * n(rows, columns), size * n(rows, columns)
        if k < 2:  # the largest magnitude is that of a negative number
            delta *= -np.sign(delta.flat[np.abs(delta).argmax()])
            delta[delta > 0] *= 0.5
        largest = np.abs(delta).max()
        noise = rng.uniform(-0.007, 0.007, W.shape).astype(np.float32) * largest
        noise[0, 0] = 0.007 * largest
        stored = W + min(MERGE_NAMES.index(name), 2) * delta + noise
        if k == 3:  # one entry is off, by less than a merge moves it
            odd = rng.integers(rows), rng.integers(columns)
            W[odd] = 9
            stored = W + delta + noise / 4
            stored[odd] += 0.05 * largest
        if k == 7:
            stored = W + 2 * delta + noise / 4 - 0.03 * largest  # all entries are off
        made |= {f"stored_{k}": stored, f"W_{k}": W, f"delta_{k}": delta}
    return {key: value.astype(np.float32) for key, value in made.items()}


def probe_merge_case(namespace, a):
    made = {}
    for k, name in MERGE_RIGHT.items():
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


def distances(i, k):
    """How far a stored weight is from W + times * delta, for times = 0, 1, 2."""
    stored, W, delta = (i[f"{key}_{k}"] for key in ("stored", "W", "delta"))
    return [float(np.abs(stored - W - times * delta).max()) for times in range(3)]


def diagnosed_merge(i, k, name):
    """The promise of one diagnosis, with the distances that decide."""
    limit = float(np.abs(i[f"delta_{k}"]).max()) / 100
    bases = zip(distances(i, k), ("W", "W + delta", "W + 2 delta"), strict=True)
    far = ", ".join(f"{distance:.3g} from {base}" for distance, base in bases)
    what = f"a weight whose largest differences are {far}, with a limit of {limit:.3g}"
    return names_it(f"said_{k}", name, MERGE_NAMES, what)


def cured_merge(i, o, k, name):
    """The promise of one cure: its weight, and in words how often the delta is in it."""
    what, delta = f'the cure for "{name}"', i[f"delta_{k}"]
    right = i[f"stored_{k}"] + (1 - MERGE_NAMES.index(name)) * delta
    cured = o.get(f"cured_{k}", right)
    seen, expected = differ(cured, right, what, 1e-4, 1e-5)
    more = multiple(cured - right, delta) if cured.shape == right.shape else None
    if more and abs(more) > 0.01:
        seen, expected = f"{what} has the delta {round(1 + more, 2) + 0:g} times", "once"
    words = {"seen": lambda v: seen, "expected": expected}
    return Promise(f"cured_{k}", right, share=0.5, atol=1e-5, **words)


def judge_merge_case(i, o):
    promises = [diagnosed_merge(i, k, name) for k, name in MERGE_RIGHT.items()]
    for k, name in MERGE_RIGHT.items():
        if name == "another base":
            promises += callers.raises(o, f"refused_{k}", '"another base"', "ValueError")
        else:
            promises.append(cured_merge(i, o, k, name))
        promises.append(callers.unchanged(f"left_{k}", "stored, W or delta", share=0.5))
    return judged(i, o, promises, ())


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
    other="Compare stored with W + times * delta for times = 0, 1, 2: the largest magnitude of "
    "the difference against a hundredth of the delta's largest magnitude.",
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
    for layer, end in ((first, ".default.weight"), (second, "")):  # PEFT's names, the course's
        roles |= {f"body.{layer}.base_layer.{part}": "base" for part in ("weight", "bias")}
        roles |= {f"body.{layer}.lora_{part}{end}": "factor" for part in "BA"}
    roles |= {"body.flora_A.weight": "base", "pool.dense_base.weight": "base"}
    roles |= {f"{name}.{part}": "head" for name in new for part in ("weight", "bias")}
    roles[f"{new[1]}.inner.shift.bias"] = "head"  # two modules deeper
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
    "only": ("base trains", "a model in which the base trains, and nothing else"),
    "nothing": ("nothing trains", "a model in which nothing trains"),
}
FLAG_RIGHT = {case: name for case, (name, _) in FLAG_CASES.items()}
CURED = ("none", "all", "both", "part", "factor", "nothing")  # those that are trained


def make_flags_case(seed):
    rng = np.random.default_rng(seed)
    made = {"layers": rng.permutation(len(LAYERS))[:2], "head": int(rng.integers(len(HEADS)))}
    made |= {"order": rng.permutation(17), "odd": rng.integers(0, 8, len(FLAG_CASES))}
    return made | {"values": rng.normal(size=(17, 5, 5)), "rows": rng.normal(size=(2, 9, 5))}


def flags_of(i, case):
    """{name: whether it trains} as the case gives it, and the words for the case."""
    roles, _ = flag_parts(i)
    of = {role: sorted(n for n, r in roles.items() if r == role) for role in ROLES}
    if case == "none":
        return {n: r == "factor" for n, r in roles.items()}, FLAG_CASES[case][1]
    k = int(i["odd"][list(FLAG_CASES).index(case)])
    odd, first = {role: of[role][k % len(of[role])] for role in ROLES}, next(iter(roles))
    if case in ("one", "part", "factor"):  # also the first parameter is asked
        odd[roles[first]] = first
    flags = {n: r != "base" for n, r in roles.items()}
    if case in ("all", "nothing"):
        flags = dict.fromkeys(flags, case == "all")
    if case == "only":
        flags = {n: r == "base" for n, r in roles.items()}
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
    """A model of 17 parameters, all (5, 5) or (5,), with B = 0 and the flags of the case."""
    from torch import nn

    model, (roles, _) = nn.Module(), flag_parts(a)
    flags, _ = flags_of(a, case)
    for n, name in enumerate(roles):
        value = tensor(a["values"][n].astype(np.float32)) / 2
        value = value[0] if name.endswith("bias") else value * ("lora_B" not in name)
        fixtures.put(model, name, nn.Parameter(value, requires_grad=flags[name]))
    return model.train(list(FLAG_CASES).index(case) % 2 == 0)


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
        for layer, end in zip(layers, (".default.weight", ""), strict=True):
            base, lora = f"body.{layer}.base_layer", f"body.{layer}.lora_"
            change = h @ p[f"{lora}A{end}"].T @ p[f"{lora}B{end}"].T
            h = torch.tanh(h @ p[f"{base}.weight"].T + p[f"{base}.bias"] + 2 * change)
        h = torch.tanh(h @ p["body.flora_A.weight"] + h @ p[f"body.{head}.weight"])
        h = torch.tanh(h @ p["pool.dense.weight"] + p["pool.dense.bias"])
        h = h + h @ p["pool.dense_base.weight"] + h @ p[f"{head}_norm.weight"]
        loss = (
            (h @ p[f"{head}.weight"] + p[f"{head}.bias"] + p[f"{head}.inner.shift.bias"] - y)
            .square()
            .mean()
        )
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


def first_role(i, o, key, modules):
    """The promise of the roles, told by the first that is wrong."""
    roles, _ = flag_parts(i)
    names = [r if r != "head" or modules else "base" for r in roles.values()]
    right = np.array([ROLES.index(name) for name in names], float)
    given = o.get(f"roles_{key}", right)
    k = int(np.argmax(given != right)) if given.shape == right.shape else 0
    said = quoted(given[k], ROLES) if given.shape == right.shape else "no text"
    words = f'role("{list(roles)[k]}", {modules}): {said}'
    return Promise(f"roles_{key}", right, seen=lambda v: words, expected=f'"{names[k]}"')


def moves(v, right, names):
    """In words what moves and should not, and what should and does not."""
    off = np.reshape(v, right.shape) - right if np.size(v) == right.size else right
    said = []
    for wrong, does in ((off > 0, "moved"), (off < 0, "did not move")):
        found = [name for name, is_wrong in zip(names, wrong, strict=True) if is_wrong]
        more = f" and {len(found) - 2} more" if len(found) > 2 else ""
        said += [f"{', '.join(found[:2])}{more} {does}"] if found else []
    return "; ".join(said)


def judge_flags_case(i, o):
    roles, new = flag_parts(i)
    promises = [first_role(i, o, "new", new), first_role(i, o, "none", [])]
    for case, right in FLAG_RIGHT.items():
        promises += [
            callers.unchanged(f"looked_{case}", "the model, after the diagnosis", share=0.3),
            names_it(f"said_{case}", right, FLAG_NAMES, flags_of(i, case)[1], share=0.3),
        ]
    for case in CURED:
        words = f"{flags_of(i, case)[1]}, cured and trained for a few steps:"
        right = np.array(list(cured_flags(i, case).values()), float)
        promises += [
            callers.unchanged(f"left_{case}", "the model, flags apart", share=0.6),
            Promise(
                f"moved_{case}",
                right,
                seen=lambda v, words=words, right=right: f"{words} {moves(v, right, roles)}",
                expected="the head and the factors move, and nothing else",
                share=0.6,
            ),
            Promise(
                f"loss_{case}",
                lambda v: v.shape == () and v < 1,
                seen=words + " the last loss is {} of the first",
                expected="less than 1",
                share=0.6,
            ),
        ]
    return judged(i, o, promises, FLAGS)


def moved_with(rule):
    """A slip's values: what moves where the flags are rule(as given, as they should be)."""

    def values(i):
        made = {}
        for case in CURED:
            given, wanted = flags_of(i, case)[0], cured_flags(i, case)
            on = {name: rule(given[name], wanted[name]) for name in wanted}
            made[f"moved_{case}"] = [  # behind a B of zeros that is frozen, A has no gradient
                float(flag and on[name.replace(".lora_A", ".lora_B")]) for name, flag in on.items()
            ]
        return made

    return values


FLAGS = (
    Slip(
        "whole_parts",
        "Compare whole parts of the name. A factor has the part `lora_A` or `lora_B` in "
        '`name.split(".")`. What stands in a new module begins with its full name and a dot; '
        "look at all of `new`.",
        lambda i: [{key: lambda v: (v >= 0).all()} for key in ("roles_new", "roles_none")],
    ),
    Slip(
        "has_a_base",
        "A model that has a base is not yet one whose base trains. A list with something in it is "
        "true, `[False]` as well: ask `any` of its entries.",
        says(FLAG_NAMES, dict.fromkeys(FLAG_CASES, "base trains") | {"nothing": "nothing trains"}),
    ),
    Slip(
        "one_way",
        "Set the flag of every parameter: to True for what must train, to False for what must not.",
        lambda i: [moved_with(max)(i), moved_with(min)(i)],
    ),
    Slip(
        "untouched",
        "The flags are as they were. Set `p.requires_grad` of the model's own parameters.",
        moved_with(lambda given, wanted: given),
    ),
)

flags_case = Check(
    name="flags_case",
    title="What should train",
    wants=("role", "diagnose_flags", "cure_flags"),
    difficulty=3,
    minutes=15,
    points=15,
    verified="seventeen parameters with names that look alike; twelve models, one of them without "
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
    other="Give each parameter its role, then compare its flag with what the role wants. The "
    "diagnosis asks in the order of the text; the cure sets the flag of every parameter.",
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
        count = 4 if n == 6 else int(rng.integers(3, 5))
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


def too_large(r, wide, out):
    return r * (wide + out) >= wide * out


class Pair:
    """As in lora_course/preflight/evidence.py: A and B of one adapted layer."""

    def __init__(self, layer, names, first, second):
        self.layer, self.names, self.first, self.second = layer, names, first, second


class Run:
    """As much of preflight's evidence as the task names."""

    def __init__(self, pairs):
        self.pairs = pairs


def pairs_of(a, n):
    """The pairs of run n; run 8 has none."""
    import torch

    if n == 8:
        return []
    return [
        Pair(
            NAMES[place],
            ("A", "B"),
            torch.nn.Parameter(torch.ones(r, wide)),
            torch.nn.Parameter(torch.zeros(out, r)),
        )
        for place, (r, wide, out) in zip(
            a[f"names_{n}"].tolist(), a[f"sizes_{n}"].tolist(), strict=True
        )
    ]


def probe_rank_rule(namespace, a):
    from lora_course.preflight.report import Finding, Undecided

    rule, made = namespace["adapter_smaller_than_weight"], {}
    for n in range(9):
        pairs = pairs_of(a, n)
        run = Run(list(pairs))
        before = callers.Before(*[t for p in pairs for t in (p.first, p.second)])
        try:
            said = rule(run)
        except Undecided as error:
            verdict, named, why = 2, np.zeros(len(NAMES)), bool(str(error).strip())
        else:
            if isinstance(said, Undecided):
                raise Refused(
                    "type", "Undecided is returned.", "`raise Undecided(...)`: it ends the rule."
                )
            if not isinstance(said, Finding):
                found = f"what the rule returns is {kind(said)}."
                raise Refused("type", found, "ok(...) or problem(...).")
            known = said.verdict in RULE_VERDICTS
            verdict = RULE_VERDICTS.index(said.verdict) if known else -1
            named = np.array([float(name in said.saw) for name in NAMES])
            why = bool(said.do.strip() or said.verdict == "ok")
        made |= {f"verdict_{n}": verdict, f"named_{n}": named, f"why_{n}": float(why)}
        made[f"left_{n}"] = max(before.change(), float(run.pairs != pairs))
    return {key: array(value) for key, value in made.items()}


def listed_names(flags):
    named = [name for name, on in zip(NAMES, np.ravel(flags), strict=False) if on]
    return ", ".join(named) or "no layer"


def judge_rank_rule(i, o):
    promises, reports = [], []
    for n in range(9):
        layers = i[f"sizes_{n}"].tolist() if n < 8 else []
        places = i[f"names_{n}"].tolist() if n < 8 else []
        large = {k for k, row in zip(places, layers, strict=True) if too_large(*row)}
        about = "; ".join(
            f"{r * (wide + out)} numbers (r = {r}) beside {out} × {wide} = {out * wide}"
            for r, wide, out in layers
        )
        right = ("problem" if large else "ok") if layers else "undecided"
        promises.append(names_it(f"verdict_{n}", right, RULE_VERDICTS, about or "no pairs"))
        if large:
            named = np.array([float(k in large) for k in range(len(NAMES))])
            reports += [
                Promise(
                    f"named_{n}",
                    named,
                    seen=lambda v: "`saw` names " + listed_names(v),
                    expected=listed_names(named) + ", and no other",
                    share=0.6,
                ),
                Promise(
                    f"why_{n}",
                    1,
                    seen="a problem without a word on what to do",
                    expected="problem(saw, do)",
                    share=0.6,
                ),
            ]
        reports.append(callers.unchanged(f"left_{n}", "the run", share=0.6))
    return judged(i, o, promises + reports, RANK_RULE)


RANK_RULE = (
    Slip(
        "no_pairs",
        'Without a pair the rule can say nothing. That is `raise Undecided("...")`, '
        "not ok: an examination that did not happen is no good news.",
        lambda i: {"verdict_8": 0.0},
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
