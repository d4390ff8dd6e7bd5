# %% [markdown]
# # 07 Merging and swapping
#
# An adapter is trained. How does it get into the weights, what does that cost, and what
# do you lose? About 50 minutes, after chapter 05.
#
# You will be able to
# - merge an adapter, take it off again, and prove both;
# - say which updates survive in bfloat16, and why;
# - run several adapters on one base, and add them up exactly.

# %%
import copy
import math  # noqa: F401
import time
import warnings
from collections import Counter  # noqa: F401
from contextlib import contextmanager  # noqa: F401

import torch
from torch import nn

from lora_course.adapters import lora_state_dict
from lora_course.kit.data import answers, batches, exact_match, load_task
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.train import train

quiet()

# %% [markdown]
# ## 1 Into the weight
#
# A LoRA layer computes $W x + s\, B A x$ with the scale $s = \alpha / r$. Matrix
# products distribute, so one matrix does the same:
#
# $$W' = W + s\, B A$$
#
# Our size: 128 inputs, 64 outputs, r = 4, α = 12. **Predict:** does W' have more
# numbers than W?

# %%
torch.manual_seed(0)
W = torch.randn(64, 128, dtype=torch.float64) / 128**0.5  # (out, in)
A = torch.randn(4, 128, dtype=torch.float64) / 128**0.5  # (r, in)
B = torch.randn(64, 4, dtype=torch.float64)  # (out, r)
x, s = torch.randn(5, 128, dtype=torch.float64), 12 / 4  # (tokens, in)
unmerged = x @ W.T + s * (x @ A.T @ B.T)  # (tokens, out)
merged = W + s * B @ A  # (out, in)
print("W'", tuple(merged.shape), "same output:", torch.allclose(x @ merged.T, unmerged))

# %% [markdown]
# One line. What can go wrong with one line? Four slips, none of which raises an error.
#
# **Predict:** which is the worst, for s = 3?

# %%
slips = {
    "right": x @ merged.T,
    "scale forgotten": x @ (W + B @ A).T,
    "scale used twice": x @ (W + s * s * B @ A).T,
    "merged twice": x @ (merged + s * B @ A).T,
    "forward still adds": x @ merged.T + s * (x @ A.T @ B.T),
}
for name, y in slips.items():
    print(f"{name:18} off by {(y - unmerged).norm() / unmerged.norm():5.0%}")

# %% [markdown]
# The last two are one mistake: the update counts twice. A layer needs to know that it
# is merged.
#
# **[Exercise 7.1](../exercises/07_merging_and_swapping.ipynb)**: a layer that merges and unmerges.
# **[Exercise 7.2](../exercises/07_merging_and_swapping.ipynb)**: refuse a second merge. ([The
# exercises](../exercises/07_merging_and_swapping.ipynb); `lora-course start 07` makes your copy.)
#
# ## 2 The course's version
#
# PEFT keeps the layer and asks a flag in every forward pass. Ours takes the layer
# **out**: the plain base layer comes back, with the new weight. Then nothing is left
# that could add the update again. What unmerging needs is kept in `model.merged`. (The two
# small functions above it compare; section 6 needs them.)

# %% tags=["quote"]
from lora_course.merge import compared, warn_of_rounding, merge, unmerge  # noqa: F401

# %% [markdown]
# Why a **new** weight instead of `+=`? Our model uses one matrix twice, as embedding
# and as output head. **Predict:** LoRA trained the embedding alone. What does `+=` do
# to the head?

# %%
def tied_pair():
    torch.manual_seed(0)
    model = nn.ModuleDict({"embed": nn.Embedding(9, 4), "head": nn.Linear(4, 9)})
    model["head"].weight = model["embed"].weight  # one matrix, two users
    inject_lora(model, ["embed"], r=2, lora_alpha=3)
    nn.init.normal_(model["embed"].lora_A)
    return model


ids = torch.tensor([1, 2, 3])
for name in ("+=", "merge()"):
    model = tied_pair()
    before = model["head"](model["embed"](ids))
    if name == "+=":
        layer = model["embed"]
        layer.base_layer.weight += layer.get_delta_weight().detach()
        model["embed"] = layer.base_layer
    else:
        merge(model)
    same = torch.allclose(model["head"](model["embed"](ids)), before, atol=1e-5)
    print(f"{name:8} output as before: {same}")

