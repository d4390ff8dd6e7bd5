"""The line under a check's message: how far the chapter is."""

import sys
from pathlib import Path

from lora_course.learner import record


def standing(check):
    """How far the chapter of this check is, and a word to somebody in the wrong folder."""
    exercises = sys.modules[check.judge.__module__].EXERCISES
    shares, _ = record.load()
    got = [shares.get(each.key, 0) for each in exercises]
    points = sum(round(share * e.points, 2) for share, e in zip(got, exercises, strict=True))
    return (
        f"Chapter {int(check.key[2:4])}: {got.count(1)} of {len(got)} exercises done, "
        f"{points:g} of {sum(each.points for each in exercises)} points.{misplaced()}"
    )


def misplaced():
    """A line for somebody who answers in the course's own exercises/; "" everywhere else."""
    here = Path.cwd()
    if here.name != "exercises" or not (here.parent / "solutions" / "source").is_dir():
        return ""
    return (
        "\nThis notebook is the course's original. Save it and run `lora-course lab`: it carries "
        "your answers into your own copy in work/, where no update touches them."
    )
