"""engine.py: llama.cpp's greedy token ids against PyTorch's, base and adapters, and what a request
without an adapter gets."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lora_course.bridges.engine import ask_engine, post, start_engine
from lora_course.bridges.gguf import write_adapter, write_base
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.data import chat_prompt, load_task
from lora_course.kit.models import load_base, load_tokenizer

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """(server, base and two adapted models, prompts as ids, tokenizer)."""
    folder = tmp_path_factory.mktemp("gguf")
    base, tokenizer = load_base("base"), load_tokenizer("base")
    write_base(base, tokenizer, folder / "base.gguf", "F32")
    models, files = [base], []
    for seed, (r, lora_alpha) in enumerate([(3, 7), (8, 4)]):
        model = inject_lora(copy.deepcopy(base), r=r, lora_alpha=lora_alpha, seed=seed)
        for layer in lora_layers(model).values():
            nn.init.normal_(layer.lora_B, std=1.0)
        files.append(folder / f"{seed}.gguf")
        write_adapter(model, files[-1])
        models.append(model)
    server = start_engine(folder / "base.gguf", files, threads=1)
    texts = [
        chat_prompt(tokenizer, row["prompt"]) for row in load_task("court")["test"].select(range(4))
    ]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return server, models, ids, tokenizer


def torch_ids(model, ids, new=12):
    out = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=new, do_sample=False)
    return out[0, len(ids) :].tolist()


def test_greedy_ids_are_those_of_pytorch(engine):
    server, models, prompts, _ = engine
    for ids in prompts:
        said = [ask_engine(server, ids, place, tokens=12)["tokens"] for place in (None, 0, 1)]
        assert said == [torch_ids(model, ids) for model in models]
        assert said[0] != said[1] != said[2] != said[0]


@torch.no_grad()
def test_probabilities_are_those_of_pytorch(engine):
    server, models, prompts, _ = engine
    body = {"prompt": prompts[0], "n_predict": 8, "temperature": 0, "return_tokens": True}
    body |= {"n_probs": 1, "lora": [{"id": 1, "scale": 0.5}]}
    answer = post(server, "/completion", body)
    half = copy.deepcopy(models[2])
    for layer in lora_layers(half).values():
        layer.scaling *= 0.5
    ids = torch.tensor([prompts[0] + answer["tokens"]])
    logs = half(ids).logits[0, len(prompts[0]) - 1 : -1].log_softmax(-1)
    for step, seen in enumerate(answer["completion_probabilities"]):
        assert logs[step, seen["id"]].item() == pytest.approx(seen["logprob"], abs=1e-3)


def test_without_an_adapter_it_is_the_base(engine):
    """Also right after a request with one: llama.cpp falls back to the scales of the start.

    It keeps a prompt's keys and values, though, and compares adapters before it reuses them only
    where a request has a list of its own. So: no cache, or a list.
    """
    server, models, prompts, _ = engine
    none = [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
    for more in ({"cache_prompt": False}, {"cache_prompt": False, "lora": []}, {"lora": none}):
        ask_engine(server, prompts[0], 1, tokens=4)
        body = {"prompt": prompts[0], "n_predict": 12, "temperature": 0, "return_tokens": True}
        assert post(server, "/completion", body | more)["tokens"] == torch_ids(
            models[0], prompts[0]
        )


def test_the_tokenizer_agrees_where_the_text_begins_with_a_space(engine):
    server, _, prompts, tokenizer = engine
    text = load_task("court")["test"][0]["prompt"]
    made = {t: post(server, "/tokenize", {"content": t, "parse_special": True})["tokens"]
            for t in (text, " " + text)}  # fmt: skip
    want = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert made[" " + text] == want != made[text]


def test_it_serves_this_machine_only(engine):
    assert engine[0].listening_address.startswith("http://127.0.0.1:")


def test_without_the_packages_the_error_says_so():
    code = """
import sys
sys.modules["xllamacpp"] = sys.modules["gguf"] = None
import lora_course.bridges.gguf, lora_course.bridges.engine as engine
try:
    engine.start_engine("x")
except ImportError as error:
    print(error)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "pip install -e .[edge]" in done.stdout, done.stderr
