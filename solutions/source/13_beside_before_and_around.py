# %% [markdown]
# # Exercises 13: Beside, before and around
#
# Five exercises to the chapter
# [Beside, before and around](../chapters/13_beside_before_and_around.ipynb). Write your
# code in place of the line that raises `NotImplementedError`, run the cell, then run
# the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import torch
from torch import nn

from lora_course.checks import ch13 as check

# %% [markdown]
# ## Exercise
#
# A layer that has a frozen `nn.Linear` in front and two trained ones behind it, `down`
# and `up`, with biases. With y the output of the base layer, it returns
# y + up(relu(down(y))). At the start both biases are zero and the output differs from
# y by less than 1 % of y's size; yet the first gradient reaches the weight of `down` or
# of `up`. Gradients pass to x as well, for the layers in front.

# %% exercise="bottleneck"
class Bottleneck(nn.Module):
    """A frozen linear layer with an adapter of width m behind it.

    base_layer: nn.Linear, in -> d, kept as self.base_layer and frozen in place.
    self.down: nn.Linear, d -> m. self.up: nn.Linear, m -> d. Both train.
    """

    def __init__(self, base_layer, m):
        super().__init__()
        ### BEGIN SOLUTION
        d = base_layer.out_features
        self.base_layer = base_layer.requires_grad_(False)
        self.down, self.up = nn.Linear(d, m), nn.Linear(m, d)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)
        ### END SOLUTION

    def forward(self, x):
        """x: (..., in). Returns (..., d)."""
        ### BEGIN SOLUTION
        y = self.base_layer(x)  # (..., d)
        return y + self.up(torch.relu(self.down(y)))
        ### END SOLUTION


# %%
check.bottleneck(Bottleneck)

# %% [markdown]
# ## Exercise
#
# p trained vectors go before the vectors of a batch of texts. Return what the model
# gets: the longer vectors, the longer mask, labels that ask for nothing at the p new
# places, and positions; the last three are whole numbers (int64). Position 0 is the
# first trained vector, and every text starts at position p, also where its padding
# stands on the left. (At padding any position will do.) The tensors that were given stay
# as they are, and gradients reach the trained vectors and those of the texts.

# %% exercise="prepend"
def prepend(prompt, embeds, attention_mask, labels):
    """A batch with a trained prompt before it.

    prompt: (p, d). embeds: (B, T, d), vectors of the texts. attention_mask: (B, T), 1 for
    text and 0 for padding, on the left or on the right. labels: (B, T), -100 where
    nothing is asked.
    Returns vectors (B, p + T, d), mask, labels and positions, each (B, p + T).
    """
    ### BEGIN SOLUTION
    B, p = len(embeds), len(prompt)
    vectors = torch.cat([prompt.expand(B, -1, -1), embeds], dim=1)  # (B, p + T, d)
    mask = torch.cat([attention_mask.new_ones(B, p), attention_mask], dim=1)
    asked = torch.cat([labels.new_full((B, p), -100), labels], dim=1)
    return vectors, mask, asked, (mask.cumsum(1) - 1).clamp(min=0)
    ### END SOLUTION


# %%
check.prepend(prepend)

# %% [markdown]
# ## Exercise
#
# The attention of one layer with a prefix. Every token sees all p keys of the prefix,
# itself and the tokens before it. There are H query heads and fewer key heads, G: the
# first H / G query heads share the first key head, and so on. Scores are divided by the
# square root of the head size h. Gradients reach all five tensors, and those stay as
# they are.

