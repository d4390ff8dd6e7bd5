# 17.4
HEIGHT = "return math.ceil(shape[0] / world)"
STORED = "return height(shape) * math.prod(shape[1:])"
ROWS = "rows = min(height(shape), shape[0] - rank * height(shape))"
FACTORS = "factors = [s for out, d_in in layers for s in ((r, d_in), (out, r))]"
BASE = "base = 2 * sum(stored(s) for s in [*layers, *others])"
STATES = "states = 2 * 4 * sum(true(s) for s in factors)"
ADAPTER = "adapter = 4 * sum(stored(s) for s in factors)"
# 17.5
SHARE = "share = tokens / tokens.sum()  # (world,)"
SAME = "return torch.allclose(a, b.expand_as(a), rtol=1e-3, atol=1e-5)"
BEGAN = '''    if not same(start, start[0]):
        return "start"
'''
ONCE = '''    if len(rows.unique()) < rows.numel():
        return "rows"
'''
FINE = '''    if same(used, right):
        return ""
'''
NEXT = "next(word for word, guess in guesses.items() if same(used, guess))"
OR_NONE = 'next((word for word, guess in guesses.items() if same(used, guess)), "?")'
GUESSES = 'guesses = {"alone": own, "mean": own.mean(0), "sum": len(own) * right}'

RIGHT_17 = [
    Answer(
        "on_a_rank",
        "with torch.chunk on the meta device",
        "",
        code="""
def on_a_rank(layers, others, r, world, rank):
    import torch

    def cut(shape):
        pieces = torch.empty(shape, device="meta").chunk(world)
        mine = pieces[rank].numel() if rank < len(pieces) else 0
        return pieces[0].numel(), mine

    factors = [cut((r, shape[1])) for shape in layers] + [cut((shape[0], r)) for shape in layers]
    adapter = sum(4 * full for full, _ in factors)
    weights = adapter + sum(2 * cut(tuple(shape))[0] for shape in layers + others)
    return dict(optimizer=sum(8 * mine for _, mine in factors), gradients=adapter, weights=weights)
""",
    ),
    edit("on_a_rank", "as tensors", "",
         ('"optimizer": states}', '"optimizer": __import__("torch").tensor(states)}')),
    edit("on_a_rank", "-(-a // b)", "", (HEIGHT, "return -(-shape[0] // world)")),
    edit("drift", "tokens in floats", "", (SHARE, "share = tokens.float() / tokens.sum()")),
    Answer(
        "drift",
        "in loops and lists",
        "",
        code="""
def drift(start, rows, tokens, own, used):
    def close(a, b):
        return bool(((a - b).abs() <= 1e-3 * b.abs() + 1e-5).all())

    world = len(tokens)
    if any(not close(start[k], start[0]) for k in range(world)):
        return "start"
    seen = [int(n) for row in rows for n in row]
    if len(set(seen)) != len(seen):
        return "rows"
    right = sum(int(tokens[k]) * own[k] for k in range(world)) / int(tokens.sum())
    if all(close(used[k], right) for k in range(world)):
        return ""
    if all(close(used[k], own[k]) for k in range(world)):
        return "alone"
    return "mean" if close(used[0], own.mean(dim=0)) else "sum"
""",
    ),
    edit("drift", "the other guesses in another order", "",
         (GUESSES, 'guesses = {"sum": len(own) * right, "mean": own.mean(0), "alone": own}')),
]  # fmt: skip

