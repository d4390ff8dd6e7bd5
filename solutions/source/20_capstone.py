# %% [markdown]
# # Exercises 20: Capstone
#
# Five exercises to the chapter [Capstone](../chapters/20_capstone.ipynb), and the project
# itself. Write your code in place of the line that raises `NotImplementedError`, run the
# cell, then run the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
import math
import random
import re
import statistics

import torch
from huggingface_hub import ModelCard

from lora_course.checks import ch20 as check
from lora_course.kit.clean import as_row, words_of

# %% [markdown]
# ## Exercise
#
# Clean a file of rows. `as_row` (both formats as prompt and completion, without spaces at
# the ends) and `words_of` (the words of a text, whatever their letters) are the chapter's.
# The rows that stay come in the order of the file, in one format. What goes:
#
# - a row with more than `limit` tokens, and a row that `wrong` accuses; these count for
#   nothing else;
# - of the others, every row whose prompt has two different completions, by `words_of`;
# - a row whose prompt stands in the test, by `words_of`;
# - a row whose prompt stays already, by `words_of`: the first one stays.
#
# The rows and the test stay as they are.

# %% exercise="clean"
def clean(rows, test, tokens, limit, wrong):
    """The rows that stay, as a list of {"prompt", "completion"}.

    rows: in both formats. test: rows {"prompt", "completion"}. tokens: function of a row in
    one format, its length. wrong: function of such a row, True for a wrong completion.
    """
    ### BEGIN SOLUTION
    rows = [as_row(row) for row in rows]
    rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]
    answers, kept = {}, []
    for row in rows:
        answers.setdefault(words_of(row["prompt"]), set()).add(words_of(row["completion"]))
    seen = {words_of(row["prompt"]) for row in test}
    for row in rows:
        key = words_of(row["prompt"])
        if len(answers[key]) == 1 and key not in seen:
            seen.add(key)
            kept.append(row)
    return kept
    ### END SOLUTION


# %%
check.clean(clean)

# %% [markdown]
# ## Exercise
#
# Several rows may ask about one report. Split by **report**: all rows of a report are on
# one side, and `round(share * n)` of the n reports are in validation (it may be 0), drawn
# with the seed. Two names are one report only if they are equal, letter by letter.
# The same rows in another order give the same two sides, another seed other ones. On each
# side the rows stand in the order of the file, and what is given stays as it is.

# %% exercise="split"
def split(rows, share, seed):
    """(train, validation), two lists of rows.

    rows: list of dicts with the key "report", a str. share: of the reports. seed: int.
    """
    ### BEGIN SOLUTION
    reports = sorted({row["report"] for row in rows})
    held = set(random.Random(seed).sample(reports, round(share * len(reports))))
    train = [row for row in rows if row["report"] not in held]
    return train, [row for row in rows if row["report"] in held]
    ### END SOLUTION


# %%
check.split(split)

# %% [markdown]
# ## Exercise
#
# Decide between runs, each made with a few seeds. A run may win when **every** seed keeps
# at least `keep` of the old skills, and its file has at most `megabytes`. The best of those
# has the highest mean validation score. Level with it are those (that may win) whose mean
# is at least the best mean minus its standard error: the standard deviation of its seeds,
# as of a sample, divided by the square root of their number. Of the level ones take the
# smallest file, and of equally small ones the highest mean. If none may win, raise a
# `ValueError`. The runs stay as they are.

# %% exercise="decide"
def decide(runs, keep, megabytes):
    """The number of the run to take, from 0.

    runs: list of dicts: "validation" and "old", lists of shares, one for each seed;
    "megabytes"; and "test", which is not for choosing.
    """
    ### BEGIN SOLUTION
    means = [statistics.mean(run["validation"]) for run in runs]
    fit = [n for n, run in enumerate(runs)
           if min(run["old"]) >= keep and run["megabytes"] <= megabytes]  # fmt: skip
    if not fit:
        raise ValueError(f"No run keeps {keep:.0%} in a file of {megabytes} MB.")
    best = max(fit, key=lambda n: means[n])
    scores = runs[best]["validation"]
    level = means[best] - statistics.stdev(scores) / math.sqrt(len(scores))
    equal = [n for n in fit if means[n] >= level]
    return min(equal, key=lambda n: (runs[n]["megabytes"], -means[n]))
    ### END SOLUTION


# %%
check.decide(decide)

# %% [markdown]
# ## Exercise
#
# Somebody hands you an adapter and a merged model. Look through the tensors and return five
# answers, True or False, each worth a fifth. A **factor** is a tensor of the adapter named
# `base_model.model.LAYER.lora_A.weight` or `...lora_B.weight`.
#
# 1. There are only factors in the adapter.
# 2. Every layer with a factor has both, A with `r` rows and B with `r` columns.
# 3. Each of these layers has `LAYER.weight` in the base, with A's width as its input and
#    B's height as its output.
# 4. In every layer with both factors that fit its weight and each other, merged is
#    base + scaling · B A, the norm of the difference at most a thousandth of the update's
#    norm. The scaling follows the config.
# 5. Merged has the names of the base, and every tensor but the `LAYER.weight` of layers with
#    a factor is equal to the base's, to the last bit.
#
# Nothing that was given is changed.

