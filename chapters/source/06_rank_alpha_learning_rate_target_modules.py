# %% [markdown]
# # 06 Rank, alpha, learning rate, target modules
#
# LoRA has four knobs. Which one do you turn first, and how do you compare fairly?
# About 60 minutes (two of them computing), after
# [chapter 05](05_training_an_adapter.ipynb).
#
# You will be able to
# - train many adapters at once and read their heat map;
# - change rank or alpha without spoiling the learning rate;
# - compare target modules at an equal budget.

# %%
import copy
import math
import timeit

import torch
from torch import nn  # noqa: F401

from lora_course.kit.data import batches, load_task
from lora_course.inject import count_parameters, find_targets, inject_lora, lora_layers  # noqa: F401
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.kit.town.tasks import code_book

quiet()
base, tokenizer = load_base("base"), load_tokenizer("base")

# %% [markdown]
# ## 1 What a rank costs
#
# A and B of one layer have r (in + out) numbers. A block of our model has four layers in
# its attention and three in its MLP.
#
# **Predict:** which of the two costs more at the same rank?

# %%
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def cost(targets, r):
    return count_parameters(inject_lora(copy.deepcopy(base), targets, r))[0]


for name, targets in (("attention", ATTENTION), ("MLP", MLP), ("all", "all-linear")):
    print(f"{name:9} r = 1: {cost(targets, 1):6,}   r = 8: {cost(targets, 8):7,}")

# %% [markdown]
# The MLP is wider, so it costs more than twice as much. «r = 8» says little before
# you know which layers.
#
# [Exercise 6.1](../exercises/06_rank_alpha_learning_rate_target_modules.ipynb): the
# largest rank within a budget. (`lora-course start 06` makes your copy.)

# %% [markdown]
# ## 2 A task that needs knowledge
#
# The town has a secret code: 64 words, and what each stands for. It has to go into the
# adapter, pair by pair. To spend few tokens we read out word, meaning, word, meaning:
# every second token is a question.

# %%
code = code_book()  # word -> meaning
words, meanings = (
    torch.tensor(tokenizer(list(part), add_special_tokens=False)["input_ids"])[:, 0]
    for part in (code.keys(), code.values())
)  # (64,), a token each


def page(order):
    """A batch that reads out these pairs. order: (B, 8), numbers of pairs."""
    ids = torch.stack([words[order], meanings[order]], -1).flatten(1)  # (B, 16)
    labels = ids.clone()
    labels[:, ::2] = -100  # the words are given; the meanings are asked
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def lesson(steps, seed=0):
    torch.manual_seed(seed)
    for _ in range(steps):
        yield page(torch.stack([torch.randperm(64)[:8] for _ in range(8)]))

# %%
exam = page(torch.randperm(64, generator=torch.Generator().manual_seed(1)).view(8, 8))
print(" ".join(f"{w}={code[w]}" for w in list(code)[:5]), "...")
print("pairs in the exam:", exam["input_ids"][:, ::2].unique().numel())
guess = math.log(64)
print(f"loss of a model that knows the 64 words, not the code: {guess:.1f}")

# %% [markdown]
# The exam asks each pair once, in an order that no lesson has. **Predict** the loss of
# the base: higher or lower than a guess? And with LoRA injected, before the first step?

# %%
with torch.no_grad():
    before = base(**exam).loss.item()
    injected = inject_lora(copy.deepcopy(base), seed=0)(**exam).loss.item()
print("base, worse than a guess:", before > guess)
print("with LoRA injected:", "the same" if injected == before else "another loss")

# %% [markdown]
# ## 3 Many runs at once
#
# We want over a hundred runs. A step of one run is little work, and much of its time goes
# into starting operations. So we run K **together**: one frozen model, in each layer K
# pairs of A and B. Part k of the batch sees pair k.

# %% tags=["quote"]
from lora_course.fast.many import ManyLoRA, ManyLinear, many  # noqa: F401

# %% [markdown]
# Each run has its own loss, and the sum of the losses gives each run its own gradient:
# no pair sees another's rows. Each run also has its own learning rate, so we write Adam
# by hand, with a rate per run.

