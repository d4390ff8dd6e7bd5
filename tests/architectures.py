"""Architectures made on the spot: tiny, with random weights, as strangers bring them.

`python -m tests.architectures` works through the table of docs/architectures.md and writes it.
"""

import ast
import copy
import re
import sys
import tempfile
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import torch
import transformers as t
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import LoraConfig, PeftModel, get_peft_model
from transformers.pytorch_utils import Conv1D

from lora_course.adapters import load_adapter, lora_state_dict, save_adapter
from lora_course.bits.fourbit import four_bit_layers, load_four_bit
from lora_course.bridges.peft_adapters import from_peft, to_peft
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit import models
from lora_course.kit.data import answers
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.make_base import untrained
from lora_course.merge import merge

PAGE = Path(__file__).resolve().parents[1] / "docs/architectures.md"

SIZES = {"vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {**SIZES, "intermediate_size": 128}
FEW = {**WIDE, "num_key_value_heads": 1}
MOE = {**FEW, "num_experts_per_tok": 2}
GPT = {"vocab_size": 400, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 256}
KINDS = {  # name: (what is special about it, config class, its settings)
    "Llama": ("", t.LlamaConfig, FEW),
    "GPT-2": ("Conv1D, biases, tied head", t.GPT2Config, GPT),
    "Qwen2": ("biases on q, k, v", t.Qwen2Config, FEW),
    "Qwen3": ("norms inside attention", t.Qwen3Config, {**FEW, "head_dim": 32}),
    "Mistral": ("sliding window", t.MistralConfig, {**FEW, "sliding_window": 4}),
    "Gemma 2": (
        "logit softcaps, tied head, sliding window",
        t.Gemma2Config,
        {**FEW, "head_dim": 32, "sliding_window": 4},
    ),
    "Gemma 3": (
        "text only, scaled embedding, sliding window",
        t.Gemma3TextConfig,
        {**FEW, "head_dim": 32, "sliding_window": 4},
    ),
    "Phi-3": ("fused q, k, v and gate, up", t.Phi3Config, {**FEW, "pad_token_id": 0}),
    "Falcon": ("fused q, k, v for one key head", t.FalconConfig, SIZES),
    "GPT-NeoX": ("fused q, k, v, biases", t.GPTNeoXConfig, WIDE),
    "GPT-J": ("attention beside the MLP", t.GPTJConfig, {**GPT, "rotary_dim": 8}),
    "OPT": (
        "learned positions",
        t.OPTConfig,
        {**SIZES, "ffn_dim": 128, "word_embed_proj_dim": 64, "max_position_embeddings": 256},
    ),
    "BLOOM": (
        "ALiBi, fused q, k, v",
        t.BloomConfig,
        {"vocab_size": 400, "hidden_size": 64, "n_layer": 2, "n_head": 2},
    ),
    "Granite": ("scaled residuals and logits", t.GraniteConfig, FEW),
    "OLMo 2": ("norms behind the sublayers", t.Olmo2Config, WIDE),
    "Mixtral": ("experts as stacks", t.MixtralConfig, {**MOE, "num_local_experts": 4}),
    "Qwen3-MoE": (
        "experts as stacks",
        t.Qwen3MoeConfig,
        {**MOE, "head_dim": 32, "num_experts": 4, "moe_intermediate_size": 64},
    ),
    "OLMoE": ("experts as stacks", t.OlmoeConfig, {**MOE, "num_experts": 4}),
    "gpt-oss": (
        "transposed stacks, sinks, sliding window",
        t.GptOssConfig,
        {**MOE, "head_dim": 32, "num_local_experts": 4, "sliding_window": 4},
    ),
    "DeepSeek-V3": (
        "latent attention, a shared expert",
        t.DeepseekV3Config,
        {
            **MOE, "num_key_value_heads": 2, "moe_intermediate_size": 64, "n_routed_experts": 4,
            "n_group": 1, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
            "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 32,
            "first_k_dense_replace": 1,
        },
    ),
    "Qwen3-Next": (
        "linear attention, a shared expert",
        t.Qwen3NextConfig,
        {
            **MOE, "head_dim": 32, "num_experts": 4, "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 64, "linear_num_value_heads": 2,
            "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "Mamba": (
        "no attention",
        t.MambaConfig,
        {"vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 4},
    ),
    "Gemma 3 with eyes": (
        "vision and language",
        t.Gemma3Config,
        {
            "text_config": {**FEW, "head_dim": 32, "sliding_window": 4},
            "vision_config": {
                "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
                "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
            },
            "mm_tokens_per_image": 4,
        },
    ),
    "Qwen2-VL": (
        "vision and language",
        t.Qwen2VLConfig,
        {
            "text_config": FEW,
            "vision_config": {"depth": 1, "embed_dim": 64, "num_heads": 2, "hidden_size": 64},
        },
    ),
    "BERT": ("an encoder", t.BertConfig, WIDE),
    "T5": (
        "encoder and decoder",
        t.T5Config,
        {"vocab_size": 400, "d_model": 64, "num_layers": 2, "num_heads": 2, "d_kv": 32},
    ),
}  # fmt: skip
ENDS = {"bos_token_id": 1, "eos_token_id": 2}


def make(kind):
    """The model, in float32 and eval mode, the same at every call."""
    _, config, settings = KINDS[kind]
    torch.manual_seed(0)
    others = {"T5": t.AutoModelForSeq2SeqLM, "BERT": t.AutoModelForMaskedLM}
    auto = {**others, "Qwen2-VL": t.AutoModelForImageTextToText}.get(kind, t.AutoModelForCausalLM)
    return auto.from_config(config(**ENDS, **settings)).eval()


# What is done with each. Every operation is compared with something that is not the course.
IDS = torch.arange(3, 27).view(2, 12)  # (B, T)
PROMPTS = ["Where is the mill?", "Who paid 3 coins to the baker of the town, and what for?"]
CONFIG = {"r": 3, "lora_alpha": 7}


make_tokenizer = cache(lambda: untrained.make_tokenizer(size=400))


class Wrong(Exception):
    """The course gave another result than the reference."""


def same(got, want, what, rtol=1e-4):
    """Raises Wrong when two tensors are further apart than rounding."""
    off = ((got - want).norm() / want.norm()).item()
    if not off < rtol:
        raise Wrong(f"{what}: off by {off:.1%}")


@torch.no_grad()
def logits(model):
    return model.eval()(input_ids=IDS).logits


@torch.no_grad()
def trained(model):
    """The model with random factors, as if it had been trained."""
    torch.manual_seed(1)
    for p in lora_state_dict(model).values():
        p.copy_(torch.randn_like(p) * 0.1)
    return model.eval()


def load(case):
    model = load_base(case.folder)
    same(logits(model), logits(make(case.kind)), "logits")
    load_tokenizer(case.folder)


def inject(case):
    try:
        inject_lora(case.base(), seed=0)
    except ValueError as error:
        case.rule = ast.literal_eval(re.search(r"target_modules=(\[.*?\]|r'.*?')", str(error))[1])
        case.adapted()  # the layers that the sentence names
        raise
    ours = inject_lora(case.base(), seed=0)
    if not torch.equal(logits(ours), logits(case.base())):
        raise Wrong("an injection is no no-op")
    config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **CONFIG)
    theirs = get_peft_model(case.base(), config)
    if lora_layers(ours).keys() != lora_layers(theirs.get_base_model()).keys():
        raise Wrong("PEFT's all-linear hits other layers")


def step(case):
    model = inject_lora(case.base(), case.rule, **CONFIG, seed=0).train()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    torch.manual_seed(0)
    first = model(input_ids=IDS, labels=IDS).loss
    first.backward()
    still = [n for n, layer in lora_layers(model).items() if not layer.lora_B.grad.abs().max()]
    optimizer.step()
    torch.manual_seed(0)
    later = model(input_ids=IDS, labels=IDS).loss
    if still or not later < first:
        raise Wrong(f"the loss goes from {first:.3f} to {later:.3f}; no gradient in {still[:1]}")
    if not all(torch.equal(p, frozen.get(n, p)) for n, p in model.named_parameters()):
        raise Wrong("a frozen weight moved")


def save_and_load(case):
    ours = case.adapted()
    save_adapter(ours, case.folder / "adapter.safetensors")
    again = inject_lora(case.base(), case.rule, **CONFIG)
    load_adapter(again, case.folder / "adapter.safetensors")
    same(logits(again), logits(ours), "logits", 1e-7)


def into_peft(case):
    ours = case.adapted()
    to_peft(ours, case.folder / "ours")
    theirs = PeftModel.from_pretrained(case.base(), case.folder / "ours")
    same(logits(theirs), logits(ours), "logits")


def out_of_peft(case):
    torch.manual_seed(1)
    config = LoraConfig(
        target_modules=case.rule, task_type="CAUSAL_LM", init_lora_weights=False, **CONFIG
    )
    theirs = get_peft_model(case.base(), config).eval()
    theirs.save_pretrained(case.folder / "theirs")
    ours = from_peft(case.base(), case.folder / "theirs")
    same(logits(ours), logits(theirs), "logits")


def merged(case):
    ours = case.adapted()
    want = logits(ours)
    merge(ours)
    same(logits(ours), want, "merged")
    ours.save_pretrained(case.folder / "merged")
    same(logits(load_base(case.folder / "merged")), want, "merged, saved and loaded")


def four_bits(case):
    four, plain = load_four_bit(case.folder, device="cpu"), case.base()
    for name in four_bit_layers(four):
        home = plain.get_submodule(name)
        turned = isinstance(home, Conv1D)
        weight = home.weight.data.T.contiguous() if turned else home.weight.data
        packed = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
        back = dequantize_4bit(*packed)
        home.weight.data = back.T.contiguous() if turned else back
    same(logits(four), logits(plain), "logits", 1e-3)


@torch.no_grad()
def answered(case):
    """Greedy answers, several at once, against one token at a time, alone and without a cache."""
    model, tokenizer = case.base(), load_tokenizer(case.folder)
    model.generation_config.repetition_penalty = 5.0  # of a checkpoint; it must not count
    said = answers(model, tokenizer, PROMPTS, max_new_tokens=8)
    for prompt, text in zip(PROMPTS, said, strict=True):
        talk = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True)["input_ids"]
        fresh = []
        while len(fresh) < 8 and tokenizer.eos_token_id not in fresh:
            row = torch.tensor([ids + fresh])
            fresh.append(model(input_ids=row, use_cache=False).logits[0, -1].argmax().item())
        if text != tokenizer.decode(fresh, skip_special_tokens=True).strip():
            raise Wrong(f"{text!r} is not the greedy answer")


OPERATIONS = {
    "load": load,
    "inject": inject,
    "train a step": step,
    "save, load": save_and_load,
    "to PEFT": into_peft,
    "from PEFT": out_of_peft,
    "merge": merged,
    "4 bits": four_bits,
    "answers": answered,
}


class Case:
    """One architecture in a folder, with its tokenizer; `rule` is what its layers are named by."""

    def __init__(self, kind, folder):
        self.kind, self.folder, self.rule = kind, Path(folder), "all-linear"
        make_tokenizer().save_pretrained(folder)
        self.model = make(kind)
        self.model.save_pretrained(folder)

    def base(self):
        return copy.deepcopy(self.model)

    def adapted(self):
        return trained(inject_lora(self.base(), self.rule, **CONFIG))


def examine(kind):
    """{operation: (verdict, sentence)} of one architecture; sentence: why refused, or a warning."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        case = Case(kind, folder)
        for name, operation in OPERATIONS.items():
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                try:
                    operation(case)
                    said = [str(w.message) for w in heard if "4 bits" in str(w.message)]
                    found[name] = "works", (said or [""])[0]
                except (ValueError, OSError) as error:
                    found[name] = "refused", str(error)
                except Exception as error:
                    found[name] = "WRONG", f"{type(error).__name__}: {error}"
            found[name] = found[name][0], found[name][1].replace(folder, "the folder")
            if name == "load" and found[name][0] == "refused":
                return found
    return found


def page(results):
    """docs/architectures.md."""
    counts = Counter(verdict for found in results.values() for verdict, _ in found.values())
    sentences, rows = [], []
    for kind, found in results.items():
        cells = []
        for name in OPERATIONS:
            verdict, text = found.get(name, ("", ""))
            if text and text not in sentences:
                sentences.append(text)
            cells.append(f"{verdict} ({sentences.index(text) + 1})" if text else verdict or "–")
        rows.append(f"| {kind} | {KINDS[kind][0] or '–'} | " + " | ".join(cells) + " |")
    columns = ["architecture", "special", *OPERATIONS]
    return "\n".join(
        [
            HEAD.format(n=len(results), **{v: counts[v] for v in ("works", "refused", "WRONG")}),
            "| " + " | ".join(columns) + " |",
            "|" + "---|" * len(columns),
            *rows,
            "",
            *(f"{n}. {text}" for n, text in enumerate(sentences, 1)),
            "",
        ]
    )


HEAD = """<!-- Made by `python -m tests.architectures --write`; do not edit. -->
# Architectures

What the course does with other models: {n} architectures, each made on the spot with random
weights, in float32 on a CPU. Every cell was compared with an independent reference: PEFT's logits,
bitsandbytes' numbers, greedy decoding one token at a time, the model before.
**{works} work, {refused} are refused with a sentence before any work is done, {WRONG} are wrong.**

Where `inject` refuses the rule `all-linear`, the columns behind it use the layers that its sentence
names. The stacks of experts have a LoRA of their own, `lora_course.methods.experts`, which
tests/test_experts.py compares with PEFT's. A dash: not tried, as the model is not loaded.
"""


def main():
    models.quiet()
    t.utils.logging.set_verbosity_error()
    results = {kind: examine(kind) for kind in KINDS}
    text = page(results)
    if "--write" in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    print(text)
    return int("WRONG" in {v for found in results.values() for v, _ in found.values()})


if __name__ == "__main__":
    sys.exit(main())
