"""Chapters 08 and later on other people's models and data: a GPT-2 and a Qwen3, random weights.

A chapter's source is a plain script (text is comment, a quote is an import): so it is run as one,
in a process of its own (tests/warm.py).
Nothing is learned in a model of random weights; what counts is that no cell stumbles over layer
names, sizes, a missing chat template, or data with few rows. So runs and scores are shortened, as
in `make test-real`.
"""

import json
from importlib.util import find_spec

import pytest

from tests import warm_programs
from tests.real import LATER, ROOT, few, rows
from tests.warm import run_script

OF_TEXT = [path for path in LATER if path.stem[:2] not in ("16", "18")]  # these two are below


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
    made["data"].write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return made


def chapter(number):
    (source,) = (path for path in LATER if path.stem.startswith(f"{number}_"))
    return source


def shortened():
    """In the chapter's process: fewer steps, and what it starts is forked."""
    few()
    warm_programs.use_in_chapter()


def ran(source, tmp_path, model="", data="", eye="", hidden=(), first=shortened):
    """What a chapter printed, run as a program; it must end well."""
    environment = {
        "LORA_COURSE_MODEL": str(model),
        "LORA_COURSE_DATA": str(data),
        "LORA_COURSE_VISION_MODEL": str(eye),
        "MPLBACKEND": "Agg",
    }
    place = ROOT / "chapters", tmp_path / "printed"
    code, said = run_script(source, *place, environment=environment, hidden=hidden, first=first)
    assert code == 0, said[-3000:]
    return said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
@pytest.mark.parametrize("source", OF_TEXT, ids=lambda path: path.stem[:2])
def test_chapter_runs(source, kind, folders, tmp_path):
    if source.stem.startswith("17"):
        source = with_fewer_ranks(source, kind, tmp_path)
    ran(source, tmp_path, folders[kind], folders["data"])


def with_fewer_ranks(source, kind, tmp_path):
    """Chapter 17 without the rank that dies, as on every model; shards on one of the two models.

    Two ranks with one result are launched on both.
    """
    text = source.read_text(encoding="utf-8")
    first = "# ## 7 A rank dies" if kind == "gpt2" else "# ## 6 The base in shards"
    last = "# ## 8 Four bits in shards" if kind == "gpt2" else "# ## 9 The planner"
    copy = tmp_path / source.name
    copy.write_text(text[: text.index(first)] + text[text.index(last) :], encoding="utf-8")
    return copy


PACKAGES = ("gguf", "xllamacpp")
MISSING = "Not installed: gguf, xllamacpp. `pip install -e .[edge]` brings them."


@pytest.mark.slow
def test_chapter_18_with_llama_cpp(folders, tmp_path):
    """A random Llama, which llama.cpp can serve."""
    from lora_course.kit.models import load_tokenizer
    from tests.small_llama import llama

    for package in PACKAGES:
        pytest.importorskip(package)
    tokenizer = load_tokenizer("base")
    tokenizer.save_pretrained(tmp_path)
    model = llama(width=64, wide=96, vocabulary=len(tokenizer))
    model.save_pretrained(tmp_path)
    said = ran(chapter("18"), tmp_path, tmp_path)
    assert MISSING not in said and "court.merged.gguf" in said and "tokens/s" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_chapter_18_on_models_that_llama_cpp_does_not_serve(kind, folders, tmp_path):
    """Once with its packages, once where they are missing; whole, or adapters would be alike."""
    hidden = PACKAGES if kind == "gpt2" else ()
    said = ran(chapter("18"), tmp_path, folders[kind], folders["data"], hidden=hidden, first=None)
    assert (MISSING in said) == (kind == "gpt2" or not all(map(find_spec, PACKAGES)))
    assert "court.merged.gguf" not in said


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "eye"), [("gpt2", "resnet"), ("qwen3", "dinov2")])
def test_pictures_with_another_eye_and_another_model(kind, eye, folders, tmp_path):
    """Chapter 16 with convolutions alone, and with a ViT of another family; random weights.

    One word decides what it asserts of the course's own: that both are the course's.
    """
    from tests.test_vision import random_classifier

    text = chapter("16").read_text(encoding="utf-8")
    assert text.count("is_shipped()") == text.count("is_shipped() and is_shipped_eye()") == 1
    random_classifier(eye).save_pretrained(tmp_path / "eye")
    ran(chapter("16"), tmp_path, folders[kind], folders["data"], tmp_path / "eye")
