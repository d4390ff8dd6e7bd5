"""Right and wrong answers to the exercises of chapter 02."""

from tests.answers import Answer


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "break_even",
        "counts upward",
        code="""
def break_even_rank(d_in, d_out):
    r = 0
    while (r + 1) * (d_in + d_out) < d_in * d_out:
        r += 1
    return r
""",
    ),
    Answer(
        "break_even",
        "ceil minus one, as a float",
        code="""
import math


def break_even_rank(d_in, d_out):
    return float(math.ceil(d_in * d_out / (d_in + d_out)) - 1)
""",
    ),
    Answer(
        "nearest",
        "sum of outer products",
        code="""
def nearest_of_rank(matrix, r):
    U, s, Vh = torch.linalg.svd(matrix)
    total = torch.zeros_like(matrix)
    for i in range(r):
        total += s[i] * torch.outer(U[:, i], Vh[i])
    return total
""",
    ),
    Answer(
        "nearest",
        "NumPy, with the small values set to 0",
        code="""
import numpy as np


def nearest_of_rank(matrix, r):
    U, s, Vh = np.linalg.svd(matrix.numpy(), full_matrices=False)
    s[r:] = 0
    return U @ np.diag(s) @ Vh
""",
    ),
    Answer(
        "nearest",
        "torch.svd, which returns V",
        code="""
def nearest_of_rank(matrix, r):
    U, s, V = torch.svd(matrix)
    return (U[:, :r] * s[:r]) @ V[:, :r].T
""",
    ),
    Answer(
        "nearest",
        "projects onto the first r columns of U, in float32",
        code="""
def nearest_of_rank(matrix, r):
    matrix = matrix.float()
    U = torch.linalg.svd(matrix).U[:, :r]
    return U @ (U.T @ matrix)
""",
    ),
    Answer(
        "energy_rank",
        "loop",
        code="""
def rank_for_energy(s, share):
    goal, held = share * (s**2).sum(), 0
    for i, value in enumerate(s):
        held = held + value**2
        if held >= goal:
            return i + 1
""",
    ),
    Answer(
        "energy_rank",
        "searchsorted",
        code="""
def rank_for_energy(s, share):
    running = torch.cumsum(s**2, 0) / (s**2).sum()
    return torch.searchsorted(running, share) + 1
""",
    ),
    Answer(
        "energy_rank",
        "argmax of a mask",
        code="""
def rank_for_energy(s, share):
    running = torch.cumsum(s**2, 0) / (s**2).sum()
    return (running >= share).int().argmax().item() + 1
""",
    ),
    Answer(
        "factors",
        "square root of s in both",
        code="""
def split_update(update, r):
    U, s, Vh = torch.linalg.svd(update, full_matrices=False)
    root = torch.diag(s[:r].sqrt())
    return U[:, :r] @ root, root @ Vh[:r]
""",
    ),
    Answer(
        "factors",
        "s in A",
        code="""
def split_update(update, r):
    U, s, Vh = torch.linalg.svd(update)
    return [U[:, :r], s[:r, None] * Vh[:r]]
""",
    ),
    Answer(
        "factors",
        "A is the first r directions, B the update seen along them",
        code="""
def split_update(update, r):
    A = torch.linalg.svd(update).Vh[:r]
    return update @ A.T, A
""",
    ),
    Answer(
        "budget",
        "loop, with the SVD written out",
        code="""
def fit_budget(before, after, budget):
    cost = 0
    for W in before.values():
        cost += W.shape[0] + W.shape[1]
    r = budget // cost
    weights = {}
    for name in after:
        U, s, Vh = torch.linalg.svd(after[name] - before[name], full_matrices=False)
        weights[name] = before[name] + (U[:, :r] * s[:r]) @ Vh[:r]
    return r, weights
""",
    ),
    Answer(
        "budget",
        "clone, then add in place to the clone",
        code="""
def fit_budget(before, after, budget):
    cost = sum(sum(W.shape) for W in after.values())
    r = 0
    while (r + 1) * cost <= budget:
        r += 1
    weights = {name: W.clone() for name, W in before.items()}
    for name, W in weights.items():
        W += truncate(after[name] - before[name], r)
    return torch.tensor(r), weights
""",
    ),
    Answer(
        "factors",
        "turned by a random rotation",
        "",
        edits=(
            (
                "    return B, A",
                "    Q, _ = torch.linalg.qr(torch.randn(r, r))\n    return B @ Q, Q.T @ A",
            ),
        ),
    ),
]

