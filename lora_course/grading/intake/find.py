"""Notebooks below a student's folder, however it was made: deep, large, closed, full of links."""

import os
from pathlib import Path
from typing import NamedTuple

SKIPPED = ("__MACOSX", "__pycache__", "node_modules")
DEEPEST, ENTRIES, NOTEBOOKS = 32, 20_000, 200  # levels, names looked at, notebooks: of one student


class Found(NamedTuple):
    """notebooks: paths; others: names of other files; left: why not everything was looked at."""

    notebooks: list
    others: list
    left: list


def is_notebook(name):
    """True for the name of a notebook."""
    return name.lower().endswith(".ipynb") and not name.startswith(".")


def notebooks(folder):
    """Found, below a folder. Links are not followed; folders that begin with a dot are left out."""
    found, left, waiting, entries = Found([], [], []), {}, [(os.fspath(folder), 0)], 0
    while waiting:
        place, depth = waiting.pop()
        try:
            inside = sorted(os.scandir(place), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            left[f"a folder cannot be read ({error.strerror})"] = None
            continue
        folders = []
        for entry in reversed(inside):
            entries += 1
            name = entry.name
            if name in SKIPPED or name in (".git", ".ipynb_checkpoints"):
                continue
            if entry.is_dir(follow_symlinks=False):
                if name.startswith("."):
                    left["a folder that begins with a dot was left out"] = None
                elif depth == DEEPEST:
                    left[f"folders below {DEEPEST} levels were left out"] = None
                else:
                    folders.append((entry.path, depth + 1))
            elif is_notebook(name):
                found.notebooks.append(Path(entry.path))
            elif not name.startswith("."):
                found.others.append(name)
        waiting += reversed(folders)
        if entries > ENTRIES or len(found.notebooks) > NOTEBOOKS:
            left[f"more than {ENTRIES} files or {NOTEBOOKS} notebooks: not all were read"] = None
            break
    del found.notebooks[NOTEBOOKS:], found.others[100:]
    found.left.extend(left)
    return found
