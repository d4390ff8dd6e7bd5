"""bottleneck.py against float64 by hand: forward, gradients, the start, the count."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.bits.fourbit import load_four_bit
from lora_course.inject import count_parameters
from lora_course.kit.models import load_base
from lora_course.methods.bottleneck import Bottleneck, inject_bottlenecks, sublayer_ends
from lora_course.methods.ia3 import inject_ia3
from tests.test_models import random_model


def filled(base, m):
    """A Bottleneck in float64 whose weights are large, so that the ReLU cuts some of them."""
    layer = Bottleneck(base, m).double()
    torch.manual_seed(1)
    for p in (*layer.adapter_down.parameters(), *layer.adapter_up.parameters()):
        nn.init.normal_(p)
    return layer


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_forward_and_gradients_by_hand(kind):
    torch.manual_seed(0)
    base = (nn.Linear(5, 7) if kind is nn.Linear else Conv1D(7, 5)).double()  # in 5, d = 7
    layer, m = filled(base, 3), 3
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    out = layer(x)
    W1, b1 = (p.detach() for p in layer.adapter_down.parameters())  # (m, d), (m,)
    W2, b2 = (p.detach() for p in layer.adapter_up.parameters())  # (d, m), (d,)
    y = base(x).detach()
    z = y @ W1.T + b1  # (2, 4, m)
    h = torch.where(z > 0, z, 0)
    assert 0 < (z > 0).double().mean() < 1
    torch.testing.assert_close(out, y + h @ W2.T + b2, rtol=1e-12, atol=1e-12)

    g = torch.randn_like(out)  # d loss / d out
    out.backward(g)
    g, h, z, y = (t.reshape(8, -1) for t in (g, h, z, y))
    gz = g @ W2 * (z > 0)  # (8, m)
    wanted = {"adapter_up.weight": g.T @ h, "adapter_up.bias": g.sum(0)}
    wanted |= {"adapter_down.weight": gz.T @ y, "adapter_down.bias": gz.sum(0)}
    got = {n: p.grad for n, p in layer.named_parameters() if "adapter" in n}
    assert got.keys() == wanted.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(got[name], grad, rtol=1e-10, atol=1e-10)
    gy = g + gz @ W1  # what reaches the base layer: the skip, and the way through the bottleneck
    torch.testing.assert_close(base.bias.grad, gy.sum(0), rtol=1e-10, atol=1e-10)
    assert m == W1.shape[0]


def test_starts_near_the_identity_and_can_learn():
    torch.manual_seed(0)
    base = nn.Linear(64, 96)
    layer, x = Bottleneck(base, 16), torch.randn(50, 64)
    change = (layer(x) - base(x)).norm() / base(x).norm()
    assert 0 < change < 1e-3
    layer(x).square().sum().backward()
    for name, p in layer.named_parameters():
        if "adapter" in name:
            assert p.grad.abs().sum() > 0, name
    weights = layer.adapter_down.weight
    assert weights.abs().max() <= 2e-3 and 5e-4 < weights.std() < 1e-3  # 0.88 of 1e-3, cut at two


@pytest.mark.parametrize("m", [1, 8, 20])
def test_count_is_the_formula(m):
    base = load_base("base")
    layers, d = base.config.num_hidden_layers, base.config.hidden_size
    total = count_parameters(base)[1]
    model = inject_bottlenecks(copy.deepcopy(base), m, seed=0)
    wanted = 2 * layers * (2 * m * d + m + d)
    assert count_parameters(model) == (wanted, total + wanted)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert all(".adapter_" in name for name in trained)


@pytest.mark.parametrize("kind", ["base", "gpt2", "qwen3"])
def test_one_behind_every_sublayer(kind):
    model = load_base("base") if kind == "base" else random_model(kind, 100)
    ends = sublayer_ends(model)
    last = {"gpt2": ["attn.c_proj", "mlp.c_proj"]}.get(kind, ["self_attn.o_proj", "mlp.down_proj"])
    assert len(ends) == 2 * model.config.num_hidden_layers
    assert [name.split(".", 3)[-1] for name in ends[:2]] == last
    ids = torch.arange(12).view(1, -1)
    before = model.eval()(input_ids=ids).logits
    twin = inject_bottlenecks(copy.deepcopy(model), 4, seed=0)
    assert not any(layer.training for layer in twin.modules())
    after = twin(input_ids=ids).logits
    assert 0 < (after - before).abs().max() < 1e-2 * before.abs().max()
    again = inject_bottlenecks(copy.deepcopy(model), 4, seed=0)(input_ids=ids).logits
    assert torch.equal(after, again)


def test_bfloat16_base_keeps_its_type_and_the_adapter_trains_in_float32():
    layer = Bottleneck(nn.Linear(6, 8).bfloat16(), 2)
    assert layer.adapter_up.weight.dtype == torch.float32
    assert layer(torch.randn(3, 6).bfloat16()).dtype == torch.bfloat16


def test_a_layer_used_twice_gets_one_bottleneck():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": shared})
    inject_bottlenecks(model, 2, ["a", "b"])
    assert model["a"] is model["b"] and count_parameters(model)[0] == 2 * 2 * 4 + 2 + 4


def test_refusals_leave_the_model_as_it_was():
    model = nn.ModuleDict({"a": nn.Linear(4, 6), "e": nn.Embedding(3, 4)})
    for m, targets, kind, words in (
        (0, ["a"], ValueError, "m = 0"),
        (2, ["b"], ValueError, "No layer"),
        (2, ["a", "e"], TypeError, "Embedding"),
    ):
        with pytest.raises(kind, match=words):
            inject_bottlenecks(model, m, targets)
        assert isinstance(model["a"], nn.Linear)
        assert all(p.requires_grad for p in model.parameters())
    inject_bottlenecks(model, 2, ["a"])
    with pytest.raises(ValueError, match="already"):
        inject_bottlenecks(model, 2, ["a"])


@pytest.mark.parametrize("inject", [inject_bottlenecks, inject_ia3])
def test_on_a_four_bit_base(inject):
    """A frozen base may be packed: sizes are right, and every number of the method trains."""
    model = inject(load_four_bit("base", device="cpu"))
    plain = inject(load_base("base"))
    assert count_parameters(model)[0] == count_parameters(plain)[0]
    ids = torch.arange(5, 17).view(1, -1)
    model.train()(input_ids=ids, labels=ids).loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad.abs().sum() > 0 for p in trained)
