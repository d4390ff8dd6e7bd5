"""The walls of the box: numbers of system calls, and a wall that is missing is named."""

import platform
import re
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
    named |= {"prlimit64": syscalls.PRLIMIT, "fcntl": syscalls.FCNTL, "ioctl": syscalls.IOCTL}
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
