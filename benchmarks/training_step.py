"""One training step: full fine-tuning, PEFT, the course's layer, and its lean layer.

    python benchmarks/training_step.py                                     # the course's base, CPU
    python benchmarks/training_step.py --device cuda --dtype bfloat16 --shape Mistral-7B --batch 2
    python benchmarks/training_step.py --arms course peft loralib
    python benchmarks/training_step.py --arms lean lean:compiled peft:4bit lean:4bit

The arms, with the same base, rank, targets and batch; the same start values without --shape, with
it each library's own draw from one seed:
    full       full fine-tuning, in the base's type
    course     the course's layer
    lean       the same with forward and backward by hand
    autocast   PEFT as its users run it: float32 adapter, bfloat16 autocast, as TRL does
    peft       PEFT without autocast
    loralib    the paper's code; pip install --no-deps loralib==0.1.2
Behind an arm's name `:compiled` compiles each decoder layer, `:4bit` puts it on a base in NF4.

Without --shape the arms take turns, step by step, so that a busy machine slows all of them. A
published shape has random weights; its arms run one after the other, each in a process of its own,
and one that fails leaves its reason in the record. Times are ratios to the first arm of the run.
Peaks are what the allocator says on a GPU, and counted tensor by tensor on a CPU.
"""

import argparse
import copy
import gc
import json
import multiprocessing
import platform
import shlex
import statistics
import sys
import time
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gpu_qlora import TINY, random_model

from lora_course.bits.fourbit import load_four_bit
from lora_course.costs.memory import block_linears, saved_bytes, state_bytes
from lora_course.costs.peak import peak_bytes
from lora_course.costs.shapes import SHAPES
from lora_course.fast.lean import make_lean
from lora_course.inject import inject_lora
from lora_course.kit import data
from lora_course.kit.models import load_base, load_tokenizer, quiet

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MORE = {"tiny": TINY, "Llama-3.2-1B": ("llama", 2048, 8192, 16, 32, 8, 128256, True)}
OPTIONS = ("compiled", "4bit")
MARKS = {  # parts of the names of GPU kernels
    "attention": ("flash", "fmha", "sdpa", "attention"),
    "products": ("gemm", "nvjet", "cutlass", "splitk"),
    "optimizer": ("adam", "multi_tensor"),
}


def with_course(base, args):
    return inject_lora(base, TARGETS, args.rank, 2 * args.rank, args.dropout)


def with_lean(base, args):
    return make_lean(with_course(base, args))


def with_peft(base, args):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=args.rank, lora_alpha=2 * args.rank, lora_dropout=args.dropout, target_modules=TARGETS
    )
    return get_peft_model(base, config)


def with_loralib(base, args):
    import loralib

    for name, layer in block_linears(base).items():
        new = loralib.Linear(
            layer.in_features, layer.out_features, r=args.rank, lora_alpha=2 * args.rank,
            lora_dropout=args.dropout, bias=False, merge_weights=False,
        )  # fmt: skip
        new.weight.data.copy_(layer.weight.data)
        base.set_submodule(name, new)
    loralib.mark_only_lora_as_trainable(base)
    return base


ARMS = {
    "full": lambda base, args: base,
    "course": with_course,
    "lean": with_lean,
    "autocast": with_peft,
    "peft": with_peft,
    "loralib": with_loralib,
}


def arm_name(text):
    """An arm with its options, checked: lean:4bit:compiled."""
    name, *options = text.split(":")
    if name not in ARMS or not set(options) <= set(OPTIONS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no arm. Give one of {', '.join(ARMS)}, and behind it :compiled or :4bit."
        )
    if "4bit" in options and name in ("full", "loralib"):
        raise argparse.ArgumentTypeError(f"{name} does not run on a base in 4 bits.")
    return text


