"""Checks of chapter 16: LoRA in a convolution, blocks of a ViT, patch labels, a placeholder."""

import re

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, in_parts, judged
from lora_course.checks.values import Refused, array, kind

# 16.1 LoRA in a convolution
CONVS = {  # key: stride, padding, dilation, bias
    "plain": ((1, 1), (0, 0), (1, 1), True),
    "stride": ((2, 3), (0, 0), (1, 1), True),
    "padding": ((1, 1), (2, 1), (1, 1), True),
    "dilation": ((1, 1), (0, 0), (2, 3), False),
    "all": ((2, 1), (3, 2), (2, 1), True),
}
CONV_WORDS = {
    "plain": "a plain convolution",
    "stride": "a stride of (2, 3)",
    "padding": "padding (2, 1)",
    "dilation": "dilation (2, 3), no bias",
    "all": "stride (2, 1), padding (3, 2) and dilation (2, 1)",
}
CONV_HALVES = ("lora_conv", "conv_delta")


def make_lora_conv(seed):
    rng = np.random.default_rng(seed + 1600)
    f, (r, d_in, d_out) = fixtures.normal(rng), fixtures.sizes(rng, 3, 2, 6)
    made = {"x": f(2, d_in, 11, 9), "W": f(d_out, d_in, 3, 2), "b": f(d_out)}
    made |= {"A": f(r, d_in, 3, 2), "B": f(d_out, r)}
    return made | {"scaling": float(rng.choice((0.3, 1.7, 2.6)))}


def probe_lora_conv(namespace, a):
    made = {}
    for name in CONV_HALVES:
        made |= fixtures.attempt(name, lambda name=name: conv_half(namespace[name], a, name))
    return fixtures.unless_all_open(made, CONV_HALVES)


def conv_half(function, a, name):
    import torch
    from torch import nn

    A, B, x = (tensor(a[key]) for key in ("A", "B", "x"))
    before = callers.Before(A, B, x)
    if name == "conv_delta":
        made = {"delta": array(function(A, B, float(a["scaling"])), "what conv_delta returns")}
        return made | {"left_conv_delta": before.change()}
    made = {}
    for key, (stride, padding, dilation, bias) in CONVS.items():
        shape = a["W"].shape
        conv = nn.Conv2d(shape[1], shape[0], shape[2:], stride, padding, dilation, bias=bias)
        with torch.no_grad():
            conv.weight.copy_(tensor(a["W"]))
            if bias:
                conv.bias.copy_(tensor(a["b"]))
        given = callers.Before(conv)
        y = fixtures.in_case(
            f"with {CONV_WORDS[key]}", lambda c=conv: function(c, A, B, float(a["scaling"]), x)
        )
        made[f"y_{key}"] = array(y, "what lora_conv returns")
        made["left_conv"] = max(made.get("left_conv", 0), given.change())
    made["left_lora_conv"] = before.change()
    leaves = [t.clone().requires_grad_() for t in (A, B, x)]
    own_A, own_B, own_x = (leaf * 1 for leaf in leaves)
    y = function(conv, own_A, own_B, float(a["scaling"]), own_x)
    if getattr(y, "requires_grad", False):
        y.sum().backward()
    for name, leaf in zip(("A", "B", "x"), leaves, strict=True):
        grad = 0 * leaf if leaf.grad is None else leaf.grad
        made[f"grad_{name}"] = array((grad * leaf).sum() if name == "x" else grad.any())
    return made


