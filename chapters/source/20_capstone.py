# %% [markdown]
# # 20 Capstone
#
# A file of 600 rows, as it came. How does it become an adapter and a merged model that
# you can answer for? About 70 minutes, and a working day with a file of yours, after
# [chapter 19](19_the_clinic.ipynb).
#
# You will be able to
# - clean and split rows so that a score means something;
# - choose, train, merge and prove, each step with its evidence;
# - hand over a folder that passes a judge who has seen none of it.

# %%
import json
import os
import re  # noqa: F401
import tempfile
import unicodedata  # noqa: F401
from collections import Counter
from pathlib import Path

import torch
from datasets import Dataset

from lora_course.bridges.model_card import model_card, training_flops
from lora_course.bridges.shipping import distance, measure, stranger
from lora_course.kit import pages  # noqa: F401
from lora_course.kit.chooser import answer, choose
from lora_course.kit.clean import cleaned
from lora_course.kit.data import batches, encode, load_task
from lora_course.kit.models import chosen, is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.kit.town import messy, probes  # noqa: F401
from lora_course.rubric.judge import RUBRIC, as_lines, judge_project
from lora_course.train import train

quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
from peft import LoraConfig, get_peft_model

# %% [markdown]
# ## 1 What came
#
# The court's desk of the town wants its form filled in: a report comes in, the form goes
# out. There is also a **test split**, a hundred rows, for the examination. Nothing in it may
# be trained on.

# %%
work, shipped = Path(tempfile.mkdtemp()), is_shipped()  # work: the folder of the project
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if os.environ.get("LORA_COURSE_DATA"):  # your data in the place of the desk's
    own = load_task()
    raw, test = [*own["train"], *own["validation"]], list(own["test"])
else:
    raw, test = messy.messy()
print(len(raw), "rows,", len(test), "for the test")
for row in raw[:4]:
    print(row)

# %% [markdown]
# **Read first.** Among the desk's first four rows are two formats, and a form about another
# thing than its report. So: one format, before anything is counted, and a way to see that two
# texts have the same words. **Predict:** what becomes of a row that is longer than
# `max_length`? (Chapter 09, section 4.)

# %% tags=["quote"]
from lora_course.kit.clean import as_row, words_of

# %%
base, tokenizer = load_base(), load_tokenizer()
if not tokenizer.chat_template:  # a base of yours may come without one (chapter 09)
    tokenizer.chat_template = load_tokenizer("base").chat_template
# Rows that are too long are looked for, so no warning is needed for each
tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True


def tokens(row):
    """How many tokens a row has in the chat format, its end token counted."""
    return len(encode(tokenizer, row["prompt"], row["completion"])[0])


print(Counter(" and ".join(row) for row in raw))
rows = [as_row(row) for row in raw]
lengths = [tokens(row) for row in rows]

# %%
LIMIT = 128 if shipped else base.config.max_position_embeddings
fig, ax = figure(6.5, 2.4)
ax.hist(lengths, bins=40, color=COLORS["base"])
ax.axvline(LIMIT, color=COLORS["full"], ls=":")
ax.set(xlabel="tokens of a row", ylabel="rows", xlim=(0, None))
show(
    fig,
    caption="How long the rows are. Dotted: the longest row that will be taken.",
    alt="A histogram. Nearly all rows are left of the dotted line; a few stand far to "
    "the right of it.",
)
print(sum(n > LIMIT for n in lengths), "rows are longer than", LIMIT, "tokens")

# %% [markdown]
# Cut at the limit, such a row loses its form and its end token, without an error. They go.
# (If yours matter, split them.)
#
# ## 2 The same twice
#
# **Predict:** equal text finds some copies. Which ones does it miss?

# %%
letters = Counter(row["prompt"] for row in rows)
words = Counter(words_of(row["prompt"]) for row in rows)
for name, counted in (("letter by letter", letters), ("by words", words)):
    print(f"{name:17} {len(rows) - len(counted)} of {len(rows)} rows are copies")
