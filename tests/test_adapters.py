"""adapters.py: what is in the file, that it comes back to the last bit, and what is refused."""

import copy
import json
import os
import pickle
import zlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lora_course.adapters import load_adapter, lora_state_dict, read_adapter, save_adapter
from lora_course.inject import inject_lora, lora_layers

IDS = torch.arange(3, 23)[None]  # (1, T)


def llama(width=16):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=width, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config).eval()


def trained(model, seed=1, **lora):
    """The model with LoRA, its factors filled at random as after some training."""
    lora = {"target_modules": "all-linear", "r": 3, "lora_alpha": 5} | lora
    inject_lora(model, **lora)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for factor in lora_state_dict(model).values():
            factor.copy_(torch.randn(factor.shape, generator=generator))
    return model


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def state(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.fixture
def saved(tmp_path):
    model = trained(llama())
    path = tmp_path / "adapter.safetensors"
    save_adapter(model, path, {"task": "questions"})
    return model, path


def refuses(model, path, match):
    before = state(model)
    with pytest.raises(ValueError, match=match) as error:
        load_adapter(model, path)
    assert same(before, state(model))
    return str(error.value)


# What is in the file
@pytest.mark.parametrize("make", [llama, gpt2])
def test_only_factors_are_written(tmp_path, make):
    model, path = trained(make()), tmp_path / "a.safetensors"
    save_adapter(model, path)
    wanted = {n: t for n, t in model.state_dict().items() if n.endswith(("lora_A", "lora_B"))}
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == wanted.keys()
        assert all(torch.equal(file.get_tensor(name), wanted[name]) for name in wanted)
    numbers = sum(t.numel() for t in wanted.values())
    assert 0 < path.stat().st_size - 4 * numbers <= 400 + 110 * len(wanted)
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("layers", ["base shape", "tiny"])
def test_size_is_that_of_the_numbers(tmp_path, layers):
    """Within 2 kB of 4 bytes a number, for query and value in the four layers of the base."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=128, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config) if layers == "base shape" else llama()
    model = trained(model, target_modules=["q_proj", "v_proj"], r=8)
    save_adapter(model, tmp_path / "a.safetensors", {"task": "questions", "base": "base"})
    numbers = sum(t.numel() for t in lora_state_dict(model).values())
    assert 0 < (tmp_path / "a.safetensors").stat().st_size - 4 * numbers <= 2000


def test_header(saved):
    model, path = saved
    with safe_open(path, "pt") as file:
        header = file.metadata()
    assert header["task"] == "questions" and header["r"] == "3" and header["lora_alpha"] == "5"
    found, factors = read_adapter(path)
    assert found["r"] == 3 and found["lora_alpha"] == 5 and found["scaling"] == 5 / 3
    fresh = inject_lora(llama(), **{k: found[k] for k in ("r", "lora_alpha", "target_modules")})
    assert lora_layers(fresh).keys() == lora_layers(model).keys()
    assert same(factors, lora_state_dict(model))


@pytest.mark.parametrize(
    "rule", [["q_proj", "v_proj"], r"model\.layers\.1\..*_proj", ["layers.0.mlp.up_proj"]]
)
def test_header_makes_room_for_exactly_this_adapter(tmp_path, rule):
    model, path = trained(llama(), target_modules=rule), tmp_path / "a.safetensors"
    save_adapter(model, path)
    header = read_adapter(path)[0]
    fresh = inject_lora(llama(), header["target_modules"], header["r"], header["lora_alpha"])
    load_adapter(fresh, path)
    assert torch.equal(logits(fresh), logits(model))


def test_layers_with_ranks_of_their_own(tmp_path):
    model = inject_lora(llama(), ["q_proj"], r=3, lora_alpha=5)
    other = inject_lora(llama(), ["q_proj"], r=4, lora_alpha=5)
    for both in (model, other):
        layer = both.model.layers[1].self_attn
        layer.q_proj = inject_lora(llama(), ["q_proj"], r=2).model.layers[1].self_attn.q_proj
    save_adapter(model, tmp_path / "a.safetensors")
    header = read_adapter(tmp_path / "a.safetensors")[0]
    assert sorted(header["r"].values()) == [2, 3]
    load_adapter(copy.deepcopy(model), tmp_path / "a.safetensors")
    refuses(other, tmp_path / "a.safetensors", "r = ")


# It comes back
@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fresh_base_gives_the_same_logits_to_the_last_bit(tmp_path, make, dtype):
    model, path = trained(make()).to(dtype), tmp_path / "a.safetensors"
    save_adapter(model, path, {"note": "some"})
    fresh = trained(make(), seed=9).to(dtype)
    assert not torch.equal(logits(fresh), logits(model))
    header = load_adapter(fresh, path)
    assert torch.equal(logits(fresh), logits(model)) and header["note"] == "some"
    assert all(p.requires_grad for p in fresh.parameters()) is False
    assert [n for n, p in fresh.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]


@pytest.mark.slow
def test_the_base_of_the_course(tmp_path):
    from lora_course.kit.models import load_base

    model, path = trained(load_base("base"), target_modules=["q_proj", "v_proj"]), tmp_path / "a"
    save_adapter(model, path)
    fresh = inject_lora(load_base("base"), ["q_proj", "v_proj"], r=3, lora_alpha=5)
    load_adapter(fresh, path)
    assert torch.equal(logits(fresh), logits(model))


def test_peft_reads_the_same_numbers(tmp_path):
    """An independent reference: PEFT with the factors of the file gives the same logits."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    model, path = trained(llama()), tmp_path / "a.safetensors"
    save_adapter(model, path)
    header, factors = read_adapter(path)
    keys = "r", "lora_alpha", "target_modules"
    theirs = get_peft_model(llama(), LoraConfig(**{key: header[key] for key in keys}))
    renamed = {f"base_model.model.{name}.weight": t for name, t in factors.items()}
    assert not set_peft_model_state_dict(theirs, renamed).unexpected_keys
    torch.testing.assert_close(logits(theirs.eval()), logits(model))


def test_an_optimizer_goes_on_with_the_loaded_parameters(saved):
    model, path = saved
    fresh = trained(llama(), seed=9)
    places = dict(fresh.named_parameters())
    load_adapter(fresh, path)
    assert all(dict(fresh.named_parameters())[name] is p for name, p in places.items())


# What is refused, with the model as it was
def test_models_that_do_not_fit(saved):
    _, path = saved
    text = refuses(trained(llama(), r=4), path, "r = 3, and the model has 4")
    assert "r=3" in text and "lora_alpha=5" in text and "q_proj" in text
    refuses(trained(llama(), target_modules=["q_proj"]), path, "target_modules")
    refuses(trained(llama(), lora_alpha=6), path, "scaling")
    refuses(trained(llama(width=32)), path, "shape")
    refuses(trained(gpt2()), path, "target_modules")
    refuses(llama(), path, "no LoRA layers")


def test_another_scale_is_refused(saved):
    _, path = saved
    model = trained(llama())
    for layer in lora_layers(model).values():
        layer.scaling = 5 / 3**0.5  # as in rsLoRA
    refuses(model, path, "scaling")


def test_a_merged_model_is_refused(saved):
    _, path = saved
    model = trained(llama())
    next(iter(lora_layers(model).values())).merged = True
    refuses(model, path, "Unmerge")


def test_an_adapter_that_misses_or_adds_a_layer(saved):
    model, path = saved
    fewer = inject_lora(llama(), r"model\.layers\.0\..*", r=3, lora_alpha=5)
    refuses(fewer, path, "target_modules")
    save_adapter(fewer, path)
    refuses(model, path, "target_modules")


@pytest.mark.parametrize(
    "content", [b"", b"12345678", b"hello world, this is no adapter", "pickle"]
)
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}) if content == "pickle" else content)
    refuses(trained(llama()), path, "not an intact file")


