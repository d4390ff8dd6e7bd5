# %% [markdown]
# # Appendix: claims that no chapter shows
#
# [The 99 claims](../docs/claims.md) lead to the cells that show what holds. Most of these
# cells stand in a chapter. Here are those about bytes, counts and behaviour that no
# chapter treats. Each section begins with its claims and their verdicts. About 20
# minutes, in any order.

# %%
import inspect
import logging
import math
import re
import tempfile
import warnings
from collections import Counter
from datetime import datetime

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from lora_course.costs.memory import nf4_bytes
from lora_course.costs.shapes import meta_model
from lora_course.kit.models import BASE, quiet
quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
import bitsandbytes
from peft import LoraConfig, LoraModel, get_peft_model

# %% [markdown]
# ## 1 GPT-3 with and without LoRA
#
# **A07.** *LoRA saves up to 90 % of the resources without a notable loss of quality.*
# Unverifiable.
#
# **A15.** *On GPT-3, 10,000 times fewer trained parameters and a third of the memory.*
# Right.
#
# The paper's measurements (Hu et al. 2021, section 4.2): memory, checkpoint, and tokens a
# second on a GPU. Which saving is 90 %?

# %%
paper = {  # full fine-tuning, LoRA
    "memory": (1.2e12, 350e9),  # bytes
    "checkpoint": (350e9, 35e6),
    "seconds a token": (1 / 32.5, 1 / 43.1),
}
saved = {name: 1 - lora / full for name, (full, lora) in paper.items()}
for name, share in saved.items():
    print(f"{name:16}{share:7.2%} less")
assert [round(share, 4) for share in saved.values()] == [0.7083, 0.9999, 0.2459]

# %% [markdown]
# None of them. The 10,000 can be counted: A and B on q and v of all 96 layers, each with
# width 12,288 and r = 4.

# %%
factors = 96 * 2 * (4 * 12288 + 12288 * 4)  # A (4, 12288) and B (12288, 4)
fewer = 175_255.8e6 / factors  # GPT-3's parameters: section 5.5
print(f"{factors:,} trained parameters, {fewer:,.0f} times fewer")
assert factors == 18_874_368 and round(fewer) == 9_285

# %% [markdown]
# ## 2 A 65B model on one card
#
# **A12.** *That was impossible before 2023.* Right in spirit.
#
# "That" is fine-tuning a 65B model on one card, which QLoRA showed on 48 GB. What do its
# weights take with linear layers in 16 bits, in 8 (LLM.int8, 2022), and in the 4 of QLoRA?
# The other layers stay in 16 bits.

# %%
model = meta_model("LLaMA-65B")
layers = [m for m in model.model.modules() if isinstance(m, nn.Linear)]  # without the head
linear = sum(layer.weight.numel() for layer in layers)
rest = 2 * (sum(p.numel() for p in model.parameters()) - linear)
card = 48 * 2**30 / 1e9  # GB
size = {16: 2 * linear + rest, 8: linear + rest, 4: nf4_bytes(linear, True) + rest}
print(f"a card of 48 GiB: {card:.1f} GB")
for bits, n in size.items():
    room = "room" if n / 1e9 < card else "no room"
    print(f"{bits:2} bits: {n / 1e9:5.1f} GB of weights: {room}")
assert [round(n / 1e9, 1) for n in size.values()] == [130.6, 65.8, 34.5]
assert round(card, 1) == 51.5 and room == "room"

# %% [markdown]
# ## 3 Outputs are not enough
#
# **A22.** *Lower costs let one adapt models such as GPT-4.* Wrong.
#
# Whoever has only the outputs of a model cannot train LoRA in it. Two models of two layers,
# one with $W_1$ and $W_2$, one with $2 W_1$ and $W_2 / 2$, say the same to every input. Put
# the same A and B into the first layer of each, and ask for the gradient of B.

# %%
torch.manual_seed(0)
X, Y = torch.randn(32, 6).double(), torch.randn(32, 5).double()
W1, W2 = torch.randn(8, 6).double(), torch.randn(5, 8).double()  # each (out, in)
A = torch.randn(2, 6).double()  # (r, in)
outputs, gradients = [], []
for first, second in ((W1, W2), (2 * W1, W2 / 2)):
    B = torch.zeros(8, 2).double().requires_grad_()  # (out, r)
    outputs.append((X @ first.T + X @ A.T @ B.T) @ second.T)
    nn.functional.mse_loss(outputs[-1], Y).backward()
    gradients.append(B.grad)
print("equal outputs:  ", torch.equal(*outputs))
print("equal gradients:", torch.equal(*gradients))
assert torch.equal(*outputs) and torch.equal(gradients[1], gradients[0] / 2)
assert not torch.equal(*gradients)

# %% [markdown]
# The gradient of a lower layer passes through the frozen weights above it. Outputs do not
# tell them, and GPT-4's are not public.
#
# ## 4 The file of a LoRA adapter
#
# **A24.** *Llama-2-7B with LoRA is stored in 80 MB instead of 14 GB.* Right, for one
# setting.
#
# **A25.** *A LoRA adapter has 8 to 16 MB.* Right, for one setting.
#
# **A35.** *LoRA typically has 16,000 parameters on Llama-2-70B.* Wrong.
#
# The shapes of the layers are enough to count; no weights are needed.

