"""adalora.py against PEFT, step by step on the same gradients: scores, budget, masks, penalty."""

import copy

import pytest
import torch

from lora_course.fast.many import many_layers
from lora_course.inject import inject_lora
from lora_course.methods.adalora import RankAllocator, orthogonality, triplets, use_adalora
from tests.small_llama import batch, llama
from tests.test_descendant import stirred
from tests.test_models import random_model

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word", "ignore::UserWarning")


def pair(kind="llama", init_r=4, **schedule):
    """(ours, PEFT's, {our name: PEFT's parameter}) with equal numbers."""
    from peft import AdaLoraConfig, get_peft_model

    base = llama() if kind == "llama" else random_model("gpt2", 48).eval()
    ours = use_adalora(inject_lora(copy.deepcopy(base), r=init_r, lora_alpha=6, seed=0))
    stirred(ours, 0.05)
    config = AdaLoraConfig(
        init_r=init_r, lora_alpha=6, target_modules="all-linear", orth_reg_weight=0.5,
        task_type="CAUSAL_LM",  # without it PEFT leaves the penalty out, and says nothing
        **schedule,
    )  # fmt: skip
    theirs = get_peft_model(copy.deepcopy(base), config).eval()
    clean = lambda n: n.removeprefix("base_model.model.").removesuffix(".default")  # noqa: E731
    other = {clean(n): p for n, p in theirs.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if p.requires_grad:
                other[name].copy_(p)
    assert len(other) == sum(p.requires_grad for p in ours.parameters())
    return ours, theirs, other


SCHEDULES = {
    "plain": dict(target_r=2, total_step=12),
    "with all parts": dict(target_r=1, total_step=14, tinit=2, tfinal=4, deltaT=2),
    "other betas": dict(target_r=3, total_step=10, tfinal=3, beta1=0.6, beta2=0.9),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_scores_budget_and_masks_equal_peft(schedule, kind):
    """Both models get the same random gradients, so that not one choice may differ."""
    ours, theirs, other = pair(kind, **schedule)
    allocator, peft = RankAllocator(ours, **schedule), theirs.base_model.rankallocator
    mine = {n: p for n, p in ours.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(3)
    for step in range(schedule["total_step"] + 1):
        for name, p in mine.items():
            grad = torch.randn(p.shape, generator=generator)
            with torch.no_grad():  # a step of the optimizer
                p.sub_(0.03 * grad)
                other[name].copy_(p)
            p.grad, other[name].grad = grad, grad.clone()
        kept = allocator.step(step)
        theirs.base_model.update_and_allocate(step)
        assert allocator.budget(step) == peft.budget_schedule(step)[0], step
        pattern = theirs.peft_config["default"].rank_pattern
        assert bool(kept) == bool(pattern)
        for name, on in kept.items():
            (long,) = (n for n in pattern if n.endswith(f"{name}.lora_E.default"))
            assert on.tolist() == pattern[long], (step, name)
        for name, p in mine.items():
            assert torch.equal(p, other[name]), (step, name)
        if step < schedule["total_step"] - schedule.get("tfinal", 0):
            for key, (mean, jump) in allocator.averages.items():
                (long,) = (n for n in peft.exp_avg_ipt if n.endswith(f"{key}.default"))
                torch.testing.assert_close(mean, peft.exp_avg_ipt[long])
                torch.testing.assert_close(jump, peft.exp_avg_unc[long])
    total = sum(on.sum().item() for on in allocator.kept.values())
    assert total == schedule["target_r"] * len(allocator.layers) or "tfinal" not in schedule
    assert len({on.sum().item() for on in allocator.kept.values()}) > 1  # ranks differ


def test_training_equals_peft():
    """Real gradients, the penalty among them: losses, masks and weights of eight steps."""
    schedule = dict(target_r=2, total_step=8, tfinal=2)
    ours, theirs, other = pair(**schedule)
    ours, theirs = ours.double(), theirs.double()  # Adam makes much of a tiny gradient's sign
    allocator = RankAllocator(ours, **schedule)
    adams = [
        torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], 0.01)
        for m in (ours, theirs)
    ]
    for step in range(8):
        mine = ours(**batch(step)).loss + 0.5 * orthogonality(ours)
        wanted = theirs(**batch(step)).loss
        torch.testing.assert_close(mine.float(), wanted.float(), rtol=1e-4, atol=1e-4)
        for loss, adam in zip((mine, wanted), adams, strict=True):
            adam.zero_grad()
            loss.backward()
            adam.step()
        allocator.step(step)
        theirs.base_model.update_and_allocate(step)
    for name, p in ours.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(p, other[name], rtol=1e-2, atol=5e-4)
            assert torch.equal(p == 0, other[name] == 0), name


def test_forward_and_delta_equal_peft():
    ours, theirs, _ = pair(target_r=2, total_step=5)
    wanted = theirs(**batch(0)).logits
    torch.testing.assert_close(ours(**batch(0)).logits, wanted, rtol=1e-4, atol=1e-5)
    for name, layer in triplets(ours).items():
        other = theirs.base_model.model.get_submodule(name).get_delta_weight("default")
        torch.testing.assert_close(layer.get_delta_weight(), other, rtol=1e-4, atol=1e-7)


def test_runs_side_by_side_have_their_own_masks():
    """K runs with K gradients: each run's masks are those of an allocator of its own."""
    base = stirred(use_adalora(inject_lora(llama(), r=4, seed=0)), 0.05)
    plan = dict(target_r=2, total_step=6)
    singles = [copy.deepcopy(base) for _ in range(3)]
    alone = [RankAllocator(model, **plan) for model in singles]
    many = many_layers(base, 3)
    together = RankAllocator(many, **plan)
    torch.manual_seed(1)
    for step in range(6):
        grads = {}
        for name, p in many.named_parameters():
            if p.requires_grad:
                grads[name] = torch.randn_like(p)
                for k, single in enumerate(singles):
                    single.get_parameter(name).grad = grads[name][k]
        kept = together.step(step, grads)
        for k, allocator in enumerate(alone):
            for name, on in allocator.step(step).items():
                assert torch.equal(on, kept[name][k])
    assert torch.equal(
        torch.stack([m.state_dict()["model.layers.0.mlp.up_proj.lora_E"] for m in singles]),
        many.get_submodule("model.layers.0.mlp.up_proj").lora_E,
    )


def test_budget_equal_to_the_start_switches_nothing_off():
    model = use_adalora(inject_lora(llama(), r=2, seed=0))
    allocator = RankAllocator(model, target_r=2, total_step=4)
    for step in range(4):
        for p in model.parameters():
            p.grad = torch.randn_like(p) if p.requires_grad else None
        allocator.step(step)
    assert allocator.kept == {} and allocator.budget(3) == allocator.first
