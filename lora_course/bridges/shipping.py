"""From a trained adapter to a folder that others can use: measure, merge, look, time, serve."""

import json
import subprocess
import sys
import time

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.bits.fourbit import four_bit_layers, load_four_bit
from lora_course.bridges.proof import check_rows
from lora_course.kit.data import batches, chat_prompt
from lora_course.kit.models import load_base
from lora_course.plumbing.talk_facts import answer_of, greedy

# owned by chapter 12
STRANGER = """
import json, sys
sys.modules["lora_course"] = sys.modules["peft"] = None  # an import of them fails
from transformers import AutoModelForCausalLM, AutoTokenizer

def answer(folder, prompt):
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    talk, how = [{"role": "user", "content": prompt}], {"return_tensors": "pt"}
    inputs = tokenizer.apply_chat_template(talk, add_generation_prompt=True, **how)
    out = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    fresh = out[0, inputs["input_ids"].shape[1]:]
    return tokenizer.decode(fresh, skip_special_tokens=True).strip()

for folder in sys.argv[2:]:
    try:
        print(json.dumps(answer(folder, sys.argv[1])))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {str(error)[:50]} ..."))
"""


def stranger(prompt, folders):
    """What a fresh process without PEFT and this course answers from each folder, or its error."""
    command = [sys.executable, "-c", STRANGER, prompt, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


# owned by chapter 12
@torch.no_grad()
def measure(model, tokenizer, rows):
    """(exact match, loss in nats per token, logits) of the right answers, in one forward pass.

    Greedy decoding gives the right answer exactly when, after each right beginning, the right
    token is the likeliest. rows: with prompt and completion. logits: (answer tokens, vocabulary).
    """
    batch = next(batches(rows, tokenizer, len(rows), steps=1, seed=0))
    labels = batch.pop("labels")[:, 1:]  # (B, T - 1)
    logits = model(**batch).logits  # (B, T, vocabulary); p more places with a trained prompt
    logits = logits[:, -1 - labels.shape[1] : -1].float()  # (B, T - 1, vocabulary)
    asked = labels != -100
    right = ((logits.argmax(-1) == labels) | ~asked).all(1).float().mean()
    loss = nn.functional.cross_entropy(logits[asked], labels[asked])
    return right.item(), loss.item(), logits[asked]


# owned by chapter 12
def updates(model, name):
    """What an adapter of a PEFT model adds to each weight, {place in the base: tensor}."""
    layers = {n: m for n, m in model.named_modules() if name in getattr(m, "lora_A", {})}
    added = {n: layer.get_delta_weight(name).detach() for n, layer in layers.items()}
    return {n.removeprefix("base_model.model."): delta for n, delta in added.items()}


def distance(got, wanted):
    """How far a tensor, or a dict of them, is from the wanted one, as a share of its size."""
    if not isinstance(wanted, dict):
        got, wanted = {"": got}, {"": wanted}
    off = sum((got[n].float() - wanted[n].float()).square().sum() for n in wanted)
    return (off / sum(t.float().square().sum() for t in wanted.values())).sqrt().item()


# owned by chapter 12
def dequantize_bnb_weight(weight):
    """The numbers that a 4-bit weight of bitsandbytes stands for, (out, in) in float32."""
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state).float()


# owned by chapter 12
def dequantized(name=None):
    """The base as QLoRA saw it: its 4-bit weights, written out in float32. name: see load_base."""
    model = load_base(name)
    for place, layer in four_bit_layers(load_four_bit(name, device="cpu")).items():
        home, value = model.get_submodule(place), dequantize_bnb_weight(layer.weight)
        home.weight.data.copy_(value.T if isinstance(home, Conv1D) else value)
    return model


@torch.no_grad()
def fastest(models, ids, turns=30):
    """Seconds of the fastest forward pass of each model, {name: seconds}. ids: (B, T).

    They take turns, so that whatever slows the machine slows all of them.
    """
    seconds = dict.fromkeys(models, float("inf"))
    for _ in range(turns):
        for name, model in models.items():
            start = time.perf_counter()
            model(input_ids=ids)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


# owned by chapter 12
def serve(model, tokenizer, requests, max_new_tokens=24):
    """Greedy answers to requests of several customers in one batch.

    requests: list of (adapter, prompt); the adapter "__base__" means none.
    Raises ValueError for a model in which PEFT cannot tell whose row is whose.
    """
    check_rows(model.eval())
    whose, prompts = zip(*requests, strict=True)
    batch = tokenizer(
        [chat_prompt(tokenizer, prompt) for prompt in prompts], add_special_tokens=False,
        padding=True, padding_side="left", return_tensors="pt", return_token_type_ids=False,
    )  # fmt: skip
    with greedy(model, tokenizer, max_new_tokens) as settings:
        out = model.generate(**batch, adapter_names=list(whose), generation_config=settings)
    fresh = out[:, batch["input_ids"].shape[1] :].tolist()  # (B, new)
    return [answer_of(tokenizer, ids) for ids in fresh]
