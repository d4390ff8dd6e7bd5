"""From a verdict, or the end of a box, to what a record holds: status, share, words."""

from typing import NamedTuple

from lora_course.checks.verdicts import GENERIC, Verdict
from lora_course.grading.box import wire

STATUS = {"todo": "todo", "_missing": "todo", "raised": "broken", "_late": "broken"}
STATUS |= {"_torn": "broken"}
# What a check says that is true only in a notebook, where a hint and a cell stand around it.
BELOW = "\nStuck? Open hint 1 below.", " with your code, run that cell, then this one."
WORDS = {
    "_late": "no answer within {} seconds ({}). Is there a loop that does not end?",
    "_torn": "the process ended without an answer ({1}). It called exit, or it needed more memory "
    "than there is.",
    "_threads": "the process was ended ({1}). It started too many threads.",
    "_disk": "the process was ended ({1}). It wrote too much to the disk.",
    "_missing": "not done yet. There is no `{}` in this notebook: its cell was removed or renamed.",
}


class Outcome(NamedTuple):
    """status: see graded.py; share of the points; hidden: a secret input decided; note: for the
    instructor."""

    status: str
    share: float
    message: str
    hidden: bool
    note: str = ""


def told(check, payload):
    """What a box says instead of arrays. Whatever it says, it is worth nothing."""
    words = wire.unpack_words(payload)
    mistake = words.get("mistake", "")
    if mistake not in {"todo", "_missing", *GENERIC, *check.mistakes}:
        mistake = "raised"
    return Verdict(0.0, mistake, words.get("seen", ""), words.get("expected", ""))


def outcome(check, verdict, secret=None, opened=True):
    """The verdict as status, share and words for the student.

    secret: the verdict on hidden inputs, or None; opened: there were inputs that are no secret.
    """
    if secret and not opened and secret.mistake in ("todo", "_missing"):
        verdict, secret = secret, None  # a stub is no secret
    decides = secret or verdict
    named = decides.mistake.partition(":")[0]
    status = "right" if decides.share == 1 else "wrong"
    message = for_reports(check, verdict)
    if secret:
        message = secret_message(check, verdict, secret.share, opened)
    elif decides.share == 0:
        status = STATUS.get(named, status)
        limit = f"_{decides.seen}" if named == "_torn" else named
        if words := WORDS.get(limit, WORDS.get(named)):
            message = f"{check.label}: {words.format(verdict.seen, f'0/{check.points} points')}"
    return Outcome(status, decides.share, message, secret is not None)


def secret_message(check, verdict, share, opened):
    """Words that hold nothing of a secret input: no number, no text of the student's code."""
    points = f"{round(share * check.points, 2):g}/{check.points} points"
    if not opened:
        return f"{check.label}: not right yet ({points}). Its inputs are not shown."
    if verdict.share == 1:
        return f"{check.label}: right on the inputs of the notebook, not on others ({points})."
    return f"{for_reports(check, verdict)}\nOn other inputs it earns {points}."


def for_reports(check, verdict):
    """The check's message, for a place where no hint and no other cell stands below it."""
    return check.result(verdict).message.replace(BELOW[0], "").replace(BELOW[1], " with your code.")


def ungraded(check, reason):
    """Not graded, which is no zero."""
    message = f"{check.label}: not graded, by no fault of yours ({reason})."
    return Outcome("ungraded", 0.0, message, False)


def fault(word, late, seconds):
    """Whose fault it is that a box gave no answer: "" the student's, "perhaps", or the machine's.

    word: what the reaper says (reaper.watch); late: it had `seconds`, and they are over. A process
    cannot send SIGKILL to itself (jail.py), so that this signal is always somebody else's.
    """
    why = word.get("why", "no word of its end")
    if why in ("threads", "disk"):
        return ""
    if why not in ("ended", "let go"):
        return why
    if word.get("short"):
        return "no room on the disk"
    if word.get("signal") == 9:
        return "another process ended it, perhaps for want of memory"
    if word.get("held"):
        return "another process had stopped it"
    if not late:
        return "perhaps"
    if word.get("cpu", 0) > seconds / 2:
        return ""
    return "the machine was too busy" if word.get("waited", 0) > seconds / 3 else "perhaps"
