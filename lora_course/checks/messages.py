"""The words of a check: what was seen, what was expected, the likely mistake, where to look."""

from lora_course.checks.display import show
from lora_course.checks.values import kind

__all__ = ["compose", "misuse", "show"]

GENERIC = {
    "none": "a function that ends without `return` gives None. Is `return` missing?",
    "unfinished": "this part still raises NotImplementedError. The others are counted.",
}


def compose(check, verdict, points):
    """The message of one verdict; its lines are separated by line breaks."""
    if verdict.mistake == "todo":
        return (
            f"{check.label}: not done yet. Replace the line `raise NotImplementedError` "
            "with your code, run that cell, then this one."
        )
    if verdict.share == 1:
        return f"{check.label}: {points:g}/{check.points} points. Verified: {_dot(check.verified)}"
    lines = [f"{check.label}: not right yet ({points:g}/{check.points})."]
    if verdict.seen:
        lines.append(f"Seen: {_dot(verdict.seen)}")
    if verdict.expected:
        lines.append(f"Expected: {_dot(verdict.expected)}")
    advice = check.mistakes.get(verdict.mistake) or GENERIC.get(verdict.mistake, "")
    if not advice and verdict.mistake.startswith("raised"):
        advice = check.mistakes.get("raised", "")
    if advice:
        head = "Where to look" if verdict.mistake in ("other", "type") else "Likely mistake"
        lines.append(f"{head}: {_dot(advice)}")
    lines.append("Stuck? Open hint 1 below.")
    return "\n".join(lines)


def misuse(check, objects):
    """The message when the check was called with the wrong things, else ""."""
    call = f"check.{check.name}({', '.join(check.wants)})"
    if len(objects) != len(check.wants):
        given = "nothing" if not objects else _count(len(objects), "object")
        return (
            f"{check.label}: this check needs {_count(len(check.wants), 'object')} and was given "
            f"{given}. Run `{call}`."
        )
    names = [getattr(given, "__name__", None) for given in objects]
    if set(names) == set(check.wants) and names != list(check.wants):
        return f"{check.label}: the objects are in another order. Run `{call}`."
    for name, given in zip(check.wants, objects, strict=True):
        if not callable(given):
            return (
                f"{check.label}: this check was given {kind(given)} in the place of `{name}`. "
                f"Pass `{name}` itself, without calling it: `{call}`. "
                "If you have just written it, run its cell first."
            )
    return ""


def _count(number, word):
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _dot(text):
    """The text with a full stop at its end; none after another mark, also within a bracket."""
    text = text.strip()
    closed = text.rstrip(")»").endswith((".", "?", ":", "!"))
    return text if closed else f"{text}."
