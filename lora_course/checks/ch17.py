"""Checks of chapter 17: copies, backward by hand, accumulation, bytes on a rank, drift."""

import math

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, judged, seen_as
from lora_course.checks.values import array

# 17.1 Copies of x
LAYERS = {  # what the layer keeps for backward
    "wide": "a float32 copy of a bfloat16 x",
    "three": "three float32 copies",
    "own": "x itself and a view of it",
    "twice": "one copy, kept twice",
    "twin": "a copy in x's own type",
    "double": "a float64 copy of a float32 x",
    "scaled": "2 x in float32, which is no copy",
    "flat": "a copy with its axes joined",
    "both": "x itself and a float32 copy",
    "neighbour": "numbers as many as x, of a parameter",
    "third": "two of three copies that lie in one storage",
    "near": "x times 1.000004 but for one column, which is no copy",
    "narrow": "a bfloat16 copy of a float32 x, whose numbers were rounded",
    "turned": "the rows of x from last to first",
}
FULL = ("double", "near", "narrow")  # x is float32


def make_copies(seed):
    rng = np.random.default_rng(seed + 1710)
    f, (rows, tokens, d) = fixtures.normal(rng), fixtures.sizes(rng, 3, 3, 9)
    return {"x": f(rows, tokens, d) + 0.5}


def keeping(case, x):
    """A layer that keeps what LAYERS says, and the x that goes with it."""
    import torch
    from torch import nn

    x = x if case in FULL else x.bfloat16()
    x = torch.cat([x, x])[len(x) :]  # lies in the middle of its storage
    d = x.shape[-1]

    class Keeper(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.weight = nn.Parameter(torch.ones(d))
            self.like = nn.Parameter(x.detach().float() + 1)

        def forward(self, x):
            self.calls += 1
            own, w = self.weight.to(x.dtype), self.weight
            if case == "wide":
                return x.float().square()  # kept for x alone: not for one that was detached
            if case == "three":
                return x.float() * w + x.float() * w + x.float() * w
            if case == "own":
                return x * own + x.view(-1, d).view_as(x) * own
            if case == "twice":
                wide = x.float()
                return wide * w + wide * (2 * w)
            if case == "twin":
                return x.clone() * own
            if case == "double":
                return x.double() * self.weight.double()
            if case == "scaled":
                return (2 * x.float()) * w
            if case == "flat":
                return x.float().reshape(-1, d) * w
            if case == "both":
                return (x * own).float() + x.float() * w
            if case == "third":
                first, second, _ = torch.cat(3 * [x.float()]).chunk(3)
                return first * w + second * (2 * w)
            if case == "near":
                return (x * (1 + 2**-18 * (torch.arange(d) > 0))) * w
            if case == "narrow":
                return x.bfloat16() * w.bfloat16()
            if case == "turned":
                return x.float().flip(0) * w
            return x.float().square().mul(0) + self.like * self.like  # x wants no gradient

    return Keeper(), x


def probe_copies(namespace, a):
    made = {}
    for case in LAYERS:
        layer, x = keeping(case, tensor(a["x"]))
        x.requires_grad_(case != "neighbour")
        before = callers.Before(layer, x)
        made[f"bytes_{case}"] = array(namespace["copies"](layer, x), "copies(...)")
        made[f"left_{case}"] = before.change()
        made[f"grad_{case}"] = x.grad is not None or layer.weight.grad is not None
        made[f"calls_{case}"] = layer.calls
    return made


def copied(i, case, kind=""):
    """Bytes of the copies that a layer keeps, or what a mistake makes of them."""
    n = i["x"].size
    size = {"double": 4}.get(case, 2)
    right = {"wide": 4, "three": 12, "twice": 4, "twin": 2, "double": 8, "flat": 4, "both": 4,
             "third": 4}  # fmt: skip
    bytes_each = right.get(case, 0)
    other = {
        "own": {"own": size, "both": 4 + size},  # x itself counted as well
        "views": {"own": size},  # x itself is known, a view of it is not
        "types": {"twin": 0},  # only other types are taken for copies
        "again": {"twice": 8, "third": 8}, "by_place": {"third": 8}, "storage": {"third": 12},
        "as_many": {"scaled": 4, "neighbour": 4, "near": 4, "narrow": 2, "turned": 4},
        "tolerant": {"near": 4, "narrow": 2}, "near": {"near": 4}, "narrow": {"narrow": 2},
        "turned": {"turned": 4}, "largest": {"three": 4}, "shape": {"flat": 0},
        "detached": {"wide": 0}, "awake": {"neighbour": 4},
    }  # fmt: skip
    bytes_each = other.get(kind, {}).get(case, bytes_each)
    if kind == "numbers":
        return bytes_each // {"double": 8, "twin": 2}.get(case, 4) * n
    if kind == "of_x":
        return bytes_each // {"double": 8, "twin": 2}.get(case, 4) * size * n
    return bytes_each * n


def judge_copies(i, o):
    promises = []
    for case, words in LAYERS.items():
        promises += [
            Promise(f"bytes_{case}", copied(i, case), f"a layer that keeps {words}: bytes",
                    rtol=0, atol=0.5),
            callers.unchanged(f"left_{case}", "the layer or x"),
            Promise(f"grad_{case}", 0, seen="a gradient was left behind", expected="none"),
            Promise(f"calls_{case}", 1, "calls of the layer"),
        ]  # fmt: skip
    return judged(i, o, promises, COPIES)


def counts(*kinds):
    return lambda i: [{f"bytes_{c}": copied(i, c, kind) for c in LAYERS} for kind in kinds]


COPIES = (
    Slip("x_itself", "x lies in memory anyway: a tensor in x's own storage is no copy.",
         counts("own", "views")),
    Slip("only_types", "A copy may have x's own type: look at where it lies, not at its type.",
         counts("types")),
    Slip("counted_twice", "A tensor that is kept twice lies in memory once: remember storages.",
         counts("again", "by_place")),
    Slip("whole_storage", "Other things lie in that storage too: count the bytes of one copy.",
         counts("storage")),
    Slip("one_copy", "There are several copies: add up their bytes.", counts("largest")),
    Slip("nearly", "Nearly x is not x: compare all numbers, with `torch.equal` and no tolerance.",
         counts("near", "tolerant")),
    Slip("rounded", "What was rounded has other numbers than x: bring the tensor to x's type, "
         "not x to the tensor's.", counts("narrow")),
    Slip("another_order", "The same numbers in another order are no copy.", counts("turned")),
    Slip("twice_called", "One call of the layer, and no backward: `pack` sees each tensor at the "
         "moment when it is kept.",
         lambda i: [{"calls_wide": lambda v: v != 1}, {"grad_wide": 1}]),
    Slip("other_x", "Call the layer on x itself, as it is: what is kept depends on whether x wants "
         "a gradient.", counts("detached", "awake")),
    Slip("not_compared", "As many numbers as x are no copy of x: compare them.",
         counts("as_many")),
    Slip("other_shape", "A copy may have its axes joined: compare the numbers in order, flat.",
         counts("shape")),
    Slip("numbers", "That is how many numbers there are. Bytes are asked for.",
         counts("numbers")),
    Slip("size_of_x", "A float32 copy of a bfloat16 x has 4 bytes a number: ask the copy.",
         counts("of_x")),
)  # fmt: skip

copies = Check(
    name="copies", title="Find the copies", wants=("copies",),
    difficulty=2, minutes=12, points=15,
    verified="fourteen layers: copies in three types, shared, joined, of x itself, and what looks "
    "like one",
    hints=(
        "Where can one see each tensor that autograd keeps, at the moment when it keeps it?",
        "`torch.autograd.graph.saved_tensors_hooks(pack, unpack)` around the call; in `pack` "
        "compare `untyped_storage().data_ptr()` with that of x, then the numbers.",
        "`same = t.numel() == x.numel() and torch.equal(t.flatten().to(x.dtype), x.flatten())`; "
        "keep `{pointer: t.nbytes}` in a dict, so that each storage counts once.",
    ),
    slips=COPIES, other="Print type, shape and storage of each kept tensor for that layer.",
    make=make_copies, probe=probe_copies, judge=judge_copies,
)  # fmt: skip


# 17.2 Backward by hand
HAND = ("plain", "dropped", "mixed")  # no mask; a mask; a mask and a bfloat16 x and W
TENSORS = ("x", "W", "A", "B", "g")


def make_by_hand(seed):
    rng = np.random.default_rng(seed + 1720)
    f, made = fixtures.normal(rng), {}
    for case in HAND:
        (N, d_in, d_out), r = fixtures.sizes(rng, 3, 12, 24), int(rng.integers(2, 5))
        shapes = ((N, d_in), (d_out, d_in), (r, d_in), (d_out, r), (N, d_out))
        for name, shape in zip(TENSORS, shapes, strict=True):
            made[f"{name}_{case}"] = f(*shape)
        made[f"kept_{case}"] = rng.random((N, d_in)) < 0.7
        made[f"numbers_{case}"] = np.array([rng.uniform(1.5, 3), rng.choice([0.2, 0.3, 0.4])])
    return made


def on_ctx(node):
    """The tensors among the attributes of ctx, also those in a list, tuple or dict."""
    import torch

    found, left = [], list(getattr(node, "__dict__", {}).values())
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | dict):
            left += value.values() if isinstance(value, dict) else value
    return found


