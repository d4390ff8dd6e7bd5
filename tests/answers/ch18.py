"""Right and wrong answers to the exercises of chapter 18."""

from tests.answers import Answer

ROWS = "torch.repeat_interleave(torch.tensor(whose), torch.tensor(lengths))"
UPDATE = "y[mine] += scaling * x[mine] @ A.T @ B.T"
EACH = "sum(n_in + n_out for n_in, n_out in layers)"
MERGED = "merged = len(ranks) * params * size"
SHARED = "shared = (params + sum(ranks) * each) * size"
SEATED = "(params + seats * max(ranks) * each) * size"
SORTED = "sorted(held.keys() - set(busy), key=order[rule])"
FREE = "capacity - sum(entry[0] for entry in held.values())"
POPULAR = "(held[name][2], held[name][1])"
CHECK = "        if free >= need:\n            break\n"
ALIKE = "batch[0] == k if kinds == 0 else len({*batch, k} - {-1}) <= kinds"
ROOM = "if alike and len(batch) < rows:"
LOOP = "for number, batch in enumerate(batches):"
WHILE = "while same < min(len(old), len(ids) - 1) and old[same] == ids[same]:"
BETTER = "if owner == adapter and same > best[1]:"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "packed",
        "request by request",
        "",
        code="""
def packed(x, W, adapters, lengths, whose):
    out, start = [], 0
    for n, k in zip(lengths, whose):
        part = x[start : start + n]
        y = part @ W.T
        if k != -1:
            A, B, s = adapters[k]
            y = y + (part @ A.T) @ (s * B.T)
        out.append(y)
        start += n
    return torch.cat(out)
""",
    ),
    Answer(
        "packed",
        "stacked, padded and gathered",
        "",
        code="""
def packed(x, W, adapters, lengths, whose):
    r = max(len(A) for A, _, _ in adapters)
    A = torch.zeros(len(adapters) + 1, r, x.shape[1])
    B = torch.zeros(len(adapters) + 1, len(W), r)
    for k, (a, b, s) in enumerate(adapters):
        A[k, : len(a)], B[k, :, : len(a)] = a, s * b
    rows = [k for k, n in zip(whose, lengths) for _ in range(n)]
    h = torch.einsum("nri,ni->nr", A[rows], x)
    return torch.einsum("oi,ni->no", W, x) + torch.einsum("nor,nr->no", B[rows], h)
""",
    ),
    Answer(
        "fleet",
        "loops and a list",
        "",
        code="""
def fleet(params, layers, ranks, size, seats):
    adapter = lambda r: sum(r * i + o * r for i, o in layers) * size
    base = params * size
    merged = sum(base for _ in ranks)
    shared = base + sum(adapter(r) for r in ranks)
    return [merged, shared, base + seats * adapter(sorted(ranks)[-1])]
""",
    ),
    edit(
        "fleet",
        "as a tensor",
        "",
        (
            "return merged, shared, " + SEATED,
            "return torch.tensor([merged, shared, " + SEATED + "])",
        ),
    ),
    Answer(
        "evict",
        "one by one with min",
        "",
        code="""
def evict(held, need, capacity, busy, rule):
    stay, gone = dict(held), []
    while sum(size for size, _, _ in stay.values()) + need > capacity:
        idle = [n for n in stay if n not in busy]
        if not idle:
            raise ValueError(f"no room for {need}")
        count = 2 if rule == "popular" else 1
        name = min(idle, key=lambda n: (stay[n][count], stay[n][1]))
        del stay[name]
        gone.append(name)
    return tuple(gone)
""",
    ),
    edit(
        "evict",
        "two sorts instead of a pair",
        "",
        (
            SORTED,
            "sorted(sorted(set(held) - set(busy), key=lambda n: held[n][1]), "
            "key=lambda n: held[n][2] if rule == 'popular' else 0)",
        ),
    ),
    Answer(
        "plan",
        "sets and counts",
        "",
        code="""
def plan(whose, rows, kinds):
    sets, counts, out = [], [], []
    for k in whose:
        for n in range(len(sets)):
            if counts[n] >= rows:
                continue
            if kinds == 0:
                ok = sets[n] == {k}
            else:
                ok = k == -1 or k in sets[n] or len(sets[n]) < kinds
            if ok:
                break
        else:
            n = len(sets)
            sets.append(set())
            counts.append(0)
        if kinds == 0 or k != -1:
            sets[n].add(k)
        counts[n] += 1
        out.append(n)
    return torch.tensor(out)
""",
    ),
    edit("plan", "the last of the batch instead of the first", "", ("batch[0]", "batch[-1]")),
    Answer(
        "reuse",
        "by max",
        "",
        code="""
def reuse(kept, adapter, ids):
    def common(old):
        for n, (a, b) in enumerate(zip(old, ids[:-1])):
            if a != b:
                return n
        return min(len(old), len(ids) - 1)

    saved = [common(old) if owner == adapter else 0 for owner, old in kept]
    most = max(saved, default=0)
    return [saved.index(most), most] if most else [-1, 0]
""",
    ),
    edit("reuse", "as a tensor", "", ("return best", "return torch.tensor(best)")),
]

