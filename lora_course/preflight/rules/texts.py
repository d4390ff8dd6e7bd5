"""Rules: do the rows repeat, and does the test repeat the training?"""

import re
from collections import Counter

from lora_course.preflight import sampled
from lora_course.preflight.report import Undecided, ok, problem


def _plain(text):
    """Lower case, letters and digits only: what is left of a text that was touched up."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _read(rows, run):
    return sampled.texts(sampled.sampled_rows(rows, sampled.MOST), run.tokenizer)


def _tests(run):
    if run.test_rows is None:
        raise Undecided("there are no test rows")
    sets = run.test_rows
    if isinstance(sets, dict) and not hasattr(sets, "column_names"):
        return list(sets.values())
    if type(sets).__name__ == "DatasetDict":
        return list(sets.values())
    return [sets]


def train_rows_in_test(run):
    """No test row was trained on, letter by letter or after touching up."""
    tests = [row for rows in _tests(run) for row in _read(rows, run)]
    train = _read(run.train_rows, run)
    if not tests:
        raise Undecided("there are no test rows")
    whole = {text for text, _ in train}
    plain = {_plain(text) for text in whole}
    asked = {_plain(prompt) for _, prompt in train if prompt}
    exact = sum(text in whole for text, _ in tests)
    touched = [_plain(text) for text, _ in tests]
    alike = sum(text in plain and len(text.split()) > 3 for text in touched)
    prompts = [_plain(p) for _, p in tests if p]
    shared = sum(p in asked and len(p.split()) > 5 for p in prompts)
    found = max(alike, exact if alike else 0)
    if found >= max(1, 0.01 * len(tests)):
        return problem(
            f"{found} of {len(tests)} test rows are among the training rows ({exact} letter by "
            "letter): the test measures memory.",
            "Remove them from one of the two, by their text without case and punctuation.",
        )
    if shared >= max(2, 0.05 * len(tests)):
        return problem(
            f"{shared} of {len(tests)} test questions are among the training questions, with "
            "other answers.",
            "Split by question, so that a question is in one set only.",
        )
    return ok(f"{len(tests)} test rows against {len(train)} training rows")


def rows_repeat(run):
    """Few training rows are copies of others."""
    train = [_plain(text) for text, _ in _read(run.train_rows, run)]
    long = [text for text in train if len(text.split()) > 3]
    if len(long) < 10:
        raise Undecided(f"{len(long)} rows are too few to speak of copies")
    extra = len(long) - len(Counter(long))
    if extra < 0.15 * len(long):
        return ok(f"{extra} of {len(long)} rows are copies")
    return problem(
        f"{extra} of {len(long)} training rows are copies of others.",
        "Keep one of each; repeat rows on purpose by more epochs.",
    )
