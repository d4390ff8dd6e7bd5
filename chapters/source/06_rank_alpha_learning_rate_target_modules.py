# %% [markdown]
# # 06 Rank, alpha, learning rate, target modules
#
# LoRA has four knobs. Which one do you turn first, and how do you compare fairly?
# About 60 minutes (two of them computing), after chapter 05.
#
# You will be able to
# - train a dozen adapters at once and read their heat map;
# - change the rank or alpha without spoiling the learning rate;
# - compare target modules at an equal budget.

# %%
import copy
import math
import time

import torch
from torch import nn  # noqa: F401

from lora_course.data import batches, load_task
from lora_course.inject import count_parameters, inject_lora, lora_layers
from lora_course.models import load_base, load_tokenizer, quiet
from lora_course.plots import COLORS, figure, show

quiet()
base, tokenizer = load_base("base"), load_tokenizer("base")

# %% [markdown]
# ## 1 What a rank costs
#
# A and B of one layer have r (in + out) numbers. One block of our model has four
# layers in its attention and three in its MLP, the part after it.
#
# **Predict:** which of the two parts costs more at the same rank?

# %%
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def cost(targets, r):
    model = inject_lora(copy.deepcopy(base), targets, r)
    return count_parameters(model)[0]


for name, targets in (("attention", ATTENTION), ("MLP", MLP), ("all", "all-linear")):
    print(f"{name:9} r = 1: {cost(targets, 1):6,}   r = 8: {cost(targets, 8):7,}")

# %% [markdown]
# The MLP is wider, so it costs more than twice as much. «r = 8» says little before
# you know which layers.
#
# [Exercise 6.1](../exercises/06_rank_alpha_learning_rate_target_modules.ipynb): the
# largest rank within a budget. (`lora-course start 06` makes your copy.)

# %% [markdown]
# ## 2 A task that needs rank
#
# The task `hard` is a secret code: 64 words stand for one another. It is not form but
# knowledge, and it has to go into the adapter. Every run below is judged by one
# number, the loss on 100 rows that no run trains on.

# %%
hard = load_task("hard")
print(hard["train"][0]["prompt"], "->", hard["train"][0]["completion"])
exam = next(batches(hard["validation"], tokenizer, 100, steps=1, seed=0))
guess = math.log(64) * 4 / 5  # four words of five tokens; the last one ends the answer
print(f"loss of a model that knows the 64 words, not the code: {guess:.1f}")

# %% [markdown]
# **Predict** the loss of the base, higher or lower than that? And with LoRA injected,
# before the first step?

# %%
with torch.no_grad():
    before = base(**exam).loss.item()
    injected = inject_lora(copy.deepcopy(base), seed=0)(**exam).loss.item()
print("base, more than a guess:", before > guess)
print("with LoRA injected:", "the same" if injected == before else "another loss")

# %% [markdown]
# ## 3 Many runs at once
#
# We want about a hundred runs. One step of one run is a small piece of work, and much
# of its time goes into starting operations. So we run them **together**: one frozen
# model, and in each layer K pairs of A and B. The batch is repeated K times; part k
# sees pair k.

# %% tags=["quote"]
from lora_course.many import ManyLoRA, ManyLinear, many  # noqa: F401

# %% [markdown]
# Each run has its own loss, and the sum of the losses gives each run its own gradient:
# no pair sees another's rows. Each run also has its own learning rate, so we write Adam
# by hand, with a rate per run.

# %% tags=["quote"]
from lora_course.many import losses, train_many, adam_step  # noqa: F401

# %% [markdown]
# **Predict:** six runs at six learning rates, first together, then each alone. How much
# do the losses differ? Which way is faster, and by how much?

# %%
RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]


def lesson(steps, size=8, rows=hard["train"]):
    return batches(rows, tokenizer, size, steps, seed=0)


def stack(runs, r=8):
    return many(inject_lora(copy.deepcopy(base), r=r, seed=0), runs)


together = train_many(stack(6), lesson(6), 6, RATES)  # (steps, K)
alone = [train_many(stack(1), lesson(6), 6, [lr]) for lr in RATES]
gap = (together - torch.cat(alone, dim=1)).abs()[:, :4].max()
print("largest difference below 0.001:", bool(gap < 1e-3))

