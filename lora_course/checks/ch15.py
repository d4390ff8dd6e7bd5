"""Checks of chapter 15: forgetting, the Pareto front, effective ranks, replay, intruders."""

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, judged, seen_as
from lora_course.checks.values import Refused, array, kind


# 15.1 A measure of forgetting
def make_forgetting(seed):
    rng = np.random.default_rng(seed)
    t, s = fixtures.sizes(rng, 2, 7, 11)
    scores = rng.uniform(0.35, 0.6, (t, s))
    scores[-1] = rng.uniform(0.1, 0.3, s)
    chance = rng.uniform(0.05, 0.09, s)
    up, never, far, later, early, gone, low = rng.permutation(s)[:7]
    for n, row in enumerate(rng.integers(1, t - 1, s)):  # most rise before they fall
        scores[0 if n == early else row, n] = rng.uniform(0.7, 0.85)
    scores[-1, up] = 0.9  # better than ever before
    chance[never] = scores[:, never].max()  # at it, never above
    chance[far] = 0.95  # far below it, always
    chance[later] = chance[early] = 0.65  # known later, not at first; and the other way round
    chance[gone] = 0.32  # known at first, not at the end
    scores[:, low] *= 0.3  # known, below what guessing scores elsewhere
    return {"scores": scores, "chance": chance}


def probe_forgetting(namespace, a):
    scores, chance = tensor(a["scores"]), tensor(a["chance"])
    before = callers.Before(scores, chance)
    names = ("what is forgotten of each skill", "the mean")
    lost, mean = fixtures.several(namespace["forgetting"](scores, chance), names, "forgetting")
    made = {"lost": lost, "mean": mean, "left": before.change()}
    none = namespace["forgetting"](tensor(a["scores"]), tensor(np.ones_like(a["chance"])))
    made["none"] = fixtures.several(none, names, "forgetting")[1]
    return made


def forgotten(i):
    """(right losses, mask of the skills the model had, scores)."""
    scores = i["scores"]
    return scores.max(0) - scores[-1], scores.max(0) > i["chance"], scores


def judge_forgetting(i, o):
    lost, had, _ = forgotten(i)
    promises = [
        Promise("lost", lost, "what is forgotten"),
        Promise("mean", lost[had].mean(), "the mean", share=0.6),
        Promise("none", lambda v: v.size == 1 and np.isnan(v).all(), "the mean without any skill",
                expected="nan", share=0.6),
        callers.unchanged("left", "scores or chance", share=0.6),
    ]  # fmt: skip
    return judged(i, o, promises, FORGETTING)


def with_mean(pick):
    """A slip's values: the losses right, another mean."""
    return lambda i: {"lost": forgotten(i)[0], "mean": pick(i, *forgotten(i))}


FORGETTING = (
    Slip("from_start", "The score before training is not always the best: a skill may rise first. "
         "Compare with the best of all measurements.",
         lambda i: [{"lost": (i["scores"][0] - i["scores"][-1]).clip(low)} for low in (-1, 0)]),
    Slip("start_left_out", "Row 0, before training, is a measurement too, and here it counts.",
         lambda i: {"lost": i["scores"][1:].max(0) - i["scores"][-1]}),
    Slip("last_left_out", "The last measurement may be the best one. Then nothing is forgotten: "
         "the difference is 0 and not below.",
         lambda i: {"lost": i["scores"][:-1].max(0) - i["scores"][-1]}),
    Slip("sign", "Forgetting counts what is gone: best less last, so it is never below 0.",
         lambda i: {"lost": -forgotten(i)[0]}),
    Slip("to_worst", "The last measurement counts, not the worst one on the way.",
         lambda i: {"lost": np.ptp(i["scores"], 0)}),
    Slip("relative", "The difference itself is wanted, not its share of the best score.",
         lambda i: {"lost": forgotten(i)[0] / i["scores"].max(0)}),
    Slip("axis", "One value for every skill. The skills are the columns, so take the largest "
         "number down the rows of each: dim=0.",
         lambda i: [{"lost": i["scores"].max(1) - i["scores"][:, -1]},
                    {"lost": i["scores"].max() - i["scores"][-1]}]),
    Slip("all_skills", "A skill that the model never had above chance cannot be forgotten. Leave "
         "it out of the mean.", with_mean(lambda i, lost, had, s: lost.mean())),
    Slip("one_chance", "Guessing scores otherwise in every skill: compare each best score with the "
         "chance of its own column.",
         lambda i: [with_mean(lambda i, lost, had, s, c=c: lost[s.max(0) > c].mean())(i)
                    for c in (i["chance"].mean(), 0.5)]),
    Slip("at_chance", "A skill whose best score is the one of guessing was never there: above "
         "chance means `>`.",
         with_mean(lambda i, lost, had, s: lost[s.max(0) >= i["chance"]].mean())),
    Slip("only_known", "Every skill has an entry, with what is gone from its score. Only the mean "
         "leaves out those that the model never had.",
         lambda i: [{"lost": forgotten(i)[0] * forgotten(i)[1]},
                    {"lost": forgotten(i)[0][forgotten(i)[1]]},
                    {"lost": lambda v: v.shape == forgotten(i)[1].shape
                     and np.array_equal(np.isnan(v), ~forgotten(i)[1])}]),
    Slip("swapped", "What is forgotten of each skill comes first, then the mean.",
         lambda i: {"lost": forgotten(i)[0][forgotten(i)[1]].mean()}),
    Slip("had_at_start", "Also a skill that was learned on the way can be lost again. Ask its best "
         "score, not the one before training.",
         with_mean(lambda i, lost, had, s: lost[s[0] > i["chance"]].mean())),
    Slip("had_at_end", "Whether the model had a skill is asked of its best score. At the end the "
         "forgotten ones are gone.",
         with_mean(lambda i, lost, had, s: lost[s[-1] > i["chance"]].mean())),
    Slip("summed", "The sum stands where the mean belongs.",
         with_mean(lambda i, lost, had, s: lost[had].sum())),
    Slip("no_skill", "The mean of nothing is no number. Leave it nan: 0 would say that nothing was "
         "forgotten.", seen_as(none=lambda v: v.size == 1 and not np.isnan(v).any())),
    Slip("changed", "`scores` and `chance` belong to the caller: compute new tensors.",
         seen_as(left=lambda v: v > 0)),
    Slip("zeros", "Skills the model never had still count as 0 in the mean: divide by those that "
         "it had.",
         with_mean(lambda i, lost, had, s: (lost * had).mean())),
)  # fmt: skip