class Arm:
    """A model, its optimizer and its step; seconds and losses of the steps that were timed."""

    def __init__(self, text, base, batch, args):
        name, *self.options = text.split(":")
        torch.manual_seed(0)  # every library draws its A from the same stream
        self.model, self.batch, self.device = ARMS[name](base, args), batch, args.device
        self.model = self.model if "4bit" in self.options else self.model.to(self.device)
        self.model.train()
        self.seconds, self.losses, self.first = [], [], None
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=self.device == "cuda")
        auto = name == "autocast"
        self.context = lambda: (
            torch.autocast(self.device, torch.bfloat16) if auto else nullcontext()
        )
        if "compiled" in self.options:
            stack = max(
                (m for m in self.model.modules() if isinstance(m, torch.nn.ModuleList)), key=len
            )
            for layer in stack:
                layer.compile()

    def loss(self):
        with self.context():
            return self.model(**self.batch, use_cache=False).loss

    def step(self):
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def timed(self, count):
        if self.device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        loss = self.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        self.first = self.first or seconds
        if count:
            self.seconds.append(seconds)
        self.losses.append(loss.item())

    def sizes(self):
        """The peak of a step, and of it: states between steps, and what forward keeps."""
        compiled, sizes = "compiled" in self.options, {}
        gc.collect()  # a graph in a circle of references would count
        if not compiled or self.device == "cuda":
            sizes["peak"] = peak_bytes(self.step, self.model, self.optimizer)
        self.loss().backward()
        self.look_at_gradients()
        sizes["states"] = sum(state_bytes(self.model, self.optimizer).values())
        self.optimizer.zero_grad()
        if not compiled:  # what a compiled layer keeps is not seen from outside
            known = [*self.model.parameters(), *self.model.buffers(), *self.batch.values()]
            sizes["saved for backward"] = saved_bytes(self.loss, known)
        return {f"{word}, MB": round(size / 1e6, 2) for word, size in sizes.items()}

    def busy(self):
        """Where a step's time goes on a GPU: ms in which it works, in all and by kind of kernel."""
        with torch.profiler.profile() as profiler:
            self.step()
            torch.cuda.synchronize()
        kinds = dict.fromkeys((*MARKS, "the rest"), 0.0)
        for kernel in profiler.key_averages():
            if kernel.device_type == torch.autograd.DeviceType.CUDA:
                words = kernel.key.lower()
                hits = [kind for kind, marks in MARKS.items() if any(m in words for m in marks)]
                kinds[(*hits, "the rest")[0]] += kernel.self_device_time_total / 1e3
        return {"busy, ms": round(sum(kinds.values()), 1)} | {
            f"{kind}, ms": round(value, 1) for kind, value in kinds.items()
        }

    def look_at_gradients(self):
        """RuntimeError when something that should train has no gradient: such a step is no step."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        idle = sum(p.grad is None or not p.grad.any() for p in trained)
        if idle:
            raise RuntimeError(f"{idle} of {len(trained)} trained tensors get no gradient")

    def record(self):
        seconds = statistics.median(self.seconds)
        return {
            "steps": [round(1e3 * s, 2) for s in self.seconds],
            "ms": round(1e3 * seconds, 2),
            "tokens per second": round(self.batch["input_ids"].numel() / seconds),
            "first step, s": round(self.first, 2),
            **self.sizes(),
            **(self.busy() if self.device == "cuda" else {}),
            "last loss": round(self.losses[-1], 4),
        }


def same_start(models):
    """Copies the factors of the first model into the others, layer by layer."""
    first, *others = ([p for n, p in m.named_parameters() if "lora_" in n] for m in models)
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            assert mine.shape == theirs.shape, (mine.shape, theirs.shape)
            theirs.data.copy_(mine.data)


def know_shapes(shape=None, layers=None):
    """Add the shapes that only this benchmark has; give one of them another number of layers."""
    SHAPES.update({name: fields for name, fields in MORE.items() if name not in SHAPES})
    if shape and layers:
        SHAPES[shape] = (*SHAPES[shape][:3], layers, *SHAPES[shape][4:])


def one_of_shape(text, args):
    """The record of one arm at a published shape."""
    know_shapes(args.shape, args.layers)
    four = "4bit" in text.split(":")
    base = random_model(args.shape, four, args.device)
    base = base if four else base.to(getattr(torch, args.dtype))
    torch.manual_seed(1)
    vocabulary = SHAPES[args.shape][6]
    ids = torch.randint(0, vocabulary, (args.batch, args.tokens), device=args.device)
    arm = Arm(text, base, {"input_ids": ids, "labels": ids}, args)
    for turn in range(args.steps + args.warm_up):
        arm.timed(turn >= args.warm_up)
    return arm.record()


def child(text, args, pipe):
    """What a process of its own does: send the record of an arm, or why there is none."""
    quiet()
    try:
        pipe.send(one_of_shape(text, args))
    except BaseException as error:
        pipe.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})


def of_shape(args):
    """(name, record) of every arm of a published shape, each from a process of its own."""
    processes = multiprocessing.get_context("spawn")  # a fork may not use the GPU

    def start(text):
        pipe, end = processes.Pipe()
        process = processes.Process(target=child, args=(text, args, end))
        process.start()
        end.close()
        return process, pipe

    for text in args.arms:  # a process that waits and imports would disturb the measured one
        process, pipe = start(text)
        made = {"error": f"no answer within {args.limit} s"}
        try:
            if pipe.poll(args.limit):
                made = pipe.recv()
        except (EOFError, OSError):
            process.join(10)
            made = {"error": f"its process ended with status {process.exitcode}"}
        process.join(10)
        process.kill()
        process.join()
        yield text, made


def of_base(args):
    """(name, record) of every arm of the course's base; they take turns."""
    dtype, tokenizer = getattr(torch, args.dtype), load_tokenizer("base")
    base, four = load_base("base").to(dtype), None
    if any("4bit" in text for text in args.arms):
        four = load_four_bit("base", dtype, device=args.device)
    if dtype != torch.float32 and args.device == "cpu":
        base.set_attn_implementation("eager")  # the fused kernel in 16 bits needs AVX-512
    rows = data.load_task("questions")["train"]
    batch = next(data.batches(rows, tokenizer, args.batch, steps=1, seed=0))
    batch = {key: value.to(args.device) for key, value in batch.items()}
    arms = {
        text: Arm(text, copy.deepcopy(four if "4bit" in text else base), batch, args)
        for text in args.arms
    }
    same_start([arm.model for text, arm in arms.items() if not text.startswith("full")])
    for turn in range(args.steps + args.warm_up):
        for text in reversed(args.arms) if turn % 2 else args.arms:
            arms[text].timed(turn >= args.warm_up)
    for text, arm in arms.items():
        yield text, arm.record()


