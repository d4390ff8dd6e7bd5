import json
import multiprocessing
import os
import sys

import pytest

from lora_course.learner import record


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return tmp_path / "home"


def test_best_is_kept():
    assert record.load() == ({}, [])
    for share, best in ((0.4, 0.4), (0.0, 0.4), (1.0, 1.0), (0.9, 1.0)):
        assert record.save("ch03.a", share)
        assert record.load() == ({"ch03.a": best}, [])
    record.save("ch03.b", 0)
    assert record.load()[0] == {"ch03.a": 1.0, "ch03.b": 0}


def test_where(monkeypatch):
    monkeypatch.delenv("LORA_COURSE_HOME")
    assert "lora-course" in str(record.home())
    monkeypatch.setenv("LORA_COURSE_HOME", "~/kept")
    assert "~" not in str(record.home())


def test_solutions_are_no_progress(folder, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_PROGRESS", "off")
    assert not record.save("ch03.a", 1.0) and record.load()[0] == {}
    monkeypatch.delenv("LORA_COURSE_PROGRESS")
    assert record.save("ch03.a", 1.0)


DAMAGED = [
    "",
    "{",
    "[1, 2]",
    '{"shares": 3}',
    '{"shares": {"a": "1"}}',
    '{"shares": {"a": 2}}',
    '{"shares": {"a": NaN}}',
    '{"shares": {"a": true}}',
    "[" * 100_000,
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_set_aside(folder, content):
    content = content.encode() if isinstance(content, str) else content
    for number in (1, 2):
        folder.mkdir(exist_ok=True)
        (folder / "progress.json").write_bytes(content)
        if number == 1:
            assert record.save("ch03.a", 1.0)
        shares, notes = record.load()
        assert shares == ({"ch03.a": 1.0} if number == 1 else {})
        aside = folder / f"progress.json.damaged-{number}"
        assert aside.read_bytes() == content
        assert len(notes) == number and str(aside) in notes[-1]
    assert record.save("ch03.b", 1.0) and record.load()[0] == {"ch03.b": 1.0}


def test_home_is_a_file(folder):
    folder.write_text("not a folder")
    assert not record.save("ch03.a", 1.0)
    assert record.unwritable()
    shares, notes = record.load()
    assert shares == {} and len(notes) == 1


def test_record_is_a_folder(folder):
    (folder / "progress.json").mkdir(parents=True)
    assert not record.save("ch03.a", 1.0)
    assert record.load()[0] == {} and "cannot be read" in record.load()[1][0]


def test_folder_that_refuses(folder, monkeypatch):
    def refuse(*what, **where):
        raise PermissionError(13, "Permission denied")

    record.save("ch03.a", 1.0)
    monkeypatch.setattr(record, "write_atomically", refuse)
    monkeypatch.setattr(record.tempfile, "TemporaryFile", refuse)
    assert not record.save("ch03.b", 1.0)
    assert record.unwritable() == "Permission denied" and record.load() == ({"ch03.a": 1.0}, [])


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are other there")
def test_read_only_folder(folder):
    record.save("ch03.a", 1.0)
    assert record.unwritable() == ""
    os.chmod(folder, 0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert not record.save("ch03.b", 1.0)
        assert record.unwritable() and record.load() == ({"ch03.a": 1.0}, [])
    finally:
        os.chmod(folder, 0o700)


def test_a_stop_in_the_middle_leaves_the_old_file(folder, monkeypatch):
    record.save("ch03.a", 1.0)

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        record.save("ch03.b", 1.0)
    assert record.load()[0] == {"ch03.a": 1.0}
    assert not list(folder.glob("*.tmp"))


def keep_some(folder, name):
    os.environ["LORA_COURSE_HOME"] = folder
    for number in range(15):
        assert record.save(f"{name}.{number}", 1.0)


def test_kernels_at_once_lose_nothing(folder):
    context = multiprocessing.get_context("spawn")
    names = ["ch01", "ch02", "ch03", "ch04"]
    workers = [context.Process(target=keep_some, args=(str(folder), name)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(record.load()[0]) == 60
    assert json.loads((folder / "progress.json").read_text())["version"] == 1


def test_a_lock_that_is_never_freed_does_not_stop_a_check(folder, monkeypatch):
    monkeypatch.setattr(record, "WAIT", 0.05)
    folder.mkdir()
    with record.locked(folder / "progress.lock"):
        assert record.save("ch03.a", 1.0)
    assert record.load()[0] == {"ch03.a": 1.0}
