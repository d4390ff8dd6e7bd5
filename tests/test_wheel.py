"""The wheel carries everything a learner needs: used outside the repository, from its own files."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lora_course.learner.copies import PAGES

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "work", "build", "__pycache__", "*.egg-info", "tests")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's files, as an installation leaves them; and an empty one beside."""
    pytest.importorskip("setuptools", minversion="77", reason="`make install` brings setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", folder, "."], cwd=folder / "source", check=True)
    shutil.rmtree(folder / "source")
    (wheel,) = folder.glob("lora_course-*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    (folder / "home").mkdir()
    return folder


def run(installed, *words, cwd="home"):
    settings = {**os.environ, "PYTHONPATH": str(installed / "site")}
    settings["LORA_COURSE_HOME"] = str(installed / "record")
    command = [sys.executable, "-P", "-m", "lora_course.cli", *words]
    done = subprocess.run(
        command, cwd=installed / cwd, env=settings, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_a_folder_of_ones_own(installed):
    status, said = run(installed, "update", "mine")
    assert status == 0 and "Made: mine" in said, said
    mine = installed / "home/mine"
    for folder in ("chapters", "exercises", "solutions"):
        theirs = sorted(path.name[:2] for path in (ROOT / folder).glob("*.ipynb"))
        assert sorted(path.name[:2] for path in (mine / folder).glob("*.ipynb")) == theirs
    records = {p.relative_to(ROOT) for p in (ROOT / "chapters/results").rglob("*.json")}
    assert all((mine / page).is_file() for page in PAGES)
    assert records == {p.relative_to(mine) for p in (mine / "chapters/results").rglob("*.json")}


def test_the_commands_work_there(installed):
    run(installed, "update", "mine")
    assert run(installed, "--version")[1].startswith("lora-course ")
    status, said = run(installed, "start", "03", "--fresh", cwd="home/mine")
    assert status == 0 and "03_exercises (2).ipynb is ready" in said
    status, said = run(installed, "progress", cwd="home/mine")
    assert status == 0 and "Course: 0 of" in said
    status, said = run(installed, "check", "exercises/03_exercises.ipynb", cwd="home/mine")
    assert status == 1 and "not done yet" in said and "3.1" in said, said


def test_the_models_come_along(installed):
    code = (
        "import lora_course; from lora_course.kit.models import load_base; "
        "print(lora_course.__file__, sum(p.numel() for p in load_base().parameters()))"
    )
    settings = {**os.environ, "PYTHONPATH": str(installed / "site")}
    command = [sys.executable, "-P", "-c", code]
    place, numbers = subprocess.run(
        command, cwd=installed, env=settings, capture_output=True, text=True, check=True
    ).stdout.rsplit(maxsplit=1)
    assert place.startswith(str(installed / "site")) and int(numbers) > 1_000_000