WRONG = [
    Answer(
        "break_even",
        "plain division",
        "not_whole",
        code="""
def break_even_rank(d_in, d_out):
    return d_in * d_out / (d_in + d_out)
""",
    ),
    Answer(
        "break_even",
        "allows equality",
        "no_saving",
        code="""
def break_even_rank(d_in, d_out):
    return d_in * d_out // (d_in + d_out)
""",
    ),
    Answer(
        "break_even",
        "loops one step too far",
        "one_more",
        code="""
def break_even_rank(d_in, d_out):
    r = 0
    while r * (d_in + d_out) < d_in * d_out:
        r += 1
    return r
""",
    ),
    Answer(
        "break_even",
        "rounds",
        "rounded",
        code="""
def break_even_rank(d_in, d_out):
    return round(d_in * d_out / (d_in + d_out))
""",
    ),
    Answer(
        "break_even",
        "half of the smaller side",
        "half",
        code="""
def break_even_rank(d_in, d_out):
    return min(d_in, d_out) // 2
""",
    ),
    Answer(
        "break_even",
        "the largest rank there is",
        "full_rank",
        code="""
def break_even_rank(d_in, d_out):
    return min(d_in, d_out)
""",
    ),
    Answer(
        "break_even",
        "r times the product of the sides",
        "zero",
        code="""
def break_even_rank(d_in, d_out):
    r = 0
    while (r + 1) * (d_in * d_out) < d_in * d_out:
        r += 1
    return r
""",
    ),
    Answer(
        "break_even",
        "always 8",
        "other",
        code="""
def break_even_rank(d_in, d_out):
    return 8
""",
    ),
    Answer(
        "nearest",
        "the course's own function",
        "ready_made",
        code="""
def nearest_of_rank(matrix, r):
    return truncate(matrix, r)
""",
    ),
    Answer(
        "nearest",
        "the course's own function under another name",
        "ready_made",
        code="""
def nearest_of_rank(matrix, r):
    helper = truncate
    return helper(matrix.clone(), r)
""",
    ),
    Answer(
        "nearest",
        "writes into the matrix that was given",
        "changed",
        code="""
def nearest_of_rank(matrix, r):
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    matrix.copy_(U[:, :r] * s[:r] @ Vh[:r])
    return matrix
""",
    ),
    Answer(
        "break_even",
        "twice too many",
        "other",
        code="""
def break_even_rank(d_in, d_out):
    return 2 * d_in * d_out // (d_in + d_out)
""",
    ),
    Answer(
        "break_even",
        "a pair",
        "type",
        code="""
def break_even_rank(d_in, d_out):
    return d_in * d_out // (d_in + d_out), d_in * d_out
""",
    ),
    Answer(
        "break_even",
        "two fewer",
        "other",
        code="""
def break_even_rank(d_in, d_out):
    return (d_in * d_out - 2) // (d_in + d_out)
""",
    ),
    Answer(
        "energy_rank",
        "root of the running sums",
        "root",
        code="""
def rank_for_energy(s, share):
    running = torch.cumsum(s**2, 0).sqrt() / (s**2).sum().sqrt()
    return int((running < share).sum()) + 1
""",
    ),
    Answer(
        "energy_rank",
        "the share, not the rank",
        "value",
        code="""
def rank_for_energy(s, share):
    running = torch.cumsum(s**2, 0) / (s**2).sum()
    return running[running >= share][0]
""",
    ),
    Answer(
        "budget",
        "all matrices of the largest cost",
        "shared",
        edits=(
            (
                "sum(sum(W.shape) for W in before.values())",
                "3 * max(sum(W.shape) for W in before.values())",
            ),
        ),
    ),
    Answer(
        "budget",
        "an extra entry",
        "other",
        edits=(("weights = {}", "weights = {'all': torch.ones(1)}"),),
    ),
    Answer("budget", "weights first", "type", edits=(("return r, weights", "return weights, r"),)),
    Answer(
        "budget",
        "rank per matrix",
        "other",
        edits=(("truncate(update, r)", "truncate(update, budget // sum(update.shape))"),),
    ),
    Answer("nearest", "transposes Vh", "vh_as_v", edits=(("Vh[:r]", "Vh[:, :r].T"),)),
    Answer(
        "nearest",
        "transposes Vh, after full_matrices=True and diag",
        "vh_as_v",
        code="""
def nearest_of_rank(matrix, r):
    U, s, V = torch.linalg.svd(matrix)
    return U[:, :r] @ torch.diag(s[:r]) @ V.T[:r]
""",
    ),
    Answer(
        "nearest",
        "one piece too many",
        "one_more",
        edits=(("[:, :r]", "[:, : r + 1]"), ("s[:r]", "s[: r + 1]"), ("Vh[:r]", "Vh[: r + 1]")),
    ),
    Answer("nearest", "forgets the singular values", "no_values", edits=((" * s[:r]", ""),)),
    Answer(
        "nearest",
        "singular values on both sides",
        "values_squared",
        edits=(("@ Vh[:r]", "@ (s[:r, None] * Vh[:r])"),),
    ),
    Answer(
        "nearest",
        "keeps the last r pieces",
        "smallest",
        edits=(("[:, :r]", "[:, -r:]"), ("s[:r]", "s[-r:]"), ("Vh[:r]", "Vh[-r:]")),
    ),
    Answer(
        "nearest",
        "returns the rest",
        "rest",
        edits=(("[:, :r]", "[:, r:]"), ("s[:r]", "s[r:]"), ("Vh[:r]", "Vh[r:]")),
    ),
    Answer(
        "nearest",
        "does not cut",
        "untouched",
        code="""
def nearest_of_rank(matrix, r):
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U @ torch.diag(s) @ Vh
""",
    ),
    Answer(
        "nearest",
        "returns the transpose",
        "transposed",
        code="""
def nearest_of_rank(matrix, r):
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U[:, :r] * s[:r] @ Vh[:r]).T
""",
    ),
    Answer(
        "nearest",
        "keeps the first r rows of the matrix",
        "other",
        code="""
def nearest_of_rank(matrix, r):
    out = torch.zeros_like(matrix)
    out[:r] = matrix[:r]
    return out
""",
    ),
    Answer(
        "nearest",
        "columns of Vh, without transposing",
        "raised",
        edits=(("Vh[:r]", "Vh[:, :r]"),),
    ),
    Answer("nearest", "forgets return", "none", edits=(("return U", "near = U"),)),
    Answer("energy_rank", "sums the singular values", "not_squared", edits=(("s.square()", "s"),)),
    Answer("energy_rank", "strictly more", "strict", edits=(("< share", "<= share"),)),
    Answer("energy_rank", "position, from 0", "position", edits=((" + 1", ""),)),
    Answer("energy_rank", "adds one too often", "one_more", edits=((" + 1", " + 2"),)),
    Answer(
        "energy_rank",
        "largest rank within the share",
        "below",
        code="""
def rank_for_energy(s, share):
    running = torch.cumsum(s**2, 0) / (s**2).sum()
    return int((running <= share).sum())
""",
    ),
    Answer(
        "energy_rank",
        "does not divide by the total",
        "not_divided",
        code="""
def rank_for_energy(s, share):
    return int((torch.cumsum(s**2, 0) < share).sum()) + 1
""",
    ),
    Answer(
        "energy_rank",
        "from the smallest up",
        "smallest_first",
        code="""
def rank_for_energy(s, share):
    running = torch.cumsum(s.flip(0) ** 2, 0) / (s**2).sum()
    return int((running < share).sum()) + 1
""",
    ),
    Answer(
        "energy_rank",
        "share of the count",
        "share_of_count",
        code="""
import math


def rank_for_energy(s, share):
    return math.ceil(share * len(s))
""",
    ),
    Answer(
        "energy_rank",
        "returns the running shares",
        "type",
        code="""
def rank_for_energy(s, share):
    return torch.cumsum(s**2, 0) / (s**2).sum() >= share
""",
    ),
    Answer("factors", "A first", "swapped", edits=(("return B, A", "return A, B"),)),
    Answer(
        "factors",
        "of the transposed update",
        "transposed",
        edits=(("svd(update,", "svd(update.T,"),),
    ),
    Answer("factors", "A as columns", "A_transposed", edits=(("return B, A", "return B, A.T"),)),
    Answer(
        "factors",
        "one piece too many",
        "one_more",
        edits=(("[:, :r]", "[:, : r + 1]"), ("s[:r]", "s[: r + 1]"), ("Vh[:r]", "Vh[: r + 1]")),
    ),
    Answer(
        "factors",
        "does not cut",
        "not_cut",
        code="""
def split_update(update, r):
    U, s, Vh = torch.linalg.svd(update, full_matrices=False)
    return U * s, Vh
""",
    ),
    Answer("factors", "returns the product", "type", edits=(("B, A\n", "B @ A\n"),)),
    Answer(
        "factors",
        "B transposed",
        "B_transposed",
        code="""
def split_update(update, r):
    U, s, Vh = torch.linalg.svd(update, full_matrices=False)
    return (U[:, :r] * s[:r]).T, Vh[:r]
""",
    ),
    Answer("factors", "s in both", "values_twice", edits=(("Vh[:r]", "s[:r, None] * Vh[:r]"),)),
    Answer("factors", "s in neither", "no_values", edits=((" * s[:r]", ""),)),
    Answer("factors", "root in one", "root_once", edits=(("* s[:r]", "* s[:r].sqrt()"),)),
    Answer(
        "factors",
        "last r pieces",
        "smallest",
        edits=(("[:, :r]", "[:, -r:]"), ("s[:r]", "s[-r:]"), ("Vh[:r]", "Vh[-r:]")),
    ),
    Answer("factors", "columns of Vh", "vh_as_v", edits=(("Vh[:r]", "Vh[:, :r].T"),)),
    Answer(
        "factors",
        "scales the rows of Vh without a second axis",
        "raised",
        edits=(("Vh[:r]", "s[:r] * Vh[:r]"),),
    ),
    Answer(
        "factors",
        "random A, and B fitted to it",
        "other",
        code="""
def split_update(update, r):
    A = torch.randn(r, update.shape[1], dtype=update.dtype)
    return update @ torch.linalg.pinv(A), A
""",
    ),
    Answer(
        "budget",
        "changes the weights in place",
        "in_place",
        code="""
def fit_budget(before, after, budget):
    r = budget // sum(sum(W.shape) for W in before.values())
    weights = dict(before)
    for name in weights:
        weights[name] += truncate(after[name] - before[name], r)
    return r, weights
""",
    ),
    Answer(
        "budget",
        "turns after into the update, in place",
        "in_place",
        code="""
def fit_budget(before, after, budget):
    r = budget // sum(sum(W.shape) for W in before.values())
    return r, {n: before[n] + truncate(after[n].sub_(before[n]), r) for n in before}
""",
    ),
    Answer(
        "budget",
        "stays below the budget",
        "strict_budget",
        edits=(("r = budget // cost", "r = (budget - 1) // cost"),),
    ),
    Answer(
        "budget",
        "rounds up",
        "over_budget",
        edits=(("r = budget // cost", "r = -(-budget // cost)"),),
    ),
    Answer(
        "budget",
        "one unit of rank too many",
        "over_budget",
        edits=(("r = budget // cost", "r = budget // cost + 1"),),
    ),
    Answer(
        "budget",
        "rows times columns",
        "product",
        code="""
def fit_budget(before, after, budget):
    r = budget // sum(W.numel() for W in before.values())
    return r, {n: before[n] + truncate(after[n] - before[n], r) for n in before}
""",
    ),
    Answer(
        "budget",
        "counts the last matrix only",
        "one_matrix",
        code="""
def fit_budget(before, after, budget):
    for W in before.values():
        cost = W.shape[0] + W.shape[1]
    r = budget // cost
    return r, {n: before[n] + truncate(after[n] - before[n], r) for n in before}
""",
    ),
    Answer("budget", "returns the dict alone", "type", edits=(("r, weights", "weights"),)),
    Answer(
        "budget",
        "creates the dict inside the loop",
        "new_dict",
        code="""
def fit_budget(before, after, budget):
    r = budget // sum(sum(W.shape) for W in before.values())
    for name in before:
        weights = {name: before[name] + truncate(after[name] - before[name], r)}
    return r, weights
""",
    ),
    Answer("budget", "the updates alone", "only_update", edits=(("before[name] + ", ""),)),
    Answer(
        "budget",
        "truncates the weights",
        "cut_weights",
        edits=(("before[name] + truncate(update, r)", "truncate(after[name], r)"),),
    ),
    Answer(
        "budget",
        "adds to the trained weights",
        "added_to_after",
        edits=(("before[name] + t", "after[name] + t"),),
    ),
    Answer(
        "budget",
        "before minus after",
        "backwards",
        edits=(("after[name] - before[name]", "before[name] - after[name]"),),
    ),
    Answer(
        "budget",
        "the whole update",
        "not_cut",
        edits=(("truncate(update, r)", "update"),),
    ),
    Answer(
        "budget",
        "the weights before training",
        "unchanged",
        edits=((" + truncate(update, r)", ""),),
    ),
    Answer(
        "budget",
        "truncates to the square of r",
        "another_rank",
        edits=(("truncate(update, r)", "truncate(update, 1)"),),
    ),
    Answer(
        "nearest",
        "half precision",
        "nearly",
        edits=(("return U[:, :r] * s[:r] @ Vh[:r]", "return (U[:, :r] * s[:r] @ Vh[:r]).half()"),),
    ),
    Answer(
        "nearest",
        "around the mean",
        "other",
        edits=(
            (
                "return U[:, :r] * s[:r] @ Vh[:r]",
                "m = matrix.mean(0)\n    U, s, Vh = torch.linalg.svd(matrix - m, False)\n"
                "    return m + U[:, :r] * s[:r] @ Vh[:r]",
            ),
        ),
    ),
    Answer("energy_rank", "squares in place", "changed", edits=(("s.square()", "s.square_()"),)),
    Answer(
        "energy_rank",
        "never all pieces",
        "not_all",
        edits=(
            (
                "int((running < share).sum()) + 1",
                "min(int((running < share).sum()) + 1, len(s) - 1)",
            ),
        ),
    ),
    Answer(
        "factors",
        "takes it off the update",
        "changed",
        edits=(("    return B, A", "    update -= B @ A\n    return B, A"),),
    ),
    Answer("budget", "no new dict", "same_dict", edits=(("weights = {}", "weights = before"),)),
]

