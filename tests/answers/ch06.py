"""Right and wrong answers to the exercises of chapter 06."""

from tests.answers import Answer

ONE = "sum(sum(shapes[name]) for name in targets)"
PICK = "grid[fits[-1]].min()"
FITS = "[i for i, r in enumerate(ranks) if r * cost <= budget]"
RETURN = "return torch.stack(chosen), reached, reached.argmin()"
DELTA = "lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A"
SAME = "    return lora_alpha / math.sqrt(r)\n"
SPLIT = '(fast if name.endswith("lora_B") else slow).append(p)'
GROUPS = '[{"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}]'
INF = "torch.where(losses.isnan(), math.inf, losses)[:, order]"
RATES = "torch.where(best.isfinite(), lrs[order][at], math.nan)"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "largest_rank",
        "counts up",
        code="""
def largest_rank(shapes, targets, layers, budget):
    r = 0
    while True:
        numbers = 0
        for name in targets:
            d_out, d_in = shapes[name]
            numbers += layers * ((r + 1) * d_in + d_out * (r + 1))
        if numbers > budget:
            return r
        r += 1
""",
    ),
    edit(
        "largest_rank",
        "a tensor",
        "",
        (
            "return budget // (layers * one)",
            "return torch.tensor(budget).div(layers * one, rounding_mode='floor')",
        ),
    ),
    edit(
        "largest_rank",
        "a whole float",
        "",
        ("return budget // (layers * one)", "return math.floor(budget / (layers * one)) * 1.0"),
    ),
    Answer(
        "fair_choice",
        "masks instead of a loop",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    fits = per_rank[:, None] * ranks <= budget  # (G, R)
    at = fits.sum(1) - 1
    best = losses.amin(2)[torch.arange(len(at)), at]
    return ranks[at], best, int(torch.argmin(best))
""",
    ),
    Answer(
        "fair_choice",
        "plain lists",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    chosen, best = [], []
    for g in range(len(per_rank)):
        i = max(i for i in range(len(ranks)) if int(ranks[i]) * int(per_rank[g]) <= budget)
        chosen.append(int(ranks[i]))
        best.append(min(losses[g][i].tolist()))
    return chosen, best, best.index(min(best))
""",
    ),
    Answer(
        "rslora",
        "scale in B, r from B",
        code="""
def rslora_delta(lora_A, lora_B, lora_alpha):
    return torch.einsum("or,ri->oi", lora_B * lora_alpha, lora_A) * lora_B.shape[1] ** -0.5


def same_update(lora_alpha, r):
    return lora_alpha / r * r**0.5
""",
    ),
    Answer(
        "rslora",
        "a sum of outer products",
        code="""
def rslora_delta(lora_A, lora_B, lora_alpha):
    pieces = [torch.outer(b, a) for a, b in zip(lora_A, lora_B.T)]
    return torch.stack(pieces).sum(0) * lora_alpha / torch.tensor(float(len(pieces))).sqrt()


def same_update(lora_alpha, r):
    return torch.tensor(float(lora_alpha)) * torch.rsqrt(torch.tensor(float(r)))
""",
    ),
    Answer(
        "plus_groups",
        "a group for every parameter",
        code="""
def plus_groups(model, lr, ratio):
    groups = []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        is_b = name.split(".")[-1] == "lora_B"
        groups.append({"params": [p], "lr": lr * ratio if is_b else lr})
    return groups
""",
    ),
    Answer(
        "plus_groups",
        "three groups, by module",
        code="""
def plus_groups(model, lr, ratio):
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    layers = [m for m in layers if m.lora_A.requires_grad]
    a, b = [m.lora_A for m in layers], [m.lora_B for m in layers]
    known = {id(p) for p in a + b}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return [dict(params=b, lr=ratio * lr), dict(params=a, lr=lr), dict(params=rest, lr=lr)]
""",
    ),
    Answer(
        "read_grid",
        "a loop over plain numbers",
        code="""
def read_grid(losses, ranks, lrs, noise):
    rates, best = [], []
    for row in losses.tolist():
        runs = [(loss, lr) for loss, lr in zip(row, lrs.tolist()) if math.isfinite(loss)]
        loss, lr = min(runs) if runs else (math.inf, math.nan)
        rates.append(lr)
        best.append(loss)
    good = [r for r, loss in zip(ranks.tolist(), best) if loss <= min(best) + noise]
    return rates, min(good)
""",
    ),
    Answer(
        "read_grid",
        "masks",
        code="""
def read_grid(losses, ranks, lrs, noise):
    clean = losses.clone()
    clean[~torch.isfinite(clean)] = float("inf")
    best = clean.amin(dim=1)
    hits = clean.eq(best[:, None]) & clean.isfinite()
    rates = torch.where(hits, lrs, torch.inf).amin(dim=1)
    rates[rates.isinf()] = float("nan")
    return rates, int(min(ranks[best - best.min() <= noise]))
""",
    ),
]

