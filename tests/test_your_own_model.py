"""The script of docs/your_own_model.md, run as its reader runs it, at small scale."""

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from lora_course.bits import fourbit
from lora_course.bridges import shipping
from lora_course.kit import data
from lora_course.kit.models import BASE, load_base, load_tokenizer
from lora_course.plumbing import talk_facts
from tests.architectures import make, make_tokenizer
from tests.test_fourbit import WIDE, folder_of
from tests.test_talk_facts import TEMPLATES, talker, with_start
from tests.warm import run_script

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "docs/your_own_model.py"


def test_it_stands_alone_and_is_short():
    text = SCRIPT.read_text(encoding="utf-8")
    own = re.findall(r"^\s*(?:from|import) lora_course.*", text, re.M)
    assert own == ["    from lora_course.fast.lean import LeanProduct"], "for --lean alone"
    assert len(text.splitlines()) <= 480


def test_the_page_names_what_there_is():
    page = (ROOT / "docs/your_own_model.md").read_text(encoding="utf-8")
    script = SCRIPT.read_text(encoding="utf-8")
    for option in set(re.findall(r"--[a-z][a-z-]+", page)):
        assert f'"{option}"' in script, option
    assert len(page.split()) <= 600


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(output, folder) of a run on the shipped base and some rows of questions."""
    folder = tmp_path_factory.mktemp("run")
    rows = list(data.load_task("questions")["train"].select(range(1100)))
    rows_file(folder, rows)
    env = {"PYTHONPATH": "", "LORA_COURSE_MODEL": str(BASE)}
    options = "--data rows.jsonl --out mine --epochs 1 --rate 5e-3 --rank 8 --test 32 --batch 16"
    code, said = run_script(SCRIPT, folder, folder / "log", options.split(), env)
    assert code == 0, said[-3000:]
    return said, folder / "mine"


@pytest.mark.slow
def test_it_learns(run):
    before, after = (int(n) for n in re.findall(r"exact match \w+: +(\d+)%", run[0]))
    assert before <= 10 and after >= 60, run[0]


PLAIN = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
    del sys.modules[name]  # as in a process that has imported nothing yet
from transformers import AutoModelForCausalLM, AutoTokenizer
model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"]
assert not [n for n, _ in model.named_parameters() if "lora_" in n]
assert AutoTokenizer.from_pretrained(sys.argv[1]).chat_template
assert "peft" not in sys.modules and "lora_course" not in sys.modules
"""


@pytest.mark.slow
def test_plain_transformers_loads_the_merged_folder(run, tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    code, said = run_script(tmp_path / "plain.py", run[1], tmp_path / "log", [run[1] / "merged"])
    assert code == 0, said
    assert (run[1] / "adapter/adapter_model.safetensors").stat().st_size < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("kind", WIDE)
def test_the_adapter_is_merged_into_the_weights_that_it_was_trained_on(kind, script, tmp_path):
    """On a GPU the script trains on 4 bits; here they are made on the CPU."""
    folder_of(kind, tmp_path, **WIDE[kind])
    base = load_base(str(tmp_path))
    before = {name: p.clone() for name, p in base.named_parameters()}
    script.write_out(fourbit.load_four_bit(str(tmp_path), device="cpu"), base)
    wanted = dict(shipping.dequantized(str(tmp_path)).named_parameters())
    assert all(torch.equal(p, wanted[name]) for name, p in base.named_parameters())
    assert any(not torch.equal(p, before[name]) for name, p in base.named_parameters())


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("your_own_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_file(folder, rows, name="rows.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / name)


def some(n):
    return [{"prompt": f"Where is {i}?", "completion": f"At {i}."} for i in range(n)]


# The course and the script ask a model in the same words
@pytest.mark.parametrize("what", [*TEMPLATES, None])
def test_rows_and_answers_are_those_of_the_course(what, script):
    tokenizer = talker(what) if what else with_start(make_tokenizer())
    if not what:
        tokenizer.chat_template = None
    talk = [
        {"role": "user", "content": "Where is Mira?"},
        {"role": "assistant", "content": "At the mill."},
    ]
    ids, labels = data.encode(tokenizer, "Where is Mira?", "At the mill.")
    assert script.encode(tokenizer, talk) == {"input_ids": ids, "labels": labels}
    assert script.end_ids(tokenizer) == talk_facts.stop_ids(tokenizer)
    told = [label for label in labels if label != -100]
    assert script.answer_of(tokenizer, told) == "At the mill."


def test_a_checkpoint_changes_no_answer(script):
    model, tokenizer = load_base("base"), load_tokenizer("base")
    talks = [[{"role": "user", "content": "Where is the mill?"}, {"role": "a", "content": ""}]]
    model.generation_config.repetition_penalty = 9.0
    prompts = [talk[0]["content"] for talk in talks]
    want = data.answers(model, tokenizer, prompts, max_new_tokens=script.NEW)
    assert script.answers(model, tokenizer, talks) == want


def test_answers_that_are_too_long_to_be_right_are_counted(script, monkeypatch):
    tokenizer = load_tokenizer("base")
    talks = [[{"role": "user"}, {"role": "assistant", "content": "a " * n}] for n in (2, 90)]
    monkeypatch.setattr(script, "answers", lambda model, tokenizer, talks: ["a a", "a"])
    said = script.exact_match(None, tokenizer, talks)
    assert said == "50% of 2; 1 cannot be right: an answer gets 64 tokens"
    assert script.exact_match(None, tokenizer, talks[:1] * 2) == "50% of 2"


# Before anything is loaded
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (some(1), "1 different prompts; at least 10"),
        (some(3) * 40, "3 different prompts"),
        ([*some(20), {"prompt": "p", "completion": None}], "train row 20: expected"),
        ([*some(20), {"prompt": "p", "completion": "5"}, {"prompt": "q"}], "row 21: expected"),
        ([{"question": "a"}] * 30, "row 0: expected `prompt` and `completion`"),
        ([{"messages": [{"role": "user", "content": "a"}]}] * 20, "does not end with an answer"),
    ],
)
def test_data_that_will_not_do(rows, reason, script, tmp_path):
    with pytest.raises(SystemExit, match=reason):
        script.load_talks(rows_file(tmp_path, rows), template=True)