RIGHT += [
    Answer(
        "break_even",
        "loop",
        edits=(
            (
                "return (d_in * d_out - 1) // (d_in + d_out)",
                (
                    "return max(r for r in range(min(d_in, d_out) + 1) if r * (d_in + d_out) "
                    "< d_in * d_out)"
                ),
            ),
        ),
    ),
    Answer(
        "break_even",
        "ceil - 1",
        edits=(
            (
                "return (d_in * d_out - 1) // (d_in + d_out)",
                "return -(-d_in * d_out // (d_in + d_out)) - 1",
            ),
        ),
    ),
    Answer(
        "nearest",
        "full matrices",
        edits=(
            (
                "U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)",
                "U, s, Vh = torch.linalg.svd(matrix)",
            ),
        ),
    ),
    Answer(
        "nearest",
        "projection",
        edits=(
            (
                "return U[:, :r] * s[:r] @ Vh[:r]",
                "P = U[:, :r] @ U[:, :r].T\n    return P @ matrix",
            ),
        ),
    ),
    Answer(
        "energy_rank",
        "searchsorted",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                (
                    "return int(torch.searchsorted(running, torch.tensor(share, dtype=running"
                    ".dtype))) + 1"
                ),
            ),
        ),
    ),
    Answer(
        "energy_rank",
        "loop",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                (
                    "total = 0.0\n"
                    "    for i, x in enumerate(squares.tolist(), 1):\n"
                    "        total += x\n"
                    "        if total >= share * float(squares.sum()):\n"
                    "            return i"
                ),
            ),
        ),
    ),
    Answer(
        "factors",
        "s with A",
        edits=(
            ("B = U[:, :r] * s[:r]", "B = U[:, :r]"),
            ("A = Vh[:r]", "A = s[:r, None] * Vh[:r]"),
        ),
    ),
    Answer(
        "factors",
        "sqrt both",
        edits=(
            ("B = U[:, :r] * s[:r]", "B = U[:, :r] * s[:r].sqrt()"),
            ("A = Vh[:r]", "A = s[:r].sqrt()[:, None] * Vh[:r]"),
        ),
    ),
    Answer(
        "budget",
        "search",
        edits=(
            ("r = budget // cost", "r = max(k for k in range(budget + 1) if k * cost <= budget)"),
        ),
    ),
    Answer(
        "budget",
        "own svd",
        edits=(
            (
                "weights[name] = before[name] + truncate(update, r)",
                (
                    "U, s, Vh = torch.linalg.svd(update, full_matrices=False)\n"
                    "        weights[name] = before[name] + U[:, :r] @ torch.diag(s[:r]) @ Vh"
                    "[:r]"
                ),
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "break_even",
        "minus one whole",
        "one_less",
        edits=(
            (
                "return (d_in * d_out - 1) // (d_in + d_out)",
                "return d_in * d_out // (d_in + d_out) - 1",
            ),
        ),
    ),
    Answer(
        "break_even",
        "at least 1",
        "at_least_one",
        edits=(
            (
                "return (d_in * d_out - 1) // (d_in + d_out)",
                "return max(1, (d_in * d_out - 1) // (d_in + d_out))",
            ),
        ),
    ),
    Answer(
        "break_even",
        "loop from 1",
        "at_least_one",
        edits=(
            (
                "return (d_in * d_out - 1) // (d_in + d_out)",
                (
                    "return max((r for r in range(1, min(d_in, d_out) + 1) if r * (d_in + d_o"
                    "ut) < d_in * d_out), default=1)"
                ),
            ),
        ),
    ),
    Answer(
        "nearest",
        "sqrt s",
        "root",
        edits=(("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :r] * s[:r].sqrt() @ Vh[:r]"),),
    ),
    Answer(
        "nearest",
        "one less",
        "one_less",
        edits=(
            ("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, : r - 1] * s[: r - 1] @ Vh[: r - 1]"),
        ),
    ),
    Answer(
        "nearest",
        "only r-th",
        "one_piece",
        edits=(
            (
                "return U[:, :r] * s[:r] @ Vh[:r]",
                "return U[:, r - 1 : r] * s[r - 1 : r] @ Vh[r - 1 : r]",
            ),
        ),
    ),
    Answer(
        "nearest",
        "rank 1 always",
        "one_piece",
        edits=(("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :1] * s[:1] @ Vh[:1]"),),
    ),
    Answer(
        "nearest",
        "largest s only",
        "one_value",
        edits=(("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :r] * s[0] @ Vh[:r]"),),
    ),
    Answer(
        "energy_rank",
        "running >",
        "above",
        edits=(
            ("return int((running < share).sum()) + 1", "return int((running > share).sum()) + 1"),
        ),
    ),
    Answer(
        "energy_rank",
        "no cumsum",
        "each_alone",
        edits=(
            ("running = squares.cumsum(0) / squares.sum()", "running = squares / squares.sum()"),
        ),
    ),
    Answer(
        "energy_rank",
        "share of count",
        "share_of_count",
        edits=(("return int((running < share).sum()) + 1", "return round(share * len(s))"),),
    ),
    Answer(
        "energy_rank",
        "1 - share",
        "other_part",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                "return int((running < 1 - share).sum()) + 1",
            ),
        ),
    ),
    Answer(
        "energy_rank",
        "rounding share",
        "nearly",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                "return int((running.round(decimals=2) < share).sum()) + 1",
            ),
        ),
    ),
    Answer(
        "energy_rank",
        "tolerance",
        "nearly",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                "return int((running < share - 0.01).sum()) + 1",
            ),
        ),
    ),
    Answer(
        "energy_rank",
        "max with 2",
        "two",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                "return max(2, int((running < share).sum()) + 1)",
            ),
        ),
    ),
    Answer(
        "energy_rank",
        "int of the share's place by interpolation",
        "nearest",
        edits=(
            (
                "return int((running < share).sum()) + 1",
                (
                    "import numpy as np\n"
                    "    return int(np.interp(share, running.numpy(), np.arange(1, len(s) + 1"
                    ")))"
                ),
            ),
        ),
    ),
    Answer(
        "factors",
        "B transposed",
        "B_transposed",
        edits=(("B = U[:, :r] * s[:r]", "B = (U[:, :r] * s[:r]).T"),),
    ),
    Answer(
        "factors",
        "one less",
        "one_less",
        edits=(
            ("B = U[:, :r] * s[:r]", "B = U[:, : r - 1] * s[: r - 1]"),
            ("A = Vh[:r]", "A = Vh[: r - 1]"),
        ),
    ),
    Answer(
        "budget",
        "first only",
        "one_matrix",
        edits=(
            (
                "cost = sum(sum(W.shape) for W in before.values())",
                "cost = sum(next(iter(before.values())).shape)",
            ),
        ),
    ),
    Answer(
        "budget",
        "budget each",
        "one_matrix",
        edits=(("r = budget // cost", "r = min(budget // sum(W.shape) for W in before.values())"),),
    ),
    Answer(
        "budget",
        "shared equally",
        "shared",
        edits=(
            (
                "r = budget // cost",
                ("r = min(budget // len(before) // sum(W.shape) for W in before.values())"),
            ),
        ),
    ),
    Answer(
        "budget",
        "round",
        "over_budget",
        edits=(("r = budget // cost", "r = round(budget / cost)"),),
    ),
    Answer(
        "budget",
        "r - 1",
        "raised",
        edits=(("r = budget // cost", "r = budget // cost - 1"),),
    ),
    Answer(
        "budget",
        "truncate both",
        "base_cut",
        edits=(
            (
                "weights[name] = before[name] + truncate(update, r)",
                "weights[name] = truncate(before[name], r) + truncate(update, r)",
            ),
        ),
    ),
    Answer(
        "budget",
        "difference of truncations",
        "base_cut",
        edits=(
            (
                "weights[name] = before[name] + truncate(update, r)",
                (
                    "weights[name] = before[name] + truncate(after[name], r) - truncate(befor"
                    "e[name], r)"
                ),
            ),
        ),
    ),
    Answer(
        "budget",
        "rank by rows",
        "one_side",
        edits=(
            (
                "cost = sum(sum(W.shape) for W in before.values())",
                "cost = sum(W.shape[0] for W in before.values())",
            ),
        ),
    ),
    Answer(
        "budget",
        "rank by cols",
        "one_side",
        edits=(
            (
                "cost = sum(sum(W.shape) for W in before.values())",
                "cost = sum(W.shape[1] for W in before.values())",
            ),
        ),
    ),
    Answer(
        "budget",
        "max 1",
        "at_least_one",
        edits=(("r = budget // cost", "r = max(1, budget // cost)"),),
    ),
    Answer(
        "budget",
        "capped at power of two",
        "power",
        edits=(("r = budget // cost", "r = 1 << max(0, (budget // cost).bit_length() - 1)"),),
    ),
]

