# %% [markdown]
# # 10 Quantization from scratch
#
# A 4-bit weight can have 16 values. How does a language model live with that? About 55
# minutes, after chapter 01.
#
# You will be able to
# - store weights in 8 and in 4 bits, and get them back;
# - derive NF4, and say what each of its parts buys;
# - count its bits, and check bitsandbytes against your own code, bit for bit.

# %%
from statistics import NormalDist
from timeit import repeat

import torch
from torch.nn import functional as F

from lora_course.inject import find_targets
from lora_course.kit.models import BASE, chosen, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, TEXT, figure, show
from lora_course.costs.memory import nf4_bytes
from lora_course.costs.shapes import meta_model
from lora_course.kit.town.stories import documents

quiet()
import bitsandbytes.functional as bnb  # last, so that quiet() reaches it

# %% [markdown]
# ## 1 Eight bits
#
# A float32 weight takes 32 bits. Of what eight bits can count, we use −127 to 127.
# *Absmax* gives the largest magnitude the number 127, the rest in proportion:
#
# $$\text{code} = \mathrm{round}\Big(127\, \frac{x}{\max |x|}\Big)$$
#
# Codes and one scale are kept. **Predict** the codes of −0.8, 0.1 and 0.003.

# %%
x = torch.tensor([0.4, -0.8, 0.1, 0.003, -0.25, 0.61, 0.0, -0.07])
scale = x.abs().max()
codes = (127 * x / scale).round().to(torch.int8)
back = codes * scale / 127
print("codes ", codes.tolist())
print("back  ", [round(v, 3) for v in back.tolist()])
print(f"largest error {(back - x).abs().max():.4f}, half a step {scale / 254:.4f}")

# %% [markdown]
# Neighbouring codes are one **step** of max |x| / 127 apart, so no weight moves more
# than half a step.
#
# Now a matrix of the base. **Predict:** by how much does it change, as a share of
# itself?

# %%
base, tokenizer = load_base(), load_tokenizer()
names = find_targets(base, "all-linear")
weights = {name: base.get_submodule(name).weight.detach() for name in names}
W = max(weights.values(), key=torch.numel)  # one of the largest matrices


def error(got, x):
    """Size of the error as a share of the size of x."""
    return float((got.view(x.shape) - x).norm() / x.norm())


scale = W.abs().max()
codes = (127 * W / scale).round()
print(f"error: {error(codes * scale / 127, W):.1%}")
print(f"codes in use: {len(codes.unique())} of 255")

# %% [markdown]
# ## 2 One weight spoils it
#
# Weights of trained models are not all of one size. Let one weight of this matrix grow
# to 50 times the largest. **Predict:** how many of the 255 codes do the others still
# use?

# %%
spoilt = W.flatten().clone()  # (n,)
spoilt[0] = 50 * scale
codes = (127 * spoilt / spoilt.abs().max()).round()
rest = codes[1:] * spoilt[0] / 127  # all but the outlier
print("codes of the others:", codes[1:].unique().int().tolist())
print(f"their error: {error(rest, spoilt[1:]):.0%}")

# %% [markdown]
# One *outlier* takes the range, and all others share what is left. The cure: cut the
# weights into **blocks**, each with its own scale. Then an outlier spoils its own block
# only.
#
# **Predict** the error of the others with blocks of 64.

# %%
rows = spoilt.view(-1, 64)  # (blocks, 64)
scales = rows.abs().amax(dim=1, keepdim=True)  # (blocks, 1)
back = (127 * rows / scales).round() * scales / 127
print(f"their error: {error(back.flatten()[1:], spoilt[1:]):.1%}")
print(f"of its 63 neighbours: {error(back[0, 1:], rows[0, 1:]):.0%}")
print(f"of all other blocks: {error(back[1:], rows[1:]):.2%}")

# %% [markdown]
# **[Exercise 10.1](../exercises/10_quantization_from_scratch.ipynb)** asks for it in general, with
# a last block that is not full. ([The exercises](../exercises/10_quantization_from_scratch.ipynb);
# `lora-course start 10` makes your copy.) Then compare:

# %% tags=["quote"]
from lora_course.bits.quantize import blocks, dequantize_int8, quantize_int8

# %% [markdown]
# bitsandbytes' 8-bit layers (`load_in_8bit`) take a row of the matrix as a block.
# **Predict:** how many of its codes differ from ours? How do the errors, without and
# with the outlier, grow with the block?

