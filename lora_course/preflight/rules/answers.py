"""Rules: are the answers graded, whole, and nothing but the answers?"""

from lora_course.preflight import sampled
from lora_course.preflight.report import Undecided, ok, problem
from lora_course.preflight.talk import Reader, end_ids


def _text(run):
    if run.tokenizer is None:
        raise Undecided("there is no tokenizer")
    return run.tokenizer


def _segments(run):
    """For each row with answers: [(tokens asked, tokens answered)] as ranges of positions."""
    reader, found = Reader(_text(run)), []
    ends = end_ids(run.tokenizer, run.model)
    for row in run.rows:
        marks, begin, parts = reader.answers(row.ids), 1, []
        for start, stop in marks:
            after = [n for n in range(stop, len(row.ids)) if row.ids[n] in ends]
            close = after[0] + 1 if after else len(row.ids)
            parts.append((range(begin, max(begin, start)), range(stop, close)))
            begin = close
        found.append((row, parts))
    marked = [(row, parts) for row, parts in found if parts]
    if len(marked) < max(1, 0.5 * len(found)):
        raise Undecided("nothing in the rows says where answers begin")
    return marked


def prompt_graded(run):
    """What was asked is not graded, only what was answered."""
    told = _told_apart(run)
    if told is None:
        told = [
            (row.labels[n], True) for row, parts in _segments(run) for question, _ in parts
            for n in question if any(label != -100 for label in row.labels)
        ]  # fmt: skip
    asked, graded = len(told), sum(label != -100 for label, _ in told)
    if not asked or graded < 0.1 * asked:
        return ok(f"{asked} tokens of questions, {graded} of them graded")
    return problem(
        f"{graded / asked:.0%} of the tokens before the answers are graded: the model also learns "
        "to ask.",
        "Set the labels of the prompt to -100: columns prompt and completion or "
        "assistant_only_loss in TRL, by hand in a loop of your own.",
    )


def _told_apart(run):
    """The labels of prompts by the trainer's own column completion_mask; None without it."""
    if "completion_mask" not in (getattr(run.train_rows, "column_names", None) or ()):
        return None
    rows = sampled.sampled_rows(run.train_rows, sampled.ROWS)
    pairs = [(row.get("labels", row["input_ids"]), row["completion_mask"]) for row in rows]
    if any("labels" not in row for row in rows) and run.trainer is not None:
        return None
    return [(x, True) for labels, mask in pairs for x, m in zip(labels, mask, strict=True) if not m]


def answer_not_graded(run):
    """An answer is graded from its first word to its end."""
    reader, lost, rows = Reader(_text(run)), 0, 0
    for row, parts in _segments(run):
        seen = [_words(row, answer, reader) for _, answer in parts]
        graded = [words for words in seen if any(words)]
        if any(label != -100 for label in row.labels):
            rows += 1
            lost += not graded or any(words.count(False) >= 0.3 * len(words) for words in graded)
    if not rows or lost < 0.5 * rows:
        return ok()
    return problem(
        f"In {lost} of {rows} rows a large part of the answer is not graded.",
        "Look at where the mask begins: at the first token of the answer, counted with the "
        "tokens that tokenizer and template add.",
    )


def _words(row, answer, reader):
    """Whether each token of an answer is graded; blanks and an empty thought before it aside."""
    pieces = [(reader.piece(row.ids[n]), row.labels[n] != -100) for n in answer]
    closed = [n for n, (piece, _) in enumerate(pieces) if "</think>" in piece]
    pieces = pieces[closed[0] + 1 :] if closed and not pieces[closed[0]][1] else pieces
    while pieces and not pieces[0][0].strip():
        pieces = pieces[1:]
    return [graded for piece, graded in pieces if piece not in reader.tokenizer.all_special_tokens]


def _instructed(run):
    """True for rows of questions and answers, False for running text."""
    masked = sum(
        row.labels[:1] == [-100] and any(x != -100 for x in row.labels) for row in run.rows
    )
    if masked > len(run.rows) / 2:
        graded = [sum(x == -100 for x in row.labels) > 1 for row in run.rows]
        return sum(graded) > len(run.rows) / 2
    try:
        return bool(_segments(run))
    except Undecided:
        return False


def end_never_graded(run):
    """The token that ends an answer is graded, or the model never learns to stop."""
    ends = end_ids(_text(run), run.model)
    rows = [row for row in run.rows if any(label != -100 for label in row.labels)]
    if not rows:
        raise Undecided("no token is graded")
    learned = [r for r in rows if any(label in ends for label in r.labels[1:])]
    there = [r for r in rows if any(i in ends for i in r.ids[1:])]
    if len(learned) >= 0.5 * len(rows) or (learned and not _instructed(run)):
        return ok(f"{len(learned)} of {len(rows)} rows hold a graded end token")
    if there:
        return problem(
            f"{len(there)} of {len(rows)} rows hold an end token, and in {len(learned)} it is "
            "graded: the model will not stop.",
            "Mask the padding by its place (the attention mask), not by its number, and let the "
            "end token of the answer be graded.",
        )
    if not _instructed(run):
        raise Undecided("the rows are running text, which need not end")
    return problem(
        f"None of {len(rows)} rows ends with an end token: the model will not stop.",
        "Add the tokenizer's eos_token, or the template's own end, to each answer.",
    )
