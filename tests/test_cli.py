import subprocess
import sys
import types
from pathlib import Path

import pytest

from lora_course import cli
from lora_course.learner import desk


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A clone with two exercise notebooks, and a reader who stands in it."""
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "my course"
    (folder / "exercises").mkdir(parents=True)
    for name in ("01_costs", "03_the_lora_layer"):
        (folder / "exercises" / f"{name}.ipynb").write_text(f"stub {name}")
    (folder / "exercises" / "notes.ipynb").write_text("no exercise")
    monkeypatch.chdir(folder)
    return folder


def run(capsys, *words):
    status = cli.main(list(words))
    seen = capsys.readouterr()
    return status, seen.out, seen.err


def test_start(course, capsys):
    status, out, err = run(capsys, "start", "03")
    copy = course / "work/exercises/03_exercises.ipynb"
    assert (status, err) == (0, "") and copy.read_text() == "stub 03_the_lora_layer"
    opened = str(Path("work/exercises/03_exercises.ipynb"))
    assert f"{opened} is ready." in out and f"jupyter lab {opened}" in out


def test_start_never_overwrites(course, capsys):
    run(capsys, "start", "3")
    copy = course / "work/exercises/03_exercises.ipynb"
    copy.write_text("my answers")
    status, out, _ = run(capsys, "start", "03")
    assert status == 0 and copy.read_text() == "my answers"
    assert "is there already; it stays as it is" in out
    assert "lora-course start 03 --fresh" in out
    for number in (2, 3):
        status, out, _ = run(capsys, "start", "03", "--fresh")
        fresh = course / f"work/exercises/03_exercises ({number}).ipynb"
        assert status == 0 and fresh.read_text() == "stub 03_the_lora_layer"
        assert f'"{Path("work/exercises") / fresh.name}"' in out
    assert copy.read_text() == "my answers"


def test_fresh_without_a_first_copy(course, capsys):
    run(capsys, "start", "03", "--fresh")
    assert [path.name for path in (course / "work/exercises").iterdir()] == ["03_exercises.ipynb"]


def test_what_start_copied_follows_the_course_until_it_is_changed(course, capsys):
    run(capsys, "start", "01", "03")
    (course / "work/exercises/03_exercises.ipynb").write_text("my answers")
    for name in ("01_costs", "03_the_lora_layer"):
        (course / "exercises" / f"{name}.ipynb").write_text("newer")
    status, out, _ = run(capsys, "update")
    assert status == 0 and "03_exercises.ipynb has changes of yours" in out
    assert "01_exercises" not in out
    assert (course / "work/exercises/01_exercises.ipynb").read_text() == "newer"
    assert (course / "work/exercises/03_exercises.ipynb").read_text() == "my answers"


def test_start_all_and_several(course, capsys):
    run(capsys, "start", "01", "03")
    assert len(list((course / "work/exercises").iterdir())) == 2
    status, out, _ = run(capsys, "start", "all")
    assert status == 0 and out.count("is there already") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["99"], "There are no exercises 99."),
        ([], "Which chapter?"),
        (["../x"], "no exercises ../x"),
        (["03", "7"], "no exercises 07"),
    ],
)
def test_unknown_number_lists_what_is_there(course, capsys, words, said):
    status, out, err = run(capsys, "start", *words)
    assert status == 1 and out == "" and said in err
    assert "lora-course start 01" in err and "lora-course start 03" in err
    assert not (course / "work").exists()


def test_start_from_a_folder_inside(course, capsys, monkeypatch):
    (course / "work/exercises").mkdir(parents=True)
    (course / "work/exercises/01_exercises.ipynb").write_text("my answers")
    monkeypatch.chdir(course / "work")
    assert run(capsys, "start", "03")[0] == 0
    assert (course / "work/exercises/03_exercises.ipynb").exists()
    assert not (course / "work/work").exists()


def test_start_from_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(desk, "INSTALLED", tmp_path / "site-packages/lora_course/course")
    status, _, err = run(capsys, "start", "03")
    assert status == 1 and "holds chapters/ and exercises/" in err


def test_work_cannot_be_made(course, capsys):
    (course / "work").write_text("a file")
    status, _, err = run(capsys, "start", "03")
    assert status == 1 and "cannot be written" in err


def test_lab_opens_a_copy_with_quiet_threads(course, capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr(desk.os, "execve", lambda *a: seen.update(zip("pce", a, strict=True)))
    monkeypatch.setattr(desk.subprocess, "run", lambda c, env: seen.update(c=c, e=env) or done)
    done = types.SimpleNamespace(returncode=0)
    monkeypatch.setattr(desk.copies, "_changed", lambda root: {})  # it calls git
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert cli.main(["lab", "--no-browser", "--port", "8889"]) in (None, 0)
    assert seen["e"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert seen["e"]["PATH"].split(desk.os.pathsep)[0] == str(Path(sys.executable).parent)
    assert seen["c"][:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={course / 'work'}" in seen["c"] and seen["c"][-2:] == [
        "--port",
        "8889",
    ]
    assert (course / "work/exercises/01_exercises.ipynb").read_text() == "stub 01_costs"
    assert f"--LabApp.default_url=/lab/tree/{desk.FIRST}" in seen["c"]
    # without a terminal around it JupyterLab would take a login shell, and /etc/profile sets PATH
    settings = [w for w in seen["c"] if w.startswith("--ServerApp.terminado_settings=")]
    assert desk.os.name == "nt" or "'shell_command': [" in settings[0] and "-l" not in settings[0]


def test_only_lab_takes_options_it_does_not_know(course, capsys):
    with pytest.raises(SystemExit):
        cli.main(["start", "03", "--frehs"])
    assert "--frehs" in capsys.readouterr().err and not (course / "work").exists()


def test_back_alone_names_what_it_needs(course, capsys):
    status, out, err = run(capsys, "start", "03", "--back")
    assert status == 1 and out == "" and "--only 3.2 --back" in err


def test_progress(course, capsys):
    status, out, err = run(capsys, "progress")
    assert (status, err) == (0, "") and out.count("\n") <= 23 and "Course: 0 of" in out
    assert max(map(len, out.splitlines())) <= 80
    status, out, _ = run(capsys, "progress", "3")
    assert status == 0 and out.startswith("Chapter 3: 0 of") and "3.1 " in out and "4.1" not in out
    status, _, err = run(capsys, "progress", "99")
    assert status == 1 and "no chapter 99" in err


def test_doctor(monkeypatch):
    doctor = types.ModuleType("lora_course.learner.doctor")
    doctor.main = lambda: 1
    monkeypatch.setitem(sys.modules, "lora_course.learner.doctor", doctor)
    monkeypatch.setattr("lora_course.learner.doctor", doctor, raising=False)
    assert cli.main(["doctor"]) == 1


def test_help_and_no_command(capsys):
    for words, status in ((["--help"], 0), ([], 2), (["nonsense"], 2)):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == status
    assert "start" in capsys.readouterr().out


def test_as_a_command():
    command = [sys.executable, "-m", "lora_course.cli", "progress"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and "Course: " in done.stdout


def test_work_is_ignored_by_git():
    ignored = (Path(__file__).parent.parent / ".gitignore").read_text().split()
    assert "work/" in ignored