# %%
theirs, their_scales, _ = bnb.int8_vectorwise_quant(W)
codes, absmax = quantize_int8(W, block_size=W.shape[1])
print("same codes: ", torch.equal(codes, theirs.flatten()))
print("same scales:", torch.equal(absmax, their_scales))

# %%
sizes = [2**k for k in range(4, 15)]
curves = {"W": [], "W with one outlier": []}
for size in sizes:
    for name, v in zip(curves, (W.flatten(), spoilt), strict=True):
        back = dequantize_int8(*quantize_int8(v, size), size)
        curves[name].append(error(back[1:], v[1:]))
grown = [errors[-1] / errors[0] for errors in curves.values()]
assert 1.5 < grown[0] < 3 and grown[1] > 20 or chosen() != str(BASE)
fig, ax = figure(7, 3.4)
for (name, errors), role in zip(curves.items(), ("base", "full"), strict=True):
    ax.loglog(sizes, errors, "o-", color=COLORS[role], label=name)
ax.set(xlabel="weights in a block", ylabel="error / size of the weights")
ax.legend()
show(
    fig,
    caption="Error of 8-bit absmax, counted without the outlier itself. From the smallest "
    "block to the largest the error of W about doubles; with an outlier it explodes.",
    alt="Two lines over block sizes from 16 to 16,384, both axes logarithmic. The line "
    "of W rises gently, to about twice its start. The line with an outlier starts near it "
    "and rises steeply, to tens of percent.",
)

# %% [markdown]
# Large language models have outliers, above all in activations (Dettmers et al. 2022).
#
# ## 3 Four bits: which 16 levels?
#
# The same recipe with codes from −7 to 7, wider steps. **Predict:** how many times larger is
# the error than with 127?

# %%
def absmax_error(top, size=64):
    """Error of W with codes from -top to top."""
    rows = blocks(W, size)
    scales = rows.abs().amax(dim=1, keepdim=True)
    back = (top * rows / scales).round() * scales / top
    return error(back.flatten()[: W.numel()], W)


for bits, top in ((8, 127), (4, 7), (3, 3), (2, 1)):
    print(f"{bits} bits: {absmax_error(top):.1%}")
print(f"127 / 7 = {127 / 7:.0f}, measured {absmax_error(7) / absmax_error(127):.0f}")

# %% [markdown]
# Fewer levels, wider steps. But must the steps be equal? Code 0 stands for magnitudes below
# 1/14 of the largest of 64. In normal numbers, that is 0.17 times their spread.
# **Predict:** which share of the weights has code 0, and which has code 7?

# %%
rows = blocks(W, 64)
inside = (rows / rows.abs().amax(dim=1, keepdim=True)).flatten()  # in [-1, 1]
use = torch.histc((7 * inside).round(), 15, -7.5, 7.5) / inside.numel()
print("codes 0 to 7:", " ".join(f"{share:.1%}" for share in use[7:]))

# %% [markdown]
# The weights are nearly normal. QLoRA puts the levels where they are, for equal shares
# (Dettmers et al. 2023, §3): at *quantiles*. Below the quantile of p lies a share p.
#
# **Predict:** where lies the quantile of 1? Which level do 16 equal shares miss?

# %%
quantile = NormalDist().inv_cdf  # quantile(p): a share p of the normal lies below it
print([round(quantile(p), 2) for p in torch.linspace(1 / 32, 31 / 32, 16).tolist()])
try:
    quantile(1.0)
except ValueError as problem:
    print("quantile(1.0):", problem)

end = 1 - (1 / 30 + 1 / 32) / 2  # short of 1: the mean of the ends of 15 and 16 shares
half = [quantile(p) for p in torch.linspace(end, 0.5, 9)[:-1].tolist()]  # 8 levels
print("upper half of NF4:", [round(v / half[0], 3) for v in half], "and 0")

# %% [markdown]
# The quantile of 1 is infinite, so the ends stop short. And 16 equal shares miss
# **zero**, which padding and unused weights need exactly. So NF4 has two halves that
# share the zero: 8 levels from one end to 1/2, 9 from 1/2 to the other end.
#
# **[Exercise 10.2](../exercises/10_quantization_from_scratch.ipynb)**: the *code book*, the list of
# levels, for any number of bits. Then compare. Below it stands what serves every code book: divide
# a block by its largest magnitude, take the nearest level.

# %% tags=["quote"]
from lora_course.bits.quantize import dequantize, nearest, nf4_code, quantize

