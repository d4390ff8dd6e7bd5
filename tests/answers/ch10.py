"""Right and wrong answers to the exercises of chapter 10."""

from tests.answers import Answer

ROWS = "F.pad(x, (0, -len(x) % block_size)).view(-1, block_size)"
ABSMAX = "rows.abs().amax(dim=1)  # (blocks,)"
ROUND = "(127 * rows / absmax[:, None]).round()"
CUT = "codes.flatten()[: len(x)].to(torch.int8), absmax"
SPREAD = "absmax.repeat_interleave(block_size)[: len(codes)]"
BACK = "return codes * scales / 127"

END = "end = 1 - (1 / (n - 1) + 1 / n) / 4"
JOIN = "[*negative, 0.0, *reversed(positive)]"
DIVIDE = "return levels / levels.max()"

PAD = "codes = F.pad(codes, (0, len(codes) % 2))"
PACK = "return codes[0::2] << 4 | codes[1::2]"
PAIRS = "torch.stack([packed >> 4, packed & 15], dim=1)"
FLAT = "pairs.flatten()[:n]"

OFFSET = "offset = absmax.mean()"
GROUPS = "rows = (absmax - offset).view(-1, group)"
SCALES = "scales = rows.abs().amax(dim=1)"
DISTANCE = "(rows / scales[:, None]).flatten()[:, None] - levels"
NEAREST = "distance.abs().argmin(dim=1).to(torch.uint8)"
AGAIN = "levels[codes.long()] * scales.repeat_interleave(group) + offset"

BLOCKS = "blocks = -(-n // block_size)"
SUM = "scales = 8 * blocks + 32 * groups if double_quant else 32 * blocks"
SHARE = "return 4 + scales / n"

