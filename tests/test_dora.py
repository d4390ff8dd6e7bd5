"""dora.py against PEFT (forward, gradients, training, merging) and against autograd in float64."""

import copy

import pytest
import torch
from torch import nn

from lora_course.inject import inject_lora, lora_layers
from lora_course.methods.dora import DoRALinear, use_dora
from tests.small_llama import batch, llama
from tests.test_descendant import stirred
from tests.test_models import random_model

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word", "ignore::UserWarning")


def pair(kind, dropout=0.0):
    """(ours, PEFT's, {our name: PEFT's parameter}) with equal, moved numbers."""
    from peft import LoraConfig, get_peft_model

    base = llama() if kind == "llama" else random_model("gpt2", 48).eval()
    ours = stirred(use_dora(inject_lora(copy.deepcopy(base), r=3, lora_alpha=5, seed=0)))
    config = LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules="all-linear")
    theirs = get_peft_model(copy.deepcopy(base), config).eval()
    return ours, theirs, match(ours, theirs)


def match(ours, theirs):
    other = {}
    for name, p in theirs.named_parameters():
        name = name.removeprefix("base_model.model.").replace(".default", "")
        name = name.replace("lora_magnitude_vector.weight", "lora_magnitude")
        other[name.replace("lora_A.weight", "lora_A").replace("lora_B.weight", "lora_B")] = p
    mine = {name: p for name, p in ours.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, p in mine.items():
            other[name].copy_(p)
    assert len(mine) == sum(p.requires_grad for p in theirs.parameters())
    return {name: other[name] for name in mine}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_forward_and_gradients_equal_peft(kind):
    ours, theirs, other = pair(kind)
    mine, wanted = ours(**batch(0)), theirs(**batch(0))
    torch.testing.assert_close(mine.logits, wanted.logits, rtol=1e-5, atol=1e-5)
    mine.loss.backward()
    wanted.loss.backward()
    for name, p in ours.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(p.grad, other[name].grad, rtol=1e-4, atol=1e-6)
            assert p.grad.abs().max() > 0, name


def test_training_equals_peft():
    ours, theirs, other = pair("llama")
    for model in (ours, theirs):
        adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01)
        for step in range(5):
            adam.zero_grad()
            model(**batch(step)).loss.backward()
            adam.step()
    for name, p in ours.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(p, other[name], rtol=1e-3, atol=1e-5)


def test_merged_weights_equal_peft():
    ours, theirs, _ = pair("llama")
    merged = {n: m.base_layer.weight + m.get_delta_weight() for n, m in lora_layers(ours).items()}
    plain = dict(theirs.merge_and_unload().named_modules())
    for name, weight in merged.items():
        torch.testing.assert_close(weight, plain[name].weight, rtol=1e-5, atol=1e-6)


def layer64(detach_norm, bias=True):
    torch.manual_seed(1)
    layer = inject_lora(nn.Sequential(nn.Linear(7, 5, bias=bias)), ["0"], r=2, lora_alpha=3)[0]
    return stirred(DoRALinear(layer, detach_norm).double())


@pytest.mark.parametrize("bias", [True, False])
def test_forward_is_the_formula(bias):
    layer, x = layer64(True, bias), torch.randn(4, 7, dtype=torch.float64)
    V = layer.base_layer.weight + 3 / 2 * layer.lora_B @ layer.lora_A
    W = layer.lora_magnitude[:, None] * V / V.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(layer(x), nn.functional.linear(x, W, layer.base_layer.bias))
    torch.testing.assert_close(layer.base_layer.weight + layer.get_delta_weight(), W)


@pytest.mark.parametrize("detach_norm", [True, False])
def test_gradients_by_autograd_in_float64(detach_norm):
    layer, x = layer64(detach_norm), torch.randn(4, 7, dtype=torch.float64)
    layer(x).square().sum().backward()
    names = ("lora_A", "lora_B", "lora_magnitude")
    A, B, m = (getattr(layer, n).detach().clone().requires_grad_() for n in names)
    V = layer.base_layer.weight + 1.5 * B @ A
    norm = V.square().sum(1, keepdim=True).sqrt()
    W = m[:, None] * V / (norm.detach() if detach_norm else norm)
    grads = torch.autograd.grad((x @ W.T + layer.base_layer.bias).square().sum(), (A, B, m))
    for name, grad in zip(names, grads, strict=True):
        torch.testing.assert_close(getattr(layer, name).grad, grad)


def test_undetached_gradient_is_the_numerical_one_and_detached_is_not():
    """Only the full gradient is that of the function; the paper's is an approximation to it."""
    x = torch.randn(4, 7, dtype=torch.float64)
    for detach_norm in (False, True):
        layer = layer64(detach_norm)
        loss = lambda layer=layer: layer(x).square().sum()  # noqa: E731
        loss().backward()
        with torch.no_grad():
            layer.lora_B[2, 1] += 1e-6
            up = loss()
            layer.lora_B[2, 1] -= 2e-6
            slope = (up - loss()) / 2e-6
        close = abs(slope - layer.lora_B.grad[2, 1]) < 1e-4 * abs(slope)
        assert close == (not detach_norm)


def test_full_gradient_is_across_the_row():
    """Without detaching, no change of V's length can help: the gradient of V is across V."""
    for detach_norm in (False, True):
        layer = layer64(detach_norm)
        V = layer.direction().detach().requires_grad_()
        norm = V.norm(dim=1)
        W = (layer.lora_magnitude / (norm.detach() if detach_norm else norm))[:, None] * V
        (torch.randn(4, 7, dtype=torch.float64) @ W.T).square().sum().backward()
        along = (V.grad * V).sum(1).abs().max()
        assert (along < 1e-12) == (not detach_norm)


def test_what_detaching_saves():
    """Bytes kept for the backward pass: without detaching, |V| wants V, which is as large as W."""
    saved = {}
    for detach_norm in (True, False):
        layer = inject_lora(nn.Sequential(nn.Linear(96, 64, bias=False)), ["0"], r=2)[0]
        layer, sizes = DoRALinear(layer, detach_norm), {}
        keep = lambda t: sizes.__setitem__(t.data_ptr(), t.numel()) or t  # noqa: E731, B023
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            layer(torch.randn(3, 96)).sum().backward()
        saved[detach_norm] = sum(sizes.values())
    assert saved[False] - saved[True] >= 96 * 64
