"""Makes the base model again: `python -m lora_course.pretrain` (within an hour on two cores).

A Llama of about 1.2 million parameters learns next-token prediction on documents of
`lora_course.stories`. Most of the first documents are lists that are read back: on them the
model learns to copy, which it did not in 1,000 steps of the ordinary mixture.
A checkpoint is written every few hundred steps; the same command
continues after it was stopped.
"""

import argparse
import json
import math
import os
import random
import shutil
import time
from pathlib import Path

import torch
from tqdm import tqdm

from lora_course import stories
from lora_course.newborn import make_model, make_tokenizer, probe


def make_batches(tokenizer, seed, count, size, lists=0.0):
    """`count` batches of `size` documents of like length: input_ids and labels, both (B, T).

    lists: share of lists read back on top of the usual ones (see `stories.documents`).
    """
    texts = stories.documents(seed, count * size, lists)
    rows = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]  # fmt: skip
    rows.sort(key=len)
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    random.Random(seed).shuffle(groups)
    for group in groups:
        ids = torch.full((size, len(group[-1])), tokenizer.pad_token_id)
        for i, row in enumerate(group):
            ids[i, : len(row)] = torch.tensor(row)
        yield ids, ids.masked_fill(ids == tokenizer.pad_token_id, -100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "base")
    parser.add_argument("--work", type=Path, default=Path(".pretrain"), help="checkpoints go here")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--lists", type=int, default=700, help="first steps, mostly lists to copy")
    parser.add_argument("--batch", type=int, default=64, help="documents per step")
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = make_tokenizer()
    model = make_model(tokenizer).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.05
    )
    warm = max(1, args.steps // 30)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (
            min(1.0, (s + 1) / warm)
            * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, s / args.steps))))
        ),
    )
    plan = [args.steps, args.lists, args.batch, args.lr]
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint, log = args.work / "checkpoint.pt", []
    step, chunk = 0, 100
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        if saved["plan"] != plan:
            raise SystemExit(
                f"{checkpoint} belongs to a run with steps, lists, batch, lr = {saved['plan']}; "
                f"this run has {plan}. Give the same values, or another --work."
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, log = saved["step"], saved["log"]
    bar = tqdm(total=args.steps, initial=step, unit="step")
    while step < args.steps:
        began, total = time.perf_counter(), 0.0
        model.train()
        lists = 0.75 if step < args.lists else 0.0
        for ids, labels in make_batches(tokenizer, 1 + step // chunk, chunk, args.batch, lists):
            loss = model(input_ids=ids.to(device), labels=labels.to(device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item()
            step += 1
            bar.update()
        model.eval()
        row = {
            "step": step,
            "loss": round(total / chunk, 4),
            **probe(model.cpu(), tokenizer, count=25),
        }
        row["seconds"] = round(time.perf_counter() - began, 1)
        model.to(device)
        log.append(row)
        bar.write(json.dumps(row))
        state = {
            "plan": plan,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "step": step,
            "log": log,
        }
        torch.save(state, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)
    bar.close()
    save(model, tokenizer, args.out, log)


def save(model, tokenizer, out, log):
    """Writes model, tokenizer and training log to `out`, each file whole or not at all."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training_log.json").write_text(json.dumps(log, indent=0) + "\n")
    out.mkdir(exist_ok=True)
    for file in sorted(fresh.iterdir()):
        os.replace(file, out / file.name)
    fresh.rmdir()


if __name__ == "__main__":
    main()
