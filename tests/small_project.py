"""A whole project in a few seconds: what the capstone's chapter does, with switches for faults."""

import json

import torch

from lora_course.bridges.model_card import model_card, training_flops
from lora_course.bridges.shipping import measure
from lora_course.kit.clean import as_row, clean, split
from lora_course.kit.data import batches, encode
from lora_course.kit.models import BASE, load_base, load_tokenizer
from lora_course.kit.town import messy
from lora_course.train import train


def write_rows(folder, name, rows):
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def without_end(batch):
    """The last label of each row taken away: the end token is not learned."""
    labels = batch["labels"]
    for row in labels:
        row[(row != -100).nonzero()[-1]] = -100
    return batch


def make_project(folder, cleaned=True, lr=0.003, steps=60, ends=True, r=8):
    """A project in `folder`; without faults it holds all properties of the rubric."""
    from peft import LoraConfig, get_peft_model

    base, tokenizer = load_base(), load_tokenizer()
    messy.write_messy(folder)
    rows, test = messy.messy()
    kept = [as_row(row) for row in rows]
    if cleaned:
        kept, _ = clean(rows, test, lambda row: len(encode(tokenizer, **row)[0]), 128)
    parts = split(kept, 0.15, 0)
    for name, part in zip(("train", "validation"), parts, strict=True):
        write_rows(folder, name, part)
    torch.manual_seed(0)
    config = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_base(), config)
    made = list(batches(parts[0], tokenizer, 16, steps, seed=0))
    train(model, made if ends else map(without_end, made), steps, lr=lr)
    ship(folder, model, base, tokenizer, parts[0], test, lr, steps, made)
    return model


def ship(folder, model, base, tokenizer, rows, test, lr, steps, made):
    config = model.peft_config["default"]
    model.save_pretrained(folder / "adapter")
    for file in (folder / "adapter").glob("*[nd]"):  # .json and .md
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(str(BASE), "lora_course/base"), encoding="utf-8")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    merged = model.merge_and_unload().eval()
    merged.save_pretrained(folder / "merged")
    tokenizer.save_pretrained(folder / "merged")
    facts = {
        "name": "court-forms", "base": "lora_course/base", "base_license": "apache-2.0",
        "license": "apache-2.0", "data": "the court's desk, cleaned", "rows": len(rows),
        "hyperparameters": {"r": config.r, "lora_alpha": config.lora_alpha, "rate": lr},
        "changed": sorted(config.target_modules), "parameters": merged.num_parameters(),
        "trained": trained, "metric": "exact match",
        "before": measure(base, tokenizer, test)[0], "after": measure(merged, tokenizer, test)[0],
        "test_rows": len(test), "intended_use": "Forms of an invented court.",
        "limits": "Not for real cases.", "input": "text to text",
        "how_to_load": "transformers: from_pretrained",
        "flops": training_flops(base.num_parameters(), trained, sum(
            b["input_ids"].numel() for b in made)),
    }  # fmt: skip
    (folder / "merged/README.md").write_text(model_card(facts), encoding="utf-8")