# %% [markdown]
# With `+=` the head got an update that it was never trained with. `merge` gives the
# embedding a matrix of its own; `unmerge` ties the two again.
#
# ## 3 Three departments
#
# Clinic, court and help desk each get a report and fill in their own form. The reports
# are of one kind: **nothing in the prompt says which form is wanted.**

# %%
base, tokenizer = load_base("base"), load_tokenizer("base")
names = ("clinic", "court", "helpdesk")
tasks = {name: load_task(name) for name in names}
tests = {name: tasks[name]["test"].select(range(50)) for name in names}
for name in names:
    row = tests[name][0]
    print(f"{name:8} {row['prompt']}\n      -> {row['completion']}")

# %% [markdown]
# **Baseline and no-op.** **Predict:** how many forms does the base fill in correctly?
# And after LoRA was put in?

# %%
model = inject_lora(copy.deepcopy(base), r=8, lora_alpha=16, seed=0)
report = tokenizer(tests["court"][0]["prompt"], return_tensors="pt")


@torch.no_grad()
def logits(model):
    return model(**report).logits  # (1, T, vocabulary)


for name in names:
    print(f"base, {name:8} right: {exact_match(base, tokenizer, tests[name]):.0%}")
print("logits after the injection are equal:", torch.equal(logits(model), logits(base)))

# %% [markdown]
# Now one adapter for each department. Each starts from the same base with random
# factors of its own.
#
# `lora_state_dict` gives the model's **own** tensors, not copies. Here each model is
# thrown away, so `clone()` only makes it safe. **Predict:** what would the three adapters
# be if one model had been trained three times, without `clone()`? (All three the last.)

# %%
def adapter_for(name, seed, steps=40):
    model = inject_lora(copy.deepcopy(base), r=8, lora_alpha=16, seed=seed)
    rows = batches(tasks[name]["train"], tokenizer, 16, steps, seed=seed)
    train(model, rows, steps, lr=1e-2)
    return {n: t.clone() for n, t in lora_state_dict(model).items()}


adapters = {name: adapter_for(name, seed) for seed, name in enumerate(names, 1)}
count = sum(t.numel() for t in adapters["court"].values())
print(f"numbers in an adapter: {count:,}, {count / base.num_parameters():.0%} of the base")

# %% [markdown]
# ## 4 One base, three skills
#
# To change the task, change A and B and nothing else (Hu et al. 2021, section 4.2). A visitor must
# leave the room as it was, also when something breaks.
# **[Exercise 7.3](../exercises/07_merging_and_swapping.ipynb)** asks for that. Then compare:

# %% tags=["quote"]
from lora_course.merge import adapter

# %% [markdown]
# **After.** Every adapter on every department. **Predict** the nine numbers. What does
# the clinic's adapter do with the court's forms?

# %%
table = torch.zeros(3, 3)  # (adapter, department)
for i, skill in enumerate(names):
    with adapter(model, adapters[skill]):
        for j, department in enumerate(names):
            table[i, j] = exact_match(model, tokenizer, tests[department])
for i, skill in enumerate(names):
    words = ["over 90 %" if v > 0.9 else f"{v:.0%}" for v in table[i]]
    print(f"{skill:8} adapter:", dict(zip(names, words, strict=True)))
assert table.diagonal().min() > 0.9 and (table.sum() - table.diagonal().sum()) == 0

# %%
fig, ax = figure(4.6, 3.4)
ax.imshow(table, cmap="Greens", vmin=0, vmax=1.4)
for i in range(3):
    for j in range(3):
        ax.text(j, i, f"{table[i, j]:.0%}", ha="center", va="center", fontsize=13)
ax.set(xticks=range(3), xticklabels=names, xlabel="department that asks")
ax.set(yticks=range(3), yticklabels=names, ylabel="adapter in the model")
ax.grid(False)
show(
    fig,
    caption="Exact match on 50 new reports, for each adapter and each department. One "
    "base, three skills; the adapter alone decides which.",
    alt="A grid of three adapters by three departments. The diagonal is dark, at or "
    "near 100 %. All other cells are empty, at 0 %.",
)