WRONG = [
    edit("largest_rank", "one block only", "one_block", ("layers * one", "one")),
    edit("largest_rank", "every layer of the block", "all_modules", ("in targets", "in shapes")),
    edit("largest_rank", "size of the weight", "product", ("sum(shapes[name])",
         "shapes[name][0] * shapes[name][1]")),
    edit("largest_rank", "less than", "strict", ("return budget //", "return (budget - 1) //")),
    edit("largest_rank", "rounded up", "over", ("return budget // (layers * one)",
         "return math.ceil(budget / (layers * one))")),
    edit("largest_rank", "rounded half up", "over", ("return budget // (layers * one)",
         "return math.floor(budget / (layers * one) + 0.5)")),
    edit("largest_rank", "at least rank 1", "at_least_one", ("return budget // (layers * one)",
         "return max(1, budget // (layers * one))")),
    edit("largest_rank", "A alone", "one_side", ("sum(shapes[name])", "shapes[name][1]")),
    edit("largest_rank", "B alone", "one_side", ("sum(shapes[name])", "shapes[name][0]")),
    edit("largest_rank", "plain division", "not_whole", ("budget //", "budget /")),
    edit("largest_rank", "sum of pairs", "raised", (ONE,
         "sum(shapes[name] for name in targets)")),
    edit("largest_rank", "forgets return", "none", ("return budget", "budget")),
    edit("fair_choice", "budget ignored", "no_budget",
         (FITS, "[int(grid.min(1).values.argmin())]")),
    edit("fair_choice", "the top rank for all", "equal_rank", (FITS, "[len(ranks) - 1]")),
    edit("fair_choice", "the rank that all can afford", "equal_rank",
         ("r * cost <= budget", "r * max(per_rank) <= budget")),
    edit("fair_choice", "the best rank within the budget", "not_largest",
         (FITS, FITS + "\n        fits = [min(fits, key=lambda i: grid[i].min())]")),
    edit("fair_choice", "less than", "strict", ("<= budget", "< budget")),
    edit("fair_choice", "the next rank up", "over",
         (FITS, FITS + "\n        fits = [min(fits[-1] + 1, len(ranks) - 1)]")),
    edit("fair_choice", "the nearest cost", "over",
         (FITS, "[int((ranks * cost - budget).abs().argmin())]")),
    edit("fair_choice", "mean over rates", "mean", (PICK, "grid[fits[-1]].mean()")),
    edit("fair_choice", "one rate for all", "one_rate", (RETURN,
         "at = [list(ranks).index(r) for r in chosen]\n"
         "    rows = torch.stack([losses[g, i] for g, i in enumerate(at)])\n"
         "    reached = rows[:, rows.mean(0).argmin()]\n    " + RETURN)),
    edit("fair_choice", "largest loss", "worst", (PICK, "grid[fits[-1]].max()")),
    edit("fair_choice", "argmax", "loser", ("reached.argmin()", "reached.argmax()")),
    edit("fair_choice", "positions of ranks", "positions",
         ("chosen.append(ranks[fits[-1]])", "chosen.append(torch.tensor(fits[-1]))")),
    edit("fair_choice", "the winner's loss", "winner", ("reached.argmin()", "reached.min()")),
    edit("fair_choice", "the winner's rank", "winner",
         ("reached.argmin()", "chosen[reached.argmin()]")),
    edit("fair_choice", "forgets return", "none", ("return torch", "torch")),
    edit("rslora", "plain scale", "plain", ("math.sqrt(lora_A.shape[0])", "lora_A.shape[0]")),
    edit("rslora", "no scale", "no_scale", (DELTA, "lora_B @ lora_A")),
    edit("rslora", "alpha alone", "alpha_only", (DELTA, "lora_alpha * lora_B @ lora_A")),
    edit("rslora", "times the root", "upside_down", ("lora_alpha / math.sqrt(lora_A",
         "lora_alpha * math.sqrt(lora_A")),
    edit("rslora", "root of the quotient", "root_of_all", (DELTA,
         "math.sqrt(lora_alpha / lora_A.shape[0]) * lora_B @ lora_A")),
    edit("rslora", "alpha forgotten", "no_alpha", (DELTA,
         "1 / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A")),
    edit("rslora", "r squared", "square", ("math.sqrt(lora_A.shape[0])", "lora_A.shape[0] ** 2")),
    edit("rslora", "root of the input width", "width", ("lora_A.shape[0]", "lora_A.shape[1]")),
    edit("rslora", "root of the output width", "width", ("lora_A.shape[0]", "lora_B.shape[0]")),
    edit("rslora", "transposed", "transposed", (DELTA, f"({DELTA}).T")),
    edit("rslora", "A first", "raised", ("lora_B @ lora_A", "lora_A @ lora_B")),
    edit("rslora", "alpha kept", "unchanged", (SAME, "    return lora_alpha\n")),
    edit("rslora", "alpha grows", "backwards", (SAME, "    return lora_alpha * math.sqrt(r)\n")),
    edit("rslora", "the scale itself", "divided_by_r", (SAME, "    return lora_alpha / r\n")),
    edit("rslora", "a guess", "new_scale", (SAME, "    return 3 * lora_alpha\n")),
    edit("rslora", "two numbers", "other", (SAME, "    return [lora_alpha, r]\n")),
    edit("rslora", "forgets return", "none", (SAME, "    lora_alpha / math.sqrt(r)\n")),
    edit("plus_groups", "a dict by rate", "type",
         (GROUPS, "{lr: slow, lr * ratio: fast}")),
    edit("plus_groups", "lists without rates", "type", (GROUPS, "[slow, fast]")),
    edit("plus_groups", "everything", "frozen", ("if p.requires_grad:", "if True:")),
    edit("plus_groups", "B in both groups", "twice", (SPLIT,
         'slow.append(p)\n            if name.endswith("lora_B"):\n'
         "                fast.append(p)")),
    edit("plus_groups", "A forgotten", "no_a", (SPLIT,
         'if name.endswith("lora_A"):\n                continue\n            ' + SPLIT)),
    edit("plus_groups", "B forgotten", "no_b", (GROUPS, '[{"params": slow, "lr": lr}]')),
    edit("plus_groups", "A and B alone", "left_out", (SPLIT,
         'if "lora_" in name:\n                ' + SPLIT)),
    edit("plus_groups", "no rate for A", "no_lr", ('{"params": slow, "lr": lr}, ',
         '{"params": slow}, '), ('"lr": lr * ratio', "")),
    edit("plus_groups", "ratio forgotten", "one_rate", ("lr * ratio", "lr")),
    edit("plus_groups", "a B anywhere in the name", "all_fast",
         (SPLIT, "(fast if 'B' in name or p.ndim == 1 or p.shape[0] == 2 else slow).append(p)"),
         ('"params": slow, "lr": lr}', '"params": slow, "lr": lr * ratio}')),
    edit("plus_groups", "exchanged", "swapped", ('if name.endswith("lora_B")',
         'if name.endswith("lora_A")')),
    edit("plus_groups", "A divided", "slow_a", ('"lr": lr}', '"lr": lr / ratio}'),
         ('"lr": lr * ratio', '"lr": lr')),
    edit("plus_groups", "B divided", "divided", ("lr * ratio", "lr / ratio")),
    edit("plus_groups", "added", "added", ("lr * ratio", "lr + ratio")),
    edit("plus_groups", "ratio alone", "only_ratio", ("lr * ratio", "ratio")),
    edit("plus_groups", "the rest goes with B", "rest_fast", (SPLIT,
         '(slow if name.endswith("lora_A") else fast).append(p)')),
    edit("plus_groups", "the norm goes with B", "rest_fast", (SPLIT,
         '(fast if name.endswith("lora_B") or p.ndim == 1 else slow).append(p)')),
    edit("plus_groups", "parameters without names", "raised",
         ("model.named_parameters()", "model.parameters()")),
    edit("plus_groups", "the pair as one", "raised",
         ("for name, p in model.named_parameters():\n        if p.requires_grad:",
          "for p in model.named_parameters():\n        if p.requires_grad:")),
    edit("plus_groups", "forgets return", "none", ("return [", "[")),
    edit("read_grid", "nan stays", "nan_stops", (INF, "losses[:, order]")),
    edit("read_grid", "argmin of nan", "nan_wins", (RATES, "lrs[losses.argmin(1)]")),
    edit("read_grid", "nan_to_num", "nan_wins", (INF, "losses.nan_to_num()[:, order]")),
    edit("read_grid", "a row with nan is out", "nan_spreads",
         (RATES, "torch.where(losses.isnan().any(1), math.nan, lrs[order][at])")),
    edit("read_grid", "a rate for the dead rank", "dead_row", (RATES, "lrs[order][at]")),
    edit("read_grid", "not sorted", "tie", ("lrs.argsort()", "torch.arange(len(lrs))")),
    edit("read_grid", "the larger rate", "tie", ("lrs.argsort()", "lrs.argsort(descending=True)")),
    edit("read_grid", "the highest loss", "worst",
         (INF, "torch.where(losses.isfinite(), losses, -math.inf)[:, order]"),
         ("finite.min(dim=1)", "finite.max(dim=1)")),
    edit("read_grid", "positions", "positions",
         (RATES, "torch.where(best.isfinite(), order[at] * 1.0, math.nan)")),
    edit("read_grid", "columns", "axis", ("finite.min(dim=1)", "finite.min(dim=0)"),
         (RATES, "best"), ("ranks[good].min()", "ranks.min()")),
    edit("read_grid", "noise ignored", "noise_ignored", (" + noise", "")),
    edit("read_grid", "the largest good rank", "largest", ("ranks[good].min()",
         "ranks[good].max()")),
    edit("read_grid", "the first good rank", "first", ("ranks[good].min()", "ranks[good][0]")),
    edit("read_grid", "position of the rank", "rank_position", ("ranks[good].min()",
         "(ranks == ranks[good].min()).nonzero()[0, 0]")),
    edit("read_grid", "the smallest rank", "dead_rank", ("ranks[good].min()", "ranks.min()")),
    edit("read_grid", "a sum of ranks", "no_rank", ("ranks[good].min()", "ranks.sum()")),
    edit("read_grid", "min without dim unpacked", "raised",
         ("best, at = finite.min(dim=1)", "best = at = finite.argmin(0).view(7)")),
    edit("read_grid", "forgets return", "none", ("return rates", "rates")),
]  # fmt: skip


