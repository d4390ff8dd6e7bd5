"""Checks of chapter 18: packed requests, bytes of a fleet, who goes, who shares, what is reused."""

import numpy as np

from lora_course.checks import callers, fixtures, guard
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, judged, seen_as
from lora_course.checks.values import Refused, array, kind, text, words


def any_of(*options):
    return lambda i: [values for option in options for values in option(i)]


def numbers(value, name, wanted):
    """A list of whole numbers as an array, or Refused: also for an empty one."""
    if value is None:
        raise Refused("none", f"{name} returns None.", wanted)
    if isinstance(value, (str, dict, set, frozenset)) or not hasattr(value, "__len__"):
        raise Refused("type", f"{name} returns {kind(value)}.", wanted)
    try:
        return array(list(value), f"what {name} returns")
    except Refused as error:
        raise Refused(error.key, error.seen, wanted) from error


def apart(seed, draw, slips, result):
    """Inputs for which the right answer and that of every slip all differ.

    draw: generator -> inputs. result: inputs, slip -> array; slip "" is right.
    """
    for attempt in range(500):
        made = draw(np.random.default_rng((seed, attempt)))
        seen = {np.round(result(made, slip), 3).tobytes() for slip in ("", *slips)}
        if len(seen) == len(slips) + 1:
            return made
    raise RuntimeError(f"no inputs for seed {seed} tell these apart: {slips}")


# 18.1 Packed requests
RANKS = 3
PACKED_SLIPS = ("turns", "even", "by_request", "last", "anew", "unmoved", "ends", "zero_none",
                "from_one", "grouped")  # fmt: skip


def make_packed(seed):
    """Four requests, one in the middle without an adapter; one adapter that nobody asks for."""
    return apart(seed, draw_packed, PACKED_SLIPS, output)


def draw_packed(rng):
    f, (d_in, d_out, a, b, c) = fixtures.normal(rng), fixtures.sizes(rng, 5, 2, 9)
    lengths = np.array([a, b, c, a + 1])[rng.permutation(4)]
    first, second = rng.permutation([0, rng.integers(1, RANKS)])  # 0 is an adapter
    whose = np.array([first, second, first])[rng.permutation(3)]
    whose = np.insert(whose, rng.integers(1, 3), -1)
    made = {"x": f(lengths.sum(), d_in), "W": f(d_out, d_in), "lengths": lengths, "whose": whose}
    for k, r in enumerate(fixtures.sizes(rng, RANKS, 1, 6)):
        made |= {f"A{k}": f(r, d_in), f"B{k}": f(d_out, r)}
    return made | {"scaling": rng.permutation([0.5, 3.0, 1.7])}


def probe_packed(namespace, a):
    pairs = [(tensor(a[f"A{k}"]), tensor(a[f"B{k}"])) for k in range(RANKS)]
    adapters = [(A, B, float(s)) for (A, B), s in zip(pairs, a["scaling"], strict=True)]
    x, W = tensor(a["x"]), tensor(a["W"])
    lists = [[int(n) for n in a[key]] for key in ("lengths", "whose")]
    before = callers.Before(x, W, *(t for pair in pairs for t in pair), *lists)
    y = namespace["packed"](x, W, adapters, *lists)
    return {"y": array(y, "what packed returns"), "left": before.change()}


