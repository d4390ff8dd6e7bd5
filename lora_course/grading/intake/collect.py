"""Who handed in what: a folder with one folder or one file per student."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from lora_course.grading import catalog
from lora_course.grading.intake import choose, find, spool, students, submitted
from lora_course.grading.results.harmless import line

BYTES = 100 << 20  # of all notebooks of one student


class Submission(NamedTuple):
    """One notebook of one student. path: None when nothing was handed in."""

    student: str
    path: Path | None
    file: str
    chapter: str
    problem: str = ""
    flags: tuple = ()
    digest: str = ""  # of the content
    kept: spool.Kept | None = None
    ungraded: bool = False  # the problem is not the student's: no zero
    canvas_id: str = ""

    def cells(self):
        """Sources of the code cells."""
        return self.kept.cells() if self.kept else ()


def collect(folder, chapter=None, leave_out=()):
    """([Submission], [notes for the teacher]). chapter: only this one; leave_out: folders."""
    folder, notes, aside = Path(folder), [], []
    if folder.is_file():
        found = _of_student(folder.stem, find.Found([folder], [], []), folder.parent, chapter)
        found, names = list(found), {folder.stem}
    elif not folder.is_dir():
        return [], [f"There is no folder {folder}."]
    else:
        by_student, foreign = students.listed(folder, leave_out, aside)
        found = [Submission(n, None, n, "", why, ungraded=True) for n, why in foreign.items()]
        ids = students.canvas_ids(by_student, folder, foreign)
        for student, files in by_student.items():
            each = _of_student(student, files, folder, chapter)
            found += [s._replace(canvas_id=ids.get(student, "")) for s in each]
        names = {s.student for s in found}
    if aside:
        notes.append(f"Left aside, no notebooks: {', '.join(map(line, aside))}.")
    for s in found:
        if s.ungraded:
            notes.append(f"{line(s.student)}: {line(s.problem)}")
    chapters = {s.chapter for s in found if s.chapter}
    only = chapter or (chapters.pop() if len(chapters) == 1 else "")
    found = [s if s.chapter else s._replace(chapter=only) for s in found]
    if chapter:
        found = [s for s in found if s.chapter == chapter]
        problem = f"There is no notebook of chapter {chapter}."
        without = names - {s.student for s in found}
        found += [Submission(s, None, "", chapter, problem) for s in sorted(without)]
    if not names:
        notes.append(f"There is no notebook in {folder}.")
    return found, notes


def _of_student(student, files, folder, chapter):
    """One Submission for each chapter that a student handed in."""
    left = tuple(files.left)
    if not files.notebooks:
        said = (
            f" The folder holds {', '.join(map(line, files.others[:5]))}." if files.others else ""
        )
        said += f" Looked at in part: {'; '.join(left)}." if left else ""
        yield Submission(student, None, "", chapter or "", f"There is no notebook.{said}")
        return
    by_chapter, size = {}, 0
    for path in files.notebooks:
        size += os.lstat(path).st_size if os.path.lexists(path) else 0
        if size > BYTES and by_chapter:
            left += (f"more than {BYTES >> 20} MB of notebooks: not all were read",)
            break
        rank, read = _read(student, path, folder)
        by_chapter.setdefault(read.chapter, []).append((rank, read))
    if len(by_chapter) > 1 and "" in by_chapter:  # foreign notebooks beside the real one
        others = by_chapter.pop("")
        left += tuple(f"not graded: {s.file} ({s.problem})" for _, s in others[:10])
    for several in by_chapter.values():
        several.sort(key=lambda pair: pair[0])
        *old, (best, chosen) = several
        flags = chosen.flags + left
        for rank, s in old[-10:]:
            why = "holds fewer answers of the student's own"
            why = f"because {chosen.file} is newer" if rank[:3] == best[:3] else why
            flags += (f"not graded: {s.file}, {s.problem or why}",)
        yield chosen._replace(flags=flags)


def _read(student, path, folder):
    """(rank, Submission): of several for one chapter the one with the highest rank is graded."""
    file = path.relative_to(folder).as_posix()
    named = next(
        (c for c in re.findall(r"(?<!\d)(\d\d)_", path.name) if c in catalog.chapters()), ""
    )

    def without(problem, chapter, digest=""):
        return (0, 0, 0, *_age(path)), Submission(student, path, file, chapter, problem, (), digest)

    try:
        content = submitted.read_bytes(path)
        digest = hashlib.sha256(content).hexdigest()
        cells = submitted.code_sources(content)
        del content
    except submitted.Unreadable as problem:
        return without(str(problem), named)
    if not any(cell.strip() for cell in cells):
        return without("This notebook has no code.", named, digest)
    found = submitted.chapter_of(cells, path.name, catalog.wanted_names())
    if not found:
        return without("This notebook holds no exercise of the course.", "", digest)
    flags = submitted.flags(cells, catalog.setup(found))
    if named and named != found:
        flags.append(f"named as chapter {named}, holds the exercises of chapter {found}")
    own, present, copied = choose.weigh(cells, found)
    if copied:
        flags.append("its answers are those that are published with the course")
    kept = spool.keep(cells)
    rank = 1, own, 0 if copied else 1 if not present else 2, *_age(path)
    return rank, Submission(student, path, file, found, "", tuple(flags), digest, kept)


def _age(path):
    try:
        return choose.age(path, os.lstat(path))
    except OSError:
        return 0, 0, path.name
