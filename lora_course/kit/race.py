"""What the methods of chapter 14 race on: chapter 06's code book, or rows of yours."""

import torch

from lora_course.kit.data import batches, load_task
from lora_course.kit.models import is_shipped
from lora_course.kit.town.tasks import code_book


def code_page(tokenizer, order):
    """A batch that reads out pairs of the code: word, meaning, word, meaning. order: (B, n)."""
    words, meanings = (
        torch.tensor(tokenizer(list(part), add_special_tokens=False)["input_ids"])[:, 0]
        for part in (code_book().keys(), code_book().values())
    )  # (64,), a token each
    ids = torch.stack([words[order], meanings[order]], -1).flatten(1)  # (B, 2n)
    labels = ids.clone()
    labels[:, ::2] = -100  # the words are given, the meanings are asked
    return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}


def lesson(tokenizer, steps, seed, device="cpu"):
    """`steps` batches: 64 pairs of the code in each, some of them twice.

    With a model or data of yours: four rows of the task that load_task() gives.
    """
    draw = torch.Generator().manual_seed(seed)
    if is_shipped():
        orders = (torch.rand(8, 64, generator=draw).argsort(1)[:, :8] for _ in range(steps))
        given = (code_page(tokenizer, order) for order in orders)
    else:
        given = batches(load_task()["train"], tokenizer, 4, steps, seed)
    for batch in given:
        yield {key: value.to(device) for key, value in batch.items()}


def exam_batch(tokenizer, device="cpu"):
    """One batch with every pair once, in an order of its own; or eight rows to validate on."""
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1)).view(8, 8)
    if is_shipped():
        batch = code_page(tokenizer, order)
    else:
        batch = next(batches(load_task()["validation"], tokenizer, 8, 1, seed=0))
    return {key: value.to(device) for key, value in batch.items()}
