"""The exports: nbgrader releases and grades the tree as it is, the zip grades without this clone.

The test with nbgrader needs its program: on the PATH, or named by NBGRADER. It is skipped where
there is none. The course must be importable from nbgrader's environment.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from lora_course import cli
from lora_course.builder import notebook as build
from lora_course.grading.exports import gradescope, nbgrader
from lora_course.grading.exports.sources import ROOT, sources

STEM = "03_the_lora_layer"
NBGRADER = os.environ.get("NBGRADER") or shutil.which("nbgrader")
SECRET = b"correct horse battery staple"
SCALE = ("self.scaling * update", "update")  # alpha / r forgotten


def run(capsys, *words):
    status = cli.main([str(word) for word in words])
    seen = capsys.readouterr()
    return status, seen.out, seen.err


@cache
def built(kind):
    """The cells of chapter 03's solution or exercise notebook."""
    return getattr(build, kind)(sources(["03"])[0], ROOT)


def answered(edits=()):
    """The exercise notebook with the answers in place, with these replacements."""
    answers = {cell.id: cell.source for cell in built("solution")}
    nb = build.to_notebook(built("exercise"), ROOT)
    for cell in nb.cells:
        if cell.id.startswith("exercise-"):
            cell.source = answers[cell.id]
            for old, new in edits:
                cell.source = cell.source.replace(old, new)
    return nb


# nbgrader
@cache
def tree():
    return json.loads(nbgrader.notebook(sources(["03"])[0]))


def test_tree_has_an_answer_and_a_test_for_every_exercise():
    cells = [cell for cell in tree()["cells"] if "nbgrader" in cell["metadata"]]
    answers, tests = cells[::2], cells[1::2]
    checks = [c["metadata"]["nbgrader"]["grade_id"].split("-")[1] for c in answers]
    assert checks == [c["metadata"]["nbgrader"]["grade_id"].split("-")[1] for c in tests]
    assert len(checks) == 5 and len({cell["id"] for cell in tree()["cells"]}) == len(
        tree()["cells"]
    )
    assert sum(cell["metadata"]["nbgrader"]["points"] for cell in tests) == 100
    for cell in answers:
        assert cell["metadata"]["nbgrader"]["solution"]
        source = "".join(cell["source"])
        assert "### BEGIN SOLUTION" in source and "### END SOLUTION" in source
    for cell in tests:
        assert cell["metadata"]["nbgrader"]["locked"] and cell["metadata"]["nbgrader"]["grade"]
        assert "### BEGIN HIDDEN TESTS" in "".join(cell["source"])


def test_hidden_inputs_differ_from_tree_to_tree():
    assert nbgrader.notebook(sources(["03"])[0]) != json.dumps(tree())
    first, second = (nbgrader.notebook(sources(["03"])[0]) for _ in range(2))
    assert first != second


def test_export_nbgrader_never_replaces(tmp_path, capsys):
    folder = tmp_path / "my class"
    status, out, err = run(capsys, "export", "nbgrader", folder, "3")
    target = folder / f"source/{STEM}/{STEM}.ipynb"
    assert (status, err) == (0, "") and str(target) in out and "Keep this tree" in out
    target.write_text("the teacher's own")
    status, out, err = run(capsys, "export", "nbgrader", folder, "03")
    assert status == 1 and "is there already" in err and target.read_text() == "the teacher's own"


def test_export_says_what_it_cannot_do(tmp_path, capsys):
    status, _, err = run(capsys, "export", "nbgrader", tmp_path, "55")
    assert status == 1 and "There is no chapter 55" in err and "03" in err
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    status, _, err = run(capsys, "export", "nbgrader", tmp_path, "03", "--secret", key)
    assert status == 1 and "nbgrader takes no secret" in err
    status, _, err = run(
        capsys, "export", "gradescope", tmp_path, "03", "--secret", tmp_path / "no"
    )
    assert status == 1 and "cannot be read" in err
    status, _, err = run(capsys, "export", "gradescope", tmp_path, "03", "--variant", "x=y")
    assert status == 1 and "There is no variant x=y" in err
    (tmp_path / "file").write_text("")
    status, _, err = run(capsys, "export", "gradescope", tmp_path / "file/below", "03")
    assert status == 1 and "cannot be written" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "key"]


