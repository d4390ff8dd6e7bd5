"""LoRA+ against PEFT, and what lora_alpha and the two learning rates may exchange (chapter 06)."""

import copy

import pytest
import torch

from lora_course.inject import inject_lora, lora_layers
from lora_course.methods.loraplus import loraplus_groups
from tests.small_llama import MLP, batch, llama, peft_model, renamed

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word")


@pytest.mark.parametrize("targets", ["all-linear", MLP, ["embed_tokens", "o_proj"]])
def test_loraplus_groups_equal_peft(targets):
    from peft.optimizers import create_loraplus_optimizer

    base = llama()
    ours = inject_lora(copy.deepcopy(base), targets, r=4, seed=0)
    ours.model.norm.weight.requires_grad = True
    theirs = peft_model(base, 4, 16, targets=targets)
    theirs.base_model.model.model.norm.weight.requires_grad = True
    optimizer = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=3e-4, loraplus_lr_ratio=16)
    rates = []
    for model, groups in (
        (ours, loraplus_groups(ours, 3e-4, 16)),
        (theirs, optimizer.param_groups),
    ):
        names = {id(p): n for n, p in model.named_parameters()}
        found = [(renamed(names[id(p)]), g["lr"]) for g in groups for p in g["params"]]
        assert len(found) == len(dict(found)), "no parameter is in two groups"
        rates.append(dict(found))
    ours_rates, peft_rates = rates
    assert {n.removesuffix(".weight") for n in ours_rates} == set(peft_rates)
    for name, rate in ours_rates.items():
        assert rate == peft_rates[name.removesuffix(".weight")], name
    expected = {3e-4, 3e-4 * 16} | ({1e-6} if "embed_tokens" in targets else set())
    assert set(ours_rates.values()) == expected


def test_loraplus_groups_feed_the_optimizer():
    model = inject_lora(llama(), r=2, seed=0)
    groups = torch.optim.AdamW(loraplus_groups(model, 1e-3, 4), lr=7.0).param_groups
    assert sorted(g["lr"] for g in groups) == [1e-3, 4e-3]
    assert sum(len(g["params"]) for g in groups) == 2 * len(lora_layers(model))
    with pytest.raises(ValueError, match="Nothing requires a gradient"):
        loraplus_groups(llama().requires_grad_(False), 1e-3, 4)


# Laws of scale
def trajectory(optimizer_class, p=1.0, q=1.0, power=1, steps=6, **settings):
    """Losses and last delta weights with (alpha / pq, p * A, lr_A * p^power, lr_B * q^power)."""
    model = inject_lora(llama(), r=4, lora_alpha=16 / (p * q), seed=0)
    pairs = [(layer.lora_A, layer.lora_B) for layer in lora_layers(model).values()]
    with torch.no_grad():
        for a, _ in pairs:
            a.mul_(p)
    groups = [{"params": [a for a, _ in pairs], "lr": 0.01 * p**power}]
    groups += [{"params": [b for _, b in pairs], "lr": 0.02 * q**power}]
    optimizer, seen = optimizer_class(groups, lr=0.0, **settings), []
    for step in range(steps):
        loss = model(**batch(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.detach())
    deltas = [layer.get_delta_weight().detach() for layer in lora_layers(model).values()]
    return torch.stack(seen), torch.cat([d.reshape(-1) for d in deltas])


@pytest.mark.parametrize("p, q", [(1, 4), (2, 2), (0.5, 8), (1, 0.25)])
def test_adam_cannot_tell_alpha_from_learning_rates(p, q):
    """Powers of two, and an eps too small to count: not one bit of the run differs."""
    for one, two in zip(
        trajectory(torch.optim.Adam, eps=1e-30),
        trajectory(torch.optim.Adam, p, q, eps=1e-30),
        strict=True,
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize("p, q", [(1, 3), (0.7, 1.9)])
def test_adam_with_its_usual_eps_nearly_so(p, q):
    one, two = trajectory(torch.optim.Adam)[0], trajectory(torch.optim.Adam, p, q)[0]
    torch.testing.assert_close(one, two, rtol=0, atol=2e-3)
    alone = trajectory(torch.optim.Adam, p, q, power=0)[0]  # alpha and A changed, not the rates
    assert (alone - one).abs().max() > 10 * (two - one).abs().max()


@pytest.mark.parametrize("p, q", [(1, 4), (2, 2)])
def test_sgd_wants_the_squares(p, q):
    one, two = trajectory(torch.optim.SGD), trajectory(torch.optim.SGD, p, q, power=2)
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