missed = [text for text, n in letters.items() if words[words_of(text)] > n]
for text in sorted(missed, key=words_of)[:4]:
    print(repr(text))

# %% [markdown]
# Capitals, double spaces, wide letters, a lost full stop: other tokens, the same row.
#
# ## 3 Wrong forms
#
# Nobody marks a wrong form. But this task has a rule: a form is made of words that **all**
# forms have, and of words of **its** report. A word that is neither is *strange*.

# %% tags=["quote"]
from lora_course.kit.clean import strange

# %%
odd = strange(rows)
share = sum(map(bool, odd)) / len(rows)
print(f"{share:.0%} of the rows have a strange word")
for row, found in [pair for pair in zip(rows, odd, strict=True) if pair[1]][:3]:
    print(row["prompt"], "\n ->", row["completion"], "\n   ", *sorted(found))
extractive = share < 0.2
print("the rule holds for these data:", extractive)

# %% [markdown]
# A rule that accuses a fifth of the rows is itself what is wrong: then it is left out, as
# with most data that are not copied from the prompt. Look at what is left by eye, or give
# two people the same fifty rows and count where they differ.
#
# ## 4 Leaks, and the order of it all
#
# A *leak* is a row of the test split among those you train on. **Predict:** some wrong rows
# are copies of right ones. What stays, if copies go before wrong rows?
#
# The one that came first, be it wrong. So wrong rows go first.
# **[Exercise 20.1](../exercises/20_capstone.ipynb)** asks you to write it all
# ([exercises](../exercises/20_capstone.ipynb); `lora-course start 20`). Until then, the course's
# version (a *contradiction* is one prompt with two answers, of which no rule says which is right):

# %%
kept, went = cleaned(raw, test, tokens, LIMIT, extractive)
for why, numbers in went.items():
    print(f"{why:14} {len(numbers):4}")
print(f"{'kept':14} {len(kept):4}")
asked = {words_of(row["prompt"]) for row in test}
assert kept and not asked & {words_of(row["prompt"]) for row in kept}

# %%
left, steps = len(raw), [("came", 0, len(raw))]
for why, numbers in went.items():
    steps.append((why, left - len(numbers), len(numbers)))
    left -= len(numbers)
steps.append(("kept", 0, left))
fig, ax = figure(7, 2.6)
paint = [COLORS["base"], *[COLORS["full"]] * len(went), COLORS["lora"]]
names, starts, sizes = zip(*steps, strict=True)
ax.bar(names, sizes, bottom=starts, color=paint)
ax.set(ylabel="rows", ylim=(min(starts[1:-1]) * 0.8, None))
show(
    fig,
    caption="From the rows that came (blue) to those that are kept (green); "
    "orange-red: what went, and why. The axis does not begin at 0.",
    alt="Bars from left to right: all rows, then a falling stair of what was taken out, "
    "then the rows that are kept.",
)

# %% [markdown]
# ## 5 Split
#
# The test split is for the last day. Choosing rates and ranks needs rows of its own:
# **validation**. Drawn at random each time, a file that grows gets another split, and
# yesterday's training rows are today's examination. So the row itself decides.

# %% tags=["quote"]
from lora_course.kit.clean import split

# %%
train_rows, validation = split(kept, 0.15, seed=0)
print(len(train_rows), "to train,", len(validation), "to choose by")
fewer = split([*reversed(kept)][:200], 0.15, seed=0)
print("200 rows of it, from its end, keep their sides:",
      all(row in validation for row in fewer[1]), all(row in train_rows for row in fewer[0]))
for name, part in (("train", train_rows), ("validation", validation), ("test", test)):
    lines = "".join(json.dumps(row) + "\n" for row in part)
    (work / f"{name}.jsonl").write_text(lines, encoding="utf-8")

# %% [markdown]
# **[Exercise 20.2](../exercises/20_capstone.ipynb)** splits rows of which several come from one
# report.
#
# > **Myth check.** *Copies do no harm, they are right after all.* Split first, clean
# > later: **predict** how many validation rows have a copy among the training rows.

