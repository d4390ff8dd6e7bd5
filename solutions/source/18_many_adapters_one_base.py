# %% [markdown]
# # Exercises 18: Many adapters, one base; small devices
#
# Five exercises to the chapter
# [Many adapters, one base](../chapters/18_many_adapters_one_base.ipynb). Write your code
# in place of the line that raises `NotImplementedError`, run the cell, then run the
# check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import torch

from lora_course.checks import ch18 as check

# %% [markdown]
# ## Exercise
#
# Real engines keep no padding: the tokens of all requests stand one after the other in
# one tensor. Give each token the base's output and the update of its request's adapter,
# scaled. Adapters differ in rank. The adapter −1 means none. Change
# none of the tensors.

# %% exercise="packed"
def packed(x, W, adapters, lengths, whose):
    """The output of one layer for the tokens of several requests, (N, out).

    x: (N, in), the tokens of the first request, then of the second, ... W: (out, in).
    adapters: list of (A, B, scaling), A (r, in) and B (out, r), each with its own r.
    lengths: how many tokens each request has. whose: its place in `adapters`, or -1.
    """
    ### BEGIN SOLUTION
    rows = torch.repeat_interleave(torch.tensor(whose), torch.tensor(lengths))  # (N,)
    y = x @ W.T  # (N, out)
    for k, (A, B, scaling) in enumerate(adapters):
        mine = rows == k
        y[mine] += scaling * x[mine] @ A.T @ B.T
    return y
    ### END SOLUTION


# %%
check.packed(packed)

# %% [markdown]
# ## Exercise
#
# Three ways to keep a fleet of adapters, in bytes: a merged model for each; one base and
# every adapter as it is; one base and `seats` places for adapters, each place as wide as
# the largest rank of the fleet. Every number takes `size` bytes. Return whole numbers.

# %% exercise="fleet"
def fleet(params, layers, ranks, size, seats):
    """Bytes of (merged models, base and adapters, base and seats).

    params: numbers in the base. layers: list of (in, out), the layers that have LoRA.
    ranks: the rank of each adapter of the fleet. size: bytes of a number. seats: places.
    """
    ### BEGIN SOLUTION
    each = sum(n_in + n_out for n_in, n_out in layers)  # numbers of a rank
    merged = len(ranks) * params * size
    shared = (params + sum(ranks) * each) * size
    return merged, shared, (params + seats * max(ranks) * each) * size
    ### END SOLUTION


# %%
check.fleet(fleet)

# %% [markdown]
# ## Exercise
#
# An adapter of `need` bytes is wanted. Say who goes: a list of names, in the order in
# which they go, one after the other until there is room, and nobody more. With the rule
# `"recent"` the one used longest ago goes first; with `"popular"` the one asked for least
# often, and of equals the one used longest ago. Whoever is busy stays. Where that leaves
# no room, raise a `ValueError` that names the number `need`. Change nothing that you are
# given.

# %% exercise="evict"
def evict(held, need, capacity, busy, rule):
    """Names of the adapters to let go, in order; an empty list when there is room.

    held: {name: (bytes, when it was last used, how often it was asked for)}, in no order;
    names are whole numbers. need, capacity: bytes. busy: list of names at work.
    """
    ### BEGIN SOLUTION
    order = {
        "recent": lambda name: held[name][1],
        "popular": lambda name: (held[name][2], held[name][1]),
    }
    free, gone = capacity - sum(entry[0] for entry in held.values()), []
    for name in sorted(held.keys() - set(busy), key=order[rule]):
        if free >= need:
            break
        gone.append(name)
        free += held[name][0]
    if free < need:
        raise ValueError(f"{need} bytes do not fit: only {free} of {capacity} can be free.")
    return gone
    ### END SOLUTION


# %%
check.evict(evict)

# %% [markdown]
# ## Exercise
#
# Requests arrive one after the other. Each goes into the oldest batch that may take it;
# where none may, a new batch begins. A batch has at most `rows` requests. With
# `kinds = 0` the engine does not mix: all requests of a batch have the same adapter, and
# the base alone (−1) counts as one. With `kinds` from 1 up, a batch has at most so many
# different adapters, and requests for the base alone go with anybody and count as none.
# Return the number of each request's batch, from 0.

# %% exercise="plan"
def plan(whose, rows, kinds):
    """The batch of each request, a list of whole numbers.

    whose: the adapter of each request in the order of arrival, -1 for the base alone.
    rows: at least 1. kinds: 0 or more.
    """
    ### BEGIN SOLUTION
    batches, placed = [], []
    for k in whose:
        fitting = len(batches)  # a new one
        for number, batch in enumerate(batches):
            alike = batch[0] == k if kinds == 0 else len({*batch, k} - {-1}) <= kinds
            if alike and len(batch) < rows:
                fitting = number
                break
        batches += [[]] * (fitting == len(batches))
        batches[fitting] = [*batches[fitting], k]
        placed.append(fitting)
    return placed
    ### END SOLUTION


# %%
check.plan(plan)

# %% [markdown]
# ## Exercise
#
# Keys and values of earlier prompts are kept. A new prompt may take over those of the
# tokens that it has in common with one of them from the first token on, if the same
# adapter made them. Its last token must be computed in any case: its logits are wanted.
# Return the number of the entry that saves most, of equals the first one, and how many
# tokens it saves; `(-1, 0)` where none saves anything.

# %% exercise="reuse"
def reuse(kept, adapter, ids):
    """(entry, tokens saved) for a new prompt.

    kept: list of (adapter, ids) of earlier prompts. adapter: whole number, -1 for the base
    alone. ids: list of token ids, at least one.
    """
    ### BEGIN SOLUTION
    best = (-1, 0)
    for entry, (owner, old) in enumerate(kept):
        same = 0
        while same < min(len(old), len(ids) - 1) and old[same] == ids[same]:
            same += 1
        if owner == adapter and same > best[1]:
            best = (entry, same)
    return best
    ### END SOLUTION


# %%
check.reuse(reuse)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# All on disk; a base in memory; room for the few that are at work. With even demand a cache
# of 100 hits one time in ten, so misses are the rule: make them cheap (a fast disk, small
# ranks, 16 bits) instead of the cache large.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# The large product would need another W for each row, and reading W is what costs. With
# adapters W is the same for all, and only the thin factors differ.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# At what the two share: the adapter of each row (an index that has moved), keys and values
# kept from another adapter's prompt, positions under padding. Rounding in another batch size
# moves the last digits only.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# No. Both are roundings of the same weights, but other ones: the adapter learned to make good
# what its own 4-bit base lost (chapters 11 and 12). Measure the score on the base that serves.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# The embedding stays in 8 bits and is a seventh of this model, the norms stay in 32, and the
# file holds the tokenizer as well. In a large model all three hardly count.
#
# </details>
