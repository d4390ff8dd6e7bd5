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
# between ranks are rounded: equal means equal to a thousandth. If ranks have equally many
# tokens, the plain mean is right.

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