WRONG = [
    edit("packed", "minus one is the last", "last_for_none",
         (UPDATE, UPDATE.replace("y[mine]", "y[mine]")),
         ("mine = rows == k", "mine = rows % len(adapters) == k")),
    edit("packed", "no scaling", "no_scale", ("scaling * x[mine]", "x[mine]")),
    edit("packed", "scaled twice", "scale_twice", ("scaling * x", "scaling**2 * x")),
    edit("packed", "the first scaling for all", "one_scale",
         ("scaling * x", "adapters[0][2] * x")),
    edit("packed", "by turns", "by_turns",
         (ROWS, "torch.tensor([whose[n % len(whose)] for n in range(len(x))])")),
    edit("packed", "all requests alike long", "by_turns",
         (ROWS, "torch.tensor([whose[n // -(-len(x) // len(whose))] for n in range(len(x))])")),
    edit("packed", "number of the request", "by_request",
         (ROWS, "torch.repeat_interleave(torch.arange(len(whose)) % len(adapters), "
          "torch.tensor(lengths))")),
    edit("packed", "update alone", "update_only",
         ("y = x @ W.T", "y = torch.zeros(len(x), len(W))")),
    edit("packed", "base alone", "base_only", (UPDATE, "pass")),
    edit("packed", "no adapter, no output", "none_dropped",
         ("    return y", "    y[rows < 0] = 0\n    return y")),
    edit("packed", "written instead of added", "update_only", ("+=", "=")),
    edit("packed", "in place on x", "changed",
         (UPDATE, UPDATE + "\n        x[mine] *= 1.0\n    x += 0.5")),
    edit("packed", "W not transposed", "raised", ("x @ W.T", "x @ W")),
    edit("packed", "starts anew for every request", "anew",
         (ROWS, "torch.tensor([-1] * len(x))"),
         (UPDATE, "pass"),
         ("    return y", "    for n, k in zip(lengths, whose):\n        if k >= 0:\n"
          "            A, B, s = adapters[k]\n            y[:n] += s * x[:n] @ A.T @ B.T\n"
          "    return y")),
    edit("packed", "a list of requests", "type",
         ("    return y", "    return list(y.split(lengths))")),
    edit("fleet", "in times out", "product", (EACH, EACH.replace("n_in + n_out", "n_in * n_out"))),
    edit("fleet", "inputs only", "one_side", (EACH, "sum(n_in for n_in, n_out in layers)")),
    edit("fleet", "outputs only", "one_side", (EACH, "sum(n_out for n_in, n_out in layers)")),
    edit("fleet", "first layer", "first_layer", (EACH, "sum(layers[0])")),
    edit("fleet", "merged holds the adapter as well", "merged_larger",
         (MERGED, "merged = (len(ranks) * params + sum(ranks) * each) * size")),
    edit("fleet", "one merged model", "one_merged", (MERGED, "merged = params * size")),
    edit("fleet", "without the base", "no_base",
         (SHARED, "shared = sum(ranks) * each * size"),
         (SEATED, "seats * max(ranks) * each * size")),
    edit("fleet", "a base for each", "base_for_each",
         (SHARED, "shared = (len(ranks) * params + sum(ranks) * each) * size")),
    edit("fleet", "all as wide as the widest", "wide_adapters",
         (SHARED, "shared = (params + len(ranks) * max(ranks) * each) * size")),
    edit("fleet", "mean rank", "not_the_largest", ("max(ranks)", "sum(ranks) / len(ranks)")),
    edit("fleet", "smallest rank", "not_the_largest", ("max(ranks)", "min(ranks)")),
    edit("fleet", "first rank", "not_the_largest", ("max(ranks)", "ranks[0]")),
    edit("fleet", "the first ones", "not_the_largest",
         (SEATED, "(params + sum(ranks[:seats]) * each) * size")),
    edit("fleet", "no rank", "no_rank", ("seats * max(ranks) * each", "seats * each")),
    edit("fleet", "a seat for each", "all_seats", ("seats * max", "len(ranks) * max")),
    edit("fleet", "one seat", "all_seats", ("seats * max", "1 * max")),
    edit("fleet", "numbers", "numbers", (MERGED, MERGED[:-7]), (SHARED, SHARED[:-7]),
         (SEATED, SEATED[:-7])),
    edit("fleet", "sorts the ranks", "changed", (MERGED, "ranks.sort()\n    " + MERGED)),
    edit("fleet", "two values", "type", ("return merged, shared, ", "return merged, ")),
    edit("evict", "busy ones go", "busy_goes", (" - set(busy)", "")),
    edit("evict", "newest first", "newest", ("order[rule])", "order[rule], reverse=True)")),
    edit("evict", "recent for both", "one_rule", (POPULAR, "held[name][1]")),
    edit("evict", "ties by place", "ties",
         (SORTED, "sorted([n for n in held if n not in busy], key=lambda n: held[n][2] "
          "if rule == 'popular' else held[n][1])")),
    edit("evict", "ties by the newest", "ties", (POPULAR, "(held[name][2], -held[name][1])")),
    edit("evict", "one is enough", "only_one", (CHECK, CHECK.replace("if free", "if gone or free")),
         ("if free < need:",
          "if free + sum(e[0] for n, e in held.items() if n not in busy) < need:")),
    edit("evict", "one too many", "one_more", ("if free >= need:", "if free > need:")),
    edit("evict", "always one", "always_one", ("if free >= need:", "if gone and free >= need:")),
    edit("evict", "free bytes forgotten", "free_forgotten", (FREE, "0")),
    edit("evict", "largest first", "by_size",
         (SORTED, "sorted(held.keys() - set(busy), key=lambda n: -held[n][0])")),
    edit("evict", "smallest first", "by_size",
         (SORTED, "sorted(held.keys() - set(busy), key=lambda n: held[n][0])")),
    edit("evict", "as listed", "as_listed", (SORTED, "[n for n in held if n not in busy]")),
    edit("evict", "by name", "as_listed", (SORTED, "sorted(held.keys() - set(busy))")),
    edit("evict", "backwards", "reversed", ("return gone", "return gone[::-1]")),
    edit("evict", "sorted list", "reversed", ("return gone", "return sorted(gone)")),
    edit("evict", "no error", "no_error",
         ("    if free < need:\n        raise", "    if False:\n        raise")),
    edit("evict", "an error without the number", "no_error",
         ('f"{need} bytes do not fit: only', 'f"only')),
    edit("evict", "deletes them", "changed",
         ("        free += held[name][0]", "        free += held.pop(name)[0]")),
    edit("evict", "None where there is room", "none",
         ("    return gone", "    return gone or None")),
    edit("evict", "a number", "type", ("    return gone", "    return len(gone)")),
    edit("plan", "always mixes", "mixes", ("batch[0] == k", "True")),
    edit("plan", "base anywhere", "base_anywhere",
         ("batch[0] == k", "(k == batch[0] or -1 in (k, batch[0]))")),
    edit("plan", "base counts", "base_counts", (" - {-1}", "")),
    edit("plan", "base apart", "base_alone",
         ("<= kinds\n", "<= kinds and (-1 in batch) == (k == -1)\n")),
    edit("plan", "repeats count", "repeats",
         ("len({*batch, k} - {-1})", "sum(n != -1 for n in [*batch, k])")),
    edit("plan", "newest only", "newest_only",
         (LOOP, "for number, batch in list(enumerate(batches))[-1:]:")),
    edit("plan", "newest first", "wrong_batch",
         (LOOP, "for number, batch in reversed(list(enumerate(batches))):")),
    edit("plan", "fullest first", "wrong_batch",
         (LOOP, "for number, batch in sorted(enumerate(batches), key=lambda p: -len(p[1])):")),
    edit("plan", "one row more", "one_row_more", ("len(batch) < rows", "len(batch) <= rows")),
    edit("plan", "no limit", "one_row_more", (ROOM, "if alike:")),
    edit("plan", "one kind less", "kinds_off",
         ("<= kinds\n", "< max(kinds, 2)\n")),
    edit("plan", "one kind more", "kinds_off", ("<= kinds\n", "<= kinds + 1\n")),
    edit("plan", "never mixes", "kinds_off", ("<= kinds\n", "<= 1\n")),
    edit("plan", "from one", "from_one", ("placed.append(fitting)", "placed.append(fitting + 1)")),
    edit("plan", "batches instead of numbers", "type",
         ("return placed", "return batches")),
    edit("plan", "sorts first", "sorted", ("for k in whose:", "for k in sorted(whose):")),
    edit("plan", "changes the list", "changed",
         ("    return placed", "    whose.sort()\n    return placed")),
    edit("plan", "nothing", "none", ("    return placed", "")),
    edit("reuse", "any adapter", "any_adapter", (BETTER, "if same > best[1]:")),
    edit("reuse", "the base fits all", "base_fits_all",
         (BETTER, "if owner in (-1, adapter) and same > best[1]:")),
    edit("reuse", "the whole prompt", "whole", ("len(ids) - 1)", "len(ids))")),
    edit("reuse", "anywhere", "anywhere",
         (WHILE, "same = sum(a == b for a, b in zip(old, ids[:-1]))\n        while False:")),
    edit("reuse", "last of equals", "last_tie",
         (BETTER, "if owner == adapter and same and same >= best[1]:")),
    edit("reuse", "first hit", "first_hit",
         (BETTER, "if owner == adapter and same and best[0] < 0:")),
    edit("reuse", "entry zero", "zero_entry", ("best = (-1, 0)", "best = (0, 0)")),
    edit("reuse", "one token less", "one_less",
         ("best = (entry, same)", "best = (entry, same)\n"
          "    if 0 < best[1] < len(ids) - 1:\n        best = (best[0], best[1] - 1)")),
    edit("reuse", "other order", "turned", ("return best", "return best[::-1]")),
    edit("reuse", "only the number", "type", ("return best", "return best[1]")),
    edit("reuse", "removes what it used", "changed",
         ("    return best", "    if best[0] >= 0:\n        kept.pop(best[0])\n    return best")),
    edit("reuse", "the longest prompt kept", "other",
         (BETTER, "if owner == adapter and len(old) > best[1]:")),
    edit("fleet", "no empty seats", "filled_seats",
         (SEATED, SEATED.replace("seats", "min(seats, len(ranks))"))),
    edit("fleet", "each rank once", "ranks_once",
         (SHARED, SHARED.replace("sum(ranks)", "sum(set(ranks))"))),
    edit("evict", "no rule for ties", "ties", (POPULAR, "held[name][2]")),
    edit("evict", "ties by name", "ties", (POPULAR, "(held[name][2], name)")),
    edit(
        "evict",
        "takes back who was not needed",
        "taken_back",
        (
            "    return gone",
            "    for name in list(gone):\n"
            "        if free - held[name][0] >= need:\n"
            "            gone.remove(name)\n"
            "            free -= held[name][0]\n"
            "    return gone",
        ),
    ),
    edit("reuse", "without the old prompt's last", "old_last",
         (WHILE, WHILE.replace("len(old)", "len(old) - 1"))),
]  # fmt: skip

