"""variants.py against PEFT, the laws that chapter 06 states, and many runs at once against single.

The laws: what lora_alpha and the two learning rates may exchange, what padding a rank costs, and
which ranks make equal budgets.
"""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lora_course.fast.many import ManyLoRA, adam_step, losses, many, train_many
from lora_course.inject import count_parameters, inject_lora, lora_layers
from lora_course.methods.loraplus import loraplus_groups
from lora_course.methods.rslora import use_rslora

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word")


def llama(layers=2, width=32, wide=64):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=48, hidden_size=width, intermediate_size=wide, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def batch(seed, rows=4, tokens=9):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 48, (rows, tokens), generator=generator)
    labels = ids.clone()
    labels[:, :4] = -100
    mask = torch.ones_like(ids)
    ids[0, -2:], mask[0, -2:], labels[0, -2:] = 0, 0, -100  # one row is shorter
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def peft_model(model, r, lora_alpha, use_rslora=False, targets="all-linear"):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=r, lora_alpha=lora_alpha, target_modules=targets, use_rslora=use_rslora,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(copy.deepcopy(model), config)


def renamed(name):
    """PEFT's name of a factor as ours."""
    name = name.removeprefix("base_model.model.").replace("lora_embedding_", "lora_")
    return name.removesuffix(".weight").removesuffix(".default")


# rsLoRA
@pytest.mark.parametrize("r", [1, 2, 8, 64, 128])
def test_rslora_equals_peft(r):
    base, x = llama(), batch(0)
    ours = use_rslora(inject_lora(copy.deepcopy(base), r=r, lora_alpha=12, seed=0))
    theirs = peft_model(base, r, 12, use_rslora=True)
    factors = {renamed(n): p for n, p in theirs.named_parameters() if "lora_" in n}
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if p.requires_grad:
                nn.init.normal_(p, std=0.1)
                factors[name].copy_(p)
    scales = {layer.scaling for layer in lora_layers(ours).values()}
    wanted = {m.scaling["default"] for m in theirs.modules() if hasattr(m, "lora_A")}
    assert scales == wanted == {12 / math.sqrt(r)}
    mine, other = ours(**x).loss, theirs.eval()(**x).loss
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_rslora_needs_lora():
    with pytest.raises(ValueError, match="inject first"):
        use_rslora(llama())


# LoRA+
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


@pytest.mark.parametrize("rslora, factor", [(False, 1 / 2), (True, 1 / math.sqrt(2))])
def test_zero_padding_a_rank_at_fixed_alpha(rslora, factor):
    """Twice the rank, nothing new in it: the update is half as large, or 0.71 under rsLoRA."""
    small = inject_lora(llama(), r=4, lora_alpha=12, seed=0)
    large = inject_lora(llama(), r=8, lora_alpha=12, seed=0)
    for model in (small, large):
        if rslora:
            use_rslora(model)
    pairs = zip(lora_layers(small).values(), lora_layers(large).values(), strict=True)
    for a, b in pairs:
        with torch.no_grad():
            nn.init.normal_(a.lora_B)
            b.lora_A.zero_()[:4].copy_(a.lora_A)
            b.lora_B.zero_()[:, :4].copy_(a.lora_B)
        torch.testing.assert_close(b.get_delta_weight(), factor * a.get_delta_weight())


def test_equal_budgets_of_the_chapter():
    """Ranks 32, 15, 10 (and 64 for q and v) are within 2.5 % of each other, and PEFT counts so."""
    shape = llama(layers=4, width=128, wide=512)
    counts = []
    for targets, r in ((ATTENTION, 32), (MLP, 15), ("all-linear", 10), (["q_proj", "v_proj"], 64)):
        ours = inject_lora(copy.deepcopy(shape), targets, r=r)
        counts.append(count_parameters(ours)[0])
        theirs = peft_model(shape, r, 16, targets=targets)
        assert counts[-1] == sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    assert counts == [114_688, 115_200, 112_640, 114_688]
    assert max(counts) / min(counts) < 1.025


# Many runs at once
STEPS = 5
RATES = [0.001, 0.01, 0.05]


