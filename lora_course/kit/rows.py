"""Rows of a file, a folder or the hub, as they are; an unreadable one is named by its line."""

import csv
import json
import os
from pathlib import Path

FILES = (".jsonl", ".json", ".csv", ".parquet")


def columns(rows):
    """Names of the columns that any row has."""
    return list(dict.fromkeys(key for row in rows for key in row))


def read_splits(name, known):
    """{split: list of rows} as they are in a file, a folder or on the hub."""
    from datasets import load_dataset

    path = Path(os.path.expanduser(name))
    if path.suffix in FILES and not path.is_file():
        raise ValueError(
            f"There is no file {name}. Give a file that ends in {', '.join(FILES)}, a hub id, "
            f"or one of: {known}."
        )
    try:
        if path.suffix == ".csv":
            return {"train": csv_rows(path)}
        if path.suffix == ".parquet":
            data = load_dataset("parquet", data_files=str(path))
        elif path.is_file():
            return {"train": json_rows(path.read_text(encoding="utf-8-sig"))}
        else:
            data = load_dataset(str(path) if path.is_dir() else name)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, UnicodeDecodeError):
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            first = f"line {line} is not in UTF-8; save the file in UTF-8"
        raise ValueError(
            f"The data {name!r} could not be loaded. Expected one of {known}, a .jsonl file with "
            "prompt and completion on every line, a .json, .csv or .parquet file, a folder, or a "
            f"hub id (which needs the network). (The loader said: {first})"
        ) from error
    return {split: list(rows) for split, rows in data.items()}


def csv_rows(path):
    """The rows of a CSV file; ValueError names the line with more cells than there are columns."""
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if None in row:  # csv puts there what stands beyond the last column
                raise ValueError(
                    f"line {reader.line_num} has more cells than columns: put quotes around texts "
                    "with commas"
                )
            rows.append(row)
    return rows


def json_rows(text):
    """The rows of JSON lines, or of one JSON list; ValueError names the line that is neither."""
    if text.lstrip().startswith("["):
        rows = list(enumerate(json.loads(text), 1))
    else:
        rows = []
        for n, line in enumerate(text.split("\n"), 1):
            try:
                rows += [(n, json.loads(line))] if line.strip() else []
            except ValueError as error:
                raise ValueError(f"line {n} is no JSON object: {error}") from error
    for n, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"line {n} is a {type(row).__name__}, and a JSON object was expected")
    return [row for _, row in rows]
