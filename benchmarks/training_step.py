"""One training step of the course's LoRA beside full fine-tuning and PEFT.

    python benchmarks/training_step.py                                     # the course's base, CPU
    python benchmarks/training_step.py --device cuda --dtype bfloat16 --shape Mistral-7B --batch 2
    python benchmarks/training_step.py --arms course peft loralib

The arms, with the same base, rank, targets, start values and batch:
    full       full fine-tuning, in the base's type
    course     the course's layer
    autocast   PEFT as its users run it: float32 adapter, bfloat16 autocast, as TRL does
    peft       PEFT without autocast
    loralib    the paper's code; pip install --no-deps loralib==0.1.2

Without --shape the arms take turns, step by step, so that a busy machine slows all of them; a
published shape has random weights, and its arms come one after the other, as memory allows one.
Times are ratios to the first arm of the same run. Peaks are what the allocator says on a GPU, and
counted tensor by tensor on a CPU.
"""

import argparse
import copy
import gc
import json
import platform
import statistics
import time
from contextlib import nullcontext

import torch

from lora_course.costs.memory import block_linears, saved_bytes, state_bytes
from lora_course.costs.peak import peak_bytes
from lora_course.costs.shapes import SHAPES, meta_model
from lora_course.inject import inject_lora
from lora_course.kit import data
from lora_course.kit.models import load_base, load_tokenizer, quiet

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TINY = ("llama", 128, 256, 2, 4, 2, 1024, False)  # for a try; same fields as in SHAPES


def with_course(base, r):
    return inject_lora(base, TARGETS, r=r, lora_alpha=2 * r)


def with_peft(base, r):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(base, LoraConfig(r=r, lora_alpha=2 * r, target_modules=TARGETS))


def with_loralib(base, r):
    import loralib

    for name, layer in block_linears(base).items():
        new = loralib.Linear(
            layer.in_features, layer.out_features, r=r, lora_alpha=2 * r, bias=False,
            merge_weights=False,
        )  # fmt: skip
        new.weight.data.copy_(layer.weight.data)
        base.set_submodule(name, new)
    loralib.mark_only_lora_as_trainable(base)
    return base


ARMS = {
    "full": lambda base, r: base,
    "course": with_course,
    "autocast": with_peft,
    "peft": with_peft,
    "loralib": with_loralib,
}


def random_base(shape, dtype, device):
    """The model of that shape with random weights; SDPA attention, which keeps no scores."""
    model = meta_model(shape).to(dtype).to_empty(device=device)
    model.set_attn_implementation("sdpa")
    torch.manual_seed(0)
    for p in model.parameters():
        torch.nn.init.ones_(p) if p.ndim == 1 else torch.nn.init.normal_(p, 0, 0.02)
    for name, module in list(model.named_modules()):
        if hasattr(module, "inv_freq"):  # rotary embeddings compute their buffer when made
            with torch.device(device):
                model.set_submodule(name, type(module)(config=module.config))
    return model


class Arm:
    """A model, its optimizer and its step; seconds and losses of the steps that were timed."""

    def __init__(self, name, base, batch, r, device):
        torch.manual_seed(0)  # every library draws its A from the same stream
        self.model, self.batch = ARMS[name](base, r).to(device).train(), batch
        self.device, self.seconds, self.losses = device, [], []
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device == "cuda")
        inside = name == "autocast"
        self.context = lambda: torch.autocast(device, torch.bfloat16) if inside else nullcontext()

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
        if count:
            self.seconds.append(time.perf_counter() - began)
        self.losses.append(loss.item())

    def bytes(self):
        """The peak of a step, and of it: states between steps, and what forward keeps."""
        known = [*self.model.parameters(), *self.model.buffers(), *self.batch.values()]
        saved = saved_bytes(self.loss, known)
        self.loss().backward()
        states = sum(state_bytes(self.model, self.optimizer).values())
        self.optimizer.zero_grad()
        peak = peak_bytes(self.step, self.model, self.optimizer)
        sizes = {"peak": peak, "states": states, "saved for backward": saved}
        return {f"{word}, MB": round(size / 1e6, 2) for word, size in sizes.items()}


def same_start(models):
    """Copies the factors of the first model into the others, layer by layer."""
    first, *others = ([p for n, p in m.named_parameters() if "lora_" in n] for m in models)
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            assert mine.shape == theirs.shape, (mine.shape, theirs.shape)
            theirs.data.copy_(mine.data)


def of_shape(args, dtype):
    """Every arm of a published shape, one after the other: {name: (arm without model, bytes)}."""
    made, vocabulary = {}, SHAPES[args.shape][6]
    for name in args.arms:
        base = random_base(args.shape, dtype, args.device)
        torch.manual_seed(1)
        ids = torch.randint(0, vocabulary, (args.batch, args.tokens), device=args.device)
        arm = Arm(name, base, {"input_ids": ids, "labels": ids}, args.rank, args.device)
        for turn in range(args.steps + args.warm_up):
            arm.timed(turn >= args.warm_up)
        made[name] = arm, arm.bytes()
        base = arm.model = arm.optimizer = None
        gc.collect()
        if args.device == "cuda":
            torch.cuda.empty_cache()
    return made


def of_base(args, dtype):
    """Every arm of the course's base, taking turns."""
    base, tokenizer = load_base("base").to(dtype), load_tokenizer("base")
    if dtype != torch.float32 and args.device == "cpu":
        base.set_attn_implementation("eager")  # the fused kernel in 16 bits needs AVX-512
    rows = data.load_task("questions")["train"]
    batch = next(data.batches(rows, tokenizer, args.batch, steps=1, seed=0))
    batch = {key: value.to(args.device) for key, value in batch.items()}
    arms = {n: Arm(n, copy.deepcopy(base), batch, args.rank, args.device) for n in args.arms}
    same_start([arm.model for name, arm in arms.items() if name != "full"])
    for turn in range(args.steps + args.warm_up):
        for name in reversed(args.arms) if turn % 2 else args.arms:
            arms[name].timed(turn >= args.warm_up)
    return {name: (arm, arm.bytes()) for name, arm in arms.items()}


def main(arguments=None):
    SHAPES.setdefault("tiny", TINY)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, help="a published shape; default: course's base")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS)[:4], choices=ARMS)
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each arm")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before them")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a text, with --shape")
    parser.add_argument("--rank", type=int, default=16)
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; leave --device out for a try on the CPU.")
    quiet()
    made = (of_shape if args.shape else of_base)(args, getattr(torch, args.dtype))
    gpu = args.device == "cuda"
    record = {
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if gpu else platform.machine(),
        "threads": torch.get_num_threads(),
        **{key: getattr(args, key) for key in ("shape", "dtype", "batch", "rank", "steps")},
        "tokens": next(iter(made.values()))[0].batch["input_ids"].shape[1],
    }
    first = made[args.arms[0]][0]
    for name, (arm, sizes) in made.items():
        pairs = zip(arm.seconds, first.seconds, strict=True)
        record[name] = {
            "ms": round(1e3 * statistics.median(arm.seconds), 1),
            f"time / {args.arms[0]}": round(statistics.median(a / b for a, b in pairs), 3),
            **sizes,
            "last loss": round(arm.losses[-1], 4),
        }
    print(json.dumps(record, indent=1))
    return record


if __name__ == "__main__":
    main()
