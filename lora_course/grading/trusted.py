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
import time

from lora_course.grading.box.fork_client import task_key
from lora_course.grading.one_box import Said, once
from lora_course.grading.outcome import ungraded

VISIBLE = (0, 1, 2)  # the seeds of the notebook itself
HIDDEN = 3  # how many secret ones
TRIES = 3


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
    for way in said.ways if best.share < 1 else ():
        whole = tried(warm, {**order, "way": way}, *rest).outcome
        says_more = best.status in ("todo", "broken") and whole.status == "wrong"
        if whole.share > best.share or says_more:
            best = whole
        if best.share == 1:
            break
    if best.share > said.outcome.share:
        points = [f"{share * check.points:g}" for share in (best.share, said.outcome.share)]
        note = f"{points[0]} points by the whole notebook in order, {points[1]} by what it needs"
        best = best._replace(note=f"{check.name}: {note}")
    return best


def tried(warm, order, check, seeds, hidden, timeout):
    """Said by a box; by another one where the machine was at fault, or may have been.

    A box that got a quarter of a core has four times as long the next time.
    """
    longer = 1.0
    for number in range(TRIES):
        said = once(warm, order, check, seeds, hidden, timeout, longer)
        if not said.fault or said.fault == "perhaps" and number:
            return said
        longer = min(max(longer, 0.75 / said.pace), 8)
        time.sleep(0.1 + number / 2)
    return Said(ungraded(check, said.fault))