# %% tags=["quote"]
from lora_course.fast.many import losses, train_many, adam_step  # noqa: F401

# %% [markdown]
# **Predict:** six runs at six learning rates, first together, then each alone. How much
# do the losses differ? Which way is faster, and by how much?

# %%
RATES = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032]


def stack(runs, r=8):
    return many(inject_lora(copy.deepcopy(base), r=r, seed=0), runs)


together = train_many(stack(6), lesson(6), 6, RATES)  # (steps, K)
alone = torch.cat([train_many(stack(1), lesson(6), 6, [lr]) for lr in RATES], dim=1)
print("all within 0.01 of each other:", bool((together - alone).abs().max() < 0.01))

# %% tags=["nbval-ignore-output"]
def seconds(runs):
    model = stack(runs)
    work = lambda: train_many(model, lesson(4), 4, RATES[:runs])  # noqa: E731
    return min(timeit.repeat(work, number=1, repeat=3))


ratio = 6 * seconds(1) / seconds(6)
assert ratio > 1, ratio
print(f"six runs one after another take {ratio:.1f} times as long as together")

# %% [markdown]
# The arithmetic is the same; what is saved is the starting of operations, and the
# memory of six frozen models. With long rows and large batches little would be left.
#
# ## 4 Rank and learning rate
#
# One function for the experiments of this chapter: six runs of 60 steps, one for each
# learning rate. It returns their losses on the exam.

# %%
def tune(
    r=None, lora_alpha=32, targets="all-linear",
    ratio=1.0, change=None, seed=0, rates=RATES,
):
    """Loss on the exam for each learning rate, (6,). r=None: full fine-tuning."""
    model = copy.deepcopy(base)
    if r:
        inject_lora(model, targets, r, lora_alpha, seed=seed)
    if change:
        change(model)
    model = many(model, 6)
    train_many(model, lesson(60, seed), 60, rates, ratio)
    with torch.no_grad():
        return losses(model, exam, 6).nan_to_num(99)

# %% [markdown]
# **Predict:** ranks 1 to 128, each at six learning rates, alpha always 32. Where in the
# table is the lowest loss of each row? In one column, or along a diagonal? (This takes
# half a minute.)

# %%
grid = {r: tune(r) for r in (1, 4, 16, 128)}  # rank -> (6,)

# %%
def heat_map(ax, grid, title):
    table = torch.stack(list(grid.values()))  # (ranks, 6)
    ax.imshow(table, cmap="cividis_r", vmin=0, vmax=1.2 * guess, aspect="auto")
    for i, row in enumerate(table.tolist()):
        for j, loss in enumerate(row):
            color = "white" if loss > 0.6 * guess else "black"
            star = "*" if loss == min(row) else ""
            ax.text(j, i, f"{loss:.1f}{star}", ha="center", va="center", color=color)
    ax.set(title=title, xlabel="learning rate", xticks=range(6), xticklabels=RATES)
    ax.set(ylabel="rank", yticks=range(len(grid)), yticklabels=grid)
    ax.grid(False)


luck = tune(16, seed=1)  # other A, other lessons
fig, ax = figure(6.5, 3.2)
heat_map(ax, {**grid, "16, again": luck}, "loss on the exam, alpha = 32, scale alpha / r")
show(
    fig,
    caption="Thirty runs; * is the lowest loss of a row. Last row: rank 16 with another "
    "A and other lessons. From rank 16 up the rows look alike.",
    alt="Table of ranks 1, 4, 16, 128 and 16 again by six learning rates from 0.001 to "
    "0.032. Each row falls to its lowest loss in the fourth or fifth column and is at a "
    "guess in the last. Rank 1 stays far above the others; from 16 up the rows look alike.",
)

# %% [markdown]
# Nearly a column: with alpha / r one rate serves most ranks on this model, as Schulman
# et al. found at full size. Right of it stands a cliff.
#
# The last row shows what **luck** does. A smaller difference between two ranks says
# nothing.

# %% [markdown]
# > **Myth check.** *Rank 1 or 2 is always bad, and more rank is always better.*
# > **Predict** the same for `style`, where a plain sentence becomes the town crier's:
# > a new form, and nothing new to know.

