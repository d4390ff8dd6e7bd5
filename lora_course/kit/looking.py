"""Questions about pictures: batches to train a model with two senses, and how it answers."""

import random

import torch
from torch.nn.utils.rnn import pad_sequence

from lora_course.kit.data import chat_prompt, encode
from lora_course.kit.town import pictures
from lora_course.methods.sight import insert_picture

AT = 2  # token before which the picture stands: after <bos> and the mark of the user
KINDS = ("color", "thing", "place")


def picture_batches(tokenizer, scenes, states, seed, steps, size=32):
    """Batches of questions in the chat format, for train() and a Sighted: one for each step.

    states: (N, n, d_eye), what the model is shown with each of the N scenes.
    """
    rng = random.Random(seed)
    for _ in range(steps):
        picked, rows = rng.sample(range(len(scenes)), size), []
        for i in picked:
            _, question, answer = pictures.picture_question(rng, scenes[i])
            row = encode(tokenizer, question, answer)  # (ids, labels)
            rows.append(insert_picture(*row, states.shape[1], AT))
        yield {
            "input_ids": padded([ids for ids, _ in rows], tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(ids) for ids, _ in rows], 0),
            "labels": padded([labels for _, labels in rows], -100),
            "states": states[picked],
        }


def answered(model, tokenizer, scenes, states):
    """Each scene, one question of each kind: ({kind: share right}, [(scene, question, said)]).

    model: a Sighted. states: (N, n, d_eye), what it is shown with each scene; with n = 0 it gets
    the question alone. A greedy answer counts when it is the right word and nothing more.
    """
    rng, asked = random.Random(1), []
    for i, scene in enumerate(scenes):
        asked += [(i, *pictures.picture_question(rng, scene, [kind])) for kind in KINDS]
    texts = [chat_prompt(tokenizer, question) for _, _, question, _ in asked]
    prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
    prompts = [insert_picture(ids, ids, states.shape[1], AT)[0] for ids in prompts]
    ids = padded(prompts, tokenizer.pad_token_id, "left").to(states.device)
    mask = padded([[1] * len(p) for p in prompts], 0, "left").to(states.device)
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    new = model.generate(ids, states[[i for i, *_ in asked]], mask, **settings)
    said = [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    hits = {kind: [] for kind in KINDS}
    for (_, kind, _, answer), text in zip(asked, said, strict=True):
        hits[kind].append(text == answer)
    talk = [(i, question, text) for (i, _, question, _), text in zip(asked, said, strict=True)]
    return {kind: sum(hit) / len(hit) for kind, hit in hits.items()}, talk


def padded(rows, value, side="right"):
    """Rows of numbers as (B, T), filled up with `value` on one side."""
    return pad_sequence([torch.tensor(r) for r in rows], True, value, padding_side=side)