# %% [markdown]
# The report says nothing of a form: the adapter *is* the instruction.
#
# **Predict:** an error happens while the court's adapter is in. What does the model
# hold afterwards?

# %%
was = {n: t.clone() for n, t in lora_state_dict(model).items()}
try:
    with adapter(model, adapters["court"]):
        print("inside:", answers(model, tokenizer, [tests["court"][0]["prompt"]])[0])
        raise RuntimeError("power cut in the courthouse")
except RuntimeError as error:
    print("then:", error)
now = lora_state_dict(model)
print("every factor as before:", all(torch.equal(now[n], was[n]) for n in was))

# %% [markdown]
# ## 5 Merge the model
#
# The court's adapter stays in, and is merged. **Predict:** by how much do the logits
# change? What is the second merge going to do?

# %%
for name, place in lora_state_dict(model).items():
    place.copy_(adapters["court"][name])
want, clean = logits(model), copy.deepcopy(model)
merge(model)
off = ((logits(model) - want).norm() / want.norm()).item()
print("logits off by less than 0.00001:", off < 1e-5)
same = model.state_dict().keys() == base.state_dict().keys()
print("its weights have the names of the base's:", same)
try:
    merge(model)
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# Not zero: the sums are rounded in other places. A merged model is a plain model:
# `save_pretrained` works, and whoever loads it needs neither PEFT nor us.
#
# > **Myth check.** *Merging and unmerging gives back the exact weights.* **Predict:**
# > how many weights come back with another last digit, in float32?

# %%
unmerge(model)
back, old = lora_layers(model), lora_layers(clean)
pairs = [(back[n].base_layer.weight, old[n].base_layer.weight) for n in old]
changed = sum(int((a != b).sum()) for a, b in pairs)
total = sum(a.numel() for a, _ in pairs)
furthest = max(float((a - b).abs().max()) for a, b in pairs)
print("more than one weight in ten came back changed:", changed > total / 10)
print("by less than 0.000001:", furthest < 1e-6)

# %% [markdown]
# > **Verdict: wrong, even in float32.** Each of the two sums is rounded. In float32 that
# > is harmless. In 16 bits?
#
# ## 6 What rounding loses
#
# A float keeps a fixed number of binary digits: 24 in float32, 11 in float16, **8** in
# bfloat16. From 1 to 2 the bfloat16 numbers are 1/128 apart. **Predict:** what is
# 1 + 0.003 in bfloat16? And 1 + 0.005?

# %%
for update in (0.001, 0.003, 0.0039, 0.0040, 0.005, 0.0078):
    total = (torch.tensor(1.0) + update).bfloat16().item()
    print(f"1 + {update:.4f} = {total:.7f}")
print("half the distance:", 1 / 256)

# %% [markdown]
# From a number to the next one is a *unit in the last place*. **An update smaller than half
# of it disappears.** And one that is a little larger counts as a whole unit.
#
# The unit is tied to the **weight**: it doubles at every power of two, which *`frexp`* splits off a
# number. **[Exercise 7.4](../exercises/07_merging_and_swapping.ipynb)** asks which updates survive.
# What counts is the size of the update **against the weight**. We take a layer of the base and
# random updates of rank 8.
#
# **Predict** the error of the merged update, as a share of the update: for a tiny one?
# For a large one?

# %%
dtypes = (torch.float32, torch.float16, torch.bfloat16)
torch.manual_seed(0)
W = base.model.layers[2].mlp.up_proj.weight.detach()  # (512, 128)
direction = torch.randn(512, 8) @ torch.randn(8, 128)  # (512, 128), rank 8
direction *= W.norm() / direction.norm()
sizes = torch.logspace(-7, 0, 29).tolist()  # update / weight


def update_error(dtype, size):
    """Merge into W in this type; how far is what was added from the update?"""
    start, delta = W.to(dtype), direction * size
    added = (start + delta).to(dtype).double() - start.double()
    return ((added - delta).norm() / delta.norm()).item()


errors = {dtype: [update_error(dtype, size) for size in sizes] for dtype in dtypes}
for size in (1e-4, 1e-2, 1.0):
    row = [f"{str(t)[6:]} {update_error(t, size):.2g}" for t in dtypes]
    print(f"update {size:g} of the weight, error:", ", ".join(row))

