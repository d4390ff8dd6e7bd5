"""Unpacking by one formula against bitsandbytes, bit for bit."""

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from lora_course.fast import unpack as module
from lora_course.fast.unpack import dense, unpack

SHAPES = [(256, 64), (192, 256), (64, 512)]


def packed(shape, dtype, kind="nf4", nested=True):
    torch.manual_seed(0)
    weight = torch.randn(shape).to(dtype)
    weight[0, :64] = 0  # a block without a scale
    return quantize_4bit(weight, quant_type=kind, compress_statistics=nested, blocksize=64)


def by_formula(made, state):
    inner = state.state2
    nested = None if inner is None else (inner.code, inner.absmax, state.offset)
    return unpack(made.view(-1), state.code, state.absmax, nested, state.dtype).view(state.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_bit_for_bit(dtype, kind, nested, shape):
    made, state = packed(shape, dtype, kind, nested)
    assert torch.equal(by_formula(made, state), dequantize_4bit(made, state))
    assert torch.equal(dense(made, state, dtype), dequantize_4bit(made, state))


@pytest.mark.slow
def test_compiled_bit_for_bit_with_other_sizes():
    compiled = torch.compile(by_formula, dynamic=True)
    for shape in SHAPES:
        made, state = packed(shape, torch.bfloat16)
        assert torch.equal(compiled(made, state), dequantize_4bit(made, state))


def test_plain_weights_and_none_pass_through():
    weight = torch.randn(4, 6)
    assert dense(None, None, torch.float16) is None
    assert dense(weight, None, torch.float32) is weight
    assert dense(weight, None, torch.bfloat16).dtype == torch.bfloat16


def test_where_nothing_compiles_bitsandbytes_unpacks(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    module.kernel.cache_clear()
    with pytest.warns(UserWarning, match="the slow way .RuntimeError: no compiler"):
        assert module.kernel() is None
    module.kernel.cache_clear()


def test_odd_sizes_go_to_bitsandbytes():
    made, state = packed((3, 64), torch.float32)
    assert torch.equal(dense(made, state, torch.float32), dequantize_4bit(made, state))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("nested", [True, False])
def test_on_a_gpu_bit_for_bit(nested):
    assert module.kernel() is not None
    for shape in SHAPES:
        weight = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        made, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=nested)
        assert torch.equal(dense(made, state, torch.bfloat16), dequantize_4bit(made, state))