# %%
nf4 = nf4_code()  # (16,)
for part in nf4.view(4, 4).tolist():
    print("".join(f"{level:10.4f}" for level in part))
print("the same as bitsandbytes', to the last bit:", end=" ")
print(torch.equal(nf4, bnb.get_4bit_type("nf4", device="cpu")))

# %%
even = torch.linspace(-7, 7, 15) / 7
fig, ax = figure(7.5, 3)
ax.hist(inside, 81, range=(-1.0125, 1.0125), color=COLORS["grey"], alpha=0.4)
top = ax.get_ylim()[1]
looks = (nf4, -0.1, "qlora", "NF4"), (even, -0.25, "base", "even")
for levels, y, role, name in looks:
    ax.plot(levels, [y * top] * len(levels), "o", color=COLORS[role], ms=6)
    ax.text(1.08, y * top, name, va="center", color=TEXT[role])
ax.vlines(nf4, -0.1 * top, 0, COLORS["qlora"], lw=1)
ax.set(ylim=(-0.35 * top, top), yticks=[], xlabel="weight / largest of its block")
ax.grid(False)
show(
    fig,
    caption="Weights of the base in blocks of 64, the 16 levels of NF4 and the 15 even "
    "ones. The towers at both ends are the largest weight of each block.",
    alt="A histogram in the shape of a bell from -1 to 1, with a narrow tower at each "
    "end. Below it two rows of dots: those of NF4 crowd in the middle and are far "
    "apart at the ends, the others are evenly spaced.",
)

# %% [markdown]
# *FP4* is the other 4-bit type of bitsandbytes, and its default: a tiny float with a
# sign, two bits of exponent and one of fraction: 0, 1/192, then 1/6, 1/4, 1/3, 1/2, 2/3
# and 1. **Predict** the order: even levels, FP4, NF4.

# %%
fp4 = bnb.get_4bit_type("fp4", device="cpu").unique()  # ascending; +0 and -0 are one
books = {"even": even, "FP4": fp4, "NF4": nf4}
for name, code in books.items():
    codes, absmax = quantize(W, code)
    share = torch.bincount(codes.long(), minlength=len(code)) / len(codes)
    off = error(dequantize(codes, absmax, code), W)
    print(f"{name:5} {len(code)} levels, error {off:.1%}, rarest {share.min():.1%}")
print("FP4, upwards from 0:", [round(level, 3) for level in fp4.tolist() if level >= 0])

# %% [markdown]
# NF4 wins on these weights. But its codes are not used equally often: the quantiles
# belong to weights divided by a fixed number, and ours are divided by the largest of
# 64, which varies (Yoshida 2023, arXiv 2306.06965).
#
# ## 4 Two in a byte
#
# The smallest thing that a computer stores is a byte, 8 bits. **Predict** the byte that
# holds 5 in its high half and 12 in its low half.

# %%
byte = 5 << 4 | 12  # shift 5 four bits up, fill in 12 below
print(byte, format(byte, "08b"), "->", byte >> 4, byte & 0b1111)

# %% [markdown]
# **[Exercise 10.3](../exercises/10_quantization_from_scratch.ipynb)**: pack and unpack whole
# tensors, also of odd length. Then compare:

# %% tags=["quote"]
from lora_course.bits.quantize import dequantize_nf4, pack, quantize_nf4, unpack

# %% [markdown]
# Now put it beside bitsandbytes, bytes and scales and values, on easy input and on
# nasty input. **Predict:** which line is the first `False`?

# %%
def same_as_bitsandbytes(x, size):
    packed, absmax = quantize_nf4(x, size)
    theirs, state = bnb.quantize_nf4(x, blocksize=size)
    mine = packed, absmax, dequantize_nf4(packed, absmax, x.shape, size)
    yours = theirs, state.absmax, bnb.dequantize_nf4(theirs, state)
    return all(torch.equal(a, b.flatten()) for a, b in zip(mine, yours, strict=True))


torch.manual_seed(0)
noise = torch.randn(4096)
inputs = {"a matrix of the base": W.flatten(), "all zero": 0 * noise}
inputs |= {"all the same": 0 * noise - 0.3, "huge": 1e30 * noise, "tiny": 1e-30 * noise}
for name, x in inputs.items():
    same = [same_as_bitsandbytes(x, size) for size in (32, 64, 256, 1024)]
    print(f"{name:21} blocks of 32, 64, 256, 1024:", same)

