"""Right and wrong answers to the exercises of chapter 14."""

from tests.answers import Answer

V = "V = W + scaling * lora_B @ lora_A  # (out, in)"
FACTOR = "factor = magnitude / V.norm(dim=1).detach()  # (out,)"
Y = "y = factor * (x @ V.T)  # (..., out)"
BIAS = "return y if bias is None else y + bias"
ROOT = "root = (s[:r] / scaling).sqrt()  # (r,)"
PAIR = "lora_A, lora_B = root[:, None] * Vh[:r], U[:, :r] * root"
REST = "return W - scaling * lora_B @ lora_A, lora_A, lora_B"
SCORE = "scores[layer] = E[:, 0] + A.mean(1) + B.mean(0)  # (r,)"
PRODUCT = '(parts[key][0] * parts[key][1] for key in "AEB")'
BAR = "bar = ranking[budget] if budget < len(ranking) else -math.inf"
MASKS = "return {layer: score > bar for layer, score in scores.items()}"
DRAW_A = "    A = rng.uniform(-bounds[0], bounds[0], (r, d_in))\n"
DRAW_B = "    B = rng.uniform(-bounds[1], bounds[1], (d_out, r))\n"
BOUNDS = "bounds = math.sqrt(6 / d_in), math.sqrt(6 / r)  # A has d_in columns, B has r"
DELTA = "deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns]"
FINITE = "means = torch.where(means.isfinite(), means, math.inf)  # (M, L)"
EQUAL = "equal = best - best[winner] <= torch.maximum(spread, spread[winner])"
EDGE = "edge = (at == 0) | (at == losses.shape[1] - 1)"
RETURN = "return means[:, shared].argmin(), winner, equal, edge"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "dora_forward",
        "base and update apart, no_grad",
        code="""
def dora_forward(x, W, bias, lora_A, lora_B, scaling, magnitude):
    out = torch.nn.functional.linear(x, W)
    update = torch.nn.functional.linear(torch.nn.functional.linear(x, lora_A), lora_B) * scaling
    with torch.no_grad():
        norm = (W + scaling * (lora_B @ lora_A)).pow(2).sum(1).sqrt()
    y = (out + update) * (magnitude / norm)
    if bias is not None:
        y = y + bias
    return y
""",
    ),
    Answer(
        "dora_forward",
        "as PEFT: the change on top of the base",
        code="""
def dora_forward(x, W, bias, lora_A, lora_B, scaling, magnitude):
    base = torch.einsum("...i,oi->...o", x, W)
    norm = torch.linalg.norm((W + scaling * torch.mm(lora_B, lora_A)).detach(), dim=-1)
    m = (magnitude / norm).view(1, -1)
    extra = (m - 1) * base + m * (x @ lora_A.T @ lora_B.T) * scaling
    return base + extra + (0 if bias is None else bias)
""",
    ),
    Answer(
        "pissa_start",
        "diagonal matrices",
        code="""
def pissa_start(W, r, scaling):
    U, S, Vt = torch.svd(W)
    half = torch.diag(S[:r].div(scaling).pow(0.5))
    B = U[:, :r].mm(half)
    A = half.mm(Vt[:, :r].T)
    residual = W.clone()
    residual -= scaling * B @ A
    return residual, A, B
""",
    ),
    Answer(
        "pissa_start",
        "by the eigenvectors of W W^T, in float64, signs turned",
        code="""
def pissa_start(W, r, scaling):
    M = W.double()
    values, vectors = torch.linalg.eigh(M @ M.T)
    U = vectors.flip(1)[:, :r]
    s = values.flip(0)[:r].sqrt()
    A = -(U.T @ M) / (s * scaling).sqrt()[:, None]
    B = -U * (s / scaling).sqrt()
    return [(M - scaling * B @ A).float(), A.float(), B.float()]
""",
    ),
    Answer(
        "allocate",
        "topk over all layers",
        code="""
def allocate(averages, budget):
    scores = {}
    for name in averages:
        s = {k: mean * jump for k, (mean, jump) in averages[name].items()}
        scores[name] = s["E"].flatten() + torch.stack([s["A"].mean(-1), s["B"].mean(-2)]).sum(0)
    everything = torch.cat([*scores.values()])
    keep = torch.zeros(len(everything), dtype=torch.bool)
    keep[everything.topk(budget).indices] = True
    parts = keep.split([len(s) for s in scores.values()])
    return dict(zip(scores, parts))
""",
    ),
    Answer(
        "allocate",
        "a loop over a sorted list, arrays of bool",
        code="""
def allocate(averages, budget):
    ranked, masks = [], {}
    for name, parts in averages.items():
        r = parts["E"][0].shape[0]
        masks[name] = np.zeros(r, dtype=bool)
        for k in range(r):
            one = float(parts["E"][0][k, 0] * parts["E"][1][k, 0])
            one += float((parts["A"][0][k] * parts["A"][1][k]).mean())
            one += float((parts["B"][0][:, k] * parts["B"][1][:, k]).mean())
            ranked.append((one, name, k))
    ranked.sort(reverse=True)
    for _, name, k in ranked[:budget]:
        masks[name][k] = True
    return masks
""",
    ),
    Answer(
        "vera_deltas",
        "diagonal matrices, torch at the end",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    r = next(iter(vectors.values()))[0].shape[0]
    most_in = max(i for _, i in shapes.values())
    most_out = max(o for o, _ in shapes.values())
    A = rng.uniform(-((6 / most_in) ** 0.5), (6 / most_in) ** 0.5, size=(r, most_in))
    B = rng.uniform(-((6 / r) ** 0.5), (6 / r) ** 0.5, size=(most_out, r))
    A, B = torch.from_numpy(A), torch.from_numpy(B)
    out = {}
    for name, (o, i) in shapes.items():
        d, b = (torch.as_tensor(v) for v in vectors[name])
        out[name] = torch.diag(b) @ B[:o] @ torch.diag(d) @ A[:, :i]
    return out
""",
    ),
    Answer(
        "vera_deltas",
        "einsum, other order of the dict",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    sizes = np.array(list(shapes.values()))
    r = len(list(vectors.values())[0][0])
    bound = lambda columns: np.sqrt(6.0 / columns)
    A = rng.uniform(-bound(sizes[:, 1].max()), bound(sizes[:, 1].max()), (r, sizes[:, 1].max()))
    B = rng.uniform(-bound(r), bound(r), (sizes[:, 0].max(), r))
    return {
        name: np.einsum("o,or,r,ri->oi", vectors[name][1], B[:o], vectors[name][0], A[:, :i])
        for name, (o, i) in reversed(list(shapes.items()))
    }
""",
    ),
    Answer(
        "unmask",
        "plain numbers",
        code="""
def unmask(losses, shared):
    table = losses.tolist()
    def mean(runs):
        return sum(runs) / len(runs) if all(map(math.isfinite, runs)) else math.inf
    means = [[mean(runs) for runs in method] for method in table]
    best = [min(row) for row in means]
    at = [row.index(min(row)) for row in means]
    spread = [max(m[i]) - min(m[i]) for m, i in zip(table, at)]
    winner = best.index(min(best))
    equal = [best[m] - best[winner] <= max(spread[m], spread[winner]) for m in range(len(best))]
    column = [row[shared] for row in means]
    return column.index(min(column)), winner, equal, [i in (0, len(means[0]) - 1) for i in at]
""",
    ),
    Answer(
        "unmask",
        "NumPy, masked",
        code="""
def unmask(losses, shared):
    grid = np.array(losses)
    means = np.where(np.isfinite(grid).all(-1), grid.mean(-1), np.inf)
    at = means.argmin(1)
    rows = np.take_along_axis(grid, at[:, None, None], axis=1)[:, 0]
    spread, best = np.ptp(rows, axis=1), means.min(1)
    won = int(best.argmin())
    equal = best <= best[won] + np.maximum(spread, spread[won])
    return int(means[:, shared].argmin()), won, equal, np.isin(at, [0, grid.shape[1] - 1])
""",
    ),
]

