"""A class in shares: together they are the report of one run; what does not fit is refused."""

import json
import os
import shutil

import pytest

from lora_course import cli
from lora_course.grading import parts, pool
from lora_course.grading.run import CannotGrade, grade_folder
from tests import hostile

NAMES = ("ada", "bo", "chen", "dörte", "eve", "=1+1")
SECRET = b"0123456789abcdef"


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".records" not in path.parts
    }


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """Six students, graded whole and in three shares, in this process, its clock stopped."""
    base = tmp_path_factory.mktemp("parts")
    contents = [hostile.HONEST[n][0] for n in ("honest", "one exercise wrong", "exercise deleted")]
    for name, content in zip(NAMES, [*contents, b"no notebook", b"{}", b"["], strict=True):
        (base / "class" / name).mkdir(parents=True)
        (base / "class" / name / "03_the_lora_layer.ipynb").write_bytes(content)
    (base / "class/forgotten.zip").write_bytes(b"PK")
    real = pool.finished

    def finished(*given, **more):
        return {**real(*given, **more), "seconds": 1.0, "graded_at": "2026-01-02T03:04:05+00:00"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "finished", finished)
        patch.delattr(os, "fork")

        def grade(out, **more):
            options = {"trust": True, "progress": False, "say": lambda text: None}
            return grade_folder(base / "class", base / out, **options, **more)

        grade("whole")
        for number in (1, 2, 3):
            grade(f"parts/{number}", shard=(number, 3))
        yield base, grade


def test_shares_are_stable_and_complete(school):
    base, _ = school
    shares = [parts.read_part(base / f"parts/{number}") for number in (1, 2, 3)]
    students = [[r["student"] for r in share.records] for share in shares]
    assert sorted(sum(students, [])) == sorted([*NAMES, "forgotten.zip"])
    assert sum(map(bool, students)) >= 2  # a share of its own for several
    assert parts._place("ada", 10) == 9  # the same on every machine, for ever


def test_the_merged_report_is_that_of_one_run(school, tmp_path):
    base, _ = school
    records = parts.join_parts([base / f"parts/{number}" for number in (3, 1, 2)], tmp_path / "all")
    assert len(records) == 7
    assert files(tmp_path / "all") == files(base / "whole")
    assert "forgotten.zip" in (tmp_path / "all/grades.csv").read_text(encoding="utf-8")


def test_one_whole_run_is_a_report_too(school, tmp_path):
    base, _ = school
    parts.join_parts([base / "whole"], tmp_path)
    assert files(tmp_path) == files(base / "whole")


def test_feedback_of_a_real_record(school):
    """Title and hints come with the record; nothing points to what is not on the page."""
    base, _ = school
    page = (base / "whole/bo/feedback.html").read_text(encoding="utf-8")
    assert "<bdi>03 The LoRA layer</bdi>: 80 of 100 points" in page
    assert page.count("<details>") == 3 and "hint 1 below" not in page and "`" not in page
    page = (base / "whole/chen/feedback.html").read_text(encoding="utf-8")
    assert "then this one" not in page


def changed(source, target, **values):
    shutil.copytree(source, target)
    found = json.loads((target / "records.json").read_text())
    found["about"] |= values
    (target / "records.json").write_text(json.dumps(found))
    return target


@pytest.mark.parametrize(
    ("take", "says"),
    [
        ("12", "Missing: 3/3"),
        ("1223", "Share 2/3 is there twice"),
        ("1", "Missing: 2/3, 3/3"),
    ],
)
def test_missing_and_double_shares(school, tmp_path, take, says):
    base, _ = school
    with pytest.raises(CannotGrade, match=says):
        parts.join_parts([base / "parts" / number for number in take], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("version", "0.0.1+00000000", "other versions of the course.*0.0.1"),
        ("secret", "00ff", "other secrets"),
        ("variants", ["lora_linear=rslora"], "other variants, none and lora_linear=rslora"),
        ("timeout", 4.0, "--timeout 30.0 and 4.0"),
        ("chapter", "03", "--chapter, none and 03"),
        ("handed_in", "0", "other submissions"),
    ],
)
def test_shares_that_were_graded_in_another_way(school, tmp_path, name, value, says):
    base, _ = school
    other = changed(base / "parts/3", tmp_path / "three", **{name: value})
    with pytest.raises(CannotGrade, match=says):
        parts.join_parts([base / "parts/1", base / "parts/2", other], tmp_path / "all")


