"""Right and wrong answers to the exercises of chapter 17."""

from tests.answers import Answer

# 17.1
ELSEWHERE = "t.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()"
SAME = "torch.equal(t.detach().flatten().to(x.dtype), x.detach().flatten())"
SIZE = "t.numel() * t.element_size()"
KEY = "found[t.untyped_storage().data_ptr()]"
# 17.2
LEFT = "left = x if mask is None else x * mask / (1 - p)  # (N, in)"
KEEP = "keep = 1 if mask is None else mask / (1 - ctx.p)"
SMALL = "small = ctx.scaling * g @ B.to(g.dtype)  # (N, r)"
DX = "dx = g @ W + (small @ A.to(g.dtype)) * keep  # (N, in)"
DA = "dA = small.T @ (x * keep).to(g.dtype)  # (r, in)"
DB = "dB = ctx.scaling * g.T @ down  # (out, r)"
DOWN = "down = left @ A.to(x.dtype).T  # (N, r)"
OUT = "return x @ W.T + scaling * down @ B.to(x.dtype).T"
# 17.3
ASKED = '[(batch["labels"][:, 1:] != -100).sum().item() for batch in batches]'
WEIGHED = "model(**batch).loss * count / sum(counts)"
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
CLOSE = "return torch.allclose(a, b.expand_as(a), rtol=1e-3, atol=1e-5)"
BEGAN = """    if not same(start, start[0]):
        return "start"
"""
ONCE = """    if len(rows.unique()) < rows.numel():
        return "rows"
"""
FINE = """    if same(used, right):
        return ""
"""
NEXT = "next(word for word, guess in guesses.items() if same(used, guess))"
OR_NONE = 'next((word for word, guess in guesses.items() if same(used, guess)), "?")'
GUESSES = 'guesses = {"alone": own, "mean": own.mean(0), "sum": len(own) * right}'


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "copies",
        "numbers compared in float64, storages in a set",
        "",
        code="""
def copies(layer, x):
    seen, total = {x.untyped_storage()._cdata}, 0

    def pack(t):
        nonlocal total
        where = t.untyped_storage()._cdata
        if where not in seen and t.numel() == x.numel():
            a, b = t.detach().reshape(-1), x.detach().reshape(-1)
            if bool((a.to(b.dtype).double() == b.double()).all()):
                seen.add(where)
                total += t.nbytes
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = layer(x)
    return total
""",
    ),
    edit(
        "copies",
        "as a tensor",
        "",
        ("return sum(found.values())", "return torch.tensor(sum(found.values()))"),
    ),
    edit(
        "copies",
        "torch.equal of two types",
        "",
        (SAME, "torch.equal(t.detach().flatten(), x.detach().flatten())"),
    ),
    edit(
        "hand_lora",
        "addmm",
        "",
        (OUT, "return torch.addmm(x @ W.T, scaling * down, B.to(x.dtype).T)"),
    ),
    Answer(
        "hand_lora",
        "where in place of products, scale in other places",
        "",
        code="""
class HandLoRA(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W, A, B, scaling, mask, p):
        ctx.extra = scaling, p
        ctx.save_for_backward(x, W, A, B, mask)
        left = x if mask is None else torch.where(mask, x / (1 - p), torch.zeros_like(x))
        return torch.nn.functional.linear(x, W) + (left @ A.T.to(x.dtype)) @ (
            scaling * B
        ).T.to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        x, W, A, B, mask = ctx.saved_tensors
        s, p = ctx.extra
        left = x if mask is None else torch.where(mask, x / (1 - p), torch.zeros_like(x))
        back = g @ B.to(g.dtype)
        into = s * (back @ A.to(g.dtype))
        if mask is not None:
            into = torch.where(mask, into / (1 - p), torch.zeros_like(into))
        dB = s * (g.T @ (left @ A.T.to(x.dtype)))
        return g @ W + into, None, s * (back.T @ left), dB, None, None, None
""",
    ),
    Answer(
        "accumulate",
        "sums of losses from the logits",
        "",
        code="""
def accumulate(model, batches):
    total = sum(int((b["labels"][:, 1:] >= 0).sum()) for b in batches)
    for p in model.parameters():
        p.grad = None
    losses = []
    for b in batches:
        logits = model(**b).logits[:, :-1]
        labels = b["labels"][:, 1:]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="sum"
        ) / total
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()
""",
    ),
    edit(
        "accumulate",
        "gradients set to zero, not to None",
        "",
        ("model.zero_grad()", "model.zero_grad(set_to_none=False)"),
    ),
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
    edit(
        "on_a_rank",
        "as tensors",
        "",
        ('"optimizer": states}', '"optimizer": __import__("torch").tensor(states)}'),
    ),
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
    edit(
        "drift",
        "the other guesses in another order",
        "",
        (GUESSES, 'guesses = {"sum": len(own) * right, "mean": own.mean(0), "alone": own}'),
    ),
]


