"""Nine runs with a fault each, as a person would have them before training (chapter 19).

Each function takes a fresh base and makes what a person would have at hand before training: a
model, batches, an optimizer. The faults are those of public reports; chapter 19 names them.
"""

from typing import NamedTuple

import torch

from lora_course.inject import inject_lora
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import load_base, load_tokenizer


class Patient(NamedTuple):
    """A run before its first step. train_rows, test_rows: prompts with answers, or None."""

    model: torch.nn.Module
    tokenizer: object
    batches: list
    optimizer: torch.optim.Optimizer
    train_rows: list | None = None
    test_rows: list | None = None


def adamw(model, lr=1e-2):
    """AdamW on what trains."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


def question_batches(steps=12, change=None):
    """(tokenizer, batches of 8 rows of `questions`); change: on each batch, after it is made."""
    tokenizer, task = load_tokenizer(), load_task("questions")
    made = list(batches(task["train"], tokenizer, min(8, len(task["train"])), steps, seed=0))
    return tokenizer, [change(batch, tokenizer) if change else batch for batch in made]


def adapted():
    """The base with LoRA on all its linear layers."""
    return inject_lora(load_base(), r=4, lora_alpha=8, seed=0)


def healthy():
    """A run without a fault."""
    model = adapted()
    return Patient(model, *question_batches(), adamw(model))


def run_1():
    model = load_base().train()
    optimizer = adamw(model)
    return Patient(inject_lora(model, r=4, lora_alpha=8, seed=0), *question_batches(), optimizer)


def run_2():
    model = adapted()
    return Patient(model, *question_batches(), adamw(model, lr=2e-5))


def run_3():
    def change(batch, tokenizer):
        real = batch["attention_mask"] == 1
        return batch | {"labels": batch["input_ids"].where(real, -100)}

    model = adapted()
    return Patient(model, *question_batches(change=change), adamw(model))


def run_4():
    def change(batch, tokenizer):
        ended = batch["labels"] == tokenizer.eos_token_id
        return batch | {"labels": batch["labels"].masked_fill(ended, -100)}

    model = adapted()
    return Patient(model, *question_batches(change=change), adamw(model))


def run_5():
    def change(batch, tokenizer):
        shifted = batch["labels"].roll(-1, dims=1)
        shifted[:, -1] = -100
        return batch | {"labels": shifted}

    model = adapted()
    return Patient(model, *question_batches(change=change), adamw(model))


def run_6():
    def change(batch, tokenizer):
        first = batch["input_ids"][:, :1]
        extra = {"input_ids": first, "attention_mask": torch.ones_like(first)}
        extra["labels"] = torch.full_like(first, -100)
        return {key: torch.cat([extra[key], batch[key]], dim=1) for key in batch}

    model = adapted()
    return Patient(model, *question_batches(change=change), adamw(model))


def run_7():
    def change(batch, tokenizer):
        return batch | {
            "labels": batch["labels"].where(batch["attention_mask"] == 1, batch["input_ids"])
        }

    model = adapted()
    return Patient(model, *question_batches(change=change), adamw(model))


def run_8():
    model = adapted()
    for parameter in model.parameters():
        parameter.requires_grad = True
    return Patient(model, *question_batches(), adamw(model))


def run_9():
    model, (tokenizer, made) = adapted(), question_batches()
    task = load_task("questions")
    train = [dict(row) for row in task["train"].select(range(200))]
    test = [dict(row) for row in task["test"].select(range(40))]
    seen = [{**row, "prompt": f" {row['prompt'].upper()}"} for row in train[:10]]
    return Patient(model, tokenizer, made, adamw(model), train, test + seen)


RUNS = (run_1, run_2, run_3, run_4, run_5, run_6, run_7, run_8, run_9)
