"""Makes the vision model again: `python -m lora_course.make_eye.train_eye`.

A vision transformer of about 0.2 million parameters (Dosovitskiy et al. 2020, arXiv 2010.11929)
learns to name what is in a picture of the town. It is asked twice: the first token for all labels
of the picture, and the tokens of each quarter for what is there. The second head is thrown away;
without it the patches would not have to say what they show.
A checkpoint is written every 200 steps; the same command continues after it was stopped.
"""

import argparse
import json
import math
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from lora_course.kit.town import pictures
from lora_course.plumbing.files import put_all, replacing


def make_eye():
    """The untrained model: 4 layers of width 64, patches of 4 x 4, a logit for each label."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=pictures.SIZE, patch_size=4, hidden_size=64, num_hidden_layers=4,
        num_attention_heads=4, intermediate_size=256, initializer_range=0.05,
        problem_type="multi_label_classification", id2label=dict(enumerate(pictures.LABELS)),
        label2id={label: i for i, label in enumerate(pictures.LABELS)},
    )  # fmt: skip
    return ViTForImageClassification(config)


def quarters(states):
    """The mean of the 16 patches in each quarter. states: (B, 65, d). Returns (B, 4, d)."""
    return states[:, 1:].unflatten(1, (2, 4, 2, 4)).mean((2, 4)).flatten(1, 2)


def eye_loss(eye, head, batch):
    """All losses: of the labels of the picture, and of thing and place in each quarter."""
    states = eye.vit(pixel_values=batch["pixel_values"]).last_hidden_state
    logits = eye.classifier(states[:, 0])  # (B, labels)
    seen = cross(logits, batch["labels"], True)
    said = head(quarters(states)).flatten(0, 1)  # (4 B, pairs + 1 + places)
    thing, place = said.split([said.shape[1] - len(pictures.PLACES), len(pictures.PLACES)], dim=1)
    return 10 * seen + cross(thing, batch["pairs"]) + cross(place, batch["places"])


def cross(logits, wanted, several=False):
    """Mean cross-entropy; several: of yes and no for every label, else of one class of many."""
    if several:
        return nn.functional.binary_cross_entropy_with_logits(logits, wanted)
    return nn.functional.cross_entropy(logits, wanted.flatten())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "eye")
    parser.add_argument("--work", type=Path, default=Path(".train_eye"), help="checkpoints go here")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=64, help="pictures per step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--every", type=int, default=200, help="steps from checkpoint to checkpoint"
    )
    args = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    eye = make_eye().to(device)
    head = nn.Linear(64, len(pictures.PAIRS) + 1 + len(pictures.PLACES)).to(device)
    both = nn.ModuleList([eye, head])
    optimizer = torch.optim.AdamW(both.parameters(), args.lr, weight_decay=0.05)
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint, step, log = args.work / "checkpoint.pt", 0, []
    plan = [args.steps, args.batch, args.lr, args.every]
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        if saved["plan"] != plan:
            raise SystemExit(
                f"{checkpoint} belongs to a run with steps, batch, lr, every = {saved['plan']}; "
                f"this run has {plan}. Give the same values, or another --work."
            )
        both.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, log = saved["step"], saved["log"]
    bar = tqdm(total=args.steps, initial=step, unit="step")
    while step < args.steps:
        began, total, chunk = time.perf_counter(), 0.0, min(args.every, args.steps - step)
        rng, noise = random.Random(f"eye {step}"), np.random.default_rng(step)
        eye.train()
        for _ in range(chunk):
            batch = pictures.batch(pictures.scenes(rng, "train", args.batch), noise)
            rate = min(1, (step + 1) / 100) * (1 + math.cos(math.pi * step / args.steps)) / 2
            optimizer.param_groups[0]["lr"] = args.lr * rate
            loss = eye_loss(eye, head, {key: value.to(device) for key, value in batch.items()})
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
            step += 1
            bar.update()
        row = {"step": step, "loss": round(total / chunk, 4)}
        row["all labels right"] = round(skill(eye.eval(), "validation", 200), 3)
        row["seconds"] = round(time.perf_counter() - began, 1)
        log.append(row)
        bar.write(json.dumps(row))
        state = {"plan": plan, "model": both.state_dict(), "optimizer": optimizer.state_dict()}
        with replacing(checkpoint) as draft:
            torch.save(state | {"step": step, "log": log}, draft)
    bar.close()
    save_eye(eye, args.out, log)


@torch.no_grad()
def skill(eye, split, count):
    """The share of `count` pictures of which every label is right."""
    drawn = pictures.scenes(random.Random(split), split, count)
    batch = pictures.batch(drawn, np.random.default_rng(0))
    logits = eye(pixel_values=batch["pixel_values"].to(eye.device)).logits.cpu()
    return ((logits > 0) == batch["labels"].bool()).all(1).float().mean().item()


def save_eye(eye, out, log):
    """Writes the model, its image processor and the log to `out`, each file whole or not at all."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    eye.save_pretrained(fresh)
    side = {"height": pictures.SIZE, "width": pictures.SIZE}
    ViTImageProcessorPil(size=side).save_pretrained(fresh)
    (fresh / "training_log.json").write_text(json.dumps(log, indent=0) + "\n")
    put_all(fresh, out)


if __name__ == "__main__":
    main()
