# %% [markdown]
# # Exercises 19: The clinic
#
# Seven exercises to the chapter [The clinic](../chapters/19_the_clinic.ipynb): six times
# you diagnose and cure, then you write a rule of your own. Write your code in place of the
# line that raises `NotImplementedError`, run the cell, then run the check under it. Hints
# open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math

import torch

from lora_course.checks import ch19 as check
from lora_course.preflight.report import Undecided, ok, problem

# %% [markdown]
# ## Exercise
#
# Patient 1 and its relatives. Name what is wrong with a model and its optimizer, as one
# of four texts:
# - `"nothing trains"`: no parameter of the model requires a gradient;
# - `"none held"`: some do, and the optimizer holds none of them;
# - `"some missing"`: it holds some of them, but not all;
# - `"fine"`: it holds all of them. (Frozen ones, and strangers beside them, do no harm.)
#
# Then cure: return a new AdamW of the parameters that require a gradient, each once, with
# the learning rate of the first group of the old one. Change neither model nor old
# optimizer. The check takes one step with it, and looks at what moves. (In the case
# `"nothing trains"` no cure is asked for.)

# %% exercise="optimizer_case"
def diagnose_optimizer(model, optimizer):
    """What is wrong: "nothing trains", "none held", "some missing" or "fine"."""
    ### BEGIN SOLUTION
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    if not wanted:
        return "nothing trains"
    if not wanted & held:
        return "none held"
    return "fine" if wanted <= held else "some missing"
    ### END SOLUTION


def cure_optimizer(model, optimizer):
    """A new torch.optim.AdamW that trains what requires a gradient, at the old rate."""
    ### BEGIN SOLUTION
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=optimizer.param_groups[0]["lr"])
    ### END SOLUTION


# %%
check.optimizer_case(diagnose_optimizer, cure_optimizer)

# %% [markdown]
# ## Exercise
#
# Patient 2 and its relatives. You have the losses of a run, one for each step, and
# `moved`, the largest distance that any number of A or B has moved in it. Name what is
# wrong. Ask in this order:
# - `"nothing moves"`: `moved` is 0;
# - `"too high"`: some loss is not finite (infinite, or not a number), or larger than the
#   first one;
# - `"too low"`: the last loss is larger than half the first one;
# - `"fine"`: none of this.
#
# Then cure: return a rate with which the run is fine, as a number. `rate` is the one it had.
# `train(rate)` makes the same run anew, from the beginning, with the rate you give, and
# returns `(losses, moved)`. You have at most 30 such runs. The good rates are not those of
# another run, but they span more than a factor of 30. Where nothing moves no rate helps:
# raise a ValueError. The check trains once more with your rate, and looks at the losses.

# %% exercise="rate_case"
def diagnose_rate(losses, moved):
    """What is wrong: "nothing moves", "too high", "too low" or "fine".

    losses: list of numbers, one for each step. moved: a number, 0 or more.
    """
    ### BEGIN SOLUTION
    if moved == 0:
        return "nothing moves"
    if not all(math.isfinite(loss) and loss <= losses[0] for loss in losses):
        return "too high"
    return "too low" if losses[-1] > losses[0] / 2 else "fine"
    ### END SOLUTION


def cure_rate(train, rate):
    """A rate with which the run is fine. train(rate): (losses, moved) of a new run."""
    ### BEGIN SOLUTION
    case = diagnose_rate(*train(rate))
    while case != "fine":
        if case == "nothing moves":
            raise ValueError("No rate helps: nothing moves.")
        rate = rate * 5 if case == "too low" else rate / 5
        case = diagnose_rate(*train(rate))
    return rate
    ### END SOLUTION


# %%
check.rate_case(diagnose_rate, cure_rate)

# %% [markdown]
# ## Exercise
#
# Patients 3, 4, 5 and 7. A row has tokens `ids`, a `mask` (1 for real tokens, 0 for filler
# behind them), and labels. The answer begins at place `start`; its last real token is the
# end token. Right labels are the tokens of the answer, end token included, and -100
# everywhere else. Name what is wrong with the labels that are given:
# - `"fine"`;
# - `"prompt graded"`: right, but some places before `start`, or all, have their token too;
# - `"end lost"`: right, but the end token has -100;
# - `"shifted"`: each place has the right label of the place after it (the last has -100);
# - `"filler graded"`: right, but filler has the pad's number, the token that stands there.
#
# No token of the row equals its neighbour, except for the filler. Then return the right
# labels, as a new tensor. The check trains a small model on them, and looks at what it says
# after the prompt.

