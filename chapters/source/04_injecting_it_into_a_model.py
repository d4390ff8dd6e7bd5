# %% [markdown]
# # 04 Injecting it into a model
#
# How do you put a LoRA layer into every place that needs one, and into no other?
# About 45 minutes, after chapter 03.
#
# You will be able to
# - choose layers by a rule, and see what the rule hit and what it missed;
# - wrap them in place, freeze the rest, and prove that nothing changed yet;
# - set up the optimizer in the right order, and recognize both wrong ones.

# %%
import copy
import re
from collections import Counter

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM
from transformers.pytorch_utils import Conv1D  # noqa: F401 (the course's code needs it)

from lora_course.kit.data import batches, load_task
from lora_course.inject import full_match, no_hit  # noqa: F401 (they word the errors)
from lora_course.lora import LoRAConv1D, LoRAEmbedding, LoRALinear  # noqa: F401
from lora_course.plumbing.model_facts import fitting  # noqa: F401 (looks at the model)
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show

quiet()

# %% [markdown]
# ## 1 A model is a tree of names
#
# PyTorch keeps the parts of a model in a tree. The path to a part, joined by dots, is
# its **name**. Our model has four blocks, and a block has an attention and an MLP.
#
# **Predict:** how many linear layers are in the model? (Chapter 01 names
# those of a block.)

# %%
model, tokenizer = load_base("base"), load_tokenizer("base")
print(Counter(type(part).__name__ for part in model.modules()).most_common(3))
for name, part in model.named_modules():
    if isinstance(part, nn.Linear) and not re.search(r"\.[123]\.", name):
        print(f"{name:33} {part.in_features:4} -> {part.out_features}")

# %% [markdown]
# Seven in each block, and the output head. The blocks 1 to 3 repeat block 0.
#
# Now we want LoRA on every `q_proj`. **Predict:** how many trainable factors does the
# model have after this loop?

# %%
for name, layer in model.named_modules():
    if name.endswith("q_proj"):
        layer = LoRALinear(layer, r=4)

print("factors:", sum("lora_" in name for name, _ in model.named_parameters()))
print("frozen: ", [n for n, p in model.named_parameters() if not p.requires_grad][0], "…")

# %% [markdown]
# None. The loop gave a new object to the variable `layer`; the model still holds the
# old one. It did some harm all the same: `LoRALinear` freezes what it wraps.
#
# The place of a layer is an **attribute of its parent**. That is what must change.

# %%
model = load_base("base")
parent = model.get_submodule("model.layers.0.self_attn")
parent.q_proj = LoRALinear(parent.q_proj, r=4)
print([name for name, _ in model.named_parameters() if "lora_" in name])

# %% [markdown]
# `model.set_submodule(name, layer)` does the same by the full name.
#
# ## 2 Three kinds of rule
#
# - a **list of endings**: `["q_proj", "v_proj"]`;
# - a **regular expression** that must match the whole name;
# - **all-linear**: every linear layer except the output head.
#
# **Predict** how many of the 29 layers each rule below hits.

# %%
model = load_base("base")
names = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)]
hits = {
    "a list: q_proj, v_proj": [n for n in names if n.endswith((".q_proj", ".v_proj"))],
    r"a regex: .*\.[23]\.mlp\..*": [
        n for n in names if re.fullmatch(r".*\.[23]\.mlp\..*", n)
    ],
    "all-linear": [n for n in names if model.get_submodule(n) is not model.lm_head],
}
for rule, found in hits.items():
    print(f"{rule:28} hits {len(found):2} of {len(names)}")

# %%
from matplotlib.patches import Rectangle

columns = [n.split(".")[-1] for n in names if ".0." in n]  # q_proj, k_proj, ...
rows = ["table", "block 0", "block 1", "block 2", "block 3", "head"]


def draw(ax, x, y, width, hit):
    color = COLORS["lora"] if hit else COLORS["grey"]
    face = color if hit else "white"
    place = (x + 0.1, y + 0.1)
    ax.add_patch(Rectangle(place, width - 0.2, 0.8, fc=face, ec=color, lw=1.3))


