# %% [markdown]
# # Exercises 12: Merging and shipping
#
# Five exercises to the chapter
# [Merging and shipping](../chapters/12_merging_and_shipping.ipynb). Write your code in
# place of the line that raises `NotImplementedError`, run the cell, then run the check
# under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import json
from pathlib import Path

import torch  # noqa: F401
from huggingface_hub import ModelCard

from lora_course.checks import ch12 as check

# %% [markdown]
# ## 12.1 Merge without loss
#
# The weight is stored in bfloat16 or float16, the factors in float32. Return the merged
# weight in the type of the weight. It shall be rounded **once**: the sum, and nothing
# before it. The factors stay as they are.


# %% exercise="merge_weight"
def merge_weight(weight, lora_A, lora_B, scaling):
    """The merged weight, in the type of `weight`, rounded once.

    weight: (out, in), bfloat16 or float16. lora_A: (r, in). lora_B: (out, r), both
    float32. scaling: a number, lora_alpha / r. Returns (out, in).
    """
    ### BEGIN SOLUTION
    total = weight.float() + scaling * lora_B @ lora_A  # float32
    return total.to(weight.dtype)
    ### END SOLUTION


# %%
check.merge_weight(merge_weight)

# %% [markdown]
# ## 12.2 Catch what is missing
#
# Look through a folder before it is shipped. Return five answers, True or False, each
# worth a fifth:
#
# 1. Weights: there is `model.safetensors`, or `model.safetensors.index.json` when the
#    weights are in several files.
# 2. Tokenizer: there is `tokenizer.json`.
# 3. Chat template: there is `chat_template.jinja`, or a key `chat_template` in
#    `tokenizer_config.json` (older releases).
# 4. Every token has a row in the embedding, whose number of rows is `vocab_size` in
#    `config.json`; it may have more. `tokenizer.json` has the ids in `["model"]["vocab"]`,
#    a dict token to id, and added ones in `["added_tokens"]`, a list of dicts with `id`.
#    Without `tokenizer.json` the answer is False.
# 5. No adapter beside the weights: there is no `adapter_config.json`.
#
# `config.json` is always there, the other files need not be.


# %% exercise="ready"
def ready(folder):
    """Is this folder ready to be shipped?

    folder: str or Path. Returns five bools: weights, tokenizer, chat template, a row for
    every token, no adapter.
    """
    ### BEGIN SOLUTION
    folder = Path(folder)

    def has(name):
        return (folder / name).exists()

    def read(name):
        return json.loads((folder / name).read_text(encoding="utf-8")) if has(name) else {}

    weights = has("model.safetensors") or has("model.safetensors.index.json")
    template = has("chat_template.jinja") or "chat_template" in read("tokenizer_config.json")
    fits = False
    if has("tokenizer.json"):
        spec = read("tokenizer.json")
        ids = [*spec["model"]["vocab"].values()]
        ids += [token["id"] for token in spec["added_tokens"]]
        fits = max(ids) < read("config.json")["vocab_size"]
    return weights, has("tokenizer.json"), template, fits, not has("adapter_config.json")
    ### END SOLUTION


# %%
check.ready(ready)

# %% [markdown]
# ## 12.3 TIES by hand
#
# Combine updates of one weight. **Trim**: of each update keep the share `density` of the
# entries, those of largest absolute value. **Elect**: for each entry, the sign of the
# sum of the trimmed updates. **Merge**: multiply each update with its weight, and
# average, entry by entry, over those whose sign is the elected one. A trimmed entry
# takes no part in an average. Where nobody takes part the result is 0. What you are
# given stays as it is.


# %% exercise="ties"
def ties(updates, density, weights):
    """One update from several.

    updates: (n, out, in). density: a share of out * in, which gives a whole number.
    weights: (n,), for the merge and not for the election. Returns (out, in).
    """
    ### BEGIN SOLUTION
    flat = updates.abs().flatten(1)  # (n, out * in)
    keep = round(density * flat.shape[1])
    least = flat.topk(keep).values[:, -1]  # (n,), the smallest that stays
    trimmed = updates * (updates.abs() >= least.view(-1, 1, 1))  # (n, out, in)
    sign = trimmed.sum(0).sign()  # (out, in)
    agrees = (trimmed.sign() == sign) & (trimmed != 0)  # (n, out, in)
    total = (trimmed * weights.view(-1, 1, 1) * agrees).sum(0)
    return total / agrees.sum(0).clamp(min=1)
    ### END SOLUTION


# %%
check.ties(ties)

# %% [markdown]
# ## 12.4 One batch, several adapters
#
# A server has one weight and many adapters. Each row of the batch names its adapter by a
# number; −1 is the base alone. Return the output of all rows, in their order. What you
# are given stays as it is.


# %% exercise="mixed_forward"
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    """The output of a linear layer when each row has an adapter of its own.

    x: (rows, T, in). W: (out, in). lora_A: (n, r, in). lora_B: (n, out, r).
    scaling: (n,). which: (rows,), from 0 to n - 1, or -1 for none.
    Returns (rows, T, out).
    """
    ### BEGIN SOLUTION
    out = x @ W.T  # (rows, T, out), one product for all
    A, B = lora_A[which], lora_B[which]  # (rows, r, in), (rows, out, r)
    strength = scaling[which] * (which >= 0)  # (rows,), 0 for the base
    return out + strength.view(-1, 1, 1) * (x @ A.mT @ B.mT)
    ### END SOLUTION


# %%
check.mixed_forward(mixed_forward)

# %% [markdown]
# ## 12.5 The card's checks
#
# You get the text of a `README.md`. `ModelCard(text).data` is its metadata,
# `ModelCard(text).text` the rest. Return five answers, True or False, each worth a fifth:
#
# 1. `base_model` is named.
# 2. A `license` is named; `other` counts only together with a `license_name`.
# 3. One of `eval_results` is of the `dataset_split` `test`. (Without results the field is
#    None.)
# 4. The section under the line `## Limits` has text. It ends at the next line that begins
#    with `## `, or with the card, and it may be the first thing in the card.
# 5. No `[More Information Needed]` is left from the template, in the metadata or the rest.


# %% exercise="card_checks"
def card_checks(text):
    """What this card has.

    text: str, the whole of README.md. Returns five bools: base, licence, test result,
    limits, nothing left open.
    """
    ### BEGIN SOLUTION
    card = ModelCard(text)
    about = card.data
    licensed = about.license and (about.license != "other" or about.license_name)
    tested = any(r.dataset_split == "test" for r in about.eval_results or [])
    limits = f"\n{card.text}".partition("\n## Limits\n")[2].partition("\n## ")[0]
    open_ = "[More Information Needed]" in text
    return bool(about.base_model), bool(licensed), tested, bool(limits.strip()), not open_
    ### END SOLUTION


# %%
check.card_checks(card_checks)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# 10²³ / 3 divided by 4 · 8·10⁹ is about 10¹² tokens.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# Merged: 10 · 16 = 160 GB. Apart: 16 + 10 · 0.08 = 16.8 GB.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# TIES already takes the mean of the entries that agree. A weight of 1/3 divides a second
# time.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# Merge into the 16-bit or dequantized weights that the adapter was trained on, quantize
# the result, and evaluate the quantized file, since that is what runs.
#
# </details>