def main(arguments=None):
    know_shapes()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, help="a published shape; default: course's base")
    parser.add_argument("--layers", type=int, help="so many decoder layers, instead of the shape's")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS)[:5], type=arm_name, metavar="ARM")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each arm")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before them")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a text, with --shape")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--limit", type=int, default=150, help="seconds that an arm may take")
    parser.add_argument("--out", type=Path, help="file for the record, besides the screen")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; leave --device out for a try on the CPU.")
    quiet()
    given = sys.argv[1:] if arguments is None else arguments
    packages = ("torch", "transformers", "peft", "bitsandbytes")
    settings = ("shape", "layers", "dtype", "batch", "tokens", "rank", "dropout", "steps")
    record = {
        "device": platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "command": shlex.join(["python", "benchmarks/training_step.py", *map(str, given)]),
        **{key: getattr(args, key) for key in settings},
        "arms": {},
    }
    arms, began = record["arms"], time.perf_counter()
    for text, made in (of_shape if args.shape else of_base)(args):
        twin = arms.get(text.removesuffix(":compiled"), {}).get("last loss")
        if twin and abs(made.get("last loss", twin) - twin) > 0.1:
            made["error"] = f"its last loss is not that of the same arm without compiling, {twin}"
        arms[text] = made
        first = arms[args.arms[0]].get("steps")
        if first and "steps" in made:  # step by step: where arms take turns, each with its pair
            ratios = [a / b for a, b in zip(made["steps"], first, strict=True)]
            made[f"time / {args.arms[0]}"] = round(statistics.median(ratios), 3)
        shown = json.dumps({key: value for key, value in made.items() if key != "steps"})
        print(f"{time.perf_counter() - began:6.0f} s  {text}: {shown}", flush=True)
        if args.device == "cuda":
            record["device"] = torch.cuda.get_device_name()
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


if __name__ == "__main__":
    main()
