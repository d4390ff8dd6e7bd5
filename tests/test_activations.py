"""activations.py against what autograd keeps and against counted peaks; a GPU: test_gpu_records."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from lora_course.costs.activations import activation_bytes, logit_bytes, peak_of
from lora_course.costs.memory import adapter_parameters, block_linears, saved_bytes
from lora_course.costs.peak import peak_bytes
from lora_course.costs.shapes import meta_model
from lora_course.kit.models import load_base
from lora_course.lora import LoRALinear


def adapted(model, arm, dropout=0.0):
    """The model with no adapter ("full"), or the course's or PEFT's of rank 16 on all layers."""
    if arm == "course":
        for name, layer in block_linears(model.requires_grad_(False)).items():
            model.set_submodule(name, LoRALinear(layer, r=16, lora_dropout=dropout))
    elif arm == "peft":
        config = LoraConfig(r=16, target_modules="all-linear", lora_dropout=dropout)
        with torch.device(next(model.parameters()).device):
            model = get_peft_model(model, config).base_model.model
    return model.train()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("arm", "dropout"),
    [("full", 0), ("course", 0), ("course", 0.1), ("peft", 0), ("peft", 0.1)],
)
@pytest.mark.parametrize("shape", ["Llama-2-7B", "Llama-3.1-8B"])
def test_the_rule_for_a_llama_block(shape, arm, dropout, dtype):
    """What autograd keeps, less the attention scores, the last norm, the copies of A and B."""
    tokens, layers, width = 512, 2, dtype.itemsize
    model = meta_model(shape).to(dtype)
    del model.model.layers[layers:]
    factors = adapter_parameters(model, 16)
    model = adapted(model, arm, dropout)
    config, hidden = model.config, model.config.hidden_size
    text = torch.zeros(1, tokens, hidden, dtype=dtype, device="meta", requires_grad=True)
    mask = torch.zeros(1, 1, tokens, tokens, dtype=dtype, device="meta")
    inputs = {"inputs_embeds": text, "attention_mask": mask, "use_cache": False}
    counted = saved_bytes(lambda: model.model(**inputs)[0], model.parameters())
    scores = layers * config.num_attention_heads * tokens**2 * (4 + (2 if width == 2 else 0))
    norm = tokens * hidden * (4 + (width if arm == "full" else 0))
    copy = {"full": None, "course": 0, "peft": 4 if width == 2 else 0}[arm]
    own = copy or dropout  # then eager attention, unlike the fused kernel, keeps no output
    output = layers * tokens * hidden * width if own else 0
    casts = 2 * factors if arm == "course" and width == 2 else 0
    predicted = activation_bytes(
        1,
        tokens,
        hidden,
        layers,
        config.intermediate_size,
        copy_bytes=copy,
        mask_bytes=(copy or width) if dropout else 0,  # no fused dropout on the meta device
        number_bytes=width,
    )
    assert predicted == pytest.approx(counted - scores - norm + output - casts, rel=0.005)


def test_peft_under_autocast_keeps_16_bit_copies():
    """As its users run it, on the CPU: between the course's layer and PEFT's without autocast."""
    base = load_base("base").bfloat16()
    base.set_attn_implementation("eager")  # the fused kernel in bfloat16 needs AVX-512 on a CPU
    c, factors = base.config, 2 * adapter_parameters(base, 16)  # bytes of A and B in 16 bits
    course, peft = adapted(copy.deepcopy(base), "course"), adapted(base, "peft")
    text = torch.arange(64)[None]

    def saved(model):
        def step():
            return model(input_ids=text, labels=text, use_cache=False).loss

        return saved_bytes(step, [*model.parameters(), text])

    def blocks(copy_bytes):
        size = (1, 64, c.hidden_size, c.num_hidden_layers, c.intermediate_size)
        return activation_bytes(*size, copy_bytes=copy_bytes)

    mine, plain = saved(course), saved(peft)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = saved(peft)
    assert mine < inside < plain
    # float32 copies become 16-bit ones, and so do r numbers a token; but A and B are cast and kept
    rank = 2 * 16 * 7 * 64 * c.num_hidden_layers
    assert plain - inside == pytest.approx(blocks(4) - blocks(2) + rank - factors, rel=0.05)


def predicted_peak(model, batch, tokens, checkpointing=False, copy_bytes=None):
    """`peak_of` the parts of a step without an optimizer, on a Llama in any type."""
    c, width = model.config, next(model.parameters()).element_size()

    def saved(layers, checkpointing):
        return activation_bytes(
            batch, tokens, c.hidden_size, layers, c.intermediate_size, checkpointing, copy_bytes,
            number_bytes=width,
        )  # fmt: skip

    parts = {
        "weights": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.nbytes for p in model.parameters() if p.requires_grad),
        "optimizer": 0,
        "activations": saved(c.num_hidden_layers, checkpointing),
        "logits": logit_bytes(batch, tokens, c.vocab_size),
    }
    return peak_of(parts, saved(1, False) if checkpointing else 0)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("arm", ["full", "course", "peft"])
@pytest.mark.parametrize("batch, tokens, vocabulary", [(8, 64, 4000), (1, 256, 32_000)])
def test_a_predicted_peak_is_the_counted_one(batch, tokens, vocabulary, arm, checkpointing):
    """Where activations, gradients or logits decide; bfloat16 on the meta device."""
    config = LlamaConfig(
        hidden_size=1024, intermediate_size=2816, num_hidden_layers=4, vocab_size=vocabulary,
        num_attention_heads=4, num_key_value_heads=4, attn_implementation="eager",
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = adapted(model, arm)
    if checkpointing:
        model.activation_checkpointing_enable()
    ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, tokens, tokens, dtype=torch.bfloat16, device="meta")
    inputs = dict(input_ids=ids, labels=ids, attention_mask=mask, use_cache=False)
    counted = peak_bytes(lambda: model(**inputs).loss.backward(), model)
    copy_bytes = {"full": None, "course": 0, "peft": 4}[arm]
    predicted = predicted_peak(model, batch, tokens, checkpointing, copy_bytes)
    weights = sum(p.nbytes for p in model.parameters())
    print(f"{arm} {checkpointing} {counted / 1e6:.0f} MB, {predicted / counted:.3f}", end=" ")
    print(f"{(predicted - weights) / (counted - weights):.3f}")
    assert predicted == pytest.approx(counted, rel=0.10)


@pytest.mark.parametrize("arm, copy_bytes", [("full", None), ("course", 0), ("peft", 0)])
def test_a_predicted_peak_on_the_shipped_model(arm, copy_bytes):
    """float32 on the CPU, with the fused attention that runs there."""
    model = load_base("base")
    model.set_attn_implementation("sdpa")
    model = adapted(model, arm)
    ids = torch.arange(16 * 64).view(16, 64) % model.config.vocab_size
    step = lambda: model(input_ids=ids, labels=ids, use_cache=False).loss.backward()  # noqa: E731
    counted = peak_bytes(step, model)
    predicted = predicted_peak(model, 16, 64, copy_bytes=copy_bytes)
    print(f"{arm} {counted / 1e6:.0f} MB, {predicted / counted:.3f}")
    assert predicted == pytest.approx(counted, rel=0.10)