def output(i, slip=""):
    """The layer's output, or that of a mistake."""
    x, W, lengths, whose = (i[key].astype(np.float64) for key in ("x", "W", "lengths", "whose"))
    lengths, whose = lengths.astype(int), whose.astype(int)
    owners = np.repeat(whose, lengths)
    if slip == "turns":
        owners = np.resize(whose, len(x))
    if slip == "even":
        each = -(-len(x) // len(whose))
        owners = np.repeat(whose, each)[: len(x)]
    if slip == "by_request":
        owners = np.repeat(np.arange(len(whose)) % RANKS, lengths)
    if slip == "from_one":  # adapter k for the tokens of k + 1
        owners = np.where(owners < 1, -1, owners - 1)
    y = np.zeros((len(x), len(W))) if slip == "update" else x @ W.T
    if slip in ("anew", "unmoved", "ends"):  # first tokens; no step past -1; lengths as ends
        start = 0
        for count, k in zip(lengths, whose, strict=True):
            end = count if slip == "ends" else start + count
            if k >= 0:
                A, B = (i[f"{part}{k}"].astype(np.float64) for part in "AB")
                y[start:end] += i["scaling"][k] * x[start:end] @ A.T @ B.T
            start = 0 if slip == "anew" else end if slip == "ends" or k >= 0 else start
        return y
    if slip == "zero_none":
        owners = np.where(owners == 0, -1, owners)
    if slip == "written":
        y[owners >= 0] = 0
    for n, k in enumerate(owners):
        if k < 0 and slip != "last" or slip == "base":
            continue
        k = range(RANKS)[k]
        y[n] *= i["scaling"][k] if slip == "base_too" else 1
        scale = {"no_scale": 1.0, "twice": i["scaling"][k] ** 2}.get(slip, i["scaling"][k])
        scale = i["scaling"][0] if slip == "one_scale" else scale
        scale = scale / len(i[f"A{k}"]) if slip == "over_r" else scale
        y[n] += scale * i[f"B{k}"].astype(np.float64) @ (i[f"A{k}"] @ x[n])
    if slip == "dropped":
        y[owners < 0] = 0
    return y[np.argsort(owners, kind="stable")] if slip == "grouped" else y


def judge_packed(i, o):
    promises = [
        callers.unchanged("left", "what packed was given"),
        Promise("y", output(i), "the output, at [token, out]", rtol=1e-3, atol=1e-3),
    ]
    return judged(i, o, promises, PACKED)


def outputs(*slips):
    return lambda i: [{"y": output(i, slip)} for slip in slips]


PACKED = (
    Slip("last_for_none", "The index −1 takes the last adapter of a list. Here it means none: "
         "leave those tokens to the base.", outputs("last")),
    Slip("no_scale", "Each adapter has its scaling; the update is scaling · B A x.",
         outputs("no_scale")),
    Slip("scale_twice", "The scaling belongs to the update alone, and once.",
         outputs("twice", "base_too")),
    Slip("zero_none", "Adapter 0 is an adapter: only −1 means none.", outputs("zero_none")),
    Slip("grouped", "The output stands in the order of x: put each row back to its token.",
         outputs("grouped")),
    Slip("over_r", "`scaling` is lora_alpha / r already: do not divide by r again.",
         outputs("over_r")),
    Slip("from_one", "`whose` counts the adapters from 0.", outputs("from_one")),
    Slip("one_scale", "Every adapter has a scaling of its own.", outputs("one_scale")),
    Slip("by_turns", "A request has several tokens, and all of them have its adapter: repeat each "
         "entry of `whose` as often as its length says.", outputs("turns", "even")),
    Slip("by_request", "`whose` says which adapter a request has. Its own number does not.",
         outputs("by_request")),
    Slip("update_only", "The base's product x Wᵀ is missing, or was written over: the update comes "
         "on top of it.", outputs("update", "written")),
    Slip("anew", "`lengths` are counts: a request begins where the one before it ends, whether "
         "that one has an adapter or not.", outputs("anew", "unmoved", "ends")),
    Slip("changed", "x, W, the factors and the lists are the caller's: write into y alone.",
         seen_as(left=lambda v: v > 0)),
    Slip("base_only", "This is the base alone. Add the update of each token's adapter.",
         outputs("base")),
    Slip("none_dropped", "A token without an adapter still gets the base's output.",
         outputs("dropped")),
)  # fmt: skip

packed = Check(
    name="packed", title="Requests without padding", wants=("packed",),
    difficulty=3, minutes=15, points=25,
    verified="requests of different lengths with adapters of different ranks, one without",
    hints=(
        "The base multiplies all N tokens at once. Which adapter does token number n have?",
        "Repeat each entry of `whose` as often as its request has tokens: a list of N owners. Then "
        "one product for each adapter, on its own tokens.",
        "`rows = torch.repeat_interleave(torch.tensor(whose), torch.tensor(lengths))`, and for "
        "each adapter `y[rows == k] += scaling * x[rows == k] @ A.T @ B.T`.",
    ),
    slips=PACKED, other="Take two requests of one and two tokens, and write the three rows.",
    make=make_packed, probe=probe_packed, judge=judge_packed,
)  # fmt: skip


# 18.2 The bytes of a fleet
WAYS = ("the size of the merged models", "the size of base and adapters",
        "the size of base and seats")  # fmt: skip


def make_fleet(seed):
    """Two fleets of five adapters; the largest rank stands in the middle.

    In the second two adapters have one rank, two layers one shape, and seats stay empty.
    """
    rng, made = np.random.default_rng(seed + 1810), {}
    for case in range(2):
        layers = np.array(fixtures.sizes(rng, 6, 3, 40)).reshape(3, 2)
        params, size, *ranks = fixtures.sizes(rng, 7, 6, 60)
        ranks.insert(2, ranks.pop(ranks.index(max(ranks))))
        if case:
            ranks[-1], layers[-1] = ranks[0], layers[0]
        made |= {f"layers{case}": layers, f"ranks{case}": np.array(ranks)}
        made |= {f"params{case}": 1000 + params, f"size{case}": size}
        made |= {f"seats{case}": int(rng.integers(2, 5)) + 5 * case}
    return made


def probe_fleet(namespace, a):
    made = {}
    for case in range(2):
        layers = [tuple(int(n) for n in pair) for pair in a[f"layers{case}"]]
        ranks = [int(r) for r in a[f"ranks{case}"]]
        rest = {key: int(a[f"{key}{case}"]) for key in ("params", "size", "seats")}
        before = callers.Before(layers, ranks)
        found = fixtures.several(
            namespace["fleet"](rest["params"], layers, ranks, rest["size"], rest["seats"]),
            WAYS, "fleet",
        )  # fmt: skip
        made |= {f"{key}{case}": v for key, v in zip("msp", found, strict=True)}
        made |= {f"left{case}": before.change()}
    return made


def bytes_of(i, case, slip=""):
    """{output: bytes} of a case, or of a mistake."""
    params, size, seats = (int(i[f"{key}{case}"]) for key in ("params", "size", "seats"))
    layers, ranks = i[f"layers{case}"].astype(int), i[f"ranks{case}"].astype(int)
    each = {
        "product": (layers[:, 0] * layers[:, 1]).sum(), "one_side": layers[:, 0].sum(),
        "other_side": layers[:, 1].sum(), "first_layer": layers[0].sum(),
        "shapes": np.unique(layers, axis=0).sum(),
    }.get(slip, layers.sum())  # fmt: skip
    wide = {"mean": ranks.mean(), "first": ranks[0], "least": ranks.min(), "no_rank": 1,
            "last": ranks[-1]}.get(slip, ranks.max())  # fmt: skip
    places = {"all_seats": len(ranks), "one_seat": 1, "filled": min(seats, len(ranks)),
              "seat_more": seats + 1}.get(slip, seats)  # fmt: skip
    base, alone, seated, once = params, ranks.sum() * each, places * wide * each, np.unique(ranks)
    base = {"no_base": 0, "base_unsized": params / size}.get(slip, base)
    if slip == "adapters_unsized":
        alone, seated = alone / size, seated / size
    merged = {
        "merged_larger": len(ranks) * params + alone, "one_merged": params,
        "unique": len(once) * params, "seats_merged": seats * params,
    }.get(slip, len(ranks) * params)  # fmt: skip
    shared = {
        "wide_adapters": len(ranks) * ranks.max() * each, "unique": once.sum() * each,
        "base_for_each": (len(ranks) - 1) * params + alone, "exchanged": seated,
    }.get(slip, alone)  # fmt: skip
    seated = {
        "fitting": np.sort(ranks)[::-1][:seats].sum() * each, "beside": seated + alone,
        "as_they_come": ranks[:seats].sum() * each, "exchanged": alone,
    }.get(slip, seated)  # fmt: skip
    size = {"numbers": 1, "bits": 8 * size}.get(slip, size)
    total = merged, base + shared, base + seated
    return {f"{key}{case}": n * size for key, n in zip("msp", total, strict=True)}


def judge_fleet(i, o):
    promises = []
    for case in range(2):
        ranks = ", ".join(map(str, i[f"ranks{case}"]))
        where = f"for ranks {ranks}, seats = {i[f'seats{case}']}, size = {i[f'size{case}']}:"
        for key, way in zip("msp", WAYS, strict=True):
            right = bytes_of(i, case)[f"{key}{case}"]
            promises.append(Promise(f"{key}{case}", right, f"{where} {way}", rtol=0, atol=0.5))
        promises.append(callers.unchanged(f"left{case}", "the lists"))
    return judged(i, o, promises, FLEET)


def fleets(keys, *slips):
    """Those outputs of both cases. keys: letters of m, s, p."""
    return lambda i: [
        {k: v for case in range(2) for k, v in bytes_of(i, case, slip).items() if k[0] in keys}
        for slip in slips
    ]


FLEET = (
    Slip("product", "A and B have r · (in + out) numbers in a layer. in · out is the weight "
         "itself.", fleets("msp", "product")),
    Slip("one_side", "A is as long as the layer's input, B as its output: add both.",
         fleets("msp", "one_side", "other_side")),
    Slip("first_layer", "All layers of the list have LoRA, two of one shape as well: sum over "
         "them.", fleets("msp", "first_layer", "shapes")),
    Slip("merged_larger", "A merged model is as large as the base: the update is in its weights.",
         fleets("m", "merged_larger")),
    Slip("one_merged", "A merged model for each adapter of the fleet.",
         fleets("m", "one_merged", "seats_merged")),
    Slip("beside", "In the third way the seats stand in place of the adapters, not beside them.",
         fleets("msp", "beside")),
    Slip("exchanged", "The second value is base and adapters, the third base and seats.",
         fleets("msp", "exchanged")),
    Slip("no_base", "The base is there as well, once.", any_of(fleets("s", "no_base"),
                                                              fleets("p", "no_base"))),
    Slip("base_for_each", "The adapters share one base.", fleets("ms", "base_for_each")),
    Slip("wide_adapters", "On disk and in the second way every adapter has its own rank; nobody "
         "pads.", fleets("ms", "wide_adapters")),
    Slip("not_the_largest", "A seat takes any adapter of the fleet, so each is as wide as the "
         "largest rank.", fleets("msp", "mean", "first", "least", "last", "fitting",
                                 "as_they_come")),
    Slip("no_rank", "A seat has as many rows of A as the largest rank.", fleets("msp", "no_rank")),
    Slip("all_seats", "There are `seats` places: not one for every adapter, and none more.",
         fleets("msp", "all_seats", "one_seat", "seat_more")),
    Slip("filled_seats", "A seat takes its room whether somebody sits there or not.",
         fleets("msp", "filled")),
    Slip("ranks_once", "Two adapters of one rank are two adapters.",
         any_of(fleets("s", "unique"), fleets("m", "unique"))),
    Slip("changed", "`ranks` and `layers` are the caller's: `sorted` and `max` leave a list as it "
         "is, `.sort()` and `.pop()` do not.",
         lambda i: [{f"left{case}": lambda v: v > 0} for case in range(2)]),
    Slip("numbers", "`size` is the bytes of every number, of base and adapters: neither left out "
         "nor made into bits.", any_of(fleets("msp", "numbers", "bits"),
                                       fleets("sp", "base_unsized", "adapters_unsized"))),
)  # fmt: skip

fleet = Check(
    name="fleet", title="The bytes of a fleet", wants=("fleet",),
    difficulty=2, minutes=10, points=15,
    verified="two fleets of five adapters, one with a rank twice and seats that stay empty",
    hints=(
        "How many numbers does one rank take in one layer? In all layers?",
        "Let `each` be the sum of in + out. An adapter of rank r has r · each numbers, a seat as "
        "many as the largest.",
        "`len(ranks) * params`, `params + sum(ranks) * each`, `params + seats * max(ranks) * "
        "each`, all times `size`.",
    ),
    slips=FLEET, other="Count one layer of 3 × 2 with ranks 1 and 4 by hand.",
    make=make_fleet, probe=probe_fleet, judge=judge_fleet,
)  # fmt: skip


# 18.3 Who goes
EVICT_CASES = ("recent", "popular", "busy", "edge", "room", "crowd", "all", "small", "idle")
STOPPED = np.array([-1.0])  # stands for a ValueError where there is room
LISTED = "a list of names, an empty one where nobody goes."
EVICT_SLIPS = ("busy", "newest", "one_rule", "ties_listed", "only_one", "one_more",
               "always_one", "capacity", "largest", "smallest", "as_listed", "by_name", "reversed",
               "set", "most", "latest", "recent_listed", "recent_count",
               "small_popular")  # fmt: skip


def make_evict(seed):
    """Six adapters: names, sizes, times and counts in no common order, two counts equal."""
    return apart(seed, draw_evict, EVICT_SLIPS, gone_everywhere)


def gone_everywhere(i, slip):
    """Who goes in each case, one after the other."""
    return np.concatenate([[-1, *gone(i, case, slip)] for case in EVICT_CASES])


def draw_evict(rng):
    count = 6
    names = rng.permutation(np.arange(10, 32))[:count]
    sizes = rng.permutation(np.arange(11, 30))[:count]
    used = rng.permutation(np.arange(100, 160))[:count]
    asked = rng.permutation([3, 3, 5, 8, 9, 12])
    tied = np.flatnonzero(asked == 3)  # of the two, the older one has the larger name
    used[tied], names[tied] = np.sort(used[tied])[::-1], np.sort(names[tied])
    by_set = list(dict.fromkeys(names.tolist()).keys() - set())  # nor may a set's order do
    if by_set.index(names[tied[1]]) < by_set.index(names[tied[0]]):
        return draw_evict(rng)
    first = np.argsort(used)[:2]  # the first one to go is smaller than the second
    sizes[first] = np.sort(sizes[first])
    if sizes[tied[0]] > sizes[tied[1]]:  # nor does a tie go by size
        return draw_evict(rng)
    return {"names": names, "sizes": sizes, "used": used, "asked": asked,
            "slack": int(rng.integers(2, 9)), "busy": int(rng.integers(0, count))}  # fmt: skip


def evict_case(i, case):
    """(need, capacity, busy names, rule) of a case."""
    sizes, held = i["sizes"].astype(int), int(i["sizes"].sum())
    slack = int(i["slack"])
    by_time = np.argsort(i["used"])
    least = order(i, "popular")
    busy, rule, gone = [], "recent", by_time[:3]
    if case in ("popular", "crowd"):
        rule, gone = "popular", least[:3]
    if case in ("busy", "crowd"):
        ranked = by_time if case == "busy" else least
        busy = [int(i["names"][ranked[0]]), int(i["names"][ranked[2]])]
        gone = [ranked[1], ranked[3]]
    need = slack + int(sizes[gone].sum())
    if case != "edge":
        need -= min(int(sizes[gone[-1]]) - 1, 1 + int(i["busy"]))
    if case == "small":  # with the second one gone, the first would have had no need to go
        need = slack + int(sizes[by_time[1]])
    if case in ("room", "idle"):
        need = slack - 1
    if case == "idle":  # all of them at work, and room enough
        busy = i["names"].tolist()
    if case == "all":
        need = held - 1
    return need, held + slack, busy, rule


def order(i, rule, slip=""):
    """Places of the adapters in the order in which they go."""
    if slip == "largest":
        return np.argsort(-i["sizes"])
    if (slip, rule) == ("recent_count", "recent"):
        return np.argsort(i["asked"], kind="stable")
    if slip == "smallest" or (slip, rule) == ("small_popular", "popular"):
        return np.argsort(i["sizes"])
    if slip == "as_listed" or (slip, rule) == ("recent_listed", "recent"):
        return np.arange(len(i["names"]))
    if slip == "by_name":
        return np.argsort(i["names"])
    sign = -1 if slip == "newest" else 1
    if slip == "one_rule":
        rule = "recent"
    if slip == "both_popular":
        rule = "popular"
    if slip in ("exchanged", "exchanged_alone"):
        rule = "popular" if rule == "recent" else "recent"
    if rule == "recent":
        sign = -1 if slip == "latest" else sign
        return np.argsort(sign * i["used"], kind="stable")
    ties = {
        "ties_listed": np.arange(len(i["names"])),
        "ties_name": i["names"],
        "ties_size": i["sizes"],
    }
    ties["ties_newest"] = ties["exchanged_alone"] = -i["used"]
    if slip == "most" and rule == "popular":  # the most popular goes
        return np.lexsort((i["used"], -i["asked"]))
    return np.lexsort((ties.get(slip, sign * i["used"]), sign * i["asked"]))


def probe_evict(namespace, a):
    made, changed = {}, []
    entries = zip(a["names"], a["sizes"], a["used"], a["asked"], strict=True)
    everybody = {int(n): (int(s), int(u), int(c)) for n, s, u, c in entries}
    for case in EVICT_CASES:
        held = dict(everybody)
        need, capacity, busy, rule = evict_case(a, case)
        before = callers.Before(held, busy)
        call = lambda h=held, n=need, c=capacity, b=busy, r=rule: namespace["evict"](h, n, c, b, r)  # noqa: E731
        try:
            gone = call() if case == "idle" else fixtures.in_case(f"{asked(a, case)}:", call)
        except ValueError as error:
            gone, made["idle_said"] = STOPPED, text(guard.described(error)[1])
        made[f"gone_{case}"] = numbers(gone, "evict", LISTED)
        changed.append(before.change())
    made["left"] = max(changed)
    held = dict(everybody)
    need, capacity, busy, rule = too_much(a)
    call = lambda: namespace["evict"](held, need, capacity, busy, rule)  # noqa: E731
    return made | callers.failing("full", call, ValueError, names=str(need), keep=(held, busy))


def asked(i, case):
    """A case in words."""
    need, capacity, busy, rule = evict_case(i, case)
    free = capacity - int(i["sizes"].sum())
    return f"rule {rule!r}, need = {need}, {free} bytes free, busy {busy or 'nobody'}"


def too_much(i):
    """A case in which the busy ones leave one byte too little."""
    busy = [int(i["names"][int(i["busy"])])]
    free = int(i["slack"]) + int(i["sizes"].sum()) - int(i["sizes"][int(i["busy"])])
    return free + 1, int(i["slack"]) + int(i["sizes"].sum()), busy, "recent"


def gone(i, case, slip=""):
    """Names that go, or those of a mistake."""
    need, capacity, busy, rule = evict_case(i, case)
    free, found = capacity - int(i["sizes"].sum()), []
    if slip == "capacity":
        free = 0
    if slip == "all_free":
        free = capacity
    if slip == "first_busy":
        busy = busy[:1]
    if slip == "busy_free":  # what they hold is not counted
        free += int(i["sizes"][np.isin(i["names"], busy)].sum())
    for place in order(i, rule, slip):
        name = int(i["names"][place])
        if name in busy and slip not in ("busy", "busy_counts"):
            continue
        enough = free > need if slip == "one_more" else free >= need
        if enough and slip != "everybody" and not (slip == "always_one" and not found):
            break
        if slip == "only_one" and found:
            break
        found.append(name)
        free += int(i["sizes"][place])
    if case == "idle" and free < need:
        return STOPPED
    if slip == "pruned":
        size = dict(zip(i["names"].tolist(), i["sizes"].tolist(), strict=True))
        for name in list(found):
            if free - size[name] >= need:
                found.remove(name)
                free -= size[name]
    if slip == "busy_counts":
        found = [name for name in found if name not in busy]
    if slip == "stay":
        found = [name for name in i["names"].tolist() if name not in found]
    if slip == "reversed":
        found.reverse()
    if slip == "set":
        found.sort()
    return np.array(found)


def judge_evict(i, o):
    promises = [callers.unchanged("left", "what evict was given")]
    for case in EVICT_CASES:
        where = asked(i, case)
        said = words(o.get("idle_said", text(""))) if case == "idle" else ""
        promises.append(
            Promise(
                f"gone_{case}",
                gone(i, case),
                f"{where}: who goes",
                rtol=0,
                atol=0,
                seen=said and (lambda v, s=f"{where}: {said}": s),
                expected="an empty list, for there is room" * bool(said),
            )
        )
    full = f"need = {too_much(i)[0]} where the busy ones leave no room"
    promises += callers.raises(o, "full", full, "ValueError", str(too_much(i)[0]), "held and busy")
    return judged(i, o, promises, EVICT)


def leaves(*slips):
    return lambda i: [{f"gone_{case}": gone(i, case, slip) for case in EVICT_CASES}
                      for slip in slips]  # fmt: skip


EVICT = (
    Slip("busy_goes", "A busy adapter went, or its bytes were taken for free. Its request is still "
         "running: take it out of the candidates.",
         leaves("busy", "busy_counts", "busy_free", "first_busy")),
    Slip("everybody", "Nobody more than needed: stop once there is room.", leaves("everybody")),
    Slip("stay", "Those are the ones that stay. Say who goes.", leaves("stay")),
    Slip("newest", "The one used last, or asked for most, goes last.",
         leaves("newest", "latest", "most")),
    Slip("one_rule", "`\"popular\"` looks at how often an adapter was asked for, the third entry.",
         leaves("one_rule")),
    Slip("exchanged", "The two rules are exchanged: `\"recent\"` goes by the second entry, "
         "`\"popular\"` by the third.", leaves("exchanged", "exchanged_alone")),
    Slip("both_popular", "`\"recent\"` looks at when an adapter was used last, the second entry.",
         leaves("both_popular", "recent_count")),
    Slip("ties", "Of two that were asked for equally often, the one used longest ago goes.",
         leaves("ties_listed", "ties_newest", "ties_name", "ties_size")),
    Slip("only_one", "One may not be enough: go on until there is room.", leaves("only_one")),
    Slip("one_more", "When the room is exactly `need`, it is enough.", leaves("one_more")),
    Slip("taken_back", "They go one after the other, and who went is gone, also where a later one "
         "would have been enough.", leaves("pruned")),
    Slip("always_one", "Where there is room already, nobody goes.", leaves("always_one")),
    Slip("free_forgotten", "What is free before anybody goes is capacity minus all that is held.",
         leaves("capacity", "all_free")),
    Slip("by_size", "Size does not decide who goes, only how many.",
         leaves("largest", "smallest", "small_popular")),
    Slip("as_listed", "`held` is in no order. Sort by when it was used, or how often.",
         leaves("as_listed", "by_name", "recent_listed")),
    Slip("changed", "`held` and `busy` are the caller's: no `pop` or `del`. Count the bytes that "
         "get free in a number of your own.", seen_as(left=lambda v: v > 0)),
    Slip("early_error", "Where there is room nobody has to go: that all are busy is no error then. "
         "Raise after the last one, and only where room is still missing.",
         lambda i: {"gone_idle": STOPPED, "gone_room": gone(i, "room"), "gone_all": gone(i, "all"),
                    "gone_busy": gone(i, "busy")}),
    Slip("no_error", "After the last one that may go there is still no room: "
         "`raise ValueError(f\"{need} ...\")`.",
         lambda i: [{"full_error": lambda v: v != 1}, {"full_names": 0}]),
    Slip("reversed", "The list is in the order in which they go.", leaves("reversed", "set")),
)  # fmt: skip

evict = Check(
    name="evict", title="Who goes", wants=("evict",),
    difficulty=3, minutes=15, points=20,
    verified="both rules with ties, busy adapters, exact room, room enough, everybody, no room",
    hints=(
        "Who may go at all? In which order? When do you stop?",
        "Sort those who are not busy by the rule, with a pair as the key for `\"popular\"`. Let go "
        "while what is free is less than `need`.",
        "`sorted(held.keys() - set(busy), key=lambda n: (held[n][2], held[n][1]))`; before each, "
        "`if free >= need: break`; after the loop, `if free < need: raise ValueError(...)`.",
    ),
    slips=EVICT, other="Write three adapters on paper and let them go one by one.",
    make=make_evict, probe=probe_evict, judge=judge_evict,
)  # fmt: skip


# 18.4 Who shares a batch
PLAN_SLIPS = ("mixes", "base_anywhere", "base_counts", "base_alone", "repeats", "newest_only",
              "newest_first", "fullest", "one_row_more", "no_limit", "one_kind_less",
              "one_kind_more", "never_mixes", "all_kinds", "from_one", "always_fewer",
              "repeats_before", "repeats_known", "without_new", "one_row_less", "base_no_row",
              "base_past", "zero_is_one", "zero_is_none")  # fmt: skip
PLAN_CASES = {"alike": (3, 0), "two": (4, 2), "three": (3, 3), "one": (5, 1), "single": (1, 2)}


def make_plan(seed):
    """Requests of four adapters and the base, in an order in which batches stay open."""
    return apart(seed, draw_plan, PLAN_SLIPS, placed_everywhere)


def placed_everywhere(i, slip):
    """The batches of each case, one after the other."""
    return np.concatenate([placed(i, case, slip) for case in PLAN_CASES])


def draw_plan(rng):
    names = rng.permutation(np.arange(3, 20))[:4]
    middle = rng.permutation(np.array([*names, *names, -1, -1, -1, names[0], names[1]]))
    return {"whose": np.array([-1, names[0], names[1], names[2], *middle])}


def probe_plan(namespace, a):
    made, changed = {}, []
    for case, (rows, kinds) in PLAN_CASES.items():
        whose = [int(k) for k in a["whose"]]
        before = callers.Before(whose)
        placed = namespace["plan"](whose, rows, kinds)
        made[f"batch_{case}"] = numbers(placed, "plan", "the batch of each request.")
        changed.append(before.change())
    return made | {"left": max(changed)}


def placed(i, case, slip=""):
    """The batch of each request, or that of a mistake."""
    rows, kinds = PLAN_CASES[case]
    batches, found = [], []
    arrived = sorted(i["whose"]) if slip == "sorted" else i["whose"]
    for k in (int(k) for k in arrived):
        open_ = list(range(len(batches)))
        if slip == "newest_only":
            open_ = open_[-1:]
        if slip == "newest_first":
            open_ = open_[::-1]
        if slip == "fullest":
            open_.sort(key=lambda n: -len(batches[n]))
        for number in open_:
            if takes(batches[number], k, rows, kinds, slip):
                break
        else:
            number = len(batches)
            batches.append([])
        batches[number].append(k)
        found.append(number + (slip == "from_one"))
    return np.array(found)


def takes(batch, k, rows, kinds, slip):
    """Whether a batch may take one more request."""
    count = len(batch) - {"one_row_more": 1, "one_row_less": -1}.get(slip, 0)
    if slip == "base_no_row" or slip == "base_past" and k == -1:
        count = sum(n != -1 for n in batch) if slip == "base_no_row" else 0
    full = count >= rows
    if full and slip != "no_limit":
        return False
    if kinds == 0 and slip in ("zero_is_one", "zero_is_none"):
        return len({*batch, k} - {-1}) <= (slip == "zero_is_one")
    if kinds == 0:
        mixed = slip == "mixes" or slip == "base_anywhere" and -1 in (k, batch[0])
        return mixed or batch[0] == k
    other, before = {*batch, k}, sum(n != -1 for n in batch)
    if slip != "base_counts":
        other -= {-1}
    if slip == "repeats":
        return before + (k != -1) <= kinds
    if slip in ("repeats_before", "repeats_known"):
        return before < kinds or slip == "repeats_known" and k in batch
    if slip == "base_alone" and (-1 in batch) != (k == -1):
        return False
    if slip == "base_always" and k == -1:
        return True
    if slip == "one_kind_less":
        return len(other) < kinds or len(other) <= 1
    if slip == "one_kind_more":
        return len(other) <= kinds + 1
    if slip == "without_new":
        return len(set(batch) - {-1}) <= kinds
    if slip == "always_fewer":
        return len(set(batch) - {-1}) < kinds
    if slip == "never_mixes":
        return len(other) <= 1
    return slip == "all_kinds" or len(other) <= kinds


def judge_plan(i, o):
    whose = ", ".join(str(int(k)) for k in i["whose"])
    promises = [
        Promise(f"batch_{case}", placed(i, case), f"for adapters {whose}, rows = {rows}, kinds = "
                f"{kinds}: the batch of request", rtol=0, atol=0)
        for case, (rows, kinds) in PLAN_CASES.items()
    ]  # fmt: skip
    promises.insert(0, callers.unchanged("left", "the list `whose`"))
    return judged(i, o, promises, PLAN)


def plans(*slips):
    return lambda i: [{f"batch_{case}": placed(i, case, slip) for case in PLAN_CASES}
                      for slip in slips]  # fmt: skip


PLAN = (
    Slip("mixes", "With kinds = 0 the engine does not mix: one adapter in a batch.",
         plans("mixes", "zero_is_none")),
    Slip("base_anywhere", "With kinds = 0 the base alone is a kind of its own.",
         plans("base_anywhere", "zero_is_one")),
    Slip("base_counts", "With kinds from 1 up, requests for the base alone count as no adapter.",
         plans("base_counts")),
    Slip("base_alone", "With kinds from 1 up, requests for the base alone go with anybody.",
         plans("base_alone")),
    Slip("repeats", "Count different adapters: two requests for the same one are one kind.",
         plans("repeats", "repeats_before", "repeats_known")),
    Slip("newest_only", "A request may go into any open batch, the oldest first. Batches stay "
         "open until they are full.", plans("newest_only")),
    Slip("wrong_batch", "Of the batches that may take it, the oldest takes it.",
         plans("newest_first", "fullest")),
    Slip("one_row_more", "A batch has at most `rows` requests, those for the base alone too.",
         plans("one_row_more", "one_row_less", "no_limit", "base_no_row", "base_past")),
    Slip("kinds_off", "At most `kinds` different adapters, the new one included.",
         plans("one_kind_less", "one_kind_more", "never_mixes", "all_kinds", "without_new",
               "always_fewer")),
    Slip("sorted", "The requests are placed in the order in which they arrive. Do not sort them.",
         plans("sorted")),
    Slip("changed", "`whose` is the caller's: no `sort`, `pop` or `remove` on it.",
         seen_as(left=lambda v: v > 0)),
    Slip("from_one", "The first batch is number 0.", plans("from_one")),
)  # fmt: skip

plan = Check(
    name="plan", title="Who shares a batch", wants=("plan",),
    difficulty=3, minutes=15, points=20,
    verified="an engine that does not mix, and batches of one, two and three kinds",
    hints=(
        "Go through the batches from the oldest one. What two things may forbid a request?",
        "Room for another row, and its kind: the same as the batch's for kinds = 0; else the set "
        "of adapters with the new one, without −1, must not be larger than `kinds`.",
        "`alike = batch[0] == k if kinds == 0 else len({*batch, k} - {-1}) <= kinds`, and "
        "`len(batch) < rows`; where no batch takes it, append a new one.",
    ),
    slips=PLAN, other="Place the first five requests by hand.",
    make=make_plan, probe=probe_plan, judge=judge_plan,
)  # fmt: skip


# 18.5 What is reused
REUSE_CASES = ("other", "first", "last", "tie", "none", "later", "one", "base", "begun", "full")
PAIR = ("the entry", "the tokens saved")


def make_reuse(seed):
    rng = np.random.default_rng(seed + 1840)
    ids = rng.permutation(np.arange(10, 90))[:8]
    return {"ids": ids, "owners": rng.permutation(np.arange(2, 9))[:2], "cut": rng.integers(3, 6),
            "fresh": rng.permutation(np.arange(100, 150))[:8]}  # fmt: skip


def reuse_case(i, case):
    """(kept, adapter, ids) of a case."""
    ids, new = [int(n) for n in i["ids"]], [int(n) for n in i["fresh"]]
    mine, other = (int(n) for n in i["owners"])
    cut = int(i["cut"])
    part = [ids[:n] + new[: 8 - n] for n in range(8)]  # n tokens in common
    return {
        "other": ([(other, part[7]), (mine, part[2]), (mine, part[cut]), (-1, part[6])], mine, ids),
        "first": ([(mine, part[cut]), (mine, part[2])], mine, ids),
        "last": ([(mine, part[2]), (mine, ids + new[:3])], mine, ids),
        "tie": ([(mine, part[1]), (mine, part[cut]), (mine, ids[:cut])], mine, ids),
        "none": ([(mine, new), (other, ids), (mine, [new[0], *ids[1:]])], mine, ids),
        "later": ([(mine, new[:1] + ids[:7]), (mine, [*ids[:2], new[0], *ids[3:]])], mine, ids),
        "one": ([(mine, ids)], mine, ids[:1]),
        "begun": ([(mine, part[1]), (mine, ids[:cut])], mine, ids),
        "full": ([(mine, part[7]), (mine, ids)], mine, ids),
        "base": ([(mine, ids), (-1, part[cut])], -1, ids),
    }[case]


def probe_reuse(namespace, a):
    made, changed = {}, []
    for case in REUSE_CASES:
        kept, adapter, ids = reuse_case(a, case)
        before = callers.Before(kept, ids)
        found = fixtures.several(namespace["reuse"](kept, adapter, ids), PAIR, "reuse")
        made |= {f"entry_{case}": found[0], f"saved_{case}": found[1]}
        changed.append(before.change())
    return made | {"left": max(changed)}


def saved(i, case, slip=""):
    """(entry, tokens), or that of a mistake."""
    kept, adapter, ids = reuse_case(i, case)
    best, longest = (-1, 0), 0
    for entry, (owner, old) in enumerate(kept):
        if owner != adapter and slip != "any_adapter" and not (slip == "base_any" and adapter < 0):
            if not (slip == "base_fits_all" and owner == -1):
                continue
        end = min(len(old), len(ids) - (slip not in ("whole", "one_off")))
        same = next((n for n in range(end) if old[n] != ids[n]), end) - (slip == "one_off")
        if slip == "old_last":
            same = min(same, len(old) - 1)
        if slip == "anywhere":
            same = sum(a == b for a, b in zip(old[:end], ids[:end], strict=True))
        if slip == "shifted":  # the new prompt's beginning, wherever it stands in the old one
            same = max(
                m for m in range(len(ids)) for n in range(len(old)) if old[n : n + m] == ids[:m]
            )
        if slip == "sets":
            same = len({*old} & {*ids[:-1]})
        if slip == "entire":
            same *= same == len(old)
        if slip == "clipped":
            same += old[:8] == ids
        better = same > best[1] or slip in ("last_tie", "last_zero") and same == best[1]
        better &= same > 0 or slip == "last_zero"
        if slip == "first_hit":
            better = best[0] < 0 and same > 0
        if slip in ("longest", "longest_hit"):
            better = len(old) > longest and (same > 0 or slip == "longest")
            longest = len(old) if better else longest
        if better:
            best = (entry, same)
    if slip == "zero_entry" and best[0] < 0:
        best = (0, 0)
    if slip == "from_one" and best[0] >= 0:
        best = (best[0] + 1, best[1])
    if slip == "left_over":
        best = (best[0], len(ids) - best[1])
    if slip == "owner" and best[0] >= 0:
        best = (kept[best[0]][0], best[1])
    if slip == "minus_one" and best[0] >= 0:
        best = (best[0], best[1] - 1) if best[1] < len(ids) - 1 else best
    if slip == "always_minus":
        best = (best[0], max(best[1] - 1, 0))
    if slip == "among" and best[0] >= 0:  # the others' entries left out first
        best = (sum(owner == adapter for owner, _ in kept[: best[0]]), best[1])
    if slip == "clipped":
        best = (best[0], min(best[1], len(ids) - 1)) if len(ids) > 1 else (-1, 0)
    return best


def judge_reuse(i, o):
    promises = []
    for case in REUSE_CASES:
        kept, adapter, ids = reuse_case(i, case)
        where = f"for adapter {adapter}, ids {ids} and kept {kept}:"
        entry, tokens = saved(i, case)
        promises.append(Promise(f"saved_{case}", tokens, f"{where} the tokens saved", atol=0.1))
        promises.append(Promise(f"entry_{case}", entry, f"{where} the entry", atol=0.1))
    promises.insert(0, callers.unchanged("left", "kept or ids"))
    return judged(i, o, promises, REUSE)


def saves(*slips):
    """All the cases' entries and tokens."""

    def values(i, slip):
        pairs = {case: saved(i, case, slip) for case in REUSE_CASES}
        made = {f"entry_{case}": pair[0] for case, pair in pairs.items()}
        return made | {f"saved_{case}": pair[1] for case, pair in pairs.items()}

    return lambda i: [values(i, slip) for slip in slips]


def turned(i):
    """The two values of every case, the other way round."""
    (right,) = saves("")(i)
    other = {"entry": "saved", "saved": "entry"}
    return {f"{other[k[:5]]}_{k[6:]}": value for k, value in right.items()}


REUSE = (
    Slip("any_adapter", "Keys and values of another adapter are other numbers, also for the same "
         "tokens. Compare adapters first.", saves("any_adapter", "base_any")),
    Slip("base_fits_all", "What the base read alone has no B A in it; an adapter cannot go on from "
         "that.", saves("base_fits_all")),
    Slip("whole", "The last token is computed in any case, so at most len(ids) − 1 are saved.",
         saves("whole")),
    Slip("anywhere", "Keys and values of a token hold all that stands before it. The common part "
         "ends at the first difference.", saves("anywhere", "shifted", "sets")),
    Slip("entire", "An entry need not be taken over as a whole: what both begin with counts.",
         saves("entire")),
    Slip("last_tie", "Of two entries that save equally much, the first one. One that holds the "
         "whole prompt saves no more than all but its last token.",
         saves("last_tie", "last_zero", "clipped")),
    Slip("first_hit", "Not the first entry that saves something, but the one that saves most.",
         saves("first_hit")),
    Slip("turned", "First the number of the entry, then the tokens that it saves.", turned),
    Slip("from_one", "The first entry is number 0.", saves("from_one")),
    Slip("left_over", "That is what is left to compute. How many tokens are saved?",
         saves("left_over")),
    Slip("owner", "The number of the entry, its place in `kept`, not of its adapter.",
         saves("owner", "among")),
    Slip("longest", "Not the longest prompt that was kept, but the one with most tokens in common.",
         saves("longest", "longest_hit")),
    Slip("changed", "`kept` and `ids` are the caller's, and the next prompt may use the same entry "
         "again. Do not pop.", seen_as(left=lambda v: v > 0)),
    Slip("zero_entry", "Entry 0 is an entry. Where none saves anything the answer is (-1, 0).",
         saves("zero_entry")),
    Slip("old_last", "Of the kept prompt every token was computed, its last one too. Only that of "
         "the new prompt is wanted.", saves("old_last")),
    Slip("one_less", "The last token of the new prompt is computed; what two prompts have in "
         "common before it is saved as a whole.", saves("minus_one", "always_minus", "one_off")),
)  # fmt: skip

reuse = Check(
    name="reuse", title="What the prefix cache saves", wants=("reuse",),
    difficulty=2, minutes=12, points=20,
    verified="other adapters, ties, a whole prompt kept, nothing in common, a prompt of one token",
    hints=(
        "Two prompts have their first five tokens in common. What else must they have in common?",
        "For every entry of the same adapter, count equal tokens from the start, up to "
        "len(ids) − 1. Keep the best, and replace it by a better one only.",
        "`while same < min(len(old), len(ids) - 1) and old[same] == ids[same]: same += 1`, then "
        "`if owner == adapter and same > best[1]`.",
    ),
    slips=REUSE, other="Write two prompts above each other and mark where they part.",
    make=make_reuse, probe=probe_reuse, judge=judge_reuse,
)  # fmt: skip

EXERCISES = (packed, fleet, evict, plan, reuse)
