# %% [markdown]
# # Exercises 08: The same thing in PEFT
#
# Five exercises to the chapter
# [The same thing in PEFT](../chapters/08_the_same_thing_in_peft.ipynb). Write your code
# in place of the line that raises `NotImplementedError`, run the cell, then run the
# check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import torch

from lora_course.checks import ch08 as check
from lora_course.kit.models import quiet

quiet()
from peft import get_peft_model_state_dict

# %% [markdown]
# ## Exercise
#
# Our file calls a factor `model.layers.0.mlp.up_proj.lora_A`; PEFT's calls it
# `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`. `to_peft` gets our tensors
# and alpha and returns what a `LoraConfig` needs (a dict with `r`, `lora_alpha` and
# `target_modules`, a rule that hits these layers and no others; blocks may differ) and
# the renamed tensors. `from_peft` goes back: our names, and the scale by which the
# update is multiplied. The dicts that come in stay as they are. Each of the two functions
# is worth half.

# %% exercise="convert"
def to_peft(state, lora_alpha):
    """Settings and tensors of PEFT for an adapter of ours.

    state: {"model.layers.0.mlp.up_proj.lora_A": A (r, in), "...lora_B": B (out, r), ...}, in
    any order.
    Returns ({"r": ..., "lora_alpha": ..., "target_modules": [...]}, {key: tensor}).
    """
    ### BEGIN SOLUTION
    tensors = {f"base_model.model.{name}.weight": t for name, t in state.items()}
    r = next(t.shape[0] for name, t in state.items() if name.endswith("lora_A"))
    layers = sorted({name.rsplit(".", 1)[0] for name in state})
    return {"r": r, "lora_alpha": lora_alpha, "target_modules": layers}, tensors
    ### END SOLUTION


def from_peft(settings, tensors):
    """(state, scaling): an adapter of ours for settings and tensors of PEFT.

    settings: {"r": ..., "lora_alpha": ...}. tensors: {key of PEFT: tensor}.
    """
    ### BEGIN SOLUTION
    state = {
        key.removeprefix("base_model.model.").removesuffix(".weight"): t
        for key, t in tensors.items()
    }
    return state, settings["lora_alpha"] / settings["r"]
    ### END SOLUTION


# %%
check.convert(to_peft, from_peft)

# %% [markdown]
# ## Exercise
#
# `model` is a `PeftModel` with several adapters. Return its output for `x` without any
# adapter, with the adapter `first`, and with the adapter `second`. Leave the model as
# you found it: the same active adapter, the same numbers, and every parameter trainable
# or frozen as before.

# %% exercise="three_outputs"
def three_outputs(model, x, first, second):
    """(base, first, second): outputs of model(x) without and with an adapter.

    model: a PeftModel in eval mode. x: (B, in). first, second: names of adapters.
    """
    ### BEGIN SOLUTION
    active = model.active_adapter
    trains = {name: p.requires_grad for name, p in model.named_parameters()}
    with torch.no_grad():
        with model.disable_adapter():
            outputs = [model(x)]
        for name in (first, second):
            model.set_adapter(name)
            outputs.append(model(x))
    model.set_adapter(active)
    for name, p in model.named_parameters():
        p.requires_grad = trains[name]
    return tuple(outputs)
    ### END SOLUTION


# %%
check.three_outputs(three_outputs)

# %% [markdown]
# ## Exercise
#
# One linear layer, many adapters, and a batch in which every row names its own. Return
# W x for every row, plus the scaled update of its adapter. The name `"__base__"` means
# no adapter. The ranks differ, and not every adapter is asked for. What you are given
# stays as it is.

# %% exercise="mixed_batch"
def mixed_batch(x, W, adapters, names):
    """The output of one layer for a batch of several customers.

    x: (rows, T, in). W: (out, in). names: a list of `rows` names.
    adapters: {name: (A (r, in), B (out, r), scaling)}. Returns (rows, T, out).
    """
    ### BEGIN SOLUTION
    out = x @ W.T  # (rows, T, out), once for all rows
    for name, (A, B, scaling) in adapters.items():
        rows = [i for i, n in enumerate(names) if n == name]
        out[rows] += scaling * (x[rows] @ A.T @ B.T)
    return out
    ### END SOLUTION


# %%
check.mixed_batch(mixed_batch)

# %% [markdown]
# ## Exercise
#
# The linear layers of block 3 in a GPT-2 are `transformer.h.3.attn.c_attn`,
# `transformer.h.3.attn.c_proj`, `transformer.h.3.mlp.c_fc` and
# `transformer.h.3.mlp.c_proj`. Return three rules for `target_modules`, each a list or
# a string: both layers of the **attention** in every block; only the **second layer of
# the MLP** in every block; all four layers of the **last two blocks**. `blocks` says
# how many there are; they count from 0. Each rule is worth a third.

# %% exercise="gpt2_rules"
def gpt2_rules(blocks):
    """Three values for target_modules: (attention, second layer of the MLP, last two).

    blocks: how many blocks the model has, 11 or more.
    """
    ### BEGIN SOLUTION
    attention = ["attn.c_attn", "attn.c_proj"]
    second = ["mlp.c_proj"]
    last_two = rf".*\.h\.({blocks - 2}|{blocks - 1})\.(attn|mlp)\.c_\w+"
    return attention, second, last_two
    ### END SOLUTION


# %%
check.gpt2_rules(gpt2_rules)

# %% [markdown]
# ## Exercise
#
# An adapter was loaded into a model, and PEFT said nothing. Count three things. How
# many entries of `target_modules` hit no layer with LoRA? (An entry hits a name that
# ends in a dot and the entry.) How many tensors of the file are not in the model with
# their values? How many layers with LoRA have an update of zero?
# `get_peft_model_state_dict(model)` gives the adapter as a file would hold it. Each count
# is worth a third. Change nothing that you are given.

# %% exercise="audit"
def audit(model, target_modules, tensors):
    """(missed, lost, idle): three counts.

    model: a PeftModel with the adapter "default".
    target_modules: the list of endings that was asked for.
    tensors: {key: tensor}, what is in adapter_model.safetensors.
    """
    ### BEGIN SOLUTION
    layers = {n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    hit = [any(f".{n}".endswith(f".{t}") for n in layers) for t in target_modules]
    own = get_peft_model_state_dict(model)
    held = [k in own and torch.equal(own[k], t) for k, t in tensors.items()]
    alive = [bool(m.get_delta_weight("default").any()) for m in layers.values()]
    return hit.count(False), held.count(False), alive.count(False)
    ### END SOLUTION


# %%
check.audit(audit)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# The file holds the whole model, or the embedding and the head: through
# `modules_to_save`, or because the vocabulary was resized.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# A merged weight is one matrix for all rows. Each row of the batch would need another
# one.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# A `.bin` file is a pickle, and loading a pickle can run code. A safetensors file holds
# numbers and names only.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# `cat`, which gives rank 68, and `svd`, with any rank. `linear` adds A to A and B to B
# entry by entry, and matrices of 4 and 64 rows cannot be added.
#
# </details>