# %%
fig, ax = figure(7.5, 3.6)
for dtype, role, mark in zip(dtypes, ("base", "extra", "full"), "os^", strict=True):
    name, color, half = str(dtype)[6:], COLORS[role], torch.finfo(dtype).eps / 2
    ax.loglog(sizes, errors[dtype], mark + "-", color=color, ms=4, label=name)
    ax.axvline(half, color=color, ls=":", lw=1.5)
ax.axhline(1, color=COLORS["grey"], lw=1)
ax.text(1.1e-7, 1.25, "all of the update lost", color=COLORS["grey"], va="bottom")
ax.set(xlabel="size of the update / size of the weight", ylim=(1e-8, 12))
ax.set(ylabel="error / size of the update")
ax.legend(loc=(0.08, 0.04))
show(
    fig,
    caption="Error of a merged update. Dotted: half a unit in the last place of a "
    "weight of 1. Left of it a type loses most of the update; right of it the error "
    "falls.",
    alt="Three lines over the relative size of the update, both axes logarithmic. "
    "bfloat16 and float16 are flat at 1, bend down at their dotted lines, 4e-3 and 5e-4, "
    "and then fall tenfold for every factor of ten. float32 falls from the start; its "
    "dotted line, 6e-8, lies left of it.",
)

# %% [markdown]
# Where does the court's adapter lie? And one a tenth, a hundredth as large, as a small
# learning rate would leave it? **Predict** the share of bfloat16 weights that a merge
# leaves as they are. (The mechanism: those whose update is below half a unit.)

# %%
places = lora_layers(clean)  # {name: LoRA layer}
layers = places.values()
W = torch.cat([m.base_layer.weight.flatten() for m in layers]).bfloat16()  # (n,)
update = torch.cat([m.get_delta_weight().detach().flatten() for m in layers])  # (n,)
print(f"size of the update / size of the weights: {update.norm() / W.float().norm():.1f}")
half = 2.0 ** (torch.frexp(W.float())[1] - 1 - 8)  # half a unit of each weight
for factor in (1, 0.1, 0.01, 0.001):
    same = ((W + factor * update).bfloat16() == W).float().mean()
    small = ((factor * update).abs() < half).float().mean()
    print(f"{factor:5} of it: {same:.0%} unchanged, {small:.0%} below half a unit")

# %% [markdown]
# Now the whole model: base in each type, factors in float32.
#
# **Predict:** which of the two 16-bit types keeps more of the update? Which comes back
# closer?

# %%
def in_type(dtype):
    """The court's model with its base weights in `dtype`."""
    twin = copy.deepcopy(clean)
    for layer in lora_layers(twin).values():
        layer.base_layer.to(dtype)
    return twin


def weights(model):
    """All base weights of the LoRA layers as one vector, in float64."""
    found = [m for name, m in model.named_modules() if name in places]
    found = [getattr(m, "base_layer", m).weight for m in found]
    return torch.cat([weight.detach().double().flatten() for weight in found])


print("          merged update off by   weights back, off by   changed")
for dtype in dtypes:
    twin = in_type(dtype)
    start = weights(twin)
    merge(twin)
    lost = (weights(twin) - start - update).norm() / update.norm()
    unmerge(twin)
    drift = weights(twin) - start
    off, changed = drift.norm() / start.norm(), (drift != 0).float().mean()
    print(f"{str(dtype)[6:]:9} {lost:20.0e} {off:22.0e} {changed:9.0%}")

# %% [markdown]
# Float16 keeps three bits more and loses an eighth as much. (Its price is the range:
# nothing above 65,504.) Does the task notice? **Predict:** the court's exact match after
# a merge in each type. (Logits in float32, to see the loss of the **weights**.)

# %%
for dtype, bound in zip(dtypes, (1e-5, 1e-3, 1e-2), strict=True):
    twin, exact = in_type(dtype), logits(in_type(dtype).float())
    merge(twin)
    off = (logits(twin.float()) - exact).norm() / exact.norm()
    right = exact_match(twin, tokenizer, tests["court"])
    assert off < bound and abs(right - table[1, 1]) < 0.1
    print(f"{str(dtype)[6:]:9} logits off by less than {bound:g}, forms as good as before")