# %%
style = load_task("style")
print(style["train"][0]["prompt"], "->", style["train"][0]["completion"])
quiz = next(batches(style["validation"], tokenizer, 50, steps=1, seed=0))
rates, ends = [0.004, 0.008], {"base": base(**quiz).loss.item()}
for r in (1, 128):
    model = many(inject_lora(copy.deepcopy(base), r=r, lora_alpha=32, seed=0), 2)
    train_many(model, batches(style["train"], tokenizer, 4, 60, seed=0), 60, rates)
    with torch.no_grad():
        ends[f"r = {r}"] = losses(model, quiz, 2).min().item()
print({name: "below 0.1" if loss < 0.1 else f"{loss:.1f}" for name, loss in ends.items()})

# %% [markdown]
# > **Verdict: wrong, both halves.** Rank 1 learns the crier's voice: a new form needs
# > few numbers. (Hu et al. 2021, table 6: ranks 1 to 64 do alike.) It lags at the code,
# > where there is more to know. And there, on this model, rank 128 is better than 16 by
# > no more than luck.

# %% [markdown]
# ## 5 LoRA's learning rate and full fine-tuning's
#
# **Predict:** all weights of the same layers train now, without LoRA. Is the best
# learning rate higher, lower, or the same?

# %%
def curves(lines, colors=("base", "lora", "extra")):
    """lines: {name: (learning rates, losses)}."""
    fig, ax = figure(6.5, 3.2)
    for (name, points), color, mark in zip(lines.items(), colors, "^os", strict=False):
        ax.semilogx(*points, mark + "-", color=COLORS[color], label=name)
    ax.axhline(guess, ls=":", color=COLORS["grey"], label="a guess")
    ticks = sorted({rate for rates, _ in lines.values() for rate in rates})
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    ax.set(xlabel="learning rate", ylabel="loss on the exam", ylim=(0, 5.5))
    ax.legend(loc="upper center", ncols=4, fontsize=9)
    return fig

# %%
valleys = {  # name: (3 seeds, 6 rates), all on one grid
    "full fine-tuning": torch.stack([tune(seed=seed) for seed in range(3)]),
    "LoRA, r = 16": torch.stack([grid[16], luck, tune(16, seed=2)]),
}
lines = {name: (RATES, table.mean(0)) for name, table in valleys.items()}
fig = curves(lines, ("full", "lora"))
for table, color in zip(valleys.values(), ("full", "lora"), strict=True):
    for losses_of_seed in table:
        fig.axes[0].semilogx(RATES, losses_of_seed, ".", color=COLORS[color])
show(
    fig,
    caption="Each has its valley, and LoRA's lies to the right. Lines: mean of three "
    "seeds; dots: the seeds. Between two rates nothing was measured.",
    alt="Two lines over six learning rates from 0.001 to 0.032, the same for both. Both "
    "fall to a low loss and rise again. Full fine-tuning falls and rises earlier, LoRA "
    "later, by about one step of the grid.",
)

# %% tags=["nbval-ignore-output"]
center = {}  # the geometric mean of the rates, weighed by how low the loss is there
for name, table in valleys.items():
    weight = (guess - table.mean(0)).clamp(min=0)
    center[name] = math.exp((weight * torch.tensor(RATES).log()).sum() / weight.sum())
    best = [RATES[i] for i in table.argmin(1).tolist()]
    print(f"{name:16}: best rate of each seed {best}, lowest mean {table.mean(0).min():.2f}")
full_at, lora_at = center.values()
print(f"LoRA's valley lies {lora_at / full_at:.1f} times further right")
assert 1 < lora_at / full_at < 4

# %% [markdown]
# On this model LoRA wants a higher rate, by a small factor. At full size its best rate is
# about **ten times** that of full fine-tuning (Schulman et al. 2025, 14 models). Why
# less here? A hint:

# %% [markdown]
# A first step of Adam moves each weight by lr in full fine-tuning. In LoRA it moves B by
# lr, because A gets no gradient yet (chapter 03). **Predict:** how far does W move?

