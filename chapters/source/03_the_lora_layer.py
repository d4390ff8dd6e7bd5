# %% [markdown]
# # 03 The LoRA layer
#
# How do you train an update to a weight matrix without ever storing the update?
# About 50 minutes, after chapter 02.
#
# You will be able to
# - write a LoRA layer from memory and say why each line is there;
# - predict which gradients are zero at the first step;
# - say what `r`, `lora_alpha` and the learning rate each do.

# %%
import copy
import math

import torch
from torch import nn

from lora_course.costs.memory import saved_bytes
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.rank import truncate

quiet()

# %% [markdown]
# ## 1 An update in two thin matrices
#
# A frozen weight $W$ has $d_{out}$ rows and $d_{in}$ columns. LoRA adds an update of
# rank at most $r$:
#
# $$W + \frac{\alpha}{r}\, B A$$
#
# $A$ is $(r, d_{in})$ and reads the input. $B$ is $(d_{out}, r)$ and writes the
# output. (Hu et al. 2021, [LoRA](https://arxiv.org/abs/2106.09685), section 4.1.
# Some papers swap the two letters.)
#
# Our size throughout: the `k_proj` of our small model, 128 inputs and 64 outputs.

# %%
torch.manual_seed(0)
d_in, d_out, r, alpha = 128, 64, 4, 12
W = torch.randn(d_out, d_in) / d_in**0.5  # (out, in), frozen
A = torch.randn(r, d_in) / d_in**0.5  # (r, in)
B = torch.randn(d_out, r)  # (out, r)
print("B @ A is", tuple((B @ A).shape), "and W is", tuple(W.shape))

# %%
from matplotlib.patches import Rectangle

fig, ax = figure(8, 2.6)
boxes = [  # x, y, width, height, color, name, what it is; drawn to scale
    (0, 0, 128, 64, "base", "W", "64 × 128, frozen"),
    (196, 0, 5, 64, "lora", "B", "64 × 4, trained"),
    (222, 30, 128, 5, "lora", "A", "4 × 128, trained"),
]
for x, y, width, height, color, name, size in boxes:
    color = COLORS[color]
    ax.add_patch(Rectangle((x, y), width, height, fc=color, alpha=0.3))
    ax.add_patch(Rectangle((x, y), width, height, fc="none", ec=color, lw=2))
    ax.text(x + width / 2, y + height + 5, name, ha="center", fontsize=14)
    ax.text(x + width / 2, y - 5, size, ha="center", va="top")
ax.text(150, 32, "+", ha="center", va="center", fontsize=18)
ax.text(177, 32, r"$\frac{\alpha}{r}$ ·", ha="center", va="center", fontsize=18)
ax.text(211, 32, "·", ha="center", va="center", fontsize=18)
ax.set(xlim=(-6, 356), ylim=(-20, 86), aspect="equal")
ax.axis("off")
show(
    fig,
    caption="The frozen weight and the two trained factors of rank 4, drawn to scale.",
    alt="A large blue rectangle W of 64 by 128, plus alpha over r times a thin upright "
    "green strip B of 64 by 4 times a thin flat green strip A of 4 by 128.",
)

# %% [markdown]
# **Predict.** W has 64 · 128 numbers. What share of that do A and B have at r = 4?
# And at which r do they have more than W?

# %%
for rank in (1, 4, 16, 42, 43):
    factors, full = rank * (d_in + d_out), d_out * d_in
    print(f"r = {rank:2}: {factors:5} of {full} numbers, {factors / full:7.2%}")

# %% [markdown]
# ## 2 Start as nothing
#
# Training should start from the model as it is. So **B starts at zero**: then
# B A x = 0 for every x. **A starts random**, or nothing could ever move; section 5
# measures that.
#
# The update may also **drop** some inputs while it trains. It has **no bias**.
# **Predict:** while B = 0, what does dropout do to the output?

# %%
def lora_forward(x, W, A, B, scaling, p=0.0):
    dropped = nn.functional.dropout(x, p)  # only the update sees it
    return x @ W.T + scaling * (dropped @ A.T @ B.T)  # (..., out)


