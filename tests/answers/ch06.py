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
    edit("rslora", "a guess", "other", (SAME, "    return 3 * lora_alpha\n")),
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
    edit("read_grid", "nan stays", "raised", (INF, "losses[:, order]")),
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
    edit("read_grid", "a sum of ranks", "other", ("ranks[good].min()", "ranks.sum()")),
    edit("read_grid", "min without dim unpacked", "raised",
         ("best, at = finite.min(dim=1)", "best = at = finite.argmin(0).view(7)")),
    edit("read_grid", "forgets return", "none", ("return rates", "rates")),
]  # fmt: skip
