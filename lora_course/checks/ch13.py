"""Checks of chapter 13: a bottleneck, a prompt, a prefix, IA3 and its merge, any method's count."""

import math
from itertools import product

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, in_parts, judged, none_of, seen_as
from lora_course.checks.values import array


# Gradients: how fast a weighted sum of the output changes along a direction of one input
def wave(shape, shift):
    """Weights and directions: the same for probe and judge, and nowhere alike."""
    return np.cos(1.3 * np.arange(np.prod(shape)) + shift).reshape(shape).astype(np.float32)


def slopes_seen(y, places):
    """{"slope_KEY": number} by autograd. places: {key: tensor}; 0 where no gradient arrives."""
    if y.requires_grad:
        (y * tensor(wave(tuple(y.shape), 1))).sum().backward()
    grads = {key: place.grad for key, place in places.items()}
    return {
        f"slope_{key}": 0.0 if g is None else (g * tensor(wave(tuple(g.shape), 2))).sum().item()
        for key, g in grads.items()
    }


def slope(i, key, function, step=1e-5):
    """The same by a difference of two outputs in float64. function: inputs -> output."""
    along = wave(i[key].shape, 2).astype(np.float64)
    low, high = (function({**i, key: i[key] + s * along}) for s in (-step, step))
    return ((high - low) * wave(high.shape, 1)).sum() / (2 * step)


def slope_promises(i, names, function):
    """That gradients arrive. names: {key: what it is}."""
    return [
        Promise(f"slope_{key}", slope(i, key, function), f"along one direction, the gradient of "
                f"{what}", rtol=1e-2, atol=1e-3) for key, what in names.items()
    ]  # fmt: skip


def cut(*keys, advice="`detach`, `.data`, `.item()` or `no_grad` on the way cuts the gradient off: "
        "nothing before that place can learn."):  # fmt: skip
    """The slip that no gradient arrives at one of these inputs."""
    return Slip("cut", advice, lambda i: [{f"slope_{key}": 0.0} for key in keys])


# 13.1 A bottleneck behind a layer
PARTS = ("W", "b", "W1", "b1", "W2", "b2")


def make_bottleneck(seed):
    rng = np.random.default_rng(seed + 1300)
    f, (d_in, d, m) = fixtures.normal(rng), fixtures.sizes(rng, 3, 4, 9)
    made = {"x": f(3, 2, d_in), "W": f(d, d_in), "b": f(d), "W1": f(m, d), "b1": f(m)}
    return made | {"W2": f(d, m), "b2": f(d), "g": f(3, 2, d)}


def probe_bottleneck(namespace, a):
    import torch
    from torch import nn

    d, m = a["W2"].shape
    base, x = fixtures.linear(a["W"], a["b"]), tensor(a["x"])
    y = base(x).detach()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = namespace["Bottleneck"](base, m)
    fixtures.expect(layer, nn.Module, "Bottleneck", "a layer")
    pair = [getattr(layer, name, None) for name in ("down", "up")]
    made = {
        "kept": getattr(layer, "base_layer", None) is base,
        "linear": np.array([isinstance(part, nn.Linear) for part in pair]),
        "shapes": np.array([w.shape if (w := getattr(p, "weight", None)) is not None and w.ndim == 2
                            else (0, 0) for p in pair]),
        "biases": np.array([getattr(p, "bias", None) is not None for p in pair]),
        "frozen": np.array([p.requires_grad for p in base.parameters()]),
    }  # fmt: skip
    right = (made["shapes"] == [(m, d), (d, m)]).all() and made["biases"].all()
    if not (made["linear"].all() and right):
        return made
    weights = [p for part in pair for p in (part.weight, part.bias)]
    made["trained"] = np.array([fixtures.trained(p) for p in weights])
    made["start_biases"] = max(p.bias.abs().max().item() for p in pair)
    out = layer(x)
    made["gap"] = ((out - y).norm() / y.norm()).item()
    if out.requires_grad:
        (out * tensor(a["g"])).sum().backward()
    grads = [part.weight.grad for part in pair]
    made["reached"] = max(0.0 if g is None else g.abs().max().item() for g in grads)
    for place, key in zip(weights, PARTS[2:], strict=True):
        place.data.copy_(tensor(a[key]))
    for place in (x, *weights):
        place.requires_grad_().grad = None
    y = layer(x)
    places = dict(zip(("x", *PARTS[2:]), (x, *weights), strict=True))
    return {**made, "y": array(y, "the output"), **slopes_seen(y, places)}


def after(i, kind=""):
    """The output of the filled layer, or that of a mistake."""
    x, W, b, W1, b1, W2, b2 = (i[key].astype(np.float64) for key in ("x", *PARTS))
    y, relu = x @ W.T + b, lambda z: np.maximum(z, 0)
    z = y @ W1.T + b1
    up = relu(z) @ W2.T + b2
    return {
        "": y + up,
        "no_skip": up,
        "no_relu": y + z @ W2.T + b2,
        "late": y + relu(z @ W2.T + b2),
        "both": y + relu(up),
        "whole": relu(y + up),
        "early": y + (relu(y) @ W1.T + b1) @ W2.T + b2,
        "base": y,
        "sigmoid": y + (1 / (1 + np.exp(-z))) @ W2.T + b2,
        "tanh": y + np.tanh(z) @ W2.T + b2,
        "leaky": y + np.maximum(z, 0.01 * z) @ W2.T + b2,
        "early_both": y + relu(relu(y) @ W1.T + b1) @ W2.T + b2,
        "silu": y + (z / (1 + np.exp(-z))) @ W2.T + b2,
        "gelu": y + (0.5 * z * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))) @ W2.T + b2,
    }[kind]


def judge_bottleneck(i, o):
    d, m = i["W2"].shape
    promises = [
        Promise("kept", 1, seen="self.base_layer is not the layer that was given",
                expected="that layer itself"),
        Promise("linear", lambda v: v.all(), seen="down or up is missing, or is no nn.Linear",
                expected="two nn.Linear"),
        Promise("shapes", np.array([(m, d), (d, m)]), seen=weights_seen,
                expected=weights_seen(np.array([(m, d), (d, m)]))),
        Promise("biases", lambda v: v.all(), seen="down or up has no bias", expected="both have"),
        none_of("frozen", "tensors of the base layer still train"),
        Promise("trained", lambda v: v.all(), seen="down or up is frozen",
                expected="both train"),
        Promise("y", after(i), "with values in down and up, the output", rtol=1e-3, atol=1e-3),
        Promise("start_biases", 0, "the largest bias at the start"),
        Promise("gap", lambda v: v < 0.01, seen=lambda v: "at the start the output differs from y "
                f"by {v.item():.1%}", expected="less than 1 %"),
        Promise("reached", lambda v: v > 0, seen="at the start no gradient reaches the weights",
                expected="a gradient in down or in up"),
        *slope_promises(i, {"x": "x", "W1": "down's weight", "b1": "down's bias",
                            "W2": "up's weight", "b2": "up's bias"}, after),
    ]  # fmt: skip
    return judged(i, o, promises, BOTTLENECK)


