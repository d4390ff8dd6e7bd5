"""The table that Canvas imports: whose row it is, and what stands in it."""

from lora_course.grading.results.graded import is_ungraded, points
from lora_course.grading.results.harmless import cell, line
from lora_course.grading.results.tables import possible, table, two_digits


def canvas(records):
    """canvas.csv, for Canvas: Grades, Import. One column for each assignment.

    The student's name stands also under SIS Login ID; a bulk download of Canvas brings the ID
    (collect.py). Nobody is given an ID or a login by what a student has written. Of two submissions
    of one student to one assignment, the better one counts; what is not graded is blank.
    """
    worth = {name: two_digits(total) for name, total in possible(records).items() if name}
    best, about = {}, {}
    for record in records:
        given, student = record.get("canvas_id", ""), record["student"]
        key, name = (given, "" if given else student), record["assignment"]
        own = record["shown"] == student  # no other name resembles it
        about.setdefault(key, [cell(record["shown"]), given, "", ""])
        about[key][3] = cell(student) if own and not given and line(student) == student else ""
        mine = best.setdefault(key, {})
        if is_ungraded(record):
            mine.setdefault(name, None)
        else:
            mine[name] = max(points(record)[0], mine.get(name) or 0)
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *map(cell, worth)]]
    rows.append(["    Points Possible", "", "", "", "", *worth.values()])
    for key, mine in best.items():
        each = ["" if mine.get(name) is None else two_digits(mine[name]) for name in worth]
        rows.append([*about[key], "", *each])
    return table(rows)