RIGHT += [
    Answer(
        "largest_rank",
        "a fraction, rounded down",
        code="""
def largest_rank(shapes, targets, layers, budget):
    from fractions import Fraction

    sides = [side for name, shape in shapes.items() if name in targets for side in shape]
    return int(Fraction(budget, layers * sum(sides)))
""",
    ),
    Answer(
        "fair_choice",
        "searchsorted, numpy",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    import numpy as np

    costs, ranks, losses = per_rank.numpy(), ranks.numpy(), losses.numpy()
    at = np.array([np.searchsorted(ranks * c, budget, side="right") - 1 for c in costs])
    best = np.take_along_axis(losses.min(-1), at[:, None], 1)[:, 0]
    return ranks[at], best, np.argmin(best)
""",
    ),
    Answer(
        "fair_choice",
        "from the largest rank down",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    chosen = torch.zeros_like(per_rank)
    reached = torch.full((len(per_rank),), float("inf"))
    for g, cost in enumerate(per_rank.tolist()):
        for i in reversed(range(len(ranks))):
            if cost * ranks[i] > budget:
                continue
            chosen[g], reached[g] = ranks[i], losses[g, i].amin()
            break
    return [chosen, reached, sorted(range(len(reached)), key=reached.tolist().__getitem__)[0]]
""",
    ),
    Answer(
        "rslora",
        "numpy, the scale split over both factors",
        code="""
def rslora_delta(lora_A, lora_B, lora_alpha):
    half = (lora_alpha / lora_B.shape[-1] ** 0.5) ** 0.5
    return (lora_B.numpy() * half) @ (half * lora_A.numpy())


def same_update(lora_alpha, r):
    return math.exp(math.log(lora_alpha) - 0.5 * math.log(r))
""",
    ),
    Answer(
        "plus_groups",
        "named parameters, by the last part",
        code="""
def plus_groups(model, lr, ratio):
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    is_b = lambda pair: pair[0].rpartition(".")[2] == "lora_B"
    return (
        {"lr": ratio * lr, "params": list(filter(is_b, trained))},
        {"lr": lr, "params": [pair for pair in trained if not is_b(pair)]},
    )
""",
    ),
    Answer(
        "read_grid",
        "numpy, sorted by loss and rate",
        code="""
def read_grid(losses, ranks, lrs, noise):
    import numpy as np

    table, rates = losses.double().numpy(), lrs.double().numpy()
    table = np.where(np.isfinite(table), table, np.inf)
    first = np.array([np.lexsort((rates, row))[0] for row in table])
    best = table[np.arange(len(table)), first]
    chosen = np.where(np.isinf(best), np.nan, rates[first])
    return chosen.tolist(), ranks.numpy()[best - best.min() <= noise].min()
""",
    ),
]

