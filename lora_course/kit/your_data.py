"""Prompt and completion data that did not come with the course: read, examined, split."""

import random
import warnings

from lora_course.kit.rows import columns, read_splits

LEAST = {"train": 28, "validation": 6, "test": 6}  # rows of a split; the chapters look at six
FEWEST = sum(LEAST.values())  # different prompts


def load_foreign(name, known):
    """A datasets.DatasetDict with train, validation and test from a file, a folder or the hub.

    name: a .jsonl, .json, .csv or .parquet file, a folder or a hub id of data with the columns
    prompt and completion: text, or TRL's lists of messages with one question and one answer; or
    with one column `messages` of such a talk. known: the course's own tasks, for messages.
    Missing splits are cut off train. No prompt is in two splits: what a test row asks is taken out
    of train, with a warning.

    Raises ValueError when the data cannot be loaded, lacks a column, has a cell that is no text
    (it names the row), or fewer prompts than FEWEST, or rows of a split than LEAST.
    """
    from datasets import Dataset, DatasetDict

    splits = read_splits(name, known)
    lacking = {"prompt", "completion"} - set(columns(splits.get("train", [])))
    if lacking and "messages" not in columns(splits.get("train", [])):
        raise ValueError(
            f"The data {name!r} has no {' and no '.join(sorted(lacking))} in a split called train. "
            f"It has: { {split: columns(rows) for split, rows in splits.items()} }. Rename the "
            "columns."
        )
    splits = {
        split: [as_text(row, f"{name}, {split} row {n}") for n, row in enumerate(rows)]
        for split, rows in splits.items()
    }
    different = len({row["prompt"] for rows in splits.values() for row in rows})
    if different < FEWEST:
        raise ValueError(
            f"The data {name!r} has {different} different prompts in "
            f"{sum(map(len, splits.values()))} rows. Give at least {FEWEST}, so that some can be "
            "kept for validation and test."
        )
    kept = parted(splits, name)
    return DatasetDict({split: Dataset.from_list(kept[split]) for split in kept})


def as_text(row, where):
    """{"prompt": str, "completion": str} of a row; ValueError says where that fails, and why."""
    if "messages" in row and not {"prompt", "completion"} <= row.keys():
        talk = row["messages"] if isinstance(row["messages"], list) else [row["messages"]]
        row = {"prompt": talk[:-1], "completion": talk[-1:]}
    found = {}
    for column, role in (("prompt", "user"), ("completion", "assistant")):
        cell = row.get(column)
        if isinstance(cell, list) and len(cell) == 1 and isinstance(cell[0], dict):
            cell = cell[0].get("content") if cell[0].get("role") == role else cell
        if not isinstance(cell, str):
            turns = f" of {len(cell)} messages" if isinstance(cell, list) else ""
            raise ValueError(
                f"{where}, column {column}: {type(cell).__name__}{turns}, {str(cell)[:60]!r}. "
                f"Expected text, or a list of one message of the {role}. Mend or drop the row; "
                "docs/your_own_model.py trains on longer talks."
            )
        found[column] = cell
    return found


def parted(splits, name):
    """{"train", "validation", "test"} of which no two share a prompt."""
    splits = {key: splits[key] for key in ("test", "validation", "train") if key in splits}
    prompts = {key: list(dict.fromkeys(r["prompt"] for r in rows)) for key, rows in splits.items()}
    rng, taken = random.Random(0), {}
    for split in ("test", "validation"):
        if split not in splits:
            free = [p for p in prompts["train"] if p not in taken]
            some = set(rng.sample(free, min(len(free), max(LEAST[split], len(free) // 10))))
            splits[split] = [row for row in splits["train"] if row["prompt"] in some]
            splits["train"] = [row for row in splits["train"] if row["prompt"] not in some]
        taken |= {row["prompt"]: split for row in splits[split] if row["prompt"] not in taken}
    kept = {
        split: [row for row in splits[split] if taken.get(row["prompt"], split) == split]
        for split in ("train", "validation", "test")
    }
    if lost := {s: len(splits[s]) - len(kept[s]) for s in kept if len(splits[s]) > len(kept[s])}:
        warnings.warn(
            f"{name}: prompts of the test or validation rows were in other splits as well. Left "
            f"out there: {lost} rows.",
            stacklevel=5,
        )
    if few := [
        f"{len(kept[split])} in {split}" for split in kept if len(kept[split]) < LEAST[split]
    ]:
        raise ValueError(
            f"{name} has too few rows whose prompt is in no other split: {', '.join(few)}. Give at "
            f"least {LEAST}, or one split called train with {FEWEST} different prompts."
        )
    return kept
