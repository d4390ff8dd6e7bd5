# %% [markdown]
# # Exercises 14: LoRA's descendants, and how to choose
#
# Five exercises to the chapter [LoRA's descendants, and how to
# choose](../chapters/14_descendants_and_how_to_choose.ipynb). Write your code in place
# of the line that raises `NotImplementedError`, run the cell, then run the check under
# it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import numpy as np
import torch

from lora_course.checks import ch14 as check

# %% [markdown]
# ## Exercise
#
# Write DoRA's forward pass: $y = \frac{m}{\lVert V \rVert}\, V x + b$ with
# $V = W + s\,B A$. The norm is taken of each **row** of V, one for each output, and
# `magnitude` holds one m for each output. Gradients take $\lVert V \rVert$ for a
# constant; they still reach x, `lora_A`, `lora_B` and `magnitude`. The bias may be
# `None`. Whatever axes x has in front, y has them, too. Change none of the tensors.

# %% exercise="dora_forward"
def dora_forward(x, W, bias, lora_A, lora_B, scaling, magnitude):
    """The output of a DoRA layer, (..., out), with the norm detached.

    x: (..., in). W: (out, in). bias: (out,) or None. lora_A: (r, in). lora_B: (out, r).
    scaling: number. magnitude: (out,).
    """
    ### BEGIN SOLUTION
    V = W + scaling * lora_B @ lora_A  # (out, in)
    factor = magnitude / V.norm(dim=1).detach()  # (out,)
    y = factor * (x @ V.T)  # (..., out)
    return y if bias is None else y + bias
    ### END SOLUTION


# %%
check.dora_forward(dora_forward)

# %% [markdown]
# ## Exercise
#
# Prepare one layer for PiSSA, with any scale. Return the residual, A and B, so that
# `residual + scaling * lora_B @ lora_A` is W again. The update `scaling * lora_B @
# lora_A` is the nearest matrix of rank r to W. Each row of A is as long as its column
# of B. Leave W as it is.

# %% exercise="pissa_start"
def pissa_start(W, r, scaling):
    """The start of PiSSA for one weight.

    W: (out, in), float32. r: at most the smaller side of W. scaling: above 0.
    Returns residual (out, in), lora_A (r, in), lora_B (out, r).
    """
    ### BEGIN SOLUTION
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    root = (s[:r] / scaling).sqrt()  # (r,)
    lora_A, lora_B = root[:, None] * Vh[:r], U[:, :r] * root
    return W - scaling * lora_B @ lora_A, lora_A, lora_B
    ### END SOLUTION


# %%
check.pissa_start(pissa_start)

# %% [markdown]
# ## Exercise
#
# AdaLoRA decides which triplets stay. `averages[layer]` holds, under the keys `"A"`,
# `"E"` and `"B"`, two tensors each: the smoothed sensitivity and its uncertainty, in
# the shapes (r, in), (r, 1) and (out, r). A number's score is their product. A
# triplet's importance is the score of its entry of E, plus the **mean** score of its
# row of A, plus the mean score of its column of B.
#
# Keep the `budget` most important triplets of the whole model. Ranks differ between
# layers, and a layer may lose all of its triplets. The budget is a whole number from 0
# to the number of triplets. Importances are all different.

# %% exercise="allocate"
def allocate(averages, budget):
    """Which triplets stay.

    averages: {layer: {"A": (sensitivity, uncertainty), "E": ..., "B": ...}}.
    budget: how many triplets the model keeps in all.
    Returns {layer: (r,) of bool}.
    """
    ### BEGIN SOLUTION
    scores = {}
    for layer, parts in averages.items():
        A, E, B = (parts[key][0] * parts[key][1] for key in "AEB")
        scores[layer] = E[:, 0] + A.mean(1) + B.mean(0)  # (r,)
    ranking = torch.cat(list(scores.values())).sort(descending=True).values
    bar = ranking[budget] if budget < len(ranking) else -math.inf
    return {layer: score > bar for layer, score in scores.items()}
    ### END SOLUTION


# %%
check.allocate(allocate)

