"""The doctor as a whole: never a traceback, never a hang, nothing on stderr."""

import os
import subprocess
import sys
import time

import pytest

from lora_course.learner import doctor, pins
from lora_course.learner.machine import Line


@pytest.fixture
def no_packages(monkeypatch):
    """As if nothing but Python were installed: every heavy import fails."""
    for name in ("torch", "psutil", "packaging", "bitsandbytes", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(pins, "installed", lambda name: None)


def test_without_packages_lines_but_no_traceback(no_packages, capfd, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.main() == 1
    out, err = capfd.readouterr()
    assert err == "" and "Traceback" not in out
    lines = out.splitlines()
    assert "problem  packages missing: torch, transformers" in out
    assert sum(line.startswith(("ok  ", "warning ", "problem ")) for line in lines) == 9


def test_a_question_that_hangs_or_fails():
    start = time.monotonic()
    assert doctor._ask("hub", lambda: time.sleep(9), 0.1).text == "hub: no answer within 0.1 s"
    assert time.monotonic() - start < 5
    line = doctor._ask("disk", lambda: 1 / 0, 5)
    assert line.state == "warning" and "ZeroDivisionError" in line.text


def test_report_and_exit_code(capfd):
    def noisy():
        print("library chatter", file=sys.stderr)
        os.write(2, b"chatter from C\n")
        return Line("warning", "memory: low", "Close programs.")

    def broken():
        return Line("problem", "Python 3.9 is too old", "Install 3.11.")

    assert doctor.main([("memory", noisy, 5)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out == "warning  memory: low\n         -> Close programs.\nThe course can start.\n"
    assert doctor.main([("memory", noisy, 5), ("Python", broken, 5)]) == 1
    assert capfd.readouterr().out.endswith("1 to solve before the course can start.\n")


@pytest.mark.slow
def test_command_line_end_to_end():
    """The real thing, as the learner types it: a line for each question, nothing on stderr."""
    command = "import sys; from lora_course.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.stderr == ""
    assert done.returncode == 0, done.stdout
    assert len([line for line in done.stdout.splitlines() if line[:2] in ("ok", "wa", "pr")]) == 9