def probe_by_hand(namespace, a):
    import torch

    Function, made = namespace["HandLoRA"], {}
    fixtures.expect(Function, type, "HandLoRA", "a class")
    for case in HAND:
        x, W, A, B, g = (tensor(a[f"{name}_{case}"]) for name in TENSORS)
        scaling, p = (float(n) for n in a[f"numbers_{case}"])
        kept = None if case == "plain" else tensor(a[f"kept_{case}"])
        if case == "mixed":
            x, W, g = x.bfloat16(), W.bfloat16(), g.bfloat16()
        for t in (x, A, B):
            t.requires_grad_()
        given = [t for t in (x, W, A, B, kept) if t is not None]
        known, extra = {t.untyped_storage()._cdata for t in given}, {}
        before = callers.Before(*given, g)

        def pack(t, known=known, extra=extra):
            if t.untyped_storage()._cdata not in known:
                extra[t.untyped_storage()._cdata] = t.untyped_storage().nbytes(), t
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = Function.apply(x, W, A, B, scaling, kept, p)
        for t in on_ctx(y.grad_fn):  # kept as ctx.name = tensor
            pack(t)
        made[f"extra_{case}"] = sum(size for size, _ in extra.values())
        made[f"y_{case}"] = array(y.float(), "the output")
        made[f"type_{case}"] = y.dtype == x.dtype
        if y.dtype != x.dtype:
            made[f"left_{case}"] = before.change()
            return made
        y.backward(g)
        for name, t in (("x", x), ("A", A), ("B", B)):
            if t.grad is not None:
                made[f"d{name}_{case}"] = array(t.grad.float(), f"the gradient of {name}")
        made[f"left_{case}"] = before.change()
    return made