WRONG_17 = [
    edit("on_a_rank", "rounded down", "floor", (HEIGHT, "return shape[0] // world"),
         (ROWS, "rows = height(shape)")),
    edit("on_a_rank", "not filled", "unfilled", (STORED, "return true(shape)")),
    edit("on_a_rank", "spread evenly", "even",
         (STORED, "return true(shape)"),
         (ROWS, "rows = shape[0] // world + (rank < shape[0] % world)")),
    edit("on_a_rank", "numbers divided", "by_numbers",
         (STORED, "return math.ceil(math.prod(shape) / world)"),
         (ROWS, "return stored(shape)")),
    edit("on_a_rank", "all of it", "not_cut", (STORED, "return math.prod(shape)"),
         (ROWS, "return stored(shape)")),
    edit("on_a_rank", "the adapter whole", "adapter_not_cut",
         (ADAPTER, "adapter = 4 * sum(math.prod(s) for s in factors)"),
         (STATES, "states = 2 * adapter")),
    edit("on_a_rank", "states filled", "filled_states", (STATES, "states = 2 * adapter")),
    edit("on_a_rank", "one state", "one_state", (STATES, STATES.replace("2 * 4", "4"))),
    edit("on_a_rank", "base in 4 bytes", "base_32", (BASE, BASE.replace("= 2", "= 4"))),
    edit("on_a_rank", "adapter in 2 bytes", "adapter_16",
         (ADAPTER, ADAPTER.replace("= 4", "= 2")), (STATES, STATES.replace("2 * 4", "2 * 2"))),
    edit("on_a_rank", "without the others", "no_others",
         (BASE, BASE.replace("[*layers, *others]", "layers"))),
    edit("on_a_rank", "without the layers", "no_layers",
         (BASE, BASE.replace("[*layers, *others]", "others"))),
    edit("on_a_rank", "only A", "only_A",
         (FACTORS, FACTORS.replace("((r, d_in), (out, r))", "((r, d_in),)"))),
    edit("on_a_rank", "in and out swapped", "swapped",
         (FACTORS, FACTORS.replace("((r, d_in), (out, r))", "((r, out), (d_in, r))"))),
    edit("on_a_rank", "gradients of everything", "all_gradients",
         ('"gradients": adapter', '"gradients": base + adapter')),
    edit("on_a_rank", "gradients not filled", "true_gradients",
         ('"gradients": adapter', '"gradients": 4 * sum(true(s) for s in factors)')),
    edit("on_a_rank", "the adapter alone", "no_base",
         ('"weights": base + adapter', '"weights": adapter')),
    edit("on_a_rank", "ranks from 1", "other", ("rank * height", "(rank - 1) * height")),
    edit("on_a_rank", "other keys", "other", ('"optimizer": states', '"states": states')),
    edit("on_a_rank", "changes the list", "other",
         (BASE, "layers += others\n    base = 2 * sum(stored(s) for s in layers)")),
    edit("on_a_rank", "a tuple", "type",
         ('return {"weights": base + adapter, "gradients": adapter, "optimizer": states}',
          "return base + adapter, adapter, states")),
    edit("drift", "exact", "exact", (SAME, "return torch.equal(a, b.expand_as(a))"),
         (NEXT, OR_NONE)),
    edit("drift", "the mean is right", "plain_right",
         (SHARE, "share = torch.full((len(own),), 1 / len(own))"),
         (GUESSES, GUESSES.replace("own.mean(0)", "(tokens / tokens.sum()) @ own")),
         (NEXT, OR_NONE)),
    edit("drift", "looks for the mean first", "mean_first",
         (FINE, '    if same(used, own.mean(0)):\n        return "mean"\n' + FINE)),
    edit("drift", "fewer tokens count more", "inverted",
         (SHARE, "share = 1 / tokens / (1 / tokens).sum()"),
         (NEXT, OR_NONE)),
    edit("drift", "two ranks", "two_ranks",
         (BEGAN, BEGAN.replace("same(start, start[0])", "same(start[1], start[0])")),
         (ONCE, ONCE.replace("rows.", "rows[:2]."))),
    edit("drift", "rank 0", "rank_0", (BEGAN, ""), (ONCE, "")),
    edit("drift", "starts not compared", "no_start", (BEGAN, "")),
    edit("drift", "rows not compared", "no_rows", (ONCE, "")),
    edit("drift", "rows compared as wholes", "same_rows",
         (ONCE, ONCE.replace("len(rows.unique()) < rows.numel()",
                             "any(torch.equal(rows[0], other) for other in rows[1:])"))),
    edit("drift", "rows first", "order", (BEGAN, ""), (ONCE, ONCE + BEGAN)),
    edit("drift", "the sum of the ranks", "sum_of_own",
         (GUESSES, GUESSES.replace("len(own) * right", "own.sum(0)")),
         (NEXT, OR_NONE.replace("?", ""))),
    edit("drift", "writes into the record", "other", (SHARE, "own *= 1.0001\n    " + SHARE)),
    edit("drift", "None where nothing is wrong", "none", ('        return ""', "        return None")),
    edit("drift", "a number", "type", ('return "start"', "return 1")),
    edit("drift", "a word of one's own", "other", ('"sum": len(own)', '"total": len(own)')),
]  # fmt: skip
