# %% [markdown]
# # 02 Updates are low-rank
# When a model learns a task, its weight matrices change. How many independent directions does that
# change need? The answer decides how small an adapter can be. About 40 minutes, after chapter 01.
#
# You will be able to
# - cut a matrix to rank r and predict the error;
# - tell rank, energy and size apart;
# - measure how much rank a real fine-tune needed.
# %%
import copy

import torch

from lora_course.kit.data import batches, exact_match, load_task
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show

quiet()
# %% [markdown]
# ## A product of two thin matrices
# Take B with 4 columns and A with 4 rows. B @ A has the shape of a large matrix. Yet each of its
# rows is a mix of the same 4 rows of A: it has only 4 independent directions. That number is its
# **rank**.
# %%
torch.manual_seed(0)
d_out, d_in, r = 128, 512, 4
B, A = torch.randn(d_out, r), torch.randn(r, d_in)
product = B @ A  # (d_out, d_in)
print("shape", tuple(product.shape), "rank", int(torch.linalg.matrix_rank(product)))
# %% [markdown]
# The thin pair costs **r (d_in + d_out)** numbers, the full matrix d_in · d_out.
#
# **Predict:** a 128 × 128 matrix is written as B @ A with r = 64, half of its side. How much is
# saved?
# %%
for r in (4, 16, 63, 64, 128):
    pair, square = r * (128 + 128), 128 * 128
    print(f"r = {r:3}: {pair:6,} numbers against {square:,} ({pair / square:.0%})")
# %% [markdown]
# > **Myth check.** *A low-rank factorization always saves parameters.* No. The pair breaks even at
# > r = d_in · d_out / (d_in + d_out), which is half a side for a square. Above it, two thin
# > matrices cost more than one full one.
# %%
for d_out, d_in in [(128, 128), (64, 128), (512, 128)]:
    even = d_in * d_out / (d_in + d_out)
    print(f"{d_out:3} x {d_in}: breaks even at r = {even:.1f}")
# %% [markdown]
# **[Exercise 2.1](../exercises/02_updates_are_low_rank.ipynb)** asks for the largest whole rank
# that still saves. (`lora-course start 02` makes your copy of the exercises.)
#
# ## Taking a matrix apart
# The **singular value decomposition** (SVD) writes any matrix as a sum of rank-1 pieces,
# M = Σ sᵢ uᵢ vᵢᵀ, the largest first. The uᵢ have length 1 and right angles to each other; so do the
# vᵢ.
# %%
M = torch.randn(6, 4)  # (m, n)
U, s, Vh = torch.linalg.svd(M, full_matrices=False)  # (m, k), (k,), (k, n)
print("U", tuple(U.shape), "s", tuple(s.shape), "Vh", tuple(Vh.shape))
print("singular values", [round(v, 3) for v in s.tolist()])
# %% [markdown]
# `Vh` is V already transposed: its **rows** are the vᵢ. Add piece after piece, and watch the
# distance to M, the root of the sum of squared differences.
#
# **Predict:** which number, made of singular values only, equals that distance?
# %%
total = torch.zeros(6, 4)
for i in range(4):
    total += s[i] * torch.outer(U[:, i], Vh[i])  # (m, n), rank 1
    distance, tail = (M - total).norm(), s[i + 1 :].square().sum().sqrt()
    print(f"pieces {i + 1}: distance {distance:.3f}, root of squared tail {tail:.3f}")
# %% [markdown]
# The error is the tail that was cut off. **Eckart and Young (1936)** proved more: no matrix of
# rank r comes closer than the first r pieces.
#
# **Predict:** of 1,000 other matrices of rank 2, each the best for its own random rows, how many
# win? (*QR* makes the random directions orthogonal, of length 1.)
# %%
best, wins = float(s[2:].square().sum().sqrt()), 0
for _ in range(1000):
    Q = torch.linalg.qr(torch.randn(4, 2)).Q  # (n, 2), random directions
    rival = M @ Q @ Q.T  # (m, n), rank 2, the best one with these rows
    wins += float((M - rival).norm()) < best
