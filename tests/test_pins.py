"""Installed versions against the tested ones."""

from lora_course.learner import pins


def test_pins_are_compared(monkeypatch, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# comment\n\ntorch==2.0.0\nnumpy==1.0 ; python_version < '3'\nnot-there==3\npytest>=1\n"
    )
    monkeypatch.setattr(pins, "REQUIREMENTS", file)
    monkeypatch.setattr(
        pins, "installed", {"torch": "2.0.0+cpu", "numpy": "2", "pytest": "9.1"}.get
    )
    assert pins.differences() == ["not-there missing (tested: ==3)"]


def test_ranges_without_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(pins, "REQUIREMENTS", tmp_path / "none.txt")
    ranges = ["torch<3,>=2.9", "ruff>=0.12; extra == 'dev'"]
    monkeypatch.setattr(pins.metadata, "requires", lambda name: ranges)
    assert {name: str(rule) for name, rule in pins.wanted().items()} == {"torch": "<3,>=2.9"}
