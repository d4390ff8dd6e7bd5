"""A 4-bit weight back as numbers; on a GPU by one kernel: half a byte is read, a number written.

The arithmetic is chapter 10's: NF4 and double quantization of QLoRA, arXiv 2305.14314, section 3.
bitsandbytes 0.50 does it in several passes. The results are the same, bit for bit.
"""

import warnings
from functools import cache

import torch

# Numbers that share a scale; and scales that share one of theirs.
BLOCK = 64  # owned by chapter 17
SCALES = 256  # owned by chapter 17


# owned by chapter 17
def unpack(packed, code, absmax, nested, dtype):
    """Numbers of a 4-bit weight, (n / 64, 64).

    packed: n / 2 bytes, the first number in the high half of each. code: the 16 levels.
    absmax: a scale for each block, float32; or a byte for each, and nested is (256 levels, a scale
    for 256 of them, offset). n is a multiple of 64, with nested of 64 * 256.
    """
    if nested is not None:
        levels, scales, offset = nested
        absmax = (levels[absmax.int()].view(-1, SCALES) * scales[:, None]).view(-1) + offset
    halves = torch.stack([packed >> 4, packed & 15], -1)  # two codes a byte
    return (code[halves.int()].view(-1, BLOCK) * absmax[:, None]).to(dtype)


# owned by chapter 17
def dense(weight, state, dtype):
    """A weight in that type, (out, in); a packed one is unpacked for the moment. None stays None.

    state: bitsandbytes' quant_state of a packed weight, else None.
    """
    if weight is None or state is None:
        return None if weight is None else weight.to(dtype)
    n, inner = state.shape.numel(), state.state2
    whole = state.blocksize == BLOCK and n % BLOCK == 0
    if inner is not None:
        whole = whole and inner.blocksize == SCALES and n % (BLOCK * SCALES) == 0
    compiling = torch.compiler.is_compiling()  # then it becomes a part of that kernel
    if not (weight.is_cuda and whole and (compiling or kernel())):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight, state).to(dtype)
    nested = None if inner is None else (inner.code, inner.absmax, state.offset)
    numbers = (unpack if compiling else kernel())(
        weight.view(-1), state.code, state.absmax, nested, state.dtype
    )
    return numbers.view(state.shape).to(dtype)


@cache
def kernel():
    """`unpack` as one kernel; None, with a warning, where nothing can be compiled."""
    try:
        made = torch.compile(unpack, dynamic=True)
        ready = torch.zeros(2 * BLOCK, device="cuda")
        made(ready.byte(), ready[:16], ready[:4], None, torch.bfloat16)
    except Exception as error:  # no Triton, no C compiler, a GPU that is too old: many kinds
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        warnings.warn(f"4-bit weights are unpacked the slow way ({words}).", stacklevel=2)
        return None
    return made
