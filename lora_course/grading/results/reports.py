"""The results of a class as files: tables, Gradescope's JSON, JUnit XML, a page per student.

Works on the grader's records alone (graded.py): what a record does not hold cannot get out here.
Flags are for the instructor: they stand in grades.csv and nowhere else.
"""

import json
import re
from pathlib import Path

from lora_course.grading.results.canvas import canvas
from lora_course.grading.results.feedback import page
from lora_course.grading.results.formats import gradescope, junit, label
from lora_course.grading.results.harmless import cell, folders, markdown, shown
from lora_course.grading.results.tables import marks, possible, table, total, two_digits
from lora_course.plumbing.files import write_atomically

SUMMARY_LIMIT = 900_000  # bytes; a job summary of GitHub may hold 1 MiB


def write_reports(records, out):
    """Writes every report of these records into the folder `out`; each file is old or new, whole.

    grades.csv, canvas.csv, junit.xml, summary.md, and for each student a folder with
    results.json (Gradescope) and feedback.html.
    """
    out = Path(out)
    records = in_order(records)
    names = folders(record["student"] for record in records)
    alike = shown(dict.fromkeys(record["student"] for record in records))
    records = [{**record, "shown": alike[record["student"]]} for record in records]
    for student, name in names.items():
        own = [record for record in records if record["student"] == student]
        write_atomically(out / name / "results.json", json.dumps(gradescope(own), indent=1))
        write_atomically(out / name / "feedback.html", page(own))
    write_atomically(out / "junit.xml", junit(records))
    write_atomically(out / "canvas.csv", canvas(records))
    write_atomically(out / "summary.md", summary(records))
    write_atomically(out / "grades.csv", grades(records, names))


def in_order(records):
    """Sorted by student, assignment and file: however they came, the reports are the same."""
    return sorted(records, key=lambda r: (r["student"], r["assignment"], r["file"]))


def exercises(records):
    """The labels of all exercises, in the order of the course."""
    found = {}
    for record in records:
        for e in record["exercises"]:
            found[label(e)] = [int(part) for part in re.findall(r"\d+", e["number"])]
    return sorted(found, key=lambda text: (found[text], text))


def grades(records, names):
    """grades.csv: one row for each submission. What is not graded is blank."""
    worth, columns = possible(records), exercises(records)
    head = ["student", "assignment", "points", "out_of", *columns, "problem", "flags"]
    rows = [[*head, "file", "feedback", "isolation", "seconds", "course_version", "graded_at"]]
    for record in records:
        made = marks(record)
        row = [cell(record["shown"]), cell(record["assignment"])]
        row += [total(record), two_digits(worth[record["assignment"]])]
        row += [made.get(column, "") for column in columns]
        row += [cell(record["problem"]), cell("; ".join(record["flags"])), cell(record["file"])]
        row += [cell(f"{names[record['student']]}/feedback.html"), cell(record["isolation"])]
        row += [two_digits(record["seconds"]), cell(record["course_version"])]
        rows.append([*row, cell(record["graded_at"])])
    return table(rows)


def summary(records):
    """summary.md: one Markdown table for each assignment."""
    lines, size = [f"# {len(records)} graded", ""], 0
    for assignment, most in possible(records).items():
        own = [record for record in records if record["assignment"] == assignment]
        columns = exercises(own)
        head = ["Student", "Points", *map(markdown, columns), "Problem"]
        rows = [head, ["---", "---:", *("---:" for _ in columns), "---"]]
        for record in own:
            made = marks(record)
            row = [
                markdown(record["shown"]),
                f"{total(record) or 'not graded'} / {two_digits(most)}",
            ]
            row += [made.get(column, "") for column in columns]
            rows.append([*row, markdown(record["problem"])])
        lines += [f"## {markdown(assignment) or 'Not recognized'}", ""]
        for row in rows:
            text = "| " + " | ".join(row) + " |"
            size += len(text.encode())
            lines += [text] if size < SUMMARY_LIMIT else []
        lines.append("")
    if size >= SUMMARY_LIMIT:
        lines += ["There are more rows than fit here; grades.csv has all of them.", ""]
    flagged = sum(bool(record["flags"]) for record in records)
    if flagged:
        lines += [f"For the instructor: column `flags` of grades.csv has {flagged} entries.", ""]
    return "\n".join(lines)
