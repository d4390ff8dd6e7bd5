import pytest
import torch

from lora_course.kit import data
from lora_course.kit.models import load_tokenizer
from lora_course.kit.town import tasks


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("base")


@pytest.mark.parametrize("name", tasks.MAKERS)
def test_splits_do_not_overlap_and_are_the_same_every_time(name):
    task = data.load_task(name)
    assert {split: len(rows) for split, rows in task.items()} == data.SIZES
    prompts = [set(rows["prompt"]) for rows in task.values()]
    assert len(set.union(*prompts)) == sum(data.SIZES.values())
    assert data.load_task(name)["test"][:5] == task["test"][:5]


def test_labels_cover_exactly_the_completion(tokenizer):
    for row in data.load_task("questions")["train"].select(range(50)):
        ids, labels = data.encode(tokenizer, row["prompt"], row["completion"])
        kept = [i for i, label in zip(ids, labels, strict=True) if label != -100]
        assert [label for label in labels if label != -100] == kept
        assert tokenizer.decode(kept[:-1]).strip() == row["completion"]
        assert kept[-1] == tokenizer.eos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        talk = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        assert ids == tokenizer.apply_chat_template(talk)["input_ids"]


def test_batches_are_padded_and_masked(tokenizer):
    rows = data.load_task("questions")["train"].select(range(10))
    seen = list(data.batches(rows, tokenizer, batch_size=4, steps=5, seed=0))
    assert len(seen) == 5
    for batch in seen:
        shapes = {key: value.shape for key, value in batch.items()}
        assert len(set(shapes.values())) == 1 and batch["labels"].shape[0] == 4
        padding = batch["attention_mask"] == 0
        assert (batch["labels"][padding] == -100).all()
        assert (batch["input_ids"][padding] == tokenizer.pad_token_id).all()
    again = list(data.batches(rows, tokenizer, batch_size=4, steps=5, seed=0))
    assert all(
        torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(seen, again, strict=True)
    )
    ids = torch.cat([batch["input_ids"].flatten() for batch in seen[:2]])
    assert len(ids) > 0
    with pytest.raises(ValueError, match="no rows"):
        next(data.batches([], tokenizer, batch_size=4, steps=1, seed=0))


def test_every_pass_visits_every_row_once(tokenizer):
    rows = [{"prompt": f"Where is Mira{'?' * n}", "completion": "mill"} for n in range(1, 9)]
    seen = list(data.batches(rows, tokenizer, batch_size=2, steps=4, seed=3))
    lengths = sorted(int(n) for batch in seen for n in batch["attention_mask"].sum(1))
    expected = sorted(len(data.encode(tokenizer, r["prompt"], "mill")[0]) for r in rows)
    assert lengths == expected
