"""The rows of a batch: tokens with the labels that stand for them, without padding."""

from dataclasses import dataclass

import torch

from lora_course.preflight.report import Undecided


@dataclass(frozen=True)
class LabelledRow:
    """The tokens of one row of the batch, padding aside: lists of equal length.

    labels: each beside its token, also where they were shifted by hand. padding: the labels of
    the positions that the mask hides.
    """

    ids: list
    labels: list
    positions: list | None
    padding: list
    masked: bool  # there was an attention mask


def rows_of(batch):
    """The LabelledRows of a batch. Raises Undecided where labels are not those of the tokens."""
    ids, labels = batch.get("input_ids"), batch.get("labels")
    if ids is None or labels is None:
        raise Undecided(f"the batch has no {'input_ids' if ids is None else 'labels'}")
    if ids.dim() != 2 or ids.shape != labels.shape:
        raise Undecided("the labels are not one for each token")
    mask, places = batch.get("attention_mask"), batch.get("position_ids")
    seen = mask if mask is not None and mask.shape == ids.shape else torch.ones_like(ids)
    shift, found = shift_of(ids, labels), []
    labels = labels.roll(shift, 1)
    for n in range(len(ids)):
        keep = seen[n] != 0
        spots = places[n if len(places) > 1 else 0] if places is not None else None
        spots = spots[keep].tolist() if spots is not None and spots.dim() == 1 else None
        real, graded = ids[n][keep].tolist(), labels[n][keep].tolist()
        found.append(LabelledRow(real, graded, spots, labels[n][~keep].tolist(), mask is not None))
    return found


def shift_of(ids, labels):
    """By how many places the labels lie before the tokens that they name: 0, 1 or -1."""
    graded, hits = (labels != -100)[:, 1:-1], {}
    for far in (0, 1, -1):
        hits[far] = int(((ids.roll(-far, 1) == labels)[:, 1:-1] & graded).sum())
    best = max(hits, key=hits.get)
    if hits[best] < 0.6 * int(graded.sum()):
        raise Undecided("the labels are not the tokens of the row")
    return best
