# %% [markdown]
# # 01 · What full fine-tuning costs: exercises
#
# Five exercises for [chapter 01](../chapters/01_what_full_fine_tuning_costs.ipynb).
# Write each function, run its cell, then run the check under it. A wrong answer costs
# nothing.
# Run the next cell first.
#
# GB means 10⁹ bytes, MB 10⁶ bytes, GiB 2³⁰ bytes. Return numbers as they are, without
# rounding.

# %% tags=["setup"]
from lora_course.checks import ch01 as check

# %% [markdown]
# ## Exercise
# Training with AdamW keeps weights, gradients, sometimes a master copy of the weights,
# and two states for each parameter. Each of them has its own number type. `master_bits`
# is 0 where there is no master copy; `state_bits` is the size of *one* number of *one*
# state.
#
# Return the sum in GB.


# %% exercise="full_gb"
def full_gb(parameters, weight_bits, gradient_bits, master_bits, state_bits):
    """GB between two steps of full fine-tuning with AdamW.

    parameters: how many; the others: bits of one number, such as 16 or 32.
    """
    ### BEGIN SOLUTION
    bits = weight_bits + gradient_bits + master_bits + 2 * state_bits
    return parameters * bits / 8 / 1e9
    ### END SOLUTION


# %%
check.full_gb(full_gb)

# %% [markdown]
# ## Exercise
# A laboratory used this calculator. It said that the run would fit, and the run died:
#
# ```python
# def peak_gb(states_gb, batch, tokens, hidden, blocks, vocabulary, checkpointing):
#     return states_gb
# ```
#
# It forgets what a step saves. Add it, by these rules for 16-bit training:
# - each block saves 34 bytes for every text, token and hidden unit; with checkpointing
#   it saves 2, and one block at a time is run again and then needs its 34;
# - the logits take 4 bytes for every text, token and word of the vocabulary, and their
#   gradient as much again.


# %% exercise="peak_gb"
def peak_gb(states_gb, batch, tokens, hidden, blocks, vocabulary, checkpointing):
    """GB at the peak of a step: states_gb, activations and logits.

    states_gb: weights, gradients and optimizer states in GB; batch: texts in a step;
    tokens: in each text; hidden: size of the hidden state; blocks: how many;
    vocabulary: words; checkpointing: True or False.
    """
    ### BEGIN SOLUTION
    one = batch * tokens * hidden
    activations = 34 * one * blocks
    if checkpointing:
        activations = 2 * one * blocks + 34 * one
    logits = 2 * 4 * batch * tokens * vocabulary
    return states_gb + (activations + logits) / 1e9
    ### END SOLUTION


# %%
check.peak_gb(peak_gb)

# %% [markdown]
# ## Exercise
# An adapter of rank r stands beside several matrices of each block. The file holds the
# numbers of its thin matrices and nothing else worth counting (the header has about a
# kilobyte).
#
# `shapes` lists the adapted matrices of *one* block as pairs (d_out, d_in). All blocks
# are alike. Return the size in MB.


# %% exercise="adapter_file_mb"
def adapter_file_mb(shapes, blocks, r, bits):
    """MB of the file of an adapter.

    shapes: list of (d_out, d_in); blocks: how many; r: rank; bits: of one number.
    """
    ### BEGIN SOLUTION
    numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)
    return numbers * bits / 8 / 1e6
    ### END SOLUTION


# %%
check.adapter_file_mb(adapter_file_mb)

# %% [markdown]
# ## Exercise
# You train one model for each of many tasks, and want to be able to run every one of
# them tomorrow. How much disk does that take, once with full fine-tuning and once with
# LoRA on one common base?
#
# Every number on disk takes `bits` bits. Return two numbers, in GB: full, LoRA.


# %% exercise="storage_gb"
def storage_gb(tasks, parameters, adapter, bits):
    """(GB with full fine-tuning, GB with LoRA) on disk, for all tasks together.

    parameters: numbers in the model; adapter: numbers in one adapter.
    """
    ### BEGIN SOLUTION
    gb = bits / 8 / 1e9
    return tasks * parameters * gb, (parameters + tasks * adapter) * gb
    ### END SOLUTION


# %%
check.storage_gb(storage_gb)

# %% [markdown]
# With your functions, 100 tasks of GPT-3 come out near the numbers of the LoRA paper
# (Hu et al. 2021, footnote 4): 35 TB of full copies, against 354 GB.

# %% [markdown]
# ## Exercise
# A card is named in GiB; `reserve_gb` is kept free for activations and the driver. Say
# for one model which methods fit into what is left:
# - full: mixed precision with AdamW, 16 bytes a parameter;
# - LoRA: bf16 weights, a float32 adapter with gradients and AdamW states;
# - QLoRA: the `linear` weights in NF4 at 4.127 bits each, all others in bf16, and the
#   same adapter.


# %% exercise="what_fits"
def what_fits(parameters, linear, adapter, card_gib, reserve_gb):
    """Three truth values: does it fit with full fine-tuning, with LoRA, with QLoRA?

    parameters: all weights of the model; linear: those that QLoRA quantizes;
    adapter: numbers in the adapter; card_gib: GiB; reserve_gb: GB kept free.
    """
    ### BEGIN SOLUTION
    free = card_gib * 2**30 - reserve_gb * 1e9
    full = 16 * parameters
    lora = 2 * parameters + 16 * adapter
    qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter
    return full <= free, lora <= free, qlora <= free
    ### END SOLUTION


# %%
check.what_fits(what_fits)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# 8 bytes. The weight (4) and its gradient (4) stay; the 8 bytes of m and v are gone.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# An adapted layer keeps its input, because the gradient of A needs it. Query and value
# share one input. With LoRA on all layers, the inputs of the output, gate, up and down
# projections are kept as well, and the input of down is the widest of all.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# The embedding, the output head and the norms. Their size is vocabulary × width, and it
# does not grow with the number of blocks. In Qwen2.5-0.5B they are 0.27 of 0.46 GB, in
# Llama-2-70B 1.05 of 36.4 GB.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# 6 · 13·10⁹ · 20·10⁶ = 1.56·10¹⁸ operations. At 10¹⁵ a second that is 1,560 seconds, 26
# minutes.
#
# </details>
