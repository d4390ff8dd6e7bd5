# %% [markdown]
# # 08 The same thing in PEFT
#
# PEFT is Hugging Face's library of adapters; TRL and transformers call it for LoRA. Is it
# the same LoRA? What does it save, and where does it fail without a word? About 60
# minutes, after chapter 07.
#
# You will be able to
# - put LoRA in with three lines, and prove that it is yours to the last digits;
# - keep many adapters in one model, switch them, and mix them in one batch;
# - read a stranger's adapter from its files, and catch the failures that say nothing.

# %%
import copy
import json
import math
import re
import tempfile
import textwrap
import warnings
from contextlib import nullcontext
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lora_course.adapters import lora_state_dict
from lora_course.kit.data import batches, chat_prompt, exact_match, load_task
from lora_course.bridges.fingerprint import fingerprint, tie
from lora_course.bridges.proof import check_rows, put_proved
from lora_course.inject import count_parameters, find_targets, inject_lora, lora_layers
from lora_course.inject import lora_targets
from lora_course.kit.models import BASE, chosen, is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.train import train
quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
from peft import LoraConfig, PeftModel, get_peft_model

# %% [markdown]
# ## 1 Three lines
#
# A `LoraConfig` says what you said to `inject_lora`; `get_peft_model` puts it in.
# **Predict:** does PEFT train as many numbers as we do?

# %%
base, tokenizer, task = load_base(), load_tokenizer(), load_task()
shipped = is_shipped()  # or is it a model, or data, of yours?
settings = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}

config = LoraConfig(task_type="CAUSAL_LM", **settings)
theirs = get_peft_model(copy.deepcopy(base), config)
theirs.print_trainable_parameters()

ours = inject_lora(copy.deepcopy(base), **settings, seed=0)
print("ours:", *count_parameters(ours))

# %% [markdown]
# The same count, to the last one. Now one layer of each. Where is W? Where are A and
# B?

# %%
name = next(iter(lora_layers(ours)))
print(name)
for model, path in ((ours, name), (theirs, f"base_model.model.{name}")):
    layer = model.get_submodule(path)
    print(f"\n{type(layer).__module__}.{type(layer).__name__}")
    for key, p in layer.named_parameters():
        print(f"  {key:22} {str(tuple(p.shape)):12} trains: {p.requires_grad}")

# %% [markdown]
# The same three matrices. PEFT keeps A and B in a dict, under the name of the adapter, `default`:
# there is room for more than one. **[Exercise 8.1](../exercises/08_the_same_thing_in_peft.ipynb)**
# translates the names, in both directions. ([The
# exercises](../exercises/08_the_same_thing_in_peft.ipynb); `lora-course start 08` makes your copy.)
#
# > **Myth check.** *`get_peft_model` returns a wrapped model; yours stays as it was.*
# > **Predict:** does `mine` have LoRA layers afterwards? Other logits?

# %%
mine = copy.deepcopy(base)
wrapped = get_peft_model(mine, LoraConfig(**settings))
ids = tokenizer("Where is the mill?", return_tensors="pt")["input_ids"]  # (1, T)
print("LoRA layers in mine:", len(lora_layers(mine)))
same = torch.equal(mine(ids).logits, base(ids).logits)
print("its logits are those of the base:", same)

# %% [markdown]
# > **Verdict: wrong.** The layers are replaced in place, as in chapter 04. The wrapper
# > is a handle with more methods. The logits are the same only because B is still zero.
#
# ## 2 Is it the same?
#
# We train our own adapter, as in chapter 05, and then pour it into PEFT.

# %%
test = task["test"].select(range(min(50, len(task["test"]))))
print(f"base:     {exact_match(base, tokenizer, test):.0%} right")
rate = 1e-2 if chosen() == str(BASE) else 2e-4  # a large model needs a smaller rate
train(ours, batches(task["train"], tokenizer, 16, 60, seed=0), 60, lr=rate)
right = exact_match(ours, tokenizer, test)
assert right >= 0.9 or not shipped
print(f"with LoRA: {'at least 90 %' if right >= 0.9 else f'{right:.0%}'} right")

# %% [markdown]
# **Predict.** The same A and B in both. Are the logits equal to the last bit? And the
# gradients of a training step?