def test_data_in_another_encoding(script, tmp_path):
    for name in ("rows.jsonl", "rows.csv"):
        (tmp_path / name).write_bytes(b'prompt,completion\n{"prompt": "caf\xe9"}\n')
        with pytest.raises(SystemExit, match="could not be read: 'utf-8'"):
            script.load_talks(str(tmp_path / name), template=True)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("p,Yes, it is", "train row 40: more cells than columns"),
        ('p,"Yes\nq,a\nr,b', "could not be read: unexpected end of data"),
    ],
)
def test_a_csv_loses_no_words(line, reason, script, tmp_path):
    """A comma without quotes would cut an answer; an open quote would swallow the rows below."""
    rows = "".join(f"{r['prompt']},{r['completion']}\n" for r in some(40))
    (tmp_path / "rows.csv").write_text(f"prompt,completion\n{rows}{line}\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=reason):
        script.load_talks(str(tmp_path / "rows.csv"), template=None)


def test_forms_of_data(script, tmp_path):
    talks = [
        [
            {"role": "user", "content": r["prompt"]},
            {"role": "assistant", "content": r["completion"]},
        ]
        for r in some(40)
    ]
    want = script.load_talks(rows_file(tmp_path, some(40)), template=None)
    assert len(want[0]) == 36 and len(want[1]) == 4
    files = [rows_file(tmp_path, [{"messages": talk} for talk in talks], "a.jsonl")]
    halves = [{"prompt": talk[:1], "completion": talk[1:]} for talk in talks]
    files.append(rows_file(tmp_path, halves, "b.jsonl"))
    (tmp_path / "c.csv").write_text(
        "prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in some(40))
    )
    Dataset.from_list(some(40)).to_parquet(tmp_path / "d.parquet")
    for file in [*files, tmp_path / "c.csv", tmp_path / "d.parquet"]:
        assert script.load_talks(str(file), template=None) == want


def test_longer_talks_are_trained_where_a_template_writes_them(script, tmp_path):
    first = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]
    rows = [
        {"messages": [*first, {"role": "assistant", "content": f"{n}"}, *first[1:],
                      {"role": "assistant", "content": f"{n} again"}]}
        for n in range(20)
    ]  # fmt: skip
    file = rows_file(tmp_path, rows)
    train, _ = script.load_talks(file, template="yes")
    tokenizer = load_tokenizer("base")
    row = script.encode(tokenizer, train[0])
    assert row["input_ids"] == tokenizer.apply_chat_template(train[0])["input_ids"]
    told = [label for label in row["labels"] if label != -100]
    assert tokenizer.decode(told[:-1]).strip() == train[0][-1]["content"]
    with pytest.raises(SystemExit, match="5 messages, and the tokenizer has no chat template"):
        script.load_talks(file, template=None)


