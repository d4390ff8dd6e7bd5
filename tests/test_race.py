"""race.py: what a lesson asks, that the exam asks all, and rows of yours instead."""

import json

import torch

from lora_course.kit.models import load_tokenizer
from lora_course.kit.race import exam_batch, lesson
from lora_course.kit.town.tasks import code_book


def pairs(tokenizer, batch):
    """(word, meaning) for each label, in text."""
    places = (batch["labels"] != -100).nonzero().tolist()
    words = [batch["input_ids"][i, [j - 1, j]].tolist() for i, j in places]
    return [tuple(tokenizer.decode([token]).strip() for token in pair) for pair in words]


def test_every_pair_of_a_lesson_is_in_the_code():
    tokenizer, code = load_tokenizer("base"), code_book()
    seen = set()
    for batch in lesson(tokenizer, 12, seed=0):
        asked = pairs(tokenizer, batch)
        assert len(asked) == 64 and all(code[word] == meaning for word, meaning in asked)
        assert torch.equal(batch["labels"][:, 1::2], batch["input_ids"][:, 1::2])
        assert all(len(set(row)) == 8 for row in batch["input_ids"][:, ::2].tolist())
        seen |= set(asked)
    assert len(seen) == 64


def test_the_exam_asks_every_pair_once():
    tokenizer = load_tokenizer("base")
    assert sorted(pairs(tokenizer, exam_batch(tokenizer))) == sorted(code_book().items())


def test_seeds():
    tokenizer = load_tokenizer("base")
    one, again, other = (
        torch.stack([b["input_ids"] for b in lesson(tokenizer, 3, seed)]) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_rows_of_yours(tmp_path, monkeypatch):
    rows = [{"prompt": f"What is {n}?", "completion": f"The {n}."} for n in range(300)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("LORA_COURSE_DATA", str(file))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    tokenizer = load_tokenizer("base")
    (batch,) = lesson(tokenizer, 1, seed=0)
    assert len(batch["input_ids"]) == 4 and len(exam_batch(tokenizer)["input_ids"]) == 8
