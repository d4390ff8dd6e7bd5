"""How much rank a matrix needs: the nearest matrix of rank r, and the energy that r pieces hold.

The singular value decomposition writes a matrix as a sum of rank-1 pieces, largest first. Its first
r pieces are the nearest matrix of rank r (Eckart and Young 1936, "The approximation of one matrix
by another of lower rank").
"""

import torch


# owned by chapter 02
def truncate(matrix, r):
    """Return the matrix of rank r that is nearest to `matrix`.

    matrix: (m, n). r: how many pieces to keep; r >= min(m, n) keeps them all.
    Raises ValueError when r is negative.
    """
    if r < 0:
        raise ValueError(f"r is {r}, a rank is 0 or more: pass how many pieces to keep.")
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)  # (m, k), (k,), (k, n)
    return U[:, :r] * s[:r] @ Vh[:r]  # (m, n)


# owned by chapter 02
def energy(s):
    """Return the share of the energy that the first 1, 2, ... k pieces hold.

    s: (k,) singular values, largest first. Energy is the sum of their squares, which is the
    squared Frobenius norm of the matrix. The result is (k,), in float64, and ends at 1.
    """
    sums = s.double().square().cumsum(0)  # (k,)
    return sums / sums[-1]


# owned by chapter 02
def energy_rank(s, share):
    """Return the smallest r whose first r pieces hold at least `share` of the energy.

    s: (k,) singular values, largest first. share: above 0 and at most 1.
    Raises ValueError when share lies outside.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, it must lie above 0 and at most at 1 (0.9 for 90 %).")
    return int((energy(s) < share).sum()) + 1
