# %% [markdown]
# # Exercises 11: QLoRA on a single GPU
#
# Five exercises to the chapter
# [QLoRA on a single GPU](../chapters/11_qlora_on_a_single_gpu.ipynb). Write your code in
# place of the line that raises `NotImplementedError`, run the cell, then run the check
# under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
from lora_course.kit.models import quiet

quiet()  # before bitsandbytes is loaded

import bitsandbytes as bnb
import torch
from torch.utils.checkpoint import checkpoint
from transformers import BitsAndBytesConfig

from lora_course.checks import ch11 as check

# %% [markdown]
# ## Exercise
#
# Predict the bytes of a QLoRA step, by part. The matrices in `shapes` are stored as NF4
# in blocks of 64 with double quantization: one byte for each scale, and a float32 for
# every 256 scales. (Leave out the small tables.) Each of them has an adapter of rank
# `r` in float32, trained by AdamW. `rest` more numbers stay in bfloat16; after PEFT's
# preparation (`prepared`) they are in float32. The logits and their gradient are in
# float32. Every matrix fills whole blocks and whole groups of 256 scales; the numbers
# must be right to the byte.

# %% exercise="step_bytes"
def step_bytes(shapes, rest, r, tokens, vocabulary, prepared):
    """Bytes of a training step: (weights, gradients, optimizer, logits).

    shapes: list of (out, in). rest, r, tokens, vocabulary: whole numbers.
    prepared: whether prepare_model_for_kbit_training has run.
    """
    ### BEGIN SOLUTION
    n = sum(out * into for out, into in shapes)  # weights in 4 bits
    p = sum(r * (out + into) for out, into in shapes)  # numbers in the adapter
    packed = n / 2 + n / 64 + 4 * n / 64 / 256
    weights = packed + rest * (4 if prepared else 2) + 4 * p
    return weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary
    ### END SOLUTION


# %%
check.step_bytes(step_bytes)

# %% [markdown]
# ## Exercise
#
# Return the `BitsAndBytesConfig` of QLoRA: 4 bits, the NF4 code book, double
# quantization, and products in bfloat16. A GPU that has no bfloat16 computes in
# float16. Leave all else at its default.

# %% exercise="qlora_config"
def qlora_config(bf16):
    """The settings of QLoRA. bf16: whether the GPU has bfloat16."""
    ### BEGIN SOLUTION
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float16,
    )
    ### END SOLUTION


# %%
check.qlora_config(qlora_config)

# %% [markdown]
# ## Exercise
#
# Return the list for `llm_int8_skip_modules`: the output head stays out of 4 bits, and
# so do all layers whose names end with an entry of `more`. Everything else goes into 4
# bits. The model may be of any make. An entry of the list matches the end of a name.

# %% exercise="skip_list"
def skip_list(model, more):
    """Names of the layers that stay out of 4 bits.

    model: a causal language model, not quantized yet. more: list of ends of names,
    such as ["down_proj"], left as it is. Returns a list of names.
    """
    ### BEGIN SOLUTION
    head = model.get_output_embeddings()
    return [name for name, m in model.named_modules() if m is head] + more
    ### END SOLUTION


# %%
check.skip_list(skip_list)

# %% [markdown]
# ## Exercise
#
# Forbid every 4-bit layer of a model to repack its weight: its
# `support_avx512bf16_for_cpu` becomes False. The layers may lie anywhere, also inside
# LoRA layers, or be the model itself. Change nothing else.

# %% exercise="protect"
def protect(model):
    """Forbid every Linear4bit (bnb.nn.Linear4bit) of the model to repack."""
    ### BEGIN SOLUTION
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    ### END SOLUTION


# %%
check.protect(protect)

# %% [markdown]
# ## Exercise
#
# A model runs its blocks so:
#
# ```
# for block in blocks:
#     x = checkpoint(block, x, use_reentrant=True)
# ```
#
# `x` comes from a frozen embedding. Each block has a frozen weight and two LoRA
# factors. The loss falls, for the norm behind the blocks is trained as well, but no
# factor ever gets a gradient. Write it so that **all** of them do. Each block stays
# checkpointed by itself, and the frozen weights frozen.

# %% exercise="run_blocks"
def run_blocks(blocks, x):
    """Run x through the blocks, keeping the inputs of blocks only.

    blocks: list of modules, each (B, T, d) -> (B, T, d). x: (B, T, d), requires no
    gradient. Returns (B, T, d).
    """
    ### BEGIN SOLUTION
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False)
    return x
    ### END SOLUTION


# %%
check.run_blocks(run_blocks)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# 2 · 256,000 · 2,048 · 2 bytes = 2.1 GB.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# The activations and the logits. Weights, adapter, gradients and optimizer states stay as
# they are.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# The multiplications are the same, in bfloat16. Before each of them the weights are
# computed back from their 4 bits, in the forward pass and again in the backward pass.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# The compute dtype: bfloat16, which reaches as far as float32. float16 ends at 65,504. On
# a card without bfloat16, compute in float32.
#
# </details>
