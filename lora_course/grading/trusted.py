"""The part that must be right for a score to be honest; wire, jail and reaper belong to it.

THREAT MODEL
Who: a student who writes any Python into a notebook and would like a better mark, another's
answers, or the grader stopped. Also an honest one whose code loops, crashes or fills the memory.

How a score is made: a box process runs the student's code and `probe`, which gives arrays. This
process makes the inputs, and judges the arrays by values that it works out itself. The box gets
inputs and nothing else: no expected value, no secret, no other submission. Of what it says, only
arrays count. A text of it is shown to its own author, never scored, and never for secret inputs.

Promised on Linux with isolation "full" (Landlock 3 and seccomp, x86_64 or aarch64, no root):
- a score is earned by arrays that are right, on inputs that nobody knew who has no secret;
- the code reads the installed packages, its own folder, and nothing else; it changes nothing
  outside that folder; it has no network, starts no process, and signals none but itself;
- time, memory, file sizes and the size of the folder have limits, and every exercise of every
  student has a process of its own: what happens in it costs nobody else anything;
- after an exercise nothing of it is left, neither a process nor a file.

Not promised:
- who wrote the code. The solutions are public, and the package holds much of what is asked for:
  a score shows working code. Imports that go around an exercise are flagged, not scored;
- secrecy of what every process may see on Linux: file names and sizes by `stat`, the time;
- anything against a hole in the kernel, in Python's JSON or in safetensors, which read bytes of
  the student here. Grade strangers in a machine that holds nothing else;
- processor time is shared: many endless loops make the others slow, within their time limit;
- with isolation "reduced" (macOS, Windows, an old kernel): the walls that the record names as
  missing. Expected values still stay out of the box, and the secret too.
"""

import hmac
import json
import signal
import time
from functools import cache
from typing import NamedTuple

from lora_course.checks.verdicts import GENERIC, Verdict, decide
from lora_course.grading.box import wire

VISIBLE = (0, 1, 2)  # the seeds of the notebook itself
HIDDEN = 3  # how many secret ones
JUDGE_SECONDS = 20


class Outcome(NamedTuple):
    """status: see graded.py; share of the points; hidden: a secret input decided."""

    status: str
    share: float
    message: str
    hidden: bool


def secret_seeds(secret, assignment, name):
    """Seeds that only the holder of the secret (bytes) can know."""
    said = [f"{assignment}/{name}/{number}".encode() for number in range(HIDDEN)]
    return [int.from_bytes(hmac.digest(secret, s, "sha256")[:4]) >> 1 for s in said]


def examine(warm, order, check, seeds, hidden, timeout):
    """One exercise of one submission in a box of its own.

    order: {"cells", "chapter", "module", "name"}; seeds: open ones, then `hidden`: secret ones
    """
    deadline = time.monotonic() + timeout

    def answer(number, seed):
        inputs = made(check, seed)
        wire.send(channel, b"a", wire.pack_arrays(inputs), deadline)
        kind, said = wire.receive(channel, b"aw", deadline)
        return told(check, said) if kind == b"w" else verdict_on(check, inputs, said)

    try:
        with warm.box() as channel:
            wire.send(channel, b"o", json.dumps(order).encode(), deadline)
            kind, said = wire.receive(channel, b"kw", deadline)
            if kind == b"w":
                return outcome(check, told(check, said))
            return outcome(check, *decide(answer, seeds, hidden))
    except wire.Late:
        return outcome(check, Verdict(0.0, "_late", f"{timeout:g}"))
    except wire.Torn:
        return outcome(check, Verdict(0.0, "_torn"))


@cache
def made(check, seed):
    """The inputs of one seed, the same for every submission."""
    return check.inputs(seed)


def verdict_on(check, inputs, payload):
    """The verdict on what a box sent."""
    outputs = wire.unpack_arrays(payload)
    signal.setitimer(signal.ITIMER_REAL, JUDGE_SECONDS)  # its handler raises TimeoutError
    try:
        return check.verdict(inputs, outputs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def told(check, payload):
    """What a box says instead of arrays. Whatever it says, it is worth nothing."""
    words = wire.unpack_words(payload)
    mistake = words.get("mistake", "")
    if mistake not in {"todo", "_missing", *GENERIC, *check.mistakes}:
        mistake = "raised"
    return Verdict(0.0, mistake, words.get("seen", ""), words.get("expected", ""))


STATUS = {"todo": "todo", "_missing": "todo", "raised": "broken", "_late": "broken"}
STATUS |= {"_torn": "broken"}
WORDS = {
    "_late": "no answer within {} seconds ({}). Is there a loop that does not end?",
    "_torn": "the process ended without an answer ({1}). It called exit, or it needed more memory "
    "than there is.",
    "_missing": "not done yet. There is no `{}` in this notebook: its cell was removed or renamed.",
}


def outcome(check, verdict, secret=None):
    """The verdict as status, share and words for the student. secret: of hidden inputs, or None."""
    decides = secret or verdict
    named = decides.mistake.partition(":")[0]
    status = "right" if decides.share == 1 else "wrong"
    if decides.share == 0:
        status = STATUS.get(named, status)
    message = check.result(verdict).message
    if secret:
        message = secret_message(check, verdict, secret.share)
    elif named in WORDS:
        said = WORDS[named].format(verdict.seen, f"0/{check.points} points")
        message = f"{check.label}: {said}"
    return Outcome(status, decides.share, message, secret is not None)


def secret_message(check, verdict, share):
    """Words that hold nothing of a secret input: no number, no text of the student's code."""
    points = f"{round(share * check.points, 2):g}/{check.points} points"
    if verdict.share == 1:
        return f"{check.label}: right on the inputs of the notebook, not on others ({points})."
    return f"{check.result(verdict).message}\nOn other inputs it earns {points}."