x = torch.randn(2, 5, d_in)  # (batch, tokens, in)
for name, factor in (("zero", 0 * B), ("random", B)):
    y = lora_forward(x, W, A, factor, alpha / r, p=0.5)
    print(f"B {name}: equal to the base's output?", torch.equal(y, x @ W.T))

# %% [markdown]
# Even with dropout on, a layer with B = 0 is its base layer to the last bit.
#
# You have all the parts. **Now write the layer**:
# [Exercise 3.1](../exercises/03_the_lora_layer.ipynb). (`lora-course start 03` makes
# your own copy.) Come back to compare.

# %% [markdown]
# ## 3 The layer of the course
#
# It wraps a layer that exists: weight and bias stay where they are. The factors get
# the base's device, and at least float32. Change a line and see what breaks below.

# %% tags=["quote"]
from lora_course.lora import LoRALinear

# %% [markdown]
# **Baseline.** The small model reads a story and continues it. We note what it says
# and keep its logits, its raw scores for the next token.

# %%
model, tokenizer = load_base("base"), load_tokenizer("base")
story = "On Friday, Felix lost the drum on the hill. "
story += "Where did Felix lose the drum? Felix"
ids = tokenizer(story, return_tensors="pt").input_ids  # (1, T)


@torch.no_grad()
def logits():
    return model(ids).logits  # (1, T, vocabulary)


before = logits()
written = model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
print(story, "...", tokenizer.decode(written))

# %% [markdown]
# **Predict.** We wrap `k_proj` of the first layer, with dropout, and switch to
# training mode. By how much do the logits change? How many numbers will train?

# %%
model.requires_grad_(False)
attention = model.model.layers[0].self_attn
attention.k_proj = LoRALinear(attention.k_proj, r=4, lora_alpha=12, lora_dropout=0.5)
model.train()
print("largest change of a logit:", (logits() - before).abs().max().item())
for name, p in model.named_parameters():
    if p.requires_grad:
        print(name, tuple(p.shape), p.numel())

# %% [markdown]
# **No-op:** the change is exactly zero. Injecting did nothing yet, and only A and B
# can train.
#
# Now B gets random values. **Predict:** do two passes agree in `train()`? In
# `eval()`?

# %%
nn.init.normal_(attention.k_proj.lora_B)
for mode in (True, False):
    model.train(mode)
    same = torch.equal(logits(), logits())
    print("train()" if mode else "eval() ", "- two passes agree:", same)

# %% [markdown]
# Dropout acts only while training. Rates of 0.05 or 0.1 are a habit, not a rule;
# PEFT's default is 0.
#
# Why are A and B float32 even on a bfloat16 base? Training is a long sum of small
# steps. **Predict** what 1,000 steps of 0.001 make of 1.0. And as x comes in bfloat16 there,
# and a product needs one type: which keeps fewer bytes for backward, to cast x to float32, or
# A and B to bfloat16, when q, k and v read the same x?

# %%
for dtype in (torch.float32, torch.bfloat16):
    weight = torch.tensor(1.0, dtype=dtype)
    for _ in range(1000):
        weight += 0.001
    print(dtype, round(weight.item(), 3))

half, g = torch.bfloat16, torch.Generator().manual_seed(0)
tokens = torch.randn(1000, d_in, generator=g).to(half)  # (tokens, in), an x
pairs = [
    (torch.randn(r, d_in, generator=g), torch.randn(d_out, r, generator=g)) for _ in "qkv"
]
factors = [f.requires_grad_() for pair in pairs for f in pair]
ways = {
    "x to float32": lambda a, b: tokens.float() @ a.T @ b.T,
    "A, B to bfloat16": lambda a, b: tokens @ a.to(half).T @ b.to(half).T,
}
exact = tokens.double() @ pairs[0][0].double().T @ pairs[0][1].double().T  # (tokens, out)
for name, way in ways.items():
    kept = saved_bytes(lambda way=way: sum(way(a, b).sum() for a, b in pairs), factors)
    off = (way(*pairs[0]).to(half) - exact).norm() / exact.norm()
    print(f"{name:17} keeps {kept / tokens.numel():4.1f} bytes for a number of x,", end=" ")
    print("off by less than", "1 %" if off < 0.01 else "?")