def by_hand(i, case, kind=""):
    """{"y", "dx", "dA", "dB"} in float64, or those of a mistake."""
    x, W, A, B, g = (i[f"{name}_{case}"].astype(np.float64) for name in TENSORS)
    s, p = i[f"numbers_{case}"]
    keep = np.ones_like(x) if case == "plain" else i[f"kept_{case}"] / (1 - p)
    drops = case != "plain"
    if drops and kind in ("unscaled_mask", "inverted"):
        keep = keep * (1 - p) if kind == "unscaled_mask" else 1 / (1 - p) - keep
    left, on_W, on_A = x * keep, g @ W, s * (g @ B @ A)
    y, dx = x @ W.T + s * left @ A.T @ B.T, on_W + on_A * keep
    dA, dB = s * (g @ B).T @ left, s * g.T @ (left @ A.T)
    bare = {"dx": on_W + on_A * keep / s, "dA": dA / s, "dB": dB / s}
    forward = {"unscaled_forward": 1 - p, "divided_by_p": (1 - p) / p} if drops else {}
    forward |= {"no_scale_y": 1 / s, "always_divided": 1 if drops else 1 / (1 - p)}
    other = {kind: {"y": x @ W.T + factor * (y - x @ W.T)} for kind, factor in forward.items()} | {
        "no_scale": bare, "no_scale_x": {"dx": bare["dx"]}, "no_scale_A": {"dA": bare["dA"]},
        "no_scale_B": {"dB": bare["dB"]}, "no_scale_factors": {"dA": dA / s, "dB": dB / s},
        "scale_twice_A": {"dA": s * dA}, "scale_twice_B": {"dB": s * dB},
        "mean_A": {"dA": dA / len(x)}, "mean_B": {"dB": dB / len(x)},
        "mean_both": {"dA": dA / len(x), "dB": dB / len(x)},
        "base_scaled": {"y": y + (s - 1) * x @ W.T},
        "unscaled_back": {"dx": on_W + on_A * keep * (1 - p if drops else 1)},
        "divided_back": {"dx": on_W + on_A / (1 - p if drops else 1)},
        "base_only": {"dx": on_W}, "update_only": {"dx": on_A * keep},
        "mask_not_back": {"dx": on_W + on_A}, "mask_all_back": {"dx": (on_W + on_A) * keep},
        "A_from_x": {"dA": s * (g @ B).T @ x}, "B_from_x": {"dB": s * g.T @ (x @ A.T)},
        "x_for_left": {"dA": s * (g @ B).T @ x, "dB": s * g.T @ (x @ A.T)},
        "y_dropped": {"y": y + (left - x) @ W.T},
        "all_dropped": {"y": y + (left - x) @ W.T, "dx": (on_W + on_A) * keep},
    }  # fmt: skip
    made = {"y": y, "dx": dx, "dA": dA, "dB": dB} | other.get(kind, {})
    return {f"{key}_{case}": value for key, value in made.items()}


def judge_by_hand(i, o):
    words = {"plain": "without a mask", "dropped": "with a mask", "mixed": "x and W in bfloat16"}
    what = {"y": "the output", "dx": "the gradient of x", "dA": "the gradient of A",
            "dB": "the gradient of B"}  # fmt: skip
    promises = []
    for case, told in words.items():
        right, (N, r) = by_hand(i, case), (len(i[f"x_{case}"]), len(i[f"A_{case}"]))
        loose = 0.03 if case == "mixed" else 1e-3  # of the largest number: bfloat16 has 8 bits
        first, *others = (
            Promise(f"{key}_{case}", right[f"{key}_{case}"], f"{told}: {text}", rtol=loose,
                    atol=loose * np.abs(right[f"{key}_{case}"]).max())
            for key, text in what.items()
        )  # fmt: skip
        promises += [
            callers.unchanged(f"left_{case}", "a tensor that was given"),
            first,
            Promise(f"type_{case}", 1, seen=f"{told}: the output has another type than x",
                    expected="the type of x"),
            *others,
            Promise(f"extra_{case}", lambda v, most=4 * N * r: v.size == 1 and 0 <= v <= most,
                    f"{told}: bytes kept beside x, W, A, B and the mask",
                    expected=f"at most {4 * N * r}, r numbers for each of {N} rows", share=0.5),
        ]  # fmt: skip
    return judged(i, o, promises, BY_HAND, last=(MUCH,))


def hand_is(*kinds):
    return lambda i: [
        {key: value for case in HAND for key, value in by_hand(i, case, kind).items()}
        for kind in kinds
    ]


def left_bytes(i):
    """Bytes kept with x times the mask, with and without what A makes of it."""
    made = []
    for cases in (("dropped",), ("plain", "dropped")):
        for count in (0, 1):
            made.append({})
            for case in cases:
                (N, d_in), r = i[f"x_{case}"].shape, len(i[f"A_{case}"])
                made[-1][f"extra_{case}"] = 4 * N * (d_in + count * r)
    return made


def outputs_of(i, kind):
    """The outputs of a mistake, whatever backward does."""
    return [{f"y_{case}": by_hand(i, case, kind)[f"y_{case}"] for case in HAND}]


