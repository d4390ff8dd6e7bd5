# 17.4 Bytes on a rank
PARTS_HELD = ("weights", "gradients", "optimizer")
HELD_CASES = ("last", "none", "odd", "one")  # a short piece, no row, a rank in the middle, one rank


def make_on_a_rank(seed):
    """Heights that split unevenly: r = 3 on 2 ranks leaves the last a row, 4 on 6 none."""
    rng = np.random.default_rng(seed + 1740)
    made = {}
    for case, (r, world, rank) in {
        "last": (3, 2, 1), "none": (4, 6, 5), "odd": (5, 3, 1), "one": (2, 1, 0),
    }.items():  # fmt: skip
        a, b, c, d, e = fixtures.sizes(rng, 5, 13, 60)
        made[f"layers_{case}"] = np.array([(a, b), (c, a), (b, d)])
        made[f"others_{case}"] = np.array([(7 * e, d), (3 * c + 1, b)])
        made[f"norm_{case}"] = np.array(a)
        made[f"given_{case}"] = np.array([r, world, rank])
    return made


def shapes_given(i, case):
    """(layers, others) of a case, as lists of tuples."""
    layers = [tuple(int(n) for n in shape) for shape in i[f"layers_{case}"]]
    others = [tuple(int(n) for n in shape) for shape in i[f"others_{case}"]]
    return layers, [*others, (int(i[f"norm_{case}"]),)]


def probe_on_a_rank(namespace, a):
    made = {}
    for case in HELD_CASES:
        layers, others = shapes_given(a, case)
        before = (list(layers), list(others))
        value = namespace["on_a_rank"](layers, others, *(int(n) for n in a[f"given_{case}"]))
        value = fixtures.expect(value, dict, "on_a_rank", 'a dict of "weights", "gradients", '
                                '"optimizer"')  # fmt: skip
        made[f"left_{case}"] = 0 if (layers, others) == before else 2
        made[f"keys_{case}"] = sorted(map(str, value)) == sorted(PARTS_HELD)
        for part in PARTS_HELD:
            if part in value:
                made[f"{part}_{case}"] = array(value[part], f"the value of {part!r}")
    return made


