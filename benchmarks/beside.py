"""Chapter 13's race: LoRA and the methods beside, before and around, each at four learning rates.

python benchmarks/beside.py [chapters/results/13/rates.json]

Every run is small (the base of the course, a few hundred short rows), every result is written as
soon as it is there, and a run that is in the file already is not made again. First one seed at
every rate, and at further ones while the best lies at an end of the grid; then two more seeds at
the rate with the lowest loss on the validation rows.
"""

import copy
import json
import os
import platform
import sys
from pathlib import Path

import torch

from lora_course.bridges.shipping import measure
from lora_course.inject import count_parameters, inject_lora
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.methods.bottleneck import inject_bottlenecks
from lora_course.methods.hybrid import hybrid_groups, inject_hybrid
from lora_course.methods.ia3 import inject_ia3
from lora_course.methods.prefix import PrefixTuning
from lora_course.methods.prompt import PromptTuning
from lora_course.train import train

STEPS = {"style": (60, 8), "questions": (100, 8), "hard": (150, 16)}  # steps, rows of a batch
LADDER = (1e-4, 3e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
LOW, HIGH = LADDER[3:7], LADDER[5:9]
RATES = {
    "LoRA": LOW, "bottleneck": LOW, "IA3": HIGH,
    "prompt": HIGH, "prefix": HIGH, "LoRA + prompt": LOW,
}  # fmt: skip


def draw(seed, p=20):
    """p token ids drawn at random, special ones left out."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(10, len(tokenizer), (p,), generator=generator)


MAKERS = {
    "LoRA": lambda model, seed: inject_lora(model, r=4, seed=seed),
    "bottleneck": lambda model, seed: inject_bottlenecks(model, m=20, seed=seed),
    "IA3": lambda model, seed: inject_ia3(model),
    "prompt": lambda model, seed: PromptTuning(model, draw(seed)),
    "prefix": lambda model, seed: PrefixTuning(model, draw(seed)),
    "LoRA + prompt": lambda model, seed: inject_hybrid(model, draw(seed), r=4, seed=seed),
}


def run(method, task, lr, seed):
    """Train once; exact match and loss on validation and test rows."""
    model, rows = MAKERS[method](copy.deepcopy(base), seed), tasks[task]
    steps, size = STEPS[task]
    made = batches(rows["train"], tokenizer, size, steps, seed=seed)
    found = {"method": method, "task": task, "lr": lr, "seed": seed}
    found |= {"steps": steps, "batch": size, "numbers": count_parameters(model)[0]}
    try:
        train(model, made, steps, lr, groups=hybrid_groups(model, lr))
    except FloatingPointError:
        return found | {"loss": None, "exact": 0.0, "test": 0.0}
    exact, loss, _ = measure(model, tokenizer, rows["validation"].select(range(100)))
    test = measure(model, tokenizer, rows["test"].select(range(200)))[0]
    rounded = {"loss": round(loss, 4), "exact": round(exact, 4), "test": round(test, 4)}
    return found | rounded


def plan():
    """(method, task, rate, seed) in the order in which they are run; asks for what is known."""
    for task in STEPS:
        for method, rates in RATES.items():
            yield from ((method, task, lr, 0) for lr in rates)
    for task in STEPS:
        for method, rates in RATES.items():
            while (lr := best(method, task)) in (min(rates), max(rates)):
                further = LADDER[LADDER.index(lr) + (1 if lr == max(rates) else -1)]
                rates = (*rates, further)
                yield method, task, further, 0
    for seed in (1, 2):
        for task in STEPS:
            for method in RATES:
                yield method, task, best(method, task), seed


def best(method, task):
    mine = [r for r in record["runs"] if (r["method"], r["task"], r["seed"]) == (method, task, 0)]
    return min((r for r in mine if r["loss"] is not None), key=lambda r: r["loss"])["lr"]


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "chapters/results/13/rates.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    base, tokenizer = load_base("base"), load_tokenizer("base")
    tasks = {task: load_task(task) for task in STEPS}
    device = f"CPU ({platform.machine()}), torch {torch.__version__}"
    record = {"device": device, "command": "python benchmarks/beside.py", "runs": []}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
    for method, task, lr, seed in plan():
        key = [method, task, lr, seed]
        if key in [[r["method"], r["task"], r["lr"], r["seed"]] for r in record["runs"]]:
            continue
        record["runs"].append(run(*key))
        print(record["runs"][-1], flush=True)
        lines = ",\n".join(json.dumps(r) for r in record["runs"])
        head = json.dumps({k: v for k, v in record.items() if k != "runs"})[1:-1]
        path.write_text(f'{{{head}, "runs": [\n{lines}\n]}}\n', encoding="utf-8")
