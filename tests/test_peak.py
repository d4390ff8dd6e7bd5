import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from lora_course.bits import fourbit
from lora_course.costs import memory
from lora_course.costs.peak import PeakBytes, held_by, peak_bytes, peak_of
from lora_course.kit.models import load_base
from lora_course.lora import LoRALinear


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_lives_is_counted_and_what_is_freed_is_not(device):
    x = torch.ones(1000, device=device)  # 4,000 bytes
    with PeakBytes([x]) as meter:
        y = x + 1
        assert meter.live == meter.peak == 8000
        view = y.view(10, 100).T  # no storage of its own
        del y
        assert meter.live == 8000
        del view
        assert (meter.live, meter.peak) == (4000, 8000)
        x.add_(1)
        assert meter.live == 4000
        z = torch.empty(500, device=device)
        assert (meter.live, meter.peak) == (6000, 8000)
    del z


def test_what_backward_needs_lives_until_backward():
    w = torch.ones(1000, requires_grad=True)
    with PeakBytes([w]) as meter:
        loss = (w * 2).exp().sum()
        held = meter.live
        assert held >= 4000 + 4000 + 4  # the result of exp, and the sum
        loss.backward()
        del loss
        assert meter.live == 8000  # w and its gradient
    assert meter.peak > held


def step_of(model, optimizer=None, tokens=64):
    ids = torch.arange(tokens)[None] + 5

    def step():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        if optimizer:
            optimizer.step()

    return step


def test_peak_of_a_training_step():
    """Two ways to one number: what lies there between steps, plus what is saved for backward."""
    model = load_base("base").train()
    optimizer = torch.optim.AdamW(model.parameters())
    step_of(model, optimizer)()
    between = sum(memory.state_bytes(model, optimizer).values())
    buffers = sum(b.nbytes for b in model.buffers())
    counted = sum(t.nbytes for t in held_by(model, optimizer) if t.ndim)
    assert between <= counted <= between + buffers
    ids = torch.arange(64)[None] + 5
    saved = memory.saved_bytes(
        lambda: model(input_ids=ids, labels=ids, use_cache=False).loss, [*model.parameters(), ids]
    )
    peak = peak_bytes(step_of(model), model, optimizer)  # without the optimizer's temporaries
    assert between + saved < peak < between + 1.5 * saved + buffers


def predicted_peak(model, batch, tokens, checkpointing=False, copy_bytes=None):
    """`peak_of` the parts of a step without an optimizer, on a Llama in any type."""
    c, width = model.config, next(model.parameters()).element_size()

    def saved(layers, checkpointing):
        return memory.activation_bytes(
            batch, tokens, c.hidden_size, layers, c.intermediate_size, checkpointing, copy_bytes,
            number_bytes=width,
        )  # fmt: skip

    parts = {
        "weights": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.nbytes for p in model.parameters() if p.requires_grad),
        "optimizer": 0,
        "activations": saved(c.num_hidden_layers, checkpointing),
        "logits": memory.logit_bytes(batch, tokens, c.vocab_size),
    }
    return peak_of(parts, saved(1, False) if checkpointing else 0)


def with_adapter(model, arm):
    """The same model with no adapter ("full"), the course's, or PEFT's in float32, of rank 8."""
    if arm == "course":
        for name, layer in memory.block_linears(model.requires_grad_(False)).items():
            model.set_submodule(name, LoRALinear(layer, r=8))
    elif arm == "peft":
        config = LoraConfig(r=8, target_modules="all-linear")
        with torch.device(next(model.parameters()).device):
            model = get_peft_model(model, config).base_model.model
    return model.train()


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
    model = with_adapter(model, arm)
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
    model = with_adapter(model, arm)
    ids = torch.arange(16 * 64).view(16, 64) % model.config.vocab_size
    step = lambda: model(input_ids=ids, labels=ids, use_cache=False).loss.backward()  # noqa: E731
    counted = peak_bytes(step, model)
    predicted = predicted_peak(model, 16, 64, copy_bytes=copy_bytes)
    print(f"{arm} {counted / 1e6:.0f} MB, {predicted / counted:.3f}")
    assert predicted == pytest.approx(counted, rel=0.10)


def test_constants_of_a_4_bit_model_are_held():
    model = fourbit.load_four_bit("base", device="cpu")
    parts = fourbit.bytes_by_part(model)
    assert sum(t.nbytes for t in held_by(model)) >= sum(parts.values())
    held = sum(parts.values()) + sum(b.nbytes for b in model.buffers())
    shared = 1024 * len(fourbit.four_bit_layers(model))  # one table of 256 float32 for all of them
    with torch.no_grad():
        peak = peak_bytes(lambda: model(torch.arange(64)[None]), model)
    assert peak > held - shared


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_and_the_count_agree():
    model = load_base("base").cuda()
    ids = torch.arange(200, device="cuda")[None]

    def step():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    step()
    with PeakBytes(held_by(model)) as meter:
        step()
    assert 0.8 < meter.peak / peak_bytes(step, model) < 1.2