# %%
def first_move(r, lora_alpha=32, lr=1e-5):
    """How far one step of Adam moves the entries of W, as a multiple of lr."""
    model = inject_lora(copy.deepcopy(base), r=r, lora_alpha=lora_alpha, seed=0)
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
    model(**next(lesson(1))).loss.backward()
    adam.step()
    layer = lora_layers(model)["model.layers.0.mlp.up_proj"]  # 128 -> 512
    return layer.get_delta_weight().square().mean().sqrt().item() / lr


for r in (4, 16, 64):
    rule = 32 / math.sqrt(3 * r * 128)
    print(f"r = {r:2}: {first_move(r):.1f}, alpha / sqrt(3 r in) = {rule:.1f}")
print(f"r = 16 and a width of 4096: {32 / math.sqrt(3 * 16 * 4096):.2f}")

# %% [markdown]
# A's entries have the size 1/√(3 in), and r of them add up with random signs: hence the
# rule. At r = 16 LoRA moves a weight less far than full fine-tuning does, and in a wide
# model much less. If the first step alone decided, the factor would grow with the width.
# It does not decide alone: this is a hint, not a law. Ten, as measured, is where to begin.
#
# (The entries shrink with the rank too, yet one rate served all ranks: on the rows of the
# batch the r columns of B pull the same way. Section 7 measures that at the output.)
#
# ## 6 Alpha is a learning rate
#
# Adam divides each gradient by its own size. So the following exchange leaves a run
# as it was, for any p and q (Schulman et al. 2025,
# [LoRA Without Regret](https://thinkingmachines.ai/blog/lora/)):
#
# $$\tfrac{\alpha}{pq},\quad p \cdot A_0,\quad p \cdot lr_A,\quad q \cdot lr_B$$
#
# **Predict:** what then remains of the difference between alpha 32 and alpha 4?

# %%
def exchange(p, q, lr=0.004):
    model = inject_lora(copy.deepcopy(base), r=8, lora_alpha=32 / (p * q), seed=0)
    for layer in lora_layers(model).values():
        layer.lora_A.data *= p
    return train_many(many(model, 1), lesson(20), 20, [p * lr], ratio=q / p)


for p, q in ((1, 8), (8, 1), (2, 4)):
    gap = (exchange(p, q) - exchange(1, 1)).abs().max()
    print(f"alpha {32 // (p * q)}, p = {p}, q = {q}: same losses to 0.01?", bool(gap < 0.01))

# %% [markdown]
# > **Myth check.** *Alpha must be twice the rank.* **Predict** where each curve has its
# > lowest point when alpha is half of r, or eight times r, and one learning rate serves
# > A and B.

# %%
alphas = {8: tune(16, lora_alpha=8), 32: grid[16], 128: tune(16, lora_alpha=128)}
show(
    curves({f"alpha = {alpha}": (RATES, ends) for alpha, ends in alphas.items()}),
    caption="The larger alpha, the further left the valley.",
    alt="Three lines over the learning rate, for alpha 8, 32 and 128. Each falls to a "
    "low loss and rises again; the valley of alpha 128 lies leftmost, that of 8 last.",
)

# %% [markdown]
# > **Verdict: a habit.** Every alpha has its rate, and all three learn. QLoRA used r / 4,
# > PEFT's default is 8 for r = 8, Schulman et al. took 32 at every rank. One finding
# > speaks against it: at r = 256 Biderman et al. 2024 (section 4.7, figure S3) found alpha
# > = 512 better than 256 and 32 at every rate they tried, with the optimizer LionW. So fix
# > one, tune the rate, and at a very large rank try 2r as well.
#
# ## 7 Which scale keeps a large rank stable?
#
# Chapter 03: double the rank by adding zeros, leave alpha, and the update halves,
# because of alpha / r. **rsLoRA** divides by √r instead, so that the update only
# shrinks by √2. (Kalajdzievski 2023, [rsLoRA](https://arxiv.org/abs/2312.03732).)

# %% tags=["quote"]
from lora_course.methods.rslora import use_rslora

# %% [markdown]
# **Predict:** one step, at ranks 1 to 128. With which scale does the gradient of B keep
# its size? The change of the output, after a step of SGD? After one of Adam, which
# ignores the size of gradients?

