"""Quantization: a block of weights becomes small integers, its codes, and one scale.

A code is the number of a level in a code book. Code x scale gives the weight back, nearly.
Dettmers et al. 2022, arXiv 2110.02861, section 2 (block-wise scales, the 8-bit code book);
Dettmers et al. 2023, arXiv 2305.14314, section 3 (NF4, double quantization).
Every step rounds as bitsandbytes 0.50 does on a CPU: codes, scales and values are equal to the bit.
"""

from statistics import NormalDist

import torch
from torch.nn import functional as F

from lora_course.costs.memory import nf4_bytes


# owned by chapter 10
def blocks(x, block_size):
    """Cut x, of any shape, into rows of block_size; zeros fill up the last one.

    Returns (blocks, block_size).
    """
    return F.pad(x.flatten(), (0, -x.numel() % block_size)).view(-1, block_size)


# owned by chapter 10
def quantize_int8(x, block_size=64):
    """Absmax: the largest magnitude of a block becomes 127, the rest follows in proportion.

    Returns codes (n,) int8 and absmax (blocks,) float32.
    """
    rows = blocks(x.float(), block_size)
    absmax = rows.abs().amax(dim=1)  # (blocks,)
    codes = (rows * (127 / absmax.clamp(min=1e-36))[:, None]).round()  # clamp: blocks of zeros
    return codes.to(torch.int8).flatten()[: x.numel()], absmax


# owned by chapter 10
def dequantize_int8(codes, absmax, block_size=64):
    """The weights that the codes of quantize_int8 stand for: (n,) float32."""
    values = blocks(codes, block_size) * (absmax / 127)[:, None]
    return values.flatten()[: codes.numel()]


# owned by chapter 10
def nf4_code():
    """The 16 levels of NF4: quantiles of the normal distribution, -1 and 0 and 1 among them.

    7 negative and 8 positive ones, each half at even steps of probability from the end to 1/2. The
    end is the mean of 1 - 1/30 and 1 - 1/32, because probability 1 has its quantile at infinity.
    Returns (16,) float32, ascending.
    """
    end = 0.9677083  # 1 - (1/30 + 1/32) / 2, with the digits that bitsandbytes gives it
    quantile = NormalDist().inv_cdf
    negative = [-quantile(p) for p in torch.linspace(end, 0.5, 8)[:-1].tolist()]
    positive = [quantile(p) for p in torch.linspace(end, 0.5, 9)[:-1].tolist()]
    levels = torch.tensor([*negative, 0.0, *reversed(positive)])
    return levels / levels.max()


# owned by chapter 10
def dynamic_code():
    """The 256 levels of bitsandbytes' 8-bit map: seven decades, the larger the finer.

    The decade below 1 has 64 levels on each side, the next one 32, and so on; then 0 and 1.
    Returns (256,) float32, ascending.
    """
    levels = [torch.tensor([0.0, 1.0])]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        middles = 10 ** (i - 6) * (edges[:-1] + edges[1:]) / 2
        levels += [middles, -middles]
    return torch.cat(levels).sort().values


# owned by chapter 10
def nearest(x, code):
    """The code of each number, uint8: the index of the nearest level, halfway the lower one.

    code: ascending levels, at most 256.
    """
    return torch.bucketize(x, (code[:-1] + code[1:]) / 2).to(torch.uint8)


# owned by chapter 10
def quantize(x, code, block_size=64):
    """Divide each block by its largest magnitude, then take the nearest levels.

    code: ascending levels in [-1, 1]. Returns codes (n,) uint8 and absmax (blocks,) float32.
    """
    rows = blocks(x.float(), block_size)
    absmax = rows.abs().amax(dim=1)  # (blocks,)
    scaled = rows * (1 / absmax.clamp(min=1e-38))[:, None]  # clamp: blocks of zeros
    return nearest(scaled, code).flatten()[: x.numel()], absmax


# owned by chapter 10
def dequantize(codes, absmax, code, block_size=64):
    """The weights that codes and scales stand for: (n,) float32."""
    values = blocks(code[codes.long()], block_size) * absmax[:, None]
    return values.flatten()[: codes.numel()]


# owned by chapter 10
def pack(codes):
    """Two 4-bit codes in a byte, the first one in the high half: (n,) to (n / 2,) uint8."""
    codes = F.pad(codes, (0, codes.numel() % 2), value=7)  # an odd one out: 7 is NF4's zero
    return codes[0::2] << 4 | codes[1::2]


# owned by chapter 10
def unpack(packed, n):
    """The first n codes of packed bytes, (n,) uint8."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]


# owned by chapter 10
def quantize_nf4(x, block_size=64):
    """x, of any shape, in NF4: packed codes (n / 2,) uint8 and absmax (blocks,) float32."""
    codes, absmax = quantize(x, nf4_code(), block_size)
    return pack(codes), absmax


# owned by chapter 10
def dequantize_nf4(packed, absmax, shape, block_size=64):
    """The weights that quantize_nf4 stored, float32, in their shape."""
    codes = unpack(packed, torch.Size(shape).numel())
    return dequantize(codes, absmax, nf4_code(), block_size).view(shape)


# owned by chapter 10
def double_quantize(absmax):
    """Quantize the scales too: 8 bits for each, in groups of 256, after the mean is taken off.

    Returns codes (blocks,) uint8, scales (groups,) float32 and the mean, which is the offset.
    """
    offset = absmax.mean()
    rows = blocks(absmax - offset, 256)  # (groups, 256)
    scales = rows.abs().amax(dim=1)  # (groups,)
    scaled = rows * (1 / scales)[:, None]
    scaled = scaled.nan_to_num(-1.0).clamp(-1, 1)  # a group of zeros: code 0
    steps = ((scaled + 1) * 0.5 * 65535 + 0.5).int()  # bitsandbytes looks up 65,536 steps
    codes = nearest(steps / 65535 * 2 - 1, dynamic_code())
    return codes.flatten()[: absmax.numel()], scales, offset


# owned by chapter 10
def double_dequantize(codes, scales, offset):
    """The absmax that double_quantize stored, nearly: (blocks,) float32."""
    return dequantize(codes, scales, dynamic_code(), 256) + offset


# owned by chapter 10
def bits_per_parameter(n, block_size=64, double_quant=False):
    """Bits that NF4 stores for each of n weights: codes and scales, without the fixed tables.

    The tables: 16 levels, and with double quantization 256 levels and the offset.
    """
    return 8 * nf4_bytes(n, double_quant, block_size, tables=False) / n
