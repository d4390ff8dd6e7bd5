import random

import torch

from lora_course.kit import models
from lora_course.make_base import curriculum, drills


def test_labels_are_the_tokens_of_the_graded_words():
    tokenizer, rng = models.load_tokenizer("base"), random.Random(5)
    for maker, _ in drills.DRILLS.values():
        texts, spans = zip(*(maker(rng) for _ in range(20)), strict=True)
        ids, labels = curriculum.encode_texts(tokenizer, texts, spans)
        assert torch.equal(labels[labels >= 0], ids[labels >= 0])
        for text, graded, row in zip(texts, spans, labels, strict=True):
            words = " ".join(text[a:b] for a, b in graded)
            assert tokenizer.decode(row[row >= 0]).strip() == words


def test_batches_hide_padding_from_the_loss():
    tokenizer = models.load_tokenizer("base")
    for ids, labels in curriculum.make_batches(tokenizer, seed=1, count=2, size=4):
        assert ids.shape == labels.shape and ids.shape[0] == 4
        assert (ids[:, 0] == tokenizer.bos_token_id).all()
        assert torch.equal(labels == -100, ids == tokenizer.pad_token_id)
        assert ((ids == tokenizer.eos_token_id).sum(1) == 1).all()


def test_a_batch_is_of_one_kind_and_longer_drills_come_in_smaller_ones(monkeypatch):
    tokenizer, seen = models.load_tokenizer("base"), []
    monkeypatch.setattr(
        curriculum, "encode_texts", lambda tokenizer, texts, spans: seen.append((texts, spans))
    )
    mix = {"story": 1, "list": 1, "exam": 1}
    list(curriculum.make_batches(tokenizer, seed=1, count=30, size=8, mix=mix))
    sizes = {"list": 8, "exam": 4, "story": 8}
    for texts, spans in seen:
        kinds = {
            "story" if graded is None else "exam" if "?" in text else "list"
            for text, graded in zip(texts, spans, strict=True)
        }
        assert len(kinds) == 1 and len(texts) == sizes[kinds.pop()]
    assert len(seen) == 30


def test_the_curriculum_names_drills_that_exist_and_ends_with_stories():
    for step in range(0, 3000, 10):
        mix = curriculum.curriculum(step, drills=1200)
        assert set(mix) <= {*drills.DRILLS, "story"}
        assert ("story" in mix) == (step >= 1200)
    assert set(mix) > {"story", "exam"}