BY_HAND = (
    Slip("unscaled_mask", "What dropout keeps is divided by 1 - p.",
         lambda i: [*hand_is("unscaled_mask")(i), *outputs_of(i, "unscaled_forward"),
                    {f"{k}_{c}": by_hand(i, c, "unscaled_back")[f"{k}_{c}"]
                     for c in HAND for k in ("y", "dx")}]),
    Slip("mean", "The gradients of A and B are sums over the rows. A mean, if there is one, is in "
         "g already.", hand_is("mean_A", "mean_B", "mean_both")),
    Slip("base_scaled", "The scale belongs to the update alone, not to x Wᵀ.",
         lambda i: outputs_of(i, "base_scaled")),
    Slip("divided_by_p", "p is the share that is dropped: divide by what is kept, 1 - p.",
         lambda i: outputs_of(i, "divided_by_p")),
    Slip("no_mask", "Without a mask nothing is dropped, and nothing is divided by 1 - p.",
         lambda i: outputs_of(i, "always_divided")),
    Slip("inverted", "The mask is True where a number is kept.", hand_is("inverted")),
    Slip("scale_lost", "The scale is part of the path to A, B and x alike.",
         lambda i: hand_is("no_scale", "no_scale_x", "no_scale_factors", "no_scale_A",
                           "no_scale_B")(i) + outputs_of(i, "no_scale_y")),
    Slip("scale_twice", "The scale is on each path once: it is in s · (g B) already.",
         hand_is("scale_twice_A", "scale_twice_B")),
    Slip("base_only", "x reaches y on two paths: through W, and through A and B. Their gradients "
         "add.", hand_is("base_only", "update_only")),
    Slip("mask_not_back", "What was dropped on the way into A gets nothing back on that path.",
         hand_is("mask_not_back", "divided_back")),
    Slip("mask_everywhere", "The path through W is not dropped, forward or back.",
         lambda i: [*hand_is("mask_all_back", "all_dropped")(i),
                    *outputs_of(i, "y_dropped")]),
    Slip("x_undropped", "A saw what dropout left of x, so its gradient is made from that; B's "
         "from what A made of it.", hand_is("x_for_left", "A_from_x", "B_from_x")),
    Slip("own_type", "A and B come to x's type, not x to theirs: `A.to(x.dtype)`. Then y has it.",
         lambda i: {"type_mixed": 0}),
    Slip("changed", "x, W, A, B, the mask and g belong to the caller: no `*=` or `mul_` on them.",
         lambda i: [{f"left_{case}": lambda v: v > 0} for case in HAND]),
    Slip("left_kept", "What dropout left is as large as x: make it again in backward, from x and "
         "the mask.", left_bytes),
)  # fmt: skip
MUCH = Slip("much_kept", "Keep what was given, and x Aᵀ at most: all else can be made again in "
            "backward.", lambda i: [{f"extra_{case}": np.any} for case in HAND])  # fmt: skip

hand_lora = Check(
    name="hand_lora", title="Backward by hand", wants=("HandLoRA",),
    difficulty=4, minutes=25, points=30,
    verified="output and three gradients, with and without a mask, bfloat16 with float32 factors, "
    "and the bytes kept",
    hints=(
        "Name what goes into A: x times the mask, divided by 1 - p. The formulas of the chapter "
        "hold with it in place of x. Which of them hands something back to x itself?",
        "`left = x * kept / (1 - p)`, `down = left @ A.T`. Save x, W, A, B, kept and down. Back: "
        "`small = s * g @ B`; on to A by `small.T @ left`, to B by `s * g.T @ down`, to x by "
        "`g @ W` plus `small @ A` where it was kept.",
        "Make `left` again in backward, do not save it. Cast A and B to x's type in both. Return "
        "`dx, None, dA, dB, None, None, None`.",
    ),
    slips=(*BY_HAND, MUCH), other="Set W, then A to zero, and compare that path with autograd's.",
    make=make_by_hand, probe=probe_by_hand, judge=judge_by_hand,
)  # fmt: skip


# 17.3 Accumulation
STEPS = {"even": (3, 3), "uneven": (1, 5, 2), "empty": (4, 0, 2), "one": (3,)}  # tokens asked for


def make_accumulate(seed):
    """Batches of a model of two tables. The first label of a row is never asked for."""
    rng = np.random.default_rng(seed + 1730)
    f, (V, d) = fixtures.normal(rng), fixtures.sizes(rng, 2, 5, 10)
    made = {"E": f(V, d), "H": f(V, d), "old": f(V, d)}
    for case, asked in STEPS.items():
        for n, count in enumerate(asked):
            B, T = 2 + n % 2, int(rng.integers(5, 8))
            ids, labels = rng.integers(0, V, (B, T)), np.full((B, T), -100)
            labels[: 1 + n % 2, 0] = ids[: 1 + n % 2, 0]  # under the first position nothing is said
            places = rng.permutation(B * (T - 1))[:count]
            labels[places // (T - 1), 1 + places % (T - 1)] = rng.integers(0, V, count)
            made |= {f"ids_{case}{n}": ids, f"labels_{case}{n}": labels}
    return made


def tables(a):
    """A model with the interface of transformers: mean loss over the labels of the next tokens."""
    from types import SimpleNamespace
    from weakref import WeakSet

    import torch
    from torch import nn

    class Kept:
        def __init__(self, t):
            self.t = t

    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.E, self.H = (nn.Parameter(tensor(a[key])) for key in ("E", "H"))
            self.frozen = nn.Parameter(tensor(a["old"]), requires_grad=False)
            self.kept, self.seen = WeakSet(), []  # seen: at each forward, what a graph still keeps

        def forward(self, input_ids, labels):
            self.seen.append(len(self.kept))
            asked = labels[:, 1:].flatten()

            def pack(t):
                kept = Kept(t)
                if (asked != -100).any():
                    self.kept.add(kept)
                return kept

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.t):
                logits = self.E[input_ids] @ self.H.T  # (B, T, V)
            flat = logits[:, :-1].flatten(0, 1)
            return SimpleNamespace(loss=nn.functional.cross_entropy(flat, asked), logits=logits)

    return Tables()


def probe_accumulate(namespace, a):
    made = {}
    for case, asked in STEPS.items():
        model = tables(a).train(case != "one")
        model.H.grad = tensor(a["old"]).clone()  # of a step before
        data = [
            {"input_ids": tensor(a[f"ids_{case}{n}"]), "labels": tensor(a[f"labels_{case}{n}"])}
            for n in range(len(asked))
        ]
        before = callers.Before(model, *data)
        loss = namespace["accumulate"](model, data)
        made[f"loss_{case}"] = array(loss, "the loss")
        made[f"graph_{case}"] = bool(getattr(loss, "requires_grad", False))
        for name in ("E", "H"):
            g = getattr(model, name).grad
            made[f"{name}_{case}"] = np.zeros_like(a[name]) if g is None else array(g, "a gradient")
        made[f"left_{case}"] = before.change() or 5 * (len(data) != len(asked))
        made[f"calls_{case}"] = len(model.seen)
        made[f"freed_{case}"] = not any(model.seen)
    return made


