"""Checks of chapter 06: a rank budget, equal budgets, rsLoRA, LoRA+ groups, reading a grid."""

from itertools import combinations

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, array, tensor
from lora_course.checks.guard import described
from lora_course.checks.slips import Promise, Slip, in_parts, judged
from lora_course.checks.values import Refused, close, kind, none, text, words
from lora_course.checks.wording import differ, multiple


def single(value, name):
    """The learner's one number, also from an array with one entry."""
    value = array(value, name)
    return value.reshape(()) if value.size == 1 else value


# 6.1 The largest rank within a budget
LAYERS = ("up_proj", "gate_up_proj", "o_proj", "down_proj", "q_proj", "proj")
BUDGETS = ("exact", "rest", "small", "large")


def make_rank(seed):
    rng = np.random.default_rng(seed + 600)
    while True:
        shapes = rng.permutation(np.arange(20, 120))[:12].reshape(6, 2)  # (out, in)
        layers, targets = int(rng.integers(3, 7)), rng.permutation(3)
        targets = np.append([0], rng.permutation([2, 3, 4])[:2])[
            targets
        ]  # never gate_up_proj or proj
        cost = layers * shapes[targets].sum()
        exact, rest = rng.choice(np.arange(4, 13), 2, replace=False)
        large = int(rng.integers(150, 250)) * cost + cost // 3  # a rank above all sides
        budgets = np.array([exact * cost, rest * cost + 2 * cost // 3, 2 * cost // 3, large])
        made = {"shapes": shapes, "layers": layers, "targets": targets, "budgets": budgets}
        found = [budgets // cost, *(wrong(made) for wrong in WRONG_RANKS.values())]
        if len({tuple(ranks) for ranks in found}) == len(found):
            return made


def per_rank(i, count=lambda shapes: shapes.sum(1)):
    """Numbers at rank 1 in all blocks. count: shapes (n, 2) -> numbers of each layer."""
    return int(i["layers"]) * count(i["shapes"][i["targets"]]).sum()


def target_costs(i):
    """Numbers at rank 1 of each target, in one block."""
    return i["shapes"][i["targets"]].sum(1)


WRONG_RANKS = {  # what the budgets become in other hands
    "one_block": lambda i: i["budgets"] // (per_rank(i) // int(i["layers"])),
    "all_modules": lambda i: i["budgets"] // (int(i["layers"]) * i["shapes"].sum()),
    "by_part": lambda i: i["budgets"] // (per_rank(i) + int(i["layers"]) * i["shapes"][1].sum()),
    "part_of": lambda i: i["budgets"] // (per_rank(i) + int(i["layers"]) * i["shapes"][5].sum()),
    "product": lambda i: i["budgets"] // per_rank(i, lambda shapes: shapes.prod(1)),
    "only_out": lambda i: i["budgets"] // per_rank(i, lambda shapes: shapes[:, 0]),
    "only_in": lambda i: i["budgets"] // per_rank(i, lambda shapes: shapes[:, 1]),
    "twice_out": lambda i: i["budgets"] // per_rank(i, lambda shapes: 2 * shapes[:, 0]),
    "twice_in": lambda i: i["budgets"] // per_rank(i, lambda shapes: 2 * shapes[:, 1]),
    "twice_max": lambda i: i["budgets"] // per_rank(i, lambda shapes: 2 * shapes.max(1)),
    "twice_min": lambda i: i["budgets"] // per_rank(i, lambda shapes: 2 * shapes.min(1)),
    "remainder": lambda i: i["budgets"] % per_rank(i),
    "added": lambda i: i["budgets"] // (int(i["layers"]) + target_costs(i).sum()),
    "times_layers": lambda i: i["budgets"] // (per_rank(i) // int(i["layers"])) * int(i["layers"]),
    **{
        f"each_{n}": lambda i, n=n: i["budgets"] // (int(i["layers"]) * target_costs(i)[n])
        for n in range(3)
    },
    "split": lambda i: (
        i["budgets"] // len(i["targets"]) // (int(i["layers"]) * target_costs(i).max())
    ),
    "strict": lambda i: (i["budgets"] - 1) // per_rank(i),
    "over": lambda i: -(-i["budgets"] // per_rank(i)),
    "rounded": lambda i: np.rint(i["budgets"] / per_rank(i)),
    "above": lambda i: i["budgets"] // per_rank(i) + 1,
    "at_least_one": lambda i: np.maximum(i["budgets"] // per_rank(i), 1),
    "not_whole": lambda i: i["budgets"] / per_rank(i),
    "power": lambda i: [int(r > 0) << int(np.log2(max(r, 1))) for r in i["budgets"] // per_rank(i)],
}


def wrong_rank(*names):
    """A slip's values: the ranks of WRONG_RANKS under any of these names."""
    return lambda i: [dict(zip(BUDGETS, WRONG_RANKS[name](i), strict=True)) for name in names]


def probe_rank(namespace, a):
    made, left = {}, []
    for key, budget in zip(BUDGETS, a["budgets"].tolist(), strict=True):
        shapes = dict(zip(LAYERS, map(tuple, a["shapes"].tolist()), strict=True))
        targets = [LAYERS[t] for t in a["targets"]]
        before = callers.Before(shapes, targets)
        r = namespace["largest_rank"](shapes, targets, a["layers"].item(), budget)
        made[key] = single(r, "the rank")
        left.append(before.change())
    return {**made, "left": max(left)}


def judge_rank(i, o):
    cost, promises = per_rank(i), []
    for key, budget in zip(BUDGETS, i["budgets"], strict=True):
        what = f"for a budget of {budget}, where rank 1 costs {cost}, the rank"
        promises.append(Promise(key, budget // cost, what, rtol=0))
    promises.append(callers.unchanged("left", "shapes or targets"))
    return judged(i, o, promises, RANK, last=RANK_LAST)


RANK = (
    Slip("one_block", "Only one block was counted. Every one of the `layers` blocks gets its own A "
         "and B.", wrong_rank("one_block")),
    Slip("all_modules", "All the linear layers were counted. LoRA goes only into those that "
         "`targets` names.", wrong_rank("all_modules")),
    Slip("by_part", "gate_up_proj ends in up_proj, proj is a part of it, and `targets` names "
         "neither. Compare whole names: `shapes[name] for name in targets`.",
         wrong_rank("by_part", "part_of")),
    Slip("product", "Rank 1 does not cost out * in, which is the size of the weight. It costs "
         "out + in.", wrong_rank("product")),
    Slip("one_side", "Only one of the two factors was counted. A has r * in numbers and B has "
         "r * out.", wrong_rank("only_out", "only_in")),
    Slip("square", "Both factors were given the same length. A is r x in and B is out x r: the two "
         "sides differ.", wrong_rank("twice_out", "twice_in", "twice_max", "twice_min")),
    Slip("remainder", "`%` gives what is left over. How often the cost fits is `//`.",
         wrong_rank("remainder")),
    Slip("added", "The blocks were added to the cost of one. Each costs as much: multiply by "
         "`layers`.", wrong_rank("added")),
    Slip("strict", "A budget that is used up to the last number is still kept: at most, not less "
         "than.", wrong_rank("strict")),
    Slip("over", "That rank costs more than the budget. Round down.",
         wrong_rank("over", "above", "rounded")),
    Slip("capped", "The rank was held below a bound: a side of a layer, or the end of a loop. Here "
         "the budget alone limits it.", lambda i: {
             **dict(zip(BUDGETS[:3], i["budgets"] // per_rank(i), strict=False)),
             "large": lambda v: v.size == 1 and v != WRONG_RANKS["power"](i)[3]
             and 0 < v < i["budgets"][3] // per_rank(i)}),
    Slip("times_layers", "The blocks enter the other way: more of them leave less for each. Divide "
         "by `layers`.", wrong_rank("times_layers")),
    Slip("each", "Only one layer was in the division. The budget is for all targets together: add "
         "up what they cost first, and divide once.",
         wrong_rank("each_0", "each_1", "each_2", "split")),
    Slip("at_least_one", "Where not even rank 1 fits, the answer is 0.",
         wrong_rank("at_least_one")),
    Slip("power", "A rank need not be a power of two. Take the largest that fits.",
         lambda i: [*wrong_rank("power")(i), dict(zip(
             BUDGETS, np.minimum(WRONG_RANKS["power"](i), 64), strict=True))]),
    Slip("not_whole", "A rank is a whole number. Round down.", wrong_rank("not_whole")),
)  # fmt: skip


def rank_off(i, above):
    """Conditions: a rank too large, or too small, for one of the budgets."""
    right = dict(zip(BUDGETS, i["budgets"] // per_rank(i), strict=True))
    return [{key: lambda v, r=r: v.size == 1 and ((v > r) if above else (v < r)).all()}
            for key, r in right.items()]  # fmt: skip


RANK_LAST = (
    Slip("too_large", "That rank costs more than the budget. Compare what rank 1 costs with your "
         "own number: `layers` times the sum of out + in over the targets.",
         lambda i: rank_off(i, True)),
    Slip("too_small", "A larger rank fits. Compare what rank 1 costs with your own number: "
         "`layers` times the sum of out + in over the targets.", lambda i: rank_off(i, False)),
)  # fmt: skip

largest_rank = Check(
    name="largest_rank", title="The largest rank within a budget", wants=("largest_rank",),
    difficulty=1, minutes=6, points=10,
    verified="a budget used up exactly, one with a remainder, a large one, and one too small for "
    "rank 1",
    hints=(
        "How many numbers do A and B of one layer have at rank 1?",
        "At rank 1 a layer costs out + in. Add that up over the targets, times the blocks. How "
        "often does the sum fit into the budget?",
        "`cost = layers * sum(out + in for the targets)`, and the answer is `budget // cost`.",
    ),
    slips=RANK + RANK_LAST, other="Rank r costs r * layers * (sum of out + in over the targets).",
    make=make_rank, probe=probe_rank, judge=judge_rank,
)  # fmt: skip


# 6.2 The scale of rsLoRA
PAIRS = range(2)
HALVES = ("rslora_delta", "same_update")


def make_rslora(seed):
    rng = np.random.default_rng(seed + 800)
    f, (n, m) = fixtures.normal(rng), fixtures.sizes(rng, 2, 10, 16)
    r, big = rng.choice([2, 3]), rng.choice([6, 7, 8])
    made = {"A0": f(r, n), "B0": f(m, r), "A1": f(big, m), "B1": f(n, big)}
    return {**made, "alpha": rng.choice([11, 13, 17, 19])}


def probe_rslora(namespace, a):
    alpha, made = a["alpha"].item(), {}

    def deltas():
        found, left = {}, []
        for n in PAIRS:
            given = tensor(a[f"A{n}"]), tensor(a[f"B{n}"])
            before = callers.Before(*given)
            found[f"delta{n}"] = array(namespace["rslora_delta"](*given, alpha), "the update")
            left.append(before.change())
        return {**found, "left": max(left)}

    def alphas():
        call, ranks = namespace["same_update"], [len(a[f"A{n}"]) for n in PAIRS]
        return {f"alpha{n}": single(call(alpha, ranks[n]), "the new alpha") for n in PAIRS}

    for part, run in zip(HALVES, (deltas, alphas), strict=True):
        made |= fixtures.attempt(part, run)
    return fixtures.unless_all_open(made, HALVES)


def product(i, n):
    return i[f"B{n}"].astype(float) @ i[f"A{n}"]


def scaled(*scales):
    """A slip's values of rslora_delta. scales: (alpha, r, in, out) -> what B A is multiplied by."""

    def found(i):
        sizes = [(len(i[f"A{n}"]), i[f"A{n}"].shape[1], len(i[f"B{n}"])) for n in PAIRS]
        return [{f"delta{n}": scale(int(i["alpha"]), *sizes[n]) * product(i, n) for n in PAIRS}
                for scale in scales]  # fmt: skip

    return found


def alphas(*rules):
    """A slip's values of same_update. rules: (alpha, r) -> the new alpha."""
    return lambda i: [{f"alpha{n}": rule(int(i["alpha"]), len(i[f"A{n}"])) for n in PAIRS}
                      for rule in rules]  # fmt: skip


def judge_rslora(i, o):
    alpha, deltas, news = float(i["alpha"]), [], []
    for n in PAIRS:
        r, BA = len(i[f"A{n}"]), product(i, n)
        case = f"for r = {r} and lora_alpha = {alpha:g}, the "
        right = alpha / np.sqrt(r) * BA

        def seen(v, BA=BA, right=right, case=case):
            c = multiple(v, BA)
            return (
                differ(v, right, case + "update")[0]
                if c is None
                else f"{case}update is {c:.6g} * B @ A"
            )

        expected = f"{alpha / np.sqrt(r):.6g} * B @ A, of shape {len(BA)} x {len(BA[0])}"
        deltas.append(Promise(f"delta{n}", right, seen=seen, expected=expected, atol=1e-5))
        news.append(Promise(f"alpha{n}", alpha / np.sqrt(r), case + "new alpha", rtol=1e-5))
    deltas.append(callers.unchanged("left", "lora_A or lora_B"))
    verdicts = [judged(i, o, promises, RSLORA, part=part, last=RSLORA_LAST)
                for promises, part in zip((deltas, news), HALVES, strict=True)]  # fmt: skip
    return in_parts(*verdicts)


RSLORA = (
    Slip("plain", "This is the ordinary scale alpha / r. rsLoRA divides by the square root of r.",
         scaled(lambda alpha, r, n, m: alpha / r)),
    Slip("no_scale", "The product B @ A has no scale. Multiply it by alpha / sqrt(r).",
         scaled(lambda alpha, r, n, m: 1)),
    Slip("alpha_only", "Multiplied by alpha alone. Divide by the square root of r.",
         scaled(lambda alpha, r, n, m: alpha)),
    Slip("upside_down", "The root of r was multiplied instead of divided.",
         scaled(lambda alpha, r, n, m: alpha * np.sqrt(r))),
    Slip("turned", "The fraction is upside down: alpha / sqrt(r), not sqrt(r) / alpha.",
         scaled(lambda alpha, r, n, m: np.sqrt(r) / alpha)),
    Slip("root_of_all", "The root covers alpha as well. Only r stands under it: alpha / sqrt(r).",
         scaled(lambda alpha, r, n, m: np.sqrt(alpha / r))),
    Slip("no_alpha", "alpha is missing: alpha / sqrt(r), not 1 / sqrt(r).",
         scaled(lambda alpha, r, n, m: 1 / np.sqrt(r))),
    Slip("square", "This divides by r squared. rsLoRA divides by the square root of r.",
         scaled(lambda alpha, r, n, m: alpha / r**2)),
    Slip("width", "A width of the layer stands under the root. The rank is the short side: "
         "`lora_A.shape[0]`.", scaled(lambda alpha, r, n, m: alpha / np.sqrt(n),
                                      lambda alpha, r, n, m: alpha / np.sqrt(m),
                                      lambda alpha, r, n, m: alpha / np.sqrt(r * n))),
    Slip("rounded", "The scale or the root was rounded to a whole number. Divide with `/`, and "
         "keep the fraction of the root.",
         scaled(lambda alpha, r, n, m: alpha // np.sqrt(r),
                lambda alpha, r, n, m: alpha / int(np.sqrt(r)))),
    Slip("power_first", "`r ** 1 / 2` is r divided by 2: the power comes first. Write `r ** 0.5`, "
         "or `math.sqrt(r)`.", lambda i: [
             *scaled(lambda alpha, r, n, m: alpha / r / 2, lambda alpha, r, n, m: 2 * alpha / r)(i),
             *alphas(lambda alpha, r: alpha / r / 2, lambda alpha, r: 2 * alpha / r)(i)]),
    Slip("alpha_twice", "alpha is in it twice.",
         scaled(lambda alpha, r, n, m: alpha**2 / np.sqrt(r))),
    Slip("fixed_rank", "The divisor is the same at both ranks. It follows r = lora_A.shape[0].",
         scaled(*(lambda alpha, r, n, m, k=k: alpha / k
                  for d in (4, 8, 16, 32, 64) for k in (d, np.sqrt(d))))),
    Slip("transposed", "The update came back transposed. B @ A is (out, in).",
         lambda i: {f"delta{n}": lambda v, n=n: v.shape == product(i, n).T.shape for n in PAIRS}),
    Slip("unchanged", "With the same alpha the scale grows by sqrt(r) when rsLoRA is switched on. "
         "Alpha must shrink.", alphas(lambda alpha, r: alpha)),
    Slip("backwards", "The new alpha goes the wrong way: under rsLoRA the scale is larger than "
         "before, so alpha must become smaller.",
         alphas(lambda alpha, r: alpha * np.sqrt(r), lambda alpha, r: alpha * r)),
    Slip("divided_by_r", "lora_alpha / r is the scale to keep, not the new alpha: the new alpha is "
         "divided by sqrt(r) once more.", alphas(lambda alpha, r: alpha / r)),
    Slip("alpha_rounded", "The new alpha was rounded. Divide with `/`: alpha need not be whole.",
         alphas(lambda alpha, r: alpha // np.sqrt(r), lambda alpha, r: round(alpha / np.sqrt(r)),
                lambda alpha, r: np.ceil(alpha / np.sqrt(r)),
                lambda alpha, r: alpha / int(np.sqrt(r)))),
    Slip("root_over_alpha", "The root covers lora_alpha as well. Only r stands under it.",
         alphas(lambda alpha, r: np.sqrt(alpha / r), lambda alpha, r: np.sqrt(alpha),
                lambda alpha, r: np.sqrt(alpha) / r)),
    Slip("alpha_lost", "The old lora_alpha is not in it. Solve new / sqrt(r) = lora_alpha / r.",
         alphas(lambda alpha, r: np.sqrt(r), lambda alpha, r: r, lambda alpha, r: 2 * np.sqrt(r),
                lambda alpha, r: 2 * r, lambda alpha, r: 1 / np.sqrt(r))),
)  # fmt: skip

RSLORA_LAST = (
    Slip("factor", "B @ A is there, its factor is another one than alpha / sqrt(r).",
         lambda i: [{f"delta{n}": lambda v, n=n: multiple(v, product(i, n)) is not None}
                    for n in PAIRS]),
    Slip("new_scale", "Put it into the two scales: new / sqrt(r) is not lora_alpha / r.",
         lambda i: [{f"alpha{n}": lambda v: v.size == 1} for n in PAIRS]),
)  # fmt: skip

rslora = Check(
    name="rslora", title="The scale of rsLoRA", wants=HALVES,
    difficulty=2, minutes=8, points=15,
    verified="the update of two layers, and the alpha that keeps the scale, at two ranks",
    hints=(
        "Which axis of A has length r? And which two scales must be equal in the second question?",
        "The scale is alpha divided by the square root of r. In the second function, write down "
        "new / sqrt(r) = lora_alpha / r and solve for new.",
        "`lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A`, and from the equation: "
        "new = lora_alpha * sqrt(r) / r. Can that be shorter?",
    ),
    slips=RSLORA + RSLORA_LAST, other="The update is alpha / sqrt(r) * B @ A, with r = "
    "lora_A.shape[0]; the new alpha solves new / sqrt(r) = lora_alpha / r.",
    make=make_rslora, probe=probe_rslora, judge=judge_rslora,
)  # fmt: skip


# 6.3 Target modules at an equal budget
CHOICE = ("ranks", "losses", "winner")


def make_fair(seed):
    """One group fits at the smallest rank alone, one at all, one uses the budget up in between."""
    rng = np.random.default_rng(seed + 700)
    while True:
        ranks = np.sort(rng.choice(np.arange(4, 11), 5, replace=False)) * [1, 1, 2, 2, 3]
        middle, cost = int(rng.integers(1, 4)), int(rng.integers(40, 80))
        budget = ranks[middle] * cost
        dear, cheap = budget // ranks[1] + rng.integers(1, 4), budget // ranks[4] - rng.integers(3)
        costs = rng.permutation([dear, cheap, cost])
        losses = rng.uniform(0.5, 3.0, size=(3, 5, 4)).round(3).astype(np.float32)
        made = {"per_rank": costs, "ranks": ranks, "losses": losses, "budget": budget}
        fits = (ranks * costs[:, None] <= budget).sum(1)
        if sorted(fits) != [1, middle + 1, 5]:
            continue
        winner, loser = reached(made).argmin(), reached(made).argmax()
        richest = ranks[last(made)].argmax()
        if richest in (winner, loser) or winner + 1 == loser:
            continue
        elsewhere = losses.mean((1, 2)), losses.min((1, 2)), losses, reached(made) / costs
        if any(each.argmin() == winner for each in elsewhere):
            continue
        wrong = [tuple(each) for found in WRONG_PLACES.values() for each in found(made)]
        apart = len({tuple(last(made)), *wrong}) == 1 + len(wrong)
        tables = [reached(made, f) for f in (np.min, np.mean, low_median, np.max)]
        tables += [
            made["losses"].min((1, 2)),
            below(made),
            *(each["losses"] for each in one_rate(made)),
        ]
        apart = apart and len({tuple(each) for each in tables}) == len(tables)
        if apart and (ranks[last(made)] != budget // costs).any():
            return made


def fitting(i, within=np.less_equal):
    """(groups, ranks): does this rank keep this group within the budget."""
    return within(i["ranks"] * i["per_rank"][:, None], i["budget"])


def last(i, fits=None):
    """The place of each group's largest rank within the budget."""
    return np.maximum((fitting(i) if fits is None else fits).sum(1) - 1, 0)


WRONG_PLACES = {  # which ranks are taken in other hands: places in `ranks`, one for each group
    "no_budget": lambda i: [i["losses"].min(2).argmin(1)],
    "equal_rank": lambda i: [np.full(3, place) for place in range(5)],
    "not_largest": lambda i: [np.where(fitting(i), i["losses"].min(2), np.inf).argmin(1)],
    "strict": lambda i: [last(i, fitting(i, np.less))],
    "one_lower": lambda i: [np.maximum(last(i) - 1, 0)],
    "middle": lambda i: [fitting(i).sum(1) // 2],
    "over": lambda i: [np.minimum(last(i) + 1, 4),
                       np.abs(i["ranks"] * i["per_rank"][:, None] - i["budget"] - 1).argmin(1)],
}  # fmt: skip


def probe_fair(namespace, a):
    given = [tensor(a[key]) for key in ("per_rank", "ranks", "losses")]
    before = callers.Before(*given)
    result = namespace["fair_choice"](*given, a["budget"].item())
    ranks, losses, winner = fixtures.several(result, CHOICE, "fair_choice")
    winner = winner.reshape(()) if winner.size == 1 else winner
    return {"ranks": ranks, "losses": losses, "winner": winner, "left": before.change()}


def reached(i, reduce=np.min):
    """Each group's loss at its right rank. reduce: (losses, axis) over the learning rates."""
    return reduce(i["losses"][np.arange(3), last(i)], axis=1)


def below(i):
    """Each group's lowest loss at any rank within the budget."""
    return np.where(fitting(i), i["losses"].min(2), np.inf).min(1)


def low_median(values, axis):
    """The median as torch has it: of an even count, the smaller one in the middle."""
    return np.sort(values, axis)[:, (values.shape[axis] - 1) // 2]


def judge_fair(i, o):
    right = reached(i)
    promises = [
        Promise("ranks", i["ranks"][last(i)], f"for a budget of {i['budget']} and per_rank = "
                f"{i['per_rank'].tolist()}, ranks"),
        Promise("losses", right, "losses"),
        Promise("winner", right.argmin(), "the winner", rtol=0),
        callers.unchanged("left", "a tensor that was given"),
    ]  # fmt: skip
    return judged(i, o, promises, FAIR, last=FAIR_LAST)


def places(name):
    """A slip's values: the ranks at the places of WRONG_PLACES."""
    return lambda i: [{"ranks": i["ranks"][at]} for at in WRONG_PLACES[name](i)]


def one_rate(i, fixed=range(4)):
    """The losses at one learning rate for all groups."""
    return [{"losses": i["losses"][np.arange(3), last(i), rate]} for rate in fixed]


FAIR = (
    Slip("no_budget", "The best rank of the whole grid was taken, whatever it costs. The rank "
         "comes from the budget, not from the losses.", places("no_budget")),
    Slip("equal_rank", "All groups got the same rank. At equal rank the larger group has more "
         "parameters, and the comparison says nothing. Make the budget equal.",
         lambda i: {"ranks": lambda v: v.shape == (3,) and len(set(v.tolist())) == 1
                    and v[0] in i["ranks"]}),
    Slip("not_largest", "Among the ranks within the budget the one with the lowest loss was taken. "
         "The exercise asks for the largest, so that every group may spend the same.",
         places("not_largest")),
    Slip("strict", "A group that uses the budget up exactly is within it: `<=`, not `<`.",
         places("strict")),
    Slip("over", "One of the ranks costs more than the budget. Take the largest that is within it.",
         places("over")),
    Slip("positions", "These are positions in `ranks`. Return the ranks themselves.",
         lambda i: {"ranks": last(i)}),
    Slip("not_of_grid", "That rank is not in the grid. Take the largest rank of the grid that "
         "keeps the group within the budget.",
         lambda i: [{"ranks": i["budget"] // i["per_rank"]},
                    {"ranks": i["budget"] / i["per_rank"]}]),
    Slip("mean", "These are means or medians over the rates. A badly tuned run says nothing "
         "about the modules: take the best rate of each group.",
         lambda i: [{"losses": reached(i, np.mean)}, {"losses": reached(i, low_median)}]),
    Slip("one_rate", "One learning rate was used for all groups. Each group gets its own best "
         "one.", one_rate),
    Slip("exchanged", "The three came back in another order: ranks, losses, winner.",
         lambda i: [{"ranks": reached(i)}, {"ranks": reached(i).argmin()}]),
    Slip("one_lower", "There is a larger rank of the grid within the budget: one more.",
         places("one_lower")),
    Slip("smaller_ranks", "Losses at smaller ranks were looked at too. Take the lowest one at the "
         "rank that was chosen.", lambda i: {"losses": below(i)}),
    Slip("rate_places", "These are positions of learning rates. Return the losses there.",
         lambda i: {"losses": i["losses"][np.arange(3), last(i)].argmin(1)}),
    Slip("any_rank", "These are the lowest losses of each group at any rank. Take those at the "
         "rank that was chosen.", lambda i: {"losses": i["losses"].min((1, 2))}),
    Slip("worst", "The largest loss was taken. Lower is better.",
         lambda i: {"losses": reached(i, np.max)}),
    Slip("loser", "The group with the largest loss was returned. Lower is better: argmin.",
         lambda i: {"winner": reached(i).argmax()}),
    Slip("winner", "The winner is asked for as a position among the groups: 0, 1, ...",
         lambda i: [{"winner": reached(i).min()},
                    {"winner": i["ranks"][last(i)][reached(i).argmin()]},
                    {"winner": i["per_rank"][reached(i).argmin()]}]),
)  # fmt: skip


def ranks_are(i, wanted):
    """A condition: ranks of the grid, and one of them costs too much, or could be larger."""

    def found(v):
        if v.shape != (3,) or not np.isin(v, i["ranks"]).all():
            return wanted == ("count" if v.shape != (3,) else "none")
        return wanted == ("over" if (v * i["per_rank"] > i["budget"]).any() else "under")

    return {"ranks": found}


def losses_are(i, wanted):
    """A condition: losses of the right rank, of some rank of the group, or of another group."""

    def found(v):
        if v.shape != (3,):
            return False
        row = [np.isclose(i["losses"][g, at], v[g]).any() for g, at in enumerate(last(i))]
        own = [np.isclose(i["losses"][g], v[g]).any() for g in range(3)]
        return wanted == ("rate" if all(row) else "rank" if all(own) else "none")

    return {"losses": found}


FAIR_LAST = (
    Slip("too_dear", "One of the ranks costs more than the budget: rank * per_rank of its group.",
         lambda i: ranks_are(i, "over")),
    Slip("too_small", "All ranks are within the budget, and one group could have a larger one of "
         "the grid.", lambda i: ranks_are(i, "under")),
    Slip("no_rank", "One of these is no rank of the grid. Return entries of `ranks`.",
         lambda i: ranks_are(i, "none")),
    Slip("each_group", "Return one rank and one loss for each group, in their order.",
         lambda i: [ranks_are(i, "count"), {"losses": lambda v: v.shape != (3,)}]),
    Slip("other_rate", "The losses are those of the right ranks, at other learning rates. Take the "
         "lowest of each group.", lambda i: losses_are(i, "rate")),
    Slip("other_rank", "The losses belong to the groups, but one to another rank than the one that "
         "you return.", lambda i: losses_are(i, "rank")),
    Slip("no_loss", "One of these is no loss of its group in the grid. Take the lowest of "
         "`losses[g, i]`, where i is the place of the rank.", lambda i: losses_are(i, "none")),
    Slip("not_lowest", "The winner is the place of the lowest of the losses that you return; "
         "the first place is 0.",
         lambda i: {"winner": lambda v: True}),
)  # fmt: skip

fair_choice = Check(
    name="fair_choice", title="Target modules at an equal budget", wants=("fair_choice",),
    difficulty=2, minutes=12, points=20,
    verified="ranks within the budget, each group's best learning rate, the winner",
    hints=(
        "Two things must be fair: the number of trained parameters, and the tuning of the "
        "learning rate. Settle the rank of each group first; the losses play no part in that.",
        "A group at rank r costs `r * per_rank[g]`. Take the last rank that fits, then the "
        "smallest loss in that row of the grid.",
        "For each group: `i = int((ranks * per_rank[g] <= budget).sum()) - 1`, then `ranks[i]` and "
        "`losses[g, i].min()`. The winner is the argmin of these losses.",
    ),
    slips=FAIR + FAIR_LAST, other="First the rank of each group: the last one with rank * "
    "per_rank <= budget. Then the smallest loss in losses[group, rank]. Then the argmin of these.",
    make=make_fair, probe=probe_fair, judge=judge_fair,
)  # fmt: skip


# 6.4 Parameter groups for LoRA+
WORDS = {"A": "a lora_A", "B": "a lora_B", "norm": "the norm", "head": "the head",
         "gate": "lora_B_gate.weight", "letter": "gate_B",
         "frozen": "a frozen weight", "held_A": "a frozen lora_A",
         "held_B": "a frozen lora_B"}  # fmt: skip
KINDS = (
    "letter",
    "gate",
    "A",
    "B",
    "frozen",
    "held_A",
    "held_B",
    "frozen",
    "A",
    "B",
    "frozen",
    "norm",
    "head",
)
TRAINS = np.array([part in ("A", "B", "norm", "head", "gate", "letter") for part in KINDS])
NO_RATE = -1.0  # the rate of a group without "lr"


def make_plus(seed):
    rng = np.random.default_rng(seed + 900)
    made = {"lr": rng.choice([1e-4, 2e-4, 5e-4, 3e-3]), "ratio": rng.choice([4.0, 9.0, 16.0])}
    return {**made, "sizes": np.array(fixtures.sizes(rng, 3, 3, 12))}


def blocks(sizes):
    """Three LoRA layers, one with frozen factors, a norm and a tied head that train."""
    import torch
    from torch import nn

    def layer(d_in, d_out):
        made = nn.Module()
        made.lora_A = nn.Parameter(torch.zeros(r, d_in))
        made.lora_B = nn.Parameter(torch.zeros(d_out, r))
        made.weight = nn.Parameter(torch.zeros(d_out, d_in), requires_grad=False)
        return made

    d, wide, r = (int(v) for v in sizes)
    model = nn.Module()
    model.gate_B = nn.Parameter(torch.zeros(1, d))
    fixtures.put(model, "lora_B_gate", nn.Linear(d, 2, bias=False))
    model.Block = nn.ModuleList([layer(d, wide), layer(wide, d), layer(d, d)])
    model.Block[1].requires_grad_(False)
    model.norm = nn.LayerNorm(d, bias=False)
    model.head, model.table = nn.Linear(d, 13, bias=False), nn.Embedding(13, d)
    model.table.weight = model.head.weight
    return model


def probe_plus(namespace, a):
    import torch

    model = blocks(a["sizes"])
    before = callers.Before(model)
    groups = namespace["plus_groups"](model, a["lr"].item(), a["ratio"].item())
    wanted = 'a list of {"params": [...], "lr": number}.'
    if groups is None or not isinstance(groups, (list, tuple)):
        key = "none" if groups is None else "type"
        raise Refused(key, f"plus_groups returns {kind(groups)}.", wanted)
    params = list(model.parameters())
    times, rates, strangers = np.zeros(len(params)), np.zeros(len(params)), 0
    for group in groups:
        if not isinstance(group, dict) or "params" not in group:
            said = 'a dict without "params"' if isinstance(group, dict) else kind(group)
            raise Refused("type", f"a group is {said}.", wanted)
        rate = single(group["lr"], 'the "lr" of a group') if "lr" in group else np.array(NO_RATE)
        held = group["params"]
        for p in [held] if isinstance(held, torch.Tensor) else list(held):
            p = p[1] if isinstance(p, tuple) and len(p) == 2 else p  # torch takes (name, p) too
            at = [n for n, each in enumerate(params) if each is p]
            strangers += not at
            times[at] += 1
            rates[at] = rate if rate.ndim == 0 else np.nan
    return {"times": times, "rates": rates, "strangers": strangers, "left": before.change()}


def rates(i, **by_part):
    """The rate of each parameter, 0 for those in no group. by_part: other ones."""
    lr, ratio = float(i["lr"]), float(i["ratio"])
    found = {part: lr for part in WORDS} | {"B": lr * ratio} | by_part
    return np.where(TRAINS, [found[part] for part in KINDS], 0)


def judge_plus(i, o):
    lr, ratio, parts = float(i["lr"]), float(i["ratio"]), np.array(KINDS)

    def named(wrong):
        return WORDS[parts[int(np.argmax(wrong))]]

    def learns(value):
        wrong = ~np.isclose(value, rates(i), rtol=1e-6, atol=0)
        at = value[int(np.argmax(wrong))]
        word = "is in a group without lr" if at == NO_RATE else f"learns with {at:.4g}"
        return f"with lr = {lr:g} and ratio = {ratio:g}, {named(wrong)} {word}"

    fits = (len(KINDS),)
    promises = [
        Promise("strangers", 0, seen="{} entries of the groups are no parameters of the model",
                expected="the parameters themselves"),
        Promise("times", lambda v: v.shape == fits and not v[~TRAINS].any(), expected="none",
                seen=lambda v: f"{named((v > 0) & ~TRAINS)} is in a group, "
                f"{int((v[~TRAINS] > 0).sum())} frozen parameters in all"),
        Promise("times", lambda v: v.max() <= 1, expected="each in one",
                seen=lambda v: f"{named(v > 1)} is in {int(v.max())} places"),
        Promise("times", TRAINS, expected="every one that trains",
                seen=lambda v: f"no group holds {named((v == 0) & TRAINS)}"),
        Promise("rates", rates(i), seen=learns, rtol=1e-6, atol=0,
                expected=f"{lr * ratio:.4g} for a lora_B and {lr:g} for all else that trains"),
        callers.unchanged("left", "the model"),
    ]  # fmt: skip
    return judged(i, o, promises, PLUS, last=PLUS_LAST)


def learn(*changes):
    """A slip's values of the rates: changes(lr, ratio) -> {part: rate}."""
    return lambda i: [{"rates": rates(i, **c(float(i["lr"]), float(i["ratio"])))} for c in changes]


def held(*parts):
    """Which parameters are in a group when exactly these parts are."""
    return {"times": np.isin(KINDS, parts).astype(int)}


SLOW = ("norm", "head", "gate", "letter")


def others(rate):
    return {part: rate for part in SLOW}


PLUS = (
    Slip("frozen", "Nobody asked for `requires_grad`, so what is frozen is in a group. Ask it of "
         "each parameter, whatever its name.", lambda i: held(*WORDS)),
    Slip("frozen_factor", "One layer's factors are frozen. A name with lora_ does not say that a "
         "parameter trains: ask `requires_grad`.",
         lambda i: [held(*np.array(KINDS)[TRAINS], *more)
                    for more in (("held_A", "held_B"), ("held_A",), ("held_B",))]),
    Slip("twice", "A parameter is in two places, and AdamW would refuse that. Use if and else, so "
         "that each lands in one; `named_parameters()` gives a tied one once.",
         lambda i: {"times": lambda v: v.max() > 1}),
    Slip("no_a", "The lora_A are in no group, so they would never move.",
         lambda i: held("B", *SLOW)),
    Slip("no_b", "The lora_B are in no group, so the update would stay zero.",
         lambda i: held("A", *SLOW)),
    Slip("left_out", "The norm and the head train as well here. Whatever requires a gradient and "
         "is no lora_B goes with lr; otherwise it silently stays as it was.",
         lambda i: [held("A", "B", *more) for n in range(len(SLOW))
                    for more in combinations(SLOW, n)]),
    Slip("no_lr", 'A group has no "lr", so the optimizer\'s own rate would be used for it.',
         learn(lambda lr, ratio: {"A": NO_RATE, **others(NO_RATE)},
               lambda lr, ratio: {"B": NO_RATE},
               lambda lr, ratio: {"A": NO_RATE, "B": NO_RATE, **others(NO_RATE)})),
    Slip("one_rate", "Everything learns at the same rate. The lora_B get lr * ratio.",
         learn(lambda lr, ratio: {"B": lr})),
    Slip("all_fast", "Everything learns fast. Either both groups have lr * ratio, or the test for "
         "a B is true for every name: test the end of the name.",
         learn(lambda lr, ratio: {"A": lr * ratio, **others(lr * ratio)})),
    Slip("b_in_name", "A B stands in `Block`, and lora_B in `lora_B_gate.weight`: none of these is "
         "a lora_B. Test the end of the name.",
         learn(lambda lr, ratio: {"gate": lr * ratio},
               lambda lr, ratio: dict.fromkeys(("A", "gate", "letter"), lr * ratio))),
    Slip("start_of_name", "A name begins with the layer's place in the model. The factor's own "
         "name stands at its end.", learn(lambda lr, ratio: {"B": lr, "gate": lr * ratio})),
    Slip("letter", "`gate_B` ends in B too. Test the whole last part of the name.",
         learn(lambda lr, ratio: {"letter": lr * ratio})),
    Slip("both_factors", "The lora_A are fast as well: `lora_` stands in both names. Only lora_B "
         "gets lr * ratio.", learn(lambda lr, ratio: {"A": lr * ratio},
                                   lambda lr, ratio: dict.fromkeys(("A", "gate"), lr * ratio))),
    Slip("swapped", "The two groups are exchanged: B starts at zero and is the one that learns "
         "faster.", learn(lambda lr, ratio: {"A": lr * ratio, "B": lr},
                          lambda lr, ratio: {"A": lr * ratio, "B": lr, **others(lr * ratio)})),
    Slip("slow_a", "The ratio is right, its anchor is not: A learns with lr itself and B with "
         "lr * ratio.", learn(lambda lr, ratio: {"A": lr / ratio, "B": lr},
                              lambda lr, ratio: {"A": lr / ratio, "B": lr, **others(lr / ratio)},
                              lambda lr, ratio: {"A": lr / ratio})),
    Slip("divided", "B learns slower than A. Multiply by the ratio.",
         learn(lambda lr, ratio: {"B": lr / ratio})),
    Slip("added", "lr and ratio were added. Multiply them.",
         learn(lambda lr, ratio: {"B": lr + ratio})),
    Slip("only_ratio", "B got the ratio as its learning rate. It gets lr * ratio.",
         learn(lambda lr, ratio: {"B": ratio})),
    Slip("rest_fast", "The norm or the head learns with B's rate. PEFT and the chapter do that "
         "with a norm; here only lora_B is fast.",
         learn(*(lambda lr, ratio, fast=fast: dict.fromkeys(fast, lr * ratio)
                 for n in range(1, 5) for fast in combinations(SLOW, n)
                 if "norm" in fast or "head" in fast))),
)  # fmt: skip


def rates_are(i, b_right, rest_right):
    """A condition: does every lora_B that trains have its rate, and all else its own?"""
    b = np.array([part == "B" for part in KINDS])

    def found(v):
        if v.shape != TRAINS.shape:
            return False
        same = np.isclose(v, rates(i), 1e-6, 0)
        return (same[b & TRAINS].all(), same[~b & TRAINS].all()) == (b_right, rest_right)

    return {"rates": found}


PLUS_LAST = (
    Slip("b_rate", "All else has lr, and the lora_B do not have lr * ratio.",
         lambda i: rates_are(i, False, True)),
    Slip("rest_rate", "Every lora_B has lr * ratio, and something else does not have lr.",
         lambda i: rates_are(i, True, False)),
    Slip("both_rates", "Neither the lora_B nor all else has its rate. A lora_B is known by the "
         "last part of its name.", lambda i: rates_are(i, False, False)),
    Slip("forgotten", "Go through all of `model.named_parameters()`: whatever requires a gradient "
         "is in a group.", lambda i: {"times": lambda v: v.shape == TRAINS.shape}),
)  # fmt: skip

plus_groups = Check(
    name="plus_groups", title="Parameter groups for LoRA+", wants=("plus_groups",),
    difficulty=2, minutes=10, points=15,
    verified="LoRA layers with free and with frozen factors, a norm and a tied head that train",
    hints=(
        "Go through `model.named_parameters()`. What tells you that a parameter trains, and what "
        "that it is a B?",
        "Two lists: one for names that end in `lora_B`, one for everything else. Skip whatever "
        "has `requires_grad` False.",
        '`[{"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}]`, where fast holds '
        'every p with `name.endswith("lora_B")`.',
    ),
    slips=PLUS + PLUS_LAST,
    other="Each lora_B that trains: lr * ratio. Everything else that trains: lr.",
    make=make_plus, probe=probe_plus, judge=judge_plus,
)  # fmt: skip


# 6.5 Read a grid and choose
NOISE, NO = 0.0625, -1.0  # exact in float32; NO stands for nan in the rates


def make_grid(seed):
    """A drawn grid in which two slips do not give the same rates."""
    rng = np.random.default_rng(seed + 1000)
    while True:
        made = draw_grid(rng)
        if not np.array_equal(ties(made, lambda at: at[0]), best_rates(made, sorted_places(made))):
            return made


def draw_grid(rng):
    """Rows by their rank: one that diverged, poor ones, the smallest good one, others as good.

    The smallest good one lies at the limit of the noise, the poor ones just above it.
    """
    poor = int(rng.integers(1, 3))
    rest = 0.5546875, 0.53125, 0.546875, 0.5, 0.5390625  # the best losses of the larger ranks
    best = np.array([np.nan, *rng.choice([0.578125, 0.59375], poor), 0.5625, *rest])
    count, small = len(best), poor + 1
    ranks = np.sort(rng.choice([12, 16, 24, 32, 48, 64, 96, 128, 192, 256], count, replace=False))
    while True:
        lrs, order = rng.permutation([0.001, 0.003, 0.01, 0.03, 0.1]), rng.permutation(count)
        tied = np.argsort(lrs)[[0, 2, 3]]  # in the order of their rates
        first = next(n for n in order if best[n] <= 0.5625)  # a good one that is no other answer
        alone = np.argmax(best[order] <= 0.5625)  # the rank there when `ranks` alone is sorted
        if min(tied) < tied[0] < max(tied) and best[first] == 0.546875 and alone != small:
            break
    losses = rng.permutation(np.arange(100, 300))[: 5 * count].reshape(count, 5) / 100
    ended = np.zeros((count, 5), dtype=int)  # 0 well, 1 as nan, 2 as inf
    lowest = lrs.argmin()
    for row in range(1, count):
        at = tied if row == small else rng.choice(np.setdiff1d(np.arange(5), lowest), 1)
        # within the noise, and not the best; once far off
        losses[row, lowest] = best[row] + (NOISE / 2 if row > 1 else 1)
        losses[row, at] = best[row]
        free = rng.permutation(np.setdiff1d(np.arange(5), [*at, lowest]))
        ended[row, free[:2]] = (1, 2) if row != small else (1, 0)
    ended[0] = rng.permutation([1, 1, 2, 2, 2])
    made = {"finite": losses[order], "ended": ended[order], "ranks": ranks[order], "lrs": lrs}
    return {**made, "finite": made["finite"].astype(np.float32)}


def grid(i):
    """The losses with their diverged runs. (nan is not equal to itself, so it is no input.)"""
    return np.where(i["ended"] == 1, np.nan, np.where(i["ended"] == 2, np.inf, i["finite"]))


def probe_grid(namespace, a):
    given = tensor(grid(a).astype(np.float32)), tensor(a["ranks"]), tensor(a["lrs"], None).float()
    before = callers.Before(given[1], given[2])
    kept = given[0].nan_to_num(NO)
    try:
        result = namespace["read_grid"](*given, NOISE)
    except (RuntimeError, IndexError, ValueError) as error:
        if not any(said in str(error) for said in ("numel() == 0", "empty", "with size 0")):
            raise
        return {"stopped": text(described(error)[1])}
    found, rank = fixtures.several(result, ("rates", "rank"), "read_grid")
    found = np.where(np.isnan(found), NO, found) if found.dtype.kind == "f" else found
    left = before.change() or 2 * (not kept.equal(given[0].nan_to_num(NO)))
    return {"rates": found, "rank": rank.reshape(()) if rank.size == 1 else rank, "left": left}


def finite(i):
    return np.where(i["ended"] > 0, np.inf, i["finite"])


def alive(i):
    return ~(i["ended"] > 0).all(1)


def best_rates(i, at, dead=NO):
    """The rates at a place of each row; NO where all runs diverged."""
    return np.where(alive(i), i["lrs"].astype(np.float32)[at], dead)


def ties(i, choose):
    """The rates when `choose` picks one of the places with the lowest loss of a row."""
    low = finite(i) == finite(i).min(1, keepdims=True)
    return best_rates(i, [choose(np.flatnonzero(row)) for row in low])


def sorted_places(i):
    """The place of the lowest loss of each row among the rates in ascending order."""
    return finite(i)[:, i["lrs"].argsort()].argmin(1)


def smallest_rate(i):
    return ties(i, lambda at: at[i["lrs"][at].argmin()])


def good(i, limit=None):
    """Which rows are good enough to choose from."""
    best = finite(i).min(1)
    return best <= (best.min() + NOISE if limit is None else limit(best.min()))


def listed(row):
    return ", ".join(f"{v:g}" for v in row)


def judge_grid(i, o):
    right, best = smallest_rate(i), finite(i).min(1)
    value, case, wanted = o.get("rates", np.zeros(0)), "", f"{len(right)}, one for each rank"
    said = f"the rates are {'one number' if value.size == 1 else f'{value.size} numbers'}"
    if value.shape == right.shape:
        n = int(np.argmax(~np.isclose(value, right, rtol=1e-4)))
        said, wanted = ("nan" if v == NO else f"{v:.4g}" for v in (value[n], right[n]))
        case = f"for the losses {listed(grid(i)[n])} at lrs {listed(i['lrs'])}, the rate is "
    pairs = ", ".join(f"{r}: {b:g}" for r, b in zip(i["ranks"], best, strict=True))
    promises = [
        *[Promise("stopped", none, seen=words, expected="no error") for k in o if k == "stopped"],
        Promise("rates", right, seen=lambda v: case + said, expected=wanted),
        Promise("rank", i["ranks"][good(i)].min(), f"for noise = {NOISE} and the best losses "
                f"{pairs}, the rank", share=0.5, rtol=0),
        callers.unchanged("left", "a tensor that was given", share=0.5),
    ]  # fmt: skip
    return judged(i, o, promises, GRID, last=GRID_LAST)


def on_alive(i, wanted):
    """A condition: these rates on the rows in which a run is alive."""
    return lambda v: v.shape == alive(i).shape and close(v[alive(i)], wanted[alive(i)])


GRID = (
    Slip("nan_wins", "A run that ended in nan was chosen. argmin and min treat nan as the smallest "
         "value, and nan_to_num makes a 0 of it: replace nan by inf first.",
         lambda i: {"rates": on_alive(i, best_rates(i, (i["ended"] == 1).argmax(1)))}),
    Slip("nan_stops", "No row was left to choose from. The lowest loss of all came out as nan, and "
         "no comparison with nan is true: replace nan by inf before any `min`.",
         lambda i: {"stopped": np.any}),
    Slip("exchanged", "The two are exchanged: first the rates, then the rank.",
         lambda i: {"rates": lambda v: v.size == 1,
                    "rank": lambda v: v.shape == i["ranks"].shape}),
    Slip("nan_spreads", "A rank with a good run got nan. Only the diverged runs are out, not their "
         "whole row.", lambda i: {"rates": on_alive(i, np.full(len(i["ranks"]), NO))}),
    Slip("dead_row", "A rank whose runs all diverged has no best rate: nan there.",
         lambda i: {"rates": lambda v: on_alive(i, smallest_rate(i))(v)
                    and not (v[~alive(i)] == NO).any()}),
    Slip("tie", "Of equal losses the smaller learning rate counts. The columns are not sorted, so "
         "the first of them need not be the smaller.",
         lambda i: [{"rates": on_alive(i, ties(i, lambda at: at[0]))},
                    {"rates": on_alive(i, ties(i, lambda at: at[-1]))},
                    {"rates": on_alive(i, ties(i, lambda at: at[i["lrs"][at].argmax()]))}]),
    Slip("worst", "The highest loss was taken. Lower is better.",
         lambda i: {"rates": on_alive(i, best_rates(i, np.where(
             i["ended"] > 0, -np.inf, i["finite"]).argmax(1)))}),
    Slip("lost_order", "The losses were sorted by rate and the rates were not, so a place in one "
         "is another place in the other. Sort both with the same order.",
         lambda i: {"rates": on_alive(i, best_rates(i, sorted_places(i)))}),
    Slip("positions", "These are positions in `lrs`. Return the learning rates.",
         lambda i: [{"rates": on_alive(i, at)} for at in (
             finite(i).argmin(1), sorted_places(i),
             np.array([np.flatnonzero(np.isclose(i["lrs"], v)).max(initial=0)
                       for v in smallest_rate(i)]))]),
    Slip("losses", "These are the lowest losses. Return the learning rates at which they occur.",
         lambda i: {"rates": on_alive(i, finite(i).min(1))}),
    Slip("axis", "One rate for each column came back. Look for the minimum along each row: dim=1.",
         lambda i: {"rates": lambda v: v.shape == (5,)}),
    Slip("smallest_rate", "These are the smallest rates with a run that did not diverge. Take the "
         "rate of the lowest loss.",
         lambda i: [{"rates": on_alive(i, best_rates(i, at))} for at in (np.where(
             i["ended"] > 0, np.inf, i["lrs"]).argmin(1), np.full(len(i["ranks"]),
                                                                 i["lrs"].argmin()))]),
    Slip("noise_in_rates", "`noise` is for the choice of the rank. For the rate of a rank the "
         "lowest loss counts, however near another one is.",
         lambda i: {"rates": on_alive(i, best_rates(i, np.where(
             finite(i) <= finite(i).min(1, keepdims=True) + NOISE, i["lrs"], np.inf).argmin(1)))}),
    Slip("noise_ignored", "The rank with the lowest loss was chosen, but a smaller one is as good "
         "within `noise`.", lambda i: {"rank": i["ranks"][finite(i).min(1).argmin()]}),
    Slip("not_diverged", "The best loss of that rank is more than `noise` above the best of the "
         "grid. It is not enough that a run did not diverge.",
         lambda i: {"rank": i["ranks"][alive(i)].min()}),
    Slip("dead_rank", "That rank diverged everywhere.", lambda i: {"rank": i["ranks"].min()}),
    Slip("limit", "The smallest good rank lies exactly `noise` above the best loss. At most means "
         "`<=`.", lambda i: {"rank": i["ranks"][good(i, lambda b: b + NOISE - 1e-6)].min()}),
    Slip("share", "The limit is too low. `noise` is a difference, not a share, and it is taken "
         "whole: the lowest loss plus `noise`.",
         lambda i: {"rank": i["ranks"][good(i, lambda b: b * (1 + NOISE))].min()}),
    Slip("largest", "Of the ranks within `noise` the largest was chosen.",
         lambda i: {"rank": i["ranks"][good(i)].max()}),
    Slip("first", "The first good rank was taken, but `ranks` is not sorted.",
         lambda i: {"rank": i["ranks"][good(i)][0]}),
    Slip("rank_position", "This is the position of the rank. Return the rank.",
         lambda i: [{"rank": np.flatnonzero(i["ranks"] == i["ranks"][good(i)].min())[0]},
                    {"rank": good(i).argmax()}]),
)  # fmt: skip


GRID_LAST = (
    Slip("no_rank", "That is none of `ranks`.",
         lambda i: {"rank": lambda v: v.size == 1 and v not in i["ranks"]}),
    Slip("each_rank", "Return one rate for each rank, in the order of `ranks`, and nan for a rank "
         "whose runs all diverged.", lambda i: {"rates": lambda v: v.shape != i["ranks"].shape}),
    Slip("wrong_place", "That rate stands at another loss of the row. Take the one at the lowest "
         "loss that is neither nan nor inf.", lambda i: {"rates": lambda v: v.shape == alive(
             i).shape and np.isin(v[v != NO].astype(np.float32), i["lrs"].astype(np.float32)).all()
             }),
)  # fmt: skip

read_grid = Check(
    name="read_grid", title="Read a grid and choose", wants=("read_grid",),
    difficulty=3, minutes=15, points=20,
    verified="diverged runs, a rank that diverged everywhere, ties, unsorted axes, a rank at the "
    "limit of the noise and one above it",
    hints=(
        "What does argmin make of a nan? Try `torch.tensor([1.0, float('nan')]).argmin()`.",
        "Replace nan by inf first. Sort the columns by learning rate: the first of equal losses is "
        "then the smallest rate. For the rank, compare each row's best loss with the best of all.",
        "`order = lrs.argsort()`, `best, at = losses_without_nan[:, order].min(dim=1)`, rates "
        "`lrs[order][at]`, nan where `best` is inf. The rank is the smallest of "
        "`ranks[best <= best.min() + noise]`.",
    ),
    slips=GRID + GRID_LAST, other="For each row: leave out nan and inf, find the lowest loss, "
    "and return its rate. Then the smallest rank whose lowest loss is at most the best of all plus "
    "`noise`.",
    make=make_grid, probe=probe_grid, judge=judge_grid,
)  # fmt: skip

EXERCISES = (largest_rank, rslora, fair_choice, plus_groups, read_grid)
