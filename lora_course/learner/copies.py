"""The learner's copies: JupyterLab opens these, so reading never changes the course.

JupyterLab stores an open notebook again by itself, and `git pull` stops at a file that was changed.
Copies lie as the originals do, so a chapter's link opens the learner's own exercises. They are
called 03_chapter and 03_exercises: a browser tab shows the beginning of a name and no more.
"""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

from lora_course.plumbing.files import write_atomically

FOLDERS = {"chapters": "chapter", "exercises": "exercises", "solutions": "solutions"}
PAGES = ("docs/architectures.md", "docs/claims.md")  # what chapters lead to, besides notebooks
RECORD = ".copied.json"  # for every copy the digest of the cells it was made with
LINK = re.compile(r"\]\((?:\.\./(chapters|exercises|solutions)/)?(\d\d)_\w+\.ipynb")


def bring(root, work=None, only=()):
    """Copies what is missing in the learner's folder, and renews what was not changed there.

    root: the course's folder. work: the learner's, else root/work. only: these originals, else all.
    Returns a sentence for every changed copy (it stays) of which the course has a newer original,
    and for every original with answers in it, which are carried over.
    Outputs do not count as changes: running an older text again is of no use.
    """
    root, said = Path(root), []
    work = Path(work) if work else root / "work"
    known = _record(work / RECORD)
    misplaced = _changed(root)
    for original in only or sorted(p for f in FOLDERS for p in (root / f).glob("*.ipynb")):
        copy = work / place(original)
        name = copy.relative_to(work).as_posix()
        former = f"{original.parent.name}/{original.name}"  # what the copy was called once
        if former != name and (work / former).exists() and not copy.exists():
            os.replace(work / former, copy)
            known |= {name: known.pop(former)} if former in known else {}
        if original in misplaced:
            said.append(_carry(original, misplaced[original], copy, work, known))
        content = linked(misplaced.get(original, original.read_bytes()), original.parent.name)
        newest = cells_digest(content)
        mine = cells_digest(copy.read_bytes()) if copy.exists() else None
        if mine is None or mine == known.get(name) != newest:
            write_atomically(copy, content)
            mine = newest
        if mine == newest:
            known[name] = newest
        elif known.get(name) != newest:
            said.append(
                f"{_shown(copy)} has changes of yours and stays; the course has a newer "
                "one. To get it, rename yours and run this again."
            )
    beside = [*(root / "chapters/results").rglob("*.json"), *(root / page for page in PAGES)]
    for original in sorted(path for path in beside if path.is_file()):
        copy, content = work / original.relative_to(root), linked(original.read_bytes(), "docs")
        if not copy.exists() or copy.read_bytes() != content:
            write_atomically(copy, content)
    write_atomically(work / RECORD, json.dumps(known, indent=1, sort_keys=True))
    return said


def place(original):
    """chapters/03_the_lora_layer.ipynb -> chapters/03_chapter.ipynb, as a path; no other number."""
    folder, name = Path(original).parent.name, Path(original).name
    return Path(folder) / (f"{name[:2]}_{FOLDERS[folder]}.ipynb" if name[:2].isdigit() else name)


def linked(content, folder):
    """The bytes of a notebook, with its links to other notebooks as the copies are called."""

    def renamed(match):
        other = match[1] or folder
        path = f"{match[2]}_{FOLDERS[other]}.ipynb"
        return f"](../{other}/{path}" if match[1] else f"]({path}"

    try:
        return LINK.sub(renamed, content.decode()).encode()
    except UnicodeDecodeError:
        return content


def cells_digest(content):
    """A digest of the kinds and sources of a notebook's cells; of another file, of all bytes."""
    try:
        cells = json.loads(content)["cells"]
        texts = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
        content = json.dumps(texts).encode()
    except (ValueError, KeyError, TypeError):
        pass
    return hashlib.sha256(content).hexdigest()[:16]


def _carry(original, published, copy, work, known):
    """Takes answers that were written into the original over into the learner's copy, once."""
    content = linked(original.read_bytes(), original.parent.name)
    name, answers = copy.relative_to(work).as_posix(), cells_digest(content)
    empty = cells_digest(linked(published, original.parent.name))
    carried = known.get(f"{name}, answers from the original", ["", ""])
    if carried[0] != answers:
        target, number, free = copy, 1, (known.get(name), empty, answers)
        while target.exists() and cells_digest(target.read_bytes()) not in free:
            number += 1
            target = copy.with_name(f"{copy.stem} ({number}).ipynb")
        write_atomically(target, content)
        if target == copy:
            known[name] = empty
        carried = known[f"{name}, answers from the original"] = [answers, target.name]
    return (
        f"{_shown(original)} is the course's, and there are answers in it. They are in "
        f"{_shown(copy.with_name(carried[1]))} now: go on there. To have the original back: "
        f"git restore {_shown(original)}"
    )


def _changed(root):
    """{exercise that differs from what git has: the bytes that git has}; {} without git."""
    try:
        git = ["git", "-C", str(root)]
        listed = subprocess.run(
            [*git, "diff", "--name-only", "--relative", "HEAD", "--", "exercises"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.splitlines()  # fmt: skip
        kept = {}
        for name in listed:
            shown = subprocess.run([*git, "show", f"HEAD:./{name}"], capture_output=True)
            path = Path(root) / name
            if shown.returncode == 0 and path.is_file():
                if cells_digest(path.read_bytes()) != cells_digest(shown.stdout):
                    kept[path] = shown.stdout
        return kept
    except (OSError, subprocess.SubprocessError):
        return {}


def _shown(path):
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def _record(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
