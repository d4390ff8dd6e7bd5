# %% [markdown]
# # Exercises 03: The LoRA layer
#
# Five exercises to the chapter
# [The LoRA layer](../chapters/03_the_lora_layer.ipynb). Write your code in place of
# the line that raises `NotImplementedError`, run the cell, then run the check under
# it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.checks import ch03 as check

# %% [markdown]
# ## Exercise
#
# Wrap an `nn.Linear` so that it computes
# $W x + b + \frac{\alpha}{r} B A\,\mathrm{dropout}(x)$.
# `lora_A` is `(r, in)`, uniform in $\pm 1/\sqrt{\mathrm{in}}$;
# `lora_B` is `(out, r)`, zero. The base layer itself is inside, not a copy, and frozen;
# the two factors train. Dropout acts only on the x that goes into A, and only while
# training.

# %% exercise="lora_linear"
class LoRALinear(nn.Module):
    """A frozen linear layer plus a trained update of rank r.

    base_layer: nn.Linear, in -> out, with or without bias.
    r: rank. lora_alpha: the update is scaled by lora_alpha / r.
    lora_dropout: share of x dropped on the way into A while training.
    Attributes: lora_A (r, in), lora_B (out, r).
    """

    def __init__(self, base_layer, r=8, lora_alpha=16, lora_dropout=0.0):
        super().__init__()
        ### BEGIN SOLUTION
        self.base_layer = base_layer
        for parameter in base_layer.parameters():
            parameter.requires_grad = False
        self.scaling = lora_alpha / r
        self.lora_dropout = nn.Dropout(lora_dropout)
        self.lora_A = nn.Parameter(torch.empty(r, base_layer.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base_layer.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        ### END SOLUTION

    def forward(self, x):
        """x: (..., in). Returns (..., out)."""
        ### BEGIN SOLUTION
        update = self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T  # (..., out)
        return self.base_layer(x) + self.scaling * update
        ### END SOLUTION


# %%
check.lora_linear(LoRALinear)

# %% [markdown]
# ## Exercise
#
# Return what an adapter adds to `base_layer.weight`, scaled, in the layout of that
# weight. The layer is an `nn.Linear`, whose weight is `(out, in)`, or a `Conv1D`,
# whose weight is `(in, out)`. Some of the layers are square. Leave the layer, A and B
# as they are.

# %% exercise="delta_weight"
def delta_weight(base_layer, lora_A, lora_B, lora_alpha):
    """The update of one layer, ready to be added to base_layer.weight.

    base_layer: nn.Linear or Conv1D. lora_A: (r, in). lora_B: (out, r).
    Returns a tensor of the shape of base_layer.weight.
    """
    ### BEGIN SOLUTION
    delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A  # (out, in)
    return delta.T if isinstance(base_layer, Conv1D) else delta
    ### END SOLUTION


# %%
check.delta_weight(delta_weight)

# %% [markdown]
# ## Exercise
#
# Four people wrote the start of a LoRA layer, and each came with a complaint. The
# broken lines stand as comments. Repair each function: it returns `lora_A`,
# `(r, d_in)` and random, and `lora_B`, `(d_out, r)` and zero, both trainable. The
# entries of `lora_A` are about $1/\sqrt{d_{in}}$ in size, in a narrow layer and in a
# wide one. Every repaired function is worth a quarter of the points.

# %% exercise="broken_starts"
def init_1(d_in, d_out, r):
    """Complaint: the loss stays the same to the last digit."""
    # lora_A = nn.Parameter(torch.zeros(r, d_in))
    # lora_B = nn.Parameter(torch.zeros(d_out, r))
    ### BEGIN SOLUTION
    lora_A = nn.Parameter(torch.empty(r, d_in))
    lora_B = nn.Parameter(torch.zeros(d_out, r))
    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))
    return lora_A, lora_B
    ### END SOLUTION


def init_2(d_in, d_out, r):
    """Complaint: the model talks nonsense before the first step."""
    # lora_A = nn.Parameter(torch.empty(r, d_in).uniform_(-1, 1) / d_in**0.5)
    # lora_B = nn.Parameter(torch.empty(d_out, r).uniform_(-1, 1) / r**0.5)
    ### BEGIN SOLUTION
    lora_A = nn.Parameter(torch.empty(r, d_in).uniform_(-1, 1) / d_in**0.5)
    lora_B = nn.Parameter(torch.zeros(d_out, r))
    return lora_A, lora_B
    ### END SOLUTION