WRONG = [
    edit("dora_forward", "not divided", "not_normed", (FACTOR, "factor = magnitude")),
    edit("dora_forward", "no magnitude", "no_magnitude", (FACTOR,
         "factor = 1 / V.norm(dim=1).detach()")),
    edit("dora_forward", "norm of W", "norm_of_w", ("V.norm(dim=1)", "W.norm(dim=1)")),
    edit("dora_forward", "norm of all", "one_norm", ("V.norm(dim=1)", "V.norm()")),
    edit("dora_forward", "sum of squares", "squared", ("V.norm(dim=1)", "V.square().sum(1)")),
    edit("dora_forward", "scale forgotten", "no_scale", ("scaling * lora_B", "lora_B")),
    edit("dora_forward", "only the update", "update_only", (Y,
         "y = x @ W.T + factor * (scaling * x @ lora_A.T @ lora_B.T)")),
    edit("dora_forward", "bias inside", "bias_scaled", (Y, "y = x @ V.T"), (BIAS,
         "return factor * (y if bias is None else y + bias)")),
    edit("dora_forward", "bias lost", "bias_lost", (BIAS, "return y")),
    edit("dora_forward", "norm not detached", "not_detached", (".detach()", "")),
    edit("dora_forward", "V detached", "factors_cut", (V, "V = (W + scaling * lora_B @ lora_A)"
         ".detach()")),
    edit("dora_forward", "factor detached", "magnitude_cut", (FACTOR,
         "factor = (magnitude / V.norm(dim=1)).detach()")),
    edit("dora_forward", "no_grad around all", "all_cut", (V, "torch.set_grad_enabled(False)\n    "
         + V), (BIAS, "torch.set_grad_enabled(True)\n    " + BIAS)),
    edit("dora_forward", "product detached", "factors_cut", (Y, Y.split("  #")[0] + ".detach()")),
    edit("dora_forward", "norm of columns", "raised", ("V.norm(dim=1)", "V.norm(dim=0)")),
    edit("dora_forward", "V stored in W", "other", (BIAS, "W.copy_(V.detach())\n    " + BIAS)),
    edit("dora_forward", "forgets return", "none", (BIAS, "y if bias is None else y + bias")),
    edit("pissa_start", "W kept", "base_kept", (REST, "return W, lora_A, lora_B")),
    edit("pissa_start", "scale nowhere", "scale_ignored", (ROOT, "root = s[:r].sqrt()"),
         ("W - scaling * lora_B", "W - lora_B")),
    edit("pissa_start", "scale in the residual only", "scale_ignored", (ROOT,
         "root = s[:r].sqrt()")),
    edit("pissa_start", "last pieces", "smallest", ("s[:r]", "s[-r:]"), ("Vh[:r]", "Vh[-r:]"),
         ("U[:, :r]", "U[:, -r:]")),
    edit("pissa_start", "no root", "no_root", (".sqrt()", "")),
    edit("pissa_start", "no root, plain residual", "no_root", (ROOT, "root = s[:r] / scaling"),
         (REST, "return W - U[:, :r] * s[:r] @ Vh[:r], lora_A, lora_B")),
    edit("pissa_start", "all in B", "all_in_b", (PAIR,
         "lora_A, lora_B = Vh[:r], U[:, :r] * s[:r] / scaling")),
    edit("pissa_start", "all in A", "all_in_a", (PAIR,
         "lora_A, lora_B = s[:r, None] * Vh[:r] / scaling, U[:, :r]")),
    edit("pissa_start", "scale in B alone", "scale_in_one", (ROOT, "root = s[:r].sqrt()"),
         ("U[:, :r] * root", "U[:, :r] * root / scaling")),
    edit("pissa_start", "scale in A alone", "scale_in_one", (ROOT, "root = s[:r].sqrt()"),
         ("root[:, None] * Vh[:r]", "root[:, None] * Vh[:r] / scaling")),
    edit("pissa_start", "B zero", "lora_start", ("U[:, :r] * root", "0 * U[:, :r] * root")),
    edit("pissa_start", "transposed factors", "other", (REST, REST.replace("lora_A, lora_B",
         "lora_A.T, lora_B.T"))),
    edit("pissa_start", "A and B exchanged", "other", (REST, REST.replace(", lora_A, lora_B",
         ", lora_B, lora_A"))),
    edit("pissa_start", "W changed", "other", (REST, "W -= scaling * lora_B @ lora_A\n"
         "    return W, lora_A, lora_B")),
    edit("pissa_start", "first r without sorting by size", "other", ("s[:r]", "s[1:r+1]"),
         ("Vh[:r]", "Vh[1:r+1]"), ("U[:, :r]", "U[:, 1:r+1]")),
    edit("pissa_start", "two values", "type", (REST, "return lora_A, lora_B")),
    edit("pissa_start", "forgets return", "none", ("return W", "W")),
    edit("allocate", "as many in each layer", "each_layer", (MASKS,
         "share = budget // len(scores)\n    return {n: s.argsort(descending=True).argsort() < "
         "share for n, s in scores.items()}")),
    edit("allocate", "the least", "least", ("descending=True", "descending=False"),
         ("score > bar", "score < bar"), ("-math.inf", "math.inf")),
    edit("allocate", "off for on", "inverse", ("score > bar", "score <= bar")),
    edit("allocate", "sums", "sums", ("A.mean(1) + B.mean(0)", "A.sum(1) + B.sum(0)")),
    edit("allocate", "E alone", "only_e", (SCORE, "scores[layer] = E[:, 0]")),
    edit("allocate", "without E", "no_e", (SCORE, "scores[layer] = A.mean(1) + B.mean(0)")),
    edit("allocate", "sensitivity alone", "no_uncertainty", (PRODUCT,
         '(parts[key][0] for key in "AEB")')),
    edit("allocate", "added", "added", (PRODUCT,
         '(parts[key][0] + parts[key][1] for key in "AEB")')),
    edit("allocate", "one too few", "one_less", (BAR,
         "bar = ranking[budget - 1] if budget else math.inf")),
    edit("allocate", "one too many", "one_more", ("score > bar", "score >= bar")),
    edit("allocate", "a slice from the end", "edge_none", (BAR,
         "ranking = ranking.flip(0)\n    on = ranking[-budget:]\n    bar = on[0]"),
         ("score > bar", "score >= bar")),
    edit("allocate", "nothing on for all", "edge_all", ("-math.inf", "math.inf")),
    edit("allocate", "numbers instead of bool", "other", (MASKS,
         "return {n: (s > bar).float() for n, s in scores.items()}")),
    edit("allocate", "a column", "other", (MASKS,
         "return {n: (s > bar)[:, None] for n, s in scores.items()}")),
    edit("allocate", "one tensor", "type", (MASKS,
         "return torch.cat(list(scores.values())) > bar")),
    edit("allocate", "scores in place", "other", (PRODUCT,
         '(parts[key][0].mul_(parts[key][1]) for key in "AEB")')),
    edit("allocate", "index beyond the end", "raised", (BAR, "bar = ranking[budget]")),
    edit("allocate", "forgets return", "none", ("return {layer", "{layer")),
    edit("vera_deltas", "B first", "other_order", (DRAW_A + DRAW_B, DRAW_B + DRAW_A)),
    edit("vera_deltas", "own sizes, one generator", "own_size",
         (DRAW_A + DRAW_B, ""), (DELTA, "A = rng.uniform(-math.sqrt(6 / columns), "
         "math.sqrt(6 / columns), (r, columns))\n        B = rng.uniform(-math.sqrt(6 / r), "
         "math.sqrt(6 / r), (rows, r))\n        deltas[layer] = (b[:, None] * B * d) @ A")),
    edit("vera_deltas", "own sizes, seeded anew", "own_size",
         (DRAW_A + DRAW_B, ""), (DELTA, "rng = np.random.default_rng(seed)\n        "
         "A = rng.uniform(-math.sqrt(6 / columns), math.sqrt(6 / columns), (r, columns))\n"
         "        B = rng.uniform(-math.sqrt(6 / r), math.sqrt(6 / r), (rows, r))\n"
         "        deltas[layer] = (b[:, None] * B * d) @ A")),
    edit("vera_deltas", "last rows and columns", "last_part", ("B[:rows]", "B[-rows:]"),
         ("A[:, :columns]", "A[:, -columns:]")),
    edit("vera_deltas", "rows in the bound", "bound_rows", (BOUNDS,
         "bounds = math.sqrt(6 / r), math.sqrt(6 / d_out)")),
    edit("vera_deltas", "the bound of A for both", "one_bound", ("bounds[1]", "bounds[0]")),
    edit("vera_deltas", "the bound of B for both", "one_bound", ("bounds[0]", "bounds[1]")),
    edit("vera_deltas", "no root", "no_root", (BOUNDS, "bounds = 6 / d_in, 6 / r")),
    edit("vera_deltas", "d forgotten", "no_d", (" * d) @", ") @")),
    edit("vera_deltas", "b forgotten", "no_b", ("b[:, None] * B", "B")),
    edit("vera_deltas", "d twice", "squared", (" * d) @", " * d * d) @")),
    edit("vera_deltas", "b twice", "squared", ("b[:, None] * B", "b[:, None] ** 2 * B")),
    edit("vera_deltas", "b added", "other", ("b[:, None] * B", "b[:, None] + B")),
    edit("vera_deltas", "normal numbers", "other", (DRAW_A,
         "    A = rng.normal(size=(r, d_in))\n")),
    edit("vera_deltas", "the vectors changed", "other", (DELTA,
         DELTA + "\n        vectors[layer][0][:] = 0")),
    edit("vera_deltas", "in and out exchanged", "raised", ("for layer, (rows, columns)",
         "for layer, (columns, rows)")),
    edit("vera_deltas", "a list", "type", ("return deltas", "return list(deltas.values())")),
    edit("vera_deltas", "forgets return", "none", ("return deltas", "deltas")),
    edit("unmask", "the shared rate for both", "one_rate", (RETURN,
         "winner = means[:, shared].argmin()\n    " + RETURN)),
    edit("unmask", "own rates for both", "own_for_both", ("means[:, shared].argmin()", "winner")),
    edit("unmask", "exchanged", "swapped", (RETURN,
         "return winner, means[:, shared].argmin(), equal, edge")),
    edit("unmask", "the largest", "worst", (FINITE, FINITE.replace("math.inf", "math.inf)  #")),
         ("winner = best.argmin()", "winner = best.argmax()"), (RETURN,
         "column = means[:, shared]\n    claimed = torch.where(column.isfinite(), column, "
         "-math.inf).argmax()\n    return claimed, winner, equal, edge")),
    edit("unmask", "nanmean", "survivors", ("losses.mean(-1)",
         "torch.where(losses.isfinite(), losses, math.nan).nanmean(-1)")),
    edit("unmask", "the best seed", "best_seed", (FINITE, FINITE +
         "\n    means = torch.where(means.isfinite(), losses.amin(-1), math.inf)")),
    edit("unmask", "only the winner", "no_spread", (EQUAL, "equal = best == best[winner]")),
    edit("unmask", "own spread", "own_spread", ("torch.maximum(spread, spread[winner])",
         "spread")),
    edit("unmask", "the winner's spread", "winner_spread", ("torch.maximum(spread, "
         "spread[winner])", "spread[winner]")),
    edit("unmask", "sum of spreads", "sum_spread", ("torch.maximum(spread, spread[winner])",
         "spread + spread[winner]")),
    edit("unmask", "the smaller spread", "small_spread", ("torch.maximum", "torch.minimum")),
    edit("unmask", "less than the spread", "strict", ("best[winner] <=", "best[winner] <")),
    edit("unmask", "only the upper end", "other", (EDGE, "edge = at == losses.shape[1] - 1")),
    edit("unmask", "only the lower end", "other", (EDGE, "edge = at == 0")),
    edit("unmask", "nan stays", "nan_wins", (FINITE, "")),
    edit("unmask", "not at an end", "other", (RETURN, RETURN.replace("edge", "~edge"))),
    edit("unmask", "three values", "type", (RETURN, RETURN.replace(", edge", ""))),
    edit("unmask", "nan filled in place", "other", (FINITE,
         "losses.nan_to_num_(math.inf)\n    " + FINITE)),
    edit("unmask", "forgets return", "none", (RETURN, RETURN.replace("return ", ""))),
]  # fmt: skip