def weights_seen(shapes):
    (a, b), (c, d) = shapes.tolist()
    return f"down's weight is {a} x {b}, that of up {c} x {d}"


def y_times(i, v):
    """Whether y is in the output, but not once."""
    y, up = after(i, "base"), after(i, "no_skip")
    times = ((v - up) * y).sum() / (y * y).sum() if v.shape == y.shape else 1
    return min(abs(times - 1), abs(times)) > 1e-2 and np.allclose(v, times * y + up, 1e-3, 1e-3)


def up_times(i, v):
    """Whether y is in the output once, and the update with a factor."""
    y, up = after(i, "base"), after(i, "no_skip")
    times = ((v - y) * up).sum() / (up * up).sum() if v.shape == y.shape else 1
    return min(abs(times - 1), abs(times)) > 1e-2 and np.allclose(v, y + times * up, 1e-3, 1e-3)


def output_is(kind):
    return lambda i: {"y": after(i, kind)}


BOTTLENECK = (
    Slip("no_skip", "The skip is missing: y itself is added at the end. Without it the start would "
         "wipe out what the layer says.", output_is("no_skip")),
    Slip("no_relu", "Without the ReLU the adapter is linear, and no better than LoRA.",
         output_is("no_relu")),
    Slip("relu_late", "The ReLU stands between down and up, at width m, and nowhere else.",
         lambda i: [{"y": after(i, kind)} for kind in ("late", "both", "whole", "early",
                                                           "early_both")]),
    Slip("unused", "The adapter is there, and `forward` does not use it.", output_is("base")),
    Slip("gelu", "A ReLU was asked for; this is a GELU.", output_is("gelu")),
    Slip("curve", "A ReLU was asked for, `torch.relu`; this is another curve.",
         lambda i: [{"y": after(i, kind)} for kind in ("sigmoid", "tanh", "silu", "leaky")]),
    Slip("update_scaled", "The update is added as it is, without a factor or a minus.",
         lambda i: {"y": lambda v: up_times(i, v)}),
    Slip("skip_twice", "y itself is added, once. (`self.up(...)` returns its own output alone.)",
         lambda i: {"y": lambda v: y_times(i, v)}),
    Slip("base_trains", "Freeze the base layer, weight and bias: "
         "`base_layer.requires_grad_(False)`.", seen_as(frozen=lambda v: v.any())),
    Slip("not_kept", "Keep the layer that was given, not a copy, under the name that was asked "
         "for: whoever shares it still sees it.", seen_as(kept=0)),
    Slip("no_bias", "The formula has two biases, b_1 and b_2: leave out `bias=False`.",
         seen_as(biases=lambda v: v.size and not v.all(), linear=lambda v: v.all())),
    Slip("adapter_frozen", "down and up are all that trains: freeze the base layer alone.",
         seen_as(trained=lambda v: not v.all())),
    Slip("cut", "A frozen layer still passes gradients to x: no `no_grad` around it, and no "
         "`detach` before the adapter.",
         lambda i: [{"slope_x": 0.0},
                    {"slope_x": slope(i, "x", lambda changed: after(changed, "base"))}]),
    Slip("default_start", "nn.Linear starts its matrices too large for an adapter: begin with a "
         "much smaller standard deviation, or with one matrix of zeros.",
         seen_as(gap=lambda v: v > 0.01)),
    Slip("dead", "If `down` starts at zero, every ReLU gets a zero, and nothing can learn. Zeros "
         "are harmless in `up` alone.", seen_as(reached=0)),
    Slip("biases_left", "The biases do not start at zero. (nn.Linear draws them at random.) Set "
         "both to zero.", seen_as(start_biases=lambda v: v > 0)),
    Slip("swapped", "down goes from d to m, up from m to d; nn.Linear takes in, then out.",
         lambda i: {"shapes": np.array([i["W2"].shape, i["W1"].shape])}),
    Slip("wrong_width", "The adapter works on the output of the base layer, so d is "
         "`base_layer.out_features`.",
         lambda i: [{"shapes": np.array([(len(i["W1"]), i["W"].shape[1]), (out, len(i["W1"]))])}
                    for out in i["W"].shape]),
)  # fmt: skip

bottleneck = Check(
    name="bottleneck", title="A bottleneck behind a layer", wants=("Bottleneck",),
    difficulty=2, minutes=12, points=20,
    verified="the output with values in it, who trains, and a start that is nearly the base layer "
    "and can learn",
    hints=(
        "What must be small at the start so that up(relu(down(y))) is small? And what must not be "
        "zero so that a gradient gets through?",
        "Two nn.Linear, d -> m and m -> d, with d = base_layer.out_features. Start both weights "
        "with a small standard deviation and both biases with zeros.",
        "`nn.init.normal_(layer.weight, std=1e-3)`, `nn.init.zeros_(layer.bias)`, and in forward "
        "`y = self.base_layer(x)`, `return y + self.up(torch.relu(self.down(y)))`.",
    ),
    slips=BOTTLENECK, other="Compare y + up(relu(down(y))) by hand for one row.",
    make=make_bottleneck, probe=probe_bottleneck, judge=judge_bottleneck,
)  # fmt: skip


# 13.2 A prompt before a batch
NEW = ("the vectors", "the mask", "the labels", "the positions")


def make_prepend(seed):
    """Rows of different lengths, padded on one side or the other, no two sizes equal."""
    rng = np.random.default_rng(seed + 1400)
    B, p, d = (int(n) for n in rng.permutation([2, 3, 4]))
    T = int(rng.integers(6, 9))
    lengths = np.concatenate([[T], rng.permutation(np.arange(2, T))[: B - 1]])
    mask, labels = np.zeros((B, T), int), np.full((B, T), -100)
    left = np.arange(B) % 2 == rng.integers(2) if B > 2 else np.ones(B, bool)
    for row, n in enumerate(lengths):
        at = slice(T - n, T) if left[row] else slice(0, n)
        mask[row, at] = 1
        labels[row, at.stop - 2 : at.stop] = rng.integers(5, 50, 2)
    labels[0, 0] = labels[0, -1] + 1  # asked from the first token on, in the row without padding
    f = fixtures.normal(rng)
    order = rng.permutation(B)
    return {"prompt": f(p, d), "embeds": f(B, T, d), "mask": mask[order], "labels": labels[order]}


