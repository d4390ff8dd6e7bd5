"""What a judge says, and how the words on several seeds become one: the rule of scoring."""

from typing import NamedTuple

import numpy as np

from lora_course.checks.randomness import kept

GENERIC = {"none", "type", "raised", "unfinished"}  # mistakes that every check knows


class Verdict(NamedTuple):
    """What a judge says. share: part of the points in [0, 1]; mistake: a key of check.mistakes."""

    share: float
    mistake: str = ""
    seen: str = ""
    expected: str = ""


@kept()  # once for all seeds
def decide(judge, seeds, hidden=()):
    """The one rule of scoring, for the notebook, the command line and the grader.

    judge: (number, seed) -> Verdict; number counts all seeds and is safe to tell the learner's
    process. Of the open seeds the lowest share decides, and the first seed that has it speaks.
    Hidden seeds can only lower the share. Returns (open verdict, hidden verdict or None).
    """
    verdict, secret = Verdict(1.0), None
    for number, seed in enumerate(seeds):
        new = judge(number, seed)
        if new.share < verdict.share:
            verdict = new
        if verdict.share == 0:
            return verdict, None
    for number, seed in enumerate(hidden, len(seeds)):
        new = judge(number, seed)
        if new.share < (secret or verdict).share:
            secret = new
        if secret and secret.share == 0:
            break
    return verdict, secret


def no_numbers(outputs, nans=()):
    """The verdict on what no comparison can judge: complex numbers, and NaN except in `nans`."""
    for key, value in outputs.items():
        value = np.asarray(value)
        nan = value.dtype.kind == "f" and key not in nans and np.isnan(value).any()
        if value.dtype.kind == "c" or nan:
            seen = "NaN, which is no number." if nan else "complex numbers."
            return Verdict(0.0, "other", seen, "real numbers, finite ones.")
    return None
