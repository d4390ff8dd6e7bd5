"""The benchmark of chapter 17 without a GPU: a tiny shape on the CPU."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_course.costs.shapes import SHAPES
from tests.warm import WAYS

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "training_step.py"
SPEC = importlib.util.spec_from_file_location("training_step", SCRIPT)
bench = importlib.util.module_from_spec(SPEC)
sys.modules["training_step"] = bench  # the processes of the arms import it by this name
SPEC.loader.exec_module(bench)
SETTINGS = {"shape": "tiny", "layers": 1, "device": "cpu", "dtype": "float32", "rank": 2}
SETTINGS |= {"dropout": 0.0, "batch": 2, "tokens": 8, "steps": 2, "warm_up": 1}


@pytest.fixture(autouse=True)
def shapes():
    before = dict(SHAPES)
    yield
    SHAPES.clear()
    SHAPES.update(before)


def test_names_of_arms():
    assert bench.arm_name("lean:4bit:compiled") == "lean:4bit:compiled"
    for wrong in ("leaner", "lean:8bit", "full:4bit", "loralib:4bit"):
        with pytest.raises(argparse.ArgumentTypeError, match=wrong.split(":")[0]):
            bench.arm_name(wrong)


@pytest.mark.slow
def test_arms_start_alike_and_the_lean_one_keeps_no_more():
    made = {}
    for arm in ("full", "course", "lean", "peft", "peft:4bit", "lean:4bit"):
        made[arm] = bench.one_of_shape(arm, argparse.Namespace(**SETTINGS))
        assert len(made[arm]["steps"]) == 2 and made[arm]["ms"] > 0
    assert abs(made["lean"]["last loss"] - made["course"]["last loss"]) < 2e-4
    assert abs(made["lean"]["last loss"] - made["peft"]["last loss"]) < 0.02  # another A
    assert abs(made["lean:4bit"]["last loss"] - made["peft:4bit"]["last loss"]) < 0.02
    kept = {arm: sizes["saved for backward, MB"] for arm, sizes in made.items()}
    assert kept["lean"] <= kept["course"] and kept["lean:4bit"] <= kept["peft:4bit"]
    assert made["lean"]["states, MB"] < made["full"]["states, MB"]


@pytest.mark.slow
def test_an_arm_that_fails_leaves_its_reason_and_the_others_go_on(tmp_path, monkeypatch):
    """It asks for processes that import for themselves; here they are forked (tests/warm.py)."""
    asked = SimpleNamespace(get_context={"spawn": WAYS}.__getitem__)
    monkeypatch.setattr(bench, "multiprocessing", asked)
    out = tmp_path / "new" / "record.json"
    words = "--shape tiny --layers 1 --batch 1 --tokens 8 --steps 2 --warm-up 0 --limit 120 "
    bench.main([*(words + "--arms loralib lean --out").split(), str(out)])
    record = json.loads(out.read_text(encoding="utf-8"))
    assert "loralib" in record["arms"]["loralib"]["error"]
    assert record["arms"]["lean"]["ms"] > 0 and "--arms loralib lean" in record["command"]
