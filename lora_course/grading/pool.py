"""Several submissions at once: one judging process per core, each asking for boxes of its own.

The judges know the secret, the boxes do not: boxes are forked from the warm process, judges from
the grader. A judge that dies or hangs costs its own submission and nothing else.
"""

import contextlib
import datetime
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import connection

from lora_course.grading import catalog, in_process, trusted
from lora_course.grading.box import jail
from lora_course.grading.results import graded

LOST = "The grader itself failed at this one; run it again"  # such a record is not kept


class Plan:
    """What is the same for all submissions. secret: bytes or None; missing: walls not there."""

    def __init__(self, secret=None, timeout=30.0, variants=(), missing=()):
        self.secret, self.timeout, self.variants = secret, timeout, tuple(variants)
        self.isolation = f"reduced: {'; '.join(missing)}" if missing else "full"


def grade(warm, plan, submission):
    """The record of one submission. warm: None where this system cannot fork."""
    start, exercises = time.monotonic(), []
    for task in catalog.tasks(submission.chapter, plan.variants) if submission.chapter else ():
        check, hidden = task.check, ()
        if submission.problem:
            exercises.append(graded.entry(check, task.number, "broken", 0, submission.problem))
            continue
        if plan.secret:
            name = catalog.assignment(submission.chapter)
            hidden = trusted.secret_seeds(plan.secret, name, check.name)
        order = {"cells": submission.cells, "chapter": submission.chapter}
        order |= {"module": task.module, "name": check.name}
        seeds = ((), trusted.VISIBLE) if task.private else (trusted.VISIBLE, hidden)
        if warm is None:
            said = in_process.examine(order, check, *seeds)
        else:
            said = trusted.examine(warm, order, check, *seeds, plan.timeout)
        words = said.status, said.share, said.message, said.hidden or task.private, task.variant
        exercises.append(graded.entry(check, task.number, *words))
    return finished(submission, plan, exercises, time.monotonic() - start)


def finished(submission, plan, exercises=(), seconds=0.0, problem=""):
    """A record around these exercises."""
    return {
        "student": submission.student,
        "file": submission.file,
        "chapter": submission.chapter,
        "assignment": catalog.assignment(submission.chapter) if submission.chapter else "",
        "problem": problem or submission.problem,
        "exercises": list(exercises),
        "flags": list(submission.flags),
        "isolation": plan.isolation,
        "seconds": round(seconds, 3),
        "course_version": catalog.version(),
        "graded_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def grade_all(warm, plan, submissions, jobs):
    """Yields (submission, record) as they are done."""
    context, waiting = multiprocessing.get_context("fork"), list(reversed(submissions))
    judges, busy = {}, {}

    def start():
        ours, theirs = context.Pipe()
        process = context.Process(target=_judge, args=(theirs, warm, plan), daemon=True)
        process.start()
        theirs.close()
        judges[ours] = process

    try:
        for _ in range(min(jobs, len(waiting))):
            start()
        while waiting or busy:
            for channel in [c for c in judges if c not in busy][: len(waiting)]:
                submission = waiting.pop()
                tasks = len(catalog.tasks(submission.chapter, plan.variants) or "")
                busy[channel] = submission, time.monotonic() + 60 + tasks * (plan.timeout + 90)
                channel.send(submission)
            ready = connection.wait(busy, timeout=1)
            late = [c for c, (_, end) in busy.items() if end < time.monotonic()]
            for channel in {*ready, *late}:
                submission, _ = busy.pop(channel)
                try:
                    if channel not in ready:
                        raise EOFError
                    yield submission, channel.recv()
                except (EOFError, OSError):  # this judge is lost; the others go on
                    judges.pop(channel).kill()
                    channel.close()
                    yield submission, finished(submission, plan, problem=f"{LOST}.")
                    if waiting:
                        start()
    finally:
        for channel, process in judges.items():
            channel.close()
            process.kill()
            process.join()


def _judge(channel, warm, plan):
    """Grades what comes over the channel until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_long)
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        jail._libc().prctl(1, signal.SIGKILL, 0, 0, 0)  # never outlive the grader
        if os.getppid() != parent:
            return
    with contextlib.suppress(OSError, ImportError):
        jail.limits()  # a judge that a student talks into a huge array fails alone
    sys.stdout = sys.stderr = open(os.devnull, "w")
    while True:
        try:
            submission = channel.recv()
        except (EOFError, OSError):
            return
        try:
            channel.send(grade(warm, plan, submission))
        except Exception as error:
            problem = f"{LOST} ({type(error).__name__})."
            channel.send(finished(submission, plan, problem=problem))


def _too_long(number, frame):
    raise TimeoutError
