"""Two notebooks at work on two cores: what a second one costs, and what waiting threads cost.

    python benchmarks/two_notebooks.py

Each process does what chapter 05 does until its first result: the base, LoRA in every layer, 60
steps on `questions`, 100 answers. One alone, then two at once, with threads that spin while they
wait and with threads that sleep (OMP_WAIT_POLICY=PASSIVE, which `lora-course lab` sets). All
processes share two cores; seconds and ratios are of one run.
"""

import os
import subprocess
import sys
import time

WORK = """
import time; began = time.perf_counter()
from lora_course.inject import inject_lora
from lora_course.kit.data import batches, exact_match, load_task
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.train import train
task, tokenizer = load_task("questions"), load_tokenizer("base")
model = inject_lora(load_base("base"), r=8, lora_alpha=16, seed=0)
train(model, batches(task["train"], tokenizer, 16, 60, seed=0), 60, 1e-2)
score = exact_match(model, tokenizer, task["test"].select(range(100)))
print(round(time.perf_counter() - began, 1), round(100 * score))
"""


def together(count, policy, cores):
    """Seconds of each of `count` processes on these cores, and the lowest score."""
    settings = {**os.environ, "HF_HUB_OFFLINE": "1"}
    settings.pop("OMP_WAIT_POLICY", None)
    if policy:
        settings["OMP_WAIT_POLICY"] = policy
    settings["OMP_NUM_THREADS"] = str(len(cores))
    pin = (lambda: os.sched_setaffinity(0, cores)) if hasattr(os, "sched_setaffinity") else None
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORK],
            env=settings, preexec_fn=pin, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for _ in range(count)
    ]  # fmt: skip
    said = [process.communicate()[0].split() for process in running]
    if any(process.returncode for process in running):
        sys.exit("A process failed; run its code by hand to see why.")
    return [float(words[-2]) for words in said], min(int(words[-1]) for words in said)


def main():
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 1]
    cores, alone = set(there[:2]), None
    print(f"{len(cores)} cores, load {os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0:.1f}")
    print("| threads that wait | notebooks | seconds each | times one alone | exact match |")
    print("|:--|--:|--:|--:|--:|", flush=True)
    together(1, "PASSIVE", cores)  # files into the cache
    for policy in ("PASSIVE", ""):
        for count in (1, 2):
            seconds, score = together(count, policy, cores)
            alone = alone or seconds[0]
            shown = ", ".join(f"{s:.0f}" for s in seconds)
            word = "sleep" if policy else "spin"
            row = f"| {word} | {count} | {shown} | {max(seconds) / alone:.1f} | {score} % |"
            print(row, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