def slide(x, W, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """The convolution in numpy. x: (B, in, H, W). W: (out, in, kh, kw)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    h, w = (
        (x.shape[2 + k] - dilation[k] * (W.shape[2 + k] - 1) - 1) // stride[k] + 1 for k in (0, 1)
    )
    out = 0
    for i in range(W.shape[2]):
        for j in range(W.shape[3]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (h - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (w - 1) * stride[1] + 1, stride[1])
            out = out + np.einsum("bihw,oi->bohw", x[:, :, rows, columns], W[:, :, i, j])
    return out


def conv_output(i, key, mistake=""):
    stride, padding, dilation, bias = CONVS[key]
    base = slide(i["x"], i["W"], stride, padding, dilation)
    scaling = 1.0 if mistake == "no_scale" else i["scaling"]
    delta = np.einsum("or,rihw->oihw", i["B"], i["A"]) * scaling
    if mistake == "half_scale":
        delta = delta * scaling
    update = slide(i["x"], delta, stride, padding, dilation)
    if bias:
        base = base + i["b"][:, None, None]
        if mistake == "bias_scaled":
            update = update + i["scaling"] * i["b"][:, None, None]
        if mistake == "bias_twice":
            update = update + i["b"][:, None, None]
    if mistake == "no_bias" and bias:
        base = base - i["b"][:, None, None]
    if mistake == "all_scaled":
        base = base * scaling
    if mistake == "over_r":
        update = update / len(i["A"])
    if mistake == "times_r":
        update = update * len(i["A"])
    if mistake == "no_base":
        return update
    return base if mistake == "no_update" else base + update


def way_back(i, *parts):
    """x times its gradient, summed up: the outputs of the last convolution without a bias."""
    weights = {"base": i["W"], "update": i["scaling"] * np.einsum("or,rihw->oihw", i["B"], i["A"])}
    return sum(slide(i["x"], weights[part], *CONVS["all"][:3]).sum() for part in parts)


def judge_lora_conv(i, o):
    first = [
        callers.unchanged("left_conv", "the convolution that lora_conv was given"),
        callers.unchanged("left_lora_conv", "what lora_conv was given"),
    ]
    first += [Promise(f"y_{key}", conv_output(i, key), f"with {CONV_WORDS[key]} the output",
                      rtol=1e-3, atol=1e-3) for key in CONVS]  # fmt: skip
    first += [Promise(f"grad_{name}", 1, seen=f"through the output {name} gets no gradient",
                      expected="A, B and x get one") for name in "AB"]  # fmt: skip
    first.append(Promise("grad_x", way_back(i, "base", "update"),
                         "the sum of x times its gradient", rtol=1e-3, atol=1e-2))  # fmt: skip
    delta = i["scaling"] * np.einsum("or,rihw->oihw", i["B"], i["A"])
    second = [
        callers.unchanged("left_conv_delta", "what conv_delta was given"),
        Promise("delta", delta, "what conv_delta returns", rtol=1e-4, atol=1e-5),
    ]
    return in_parts(judged(i, o, first, LORA_CONV, part="lora_conv"),
                    judged(i, o, second, LORA_CONV, part="conv_delta"))  # fmt: skip


def conv_is(mistake):
    return lambda i: {f"y_{key}": conv_output(i, key, mistake) for key in CONVS}


def delta_is(change):
    return lambda i: {"delta": change(i, np.einsum("or,rihw->oihw", i["B"], i["A"]))}


LORA_CONV = (
    Slip("no_scale", "The update is not scaled: multiply it by `scaling`.",
         lambda i: [conv_is("no_scale")(i), delta_is(lambda i, d: d)(i)]),
    Slip("scaled_twice", "The scale is in there twice: once for A and once for B.",
         lambda i: [conv_is("half_scale")(i), delta_is(lambda i, d: i["scaling"] ** 2 * d)(i)]),
    Slip("no_base", "That is the update alone. Add what the convolution itself says.",
         conv_is("no_base")),
    Slip("no_update", "That is the convolution alone: A and B do not take part.",
         conv_is("no_update")),
    Slip("bias_twice", "The bias belongs to the base. A and B have none.",
         lambda i: [conv_is("bias_twice")(i), conv_is("bias_scaled")(i)]),
    Slip("no_bias", "The convolution's own bias is lost. `conv(x)` adds it where there is one.",
         conv_is("no_bias")),
    Slip("all_scaled", "`scaling` belongs to the update alone, not to what the convolution says.",
         conv_is("all_scaled")),
    Slip("over_r", "`scaling` is lora_alpha / r already: do not divide by r again, or multiply "
         "by it.",
         lambda i: [conv_is("over_r")(i), conv_is("times_r")(i)]
         + [delta_is(lambda i, d, f=f: i["scaling"] * d * len(i["A"]) ** f)(i) for f in (-1, 1)]),
    Slip("merged", "The update was written into the convolution's weight. The next call, and the "
         "base, would have it for good.", lambda i: {"left_conv": lambda v: v == 2}),
    Slip("changed", "What was given belongs to the caller: no `*=`, `+=` or `.data` on it, and "
         "leave the flags and parts of the convolution alone.",
         lambda i: [{"left_conv": lambda v: v in (1, 3, 4)}, {"left_lora_conv": lambda v: v > 0},
                    {"left_conv_delta": lambda v: v > 0}]),
    Slip("cut_off", "A tensor on the way was cut out of the graph, by `detach`, `.data` or "
         "`no_grad`, so that nothing before it learns.",
         lambda i: [{"grad_A": 0}, {"grad_B": 0}, {"grad_x": 0}]),
    Slip("base_cut", "x learns through the update alone, not through the convolution. Do not "
         "detach what the convolution says, or run it under `no_grad`.",
         lambda i: {"grad_x": way_back(i, "update")}),
    Slip("update_cut", "x learns through the convolution alone: the way through A must lead back "
         "to x as well.", lambda i: {"grad_x": way_back(i, "base")}),
    Slip("axes", "The weight's axes are (out, in, kh, kw), in this order, and `conv2d` turns none "
         "of them round.",
         lambda i: [delta_is(turned)(i) for turned in (
             lambda i, d: i["scaling"] * d[:, :, ::-1, ::-1],
             lambda i, d: i["scaling"] * d.swapaxes(0, 1),
             lambda i, d: i["scaling"] * d.swapaxes(2, 3),
             lambda i, d: i["scaling"] * d.reshape(d.swapaxes(0, 1).shape),
             lambda i, d: i["scaling"] * d.reshape(d.swapaxes(2, 3).shape),
             lambda i, d: i["scaling"] * d.reshape(len(d), -1).T.reshape(d.shape))]),
    Slip("flat", "Right numbers, as a matrix. A merge needs the weight's shape: (out, in, kh, kw).",
         delta_is(lambda i, d: i["scaling"] * d.reshape(len(d), -1))),
)  # fmt: skip

lora_conv = Check(
    name="lora_conv", title="LoRA in a convolution", wants=CONV_HALVES,
    difficulty=3, minutes=15, points=25,
    verified="five convolutions: stride, padding, dilation, with and without a bias; that they "
    "stay as they are, and A, B and x get gradients; and the merge",
    hints=(
        "A reads patches, just as the convolution does. B only mixes channels.",
        "A is a convolution with the stride, padding and dilation of the base; B is one of 1 × 1. "
        "For the merge flatten A to (r, in · kh · kw).",
        "`conv2d(x, A, None, conv.stride, conv.padding, conv.dilation)`, then "
        "`conv2d(down, B[:, :, None, None])`; `(B @ A.flatten(1)).view(len(B), *A.shape[1:])`.",
    ),
    slips=LORA_CONV, other="Begin with a 1 × 1 kernel: then both are linear layers.",
    make=make_lora_conv, probe=probe_lora_conv, judge=judge_lora_conv,
)  # fmt: skip


# 16.2 The last blocks of a ViT
STYLES = ("vit2.encoder.layer.{}.attention.{}", "2d.blocks.{}.mlp.{}", "{}.mix.{}")
CASES = ("long", "short", "gaps", "whole", "bare")  # whole: fewer blocks than are asked for


def make_last_blocks(seed):
    rng = np.random.default_rng(seed + 1700)
    blocks = int(rng.integers(11, 14))
    return {"blocks": blocks, "last": int(rng.integers(2, 4)), "style": int(rng.integers(2)),
            "order": rng.permutation(blocks)}  # fmt: skip


def layers_of(a, case):
    """({name: kind}, last) of a case."""
    first = int(a["style"])  # digits inside a part, at its end or at its start, are no numbers
    style = STYLES[
        {"long": first, "short": 1 - first, "gaps": first, "whole": 2}.get(case, 1 - first)
    ]
    blocks = [int(b) for b in a["order"]]
    if case == "bare":  # chosen ones stand first and last, and one has no linear layer
        low, middle, bare, high = sorted(blocks[:4])
        kinds = {high: "Linear", bare: "Conv2d", low: "Linear", middle: "Linear"}
        return {style.format(b, "fc2"): kind for b, kind in kinds.items()}, 3
    if case == "gaps":
        blocks = [b for b in blocks if b in (1, 8, 10)]  # a set has 8 first
    elif case != "long":
        blocks = [b for b in blocks if b < 3]
    made = {"patch.projection": "Conv2d", "stem": "Linear"}
    for b in blocks:
        made[style.format(b, "b_first")] = "Linear"
        made[style.format(b, "norm")] = "LayerNorm"
        made[style.format(b, "a_experts.12.up")] = "Linear"  # another number, later in the name
        made[style.format(b, "fc2")] = "Linear"  # a digit inside a part is no number
        made[style.format(b, "local")] = "Conv2d"
        made[style.format(b, "out_proj")] = "NonDynamicallyQuantizableLinear"
    if case == "whole":
        made["3"] = "Linear"  # a block that is one layer, at the end of its name
    made["classifier"] = "Linear"
    return made, {"long": int(a["last"]), "short": 1, "gaps": 2, "whole": 5}[case]


KINDS = {  # kinds that a mistake takes as well
    "any_kind": {"Conv2d", "LayerNorm", "NonDynamicallyQuantizableLinear"},
    "no_norm": {"Conv2d", "NonDynamicallyQuantizableLinear"},
    "conv_too": {"Conv2d"},
    "like_linear": {"NonDynamicallyQuantizableLinear"},
}


def numbers_in(name, mistake=""):
    """What is taken for a number in a name, in its order."""
    if mistake == "digits":
        return re.findall(r"\d+", name)
    parts = name.split(".")
    ends = {"between": (1, -1), "not_last": (0, -1), "not_first": (1, None)}
    parts = parts[slice(*ends.get(mistake, (0, None)))]
    if mistake in ("first_char", "last_char"):
        parts = [p[0 if mistake == "first_char" else -1] for p in parts]
    found = [p for p in parts if p.isdigit() and (mistake != "single" or len(p) == 1)]
    return found[::-1] if mistake == "last_number" else found


def chosen_names(a, case, mistake=""):
    layers, last = layers_of(a, case)

    def number(name):
        parts = numbers_in(name, mistake)
        none = {"as_zero": 0, "as_minus": -1, "as_high": 999}.get(mistake)  # of a name without one
        found = int(parts[0]) if parts else none
        return found or None if mistake == "falsy" else found

    seen = [n for n, k in layers.items() if k == "Linear" or mistake != "linear_alone"]
    numbers = {number(n) for n in seen} - {None}
    ordered = sorted(numbers, key=str) if mistake == "as_text" else sorted(numbers)
    if mistake == "as_given":
        ordered = list(dict.fromkeys(number(n) for n in layers if number(n) is not None))
    picked = ordered[:last] if mistake == "first" else ordered[-last:]
    if mistake == "one_more":
        picked = ordered[-last - 1 :]
    if mistake == "one_block":
        picked = ordered[-last:][:1] if last <= len(ordered) else ordered[:1]
    if mistake == "one_less":
        picked = ordered[-(last - 1) :]
    if mistake == "last_one":
        picked = ordered[-1:]
    if mistake == "repeated":
        picked = sorted(number(n) for n in layers if number(n) is not None)[-last:]
    if mistake == "in_a_row":
        picked = range(max(numbers) - last + 1, max(numbers) + 1)
    if mistake == "from_max":
        picked = range(max(numbers) - last, max(numbers) + 1)
    if mistake == "from_count":
        picked = range(len(numbers) - last, max(numbers) + 1)
    kinds = {"Linear"} | KINDS.get(mistake, set())
    names = [n for n, k in layers.items() if k in kinds and number(n) in picked]
    one_each = {"last_of_block": names, "first_of_block": names[::-1]}.get(mistake)
    if one_each is not None:
        kept = {number(n): n for n in one_each}.values()
        names = [n for n in names if n in kept]
    if mistake == "last_given":
        names = [n for n, k in layers.items() if k == "Linear" and number(n) is not None]
    if mistake in ("last_names", "last_given"):
        names = names[-last:]
    if mistake == "head":
        names = [n for n in layers if n in names or n == "classifier"]
    if mistake == "outside":
        names = [n for n in layers if n in names or (layers[n] == "Linear" and number(n) is None)]
    if mistake in ("by_block", "by_block_down"):
        names = sorted(names, key=number, reverse=mistake == "by_block_down")
    return sorted(names) if mistake == "sorted" else names


def flags(a, case, names):
    """Place in `names` of each layer, counted from 1; 0 for one that is not there."""
    return np.array([names.index(n) + 1 if n in names else 0 for n in layers_of(a, case)[0]])


def probe_last_blocks(namespace, a):
    made = {}
    for case in CASES:
        layers, last = layers_of(a, case)
        given = dict(layers)
        names = fixtures.in_case(f"for a model with the layers {', '.join(list(layers)[2:5])}, "
            f"..., and last = {last},", lambda g=given, n=last: namespace["last_blocks"](g, n),
        )  # fmt: skip
        if not isinstance(names, (list, tuple)):
            raise Refused("type", f"last_blocks returns {kind(names)}.", "a list of names.")
        names = list(names)
        made[f"names_{case}"] = flags(a, case, names)
        made[f"strange_{case}"] = len(names) - sum(n in names for n in layers)
        made[f"left_{case}"] = given == layers and list(given) == list(layers)
    call = lambda: namespace["last_blocks"]({"classifier": "Linear"}, 2)  # noqa: E731
    made |= callers.failing("none", call, ValueError)
    layers = {"blocks.0.fc": "Linear", "blocks.1.local": "Conv2d", "head": "Linear"}
    call = lambda: namespace["last_blocks"](layers, 1)  # noqa: E731
    return made | callers.failing("empty", call, ValueError)


def judge_last_blocks(i, o):
    promises = []
    for case in CASES:
        layers, last = layers_of(i, case)
        right = chosen_names(i, case)

        def seen(got, layers=layers):
            names = list(layers)
            order = sorted((p, n) for n, p in zip(names, got, strict=True) if p)
            return f"{len(order)} names: {', '.join(n for _, n in order[:4])}"

        promises += [
            Promise(f"strange_{case}", 0, "how many names are strange or stand twice,"),
            Promise(f"names_{case}", flags(i, case, right), seen=lambda got, s=seen: s(got),
                    expected=f"{len(right)} names: {', '.join(right[:4])} (last = {last})"),
            Promise(f"left_{case}", 1, seen="the dict that was given is changed",
                    expected="it stays as it is"),
        ]  # fmt: skip
    promises += callers.raises(o, "none", "a model with a head and no block", "ValueError")
    promises += callers.raises(o, "empty", "a last block that is one convolution", "ValueError")
    return judged(i, o, promises, LAST_BLOCKS)


def names_are(mistake, but=""):
    cases = [case for case in CASES if case != but]
    return lambda i: {f"names_{c}": flags(i, c, chosen_names(i, c, mistake)) for c in cases}


LAST_BLOCKS = (
    Slip("as_text", "Block 10 comes after block 9. As text it comes before: use `int`.",
         names_are("as_text")),
    Slip("as_given", "Blocks may come in any order: the last are those of the highest number.",
         names_are("as_given")),
    Slip("first", "Those are the first blocks.", names_are("first")),
    Slip("last_number", "The block is the first number of a name; a later one counts something "
         "inside it.", names_are("last_number")),
    Slip("any_kind", "Norms and convolutions are there, too: keep those of kind \"Linear\".",
         lambda i: [names_are(m)(i) for m in ("any_kind", "no_norm", "conv_too")]),
    Slip("like_linear", "Other kinds have `Linear` in their name, with other weights. Compare "
         "the whole kind.", names_are("like_linear")),
    Slip("digits", "A digit inside a part, as in `vit2`, is no number, and a number may have two "
         "digits: look at whole parts.",
         lambda i: [names_are(m)(i) for m in ("digits", "first_char", "last_char", "single")]),
    Slip("place", "The number may also be the first or the last part of a name: split it at the "
         "dots and look at all of them.",
         lambda i: [names_are(m)(i) for m in ("between", "not_last", "not_first")]),
    Slip("count", "`last` says how many blocks are kept.",
         lambda i: [names_are(m)(i) for m in ("one_more", "one_less", "one_block", "last_one")]),
    Slip("in_a_row", "Numbers may be missing: count the blocks that are there, not down from the "
         "highest.",
         lambda i: [names_are(m, but="whole")(i) for m in ("in_a_row", "from_max", "from_count")]),
    Slip("some_layers", "`last` counts blocks, not layers: a block may have several linear layers, "
         "and all of them are wanted.",
         lambda i: [names_are(m)(i) for m in (
             "last_of_block", "first_of_block", "last_names", "last_given", "repeated")]),
    Slip("changed", "The caller goes on with `layers`: read it, and collect in a new list.",
         lambda i: [{f"left_{case}": 0} for case in CASES]),
    Slip("linear_alone", "The last block is the last one, whether it has a linear layer or not. "
         "Read the numbers off all names.", names_are("linear_alone")),
    Slip("falsy", "Block 0 is a block. As a condition the number 0 is False: ask `is not None`.",
         names_are("falsy")),
    Slip("no_error", "Collect the names first. Where none is left, an empty list would train "
         "nothing, without a word: `raise ValueError(...)`.",
         lambda i: [{"none_error": lambda v: v != 1}, {"empty_error": lambda v: v != 1}]),
    Slip("head", "The head, and a stem, are linear, but stand in no block.",
         lambda i: [names_are(m)(i) for m in (
             "head", "outside", "as_zero", "as_minus", "as_high")]),
    Slip("sorted", "Right names, but in another order than they were given in.",
         lambda i: [names_are(m)(i) for m in ("sorted", "by_block", "by_block_down")]),
)  # fmt: skip

last_blocks = Check(
    name="last_blocks", title="The last blocks of a vision transformer", wants=("last_blocks",),
    difficulty=2, minutes=12, points=20,
    verified="names of three libraries, eleven blocks and more, blocks in any order and with gaps, "
    "no block and no linear layer at all",
    hints=(
        "Split a name at its dots. Which part tells the block?",
        "The first part for which `isdigit()` holds, as an int. Collect all numbers, sort them, "
        "keep the last ones.",
        "`next((int(p) for p in name.split('.') if p.isdigit()), None)`, and "
        "`sorted(numbers)[-last:]`.",
    ),
    slips=LAST_BLOCKS,
    other="Print the number that you read off each name, then the numbers that you keep.",
    make=make_last_blocks, probe=probe_last_blocks, judge=judge_last_blocks,
)  # fmt: skip


# 16.3 Labels of patches
PICTURES = ("first", "second")  # other sizes, another `least`; in the second, 0 is in `order`


def make_urgent(seed):
    rng = np.random.default_rng(seed + 1800)
    size = int(rng.choice((3, 4)))
    masks = rng.choice(5, p=(0.42, 0.2, 0.15, 0.13, 0.1), size=(2, 5 * size, 3 * size))
    order = rng.permutation([1, 2, 3])
    if order[0] == 1:  # neither up nor down
        order = order[::-1]
    if order.tolist() == [3, 2, 1]:
        order = order[[0, 2, 1]]
    masks[0, :size, :size] = 0
    masks[0, :size, size : 2 * size] = 4  # a class that nobody asks for
    masks[1, :2, :size] = order[1]
    made = {"masks_first": masks, "size_first": size, "least_first": 2, "order_first": order}
    size = 7 - size
    masks = rng.choice([0, 1, 5, 7], p=(0.35, 0.25, 0.2, 0.2), size=(3, 2 * size, 4 * size))
    order = np.array([[5, 0, 7], [7, 0, 5]][int(rng.integers(2))])
    masks[0, :size, :size] = 0
    masks[0, 0, :3] = order[2]  # enough of both, and 0 goes before
    masks[1, :size, :size] = order[2]
    masks[1, 0, :3] = order[0], order[0], order[1]  # enough together, too few of each
    masks[2, :size, :size] = order[2]
    made |= {"masks_second": masks, "size_second": size, "least_second": 3, "order_second": order}
    return {k: np.array(v, np.int64) for k, v in made.items()}


def picture(a, case):
    """(masks, size, least, order) of a case."""
    size, least = int(a[f"size_{case}"]), int(a[f"least_{case}"])
    return a[f"masks_{case}"], size, least, a[f"order_{case}"].tolist()


def probe_urgent(namespace, a):
    import torch

    made = {}
    for case in PICTURES:
        masks, size, least, order = picture(a, case)
        masks, given = tensor(masks), list(order)
        before = callers.Before(masks)
        out = fixtures.in_case(
            f"with size {size}, least {least} and masks of {tuple(masks.shape)}",
            lambda m=masks, s=size, n=least, g=given: namespace["urgent"](m, s, n, g),
        )
        made[f"labels_{case}"] = array(out, "what urgent returns")
        made[f"whole_{case}"] = isinstance(out, torch.Tensor) and out.dtype == torch.int64
        made |= {f"left_{case}": before.change(), f"order_left_{case}": given == order}
    return made


def labels_of(i, case, mistake=""):
    masks, size, least, order = picture(i, case)
    if mistake == "by_number":
        order = sorted(order)
    if mistake == "by_number_down":
        order = sorted(order, reverse=True)
    if mistake == "reversed":
        order = order[::-1]
    if mistake == "all_classes":
        order = [*order, *sorted(set(masks.flat) - set(order))]
    if mistake == "no_zero":
        order = [k for k in order if k]
    chapters = {"one_two": [1, 2], "two_one": [2, 1], "first_two": order[:2]}
    order = chapters.get(mistake, order)
    least = {"more": least + 1, "one": 1, "two": 2}.get(mistake, least)
    B, H, W = masks.shape
    made = np.zeros((B, H // size, W // size), np.int64)
    for place in np.ndindex(made.shape):
        b, y, x = place
        patch = masks[b, y * size : (y + 1) * size, x * size : (x + 1) * size]
        if mistake == "strided":
            patch = masks[b, y :: H // size, x :: W // size]
        if mistake == "reshaped":
            patch = masks.reshape(B, H // size, W // size, size, size)[place]
        part = {"first_row": patch[0], "first_column": patch[:, 0], "short": patch[:-1, :-1]}
        part = part.get(mistake, patch)
        counts = {k: int((part == k).sum()) for k in order}
        if mistake == "together":
            counts = dict(zip(order, np.cumsum(list(counts.values())), strict=True))
        fit = [k for k in order if counts[k] >= least]
        if mistake == "exact":
            fit = [k for k in order if counts[k] == least]
        if mistake == "most":
            fit = sorted(fit, key=lambda k, counts=counts: -counts[k])
        if mistake == "most_of_all":
            fit = [int(np.bincount(patch.reshape(-1)).argmax())]
        one = {"max": patch.max(), "min": patch.min(), "corner": patch[0, 0],
               "middle": patch[size // 2, size // 2]}  # fmt: skip
        fit = [int(one[mistake])] if mistake in one else fit
        nothing = {"minus_one": -1, "last": order[-1], "start": order[0]}.get(mistake, 0)
        made[place] = fit[0] if fit else nothing
        if mistake in ("place", "place_from_1") and fit:
            made[place] = order.index(fit[0]) + (mistake == "place_from_1")
        if mistake in ("flag", "counted") and fit:
            made[place] = 1 if mistake == "flag" else counts[fit[0]]
    if mistake == "transposed":
        made = made.transpose(0, 2, 1)
    return made


def judge_urgent(i, o):
    promises = []
    for case in PICTURES:
        promises += [
            callers.unchanged(f"left_{case}", "masks"),
            Promise(f"order_left_{case}", 1, seen="the list `order` is changed",
                    expected="it stays as it is"),
        ]  # fmt: skip
    for case in PICTURES:
        _, size, least, order = picture(i, case)
        what = f"with size {size}, least {least}, order {order} the classes"
        promises.append(Promise(f"labels_{case}", labels_of(i, case), what, rtol=0, atol=0.1))
    promises += [
        Promise(f"whole_{case}", 1, seen="the result is not an int64 tensor",
                expected="int64, as labels are") for case in PICTURES
    ]  # fmt: skip
    return judged(i, o, promises, URGENT)


def square(i, case):
    """A condition: the result has the size of one patch."""
    _, size, *_ = picture(i, case)
    return lambda v: v.shape[1:] == (size, size)


def labels_are(*mistakes):
    return lambda i: [{f"labels_{c}": labels_of(i, c, m) for c in PICTURES} for m in mistakes]


URGENT = (
    Slip("order", "The first of `order` wins, whatever its number: in a loop, the last one written "
         "stays.", labels_are("by_number", "by_number_down", "reversed")),
    Slip("most", "Urgent goes before frequent: not the class with most pixels, the first of "
         "`order` that has enough.", labels_are("most", "most_of_all")),
    Slip("at_least", "`least` itself is enough, and so is more: >=.", labels_are("more", "exact")),
    Slip("one_pixel", "One pixel is not enough: a class needs `least` of them.",
         labels_are("one")),
    Slip("two_pixels", "How many pixels are enough, `least` says. The chapter's 2 is one case.",
         labels_are("two")),
    Slip("zero", "0 in `order` is a class like the others: where it has won, a less urgent one "
         "may not write over it.", labels_are("no_zero")),
    Slip("place", "The label is the class itself: not its place in `order`, no count of pixels.",
         labels_are("place", "place_from_1", "flag", "counted")),
    Slip("strided", "`unflatten(1, (-1, size))` gives rows of patches, and in each its rows of "
         "pixels; then the same for the columns. Cut otherwise, a patch gets pixels of others.",
         lambda i: [*labels_are("strided", "reshaped")(i),
                    {f"labels_{c}": square(i, c) for c in PICTURES}]),
    Slip("left_out", "A class that is not in `order` never wins.", labels_are("all_classes")),
    Slip("max", "The largest number of a patch is not its most urgent class, nor is the smallest.",
         labels_are("max", "min")),
    Slip("corner", "Not all pixels of a patch were looked at. Count over its rows and its "
         "columns, both.", labels_are("corner", "middle", "short", "first_row", "first_column")),
    Slip("chapter_order", "Which classes there are, and which comes first, `order` says. The "
         "chapter's 1 and 2 are one case.", labels_are("one_two", "two_one", "first_two")),
    Slip("together", "Each class is counted by itself: pixels of two classes are not enough "
         "together.", labels_are("together")),
    Slip("none", "A patch where no class of `order` has enough pixels gets 0.",
         labels_are("minus_one", "last", "start")),
    Slip("changed", "The caller goes on with `order` and `masks`: `reversed(order)` makes no "
         "change, `.reverse()`, `.pop()` and `masks[...] =` do.",
         lambda i: [{"left_first": lambda v: v > 0}, {"order_left_first": 0}]),
    Slip("transposed", "Rows and columns are swapped.", labels_are("transposed")),
)  # fmt: skip

urgent = Check(
    name="urgent", title="Labels of patches", wants=("urgent",),
    difficulty=3, minutes=15, points=25,
    verified="pictures that are not square, two sizes of a patch, two values of `least`, orders "
    "of three classes, 0 among them",
    hints=(
        "How do you get all pixels of a patch next to each other?",
        "Reshape to (B, rows, size, columns, size), count each class over the two `size` axes, "
        "and write the classes from the least urgent up.",
        "`masks.unflatten(2, (-1, size)).unflatten(1, (-1, size))`, `(cut == k).sum((2, 4)) >= "
        "least`, `for k in reversed(order)`.",
    ),
    slips=URGENT,
    other="Take one patch and count by hand. Then look at the type, and at what was given.",
    make=make_urgent, probe=probe_urgent, judge=judge_urgent,
)  # fmt: skip


# 16.4 One placeholder, n vectors
def make_expand(seed):
    rng = np.random.default_rng(seed + 1900)
    f = fixtures.normal(rng)
    n, d = ((2, 7), (5, 6), (6, 5))[int(rng.integers(3))]  # not the chapter's four vectors
    B, T, V = 3, 8, 211  # a table with a row at -200, as that of any real model
    ids, labels = rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))
    at = rng.permutation([0, int(rng.integers(2, 5)), T - 1])
    ids[np.arange(B), at] = -200
    labels[:, :3] = -100
    return {"ids": ids, "labels": labels, "table": f(V, d), "seen": f(B, n, d)}


def probe_expand(namespace, a):
    import torch

    ids, labels, table, seen = (tensor(a[key]) for key in ("ids", "labels", "table", "seen"))
    before = callers.Before(ids, labels, table, seen)
    pair = namespace["expand"](ids, labels, table, seen)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise Refused("type", f"expand returns {kind(pair)}.", "two tensors: vectors and labels.")
    for part, what in zip(pair, ("vectors", "labels"), strict=True):
        if not isinstance(part, torch.Tensor):
            raise Refused("type", f"the {what} that expand returns: {kind(part)}.", "one tensor.")
    made = {"vectors": array(pair[0], "the vectors"), "asked": array(pair[1], "the labels")}
    made["whole"] = pair[1].dtype == torch.int64
    made["left"] = before.change()
    again = seen.clone().requires_grad_()
    vectors = namespace["expand"](ids, labels, table, again)[0]
    if getattr(vectors, "requires_grad", False):
        vectors.sum().backward()
    grad = again.grad
    return made | {
        "grad": np.zeros_like(a["seen"]) if grad is None else array(grad, "the gradient")
    }


def expanded(i, mistake=""):
    """(vectors, labels) of the batch, or those of a mistake."""
    vectors, asked = [], []
    pictures = np.roll(i["seen"], {"next": -1, "previous": 1}.get(mistake, 0), 0)
    for ids, labels, seen in zip(i["ids"], i["labels"], pictures, strict=True):
        at = int(np.flatnonzero(ids == -200)[0])
        if isinstance(mistake, int):
            at = mistake
        after = at if mistake in ("kept", "kept_cut") else at + 1
        if mistake == "one_picture":
            seen = i["seen"][0]
        if mistake == "ids":
            labels = ids
        rows = i["table"][ids]
        told_there = {"zeros": 0, "repeated": labels[at]}
        if mistake == "one_vector":
            seen = seen[:1].repeat(len(seen), 0)
        if mistake == "mean_vector":
            seen = seen.mean(0, keepdims=True).repeat(len(seen), 0)
        picture = np.full(len(seen), told_there.get(mistake, -100))
        if mistake == "backwards":
            seen = seen[::-1]
        if mistake == "kept_before":
            at += 1
        parts, told = [rows[:at], seen, rows[after:]], [labels[:at], picture, labels[after:]]
        if mistake == "front":
            rest = np.delete(np.arange(len(ids)), at)
            parts, told = [seen, rows[rest]], [picture, labels[rest]]
        if mistake == "labels_front":
            told = [picture, labels[:at], labels[after:]]
        if mistake == "labels_end":
            told = [labels[:at], labels[after:], picture]
        if mistake == "end":
            parts, told = [rows[:at], rows[after:], seen], [labels[:at], labels[after:], picture]
        if mistake in ("before", "both_sides"):
            told[0] = np.full_like(told[0], -100)
        if mistake in ("after", "both_sides"):
            told[2] = np.full_like(told[2], -100)
        if mistake == "own_label":
            told = [labels[: at + 1], picture[1:], labels[at + 1 :]]
        if mistake == "next_label":
            told = [labels[:at], picture[1:], labels[at:]]
        length = len(ids) - 1 + len(seen) if mistake == "kept_cut" else None
        vectors.append(np.concatenate(parts)[:length])
        asked.append(np.concatenate(told))
    asked = np.roll(np.stack(asked), {"left": -1, "right": 1}.get(mistake, 0), 1)
    return np.stack(vectors), asked


def judge_expand(i, o):
    vectors, asked = expanded(i)
    promises = [
        callers.unchanged("left", "what expand was given"),
        Promise("vectors", vectors, "the vectors", rtol=1e-4, atol=1e-5),
        Promise("asked", asked, "the labels", rtol=0, atol=0.1),
        Promise("whole", 1, seen="the labels are not int64", expected="int64, as those given"),
        Promise("grad", np.ones_like(i["seen"]), "the gradient of the sum for `seen`"),
    ]
    return judged(i, o, promises, EXPAND)


def one_number(i, v):
    """Labels that are right but for one number in the places of the picture."""
    right = expanded(i)[1]
    there = expanded(i, "zeros")[1] != right
    return v.shape == right.shape and np.array_equal(v[~there], right[~there]) and (
        len(np.unique(v[there])) == 1
    )  # fmt: skip


def expanded_is(mistake):
    def values(i):
        vectors, asked = expanded(i, mistake)
        return {"vectors": vectors, "asked": asked}

    return values


EXPAND = (
    Slip("elsewhere", "The picture stands where its placeholder stood, not before the text or "
         "after it.", lambda i: [{"vectors": expanded(i, m)[0]} for m in ("front", "end")]),
    Slip("one_picture", "Every row has its own picture.",
         lambda i: [expanded_is(m)(i) for m in ("one_picture", "next", "previous")]),
    Slip("kept", "The placeholder is still there: its vector of the table and its label both go.",
         lambda i: [expanded_is("kept")(i), {"asked": expanded(i, "kept")[1]},
                    *({"vectors": expanded(i, m)[0]}
                      for m in ("kept", "kept_before", "kept_cut"))]),
    Slip("one_place", "The placeholder stands elsewhere in every row: look for -200 in each.",
         lambda i: [expanded_is(at)(i) for at in range(i["ids"].shape[1])]),
    Slip("swapped", "The vectors come first, then the labels.",
         lambda i: {"vectors": expanded(i)[1]}),
    Slip("shifted", "Labels are not shifted here: the model itself compares each with the "
         "prediction one place before it.",
         lambda i: [{"asked": expanded(i, m)[1]} for m in ("left", "right")]),
    Slip("ids", "Those are the ids. `labels` says what is asked, with -100 in most places.",
         lambda i: {"asked": expanded(i, "ids")[1]}),
    Slip("backwards", "The vectors of the picture come in the wrong order.",
         expanded_is("backwards")),
    Slip("label_number", "Nothing is asked at -100, and at no other number: 0, -1 or -200 would be "
         "asked, or fail.", lambda i: {"asked": lambda v: one_number(i, v)}),
    Slip("own_label", "The placeholder's own label goes with it: nothing is asked at the picture.",
         lambda i: [{"asked": expanded(i, m)[1]} for m in ("own_label", "next_label", "repeated")]),
    Slip("labels_elsewhere", "The labels of the picture must stand where its vectors do.",
         lambda i: [{"asked": expanded(i, m)[1]} for m in ("labels_front", "labels_end")]),
    Slip("label_missing", "All labels but the placeholder's stay what they were: -100 comes in its "
         "place alone.",
         lambda i: [{"asked": expanded(i, m)[1]} for m in ("before", "after", "both_sides")]),
    Slip("one_vector", "The picture has n vectors, and each of them comes once.",
         lambda i: [{"vectors": expanded(i, m)[0]} for m in ("one_vector", "mean_vector")]),
    Slip("always_four", "The chapter's pictures have four vectors. Here n is `seen.shape[1]`.",
         lambda i: [{key: lambda v: v.shape[:2] == (len(i["ids"]), i["ids"].shape[1] + 3)}
                    for key in ("vectors", "asked")]),
    Slip("changed", "The caller goes on with ids, labels, table and seen: join pieces into new "
         "tensors, and write into none of those given.", lambda i: {"left": lambda v: v > 0}),
    Slip("no_gradient", "The projector behind `seen` would not train: do not detach or copy its "
         "numbers out.", lambda i: {"grad": np.zeros_like(i["seen"])}),
)  # fmt: skip

expand = Check(
    name="expand", title="One placeholder, n vectors", wants=("expand",),
    difficulty=3, minutes=18, points=30,
    verified="placeholders at the first, a middle and the last place, labels and their type, and "
    "the gradient",
    hints=(
        "Do one row first. What stands before the placeholder, and what after it?",
        "`torch.cat` of three parts: the table's rows before, the picture, the table's rows after. "
        "The same for the labels, with -100 in the middle.",
        "`at = int((row == -200).nonzero())`, `torch.cat([table[row[:at]], picture, "
        "table[row[at + 1:]]])`, then `torch.stack` over the rows.",
    ),
    slips=EXPAND,
    other="Do one row by hand: its length first (T - 1 + n), then each label, then the type.",
    make=make_expand, probe=probe_expand, judge=judge_expand,
)  # fmt: skip

EXERCISES = (lora_conv, last_blocks, urgent, expand)
