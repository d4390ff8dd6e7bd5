"""looking.py: rows of questions with a picture in them, and the count of right answers."""

import random

import torch
from torch import nn

from lora_course.kit.looking import KINDS, answered, picture_batches
from lora_course.kit.models import load_tokenizer
from lora_course.kit.town import pictures
from lora_course.methods.sight import IMAGE


def test_batches():
    tokenizer = load_tokenizer("base")
    scenes = pictures.scenes(random.Random(0), "train", 20)
    states = torch.arange(20.0)[:, None, None].expand(20, 3, 5)
    made = list(picture_batches(tokenizer, scenes, states, seed=1, steps=4, size=6))
    assert len(made) == 4
    for batch in made:
        assert batch["states"].shape == (6, 3, 5)
        for ids, mask, labels, seen in zip(*batch.values(), strict=True):
            assert (ids == IMAGE).nonzero().flatten().tolist() == [2, 3, 4]
            assert ids[0] == tokenizer.bos_token_id
            assert (ids[mask == 0] == tokenizer.pad_token_id).all()
            assert (labels[(mask == 0) | (ids == IMAGE)] == -100).all()
            text, scene = tokenizer.decode(ids[ids >= 0]), scenes[int(seen[0, 0])]
            answer = tokenizer.decode(labels[labels >= 0], skip_special_tokens=True).strip()
            pairs = {
                answer
                for kind in KINDS
                for seed in range(30)
                for _, question, answer in [
                    pictures.picture_question(random.Random(seed), scene, [kind])
                ]
                if question in text
            }
            assert pairs == {answer}
    again = next(picture_batches(tokenizer, scenes, states, seed=1, steps=1, size=6))
    assert all(torch.equal(again[key], made[0][key]) for key in again)


class Knows(nn.Module):
    """Answers every question about the scene whose number it is shown; without one, «red»."""

    def __init__(self, tokenizer, scenes):
        super().__init__()
        self.tokenizer, self.scenes = tokenizer, scenes

    def generate(self, ids, states, mask, **settings):
        words = []
        for row, seen, here in zip(ids, states, mask, strict=True):
            assert here[-1] == 1 and (here.diff() >= 0).all()  # filled up on the left
            text = self.tokenizer.decode(row[(row >= 0) & (here == 1)])
            words.append("red")
            for thing, color, quarter in self.scenes[int(seen[0, 0])].things if len(seen) else ():
                place = self.scenes[int(seen[0, 0])].places[quarter]
                if f"color is the {thing}" in text:
                    words[-1] = color
                elif f"Where is the {thing}" in text:
                    words[-1] = place
                elif "What is" in text and place in text:
                    words[-1] = thing
        rows = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        end = [self.tokenizer.eos_token_id]
        return torch.tensor([(r + end * 4)[:4] for r in rows])


def test_answered():
    tokenizer = load_tokenizer("base")
    scenes = pictures.scenes(random.Random(3), "test", 40)
    knows, states = Knows(tokenizer, scenes), torch.arange(40.0)[:, None, None].expand(40, 4, 2)
    shares, talk = answered(knows, tokenizer, scenes, states)
    assert shares == dict.fromkeys(KINDS, 1.0)
    assert len(talk) == 120 and talk[3][0] == 1 and "color" in talk[3][1]
    wrong = answered(knows, tokenizer, scenes, states.roll(1, 0))[0]
    alone = answered(knows, tokenizer, scenes, states[:, :0])[0]
    assert max(wrong.values()) < 0.5
    assert alone["thing"] == alone["place"] == 0 and alone["color"] < 0.5
