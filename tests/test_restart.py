"""Begin again, and back: nothing that a learner wrote is ever lost."""

import json

import pytest

from lora_course.learner import record, restart


def notebook(*codes):
    cells = [
        {
            "cell_type": "code",
            "source": code,
            "outputs": ["old"],
            "execution_count": 1,
            "metadata": {"lora_course": {"exercise": f"03.{name}"}},
        }
        for name, code in zip("ab", codes, strict=True)
    ]
    text = {"cell_type": "markdown", "source": ["# Über"], "metadata": {}}
    return json.dumps({"cells": [text, *cells]})


@pytest.fixture
def files(tmp_path):
    original, copy = tmp_path / "03_layer.ipynb", tmp_path / "work/03_exercises.ipynb"
    copy.parent.mkdir()
    original.write_text(notebook("stub a", "stub b"))
    copy.write_text(notebook("mine a", "mine b"))
    return original, copy


def codes(copy):
    return ["".join(cell["source"]) for cell in json.loads(copy.read_text())["cells"][1:]]


def test_one_exercise_and_back(files, monkeypatch):
    original, copy = files
    times = iter("123456")
    monkeypatch.setattr(restart.time, "strftime", lambda form: next(times))
    assert "--only 3.2 --back" in restart.reset_exercise(original, copy, 2)
    assert codes(copy) == ["mine a", "stub b"]
    assert json.loads(copy.read_text())["cells"][2]["outputs"] == []
    assert "empty already" in restart.reset_exercise(original, copy, 2)
    restart.restore_exercise(original, copy, 2)
    assert codes(copy) == ["mine a", "mine b"]


def test_what_stands_there_is_kept_when_an_answer_comes_back(files):
    original, copy = files
    restart.reset_exercise(original, copy, 1)
    copy.write_text(notebook("second try", "mine b"))
    restart.restore_exercise(original, copy, 1)
    assert codes(copy)[0] == "mine a"
    kept = sorted(path.read_text() for path in copy.parent.glob("answers_before/3.1 *.py"))
    assert kept == ["mine a\n", "second try\n"]


@pytest.mark.parametrize(
    ("text", "number", "said"),
    [
        (None, 1, "First: lora-course start 03"),
        ("{", 1, "not a whole notebook"),
        (notebook("a", "b"), 3, "chapter 3 has 2"),
        ('{"cells": []}', 1, "no cell of exercise 3.1"),
    ],
)
def test_clear_errors(files, text, number, said):
    original, copy = files
    copy.unlink() if text is None else copy.write_text(text)
    with pytest.raises(ValueError, match=said):
        restart.reset_exercise(original, copy, number)
    assert copy.exists() == (text is not None) and (text is None or copy.read_text() == text)


def test_progress_and_back(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path))
    monkeypatch.delenv("LORA_COURSE_PROGRESS", raising=False)
    assert "no progress" in restart.reset_progress() and "no progress" in restart.restore_progress()
    record.save("ch03.a", 1.0)
    record.save("ch03.b", 0.5)
    assert "--restore" in restart.reset_progress()
    assert record.load() == ({}, [])
    record.save("ch03.b", 1.0)
    assert "2 results" in restart.restore_progress()
    assert record.load() == ({"ch03.a": 1.0, "ch03.b": 1.0}, [])


def test_damaged_records_are_no_end(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path))
    monkeypatch.delenv("LORA_COURSE_PROGRESS", raising=False)
    (tmp_path / "progress.json.before-mine").write_text("not a number")
    (tmp_path / "progress.json").write_text("{broken")
    restart.reset_progress()
    record.save("ch03.a", 1.0)
    assert "before-1 is damaged: nothing was restored" in restart.restore_progress()
    assert record.load() == ({"ch03.a": 1.0}, [])
    restart.reset_progress()
    (tmp_path / "progress.json").write_text("{broken")
    assert "Restored: 1 result." == restart.restore_progress()
    assert record.load()[0] == {"ch03.a": 1.0}