# %% [markdown]
# In bfloat16 each small step is rounded back, so the factors stay float32. For a product the
# layer casts them: x is kept once, as it is. PEFT casts x, three copies here. On an H100
# (1.2B, r = 16, 16 texts of 1,024 tokens) a step with copies took 1.34 times a step of full
# fine-tuning and 69 GB, without them 0.95 times and 54 GB.
#
# ## 4 The delta weight
#
# The update is one matrix, $\Delta W = \frac{\alpha}{r} B A$. **Predict:** does x
# through A, then B, give the same as x through ΔW? Which is cheaper?

# %%
layer = attention.k_proj
delta = layer.get_delta_weight()  # (out, in)
thin = layer.scaling * (x @ layer.lora_A.T @ layer.lora_B.T)
print("equal:", torch.allclose(thin, x @ delta.T, atol=1e-4))
print("multiplications a token: thin", r * (d_in + d_out), "- full", d_out * d_in)

# %% [markdown]
# > **Myth check.** *LoRA takes the weight update apart into two matrices.*
# > That would need the update first. **Predict** how many of the 64 singular values
# > of ΔW are not zero, in a layer that has never trained.

# %%
s = torch.linalg.svdvals(delta)  # (64,), largest first
print("first six:", [f"{v:.2f}" for v in s[:6].tolist()])
print("not zero:", int((s > 1e-5 * s[0]).sum()), "of", len(s))

# %% [markdown]
# > **Verdict: misleading.** Nothing is taken apart. The update is *written* as a
# > product from the start, and can never leave rank r. Taking a finished update
# > apart is the SVD of chapter 02.
#
# GPT-2 has another layout. Its `Conv1D` is a linear layer that stores the weight as (in, out). The
# factors stay as they are; only the delta is transposed. Write the delta weight of both kinds in
# **[Exercise 3.2](../exercises/03_the_lora_layer.ipynb)**, then compare.

# %% tags=["quote"]
from lora_course.lora import LoRAConv1D

# %% [markdown]
# The trap is a **square** `Conv1D`, such as GPT-2's `c_proj`. **Predict:** what
# happens if you forget the transpose there? An error?

# %%
from transformers.pytorch_utils import Conv1D

conv = LoRAConv1D(Conv1D(128, 128), r=4, lora_alpha=12)
nn.init.normal_(conv.lora_B)
delta = conv.get_delta_weight().detach()
for name, added in (("transposed", delta), ("forgotten ", delta.T)):
    merged = copy.deepcopy(conv.base_layer)
    merged.weight += added
    print(name, "equals the layer:", torch.allclose(merged(x), conv(x), atol=1e-3))

# %% [markdown]
# No error, and a wrong model.
#
# ## 5 Why one zero, and why only one
#
# Let $G$ be the gradient at the output and $X$ the input, one row per token. Then
#
# $$\nabla_B = \tfrac{\alpha}{r}\, G^\top X A^\top \qquad
# \nabla_A = \tfrac{\alpha}{r}\, B^\top G^\top X$$
#
# Each gradient is a product with the *other* factor.
#
# The task: find a hidden update Δ* of rank 8. The inputs are scaled so that the loss is
# the squared distance $\lVert \Delta W - \Delta^* \rVert^2$.
# **Predict** for four starts which gradients are zero in the first step.

# %%
torch.manual_seed(1)
left = torch.linalg.qr(torch.randn(d_out, 8)).Q  # (out, 8), orthonormal columns
right = torch.linalg.qr(torch.randn(d_in, 8)).Q  # (in, 8)
hidden = left * torch.arange(8.0, 0, -1) @ right.T  # singular values 8, 7, ... 1
X = torch.linalg.qr(torch.randn(d_in, d_in)).Q * d_in**0.5  # (tokens, in)


def mse(update):
    return (update - X @ hidden.T).square().sum(1).mean()


def new_factors(a, b, r=4):
    torch.manual_seed(0)
    A = (a * (torch.rand(r, d_in) * 2 - 1) / d_in**0.5).requires_grad_()
    B = (b * (torch.rand(d_out, r) * 2 - 1) / r**0.5).requires_grad_()
    return A, B


