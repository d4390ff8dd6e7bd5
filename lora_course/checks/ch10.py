"""Checks of chapter 10: blockwise absmax, the code book, packing, double quantization, bits."""

from statistics import NormalDist

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.guard import described
from lora_course.checks.slips import Promise, Slip, in_parts, judged
from lora_course.checks.values import Refused, array, close, text, words
from lora_course.checks.wording import shape

NOTHING = np.zeros(0, np.uint8)  # the words of an error that did not come


# What several checks share
def cases_of(names, call, prefix=""):
    """The arrays of call(name) for each case; an error in one case leaves the others."""
    made = {}
    for name in names:
        try:
            made |= {**call(name), f"stop_{prefix}{name}": NOTHING}
        except (NotImplementedError, Refused):
            raise
        except Exception as error:
            made[f"stop_{prefix}{name}"] = text(described(error)[1])
    return made


def ran(name, case):
    """The promise that a case ran to its end."""
    return Promise(f"stop_{name}", lambda v: v.size == 0, expected="no error",
                   seen=lambda v: f"{case} {words(v)}")  # fmt: skip


def stopped(value):
    return value.size > 0


def same(right, where=None, atol=1e-3):
    """The condition that an array equals `right`, at least at the places `where`."""
    where = np.ones(right.shape, bool) if where is None else where

    def condition(v):
        with np.errstate(invalid="ignore"):
            return v.shape == right.shape and bool(np.all(np.abs(v - right)[where] < atol))

    return condition


def flat(right, rtol=1e-4):
    """The condition that an array has these values in another shape."""
    return lambda v: v.shape != right.shape and close(v.ravel(), right.ravel(), rtol)


# 10.1 Blockwise absmax
BLOCKS = ("even", "rest", "one")  # full blocks; a short one at the end; one short block


