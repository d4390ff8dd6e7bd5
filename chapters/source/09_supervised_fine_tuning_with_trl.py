# %% [markdown]
# # 09 Supervised fine-tuning with TRL
#
# You know the training loop. Hugging Face's TRL has one ready: `SFTTrainer`. What does it
# do to your rows, and is it the same loop? About 60 minutes, after chapters 05 and 08.
#
# You will be able to
# - say for every token of a talk whether it is graded, and choose that;
# - train, evaluate, stop and resume with `SFTTrainer`, and prove what it computes;
# - repair a script that was written for an earlier release.

# %%
import os
import random
import tempfile
import time
from contextlib import suppress
from functools import partial

import torch
from datasets import Dataset
from matplotlib.colors import ListedColormap

from lora_course.kit.data import answers, encode, exact_match, load_task
from lora_course.inject import inject_lora
from lora_course.kit.models import BASE, chosen, is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.bridges.sft import logged_losses, with_bar
from lora_course.train import learning_rate, train

quiet()  # before the imports that have something to say
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer, pack_dataset

# False when you bring a model or data of your own
SHIPPED, DEVICE = is_shipped(), "cuda" if torch.cuda.is_available() else "cpu"

# %% [markdown]
# ## 1 Rows
#
# TRL takes a `datasets.Dataset`: a table, in memory or on disk. Its **columns** tell the
# trainer what it has. Here prompt and completion become the two halves of a talk, which is
# a list of messages.

# %% tags=["quote"]
from lora_course.bridges.sft import as_chat

# %%
task, tokenizer, base = load_task(), load_tokenizer(), load_base()
chat = task["train"].map(as_chat)
test = task["test"].select(range(min(100, len(task["test"]))))
print(chat)
for half in ("prompt", "completion"):
    print(half, chat[0][half])

# %% [markdown]
# ## 2 From messages to one row of tokens
#
# The *chat template*, a small program in *Jinja*, is kept with the tokenizer. It makes one
# text of all messages. `{{ }}` writes, `{% %}` decides, a `-` inside removes white space
# beside it.