# %% [markdown]
# ## Exercise
#
# A file holds a VeRA adapter: for each layer the vectors d (r,) and b (out,), and for
# all of them one seed. The shared matrices are not in it. They are drawn again, with
# `rng = np.random.default_rng(seed)` and `rng.uniform(-bound, bound, shape)`: first A,
# (r, largest in), then B, (largest out, r). The bound is $\sqrt{6 / n}$, where n is
# the number of **columns** of the matrix. A layer uses the first columns of A and the
# first rows of B. Return the update of every layer, $\mathrm{diag}(b)\, B\,
# \mathrm{diag}(d)\, A$.

# %% exercise="vera_deltas"
def vera_deltas(seed, shapes, vectors):
    """The updates of a VeRA adapter from its file.

    seed: of the shared matrices. shapes: {layer: (out, in)}.
    vectors: {layer: (d, b)}, arrays of shape (r,) and (out,); r is the same everywhere.
    Returns {layer: update (out, in)}.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    r = len(next(iter(vectors.values()))[0])
    d_out, d_in = (max(shape[axis] for shape in shapes.values()) for axis in (0, 1))
    bounds = math.sqrt(6 / d_in), math.sqrt(6 / r)  # A has d_in columns, B has r
    A = rng.uniform(-bounds[0], bounds[0], (r, d_in))
    B = rng.uniform(-bounds[1], bounds[1], (d_out, r))
    deltas = {}
    for layer, (rows, columns) in shapes.items():
        d, b = (np.asarray(v) for v in vectors[layer])
        deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns]
    return deltas
    ### END SOLUTION


# %%
check.vera_deltas(vera_deltas)

# %% [markdown]
# ## Exercise
#
# «Method 2 wins.» Somebody ran every method at **one** learning rate. You have the
# whole grid: `losses[m, i, s]` of method m, at rate i (ascending), with seed s. A
# method's loss at a rate is the mean over the seeds; a rate at which a run diverged
# (`nan` or `inf`) does not count. Return four things:
#
# - who wins at the rate `shared`, which is a position: the method with the lowest loss
#   there;
# - who wins when each method has its own best rate;
# - for each method: is it equal to this winner? Yes when its loss exceeds the winner's
#   by at most the larger spread of the two. A spread is the largest loss of a seed
#   minus the smallest, at that method's best rate;
# - for each method: does its best rate lie at an end of the grid? Then the grid was too
#   narrow for it.

# %% exercise="unmask"
def unmask(losses, shared):
    """A comparison at one shared rate, and a fair one.

    losses: (M, L, S) for method, rate and seed, with nan or inf for diverged runs. shared:
    position of a rate at which at least one method has no diverged run. Every method has a rate
    without a diverged run; no two means are equal.
    Returns winner at the shared rate, winner at own rates, equal to it (M,) of bool, at an end
    of the grid (M,) of bool.
    """
    ### BEGIN SOLUTION
    means = losses.mean(-1)
    means = torch.where(means.isfinite(), means, math.inf)  # (M, L)
    best, at = means.min(dim=1)  # (M,)
    rows = losses[torch.arange(len(losses)), at]  # (M, S)
    spread = rows.amax(1) - rows.amin(1)
    winner = best.argmin()
    equal = best - best[winner] <= torch.maximum(spread, spread[winner])
    edge = (at == 0) | (at == losses.shape[1] - 1)
    return means[:, shared].argmin(), winner, equal, edge
    ### END SOLUTION


# %%
check.unmask(unmask)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# The factors have 16 (4096 + 11008) = 241,664 numbers in both. The magnitude has one for
# each output: 11,008 in `up_proj`, 4,096 in `down_proj`. So 252,672 and 245,760.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# The principal pieces count twice: once in the original W, once in B A. The model is
# broken, and nothing warns you. Ask for the residual weights, or for the converted
# adapter: rank 2r, the start subtracted.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Neither, against that LoRA. States and gradients shrink, but they were small; the two
# shared matrices are in memory, and each layer multiplies with 1024 rows and columns
# instead of 16. What it saves is the file.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# 40 and 0: the triplets of all layers compete, and none can have more than it began with.
# The others share what is left. One rank for all would be 25.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# The difference is 1.6, and the standard error of a difference of two such runs is
# 1.4 · √2 = 2.0. It is noise. Ask for seeds, and for the learning rates that were tried.
#
# </details>