# %% [markdown]
# One merge does little harm here. But a small update is lost beside a large weight: its
# digits lie behind the last one that is kept. **Predict** what `merge` says of the court's
# update, a thousand times smaller, in bfloat16.

# %% tags=["nbval-ignore-output"]
twin = in_type(torch.bfloat16)
for layer in lora_layers(twin).values():
    layer.lora_B.data /= 1000
with warnings.catch_warnings(record=True) as said:
    merge(twin)
print(said[-1].message)

# %% [markdown]
# It compares what it has written with what it was to write, and warns from a half on.
#
# Now use merge and unmerge as a **switch**: clinic in,
# clinic out, court in, and so on, on a bfloat16 base. **Predict:** do the errors cancel
# or pile up?

# %%
twin, drifts = in_type(torch.bfloat16), []
start = weights(twin)
for turn in range(30):
    with adapter(twin, adapters[names[turn % 3]]):
        merge(twin)
        unmerge(twin)
    drifts.append(float((weights(twin) - start).norm() / start.norm()))
print("it grew in every third:", drifts[0] < drifts[9] < drifts[19] < drifts[29])
print(f"drift after 30 merges: {drifts[-1] / drifts[0]:.0f} times that of the first")

# %% [markdown]
# They pile up. So do not unmerge in daily use: swap the factors, as `adapter` does, or
# keep a clean base and merge into a copy of it.
#
# ## 7 Two adapters at once
#
# $B_1 A_1 + B_2 A_2$ is one product: rows of A under rows, columns of B beside columns.
# The rank grows to $r_1 + r_2$.
#
# $$\begin{pmatrix} B_1 & B_2 \end{pmatrix}
# \begin{pmatrix} A_1 \\ A_2 \end{pmatrix} = B_1 A_1 + B_2 A_2$$
#
# **[Exercise 7.5](../exercises/07_merging_and_swapping.ipynb)** asks for it, with scales. Then
# compare:

# %% tags=["quote"]
from lora_course.merge import concatenate

# %% [markdown]
# > **Myth check.** *To average two adapters, average their A and their B.* Multiply out
# > $\frac{1}{2}(B_1 + B_2) \cdot \frac{1}{2}(A_1 + A_2)$. Which products should not be
# > there? **Predict:** how far off is it, for two random adapters? (Their products are
# > equally long, and nearly orthogonal.)

# %%
torch.manual_seed(0)
A1, A2 = torch.randn(2, 8, 128).double()  # (r, in) each
B1, B2 = torch.randn(2, 64, 8).double()  # (out, r) each
true = (B1 @ A1 + B2 @ A2) / 2  # (out, in)
ways = {
    "A and B averaged": (B1 + B2) / 2 @ (A1 + A2) / 2,
    "with roots of 1/2": (B1 + B2) / 2**0.5 @ (A1 + A2) / 2**0.5,
    "concatenated": torch.cat([B1, B2], 1) / 2 @ torch.cat([A1, A2]),
}
for name, got in ways.items():
    print(f"{name:18} off by {(got - true).norm() / true.norm():.1f} of the average")

# %% [markdown]
# $(B_1 + B_2)(A_1 + A_2)$ also holds $B_1 A_2$ and $B_2 A_1$. These **cross
# terms** belong to nobody: one adapter's writing for the other one's reading. The second
# row is what PEFT's `combination_type="linear"` does; `"cat"` is exact.
#
# The same with two real ones, clinic and court, each at one half:

# %%
pair = [adapters["clinic"], adapters["court"]]
half = concatenate(pair, scalings=[2, 2], weights=[0.5, 0.5])
mean = {n: (pair[0][n] + pair[1][n]) / 2 for n in half}


def deltas(state, scaling):
    """All updates of an adapter as one vector."""
    A, B = ([t for n, t in state.items() if n.endswith(f"lora_{k}")] for k in "AB")
    return torch.cat([(scaling * b @ a).flatten() for a, b in zip(A, B, strict=True)])


true = (deltas(pair[0], 2) + deltas(pair[1], 2)) / 2
for name, got in (("averaged", deltas(mean, 2)), ("concatenated", deltas(half, 1))):
    print(f"{name:13} off by {(got - true).norm() / true.norm():.1f} of the average")