def single(model, lr, ratio=1.0):
    """One run by torch alone: Adam, the learning rate falls in a straight line."""
    if lora_layers(model):
        groups = loraplus_groups(model, lr, ratio)
    else:
        model.requires_grad_(False)
        linear = [m for n, m in model.named_modules() if n.endswith("_proj")]
        groups = [{"params": [m.weight.requires_grad_() for m in linear], "lr": lr}]
    optimizer = torch.optim.Adam(groups)
    fall = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / STEPS)
    curve = []
    for step in range(STEPS):
        loss = model(**batch(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        fall.step()
        curve.append(loss.item())
    return curve


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "rslora", "loraplus", "full", "attention", "float32"])
def test_many_runs_equal_single_runs(kind):
    dtype = torch.float32 if kind == "float32" else torch.float64
    rates = torch.tensor(RATES, dtype=dtype) * (0.1 if kind in ("full", "loraplus") else 1)

    def fresh():
        if kind == "full":
            return llama().to(dtype)
        targets = ATTENTION if kind == "attention" else "all-linear"
        model = inject_lora(llama().to(dtype), targets, r=4, lora_alpha=12, seed=0)
        return use_rslora(model) if kind == "rslora" else model

    ratio = 16.0 if kind == "loraplus" else 1.0
    curves = torch.tensor([single(fresh(), lr, ratio) for lr in rates.tolist()], dtype=dtype).T
    stacked = many(fresh(), len(RATES))
    got = train_many(stacked, map(batch, itertools.count()), STEPS, rates, ratio)
    assert got.shape == (STEPS, len(RATES))
    torch.testing.assert_close(got, curves, rtol=1e-5, atol=1e-5)
    ends = []
    for lr in rates.tolist():
        model = fresh()
        single(model, lr, ratio)
        ends.append(model(**batch(99)).loss.item())
    with torch.no_grad():
        seen, wanted = losses(stacked, batch(99), 3), torch.tensor(ends, dtype=dtype)
    torch.testing.assert_close(seen, wanted, rtol=1e-5, atol=1e-5)


def test_one_ratio_for_each_run():
    def trained(lr, ratio):
        model = many(inject_lora(llama(), r=4, seed=0), len(lr))
        return train_many(model, map(batch, range(9)), 5, lr, ratio)

    both = trained([0.01, 0.01], torch.tensor([1, 16]))
    for k, ratio in enumerate((1, 16)):
        alone = trained([0.01], ratio)
        torch.testing.assert_close(both[:, k], alone[:, 0], rtol=1e-5, atol=1e-5)


def test_starts_as_the_base_and_only_the_copies_train():
    base, x = llama(), batch(3)
    for model in (inject_lora(llama(), r=4), llama()):
        stacked = many(model, 3)
        torch.testing.assert_close(losses(stacked, x, 3), base(**x).loss.expand(3))
        trained = [n for n, p in stacked.named_parameters() if p.requires_grad]
        assert trained and all("_proj." in n for n in trained)
        before = {n: p.clone() for n, p in stacked.named_parameters() if not p.requires_grad}
        train_many(stacked, map(batch, range(2)), 2, [0.1, 0.1, 0.1])
        after = dict(stacked.named_parameters())
        assert all(torch.equal(after[n], p) for n, p in before.items())


def test_a_run_that_diverges_stays_alone():
    def model():
        return many(inject_lora(llama(), r=4, seed=0), 2)

    calm = train_many(model(), map(batch, range(9)), 6, [0.01, 0.01])
    torch.testing.assert_close(calm[:, 0], calm[:, 1])
    wild = train_many(model(), map(batch, range(9)), 6, [0.01, float("inf")])
    assert not wild[-1, 1].isfinite()
    torch.testing.assert_close(wild[:, 0], calm[:, 0], rtol=1e-5, atol=1e-5)


def test_adam_step_equals_torch():
    torch.manual_seed(0)
    rates = torch.tensor([0.1, 0.001]).view(2, 1, 1)
    p = torch.randn(2, 3, 4)
    twins = [nn.Parameter(part.clone()) for part in p]
    adam = torch.optim.Adam([{"params": [t], "lr": r.item()} for t, r in zip(twins, rates)])  # noqa: B905
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    for t in range(1, 8):
        grad = torch.randn(2, 3, 4)
        for twin, part in zip(twins, grad, strict=True):
            twin.grad = part.clone()
        adam.step()
        adam_step(p, grad, m, v, rates, t)
        torch.testing.assert_close(p, torch.stack(list(twins)).detach(), rtol=1e-5, atol=1e-7)


def test_the_parts_of_a_stack_are_apart():
    """Part k of the rows sees the weights of run k and no others."""
    layer = inject_lora(llama(), ["q_proj"], r=4, seed=0).model.layers[0].self_attn.q_proj
    stack, x = ManyLoRA(layer, 3), torch.randn(6, 5, 32)
    with torch.no_grad():
        stack.lora_B[1].normal_()
    changed = (stack(x) - layer.base_layer(x)).abs().amax((1, 2)) > 0
    assert changed.tolist() == [False, False, True, True, False, False]
