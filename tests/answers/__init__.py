"""Right and wrong answers to every exercise, one module per chapter."""

from typing import NamedTuple


class Answer(NamedTuple):
    """One answer that a learner may give.

    exercise: name of the check. note: what the learner did, in a few words. mistake: the key of the
    check's `mistakes` that must be named ("" for a right answer). code: replaces the exercise cell.
    edits: (old, new) replacements in the solution's cell, used when `code` is empty.
    """

    exercise: str
    note: str
    mistake: str = ""
    code: str = ""
    edits: tuple = ()