def probe_prepend(namespace, a):
    given = [tensor(a[key]) for key in ("prompt", "embeds", "mask", "labels")]
    before = callers.Before(*given)
    found = fixtures.several(namespace["prepend"](*given), NEW, "prepend")
    made = dict(zip(("vectors", "mask", "labels", "positions"), found, strict=True))
    real = longer(a["mask"], len(a["prompt"])) == 1
    whole = made["positions"].dtype.kind in "iu"
    if made["positions"].shape == real.shape:
        made["positions"] = made["positions"][real]
    made |= {"whole": whole, "left": before.change()}
    given[:2] = [t.requires_grad_() for t in given[:2]]
    vectors = namespace["prepend"](*given)[0]
    return made | slopes_seen(vectors, {"prompt": given[0], "embeds": given[1]})


def joined(i):
    """The vectors that prepend returns."""
    B, prompt = len(i["embeds"]), i["prompt"]
    return np.concatenate([np.broadcast_to(prompt, (B, *prompt.shape)), i["embeds"]], 1)


def longer(mask, p, value=1):
    return np.concatenate([np.full((len(mask), p), value), mask], axis=1)


def placed(i, kind=""):
    """Positions at the trained vectors and the text, in reading order; or those of a mistake."""
    mask = longer(i["mask"], p := len(i["prompt"]))
    along = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    made = {
        "": mask.cumsum(1) - 1,
        "arange": along,
        "restart_arange": np.concatenate([along[:, :p], along[:, : mask.shape[1] - p]], axis=1),
    }[kind]
    return made[mask == 1]


def judge_prepend(i, o):
    p = len(i["prompt"])
    promises = [
        callers.unchanged("left", "the tensors that were given"),
        Promise("vectors", joined(i), "the vectors"),
        Promise("mask", longer(i["mask"], p), "the mask", dtype="int64"),
        Promise("labels", longer(i["labels"], p, -100), "the labels", dtype="int64"),
        Promise("positions", placed(i), "the positions at trained vectors and text, row by row"),
        Promise("whole", 1, seen="the positions are no whole numbers", expected="whole numbers"),
        *slope_promises(i, {"prompt": "the prompt", "embeds": "the texts' vectors"}, joined),
    ]
    return judged(i, o, promises, PREPEND)


def behind(i, key, value):
    """What comes out when the new places are put at the end."""
    mask = i[key]
    return np.concatenate([mask, np.full((len(mask), len(i["prompt"])), value)], axis=1)


def is_float(right):
    """A condition: these numbers in another type."""
    return lambda v: v.dtype.name != "int64" and v.shape == right.shape and np.array_equal(v, right)


def too_much(i, v):
    """Whether the labels are right but where nothing is asked."""
    right = longer(i["labels"], len(i["prompt"]), -100)
    if v.shape != right.shape or np.array_equal(v, right):
        return False
    moved = np.roll(i["labels"], -1, 1), behind(i, "labels", -100)
    known = longer(moved[0], len(i["prompt"]), -100), moved[1]
    return np.array_equal(v[right != -100], right[right != -100]) and not any(
        np.array_equal(v, k) for k in known)  # fmt: skip


def off_by(i, v, text):
    """Whether positions are wrong by one number: of all, or of the text alone."""
    right = placed(i)
    off = v - right if v.shape == right.shape else np.zeros(right.shape)
    new = right < len(i["prompt"])
    return not off[new].any() and off.any() and np.ptp(off[~new]) == 0 if text else (
        np.ptp(off) == 0 and off[0] != 0)  # fmt: skip


PREPEND = (
    Slip("at_the_end", "The prompt is read first: it goes before the text, not after it.",
         lambda i: {"vectors": np.concatenate([i["embeds"], np.broadcast_to(
             i["prompt"], (len(i["embeds"]), *i["prompt"].shape))], 1)}),
    Slip("prompt_rows", "The vectors of the texts are right, those before them are not. Every row "
         "of the batch begins with all p trained vectors, as they are.",
         lambda i: {"vectors": lambda v: v.shape == joined(i).shape and np.array_equal(
             v[:, len(i["prompt"]) :], i["embeds"])}),
    Slip("mask_zeros", "With zeros in the mask nobody looks at the trained vectors. Ones.",
         lambda i: {"mask": longer(i["mask"], len(i["prompt"]), 0)}),
    Slip("mask_short", "The row is p places longer, and so is its mask.",
         lambda i: {"mask": lambda v: v.shape == i["mask"].shape}),
    Slip("mask_ones", "The padding is still padding: keep the zeros of the given mask.",
         lambda i: {"mask": np.ones_like(longer(i["mask"], len(i["prompt"])))}),
    Slip("mask_behind", "The p ones stand before the mask of the text.",
         lambda i: {"mask": behind(i, "mask", 1)}),
    Slip("labels_short", "The row is p places longer, and so are its labels.",
         lambda i: {"labels": lambda v: v.shape == i["labels"].shape}),
    Slip("labels_lost", "The labels of the texts are gone. Only the p new places ask for nothing.",
         lambda i: {"labels": longer(np.full_like(i["labels"], -100), len(i["prompt"]), -100)}),
    Slip("labels_zero", "Whatever is not -100 is the number of a token: the model would be asked "
         "for it.", lambda i: {"labels": lambda v: too_much(i, v)}),
    Slip("labels_moved", "Do not move the labels: the model itself compares each place with the "
         "next label.", lambda i: {"labels": longer(np.roll(i["labels"], -1, 1),
                                                    len(i["prompt"]), -100)}),
    Slip("p_is_d", "p is the number of vectors, `len(prompt)`; `prompt.shape[1]` is their width.",
         lambda i: {"mask": longer(i["mask"], i["prompt"].shape[1])}),
    Slip("floats", "The numbers are right, their type is not. Take that of what was given: "
         "`attention_mask.new_ones`, `labels.new_full`. (`torch.ones` and -100.0 make floats.)",
         lambda i: [{"mask": is_float(longer(i["mask"], len(i["prompt"])))},
                    {"labels": is_float(longer(i["labels"], len(i["prompt"]), -100))}]),
    Slip("exchanged", "The order is vectors, mask, labels, positions.",
         lambda i: {"mask": longer(i["labels"], len(i["prompt"]), -100),
                    "labels": longer(i["mask"], len(i["prompt"]))}),
    Slip("positions_short", "The row is p places longer, and so are its positions.",
         lambda i: {"positions": lambda v: v.shape == i["mask"].shape}),
    Slip("in_place", "What was given stays as it is: make new tensors, without `+=`, `[...] =` or "
         "a name that ends in `_`.", seen_as(left=lambda v: v > 0)),
    cut("prompt", "embeds"),
    Slip("labels_behind", "The -100s stand before the labels. Behind them, every label has moved "
         "p places.", lambda i: {"labels": behind(i, "labels", -100)}),
    Slip("padding_counts", "Counting places also counts the pads on the left. Count ones of the "
         "mask: `mask.cumsum(1) - 1`.", lambda i: {"positions": placed(i, "arange")}),
    Slip("from_one", "All positions are off by one and the same number: the first trained vector "
         "has position 0. (cumsum counts the token itself: subtract 1.)",
         lambda i: {"positions": lambda v: off_by(i, v, text=False)}),
    Slip("restart", "The text starts at position p, right behind the trained vectors: neither "
         "again at 0 nor further on.", lambda i: [{"positions": lambda v: off_by(i, v, text=True)},
                                   {"positions": placed(i, "restart_arange")}]),
)  # fmt: skip