# %%
first = rows[: len(rows) * 85 // 100], rows[len(rows) * 85 // 100 :]  # as most scripts do it
seen = {words_of(row["prompt"]) for row in first[0]}
hits = sum(words_of(row["prompt"]) in seen for row in first[1])
print(f"{hits} of {len(first[1])} validation rows were trained on")
assert not shipped or hits > 5

# %% [markdown]
# > **Verdict: wrong.** Those rows ask what the model has read. A validation score with
# > copies in it can also favour settings that learn by heart.
#
# ## 6 Baseline
#
# What does the base do with these reports, and what can it do that must stay? Its old skill
# is to find a word in a report (chapter 15). **Predict** both numbers.

# %% tags=["quote"]
from lora_course.rubric.conduct import look_ups

# %%
tried = validation[:100]
print(f"forms right {measure(base, tokenizer, tried)[0]:.0%}")
print(f"look-ups right {look_ups(base, tokenizer):.0%}")

# %% [markdown]
# ## 7 Choose
#
# The guide of chapter 14 asks for constraints. Ours: one task, no slower than the base, and
# little that is new, for the form is copied from the report. For a small model it says:

# %%
print(answer(choose("SmolLM2-135M", card=8, fast=True)))

# %% [markdown]
# LoRA, and at least three rates. Our base is narrower still: ranks 8 and 1. Each run is judged
# on **two** axes. **Predict:** which of four rates fills in the most validation forms? Which
# keeps the most look-ups?

# %%
STEPS, WARM, SPEED = (60, 10, 1) if shipped else (8, 2, 0.05)  # a large model wants smaller rates


def fit(r, rate):
    """The base with a LoRA of PEFT, trained on the train rows."""
    torch.manual_seed(0)
    config = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_base(), config).to(DEVICE)
    rows = batches(train_rows, tokenizer, 16, STEPS, seed=0)
    train(model, rows, STEPS, lr=rate, warmup=WARM)
    return model.cpu()

# %% tags=["nbval-ignore-output"]
found = {}  # (r, rate): forms right, look-ups right
for r, rate in ((8, 0.001), (8, 0.003), (8, 0.01), (8, 0.03), (1, 0.01)):
    model = fit(r, SPEED * rate)
    found[r, rate] = measure(model, tokenizer, tried)[0], look_ups(model, tokenizer)
    right, kept_skill = found[r, rate]
    print(f"r = {r}, rate {rate:5}: forms {right:4.0%}, look-ups {kept_skill:4.0%}")
assert not shipped or min(found[8, 0.003]) > 0.9 > found[8, 0.03][1]
assert not shipped or found[1, 0.01][0] > 0.9

# %%
fig, ax = figure(6.5, 2.8)
line = [(rate, *found[8, rate]) for r, rate in found if r == 8]
rates, formed, looked = zip(*line, strict=True)
ax.semilogx(rates, formed, "o-", color=COLORS["lora"], label="forms, r = 8")
ax.semilogx(rates, looked, "s-", color=COLORS["base"], label="look-ups, r = 8")
for marker, value, color, what in zip(
    "os", found[1, 0.01], (COLORS["lora"], COLORS["base"]), ("forms", "look-ups"), strict=True
):  # larger than what may lie below
    ax.semilogx([0.01], value, marker, ms=12, mfc="none", color=color, label=f"{what}, r = 1")
ax.set(xlabel="learning rate", ylabel="share right", ylim=(-0.05, 1.08))
ax.legend(fontsize=8)
show(
    fig,
    caption="What was learned (green) and what was kept (blue), over the learning rate. "
    "Rings: rank 1.",
    alt="Two lines over the rate. The forms rise to near 1 and stay there. The look-ups are "
    "near 1 at low rates and fall at high ones.",
)