WRONG = [
    edit("copies", "x itself as well", "x_itself", (ELSEWHERE, "True")),
    edit(
        "copies", "another tensor object is another memory", "x_itself", (ELSEWHERE, "t is not x")
    ),
    edit("copies", "only other types", "only_types", (ELSEWHERE, "t.dtype != x.dtype")),
    edit("copies", "each time anew", "counted_twice", (KEY, "found[len(found)]")),
    edit("copies", "size alone", "not_compared", (SAME, "True")),
    edit("copies", "of the same shape", "other_shape", (SAME, f"t.shape == x.shape and {SAME}")),
    edit("copies", "numbers", "numbers", (SIZE, "t.numel()")),
    edit("copies", "x's size", "size_of_x", (SIZE, "t.numel() * x.element_size()")),
    edit("copies", "calls twice", "twice_called", ("    del y\n", "    layer(x)\n")),
    edit(
        "copies",
        "runs backward",
        "twice_called",
        ("    del y\n", "    y.float().sum().backward()\n"),
    ),
    edit("copies", "zero", "other", ("return sum(found.values())", "return 0")),
    edit(
        "hand_lora",
        "mask not divided",
        "unscaled_mask",
        (LEFT, LEFT.replace(" / (1 - p)", "")),
        (KEEP, "keep = 1 if mask is None else mask"),
    ),
    edit(
        "hand_lora",
        "mask upside down",
        "inverted",
        (LEFT, LEFT.replace("x * mask", "x * ~mask")),
        (KEEP, KEEP.replace("else mask", "else ~mask")),
    ),
    edit(
        "hand_lora",
        "no scale in backward",
        "scale_lost",
        (SMALL, "small = g @ B.to(g.dtype)"),
        (DB, "dB = g.T @ down"),
    ),
    edit(
        "hand_lora",
        "no scale for x",
        "scale_lost",
        (DX, "dx = g @ W + (g @ B.to(g.dtype) @ A.to(g.dtype)) * keep"),
    ),
    edit(
        "hand_lora",
        "no scale at all",
        "scale_lost",
        (OUT, OUT.replace("scaling * ", "")),
        (SMALL, "small = g @ B.to(g.dtype)"),
        (DB, "dB = g.T @ down"),
    ),
    edit("hand_lora", "x gets W's path only", "base_only", (DX, "dx = g @ W")),
    edit(
        "hand_lora",
        "x gets the update's path only",
        "base_only",
        (DX, "dx = (small @ A.to(g.dtype)) * keep"),
    ),
    edit(
        "hand_lora",
        "mask not applied to x",
        "mask_not_back",
        (DX, "dx = g @ W + small @ A.to(g.dtype)"),
    ),
    edit(
        "hand_lora",
        "mask on both paths back",
        "mask_everywhere",
        (DX, "dx = (g @ W + small @ A.to(g.dtype)) * keep"),
    ),
    edit("hand_lora", "A from x", "x_undropped", (DA, "dA = small.T @ x")),
    edit(
        "hand_lora",
        "B from x",
        "x_undropped",
        (DB, "dB = ctx.scaling * g.T @ (x @ A.to(x.dtype).T)"),
    ),
    edit(
        "hand_lora",
        "keeps what dropout left",
        "left_kept",
        (
            "ctx.save_for_backward(x, W, A, B, mask, down)",
            "ctx.save_for_backward(x, W, A, B, mask, down, left * 1)",
        ),
        ("x, W, A, B, mask, down = ctx", "x, W, A, B, mask, down, _ = ctx"),
    ),
    edit(
        "hand_lora",
        "in float32 throughout",
        "own_type",
        (OUT, "return x.float() @ W.float().T + scaling * down.float() @ B.T"),
    ),
    edit(
        "hand_lora",
        "gradients swapped",
        "other",
        ("return dx, None, dA, dB,", "return dx, None, dA * 0, dB,"),
    ),
    edit(
        "accumulate",
        "mean of means",
        "mean_of_means",
        (WEIGHED, "model(**batch).loss / len(batches)"),
    ),
    edit("accumulate", "means added", "sum_of_means", (WEIGHED, "model(**batch).loss")),
    edit("accumulate", "sum of all", "sum", (WEIGHED, "model(**batch).loss * count")),
    edit("accumulate", "first label counted", "unshifted", (ASKED, ASKED.replace("[:, 1:]", ""))),
    edit("accumulate", "by rows", "rows", (ASKED, '[len(batch["labels"]) for batch in batches]')),
    edit("accumulate", "divided twice", "divided_twice", (WEIGHED, WEIGHED + " / len(batches)")),
    edit(
        "accumulate",
        "cleared in between",
        "last_only",
        ("        if count:\n", "        model.zero_grad()\n        if count:\n"),
    ),
    edit("accumulate", "old gradient kept", "old_gradient", ("    model.zero_grad()\n", "")),
    edit("accumulate", "0 / 0", "nan", ("        if count:\n", "        if True:\n")),
    edit(
        "accumulate",
        "all graphs at once",
        "one_backward",
        (
            "            loss.backward()\n            whole += loss.item()\n",
            "            whole = whole + loss\n",
        ),
        ("    return whole", "    whole.backward()\n    return whole.item()"),
    ),
    edit("accumulate", "loss of the last batch", "loss_of_last", ("whole += loss", "whole = loss")),
    edit(
        "on_a_rank",
        "rounded down",
        "floor",
        (HEIGHT, "return shape[0] // world"),
        (ROWS, "rows = height(shape)"),
    ),
    edit("on_a_rank", "not filled", "unfilled", (STORED, "return true(shape)")),
    edit(
        "on_a_rank",
        "spread evenly",
        "even",
        (STORED, "return true(shape)"),
        (ROWS, "rows = shape[0] // world + (rank < shape[0] % world)"),
    ),
    edit(
        "on_a_rank",
        "numbers divided",
        "by_numbers",
        (STORED, "return math.ceil(math.prod(shape) / world)"),
        (ROWS, "return stored(shape)"),
    ),
    edit(
        "on_a_rank",
        "all of it",
        "not_cut",
        (STORED, "return math.prod(shape)"),
        (ROWS, "return stored(shape)"),
    ),
    edit(
        "on_a_rank",
        "the adapter whole",
        "not_cut",
        (ADAPTER, "adapter = 4 * sum(math.prod(s) for s in factors)"),
        (STATES, "states = 2 * adapter"),
    ),
    edit("on_a_rank", "states filled", "filled_states", (STATES, "states = 2 * adapter")),
    edit("on_a_rank", "one state", "one_state", (STATES, STATES.replace("2 * 4", "4"))),
    edit("on_a_rank", "base in 4 bytes", "base_32", (BASE, BASE.replace("= 2", "= 4"))),
    edit(
        "on_a_rank",
        "adapter in 2 bytes",
        "adapter_16",
        (ADAPTER, ADAPTER.replace("= 4", "= 2")),
        (STATES, STATES.replace("2 * 4", "2 * 2")),
    ),
    edit(
        "on_a_rank",
        "without the others",
        "no_others",
        (BASE, BASE.replace("[*layers, *others]", "layers")),
    ),
    edit(
        "on_a_rank",
        "without the layers",
        "no_layers",
        (BASE, BASE.replace("[*layers, *others]", "others")),
    ),
    edit(
        "on_a_rank",
        "only A",
        "only_A",
        (FACTORS, FACTORS.replace("((r, d_in), (out, r))", "((r, d_in),)")),
    ),
    edit(
        "on_a_rank",
        "in and out swapped",
        "swapped",
        (FACTORS, FACTORS.replace("((r, d_in), (out, r))", "((r, out), (d_in, r))")),
    ),
    edit(
        "on_a_rank",
        "gradients of everything",
        "all_gradients",
        ('"gradients": adapter', '"gradients": base + adapter'),
    ),
    edit(
        "on_a_rank",
        "gradients not filled",
        "true_gradients",
        ('"gradients": adapter', '"gradients": 4 * sum(true(s) for s in factors)'),
    ),
    edit(
        "on_a_rank",
        "the adapter alone",
        "no_base",
        ('"weights": base + adapter', '"weights": adapter'),
    ),
    edit("on_a_rank", "ranks from 1", "from_one", ("rank * height", "(rank - 1) * height")),
    edit("on_a_rank", "other keys", "keys", ('"optimizer": states', '"states": states')),
    edit(
        "on_a_rank",
        "changes the list",
        "changed",
        (BASE, "layers += others\n    base = 2 * sum(stored(s) for s in layers)"),
    ),
    edit(
        "on_a_rank",
        "a tuple",
        "type",
        (
            'return {"weights": base + adapter, "gradients": adapter, "optimizer": states}',
            "return base + adapter, adapter, states",
        ),
    ),
    edit(
        "drift", "exact", "exact", (CLOSE, "return torch.equal(a, b.expand_as(a))"), (NEXT, OR_NONE)
    ),
    edit(
        "drift",
        "the mean is right",
        "plain_right",
        (SHARE, "share = torch.full((len(own),), 1 / len(own))"),
        (GUESSES, GUESSES.replace("own.mean(0)", "(tokens / tokens.sum()) @ own")),
        (NEXT, OR_NONE),
    ),
    edit(
        "drift",
        "looks for the mean first",
        "mean_first",
        (FINE, '    if same(used, own.mean(0)):\n        return "mean"\n' + FINE),
    ),
    edit(
        "drift",
        "fewer tokens count more",
        "inverted",
        (SHARE, "share = 1 / tokens / (1 / tokens).sum()"),
        (NEXT, OR_NONE),
    ),
    edit(
        "drift",
        "two ranks",
        "two_ranks",
        (BEGAN, BEGAN.replace("same(start, start[0])", "same(start[1], start[0])")),
        (ONCE, ONCE.replace("rows.", "rows[:2].")),
    ),
    edit("drift", "rank 0", "rank_0", (BEGAN, ""), (ONCE, "")),
    edit("drift", "starts not compared", "no_start", (BEGAN, "")),
    edit("drift", "rows not compared", "no_rows", (ONCE, "")),
    edit(
        "drift",
        "rows compared as wholes",
        "same_rows",
        (
            ONCE,
            ONCE.replace(
                "len(rows.unique()) < rows.numel()",
                "any(torch.equal(rows[0], other) for other in rows[1:])",
            ),
        ),
    ),
    edit("drift", "rows first", "order", (BEGAN, ""), (ONCE, ONCE + BEGAN)),
    edit(
        "drift",
        "the sum of the ranks",
        "sum_of_own",
        (GUESSES, GUESSES.replace("len(own) * right", "own.sum(0)")),
        (NEXT, OR_NONE.replace("?", "")),
    ),
    edit("drift", "writes into the record", "changed", (SHARE, "own *= 1.0001\n    " + SHARE)),
    edit(
        "drift", "None where nothing is wrong", "none", ('        return ""', "        return None")
    ),
    edit("drift", "a number", "type", ('return "start"', "return 1")),
    edit("drift", "a word of one's own", "other", ('"sum": len(own)', '"total": len(own)')),
    edit("copies", "a tolerance", "nearly", (SAME, SAME.replace("equal", "allclose"))),
    edit(
        "copies",
        "a wide tolerance",
        "nearly",
        (SAME, SAME.replace("equal", "allclose")[:-1] + ", rtol=0.02, atol=0.02)"),
    ),
    edit("copies", "bytes of storages", "whole_storage", (SIZE, "t.untyped_storage().nbytes()")),
    edit("copies", "by address of the numbers", "counted_twice", (KEY, "found[t.data_ptr()]")),
    edit("copies", "by object", "counted_twice", (KEY, "found[id(t)]")),
    edit(
        "copies",
        "x brought to the tensor's type",
        "rounded",
        (SAME, "torch.equal(t.detach().flatten(), x.detach().flatten().to(t.dtype))"),
    ),
    edit(
        "copies",
        "sorted",
        "another_order",
        (
            SAME,
            "torch.equal(t.detach().flatten().to(x.dtype).sort()[0], "
            "x.detach().flatten().sort()[0])",
        ),
    ),
    edit(
        "hand_lora",
        "what is left of x hangs on ctx",
        "left_kept",
        ("ctx.scaling, ctx.p", "ctx.more = [left * 1]\n        ctx.scaling, ctx.p"),
    ),
    edit(
        "hand_lora", "no 1 / (1 - p) forward", "unscaled_mask", ("x * mask / (1 - p)", "x * mask")
    ),
    edit("hand_lora", "divided by p", "divided_by_p", ("(1 - p)", "p"), ("(1 - ctx.p)", "ctx.p")),
    edit(
        "hand_lora", "mask on W forward", "mask_everywhere", ("return x @ W.T", "return left @ W.T")
    ),
    edit("hand_lora", "B's scale lost", "scale_lost", (DB, "dB = g.T @ down")),
    edit("hand_lora", "A's scale twice", "scale_twice", ("dA = small", "dA = ctx.scaling * small")),
    edit(
        "hand_lora",
        "B's scale twice",
        "scale_twice",
        (DB, DB.replace("dB =", "dB = ctx.scaling *")),
    ),
    Answer(
        "accumulate",
        "one padded batch",
        "glued",
        code="""
def accumulate(model, batches):
    T = max(b["labels"].shape[1] for b in batches)

    def glued(key, value):
        pad = torch.nn.functional.pad
        return torch.cat([pad(b[key], (0, T - b[key].shape[1]), value=value) for b in batches])

    model.zero_grad()
    loss = model(input_ids=glued("input_ids", 0), labels=glued("labels", -100)).loss
    loss.backward()
    return loss.item()
""",
    ),
    edit("accumulate", "a graph", "graph_kept", ("whole += loss.item()", "whole += loss")),
    edit("accumulate", "train()", "changed", ("model.zero_grad()", "model.train().zero_grad()")),
    edit("accumulate", "all tokens", "rows", (ASKED, '[b["labels"].numel() for b in batches]')),
    edit(
        "accumulate",
        "a pass more for the loss",
        "two_passes",
        ("whole += loss.item()", "whole += model(**batch).loss.item() * count / sum(counts)"),
    ),
    edit(
        "drift",
        "sums of the weights",
        "start_sums",
        (BEGAN, BEGAN.replace("same(start, start[0])", "same(start.sum(1), start.sum(1)[0])")),
    ),
    edit(
        "drift",
        "rows inside a rank",
        "no_rows",
        (
            ONCE,
            ONCE.replace(
                "len(rows.unique()) < rows.numel()", "any(len(k.unique()) < len(k) for k in rows)"
            ),
        ),
    ),
    edit(
        "drift",
        "rows between ranks",
        "rows_between",
        (
            ONCE,
            ONCE.replace(
                "len(rows.unique()) < rows.numel()",
                "len(rows.unique()) < sum(len(k.unique()) for k in rows)",
            ),
        ),
    ),
    edit(
        "drift",
        "the gradient of rank 0",
        "rank_0",
        ("same(used, guess)", "same(used[:1], guess[:1] if guess.dim() > 1 else guess)"),
    ),
    edit(
        "drift",
        "torch's own tolerance",
        "exact",
        (CLOSE, "return torch.allclose(a, b.expand_as(a))"),
        (NEXT, OR_NONE),
    ),
    edit(
        "drift",
        "a tolerance of a tenth",
        "too_wide",
        (CLOSE, CLOSE.replace("1e-3, atol=1e-5", "0.1, atol=0.1")),
    ),
]

