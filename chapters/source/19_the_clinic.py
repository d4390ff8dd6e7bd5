# %% [markdown]
# # 19 The clinic
#
# A run ends without an error, and its model is useless. What went wrong, and how could
# you have seen it before? About 60 minutes (half of one computing), after chapters 05 to
# 12.
#
# You will be able to
# - read the evidence of a run: losses, gradients, what moved, what is graded;
# - name fourteen faults that raise no error, twelve of them from public reports;
# - examine your own runs with two lines, and teach the tool a new rule.

# %%
import copy
import tempfile
import warnings
from pathlib import Path

import torch
from IPython.display import Markdown

from lora_course import preflight
from lora_course.costs.memory import block_linears
from lora_course.kit import clinic
from lora_course.kit.chart import chart, evidence
from lora_course.kit.models import is_shipped, load_base, load_tokenizer, quiet
from lora_course.preflight.bugs import bug_table
from lora_course.preflight.report import ok, problem, warning

quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

shipped = is_shipped()  # else no number is asserted
places = sorted({name.rpartition(".")[2] for name in block_linears(load_base())})

# %% [markdown]
# ## 1 What a healthy run looks like
#
# LoRA with r = 4 on all linear layers, twelve steps of eight rows of `questions`. The chart
# has five lines. **Predict** three of them: which of A, B and the rest has a gradient at
# the first step? Which have moved after twelve? Which tokens are graded?

# %% tags=["nbval-ignore-output"]
healthy = clinic.healthy()
seen = chart(healthy)
assert seen["gradients"]["A"] == 0 < seen["gradients"]["B"]  # B = 0 stands before A
assert seen["moved"]["A"] > 0 and seen["moved"]["rest"] == 0
assert not shipped or seen["losses"][-1] < 0.5 * seen["losses"][0]

# %% [markdown]
# Brackets are graded tokens: answer and end. A has no gradient at step 0: its B is zero.
#
# ## 2 The tool
#
# `preflight` examines a run and changes nothing, not even random numbers. It takes a trainer,
# or the parts of a loop:


# %%
def examine(patient, *rules):
    """What preflight finds. rules: those that must speak; without a template, some cannot."""
    report = preflight(
        patient.model, patient.tokenizer, patient.batches[0], patient.optimizer,
        train_rows=patient.train_rows, test_rows=patient.test_rows,
    )
    found = {finding.rule for finding in report.problems + report.warnings}
    if patient.tokenizer.chat_template is None:
        found |= {finding.rule for finding in report.not_examined}
    assert set(rules) <= found and (rules or not (shipped and found)), found
    return report


examine(healthy)

# %% [markdown]
# One line for a healthy run. A rule that cannot be decided is «not examined»: without a test
# set, nothing can be said about a leak.
#
# > **Myth check.** *If the loss falls, the run is fine.* Keep a list of the patients below
# > whose loss falls well. The verdict is in section 7.
#
# ## 3 Patients whose loss does not fall
#
# Each patient comes as a chart. **Predict:** name the fault before you open the next
# output. Patient 1:

# %% tags=["nbval-ignore-output"]
patient = clinic.run_1()
seen = chart(patient)
assert seen["gradients"]["B"] > 0 and seen["moved"] == {"A": 0, "B": 0, "rest": 0}

# %% [markdown]
# There are gradients, and nothing moves. The losses differ only because the batches do.
# **Predict** what the tool says.

# %% tags=["nbval-ignore-output"]
examine(patient, "optimizer_misses")

# %% [markdown]
# **An optimizer built before injection** (PEFT's troubleshooting page; D15 in section 8's table).
# It holds the base's parameters, which are frozen by now, and never hears of the factors. The cure
# is an order of two lines. **[Exercise 19.1](../exercises/19_the_clinic.ipynb)** finds this and its
# relatives.

# %% [markdown]
# **Patient 2.** Compare its chart with the one before. What differs?

# %% tags=["nbval-ignore-output"]
patient = clinic.run_2()
seen = chart(patient)
assert seen["moved"]["B"] > 0
assert not shipped or seen["losses"][-1] > 0.8 * seen["losses"][0]

# %% [markdown]
# A and B move, and the loss stands still. **Predict** the cause, then open:

# %% tags=["nbval-ignore-output"]
if shipped:
    examine(patient, "rate_out_of_range")