def make_blockwise(seed):
    rng, made = np.random.default_rng(seed + 1000), {}
    for name in BLOCKS:
        size = int(rng.choice([6, 7, 9]))
        n = {"even": 3 * size, "rest": 4 * size - int(rng.integers(4, size - 1)), "one": 5}[name]
        powers = [*rng.permutation([0, 1, 2]), -1]  # the block that may be short is the smallest
        if powers[0] == 2:  # and the first one not the largest
            powers[0], powers[1] = powers[1], powers[0]
        scale = np.repeat(10.0 ** np.array(powers), size)[:n]
        x = (rng.uniform(0.05, 0.9, n) * rng.choice([-1, 1], n) * scale).astype(np.float32)
        for start in range(0, n, size):  # the largest magnitude; in the first block negative
            at = start + rng.integers(min(size, n - start))
            x[at] = 1.05 * np.abs(x[start : start + size]).max() * rng.choice([-1, 1])
            x[at] = -abs(x[at]) if start == 0 else x[at]
        made |= {f"x_{name}": x, f"size_{name}": size}
        made[f"codes_{name}"] = rng.integers(-127, 128, n).astype(np.int8)
        made[f"absmax_{name}"] = rng.uniform(0.5, 3, -(-n // size)).astype(np.float32)
    return made


def rows_of(i, name):
    """x with one block in each row, zeros after the last number."""
    x, size = i[f"x_{name}"].astype(float), int(i[f"size_{name}"])
    return np.pad(x, (0, -len(x) % size)).reshape(-1, size)


def filled_in_front(i):
    """The largest magnitudes of the blocks when the zeros come before the first number."""
    rows = rows_of(i, "rest")
    moved = np.roll(rows.ravel(), rows.size - len(i["x_rest"]))
    return np.abs(moved.reshape(rows.shape)).max(axis=1)


def exact_codes(i, name):
    """The codes before they are rounded."""
    rows = rows_of(i, name)
    return (127 * rows / np.abs(rows).max(axis=1, keepdims=True)).ravel()[: len(i[f"x_{name}"])]


def probe_blockwise(namespace, a):
    own = {}

    def there(name):
        x = tensor(a[f"x_{name}"])
        before = callers.Before(x)
        made = namespace["quantize_int8"](x, a[f"size_{name}"].item())
        codes, absmax = fixtures.several(made, ("codes", "absmax"), "quantize_int8")
        own[name] = tensor(codes), tensor(absmax)
        made = {f"scales_{name}": absmax, f"ints_{name}": codes, f"left_{name}": before.change()}
        if codes.shape != x.shape or absmax.shape != a[f"absmax_{name}"].shape:
            own.pop(name)
        return made

    def back(name):
        codes, absmax = tensor(a[f"codes_{name}"]), tensor(a[f"absmax_{name}"])
        size, said = a[f"size_{name}"].item(), "what dequantize_int8 returns"
        before = callers.Before(codes, absmax)
        made = {f"back_{name}": array(namespace["dequantize_int8"](codes, absmax, size), said)}
        made[f"kept_{name}"] = before.change()
        if name in own:
            again = namespace["dequantize_int8"](*own[name], size)
            made[f"round_{name}"] = array(again, said)
        return made

    made = fixtures.attempt("quantize_int8", lambda: cases_of(BLOCKS, there))
    made |= fixtures.attempt("dequantize_int8", lambda: cases_of(BLOCKS, back, "back_"))
    return fixtures.unless_all_open(made, ("quantize_int8", "dequantize_int8"))


def judge_blockwise(i, o):
    there, back = [], []
    for name in BLOCKS:
        x, size = i[f"x_{name}"], int(i[f"size_{name}"])
        case, n, most = f"for {len(x)} numbers in blocks of {size}", len(x), largest(i, name)
        there += [
            ran(name, case),
            callers.unchanged(f"left_{name}", f"{case} x"),
            Promise(f"scales_{name}", most, f"{case} absmax", rtol=1e-6),
            Promise(f"ints_{name}", nearest_codes(i, name), expected=f"{n} codes, each the nearest "
                    "whole number", seen=codes_seen(i, name, case)),
            Promise(f"ints_{name}", nearest_codes(i, name), f"{case} codes", dtype="int8"),
        ]  # fmt: skip
        back += [ran(f"back_{name}", case),
                 callers.unchanged(f"kept_{name}", f"{case} codes or absmax"),
                 Promise(f"back_{name}", decoded(i, name), f"{case}, back again x")]  # fmt: skip
    first = judged(i, o, there, BLOCKWISE, "quantize_int8")
    if first.share == 1:
        back += [own_way_back(i, name) for name in BLOCKS]
    return in_parts(first, judged(i, o, back, BLOCKWISE, "dequantize_int8"))


def own_way_back(i, name):
    x, most, size = i[f"x_{name}"], largest(i, name), int(i[f"size_{name}"])
    step = np.repeat(most / 127, size)[: len(x)]
    return Promise(
        f"round_{name}",
        lambda v: v.shape == x.shape and bool((np.abs(v - x) <= 0.51 * step).all()),
        expected="x, up to half a step", seen=f"for {len(x)} numbers in blocks of {size} your own "
        "codes and scales do not come back as x",
    )  # fmt: skip


def largest(i, name):
    return np.abs(rows_of(i, name)).max(axis=1)


def decoded(i, name):
    scales = np.repeat(i[f"absmax_{name}"], int(i[f"size_{name}"]))
    return i[f"codes_{name}"] * scales[: len(i[f"codes_{name}"])].astype(float) / 127


def guessed(i, name, up):
    """The numbers that come back in blocks of codes / scales, rounded down or up."""
    n, scales = len(i[f"codes_{name}"]), i[f"absmax_{name}"]
    at = np.arange(n) // ((n + up * (len(scales) - 1)) // len(scales))
    return i[f"codes_{name}"] * scales[at.clip(max=len(scales) - 1)].astype(float) / 127


def nearest_codes(i, name):
    """The condition that each code is a whole number beside the exact one, on either side of a
    tie."""
    exact = exact_codes(i, name)
    return lambda v: (
        v.shape == exact.shape
        and bool(np.all(v == np.round(v)) and np.all(np.abs(v.astype(float) - exact) <= 0.501))
    )


def codes_seen(i, name, case):
    exact = exact_codes(i, name)

    def seen(v):
        if v.shape != exact.shape:
            return f"{case} codes: {shape(v)}"
        far = ~(np.abs(v.astype(float) - exact) <= 0.501)
        whole = np.abs(v - np.round(v)) < 1e-3  # by eye
        at = int(np.argmax(2 * (far | ~whole) + (v != np.round(v))))
        return f"{case} codes[{at}] is {v[at]:.6g}, where 127 x / absmax is {exact[at]:.6g}"

    return seen


def in_blocks(i, key, value):
    """{key_case: value(case)}."""
    return {f"{key}_{name}": value(name) for name in BLOCKS}


def measures(rows):
    """Sizes of the rows that are not the largest magnitude."""
    size, span = np.abs(rows), np.ptp(rows, axis=1)
    return [size.mean(axis=1), rows.std(axis=1), rows.std(axis=1, ddof=1), span, span / 2,
            np.median(size, axis=1), size.sum(axis=1), np.sqrt((rows**2).sum(axis=1)),
            np.sqrt((rows**2).mean(axis=1)), size.min(axis=1)]  # fmt: skip


def codes_by(i, *rules, c=1.0):
    """Alternatives: the codes are rule(c * the exact ones), but for those that lie on a whole
    number, which may go either way."""

    def one(rule):
        def value(name):
            exact = c * exact_codes(i, name)
            return same(rule(exact), np.abs(exact - np.round(exact)) > 1e-3)

        return in_blocks(i, "ints", value)

    return [one(rule) for rule in rules]


BLOCKWISE = (
    Slip("one_scale", "There is one scale for all blocks. Take the largest magnitude of each row: "
         "amax(dim=1).",
         lambda i: {f"scales_{n}": lambda v: v.size == 1 or v.size > 1 and np.ptp(v) == 0
                    for n in ("even", "rest")}),
    Slip("places", "These are the places of the largest. `.max(dim=1)` gives values and indices: "
         "take `.values`, or amax(dim=1).",
         lambda i: in_blocks(i, "scales", lambda n: np.abs(rows_of(i, n)).argmax(axis=1))),
    Slip("running", "This is the largest magnitude so far, over all blocks up to this one. Begin "
         "anew with each block.",
         lambda i: in_blocks(i, "scales", lambda n: np.maximum.accumulate(largest(i, n)))),
    Slip("column", "The values are right, with an axis too many: amax(dim=1) without keepdim gives "
         "(blocks,). A column spreads out where it meets a row.",
         lambda i: in_blocks(i, "scales", lambda n: flat(largest(i, n)))),
    Slip("signed", "The scale is the largest number, not the largest magnitude. Take .abs() before "
         "the maximum.",
         lambda i: [in_blocks(i, "scales", lambda n, pad=pad: np.where(
             rows_of(i, n) == 0, pad, rows_of(i, n)).max(axis=1)) for pad in (0, -np.inf)]),
    Slip("step", "The scale is divided by 127 already. Return the largest magnitude itself.",
         lambda i: in_blocks(i, "scales", lambda n: largest(i, n) / 127)),
    Slip("inverse", "The scale is upside down. Return the largest magnitude of the block.",
         lambda i: [in_blocks(i, "scales", lambda n, c=c: c / largest(i, n)) for c in (1, 127)]),
    Slip("across", "The blocks run across. Neighbours share a block: view(-1, block_size), one "
         "block in a row.",
         lambda i: [{"scales_even": lambda v: v.shape == (int(i["size_even"]),)},
                    {"scales_even": np.abs(i["x_even"].reshape(-1, 3)).max(axis=0)}]),
    Slip("in_front", "The filling stands in front, so that all blocks have moved. It belongs "
         "behind the last number: F.pad(x, (0, ...)).",
         lambda i: {"scales_rest": filled_in_front(i)}),
    Slip("filled", "The last block was filled up with something larger than its own numbers. "
         "Fill up with zeros: they change no largest magnitude.",
         lambda i: {"scales_rest": lambda v: v.shape == largest(i, "rest").shape and close(
             v[:-1], largest(i, "rest")[:-1]) and v[-1] > 1.01 * largest(i, "rest")[-1]
             and not close(v, filled_in_front(i))}),
    Slip("block_more", "Where the block size divides the length, nothing is missing: "
         "-len(x) % block_size.", lambda i: {"scales_even": lambda v: v.shape == (4,)}),
    Slip("last_lost", "The last block is shorter and has a scale as well.",
         lambda i: {"scales_rest": largest(i, "rest")[:-1]}),
    Slip("measure", "That is another measure of a block's size, such as a mean, a norm or half of "
         "its range. Its scale is the largest magnitude, so that 0 gets the code 0.",
         lambda i: [{"scales_even": size} for size in measures(rows_of(i, "even"))]),
    Slip("few_digits", "absmax was rounded, or kept in a type with few digits. Leave it in "
         "float32.", lambda i: in_blocks(i, "scales", lambda n: lambda v: close(
             v, largest(i, n), 1e-2))),
    Slip("swapped", "The order is: first the codes, then absmax.",
         lambda i: in_blocks(i, "ints", lambda n: largest(i, n))
         | in_blocks(i, "scales", lambda n: nearest_codes(i, n))),
    Slip("rest", "It works where the block size divides the length. Fill the last block up with "
         "zeros before view, and cut the codes afterwards.",
         lambda i: {"ints_even": nearest_codes(i, "even"), "stop_rest": stopped}),
    Slip("padded", "The zeros that filled up the last block are still in. Cut them off with [:n].",
         lambda i: [{f"{key}_{n}": lambda v, n=n: v.size == rows_of(i, n).size for n in BLOCKS}
                    | {f"{key}_even": lambda v: v.shape == i["x_even"].shape}
                    for key in ("ints", "back")]),
    Slip("not_flat", "The codes still lie in rows. Flatten them: one axis, as in x.",
         lambda i: {"ints_even": lambda v: v.shape == rows_of(i, "even").shape}),
    Slip("no_127_there", "x / absmax lies from -1 to 1. The codes run to 127: multiply by it.",
         lambda i: codes_by(i, np.round, c=1 / 127) + codes_by(i, np.round, c=1 / 127**2)),
    Slip("one_for_codes", "absmax is right, but the codes were made with one scale for all blocks.",
         lambda i: in_blocks(i, "ints", lambda n: same(np.round(
             127 * i[f"x_{n}"].astype(float) / largest(i, n).max()), atol=1.1))),
    Slip("truncated", "Not rounded to the nearest: .to(torch.int8), floor and ceil go one way, "
         "also after 0.5 was added. Call .round() first.",
         lambda i: codes_by(i, np.trunc, np.floor, np.ceil, lambda e: np.trunc(e + 0.5))),
    Slip("clipped", "The largest codes were cut off. 127 x / absmax stays between -127 and 127 by "
         "itself.", lambda i: {"ints_even": lambda v: 1 < np.abs(v).max() < 127 and same(
             np.clip(exact_codes(i, "even"), -np.abs(v).max(), np.abs(v).max()), atol=0.51)(v)}),
    Slip("factor", "The codes are right up to a factor: the largest magnitude of each block gets "
         "127 or -127.", lambda i: {"ints_even": lambda v: abs(np.abs(v).max() - 127) > 1.5
                                    and np.abs(v).max() > 1 and same(exact_codes(
                                        i, "even") * (np.abs(v).max() / 127), atol=1)(v)}),
    Slip("not_rounded", "The codes are not whole numbers. Round them and turn them into int8.",
         lambda i: codes_by(i, np.asarray)),
    Slip("top", "127 is the largest code. (What is larger does not fit into int8, which goes on "
         "at -128.)",
         lambda i: codes_by(i, np.round, c=128 / 127) + [values for c in (128, 254, 255, 256)
                    for values in codes_by(i, lambda e: (np.round(e) + 128) % 256 - 128,
                                           c=c / 127)]),
    Slip("unsigned", "Negative codes are lost: torch.uint8 has no minus. Use torch.int8.",
         lambda i: codes_by(i, lambda e: np.round(e) % 256, lambda e: np.clip(np.round(e), 0, 255),
                            lambda e: np.trunc(e) % 256)),
    Slip("no_sign", "The codes have lost their sign: .abs() is for the scale alone.",
         lambda i: codes_by(i, lambda e: np.abs(np.round(e)))),
    Slip("offset", "The codes are shifted. Zero must get the code 0, without an offset.",
         lambda i: codes_by(i, lambda e: np.round(e) + 127, lambda e: np.round(e) + 128)),
    Slip("wide", "The codes have the right values in another type. torch.int8 takes one byte for "
         "each: .to(torch.int8).", lambda i: in_blocks(i, "ints", lambda n: nearest_codes(i, n))),
    Slip("no_127", "127 times too large. A code counts steps of absmax / 127.",
         lambda i: in_blocks(i, "back", lambda n: 127 * decoded(i, n))),
    Slip("no_128", "127 is the largest code, on the way back as well: absmax / 127, not / 128.",
         lambda i: in_blocks(i, "back", lambda n: decoded(i, n) * 127 / 128)),
    Slip("one_scale_back", "The way back takes one scale for all blocks. Each code needs that of "
         "its block: repeat_interleave.",
         lambda i: [{"back_even": i["codes_even"] * s / 127} for s in (
             *i["absmax_even"], i["absmax_even"].mean())]),
    Slip("back_rounded", "What comes back was rounded to whole numbers.",
         lambda i: in_blocks(i, "back", lambda n: same(decoded(i, n).round(), atol=0.01))),
    Slip("divided", "The way back divides by the scale. Multiply: code * absmax / 127.",
         lambda i: [{"back_even": c * i["codes_even"] / np.repeat(i["absmax_even"], int(
             i["size_even"]))} for c in (1 / 127, 1, 127)]),
    Slip("no_scale", "The way back forgets the scale of the block. Multiply by absmax.",
         lambda i: in_blocks(i, "back", lambda n: i[f"codes_{n}"] / 127)),
    Slip("repeat", "`repeat` writes the whole list again and again. Each scale is needed "
         "block_size times in a row: repeat_interleave.",
         lambda i: {"back_even": i["codes_even"] / 127
                    * np.tile(i["absmax_even"], int(i["size_even"]))}),
    Slip("size_guessed", "The block size was worked out from the numbers of codes and scales, and "
         "the last block may be shorter than the others. `block_size` is given.",
         lambda i: [in_blocks(i, "back", lambda n, up=up: guessed(i, n, up)) for up in (0, 1)]),
    Slip("back_rest", "It works where the block size divides the length. Cut the repeated scales "
         "to the number of codes.",
         lambda i: {"back_even": decoded(i, "even"), "stop_back_rest": stopped}),
)  # fmt: skip

blockwise = Check(
    name="blockwise", title="Blockwise absmax", wants=("quantize_int8", "dequantize_int8"),
    difficulty=2, minutes=12, points=20,
    verified="scales, codes and the way back, also of your own codes; a last block that is not "
    "full",
    hints=(
        "Make a table with one block in each row. How can a last row that is too short be filled "
        "up without changing the largest magnitude?",
        "`F.pad(x, (0, -len(x) % block_size)).view(-1, block_size)` gives the rows. Then "
        "`.abs().amax(dim=1)`, and `[:, None]` to divide each row by its own number. For the way "
        "back, `repeat_interleave` gives each code its scale.",
        "`codes = (127 * rows / absmax[:, None]).round()`, then `.flatten()[: len(x)]` and "
        "`.to(torch.int8)`. Back: `codes * absmax.repeat_interleave(block_size)[: len(codes)] / "
        "127`.",
    ),
    slips=BLOCKWISE, other="Check the three steps one by one on a few numbers: scale of each "
    "block, codes, and back.",
    make=make_blockwise, probe=probe_blockwise, judge=judge_blockwise,
)  # fmt: skip


# 10.2 The NF4 code book
def make_code(seed):
    rng = np.random.default_rng(seed + 1020)
    return {"bits": rng.permutation([2, 4, *rng.permutation([3, 5, 6])[:2]])}


def probe_code(namespace, a):
    return {
        f"levels_{bits}": array(namespace["normal_code"](bits), "the code book")
        for bits in a["bits"].tolist()
    }


def quantiles(start, stop, steps):
    """Normal quantiles at even steps of probability, ends included; torch's, not statistics'."""
    import torch

    p = torch.linspace(float(start), float(stop), steps, dtype=torch.float64)
    return torch.special.ndtri(p).numpy()


def end_of(n):
    return 1 - (1 / (n - 1) + 1 / n) / 4


def halves(n, end=None, rule=quantiles):
    """The levels 0 and two halves around it, not divided yet."""
    end = end_of(n) if end is None else end
    down = -rule(end, 0.5, n // 2)[:-1]
    return np.concatenate([down, [0.0], rule(end, 0.5, n // 2 + 1)[:-1][::-1]])


def book(n, end=None):
    levels = halves(n, end)
    return levels / levels.max()


def judge_code(i, o):
    promises = []
    for bits in sorted(i["bits"].tolist()):
        n, key, case = 2**bits, f"levels_{bits}", f"for bits = {bits}"
        promises.append(Promise(key, lambda v, n=n: v.shape == (n,), seen=lambda v, case=case:
                                f"{case} levels: {shape(v)}", expected=f"{n} numbers"))  # fmt: skip
        promises.append(Promise(key, book(n), f"{case} levels", atol=1e-5))
    return judged(i, o, promises, CODE)


def books(i, *values):
    """Alternatives: the levels by value(n) for every number of bits."""

    def one(value):
        return {f"levels_{b}": value(2**b) for b in i["bits"].tolist()}

    return [one(value) for value in values]


def positive(n):
    """The positive half, from the largest on, not divided yet."""
    return quantiles(end_of(n), 0.5, n // 2 + 1)[:-1]


def scaled(levels):
    return levels / levels.max()


def twice(v):
    return v.ndim == 1 and len(np.unique(np.round(v, 6))) < len(v)


def normal_cdf(*steps):
    return np.array([NormalDist().cdf(p) for p in np.linspace(*steps)])


def some_end(n):
    """The condition that the levels are right for another end than that of the task."""
    ends = 1 - np.geomspace(0.4, 1e-6, 24)  # the larger the end, the nearer to 0 a level

    def condition(v):
        if v.shape != (n,) or not np.isfinite(v).all():
            return False
        if close(v, book(n), 1e-4, 1e-5):
            return n != 16  # or else the end is that of 4 bits
        low, high = ends[0], ends[-1]
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if book(n, middle)[-2] < v[-2] else (middle, high)
        return close(v, book(n, low), 1e-4, 1e-4)

    return condition


def no_zero(n):
    """One even row of probabilities, through both halves."""
    return scaled(quantiles(1 - end_of(n), end_of(n), n))


CODE = (
    Slip("table", "The answer is the same for every number of bits. All of it depends on n.",
         lambda i: books(i, lambda n: book(16))),
    Slip("constant_end", "For 4 bits it is right, so the end is the chapter's number. It depends "
         "on n: compute it.", lambda i: books(i, lambda n: book(n, end_of(16)))),
    Slip("infinite", "The quantile of probability 1 is infinite. Stop at the end that the task "
         "gives, short of 1.",
         lambda i: books(i, lambda n: lambda v: v.size > 0 and not np.isfinite(v).all())),
    Slip("zero_twice", "A level occurs twice: a half brings a zero of its own. Leave 1/2 out of "
         "both, and add 0 once.",
         lambda i: books(i, lambda n: lambda v: v.size > n and twice(v))),
    Slip("no_zero_between", "The 0 between the halves is missing.",
         lambda i: books(i, lambda n: np.delete(book(n), n // 2 - 1))),
    Slip("lengths", "A half has another length: the positive one has n / 2 levels, from n / 2 + 1 "
         "probabilities, and the negative one n / 2 - 1, from n / 2.",
         lambda i: books(i, lambda n: lambda v: v.ndim == 1 and len(v) - n in (-2, -1, 1)
                         and not twice(v) and 0 in v)),
    Slip("mirrored", "The negative half is no mirror image of the positive one: it has one level "
         "less, and its probabilities are spaced anew, n / 2 from the end to 1/2.",
         lambda i: books(i, *(lambda n, k=k: scaled(np.concatenate(
             [-np.delete(positive(n), k), [0.0], positive(n)[::-1]])) for k in (0, -1)))),
    Slip("no_end", "1/2 is in: of the evenly spaced probabilities, one more than there are levels, "
         "leave out the last, 1/2, not the first.",
         lambda i: books(i, lambda n: lambda v: v.shape == (n,) and np.isfinite(v).all()
                         and (v == 0).sum() > 1)),
    Slip("one_row", "These are quantiles of one even row of probabilities. Build two halves, each "
         "from the end to 1/2.", lambda i: books(i, lambda n: (
             lambda q: q / np.abs(q).max())(quantiles(0.5 / n, 1 - 0.5 / n, n)))),
    Slip("no_minus", "The negative half has lost its minus.",
         lambda i: books(i, lambda n: lambda v: v.shape == (n,) and (v >= 0).all() and close(
             np.sort(v), np.sort(np.abs(book(n))), 1e-4, 1e-5))),
    Slip("two_bits", "2**bits levels, not 2 * bits.",
         lambda i: books(i, lambda n: lambda v: v.shape == (2 * int(np.log2(n)),))),
    Slip("one_bit_more", "2**bits levels, not 2**(bits + 1).", lambda i: books(
        i, lambda n: book(2 * n))),
    Slip("order", "The levels are right, in another order. Sort them from -1 to 1.",
         lambda i: books(i, lambda n: lambda v: v.ndim == 1 and close(np.sort(v), book(n), 1e-4,
                                                                      1e-5))),
    Slip("not_divided", "The levels are right up to a factor. Divide by the largest, "
         "`levels.max()`, so that they end at 1.",
         lambda i: books(i, lambda n: lambda v: v.shape == (n,) and abs(v.max() - 1) > 1e-3
                         and close(v / v.max(), book(n), 1e-4, 1e-5),
                         lambda n: -book(n), lambda n: halves(n).clip(-1, 1))),
    Slip("rounded", "The levels are right, but rounded: to a few decimals, or in a type with few "
         "digits. Return them in float32.",
         lambda i: books(i, lambda n: lambda v: v.shape == (n,) and close(v, book(n), 0, 6e-3))),
    Slip("no_quantiles", "These are no quantiles: `inv_cdf(p)` turns each probability into one. "
         "(`cdf` goes the other way.)",
         lambda i: books(i, *(lambda n, rule=rule: scaled(halves(n, rule=rule))
                              for rule in (np.linspace, normal_cdf)))),
    Slip("even", "These levels are evenly spaced. Take quantiles: crowded in the middle, far apart "
         "at the ends.",
         lambda i: books(i, lambda n: np.linspace(-1, 1, n),
                         lambda n: np.linspace(-n / 2, n / 2 - 1, n) / (n / 2))),
    Slip("no_zero", "There is no exact zero. One even row of probabilities misses 1/2; build two "
         "halves around the zero.", lambda i: books(i, no_zero)),
    Slip("sides", "The negative half has the extra level. Give n / 2 levels to the positive one.",
         lambda i: books(i, lambda n: -book(n)[::-1])),
    Slip("end", "The halves end at another probability. Look at the formula for the end again.",
         lambda i: books(i, some_end)),
)  # fmt: skip

code_book = Check(
    name="code_book", title="The NF4 code book", wants=("normal_code",),
    difficulty=3, minutes=12, points=20,
    verified="4 bits and three other sizes, against quantiles from torch.special",
    hints=(
        "Two halves that share the zero. Which half has one level more?",
        "`torch.linspace(end, 0.5, n // 2 + 1)` has n / 2 + 1 probabilities; the last one is 1/2, "
        "whose quantile is 0. Leave it out and put one 0 between the halves.",
        "`positive = [inv_cdf(p) for p in torch.linspace(end, 0.5, n // 2 + 1)[:-1].tolist()]`, "
        "the negative half with `n // 2` and a minus. Join negative, 0.0 and reversed(positive), "
        "divide by the largest.",
    ),
    slips=CODE, other="Write the four levels for bits = 2 by hand: end = 0.8542, one level below "
    "zero, two above.",
    make=make_code, probe=probe_code, judge=judge_code,
)  # fmt: skip


# 10.3 Pack and unpack
LENGTHS = ("even", "odd", "more")


def make_packing(seed):
    rng, made = np.random.default_rng(seed + 1040), {}
    lengths = {"even": rng.choice([6, 10, 14]), "odd": rng.choice([7, 11]), "more": 9}
    for name, n in lengths.items():
        codes = rng.integers(0, 16, n)
        codes[:4] = rng.permutation([3, 9, 14, 6])  # no two ways give the same bytes
        if max(codes[1], codes[3]) < 8:  # a low half with all four bits
            codes[:2] = codes[1::-1]
        codes[-1] = rng.integers(1, 16)
        if name == "even":  # shifted by 4 and more it still leaves a bit
            codes[-2:] = rng.choice([1, 5, 7, 11]), rng.integers(1, 4)
        made[f"codes_{name}"] = codes.astype(np.uint8)
        made[f"any_{name}"] = rng.integers(1, 16)  # in the low half that nobody needs
    return made


def bytes_of(i, name, last=0):
    """The right bytes, with this code after an odd number of them."""
    codes = i[f"codes_{name}"]
    codes = np.concatenate([codes, np.full(len(codes) % 2, last, np.uint8)])
    return codes[0::2] * 16 + codes[1::2]


def probe_packing(namespace, a):
    def pack(name):
        codes = tensor(a[f"codes_{name}"])
        before = callers.Before(codes)
        packed = array(namespace["pack"](codes), "what pack returns")
        return {f"packed_{name}": packed, f"left_{name}": before.change()}

    def unpack(name):
        packed = tensor(bytes_of(a, name, int(a[f"any_{name}"])))
        before = callers.Before(packed)
        codes = array(namespace["unpack"](packed, len(a[f"codes_{name}"])), "what unpack returns")
        return {f"unpacked_{name}": codes, f"kept_{name}": before.change()}

    made = fixtures.attempt("pack", lambda: cases_of(LENGTHS, pack))
    made |= fixtures.attempt("unpack", lambda: cases_of(LENGTHS, unpack, "back_"))
    return fixtures.unless_all_open(made, ("pack", "unpack"))


def cleared(v, n):
    """Bytes without the low half that an odd number of codes leaves open."""
    if n % 2 and v.dtype.kind in "iuf" and v.shape == ((n + 1) // 2,):
        v = np.concatenate([v[:-1], v[-1:] - v[-1:] % 16])
    return v


def judge_packing(i, o):
    o, pack, unpack = dict(o), [], []
    for name in LENGTHS:
        codes, key = i[f"codes_{name}"], f"packed_{name}"
        case, n = f"for {len(codes)} codes", len(codes)
        if key in o:
            o[key] = cleared(o[key], len(codes))
        odd = ", with 0 in the last low half," if n % 2 else ""
        pack += [
            ran(name, case),
            callers.unchanged(f"left_{name}", f"{case}, what pack was given"),
            Promise(key, bytes_of(i, name), f"for the codes {codes.tolist()}{odd} packed",
                    atol=0),
            Promise(key, bytes_of(i, name), f"{case} packed", dtype="uint8"),
        ]  # fmt: skip
        unpack += [
            ran(f"back_{name}", case),
            callers.unchanged(f"kept_{name}", f"{case}, what unpack was given"),
            Promise(f"unpacked_{name}", lambda v, n=n: v.shape == (n,), expected=f"{n} numbers",
                    seen=lambda v, case=case: f"{case} unpack gives {shape(v)}"),
            Promise(f"unpacked_{name}", codes, f"{case} unpacked", atol=0),
            Promise(f"unpacked_{name}", codes, f"{case} unpacked", dtype="uint8"),
        ]  # fmt: skip
    return in_parts(judged(i, o, pack, PACKING, "pack"), judged(i, o, unpack, PACKING, "unpack"))


def packings(i, *rules, names=LENGTHS):
    """Alternatives: bytes by rule(high, low), the codes in pairs."""

    def one(rule):
        made = {}
        for name in names:
            codes = i[f"codes_{name}"].astype(int)
            pairs = np.pad(codes, (0, len(codes) % 2))
            made[f"packed_{name}"] = cleared(rule(pairs), len(codes))
        return made

    return [one(rule) for rule in rules]


def unpackings(i, *rules):
    """Alternatives: codes by rule(bytes), cut to their number."""

    def one(rule):
        made = {}
        for name in LENGTHS:
            packed = bytes_of(i, name, int(i[f"any_{name}"])).astype(int)
            made[f"unpacked_{name}"] = rule(packed)[: len(i[f"codes_{name}"])]
        return made

    return [one(rule) for rule in rules]


def woven(a, b):
    return np.stack([a, b], axis=1).ravel()


def one_side(i, name, v, side):
    """Whether the high halves (side 0) are right and the low ones are not, or the reverse."""
    codes = i[f"codes_{name}"]
    return v.shape == codes.shape and np.array_equal(v[side::2], codes[side::2]) and not (
        np.array_equal(v[1 - side :: 2], codes[1 - side :: 2]))  # fmt: skip


def first_half(pairs):
    return pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]


PACKING = (
    Slip("low_first", "The two halves are swapped. The first code belongs into the high half: "
         "shift it by 4.",
         lambda i: packings(i, lambda p: p[1::2] * 16 + p[0::2], names=("even",))),
    Slip("halves", "Codes that are far apart share a byte. Neighbours must: codes[0::2] with "
         "codes[1::2].",
         lambda i: packings(i, lambda p: first_half(p)[0] * 16 + first_half(p)[1],
                            lambda p: first_half(p)[1] * 16 + first_half(p)[0], names=("even",))),
    Slip("no_shift", "Both codes lie in the same four bits. Shift the first one: << 4.",
         lambda i: packings(i, lambda p: p[0::2] + p[1::2], lambda p: p[0::2] | p[1::2],
                            names=("even",))),
    Slip("no_sixteen", "The high half counts sixteens: shift the first code by 4, or multiply it "
         "by 16.", lambda i: packings(i, *(lambda p, c=c: (p[0::2] * c + p[1::2]) % 256
                                          for c in (2, 8, 10, 15, 32, 64, 100)),
                                      lambda p: p[0::2] * 8 | p[1::2], names=("even",))),
    Slip("and", "`&` keeps the bits that both have, and the two halves share none. Use `|` or `+`.",
         lambda i: packings(i, lambda p: 0 * p[0::2], names=("even",))),
    Slip("plus_first", "`+` goes before `<<`: put brackets around the shift, or use `|`.",
         lambda i: packings(i, lambda p: (p[0::2] << 4 + p[1::2]) % 256, names=("even",))),
    Slip("in_front", "The code that is added stands in front. It belongs behind the last one.",
         lambda i: {"packed_even": bytes_of(i, "even"), **{f"packed_{n}": cleared(
             np.append(0, i[f"codes_{n}"])[0::2] * 16 + np.append(0, i[f"codes_{n}"])[1::2],
             len(i[f"codes_{n}"])) for n in LENGTHS if len(i[f"codes_{n}"]) % 2}}),
    Slip("one_lost", "Only one code of each pair is in its byte: the other one was shifted out, or "
         "left out.", lambda i: packings(i, lambda p: p[0::2], lambda p: p[1::2],
                                         lambda p: 16 * p[0::2], names=("even",))),
    Slip("not_packed", "There are too many bytes. Two codes must share one byte, and no code lies "
         "in two.", lambda i: {"packed_even": lambda v: v.shape in [
             (len(i["codes_even"]) - k,) for k in (0, 1)]}),
    Slip("odd", "With an odd number of codes the last one is lost, or lies in the low half. Add "
         "one code at the end before you pair them.",
         lambda i: [{"packed_even": bytes_of(i, "even"), "packed_odd": bytes_of(i, "odd")[:-1]},
                    {"packed_even": bytes_of(i, "even"), "packed_odd":
                     np.concatenate([bytes_of(i, "odd")[:-1], [0]])}]),
    Slip("odd_stops", "An even number of codes works. With an odd one, codes[0::2] is one longer "
         "than codes[1::2]: add one code first.",
         lambda i: {"packed_even": bytes_of(i, "even"), "stop_odd": stopped}),
    Slip("byte_more", "There is a byte too many: add one code only where their number is odd.",
         lambda i: [{"packed_even": lambda v: v.size == len(bytes_of(i, "even")) + 1},
                    {"packed_odd": lambda v: v.size == len(bytes_of(i, "odd")) + 1}]),
    Slip("wide", "The values are right in another type. torch.uint8 takes one byte for each, "
         "and holds 0 to 255; int8 ends at 127.",
         lambda i: [{f"packed_{n}": bytes_of(i, n) for n in LENGTHS},
                    {f"unpacked_{n}": i[f"codes_{n}"] for n in LENGTHS}]),
    Slip("signed", "These bytes are int8, which ends at 127: from 128 on they turn negative. Use "
         "torch.uint8.",
         lambda i: packings(i, lambda p: (p[0::2] * 16 + p[1::2] + 128) % 256 - 128)),
    Slip("extra", "With an odd number of codes unpack gives one too many. Cut the result to n.",
         lambda i: {f"unpacked_{n}": lambda v, n=n: v.shape == (2 * len(bytes_of(i, n)),)
                    for n in LENGTHS}),
    Slip("unpack_swapped", "Each pair comes in the wrong order. The high half is the first.",
         lambda i: unpackings(i, lambda p: woven(p & 15, p >> 4))),
    Slip("unpack_apart", "All high halves come first, then all low ones. Stack them as two "
         "columns, then flatten.",
         lambda i: unpackings(i, lambda p: np.concatenate([p >> 4, p & 15]))),
    Slip("unpack_mask", "The low half still has the high one on top of it. Keep four bits: & 15.",
         lambda i: unpackings(i, lambda p: woven(p >> 4, p))),
    Slip("other_mask", "The low half is the rest after 16, the four lowest bits: & 15, or % 16.",
         lambda i: {f"unpacked_{n}": lambda v, n=n: one_side(i, n, v, 0) and not np.array_equal(
             v, unpackings(i, lambda p: woven(p >> 4, p))[0][f"unpacked_{n}"]) for n in LENGTHS}),
    Slip("one_each", "unpack gives one code for each byte. There are two in it.",
         lambda i: {"unpacked_even": lambda v: v.shape == bytes_of(i, "even").shape}),
    Slip("last_n", "The last n codes were taken. What is too much stands at the end: [:n].",
         lambda i: {f"unpacked_{n}": lambda v, n=n: np.array_equal(
             v, woven(*divmod(bytes_of(i, n, int(i[f"any_{n}"])), 16))[-len(i[f"codes_{n}"]):])
             for n in LENGTHS}),
    Slip("fraction", "`/` keeps the fraction. Shift, or divide by `//`.",
         lambda i: unpackings(i, lambda p: woven(p / 16, p & 15))),
    Slip("unpack_shift", "The low halves are right, the high ones are not: shift them down by 4, "
         "packed >> 4.", lambda i: {f"unpacked_{n}": lambda v, n=n: one_side(i, n, v, 1) and bool(
             np.all(v == np.round(v))) for n in LENGTHS}),
)  # fmt: skip

packing = Check(
    name="packing", title="Pack and unpack", wants=("pack", "unpack"),
    difficulty=2, minutes=10, points=20,
    verified="bytes and codes, even and odd lengths, uint8",
    hints=(
        "`codes[0::2]` are the first, third, fifth codes. What turns 5 into 5 · 16?",
        "`a << 4` shifts a into the high half, `|` joins it with the low half. Back: `>> 4` gives "
        "the high half, `& 15` the low one.",
        "`codes[0::2] << 4 | codes[1::2]`, after one zero was added to an odd length. Back: "
        "`torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]`.",
    ),
    slips=PACKING, other="Write 5 and 12 as one byte by hand: 0101 1100, which is 92.",
    make=make_packing, probe=probe_packing, judge=judge_packing,
)  # fmt: skip


# 10.4 Double quantization
def make_double(seed):
    rng = np.random.default_rng(seed + 1060)
    group, groups = int(rng.choice([6, 7, 8])), int(rng.choice([3, 4, 5]))
    levels = np.unique(np.concatenate([rng.uniform(-1, 1, 253), [-1.0, 0.0, 1.0]]))
    mean = np.repeat(rng.permutation([2.2, 2.6, 3.0, 3.4, 3.9])[:groups], group)
    absmax = mean + rng.uniform(-0.8, 0.8, group * groups)
    for start in range(0, len(absmax), 2 * group):  # in every second group one far below the mean
        absmax[start + rng.integers(group)] = mean[start] - 1.9
    middle = np.sort(absmax)[(len(absmax) - 1) // 2 :][:2] - absmax.mean()
    if np.abs(middle).min() < 0.05:  # the mean is no median
        absmax[::group] += np.where(np.arange(groups) % 2, 0.0, 0.4) + 0.2
    codes = rng.permutation(256)[: group * groups]
    codes[int(rng.integers(len(codes)))] = 255
    return {
        "absmax": absmax.astype(np.float32), "levels": levels.astype(np.float32), "group": group,
        "codes": codes.astype(np.uint8), "scales": rng.uniform(0.3, 0.9, groups).astype(np.float32),
        "offset": np.float32(rng.uniform(2, 3)),
    }  # fmt: skip


def probe_double(namespace, a):
    levels, group, own = tensor(a["levels"]), a["group"].item(), []

    def there():
        absmax = tensor(a["absmax"])
        before = callers.Before(absmax, levels)
        own.extend(namespace["double_quantize"](absmax, levels, group) or [None])
        what = ("codes", "scales", "offset")
        codes, scales, offset = fixtures.several(tuple(own), what, "double_quantize")
        return {"codes": codes, "scales": scales, "offset": offset, "left": before.change()}

    def way(codes, *given):
        back = namespace["double_dequantize"](codes, *given, levels, group)
        return array(back, "what double_dequantize returns")

    def back():
        codes, *given = (tensor(a[key]) for key in ("codes", "scales", "offset"))
        before = callers.Before(codes, *given)
        try:
            return {"stop": NOTHING, "back": way(codes, *given), "kept": before.change()}
        except (NotImplementedError, Refused):
            raise
        except Exception as error:
            made = {"stop": text(described(error)[1]), "back": NOTHING, "with_long": NOTHING}
        try:
            return {**made, "with_long": way(codes.long(), *given)}
        except Exception:
            return made

    made = fixtures.attempt("double_quantize", there)
    made |= fixtures.attempt("double_dequantize", back)
    right = "codes" in made and made["codes"].shape == a["absmax"].shape
    if right and made["scales"].shape == a["scales"].shape and "kept" in made:
        made |= fixtures.attempt("double_dequantize", lambda: {"round": way(*own)})
    return fixtures.unless_all_open(made, ("double_quantize", "double_dequantize"))


def rest_of(i):
    """What is left of the scales without their mean, one group in a row."""
    absmax = i["absmax"].astype(float)
    return (absmax - absmax.mean()).reshape(-1, int(i["group"]))


def centred(i):
    """The scales without the mean of their own group."""
    rows = i["absmax"].astype(float).reshape(rest_of(i).shape)
    return rows - rows.mean(axis=1, keepdims=True)


def divided(i):
    rest = rest_of(i)
    return (rest / np.abs(rest).max(axis=1, keepdims=True)).ravel()


CLOSE = 1e-3  # torch.cdist, too, is right: it computes distances to a few ten-thousandths


def nearest_levels(i):
    """The condition that each code is the number of a nearest level."""
    z, levels = divided(i), i["levels"].astype(float)
    best = np.abs(z[:, None] - levels).min(axis=1)

    def condition(v):
        whole = v.shape == z.shape and v.dtype.kind in "biuf" and bool(
            np.all(v == np.round(v)) and v.min() >= 0 and v.max() < len(levels))  # fmt: skip
        return whole and bool(np.all(np.abs(levels[v.astype(int)] - z) <= best + CLOSE))

    return condition


def codes_words(i):
    z, levels = divided(i), i["levels"].astype(float)
    right = np.abs(z[:, None] - levels).argmin(axis=1)

    def seen(v):
        if v.shape != z.shape:
            return f"codes: {shape(v)}, for {len(z)} scales"
        found = levels[np.nan_to_num(v).astype(int).clip(0, len(levels) - 1)]
        far = (v != right) & (np.abs(found - z) > np.abs(levels[right] - z) + CLOSE)
        at = int(np.argmax(far if far.any() else v != right))
        return f"codes[{at}] is {v[at]:.6g}, for the number {z[at]:.5g} after the division"

    return seen


def judge_double(i, o):
    rest, condition = rest_of(i), nearest_levels(i)
    offset = float(i["absmax"].astype(float).mean())
    there = [
        callers.unchanged("left", "absmax or levels"),
        Promise("offset", lambda v: v.size == 1 and close(v.reshape(()), offset),
                "the offset", expected=f"{offset:.5g}, the mean of all scales"),
        Promise("scales", np.abs(rest).max(axis=1), "scales", rtol=1e-4, atol=1e-5),
        Promise("codes", condition, seen=codes_words(i), expected="the number of the nearest "
                "level"),
        Promise("codes", condition, "codes", dtype="uint8"),
    ]  # fmt: skip
    back = [
        Promise("stop", lambda v: v.size == 0, seen=words, expected="no error"),
        callers.unchanged("kept", "codes, scales or offset"),
        Promise("back", decoded_scales(i), "back again, absmax"),
    ]
    first = judged(i, o, there, DOUBLE, "double_quantize")
    if first.share == 1:
        step = np.repeat(np.abs(rest).max(axis=1), rest.shape[1]) * np.diff(i["levels"]).max()
        back.append(Promise("round", lambda v: v.shape == step.shape and bool(
            np.all(np.abs(v - i["absmax"]) <= 0.51 * step + 1e-5)), expected="absmax, nearly",
            seen="your own codes, scales and offset do not come back as absmax"))  # fmt: skip
    return in_parts(first, judged(i, o, back, DOUBLE, "double_dequantize"))


def decoded_scales(i, codes=None, scale=1, offset=1):
    values = i["levels"][i["codes"]].astype(float) if codes is None else codes
    scales = np.repeat(i["scales"], int(i["group"])) if scale else 1
    return values * scales + offset * i["offset"]


def factors(i):
    """What else than 1 / its own scale a group may be multiplied by."""
    scales = np.abs(rest_of(i)).max(axis=1, keepdims=True)
    return (1, scales, 1 / scales.max(), 1 / scales.mean(), 1 / scales[0], 1 / scales[::-1])


def beside(i, side):
    """The condition that each code is the level on one side, where the number is on none."""
    z, levels = divided(i), i["levels"].astype(float)
    right = np.clip(np.searchsorted(levels, z) - side, 0, len(levels) - 1)
    return same(right, np.abs(z[:, None] - levels).min(axis=1) > 1e-5)


DOUBLE = (
    Slip("no_offset", "The scales are all positive: take their mean off first, or half of the "
         "levels is never used.", lambda i: {"offset": same(np.zeros(())), "scales": lambda v:
                                             not close(v, np.abs(rest_of(i)).max(axis=1))}),
    Slip("offset_not_returned", "The mean was taken off, but 0 is returned as the offset. Without "
         "the mean nobody finds the way back.", lambda i: {
             "offset": same(np.zeros(())), "scales": np.abs(rest_of(i)).max(axis=1)}),
    Slip("offset_per_group", "Each group has an offset of its own. One mean over all scales is "
         "stored once.", lambda i: {"offset": lambda v: close(
             v.ravel(), i["absmax"].reshape(rest_of(i).shape).mean(axis=1))}),
    Slip("exchanged", "The order is: codes, scales, offset.",
         lambda i: {"offset": np.abs(rest_of(i)).max(axis=1), "scales": lambda v: v.size == 1}),
    Slip("middle", "The offset is another middle, or an end. Take the mean of all scales.",
         lambda i: [{"offset": lambda v, m=m: v.size == 1 and close(v.reshape(()), m, 1e-5)}
                    for m in (i["absmax"].min(), np.median(i["absmax"]), i["absmax"].max(),
                              np.sort(i["absmax"])[(i["absmax"].size - 1) // 2],
                              (i["absmax"].min() + i["absmax"].max()) / 2)]),
    Slip("one_scale", "There is one scale for all groups. Take the largest magnitude of each row.",
         lambda i: {"scales": lambda v: v.size == 1 or v.size > 1 and np.ptp(v) == 0}),
    Slip("each_taken_off", "Each group's own mean was taken off. The offset is one number: the "
         "mean of all scales.", lambda i: {"scales": np.abs(centred(i)).max(axis=1)}),
    Slip("in_rows", "The codes still lie in groups. Flatten them: as many as there are scales.",
         lambda i: {"codes": lambda v: v.shape == rest_of(i).shape}),
    Slip("even_levels", "The codes are even steps from -1 to 1. Take the number of the nearest of "
         "`levels`.", lambda i: [{"codes": np.round(f(divided(i)))} for f in (
             lambda z: (z + 1) * 127.5, lambda z: z * 127, lambda z: (z + 1) * 127,
             lambda z: z * 127 + 128)]),
    Slip("factor", "The groups' scales are right up to a factor. A scale is the largest magnitude "
         "itself.", lambda i: {"scales": lambda v: v.shape == (len(rest_of(i)),) and (
             lambda q: np.ptp(q) < 1e-3 * abs(q[0]) and q[0] != 0)(
                 v / np.abs(rest_of(i)).max(axis=1))}),
    Slip("spread", "That is another measure of a group's size, such as a mean, a deviation or a "
         "range. Its scale is the largest magnitude.",
         lambda i: [{"scales": size} for size in measures(rest_of(i))]),
    Slip("axis", "argmin went along the numbers. For each number the nearest of the levels was "
         "asked for: dim=1.", lambda i: {"codes": lambda v: v.shape == i["levels"].shape}),
    Slip("one_scale_back", "The way back takes one scale for all groups. Each code needs that of "
         "its group: repeat_interleave.",
         lambda i: [{"back": i["levels"][i["codes"]] * s + i["offset"]} for s in (
             *i["scales"], i["scales"].mean())]),
    Slip("signed_codes", "int8 ends at 127, and there are 256 levels: from 128 on the codes turn "
         "negative. Use torch.uint8.", lambda i: {"codes": lambda v: bool(
             (v < 0).any()) and nearest_levels(i)(v.astype(int) % 256)}),
    Slip("column", "The values are right, with an axis too many: amax(dim=1) without keepdim.",
         lambda i: {"scales": flat(np.abs(rest_of(i)).max(axis=1))}),
    Slip("signed", "The group's scale is its largest number, not its largest magnitude. After the "
         "mean is off there are negative ones: .abs() first.",
         lambda i: {"scales": rest_of(i).max(axis=1)}),
    Slip("not_taken_off", "The offset is right, but it was not taken off before the groups' scales "
         "were computed: absmax - offset.",
         lambda i: [{"scales": i["absmax"].reshape(rest_of(i).shape).max(axis=1) + c}
                    for c in (0, i["absmax"].mean())]),
    Slip("across", "The groups run across. Neighbours belong together: view(-1, group), one group "
         "in a row.",
         lambda i: [{"scales": lambda v: v.shape == (int(i["group"]),)},
                    {"scales": np.abs(rest_of(i).reshape(rest_of(i).T.shape)).max(axis=0)}]),
    Slip("values", "The codes are levels. Return their numbers in the code book, as uint8.",
         lambda i: {"codes": i["levels"][np.abs(divided(i)[:, None] - i["levels"]).argmin(1)]}),
    Slip("one_side", "The codes take the level on the same side always. Take the nearest one, "
         "above or below.", lambda i: [{"codes": beside(i, side)} for side in (0, 1)]),
    Slip("not_divided", "The numbers were not divided by the scale of their own group before the "
         "level was chosen.", lambda i: [{"codes": same(np.abs((rest_of(i) * c).ravel()[
             :, None] - i["levels"]).argmin(1), atol=1.5)} for c in factors(i)]),
    Slip("turned", "These are the levels next to the number with the other sign: the distance is "
         "number minus level.",
         lambda i: {"codes": same(np.abs(divided(i)[:, None] + i["levels"]).argmin(1))}),
    Slip("farthest", "These are the farthest levels: argmin, not argmax.",
         lambda i: {"codes": same(np.abs(divided(i)[:, None] - i["levels"]).argmax(1))}),
    Slip("no_abs", "The smallest difference is the most negative one. Take .abs() before argmin.",
         lambda i: [{"codes": same(np.full(i["absmax"].shape, end))}
                    for end in (0, len(i["levels"]) - 1)]),
    Slip("wide", "The codes have the right values in another type. torch.uint8 takes one byte for "
         "each.", lambda i: {"codes": nearest_levels(i)}),
    Slip("mask", "torch takes uint8 numbers in brackets for a mask of True and False, not for "
         "places. Turn them into whole numbers first: levels[codes.long()].",
         lambda i: {"stop": stopped, "with_long": decoded_scales(i)}),
    Slip("offset_lost", "The way back forgets the offset. Add it at the end.",
         lambda i: {"back": decoded_scales(i, offset=0)}),
    Slip("offset_first", "The way back adds the offset before the scale. Multiply first.",
         lambda i: {"back": decoded_scales(i, i["levels"][i["codes"]] + i["offset"], offset=0)}),
    Slip("offset_off", "The way back takes the offset off once more. Add it.",
         lambda i: {"back": decoded_scales(i, offset=-1)}),
    Slip("no_scale", "On the way back the group's scale is missing, or divides. Multiply by it.",
         lambda i: [{"back": decoded_scales(i, scale=0)},
                    {"back": decoded_scales(i | {"scales": 1 / i["scales"]})}]),
    Slip("shifted", "A code is the number of its level, from 0 on: nothing is taken off it.",
         lambda i: {"back": decoded_scales(i | {"codes": i["codes"].astype(int) - 128})}),
    Slip("codes_as_values", "The way back takes the codes for numbers. Look them up: "
         "levels[codes.long()].",
         lambda i: [{"back": decoded_scales(i, i["codes"] * c)} for c in (1.0, 1 / 127, 1 / 255)]),
    Slip("repeat", "Each scale belongs to `group` codes in a row: repeat_interleave. (`repeat` and "
         "view(group, -1) go through all scales first.)",
         lambda i: {"back": i["levels"][i["codes"]] * np.tile(i["scales"], int(i["group"]))
                    + i["offset"]}),
)  # fmt: skip

double = Check(
    name="double", title="Double quantization", wants=("double_quantize", "double_dequantize"),
    difficulty=4, minutes=15, points=25,
    verified="offset, scales, nearest levels, and the way back, also of your own codes",
    hints=(
        "It is the quantization of the chapter once more: other input, other code book, larger "
        "blocks. What is done before, and what after?",
        "`rows = (absmax - absmax.mean()).view(-1, group)`; then each row has a scale. For the "
        "nearest level, compare every number with every level: `(numbers[:, None] - "
        "levels).abs().argmin(dim=1)`.",
        "`scales = rows.abs().amax(dim=1)`, `z = (rows / scales[:, None]).flatten()`. Back: "
        "`levels[codes.long()] * scales.repeat_interleave(group) + offset`.",
    ),
    slips=DOUBLE, other="Check one after the other: offset, scales, codes, and back. Which is the "
    "first that differs from a sum by hand?",
    make=make_double, probe=probe_double, judge=judge_double,
)  # fmt: skip


# 10.5 Bits per parameter
def make_bits(seed):
    """Blocks as many as 256 k, 257, any number, and one alone; only in the third all are full."""
    rng = np.random.default_rng(seed + 1080)
    size = rng.permutation([16, 32, 64, 128])
    blocks = np.array([256 * rng.integers(1, 4), 257, rng.integers(300, 500), 1])
    least = np.where(np.arange(4) < 2, size // 4 + 1, 1)  # two last blocks less than half full
    most = size // np.array([2, 2, 2, 4])  # and one that is more than half full
    n = blocks * size - 2 * rng.integers(least, most) * (np.arange(4) != 2)
    order = rng.permutation(4)
    return {"n": n[order], "size": size[order]}


def probe_bits(namespace, a):
    made = {"single": [], "double": []}
    for n, size in zip(a["n"].tolist(), a["size"].tolist(), strict=True):
        for key, found in made.items():
            value = array(namespace["bits_per_parameter"](n, size, key == "double"), "the result")
            if value.size != 1:
                seen = f"bits_per_parameter returns {shape(value)}."
                raise Refused("type", seen, "one number.")
            found.append(value.reshape(()))
    return {key: np.stack(found) for key, found in made.items()}


def up(a, b):
    return -(-a // b)


def counts(i):
    """Weights, blocks, groups of 256 scales, and the block size."""
    n, size = i["n"].astype(float), i["size"].astype(float)
    return n, up(n, size), up(up(n, size), 256), size


def judge_bits(i, o):
    n, blocks, groups, _ = counts(i)
    right = {"single": 4 + 32 * blocks / n, "double": 4 + (8 * blocks + 32 * groups) / n}

    def promise(key):
        want = right[key]
        value = o.get(key, np.zeros(0))
        fits = value.shape == want.shape and value.dtype.kind in "biuf"
        at = int(np.argmax(~np.isclose(value, want, 1e-7, 0))) if fits else 0
        what = f"n = {i['n'][at]}, block_size = {i['size'][at]}, double_quant = {key == 'double'}"
        seen = (lambda v: f"{v[at]:.6g} bits for {what}") if fits else ""
        expected = f"{want[at]:.6g}" if fits else ""
        return Promise(key, want, "the number of bits", seen, expected, rtol=1e-7, atol=0)

    return judged(i, o, [promise("single"), promise("double")], BITS)


def sums(single=None, double=None):
    """A slip's values: bits by a rule of (n, blocks, groups, size), without or with the second."""
    rules = {"single": single, "double": double}
    return lambda i: [{key: rule(*counts(i))} for key, rule in rules.items() if rule]


def alike(v, known):
    """Whether the numbers are all one, and none of these."""
    return v.size > 0 and np.ptp(v) < 1e-6 and min(abs(v[0] - k) for k in known) > 1e-6


def one_more(i):
    """Numbers of blocks and groups by `// + 1`, for both or for the groups alone."""
    n, blocks, _, size = counts(i)
    return [(n, b, b // 256 + 1) for b in (blocks, n // size + 1)]


BITS = (
    Slip("no_scales", "The scales are missing. Each block has one.",
         sums(lambda n, b, g, s: 4 + 0 * n, lambda n, b, g, s: 4 + 0 * n)),
    Slip("fixed", "That counts blocks of 64, as in the chapter. The bits depend on n and on "
         "`block_size`.",
         lambda i: sums(lambda n, b, g, s: 4.5 + 0 * n, lambda n, b, g, s: 4.127 + 0 * n)(i)
         + sums(lambda n, b, g, s: 4 + 32 * up(n, 64) / n)(i)),
    Slip("by_blocks", "A whole float32 was counted for each weight, or the scales were divided by "
         "the number of blocks. A block has one scale, and all bits are divided by n.",
         sums(lambda n, b, g, s: 36 + 0 * n, lambda n, b, g, s: 4 + (8 * b + 32 * g) / b)),
    Slip("exchanged", "8 and 32 stand in each other's place: with double quantization a byte for "
         "each block, and a float32 for each group.",
         sums(None, lambda n, b, g, s: 4 + (32 * b + 8 * g) / n)),
    Slip("once", "What is stored only once, the levels and the offset, was counted. Leave it out.",
         sums(lambda n, b, g, s: 4 + (32 * b + 16 * 32) / n, lambda n, b, g, s: 4 + (
             32 * b + 32) / n)),
    Slip("offset", "With double quantization there is always one float32 too many: the offset, "
         "which is stored only once and not counted, or one group more than there is.",
         sums(None, lambda n, b, g, s: 4 + (8 * b + 32 * g + 32) / n)),
    Slip("no_bytes", "The scales themselves are missing: with double quantization one byte each.",
         sums(None, lambda n, b, g, s: 4 + 32 * g / n)),
    Slip("cut", "The result was rounded. Return it as it is.",
         lambda i: [{"single": cut(4 + 32 * counts(i)[1] / counts(i)[0])} for cut in (
             np.floor, np.ceil, *(lambda v, k=k: np.round(v, k) for k in (0, 1, 2, 3)))]),
    Slip("in_bytes", "A scale was counted with its bytes. A byte has 8 bits, a float32 32.",
         lambda i: sums(lambda n, b, g, s: 4 + 4 * b / n, lambda n, b, g, s: 4 + (b + 4 * g) / n)(i)
         + sums(None, lambda n, b, g, s: 4 + (b + 32 * g) / n)(i)),
    Slip("not_rounded", "The last block is not full, and has a whole scale. Round the number of "
         "blocks up.",
         sums(lambda n, b, g, s: 4 + 32 / s, lambda n, b, g, s: 4 + 8 / s + 32 / (256 * s))),
    Slip("group_not_rounded", "The last group of 256 scales is not full, and has a whole float32. "
         "Round the number of groups up.",
         sums(None, lambda n, b, g, s: 4 + (8 * b + 32 * b / 256) / n)),
    Slip("dropped", "The last block or group is missing where it is not full: `//` rounds down, "
         "and `round` to the nearest. Round up.",
         lambda i: sums(lambda n, b, g, s: 4 + 32 * (n // s) / n, lambda n, b, g, s:
                        4 + (8 * (n // s) + 32 * (n // s // 256)) / n)(i)
         + sums(lambda n, b, g, s: 4 + 32 * np.round(n / s) / n,
                lambda n, b, g, s: 4 + (8 * b + 32 * (b // 256)) / n)(i)
         + sums(None, lambda n, b, g, s: 4 + (8 * b + 32 * np.round(b / 256)) / n)(i)),
    Slip("one_more", "`n // size + 1` counts one too many where it divides.",
         lambda i: sums(lambda n, b, g, s: 4 + 32 * (n // s + 1) / n)(i)
         + [{"double": 4 + (8 * b + 32 * g) / n} for n, b, g in one_more(i)]),
    Slip("total", "That is the total. Divide by n.",
         sums(lambda n, b, g, s: 4 * n + 32 * b, lambda n, b, g, s: 4 * n + 8 * b + 32 * g)),
    Slip("only_bytes", "That is bytes for each weight. The answer is in bits.",
         sums(lambda n, b, g, s: (4 + 32 * b / n) / 8)),
    Slip("only_scales", "The codes themselves are missing: 4 bits each.",
         sums(lambda n, b, g, s: 32 * b / n, lambda n, b, g, s: (8 * b + 32 * g) / n)),
    Slip("other_codes", "A code has half a byte: 4 bits, no more and no less.",
         lambda i: {"single": lambda v: alike(v - 32 * counts(i)[1] / counts(i)[0], (0, 4))}),
    Slip("codes_of_blocks", "There is a code for each weight, not for each block: 4 bits each.",
         sums(lambda n, b, g, s: 36 * b / n)),
    Slip("other_scales", "A scale is a float32: 32 bits, no more and no less.",
         lambda i: [{"single": lambda v: alike((v - 4) * counts(i)[0] / counts(i)[1], (
             0, 4, 32))}] + sums(None, lambda n, b, g, s: 4 + (8 * b + 16 * g) / n)(i)),
    Slip("not_doubled", "double_quant makes no difference. With it a block has one byte instead of "
         "a float32, and only with it.",
         lambda i: sums(None, lambda n, b, g, s: 4 + 32 * b / n)(i) + [
             {key: 4 + (8 * b + 32 * g) / n for key in ("single", "double")}
             for n, b, g, _ in (counts(i),)]),
    Slip("the_other_way", "The two ways are exchanged: one byte for a block is with double_quant.",
         lambda i: {"single": 4 + (8 * counts(i)[1] + 32 * counts(i)[2]) / counts(i)[0],
                    "double": lambda v: not np.allclose(v, 4 + (
                        8 * counts(i)[1] + 32 * counts(i)[2]) / counts(i)[0])}),
    Slip("no_groups", "The scales of the scales are missing: a float32 for each 256 blocks.",
         sums(None, lambda n, b, g, s: 4 + 8 * b / n)),
    Slip("one_group", "One float32 was counted for all scales. There is one for each 256.",
         sums(None, lambda n, b, g, s: 4 + (8 * b + 32) / n)),
    Slip("kept", "The float32 scales are still counted. Double quantization puts a byte in place "
         "of each.", lambda i: [{"double": 4 + (40 * b + c * 32 * g) / n} for n, b, g, _ in (
             counts(i),) for c in (0, 1)]),
    Slip("groups_of_weights", "The groups are of 256 scales, not of 256 weights.",
         sums(None, lambda n, b, g, s: 4 + (8 * b + 32 * up(n, 256)) / n)),
    Slip("groups_of_blocks", "A group has 256 scales, whatever the size of a block.",
         lambda i: [{"double": 4 + (8 * counts(i)[1] + 32 * up(counts(i)[1], size)) / counts(i)[0]}
                    for size in (counts(i)[3], 64, 128)]),
)  # fmt: skip

bits = Check(
    name="bits", title="Bits per parameter", wants=("bits_per_parameter",),
    difficulty=2, minutes=8, points=15,
    verified="four sizes, full blocks and not, without and with double quantization",
    hints=(
        "Count everything that lies in memory, in bits, and divide by n at the end.",
        "The number of blocks is n / block_size rounded up: `-(-n // block_size)`. "
        "A float32 has 32 bits.",
        "Without double quantization `4 + 32 * blocks / n`. With it, each block has 8 bits, and "
        "each 256 blocks 32 more.",
    ),
    slips=BITS, other="Write the sum for 128 weights in blocks of 64 by hand: 512 bits of codes, 2 "
    "scales.",
    make=make_bits, probe=probe_bits, judge=judge_bits,
)  # fmt: skip

EXERCISES = (blockwise, code_book, packing, double, bits)
