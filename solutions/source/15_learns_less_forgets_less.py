# %% [markdown]
# # Exercises 15: Learns less, forgets less
#
# Five exercises to the chapter
# [Learns less, forgets less](../chapters/15_learns_less_forgets_less.ipynb). Write your
# code in place of the line that raises `NotImplementedError`, run the cell, then run
# the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import torch

from lora_course.checks import ch15 as check

# %% [markdown]
# ## Exercise
#
# `scores[t, s]` is the share of right answers on old skill `s` at measurement `t`; row 0
# is before training. A skill may rise before it falls. What was forgotten of it is its
# **best** score so far, row 0 included, less its last one. (That is 0 when the last score
# is the best.) Return this for every skill, and the mean over the skills that the model
# ever had: those whose best score is above `chance[s]`. Without any such skill the mean
# is `nan`.

# %% exercise="forgetting"
def forgetting(scores, chance):
    """How much of each old skill is gone, and the mean over skills the model had.

    scores: (T, S), in [0, 1]. chance: (S,), what guessing scores.
    Returns forgotten shares (S,), and one number.
    """
    ### BEGIN SOLUTION
    best = scores.max(dim=0).values  # (S,)
    lost = best - scores[-1]
    return lost, lost[best > chance].mean()  # the mean of nothing is nan
    ### END SOLUTION


# %%
check.forgetting(forgetting)

# %% [markdown]
# ## Exercise
#
# Each run has a score on the new task (higher is better) and a loss on the old text
# (lower is better). A run is **beaten** when another one is at least as good on both and
# better on one. Return which runs nobody beats. Of equal runs, all or none are beaten. A
# run with a `nan` is not on the front, and beats nobody.

# %% exercise="pareto_front"
def pareto_front(score, loss):
    """Which runs no other run beats.

    score: (R,), higher is better. loss: (R,), lower is better. Both may hold nan.
    Returns a mask (R,) of bool.
    """
    ### BEGIN SOLUTION
    as_good = (score >= score[:, None]) & (loss <= loss[:, None])  # [i, j]: j against i
    better = (score > score[:, None]) | (loss < loss[:, None])
    beaten = (as_good & better).any(dim=1)
    return ~(beaten | score.isnan() | loss.isnan())
    ### END SOLUTION


# %%
check.pareto_front(pareto_front)

# %% [markdown]
# ## Exercise
#
# Two state dicts of one model, before and after training. For every **matrix that
# changed**, return the effective rank of its change: the smallest whole number of
# singular values that hold at least `share` of the energy. Energy is the sum of the
# squares. Vectors, and matrices that did not change, are left out.

# %% exercise="effective_ranks"
def effective_ranks(before, after, share):
    """The effective rank of every matrix's change.

    before, after: dicts, name -> tensor, with the same names. share: in (0, 1).
    Returns a dict, name -> whole number.
    """
    ### BEGIN SOLUTION
    ranks = {}
    for name, weight in before.items():
        change = after[name] - weight
        if change.ndim == 2 and change.any():
            energy = torch.linalg.svdvals(change).square()
            held = energy.cumsum(0) / energy.sum()
            ranks[name] = int((held < share).sum()) + 1
    return ranks
    ### END SOLUTION


# %%
check.effective_ranks(effective_ranks)

# %% [markdown]
# ## Exercise
#
# Ten per cent of a batch of four is no whole row. So the share is kept **over the
# batches**: after batch n (n = 1, 2, ...) the number of old rows so far is
# `percent * n * batch_size // 100`. The rest of each batch is new rows. Both kinds are
# taken in their order and begin again from the front when they end; no row is skipped.
# Inside a batch any order will do.

# %% exercise="replay_mix"
def replay_mix(new, old, percent, batch_size, steps):
    """Batches of new rows with a share of old ones.

    new, old: lists of rows. percent, batch_size, steps: whole numbers.
    Returns a list of `steps` lists of `batch_size` rows.
    """
    ### BEGIN SOLUTION
    made, used_new, used_old = [], 0, 0
    for n in range(1, steps + 1):
        count = percent * n * batch_size // 100 - used_old  # old rows of this batch
        batch = [old[(used_old + i) % len(old)] for i in range(count)]
        batch += [new[(used_new + i) % len(new)] for i in range(batch_size - count)]
        used_old, used_new = used_old + count, used_new + batch_size - count
        made.append(batch)
    return made
    ### END SOLUTION


# %%
check.replay_mix(replay_mix)

# %% [markdown]
# ## Exercise
#
# How many intruders are there depends on epsilon, so the paper draws the number over it.
# `layers` is a list of `(W, lora_A, lora_B)`; the trained weight is
# `W + scaling * lora_B @ lora_A`. Among the `k` strongest **left** singular vectors of
# the trained weight count those whose |cosine| with **every** left singular vector of `W`
# is below epsilon. Add up over the layers, for each epsilon. A layer may have fewer than
# `k` vectors. (Take `full_matrices=False`, as the chapter does.)

# %% exercise="intruder_curve"
def intruder_curve(layers, scaling, k, epsilons):
    """The number of intruder dimensions at each epsilon.

    layers: list of (W (out, in), lora_A (r, in), lora_B (out, r)). scaling: number.
    k: whole number. epsilons: (E,). Returns whole numbers (E,).
    """
    ### BEGIN SOLUTION
    like = []
    for W, lora_A, lora_B in layers:
        tuned = W + scaling * lora_B @ lora_A
        old, new = (torch.linalg.svd(w, full_matrices=False).U for w in (W, tuned))
        like.append((new[:, :k].T @ old).abs().amax(dim=1))  # (k,)
    return (torch.cat(like) < epsilons[:, None]).sum(dim=1)
    ### END SOLUTION


# %%
check.intruder_curve(intruder_curve)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Neither beats the other: one learned more, the other kept more. Both may stand on the
# front. To choose, say first how much loss on the old you can bear.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# How much did each learn, and at which rates? A run that learned nothing has the old loss
# of the base. Ask for both losses at the same loss on the new.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# In full fine-tuning the weights themselves shrink: away from the base, towards nothing.
# In LoRA A and B shrink, so the update does: back to the base.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# About 111,000, if the rows are of one length. The old are a tenth of all, so a ninth of
# the new.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# About 1,200. One inhabitant has log2 (14 · 12 · 7 · 14 · 20) = 18.3 bits, and there are
# 22,528.
#
# </details>