WRONG += [
    edit("largest_rank", "one rank too many", "over",
         ("return budget // (layers * one)", "return budget // (layers * one) + 1")),
    edit("largest_rank", "layers added", "added", ("layers * one", "layers + one")),
    edit("largest_rank", "empties the list", "other",
         ("    return budget", "    targets.clear()\n    return budget")),
    edit("largest_rank", "a power of two", "power",
         ("return budget // (layers * one)",
          "r = budget // (layers * one)\n    return 2 ** int(math.log2(r)) if r else 0")),
    edit("largest_rank", "a text", "type", ("return budget // (layers * one)",
         'return f"r = {budget // (layers * one)}"')),
    edit("largest_rank", "the rest of the budget", "remainder", ("budget //", "budget %")),
    edit("fair_choice", "the rank from a division", "not_of_grid",
         ("chosen.append(ranks[fits[-1]])", "chosen.append(budget // cost)")),
    edit("fair_choice", "the smallest rank for all", "equal_rank", ("fits[-1]", "0")),
    edit("fair_choice", "the smallest rank that fits", "equal_rank", ("fits[-1]", "fits[0]")),
    edit("fair_choice", "the lowest loss at any rank", "any_rank", (PICK, "grid.min()")),
    edit("fair_choice", "the first rate for all", "one_rate", (PICK, "grid[fits[-1]][0]")),
    edit("fair_choice", "the median rate", "mean", (PICK, "grid[fits[-1]].median()")),
    edit("fair_choice", "budget divided by the groups", "raised",
         ("<= budget", "<= budget / len(per_rank)")),
    edit("fair_choice", "two things", "type", (RETURN, "return torch.stack(chosen), reached")),
    edit("fair_choice", "the winner first", "exchanged",
         (RETURN, "return reached.argmin(), torch.stack(chosen), reached")),
    edit("fair_choice", "counts groups from 1", "not_lowest",
         ("reached.argmin()", "reached.argmin() + 1")),
    edit("fair_choice", "the size of the cheapest group", "equal_rank",
         ("r * cost <= budget", "r * min(per_rank) <= budget"),
         ("r * min(per_rank)", "r * min(per_rank) * 1.5")),
    edit("fair_choice", "sorts the losses that were given", "other",
         ("    chosen, reached", "    losses.copy_(losses.sort().values)\n    chosen, reached")),
    edit("rslora", "whole division", "rounded", ("lora_alpha / math.sqrt(lora_A",
         "lora_alpha // math.sqrt(lora_A")),
    edit("rslora", "a whole root", "rounded", ("math.sqrt(lora_A.shape[0])",
         "math.isqrt(lora_A.shape[0])")),
    edit("rslora", "the fraction upside down", "turned",
         (DELTA, "math.sqrt(lora_A.shape[0]) / lora_alpha * lora_B @ lora_A")),
    edit("rslora", "the root of all numbers of A", "width", ("lora_A.shape[0]", "lora_A.numel()")),
    edit("rslora", "scales B in place", "other",
         (DELTA, "lora_B.mul_(lora_alpha / math.sqrt(lora_A.shape[0])) @ lora_A")),
    edit("rslora", "einsum the other way", "transposed",
         (DELTA, 'torch.einsum("ri,or->io", lora_A, lora_B) * lora_alpha')),
    edit("rslora", "adds the factors' scale twice", "alpha_twice",
         ("* lora_B @ lora_A", "* lora_B @ lora_A * lora_alpha")),
    edit("rslora", "r as default", "fixed_rank", ("math.sqrt(lora_A.shape[0])", "math.sqrt(8)")),
    edit("rslora", "alpha times r", "backwards", (SAME, "    return lora_alpha * r\n")),
    edit("rslora", "a whole alpha", "alpha_rounded",
         (SAME, "    return round(lora_alpha / math.sqrt(r))\n")),
    edit("rslora", "alpha divided down", "alpha_rounded",
         (SAME, "    return lora_alpha // math.sqrt(r)\n")),
    edit("rslora", "alpha raises", "raised", (SAME, "    return lora_alpha / math.sqrt(rank)\n")),
    edit("plus_groups", "frozen factors too", "frozen_factor",
         ("if p.requires_grad:", 'if p.requires_grad or "lora_" in name.split(".")[-1]:')),
    edit("plus_groups", "a frozen B", "frozen_factor",
         ("if p.requires_grad:", 'if p.requires_grad or name.endswith("lora_B"):')),
    edit("plus_groups", "lora_B anywhere", "b_in_name",
         ('name.endswith("lora_B")', '"lora_B" in name')),
    edit("plus_groups", "the rates exchanged", "swapped",
         ('"params": slow, "lr": lr', '"params": fast, "lr": lr'),
         ('"params": fast, "lr": lr * ratio', '"params": slow, "lr": lr * ratio')),
    edit("plus_groups", "through the modules", "twice",
         ("in model.named_parameters()", "in model.named_parameters(remove_duplicate=False)")),
    edit("plus_groups", "names instead of parameters", "other", (".append(p)", ".append(name)")),
    edit("plus_groups", "copies", "other", (".append(p)", ".append(p.detach())")),
    edit("plus_groups", "an optimizer", "type", ("return " + GROUPS,
         f"return torch.optim.AdamW({GROUPS})")),
    edit("plus_groups", "no rate for B", "no_lr", ('"params": fast, "lr": lr * ratio',
         '"params": fast')),
    edit("plus_groups", "the norm forgotten", "left_out",
         ("if p.requires_grad:", "if p.requires_grad and p.ndim > 1:")),
    edit("plus_groups", "thaws what is frozen", "frozen",
         ("if p.requires_grad:", "if p.requires_grad_(True) is not None:")),
    edit("plus_groups", "freezes the rest", "other",
         ("    return [", "    for p in slow:\n        p.requires_grad = False\n    return [")),
    edit("plus_groups", "ratio squared", "b_rate", ("lr * ratio", "lr * ratio ** 2")),
    edit("read_grid", "the smallest rank that did not diverge", "not_diverged",
         ("best <= best.min() + noise", "best.isfinite()")),
    edit("read_grid", "less than", "limit", ("best <= best", "best < best")),
    edit("read_grid", "a share of the best loss", "share",
         ("best.min() + noise", "best.min() * (1 + noise)")),
    edit("read_grid", "twice the noise", "not_diverged", ("+ noise", "+ 2 * noise")),
    edit("read_grid", "compared with the mean", "not_diverged",
         ("best.min() + noise", "best[best.isfinite()].mean() + noise")),
    edit("read_grid", "rates left unsorted", "lost_order", ("lrs[order][at]", "lrs[at]")),
    edit("read_grid", "the best losses", "losses", ("lrs[order][at]", "best")),
    edit("read_grid", "rank first", "exchanged",
         ("return rates, ranks[good].min()", "return ranks[good].min(), rates")),
    edit("read_grid", "positions before sorting", "positions",
         (RATES, "torch.where(best.isfinite(), at * 1.0, math.nan)")),
    edit("read_grid", "infinity for the dead row", "dead_row", ("lrs[order][at], math.nan",
         "lrs[order][at], math.inf")),
    edit("read_grid", "writes into the losses", "other",
         ("    order = ", "    losses[losses.isnan()] = math.inf\n    order = ")),
    edit("read_grid", "rates alone", "type", ("return rates, ranks[good].min()", "return rates")),
]  # fmt: skip

