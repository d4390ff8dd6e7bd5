from lora_course.checks.ch03 import EXERCISES
from lora_course.learner import record
from lora_course.learner.standing import standing


def test_how_far_and_where(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path / "home"))
    record.save(EXERCISES[0].key, 1.0)
    record.save(EXERCISES[1].key, 0.5)
    points = EXERCISES[0].points + EXERCISES[1].points / 2
    possible = sum(check.points for check in EXERCISES)
    wanted = f"Chapter 3: 1 of {len(EXERCISES)} exercises done, {points:g} of {possible} points."
    assert standing(EXERCISES[0]) == wanted
    (tmp_path / "course/exercises").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "course/exercises")
    assert standing(EXERCISES[0]) == wanted, "a folder called exercises may be anybody's"
    (tmp_path / "course/solutions/source").mkdir(parents=True)
    assert "course's original" in standing(EXERCISES[0])
