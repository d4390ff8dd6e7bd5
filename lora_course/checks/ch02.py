"""Checks of chapter 02: break-even rank, truncated SVD, energy rank, factors, a rank budget."""

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, array, close, tensor
from lora_course.checks.slips import Promise, Slip, judged, seen_as
from lora_course.checks.values import Refused, kind


def matrix(rng, rows, cols):
    """Random (rows, cols), float32; its singular values are far apart, none of them near 1."""
    k = min(rows, cols)
    U = np.linalg.qr(rng.normal(size=(rows, k)))[0]  # (rows, k)
    V = np.linalg.qr(rng.normal(size=(cols, k)))[0]  # (cols, k)
    return (U * (rng.uniform(3, 4) * 0.65 ** np.arange(k)) @ V.T).astype(np.float32)


def svd(M):
    return np.linalg.svd(M, full_matrices=False)


def near(M, r):
    """Nearest matrix of rank r."""
    U, s, Vh = svd(M)
    return U[:, :r] * s[:r] @ Vh[:r]


def same(got, want):
    """Equal up to float32 rounding, measured by the largest entry?"""
    return close(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


def fitting(want):
    """The condition that an array is this one."""
    return lambda got: same(got, want)


def distance(name, M, r, key):
    """The promise that an output is the nearest matrix of rank r to M."""
    shape = " x ".join(map(str, M.shape))

    def values(A):
        A = A.astype(complex if A.dtype.kind == "c" else float)  # no svd of float16
        kept = [f"{v:.3g}" for v in svd(A)[1] if v > 1e-3 * np.linalg.norm(M)]
        return ", ".join(kept) or "all 0"

    def seen(got):
        if got.shape != M.shape:
            return f"{name}: shape {' x '.join(map(str, got.shape)) or 'of one number'}"
        if not np.isfinite(got).all():
            return f"{name}: entries that are no numbers"
        off = np.abs(got - near(M, r)).max()
        return f"{name}: singular values {values(got)}; off by up to {off:.1g}"

    expected = f"shape {shape}, singular values {values(near(M, r))}; off by 0"
    return Promise(key, fitting(near(M, r)), seen=seen, expected=expected)


def vh_as_v(M, r):
    """The condition got = U diag(s) and then Vh where V^T belongs, whatever the signs of U."""
    U, s, Vh = svd(M)

    def holds(got):
        if got.shape != (len(U), Vh.shape[0]):
            return False
        inside = U[:, :r].T @ got  # (r, k); another sign of a singular vector changes signs only
        rows = same(np.abs(inside), np.abs(s[:r, None] * Vh[:, :r].T))
        return rows and same(U[:, :r] @ inside, got)

    return holds


def scaled(M, r):
    """The condition got = the first r pieces of M, times numbers that no other slip has."""
    U, s, Vh = svd(M)
    known = [np.ones(r), s[:r], s[:r] ** 2, s[:r] ** 0.5, np.full(r, s[0])]

    def holds(got):
        if got.shape != M.shape or not np.isfinite(got).all():
            return False
        inside = U[:, :r].T @ got @ Vh[:r].T  # (r, r)
        x = np.diag(inside)
        if not same(U[:, :r] * x @ Vh[:r], got) or np.abs(x).min() <= 1e-3 * np.abs(x).max():
            return False
        return not any(close(x, k, rtol=2e-3) for k in known)

    return holds


def nearly(M, r):
    """The condition that an array is the nearest of rank r to three digits."""
    want = near(M, r)
    return lambda got: close(got, want, rtol=0, atol=5e-3 * np.abs(want).max())


CHANGED = Slip("changed", "What was handed in has changed. Names that end in `_`, `+=`, `-=` and "
               "`x[...] =` write into the caller's tensor: make a new one.")  # fmt: skip


def number(value, name):
    """One number of the learner."""
    made = array(value, name)
    if made.size != 1:
        raise Refused("type", f"{name} returns {made.size} numbers.", "one number.")
    return made.reshape(()).astype(float)


def rows(key, values):
    """{"r 0": first value, ...}: an output for each case."""
    return {f"{key} {n}": value for n, value in enumerate(values)}


# 2.1 break-even rank
TIGHT = ((2, 3), (5, 8), (12, 17), (13, 21))  # one number fewer is a multiple of the two sides


def make_break_even(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(3, 20, 2)
    shapes = [rng.permutation(TIGHT[rng.integers(1, len(TIGHT))])]
    for low, high in [(0.1, 0.4), (0.6, 0.9)]:  # parts of a rank left over
        while True:
            a, b = rng.integers(10, 200, 2)
            if low < a * b / (a + b) % 1 < high and abs(a - b) > 5:
                shapes.append((b, a))
                break
    shapes += [(2 * n, 2 * n), (3 * m, 6 * m)]  # break even at exactly n and at exactly 2m
    return {"shapes": np.array([*shapes, (rng.integers(2, 9), 1)])}  # the last: 0


def probe_break_even(namespace, a):
    rank = namespace["break_even_rank"]
    return rows("r", [number(rank(int(i), int(o)), "break_even_rank") for i, o in a["shapes"]])


def break_even_of(i, rule):
    d_in, d_out = i["shapes"].T.astype(float)
    return rows("r", rule(d_in * d_out, d_in + d_out, np.minimum(d_in, d_out)))


def by_sides(*rules):
    """The values of a slip. rules: d_in, d_out -> the rank."""
    return lambda i: [rows("r", rule(*i["shapes"].T)) for rule in rules]


def judge_break_even(i, o):
    right = break_even_of(i, lambda product, total, side: (product - 1) // total)
    promises = []
    for n, (d_in, d_out) in enumerate(i["shapes"]):
        r, one = int(right[f"r {n}"]), d_in + d_out
        expected = (
            f"{r}, where A and B hold {r * one} numbers and the matrix {d_in * d_out}; at rank "
            f"{r + 1} they hold {(r + 1) * one}"
        )
        what = f"the rank for d_in = {d_in}, d_out = {d_out}"
        promises.append(Promise(f"r {n}", r, what, expected=expected, rtol=0))
    return judged(i, o, promises, BREAK_EVEN)


BREAK_EVEN = (
    Slip("not_whole", "A rank is a whole number. Return the largest whole rank that saves numbers.",
         lambda i: break_even_of(i, lambda product, total, side: product / total)),
    Slip("no_saving", "Where r * (d_in + d_out) equals d_in * d_out exactly, the factors cost as "
         "much as the full matrix. That rank saves nothing: the one below it is the answer.",
         lambda i: break_even_of(i, lambda product, total, side: product // total)),
    Slip("one_less", "One too small, except where a rank breaks even exactly. Only there the rank "
         "itself saves nothing.",
         lambda i: break_even_of(i, lambda product, total, side: product // total - 1)),
    Slip("at_least_one", "Where not even rank 1 saves anything, the answer is 0.",
         lambda i: break_even_of(i, lambda product, total, side: np.maximum(
             1, (product - 1) // total))),
    Slip("one_more", "This is the first rank that saves nothing. The largest rank that still saves "
         "is one smaller.",
         lambda i: [break_even_of(i, lambda product, total, side: -(-product // total)),
                    break_even_of(i, lambda product, total, side: product // total + 1)]),
    Slip("first", "1 each time that anything is saved: that is the smallest such rank. Does "
         "`return` stand inside a loop?",
         by_sides(*(lambda a, b, k=k: np.where(np.minimum(a, b) > 1, 1, k) for k in (0, 1)))),
    Slip("one_factor", "That counts one factor alone. A holds r * d_in numbers and B holds d_out * "
         "r: add the two.",
         by_sides(lambda a, b: a, lambda a, b: b, lambda a, b: a - 1, lambda a, b: b - 1)),
    Slip("rounded", "You rounded to the nearest whole number. Rounding up gives a rank that costs "
         "more than the full matrix.",
         lambda i: break_even_of(i, lambda product, total, side: np.round(product / total))),
    Slip("half", "Half of the side is where a square matrix breaks even. Other shapes differ. "
         "Start from the two counts: r * (d_in + d_out) and d_in * d_out.",
         by_sides(lambda a, b: np.minimum(a, b) // 2, lambda a, b: np.maximum(a, b) // 2,
                  lambda a, b: a // 2, lambda a, b: b // 2, lambda a, b: (a + b) // 4)),
    Slip("full_rank", "The smaller side is the largest rank that the matrix can have. Factors of "
         "that rank hold more numbers than the matrix itself.",
         by_sides(lambda a, b: np.minimum(a, b), lambda a, b: np.minimum(a, b) - 1)),
    Slip("zero", "0 each time. The factors cost r * (d_in + d_out), not r * d_in * d_out; and a "
         "loop must not return the first rank that saves, but the largest.",
         by_sides(lambda a, b: 0 * a)),
)  # fmt: skip

break_even = Check(
    name="break_even",
    title="The break-even rank",
    wants=("break_even_rank",),
    difficulty=1,
    minutes=6,
    points=10,
    verified="six shapes, two of which break even exactly, one at a rank below 1",
    hints=(
        "Write down how many numbers B and A hold together, and how many the full matrix holds.",
        "You need the largest whole r with `r * (d_in + d_out) < d_in * d_out`. "
        "Try d_in = d_out = 4: at r = 2 both sides are 16, and nothing is saved.",
        "The largest count that still saves is `d_in * d_out - 1`. Divide it by "
        "`d_in + d_out`, with `//`.",
    ),
    slips=BREAK_EVEN,
    other="Compare r * (d_in + d_out) with d_in * d_out for the rank that you returned and for its "
    "neighbors.",
    make=make_break_even,
    probe=probe_break_even,
    judge=judge_break_even,
)


# 2.2 truncated SVD
KINDS = {"tall": (9, 5), "wide": (5, 8), "square": (6, 6)}


def make_nearest(seed):
    rng = np.random.default_rng(seed)
    r = dict(zip(("r tall", "r wide", "r square"), rng.permutation([2, 3, 4]), strict=True))
    return {**{name: matrix(rng, *size) for name, size in KINDS.items()}, **r}


def probe_nearest(namespace, a):
    from lora_course import rank

    nearest, made, calls = namespace["nearest_of_rank"], {}, []
    spied = getattr(nearest, "__globals__", {})
    kept = spied.get("truncate", rank.truncate)

    def spy(*given, **named):  # the exercise asks to do without it
        calls.append(given)
        return kept(*given, **named)

    own, ours = "truncate" in spied, rank.truncate
    if own:
        spied["truncate"] = spy
    rank.truncate = spy
    try:
        for name in KINDS:
            given = tensor(a[name])
            before = callers.Before(given)
            made[name] = array(nearest(given, int(a[f"r {name}"])), "nearest_of_rank")
            made[f"left {name}"] = before.change()
    finally:
        rank.truncate = ours
        if own:
            spied["truncate"] = kept
    return {**made, "calls": len(calls)}


def judge_nearest(i, o):
    promises = [distance(f"a {name} matrix, {' x '.join(map(str, i[name].shape))}, r = "
                         f"{i[f'r {name}']}", i[name], int(i[f"r {name}"]), name)
                for name in KINDS]  # fmt: skip
    promises += [callers.unchanged(f"left {name}", "the matrix that was given") for name in KINDS]
    used = Promise("calls", 0, seen="truncate was called {} times", expected="not at all")
    return judged(i, o, [*promises, used], NEAREST)


def nearest_of(rule):
    """The values of a slip. rule: M, r -> array."""
    return lambda i: {name: fitting(rule(i[name], int(i[f"r {name}"]))) for name in KINDS}


def pieces(M, kept, power=1):
    """The sum of some pieces, each times a power of its singular value."""
    U, s, Vh = svd(M)
    return U[:, kept] * s[kept] ** power @ Vh[kept]


NEAREST = (
    Slip("vh_as_v", "The last factor is transposed once too often. torch.linalg.svd returns Vh, "
         "which is V already transposed: keep its first r rows, as they are.",
         lambda i: {name: vh_as_v(i[name], int(i[f"r {name}"])) for name in ("tall", "square")}),
    Slip("one_more", "You kept r + 1 pieces. In Python [:r] holds the items 0 to r - 1, which are "
         "r items.", nearest_of(lambda M, r: near(M, r + 1))),
    Slip("no_values", "The singular values are missing: each piece is s[i] times column i of U "
         "times row i of Vh.", nearest_of(lambda M, r: pieces(M, slice(r), 0))),
    Slip("values_squared", "The singular values are in it squared. Multiply each once, into U or "
         "into Vh, and not into both.", nearest_of(lambda M, r: pieces(M, slice(r), 2))),
    Slip("root", "The root of the singular values is in it. Each piece counts with s[i] itself.",
         nearest_of(lambda M, r: pieces(M, slice(r), 0.5))),
    Slip("one_less", "You kept r - 1 pieces. In Python [:r] holds r items.",
         nearest_of(lambda M, r: near(M, r - 1))),
    Slip("one_piece", "There is one piece alone. Sum the first r of them.",
         lambda i: [nearest_of(lambda M, r: near(M, 1))(i),
                    nearest_of(lambda M, r: pieces(M, slice(r - 1, r)))(i),
                    nearest_of(lambda M, r: pieces(M, slice(r, r + 1)))(i)]),
    Slip("skips_first", "The first piece, the largest, is missing. Python counts from 0: the first "
         "r pieces are number 0 to r - 1.",
         lambda i: [nearest_of(lambda M, r: pieces(M, slice(1, r + 1)))(i),
                    nearest_of(lambda M, r: pieces(M, slice(1, r)))(i)]),
    Slip("one_side", "A side was cut off. Not the rows or columns of the matrix are cut, but the "
         "number of pieces: (m, r) times (r, n) has all rows and columns.",
         lambda i: [{name: lambda v, name=name: v.shape == (len(i[name]), i[f"r {name}"])
                     for name in KINDS},
                    {name: lambda v, name=name: v.shape == (i[f"r {name}"], i[name].shape[1])
                     for name in KINDS}]),
    Slip("other_values", "The pieces are the right ones, their sizes are not. Each counts with its "
         "own singular value s[i], as it is.",
         lambda i: {name: scaled(i[name], int(i[f"r {name}"])) for name in KINDS}),
    Slip("nearly", "Right to a few digits only. Was something rounded, or made half precision?",
         lambda i: {name: nearly(i[name], int(i[f"r {name}"])) for name in KINDS}),
    CHANGED._replace(values=lambda i: [{f"left {name}": 2} for name in KINDS]),
    Slip("one_value", "Every piece was taken times the largest singular value. Each has its own.",
         nearest_of(lambda M, r: pieces(M, slice(r), 0) * svd(M)[1][0])),
    Slip("smallest", "You kept the smallest pieces. torch.linalg.svd sorts from large to small: "
         "the first r pieces are wanted.", nearest_of(lambda M, r: pieces(M, slice(-r, None)))),
    Slip("rest", "This is what the truncation leaves out (the matrix minus its nearest of rank r). "
         "Return the part that is kept.", nearest_of(lambda M, r: M - near(M, r))),
    Slip("untouched", "All pieces are still there: the matrix came back unchanged. Cut U, s and Vh "
         "to r pieces.", nearest_of(lambda M, r: M)),
    Slip("transposed", "The result is right, but transposed: it needs the shape of the matrix that "
         "came in.", nearest_of(lambda M, r: near(M, r).T)),
    Slip("ready_made", "`truncate` of the course does the work here. Write the truncation with "
         "`torch.linalg.svd` yourself.", lambda i: {"calls": lambda v: v.size == 1 and v > 0}),
)  # fmt: skip

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
    slips=NEAREST,
    other="Sum r pieces s[i] * outer(U[:, i], Vh[i]). U[:, :r] is (m, r), s[:r] is (r,) and Vh[:r] "
    "is (r, n).",
    make=make_nearest,
    probe=probe_nearest,
    judge=judge_nearest,
)


# 2.3 energy rank
def answers(s, share):
    """All answers to one energy question: the right one and those of the slips."""
    squares = np.square(s)
    sums, total = np.cumsum(squares), squares.sum()
    right = int((sums < share * total).sum()) + 1
    return {
        "right": right,
        "not_squared": int((np.cumsum(s) < share * s.sum()).sum()) + 1,
        "strict": int((sums <= share * total).sum()) + 1,
        "position": right - 1,
        "one_more": right + 1,
        "not_divided": int((sums < share).sum()) + 1,
        "smallest_first": int((np.cumsum(squares[::-1]) < share * total).sum()) + 1,
        "share_of_count": int(np.ceil(share * len(s))),
        "root": int((np.sqrt(sums) < share * np.sqrt(total)).sum()) + 1,
        "below": int((sums <= share * total).sum()),
        "count_rounded": round(share * len(s)),
        "other_part": int((sums < (1 - share) * total).sum()) + 1,
        "each_alone": int((squares < share * total).sum()) + 1,
        "above": int((sums > share * total).sum()) + 1,
        "rounded": int((np.round(sums / total, 2) < share).sum()) + 1,
        "nearly": int((sums < (share - 0.01) * total).sum()) + 1,
        "two": max(right, 2),
        "at_least": int((sums >= share * total).sum()),
        "at_least_one_more": int((sums >= share * total).sum()) + 1,
        "above_alone": int((sums > share * total).sum()),
        "count_floor": int(share * len(s)),
        "relative": int((s >= share * s[0]).sum()),
        "squares_late": int((np.cumsum(s) ** 2 < share * s.sum() ** 2).sum()) + 1,
        "all": len(s),
        "one": 1,
        "nearest": int(np.abs(sums - share * total).argmin()) + 1,
        "not_all": min(right, len(s) - 1),
        "share": sums[right - 1] / total,
        "value": s[right - 1],
    }


def even_spectrum(rng):
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
        spectra, shares = [], []
        for low in (0.3, 0.3, 4):
            s = np.sort(rng.uniform(low, 9, 12) ** rng.uniform(1, 2))[::-1]
            energy = np.cumsum(s**2) / (s**2).sum()
            at = int(rng.integers(2, 9)) if low < 1 else 11  # the third one needs all pieces
            spectra.append(s)
            shares.append(0.6 * energy[at - 1] + 0.4 * energy[at])  # far from both neighbors
        for _ in range(2):  # the share is reached exactly
            s = even_spectrum(rng)
            at = int(rng.integers(2, len(s) - 2))
            spectra.append(s)
            shares.append((s**2)[: at + 1].sum() / 1024)
        while True:  # the first pieces stay just below the share
            s = np.sort(rng.uniform(3, 9, 10))[::-1]
            energy = np.cumsum(s**2) / (s**2).sum()
            near = energy[2] + 0.001
            if np.round(energy[2], 2) > near:
                break
        spectra += [s, np.array([0.3, 0.08, 0.05, 0.02])]  # the second one needs one piece
        shares += [near, rng.uniform(0.3, 0.8)]
        found = [answers(s, share) for s, share in zip(spectra, shares, strict=True)]
        if len({tuple(a[key] for a in found) for key in found[0]}) == len(found[0]):
            lengths = np.array([len(s) for s in spectra])  # no two answers look the same
            values = np.stack([np.pad(s, (0, 14 - len(s))) for s in spectra])
            return {"values": values, "lengths": lengths, "shares": np.array(shares)}


def spectra_of(i):
    return [values[:n] for values, n in zip(i["values"], i["lengths"], strict=True)]


def probe_energy_rank(namespace, a):
    rank, made = namespace["rank_for_energy"], []
    given = [tensor(s) for s in spectra_of(a)]
    before = callers.Before(*given)
    for s, share in zip(given, a["shares"], strict=True):
        made.append(number(rank(s, float(share)), "rank_for_energy"))
    return {**rows("r", made), "left": before.change()}


def energy_of(*keys):
    """The values of a slip: the answers under any of these keys."""

    def values(i):
        cases = [answers(*case) for case in zip(spectra_of(i), i["shares"], strict=True)]
        return [rows("r", [case[key] for case in cases]) for key in keys]

    return values


def judge_energy_rank(i, o):
    promises = []
    for n, (s, share) in enumerate(zip(spectra_of(i), i["shares"], strict=True)):
        r, squares = answers(s, share)["right"], np.square(s) / np.square(s).sum()
        said = f"{r}: the first {r - 1} pieces hold {squares[: r - 1].sum():.4f} of it, the first "
        expected = f"{said}{r} hold {squares[:r].sum():.4f}"
        what = f"the rank for s = {', '.join(f'{v:.3g}' for v in s)} and the share {share:.4f}"
        promises.append(Promise(f"r {n}", r, what, expected=expected, rtol=0))
    promises.append(callers.unchanged("left", "s"))
    return judged(i, o, promises, ENERGY)


ENERGY = (
    Slip("not_squared", "You added up the singular values. Energy is the sum of their squares.",
         energy_of("not_squared")),
    Slip("strict", "Where the running share equals `share` exactly, the goal is reached. Use at "
         "least (>=), not more than (>).", energy_of("strict")),
    Slip("position", "One too small: Python counts positions from 0. Position 0 means one piece.",
         energy_of("position")),
    Slip("one_more", "One too large each time. If you counted the shares below the goal, add 1 "
         "once only.", energy_of("one_more")),
    Slip("below", "You returned the largest rank that does not exceed the share. Asked is the "
         "smallest rank that reaches it.", energy_of("below")),
    Slip("not_divided", "The running sums were compared with `share` before dividing by the total.",
         energy_of("not_divided")),
    Slip("smallest_first", "You added from the smallest value up. The first pieces are the largest "
         "ones: s comes sorted from large to small.", energy_of("smallest_first")),
    Slip("share_of_count", "This is a share of the number of values. Asked is a share of the sum "
         "of their squares.", energy_of("share_of_count", "count_rounded", "count_floor")),
    Slip("relative", "Each value was compared with the largest one. Asked is the share of the "
         "energy that the first pieces hold together.", energy_of("relative")),
    Slip("squares_late", "The values were added first and squared afterwards. Square each one, "
         "then add.", energy_of("squares_late")),
    Slip("one", "1 each time. Divide the running sums by the total of all squares, and compare "
         "with `share` as it is, which is no percentage.", energy_of("one")),
    Slip("nearest", "The share that is nearest may lie below. Take the first that is at least "
         "`share`.", energy_of("nearest")),
    Slip("not_all", "Where only all pieces together reach the share, the answer is their number.",
         energy_of("not_all", "all")),
    Slip("value", "That is the size of a piece, or the share that is reached. Return how many "
         "pieces it takes.", energy_of("value", "share")),
    Slip("other_part", "That is the rank which holds 1 - share. Compare with `share`.",
         energy_of("other_part")),
    Slip("two", "Where the first piece holds the share alone, the answer is 1.", energy_of("two")),
    Slip("each_alone", "The pieces were compared one by one. Add up the first 1, 2, 3, ... of them "
         "(cumsum) and compare the sums.", energy_of("each_alone")),
    Slip("above", "You counted the sums that have reached the share. Count those that are still "
         "below it.", energy_of("above", "above_alone", "at_least", "at_least_one_more")),
    CHANGED._replace(values=lambda i: {"left": 2}),
    Slip("nearly", "Close to the share is not there yet. Compare the shares as they are, without "
         "rounding and without a tolerance.", energy_of("rounded", "nearly")),
    Slip("root", "You took the root of the running sums, which gives shares of the size. Energy "
         "is the sum of the squares itself.", energy_of("root")),
)  # fmt: skip

energy_rank = Check(
    name="energy_rank",
    title="The rank that holds a share of the energy",
    wants=("rank_for_energy",),
    difficulty=2,
    minutes=10,
    points=10,
    verified="seven spectra, two of which reach the share exactly",
    hints=(
        "Energy is a sum of squares. How much do the first 1, 2, 3, ... pieces hold together?",
        "`torch.cumsum(s**2, 0)` gives the running sums. Divide them by the total, and find the "
        "first that is at least `share`.",
        "Count the running shares that are still below `share`; the answer is that count plus 1.",
    ),
    slips=ENERGY,
    other="By hand: s = 4, 2, 2, 1 has squares 16, 4, 4, 1 and total 25. A share of 0.8 is 20 of "
    "25, which the first 2 pieces reach.",
    make=make_energy_rank,
    probe=probe_energy_rank,
    judge=judge_energy_rank,
)


# 2.4 two thin factors
UPDATES = ("tall", "wide")


def make_factors(seed):
    rng = np.random.default_rng(seed)
    return {"tall": matrix(rng, 9, 6), "wide": matrix(rng, 7, 10), "r": rng.integers(2, 4)}


def probe_factors(namespace, a):
    made = {}
    for name in UPDATES:
        given = tensor(a[name])
        before = callers.Before(given)
        pair = namespace["split_update"](given, int(a["r"]))
        made[f"left {name}"] = before.change()
        made[f"{name} B"], made[f"{name} A"] = fixtures.several(pair, ("B", "A"), "split_update")
    for name in UPDATES:
        B, A = made[f"{name} B"], made[f"{name} A"]
        made[f"{name} shapes"] = np.array([*B.shape, *A.shape])
        if B.ndim == A.ndim == 2 and B.shape[1] == A.shape[0]:
            made[f"{name} BA"] = B.astype(float) @ A.astype(float)
    return made


def judge_factors(i, o):
    r, promises = int(i["r"]), []
    for name in UPDATES:
        d_out, d_in = i[name].shape
        case = f"a {name} update, {d_out} x {d_in}, r = {r}"
        promises.append(Promise(
            f"{name} shapes", np.array([d_out, r, r, d_in]),
            seen=lambda v, case=case: f"{case}: B @ A with the sides " + (
                "{} x {} and {} x {}".format(*v) if v.size == 4 else str(v.tolist())),
            expected=f"B {d_out} x {r}, A {r} x {d_in}",
        ))  # fmt: skip
        promises.append(distance(f"{case}: B @ A", i[name], r, f"{name} BA"))
        promises.append(callers.unchanged(f"left {name}", "the update that was given"))
    return judged(i, o, promises, FACTORS)


def sides(rule):
    """The values of a slip that shows in the shapes. rule: d_out, d_in, r, k -> B, A sides."""
    return lambda i: {
        f"{name} shapes": np.array(rule(*i[name].shape, int(i["r"]), min(i[name].shape)))
        for name in UPDATES
    }


def product(rule):
    """The values of a slip that shows in B @ A. rule: M, r -> array."""
    return lambda i: {f"{n} BA": fitting(rule(i[n], int(i["r"]))) for n in UPDATES}


FACTORS = (
    Slip("swapped", "The two came back in the order A, B. Return B first: (d_out, r), then A: (r, "
         "d_in).", sides(lambda d_out, d_in, r, k: (r, d_in, d_out, r))),
    Slip("transposed", "These are the factors of the transposed update. B belongs to the rows of "
         "`update`, A to its columns.", sides(lambda d_out, d_in, r, k: (d_in, r, r, d_out))),
    Slip("A_transposed", "A has its directions in columns. It needs the shape (r, d_in): its rows "
         "are directions.", sides(lambda d_out, d_in, r, k: (d_out, r, d_in, r))),
    Slip("B_transposed", "B has its directions in rows. It needs the shape (d_out, r): its columns "
         "are directions.", sides(lambda d_out, d_in, r, k: (r, d_out, r, d_in))),
    Slip("one_less", "You kept r - 1 pieces. In Python [:r] holds r items.",
         sides(lambda d_out, d_in, r, k: (d_out, r - 1, r - 1, d_in))),
    Slip("one_more", "You kept r + 1 pieces. In Python [:r] holds r items.",
         sides(lambda d_out, d_in, r, k: (d_out, r + 1, r + 1, d_in))),
    Slip("not_cut", "All pieces are there. Cut both factors to r.",
         sides(lambda d_out, d_in, r, k: (d_out, k, k, d_in))),
    Slip("unequal", "B needs as many columns as A has rows. Cut both to the same r pieces.",
         lambda i: {f"{n} shapes": lambda v, M=i[n]: (
             v.size == 4 and v[0] == len(M) and v[3] == M.shape[1] and v[1] != v[2])
             for n in UPDATES}),
    Slip("zero", "B @ A is zero. That is how LoRA starts; here the two hold a given update.",
         seen_as(**{f"{n} BA": lambda v: not v.any() for n in UPDATES})),
    Slip("skips_first", "The first piece, the largest, is missing. Python counts from 0.",
         product(lambda M, r: pieces(M, slice(1, r + 1)))),
    Slip("other_values", "The directions are right, the sizes are not. Each piece counts with its "
         "own s[i], once in B or in A.",
         lambda i: {f"{n} BA": scaled(i[n], int(i["r"])) for n in UPDATES}),
    CHANGED._replace(values=lambda i: [{f"left {n}": 2} for n in UPDATES]),
    Slip("values_twice", "The singular values enter squared, as when both B and A have them. "
         "They must enter once in total.", product(lambda M, r: pieces(M, slice(r), 2))),
    Slip("no_values", "The singular values are in neither factor, or cancel. Put them into "
         "one of the two.",
         product(lambda M, r: pieces(M, slice(r), 0))),
    Slip("root_once", "The square root of the singular values is in one factor only. Either both "
         "factors get the root, or one gets s itself.",
         product(lambda M, r: pieces(M, slice(r), 0.5))),
    Slip("smallest", "These are the smallest pieces. torch.linalg.svd sorts from large to small: "
         "take the first r.", product(lambda M, r: pieces(M, slice(-r, None)))),
    Slip("vh_as_v", "Vh was taken for V. The rows of Vh are the directions: A is made of its first "
         "r rows.", lambda i: [
             {f"{n} shapes": np.array([i[n].shape[0], int(i["r"]), int(i["r"]), min(i[n].shape)])
              for n in ("wide",)} | {"tall BA": vh_as_v(i["tall"], int(i["r"]))},
         ]),
)  # fmt: skip

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
    slips=FACTORS,
    other="Compare B @ A with truncate(update, r). A column s[:r, None] scales rows, s[:r] scales "
    "columns.",
    make=make_factors,
    probe=probe_factors,
    judge=judge_factors,
)


# 2.5 a rank budget for a whole model
NAMES = ("up_proj.weight", "down_proj.weight", "q_proj.weight")
ROUNDS = range(4)


def make_budget(seed):
    rng = np.random.default_rng(seed)
    while True:
        shapes = [tuple(rng.permutation(np.arange(11, 19))[:2]) for _ in NAMES]
        one, full = sum(a + b for a, b in shapes), sum(a * b for a, b in shapes)
        r = np.append(rng.permutation([2, 3, 4]), 0)
        budgets = r * one + [0, 1, one - 1, one - 2]  # used up, one left, one short, too small
        ranks = [tuple(v) for v in ranks_of(budgets, shapes).values()]
        if len(set(ranks)) == len(ranks) and full > one:
            break
    made = {"budgets": budgets}
    for name, shape in zip(NAMES, shapes, strict=True):
        made[f"before {name}"] = matrix(rng, *shape)
        made[f"after {name}"] = made[f"before {name}"] + matrix(rng, *shape) / 5
    return made


def ranks_of(budgets, shapes):
    """The right rank for each budget, and those of the slips."""
    one, full = sum(a + b for a, b in shapes), sum(a * b for a, b in shapes)
    return {
        "right": budgets // one,
        "not_whole": budgets / one,
        "strict_budget": (budgets - 1) // one,
        "over_budget": -(-budgets // one),
        "always_over": budgets // one + 1,
        "product": budgets // full,
        "at_least_one": np.maximum(1, budgets // one),
        "rounded": np.round(budgets / one).astype(int),
        **{f"matrix_{n}": budgets // sum(shape) for n, shape in enumerate(shapes)},
        "shared": budgets // len(shapes) // max(map(sum, shapes)),
        **{f"side_{n}": budgets // sum(shape[n] for shape in shapes) for n in range(2)},
        "power": [int(r > 0) << int(np.log2(max(r, 1))) for r in budgets // one],
        "power_or_one": [1 << int(np.log2(max(r, 1))) for r in budgets // one],
        "one_less": np.maximum(budgets // one - 1, 0),
        **{f"side_{rule.__name__}": budgets // sum(map(rule, shapes)) for rule in (min, max)},
        **{f"again_{n}": budgets // (n * one) for n in (2, len(shapes))},
    }


def probe_budget(namespace, a):
    made = {}
    for n in ROUNDS:
        old = {name: tensor(a[f"before {name}"]) for name in NAMES}
        new = {name: tensor(a[f"after {name}"]) for name in reversed(NAMES)}
        kept = callers.Before(old, new)
        answer = namespace["fit_budget"](old, new, int(a["budgets"][n]))
        if not (isinstance(answer, (tuple, list)) and len(answer) == 2):
            fixtures.several(answer, ("r", "weights"), "fit_budget")
        r, weights = answer
        if not isinstance(weights, dict):
            said = f"the second value that fit_budget returns is {kind(weights)}."
            raise Refused("type", said, "r, then a dict of the weights.")
        made |= {f"r {n}": number(r, "r"), f"left {n}": kept.change()}
        made[f"names {n}"] = np.array([name in weights for name in NAMES])
        made[f"count {n}"] = len(weights)
        made |= {f"{k} {n}": array(weights[k], k) for k in NAMES if k in weights}
    return made


def judge_budget(i, o):
    shapes = [i[f"before {name}"].shape for name in NAMES]
    right = ranks_of(i["budgets"], shapes)["right"]
    listed, one = ", ".join(f"{a} x {b}" for a, b in shapes), sum(map(sum, shapes))
    promises = [callers.unchanged(f"left {n}", "before and after") for n in ROUNDS]
    for n, budget in enumerate(i["budgets"]):
        case = f"a budget of {budget} and the matrices {listed}"
        expected = f"{right[n]}: one unit of rank costs {one} numbers, rows + columns of each"
        promises.append(Promise(f"r {n}", right[n], f"r for {case}", expected=expected, rtol=0))
    for n, r in enumerate(right):
        promises.append(Promise(
            f"names {n}", lambda v: v.shape == (len(NAMES),) and bool(v.all()),
            seen=lambda v: "no " + ", ".join(k for k, t in zip(NAMES, v, strict=False) if not t),
            expected="every matrix of `before`",
        ))  # fmt: skip
        promises.append(Promise(f"count {n}", len(NAMES), "the number of weights"))
        for name in NAMES:
            W = i[f"before {name}"]
            seen = lambda got, W=W, case=f"{name}, r = {r}": change(got, W, case)  # noqa: E731
            want = W + near(i[f"after {name}"] - W, r)
            expected = change(want, W, "").lstrip(": ")
            promises.append(Promise(f"{name} {n}", fitting(want), seen=seen, expected=expected))
    return judged(i, o, promises, BUDGET)


def change(got, W, case):
    """How a weight differs from the one before, in words."""
    if got.shape != W.shape or got.dtype.kind == "c" or not np.isfinite(got).all():
        return f"{case}: shape {' x '.join(map(str, got.shape))}, or no real numbers"
    s = np.linalg.svd((got - W).astype(float), compute_uv=False)
    rank = int((s > 1e-4 * np.linalg.norm(W)).sum())
    return f"{case}: weight - before has rank {rank} and the size {np.linalg.norm(s):.4g}"


def of_another_rank(W, after, r):
    """The condition that a weight has its update cut to any rank, 0 and the full one aside."""
    ranks = {r, *range(1, min(W.shape))}
    return lambda got: (
        got.shape == W.shape and any(same(got, W + near(after - W, q)) for q in sorted(ranks))
    )


def ranks(*keys):
    """The values of a slip in the rank: those of `ranks_of` under any of these keys."""

    def values(i):
        found = ranks_of(i["budgets"], [i[f"before {name}"].shape for name in NAMES])
        return [rows("r", found[key]) for key in keys]

    return values


def weights_of(rule, condition=fitting):
    """The values of a slip in the weights. rule: W before, W after, r -> array, or a condition."""

    def values(i):
        shapes = [i[f"before {name}"].shape for name in NAMES]
        right = ranks_of(i["budgets"], shapes)["right"]
        return {
            f"{name} {n}": condition(rule(i[f"before {name}"], i[f"after {name}"], right[n]))
            for n in ROUNDS
            for name in NAMES
        }

    return values


def present(*there, names=NAMES):
    """The values of a slip: of the names these are in the dict."""
    return lambda i: {f"names {n}": np.array([name in there for name in names]) for n in ROUNDS}


BUDGET = (
    Slip("in_place", "A tensor that was handed in has changed. `+=`, `-=` and `.add_()` write into "
         "the caller's tensor: build a new one with `+`.",
         lambda i: {f"left {n}": 2 for n in range(3)}),
    Slip("same_dict", "A dict that was handed in has changed: `weights = before` gives it a second "
         "name and makes no copy. Start with `weights = {}`.",
         lambda i: {f"left {n}": 1 for n in ROUNDS}),
    Slip("strict_budget", "A budget that is used up to the last number is still kept. Allow "
         "equality.", ranks("strict_budget")),
    Slip("over_budget", "That rank costs more than the budget. Round down.",
         ranks("over_budget", "always_over", "rounded")),
    Slip("not_whole", "A rank is a whole number: divide with `//`.", ranks("not_whole")),
    Slip("product", "0 for every budget. One unit of rank costs rows + columns, not rows * "
         "columns; and r is the same for all matrices.", ranks("product")),
    Slip("one_matrix", "The budget covers all matrices together, but only one was counted. Sum the "
         "cost over all of them.", ranks("matrix_0", "matrix_1", "matrix_2")),
    Slip("shared", "The budget was divided among the matrices. It is one for all: divide it by the "
         "sum of what one unit of rank costs in each.", ranks("shared")),
    Slip("one_side", "Only one side of each matrix was counted. One unit of rank costs a column of "
         "B and a row of A: rows + columns.",
         ranks("side_0", "side_1", "side_min", "side_max")),
    Slip("counted_again", "The cost was taken more than once. One unit of rank costs rows + "
         "columns of each matrix, summed up: `before` alone has all of them.",
         ranks("again_2", "again_3")),
    Slip("one_less", "One less than the budget pays for.", ranks("one_less")),
    Slip("new_dict", "Only the last matrix is there: each turn of the loop began a new dict. "
         "Create it before the loop.", present(NAMES[-1])),
    Slip("returned_early", "Only the first matrix is there. Does `return` stand inside the loop?",
         present(NAMES[0])),
    Slip("other_names", "The weights have other names. Use those of `before` as they are.",
         lambda i: present()(i) | {f"count {n}": len(NAMES) for n in ROUNDS}),
    Slip("another_rank", "The updates are cut, but not to the r that was returned, which is common "
         "to all matrices.", weights_of(of_another_rank, condition=lambda holds: holds)),
    Slip("rest", "That is what the truncation leaves out, on top of `before`. Add the part that is "
         "kept.", weights_of(lambda W, after, r: after - near(after - W, r))),
    Slip("at_least_one", "The smallest budget does not pay for rank 1. Then r is 0, and the "
         "weights stay as before.", ranks("at_least_one")),
    Slip("power", "A rank need not be a power of two. Take the largest that fits.",
         ranks("power", "power_or_one")),
    Slip("only_update", "These are the updates alone. Add each to before[name].",
         weights_of(lambda W, after, r: near(after - W, r))),
    Slip("cut_weights", "You truncated the trained weights themselves. Truncate the update, after "
         "minus before, and add it to before.", weights_of(lambda W, after, r: near(after, r))),
    Slip("added_to_after", "The update was added to the trained weights, so it counts twice. Add "
         "it to before[name].", lambda i: [
             weights_of(lambda W, after, r: after + near(after - W, r))(i),
             weights_of(lambda W, after, r: 2 * after - W)(i)]),
    Slip("backwards", "The sign is turned round: the update is after minus before.",
         weights_of(lambda W, after, r: W - near(after - W, r))),
    Slip("base_cut", "before[name] was truncated as well. Only the update loses rank.",
         lambda i: [weights_of(lambda W, after, r: near(W, r) + near(after - W, r))(i),
                    weights_of(lambda W, after, r: W + near(after, r) - near(W, r))(i)]),
    Slip("not_cut", "These are the trained weights, with the update at full rank. Truncate it to "
         "r.", weights_of(lambda W, after, r: after)),
    Slip("unchanged", "These are the weights before training. Add the truncated update.",
         weights_of(lambda W, after, r: W)),
)  # fmt: skip

budget = Check(
    name="budget",
    title="One rank for a whole model, within a budget",
    wants=("fit_budget",),
    difficulty=4,
    minutes=18,
    points=20,
    verified="four budgets, three matrices, and that your inputs stayed as they were",
    hints=(
        "First the rank: what does one unit of rank cost, summed over all matrices?",
        "One unit costs the sum of (rows + columns) over the matrices. Then treat each matrix on "
        "its own: the update is after minus before.",
        "`r = budget // cost`, with the cost of one unit. For each name put "
        "`before[name] + truncate(after[name] - before[name], r)` into a new dict.",
    ),
    slips=BUDGET,
    other="Every matrix must be before + the rank-r truncation of (after - before), with the r "
    "that you returned.",
    make=make_budget,
    probe=probe_budget,
    judge=judge_budget,
)

EXERCISES = (break_even, nearest, energy_rank, factors, budget)
