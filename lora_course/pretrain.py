"""Makes the base model again: `python -m lora_course.pretrain` (within an hour on two cores).

A Llama of about 1.2 million parameters learns next-token prediction: first on
`lora_course.drills`, where it learns to look back, then on the stories of `lora_course.stories`.
A checkpoint is written every 100 steps; the same command continues after it was stopped.
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
from lora_course.drills import drill
from lora_course.newborn import make_model, make_tokenizer, probe


def make_batches(tokenizer, seed, count, size, drilled=0.0):
    """`count` batches of `size` documents of like length: input_ids and labels, both (B, T).

    drilled: share of drills among the documents; their labels are -100 but where they are graded.
    """
    rng = random.Random(seed)
    texts, spans = zip(
        *(drill(rng) if rng.random() < drilled else (stories.document(rng), None)
          for _ in range(count * size)), strict=True,
    )  # fmt: skip
    coded = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    rows = []
    for ids, places, graded in zip(coded["input_ids"], coded["offset_mapping"], spans, strict=True):
        ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        labels = ids
        if graded:
            kept = [any(a < end and b > start for start, end in graded) for a, b in places]
            labels = [i if k else -100 for i, k in zip(ids, [False, *kept, False], strict=True)]
        rows.append((ids, labels))
    rows.sort(key=lambda row: len(row[0]))
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    rng.shuffle(groups)
    for group in groups:
        ids = torch.full((size, len(group[-1][0])), tokenizer.pad_token_id)
        labels = torch.full_like(ids, -100)
        for i, (row, wanted) in enumerate(group):
            ids[i, : len(row)] = torch.tensor(row)
            labels[i, : len(row)] = torch.tensor(wanted)
        yield ids, labels


def learning_rate(step, drills, steps):
    """Share of the peak: up in 100 steps, level through the drills, then down along a cosine."""
    left = min(1.0, max(0, step - drills) / max(1, steps - drills))
    return min(1.0, (step + 1) / 100) * (0.05 + 0.95 * (1 + math.cos(math.pi * left)) / 2)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "base")
    parser.add_argument("--work", type=Path, default=Path(".pretrain"), help="checkpoints go here")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--drills", type=int, default=500, help="first steps, drills only")
    parser.add_argument("--batch", type=int, default=64, help="documents per step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--every", type=int, default=100, help="steps from checkpoint to checkpoint"
    )
    args = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = make_tokenizer()
    model = make_model(tokenizer).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(step, args.drills, args.steps)
    )
    plan = [args.steps, args.drills, args.batch, args.lr, args.every]
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint, log = args.work / "checkpoint.pt", []
    step, chunk = 0, args.every
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        if saved["plan"] != plan:
            raise SystemExit(
                f"{checkpoint} belongs to a run with steps, drills, batch, lr, every = "
                f"{saved['plan']}; this run has {plan}. Give the same values, or another --work."
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, log = saved["step"], saved["log"]
    bar = tqdm(total=args.steps, initial=step, unit="step")
    while step < args.steps:
        began, total = time.perf_counter(), 0.0
        model.train()
        drilled = 1.0 if step < args.drills else 0.15
        for ids, labels in make_batches(tokenizer, 1 + step // chunk, chunk, args.batch, drilled):
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
        row = {"step": step, "loss": round(total / chunk, 4)}
        row |= probe(model.cpu(), tokenizer, count=25)
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
        file.chmod(0o644)
        os.replace(file, out / file.name)
    fresh.rmdir()


if __name__ == "__main__":
    main()
