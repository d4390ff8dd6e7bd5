# %% [markdown]
# # Exercises 05: Training an adapter
#
# Six exercises to the chapter
# [Training an adapter](../chapters/05_training_an_adapter.ipynb). Write your code in
# place of the line that raises `NotImplementedError`, run the cell, then run the check
# under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import torch
from safetensors.torch import load_file, save_file

from lora_course.checks import ch05 as check

# %% [markdown]
# ## 5.1 The loss mask
#
# Make one training row out of a prompt and its completion, both given as lists of
# token numbers. The row ends with the end token, `eos_id`. The loss must cover the
# completion and the end token, and nothing else. Both lists that you return have the
# same length; the two that you were given stay as they are.

# %% exercise="loss_mask"
def encode_row(prompt_ids, completion_ids, eos_id):
    """The tokens and the labels of one row.

    prompt_ids, completion_ids: lists of whole numbers. eos_id: one whole number.
    Returns (ids, labels), two lists of length len(prompt) + len(completion) + 1.
    """
    ### BEGIN SOLUTION
    answer = completion_ids + [eos_id]
    return prompt_ids + answer, [-100] * len(prompt_ids) + answer
    ### END SOLUTION


# %%
check.loss_mask(encode_row)

# %% [markdown]
# ## 5.2 The collate function
#
# Rows have different lengths; a batch is a rectangle. Fill the rows up **on the
# right**, to the length T of the longest. `input_ids` is filled with `pad_id`,
# `attention_mask` is 1 on real tokens and 0 on the filling, and the filling has no part
# in the loss. The rows that you were given stay as they are. Careful: in some
# tokenizers `pad_id` is the end token.

# %% exercise="collate"
def collate(rows, pad_id):
    """A batch of rows of different lengths.

    rows: B pairs (ids, labels), each two lists of equal length.
    pad_id: the number of the padding token.
    Returns {"input_ids", "attention_mask", "labels"}, tensors (B, T) for model(**batch):
    tokens and labels of torch.int64, the mask of whole numbers or bool.
    """
    ### BEGIN SOLUTION
    width = max(len(ids) for ids, _ in rows)  # T
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, labels in rows:
        n = width - len(ids)
        batch["input_ids"].append(ids + [pad_id] * n)
        batch["attention_mask"].append([1] * len(ids) + [0] * n)
        batch["labels"].append(labels + [-100] * n)
    return {name: torch.tensor(lines) for name, lines in batch.items()}
    ### END SOLUTION


# %%
check.collate(collate)

# %% [markdown]
# ## 5.3 The schedule
#
# Like the schedule of the chapter, but it ends at a floor instead of 0. For
# `step < warmup` the rate rises in a straight line: `peak / warmup` in step 0, `peak`
# in step `warmup - 1`. From step `warmup` on it falls from `peak` along half a turn of
# a cosine. It would reach `floor` in step `steps`, one after the last. `warmup` may
# be 0, and it may be `steps`.

# %% exercise="schedule"
def schedule(step, steps, peak, warmup, floor):
    """The learning rate of one step.

    step: from 0 to steps - 1. peak, floor: highest and lowest rate.
    warmup: how many steps rise. Returns a number.
    """
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)  # from 0 up to, not including, 1
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


# %%
check.schedule(schedule)

# %% [markdown]
# ## 5.4 Save and load an adapter
#
# Write two functions. `save_adapter` writes the parameters whose name contains `lora_`
# to a safetensors file, and nothing else. `load_adapter` puts them into another model
# with LoRA layers: by name, and into the parameters that are there. A file that lacks a
# factor, has one too many, or has one of another shape raises a `ValueError` and leaves
# the model **as it was**. `save_file(tensors, path)` and `load_file(path)` work on a
# dict of tensors. Each function is worth half.

# %% exercise="save_load"
def save_adapter(model, path):
    """Write the factors of the adapter, name -> tensor, to a safetensors file."""
    ### BEGIN SOLUTION
    state = model.state_dict()
    save_file({name: state[name] for name in state if "lora_" in name}, path)
    ### END SOLUTION