# %% [markdown]
# There is none. (The matrix goes in as one long row: on a CPU with AVX-512,
# bitsandbytes 0.50.2 can give wrong values when the rows do not divide into blocks.)
#
# ## 5 The scales cost, too
#
# A float32 scale for 64 weights is half a bit a weight. Larger blocks cost less and err
# more. QLoRA keeps the small blocks and quantizes **the scales**: double quantization.
# Look at them first. **Predict:** would absmax with zero in the middle suit them?

# %%
_, absmax = quantize_nf4(W)
print(f"scales: {len(absmax)}, smallest above 0: {bool(absmax.min() > 0)}")
offset = absmax.mean()
print(f"spread around the mean, as a share of it: {absmax.std() / offset:.0%}")
rest = absmax - offset
step = rest.abs().max() / 127
back = (rest / step).round() * step
print(f"8 bits after the mean is off: error {error(offset + back, absmax):.2%}")

# %% [markdown]
# They are positive and close to their mean. So the mean comes off first, is kept once,
# and the rest gets 8 bits in groups of 256, with a float32 scale for each group.
#
# bitsandbytes does not use even levels there. Its **dynamic** map has 64 levels on each
# side from 0.1 to 1, 32 from 0.01 to 0.1, and so on: fine and wide at once.
#
# **[Exercise 10.4](../exercises/10_quantization_from_scratch.ipynb)**: both ways. Then compare:

# %% tags=["quote"]
from lora_course.bits.quantize import (
    double_dequantize,
    double_quantize,
    dynamic_code,
)

# %% [markdown]
# The line with 65,536 steps copies a habit of bitsandbytes on CPUs, which looks levels
# up in a table. It changes about one code in a thousand, and hardly any value.
# **Predict:** how much error does double quantization add?

# %%
packed, absmax = quantize_nf4(W)
codes, scales, offset = double_quantize(absmax)
double = dequantize_nf4(packed, double_dequantize(codes, scales, offset), W.shape)
theirs, state = bnb.quantize_nf4(W.flatten(), compress_statistics=True)
print("same codes: ", torch.equal(codes, state.absmax))
print("same scales:", torch.equal(scales, state.state2.absmax))
print("same offset:", torch.equal(offset, state.offset))
yours = bnb.dequantize_nf4(theirs, state).flatten()
print("same values:", torch.equal(double.flatten(), yours))
single = dequantize_nf4(packed, absmax, W.shape)
print(f"error {error(single, W):.2%}, with double quantization {error(double, W):.2%}")

# %% [markdown]
# ## 6 Bits for each weight
#
# **[Exercise 10.5](../exercises/10_quantization_from_scratch.ipynb)**: count them. **Predict**
# first, for blocks of 64: 4 bits, and how many for the scales, without and with double
# quantization?

# %% tags=["quote"]
from lora_course.bits.quantize import bits_per_parameter

# %%
def measured(x, size, double):
    """Bits per weight, from the bytes of the tensors."""
    packed, absmax = quantize_nf4(x, size)
    tensors = [packed, *(double_quantize(absmax)[:2] if double else [absmax])]
    return 8 * sum(t.numel() * t.element_size() for t in tensors) / x.numel()


x = torch.randn(1024, 1024)
print("block   plain  double   as measured")
for size in (32, 64, 128, 256, 1024, 4096):
    bits = [bits_per_parameter(x.numel(), size, double) for double in (False, True)]
    same = bits == [measured(x, size, double) for double in (False, True)]
    print(f"{size:5} {bits[0]:7.3f} {bits[1]:7.3f}   {same}")

# %% [markdown]
# QLoRA's count for blocks of 64: 32/64 = 0.5 bit becomes 8/64 + 32/(64 · 256) = 0.127
# bit (Dettmers et al. 2023, §3). With double quantization blocks of 64 cost hardly more
# than blocks of 256 without it.
#
# > **Myth check.** *QLoRA puts a 65B model on one card of 24 GB.* **Predict:** how many
# > bits a weight could it have there, with no room for anything else?

# %%
n = meta_model("LLaMA-65B").num_parameters()
card = 24 * 2**30  # bytes
need = bits_per_parameter(64 * 2**20, 64, True)
print(f"the card allows {8 * card / n:.2f} bits a weight, NF4 takes {need:.2f}")
print(f"weights alone: {n * need / 8 / 1e9:.1f} GB, the card: {card / 1e9:.1f} GB")

