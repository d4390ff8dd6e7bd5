"""The parts of the box, one by one: what runs, the walls, the wire, what is swept up."""

import json
import os
import platform
import re
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from lora_course.grading.box import jail, magics, program_slice, reaper, syscalls, wire
from lora_course.grading.intake import submitted
from lora_course.plumbing import files

LINUX = sys.platform.startswith("linux")


# slices: what of a notebook is run
def run(*cells, wants=("f",), **names):
    namespace = dict(names)
    error = program_slice.execute(cells, wants, namespace, "f")
    return namespace, error


@pytest.mark.parametrize(
    "cells",
    [
        ["def f(): return 7"],
        ["import os", "while True: pass", "def f(): return 7"],
        ["def f(): return 7\nwhile True: pass"],
        ["def g(): return 7", "def f(): return g()"],
        ["def f(): return g()", "x = 3\ny = 4", "def g(): return x + y"],
        ["f = lambda: 7"],
        ["class f:\n    def __new__(cls): return cls.x", "f.x = 7"],
        ["class f:\n    def __new__(cls): return cls.x", "setattr(f, 'x', 7)"],
        ["def f(): return table['a']", "table = {}", "table['a'] = 7"],
        ["def f(): return len(table)", "table = []", "for i in range(7): table.append(i)"],
        ["def f(): return 1", "def f(): return 7"],
        ["from math import *", "def f(): return floor(7.5)"],
        ["import math as m", "def f(): return m.floor(7.5)"],
        ["def deco(g): return lambda: g() + 1", "@deco\ndef f(): return 6"],
        ["n = 7", "def f(a=n): return a"],
        ["if 1 < 2:\n    def f(): return 7\nelse:\n    1 / 0"],
        ["try:\n    import no_such_thing\nexcept ImportError:\n    x = 7", "def f(): return x"],
        ["(x := 7)", "def f(): return x"],
        ["a, *b = 1, 7", "def f(): return b[0]"],
        ["global_name = 0", "def f():\n    global global_name\n    global_name = 7\n    return 7"],
        ["def f(): raise NotImplementedError('Exercise 1.1 is not done yet: replace this line')"]
        + ["def f(): return 7"],
        ["def f(): return 7"]
        + ["def f(): raise NotImplementedError('Exercise 1.1 is not done yet: replace this line')"],
        ["def g(): return 7", "def f(): return g()", "check.f(f)", "def g(): return 0"],
        ["def g(): return 0", "def f(): return g()", "def g(): return 7", "check.f(f)"],
        ["def f(): return g()", "check.f(f)", "def g(): return 7"],
        ["check.f(f)", "def f(): return g()", "def g(): return 7"],
        ["x = [7]", "def f(): return x[0]", "check.f(f)", "x[0] = 1", "x.clear()"],
        ["class f:\n    x = 'is not done yet: replace this line'", "f.__new__ = lambda c: 7"],
        ["exec('def f(): return 7')"],  # only the whole notebook defines it
        ["%%time\ndef f(): return 7"],
        ["%matplotlib inline\n!ls\ndef f(): return 7"],
        ["broken(", "def f(): return 7"],
        ["\ufeffdef f():\r\n    return 7\r\n"],
    ],
)
def test_what_is_needed_runs(cells):
    namespace, _ = run(*cells)
    assert namespace["f"]() == 7


def test_what_is_not_needed_does_not_run():
    namespace, error = run("x = 1 / 0", "def f(): return 7", "y = f()", "f()")
    assert error is None and "y" not in namespace


def test_errors_of_a_missing_name():
    assert run("def g(): pass")[1] is None
    assert isinstance(run("def f(:\n    pass")[1], SyntaxError)
    assert run("x = (", "def g(): pass")[1] is None
    assert isinstance(run("f = 1 / 0")[1], ZeroDivisionError)


def test_deep_nesting_is_no_crash():
    assert "f" not in run("(" * 100_000 + "f = 1")[0]
    assert run("x = " + "-" * 50_000 + "1", "def f(): return 7")[0]["f"]() == 7


@pytest.mark.parametrize("first", ["%%bash", "%%html", "%%writefile a.py"])
def test_cells_in_other_languages(first):
    assert magics.tree(f"{first}\ndef f(): pass", "<cell 1>")[0].body == []


