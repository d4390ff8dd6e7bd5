"""LoRA on stacks of experts, against PEFT's target_parameters."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lora_course.adapters import load_adapter, lora_state_dict, save_adapter
from lora_course.bridges.peft_adapters import to_peft
from lora_course.inject import count_parameters, inject_lora
from lora_course.merge import merge
from lora_course.methods.experts import LoRAStack, inject_experts, merge_experts
from tests.architectures import make

KINDS = {  # architecture: the parameters of its experts
    "Mixtral": ["experts.gate_up_proj", "experts.down_proj"],
    "Qwen3-MoE": ["experts.gate_up_proj", "experts.down_proj"],
    "OLMoE": ["experts.down_proj", "experts.gate_up_proj"],
    "gpt-oss": ["experts.gate_up_proj", "experts.down_proj"],  # stored as (E, in, out)
    "DeepSeek-V3": ["experts.down_proj"],
}
IDS = torch.arange(24).view(2, 12) + 3  # (B, T)


def pair(kind, layers=()):
    """(ours, PEFT's, {our name: PEFT's parameter}) with the same random numbers."""
    base = make(kind)
    ours = copy.deepcopy(base)
    if layers:
        inject_lora(ours, list(layers), r=3, lora_alpha=7)
    inject_experts(ours, KINDS[kind], r=3, lora_alpha=7, seed=0)
    config = LoraConfig(
        r=3, lora_alpha=7, target_modules=list(layers), target_parameters=KINDS[kind]
    )
    theirs, names = get_peft_model(copy.deepcopy(base), config).eval(), {}
    wrappers = {n: m for n, m in theirs.named_modules() if hasattr(m, "parameter_name")}
    for name, stack in ours.named_modules():
        if isinstance(stack, LoRAStack):
            place, _, part = name.removesuffix(".0").partition(".parametrizations.")
            (wrapper,) = (
                m
                for n, m in wrappers.items()
                if m.parameter_name == part and f"{n}.".startswith(f"base_model.model.{place}.")
            )
            names[f"{name}.lora_A"] = wrapper.lora_A["default"].weight
            names[f"{name}.lora_B"] = wrapper.lora_B["default"].weight
    layers = {n: m for n, m in theirs.get_base_model().named_modules() if n not in wrappers}
    for name, p in lora_state_dict(ours).items():
        p.copy_(torch.randn_like(p) * 0.1)
        if name not in names:
            place, _, factor = name.rpartition(".")
            names[name] = getattr(layers[place], factor)["default"].weight
        with torch.no_grad():
            names[name].copy_(as_peft(p, name))
    return ours, theirs, names


def as_peft(t, name):
    """Our (E, r, in) and (E, out, r) as PEFT's (E * r, in) and (out, r * E)."""
    if t.ndim < 3:
        return t
    return t.flatten(0, 1) if name.endswith("A") else t.permute(1, 2, 0).flatten(1)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_peft(kind):
    ours, theirs, names = pair(kind, ["q_proj"] if kind != "DeepSeek-V3" else ())
    one, other = ours(input_ids=IDS, labels=IDS), theirs(input_ids=IDS, labels=IDS)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-4)
    one.loss.backward()
    other.loss.backward()
    mine = {n: p for n, p in ours.named_parameters() if p.requires_grad}
    assert mine.keys() == names.keys() and len(mine) == len(lora_state_dict(ours))
    assert sum(p.numel() for p in mine.values()) == theirs.get_nb_trainable_parameters()[0]
    for name, p in mine.items():
        assert p.grad.abs().max() > 0, name
        torch.testing.assert_close(as_peft(p.grad, name), names[name].grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["Mixtral", "gpt-oss"])
def test_a_no_op_then_a_merge(kind):
    base = make(kind)
    with torch.no_grad():
        before = base(IDS).logits
        ours = inject_experts(copy.deepcopy(base), KINDS[kind], r=3, lora_alpha=7)
        assert torch.equal(ours(IDS).logits, before)
        for p in lora_state_dict(ours).values():
            p.copy_(torch.randn_like(p) * 0.1)
        want = ours(IDS).logits
        assert (want - before).norm() > 1e-2 * before.norm()
        merge_experts(ours)
        assert ours.state_dict().keys() == base.state_dict().keys()
        torch.testing.assert_close(ours(IDS).logits, want, rtol=1e-4, atol=1e-4)
    assert count_parameters(ours)[0] == 0


def test_saved_and_loaded(tmp_path):
    ours = pair("Mixtral", ["q_proj"])[0]
    save_adapter(ours, tmp_path / "a.safetensors")
    again = inject_lora(make("Mixtral"), ["q_proj"], r=3, lora_alpha=7)
    load_adapter(inject_experts(again, KINDS["Mixtral"], 3, 7), tmp_path / "a.safetensors")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, ours(IDS).logits)


def test_what_it_refuses(tmp_path):
    base = make("Mixtral")
    with pytest.raises(ValueError, match=r"hit by \['experts.nothing'\].*experts.down_proj"):
        inject_experts(base, ["experts.nothing"])
    with pytest.raises(ValueError, match="r = 0"):
        inject_experts(base, ["experts.down_proj"], r=0)
    assert base.get_submodule("model.layers.0.mlp.experts").down_proj.requires_grad
    ours = inject_experts(base, ["experts.down_proj"])
    for act in (merge, lambda model: to_peft(model, tmp_path / "a")):
        with pytest.raises(ValueError, match="no layer: merge_experts"):
            act(ours)
    assert not (tmp_path / "a/adapter_config.json").exists()