# %%
def first_step(r, rslora, optimizer_class, lr=1e-5):
    """Norm of the gradient of B, and change of the logits after one step."""
    model = inject_lora(copy.deepcopy(base), r=r, lora_alpha=32, seed=0)
    if rslora:
        use_rslora(model)
    layers = lora_layers(model).values()
    batch = next(lesson(1))
    optimizer = optimizer_class([p for p in model.parameters() if p.requires_grad], lr)
    out = model(**batch)
    out.loss.backward()
    grad = torch.stack([layer.lora_B.grad.norm() for layer in layers]).norm()
    with torch.no_grad():
        optimizer.step()
        change = (model(**batch).logits - out.logits).square().mean().sqrt()
    return grad.item(), change.item()


ranks = (1, 2, 4, 8, 16, 32, 64, 128)
adam = {rs: [first_step(r, rs, torch.optim.Adam) for r in ranks] for rs in (0, 1)}
sgd = {rs: [first_step(r, rs, torch.optim.SGD) for r in ranks] for rs in (0, 1)}

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
show(
    fig,
    caption="One step from the start. SGD's change shrinks with the rank unless the "
    "scale is α / √r. Adam's keeps its size with α / r and grows with α / √r.",
    alt="Three panels over ranks 1 to 128, both axes logarithmic. Gradient of B: α / r "
    "falls, α / √r is flat. Change after a step of SGD: α / r falls steeply, α / √r is "
    "flat. Change after a step of Adam: α / r is flat, α / √r rises.",
)

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
# The gradient, and a step of SGD, keep their size under √r. But Adam divides the
# gradient's size away, and then α / r gives a first step of one size at every rank.
# rsLoRA's theorem speaks of the whole training and of large ranks; we look at a start.
#
# **Predict** from this how the heat map changes under rsLoRA: which rows move, and to
# which side?

# %%
stable = {1: grid[1], 4: tune(4, change=use_rslora)}  # at rank 1 the scales are one
stable[16] = alphas[128]  # 32 / √16 = 128 / 16: this row was measured already
stable[128] = tune(128, change=use_rslora)
fig, axes = figure(9.5, 3, ncols=2)
heat_map(axes[0], grid, "α / r")
heat_map(axes[1], stable, "α / √r")
show(
    fig,
    caption="Loss on the exam for both scales, alpha = 32. With α / r the valley hardly "
    "moves. With α / √r it moves left as the rank grows.",
    alt="Two tables of ranks 1, 4, 16, 128 by six learning rates. Left, α / r: the first "
    "two columns are high in every row, the fourth is low. Right, α / √r: the first "
    "column falls from a guess at rank 1 to a low loss at rank 128, and rank 128 is at a "
    "guess from the fourth column on.",
)

# %% [markdown]
# Rank 128 learns with both scales, each at its own rates. Under √r **a rate tuned at a
# small rank may break a large one.** And is it √r that helps, or the larger scale? The
# row of rank 16 is that of alpha 128 in section 6. Compare at equal scale.
#
# **[Exercise 6.2](../exercises/06_rank_alpha_learning_rate_target_modules.ipynb)**: rsLoRA's
# update, and the alpha that keeps a run as it was.
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

fig, ax = figure(6.5, 2.8)
best = [places[name].min().item() for name in groups]
bars = ax.barh(list(groups), best, color=[COLORS[c] for c in ("grey", "base", "extra", "lora")])
ax.bar_label(bars, [f"{loss:.2f}" for loss in best], padding=3)
ax.axvline(guess, ls=":", color=COLORS["grey"])
ax.set(xlabel="loss on the exam, at the best learning rate of each group")
ax.invert_yaxis()
show(
    fig,
    caption="Each group has about as many numbers, and its own best rate. Dotted: a "
    "guess. With this budget no part does as well as all layers together.",
    alt="Four horizontal bars of loss, all left of the dotted line. MLP is the longest, q "
    "and v is shorter, attention shorter still, and all linear layers is the shortest.",
)

