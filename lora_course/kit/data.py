"""Tasks to fine-tune on, batches in the chat format, and the metric.

Every row has a `prompt` and a `completion`. Splits share no prompt. The metric is the exact match
of a greedy answer.
"""

import os
import random

from lora_course.kit.town.tasks import MAKERS
from lora_course.kit.your_data import load_foreign
from lora_course.plumbing.talk_facts import answer_of, around, greedy, prompt_text

SIZES = {"train": 4000, "validation": 200, "test": 400}


def load_task(name=None):
    """A datasets.DatasetDict with train, validation and test; columns prompt and completion (str).

    name: one of MAKERS, a .jsonl file, or a hub id of prompt / completion data. Without it,
    $LORA_COURSE_DATA counts, and without that, "questions".

    Raises ValueError for unknown names and unfit data: the message says what is there.
    """
    from datasets import Dataset, DatasetDict

    name = name or os.environ.get("LORA_COURSE_DATA") or "questions"
    if name not in MAKERS:
        return load_foreign(name, known=", ".join(MAKERS))
    rng, seen, splits = random.Random(f"task {name}"), set(), {}
    for split in ("test", "validation", "train"):
        rows = []
        while len(rows) < SIZES[split]:
            prompt, completion = MAKERS[name](rng)
            if prompt not in seen:
                seen.add(prompt)
                rows.append({"prompt": prompt, "completion": completion})
        splits[split] = Dataset.from_list(rows)
    return DatasetDict({split: splits[split] for split in SIZES})


def encode(tokenizer, prompt, completion):
    """One row in the chat format: (ids, labels), two lists of equal length T.

    Labels are -100 on the prompt, so that the loss covers the completion and its end token only.
    A tokenizer without a chat template gets the prompt, a line break and the completion.
    """
    asked, told = chat_prompt(tokenizer, prompt), completion
    if tokenizer.chat_template:
        talk = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        whole = tokenizer.apply_chat_template(talk, tokenize=False)
        if whole.startswith(asked):
            told = whole[len(asked) :]
    if told == completion or not around(tokenizer)[1].strip():  # the template writes no end
        told += tokenizer.eos_token
    ids, whole = tokenizer([asked, asked + told], add_special_tokens=False)["input_ids"]
    answer = whole[len(ids) :]
    if whole[: len(ids)] != ids:  # the last token of the prompt would take in some of the answer
        answer = tokenizer(told, add_special_tokens=False)["input_ids"]
    return ids + answer, [-100] * len(ids) + answer


def chat_prompt(tokenizer, prompt):
    """The text up to where the model's answer begins."""
    return prompt_text(tokenizer, prompt)


def batches(rows, tokenizer, batch_size, steps, seed):
    """`steps` batches of `batch_size` rows, reshuffled after every pass through them.

    rows: a datasets.Dataset or a list of {"prompt", "completion"}.
    Yields dicts of input_ids, attention_mask and labels, each (B, T), padded on the right.
    Raises ValueError when there are no rows.
    """
    import torch

    if not len(rows):
        raise ValueError("batches() was given no rows. It needs at least one.")
    rng, queue = random.Random(seed), []
    for _ in range(steps):
        while len(queue) < batch_size:
            queue += rng.sample(range(len(rows)), len(rows))
        picked, queue = queue[:batch_size], queue[batch_size:]
        encoded = [encode(tokenizer, rows[i]["prompt"], rows[i]["completion"]) for i in picked]
        shape = batch_size, max(len(ids) for ids, _ in encoded)  # (B, T)
        batch = {
            "input_ids": torch.full(shape, tokenizer.pad_token_id),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, -100),
        }
        for i, (ids, labels) in enumerate(encoded):
            batch["input_ids"][i, : len(ids)] = torch.tensor(ids)
            batch["attention_mask"][i, : len(ids)] = 1
            batch["labels"][i, : len(ids)] = torch.tensor(labels)
        yield batch


def answers(model, tokenizer, prompts, max_new_tokens=24, batch_size=100):
    """The model's greedy answers to `prompts` in the chat format: a list of str, in their order.

    Prompts are padded on the left; dropout is off while the model answers. What a chat template
    writes before an answer and after it is taken off, and nothing that came with the checkpoint
    changes how the model decodes or stops.
    """
    import torch

    was_training, said = model.training, {}
    model.eval()
    texts = [chat_prompt(tokenizer, p) for p in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths side by side
    for start in range(0, len(order), batch_size):
        picked = order[start : start + batch_size]
        batch = tokenizer(
            [texts[i] for i in picked],
            add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt",
            return_token_type_ids=False,
        ).to(model.device)  # fmt: skip
        with torch.no_grad(), greedy(model, tokenizer, max_new_tokens) as settings:
            out = model.generate(**batch, generation_config=settings)
        fresh = out[:, batch["input_ids"].shape[1] :].tolist()  # (B, new)
        said.update(zip(picked, (answer_of(tokenizer, ids) for ids in fresh), strict=True))
    model.train(was_training)
    return [said[i] for i in range(len(texts))]


def exact_match(model, tokenizer, rows, max_new_tokens=24):
    """The share of rows, in [0, 1], whose greedy answer is the completion, word for word."""
    said = answers(model, tokenizer, [row["prompt"] for row in rows], max_new_tokens)
    return sum(a == r["completion"].strip() for a, r in zip(said, rows, strict=True)) / len(rows)