def one_batch(i, case, n):
    """(sum of losses, gradients of E and H of that sum, tokens asked for) of one batch."""
    E, H = (i[key].astype(np.float64) for key in ("E", "H"))
    ids, labels = i[f"ids_{case}{n}"][:, :-1].ravel(), i[f"labels_{case}{n}"][:, 1:].ravel()
    ids, labels = ids[labels != -100], labels[labels != -100]
    logits = E[ids] @ H.T
    logits -= logits.max(1, keepdims=True)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(shares[np.arange(len(ids)), labels]).sum()
    shares[np.arange(len(ids)), labels] -= 1
    dE = np.zeros_like(E)
    np.add.at(dE, ids, shares @ H)
    return loss, dE, shares.T @ E[ids], len(ids)


def accumulated(i, case, kind=""):
    """Loss and gradients of the whole, or those of a mistake."""
    parts = [one_batch(i, case, n) for n in range(len(STEPS[case]))]
    counts_ = np.array([part[3] for part in parts], float)
    total = counts_.sum()
    unshifted = np.array([(i[f"labels_{case}{n}"] != -100).sum() for n in range(len(parts))], float)
    rows = np.array([len(i[f"ids_{case}{n}"]) for n in range(len(parts))], float)
    numel = np.array([i[f"ids_{case}{n}"].size for n in range(len(parts))], float)
    ends = [(i[f"labels_{case}{n}"][:, :-1] != -100).sum() for n in range(len(parts))]
    inner = [i[f"ids_{case}{n}"][:, 1:].size for n in range(len(parts))]
    asking = [(i[f"labels_{case}{n}"][:, 1:] != -100).any(1).sum() for n in range(len(parts))]
    ends, inner, asking = (np.array(c, float) for c in (ends, inner, asking))
    with np.errstate(all="ignore"):
        weight = {
            "": np.full(len(parts), 1 / total),
            "means": 1 / counts_ / len(parts),
            "sum_of_means": 1 / counts_,
            "sum": np.ones(len(parts)),
            "by_batches": np.full(len(parts), 1 / len(parts)),
            "no_gradient": np.zeros(len(parts)),
            "other_end": ends / counts_ / ends.sum(),
            "shifted_ids": inner / counts_ / inner.sum(),
            "unshifted": unshifted / counts_ / unshifted.sum(),
            "rows": rows / counts_ / rows.sum(),
            "asking": asking / counts_ / asking.sum(),
            "numel": numel / counts_ / numel.sum(),
            "divided_twice": np.full(len(parts), 1 / total / len(parts)),
            "last": np.eye(len(parts))[-1] / total,
        }.get(kind, np.full(len(parts), 1 / total))
        scaled = [[w * part[k] for w, part in zip(weight, parts, strict=True)] for k in range(3)]
    loss, dE, dH = (sum(values) for values in scaled)
    if kind == "old":
        dH = dH + i["old"]
    return {f"loss_{case}": loss, f"E_{case}": dE, f"H_{case}": dH}


def enough(v, asked):
    """A batch without tokens may go forward or not."""
    return v.size == 1 and np.count_nonzero(asked) <= v.item() <= len(asked)


def judge_accumulate(i, o):
    promises = []
    for case, asked in STEPS.items():
        told = f"batches that ask for {', '.join(map(str, asked))} tokens"
        right = accumulated(i, case)
        promises += [
            Promise(f"E_{case}", right[f"E_{case}"], f"{told}: the gradient of a table",
                    rtol=1e-3, atol=1e-5),
            Promise(f"H_{case}", right[f"H_{case}"], f"{told}: the gradient of the head",
                    rtol=1e-3, atol=1e-5),
            Promise(f"loss_{case}", right[f"loss_{case}"], f"{told}: the loss", rtol=1e-3,
                    share=0.5),
            Promise(f"graph_{case}", 0, seen=f"{told}: the loss that is returned carries a graph",
                    expected="a number, which carries none", share=0.5),
            Promise(f"calls_{case}", lambda v, asked=asked: enough(v, asked),
                    f"{told}: the number of forward passes",
                    expected="one for each batch that asks for tokens", share=0.5),
            Promise(f"freed_{case}", 1, seen=f"{told}: a forward pass began while the graph of "
                    "the one before it was there", expected="one batch after the other", share=0.5),
            callers.unchanged(f"left_{case}", "the model or a batch"),
        ]  # fmt: skip
    return judged(i, o, promises, ACCUMULATE)


def adds(*kinds, cases=("even", "uneven", "one")):
    return lambda i: [
        {
            key: value
            for case in cases
            for key, value in accumulated(i, case, kind).items()
            if not key.startswith("loss")
        }
        for kind in kinds
    ]


def loss_by(i, case, how):
    """The loss of the whole, otherwise weighted."""
    parts = [one_batch(i, case, n) for n in range(len(STEPS[case]))]
    means = sum(part[0] / part[3] for part in parts)
    whole = sum(part[0] for part in parts) / sum(STEPS[case])
    sums = {"sum": whole * sum(STEPS[case]), "divided": whole / len(parts)}
    return {"means": means, "mean_of_means": means / len(parts), **sums}[how]


def last_loss(i, case):
    """The last batch's share of the loss."""
    loss = one_batch(i, case, len(STEPS[case]) - 1)[0]
    return loss / sum(STEPS[case])