print("rivals that come closer:", wins)
# %% [markdown]
# **[Exercise 2.2](../exercises/02_updates_are_low_rank.ipynb)** asks you to write this truncation.
# Try it before you read on: the next cell is the course's version.
# %% tags=["quote"]
from lora_course.rank import truncate

# %% [markdown]
# What survives at low rank is what repeats: rows that are multiples of each other. Here is a
# picture of 64 × 64 numbers.
#
# **Predict:** of a rectangle, a disc and a diagonal line, which is drawn first, which last?
# %%
y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")  # (64, 64)
rectangle = (x > 6) & (x < 26) & (y > 34) & (y < 58)
disc, line = (x - 44) ** 2 + (y - 20) ** 2 < 200, (x - y).abs() < 2
picture = (rectangle | disc | line).float()  # (64, 64)
fig, axes = figure(width=8, height=2, ncols=5)
for ax, r in zip(axes, (1, 2, 4, 12, 64), strict=True):
    ax.imshow(truncate(picture, r), cmap="gray", vmin=0, vmax=1)
    ax.set(title=f"r = {r}", xticks=[], yticks=[])
    ax.grid(False)
show(
    fig,
    caption="A picture cut to rank r. The rectangle is there at r = 2, the disc at r = 4. "
    "The diagonal line comes last, grey at r = 12 and sharp at 64: no row of it is a "
    "multiple of another.",
    alt="Five gray pictures of a rectangle, a disc and a diagonal line at rank 1, 2, 4, 12, "
    "64. Rectangle and disc are clear at rank 4; the line is grey at 12, sharp at 64.",
)
# %% [markdown]
# ## Energy
# The squared singular values add up to the squared size of the matrix. Call the sum its **energy**,
# and ask what share of it the first r pieces hold.
# **[Exercise 2.3](../exercises/02_updates_are_low_rank.ipynb)** wants the smallest r for a given
# share. Then compare:
# %% tags=["quote"]
from lora_course.rank import energy, energy_rank

# %% [markdown]
# **Rank is not size.** **Predict:** two matrices have the same norm (the root of the energy). Can
# one need a single piece for 90 % of its energy, and the other many?
# %%
thin = torch.randn(128, 1) @ torch.randn(1, 128)  # (128, 128), rank 1
wide = torch.randn(128, 128)
wide = wide * thin.norm() / wide.norm()  # the same size now
for name, matrix in {"thin": thin, "wide": wide}.items():
    needed = energy_rank(torch.linalg.svdvals(matrix), 0.9)
    print(f"{name}: norm {matrix.norm():.0f}, 90 % of the energy in rank {needed}")
# %% [markdown]
# ## A real fine-tune
# The base model learns `questions`: read a short story and a question, answer tersely, in a chat
# format that it has never seen. **Predict:** how often is the base right, word for
# word, before any fine-tuning?
# %%
base, tokenizer = load_base("base"), load_tokenizer("base")
questions = load_task("questions")
row, test = questions["test"][0], questions["test"].select(range(100))
print(row["prompt"], "->", row["completion"])
print(f"base: {exact_match(base, tokenizer, test):.0%} answered exactly")
# %% [markdown]
# To keep it clean we train **every weight of every linear layer**, and
# freeze the embedding, which is also the output layer, and the norms: then each change is a matrix
# that an SVD can cut. *Weight decay*, a pull towards zero, is off.
# %%
names = [n for n, p in base.named_parameters() if n.endswith("proj.weight")]
before = {n: base.state_dict()[n].clone() for n in names}  # name -> (d_out, d_in)
trained = sum(W.numel() for W in before.values())
share = trained / base.num_parameters()
print(f"{len(names)} matrices, {share:.0%} of the parameters")


def finetune(model, rows, steps, lr, batch_size=32):
    """Train the linear layers of a copy of `model`; return the copy."""
    model = copy.deepcopy(model).train()
    for name, p in model.named_parameters():
        p.requires_grad = name in names
    weights = [p for p in model.parameters() if p.requires_grad]
    # weight decay would mix a share of W itself into every update: off
    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=0.0)
    for step, batch in enumerate(batches(rows, tokenizer, batch_size, steps, seed=0)):
        rise, fall = (step + 1) / 10, 1 - step / steps  # up in ten steps, then down to 0
        optimizer.param_groups[0]["lr"] = lr * min(rise, fall)
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


