"""Grading a folder: what is there, what is done already, the rest in parallel, the reports."""

import contextlib
import json
import os
import sys
from pathlib import Path

from lora_course.grading import catalog, parts, pool
from lora_course.grading.box.fork_client import WarmGone
from lora_course.grading.boxed import OPEN, boxed
from lora_course.grading.intake import collect
from lora_course.grading.results.graded import is_ungraded
from lora_course.grading.state import (
    CannotGrade,
    check_variants,
    key,
    load_record,
    prepare,
    read_secret,
)
from lora_course.plumbing.files import reason, write_atomically

RESTARTS = 3  # of the warm process, when something has ended it


def grade_folder(
    folder,
    out,
    secret=None,
    jobs=None,
    trust=False,
    timeout=30.0,
    chapter=None,
    progress=True,
    variants=(),
    say=print,
    shard=parts.ALL,
):
    """Grades every notebook in `folder`; returns the records of all, also of earlier runs.

    out: folder of results, made where it is missing. secret: path of a file, bytes, or None.
    jobs: submissions at a time, None for one per core. trust: grade also where a wall of the box
    is missing. timeout: seconds for one exercise. variants: such as "lora_linear=rslora".
    shard: (3, 10) grades the third of ten shares of the students (parts.py).
    Raises CannotGrade. What is done is kept: after a stop at any moment, call it again.
    """
    secret, out = read_secret(secret), Path(out)
    state = prepare(out)
    parts.check_place(out, shard)
    check_variants(variants)
    if chapter and chapter not in catalog.chapters():
        known = " ".join(catalog.chapters())
        raise CannotGrade(f"There is no chapter {chapter} with exercises. These are here: {known}.")
    submissions, notes = collect.collect(folder, chapter, leave_out=(out,))
    for note in notes:
        say(note)
    known = parts.terms(submissions, secret, variants, timeout, chapter)
    if shard != parts.ALL and not submissions:
        raise CannotGrade(f"There is nothing to grade in {folder}.")
    submissions = parts.in_shard(submissions, shard)
    keys = {s: state / f"{key(s, secret, variants, timeout)}.json" for s in submissions}
    records, unsaved = {s: load_record(path) for s, path in keys.items()}, []
    todo = [s for s in submissions if records[s] is None]
    if len(todo) < len(submissions):
        say(f"{len(submissions) - len(todo)} of {len(submissions)} were graded before.")
    with contextlib.closing(grade_these(todo, secret, jobs, trust, timeout, variants)) as done:
        for submission, record in bar(done, len(todo), progress):
            records[submission] = record
            if is_ungraded(record):
                continue
            try:
                write_atomically(keys[submission], json.dumps(record, indent=1))
            except OSError as error:
                unsaved.append(f"{record['student']}: {reason(error)}")
    if unsaved:
        say(f"Could not be kept in {out}, and will be graded again: {'; '.join(unsaved[:5])}")
    found = [records[s] for s in submissions]
    parts.write(found, out, known, shard)
    return found


def grade_these(submissions, secret=None, jobs=None, trust=False, timeout=30.0, variants=()):
    """Yields (submission, record) for each, as they are done. secret: bytes or None."""
    if not submissions:
        return
    readable = [s for s in submissions if not s.problem]
    plan = pool.Plan(secret, timeout, variants)
    for submission in submissions:
        if submission.problem:
            yield submission, pool.grade(None, plan, submission)
    if not readable:
        return
    if not hasattr(os, "fork"):
        yield from unboxed(readable, plan, trust)
        return
    left = dict.fromkeys(readable)
    for _ in range(RESTARTS):
        with contextlib.suppress(WarmGone):
            for submission, record in boxed(list(left), plan, trust, jobs or cores()):
                left.pop(submission)
                yield submission, record
            return
    for submission in left:
        yield submission, pool.finished(submission, plan, problem=f"{pool.LOST}.")


def unboxed(submissions, plan, trust):
    """Windows, which cannot fork: everything in this process, for one's own notebooks."""
    missing = "no box at all, this system cannot fork"
    if not trust:
        raise CannotGrade(OPEN.format(missing))
    plan.isolation = f"reduced: {missing}"
    for submission in submissions:
        yield submission, pool.grade(None, plan, submission)


def cores():
    """The cores that this process may use."""
    mine = getattr(os, "sched_getaffinity", None)
    return len(mine(0)) if mine else os.cpu_count() or 1


def bar(done, total, progress):
    """A progress bar on stderr, in a terminal only."""
    if not progress or not total:
        return done
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread: this process forks
    return tqdm(done, total=total, unit="notebook", file=sys.stderr, leave=False, disable=None)
