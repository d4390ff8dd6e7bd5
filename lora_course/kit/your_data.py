"""Prompt and completion data that did not come with the course."""

import os
from pathlib import Path


def load_foreign(name, known):
    """A datasets.DatasetDict with train, validation and test from a file, a folder or the hub.

    name: a .jsonl file, a folder or a hub id of data with the columns prompt and completion.
    known: the names of the course's own tasks, for messages. Missing splits are cut off train.

    Raises ValueError when the data cannot be loaded or lacks a column.
    """
    from datasets import DatasetDict, load_dataset

    path = Path(os.path.expanduser(name))
    if path.suffix in (".jsonl", ".json") and not path.is_file():
        raise ValueError(
            f"There is no file {name}. Give a .jsonl file, a hub id, or one of: {known}."
        )
    try:
        if path.is_file():
            data = load_dataset("json", data_files=str(path))
        else:
            data = load_dataset(str(path) if path.is_dir() else name)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"The data {name!r} could not be loaded. Expected one of {known}, a .jsonl file with "
            "prompt and completion on every line, a folder, or a hub id (which needs the network). "
            f"(The loader said: {first})"
        ) from error
    lacking = {"prompt", "completion"} - set(data["train"].column_names if "train" in data else [])
    if lacking:
        raise ValueError(
            f"The data {name!r} has no {' and no '.join(sorted(lacking))} in a split called train. "
            f"It has: { {s: d.column_names for s, d in data.items()} }. Rename the columns."
        )
    if "test" not in data:
        cut = data["train"].train_test_split(test_size=0.1, seed=0)
        data = DatasetDict({"train": cut["train"], "test": cut["test"]})
    if "validation" not in data:
        cut = data["train"].train_test_split(test_size=0.1, seed=0)
        data = DatasetDict({"train": cut["train"], "validation": cut["test"], "test": data["test"]})
    return data
