"""What one graded submission is: a dict that JSON can hold, and the words that read it.

student          str, the name of the folder, or the start of the file's name
file             str, path of the notebook inside the folder of submissions, or ""
chapter          "03"
assignment       "03_the_lora_layer"
title            "03 The LoRA layer"; earlier records have none
problem          str, why nothing could be graded, or ""
ungraded         bool, not a zero but a gap: blank in every report, graded again by the next run
canvas_id        str, the number in the name that Canvas gave to the file, or ""
exercises        list of the dicts below, in the order of the chapter
flags            list of str, for the instructor: what a person should look at
isolation        "full", or "reduced: ..." with what was missing
seconds          float, wall time
course_version   str, of the package and its checks
graded_at        ISO time, UTC

An exercise:
name "lora_linear" · number "3.1" · title str · points float · out_of float
status           "right", "wrong", "todo" (the stub is still there), "broken" (gave no numbers) or
                 "ungraded" (the machine or the grader failed: no points, and no zero either)
message          str for the student; never holds a hidden input nor what was made of one
hints            list of three str, Markdown; empty for a private check
hidden           bool, secret inputs decided about the points
variant          bool, another task than the public one
"""


def entry(task, status, share, message, hidden=False):
    """One exercise of a record. task: catalog.Task; share: part of the points in [0, 1]."""
    check = task.check
    return {
        "name": check.name,
        "number": task.number,
        "title": check.title,
        "points": round(share * check.points, 2),
        "out_of": float(check.points),
        "status": status,
        "message": message,
        "hints": [] if task.private else [hint.strip() for hint in check.hints],
        "hidden": hidden,
        "variant": task.variant,
    }


def is_ungraded(record):
    """True when the record has a gap: nobody may take it for a zero."""
    gaps = any(e["status"] == "ungraded" for e in record["exercises"])
    return bool(record.get("ungraded")) or gaps


def points(record):
    """(points, out of) of a whole record."""
    found = record["exercises"]
    return round(sum(e["points"] for e in found), 2), round(sum(e["out_of"] for e in found), 2)


def is_done(record):
    """True when every exercise has all its points."""
    return not record["problem"] and all(e["status"] == "right" for e in record["exercises"])
