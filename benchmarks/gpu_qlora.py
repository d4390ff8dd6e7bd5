"""Peak memory and speed of full fine-tuning, LoRA and QLoRA at published shapes, on a real GPU.

    python benchmarks/gpu_qlora.py                       # Llama-3.1-8B, six runs, one record
    python benchmarks/gpu_qlora.py --shape Mistral-7B --tokens 2048 --methods lora qlora
    python benchmarks/gpu_qlora.py --shape tiny --device cpu --out .   # a try without a GPU

The models have random weights, so nothing is downloaded: bytes and time depend on shapes alone.
Every tensor is made on the device by itself, and a matrix that goes into 4 bits is quantized at
once, so that the 16-bit model never lies in memory as a whole. Training is in bfloat16 with
PEFT's float32 adapter, AdamW, and one random text after another. `--prepare` runs PEFT's
prepare_model_for_kbit_training before QLoRA.

Writes chapters/results/gpu_qlora_SHAPE_DEVICE.json: device, versions, command, and for each run the
bytes that lora_course.costs predicts beside those measured.
"""

import argparse
import gc
import json
import platform
import re
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

from lora_course.bits.fourbit import bytes_by_part, keep_packing
from lora_course.costs.gpu_records import predict, predicted_peak
from lora_course.costs.memory import GB, block_linears, state_bytes
from lora_course.costs.peak import peak_bytes
from lora_course.costs.shapes import SHAPES, meta_model
from lora_course.kit.models import quiet

RESULTS = Path(__file__).resolve().parent.parent / "chapters" / "results"
METHODS = ("full", "lora", "qlora")
TINY = ("llama", 128, 256, 2, 4, 2, 1024, False)  # same fields as in SHAPES


def skeleton(shape):
    """The model of that shape on the meta device, with attention that keeps no scores."""
    model = meta_model(shape)
    model.set_attn_implementation("sdpa")
    return model


def random_model(shape, four_bit, device):
    """The model of that shape in bfloat16 with random weights, its linear layers in NF4 if asked.

    At no time is there more 16-bit weight on the device than stays there, plus one matrix.
    """
    model = skeleton(shape)
    torch.manual_seed(0)
    if four_bit:
        for name, layer in block_linears(model).items():
            model.set_submodule(name, random_four_bit(layer, device))
        model.is_loaded_in_4bit = True
        keep_packing(model)
    made = {}  # a tied tensor is made once
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if p.is_meta and id(p) not in made:
                value = torch.empty(p.shape, dtype=p.dtype, device=device)
                value = torch.nn.init.ones_(value) if p.ndim == 1 else value.normal_(0, 0.02)
                made[id(p)] = torch.nn.Parameter(value)
            if p.is_meta:
                setattr(module, name, made[id(p)])
    for name, module in list(model.named_modules()):
        if hasattr(module, "inv_freq"):  # rotary embeddings compute their buffer when made
            with torch.device(device):
                model.set_submodule(name, type(module)(config=module.config))
    return model