RIGHT += [
    Answer(
        "packed",
        "request by request with split",
        "",
        code="""
def packed(x, W, adapters, lengths, whose):
    parts = []
    for part, k in zip(x.split(lengths), whose, strict=True):
        out = part @ W.T
        if k != -1:
            A, B, scaling = adapters[k]
            out = out + scaling * (part @ A.T) @ B.T
        parts.append(out)
    return torch.cat(parts)
""",
    ),
    Answer(
        "packed",
        "merged weights, token by token",
        "",
        code="""
def packed(x, W, adapters, lengths, whose):
    full = [W + s * B @ A for A, B, s in adapters] + [W]
    owner = [k for k, n in zip(whose, lengths) for _ in range(n)]
    return torch.stack([full[k] @ row for k, row in zip(owner, x)])
""",
    ),
    Answer(
        "fleet",
        "floats that are whole, a list",
        "",
        code="""
def fleet(params, layers, ranks, size, seats):
    def one(r):
        return sum(r * a + b * r for a, b in layers)

    return [
        sum(float(params) for _ in ranks) * size,
        size * (params + sum(map(one, ranks))),
        size * params + seats * one(sorted(ranks)[-1]) * size,
    ]
""",
    ),
    Answer(
        "evict",
        "a heap",
        "",
        code="""
def evict(held, need, capacity, busy, rule):
    import heapq

    used = sum(size for size, _, _ in held.values())
    heap = [(c if rule == "popular" else 0, t, n, s) for n, (s, t, c) in held.items()]
    heap = [entry for entry in heap if entry[2] not in busy]
    heapq.heapify(heap)
    out = []
    while capacity - used < need:
        if not heap:
            raise ValueError("no room for %d bytes" % need)
        _, _, name, size = heapq.heappop(heap)
        used -= size
        out += [name]
    return tuple(out)
""",
    ),
    Answer(
        "plan",
        "counters",
        "",
        code="""
def plan(whose, rows, kinds):
    free, inside, out = [], [], []
    for k in whose:
        for n in range(len(free)):
            both = inside[n] | {k}
            ok = both == {k} if kinds == 0 else len(both - {-1}) <= kinds
            if free[n] and ok:
                break
        else:
            n = len(free)
            free.append(rows)
            inside.append(set())
        free[n] -= 1
        inside[n].add(k)
        out.append(n)
    return torch.tensor(out)
""",
    ),
    Answer(
        "reuse",
        "max with a key, commonprefix",
        "",
        code="""
def reuse(kept, adapter, ids):
    from os.path import commonprefix

    shared = [
        len(commonprefix([list(old), list(ids[:-1])])) if who == adapter else 0
        for who, old in kept
    ]
    if not any(shared):
        return -1, 0
    top = max(shared)
    return [shared.index(top), top]
""",
    ),
]

