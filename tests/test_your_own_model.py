"""The script of docs/your_own_model.md, run as its reader runs it, at small scale."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lora_course.bits import fourbit
from lora_course.bridges import shipping
from lora_course.kit import data
from lora_course.kit.models import BASE, load_base
from tests.test_fourbit import WIDE, folder_of

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "docs/your_own_model.py"


def test_it_stands_alone_and_is_short():
    text = SCRIPT.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) lora_course", text, re.M)
    assert len(text.splitlines()) <= 190


def test_the_page_names_what_there_is():
    page = (ROOT / "docs/your_own_model.md").read_text(encoding="utf-8")
    script = SCRIPT.read_text(encoding="utf-8")
    for option in set(re.findall(r"--[a-z]+", page)):
        assert f'"{option}"' in script, option
    assert len(page.split()) < 600


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(output, folder) of a run on the shipped base and some rows of questions."""
    folder = tmp_path_factory.mktemp("run")
    rows = list(data.load_task("questions")["train"].select(range(1600)))
    lines = [json.dumps(row) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": "", "HF_HOME": str(folder / "cache")}
    env |= {"LORA_COURSE_MODEL": str(BASE)}
    options = "--data rows.jsonl --out mine --epochs 2 --rate 5e-3 --rank 8 --test 50 --batch 32"
    done = subprocess.run(
        [sys.executable, SCRIPT, *options.split()],
        cwd=folder, env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, folder / "mine"


@pytest.mark.slow
def test_it_learns(run):
    before, after = (int(n) for n in re.findall(r"exact match \w+: +(\d+)%", run[0]))
    assert before <= 10 and after >= 60, run[0]


PLAIN = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"]
assert not [n for n, _ in model.named_parameters() if "lora_" in n]
assert AutoTokenizer.from_pretrained(sys.argv[1]).chat_template
assert "peft" not in sys.modules and "lora_course" not in sys.modules
"""


@pytest.mark.slow
def test_plain_transformers_loads_the_merged_folder(run):
    command = [sys.executable, "-c", PLAIN, str(run[1] / "merged")]
    done = subprocess.run(command, cwd=run[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (run[1] / "adapter/adapter_model.safetensors").stat().st_size < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("kind", WIDE)
def test_the_adapter_is_merged_into_the_weights_that_it_was_trained_on(kind, tmp_path):
    """On a GPU the script trains on 4 bits; here they are made on the CPU."""
    folder_of(kind, tmp_path, **WIDE[kind])
    spec = importlib.util.spec_from_file_location("your_own_model", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    base = load_base(str(tmp_path))
    before = {name: p.clone() for name, p in base.named_parameters()}
    script.write_out(fourbit.load_four_bit(str(tmp_path), device="cpu"), base)
    wanted = dict(shipping.dequantized(str(tmp_path)).named_parameters())
    assert all(torch.equal(p, wanted[name]) for name, p in base.named_parameters())
    assert any(not torch.equal(p, before[name]) for name, p in base.named_parameters())


@pytest.mark.slow
def test_without_a_model_it_says_what_to_give(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("LORA_COURSE_")}
    done = subprocess.run([sys.executable, SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "give --model and --data" in done.stderr


@pytest.mark.slow
def test_two_processes_share_the_rows(tmp_path):
    """Under accelerate launch, unchanged: 160 rows, 32 a step on both together, one merge."""
    rows = list(data.load_task("questions")["train"].select(range(160)))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    env = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "LORA_COURSE_MODEL": str(BASE)}
    launch = "accelerate.commands.launch --multi_gpu --num_processes=2 --main_process_port=0"
    options = "--data rows.jsonl --out mine --rank 4 --test 4 --batch 32"
    done = subprocess.run(
        [sys.executable, "-m", *launch.split(), str(SCRIPT), *options.split()],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("exact match before") == done.stdout.count("exact match after") == 1
    speed = {  # samples and steps a second: their ratio is the rows of a step
        word: float(re.search(rf"train_{word}_per_second\W+([\d.]+)", done.stdout + done.stderr)[1])
        for word in ("samples", "steps")
    }
    assert 25 < speed["samples"] / speed["steps"] < 34, speed
    assert (tmp_path / "mine/merged/model.safetensors").is_file()
