"""When does full fine-tuning learn more and forget more than LoRA? A search over data and steps.

    python benchmarks/forgetting.py

writes chapters/results/forgetting.json, which chapter 15 shows beside what it measures itself.
Every run is a learning rate of full fine-tuning or of one rank; all rates of a family run at once.
Each is measured several times on its way: loss on what is new, loss on unseen documents of the
first town, share of right look-ups there.
"""

import argparse
import copy
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch
import transformers

from lora_course.fast.many import losses, many, train_many
from lora_course.inject import inject_lora
from lora_course.kit import data, pages
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.kit.town import probes, second, stories

OUT = Path(__file__).resolve().parents[1] / "chapters/results/forgetting.json"
FULL = [0.0005, 0.001, 0.002, 0.004]
LORA = [0.001, 0.002, 0.004, 0.008]
ALL = {"full": None, "r = 1": 1, "r = 4": 4, "r = 16": 16, "r = 64": 64}
THREE = {"full": None, "r = 4": 4, "r = 64": 64}


def shares(model, batch, runs):
    """Share of the asked tokens that each run predicts, (K,)."""
    inputs = {key: batch[key].repeat(runs, 1) for key in ("input_ids", "attention_mask")}
    best = model(**inputs).logits[:, :-1].argmax(-1)
    labels = batch["labels"][:, 1:].repeat(runs, 1)
    told = labels != -100
    return (best == labels)[told].view(runs, -1).float().mean(1)


def cases(tokenizer):
    """{regime: (families, steps, measurements, batches, unseen)}."""
    town = second.draw_pages(0, 2000)
    unseen = pages.read(tokenizer, second.draw_pages(1, 24, besides=town))

    def stream(rows, steps):
        return [pages.read(tokenizer, b) for b in pages.shuffled(rows, 4, steps, 0)]

    def task(name, size, steps):
        rows = data.load_task(name)
        test = next(data.batches(rows["validation"], tokenizer, 50, 1, seed=0))
        return list(data.batches(rows["train"], tokenizer, size, steps, seed=0)), test

    return {
        "code": (ALL, 120, 6, *task("hard", 32, 120)),
        "style": (THREE, 60, 6, *task("style", 4, 60)),
        "few pages": (THREE, 200, 5, stream(town[:24], 200), unseen),
    }


def run(base, rank, rates, case, kept, quiz, seed):
    """{rate: [[step, new loss, kept loss, look-ups], ...]} of one family."""
    _, steps, count, batches, unseen = case
    torch.manual_seed(seed)
    model = copy.deepcopy(base)
    if rank:
        inject_lora(model, r=rank, lora_alpha=32, seed=seed)
    model, lines = many(model, len(rates)), {rate: [] for rate in rates}

    @torch.no_grad()
    def look(step, grads=None):
        if (step + 1) % (steps // count):
            return
        found = [f(model, b, len(rates)).tolist() for f, b in ((losses, unseen), (losses, kept))]
        found.append(shares(model, quiz, len(rates)).tolist())
        for rate, row in zip(rates, zip(*found, strict=True), strict=True):
            lines[rate].append([step + 1, *(round(value, 4) for value in row)])

    train_many(model, batches, steps, rates, after=look)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="part of a regime's name")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    quiet()
    base, tokenizer = load_base("base"), load_tokenizer("base")
    kept = pages.read(tokenizer, stories.documents(probes.HELD_OUT, 24))
    rows = probes.lookups(10, facts=2)
    quiz = pages.ask(tokenizer, [text for _, text, _ in rows], [word for *_, word in rows])
    record = json.loads(OUT.read_text()) if OUT.exists() else {"regimes": {}}
    record |= {
        "command": "python benchmarks/forgetting.py",
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)",
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__},
    }  # fmt: skip
    with torch.no_grad():
        before = [losses(base, kept, 1).item(), shares(base, quiz, 1).item()]
    record["before"] = {"kept": round(before[0], 4), "look-ups": round(before[1], 4)}
    for name, case in cases(tokenizer).items():
        if chosen.only and chosen.only not in name:
            continue
        regime = record["regimes"].setdefault(name, {})
        for family, rank in case[0].items():
            began = time.process_time()
            rates = (LORA if rank else FULL)[int(name == "code") :][:3]  # the code wants the higher
            lines = run(base, rank, rates, case, kept, quiz, chosen.seed)
            regime[family] = {str(rate): rows for rate, rows in lines.items()}
            print(name, family, f"{time.process_time() - began:.0f} CPU s", file=sys.stderr)
            for rate, rows in lines.items():
                print("  ", rate, *rows, file=sys.stderr)
            OUT.parent.mkdir(exist_ok=True)
            part = OUT.with_suffix(".new")
            part.write_text(json.dumps(record, indent=1) + "\n")
            os.replace(part, OUT)


if __name__ == "__main__":
    main()
