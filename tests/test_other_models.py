"""Chapters 08 and later on other people's models and data: a GPT-2 and a Qwen3, random weights.

A chapter's source is a plain script (text is comment, a quote is an import), so it is run as one.
Nothing is learned in a model of random weights; what counts is that no cell stumbles over layer
names, sizes, a missing chat template, or data with few rows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "chapters/source").glob("[01][0-9]_*.py"))
LATER = [path for path in SOURCES if int(path.stem[:2]) >= 8]
ROWS = 300  # test 30, validation 27, train 243


def make_rows():
    """Short prompts whose answer can be copied from them."""
    things = ("mill", "bridge", "bakery", "harbour", "library")
    return [
        {"prompt": f"Mira waits at the {thing}, bench {n}. Where?", "completion": f"The {thing}."}
        for n in range(ROWS // len(things))
        for thing in things
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{"gpt2": folder, "qwen3": folder, "data": a .jsonl file}; the tokenizers have no template."""
    from lora_course.make_base import untrained
    from tests.test_models import random_model

    tokenizer = untrained.make_tokenizer(size=400)
    tokenizer.chat_template = None
    made = {}
    for kind in ("gpt2", "qwen3"):
        made[kind] = tmp_path_factory.mktemp(kind)
        tokenizer.save_pretrained(made[kind])
        random_model(kind, len(tokenizer), positions=512).save_pretrained(made[kind])
    made["data"] = tmp_path_factory.mktemp("data") / "rows.jsonl"
    made["data"].write_text("".join(json.dumps(row) + "\n" for row in make_rows()))
    return made


WITHOUT = """
import importlib.util, runpy, sys
real, hidden = importlib.util.find_spec, ("gguf", "xllamacpp")
importlib.util.find_spec = lambda name, *more: None if name in hidden else real(name, *more)
sys.modules |= dict.fromkeys(hidden)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", [True, False], ids=["engine", "no engine"])
def test_chapter_18_with_and_without_llama_cpp(engine, tmp_path):
    """A random Llama, which llama.cpp can serve; and where its packages are missing."""
    from lora_course.kit.models import load_tokenizer
    from tests.small_llama import llama

    if engine:
        pytest.importorskip("gguf")
        pytest.importorskip("xllamacpp")
    tokenizer = load_tokenizer("base")
    tokenizer.save_pretrained(tmp_path)
    model = llama(width=64, wide=96, vocabulary=len(tokenizer))
    model.save_pretrained(tmp_path)
    (source,) = (path for path in LATER if path.stem.startswith("18"))
    env = {**os.environ, "LORA_COURSE_MODEL": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *(() if engine else ("-c", WITHOUT)), source],
        cwd=ROOT / "chapters", env=env, capture_output=True, timeout=600, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = "Not installed: gguf, xllamacpp. `pip install -e .[edge]` brings them." in done.stdout
    served = "court.merged.gguf" in done.stdout and "tokens/s" in done.stdout
    assert (told, served) == (not engine, engine)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
@pytest.mark.parametrize("source", LATER, ids=lambda path: path.stem[:2])
def test_chapter_runs(source, kind, folders, tmp_path):
    env = {
        **os.environ,
        "LORA_COURSE_MODEL": str(folders[kind]),
        "LORA_COURSE_DATA": str(folders["data"]),
        "MPLBACKEND": "Agg",
        "HF_HOME": str(tmp_path),  # the prepared data set goes here
    }
    done = subprocess.run(
        [sys.executable, source], cwd=ROOT / "chapters", env=env, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "dinov2"])
def test_pictures_with_another_eye(kind, tmp_path):
    """Chapter 16 with convolutions alone, and with a ViT of another family; random weights."""
    from tests.test_vision import random_classifier

    random_classifier(kind).save_pretrained(tmp_path / "eye")
    env = {**os.environ, "LORA_COURSE_VISION_MODEL": str(tmp_path / "eye"), "MPLBACKEND": "Agg"}
    (source,) = [path for path in LATER if path.stem.startswith("16_")]
    done = subprocess.run(
        [sys.executable, source], cwd=ROOT / "chapters", env=env, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
