"""Rules: do the rows repeat, and does the test repeat the training?"""

from lora_course.kit.clean import words_of
from lora_course.preflight import sampled
from lora_course.preflight.report import Undecided, ok, problem


def _is_long(text, words=3):
    """Whether two such texts are hardly alike by chance; not all languages part their words."""
    return len(text.split()) > words or (not text.isascii() and len(text) > 4 * words)


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
    whole = {text.strip() for text, _ in train}  # a decoded row may begin with a space
    plain = {words_of(text) for text in whole}
    asked = {words_of(prompt) for _, prompt in train if prompt}
    exact = sum(text.strip() in whole for text, _ in tests)
    alike = [text for text in (words_of(text) for text, _ in tests) if text in plain]
    telling = sum(map(_is_long, alike))
    shared = sum(words_of(p) in asked and _is_long(words_of(p), 5) for _, p in tests if p)
    if telling >= max(1, 0.01 * len(tests)) or len(alike) > 0.2 * len(tests):
        return problem(
            f"{len(alike)} of {len(tests)} test rows are among the training rows ({exact} letter "
            "by letter): the test measures memory.",
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
    train = [words_of(text) for text, _ in _read(run.train_rows, run)]
    long = [text for text in train if _is_long(text)]
    if len(train) < 10:
        raise Undecided(f"{len(train)} rows are too few to speak of copies")
    extra, every = len(long) - len(set(long)), len(train) - len(set(train))
    if extra <= 0.1 * len(long) and every <= 0.5 * len(train):
        return ok(f"{every} of {len(train)} rows are copies")
    return problem(
        f"{every} of {len(train)} training rows are copies of others.",
        "Keep one of each; repeat rows on purpose by more epochs.",
    )
