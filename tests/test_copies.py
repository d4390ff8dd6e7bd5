"""Copies in work/: the learner's changes stay, everything else follows the course."""

import json

import pytest

from lora_course.learner.copies import bring

NAME = "chapters/03_the_lora_layer.ipynb"


def notebook(text, outputs=()):
    code = {"cell_type": "code", "source": text, "outputs": list(outputs), "metadata": {}}
    return json.dumps({"cells": [code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def course(tmp_path):
    for folder in ("chapters/source", "chapters/results", "exercises", "solutions"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("chapters", "exercises", "solutions"):
        (tmp_path / folder / "03_the_lora_layer.ipynb").write_text(notebook(f"first {folder}"))
    (tmp_path / "chapters/source/03_the_lora_layer.py").write_text("# %%")
    (tmp_path / "chapters/results/h100.json").write_text('{"runs": []}')
    assert bring(tmp_path) == []
    return tmp_path


def test_copies_lie_as_the_originals_do(course):
    made = sorted(p.relative_to(course / "work").as_posix() for p in course.glob("work/*/**/*.*"))
    assert made == sorted(
        ["chapters/results/h100.json", NAME]
        + [f"{kind}/03_the_lora_layer.ipynb" for kind in ("exercises", "solutions")]
    )
    for name in made:
        assert (course / "work" / name).read_bytes() == (course / name).read_bytes()


def test_a_copy_that_was_only_run_follows_the_course(course):
    ran = notebook("first chapters", [{"output_type": "stream", "name": "stdout", "text": "1"}])
    (course / "work" / NAME).write_text(ran)
    assert bring(course) == [] and (course / "work" / NAME).read_text() == ran, "nothing newer"
    (course / NAME).write_text(notebook("second"))
    assert bring(course) == []
    assert (course / "work" / NAME).read_bytes() == (course / NAME).read_bytes()


def test_a_changed_copy_stays_and_is_named(course):
    mine = notebook("my own")
    (course / "work" / NAME).write_text(mine)
    assert bring(course) == [], "nothing newer, so nothing to say"
    (course / NAME).write_text(notebook("second"))
    for _ in range(2):
        (line,) = bring(course)
        assert NAME in line.replace("\\", "/") and "rename yours" in line
        assert (course / "work" / NAME).read_text() == mine
    (course / "work" / NAME).rename(course / "work" / "chapters/mine.ipynb")
    assert bring(course) == []
    assert (course / "work" / NAME).read_bytes() == (course / NAME).read_bytes()


@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_without_a_record_nothing_is_overwritten(course, record):
    path = course / "work/.copied.json"
    path.unlink() if record is None else path.write_text(record)
    (course / "work" / NAME).write_text(notebook("my own"))
    (course / NAME).write_text(notebook("second"))
    assert len(bring(course)) == 1
    assert (course / "work" / NAME).read_text() == notebook("my own")


def test_a_copy_that_is_no_notebook_any_more_stays(course):
    (course / "work" / NAME).write_text("{ half a file")
    (course / NAME).write_text(notebook("second"))
    assert len(bring(course)) == 1
    assert (course / "work" / NAME).read_text() == "{ half a file"
