"""Rows and a batch from a data set, without moving the loader that will train on it."""

import copy

from lora_course.preflight.report import Undecided

ROWS = 64  # looked at token by token
MOST = 20_000  # compared as whole texts


def sampled_rows(dataset, most):
    """Up to `most` rows, spread evenly over the data set.

    Raises Undecided for a stream: reading it would take rows away from training.
    """
    if dataset is None:
        raise Undecided("there is no data set")
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        places = range(0, len(dataset), max(1, -(-len(dataset) // most)))
        if hasattr(dataset, "column_names"):  # one reading of whole columns
            columns = dataset[list(places)] if len(dataset) else {}
            return [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
        return [copy.deepcopy(dataset[i]) for i in places]
    if type(dataset).__module__.startswith("datasets"):  # it begins anew for each reader
        with _position_kept(dataset):
            return [copy.deepcopy(row) for row, _ in zip(dataset, range(most), strict=False)]
    raise Undecided("the data set is a stream, and reading it would take rows away from training")


class _position_kept:
    """A stream of the library datasets notes where its last reader stands: noted back."""

    def __init__(self, dataset):
        self.dataset, self.before = dataset, dict(vars(dataset))
        self.state = copy.deepcopy(self.before.get("_state_dict"))

    def __enter__(self):
        if self.before.get("_starting_state_dict"):
            raise Undecided("the data set is a stream that goes on where it stopped")

    def __exit__(self, *_):
        vars(self.dataset).clear()
        vars(self.dataset).update(self.before)
        if self.state is not None:
            self.dataset._state_dict = self.state


def trainer_batch(trainer, most=ROWS):
    """One batch of a trainer's training rows, as its collator makes it."""
    dataset = trainer.train_dataset
    if dataset is None:
        raise Undecided("the trainer has no training rows")
    rows = sampled_rows(dataset, most)
    if not rows:
        raise Undecided("the training set is empty")
    collate = trainer.data_collator
    if type(dataset).__module__.startswith("datasets"):
        keep = _columns(trainer)
        rows = [{k: v for k, v in row.items() if not keep or k in keep} for row in rows]
    elif hasattr(trainer, "_get_collator_with_removed_columns"):
        collate = trainer._get_collator_with_removed_columns(trainer.data_collator)
    return collate(rows)


def _columns(trainer):
    """The columns that reach the collator, or None for all."""
    if not getattr(trainer.args, "remove_unused_columns", False):
        return None
    trainer._set_signature_columns_if_needed()
    return set(trainer._signature_columns)


def trainer_optimizer(trainer):
    """The trainer's optimizer; where a subclass makes its own later, one that is made to look."""
    made = getattr(trainer, "optimizer", None)
    maker = getattr(type(trainer), "create_optimizer", None)
    if made is not None or getattr(maker, "__module__", "").startswith(("transformers.", "trl.")):
        return made
    if maker is None or trainer.model is None:
        return None
    try:
        return trainer.create_optimizer() or trainer.optimizer
    except Exception:
        return None
    finally:
        trainer.optimizer = None


def trainer_tokenizer(trainer):
    """The trainer's tokenizer, also inside of a processor; or None."""
    found = getattr(trainer, "processing_class", None)
    return getattr(found, "tokenizer", found)


def loader_batch(loader):
    """A batch of a DataLoader, made from its data set, so that the loader does not move."""
    rows = sampled_rows(loader.dataset, ROWS)
    return loader.collate_fn(rows)


def texts(rows, tokenizer):
    """[(whole, prompt)] of each row as text; prompt is None where it is not known."""
    if not rows:
        return []
    row = rows[0]
    if "input_ids" in row:
        ids = [[int(i) for i in r["input_ids"]] for r in rows]
        prompts = [_prompt_ids(r) for r in rows]
        if tokenizer is None:
            return [(str(i), p and str(p)) for i, p in zip(ids, prompts, strict=True)]
        told = tokenizer.batch_decode(ids, skip_special_tokens=True)
        asked = tokenizer.batch_decode([p or [] for p in prompts], skip_special_tokens=True)
        return [(a, b or None) for a, b in zip(told, asked, strict=True)]
    if "prompt" in row and "completion" in row:
        pairs = [(_told(r["prompt"]), _told(r["completion"])) for r in rows]
        return [(f"{a} {b}", a) for a, b in pairs]
    for key in ("messages", "conversations", "text"):
        if key in row:
            return [(_told(r[key]), None) for r in rows]
    keys = [key for key, value in row.items() if isinstance(value, str)]
    if not keys:
        raise Undecided(f"rows with columns {', '.join(row)} cannot be read as text")
    return [(" ".join(str(r[key]) for key in keys), None) for r in rows]


def _prompt_ids(row):
    labels, mask = row.get("labels"), row.get("completion_mask")
    if labels is not None and len(labels) == len(row["input_ids"]):
        return [int(i) for i, label in zip(row["input_ids"], labels, strict=True) if label == -100]
    if mask is not None:
        return [int(i) for i, graded in zip(row["input_ids"], mask, strict=True) if not graded]
    return None


def _told(value):
    if isinstance(value, str):
        return value
    return " ".join(str(m.get("content", m.get("value"))) for m in value)