# %% exercise="label_case"
def diagnose_labels(ids, labels, mask, start):
    """What is wrong with the labels of one row, as one of the five texts.

    ids, labels, mask: (T,), whole numbers. start: where the answer begins.
    """
    ### BEGIN SOLUTION
    right = cure_labels(ids, mask, start)
    shifted = torch.cat([right[1:], right.new_tensor([-100])])
    last = int(mask.sum()) - 1
    if torch.equal(labels, right):
        return "fine"
    if torch.equal(labels, shifted):
        return "shifted"
    if (labels[:start] != -100).any():
        return "prompt graded"
    return "end lost" if labels[last] == -100 else "filler graded"
    ### END SOLUTION


def cure_labels(ids, mask, start):
    """The right labels (T,) of one row."""
    ### BEGIN SOLUTION
    right = ids.clone()
    right[:start] = -100
    right[mask == 0] = -100
    return right
    ### END SOLUTION


# %%
check.label_case(diagnose_labels, cure_labels)

# %% [markdown]
# ## Exercise
#
# Patient 9. Two prompts are the same question when they agree after this: small letters
# (`str.casefold`), everything but letters and digits (`str.isalnum`) becomes a space, runs
# of spaces become one, and none at the ends. Return the places of the test prompts that
# are also among the training prompts, in order; and the places of test prompts that
# repeat an earlier test prompt (and are not among the training prompts). Prompts that are
# empty after cleaning are equal to nothing.
#
# Then cure the test: return the list of the prompts that are neither of the two, as they
# are written, in their order (those that are empty after cleaning stay). A model that knows
# the training prompts by heart can answer none of them. Change neither list.

# %% exercise="leaks"
def find_leaks(train, test):
    """(places in test that also occur in train, places that repeat an earlier test prompt).

    train, test: lists of texts. Returns two lists of whole numbers, from small to large.
    """
    ### BEGIN SOLUTION
    def clean(text):
        kept = "".join(c if c.isalnum() else " " for c in text.casefold())
        return " ".join(kept.split())

    known, seen = {clean(text) for text in train} - {""}, set()
    leaked, repeated = [], []
    for place, text in enumerate(map(clean, test)):
        if text in known:
            leaked.append(place)
        elif text and text in seen:
            repeated.append(place)
        seen.add(text)
    return leaked, repeated
    ### END SOLUTION


def cure_test(train, test):
    """The test prompts that neither leaked nor repeat another, as written, in order."""
    ### BEGIN SOLUTION
    leaked, repeated = find_leaks(train, test)
    return [text for place, text in enumerate(test) if place not in leaked + repeated]
    ### END SOLUTION


# %%
check.leaks(find_leaks, cure_test)

# %% [markdown]
# ## Exercise
#
# Patients 10 and 11. You have the base's weight `W`, the adapter's delta weight, and a
# weight from a folder. Name where it comes from:
# - `"base"`: it is W;
# - `"merged"`: W and the delta, once;
# - `"merged twice"`: W and the delta, two times;
# - `"another base"`: none of them.
#
# Weights may have been rounded: two are the same when no entry differs by more than a
# hundredth of the delta's largest magnitude. Then return the weight that is merged once,
# made from what is stored and the delta alone, or raise a ValueError for another base.

# %% exercise="merge_case"
def diagnose_merge(stored, W, delta):
    """Where a stored weight comes from, as one of the four texts. All (out, in)."""
    ### BEGIN SOLUTION
    near = delta.abs().max() / 100
    for times, name in enumerate(("base", "merged", "merged twice")):
        if (stored - W - times * delta).abs().max() <= near:
            return name
    return "another base"
    ### END SOLUTION


def cure_merge(stored, delta, case):
    """The weight merged once; case: what `diagnose_merge` said. ValueError for another base."""
    ### BEGIN SOLUTION
    times = {"base": 0, "merged": 1, "merged twice": 2}
    if case not in times:
        raise ValueError(f"A weight of {case} cannot be cured: load the adapter's own base.")
    return stored + (1 - times[case]) * delta
    ### END SOLUTION