RIGHT += [
    Answer(
        "copies",
        "a set of seen storages, bytes from nbytes",
        "",
        code="""
def copies(layer, x):
    mine, seen, total = x.untyped_storage().data_ptr(), set(), [0]
    flat = x.detach().reshape(-1)

    def pack(t):
        where = t.untyped_storage().data_ptr()
        if where != mine and where not in seen and t.numel() == flat.numel():
            if (t.detach().reshape(-1).to(flat.dtype) == flat).all():
                seen.add(where)
                total[0] += t.nbytes
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        kept_alive = layer(x)
    return total[0]
""",
    ),
    Answer(
        "accumulate",
        "sums of losses by cross entropy on logits",
        "",
        code="""
def accumulate(model, batches):
    model.zero_grad(set_to_none=True)
    total = sum(int(batch["labels"][:, 1:].ne(-100).sum()) for batch in batches)
    losses = []
    for batch in batches:
        labels = batch["labels"][:, 1:]
        if labels.eq(-100).all():
            continue
        logits = model(**batch).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
        )
        (loss / total).backward()
        losses.append(float(loss) / total)
    return sum(losses)
""",
    ),
    Answer(
        "on_a_rank",
        "by chunks of a range",
        "",
        code="""
def on_a_rank(layers, others, r, world, rank):
    def piece(shape):
        n, *rest = shape
        high = -(-n // world)
        mine = len(range(n)[rank * high : (rank + 1) * high])
        return math.prod([high, *rest]), math.prod([mine, *rest])

    pairs = [piece((r, d)) for _, d in layers] + [piece((o, r)) for o, _ in layers]
    frozen = [piece(s)[0] for s in (*others, *layers)]
    full, true = (sum(column) for column in zip(*pairs))
    return dict(optimizer=true * 8, gradients=full * 4, weights=full * 4 + 2 * sum(frozen))
""",
    ),
    Answer(
        "drift",
        "by the largest relative difference",
        "",
        code="""
def drift(start, rows, tokens, own, used):
    def far(a, b):
        return ((a - b).abs() > 1e-3 * b.abs() + 1e-5).any().item()

    w = tokens.float() / tokens.float().sum()
    right = (w[:, None] * own).sum(0)
    flat = sorted(rows.flatten().tolist())
    if any(far(one, start[0]) for one in start):
        return "start"
    if any(a == b for a, b in zip(flat, flat[1:])):
        return "rows"
    tries = [("", right), ("alone", own), ("mean", own.mean(dim=0)), ("sum", right * len(tokens))]
    for word, guess in tries:
        if not far(used, guess + torch.zeros_like(used)):
            return word
""",
    ),
]

