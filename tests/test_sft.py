"""sft.py, and what chapter 09 says of SFTTrainer: loop, masks, packing, resume, old names."""

import ast
import copy
import logging
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    TrainerCallback,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer, pack_dataset

from lora_course.bridges.sft import as_chat, logged_losses, with_bar
from lora_course.checks import ch09
from lora_course.inject import inject_lora
from lora_course.kit.data import encode, load_task
from lora_course.kit.models import BASE, load_base, load_tokenizer, quiet
from lora_course.train import learning_rate, train

ROOT = Path(__file__).resolve().parents[1]
LORA = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear"}
TALK = [
    {"role": "user", "content": "Where is Mira?"},
    {"role": "assistant", "content": "At the mill."},
    {"role": "user", "content": "And Tom?"},
    {"role": "assistant", "content": "In the harbour."},
]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
quiet()
TOKENIZER = load_tokenizer("base")


def tiny():
    """A two-layer Llama for the course's tokenizer; always the same weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(TOKENIZER), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256,
        )
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return load_task("questions")["train"].select(range(96)).map(as_chat)


def settings(folder, **more):
    here = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "logging_steps": 1, "seed": 0,
        "activation_checkpointing": False, "dataloader_pin_memory": False, "report_to": "none",
        "save_strategy": "no",
    }  # fmt: skip
    return SFTConfig(**{**here, **more})


def trainer_of(folder, rows, model=None, lora=None, callbacks=None, optimizers=None, **more):
    return with_bar(
        SFTTrainer(
            model or tiny(), settings(folder, **more), train_dataset=rows, callbacks=callbacks,
            processing_class=TOKENIZER, peft_config=LoraConfig(**(lora or LORA)),
        )
    )  # fmt: skip


# The same loop
class OurSchedule(SFTTrainer):
    """SFTTrainer with the schedule of chapter 05, warm-up included."""

    def create_scheduler(self, num_training_steps, optimizer=None):
        self.lr_scheduler = LambdaLR(
            self.optimizer, lambda step: learning_rate(step, num_training_steps, 1.0, 4)
        )
        return self.lr_scheduler


def race(folder, rows, base, steps, batch, rate):
    """The losses of both loops: same batches, schedule and initial adapter."""
    trainer = with_bar(
        OurSchedule(
            copy.deepcopy(base),
            settings(
                folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=rate,
                train_sampling_strategy="sequential",
            ),
            train_dataset=rows, processing_class=TOKENIZER, peft_config=LoraConfig(**LORA),
        )
    )  # fmt: skip
    mine = inject_lora(base, **LORA, seed=3)
    pairs = [[p for p in m.parameters() if p.requires_grad] for m in (trainer.model, mine)]
    with torch.no_grad():
        for place, value in zip(*pairs, strict=True):
            place.copy_(value)
    batches = list(trainer.get_train_dataloader())
    trainer.train()
    ours = train(mine, batches, steps, rate, warmup=4)
    theirs = logged_losses(trainer)
    assert list(theirs) == list(range(1, steps + 1))
    rates = [learning_rate(step, steps, rate, 4) for step in range(steps)]
    torch.testing.assert_close(list(logged_losses(trainer, "learning_rate").values()), rates)
    for place, value in zip(*pairs, strict=True):
        torch.testing.assert_close(place, value, rtol=1e-3, atol=1e-4)
    return list(theirs.values()), ours


def test_trainer_computes_what_our_loop_computes(tmp_path, rows):
    theirs, ours = race(tmp_path, rows, tiny(), steps=12, batch=8, rate=5e-3)
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) < 1e-4
    assert ours[-1] < ours[0]


@pytest.mark.slow
def test_trainer_computes_what_our_loop_computes_on_the_base(tmp_path):
    rows = load_task("questions")["train"].select(range(480)).map(as_chat)
    theirs, ours = race(tmp_path, rows, load_base("base"), steps=30, batch=16, rate=5e-3)
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) < 1e-4
    assert ours[-1] < ours[0] / 5


def test_the_rows_are_those_of_chapter_05(tmp_path, rows):
    made = trainer_of(tmp_path, rows).train_dataset
    task = load_task("questions")["train"]
    for row, plain in zip(made, task, strict=False):
        ours = encode(TOKENIZER, plain["prompt"], plain["completion"])
        assert (row["input_ids"], row["labels"]) == ours


# Masks
def graded(folder, data, **more):
    row = trainer_of(folder, Dataset.from_list([data]), **more).train_dataset[0]
    tokens = TOKENIZER.convert_ids_to_tokens(row["input_ids"])
    assert all(a in (-100, b) for a, b in zip(row["labels"], row["input_ids"], strict=True))
    return tokens, [label != -100 for label in row["labels"]]


def test_three_ways_to_grade_a_talk(tmp_path):
    tokens, marks = graded(tmp_path, {"messages": TALK})
    assert all(marks)
    speaking, turns, want = False, 0, []  # an independent walk over the tokens
    for token in tokens:
        want.append(turns if speaking else 0)
        speaking = token != "<eos>" if speaking else token == "<|assistant|>"
        turns += token == "<|assistant|>"
    _, marks = graded(tmp_path, {"messages": TALK}, assistant_only_loss=True)
    assert marks == [turn > 0 for turn in want] and sum(marks) > 6
    halves = {"prompt": TALK[:3], "completion": TALK[3:]}
    _, marks = graded(tmp_path, halves)
    assert marks == [turn == 2 for turn in want] and 0 < sum(marks) < len(marks) / 2
    assert graded(tmp_path, halves, completion_only_loss=False)[1] == [True] * len(tokens)


def test_a_template_without_marks_is_refused(tmp_path, monkeypatch):
    plain = TOKENIZER.chat_template.replace("{% generation %}", "")
    monkeypatch.setattr(TOKENIZER, "chat_template", plain.replace("{% endgeneration %}", ""))
    with pytest.raises(ValueError, match="generation"):
        graded(tmp_path, {"messages": TALK}, assistant_only_loss=True)


def test_too_long_rows_vanish_or_lose_their_end(tmp_path, rows):
    lengths = [len(ids) for ids in trainer_of(tmp_path, rows).train_dataset["input_ids"]]
    half = sorted(lengths)[len(lengths) // 2]
    cut = trainer_of(tmp_path, rows, max_length=half).train_dataset
    assert 0 < len(cut) < len(rows)
    cut = trainer_of(tmp_path, rows, max_length=half, completion_only_loss=False).train_dataset
    ended = sum(ids[-1] == TOKENIZER.eos_token_id for ids in cut["input_ids"])
    assert len(cut) == len(rows) and ended == sum(n <= half for n in lengths)


# Packing
def test_packing_keeps_every_row_and_saves_the_filler(tmp_path, rows):
    made = trainer_of(tmp_path, rows).train_dataset.select_columns(["input_ids", "labels"])
    bins = pack_dataset(made, 256)
    lengths = sorted(len(ids) for ids in made["input_ids"])
    assert sorted(n for b in bins["seq_lengths"] for n in b) == lengths
    padded = 1 - sum(lengths) / (max(lengths) * len(lengths))
    packed = 1 - sum(lengths) / (256 * len(bins))
    assert packed < 0.1 < padded


def test_packed_rows_do_not_see_each_other(tmp_path, rows):
    """The packed loss is that of the rows one by one; without positions it is another."""
    trainer = trainer_of(tmp_path, rows, packing=True, max_length=256)
    bin_ = next(b for b in trainer.train_dataset if len(b["seq_lengths"]) > 2)
    batch = trainer.data_collator([bin_])
    model = load_base("base")
    keep = {key: batch[key] for key in ("input_ids", "labels", "position_ids")}
    start, total, count = 0, 0.0, 0
    with torch.no_grad():
        packed = model(**keep, use_cache=False).loss.item()
        running = model(**{**keep, "position_ids": None}, use_cache=False).loss.item()
        for n in bin_["seq_lengths"]:
            piece = slice(start, start + n)
            ids, labels = keep["input_ids"][:, piece], keep["labels"][:, piece]
            graded_here = (labels != -100).sum().item()
            total += model(input_ids=ids, labels=labels).loss.item() * graded_here
            count, start = count + graded_here, start + n
    assert abs(packed - total / count) < 1e-4
    assert abs(running - total / count) > 1e-2


def test_the_packing_of_the_exercise_is_that_of_trl():
    rng = random.Random(0)
    for _ in range(20):
        lengths = [rng.randint(1, 64) for _ in range(rng.randint(1, 40))]
        theirs = pack_dataset(Dataset.from_dict({"input_ids": [[1] * n for n in lengths]}), 64)
        ours = ch09.fill(np.array(lengths), 64)
        assert len(set(ours.tolist())) == len(theirs)


# Resume
class PowerCut(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 7:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_run_has_the_losses_of_the_unbroken_one(tmp_path, rows):
    more = {
        "max_steps": 12, "save_strategy": "steps", "save_steps": 4, "learning_rate": 5e-3,
        "per_device_train_batch_size": 8, "lora": {**LORA, "lora_dropout": 0.1},
    }  # fmt: skip
    runs = [trainer_of(tmp_path / "whole", rows, **more)]
    runs[0].train()
    broken = trainer_of(tmp_path / "cut", rows, callbacks=[PowerCut()], **more)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    assert len(logged_losses(broken)) < 12
    runs.append(trainer_of(tmp_path / "cut", rows, **more))
    runs[1].train(resume_from_checkpoint=True)
    whole, resumed = map(logged_losses, runs)
    assert list(whole) == list(resumed) == list(range(1, 13))
    assert max(abs(whole[step] - resumed[step]) for step in whole) < 1e-5
    names = {path.name for path in (tmp_path / "cut/checkpoint-12").iterdir()}
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt"} <= names
    assert "model.safetensors" not in names


# Silence
@pytest.mark.parametrize("hidden", ["1", "0"])
def test_a_run_prints_nothing(tmp_path, rows, capsys, monkeypatch, hidden):
    monkeypatch.setenv("TQDM_DISABLE", hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet()
        trainer = with_bar(trainer_of(tmp_path, rows, max_steps=2))
        trainer.train()
    said = capsys.readouterr()
    assert said.out == "" and bool(said.err) == (hidden == "0")
    kinds = [type(callback).__name__ for callback in trainer.callback_handler.callbacks]
    assert kinds.count("Bar") == 1 and "PrinterCallback" not in kinds
    assert len(logged_losses(trainer)) == 2 and logged_losses(trainer, "eval_loss") == {}


def test_quiet_takes_the_warning_off_that_nobody_can_heed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet()
        get_peft_model(tiny(), LoraConfig(**LORA))


# Old names
GONE = {
    TrainingArguments: ("evaluation_strategy", "warmup_ratio", "group_by_length"),
    SFTConfig: ("max_seq_length", "evaluation_strategy", "warmup_ratio", "group_by_length"),
    SFTTrainer: ("tokenizer", "max_seq_length", "dataset_text_field", "packing"),
}
OUTDATED = {name for names in GONE.values() for name in names} - {"packing", "tokenizer"}
OUTDATED |= {"torch_dtype", "load_in_4bit", "gradient_checkpointing", "dataset_text_field"}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in GONE.items() for name in names]
)
def test_what_the_chapter_calls_gone_is_gone(tmp_path, kind, name):
    first = {"model": None} if kind is SFTTrainer else {"output_dir": str(tmp_path)}
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        kind(**first, **{name: None})


def test_what_the_chapter_calls_outdated_in_other_libraries(tmp_path, rows):
    with pytest.raises(TypeError, match="load_in_4bit"):
        AutoModelForCausalLM.from_pretrained(BASE, **{"load_in_4bit": True})
    with pytest.raises(ImportError):
        exec("from trl import DataCollatorForCompletionOnlyLM")
    with pytest.raises(ValueError, match="q_proj,v_proj not found"):
        trainer_of(tmp_path, rows, lora={"target_modules": "q_proj,v_proj"})
    with pytest.warns(FutureWarning, match="activation_checkpointing"):
        SFTConfig(str(tmp_path), use_cpu=True, **{"gradient_checkpointing": False})
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("transformers").addHandler(handler)
    try:
        model = AutoModelForCausalLM.from_pretrained(BASE, **{"torch_dtype": torch.float16})
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert model.dtype == torch.float16
    assert not said or "dtype" in said[0]  # transformers says it once in a process


@pytest.mark.parametrize(
    "path",
    [
        *ROOT.glob("chapters/source/09_*.py"), *ROOT.glob("solutions/source/09_*.py"),
        ROOT / "lora_course/bridges/sft.py", ROOT / "lora_course/checks/ch09.py",
    ],
    ids=lambda path: path.parent.parent.name + path.stem[:4],
)  # fmt: skip
def test_outdated_arguments_stand_only_in_what_is_to_be_repaired(path):
    """No call in our own code uses one; they stand in texts and in the list of suspects."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            used = {word.arg for word in node.keywords} & OUTDATED
            assert not used, f"line {node.lineno}: {used}"
            name = getattr(node.func, "id", "")
            assert name != "SFTTrainer" or "tokenizer" not in {w.arg for w in node.keywords}