# %%
check.merge_case(diagnose_merge, cure_merge)

# %% [markdown]
# ## Exercise
#
# Patients 8 and 12. The model has LoRA on some layers, and `new` lists its new modules by
# their full names, `["score"]` for instance. A parameter, by its full name, has one of
# three roles:
# - `"head"`: it stands inside a module of `new` (`score.weight`, but not `body.score.weight`);
# - `"factor"`: a part of its name, between dots or at an end, is `lora_A` or `lora_B`;
# - `"base"`: every other.
#
# Name what is wrong with what requires a gradient. Ask in this order:
# - `"nothing trains"`: no parameter does;
# - `"base trains"`: a parameter of the base does;
# - `"head frozen"`: a parameter of the head does not;
# - `"factor frozen"`: a factor does not;
# - `"fine"`: none of this.
#
# Then cure the model that is given: set `requires_grad` of its parameters, and change
# nothing else. The check then takes a few steps: all of the head and the factors move,
# no bit of the base does, and the loss falls.

# %% exercise="flags_case"
def role(name, new):
    """Whose a parameter is: "head", "factor" or "base". name: in full; new: list of names."""
    ### BEGIN SOLUTION
    if any(name.startswith(f"{module}.") for module in new):
        return "head"
    return "factor" if {"lora_A", "lora_B"} & set(name.split(".")) else "base"
    ### END SOLUTION


def diagnose_flags(model, new):
    """What is wrong, as one of the five texts."""
    ### BEGIN SOLUTION
    flags = {"head": [], "factor": [], "base": []}
    for name, p in model.named_parameters():
        flags[role(name, new)].append(p.requires_grad)
    if not any(map(any, flags.values())):
        return "nothing trains"
    if any(flags["base"]):
        return "base trains"
    if not all(flags["head"]):
        return "head frozen"
    return "fine" if all(flags["factor"]) else "factor frozen"
    ### END SOLUTION


def cure_flags(model, new):
    """Sets requires_grad, so that the head and the factors train, and nothing else."""
    ### BEGIN SOLUTION
    for name, p in model.named_parameters():
        p.requires_grad = role(name, new) != "base"
    ### END SOLUTION


# %%
check.flags_case(role, diagnose_flags, cure_flags)

# %% [markdown]
# ## Exercise
#
# A rule of your own: **an adapter holds fewer numbers than the weight it stands beside.**
# `run.pairs` has a pair for each adapted layer: `pair.layer` (a name), `pair.first`, A of
# shape (r, in), and `pair.second`, B of shape (out, r). The weight beside it is (out, in).
# - No pairs: raise `Undecided("...")`.
# - A and B together have **as many numbers as the weight or more** in some layer: return
#   `problem(saw, do)`, where `saw` names each such layer and no other.
# - Else return `ok(saw)`.
#
# The rule looks and changes nothing.

# %% exercise="rank_rule"
def adapter_smaller_than_weight(run):
    """An adapter holds fewer numbers than the weight it stands beside."""
    ### BEGIN SOLUTION
    if not run.pairs:
        raise Undecided("no layer is adapted")
    large = []
    for pair in run.pairs:
        weight = pair.second.shape[0] * pair.first.shape[1]
        if pair.first.numel() + pair.second.numel() >= weight:
            large.append(pair.layer)
    if large:
        return problem(f"As large as the weight: {', '.join(large)}.", "Lower r there.")
    return ok(f"{len(run.pairs)} layers")
    ### END SOLUTION


# %%
check.rank_rule(adapter_smaller_than_weight)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Nothing requires a gradient where the loss looks (frozen after injection, or all under
# `no_grad`); or A and B are both zero, so each gradient is multiplied by zero. (All labels
# -100 gives a loss that is no number.)
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# Labels shifted by hand. The model shifts them once more and learns the token after the
# next, with an excellent loss.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Whether spaces, capitals and punctuation were taken out first, and whether rows of one
# source (the same story, another question) were split between the two.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# The whole model: 7 billion numbers at 2 bytes are 14 GB or 13 GiB.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# 2e-5 is a sensible rate there. The range depends on what trains.
#
# </details>
