"""The feedback page of one student: one HTML file that needs nothing beside it."""

import html
import re

from lora_course.grading.results.graded import is_ungraded, points
from lora_course.grading.results.harmless import clean, line, markup

STATES = {
    "right": "right",
    "wrong": "not right yet",
    "todo": "not done yet",
    "broken": "could not be run",
    "ungraded": "not graded",
}
HINTS = "a nudge", "the idea", "nearly the answer"
# How a check's message begins; the page says it in its own words, once.
STATUS = re.compile(
    r"(?:(?:not right yet \([^)]*\)|not done yet|[\d.]+/[\d.]+ points)\.|not graded,)\s*"
)
STYLE = """
:root { color-scheme: light dark; --line: #767676; --right: #00634a; --open: #8a3800; }
@media (prefers-color-scheme: dark) { :root { --right: #5fd3ac; --open: #ffb183; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid var(--line); padding: .25rem 0 .75rem; }
h1, h2, h3 { line-height: 1.25; } h3 { margin-bottom: .25rem; }
.message { white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0 0; }
.right { color: var(--right); } .wrong, .todo, .broken, .ungraded, .problem { color: var(--open); }
.state { font-weight: 600; } details { margin-top: .25rem; } summary { cursor: pointer; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.next { border: 1px solid var(--line); border-radius: .25rem; padding: .25rem .75rem; }
footer { border-top: 1px solid var(--line); font-size: .875rem; margin-top: 1rem; }
"""
# Nothing on the page may run or be fetched, whatever a student's text looks like.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(records):
    """The page for the records of one student. Flags are for the instructor and stay out."""
    student = records[0].get("shown", records[0]["student"])
    version = ", ".join(sorted({record["course_version"] for record in records}))
    graded = max(record["graded_at"] for record in records)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Feedback for {html.escape(line(student))}</title>\n<style>{STYLE}</style>",
        f"</head>\n<body>\n<main>\n<h1>Feedback for {markup(student)}</h1>",
        *(_assignment(record) for record in records),
        f"</main>\n<footer><p>LoRA Course {markup(version)}, graded {markup(graded)}.</p></footer>",
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _assignment(record):
    made, possible = points(record)
    total = f": {made:g} of {possible:g} points" if possible else ""
    total = ": not graded, or not all of it" if is_ungraded(record) else total
    title = record.get("title") or record["assignment"] or "Not recognized"
    parts = [f"<h2>{markup(title)}{total}</h2>"]
    if record["file"]:
        parts.append(f"<p>Your file: {markup(record['file'])}</p>")
    if record["problem"]:
        parts.append(f'<p class="message problem">{_text(record["problem"])}</p>')
    parts.append(f'<p class="next"><strong>What next:</strong> {_next(record)}</p>')
    own = [e for e in record["exercises"] if e["message"] != record["problem"]]
    return "\n".join([*parts, *map(_exercise, own)])


def _next(record):
    """One sentence: what this student does now."""
    if is_ungraded(record):
        return "nothing to be done by you. What is not graded will be."
    if record["problem"]:
        return "mend what is said above and hand the notebook in again."
    still = [e for e in record["exercises"] if e["status"] != "right"]
    if not still:
        return "all is right. Say in your own words why; then the next chapter."
    first = min(still, key=lambda e: e["status"] == "todo")  # what was begun comes first
    points = f"{sum(e['out_of'] - e['points'] for e in still):g} points are still open."
    name = f"{markup(first['number'])} {markup(first['title'])}"
    return f"{name}. Work on it in your notebook, and run its check there. {points}"


def _exercise(exercise):
    state, worth = exercise["status"], f"{exercise['points']:g} of {exercise['out_of']:g} points"
    if state == "ungraded":
        worth = "no points yet, and no zero either"
    parts = [
        f"<section>\n<h3>{markup(exercise['number'])} {markup(exercise['title'])}</h3>",
        f'<p><span class="state {state}">{STATES[state]}</span>, {worth}</p>',
    ]
    if said := _without_status(exercise):
        parts.append(f'<p class="message" dir="auto">{_text(said)}</p>')
    if state in ("wrong", "broken", "todo"):
        for number, (name, hint) in enumerate(zip(HINTS, exercise.get("hints", ()), strict=False)):
            parts.append(f"<details><summary>Hint {number + 1}: {name}</summary>")
            parts.append(f'<p class="message">{_emphasis(_text(hint))}</p></details>')
    return "\n".join([*parts, "</section>"])


def _without_status(exercise):
    """The message without its title and its status: both stand above it."""
    whole = exercise["message"]
    said = whole.removeprefix(f"{exercise['number']} {exercise['title']}: ")
    if found := STATUS.match(said):
        said = said[found.end() :]
    return said if said == whole else said[:1].upper() + said[1:]


def _text(text):
    """The text escaped, `code` between backticks set as code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(clean(text)))


def _emphasis(text):
    """The rest of the Markdown that hints have: **strong**, and a $letter$ of a formula."""
    parts = re.split(r"(<code>.*?</code>)", text)
    for n in range(0, len(parts), 2):  # never inside code, where ** is a power
        parts[n] = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", parts[n])
        parts[n] = re.sub(r"\$(\w+)\$", r"<em>\1</em>", parts[n])
    return "".join(parts)