def test_safetensors_of_somebody_else(saved):
    model, path = saved
    save_file(lora_state_dict(model), path)
    refuses(trained(llama()), path, "not an intact file")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_adapter(trained(llama()), tmp_path / "nowhere.safetensors")


def test_a_file_cut_short_anywhere(saved):
    _, path = saved
    whole, model = path.read_bytes(), trained(llama(), seed=9)
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refuses(model, path, "not an intact file")
    path.write_bytes(whole + b"\0")
    refuses(model, path, "not an intact file")


def test_a_byte_changed_anywhere(tmp_path):
    """Every byte of a file, two changes each: refused, or it made no difference."""
    path, rule = tmp_path / "a.safetensors", ["layers.0.self_attn.k_proj"]
    model = trained(llama(), target_modules=rule)
    save_adapter(model, path)
    whole, right = path.read_bytes(), lora_state_dict(model)
    fresh = trained(llama(), seed=9, target_modules=rule)
    before = state(fresh)
    for place in range(len(whole)):
        for flip in (0x01, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                load_adapter(fresh, path)
            except ValueError:
                assert same(before, state(fresh)), place
            else:
                assert same(right, lora_state_dict(fresh)), place
                fresh.load_state_dict(before)


def test_no_adapter_no_file(tmp_path):
    with pytest.raises(ValueError, match="no LoRA layers"):
        save_adapter(llama(), tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []


# Whole or not at all
@pytest.mark.parametrize("failing", ["replace", "write"])
def test_an_interrupted_save_leaves_the_old_file(saved, monkeypatch, failing):
    model, path = saved
    whole = path.read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if failing == "replace":
            patch.setattr(os, "replace", fail)
        else:
            patch.setattr(os, "fsync", fail)
        save_adapter(trained(llama(), seed=5), path)
    assert path.read_bytes() == whole
    load_adapter(trained(llama(), seed=9), path)
    save_adapter(model, path)
    assert os.listdir(path.parent) == [path.name]


def test_the_header_is_within_the_check_sum(saved):
    _, path = saved
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])["__metadata__"]
    found = header.pop("crc32")
    text = json.dumps(header, sort_keys=True).encode()
    assert found == f"{zlib.crc32(data[start:], zlib.crc32(text)):08x}"
