# %% [markdown]
# # Exercises 06: Rank, alpha, learning rate, target modules
#
# Five exercises to the chapter [Rank, alpha, learning rate, target
# modules](../chapters/06_rank_alpha_learning_rate_target_modules.ipynb). Write your
# code in place of the line that raises `NotImplementedError`, run the cell, then run
# the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import torch

from lora_course.checks import ch06 as check

# %% [markdown]
# ## Exercise
#
# A model has `layers` equal blocks. `shapes` names the linear layers of one block and
# gives each its `(out, in)`. LoRA goes into the layers named in `targets`, in every
# block. Return the largest whole rank whose A and B have at most `budget` numbers in
# all; 0 when not even rank 1 fits. Nothing else limits the rank.

# %% exercise="largest_rank"
def largest_rank(shapes, targets, layers, budget):
    """The largest rank whose factors hold at most `budget` numbers.

    shapes: dict, name -> (out, in). targets: list of names. layers, budget: whole
    numbers. Returns a whole number, 0 or more.
    """
    ### BEGIN SOLUTION
    one = sum(sum(shapes[name]) for name in targets)  # rank 1, one block
    return budget // (layers * one)
    ### END SOLUTION


# %%
check.largest_rank(largest_rank)

# %% [markdown]
# ## Exercise
#
# Write two functions. `rslora_delta` returns the update of one layer under rsLoRA's
# scale, $\frac{\alpha}{\sqrt r} B A$. `same_update` answers a practical question. A
# run used `lora_alpha` with the ordinary scale. You switch rsLoRA on. Which alpha
# keeps the scale of the update as it was? Each function is worth half. A and B stay as
# they are.

# %% exercise="rslora"
def rslora_delta(lora_A, lora_B, lora_alpha):
    """The update under rsLoRA, (out, in). lora_A: (r, in). lora_B: (out, r)."""
    ### BEGIN SOLUTION
    return lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A
    ### END SOLUTION


def same_update(lora_alpha, r):
    """The alpha that under rsLoRA gives the scale that lora_alpha gave without."""
    ### BEGIN SOLUTION
    return lora_alpha / math.sqrt(r)
    ### END SOLUTION


# %%
check.rslora(rslora_delta, same_update)

# %% [markdown]
# ## Exercise
#
# Somebody ran a grid: `losses[g, i, j]` is the final loss of module group `g` at
# `ranks[i]` with learning rate `j`. Group `g` has `per_rank[g]` trainable numbers at
# rank 1. Compare the groups fairly. Each gets the largest rank of the grid that keeps
# it within `budget`, and its own best learning rate. Return three things: the rank of
# each group, its loss, and the position of the group that wins.

# %% exercise="fair_choice"
def fair_choice(per_rank, ranks, losses, budget):
    """Compare groups of modules at an equal budget.

    per_rank: (G,), trainable numbers at rank 1. ranks: (R,), ascending.
    losses: (G, R, L), for group, rank and learning rate. budget: whole number; every
    group fits at the smallest rank.
    Returns rank of each group (G,), loss of each group (G,), position of the winner.
    """
    ### BEGIN SOLUTION
    chosen, reached = [], []
    for cost, grid in zip(per_rank, losses, strict=True):
        fits = [i for i, r in enumerate(ranks) if r * cost <= budget]
        chosen.append(ranks[fits[-1]])
        reached.append(grid[fits[-1]].min())
    reached = torch.stack(reached)
    return torch.stack(chosen), reached, reached.argmin()
    ### END SOLUTION


# %%
check.fair_choice(fair_choice)

# %% [markdown]
# ## Exercise
#
# Return a list of groups for `torch.optim.AdamW`, each a dict with `"params"` (a list
# of parameters) and `"lr"`. Every `lora_B` learns with `lr * ratio`. Everything else
# that trains learns with `lr`: each `lora_A`, and also a norm or a head if somebody
# unfroze it. Frozen parameters are in no group, and frozen factors neither. (The
# chapter's function, like PEFT's, lets norms and biases go with B. Here they go with
# A.)

# %% exercise="plus_groups"
def plus_groups(model, lr, ratio):
    """Parameter groups for LoRA+.

    model: its parameters end in lora_A, lora_B, or other names; some are frozen.
    Returns a list of {"params": list of parameters, "lr": number}.
    """
    ### BEGIN SOLUTION
    fast, slow = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            (fast if name.endswith("lora_B") else slow).append(p)
    return [{"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}]
    ### END SOLUTION


# %%
check.plus_groups(plus_groups)

# %% [markdown]
# ## Exercise
#
# `losses[i, j]` is the final loss at `ranks[i]` and `lrs[j]`. A run that diverged has
# `nan` or `inf`. Return the best learning rate of every rank; of equal losses, the
# smaller rate counts; `nan` for a rank whose runs all diverged. Return also a rank to
# use: the **smallest** one whose best loss is at most `noise` above the best loss of
# the whole grid. Neither `ranks` nor `lrs` need be sorted.

# %% exercise="read_grid"
def read_grid(losses, ranks, lrs, noise):
    """Choose from a grid of runs.

    losses: (R, L) with nan or inf for diverged runs. ranks: (R,). lrs: (L,).
    noise: differences up to this count as none. At least one run did not diverge.
    Returns best learning rate of every rank (R,), rank to use.
    """
    ### BEGIN SOLUTION
    order = lrs.argsort()
    finite = torch.where(losses.isnan(), math.inf, losses)[:, order]  # rates ascending
    best, at = finite.min(dim=1)  # (R,), the first of equal ones
    rates = torch.where(best.isfinite(), lrs[order][at], math.nan)
    good = best <= best.min() + noise
    return rates, ranks[good].min()
    ### END SOLUTION


# %%
check.read_grid(read_grid)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Nothing: 16 / 8 and 16 / √64 are both 2. With α / r it would have become 0.25.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# 512. LoRA+ moves B 16 times as fast. With one rate, B is 16 times smaller after the same
# number of Adam steps, and a scale 16 times larger makes up for it.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# 76. One rank costs 32 · 2 · (4096 + 4096) = 524,288 numbers, and 39,976,960 / 524,288 is
# 76.25.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# Add columns to the right until the best rate has a worse one on both sides. At the edge
# of a grid the best rate is not known.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# With alpha = 2r the scale is 2 for both, and one Adam step moves B A further at rank 64,
# as if its rate were higher. And neither rate was tuned: the best one for rank 8 may lie
# elsewhere. A third: one seed each.
#
# </details>