# %% [markdown]
# > **Verdict: wrong.** The paper's claim is 65B on 48 GB, and 33B on 24 GB (§4).
# > Embeddings and head stay in 16 bits and add to it: chapter 01 has the exact sum.
#
# ## 7 Error by data type and block size
#
# Now every matrix of the base, every type, every block size. **Predict:** which buys
# more, half a bit for smaller blocks (64 weights, then 32), or the better code book?

# %%
books["int8"] = torch.linspace(-127, 127, 255) / 127


def in_type(code, size=64):
    return lambda w: dequantize(*quantize(w, code, size), code, size).view(w.shape)


def nf4_double(w):
    packed, absmax = quantize_nf4(w)
    return dequantize_nf4(packed, double_dequantize(*double_quantize(absmax)), w.shape)


def total_error(change):
    """Error over all matrices of the model."""
    lost = sum((change(w) - w).square().sum() for w in weights.values())
    return float((lost / sum(w.square().sum() for w in weights.values())).sqrt())


sizes = [32, 64, 128, 256, 512, 1024, 2048, 4096]
table = {k: [total_error(in_type(book, s)) for s in sizes] for k, book in books.items()}
print("block  " + "".join(f"{name:>8}" for name in table))
for i, size in enumerate(sizes):
    print(f"{size:5}  " + "".join(f"{row[i]:8.2%}" for row in table.values()))
assert table["NF4"][1] < table["even"][0] or chosen() != str(BASE)

# %%
fig, (left, right) = figure(9, 3.8, ncols=2)
looks = {"even": ("base", "s"), "FP4": ("extra", "^"), "NF4": ("qlora", "o")}
looks["int8"] = ("grey", "D")
bits = [bits_per_parameter(2**24, s) for s in sizes]
for name, (role, mark) in looks.items():
    left.loglog(sizes, table[name], mark + "-", color=COLORS[role], label=name, ms=5)
    if name != "int8":
        right.plot(bits, table[name], mark + "-", color=COLORS[role], label=name, ms=5)
twice = bits_per_parameter(2**24, 64, True)
star = {"color": COLORS["full"], "ms": 15, "label": "NF4 double"}
right.plot(twice, total_error(nf4_double), "*", **star)
left.set(xlabel="weights in a block", ylabel="error / size of the weights")
right.set(xlabel="bits a weight, scales included")
left.legend()
right.legend()
show(
    fig,
    caption="Left: error over block size, all matrices of the base. Right: the 4-bit "
    "types by what they cost. The star is NF4, blocks of 64, double quantization.",
    alt="Left, logarithmic: int8 lies over ten times lower than three 4-bit lines, "
    "of which NF4 is the lowest; all rise with the block size. Right: error falls from "
    "4 to 5 bits a weight; the star lies at 4.13 bits with the error of NF4 at 4.5.",
)

# %% [markdown]
# The better code book buys more, and costs nothing.
#
# ## 8 What the model notices
#
# Such errors, in every weight, sound bad. What counts is the next word. We read 150 new
# stories of the town and take the **loss**, in *nats* for each token: minus the natural
# logarithm of its probability. A blind guess
# among 1,000 tokens costs ln 1,000, about 7 nats.
#
# **Predict:** by how much does it rise with 4 bits, where every weight is off by a tenth?
# With 3 bits, where they are off by a quarter?

# %%
start = tokenizer.bos_token or ""
texts = [start + text for text in documents(seed=99, count=150)]
batch = tokenizer(
    texts, padding=True, padding_side="right", add_special_tokens=False,
    return_token_type_ids=False, return_tensors="pt",
)
labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)  # (B, T)


@torch.no_grad()
def loss_with(change):
    """Loss of the base with every matrix w replaced by change(w)."""
    for name, w in weights.items():
        base.get_submodule(name).weight.data = change(w)
    loss = base(**batch, labels=labels).loss.item()
    for name, w in weights.items():
        base.get_submodule(name).weight.data = w
    return loss


before = loss_with(lambda w: w)
print(f"float32: {before:.2f}; blind: {torch.tensor(base.config.vocab_size).log():.1f}")

# %%
ways = {f"{name}, 64": in_type(book) for name, book in books.items()}
ways |= {"NF4, 4096": in_type(nf4, 4096), "NF4, 64, double": nf4_double}
ways |= {"3 bits, 64": in_type(torch.linspace(-1, 1, 7))}
ways |= {"2 bits, 64": in_type(torch.linspace(-1, 1, 3))}
rise = {name: loss_with(change) - before for name, change in ways.items()}
for name, value in rise.items():
    print(f"{name:16} loss rises by {value:6.3f}")