ACCUMULATE = (
    Slip("mean_of_means", "A mean of means counts a token of a short batch for more. Give every "
         "token the same weight.", adds("means")),
    Slip("sum_of_means", "Means were added up: the gradient grows with the number of batches.",
         adds("sum_of_means")),
    Slip("sum", "This is the sum over all tokens: divide by how many there are.",
         adds("sum", "by_batches")),
    Slip("none_left", "No gradient is left: `backward` belongs into the loop, and `zero_grad` "
         "before it, not after it.", adds("no_gradient")),
    Slip("unshifted", "The model predicts the next token: a label at the first position is never "
         "asked for, so it does not count.", adds("unshifted", "other_end")),
    Slip("rows", "Weigh a batch by the tokens it asks for, not by its rows or its length.",
         adds("rows", "asking", "numel", "shifted_ids")),
    Slip("divided_twice", "All tokens are divided by already: do not divide by the number of "
         "batches as well.", adds("divided_twice")),
    Slip("last_only", "Gradients of the last batch alone: do not clear them in between.",
         adds("last")),
    Slip("old_gradient", "A gradient of the step before was there, and is still in the sum. "
         "`model.zero_grad()` first.", adds("old")),
    Slip("nan", "A batch that asks for no token has the loss 0 / 0. Leave it out.",
         seen_as(loss_empty=lambda v: np.isnan(v).any())),
    Slip("changed", "Only gradients may change. The model stays in the mode it is in, train() or "
         "eval(), and batches stay as they are.",
         lambda i: [{f"left_{case}": lambda v: v > 0} for case in STEPS]),
    Slip("glued", "One large batch is what did not fit. Each batch goes forward by itself.",
         seen_as(calls_even=1, calls_uneven=1)),
    Slip("two_passes", "Counting tokens needs no forward pass: they stand in the labels.",
         seen_as(calls_even=4, calls_uneven=6)),
    Slip("graph_kept", "Each loss holds on to its graph: add up `loss.item()`.",
         seen_as(graph_even=1, graph_uneven=1)),
    Slip("one_backward", "Backward belongs into the loop, without `retain_graph`: it frees the "
         "graph before the next batch goes forward.", seen_as(freed_even=0, freed_uneven=0)),
    Slip("loss_weight", "The loss that is returned is the mean over all tokens, too: add up each "
         "batch's share, once.",
         lambda i: [{f"loss_{c}": loss_by(i, c, how) for c in ("even", "uneven")}
                    for how in ("means", "mean_of_means", "sum", "divided")]),
    Slip("loss_of_last", "Add up the losses too, each with its share: the last one is returned.",
         lambda i: {f"loss_{c}": last_loss(i, c) for c in ("even", "uneven")}),
)  # fmt: skip

accumulate = Check(
    name="accumulate", title="Small batches, one step", wants=("accumulate",),
    difficulty=3, minutes=15, points=15,
    verified="gradients and loss of even, uneven and empty batches, one graph at a time",
    hints=(
        "The loss of a batch is a mean. Over how many numbers? What is asked for is in `labels`.",
        "Count first: `(labels[:, 1:] != -100).sum()` for each batch, and in all. Then the loss of "
        "each batch counts for its share of all tokens.",
        "`loss = model(**batch).loss * count / total; loss.backward()` for each batch whose count "
        "is not 0, after `model.zero_grad()`; return the sum of those losses.",
    ),
    slips=ACCUMULATE, other="Take two batches that ask for 1 and 2 tokens, and weigh each token.",
    make=make_accumulate, probe=probe_accumulate, judge=judge_accumulate,
)  # fmt: skip


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
        made[f"left_{case}"] = 0 if (layers, others) == before else 5
        made[f"keys_{case}"] = sorted(map(str, value)) == sorted(PARTS_HELD)
        for part in PARTS_HELD:
            if part in value:
                made[f"{part}_{case}"] = array(value[part], f"the value of {part!r}")
    return made


