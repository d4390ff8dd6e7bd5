"""The table of chapters and exercises: done or open, and the points so far."""

import html
import importlib
import pkgutil
import re
from typing import NamedTuple

from lora_course import checks
from lora_course.learner import record


class Row(NamedTuple):
    chapter: int
    exercise: str  # number and title
    points: float
    possible: int

    @property
    def done(self):
        return self.points == self.possible


class Table:
    """What `lora_course.progress()` shows; text in a terminal, a table in Jupyter."""

    def __init__(self, rows, notes=()):
        self.rows, self.notes = rows, notes

    def total(self, chapter=None):
        """One sentence for the whole course, or for one chapter."""
        rows = [row for row in self.rows if chapter in (None, row.chapter)]
        done, points = sum(row.done for row in rows), sum(row.points for row in rows)
        return (
            f"{done} of {len(rows)} exercises done, "
            f"{points:g} of {sum(row.possible for row in rows)} points"
        )

    def summary(self):
        """A line for each chapter and one for the course: it fits a terminal of 24 lines."""
        lines = []
        for number, rows in self._chapters():
            mark = "■" * sum(row.done for row in rows) + "□" * sum(not row.done for row in rows)
            lines.append(f"Chapter {number:>2}  {mark:<6}  {self.total(number)}")
        return "\n".join([*lines, f"Course: {self.total()}", *self.notes])

    def chapter(self, number):
        """The exercises of one chapter, a line each, and its sum."""
        rows = [row for row in self.rows if row.chapter == number]
        width = max(len(row.exercise) for row in rows)
        lines = [f"  {row.exercise:<{width}}  {_points(row):>7}  {_state(row)}" for row in rows]
        return "\n".join([f"Chapter {number}: {self.total(number)}", *lines])

    def __repr__(self):
        lines = [self.chapter(number) for number, _ in self._chapters()]
        return "\n".join([*lines, f"Course: {self.total()}", *self.notes])

    def _repr_html_(self):
        lines = ['<table><thead><tr><th style="text-align: left">Exercise</th><th>Points</th>']
        lines.append("<th>State</th></tr></thead><tbody>")
        for chapter, rows in self._chapters():
            lines.append(
                f'<tr><th colspan="3" scope="rowgroup" style="text-align: left">'
                f"Chapter {chapter}: {self.total(chapter)}</th></tr>"
            )
            for row in rows:
                weight = "bold" if row.done else "normal"
                lines.append(
                    f'<tr><td style="text-align: left">{html.escape(row.exercise)}</td>'
                    f'<td>{_points(row)}</td><td style="font-weight: {weight}">{_state(row)}</td>'
                    "</tr>"
                )
        lines.append(f"</tbody></table><p>Course: {self.total()}</p>")
        lines += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        return "".join(lines)

    def _chapters(self):
        chapters = dict.fromkeys(row.chapter for row in self.rows)
        return [(n, [row for row in self.rows if row.chapter == n]) for n in chapters]


def progress_table():
    """Reads the record against the checks of every chapter."""
    shares, notes = record.load()
    problem = record.unwritable()
    if problem:
        notes.append(
            f"New results cannot be kept in {record.home()}: {problem}. Set LORA_COURSE_HOME to a "
            "folder that you may write to."
        )
    rows = []
    for module in sorted(info.name for info in pkgutil.iter_modules(checks.__path__)):
        if re.fullmatch(r"ch\d\d", module):
            for check in importlib.import_module(f"lora_course.checks.{module}").EXERCISES:
                points = round(shares.get(check.key, 0) * check.points, 2)
                rows.append(Row(int(module[2:]), check.label, points, check.points))
    return Table(rows, notes)


def _points(row):
    return f"{row.points:g}/{row.possible}"


def _state(row):
    return "done" if row.done else "open"
