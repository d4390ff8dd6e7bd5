"""Copies in work/: the learner's changes stay, everything else follows the course."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from lora_course.learner.copies import PAGES, bring, linked

ROOT = Path(__file__).resolve().parents[1]

ORIGINAL, COPY = "chapters/03_the_lora_layer.ipynb", "chapters/03_chapter.ipynb"
EXERCISES = "exercises/03_the_lora_layer.ipynb"


def notebook(text, outputs=()):
    code = {"cell_type": "code", "source": text, "outputs": list(outputs), "metadata": {}}
    return json.dumps({"cells": [code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def course(tmp_path):
    for folder in ("chapters/source", "chapters/results/13", "exercises", "solutions"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("chapters", "exercises", "solutions"):
        (tmp_path / folder / "03_the_lora_layer.ipynb").write_text(notebook(f"first {folder}"))
    (tmp_path / "chapters/source/03_the_lora_layer.py").write_text("# %%")
    (tmp_path / "chapters/results/h100.json").write_text('{"runs": []}')
    (tmp_path / "chapters/results/13/rates.json").write_text("{}")
    assert bring(tmp_path) == []
    return tmp_path


def test_copies_lie_as_the_originals_do(course):
    made = sorted(p.relative_to(course / "work").as_posix() for p in course.glob("work/*/**/*.*"))
    assert made == [
        COPY,
        "chapters/results/13/rates.json",
        "chapters/results/h100.json",
        "exercises/03_exercises.ipynb",
        "solutions/03_solutions.ipynb",
    ]
    assert (course / "work" / COPY).read_bytes() == (course / ORIGINAL).read_bytes()


def test_links_lead_to_the_copies(course):
    text = "[3.1](../exercises/03_the_lora_layer.ipynb#3.1) [next](04_injecting.ipynb) [x](a.ipynb)"
    (course / ORIGINAL).write_text(notebook(text))
    bring(course)
    wanted = "[3.1](../exercises/03_exercises.ipynb#3.1) [next](04_chapter.ipynb) [x](a.ipynb)"
    assert (course / "work" / COPY).read_text() == notebook(wanted)


def test_links_of_every_chapter_are_there():
    """In the real course each link of a copy leads to a copy."""
    for original in [*sorted(ROOT.glob("*/*_*.ipynb")), *(ROOT / page for page in PAGES)]:
        text = linked(original.read_bytes(), original.parent.name).decode()
        for link in re.findall(r"\]\((?!\w+:|#|attachment)([^)#\s]+\.\w+)[)#]", text):
            there = (Path(original.parent.name) / link).as_posix()
            there = os.path.normpath(there).replace("\\", "/")
            assert re.fullmatch(
                r"chapters/\d\d_chapter.ipynb|exercises/\d\d_exercises.ipynb|"
                r"solutions/\d\d_solutions.ipynb|chapters/appendix_claims.ipynb|" + "|".join(PAGES),
                there,
            ), f"{original.name}: {link}"


def test_the_appendix_keeps_its_name(course):
    original = course / "chapters/appendix_claims.ipynb"
    original.write_text(notebook("[3](03_the_lora_layer.ipynb#3)"))
    assert bring(course) == []
    copy = course / "work/chapters/appendix_claims.ipynb"
    assert copy.read_text() == notebook("[3](03_chapter.ipynb#3)")
    copy.write_text(notebook("mine"))
    assert bring(course) == [] and copy.read_text() == notebook("mine")


def test_a_copy_under_its_former_name_goes_on(course):
    mine = notebook("my own")
    (course / "work" / COPY).rename(course / "work" / ORIGINAL)
    (course / "work" / ORIGINAL).write_text(mine)
    assert bring(course) == []
    assert (course / "work" / COPY).read_text() == mine
    assert not (course / "work" / ORIGINAL).exists()


def git(course, *words):
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(course), *author, *words], check=True, capture_output=True)


@pytest.fixture
def clone(course):
    (course / ".gitignore").write_text("work/")
    git(course, "init", "-q")
    git(course, "add", ".")
    git(course, "commit", "-qm", "first")
    return course


def test_answers_in_the_original_are_carried_over(clone):
    answers, copy = notebook("my answer"), clone / "work/exercises/03_exercises.ipynb"
    (clone / EXERCISES).write_text(answers)
    for _ in range(2):
        (line,) = bring(clone)
        assert "git restore" in line and "03_exercises.ipynb" in line
        assert copy.read_text() == answers and (clone / EXERCISES).read_text() == answers
    copy.write_text(notebook("went on"))
    bring(clone)
    assert copy.read_text() == notebook("went on")
    git(clone, "restore", EXERCISES)
    assert bring(clone) == [] and copy.read_text() == notebook("went on")


def test_answers_in_both_places_are_kept_both(clone):
    copy = clone / "work/exercises/03_exercises.ipynb"
    copy.write_text(notebook("in the copy"))
    (clone / EXERCISES).write_text(notebook("in the original"))
    for _ in range(2):
        (line,) = bring(clone)
        assert "03_exercises (2).ipynb" in line
        assert copy.read_text() == notebook("in the copy")
        second = copy.with_name("03_exercises (2).ipynb")
        assert second.read_text() == notebook("in the original")
    assert len(list(copy.parent.iterdir())) == 2


def test_an_opened_original_is_no_answer(clone):
    ran = notebook("first exercises", [{"output_type": "stream", "name": "stdout", "text": "1"}])
    (clone / EXERCISES).write_text(ran)
    assert bring(clone) == []


def test_a_folder_of_ones_own(course, tmp_path):
    assert bring(course, tmp_path / "mine") == []
    assert (tmp_path / "mine" / COPY).read_bytes() == (course / ORIGINAL).read_bytes()


def test_a_copy_that_was_only_run_follows_the_course(course):
    ran = notebook("first chapters", [{"output_type": "stream", "name": "stdout", "text": "1"}])
    (course / "work" / COPY).write_text(ran)
    assert bring(course) == [] and (course / "work" / COPY).read_text() == ran, "nothing newer"
    (course / ORIGINAL).write_text(notebook("second"))
    assert bring(course) == []
    assert (course / "work" / COPY).read_bytes() == (course / ORIGINAL).read_bytes()


def test_a_changed_copy_stays_and_is_named(course):
    mine = notebook("my own")
    (course / "work" / COPY).write_text(mine)
    assert bring(course) == [], "nothing newer, so nothing to say"
    (course / ORIGINAL).write_text(notebook("second"))
    for _ in range(2):
        (line,) = bring(course)
        assert COPY in line.replace("\\", "/") and "rename yours" in line
        assert (course / "work" / COPY).read_text() == mine
    (course / "work" / COPY).rename(course / "work" / "chapters/mine.ipynb")
    assert bring(course) == []
    assert (course / "work" / COPY).read_bytes() == (course / ORIGINAL).read_bytes()


@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_without_a_record_nothing_is_overwritten(course, record):
    path = course / "work/.copied.json"
    path.unlink() if record is None else path.write_text(record)
    (course / "work" / COPY).write_text(notebook("my own"))
    (course / ORIGINAL).write_text(notebook("second"))
    assert len(bring(course)) == 1
    assert (course / "work" / COPY).read_text() == notebook("my own")


def test_a_copy_that_is_no_notebook_any_more_stays(course):
    (course / "work" / COPY).write_text("{ half a file")
    (course / ORIGINAL).write_text(notebook("second"))
    assert len(bring(course)) == 1
    assert (course / "work" / COPY).read_text() == "{ half a file"
