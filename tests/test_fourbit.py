import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_course.bits import fourbit
from lora_course.costs import memory
from lora_course.kit.models import BASE, load_base
from lora_course.make_base import untrained
from tests.test_models import random_model

bnb = pytest.importorskip("bitsandbytes")
INPUT = torch.arange(40)[None] + 5  # (1, T)


WIDE = {"gpt2": {"n_embd": 64}, "qwen3": {"hidden_size": 64, "head_dim": 32}}


def folder_of(kind, folder, **sizes):
    """A model with random weights, biases and norms included."""
    tokenizer = untrained.make_tokenizer(size=400)
    tokenizer.save_pretrained(folder)
    config = random_model(kind, len(tokenizer)).config
    config.update(sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p, mean=1.0, std=0.1)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["base", "gpt2", "qwen3"])
def source(request, tmp_path_factory):
    """The course's model, and two of other makes with random weights."""
    if request.param == "base":
        return "base"
    folder = tmp_path_factory.mktemp(request.param)
    return folder_of(request.param, folder, **WIDE[request.param])


def with_lora(model, **settings):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    common = {"target_modules": "all-linear", "task_type": "CAUSAL_LM", "init_lora_weights": False}
    return get_peft_model(model, LoraConfig(r=3, lora_alpha=7, **common, **settings))


def gradients(model):
    """Of every factor, after one training step's backward."""
    model.train()
    model.zero_grad()
    torch.manual_seed(1)  # a GPT-2 drops inputs
    model(input_ids=INPUT, labels=INPUT).loss.backward()
    model.eval()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.slow
def test_what_is_loaded(source):
    model, plain = fourbit.load_four_bit(source), load_base(source)
    layers = fourbit.four_bit_layers(model)
    assert not model.training and model.is_loaded_in_4bit
    assert model.get_output_embeddings() not in layers.values()
    assert layers.keys() == linear(plain).keys() and layers
    for layer in layers.values():
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested, state.blocksize) == ("nf4", True, 64)
        assert layer.compute_dtype == torch.float32 and not layer.weight.requires_grad
        assert layer.support_avx512bf16_for_cpu is False


def linear(model):
    """Every Linear and Conv1D but the head."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    kinds = (torch.nn.Linear, Conv1D)
    return {n: m for n, m in model.named_modules() if isinstance(m, kinds) and m is not head}


def test_the_output_is_that_of_the_dequantized_weights(source):
    """Reference: the float model, every weight rounded by bitsandbytes' own functions."""
    plain = load_base(source)
    for name, layer in linear(plain).items():
        turned = type(layer).__name__ == "Conv1D"
        weight = layer.weight.data.T.contiguous() if turned else layer.weight.data
        packed, state = bnb.functional.quantize_4bit(
            weight, blocksize=64, quant_type="nf4", compress_statistics=True
        )
        back = bnb.functional.dequantize_4bit(packed, state)
        assert 0.01 < (back - weight).norm() / weight.norm() < 0.2, name
        layer.weight.data = back.T.contiguous() if turned else back
    with torch.no_grad():
        want, got = plain(INPUT).logits, fourbit.load_four_bit(source)(INPUT).logits
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


def test_the_same_with_and_without_the_instruction(source, monkeypatch):
    """FACTS D51: whatever bitsandbytes finds, an eval() forward changes neither gradient nor
    weight, and both machines give the same bits."""
    seen = []
    for there in (True, False):
        monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda value=there: value)
        model = with_lora(fourbit.load_four_bit(source))
        before = gradients(model)
        bytes_before = packed(model)
        with torch.no_grad():
            logits = model(INPUT).logits  # the forward that would repack
        after = gradients(model)
        assert all(torch.equal(before[n], after[n]) for n in before)
        assert all(map(torch.equal, bytes_before, packed(model)))
        assert min(g.abs().max() for n, g in after.items() if "lora_" in n) > 0
        merged = model.merge_and_unload()
        assert all(m.support_avx512bf16_for_cpu is False for m in layers(merged))
        seen.append([logits, *after.values(), *packed(merged)])
    assert all(map(torch.equal, *seen))


def layers(model):
    return fourbit.four_bit_layers(model).values()


def packed(model):
    return [layer.weight.data.clone() for layer in layers(model)]


@pytest.mark.skipif(not bnb.functional.has_avx512bf16(), reason="a CPU without AVX512-BF16")
def test_what_happens_without_the_loader():
    """The trap itself, so that a bitsandbytes that mends it is noticed."""
    model = with_lora(fourbit.load_four_bit("base"))
    before, old = gradients(model), packed(model)
    for layer in layers(model):
        layer.support_avx512bf16_for_cpu = True
    with torch.no_grad():
        model(INPUT)
    assert not all(map(torch.equal, old, packed(model)))
    after = gradients(model)
    first = next(n for n in before if "layers.0" in n)
    assert (after[first] - before[first]).norm() > 1e-3 * before[first].norm()


def test_a_copy_and_a_second_call_keep_it():
    model = fourbit.load_four_bit("base")
    for layer in layers(model):
        layer.support_avx512bf16_for_cpu = True
    assert fourbit.keep_packing(model) is model
    assert not any(m.support_avx512bf16_for_cpu for m in layers(copy.deepcopy(model)))
    assert not any(m.support_avx512bf16_for_cpu for m in layers(with_lora(model)))