# %%
starts = {  # is A random? is B random?
    "A random, B zero": (1, 0),
    "A zero, B random": (0, 1),
    "both zero": (0, 0),
    "both random": (1, 1),
}


def gradient_norms(name, steps, lr=0.01, scaling=3):
    A, B = new_factors(*starts[name])
    norms = []
    for _ in range(steps):
        grads = torch.autograd.grad(mse(scaling * (X @ A.T @ B.T)), (A, B))
        norms.append([g.norm().item() for g in grads])
        with torch.no_grad():
            A -= lr * grads[0]
            B -= lr * grads[1]
    return norms  # one [A, B] for each step


print("norm of the gradient      step 0: A, B     step 1: A, B")
for name in starts:
    (a0, b0), (a1, b1) = gradient_norms(name, steps=2)
    print(f"{name:20} {a0:12.2f} {b0:6.2f} {a1:12.2f} {b1:6.2f}")

# %% [markdown]
# When only B is zero, the first step moves B alone. From the second step on, A moves too.
# A gradient grows with the other factor, and shrinks as the loss falls. **Predict** for
# the next ten steps: which curves rise first, which fall, which stay flat?

# %%
fig, axes = figure(9, 3, ncols=4)
for ax, name in zip(axes, starts, strict=True):
    a, b = torch.tensor(gradient_norms(name, steps=11)).T
    ax.plot(b, "s-", color=COLORS["full"], label="B", markersize=4)
    ax.plot(a, "o-", color=COLORS["lora"], label="A", markersize=4)
    ax.set(title=name, xlabel="step", ylim=(-5, 140), xticks=range(0, 11, 5))
axes[0].set_ylabel("norm of the gradient")
axes[0].legend(title="gradient of")
show(
    fig,
    caption="Gradients of A and B in the first steps, for four starts.",
    alt="Four panels over steps 0 to 10. A random, B zero: A starts at zero, B small, "
    "then both rise. A zero, B random: A starts high, B at zero. Both zero: both flat "
    "at zero. Both random: A starts very high, B above zero.",
)

# %% [markdown]
# > **Myth check.** *An update should start at nothing, so start both factors at
# > zero, or as small as you can.* **Verdict: wrong.** Two zeros stay zero for ever.
# > One zero is enough, and the size of the other factor sets the first gradient.
#
# How large should A be? The paper draws it from a Gaussian; its code and PEFT draw
# from $\pm 1/\sqrt{d_{in}}$, by `kaiming_uniform_` with `a=√5`. **Predict:** how far
# off is the output when both are random: by a few per cent, or by its own size? And how
# does the size of A x grow with the width?

# %%
A, B = new_factors(1, 1)
off = (3 * X @ A.T @ B.T).norm() / (X @ W.T).norm()
print(f"both random: the output is off by {off.item():.0%} of its size")
for width in (128, 4096):
    inputs, A = torch.randn(500, width), torch.empty(r, width)
    normal = (inputs @ nn.init.normal_(A).T).std().item()
    nn.init.kaiming_uniform_(A, a=math.sqrt(5))
    kaiming = (inputs @ A.T).std().item()
    print(f"d_in = {width:4}: A x is {normal:2.0f} (std 1) or {kaiming:.1f} (kaiming)")

# %% [markdown]
# Dividing by $\sqrt{d_{in}}$ keeps A x at one size for every width, so B sees inputs of
# one size in narrow and in wide layers.
#
# **[Exercise 3.3](../exercises/03_the_lora_layer.ipynb)** gives you four broken starts with four
# complaints. Repair them.

# %% [markdown]
# ## 6 Embeddings
#
# An embedding is a linear layer for a one-hot input: token t picks column t of A. Here the
# reference code swaps the roles: **A starts at zero, B random**. Write it in
# **[Exercise 3.4](../exercises/03_the_lora_layer.ipynb)**, then compare.

# %% tags=["quote"]
from lora_course.lora import LoRAEmbedding

# %% [markdown]
# Why the swap? We train a table of 8 tokens, of which only 1, 2 and 3 occur.
# **Predict:** which rows move when A starts at zero? Which when B does?