# %% [markdown]
# Several runs lie within a few rows of the best: the score alone cannot tell them apart. The second
# axis can. **[Exercise 20.3](../exercises/20_capstone.ipynb)**: a rule that decides, and never
# looks at the test.
#
# > **Myth check.** *Rank 1 or 2 does badly; begin with 8.* **Verdict: wrong as a rule.**
# > The LoRA paper's Table 6 has rank 1 level with 64 on two tasks. Here, too, a new form
# > for known words fits in rank 1, at its own rate. (Counter-case: much new code, Biderman
# > et al. 2024.)
#
# We take r = 8 and 0.003.
#
# ## 8 Preflight
#
# The trainer of chapter 09, with what was chosen.

# %%
from lora_course import preflight
from lora_course.bridges.sft import as_chat, logged_losses, with_bar
from trl import SFTConfig, SFTTrainer

R, RATE = 8, SPEED * 0.003
CONFIG = LoraConfig(r=R, lora_alpha=2 * R, target_modules="all-linear", task_type="CAUSAL_LM")


def trainer(rows, **changed):
    """An SFTTrainer for these rows. changed: settings in place of ours."""
    ours = {"learning_rate": RATE, "max_length": LIMIT, "max_steps": STEPS, "warmup_steps": WARM}
    args = SFTConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=DEVICE == "cpu", bf16=False, report_to="none",
        activation_checkpointing=False, dataloader_pin_memory=False, save_strategy="no",
        logging_steps=1, per_device_train_batch_size=16, lr_scheduler_type="cosine",
        **ours | changed,
    )
    data = Dataset.from_list(rows).map(as_chat)
    return SFTTrainer(
        load_base(), args, train_dataset=data, processing_class=tokenizer, peft_config=CONFIG
    )

# %% [markdown]
# Before a run is paid for, the tool of chapter 19 looks at it. It changes nothing. **Predict**
# what it says of these: the rows as they came, a rate a thousand times too small, and a
# `max_length` that cuts.

