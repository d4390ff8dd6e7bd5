"""Twelve runs with a fault each, and what can be seen of them without knowing it (chapter 19).

Each function takes a fresh base and makes what a person would have at hand before training: a
model, batches, an optimizer. The faults are those of public reports; chapter 19 names them.
"""

import copy
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


def rows(steps=12, change=None):
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
    return Patient(model, *rows(), adamw(model))


def run_1():
    model = load_base().train()
    optimizer = adamw(model)
    return Patient(inject_lora(model, r=4, lora_alpha=8, seed=0), *rows(), optimizer)


def run_2():
    model = adapted()
    return Patient(model, *rows(), adamw(model, lr=2e-5))


def run_3():
    def change(batch, tokenizer):
        real = batch["attention_mask"] == 1
        return batch | {"labels": batch["input_ids"].where(real, -100)}

    model = adapted()
    return Patient(model, *rows(change=change), adamw(model))


def run_4():
    def change(batch, tokenizer):
        ended = batch["labels"] == tokenizer.eos_token_id
        return batch | {"labels": batch["labels"].masked_fill(ended, -100)}

    model = adapted()
    return Patient(model, *rows(change=change), adamw(model))


def run_5():
    def change(batch, tokenizer):
        shifted = batch["labels"].roll(-1, dims=1)
        shifted[:, -1] = -100
        return batch | {"labels": shifted}

    model = adapted()
    return Patient(model, *rows(change=change), adamw(model))


def run_6():
    def change(batch, tokenizer):
        first = batch["input_ids"][:, :1]
        extra = {"input_ids": first, "attention_mask": torch.ones_like(first)}
        extra["labels"] = torch.full_like(first, -100)
        return {key: torch.cat([extra[key], batch[key]], dim=1) for key in batch}

    model = adapted()
    return Patient(model, *rows(change=change), adamw(model))


def run_7():
    def change(batch, tokenizer):
        return batch | {"labels": batch["labels"].where(batch["attention_mask"] == 1, 0)}

    model = adapted()
    return Patient(model, *rows(change=change), adamw(model))


def run_8():
    model = adapted()
    for parameter in model.parameters():
        parameter.requires_grad = True
    return Patient(model, *rows(), adamw(model))


def run_9():
    model, (tokenizer, made) = adapted(), rows()
    task = load_task("questions")
    train = [dict(row) for row in task["train"].select(range(200))]
    test = [dict(row) for row in task["test"].select(range(40))]
    seen = [{**row, "prompt": f" {row['prompt'].upper()}"} for row in train[:10]]
    return Patient(model, tokenizer, made, adamw(model), train, test + seen)


RUNS = (run_1, run_2, run_3, run_4, run_5, run_6, run_7, run_8, run_9)


def evidence(patient):
    """What a person sees who trains a copy of the run: losses, gradients, what moved, one row.

    Returns a dict: losses, one for each batch; gradients and moved, {kind: largest number} for
    A, B and everything else; row, [(token, is it graded)] of the first row without its padding.
    The patient stays as it is.
    """
    model, optimizer = copy.deepcopy((patient.model.train(), patient.optimizer))
    parts = {"A": [], "B": [], "rest": []}
    for name, parameter in model.named_parameters():
        parts[{"lora_A": "A", "lora_B": "B"}.get(name.rpartition(".")[2], "rest")].append(parameter)
    start = {kind: [p.detach().clone() for p in found] for kind, found in parts.items()}
    losses, gradients = [], {}
    for batch in patient.batches:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        if not gradients:
            gradients = {
                kind: max([p.grad.abs().max().item() for p in found if p.grad is not None] or [0])
                for kind, found in parts.items()
            }
        optimizer.step()
    moved = {
        kind: max((p - q).abs().max().item() for p, q in zip(found, start[kind], strict=True))
        for kind, found in parts.items()
    }
    batch = patient.batches[0]
    real = batch["attention_mask"][0] == 1
    ids, labels = batch["input_ids"][0][real].tolist(), batch["labels"][0][real].tolist()
    words = patient.tokenizer.convert_ids_to_tokens(ids)
    row = [(word, label != -100) for word, label in zip(words, labels, strict=True)]
    padding = int((batch["labels"][~(batch["attention_mask"] == 1)] != -100).sum())
    return {"losses": losses, "gradients": gradients, "moved": moved, "row": row, "filler": padding}


def chart(patient):
    """Print the evidence of a run in five lines; returns it."""
    seen = evidence(patient)
    print("losses   ", " ".join(f"{loss:.1f}" for loss in seen["losses"][::3]))
    for kind in ("gradients", "moved"):
        found = ", ".join(f"{k} {'0' if v == 0 else 'yes'}" for k, v in seen[kind].items())
        print(f"{kind:9}", found)
    print("graded   ", " ".join(f"[{word}]" if on else word for word, on in seen["row"]))
    print("graded filler:", seen["filler"])
    return seen
