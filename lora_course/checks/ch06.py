"""Checks of chapter 06: a rank budget, equal budgets, rsLoRA, LoRA+ groups, reading a grid."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor


def _real(value):
    """Floats of any shape; complex numbers become nan, so that they never pass."""
    value = np.asarray(value)
    return np.full(value.shape, np.nan) if value.dtype.kind == "c" else value.astype(float)


def _pair(value, count, names):
    """The learner's several values as arrays; a single value is refused with the right words."""
    if not isinstance(value, (tuple, list)) or len(value) != count:
        array(None if value is None else "", f"what the function returns ({', '.join(names)})")
    return [array(v, name) for v, name in zip(value, names, strict=True)]


def _text(value):
    """Numbers as a learner reads them."""
    value = _real(value)
    if value.ndim > 1 or value.size > 8:
        return f"numbers of shape {value.shape}"
    shown = [f"{v:.4g}" for v in value.reshape(-1)]
    return shown[0] if value.ndim == 0 else f"[{', '.join(shown)}]"


# 6.1 The largest rank within a budget
NAMES = ("q_proj", "k_proj", "o_proj", "up_proj", "down_proj")


def make_rank(seed):
    rng = np.random.default_rng(seed + 600)
    while True:
        d, kv, wide = 8 * rng.integers(5, 9), 8 * rng.integers(2, 5), 8 * rng.integers(10, 20)
        shapes = np.array([(d, d), (kv, d), (d, d + 8), (wide, d), (d, wide)])
        layers = int(rng.integers(3, 7))
        targets = np.sort(rng.choice(5, size=3, replace=False))
        cost = layers * shapes[targets].sum()
        exact, rest = rng.choice(np.arange(4, 13), 2, replace=False)
        budgets = np.array([exact * cost, rest * cost + 2 * cost // 3, 2 * cost // 3])
        inputs = {"shapes": shapes, "layers": np.array(layers)}
        inputs |= {"targets": targets, "budgets": budgets}
        known = _ranks(inputs)
        if len({tuple(v) for v in known.values()}) == len(known):
            return inputs


def _ranks(i):
    """The right rank for each budget, and the wrong ones that have a name."""
    shapes, targets, layers, budgets = i["shapes"], i["targets"], int(i["layers"]), i["budgets"]
    cost = layers * shapes[targets].sum()
    return {
        "right": budgets // cost,
        "one_block": budgets // (cost // layers),
        "all_modules": budgets // (layers * shapes.sum()),
        "product": budgets // (layers * shapes[targets].prod(1).sum()),
        "strict": (budgets - 1) // cost,
        "over": -(-budgets // cost),
        "at_least_one": np.maximum(budgets // cost, 1),
        "only_out": budgets // (layers * shapes[targets, 0].sum()),
        "only_in": budgets // (layers * shapes[targets, 1].sum()),
        "not_whole": budgets / cost,
    }


def probe_rank(namespace, a):
    found = []
    for budget in a["budgets"]:
        shapes = {n: (int(m), int(k)) for n, (m, k) in zip(NAMES, a["shapes"], strict=True)}
        targets = [NAMES[t] for t in a["targets"]]
        r = namespace["largest_rank"](shapes, targets, int(a["layers"]), int(budget))
        found.append(array(r, "the rank").reshape(-1)[:1])
    if any(r.size != 1 for r in found):
        return {"ranks": np.full(3, np.nan)}
    return {"ranks": np.array([_real(r)[0] for r in found])}


def judge_rank(inputs, outputs):
    known, got = _ranks(inputs), _real(outputs["ranks"])
    right = known.pop("right")
    if got.shape == right.shape and np.array_equal(got, right):
        return Verdict(1.0)
    mistake = next((k for k, wrong in known.items() if close(got, wrong, rtol=1e-9)), "other")
    mistake = {"only_out": "one_side", "only_in": "one_side"}.get(mistake, mistake)
    if got.shape != right.shape:
        return Verdict(0.0, mistake)
    at = int(np.flatnonzero(got != right)[0])
    cost = int(inputs["layers"]) * int(inputs["shapes"][inputs["targets"]].sum())
    expected = f"r = {right[at]}: rank 1 costs {cost} numbers"
    seen = f"r = {got[at]:.4g} for a budget of {inputs['budgets'][at]}"
    return Verdict(0.0, mistake, seen, expected)


largest_rank = Check(
    name="largest_rank",
    title="The largest rank within a budget",
    wants=("largest_rank",),
    difficulty=1,
    minutes=6,
    points=10,
    verified="a budget used up exactly, one with a remainder, and one too small for rank 1",
    hints=(
        "How many numbers do A and B of one layer have at rank 1?",
        "At rank 1 a layer costs out + in. Add that up over the targets, times the blocks. How "
        "often does the sum fit into the budget?",
        "`cost = layers * sum(out + in for the targets)`, and the answer is `budget // cost`.",
    ),
    mistakes={
        "one_block": "Only one block was counted. Every one of the `layers` blocks gets its own A "
        "and B.",
        "all_modules": "All the linear layers were counted. LoRA goes only into those that "
        "`targets` names.",
        "product": "Rank 1 does not cost out * in, which is the size of the weight. It costs "
        "out + in.",
        "strict": "A budget that is used up to the last number is still kept: at most, not less "
        "than.",
        "over": "That rank costs more than the budget. Round down.",
        "at_least_one": "Where not even rank 1 fits, the answer is 0.",
        "one_side": "Only one of the two factors was counted. A has r * in numbers and B has "
        "r * out.",
        "not_whole": "A rank is a whole number. Round down.",
        "raised:TypeError": "`shapes[name]` is a pair (out, in): add up its two numbers first.",
        "other": "Rank r costs r * layers * (sum of out + in over the targets).",
    },
    make=make_rank,
    probe=probe_rank,
    judge=judge_rank,
)


# 6.2 Target modules at an equal budget
def make_fair(seed):
    rng = np.random.default_rng(seed + 700)
    while True:
        ranks = np.array([1, 2, 4, 8, 16])
        per_rank = np.sort(rng.choice(np.arange(20, 150), 3, replace=False))[rng.permutation(3)]
        edge = int(rng.integers(3))  # this group uses the budget up
        budget = int(per_rank[edge] * 4)
        losses = rng.uniform(0.5, 3.0, size=(3, 5, 4)).round(3).astype(np.float32)
        inputs = {"per_rank": per_rank, "ranks": ranks, "losses": losses}
        inputs["budget"] = np.array(budget)
        fits = [np.flatnonzero(ranks * c <= budget) for c in per_rank]
        if min(map(len, fits)) < 2 or max(map(len, fits)) == 5:
            continue
        known = {k: np.concatenate([np.ravel(p) for p in v]) for k, v in _choices(inputs).items()}
        distinct = {tuple(np.round(v, 4)) for v in known.values()}
        if len(distinct) == len(known) and len(set(_choices(inputs)["right"][0])) > 1:
            return inputs


def _choices(i):
    """Ranks, losses and winner of the right choice, and of the wrong ones that have a name."""
    ranks, losses, budget = i["ranks"], i["losses"].astype(float), int(i["budget"])
    costs = i["per_rank"]
    last = np.array([np.flatnonzero(ranks * c <= budget)[-1] for c in costs])
    groups = np.arange(len(costs))
    best = losses.min(2)  # (G, R)

    def at(places):
        return ranks[places], best[groups, places], best[groups, places].argmin()

    within = [best[g, : n + 1].argmin() for g, n in zip(groups, last, strict=True)]
    less = np.array([max(np.flatnonzero(ranks * c < budget), default=0) for c in costs])
    near = np.array([np.abs(ranks * c - budget).argmin() for c in costs])
    mean, one = losses[groups, last].mean(1), losses[groups, last].mean(0).argmin()
    fixed, worst = losses[groups, last, one], losses[groups, last].max(1)
    return {
        "right": at(last),
        "no_budget": at(best.argmin(1)),
        "top_rank": at(np.full(3, len(ranks) - 1)),
        "equal_rank": at(np.full(3, last.min())),
        "not_largest": at(np.array(within)),
        "strict": at(less),
        "over": at(np.minimum(last + 1, len(ranks) - 1)),
        "nearest": at(near),
        "mean": (ranks[last], mean, mean.argmin()),
        "one_rate": (ranks[last], fixed, fixed.argmin()),
        "worst": (ranks[last], worst, worst.argmin()),
        "loser": (ranks[last], best[groups, last], best[groups, last].argmax()),
        "positions": (last, best[groups, last], best[groups, last].argmin()),
        "winner_loss": (ranks[last], best[groups, last], best[groups, last].min()),
        "winner_rank": (ranks[last], best[groups, last], ranks[last][best[groups, last].argmin()]),
    }


SAME = {"no_budget": "no_budget", "top_rank": "equal_rank", "nearest": "over"}
SAME |= {"winner_loss": "winner", "winner_rank": "winner"}


def probe_fair(namespace, a):
    made = namespace["fair_choice"](
        tensor(a["per_rank"]), tensor(a["ranks"]), tensor(a["losses"]), int(a["budget"])
    )
    names = ("ranks", "losses", "winner")
    return dict(zip(names, _pair(made, 3, names), strict=True))


def judge_fair(inputs, outputs):
    got = [_real(outputs[key]) for key in ("ranks", "losses", "winner")]
    got[2] = got[2].reshape(-1)[0] if got[2].size == 1 else got[2]
    known = _choices(inputs)

    def same(choice, count=3):
        return all(close(g, w) for g, w in list(zip(got, choice, strict=True))[:count])

    right = known.pop("right")
    if same(right):
        return Verdict(1.0)
    mistake = next((key for key, choice in known.items() if same(choice)), "other")
    if mistake == "other" and not same(right, 1):  # ranks alone tell
        mistake = next((key for key, choice in known.items() if same(choice, 1)), "other")
    parts = ("the ranks", "the losses", "the winner")
    for part, seen, wanted in zip(parts, got, right, strict=True):
        if not close(seen, wanted):
            return Verdict(0.0, SAME.get(mistake, mistake), f"{part}: {_text(seen)}", _text(wanted))
    return Verdict(0.0, "other")


fair_choice = Check(
    name="fair_choice",
    title="Target modules at an equal budget",
    wants=("fair_choice",),
    difficulty=2,
    minutes=12,
    points=20,
    verified="ranks within the budget, each group's best learning rate, the winner",
    hints=(
        "Two things must be fair: the number of trained parameters, and the tuning of the "
        "learning rate. Settle the rank of each group first; the losses play no part in that.",
        "A group at rank r costs `r * per_rank[g]`. Take the last rank that fits, then the "
        "smallest loss in that row of the grid.",
        "For each group: `i = int((ranks * per_rank[g] <= budget).sum()) - 1`, then `ranks[i]` and "
        "`losses[g, i].min()`. The winner is the argmin of these losses.",
    ),
    mistakes={
        "no_budget": "The best rank of the whole grid was taken, whatever it costs. The rank comes "
        "from the budget, not from the losses.",
        "equal_rank": "All groups got the same rank. At equal rank the larger group has more "
        "parameters, and the comparison says nothing. Make the budget equal.",
        "not_largest": "Among the ranks within the budget the one with the lowest loss was taken. "
        "The exercise asks for the largest, so that every group may spend the same.",
        "strict": "A group that uses the budget up exactly is within it: `<=`, not `<`.",
        "over": "One of the ranks costs more than the budget. Take the largest that is within it.",
        "mean": "The losses were averaged over the learning rates. A badly tuned run says nothing "
        "about the modules: take the best rate of each group.",
        "one_rate": "One learning rate was used for all groups. Each group gets its own best one.",
        "worst": "The largest loss was taken. Lower is better.",
        "loser": "The group with the largest loss was returned. Lower is better: argmin.",
        "positions": "These are positions in `ranks`. Return the ranks themselves.",
        "winner": "The winner is asked for as a position among the groups: 0, 1, ...",
        "raised:IndexError": "losses is (G, R, L): first the group, then the rank, then the rate.",
        "other": "First the rank of each group: the last one with rank * per_rank <= budget. Then "
        "the smallest loss in losses[group, rank]. Then the argmin of these.",
    },
    make=make_fair,
    probe=probe_fair,
    judge=judge_fair,
)


# 6.3 The scale of rsLoRA
def make_rslora(seed):
    rng = np.random.default_rng(seed + 800)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    r, big = int(rng.choice([2, 3, 5])), int(rng.choice([6, 7, 8]))
    d_in, d_out = int(rng.choice([10, 11, 12])), int(rng.choice([13, 14, 15]))
    return {
        **{"A0": f(r, d_in), "B0": f(d_out, r), "A1": f(big, d_out), "B1": f(d_in, big)},
        "alpha": np.array(rng.choice([11, 13, 17, 19])),
    }


def probe_rslora(namespace, a):
    alpha, made = a["alpha"].item(), {}
    for n in "01":
        A, B = tensor(a[f"A{n}"]), tensor(a[f"B{n}"])
        made[f"delta{n}"] = array(namespace["rslora_delta"](A, B, alpha), "the update")
    for n in "01":
        new = namespace["same_update"](alpha, len(a[f"A{n}"]))
        made[f"alpha{n}"] = array(new, "the new alpha")
    return made


def _scales(alpha, r, d_in, d_out):
    return {
        "plain": alpha / r,
        "no_scale": 1.0,
        "alpha_only": alpha,
        "upside_down": alpha * np.sqrt(r),
        "root_of_all": np.sqrt(alpha / r),
        "no_alpha": 1 / np.sqrt(r),
        "width_in": alpha / np.sqrt(d_in),
        "width_out": alpha / np.sqrt(d_out),
        "square": alpha / r**2,
    }


def judge_rslora(inputs, outputs):
    alpha, cases = float(inputs["alpha"]), []
    for n in "01":
        A, B = (inputs[k + n].astype(float) for k in "AB")
        cases.append((_real(outputs[f"delta{n}"]), B @ A, len(A), A.shape[1], len(B)))
    if not all(close(got, alpha / r**0.5 * BA, rtol=1e-3) for got, BA, r, _, _ in cases):
        got, BA, r, *_ = cases[0]
        if any(c[0].shape != c[1].shape for c in cases):
            flipped = all(c[0].shape == c[1].T.shape for c in cases)
            seen = f"an update of shape {got.shape}"
            return Verdict(0.0, "transposed" if flipped else "other", seen, f"{BA.shape}")
        mistake = "other"
        for key in _scales(1, 1, 1, 1):
            wrong = [_scales(alpha, *c[2:])[key] * c[1] for c in cases]
            if all(close(c[0], w, rtol=1e-3) for c, w in zip(cases, wrong, strict=True)):
                mistake = {"width_in": "width", "width_out": "width"}.get(key, key)
        times = (got * BA).sum() / (BA * BA).sum()
        seen = f"about {times:.3g} * B @ A at r = {r} and lora_alpha = {alpha:g}"
        return Verdict(0.0, mistake, seen, f"{alpha / r**0.5:.3g} * B @ A")
    ranks = np.array([c[2] for c in cases])
    new = [_real(outputs[f"alpha{n}"]) for n in "01"]
    if any(a.size != 1 for a in new):
        return Verdict(0.5, "not_a_number", f"values of shape {new[0].shape}", "one number")
    new = np.array([a.reshape(-1)[0] for a in new])
    if close(new, alpha / np.sqrt(ranks), rtol=1e-3):
        return Verdict(1.0)
    known = {
        "unchanged": np.full(2, alpha),
        "backwards": alpha * np.sqrt(ranks),
        "divided_by_r": alpha / ranks,
    }
    mistake = next((k for k, w in known.items() if close(new, w, rtol=1e-3)), "alpha_wrong")
    seen = f"same_update({alpha:g}, {ranks[0]}) is {new[0]:.4g}"
    expected = f"{alpha / ranks[0] ** 0.5:.4g}, because the scale was {alpha / ranks[0]:.4g}"
    return Verdict(0.5, mistake, seen, expected)


rslora = Check(
    name="rslora",
    title="The scale of rsLoRA",
    wants=("rslora_delta", "same_update"),
    difficulty=2,
    minutes=8,
    points=15,
    verified="the update of two layers, and the alpha that keeps the scale, at two ranks",
    hints=(
        "Which axis of A has length r? And which two scales must be equal in the second question?",
        "The scale is alpha divided by the square root of r. In the second function, write down "
        "new / sqrt(r) = lora_alpha / r and solve for new.",
        "`lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A`, and from the equation: "
        "new = lora_alpha * sqrt(r) / r. Can that be shorter?",
    ),
    mistakes={
        "plain": "This is the ordinary scale alpha / r. rsLoRA divides by the square root of r.",
        "no_scale": "The product B @ A has no scale. Multiply it by alpha / sqrt(r).",
        "alpha_only": "Multiplied by alpha alone. Divide by the square root of r.",
        "upside_down": "The root of r was multiplied instead of divided.",
        "root_of_all": "The root covers alpha as well. Only r stands under it: alpha / sqrt(r).",
        "no_alpha": "alpha is missing: alpha / sqrt(r), not 1 / sqrt(r).",
        "square": "This divides by r squared. rsLoRA divides by the square root of r.",
        "width": "A width of the layer stands under the root. The rank is the short side: "
        "`lora_A.shape[0]`.",
        "transposed": "The update came back transposed. B @ A is (out, in).",
        "unchanged": "rslora_delta is right. With the same alpha the scale grows by sqrt(r) when "
        "rsLoRA is switched on. Alpha must shrink.",
        "backwards": "rslora_delta is right. The new alpha goes the wrong way: under rsLoRA the "
        "scale is larger than before, so alpha must become smaller.",
        "divided_by_r": "rslora_delta is right. lora_alpha / r is the scale to keep, not the new "
        "alpha: that one is divided by sqrt(r) once more.",
        "alpha_wrong": "rslora_delta is right. Solve new / sqrt(r) = lora_alpha / r for new.",
        "not_a_number": "rslora_delta is right. same_update returns one number.",
        "raised:RuntimeError": "lora_B is (out, r) and lora_A is (r, in): B comes first in B @ A.",
        "other": "The update is alpha / sqrt(r) * B @ A, with r = lora_A.shape[0].",
    },
    make=make_rslora,
    probe=probe_rslora,
    judge=judge_rslora,
)


# 6.4 Parameter groups for LoRA+
PARTS = ("frozen", "A", "B", "frozen", "A", "B", "norm", "head", "frozen")  # of _blocks, in order


def _blocks(rng_values):
    """A model with two LoRA layers, a norm and a head that train, and frozen weights."""
    import torch
    from torch import nn

    def layer(d_in, d_out, r):
        made = nn.Module()
        made.weight = nn.Parameter(torch.zeros(d_out, d_in), requires_grad=False)
        made.lora_A = nn.Parameter(torch.zeros(r, d_in))
        made.lora_B = nn.Parameter(torch.zeros(d_out, r))
        return made

    d, wide, r = (int(v) for v in rng_values)
    model = nn.Module()
    model.Block = nn.ModuleList([layer(d, wide, r), layer(wide, d, r)])
    model.norm = nn.LayerNorm(d, bias=False)
    model.head = nn.Linear(d, 2)
    model.head.bias.requires_grad = False
    return model


def make_plus(seed):
    rng = np.random.default_rng(seed + 900)
    return {
        "sizes": rng.choice(np.arange(3, 12), 3, replace=False),
        "lr": np.array(rng.choice([1e-4, 2e-4, 5e-4, 3e-3])),
        "ratio": np.array(rng.choice([4.0, 8.0, 16.0])),
    }


def probe_plus(namespace, a):
    import torch

    model = _blocks(a["sizes"])
    groups = namespace["plus_groups"](model, a["lr"].item(), a["ratio"].item())
    if groups is None:
        array(None, "what plus_groups returns")
    if not isinstance(groups, (list, tuple)) or not all(isinstance(g, dict) for g in groups):
        return {"no_groups": np.ones(1)}
    if not all("params" in g for g in groups):
        return {"no_groups": np.ones(1)}
    places = {id(p): n for n, p in enumerate(model.parameters())}
    rates, times = np.full(len(places), np.nan), np.zeros(len(places))
    for group in groups:
        params = group["params"]
        rate = _real(array(group["lr"], 'the "lr" of a group')) if "lr" in group else np.zeros(1)
        members = [params] if isinstance(params, torch.Tensor) else list(params)
        for p in members:
            p = p[1] if isinstance(p, tuple) and len(p) == 2 else p  # torch takes (name, p) too
            if id(p) not in places or rate.size != 1:
                return {"no_groups": np.ones(1)}
            rates[places[id(p)]] = rate.reshape(-1)[0]
            times[places[id(p)]] += 1
    return {"rates": rates, "times": times}


def judge_plus(inputs, outputs):
    lr, ratio, parts = float(inputs["lr"]), float(inputs["ratio"]), np.array(PARTS)
    if "no_groups" in outputs:
        seen = "something else"
        return Verdict(0.0, "no_groups", seen, 'a list of {"params": [...], "lr": number}')
    rates, times = _real(outputs["rates"]), _real(outputs["times"])
    if rates.shape != parts.shape or times.shape != parts.shape:
        return Verdict(0.0, "other")
    trains = parts != "frozen"
    if times[~trains].any():
        seen = f"{int((times[~trains] > 0).sum())} frozen parameters in the groups"
        return Verdict(0.0, "frozen", seen, "none")
    if (times > 1).any():
        return Verdict(0.0, "twice", "a parameter in two groups", "each in one")
    for part, key in (("A", "no_a"), ("B", "no_b"), ("norm", "left_out"), ("head", "left_out")):
        if (times[parts == part] == 0).any():
            return Verdict(0.0, key, f"no group holds {_name(part)}", "every one that trains")
    want = np.where(parts == "B", lr * ratio, lr)[trains]
    got = rates[trains]
    if close(got, want, rtol=1e-6, atol=0):
        return Verdict(1.0)
    is_b, small = parts[trains] == "B", parts[trains] == "norm"
    known = {
        "no_lr": np.zeros(len(got)),
        "one_rate": np.full(len(got), lr),
        "all_fast": np.full(len(got), lr * ratio),
        "swapped": np.where(parts[trains] == "A", lr * ratio, lr),
        "slow_a": np.where(is_b, lr, lr / ratio),
        "divided": np.where(is_b, lr / ratio, lr),
        "added": np.where(is_b, lr + ratio, lr),
        "only_ratio": np.where(is_b, ratio, lr),
        "norm_fast": np.where(is_b | small, lr * ratio, lr),
        "rest_fast": np.where(parts[trains] == "A", lr, lr * ratio),
    }
    a_slow = np.where(parts[trains] == "A", lr / ratio, lr)
    mistake = next((k for k, w in known.items() if close(got, w, rtol=1e-6, atol=0)), "other")
    mistake = "slow_a" if close(got, a_slow, rtol=1e-6, atol=0) else mistake
    mistake = {"norm_fast": "rest_fast"}.get(mistake, mistake)
    at = int(np.argmax(np.abs(np.nan_to_num(got) - want)))
    seen = f"{_name(parts[trains][at])} learns with {got[at]:.3g}, with lr = {lr:g}"
    return Verdict(0.0, mistake, f"{seen} and ratio = {ratio:g}", f"{want[at]:.3g}")


def _name(part):
    return {"A": "a lora_A", "B": "a lora_B"}.get(part, f"the {part}")


plus_groups = Check(
    name="plus_groups",
    title="Parameter groups for LoRA+",
    wants=("plus_groups",),
    difficulty=2,
    minutes=10,
    points=15,
    verified="two LoRA layers, a norm and a head that train, frozen weights left out",
    hints=(
        "Go through `model.named_parameters()`. What tells you that a parameter trains, and what "
        "that it is a B?",
        "Two lists: one for names that end in `lora_B`, one for everything else. Skip whatever "
        "has `requires_grad` False.",
        '`[{"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}]`, where fast holds '
        'every p with `name.endswith("lora_B")`.',
    ),
    mistakes={
        "no_groups": 'torch.optim wants a list of dicts, each with "params" (a list of the '
        'parameters themselves) and "lr" (a number).',
        "frozen": "Frozen parameters are in a group. Skip those with requires_grad False: weight "
        "decay or a later unfreeze would move them.",
        "twice": "A parameter is in two groups. Use if and else, so that each lands in one.",
        "no_a": "The lora_A are in no group, so they would never move.",
        "no_b": "The lora_B are in no group, so the update would stay zero.",
        "left_out": "The norm and the head train as well here. Whatever requires a gradient and is "
        "no lora_B goes with lr; otherwise it silently stays as it was.",
        "no_lr": 'A group has no "lr", so the optimizer\'s own rate would be used for it.',
        "one_rate": "Everything learns at the same rate. The lora_B get lr * ratio.",
        "all_fast": "Everything learns fast. Is the test for a B true for every name? There is a "
        "capital B in `Block`, for instance: test the end of the name.",
        "swapped": "A and B are exchanged: B starts at zero and is the one that learns faster.",
        "slow_a": "The ratio is right, its anchor is not: A learns with lr itself and B with "
        "lr * ratio.",
        "divided": "B learns slower than A. Multiply by the ratio.",
        "added": "lr and ratio were added. Multiply them.",
        "only_ratio": "B got the ratio as its learning rate. It gets lr * ratio.",
        "rest_fast": "The norm or the head learns with B's rate. PEFT and the chapter do that with "
        "a norm; here only lora_B is fast.",
        "raised:AttributeError": "`named_parameters()` gives pairs (name, parameter).",
        "raised:ValueError": "Loop over pairs: `for name, p in model.named_parameters()`.",
        "other": "Each lora_B: lr * ratio. Everything else that trains: lr.",
    },
    make=make_plus,
    probe=probe_plus,
    judge=judge_plus,
)


# 6.5 Read a grid and choose
def make_grid(seed):
    rng = np.random.default_rng(seed + 1000)
    while True:
        ranks = rng.permutation([1, 4, 8, 16, 64])
        dead, small, first, big, huge = np.argsort(ranks)  # the roles of the five ranks
        lrs = rng.permutation([0.001, 0.003, 0.01, 0.03, 0.1, 0.3])
        tied = np.argsort(lrs)[[0, 2, 3]]  # in the order of their rates
        in_order = next(n for n in range(5) if n != dead) == first
        if in_order and small not in (1, 4) and min(tied) < tied[0] < max(tied):
            break
    losses = rng.uniform(1.0, 3.0, size=(5, 6)).round(2)
    losses[small, tied] = 0.53
    losses[big, rng.integers(6)] = 0.5  # the best of all, by less than the noise
    losses[first, rng.integers(6)] = 0.54
    losses[huge, rng.integers(6)] = 0.52
    ended = np.zeros((5, 6), dtype=int)  # 0 well, 1 as nan, 2 as inf
    for row in (small, first, big, huge):
        free = np.flatnonzero(losses[row] > 0.9)
        ended[row, rng.choice(free, 2, replace=False)] = 1, 2
    ended[dead] = rng.permutation([1, 1, 2, 2, 2, 2])
    grid = {"finite": losses.astype(np.float32), "ended": ended, "ranks": ranks, "lrs": lrs}
    return {**grid, "noise": np.array(0.045)}


def _losses(inputs):
    """The grid with its diverged runs. (nan is not equal to itself, so it is no good input.)"""
    ended = inputs["ended"]
    return np.where(ended == 1, np.nan, np.where(ended == 2, np.inf, inputs["finite"]))


def probe_grid(namespace, a):
    lrs = tensor(a["lrs"].astype(np.float32))
    losses = tensor(_losses(a).astype(np.float32))
    made = namespace["read_grid"](losses, tensor(a["ranks"]), lrs, a["noise"].item())
    names = ("rates", "rank")
    return dict(zip(names, _pair(made, 2, names), strict=True))


def _row_mistake(row, rate, lrs, finite):
    """Name of the mistake behind one rate, "" when it is right."""
    alive = np.isfinite(row).any()
    if not alive:
        return "" if np.isnan(rate) else "dead_row"
    if np.isnan(rate):
        return "nan_spreads"
    places = np.flatnonzero(np.isclose(lrs, rate, rtol=1e-3, atol=0))
    if not len(places):
        return "other"
    loss = row[places[0]]
    if not np.isfinite(loss):
        return "nan_wins"
    if loss == finite.min():
        return "" if rate <= 1.001 * lrs[row == loss].min() else "tie"
    return "worst" if loss == row[np.isfinite(row)].max() else "other"


def judge_grid(inputs, outputs):
    losses, ranks, lrs = _losses(inputs), inputs["ranks"].astype(float), inputs["lrs"]
    got, rank = _real(outputs["rates"]), _real(outputs["rank"])
    finite = np.where(np.isfinite(losses), losses, np.inf)
    best = finite.min(1)
    pairs = zip(finite, best, strict=True)
    want = [min(lrs[row == b]) if np.isfinite(b) else np.nan for row, b in pairs]
    if got.shape != (5,):
        mistake = "axis" if got.shape == (6,) else "other"
        return Verdict(0.0, mistake, f"{got.size} rates", "5, one for each rank")
    rows = zip(losses, got, finite, strict=True)
    found = [_row_mistake(row, rate, lrs, fin) for row, rate, fin in rows]
    if any(found):
        at = next(n for n, f in enumerate(found) if f)
        named = [f for f in found if f and f != "other"]
        mistake = "nan_wins" if "nan_wins" in named else (named or ["other"])[0]
        if "worst" in named:
            mistake = "worst"
        whole = got[np.isfinite(got)]
        if "other" in found and len(whole) and np.isin(whole, np.arange(6)).all():
            mistake = "positions"
        at = next((n for n, f in enumerate(found) if f == mistake), at)
        shown = ", ".join(f"{v:.2f}" for v in losses[at])
        seen = f"{got[at]:.3g} for the losses {shown} at lrs {', '.join(f'{v:g}' for v in lrs)}"
        return Verdict(0.0, mistake, seen, f"{want[at]:.3g}")
    good = best <= best.min() + float(inputs["noise"])
    right, top = ranks[good].min(), ranks[best.argmin()]
    if rank.size != 1:
        return Verdict(0.5, "rank_wrong", f"{rank.size} ranks", "one")
    rank = float(rank.reshape(-1)[0])
    if rank == right:
        return Verdict(1.0)
    known = {
        "noise_ignored": top,
        "largest": ranks[good].max(),
        "first": ranks[good][0],
        "rank_position": float(np.flatnonzero(ranks == right)[0]),
        "dead_rank": ranks.min(),
    }
    mistake = next((key for key, wrong in known.items() if rank == wrong), "rank_wrong")
    pairs = ", ".join(f"{r:g}: {b:.2f}" for r, b in zip(ranks, best, strict=True))
    return Verdict(0.5, mistake, f"rank {rank:.4g}; the best losses are {pairs}", f"{right:g}")


read_grid = Check(
    name="read_grid",
    title="Read a grid and choose",
    wants=("read_grid",),
    difficulty=3,
    minutes=15,
    points=20,
    verified="diverged runs, a rank that diverged everywhere, ties, unsorted axes, noise",
    hints=(
        "What does argmin make of a nan? Try `torch.tensor([1.0, float('nan')]).argmin()`.",
        "Replace nan by inf first. Sort the columns by learning rate: the first of equal losses is "
        "then the smallest rate. For the rank, compare each row's best loss with the best of all.",
        "`order = lrs.argsort()`, `best, at = losses_without_nan[:, order].min(dim=1)`, rates "
        "`lrs[order][at]`, nan where `best` is inf. The rank is the smallest of "
        "`ranks[best <= best.min() + noise]`.",
    ),
    mistakes={
        "nan_wins": "A run that diverged was chosen. argmin and min treat nan as the smallest "
        "value, and nan_to_num makes a 0 of it: replace nan by inf first.",
        "nan_spreads": "A rank with a good run got nan. Only the diverged runs are out, not their "
        "whole row.",
        "dead_row": "A rank whose runs all diverged has no best rate: nan there.",
        "tie": "Of equal losses the smaller learning rate counts. The columns are not sorted, so "
        "the first of them need not be the smaller.",
        "worst": "The highest loss was taken. Lower is better.",
        "positions": "These are positions in `lrs`. Return the learning rates.",
        "axis": "One rate for each column came back. Look for the minimum along each row: dim=1.",
        "noise_ignored": "The rates are right. The rank with the lowest loss was chosen, but a "
        "smaller one is as good within `noise`.",
        "largest": "The rates are right. Of the ranks within `noise` the largest was chosen.",
        "first": "The rates are right. The first good rank was taken, but `ranks` is not sorted.",
        "rank_position": "The rates are right. This is the position of the rank: return the rank.",
        "dead_rank": "The rates are right. That rank diverged everywhere.",
        "rank_wrong": "The rates are right. Compare each rank's best loss with the lowest loss of "
        "the grid plus `noise`, and take the smallest rank that passes.",
        "raised:RuntimeError": "Is a nan among the best losses? Every comparison with nan is "
        "False, so no rank is good. And min(dim=1) returns two things: values and positions.",
        "other": "For each row: ignore nan and inf, find the lowest loss, and return its rate.",
    },
    make=make_grid,
    probe=probe_grid,
    judge=judge_grid,
)

EXERCISES = (largest_rank, fair_choice, rslora, plus_groups, read_grid)