# %%
fig, axes = figure(9, 3.4, ncols=3)
for ax, (rule, found) in zip(axes, hits.items(), strict=True):
    draw(ax, 0, 0, 7, hit=False)  # the token table is no linear layer
    for name in names:
        block = re.search(r"layers\.(\d)", name)
        column = columns.index(name.split(".")[-1]) if block else 0
        row, width = (1 + int(block[1]), 1) if block else (5, 7)
        draw(ax, column, row, width, hit=name in found)
    ticks = [i + 0.5 for i in range(7)]
    ax.set_xticks(ticks, [c.removesuffix("_proj") for c in columns], rotation=60)
    ax.set_yticks(ticks[:6], rows)
    ax.set(xlim=(0, 7), ylim=(0, 6), title=rule)
    ax.grid(False)
show(
    fig,
    caption="The model from the token table up to the head. Green: hit by the rule.",
    alt="Three maps of four blocks with seven layers, between token table and head. "
    "The list hits q and v in every block, the regex gate, up and down in blocks 2 "
    "and 3, all-linear all 28 layers in the blocks and not the head.",
)

# %% [markdown]
# Mind the dot. An ending means whole parts of the name: `c_proj` must not hit
# `misc_proj`. And find first, replace afterwards: a tree that changes while you walk
# through it hides layers or shows them twice.
#
# You have all the parts: find, wrap, freeze. **Now write it**:
# [Exercise 4.1](../exercises/04_injecting_it_into_a_model.ipynb), and the freezing alone in
# [Exercise 4.2](../exercises/04_injecting_it_into_a_model.ipynb). (`lora-course start 04` makes
# your own copy.) Then come back to compare.

# %% [markdown]
# ## 3 The injection of the course
#
# First the finder. A rule that hits nothing is an **error**, and so is a list in which
# one entry hits nothing. Token tables (`Embedding`) can be named as well; all-linear
# leaves them out.

# %% tags=["quote"]
from lora_course.inject import LINEAR, KINDS, find_targets  # noqa: F401

# %% [markdown]
# Two that look at a model: its LoRA layers, and how many numbers it holds and trains.

# %% tags=["quote"]
from lora_course.inject import count_parameters, lora_layers

# %% [markdown]
# Then the replacement. Look for four things: nothing is replaced before every wrapper
# exists; a new layer takes the mode of the old one, or dropout would act in `eval()`;
# a shared layer gets one wrapper; the freezing comes last.

# %% tags=["quote"]
from lora_course.inject import inject_lora, mark_only_lora_as_trainable, wrap  # noqa: F401

# %% [markdown]
# ## 4 Baseline, no-op, after
#
# **Baseline.** Eight questions about short stories, in a chat format that the model
# has never seen. The loss counts the answers only (chapter 05 shows how).

# %%
batch = next(batches(load_task("questions")["train"], tokenizer, 8, 1, seed=0))
model = load_base("base")
weights = {name: p.clone() for name, p in model.named_parameters()}
with torch.no_grad():
    before = model(**batch)
print(tuple(before.logits.shape), "loss", round(before.loss.item(), 1))

# %% [markdown]
# **Predict:** we inject into 28 layers. By how much do the logits change? Which
# parameters train, and what share of all numbers are they? (The adapter is counted in
# now. Chapter 01 divided by the base alone, which gives a little more.)

# %%
inject_lora(model, "all-linear", r=8, lora_alpha=16, seed=0)
with torch.no_grad():
    now = model(**batch)
print("logits equal, bit for bit:", torch.equal(now.logits, before.logits))
trained = [name for name, p in model.named_parameters() if p.requires_grad]
print(len(trained), "tensors train:", sorted({n.split(".")[-1] for n in trained}))
trainable, total = count_parameters(model)
print(f"{trainable:,} of {total:,} numbers, {trainable / total:.1%}")

# %% [markdown]
# **No-op:** not one bit of the output changed, because every B is zero. This is the
# test to run on every injection.
#
# **After:** a few steps on this one batch. **Predict:** which of the old weights move?

# %%
def steps(model, optimizer, count=10):
    losses = []
    for _ in range(count):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


train = [p for p in model.parameters() if p.requires_grad]
losses = steps(model, torch.optim.AdamW(train, lr=0.01))
print(f"loss {losses[0]:.1f} -> {losses[-1]:.1f}")
new = {n.replace(".base_layer", ""): p for n, p in model.named_parameters()}
print("old tensors unchanged:", sum(torch.equal(weights[n], new[n]) for n in weights))
print("old tensors:          ", len(weights))

# %% [markdown]
# > **Myth check.** *LoRA trains a small part of the model's parameters.*
# > **Verdict: misleading.** Not one number of the model has moved. LoRA **adds**
# > numbers and trains those. Methods that train a chosen part exist (biases only, for
# > instance), and they are something else: they change the model.

