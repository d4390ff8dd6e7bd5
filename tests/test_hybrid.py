"""hybrid.py: LoRA and a prompt train together, and both are in the file; PEFT as the reference."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lora_course.adapters import lora_state_dict
from lora_course.inject import count_parameters, inject_lora, lora_layers
from lora_course.kit.models import load_base
from lora_course.methods.bottleneck import inject_bottlenecks
from lora_course.methods.hybrid import (
    hybrid_groups,
    inject_hybrid,
    load_trained,
    save_trained,
    trained_state_dict,
)  # fmt: skip
from lora_course.methods.ia3 import inject_ia3
from lora_course.methods.prefix import PrefixTuning
from lora_course.methods.prompt import PromptTuning
from lora_course.train import train
from tests.test_models import random_model
from tests.test_prompt import batch

WORDS = [7, 8, 9]
pytestmark = pytest.mark.filterwarnings("ignore")


def fresh(kind="base"):
    base = load_base("base") if kind == "base" else random_model(kind, 300).eval()
    return inject_hybrid(base, WORDS, r=3, lora_alpha=5, seed=0)


@pytest.mark.parametrize("kind", ["base", "gpt2", "qwen3"])
def test_both_train_and_nothing_else(kind):
    model = fresh(kind)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train(model, [batch("left"), batch()] * 3, 6, lr=0.01)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != p.requires_grad, name
        assert p.requires_grad == (name == "prompt" or ".lora_" in name), name
    alone = inject_lora(copy.deepcopy(random_model(kind, 300) if kind != "base" else load_base()))
    lora = sum(p.numel() for p in alone.parameters() if p.requires_grad) // 8 * 3  # r = 8 to r = 3
    assert count_parameters(model)[0] == lora + len(WORDS) * model.config.hidden_size


def test_logits_equal_peft_prompt_on_a_merged_lora():
    """PEFT has no model with both, so its LoRA is merged and its prompt stands before that."""
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    model = fresh()
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.02)
    nn.init.normal_(model.prompt, std=0.1)
    config = LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", task_type="CAUSAL_LM")
    lora = get_peft_model(load_base("base"), config)
    for name, layer in lora_layers(model.model).items():
        twin = lora.base_model.model.get_submodule(name)
        twin.lora_A["default"].weight.data.copy_(layer.lora_A)
        twin.lora_B["default"].weight.data.copy_(layer.lora_B)
    config = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    theirs = get_peft_model(lora.merge_and_unload(), config).eval()
    theirs.prompt_encoder["default"].embedding.weight.data.copy_(model.prompt)
    x = batch()
    mine, other = model(**x), theirs(**x)
    real = x["attention_mask"].bool()
    torch.testing.assert_close(
        mine.logits[:, 3:][real], other.logits[:, 3:][real], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(mine.loss, other.loss, rtol=1e-5, atol=1e-5)


def test_the_file_holds_both_and_the_lora_file_only_one(tmp_path):
    model = fresh()
    train(model, [batch()] * 4, 4, lr=0.01)
    save_trained(model, tmp_path / "both.safetensors")
    names = load_file(tmp_path / "both.safetensors").keys()
    assert names - lora_state_dict(model).keys() == {"prompt"}
    twin = fresh()
    assert not torch.equal(twin(**batch()).logits, model(**batch()).logits)
    load_trained(twin, tmp_path / "both.safetensors")
    assert torch.equal(twin(**batch()).logits, model(**batch()).logits)


MAKERS = {
    "bottleneck": lambda model: inject_bottlenecks(model, 3, seed=0),
    "ia3": inject_ia3,
    "prompt": lambda model: PromptTuning(model, WORDS),
    "prefix": lambda model: PrefixTuning(model, WORDS),
}


@pytest.mark.parametrize("method", MAKERS)
def test_file_of_every_method(method, tmp_path):
    """4 bytes a number and a header; train, save, load into a fresh base, the same logits."""
    model = MAKERS[method](load_base("base"))
    train(model, [batch("left")] * 3, 3, lr=0.01)
    path = tmp_path / "it.safetensors"
    save_trained(model, path)
    count = count_parameters(model)[0]
    tensors = len(trained_state_dict(model))
    assert 4 * count < path.stat().st_size < 4 * count + 150 * tensors + 100
    twin = MAKERS[method](load_base("base"))
    load_trained(twin, path)
    assert torch.equal(twin(**batch()).logits, model(**batch()).logits)


def test_refusals(tmp_path):
    path = tmp_path / "it.safetensors"
    save_trained(PromptTuning(load_base("base"), WORDS), path)
    other = PromptTuning(load_base("base"), [7, 8])
    before = other.prompt.detach().clone()
    with pytest.raises(ValueError, match=r"prompt is \(3, 128\)"):
        load_trained(other, path)
    assert torch.equal(other.prompt, before)
    with pytest.raises(ValueError, match="nothing"):
        load_trained(fresh(), path)
    with pytest.raises(ValueError, match="Nothing in this model trains"):
        trained_state_dict(load_base("base").requires_grad_(False))


def test_groups_hold_all_that_trains_once_and_the_prompt_is_faster():
    model = fresh()
    inside, prompt = hybrid_groups(model, 0.01, ratio=7)
    assert inside["lr"] == 0.01 and prompt == {"params": [model.prompt], "lr": 7 * 0.01}
    names = {id(p) for p in inside["params"]}
    factors = [p for m in lora_layers(model).values() for p in (m.lora_A, m.lora_B)]
    assert names == {id(p) for p in factors} and len(names) == len(inside["params"])
    (alone,) = hybrid_groups(PromptTuning(load_base("base"), WORDS), 0.3)
    assert alone["lr"] == 0.3
    (alone,) = hybrid_groups(inject_ia3(load_base("base")), 0.3)
    assert alone["lr"] == 0.3 and len(alone["params"]) == 3 * 4
