"""Makes the base model again: `python -m lora_course.make_base.pretrain`.

Within an hour on two cores. A Llama of about 1.2 million parameters learns next-token prediction:
first on `drills`, where it learns to look back, then on the stories of the town with a drill now
and then.
A checkpoint is written every 100 steps; the same command continues after it was stopped.
"""

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import torch
from tqdm import tqdm

from lora_course.kit.town.probes import probe
from lora_course.make_base.curriculum import curriculum, make_batches
from lora_course.make_base.muon import Muon
from lora_course.make_base.untrained import make_model, make_tokenizer
from lora_course.plumbing.files import put_all, replacing


def loss_of(model, ids, labels):
    """Mean cross-entropy over the labels; the output layer runs on graded tokens only."""
    states, wanted = model.model(input_ids=ids).last_hidden_state[:, :-1], labels[:, 1:]
    graded = wanted != -100
    return torch.nn.functional.cross_entropy(model.lm_head(states[graded]), wanted[graded])


def optimizers(model, lr):
    """Muon for the matrices of the blocks, AdamW for embedding and norms.

    With AdamW for all of them, looking up among several people does not form in 1,500 steps.
    """
    blocks = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = set(model.parameters()) - set(blocks)
    rest = [p for p in model.parameters() if p in rest]  # in a fixed order
    return (
        Muon(blocks, lr=2 * lr, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    )


def lr_factor(step, drills, steps):
    """Share of the peak: up in 100 steps, level through the drills, then down along a cosine."""
    left = min(1.0, max(0, step - drills) / max(1, steps - drills))
    return min(1.0, (step + 1) / 100) * (0.05 + 0.95 * (1 + math.cos(math.pi * left)) / 2)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "base")
    parser.add_argument("--work", type=Path, default=Path(".pretrain"), help="checkpoints go here")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--drills", type=int, default=1200, help="first steps, drills only")
    parser.add_argument("--batch", type=int, default=64, help="documents per step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--every", type=int, default=100, help="steps from checkpoint to checkpoint"
    )
    args = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = make_tokenizer()
    model = make_model(tokenizer).to(device)
    both = optimizers(model, args.lr)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(step, args.drills, args.steps)
        )
        for optimizer in both
    ]
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
        for part, state in zip((*both, *schedules), saved["optimizers"], strict=True):
            part.load_state_dict(state)
        step, log = saved["step"], saved["log"]
    bar = tqdm(total=args.steps, initial=step, unit="step")
    while step < args.steps:
        began, total = time.perf_counter(), 0.0
        model.train()
        mix = curriculum(step, args.drills)
        for ids, labels in make_batches(tokenizer, 1 + step // chunk, chunk, args.batch, mix):
            loss = loss_of(model, ids.to(device), labels.to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for part in (*both, *schedules):
                part.step()
            model.zero_grad()
            total += loss.item()
            step += 1
            bar.update()
        model.eval()
        row = {"step": step, "loss": round(total / chunk, 4)}
        for people in (1, 2):
            row[f"people {people}"] = probe(model.cpu(), tokenizer, count=25, facts=people)
        row["seconds"] = round(time.perf_counter() - began, 1)
        model.to(device)
        log.append(row)
        bar.write(json.dumps(row))
        state = {
            "plan": plan,
            "model": model.state_dict(),
            "optimizers": [part.state_dict() for part in (*both, *schedules)],
            "step": step,
            "log": log,
        }
        with replacing(checkpoint) as draft:
            torch.save(state, draft)
    bar.close()
    save_model(model, tokenizer, args.out, log)


def save_model(model, tokenizer, out, log):
    """Writes model, tokenizer and training log to `out`, each file whole or not at all."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training_log.json").write_text(json.dumps(log, indent=0) + "\n")
    put_all(fresh, out)


if __name__ == "__main__":
    main()
