"""The walls of the box: numbers of system calls, and a wall that is missing is named."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lora_course.grading.box import jail, syscalls

LINUX = sys.platform.startswith("linux")


HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("column", HEADERS)
def test_numbers_of_calls(column):
    """The tables agree with the headers of the kernel, where these are installed."""
    if not HEADERS[column].exists():
        pytest.skip("no kernel headers")
    text = HEADERS[column].read_text()
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    for table in (syscalls.REFUSED, syscalls.PRETENDED, syscalls.UNKNOWN):
        words = table.split()
        for name, *both in zip(words[::3], words[1::3], words[2::3], strict=True):
            assert known.get(name, "-") == both[column], name
    named = {"kill": syscalls.KILL, "tgkill": syscalls.TGKILL, "clone": syscalls.CLONE}
    named |= {
        "setrlimit": syscalls.SETRLIMIT,
        "prlimit64": syscalls.PRLIMIT,
        "fcntl": syscalls.FCNTL,
        "ioctl": syscalls.IOCTL,
    }
    assert all(int(known[name]) == pair[column] for name, pair in named.items())


@pytest.mark.skipif(not LINUX, reason="Linux only")
@pytest.mark.parametrize("wall", ["limits", "landlock", "seccomp"])
def test_a_wall_that_is_missing_is_named(wall, monkeypatch, tmp_path):
    def refuse(*arguments):
        raise OSError("not here")

    for name in ("limits", "drop_capabilities", "landlock", "seccomp"):
        monkeypatch.setattr(jail, name, lambda *arguments: None)
    assert jail.confine(tmp_path, []) == []
    monkeypatch.setattr(jail, wall, refuse)
    assert len(jail.confine(tmp_path, [])) == 1


@pytest.mark.skipif(not LINUX, reason="Linux only")
def test_unknown_machine(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "sparc")
    with pytest.raises(KeyError):
        jail.seccomp()


ROOM = """
import os, sys, threading, time
from lora_course.grading.box import jail, room
print(room.settle(sys.argv[1]))
jail.drop_capabilities()
made = 0
try:
    for _ in range(3 * room.THREADS):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        made += 1
except RuntimeError:
    pass
print(made < 2 * room.THREADS)
os.chdir(sys.argv[1])
try:
    with open("file", "wb") as file:
        for _ in range(room.DISK // (1 << 24) + 2):
            os.unlink("file") if os.path.exists("file") else None
            file.write(bytes(1 << 24))
    print("no limit")
except OSError as error:
    print(error.errno)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.skipif(not LINUX, reason="Linux only")
def test_room(tmp_path):
    """Where the kernel lets it: a disk of fixed size, for files without a name too, few threads."""
    done = subprocess.run(
        [sys.executable, "-c", ROOM, tmp_path], capture_output=True, text=True, timeout=120
    )
    assert not done.stderr and list(tmp_path.iterdir()) == []
    disk, few, full = done.stdout.split("\n", 2)
    if disk == "False":
        pytest.skip("this kernel gives no disk of its own; the reaper watches")
    assert few == "True" and full.strip() == "28"