WRONG += [
    Answer(
        "packed",
        "y for the tokens of adapters only",
        "other",
        edits=(("    return y", "    return y[rows >= 0]"),),
    ),
    Answer(
        "packed",
        "adapters on top of each other",
        "other",
        edits=(
            ("x[mine] @ A.T", "y[mine][:, :0].new_tensor(x[mine]) @ A.T"),
            ("y[mine] +=", "y[mine] = y[mine] * 2 +"),
        ),
    ),
    Answer(
        "packed",
        "every adapter for all",
        "other",
        edits=(("mine = rows == k", "mine = rows >= 0"),),
    ),
    Answer(
        "packed",
        "adapters counted from 1",
        "from_one",
        edits=(("mine = rows == k", "mine = rows == k + 1"),),
    ),
    Answer(
        "packed",
        "scaling over the rank",
        "over_r",
        edits=(("scaling * x", "scaling / len(A) * x"),),
    ),
    Answer(
        "packed", "A as B", "other", edits=(("x[mine] @ A.T @ B.T", "(B @ A @ x[mine].T).T * 2"),)
    ),
    Answer("packed", "base scaled as well", "other", edits=(("y = x @ W.T", "y = 2.0 * x @ W.T"),)),
    Answer(
        "fleet",
        "bits",
        "other",
        edits=(("return merged, shared,", ("size = size * 8\n    return merged, shared,")),),
    ),
    Answer(
        "fleet",
        "a merged model for each seat",
        "one_merged",
        edits=(("merged = len(ranks) * params * size", "merged = seats * params * size"),),
    ),
    Answer(
        "fleet",
        "layers counted only",
        "other",
        edits=(("sum(n_in + n_out for n_in, n_out in layers)", "len(layers)"),),
    ),
    Answer(
        "fleet",
        "the larger side",
        "other",
        edits=(("n_in + n_out for", "2 * max(n_in, n_out) for"),),
    ),
    Answer(
        "fleet",
        "seats beside all adapters",
        "beside",
        edits=(
            (
                "(params + seats * max(ranks) * each) * size",
                "shared + seats * max(ranks) * each * size",
            ),
        ),
    ),
    Answer(
        "fleet",
        "base and seats exchanged",
        "exchanged",
        edits=(
            (
                "return merged, shared, (params + seats * max(ranks) * each) * size",
                "return merged, (params + seats * max(ranks) * each) * size, shared",
            ),
        ),
    ),
    Answer(
        "fleet",
        "one adapter more",
        "other",
        edits=(("sum(ranks) * each", "(sum(ranks) + max(ranks)) * each"),),
    ),
    Answer(
        "fleet",
        "size only for the base",
        "numbers",
        edits=(
            (
                "shared = (params + sum(ranks) * each) * size",
                "shared = params * size + sum(ranks) * each",
            ),
            (
                "(params + seats * max(ranks) * each) * size",
                "params * size + seats * max(ranks) * each",
            ),
        ),
    ),
    Answer(
        "fleet",
        "merged counts the layers",
        "other",
        edits=(
            ("len(ranks) * params * size", "len(ranks) * sum(a * b for a, b in layers) * size"),
        ),
    ),
    Answer(
        "evict",
        "the most popular goes",
        "newest",
        edits=(("(held[name][2], held[name][1])", "(-held[name][2], held[name][1])"),),
    ),
    Answer(
        "evict",
        "age and use exchanged",
        "both_popular",
        edits=((('held[name][1],\n        "popular"'), ('held[name][2],\n        "popular"')),),
    ),
    Answer(
        "evict",
        "busy names raise",
        "raised",
        edits=(
            (
                "    for name in sorted",
                ('    if busy:\n        raise ValueError(f"{need} busy")\n    for name in sorted'),
            ),
        ),
    ),
    Answer(
        "evict",
        "need on top of capacity",
        "other",
        edits=(
            ("free >= need", "free > 2 * need"),
            ("free < need", "free < 0"),
        ),
    ),
    Answer(
        "evict",
        "error before anybody goes",
        "no_error",
        edits=((("    if free < need:\n"), ("    if capacity < need:\n")),),
    ),
    Answer("evict", "pairs", "other", edits=(("gone.append(name)", "gone.append(held[name][0])"),)),
    Answer(
        "evict",
        "everybody who is not busy",
        "everybody",
        edits=((("        if free >= need:\n            break\n"), ""),),
    ),
    Answer(
        "evict",
        "those who stay",
        "stay",
        edits=(("    return gone", "    return [name for name in held if name not in gone]"),),
    ),
    Answer(
        "evict",
        "a busy one is skipped, but its bytes count",
        "busy_goes",
        edits=(
            (
                (
                    "    for name in sorted(held.keys() - set(busy), key=order[rule]):\n"
                    "        if free >= need:\n"
                    "            break\n"
                    "        gone.append(name)\n"
                ),
                (
                    "    for name in sorted(held, key=order[rule]):\n"
                    "        if free >= need:\n"
                    "            break\n"
                    "        if name not in busy:\n"
                    "            gone.append(name)\n"
                ),
            ),
        ),
    ),
    Answer(
        "plan",
        "one batch after the other",
        "other",
        edits=(("fitting = len(batches)  # a new one", "fitting = max(len(batches) - 1, 0)"),),
    ),
    Answer(
        "plan",
        "a batch for each adapter",
        "other",
        edits=(("placed.append(fitting)", "placed.append(sorted(set(whose)).index(k))"),),
    ),
    Answer(
        "plan",
        "places in the batch",
        "other",
        edits=(("placed.append(fitting)", "placed.append(len(batches[fitting]) - 1)"),),
    ),
    Answer(
        "plan",
        "compares with the last request",
        "other",
        edits=(("batch[0] == k if kinds == 0 else", "batch[-1] == k if kinds < 2 else"),),
    ),
    Answer(
        "plan",
        "base alone never opens a batch",
        "other",
        edits=(
            ("if alike and len(batch) < rows:", "if (alike or k == -1) and len(batch) < rows:"),
        ),
    ),
    Answer(
        "plan",
        "kinds of the batch without the new one",
        "kinds_off",
        edits=(("len({*batch, k} - {-1}) <= kinds", "len({*batch} - {-1}) <= kinds"),),
    ),
    Answer(
        "plan",
        "kinds of the batch strictly fewer",
        "kinds_off",
        edits=(("len({*batch, k} - {-1}) <= kinds", "len({*batch} - {-1}) < kinds"),),
    ),
    Answer(
        "plan", "rows by kind", "other", edits=(("len(batch) < rows", "batch.count(k) < rows"),)
    ),
    Answer(
        "plan",
        "chunks of rows",
        "other",
        edits=(("placed.append(fitting)", "placed.append(len(placed) // rows)"),),
    ),
    Answer(
        "reuse",
        "counts common tokens as sets",
        "other",
        edits=(
            (
                (
                    "    for entry, (owner, old) in enumerate(kept):\n"
                    "        same = 0\n"
                    "        while same < min(len(old), len(ids) - 1) and old[same] == ids[same]:\n"
                    "            same += 1\n"
                ),
                (
                    "    for entry, (owner, old) in enumerate(kept):\n"
                    "        same = min(len(set(old) & set(ids)), len(ids) - 1)\n"
                ),
            ),
        ),
    ),
    Answer(
        "reuse",
        "only whole prompts",
        "entire",
        edits=(
            (
                "if owner == adapter and same > best[1]:",
                "if owner == adapter and same == len(old) and same > best[1]:",
            ),
        ),
    ),
    Answer(
        "reuse",
        "the fewest saved",
        "other",
        edits=(("same > best[1]:", "same and (best[0] < 0 or same < best[1]):"),),
    ),
    Answer(
        "reuse",
        "names the adapter",
        "owner",
        edits=(("best = (entry, same)", "best = (owner, same)"),),
    ),
    Answer(
        "reuse",
        "tokens left to compute",
        "left_over",
        edits=(("    return best", "    return best[0], len(ids) - best[1]"),),
    ),
    Answer("reuse", "entry from 1", "from_one", edits=(("enumerate(kept)", "enumerate(kept, 1)"),)),
    Answer(
        "reuse",
        "None where nothing is saved",
        "type",
        edits=(
            ("best = (-1, 0)", "best = (None, 0)"),
            ("    return best", "    return best"),
        ),
    ),
    Answer(
        "reuse",
        "other adapter than the base only",
        "any_adapter",
        edits=(("if owner == adapter and", "if (owner == adapter or adapter == -1) and"),),
    ),
    Answer(
        "reuse",
        "the newest entry only",
        "other",
        edits=(("enumerate(kept)", "list(enumerate(kept))[-1:]"),),
    ),
    Answer(
        "reuse",
        "from the end",
        "other",
        edits=(("old[same] == ids[same]", "old[-1 - same] == ids[-1 - same]"),),
    ),
    Answer(
        "reuse",
        "the longest of the adapter",
        "longest",
        edits=(
            (
                "if owner == adapter and same > best[1]:",
                (
                    "if owner == adapter and same and len(old) > len(kept[best[0]][1]) * "
                    "(best[0] >= 0):"
                ),
            ),
        ),
    ),
    Answer(
        "reuse",
        "the longest of the adapter, whatever it saves",
        "longest",
        edits=(
            (("    best = (-1, 0)\n"), ("    best, size = (-1, 0), 0\n")),
            (
                ("if owner == adapter and same > best[1]:\n"),
                ("if owner == adapter and len(old) > size:\n            size = len(old)\n"),
            ),
        ),
    ),
]

