from fractions import Fraction

import numpy as np
import pytest
import torch

from lora_course.checks.values import Refused, array, close, tensor


@pytest.mark.parametrize(
    ("value", "shape", "dtype"),
    [
        (torch.ones(2, 3, requires_grad=True), (2, 3), "float32"),
        (torch.nn.Parameter(torch.ones(2)), (2,), "float32"),
        (torch.ones(2, dtype=torch.bfloat16), (2,), "float32"),
        (torch.ones(2, dtype=torch.float16), (2,), "float16"),
        (torch.ones(2, dtype=torch.float8_e4m3fn), (2,), "float32"),
        (torch.ones(2, dtype=torch.int8), (2,), "int8"),
        (torch.ones(2, 2).to_sparse(), (2, 2), "float32"),
        (torch.ones(2, dtype=torch.complex64).conj(), (2,), "complex64"),
        (torch.ones(2, 3).T, (3, 2), "float32"),
        (np.ones((2, 1), dtype=np.float64), (2, 1), "float64"),
        (np.ma.masked_equal([1, 2], 2), (2,), "int64"),
        (np.float32(2), (), "float32"),
        (True, (), "bool"),
        (3, (), "int64"),
        (2.5, (), "float64"),
        (1j, (), "complex128"),
        (Fraction(1, 2), (), "float64"),
        ([1, 2.5], (2,), "float64"),
        ((True, False), (2,), "bool"),
        ([[1, 2], [3, 4]], (2, 2), "int64"),
        ([torch.ones(3), torch.zeros(3)], (2, 3), "float32"),
        ([torch.tensor(1.0), 2], (2,), "float64"),
        (torch.Size([2, 3]), (2,), "int64"),
        (range(3), (3,), "int64"),
        ([], (0,), "float64"),
    ],
    ids=str,
)
def test_array_takes_every_form_of_numbers(value, shape, dtype):
    made = array(value, "it")
    assert type(made) is np.ndarray and made.flags.owndata and made.flags.writeable
    assert (made.shape, made.dtype) == (shape, np.dtype(dtype))


def test_array_copies():
    value = torch.ones(2)
    array(value).fill(7)
    assert value.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        (None, "none", "it is None."),
        ("1", "type", "it is a str."),
        ({"a": 1}, "type", "it is a dict."),
        ({1, 2}, "type", "it is a set."),
        ((x for x in [1]), "type", "it is a generator."),
        (torch.nn.Linear(2, 2), "type", "it is a Linear."),
        (len, "type", "it is a builtin_function_or_method."),
        ([1, None], "type", "it holds None."),
        ([[1], [1, 2]], "type", "it is a list whose rows differ in length."),
        (np.array(["a"]), "type", "it holds values that are not numbers (an ndarray)."),
        (10**400, "type", "it holds values that are not numbers (an int)."),
        (torch.ones(2, device="meta"), "type", "it is a tensor without plain numbers"),
        (torch.zeros(1).expand(10**11), "type", "it has 100,000,000,000 values."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_array_refuses_the_rest(value, key, said):
    with pytest.raises(Refused) as caught:
        array(value, "it")
    assert caught.value.key == key and said in caught.value.seen


def test_tensor():
    a = np.arange(6.0).reshape(2, 3).T
    made = tensor(a)
    assert made.dtype == torch.float64 and made.shape == (3, 2)
    made.zero_()
    assert a[2, 1] == 5
    assert tensor(np.array(2), torch.float32).shape == ()
    assert tensor(np.ones(2), torch.bfloat16).dtype == torch.bfloat16


def test_close():
    one = np.ones(3)
    assert close(one, one + 1e-7) and not close(one, one + 1e-2)
    assert not close(one, np.ones((3, 1))) and not close(np.array(1.0), one)
    assert not close(one * np.nan, one * np.nan) and not close(one * np.inf, one * np.inf)


def test_close_is_allclose_for_every_kind_of_number():
    rng = np.random.default_rng(0)
    kinds = "? i1 u1 i4 i8 u8 f2 f4 f8 c8 c16".split()
    numbers = [0, 1, -1, -128, 127, 1e-7, 2.5, 1e30, np.inf, np.nan]
    said = []
    for a, b in [(a, b) for a in kinds for b in kinds for _ in range(12)]:
        x = rng.choice(numbers, size=[(), (0,), (3,), (2, 3)][rng.integers(4)])
        y = x * rng.choice([1, 1, 1.00009, 1.0002]) + rng.choice([0, 0, 9e-7, 2e-6])
        with np.errstate(all="ignore"):
            seen, wanted = np.asarray(x).astype(a), np.asarray(y).astype(b)
            right = bool(np.isfinite(seen).all() and np.allclose(seen, wanted, 1e-4, 1e-6))
            right = right and not (seen.dtype.kind == "c" != wanted.dtype.kind)
            assert close(seen, wanted) == right, (seen, wanted)
        said.append(right)
    assert 0.1 < np.mean(said) < 0.9
