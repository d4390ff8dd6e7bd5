"""Many runs at once against single ones by torch alone."""

import copy
import itertools

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.fast.many import ManyLoRA, adam_step, losses, many, train_many
from lora_course.inject import inject_lora, lora_layers
from lora_course.methods.loraplus import loraplus_groups
from lora_course.methods.rslora import use_rslora
from tests.small_llama import ATTENTION, batch, llama

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word")


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


class Conv(nn.Module):
    """A Conv1D of transformers and a linear layer with a bias, as in GPT-2 and Qwen2."""

    def __init__(self):
        super().__init__()
        self.up, self.down = Conv1D(7, 5), nn.Linear(7, 5)
        nn.init.normal_(self.up.bias)

    def forward(self, x):
        return self.down(torch.tanh(self.up(x)))


def test_full_fine_tuning_of_conv1d_and_of_layers_with_a_bias():
    torch.manual_seed(0)
    model, x = Conv(), torch.randn(4, 3, 5)
    stacked = many(copy.deepcopy(model), 2)
    trained = {n for n, p in stacked.named_parameters() if p.requires_grad}
    assert trained == {"up.weight", "down.weight"}
    torch.testing.assert_close(stacked(x.repeat(2, 1, 1)), model(x).repeat(2, 1, 1))
    moved = torch.randn(7, 5)
    with torch.no_grad():
        stacked.up.weight[1] += moved
        model.up.weight += moved.T
    torch.testing.assert_close(stacked(x.repeat(2, 1, 1))[4:], model(x))


def test_after_is_called_with_every_step_and_its_gradients():
    model, seen = many(inject_lora(llama(), r=4, seed=0), 2), []
    train_many(model, map(batch, range(9)), 3, [0.1, 0.1], after=lambda s, g: seen.append((s, g)))
    assert [step for step, _ in seen] == [0, 1, 2]
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(set(grads) == names for _, grads in seen)


def test_a_penalty_moves_the_weights_and_not_the_losses():
    def trained(penalty):
        model = many(inject_lora(llama(), r=4, seed=0), 2)
        return model, train_many(model, map(batch, range(9)), 2, [0.01, 0.01], penalty=penalty)

    def size(model):
        norms = [p.square().sum((1, 2)) for p in model.parameters() if p.requires_grad]
        return 1e6 * torch.stack(norms).sum(0)

    (plain, losses_a), (heavy, losses_b) = trained(None), trained(size)
    torch.testing.assert_close(losses_a[0], losses_b[0])
    assert (size(heavy) < size(plain)).all()
