"""The commands `lora-course grade` and `lora-course check`."""

import argparse
import os
import sys
from pathlib import Path

from lora_course.grading.results import graded, harmless

GRADE = "grades a folder of submitted notebooks and writes reports"
CHECK = "checks your own notebooks: a table, and exit status 1 while something is open"


def add(commands):
    """Adds both to the parser's subcommands; their functions are in `run`."""
    grade = commands.add_parser("grade", help=GRADE, description=f"{GRADE}.")
    grade.add_argument("folder", help="one folder or one file for each student")
    grade.add_argument("--out", required=True, help="folder of the results; resumed when it exists")
    grade.add_argument("--secret", metavar="FILE", help="a random text: adds secret inputs")
    grade.add_argument("--chapter", metavar="NN", help="only this chapter")
    grade.add_argument("--variant", action="append", default=[], metavar="EXERCISE=NAME")
    grade.set_defaults(run=run_grade)
    check = commands.add_parser("check", help=CHECK, description=f"{CHECK}.")
    check.add_argument(
        "notebooks", nargs="+", help="such as work/exercises/03_the_lora_layer.ipynb"
    )
    check.set_defaults(run=run_check, trust=True)
    for parser in (grade, check):
        parser.add_argument("--jobs", type=_whole, metavar="N", help="at a time; else one per core")
        parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS")
    text = "grade although this system cannot close the box"
    grade.add_argument("--i-trust-these-files", dest="trust", action="store_true", help=text)


def run_grade(args):
    """Exit status 0 when everything was graded, whatever its marks; 2 when it could not start."""
    one_thread()
    from lora_course.grading.run import CannotGrade, grade_folder

    wanted = ("secret", "jobs", "trust", "timeout")
    options = {name: getattr(args, name) for name in wanted}
    chapter = args.chapter and args.chapter.zfill(2)
    try:
        records = grade_folder(
            args.folder,
            args.out,
            chapter=chapter,
            variants=tuple(args.variant),
            say=_say,
            **options,
        )
    except CannotGrade as problem:
        return _fail(str(problem), 2)
    except KeyboardInterrupt:
        return _fail("Stopped. What was graded is kept; the same command goes on from there.", 130)
    for found in records:
        if found["problem"]:
            _say(harmless.line(f"{found['student']}: {found['problem']}"))
    reduced = next((r["isolation"] for r in records if r["isolation"] != "full"), "")
    if reduced:
        _say(f"Isolation was {reduced}.")
    gaps = [r for r in records if graded.is_ungraded(r)]
    _say(f"{len(records) - len(gaps)} graded. The reports are in {args.out}.")
    if gaps:
        names = ", ".join(sorted({harmless.line(r["student"]) for r in gaps}))
        _say(f"Not graded, and blank in the reports: {names}. The same command tries these again.")
    return 0 if records and not gaps else 1


def run_check(args):
    """Exit status 0 when every exercise of every notebook is right, 1 while something is open."""
    one_thread()
    from lora_course.grading.intake.collect import collect
    from lora_course.grading.run import CannotGrade, grade_these

    found = []
    for name in args.notebooks:
        if not Path(name).is_file():
            return _fail(f"There is no notebook {name}.", 2)
        found += [s._replace(student=name) for s in collect(name)[0]]
    try:
        done = dict(grade_these(found, jobs=args.jobs, trust=True, timeout=args.timeout))
    except CannotGrade as problem:
        return _fail(str(problem), 2)
    except KeyboardInterrupt:
        return _fail("Stopped.", 130)
    records = [done[submission] for submission in found]
    for each in records:
        _say("\n".join(score_lines(each)))
    return 0 if all(graded.is_done(each) for each in records) else 1


def one_thread():
    """Each process computes on one core, since there is one process for each core."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def score_lines(found):
    """The lines of one record: a row for each exercise, then what is still open."""
    points, out_of = graded.points(found)
    yield f"{found['student']}: {points:g} of {out_of:g} points"
    if found["problem"]:
        yield f"  {found['problem']}"
        return
    width = max(len(e["title"]) for e in found["exercises"])
    words = {"right": "right", "wrong": "not right yet", "todo": "not done yet", "broken": "broken"}
    words["ungraded"] = "not graded"
    for e in found["exercises"]:
        worth = f"{e['points']:g}/{e['out_of']:g}"
        yield f"  {e['number']:<5} {e['title']:<{width}}  {worth:>8}  {words[e['status']]}"
    for e in found["exercises"]:
        if e["status"] in ("wrong", "broken", "ungraded"):
            yield ""
            yield from (f"  {line}" for line in e["message"].splitlines())


def _say(text):
    from lora_course.checks.display import say

    say("\n".join(harmless.clean(line) for line in text.split("\n")))


def _fail(text, status):
    print(text.encode("utf-8", "replace").decode(), file=sys.stderr)
    return status


def _whole(word):
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a whole number from 1 on")
    return int(word)


def _seconds(word):
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{word} is not a number of seconds, 86400 at most")
    return seconds
