"""What run_autograder starts inside Gradescope's container: one submission, one results.json.

The layout is Gradescope's: ROOT/submission holds what the student uploaded, ROOT/results takes
results.json, ROOT/source is the unpacked zip. When the grader itself fails, nothing is written and
the exit status is 1: Gradescope then says so, instead of showing a mark that nobody earned.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

LARGEST = 100 << 20  # bytes of a notebook
NOTHING = "No notebook was found. Upload the .ipynb file of this chapter."


def main(root):
    """Grades ROOT/submission; returns the exit status."""
    from lora_course.grading import grade_folder
    from lora_course.grading.files import write_atomically
    from lora_course.grading.formats import gradescope
    from lora_course.grading.record import points

    about = json.loads((root / "source/assignment.json").read_text(encoding="utf-8"))
    secret = taken(root / "source/secret")
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "given", Path(folder) / "out"
        collect(root / "submission", given / "submission")
        options = {"secret": secret, "chapter": about["chapter"], "progress": False}
        # A container is thrown away after one submission: where it does not let the box close
        # all of its walls, there is nobody else's work to protect. The log says so.
        records = grade_folder(given, out, jobs=1, trust=True, **options)
    records = [r for r in records if r["assignment"] == about["assignment"]] or records
    best = sorted(records, key=lambda record: points(record)[0])[-1:]
    made = gradescope(best)
    if not best:
        made["output"] = NOTHING
    for record in best:
        print(f"isolation: {record['isolation']}")
        print(f"for the instructor: {'; '.join(record['flags']) or 'nothing to look at'}")
    write_atomically(root / "results/results.json", json.dumps(made, indent=1))
    return 0


def taken(path):
    """The secret as bytes, or None; the file is gone before any code of a student runs."""
    if not path.is_file():
        return None
    secret = path.read_bytes()
    path.unlink()
    return secret


def collect(source, target):
    """Copies the notebooks of a submission: ordinary files only, no links, none too large."""
    target.mkdir(parents=True)
    for folder, _, files in os.walk(source, followlinks=False):
        for name in sorted(files):
            path = Path(folder) / name
            if path.suffix.lower() != ".ipynb" or path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size > LARGEST or ".ipynb_checkpoints" in path.parts:
                continue
            place, number = target / name, 1
            while place.exists():
                number += 1
                place = target / f"{path.stem} ({number}).ipynb"
            shutil.copyfile(path, place)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
