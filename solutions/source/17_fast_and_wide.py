# %% [markdown]
# # Exercises 17: Fast and wide
#
# Five exercises to the chapter [Fast and wide](../chapters/17_fast_and_wide.ipynb). Write
# your code in place of the line that raises `NotImplementedError`, run the cell, then run
# the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import torch

from lora_course.checks import ch17 as check

# %% [markdown]
# ## Exercise
#
# A layer is called once on x, and autograd keeps tensors for backward. Which of them are
# x again? Count the bytes of every kept tensor that lies in other memory than x and has
# the same numbers in the same order, whatever its shape. It may have another type: then
# its numbers are compared in x's type. What lies in one storage counts once, with the
# bytes of one such tensor. No gradient is left behind, and layer and x stay as they are.

# %% exercise="copies"
def copies(layer, x):
    """Bytes of the copies of x that `layer(x)` keeps for backward.

    layer: a module, or a function of one tensor. x: any shape. Returns a whole number.
    """
    ### BEGIN SOLUTION
    found = {}

    def pack(t):
        elsewhere = t.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
        if elsewhere and t.numel() == x.numel():
            if torch.equal(t.detach().flatten().to(x.dtype), x.detach().flatten()):
                found[t.untyped_storage().data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = layer(x)  # keeps the graph alive until the count is done
    del y
    return sum(found.values())
    ### END SOLUTION


# %%
check.copies(copies)

# %% [markdown]
# ## Exercise
#
# LoRA with dropout as one operation of autograd, without its help:
#
# $$y = xW^T + s\,\big((m \odot x)/(1-p)\big)A^TB^T$$
#
# The mask m is given, `True` where a number of x is kept; `None` means no dropout. W is
# frozen. `apply` returns y in x's type, and backward gives x, A and B their gradients. The
# factors may be float32 while x and W are bfloat16. Beside the tensors that were given,
# what ctx keeps takes at most r numbers, of 4 bytes, for each row of x. The tensors given
# stay as they are.

# %% exercise="hand_lora"
class HandLoRA(torch.autograd.Function):
    """HandLoRA.apply(x, W, A, B, scaling, mask, p) -> y.

    x: (N, in). W: (out, in). A: (r, in). B: (out, r). mask: (N, in), bool, or None. y: (N, out).
    """

    @staticmethod
    def forward(ctx, x, W, A, B, scaling, mask, p):
        """Returns y, and saves what backward needs: ctx.save_for_backward(...)."""
        ### BEGIN SOLUTION
        left = x if mask is None else x * mask / (1 - p)  # (N, in)
        down = left @ A.to(x.dtype).T  # (N, r)
        ctx.save_for_backward(x, W, A, B, mask, down)
        ctx.scaling, ctx.p = scaling, p
        return x @ W.T + scaling * down @ B.to(x.dtype).T
        ### END SOLUTION

    @staticmethod
    def backward(ctx, g):
        """g: (N, out), the gradient of y. Returns one gradient, or None, for each argument."""
        ### BEGIN SOLUTION
        x, W, A, B, mask, down = ctx.saved_tensors
        keep = 1 if mask is None else mask / (1 - ctx.p)
        small = ctx.scaling * g @ B.to(g.dtype)  # (N, r)
        dA = small.T @ (x * keep).to(g.dtype)  # (r, in)
        dB = ctx.scaling * g.T @ down  # (out, r)
        dx = g @ W + (small @ A.to(g.dtype)) * keep  # (N, in)
        return dx, None, dA, dB, None, None, None
        ### END SOLUTION


# %%
check.hand_lora(HandLoRA)

# %% [markdown]
# ## Exercise
#
# A batch that does not fit is cut into several, and their gradients are added up before
# one step of the optimizer. Afterwards the model's gradients are those of **one** batch
# with all rows: of the mean loss over all tokens that any of them asks for. What was in
# `.grad` before is gone. Each batch is done, backward included, before the next one goes
# forward, so that one graph lives at a time; none goes forward twice. A batch may ask for
# no token at all. Model and batches stay as they are, but for the gradients.

# %% exercise="accumulate"
def accumulate(model, batches):
    """Gradients of one large batch from several small ones; returns its loss, a number.

    model: as in transformers, model(**batch).loss is the mean over the labels that are not
    -100, each compared with the prediction one position before it.
    batches: list of {"input_ids": (B, T), "labels": (B, T)}; B and T differ.
    """
    ### BEGIN SOLUTION
    counts = [(batch["labels"][:, 1:] != -100).sum().item() for batch in batches]
    model.zero_grad()
    whole = 0.0
    for batch, count in zip(batches, counts, strict=True):
        if count:
            loss = model(**batch).loss * count / sum(counts)
            loss.backward()
            whole += loss.item()
    return whole
    ### END SOLUTION


# %%
check.accumulate(accumulate)

# %% [markdown]
# ## Exercise
#
# A model in FSDP's shards, between two steps. Every tensor is cut along its first axis
# into pieces of equal height; where the rows do not suffice, the last pieces are shorter,
# or have no row at all. Weights and gradients are stored filled up to full height, on
# every rank. AdamW's two states are not filled: they are as large as the true piece.
#
# The base is frozen, 2 bytes a number. The adapter has an A and a B beside every layer of
# `layers`, 4 bytes a number, as have its gradients and states. The ranks count from 0.

# %% exercise="on_a_rank"
def on_a_rank(layers, others, r, world, rank):
    """Bytes that one of `world` ranks holds in shards, by part.

    layers: shapes (out, in) of the weights with LoRA. others: shapes of the frozen weights
    without, such as (vocabulary, d) or (d,). r: the rank of the adapter.
    Returns {"weights": int, "gradients": int, "optimizer": int}; weights are base and adapter.
    """
    ### BEGIN SOLUTION
    def height(shape):
        return math.ceil(shape[0] / world)

    def stored(shape):
        return height(shape) * math.prod(shape[1:])

    def true(shape):
        rows = min(height(shape), shape[0] - rank * height(shape))
        return max(0, rows) * math.prod(shape[1:])

    factors = [s for out, d_in in layers for s in ((r, d_in), (out, r))]
    adapter = 4 * sum(stored(s) for s in factors)
    base = 2 * sum(stored(s) for s in [*layers, *others])
    states = 2 * 4 * sum(true(s) for s in factors)
    return {"weights": base + adapter, "gradients": adapter, "optimizer": states}
    ### END SOLUTION


# %%
check.on_a_rank(on_a_rank)

# %% [markdown]
# ## Exercise
#
# A run on several ranks does not give what one process gives, and nobody was warned. You
# have its first step on record. Find the first thing that is wrong, in this order:
#
# | word | what is wrong |
# |---|---|
# | `"start"` | not all ranks began with the same weights |
# | `"rows"` | a row of the batch was used twice |
# | `"alone"` | every rank's optimizer got that rank's own gradient |
# | `"mean"` | it got the plain mean of the ranks' gradients |
# | `"sum"` | it got the right gradient, times the number of ranks |
# | `""` | nothing: it got the gradient of the mean loss of all tokens |
#
# A rank's own gradient is that of the mean loss of **its** tokens. Numbers that travelled
# between ranks are rounded: equal means equal to a thousandth of their size, and gradients
# can be small. If ranks have equally many tokens, the plain mean is right.

# %% exercise="drift"
def drift(start, rows, tokens, own, used):
    """Why these ranks do not train as one process would: a word of the table.

    All by rank. start: (world, n), weights before the step. rows: (world, k), numbers of the
    rows in the batch. tokens: (world,), answer tokens. own: (world, n), each rank's gradient.
    used: (world, n), what each rank's optimizer got.
    """
    ### BEGIN SOLUTION
    def same(a, b):
        return torch.allclose(a, b.expand_as(a), rtol=1e-3, atol=1e-5)

    share = tokens / tokens.sum()  # (world,)
    right = share @ own  # (n,)
    if not same(start, start[0]):
        return "start"
    if len(rows.unique()) < rows.numel():
        return "rows"
    if same(used, right):
        return ""
    guesses = {"alone": own, "mean": own.mean(0), "sum": len(own) * right}
    return next(word for word, guess in guesses.items() if same(used, guess))
    ### END SOLUTION


# %%
check.drift(drift)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Only x. With W frozen nobody asks for W's gradient, which is what needed x in a plain
# layer; LoRA needs it for A's. So freezing a layer and giving it LoRA keeps as much of x as
# training it.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# No: half the time and half the memory are what a step without a backward pass takes. Look
# at the gradients and at the loss after ten steps.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Its share of the gathered weights: the base in shards shrinks with the number of cards, a
# gathered block and the activations do not.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# By the tokens it asks for: the mean of both ranks gives a token of the first the weight
# 1/20, and one of the second 1/600.
#
# </details>