forgetting = Check(
    name="forgetting", title="A measure of forgetting", wants=("forgetting",),
    difficulty=2, minutes=10, points=15,
    verified="skills that rise before they fall, one that only rises, one never known, and none "
    "at all",
    hints=(
        "Two questions for each column: what is its largest value, and what is its last one?",
        "`scores.max(dim=0)` returns values and positions. The mask for the mean is "
        "`best > chance`.",
        "`best = scores.max(dim=0).values`, `lost = best - scores[-1]`, and the mean is "
        "`lost[best > chance].mean()`. The mean of an empty tensor is nan already.",
    ),
    nans=("none",),
    slips=FORGETTING,
    other="lost = best measurement less last measurement, for each column; the mean over those "
    "whose best lies above chance.",
    make=make_forgetting, probe=probe_forgetting, judge=judge_forgetting,
)  # fmt: skip


# 15.2 The Pareto front
def make_pareto(seed):
    rng = np.random.default_rng(seed)
    while True:
        n = int(rng.integers(10, 14))
        score, loss = rng.integers(1, 7, n) / 8, rng.integers(2, 9, n) / 4
        first, twin, near, side, top, *lame = 1 + rng.permutation(n - 2)[:7]
        score[twin], loss[twin] = score[first], loss[first]
        score[near], loss[near] = score[first], loss[first] + 2.0**-18  # worse by very little
        score[[0, side]], loss[[0, side]] = score[first] - [1 / 8, 1 / 4], loss[first]
        score[-1], loss[-1] = score[first], loss[first] + 1 / 4  # worse on one axis, and the last
        score[top], loss[top] = 6 / 8, 9 / 4
        score[lame[1]], loss[lame[0]] = 5 / 8, 1 / 4  # beside a nan: the lowest loss of all
        i = {"score": score, "loss": loss, "lame": np.array(lame), "near": near}
        seen_score, seen_loss = runs(i)
        right = front(-seen_score, seen_loss)
        twins = right[first] and right[twin]
        if not (twins and 2 < right.sum() < n - 3):
            continue
        values = known_fronts(i)
        del values["right"]
        apart = len({v.tobytes() for v in [right, *values.values()]}) == len(values) + 1
        if apart:
            return i


def runs(i):
    """Scores and losses with their nan."""
    score, loss = i["score"].copy(), i["loss"].copy()
    score[i["lame"][0]] = loss[i["lame"][1]] = np.nan
    return score, loss


def front(score, loss, better=np.any):
    """Mask of the points that nobody beats; lower is better on both axes here."""
    points = np.stack([score, loss], 1)
    beaten = (points <= points[:, None]).all(2) & better(points < points[:, None], axis=2)
    return ~(beaten.any(1) | np.isnan(points).any(1))


def unbeaten(i, asked=True, no_more=np.less_equal):
    """The front when only the pairs [n, m] of a mask are asked whether m beats n."""
    score, loss = (v[:, None] for v in runs(i))
    beats = (score.T >= score) & no_more(loss.T, loss) & ((score.T > score) | (loss.T < loss))
    return ~((beats & asked).any(1) | np.isnan(score + loss)[:, 0])


def known_fronts(i):
    score, loss = runs(i)
    real = ~(np.isnan(score) | np.isnan(loss))
    pairs = list(zip(score, loss, strict=True))
    first = np.array([pairs.index(p) == n for n, p in enumerate(pairs)])
    right = front(-score, loss)
    filled = -np.nan_to_num(score), np.nan_to_num(loss)
    twice = np.array([pairs.count(p) > 1 for p in pairs])
    best = (score == np.nanmax(score)) | (loss == loss[real].min())
    return {
        "right": right,
        "both_low": front(score, loss),
        "both_high": front(-score, -loss),
        "worst": front(score, -loss),
        "one_axis": front(-score, loss, better=np.all),
        "by_score": front(-score, loss, better=lambda less, axis: less[..., 0]),
        "by_loss": front(-score, loss, better=lambda less, axis: less[..., 1]),
        "twins_out": right & ~twice,
        "one_twin": right & first,
        "beaten": ~right,
        "nan_in": right | ~real,
        "nan_score": right | np.isnan(score),
        "nan_loss": right | np.isnan(loss),
        "nobody": np.zeros_like(right),
        "everybody": real,
        "by_sum": (score - loss == np.nanmax(score - loss)) & real,
        "nan_beats": front(*filled) & real,
        "nan_beats_in": front(*filled),
        "tolerant": right | (np.arange(len(score)) == i["near"]),
        "best_only": best & real,
        "by_one": (score == np.nanmax(score)) & real,
        "nan_beats_by_not": unbeaten(i, no_more=lambda a, b: ~(a > b)),
        "earlier": unbeaten(i, np.tri(len(score), k=-1, dtype=bool)),
        "later": unbeaten(i, ~np.tri(len(score), dtype=bool)),
    }