WRONG += [
    edit(
        "evict",
        "all busy is an error, also with room",
        "early_error",
        (
            "    for name in sorted",
            "    if not held.keys() - set(busy):\n"
            '        raise ValueError(f"all are busy, no room for {need}")\n'
            "    for name in sorted",
        ),
    ),
    edit(
        "evict",
        "the busy ones' bytes counted as free",
        "busy_goes",
        ("for entry in held.values()", "for name, entry in held.items() if name not in busy"),
    ),
    edit(
        "evict",
        "the two rules exchanged",
        "exchanged",
        ('"recent": ', '"x": '),
        ('"popular": ', '"recent": '),
        ('"x": ', '"popular": '),
    ),
    edit("evict", "a set", "type", ("return gone", "return set(gone)")),
]

RIGHT += [
    Answer(
        "evict",
        "a heap and a tuple that grows",
        code="""
import heapq
def evict(held, need, capacity, busy, rule):
    key = (lambda e: (e[2], e[1])) if rule == "popular" else (lambda e: (e[1],))
    heap = [(*key(e), name, e[0]) for name, e in held.items() if name not in frozenset(busy)]
    heapq.heapify(heap)
    missing, gone = need + sum(e[0] for e in held.values()) - capacity, ()
    while missing > 0:
        if not heap:
            raise ValueError("cannot place an adapter of %d bytes" % need)
        *_, name, size = heapq.heappop(heap)
        gone, missing = (*gone, name), missing - size
    return gone
""",
    ),
    Answer(
        "evict",
        "calls itself, an error of its own",
        code="""
class NoRoom(ValueError):
    pass
def evict(held, need, capacity, busy, rule):
    if sum(size for size, _, _ in held.values()) + need <= capacity:
        return []
    rest = [name for name in held if name not in busy]
    if not rest:
        raise NoRoom(need)
    first = min(rest, key=lambda n: held[n][:0:-1] if rule == "popular" else held[n][1:2])
    left = {name: entry for name, entry in held.items() if name != first}
    return [first, *evict(left, need, capacity, busy, rule)]
""",
    ),
]

