# %% [markdown]
# # Exercises 04: Injecting it into a model
#
# Five exercises to the chapter
# [Injecting it into a model](../chapters/04_injecting_it_into_a_model.ipynb). Write
# your code in place of the line that raises `NotImplementedError`, run the cell, then
# run the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.checks import ch04 as check
from lora_course.lora import LoRALinear

# %% [markdown]
# ## Exercise
#
# Wrap every `nn.Linear` whose name is an entry of the list, or ends in a dot and that
# entry. Work in place, freeze everything but `lora_A` and `lora_B`, and return the
# model. Its mode stays as it is. A layer that two entries hit gets one wrapper. If an
# entry hits no linear layer, raise a `ValueError` that names it, and leave the model as
# it was.
# `LoRALinear(layer, r, lora_alpha)` is the layer of chapter 03.

# %% exercise="inject_lora"
def inject_lora(model, target_modules, r, lora_alpha):
    """Wrap the layers that the list hits; only their factors train.

    model: nn.Module with nn.Linear layers at any depth.
    target_modules: list of endings of names, such as ["q_proj", "mlp.up_proj"].
    Returns the same model. Raises ValueError for an entry that hits nothing.
    """
    ### BEGIN SOLUTION
    names = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)]
    hits = []
    for entry in target_modules:
        found = [n for n in names if f".{n}".endswith(f".{entry}")]
        if not found:
            raise ValueError(f"{entry!r} hits no linear layer.")
        hits += found
    for name in dict.fromkeys(hits):
        layer = LoRALinear(model.get_submodule(name), r, lora_alpha)
        model.set_submodule(name, layer)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(("lora_A", "lora_B"))
    return model
    ### END SOLUTION


# %%
check.inject_lora(inject_lora)

# %% [markdown]
# ## Exercise
#
# A model with LoRA comes back from somebody who switched `requires_grad` here and
# there. Put it right: the parameters called `lora_A` and `lora_B` train, every other
# one does not. Change nothing else. Mind the names: this model also has a layer called
# `flora_gate`.

# %% exercise="mark_only_lora_as_trainable"
def mark_only_lora_as_trainable(model):
    """Set requires_grad of every parameter: True for lora_A and lora_B, else False.

    model: nn.Module in which some layers are LoRALinear. It is changed in place.
    """
    ### BEGIN SOLUTION
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")
    ### END SOLUTION


# %%
check.mark_only_lora_as_trainable(mark_only_lora_as_trainable)

# %% [markdown]
# ## Exercise
#
# Say what an injection would cost, from the shapes alone: the model stays as it is.
# Return two whole numbers: how many would train, and how many the model would have
# with them. Every tensor and every layer counts once, also when it stands in two
# places. Layers are `nn.Linear` or `Conv1D`.

# %% exercise="lora_report"
def lora_report(model, names, r):
    """(trainable, total) for LoRA of rank r on the named layers.

    names: full names of layers; two names may lead to the same layer.
    trainable: the numbers in all A (r, in) and B (out, r).
    total: the parameters of the model as it is, plus trainable. Buffers do not count.
    """
    ### BEGIN SOLUTION
    layers = {model.get_submodule(name) for name in names}
    trainable = sum(r * sum(layer.weight.shape) for layer in layers)
    return trainable, trainable + sum(p.numel() for p in model.parameters())
    ### END SOLUTION


# %%
check.lora_report(lora_report)

# %% [markdown]
# ## Exercise
#
# A model got a new output head, with random weights: it must train as a whole, next
# to the LoRA factors. You are given a function `inject`: `inject(model)` puts LoRA
# into the model, in place, and freezes everything else. Return a `torch.optim.AdamW`
# with learning rate `lr`. Its list holds exactly what trains, each tensor once. The
# model's weights and its mode stay as they are.

# %% exercise="prepare"
def prepare(model, inject, head, lr):
    """Make model ready for training: LoRA and the new head train, the rest does not.

    inject: function of model, as above. head: full name of the new module.
    Returns a torch.optim.AdamW.
    """
    ### BEGIN SOLUTION
    inject(model)
    model.get_submodule(head).requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=lr)
    ### END SOLUTION


# %%
check.prepare(prepare)

# %% [markdown]
# ## Exercise
#
# Somebody injected with a regular expression, and nothing raised. Return the full
# names of the linear layers (`nn.Linear` and `Conv1D`) that have no LoRA. Leave out
# the output head, which was not meant to have one. In this model a wrapped layer is a
# `LoRALinear`, with the original in `base_layer`.

# %% exercise="missed_layers"
def missed_layers(model, head):
    """Names of the linear layers that the injection left out.

    model: nn.Module with LoRA in some layers. head: full name of the output head.
    Returns a list of full names, each once, in any order.
    """
    ### BEGIN SOLUTION
    missed = []
    for name, part in model.named_modules():
        is_base = name.endswith(".base_layer")
        if isinstance(part, (nn.Linear, Conv1D)) and not is_base and name != head:
            missed.append(name)
    return missed
    ### END SOLUTION


# %%
check.missed_layers(missed_layers)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# 8 · (4096 + 4096) = 65,536 and 8 · (4096 + 11008) = 120,832.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# An ending means whole parts of the name, and the last part is `q_proj`, not `proj`. The
# regular expression `.*_proj` says what was meant.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Both adapters would train: every name that contains `.lora_` is set to train, also those
# of the inner layer. The first adapter would still act, because the outer layer calls the
# inner one as its base. The saved names would be longer by `base_layer.`.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# Their dropout is active while the rest is in eval mode. As long as B is zero nothing
# shows. Later, two forward passes over the same input give two outputs.
#
# </details>