# %% [markdown]
# **Predict:** what share does it answer after 60 batches of 32? (This cell takes about 10 seconds.)
# %%
full = finetune(base, questions["train"], steps=60, lr=2e-3)
reached = exact_match(full, tokenizer, test)
assert reached > 0.9, reached
print(f"after full fine-tuning: about {round(reached, 1):.0%}")


# %% [markdown]
# The update of a layer is what training added: **ΔW = W after − W before**.
#
# **Predict:** the model went from nothing to nearly everything. How large is ΔW next to W: ten
# times, as large, a fraction?
# %%
def updates(model):
    """Return name -> what training added to that matrix."""
    after = model.state_dict()
    return {n: after[n] - before[n] for n in names}  # name -> (d_out, d_in)


delta = updates(full)
ratios = torch.tensor([float(delta[n].norm() / before[n].norm()) for n in names])
print(f"norm of the update / norm of the weight, median: {ratios.median():.1f}")
# %% [markdown]
# ## What does the update look like?
# One layer, three matrices of one shape: the weight W, its update ΔW, random numbers. All are
# scaled to norm 1: only the form of the *spectrum* (singular values) differs.
#
# **Predict:** which of the three falls fastest?
# %%
name = "model.layers.2.mlp.up_proj.weight"
three = {"W": before[name], "update": delta[name], "random": torch.randn(512, 128)}
colors = {"W": COLORS["base"], "update": COLORS["full"], "random": COLORS["grey"]}
styles = {"W": "--", "update": "-", "random": ":"}
fig, ax = figure()
for kind, matrix in three.items():
    s = torch.linalg.svdvals(matrix)  # (128,)
    s = s / s.norm()
    ax.semilogy(range(1, 129), s, styles[kind], color=colors[kind], label=kind)
ax.set(xlabel="number of the piece", ylabel="singular value (norm 1)", ylim=(0.01, 1))
ax.legend()
show(
    fig,
    caption="Singular values of one layer (up_proj of layer 2) on a log scale. A few directions "
    "of the update tower over the rest. The weight looks nearly like random numbers.",
    alt="Three falling lines over 128 singular values. The update starts highest and "
    "falls fastest; weight and random run close together, nearly flat.",
)
# %% [markdown]
# The same for all 28 matrices: what share of the energy do the first r pieces hold?
# (In the code 0, 0.5 and 1 stand for the lowest layer, the median and the highest.)
# %%
fig, ax = figure()
groups = {"W": before, "update": delta}
groups["random"] = {n: torch.randn_like(W) for n, W in before.items()}
for kind, matrices in groups.items():
    spectra = [torch.linalg.svdvals(m) for m in matrices.values()]
    curves = torch.stack([energy(s)[:64] for s in spectra])  # (28, 64)
    low, middle, high = curves.quantile(torch.tensor([0.0, 0.5, 1.0]).double(), dim=0)
    ax.fill_between(range(1, 65), low, high, color=colors[kind], alpha=0.15)
    ax.plot(range(1, 65), middle, styles[kind], color=colors[kind], label=kind)
    median = torch.tensor([float(energy_rank(s, 0.9)) for s in spectra]).median()
    print(f"{kind:6}: 90 % of the energy in rank {round(float(median), -1):.0f} or so")
ax.set(xlabel="rank r", ylabel="share of the energy", ylim=(0, 1.02))
ax.legend(loc="lower right")
show(
    fig,
    caption="Energy in the first r pieces: median of 28 layers (line) and range (band). "
    "The band of the random matrices shows what shape alone does; the others also differ "
    "from layer to layer.",
    alt="Three rising curves from rank 1 to 64. The update rises by far the fastest. The "
    "weights and the random matrices lie close together.",
)