# %% [markdown]
# **The rate of full fine-tuning**, 2e-5: the default of `SFTConfig` (D24). LoRA wants about ten
# times the rate (Schulman et al. 2025), and a small model more than that: chapter 06.
# **[Exercise 19.2](../exercises/19_the_clinic.ipynb)** tells too low from too high, and searches
# for a rate that learns.
#
# ## 4 Patients whose loss falls
#
# **Patient 3.** Its first loss is lower than that of the healthy run. **Predict** why.

# %% tags=["nbval-ignore-output"]
patient = clinic.run_3()
three = chart(patient)
assert all(graded for _, graded in three["row"])

# %% tags=["nbval-ignore-output"]
examine(patient, "prompt_graded")

# %% [markdown]
# **The prompt is graded** (trl issues 1493 and 643; D30). Stories are easy for this base, so the
# mean looks good. The model also learns to ask. Read brackets before a loss.
#
# **Patient 4.** One bracket is missing. **Predict** what its answers will look like.

# %% tags=["nbval-ignore-output"]
patient = clinic.run_4()
four = chart(patient)

# %% tags=["nbval-ignore-output"]
examine(patient, "end_never_graded")

# %% [markdown]
# **The end token is never graded** (trl issues 976 and 1623; D28). The common cause: pad
# token = end token, and a collator that masks the pad's *number*. The model never learns
# to stop. Mask by place, with the attention mask.

# %% [markdown]
# **Patient 5.** **Predict:** which token does the model learn to say after `<|assistant|>`?

# %% tags=["nbval-ignore-output"]
patient = clinic.run_5()
five = chart(patient)
assert not shipped or five["losses"][-1] < 0.5 * five["losses"][0]

# %% tags=["nbval-ignore-output"]
examine(patient, "labels_shifted")

# %% [markdown]
# **Labels shifted by hand** (transformers pull request 44642; D32). The model shifts them itself,
# so each place learns the token after the next. The loss falls all the same. After `<|assistant|>`
# this row teaches the end token: the answer's first word is skipped.
# **[Exercise 19.3](../exercises/19_the_clinic.ipynb)** asks for the four faults of labels in this
# section.

# %% [markdown]
# **Patient 6.** The loss falls as in the healthy run. **Predict:** what differs?

# %% tags=["nbval-ignore-output"]
patient = clinic.run_6()
six = chart(patient)
assert six["row"][0] == six["row"][1]

# %% tags=["nbval-ignore-output"]
if shipped:  # a model without a begin token has another first word
    examine(patient, "begin_token_doubled")

# %% [markdown]
# **A doubled begin token** (trl issue 1400; D33). The template wrote one, the tokenizer another;
# in use there is one. The reports call it mild.
#
# **Patient 7.** The last line of the chart tells it. **Predict** what the model will say
# after its answer.

# %% tags=["nbval-ignore-output"]
patient = clinic.run_7()
seven = chart(patient)
assert seven["filler"] > 0

# %% tags=["nbval-ignore-output"]
examine(patient, "padding_graded")

# %% [markdown]
# **Filler is graded** (D29; PEFT's benchmark in `method_comparison` grades one end token and no
# more). The model learns to go on with padding: one token, over and over. Once learned, the mean
# looks good and says little.

# %% [markdown]
# **Patient 8.** Everything learns, and fast. **Predict** what is wrong with the last entry
# of two lines.

# %% tags=["nbval-ignore-output"]
patient = clinic.run_8()
eight = chart(patient)
assert eight["moved"]["rest"] > 0

# %% tags=["nbval-ignore-output"]
examine(patient, "base_trains")

# %% [markdown]
# **The base trains too** (a `requires_grad_(True)` over all parameters, to cure patient 1).
# The adapter's file will not hold what the base has learned. After loading, the answers
# are others than before saving. Its quiet relative is `LoraConfig(bias="all")`, which trains the
# base's biases: PEFT's documentation warns that the model without its adapter is then no longer
# the base (D12).
#
# ## 5 A patient with a perfect chart
#
# **Patient 9** has the healthy run's chart, number for number, and its report will praise the
# score on the test set. **Predict** where to look.

# %% tags=["nbval-ignore-output"]
patient = clinic.run_9()
nine = evidence(patient)
assert nine["losses"] == evidence(healthy)["losses"]
examine(patient, "train_rows_in_test")

