# %% [markdown]
# # 02 Updates are low-rank: exercises
# Five exercises for [chapter 02](../chapters/02_updates_are_low_rank.ipynb), about an hour. Each
# has a check below it, and hints that open one at a time. Run the next cell first.
# %% tags=["setup"]
import torch

from lora_course.checks import ch02 as check
from lora_course.rank import truncate
# %% [markdown]
# ## Exercise
# A weight of shape `(d_out, d_in)` is replaced by `B @ A`, with B of shape `(d_out, r)` and A of
# shape `(r, d_in)`. Return the largest rank at which A and B together hold fewer numbers than
# the weight. Fewer, not equally many.
# %% exercise="break_even"
def break_even_rank(d_in, d_out):
    """Return the largest whole r for which B @ A saves numbers.

    d_in, d_out: whole numbers, the sides of the weight. The result may be 0.
    """
    ### BEGIN SOLUTION
    return (d_in * d_out - 1) // (d_in + d_out)
    ### END SOLUTION
# %%
check.break_even(break_even_rank)
# %% [markdown]
# ## Exercise
# Write the truncated SVD. Keep the r largest pieces of the matrix and return their sum, which
# has the shape of the matrix. Please write it yourself, without `truncate`.
# %% exercise="nearest"
def nearest_of_rank(matrix, r):
    """Return the matrix of rank r that is nearest to `matrix`.

    matrix: tensor (m, n), tall, wide or square. r: from 1 to min(m, n). Result: (m, n).
    """
    ### BEGIN SOLUTION
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)  # (m, k), (k,), (k, n)
    return U[:, :r] * s[:r] @ Vh[:r]  # (m, n)
    ### END SOLUTION
# %%
check.nearest(nearest_of_rank)
# %% [markdown]
# ## Exercise
# The energy of a matrix is the sum of its squared singular values. Return the smallest r whose
# first r pieces hold at least `share` of it.
# %% exercise="energy_rank"
def rank_for_energy(s, share):
    """Return the smallest r that holds at least `share` of the energy.

    s: tensor (k,), singular values, largest first. share: a number between 0 and 1.
    """
    ### BEGIN SOLUTION
    squares = s.square()  # (k,)
    running = squares.cumsum(0) / squares.sum()  # (k,)
    return int((running < share).sum()) + 1
    ### END SOLUTION
# %%
check.energy_rank(rank_for_energy)
# %% [markdown]
# ## Exercise
# You are given the update of one layer, `(d_out, d_in)`. Return B of shape `(d_out, r)` and A of
# shape `(r, d_in)`, so that `B @ A` is the nearest matrix of rank r to the update. Many pairs
# do this; each of them counts.
# %% exercise="factors"
def split_update(update, r):
    """Return (B, A) with B @ A as near to `update` as rank r allows.

    update: tensor (d_out, d_in). r: from 1 to min(d_out, d_in).
    """
    ### BEGIN SOLUTION
    U, s, Vh = torch.linalg.svd(update, full_matrices=False)  # (d_out, k), (k,), (k, d_in)
    B = U[:, :r] * s[:r]  # (d_out, r)
    A = Vh[:r]  # (r, d_in)
    return B, A
    ### END SOLUTION
# %%
check.factors(split_update)
# %% [markdown]
# ## Exercise
# `before` and `after` map names to the matrices of a model, before and after a full fine-tune.
# Find the largest common rank r for which the factors of all updates together hold at most
# `budget` numbers; it may be 0. Then rebuild each weight: the old one plus its update at
# rank r.
# Leave the given tensors as they are. `truncate(matrix, r)` is imported.
# %% exercise="budget"
def fit_budget(before, after, budget):
    """Return (r, weights): the common rank, and name -> weight with its update cut to rank r.

    before, after: dict, name -> tensor (d_out, d_in), same names. budget: whole number.
    """
    ### BEGIN SOLUTION
    cost = sum(sum(W.shape) for W in before.values())  # numbers per unit of rank
    r = budget // cost
    weights = {}
    for name in before:
        update = after[name] - before[name]  # (d_out, d_in)
        weights[name] = before[name] + truncate(update, r)
    return r, weights
    ### END SOLUTION
# %%
check.budget(fit_budget)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Nothing changes: the factors 10 and 1/10 cancel in the product, and a product of the
# same numbers has the same rank.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# Any from 0 to 16. It is 0 when one update is the negative of the other, and 16 when no
# direction is shared.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# 50. Only the 50 rows of these words change; all other rows of the update are zero.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# Energy counts the squares of the entries, not what they are good for. What was lost may
# be many small entries that a few rare inputs need.
#
# </details>
