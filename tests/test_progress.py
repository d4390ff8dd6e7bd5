import re

import pytest

import lora_course
from lora_course import checks
from lora_course.learner import progress, record
from lora_course.learner.progress import Row, Table


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return tmp_path


ROWS = [Row(3, "3.1 A <b>", 10, 10), Row(3, "3.2 Longer", 2.5, 5), Row(4, "4.1 C", 0, 20)]


def test_text():
    assert repr(Table(ROWS, ["A note."])) == (
        "Chapter 3: 1 of 2 exercises done, 12.5 of 15 points\n"
        "  3.1 A <b>     10/10  done\n"
        "  3.2 Longer    2.5/5  open\n"
        "Chapter 4: 0 of 1 exercises done, 0 of 20 points\n"
        "  4.1 C     0/20  open\n"
        "Course: 1 of 3 exercises done, 12.5 of 35 points\n"
        "A note."
    )


def test_html():
    page = Table(ROWS, ["<i>A note."])._repr_html_()
    assert "3.1 A &lt;b&gt;" in page and "&lt;i&gt;A note." in page
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells[3:6] == ["3.2 Longer", "2.5/5", "open"]
    assert "Course: 1 of 3 exercises done, 12.5 of 35 points" in page


def test_empty_course():
    assert repr(Table([])) == "Course: 0 of 0 exercises done, 0 of 0 points"


def test_progress_reads_checks_and_record(folder, monkeypatch):
    import importlib

    from tests import ch97

    real = importlib.import_module
    monkeypatch.setattr(checks, "__path__", [])
    monkeypatch.setattr(
        progress.pkgutil,
        "iter_modules",
        lambda path: [type("Info", (), {"name": name}) for name in ("ch97", "core", "chapter")],
    )
    monkeypatch.setattr(
        progress.importlib, "import_module", lambda name: ch97 if "ch97" in name else real(name)
    )
    record.save("ch97.scaled", 0.4)
    record.save("ch97.gone", 1.0)  # an exercise that an update removed
    assert lora_course.progress().rows == [
        Row(97, "97.1 Scale <it>", 4, 10),
        Row(97, "97.2 Up and down", 0, 5),
    ]


def test_notes(folder, monkeypatch):
    (folder / "progress.json").write_text("{")
    table = lora_course.progress()
    assert len(table.notes) == 1 and "set aside as" in repr(table)
    monkeypatch.setenv("LORA_COURSE_HOME", str(folder / "progress.json.damaged-1"))
    assert "New results cannot be kept" in repr(lora_course.progress())


def test_every_exercise_of_the_course_is_there():
    table = lora_course.progress()
    assert table.rows and table.notes == []
    assert [row.chapter for row in table.rows] == sorted(row.chapter for row in table.rows)