# %% [markdown]
# ## Cut the update and ask again
# Energy counts numbers. It does not know which of them the task uses, so ask the task: cut every
# ΔW to rank r, add it to the base, and test. *Greedy decoding*, always the most
# probable token, gives exactly the right answer if each of its tokens is the first choice; one
# forward pass shows that.
# %%
def rebuilt(delta, r):
    """Return the base with every update cut to rank r added."""
    model = copy.deepcopy(base)
    weights = {n: before[n] + truncate(delta[n], r) for n in names}
    model.load_state_dict(weights, strict=False)
    return model


def solved(model, batch):
    """Return the share of rows whose answer is the first choice, token by token."""
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        logits = model(**inputs).logits  # (B, T, vocabulary)
    # place t guesses token t + 1, hence the shift by one; a label of -100 marks what is no
    # answer: prompt and padding (chapter 05)
    guess, labels = logits[:, :-1].argmax(-1), batch["labels"][:, 1:]  # (B, T - 1)
    return float(((guess == labels) | (labels == -100)).all(1).float().mean())


exam = next(batches(test, tokenizer, batch_size=100, steps=1, seed=0))
print("both scores agree:", abs(solved(full, exam) - reached) < 0.02)
# %% [markdown]
# **Predict:** the matrices have up to 128 directions. We keep 8 of them, then a single one. What
# share of the questions is answered still? Nothing is trained here.
# %%
ranks = (1, 2, 4, 8, 16, 32, 64)
easy = {r: solved(rebuilt(delta, r), exam) for r in ranks}
for r in (8, 1):
    print(f"r = {r} of 128: about {round(easy[r], 1):.0%} answered exactly")
pair = sum(8 * (W.shape[0] + W.shape[1]) for W in before.values())
print(f"numbers in all updates {trained:,}; in their factors at r = 8 {pair:,}")


# %% [markdown]
# > **Myth check.** *The weights themselves are low-rank.* If updates can be cut like this, why not
# > the trained weights, W + ΔW?
#
# **Predict:** is the skill still there at rank 16?
# %%
def cut_weights(model, r):
    """Return a copy of the model with every linear weight cut to rank r."""
    model = copy.deepcopy(model)
    weights = {n: truncate(model.state_dict()[n], r) for n in names}
    model.load_state_dict(weights, strict=False)
    return model


weights = {r: solved(cut_weights(full, r), exam) for r in ranks}
print(f"r = 16 of 128: about {round(weights[16], 1):.0%} answered exactly")
# %% [markdown]
# Verdict: wrong. On this model the weights need dozens of directions for a skill whose update needs
# a few (both curves stand in the next figure). What is low-rank is the **change**.
#
# ## A task that needs more
# In `hard`, 64 words of a secret code stand for other words, at random. Nothing in the prompt tells
# the code. **Predict:** does this update survive a cut to rank 8, as that of the questions did?
# %%
hard = load_task("hard")
print(hard["test"][0]["prompt"], "->", hard["test"][0]["completion"])
coded = finetune(base, hard["train"], steps=240, lr=4e-3)  # 20 seconds or so
code_exam = next(batches(hard["test"], tokenizer, batch_size=200, steps=1, seed=0))
for name, model in {"base": base, "fine-tuned": coded}.items():
    print(f"{name}: about {round(solved(model, code_exam), 1):.0%} decoded exactly")
# %%
code_delta = updates(coded)
difficult = {r: solved(rebuilt(code_delta, r), code_exam) for r in ranks}
print(f"r = 8 of 128: about {round(difficult[8], 1):.0%} decoded exactly")
fig, ax = figure()
lines = {
    "questions, update cut": (easy, COLORS["full"], "o-"),
    "hard, update cut": (difficult, COLORS["extra"], "s-"),
    "questions, weights cut": (weights, COLORS["base"], "^--"),
}
for label, (scores, color, style) in lines.items():
    ax.plot(ranks, [scores[r] for r in ranks], style, color=color, label=label)
