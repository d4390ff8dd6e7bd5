# %% [markdown]
# # 17 Fast and wide
#
# LoRA leaves out a third of the work. Why is its step often no faster than full
# fine-tuning, and what makes it fast, on one card and on many? About 75 minutes (two of
# them computing), after [chapter 16](16_pictures.ipynb).
#
# You will be able to
# - find what a training step spends its time and its bytes on;
# - write forward and backward of a layer by hand, and prove them right;
# - spread a run over processes and cards, and plan its hours and bytes.

# %%
import copy
import json
import time
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lora_course.bits.fourbit import load_four_bit
from lora_course.bridges.shipping import fastest
from lora_course.costs.memory import saved_bytes
from lora_course.costs.shapes import meta_model
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show

# %%
quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
warnings.filterwarnings("ignore", ".*fan_in_fan_out.*")  # PEFT, when it meets a Conv1D
from peft import LoraConfig, get_peft_model

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
base, tokenizer = load_base().to(DEVICE), load_tokenizer()
rows = load_task()["train"]
batch = next(batches(rows, tokenizer, 8, steps=1, seed=0))
batch = {key: value.to(DEVICE) for key, value in batch.items()}
print("one batch: (B, T) =", tuple(batch["input_ids"].shape))

# %% [markdown]
# ## 1 Two thirds of the work
#
# A product with W takes part three times in a step: forward, for the gradient of its
# input, for the gradient of W. LoRA leaves out the third.
#
# > **Myth check.** *LoRA makes fine-tuning significantly faster.* **Predict:** LoRA's
# > share of the FLOPs of full fine-tuning, and its share of the seconds.

# %%
r = 8


def with_peft(model, p=0.0):
    """PEFT's LoRA, in float32 whatever the type of the base: its default."""
    config = LoraConfig(r=r, lora_alpha=2 * r, lora_dropout=p, target_modules="all-linear")
    return get_peft_model(model, config).train()


def with_ours(model, p=0.0):
    return inject_lora(model.train(), "all-linear", r, 2 * r, p)


models = {
    "full": copy.deepcopy(base).train(),
    "PEFT": with_peft(copy.deepcopy(base)),
    "ours": with_ours(copy.deepcopy(base)),
}
flops = {}
for name, model in models.items():
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    flops[name] = counter.get_total_flops()
for name in models:
    print(f"{name:5} {flops[name] / flops['full']:.2f} of the FLOPs of full fine-tuning")

# %% tags=["nbval-ignore-output"]
def stepper(model):
    """A training step to call. It ends when the device has done all of it."""
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)

    @torch.enable_grad()
    def step(input_ids=None):
        adam.zero_grad()
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        adam.step()
        return loss.item()

    step()  # makes the optimizer's states
    return step


steps = {name: stepper(model) for name, model in models.items()}
seconds = fastest(steps, None, turns=8)
for name, s in seconds.items():
    print(f"{name:5} {s / seconds['full']:.2f} of the seconds")
assert not is_shipped() or seconds["PEFT"] / seconds["full"] > 0.1 + flops["PEFT"] / flops["full"]

# %% [markdown]
# > **Verdict: it depends on who wrote the step.** Hu et al. 2021 (section 4.2) report a
# > third more tokens per second on GPT-3. Biderman et al. 2024 (appendix I) measure PEFT's
# > LoRA 15 % *slower* on eight H100. Fewer FLOPs are a promise; something else takes time.
#
# ## 2 What else a step does
#
# A product reads and writes memory, and so does every sum, scaling and change of type, with
# hardly a FLOP. Let us list what one layer asks for. **Predict:** how many operations has
# PEFT's layer where a plain one has one?

# %%
from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = {"t", "view", "_unsafe_view", "transpose", "detach", "expand", "alias", "reshape"}


class Operations(TorchDispatchMode):
    """Lists the operations that run inside the block, but those that only rename memory."""

    def __enter__(self):
        self.names = []
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def operations(layer, x):
    """What a layer asks for, forward and backward."""
    with Operations() as forward:
        y = layer(x)
    with Operations() as backward:
        y.backward(torch.ones_like(y))
    return forward.names, backward.names


# %%
class Stack(nn.Module):
    """A model of one linear layer, as a place to put LoRA into."""

    def __init__(self, d_in=256, d_out=512, dtype=torch.bfloat16):
        super().__init__()
        self.proj = nn.Linear(d_in, d_out, bias=False, dtype=dtype)

    def forward(self, x):
        return self.proj(x)


def peft_layer(p=0.0):
    rule = LoraConfig(r=r, lora_dropout=p, target_modules=["proj"])
    return get_peft_model(Stack(), rule).base_model.model


layers = {
    "frozen": Stack().requires_grad_(False),
    "PEFT": peft_layer(),
    "ours": inject_lora(Stack(), ["proj"], r=r),
}
x = torch.randn(64, 256, dtype=torch.bfloat16, requires_grad=True)  # (N, in)
listed = {name: operations(layer, x) for name, layer in layers.items()}
for name, (forward, backward) in listed.items():
    print(f"{name}: {len(forward)} and {len(backward)}\n  {' '.join(forward)}")