prepend = Check(
    name="prepend", title="Labels and positions of a prompt", wants=("prepend",),
    difficulty=2, minutes=12, points=20,
    verified="vectors, mask, labels and positions, with padding on either side",
    hints=(
        "Four tensors, all p places longer at the front. What stands there in each?",
        "The prompt for every row; ones; -100. And positions count the ones of the longer mask, "
        "so that padding has no place.",
        "`mask = torch.cat([attention_mask.new_ones(B, p), attention_mask], 1)`, and the positions "
        "`(mask.cumsum(1) - 1).clamp(min=0)`.",
    ),
    slips=PREPEND, other="Write the four rows of a text of two tokens with two pads on its left.",
    make=make_prepend, probe=probe_prepend, judge=judge_prepend,
)  # fmt: skip


# 13.3 Attention with a prefix
QKV = ("q", "k", "v", "prefix_k", "prefix_v")


def make_attend(seed):
    rng = np.random.default_rng(seed + 1500)
    f, G, group = fixtures.normal(rng), int(rng.integers(2, 4)), int(rng.integers(2, 4))
    B, p, T, h = (int(n) for n in rng.permutation([2, 3, 4, 5]))
    B, T = (T, B) if T == 2 else (B, T)  # of two tokens the first sees all or is one ahead
    made = {"q": f(B, G * group, T, h), "k": f(B, G, T, h), "v": f(B, G, T, h)}
    return made | {"prefix_k": f(G, p, h), "prefix_v": f(G, p, h)}


def probe_attend(namespace, a):
    given = [tensor(a[key]) for key in QKV]
    before = callers.Before(*given)
    out = namespace["attend"](*given)
    made = {"y": array(out, "what attend returns"), "left": before.change()}
    if made["y"].shape != a["q"].shape or made["left"]:
        return made
    given = [t.requires_grad_() for t in given]
    return made | slopes_seen(namespace["attend"](*given), dict(zip(QKV, given, strict=True)))


def attention(i, kind=""):
    """By numpy in float64, or with a mistake."""
    q, k, v, pk, pv = (i[key].astype(np.float64) for key in QKV)
    (B, H, T, h), p = q.shape, pk.shape[1]
    pk, pv = (np.broadcast_to(t, (B, *t.shape)) for t in (pk, pv))
    K, V = np.concatenate([pk, k], 2), np.concatenate([pv, v], 2)
    seen = np.tril(np.ones((T, p + T)), p)
    if kind == "all":
        seen = np.ones((T, p + T))
    if kind == "shifted":
        seen = np.tril(np.ones((T, p + T)))
    if kind == "upper":
        seen = np.triu(np.ones((T, p + T)), p)
    if kind == "one_ahead":
        seen = np.tril(np.ones((T, p + T)), p + 1)
    if kind == "no_self":
        seen = np.tril(np.ones((T, p + T)), p - 1)
    if kind == "no_prefix":
        K, V, seen = k, v, np.tril(np.ones((T, T)))
    if kind == "prefix_causal":
        seen[:, :p] = np.tril(np.ones((T, p)))
    if kind == "prefix_only":
        seen[:, p:] = 0
    if kind == "inverted":
        seen = 1 - seen
    if kind == "behind":
        K, V = np.concatenate([k, pk], 2), np.concatenate([v, pv], 2)
    if kind in ("v_as_k", "crossed"):
        K = np.concatenate([pv, k], 2)
    if kind in ("k_as_v", "crossed"):
        V = np.concatenate([pk, v], 2)
    if kind == "keys_only":
        V = np.concatenate([np.zeros_like(pv), v], 2)
    n = H // k.shape[1]
    K, V = (
        np.tile(t, (1, n, 1, 1)) if kind in ("tiled", name) else np.repeat(t, n, axis=1)
        for t, name in ((K, "tiled_k"), (V, "tiled_v"))
    )
    size = {"no_scale": 1, "by_h": h**2, "by_width": H * h, "scaled_up": 1 / h, "by_T": T,
            "by_keys": p + T, "by_H": H}.get(kind, h)  # fmt: skip
    scores = q @ K.swapaxes(-1, -2) / math.sqrt(size)
    if kind == "after":  # masked after the softmax
        w = np.exp(scores - scores.max(-1, keepdims=True))
        return (w / w.sum(-1, keepdims=True) * seen) @ V
    scores = np.where(seen > 0, scores, 0 if kind == "zeros" else -1e30)
    if kind == "no_softmax":
        return (scores * (seen > 0)) @ V
    if kind == "apart":
        return sum(softmax(s) @ x for s, x in ((scores[..., :p], V[:, :, :p]),
                                               (scores[..., p:], V[:, :, p:])))  # fmt: skip
    return softmax(scores, -2 if kind == "axis" else -1) @ V


def softmax(scores, axis=-1):
    w = np.exp(scores - scores.max(axis, keepdims=True))
    return w / w.sum(axis, keepdims=True)


def judge_attend(i, o):
    promises = [
        callers.unchanged("left", "the tensors that were given"),
        Promise("y", attention(i), "the output, at [row, head, token, number]", rtol=1e-3,
                atol=1e-4),
        *slope_promises(i, {key: key for key in QKV}, attention),
    ]  # fmt: skip
    return judged(i, o, promises, ATTEND)