# %% tags=["nbval-ignore-output"]
def seconds(runs, repeats=3):
    model, times = stack(runs), []
    for _ in range(repeats):
        start = time.perf_counter()
        train_many(model, lesson(4), 4, RATES[:runs])
        times.append(time.perf_counter() - start)
    return min(times)


ratio = 6 * seconds(1) / seconds(6)
assert ratio > 1, ratio
print(f"six runs one after another take {ratio:.1f} times as long as together")

# %% [markdown]
# The arithmetic is the same; what is saved is the starting of operations, and the
# memory of six frozen models. With long rows and large batches little would be left.
#
# ## 4 Rank and learning rate
#
# One function for every experiment of this chapter: the loss on the exam after 60
# steps, one number per learning rate.

# %%
def tune(r=None, lora_alpha=16, targets="all-linear", ratio=1.0, change=None, task=hard):
    """Loss on held-out rows for every rate of RATES, (6,). r=None: full fine-tuning."""
    model = copy.deepcopy(base)
    if r:
        inject_lora(model, targets, r, lora_alpha, seed=0)
    if change:
        change(model)
    model = many(model, len(RATES))
    train_many(model, lesson(60, rows=task["train"]), 60, RATES, ratio)
    rows = next(batches(task["validation"], tokenizer, 100, steps=1, seed=0))
    with torch.no_grad():
        return losses(model, rows, len(RATES))


# %% [markdown]
# **Predict:** we try ranks 1 to 64, each at six learning rates, alpha always 16. Where
# in the table is the lowest loss of each row? In one column, or along a diagonal?
# (This takes about 15 seconds.)

# %%
grid = {r: tune(r) for r in (1, 4, 16, 64)}  # rank -> (6,)

# %%
def heat_map(ax, grid, title, high=2 * guess):
    table = torch.stack(list(grid.values())).nan_to_num(99).clamp(max=99)  # (ranks, 6)
    image = ax.imshow(table, cmap="cividis_r", vmin=0, vmax=high, aspect="auto")
    for i, row in enumerate(table.tolist()):
        for j, loss in enumerate(row):
            best = loss == min(row)
            dark = loss < 0.6 * high
            ax.text(
                j, i, f"{loss:.1f}", ha="center", va="center",
                color="white" if not dark else "black", weight="bold" if best else "normal",
            )  # fmt: skip
    ax.set(title=title, xlabel="learning rate", xticks=range(6), xticklabels=RATES)
    ax.set(ylabel="rank", yticks=range(len(grid)), yticklabels=grid)
    ax.grid(False)
    return image


fig, ax = figure(6.5, 3)
heat_map(ax, grid, "loss, alpha = 16, scale alpha / r")
show(
    fig,
    caption="TODO",
    alt="TODO",
)

# %% [markdown]
# TODO reading
#
# > **Myth check.** *Rank 1 or 2 is always bad, and more rank is always better.*
# > **Predict** the same for `style`, where a plain sentence becomes the town crier's:
# > a new form, and nothing new to know.

# %%
style = load_task("style")
print(style["train"][0]["prompt"], "->", style["train"][0]["completion"])
easy = {r: tune(r, task=style).nan_to_num(99).min().item() for r in (1, 64)}

# %% [markdown]
# > **Verdict: wrong, both halves.** TODO
#
# ## 5 LoRA's learning rate and full fine-tuning's
#
# **Predict:** all weights of the same layers train now, without LoRA. Is the best
# learning rate higher, lower, or the same?

# %%
full = tune()
fig, ax = figure(6.5, 3.2)
ax.semilogx(RATES, full, "s-", color=COLORS["full"], label="full fine-tuning")
ax.semilogx(RATES, grid[16], "o-", color=COLORS["lora"], label="LoRA, r = 16")
ax.axhline(guess, ls=":", color=COLORS["grey"], label="knows the words, not the code")
ax.set(xlabel="learning rate", ylabel="loss", ylim=(0, 7))
ax.legend()
show(fig, caption="TODO", alt="TODO")