@pytest.mark.slow
@pytest.mark.skipif(not NBGRADER, reason="nbgrader is not installed")
def test_nbgrader_releases_and_grades_the_tree(tmp_path, capsys):
    assert run(capsys, "export", "nbgrader", tmp_path, "03")[0] == 0

    def nbgrader(*words):
        path = os.pathsep.join([str(Path(NBGRADER).parent), os.environ["PATH"]])
        home = {"HOME": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
        environment = {**os.environ, **home, "PATH": path}
        command = [NBGRADER, *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    nbgrader("generate_assignment", STEM)
    release = (tmp_path / f"release/{STEM}/{STEM}.ipynb").read_text()
    for secret in ("SOLUTION", "HIDDEN", "seeds=", "self.scaling * update"):
        assert secret not in release
    right, wrong = (written(json.loads(release), answered(e)) for e in ((), [SCALE]))
    careless = json.loads(right)
    careless["cells"] = [
        {**cell, "source": "garbage(" if cell["id"] == "exercise-grow_rank" else cell["source"]}
        for cell in careless["cells"]
        if cell["id"] != "exercise-lora_embedding"
    ]
    everyone = {"right": right, "wrong": wrong, "stub": release, "careless": json.dumps(careless)}
    for student, text in everyone.items():
        place = tmp_path / "submitted" / student / STEM
        place.mkdir(parents=True)
        (place / f"{STEM}.ipynb").write_text(text)
    nbgrader("autograde", STEM)
    nbgrader("export")
    with open(tmp_path / "grades.csv", newline="") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"right": 100, "wrong": 80, "stub": 0, "careless": 55}


def written(release, nb):
    """The released notebook with the exercise cells of another one."""
    answers = {cell.id: cell.source for cell in nb.cells if cell.id.startswith("exercise-")}
    for cell in release["cells"]:
        cell["source"] = answers.get(cell["id"], cell["source"])
    return json.dumps(release)


# Gradescope
def test_zip_holds_no_answers():
    data = gradescope.autograder(STEM)
    assert data == gradescope.autograder(STEM)
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = archive.namelist()
    assert {"setup.sh", "run_autograder", "requirements.txt", "packages.txt"} <= set(names)
    assert not [name for name in names if "solutions" in name or "tests" in name or "pyc" in name]
    assert "secret" not in names and "secret" in zipped(SECRET).namelist()
    modes = {name: archive.getinfo(name).external_attr >> 16 & 0o777 for name in names}
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    listed = archive.read("packages.txt").decode().split()
    assert {"torch", "transformers", "peft"} <= set(listed) and "jupyterlab" not in listed
    pinned = {line.split("==")[0] for line in archive.read("requirements.txt").decode().split("\n")}
    assert set(listed) <= pinned


def zipped(secret=None, variants=()):
    return zipfile.ZipFile(io.BytesIO(packed(secret, tuple(variants))))


@cache
def packed(secret, variants):
    return gradescope.autograder(STEM, secret, variants)


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's containers run Linux")
def test_scripts_can_be_parsed(tmp_path):
    for name, text in (("setup.sh", gradescope.SETUP), ("run_autograder", gradescope.RUN)):
        (tmp_path / name).write_text(text, newline="\n")
        assert subprocess.run(["bash", "-n", tmp_path / name]).returncode == 0


PRETEND = """#!/bin/sh
[ "$1" = -c ] && exit 0
mkdir -p "$3/bin"
for name in pip python; do
    printf '#!/bin/sh\\necho %s "$@" >> %s\\n' $name LOG > "$3/bin/$name"
    chmod +x "$3/bin/$name"
done
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's containers run Linux")
def test_setup_installs_the_pinned_versions(tmp_path):
    """With a Python that only notes what it is asked for."""
    zipped().extractall(tmp_path / "source")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3.13").write_text(PRETEND.replace("LOG", str(tmp_path / "log")))
    (tmp_path / "bin/python3.13").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}"
    command = ["bash", tmp_path / "source/setup.sh"]
    subprocess.run(command, env={"AUTOGRADER_ROOT": str(tmp_path), "PATH": path}, check=True)
    torch, rest, tried = (tmp_path / "log").read_text().splitlines()
    pins = (tmp_path / "source/requirements.txt").read_text().splitlines()
    assert torch.split()[-1] in pins and "whl/cpu" in torch
    assert rest == "pip install --constraint requirements.txt --requirement packages.txt"
    assert tried.startswith("python -c import torch")


def test_export_gradescope(tmp_path, capsys):
    (tmp_path / "key").write_bytes(SECRET + b"\n")
    key = tmp_path / "key"
    status, out, _ = run(capsys, "export", "gradescope", tmp_path / "z", "3", "--secret", key)
    assert status == 0 and "keep them to yourself" in out
    assert zipfile.ZipFile(tmp_path / f"z/{STEM}.zip").read("secret") == SECRET
    assert run(capsys, "export", "gradescope", tmp_path / "z", "3")[0] == 1  # never replaces


def container(folder, archive, uploads):
    """Gradescope's folders below an empty one."""
    for name in ("source", "submission", "results"):
        (folder / name).mkdir(parents=True)
    archive.extractall(folder / "source")
    for name, text in uploads.items():
        (folder / "submission" / name).write_text(text)
    return folder


def run_autograder(folder):
    """The script of the zip in a container, and what it left."""
    script = folder / "source/run_autograder"
    script.chmod(0o755)
    environment = {"AUTOGRADER_ROOT": str(folder), "AUTOGRADER_PYTHON": sys.executable}
    done = subprocess.run(
        [script],
        cwd=folder,
        env={**environment, "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done, left(folder)


def left(folder):
    results = folder / "results/results.json"
    return json.loads(results.read_text()) if results.exists() else None


SEVERAL = """
import sys
from pathlib import Path
from lora_course.grading.exports import harness
sys.exit(sum(harness.main(Path(place)) for place in sys.argv[1:]))
"""


def graded_by_one_process(*folders):
    """What run_autograder does in these containers, by the first one's package: its results."""
    environment = {"PYTHONPATH": str(folders[0] / "source/course"), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath}
    command = [sys.executable, "-P", "-c", SEVERAL, *folders]
    subprocess.run(command, cwd=folders[0], env=environment, timeout=300, check=True)
    return [left(folder) for folder in folders]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's containers run Linux")
def test_run_autograder_in_an_empty_folder(tmp_path):
    import nbformat

    right, wrong = nbformat.writes(answered()), nbformat.writes(answered([SCALE]))
    there = container(tmp_path / "a", zipped(SECRET), {"my work (1).ipynb": right})
    done, made = run_autograder(there)
    assert done.returncode == 0, done.stderr
    assert made["score"] == 100 and [t["status"] for t in made["tests"]] == ["passed"] * 5
    assert not (tmp_path / "a/source/secret").exists() and "isolation:" in done.stdout
    other = "from lora_course.checks import ch01 as check"
    text = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(other)]))
    variant = zipped(variants=["lora_linear=rslora"])
    made = graded_by_one_process(
        container(tmp_path / "b", zipped(SECRET), {f"{STEM}.ipynb": wrong}),
        container(tmp_path / "c", zipped(), {"report.pdf": "no notebook"}),
        container(tmp_path / "d", zipped(), {"01_other.ipynb": text}),
        container(tmp_path / "n", zipped(), {"nb.ipynb": json.dumps(tree())}),
        container(tmp_path / "e", variant, {f"{STEM}.ipynb": right}),
    )
    assert made[0]["score"] == 80 and "alpha / r" in made[0]["tests"][0]["output"]
    assert made[1]["score"] == 0 and "notebook" in made[1]["output"]
    assert made[2]["score"] == 0 and "no notebook of chapter 03" in made[2]["output"]
    assert made[3]["score"] == 100  # a notebook of the other export
    assert made[4]["score"] == 80


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Gradescope's containers run Linux")
def test_a_failing_grader_gives_no_mark(tmp_path):
    there = container(tmp_path / "a", zipped(), {})
    (there / "source/assignment.json").write_text("{")
    done, made = run_autograder(there)
    assert done.returncode == 1 and made is None and not list((there / "results").iterdir())