def init_3(d_in, d_out, r):
    """Complaint: a larger r changes nothing, it always learns like r = 1."""
    # lora_A = nn.Parameter(torch.full((r, d_in), 1 / d_in**0.5))
    # lora_B = nn.Parameter(torch.zeros(d_out, r))
    ### BEGIN SOLUTION
    lora_A = nn.Parameter(torch.randn(r, d_in) / d_in**0.5)
    lora_B = nn.Parameter(torch.zeros(d_out, r))
    return lora_A, lora_B
    ### END SOLUTION


def init_4(d_in, d_out, r):
    """Complaint: the wider the layer, the sooner training diverges."""
    # lora_A = torch.empty(d_in, r)
    # nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))
    # lora_A, lora_B = nn.Parameter(lora_A.T), nn.Parameter(torch.zeros(d_out, r))
    ### BEGIN SOLUTION
    lora_A = torch.empty(r, d_in)
    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))
    return nn.Parameter(lora_A), nn.Parameter(torch.zeros(d_out, r))
    ### END SOLUTION


# %%
check.broken_starts(init_1, init_2, init_3, init_4)

# %% [markdown]
# ## Exercise
#
# Wrap an `nn.Embedding` with `n` rows of width `d`. The row of token `t` becomes
# $W_t + \frac{\alpha}{r} B A_{:,t}$. `lora_A` is `(r, n)` and starts at zero;
# `lora_B` is `(d, r)` and starts normal, `torch.randn`. The table itself is inside, not
# a copy; it is frozen and stays as it is.

# %% exercise="lora_embedding"
class LoRAEmbedding(nn.Module):
    """A frozen table of token vectors plus a trained update of rank r.

    base_layer: nn.Embedding, n rows of width d. r: rank.
    lora_alpha: the update is scaled by lora_alpha / r.
    Attributes: lora_A (r, n), lora_B (d, r).
    """

    def __init__(self, base_layer, r=8, lora_alpha=16):
        super().__init__()
        ### BEGIN SOLUTION
        self.base_layer = base_layer.requires_grad_(False)
        self.scaling = lora_alpha / r
        self.lora_A = nn.Parameter(torch.zeros(r, base_layer.num_embeddings))
        self.lora_B = nn.Parameter(torch.randn(base_layer.embedding_dim, r))
        ### END SOLUTION

    def forward(self, ids):
        """ids: whole numbers (...). Returns (..., d)."""
        ### BEGIN SOLUTION
        rows = self.lora_A.T[ids]  # (..., r)
        return self.base_layer(ids) + self.scaling * rows @ self.lora_B.T
        ### END SOLUTION


# %%
check.lora_embedding(LoRAEmbedding)

# %% [markdown]
# ## Exercise
#
# A trained adapter of rank `r` turns out too small. Give it rank `new_r` and keep
# what it has learned: the delta weight must not change, and each of the new
# directions must be able to learn something of its own in further training. Return the
# new A `(new_r, d_in)`, the new B `(d_out, new_r)`, and the new alpha. Leave the old
# ones as they are.

# %% exercise="grow_rank"
def grow_rank(lora_A, lora_B, lora_alpha, new_r):
    """The same update with room for more.

    lora_A: (r, d_in). lora_B: (d_out, r). new_r > r.
    Returns (lora_A, lora_B, lora_alpha) for rank new_r.
    """
    ### BEGIN SOLUTION
    r, d_in = lora_A.shape
    rows = nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))
    columns = torch.zeros(lora_B.shape[0], new_r - r)
    new_A = torch.cat([lora_A, rows])  # (new_r, d_in)
    new_B = torch.cat([lora_B, columns], dim=1)  # (d_out, new_r)
    return new_A, new_B, lora_alpha * new_r / r
    ### END SOLUTION


# %%
check.grow_rank(grow_rank)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# 2 · 4096 · 8 = 65,536 of 16,777,216 numbers: 0.39 percent.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# Four times the rate. At half the scale, B must become twice as large for the same
# update, and its gradient is half as large. With Adam, which divides by the size of the
# gradient, twice the rate will do.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# In B A the factors c and 1/c cancel. Training notices: the gradient of B is now c times
# as large, and B itself is c times smaller, so equal steps mean something else for it.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# Towards zero, so the effective weight is pulled towards W. In full fine-tuning the same
# weight decay pulls W itself towards zero.
#
# </details>