SPLIT = """
def quantize_int8(x, block_size):
    codes, scales = [], []
    for block in x.split(block_size):
        scale = block.abs().max()
        codes.append(torch.round(block / scale * 127))
        scales.append(scale)
    return torch.cat(codes).to(torch.int8), torch.stack(scales)


def dequantize_int8(codes, absmax, block_size):
    parts = [c * (s / 127) for c, s in zip(codes.split(block_size), absmax, strict=True)]
    return torch.cat(parts)
"""
INDEX = """
def quantize_int8(x, block_size):
    which = torch.arange(len(x)) // block_size
    absmax = torch.zeros(int(which[-1]) + 1).scatter_reduce(0, which, x.abs(), "amax")
    return (x * (127 / absmax[which]) + 0.5).floor().to(torch.int8), absmax


def dequantize_int8(codes, absmax, block_size):
    which = torch.arange(len(codes)) // block_size
    return codes.double() / 127 * absmax[which]
"""
ONE_SCALE = """
def quantize_int8(x, block_size):
    scale = x.abs().max()
    return (127 * x / scale).round().to(torch.int8), scale


def dequantize_int8(codes, absmax, block_size):
    return codes * absmax / 127
"""


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    # 10.1
    Answer("blockwise", "splits", code=SPLIT),
    Answer("blockwise", "index of the block; rounds by hand", code=INDEX),
    # 10.2
    Answer(
        "code_book",
        "ndtri, sorted",
        code="""
def normal_code(bits):
    n = 2**bits
    end = 1 - 0.25 * (1 / n + 1 / (n - 1))
    up = torch.special.ndtri(torch.linspace(end, 0.5, n // 2 + 1, dtype=torch.float64))
    down = -torch.special.ndtri(torch.linspace(end, 0.5, n // 2, dtype=torch.float64))
    return torch.cat([up, down]).unique().float() / up[0].float()
""",
    ),
    Answer(
        "code_book",
        "a list, from below",
        code="""
def normal_code(bits):
    n, q = 2**bits, NormalDist().inv_cdf
    end = (1 / (n - 1) + 1 / n) / 4
    left = [q(end + (0.5 - end) * k / (n // 2 - 1)) for k in range(n // 2 - 1)]
    right = [-q(end + (0.5 - end) * k / (n // 2)) for k in range(n // 2)]
    levels = left + [0] + right[::-1]
    return [v / right[0] for v in levels]
""",
    ),
    # 10.3
    Answer(
        "packing",
        "arithmetic",
        code="""
def pack(codes):
    if len(codes) % 2:
        codes = torch.cat([codes, torch.zeros(1, dtype=torch.uint8)])
    high, low = codes.view(-1, 2).T
    return high * 16 + low


def unpack(packed, n):
    made = torch.empty(2 * len(packed), dtype=torch.uint8)
    made[::2], made[1::2] = packed // 16, packed % 16
    return made[:n]
""",
    ),
    Answer(
        "packing",
        "fills up with 7, wide inside",
        code="""
def pack(codes):
    wide = torch.full((len(codes) + len(codes) % 2,), 7)
    wide[: len(codes)] = codes
    return (wide[::2] * 16 + wide[1::2]).to(torch.uint8)


def unpack(packed, n):
    return torch.tensor([h for b in packed.tolist() for h in (b >> 4, b & 0xF)][:n]).byte()
""",
    ),
    # 10.4
    Answer(
        "double",
        "bucketize, one loop",
        code="""
def double_quantize(absmax, levels, group):
    offset = torch.mean(absmax)
    between = (levels[1:] + levels[:-1]) / 2
    codes, scales = [], []
    for part in (absmax - offset).split(group):
        scale = part.abs().max()
        codes.append(torch.bucketize(part / scale, between))
        scales.append(scale)
    return torch.cat(codes).byte(), torch.stack(scales), offset


def double_dequantize(codes, scales, offset, levels, group):
    values = levels[codes.int()].view(-1, group)
    return (values * scales[:, None]).flatten() + offset
""",
    ),
    Answer(
        "double",
        "an offset of shape (1,)",
        edits=[(OFFSET, "offset = absmax.mean(dim=0, keepdim=True)")],
    ),
    # 10.5
    Answer(
        "bits",
        "math.ceil and bytes",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    import math

    blocks = math.ceil(n / block_size)
    total = n / 2 + (blocks + 4 * math.ceil(blocks / 256) if double_quant else 4 * blocks)
    return 8 * total / n
""",
    ),
    Answer(
        "bits",
        "a tensor",
        edits=[(SHARE, "return torch.tensor(4 + scales / n, dtype=torch.float64)")],
    ),
]

RIGHT += [
    # 10.1
    Answer(
        "blockwise",
        "numpy, one block after the other",
        code="""
def quantize_int8(x, block_size):
    import numpy as np

    values, codes, absmax = x.numpy(), [], []
    for start in range(0, len(values), block_size):
        block = values[start:start + block_size]
        absmax.append(np.abs(block).max())
        codes.append(np.rint(block / absmax[-1] * 127))
    return np.concatenate(codes).astype(np.int8), np.array(absmax)


def dequantize_int8(codes, absmax, block_size):
    return [int(c) * float(absmax[k // block_size]) / 127 for k, c in enumerate(codes)]
""",
    ),
    Answer(
        "blockwise",
        "by the step, chunks of a mask",
        code="""
def quantize_int8(x, *, block_size):
    raise AssertionError


def quantize_int8(x, block_size):
    blocks = -(-len(x) // block_size)
    table = torch.zeros(blocks * block_size)
    table[: len(x)] = x
    table = table.reshape(blocks, block_size)
    step = torch.linalg.vector_norm(table, ord=float("inf"), dim=1, keepdim=True) / 127
    codes = torch.clamp(torch.round(table / step), -127, 127).char()
    return [codes.reshape(-1)[: len(x)], (step * 127).squeeze(1)]


def dequantize_int8(codes, absmax, block_size):
    table = F.pad(codes.float(), (0, -len(codes) % block_size)).reshape(len(absmax), -1)
    return (table * absmax.unsqueeze(1) / 127).reshape(-1)[: len(codes)]
""",
    ),
    Answer("blockwise", "rounds ties up", edits=[(".round()", ".add(0.5).floor().clamp(max=127)")]),
    # 10.2
    Answer(
        "code_book",
        "numpy, both halves in one loop",
        code="""
def normal_code(bits):
    import numpy as np

    n = 1 << bits
    last = 1 - (1 / (n - 1) + 1 / n) / 4
    levels = {0.0}
    for count, sign in ((n // 2, 1), (n // 2 - 1, -1)):
        for p in np.linspace(0.5, last, count + 1)[1:]:
            levels.add(sign * NormalDist().inv_cdf(float(p)))
    top = max(levels)
    return np.array(sorted(levels)) / top
""",
    ),
    # 10.3
    Answer(
        "packing",
        "one after the other, by hand",
        code="""
def pack(codes):
    made = torch.zeros((len(codes) + 1) // 2, dtype=torch.uint8)
    for k, code in enumerate(codes.tolist()):
        made[k // 2] += code << (0 if k % 2 else 4)
    return made


def unpack(packed, n):
    import numpy as np

    both = np.empty((len(packed), 2), np.uint8)
    both[:, 0], both[:, 1] = divmod(packed.numpy(), 16)
    return both.reshape(-1)[:n]
""",
    ),
    Answer(
        "packing",
        "a shift for each place",
        code="""
def pack(codes):
    table = F.pad(codes, (0, len(codes) % 2), value=15).reshape(-1, 2)
    return (table.int() @ torch.tensor([16, 1], dtype=torch.int32)).to(torch.uint8)


def unpack(packed, n):
    shifts = torch.tensor([4, 0], dtype=torch.uint8)
    return torch.bitwise_and(packed[:, None] >> shifts, 0x0F).reshape(-1).narrow(0, 0, n)
""",
    ),
    # 10.4
    Answer(
        "double",
        "cdist, index_select",
        code="""
def double_quantize(absmax, levels, group):
    offset = absmax.sum() / absmax.numel()
    rest = (absmax - offset).unflatten(0, (-1, group))
    scales = torch.maximum(rest.max(1).values, -rest.min(1).values)
    z = (rest / scales.unsqueeze(1)).reshape(-1, 1)
    codes = torch.cdist(z.double(), levels.double().reshape(-1, 1)).argmin(1)
    return [codes.to(torch.uint8), scales, offset.item()]


def double_dequantize(codes, scales, offset, levels, group):
    found = levels.index_select(0, codes.to(torch.int32))
    return torch.addcmul(torch.full_like(found, float(offset)), found,
                         scales.repeat_interleave(group))
""",
    ),
    Answer(
        "double",
        "numpy and lists",
        code="""
def double_quantize(absmax, levels, group):
    import numpy as np

    values, table = absmax.numpy().astype(float), levels.numpy()
    mean = values.mean()
    codes, scales = [], []
    for start in range(0, len(values), group):
        part = values[start:start + group] - mean
        scales.append(abs(part).max())
        codes += [int(abs(table - v / scales[-1]).argmin()) for v in part]
    return torch.tensor(codes).byte(), torch.tensor(scales).float(), torch.tensor(mean)


def double_dequantize(codes, scales, offset, levels, group):
    return [float(levels[int(c)] * scales[k // group] + offset) for k, c in enumerate(codes)]
""",
    ),
    # 10.5
    Answer(
        "bits",
        "counts one by one",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    blocks = len(range(0, n, block_size))
    if not double_quant:
        return (4 * n + 32 * blocks) / n
    return sum((4 * n, 8 * blocks, 32 * len(range(0, blocks, 256)))) / n
""",
    ),
    Answer(
        "bits",
        "a Fraction",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    from fractions import Fraction

    blocks = (n + block_size - 1) // block_size
    second = 8 * blocks + 32 * ((blocks + 255) // 256)
    return 4 + Fraction(second if double_quant else 32 * blocks, n)
""",
    ),
    Answer(
        "blockwise",
        "loops over starts, lists",
        "",
        code="""
def quantize_int8(x, block_size):
    codes, absmax = torch.empty(len(x), dtype=torch.int8), []
    for start in range(0, len(x), block_size):
        part = x[start : start + block_size]
        absmax.append(float(part.abs().max()))
        codes[start : start + block_size] = torch.round(part / absmax[-1] * 127).to(torch.int8)
    return codes, torch.tensor(absmax)


def dequantize_int8(codes, absmax, block_size):
    return torch.stack([absmax[n // block_size] * int(c) / 127 for n, c in enumerate(codes)])
""",
    ),
    Answer(
        "code_book",
        "by halves mirrored, sorted",
        "",
        code="""
def normal_code(bits):
    n = 2 ** bits
    q = NormalDist().inv_cdf
    end = 1 - 0.25 * (1 / (n - 1) + 1 / n)
    half = [q(0.5 + (end - 0.5) * k / (n // 2)) for k in range(1, n // 2 + 1)]
    other = [-q(0.5 + (end - 0.5) * k / (n // 2 - 1)) for k in range(1, n // 2)]
    return sorted(v / half[-1] for v in other + [0.0] + half)
""",
    ),
    Answer(
        "code_book",
        "icdf of torch",
        "",
        code="""
def normal_code(bits):
    n = 1 << bits
    end = 1 - (1 / (n - 1) + 1 / n) / 4
    normal = torch.distributions.Normal(0.0, 1.0)
    up = normal.icdf(torch.linspace(0.5, end, n // 2 + 1)[1:])
    down = normal.icdf(torch.linspace(1 - end, 0.5, n // 2)[:-1])
    return torch.cat([down, torch.zeros(1), up]) / up.max()
""",
    ),
    Answer(
        "packing",
        "divmod and a reshape",
        "",
        code="""
def pack(codes):
    if len(codes) % 2:
        codes = torch.cat([codes, codes[-1:]])
    first, second = codes.view(-1, 2).unbind(1)
    return first * 16 + second


def unpack(packed, n):
    out = torch.empty(2 * len(packed), dtype=torch.uint8)
    out[::2], out[1::2] = packed // 16, packed % 16
    return out[:n]
""",
    ),
    Answer(
        "packing",
        "python ints",
        "",
        code="""
def pack(codes):
    c = codes.tolist() + [0]
    return torch.tensor([c[k] << 4 | c[k + 1] for k in range(0, len(codes), 2)], dtype=torch.uint8)


def unpack(packed, n):
    text = "".join(f"{b:02x}" for b in packed.tolist())
    return torch.tensor([int(c, 16) for c in text[:n]], dtype=torch.uint8)
""",
    ),
    Answer(
        "double",
        "cdist and unflatten",
        "",
        code="""
def double_quantize(absmax, levels, group):
    offset = absmax.sum() / absmax.numel()
    rest = (absmax - offset).unflatten(0, (-1, group))
    scales = rest.abs().max(dim=-1).values
    codes = torch.cdist((rest / scales.unsqueeze(-1)).reshape(-1, 1), levels[:, None]).argmin(1)
    return codes.byte(), scales, offset


def double_dequantize(codes, scales, offset, levels, group):
    return (levels[codes.int()].view(-1, group) * scales[:, None]).flatten() + offset
""",
    ),
    Answer(
        "double",
        "bisect",
        "",
        code="""
def double_quantize(absmax, levels, group):
    offset = absmax.mean().item()
    codes, scales = [], []
    edges = (levels[1:] + levels[:-1]) / 2
    for part in (absmax - offset).split(group):
        scales.append(part.abs().max())
        codes.append(torch.bucketize(part / scales[-1], edges))
    return torch.cat(codes).to(torch.uint8), torch.stack(scales), offset


def double_dequantize(codes, scales, offset, levels, group):
    return torch.gather(levels, 0, codes.long()) * scales.repeat_interleave(group) + offset
""",
    ),
    Answer(
        "bits",
        "math.ceil and if",
        "",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    blocks = -int(-n // block_size)
    total = 4 * n
    if double_quant:
        total += blocks * 8 + -int(-blocks // 256) * 32
    else:
        total += blocks * 32
    return total / n
""",
    ),
    Answer(
        "bits",
        "ranges",
        "",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    blocks = len(range(0, n, block_size))
    extra = 8 * blocks + 32 * len(range(0, blocks, 256)) if double_quant else 32 * blocks
    return torch.tensor(4 * n + extra, dtype=torch.float64) / n
""",
    ),
    Answer(
        "bits",
        "groups per block_size times 256",
        "",
        edits=(("-(-blocks // 256)", "-(-n // (256 * block_size))"),),
    ),
]

WRONG = [
    # 10.1
    Answer("blockwise", "one scale", "one_scale", code=ONE_SCALE),
    Answer(
        "blockwise",
        "one scale, repeated",
        "one_scale",
        edits=[(ABSMAX, "rows.abs().max().repeat(len(rows))")],
    ),
    Answer("blockwise", "no abs", "signed", edits=[(ABSMAX, "rows.amax(dim=1)")]),
    Answer("blockwise", "returns the step", "step", edits=[(CUT, CUT + " / 127")]),
    Answer(
        "blockwise", "returns 127 / absmax", "inverse", edits=[(CUT, CUT[:-6] + "127 / absmax")]
    ),
    Answer("blockwise", "keeps the filling", "padded", edits=[("[: len(x)]", "")]),
    Answer(
        "blockwise",
        "keeps it on the way back",
        "back_rest",
        edits=[(SPREAD, "absmax.repeat_interleave(block_size)")],
    ),
    Answer(
        "blockwise",
        "fills up on the way back",
        "padded",
        edits=[(BACK, "return F.pad(codes * scales / 127, (0, -len(codes) % block_size))")],
    ),
    Answer("blockwise", "does not round", "truncated", edits=[(ROUND, ROUND[:-8])]),
    Answer("blockwise", "floor", "truncated", edits=[(".round()", ".floor()")]),
    Answer(
        "blockwise",
        "leaves fractions",
        "not_rounded",
        edits=[(ROUND, ROUND[:-8]), (".to(torch.int8)", "")],
    ),
    Answer("blockwise", "128", "top", edits=[("127 * rows", "128 * rows")]),
    Answer(
        "blockwise",
        "uint8",
        "unsigned",
        edits=[
            ("torch.int8", "torch.int32) % 256).to(torch.uint8"),
            ("return codes.fl", "return (codes.fl"),
        ],
    ),
    Answer(
        "blockwise",
        "plus 127",
        "offset",
        edits=[(".round()", ".round() + 127"), ("torch.int8", "torch.int16")],
    ),
    Answer("blockwise", "float codes", "wide", edits=[(".to(torch.int8)", "")]),
    Answer("blockwise", "long codes", "wide", edits=[(".to(torch.int8)", ".long()")]),
    Answer("blockwise", "no 127 back", "no_127", edits=[(BACK, "return codes * scales")]),
    Answer("blockwise", "divides back", "divided", edits=[(BACK, "return codes / scales / 127")]),
    Answer("blockwise", "no scale back", "no_scale", edits=[(BACK, "return codes / 127")]),
    Answer("blockwise", "no filling", "rest", edits=[(ROWS, "x.view(-1, block_size)")]),
    Answer("blockwise", "mean instead", "measure", edits=[(ABSMAX, "rows.abs().mean(dim=1)")]),
    Answer("blockwise", "half of it", "factor", edits=[("127 * rows", "63 * rows")]),
    Answer("blockwise", "back plus 1", "other", edits=[(BACK, BACK + " + 1")]),
    Answer("blockwise", "no return", "none", edits=[(BACK, "codes * scales / 127")]),
    # 10.2
    Answer(
        "code_book",
        "up to probability 1",
        "infinite",
        code="""
def normal_code(bits):
    n = 2**bits
    up = torch.special.ndtri(torch.linspace(1, 0.5, n // 2 + 1))[:-1]
    down = -torch.special.ndtri(torch.linspace(1, 0.5, n // 2))[:-1]
    levels = torch.cat([down, torch.zeros(1), up.flip(0)])
    return levels / levels.max()
""",
    ),
    Answer("code_book", "inv_cdf of 1", "raised", edits=[(END, "end = 1.0")]),
    Answer("code_book", "keeps both halves' 1/2", "zero_twice", edits=[("[:-1]", "")]),
    Answer(
        "code_book",
        "no zero between",
        "no_zero_between",
        edits=[("*negative, 0.0, *", "*negative, *")],
    ),
    Answer(
        "code_book",
        "one bit too many",
        "one_bit_more",
        edits=[("n, quantile = 2**bits", "n, quantile = 2 ** (bits + 1)")],
    ),
    Answer("code_book", "unsorted", "order", edits=[(JOIN, "[*negative, 0.0, *positive]")]),
    Answer("code_book", "zero last", "order", edits=[(JOIN, "[*negative, *positive, 0.0]")]),
    Answer("code_book", "not divided", "not_divided", edits=[(DIVIDE, "return levels")]),
    Answer("code_book", "even levels", "even", edits=[(DIVIDE, "return torch.linspace(-1, 1, n)")]),
    Answer(
        "code_book",
        "integers",
        "even",
        edits=[(DIVIDE, "return torch.arange(-n // 2, n // 2) / (n // 2)")],
    ),
    Answer(
        "code_book",
        "one even row",
        "no_zero",
        code="""
def normal_code(bits):
    n = 2**bits
    end = 1 - (1 / (n - 1) + 1 / n) / 4
    steps = torch.linspace(1 - end, end, n).tolist()
    levels = torch.tensor([NormalDist().inv_cdf(p) for p in steps])
    return levels / levels.max()
""",
    ),
    Answer(
        "code_book",
        "more negative ones",
        "sides",
        edits=[(DIVIDE, "return -levels.flip(0) / levels.max()")],
    ),
    Answer("code_book", "end 1 - 1/n", "end", edits=[(END, "end = 1 - 1 / n")]),
    Answer("code_book", "end 1 - 1/2n", "end", edits=[(END, "end = 1 - 1 / (2 * n)")]),
    Answer("code_book", "halves the sum", "end", edits=[("/ 4", "/ 2")]),
    Answer(
        "code_book",
        "squares",
        "other",
        edits=[(DIVIDE, "return levels.abs() * levels / levels.max() ** 2")],
    ),
    Answer("code_book", "prints", "none", edits=[(DIVIDE, "print()")]),
    # 10.3
    Answer(
        "packing",
        "low half first",
        "low_first",
        edits=[(PACK, "return codes[1::2] << 4 | codes[0::2]")],
    ),
    Answer(
        "packing",
        "first with second half",
        "halves",
        edits=[(PACK, "half = len(codes) // 2\n    return codes[:half] << 4 | codes[half:]")],
    ),
    Answer(
        "packing",
        "forgets the shift",
        "no_shift",
        edits=[(PACK, "return codes[0::2] | codes[1::2]")],
    ),
    Answer("packing", "adds", "no_shift", edits=[(PACK, "return codes[0::2] + codes[1::2]")]),
    Answer("packing", "a byte each", "not_packed", edits=[(PACK, "return codes"), (PAD, "")]),
    Answer(
        "packing", "drops the last", "odd", edits=[(PAD, "codes = codes[: len(codes) // 2 * 2]")]
    ),
    Answer(
        "packing",
        "the odd one in the low half",
        "odd",
        edits=[
            (
                PAD,
                "if len(codes) % 2:\n        zero = codes.new_zeros(1)\n"
                "        codes = torch.cat([codes[:-1], zero, codes[-1:]])",
            )
        ],
    ),
    Answer("packing", "no filling", "odd_stops", edits=[(PAD, "")]),
    Answer("packing", "long bytes", "wide", edits=[(PAD, PAD + ".long()")]),
    Answer("packing", "long codes back", "wide", edits=[(FLAT, FLAT + ".long()")]),
    Answer("packing", "one too many", "extra", edits=[(FLAT, "pairs.flatten()")]),
    Answer(
        "packing",
        "low half first on the way back",
        "unpack_swapped",
        edits=[("[packed >> 4, packed & 15]", "[packed & 15, packed >> 4]")],
    ),
    Answer(
        "packing", "cat", "unpack_apart", edits=[(PAIRS, "torch.cat([packed >> 4, packed & 15])")]
    ),
    Answer("packing", "stacks as rows", "unpack_apart", edits=[(", dim=1)", ")")]),
    Answer("packing", "no mask", "unpack_mask", edits=[("packed & 15", "packed")]),
    Answer("packing", "no shift back", "unpack_shift", edits=[("packed >> 4", "packed & 240")]),
    Answer("packing", "whole byte", "unpack_shift", edits=[("packed >> 4", "packed")]),
    Answer("packing", "three bits", "other_mask", edits=[("packed & 15", "packed & 3")]),
    Answer("packing", "shifts by 3", "no_sixteen", edits=[("<< 4", "<< 3")]),
    Answer("packing", "no return", "none", edits=[("return " + FLAT, FLAT)]),
    # 10.4
    Answer("double", "no mean", "no_offset", edits=[(OFFSET, "offset = torch.tensor(0.0)")]),
    Answer(
        "double",
        "a mean for each group",
        "offset_per_group",
        edits=[
            (OFFSET, "offset = absmax.view(-1, group).mean(dim=1)"),
            (GROUPS, "rows = absmax.view(-1, group) - offset[:, None]"),
            ("+ offset", "+ offset.mean()"),
        ],
    ),
    Answer("double", "the minimum", "middle", edits=[(OFFSET, "offset = absmax.min()")]),
    Answer(
        "double",
        "the median",
        "middle",
        edits=[
            (OFFSET, "offset = absmax.double().quantile(0.5)"),
            (GROUPS, GROUPS.replace("offset)", "offset.float())")),
        ],
    ),
    Answer(
        "double",
        "one scale",
        "one_scale",
        edits=[(SCALES, "scales = rows.abs().max().repeat(len(rows))")],
    ),
    Answer("double", "no abs", "signed", edits=[(SCALES, "scales = rows.amax(dim=1)")]),
    Answer(
        "double", "mean not taken off", "not_taken_off", edits=[("(absmax - offset)", "absmax")]
    ),
    Answer(
        "double",
        "groups across",
        "across",
        edits=[("view(-1, group)", "view(group, -1).T.contiguous()")],
    ),
    Answer("double", "eight groups", "across", edits=[("view(-1, group)", "view(group, -1)")]),
    Answer(
        "double",
        "levels for codes",
        "values",
        edits=[(NEAREST, "levels[distance.abs().argmin(dim=1)]")],
    ),
    Answer(
        "double",
        "searchsorted",
        "one_side",
        edits=[(NEAREST, "torch.searchsorted(levels, (rows / scales[:, None]).flatten()).byte()")],
    ),
    Answer(
        "double",
        "the level below",
        "one_side",
        edits=[(NEAREST, "((distance >= 0).sum(dim=1) - 1).byte()")],
    ),
    Answer(
        "double",
        "not divided",
        "not_divided",
        edits=[(DISTANCE, "rows.flatten()[:, None] - levels")],
    ),
    Answer("double", "long codes", "wide", edits=[(".to(torch.uint8)", "")]),
    Answer("double", "offset forgotten", "offset_lost", edits=[(AGAIN, AGAIN[:-9])]),
    Answer(
        "double",
        "offset first",
        "offset_first",
        edits=[(AGAIN, "(levels[codes.long()] + offset) * scales.repeat_interleave(group)")],
    ),
    Answer(
        "double", "offset twice off", "offset_off", edits=[("(group) + offset", "(group) - offset")]
    ),
    Answer("double", "no scale", "no_scale", edits=[(AGAIN, "levels[codes.long()] + offset")]),
    Answer(
        "double",
        "codes as numbers",
        "codes_as_values",
        edits=[("levels[codes.long()] *", "codes *")],
    ),
    Answer(
        "double",
        "repeat",
        "repeat",
        edits=[("scales.repeat_interleave(group)", "scales.repeat(group)")],
    ),
    Answer(
        "double",
        "twice the scale",
        "factor",
        edits=[(SCALES, "scales = 2 * rows.abs().amax(dim=1)")],
    ),
    Answer(
        "double", "a third of the mean", "other", edits=[(OFFSET, "offset = absmax.mean() / 3")]
    ),
    Answer("double", "no return", "none", edits=[("return " + AGAIN, AGAIN)]),
    # 10.5
    Answer("bits", "codes alone", "no_scales", edits=[(SHARE, "return 4.0")]),
    Answer("bits", "bytes of a scale", "in_bytes", edits=[("else 32 * blocks", "else 4 * blocks")]),
    Answer(
        "bits",
        "bytes of both",
        "in_bytes",
        edits=[("8 * blocks + 32 * groups", "blocks + 4 * groups")],
    ),
    Answer("bits", "no rounding", "not_rounded", edits=[(BLOCKS, "blocks = n / block_size")]),
    Answer(
        "bits",
        "the formula of the paper",
        "not_rounded",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    return 4 + (8 / block_size + 32 / (256 * block_size) if double_quant else 32 / block_size)
""",
    ),
    Answer("bits", "rounds down", "dropped", edits=[(BLOCKS, "blocks = n // block_size")]),
    Answer(
        "bits", "groups rounded down", "dropped", edits=[("-(-blocks // 256)", "blocks // 256")]
    ),
    Answer("bits", "the total", "total", edits=[(SHARE, "return 4 * n + scales")]),
    Answer("bits", "in bytes", "only_bytes", edits=[(SHARE, "return (4 + scales / n) / 8")]),
    Answer("bits", "scales alone", "only_scales", edits=[(SHARE, "return scales / n")]),
    Answer("bits", "one way", "not_doubled", edits=[(SUM, "scales = 32 * blocks")]),
    Answer(
        "bits", "no second scales", "no_groups", edits=[("8 * blocks + 32 * groups", "8 * blocks")]
    ),
    Answer("bits", "both kinds", "kept", edits=[("8 * blocks + 32", "40 * blocks + 32")]),
    Answer(
        "bits", "256 weights", "groups_of_weights", edits=[("-(-blocks // 256)", "-(-n // 256)")]
    ),
    Answer("bits", "float16 scales", "other_scales", edits=[("else 32", "else 16")]),
    Answer("bits", "no return", "none", edits=[(SHARE, "4 + scales / n")]),
]

WRONG += [
    # 10.1
    edit(
        "blockwise",
        "a column of scales",
        "column",
        (ABSMAX, "rows.abs().amax(dim=1, keepdim=True)"),
        ("absmax[:, None]", "absmax"),
    ),
    edit(
        "blockwise",
        "a column, and a way back of its own",
        "column",
        (ABSMAX, "rows.abs().amax(dim=1, keepdim=True)"),
        ("absmax[:, None]", "absmax"),
        (SPREAD, "absmax.reshape(-1).repeat_interleave(block_size)[: len(codes)]"),
    ),
    edit(
        "blockwise",
        "the pair exchanged",
        "swapped",
        (CUT, "absmax, codes.flatten()[: len(x)].to(torch.int8)"),
    ),
    edit("blockwise", "rows stay rows", "not_flat", ("codes.flatten()[: len(x)]", "codes")),
    edit("blockwise", "abs of the codes", "no_sign", ("127 * rows", "127 * rows.abs()")),
    edit("blockwise", "repeat", "repeat", (SPREAD, "absmax.repeat(block_size)[: len(codes)]")),
    edit(
        "blockwise",
        "127 in the int8 product",
        "other",
        (BACK, "return (codes * 127) * scales / 127**2"),
    ),
    edit(
        "blockwise",
        "blocks across",
        "across",
        (ABSMAX, "rows.abs().amax(dim=0)"),
        ("absmax[:, None]", "absmax"),
    ),
    edit(
        "blockwise",
        "one value alone",
        "type",
        ("return codes.flatten()", "return F.relu(codes).flatten()"),
        (", absmax\n", "\n"),
    ),
    edit(
        "blockwise",
        "works in place",
        "other",
        (ROUND, "(127 * rows / absmax[:, None]).round()\n    x.zero_()"),
    ),
    edit("blockwise", "the way back not done", "unfinished", (BACK, "raise NotImplementedError")),
    edit(
        "blockwise", "scale of 128 on the way back", "no_128", (BACK, "return codes * scales / 128")
    ),
    edit(
        "blockwise",
        "uint8 by to",
        "unsigned",
        (".to(torch.int8)", ".to(torch.int32).to(torch.uint8)"),
    ),
    # 10.2
    edit(
        "code_book", "the number of the chapter", "constant_end", (END, "end = 0.9677083333333333")
    ),
    edit("code_book", "always 16", "table", ("n, quantile = 2**bits", "n, quantile = 16")),
    edit("code_book", "2 * bits", "two_bits", ("n, quantile = 2**bits", "n, quantile = 2 * bits")),
    edit("code_book", "end of 0.99", "end", (END, "end = 0.99")),
    edit("code_book", "cuts at the other end", "no_end", ("[:-1].tolist()", "[1:].tolist()")),
    edit("code_book", "negative half not turned", "no_minus", ("[-quantile(p)", "[quantile(p)")),
    edit(
        "code_book", "divided by the sum", "not_divided", (DIVIDE, "return levels / levels.sum()")
    ),
    edit("code_book", "as a column", "other", (DIVIDE, "return (levels / levels.max())[:, None]")),
    edit(
        "code_book",
        "from the largest to the smallest",
        "order",
        (DIVIDE, "return (levels / levels.max()).flip(0)"),
    ),
    edit("code_book", "probabilities for quantiles", "other", ("[quantile(p) for p", "[p for p")),
    edit("code_book", "end without the quarter", "end", (END, "end = 1 - 1 / (n + 1)")),
    # 10.3
    edit("packing", "int8 back", "wide", ("return " + FLAT, "return " + FLAT + ".to(torch.int8)")),
    edit(
        "packing",
        "int8 bytes",
        "signed",
        (
            "return codes[0::2] << 4 | codes[1::2]",
            "return (codes[0::2] << 4 | codes[1::2]).to(torch.int8)",
        ),
    ),
    edit("packing", "pads always", "byte_more", ("(0, len(codes) % 2)", "(0, 2 - len(codes) % 2)")),
    edit(
        "packing",
        "pads an even number",
        "other",
        ("(0, len(codes) % 2)", "(0, 1 - len(codes) % 2)"),
    ),
    edit(
        "packing",
        "shifts the second one",
        "low_first",
        (PACK, "return codes[0::2] | codes[1::2] << 4"),
    ),
    edit("packing", "a decimal shift", "no_sixteen", ("codes[0::2] << 4 |", "codes[0::2] * 10 +")),
    edit("packing", "and for or", "and", (PACK, PACK.replace("|", "&"))),
    edit("packing", "a list of pairs", "other", ("return " + FLAT, "return pairs[:n]")),
    edit(
        "packing",
        "float bytes",
        "wide",
        (
            PACK,
            PACK.replace(
                "return codes[0::2] << 4 | codes[1::2]",
                "return (codes[0::2] << 4 | codes[1::2]).float()",
            ),
        ),
    ),
    edit("packing", "n bytes", "extra", (FLAT, "pairs.flatten()[: 2 * n]")),
    edit(
        "packing",
        "unpack not done",
        "unfinished",
        ("pairs = ", "raise NotImplementedError\n    pairs = "),
    ),
    edit("packing", "only the first half", "one_each", (FLAT, "pairs.flatten()[: n // 2]")),
    # 10.4
    edit("double", "uint8 as an index", "mask", ("codes.long()", "codes")),
    edit(
        "double",
        "a column of scales",
        "column",
        (SCALES, "scales = rows.abs().amax(dim=1, keepdim=True)"),
        ("scales[:, None]", "scales"),
    ),
    edit("double", "argmax", "farthest", ("argmin", "argmax")),
    edit("double", "no abs before argmin", "no_abs", ("distance.abs()", "distance")),
    edit("double", "the maximum as offset", "middle", (OFFSET, "offset = absmax.max()")),
    edit("double", "codes over 255", "codes_as_values", ("levels[codes.long()]", "codes / 255")),
    edit("double", "standard deviation", "spread", (SCALES, "scales = rows.std(dim=1)")),
    edit("double", "two values", "type", (", scales, offset", ", scales")),
    edit(
        "double",
        "the order of the three",
        "exchanged",
        (", scales, offset\n", ", offset, scales\n"),
    ),
    edit(
        "double",
        "rounds to 255 steps",
        "even_levels",
        (NEAREST, "((rows / scales[:, None]).flatten() * 127 + 128).round().to(torch.uint8)"),
    ),
    edit("double", "int16 codes", "wide", ("torch.uint8", "torch.int16")),
    edit("double", "int8 codes", "signed_codes", (".to(torch.uint8)", ".to(torch.int8)")),
    edit(
        "double",
        "the way back not done",
        "unfinished",
        ("return " + AGAIN, "raise NotImplementedError"),
    ),
    edit(
        "double",
        "takes the offset from absmax itself",
        "other",
        (OFFSET, "offset = absmax.mean()\n    absmax -= offset"),
        ("(absmax - offset)", "absmax"),
    ),
    edit(
        "double",
        "scale of the first group",
        "one_scale_back",
        ("scales.repeat_interleave(group)", "scales[0]"),
    ),
    # 10.5
    edit("bits", "groups not rounded", "group_not_rounded", ("-(-blocks // 256)", "blocks / 256")),
    edit("bits", "one float for all", "one_group", ("32 * groups", "32")),
    edit("bits", "eight bits a code", "other_codes", ("return 4 +", "return 8 +")),
    edit("bits", "exchanged", "the_other_way", ("if double_quant", "if not double_quant")),
    edit("bits", "one more always", "one_more", ("-(-blocks // 256)", "blocks // 256 + 1")),
    edit(
        "bits",
        "groups as large as blocks",
        "groups_of_blocks",
        ("blocks // 256", "blocks // block_size"),
    ),
    edit("bits", "128 scales in a group", "groups_of_blocks", ("blocks // 256", "blocks // 128")),
    edit("bits", "rounded to one place", "cut", (SHARE, "return round(4 + scales / n, 1)")),
    edit("bits", "a pair", "type", (SHARE, "return 4, scales / n")),
    edit("bits", "a complex number", "other", (SHARE, "return 4 + scales / n + 0j")),
    edit("bits", "divides by blocks", "by_blocks", (SHARE, "return 4 + scales / blocks")),
    # a second round
    edit("blockwise", "codes from -1 to 1", "no_127_there", (ROUND, ROUND.replace("127 * ", ""))),
    edit(
        "blockwise",
        "the right scales, not used",
        "one_for_codes",
        (ROUND, ROUND.replace("absmax[:, None]", "absmax.max()")),
    ),
    edit(
        "blockwise",
        "drops the last block",
        "last_lost",
        (ROWS, "x[: len(x) // block_size * block_size].view(-1, block_size)"),
    ),
    edit(
        "blockwise",
        "always fills up",
        "block_more",
        (ROWS, "F.pad(x, (0, block_size - len(x) % block_size)).view(-1, block_size)"),
    ),
    edit(
        "blockwise",
        "view the other way",
        "across",
        ("view(-1, block_size)", "view(block_size, -1)"),
    ),
    edit(
        "blockwise",
        "fills up in front",
        "in_front",
        ("(0, -len(x) % block_size)", "(-len(x) % block_size, 0)"),
    ),
    edit(
        "blockwise",
        "half the range",
        "measure",
        (ABSMAX, "(rows.amax(dim=1) - rows.amin(dim=1)) / 2"),
    ),
    edit("code_book", "cdf", "no_quantiles", ("NormalDist().inv_cdf", "NormalDist().cdf")),
    edit(
        "code_book",
        "two decimals",
        "rounded",
        (DIVIDE, "return (levels / levels.max()).round(decimals=2)"),
    ),
    edit("packing", "shift of 8", "one_lost", ("<< 4", "<< 8")),
    edit(
        "packing", "fills up in front", "in_front", ("(0, len(codes) % 2)", "(len(codes) % 2, 0)")
    ),
    edit("packing", "the last n", "last_n", ("[:n]", "[-n:]")),
    edit("double", "int8 as an index", "other", ("codes.long()", "codes.to(torch.int8)")),
    edit("double", "codes in rows", "in_rows", (NEAREST, NEAREST + ".view(-1, group)")),
    edit("double", "argmin over the numbers", "axis", ("argmin(dim=1)", "argmin(dim=0)")),
    edit(
        "bits",
        "blocks rounded to the nearest",
        "dropped",
        (BLOCKS, "blocks = round(n / block_size)"),
    ),
    edit("bits", "one block more", "one_more", (BLOCKS, "blocks = n // block_size + 1")),
    edit(
        "bits",
        "32 and 8 exchanged",
        "exchanged",
        ("8 * blocks + 32 * groups", "32 * blocks + 8 * groups"),
    ),
    edit("bits", "always blocks of 64", "fixed", (BLOCKS, "blocks = -(-n // 64)")),
]

# Another round of novices' answers: written from the exercise's text alone
RIGHT += [
    Answer(
        "blockwise",
        "list loop",
        "",
        code="""
def quantize_int8(x, block_size):
    codes, top = [], []
    for block in x.split(block_size):
        m = block.abs().max().item()
        top.append(m)
        codes += [round(v * 127 / m) for v in block.tolist()]
    return torch.tensor(codes, dtype=torch.int8), top


def dequantize_int8(codes, absmax, block_size):
    return [int(c) * float(absmax[i // block_size]) / 127 for i, c in enumerate(codes)]
""",
    ),
    Answer(
        "blockwise",
        "numpy",
        "",
        edits=(
            (
                "return codes.flatten()[: len(x)].to(torch.int8), absmax",
                (
                    "import numpy as np\n"
                    "    return codes.flatten()[: len(x)].numpy().astype(np.int8), "
                    "absmax.double()"
                ),
            ),
        ),
    ),
    Answer(
        "blockwise",
        "rint and float64",
        "",
        edits=(
            (
                "(127 * rows / absmax[:, None]).round(",
                "torch.round(rows.double() / absmax.double().unsqueeze(-1) * 127",
            ),
        ),
    ),
    Answer(
        "code_book",
        "numpy sort",
        "",
        edits=(
            (
                "levels = torch.tensor([*negative, 0.0, *reversed(positive)]",
                ("import numpy as np\n    levels = np.sort(np.array(positive + negative + [0])"),
            ),
        ),
    ),
    Answer(
        "code_book",
        "list sorted",
        "",
        edits=(
            (
                (
                    "levels = torch.tensor([*negative, 0.0, *reversed(positive)])\n"
                    "    return levels / levels.max()"
                ),
                (
                    "all_ = sorted(positive + negative + [0.0])\n"
                    "    return [v / all_[-1] for v in all_]"
                ),
            ),
        ),
    ),
    Answer(
        "code_book",
        "float64 steps",
        "",
        code="""
def normal_code(bits):
    n, quantile = 2**bits, NormalDist().inv_cdf
    end = 1 - (1 / (n - 1) + 1 / n) / 4
    m = n // 2
    ps = [end + (0.5 - end) * i / m for i in range(m)]
    ns = [end + (0.5 - end) * i / (m - 1) for i in range(m - 1)]
    top = quantile(end)
    return tuple(sorted([quantile(p) / top for p in ps] + [-quantile(p) / top for p in ns] + [0.0]))
""",
    ),
    Answer(
        "packing",
        "arithmetics",
        "",
        edits=(
            ("<< 4 |", "* 16 +"),
            (">> 4, packed & 15", "// 16, packed % 16"),
        ),
    ),
    Answer(
        "packing",
        "view and filled with 15",
        "",
        edits=(
            ("% 2))", "% 2), value=15)"),
            (
                "codes[0::2] << 4 | codes[1::2]",
                (
                    "(codes.view(-1, 2) * torch.tensor([16, 1], "
                    "dtype=torch.uint8)).sum(1).to(torch.uint8)"
                ),
            ),
        ),
    ),
    Answer(
        "packing",
        "numpy",
        "",
        code="""
import numpy as np


def pack(codes):
    c = codes.numpy()
    c = np.append(c, np.zeros(len(c) % 2, np.uint8))
    return np.bitwise_or(c[::2] << 4, c[1::2])


def unpack(packed, n):
    out = torch.empty(2 * len(packed), dtype=torch.uint8)
    out[::2], out[1::2] = packed >> 4, packed.bitwise_and(0xF)
    return out[:n].clone()
""",
    ),
    Answer(
        "double",
        "bucketize midpoints",
        "",
        edits=(
            (
                (
                    "distance = (rows / scales[:, None]).flatten()[:, None] - levels  # "
                    "(blocks, 256)\n"
                    "    return distance.abs().argmin(dim=1).to(torch.uint8), scales, "
                    "offset"
                ),
                (
                    "mid = (levels[1:] + levels[:-1]) / 2\n"
                    "    return torch.bucketize((rows / scales[:, None]).flatten(), "
                    "mid).to(torch.uint8), scales, offset.item()"
                ),
            ),
        ),
    ),
    Answer(
        "double",
        "cdist, offset of shape 1",
        "",
        edits=(
            (
                (
                    "(rows / scales[:, None]).flatten()[:, None] - levels  # (blocks, 256)\n"
                    "    return distance.abs()"
                ),
                (
                    "torch.cdist((rows / scales[:, None]).reshape(-1, 1), levels[:, None])\n"
                    "    return distance"
                ),
            ),
            ("scales, offset\n", "scales, offset[None]\n"),
        ),
    ),
    Answer(
        "double",
        "float64 numpy, list",
        "",
        edits=(
            ("scales, offset\n", "scales.double().numpy(), float(offset)\n"),
            (
                "levels[codes.long()] * scales.repeat_interleave(group) + offset",
                (
                    "[float(levels[int(c)]) * float(scales[i // group]) + float(offset) "
                    "for i, c in enumerate(codes)]"
                ),
            ),
        ),
    ),
    Answer("bits", "ceil", "", edits=(("-(-n /", "__import__('math').ceil(n "),)),
    Answer(
        "bits",
        "Fraction",
        "",
        edits=(("4 + scales / n", "__import__('fractions').Fraction(4 * n + scales, n)"),),
    ),
]

# Another round of novices' answers: written from the exercise's text alone
WRONG += [
    Answer("blockwise", "one scale for all", "one_scale", edits=(("dim=1", ").expand(len(rows)"),)),
    Answer("blockwise", "wrong dim", "other", edits=(("dim=1)", "dim=0)"),)),
    Answer(
        "blockwise",
        "pads with edge",
        "filled",
        edits=(
            (
                "F.pad(x, (0, -len(x) % block_size)",
                "torch.cat([x, x.max().expand(-len(x) % block_size)]",
            ),
        ),
    ),
    Answer("blockwise", "int32", "wide", edits=(("int8)", "int32)"),)),
    Answer("blockwise", "uint8, again", "unsigned", edits=(("torch.int8", "torch.uint8"),)),
    Answer(
        "blockwise",
        "absmax is scale /127",
        "step",
        edits=(
            ("int8), absmax", "int8), absmax / 127"),
            ("scales / 127", "scales"),
        ),
    ),
    Answer(
        "blockwise",
        "interleaved blocks",
        "across",
        edits=(("-1, block_size)", "block_size, -1).T"),),
    ),
    Answer(
        "blockwise",
        "back blocks by view",
        "back_rest",
        edits=(
            (
                (
                    "scales = absmax.repeat_interleave(block_size)[: len(codes)]  # (n,)\n"
                    "    return codes * scales / 127"
                ),
                "return (codes.view(-1, block_size) * absmax[:, None] / 127).flatten()",
            ),
        ),
    ),
    Answer("blockwise", "back int overflow", "divided", edits=(("scales / 127", "127 / scales"),)),
    Answer(
        "blockwise", "absmax kept as column", "column", edits=(("absmax\n", "absmax[:, None]\n"),)
    ),
    Answer(
        "blockwise", "in place", "other", edits=(("  rows", ("  x /= x.abs().max()\n    rows")),)
    ),
    Answer(
        "blockwise",
        "minmax",
        "measure",
        edits=(("rows.abs().amax(dim=1)", "(rows.amax(1) - rows.amin(1)) / 2"),),
    ),
    Answer(
        "blockwise",
        "back in place",
        "other",
        edits=(
            (
                "return codes * scales / 127",
                (
                    "absmax /= 127\n"
                    "    return codes * absmax.repeat_interleave(block_size)[: len(codes)]"
                ),
            ),
        ),
    ),
    Answer(
        "code_book",
        "uniform",
        "even",
        code="""
def normal_code(bits):
    return torch.linspace(-1, 1, 2**bits)
""",
    ),
    Answer("code_book", "n-1 for both", "lengths", edits=(("2 + 1", "2"),)),
    Answer("code_book", "keeps 1/2", "zero_twice", edits=(("2)[:-1]", "2)"),)),
    Answer("code_book", "drops the end", "no_end", edits=(("1)[:-1]", "1)[1:]"),)),
    Answer(
        "code_book",
        "halves exchanged",
        "sides",
        edits=(
            ("n // 2 + 1", "N"),
            (" 2)[", " 2 + 1)["),
            ("5, N)", "5, n // 2)"),
        ),
    ),
    Answer(
        "code_book", "divided by n", "not_divided", edits=(("levels.max()", "levels.abs().sum()"),)
    ),
    Answer(
        "code_book",
        "each side own max",
        "other",
        edits=(
            (
                (
                    "levels = torch.tensor([*negative, 0.0, *reversed(positive)])\n"
                    "    return levels / levels.max("
                ),
                (
                    "negative = [v / max(-x for x in negative) for v in negative]\n"
                    "    positive = [v / positive[1] for v in positive]\n"
                    "    return torch.tensor([*negative, 0.0, *reversed(positive)]"
                ),
            ),
        ),
    ),
    Answer("code_book", "bits 4 only", "table", edits=(("2**bits", "16"),)),
    Answer(
        "code_book",
        "quantiles evenly n",
        "one_row",
        code="""
def normal_code(bits):
    n = 2**bits
    q = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    q = torch.tensor(q)
    return q / q.abs().max()
""",
    ),
    Answer("code_book", "unsorted cat", "order", edits=(("*negative, 0.0", "0.0, *negative"),)),
    Answer("code_book", "end n+1", "end", edits=(("(n - 1) + 1 / n", "n + 1 / (n + 1)"),)),
    Answer(
        "code_book",
        "bf16",
        "rounded",
        edits=(("levels / levels.max", "(levels / levels.max()).bfloat16"),),
    ),
    Answer("code_book", "2*bits", "two_bits", edits=(("2**bits", "2 * bits"),)),
    Answer(
        "code_book",
        "arange evenly spaced to 0",
        "other",
        edits=(("0.5, n // 2 +", "0.0, n // 2 +"),),
    ),
    Answer(
        "packing",
        "low first both",
        "low_first",
        edits=(
            ("<< 4 | codes[1::2]", "| codes[1::2] << 4"),
            (">> 4, packed & 15", "& 15, packed >> 4"),
        ),
    ),
    Answer(
        "packing",
        "halves",
        "halves",
        edits=(("0::2] << 4 | codes[1::2", ": len(codes) // 2] << 4 | codes[len(codes) // 2 :"),),
    ),
    Answer("packing", "times 15", "no_sixteen", edits=(("<< 4 |", "* 15 +"),)),
    Answer(
        "packing",
        "int64",
        "wide",
        edits=(("codes[0::2] << 4 | codes[1::2]", "(codes[0::2] << 4 | codes[1::2]).long()"),),
    ),
    Answer("packing", "unpack stack 0", "unpack_apart", edits=(("dim=1) ", "dim=0) "),)),
    Answer("packing", "unpack mask 16", "other_mask", edits=(("packed & 15", "packed & 16"),)),
    Answer("packing", "unpack %15", "other_mask", edits=(("packed & 15", "packed % 15"),)),
    Answer("packing", "unpack /16 float", "fraction", edits=((">> 4", "/ 16"),)),
    Answer("packing", "unpack int32", "wide", edits=(("[:n]", "[:n].int()"),)),
    Answer(
        "packing",
        "in place",
        "other",
        edits=(
            ("codes = F", ("codes <<= 0\n    codes[0::2] <<= 4\n    codes = F")),
            ("<< 4 ", ""),
        ),
    ),
    Answer(
        "packing",
        "unpack n bytes",
        "extra",
        edits=(("pairs.flatten()[:n]", "pairs[:n].flatten()"),),
    ),
    Answer(
        "packing",
        "strings",
        "type",
        edits=(
            (
                "codes[0::2] << 4 | codes[1::2",
                (
                    '[format(int(a), "x") + format(int(b), "x") for a, b in '
                    "zip(codes[0::2], codes[1::2])"
                ),
            ),
        ),
    ),
    Answer(
        "double",
        "offset per group",
        "each_taken_off",
        edits=(
            (
                "(absmax - offset).view(-1, group",
                ("absmax.view(-1, group)\n    rows = rows - rows.mean(1, keepdim=True"),
            ),
        ),
    ),
    Answer("double", "median", "middle", edits=(("mean", "median"),)),
    Answer(
        "double", "one scale, again", "one_scale", edits=(("amax(dim=1", "max().expand(len(rows)"),)
    ),
    Answer(
        "double",
        "searchsorted, again",
        "one_side",
        edits=(
            (
                (
                    "distance = (rows / scales[:, None]).flatten()[:, None] - levels  # "
                    "(blocks, 256)\n"
                    "    return distance.abs().argmin(dim=1"
                ),
                (
                    "return torch.searchsorted(levels, (rows / scales[:, "
                    "None]).flatten()).clamp(max=255"
                ),
            ),
        ),
    ),
    Answer(
        "double",
        "uniform codes",
        "even_levels",
        edits=(
            (
                (
                    "distance = (rows / scales[:, None]).flatten()[:, None] - levels  # "
                    "(blocks, 256)\n"
                    "    return distance.abs().argmin(dim=1"
                ),
                "return ((rows / scales[:, None] + 1) / 2 * 255).round().flatten(",
            ),
        ),
    ),
    Answer(
        "double",
        "offset zero returned",
        "offset_not_returned",
        edits=(("scales, offset\n", "scales, 0.0\n"),),
    ),
    Answer(
        "double",
        "scale incl offset",
        "not_taken_off",
        edits=(("rows.abs(", "absmax.view(-1, group"),),
    ),
    Answer(
        "double", "squared scale", "factor", edits=(("scales, offset\n", "scales / 127, offset\n"),)
    ),
    Answer(
        "bits",
        "4.5",
        "fixed",
        code="""
def bits_per_parameter(n, block_size, double_quant):
    return 4.127 if double_quant else 4.5
""",
    ),
    Answer("bits", "8 bits forgotten", "no_bytes", edits=(("8 * blocks + 32", "32"),)),
    Answer(
        "bits",
        "bytes",
        "in_bytes",
        edits=(
            ("8 * blocks + 32", "1 * blocks + 4"),
            ("32 *", "4 *"),
        ),
    ),
    Answer("bits", "offset counted", "offset", edits=(("groups if", "groups + 32 if"),)),
    Answer(
        "bits",
        "256 params group",
        "offset",
        edits=(("blocks // 256)", "n // (256 * block_size)) + 1"),),
    ),
    Answer("bits", "levels counted", "once", edits=(("+ scales /", "+ (scales + 16 * 32) /"),)),
    Answer("bits", "both scales", "kept", edits=(("8 * blocks", "32 * blocks + 8 * blocks"),)),
    Answer("bits", "int result", "cut", edits=(("4 + scales / n", "round(4 + scales / n)"),)),
    Answer(
        "blockwise",
        "divides by the scale of the next block",
        "other",
        edits=(
            (
                "(127 * rows / absmax[:, None]).round()",
                "(127 * rows / absmax.roll(-1)[:, None]).round()",
            ),
        ),
    ),
    Answer(
        "blockwise",
        "norm of a block",
        "measure",
        edits=(("rows.abs().amax(dim=1)  # (blocks,)", "rows.norm(dim=1)"),),
    ),
    Answer("blockwise", "ceil", "truncated", edits=((".round()", ".ceil()"),)),
    Answer("blockwise", "adds a half and cuts", "truncated", edits=((".round()", " + 0.5"),)),
    Answer(
        "blockwise",
        "clamps at 100",
        "clipped",
        edits=(
            (
                "(127 * rows / absmax[:, None]).round()",
                "(127 * rows / absmax[:, None]).round().clamp(-100, 100)",
            ),
        ),
    ),
    Answer(
        "blockwise",
        "scale of all on the way back",
        "one_scale_back",
        edits=(("absmax.repeat_interleave(block_size)[: len(codes)]", "absmax.max()"),),
    ),
    Answer(
        "blockwise",
        "back without the cut to float: whole numbers",
        "back_rounded",
        edits=(("return codes * scales / 127", "return (codes * scales / 127).round()"),),
    ),
    Answer("blockwise", "255 codes", "top", edits=(("127 * rows", "255 * rows"),)),
    Answer(
        "blockwise",
        "one scale per number on the way back",
        "other",
        edits=(("absmax.repeat_interleave(block_size)[: len(codes)]", "absmax[: len(codes)]"),),
    ),
    Answer(
        "blockwise",
        "absmax of half x",
        "few_digits",
        edits=(("absmax = rows.abs()", "absmax = rows.half().float().abs()"),),
    ),
    Answer(
        "blockwise",
        "absmax through float16",
        "few_digits",
        edits=(("rows.abs().amax(dim=1)", "rows.abs().amax(dim=1).half().float()"),),
    ),
    Answer(
        "blockwise",
        "absmax in float16",
        "few_digits",
        edits=(
            (
                "codes.flatten()[: len(x)].to(torch.int8), absmax",
                "codes.flatten()[: len(x)].to(torch.int8), absmax.half()",
            ),
        ),
    ),
    Answer(
        "code_book",
        "halves of the same length",
        "lengths",
        edits=(("n // 2)[:-1]", "n // 2 + 1)[:-1]"),),
    ),
    Answer(
        "code_book",
        "the end from bits, not n",
        "end",
        edits=(
            (
                "end = 1 - (1 / (n - 1) + 1 / n) / 4",
                "end = 1 - (1 / (2 * bits - 1) + 1 / (2 * bits)) / 4",
            ),
        ),
    ),
    Answer(
        "code_book",
        "divides by the smallest",
        "not_divided",
        edits=(("levels.max()", "levels.min()"),),
    ),
    Answer("code_book", "divides by the end", "not_divided", edits=(("levels.max()", "end"),)),
    Answer(
        "code_book",
        "forgets the sum's brackets",
        "end",
        edits=(("(1 / (n - 1) + 1 / n) / 4", "1 / (n - 1) + 1 / n / 4"),),
    ),
    Answer(
        "code_book",
        "negative half mirrors the positive",
        "mirrored",
        edits=(
            (
                "negative = [-quantile(p) for p in torch.linspace(end, 0.5, n // 2)[:-1].tolist()]",
                "negative = [-p for p in positive[:-1]]",
            ),
        ),
    ),
    Answer(
        "code_book",
        "positive half not reversed, negative reversed",
        "order",
        edits=(("[*negative, 0.0, *reversed(positive)]", "[*reversed(negative), 0.0, *positive]"),),
    ),
    Answer(
        "code_book",
        "one level too few, no end",
        "lengths",
        edits=(
            (
                "torch.linspace(end, 0.5, n // 2 + 1)[:-1]",
                "torch.linspace(end, 0.5, n // 2 + 1)[1:-1]",
            ),
        ),
    ),
    Answer(
        "code_book",
        "the last is not 1: clamps",
        "not_divided",
        edits=(("return levels / levels.max()", "return levels.clamp(-1, 1)"),),
    ),
    Answer(
        "packing",
        "shift of the second one back",
        "one_lost",
        edits=(("<< 4 | codes[1::2]", "| codes[1::2] >> 4"),),
    ),
    Answer(
        "packing",
        "xor with all",
        "other",
        edits=(("<< 4 | codes[1::2]", "<< 4 ^ 15 - codes[1::2]"),),
    ),
    Answer("packing", "skips a code", "other", edits=(("codes[1::2]", "codes[2::2]"),)),
    Answer(
        "packing",
        "pairs overlap",
        "not_packed",
        edits=(("return codes[0::2] << 4 | codes[1::2]", "return codes[:-1] << 4 | codes[1:]"),),
    ),
    Answer(
        "packing",
        "unpack gives strings of bits",
        "unpack_shift",
        edits=(("[packed >> 4, packed & 15]", "[packed >> 8, packed & 15]"),),
    ),
    Answer(
        "packing",
        "unpack gives only high halves",
        "one_each",
        edits=(("return pairs.flatten()[:n]", "return pairs[:, 0]"),),
    ),
    Answer(
        "packing",
        "unpack with one column twice",
        "other_mask",
        edits=(("[packed >> 4, packed & 15]", "[packed >> 4, packed >> 4]"),),
    ),
    Answer(
        "packing",
        "unpack as float division",
        "unpack_shift",
        edits=(("packed >> 4,", "(packed / 16).round(),"),),
    ),
    Answer("packing", "unpack drops an odd one", "other", edits=(("[:n]", "[: n // 2 * 2]"),)),
    Answer(
        "double",
        "offset added on the way there",
        "not_taken_off",
        edits=(("(absmax - offset)", "(absmax + offset)"),),
    ),
    Answer(
        "double", "codes looked up with the wrong sign", "turned", edits=(("- levels", "+ levels"),)
    ),
    Answer(
        "double",
        "one group less on the way back",
        "other",
        edits=(("scales.repeat_interleave(group)", "scales.repeat_interleave(len(scales))"),),
    ),
    Answer(
        "double",
        "divides by the scale on the way back",
        "no_scale",
        edits=(("* scales.repeat_interleave(group)", "/ scales.repeat_interleave(group)"),),
    ),
    Answer(
        "double",
        "scale of the values before .abs of the mean",
        "middle",
        edits=(("offset = absmax.mean()", "offset = absmax.abs().median()"),),
    ),
    Answer(
        "double",
        "levels scaled instead of numbers, forgotten",
        "not_divided",
        edits=(("(rows / scales[:, None])", "(rows * scales[:, None])"),),
    ),
    Answer(
        "double",
        "divides by the global scale for the codes",
        "not_divided",
        edits=(("rows / scales[:, None]", "rows / scales.max()"),),
    ),
    Answer(
        "double",
        "back from signed codes",
        "shifted",
        edits=(("levels[codes.long()]", "levels[codes.long() - 128]"),),
    ),
    Answer(
        "double",
        "offset per number",
        "other",
        edits=(
            (
                "return distance.abs().argmin(dim=1).to(torch.uint8), scales, offset",
                "return distance.abs().argmin(dim=1).to(torch.uint8), scales, absmax - offset",
            ),
        ),
    ),
    Answer(
        "double",
        "rounds the offset",
        "other",
        edits=(("offset = absmax.mean()", "offset = absmax.mean().round()"),),
    ),
    Answer(
        "bits", "float16 second scales", "other_scales", edits=(("32 * groups", "16 * groups"),)
    ),
    Answer(
        "bits", "scale of each weight", "by_blocks", edits=(("else 32 * blocks", "else 32 * n"),)
    ),
    Answer(
        "bits",
        "double counts float32 and the byte",
        "kept",
        edits=(("8 * blocks + 32 * groups", "8 * blocks + 32 * blocks"),),
    ),
    Answer(
        "bits", "in whole bits", "cut", edits=(("return 4 + scales / n", "return 4 + scales // n"),)
    ),
    Answer("bits", "16 bits", "other_codes", edits=(("return 4 +", "return 16 +"),)),
    Answer(
        "bits",
        "saving instead",
        "other",
        edits=(("return 4 + scales / n", "return 32 - 4 - scales / n"),),
    ),
    Answer(
        "bits",
        "4 bits for each block",
        "codes_of_blocks",
        edits=(("return 4 + scales / n", "return (4 * blocks + scales) / n"),),
    ),
    Answer(
        "bits", "zero point too", "other_scales", edits=(("else 32 * blocks", "else 64 * blocks"),)
    ),
]

WRONG += [
    Answer(
        "blockwise",
        "the largest so far",
        "running",
        edits=(("amax(dim=1)", "amax(dim=1).cummax(0).values"),),
    ),
    Answer(
        "blockwise",
        "block size from the lengths, rounded up",
        "size_guessed",
        edits=(
            ("absmax.repeat_interleave(block_size)", "absmax.repeat_interleave(guess)"),
            (
                "    scales = absmax",
                "    guess = -(-len(codes) // len(absmax))\n    scales = absmax",
            ),
        ),
    ),
    Answer(
        "blockwise",
        "block size from the lengths, the rest to the last block",
        "size_guessed",
        edits=(
            ("[: len(codes)]  # (n,)", ""),
            (
                "absmax.repeat_interleave(block_size)",
                "absmax[(torch.arange(len(codes)) // guess).clamp(max=len(absmax) - 1)]",
            ),
            ("    scales = absmax", "    guess = len(codes) // len(absmax)\n    scales = absmax"),
        ),
    ),
]

RIGHT += [
    Answer(
        "blockwise",
        "scatter_reduce, a list back",
        code="""
def quantize_int8(x, block_size):
    block = torch.arange(len(x)) // block_size
    most = torch.zeros(int(block[-1]) + 1).scatter_reduce(0, block, x.abs(), "amax")
    return torch.clamp(torch.round(x / (most[block] / 127)), -127, 127).char(), most
def dequantize_int8(codes, absmax, block_size):
    return [float(c) * float(absmax[k // block_size]) / 127 for k, c in enumerate(codes)]
""",
    ),
]

WRONG += [
    Answer(
        "blockwise",
        "the places of the largest",
        "places",
        edits=(("rows.abs().amax(dim=1)", "rows.abs().max(dim=1).indices"),),
    ),
]

WRONG += [
    edit("blockwise", "largest of the parts", "signed",
         (ABSMAX, "torch.stack([part.max() for part in x.split(block_size)])")),
    edit("code_book", "each half one short", "lengths",
         ("n // 2)[", "n // 2 - 1)["), ("n // 2 + 1)", "n // 2)")),
    edit("packing", "plus before the shift", "plus_first", (PACK, PACK.replace("|", "+"))),
    edit("bits", "always doubled", "not_doubled", (SUM, "scales = 8 * blocks + 32 * groups")),
    edit("bits", "a byte of one bit", "in_bytes", ("8 * blocks", "blocks")),
    edit("double", "rows of the other length", "repeat",
         (AGAIN, "(levels[codes.long()].view(group, -1) * scales).flatten() + offset")),
]  # fmt: skip
