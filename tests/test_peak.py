import pytest
import torch

from lora_course.bits import fourbit
from lora_course.costs import memory
from lora_course.costs.peak import PeakBytes, held_by, peak_bytes
from lora_course.kit.models import load_base


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_lives_is_counted_and_what_is_freed_is_not(device):
    x = torch.ones(1000, device=device)  # 4,000 bytes
    with PeakBytes([x]) as meter:
        y = x + 1
        assert meter.live == meter.peak == 8000
        view = y.view(10, 100).T  # no storage of its own
        del y
        assert meter.live == 8000
        del view
        assert (meter.live, meter.peak) == (4000, 8000)
        x.add_(1)
        assert meter.live == 4000
        z = torch.empty(500, device=device)
        assert (meter.live, meter.peak) == (6000, 8000)
    del z


def test_what_backward_needs_lives_until_backward():
    w = torch.ones(1000, requires_grad=True)
    with PeakBytes([w]) as meter:
        loss = (w * 2).exp().sum()
        held = meter.live
        assert held >= 4000 + 4000 + 4  # the result of exp, and the sum
        loss.backward()
        del loss
        assert meter.live == 8000  # w and its gradient
    assert meter.peak > held


def step_of(model, optimizer=None, tokens=64):
    ids = torch.arange(tokens)[None] + 5

    def step():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        if optimizer:
            optimizer.step()

    return step


def test_peak_of_a_training_step():
    """Two ways to one number: what lies there between steps, plus what is saved for backward."""
    model = load_base("base").train()
    optimizer = torch.optim.AdamW(model.parameters())
    step_of(model, optimizer)()
    between = sum(memory.state_bytes(model, optimizer).values())
    buffers = sum(b.nbytes for b in model.buffers())
    counted = sum(t.nbytes for t in held_by(model, optimizer) if t.ndim)
    assert between <= counted <= between + buffers
    ids = torch.arange(64)[None] + 5
    saved = memory.saved_bytes(
        lambda: model(input_ids=ids, labels=ids, use_cache=False).loss, [*model.parameters(), ids]
    )
    peak = peak_bytes(step_of(model), model, optimizer)  # without the optimizer's temporaries
    assert between + saved < peak < between + 1.5 * saved + buffers


def test_constants_of_a_4_bit_model_are_held():
    model = fourbit.load_four_bit("base", device="cpu")
    parts = fourbit.bytes_by_part(model)
    assert sum(t.nbytes for t in held_by(model)) >= sum(parts.values())
    held = sum(parts.values()) + sum(b.nbytes for b in model.buffers())
    shared = 1024 * len(fourbit.four_bit_layers(model))  # one table of 256 float32 for all of them
    with torch.no_grad():
        peak = peak_bytes(lambda: model(torch.arange(64)[None]), model)
    assert peak > held - shared


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_and_the_count_agree():
    model = load_base("base").cuda()
    ids = torch.arange(200, device="cuda")[None]

    def step():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    step()
    with PeakBytes(held_by(model)) as meter:
        step()
    assert 0.8 < meter.peak / peak_bytes(step, model) < 1.2
