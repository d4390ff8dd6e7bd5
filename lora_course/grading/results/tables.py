"""What the tables of a class are made of: cells, sums, and blanks for what is not graded."""

import csv
import io

from lora_course.grading.results.formats import label
from lora_course.grading.results.graded import is_ungraded, points


def possible(records):
    """{assignment: what it is worth}; a submission that could not be read cannot say it."""
    worth = {}
    for record in records:
        name = record["assignment"]
        worth[name] = max(points(record)[1], worth.get(name, 0))
    return dict(sorted(worth.items()))


def marks(record):
    """{label of an exercise: its points}, "" for what is not graded."""
    return {
        label(e): "" if e["status"] == "ungraded" else two_digits(e["points"])
        for e in record["exercises"]
    }


def total(record):
    """All points of a record, "" when it is not graded or not all of it."""
    return "" if is_ungraded(record) else two_digits(points(record)[0])


def table(rows):
    """Rows as the text of a CSV file."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def two_digits(value):
    """At most two digits after the point, none where there is nothing to say."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")
