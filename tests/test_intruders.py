import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.intruders import reduce_intruder_dimension
from torch import nn

from lora_course.methods.intruders import intruders, likeness, soften


def pair(seed, shape=(14, 11), strong=40.0):
    """A weight before and after a strong change of rank 1 in a direction of its own."""
    g = torch.Generator().manual_seed(seed)
    before = torch.randn(shape, generator=g, dtype=torch.float64)
    u, v = (torch.randn(n, generator=g, dtype=torch.float64) for n in shape)
    return before, before + strong * torch.outer(u / u.norm(), v / v.norm())


def test_likeness_against_numpy():
    import numpy as np

    before, after = pair(0)
    U0, U1 = (np.linalg.svd(w.numpy(), full_matrices=False)[0] for w in (before, after))
    want = [max(abs(float(u @ w)) for w in U0.T) for u in U1.T]
    assert likeness(before, after).tolist() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("shape", [(14, 11), (11, 14)])
def test_nothing_changed_means_no_intruder(shape):
    before, _ = pair(1, shape)
    assert likeness(before, before).tolist() == pytest.approx([1.0] * 11)
    assert not len(intruders(before, before))
    assert torch.equal(soften(before, before), before)


def test_scaling_turns_no_direction():
    before, _ = pair(2)
    assert not len(intruders(before, -3 * before))


def test_a_strong_new_direction_is_the_first_intruder():
    before, after = pair(3)
    g = torch.linalg.svd(before, full_matrices=False).U
    u = torch.linalg.svd(after, full_matrices=False).U[:, 0]
    assert (0 in intruders(before, after).tolist()) == bool((u @ g).abs().max() < 0.5)
    assert not len(intruders(before, after, epsilon=0.0))
    assert intruders(before, after, k=3, epsilon=1.1).tolist() == [0, 1, 2]


def test_soften_leaves_all_other_singular_values():
    before, after = pair(4)
    found = intruders(before, after, k=4, epsilon=0.9).tolist()
    s = torch.linalg.svdvals(after)
    s[found] *= 0.2
    got = torch.linalg.svdvals(soften(before, after, 0.2, k=4, epsilon=0.9))
    assert found and torch.allclose(got, s.sort(descending=True).values)


@pytest.mark.parametrize("keep", [0.75, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_soften_is_what_peft_does(seed, keep):
    """With a rank that cuts nothing off, PEFT's reduced adapter gives the same weight."""

    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(7, 9, bias=False)

        def forward(self, x):
            return self.up(x)

    torch.manual_seed(seed)
    config = LoraConfig(r=7, lora_alpha=21, target_modules=["up"])
    model = get_peft_model(Toy(), config)
    layer = model.base_model.model.up
    nn.init.normal_(layer.lora_B["default"].weight, std=0.3)
    before = layer.weight.detach().clone()
    after = before + layer.get_delta_weight("default").detach()
    lines = []
    reduce_intruder_dimension(
        model, top_k=5, threshold_epsilon=0.7, mitigation_lambda=keep, logging_sink=lines.append
    )
    want = before + layer.get_delta_weight("intruder_reduced").detach()
    found = intruders(before, after, k=5, epsilon=0.7)
    assert len(found) and any(line.endswith(f"Intruders: {len(found)}") for line in lines)
    assert torch.allclose(soften(before, after, keep, k=5, epsilon=0.7), want, atol=1e-5)
