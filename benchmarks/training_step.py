"""One training step of the course's LoRA beside that of PEFT and of loralib.

    python benchmarks/training_step.py

The same base, rank, targets, start values and batch; the three take turns, step by step, in one
run, so that a busy machine slows all of them. Times are ratios to the course's own step. Memory is
counted, not sampled: weights, gradients, AdamW states and what forward saves for backward.

loralib is needed for this file only: pip install --no-deps loralib==0.1.2
"""

import argparse
import copy
import json
import platform
import statistics
import time

import torch

from lora_course.costs import memory
from lora_course.inject import inject_lora
from lora_course.kit import data
from lora_course.kit.models import load_base, load_tokenizer

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def with_course(base, r):
    return inject_lora(base, TARGETS, r=r, lora_alpha=2 * r)


def with_peft(base, r):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(base, LoraConfig(r=r, lora_alpha=2 * r, target_modules=TARGETS))


def with_loralib(base, r):
    import loralib

    for name, layer in list(base.named_modules()):
        if name.rsplit(".", 1)[-1] not in TARGETS:
            continue
        new = loralib.Linear(
            layer.in_features, layer.out_features, r=r, lora_alpha=2 * r, bias=False,
            merge_weights=False,
        )  # fmt: skip
        new.weight.data.copy_(layer.weight.data)
        parent, _, leaf = name.rpartition(".")
        setattr(base.get_submodule(parent), leaf, new)
    loralib.mark_only_lora_as_trainable(base)
    return base


ARMS = {"course": with_course, "peft": with_peft, "loralib": with_loralib}


def same_start(models):
    """Copies the factors of the first model into the others, layer by layer."""
    first, *others = ([p for n, p in m.named_parameters() if "lora_" in n] for m in models)
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            assert mine.shape == theirs.shape, (mine.shape, theirs.shape)
            theirs.data.copy_(mine.data)


def step(model, optimizer, batch):
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def counted_bytes(model, optimizer, batch):
    """Weights, gradients, AdamW states, and what forward saves for backward."""
    saved = memory.saved_bytes(lambda: model(**batch).loss, [*model.parameters(), *batch.values()])
    model(**batch).loss.backward()
    held = memory.state_bytes(model, optimizer)
    optimizer.zero_grad()
    return sum(held.values()) + saved


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="measured steps of each arm")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rank", type=int, default=8)
    args = parser.parse_args()
    tokenizer, base = load_tokenizer("base"), load_base("base")
    rows = data.load_task("questions")["train"]
    batch = next(data.batches(rows, tokenizer, args.batch, steps=1, seed=0))
    models = {name: make(copy.deepcopy(base), args.rank).train() for name, make in ARMS.items()}
    same_start(list(models.values()))
    optimizers = {
        name: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3)
        for name, m in models.items()
    }
    seconds, losses = {name: [] for name in ARMS}, {name: [] for name in ARMS}
    for turn in range(args.steps + 5):
        for name in reversed(ARMS) if turn % 2 else ARMS:
            began = time.perf_counter()
            loss = step(models[name], optimizers[name], batch)
            if turn >= 5:  # the first steps warm up
                seconds[name].append(time.perf_counter() - began)
            losses[name].append(loss)
    record = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "batch": list(batch["input_ids"].shape),
        "rank": args.rank,
        "steps": args.steps,
    }
    for name in ARMS:
        ratios = [
            mine / other for mine, other in zip(seconds["course"], seconds[name], strict=True)
        ]
        record[name] = {
            "course / this, median": round(statistics.median(ratios), 3),
            "MB": round(counted_bytes(models[name], optimizers[name], batch) / 1e6, 2),
            "largest difference of losses": max(
                abs(a - b) for a, b in zip(losses["course"], losses[name], strict=True)
            ),
        }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
