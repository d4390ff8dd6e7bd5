"""Collecting from students' repositories, and the workflow that a teacher copies."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lora_course.grading.intake import classroom

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github/workflows/classroom.yml"
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(folder, *words):
    who = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.org",
        "-c",
        "protocol.file.allow=always",
    ]
    command = ["git", *who, "-c", "commit.gpgsign=false", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def student(tmp_path):
    """A repository with notebooks, and with what should not come along."""
    if os.name == "nt":
        pytest.skip("needs links")
    folder = tmp_path / "student"
    (folder / "week 1").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "week 1/03_the_lora_layer.ipynb").write_text("{}")
    (folder / "notes.py").write_text("raise SystemExit")
    (folder / ".hidden.ipynb").write_text("{}")
    (folder / ".gitattributes").write_text("*.ipynb filter=evil\n")
    os.symlink("/etc/passwd", folder / "link.ipynb")
    os.symlink("/etc", folder / "folder")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "work")
    return folder


def listed(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@needs_git
def test_only_ordinary_notebooks_come_along(student, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    said = classroom.clone_notebooks(student.as_uri(), target, protocols=("file",))
    assert (said, listed(target)) == ("1 notebooks", ["week 1/03_the_lora_layer.ipynb"])


@needs_git
def test_deep_trees_and_many_notebooks(student, tmp_path):
    """1,200 folders in each other, as a tree that nobody has to lay out: said, and no crash."""
    head = "commit refs/heads/deep\ncommitter A <a@example.org> 1 +0000\ndata 0\n"
    for depth in range(0, 1200, 20):
        head += f"M 100644 inline {'d/' * depth}a.ipynb\ndata 2\n{{}}\n"
    words = ["git", "fast-import", "--quiet"]
    subprocess.run(words, cwd=student, input=head.encode(), check=True)
    git(student, "symbolic-ref", "HEAD", "refs/heads/deep")
    target = tmp_path / "deep"
    target.mkdir()
    said = classroom.clone_notebooks(student.as_uri(), target, protocols=("file",))
    assert "2 notebooks, 58 left out: too deep" in said or "cannot be cloned" in said, said
    assert len(listed(target)) <= 2


@needs_git
def test_other_addresses_are_refused(student, tmp_path):
    for address in (student.as_uri(), str(student), "ext::sh -c touch% x", "git@x:y", "-upload=x"):
        assert "is no address" in classroom.clone_notebooks(address, tmp_path / "out")
    said = classroom.clone_notebooks("https://localhost:9/x", tmp_path / "out")
    assert said.startswith("cannot be cloned")
    assert not (tmp_path / "out").exists()


@needs_git
def test_one_bad_repository_costs_nobody_else(student, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classroom.clone_notebooks, "__defaults__", (("file",),))
    table, out = tmp_path / "students.csv", tmp_path / "out"
    gone = (tmp_path / "gone").as_uri()
    table.write_text(f"\ufeffstudent, repository\nann, {gone}\n../bea, {student.as_uri()}\n\n")
    assert classroom.main([str(table), str(out)]) == 0
    assert sorted(path.name[:4] for path in out.iterdir()) == ["_bea", "ann"]
    assert len(listed(out)) == 1 and "ann: cannot be cloned" in capsys.readouterr().out


@needs_git
def test_no_repository_at_all(tmp_path, capsys):
    """A wrong token, or a wrong table, must not look like a class that handed in nothing."""
    table = tmp_path / "students.csv"
    table.write_text("student,repository\nann,https://localhost:9/x\nbea,git@x:y\n")
    assert classroom.main([str(table), str(tmp_path / "out")]) == 1
    assert "ann: cannot be cloned" in capsys.readouterr().out


def test_no_table(tmp_path, capsys):
    assert classroom.main([str(tmp_path / "none.csv"), str(tmp_path / "out")]) == 2
    assert "none.csv cannot be read: No such file or directory." in capsys.readouterr().out
    (tmp_path / "bytes.csv").write_bytes(b"student,repository\n\xff\xfe,x\n")
    assert classroom.main([str(tmp_path / "bytes.csv"), str(tmp_path / "out")]) == 2
    assert "bytes.csv cannot be read: 'utf-8' codec" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "student,repository\nann,\n"])
def test_a_table_that_cannot_be_used(tmp_path, text, capsys):
    (tmp_path / "t.csv").write_text(text)
    assert classroom.main([str(tmp_path / "t.csv"), str(tmp_path / "out")]) == 2
    assert "student and repository" in capsys.readouterr().out


def test_the_token_goes_to_github_only(monkeypatch):
    monkeypatch.setenv("COLLECT_TOKEN", "hunter2")
    found = classroom.git_environment()
    assert not [value for value in found.values() if "hunter2" in value]
    at = next(key for key, value in found.items() if "extraheader" in value)
    assert found[at] == "http.https://github.com/.extraheader"
    monkeypatch.delenv("COLLECT_TOKEN")
    assert "extraheader" not in str(classroom.git_environment())


def test_workflow():
    yaml = pytest.importorskip("yaml")
    text = WORKFLOW.read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    events = flow[True]  # "on"
    assert set(events) == {"push", "workflow_dispatch"}
    assert events["push"]["paths"] == ["students.csv", "submissions/**"]  # nothing that is in here
    assert not list(ROOT.glob("students.csv")) and not (ROOT / "submissions").exists()
    assert flow["permissions"] == {}
    for job in flow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "")  # no text of others becomes a command
    secrets = {
        name: {s["name"] for s in job["steps"] if "secrets." in str(s)}
        for name, job in flow["jobs"].items()
    }
    own = {"collect": {"Copy the notebooks"}, "grade": {"Lay the secret aside"}, "report": set()}
    assert secrets == own
    grade = next(s for s in flow["jobs"]["grade"]["steps"] if s.get("name") == "Grade")
    assert "i-trust" not in text and "secret" not in str(grade["env"]).lower()
    assert re.search(r"lora-course grade \"\$@\"", grade["run"])
    shards = flow["jobs"]["grade"]["strategy"]
    assert shards["matrix"]["shard"] == [1, 2, 3] and shards["fail-fast"] is False
    assert grade["env"]["SHARD"] == "${{ matrix.shard }}/${{ strategy.job-total }}"
    assert '--shard "$SHARD"' in grade["run"]
    assert any(
        "lora_course.cli report" in s.get("run", "") for s in flow["jobs"]["report"]["steps"]
    )