def test_what_is_graded_in_another_way_is_known(school, tmp_path):
    """Another secret, another limit and another class differ; another share does not."""
    base, grade = school
    grade(tmp_path / "secret", secret=SECRET, shard=(1, 3))
    grade(tmp_path / "slow", timeout=4.0, shard=(1, 3))
    plain = parts.read_part(base / "parts/1").about
    assert plain == parts.read_part(base / "parts/2").about
    assert parts.read_part(tmp_path / "secret").about["secret"] != plain["secret"] == ""
    assert SECRET.decode() not in (tmp_path / "secret/records.json").read_text()
    assert parts.read_part(tmp_path / "slow").about["timeout"] == 4.0
    submission = parts.terms([], None, (), 30.0, None)
    assert submission["handed_in"] != plain["handed_in"]


def test_shares_of_other_divisions(school, tmp_path):
    base, grade = school
    grade(tmp_path / "half", shard=(1, 2))
    with pytest.raises(CannotGrade, match="shares of 3 and of 2"):
        parts.join_parts([base / "parts/1", tmp_path / "half"], tmp_path / "all")
    with pytest.raises(CannotGrade, match="holds the results of share 1/2"):
        grade(tmp_path / "half", shard=(2, 2))
    with pytest.raises(CannotGrade, match="holds the results of share 1/3"):
        parts.join_parts([base / f"parts/{n}" for n in (1, 2, 3)], base / "parts/1")


def test_what_cannot_be_read(school, tmp_path):
    with pytest.raises(CannotGrade, match=r"no records.json in .*run it again"):
        parts.join_parts([tmp_path], tmp_path / "all")
    said = '{"shard": %s, "about": {}, "records": %s}'
    shards = "[0, 0]", "[2, 1]", "[1, 999999999]", "[1, 2, 3]", '["a", 1]', "null"
    odd = ["[", "{}", *(said % (shard, "[]") for shard in shards)]
    odd += [said % ("[1, 1]", records) for records in ("[{}]", '["x"]', "[1]", "null")]
    for text in odd:
        (tmp_path / "records.json").write_text(text)
        with pytest.raises(CannotGrade, match="is damaged"):
            parts.join_parts([tmp_path], tmp_path / "all")


def test_commands(school, tmp_path, capsys):
    """grade --shard and report, as a teacher runs them; a gap makes the exit status 1."""
    base, _ = school
    small = tmp_path / "class"
    for name in NAMES[:2]:
        (small / name).mkdir(parents=True)
        (small / name / "03_x.ipynb").write_bytes(b"no notebook")
    for number in (1, 2, 3, 4):
        words = ["grade", small, "--out", tmp_path / f"r{number}", "--shard", f"{number}/4"]
        assert cli.main([*map(str, words)]) == 0
    words = ["report", *(tmp_path / f"r{n}" for n in (1, 2, 3, 4)), "--out", tmp_path / "all"]
    assert cli.main([*map(str, words)]) == 0
    assert "2 graded. The reports are in" in capsys.readouterr().out
    assert cli.main(["report", str(tmp_path / "r1"), "--out", str(tmp_path / "x")]) == 2
    assert "Missing: 2/4" in capsys.readouterr().err
    folders = [str(base / f"parts/{number}") for number in (1, 2, 3)]
    assert cli.main(["report", *folders, "--out", str(tmp_path / "b")]) == 1
    assert "Not graded, and blank in the reports: forgotten.zip." in capsys.readouterr().out
    none = ["grade", str(tmp_path / "none"), "--out", str(tmp_path / "y"), "--shard", "1/2"]
    assert cli.main(none) == 2


@pytest.mark.parametrize("word", ["3", "0/3", "4/3", "a/b", "1/2/3", "٣/٤", "1/0"])
def test_words_that_are_no_share(word, capsys):
    with pytest.raises(SystemExit):
        cli.main(["grade", "x", "--out", "y", "--shard", word])
    assert "such as 3/10" in capsys.readouterr().err