def attends(*kinds):
    return lambda i: [{"y": attention(i, kind)} for kind in kinds]


ATTEND = (
    Slip("sees_the_future", "Every token sees the whole text. It may see the prefix, itself and "
         "what stands before it.", attends("all")),
    Slip("shifted", "The triangle starts at the first key of the prefix. It belongs over the text: "
         "shift it by p, `tril(p)`.", attends("shifted")),
    Slip("blind_to_itself", "A token also sees itself.", attends("no_self")),
    Slip("one_ahead", "A token sees the one that comes next. The triangle begins one key too late: "
         "`tril(p)`, or hide `triu(p + 1)`.", attends("one_ahead")),
    Slip("no_text", "Only the prefix is seen. A token also sees itself and the text before it.",
         attends("prefix_only")),
    Slip("upper", "`triu` is the other triangle: a token sees what stands before it, `tril(p)`.",
         attends("upper")),
    Slip("no_softmax", "The scores are no shares yet: the softmax is missing.",
         attends("no_softmax")),
    Slip("inverted", "`masked_fill` hides where its mask is True: here it hides what may be seen.",
         lambda i: {"y": lambda v: v.shape == i["q"].shape and np.allclose(
             v[:, :, :-1], attention(i, "inverted")[:, :, :-1], rtol=1e-3, atol=1e-4)}),
    Slip("prefix_hidden", "Of the prefix nothing is hidden: every token sees all p keys.",
         attends("prefix_causal")),
    Slip("behind", "In `cat` the prefix comes first, then the text. The triangle counts on that.",
         attends("behind")),
    Slip("crossed", "`prefix_k` goes with the keys, `prefix_v` with the values.",
         attends("v_as_k", "k_as_v", "crossed")),
    Slip("apart", "One softmax over prefix and text together: what a token gives to the prefix it "
         "takes from the text.", attends("apart")),
    Slip("axis", "A token's shares add up to 1 over the keys: `softmax(-1)`.", attends("axis")),
    Slip("flat", "The heads stay apart: (B, H, T, h) comes out.",
         lambda i: [{"y": lambda v: v.ndim == 3 and v.size == i["q"].size},
                    {"y": attention(i).swapaxes(1, 2)}]),
    Slip("in_place", "What was given stays as it is: no `*=`, `/=` or a name that ends in `_`.",
         seen_as(left=lambda v: v > 0)),
    cut(*QKV),
    Slip("no_prefix", "The prefix has no effect. Its keys and values stand before those of the "
         "text.", attends("no_prefix")),
    Slip("keys_only", "The prefix has values too: what a token takes from it.",
         attends("keys_only")),
    Slip("tiled", "Neighbouring query heads share a key head. `repeat` deals them out in turn: use "
         "`repeat_interleave`, for keys and values.", attends("tiled", "tiled_k", "tiled_v")),
    Slip("no_scale", "The scores are not divided by the square root of the head size.",
         attends("no_scale")),
    Slip("wrong_scale", "Divide by the square root of h, the size of one head.",
         attends("by_h", "by_width", "scaled_up", "by_T", "by_keys", "by_H")),
    Slip("zero_scores", "A score of 0 still gets a share: e to the power 0 is 1. Hide with minus "
         "infinity.", attends("zeros")),
    Slip("masked_late", "Hidden after the softmax, the shares no longer add up to 1. Hide the "
         "scores before it.", attends("after")),
)  # fmt: skip

attend = Check(
    name="attend", title="A prefix as past keys and values", wants=("attend",),
    difficulty=4, minutes=18, points=25,
    verified="the output of every head and token, with fewer key heads than query heads",
    hints=(
        "Write the shape of the scores first. Which of their columns belong to the prefix?",
        "Join prefix and text along the token axis, repeat the key heads until there are H, and "
        "hide what stands after a token in the text; of the prefix nothing is hidden.",
        "`torch.cat([prefix_k.expand(B, -1, -1, -1), k], 2).repeat_interleave(H // G, 1)`, and the "
        "mask `torch.ones(T, p + T, dtype=torch.bool).tril(p)`.",
    ),
    slips=ATTEND, other="Take T = 1 first: one token sees the p keys and itself.",
    make=make_attend, probe=probe_attend, judge=judge_attend,
)  # fmt: skip


# 13.4 IA3 and its merge
IA3_CASES = {  # key: shape of the weight, a bias, feedforward
    "out": ("wide", True, False),
    "in": ("wide", True, True),
    "square": ("square", True, False),
    "square_in": ("square", True, True),
    "bare": ("wide", False, False),
    "bare_in": ("wide", False, True),
}
HALVES = ("scaled", "fold")
SQUARE = ("square", "square_in")


def make_ia3(seed):
    rng = np.random.default_rng(seed + 1600)
    f, (d_in, d_out, rows) = fixtures.normal(rng), fixtures.sizes(rng, 3, 3, 8)
    made = {"x_wide": f(2, rows, d_in), "x_square": f(2, rows, d_out)}
    made |= {"W_wide": f(d_out, d_in), "W_square": f(d_out, d_out), "b": f(d_out)}
    return made | {"l_out": f(d_out), "l_in_wide": f(d_in), "l_in_square": f(d_out)}


def parts(a, key):
    """x, weight, bias or None, scale, feedforward of a case."""
    shape, bias, inner = IA3_CASES[key]
    scale = a[f"l_in_{shape}"] if inner else a["l_out"]
    return a[f"x_{shape}"], a[f"W_{shape}"], a["b"] if bias else None, scale, inner


def probe_ia3(namespace, a):
    made = {}
    for name in HALVES:
        made |= fixtures.attempt(name, lambda name=name: half(namespace[name], a, name))
        if f"raised:{name}" in made:  # a square layer shows what was scaled instead
            made |= fixtures.attempt("", lambda name=name: half(namespace[name], a, name, SQUARE))
    made.pop("raised:", None)
    return fixtures.unless_all_open(made, HALVES)


def half(function, a, name, cases=tuple(IA3_CASES)):
    made, changed = {}, []
    for key in cases:
        x, W, b, scale, inner = parts(a, key)
        given = [None if t is None else tensor(t) for t in (x, W, b, scale)]
        before = callers.Before(*[t for t in given if t is not None])
        if name == "scaled":
            y = function(*given, inner)
            made[f"y_{key}"] = array(y, "what scaled returns")
            if key in ("out", "in"):
                places = {f"x_{key}": given[0].requires_grad_(), f"l_{key}": given[3]}
                given[3].requires_grad_()
                made |= slopes_seen(function(*given, inner), places)
                given[0].requires_grad_(False)
                given[3].requires_grad_(False)
        else:
            pair = function(*given[1:], inner)
            made |= folded(pair, key, b is None)
        changed.append(before.change())
    return made | {f"left_{name}": max(changed)}