def bytes_held(i, case, part, kind=""):
    """The bytes of a part, or those of a mistake."""
    layers, others = shapes_given(i, case)
    r, world, rank = (int(n) for n in i[f"given_{case}"])

    def rest(shape):
        return math.prod(shape[1:])

    def height(shape):
        return math.ceil(shape[0] / world)

    def true(shape):
        return max(0, min(height(shape), shape[0] - rank * height(shape))) * rest(shape)

    def even(shape):  # as evenly as possible, the first ones a row more
        return (shape[0] // world + (rank < shape[0] % world)) * rest(shape)

    def stored(shape):
        return {
            "floor": shape[0] // world * rest(shape),
            "true": true(shape),
            "even": even(shape),
            "numbers": math.ceil(shape[0] * rest(shape) / world),
            "whole": shape[0] * rest(shape),
        }.get(kind, height(shape) * rest(shape))

    def piece(shape):
        if kind in ("padded", "numbers", "floor", "whole"):
            return stored(shape) if kind != "padded" else height(shape) * rest(shape)
        return even(shape) if kind == "even" else true(shape)

    pairs = [((r, d_in), (out, r)) for out, d_in in layers]
    if kind == "swapped":
        pairs = [((r, out), (d_in, r)) for out, d_in in layers]
    factors = [s for pair in pairs for s in (pair[:1] if kind == "only_A" else pair)]
    adapter = 4 * sum(stored(s) for s in factors)
    if kind == "adapter_whole":
        adapter = 4 * sum(s[0] * rest(s) for s in factors)
    if kind == "adapter_16":
        adapter //= 2
    bases = {"no_others": layers, "only_others": others}.get(kind, [*layers, *others])
    base = sum(stored(s) for s in bases)
    base = {"base_32": 4, "no_base": 0}.get(kind, 2) * base
    states = 8 * sum(piece(s) for s in factors)
    if kind == "adapter_whole":
        states = 2 * adapter
    if kind in ("one_state", "adapter_16"):
        states //= 2
    gradients = base + adapter if kind == "all_gradients" else adapter
    if kind == "true_gradients":
        gradients = 4 * sum(true(s) for s in factors)
    return {"weights": base + adapter, "gradients": gradients, "optimizer": states}[part]


def judge_on_a_rank(i, o):
    promises = []
    for case in HELD_CASES:
        r, world, rank = (int(n) for n in i[f"given_{case}"])
        words = f"r = {r}, rank {rank} of {world}"
        promises.append(callers.unchanged(f"left_{case}", "the lists of shapes"))
        promises.append(Promise(f"keys_{case}", 1, seen=f"{words}: other keys",
                                expected=", ".join(PARTS_HELD)))  # fmt: skip
        promises += [
            Promise(f"{part}_{case}", bytes_held(i, case, part), f"{words}: {part}", rtol=0,
                    atol=0.5) for part in PARTS_HELD
        ]  # fmt: skip
    return judged(i, o, promises, ON_A_RANK)


def holds(kind):
    """All parts of all cases as one mistake makes them."""
    return lambda i: {
        f"{part}_{case}": bytes_held(i, case, part, kind)
        for case in HELD_CASES for part in PARTS_HELD
    }  # fmt: skip


ON_A_RANK = (
    Slip("floor", "`//` loses the rows that are left over: pieces are as high as the first one, "
         "rounded up.", holds("floor")),
    Slip("unfilled", "Weights and gradients are stored filled up, on every rank: also where the "
         "true piece is shorter.", holds("true")),
    Slip("even", "Rows are not spread evenly: all pieces are as high as the first, and the last "
         "get what is left, or nothing.", holds("even")),
    Slip("by_numbers", "What is cut is the first axis, row by row, not the numbers of a tensor.",
         holds("numbers")),
    Slip("not_cut", "That is all of it. A rank holds a piece of every tensor.", holds("whole")),
    Slip("adapter_not_cut", "The adapter is cut as well, not only the base.",
         holds("adapter_whole")),
    Slip("filled_states", "AdamW's states are not filled up. With r = 4 on six ranks a piece has "
         "one row, and the last two ranks have none.", holds("padded")),
    Slip("one_state", "AdamW has two states for each number.", holds("one_state")),
    Slip("base_32", "The frozen base has 2 bytes a number, the adapter 4.", holds("base_32")),
    Slip("adapter_16", "The adapter, its gradients and its states have 4 bytes a number.",
         holds("adapter_16")),
    Slip("no_others", "The weights without LoRA are held too.", holds("no_others")),
    Slip("no_layers", "The frozen weight stays beside its A and B, and is held too.",
         holds("only_others")),
    Slip("only_A", "LoRA has two factors: A (r, in) and B (out, r).", holds("only_A")),
    Slip("swapped", "A is (r, in) and B is (out, r); a layer's shape is (out, in).",
         holds("swapped")),
    Slip("all_gradients", "The base is frozen: only the adapter has gradients.",
         holds("all_gradients")),
    Slip("true_gradients", "Gradients are filled up like the weights; only the states are not.",
         holds("true_gradients")),
    Slip("no_base", "The weights are base and adapter together.", holds("no_base")),
)  # fmt: skip

on_a_rank = Check(
    name="on_a_rank", title="Bytes on a rank", wants=("on_a_rank",),
    difficulty=3, minutes=15, points=20,
    verified="three parts on four ranks, one with a short piece and one with none",
    hints=(
        "Take an A of 4 rows on 6 ranks. How high is a piece? Which ranks have a row?",
        "A piece is `math.ceil(rows / world)` high. Stored is that height; the true piece of a "
        "rank is what is left from `rank * height` on, at most the height and at least nothing.",
        "`stored = height * math.prod(shape[1:])`, `true = max(0, min(height, shape[0] - rank * "
        "height)) * math.prod(shape[1:])`. Weights: 2 bytes × stored base + 4 × stored adapter; "
        "gradients: 4 × stored adapter; states: 8 × true adapter.",
    ),
    slips=ON_A_RANK, other="Write down one A and one B by hand: rows of each rank, then bytes.",
    make=make_on_a_rank, probe=probe_on_a_rank, judge=judge_on_a_rank,
)  # fmt: skip


# 17.5 Ranks that drift apart
FAULTS = ("", "start", "rows", "alone", "mean", "sum")
DRIFTS = {  # case: (world, faults that are in it)
    "right": (2, ()), "right3": (3, ()), "even": (3, ("even",)), "start": (3, ("start",)),
    "rows": (3, ("rows",)), "alone": (2, ("alone",)), "mean": (3, ("mean",)),
    "sum": (3, ("sum",)), "start_alone": (2, ("start", "alone")), "rows_sum": (2, ("rows", "sum")),
    "rows_four": (4, ("rows",)), "same": (2, ("same",)), "start_rows": (2, ("start", "rows")),
}  # fmt: skip
RECORD = ("start", "rows", "tokens", "own", "used")


def make_drift(seed):
    """Records of a first step. What travelled is rounded; in every fault the last rank has it."""
    rng = np.random.default_rng(seed + 1750)
    f, made = fixtures.normal(rng), {}
    for case, (world, faults) in DRIFTS.items():
        n, k = fixtures.sizes(rng, 2, 4, 9)
        start = np.repeat(f(1, n), world, 0)
        rows = rng.permutation(world * k + 3)[: world * k].reshape(world, k)
        tokens = rng.permutation(np.arange(2, 30))[:world].astype(np.int64)
        if "even" in faults:
            tokens[:] = tokens[0]
        own = f(world, n)
        right = (tokens / tokens.sum()) @ own
        if "start" in faults:
            start[-1] += 0.1 * f(n)
        if "rows" in faults:
            rows[-1, -1] = rows[0, 0]
        if "same" in faults:
            rows[-1] = rows[0]
        used = np.repeat(right[None], world, 0)
        if "alone" in faults:
            used = own.copy()
        if "mean" in faults:
            used[:] = own.mean(0)
        if "sum" in faults:
            used *= world
        used = used * (1 + 1e-5 * rng.uniform(-1, 1, used.shape))
        record = {"start": start, "rows": rows, "tokens": tokens, "own": own, "used": used}
        made |= {
            f"{key}_{case}": value.astype(np.float32 if key in ("start", "own", "used") else int)
            for key, value in record.items()
        }
    return made


def probe_drift(namespace, a):
    made = {}
    for case in DRIFTS:
        given = [tensor(a[f"{key}_{case}"]) for key in RECORD]
        before = [g.clone() for g in given]
        said = fixtures.expect(namespace["drift"](*given), str, "drift", "a word of the table")
        changed = [bool((g != b).any()) for g, b in zip(given, before, strict=True)]
        made[f"left_{case}"] = 2 * any(changed)
        made[f"said_{case}"] = FAULTS.index(said) if said in FAULTS else -1
    return made


def near(a, b):
    return np.allclose(a, np.broadcast_to(b, a.shape), rtol=1e-3, atol=1e-5)


def named(i, case, kind=""):
    """The place in FAULTS of what is wrong, or what a mistake makes of it."""
    start, rows, tokens, own, used = (i[f"{key}_{case}"] for key in RECORD)
    world, share = len(own), tokens / tokens.sum()
    if kind == "inverted":
        share = (1 / tokens) / (1 / tokens).sum()
    right = share @ own
    same = np.array_equal if kind == "exact" else near
    if kind == "first_two":
        start, rows, own_seen, used_seen = start[:2], rows[:2], own[:2], used[:2]
    elif kind == "rank_0":
        start, rows, own_seen, used_seen = start[:1], rows[:1], own[:1], used[:1]
    else:
        own_seen, used_seen = own, used
    spread = np.broadcast_to
    checks = {
        "start": not same(start, spread(start[:1], start.shape)),
        "rows": len(np.unique(rows)) < rows.size,
    }
    guesses = {"": right, "alone": own_seen, "mean": own.mean(0), "sum": world * right}
    order = ["", "alone", "mean", "sum"]
    if kind == "mean_first":
        order = ["mean", "alone", "", "sum"]
    if kind == "plain_right":
        guesses = {"": own.mean(0), "alone": own_seen, "mean": right, "sum": world * own.mean(0)}
    found = [w for w in order if same(used_seen, spread(guesses[w], used_seen.shape))]
    if kind == "sum_of_own":
        found = [w for w in found if w != "sum"] or [""]
    gradient = found[0] if found else None
    if kind == "no_start":
        checks["start"] = False
    if kind == "no_rows":
        checks["rows"] = False
    if kind == "same_rows":  # the ranks' lists compared as wholes
        checks["rows"] = any(np.array_equal(rows[0], other) for other in rows[1:])
    hits = [word for word in ("start", "rows") if checks[word]]
    if kind == "rows_first":
        hits.reverse()
    if kind == "gradient_first" and gradient:
        hits.insert(0, gradient)
    hits += [gradient] if gradient is not None else []
    return FAULTS.index(hits[0]) if hits else -1


def judge_drift(i, o):
    def said(v):
        place = int(v.reshape(-1)[0]) if v.size else -1
        return repr(FAULTS[place]) if 0 <= place < len(FAULTS) else "another word"

    promises = [callers.unchanged(f"left_{case}", "the record") for case in DRIFTS]
    for case, (world, _) in DRIFTS.items():
        right = named(i, case)
        promises.append(
            Promise(f"said_{case}", right, rtol=0, atol=0.1, share=0.0,
                    seen=lambda v, case=case, world=world: f"{story(i, case)}: {said(v)}",
                    expected=repr(FAULTS[right]))
        )  # fmt: skip
    return judged(i, o, promises, DRIFT)


def story(i, case):
    """A case in words: what is the matter with it."""
    world, faults = DRIFTS[case]
    words = {
        "start": "the last rank began elsewhere",
        "rows": "the last rank took a row of the first",
        "same": "both ranks took the same rows",
        "alone": "each rank used its own gradient",
        "mean": "all used the plain mean",
        "sum": f"all used {world} times the right gradient",
        "even": "equally many tokens on each rank",
    }
    told = [words[fault] for fault in faults if fault in words]
    return f"{world} ranks, " + (" and ".join(told) or "nothing wrong")


def says(*kinds):
    return lambda i: [{f"said_{case}": named(i, case, kind) for case in DRIFTS} for kind in kinds]


DRIFT = (
    Slip("exact", "Two ranks add in another order, so right numbers differ in the last digit: "
         "compare with a tolerance.", says("exact")),
    Slip("plain_right", "The plain mean of the ranks is right only where all have equally many "
         "tokens: weight each rank by its tokens.", says("plain_right")),
    Slip("mean_first", "With equally many tokens the plain mean *is* the right gradient: look for "
         "what is right before you look for what is wrong.", says("mean_first")),
    Slip("inverted", "A rank with more tokens counts more, not less.", says("inverted")),
    Slip("two_ranks", "There may be more than two ranks, and here the last one is at fault.",
         says("first_two")),
    Slip("rank_0", "Rank 0 alone shows nothing: compare all ranks.", says("rank_0")),
    Slip("no_start", "Equal gradients do not help ranks that began with different weights.",
         says("no_start")),
    Slip("no_rows", "A row that two ranks take counts twice: compare the row numbers of all "
         "ranks.", says("no_rows")),
    Slip("same_rows", "One row in common is enough: the lists need not be equal as wholes.",
         says("same_rows")),
    Slip("order", "Where several things are wrong, the first of the table is asked for.",
         says("rows_first", "gradient_first")),
    Slip("sum_of_own", "\"sum\" is the right gradient times the number of ranks, not the sum of "
         "the ranks' own gradients, whose tokens differ.", says("sum_of_own")),
)  # fmt: skip

drift = Check(
    name="drift", title="Ranks that drift apart", wants=("drift",),
    difficulty=4, minutes=20, points=20,
    verified="thirteen records of two to four ranks, with one fault, two or none",
    hints=(
        "What would one process compute from all rows? Write that gradient down from `own` and "
        "`tokens` first.",
        "The right gradient is the mean of `own`, weighted by `tokens`. Compare `start` with its "
        "first row, count the different `rows`, then compare `used` with the right gradient, "
        "with `own`, with the plain mean, and with world times the right one.",
        "`right = (tokens / tokens.sum()) @ own`; `torch.allclose(used, guess.expand_as(used), "
        "rtol=1e-3, atol=1e-5)` for the guesses right, own, own.mean(0), len(own) * right, in "
        "this order; before them `start` and `len(rows.unique()) < rows.numel()`.",
    ),
    slips=DRIFT, other="Take that record apart by hand: which of the guesses is `used`?",
    make=make_drift, probe=probe_drift, judge=judge_drift,
)  # fmt: skip

# EXERCISES = (..., on_a_rank, drift)
