"""quantize.py against bitsandbytes: the same code books, bytes, scales and values, to the bit."""

import math

import bitsandbytes.functional as bnb
import pytest
import torch

from lora_course.bits import quantize
from lora_course.bits.quantize import (
    bits_per_parameter,
    dequantize,
    dequantize_int8,
    dequantize_nf4,
    double_dequantize,
    double_quantize,
    dynamic_code,
    nearest,
    nf4_code,
    pack,
    quantize_int8,
    quantize_nf4,
    unpack,
)

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # all that bitsandbytes 0.50 takes
N = 3 * 4096


@pytest.fixture(autouse=True)
def no_compiler():
    """bitsandbytes compiles some of its Python code at its first use; here it runs as it is."""
    with torch.compiler.set_stance("force_eager"):
        yield


def made(kind, n=N):
    """Numbers of one kind. The huge ones leave their scales a mean that float32 can hold."""
    g = torch.Generator().manual_seed(7)
    x = torch.randn(n, generator=g)
    return {
        "random": x,
        "uniform": torch.rand(n, generator=g) - 0.5,
        "heavy tails": x * torch.exp(2 * torch.randn(n, generator=g)),
        "one outlier": torch.cat([x[1:], torch.tensor([1e6])]),
        "constant": torch.full((n,), -0.37),
        "zero": torch.zeros(n),
        "half zero": x * (torch.arange(n) < n // 2),
        "huge": x * 1e35,
        "tiny": x * 1e-35,
        "denormal": x * 1e-39,
        "levels": nf4_code()[torch.randint(16, (n,), generator=g)],
        "midpoints": ((nf4_code()[1:] + nf4_code()[:-1]) / 2).repeat(n // 15 + 1)[:n],
    }[kind]


KINDS = (
    "random", "uniform", "heavy tails", "one outlier", "constant", "zero", "half zero", "huge",
    "tiny", "denormal", "levels", "midpoints",
)  # fmt: skip


def assert_equal(seen, wanted):
    assert seen.dtype == wanted.dtype and torch.equal(seen.flatten(), wanted.flatten())


# Code books
def test_nf4_code_book_is_that_of_bitsandbytes():
    assert_equal(nf4_code(), bnb.get_4bit_type("nf4", device="cpu"))


def test_nf4_code_book_has_seven_negative_levels_zero_and_eight_positive_ones():
    code = nf4_code()
    assert (code[0], code[7], code[15]) == (-1, 0, 1)
    assert torch.equal(code, code.unique())


def test_nf4_levels_are_quantiles_of_the_normal():
    """Against torch.special.ndtri and the end as the paper's text gives it, in float64."""
    end = 1 - (1 / 30 + 1 / 32) / 2
    up = torch.special.ndtri(torch.linspace(end, 0.5, 9, dtype=torch.float64))
    down = torch.special.ndtri(torch.linspace(end, 0.5, 8, dtype=torch.float64))
    want = torch.cat([-down[:-1], up.flip(0)]) / up[0]
    torch.testing.assert_close(nf4_code().double(), want, atol=1e-6, rtol=0)


def test_dynamic_code_book_is_that_of_bitsandbytes():
    assert_equal(dynamic_code(), bnb.create_dynamic_map())


# 4 bits
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_nf4_equals_bitsandbytes(kind, size):
    x = made(kind)
    packed, absmax = quantize_nf4(x, size)
    theirs, state = bnb.quantize_nf4(x, blocksize=size)
    assert_equal(packed, theirs)
    assert_equal(absmax, state.absmax)
    assert_equal(dequantize_nf4(packed, absmax, x.shape, size), bnb.dequantize_nf4(theirs, state))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_double_quantization_equals_bitsandbytes(kind, size):
    x = made(kind, 300 * size if size < 256 else N)  # more than one group of 256, and less
    packed, absmax = quantize_nf4(x, size)
    codes, scales, offset = double_quantize(absmax)
    theirs, state = bnb.quantize_nf4(x, blocksize=size, compress_statistics=True)
    assert state.state2.blocksize == 256
    assert_equal(state.state2.code, dynamic_code())
    assert_equal(codes, state.absmax)
    assert_equal(scales, state.state2.absmax)
    assert_equal(offset, state.offset)
    values = dequantize_nf4(packed, double_dequantize(codes, scales, offset), x.shape, size)
    assert_equal(values, bnb.dequantize_nf4(theirs, state))


def test_double_quantization_of_many_groups():
    """300,000 scales, the last group not full."""
    absmax = torch.rand(300_000, generator=torch.Generator().manual_seed(1)) + 0.5
    codes, scales, offset = double_quantize(absmax)
    theirs, state = bnb.quantize_blockwise(absmax - absmax.mean(), blocksize=256)
    assert_equal(codes, theirs)
    assert_equal(scales, state.absmax)
    back = bnb.dequantize_blockwise(theirs, state) + absmax.mean()
    assert_equal(double_dequantize(codes, scales, offset), back)


def test_the_table_of_65536_steps_moves_few_codes_and_hardly_a_value():
    """bitsandbytes' look-up on a CPU against the nearest level: what the chapter says of it."""
    x = torch.rand(256 * 400, generator=torch.Generator().manual_seed(2)) - 0.5
    theirs, state = bnb.quantize_blockwise(x, blocksize=256)
    scaled = (x.view(-1, 256) / state.absmax[:, None]).flatten()
    exact = nearest(scaled, dynamic_code())
    assert 0 < (theirs != exact).float().mean() < 0.003
    error, least = ((dynamic_code()[c.long()] - scaled).abs() for c in (theirs, exact))
    assert (error - least).max() < 2 / 65535


@pytest.mark.parametrize("n", [1, 2, 63, 65, 127, 1000, 4095, 6410, 6416])
@pytest.mark.parametrize("double", [False, True])
def test_a_last_block_that_is_not_full(n, double):
    x = made("random", n)
    packed, absmax = quantize_nf4(x)
    theirs, state = bnb.quantize_nf4(x, compress_statistics=double)
    assert_equal(packed, theirs)
    if double:
        codes, scales, offset = double_quantize(absmax)
        assert_equal(codes, state.absmax)
        absmax = double_dequantize(codes, scales, offset)
    values = dequantize_nf4(packed, absmax, x.shape)
    torch.testing.assert_close(values, bnb.dequantize_nf4(theirs, state).view(-1), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(64, 128), (3, 5, 64), (128, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_matrices_and_16_bit_weights(shape, dtype):
    x = made("random", math.prod(shape)).view(shape).to(dtype)
    packed, absmax = quantize_nf4(x)
    theirs, state = bnb.quantize_nf4(x)
    assert_equal(packed, theirs)
    values = dequantize_nf4(packed, absmax, x.shape)
    assert values.shape == x.shape
    assert_equal(values.to(dtype), bnb.dequantize_nf4(theirs, state))


def test_nearest_is_the_nearest_and_halfway_the_lower():
    x = torch.linspace(-1.2, 1.2, 5001)
    code = nf4_code()
    got = (code[nearest(x, code).long()] - x).abs()
    assert torch.equal(got, (code - x[:, None]).abs().amin(dim=1))
    assert nearest(torch.tensor([0.5, 1.5]), torch.tensor([0.0, 1.0, 2.0])).tolist() == [0, 1]


# 8 bits
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("zero", "half zero", "denormal")])
def test_int8_equals_bitsandbytes_row_by_row(kind):
    x = made(kind).view(-1, 96)
    codes, absmax = quantize_int8(x, 96)
    theirs, scales, _ = bnb.int8_vectorwise_quant(x.clone())
    assert_equal(codes, theirs)
    assert_equal(absmax, scales)
    want = bnb.int8_vectorwise_dequant(theirs, scales).flatten()
    torch.testing.assert_close(dequantize_int8(codes, absmax, 96), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_int8_error_is_half_a_step_at_most(size):
    x = made("random", 1000)
    codes, absmax = quantize_int8(x, size)
    assert codes.dtype == torch.int8 and len(codes) == 1000 and len(absmax) == -(-1000 // size)
    half = absmax.repeat_interleave(size)[:1000] / 254
    assert ((dequantize_int8(codes, absmax, size) - x).abs() <= half * 1.0001).all()


def test_zeros_come_back_as_zeros():
    zeros = torch.zeros(130)
    assert not dequantize_int8(*quantize_int8(zeros)).any()
    packed, absmax = quantize_nf4(zeros)
    again = double_dequantize(*double_quantize(absmax))
    assert not dequantize_nf4(packed, absmax, (130,)).any() and not again.any()


# Bytes
@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
def test_unpack_undoes_pack(n):
    codes = torch.randint(16, (n,), dtype=torch.uint8)
    packed = pack(codes)
    assert packed.dtype == torch.uint8 and len(packed) == -(-n // 2)
    assert torch.equal(unpack(packed, n), codes)


def test_first_code_lies_in_the_high_half():
    assert pack(torch.tensor([5, 12], dtype=torch.uint8)).tolist() == [92]


def test_what_is_dequantized_is_quantized_to_itself():
    packed, absmax = quantize_nf4(made("random"))
    again, same = quantize_nf4(dequantize_nf4(packed, absmax, (N,)))
    assert torch.equal(packed, again) and torch.equal(absmax, same)


# Bits
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [64, 1000, 65_536, 100_000])
def test_bits_are_those_of_the_tensors(n, size, double):
    for packed, scales in (ours(n, size, double), theirs(n, size, double)):
        total = sum(8 * t.numel() * t.element_size() for t in (packed, *scales))
        assert bits_per_parameter(n, size, double) == total / n


def ours(n, size, double):
    packed, absmax = quantize_nf4(made("random", n), size)
    return packed, double_quantize(absmax)[:2] if double else [absmax]


def theirs(n, size, double):
    packed, state = bnb.quantize_nf4(
        made("random", n), blocksize=size, compress_statistics=double
    )  # fmt: skip
    return packed, [state.absmax, state.state2.absmax] if double else [state.absmax]


def test_bits_of_qlora():
    """Dettmers et al. 2023, section 3: 0.5 and 0.127 bits for the constants."""
    assert bits_per_parameter(2**24) == 4.5
    assert bits_per_parameter(2**24, double_quant=True) == 4 + 8 / 64 + 32 / (64 * 256)
    assert round(bits_per_parameter(2**24, double_quant=True), 3) == 4.127


# Errors
def test_error_on_normal_weights():
    """FACTS: relative error 0.092 for NF4 and 0.122 for FP4, in blocks of 64."""
    x = made("random", 2**18)
    for name, code, want in (
        ("nf4", nf4_code(), 0.092),
        ("fp4", bnb.get_4bit_type("fp4", device="cpu").unique(), 0.122),
    ):
        codes, absmax = quantize.quantize(x, code)
        error = (dequantize(codes, absmax, code) - x).norm() / x.norm()
        assert abs(error - want) < 0.001, name


def test_nf4_is_no_optimum():
    """Each level moved to the mean of the weights it serves errs a little less on new ones."""
    x, code = made("random", 2**18), nf4_code()
    rows = quantize.blocks(x, 64)
    top = rows.abs().amax(dim=1, keepdim=True)
    scaled, weight = (rows / top).flatten(), top.square().expand_as(rows).flatten()
    for _ in range(20):
        codes = nearest(scaled, code).long()
        sums = [torch.bincount(codes, w, 16) for w in (scaled * weight, weight)]
        code = sums[0] / sums[1]
        code[[0, 7, 15]] = torch.tensor([-1.0, 0.0, 1.0])
    new = torch.randn(2**18, generator=torch.Generator().manual_seed(8))
    errors = [(dequantize(*quantize.quantize(new, c), c) - new).norm() for c in (code, nf4_code())]
    assert 0.95 * errors[1] < errors[0] < 0.99 * errors[1]


def test_double_quantization_hardly_adds_error():
    x = made("random", 2**18)
    packed, absmax = quantize_nf4(x)
    double = double_dequantize(*double_quantize(absmax))
    errors = [(dequantize_nf4(packed, a, x.shape) - x).norm() for a in (absmax, double)]
    assert errors[1] < 1.005 * errors[0]