def probe_pareto(namespace, a):
    given = [tensor(v) for v in runs(a)]
    mask = array(namespace["pareto_front"](*given), "the mask")
    same = [np.array_equal(t, tensor(v), True) for t, v in zip(given, runs(a), strict=True)]
    return {"mask": mask, "left": 0 if all(same) else 2}


def judge_pareto(i, o):
    right = known_fronts(i)["right"]
    score, loss = runs(i)

    def seen(value):
        if value.shape != right.shape:
            return f"the mask has shape {value.shape}"
        at = int(np.argmax(value.astype(float) != right))
        said = "is on the front" if value[at] else "is not on the front"
        return f"run {at} (score {score[at]:.7g}, loss {loss[at]:.7g}) {said}"

    wanted = f"on the front: {', '.join(map(str, np.flatnonzero(right)))}"
    promises = [
        Promise("mask", lambda v: v.shape == right.shape and v.dtype.kind in "biuf"
                and np.array_equal(v.astype(float), right), seen=seen, expected=wanted),
        Promise("mask", lambda v: v.dtype.kind == "b", seen=lambda v: f"a mask of {v.dtype.name}",
                expected="True or False for each run", share=0.5),
        callers.unchanged("left", "score or loss", share=0.5),
    ]  # fmt: skip
    return judged(i, o, promises, PARETO)


def as_mask(name):
    return lambda i: {"mask": known_fronts(i)[name]}


PARETO = (
    Slip("both_low", "A higher score is better. Only the loss is better when lower.",
         as_mask("both_low")),
    Slip("both_high", "A lower loss is better. Only the score is better when higher.",
         as_mask("both_high")),
    Slip("worst", "These are the runs that beat nobody. Both comparisons are turned round, "
         "or `any` goes along the wrong axis.",
         as_mask("worst")),
    Slip("one_axis", "To beat a run it is enough to be better on one of the two, and as good on "
         "the other.",
         as_mask("one_axis")),
    Slip("one_side", "Better on either of the two is enough: of equal losses the higher score "
         "beats the other, and of equal scores the lower loss.",
         lambda i: [{"mask": known_fronts(i)[n]} for n in ("by_score", "by_loss")]),
    Slip("nobody", "Nobody is left. Every run is as good as itself, which is not yet better; and "
         "better on one of the two is not enough, where it is worse on the other.",
         as_mask("nobody")),
    Slip("twins_out", "Every run is as good as itself and as its twin. To beat it, another one "
         "must be better somewhere.", as_mask("twins_out")),
    Slip("one_twin", "Of equal runs only the first stayed. Neither beats the other, so both stay.",
         as_mask("one_twin")),
    Slip("beaten", "This is the mask of the runs that are beaten.", as_mask("beaten")),
    Slip("nan_in", "Comparisons with nan are all False, so nothing beats such a run. Take it out "
         "at the end, whichever of the two is nan.",
         lambda i: [{"mask": known_fronts(i)[n]} for n in ("nan_in", "nan_score", "nan_loss")]),
    Slip("nan_beats", "A run with nan beats others here. As 0 it is the lowest loss of all, and "
         "`not a > b` holds where one is nan. `a <= b` does not.",
         lambda i: [{"mask": known_fronts(i)[n]}
                    for n in ("nan_beats", "nan_beats_in", "nan_beats_by_not")]),
    Slip("one_way", "Every run is compared with all others: those before it and those after it.",
         lambda i: [{"mask": known_fronts(i)[n]} for n in ("earlier", "later")]),
    Slip("tolerant", "A run that is worse by very little is worse. Compare with `>` and `<`, "
         "without a tolerance.", as_mask("tolerant")),
    Slip("best_only", "These are the best by one measure alone. The runs between them, which "
         "nobody beats on both, belong to the front too.",
         lambda i: [{"mask": known_fronts(i)[n]} for n in ("best_only", "by_one", "by_sum")]),
    Slip("not_bool", "The right runs, as numbers. A mask is of bool: do not cast it.",
         lambda i: {"mask": lambda v: v.dtype.kind != "b"
                    and np.array_equal(v.astype(float), known_fronts(i)["right"])}),
    Slip("changed", "`score` and `loss` belong to the caller: write into neither.",
         seen_as(left=lambda v: v > 0)),
    Slip("positions", "These are the numbers of the runs. A mask has one True or False for each.",
         lambda i: {"mask": np.flatnonzero(known_fronts(i)["right"])}),
)  # fmt: skip

pareto_front = Check(
    name="pareto_front", title="The Pareto front", wants=("pareto_front",),
    difficulty=2, minutes=12, points=20,
    verified="ties on one axis, equal runs, a nan on either axis",
    hints=(
        "Write down when run j beats run i. It takes two conditions.",
        "j is as good: its score is no lower and its loss no higher. And it is better: on one of "
        "the two. `score[:, None]` makes a table of all pairs.",
        "`as_good = (score >= score[:, None]) & (loss <= loss[:, None])`, `better` the same with "
        "`>`, `<` and `|`. Beaten: `(as_good & better).any(dim=1)`. Then take out nan.",
    ),
    slips=PARETO,
    other="j beats i when it is at least as good on both and better on one.",
    make=make_pareto, probe=probe_pareto, judge=judge_pareto,
)  # fmt: skip