def folded(pair, key, bare):
    from lora_course.checks.values import Refused, kind

    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise Refused("type", f"fold returns {kind(pair)}.", "two values: a weight and a bias.")
    weight, bias = pair
    made = {f"W_{key}": array(weight, "the weight")}
    if bare:
        return made | {f"none_{key}": bias is None}
    made[f"there_{key}"] = bias is not None
    if bias is None:
        return made
    return made | {f"b_{key}": array(bias, "the bias")}


def output(i, key, kind=""):
    x, W, b, scale, inner = parts(i, key)
    b = 0 if b is None else b
    if kind == "by_shape" and len(scale) == len(W):
        inner = False
    if kind == "bias_after":
        return (x * scale) @ W.T + b if inner else (x @ W.T) * scale + b
    if kind == "plus_one":
        scale = 1 + scale
    return (x * scale) @ W.T + b if inner else (x @ W.T + b) * scale


def as_if(i, key, inner):
    """(output, weight, bias) of a square case with this value of `feedforward`."""
    x, W, b, scale, _ = parts(i, key)
    y = (x * scale) @ W.T + b if inner else (x @ W.T + b) * scale
    return y, W * scale if inner else W * scale[:, None], b if inner else b * scale


def turned(out, inner):
    """Values of both square cases when these are treated as inputs or as outputs."""

    def values(i):
        (y, W, _), (y_in, W_in, _) = as_if(i, "square", out), as_if(i, "square_in", inner)
        return [{"y_square": y, "y_square_in": y_in}, {"W_square": W, "W_square_in": W_in}]

    return values


def merged_pair(i, key, kind=""):
    """(weight, bias or None) of a case, or that of a mistake."""
    _, W, b, scale, inner = parts(i, key)
    if kind == "by_shape" and len(scale) == len(W):
        inner = False
    if kind == "plus_one":
        scale = 1 + scale
    weight = W * scale if inner else W * scale[:, None]
    scaled = kind == "bias_by_shape" and len(scale) == len(W) or (not inner and kind != "bias_left")
    return weight, b * scale if scaled and b is not None else b


def judge_ia3(i, o):
    first = [Promise(f"y_{key}", output(i, key), f"for {case_words(key)} the output",
                     rtol=1e-3, atol=1e-4) for key in IA3_CASES]  # fmt: skip
    first += [callers.unchanged("left_scaled", "what scaled was given")]
    for key in ("out", "in"):
        for name, what in ((0, "x"), (3, "scale")):
            first.append(scale_slope(i, key, name, what))
    second = []
    for key in IA3_CASES:
        weight, bias = merged_pair(i, key)
        second.append(Promise(f"W_{key}", weight, f"for {case_words(key)} the weight"))
        if bias is None:
            second.append(Promise(f"none_{key}", 1, seen=f"for {case_words(key)} a bias is "
                                  "returned", expected="None"))  # fmt: skip
        else:
            second.append(Promise(f"there_{key}", 1, seen=f"for {case_words(key)} None in place "
                                  "of the bias", expected="a bias"))  # fmt: skip
            second.append(Promise(f"b_{key}", bias, f"for {case_words(key)} the bias"))
    second += [callers.unchanged("left_fold", "what fold was given")]
    return in_parts(one_half(i, o, first, "scaled"), one_half(i, o, second, "fold"))


def one_half(i, o, promises, name):
    """The verdict on a half; where it raised, by what it did to square layers, if that is known."""
    said = judged(i, o, promises, IA3, part=name)
    if said.mistake != "raised":
        return said
    square = [p for p in promises if p.key[2:] in SQUARE]
    known = judged(i, o, square, TURNED)
    return known if known.mistake not in ("", "other") else said


def scale_slope(i, key, place, what):
    """The promise that a gradient reaches x or the scale of a case."""
    name = ("x_wide", "", "", "l_out" if key == "out" else "l_in_wide")[place]
    right = slope(i, name, lambda changed: output(changed, key))
    seen = f"for {case_words(key)} along one direction, the gradient of {what}"
    return Promise(f"slope_{'x' if what == 'x' else 'l'}_{key}", right, seen,
                   rtol=1e-2, atol=1e-3)  # fmt: skip


def case_words(key):
    shape, bias, inner = IA3_CASES[key]
    words = "a square layer" if shape == "square" else "a layer"
    return f"{words} {'with' if bias else 'without'} a bias, feedforward = {inner},"


def outputs_are(*kinds):
    return lambda i: [{f"y_{key}": output(i, key, kind) for key in IA3_CASES} for kind in kinds]


def folds_are(*kinds):
    return lambda i: [
        {f"{name}_{key}": value for key in IA3_CASES
         for name, value in zip("Wb", merged_pair(i, key, kind), strict=True) if value is not None}
        for kind in kinds
    ]  # fmt: skip


TURNED = (  # what square layers show
    Slip("exchanged", "The two are in each other's place: with `feedforward` the input is scaled, "
         "the columns of the weight; without it the output, the rows.", turned(True, False)),
    Slip("inputs_alone", "This scales inputs, the columns, in both cases. Without `feedforward` "
         "the output is scaled: the rows of the weight (in `fold`, `scale[:, None]`).",
         turned(True, True)),
    Slip("outputs_alone", "This scales outputs, the rows, in both cases. With `feedforward` the "
         "input is scaled: the columns.", turned(False, False)),
    Slip("bias_of_inputs", "With `feedforward` the input is scaled, and the bias stays as it is.",
         lambda i: {"W_square_in": as_if(i, "square_in", True)[1],
                    "b_square_in": i["b"] * i["l_in_square"]}),
)  # fmt: skip


def with_scale(rule):
    """Values of one case when rule(scale) stands in place of the scale."""

    def values(i):
        made = []
        for key in ("out", "in"):
            changed = {**i, "l_out": rule(i["l_out"]), "l_in_wide": rule(i["l_in_wide"])}
            made += [{f"y_{key}": output(changed, key)}, {f"W_{key}": merged_pair(changed, key)[0]}]
        return made

    return values


def with_sum(i):
    """Values of one case when the scale is added."""
    x, W, b, scale, _ = parts(i, "out")
    inner, one = parts(i, "in")[3], x @ W.T + b
    return [{"y_out": one + scale}, {"y_in": (x + inner) @ W.T + b},
            {"W_out": W + scale[:, None]}, {"W_in": W + inner}]  # fmt: skip


