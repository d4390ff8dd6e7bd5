"""The commands `lora-course grade`, `lora-course report` and `lora-course check`."""

import argparse
import re
from pathlib import Path

from lora_course.grading.console import (
    alive,
    keep_progress,
    one_thread,
    say_wrapped,
    score_lines,
    stop_with,
)
from lora_course.grading.results import graded, harmless

GRADE = "grades a folder of submitted notebooks and writes reports"
REPORT = "joins the results of all shares of a class into one report"
CHECK = "checks your own notebooks: a table, and exit status 1 while something is open"


def add(commands):
    """Adds them to the parser's subcommands; their functions are in `run`."""
    grade = commands.add_parser("grade", help=GRADE, description=f"{GRADE}.")
    grade.add_argument("folder", help="one folder or one file for each student")
    grade.add_argument("--out", required=True, help="folder of the results; resumed when it exists")
    grade.add_argument("--secret", metavar="FILE", help="a random text: adds secret inputs")
    grade.add_argument("--chapter", metavar="NN", help="only this chapter")
    grade.add_argument("--variant", action="append", default=[], metavar="EXERCISE=NAME")
    text = "only the third of ten shares of the students; `lora-course report` joins them"
    grade.add_argument("--shard", type=_shard, default=(1, 1), metavar="3/10", help=text)
    grade.set_defaults(run=run_grade)
    report = commands.add_parser("report", help=REPORT, description=f"{REPORT}.")
    report.add_argument("results", nargs="+", help="one folder of results for each share")
    report.add_argument("--out", required=True, help="folder of the report")
    report.set_defaults(run=run_report)
    check = commands.add_parser("check", help=CHECK, description=f"{CHECK}.")
    check.add_argument("notebooks", nargs="+", help="such as work/exercises/03_exercises.ipynb")
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

    wanted = ("secret", "jobs", "trust", "timeout", "shard")
    options = {name: getattr(args, name) for name in wanted}
    chapter = args.chapter and args.chapter.zfill(2)
    try:
        records = grade_folder(
            args.folder,
            args.out,
            chapter=chapter,
            variants=tuple(args.variant),
            say=say_wrapped,
            **options,
        )
    except CannotGrade as problem:
        return stop_with(str(problem), 2)
    except KeyboardInterrupt:
        return stop_with(
            "Stopped. What was graded is kept; the same command goes on from there.", 130
        )
    return _ended(records, args.out, empty=args.shard != (1, 1))


def run_report(args):
    """Exit status as that of one run over the whole class; 2 where the shares do not fit."""
    from lora_course.grading.parts import join_parts
    from lora_course.grading.state import CannotGrade

    try:
        return _ended(join_parts(args.results, args.out), args.out)
    except CannotGrade as problem:
        return stop_with(str(problem), 2)


def _ended(records, out, empty=False):
    """Says what came out; the exit status. empty: a share may be without students."""
    for found in records:
        if found["problem"]:
            say_wrapped(harmless.line(f"{found['student']}: {found['problem']}"))
    reduced = next((r["isolation"] for r in records if r["isolation"] != "full"), "")
    if reduced:
        say_wrapped(f"Isolation was {reduced}.")
    gaps = [r for r in records if graded.is_ungraded(r)]
    say_wrapped(f"{len(records) - len(gaps)} graded. The reports are in {out}.")
    if gaps:
        names = ", ".join(sorted({harmless.line(r["student"]) for r in gaps}))
        say_wrapped(
            f"Not graded, and blank in the reports: {names}. `lora-course grade` tries these again."
        )
    return 0 if (records or empty) and not gaps else 1


def run_check(args):
    """Exit status 0 when every exercise of every notebook is right, 1 while something is open."""
    one_thread()
    from lora_course.grading.intake.collect import collect
    from lora_course.grading.run import CannotGrade, grade_these

    found = []
    for name in args.notebooks:
        if not Path(name).is_file():
            return stop_with(f"There is no notebook {name}.", 2)
        found += [s._replace(student=name) for s in collect(name)[0]]
    doing = f"Checking {len(found)} notebook{'s' * (len(found) > 1)}"
    try:
        with alive(doing):
            done = dict(grade_these(found, jobs=args.jobs, trust=True, timeout=args.timeout))
    except CannotGrade as problem:
        return stop_with(str(problem), 2)
    except KeyboardInterrupt:
        return stop_with("Stopped.", 130)
    records = [done[submission] for submission in found]
    for each in records:
        keep_progress(each)
        say_wrapped("\n".join(score_lines(each)))
    return 0 if all(graded.is_done(each) for each in records) else 1


def _shard(word):
    found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", word)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{word} is no share such as 3/10: the third of ten")
    return int(found[1]), int(found[2])


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