# %%
TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{ message['content'] + eos_token }}{% endgeneration %}
    {%- else %}
        {{- message['content'] + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
if not tokenizer.chat_template:  # a base model of yours may come without one
    tokenizer.chat_template = TEMPLATE

# %%
TALK = [
    {"role": "user", "content": "Where is Mira?"},
    {"role": "assistant", "content": "At the mill."},
    {"role": "user", "content": "And Jonas?"},
    {"role": "assistant", "content": "In the harbor."},
]
told = tokenizer.apply_chat_template(TALK, tokenize=False)
ours = tokenizer.apply_chat_template(TALK, chat_template=TEMPLATE, tokenize=False)
print(ours)
print("the tokenizer's own template writes the same:", told == ours)

# %% [markdown]
# `{% generation %}` writes nothing. It marks what the model itself says, so that the
# trainer knows what to grade. Mind the end token: it lies **inside** the marks.
#
# **[Exercise 9.1](../exercises/09_supervised_fine_tuning_with_trl.ipynb)** asks for a template.
# ([The exercises](../exercises/09_supervised_fine_tuning_with_trl.ipynb); `lora-course start 09`
# makes your own copy.)
#
# **Predict:** to let the model answer, you cut the talk after a question. What else
# must the text have?

# %%
write = partial(tokenizer.apply_chat_template, TALK[:3])
asked, ready = write(tokenize=False), write(tokenize=False, add_generation_prompt=True)
print("the sign to answer:", ready[len(asked) :])
print("the talk goes on as in training:", told.startswith(ready))

batch = write(return_tensors="pt")
print(f"{type(batch).__name__} with {', '.join(batch)}")
ids = batch["input_ids"][0].tolist(), tokenizer(asked)["input_ids"]
counts = [next(n for n, i in enumerate(row) if i != tokenizer.bos_token_id) for row in ids]
print("first tokens: from the messages {}, from the text {}".format(*counts))

# %% [markdown]
# Two traps. `apply_chat_template` gives a **batch**, not a tensor: unpack it with `**`.
# And many tokenizers (not ours) put a first token before every text, also before one
# that has it already: pass `add_special_tokens=False`.
#
# ## 3 What is graded
#
# First the settings for this machine. Some defaults are made for a large GPU, and for full
# fine-tuning. **Predict** the default learning rate: chapter 06 used 0.01 for LoRA here.

# %%
HERE = {
    "output_dir": tempfile.mkdtemp(),
    "use_cpu": DEVICE == "cpu",
    "bf16": False,  # float32, so that losses can be compared
    "activation_checkpointing": False,  # also called gradient_checkpointing: chapter 11
    "dataloader_pin_memory": False,
    "report_to": "none",  # no web service is told of your run
    "save_strategy": "no",
    "logging_steps": 1,
    "seed": 0,
}
for name in ("learning_rate", "max_length", "gradient_checkpointing", "packing"):
    print(f"{name:23} {getattr(SFTConfig, name)}")

# %% [markdown]
# The rate is one for full fine-tuning of large models: LoRA wants a larger one (chapter
# 06). `gradient_checkpointing` computes again what it does not keep: chapter 11. And
# `max_length` cuts longer rows: section 4.
#
# Chapter 05 put -100 on the prompt by hand. Here columns and one switch decide:
#
# | columns | switch | graded |
# |---|---|---|
# | `messages`, or `text` | | every token |
# | `prompt`, `completion` | | the completion |
# | `messages` | `assistant_only_loss` | every turn of the assistant |
#
# The trainer prepares its rows when it is made. We look at them, and train nothing.

# %%
spare, talker = load_base(), load_tokenizer()
talker.chat_template = TEMPLATE


def prepared(rows, **settings):
    """The rows as SFTTrainer prepares them: columns input_ids and labels."""
    args = SFTConfig(**HERE, **settings)
    made = SFTTrainer(spare, args, train_dataset=rows, processing_class=talker)
    return made.train_dataset


# %% [markdown]
# **Predict** for the words *In the harbor*, *And Jonas* and *At the mill*: in which of
# the three ways are they graded?

# %%
whole = Dataset.from_list([{"messages": TALK}])
halves = Dataset.from_list([{"prompt": TALK[:3], "completion": TALK[3:]}])
ways = {
    "everything": prepared(whole)[0],
    "completion": prepared(halves)[0],
    "assistant": prepared(whole, assistant_only_loss=True)[0],
}
tokens = talker.convert_ids_to_tokens(ways["everything"]["input_ids"])
graded = {way: [label != -100 for label in row["labels"]] for way, row in ways.items()}

# %%
print(f"{'token':16}", *graded)
for t, token in enumerate(tokens):
    marks = [("x" if graded[way][t] else ".").center(len(way)) for way in ways]
    print(f"{token:16}", *marks)

fig, ax = figure(9.5, 2.3)
paint = ListedColormap(["#D8D8D8", COLORS["lora"]])
ax.pcolormesh(list(graded.values()), cmap=paint, edgecolors="white", linewidth=1.5)
ax.set(xticks=[t + 0.5 for t in range(len(tokens))], yticks=[0.5, 1.5, 2.5])
names = [token.replace("Ġ", "") for token in tokens]
ax.set_xticklabels(names, rotation=90, fontsize=8)
ax.set_yticklabels(list(graded))
ax.invert_yaxis()
ax.grid(False)
show(
    fig,
    caption="One talk, graded in three ways. Green tokens are in the loss, grey ones "
    "are read only.",
    alt="Three strips of the same tokens. Everything: all green. Completion: only the "
    "last answer and its end token are green. Assistant: both answers with their end "
    "tokens are green.",
)

# %% [markdown]
# One row with two graded answers: two lessons for one reading.
# **[Exercise 9.2](../exercises/09_supervised_fine_tuning_with_trl.ipynb)** asks for that mask.
#
# **Predict:** the same switch, but a template without marks. Will the trainer grade
# everything, grade nothing, or stop?

# %%
bare = TEMPLATE.replace("{%- generation %}", "").replace("{% endgeneration %}", "")
talker.chat_template = bare
try:
    prepared(whole, assistant_only_loss=True)
except ValueError as error:
    print("ValueError:", str(error).split(" and ")[0])
talker.chat_template = tokenizer.chat_template

# %% [markdown]
# It stops: good. Prompt and completion need no marks. Are their labels those of chapter
# 05? An independent check:

# %%
some = chat.select(range(min(400, len(chat))))
rows, same = prepared(some), []
for row, plain in zip(rows, task["train"].select(range(len(rows))), strict=True):
    ours = encode(tokenizer, plain["prompt"], plain["completion"])
    same.append((row["input_ids"], row["labels"]) == ours)
print(f"{sum(same)} of {len(same)} rows have the tokens and labels of our encode()")
assert all(same) or not SHIPPED

# %% [markdown]
# ## 4 Rows that are too long
#
# `max_length` cuts off the end, without a word. **Predict:** nearly half of the rows are
# too long, their answer last. What becomes of them when only answers are graded? When
# everything is?

# %%
lengths = [len(ids) for ids in rows["input_ids"]]
half = sorted(lengths)[len(lengths) // 2]
print(f"rows have {min(lengths)} to {max(lengths)} tokens, half of them up to {half}")
for only in (True, False):
    cut = prepared(some, max_length=half, completion_only_loss=only)
    ended = sum(tokenizer.eos_token_id in ids[-2:] for ids in cut["input_ids"])  # or a line break
    print("graded:", "answers" if only else "everything")
    print(f"  {len(cut)} of {len(some)} rows left, {ended} with an end token")
assert len(cut) == len(some) > ended or not SHIPPED

# %% [markdown]
# With graded answers most long rows **vanish**: nothing is left to grade. The others
# teach the model never to stop. So count rows and end tokens.
#
# ## 5 Train
#
# **Baseline** first. **Predict:** how many questions does the base get right?

# %%
STEPS, RATE = 60, 1e-2 if chosen() == str(BASE) else 2e-4  # smaller for a large model
LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
probe = torch.tensor([rows[0]["input_ids"]])  # (1, T)
score = exact_match(base.to(DEVICE), tokenizer, test)
with torch.no_grad():
    before = base(input_ids=probe.to(DEVICE)).logits  # (1, T, vocabulary)
print(f"base: {score:.0%} right")
assert score <= 0.1 or not SHIPPED

# %% [markdown]
# `peft_config` puts the LoRA layers in. **Predict:** how do the logits change?

# %%
args = SFTConfig(
    **HERE, max_steps=STEPS, per_device_train_batch_size=32, learning_rate=RATE,
    lr_scheduler_type="cosine", warmup_steps=0.1,  # below 1: a share of all steps
    eval_strategy="steps", eval_steps=20, eval_on_start=True,
)
trainer = SFTTrainer(
    base, args, train_dataset=chat, eval_dataset=task["validation"].map(as_chat),
    processing_class=tokenizer, peft_config=LoraConfig(**LORA),
)
with torch.no_grad():
    after = trainer.model.eval()(input_ids=probe.to(DEVICE)).logits
n, total = trainer.model.get_nb_trainable_parameters()
print(f"{n / total:.1%} of the numbers train")
print("no-op:", torch.equal(before, after))
assert torch.equal(before, after) and n <= 0.05 * total or not SHIPPED

# %% [markdown]
# The trainer measures the validation loss as it goes. A *callback*, called at fixed
# places, counts right answers. (`with_bar` adds another: one bar in place of printed
# logs.) **Predict** both curves.

# %%
class Score(TrainerCallback):
    """Exact match on some rows, at every evaluation."""

    def __init__(self, rows):
        self.rows, self.found = rows, {}

    def on_evaluate(self, args, state, control, model, **kwargs):
        self.found[state.global_step] = exact_match(model, tokenizer, self.rows)


held_out = task["validation"].select(range(min(50, len(task["validation"]))))
scores = Score(held_out)
trainer.add_callback(scores)
with_bar(trainer).train()
print("steps:", trainer.state.global_step, "- evaluations:", len(scores.found))

# %%
fig, (left, right) = figure(9.5, 3.2, ncols=2)
every, checked = logged_losses(trainer), logged_losses(trainer, "eval_loss")
left.plot(every.keys(), every.values(), color=COLORS["lora"], lw=1)
left.plot(checked.keys(), checked.values(), "o-", color=COLORS["base"])
left.set(xlabel="step", ylabel="loss", yscale="log")
left.legend(["training, each batch", "validation"])
right.plot(scores.found.keys(), scores.found.values(), "o-", color=COLORS["lora"])
right.set(xlabel="step", ylabel="right answers", ylim=(-0.03, 1.03))
show(
    fig,
    caption="Left: the loss of each training batch and, every 20 steps, of the "
    "validation rows. Right: the share of right answers to validation questions.",
    alt="Left: both losses fall; the dots of the validation loss lie on the noisy "
    "curve of the training loss. Right: the share of right answers starts at zero and "
    "ends near one.",
)

# %% [markdown]
# **After**, on questions that played no part so far:

# %%
score = exact_match(trainer.model, tokenizer, test)
print("nine of ten right:", score >= 0.9)
assert score >= 0.9 or not SHIPPED
said = answers(trainer.model, tokenizer, test["prompt"][:3])
for row, answer in zip(test.select(range(3)), said, strict=True):
    print("...", row["prompt"][-40:], "->", answer[:30], "| wanted:", row["completion"])

# %% [markdown]
# ## 6 Is it the same loop?
#
# Does `SFTTrainer` do anything that our loop does not? First the schedule: a tenth of the
# steps as warm-up, then a cosine. **Predict** its first rate. Ours is the peak, divided by
# the steps of warm-up.

# %%
theirs, warm = logged_losses(trainer, "learning_rate"), -(-STEPS // 10)
for step in (1, 2, warm, warm + 1):
    ours = learning_rate(step - 1, STEPS, RATE, warmup=warm)
    print(f"step {step:2}: theirs {theirs[step]:.1e}, ours {ours:.1e}")
    late = step > 1 and learning_rate(step - 2, STEPS, RATE, warmup=warm)  # of the step before
    assert abs(theirs[step] - late) < 1e-6 * RATE

# %% [markdown]
# Their first step has the rate 0: it computes and moves nothing. Their warm-up is ours, one
# step late. Without warm-up the two schedules are one.
#
# Now a fair race: same rows, same order, and **our** A and B copied into PEFT's layers.
# **Predict** how far the losses of 30 steps lie apart.

# %%
steps = min(30, len(chat) // 16)
args = SFTConfig(
    **HERE, max_steps=steps, per_device_train_batch_size=16, learning_rate=RATE,
    lr_scheduler_type="cosine", train_sampling_strategy="sequential",
)
racer = SFTTrainer(
    load_base(), args, train_dataset=chat.select(range(16 * steps)),
    processing_class=tokenizer, peft_config=LoraConfig(**LORA),
)

# %%
mine = inject_lora(load_base().to(DEVICE), r=4, lora_alpha=8, seed=0)
pairs = [[p for p in m.parameters() if p.requires_grad] for m in (racer.model, mine)]
with torch.no_grad():
    for place, value in zip(*pairs, strict=True):
        place.copy_(value)
stream = list(racer.get_train_dataloader())
with_bar(racer).train()
theirs = list(logged_losses(racer).values())
ours = train(mine, stream, steps, RATE, warmup=0)
gaps = [abs(a - b) for a, b in zip(theirs, ours, strict=True)]
print(f"{steps} losses equal to 0.0001:", max(gaps) < 1e-4)
assert max(gaps) < 1e-4 or not SHIPPED

# %%
fig, (left, right) = figure(9.5, 3, ncols=2)
left.plot(theirs, color=COLORS["extra"], lw=5, alpha=0.5, label="SFTTrainer")
left.plot(ours, color=COLORS["lora"], lw=1.5, label="our loop")
left.set(xlabel="step", ylabel="loss")
left.legend()
right.semilogy([max(gap, 1e-9) for gap in gaps], "o", ms=4, color=COLORS["grey"])
right.axhline(1e-4, color=COLORS["full"], ls=":")
right.set(xlabel="step", ylabel="difference", ylim=(5e-10, 1e-3))
show(
    fig,
    caption="Left: the losses of both loops on the same batches. Right: how far they "
    "lie apart. Dotted: 0.0001.",
    alt="Left: two falling curves that lie on each other. Right: dots, all of them far "
    "below the dotted line.",
)

# %% [markdown]
# The same loop. What you pay in lines comes back in comfort: evaluation, checkpoints,
# several GPUs, mixed precision.
#
# ## 7 Packing
#
# Padding is computed like the rest. *Packing* lays rows end to end in bins of
# `max_length`: the longest first, each into the fullest bin that has room (*best fit,
# decreasing*). **Predict:** what share of a batch of 32 is padding, and of a bin its free
# end? (How long rows are stands in section 4.) How many real tokens has a step?

# %%
rows = trainer.train_dataset.select_columns(["input_ids", "labels"])
real = sum(lengths := [len(ids) for ids in rows["input_ids"]])
ROOM = max(256, 2 * max(lengths))
bins = pack_dataset(rows, ROOM)
order = random.Random(0).sample(range(len(rows)), len(rows))
batches = [[lengths[i] for i in order[k : k + 32]] for k in range(0, len(order), 32)]
slots = sum(max(batch) * len(batch) for batch in batches), ROOM * len(bins)
steps = len(batches), -(-len(bins) // 8)
for way, n, k in zip(("32 padded, padding", "8 bins, free ends "), slots, steps, strict=True):
    print(f"{way} {1 - real / n:3.0%}, {k} steps of {real / k:,.0f} real tokens")

# %%
fig, axes = figure(9.5, 2.6, ncols=2)
strips = [[n] for n in batches[0][:12]], bins["seq_lengths"][len(bins) // 2 :][:12]
for ax, strip, title in zip(axes, strips, ("padded", "packed"), strict=True):
    width = max(map(sum, strip)) if title == "padded" else ROOM
    for y, parts in enumerate(strip):
        ends = [sum(parts[:k]) for k in range(len(parts))]
        ax.barh([y] * len(parts), parts, left=ends, color=COLORS["lora"], ec="white")
        ax.barh(y, width - sum(parts), left=sum(parts), color=COLORS["full"])
    ax.set(title=title, xlabel="position", ylabel="row", yticks=[])
show(
    fig,
    caption="Left: twelve rows of a padded batch. Right: twelve packed bins. Green: "
    "real tokens, orange-red: padding, and the free ends of the bins.",
    alt="Left: bars of different length, each filled up with a red rest. Right: bars "
    "made of several green pieces, with a small rest or none.",
)

# %% [markdown]
# **Predict:** can the second row of a bin see the first? Watch its logits: alone, and
# packed with *`position_ids`*, the number of each token's place, that begin anew or go on.

# %%
bin_ = next(b for b in bins if len(b["seq_lengths"]) > 1)
first, second = bin_["seq_lengths"][:2]
ids, here = torch.tensor([bin_["input_ids"]]), slice(first, first + second)  # (1, T)
positions = torch.cat([torch.arange(n) for n in bin_["seq_lengths"]])[None]  # (1, T)
model = load_base()
with torch.no_grad():
    alone = model(input_ids=ids[:, here]).logits
    for name, place in (("begin anew:", positions), ("go on:     ", None)):
        packed = model(input_ids=ids, position_ids=place, use_cache=False).logits
        print(name, "as if alone:", torch.allclose(packed[:, here], alone, atol=1e-3))

# %% [markdown]
# A position 0 tells transformers that a new row begins; what came before is masked. TRL sends such
# positions. It joins the bins of a batch **without** their free ends: what a bin has left is not
# computed. **[Exercise 9.3](../exercises/09_supervised_fine_tuning_with_trl.ipynb)** asks you to
# pack.
#
# > **Myth check.** *Packing makes training faster.* **Predict** the time per real token on
# > a CPU, packed over padded. There is no padding to pay for. But n tokens in one row make
# > n² pairs for attention, and a batch of bins becomes one row.

# %%
class Clock(TrainerCallback):
    """The time at which each step ended."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.ends = {}

    def on_step_end(self, args, state, control, **kwargs):
        self.ends[state.global_step] = time.perf_counter()


# %% tags=["nbval-ignore-output"]
def seconds(**settings):
    """Seconds per real token in the fastest of six steps."""
    settings = {**HERE, "use_cpu": True, "max_length": 256, **settings}  # true of a CPU
    clock, args = Clock(), SFTConfig(**settings, max_steps=6)
    made = SFTTrainer(
        load_base(), args, train_dataset=some, processing_class=tokenizer,
        peft_config=LoraConfig(**LORA), callbacks=[clock],
    )
    first = next(iter(made.get_train_dataloader()))["input_ids"]  # (B, T)
    whole = len(first) == 1 and tokenizer.pad_token_id not in first  # one row, no padding
    assert whole or not args.packing or not SHIPPED
    with_bar(made).train()
    read, ends = logged_losses(made, "num_tokens"), clock.ends
    return min((ends[k] - ends[k - 1]) / (read[k] - read[k - 1]) for k in range(2, 7))


padded = seconds(per_device_train_batch_size=32)
ratio = {}
for count in (4, 8):
    packed = seconds(per_device_train_batch_size=count, packing=True)
    ratio[count] = packed / padded
    print(f"{count} bins: {ratio[count]:.2f} times as long per real token as padded")
assert ratio[8] > ratio[4] or not SHIPPED

# %% [markdown]
# > **Verdict: it depends on the kernel**, the program that computes attention. TRL lays all
# > bins of a batch into **one** row, and attention here computes every pair in it before
# > it masks those of other rows: the longer that row, the dearer each token. Kernels made
# > for this (FlashAttention, on a GPU) leave such pairs out.
#
# ## 8 Stop and go on
#
# Twelve steps, a checkpoint every 4. We pull the plug at the end of step 7, before its
# loss is written down. **Predict:** where does it go on? Will the losses be equal,
# although LoRA's dropout draws random numbers?

# %%
class PowerCut(Exception):
    pass


class Unplug(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 7:
            raise PowerCut


# %%
def run(folder, *callbacks, resume=None):
    args = SFTConfig(
        **{**HERE, "output_dir": folder, "save_strategy": "steps"}, save_steps=4,
        max_steps=12, per_device_train_batch_size=16, learning_rate=RATE,
    )
    made = SFTTrainer(
        load_base(), args, train_dataset=some, callbacks=list(callbacks),
        processing_class=tokenizer, peft_config=LoraConfig(**LORA, lora_dropout=0.1),
    )
    with suppress(PowerCut):
        with_bar(made).train(resume_from_checkpoint=resume)
    return logged_losses(made)


folder = tempfile.mkdtemp()
unbroken, broken = run(tempfile.mkdtemp()), run(folder, Unplug())
print("last loss before the cut: step", max(broken))
print("on disk:", *sorted(name for name in os.listdir(folder) if "checkpoint" in name))
resumed = run(folder, resume=True)
gap = max(abs(resumed[step] - unbroken[step]) for step in unbroken)
print(f"resumed: {len(resumed)} losses, equal to 0.0001:", gap < 1e-4)
assert gap < 1e-4 or not SHIPPED
print(*sorted(os.listdir(os.path.join(folder, "checkpoint-12"))), sep="\n")

# %% [markdown]
# `resume_from_checkpoint=True` takes the newest checkpoint: the adapter, Adam's two
# means (`optimizer.pt`), the place in schedule and data, the states of the random
# numbers. The base is not in it, for it never changed.
#
# ## 9 Old code, repaired
#
# Libraries move faster than the texts about them. Here is a script for earlier releases;
# `FOLDER`, `OUT`, `tokenizer`, `texts` and `new_texts` are its author's. A *collator* makes a
# batch of rows; its one looked for the sign to answer, and put -100 before it.
# **Predict:** which of its arguments fail today? Compare them with those that this chapter
# has used so far: `SFTConfig`, `eval_strategy`, `warmup_steps`, `max_length`,
# `processing_class`, a list of layers.

# %%
OLD = """
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainingArguments
from trl import DataCollatorForCompletionOnlyLM, SFTTrainer

model = AutoModelForCausalLM.from_pretrained(
    FOLDER, torch_dtype=torch.float16, load_in_4bit=True)
collator = DataCollatorForCompletionOnlyLM("<|assistant|>", tokenizer=tokenizer)
args = TrainingArguments(
    output_dir=OUT, evaluation_strategy="steps", eval_steps=10, max_steps=20,
    warmup_ratio=0.1, group_by_length=True, learning_rate=5e-3)
trainer = SFTTrainer(
    model=model, tokenizer=tokenizer, args=args, data_collator=collator,
    train_dataset=texts, eval_dataset=new_texts, dataset_text_field="text",
    max_seq_length=256,
    peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="q_proj,v_proj"))
trainer.train()
"""
try:
    exec(OLD)
except ImportError as error:
    print("ImportError:", str(error).split(" (")[0])

# %%
load = partial(AutoModelForCausalLM.from_pretrained, chosen())
settings = partial(TrainingArguments, output_dir=HERE["output_dir"])
make = partial(SFTTrainer, spare, train_dataset=some, processing_class=tokenizer)
comma = LoraConfig(r=4, target_modules="q_proj,v_proj")
OUTDATED = [
    (load, {"load_in_4bit": True}),
    (settings, {"evaluation_strategy": "steps"}),
    (settings, {"warmup_ratio": 0.1}),
    (settings, {"group_by_length": True}),
    (make, {"tokenizer": tokenizer}),
    (make, {"dataset_text_field": "text"}),
    (make, {"max_seq_length": 256}),
    (partial(make, args=SFTConfig(**HERE)), {"peft_config": comma}),
]
for call, old in OUTDATED:  # Python stops at its first mistake; here each one on its own
    try:
        call(**old)
        raise AssertionError(f"{old} works again")
    except (TypeError, ValueError) as error:
        print(str(error).split(". ")[0])

# %% [markdown]
# The last one is no unknown name: PEFT takes a plain string as **one** regular
# expression. Two old names still work, with a warning: `torch_dtype` (now `dtype`;
# PEFT's loader ignores it) and `gradient_checkpointing` (now
# `activation_checkpointing`).
#
# | then | now |
# |---|---|
# | `DataCollatorForCompletionOnlyLM` | columns `prompt`, `completion` |
# | `load_in_4bit=True` | `quantization_config=`, chapter 11 |
# | `TrainingArguments` | `SFTConfig` |
# | `evaluation_strategy=` | `eval_strategy=` |
# | `warmup_ratio=0.1` | `warmup_steps=0.1` |
# | `group_by_length=True` | `train_sampling_strategy="group_by_length"` |
# | `max_seq_length=`, `dataset_text_field=` | `max_length=`, the same: in `SFTConfig` |
# | `tokenizer=` | `processing_class=` |
# | `LoRAConfig` | `LoraConfig` |
# | `target_modules="q_proj,v_proj"` | `["q_proj", "v_proj"]` |
#
# The script, repaired. **[Exercise 9.4](../exercises/09_supervised_fine_tuning_with_trl.ipynb)** is
# one like it.

# %%
model = AutoModelForCausalLM.from_pretrained(chosen(), dtype=torch.float32)
args = SFTConfig(
    **HERE, eval_strategy="steps", eval_steps=10, max_steps=20, warmup_steps=0.1,
    train_sampling_strategy="group_by_length", learning_rate=RATE, max_length=256,
)
layers = ["q_proj", "v_proj"] if SHIPPED else "all-linear"
repaired = SFTTrainer(
    model=model, args=args, train_dataset=chat, eval_dataset=held_out.map(as_chat),
    processing_class=tokenizer,
    peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=layers),
)
with_bar(repaired).train()
ends = list(logged_losses(repaired, "eval_loss").values())
print("steps:", repaired.state.global_step, "- loss fell:", ends[-1] < ends[0])

# %% [markdown]
# **[Exercise 9.5](../exercises/09_supervised_fine_tuning_with_trl.ipynb)** lets you choose all
# numbers of a run, and has a threshold to pass.
#
# ## Takeaways
#
# - Columns and template decide what is graded. Look at the labels of a row first.
# - The end token belongs inside the marks; `max_length` cuts it off without a word.
# - `SFTTrainer` computes what our loop does. Its defaults are not made for LoRA.
# - Packing removes the padding; time it saves with a kernel that knows the rows.
# - A checkpoint is adapter, optimizer, schedule and random numbers.
#
# ## Problems without code
#
# 1. Talks of ten turns: with completion-only and with assistant-only, how many tokens are
#    read for each graded one?
# 2. The same rows, in padded batches of 32 or 8 bins at a time: why another learning rate?
# 3. Why does a loss curve not show that the end token was cut off?
# 4. `warmup_steps=0.1` and `warmup_steps=10` give the same run for some numbers of steps.
#    Which? (A share is rounded up.)
#
# **Before:** [08 The same thing in PEFT](08_the_same_thing_in_peft.ipynb). **Next:** [10
# Quantization from scratch](10_quantization_from_scratch.ipynb). **Sources:** [LoRA Without
# Regret](https://thinkingmachines.ai/blog/lora/), [packing](https://arxiv.org/abs/2404.10830),
# [TRL's SFTTrainer](https://huggingface.co/docs/trl/sft_trainer), [chat
# templates](https://huggingface.co/docs/transformers/chat_templating).
