"""What run_autograder starts inside Gradescope's container: one submission, one results.json.

The layout is Gradescope's: ROOT/submission holds what the student uploaded, ROOT/results takes
results.json, ROOT/source is the unpacked zip. When the grader itself fails, nothing is written and
the exit status is 1: Gradescope then says so, instead of showing a mark that nobody earned.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from lora_course.grading.results.formats import gradescope
from lora_course.grading.run import grade_folder
from lora_course.plumbing.files import write_atomically


def main(root):
    """Grades ROOT/submission; returns the exit status."""
    about = json.loads((root / "source/assignment.json").read_text(encoding="utf-8"))
    options = {"chapter": about["chapter"], "variants": tuple(about["variants"])}
    options |= {"secret": taken(root / "source/secret"), "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given"
        shutil.copytree(root / "submission", given / "submission", symlinks=True)
        # A container is thrown away after one submission: where it does not let the box close all
        # of its walls, there is nobody else's work to protect. The log below says so.
        records = grade_folder(given, Path(folder) / "out", jobs=1, trust=True, **options)
    for record in records:
        print(f"isolation: {record['isolation']}")
        print(f"for the instructor: {'; '.join(record['flags']) or 'nothing to look at'}")
    write_atomically(root / "results/results.json", json.dumps(gradescope(records), indent=1))
    return 0


def taken(path):
    """The secret as bytes, or None; the file is gone before any code of a student runs."""
    if not path.is_file():
        return None
    secret = path.read_bytes()
    path.unlink()
    return secret


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