ax.set_xscale("log", base=2)
ax.set(xticks=ranks, xticklabels=ranks, xlabel="rank r kept")
ax.set(ylabel="exact match", ylim=(-0.04, 1.04))
ax.legend()
show(
    fig,
    caption="Exact match after the cut. The update for the questions survives at a small "
    "rank, the one for the secret code needs more, the weights need most.",
    alt="Exact match over rank 1 to 64. The line of questions is high from a small rank on; "
    "hard rises late; the line of cut weights rises last.",
)
# %% [markdown]
# No rank fits all. What counts here is how much **new** a task brings. The base has read such
# stories, only the form was new: a few directions keep most of it. The code book it had never seen.
#
# > **Myth check.** *Full fine-tuning makes changes that are orders of magnitude larger than
# > LoRA's.* A study found **ranks** 10 to 100 times those of usual LoRA runs (Biderman et al. 2024,
# > section 4.6). Retold, rank became size. Compare both.
# %%
for task, change in {"questions": delta, "hard": code_delta}.items():
    size = torch.tensor(
        [float(truncate(d, 8).norm() / d.norm()) for d in change.values()]
    )
    print(
        f"{task:9}: cut to 8 of 128 directions, size {size.median():.1f} of the full one"
    )
# %% [markdown]
# Verdict: wrong as retold. Rank counts directions, the norm measures length. Few directions can be
# as long as you like.
#
# ## What LoRA makes of this
# LoRA does **not** decompose an update. No SVD is taken, no full ΔW is trained. It writes the
# update as B @ A and trains the two (Hu et al. 2021, section 4.1).
# %%
B, A = torch.randn(128, 8), torch.randn(8, 512)  # what is trained
s = torch.linalg.svdvals(B @ A)  # (128,)
print("singular values above rounding:", int((s > 1e-4 * s[0]).sum()), "of", len(s))
# %% [markdown]
# You did the reverse: trained everything, then cut. That a good update of low rank exists, and that
# training inside the rank finds one, is a **hypothesis**. Chapter 06 tests it.
# **[Exercise 2.4](../exercises/02_updates_are_low_rank.ipynb)** turns an update into B and A,
# **[Exercise 2.5](../exercises/02_updates_are_low_rank.ipynb)** spends a budget on a whole model.
# (The ranks measured here belong to a model of width 128. The way to measure them works for any.)
# %% [markdown]
# **For** the hypothesis: 200 numbers, projected at random into RoBERTa-large, reached 90 % of full
# fine-tuning on one small task, MRPC (Aghajanyan et al. 2020). On GPT-3, ranks 1 to 64 scored
# alike on WikiSQL (Hu et al. 2021, table 6).
#
# **Against**: training Llama-2-7B on 20 billion tokens of code gave updates of rank 10 to 100
# times the usual LoRA ranks, and LoRA stayed behind (Biderman et al. 2024, section 4.6, table S1).
# %% [markdown]
# ## Takeaways
# - B @ A costs r (d_in + d_out). It saves below r = d_in · d_out / (d_in + d_out).
# - The first r pieces of the SVD are the best rank-r matrix. The error is the tail.
# - Rank, energy and size are three things.
# - On this model a new form needed few directions, new knowledge many.
# - LoRA parametrizes the update, it does not decompose one.
# %% [markdown]
# ## Problems without code
# 1. B is multiplied by 10 and A by 1/10. What changes in B @ A, and what in its rank?
# 2. Two updates of rank 8 are added. Which ranks can the sum have?
# 3. A task uses 50 words. At most what rank has the update of an input embedding, 1,232 × 128?
# 4. At r = 8 part of the energy is gone. What may have been in it?
# %% [markdown]
# ## Next, and sources
# **Before:** [01 What full fine-tuning costs](01_what_full_fine_tuning_costs.ipynb). **Next:**
# [03 The LoRA layer](03_the_lora_layer.ipynb), which trains B and A.
#
# - Eckart and Young 1936, *The approximation of one matrix by another of lower rank*
# - Hu et al. 2021, *LoRA*, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)
# - Aghajanyan et al. 2020, *Intrinsic dimensionality*, [arXiv 2012.13255](https://arxiv.org/abs/2012.13255)
# - Biderman et al. 2024, *LoRA Learns Less and Forgets Less*, [arXiv 2405.09673](https://arxiv.org/abs/2405.09673)