# %%
for zero in ("A", "B"):
    torch.manual_seed(0)
    table = LoRAEmbedding(nn.Embedding(8, 16), r=2, lora_alpha=3)
    if zero == "B":
        nn.init.normal_(table.lora_A)
        nn.init.zeros_(table.lora_B)
    optimizer = torch.optim.Adam([table.lora_A, table.lora_B], lr=0.01)
    for _ in range(5):
        loss = table(torch.tensor([1, 2, 3])).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = table.get_delta_weight().norm(dim=1).tolist()
    print(f"{zero} zero at the start; rows moved by", [round(v, 1) for v in moved])

# %% [markdown]
# With A = 0, a token that never occurs keeps its vector exactly. With B = 0, every
# token drifts, because all share B.
#
# ## 7 r, alpha and the learning rate
#
# > **Myth check.** *Twice the rank, twice the update.* **Predict:** we double r by
# > adding zeros to A and B and leave alpha alone. What happens to the output?

# %%
A, B = torch.randn(4, d_in), torch.randn(d_out, 4)
A8 = torch.cat([A, torch.zeros(4, d_in)])  # (8, in)
B8 = torch.cat([B, torch.zeros(d_out, 4)], dim=1)  # (out, 8)
small, large = 12 / 4 * (x @ A.T @ B.T), 12 / 8 * (x @ A8.T @ B8.T)
ratio = (large.norm() / small.norm()).item()
print(f"r = 8 gives {ratio:.3f} times the output of r = 4")

# %% [markdown]
# The zeros add nothing, and the scale α/r halves. Now we train our model's layer
# towards the hidden update: 20 steps of Adam, one alpha, one learning rate.
# **Predict** how the size of ΔW changes when r doubles.

# %%
def new_layer(r, lora_alpha):
    torch.manual_seed(0)
    return LoRALinear(copy.deepcopy(attention.k_proj.base_layer), r, lora_alpha)


def train(layer, steps, lr_A, lr_B):
    rates = {layer.lora_A: lr_A, layer.lora_B: lr_B}
    optimizer = torch.optim.Adam([{"params": p, "lr": lr} for p, lr in rates.items()])
    fall = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / steps)
    for _ in range(steps):
        loss = mse(layer(X) - layer.base_layer(X))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        fall.step()  # the learning rates fall to zero in a straight line
    return loss.item() / hidden.square().sum().item()  # share of the first loss


for rank in (4, 8, 16, 32, 64):
    layer = new_layer(rank, lora_alpha=16)
    rest = train(layer, steps=20, lr_A=0.003, lr_B=0.003)
    size = layer.get_delta_weight().norm()
    print(f"r = {rank:2}: size of the update {size:.2f}, loss left {rest:.0%}")

# %% [markdown]
# > **Verdict: wrong.** At a fixed alpha the update here does not grow with r; it shrinks,
# > and early training goes equally fast. That is what α/r is for: you can change r
# > and keep the learning rate.
#
# > **Myth check.** *Alpha must be twice r.* **Predict:** we halve and double alpha,
# > and change the learning rate of B the other way. Do the losses differ?

# %%
for lora_alpha, lr_B in ((4, 0.04), (8, 0.02), (16, 0.01), (16, 0.02)):
    rest = train(new_layer(4, lora_alpha), steps=20, lr_A=0.02, lr_B=lr_B)
    print(f"alpha / r = {lora_alpha // 4}, lr of B {lr_B}: loss left {rest:.1%}")

# %% [markdown]
# > **Verdict: a habit.** Adam ignores the size of gradients, so half the alpha with
# > twice the learning rate of B is the *same* run. Published runs chose very different
# > α/r: 1/4 (QLoRA, appendix: r = 64, α = 16), 8 (GPT-2 in the LoRA paper: r = 4,
# > α = 32), and one α = 32 for every rank from 1 to 512 (Schulman et al. 2025). One
# > finding is contrary: at r = 256, with another optimizer, α = 2r was best at every rate
# > tried (Biderman et al. 2024, section 4.7). Fix alpha, and tune the learning rate.
#
# **[Exercise 3.5](../exercises/03_the_lora_layer.ipynb)**: give a trained adapter more rank and
# keep what it learned.