IA3 = (
    Slip("not_scaled", "The scale has no effect here.", with_scale(np.ones_like)),
    Slip("scaled_twice", "The scale was multiplied in twice.", with_scale(np.square)),
    Slip("divided", "The scale multiplies; here it divides.", with_scale(lambda s: 1 / s)),
    Slip("bias_lost", "The bias is missing: the layer has one, and so has what it is merged into.",
         lambda i: [{"y_out": output(i | {"b": 0 * i["b"]}, "out")}, {"there_out": 0},
                    {"y_in": output(i | {"b": 0 * i["b"]}, "in")}, {"there_in": 0}]),
    Slip("added", "The scale multiplies; here it is added.", with_sum),
    Slip("bias_after", "The scale multiplies the whole output, bias included. Add the bias first.",
         outputs_are("bias_after")),
    Slip("plus_one", "The scale itself multiplies; it starts at 1. 1 + scale starts at 2.",
         lambda i: [*outputs_are("plus_one")(i), *folds_are("plus_one")(i),
                    {"y_out": output(i, "out", "plus_one"), "y_in": output(i, "in")},
                    {"y_in": output(i, "in", "plus_one"), "y_out": output(i, "out")}]),
    Slip("bias_left", "The output is scaled with its bias, so the merged bias is scaled too.",
         folds_are("bias_left")),
    Slip("by_shape", "A square layer does not tell by its shape what is scaled: ask `feedforward`. "
         "Outputs are rows, with the bias; inputs are columns, without it.",
         lambda i: [{"y_square_in": output(i, "square_in", "by_shape"), "y_in": output(i, "in")},
                    {"W_square_in": merged_pair(i, "square_in", "by_shape")[0],
                     "W_in": merged_pair(i, "in")[0]},
                    {"b_square_in": i["b"] * i["l_in_square"], "b_in": i["b"]},
                    {"y_square": as_if(i, "square", True)[0], "y_out": output(i, "out"),
                     "y_square_in": output(i, "square_in")},
                    {"W_square": as_if(i, "square", True)[1], "W_out": merged_pair(i, "out")[0],
                     "W_square_in": merged_pair(i, "square_in")[0]}]),
    Slip("in_place", "`*=` changes what was given; a merge that fails halfway could not be "
         "repeated. Return new tensors.",
         lambda i: [{"left_fold": lambda v: v > 0}, {"left_scaled": lambda v: v > 0}]),
    Slip("bias_made", "A layer without a bias has none after the merge: return None in its place.",
         lambda i: [{f"none_{key}": 0} for key in ("bare", "bare_in")]),
    cut("x_out", "l_out", "x_in", "l_in"),
)  # fmt: skip

ia3 = Check(
    name="ia3", title="IA³ and its merge", wants=("scaled", "fold"),
    difficulty=3, minutes=12, points=20,
    verified="wide and square layers, with and without a bias, scales of outputs and of inputs",
    hints=(
        "Write y[o] = sum over i of W[o, i] x[i] + b[o]. Where does a factor for o go? One for i?",
        "A factor of the output multiplies a row of W and its bias, a factor of the input a column "
        "of W and no bias.",
        "`weight * scale[:, None]` and `bias * scale`; with feedforward `weight * scale` and the "
        "bias as it is.",
    ),
    slips=(*IA3, *TURNED),
    other="Compare `linear(x, *fold(...))` with `scaled(x, ...)` for one case.",
    make=make_ia3, probe=probe_ia3, judge=judge_ia3,
)  # fmt: skip


# 13.5 Any method's count
METHODS = ("lora", "bottleneck", "prompt", "prefix", "ia3")
WIDTHS = ("n", "blocks", "d", "q", "kv", "ff")
ROUNDS = 2
OTHERS = {"adapters": "other", "LoRA": "letters", "pre": "start"}  # methods that are none


def make_count(seed):
    rng, made = np.random.default_rng(seed + 1700), {}
    for case in range(ROUNDS):
        drawn = fixtures.sizes(rng, 6, 3, 40)
        made |= {f"{name}{case}": value for name, value in zip(WIDTHS, drawn, strict=True)}
    return made


def given(a, case):
    return {name: int(a[f"{name}{case}"]) for name in WIDTHS}


def probe_count(namespace, a):
    made = {}
    for case in range(ROUNDS):
        for method in METHODS:
            value = namespace["count"](method, **given(a, case))
            made[f"{method}{case}"] = array(value, f"count({method!r}, ...)")
    for name, key in OTHERS.items():
        call = lambda name=name: namespace["count"](name, **given(a, 0))  # noqa: E731
        made |= callers.failing(key, call, ValueError, names=name)
    return made


def numbers(i, case, method, kind=""):
    """The count, or that of a mistake."""
    n, L, d, q, kv, ff = (int(i[f"{name}{case}"]) for name in WIDTHS)
    layers = [(d, q), (d, kv), (d, kv), (q, d), (d, ff), (d, ff), (ff, d)]
    one = 2 * n * d + n + d
    return {
        "lora": {
            "": L * sum(n * (i + o) for i, o in layers),
            "product": L * sum(n * i * o for i, o in layers),
            "full": L * sum(i * o for i, o in layers),
            "larger": L * sum(n * max(i, o) for i, o in layers),
            "in": L * sum(n * i for i, o in layers),
            "out": L * sum(n * o for i, o in layers),
            "one_block": sum(n * (i + o) for i, o in layers),
            "square_q": L * n * (4 * d + 2 * (d + kv) + 3 * (d + ff)),
            "mha": L * n * (8 * d + 3 * (d + ff)),
            "no_rank": L * sum(i + o for i, o in layers),
            "q_only": L * (sum(n * (i + o) for i, o in layers) + n * (d - q)),
        },
        "bottleneck": {
            "": 2 * L * one,
            "no_bias": 2 * L * 2 * n * d,
            "one_bias": 2 * L * (2 * n * d + n),
            "two_n": 2 * L * (2 * n * d + 2 * n),
            "two_d": 2 * L * (2 * n * d + 2 * d),
            "one": L * one,
            "one_block": 2 * one,
            "half": 2 * L * (n * d + n + d),
            "behind_ff": L * (one + 2 * n * ff + n + ff),
            "swapped": L * (2 * n * q + n + q + 2 * n * ff + n + ff),
        },
        "prompt": {"": n * d, "layers": n * d * L, "only_n": n, "only_d": d},
        "prefix": {
            "": n * L * 2 * kv,
            "keys": n * L * kv,
            "q": n * L * 2 * q,
            "d": n * L * 2 * d,
            "one_layer": n * 2 * kv,
            "no_n": L * 2 * kv,
            "prompt": n * d,
            "both": n * L * 2 * kv + n * d,
        },
        "ia3": {
            "": L * (2 * kv + ff),
            "d": L * (2 * d + ff),
            "q": L * (2 * q + ff),
            "down_out": L * (2 * kv + d),
            "one_block": 2 * kv + ff,
            "one": L * (kv + ff),
            "times_n": n * L * (2 * kv + ff),
            "no_ff": L * 2 * kv,
            "qkv": L * (q + 2 * kv + ff),
            "gate": L * (2 * kv + 2 * ff),
            "plus_d": L * (2 * kv + ff + d),
        },
    }[method][kind]