# %% [markdown]
# > **Verdict: wrong.** On this model all layers together do best. Which part comes second
# > depends on model and task: here it is attention; at full size attention alone is worse
# > at equal numbers (Schulman et al. 2025), and the MLP brings most of the gain (Biderman
# > et al. 2024, section 4.7). You seldom know what a task needs: take all.
#
# **[Exercise 6.3](../exercises/06_rank_alpha_learning_rate_target_modules.ipynb)**: a fair choice
# from somebody's grid.
#
# ## 9 LoRA+: let B learn faster
#
# LoRA+ (Hayou et al. 2024, [arXiv 2402.12354](https://arxiv.org/abs/2402.12354)) gives B
# a larger learning rate than A, 16 times for instance. That is two parameter groups:

# %% tags=["quote"]
from lora_course.methods.loraplus import loraplus_groups

# %%
model = inject_lora(copy.deepcopy(base), r=16, seed=0)
for group in loraplus_groups(model, 0.001, ratio=16):
    print(len(group["params"]), "factors learn with", group["lr"])

# %% [markdown]
# **Predict:** with B 16 times as fast as A, is the best loss lower, or is the curve the
# same and further left?

# %%
plus = {1: grid[16], 4: alphas[128], 16: tune(16, ratio=16.0)}
show(
    curves({f"B {ratio} × A": (RATES, ends) for ratio, ends in plus.items()}),
    caption="The axis has the rate of A. LoRA+ learns at rates at which plain LoRA "
    "hardly begins.",
    alt="Three lines over the learning rate of A, for B 1, 4 and 16 times as fast. The "
    "faster B, the further left the valley and the rise after it.",
)

# %% [markdown]
# Mostly further left: the lowest losses differ by no more than luck does here. And the
# curve for 4 *is* that of alpha 128, by the exchange of section 6. **Alpha, rsLoRA and
# LoRA+ turn one knob: how fast B goes.**
#
# The paper reports 1 to 2 % and up to twice the speed at full size (abstract). At the
# rate 0.001 we, too, could sell LoRA+ as a wonder. Tune the rate before you compare.
#
# **[Exercise 6.4](../exercises/06_rank_alpha_learning_rate_target_modules.ipynb)**: the groups,
# also with a norm that trains.

# %% [markdown]
# ## 10 Choose
#
# | knob | begin with | change it when |
# |---|---|---|
# | modules | all linear layers | memory forces you |
# | rank | 16 | a double rank is better by more than luck |
# | alpha | 32, and leave it | never together with the rate |
# | learning rate | 10 × that of full fine-tuning | always: three rates, a factor 3 apart |
#
# A grid is read from the learning rate: first the best one of each row, then the rows against each
# other. **[Exercise 6.5](../exercises/06_rank_alpha_learning_rate_target_modules.ipynb)** does
# that, with diverged runs and with luck.

# %% [markdown]
# ## Takeaways
#
# - Tune the learning rate before you judge anything else. Here it mattered most.
# - With alpha / r the best rate hardly depends on the rank. With alpha / √r it does.
# - Alpha, rsLoRA and LoRA+ are ways to make B faster or slower.
# - Compare modules at equal numbers, each at its own best rate. Here all layers won.
# - A second seed tells which differences are luck.
#
# ## Problems without code
#
# 1. From r = 8, scale α / r, to r = 64 with rsLoRA; alpha stays 16. What does the scale do?
# 2. LoRA+ with ratio 16 and alpha 32: which alpha gives the same run with one rate?
# 3. Llama-2-7B, width 4096, 32 blocks: r = 16 on all linear layers has 39,976,960
#    numbers. Which rank on query and value has about as many?
# 4. The best rate of your grid lies in its last column. What do you do?
# 5. «Rank 64 beat rank 8, both with lr = 1e-4 and alpha = 2r.» Name two reasons that
#    have nothing to do with rank.
#
# **Before:** [05 Training an adapter](05_training_an_adapter.ipynb). **Next:**
# [07 Merging and swapping](07_merging_and_swapping.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685) tables 5 and 6,
# [LoRA Without Regret](https://thinkingmachines.ai/blog/lora/),
# [LoRA Learns Less and Forgets Less](https://arxiv.org/abs/2405.09673),
# [QLoRA](https://arxiv.org/abs/2305.14314),
# [rsLoRA](https://arxiv.org/abs/2312.03732), [LoRA+](https://arxiv.org/abs/2402.12354).