def test_no_prompt_is_on_both_sides(script, tmp_path):
    rows = [{"prompt": f"p{n % 20}", "completion": f"c{n}"} for n in range(100)]
    train, test = script.load_talks(rows_file(tmp_path, rows), template=None)
    held = {talk[0]["content"] for talk in test}
    assert len(held) == 2 and not held & {talk[0]["content"] for talk in train}


def test_rows_that_are_too_long(script, capsys):
    talks = [
        [{"role": "user", "content": "a " * n}, {"role": "a", "content": "b"}] for n in (1, 40)
    ]
    tokenizer = load_tokenizer("base")
    assert len(script.that_fit(tokenizer, talks, 30)) == 1
    assert "1 rows are longer than --length 30" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="No row is left: raise --length; the longest has"):
        script.that_fit(tokenizer, talks, 3)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("T5", "is a T5For"), ("BERT", "is a BertFor"), ("Qwen2-VL", "is a Qwen2VL")],
)
def test_models_that_will_not_do(kind, reason, script, tmp_path):
    make(kind).save_pretrained(tmp_path)
    with pytest.raises(SystemExit, match=f"{reason}.*Give a causal language model"):
        script.look_at(str(tmp_path))


def test_an_adapter_a_quantized_model_and_none(script, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SystemExit, match="holds an adapter. Give the base"):
        script.look_at(str(tmp_path))
    with pytest.raises(SystemExit, match="is no model that can be loaded"):
        script.look_at(str(tmp_path / "nothing"))
    make("Llama").save_pretrained(tmp_path / "whole")
    fourbit.load_four_bit(str(tmp_path / "whole"), device="cpu").save_pretrained(tmp_path / "four")
    with pytest.raises(SystemExit, match="is stored quantized .*bitsandbytes"):
        script.look_at(str(tmp_path / "four"))


def test_layers_that_peft_refuses_and_eyes(script, tmp_path, capsys):
    with pytest.raises(SystemExit, match="PEFT has no LoRA for this model.*Mamba"):
        script.lora_config(make("Mamba"), 4)
    config, _ = script.lora_config(make("Gemma 3 with eyes"), 4)
    assert config.target_modules and not any("vision" in name for name in config.target_modules)
    config, total = script.lora_config(make("Llama"), 4)
    assert config.target_modules == "all-linear" and total == make("Llama").num_parameters()
    script.lora_config(make("Mixtral"), 4)
    assert re.search(r"LoRA covers \d+% of them and trains", capsys.readouterr().out)


def test_room(script, tmp_path, monkeypatch):
    script.check_room(1000, tmp_path)
    with pytest.raises(SystemExit, match="GB of main memory, and .* are free"):
        script.check_room(10**15, tmp_path)
    monkeypatch.setattr(script.shutil, "disk_usage", lambda _: argparse.Namespace(free=10))
    with pytest.raises(SystemExit, match="disk space in"):
        script.check_room(1000, tmp_path)


def test_a_tokenizer_of_another_model(script, tmp_path):
    talker("plain").save_pretrained(tmp_path)
    with pytest.raises(SystemExit, match="has tokens that its model .400. lacks"):
        script.load_tokenizer(str(tmp_path), 400)
    assert script.load_tokenizer(str(tmp_path), 500).pad_token


# The whole way, small
@pytest.mark.slow
def test_a_template_with_thoughts_to_a_merged_folder(script, tmp_path, monkeypatch, capsys):
    """Merge only, without test rows, and a folder that says where its answers end."""
    tokenizer, model = talker("a block of thoughts"), make("Llama")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.generation_config.repetition_penalty = 3.0
    for part in (tokenizer, model):
        part.save_pretrained(tmp_path / "base")
    common = ["x", "--model", str(tmp_path / "base"), "--data", rows_file(tmp_path, some(40))]
    common += ["--out", str(tmp_path / "out"), "--batch", "8", "--rank", "2"]
    monkeypatch.setattr(sys, "argv", [*common, "--merge-only"])
    with pytest.raises(SystemExit):
        script.main()
    assert "--merge-only needs an adapter" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*common, "--test", "2"])
    script.main()
    out = capsys.readouterr().out
    assert "exact match before: 0% of 2" in out and "merged: logits differ by 0.0" in out
    saved = json.loads((tmp_path / "out/merged/generation_config.json").read_text())
    assert saved["eos_token_id"] == script.end_ids(tokenizer) and "repetition_penalty" not in saved
    shutil.rmtree(tmp_path / "out/merged")
    monkeypatch.setattr(sys, "argv", [*common, "--merge-only", "--test", "0"])
    script.main()
    out = capsys.readouterr().out
    assert "not measured (--test 0)" in out and (tmp_path / "out/merged/config.json").is_file()


