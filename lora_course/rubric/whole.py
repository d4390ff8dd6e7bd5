"""A whole project in one function: what the capstone's chapter does, with functions of yours."""

import json
from pathlib import Path

import torch

from lora_course.bridges.model_card import model_card, training_flops
from lora_course.bridges.shipping import measure
from lora_course.kit.clean import as_row, strange
from lora_course.kit.data import batches, encode
from lora_course.kit.models import BASE, load_base, load_tokenizer
from lora_course.kit.town import messy
from lora_course.rubric.conduct import look_ups
from lora_course.rubric.used_rows import LIMIT
from lora_course.train import train

NAME = "lora_course/base"  # how others find the base


def make_project(folder, clean, split, decide, rates=(0.003, 0.01), seeds=(0, 1), steps=60):
    """Make a project of the messy file in `folder`; about half a minute on two cores.

    clean(rows, test, tokens, limit, wrong), split(rows, share, seed), decide(runs, keep,
    megabytes): as in exercises 20.1 to 20.3. rates: a run with r = 8 for each of them and of the
    seeds. Returns the rate that was decided for.
    """
    folder, tokenizer = Path(folder), load_tokenizer()
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    messy.write_messy(folder)
    rows, test = messy.messy()
    plain = [as_row(row) for row in rows]
    odd = {tuple(r.values()) for r, words in zip(plain, strange(plain), strict=True) if words}
    kept = clean(
        rows, test, lambda row: len(encode(tokenizer, row["prompt"], row["completion"])[0]), LIMIT,
        lambda row: (row["prompt"], row["completion"]) in odd,
    )  # fmt: skip
    parts = split([row | {"report": row["prompt"]} for row in kept], 0.15, 0)
    for name, part in zip(("train", "validation"), parts, strict=True):
        lines = [json.dumps({k: r[k] for k in ("prompt", "completion")}) + "\n" for r in part]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    runs, models = [], []
    for rate in rates:
        made = [trained_on(parts[0], tokenizer, rate, seed, steps) for seed in seeds]
        right = [measure(model, tokenizer, parts[1][:100])[0] for model in made]
        old = [look_ups(model, tokenizer) for model in made]
        runs.append({"validation": right, "old": old, "megabytes": 1.0, "test": 0.0})
        models.append(made[0])
    best = int(decide(runs, 0.9, 2.0))
    ship(folder, models[best], tokenizer, parts[0], test, {"rate": rates[best], "steps": steps})
    return rates[best]


def trained_on(rows, tokenizer, rate, seed, steps):
    """A PEFT model of the base with r = 8, trained on the rows."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_base("base"), config)
    train(model, batches(rows, tokenizer, 16, steps, seed=seed), steps, lr=rate)
    return model


def ship(folder, model, tokenizer, rows, test, settings):
    """Adapter, merged model, tokenizer and card into the project's folder."""
    base, config = load_base("base"), model.peft_config["default"]
    model.save_pretrained(folder / "adapter")
    for file in (*(folder / "adapter").glob("*.json"), folder / "adapter/README.md"):
        text = file.read_text(encoding="utf-8").replace(json.dumps(str(BASE))[1:-1], NAME)
        file.write_text(text.replace(str(BASE), NAME), encoding="utf-8")
    trained = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    merged = model.merge_and_unload().eval()
    merged.save_pretrained(folder / "merged")
    tokenizer.save_pretrained(folder / "merged")
    tokens = 16 * settings["steps"] * 50  # a row has about 50
    facts = {
        "name": "court-forms", "base": NAME, "base_license": "apache-2.0", "license": "apache-2.0",
        "data": "the court's desk, generated, cleaned", "rows": len(rows), "test_rows": len(test),
        "hyperparameters": {"r": config.r, "lora_alpha": config.lora_alpha} | settings,
        "changed": sorted(config.target_modules), "parameters": merged.num_parameters(),
        "trained": trained, "flops": training_flops(base.num_parameters(), trained, tokens),
        "metric": "exact match", "before": measure(base, tokenizer, test)[0],
        "after": measure(merged, tokenizer, test)[0],
        "intended_use": "A report becomes the court's form.",
        "limits": "Knows one invented town. Not for real cases.",
        "input": "text to text, chat format, English",
        "how_to_load": "transformers: from_pretrained, for model and tokenizer",
    }  # fmt: skip
    (folder / "merged/README.md").write_text(model_card(facts), encoding="utf-8")