def random_four_bit(layer, device):
    """A Linear4bit of random weights for an nn.Linear on the meta device."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    bias = layer.bias is not None
    made = Linear4bit(
        layer.in_features,
        layer.out_features,
        bias,
        torch.bfloat16,
        quant_type="nf4",
        device="meta",
    )
    value = torch.empty(layer.weight.shape, dtype=torch.bfloat16, device=device).normal_(0, 0.02)
    made.weight = Params4bit(value, requires_grad=False, quant_type="nf4", module=made).to(device)
    if bias:
        made.bias = torch.nn.Parameter(torch.zeros_like(layer.bias, device=device))
    return made


def for_training(model, method, checkpointing, rank, prepare=False):
    """Put the adapter in, and switch checkpointing on; returns the model."""
    if prepare and method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if method != "full":
        config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
    if checkpointing:
        inner = model if method == "full" else model.get_base_model()
        old = "gradient_checkpointing_enable"  # its name before transformers 5.23
        enable = getattr(inner, "activation_checkpointing_enable", None) or getattr(inner, old)
        enable({"use_reentrant": False})
    return model.train()


def step_of(model, optimizer, batch, tokens, vocabulary, device):
    """A training step on a random text, as a function without arguments."""

    def step():
        if optimizer:
            optimizer.zero_grad()
        ids = torch.randint(0, vocabulary, (batch, tokens), device=device)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        if optimizer:
            optimizer.step()

    return step


def run(shape, method, checkpointing, batch, tokens, rank, steps, device, prepare=False):
    """One run: build, train `steps` steps, measure. Returns what goes into the record."""
    made = {
        "shape": shape, "method": method, "checkpointing": checkpointing, "batch": batch,
        "tokens": tokens, "rank": rank, "prepare": prepare and method == "qlora", "steps": steps,
        "measured": None, "peak": None, "tokens_per_second": None,
    }  # fmt: skip
    made["predicted"] = predict(made)
    try:
        model = random_model(shape, method == "qlora", device)
        model = for_training(model, method, checkpointing, rank, prepare)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
        step = step_of(model, optimizer, batch, tokens, SHAPES[shape][6], device)
        step()  # makes the optimizer's states
        missing = sum(p.grad is None for p in trained)
        assert not missing, f"{missing} of {len(trained)} trained tensors have no gradient"
        made["measured"] = state_bytes(model, optimizer)
        made["measured"]["weights"] += bytes_by_part(model)["constants"]
        made["peak"] = peak_bytes(step, model, optimizer)
        began = time.perf_counter()
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
            made["reserved"] = torch.cuda.max_memory_reserved()
        made["tokens_per_second"] = batch * tokens * steps / (time.perf_counter() - began)
    except torch.OutOfMemoryError as error:
        made["error"] = str(error).splitlines()[0][:200]
    model = optimizer = step = trained = None
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return made


def machine(device):
    """The name of the device, and its memory in bytes."""
    if device == "cuda":
        found = torch.cuda.get_device_properties(0)
        return {"device": found.name, "device_bytes": found.total_memory}
    return {"device": f"CPU ({platform.machine()})", "device_bytes": None}


def line(made):
    """A run as a line to read."""
    predicted = predicted_peak(made) / GB
    what = f"{made['method']:6} checkpointing {made['checkpointing']!s:5}"
    if made["peak"] is None:
        return f"{what} out of memory, predicted {predicted:.3g} GB"
    peak = made["peak"] / GB
    speed = f"{made['tokens_per_second']:,.0f} tokens/s"
    return f"{what} peak {peak:.3g} GB, predicted {predicted:.3g} ({predicted / peak:.0%}), {speed}"


def main(arguments=None):
    SHAPES.setdefault("tiny", TINY)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="Llama-3.1-8B", choices=SHAPES)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--checkpointing", default="both", choices=("both", "on", "off"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each run")
    parser.add_argument("--prepare", action="store_true", help="float32 rest before QLoRA")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here. A try without one: --shape tiny --device cpu --out .")
    quiet()
    packages = ("torch", "transformers", "peft", "bitsandbytes")
    given = sys.argv[1:] if arguments is None else arguments
    record = {
        **machine(args.device),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "cuda": torch.version.cuda,
        "command": shlex.join(["python", "benchmarks/gpu_qlora.py", *map(str, given)]),
        "runs": [],
    }
    ways = {"both": (True, False), "on": (True,), "off": (False,)}[args.checkpointing]
    args.out.mkdir(parents=True, exist_ok=True)
    words = f"{args.shape}_{record['device']}{'_prepared' if args.prepare else ''}"
    path = args.out / f"gpu_qlora_{re.sub(r'[^A-Za-z0-9.]+', '_', words).strip('_')}.json"
    for method in args.methods:
        for checkpointing in ways:
            made = run(
                args.shape, method, checkpointing, args.batch, args.tokens, args.rank, args.steps,
                args.device, args.prepare,
            )  # fmt: skip
            print(line(made), flush=True)
            record["runs"].append(made)
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    main()