# %%
QV = ("q_proj", "v_proj")
ALL = (*QV, "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def lora_numbers(name, r, targets):
    """Numbers in A (r, in) and B (out, r) of these layers of a published shape."""
    layers = [m for n, m in meta_model(name).named_modules() if n.endswith(targets)]
    return sum(r * (m.in_features + m.out_features) for m in layers)


large = lora_numbers("Llama-2-7B", 16, ALL)
small = lora_numbers("Llama-2-7B", 8, QV)
for words, n in (("r = 16, all linear layers", large), ("r = 8, q and v", small)):
    print(f"{words:26}{2 * n / 1e6:5.1f} MB in 16 bits, {4 * n / 1e6:5.1f} in float32")
assert [round(2 * n / 1e6, 1) for n in (large, small)] == [80.0, 8.4]
assert [round(4 * n / 1e6, 1) for n in (large, small)] == [159.9, 16.8]

# %% [markdown]
# And on 70B, where the claim has 16,000?

# %%
model = lora_numbers("Llama-2-70B", 8, QV)
matrix = 8 * (1024 + 1024)
print(f"Llama-2-70B, r = 8, q and v: {model:,}")
print(f"one matrix of 1024 × 1024:   {matrix:,}")
assert model == 16_384_000 and matrix == 16_384

# %% [markdown]
# ## 5 The file of a bottleneck adapter
#
# **A26.** *The file of a bottleneck adapter has 50 to 100 MB.* Unverifiable.
#
# **A53.** *LoRA and adapters both need less than 1 % of the parameters.* Wrong.
#
# Two adapters in each layer, and in each two matrices with their biases (Houlsby et al.
# 2019). BERT-base has 12 layers of width 768. The paper tries widths m from 8 to 256.

# %%
layers, d = 12, 768
for m in (8, 64, 256):
    n = layers * 2 * (2 * d * m + d + m)
    share = n / 109.5e6  # of BERT-base's parameters
    found = f"{n:,}", f"{share:.2%}", round(2 * n / 1e6, 1), round(4 * n / 1e6, 1)
    print("m = {:3}: {} numbers, {}, {} MB in 16 bits, {} in float32".format(m, *found))
    assert found == {
        8: ("313,536", "0.29%", 0.6, 1.3),
        64: ("2,379,264", "2.17%", 4.8, 9.5),
        256: ("9,461,760", "8.64%", 18.9, 37.8),
    }[m]

# %% [markdown]
# The middle width is above 1 %. On BERT-base every file is below 50 MB; on a larger model
# it may be more.
#
# ## 6 Biases
#
# **A63.** *bias is none, all or lora_only, and none is usual.* Right.
#
# A small Llama whose attention has biases, one step of training, and then the adapter
# switched off. Is the base still there?

# %%
config = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=1, attention_bias=True,
)
ids, same, warned = torch.arange(8)[None], {}, []
for bias in ("none", "all", "lora_only"):
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    before = model(input_ids=ids).logits.detach()
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], bias=bias)
    model = get_peft_model(model, settings)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    with warnings.catch_warnings(record=True) as said, model.disable_adapter():
        same[bias] = torch.equal(model(input_ids=ids).logits, before)
    if any("does not produce the same" in str(warning.message) for warning in said):
        warned.append(bias)
print("PEFT's default:", LoraConfig().bias)
print("the base is still there:", same, "PEFT warns at:", warned, sep="\n")
assert LoraConfig().bias == "none" and warned == ["all", "lora_only"]
assert same == {"none": True, "all": False, "lora_only": False}

# %% [markdown]
# ## 7 A month in a number
#
# **A86.** *LoRA was presented in June 2021.* Right.
#
# A paper's number on arXiv begins with the year and the month of its first version. PEFT
# and bitsandbytes name the papers that they implement. QLoRA's month belongs to A12.

# %%
months = {}
for name, about in (("LoRA", LoraModel), ("QLoRA", bitsandbytes.nn.Linear4bit)):
    (number,) = re.findall(r"\d{4}\.\d{5}", inspect.getdoc(about))
    months[name] = f"{datetime.strptime(number[:4], '%y%m'):%Y-%m}"
    print(f"{name:6}{number}: {months[name]}")
assert months == {"LoRA": "2021-06", "QLoRA": "2023-05"}

# %% [markdown]
# ## 8 A model spread over devices
#
# **A96.** *device_map="auto" puts the model on the right device for training.* Misleading.
#
# It spreads the layers over the devices that it finds, and puts what is left on the disk.
# Here the course's base, as if 4 MB of memory were free; then the same base on one device,
# by name. Forward, backward, and a count of the tensors that got a gradient.

# %%
logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)
ids, losses, found = torch.arange(8)[None], [], []
for device_map, room in (("auto", {"cpu": 4_000_000}), ({"": "cpu"}, None)):
    with tempfile.TemporaryDirectory() as folder:
        model = AutoModelForCausalLM.from_pretrained(
            BASE, device_map=device_map, max_memory=room, offload_folder=folder
        )
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
    losses.append(loss.item())
    found.append(Counter(p.grad is not None for p in model.parameters()))
    got, missed = found[-1][True], found[-1][False]
    print(f"{device_map}: {got} with a gradient, {missed} without")
assert math.isclose(*losses, rel_tol=1e-5)
assert found == [{True: 19, False: 19}, {True: 38}]

# %% [markdown]
# The loss is the same, no error is raised, and half of the tensors would never train. One
# line of accelerate's log, silenced here, says that they were offloaded. With several
# processes each one loads the whole model on its own device: `device_map={"": local_rank}`.
