"""Checks of chapter 02: break-even rank, truncated SVD, energy rank, factors, a rank budget."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor


def _matrix(rng, rows, cols):
    """Random (rows, cols) matrix whose singular values are far apart, and none of them near 1."""
    k = min(rows, cols)
    U = np.linalg.qr(rng.normal(size=(rows, k)))[0]  # (rows, k)
    V = np.linalg.qr(rng.normal(size=(cols, k)))[0]  # (cols, k)
    return U * (rng.uniform(3, 4) * 0.65 ** np.arange(k)) @ V.T


def _near(matrix, r):
    """Nearest matrix of rank r."""
    U, s, Vh = np.linalg.svd(matrix, full_matrices=False)
    return U[:, :r] * s[:r] @ Vh[:r]


def _same(got, want):
    """Equal up to float32 rounding, measured by the largest entry?"""
    return close(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


def _vh_used_as_v(got, matrix, r):
    """Is got = U diag(s) and then Vh where V^T belongs? Any signs of the singular vectors."""
    U, s, Vh = np.linalg.svd(matrix, full_matrices=False)
    if got.shape != (len(U), Vh.shape[0]):
        return False
    inside = U[:, :r].T @ got  # (r, k); changing the sign of a singular vector changes signs only
    return _same(np.abs(inside), np.abs(s[:r, None] * Vh[:, :r].T)) and _same(
        U[:, :r] @ inside, got
    )


def _number(value, name):
    """One number of the learner as float; nan when it is not one number."""
    value = array(value, name)
    return float(value.reshape(-1)[0]) if value.size == 1 else float("nan")


def _shape(value):
    return " x ".join(str(n) for n in value.shape) or "one number"


# 2.1 break-even rank
def make_break_even(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(3, 20, 2)
    shapes = []
    for low, high in [(0.1, 0.4), (0.6, 0.9)]:  # parts of a rank left over
        while True:
            a, b = rng.integers(10, 200, 2)
            if low < a * b / (a + b) % 1 < high and abs(a - b) > 5:
                shapes.append((b, a))
                break
    shapes += [(2 * n, 2 * n), (3 * m, 6 * m)]  # break even at exactly n and at exactly 2m
    return {"shapes": np.array(shapes)}


def probe_break_even(namespace, arrays):
    rank = namespace["break_even_rank"]
    found = [_number(rank(int(i), int(o)), "the break-even rank") for i, o in arrays["shapes"]]
    return {"ranks": np.array(found)}


def judge_break_even(inputs, outputs):
    got, (a, b) = outputs["ranks"], inputs["shapes"].T
    exact, up = a * b / (a + b), -(-(a * b) // (a + b))
    known = {
        "not_whole": exact,
        "no_saving": a * b // (a + b),
        "one_more": up,
        "rounded": np.round(exact),
        "half": np.minimum(a, b) // 2,
        "full_rank": np.minimum(a, b),
        "product": 0 * a,
    }
    return _pick(got, up - 1, known, [f"{i} x {o}" for i, o in inputs["shapes"]])


def _pick(got, want, known, labels):
    """Verdict on a row of numbers: right, a known wrong row, or something else."""
    if np.array_equal(got, want):
        return Verdict(1.0)
    at = int(np.flatnonzero(got != want)[0])
    close = [key for key, row in known.items() if np.allclose(got, row)]
    number = "no single number" if np.isnan(got[at]) else f"{got[at]:g}"
    seen, expected = f"{number} for {labels[at]}", f"{want[at]:g}"
    return Verdict(0.0, close[0] if close else "other", seen, expected)


break_even = Check(
    name="break_even",
    title="The break-even rank",
    wants=("break_even_rank",),
    difficulty=1,
    minutes=6,
    points=10,
    verified="four shapes, two of which break even exactly",
    hints=(
        "Write down how many numbers B and A hold together, and how many the full matrix holds.",
        "You need the largest whole r with `r * (d_in + d_out) < d_in * d_out`. "
        "Try d_in = d_out = 4: at r = 2 both sides are 16, and nothing is saved.",
        "The largest count that still saves is `d_in * d_out - 1`. Divide it by "
        "`d_in + d_out`, with `//`.",
    ),
    mistakes={
        "not_whole": "A rank is a whole number. Return the largest whole rank that saves numbers.",
        "no_saving": "Where r * (d_in + d_out) equals d_in * d_out exactly, the factors cost as "
        "much as the full matrix. That rank saves nothing: the one below it is the answer.",
        "one_more": "This is the first rank that saves nothing. The largest rank that still saves "
        "is one smaller.",
        "rounded": "You rounded to the nearest whole number. Rounding up gives a rank that costs "
        "more than the full matrix.",
        "half": "Half of the side is where a square matrix breaks even. Other shapes differ. Start "
        "from the two counts: r * (d_in + d_out) and d_in * d_out.",
        "full_rank": "The smaller side is the largest rank that the matrix can have. Factors of "
        "that rank hold more numbers than the matrix itself.",
        "product": "It looks as if the factors cost r * d_in * d_out. A holds r * d_in numbers and "
        "B holds d_out * r: add the two.",
        "other": "Compare r * (d_in + d_out) with d_in * d_out for the rank that you returned and "
        "for its neighbors.",
    },
    make=make_break_even,
    probe=probe_break_even,
    judge=judge_break_even,
)


# 2.2 truncated SVD
def make_nearest(seed):
    rng = np.random.default_rng(seed)
    sizes = {"tall": (9, 5), "wide": (5, 8), "square": (6, 6)}
    return {**{k: _matrix(rng, *v) for k, v in sizes.items()}, "r": rng.integers(2, 4)}


def probe_nearest(namespace, arrays):
    nearest, r = namespace["nearest_of_rank"], int(arrays["r"])
    return {k: array(nearest(tensor(arrays[k]), r), k) for k in ("tall", "wide", "square")}


def judge_nearest(inputs, outputs):
    r = int(inputs["r"])
    for name in ("tall", "wide", "square"):
        M, got = inputs[name], outputs[name]
        U, s, Vh = np.linalg.svd(M, full_matrices=False)
        want = _near(M, r)
        if _same(got, want):
            continue
        known = {
            "untouched": M,
            "one_more": _near(M, r + 1),
            "no_values": U[:, :r] @ Vh[:r],
            "values_squared": U[:, :r] * s[:r] ** 2 @ Vh[:r],
            "smallest": U[:, -r:] * s[-r:] @ Vh[-r:],
            "rest": M - want,
        }
        mistake = next((key for key, wrong in known.items() if _same(got, wrong)), "other")
        if _vh_used_as_v(got, M, r):
            mistake = "vh_as_v"
        elif got.shape != M.shape:
            mistake = "shape"
            return Verdict(0.0, mistake, f"shape {_shape(got)}", f"shape {_shape(M)}")
        seen, best = np.linalg.norm(M - got), np.linalg.norm(M - want)
        text = f"a {name} matrix, r = {r}: distance to the matrix"
        return Verdict(0.0, mistake, f"{text} {seen:.3f}", f"{best:.3f}")
    return Verdict(1.0)


nearest = Check(
    name="nearest",
    title="The nearest matrix of rank r",
    wants=("nearest_of_rank",),
    difficulty=2,
    minutes=8,
    points=10,
    verified="a tall, a wide and a square matrix, against NumPy's SVD",
    hints=(
        "`torch.linalg.svd(matrix, full_matrices=False)` returns three things. Print their shapes.",
        "Keep the first r columns of U, the first r singular values and the first r rows of Vh.",
        "Scale the kept columns of U: `U[:, :r] * s[:r]`, which is (m, r). Then multiply by the "
        "kept rows of Vh, which are (r, n).",
    ),
    mistakes={
        "vh_as_v": "The last factor is transposed once too often. torch.linalg.svd returns Vh, "
        "which is V already transposed: keep its first r rows, as they are.",
        "one_more": "You kept r + 1 pieces. In Python [:r] holds the items 0 to r - 1, which are r "
        "items.",
        "no_values": "The singular values are missing: each piece is s[i] times column i of U "
        "times row i of Vh.",
        "values_squared": "Each singular value counts twice. Multiply it into U or into Vh, not "
        "into both.",
        "smallest": "You kept the smallest pieces. torch.linalg.svd sorts from large to small: the "
        "first r pieces are wanted.",
        "rest": "This is what the truncation leaves out (the matrix minus its nearest of rank r). "
        "Return the part that is kept.",
        "untouched": "All pieces are still there: the matrix came back unchanged. Cut U, s and Vh "
        "to r pieces.",
        "shape": "The result needs the shape of the matrix that came in. If a factor was "
        "transposed, remember that Vh is V transposed already.",
        "other": "The result is not the nearest matrix of rank r. Sum r pieces "
        "s[i] * outer(U[:, i], Vh[i]).",
        "raised:RuntimeError": "Compare the shapes: U[:, :r] is (m, r), s[:r] is (r,) and Vh[:r] "
        "is (r, n).",
    },
    make=make_nearest,
    probe=probe_nearest,
    judge=judge_nearest,
)


# 2.3 energy rank
def _count(s, share):
    """All answers to one energy question: the right one and the known wrong ones."""
    squares, k = np.square(s), len(s)
    sums, total = np.cumsum(squares), squares.sum()
    right = int((sums < share * total).sum()) + 1
    plain = int((np.cumsum(s) < share * s.sum()).sum()) + 1
    return {
        "right": right,
        "not_squared": plain,
        "strict": int((sums <= share * total).sum()) + 1,
        "position": right - 1,
        "one_more": right + 1,
        "not_divided": int((sums < share).sum()) + 1,
        "smallest_first": int((np.cumsum(squares[::-1]) < share * total).sum()) + 1,
        "share_of_count": int(np.ceil(share * k)),
        "below": int((sums <= share * total).sum()),
    }


def _even_spectrum(rng):
    """Whole singular values, largest first, whose squares sum to 1024: shares without rounding."""
    while True:
        left, s = 1024, []
        while left:
            top = min(int(left**0.5), s[-1] if s else 24)
            s.append(int(rng.integers(max(1, (top + 1) // 2), top + 1)))
            left -= s[-1] ** 2
        if 8 <= len(s) <= 14:
            return np.array(s, dtype=float)


def make_energy_rank(seed):
    rng = np.random.default_rng(seed)
    while True:
        rows, shares = [], []
        for _ in range(3):
            s = np.sort(rng.uniform(0.3, 9, 12) ** rng.uniform(1, 2))[::-1]
            energy = np.cumsum(s**2) / (s**2).sum()
            at = int(rng.integers(2, 9))
            rows.append(s)
            shares.append((energy[at - 1] + energy[at]) / 2)  # far from both neighbors
        for _ in range(2):  # the share is reached exactly
            s = _even_spectrum(rng)
            at = int(rng.integers(2, len(s) - 2))
            rows.append(np.pad(s, (0, 14 - len(s))))
            shares.append((s**2)[: at + 1].sum() / 1024)
        answers = [_count(s[s > 0], share) for s, share in zip(rows, shares, strict=True)]
        distinct = {tuple(a[key] for a in answers) for key in answers[0]}
        if len(distinct) == len(answers[0]):  # no two answers look the same
            lengths = np.array([(s > 0).sum() for s in rows])
            values = np.stack([np.pad(s, (0, 14 - len(s))) for s in rows])
            return {"values": values, "lengths": lengths, "shares": np.array(shares)}


def probe_energy_rank(namespace, arrays):
    rank = namespace["rank_for_energy"]
    found = [
        _number(rank(tensor(s[:n]), float(share)), "the rank")
        for s, n, share in zip(arrays["values"], arrays["lengths"], arrays["shares"], strict=True)
    ]
    return {"ranks": np.array(found)}


def judge_energy_rank(inputs, outputs):
    cases = zip(inputs["values"], inputs["lengths"], inputs["shares"], strict=True)
    rows = [_count(s[:n], share) for s, n, share in cases]
    known = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    labels = [f"share {share:.4f}" for share in inputs["shares"]]
    right, got = known.pop("right"), outputs["ranks"]
    verdict = _pick(got, right, known, labels)
    if verdict.share == 1:
        return verdict
    at = int(np.flatnonzero(got != right)[0])
    squares, r = np.square(inputs["values"][at]), int(right[at])
    below, reached = squares[: r - 1].sum() / squares.sum(), squares[:r].sum() / squares.sum()
    expected = f"{r}: the first {r - 1} pieces hold {below:.4f}, the first {r} hold {reached:.4f}"
    return verdict._replace(expected=expected)


energy_rank = Check(
    name="energy_rank",
    title="The rank that holds a share of the energy",
    wants=("rank_for_energy",),
    difficulty=2,
    minutes=10,
    points=10,
    verified="five spectra, two of which reach the share exactly",
    hints=(
        "Energy is a sum of squares. How much do the first 1, 2, 3, ... pieces hold together?",
        "`torch.cumsum(s**2, 0)` gives the running sums. Divide them by the total, and find the "
        "first that is at least `share`.",
        "Count the running shares that are still below `share`; the answer is that count plus 1.",
    ),
    mistakes={
        "not_squared": "You added up the singular values. Energy is the sum of their squares.",
        "strict": "Where the running share equals `share` exactly, the goal is reached. Use at "
        "least (>=), not more than (>).",
        "position": "One too small: Python counts positions from 0. Position 0 means one piece.",
        "one_more": "One too large each time. If you counted the shares below the goal, add 1 "
        "once only.",
        "below": "You returned the largest rank that does not exceed the share. Asked is the "
        "smallest rank that reaches it.",
        "not_divided": "The running sums were compared with `share` before dividing by the total.",
        "smallest_first": "You added from the smallest value up. The first pieces are the largest "
        "ones: s comes sorted from large to small.",
        "share_of_count": "This is a share of the number of values. Asked is a share of the sum "
        "of their squares.",
        "other": "By hand: s = 4, 2, 2, 1 has squares 16, 4, 4, 1 and total 25. A share of 0.8 is "
        "20 of 25, which the first 2 pieces reach.",
    },
    make=make_energy_rank,
    probe=probe_energy_rank,
    judge=judge_energy_rank,
)


# 2.4 two thin factors
def make_factors(seed):
    rng = np.random.default_rng(seed)
    return {"tall": _matrix(rng, 9, 6), "wide": _matrix(rng, 7, 10), "r": rng.integers(2, 4)}


def probe_factors(namespace, arrays):
    out = {}
    for name in ("tall", "wide"):
        pair = namespace["split_update"](tensor(arrays[name]), int(arrays["r"]))
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            array(pair, "the pair (B, A)")  # None gets its own message
            return {"not_a_pair": np.ones(1)}
        out[f"{name}_B"], out[f"{name}_A"] = array(pair[0], "B"), array(pair[1], "A")
    return out


def judge_factors(inputs, outputs):
    if "not_a_pair" in outputs:
        return Verdict(0.0, "not_a_pair", "one value", "two matrices: B, A")
    r = int(inputs["r"])
    for name in ("tall", "wide"):
        D, B, A = inputs[name], outputs[f"{name}_B"], outputs[f"{name}_A"]
        (out, into), U, s, Vh = D.shape, *np.linalg.svd(D, full_matrices=False)
        if B.shape != (out, r) or A.shape != (r, into):
            mistake = {
                ((r, into), (out, r)): "swapped",
                ((into, r), (r, out)): "transposed",
                ((out, r), (into, r)): "A_transposed",
                ((out, r + 1), (r + 1, into)): "one_more",
                ((out, len(s)), (len(s), into)): "not_cut",
            }.get((B.shape, A.shape), "shape")
            if mistake == "shape" and A.shape == (r, len(s)) and B.shape == (out, r):
                mistake = "vh_as_v"
            seen = f"B {_shape(B)}, A {_shape(A)}"
            return Verdict(0.0, mistake, seen, f"B {out} x {r}, A {r} x {into}")
        got, want = B @ A, _near(D, r)
        if _same(got, want):
            continue
        known = {
            "values_twice": U[:, :r] * s[:r] ** 2 @ Vh[:r],
            "no_values": U[:, :r] @ Vh[:r],
            "root_once": U[:, :r] * np.sqrt(s[:r]) @ Vh[:r],
            "smallest": U[:, -r:] * s[-r:] @ Vh[-r:],
        }
        mistake = next((key for key, wrong in known.items() if _same(got, wrong)), "other")
        if _vh_used_as_v(got, D, r):
            mistake = "vh_as_v"
        seen, best = np.linalg.norm(D - got), np.linalg.norm(D - want)
        text = f"{out} x {into}, r = {r}: distance of B @ A to the update"
        return Verdict(0.0, mistake, f"{text} {seen:.3f}", f"{best:.3f}")
    return Verdict(1.0)


factors = Check(
    name="factors",
    title="Split an update into B and A",
    wants=("split_update",),
    difficulty=3,
    minutes=12,
    points=15,
    verified="shapes of B and A, and B @ A against the best rank-r matrix, for two updates",
    hints=(
        "The SVD already is a product. Which part has r columns, which has r rows?",
        "B comes from U, A comes from Vh. The singular values must enter exactly once, in total.",
        "`B = U[:, :r] * s[:r]` holds the first r columns, each times its s. What is left for A?",
    ),
    mistakes={
        "swapped": "The two came back in the order A, B. Return B first: (d_out, r), then A: "
        "(r, d_in).",
        "transposed": "These are the factors of the transposed update. B has d_out rows, which are "
        "the rows of the update.",
        "A_transposed": "A came back as (d_in, r). It is stored as (r, d_in), so that B @ A works "
        "as it is. Rows of Vh already lie that way.",
        "one_more": "There are r + 1 pieces in there. [:r] keeps r of them.",
        "not_cut": "All pieces are still there. Keep the first r of each.",
        "not_a_pair": "Return two matrices, `return B, A`, not their product.",
        "shape": "B needs d_out rows and r columns, A needs r rows and d_in columns.",
        "values_twice": "The singular values went into B and into A, so B @ A contains their "
        "squares. Put s into one of the two, or its square root into both.",
        "no_values": "The singular values are in neither factor. Put s into one of the two, or its "
        "square root into both.",
        "root_once": "A square root of s in one factor only. Either both factors get the root, or "
        "one gets s itself.",
        "smallest": "These are the smallest pieces. torch.linalg.svd sorts from large to small: "
        "take the first r.",
        "vh_as_v": "Vh was taken for V. The rows of Vh are the directions: A is made of its first "
        "r rows.",
        "other": "B @ A is not the nearest matrix of rank r. Compare it with truncate(update, r).",
        "raised:RuntimeError": "Compare the shapes: U[:, :r] is (d_out, r), s[:r] is (r,), "
        "Vh[:r] is (r, d_in). A column s[:r, None] scales rows, s[:r] scales columns.",
    },
    make=make_factors,
    probe=probe_factors,
    judge=judge_factors,
)


# 2.5 a rank budget for a whole model
NAMES = ("q_proj.weight", "up_proj.weight", "down_proj.weight")


def make_budget(seed):
    rng = np.random.default_rng(seed)
    while True:
        shapes = [(12, 12), tuple(rng.integers(13, 18, 2)), tuple(rng.integers(13, 18, 2))]
        one, full = sum(a + b for a, b in shapes), sum(a * b for a, b in shapes)
        r = rng.choice([2, 3, 4], 2, replace=False)
        budgets = r * one + [0, rng.integers(one // 3, 2 * one // 3)]  # the first is used up
        if len({tuple(v) for v in _ranks(budgets, shapes).values()}) == 6 and full > one:
            break
    out = {"budgets": budgets}
    for name, shape in zip(NAMES, shapes, strict=True):
        out[f"before {name}"] = _matrix(rng, *shape)
        out[f"after {name}"] = out[f"before {name}"] + _matrix(rng, *shape) / 5
    return out


def _ranks(budgets, shapes):
    """The right rank for each budget, and the wrong ones that have a name."""
    one, full = sum(a + b for a, b in shapes), sum(a * b for a, b in shapes)
    return {
        "right": budgets // one,
        "strict_budget": (budgets - 1) // one,
        "over_budget": -(-budgets // one),
        "always_over": budgets // one + 1,
        "product": budgets // full,
        "one_matrix": budgets // sum(shapes[-1]),
    }


def probe_budget(namespace, arrays):
    out = {}
    for i, budget in enumerate(arrays["budgets"]):
        before = {name: tensor(arrays[f"before {name}"].copy()) for name in NAMES}
        after = {name: tensor(arrays[f"after {name}"].copy()) for name in NAMES}
        pair = namespace["fit_budget"](before, after, int(budget))
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not hasattr(pair[1], "keys"):
            array(None if pair is None else 0, "the pair (r, weights)")
            return {"not_a_pair": np.ones(1)}
        out[f"r {i}"] = np.array(_number(pair[0], "r"))
        for name in NAMES:
            out[f"kept before {name} {i}"] = array(before[name], name)
            out[f"kept after {name} {i}"] = array(after[name], name)
            if name in pair[1]:
                out[f"{name} {i}"] = array(pair[1][name], name)
    return out


def judge_budget(inputs, outputs):
    if "not_a_pair" in outputs:
        return Verdict(0.0, "not_a_pair", "something else", "a number, then a dict: r, weights")
    shapes = [inputs[f"before {name}"].shape for name in NAMES]
    rounds = range(len(inputs["budgets"]))
    known = _ranks(inputs["budgets"], shapes)
    for name in NAMES:
        for side in ("before", "after"):
            if any(
                not np.array_equal(outputs[f"kept {side} {name} {i}"], inputs[f"{side} {name}"])
                for i in rounds
            ):
                return Verdict(0.0, "in_place", f"{side}[{name!r}] was changed", "left as it was")
    right = known.pop("right")
    sizes = ", ".join(f"{a} x {b}" for a, b in shapes)
    labels = [f"a budget of {b} and matrices {sizes}" for b in inputs["budgets"]]
    verdict = _pick(np.array([outputs[f"r {i}"] for i in rounds]), right, known, labels)
    if verdict.share < 1:
        seen, expected = f"r = {verdict.seen}", f"r = {verdict.expected}"
        mistake = {"always_over": "over_budget"}.get(verdict.mistake, verdict.mistake)
        return Verdict(0.0, mistake, seen, expected)
    for i, r in enumerate(right):
        missing = [name for name in NAMES if f"{name} {i}" not in outputs]
        if missing:
            return Verdict(0.0, "missing", f"no {missing[0]}", "every matrix of `before`")
        for name in NAMES:
            W0, W1, got = inputs[f"before {name}"], inputs[f"after {name}"], outputs[f"{name} {i}"]
            step, want = _near(W1 - W0, r), W0 + _near(W1 - W0, r)
            if _same(got, want):
                continue
            wrong = {
                "only_update": step,
                "cut_weights": _near(W1, r),
                "added_to_after": W1 + step,
                "backwards": W0 - step,
                "not_cut": W1,
                "unchanged": W0,
            }
            mistake = next((key for key, value in wrong.items() if _same(got, value)), "other")
            seen = f"{name}, r = {r}: largest error "
            seen += f"{np.abs(got - want).max():.3f}" if got.shape == want.shape else "has no size"
            return Verdict(0.0, mistake, seen, "0")
    return Verdict(1.0)


budget = Check(
    name="budget",
    title="One rank for a whole model, within a budget",
    wants=("fit_budget",),
    difficulty=4,
    minutes=18,
    points=20,
    verified="two budgets, three matrices, and that your inputs stayed as they were",
    hints=(
        "First the rank: what does one unit of rank cost, summed over all matrices?",
        "One unit costs the sum of (rows + columns) over the matrices. Then treat each matrix on "
        "its own: the update is after minus before.",
        "`r = budget // cost`, with the cost of one unit. For each name put "
        "`before[name] + truncate(after[name] - before[name], r)` into a new dict.",
    ),
    mistakes={
        "in_place": "A tensor that was handed in has changed. `+=`, `-=` and `.add_()` write into "
        "the caller's tensor: build a new one with `+`.",
        "strict_budget": "A budget that is used up to the last number is still kept. Allow "
        "equality.",
        "over_budget": "That rank costs more than the budget. Round down.",
        "product": "It looks as if one unit of rank costs rows * columns. It costs rows + columns.",
        "one_matrix": "The budget covers all matrices together, but only one was counted. Sum the "
        "cost over all of them.",
        "not_a_pair": "Return two things, `return r, weights`: first the rank, then a dict.",
        "missing": "A matrix is missing from the new dict. Is the dict created inside the loop, or "
        "the return too early?",
        "only_update": "These are the updates alone. Add each to before[name].",
        "cut_weights": "You truncated the trained weights themselves. Truncate the update, after "
        "minus before, and add it to before.",
        "added_to_after": "The update was added to the trained weights, so it counts twice. Add it "
        "to before[name].",
        "backwards": "The sign is turned round: the update is after minus before.",
        "not_cut": "These are the trained weights, with the update at full rank. Truncate it to r.",
        "unchanged": "These are the weights before training. Add the truncated update.",
        "other": "Every matrix must be before + the rank-r truncation of (after - before), with "
        "the r that you returned.",
    },
    make=make_budget,
    probe=probe_budget,
    judge=judge_budget,
)

EXERCISES = (break_even, nearest, energy_rank, factors, budget)
