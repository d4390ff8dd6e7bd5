"""The results of a class as files: tables, Gradescope's JSON, JUnit XML, a page per student.

Works on the grader's records alone (graded.py): what a record does not hold cannot get out here.
Flags are for the instructor: they stand in grades.csv and nowhere else.
"""

import csv
import io
import json
import re
from pathlib import Path

from lora_course.grading.results.feedback import page
from lora_course.grading.results.formats import gradescope, junit, label
from lora_course.grading.results.graded import points
from lora_course.grading.results.harmless import cell, folders, markdown
from lora_course.plumbing.files import write_atomically

SUMMARY_LIMIT = 900_000  # bytes; a job summary of GitHub may hold 1 MiB
# Canvas names the files of its bulk download name_[late_]USER_SUBMISSION_file
CANVAS_FILE = re.compile(r"[^_/]+_(?:late_)?(\d+)_\d+_", re.IGNORECASE)


def write_reports(records, out):
    """Writes every report of these records into the folder `out`; each file is old or new, whole.

    grades.csv, canvas.csv, junit.xml, summary.md, and for each student a folder with
    results.json (Gradescope) and feedback.html.
    """
    out = Path(out)
    records = sorted(records, key=lambda r: (r["student"], r["assignment"], r["file"]))
    names = folders(record["student"] for record in records)
    for student, name in names.items():
        own = [record for record in records if record["student"] == student]
        write_atomically(out / name / "results.json", json.dumps(gradescope(own), indent=1))
        write_atomically(out / name / "feedback.html", page(own))
    write_atomically(out / "junit.xml", junit(records))
    write_atomically(out / "canvas.csv", canvas(records))
    write_atomically(out / "summary.md", summary(records))
    write_atomically(out / "grades.csv", grades(records, names))


def possible(records):
    """{assignment: what it is worth}; a submission that could not be read cannot say it."""
    worth = {}
    for record in records:
        name = record["assignment"]
        worth[name] = max(points(record)[1], worth.get(name, 0))
    return dict(sorted(worth.items()))


def exercises(records):
    """The labels of all exercises, in the order of the course."""
    found = {}
    for record in records:
        for e in record["exercises"]:
            found[label(e)] = [int(part) for part in re.findall(r"\d+", e["number"])]
    return sorted(found, key=lambda text: (found[text], text))


def grades(records, names):
    """grades.csv: one row for each submission."""
    worth, columns = possible(records), exercises(records)
    head = ["student", "assignment", "points", "out_of", *columns, "problem", "flags"]
    rows = [[*head, "file", "feedback", "isolation", "seconds", "course_version", "graded_at"]]
    for record in records:
        made = {label(e): two_digits(e["points"]) for e in record["exercises"]}
        row = [cell(record["student"]), cell(record["assignment"])]
        row += [two_digits(points(record)[0]), two_digits(worth[record["assignment"]])]
        row += [made.get(column, "") for column in columns]
        row += [cell(record["problem"]), cell("; ".join(record["flags"])), cell(record["file"])]
        row += [cell(f"{names[record['student']]}/feedback.html"), cell(record["isolation"])]
        row += [two_digits(record["seconds"]), cell(record["course_version"])]
        rows.append([*row, cell(record["graded_at"])])
    return table(rows)


def canvas(records):
    """canvas.csv, for Canvas: Grades, Import. One column for each assignment.

    The student's name stands also under SIS Login ID; files of Canvas's bulk download bring the ID.
    Of two submissions of one student to one assignment, the better one counts.
    """
    worth = {name: two_digits(total) for name, total in possible(records).items() if name}
    best, ids = {}, {}
    for record in records:
        mine, name = best.setdefault(record["student"], {}), record["assignment"]
        mine[name] = max(points(record)[0], mine.get(name, 0))
        found = CANVAS_FILE.match(Path(record["file"]).name)
        ids.setdefault(record["student"], found[1] if found else "")
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *map(cell, worth)]]
    rows.append(["    Points Possible", "", "", "", "", *worth.values()])
    for student, mine in best.items():
        about = [cell(student), ids[student], "", "" if ids[student] else cell(student), ""]
        rows.append(about + [two_digits(mine[name]) if name in mine else "" for name in worth])
    return table(rows)


def summary(records):
    """summary.md: one Markdown table for each assignment."""
    lines, size = [f"# {len(records)} graded", ""], 0
    for assignment, total in possible(records).items():
        own = [record for record in records if record["assignment"] == assignment]
        columns = exercises(own)
        head = ["Student", "Points", *map(markdown, columns), "Problem"]
        rows = [head, ["---", "---:", *("---:" for _ in columns), "---"]]
        for record in own:
            made = {label(e): two_digits(e["points"]) for e in record["exercises"]}
            row = [
                markdown(record["student"]),
                f"{two_digits(points(record)[0])} / {two_digits(total)}",
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


def table(rows):
    """Rows as the text of a CSV file."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def two_digits(value):
    """At most two digits after the point, none where there is nothing to say."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")
