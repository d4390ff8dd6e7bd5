"""Grading in a terminal: lines that fit, a sign of life, the table of one's own exercises."""

import contextlib
import os
import shutil
import signal
import sys
import textwrap
import time

from lora_course.grading.results import graded, harmless
from lora_course.learner import record

WIDEST = 80
WORDS = {"right": "right", "wrong": "not right yet", "todo": "not done yet", "broken": "broken"}
WORDS["ungraded"] = "not graded"


def one_thread():
    """Each process computes on one core, since there is one process for each core."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def say_wrapped(text):
    """Prints a text of several lines, harmless and in lines that fit."""
    from lora_course.checks.display import say as printed

    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    lines = harmless.clean(text).split("\n")
    printed("\n".join(part for line in lines for part in wrapped(line, width)))


def wrapped(line, width=WIDEST):
    """One line as several of this width; those that follow are set in like the first."""
    if len(line) <= width:
        return [line]
    inner = " " * (len(line) - len(line.lstrip(" ")))
    how = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": inner}
    return textwrap.wrap(line, max(width, 20), **how)


def stop_with(text, status):
    """Prints what is wrong to stderr; returns the exit status."""
    print(text.encode("utf-8", "replace").decode(), file=sys.stderr)
    return status


@contextlib.contextmanager
def alive(doing):
    """While the block runs, one line on stderr with the seconds, in a terminal only.

    A timer of the system, no thread: this process forks.
    """
    if not sys.stderr.isatty():
        yield
        return
    start = time.monotonic()

    def tick(*_):
        sys.stderr.write(f"\r{doing}: {time.monotonic() - start:.0f} s ")
        sys.stderr.flush()

    timed = hasattr(signal, "setitimer")  # on Windows the line stands still
    before = signal.signal(signal.SIGALRM, tick) if timed else None
    try:
        tick()
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 1, 1)
        yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        sys.stderr.write(f"\r{' ' * (len(doing) + 12)}\r")
        sys.stderr.flush()


def score_lines(found):
    """The lines of one record: a row for each exercise, then what is still open."""
    points, out_of = graded.points(found)
    yield f"{found['student']}: {points:g} of {out_of:g} points"
    if found["problem"]:
        yield f"  {found['problem']}"
        return
    width = min(WIDEST - 33, max(len(e["title"]) for e in found["exercises"]))
    for e in found["exercises"]:
        worth, title = f"{e['points']:g}/{e['out_of']:g}", e["title"]
        title = title if len(title) <= width else f"{title[: width - 1]}…"
        yield f"  {e['number']:<5} {title:<{width}}  {worth:>8}  {WORDS[e['status']]}"
    for e in found["exercises"]:
        if e["status"] in ("wrong", "broken", "ungraded"):
            yield ""
            yield from (f"  {line}" for line in e["message"].splitlines())
    if any(e["status"] in ("wrong", "broken") for e in found["exercises"]):
        yield ""
        yield "  Stuck? Three hints stand in the notebook, under each check."


def keep_progress(found):
    """Full marks of one's own notebook are progress, as in the notebook; published answers none."""
    if not any("published with the course" in flag for flag in found["flags"]):
        for e in found["exercises"]:
            if e["status"] == "right" and not (e["hidden"] or e["variant"]):
                record.save(f"ch{found['chapter']}.{e['name']}", 1.0)
