from collections import Counter

import torch

from lora_course.kit import pages
from lora_course.kit.models import load_tokenizer


def test_read_gives_every_token_a_label_and_padding_none():
    tokenizer = load_tokenizer("base")
    texts = ["The cat was painted.", "On Monday, Mira found the key in the barn."]
    batch = pages.read(tokenizer, texts)
    for ids, mask, labels, text in zip(*batch.values(), texts, strict=True):
        kept = ids[mask == 1]
        assert torch.equal(labels[mask == 1], kept) and (labels[mask == 0] == -100).all()
        assert kept[0] == tokenizer.bos_token_id and kept[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(kept[1:-1]).strip() == text
        assert (ids[mask == 0] == tokenizer.pad_token_id).all()


def test_ask_has_one_label_the_first_token_of_the_word():
    tokenizer = load_tokenizer("base")
    batch = pages.ask(tokenizer, ["Who was there? It was", "The"], ["Mira", "cat"])
    rows = zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    for (ids, mask, labels), word in zip(rows, ("Mira", "cat"), strict=True):
        at = (labels != -100).nonzero()
        assert len(at) == 1 and at.item() == mask.sum() - 1
        assert labels[at.item()] == ids[at.item()]
        assert tokenizer.decode(labels[at.item()]).strip() == word


def test_shuffled_uses_every_row_before_it_repeats_one():
    rows = [f"row {n}" for n in range(7)]
    made = list(pages.shuffled(rows, 3, 7, seed=0))
    assert made == list(pages.shuffled(rows, 3, 7, seed=0)) and len(made) == 7
    assert set(Counter(row for batch in made for row in batch).values()) == {3}
    assert all(len(batch) == 3 for batch in made)
    assert len(list(pages.shuffled(rows[:2], 5, 2, seed=0))[0]) == 5
