"""What a model is: refused before any work, each with its reason."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, LlamaForSequenceClassification

from lora_course.bits.fourbit import four_bit_layers, load_four_bit
from lora_course.bridges.peft_adapters import to_peft
from lora_course.inject import find_targets, inject_lora, lora_layers
from lora_course.kit.models import load_base
from lora_course.plumbing import model_facts
from tests.architectures import KINDS, make


def saved(kind, folder, **changes):
    """The folder of a model, with changes in its config.json."""
    make(kind).save_pretrained(folder)
    place = folder / "config.json"
    config = json.loads(place.read_text())
    place.write_text(json.dumps({**config, **changes}))
    return str(folder)


@pytest.mark.parametrize("load", [load_base, load_four_bit])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("T5", "t5 .*an encoder and a decoder.*Expected a causal"),
        ("BERT", "bert .*no head for the next token"),
        ("Qwen2-VL", "qwen2_vl .*senses beside text"),
    ],
)
def test_the_architecture_is_the_reason(load, kind, reason, tmp_path):
    with pytest.raises(OSError, match=reason):
        load(saved(kind, tmp_path))


@pytest.mark.parametrize("load", [load_base, load_four_bit])
def test_an_adapter_is_no_model(load, tmp_path):
    to_peft(inject_lora(make("Llama"), r=2), tmp_path / "adapter")
    make("Llama").config.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    config["base_model_name_or_path"] = "town/base"
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(OSError, match="holds an adapter.*name its base, town/base"):
        load(str(tmp_path / "adapter"))


@pytest.mark.parametrize("load", [load_base, load_four_bit])
def test_a_model_that_is_stored_quantized(load, tmp_path):
    four = load_four_bit(saved("Llama", tmp_path / "whole"), device="cpu")
    four.save_pretrained(tmp_path / "four")
    with pytest.raises(OSError, match="stored quantized already .bitsandbytes"):
        load(str(tmp_path / "four"))


def test_an_encoder_that_calls_itself_causal(tmp_path):
    """transformers loads BERT as a causal model that sees the tokens to the right."""
    config = KINDS["BERT"][1](**KINDS["BERT"][2])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(OSError, match="BertLMHeadModel in which a token sees the tokens after it"):
        load_base(str(tmp_path))


def test_a_classifier_has_no_head_for_the_next_token(tmp_path):
    LlamaForSequenceClassification(make("Llama").config).save_pretrained(tmp_path)
    with pytest.raises(OSError, match="LlamaForSequenceClassification.*no head"):
        load_base(str(tmp_path))


def test_tensors_without_a_place_are_said(tmp_path):
    source = saved("Llama", tmp_path, num_hidden_layers=1)
    with pytest.warns(UserWarning, match="tensors of .*model.layers.1.*left out"):
        load_base(source)


@pytest.mark.parametrize("kind", ["Llama", "Mixtral"])
def test_shards_and_sixteen_bits_load(kind, tmp_path):
    make(kind).bfloat16().save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = load_base(str(tmp_path))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    want = make(kind).bfloat16().float()
    assert all(map(torch.equal, model.parameters(), want.parameters()))


def test_half_a_checkpoint_is_refused(tmp_path):
    make("Llama").save_pretrained(tmp_path, max_shard_size="100KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    tensors.pop(min(tensors))
    save_file(tensors, shard, {"format": "pt"})
    with pytest.raises(OSError, match="lack 1 tensors|could not be loaded"):
        load_base(str(tmp_path))
    shard.unlink()
    with pytest.raises(OSError, match="could not be loaded"):
        load_base(str(tmp_path))


# Injection
@pytest.mark.parametrize("kind", ["Mixtral", "Qwen3-MoE", "OLMoE", "gpt-oss", "DeepSeek-V3"])
def test_all_linear_says_what_it_does_not_reach(kind):
    model = make(kind)
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match=r"reaches \d+% of .* stacks of matrices.*target_modules="):
        inject_lora(model)
    assert not lora_layers(model) and flags == [p.requires_grad for p in model.parameters()]
    assert inject_lora(model, ["q_proj" if kind != "DeepSeek-V3" else "q_a_proj"], r=2)


def test_share_is_the_share_of_the_numbers():
    model = make("Mixtral")
    names = find_targets(model, ["q_proj", "k_proj", "v_proj", "o_proj"])
    hit = sum(model.get_submodule(name).weight.numel() for name in names)
    assert model_facts.share(model, names) == hit / model.num_parameters()
    assert model_facts.stacks(model).keys() == {
        f"model.layers.{n}.mlp.experts.{part}"
        for n in (0, 1)
        for part in ("gate_up_proj", "down_proj")
    }
    assert not any(model_facts.stacks(make(kind)) for kind in ("Llama", "GPT-2", "Mamba", "BERT"))


def test_a_layer_that_is_never_called_is_refused():
    model = make("Mamba")
    with pytest.raises(ValueError, match=r"MambaMixer uses the weight of .*\['in_proj'\]"):
        inject_lora(model)
    with pytest.raises(ValueError, match="dt_proj without calling"):
        inject_lora(model, ["in_proj", "dt_proj"])
    assert not lora_layers(model) and all(p.requires_grad for p in model.parameters())
    inject_lora(model, ["in_proj"])(input_ids=torch.arange(5)[None])


def test_a_class_of_a_notebook_has_no_source():
    made = {}
    exec("class Part(nn.Module):\n    pass", {"nn": nn, "__name__": "nowhere"}, made)
    model = made["Part"]()
    model.up = nn.Linear(3, 3)
    assert find_targets(model, "all-linear") == ["up"]


def test_a_vision_tower_is_left_out_by_name():
    model = make("Gemma 3 with eyes")
    with pytest.raises(ValueError, match="text never goes through.*vision_tower") as refused:
        inject_lora(model)
    rule = str(refused.value).partition("target_modules=r'")[2].removesuffix("'.")
    names = find_targets(model, rule)
    assert names and not any("vision" in name for name in names)
    inner = model.model.language_model
    assert len(names) == sum(isinstance(m, nn.Linear) for m in inner.modules())


# 4 bits
def test_experts_that_stay_out_of_four_bits_are_said(tmp_path):
    with pytest.warns(UserWarning, match=r"cover \d+% of .*stacks of experts"):
        model = load_four_bit(saved("Mixtral", tmp_path), device="cpu")
    assert len(four_bit_layers(model)) == 8


def test_where_nothing_can_be_quantized(tmp_path):
    source = saved("Llama", tmp_path)
    ends = sorted({name.split(".")[-1] for name in find_targets(make("Llama"), "all-linear")})
    with pytest.raises(ValueError, match="Nothing of .* would be in 4 bits"):
        load_four_bit(source, skip=ends, device="cpu")


def test_left_only():
    assert model_facts.reads_left_only(make("Llama"))
    assert not model_facts.reads_left_only(make("BERT"))
