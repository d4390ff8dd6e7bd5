"""The rank module against closed forms and against numpy."""

import numpy as np
import pytest
import torch

from lora_course.rank import energy, energy_rank, truncate


def random_matrix(m, n, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (6, 1)])
def test_truncation_error_is_the_tail_of_the_singular_values(shape):
    matrix = random_matrix(*shape)
    s = np.linalg.svd(matrix.numpy(), compute_uv=False)
    for r in range(len(s) + 1):
        near = truncate(matrix, r)
        assert near.shape == matrix.shape
        assert int(torch.linalg.matrix_rank(near)) == r
        assert float((matrix - near).norm()) == pytest.approx(np.sqrt((s[r:] ** 2).sum()), abs=1e-9)


def test_truncation_beats_any_other_matrix_of_the_same_rank():
    matrix = random_matrix(8, 6)
    best = (matrix - truncate(matrix, 2)).norm()
    for seed in range(50):
        rows = torch.linalg.qr(random_matrix(6, 2, seed + 1)).Q  # (6, 2), an orthonormal basis
        assert (matrix - matrix @ rows @ rows.T).norm() > best


def test_truncation_leaves_its_input_alone_and_keeps_the_dtype():
    matrix = random_matrix(5, 3).float()
    copy = matrix.clone()
    near = truncate(matrix, 2)
    assert near.dtype == torch.float32 and torch.equal(matrix, copy)
    torch.testing.assert_close(truncate(matrix, 99), matrix)
    with pytest.raises(ValueError, match="r is -1"):
        truncate(matrix, -1)


def test_energy_of_known_singular_values():
    s = torch.tensor([6.0, 4.0, 3.0, 1.0, 1.0, 1.0])  # squares: 36 16 9 1 1 1, sum 64
    expected = torch.tensor([36, 52, 61, 62, 63, 64], dtype=torch.float64) / 64
    assert torch.equal(energy(s), expected)


@pytest.mark.parametrize(
    ("share", "rank"),
    [(0.5, 1), (36 / 64, 1), (0.6, 2), (52 / 64, 2), (0.82, 3), (0.999, 6), (1, 6)],
)
def test_energy_rank_reaches_the_share_and_not_one_more(share, rank):
    assert energy_rank(torch.tensor([6.0, 4.0, 3.0, 1.0, 1.0, 1.0]), share) == rank


@pytest.mark.parametrize("share", [0, -0.1, 1.01, 90])
def test_energy_rank_refuses_a_share_that_is_none(share):
    with pytest.raises(ValueError, match="share is"):
        energy_rank(torch.ones(3), share)
