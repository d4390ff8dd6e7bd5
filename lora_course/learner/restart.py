"""Begin again, with a way back: one exercise of a learner's notebook, or the progress."""

import json
import time
from pathlib import Path

from lora_course.learner import record
from lora_course.plumbing.files import write_atomically

ASIDE = "answers_before"  # a folder beside the notebooks, one file for every emptied exercise


def reset_exercise(original, copy, number):
    """Puts the stub of one exercise into the copy; the answer is kept. Returns what to tell.

    original: the course's exercise notebook. copy: the learner's. number: 2 for exercise 3.2.
    Raises ValueError when there is no such copy or no such exercise in it.
    """
    notebook, cell, name = _cell(copy, original, number)
    stub = _exercises(json.loads(original.read_text(encoding="utf-8")))[number - 1]
    if _text(cell) == _text(stub):
        return f"Exercise {name} is empty already."
    kept, number = _aside(copy, name, time.strftime("%Y-%m-%d_%H-%M-%S")), 1
    while kept.exists():  # twice in a second
        number += 1
        kept = kept.with_stem(f"{kept.stem.partition('-again')[0]}-again{number}")
    write_atomically(kept, _text(cell) + "\n")
    cell["source"], cell["outputs"], cell["execution_count"] = stub["source"], [], None
    write_atomically(copy, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return (
        f"Exercise {name} is empty again. Is the notebook open? Then reload it from the disk.\n"
        f"Your answer is kept in {kept}.\nTo have it back: lora-course start --only {name} --back"
    )


def restore_exercise(original, copy, number):
    """Puts the answer that was put aside last back into the copy. See `reset_exercise`."""
    notebook, cell, name = _cell(copy, original, number)
    kept = sorted((Path(copy).parent / ASIDE).glob(f"{name} *.py"))
    if not kept:
        raise ValueError(f"No answer to exercise {name} was put aside.")
    reset_exercise(original, copy, number)  # what stands there now is kept as well
    notebook, cell, _ = _cell(copy, original, number)
    cell["source"] = kept[-1].read_text(encoding="utf-8").rstrip("\n")
    write_atomically(copy, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return f"Exercise {name} holds the answer of {kept[-1].stem.rpartition(' ')[2]} again."


def reset_progress():
    """Puts the record aside and begins anew; the sentence says where it lies."""
    if not (record.home() / record.FILE).exists():
        return f"There is no progress in {record.home()} yet."
    with record.locked(record.home() / "progress.lock"):
        aside = record.set_aside(record.home() / record.FILE, "before")
    return f"The progress so far lies in {aside}. To get it back: lora-course progress --restore"


def restore_progress():
    """Puts the record that was set aside last back in its place; of both the best marks count."""
    found = record.home().glob(f"{record.FILE}.before-[0-9]*")
    numbered = {int(n): p for p in found if (n := p.suffix.removeprefix(".before-")).isdecimal()}
    if not numbered:
        return f"There is no progress to restore in {record.home()}."
    aside = numbered[max(numbered)]
    with record.locked(record.home() / "progress.lock"):
        try:
            old = record.read_record(aside)
        except ValueError:
            return f"{aside} is damaged: nothing was restored. Run your checks again."
        now, _ = record.load()
        best = {key: max(old.get(key, 0), now.get(key, 0)) for key in {**old, **now}}
        content = {"version": 1, "shares": best}
        write_atomically(record.home() / record.FILE, json.dumps(content, indent=1, sort_keys=True))
        aside.unlink()
    return f"Restored: {len(old)} result{'s' * (len(old) != 1)}."


def _cell(copy, original, number):
    """(notebook, its cell of this exercise, "3.2")."""
    name = f"{int(original.name[:2])}.{number}"
    if not Path(copy).is_file():
        raise ValueError(f"There is no {copy}. First: lora-course start {original.name[:2]}")
    wanted = _exercises(json.loads(original.read_text(encoding="utf-8")))
    if not 1 <= number <= len(wanted):
        raise ValueError(f"There is no exercise {name}: chapter {name.partition('.')[0]} has "
                         f"{len(wanted)}.")  # fmt: skip
    try:
        notebook = json.loads(Path(copy).read_text(encoding="utf-8"))
        key = wanted[number - 1]["metadata"]["lora_course"]["exercise"]
        cells = {c["metadata"]["lora_course"]["exercise"]: c for c in _exercises(notebook)}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{copy} is not a whole notebook any more.") from None
    if key not in cells:
        raise ValueError(f"{copy} has no cell of exercise {name} any more.")
    return notebook, cells[key], name


def _exercises(notebook):
    """Its exercise cells, in order."""
    return [c for c in notebook["cells"] if "exercise" in c["metadata"].get("lora_course", {})]


def _text(cell):
    return "".join(cell["source"])


def _aside(copy, name, when):
    return Path(copy).parent / ASIDE / f"{name} {when}.py"
