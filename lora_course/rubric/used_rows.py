"""The rubric's properties of the rows.

A property is a function of a Project that returns (holds, what was seen). `holds` is None where it
cannot be judged. The first line of its docstring is the sentence of the rubric.
"""

from lora_course.kit.data import encode
from lora_course.kit.town import messy

LIMIT = 128  # tokens of the longest row


# owned by chapter 20
def no_leak(p):
    """No row of the test split is in train or validation, also written otherwise."""
    hits = sum(prompt in p.asked for prompt, _ in p.pairs)
    return bool(p.asked) and not hits, f"{hits} of {len(p.pairs)} rows are in the test split"


def no_copies(p):
    """No row is there twice, in train, in validation or in both."""
    twice = len(p.pairs) - len({prompt for prompt, _ in p.pairs})
    return bool(p.pairs) and not twice, f"{twice} of {len(p.pairs)} rows are copies"


def no_wrong_labels(p):
    """No completion is wrong, and no prompt has two."""
    pairs = set(p.pairs)
    two = len(pairs) - len({prompt for prompt, _ in pairs})
    truth = messy.kinds() if p.shipped else {}
    wrong = sum(truth.get(pair) == "wrong" for pair in pairs)
    said = f"{wrong} wrong completions, {two} prompts with two"
    return bool(pairs) and not wrong and not two, said


def good_rows_kept(p):
    """Of the good rows of the messy file at least 95 % are in train or validation."""
    if not p.shipped:
        return None, "nobody knows which of your rows are good"
    good = {pair for pair, kind in messy.kinds().items() if kind == "good"}
    kept = len(good & set(p.pairs))
    return kept >= 0.95 * len(good), f"{kept} of {len(good)}"


def one_format(p):
    """Each row has a prompt and a completion, and fits with its end token into the limit."""
    bad = [r for r in p.used if not all(isinstance(r.get(k), str) and r[k].strip()
                                        for k in ("prompt", "completion"))]  # fmt: skip
    if bad or not p.used:
        return False, f"{len(bad)} of {len(p.used)} rows without prompt and completion"
    longest = max(len(encode(p.tokenizer, r["prompt"], r["completion"])[0]) for r in p.used)
    return longest <= LIMIT or not p.shipped, f"the longest row has {longest} tokens"
