"""Who handed in what: a folder with one folder or one file per student."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from lora_course.grading import catalog
from lora_course.grading.intake import submitted

SKIPPED = ("__MACOSX", "__pycache__", "node_modules")
COPY = re.compile(r"[\s_-]*(?:\((\d+)\)|copy ?(\d*)|-?[Cc]opy(\d+))$")


class Submission(NamedTuple):
    """One notebook of one student. path: None when nothing was handed in."""

    student: str
    path: Path | None
    file: str
    chapter: str
    problem: str = ""
    flags: tuple = ()
    digest: str = ""  # of the content
    cells: tuple = ()


def collect(folder, chapter=None, leave_out=()):
    """([Submission], [notes for the teacher]). chapter: only this one; leave_out: folders."""
    folder, notes, by_student, foreign = Path(folder), [], {}, []
    if folder.is_file():
        by_student[folder.stem] = [folder]
        folder = folder.parent
    elif not folder.is_dir():
        return [], [f"There is no folder {folder}."]
    else:
        leave_out = {os.path.realpath(place) for place in leave_out}
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            if entry.name.startswith(".") or entry.name in SKIPPED:
                continue
            if os.path.realpath(entry.path) in leave_out:
                continue
            if entry.is_dir(follow_symlinks=False):
                by_student.setdefault(entry.name, []).extend(_notebooks(entry.path, foreign))
            elif entry.name.lower().endswith(".ipynb"):
                by_student.setdefault(student_of(entry.name), []).append(Path(entry.path))
            else:
                foreign.append(entry.path)
    found = []
    for student, paths in by_student.items():
        found += _of_student(student, paths, folder, chapter)
    if foreign:
        some = ", ".join(os.path.relpath(path, folder) for path in foreign[:3])
        more = ", ..." if len(foreign) > 3 else ""
        notes.append(f"Left aside, no notebooks: {len(foreign)} ({some}{more}).")
    chapters = {s.chapter for s in found if s.chapter}
    only = chapter or (chapters.pop() if len(chapters) == 1 else "")
    found = [s if s.chapter else s._replace(chapter=only) for s in found]
    if chapter:
        found = [s for s in found if s.chapter == chapter]
        problem = f"There is no notebook of chapter {chapter}."
        without = by_student.keys() - {s.student for s in found}
        found += [Submission(s, None, "", chapter, problem) for s in sorted(without)]
    if not by_student:
        notes.append(f"There is no notebook in {folder}.")
    return found, notes


def student_of(name):
    """The student in the name of a file: what stands before 03_the_lora_layer, else all of it."""
    stem = name[: -len(".ipynb")]
    for chapter in catalog.chapters():
        before, found, _ = stem.partition(catalog.assignment(chapter))
        if found and before.strip(" _-"):
            return before.strip(" _-")
    return stem


def _notebooks(folder, foreign):
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED)
        for name in sorted(names):
            if name.lower().endswith(".ipynb") and not name.startswith("."):
                yield Path(place, name)
            elif not name.startswith("."):
                foreign.append(os.path.join(place, name))


def _of_student(student, paths, folder, chapter):
    """One Submission for each chapter that a student handed in."""
    if not paths:
        yield Submission(student, None, "", chapter or "", "There is no notebook.")
        return
    by_chapter = {}
    for path in paths:
        read = _read(student, path, folder)
        by_chapter.setdefault(read.chapter, []).append(read)
    if len(by_chapter) > 1 and "" in by_chapter:  # foreign notebooks beside the real one
        others = by_chapter.pop("")
        note = tuple(f"not graded: {s.file} ({s.problem})" for s in others)
        first = next(iter(by_chapter.values()))
        first[:] = [s._replace(flags=s.flags + note) for s in first]
    for several in by_chapter.values():
        several.sort(key=lambda s: (not s.problem, *_age(s.path)))
        *old, newest = several
        why = f"because {newest.file} is newer"
        note = tuple(f"not graded: {s.file}, {s.problem or why}" for s in old)
        yield newest._replace(flags=newest.flags + note)


def _age(path):
    copy = COPY.search(path.stem)
    number = int(next((g for g in copy.groups() if g), 1)) if copy else 0
    return int(os.lstat(path).st_mtime), number, path.name


def _read(student, path, folder):
    file = path.relative_to(folder).as_posix()
    named = next(
        (c for c in re.findall(r"(?<!\d)(\d\d)_", path.name) if c in catalog.chapters()), ""
    )
    try:
        content = submitted.read_bytes(path)
        digest = hashlib.sha256(content).hexdigest()
        cells = submitted.code_sources(content)
    except submitted.Unreadable as problem:
        return Submission(student, path, file, named, str(problem))
    if not any(cell.strip() for cell in cells):
        return Submission(student, path, file, named, "This notebook has no code.", (), digest)
    found = submitted.chapter_of(cells, path.name, catalog.wanted_names())
    if not found:
        problem = "This notebook holds no exercise of the course."
        return Submission(student, path, file, "", problem, (), digest, tuple(cells))
    flags = submitted.flags(cells, catalog.setup(found))
    if named and named != found:
        flags.append(f"named as chapter {named}, holds the exercises of chapter {found}")
    return Submission(student, path, file, found, "", tuple(flags), digest, tuple(cells))