# %%
places = dict(theirs.named_parameters())
batch = next(batches(task["train"], tokenizer, 4, 1, seed=1))
with torch.no_grad():
    for name, p in ours.named_parameters():
        if "lora_" in name:
            places[f"base_model.model.{name}.default.weight"].copy_(p)

theirs.eval()
ours.zero_grad()
outs = [model(**batch) for model in (ours, theirs)]
for out in outs:
    out.loss.backward()
off = (outs[0].logits - outs[1].logits).norm() / outs[1].logits.norm()
print(f"logits differ by less than 0.00001: {bool(off < 1e-5)}")
assert off < 1e-5 or not shipped
for name, p in ours.named_parameters():
    if "lora_" in name:
        grad = places[f"base_model.model.{name}.default.weight"].grad
        assert (p.grad - grad).norm() < 1e-3 * grad.norm() + 1e-7, name
print("so do the gradients of every A and B, up to 0.001 of their size")

# %% [markdown]
# Equal up to rounding. (PEFT multiplies by the scale after B, we do it before. A scale of
# 2 rounds nothing; with a scale of 3 the last digits could differ for that alone.) So
# what you learned in chapters 03 to 07 holds for PEFT.
#
# ## 3 What is saved
#
# Two files: a config in JSON, and the factors in a *safetensors* file (chapter 05). Our
# writer takes one page. Where layers differ, `rank_pattern` and *`alpha_pattern`* say so:
# dicts from the end of a layer's name to its own rank or alpha.

# %% tags=["quote"]
from lora_course.bridges.peft_adapters import PREFIX, WEIGHTS, peft_key, to_peft

# %% [markdown]
# The *fingerprint* is ours, a check sum of the base's weights; PEFT ignores it. We shall
# need it. **Predict** the size of the weights' file: a float32 takes four bytes.

# %%
room = tempfile.TemporaryDirectory()
folder = Path(room.name) / "task"
to_peft(ours, folder)
saved = load_file(folder / WEIGHTS)
numbers = sum(t.numel() for t in saved.values())
size = (folder / WEIGHTS).stat().st_size
print(f"{len(saved)} tensors, {numbers:,} numbers; the first: {min(saved)}")
print(f"{size / numbers:.1f} bytes for each number, names included")

kept = json.loads((folder / "adapter_config.json").read_text())
for key in ("peft_type", "r", "lora_alpha", "inference_mode"):
    print(f"{key:15} {kept[key]}")
print("target_modules ", *sorted(kept["target_modules"]))

# %% [markdown]
# The adapter's name is not in the file: whoever loads it chooses one. **Predict:** how
# many numbers of the loaded model train?

# %%
from lora_course.bridges.peft_adapters import from_peft, read_peft

loaded = PeftModel.from_pretrained(load_base(), folder, adapter_name="task")
with torch.no_grad():
    off = (loaded(ids).logits - ours(ids).logits).norm()
print("logits as before:", bool(off < 1e-3))

back = lora_state_dict(from_peft(load_base(), folder))
first = lora_state_dict(ours)
print("bit-equal in our layers:", all(torch.equal(back[n], first[n]) for n in first))
print("trainable after loading:", loaded.get_nb_trainable_parameters()[0])
loaded.set_adapter("task")
print("after set_adapter:      ", loaded.get_nb_trainable_parameters()[0])
loaded.set_adapter("task", inference_mode=True)
with loaded.disable_adapter():
    pass
print("after disable_adapter:  ", loaded.get_nb_trainable_parameters()[0])

# %% [markdown]
# A loaded adapter is frozen. To train on: `is_trainable=True`. But `set_adapter`, which
# only seems to choose, thaws what it chooses, unless you say `inference_mode=True`. The
# end of a `disable_adapter` block thaws as well.
#
# ## 4 Many adapters, one base
#
# A second adapter, for the court of chapter 07. It goes into the same model, and our
# loop trains it. **Predict:** which of the two is active afterwards?

# %%
court = load_task("court")
hearing = court["test"].select(range(50))
loaded.add_adapter("court", LoraConfig(task_type="CAUSAL_LM", **settings))
print("active after add_adapter:", loaded.active_adapter)
loaded.set_adapter("court")
losses = train(loaded, batches(court["train"], tokenizer, 16, 40, seed=2), 40, lr=rate)

# %% [markdown]
# Neither `add_adapter` nor `load_adapter` activates. **Predict** the six numbers: two
# adapters and none, on two tasks. (The base of section 2, and chapter 07's court, help.)

