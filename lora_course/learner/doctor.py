"""`lora-course doctor`: what this machine has, line by line, and what to do about what it lacks.

Every question is asked in a thread with a time limit and with stderr closed: the doctor also has to
answer where packages are missing, a driver hangs, or the network swallows every packet.
"""

import contextlib
import os
import sys
import threading

from lora_course.learner import machine
from lora_course.learner.machine import Line

# (name, question, seconds that it may take)
QUESTIONS = (
    ("Python", machine.python, 5),
    ("packages", machine.packages, 30),
    ("CPU", machine.cpu, 120),  # imports torch
    ("memory", machine.memory, 30),
    ("GPU", machine.gpu, 60),
    ("bitsandbytes", machine.bitsandbytes, 120),
    ("disk", machine.disk, 5),
    ("hub", machine.hub, 5),
    ("base model", machine.base_model, 120),
)


def _ask(name, question, seconds):
    """Return the Line of one question, whatever happens inside it."""
    lines = []

    def work():
        try:
            lines.append(question())
        except Exception as failure:
            lines.append(Line("warning", f"{name}: cannot tell, {machine.short(failure)}"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return lines[0] if lines else Line("warning", f"{name}: no answer within {seconds} s")


@contextlib.contextmanager
def _no_stderr():
    """Close stderr for Python and for C libraries: loading notices would look like errors."""
    sys.stderr.flush()
    with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
        kept = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def main(questions=QUESTIONS):
    """Print a line for every question; return 1 when something stops the course, else 0."""
    states = []
    with _no_stderr():
        for name, question, seconds in questions:
            line = _ask(name, question, seconds)
            states.append(line.state)
            print(f"{line.state:8} {line.text}", flush=True)
            if line.advice:
                print(f"{'':8} -> {line.advice}", flush=True)
    stops = states.count("problem")
    print(f"{stops} to solve before the course can start." if stops else "The course can start.")
    return 1 if stops else 0