WRONG += [
    edit("evict", "the fields exchanged, ties and all", "exchanged",
         ("lambda name: held[name][1]", "lambda name: held[name][2]"),
         (POPULAR, "(held[name][1], held[name][2])")),
    edit("evict", "by how often, whatever the rule", "both_popular",
         ("lambda name: held[name][1]", "lambda name: (held[name][2], held[name][1])")),
]  # fmt: skip

WRONG += [
    edit("evict", "what is held forgotten", "free_forgotten", (FREE, "capacity")),
    edit("evict", "the first busy one alone", "busy_goes", ("set(busy)", "set(busy[:1])")),
    edit("evict", "the newest, with one rule", "newest",
         ("lambda name: held[name][1]", "lambda name: -held[name][1]")),
]  # fmt: skip

MOVED = """
def packed(x, W, adapters, lengths, whose):
    y, start = x @ W.T, 0
    for n, k in zip(lengths, whose):
        if k >= 0:
            A, B, scaling = adapters[k]
            y[start : start + n] += scaling * x[start : start + n] @ A.T @ B.T
            start += n
    return y
"""
GROUPED = """
def packed(x, W, adapters, lengths, whose):
    rows = torch.repeat_interleave(torch.tensor(whose), torch.tensor(lengths))
    parts = [x[rows < 0] @ W.T]
    for k, (A, B, scaling) in enumerate(adapters):
        mine = x[rows == k]
        parts.append(mine @ W.T + scaling * mine @ A.T @ B.T)
    return torch.cat(parts)
"""
WRONG += [
    edit("packed", "zero for none", "zero_none", ("rows == k", "(rows == k) & (rows > 0)")),
    Answer("packed", "no step where there is no adapter", "anew", code=MOVED),
    Answer("packed", "lengths as ends", "anew",
           code=MOVED.replace("start + n]", "n]").replace("    start += n", "start = n")),
    Answer("packed", "grouped by adapter", "grouped", code=GROUPED),
    edit("packed", "the base scaled with it", "scale_twice",
         (UPDATE, "y[mine] = scaling * (y[mine] + x[mine] @ A.T @ B.T)")),
    edit("fleet", "each shape once", "first_layer",
         (EACH, EACH.replace("in layers", "in set(layers)"))),
    edit("fleet", "seats without the base", "no_base", (SEATED, SEATED.replace("params + ", ""))),
    edit("fleet", "a seat more", "all_seats", ("seats * max", "(seats + 1) * max")),
    edit("fleet", "a model for each rank", "ranks_once",
         (MERGED, MERGED.replace("ranks", "set(ranks)"))),
    edit("fleet", "size for the adapters alone", "numbers",
         (SHARED, "shared = params + sum(ranks) * each * size"),
         (SEATED, "params + seats * max(ranks) * each * size")),
    edit("evict", "the popular by size", "by_size", (POPULAR, "held[name][0]")),
    edit("evict", "the recent as listed", "as_listed",
         (SORTED, "sorted([n for n in held if n not in busy], key=order[rule] "
          "if rule == 'popular' else lambda n: 0)")),
    edit("plan", "kinds 0 is kinds 1", "base_anywhere",
         (ALIKE, "len({*batch, k} - {-1}) <= max(kinds, 1)")),
    edit("plan", "kinds 0 is none at all", "mixes", (ALIKE, "len({*batch, k} - {-1}) <= kinds")),
    edit("plan", "one row less", "one_row_more", ("len(batch) < rows", "len(batch) < rows - 1")),
    edit("plan", "the base takes no row", "one_row_more",
         ("len(batch) < rows", "sum(n >= 0 for n in batch) < rows")),
    edit("plan", "the base past the rows", "one_row_more",
         ("len(batch) < rows", "(k < 0 or len(batch) < rows)")),
    edit("plan", "repeats count, before", "repeats",
         ("len({*batch, k} - {-1}) <= kinds", "sum(n != -1 for n in batch) < kinds")),
    edit("plan", "repeats count, unless known", "repeats",
         ("len({*batch, k} - {-1}) <= kinds",
          "(k in batch or sum(n != -1 for n in batch) < kinds)")),
    edit("reuse", "wherever it stands", "anywhere",
         (WHILE, "while any(old[n : n + same + 1] == ids[: same + 1] for n in range(len(old))) and "
          "same < len(ids) - 1:")),
    edit("reuse", "as sets", "anywhere",
         (WHILE, "same = len(set(old) & set(ids[:-1]))\n        while False:")),
    edit("reuse", "cut at the end", "last_tie", ("len(ids) - 1)", "len(ids))"),
         ("return best",
          "return (best[0], min(best[1], len(ids) - 1)) if len(ids) > 1 else (-1, 0)")),
    edit("reuse", "last of equals, of none too", "last_tie",
         (BETTER, "if owner == adapter and same >= best[1]:")),
    edit("reuse", "number among the adapter's own", "owner",
         ("enumerate(kept)", "enumerate([e for e in kept if e[0] == adapter])")),
    edit("reuse", "one less at the end", "one_less",
         ("return best", "return best[0], max(best[1] - 1, 0)")),
    edit("reuse", "one less of all", "one_less", ("len(ids) - 1)", "len(ids))"),
         (BETTER, "same -= 1\n        " + BETTER)),
]  # fmt: skip