# %% [markdown]
# **Training rows in the test set**, in capitals and with a space in front: a comparison letter by
# letter finds none. No chart of a run shows it. It is common: Lee et al. 2021 ([arXiv
# 2107.06499](https://arxiv.org/abs/2107.06499)) found over 4 % of the validation sets of standard
# datasets in their training sets. **[Exercise 19.4](../exercises/19_the_clinic.ipynb)** finds the
# leaks, and cleans the test.
#
# ## 6 Patients that PEFT made
#
# **Patient 10.** Somebody saved an adapter, and later the merged model into the same
# folder. **Predict:** what does PEFT load from there, and what do the logits say?

# %% tags=["nbval-ignore-output"]
tokenizer, ids = load_tokenizer(), healthy.batches[0]["input_ids"]
config = LoraConfig(r=4, lora_alpha=8, target_modules=places,
                    init_lora_weights=False, task_type="CAUSAL_LM")
torch.manual_seed(0)
model = get_peft_model(load_base(), config).eval()
folder = Path(tempfile.mkdtemp())
with torch.no_grad():
    right = model(ids).logits
    model.save_pretrained(folder)
    model.merge_and_unload().save_pretrained(folder)
    with warnings.catch_warnings(record=True) as said:
        merged = type(load_base()).from_pretrained(folder)
        twice = PeftModel.from_pretrained(merged, folder).eval()(ids).logits
print("equal:", equal := torch.allclose(twice, right, atol=1e-2))
report = preflight(folder)
assert not equal and "merged_beside_adapter" in {f.rule for f in report.problems}

# %% [markdown]
# **The adapter counts twice** (peft issue 1381; D38): once in the merged weights, once on top. PEFT
# warns of a second adapter at most, and loads. One folder, one thing.
# **[Exercise 19.5](../exercises/19_the_clinic.ipynb)** reads it off the weights.
#
# **Patient 11.** An adapter that began as PiSSA (chapter 14) was saved, and is put on the base
# it came from. **Predict:** does loading fail? Are the logits those from before saving?

# %%
folder = Path(tempfile.mkdtemp())
torch.manual_seed(0)
pissa = LoraConfig(r=4, lora_alpha=8, target_modules=places,
                   init_lora_weights="pissa", task_type="CAUSAL_LM")
model = get_peft_model(load_base(), pissa).eval()
model.peft_config["default"].init_lora_weights = True  # in recipes, to keep an untrained copy
with torch.no_grad():
    right = model(ids).logits
    model.save_pretrained(folder)
    loaded = PeftModel.from_pretrained(load_base(), folder).eval()(ids).logits
print("loads without an error; equal logits:", torch.allclose(loaded, right, atol=1e-2))

# %% [markdown]
# Names and shapes fit, so it loads. **The wrong base** (PEFT's documentation of `save_pretrained`;
# D13): PiSSA takes a part out of the base's weights, and the adapter fits what is left. While
# the file says "pissa", PEFT takes it out again; after `True` it does not. A base that was
# fine-tuned in between is as wrong. Only a note tells which it was: the course's adapters carry
# a check sum (chapter 05), and `lora-course preflight FOLDER --base BASE` compares names.
#
# **Patient 12.** A classifier on the base, trained with LoRA. **Predict** what becomes of
# its new head.

# %%
torch.manual_seed(0)
two = copy.deepcopy(load_base().config)
two.num_labels = 2
classifier = AutoModelForSequenceClassification.from_config(two)
wrapped = get_peft_model(classifier, LoraConfig(r=4, target_modules=places))
head = [name for name, p in wrapped.named_parameters() if "score" in name and p.requires_grad]
print("parameters of the head that train:", len(head))

# %% [markdown]
# **The lost head** (peft issues 577 and 310; D23): it is new, random and frozen, and the adapter's
# file will not hold it. `task_type="SEQ_CLS"` or `modules_to_save=["score"]` trains and saves it.
# In a trainer, preflight's rule `new_head_frozen` says so.
# **[Exercise 19.6](../exercises/19_the_clinic.ipynb)** cures this patient and patient 8.
#
# **Patient 13.** PEFT gets a list of names, and one has a letter too many. **Predict:** an
# error, a warning, or nothing?

