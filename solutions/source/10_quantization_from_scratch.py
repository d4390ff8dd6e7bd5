# %% [markdown]
# # Exercises 10: Quantization from scratch
#
# Five exercises to the chapter
# [Quantization from scratch](../chapters/10_quantization_from_scratch.ipynb). Write
# your code in place of the line that raises `NotImplementedError`, run the cell, then
# run the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
from statistics import NormalDist

import torch
from torch.nn import functional as F

from lora_course.checks import ch10 as check

# %% [markdown]
# ## 10.1 Blockwise absmax
#
# Cut `x` into blocks of `block_size` numbers; the last block may be shorter. In each
# block the largest magnitude gets the code 127 or −127, the rest follows in
# proportion, rounded to the nearest whole number. Return the codes as int8, as many as
# there are numbers in `x`, and the largest magnitude of each block. Then write the way
# back. Each function is worth half of the points, and leaves what it is given unchanged.
# (No block is all zero here.)

# %% exercise="blockwise"
def quantize_int8(x, block_size):
    """8-bit codes with one scale for each block.

    x: (n,) float32. Returns codes (n,) int8, and absmax (blocks,), the largest magnitude of
    each block.
    """
    ### BEGIN SOLUTION
    rows = F.pad(x, (0, -len(x) % block_size)).view(-1, block_size)
    absmax = rows.abs().amax(dim=1)  # (blocks,)
    codes = (127 * rows / absmax[:, None]).round()
    return codes.flatten()[: len(x)].to(torch.int8), absmax
    ### END SOLUTION


def dequantize_int8(codes, absmax, block_size):
    """The numbers that codes and scales stand for: (n,)."""
    ### BEGIN SOLUTION
    scales = absmax.repeat_interleave(block_size)[: len(codes)]  # (n,)
    return codes * scales / 127
    ### END SOLUTION


# %%
check.blockwise(quantize_int8, dequantize_int8)

# %% [markdown]
# ## 10.2 The NF4 code book
#
# Write NF4 for any number of bits. With `n = 2**bits` levels: the end is the
# probability `1 - (1 / (n - 1) + 1 / n) / 4`. The positive half has the quantiles of
# `n / 2` probabilities: of the `n / 2 + 1` evenly spaced ones from the end to 1/2, all
# but 1/2 itself. The negative half has one level less, from `n / 2` evenly spaced
# probabilities in the same way, with a minus. Between them lies 0. Divide by the
# largest, sort from −1 to 1. `NormalDist().inv_cdf(p)` is the quantile.

# %% exercise="code_book"
def normal_code(bits):
    """The levels of a normal float type, such as NF4 for bits = 4.

    bits: 2 or more. Returns (2**bits,) numbers from -1 to 1, ascending, 0 among them.
    """
    ### BEGIN SOLUTION
    n, quantile = 2**bits, NormalDist().inv_cdf
    end = 1 - (1 / (n - 1) + 1 / n) / 4
    positive = [quantile(p) for p in torch.linspace(end, 0.5, n // 2 + 1)[:-1].tolist()]
    negative = [-quantile(p) for p in torch.linspace(end, 0.5, n // 2)[:-1].tolist()]
    levels = torch.tensor([*negative, 0.0, *reversed(positive)])
    return levels / levels.max()
    ### END SOLUTION


# %%
check.code_book(normal_code)

# %% [markdown]
# ## 10.3 Pack and unpack
#
# Put two 4-bit codes into each byte: the first in the high half, the second in the low
# half, the third in the high half of the next byte, and so on. With an odd number of
# codes the last low half holds anything. `unpack` gets the bytes and the number of
# codes and gives the codes back. Both return `torch.uint8`; each is worth half of the
# points.

# %% exercise="packing"
def pack(codes):
    """Two codes in a byte. codes: (n,) uint8, 0 to 15. Returns uint8, half as many."""
    ### BEGIN SOLUTION
    codes = F.pad(codes, (0, len(codes) % 2))
    return codes[0::2] << 4 | codes[1::2]
    ### END SOLUTION


def unpack(packed, n):
    """The first n codes. packed: uint8 bytes. Returns (n,) uint8, 0 to 15."""
    ### BEGIN SOLUTION
    pairs = torch.stack([packed >> 4, packed & 15], dim=1)  # (bytes, 2)
    return pairs.flatten()[:n]
    ### END SOLUTION


# %%
check.packing(pack, unpack)

# %% [markdown]
# ## 10.4 Double quantization
#
# Quantize the scales. Take their mean off; that is the offset, one number. Cut the rest
# into groups of `group` (they fill up exactly). Divide each group by its largest
# magnitude, which is the group's scale, and take the index of the nearest of the
# `levels` as the code. Then write the way back. Each function is worth half of the points.

# %% exercise="double"
def double_quantize(absmax, levels, group):
    """The scales of a quantized matrix as codes.

    absmax: (blocks,) float32, blocks a multiple of group. levels: (256,) ascending, in
    [-1, 1]. Returns codes (blocks,) uint8, scales (blocks / group,), and the offset.
    """
    ### BEGIN SOLUTION
    offset = absmax.mean()
    rows = (absmax - offset).view(-1, group)  # (groups, group)
    scales = rows.abs().amax(dim=1)  # (groups,)
    distance = (rows / scales[:, None]).flatten()[:, None] - levels  # (blocks, 256)
    return distance.abs().argmin(dim=1).to(torch.uint8), scales, offset
    ### END SOLUTION


def double_dequantize(codes, scales, offset, levels, group):
    """The scales that were stored, nearly: (blocks,)."""
    ### BEGIN SOLUTION
    return levels[codes.long()] * scales.repeat_interleave(group) + offset
    ### END SOLUTION


# %%
check.double(double_quantize, double_dequantize)

# %% [markdown]
# ## 10.5 Bits per parameter
#
# How many bits does NF4 store for each of `n` weights? A code takes 4 bits. Each block,
# also the last one that is not full, has a scale: a float32; or with double
# quantization one byte, and a float32 for each 256 scales, rounded up. Leave out what
# is stored only once: the levels and the offset.

# %% exercise="bits"
def bits_per_parameter(n, block_size, double_quant):
    """Bits for each weight, codes and scales.

    n: weights, an even number. double_quant: True or False.
    """
    ### BEGIN SOLUTION
    blocks = -(-n // block_size)  # rounded up
    groups = -(-blocks // 256)
    scales = 8 * blocks + 32 * groups if double_quant else 32 * blocks
    return 4 + scales / n
    ### END SOLUTION


# %%
check.bits(bits_per_parameter)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# The scale is 0, and 0 times any level is 0: zeros come back, whatever the codes. Ours
# store the level nearest to zero, code 7 of NF4, and a floor under the scale prevents a
# division by zero.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# Half of the numbers would get an error where there was none, all of the same sign.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# At most 4·10⁹ · 8 / 7·10⁹ = 4.57 bits. So 4.5 (3.94 GB) and 4.127 (3.61 GB) will do; 8.5
# bits need 7.44 GB.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# The mean is the one number with the smallest sum of squared distances to the weights of
# that level. As long as no weight changes its level the error can only fall; and a weight
# that then moves to a nearer level lowers it again.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# Scales are positive and lie around a mean far from zero, so half of a signed code would
# never be used. Weights lie around zero already.
#
# </details>