# %% [markdown]
# TODO
#
# ## 6 Alpha is a learning rate
#
# Adam divides each gradient by its own size. So the following exchange leaves a run
# as it was, for any p and q (Schulman et al. 2025,
# [LoRA Without Regret](https://thinkingmachines.ai/blog/lora/)):
#
# $$\tfrac{\alpha}{pq},\quad p \cdot A_0,\quad p \cdot lr_A,\quad q \cdot lr_B$$
#
# **Predict:** what remains of the difference between alpha 16 and alpha 2?

# %%
def exchange(p, q, lr=0.01, steps=20):
    model = inject_lora(copy.deepcopy(base), r=8, lora_alpha=16 / (p * q), seed=0)
    for layer in lora_layers(model).values():
        layer.lora_A.data *= p
    rates = torch.tensor([p * lr])
    return train_many(many(model, 1), lesson(steps), steps, rates, ratio=q / p)[:, 0]


run = exchange(1, 1)
for p, q in ((1, 8), (8, 1), (2, 4)):
    gap = (exchange(p, q) - run).abs().max()
    print(f"alpha {16 // (p * q)}, p = {p}, q = {q}: same losses to 0.01?", bool(gap < 0.01))

# %% [markdown]
# > **Myth check.** *Alpha must be twice the rank.* **Predict** where each curve has its
# > lowest point when alpha is a quarter of r, or four times r, and one learning rate
# > serves A and B.

# %%
alphas = {4: tune(16, lora_alpha=4), 16: grid[16], 64: tune(16, lora_alpha=64)}
fig, ax = figure(6.5, 3.2)
looks = ("^--", COLORS["base"]), ("o-", COLORS["lora"]), ("s:", COLORS["extra"])
for (alpha, curve), (mark, color) in zip(alphas.items(), looks, strict=True):
    ax.semilogx(RATES, curve, mark, color=color, label=f"alpha = {alpha}")
ax.set(xlabel="learning rate", ylabel="loss", ylim=(0, 7), title="r = 16")
ax.legend()
show(fig, caption="TODO", alt="TODO")

# %% [markdown]
# > **Verdict: a habit.** TODO
#
# ## 7 Which scale keeps a large rank stable?
#
# Chapter 03: double the rank by adding zeros, leave alpha, and the update halves,
# because of alpha / r. **rsLoRA** divides by √r instead, so that the update only
# shrinks by √2. (Kalajdzievski 2023, [rsLoRA](https://arxiv.org/abs/2312.03732).)

# %% tags=["quote"]
from lora_course.variants import use_rslora

# %% [markdown]
# **Predict:** one step from the start, at ranks 1 to 128. With which scale does the
# gradient of B keep its size? With which does the change of the output, after a step
# of SGD? And after a step of Adam, which ignores the size of gradients?

# %%
def first_step(r, rslora, optimizer_class, lr):
    """Norm of the gradient of B, and change of the logits after one step."""
    model = inject_lora(copy.deepcopy(base), r=r, lora_alpha=16, seed=0)
    if rslora:
        use_rslora(model)
    layers = lora_layers(model).values()
    batch = next(lesson(1))
    optimizer = optimizer_class([p for p in model.parameters() if p.requires_grad], lr)
    model(**batch).loss.backward()
    grad = torch.stack([layer.lora_B.grad.norm() for layer in layers]).norm()
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        before = model(**inputs).logits
        optimizer.step()
        change = (model(**inputs).logits - before).square().mean().sqrt()
    return grad.item(), change.item()


ranks = (1, 2, 4, 8, 16, 32, 64, 128)
adam = {rs: [first_step(r, rs, torch.optim.Adam, 1e-5) for r in ranks] for rs in (0, 1)}
sgd = {rs: [first_step(r, rs, torch.optim.SGD, 1e-5) for r in ranks] for rs in (0, 1)}