# %% exercise="prove"
def prove(config, adapter, base, merged):
    """Five answers about a release.

    config: dict with "r", "lora_alpha" and "use_rslora". adapter, base, merged: {name: tensor}.
    """
    ### BEGIN SOLUTION
    found = {}
    for key, value in adapter.items():
        if m := re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key):
            found.setdefault(m[1], {})[m[2]] = value
    r = config["r"]
    scaling = config["lora_alpha"] / (math.sqrt(r) if config["use_rslora"] else r)
    pairs, places, sums = [], [], []
    for layer, pair in found.items():
        weight = base.get(f"{layer}.weight")
        pairs.append("A" in pair and "B" in pair)
        pairs += [len(pair["A"]) == r] if "A" in pair else []
        pairs += [pair["B"].shape[1] == r] if "B" in pair else []
        fits = weight is not None
        fits = fits and ("A" not in pair or pair["A"].shape[1] == weight.shape[1])
        fits = fits and ("B" not in pair or len(pair["B"]) == len(weight))
        places.append(fits)
        if fits and len(pair) == 2 and len(pair["A"]) == pair["B"].shape[1]:
            update = scaling * pair["B"] @ pair["A"]
            off = (merged[f"{layer}.weight"] - weight - update).norm()
            sums.append(bool(off <= 1e-3 * update.norm()))
    rest = base.keys() - {f"{layer}.weight" for layer in found}
    equal = base.keys() == merged.keys() and all(torch.equal(base[n], merged[n]) for n in rest)
    only = len(adapter) == sum(map(len, found.values()))
    return only, all(pairs), all(places), all(sums), equal
    ### END SOLUTION


# %%
check.prove(prove)

# %% [markdown]
# ## Exercise
#
# Hold a card against what was found in its run. Return five answers, True or False, each
# worth a fifth; every card has the chapter's layout.
#
# 1. The metadata name the base that was found.
# 2. `Data: ..., 1,234 rows.` has the number of training rows.
# 3. The table of settings has a row `| r | n |` with the rank.
# 4. A result of the `dataset_split` `test` has the score, to 0.0005; there may be several.
#    (Without results the field is None.)
# 5. `On 1,234 rows of the test split` has the number of test rows.

# %% exercise="true_card"
def true_card(text, found):
    """Five answers about a card.

    text: of README.md. found: {"base", "rows", "r", "score", "test_rows"}.
    """
    ### BEGIN SOLUTION
    about = ModelCard(text).data

    def says(rule, number):
        m = re.search(rule, text, re.M)
        return m is not None and int(m[1].replace(",", "")) == number

    results = [r.metric_value for r in about.eval_results or [] if r.dataset_split == "test"]
    return (
        about.base_model == found["base"],
        says(r"^Data: .*, ([\d,]+) rows\.$", found["rows"]),
        says(r"^\| r \| (\d+) \|$", found["r"]),
        any(abs(value - found["score"]) <= 0.0005 for value in results),
        says(r"^On ([\d,]+) rows of the test split", found["test_rows"]),
    )
    ### END SOLUTION


# %%
check.true_card(true_card)

# %% [markdown]
# ## The project
#
# Now all of it, with your own `clean`, `split` and `decide`. The next cell makes the
# project as the chapter does and asks the judge. It takes half a minute. When all is well,
# write your own from a blank notebook, with your own file, and let
# `python -m lora_course.rubric.judge FOLDER` judge it.

# %% tags=["nbval-ignore-output"]
import tempfile
from pathlib import Path

from lora_course.rubric.judge import as_lines, judge_project
from lora_course.rubric.whole import make_project

project = Path(tempfile.mkdtemp())
try:
    make_project(project, clean, split, decide)
    print(as_lines(judge_project(project)))
except NotImplementedError as error:
    print("Not yet:", error)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# 900 right in all, 522 of the 600: 378 of 400, that is 94.5 %. The leak is worth three points
# of the score that would be told.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# For training, a better model, perhaps. For the test, a narrower interval: with 300 rows
# instead of 100 it has a little over half the width. Who cannot tell two models apart needs
# the second.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# Choose by them, or report a score on them. Most of the one team's validation rows are the
# other team's training rows.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# The second. 0 of 100 allows up to 3 errors in 100 (3 / n), 2 of 1,000 at most about 7 in 1,000.
#
# </details>
#
# <details><summary>Problem 5</summary>
#
# That the file is not what will be asked: other reports, other words, another season. For that
# you need rows from where the model will work.
#
# </details>