# %% tags=["nbval-ignore-output"]
names = [*places[:-1], places[-1] + "s"]
with warnings.catch_warnings(record=True, action="always") as said:
    model = get_peft_model(load_base(), LoraConfig(r=4, target_modules=names))
factors = [name for name, _ in model.named_parameters() if ".lora_A" in name]
hit = {name.split(".lora_A")[0].rpartition(".")[2] for name in factors}
print("a warning that names it:", any(names[-1] in str(w.message) for w in said))
print(f"kinds of layers asked for: {len(names)}; adapted: {len(hit)}")
report = preflight(model, tokenizer, healthy.batches[0])
assert len(hit) < len(names) and "target_missed" in {f.rule for f in report.problems}

# %% [markdown]
# **A misspelt name** (peft issue 1959; D21). PEFT complains when *no* name hits a layer, and is
# silent when some do. Fewer layers learn, and nothing says so. Compare what trains with the
# count that you expect (chapter 04).
#
# **Patient 14.** The adapter was trained on `AutoModelForCausalLM`. A colleague loads it onto
# `AutoModel`: the same base, without the head. **Predict:** what does the adapter do there?

# %%
model = get_peft_model(load_base(), LoraConfig(r=4, lora_alpha=8, target_modules=places)).eval()
body, folder = load_base().base_model.eval(), Path(tempfile.mkdtemp())
with torch.no_grad(), warnings.catch_warnings(record=True, action="always") as said:
    for name, factor in model.named_parameters():
        factor.normal_() if "lora_B" in name else None  # in place of training
    model.save_pretrained(folder)
    plain = body(ids).last_hidden_state
    loaded = PeftModel.from_pretrained(body, folder).eval()
    print("equal to no adapter:", torch.equal(loaded(ids).last_hidden_state, plain))
print("a warning:", any("missing adapter keys" in str(w.message) for w in said))

# %% [markdown]
# **Another class** (transformers issue 36594; D41). Its layers have other first names, so no
# factor in the file finds its place, and B keeps its zeros. PEFT warns, in one long line of a
# log, and loads. After a load, ask whether the logits differ from the base's.
#
# ## 7 Which of them could the loss show?
#
# > **Myth check.** *If the loss falls, the run is fine.* **Verdict: wrong.** Count:

# %% tags=["nbval-ignore-output"]
charts = {3: three, 4: four, 5: five, 6: six, 7: seven, 8: eight, 9: nine}
fell = [n for n, seen in charts.items() if seen["losses"][-1] < 0.6 * seen["losses"][0]]
print("patients whose loss fell by 40 % or more:", fell)
assert not shipped or len(fell) >= 6

# %% [markdown]
# All of them are broken. A loss tells that *something* is learned.
#
# ## 8 How a rule is made
#
# A rule is a function that looks at evidence and returns a verdict. Here is one of them:

# %% tags=["quote"]
from lora_course.preflight.rules.labels import every_label_ignored  # noqa: F401

# %% [markdown]
# Its first line says what holds in a healthy run. A good rule finds the fault in disguise, and
# never accuses a healthy one: who cries wolf is switched off.
# **[Exercise 19.7](../exercises/19_the_clinic.ipynb)** asks for one.
#
# The 51 known bugs, and who finds them:

# %%
Markdown(bug_table())

# %% [markdown]
# ## Takeaways
#
# - Read brackets, gradients and what moved before a loss.
# - A falling loss says that something is learned, not what.
# - Most silent faults: two lines swapped, a mask, two things in a folder.
# - `preflight(trainer)` before you train; `lora-course preflight FOLDER` before you share.
#
# ## Problems without code
#
# 1. Gradients: A 0, B 0, rest 0, and the loss is a number. Name two causes.
# 2. The loss of a run is 0.01 after 50 steps, and its answers are every second word. Why?
# 3. A colleague finds no row of the test set in the training set, by `==`. What do you ask?
# 4. An adapter for a model of 7 billion parameters is 13 GB large. What was saved?
# 5. Why does preflight not report patient 2's rate when the model trains all its weights?
#
# **Before:** [18 Many adapters, one base](18_many_adapters_one_base.ipynb). **Next:**
# [20 Capstone](20_capstone.ipynb). **Sources:** the reports named beside the patients; PEFT's
# [troubleshooting](https://huggingface.co/docs/peft/developer_guides/troubleshooting).
