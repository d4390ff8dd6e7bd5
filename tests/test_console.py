"""Grading in a terminal: lines of 80 columns, a sign of life, progress that is kept."""

import io
import os
import signal
import time

import pytest

from lora_course import cli
from lora_course.grading import console
from lora_course.learner import record
from tests import hostile


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_lines_are_wrapped():
    line = "  Seen: " + "a number or two " * 12
    parts = console.wrapped(line)
    assert len(parts) > 2 and max(map(len, parts)) <= 80
    assert all(part.startswith("  ") for part in parts)
    assert " ".join(" ".join(parts).split()) == " ".join(line.split())
    assert console.wrapped("short") == ["short"] and console.wrapped("") == [""]
    assert console.wrapped("x" * 100) == ["x" * 100]  # a path stays whole, to be copied


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer")
def test_sign_of_life(monkeypatch):
    err = Terminal()
    monkeypatch.setattr("sys.stderr", err)
    before = signal.getsignal(signal.SIGALRM)
    with console.alive("Checking 1 notebook"):
        end = time.monotonic() + 5
        while "1 s" not in err.getvalue() and time.monotonic() < end:
            time.sleep(0.1)  # a signal does not end it early: the work goes on
    assert "Checking 1 notebook: 0 s" in err.getvalue() and "1 s" in err.getvalue()
    assert err.getvalue().endswith(" \r")  # the line is gone
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    with pytest.raises(KeyError), console.alive("Checking"):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0) and err.getvalue().endswith(" \r")


def test_no_sign_of_life_in_a_file(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    with console.alive("Checking"):
        pass
    assert err.getvalue() == ""


def test_check_keeps_progress_and_fits(tmp_path, monkeypatch, capsys):
    """Full marks of one's own notebook count, as in Jupyter; a wrong answer takes nothing away."""
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LORA_COURSE_PROGRESS", raising=False)
    monkeypatch.delattr(os, "fork")  # in this process: no box to be started
    mine = tmp_path / "03_mine.ipynb"
    mine.write_bytes(hostile.HONEST["one exercise wrong"][0])
    record.save("ch03.lora_linear", 1.0)
    assert cli.main(["check", str(mine)]) == 1
    said = capsys.readouterr()
    assert said.err == "" and max(map(len, said.out.replace(str(mine), "").splitlines())) <= 80
    assert "hint 1 below" not in said.out and "Three hints stand in the notebook" in said.out
    shares, _ = record.load()
    assert len(shares) == 5 and set(shares.values()) == {1.0}


def test_published_answers_are_no_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LORA_COURSE_PROGRESS", raising=False)
    monkeypatch.delattr(os, "fork")
    solution = next((hostile.ROOT / "solutions").glob("03_*.ipynb"))
    assert cli.main(["check", str(solution)]) == 0
    assert "100 of 100 points" in capsys.readouterr().out
    assert record.load() == ({}, [])