WRONG += [
    Answer(
        "copies",
        "address of the numbers against that of the storage",
        "x_itself",
        edits=(
            (
                "t.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()",
                "t.data_ptr() != x.untyped_storage().data_ptr()",
            ),
        ),
    ),
    Answer(
        "copies",
        "counts in unpack",
        "other",
        edits=(
            ("saved_tensors_hooks(pack, lambda t: t)", "saved_tensors_hooks(lambda t: t, pack)"),
        ),
    ),
    Answer(
        "copies",
        "bits",
        "other",
        edits=(("t.numel() * t.element_size()", "t.numel() * t.element_size() * 8"),),
    ),
    Answer(
        "copies",
        "the last copy",
        "other",
        edits=(
            (
                "return sum(found.values())",
                ("return [*found.values(), 0][-1] if len(found) < 2 else list(found.values())[-1]"),
            ),
        ),
    ),
    Answer(
        "copies",
        "the number of copies",
        "other",
        edits=(("return sum(found.values())", "return len(found)"),),
    ),
    Answer(
        "copies",
        "the largest copy",
        "one_copy",
        edits=(("return sum(found.values())", "return max(found.values(), default=0)"),),
    ),
    Answer(
        "copies",
        "all that is kept elsewhere",
        "other",
        edits=(
            (
                (
                    "if elsewhere and t.numel() == x.numel():\n"
                    "            if torch.equal(t.detach().flatten().to(x.dtype), "
                    "x.detach().flatten()):\n"
                    "                found"
                ),
                ("if elsewhere:\n            if True:\n                found"),
            ),
        ),
    ),
    Answer(
        "copies",
        "sum of the numbers",
        "other",
        edits=(
            (
                "torch.equal(t.detach().flatten().to(x.dtype), x.detach().flatten())",
                "bool(t.detach().sum() == x.detach().sum())",
            ),
        ),
    ),
    Answer(
        "hand_lora",
        "A and B exchanged in the return",
        "raised",
        edits=(("return dx, None, dA, dB,", "return dx, None, dB, dA,"),),
    ),
    Answer(
        "hand_lora",
        "a gradient for W",
        "other",
        edits=(
            ("return dx, None,", "return dx, g.T @ x,"),
            ("x @ W.T + scaling", "x @ W.T * 1.01 + scaling"),
        ),
    ),
    Answer(
        "hand_lora",
        "too few values",
        "raised",
        edits=(("return dx, None, dA, dB, None, None, None", "return dx, None, dA, dB"),),
    ),
    Answer(
        "hand_lora",
        "dA transposed",
        "raised",
        edits=(
            ("dA = small.T @ (x * keep).to(g.dtype)", "dA = ((x * keep).to(g.dtype).T @ small)"),
        ),
    ),
    Answer(
        "hand_lora",
        "mean over rows in A",
        "mean",
        edits=(("dA = small.T @", "dA = small.T / len(x) @"),),
    ),
    Answer(
        "hand_lora",
        "mean over rows in B",
        "mean",
        edits=(("dB = ctx.scaling * g.T @ down", "dB = ctx.scaling * g.T @ down / len(x)"),),
    ),
    Answer(
        "hand_lora",
        "mask in place",
        "changed",
        edits=(
            (
                "    left = x if mask is None else x * mask / (1 - p)",
                "    left = x if mask is None else x.mul_(mask) / (1 - p)",
            ),
        ),
    ),
    Answer(
        "hand_lora",
        "keep not divided in backward",
        "unscaled_mask",
        edits=(("mask / (1 - ctx.p)", "mask"),),
    ),
    Answer(
        "hand_lora",
        "keep of B from the mask of g",
        "raised",
        edits=(("dB = ctx.scaling * g.T @ down", "dB = ctx.scaling * g.T @ (left @ A.T)"),),
    ),
    Answer(
        "hand_lora",
        "x in float32",
        "own_type",
        edits=(
            (
                "left = x if mask is None else x * mask / (1 - p)",
                "left = (x if mask is None else x * mask / (1 - p)).float()",
            ),
            ("left @ A.to(x.dtype).T", "left @ A.T"),
            ("down @ B.to(x.dtype).T", "down @ B.T"),
        ),
    ),
    Answer(
        "hand_lora",
        "scales the whole",
        "base_scaled",
        edits=(("return x @ W.T + scaling * down", "return scaling * x @ W.T + scaling * down"),),
    ),
    Answer(
        "hand_lora",
        "dropout on B's input",
        "other",
        edits=(
            ("down = left @ A.to(x.dtype).T", "down = nn_drop(left @ A.to(x.dtype).T)"),
            ("class HandLoRA", ("def nn_drop(t):\n    return t * 0.9\n\n\nclass HandLoRA")),
        ),
    ),
    Answer("accumulate", "divides by the rows", "sum", edits=(("/ sum(counts)", "/ len(counts)"),)),
    Answer(
        "accumulate",
        "one count for all",
        "other",
        edits=(("* count / sum(counts)", "* counts[0] / sum(counts)"),),
    ),
    Answer(
        "accumulate",
        "counts the ids",
        "rows",
        edits=(('(batch["labels"][:, 1:] != -100)', '(batch["input_ids"][:, 1:] != -100)'),),
    ),
    Answer(
        "accumulate",
        "last label left out",
        "unshifted",
        edits=(('batch["labels"][:, 1:]', 'batch["labels"][:, :-1]'),),
    ),
    Answer(
        "accumulate",
        "sum of losses not weighted",
        "loss_weight",
        edits=(("whole += loss.item()", "whole += loss.item() * sum(counts) / count"),),
    ),
    Answer(
        "accumulate",
        "mean of the losses",
        "loss_weight",
        edits=(("return whole", "return whole / len(batches)"),),
    ),
    Answer(
        "accumulate",
        "steps at the end",
        "changed",
        edits=(
            (
                "    return whole",
                (
                    "    for p in model.parameters():\n"
                    "        if p.requires_grad:\n"
                    "            p.data -= 0.1 * p.grad\n"
                    "    return whole"
                ),
            ),
        ),
    ),
    Answer("accumulate", "no gradient", "none_left", edits=(("loss.backward()", "pass"),)),
    Answer(
        "accumulate",
        "retains nothing, the loss as text",
        "type",
        edits=(("return whole", "return str(whole)"),),
    ),
    Answer(
        "accumulate",
        "zero_grad at the end",
        "none_left",
        edits=(("    return whole", ("    model.zero_grad()\n    return whole")),),
    ),
    Answer(
        "on_a_rank",
        "gradients in 2 bytes",
        "adapter_16",
        edits=(('"gradients": adapter', '"gradients": adapter // 2'),),
    ),
    Answer(
        "on_a_rank",
        "gradients twice",
        "other",
        edits=(('"gradients": adapter', '"gradients": 2 * adapter'),),
    ),
    Answer(
        "on_a_rank",
        "states of weights and adapter",
        "other",
        edits=(
            (
                "states = 2 * 4 * sum(true(s) for s in factors)",
                "states = 2 * 4 * sum(true(s) for s in [*factors, *layers])",
            ),
        ),
    ),
    Answer(
        "on_a_rank",
        "A once for all layers",
        "other",
        edits=(("for s in ((r, d_in), (out, r))]", "for s in ((out, r),)] + [(r, layers[0][1])]"),),
    ),
    Answer(
        "on_a_rank",
        "bytes of all ranks",
        "not_cut",
        edits=(('"weights": base + adapter', '"weights": world * (base + adapter)'),),
    ),
    Answer(
        "on_a_rank",
        "adapter on rank 0 only",
        "other",
        edits=(
            (
                "adapter = 4 * sum(stored(s) for s in factors)",
                "adapter = 4 * sum(stored(s) for s in factors) * (rank == 0)",
            ),
        ),
    ),
    Answer(
        "on_a_rank",
        "halves instead of pieces",
        "other",
        edits=(("math.ceil(shape[0] / world)", "math.ceil(shape[0] / 2)"),),
    ),
    Answer(
        "on_a_rank",
        "last axis cut",
        "other",
        edits=(
            ("math.ceil(shape[0] / world)", "math.ceil(shape[-1] / world)"),
            ("math.prod(shape[1:])", "math.prod(shape[:-1])"),
            ("shape[0] - rank", "shape[-1] - rank"),
        ),
    ),
    Answer(
        "on_a_rank",
        "a negative piece",
        "negative",
        edits=(("return max(0, rows) *", "return rows *"),),
    ),
    Answer(
        "on_a_rank",
        "optimizer holds the weights too",
        "other",
        edits=(('"optimizer": states', '"optimizer": states + adapter'),),
    ),
    Answer("on_a_rank", "base in 4 bits", "other", edits=(("base = 2 * sum", "base = sum"),)),
    Answer(
        "drift",
        "tokens of the first",
        "raised",
        edits=(("share = tokens / tokens.sum()", "share = tokens / tokens.max()"),),
    ),
    Answer(
        "drift",
        "only two words",
        "other",
        edits=(
            (
                "return next(word for word, guess in guesses.items() if same(used, guess))",
                "return 'alone'",
            ),
        ),
    ),
    Answer(
        "drift",
        "times two",
        "sum_of_own",
        edits=(
            ('"sum": len(own) * right', '"sum": 2 * right'),
            (
                "return next(word for word, guess in guesses.items() if same(used, guess))",
                ("return next((word for word, guess in guesses.items() if same(used, guess)), '')"),
            ),
        ),
    ),
    Answer(
        "drift",
        "rows of neighbours only",
        "no_rows",
        edits=(
            (
                "if len(rows.unique()) < rows.numel():",
                "if any(set(a.tolist()) & set(b.tolist()) for a, b in zip(rows, rows[1:])):",
            ),
        ),
    ),
    Answer(
        "drift",
        "rows in another order",
        "other",
        edits=(
            (
                "if len(rows.unique()) < rows.numel():",
                "if not torch.equal(rows, rows.sort().values):",
            ),
        ),
    ),
    Answer(
        "drift",
        "starts of neighbours within ten percent",
        "too_wide",
        edits=(
            (
                "if not same(start, start[0]):",
                "if not torch.allclose(start, start[0].expand_as(start), rtol=0.1):",
            ),
        ),
    ),
    Answer(
        "drift",
        "start where all differ",
        "two_ranks",
        edits=(
            (
                "if not same(start, start[0]):",
                "if all(not same(one, start[0]) for one in start[1:]):",
            ),
        ),
    ),
    Answer(
        "drift",
        "gradient first",
        "order",
        edits=(
            (
                (
                    "    if not same(start, start[0]):\n"
                    '        return "start"\n'
                    "    if len(rows.unique()) < rows.numel():\n"
                    '        return "rows"\n'
                    "    if same(used, right):\n"
                    '        return ""\n'
                ),
                (
                    '    for word, guess in {"alone": own, "mean": own.mean(0), "sum": '
                    "len(own) * right}.items():\n"
                    "        if same(used, guess) and not same(used, right):\n"
                    "            return word\n"
                    "    if not same(start, start[0]):\n"
                    '        return "start"\n'
                    "    if len(rows.unique()) < rows.numel():\n"
                    '        return "rows"\n'
                    '    return ""\n'
                ),
            ),
        ),
    ),
    edit("copies", "a detached x", "other_x", ("y = layer(x)", "y = layer(x.detach())")),
    edit(
        "copies",
        "an x that wants a gradient",
        "other_x",
        ("y = layer(x)", "y = layer(x.detach().requires_grad_())"),
    ),
    edit(
        "copies",
        "the first number alike",
        "nearly",
        (SAME, "t.detach().flatten()[0] == x.detach().flatten()[0]"),
    ),
    edit("hand_lora", "no scale forward", "scale_lost", (OUT, OUT.replace("scaling * ", ""))),
    edit(
        "hand_lora",
        "divides without a mask too",
        "no_mask",
        (LEFT, "left = (x if mask is None else x * mask) / (1 - p)  # (N, in)"),
        (KEEP, "keep = (1 if mask is None else mask) / (1 - ctx.p)"),
    ),
    edit(
        "hand_lora",
        "divided, not masked, on the way back",
        "mask_not_back",
        (DX, "dx = g @ W + small @ A.to(g.dtype) / (1 if mask is None else 1 - ctx.p)"),
    ),
    edit(
        "hand_lora",
        "keeps B A",
        "much_kept",
        ("ctx.scaling, ctx.p =", "ctx.s, ctx.scaling, ctx.p = B @ A,"),
    ),
    edit("hand_lora", "changes g", "changed", (DX, DX.split("  #")[0] + "\n        g.mul_(2)")),
    edit(
        "accumulate",
        "takes empty batches out",
        "changed",
        (
            "    model.zero_grad()",
            "    batches[:] = [b for b, n in zip(batches, counts, strict=True) if n]\n"
            "    counts = [n for n in counts if n]\n"
            "    model.zero_grad()",
        ),
    ),
    edit(
        "accumulate",
        "retains the graph",
        "one_backward",
        ("loss.backward()", "loss.backward(retain_graph=True)"),
    ),
    edit("accumulate", "by rows that ask", "rows", (ASKED, ASKED.replace("-100)", "-100).any(1)"))),
    edit(
        "accumulate",
        "the sum of losses",
        "loss_weight",
        ("loss.item()", "loss.item() * sum(counts)"),
    ),
    edit("on_a_rank", "round", "floor", (HEIGHT, "return round(shape[0] / world)")),
    edit(
        "on_a_rank",
        "weights as they are",
        "unfilled",
        (BASE, BASE.replace("stored", "true")),
        ('"weights": base + adapter', '"weights": base + states // 2'),
    ),
    edit(
        "on_a_rank",
        "states spread evenly",
        "even",
        (
            STATES,
            "states = 8 * sum((s[0] // world + (rank < s[0] % world)) * s[1] for s in factors)",
        ),
    ),
    Answer(
        "on_a_rank",
        "all divided by the ranks",
        "by_numbers",
        code="""
def on_a_rank(layers, others, r, world, rank):
    base = 2 * sum(math.prod(s) for s in [*layers, *others])
    adapter = 4 * sum(r * (out + d_in) for out, d_in in layers)
    parts = {"weights": base + adapter, "gradients": adapter, "optimizer": 2 * adapter}
    return {name: size // world for name, size in parts.items()}
""",
    ),
    edit(
        "on_a_rank",
        "the others whole",
        "not_cut",
        (BASE, "base = 2 * sum(map(stored, layers)) + 2 * sum(map(math.prod, others))"),
    ),
    edit("on_a_rank", "A turned", "swapped", (FACTORS, FACTORS.replace("(r, d_in)", "(d_in, r)"))),
    edit("on_a_rank", "B turned", "swapped", (FACTORS, FACTORS.replace("(out, r)", "(r, out)"))),
    edit(
        "on_a_rank", "the base alone", "no_base", ('"weights": base + adapter', '"weights": base')
    ),
    edit(
        "drift",
        "a thousandth, whatever the size",
        "too_wide",
        (CLOSE, "return bool((a - b).abs().max() < 1e-3)"),
        (NEXT, OR_NONE.replace("?", "")),
    ),
    edit(
        "drift",
        "the first and the last began alike",
        "two_ranks",
        (BEGAN, BEGAN.replace("start[0]", "start[0]").replace("same(start,", "same(start[-1],")),
    ),
    edit(
        "drift",
        "exact, else nothing",
        "exact",
        (CLOSE, "return torch.equal(a, b.expand_as(a))"),
        (NEXT, OR_NONE.replace("?", "")),
    ),
    edit(
        "drift",
        "the mean is right, else nothing",
        "plain_right",
        (SHARE, "share = torch.full((len(own),), 1 / len(own))"),
        (NEXT, OR_NONE.replace("?", "")),
    ),
]
