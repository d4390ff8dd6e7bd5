"""The part that must be right for a score to be honest; wire, jail and reaper belong to it.

THREAT MODEL
Who: a student who writes any Python into a notebook and would like a better mark, another's
answers, or the grader stopped. Also an honest one whose code loops, crashes or fills the memory.

How a score is made: a box process runs the student's code and `probe`, which gives arrays. This
process makes the inputs, and judges the arrays by values that it works out itself. The box gets
inputs and the source of the probe, and nothing else: no judge, no expected value, no secret, no
other submission. Of what it says, only arrays count. A text of it is shown to its own author, never
scored, and never for secret inputs.

Two ways to run a notebook: first the statements that the exercise needs, so that a loop elsewhere
costs nothing; where that is not right and other statements could matter, the whole notebook up to
the exercise's check. The better one counts, and the instructor is told when they differ.

Whose fault: what the machine does is never a student's zero. A box that somebody else killed, that
got no processor, no process or no disk is tried again, and then the exercise is "ungraded".

Promised on Linux with isolation "full" (Landlock 3 and seccomp, x86_64 or aarch64, no root):
- a score is earned by arrays that are right, on inputs that nobody knew who has no secret;
- the code reads the installed packages without the course's judges, its own folder, and nothing
  else; it changes nothing outside that folder; it has no network, starts no process, and signals
  none but itself;
- time, memory, threads, file sizes and the size of the folder have limits, and every exercise of
  every student has a process of its own: what happens in it costs nobody else anything;
- after an exercise nothing of it is left, neither a process nor a file.

Not promised:
- who wrote the code. The solutions are public, and the package holds much of what is asked for:
  a score shows working code. Imports that go around an exercise are flagged, not scored;
- secrecy of what every process may see on Linux: file names and sizes by `stat`, the time;
- that a score tells nothing: right or wrong on secret inputs is a bit for its author, each time;
- what a private probe imports from its own package: that enters the box with it;
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

from lora_course.checks.verdicts import Verdict, decide
from lora_course.grading.box import wire
from lora_course.grading.box.fork_client import task_key
from lora_course.grading.outcome import Outcome, fault, outcome, told, ungraded

VISIBLE = (0, 1, 2)  # the seeds of the notebook itself
HIDDEN = 3  # how many secret ones
JUDGE_SECONDS = 20  # of processor time
TRIES = 3


class Said(NamedTuple):
    """One box. settled: the rest of the notebook could change nothing; fault: see outcome.fault."""

    outcome: Outcome
    settled: bool = True
    fault: str = ""


def secret_seeds(secret, assignment, name):
    """Seeds that only the holder of the secret (bytes) can know."""
    said = [f"{assignment}/{name}/{number}".encode() for number in range(HIDDEN)]
    return [int.from_bytes(hmac.digest(secret, s, "sha256")[:4]) >> 1 for s in said]


def examine(warm, order, check, seeds, hidden, timeout):
    """One exercise of one submission, in boxes of its own.

    order: {"cells", "chapter", "module", "name"}; seeds: open ones, then `hidden`: secret ones
    """
    order = {**order, "check": task_key(order["module"], check)}
    rest = check, seeds, hidden, timeout
    said = tried(warm, {**order, "way": "slice"}, *rest)
    best = said.outcome
    if said.settled or best.share == 1:
        return best
    for way in ("last", "first"):
        whole = tried(warm, {**order, "way": way}, *rest).outcome
        if whole.share > best.share or best.status in ("todo", "broken") and whole.status == "wrong":
            best = whole
        if best.share == 1:
            break
    if best.share > said.outcome.share:
        points = [f"{share * check.points:g}" for share in (best.share, said.outcome.share)]
        note = f"{points[0]} points by the whole notebook in order, {points[1]} by what it needs"
        best = best._replace(note=f"{check.name}: {note}")
    return best


def tried(warm, order, check, seeds, hidden, timeout):
    """Said by a box; by another one where the machine was at fault, or may have been."""
    for number in range(TRIES):
        said = once(warm, order, check, seeds, hidden, timeout)
        if not said.fault or said.fault == "perhaps" and number:
            return said
        time.sleep(0.1 + number / 2)
    return Said(ungraded(check, said.fault))


def once(warm, order, check, seeds, hidden, timeout):
    """Said by one box."""
    deadline, opened, numbers, box, late = wire.Deadline(timeout), [], [], None, False

    def answer(number, seed):
        numbers.append(number)
        inputs = made(check, seed)
        wire.send(box.channel, b"a", wire.pack_arrays(inputs), deadline)
        kind, said = wire.receive(box.channel, b"aw", deadline)
        verdict = told(check, said) if kind == b"w" else verdict_on(check, inputs, said)
        opened.append(verdict) if number < len(seeds) else None
        return verdict

    try:
        with warm.box() as box:
            wire.send(box.channel, b"o", json.dumps(order).encode(), deadline)
            kind, said = wire.receive(box.channel, b"kw", deadline)
            if kind == b"w":
                return Said(outcome(check, told(check, said)), settled(said))
            found, rest = outcome(check, *decide(answer, seeds, hidden), bool(seeds)), b"1"
            if found.share < 1:
                wire.send(box.channel, b"q", b"", deadline)
                rest = wire.receive(box.channel, b"q", deadline)[1]
        short = found.share < 1 and box.word.get("short")
        return Said(found, rest != b"0", "no room on the disk" if short else "")
    except wire.Late:
        late = True
        lost = Verdict(0.0, "_late", f"{timeout:g}")
    except wire.Torn:
        lost = Verdict(0.0, "_torn", box.word.get("why", ""))
    whose = fault(box.word, late, timeout)
    if len(numbers) > len(seeds):  # on a secret input: how it was lost is a secret too
        lowest = min(opened, key=lambda verdict: verdict.share, default=Verdict(1.0))
        return Said(outcome(check, lowest, Verdict(0.0, "other"), bool(seeds)), True, whose)
    return Said(outcome(check, lost), True, whose)


def settled(payload):
    """What a box says about the rest of the notebook; what is torn is settled."""
    return wire.unpack_words(payload).get("settled") != "0"


@cache
def made(check, seed):
    """The inputs of one seed, the same for every submission."""
    return check.inputs(seed)


def verdict_on(check, inputs, payload):
    """The verdict on what a box sent. An error of this machine is none of the student's."""
    outputs = wire.unpack_arrays(payload)
    signal.setitimer(signal.ITIMER_PROF, JUDGE_SECONDS)  # its handler raises TimeoutError
    try:
        return check.verdict(inputs, outputs, strict=True)
    except (ImportError, OSError) as error:
        if not isinstance(error, TimeoutError):
            raise
        return Verdict(0.0, "other")
    except Exception:
        return Verdict(0.0, "other")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