@pytest.mark.parametrize("option", ["--length=0", "--epochs=0", "--test=-1", "--batch=0"])
def test_numbers_that_make_no_sense(option, script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--model", "m", "--data", "d", option])
    with pytest.raises(SystemExit):
        script.arguments()
    assert f"{option.split('=')[0]} is too small" in capsys.readouterr().err


@pytest.mark.parametrize(("batch", "world"), [(16, 3), (4, 8)])
def test_a_batch_that_processes_cannot_share(batch, world, script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--model", "m", "--data", "d", "--batch", str(batch)])
    monkeypatch.setattr(script, "WORLD", world)
    with pytest.raises(SystemExit):
        script.arguments()
    assert f"cannot be shared evenly by {world} processes" in capsys.readouterr().err
    monkeypatch.setattr(script, "WORLD", 2)
    assert script.arguments().batch == batch


@pytest.mark.slow
def test_without_a_model_it_says_what_to_give(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("LORA_COURSE_")]:
        monkeypatch.delenv(name)
    code, said = run_script(SCRIPT, tmp_path, tmp_path / "log")
    assert code == 2 and "give --model and --data" in said


LAUNCH = '''
"""accelerate launch; its processes are forks of this one, which has imported the packages."""
import multiprocessing, os, runpy, sys
from accelerate.commands import launch
from torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler import (
    SubprocessHandler,
)
sys.path.append(ROOT)
from tests.warm import Forked

def run(words, env):
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = words[words.index("-u") + 1 :]  # behind the name of the interpreter
    runpy.run_path(sys.argv[0], run_name="__main__")

def forked(handler, words, env):
    fork = multiprocessing.get_context("fork")
    return Forked(fork.Process(target=run, args=(words, env)))

if sys.platform == "linux":
    SubprocessHandler._popen = forked
launch.main()
'''


@pytest.mark.slow
def test_two_processes_share_the_rows(tmp_path):
    """Under accelerate launch, unchanged: 160 rows, 32 a step on both together, one merge."""
    rows_file(tmp_path, list(data.load_task("questions")["train"].select(range(160))))
    launch = LAUNCH.replace("ROOT", repr(str(ROOT)))
    (tmp_path / "launch.py").write_text(launch, encoding="utf-8")
    options = f"--multi_gpu --num_processes=2 --main_process_port=0 {SCRIPT} "
    options += "--data rows.jsonl --out mine --rank 4 --test 4 --batch 32"
    env = {"HF_HOME": str(tmp_path / "cache"), "LORA_COURSE_MODEL": str(BASE)}
    code, said = run_script(
        tmp_path / "launch.py", tmp_path, tmp_path / "log", options.split(), env
    )
    assert code == 0, said[-3000:]
    assert said.count("exact match before") == said.count("exact match after") == 1
    speed = {  # samples and steps a second: their ratio is the rows of a step
        word: float(re.search(rf"train_{word}_per_second\W+([\d.]+)", said)[1])
        for word in ("samples", "steps")
    }
    assert 25 < speed["samples"] / speed["steps"] < 34, speed
    assert (tmp_path / "mine/merged/model.safetensors").is_file()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_lean_layers_compute_what_peft_computes(dropout, script):
    """--lean: equal logits and gradients, under the names that the file of the adapter has."""
    from peft import LoraConfig, get_peft_model

    from lora_course.kit.models import load_base

    config = LoraConfig(r=3, lora_alpha=7, target_modules="all-linear", lora_dropout=dropout,
                        init_lora_weights=False)  # fmt: skip
    torch.manual_seed(0)
    model = get_peft_model(load_base(), config).train()
    ids, seen = torch.randint(5, 900, (2, 9)), []
    for lean in (False, True):
        if lean:
            script.make_lean(model)
        model.zero_grad()
        torch.manual_seed(1)
        out = model(input_ids=ids, labels=ids)
        out.loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
        seen.append((out.logits.detach(), gradients))
    (plain, theirs), (lean, ours) = seen
    assert theirs.keys() == ours.keys() and max(g.abs().max() for g in ours.values()) > 0
    if not dropout:  # the masks are drawn in another way
        torch.testing.assert_close(lean, plain, rtol=1e-4, atol=1e-4)
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-5)
    model.eval()
    with torch.no_grad():
        lean = model(input_ids=ids).logits
        for layer in model.modules():
            layer.__dict__.pop("forward", None)
        torch.testing.assert_close(lean, model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
