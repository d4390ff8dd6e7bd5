"""Whose is what: the entries of a folder of submissions, and the IDs in a download of Canvas."""

import os
import re
from pathlib import Path

from lora_course.grading import catalog
from lora_course.grading.intake import find

SYSTEM = {".ds_store", "thumbs.db", "desktop.ini", ".git", ".gitignore", ".gitkeep", ".github"}
SYSTEM |= {".gitattributes", ".ipynb_checkpoints", "__macosx", "__pycache__", "node_modules"}
TEACHERS = re.compile(r"(?i)(readme|notes|license|students\.csv)\b.*")
# Canvas names the files of its bulk download name_[late_]USER_SUBMISSION_file.
CANVAS_FILE = re.compile(r"([^_/]+)_(?:late_)?(\d+)_\d+_", re.IGNORECASE)


def listed(folder, leave_out, aside):
    """({student: find.Found}, {name: why it cannot be graded}) of what lies in the folder.

    leave_out: folders; aside: a list that takes the names of a teacher's own files.
    """
    by_student, foreign = {}, {}
    leave_out = {os.path.realpath(place) for place in leave_out}
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        name = entry.name
        if name.lower() in SYSTEM or os.path.realpath(entry.path) in leave_out:
            continue
        if entry.is_dir(follow_symlinks=False) and not name.startswith("."):
            more = find.notebooks(entry.path)
        elif find.is_notebook(name):
            more = find.Found([Path(entry.path)], [], [])
            name = student_of(name)
        elif TEACHERS.fullmatch(name):
            aside.append(name)
            continue
        else:
            foreign[name] = _why(entry)
            continue
        kept = by_student.setdefault(name, find.Found([], [], []))
        for mine, new in zip(kept, more, strict=True):
            mine.extend(new)
    return by_student, foreign


def _why(entry):
    """Why an entry of the folder is nobody's submission; a person has to look."""
    if entry.is_symlink():
        return "Not graded: this is a link to another place. Put the files themselves here."
    if entry.is_dir(follow_symlinks=False):
        return "Not graded: the folder begins with a dot. Rename it."
    return "Not graded: this is no notebook. Unpack it or rename it, so that it ends in .ipynb."


def student_of(name):
    """The student in the name of a file: what stands before 03_the_lora_layer, else all of it."""
    stem = name[: -len(".ipynb")]
    for chapter in catalog.chapters():
        before, found, _ = stem.partition(catalog.assignment(chapter))
        if found and before.strip(" _-"):
            return before.strip(" _-")
    before = re.sub(r"[ _-]*(?<!\d)\d\d_exercises\b.*", "", stem)  # as in work/exercises
    return before or stem


def canvas_ids(by_student, folder, foreign):
    """{student: ID} where all of the folder is one download of Canvas, else nobody has one.

    A name inside of a student's folder is the student's own choice, and means nothing.
    """
    paths = [path for files in by_student.values() for path in files.notebooks]
    flat = all(path.parent == folder for path in paths) and not foreign
    named = {path: CANVAS_FILE.match(path.name) for path in paths}
    if not flat or not all(named.values()) or not all(f.notebooks for f in by_student.values()):
        return {}
    ids = {s: {named[p].group(1, 2) for p in files.notebooks} for s, files in by_student.items()}
    owners = {}  # of one ID: the names that Canvas put before it
    for pair in set().union(*ids.values()):
        owners.setdefault(pair[1], set()).add(pair[0])
    return {
        s: next(iter(pairs))[1]
        for s, pairs in ids.items()
        if len(pairs) == 1 and len(owners[next(iter(pairs))[1]]) == 1
    }