def test_the_variable_names_the_model(source, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_MODEL", str(BASE) if source == "base" else source)
    assert fourbit.load_four_bit().config.model_type == load_base(source).config.model_type


def test_settings_reach_the_layers():
    settings = {"compute_dtype": torch.bfloat16, "double_quant": False, "quant_type": "fp4"}
    model = fourbit.load_four_bit("base", **settings)
    layer = next(iter(layers(model)))
    assert layer.compute_dtype == torch.bfloat16 == model.dtype
    assert (layer.weight.quant_state.quant_type, layer.weight.quant_state.nested) == ("fp4", False)


def test_layers_kept_out(source):
    names = fourbit.four_bit_layers(fourbit.load_four_bit(source))
    end = next(reversed(names)).split(".")[-1]  # down_proj, or c_proj of a GPT-2
    model = fourbit.load_four_bit(source, skip=[end])
    kept = {n for n in names if n.endswith(end)}
    assert kept and fourbit.four_bit_layers(model).keys() == names.keys() - kept
    assert type(model.get_output_embeddings()) is torch.nn.Linear  # the list has not unseated it
    assert torch.isfinite(model(INPUT).logits).all()
    with pytest.raises(ValueError, match=rf"ends in \['dawn_proj'\]. Choose from .*{end}"):
        fourbit.load_four_bit(source, skip=["dawn_proj", end])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_layers_that_a_cpu_misreads_stay_out(kind, tmp_path):
    """Width 32: rows and blocks of 64 do not fit together, see the test below."""
    source = folder_of(kind, tmp_path)
    with pytest.warns(UserWarning, match="stay out of 4 bits.*multiple of 64"):
        model = fourbit.load_four_bit(source, device="cpu")
    widths = [layer.in_features for layer in fourbit.four_bit_layers(model).values()]
    assert widths and not any(n % 64 for n in widths)
    before = gradients(with_lora(model))
    assert all(map(torch.equal, before.values(), gradients(model).values()))


@pytest.mark.parametrize("n", [32, 64, 96, 128])
def test_which_widths_a_cpu_reads_back(n):
    """Its AVX-512 code misreads some widths; so that a bitsandbytes that mends it is noticed."""
    torch.manual_seed(0)
    weight = torch.randn(40, n) * torch.logspace(-1, 1, 40)[:, None]
    packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    off = (bnb.functional.dequantize_4bit(packed, state) - weight).norm() / weight.norm()
    misread = n % 64 and torch.cpu._is_avx512_supported()
    assert off > 0.5 if misread else off < 0.15


def test_what_comes_back_is_compared(monkeypatch):
    """A machine that reads 4 bits back wrong is refused; random numbers are left alone."""
    before = torch.random.get_rng_state()
    fourbit.load_four_bit("base", device="cpu")
    assert torch.equal(before, torch.random.get_rng_state())
    whole = bnb.functional.dequantize_4bit
    monkeypatch.setattr(
        bnb.functional, "dequantize_4bit", lambda packed, state: whole(packed, state).roll(1, 1)
    )
    with pytest.raises(ValueError, match="On this cpu, 4-bit weights of width 128 come back 1..%"):
        fourbit.load_four_bit("base", device="cpu")


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="no config.json"):
        fourbit.load_four_bit(str(tmp_path))


@pytest.mark.parametrize("double_quant", [True, False])
def test_bytes_are_those_of_the_formula(source, double_quant):
    plain = load_base(source)
    parts = fourbit.bytes_by_part(fourbit.load_four_bit(source, double_quant=double_quant))
    sizes = [m.weight.numel() for m in linear(plain).values()]
    predicted = sum(memory.nf4_bytes(n, double_quant) for n in sizes)
    assert parts["4-bit"] == sum(sizes) / 2
    assert parts["4-bit"] + parts["constants"] == predicted
    total = sum(p.numel() for p in plain.parameters())  # a tied head once
    assert parts["rest"] == 4 * (total - sum(sizes)) and parts["adapter"] == 0


def test_bytes_of_an_adapter():
    model = with_lora(fourbit.load_four_bit("base"))
    count = memory.adapter_parameters(load_base("base"), r=3)
    assert fourbit.bytes_by_part(model)["adapter"] == 4 * count
    assert fourbit.bytes_by_part(load_base("base"))["4-bit"] == 0


def test_type_to_compute_in(monkeypatch):
    assert fourbit.best_dtype("cpu") == torch.float32
    for found, wanted in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda value=found, **_: value)
        assert fourbit.best_dtype("cuda") == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(source):
    model = fourbit.load_four_bit(source)
    assert model.device.type == "cuda" and model.dtype in (torch.bfloat16, torch.float16)
    on_cpu = fourbit.bytes_by_part(fourbit.load_four_bit(source, device="cpu"))
    on_gpu = fourbit.bytes_by_part(model)
    assert all(on_gpu[k] == on_cpu[k] for k in ("4-bit", "constants"))
    assert 2 * on_gpu["rest"] == on_cpu["rest"]
