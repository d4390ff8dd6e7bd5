"""Several submissions at once: one judging process per core, each asking for boxes of its own.

The judges know the secret, the boxes do not. A judge that dies or hangs costs its own submission
and nothing else.
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
from lora_course.grading.box.fork_client import WarmGone
from lora_course.grading.results import graded

JUDGE_MEMORY = 512 << 20  # address space beyond that of the grader
LOST = "The grader itself failed at this one; run it again"  # such a record is not kept


class Plan:
    """What is the same for all submissions. secret: bytes or None."""

    def __init__(self, secret=None, timeout=30.0, variants=()):
        self.secret, self.timeout, self.variants = secret, timeout, tuple(variants)
        self.isolation = "full"


def grade(warm, plan, submission):
    """The record of one submission. warm: None where this system cannot fork."""
    start, exercises, notes, cells = time.monotonic(), [], [], submission.cells()
    for task in catalog.tasks(submission.chapter, plan.variants) if submission.chapter else ():
        check, hidden = task.check, ()
        if problem := submission.problem:
            status = "ungraded" if submission.ungraded else "broken"
            exercises.append(graded.entry(task, status, 0, problem))
            continue
        if plan.secret:
            name = catalog.assignment(submission.chapter)
            hidden = trusted.secret_seeds(plan.secret, name, check.name)
        order = dict(cells=cells, chapter=submission.chapter, module=task.module, name=check.name)
        seeds = ((), trusted.VISIBLE) if task.private else (trusted.VISIBLE, hidden)
        if warm is None:
            said = in_process.examine(order, check, *seeds)
        else:
            said = trusted.examine(warm, order, check, *seeds, plan.timeout)
        exercises.append(graded.entry(task, *said[:3], said.hidden or task.private))
        notes += [f"{task.number} {said.note}"] if said.note else []
    return finished(submission, plan, exercises, time.monotonic() - start, notes=notes)


def finished(submission, plan, exercises=(), seconds=0.0, problem="", notes=()):
    """A record around these exercises. problem: of the grader, at this submission."""
    return {
        "student": submission.student,
        "file": submission.file,
        "chapter": submission.chapter,
        "assignment": catalog.assignment(submission.chapter) if submission.chapter else "",
        "title": catalog.title(submission.chapter) if submission.chapter else "",
        "problem": problem or submission.problem,
        "ungraded": bool(problem or submission.ungraded),
        "canvas_id": submission.canvas_id,
        "exercises": list(exercises),
        "flags": [*submission.flags, *notes],
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
        seen = time.monotonic()
        while waiting or busy:
            for channel in [c for c in judges if c not in busy][: len(waiting)]:
                submission = waiting.pop()
                tasks = len(catalog.tasks(submission.chapter, plan.variants) or "")
                busy[channel] = [submission, 60 + tasks * 9 * (plan.timeout + 30)]
                channel.send(submission)
            ready = connection.wait(busy, timeout=1)
            passed, seen = min(time.monotonic() - seen, 2.0), time.monotonic()
            for about in busy.values():  # without the time in which the grader was stopped
                about[1] -= passed
            late = [c for c, (_, left) in busy.items() if left < 0]
            for channel in {*ready, *late}:
                submission, _ = busy.pop(channel)
                try:
                    if channel not in ready:
                        raise EOFError
                    record = channel.recv()
                except (EOFError, OSError):  # this judge is lost; the others go on
                    judges.pop(channel).kill()
                    channel.close()
                    record = finished(submission, plan, problem=f"{LOST}.")
                    if waiting:
                        start()
                if record["ungraded"] and warm.process.poll() is not None:
                    raise WarmGone
                yield submission, record
    finally:
        for channel, process in judges.items():
            channel.close()
            process.kill()
            process.join()


def _judge(channel, warm, plan):
    """Grades what comes over the channel until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _too_long)
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        jail._libc().prctl(1, signal.SIGKILL, 0, 0, 0)  # never outlive the grader
        if os.getppid() != parent:
            return
    with contextlib.suppress(OSError, ImportError):  # a huge array costs its own author alone
        jail.limits(JUDGE_MEMORY)
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
