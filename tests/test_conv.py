"""conv.py against PEFT in float64: outputs, gradients, merged weights; and where PEFT differs."""

import copy

import pytest
import torch
from torch import nn

from lora_course.adapters import lora_state_dict
from lora_course.inject import inject_lora, lora_layers
from lora_course.merge import merge, unmerge
from lora_course.methods.conv import LoRAConv2d, inject_conv

CASES = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "oblong": {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    "same": {"kernel_size": 5, "padding": "same"},
    "one": {"kernel_size": 1},
    "bare": {"bias": False},
    "groups": {"groups": 3},
    "depthwise": {"groups": 6, "padding": 1},
}


def pair(r=12, alpha=5, **options):
    """(ours, PEFT's) around the same convolution 6 -> 18, float64, with the same random factors."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    conv = nn.Conv2d(6, 18, **{"kernel_size": 3, **options}).double()
    theirs = nn.Sequential(copy.deepcopy(conv))
    theirs = get_peft_model(theirs, LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"]))
    ours = nn.Sequential(conv)
    inject_conv(ours, ["0"], r=r, lora_alpha=alpha, seed=1).double()
    layer, twin = ours[0], theirs.base_model.model[0].double()
    with torch.no_grad():
        nn.init.normal_(layer.lora_A)
        nn.init.normal_(layer.lora_B)
        weight_A, weight_B = twin.lora_A["default"].weight, twin.lora_B["default"].weight
        weight_A.copy_(layer.lora_A.view_as(weight_A))
        weight_B.copy_(layer.lora_B.view_as(weight_B))
    return ours, theirs.eval(), twin


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd")
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_equal_peft(case):
    ours, theirs, twin = pair(**CASES[case])
    x = torch.randn(2, 6, 11, 9, dtype=torch.float64, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    y, want = ours(x), theirs(z)
    torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-10)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (want * weights).sum().backward()
    layer = ours[0]
    for mine, other in (
        (layer.lora_A.grad, twin.lora_A["default"].weight.grad),
        (layer.lora_B.grad, twin.lora_B["default"].weight.grad),
        (x.grad, z.grad),
    ):
        torch.testing.assert_close(mine.view_as(other), other, rtol=1e-10, atol=1e-9)
    assert all(p.grad is None for p in layer.base_layer.parameters())


@pytest.mark.parametrize("case", [c for c, o in CASES.items() if "groups" not in o])
def test_merged_weights_equal_peft(case):
    ours, theirs, twin = pair(**CASES[case])
    x = torch.randn(2, 6, 11, 9, dtype=torch.float64)
    before, start = ours(x), ours[0].base_layer.weight.clone()
    twin.merge()
    merge(ours)
    assert type(ours[0]) is nn.Conv2d
    torch.testing.assert_close(ours[0].weight, twin.base_layer.weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours(x), before, rtol=1e-10, atol=1e-10)
    unmerge(ours)
    torch.testing.assert_close(ours[0].base_layer.weight, start, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours(x), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [
    {"dilation": 2}, {"dilation": (2, 3), "padding": (4, 2), "stride": 2},
    {"dilation": 2, "padding": "same"}, {"padding": 2, "padding_mode": "reflect"},
    {"padding": "same", "padding_mode": "circular"},
])  # fmt: skip
def test_dilation_and_edges_merge_into_the_same(options):
    """The reference is the convolution with the merged weight: PEFT has none of these."""
    ours, _, _ = pair(**options)
    x = torch.randn(2, 6, 12, 13, dtype=torch.float64)
    before = ours(x)
    plain = ours[0].base_layer(x)
    assert not torch.allclose(before, plain)
    merge(ours)
    torch.testing.assert_close(ours(x), before, rtol=1e-10, atol=1e-10)


def test_peft_leaves_out_the_dilation():
    """Told in chapter 16. When this fails, PEFT was mended: say so there."""
    ours, theirs, twin = pair(dilation=2, padding="same")
    x = torch.randn(2, 6, 12, 13, dtype=torch.float64)
    unmerged = theirs(x)
    twin.merge()
    assert not torch.allclose(theirs(x), unmerged)
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-10, atol=1e-10)
    _, theirs, _ = pair(dilation=2)
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(x)


def test_starts_as_the_base_and_counts():
    conv = nn.Conv2d(6, 18, (3, 5), padding=1)
    x = torch.randn(2, 6, 11, 9)
    want = conv(x)
    layer = LoRAConv2d(conv, r=4)
    assert torch.equal(layer(x), want)
    trained = sum(p.numel() for p in layer.parameters() if p.requires_grad)
    assert trained == 4 * 6 * 3 * 5 + 18 * 4
    bound = (6 * 3 * 5) ** -0.5  # of kaiming_uniform_ with a = sqrt(5)
    assert 0.9 * bound < layer.lora_A.abs().max() <= bound


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_base(dtype):
    conv = nn.Conv2d(6, 18, 3, padding=1).to(dtype)
    layer = LoRAConv2d(conv, r=4)
    assert layer.lora_A.dtype == torch.float32
    nn.init.normal_(layer.lora_B)
    x = torch.randn(2, 6, 8, 8)
    want = copy.deepcopy(layer).float()(x)
    out = layer(x.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), want, rtol=0.05, atol=0.1)


def test_groups_are_not_merged():
    ours, _, _ = pair(groups=3)
    start = ours[0].base_layer.weight.clone()
    with pytest.raises(ValueError, match="groups"):
        merge(ours)
    assert torch.equal(ours[0].base_layer.weight, start)
    layers = [nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, groups=3)]  # one before that could be merged
    ours = inject_conv(nn.Sequential(*layers), r".*", r=3, seed=0)
    nn.init.ones_(ours[0].lora_B)
    start = ours[0].base_layer.weight.clone()
    with pytest.raises(ValueError, match="groups"):
        merge(ours)
    assert torch.equal(ours[0].base_layer.weight, start) and not hasattr(ours, "merged")


@pytest.mark.parametrize("bad", [{"r": 0}, {"r": 4, "groups": 3}, {"r": 4, "lora_dropout": 1.0}])
def test_refuses(bad):
    bad = dict(bad)
    conv = nn.Conv2d(6, 18, 3, groups=bad.pop("groups", 1))
    with pytest.raises(ValueError):
        LoRAConv2d(conv, **bad)
    with pytest.raises(TypeError, match="nn.Conv2d"):
        LoRAConv2d(nn.Linear(3, 4))


def test_inject_beside_linear_layers():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 8, 4, 4), "head": nn.Linear(8, 5), "a": shared})
    model["b"] = shared
    inject_lora(model, ["head"], r=2, seed=0)
    inject_conv(model, ["stem", "a", "b"], r=3, seed=0)
    assert set(lora_layers(model, remove_duplicate=False)) == {"stem", "head", "a", "b"}
    assert model["a"] is model["b"]
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == set(lora_state_dict(model)) and len(trained) == 6
    with pytest.raises(ValueError, match="stem"):
        inject_conv(nn.ModuleDict({"stem": nn.Conv2d(3, 8, 4)}), ["stemm"])


def test_patch_projection_of_a_vit():
    """transformers asks the patch projection for its weight, wrapped or not."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(image_size=12, patch_size=4, hidden_size=8, num_hidden_layers=1,
                       num_attention_heads=2, intermediate_size=16)  # fmt: skip
    model = ViTForImageClassification(config).eval()
    x = torch.randn(2, 3, 12, 12)
    want = model(pixel_values=x).logits
    inject_conv(model, ["projection"], r=2, seed=0)
    torch.testing.assert_close(model(pixel_values=x).logits, want)
    model(pixel_values=x).logits.sum().backward()
    (layer,) = lora_layers(model).values()
    assert layer.lora_B.grad.any()
    merge(model)
    torch.testing.assert_close(model(pixel_values=x).logits, want)