# notebooks as files
def test_code_cells_of_odd_files():
    cell = {"cell_type": "code", "source": ["a = 1\n", 7, "b = 2"]}
    text = json.dumps({"cells": [cell, {"cell_type": "markdown", "source": "x"}, 3]})
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        assert submitted.code_cells(data) == ["a = 1\nb = 2"]
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": "a = 1"}]}, None]}
    assert submitted.code_cells(json.dumps(old).encode()) == ["a = 1"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b"null", b'"a"', b'{"cells": 3}', b"\xff\xfe\x00"]
)
def test_no_notebook(data):
    with pytest.raises(submitted.Unreadable):
        submitted.code_cells(data)


def test_flags():
    setup = "from lora_course.lora import LoRALinear"
    assert submitted.flags([setup, "import math"], setup) == []
    assert (
        len(submitted.flags(["  from peft.tuners import lora", "import loralib as l"], setup)) == 2
    )
    assert submitted.flags(["from lora_course.merge import merge"], setup)
    assert submitted.flags(["from lora_course.lora import LoRALinear, LoRAEmbedding"], setup) == []
    assert submitted.flags(["import lora_course"], setup)
    assert submitted.flags(["from lora_course.checks.core import array"], setup) == []
    assert submitted.flags(["from peft.tuners import lora"], "from peft import LoraConfig") == []
    assert submitted.flags(["__import__('peft')"], setup)


# the wire
@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_arrays_cross_the_wire():
    sent = {
        "number": np.array(3.5),
        "empty": np.zeros((0, 4), np.int8),
        "flags": np.array([True, False]),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "wide": np.array([1 + 2j]),
        "big": np.array([2**63], np.uint64),
    }
    got = wire.unpack(wire.pack(sent))
    assert got.keys() == sent.keys()
    for key, value in sent.items():
        assert np.array_equal(got[key], value) and got[key].shape == value.shape
        assert not got[key].flags.writeable


def test_pickles_do_not_cross():
    with pytest.raises(SafetensorError):
        wire.pack({"x": np.array([object()])})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80\x04\x95",
        b"PK\x03\x04" * 20,
        b"\x93NUMPY\x01\x00",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}" + b"more",
        (58).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4]}}'[:58],
        wire.pack({str(i): np.zeros(1) for i in range(wire.NAMES + 1)}),
    ],
)
def test_torn_arrays(payload):
    with pytest.raises(wire.Torn):
        wire.unpack(payload)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"a": 1}', b"[" * 30_000, b'{"a": null}'])
def test_torn_words(payload):
    with pytest.raises(wire.Torn):
        wire.unpack_words(payload)


def test_torn_frames(pair):
    ours, theirs = pair
    theirs.sendall(b"x\0\0\0\0")
    with pytest.raises(wire.Torn):
        wire.receive(ours, b"ab")
    theirs.sendall(b"a\xff\xff\xff\xff")
    with pytest.raises(wire.Torn):
        wire.receive(ours, b"ab")
    theirs.sendall(b"a\x10\0\0\0abc")
    theirs.close()
    with pytest.raises(wire.Torn):
        wire.receive(ours, b"ab")


def test_late_frames(pair):
    ours, _ = pair
    start = time.monotonic()
    with pytest.raises(wire.Late):
        wire.receive(ours, b"a", start + 0.1)
    with pytest.raises(wire.Late):  # nobody reads
        wire.send(ours, b"a", bytes(10 << 20), time.monotonic() + 0.1)
    assert time.monotonic() - start < 2


# what is swept up
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
    reaper.remove(place)
    assert not place.exists() and (other / "kept").exists()


def test_full(tmp_path):
    assert not reaper.full(tmp_path)
    (tmp_path / "sparse").write_bytes(b"")
    os.truncate(tmp_path / "sparse", 10 << 30)
    assert not reaper.full(tmp_path)  # takes no room
    for number in range(reaper.FILES + 1):
        (tmp_path / str(number)).touch()
    assert reaper.full(tmp_path)


def test_atomic_files(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_atomically(path, "ä")
    files.write_atomically(path, b"\xff")
    assert path.read_bytes() == b"\xff" and os.listdir(path.parent) == ["a.json"]
    path.parent.joinpath(f"{files.DRAFT}x.tmp").touch()
    files.sweep(path.parent)
    assert os.listdir(path.parent) == ["a.json"]
    with pytest.raises(OSError):
        files.write_atomically(path / "below", "x")


# the walls
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