def bytes_held(i, case, part, kind=""):
    """The bytes of a part, or those of a mistake."""
    layers, others = shapes_given(i, case)
    r, world, rank = (int(n) for n in i[f"given_{case}"])
    rank -= kind == "from_one"

    def rest(shape):
        return math.prod(shape[1:])

    def height(shape):
        return math.ceil(shape[0] / world)

    def true(shape):
        rows = min(height(shape), shape[0] - rank * height(shape))
        return (rows if kind == "negative" else max(0, rows)) * rest(shape)

    def even(shape):  # as evenly as possible, the first ones a row more
        return (shape[0] // world + (rank < shape[0] % world)) * rest(shape)

    def stored(shape):
        return {
            "floor": shape[0] // world * rest(shape),
            "round": round(shape[0] / world) * rest(shape),
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
    if kind in ("A_turned", "B_turned", "both_turned"):
        pairs = [(A[:: 1 if kind[0] == "B" else -1], B[:: 1 if kind[0] == "A" else -1])
                 for A, B in pairs]  # fmt: skip
    factors = [s for pair in pairs for s in (pair[:1] if kind == "only_A" else pair)]
    whole = 4 * sum(math.prod(s) for s in factors)
    adapter = whole if kind == "adapter_whole" else 4 * sum(stored(s) for s in factors)
    adapter //= 2 if kind == "adapter_16" else 1
    bases = {"no_others": layers, "only_others": others, "no_base": []}.get(kind, layers + others)
    base = (4 if kind == "base_32" else 2) * sum(stored(s) for s in bases)
    states = 8 * sum(piece(s) for s in factors)
    states = 2 * whole if kind in ("adapter_whole", "whole_states") else states
    states //= 2 if kind in ("one_state", "adapter_16") else 1
    gradients = {
        "all_gradients": base + adapter, "gradients_16": adapter // 2,
        "true_gradients": 4 * sum(true(s) for s in factors),
    }.get(kind, adapter)  # fmt: skip
    weights = {
        "all_ranks": (base + adapter) * world, "weights_16": base + adapter // 2,
        "no_adapter": base, "divided": (2 * sum(math.prod(s) for s in bases) + whole) / world,
        "others_whole": base + adapter + 2 * sum(math.prod(s) - stored(s) for s in others),
    }.get(kind, base + adapter)  # fmt: skip
    if kind == "divided_down":
        weights = (2 * sum(math.prod(s) for s in bases) + whole) // world
    return {"weights": weights, "gradients": gradients, "optimizer": states}[part]


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


def holds(*kinds, parts=PARTS_HELD):
    """Parts of all cases as one mistake, or another, makes them."""
    return lambda i: [
        {f"{part}_{case}": bytes_held(i, case, part, kind)
         for case in HELD_CASES for part in parts} for kind in kinds
    ]  # fmt: skip


ON_A_RANK = (
    Slip("floor", "`//` and `round` lose rows that are left over: pieces are as high as the first "
         "one, rounded up.",
         lambda i: holds("floor")(i) + holds("floor", "round", parts=("weights",))(i)),
    Slip("unfilled", "Weights and gradients are stored filled up, on every rank: also where the "
         "true piece is shorter.", holds("true", parts=("weights",))),
    Slip("even", "Rows are not spread evenly: all pieces are as high as the first, and the last "
         "get what is left, or nothing.",
         lambda i: holds("even")(i) + holds("even", parts=("optimizer",))(i)),
    Slip("by_numbers", "What is cut is the first axis, row by row, not the numbers of a tensor.",
         holds("numbers", "divided", "divided_down", parts=("weights",))),
    Slip("not_cut", "A rank holds a piece of every tensor, in base, adapter and states alike.",
         holds("whole", "all_ranks", "adapter_whole", "others_whole", "whole_states")),
    Slip("filled_states", "AdamW's states are not filled up. With r = 4 on six ranks a piece has "
         "one row, and the last two ranks have none.", holds("padded")),
    Slip("one_state", "AdamW has two states for each number.", holds("one_state")),
    Slip("base_32", "The frozen base has 2 bytes a number, the adapter 4.", holds("base_32")),
    Slip("adapter_16", "The adapter, its gradients and its states have 4 bytes a number.",
         holds("adapter_16", "gradients_16", "weights_16")),
    Slip("negative", "Where no row is left for a rank its piece is empty, not negative: "
         "`max(0, ...)`.", holds("negative")),
    Slip("no_others", "The weights without LoRA are held too.", holds("no_others")),
    Slip("no_layers", "The frozen weight stays beside its A and B, and is held too.",
         holds("only_others")),
    Slip("only_A", "LoRA has two factors: A (r, in) and B (out, r).", holds("only_A")),
    Slip("swapped", "A is (r, in) and B is (out, r); a layer's shape is (out, in).",
         holds("swapped", "A_turned", "B_turned", "both_turned")),
    Slip("all_gradients", "The base is frozen: only the adapter has gradients.",
         holds("all_gradients")),
    Slip("true_gradients", "Gradients are filled up like the weights; only the states are not.",
         holds("true_gradients")),
    Slip("from_one", "Ranks count from 0: the first piece is that of rank 0.", holds("from_one")),
    Slip("changed", "`+=` and `append` change the lists of the caller. Join them in a new one.",
         lambda i: [{f"left_{case}": 5} for case in HELD_CASES]),
    Slip("keys", "A dict with just these three keys is wanted.",
         lambda i: [{f"keys_{case}": 0} for case in HELD_CASES]),
    Slip("no_base", "The weights are base and adapter together.",
         holds("no_base", "no_adapter")),
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
    "rows": (3, ("rows",)), "alone": (2, ("alone",)), "mean": (3, ("mean", "tiny")),
    "sum": (3, ("sum",)), "start_alone": (3, ("began", "alone")), "rows_sum": (2, ("rows", "sum")),
    "rows_four": (4, ("rows",)), "same": (2, ("same",)), "start_rows": (2, ("start", "rows")),
    "turned": (3, ("turned",)), "within": (3, ("within",)), "centre": (4, ("mean", "centre")),
}  # fmt: skip
RECORD = ("start", "rows", "tokens", "own", "used")


def make_drift(seed):
    """Records of a first step. What travelled is rounded."""
    rng = np.random.default_rng(seed + 1750)
    f, made = fixtures.normal(rng), {}
    for case, (world, faults) in DRIFTS.items():
        n, k = fixtures.sizes(rng, 2, 4, 9)
        start = np.repeat(f(1, n), world, 0)
        rows = rng.permutation(world * k + 3)[: world * k].reshape(world, k)
        tokens = rng.permutation(np.arange(2, 30))[:world].astype(np.int64)
        if "even" in faults:
            tokens[:] = tokens[0]
        own = f(world, n) * (4e-4 if "tiny" in faults else 1)
        if "centre" in faults:  # the first and the last rank's gradients are the plain mean
            own[2], own[3] = 2 * own[0] - own[1], own[0]
        if "turned" in faults:
            start[-1] = start[-1, ::-1].copy()
        if "within" in faults:
            rows[1, -1] = rows[1, 0]
        right = (tokens / tokens.sum()) @ own
        if "start" in faults:
            start[-1] *= 1.01
        if "began" in faults:
            start[1] *= 1.01
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
        used = used * (1 + 1.5e-4 * rng.uniform(-1, 1, used.shape))
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
        said = fixtures.expect(
            namespace["drift"](*given),
            str,
            "drift",
            'a word of the table, "" where nothing is wrong',
        )
        changed = [bool((g != b).any()) for g, b in zip(given, before, strict=True)]
        made[f"left_{case}"] = 2 * any(changed)
        made[f"said_{case}"] = FAULTS.index(said) if said in FAULTS else -1
    return made


def near(a, b):
    return np.allclose(a, np.broadcast_to(b, a.shape), rtol=1e-3, atol=1e-5)


def wide(a, b):
    return np.allclose(a, np.broadcast_to(b, a.shape), rtol=0.1, atol=0.1)


def wider(a, b):
    return np.allclose(a, np.broadcast_to(b, a.shape), rtol=0.05, atol=0)


def absolute(a, b):
    return np.allclose(a, np.broadcast_to(b, a.shape), rtol=0, atol=1e-3)


def named(i, case, kind="", otherwise=None):
    """The place in FAULTS of what is wrong, or what a mistake makes of it.

    otherwise: the word where the mistake finds none.
    """
    start, rows, tokens, own, used = (i[f"{key}_{case}"] for key in RECORD)
    world, share = len(own), tokens / tokens.sum()
    if kind == "inverted":
        share = (1 / tokens) / (1 / tokens).sum()
    right = share @ own
    same = {"exact": np.array_equal, "wide": wide, "wider": wider, "absolute": absolute}
    same = same.get(kind, near)
    if kind in ("first_last", "start_two"):
        start = start[[0, -1 if kind == "first_last" else 1]]
    if kind == "first_two":
        start, rows, own_seen, used_seen = start[:2], rows[:2], own[:2], used[:2]
    elif kind == "rank_0":
        start, rows, own_seen, used_seen = start[:1], rows[:1], own[:1], used[:1]
    else:
        own_seen, used_seen = own, used
        if kind == "used_0":
            own_seen, used_seen = own[:1], used[:1]
    spread = np.broadcast_to
    checks = {
        "start": not same(start, spread(start[:1], start.shape))
        and not (kind == "sums" and near(start.sum(1), start[0].sum())),
        "rows": len(np.unique(rows)) < rows.size,
    }
    guesses = {"": right, "alone": own_seen, "mean": own.mean(0), "sum": world * right}
    order = ["", "alone", "mean", "sum"]
    if kind == "mean_first":
        order = ["mean", "alone", "", "sum"]
    if kind == "plain_right":
        guesses = {"": own.mean(0), "alone": own_seen, "mean": right, "sum": world * own.mean(0)}
    if kind == "mean_is_right":
        guesses |= {"": own.mean(0), "sum": world * own.mean(0)}
    found = [w for w in order if same(used_seen, spread(guesses[w], used_seen.shape))]
    if kind == "sum_of_own":
        found = [w for w in found if w != "sum"] or [""]
    gradient = found[0] if found else otherwise
    if kind in ("no_start", "neither"):
        checks["start"] = False
    if kind in ("no_rows", "neither"):
        checks["rows"] = False
    if kind == "same_rows":  # the ranks' lists compared as wholes
        checks["rows"] = any(np.array_equal(rows[0], other) for other in rows[1:])
    if kind == "inside":
        checks["rows"] = any(len(np.unique(one)) < one.size for one in rows)
    if kind == "between":
        checks["rows"] = sum(len(np.unique(one)) for one in rows) > len(np.unique(rows))
    if kind == "neighbours":
        checks["rows"] = any(set(a) & set(b) for a, b in zip(rows, rows[1:], strict=False))
    if kind == "all_differ":
        checks["start"] = not any(near(one, start[0]) for one in start[1:])
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
        "began": "the second rank began elsewhere",
        "rows": "the last rank took a row of the first",
        "same": "both ranks took the same rows",
        "alone": "each rank used its own gradient",
        "mean": "all used the plain mean",
        "tiny": "their gradients are small",
        "sum": f"all used {world} times the right gradient",
        "even": "equally many tokens on each rank",
        "turned": "the last rank began with the same numbers in another order",
        "within": "one rank took a row twice",
        "centre": "two ranks have just that as their own",
    }
    told = [words[fault] for fault in faults if fault in words]
    return f"{world} ranks, " + (" and ".join(told) or "nothing wrong")


def says(*kinds, otherwise=(None,)):
    return lambda i: [
        {f"said_{case}": named(i, case, kind, word) for case in DRIFTS}
        for kind in kinds for word in otherwise
    ]  # fmt: skip


DRIFT = (
    Slip("exact", "Two ranks add in another order, so right numbers differ in the last digit: "
         "compare with a tolerance, of a thousandth.",
         says("exact", otherwise=(None, "", "sum"))),
    Slip("too_wide", "The tolerance is so wide that what differs passes for equal. A thousandth of "
         "each number is enough: small gradients need a small `atol`.",
         says("wide", "wider", "absolute")),
    Slip("changed", "The record stays as it is: no `*=` on it.",
         lambda i: [{f"left_{case}": lambda v: v > 0} for case in DRIFTS]),
    Slip("plain_right", "The plain mean of the ranks is right only where all have equally many "
         "tokens: weight each rank by its tokens.",
         says("plain_right", "mean_is_right", otherwise=(None, "", "sum"))),
    Slip("mean_first", "With equally many tokens the plain mean *is* the right gradient: look for "
         "what is right before you look for what is wrong.", says("mean_first")),
    Slip("inverted", "A rank with more tokens counts more, not less.",
         says("inverted", otherwise=(None, "sum"))),
    Slip("two_ranks", "There may be more than two ranks, and one at fault is enough, whichever it "
         "is.", says("first_two", "start_two", "first_last", "all_differ")),
    Slip("rank_0", "One rank alone shows nothing: compare all ranks.",
         says("rank_0", "used_0", "neither")),
    Slip("start_sums", "Equal sums are not equal weights: compare number by number.",
         says("sums")),
    Slip("rows_between", "A rank can take a row twice all by itself: count the different rows of "
         "the whole batch.", says("between")),
    Slip("no_start", "Equal gradients do not help ranks that began with different weights.",
         says("no_start")),
    Slip("no_rows", "A row that two ranks take counts twice: compare the row numbers of all "
         "ranks.", says("no_rows", "inside", "neighbours")),
    Slip("same_rows", "One row in common is enough: the lists need not be equal as wholes.",
         says("same_rows")),
    Slip("order", "Where several things are wrong, the first of the table is asked for.",
         says("rows_first", "gradient_first")),
    Slip("sum_of_own", "\"sum\" is the right gradient, in which each rank counts by its tokens, "
         "times the number of ranks: not twice it, and not the ranks' own ones added up.",
         says("sum_of_own")),
)  # fmt: skip

drift = Check(
    name="drift", title="Ranks that drift apart", wants=("drift",),
    difficulty=4, minutes=20, points=20,
    verified="sixteen records of two to four ranks, with one fault, two or none",
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

EXERCISES = (copies, hand_lora, accumulate, on_a_rank, drift)