def some_of(i, case, few):
    """The count of LoRA in so many layers as wide as q and o, k and v, gate and up, down."""
    n, L, d, q, kv, ff = (int(i[f"{name}{case}"]) for name in WIDTHS)
    return L * n * sum(k * (d + w) for k, w in zip(few, (q, kv, ff, ff), strict=True))


def judge_count(i, o):
    promises = []
    for case in range(ROUNDS):
        words = ", ".join(f"{name} = {value}" for name, value in given(i, case).items())
        for method in METHODS:
            right, what = numbers(i, case, method), f"{method} for {words}"
            promises.append(Promise(f"{method}{case}", right, what, rtol=0, atol=0.5))
    for name, key in OTHERS.items():
        promises += callers.raises(o, key, f"{name!r}", "ValueError", name)
    return judged(i, o, promises, COUNT)


def counts_are(method, *kinds):
    """Both cases of a method count in this way."""
    return lambda i: [
        {f"{method}{case}": numbers(i, case, method, kind) for case in range(ROUNDS)}
        for kind in kinds
    ]


def any_of(*options):
    return lambda i: [values for option in options for values in option(i)]


COUNT = (
    Slip("product", "A is (n, in) and B (out, n): n (in + out) numbers, not in · out or another "
         "product.", counts_are("lora", "product", "full", "larger", "in", "out")),
    Slip("factor", "The count is right up to a factor. How many of these are in a block? Is one "
         "counted twice?",
         lambda i: [{f"{method}{case}": times * numbers(i, case, method) for case in range(ROUNDS)}
                    for method in METHODS for times in (2, 3, 3.5, 4, 7)]),
    Slip("no_n", "n is missing: a prefix has n keys and n values in every block.",
         counts_are("prefix", "no_n")),
    Slip("rank", "The rank is missing: A has n rows and B n columns.",
         counts_are("lora", "no_rank")),
    Slip("some_layers", "LoRA goes into all seven layers of a block: q, k, v, o, gate, up, down.",
         lambda i: [{f"lora{case}": some_of(i, case, few) for case in range(ROUNDS)}
                    for few in product((0, 1, 2), (0, 1, 2), (0, 1, 2), (0, 1)) if any(few)
                    and few != (2, 2, 2, 1)]),
    Slip("q_is_not_d", "All query heads together need not be as wide as the model: q: d → q, "
         "o: q → d, and k and v: d → kv.", counts_are("lora", "square_q", "mha", "q_only")),
    Slip("one_block", "Every block has its own: times `blocks`.",
         any_of(counts_are("lora", "one_block"), counts_are("bottleneck", "one_block"),
                counts_are("prefix", "one_layer"), counts_are("ia3", "one_block"))),
    Slip("biases", "A bottleneck has two biases: n below, d above.",
         counts_are("bottleneck", "no_bias", "one_bias", "two_n", "two_d")),
    Slip("one_adapter", "A block has two bottlenecks, behind o and behind down.",
         counts_are("bottleneck", "one")),
    Slip("one_matrix", "A bottleneck has a way down and a way up: twice n d.",
         counts_are("bottleneck", "half")),
    Slip("wrong_side", "A bottleneck stands behind its layer, so it is as wide as the output: d "
         "for both.", counts_are("bottleneck", "behind_ff", "swapped")),
    Slip("prompt_layers", "A prompt stands before the text once. What has numbers in every layer "
         "is a prefix.", counts_are("prompt", "layers")),
    Slip("prompt_width", "Each of the n vectors has d numbers.",
         counts_are("prompt", "only_n", "only_d")),
    Slip("keys_only", "A prefix has keys and values: twice.", counts_are("prefix", "keys")),
    Slip("query_heads", "Keys and values have kv numbers; with grouped-query attention that is "
         "less than q or d.", any_of(counts_are("prefix", "q", "d"), counts_are("ia3", "d", "q"))),
    Slip("prefix_is_prompt", "That counts a prompt: one vector before the text. A prefix is in "
         "every layer.", counts_are("prefix", "prompt")),
    Slip("no_prompt", "A prefix has no vectors before the text: keys and values are all.",
         counts_are("prefix", "both")),
    Slip("silent", "What is none of the five names must not get a number, not in other letters "
         "either: `raise ValueError`, with the name in its text.",
         lambda i: [{f"{key}_{what}": value} for key in OTHERS.values()
                    for what, value in (("error", lambda v: v != 1), ("names", 0))]),
    Slip("down_output", "IA³ scales the input of down, which has ff numbers.",
         counts_are("ia3", "down_out")),
    Slip("ia3_part", "IA³ has three vectors in a block: for k, for v and for the input of down.",
         counts_are("ia3", "one", "no_ff", "qkv", "gate", "plus_d")),
    Slip("ia3_n", "A scale has one number for each place; n plays no part in it.",
         counts_are("ia3", "times_n")),
)  # fmt: skip

count = Check(
    name="count", title="Any method's count", wants=("count",),
    difficulty=2, minutes=12, points=15,
    verified="five methods on two shapes whose widths all differ, and another method refused",
    hints=(
        "For each method: which tensors train, of which shape, and how often do they occur?",
        "LoRA: n (in + out) a layer. A bottleneck: 2 n d + n + d, two in a block. A prompt: once. "
        "A prefix: keys and values in every block. IA³: a vector each for k, v and the input of "
        "down.",
        "`blocks * sum(n * (i + o) for i, o in layers)`, `blocks * 2 * (2 * n * d + n + d)`, "
        "`n * d`, `n * blocks * 2 * kv`, `blocks * (2 * kv + ff)`.",
    ),
    slips=COUNT, other="Count one block by hand with small numbers, tensor by tensor.",
    make=make_count, probe=probe_count, judge=judge_count,
)  # fmt: skip

EXERCISES = (bottleneck, prepend, attend, ia3, count)