if chosen() == str(BASE):
    assert abs(rise["int8, 64"]) < rise["NF4, 64"] < rise["FP4, 64"]
    assert rise["FP4, 64"] < rise["3 bits, 64"] / 3 < rise["2 bits, 64"] / 9
    assert table["NF4"][-1] > table["even"][1] and rise["NF4, 4096"] < rise["even, 64"]
    assert abs(rise["NF4, 64, double"] - rise["NF4, 64"]) < rise["NF4, 64"] / 3

# %% [markdown]
# Eight bits: nothing. Four bits: a little. Three bits hurt, two destroy the model. Double
# quantization costs nothing that shows. The error is no measure of the rise: NF4 in blocks
# of 4,096 has a larger error than even levels in blocks of 64, and the smaller rise.
# On other text even the order of two code books turns round: chapter 11, section 4.
#
# Errors of many weights point in all directions and partly cancel in each sum.
#
# ## 9 Two more myths
#
# > **Myth check.** *NF4 is the best 4-bit type for any weights.* **Predict** the winner
# > for normal weights, for evenly spread ones, and for heavy tails.

# %%
torch.manual_seed(0)
n = 2**17
shapes = {"normal": torch.randn(n), "evenly spread": 2 * torch.rand(n) - 1}
shapes["heavy tails"] = torch.randn(n) * torch.exp(0.7 * torch.randn(n))
tried = {name: books[name] for name in ("even", "FP4", "NF4")}
for name, x in shapes.items():
    errors = {k: error(dequantize(*quantize(x, b), b), x) for k, b in tried.items()}
    print(f"{name:14}", ", ".join(f"{k} {v:.1%}" for k, v in errors.items()))

# %% [markdown]
# > **Verdict: no.** Evenly spread weights want even levels. NF4 is good for weights
# > that look normal, as most do. Even there it is no optimum: levels that are fitted to
# > the blocks err a little less (problem 4).
#
# > **Myth check.** *A 4-bit base trains four times as fast, because it computes in 4
# > bits.* **Predict** the time of a matrix product with an NF4 weight, as a multiple of
# > that with the plain weight.

# %% tags=["nbval-ignore-output"]
A, x = torch.randn(1024, 1024), torch.randn(64, 1024)  # weight (out, in), (tokens, in)
packed, state = bnb.quantize_nf4(A)
plain = repeat(lambda: x @ A.T, number=1, repeat=30)
coded = repeat(lambda: x @ bnb.dequantize_nf4(packed, state).T, number=1, repeat=30)
ratio = min(coded) / min(plain)
print(f"time of the product with an NF4 weight: {ratio:.1f} times the plain one")
assert ratio > 1

# %% [markdown]
# > **Verdict: wrong.** No chip multiplies NF4 codes: they are numbers of levels. The
# > weights are dequantized first, forward and backward, and the product is computed in
# > float32 or bfloat16. So QLoRA's step is slower than 16-bit LoRA's. It saves memory.
#
# ## Takeaways
#
# - Absmax: codes and one scale. Blocks keep outliers from spoiling the rest.
# - NF4: 16 quantiles of the normal, zero among them, two codes in a byte.
# - Double quantization: 0.127 instead of 0.5 bit for the scales, no visible error.
# - 4 bits raise the loss a little, 3 bits much more. They save memory, not time.
#
# ## Problems without code
#
# 1. A block of 64 zeros: which codes, which scale, which values come back?
# 2. Why would NF4 without an exact zero be bad for a matrix that is half zeros?
# 3. 7 billion weights in 4 GB: which of 8.5, 4.5 and 4.127 bits a weight will do?
# 4. Why can moving each level to the mean of its weights only lower the squared error?
# 5. Why is the mean taken off the scales, and not off the weights?
#
# **Before:** [09 Fine-tuning with TRL](09_supervised_fine_tuning_with_trl.ipynb). **Next:**
# [11 QLoRA on a single GPU](11_qlora_on_a_single_gpu.ipynb). **Sources:**
# [QLoRA](https://arxiv.org/abs/2305.14314) section 3,
# [8-bit optimizers](https://arxiv.org/abs/2110.02861) section 2,
# [LLM.int8()](https://arxiv.org/abs/2208.07339),
# [NF4 is not optimal](https://arxiv.org/abs/2306.06965).
