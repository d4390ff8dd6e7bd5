import random
import sys
import warnings

import numpy as np
import pytest
import torch

from lora_course.checks import guard
from lora_course.checks.core import Check, Verdict
from lora_course.checks.mould import Mould

from .test_checks import checks, solved


def state():
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        np.geterr(),
        sys.getrecursionlimit(),
        sys.stdout,
        sys.stderr,
        warnings.filters[:],
    )


def disturb():
    """What a careless cell may leave behind."""
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    np.seterr(all="raise")
    sys.setrecursionlimit(sys.getrecursionlimit() + 50)
    sys.stdout = sys.stderr = None
    warnings.simplefilter("error")


def test_everything_is_as_before():
    before = state()
    with guard.steady(3):
        disturb()
    assert state() == before


def test_also_after_an_error():
    before = state()
    with pytest.raises(SystemExit):
        with guard.steady(3):
            disturb()
            raise SystemExit
    assert state() == before


def test_known_state_inside():
    with guard.steady(0):  # what the learner's own notebook left on is put back
        with torch.no_grad():
            torch.set_default_dtype(torch.float64)
            torch.set_default_device("meta")
            with guard.steady(3):
                made = torch.ones(2, requires_grad=True) * torch.rand(2)
                assert made.dtype == torch.float32 and made.device.type == "cpu"
                assert made.requires_grad
            assert torch.ones(1).is_meta and torch.get_default_dtype() == torch.float64


def test_same_seed_same_numbers():
    drawn = []
    for seed in (5, 5, 2**70):
        with guard.steady(seed):
            drawn.append((torch.rand(1).item(), np.random.rand(), random.random()))
    assert drawn[0] == drawn[1] != drawn[2]


def test_nothing_on_stderr(capfd):
    with guard.steady(0):
        warnings.warn("careful", stacklevel=1)
        print("seen", file=sys.stderr)
        np.float64(1) / np.float64(0)
    assert capfd.readouterr() == ("seen\n", "")


def test_inference_mode_of_the_caller():
    with torch.inference_mode(), guard.steady(0):
        x = torch.ones(2, requires_grad=True)
        (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


# States kept once for many calls
def probe_that_draws(namespace, inputs):
    return {"drawn": np.array([random.random(), np.random.rand(), torch.rand(1).item()])}


def test_kept_once_for_a_whole_check():
    """Each seed begins at its own state, whatever the seed before left; the caller's comes back."""
    seen = []

    def judge(i, o):
        seen.append(o["drawn"].tolist())
        np.random.seed(9), random.seed(9), torch.manual_seed(9)
        return Verdict(1.0)

    check = Check(
        name="c", title="C", wants=("f",), difficulty=1, minutes=1, points=1, verified="",
        hints=("", "", ""), make=lambda seed: {}, probe=probe_that_draws, judge=judge,
    )  # fmt: skip
    before = state()
    check.run({}, seeds=(4, 5))
    assert state() == before
    with guard.steady(0):
        first = probe_that_draws({}, {})["drawn"].tolist()
    with guard.steady(1):
        second = probe_that_draws({}, {})["drawn"].tolist()
    assert seen == [first, second] and first != second


def test_kept_is_put_back_by_the_outer_block_alone_and_after_an_error():
    before = state()
    with pytest.raises(KeyboardInterrupt):
        with guard.kept():
            with guard.steady(3):
                disturb()
            after = state()
            assert after[8:] != before[8:] and after[:7] == before[:7]  # only what `kept` keeps
            raise KeyboardInterrupt
    assert state() == before


# Moulds
class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3, bias=False)
        self.two.weight = self.one.weight
        self.one.bias.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(2))
        self.notes = {"list": [1, 2], "plain": torch.ones(2)}
        self.eval()


def test_a_copy_out_of_a_mould_is_like_the_first():
    first = Tied()
    mine = Mould(first).cast()
    assert not differs(first, mine)
    assert mine.two.weight is mine.one.weight and mine.one.weight is not first.one.weight
    assert type(mine.one.weight) is torch.nn.Parameter and not mine.training
    assert mine.one.weight.requires_grad and not mine.one.bias.requires_grad
    assert mine.notes["list"] == [1, 2] and torch.equal(mine.notes["plain"], torch.ones(2))


def differs(a, b):
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return [name for (name, x), (other, y) in pairs if name != other or not torch.equal(x, y)]


def spoil(model):
    """All that a hostile or careless answer may write into a model."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers(), model.notes["plain"]):
            tensor.fill_(7)
    model.requires_grad_(True).train()
    model.notes["list"].append(3)
    model.notes["new"] = 1
    model.one.register_forward_hook(lambda *a: 1 / 0)
    model.two = torch.nn.Identity()
    model.one.weight.data.resize_(1)


def test_nothing_written_into_a_copy_reaches_the_next():
    first = Tied()
    values = {key: value.clone() for key, value in first.state_dict().items()}
    mould = Mould(first)
    spoil(mould.cast())
    spoil(first)
    mine = mould.cast()
    assert mine.state_dict().keys() == values.keys()
    assert all(torch.equal(values[key], value) for key, value in mine.state_dict().items())
    assert not mine.training and not mine.one.bias.requires_grad
    assert mine.notes.keys() == {"list", "plain"} and mine.notes["list"] == [1, 2]
    assert torch.equal(mine.notes["plain"], torch.ones(2)) and not mine.one._forward_hooks
    assert mine.one(torch.ones(1, 3)).shape == (1, 3)


@pytest.mark.parametrize(
    ("chapter", "exercise", "careless"),
    [
        ("ch04", "inject_lora", "lambda model, targets, r, alpha: ruin(model)"),
        ("ch08", "three_outputs", "lambda model, x, first, second: ruin(model)"),
        ("ch08", "audit", "lambda model, targets, tensors: ruin(model)"),
        ("ch09", "make_trainer", "lambda model, *rest: ruin(model)"),
        ("ch11", "skip_list", "lambda model, more: ruin(model)"),
    ],
)
def test_an_answer_that_ruins_its_model_does_not_reach_the_next(chapter, exercise, careless):
    def ruin(model):
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.zero_()
        for part in list(model.modules()):
            part.train().requires_grad_(False)
            part.register_forward_hook(lambda *a: 1 / 0)
            part._modules.clear()

    check = checks(chapter)[exercise]
    bad = eval(careless, {"ruin": ruin})
    assert check.run(dict.fromkeys(check.wants, bad), strict=True).points == 0
    assert check.run(solved(chapter, exercise), strict=True).points == check.points