# 15.3 Effective ranks
MATRICES = ("embed", "up", "down")
OTHERS = ("frozen", "norm", "bias")


def make_ranks(seed):
    rng = np.random.default_rng(seed)
    while True:
        made = {"share": rng.choice([0.65, 0.75, 0.85])}
        for n, name in enumerate(MATRICES):
            rows, cols = fixtures.sizes(rng, 2, 7, 13)
            k = min(rows, cols)
            made[f"before_{name}"] = rng.normal(size=(rows, cols)) * (2 + n)
            U, V = (np.linalg.qr(rng.normal(size=(m, k)))[0] for m in (rows, cols))
            made[f"change_{name}"] = U * rng.uniform(0.6, 0.96) ** np.arange(k) @ V.T
            made[f"change_{name}"][n] = 0  # a row that was not touched, as of an unused token
        down = made["before_down"]  # large numbers that changed by a millionth
        down[:] = np.sign(down) * rng.uniform(1.2, 1.9, down.shape)
        made["change_down"] *= 4e-6 / np.abs(made["change_down"]).max()
        for key in ("before_embed", "change_embed"):  # exact in float32; its numbers add up to 0
            made[key] = np.round(made[key] * 1024) / 1024
        made["change_embed"][:, -1] = -made["change_embed"][:, :-1].sum(1)
        made["before_frozen"], made["before_norm"] = rng.normal(size=(4, 5)), rng.normal(size=6)
        made["before_bias"] = rng.normal(size=3)
        made |= {"change_frozen": np.zeros((4, 5)), "change_norm": rng.normal(size=6),
                 "change_bias": np.zeros(3)}  # fmt: skip
        table = [tuple(count(made, rule)) for rule in RULES]
        spectra = [svals(made[f"change_{n}"]) ** 2 for n in MATRICES]
        clear = all(np.abs(np.cumsum(s) / s.sum() - made["share"]).min() > 0.005 for s in spectra)
        if clear and len(set(table)) == len(table):
            return made


def first_at(values, share):
    return int((values.cumsum() / values.sum() < share).sum()) + 1


