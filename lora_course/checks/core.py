"""A check in three parts: make the inputs, call the learner's code, judge plain numbers.

Only `probe` runs beside the learner's code; a grader keeps the others in another process.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lora_course.checks import guard, messages
from lora_course.checks.values import Refused, array, close, plain, tensor
from lora_course.checks.verdicts import GENERIC, Verdict, decide, no_numbers
from lora_course.learner import record
from lora_course.learner.standing import standing

__all__ = ["Check", "Result", "Verdict", "array", "close", "tensor"]


class Result(NamedTuple):
    """What a learner gets. mistake: "" when right; todo: the stub is still there."""

    points: float
    mistake: str
    message: str
    todo: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Check:
    """One exercise: what it is called, what it is worth, its hints, and its three functions."""

    name: str
    title: str
    wants: tuple[str, ...]  # names of the functions or classes that the learner passes
    difficulty: int  # 1 to 5
    minutes: int
    points: int
    verified: str  # what a pass has shown
    hints: tuple[str, str, str]  # markdown: a nudge, the idea, nearly the answer
    slips: tuple = ()  # of slips.Slip: known mistakes beside their advice
    other: str = ""  # where to look when no slip explains what was seen
    mistakes: dict[str, str] | None = None  # key -> advice; made of slips and other
    nans: tuple[str, ...] = ()  # outputs in which NaN can be right
    make: Callable  # seed -> arrays
    probe: Callable  # namespace, arrays -> arrays
    judge: Callable  # inputs, outputs -> Verdict

    def __post_init__(self):
        if self.mistakes is None:
            advice = {slip.name: slip.advice for slip in self.slips}
            object.__setattr__(self, "mistakes", {**advice, "other": self.other})
        for ok, rule in (
            (isinstance(self.wants, tuple) and self.wants, "wants must be a tuple of names"),
            (self.difficulty in range(1, 6), "difficulty must be 1 to 5"),
            (self.points > 0 and self.minutes > 0, "points and minutes must be positive"),
            (isinstance(self.hints, tuple) and len(self.hints) == 3, "hints must be three"),
            ("other" in self.mistakes, 'mistakes must have the key "other"'),
        ):
            if not ok:
                raise ValueError(f"Check {self.name!r}: {rule}.")

    @property
    def key(self):
        """Where progress is kept, as in ch03.lora_linear; "" for a check outside a chapter."""
        found = re.search(r"(?:^|\.)(ch\d\d)$", self.judge.__module__ or "")
        return f"{found[1]}.{self.name}" if found else ""

    @property
    def label(self):
        """Number and title, as in 3.1 The LoRA layer; the number is the place in EXERCISES."""
        exercises = getattr(sys.modules.get(self.judge.__module__), "EXERCISES", ())
        if not self.key or self not in exercises:
            return self.title
        return f"{int(self.key[2:4])}.{exercises.index(self) + 1} {self.title}"

    def inputs(self, seed):
        """The arrays of one seed. Trusted side."""
        with guard.steady(seed):
            return plain(self.make(seed), f"make of {self.name!r}")

    def outputs(self, namespace, inputs, seed=0, strict=False):
        """The learner's arrays, or a Verdict where the code gave none. Beside the learner."""
        copies = {key: np.array(value) for key, value in inputs.items()}
        try:
            with guard.steady(seed):
                made = self.probe(namespace, copies)
        except Refused as error:
            return Verdict(0.0, error.key, error.seen, error.expected)
        except BaseException as error:  # also SystemExit and a stop by hand
            return Verdict(0.0, *guard.stopped(error, self))
        try:
            return plain(made, f"probe of {self.name!r}")
        except TypeError:
            if strict:
                raise
            return Verdict(0.0, "type")

    def verdict(self, inputs, outputs, strict=False):
        """The judge's word on the outputs, made safe. Trusted side."""
        try:
            with guard.steady(0):
                said = self.judge(dict(inputs), dict(outputs))
            share = float(said.share)
            mistake = said.mistake if share == 1 else said.mistake or "other"
            known = {*GENERIC, *self.mistakes} if share < 1 else {""}
            if not 0 <= share <= 1 or mistake not in known:
                raise ValueError(f"judge of {self.name!r}: share or mistake is wrong in {said}")
            odd = share == 1 and no_numbers(outputs, self.nans)
            return odd or Verdict(share, mistake, str(said.seen), str(said.expected))
        except Exception:
            if strict:
                raise
            return Verdict(0.0, "other")

    def answer(self, namespace, number, seed, strict=False):
        """The verdict on one seed, all in this process. number: see `decide`."""
        inputs = self.inputs(seed)
        made = self.outputs(namespace, inputs, number, strict)
        return made if isinstance(made, Verdict) else self.verdict(inputs, made, strict)

    def run(self, namespace, seeds=(0, 1, 2), strict=None):
        """Points and message, by the rule of `decide`.

        strict: True lets errors of the check itself out (tests); None asks LORA_COURSE_STRICT.
        """
        strict = os.environ.get("LORA_COURSE_STRICT") == "1" if strict is None else strict
        verdict, _ = decide(lambda n, seed: self.answer(namespace, n, seed, strict), seeds)
        return self.result(verdict)

    def result(self, verdict):
        """The verdict as points and words."""
        points = round(verdict.share * self.points, 2)
        text = messages.compose(self, verdict, points)
        return Result(points, verdict.mistake, text, verdict.mistake == "todo")

    def __call__(self, *objects):
        """Checks the learner's objects, shows the message, keeps the progress; returns nothing."""
        if misuse := messages.misuse(self, objects):
            return messages.show(misuse, "wrong")
        result = self.run(dict(zip(self.wants, objects, strict=True)))
        state = "todo" if result.todo else "wrong" if result.mistake else "right"
        text = result.message
        if self.key and not result.todo and record.save(self.key, result.points / self.points):
            text += f"\n{standing(self)}"
        messages.show(text, state)
