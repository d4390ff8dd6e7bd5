"""The list of deliberate breaks is true to the code, and the command tells caught from missed."""

import shlex
from pathlib import Path

import pytest

from tests import breaks

ROOT = Path(__file__).resolve().parents[1]


def test_every_break_fits_its_file_and_names_tests_that_exist():
    assert len(breaks.BREAKS) >= 30
    assert len({found.name for found in breaks.BREAKS}) == len(breaks.BREAKS)
    for found in breaks.BREAKS:
        text = found.place(ROOT).read_text(encoding="utf-8")
        assert text.count(found.old) == 1, f"{found.name}: {text.count(found.old)} times"
        assert found.new != found.old
        named = [word for word in shlex.split(found.tests) if word.endswith((".py", ".ipynb"))]
        assert named and all((ROOT / name).is_file() for name in named), found.name


@pytest.mark.slow
def test_caught_and_missed(tmp_path, monkeypatch, capsys):
    (tmp_path / "tests").mkdir()
    (tmp_path / "sum.py").write_text("def add(a, b):\n    return a + b  # both\n")
    (tmp_path / "tests/test_sum.py").write_text(
        "from sum import add\n\ndef test_add():\n    assert add(2, 2) == 4\n"
    )
    test = "tests/test_sum.py"
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they load what a sum does not need
    monkeypatch.setattr(breaks, "ROOT", tmp_path)
    monkeypatch.setattr(
        breaks,
        "BREAKS",
        (
            breaks.Break("minus", "sum.py", "a + b", "a - b", test),
            breaks.Break("times", "sum.py", "a + b", "a * b", test),
            breaks.Break("syntax", "sum.py", "a + b", "a +", test + " tests/gone.py"),
        ),
    )
    assert breaks.main(["minus"]) == 0 and "caught  minus" in capsys.readouterr().out
    assert breaks.main([]) == 1
    out = capsys.readouterr().out
    assert "MISSED  times" in out and "MISSED  syntax" in out and "1 of 3 caught" in out
    assert breaks.main(["other"]) == 2
    assert "a + b" in (tmp_path / "sum.py").read_text(), "the tree itself is never changed"