WRONG += [  # what a novice wrote in a later round
    edit(
        "break_even",
        "loop returns the first",
        "zero",
        (
            "return (d_in * d_out - 1) // (d_in + d_out)",
            (
                "for r in range(min(d_in, d_out)):\n"
                "        if r * (d_in + d_out) < d_in * d_out:\n"
                "            return r"
            ),
        ),
    ),
    edit(
        "break_even",
        "loop from 1 returns the first",
        "first",
        (
            "return (d_in * d_out - 1) // (d_in + d_out)",
            (
                "for r in range(1, min(d_in, d_out)):\n"
                "        if r * (d_in + d_out) < d_in * d_out:\n"
                "            return r\n"
                "    return 0"
            ),
        ),
    ),
    edit(
        "break_even",
        "while <= returns the next",
        "one_more",
        (
            "return (d_in * d_out - 1) // (d_in + d_out)",
            ("r = 0\n    while r * (d_in + d_out) <= d_in * d_out:\n        r += 1\n    return r"),
        ),
    ),
    edit(
        "break_even",
        "half of d_in",
        "half",
        ("return (d_in * d_out - 1) // (d_in + d_out)", "return d_in // 2"),
    ),
    edit(
        "break_even",
        "half of the larger",
        "half",
        ("return (d_in * d_out - 1) // (d_in + d_out)", "return max(d_in, d_out) // 2"),
    ),
    edit(
        "break_even",
        "quarter of the sum",
        "half",
        ("return (d_in * d_out - 1) // (d_in + d_out)", "return (d_in + d_out) // 4"),
    ),
    edit(
        "break_even",
        "one factor",
        "one_factor",
        ("return (d_in * d_out - 1) // (d_in + d_out)", "return (d_in * d_out - 1) // d_in"),
    ),
    edit(
        "break_even",
        "max minus one",
        "full_rank",
        ("return (d_in * d_out - 1) // (d_in + d_out)", "return min(d_in, d_out) - 1"),
    ),
    edit(
        "break_even",
        "while loop with while r<..., minus 1 missing for 0",
        "at_least_one",
        (
            "return (d_in * d_out - 1) // (d_in + d_out)",
            (
                "r = 1\n"
                "    while r * (d_in + d_out) < d_in * d_out:\n"
                "        r += 1\n"
                "    return r - 1 or 1"
            ),
        ),
    ),
    edit(
        "nearest",
        "skips the first",
        "skips_first",
        (
            "return U[:, :r] * s[:r] @ Vh[:r]",
            ("return sum(s[i] * torch.outer(U[:, i], Vh[i]) for i in range(1, r))"),
        ),
    ),
    edit(
        "nearest",
        "counts from 1 to r",
        "skips_first",
        (
            "return U[:, :r] * s[:r] @ Vh[:r]",
            ("return sum(s[i] * torch.outer(U[:, i], Vh[i]) for i in range(1, r + 1))"),
        ),
    ),
    edit(
        "nearest",
        "piece number r",
        "one_piece",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return s[r] * torch.outer(U[:, r], Vh[r])"),
    ),
    edit(
        "nearest",
        "returns left alone",
        "one_side",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :r] * s[:r]"),
    ),
    edit(
        "nearest",
        "returns right alone",
        "one_side",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return s[:r, None] * Vh[:r]"),
    ),
    edit(
        "nearest",
        "import truncate",
        "ready_made",
        (
            "return U[:, :r] * s[:r] @ Vh[:r]",
            ("from lora_course.rank import truncate as cut\n    return cut(matrix, r)"),
        ),
    ),
    edit(
        "nearest",
        "rows of U",
        "one_side",
        (
            "return U[:, :r] * s[:r] @ Vh[:r]",
            "return U[:r].T * s[:r] @ Vh[:r] if False else (U[:r] * s) @ Vh",
        ),
    ),
    edit(
        "nearest",
        "first columns of matrix",
        "one_side",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return matrix[:, :r]"),
    ),
    edit(
        "nearest",
        "s normalized",
        "other_values",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :r] * (s[:r] / s.sum()) @ Vh[:r]"),
    ),
    edit(
        "nearest",
        "s over s0",
        "other_values",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :r] * (s[:r] / s[0]) @ Vh[:r]"),
    ),
    edit(
        "nearest",
        "Vh transposed and U",
        "transposed",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return (Vh[:r].T * s[:r] @ U[:, :r].T)"),
    ),
    edit(
        "nearest",
        "rank r from 1",
        "skips_first",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, 1:r + 1] * s[1:r + 1] @ Vh[1:r + 1]"),
    ),
    edit(
        "nearest",
        "mean s",
        "other_values",
        ("return U[:, :r] * s[:r] @ Vh[:r]", "return U[:, :r] * s[:r].mean() @ Vh[:r]"),
    ),
    edit(
        "energy_rank",
        "count at least",
        "above",
        ("return int((running < share).sum()) + 1", "return int((running >= share).sum())"),
    ),
    edit(
        "energy_rank",
        "count above, no one",
        "above",
        ("return int((running < share).sum()) + 1", "return int((running > share).sum())"),
    ),
    edit(
        "energy_rank",
        "floor of count",
        "share_of_count",
        ("return int((running < share).sum()) + 1", "return int(share * len(s))"),
    ),
    edit(
        "energy_rank",
        "floor+1 of count",
        "share_of_count",
        ("return int((running < share).sum()) + 1", "return int(share * len(s)) + 1"),
    ),
    edit(
        "energy_rank",
        "relative to the largest",
        "relative",
        ("return int((running < share).sum()) + 1", "return int((s / s[0] >= share).sum())"),
    ),
    edit(
        "energy_rank",
        "all",
        "not_all",
        ("return int((running < share).sum()) + 1", "return len(s)"),
    ),
    edit("energy_rank", "one", "one", ("return int((running < share).sum()) + 1", "return 1")),
    edit(
        "energy_rank",
        "squares late",
        "squares_late",
        (
            "return int((running < share).sum()) + 1",
            (
                "running = s.cumsum(0) ** 2 / s.sum() ** 2\n"
                "    return int((running < share).sum()) + 1"
            ),
        ),
    ),
    edit(
        "energy_rank",
        "cumulative percent",
        "one",
        (
            "return int((running < share).sum()) + 1",
            "return int((100 * running < share).sum()) + 1",
        ),
    ),
    edit(
        "energy_rank",
        "returns the value",
        "value",
        ("return int((running < share).sum()) + 1", "return s[int((running < share).sum())]"),
    ),
    edit(
        "energy_rank",
        "loop break one late",
        "strict",
        (
            "return int((running < share).sum()) + 1",
            (
                "r = 0\n"
                "    for x in running:\n"
                "        r += 1\n"
                "        if x > share:\n"
                "            break\n"
                "    return r"
            ),
        ),
    ),
    edit(
        "energy_rank",
        "nearest share",
        "nearest",
        (
            "return int((running < share).sum()) + 1",
            "return int((running - share).abs().argmin()) + 1",
        ),
    ),
    edit(
        "energy_rank",
        "tail le",
        "other_part",
        (
            "return int((running < share).sum()) + 1",
            (
                "tail = squares.flip(0).cumsum(0) / squares.sum()\n"
                "    return int((tail >= share).sum())"
            ),
        ),
    ),
    edit(
        "factors",
        "B zero A random",
        "zero",
        ("B = U[:, :r] * s[:r]", "B = torch.zeros(update.shape[0], r)"),
        ("A = Vh[:r]", "A = torch.randn(r, update.shape[1])"),
    ),
    edit("factors", "B not cut", "unequal", ("B = U[:, :r] * s[:r]", "B = U * s")),
    edit("factors", "A not cut", "unequal", ("A = Vh[:r]", "A = Vh")),
    edit("factors", "s over", "no_values", ("A = Vh[:r]", "A = Vh[:r] / s[:r, None]")),
    edit(
        "factors",
        "skips first",
        "skips_first",
        ("[:, :r] * s[:r]", "[:, 1:r + 1] * s[1:r + 1]"),
        ("Vh[:r]", "Vh[1:r + 1]"),
    ),
    edit("factors", "full_matrices and Vh.T", "vh_as_v", ("A = Vh[:r]", "A = Vh.T[:r]")),
    edit("factors", "half s", "other_values", ("* s[:r]", "* s[:r] / 2")),
    edit("factors", "swapped roles", "transposed", ("return B, A", "return A.T, B.T")),
    edit("factors", "product as B", "unequal", ("return B, A", "return B @ A, A")),
    edit("factors", "scaled by r", "other_values", ("* s[:r]", "* s[:r] / r")),
    edit(
        "budget",
        "cost of both dicts",
        "counted_again",
        (
            "cost = sum(sum(W.shape) for W in before.values())",
            ("cost = sum(sum(W.shape) for W in [*before.values(), *after.values()])"),
        ),
    ),
    edit(
        "budget",
        "r plus one kept",
        "another_rank",
        ("truncate(update, r)", "truncate(update, r + 1)"),
    ),
    edit(
        "budget",
        "per matrix share",
        "another_rank",
        ("truncate(update, r)", "truncate(update, budget // len(before) // sum(update.shape))"),
    ),
    edit(
        "budget",
        "rank at least 1 in weights",
        "another_rank",
        ("truncate(update, r)", "truncate(update, max(r, 1))"),
    ),
    edit(
        "budget",
        "bigger cost by len",
        "counted_again",
        (
            "cost = sum(sum(W.shape) for W in before.values())",
            "cost = len(before) * sum(sum(W.shape) for W in before.values())",
        ),
    ),
    edit(
        "budget",
        "cost max",
        "one_matrix",
        (
            "cost = sum(sum(W.shape) for W in before.values())",
            "cost = max(sum(W.shape) for W in before.values())",
        ),
    ),
    edit(
        "budget",
        "after minus trunc",
        "rest",
        (
            "weights[name] = before[name] + truncate(update, r)",
            "weights[name] = after[name] - truncate(update, r)",
        ),
    ),
    edit(
        "budget",
        "update of truncs",
        "cut_weights",
        (
            "weights[name] = before[name] + truncate(update, r)",
            "weights[name] = truncate(before[name] + update, r)",
        ),
    ),
    edit(
        "budget",
        "return in loop",
        "returned_early",
        ("    return r, weights", "        return r, weights"),
    ),
    edit(
        "budget",
        "dict update in loop",
        "new_dict",
        ("    weights = {}\n", ""),
        ("    for name in before:\n", "    for name in before:\n        weights = {}\n"),
    ),
    edit(
        "budget",
        "names with suffix",
        "other_names",
        ("weights[name] =", "weights[name.removesuffix('.weight')] ="),
    ),
    edit(
        "budget",
        "rank per side min",
        "one_side",
        (
            "cost = sum(sum(W.shape) for W in before.values())",
            "cost = sum(min(W.shape) for W in before.values())",
        ),
    ),
    edit(
        "budget",
        "rank max sides",
        "one_side",
        (
            "cost = sum(sum(W.shape) for W in before.values())",
            "cost = sum(max(W.shape) for W in before.values())",
        ),
    ),
    edit(
        "budget",
        "same dict .copy and +=",
        "in_place",
        ("weights = {}", "weights = before.copy()"),
        (
            "weights[name] = before[name] + truncate(update, r)",
            "weights[name] += truncate(update, r)",
        ),
    ),
    edit(
        "budget",
        "one rank less",
        "one_less",
        ("r = budget // cost", "r = max(budget // cost - 1, 0)"),
    ),
]

WRONG += [
    Answer(
        "budget",
        "/ in the place of //",
        "not_whole",
        code="""
def fit_budget(before, after, budget):
    r = budget / sum(sum(W.shape) for W in before.values())
    return r, {n: before[n] + truncate(after[n] - before[n], int(r)) for n in before}
""",
    ),
]