# %% tags=["nbval-ignore-output"]
short = [row for row, n in zip(rows, lengths, strict=True) if n <= LIMIT]  # as they came
careless = trainer(short, learning_rate=RATE / 1000, max_length=LIMIT * 3 // 8)
seen = {found.rule for found in preflight(careless, test_rows=test).findings
        if found.verdict in ("warning", "problem")}
assert not shipped or {"train_rows_in_test", "rate_out_of_range"} <= seen

# %%
run = trainer(train_rows)
passed = preflight(run, test_rows=test)
assert not shipped or not passed.problems

# %% [markdown]
# One line: go. Above it counted fewer leaks than section 4, because a row that was cut equals
# no other. It knows what a run shows, not that a form is wrong. A limit that cuts few is no
# finding.
#
# ## 9 Train

# %%
with_bar(run).train()
model = run.model.eval().cpu()
losses = list(logged_losses(run).values())
print("steps:", len(losses), "- the loss fell:", losses[-1] < losses[0])

# %% [markdown]
# ## 10 Evaluate, once
#
# Now the test split, for the first time. **Predict** the base's score and ours. Then: if
# all hundred are right, might it still err once in fifty?


# %% tags=["nbval-ignore-output"]
def interval(right, n, z=1.96):
    """Where the true share lies, with 95 %: Wilson 1927."""
    p, slack = right / n, z * z / n
    half = z * (p * (1 - p) / n + slack / (4 * n)) ** 0.5
    return [(p + slack / 2 + sign * half) / (1 + slack) for sign in (-1, 1)]


scores = {}
for name, one in (("base", base), ("ours", model)):
    scores[name] = share = measure(one, tokenizer, test)[0]
    low, high = interval(share * len(test), len(test))
    print(f"{name}: {share:.0%} of {len(test)}, true share {low:.0%} to {high:.0%}")
    print("   look-ups:", "over 90 %" if look_ups(one, tokenizer) > 0.9 else "fewer")
assert not shipped or scores["ours"] >= 0.95 > 0.05 >= scores["base"]

# %% [markdown]
# It might. The *Wilson interval* of a hundred right answers in a hundred begins below 97 %. A
# rule for the head: n answers without an error still allow an error rate of 3 / n. And the
# test is spent: who goes back and tunes on it has a second validation split.
#
# > **Myth check.** *Clean data are what makes the score.* We train on the rows as they came,
# > only the longest left out. **Predict** its score on the test rows that leaked, and on the
# > others.

# %% tags=["nbval-ignore-output"]
dirty = trainer(short)
with_bar(dirty).train()
leaked = {words_of(row["prompt"]) for row in rows}
halves = {"leaked": [], "fresh": []}
for row in test:
    halves["leaked" if words_of(row["prompt"]) in leaked else "fresh"].append(row)
for name, part in halves.items():
    for who, one in (("cleaned", model), ("as it came", dirty.model.eval().cpu())):
        if part:
            right, loss, _ = measure(one, tokenizer, part)
            print(f"{name}: {who:10} right {right:.0%}, loss {loss:.4f}")
            assert not shipped or right > 0.9

# %% [markdown]
# > **Verdict: on this model, no.** One wrong form in twenty costs hardly a form. What the mess
# > costs is the **proof**: thirty of the hundred test rows examine nothing, and no score says
# > so.
#
# ## 11 Merge and prove
#
# The adapter first, for a merge uses it up. Its config names the base, and PEFT has written
# the folder of **this machine** there. **Predict** what a stranger would do with that, and how
# far the logits of the merged file are from those of base and adapter.

# %%
HERE = chosen()  # a hub id, or a folder
BASE_NAME = Path(HERE).name if Path(HERE).is_dir() else HERE
BASE_NAME = "lora_course/base" if shipped else BASE_NAME
model.save_pretrained(work / "adapter")
for file in ("adapter_config.json", "README.md"):
    text = (work / "adapter" / file).read_text(encoding="utf-8")
    print(file, "names", "a folder of this machine" if str(Path(HERE)) in text else "the base")
    named = text.replace(json.dumps(HERE)[1:-1], BASE_NAME).replace(HERE, BASE_NAME)
    (work / "adapter" / file).write_text(named, encoding="utf-8")
count = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
before = measure(model, tokenizer, tried)[2]  # logits
changed = sorted(model.peft_config["default"].target_modules)
model.merge_and_unload().eval().save_pretrained(work / "merged")
tokenizer.save_pretrained(work / "merged")
again = load_base(str(work / "merged"))
off = distance(measure(again, tokenizer, tried)[2], before)
print("off by less than 0.001 of their size:", off < 1e-3)
assert off < 1e-3

# %% [markdown]
# **[Exercise 20.4](../exercises/20_capstone.ipynb)** looks into a release that somebody else made.
# Last proof: a process that knows neither PEFT nor this course.

# %%
row = test[0]
said = stranger(row["prompt"], [work / "merged"])[0]
print(row["prompt"], "\n ->", said if shipped else "")
assert not shipped or said == row["completion"]

# %% [markdown]
# ## 12 The card
#
# Every number in it was measured in this notebook, on the file that is shipped. What nobody
# knows, says so. Data of yours want words of yours: two lines are left open for them.

# %%
OPEN = "Say what it is for, and what it is not for."
steps_read = sum(b["input_ids"].numel() for b in batches(train_rows, tokenizer, 16, STEPS, seed=0))
facts = {
    "name": "court-forms", "base": BASE_NAME,
    "base_license": "apache-2.0" if shipped else "see its card", "license": "apache-2.0",
    "data": "the court's desk, generated, cleaned" if shipped else "not described",
    "rows": len(train_rows), "test_rows": len(test), "metric": "exact match",
    "hyperparameters": {"r": R, "lora_alpha": 2 * R, "learning rate": RATE, "steps": STEPS},
    "changed": changed, "parameters": again.num_parameters(),
    "trained": count, "flops": training_flops(base.num_parameters(), count, steps_read),
    "before": scores["base"], "after": measure(again, tokenizer, test)[0],
    "intended_use": "A report becomes the court's form." if shipped else OPEN,
    "limits": "Knows one invented town. Not for real cases." if shipped else OPEN,
    "input": "text to text, chat format, English",
    "how_to_load": "transformers: from_pretrained, for model and tokenizer",
}
(work / "merged/README.md").write_text(model_card(facts), encoding="utf-8")
print(*sorted(str(f.relative_to(work)) for f in work.rglob("*") if f.is_file()), sep="\n")

# %% [markdown]
# **[Exercise 20.5](../exercises/20_capstone.ipynb)** holds a card against its run.
#
# ## 13 The judge
#
# A *rubric* is a list of properties, each judged by itself. Ours has sixteen. One of them,
# as an example:

# %% tags=["quote"]
from lora_course.rubric.used_rows import no_leak

# %% tags=["nbval-ignore-output"]
findings = judge_project(work)
print(as_lines(findings))
assert not shipped or all(f.holds for f in findings)

# %% [markdown]
# The judge reads the folder alone, and asks rows that no file of the project holds. Three
# projects that look as good. **Predict** which property each fails:
#
# 1. the training rows on disk are those that came;
# 2. the merged model was saved in bfloat16, to save half of the bytes;
# 3. adapter and merged model lie in one folder, so that nobody has to search.

# %%
import shutil

for name in ("came", "half", "together"):
    shutil.copytree(work, work.with_name(f"{work.name}_{name}"))
came, half, together = (work.with_name(f"{work.name}_{n}") for n in ("came", "half", "together"))
lines = "".join(json.dumps(row) + "\n" for row in rows)
(came / "train.jsonl").write_text(lines, encoding="utf-8")
load_base(str(half / "merged")).bfloat16().save_pretrained(half / "merged")
for file in (together / "adapter").iterdir():
    if file.name != "README.md":
        shutil.copy(file, together / "merged")
quick = [rule for rule in RUBRIC if rule.__name__ not in ("stops", "old_skills")]
for folder in (came, half, together):
    bad = [f for f in judge_project(folder, rules=quick) if f.holds is False]
    print(folder.name.rpartition("_")[2], "fails:", ", ".join(f.name for f in bad))

# %% [markdown]
# The first one scores as well as ours, and knows its examination. The second is hardly worse:
# the judge asks for the model that was **measured**. The third loads, and applies the update
# twice. The score alone accuses the third and lets two pass.
#
# ## 14 Yours
#
# The same notebook takes your file: `LORA_COURSE_DATA=mine.jsonl`, with prompt and completion
# on each line, and `LORA_COURSE_MODEL` for your base. What nobody can judge for you says so:
# which rows are good, which old skills must stay. Bring twenty old questions of your own.
# `python -m lora_course.rubric.judge FOLDER` judges any folder of this form.
#
# The [exercises](../exercises/20_capstone.ipynb) end with the project: your own `clean`,
# `split` and `decide` in the place of ours, and the judge.

# %% [markdown]
# ## Takeaways
#
# - One format, then what is wrong, then what is twice: in this order.
# - A row decides on its side of the split, and the test is asked once.
# - Two axes: what is learned, and what must stay. The score alone does not decide.
# - Prove the file, not the model in memory. Name the base as others can find it.
# - n answers without an error still allow an error rate of 3 / n.
#
# ## Problems without code
#
# 1. A file has 10,000 rows, 400 of them copies of test rows. The model scores 90 % on a test of
#    1,000 and 87 % on the 600 of them that never leaked. What does it score on the leaked ones?
# 2. You may label 200 more rows: for training, or for the test? What does each buy?
# 3. Two teams split the same file by our `split`, with seeds 0 and 1, and swap adapters. What
#    may neither do with the other's validation rows?
# 4. 0 errors in 100, and 2 errors in 1,000. Which model would you rather ship?
# 5. The judge's hidden rows come from the generator of the file. Which fault of a project can
#    they not show?
#
# **Before:** [19 The clinic](19_the_clinic.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685), Table 6; [LoRA Learns Less and Forgets
# Less](https://arxiv.org/abs/2405.09673); E. B. Wilson, *Probable inference*, J. Am. Stat.
# Assoc. 22 (1927); Lee et al. 2022, [Deduplicating training data makes language models
# better](https://arxiv.org/abs/2107.06499).
