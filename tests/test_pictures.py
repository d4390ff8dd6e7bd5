"""pictures.py: seeded, splits that share no scene, labels that are those of the scene."""

import random

import numpy as np
import pytest
import torch

from lora_course.kit.models import load_tokenizer
from lora_course.kit.town import pictures


def test_splits_share_no_scene_and_are_seeded():
    drawn = {s: pictures.scenes(random.Random(0), s, 400) for s in ("train", "validation", "test")}
    for split, found in drawn.items():
        assert found == pictures.scenes(random.Random(0), split, 400)
        assert {pictures.split_of(scene) for scene in found} == {split}
    sets = [set(found) for found in drawn.values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    anything = [pictures.split_of(pictures.draw_scene(random.Random(n))) for n in range(2000)]
    assert 0.07 < anything.count("test") / 2000 < 0.13
    assert 0.07 < anything.count("validation") / 2000 < 0.13


def test_every_question_has_one_answer():
    rng = random.Random(1)
    for scene in pictures.scenes(rng, "train", 200):
        assert sorted(scene.places) == sorted(pictures.PLACES)
        for part in zip(*scene.things, strict=True):
            assert len(set(part)) == len(part)
        kind, question, answer = pictures.picture_question(rng, scene)
        (thing, color, quarter), = [
            t for t in scene.things
            if f" {t[0]}?" in question or f" {scene.places[t[2]]}?" in question
        ]  # fmt: skip
        assert answer == {"color": color, "thing": thing, "place": scene.places[quarter]}[kind]


def test_words_are_tokens_of_the_base():
    tokenizer = load_tokenizer("base")
    for word in [*pictures.SHAPES, *pictures.COLORS, *pictures.PLACES]:
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word


@pytest.mark.parametrize("name", pictures.SHAPES)
def test_shapes(name):
    rows = pictures.SHAPES[name].split("|")
    assert len(rows) == 11 and {len(row) for row in rows} == {11}
    assert 15 < pictures.MASKS[name].sum() < 90


def test_a_picture_shows_its_scene():
    scene = pictures.Scene(("garden", "harbor", "barn", "tower"), (("hat", "red", 2),))
    shown = np.stack([pictures.paint(scene, np.random.default_rng(n)) for n in range(20)])
    assert shown.shape == (20, 3, 32, 32) and shown.dtype == np.float32
    assert shown.min() >= 0 and shown.max() <= 1
    red = shown[:, 0] - shown[:, 1:].max(1)  # (20, 32, 32)
    quarter = red.reshape(20, 2, 16, 2, 16).max((0, 2, 4))
    assert quarter.argmax() == 2 and quarter[1, 0] > 0.3 > np.delete(quarter, 2).max()
    assert np.array_equal(shown[0], pictures.paint(scene, np.random.default_rng(0)))
    assert not np.array_equal(shown[0], shown[1])


def test_batch():
    scene = pictures.Scene(("tower", "barn", "garden", "harbor"),
                           (("hat", "red", 2), ("key", "blue", 1)))  # fmt: skip
    batch = pictures.batch([scene], np.random.default_rng(0))
    names = [pictures.LABELS[i] for i in batch["labels"][0].nonzero()[:, 0]]
    assert sorted(names) == ["blue key", "hat in the garden", "key in the barn", "red hat"]
    assert batch["pixel_values"].shape == (1, 3, 32, 32) and batch["pixel_values"].min() >= -1
    none = len(pictures.PAIRS)
    want = [none, pictures.PAIRS.index("blue key"), pictures.PAIRS.index("red hat"), none]
    assert batch["pairs"][0].tolist() == want
    assert [list(pictures.PLACES)[i] for i in batch["places"][0]] == list(scene.places)
    assert batch["labels"].dtype == torch.float32
