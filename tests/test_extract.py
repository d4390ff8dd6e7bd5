"""What of a check enters a box: its probe, nothing of its judge, and no file with either."""

import os
import re
import types

import pytest

from lora_course import checks
from lora_course.grading import catalog, extract
from lora_course.grading.box import asked, fork_client, readable
from lora_course.grading.state import CannotGrade

TASKS = [
    pytest.param(task, id=f"{chapter}-{task.check.name}")
    for chapter in catalog.chapters()
    for task in catalog.tasks(chapter, ("lora_linear=rslora", "delta_weight=transposed"))
]


@pytest.mark.parametrize("task", TASKS)
def test_a_probe_stands_alone(task):
    """Its source defines it, from libraries and the words of checks, without a module of checks."""
    name, source = extract.source_of(task.check)
    space = {}
    exec(compile(source, "probe", "exec"), space)
    assert callable(space[name])
    defined = [n for n, v in space.items() if isinstance(v, types.FunctionType)]
    assert not [n for n in defined if n.startswith("judge_") or n == task.check.judge.__name__]
    assert not re.search(r"checks\.ch\d\d|import ch\d\d", source)
    for slip in task.check.slips:
        assert slip.advice not in source


def test_a_probe_that_cannot_be_cut_out():
    check = types.SimpleNamespace(name="mine", probe=lambda namespace, arrays: {})
    check.probe.__module__ = __name__
    with pytest.raises(CannotGrade, match="at the top"):
        extract.source_of(check)


def test_a_box_cannot_read_judges():
    """What it may read is no module of checks, no solution, no private package, and holds none."""
    places = readable.readable(["tests.private03", "lora_course.checks.ch03"])
    away = readable.off_limits(["tests.private03"])
    assert os.path.realpath(checks.__path__[0] + "/ch03.py") in away
    assert os.path.realpath(catalog.ROOT / "tests") in away
    for place in places:
        for path in (*away, str(catalog.ROOT / "solutions"), str(catalog.ROOT / "exercises")):
            assert path != place and not path.startswith(place.rstrip("/") + "/"), (place, path)
    assert fork_client.readable is readable.readable
    assert not [p for p in places if p.endswith(("/net", "/mountinfo", "/mounts", "/proc/self"))]


def test_packages_outside_of_lib(tmp_path, monkeypatch):
    """Folders of packages on sys.path are readable wherever they are; other folders are not."""
    packages, work = tmp_path / "libs", tmp_path / "work"
    (packages / "numpy-2.dist-info").mkdir(parents=True)
    work.mkdir()
    monkeypatch.setattr("sys.path", [str(packages), str(work), "", str(tmp_path / "gone")])
    assert readable.package_folders() == [str(packages)]
    assert str(packages) in readable.readable() and str(work) not in readable.readable()


def test_what_stands_in_for_a_check():
    kept = checks.__dict__.get("ch03")
    try:
        asked.stand_in({"chxx": {"lora_linear": ["LoRALinear"]}})
        from lora_course.checks import chxx

        chxx.lora_linear("anything")
        assert asked.given["lora_linear"] == ("anything",) and len(chxx.EXERCISES) == 1
    finally:
        del checks.chxx
        assert checks.__dict__.get("ch03") is kept
