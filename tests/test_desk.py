"""Folders of one's own, wherever the course lies; the rest of desk.py is in test_cli.py."""

import pytest

from lora_course import cli
from lora_course.learner import desk


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A wheel's folder with one chapter, and a reader in an empty folder elsewhere."""
    course = tmp_path / "site-packages/lora_course/course"
    for kind in ("chapters", "exercises", "solutions"):
        (course / kind).mkdir(parents=True)
        (course / kind / "03_layer.ipynb").write_text(f'{{"cells": [], "kind": "{kind}"}}')
    monkeypatch.setattr(desk, "INSTALLED", course)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return course


def test_update_makes_a_folder_and_brings_new_chapters(installed, tmp_path, capsys, monkeypatch):
    assert cli.main(["update"]) == 0
    mine = tmp_path / "home/lora-course"
    assert "Made: lora-course" in capsys.readouterr().out
    assert sorted(path.name for path in mine.glob("*/*")) == [
        "03_chapter.ipynb",
        "03_exercises.ipynb",
        "03_solutions.ipynb",
    ]
    answers = '{"cells": [], "mine": 1}'
    (mine / "exercises/03_exercises.ipynb").write_text(answers)
    (installed / "chapters/04_more.ipynb").write_text('{"cells": []}')
    monkeypatch.chdir(mine / "chapters")  # from inside as well
    assert cli.main(["update"]) == 0 and "Up to date" in capsys.readouterr().out
    assert (mine / "chapters/04_chapter.ipynb").exists()
    assert (mine / "exercises/03_exercises.ipynb").read_text() == answers
    assert not (mine / "lora-course").exists() and not (mine / "chapters/lora-course").exists()


def test_start_goes_into_the_folder_one_stands_in(installed, tmp_path, capsys, monkeypatch):
    assert cli.main(["update", "a folder"]) == 0
    monkeypatch.chdir(tmp_path / "home/a folder")
    assert cli.main(["start", "03", "--fresh"]) == 0
    assert (tmp_path / "home/a folder/exercises/03_exercises (2).ipynb").exists()


def test_the_folder_that_start_made_can_be_completed(installed, tmp_path, capsys):
    assert cli.main(["start", "03"]) == 0
    mine = tmp_path / "home/lora-course"
    assert (mine / "exercises/03_exercises.ipynb").exists()
    assert cli.main(["update"]) == 0 and (mine / "chapters/03_chapter.ipynb").exists()


def test_a_folder_with_other_files_is_left_alone(installed, tmp_path, capsys):
    (tmp_path / "home/thesis").mkdir()
    (tmp_path / "home/thesis/text.tex").write_text("x")
    assert cli.main(["update", "thesis"]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "home/thesis").iterdir()] == ["text.tex"]