# %% exercise="attend"
def attend(q, k, v, prefix_k, prefix_v):
    """Causal attention over a prefix and the text.

    q: (B, H, T, h). k, v: (B, G, T, h). prefix_k, prefix_v: (G, p, h), the same for every
    row of the batch. H is a multiple of G.
    Returns (B, H, T, h).
    """
    ### BEGIN SOLUTION
    B, H, T, h = q.shape
    p = prefix_k.shape[1]
    keys = torch.cat([prefix_k.expand(B, -1, -1, -1), k], dim=2)  # (B, G, p + T, h)
    values = torch.cat([prefix_v.expand(B, -1, -1, -1), v], dim=2)
    keys = keys.repeat_interleave(H // len(prefix_k), dim=1)  # (B, H, p + T, h)
    values = values.repeat_interleave(H // len(prefix_k), dim=1)
    scores = q @ keys.mT / math.sqrt(h)  # (B, H, T, p + T)
    seen = torch.ones(T, p + T, dtype=torch.bool, device=q.device).tril(p)
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ values
    ### END SOLUTION


# %%
check.attend(attend)

# %% [markdown]
# ## Exercise
#
# IA³ next to one linear layer, weight (out, in), with a bias or with `None`. `scaled`
# computes it: the scale multiplies the whole output of the layer, bias included, or,
# with `feedforward`, the input. `fold` returns a weight and a bias with which the plain
# layer does the same. Both leave what they are given as it is, and through `scaled`
# gradients reach x and the scale. Each is worth half.

# %% exercise="ia3"
def scaled(x, weight, bias, scale, feedforward):
    """The layer's output with IA³ beside it.

    x: (..., in). weight: (out, in). bias: (out,) or None. scale: (out,), or (in,) with
    feedforward. Returns (..., out).
    """
    ### BEGIN SOLUTION
    if feedforward:
        return nn.functional.linear(x * scale, weight, bias)
    return nn.functional.linear(x, weight, bias) * scale
    ### END SOLUTION


def fold(weight, bias, scale, feedforward):
    """Weight and bias of a plain layer that does the same; the bias is None where it was."""
    ### BEGIN SOLUTION
    if feedforward:
        return weight * scale, bias
    return weight * scale[:, None], None if bias is None else bias * scale
    ### END SOLUTION


# %%
check.ia3(scaled, fold)

# %% [markdown]
# ## Exercise
#
# Count what trains, for any method and any model. A block has the layers q: d → q,
# k and v: d → kv, o: q → d, gate and up: d → ff, down: ff → d. `"lora"` goes into all
# seven with rank n; `"bottleneck"` of width n stands behind `o` and behind `down`;
# `"prompt"` and `"prefix"` have n vectors, keys and values; `"ia3"` scales the outputs
# of k and v and the input of down, and does not need n. Raise a `ValueError` that names
# any other method.

# %% exercise="count"
def count(method, n, blocks, d, q, kv, ff):
    """How many numbers train.

    method: "lora", "bottleneck", "prompt", "prefix" or "ia3". n: see above. blocks: how
    many. d, q, kv, ff: widths of the model, of all query heads, of all key heads, of the
    MLP. Returns a whole number.
    """
    ### BEGIN SOLUTION
    layers = [(d, q), (d, kv), (d, kv), (q, d), (d, ff), (d, ff), (ff, d)]
    if method == "lora":
        return blocks * sum(n * (i + o) for i, o in layers)
    if method == "bottleneck":
        return blocks * 2 * (2 * n * d + n + d)
    if method == "prompt":
        return n * d
    if method == "prefix":
        return n * blocks * 2 * kv
    if method == "ia3":
        return blocks * (2 * kv + ff)
    raise ValueError(f"{method!r} is none of lora, bottleneck, prompt, prefix, ia3.")
    ### END SOLUTION


# %%
check.count(count)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# The bottleneck has 2 · 16 · d + 16 + d, LoRA 2 · 16 · d. The bottleneck has its biases
# more.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# Each layer gets keys and values, so twice; and there are 8 key heads of 128 for 32 query
# heads, so kv = 1024 and not d = 4096. It is p · L · 2 · 1024, half of p · d · L.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# At the positions under padding. In a batch the shorter rows are padded on the left, and
# where the pads count, the text has moved away from its prompt.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# Yes: a scale of a linear layer's output folds into that layer's rows. What cannot be
# folded into `gate_proj` is a scale **behind** its nonlinearity.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# Whose rate is that, and what does each method reach at its own? How did the prefix start,
# for how many steps was it trained, and how far apart are two seeds?
#
# </details>
