"""What a check promises, the slips it knows, and the verdict that follows from values alone.

A Promise says what one output must be. A Slip is one entry: a name, its advice, and the values
that a learner with it returns. README.md beside this file shows how a check is written with them.
"""

from typing import Any, NamedTuple

import numpy as np

from lora_course.checks.values import close, every, words
from lora_course.checks.verdicts import Verdict
from lora_course.checks.wording import differ, number, show


class Slip(NamedTuple):
    """One known mistake.

    values: inputs -> {output: value}, or a list of such dicts, any of which will do. A value may
    be a function of the array instead. None: the judge names this slip on evidence of its own.
    share: part of the points, instead of that of the broken promise.
    """

    name: str
    advice: str
    values: Any = None
    share: float | None = None


class Promise(NamedTuple):
    """One sentence of the exercise, as a condition on one output.

    key: the output. right: its value, or a function of the array that says whether it will do.
    what: what the output is, with its case, as in "the output for in = 5"; the key when empty.
    seen, expected: words for a failure. seen may hold {} for the value, or be a function of the
    array; without it the first place where the two differ is shown.
    share: part of the points when this is the first promise broken. dtype: such as "uint8".
    """

    key: str
    right: Any
    what: str = ""
    seen: Any = ""
    expected: str = ""
    share: float = 0.0
    rtol: float = 1e-4
    atol: float = 1e-6
    dtype: str = ""

    def holds(self, value):
        """True when the array keeps the promise."""
        if self.dtype and value.dtype.name != self.dtype:
            return False
        return _fits(value, self.right, self.rtol, self.atol)

    def words(self, value):
        """(seen, expected) for an array that breaks it."""
        what = self.what or self.key
        if self.dtype and value.dtype.name != self.dtype:
            return f"{what}: {value.dtype.name}", self.dtype
        if callable(self.seen):
            return self.seen(value), self.expected
        if self.seen:
            one = value.reshape(-1)[0] if value.size == 1 else np.nan
            return self.seen.format(number(one, 4)), self.expected
        if callable(self.right):
            return f"{what} is {show(value)}", self.expected
        seen, expected = differ(value, self.right, what, self.rtol, self.atol)
        return seen, self.expected or expected


def seen_as(**values):
    """A slip's values that need no inputs: arrays, or conditions on an array."""
    return lambda inputs: values


def all_of(key, what, count=None, **options):
    """The promise that every entry of an array is true. what: "of the factors train"."""
    return Promise(
        key,
        lambda v: v.ndim == 1 and v.size == (count or v.size) and every(v),
        seen=lambda v: f"{np.count_nonzero(v)} {what}",
        expected=f"all {count}" if count else "all",
        **options,
    )


def none_of(key, what, **options):
    """The promise that no entry of an array is true."""
    seen = lambda v: f"{np.count_nonzero(v)} {what}"  # noqa: E731
    return Promise(key, lambda v: not v.any(), seen=seen, expected="none", **options)


def judged(inputs, outputs, promises, slips, part="", last=()):
    """The verdict on a list of promises: the first one that is broken decides.

    A slip is named when its values are those seen, for every output that it speaks of, and when
    the broken promise is among them. Where two slips fit, neither is named: the values cannot
    tell them apart. part: a name given to `attempt`, whose exception is then the verdict.
    last: slips that say only which part is right and which wrong, asked where no slip is named.
    """
    if f"raised:{part}" in outputs:
        mistake, seen, expected = (words(outputs[f"raised:{part}"]) + "\n\n").split("\n")[:3]
        known = {"todo": "unfinished", "none": "none", "type": "type"}
        return Verdict(0.0, known.get(mistake, "raised"), seen, expected)
    for promise in promises:
        if promise.key not in outputs:
            return Verdict(promise.share, "other", f"no value for {promise.what or promise.key}")
        value = outputs[promise.key]
        if promise.holds(value):
            continue
        seen, expected = promise.words(value)
        for known in (slips, last):
            fits = [s for s in known if s.values and _explains(s, inputs, outputs, promises,
                                                               promise.key)]  # fmt: skip
            fitting = {slip.name: slip for slip in fits}
            if len(fitting) == 1:
                break
        else:
            return Verdict(promise.share, "other", seen, expected)
        (slip,) = fitting.values()
        share = promise.share if slip.share is None else slip.share
        return Verdict(share, slip.name, seen, expected)
    return Verdict(1.0)


def in_parts(*verdicts):
    """Parts of equal worth: the mean of the shares, the words of the first part that is wrong."""
    share = sum(verdict.share for verdict in verdicts) / len(verdicts)
    wrong = [verdict for verdict in verdicts if verdict.share < 1]
    # What is still open is said last: another part may need a word.
    wrong.sort(key=lambda verdict: verdict.mistake == "unfinished")
    return wrong[0]._replace(share=share) if wrong else Verdict(1.0)


def _explains(slip, inputs, outputs, promises, key):
    """True when one of the slip's dicts has the key and equals what was seen."""
    options = slip.values(inputs)
    limits = {p.key: (p.rtol, p.atol) for p in promises}
    for option in options if isinstance(options, list) else [options]:
        if key in option and all(
            k in outputs and _fits(outputs[k], v, *limits.get(k, (1e-4, 1e-6)))
            for k, v in option.items()
        ):
            return True
    return False


def _fits(value, right, rtol, atol):
    return bool(right(value)) if callable(right) else close(value, right, rtol, atol)