# %% [markdown]
# ## 5 A rule that hits nothing
#
# **Predict** which of these five rules are in order.

# %%
model = load_base("base")
rules = (
    ["q_proj", "k_porj"],
    "q_proj,v_proj",
    [r".*\.q_proj"],
    ["self_attn"],
    r".*(q|v)_proj",
)
for rule in rules:
    try:
        print(rule, "->", len(find_targets(model, rule)), "layers")
    except ValueError as error:
        print(rule, "->", str(error).partition(" A list holds")[0])

# %% [markdown]
# Only the last. A list is compared letter by letter, so a regular expression in it
# hits nothing. And `self_attn` is no linear layer; it contains four.
#
# > **Myth check.** *Several modules go into one string: `"q_proj,v_proj"`; and if a
# > name is misspelled, PEFT will tell.* **Predict** what PEFT says to these three.

# %%
from peft import LoraConfig, inject_adapter_in_model


def peft_count(rule, model=None):
    model = model or load_base("base")
    is_gpt2 = isinstance(model, GPT2LMHeadModel)  # weights stored as (in, out)
    config = LoraConfig(r=8, target_modules=rule, fan_in_fan_out=is_gpt2)
    try:
        return count_parameters(inject_adapter_in_model(config, model))[0]
    except ValueError as error:
        return type(error).__name__


for rule in (["q_proj", "v_proj"], "q_proj,v_proj", ["q_proj", "v_porj"]):
    print(rule, "->", peft_count(rule))

# %% [markdown]
# > **Verdict: wrong, twice.** A string is *one* regular expression, so the comma finds
# > nothing. The misspelled entry is worse: PEFT stays silent as long as another entry
# > hits, and you train fewer layers than you think. Count, and compare with the shapes.
#
# ## 6 How many numbers is that?
#
# A layer with `in` inputs and `out` outputs adds r · (in + out). **Predict:** at
# r = 8, which adds more: four attention layers a block, or three MLP layers?

# %%
attention, mlp = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj"]
rules = {"q, v": ["q_proj", "v_proj"], "attention": attention}
rules |= {"MLP": [*mlp, "down_proj"], "all-linear": "all-linear"}
counts = {}
for label, rule in rules.items():
    model = load_base("base")
    targets = [model.get_submodule(name) for name in find_targets(model, rule)]
    shapes = sum(8 * (t.in_features + t.out_features) for t in targets)
    counts[label] = count_parameters(inject_lora(model, rule, r=8))
    print(f"{label:10} shapes {shapes:6,}, ours {counts[label][0]:6,}", end=", ")
    print(f"PEFT {peft_count(rule):6,}")

# %%
fig, ax = figure(7, 2.6)
labels = list(counts)[::-1]
values = [counts[label][0] for label in labels]
bars = ax.barh(labels, values, color=COLORS["lora"])
texts = [f"{counts[n][0]:,} ({counts[n][0] / counts[n][1]:.1%})" for n in labels]
ax.bar_label(bars, texts, padding=4)
ax.set(xlabel="trainable numbers at r = 8", xlim=(0, 1.3 * max(values)))
ax.xaxis.set_major_formatter("{x:,.0f}")
ax.grid(axis="y", visible=False)
show(
    fig,
    caption="Trainable numbers by rule, and their share of the model with its adapter.",
    alt="Four bars. q and v is the shortest, attention is about twice as long, the MLP "
    "is longer than both together, and all-linear is attention plus MLP.",
)

# %% [markdown]
# The three counts agree. **[Exercise 4.3](../exercises/04_injecting_it_into_a_model.ipynb)** asks
# for a harder count: *tied* weights (one tensor in two places), a `Conv1D`, and a layer that stands
# in two places.
#
# Which rule should you take? The LoRA paper adapted attention only (section 4.2), and
# PEFT still picks q and v in a Llama when you name nothing. QLoRA (section 4) needed
# **all** linear layers to match full fine-tuning. Chapter 06 measures it here.
#
# No rule finds what is no layer. A **mixture of experts** (Mixtral, Qwen3-MoE, gpt-oss)
# keeps most of its numbers in *stacks*: one tensor for all experts. There `all-linear` is
# refused, and says its share. Name the layers, and add the stacks with
# `lora_course.methods.experts`. What works on which model:
# [the table](../docs/architectures.md).

