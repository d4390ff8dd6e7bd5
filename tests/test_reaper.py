"""What a box leaves is removed, however deep, and a folder too full is noticed."""

import json
import mmap
import os
import signal
import subprocess
import sys

import pytest

from lora_course.grading.box import disk, reaper


def test_remove(tmp_path):
    """However deep, closed or oddly named; what links point to stays."""
    place, other = tmp_path / "box", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    (other / "kept").write_text("kept")
    (place / "link").symlink_to(other)
    (place / "closed").mkdir(mode=0)
    with open(os.path.join(os.fsencode(place), b"\xff\n"), "w"):
        pass
    here = os.open(place, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    disk.remove(place)
    assert not place.exists() and (other / "kept").exists()


def test_full(tmp_path):
    assert not disk.full(tmp_path)
    (tmp_path / "sparse").write_bytes(b"")
    os.truncate(tmp_path / "sparse", 10 << 30)
    assert not disk.full(tmp_path)  # takes no room
    for number in range(disk.FILES + 1):
        (tmp_path / str(number)).touch()
    assert disk.full(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_files_without_a_name(tmp_path):
    """They count while they are open, and while memory is mapped to them."""
    before = disk.unnamed(os.getpid())
    with open(tmp_path / "open", "wb+") as file:
        os.unlink(tmp_path / "open")
        file.write(bytes(1 << 20))
        file.flush()
        assert disk.unnamed(os.getpid()) - before >= 1 << 20
        memory = mmap.mmap(file.fileno(), 1 << 20)
    assert disk.unnamed(os.getpid()) - before >= 1 << 20
    memory.close()
    assert disk.unnamed(os.getpid()) == before


def watched(tmp_path, code, let_go=False):
    """What the reaper says of a process that runs this code; let_go: after a moment.

    The reaper is forked, as it is in earnest: it buries every child of its process.
    """
    heard, word = os.pipe()
    forked = os.fork()
    if forked == 0:
        try:
            nowhere = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, **nowhere)
            child.stdout.readline()
            life, held = os.pipe()
            if let_go:
                os.close(held)
            os.write(word, json.dumps(reaper.watch(child.pid, life, tmp_path)).encode())
        finally:
            os._exit(0)
    os.close(word)
    os.waitpid(forked, 0)
    with open(heard, "rb") as said:
        return json.loads(said.read())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_why_a_box_ended(tmp_path, monkeypatch):
    ready = "import os, time; print(flush=True); "
    assert watched(tmp_path, ready + "os._exit(3)")["why"] == "ended"
    assert watched(tmp_path, ready + "os.kill(os.getpid(), 9)")["signal"] == signal.SIGKILL
    said = watched(tmp_path, ready + "time.sleep(60)", let_go=True)
    assert said["why"] == "let go" and said["cpu"] < 5 and not said["held"]
    many = "from threading import Thread; print(flush=True); import time\n"
    many += "for _ in range(40): Thread(target=time.sleep, args=(60,)).start()"
    monkeypatch.setattr(reaper, "THREADS", 20)
    assert watched(tmp_path, many)["why"] == "threads"
    monkeypatch.setattr(disk, "DISK", 1 << 20)
    large = ready + "f = open('x', 'wb'); f.write(bytes(2 << 20)); f.flush(); time.sleep(60)"
    assert watched(tmp_path, large)["why"] == "disk"
