"""The learner's copies in work/: JupyterLab opens these, so reading never changes the course.

JupyterLab stores an open notebook again by itself, and an update (`git pull`) stops at a file that
was changed. The copies lie as the originals do, work/chapters beside work/exercises, so a
chapter's link to its exercises opens the learner's own.
"""

import hashlib
import json
from pathlib import Path

from lora_course.plumbing.files import write_atomically

FOLDERS = ("chapters", "exercises", "solutions")
RECORD = ".copied.json"  # for every copy the digest of the cells it was made with


def bring(root):
    """Copies what is missing in work/, and renews what the learner has not changed.

    root: the folder of the course. Returns sentences for the learner: one for every copy that has
    changes of their own while the course has a newer original; such a copy stays as it is.
    Outputs do not count as changes: running an older text again is of no use.
    """
    work, said = Path(root) / "work", []
    known = _record(work / RECORD)
    originals = [path for folder in FOLDERS for path in sorted((root / folder).glob("*.ipynb"))]
    originals += sorted((root / "chapters" / "results").glob("*.json"))  # chapters read them
    for original in originals:
        name = original.relative_to(root).as_posix()
        copy, newest = work / name, cells_digest(original.read_bytes())
        mine = cells_digest(copy.read_bytes()) if copy.exists() else None
        if mine is None or mine == known.get(name) != newest:
            write_atomically(copy, original.read_bytes())
            known[name] = newest
        elif mine == newest:
            known[name] = newest
        elif known.get(name) != newest:
            said.append(
                f"{copy.relative_to(root)} has changes of yours and stays; the course has a newer "
                "one. To get it, rename yours and run this again."
            )
    write_atomically(work / RECORD, json.dumps(known, indent=1, sort_keys=True))
    return said


def cells_digest(content):
    """A digest of what a person can change in a notebook: kinds and sources of its cells.

    A file that is no notebook counts with all its bytes.
    """
    try:
        cells = json.loads(content)["cells"]
        texts = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
        content = json.dumps(texts).encode()
    except (ValueError, KeyError, TypeError):
        pass
    return hashlib.sha256(content).hexdigest()[:16]


def _record(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