# %% [markdown]
# ## 7 Tied weights
#
# Our head uses the token table as its weight: they are **tied**, one tensor in two
# places. **Predict:** how many numbers does the model have, counted in two ways?

# %%
model = load_base("base")
head, table = model.lm_head, model.model.embed_tokens
print("one tensor:", head.weight is table.weight)
once = sum(p.numel() for p in model.parameters())
twice = sum(value.numel() for value in model.state_dict().values())
print(f"parameters() {once:,}, state_dict() {twice:,}: {twice - once:,} counted twice")

# %% [markdown]
# `parameters()` gives each tensor once; a state dict names it at every place.
#
# What if a rule names the head? **Predict:** does the token table change when the
# head's adapter has learned something? And when it is *merged*, added to the weight?

# %%
inject_lora(model, ["lm_head"], r=8, seed=0)
layer, original = model.lm_head, table.weight.detach().clone()
nn.init.normal_(layer.lora_B, std=0.1)
print("still tied:", layer.base_layer.weight is table.weight)
print("table changed by the adapter:", not torch.equal(table.weight, original))
with torch.no_grad():
    layer.base_layer.weight += layer.get_delta_weight()
print("table changed by merging:    ", not torch.equal(table.weight, original))

# %% [markdown]
# Merging an adapter of the head also rewrites how every token is *read*. That is one
# reason why all-linear leaves the head alone.
#
# ## 8 The order: inject, freeze, optimizer
#
# Three lines, and two wrong orders. **First: freeze after the injection.** **Predict**
# what `backward` says.

# %%
model = inject_lora(load_base("base"), r=8, seed=0)
for p in model.parameters():
    p.requires_grad = False
print("trainable:", count_parameters(model)[0])
try:
    model(**batch).loss.backward()
except RuntimeError as error:
    print("RuntimeError:", str(error).partition(" and ")[0])

# %% [markdown]
# The loop froze the factors too. If anything else still trained, there would be no
# error at all. `mark_only_lora_as_trainable` repairs it.
#
# **Second: the optimizer before the injection.** **Predict** the losses of three steps.

# %%
model = load_base("base")
early = torch.optim.AdamW(model.parameters(), lr=0.01)
inject_lora(model, r=8, seed=0)
losses = steps(model, early, count=3)
print("too early:", [round(loss, 1) for loss in losses], len(set(losses)), "value")

late = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
losses = steps(model, late, count=3)
print("in order: ", [round(loss, 1) for loss in losses], len(set(losses)), "values")

# %% [markdown]
# The same loss to the last digit, and no error: the early optimizer holds the old
# weights, which are frozen now, and has never heard of A and B.
#
# One line finds it: what trains must be in the optimizer's list.

# %%
def not_held(optimizer, model):
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, p in trained if id(p) not in held]


print("too early:", len(not_held(early, model)), "tensors are in no optimizer")
print("in order: ", len(not_held(late, model)))

# %% [markdown]
# > **Myth check.** *LoRA is one more line; the training script stays as it is.*
# > **Verdict: misleading.** The line is one, but the optimizer must come after it. The
# > learning rate usually rises as well (chapter 06), and saving and loading change
# > (chapter 05).
#
# **[Exercise 4.4](../exercises/04_injecting_it_into_a_model.ipynb)** asks for the optimizer's list,
# in a model where a new head must train too.
#
# ## 9 Does every layer learn?
#
# A falling loss does not show it. **Predict:** after one `backward` at the start,
# which of the 56 factors have a gradient that is not zero?

# %%
model = inject_lora(load_base("base"), r=8, seed=0)
model(**batch).loss.backward()
layers = lora_layers(model)
for factor in ("lora_A", "lora_B"):
    norms = [getattr(layer, factor).grad.norm().item() for layer in layers.values()]
    print(f"{factor}: {sum(norm > 0 for norm in norms)} of {len(norms)} are not zero")

# %%
grid = torch.tensor([layer.lora_B.grad.norm() for layer in layers.values()])
grid = grid.view(4, 7) / grid.max()  # (block, layer)
fig, ax = figure(6.5, 2.9)
image = ax.imshow(grid, cmap="Greens", vmin=0, vmax=1, aspect="auto", origin="lower")
for block, column in torch.cartesian_prod(torch.arange(4), torch.arange(7)).tolist():
    value = grid[block, column].item()
    color = "white" if value > 0.6 else "black"
    ax.text(column, block, f"{value:.2f}", ha="center", va="center", color=color)
