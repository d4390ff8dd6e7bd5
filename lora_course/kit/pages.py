"""Plain text as batches: pages to read, and questions of which one word is asked."""

import random

import torch


def read(tokenizer, texts):
    """One batch of whole texts, each with its begin and end token: every token is learned.

    texts: a list of str. Returns input_ids, attention_mask and labels, each (B, T), padded on the
    right; labels are -100 on the padding.
    """
    coded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return _padded(tokenizer, [framed(tokenizer, ids) for ids in coded], 0)


def ask(tokenizer, prompts, words):
    """One batch in which only the first token of the word that follows each prompt is asked.

    prompts, words: lists of str of equal length. Returns the same as `read`; one label in a row.
    """
    rows = []
    for prompt, word in zip(prompts, words, strict=True):
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        whole = tokenizer(f"{prompt} {word}", add_special_tokens=False)["input_ids"]
        rows.append(framed(tokenizer, whole[: len(start) + 1])[:-1])
    return _padded(tokenizer, rows, 1)


def shuffled(rows, batch_size, steps, seed):
    """`steps` lists of `batch_size` rows, reshuffled after every pass through them."""
    rng, queue = random.Random(seed), []
    for _ in range(steps):
        while len(queue) < batch_size:
            queue += rng.sample(rows, len(rows))
        yield queue[:batch_size]
        queue = queue[batch_size:]


def framed(tokenizer, ids):
    """Token ids between the begin and the end token; a tokenizer without one goes without."""
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [*start, *ids, tokenizer.eos_token_id]


def _padded(tokenizer, rows, last):
    """Lists of ids as a batch. last: how many tokens at the end of a row have a label; 0, all."""
    shape = len(rows), max(map(len, rows))  # (B, T)
    batch = {
        "input_ids": torch.full(shape, tokenizer.pad_token_id),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, -100),
    }
    for i, row in enumerate(rows):
        batch["input_ids"][i, : len(row)] = torch.tensor(row)
        batch["attention_mask"][i, : len(row)] = 1
        batch["labels"][i, len(row) - (last or len(row)) : len(row)] = torch.tensor(row[-last:])
    return batch