# %%
panels = {
    "gradient of B": {rs: [g for g, _ in adam[rs]] for rs in (0, 1)},
    "change after a step of SGD": {rs: [c for _, c in sgd[rs]] for rs in (0, 1)},
    "change after a step of Adam": {rs: [c for _, c in adam[rs]] for rs in (0, 1)},
}
fig, axes = figure(9.5, 3, ncols=3)
for ax, (title, lines) in zip(axes, panels.items(), strict=True):
    for rs, name, color, mark in ((0, "α / r", "lora", "o-"), (1, "α / √r", "extra", "s--")):
        values = torch.tensor(lines[rs]) / lines[rs][0]
        ax.loglog(ranks, values, mark, color=COLORS[color], label=name, markersize=4)
    ax.set(title=title, xlabel="rank", ylim=(1 / 300, 30))
    ax.set_xticks([1, 4, 16, 64], [1, 4, 16, 64])
axes[0].set_ylabel("relative to rank 1")
axes[0].legend()
show(fig, caption="TODO", alt="TODO")

# %%
def power(values):
    """Exponent k of the best power law values = c * rank ** k."""
    x, y = torch.tensor(ranks).log(), torch.tensor(values).log()
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / (x * x).sum()).item()


for title, lines in panels.items():
    k = [round(2 * power(lines[rs])) / 2 for rs in (0, 1)]
    print(f"{title:28} grows like rank to the power {k[0]:4} (α/r), {k[1]:4} (α/√r)")

# %% [markdown]
# TODO
#
# **Predict** from this how the heat map changes under rsLoRA: which rows move, and to
# which side?

# %%
stable = {r: tune(r, change=use_rslora) for r in (4, 16, 64)}
stable = {1: grid[1], **stable}  # at rank 1 the two scales are one
fig, axes = figure(9.5, 3, ncols=2)
heat_map(axes[0], grid, "α / r")
heat_map(axes[1], stable, "α / √r")
show(fig, caption="TODO", alt="TODO")

# %% [markdown]
# TODO. **Exercise 6.3**
#
# ## 8 Which modules?
#
# > **Myth check.** *Attention is enough; the other layers need no LoRA.* In the LoRA
# > paper adapting q and v with r = 4 did well against q alone with r = 8 (Hu et al.
# > 2021, table 5); MLP layers were not tried.
#
# For a fair test each group gets as many numbers. **Predict** the order.

# %%
groups = {  # name: targets, rank
    "q and v": (["q_proj", "v_proj"], 64),
    "attention": (ATTENTION, 32),
    "MLP": (MLP, 15),
    "all": ("all-linear", 10),
}
spent = {name: cost(*group) for name, group in groups.items()}
places = {name: tune(r, targets=targets) for name, (targets, r) in groups.items()}
assert max(spent.values()) < 1.025 * min(spent.values())
print("numbers:", spent)

# %%
fig, ax = figure(6.5, 2.8)
best = [places[name].nan_to_num(99).min().item() for name in groups]
bars = ax.barh(list(groups), best, color=[COLORS[c] for c in ("grey", "base", "extra", "lora")])
ax.bar_label(bars, [f"{loss:.2f}" for loss in best], padding=3)
ax.axvline(guess, ls=":", color=COLORS["grey"])
ax.set(xlabel="loss at the best learning rate of each group")
ax.invert_yaxis()
show(fig, caption="TODO", alt="TODO")

# %% [markdown]
# > TODO verdict
#
# **Exercise 6.2**
#
# ## 9 LoRA+: let B learn faster
#
# LoRA+ (Hayou et al. 2024, [arXiv 2402.12354](https://arxiv.org/abs/2402.12354)) gives B
# a larger learning rate than A, 16 times for instance. That is two parameter groups:

# %% tags=["quote"]
from lora_course.variants import loraplus_groups

# %% [markdown]
# **Predict:** with B 16 times as fast as A, is the best loss lower, or is the curve the
# same and further left?

# %%
plus = {1: grid[16], 4: tune(16, ratio=4.0), 16: tune(16, ratio=16.0)}
fig, ax = figure(6.5, 3.2)
for (ratio, curve), (mark, color) in zip(plus.items(), looks, strict=True):
    ax.semilogx(RATES, curve, mark, color=color, label=f"B {ratio} × A")
ax.set(xlabel="learning rate of A", ylabel="loss", ylim=(0, 7), title="r = 16")
ax.legend()
show(fig, caption="TODO", alt="TODO")

# %% [markdown]
# TODO **Exercise 6.4**
#
# ## 10 Choose

# %% [markdown]
# ## Takeaways
