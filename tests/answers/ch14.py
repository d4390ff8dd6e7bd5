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
    edit(
        "pissa_start",
        "smallest of the kept pieces first",
        "",
        (PAIR, "lora_A, lora_B = (root[:, None] * Vh[:r]).flip(0), (U[:, :r] * root).flip(1)"),
    ),
    edit(
        "pissa_start",
        "both factors turned",
        "",
        (
            PAIR,
            PAIR
            + """
    Q, _ = torch.linalg.qr(torch.randn(r, r))
    lora_A, lora_B = Q.T @ lora_A, lora_B @ Q""",
        ),
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
    edit("dora_forward", "norm of columns", "columns", ("V.norm(dim=1)", "V.norm(dim=0)")),
    edit("dora_forward", "V stored in W", "in_place", (BIAS, "W.copy_(V.detach())\n    " + BIAS)),
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
    edit("pissa_start", "transposed factors", "turned", (REST, REST.replace("lora_A, lora_B",
         "lora_A.T, lora_B.T"))),
    edit("pissa_start", "A and B exchanged", "exchanged", (REST, REST.replace(", lora_A, lora_B",
         ", lora_B, lora_A"))),
    edit("pissa_start", "W changed", "in_place", (REST, "W -= scaling * lora_B @ lora_A\n"
         "    return W, lora_A, lora_B")),
    edit("pissa_start", "first r without sorting by size", "smallest", ("s[:r]", "s[1:r+1]"),
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
    edit("allocate", "numbers instead of bool", "no_mask", (MASKS,
         "return {n: (s > bar).float() for n, s in scores.items()}")),
    edit("allocate", "a column", "no_mask", (MASKS,
         "return {n: (s > bar)[:, None] for n, s in scores.items()}")),
    edit("allocate", "one tensor", "type", (MASKS,
         "return torch.cat(list(scores.values())) > bar")),
    edit("allocate", "scores in place", "in_place", (PRODUCT,
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
    edit("vera_deltas", "b added", "summed", ("b[:, None] * B", "b[:, None] + B")),
    edit("vera_deltas", "normal numbers", "normal", (DRAW_A,
         "    A = rng.normal(size=(r, d_in))\n")),
    edit("vera_deltas", "the vectors changed", "in_place", (DELTA,
         DELTA + "\n        vectors[layer][0][:] = 0")),
    edit("vera_deltas", "in and out exchanged", "sizes_exchanged", ("for layer, (rows, columns)",
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
    edit("unmask", "only the upper end", "edge", (EDGE, "edge = at == losses.shape[1] - 1")),
    edit("unmask", "only the lower end", "edge", (EDGE, "edge = at == 0")),
    edit("unmask", "nan stays", "nan_wins", (FINITE, "")),
    edit("unmask", "not at an end", "inside", (RETURN, RETURN.replace("edge", "~edge"))),
    edit("unmask", "three values", "type", (RETURN, RETURN.replace(", edge", ""))),
    edit("unmask", "nan filled in place", "in_place", (FINITE,
         "losses.nan_to_num_(math.inf)\n    " + FINITE)),
    edit("unmask", "forgets return", "none", (RETURN, RETURN.replace("return ", ""))),
    edit("dora_forward", "squeezed", "other", (BIAS, "y = y if bias is None else y + bias\n"
         "    return y.squeeze()")),
    edit("dora_forward", "columns where W is square", "other", (Y, "y = x @ (V.T * "
         "factor[:, None]) if len(V) == V.shape[1] else factor * (x @ V.T)")),
    edit("allocate", "without B", "one_side", (SCORE, SCORE.replace(" + B.mean(0)", ""))),
    edit("allocate", "without A", "one_side", (SCORE, SCORE.replace("A.mean(1) + ", ""))),
    edit("allocate", "one mean of a matrix", "whole_mean", (SCORE, SCORE
         .replace("mean(1)", "mean()").replace("mean(0)", "mean()"))),
    edit("allocate", "other axis where B is square", "other_axis", (SCORE, SCORE.replace(
         "B.mean(0)", "B.mean(int(len(B) == B.shape[1]))"))),
    edit("allocate", "takes the layers out", "in_place", ("for layer, parts in averages.items():",
         "for layer in list(averages):\n        parts = averages.pop(layer)")),
    edit("vera_deltas", "vectors by place", "by_place", ("vectors[layer])",
         "list(vectors.values())[list(shapes).index(layer)])")),
    edit("unmask", "three seeds", "other", ("losses.mean(-1)", "losses[..., :3].mean(-1)")),
    edit("unmask", "the standard deviation", "other_spread", ("rows.amax(1) - rows.amin(1)",
         "rows.std(1)")),
    edit("unmask", "half the spread", "other_spread", (EQUAL, EQUAL + " / 2")),
    edit("unmask", "ranges that overlap", "other_spread", (EQUAL,
         "equal = rows.amin(1) <= rows[winner].amax()")),
]  # fmt: skip

RIGHT += [
    Answer(
        "dora_forward",
        "einsum",
        "",
        code="""
def dora_forward(x, W, bias, lora_A, lora_B, scaling, magnitude):
    V = torch.addmm(W, lora_B, lora_A, alpha=scaling)
    with torch.no_grad():
        n = torch.einsum("oi,oi->o", V, V).sqrt()
    y = torch.einsum("...i,oi,o->...o", x, V, magnitude / n)
    if bias is not None:
        y = y + bias
    return y
""",
    ),
    Answer(
        "dora_forward",
        "PEFT's way",
        "",
        code="""
def dora_forward(x, W, bias, lora_A, lora_B, scaling, magnitude):
    norm = torch.linalg.norm(W + scaling * lora_B @ lora_A, dim=1).detach()
    m = magnitude / norm
    base = nn_linear(x, W)
    out = base + (m - 1) * base + m * (x @ lora_A.mT @ lora_B.mT) * scaling
    return out if bias is None else out + bias


def nn_linear(x, W):
    return torch.nn.functional.linear(x, W)
""",
    ),
    Answer(
        "dora_forward",
        "normalized rows in float64",
        "",
        code="""
def dora_forward(x, W, bias, lora_A, lora_B, scaling, magnitude):
    V = (W + scaling * (lora_B @ lora_A)).double()
    D = magnitude[:, None].double() * V / V.detach().pow(2).sum(-1, keepdim=True).sqrt()
    return torch.nn.functional.linear(
        x.double(), D, None if bias is None else bias.double()
    ).float()
""",
    ),
    Answer(
        "pissa_start",
        "numpy svd",
        "",
        code="""
def pissa_start(W, r, scaling):
    U, s, Vh = np.linalg.svd(W.double().numpy(), full_matrices=False)
    root = np.sqrt(s / scaling)
    A = -(root[:, None] * Vh)[:r]
    B = -(U * root)[:, :r]
    return [W.numpy() - scaling * (B @ A), A, B]
""",
    ),
    Answer(
        "pissa_start",
        "residual from the rest, signs flipped",
        "",
        code="""
def pissa_start(W, r, scaling):
    U, s, V = torch.svd(W)
    A = torch.diag(s[:r].sqrt()) @ V[:, :r].T / math.sqrt(scaling)
    B = U[:, :r] @ torch.diag(s[:r].sqrt()) / math.sqrt(scaling)
    return U[:, r:] * s[r:] @ V[:, r:].T, A, B
""",
    ),
    Answer(
        "pissa_start",
        "rotated inside",
        "",
        code="""
def pissa_start(W, r, scaling):
    U, s, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    root = (s[:r] / scaling).sqrt()
    at = torch.arange(r).flip(0)
    A, B = (root[:, None] * Vh[:r])[at].float(), (U[:, :r] * root)[:, at].float()
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "allocate",
        "topk on flat",
        "",
        code="""
def allocate(averages, budget):
    flat, sizes = [], {}
    for layer, p in averages.items():
        s = [torch.mul(*p[k]) for k in ("E", "A", "B")]
        flat.append(s[0].squeeze(1) + s[1].mean(dim=-1) + s[2].T.mean(dim=-1))
        sizes[layer] = len(flat[-1])
    flat = torch.cat(flat)
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[flat.topk(budget).indices] = True
    return dict(zip(sizes, mask.split(list(sizes.values()))))
""",
    ),
    Answer(
        "allocate",
        "sorted python, lists of bool",
        "",
        code="""
def allocate(averages, budget):
    ranked = []
    for layer, p in averages.items():
        for i in range(len(p["E"][0])):
            a = (p["A"][0][i] * p["A"][1][i]).mean().item()
            b = (p["B"][0][:, i] * p["B"][1][:, i]).mean().item()
            ranked.append((p["E"][0][i, 0].item() * p["E"][1][i, 0].item() + a + b, layer, i))
    top = {(layer, i) for _, layer, i in sorted(ranked, reverse=True)[:budget]}
    return {
        layer: [(layer, i) in top for i in range(len(p["E"][0]))] for layer, p in averages.items()
    }
""",
    ),
    Answer(
        "allocate",
        "numpy masks",
        "",
        edits=(("{layer: score > bar for", "{layer: np.array(score > bar) for"),),
    ),
    Answer(
        "vera_deltas",
        "torch out",
        "",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    outs, ins = zip(*shapes.values())
    r = next(len(d) for d, _ in vectors.values())
    a, b = (6 / max(ins)) ** 0.5, (6 / r) ** 0.5
    A = torch.tensor(rng.uniform(-a, a, size=(r, max(ins))))
    B = torch.tensor(rng.uniform(-b, b, size=(max(outs), r)))
    return {
        n: torch.einsum(
            "o,or,r,ri->oi",
            torch.as_tensor(vectors[n][1]).double(),
            B[: shapes[n][0]],
            torch.as_tensor(vectors[n][0]).double(),
            A[:, : shapes[n][1]],
        )
        for n in shapes
    }
""",
    ),
    Answer(
        "vera_deltas",
        "diag matrices, lists",
        "",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    widest, tallest = max(i for _, i in shapes.values()), max(o for o, _ in shapes.values())
    r = len(list(vectors.values())[-1][0])
    A = rng.uniform(-np.sqrt(6 / widest), np.sqrt(6 / widest), (r, widest))
    B = rng.uniform(-np.sqrt(6 / r), np.sqrt(6 / r), (tallest, r))
    return {
        n: (np.diag(vectors[n][1]) @ B[:o] @ np.diag(vectors[n][0]) @ A[:, :i]).tolist()
        for n, (o, i) in shapes.items()
    }
""",
    ),
    Answer(
        "vera_deltas",
        "float32",
        "",
        edits=(
            (
                "deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns]",
                (
                    "deltas[layer] = ((b[:, None] * B[:rows] * d) @ A[:, "
                    ":columns]).astype(np.float32)"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "numpy loops",
        "",
        code="""
def unmask(losses, shared):
    x = losses.numpy().astype(float)
    M, L, S = x.shape
    mean = [
        [np.mean(x[m, i]) if np.isfinite(x[m, i]).all() else np.inf for i in range(L)]
        for m in range(M)
    ]
    at = [int(np.argmin(row)) for row in mean]
    best = [mean[m][at[m]] for m in range(M)]
    spread = [np.ptp(x[m, at[m]]) for m in range(M)]
    one = int(np.argmin([mean[m][shared] for m in range(M)]))
    two = int(np.argmin(best))
    same = [bool(best[m] - best[two] <= max(spread[m], spread[two])) for m in range(M)]
    return one, two, same, [a in (0, L - 1) for a in at]
""",
    ),
    Answer(
        "unmask",
        "sum over seeds, lists",
        "",
        code="""
def unmask(losses, shared):
    means = losses.sum(2) / losses.shape[2]
    means[~torch.isfinite(means)] = float("inf")
    at = torch.argmin(means, 1)
    best = torch.gather(means, 1, at[:, None])[:, 0]
    rows = torch.stack([losses[m, i] for m, i in enumerate(at)])
    spread = rows.max(1)[0] - rows.min(1)[0]
    w = torch.argmin(best)
    return [
        int(torch.argmin(means[:, shared])),
        int(w),
        (best <= best[w] + torch.clamp(spread, min=spread[w].item())).tolist(),
        torch.isin(at, torch.tensor([0, losses.shape[1] - 1])).tolist(),
    ]
""",
    ),
    Answer(
        "unmask",
        "float64",
        "",
        edits=(
            ("means = losses.mean(-1)", ("losses = losses.double()\n    means = losses.mean(-1)")),
        ),
    ),
]

WRONG += [
    Answer(
        "dora_forward",
        "norm of columns where it fits: keepdim broadcast",
        "columns",
        edits=(
            (
                (
                    "factor = magnitude / V.norm(dim=1).detach()  # (out,)\n"
                    "    y = factor * (x @ V.T)"
                ),
                "y = x @ (magnitude[:, None] * V / V.norm(dim=0, keepdim=True).detach()).T",
            ),
        ),
    ),
    Answer(
        "dora_forward",
        "V detached altogether",
        "factors_cut",
        edits=(("y = factor * (x @ V.T)", "y = factor * (x @ V.detach().T)"),),
    ),
    Answer(
        "dora_forward",
        "bias scaled",
        "bias_scaled",
        edits=(
            ("factor * (x @ V.T)", "factor * (x @ V.T + (0 if bias is None else bias))"),
            ("return y if bias is None else y + bias", "return y"),
        ),
    ),
    Answer(
        "dora_forward",
        "bias None crashes",
        "raised",
        edits=(("return y if bias is None else y + bias", "return y + bias"),),
    ),
    Answer("dora_forward", "L1 norm", "squared", edits=(("V.norm(dim=1)", "V.abs().sum(1)"),)),
    Answer(
        "dora_forward",
        "magnitude detached",
        "magnitude_cut",
        edits=(("magnitude / V", "magnitude.detach() / V"),),
    ),
    Answer(
        "dora_forward",
        "base not multiplied",
        "update_only",
        edits=(("y = factor * (x @ V.T)", "y = x @ W.T + factor * (x @ (V - W).T)"),),
    ),
    Answer("dora_forward", "x flattened", "flat", edits=(("x @ V.T", "x.flatten(0, -2) @ V.T"),)),
    Answer(
        "dora_forward",
        "no_grad around V",
        "factors_cut",
        edits=(
            (
                "    V = W + scaling * lora_B @ lora_A  # (out, in)",
                ("    with torch.no_grad():\n        V = W + scaling * lora_B @ lora_A"),
            ),
        ),
    ),
    Answer(
        "dora_forward",
        "W changed in place",
        "in_place",
        edits=(
            (
                "    V = W + scaling * lora_B @ lora_A  # (out, in)",
                (
                    "    W.data += (scaling * lora_B @ lora_A).detach()\n"
                    "    V = W + scaling * lora_B @ lora_A - (scaling * lora_B @ lora_A).detach()"
                ),
            ),
        ),
    ),
    Answer(
        "dora_forward",
        "eps 0.01",
        "other",
        edits=(("V.norm(dim=1).detach()", "(V.norm(dim=1).detach() + 0.01)"),),
    ),
    Answer(
        "dora_forward",
        "A and B order: scaling on A twice",
        "no_scale",
        edits=(("W + scaling * lora_B @ lora_A", "W + scaling * (scaling * lora_B) @ lora_A"),),
    ),
    Answer(
        "dora_forward",
        "divided by scaling",
        "no_scale",
        edits=(("W + scaling *", "W + 1 / scaling *"),),
    ),
    Answer(
        "pissa_start",
        "s all in A",
        "all_in_a",
        edits=(
            (
                "root[:, None] * Vh[:r], U[:, :r] * root",
                "(s[:r] / scaling)[:, None] * Vh[:r], U[:, :r]",
            ),
        ),
    ),
    Answer(
        "pissa_start",
        "residual without scale",
        "rest_without_scale",
        edits=(("return W - scaling *", "return W -"),),
    ),
    Answer(
        "pissa_start",
        "V instead of Vh",
        "v_for_vh",
        edits=(("root[:, None] * Vh[:r]", "root[:, None] * Vh.T[:r]"),),
    ),
    Answer(
        "pissa_start",
        "root of scale in denominators doubled",
        "scale_wrong",
        edits=(("(s[:r] / scaling).sqrt()", "s[:r].sqrt() / scaling"),),
    ),
    Answer(
        "pissa_start",
        "multiplies by scaling",
        "scale_wrong",
        edits=(("(s[:r] / scaling).sqrt()", "(s[:r] * scaling).sqrt()"),),
    ),
    Answer(
        "pissa_start",
        "random lowrank",
        "other",
        edits=(
            (
                "torch.linalg.svd(W, full_matrices=False)",
                "torch.linalg.svd(torch.randn_like(W), full_matrices=False)",
            ),
        ),
    ),
    Answer(
        "pissa_start",
        "first rows of W",
        "other",
        code="""
def pissa_start(W, r, scaling):
    A, B = W[:r] / scaling, torch.eye(len(W), r)
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "pissa_start",
        "balanced by total norm only: QR",
        "other",
        code="""
def pissa_start(W, r, scaling):
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    k = s[:r].mean().sqrt()
    A = k * Vh[:r] / scaling**0.5
    B = U[:, :r] * s[:r] / k / scaling**0.5
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "pissa_start",
        "residual from remaining pieces, r off",
        "other",
        edits=(
            ("s[:r]", "s[: r - 1]"),
            ("Vh[:r], U[:, :r]", "Vh[: r - 1], U[:, : r - 1]"),
        ),
    ),
    Answer(
        "pissa_start",
        "returns the update for the residual",
        "rest_is_update",
        edits=(("return W - scaling * lora_B @ lora_A", "return scaling * lora_B @ lora_A"),),
    ),
    Answer(
        "pissa_start",
        "eigh of W^T W: s squared",
        "no_root",
        edits=(("root = (s[:r] / scaling).sqrt()", "root = (s[:r].square() / scaling).sqrt()"),),
    ),
    Answer(
        "pissa_start",
        "dict",
        "type",
        edits=(
            (
                "return W - scaling * lora_B @ lora_A, lora_A, lora_B",
                "return {'residual': W - scaling * lora_B @ lora_A, 'A': lora_A, 'B': lora_B}",
            ),
        ),
    ),
    Answer(
        "allocate",
        "uncertainty only",
        "no_uncertainty",
        edits=(("parts[key][0] * parts[key][1]", "parts[key][1]"),),
    ),
    Answer(
        "allocate",
        "B over wrong axis where shapes allow",
        "whole_mean",
        edits=(("B.mean(0)", "B.T.mean(1) * 0 + B.mean()"),),
    ),
    Answer(
        "allocate",
        "each layer an equal share",
        "each_layer",
        code="""
def allocate(averages, budget):
    kept = {}
    each = budget // len(averages)
    for layer, parts in averages.items():
        A, E, B = (parts[key][0] * parts[key][1] for key in "AEB")
        score = E[:, 0] + A.mean(1) + B.mean(0)
        keep = torch.zeros(len(score), dtype=torch.bool)
        keep[score.topk(min(each, len(score))).indices] = True
        kept[layer] = keep
    return kept
""",
    ),
    Answer(
        "allocate",
        "ascending",
        "least",
        edits=(
            ("descending=True", "descending=False"),
            ("score > bar", "score < bar"),
        ),
    ),
    Answer(
        "allocate", "returns scores", "no_mask", edits=(("{layer: score > bar", "{layer: score"),)
    ),
    Answer(
        "allocate",
        "returns counts",
        "no_mask",
        edits=(("{layer: score > bar", "{layer: (score > bar).sum()"),),
    ),
    Answer(
        "allocate",
        "at least one per layer",
        "one_each",
        edits=(
            (
                "{layer: score > bar for layer, score in scores.items()}",
                (
                    "{layer: (score > bar) | (score == score.max()) for layer, score in "
                    "scores.items()}"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "median as bar",
        "budget_ignored",
        edits=(
            (
                "bar = ranking[budget] if budget < len(ranking) else -math.inf",
                "bar = ranking.median()",
            ),
        ),
    ),
    Answer(
        "allocate",
        "mean of scores, then product of means",
        "means_first",
        edits=(
            (
                (
                    'A, E, B = (parts[key][0] * parts[key][1] for key in "AEB")\n'
                    "        scores[layer] = E[:, 0] + A.mean(1) + B.mean(0)"
                ),
                (
                    "scores[layer] = parts['E'][0][:, 0] * parts['E'][1][:, 0] + "
                    "parts['A'][0].mean(1) * parts['A'][1].mean(1) + parts['B'][0].mean(0) * "
                    "parts['B'][1].mean(0)"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "mean of the three",
        "multiplied",
        edits=(("E[:, 0] + A.mean(1) + B.mean(0)", "E[:, 0] * A.mean(1) * B.mean(0)"),),
    ),
    Answer(
        "allocate",
        "negative index at budget 0",
        "edge_none",
        edits=(
            (
                "bar = ranking[budget] if budget < len(ranking) else -math.inf",
                "bar = ranking[budget - 1]",
            ),
            ("score > bar", "score >= bar"),
        ),
    ),
    Answer(
        "allocate",
        "list of masks",
        "type",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                "return [score > bar for score in scores.values()]",
            ),
        ),
    ),
    Answer(
        "allocate",
        "indices",
        "no_mask",
        edits=(("{layer: score > bar for", "{layer: (score > bar).nonzero()[:, 0] for"),),
    ),
    Answer(
        "allocate",
        "(r,1) masks",
        "no_mask",
        edits=(("{layer: score > bar for", "{layer: (score > bar)[:, None] for"),),
    ),
    Answer(
        "vera_deltas",
        "one bound for both",
        "one_bound",
        edits=(
            (
                "bounds = math.sqrt(6 / d_in), math.sqrt(6 / r)",
                "bounds = math.sqrt(6 / d_in), math.sqrt(6 / d_in)",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "root 3",
        "constant",
        edits=(("math.sqrt(6 / d_in), math.sqrt(6 / r)", "math.sqrt(3 / d_in), math.sqrt(3 / r)"),),
    ),
    Answer(
        "vera_deltas",
        "new generator for each layer",
        "own_size",
        code="""
def vera_deltas(seed, shapes, vectors):
    deltas = {}
    for layer, (d_out, d_in) in shapes.items():
        d, b = (np.asarray(v) for v in vectors[layer])
        rng = np.random.default_rng(seed)
        r = len(d)
        A = rng.uniform(-math.sqrt(6 / d_in), math.sqrt(6 / d_in), (r, d_in))
        B = rng.uniform(-math.sqrt(6 / r), math.sqrt(6 / r), (d_out, r))
        deltas[layer] = (b[:, None] * B * d) @ A
    return deltas
""",
    ),
    Answer(
        "vera_deltas",
        "d and b swapped in the file",
        "vectors_exchanged",
        edits=(("d, b = (np", "b, d = (np"),),
    ),
    Answer(
        "vera_deltas", "last columns", "last_part", edits=(("A[:, :columns]", "A[:, -columns:]"),)
    ),
    Answer("vera_deltas", "last rows", "last_part", edits=(("B[:rows]", "B[-rows:]"),)),
    Answer(
        "vera_deltas",
        "legacy RandomState",
        "generator",
        edits=(("np.random.default_rng(seed)", "np.random.RandomState(seed)"),),
    ),
    Answer(
        "vera_deltas",
        "normal",
        "normal",
        edits=(
            (
                "rng.uniform(-bounds[0], bounds[0], (r, d_in))",
                "rng.normal(0, bounds[0], (r, d_in))",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "A transposed shape",
        "turned_draw",
        edits=(
            (
                "rng.uniform(-bounds[0], bounds[0], (r, d_in))",
                "rng.uniform(-bounds[0], bounds[0], (d_in, r)).T",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "sizes of the first layer",
        "one_size",
        edits=(
            ("max(shape[axis] for shape in shapes.values())", "next(iter(shapes.values()))[axis]"),
        ),
    ),
    Answer(
        "vera_deltas",
        "smallest",
        "one_size",
        edits=(("max(shape[axis]", "min(shape[axis]"),),
    ),
    Answer(
        "vera_deltas",
        "largest overall for both",
        "one_size",
        edits=(
            (
                "(max(shape[axis] for shape in shapes.values()) for axis in (0, 1))",
                "(max(max(shape) for shape in shapes.values()) for axis in (0, 1))",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "shape (in, out)",
        "turned",
        edits=(
            (
                "deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "deltas[layer] = ((b[:, None] * B[:rows] * d) @ A[:, :columns]).T",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "new draw of A per layer from the same generator",
        "again",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    r = len(next(iter(vectors.values()))[0])
    d_out, d_in = (max(shape[axis] for shape in shapes.values()) for axis in (0, 1))
    bounds = math.sqrt(6 / d_in), math.sqrt(6 / r)
    deltas = {}
    for layer, (rows, columns) in shapes.items():
        A = rng.uniform(-bounds[0], bounds[0], (r, d_in))
        B = rng.uniform(-bounds[1], bounds[1], (d_out, r))
        d, b = (np.asarray(v) for v in vectors[layer])
        deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns]
    return deltas
""",
    ),
    Answer(
        "vera_deltas",
        "bound with each layer's columns",
        "own_bound",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    r = len(next(iter(vectors.values()))[0])
    d_out, d_in = (max(shape[axis] for shape in shapes.values()) for axis in (0, 1))
    A = rng.uniform(-1, 1, (r, d_in))
    B = rng.uniform(-1, 1, (d_out, r)) * math.sqrt(6 / r)
    deltas = {}
    for layer, (rows, columns) in shapes.items():
        d, b = (np.asarray(v) for v in vectors[layer])
        deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns] * math.sqrt(6 / columns)
    return deltas
""",
    ),
    Answer(
        "vera_deltas",
        "in place on the vectors",
        "in_place",
        edits=(
            (
                "deltas[layer] = (b[:, None] * B[:rows] * d) @ A[:, :columns]",
                (
                    "d *= 1.0\n"
                    "        b *= 2.0\n"
                    "        deltas[layer] = (b[:, None] / 2 * B[:rows] * d) @ A[:, :columns]"
                ),
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "float32 draw: torch generator",
        "other",
        edits=(("rng = np.random.default_rng(seed)", "rng = np.random.default_rng(seed + 1)"),),
    ),
    Answer(
        "unmask",
        "nan left in means",
        "nan_wins",
        edits=(("means = torch.where(means.isfinite(), means, math.inf)", "means = means"),),
    ),
    Answer(
        "unmask",
        "nan as 0",
        "nan_wins",
        edits=(("means.isfinite(), means, math.inf", "means.isfinite(), means, 0.0"),),
    ),
    Answer(
        "unmask",
        "spread over the whole grid",
        "all_equal",
        edits=(
            (
                "rows = losses[torch.arange(len(losses)), at]",
                "rows = torch.where(losses.isfinite(), losses, best[:, None, None]).flatten(1)",
            ),
        ),
    ),
    Answer(
        "unmask",
        "spread at the shared rate",
        "at_shared",
        edits=(("losses[torch.arange(len(losses)), at]", "losses[:, shared]"),),
    ),
    Answer(
        "unmask",
        "edge inverted",
        "inside",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                "edge = (at > 0) & (at < losses.shape[1] - 1)",
            ),
        ),
    ),
    Answer(
        "unmask", "edge off by one", "edge", edits=(("losses.shape[1] - 1", "losses.shape[1]"),)
    ),
    Answer(
        "unmask",
        "edge uses the number of seeds",
        "edge",
        edits=(("losses.shape[1] - 1", "losses.shape[2] - 1"),),
    ),
    Answer(
        "unmask",
        "equal and edge exchanged",
        "equal_edge",
        edits=(("winner, equal, edge", "winner, edge, equal"),),
    ),
    Answer(
        "unmask",
        "winner not equal to itself",
        "itself",
        edits=(("edge = (at", ("equal[winner] = False\n    edge = (at")),),
    ),
    Answer(
        "unmask",
        "loss values for the winners",
        "losses_named",
        edits=(("means[:, shared].argmin(), winner", "means[:, shared].min(), best.min()"),),
    ),
    Answer(
        "unmask", "names best rates", "other", edits=(("winner, equal, edge", "at, equal, edge"),)
    ),
    Answer(
        "unmask",
        "writes inf into losses",
        "in_place",
        edits=(
            (
                "means = losses.mean(-1)",
                ("losses[losses.isnan()] = math.inf\n    means = losses.mean(-1)"),
            ),
        ),
    ),
]

RIGHT += [
    Answer(
        "dora_forward",
        "functional",
        edits=(
            (
                (
                    "y = factor * (x @ V.T)  # (..., out)\n    return y if bias is None el"
                    "se y + bias"
                ),
                "return torch.nn.functional.linear(x, factor[:, None] * V, bias)",
            ),
        ),
    ),
    Answer(
        "dora_forward",
        "einsum and the root of a sum",
        edits=(
            ("V.norm(dim=1).detach()", "V.detach().pow(2).sum(-1).sqrt()"),
            ("x @ V.T", "torch.einsum('...i,oi->...o', x, V)"),
        ),
    ),
    Answer(
        "pissa_start",
        "diagonals, signs turned",
        edits=(
            (
                "root[:, None] * Vh[:r], U[:, :r] * root",
                "-torch.diag(root) @ Vh[:r], -U[:, :r] @ torch.diag(root)",
            ),
        ),
    ),
    Answer(
        "pissa_start",
        "residual of the small pieces",
        edits=(("return W - scaling * lora_B @ lora_A", "return (U[:, r:] * s[r:]) @ Vh[r:]"),),
    ),
    Answer(
        "allocate",
        "topk of flat places",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                (
                    "flat = torch.zeros(len(ranking), dtype=torch.bool)\n    flat[torch.ca"
                    "t(list(scores.values())).topk(budget).indices] = True\n    return dic"
                    "t(zip(scores, flat.split([len(s) for s in scores.values()])))"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "numpy lists",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                ("return {layer: (score > bar).tolist() for layer, score in scores.items()}"),
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "diagonal matrices",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "np.diag(b) @ B[:rows] @ np.diag(d) @ A[:, :columns]",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "einsum",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "np.einsum('o,or,r,ri->oi', b, B[:rows], d, A[:, :columns])",
            ),
        ),
    ),
    Answer(
        "unmask",
        "lists and numbers",
        edits=(
            (
                "return means[:, shared].argmin(), winner, equal, edge",
                (
                    "return int(means[:, shared].argmin()), int(winner), equal.tolist(), "
                    "edge.tolist()"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "isin",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                "edge = torch.isin(at, torch.tensor([0, losses.shape[1] - 1]))",
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "dora_forward",
        "the norm of W + B A without the scale",
        "norm_without_scale",
        edits=(("V.norm(dim=1).detach()", "(W + lora_B @ lora_A).norm(dim=1).detach()"),),
    ),
    Answer(
        "dora_forward",
        "only the base is scaled",
        "update_only",
        edits=(
            (
                "y = factor * (x @ V.T)",
                "y = factor * (x @ W.T) + scaling * (x @ lora_A.T) @ lora_B.T",
            ),
        ),
    ),
    Answer(
        "dora_forward",
        "the base is forgotten",
        "base_lost",
        edits=(("y = factor * (x @ V.T)", "y = factor * scaling * ((x @ lora_A.T) @ lora_B.T)"),),
    ),
    Answer(
        "dora_forward",
        "PEFT's extra term without the base",
        "base_lost",
        edits=(
            (
                "y = factor * (x @ V.T)",
                ("y = (factor - 1) * (x @ W.T) + factor * scaling * ((x @ lora_A.T) @ lora_B.T)"),
            ),
        ),
    ),
    Answer(
        "dora_forward",
        "if bias",
        "raised",
        edits=(("y if bias is None else y + bias", "y + bias if bias else y"),),
    ),
    Answer(
        "dora_forward",
        "the scale on all of V",
        "no_scale",
        edits=(("W + scaling * lora_B @ lora_A", "scaling * (W + lora_B @ lora_A)"),),
    ),
    Answer(
        "dora_forward",
        "A B in the other order",
        "shapes",
        edits=(("scaling * lora_B @ lora_A", "scaling * lora_A @ lora_B"),),
    ),
    Answer(
        "dora_forward",
        "its own magnitude from W",
        "own_magnitude",
        edits=(("magnitude / V", "W.norm(dim=1) / V"),),
    ),
    Answer(
        "dora_forward",
        "multiplied by the norm",
        "multiplied",
        edits=(("magnitude / V", "magnitude * V"),),
    ),
    Answer(
        "dora_forward",
        "keepdim",
        "shapes",
        edits=(("V.norm(dim=1)", "V.norm(dim=1, keepdim=True)"),),
    ),
    Answer(
        "dora_forward",
        "a tuple with V",
        "type",
        edits=(
            (
                "return y if bias is None else y + bias",
                "return (y if bias is None else y + bias), V",
            ),
        ),
    ),
    Answer("dora_forward", "the bias twice", "other", edits=(("y + bias", "y + 2 * bias"),)),
    Answer(
        "dora_forward",
        "the mean square",
        "squared",
        edits=(("V.norm(dim=1)", "V.square().mean(1).sqrt()"),),
    ),
    Answer(
        "dora_forward",
        "A alone detached",
        "one_cut",
        edits=(("lora_B @ lora_A  #", "lora_B @ lora_A.detach()  #"),),
    ),
    Answer(
        "dora_forward",
        "W plus the normed update",
        "other",
        edits=(
            (
                "y = factor * (x @ V.T)",
                (
                    "D = scaling * lora_B @ lora_A\n    y = x @ W.T + magnitude / D.norm(d"
                    "im=1).detach() * (x @ D.T)"
                ),
            ),
        ),
    ),
    Answer("dora_forward", "x detached", "one_cut", edits=(("x @ V.T", "x.detach() @ V.T"),)),
    Answer(
        "dora_forward", "W.T in the update", "no_scale", edits=(("W + scaling", "W - scaling"),)
    ),
    Answer(
        "pissa_start",
        "torch.svd's V taken for its transpose",
        "v_for_vh",
        edits=(("torch.linalg.svd(W, full_matrices=False)", "torch.svd(W)"),),
    ),
    Answer(
        "pissa_start",
        "B gets s, scale nowhere",
        "scale_ignored",
        edits=(
            ("root = (s[:r] / scaling).sqrt()", "root = s[:r]"),
            ("root[:, None] * Vh[:r], U[:, :r] * root", "Vh[:r], U[:, :r] * root"),
        ),
    ),
    Answer(
        "pissa_start",
        "the residual has the update added",
        "rest_is_update",
        edits=(("W - scaling", "W + scaling"),),
    ),
    Answer(
        "pissa_start",
        "A from U, B from V",
        "sides_exchanged",
        edits=(
            (
                "root[:, None] * Vh[:r], U[:, :r] * root",
                "root[:, None] * U[:, :r].T, Vh[:r].T * root",
            ),
        ),
    ),
    Answer(
        "pissa_start",
        "no singular values",
        "no_values",
        edits=(("root[:, None] * Vh[:r], U[:, :r] * root", "Vh[:r], U[:, :r]"),),
    ),
    Answer(
        "pissa_start",
        "one factor negative",
        "minus",
        edits=(("U[:, :r] * root", "-U[:, :r] * root"),),
    ),
    Answer(
        "pissa_start",
        "rank r + 1",
        "other",
        edits=(
            ("s[:r]", "s[: r + 1]"),
            ("Vh[:r]", "Vh[: r + 1]"),
            ("U[:, :r]", "U[:, : r + 1]"),
        ),
    ),
    Answer(
        "pissa_start",
        "the residual of the small pieces, divided by the scale",
        "rest_is_update",
        edits=(
            (
                "return W - scaling * lora_B @ lora_A",
                "return (U[:, r:] * s[r:]) @ Vh[r:] / scaling",
            ),
        ),
    ),
    Answer(
        "pissa_start",
        "the residual is zero",
        "rest_is_update",
        edits=(("return W - scaling * lora_B @ lora_A", "return torch.zeros_like(W)"),),
    ),
    Answer(
        "pissa_start",
        "root of the scale in the wrong place",
        "raised",
        edits=(("(s[:r] / scaling).sqrt()", "s[:r].sqrt() / scaling.sqrt()"),),
    ),
    Answer(
        "pissa_start",
        "root along the wrong axis",
        "root_axis",
        edits=(
            ("root[:, None] * Vh[:r], U[:, :r] * root", "root * Vh[:r], U[:, :r] * root[:, None]"),
        ),
    ),
    Answer(
        "pissa_start",
        "A's rows are columns of V",
        "v_for_vh",
        edits=(("root[:, None] * Vh[:r]", "root[:, None] * Vh[:, :r].T"),),
    ),
    Answer(
        "pissa_start",
        "the scale three times",
        "scale_wrong",
        edits=(("(s[:r] / scaling).sqrt()", "(s[:r] / scaling**2).sqrt()"),),
    ),
    Answer(
        "pissa_start",
        "B and A, then the rest",
        "exchanged",
        edits=(
            (
                "return W - scaling * lora_B @ lora_A, lora_A, lora_B",
                "return lora_B, lora_A, W - scaling * lora_B @ lora_A",
            ),
        ),
    ),
    Answer(
        "pissa_start",
        "U's rows",
        "u_rows",
        edits=(("U[:, :r] * root", "U[:r].T * root"),),
    ),
    Answer(
        "allocate",
        "the largest of a row",
        "largest",
        edits=(("E[:, 0] + A.mean(1) + B.mean(0)", "E[:, 0] + A.amax(1) + B.amax(0)"),),
    ),
    Answer(
        "allocate",
        "A's mean over the wrong axis",
        "other_axis",
        edits=(("E[:, 0] + A.mean(1) + B.mean(0)", "E[:, 0] + A.mean(0) + B.mean(1)"),),
    ),
    Answer(
        "allocate",
        "E as a column",
        "e_column",
        edits=(("E[:, 0] + A.mean(1) + B.mean(0)", "E + A.mean(1) + B.mean(0)"),),
    ),
    Answer(
        "allocate",
        "half of A and B",
        "half_sides",
        edits=(("E[:, 0] + A.mean(1) + B.mean(0)", "E[:, 0] + (A.mean(1) + B.mean(0)) / 2"),),
    ),
    Answer(
        "allocate",
        "scores as shares of the layer",
        "by_share",
        edits=(
            (
                "E[:, 0] + A.mean(1) + B.mean(0)",
                (
                    "E[:, 0] + A.mean(1) + B.mean(0)\n        scores[layer] = scores[layer"
                    "] / scores[layer].sum()"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "the budget in each layer",
        "each_budget",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                (
                    "return {n: s.argsort(descending=True).argsort() < budget for n, s in"
                    " scores.items()}"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "the layers in alphabetical order",
        "other",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                (
                    "flat = torch.cat([scores[n] for n in sorted(scores)]) > bar\n    retu"
                    "rn dict(zip(scores, flat.split([len(s) for s in scores.values()])))"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "the first triplets of each",
        "other",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                ("return {n: torch.arange(len(s)) < (s > bar).sum() for n, s in scores.items()}"),
            ),
        ),
    ),
    Answer(
        "allocate",
        "zero stays, others None",
        "type",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                "return {n: s > bar for n, s in scores.items() if (s > bar).any()}",
            ),
        ),
    ),
    Answer(
        "allocate",
        "the bar is the mean",
        "budget_ignored",
        edits=(
            (
                "bar = ranking[budget] if budget < len(ranking) else -math.inf",
                "bar = ranking.mean()",
            ),
        ),
    ),
    Answer(
        "allocate",
        "the score of sensitivity over uncertainty",
        "other",
        edits=(("parts[key][0] * parts[key][1]", "parts[key][0] / parts[key][1]"),),
    ),
    Answer(
        "allocate",
        "the magnitude of sensitivity minus uncertainty",
        "other",
        edits=(("parts[key][0] * parts[key][1]", "(parts[key][0] - parts[key][1]).abs()"),),
    ),
    Answer(
        "allocate",
        "topk without sorting: the first budget",
        "other",
        edits=(
            (
                "bar = ranking[budget] if budget < len(ranking) else -math.inf",
                (
                    "bar = torch.cat(list(scores.values()))[budget] if budget < len(ranki"
                    "ng) else -math.inf"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "budget plus one place",
        "one_more",
        edits=(
            (
                "ranking[budget] if budget < len(ranking)",
                "ranking[budget + 1] if budget + 1 < len(ranking)",
            ),
        ),
    ),
    Answer(
        "allocate",
        "off triplets are True",
        "inverse",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                "return {layer: score < bar for layer, score in scores.items()}",
            ),
        ),
    ),
    Answer(
        "allocate",
        "lists of bool",
        "no_mask",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                (
                    "return {layer: (score > bar).nonzero().tolist() for layer, score in "
                    "scores.items()}"
                ),
            ),
        ),
    ),
    Answer(
        "allocate",
        "shares of the budget by rank",
        "each_layer",
        edits=(
            (
                "return {layer: score > bar for layer, score in scores.items()}",
                (
                    "n = sum(len(s) for s in scores.values())\n    return {k: s.argsort(de"
                    "scending=True).argsort() < round(budget * len(s) / n) for k, s in sc"
                    "ores.items()}"
                ),
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "reseeded before B",
        "reseeded",
        edits=(("    B = rng", "    rng = np.random.default_rng(seed)\n    B = rng"),),
    ),
    Answer(
        "vera_deltas",
        "b and d exchanged in the formula",
        "vectors_exchanged",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "(d[:, None] * B[:rows] * b) @ A[:, :columns]",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "d on A's columns",
        "columns_scaled",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "(b[:, None] * B[:rows]) @ (A[:, :columns] * d[:columns])",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "numbers above 0 only",
        "above_0",
        edits=(
            ("-bounds[0], bounds[0]", "0, bounds[0]"),
            ("-bounds[1], bounds[1]", "0, bounds[1]"),
        ),
    ),
    Answer(
        "vera_deltas",
        "a standard normal, scaled",
        "normal",
        edits=(
            (
                (
                    "    A = rng.uniform(-bounds[0], bounds[0], (r, d_in))\n    B = rng.un"
                    "iform(-bounds[1], bounds[1], (d_out, r))\n"
                ),
                (
                    "    A = rng.normal(size=(r, d_in)) * bounds[0]\n    B = rng.normal(si"
                    "ze=(d_out, r)) * bounds[1]\n"
                ),
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "sizes of the last layer",
        "one_size",
        edits=(
            (
                "(max(shape[axis] for shape in shapes.values()) for axis in (0, 1))",
                "list(shapes.values())[-1]",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "B is drawn for each layer",
        "again",
        edits=(
            ("    B = rng.uniform(-bounds[1], bounds[1], (d_out, r))\n", ""),
            (
                "        d, b =",
                ("        B = rng.uniform(-bounds[1], bounds[1], (rows, r))\n        d, b ="),
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "torch's generator",
        "other",
        edits=(
            (
                (
                    "    A = rng.uniform(-bounds[0], bounds[0], (r, d_in))\n    B = rng.un"
                    "iform(-bounds[1], bounds[1], (d_out, r))\n"
                ),
                (
                    "    torch.manual_seed(seed)\n    A = ((torch.rand(r, d_in) * 2 - 1) *"
                    " bounds[0]).numpy()\n    B = ((torch.rand(d_out, r) * 2 - 1) * bounds"
                    "[1]).numpy()\n"
                ),
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "the bound from in plus out",
        "bound_rows",
        edits=(
            (
                "math.sqrt(6 / d_in), math.sqrt(6 / r)",
                "math.sqrt(6 / (r + d_in)), math.sqrt(6 / (r + d_out))",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "divided by r",
        "other",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "(b[:, None] * B[:rows] * d) @ A[:, :columns] / r",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "no diagonal of b but a sum of both",
        "no_d",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "b[:, None] * (B[:rows] @ A[:, :columns])",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "one update for all",
        "other",
        edits=(("    return deltas", "    return {layer: deltas['up_proj'] for layer in shapes}"),),
    ),
    Answer(
        "vera_deltas",
        "A drawn with the layer's columns first",
        "sizes_exchanged",
        edits=(
            (
                "max(shape[axis] for shape in shapes.values()) for axis in (0, 1)",
                "max(shape[axis] for shape in shapes.values()) for axis in (1, 0)",
            ),
        ),
    ),
    Answer(
        "vera_deltas",
        "the numbers come out flat",
        "other",
        edits=(
            (
                "(b[:, None] * B[:rows] * d) @ A[:, :columns]",
                "((b[:, None] * B[:rows] * d) @ A[:, :columns]).ravel()",
            ),
        ),
    ),
    Answer(
        "unmask",
        "the flat position of the smallest",
        "flat",
        edits=(
            ("winner = best.argmin()", "winner = means.argmin()\n    w = best.argmin()"),
            (
                "equal = best - best[winner] <= torch.maximum(spread, spread[winner])",
                "equal = best - best[w] <= torch.maximum(spread, spread[w])",
            ),
        ),
    ),
    Answer(
        "unmask",
        "rates in place of methods",
        "rates",
        edits=(
            (
                "return means[:, shared].argmin(), winner",
                "return means[:, shared].argmin(), at[winner]",
            ),
        ),
    ),
    Answer(
        "unmask",
        "the edge of the winner alone",
        "edge_winner",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                (
                    "edge = ((at == 0) | (at == losses.shape[1] - 1)) & (torch.arange(len"
                    "(at)) == winner)"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "both ends at once",
        "edge",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                "edge = (at == 0) & (at == losses.shape[1] - 1)",
            ),
        ),
    ),
    Answer(
        "unmask",
        "the shared rate as an end",
        "edge",
        edits=(("edge = (at == 0) | (at == losses.shape[1] - 1)", "edge = at == shared"),),
    ),
    Answer(
        "unmask",
        "one before the ends too",
        "edge",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                "edge = (at <= 1) | (at >= losses.shape[1] - 2)",
            ),
        ),
    ),
    Answer(
        "unmask",
        "an end that counts finite rates",
        "edge",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                ("count = means.isfinite().sum(1)\n    edge = (at == 0) | (at == count - 1)"),
            ),
        ),
    ),
    Answer(
        "unmask",
        "the edge of the best seed",
        "edge_seed",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                (
                    "at = torch.where(losses.isfinite(), losses, math.inf).amin(-1).argmi"
                    "n(1)\n    edge = (at == 0) | (at == losses.shape[1] - 1)"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "a grid of six rates",
        "edge",
        edits=(("edge = (at == 0) | (at == losses.shape[1] - 1)", "edge = (at == 0) | (at == 5)"),),
    ),
    Answer(
        "unmask",
        "ends by the number of methods",
        "edge",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                "edge = (at == 0) | (at == len(losses) - 1)",
            ),
        ),
    ),
    Answer(
        "unmask",
        "edge at a rate beside a diverged one",
        "edge",
        edits=(
            (
                "edge = (at == 0) | (at == losses.shape[1] - 1)",
                (
                    "pad = torch.nn.functional.pad(means, (1, 1), value=math.inf)\n    nea"
                    "r = torch.stack([pad[:, :-2], pad[:, 2:]]).amax(0)\n    edge = near[t"
                    "orch.arange(len(at)), at].isinf()"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "the median of the seeds",
        "best_seed",
        edits=(
            (
                "losses.mean(-1)",
                ("torch.where(losses.isfinite().all(-1), losses.median(-1).values, math.inf)"),
            ),
        ),
    ),
    Answer(
        "unmask",
        "the winner of all rates together",
        "other",
        edits=(
            (
                "winner = best.argmin()",
                "winner = torch.where(means.isfinite(), means, 9.0).mean(1).argmin()",
            ),
        ),
    ),
    Answer(
        "unmask",
        "the worst seed",
        "best_seed",
        edits=(
            (
                "    means = torch.where(means.isfinite(), means, math.inf)  # (M, L)\n",
                "    means = torch.where(means.isfinite(), losses.amax(-1), math.inf)\n",
            ),
        ),
    ),
    Answer(
        "unmask",
        "equal at the shared rate",
        "from_claimed",
        edits=(
            (
                "equal = best - best[winner] <= torch.maximum(spread, spread[winner])",
                (
                    "col = means[:, shared]\n    w = col.argmin()\n    equal = col - col[w]"
                    " <= torch.maximum(spread, spread[w])"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "the spread of the means over rates",
        "all_equal",
        edits=(
            (
                "spread = rows.amax(1) - rows.amin(1)",
                (
                    "m = torch.where(means.isfinite(), means, best[:, None])\n    spread ="
                    " m.amax(1) - m.amin(1)"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "the losses of the winners",
        "losses_named",
        edits=(
            (
                "return means[:, shared].argmin(), winner",
                "return means[:, shared].min(), best[winner]",
            ),
        ),
    ),
    Answer(
        "unmask",
        "everybody equal",
        "all_equal",
        edits=(
            (
                "equal = best - best[winner] <= torch.maximum(spread, spread[winner])",
                "equal = torch.ones(len(best), dtype=torch.bool)",
            ),
        ),
    ),
    Answer(
        "unmask", "not equal", "unequal", edits=(("best[winner] <= torch", "best[winner] > torch"),)
    ),
    Answer(
        "unmask",
        "the third answer for the winner of the shared rate",
        "from_claimed",
        edits=(
            (
                "equal = best - best[winner] <= torch.maximum(spread, spread[winner])",
                (
                    "w = means[:, shared].argmin()\n    equal = best - best[w] <= torch.ma"
                    "ximum(spread, spread[w])"
                ),
            ),
        ),
    ),
    Answer(
        "unmask",
        "half the sum of the spreads",
        "other_spread",
        edits=(("torch.maximum(spread, spread[winner])", "(spread + spread[winner]) / 2"),),
    ),
    Answer(
        "unmask",
        "diverged methods left out for good",
        "left_for_good",
        edits=(
            (
                "means = torch.where(means.isfinite(), means, math.inf)",
                ("means = torch.where(losses.isfinite().all(-1).all(1)[:, None], means, math.inf)"),
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "unmask",
        "names",
        "places",
        edits=(
            (
                "return means[:, shared].argmin(), winner, equal, edge",
                (
                    "return means[:, shared].argmin(), winner, equal.nonzero()[:, 0], edg"
                    "e.nonzero()[:, 0]"
                ),
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "pissa_start",
        "root * Vh for A",
        "root_axis",
        code="""
def pissa_start(W, r, scaling):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = (S[:r] / scaling).sqrt()
    B, A = U[:, :r] * root, root * Vh[:r]
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "pissa_start",
        "A alone turned",
        "turned",
        code="""
def pissa_start(W, r, scaling):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = (S[:r] / scaling).sqrt()
    B, A = U[:, :r] * root, Vh[:r].T * root
    return W - scaling * B @ A.T, A, B
""",
    ),
    Answer(
        "pissa_start",
        "all pieces",
        "not_cut",
        code="""
def pissa_start(W, r, scaling):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = (S / scaling).sqrt()
    B, A = U * root, root[:, None] * Vh
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "pissa_start",
        "all of V, its rows",
        "v_for_vh",
        code="""
def pissa_start(W, r, scaling):
    U, S, V = torch.linalg.svd(W)
    root = (S[:r] / scaling).sqrt()
    B, A = U[:, :r] @ torch.diag(root), torch.diag(root) @ V.T[:r]
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "pissa_start",
        "a diagonal of the smaller side",
        "only_square",
        code="""
def pissa_start(W, r, scaling):
    U, S, Vh = torch.linalg.svd(W)
    root = torch.diag((S / scaling).sqrt())
    B, A = (U @ root)[:, :r], (root @ Vh)[:r]
    return W - scaling * B @ A, A, B
""",
    ),
    Answer(
        "allocate",
        "no bar for all",
        "raised",
        code="""
def allocate(averages, budget):
    imp = {}
    for name, m in averages.items():
        sc = {k: v[0] * v[1] for k, v in m.items()}
        imp[name] = sc["E"][:, 0] + sc["A"].mean(1) + sc["B"].mean(0)
    all_ = torch.cat(list(imp.values())).sort(descending=True).values
    t = all_[budget]
    return {k: v > t for k, v in imp.items()}
""",
    ),
    Answer(
        "allocate",
        "E as a column, topk",
        "no_mask",
        code="""
def allocate(averages, budget):
    imp = {}
    for name, m in averages.items():
        sc = {k: v[0] * v[1] for k, v in m.items()}
        imp[name] = sc["E"] + sc["A"].mean(1) + sc["B"].mean(0)
    all_ = torch.cat([v.flatten() for v in imp.values()])
    t = all_.topk(budget).values
    return {k: torch.isin(v, t) for k, v in imp.items()}
""",
    ),
    Answer(
        "allocate",
        "stack and view",
        "one_rank",
        code="""
def allocate(averages, budget):
    imp = {}
    for name, m in averages.items():
        sc = {k: v[0] * v[1] for k, v in m.items()}
        imp[name] = sc["E"][:, 0] + sc["A"].mean(1) + sc["B"].mean(0)
    t = torch.stack(list(imp.values()))
    order = t.flatten().argsort(descending=True)
    flat = torch.zeros(len(order), dtype=torch.bool)
    flat[order[:budget]] = True
    return dict(zip(imp, flat.view(len(imp), -1)))
""",
    ),
    Answer(
        "allocate",
        "argsort for ranks",
        "places",
        code="""
def allocate(averages, budget):
    imp = {}
    for name, m in averages.items():
        sc = {k: v[0] * v[1] for k, v in m.items()}
        imp[name] = sc["E"][:, 0] + sc["A"].mean(1) + sc["B"].mean(0)
    flat = torch.cat(list(imp.values())).argsort(descending=True) < budget
    return dict(zip(imp, flat.split([len(v) for v in imp.values()])))
""",
    ),
    Answer(
        "allocate",
        "sorted names, unsorted dict",
        "no_mask",
        code="""
def allocate(averages, budget):
    imp = {}
    for name in sorted(averages):
        m = averages[name]
        sc = {k: v[0] * v[1] for k, v in m.items()}
        imp[name] = sc["E"][:, 0] + sc["A"].mean(1) + sc["B"].mean(0)
    order = torch.cat(list(imp.values())).argsort(descending=True)
    flat = torch.zeros(len(order), dtype=torch.bool)
    flat[order[:budget]] = True
    return dict(zip(averages, flat.split([len(v) for v in imp.values()])))
""",
    ),
    Answer(
        "vera_deltas",
        "b as a row",
        "columns_scaled",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    O, I = max(o for o, _ in shapes.values()), max(i for _, i in shapes.values())
    r = len(next(iter(vectors.values()))[0])
    A = rng.uniform(-math.sqrt(6 / I), math.sqrt(6 / I), (r, I))
    B = rng.uniform(-math.sqrt(6 / r), math.sqrt(6 / r), (O, r))
    return {
        n: vectors[n][1] * (B[:o] @ np.diag(vectors[n][0]) @ A[:, :i])
        for n, (o, i) in shapes.items()
    }
""",
    ),
    Answer(
        "vera_deltas",
        "d as a row",
        "columns_scaled",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    O, I = max(o for o, _ in shapes.values()), max(i for _, i in shapes.values())
    r = len(next(iter(vectors.values()))[0])
    A = rng.uniform(-math.sqrt(6 / I), math.sqrt(6 / I), (r, I))
    B = rng.uniform(-math.sqrt(6 / r), math.sqrt(6 / r), (O, r))
    return {
        n: vectors[n][1][:, None] * B[:o] @ (vectors[n][0] * A[:, :i])
        for n, (o, i) in shapes.items()
    }
""",
    ),
    Answer(
        "vera_deltas",
        "* for @",
        "number_by_number",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    O, I = max(o for o, _ in shapes.values()), max(i for _, i in shapes.values())
    r = len(next(iter(vectors.values()))[0])
    A = rng.uniform(-math.sqrt(6 / I), math.sqrt(6 / I), (r, I))
    B = rng.uniform(-math.sqrt(6 / r), math.sqrt(6 / r), (O, r))
    return {
        n: np.diag(vectors[n][1]) * B[:o] * np.diag(vectors[n][0]) * A[:, :i]
        for n, (o, i) in shapes.items()
    }
""",
    ),
    Answer(
        "vera_deltas",
        "parts scaled in place",
        "shared_changed",
        code="""
def vera_deltas(seed, shapes, vectors):
    rng = np.random.default_rng(seed)
    O, I = max(o for o, _ in shapes.values()), max(i for _, i in shapes.values())
    r = len(next(iter(vectors.values()))[0])
    A = rng.uniform(-math.sqrt(6 / I), math.sqrt(6 / I), (r, I))
    B = rng.uniform(-math.sqrt(6 / r), math.sqrt(6 / r), (O, r))
    out = {}
    for n, (o, i) in shapes.items():
        a, bb = A[:, :i], B[:o]
        a *= vectors[n][0][:, None]
        bb *= vectors[n][1][:, None]
        out[n] = bb @ a
    return out
""",
    ),
    Answer(
        "pissa_start",
        "B is not cut",
        "shapes",
        edits=(("U[:, :r] * root", "U * root"),),
    ),
    Answer(
        "allocate",
        "the mean of one side, E twice",
        "shapes",
        edits=(("A.mean(1) + B.mean(0)", "A.mean(1) + B @ B.mean(0)"),),
    ),
    Answer(
        "vera_deltas",
        "B turned",
        "shapes",
        edits=(("b[:, None] * B[:rows] * d", "b[:, None] * B[:rows].T * d"),),
    ),
]
