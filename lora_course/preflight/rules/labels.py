"""Rules: do labels and loss belong together?"""

import torch
from torch import nn

from lora_course.preflight.probe import few_rows, loss_in_eval, moved
from lora_course.preflight.report import ok, problem, warning
from lora_course.preflight.rules.answers import _text
from lora_course.preflight.talk import end_ids

EVERY = 9  # in place of a shift: the loss is over all tokens


# owned by chapter 19
def every_label_ignored(run):
    """Each row has a token that is graded."""
    empty = sum(all(label == -100 for label in row.labels) for row in run.rows)
    if not empty:
        return ok(f"{len(run.rows)} rows")
    if empty == len(run.rows):
        return problem(
            "Every label is -100: no token is graded, and the loss is 0 or not a number.",
            "Look at what should mark the answers: a response template that does not occur, a "
            "mask that is upside down, a length that cuts the answers off.",
        )
    share = empty / len(run.rows)
    return (problem if share >= 0.05 else warning)(
        f"{empty} of {len(run.rows)} rows have no graded token.",
        "Look at these rows: their answer is missing, cut off, or not found.",
    )


def pad_masked_by_number(run):
    """Where pad and end token are one, masking the pad's number masks the end token too."""
    tokenizer = _text(run)
    pad = tokenizer.pad_token_id
    if pad is None or pad not in end_ids(tokenizer, run.model):
        return ok("the pad token ends nothing")
    lost = kept = 0
    for row in run.rows:
        places = [n for n in range(1, len(row.ids)) if row.ids[n] == pad]
        lost += sum(row.labels[n] == -100 and row.labels[n - 1] not in (-100, pad) for n in places)
        kept += sum(row.labels[n] == pad for n in places)
    if not lost or kept >= lost:
        return ok()
    return problem(
        f"Pad and end token are both {pad}, and after {lost} graded answers the end token has the "
        "label -100.",
        "Use a pad token of its own, or set labels to -100 where the attention mask is 0.",
    )


def padding_graded(run):
    """Padding is never graded."""
    hidden = sum(label != -100 for row in run.rows for label in row.padding)
    pad = getattr(run.tokenizer, "pad_token_id", None)
    if not hidden and pad is not None:
        allowed = 2 if pad in end_ids(run.tokenizer, run.model) else 0  # an end, and one too many
        hidden = sum(_graded_tail(row, pad, allowed) for row in run.rows)
    if not hidden:
        return ok()
    every = sum(label != -100 for row in run.rows for label in row.labels + row.padding)
    return problem(
        f"{hidden} of {every} graded tokens are padding: the loss looks good and says little.",
        "Set the labels of padding to -100.",
    )


def _graded_tail(row, pad, allowed):
    """How many graded pads begin or end a row, where there are more than allowed."""
    counts = []
    for step in (1, -1):
        run = 0
        for i, label in list(zip(row.ids, row.labels, strict=True))[::step]:
            if i != pad or label != pad:
                break
            run += 1
        counts.append(run if run > allowed else 0)
    return sum(counts)


def labels_shifted(run):
    """The loss compares each token's prediction with the next token, once."""
    run.rows  # noqa: B018  Undecided where there are no rows of tokens
    by_hand = run.shift
    inside = 1 if "shift_labels" in run.batch else _shift_of_loss(run)
    if inside == EVERY or inside + by_hand == 1:
        return ok()
    far = inside + by_hand
    what = "itself" if far == 0 else f"the token {far} places on" if far > 0 else "an earlier one"
    return problem(
        f"Labels and loss together compare the prediction at each token with {what}"
        f"{', because both shift the labels' if far == 2 else ''}.",
        "Give labels that are equal to the tokens: models and trainers shift them by themselves.",
    )


def loss_ignores_labels(run):
    """The loss is over the tokens that the labels grade, not over all."""
    run.rows  # noqa: B018
    if "shift_labels" in run.batch or _shift_of_loss(run) != EVERY:
        return ok()
    return problem(
        "The loss is that of all tokens, although labels are -100 on some: they are not used.",
        "Hand the batch's own labels on in the loss: compute_loss(), or model(**batch).",
    )


@torch.no_grad()
def _shift_of_loss(run):
    """By how many places the loss itself moves the labels: the shift that gives the run's loss.

    EVERY stands for a loss over all tokens, whatever the labels are.
    """
    keys = {"labels", "num_items_in_batch"} if run.trainer is not None else set()
    gaps = {1: [], 0: [], 2: [], EVERY: []}
    for first in range(min(3, len(run.few["input_ids"]))):
        batch = moved(few_rows(run.few, 1, first), run.model)
        loss = loss_in_eval(run.model, batch, run.trainer)
        out = run.model(**{k: v for k, v in batch.items() if k not in keys})
        logits = out.get("logits") if isinstance(out, dict) else getattr(out, "logits", None)
        labels = batch["labels"]
        if logits is None or logits.shape[:2] != labels.shape:
            return 1
        for shift, found in gaps.items():
            told, far = (batch["input_ids"], 1) if shift == EVERY else (labels, shift)
            if shift == EVERY and "attention_mask" in batch and batch["attention_mask"].dim() == 2:
                told = told.masked_fill(batch["attention_mask"] == 0, -100)
            ahead = torch.full_like(labels, -100)
            ahead[:, : labels.shape[1] - far] = told[:, far:]
            wanted = nn.functional.cross_entropy(logits.float().flatten(0, 1), ahead.flatten())
            found.append(abs(float(wanted) - loss) / (1 + abs(loss)))
    fits = [shift for shift, found in gaps.items() if max(found) < 2e-3]
    return fits[0] if fits else 1