ax.set_xticks(range(7), [c.removesuffix("_proj") for c in columns])
ax.set_yticks(range(4), [f"block {i}" for i in range(4)])
ax.grid(False)
show(
    fig,
    caption="Gradient norm of B in every layer, first step; the largest is 1.",
    alt="A grid of four blocks by seven layers. Every value is above zero, in attention "
    "and in the MLP. The largest one is in block 0.",
)

# %% [markdown]
# Every B has a gradient, and no A has one, as chapter 03 showed. A zero among the B
# would mean a layer that the loss does not reach. And the MLP layers are pulled as
# well: nothing in LoRA belongs to attention alone.
#
# ## 10 Other architectures
#
# The names differ, the code does not. A Qwen3 looks like our model. GPT-2 puts q, k
# and v into one `c_attn`, and its layers are `Conv1D`. A block has `attn.c_attn`,
# `attn.c_proj`, `mlp.c_fc` and `mlp.c_proj`. **Predict:** how many layers does the rule
# `["c_proj"]` hit in a GPT-2 of two blocks?

# %%
torch.manual_seed(0)
size = {"vocab_size": 200, "bos_token_id": 0, "eos_token_id": 0}
gpt2 = GPT2LMHeadModel(GPT2Config(**size, n_embd=32, n_layer=2, n_head=2))
print(find_targets(gpt2, ["c_proj"]))
print(find_targets(gpt2, ["attn.c_proj"]))
try:
    find_targets(gpt2, ["q_proj"])
except ValueError as error:
    print(str(error).partition(" A list holds")[0])

# %% [markdown]
# `c_proj` is the end of the attention *and* of the MLP. Now all three architectures,
# with the same three tests. **Predict:** does the GPT-2 pass?

# %%
size |= {"hidden_size": 32, "intermediate_size": 48, "head_dim": 8}
size |= {"num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2}
qwen3 = Qwen3ForCausalLM(Qwen3Config(**size))
ids = torch.arange(10, 30)[None]  # (1, T)
for model in (load_base("base"), gpt2, qwen3):
    model.eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = model(ids).logits
        after = inject_lora(model, r=8)(ids).logits
    print(f"{type(model).__name__:17}", len(lora_layers(model)), "layers;", end=" ")
    print("logits equal:", torch.equal(before, after), end="; ")
    trainable = count_parameters(model)[0]
    print("count as PEFT:", trainable == peft_count("all-linear", twin))

# %% [markdown]
# One more trap. This Qwen3 has 12 blocks. A colleague adapts "the q_proj of all
# blocks" with a regular expression. **Predict** how many layers it hits.

# %%
qwen3 = Qwen3ForCausalLM(Qwen3Config(**size))
wanted = find_targets(qwen3, ["q_proj"])
found = find_targets(qwen3, r"model\.layers\.\d\.self_attn\.q_proj")
print(len(found), "of", len(wanted), "- missed:", sorted(set(wanted) - set(found)))

# %% [markdown]
# `\d` is one digit. Nothing raises, because most layers are hit; only a list of what was **missed**
# shows it. You write it in **[Exercise 4.5](../exercises/04_injecting_it_into_a_model.ipynb)**.
#
# ## Takeaways
#
# - Find by a rule, replace in the parent, freeze, then build the optimizer.
# - After injection the logits are equal bit for bit, and only `lora_` trains.
# - A rule that hits nothing must raise, and so must each entry of a list.
# - Compare the trainable count with r · (in + out), summed: above zero says little.
# - Tied weights are one tensor: count it once, and keep LoRA off the head.

# %% [markdown]
# ## Problems without code
#
# 1. A layer of 4096 × 4096 and one of 4096 × 11008, r = 8: how many numbers each?
# 2. `["proj"]` hits nothing in our model. Why, and which regex says what was meant?
# 3. `inject_lora` refuses a model that has LoRA already. If it wrapped the old wrappers
#    instead, what would train, and would the first adapter still act?
# 4. The model is in `eval()`, the new layers are in `train()`. What would you see?
#
# **Before:** [03 The LoRA layer](03_the_lora_layer.ipynb). **Next:**
# [05 Training an adapter](05_training_an_adapter.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685) section 4.2,
# [QLoRA](https://arxiv.org/abs/2305.14314) section 4,
# [PEFT's guide to troubleshooting](https://huggingface.co/docs/peft/main/en/developer_guides/troubleshooting).
