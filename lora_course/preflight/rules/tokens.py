"""Rules: are the rows built as the model will see them later?"""

from lora_course.preflight.report import Undecided, ok, problem
from lora_course.preflight.rules.answers import _instructed, _text
from lora_course.preflight.talk import ANSWER, USER, end_ids, opening_of, squeezed, template_parts


def _last_word(tokenizer, ids):
    """The last token that is no white space: a template may break the line after an end token."""
    return next((n for n in reversed(ids) if tokenizer.decode([n]).strip()), None)


def begin_token_doubled(run):
    """A text begins with one begin token."""
    tokenizer = _text(run)
    bos = tokenizer.bos_token_id
    if bos is None:
        return ok("the tokenizer has no begin token")
    ends = end_ids(tokenizer, run.model) | {tokenizer.pad_token_id}
    padding = tokenizer.pad_token_id == bos  # then two may be padding, where nothing masks it
    double = sum(row.ids[:2] == [bos, bos] and (row.masked or not padding) for row in run.rows)
    middle = 0
    if bos not in ends:
        for row in run.rows:
            spots = [n for n in range(2, len(row.ids)) if row.ids[n] == bos]
            begins = row.positions and [n for n in spots if row.positions[n] == 0]
            middle += any(
                _last_word(tokenizer, row.ids[:n]) not in ends and n not in (begins or ())
                for n in spots
            )
    if double >= 0.5 * len(run.rows) and double:
        return problem(
            f"{double} of {len(run.rows)} rows begin with {tokenizer.bos_token} twice.",
            "The template writes one already: tokenize its text with add_special_tokens=False.",
        )
    if middle >= 0.5 * len(run.rows) and middle:
        return problem(
            f"{middle} of {len(run.rows)} rows have {tokenizer.bos_token} in their middle.",
            "Tokenize the completion with add_special_tokens=False.",
        )
    return ok()


def no_generation_prompt(run):
    """A template announces the answer when it is asked to, with the words used in training."""
    tokenizer = _text(run)
    parts = template_parts(tokenizer)
    if parts is None:
        raise Undecided("there is no chat template")
    asked = [{"role": "user", "content": USER}]
    bare = tokenizer.apply_chat_template(asked, tokenize=False)
    told = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    if told != bare:
        return ok()
    answered = [*asked, {"role": "assistant", "content": ANSWER}]
    whole = tokenizer.apply_chat_template(answered, tokenize=False)
    lead = whole.removeprefix(bare).partition(ANSWER)[0].strip()
    if not whole.startswith(bare) or not lead:
        return ok()
    return problem(
        f"In training {lead!r} stands before each answer, and add_generation_prompt=True does not "
        "write it: later the model is not told to answer.",
        "Add `{% if add_generation_prompt %}` with these words to the template's end.",
    )


def completion_cut(run):
    """Rows are not cut off before their end."""
    if getattr(run.args, "packing", False):
        raise Undecided("packed rows are cut by design")
    gone = _vanished(run)
    if gone and gone > 0.05 * (gone + len(run.train_rows)):
        return problem(
            f"{gone} of {gone + len(run.train_rows)} rows vanished: cut at max_length = "
            f"{run.args.max_length}, nothing of their answers was left.",
            "Raise max_length, or leave out rows that are too long yourself.",
        )
    ends = end_ids(_text(run), run.model)
    limit = getattr(run.args, "max_length", None)
    lengths = [len(row.ids) for row in run.rows]
    most = max(lengths)
    full = [row for row in run.rows if len(row.ids) == most]
    ended = [row for row in run.rows if len(row.ids) < most and set(row.ids[-2:]) & ends]
    if not _instructed(run):
        raise Undecided("the rows are running text")
    cut = [row for row in full if not set(row.ids[-2:]) & ends]
    at_limit = limit is not None and most == limit
    if not cut or not (at_limit or len(full) > 1) or (not ended and not at_limit):
        return ok(f"the longest row has {most} tokens")
    share = len(cut) / len(run.rows)
    if share < 0.03:
        return ok(f"{share:.1%} of the rows are cut at {most} tokens")
    return problem(
        f"{len(cut)} of {len(run.rows)} rows stop at exactly {most} tokens without an end token: "
        "their answers are cut off, and the model learns not to stop.",
        "Raise max_length, or leave out rows that are too long.",
    )


def _vanished(run):
    """How many rows TRL dropped after cutting: those of the table that no label was left of."""
    by_trl = any(kind.__name__ == "SFTTrainer" for kind in type(run.trainer).__mro__)
    left = getattr(run.train_rows, "_indices", None)  # a filter keeps the table and lists rows
    if not by_trl or left is None or "labels" not in run.train_rows.column_names:
        return 0
    kept, labels = set(left.column(0).to_pylist()), run.train_rows.data.column("labels")
    gone = [labels[n].as_py() for n in range(len(labels)) if n not in kept]
    return sum(all(label == -100 for label in row) for row in gone)


def packed_without_reset(run):
    """Rows packed end to end count their positions anew for each text."""
    packed = bool(getattr(run.args, "packing", False)) or "seq_lengths" in run.batch
    starts = _starts(run)
    marked = sum(starts) >= len(run.rows) / 2
    if not packed and not marked:
        return ok("a row holds one text")
    if any(key in run.batch for key in ("seq_idx", "cu_seq_lens_q", "cu_seq_lens")):
        return ok("packed, and the borders are given")
    resets = sum(sum(p == 0 for p in row.positions) - 1 for row in run.rows if row.positions)
    if resets > 0:
        return ok(f"packed, and the positions begin anew {resets} times")
    mask = run.batch.get("attention_mask")
    if mask is not None and (mask.dim() == 4 or int(mask.max()) > 1):
        return ok("packed, and the mask separates the texts")
    if not _instructed(run):
        raise Undecided("running text may be packed without borders, as in pre-training")
    count = f"about {sum(starts) / len(starts) + 1:.0f}" if marked else "several"
    return problem(
        f"Rows hold {count} texts each, and position_ids do not begin anew: each text reads the "
        "ones before it.",
        "Pack with position_ids that restart (TRL: packing_strategy=\"bfd\"), or do not pack.",
    )  # fmt: skip


def _starts(run):
    """How many texts begin inside of each row: by the begin token, or the template's opening."""
    if run.tokenizer is None:
        return [0] * len(run.rows)
    bos, ends = run.tokenizer.bos_token_id, end_ids(run.tokenizer, run.model)
    if bos is not None and bos not in ends:
        return [
            sum(row.ids[n] == bos and row.ids[n - 1] in ends for n in range(1, len(row.ids)))
            for row in run.rows
        ]
    opening = opening_of(run.tokenizer)
    if opening is None:
        return [0] * len(run.rows)
    read = run.tokenizer.decode
    return [max(0, squeezed(read(row.ids)).count(opening) - 1) for row in run.rows]
