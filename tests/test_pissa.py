"""pissa.py against PEFT and the SVD in float64; LoftQ's alternation against its definition."""

import copy

import pytest
import torch
from torch import nn

from lora_course.adapters import lora_state_dict
from lora_course.bits.quantize import dequantize_nf4, quantize_nf4
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.models import load_base
from lora_course.merge import concatenate
from lora_course.methods.pissa import loftq, principal, use_pissa
from tests.small_llama import batch, llama
from tests.test_descendant import stirred
from tests.test_models import random_model

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word", "ignore::UserWarning")


def nf4(W):
    return dequantize_nf4(*quantize_nf4(W), W.shape)


def test_principal_is_the_svd_in_float64():
    torch.manual_seed(0)
    W = torch.randn(13, 9, dtype=torch.float64)
    B, A = principal(W, 4)
    s = torch.linalg.svdvals(W)
    assert B.shape == (13, 4) and A.shape == (4, 9)
    rest = (W - B.double() @ A.double()).square().sum()
    assert rest.item() == pytest.approx(s[4:].square().sum().item(), rel=1e-5)  # Eckart-Young
    torch.testing.assert_close(B.T @ B, A @ A.T, rtol=1e-4, atol=1e-5)  # shared evenly
    torch.testing.assert_close((B.T @ B).diagonal(), s[:4].float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("lora_alpha", [3, 7])
def test_start_equals_peft(kind, lora_alpha):
    """Same residual, same update; the factors up to the sign of each piece."""
    from peft import LoraConfig, get_peft_model

    base = llama() if kind == "llama" else random_model("gpt2", 48).eval()
    ours = use_pissa(inject_lora(copy.deepcopy(base), r=3, lora_alpha=lora_alpha))
    config = LoraConfig(
        r=3, lora_alpha=lora_alpha, init_lora_weights="pissa", target_modules="all-linear"
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    for name, layer in lora_layers(ours).items():
        other = theirs.base_model.model.get_submodule(name)
        close = dict(rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.base_layer.weight, other.base_layer.weight, **close)
        delta = other.get_delta_weight("default")
        torch.testing.assert_close(layer.get_delta_weight(), delta, **close)
        A = other.lora_A["default"].weight
        sign = (layer.lora_A * A).sum(1, keepdim=True).sign()
        torch.testing.assert_close(layer.lora_A, sign * A, **close)


def test_output_is_unchanged_to_1e_5():
    """On the shipped model: all that PiSSA promises of its start."""
    base = load_base("base")
    ids = torch.randint(3, 1000, (2, 20), generator=torch.Generator().manual_seed(0))
    before = base(ids).logits
    model = use_pissa(inject_lora(copy.deepcopy(base), r=8, lora_alpha=8, seed=0))
    after = model(ids).logits
    assert ((after - before).norm() / before.norm()).item() < 1e-5


def test_a_shared_weight_stays_as_it_is_elsewhere():
    model = nn.ModuleDict({"a": nn.Linear(6, 8, bias=False), "b": nn.Linear(6, 8, bias=False)})
    model["b"].weight = model["a"].weight
    W = model["b"].weight.detach().clone()
    use_pissa(inject_lora(model, ["a"], r=2))
    assert torch.equal(model["b"].weight, W) and model["a"].base_layer.weight is not W


def test_as_an_ordinary_adapter_of_rank_2r():
    """B A - B0 A0 on the original base: what PEFT's conversion makes."""
    base = llama()
    model = use_pissa(inject_lora(copy.deepcopy(base), r=3, lora_alpha=5, seed=0))
    start = {n: t.clone() for n, t in lora_state_dict(model).items()}
    stirred(model)
    both = concatenate([lora_state_dict(model), start], [5 / 3, 5 / 3], [1, -1])
    plain = inject_lora(copy.deepcopy(base), r=6, lora_alpha=6, seed=1)
    with torch.no_grad():
        for name, place in lora_state_dict(plain).items():
            place.copy_(both[name])
    wanted = model(**batch(0)).logits
    torch.testing.assert_close(plain(**batch(0)).logits, wanted, rtol=1e-4, atol=1e-4)


def test_loftq_is_the_alternation():
    torch.manual_seed(0)
    W = torch.randn(40, 32)
    for steps in (1, 4):
        Q, B, A = loftq(W, 5, nf4, steps)
        rest, product = W.clone(), torch.zeros_like(W)
        for _ in range(steps):
            want = nf4(W - product)
            U, s, Vh = torch.linalg.svd(W - want, full_matrices=False)
            product = U[:, :5] * s[:5] @ Vh[:5]
        torch.testing.assert_close(Q, want)
        torch.testing.assert_close(B @ A, product, rtol=1e-4, atol=1e-5)
        rest = W - Q - B @ A
        assert rest.norm() < (W - nf4(W)).norm()


def test_error_under_nf4_on_the_shipped_model():
    """The order that the chapter states, layer by layer: PiSSA's residual against LoRA's base."""
    for name, layer in lora_layers(inject_lora(load_base("base"), r=8)).items():
        W = layer.base_layer.weight
        B, A = principal(W, 8)
        plain, rest = (W - nf4(W)).norm(), (W - B @ A - nf4(W - B @ A)).norm()
        assert rest < plain, name
