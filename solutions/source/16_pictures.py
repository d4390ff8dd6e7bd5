# %% [markdown]
# # Exercises 16: Pictures
#
# Four exercises to the chapter [Pictures](../chapters/16_pictures.ipynb). Write your code
# in place of the line that raises `NotImplementedError`, run the cell, then run the check
# under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import torch
from torch import nn

from lora_course.checks import ch16 as check

# %% [markdown]
# ## Exercise
#
# LoRA beside one convolution without groups. `lora_conv` computes the output; the
# convolution brings its own stride, padding (numbers) and dilation, with a bias or without.
# `conv_delta` returns what a merge adds to its weight. Both leave what they are given as it
# is, and through the output A, B and x get gradients. Each is worth half.

# %% exercise="lora_conv"
def lora_conv(conv, A, B, scaling, x):
    """The convolution's output plus scaling times B(A(x)).

    conv: nn.Conv2d, in -> out, kernel (kh, kw). A: (r, in, kh, kw). B: (out, r).
    x: (batch, in, H, W). Returns (batch, out, h, w).
    """
    ### BEGIN SOLUTION
    down = nn.functional.conv2d(x, A, None, conv.stride, conv.padding, conv.dilation)
    return conv(x) + scaling * nn.functional.conv2d(down, B[:, :, None, None])
    ### END SOLUTION


def conv_delta(A, B, scaling):
    """What a merge adds to the weight: (out, in, kh, kw)."""
    ### BEGIN SOLUTION
    return scaling * (B @ A.flatten(1)).view(len(B), *A.shape[1:])
    ### END SOLUTION


# %%
check.lora_conv(lora_conv, conv_delta)

# %% [markdown]
# ## Exercise
#
# Only the last blocks of a vision transformer shall get LoRA. Names come from any
# library: `vit.encoder.layer.3.attention.query`, `blocks.11.mlp.fc1`. The number of a block
# is the **first** part of a name that is a whole number; names without one (patch
# projection, head) belong to no block. Return the names of the `"Linear"` layers in the
# last `last` blocks, in the order given. Raise a `ValueError` when none is left.

# %% exercise="last_blocks"
def last_blocks(layers, last):
    """Names of the linear layers in the last blocks.

    layers: {name: kind}, kind such as "Linear", "Conv2d" or "LayerNorm". Blocks may come in
    any order. last: how many blocks, from the highest number down. Returns a list.
    """
    ### BEGIN SOLUTION
    block = {n: next((int(p) for p in n.split(".") if p.isdigit()), None) for n in layers}
    numbers = sorted({b for b in block.values() if b is not None})
    chosen = set(numbers[len(numbers) - last :] if last < len(numbers) else numbers)
    names = [n for n, kind in layers.items() if kind == "Linear" and block[n] in chosen]
    if not names:
        raise ValueError(f"No linear layer in the last {last} blocks.")
    return names
    ### END SOLUTION


# %%
check.last_blocks(last_blocks)

# %% [markdown]
# ## Exercise
#
# Labels for patches, from labels for pixels, for any classes and any size. `order` names
# the classes from the most urgent down; 0 may be one of them. A patch gets the first class
# in `order` of which it has at least `least` pixels, and 0 where there is none. Classes
# that `order` leaves out never win. The picture need not be square; H and W are multiples of
# `size`. The result is int64, and `masks` stays as it is.

# %% exercise="urgent"
def urgent(masks, size, least, order):
    """A class for every patch.

    masks: (B, H, W), int64, the class of each pixel. size: of a patch, both ways.
    Returns (B, H / size, W / size), int64.
    """
    ### BEGIN SOLUTION
    cut = masks.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, rows, size, columns, size)
    labels = torch.zeros_like(cut[:, :, 0, :, 0])
    for kind in reversed(order):
        labels[(cut == kind).sum((2, 4)) >= least] = kind
    return labels
    ### END SOLUTION


# %%
check.urgent(urgent)

# %% [markdown]
# ## Exercise
#
# LLaVA's rows hold **one** placeholder for a picture, the id −200, at another place in
# every row. Replace it by the picture's n vectors, and every other id by its row of the
# table. Labels grow with it, in int64: at the picture nothing is asked (−100). Gradients
# reach `seen`, and what is given stays as it is.

# %% exercise="expand"
def expand(ids, labels, table, seen):
    """Vectors and labels of a batch whose rows hold one placeholder each.

    ids, labels: (B, T), int64; -200 stands once in every row of ids. table: (V, d).
    seen: (B, n, d). Returns vectors (B, T - 1 + n, d) and labels (B, T - 1 + n).
    """
    ### BEGIN SOLUTION
    vectors, asked = [], []
    for row, label, picture in zip(ids, labels, seen, strict=True):
        at = int((row == -200).nonzero())
        vectors.append(torch.cat([table[row[:at]], picture, table[row[at + 1 :]]]))
        nothing = label.new_full((len(picture),), -100)
        asked.append(torch.cat([label[:at], nothing, label[at + 1 :]]))
    return torch.stack(vectors), torch.stack(asked)
    ### END SOLUTION


# %%
check.expand(expand)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# A has 4 · 64 · 9 = 2304 numbers, B 64 · 4 = 256: together 2560 of 36,864. A 1 × 1 has
# 4 · 64 + 64 · 4 = 512 of 4096, as a linear layer.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# A reads all channels, so B A has a number for every input channel. The grouped weight has
# room only for the channels of an output's own group.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# 14 · 14 = 196, and 7 · 7 = 49 after pooling.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# It says «good» everywhere: the IoU of that class is 99 %, of the two others 0.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# The same questions with the picture of another row, and the share of «yes» among the
# answers. If the score stays, it does not look.
#
# </details>