def svals(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


RULES = {  # name: (before, change, share) -> the rank of one matrix
    "right": lambda b, c, share: first_at(svals(c) ** 2, share),
    "plain": lambda b, c, share: first_at(svals(c), share),
    "of_after": lambda b, c, share: first_at(svals(b + c) ** 2, share),
    "one_less": lambda b, c, share: first_at(svals(c) ** 2, share) - 1,
    "one_more": lambda b, c, share: first_at(svals(c) ** 2, share) + 1,
    "full": lambda b, c, share: int(np.linalg.matrix_rank(c)),
    "ascending": lambda b, c, share: first_at(svals(c)[::-1] ** 2, share),
    "rest": lambda b, c, share: first_at(svals(c) ** 2, 1 - share),
    "near_energy": lambda b, c, share: int((svals(c) ** 2 > (1 - share) * svals(c)[0] ** 2).sum()),
    "near_first": lambda b, c, share: int((svals(c) >= (1 - share) * svals(c)[0]).sum()),
    "near_share": lambda b, c, share: int((svals(c) ** 2 >= share * svals(c)[0] ** 2).sum()),
    "absolute": lambda b, c, share: first_at(svals(np.abs(c)) ** 2, share),
    "relative": lambda b, c, share: first_at(svals(c / np.abs(b).clip(1e-9)) ** 2, share),
    "counted": lambda b, c, share: round(share * min(c.shape)),
    "counted_down": lambda b, c, share: int(share * min(c.shape)),
    "frobenius": lambda b, c, share: first_at(svals(c) ** 2, share**2),
    "fixed": lambda b, c, share: first_at(svals(c) ** 2, 0.9),
}


def count(i, rule):
    """The ranks of the three matrices by one of the rules."""
    given = [(i[f"before_{n}"], i[f"change_{n}"]) for n in MATRICES]
    return np.array([RULES[rule](b, c, float(i["share"])) for b, c in given])


def probe_ranks(namespace, a):
    names = ("embed", "frozen", "norm", "up", "bias", "down")
    before = {n: tensor(a[f"before_{n}"]) for n in names}
    after = {n: tensor(a[f"before_{n}"] + a[f"change_{n}"]) for n in names}
    kept = callers.Before(before, after)
    ranks = namespace["effective_ranks"](before, after, a["share"].item())
    fixtures.expect(ranks, dict, "effective_ranks", "a dict, name -> whole number")
    found = [array(ranks.get(n, -1), f"the rank of {n}") for n in MATRICES]
    if any(v.size != 1 for v in found):
        raise Refused("type", "a rank is not one number.", "one whole number for each name.")
    found = np.array([v.reshape(()) for v in found])
    return {
        "ranks": found,
        "others": np.array([n in ranks for n in OTHERS]),
        "strays": sum(n not in names for n in ranks),
        "left": kept.change(),
    }


def judge_ranks(i, o):
    right = count(i, "right")
    share = f"{float(i['share']):.0%}"

    def seen(value):
        at = int(np.argmax(value != right))
        if value[at] == -1:
            return f"{MATRICES[at]}, a matrix that changed, is missing"
        shape = i[f"before_{MATRICES[at]}"].shape
        return f"{MATRICES[at]} ({shape[0]} x {shape[1]}), share {share}: rank {value[at]:.4g}"

    def extra(value):
        why = ("a matrix that did not change", "a vector", "a vector")
        at = int(np.argmax(value))
        return f"{OTHERS[at]}, {why[at]}, is in the dict"

    promises = [
        Promise(
            "ranks",
            right,
            seen=seen,
            expected=f"{dict(zip(MATRICES, right.tolist(), strict=True))}",
        ),
        Promise("others", lambda v: not v.any(), seen=extra, expected="left out", share=0.6),
        Promise("strays", 0, seen="{} names that are in neither dict", expected="none", share=0.6),
        callers.unchanged("left", "one of the two dicts", share=0.6),
    ]
    return judged(i, o, promises, RANKS)


def by_rule(rule):
    return lambda i: {"ranks": count(i, rule)}


RANKS = (
    Slip("plain", "Energy is the sum of the squares of the singular values.", by_rule("plain")),
    Slip("of_after", "That is the rank of the trained weight. Take the SVD of the change: after "
         "less before.", by_rule("of_after")),
    Slip("itself", "The SVD is of the change itself, after less before: no absolute values, no "
         "division by the weight.",
         lambda i: [by_rule(r)(i) for r in ("absolute", "relative")]),
    Slip("one_less", "So many values do not yet hold the share: one more is needed.",
         by_rule("one_less")),
    Slip("one_more", "One value fewer holds the share already.", by_rule("one_more")),
    Slip("full", "That is how many singular values are not 0. How many does it take to hold the "
         "share?", by_rule("full")),
    Slip("ascending", "The largest values come first. Adding up from the smallest takes too many.",
         by_rule("ascending")),
    Slip("rest", "That many hold 1 - share of the energy.", by_rule("rest")),
    Slip("near_first", "Counting values near the largest one is another measure. Add the squares "
         "up.", lambda i: [by_rule(r)(i) for r in ("near_first", "near_energy", "near_share")]),
    Slip("norm", "The share of the energy is wanted: the squared norm, not the norm itself.",
         by_rule("frobenius")),
    Slip("fixed", "That many values hold 0.9 of the energy. Take `share`.", by_rule("fixed")),
    Slip("a_share", "`share` is a part of the energy, not of the number of values; and how many "
         "is asked: a whole number.",
         lambda i: [by_rule("counted")(i), by_rule("counted_down")(i), {"ranks": count(i, "right")
                    / [min(i[f"before_{n}"].shape) for n in MATRICES]}]),
    Slip("changed", "Weights of both dicts stay as they are: `after[name] - weight` makes a new "
         "tensor, `sub_` and `-=` write into the old one.", seen_as(left=lambda v: v > 0)),
    Slip("overlooked", "A change by a millionth is a change, and `allclose` overlooks it. Ask "
         "`change.any()`.",
         lambda i: {"ranks": np.where(np.array(MATRICES) == "down", -1, count(i, "right"))}),
    Slip("unchanged_in", "A matrix that did not change has no update, so it is left out.",
         lambda i: {"ranks": count(i, "right"), "others": np.array([True, False, False])}),
    Slip("vectors_in", "Vectors are left out, those of norms and biases: only matrices have "
         "a rank worth asking.",
         lambda i: [{"ranks": count(i, "right"), "others": np.array(v)}
                    for v in ([False, True, False], [False, True, True], [True, True, True])]),
)  # fmt: skip

effective_ranks = Check(
    name="effective_ranks", title="Effective rank of every change", wants=("effective_ranks",),
    difficulty=3, minutes=12, points=20,
    verified="three matrices of different shape, one change of a millionth, one matrix "
    "that did not change, two vectors",
    hints=(
        "Chapter 02 has the energy of singular values. Whose singular values are wanted here?",
        "`torch.linalg.svdvals(after[name] - weight)`, squared, `cumsum`, divided by the sum. "
        "Count the entries that are still below the share.",
        "`held = energy.cumsum(0) / energy.sum()` and the rank is `int((held < share).sum()) + 1`. "
        "Skip a change with `ndim != 2` or without any number that is not 0.",
    ),
    slips=RANKS,
    other="The smallest r whose first r squared singular values of after - before hold the share.",
    make=make_ranks, probe=probe_ranks, judge=judge_ranks,
)  # fmt: skip


# 15.4 Replay
CASES = {  # per cent, batch size, steps
    "small": (10, 4, 9),
    "large": (57, 10, 10),
    "exact": (58, 25, 8),  # 0.58 * 50 and 0.01 * 58 * 50 fall below 29
}


def make_replay(seed):
    rng = np.random.default_rng(seed)
    new, old = fixtures.sizes(rng, 2, 11, 19)
    few = int(rng.integers(2, 4))
    return {"new": 100 + rng.permutation(new), "old": 500 + rng.permutation(old), "few": few}


def mixed(new, old, percent, size, steps, count=None, advance=None, behind=0):
    """The right batches. count: (n, used) -> old rows of batch n. advance: new rows used in n.

    behind: 1 when the new rows of a batch begin as much later as it has old ones.
    """
    made, a, b = [], 0, 0
    for n in range(1, steps + 1):
        m = percent * n * size // 100 - b if count is None else count(n, b)
        batch = [old[(b + j) % len(old)] for j in range(m)]
        batch += [new[(a + behind * m + j) % len(new)] for j in range(size - m)]
        a, b = a + (size - m if advance is None else advance), b + m
        made.append(batch)
    return np.sort(np.array(made), axis=1)


def probe_replay(namespace, a):
    made, left = {}, []
    for key in CASES:
        new, old, percent, size, steps = given(a, key)
        new, old = new.tolist(), old.tolist()
        before = callers.Before(new, old)
        batches = namespace["replay_mix"](new, old, percent, size, steps)
        left.append(before.change())
        if batches is None or not hasattr(batches, "__iter__"):
            key = "none" if batches is None else "type"
            raise Refused(key, f"replay_mix returns {kind(batches)}.", "a list of batches.")
        batches = list(batches)
        if odd := [batch for batch in batches if not hasattr(batch, "__len__")]:
            raise Refused("type", f"the first batch is {kind(odd[0])}.", "a list of rows.")
        rows = [list(batch) for batch in batches]
        lengths = np.array([len(row) for row in rows])
        made[f"lengths_{key}"] = lengths
        if len(set(lengths.tolist())) == 1:
            made[f"rows_{key}"] = np.sort(array(rows, "the batches"), axis=1)
        else:
            made[f"rows_{key}"] = np.zeros(0)
    return made | {"left": max(left)}


def given(i, key):
    old = i["old"][: int(i["few"])] if key == "large" else i["old"]
    return (i["new"], old, *CASES[key])


def judge_replay(i, o):
    promises = []
    for key, (percent, size, steps) in CASES.items():
        right = mixed(*given(i, key))
        case = f"{percent} % of batches of {size}"
        words = first_wrong(o[f"rows_{key}"], right, case)
        promises += [
            Promise(f"lengths_{key}", lambda v, steps=steps: v.size == steps,
                    seen=lambda v, case=case: f"{case}: {v.size} batches", expected=str(steps)),
            Promise(f"lengths_{key}", np.full(steps, size), f"{case}: the rows of a batch"),
            Promise(f"rows_{key}", right, seen=lambda v, words=words: words[0], expected=words[1]),
        ]  # fmt: skip
    share = 0.6 if all(promise.holds(o[promise.key]) for promise in promises) else 0.0
    left = callers.unchanged("left", "new or old", share=share)
    return judged(i, o, [left, *promises], REPLAY)  # a changed list explains the rows


def first_wrong(value, right, case):
    """(seen, expected) for the first batch that is not right: its old rows, or its numbers."""
    if value.shape != right.shape:
        return f"{case}: batches of shape {value.shape}", f"{right.shape}"
    n = int(np.argmax((value != right).any(1)))
    counts = [int((v[n] >= 500).sum()) for v in (value, right)]
    if counts[0] != counts[1]:
        return f"{case}: old rows in batch {n + 1}: {counts[0]}", f"{counts[1]}"
    rows = [", ".join(f"{x:g}" for x in v[n]) for v in (value, right)]
    return f"{case}: batch {n + 1}, sorted, has the rows {rows[0]}", rows[1]


def replayed(**options):
    """A slip's values for both cases; each option is a function of (percent, size, steps)."""

    def values(i):
        made = {}
        for key, case in CASES.items():
            made[f"rows_{key}"] = mixed(
                *given(i, key), **{n: option(*case) for n, option in options.items()}
            )
        return made

    return values


def others_right(i, key, v):
    """All but the choice of old rows: their number, and the new ones beside them."""
    right = mixed(*given(i, key))
    new = np.where(right < 500, right, 0)
    return v.shape == right.shape and np.array_equal(np.where(v < 500, v, 0), new)


def shrinking(key):
    """A condition: the first batch of a case has its size, later ones have less."""
    _, size, steps = CASES[key]
    return lambda v: v.shape == (steps,) and v[0] == size and (v <= size).all() and v.min() < size


def at_once(i):
    """The old rows all at the end."""
    made = {}
    for key, (percent, size, steps) in CASES.items():
        whole = percent * steps * size // 100
        made[f"rows_{key}"] = mixed(
            *given(i, key),
            count=lambda n, used, s=size, t=steps, w=whole: min(s, max(0, w - s * (t - n)) - used),
        )
    return made


REPLAY = (
    Slip("each_batch", "The share of one batch was rounded down, and the rest is lost every time. "
         "Count over all batches so far.",
         replayed(count=lambda p, size, steps: lambda n, used: p * size // 100)),
    Slip("at_least_one", "One old row in every batch is more than the share asks. Some batches "
         "have none: count over all batches so far.",
         replayed(count=lambda p, size, steps: lambda n, used: max(1, p * size // 100))),
    Slip("rounded_up", "The share of one batch was rounded, up or to the nearest, and what is off "
         "adds up. Count over all batches so far.",
         lambda i: [replayed(count=lambda p, size, steps, up=up: lambda n, used:
                             round(p * size / 100 + up))(i) for up in (0, 0.4999)]),
    Slip("of_the_new", "The old rows are a share of the whole batch, not of the new rows.",
         replayed(count=lambda p, size, steps: lambda n, used:
                  p * n * size // (100 + p) - used)),
    Slip("rounded", "The number so far is rounded down (`//`), not up or to the nearest.",
         lambda i: [replayed(count=lambda p, size, steps, up=up: lambda n, used:
                             int(np.rint(p * n * size / 100 + up)) - used)(i)
                    for up in (1e-6, 0, 0.4999)]),  # round() takes 28.5 down
    Slip("from_zero", "The first batch is n = 1: count its own rows too.",
         replayed(count=lambda p, size, steps: lambda n, used: p * (n - 1) * size // 100 - used)),
    Slip("skipped", "New rows were left out where an old one took their place. No row is skipped: "
         "go on where the last batch ended, with a counter for each kind.",
         lambda i: [replayed(advance=lambda p, size, steps: size, **more)(i)
                    for more in ({}, {"behind": lambda p, size, steps: 1})]),
    Slip("no_old", "There is not one old row.",
         replayed(count=lambda p, size, steps: lambda n, used: 0)),
    Slip("exchanged", "New and old rows are exchanged: percent is the share of the old.",
         lambda i: [
             {f"rows_{k}": mixed(given(i, k)[1], given(i, k)[0], *CASES[k]) for k in CASES},
             replayed(count=lambda p, size, steps: lambda n, used:
                      (100 - p) * n * size // 100 - used)(i)]),
    Slip("at_the_end", "All old rows come in a few batches, first or last. Spread them.",
         lambda i: [at_once(i),
                    replayed(count=lambda p, size, steps: lambda n, used:
                             min(size, p * steps * size // 100 - used))(i)]),
    Slip("old_order", "As many old rows as it should be, but not those. Go on in each batch where "
         "the last one ended, and after the last old row with the first.",
         lambda i: {f"rows_{k}": lambda v, k=k: others_right(i, k, v) for k in CASES}),
    Slip("ran_out", "The batches get too short where a list ends. Begin again with its first row: "
         "`% len(...)`.",
         lambda i: [{"lengths_small": shrinking("small")},
                    {"lengths_small": np.full(CASES["small"][2], CASES["small"][1]),
                     "lengths_large": lambda v: v.size and v.min() < v.max() == CASES["large"][1]},
                    {"lengths_small": np.full(CASES["small"][2], CASES["small"][1]),
                     "lengths_large": lambda v: v.size and v.max() < CASES["large"][1]}]),
    Slip("on_top", "Old rows take the place of new ones: the batch stays as large as it was.",
         lambda i: {f"lengths_{k}": CASES[k][1] + (mixed(*given(i, k)) >= 500).sum(1)
                    for k in CASES}),
    Slip("one_short", "Every batch is a row short, or a row too long.",
         lambda i: [{f"lengths_{k}": np.full(CASES[k][2], CASES[k][1] + d) for k in CASES}
                    for d in (-1, 1)]),
    Slip("changed", "`pop` and `shuffle` change the lists of the caller. Take rows by their place.",
         seen_as(left=lambda v: v > 0)),
    Slip("floats", "percent / 100 is no exact number, and a product that should be whole falls "
         "just below. Keep to whole numbers, and divide last, with `//`.",
         lambda i: [replayed(count=lambda p, size, steps, far=far: lambda n, used:
                             int(far(p, size, n)) - used)(i)
                    for far in (lambda p, size, n: p / 100 * (size * n),
                                lambda p, size, n: p / 100 * n * size,
                                lambda p, size, n: 0.01 * p * n * size)]),
    Slip("one_list", "Every batch is the same list, so all show the last one. Make a new list in "
         "each step.",
         lambda i: {f"rows_{k}": np.tile(mixed(*given(i, k))[-1], (CASES[k][2], 1))
                    for k in CASES}),
    Slip("restarts", "Every batch begins with the first new row again. Go on where the last batch "
         "ended.", replayed(advance=lambda p, size, steps: 0)),
)  # fmt: skip

replay_mix = Check(
    name="replay_mix", title="A replay mix", wants=("replay_mix",),
    difficulty=3, minutes=15, points=20,
    verified="batches too small for a whole old row, lists that end early, the order of the rows",
    hints=(
        "How many old rows are there after batch n, and how many after batch n - 1?",
        "Keep two counters, used_new and used_old. The old rows of a batch are the number so far "
        "less used_old. A place beyond the end: `% len(...)`.",
        "`count = percent * n * batch_size // 100 - used_old`, then "
        "`old[(used_old + i) % len(old)]` for i in range(count), the same for new, and both "
        "counters go on.",
    ),
    slips=REPLAY,
    other="After batch n: percent * n * batch_size // 100 old rows; both lists in their order.",
    make=make_replay, probe=probe_replay, judge=judge_replay,
)  # fmt: skip


# 15.5 Intruders
def make_intruders(seed):
    rng = np.random.default_rng(seed)
    while True:
        shapes = [(10, 13), (15, 8), (6, 12)]
        ranks, k = rng.permutation([7, 9, 11]), 7  # the update has k directions of its own
        scaling = rng.choice([1.5, 2.5, 3.0])
        made = {
            "scaling": scaling,
            "k": k,
            "epsilons": np.array([0.45, 0.55, 0.65, 0.75, 0.85, 0.95]),
        }
        for n, ((out, d_in), r) in enumerate(zip(shapes, ranks, strict=True)):
            made[f"W{n}"] = rng.normal(size=(out, d_in))
            made[f"A{n}"] = rng.normal(size=(r, d_in)) * 0.4
            made[f"B{n}"] = rng.normal(size=(out, r)) * 0.4
        everything = np.concatenate([likeness(made, n) for n in range(3)])
        if np.abs(everything[:, None] - made["epsilons"]).min() < 0.002:
            continue
        known = [tuple(curve(made, **options)) for options in WAYS.values()]
        if len(set(known)) == len(known) and known[0][0] > 0:
            return made


def likeness(i, n, side=0, first=None, power=1, of="after", part=None, axis=1, full=False):
    """|cosine| of the k strongest vectors with what was there before."""
    W = i[f"W{n}"]
    update = float(i["scaling"]) ** power * i[f"B{n}"] @ i[f"A{n}"]
    W, tuned = {"after": (W, W + update), "before": (W + update, W)}.get(of, (W, update))
    old, new = (np.linalg.svd(w, full)[2 * side] for w in (W, tuned))
    old, new = (old.T, new.T) if side else (old, new)
    k = int(i["k"])
    new = {"all": new, "last": new[:, -k:]}.get(part, new[:, :k])
    cosines = np.abs(new.T @ old[:, :first])
    return np.diag(cosines) if part == "pairs" else cosines.max(axis)


def curve(i, pool=np.sum, below=np.less, **options):
    counts = [below(likeness(i, n, **options), i["epsilons"][:, None]).sum(1) for n in range(3)]
    return pool(counts, axis=0)


WAYS = {
    "right": {},
    "right_side": {"side": 1},
    "no_scaling": {"power": 0},
    "twice": {"power": 2},
    "of_update": {"of": "update"},
    "all_vectors": {"part": "all"},
    "pairs": {"part": "pairs"},
    "weakest": {"part": "last"},
    "same_place": {"first": 7},
    "above": {"below": np.greater_equal},
    "mean": {"pool": np.mean},
    "wrong_axis": {"axis": 0},
    "exchanged": {"of": "before"},
    "full": {"full": True},
}


def probe_intruders(namespace, a):
    names = range(3)
    layers = [tuple(tensor(a[f"{part}{n}"]) for part in "WAB") for n in names]
    epsilons = tensor(a["epsilons"])
    before = callers.Before(*[t for layer in layers for t in layer], epsilons)
    found = namespace["intruder_curve"](layers, a["scaling"].item(), a["k"].item(), epsilons)
    return {"counts": array(found, "the counts"), "left": before.change()}


def judge_intruders(i, o):
    counts = Promise("counts", curve(i), "the number of intruders", rtol=0, atol=0.01)
    share = 0.6 if counts.holds(o["counts"]) else 0.0
    left = callers.unchanged("left", "a weight, a factor or epsilons", share=share)
    return judged(i, o, [left, counts], INTRUDERS, last=INTRUDERS_LAST)  # a changed W explains


def in_way(name):
    return lambda i: {"counts": curve(i, **WAYS[name])}


INTRUDERS = (
    Slip("right_side", "These are the right singular vectors, the inputs of the layer. The left "
         "ones, the columns of U, are asked.", in_way("right_side")),
    Slip("no_scaling", "The factors were added without `scaling`, or W has it too.",
         in_way("no_scaling")),
    Slip("one_epsilon", "The same number everywhere: compare with each of `epsilons` in turn.",
         lambda i: {"counts": lambda v: v.shape == i["epsilons"].shape
                    and len({0, 20, *v.tolist()}) == 3 and v.min() == v.max()}),
    Slip("twice", "The scale is in there twice.", in_way("twice")),
    Slip("of_update", "The strongest directions of the trained weight W + scaling * B @ A are "
         "asked, not those of the update alone.", in_way("of_update")),
    Slip("all_vectors", "Only the k strongest vectors of the trained weight count.",
         in_way("all_vectors")),
    Slip("pairs", "Each new vector was compared with one old vector, the one of the same number. "
         "Training changes the order: compare with all.", in_way("pairs")),
    Slip("weakest", "The strongest vectors stand first in U. These are the last k.",
         in_way("weakest")),
    Slip("first_old", "Compare with every vector of W, not only with its k strongest: a weak old "
         "direction that became strong is no intruder.", in_way("same_place")),
    Slip("above", "These are the vectors that are like an old one. Count those below epsilon.",
         in_way("above")),
    Slip("wrong_axis", "These are old vectors that the training lost. Take the maximum over the "
         "old ones, once for each new vector.",
         lambda i: [in_way("wrong_axis")(i), in_way("exchanged")(i)]),
    Slip("mean", "Add up over the layers: a number of vectors is asked, no mean and no share.",
         lambda i: [in_way("mean")(i),
                    {"counts": curve(i) / sum(len(likeness(i, n)) for n in range(3))},
                    {"counts": sum((likeness(i, n) < i["epsilons"][:, None]).mean(1)
                                   for n in range(3))}]),
    Slip("changed", "W belongs to the model: `W + ...` makes a new tensor, `+=` and `add_` write "
         "into it.", seen_as(left=lambda v: v > 0)),
    Slip("last_layer", "Only one layer was counted. Add up over all of them.",
         lambda i: [{"counts": (likeness(i, n) < i["epsilons"][:, None]).sum(1)} for n in (0, 2)]),
    Slip("by_mean", "One old vector that is alike is enough. Take the largest |cosine|, not "
         "the mean and not the smallest.",
         lambda i: {"counts": np.full(len(i["epsilons"]), 20)}),
)  # fmt: skip

INTRUDERS_LAST = (
    Slip("too_many", "Too many are counted, and nowhere too few. A vector may point either way, so "
         "|cosine|; the largest over all old vectors; and only of the k strongest new ones.",
         lambda i: {"counts": lambda v: v.shape == curve(i).shape and (v >= curve(i)).all()}),
)  # fmt: skip

intruder_curve = Check(
    name="intruder_curve", title="How many intruders", wants=("intruder_curve",),
    difficulty=4, minutes=15, points=25,
    verified="three layers, tall and wide, one with fewer than k vectors, six epsilons",
    hints=(
        "`U.T @ U` of two weights holds all cosines between their left singular vectors. Which "
        "axis belongs to which?",
        "For every one of the first k columns of the new U: the largest |cosine| with any column "
        "of the old U. Below epsilon means intruder.",
        "`(new[:, :k].T @ old).abs().amax(dim=1)` for each layer, all of them joined by "
        "`torch.cat`, then `(like < epsilons[:, None]).sum(dim=1)`.",
    ),
    slips=INTRUDERS + INTRUDERS_LAST,
    other="Count the first k left singular vectors of W + scaling * B @ A whose largest |cosine| "
    "with the left singular vectors of W is below epsilon.",
    make=make_intruders, probe=probe_intruders, judge=judge_intruders,
)  # fmt: skip

EXERCISES = (forgetting, pareto_front, effective_ranks, replay_mix, intruder_curve)
