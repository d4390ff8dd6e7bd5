"""What this machine has, one question per function; asked by the doctor.

Heavy packages are imported inside the question that needs them, since any of them may be missing.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from lora_course.learner import pins

OLDEST = (3, 11)
NEEDED = ("torch", "transformers", "datasets", "numpy", "matplotlib", "jupyterlab", "ipywidgets")
GIB = 2**30


class Line(NamedTuple):
    """One answer. state: "ok", "warning", or "problem" (the course cannot start)."""

    state: str
    text: str
    advice: str = ""


def short(failure):
    """Return an exception as one line of at most 120 characters."""
    text = re.sub(r"\s+", " ", f"{type(failure).__name__}: {failure}")
    return text if len(text) <= 120 else text[:117] + "..."


def python():
    version = ".".join(str(n) for n in sys.version_info[:3])
    if sys.version_info[:2] < OLDEST:
        advice = "Install Python 3.11 or newer and set the course up again with it."
        return Line("problem", f"Python {version} is too old", advice)
    return Line("ok", f"Python {version}")


def packages():
    advice = "In the folder of the course: python -m pip install -r requirements.txt"
    if gone := [name for name in NEEDED if not pins.installed(name)]:
        return Line("problem", f"packages missing: {', '.join(gone)}", advice)
    if odd := pins.differences():
        rest = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        return Line("warning", f"packages: {', '.join(odd[:5])}{rest}", advice)
    return Line("ok", f"{len(pins.wanted())} packages as tested, torch {pins.installed('torch')}")


def cpu():
    import torch

    usable = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    text = f"CPU: {cores} core{'s' * (cores > 1)}, {torch.backends.cpu.get_cpu_capability()}"
    if cores < 2:
        return Line("warning", text, "Works; the minutes in the chapters are for two cores.")
    return Line("ok", text)


def memory():
    import psutil

    state = psutil.virtual_memory()
    text = f"memory: {state.available / GIB:.1f} of {state.total / GIB:.1f} GiB free"
    if state.available < 3 * GIB:
        return Line("warning", text, "A chapter wants about 2 GiB: close other programs first.")
    return Line("ok", text)


def gpu():
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        text = f"GPU: {card.name}, {card.total_memory / GIB:.0f} GiB"
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Line("ok", f"{text}, bf16")
        return Line("warning", f"{text}, no bf16", "Use float16 where a chapter says bfloat16.")
    if shutil.which("nvidia-smi"):
        advice = "Fine for this course. To use the GPU, install torch from https://pytorch.org."
        return Line("warning", "GPU: there is one, but this torch cannot use it", advice)
    if torch.backends.mps.is_available():
        return Line("ok", "GPU: Apple (MPS); the course runs on the CPU")
    return Line("ok", "GPU: none, and none is needed")


def bitsandbytes():
    import torch

    advice = "Only the chapters on quantization use it: python -m pip install bitsandbytes"
    try:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        back = dequantize_4bit(*quantize_4bit(weight, quant_type="nf4"))
        error = float((back - weight).norm() / weight.norm())
    except Exception as failure:
        return Line("warning", f"bitsandbytes: {short(failure)}", advice)
    if not error < 0.2:
        return Line(
            "warning", f"bitsandbytes: NF4 there and back has an error of {error:.0%}", advice
        )
    return Line("ok", f"bitsandbytes: NF4 there and back on the CPU, error {error:.0%}")


def disk():
    free = shutil.disk_usage(Path.cwd()).free
    if free < 2 * GIB:
        return Line(
            "warning", f"disk: {free / GIB:.1f} GiB free", "Make room: 2 GiB are comfortable."
        )
    return Line("ok", f"disk: {free / GIB:.0f} GiB free")


def hub():
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Line("ok", "hub: not asked, HF_HUB_OFFLINE is set; the course does not need it")
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urlopen(Request(address, method="HEAD"), timeout=3).close()
    except HTTPError:
        pass  # it did answer
    except Exception:
        chosen = os.environ.get("LORA_COURSE_MODEL", "")
        if chosen not in ("", "base") and not Path(chosen).expanduser().exists():
            advice = f"LORA_COURSE_MODEL={chosen} must already be in the cache, or be a folder."
            return Line("warning", "hub: no answer", advice)
        return Line("ok", "hub: no answer; the course does not need it")
    return Line("ok", "hub: answers")


def base_model():
    from lora_course.kit import models

    advice = "Get it back: git checkout -- lora_course/base, or clone the course again."
    names = ("config.json", "model.safetensors", "tokenizer.json")
    if gone := [name for name in names if not (models.BASE / name).is_file()]:
        return Line("problem", f"base model: {', '.join(gone)} missing in {models.BASE}", advice)
    try:
        model, tokenizer = models.load_base("base"), models.load_tokenizer("base")
    except Exception as failure:
        return Line("problem", f"base model: does not load, {short(failure)}", advice)
    count = sum(p.numel() for p in model.parameters())
    return Line("ok", f"base model: {count / 1e6:.1f} M parameters, {len(tokenizer)} tokens")
