"""ia3.py against PEFT: logits, gradients, counts, merged weights, and the merge against float64."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.inject import count_parameters
from lora_course.kit.models import load_base
from lora_course.methods.ia3 import IA3Linear, inject_ia3, merge_ia3
from tests.test_models import random_model

KINDS = ["base", "gpt2", "qwen3"]
pytestmark = pytest.mark.filterwarnings("ignore")


def pair(kind):
    """The same scales in ours and in PEFT's IA3 with its default targets for the architecture."""
    from peft import IA3Config, get_peft_model

    base = load_base("base") if kind == "base" else random_model(kind, 300).eval()
    for name, p in base.named_parameters():  # GPT-2 has biases; zero ones would hide mistakes
        if name.endswith("bias"):
            nn.init.normal_(p, std=0.1)
    theirs = get_peft_model(copy.deepcopy(base), IA3Config(task_type="CAUSAL_LM")).eval()
    config = theirs.peft_config["default"]
    targets, inner = sorted(config.target_modules), sorted(config.feedforward_modules)
    ours = inject_ia3(copy.deepcopy(base), targets, inner)
    torch.manual_seed(0)
    for name, layer in ours.named_modules():
        if isinstance(layer, IA3Linear):
            scale = layer.ia3_l.data.uniform_(0.3, 1.7)
            twin = theirs.base_model.model.get_submodule(name).ia3_l["default"]
            twin.data.copy_(scale.view_as(twin))
    return base, ours, theirs


def batch():
    ids = torch.randint(5, 90, (2, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "labels": ids}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_peft_and_merged(kind):
    base, ours, theirs = pair(kind)
    x = batch()
    mine, other = ours(**x), theirs(**x)
    torch.testing.assert_close(mine.logits, other.logits, rtol=1e-5, atol=1e-5)
    mine.loss.backward()
    other.loss.backward()
    for name, layer in ours.named_modules():
        if isinstance(layer, IA3Linear):
            grad = theirs.base_model.model.get_submodule(name).ia3_l["default"].grad
            torch.testing.assert_close(layer.ia3_l.grad, grad.flatten(), rtol=1e-4, atol=1e-6)
    counted = count_parameters(ours)[0]
    assert counted == sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    merged, plain = merge_ia3(ours), theirs.merge_and_unload()
    assert merged.state_dict().keys() == base.state_dict().keys() == plain.state_dict().keys()
    for name, weight in plain.state_dict().items():
        assert torch.equal(merged.state_dict()[name], weight), name
    torch.testing.assert_close(merged(**x).logits, mine.logits, rtol=1e-4, atol=1e-4)


def test_count_is_the_formula():
    model = load_base("base")
    c = model.config
    kv = c.num_key_value_heads * c.head_dim
    wanted = c.num_hidden_layers * (2 * kv + c.intermediate_size)
    assert count_parameters(inject_ia3(model))[0] == wanted


@pytest.mark.parametrize("feedforward", [False, True])
@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
@pytest.mark.parametrize("d_out", [5, 7])  # a square one as well
def test_layer_and_merge_in_float64(kind, feedforward, d_out):
    torch.manual_seed(0)
    base = nn.Linear(5, d_out) if kind is nn.Linear else Conv1D(d_out, 5)
    base = base.double()
    nn.init.normal_(base.bias)
    layer, x = IA3Linear(base, feedforward), torch.randn(2, 3, 5, dtype=torch.float64)
    assert torch.equal(layer(x), base(x))  # all ones
    scale = layer.ia3_l.data.normal_()
    W = base.weight.detach().T if kind is nn.Linear else base.weight.detach()  # (in, out)
    b = base.bias.detach()
    wanted = (x * scale) @ W + b if feedforward else (x @ W + b) * scale
    torch.testing.assert_close(layer(x), wanted, rtol=1e-12, atol=1e-12)
    before = base.weight
    torch.testing.assert_close(layer.merged()(x), wanted, rtol=1e-12, atol=1e-12)
    assert base.weight is not before and not base.weight.requires_grad  # tied users keep theirs


def test_a_scale_of_zero_merges_and_cannot_be_taken_back():
    layer = IA3Linear(nn.Linear(3, 4, bias=False))
    layer.ia3_l.data[1] = 0
    assert layer.merged().weight[1].abs().sum() == 0


def test_merged_twice_or_packed_is_refused():
    model = nn.ModuleDict({"a": nn.Linear(4, 6), "b": nn.Linear(6, 4)})
    inject_ia3(model, ["a", "b"], ["b"])
    model["a"].base_layer.weight = nn.Parameter(torch.zeros(6, 4, dtype=torch.uint8), False)
    with pytest.raises(ValueError, match="dequantize"):
        merge_ia3(model)
    assert isinstance(model["b"], IA3Linear)
    model["a"].base_layer.weight = nn.Parameter(torch.zeros(6, 4))
    merge_ia3(model)
    with pytest.raises(ValueError, match="merged already"):
        merge_ia3(model)


def test_a_layer_used_twice_is_scaled_once():
    shared = nn.Linear(4, 4)
    model = inject_ia3(nn.ModuleDict({"a": shared, "b": shared}), ["a", "b"], ["b"])
    assert model["a"] is model["b"] and model["a"].feedforward
    model["a"].ia3_l.data.fill_(2.0)
    weight = shared.weight.detach().clone()
    merge_ia3(model)
    assert torch.equal(model["a"].weight, 2 * weight) and model["a"] is model["b"]


def test_refusals_leave_the_model_as_it_was():
    model = nn.ModuleDict({"a": nn.Linear(4, 6), "b": nn.Linear(6, 4), "e": nn.Embedding(3, 4)})
    for targets, inner, kind, words in (
        (["a"], ["b"], ValueError, "leaves out"),
        (["c"], ["c"], ValueError, "No layer"),
        (["a", "e"], ["a"], TypeError, "Embedding"),
    ):
        with pytest.raises(kind, match=words):
            inject_ia3(model, targets, inner)
        assert isinstance(model["a"], nn.Linear)
        assert all(p.requires_grad for p in model.parameters())
    inject_ia3(model, ["a"], ["a"])
    with pytest.raises(ValueError, match="already"):
        inject_ia3(model, ["a"], ["a"])


def test_bfloat16_keeps_its_type():
    model = inject_ia3(load_base("base").bfloat16())
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert model(**batch()).logits.dtype == torch.bfloat16
    assert {p.dtype for p in merge_ia3(model).parameters()} == {torch.bfloat16}
