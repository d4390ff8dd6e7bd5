"""Checks of chapter 10: blockwise absmax, the code book, packing, double quantization, bits."""

import math

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor


# What several checks share
def _rows(x, size):
    """x as rows of `size`, the last one filled up with zeros."""
    return np.pad(x, (0, -len(x) % size)).reshape(-1, size)


def _spread(scales, size, n):
    return np.repeat(scales, size)[:n]


def _shape(value):
    return " x ".join(str(n) for n in value.shape) or "one number"


def _where(word, seen, want):
    """The first place where two flat arrays differ, in words; `word` says what they hold."""
    at = int(np.argmax(~np.isclose(seen, want, rtol=1e-4, atol=1e-6)))
    return f"{word}[{at}] is {seen[at]:.6g}", f"{want[at]:.6g}"


def _bytes(value):
    """Bytes of one number of the learner's tensor or array; a number of Python's has 8 at least."""
    return float(getattr(getattr(value, "dtype", None), "itemsize", 8))


# 10.1 Blockwise absmax
CASES = (("even", 24, 8), ("rest", 29, 8), ("one", 5, 16))


def make_blockwise(seed):
    rng = np.random.default_rng(seed + 1000)
    made = {}
    for name, n, size in CASES:
        scale = np.repeat(10.0 ** rng.permutation([-1, 0, 1, 2]), size)[:n]
        x = (rng.uniform(0.05, 0.9, n) * rng.choice([-1, 1], n) * scale).astype(np.float32)
        for start in range(0, n, size):  # the largest magnitude is negative
            at = start + rng.integers(min(size, n - start))
            x[at] = -1.05 * np.abs(x[start : start + size]).max()
        made[f"x_{name}"] = x
        made[f"codes_{name}"] = rng.integers(-127, 128, n).astype(np.int8)
        made[f"absmax_{name}"] = rng.uniform(0.5, 3, -(-n // size)).astype(np.float32)
    return made


def probe_blockwise(namespace, a):
    made = {}
    for name, n, size in CASES:
        codes, absmax = namespace["quantize_int8"](tensor(a[f"x_{name}"]), size)
        made[f"bytes_{name}"] = _bytes(codes)
        made[f"codes_{name}"] = array(codes, "codes")
        made[f"absmax_{name}"] = array(absmax, "absmax")
        if np.size(made[f"absmax_{name}"]) == 1 and n > size:
            continue  # one scale for all: a way back that fits it would stumble over many
        codes, absmax = (tensor(a[f"{key}_{name}"]) for key in ("codes", "absmax"))
        back = namespace["dequantize_int8"](codes, absmax, size)
        made[f"back_{name}"] = array(back, "the way back")
    return made


def judge_blockwise(inputs, outputs):
    for judge in (_absmax_verdict, _codes_verdict, _back_verdict):
        for name, _, size in CASES:
            wrong = judge(inputs, outputs, name, size)
            if wrong:
                return wrong
    return Verdict(1.0)


def _absmax_verdict(i, outputs, name, size):
    x, seen = i[f"x_{name}"], outputs[f"absmax_{name}"]
    rows = _rows(x, size)
    want = np.abs(rows).max(axis=1)
    if close(seen.ravel(), want):
        return None
    if seen.size != len(want) or close(seen.ravel(), np.full(len(want), want.max())):
        one = seen.size == 1 or (seen.size and np.ptp(seen) == 0)
        text = "the same scale for all blocks" if one else f"absmax is {_shape(seen)}"
        return Verdict(
            0.0, "one_scale" if one else "other", text, f"{len(want)}, one for each block"
        )
    known = {"signed": rows.max(axis=1), "step": want / 127, "inverse": 127 / want}
    known["inverse_"] = 1 / want
    key = next((k for k, value in known.items() if close(seen.ravel(), value)), "other")
    return Verdict(0.0, key.strip("_"), *_where("absmax", seen.ravel(), want))


def _codes_verdict(i, outputs, name, size):
    x, seen = i[f"x_{name}"], outputs[f"codes_{name}"]
    n = len(x)
    if seen.size != n:
        key = "padded" if seen.size == -(-n // size) * size else "other"
        return Verdict(0.0, key, f"{seen.size} codes", f"{n}")
    seen = seen.ravel().astype(np.float64)
    exact = 127 * x.astype(np.float64) / _spread(np.abs(_rows(x, size)).max(axis=1), size, n)
    if np.all(np.abs(seen - exact) <= 0.5 + 1e-3) and np.all(seen == np.round(seen)):
        if outputs[f"bytes_{name}"] != 1:
            seen = f"a code takes {outputs[f'bytes_{name}']:.0f} bytes"
            return Verdict(0.0, "wide", seen, "1 byte: torch.int8")
        return None
    wrapped = np.round(128 / 127 * exact)
    known = {
        "truncated": (np.trunc(exact), np.floor(exact), np.ceil(exact)),
        "not_rounded": (exact,),
        "top": (wrapped, np.where(wrapped > 127, -128, wrapped)),
        "unsigned": (np.round(exact) % 256, np.clip(np.round(exact), 0, 255)),
        "offset": (np.round(exact) + 127, np.round(exact) + 128),
    }
    for key, values in known.items():
        if any(np.mean(np.abs(seen - value) < 1e-3) > 0.8 for value in values):
            return Verdict(0.0, key, *_where("codes", seen, np.round(exact)))
    return Verdict(0.0, "other", *_where("codes", seen, np.round(exact)))


def _back_verdict(i, outputs, name, size):
    codes, absmax = i[f"codes_{name}"].astype(np.float64), i[f"absmax_{name}"]
    scales, seen = _spread(absmax, size, len(codes)), outputs[f"back_{name}"]
    want = codes * scales / 127
    if close(seen.ravel(), want):
        return None
    if seen.size != len(codes):
        return Verdict(0.0, "padded", f"{seen.size} numbers come back", f"{len(codes)}")
    seen = seen.ravel()
    known = {"no_127": codes * scales, "divided": codes / scales / 127, "no_scale": codes / 127}
    key = next((k for k, value in known.items() if close(seen, value)), "other")
    text, wanted = _where("x", seen, want)
    return Verdict(0.0, key, f"after the way back {text}", wanted)


blockwise = Check(
    name="blockwise",
    title="Blockwise absmax",
    wants=("quantize_int8", "dequantize_int8"),
    difficulty=2,
    minutes=12,
    points=20,
    verified="scales, codes and the way back; a last block that is not full",
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
    mistakes={
        "one_scale": "There is one scale for all blocks. Take the largest magnitude of each row: "
        "amax(dim=1).",
        "signed": "The scale is the largest number, not the largest magnitude. Take .abs() before "
        "the maximum; here the largest magnitudes are negative.",
        "step": "The scale is divided by 127 already. Return the largest magnitude itself.",
        "inverse": "The scale is upside down. Return the largest magnitude of the block.",
        "padded": "There are too many numbers: those that filled up the last block are still in. "
        "Cut them off with [:n].",
        "truncated": "The codes are cut off, not rounded. .to(torch.int8) drops the fraction: call "
        ".round() before it.",
        "not_rounded": "The codes are not whole numbers. Round them and turn them into int8.",
        "top": "The largest code is 128. An int8 ends at 127, so 128 turns into -128. Scale by "
        "127.",
        "unsigned": "Negative codes are lost. torch.uint8 has no minus; use torch.int8.",
        "offset": "The codes are shifted. Zero must get the code 0, without an offset.",
        "wide": "The codes have the right values in too large a type, so nothing is saved. Use "
        ".to(torch.int8).",
        "no_127": "The way back gives numbers 127 times too large. A code counts steps of absmax / "
        "127.",
        "divided": "The way back divides by the scale. Multiply: code * absmax / 127.",
        "no_scale": "The way back forgets the scale of the block. Multiply by absmax.",
        "raised": "Does the block size not divide the length? Fill the last block up with zeros "
        "before view, and cut the result afterwards.",
        "other": "Check the three steps one by one on a few numbers: scale of each block, codes, "
        "and back.",
    },
    make=make_blockwise,
    probe=probe_blockwise,
    judge=judge_blockwise,
)


# 10.2 The NF4 code book
def make_code(seed):
    bits = np.random.default_rng(seed + 1020).permutation([3, 5, 6])[:2]
    return {"bits": np.array([4, *bits])}


def probe_code(namespace, a):
    made = {}
    for at, bits in enumerate(a["bits"].tolist()):
        made[f"levels_{at}"] = array(namespace["normal_code"](bits), "the code book")
    return made


def _quantiles(start, stop, steps):
    """Normal quantiles at even steps of probability, ends included; torch's, not statistics'."""
    import torch

    p = torch.linspace(start, stop, steps, dtype=torch.float64)
    return torch.special.ndtri(p).numpy()


def _halves(n, end, negative, positive):
    """The level 0 between two halves of so many levels each, not divided yet."""
    down = -_quantiles(end, 0.5, negative + 1)[:-1] if negative else np.zeros(0)
    up = _quantiles(end, 0.5, positive + 1)[:-1][::-1]
    return np.concatenate([down, [0.0], up])


def judge_code(inputs, outputs):
    for at, bits in enumerate(inputs["bits"].tolist()):
        n, seen = 2**bits, outputs[f"levels_{at}"].ravel()
        end = 1 - (1 / (n - 1) + 1 / n) / 4
        raw = _halves(n, end, n // 2 - 1, n // 2)
        want = raw / raw.max()
        if close(seen, want, atol=1e-5):
            continue
        return _code_verdict(seen, want, raw, n, end)
    return Verdict(1.0)


def _code_verdict(seen, want, raw, n, end):
    if not np.all(np.isfinite(seen)):
        return Verdict(0.0, "infinite", "a level is infinite, or no number", "levels in [-1, 1]")
    if len(seen) != n:
        doubled = len(seen) > len(np.unique(np.round(seen, 6)))
        key = "zero_twice" if doubled else "count"
        return Verdict(0.0, key, f"{len(seen)} levels", f"{n}")
    if close(np.sort(seen), want, atol=1e-5):
        return Verdict(0.0, "order", "the levels are not in ascending order")
    if close(np.sort(seen), raw, atol=1e-4):
        return Verdict(0.0, "not_divided", f"the largest level is {seen.max():.3f}", "1")
    centers = _quantiles(1 - end, end, n)
    known = {
        "even": [np.linspace(-1, 1, n), np.linspace(-n / 2, n / 2 - 1, n) / (n / 2)],
        "no_zero": [centers / centers.max()],
        "sides": [-want[::-1]],
    }
    ends = (1 - 1 / n, 1 - 1 / (2 * n), 1 - 1 / (2 * (n - 1)), 1 - (1 / (n - 1) + 1 / n) / 2, 0.99)
    others = [_halves(n, e, n // 2 - 1, n // 2) for e in ends]
    known["end"] = [levels / levels.max() for levels in others]
    for key, values in known.items():
        if any(close(np.sort(seen), value, atol=1e-5) for value in values):
            return Verdict(0.0, key, *_where("levels", seen, want))
    key = "other" if np.any(np.abs(seen) < 1e-6) else "no_zero"
    return Verdict(0.0, key, *_where("levels", seen, want))


code_book = Check(
    name="code_book",
    title="The NF4 code book",
    wants=("normal_code",),
    difficulty=3,
    minutes=12,
    points=20,
    verified="4 bits and two other sizes, against quantiles from torch.special",
    hints=(
        "Two halves that share the zero. Which half has one level more?",
        "`torch.linspace(end, 0.5, n // 2 + 1)` has n / 2 + 1 probabilities; the last one is 1/2, "
        "whose quantile is 0. Leave it out and put one 0 between the halves.",
        "`positive = [inv_cdf(p) for p in torch.linspace(end, 0.5, n // 2 + 1)[:-1].tolist()]`, "
        "the negative half with `n // 2` and a minus. Join negative, 0.0 and reversed(positive), "
        "divide by the largest.",
    ),
    mistakes={
        "raised": "inv_cdf takes probabilities between 0 and 1, without the two ends. Stop at the "
        "end that the task gives.",
        "infinite": "The quantile of probability 1 is infinite. Stop at the end that the task "
        "gives, short of 1.",
        "zero_twice": "A level occurs twice: both halves bring the zero. Leave 1/2 out of them and "
        "add 0 once.",
        "count": "The number of levels is not 2**bits. Count: n / 2 - 1 negative, one zero, n / 2 "
        "positive.",
        "order": "The levels are right, in another order. Sort them from -1 to 1.",
        "not_divided": "The levels are quantiles still. Divide by the largest, so that they end "
        "at 1.",
        "even": "These levels are evenly spaced. Take quantiles: crowded in the middle, far apart "
        "at the ends.",
        "no_zero": "There is no exact zero. One even row of probabilities misses 1/2; build two "
        "halves around the zero.",
        "sides": "The negative half has the extra level. Give n / 2 levels to the positive one.",
        "end": "The ends of the two halves lie at another probability. Look at the formula for "
        "the end again.",
        "other": "Print the levels for bits = 4 beside the 16 of the chapter. Which half differs?",
    },
    make=make_code,
    probe=probe_code,
    judge=judge_code,
)


# 10.3 Pack and unpack
def make_packing(seed):
    rng = np.random.default_rng(seed + 1040)
    made = {}
    for name, n in (("even", 12), ("odd", 9)):
        codes = rng.integers(0, 16, n)
        codes[:4] = rng.permutation([3, 9, 14, 6])  # no two ways give the same bytes
        codes[-1] = rng.integers(1, 16)
        made[f"codes_{name}"] = codes.astype(np.uint8)
    return made


def _packed(codes):
    codes = np.pad(codes, (0, len(codes) % 2))
    return codes[0::2] * 16 + codes[1::2]


def probe_packing(namespace, a):
    made = {}
    for name in ("even", "odd"):
        codes = a[f"codes_{name}"]
        packed = namespace["pack"](tensor(codes))
        made[f"packed_{name}"] = array(packed, "pack(codes)")
        back = namespace["unpack"](tensor(_packed(codes)), len(codes))
        made[f"back_{name}"] = array(back, "unpack(packed, n)")
        made[f"bytes_{name}"] = np.array([_bytes(packed), _bytes(back)])
    return made


def judge_packing(inputs, outputs):
    for name in ("even", "odd"):
        codes, seen = inputs[f"codes_{name}"].astype(int), outputs[f"packed_{name}"].ravel()
        wrong = _packed_verdict(codes, seen.astype(int), name == "odd")
        if wrong:
            return wrong
    for name in ("even", "odd"):
        codes, seen = inputs[f"codes_{name}"].astype(int), outputs[f"back_{name}"].ravel()
        wrong = _unpacked_verdict(codes, seen.astype(int))
        if wrong:
            return wrong
        if np.any(outputs[f"bytes_{name}"] != 1):
            seen = f"a number takes {outputs[f'bytes_{name}'].max():.0f} bytes"
            return Verdict(0.0, "wide", seen, "1 byte: torch.uint8")
    return Verdict(1.0)


def _packed_verdict(codes, seen, odd):
    want = _packed(codes)
    kept = len(want) - 1 if odd else len(want)
    if len(seen) == len(want) and np.array_equal(seen[:kept], want[:kept]):
        if not odd or seen[-1] >> 4 == codes[-1]:
            return None
        return Verdict(0.0, "odd", f"the last byte is {seen[-1]}", f"{codes[-1]} in its high half")
    if len(seen) != len(want):
        dropped = odd and len(seen) == kept
        key = "not_packed" if len(seen) == len(codes) else "odd" if dropped else "other"
        return Verdict(0.0, key, f"{len(seen)} bytes for {len(codes)} codes", f"{len(want)}")
    high, low = (np.pad(codes, (0, len(codes) % 2))[k::2] for k in (0, 1))
    half = np.pad(codes, (0, len(codes) % 2)).reshape(2, -1)
    known = {
        "low_first": low * 16 + high,
        "halves": half[0] * 16 + half[1],
        "no_shift": high + low,
    }
    known |= {"no_shift_": high | low, "halves_": half[1] * 16 + half[0]}
    same = (k for k, value in known.items() if np.array_equal(seen[:kept], value[:kept]))
    key = next(same, "other").strip("_")
    return Verdict(0.0, key, f"the bytes are {seen.tolist()}", f"{want.tolist()}")


def _unpacked_verdict(codes, seen):
    if np.array_equal(seen, codes):
        return None
    text, wanted = f"unpack gives {seen.tolist()}", f"{codes.tolist()}"
    full = np.pad(codes, (0, len(codes) % 2))
    if len(seen) != len(codes):
        key = "extra" if len(seen) == len(full) else "other"
        return Verdict(0.0, key, f"unpack gives {len(seen)} codes", f"{len(codes)}")
    high, low = full[0::2], full[1::2]

    def woven(a, b):
        return np.stack([a, b], axis=1).ravel()[: len(codes)]

    known = {
        "unpack_swapped": woven(low, high),
        "unpack_apart": np.concatenate([high, low])[: len(codes)],
        "unpack_mask": woven(high, high * 16 + low),
        "unpack_shift": woven(high * 16, low),
    }
    known |= {"unpack_shift_": woven(high * 16 + low, low)}
    key = next((k for k, value in known.items() if np.array_equal(seen, value)), "other")
    return Verdict(0.0, key.strip("_"), text, wanted)


packing = Check(
    name="packing",
    title="Pack and unpack",
    wants=("pack", "unpack"),
    difficulty=2,
    minutes=10,
    points=20,
    verified="bytes and codes, even and odd lengths, uint8",
    hints=(
        "`codes[0::2]` are the first, third, fifth codes. What turns 5 into 5 · 16?",
        "`a << 4` shifts a into the high half, `|` joins it with the low half. Back: `>> 4` gives "
        "the high half, `& 15` the low one.",
        "`codes[0::2] << 4 | codes[1::2]`, after one zero was added to an odd length. Back: "
        "`torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]`.",
    ),
    mistakes={
        "low_first": "The two halves are swapped. The first code belongs into the high half: "
        "shift it by 4.",
        "halves": "Codes that are far apart share a byte. Neighbours must: codes[0::2] with "
        "codes[1::2].",
        "no_shift": "Both codes lie in the same four bits. Shift the first one: << 4.",
        "not_packed": "There are as many bytes as codes. Two codes must share one byte.",
        "odd": "With an odd number of codes the last one is lost, or lies in the low half. Add one "
        "code at the end before you pair them.",
        "wide": "The values are right in too large a type, so nothing is saved. Use torch.uint8.",
        "extra": "unpack gives one code too many. Cut the result to n.",
        "unpack_swapped": "unpack gives each pair in the wrong order. The high half comes first.",
        "unpack_apart": "unpack gives all high halves, then all low ones. Stack them as two "
        "columns, then flatten.",
        "unpack_mask": "The low half still has the high one on top of it. Keep four bits: & 15.",
        "unpack_shift": "The high half was not shifted down. packed >> 4.",
        "raised": "Does it fail for an odd number of codes? Then codes[0::2] is one longer than "
        "codes[1::2]: add one code first.",
        "other": "Write 5 and 12 as one byte by hand: 0101 1100, which is 92.",
    },
    make=make_packing,
    probe=probe_packing,
    judge=judge_packing,
)


# 10.4 Double quantization
GROUP, GROUPS = 8, 3


def make_double(seed):
    rng = np.random.default_rng(seed + 1060)
    levels = np.unique(np.concatenate([rng.uniform(-1, 1, 253), [-1.0, 0.0, 1.0]]))
    mean = np.repeat(rng.permutation([2.2, 2.6, 3.4]), GROUP)  # groups with means of their own
    absmax = mean + rng.uniform(-0.8, 0.8, GROUP * GROUPS)
    absmax[GROUP - 1 :: GROUP] = mean[::GROUP] - 1.5  # far below every mean
    return {
        "absmax": absmax.astype(np.float32),
        "levels": levels.astype(np.float32),
        "codes": rng.integers(0, len(levels), GROUP * GROUPS).astype(np.uint8),
        "scales": rng.uniform(0.3, 0.9, GROUPS).astype(np.float32),
        "offset": np.float32(rng.uniform(2, 3)),
    }


def probe_double(namespace, a):
    levels = tensor(a["levels"])
    codes, scales, offset = namespace["double_quantize"](tensor(a["absmax"]), levels, GROUP)
    given = tensor(a["codes"]), tensor(a["scales"]), tensor(a["offset"])
    back = namespace["double_dequantize"](*given, levels, GROUP)
    return {
        "codes": array(codes, "codes"),
        "scales": array(scales, "scales"),
        "offset": array(offset, "offset"),
        "back": array(back, "double_dequantize(...)"),
        "bytes": _bytes(codes),
    }


def judge_double(inputs, outputs):
    for judge in (_offset_verdict, _group_verdict, _levels_verdict, _double_back_verdict):
        wrong = judge(inputs, outputs)
        if wrong:
            return wrong
    if outputs["bytes"] != 1:
        seen = f"a code takes {float(outputs['bytes']):.0f} bytes"
        return Verdict(0.0, "wide", seen, "1 byte: torch.uint8")
    return Verdict(1.0)


def _offset_verdict(i, outputs):
    absmax, seen = i["absmax"], outputs["offset"]
    if seen.size == 1 and close(seen.ravel()[0], absmax.mean(), rtol=1e-4):
        return None
    if seen.size == GROUPS:
        return Verdict(0.0, "offset_per_group", f"{seen.size} offsets", "one, for all scales")
    number = float(seen.ravel()[0]) if seen.size else np.nan
    known = {"no_offset": 0.0, "minimum": absmax.min(), "median": np.median(absmax)}
    known["minimum_"] = (absmax.min() + absmax.max()) / 2
    key = next((k for k, v in known.items() if close(number, v, rtol=1e-3)), "other")
    key = "minimum" if key in ("median", "minimum_") else key
    return Verdict(0.0, key, f"the offset is {number:.4g}", f"{absmax.mean():.4g}, the mean")


def _group_verdict(i, outputs):
    rows, seen = i["absmax"].reshape(-1, GROUP), outputs["scales"].ravel()
    rest = rows - i["absmax"].mean()
    want = np.abs(rest).max(axis=1)
    if close(seen, want, rtol=1e-4):
        return None
    if seen.size == 1 or (seen.size == GROUPS and np.ptp(seen) == 0):
        return Verdict(0.0, "one_scale", "one scale for all groups", f"{GROUPS}, one each")
    known = {"signed": rest.max(axis=1), "not_taken_off": rows.max(axis=1)}
    known["across"] = np.abs(rest.reshape(GROUP, -1)).max(axis=0)
    key = next((k for k, value in known.items() if close(seen, value, rtol=1e-4)), "other")
    key = "across" if seen.size == GROUP else key
    text, wanted = (", ".join(f"{v:.3f}" for v in scales[:8]) for scales in (seen, want))
    return Verdict(0.0, key, f"the scales are {text}", wanted)


def _levels_verdict(i, outputs):
    levels, seen = i["levels"].astype(np.float64), outputs["codes"].ravel()
    rest = (i["absmax"] - i["absmax"].mean()).reshape(-1, GROUP)
    z = (rest / np.abs(rest).max(axis=1, keepdims=True)).ravel()
    if seen.size != z.size:
        return Verdict(0.0, "other", f"{seen.size} codes", f"{z.size}")
    best = np.abs(z[:, None] - levels).min(axis=1)
    whole = np.all(seen == np.round(seen)) and seen.min() >= 0 and seen.max() < len(levels)
    if whole and np.all(np.abs(levels[seen.astype(int)] - z) <= best + 1e-5):
        return None
    nearest = np.abs(z[:, None] - levels).argmin(axis=1)
    up = np.searchsorted(levels, z)
    if close(seen, levels[nearest], rtol=1e-4):
        return Verdict(0.0, "values", "the codes are levels", "the numbers of the levels")
    sides = [np.clip(up - k, 0, len(levels) - 1) for k in (0, 1)]
    sides.append(np.clip(np.searchsorted(levels, z, "right") - 1, 0, len(levels) - 1))
    if any(np.mean(seen == side) > 0.85 for side in sides):
        return Verdict(0.0, "one_side", *_where("codes", seen.astype(float), nearest.astype(float)))
    raw = np.abs(rest.ravel()[:, None] - levels).argmin(axis=1)
    if np.array_equal(seen, raw):
        return Verdict(
            0.0, "not_divided", *_where("codes", seen.astype(float), nearest.astype(float))
        )
    return Verdict(0.0, "other", *_where("codes", seen.astype(float), nearest.astype(float)))


def _double_back_verdict(i, outputs):
    values, scales = i["levels"][i["codes"]], np.repeat(i["scales"], GROUP)
    offset, seen = i["offset"], outputs["back"].ravel()
    want = values * scales + offset
    if close(seen, want, rtol=1e-4):
        return None
    known = {
        "offset_lost": values * scales,
        "offset_first": (values + offset) * scales,
        "offset_off": values * scales - offset,
        "no_scale": values + offset,
        "codes_as_values": i["codes"] * scales + offset,
    }
    key = next((k for k, value in known.items() if close(seen, value, rtol=1e-4)), "other")
    if seen.size != want.size:
        return Verdict(0.0, key, f"{seen.size} scales come back", f"{want.size}")
    text, wanted = _where("absmax", seen, want)
    return Verdict(0.0, key, f"after the way back {text}", wanted)


double = Check(
    name="double",
    title="Double quantization",
    wants=("double_quantize", "double_dequantize"),
    difficulty=4,
    minutes=15,
    points=25,
    verified="offset, scales, nearest levels, and the way back, with a code book of its own",
    hints=(
        "It is the quantization of the chapter once more: other input, other code book, larger "
        "blocks. What is done before, and what after?",
        "`rows = (absmax - absmax.mean()).view(-1, group)`; then each row has a scale. For the "
        "nearest level, compare every number with every level: `(numbers[:, None] - "
        "levels).abs().argmin(dim=1)`.",
        "`scales = rows.abs().amax(dim=1)`, `z = (rows / scales[:, None]).flatten()`. Back: "
        "`levels[codes.long()] * scales.repeat_interleave(group) + offset`.",
    ),
    mistakes={
        "no_offset": "The offset is 0. The scales are all positive: take their mean off first, "
        "or half of the levels is never used.",
        "offset_per_group": "Each group has an offset of its own. One mean over all scales is "
        "stored once.",
        "minimum": "The offset is another middle. Take the mean of all scales.",
        "one_scale": "There is one scale for all groups. Take the largest magnitude of each row.",
        "signed": "The group's scale is its largest number, not its largest magnitude. After the "
        "mean is off there are negative ones: .abs() first.",
        "not_taken_off": "The offset is right, but the groups' scales come from the numbers before "
        "it was taken off.",
        "across": "The groups run across. Neighbours belong together: view(-1, group), one group "
        "in a row.",
        "values": "The codes are levels. Return their numbers in the code book, as uint8.",
        "one_side": "The codes always take the level on the same side. Take the nearest one, above "
        "or below.",
        "not_divided": "The numbers were not divided by their group's scale before the level was "
        "chosen.",
        "wide": "The codes have the right values in too large a type. Use torch.uint8.",
        "offset_lost": "The way back forgets the offset. Add it at the end.",
        "offset_first": "The way back adds the offset before the scale. Multiply first.",
        "offset_off": "The way back takes the offset off once more. Add it.",
        "no_scale": "The way back forgets the group's scale. Multiply by it.",
        "codes_as_values": "The way back takes the codes for numbers. Look them up: "
        "levels[codes.long()].",
        "other": "Check one after the other: offset, scales, codes, and back. Which is the first "
        "that differs from a sum by hand?",
    },
    make=make_double,
    probe=probe_double,
    judge=judge_double,
)


# 10.5 Bits per parameter
def make_bits(seed):
    rng = np.random.default_rng(seed + 1080)
    n = 2 * rng.integers(20_000, 60_000, 3) + 6  # no multiple of a block
    n += 2 * (n % 32 == 0)
    return {"n": n, "size": rng.choice([32, 64, 128], 3)}


def probe_bits(namespace, a):
    bits = namespace["bits_per_parameter"]
    pairs = list(zip(a["n"].tolist(), a["size"].tolist(), strict=True))
    return {
        "single": np.array([float(array(bits(n, s, False))) for n, s in pairs]),
        "double": np.array([float(array(bits(n, s, True))) for n, s in pairs]),
    }


def judge_bits(inputs, outputs):
    pairs = list(zip(inputs["n"].tolist(), inputs["size"].tolist(), strict=True))
    counts = [(n, math.ceil(n / s), math.ceil(math.ceil(n / s) / 256), s) for n, s in pairs]
    right = {
        "single": np.array([4 + 32 * b / n for n, b, _, _ in counts]),
        "double": np.array([4 + (8 * b + 32 * g) / n for n, b, g, _ in counts]),
    }
    known = {
        "single": {
            "no_scales": [4.0 for _ in counts],
            "in_bytes": [4 + 4 * b / n for n, b, _, _ in counts],
            "not_rounded": [4 + 32 / s for *_, s in counts],
            "dropped": [4 + 32 * (n // s) / n for n, _, _, s in counts],
            "total": [4 * n + 32 * b for n, b, _, _ in counts],
            "only_bytes": [(4 + 32 * b / n) / 8 for n, b, _, _ in counts],
            "only_scales": [32 * b / n for n, b, _, _ in counts],
        },
        "double": {
            "not_doubled": right["single"],
            "no_groups": [4 + 8 * b / n for n, b, _, _ in counts],
            "kept": [4 + (40 * b + 32 * g) / n for n, b, g, _ in counts],
            "groups_of_weights": [4 + (8 * b + 32 * math.ceil(n / 256)) / n for n, b, *_ in counts],
            "in_bytes": [4 + (b + 4 * g) / n for n, b, g, _ in counts],
            "not_rounded": [4 + 8 / s + 32 / (256 * s) for *_, s in counts],
            "dropped": [4 + (8 * (n // s) + 32 * (n // s // 256)) / n for n, _, _, s in counts],
            "dropped_": [4 + (8 * b + 32 * (b // 256)) / n for n, b, *_ in counts],
        },
    }
    for way, want in right.items():
        seen = outputs[way]
        if close(seen, want, rtol=1e-7):
            continue
        found = (k for k, v in known[way].items() if close(seen, v, rtol=1e-7))
        n, size = pairs[0]
        text = f"{seen[0]:.5g} bits for n = {n}, blocks of {size}, double_quant = {way == 'double'}"
        return Verdict(0.0, next(found, "other").strip("_"), text, f"{want[0]:.5g}")
    return Verdict(1.0)


bits = Check(
    name="bits",
    title="Bits per parameter",
    wants=("bits_per_parameter",),
    difficulty=2,
    minutes=8,
    points=15,
    verified="three sizes that no block divides, without and with double quantization",
    hints=(
        "Count everything that lies in memory, in bits, and divide by n at the end.",
        "The number of blocks is n / block_size rounded up: `-(-n // block_size)` or `math.ceil`. "
        "A float32 has 32 bits.",
        "Without double quantization `4 + 32 * blocks / n`. With it, each block has 8 bits, and "
        "each 256 blocks 32 more.",
    ),
    mistakes={
        "no_scales": "The scales are missing. Each block has one, of 32 bits.",
        "in_bytes": "A scale was counted with its bytes. A float32 has 4 bytes, and 32 bits.",
        "not_rounded": "The last block is not full, and has a whole scale. Round the number of "
        "blocks up.",
        "dropped": "The last block or group is missing. n // size rounds down; round up.",
        "total": "That is the total. Divide by n.",
        "only_bytes": "That is bytes for each weight. The answer is in bits.",
        "only_scales": "The codes themselves are missing: 4 bits each.",
        "not_doubled": "double_quant makes no difference. With it a block has one byte instead of "
        "a float32.",
        "no_groups": "The scales of the scales are missing: a float32 for each 256 blocks.",
        "kept": "The float32 scales are still counted. Double quantization puts a byte in place of "
        "each.",
        "groups_of_weights": "The groups are of 256 scales, not of 256 weights.",
        "other": "Write the sum for 128 weights in blocks of 64 by hand: 512 bits of codes, 2 "
        "scales.",
    },
    make=make_bits,
    probe=probe_bits,
    judge=judge_bits,
)

EXERCISES = (blockwise, code_book, packing, double, bits)
