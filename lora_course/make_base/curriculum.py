"""What the base model reads while it is trained: which lesson when, in batches of one kind."""

import random

import torch

from lora_course.kit.town import stories
from lora_course.make_base.drills import DRILLS


def curriculum(step, drills):
    """What step number `step` may train on: {name of DRILLS or "story": weight}.

    drills: how many steps come before the stories. Each kind of looking back builds on the last
    one; after the drills, every fourth batch keeps them awake.
    """
    if step < 0.125 * drills:
        return {"list": 1}
    if step < 0.5 * drills:
        return {"list": 1, "rows": 6, "owners": 2}
    if step < drills:
        return {"list": 0.3, "rows": 2, "owners": 1, "retell": 3, "exam": 3}
    return {"story": 30, "rows": 1, "owners": 1, "retell": 3, "exam": 5}


def make_batches(tokenizer, seed, count, size, mix=None):
    """`count` batches, each of one kind: input_ids and labels, both (B, T).

    size: stories in a batch; of the longer drills there are fewer. mix: {kind: weight}, as
    `curriculum` gives it; None means stories. Labels are -100 on padding, and in a drill
    but where it is graded: among whole stories, those few words would drown.
    """
    rng, mix = random.Random(seed), mix or {"story": 1}
    kinds = rng.choices(list(mix), list(mix.values()), k=count)
    told = [(stories.document(rng), None) for _ in range(size * kinds.count("story"))]
    told.sort(key=lambda row: len(row[0]))  # like lengths side by side
    told = [told[i : i + size] for i in range(0, len(told), size)]
    rng.shuffle(told)
    for kind in kinds:
        if kind == "story":
            rows = told.pop()
        else:
            drill, share = DRILLS[kind]
            rows = [drill(rng) for _ in range(round(size * share))]
        yield encode_texts(tokenizer, *zip(*rows, strict=True))


def encode_texts(tokenizer, texts, spans):
    """Texts with begin and end tokens, and their labels; spans: what is graded, None for all."""
    coded = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    rows, offsets = coded["input_ids"], coded["offset_mapping"]  # tokens; their characters
    ids = torch.full((len(texts), 2 + max(map(len, rows))), tokenizer.pad_token_id)
    labels = torch.full_like(ids, -100)
    for i, (row, places) in enumerate(zip(rows, offsets, strict=True)):
        row = torch.tensor([tokenizer.bos_token_id, *row, tokenizer.eos_token_id])
        graded = torch.tensor([spans[i] is None] * len(row))
        for start, end in spans[i] or ():
            graded[1:-1] |= torch.tensor([a < end and b > start for a, b in places])
        ids[i, : len(row)] = row
        labels[i, : len(row)][graded] = row[graded]
    return ids, labels