# %%
skills, table = ("none", "task", "court"), torch.zeros(3, 2)
for i, skill in enumerate(skills):
    if skill != "none":
        loaded.set_adapter(skill, inference_mode=True)
    with loaded.disable_adapter() if skill == "none" else nullcontext():
        scores = [exact_match(loaded, tokenizer, rows) for rows in (test, hearing)]
    table[i] = torch.tensor(scores)
    words = ["over 90 %" if v > 0.9 else f"{v:.0%}" for v in scores]
    print(f"adapter {skill:6} task: {words[0]:12} court: {words[1]}")
assert (table > 0.9).tolist() == [[0, 0], [1, 0], [0, 1]] or not shipped

# %% [markdown]
# `disable_adapter` is for a visit; the adapter is back after the block.
# **[Exercise 8.2](../exercises/08_the_same_thing_in_peft.ipynb)** asks for a clean visit.
# `delete_adapter` drops one, `unload` takes all layers out.
#
# PEFT warns where it changes something for you. A helper that shows its words:

# %%
def says(action):
    """Run action(); print what PEFT warns of or raises; return the result."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        quiet()  # but not what nobody can heed
        try:
            result, words = action(), []
        except Exception as error:
            result, words = None, [f"{type(error).__name__}: {error}"]
    said = dict.fromkeys(str(warning.message) for warning in heard)
    for text in words + [f"warning: {text}" for text in said] or ["not a word"]:
        print(textwrap.fill(textwrap.shorten(text, 300, placeholder=" ..."), 88))
    return result


spare = PeftModel.from_pretrained(load_base(), folder, adapter_name="one")
spare.load_adapter(folder, "two")
says(lambda: spare.delete_adapter("one"))
plain = spare.unload()
print(type(plain) is type(base), torch.equal(plain(ids).logits, base(ids).logits))

# %% [markdown]
# ## 5 One batch, several adapters
#
# Three customers at once, each with an adapter of their own, in **one** forward pass.
# `adapter_names` has a name for every row; `__base__` means none.
#
# **Predict:** the same prompt three times. How many different answers?

# %%
who = ["task", "court", "__base__"]
check_rows(loaded)  # or a sentence, for a model such as OPT
texts = [chat_prompt(tokenizer, test[0]["prompt"])] * 3
mixed = tokenizer(texts, add_special_tokens=False, return_tensors="pt")
mixed.pop("token_type_ids", None)
tokens = loaded.generate(**mixed, adapter_names=who, max_new_tokens=12, do_sample=False)
fresh = tokens[:, mixed["input_ids"].shape[1] :]  # (3, new)
print(test[0]["prompt"])
for name, said in zip(who, tokenizer.batch_decode(fresh, True), strict=True):
    print(f"  {name:9} {said.strip()!r}")

# %% [markdown]
# The big product with W is done once for all rows. Then every adapter takes its own
# rows. Is it the same as one adapter at a time?

# %%
with torch.no_grad():
    together = loaded(**mixed, adapter_names=who).logits  # (3, T, vocabulary)
    for row, name in enumerate(who[:2]):
        loaded.set_adapter(name, inference_mode=True)
        alone = loaded(input_ids=mixed["input_ids"][:1]).logits[0]
        off = (together[row] - alone).norm() / alone.norm()
        print(f"{name:6} alone and in the mixed batch agree: {bool(off < 1e-5)}")
    with loaded.disable_adapter():
        alone = loaded(input_ids=mixed["input_ids"][:1]).logits[0]
assert (together[2] - alone).norm() < 1e-5 * alone.norm()
says(lambda: loaded(**mixed, adapter_names=["task", "clinic", "court"]))
says(lambda: loaded.train()(**mixed, adapter_names=who))
_ = loaded.eval()

# %% [markdown]
# **[Exercise 8.3](../exercises/08_the_same_thing_in_peft.ipynb)** builds that layer. Servers for
# thousands of adapters rest on the same idea (S-LoRA, Sheng et al. 2023).
#
# ## 6 A sum of adapters
#
# > **Myth check.** *`add_weighted_adapter(..., combination_type="linear")` averages two
# > adapters.* **Predict:** how far is it from the average of the two updates? And
# > `cat`? And `svd`, which keeps the best r directions?

# %%
def deltas(name):
    """All updates of one adapter as one vector."""
    layers = [m for m in loaded.modules() if hasattr(m, "get_delta_weight")]
    return torch.cat([m.get_delta_weight(name).detach().flatten() for m in layers])


true, off = (deltas("task") + deltas("court")) / 2, {}
pair = ["task", "court"], [0.5, 0.5]
kinds = [("linear", 8), ("cat", 16), *(("svd", r) for r in (2, 4, 8, 12, 16))]
for kind, rank in kinds:
    loaded.add_weighted_adapter(*pair, "sum", combination_type=kind, svd_rank=rank)
    off[kind, rank] = float((deltas("sum") - true).norm() / true.norm())
    loaded.delete_adapter("sum")
for kind, rank in ("linear", 8), ("cat", 16), ("svd", 8):
    print(f"{kind:6} of rank {rank:2} is off by {off[kind, rank]:.1f} of the average")
right = max(off["cat", 16], off["svd", 16]) < 1e-3 < 2 * off["svd", 8] < off["linear", 8]
assert right or not shipped

# %%
fig, ax = figure(6.4, 3.2)
ranks = [r for kind, r in off if kind == "svd"]
ax.plot(ranks, [off["svd", r] for r in ranks], "o-", color=COLORS["base"], label="svd")
ax.plot([8], [off["linear", 8]], "^", color=COLORS["full"], ms=11, label="linear")
ax.plot([16], [off["cat", 16]], "s", color=COLORS["lora"], ms=11, label="cat")
ax.set(xlabel="rank of the result", ylabel="error / size of the average")
ax.set_ylim(bottom=-0.05)
ax.legend()
show(
    fig,
    caption="How far three ways to combine two adapters of rank 8 are from the average "
    "of their updates. Zero is exact; at one, the error is as large as the average.",
    alt="The svd line falls from rank 2 to zero at rank 16. The square of cat lies at "
    "zero at rank 16. The triangle of linear, at rank 8, lies far above the line.",
)

# %% [markdown]
# > **Verdict: wrong.** `linear` adds the factors, with the roots of the weights, and so
# > makes the cross terms of chapter 07. `cat` is exact at twice the rank; `svd` is the
# > best that a rank allows. Whether a sum is any *use* is measured in chapter 12.
#
# ## 7 Which layers?
#
# `target_modules` takes three forms: a **list** of endings, a **string**, which is a
# *regular expression* (a pattern: `.*` stands for any text, `a|b` for a or b) for the whole
# name, or `"all-linear"`.

# %%
names = find_targets(base, "all-linear")
endings = list(dict.fromkeys(name.split(".")[-1] for name in names))
one, other = endings[0], endings[-1]
layer = re.search(r"\.\d+\.", names[-1])[0].strip(".")  # the last layer's number
rules = {
    "list": [one, other],
    "regex": rf".*\.({one}|{other})",
    "last layer": rf".*\.{layer}\..*\.({'|'.join(endings)})",
    "all-linear": "all-linear",
}
for name, rule in rules.items():
    model = get_peft_model(copy.deepcopy(base), LoraConfig(target_modules=rule))
    print(f"{name:11} {len(lora_layers(model)):3} layers  {str(rule)[:60]}")

# %% [markdown]
# `all-linear` leaves out the output head. Now the traps. **Predict** for each: an
# error, a warning, or not a word?

# %%
typo = other[:-2] + other[:-3:-1]  # the last two letters change places
traps = {
    "a comma": f"{one},{other}",
    "nothing hit": [typo],
    "hits a block": rf".*\.{layer}\..*",
    "one misspelt": [one, typo],
    "regex in a list": [one, rf".*\.{other}"],
}
for name, rule in traps.items():
    print(f"\n{name}: {rule}")
    asked = LoraConfig(target_modules=rule)
    model = says(lambda asked=asked: get_peft_model(copy.deepcopy(base), asked))
    if model:
        wanted = len(find_targets(base, [one]))
        print(f"{len(lora_layers(model))} layers have LoRA; {wanted} end in {one}")

# %% [markdown]
# Three loud ones, two silent. The comma string is one name with a comma in it. And in a
# list, an entry that hits nothing goes unnoticed as soon as another one hits.
#
# The cure: ask **our** `find_targets` first. It goes by the same rules, entry by entry.

# %%
for rule in traps["one misspelt"], traps["regex in a list"]:
    says(lambda rule=rule: find_targets(base, rule))
print(len(find_targets(base, [one, other])), "layers for", [one, other])

# %% [markdown]
# **[Exercise 8.4](../exercises/08_the_same_thing_in_peft.ipynb)** asks for rules on a GPT-2, where
# the obvious one hits too much.
#
# Not every layer needs the same rank. `rank_pattern` gives some another one; its keys
# are patterns too.

# %%
config = LoraConfig(**settings, rank_pattern={other: 32, "nowhere": 4})
model = says(lambda: get_peft_model(copy.deepcopy(base), config))
for name, found in list(lora_layers(model).items())[-len(endings) :]:
    print(f"{name:50} r = {found.r['default']}")

# %% [markdown]
# ## 8 More than LoRA in one file
#
# New special tokens have no meaning yet. `modules_to_save` trains a **full copy** of a
# module; `trainable_token_indices` trains single rows of the token table. **Predict**
# the file sizes.

# %%
token_table = base.get_input_embeddings()
place = next(n for n, m in base.named_modules() if m is token_table).split(".")[-1]
extras = {
    "LoRA alone": {},
    "+ 4 tokens": {"trainable_token_indices": [0, 1, 2, 3]},
    "+ whole table": {"modules_to_save": [place]},
    "+ table, tied": {"modules_to_save": [place], "ensure_weight_tying": True},
}
sizes = {}
for name, extra in extras.items():
    print(f"{name}: {extra}")
    asked = LoraConfig(**settings, **extra)
    model = says(lambda asked=asked: get_peft_model(copy.deepcopy(base), asked))
    model.save_pretrained(Path(room.name) / name)
    tensors = read_peft(Path(room.name) / name)[1]
    sizes[name] = sum(t.numel() for t in tensors.values())

# %%
fig, ax = figure(7, 2.2)
colors = [COLORS[role] for role in ("lora", "base", "extra", "full")]
bars = ax.barh(list(sizes), list(sizes.values()), color=colors, height=0.6)
ax.bar_label(bars, [f"{n:,}" for n in sizes.values()], padding=4)
ax.invert_yaxis()
ax.set(xlabel="numbers in the file", xlim=(0, 1.25 * max(sizes.values())))
show(
    fig,
    caption="Four rows of the token table cost next to nothing; the whole table costs "
    "more than LoRA itself.",
    alt="Four horizontal bars. LoRA alone and LoRA with four tokens are equal to the "
    "eye. With the whole table the bar is more than twice as long; tied, longer again.",
)

# %% [markdown]
# The warning is about *tied* weights: in our base the token table is the output head
# as well. The copy trains alone, and the head keeps the old table. The cure is the
# fourth line: one copy for both (the file holds it twice).
#
# What is *not* in the file, such as a new head that you forgot to list, is random again
# after loading.
#
# ## 9 A stranger's adapter
#
# You were sent a folder. **Before** you load it: which base? What does it change, and
# how strongly? No model is needed for that.

# %%
found, tensors, notes = read_peft(folder)
print("base:", Path(str(found["base_model_name_or_path"])).name)
for key in "peft_type", "r", "lora_alpha", "use_rslora", "init_lora_weights":
    print(f"{key}: {found[key]}", end="; ")
print("beside LoRA:", [key for key in tensors if ".lora_" not in key] or "nothing")
strength, root = {}, found["r"] ** (0.5 if found["use_rslora"] else 1)
for key in (key for key in tensors if ".lora_A." in key):
    update = found["lora_alpha"] / root * tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
    strength[key.split(".lora_")[0]] = update.square().mean().sqrt().item()
print(len(strength), "matrices, none untouched:", min(strength.values()) > 0)

# %%
split = [re.fullmatch(r".*?\.(\d+)\.(.+)", part).groups() for part in strength]
rows, columns = (list(dict.fromkeys(pair[k] for pair in split)) for k in (0, 1))
grid = torch.zeros(len(rows), len(columns))
for (row, column), value in zip(split, strength.values(), strict=True):
    grid[rows.index(row), columns.index(column)] = value
assert grid.mean(1).argmax() == len(rows) - 1 or not shipped
fig, ax = figure(8, 3.2)
image = ax.imshow(grid, cmap="Greens", vmin=0, aspect="auto")
ax.set(yticks=range(len(rows)), yticklabels=rows, ylabel="layer")
ax.set_xticks(range(len(columns)), [c.split(".")[-1] for c in columns], rotation=20)
ax.grid(False)
fig.colorbar(image, label="typical entry of the update")
show(
    fig,
    caption="The adapter, read from its file alone: the typical size (root mean square) "
    "of an entry of each matrix's update. The darker, the more it changes.",
    alt="A grid of layers by kinds of matrices, shaded in green. All cells are filled; "
    "in the small base the last layer is the darkest.",
)

# %% [markdown]
# Also look at `init_lora_weights`: `pissa` and its kin start from W's own largest
# directions and take them **out of W**; such a file does not fit the plain base.
#
# Two things go wrong in loading. First: **lost keys.** A converter forgot the prefix
# `base_model.model.`. **Predict:** what does the model do?

# %%
broken = Path(room.name) / "broken"
broken.mkdir()
(broken / "adapter_config.json").write_text(json.dumps(kept))
save_file({k.removeprefix(PREFIX): t for k, t in saved.items()}, broken / WEIGHTS)
lost = says(lambda: PeftModel.from_pretrained(load_base(), broken))
print("logits of the bare base:", torch.equal(lost(ids).logits, base(ids).logits))

print("\nloaded beside another one:")
report = says(lambda: loaded.load_adapter(broken, "stranger"))
print(len(report.missing_keys), "missing,", len(report.unexpected_keys), "unexpected")

# %% [markdown]
# B is zero, so it runs and does nothing. `from_pretrained` warns; `load_adapter` says
# nothing, and its report is there for those who look. The cure: look, and rename.

# %%
mended = {PREFIX + key: t for key, t in load_file(broken / WEIGHTS).items()}
save_file(mended, broken / WEIGHTS)
report = loaded.load_adapter(broken, "mended")
assert not report.missing_keys and not report.unexpected_keys
loaded.set_adapter("mended", inference_mode=True)
with torch.no_grad():
    off = (loaded(ids).logits - ours(ids).logits).norm()
print("logits as trained:", bool(off < 1e-3))

# %% [markdown]
# Second: **the wrong base.** One of other sizes, and one of the same shape with other
# weights. **Predict:** error, warning, or nothing?

# %%
sizes = LlamaConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2)
small = LlamaForCausalLM(sizes)
says(lambda: PeftModel.from_pretrained(small, folder))

print("\nthe same shape:")
upside_down = {name: t.flip(0) for name, t in base.state_dict().items()}
twin = copy.deepcopy(base)
twin.load_state_dict(upside_down)
twin = says(lambda: PeftModel.from_pretrained(twin, folder))
print(f"{exact_match(twin, tokenizer, test):.0%} right")

# %% [markdown]
# The shapes fit, so nobody objects. Our twin is noise and gives itself away. Two versions
# of one model are twins too, and there nothing need look odd. The cure is the fingerprint
# in the header:

# %% tags=["quote"]
from lora_course.bridges.peft_adapters import check_base

# %%
says(lambda: check_base(twin, folder))
says(lambda: check_base(loaded, folder))

# %% [markdown]
# **[Exercise 8.5](../exercises/08_the_same_thing_in_peft.ipynb)** is an audit that finds such
# silent failures in any model.
#
# ## Takeaways
#
# - PEFT's LoRA is ours: same A, B and scale, other names, many adapters to a layer.
# - `get_peft_model` changes your model; `load_adapter` does not activate; `set_adapter`
#   thaws.
# - A list entry that hits nothing, lost keys and a twin base are silent. Count layers,
#   read the load report, compare fingerprints.
# - `linear` is not the average; `cat` is the exact sum.
#
# ## Problems without code
#
# 1. An adapter file of a 7B model has 3 GB. Name two causes.
# 2. Why can a mixed batch not be run on merged weights?
# 3. A folder holds `adapter_model.bin` only. Why ask for safetensors?
# 4. Two adapters have ranks 4 and 64. Which of the three ways of section 6 are left, and why?
#
# **Before:** [07 Merging and swapping](07_merging_and_swapping.ipynb). **Next:**
# [09 Supervised fine-tuning with TRL](09_supervised_fine_tuning_with_trl.ipynb).
# **Sources:**
# [PEFT on checkpoints](https://huggingface.co/docs/peft/developer_guides/checkpoint),
# [on LoRA](https://huggingface.co/docs/peft/developer_guides/lora),
# [S-LoRA](https://arxiv.org/abs/2311.03285).