print("rank:", half[min(half)].shape[0])

# %% [markdown]
# > **Verdict: wrong.** The average of two products is not the product of the averages.
#
# Exact is not the same as useful. Clinic and court are added in full. Each was trained
# alone, to answer every report with its own form. **Predict:** which form does the model
# fill in?

# %% tags=["nbval-ignore-output"]
both = inject_lora(copy.deepcopy(base), r=16, lora_alpha=16)
with adapter(both, concatenate(pair, scalings=[2, 2])):
    for row in tests["court"].select(range(3)):
        print(answers(both, tokenizer, [row["prompt"]])[0])
    score = [exact_match(both, tokenizer, tests[name]) for name in names[:2]]
print("clinic and court, forms right:", score)
assert max(score) < 0.5

# %% [markdown]
# Two orders that contradict each other: on this model they spoil most forms of both.
# Chapter 12 measures better ways to combine.
#
# ## 8 What it costs to run
#
# > **Myth check.** *LoRA makes inference faster, or the model smaller.* **Predict** the
# > time of a forward pass, merged and unmerged, as a multiple of the base's. And the
# > number of parameters.

# %% tags=["nbval-ignore-output"]
twin = copy.deepcopy(clean)
merge(twin)
models = {"base": base, "unmerged": clean, "merged": twin}
batch = {"input_ids": torch.randint(10, 200, (4, 64))}  # (B, T)
seconds = {name: [] for name in models}
with torch.no_grad():
    for _ in range(100):  # taking turns: whatever slows the machine slows all three
        for name, made in models.items():
            start = time.perf_counter()
            made(**batch)
            seconds[name].append(time.perf_counter() - start)
fastest = {name: min(times) for name, times in seconds.items()}
ratio = {name: fastest[name] / fastest["base"] for name in models}
for name, made in models.items():
    print(f"{name:9} numbers {made.num_parameters() / base.num_parameters():.2f}")
assert 0.6 < ratio["merged"] < 1.5 and ratio["unmerged"] > ratio["merged"]

# %% tags=["nbval-ignore-output"]
fig, ax = figure(6, 2.2)
colors = [COLORS["base"], COLORS["lora"], COLORS["extra"]]
bars = ax.barh(list(models), [ratio[name] for name in models], color=colors, height=0.6)
ax.axvline(1, color=COLORS["grey"], ls=":")
ax.bar_label(bars, fmt="%.2f", padding=4)
ax.invert_yaxis()
ax.set(xlabel="time of a forward pass, base = 1")
show(
    fig,
    caption="Fastest of 40 forward passes, taken in turns. Merged costs what the base "
    "costs. Unmerged adds two small products to every layer.",
    alt="Three horizontal bars. Base and merged end at about 1, unmerged is longer.",
)

# %% [markdown]
# > **Verdict: wrong.** Merged, the model has the base's size, and its speed up to the
# > noise of the clock (Hu et al. 2021, section 4.1). Unmerged it is larger and slower; in
# > large layers the extra share is smaller than here. What LoRA saves is memory in
# > training, and disk space for each task.

# %% [markdown]
# ## Takeaways
#
# - Merge: W + s B A, once. A merged model is a plain one; refuse to merge it again.
# - An update below half a unit in the last place of its weight is lost.
# - To switch, swap the factors. To unmerge exactly, keep a copy of the base.
# - To add adapters, concatenate. Averaged factors make cross terms.
# - LoRA does not speed up inference. Merging makes it free.
#
# ## Problems without code
#
# 1. A bfloat16 weight is 0.3125. Which is the smallest update that changes it?
# 2. Merging a 4096 × 4096 layer needs B A for a moment. How many bytes in float32?
# 3. A hundred customers, one base, an adapter each. Merge or swap? What decides?
# 4. When is the average of the factors right? (Let two adapters share their A.)
#
# **Before:** [06 Rank, alpha, learning rate, target
# modules](06_rank_alpha_learning_rate_target_modules.ipynb). **Next:**
# [08 The same thing in PEFT](08_the_same_thing_in_peft.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685) sections 4.1 and 4.2,
# [PEFT on merging](https://huggingface.co/docs/peft/developer_guides/model_merging).
