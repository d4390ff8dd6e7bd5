import random
import sys
import warnings

import numpy as np
import pytest
import torch

from lora_course.checks import guard


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
