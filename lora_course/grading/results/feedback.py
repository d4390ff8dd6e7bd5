"""The feedback page of one student: one HTML file that needs nothing beside it."""

import html

from lora_course.grading.results.graded import is_ungraded, points
from lora_course.grading.results.harmless import clean, line, markup

STATES = {
    "right": "right",
    "wrong": "not right yet",
    "todo": "not done yet",
    "broken": "could not be run",
    "ungraded": "not graded",
}
STYLE = """
:root { color-scheme: light dark; --line: #767676; --right: #00634a; --open: #8a3800; }
@media (prefers-color-scheme: dark) { :root { --right: #5fd3ac; --open: #ffb183; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid var(--line); padding: .25rem 0 .75rem; }
h1, h2, h3 { line-height: 1.25; } h3 { margin-bottom: .25rem; }
.message { white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0 0; }
.right { color: var(--right); } .wrong, .todo, .broken, .ungraded, .problem { color: var(--open); }
.state { font-weight: 600; }
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
        "</main>\n<footer><p>The hints are in your notebook, under each check.</p>",
        f"<p>LoRA Course {markup(version)}, graded {markup(graded)}.</p></footer>",
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _assignment(record):
    made, possible = points(record)
    total = f": {made:g} of {possible:g} points" if possible else ""
    total = ": not graded, or not all of it" if is_ungraded(record) else total
    parts = [f"<h2>{markup(record['assignment'] or 'Not recognized')}{total}</h2>"]
    if record["file"]:
        parts.append(f"<p>Your file: {markup(record['file'])}</p>")
    if record["problem"]:
        parts.append(f'<p class="message problem">{_text(record["problem"])}</p>')
    return "\n".join([*parts, *(_exercise(exercise) for exercise in record["exercises"])])


def _exercise(exercise):
    state, worth = exercise["status"], f"{exercise['points']:g} of {exercise['out_of']:g} points"
    if state == "ungraded":
        worth = "no points yet, and no zero either"
    return (
        f"<section>\n<h3>{markup(exercise['number'])} {markup(exercise['title'])}</h3>\n"
        f'<p><span class="state {state}">{STATES[state]}</span>, '
        f"{worth}</p>\n"
        f'<p class="message" dir="auto">{_text(exercise["message"])}</p>\n</section>'
    )


def _text(text):
    return html.escape(clean(text))