# What others tried, without having seen the checks.
WRONG += [
    Answer("largest_rank", note, "by_part", edits=(("shapes[name]) for name in targets",
           f"shapes[name]) for name in shapes if {test}"),))
    for note, test in (
        ("the end of the name", "name.endswith(tuple(targets))"),
        ("a part of the name", "any(t in name for t in targets)"),
    )
]  # fmt: skip

RIGHT += [
    Answer(
        "largest_rank",
        "loop",
        edits=(
            (
                "return budget // (layers * one)",
                (
                    "r = 0\n"
                    "    while (r + 1) * layers * one <= budget:\n"
                    "        r += 1\n"
                    "    return r"
                ),
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "numpy floor",
        edits=(
            (
                "return budget // (layers * one)",
                "import numpy as np\n    return np.floor_divide(budget, layers * one)",
            ),
        ),
    ),
    Answer(
        "rslora",
        "torch sqrt",
        edits=(
            (
                "return lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                (
                    "r = torch.tensor(float(len(lora_A)))\n"
                    "    return lora_alpha / r.sqrt() * torch.einsum('or,ri->oi', lora_B, lor"
                    "a_A)"
                ),
            ),
            ("return lora_alpha / math.sqrt(r)", "return lora_alpha * r ** 0.5 / r"),
        ),
    ),
    Answer(
        "rslora",
        "numpy",
        edits=(
            (
                "return lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                (
                    "import numpy as np\n"
                    "    return np.matmul(lora_B.detach().numpy(), lora_A.detach().numpy()) *"
                    " lora_alpha * len(lora_A) ** -0.5"
                ),
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "vectorised",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    at = (per_rank[:, None] * ranks[None] <= budget).sum(1) - 1
    best = losses.amin(-1).gather(1, at[:, None]).squeeze(1)
    return ranks[at], best, int(best.argmin())
""",
    ),
    Answer(
        "fair_choice",
        "lists",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    chosen, reached = [], []
    for g, cost in enumerate(per_rank.tolist()):
        i = max(i for i, r in enumerate(ranks.tolist()) if r * cost <= budget)
        chosen.append(ranks.tolist()[i])
        reached.append(min(losses[g, i].tolist()))
    return chosen, reached, reached.index(min(reached))
""",
    ),
    Answer(
        "plus_groups",
        "one group each",
        edits=(
            (
                ('return [{"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}]'),
                (
                    'return [{"params": [p], "lr": lr} for p in slow] + [{"params": [p], "lr"'
                    ": lr * ratio} for p in fast]"
                ),
            ),
        ),
    ),
    Answer(
        "plus_groups",
        "fast first, tuple",
        edits=(
            (
                ('return [{"params": slow, "lr": lr}, {"params": fast, "lr": lr * ratio}]'),
                (
                    'return ({"params": tuple(fast), "lr": ratio * lr, "weight_decay": 0.0}, '
                    '{"params": slow, "lr": lr})'
                ),
            ),
        ),
    ),
    Answer(
        "read_grid",
        "loops",
        code="""
def read_grid(losses, ranks, lrs, noise):
    rates, best = [], []
    for row in losses.tolist():
        pairs = sorted((x, lr) for x, lr in zip(row, lrs.tolist()) if math.isfinite(x))
        rates.append(pairs[0][1] if pairs else float("nan"))
        best.append(pairs[0][0] if pairs else math.inf)
    limit = torch.tensor(min(best), dtype=losses.dtype) + noise
    fits = [r for r, x in zip(ranks.tolist(), best) if torch.tensor(x, dtype=losses.dtype) <= limit]
    return rates, min(fits)
""",
    ),
    Answer(
        "read_grid",
        "loops in float64",
        code="""
def read_grid(losses, ranks, lrs, noise):
    rates, best = [], []
    for row in losses.tolist():
        pairs = sorted((x, lr) for x, lr in zip(row, lrs.tolist()) if math.isfinite(x))
        rates.append(pairs[0][1] if pairs else float("nan"))
        best.append(pairs[0][0] if pairs else math.inf)
    return rates, min(r for r, x in zip(ranks.tolist(), best) if x <= min(best) + noise)
""",
    ),
    Answer(
        "largest_rank",
        "divmod of a Counter",
        code="""
def largest_rank(shapes, targets, layers, budget):
    from collections import Counter
    cost = Counter()
    for name in targets:
        d_out, d_in = shapes[name]
        cost["A"] += d_in
        cost["B"] += d_out
    return divmod(budget, layers * cost.total())[0]
""",
    ),
    Answer(
        "largest_rank",
        "halves an interval",
        code="""
def largest_rank(shapes, targets, layers, budget):
    low, high = 0, budget + 1
    while high - low > 1:
        r = (low + high) // 2
        numbers = sum(layers * (r * i + o * r) for o, i in map(shapes.get, targets))
        low, high = (r, high) if numbers <= budget else (low, r)
    return torch.tensor(low)
""",
    ),
    Answer(
        "rslora",
        "root into both factors",
        code="""
def rslora_delta(lora_A, lora_B, lora_alpha):
    c = lora_alpha**0.5 * lora_B.size(1) ** -0.25
    return torch.matmul(lora_B * c, c * lora_A)


def same_update(lora_alpha, r):
    return lora_alpha * r**-0.5
""",
    ),
    Answer(
        "rslora",
        "numpy alpha",
        code="""
import numpy as np


def rslora_delta(lora_A, lora_B, lora_alpha):
    r = min(*lora_A.shape, *lora_B.shape)
    return torch.nn.functional.linear(lora_A.T, lora_B).T * (lora_alpha / np.sqrt(r))


def same_update(lora_alpha, r):
    old_scale = lora_alpha / r
    return np.sqrt(r) * old_scale
""",
    ),
    Answer(
        "fair_choice",
        "masked with infinity",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    inside = torch.outer(per_rank, ranks).le(budget)  # (G, R)
    at = (ranks * inside).argmax(1, keepdim=True)
    best = losses.min(-1).values.gather(1, at).squeeze(1)
    return ranks[at[:, 0]], best, best.sort().indices[0]
""",
    ),
    Answer(
        "fair_choice",
        "sorted descending",
        code="""
def fair_choice(per_rank, ranks, losses, budget):
    table = {}
    for g, cost in enumerate(per_rank.tolist()):
        for i, r in sorted(enumerate(ranks.tolist()), reverse=True):
            if cost * r <= budget:
                table[g] = (r, losses[g, i].amin().item())
                break
    rs, ls = zip(*(table[g] for g in sorted(table)))
    return list(rs), list(ls), min(table, key=lambda g: table[g][1])
""",
    ),
    Answer(
        "plus_groups",
        "one group a parameter",
        code="""
def plus_groups(model, lr, ratio):
    rate = {True: lr * ratio, False: lr}
    return [
        {"params": [p], "lr": rate[n.split(".")[-1] == "lora_B"]}
        for n, p in model.named_parameters()
        if p.requires_grad
    ]
""",
    ),
    Answer(
        "plus_groups",
        "by id, generator",
        code="""
def plus_groups(model, lr, ratio):
    b = {id(p) for n, p in model.named_parameters() if n.rpartition(".")[2] == "lora_B"}
    train = [p for p in model.parameters() if p.requires_grad]
    groups = {"lr": lr, "params": [p for p in train if id(p) not in b]},
    return (*groups, {"lr": ratio * lr, "params": [p for p in train if id(p) in b]})
""",
    ),
    Answer(
        "read_grid",
        "a loop in plain Python",
        code="""
def read_grid(losses, ranks, lrs, noise):
    rates, best = [], {}
    for row, r in zip(losses.tolist(), ranks.tolist()):
        runs = sorted((v, lr) for v, lr in zip(row, lrs.tolist()) if math.isfinite(v))
        rates.append(runs[0][1] if runs else float("nan"))
        if runs:
            best[r] = runs[0][0]
    limit = min(best.values()) + noise
    return rates, min(r for r, v in best.items() if v <= limit)
""",
    ),
    Answer(
        "read_grid",
        "where and amin",
        code="""
def read_grid(losses, ranks, lrs, noise):
    clean = torch.nan_to_num(losses, nan=math.inf, posinf=math.inf)
    low = clean.amin(1)
    at_low = (clean == low[:, None]) & low.isfinite()[:, None]
    rates = torch.where(at_low, lrs, math.inf).amin(1)
    rates[rates.isinf()] = math.nan
    best = torch.sort(ranks[low - low.min() <= noise]).values
    return rates, int(best[0])
""",
    ),
]

WRONG += [
    Answer(
        "largest_rank",
        "budget a block",
        "times_layers",
        edits=(("return budget // (layers * one)", "return budget // one * layers"),),
    ),
    Answer(
        "largest_rank",
        "min over targets",
        "each",
        edits=(
            (
                "return budget // (layers * one)",
                "return min(budget // (layers * sum(shapes[n])) for n in targets)",
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "split equally",
        "each",
        edits=(
            (
                "return budget // (layers * one)",
                (
                    "return min(budget // len(targets) // (layers * sum(shapes[n])) for n in "
                    "targets)"
                ),
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "first target",
        "each",
        edits=(("for name in targets", "for name in targets[:1]"),),
    ),
    Answer(
        "largest_rank",
        "capped by the layer",
        "capped",
        edits=(
            (
                "return budget // (layers * one)",
                ("return min(budget // (layers * one), min(min(shapes[n]) for n in targets))"),
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "loop until 64",
        "capped",
        edits=(
            (
                "return budget // (layers * one)",
                (
                    "best = 0\n"
                    "    for r in range(64):\n"
                    "        if r * layers * one <= budget:\n"
                    "            best = r\n"
                    "    return best"
                ),
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "max side twice",
        "square",
        edits=(
            (
                "one = sum(sum(shapes[name]) for name in targets)",
                "one = sum(2 * max(shapes[name]) for name in targets)",
            ),
        ),
    ),
    Answer(
        "rslora",
        "sqrt alpha",
        "root_of_all",
        edits=(
            (
                "return lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                ("return math.sqrt(lora_alpha) / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A"),
            ),
        ),
    ),
    Answer(
        "rslora",
        "precedence",
        "power_first",
        edits=(
            (
                "return lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                "return lora_alpha / lora_A.shape[0] ** 1 / 2 * lora_B @ lora_A",
            ),
        ),
    ),
    Answer(
        "rslora",
        "sqrt alpha",
        "root_over_alpha",
        edits=(("return lora_alpha / math.sqrt(r)", "return math.sqrt(lora_alpha)"),),
    ),
    Answer(
        "rslora",
        "sqrt(r)",
        "alpha_lost",
        edits=(("return lora_alpha / math.sqrt(r)", "return math.sqrt(r)"),),
    ),
    Answer(
        "rslora",
        "r",
        "alpha_lost",
        edits=(("return lora_alpha / math.sqrt(r)", "return r"),),
    ),
    Answer(
        "rslora",
        "2 sqrt r",
        "alpha_lost",
        edits=(("return lora_alpha / math.sqrt(r)", "return 2 * math.sqrt(r)"),),
    ),
    Answer(
        "rslora",
        "isqrt",
        "alpha_rounded",
        edits=(("return lora_alpha / math.sqrt(r)", "return lora_alpha / math.isqrt(r)"),),
    ),
    Answer(
        "rslora",
        "sqrt of both",
        "root_over_alpha",
        edits=(("return lora_alpha / math.sqrt(r)", "return math.sqrt(lora_alpha / r)"),),
    ),
    Answer(
        "fair_choice",
        "best of all fitting ranks",
        "smaller_ranks",
        edits=(("grid[fits[-1]].min()", "grid[: fits[-1] + 1].min()"),),
    ),
    Answer(
        "fair_choice",
        "winner by rank",
        "not_lowest",
        edits=(("reached.argmin()", "torch.stack(chosen).argmax()"),),
    ),
    Answer(
        "fair_choice",
        "argmin of the rate",
        "rate_places",
        edits=(("grid[fits[-1]].min()", "grid[fits[-1]].argmin()"),),
    ),
    Answer(
        "fair_choice",
        "order",
        "exchanged",
        edits=(
            (
                "return torch.stack(chosen), reached, reached.argmin()",
                "return reached, torch.stack(chosen), reached.argmin()",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "one too low",
        "one_lower",
        edits=(
            (
                "fits = [i for i, r in enumerate(ranks) if r * cost <= budget]",
                (
                    "fits = [i for i, r in enumerate(ranks) if r * cost <= budget]\n"
                    "        fits = fits[:-1] or fits"
                ),
            ),
        ),
    ),
    Answer(
        "plus_groups",
        "endswith B",
        "letter",
        edits=(('name.endswith("lora_B")', 'name.endswith("B")'),),
    ),
    Answer(
        "plus_groups",
        "lora_ in name",
        "both_factors",
        edits=(('name.endswith("lora_B")', '"lora_" in name'),),
    ),
    Answer(
        "plus_groups",
        "three groups with head fast",
        "rest_fast",
        edits=(
            (
                (
                    "if p.requires_grad:\n"
                    '            (fast if name.endswith("lora_B") else slow).append(p)'
                ),
                (
                    "if p.requires_grad:\n"
                    '            (slow if name.endswith("lora_A") or "norm" in name else fast'
                    ").append(p)"
                ),
            ),
        ),
    ),
    Answer(
        "read_grid",
        "position",
        "rank_position",
        edits=(("ranks[good].min()", "good.int().argmax()"),),
    ),
    Answer(
        "read_grid",
        "smallest rate within noise",
        "noise_in_rates",
        edits=(
            (
                "finite = torch.where(losses.isnan(), math.inf, losses)[:, order]",
                (
                    "finite = torch.where(losses.isnan(), math.inf, losses)[:, order]\n"
                    "    finite = torch.where(finite <= finite.min(dim=1, keepdim=True).value"
                    "s + noise, finite.min(dim=1, keepdim=True).values, finite)"
                ),
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "twice the in",
        "square",
        edits=(("sum(shapes[name])", "2 * shapes[name][1]"),),
    ),
    Answer(
        "largest_rank",
        "bytes: two a number",
        "too_small",
        edits=(("return budget // (layers * one)", "return budget // (2 * layers * one)"),),
    ),
    Answer(
        "largest_rank",
        "targets as substring of name",
        "by_part",
        edits=(("for name in targets", "for name in shapes if name in ' '.join(targets)"),),
    ),
    Answer(
        "largest_rank",
        "min of out and in as r limit",
        "capped",
        edits=(("return budget // (layers * one)", "return min(budget // (layers * one), 64)"),),
    ),
    Answer(
        "largest_rank",
        "times rank squared",
        "too_small",
        edits=(
            ("return budget // (layers * one)", "return int((budget / (layers * one)) ** 0.5)"),
        ),
    ),
    Answer(
        "largest_rank",
        "layers times targets",
        "too_small",
        edits=(("layers * one", "layers * len(targets) * one"),),
    ),
    Answer(
        "largest_rank",
        "returns cost",
        "too_large",
        edits=(("return budget // (layers * one)", "return layers * one"),),
    ),
    Answer(
        "largest_rank",
        "loop stops one early",
        "at_least_one",
        edits=(
            (
                "return budget // (layers * one)",
                """r = 1
    while (r + 1) * layers * one <= budget:
        r += 1
    return r""",
            ),
        ),
    ),
    Answer(
        "largest_rank",
        "loop ends one late",
        "over",
        edits=(
            (
                "return budget // (layers * one)",
                """r = 0
    while r * layers * one <= budget:
        r += 1
    return r""",
            ),
        ),
    ),
    Answer(
        "rslora",
        "alpha over root of alpha",
        "factor",
        edits=(
            (
                "lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                "lora_alpha / math.sqrt(lora_alpha) * lora_B @ lora_A",
            ),
        ),
    ),
    Answer("rslora", "log of r", "factor", edits=(("math.sqrt(lora_A", "math.log2(lora_A"),)),
    Answer(
        "rslora",
        "root of product",
        "factor",
        edits=(
            (
                "lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                "math.sqrt(lora_alpha * lora_A.shape[0]) * lora_B @ lora_A",
            ),
        ),
    ),
    Answer(
        "rslora",
        "both: scale twice",
        "factor",
        edits=(
            (
                "lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                "lora_alpha**2 / lora_A.shape[0] * lora_B @ lora_A",
            ),
        ),
    ),
    Answer(
        "rslora",
        "elementwise root",
        "factor",
        edits=(
            (
                "lora_alpha / math.sqrt(lora_A.shape[0]) * lora_B @ lora_A",
                "lora_alpha * (lora_B @ lora_A) / (lora_A.shape[0] ** 1.5)",
            ),
        ),
    ),
    Answer(
        "rslora",
        "alpha times r over root (wrong way)",
        "new_scale",
        edits=(
            (
                """    return lora_alpha / math.sqrt(r)
""",
                """    return lora_alpha * math.sqrt(r) * r
""",
            ),
        ),
    ),
    Answer(
        "rslora",
        "alpha plus root",
        "new_scale",
        edits=(
            (
                """    return lora_alpha / math.sqrt(r)
""",
                """    return lora_alpha - math.sqrt(r)
""",
            ),
        ),
    ),
    Answer(
        "rslora",
        "alpha over r over root",
        "new_scale",
        edits=(
            (
                """    return lora_alpha / math.sqrt(r)
""",
                """    return lora_alpha / r / math.sqrt(r)
""",
            ),
        ),
    ),
    Answer(
        "rslora",
        "2 alpha",
        "new_scale",
        edits=(
            (
                """    return lora_alpha / math.sqrt(r)
""",
                """    return lora_alpha / 2
""",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "budget per group average",
        "equal_rank",
        edits=(("r * cost <= budget", "r * cost <= budget * cost / per_rank.float().mean()"),),
    ),
    Answer(
        "fair_choice",
        "second rate",
        "one_rate",
        edits=(("grid[fits[-1]].min()", "grid[fits[-1]][1]"),),
    ),
    Answer(
        "fair_choice",
        "last rate",
        "one_rate",
        edits=(("grid[fits[-1]].min()", "grid[fits[-1]][-1]"),),
    ),
    Answer(
        "fair_choice",
        "rate of the best group for all",
        "one_rate",
        edits=(
            (
                "return torch.stack(chosen), reached, reached.argmin()",
                """at = [ranks.tolist().index(int(r)) for r in chosen]
    rows = torch.stack([losses[g, i] for g, i in enumerate(at)])
    j = rows.min(0).values.argmin()
    reached = rows[:, j]
    return torch.stack(chosen), reached, reached.argmin()""",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "winner by loss per parameter",
        "loser",
        edits=(
            (
                "return torch.stack(chosen), reached, reached.argmin()",
                "return torch.stack(chosen), reached, (reached / per_rank).argmin()",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "winner the cheapest",
        "not_lowest",
        edits=(
            (
                "return torch.stack(chosen), reached, reached.argmin()",
                "return torch.stack(chosen), reached, per_rank.argmin()",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "winner one-hot",
        "not_lowest",
        edits=(
            (
                "return torch.stack(chosen), reached, reached.argmin()",
                "return torch.stack(chosen), reached, reached == reached.min()",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "within budget: best loss rank",
        "not_largest",
        edits=(
            (
                "fits = [i for i, r in enumerate(ranks) if r * cost <= budget]",
                """fits = [i for i, r in enumerate(ranks) if r * cost <= budget]
        fits.sort(key=lambda i: -grid[i].min())""",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "groups not with rank but cost",
        "no_rank",
        edits=(("chosen.append(ranks[fits[-1]])", "chosen.append(ranks[fits[-1]] * cost)"),),
    ),
    Answer(
        "fair_choice",
        "ranks given back for the winner only",
        "each_group",
        edits=(
            (
                "return torch.stack(chosen), reached, reached.argmin()",
                """w = reached.argmin()
    return chosen[w], reached[w], w""",
            ),
        ),
    ),
    Answer(
        "fair_choice",
        "losses of previous rank",
        "other_rank",
        edits=(("grid[fits[-1]].min()", "grid[fits[-1] - 1].min()"),),
    ),
    Answer(
        "fair_choice",
        "losses axis swapped",
        "other_rank",
        edits=(("grid[fits[-1]].min()", "grid[:, fits[-1] % 4].min()"),),
    ),
    Answer(
        "fair_choice",
        "sum of losses",
        "no_loss",
        edits=(("grid[fits[-1]].min()", "grid[fits[-1]].sum()"),),
    ),
    Answer(
        "plus_groups",
        "lora in names first",
        "start_of_name",
        edits=(('name.endswith("lora_B")', 'name.startswith("lora_B")'),),
    ),
    Answer(
        "plus_groups", "1-D fast", "both_rates", edits=(('name.endswith("lora_B")', "p.ndim == 1"),)
    ),
    Answer(
        "plus_groups",
        "names contain weight",
        "rest_fast",
        edits=(('name.endswith("lora_B")', '"lora_A" not in name'),),
    ),
    Answer(
        "plus_groups",
        "a group for A, B only",
        "left_out",
        edits=(
            (
                '(fast if name.endswith("lora_B") else slow).append(p)',
                """if "lora_A" in name:
                slow.append(p)
            elif "lora_B" in name:
                fast.append(p)""",
            ),
        ),
    ),
    Answer(
        "plus_groups",
        "iterates modules",
        "forgotten",
        edits=(("model.named_parameters()", "model.named_parameters(recurse=False)"),),
    ),
    Answer(
        "plus_groups",
        "ratio and lr in keys",
        "one_rate",
        edits=(('"lr": lr * ratio', '"lr": lr, "ratio": ratio'),),
    ),
    Answer(
        "plus_groups",
        "frozen with lr 0",
        "frozen",
        edits=(
            (
                """        if p.requires_grad:
            (fast if name.endswith("lora_B") else slow).append(p)""",
                '        (fast if name.endswith("lora_B") else slow).append(p)',
            ),
        ),
    ),
    Answer("plus_groups", "power", "b_rate", edits=(("lr * ratio", "lr ** ratio"),)),
    Answer(
        "plus_groups",
        "group without params",
        "type",
        edits=(('"params": slow', '"parameters": slow'),),
    ),
    Answer(
        "read_grid",
        "nan to zero",
        "nan_wins",
        edits=(("math.inf, losses)[:, order]", "0.0, losses)[:, order]"),),
    ),
    Answer(
        "read_grid",
        "nan to large number",
        "dead_row",
        edits=(
            (
                "torch.where(losses.isnan(), math.inf, losses)",
                "torch.where(losses.isfinite(), losses, 1e9)",
            ),
        ),
    ),
    Answer(
        "read_grid",
        "nanmin only (inf stays)",
        "not_diverged",
        edits=(("best <= best.min() + noise", "best < math.inf"),),
    ),
    Answer(
        "read_grid",
        "noise halved",
        "share",
        edits=(("best.min() + noise", "best.min() + noise / 2"),),
    ),
    Answer(
        "read_grid",
        "above the mean",
        "share",
        edits=(("best.min() + noise", "best[best.isfinite()].median()"),),
    ),
    Answer(
        "read_grid",
        "difference to neighbour",
        "noise_ignored",
        edits=(("ranks[good].min()", "ranks[best.argmin()]"),),
    ),
    Answer(
        "read_grid",
        "rate of the first good run",
        "smallest_rate",
        edits=(
            (
                "best, at = finite.min(dim=1)",
                """best = finite.min(dim=1).values
    at = finite.isfinite().int().argmax(1)""",
            ),
        ),
    ),
    Answer(
        "read_grid",
        "smallest lr among all finite",
        "smallest_rate",
        edits=(("lrs[order][at], math.nan", "lrs.min(), math.nan"),),
    ),
    Answer(
        "read_grid",
        "one rate of the winner",
        "each_rank",
        edits=(("return rates, ranks[good].min()", "return rates[good][0], ranks[good].min()"),),
    ),
    Answer(
        "read_grid",
        "0 for dead rows",
        "dead_row",
        edits=(("lrs[order][at], math.nan", "lrs[order][at], 0.0"),),
    ),
    Answer(
        "read_grid",
        "drops dead rows",
        "each_rank",
        edits=(("return rates, ranks", "return rates[best.isfinite()], ranks"),),
    ),
    Answer(
        "read_grid",
        "second best",
        "wrong_place",
        edits=(("finite.min(dim=1)", "finite.kthvalue(2, dim=1)"),),
    ),
    Answer(
        "fair_choice", "two places more", "too_dear", edits=(("fits[-1]", "min(fits[-1] + 2, 4)"),)
    ),
    Answer(
        "fair_choice",
        "the second lowest loss",
        "other_rate",
        edits=(
            (
                "grid[fits[-1]].min()",
                "grid[fits[-1]].sort().values[1] if len(chosen) > 1 else grid[fits[-1]].min()",
            ),
        ),
    ),
    Answer(
        "plus_groups",
        "frozen rate for lora_A",
        "rest_rate",
        edits=(('{"params": slow, "lr": lr}', '{"params": slow, "lr": lr * 0.5}'),),
    ),
    Answer(
        "fair_choice",
        "the middle of what fits",
        "too_small",
        edits=(("fits[-1]", "fits[len(fits) // 2]"),),
    ),
]