def load_adapter(model, path):
    """Put the factors of a file into the model's own parameters, and change nothing else.

    Raises ValueError, with the model as it was, when names or shapes do not fit.
    """
    ### BEGIN SOLUTION
    loaded = load_file(path)
    places = {n: p for n, p in model.named_parameters() if "lora_" in n}
    if loaded.keys() != places.keys():
        raise ValueError(f"other names: {sorted(loaded.keys() ^ places.keys())}")
    for name, value in loaded.items():
        if value.shape != places[name].shape:
            raise ValueError(f"{name} is {value.shape}, not {places[name].shape}")
    with torch.no_grad():
        for name, value in loaded.items():
            places[name].copy_(value)
    ### END SOLUTION


# %%
check.save_load(save_adapter, load_adapter)

# %% [markdown]
# ## 5.5 Why does it not learn?
#
# Friends send you the logs of their runs, 40 steps each. Some runs learn, the others
# have one of four faults. Return the number of the diagnosis:
#
# - **0** it learns;
# - **1** every label is -100;
# - **2** the optimizer was built before the injection, so it never changes A or B;
# - **3** A and B both started at zero;
# - **4** the learning rate is far too low, as if copied from full fine-tuning: the
#   weights move, but the mean of the last ten losses is less than 5 % below the mean
#   of the first ten.
#
# Weight decay was off. Some trainers log a loss of 0 where others log nan. Some runs
# kept A frozen on purpose, and some began with A = 0 and with values in B: both can
# learn. Some warm-ups begin with a rate of 0.

# %% exercise="triage"
def diagnose(labels, losses, grad_A, grad_B, A, B):
    """Return 0, 1, 2, 3 or 4.

    labels: one batch of labels (rows, T). All others: tensors (40,), one entry a step:
    the loss, the norms of the gradients of one layer's A and B, the norms of A and B.
    """
    ### BEGIN SOLUTION
    if (labels == -100).all():
        return 1
    if grad_A.max() == 0 and grad_B.max() == 0:
        return 3
    if B[-1] == B[0] and A[-1] == A[0]:
        return 2
    return 4 if losses[-10:].mean() > 0.95 * losses[:10].mean() else 0
    ### END SOLUTION


# %%
check.triage(diagnose)

# %% [markdown]
# ## 5.6 The training loop
#
# Write the loop yourself: one step for each batch, with AdamW on **everything that
# requires a gradient**. The rate rises in a straight line as in 5.3, `lr / warmup` in
# step 0 and `lr` in step `warmup - 1`; then it stays at `lr`. The gradient that a step
# uses is no longer than `clip`, all of it taken as one vector, and it comes from this
# step's batch alone. The model may bring old gradients along. Train in train mode,
# leave the model in eval mode, and leave every `requires_grad` as it is.
#
# Return two lists with one number a step: the loss, and the length of the gradient
# before clipping. If that is always far above `clip`, the clipping decides how the run
# goes.

# %% exercise="training_loop"
def train_adapter(model, batches, lr, warmup, clip, weight_decay):
    """Train what requires a gradient.

    batches: a generator of dicts for model(**batch), whose result has a `.loss`.
    lr: the highest rate. warmup: how many steps rise, 1 or more. clip: the longest
    gradient that a step may use. weight_decay: that of AdamW.
    Returns losses, lengths: one number for each step.
    """
    ### BEGIN SOLUTION
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)
    losses, lengths = [], []
    model.train()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / warmup)
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        lengths.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses, lengths
    ### END SOLUTION


# %%
check.training_loop(train_adapter)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# The long half: 20 of 21 graded tokens are theirs, 95 percent. To weigh answers equally,
# take the mean within each row first, then the mean of the rows.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# That the model never learned to stop. The limit cuts every answer, so it looks finished.
# Raise the limit, and the model talks on.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Three times the adapter: the factors and two running means of the same size. The
# bookkeeping beside them is small.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# 8 MB: r = 8 in bfloat16 (2 bytes a number). 17 MB: the same in float32. 80 MB: r = 16 on
# all linear layers in bfloat16. 160 MB: the same in float32.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# The schedule. A run planned for 70 steps ends at a rate of zero. The one that was
# stopped still had a fifth of its peak rate, and never made the small last steps.
#
# </details>