# %% [markdown]
# ## 8 What a rank can reach
#
# The hidden update has rank 8. **Predict** the error that remains at r = 4. (Chapter
# 02: no matrix of rank r is nearer than the truncated SVD. The floor is its tail.)

# %%
ranks, errors, floors = (1, 2, 4, 6, 8, 16), [], []
for rank in ranks:
    layer = new_layer(rank, lora_alpha=2 * rank)
    train(layer, steps=200, lr_A=0.05, lr_B=0.05)
    errors.append((layer.get_delta_weight() - hidden).norm().item())
    floors.append((truncate(hidden, rank) - hidden).norm().item())
    print(f"r = {rank:2}: error {errors[-1]:4.1f}, floor {floors[-1]:4.1f}")
fig, ax = figure(6.5, 3.2)
ax.plot(ranks, floors, color=COLORS["grey"], lw=6, alpha=0.4, label="truncated SVD")
ax.plot(ranks, errors, "o", color=COLORS["lora"], label="LoRA after training")
ax.set(xlabel="rank r", ylabel="distance to the hidden update", xticks=ranks)
ax.legend()
show(
    fig,
    caption="LoRA finds the best update of its rank. From rank 8 on nothing is left.",
    alt="Distance to the hidden update against rank r. The dots of the trained layers "
    "lie on the line of the truncated SVD, which falls to zero at rank 8 and stays.",
)

# %% [markdown]
# Training A and B knows nothing of the SVD, and here it ends as near as the SVD does.
#
# **After.** We put the last layer into the model. Do not expect sense: its update was
# arbitrary. **Predict:** what remains once we take the adapter off?

# %%
model.eval()
attention.k_proj = layer
print("the adapter changes the logits:", not torch.equal(logits(), before))
attention.k_proj = layer.base_layer
print("largest change without it:", (logits() - before).abs().max().item())

# %% [markdown]
# ## 9 The same as PEFT
#
# An independent reference: PEFT's own LoRA layer, with our factors, in float64. Both
# the outputs and the gradients of x, A and B must agree.

# %%
from peft import LoraConfig, inject_adapter_in_model

ours = LoRALinear(nn.Linear(128, 64, dtype=torch.float64), r=4, lora_alpha=12)
nn.init.normal_(ours.lora_B)
holder = nn.ModuleDict({"layer": copy.deepcopy(ours.base_layer)})
config = LoraConfig(r=4, lora_alpha=12, target_modules=["layer"])
theirs = inject_adapter_in_model(config, holder)["layer"].double()
factors = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
with torch.no_grad():
    factors[0].copy_(ours.lora_A)
    factors[1].copy_(ours.lora_B)
x = torch.randn(2, 5, 128, dtype=torch.float64, requires_grad=True)
one, two = ours(x), theirs(x)
print("outputs equal:", torch.allclose(one, two, rtol=1e-12))
one = torch.autograd.grad(one.square().sum(), (x, ours.lora_A, ours.lora_B))
two = torch.autograd.grad(two.square().sum(), (x, *factors))
for name, a, b in zip("xAB", one, two, strict=True):
    print(f"gradients of {name} equal:", torch.allclose(a, b, rtol=1e-12, atol=1e-9))

# %% [markdown]
# ## Takeaways
#
# - ΔW = (α/r) B A. A reads the input, B writes the output; W is frozen.
# - A random, B zero: the model starts unchanged, and B gets the first gradient.
# - α/r lets you change r and keep the learning rate. With Adam, alpha
#   acts as a learning rate of B.
# - The best that rank r can do is the truncated SVD of the update you need.

# %% [markdown]
# ## Problems without code
#
# 1. A 4096 × 4096 weight, r = 8: which share of its numbers is trained?
# 2. With plain SGD instead of Adam, which learning rate of B undoes half an alpha?
# 3. Why can A and B be replaced by A·c and B/c, and does training notice?
# 4. Weight decay pulls on A and B. What does it pull ΔW towards: zero, or W?
#
# **Before:** [02 Updates are low-rank](02_updates_are_low_rank.ipynb). **Next:**
# [04 Injecting it into a model](04_injecting_it_into_a_model.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685) section 4.1,
# [QLoRA](https://arxiv.org/abs/2305.14314) section 4, the
# [reference code](https://github.com/microsoft/LoRA).
