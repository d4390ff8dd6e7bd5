"""Checks of chapter 03: the layer, its delta weight, four broken starts, embeddings, more rank."""

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.fixtures import factor, trained
from lora_course.checks.slips import Promise, Slip, in_parts, judged, seen_as
from lora_course.checks.values import array
from lora_course.checks.wording import multiple, shape


# What several checks share
def zero(value):
    return bool(value == 0)


def some(value):
    return bool(value > 0)


def start(layer, base):
    """A and B as the learner starts them, and how many numbers would be trained."""
    a, b, own = factor(layer, "lora_A"), factor(layer, "lora_B"), {id(p) for p in base.parameters()}
    train = [p for p in layer.parameters() if p.requires_grad]
    inside = {t.data_ptr() for t in (*layer.parameters(), *layer.buffers())}
    return {
        "holds_base": base.weight.data_ptr() in inside,
        "A": array(a, "layer.lora_A"),
        "B": array(b, "layer.lora_B"),
        "is_trained": min(trained(a), trained(b)),
        "trains_base": sum(p.numel() for p in train if id(p) in own),
        "trains_rest": sum(p.numel() for p in train if id(p) not in own),
    }


def gradient(value):
    """The gradient of a tensor; zeros where none has come."""
    return array(value.detach() * 0 if value.grad is None else value.grad)


def rank_of(matrix):
    """The rank of a matrix whose rows are made equally long."""
    long = np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix = np.divide(matrix, long, out=np.zeros(matrix.shape), where=long > 0)
    return np.linalg.matrix_rank(matrix, tol=1e-3) if np.isfinite(matrix).all() else 0


def shape_promises(a_shape, b_shape):
    def right(wanted):
        return lambda v: v.shape == wanted

    return [
        Promise(key, right(wanted), expected=shape(np.empty(wanted)),
                seen=lambda v, key=key: f"lora_{key} has {shape(v)}")
        for key, wanted in (("A", a_shape), ("B", b_shape))
    ]  # fmt: skip


def train_promises(a_shape, b_shape):
    size = int(np.prod(a_shape) + np.prod(b_shape))
    return [
        Promise("is_trained", 1, seen="lora_A or lora_B would not be trained",
                expected="an nn.Parameter that requires a gradient"),
        Promise("trains_rest", size, seen="{} trainable numbers beside the base layer",
                expected=f"{size}, those of A and B"),
        Promise("trains_base", 0, seen="{} trainable numbers in the base layer", expected="0"),
        Promise("holds_base", 1, seen="the weight of the base layer is not inside", expected="the "
                "layer that was given, not a copy"),
    ]  # fmt: skip


def output_promises(i, o, cases, alpha):
    """The output in each case, as a multiple of the update where it is one.

    cases: {name: (base, update without its scale, r, words)}. Adds "scale" to the outputs.
    """
    promises, scales, right = [], [], []
    for name, (base, update, r, said) in cases.items():
        seen = o.get(f"y_{name}", np.zeros(0))
        c = multiple(seen - base, update) if seen.shape == base.shape else None
        scales.append(np.nan if c is None else c)
        right.append(alpha / r)
        what = f"{said}, with lora_alpha = {alpha:g} and r = {r}, the output"
        promises.append(Promise(f"y_{name}", base + alpha / r * update, what, rtol=1e-3, atol=1e-4))
    o["scale"] = np.array(scales)
    if np.isnan(scales).any():
        return promises

    def seen(v):
        n = int(np.argmax(~np.isclose(v, right, rtol=1e-3)))
        said, r = list(cases.values())[n][3], list(cases.values())[n][2]
        c = 0 if abs(v[n]) < 1e-6 else v[n]
        return f"{said}, the update is {c:.4g} * B A x, with lora_alpha = {alpha:g} and r = {r}"

    scale = Promise("scale", np.array(right), seen=seen, rtol=1e-3, atol=1e-3,
                    expected=" and ".join(f"{s:.4g}" for s in right))  # fmt: skip
    return [scale, *promises]


def scale_is(*functions):
    """A slip's values: the factor of the update as a function of alpha and r, in every case."""
    return lambda i: [{"scale": np.array([f(float(i["alpha"]), r) for r in ranks(i)])}
                      for f in functions]  # fmt: skip


def ranks(i):
    """The rank of each case of the check whose inputs these are."""
    return [int(r) for r in i["ranks"]]


SCALE = (
    Slip("no_scale", "The update is added without its scale. Multiply it by lora_alpha / r.",
         scale_is(lambda alpha, r: 1)),
    Slip("only_alpha", "The update is multiplied by lora_alpha alone. The scale is lora_alpha / r: "
         "it keeps the size of the update steady when r changes.", scale_is(lambda a, r: a)),
    Slip("whole_number", "`//` cuts the quotient down to a whole number. Divide with `/`.",
         scale_is(lambda alpha, r: alpha // r)),
    Slip("wrong_scale", "The product B A is right, its factor is not. The scale is lora_alpha / r, "
         "applied once.",
         scale_is(lambda alpha, r: alpha * r, lambda alpha, r: r / alpha, lambda alpha, r: 1 / r,
                  lambda alpha, r: (alpha / r) ** 2, lambda alpha, r: alpha / r**0.5)),
    Slip("minus", "The update is subtracted. Add it.", scale_is(lambda alpha, r: -alpha / r)),
)  # fmt: skip
NO_UPDATE = "With values in A and B, the update must be something."
COPIED = (
    "A copy was made, or a new layer. Keep the one that was given: `self.base_layer = base_layer`."
)
TRAINS = (
    Slip("base_copied", COPIED, seen_as(holds_base=0)),
    Slip("not_parameter", "Either it is a plain tensor (arithmetic after `nn.Parameter(...)` makes "
         "one: wrap last), or something froze it after it was made: freeze only `base_layer`.",
         seen_as(is_trained=0)),
    Slip("base_trains", "The base layer must be frozen: set `requires_grad` to False for each of "
         "its parameters.", seen_as(trains_base=lambda v: v > 0)),
)  # fmt: skip
EQUAL_ROWS = (
    "Rows of A that are equal, or multiples of one, stay so: their gradients are too. The update "
    "never gets beyond the rank that A starts with. Draw every entry of A on its own."
)
BOTH_ZERO = (
    "A and B are both zero. Then both gradients are zero for ever: each is a product with the "
    "other factor. One of them must be random."
)


# 3.1 The LoRA layer
STARTS = {"narrow": (64, 48), "broad": (400, 30)}  # name: in, out; r = 16
FILLED = {"wide": ("for 5 inputs and 8 outputs", 6), "square": ("for a square layer", 3)}


def make_linear(seed):
    rng = np.random.default_rng(seed)
    f = fixtures.normal(rng)
    thin = lambda m, n: np.linalg.qr(rng.normal(size=(m, n)))[0].astype(np.float32)  # noqa: E731
    sign = rng.choice([-1, 1], size=(3, 4, 5))
    return {
        **{
            "alpha": rng.choice([7, 8, 10, 11]),
            "p": rng.choice([0.2, 0.3]),
            "ranks": np.array([6, 3]),
        },
        **{f"W_{k}": f(out, d) for k, (d, out) in STARTS.items()},
        **{f"b_{k}": f(out) for k, (_, out) in STARTS.items()},
        **{"W_wide": f(8, 5), "b_wide": f(8), "A_wide": thin(6, 5), "B_wide": thin(8, 6) * 1.5},
        "x_wide": (sign * rng.uniform(0.5, 1.5, size=(3, 4, 5))).astype(np.float32),
        **{"W_square": f(7, 7), "A_square": f(3, 7), "B_square": f(7, 3), "x_square": f(1, 3, 7)},
        **{"g_wide": f(3, 4, 8), "g_square": f(1, 3, 7)},
        **{"W_default": f(6, 9), "A_default": f(8, 9), "B_default": f(6, 8), "x_default": f(4, 9)},
    }


def probe_linear(namespace, a):
    import torch

    layer_class, alpha, made = namespace["LoRALinear"], a["alpha"].item(), {}

    def layer(name, r, p=0.0):
        base = fixtures.linear(a[f"W_{name}"], a.get(f"b_{name}"))
        return layer_class(base, r=r, lora_alpha=alpha, lora_dropout=p), base

    for name in STARTS:
        begun = start(*layer(name, 16))
        made |= begun if name == "narrow" else {f"A_{name}": begun["A"]}
    for name, (_, r) in FILLED.items():
        filled, base = layer(name, r)
        before, x = callers.Before(base), tensor(a[f"x_{name}"]).requires_grad_()
        if not fixtures.fill(filled, a[f"A_{name}"], a[f"B_{name}"]):
            continue
        y = filled.eval()(x)
        made |= {f"y_{name}": array(y, "the output")}
        if isinstance(y, torch.Tensor) and y.requires_grad and y.shape == a[f"g_{name}"].shape:
            (y * tensor(a[f"g_{name}"])).sum().backward()
        grads = {"x": x, "A": factor(filled, "lora_A"), "B": factor(filled, "lora_B")}
        made |= {f"grad_{key}_{name}": gradient(value) for key, value in grads.items()}
        made[f"left_{name}"] = before.change(but=4)
    made |= by_default(layer_class, a, fixtures.linear(a["W_default"]))
    dropping, _ = layer("wide", 6, a["p"].item())
    x = tensor(a["x_wide"])
    for key, times in (("zero", 0), ("", 1)):
        if not fixtures.fill(dropping, a["A_wide"], times * a["B_wide"]):
            return made
        made[f"y_{key}_train".replace("__", "_")] = array(dropping.train()(x), "the output")
    return {**made, "y_eval": array(dropping.eval()(x), "the output")}


def by_default(layer_class, a, base):
    """The rank, and the output in train(), of a layer that is made with the base layer alone."""
    layer = layer_class(base)
    if not fixtures.fill(layer, a["A_default"], a["B_default"]):
        return {"r_default": len(factor(layer, "lora_A")), "y_default": np.zeros(0)}
    return {"r_default": 8, "y_default": array(layer.train()(tensor(a["x_default"])), "the output")}


def default_promises(base, update):
    said = "with the base layer alone given,"
    return [
        Promise("r_default", 8, f"{said} r"),
        Promise("y_default", base + 2 * update, f"{said} r = 8, lora_alpha = 16, no dropout: the "
                "output in train()", rtol=1e-3, atol=1e-4),
    ]  # fmt: skip


def linear_case(i, name):
    """(base, update without its scale) of a layer with values in A and B."""
    x = i[f"x_{name}"]
    base = x @ i[f"W_{name}"].T + i.get(f"b_{name}", 0)
    return base, x @ i[f"A_{name}"].T @ i[f"B_{name}"].T


def gradients(i, name, r, alpha):
    """{key: gradient} of the sum of g * y; the frozen base passes its part on to x."""
    g, A, B, s = i[f"g_{name}"], i[f"A_{name}"], i[f"B_{name}"], alpha / r
    x, tokens = i[f"x_{name}"].reshape(-1, A.shape[1]), g.reshape(-1, len(B))
    through = s * g @ B @ A
    made = {"A": s * (tokens @ B).T @ x, "B": s * tokens.T @ (x @ A.T), "x": through}
    return {**made, "x": g @ i[f"W_{name}"] + through, "no_base": through}


def fed(i, o):
    """What A was fed with while training, from the outputs: (..., in), and A x: (..., r)."""
    base, _ = linear_case(i, "wide")
    if o["y_train"].shape != base.shape:
        return np.full(i["x_wide"].shape, np.nan), np.full((3, 4, 6), np.nan)
    update = (o["y_train"] - base) / (float(i["alpha"]) / 6)
    hidden = update @ np.linalg.pinv(i["B_wide"]).T
    return hidden @ np.linalg.pinv(i["A_wide"]).T, hidden


def dropped(whole, factor):
    """A condition: every entry is 0, or `factor` times what it was; both occur in one token."""

    def holds(seen):
        if seen.shape != whole.shape:
            return False
        zero = np.abs(seen) < 2e-3
        kept = np.abs(seen - factor * whole) < 3e-3
        off = zero & (np.abs(factor * whole) > 1e-2)  # no small number taken for a dropped one
        return bool(np.all(zero | kept)) and bool((off.any(-1) & ~zero.all(-1)).any())

    return holds


def judge_linear(i, o):
    o, alpha, p = dict(o), float(i["alpha"]), float(i["p"])
    shapes = ((16, 64), (48, 16))
    cases = {name: (*linear_case(i, name), r, said) for name, (said, r) in FILLED.items()}
    promises = shape_promises(*shapes) + train_promises(*shapes)[:2]
    for name, (said, r) in FILLED.items():
        if f"y_{name}" not in o:
            promises.append(
                Promise(f"y_{name}", 0, f"{said}, factors of rank {r} do not fit: the output")
            )
            return judged(i, o, promises, LINEAR)
    promises += output_promises(i, o, cases, alpha) + train_promises(*shapes)[2:]
    for name, (said, r) in FILLED.items():
        for key, value in gradients(i, name, r, alpha).items():
            if key != "no_base":
                what = f"{said}, the gradient of {'x' if key == 'x' else 'lora_' + key}"
                promises.append(Promise(f"grad_{key}_{name}", value, what, rtol=1e-3, atol=1e-3))
    o["std"] = np.array([np.std(o[k]) for k in ("A", "A_broad")])
    o["peak"] = np.array([np.abs(o["A"]).max() * 8, np.abs(o["A_broad"]).max() * 20])
    o["B_size"], o["A_size"] = np.abs(o["B"]).max(), np.abs(o["A"]).max()
    o["rank"] = rank_of(o["A"])
    width = np.array([64, 400])
    base = linear_case(i, "wide")[0]
    o["fed"], o["hidden"] = fed(i, o)
    promises += [
        Promise("A_size", lambda v: v > 0, seen="A starts at zero", expected="A random, B zero"),
        Promise("B_size", zero, seen="B starts with entries up to {}", expected="A random, B zero"),
        Promise("rank", 16, seen="A has rank {}", expected="16, that of random rows"),
        Promise("std", (3 * width) ** -0.5, rtol=0.1, atol=0, expected="0.072 and 0.029",
                seen=lambda v: "for in = 64 and 400, the standard deviation of A is "
                f"{v[0]:.3g} and {v[1]:.3g}"),
        Promise("peak", lambda v: (v <= 1 + 1e-5).all() and v.min() > 0.97, expected="1 / sqrt(in)",
                seen=lambda v: "for in = 64 and 400, the largest entry of A is "
                f"{v[0]:.3g} and {v[1]:.3g} / sqrt(in)"),
        callers.unchanged("left_wide", "the base layer after training"),
        Promise("y_zero_train", base, "with B = 0, the output in train()", rtol=1e-3, atol=1e-4),
        Promise("y_eval", base + alpha / 6 * cases["wide"][1], "after eval(), the output",
                rtol=1e-3, atol=1e-4),
        Promise("fed", dropped(i["x_wide"], 1 / (1 - p)), seen=f"with lora_dropout = {p:g} in "
                "train(), what A is fed is not x with some entries dropped",
                expected=f"each entry of x is 0, or itself times {1 / (1 - p):.4g}"),
        *default_promises(*linear_case(i, "default")),
    ]  # fmt: skip
    return judged(i, o, promises, LINEAR)


def outputs_are(function, cases=FILLED):
    """A slip's values: the output of (base, bias, update without scale, scale), in every case."""

    def values(i):
        made = {}
        for name, (_, r) in cases.items():
            base, update = linear_case(i, name)
            made[f"y_{name}"] = function(base, i.get(f"b_{name}", 0), update, float(i["alpha"]) / r)
        return made

    return values


def spread(function, rtol=0.08):
    """A slip's values: the standard deviation of A as a function of in and out, for both widths."""
    right = np.array([function(*size) for size in STARTS.values()])
    return seen_as(std=lambda v: np.allclose(v, right, rtol=rtol, atol=0))


def no_gradient(i):
    """A slip's values: no gradient has come to A, or to B, or to both."""
    zero = [{f"grad_{key}_{name}": np.zeros_like(i[f"{key}_{name}"]) for name in FILLED}
            for key in "AB"]  # fmt: skip
    return [{**zero[0], **zero[1]}, *zero]


def dropped_as(key, *factors):
    """A slip's values: what A was fed, or A x, with these factors on the entries that are kept."""

    def values(i):
        whole = i["x_wide"] if key == "fed" else i["x_wide"] @ i["A_wide"].T
        return [{key: dropped(whole, f(float(i["p"])))} for f in factors]

    return values


def late_dropout(i):
    """A slip's values: entries of A x, or of the whole update, were dropped instead of x."""
    times = 1 / (1 - float(i["p"]))
    base, update = linear_case(i, "wide")
    whole, s = i["x_wide"] @ i["A_wide"].T, float(i["alpha"]) / 6
    some = lambda v: v.size > 0  # noqa: E731
    return [
        {"fed": some, "hidden": dropped(whole, times)},
        {"fed": some, "y_train": lambda y: dropped(update, times)((y - base) / s)},
    ]


LINEAR = (
    *SCALE,
    *TRAINS,
    Slip("base_copied", COPIED, lambda i: [{"trains_rest": 16 * 112 + 48 * 65},
                                           {"trains_rest": 16 * 112 + 48 * 64}]),
    Slip("only_training", "The update acts in train() alone. A trained adapter is used in eval(): "
         "only dropout differs there.",
         lambda i: {**scale_is(lambda alpha, r: 0)(i)[0],
                    "fed": dropped(i["x_wide"], 1 / (1 - float(i["p"])))}),
    Slip("no_update", NO_UPDATE, lambda i: {
        **scale_is(lambda alpha, r: 0)(i)[0],
        "fed": lambda v: not dropped(i["x_wide"], 1 / (1 - float(i["p"])))(v)}),
    Slip("bias_twice", "The bias is added twice: `self.base_layer(x)` has it already.",
         outputs_are(lambda base, bias, update, s: base + bias + s * update)),
    Slip("x_detached", "The gradient of x must pass through the update too. Leave `.detach()` and "
         "`no_grad` out of forward.",
         lambda i: {f"grad_x_{name}": i[f"g_{name}"] @ i[f"W_{name}"] for name in FILLED}),
    Slip("shapes", "lora_A is (r, in) and lora_B is (out, r), so that B @ A has the shape of the "
         "weight. A reads the input, B writes the output.",
         lambda i: [{"A": lambda v: True}, {"B": lambda v: True}]),
    Slip("extra_bias", "The update has a bias of its own. LoRA has none: with nn.Linear for A and "
         "B, say `bias=False`.", seen_as(trains_rest=lambda v: 0 < v - 16 * 112 <= 64)),
    Slip("base_missing", "This is the update alone. Add the output of `self.base_layer`.",
         outputs_are(lambda base, bias, update, s: s * update)),
    Slip("bias_lost", "The bias of the base layer is missing. Call `self.base_layer(x)` instead of "
         "multiplying by its weight.",
         outputs_are(lambda base, bias, update, s: base - bias + s * update)),
    Slip("scale_all", "The base layer's output is scaled as well. Only the update is multiplied by "
         "lora_alpha / r: mind the brackets.",
         outputs_are(lambda base, bias, update, s: s * (base + update))),
    Slip("base_detached", "The base layer is frozen, but the gradient of x must still pass through "
         "it to the layers below. Freeze its parameters, not its output.",
         lambda i: {f"grad_x_{name}": gradients(i, name, r, float(i["alpha"]))["no_base"]
                    for name, (_, r) in FILLED.items()}),
    Slip("factor_detached", "The output is right, but A and B would not learn. Leave `.data`, "
         "`.detach()` and `no_grad` out of forward.", no_gradient),
    Slip("both_zero", BOTH_ZERO, seen_as(A_size=zero, B_size=zero)),
    Slip("factors_exchanged", "A is zero and B is random. It can learn, but the reference start is "
         "the other way round: A random, B zero.", seen_as(A_size=zero, B_size=some)),
    Slip("b_random", "Then the layer does not start as its base layer, and the model is damaged "
         "before the first step. B starts at zero.",
         seen_as(A_size=some, B_size=some)),
    Slip("kaiming_alone", "That is `kaiming_uniform_` with its default a = 0, sqrt(6) times too "
         "large. With `a=math.sqrt(5)` the bound is 1 / sqrt(in).",
         spread(lambda n, m: (2 / n) ** 0.5)),
    Slip("xavier", "Xavier's bound looks at both axes of the tensor. The bound here is "
         "1 / sqrt(in).", spread(lambda n, m: (2 / (n + 16)) ** 0.5, 0.04)),
    Slip("transposed", "The size follows r, not `in`. (kaiming reads `in` from the second axis: "
         "give it a tensor of shape (r, in).)", spread(lambda n, m: (3 * 16) ** -0.5)),
    Slip("one_side", "A reaches half as far as it should, or lies on one side of zero. Draw from "
         "-1 / sqrt(in) to 1 / sqrt(in).", spread(lambda n, m: (12 * n) ** -0.5)),
    Slip("no_root", "The bound is 1 / in here. It should be 1 / sqrt(in).",
         spread(lambda n, m: 3**-0.5 / n)),
    Slip("by_out", "The bound is taken from `out`. A reads the input: 1 / sqrt(in).",
         spread(lambda n, m: (3 * m) ** -0.5)),
    Slip("gaussian", "The size is near, but the task asks for a uniform draw with the bound "
         "1 / sqrt(in).", lambda i: [spread(lambda n, m: n**-0.5)(i),
                                     {"peak": lambda v: (v > 1).all()}]),
    Slip("fixed_size", "A has the same size for every `in`. It must shrink as 1 / sqrt(in), or A x "
         "grows with the width.",
         seen_as(std=lambda v: abs(v[0] / v[1] - 1) < 0.08
                 and not np.allclose(v, 48**-0.5, rtol=0.08))),
    Slip("constant", EQUAL_ROWS, seen_as(rank=1)),
    Slip("dropout_base", "Dropout reaches the base layer. It belongs on the x that goes into A "
         "alone; the base layer gets x whole.",
         seen_as(y_zero_train=lambda y: y.size > 0)),
    Slip("dropout_eval", "Dropout is still on after eval(). Use `nn.Dropout(p)` as a submodule, or "
         "pass `training=self.training`.",
         lambda i: {"y_eval": lambda y: y.size > 0,
                    "fed": dropped(i["x_wide"], 1 / (1 - float(i["p"])))}),
    Slip("no_dropout", "Dropout is not used in forward. Apply it to the x that goes into A.",
         lambda i: {"fed": lambda v: np.allclose(v, i["x_wide"], atol=3e-3)}),
    Slip("no_rescale", "Entries are dropped, and the others are left as they were. Divide them by "
         "1 - p, so that the mean stays: `nn.Dropout` does both.", dropped_as("fed", lambda p: 1)),
    Slip("dropout_fixed", "That is dropout with p = 0.5, whatever was asked for. Give "
         "`lora_dropout` to it.", dropped_as("fed", lambda p: 2)),
    Slip("dropout_keep", "`nn.Dropout(p)` takes the share that is dropped, not the one that is "
         "kept.", dropped_as("fed", lambda p: 1 / p)),
    Slip("dropout_place", "Dropout comes too late. Drop entries of x before A, not entries of A x "
         "or of the update.", late_dropout),
)  # fmt: skip

lora_linear = Check(
    name="lora_linear", title="The LoRA layer", wants=("LoRALinear",),
    difficulty=2, minutes=15, points=20,
    verified="start, output with and without bias, scale lora_alpha / r, gradients, dropout in "
    "train() and eval()",
    hints=(
        "Two parts: `__init__` keeps the base layer, freezes it, and makes A and B; `forward` adds "
        "the output of the base layer and the scaled update.",
        "A is `(r, in)` and random, B is `(out, r)` and zero. Rows are tokens, so x meets A as "
        "`x @ A.T`, which has r columns, and that meets B as `@ B.T`. Dropout acts on the x that "
        "goes into A, and on nothing else.",
        "In `__init__`: `self.lora_A = nn.Parameter(torch.empty(r, base_layer.in_features))`, then "
        "`nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))`.\n\nIn `forward`: "
        "`self.base_layer(x) + self.scaling * (self.lora_dropout(x) @ self.lora_A.T @ "
        "self.lora_B.T)`.",
    ),
    slips=LINEAR,
    other="Compare with `base_layer(x) + (lora_alpha / r) * x @ A.T @ B.T` for a small x.",
    make=make_linear, probe=probe_linear, judge=judge_linear,
)  # fmt: skip


# 3.2 The delta weight
CASES = {
    "linear": (3, 5, 8),
    "linear_square": (2, 6, 6),
    "conv": (3, 5, 8),
    "conv_square": (2, 6, 6),
}


def make_delta(seed):
    rng = np.random.default_rng(seed + 100)
    f, made = fixtures.normal(rng), {"alpha": rng.choice([5, 7, 11])}
    for name, (r, d_in, d_out) in CASES.items():
        made[f"W_{name}"] = f(d_in, d_out) if "conv" in name else f(d_out, d_in)
        made |= {f"A_{name}": f(r, d_in), f"B_{name}": f(d_out, r)}
    return {**made, "ranks": np.array([r for r, *_ in CASES.values()])}


def probe_delta(namespace, a):
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    made = {}
    for name in CASES:
        weight = a[f"W_{name}"]
        base = fixtures.linear(weight, np.zeros(len(weight), np.float32))
        if "conv" in name:
            base = Conv1D(weight.shape[1], weight.shape[0])
            base.weight = nn.Parameter(tensor(weight))
        base.requires_grad_(False)
        A, B = tensor(a[f"A_{name}"]), tensor(a[f"B_{name}"])
        before, factors = callers.Before(base), callers.Before(A, B)
        made[name] = array(namespace["delta_weight"](base, A, B, a["alpha"].item()), "the delta")
        made |= {f"left_{name}": before.change(), f"own_{name}": factors.change()}
    return made


def product(i, name):
    """B A in the layout of the weight."""
    made = i[f"B_{name}"] @ i[f"A_{name}"]
    return made.T if "conv" in name else made


def layer_words(i, name):
    kind = "Conv1D" if "conv" in name else "Linear"
    return f"for a {kind} whose weight is {' x '.join(map(str, i[f'W_{name}'].shape))}"


def judge_delta(i, o):
    """Adds "turned" (1 where the product is transposed) and "scale" to the outputs, by case."""
    o, alpha, names = dict(o), float(i["alpha"]), list(CASES)
    right = np.array([alpha / r for r, *_ in CASES.values()])
    upright = [multiple(o[n], product(i, n)) for n in names]
    over = [multiple(o[n], product(i, n).T) for n in names]
    promises = [callers.unchanged(f"left_{n}", f"{layer_words(i, n)}, the layer") for n in names]
    promises += [callers.unchanged(f"own_{n}", f"{layer_words(i, n)}, A or B") for n in names]
    if not any(c is None and t is None for c, t in zip(upright, over, strict=True)):
        o["turned"] = np.array([c is None for c in upright])
        o["scale"] = np.array([t if c is None else c for c, t in zip(upright, over, strict=True)])

        def seen(v):
            at = int(np.argmax(~np.isclose(v, right, rtol=1e-3)))
            case = f"{layer_words(i, names[at])}, lora_alpha = {alpha:g}, r = {i['ranks'][at]}"
            return f"{case}, the delta is {v[at]:.4g} * B A"

        promises += [
            Promise("turned", np.zeros(4), expected="the layout of the weight", seen=lambda v:
                    f"{layer_words(i, names[int(np.argmax(v))])}, the delta is transposed"),
            Promise("scale", right, rtol=1e-3, atol=1e-3, seen=seen, expected="lora_alpha / r"),
        ]  # fmt: skip
    for n, s in zip(names, right, strict=True):
        promises.append(Promise(n, s * product(i, n), f"{layer_words(i, n)}, the delta", rtol=1e-3))
    return judged(i, o, promises, DELTA)


DELTA = (
    *SCALE,
    Slip("no_update", NO_UPDATE, scale_is(lambda alpha, r: 0)),
    Slip("reshaped", "`reshape` only counts the entries off anew. Transposing exchanges rows and "
         "columns: `.T`.",
         lambda i: {n: float(i["alpha"]) / r * (i[f"B_{n}"] @ i[f"A_{n}"]).reshape(
             i[f"W_{n}"].shape) for n, (r, *_) in CASES.items()}),
    Slip("in_place", "`*=`, `.mul_()` and `.data` change the factor that was given. Put the scale "
         "into the product.", lambda i: {f"own_{n}": 2 for n in CASES}),
    Slip("wrong_r", "The scale divides by the wrong number. r is the number of rows of A, "
         "`lora_A.shape[0]`, which are the columns of B.",
         lambda i: [{"scale": np.array([float(i["alpha"]) / size[k] for size in CASES.values()])}
                    for k in (1, 2)]),
    Slip("conv_layout", "A Conv1D stores its weight as (in, out). Transpose the product for it.",
         seen_as(turned=[0, 0, 1, 1])),
    Slip("linear_layout", "An nn.Linear stores its weight as (out, in), just as B @ A comes. Only "
         "the Conv1D needs the transpose.",
         lambda i: [{"turned": v} for v in ([1, 1, 0, 0], [1, 1, 1, 1])]),
    Slip("square", "Where the layer is square, the shapes fit both ways, and they cannot tell. Ask "
         "for the type of the layer, not for its shape.",
         lambda i: [{"turned": v} for v in ([0, 0, 0, 1], [0, 1, 0, 0])]),
    Slip("with_base", "This is the merged weight. Return what is added to it, the delta alone.",
         lambda i: {n: i[f"W_{n}"] + float(i["alpha"]) / r * product(i, n)
                    for n, (r, *_) in CASES.items()}),
    Slip("changed_base", "Return the delta, and leave the adding to the caller.",
         lambda i: {f"left_{n}": 2 for n in CASES}),
)  # fmt: skip

delta_weight = Check(
    name="delta_weight", title="The delta weight", wants=("delta_weight",),
    difficulty=2, minutes=8, points=15,
    verified="Linear and Conv1D, square and not, scale lora_alpha / r, base weight untouched",
    hints=(
        "What is the shape of B @ A? And what is the shape of `base_layer.weight` for each kind?",
        "B @ A is (out, in), as in nn.Linear. A Conv1D stores (in, out). For a square weight the "
        "shape cannot tell you which it is: ask for the type.",
        "`delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A`, and return `delta.T` when "
        "`isinstance(base_layer, Conv1D)`.",
    ),
    slips=DELTA,
    other="Start from B @ A, which is (out, in), and compare it with base_layer.weight.",
    make=make_delta, probe=probe_delta, judge=judge_delta,
)  # fmt: skip


# 3.3 Four broken starts
PARTS = ("init_1", "init_2", "init_3", "init_4")


def make_starts(seed):
    rng = np.random.default_rng(seed + 200)
    made = {"d_in": [rng.integers(90, 130), rng.integers(3000, 4000)], "r": rng.integers(4, 7)}
    return {**made, "d_in": np.array(made["d_in"]), "d_out": rng.integers(30, 60)}


def probe_starts(namespace, a):
    def part(name):
        made = {}
        for n, d_in in enumerate(a["d_in"].tolist()):
            pair = namespace[name](d_in, a["d_out"].item(), a["r"].item())
            made |= {f"{name}_{k}{n}": v for k, v in zip(
                "AB", fixtures.several(pair, ("lora_A", "lora_B"), name), strict=True)}  # fmt: skip
            made[f"{name}_trained{n}"] = min(map(trained, pair))
        return made

    made = {}
    for name in PARTS:
        made |= fixtures.attempt(name, lambda name=name: part(name))
    return fixtures.unless_all_open(made, PARTS)


def judge_starts(i, o):
    return in_parts(*(start_verdict(i, o, name) for name in PARTS))


def start_verdict(i, o, name):
    """The verdict on one function; its outputs without its name: A0, B0 for the narrow layer."""
    o = {k.removeprefix(f"{name}_"): v for k, v in o.items() if name in k}
    widths, d_out, r = i["d_in"].tolist(), int(i["d_out"]), int(i["r"])
    promises = []
    for n, d in enumerate(widths):
        for key, wanted in ((f"A{n}", (r, d)), (f"B{n}", (d_out, r))):
            promises.append(Promise(key, lambda v, wanted=wanted: v.shape == wanted, seen=lambda v,
                                    key=key: f"{name} gives lora_{key[0]} of {shape(v)}",
                                    expected=shape(np.empty(wanted))))  # fmt: skip
    if all(p.key in o and p.holds(o[p.key]) for p in promises):
        A, B = [o["A0"], o["A1"]], np.concatenate([o["B0"], o["B1"]])
        o["A"], o["B"] = np.abs(A[1]).max(), np.abs(B).max()
        o["rank"] = min(map(rank_of, A))
        o["middle"] = min(np.median(np.abs(a)) * np.sqrt(d) for a, d in zip(A, widths, strict=True))
        o["size"] = np.array([np.std(a) * np.sqrt(d) for a, d in zip(A, widths, strict=True)])
    promises += [
        Promise("A", lambda v: v > 0, seen=f"{name}: A is zero", expected="A random, B zero"),
        Promise("B", zero, seen=f"{name}: B is up to {{}}", expected="A random, B zero"),
        Promise("rank", r, seen=f"{name}: A has rank {{}}", expected=f"{r}, that of random rows"),
        Promise("size", lambda v: (v > 0.3).all() and (v < 1.3).all(), expected="0.6 to 1 for both",
                seen=lambda v: f"{name}: for d_in = {widths[0]} and {widths[1]}, the entries of A "
                f"are of size {v[0]:.3g} and {v[1]:.3g} times 1 / sqrt(d_in)"),
        Promise("middle", lambda v: v > 0.1, expected="entries of about 1 / sqrt(d_in)",
                seen=f"{name}: half of the entries of A are at most {{}} / sqrt(d_in) in size"),
        Promise("trained0", 1, seen=f"{name} gives a tensor that is not trained", expected="two "
                "nn.Parameters that require a gradient"),
    ]  # fmt: skip
    return judged(i, o, promises, BROKEN, part=name)


def turned_size(i):
    """A condition: A has the size that kaiming gives the turned tensor."""
    return lambda v: np.allclose(v, np.sqrt(i["d_in"] / (3 * i["r"])), rtol=0.12)


BROKEN = (
    Slip("shapes", "A is (r, d_in) and B is (d_out, r): A reads the input, B writes the output.",
         lambda i: [{key: lambda v: True} for key in ("A0", "B0", "A1", "B1")]),
    Slip("both_zero", BOTH_ZERO, seen_as(A=zero, B=zero)),
    Slip("b_random", "B A x is not zero, and the model is damaged before the first step. Keep A "
         "random and make B zero.", seen_as(A=some, B=some)),
    Slip("factors_exchanged", "A is zero and B is random. It can learn, but here the task is the "
         "reference start: A random, B zero.", seen_as(A=zero, B=some)),
    Slip("constant", EQUAL_ROWS, seen_as(rank=1)),
    Slip("turned", "kaiming reads d_in from the second axis, and was given r there. Give it the "
         "(r, d_in) tensor.", lambda i: {"size": turned_size(i)}),
    Slip("grows", "The wider the layer, the larger A x: the size of A does not follow d_in. Its "
         "entries should lie in +-1 / sqrt(d_in).", lambda i: {"size": lambda v: v[1] > 2 * v[0]
                    and not turned_size(i)(v)}),
    Slip("kaiming_alone", "That is `kaiming_uniform_` with its default a = 0, sqrt(6) times too "
         "large. With `a=math.sqrt(5)` the bound is 1 / sqrt(d_in).",
         seen_as(size=lambda v: np.allclose(v, 2**0.5, rtol=0.06))),
    Slip("shrinks", "The wider the layer, the smaller A is against 1 / sqrt(d_in). Is the root "
         "missing, or was the size divided twice?", seen_as(size=lambda v: v[0] > 2 * v[1])),
    Slip("one_side", "A reaches half as far as it should, or lies on one side of zero. Draw from "
         "-1 / sqrt(d_in) to 1 / sqrt(d_in).",
         seen_as(size=lambda v: np.allclose(v, 12**-0.5, rtol=0.06))),
    Slip("not_parameter", "Both must be an nn.Parameter that requires a gradient. Wrap last: "
         "arithmetic after `nn.Parameter(...)` gives a plain tensor again.", seen_as(trained0=0)),
)  # fmt: skip

broken_starts = Check(
    name="broken_starts", title="Four broken starts", wants=PARTS,
    difficulty=3, minutes=10, points=20,
    verified="all four: A random, of full rank and the right size, B zero, both trainable",
    hints=(
        "Each start should do three things: leave the base's output as it is, let a gradient reach "
        "B in the first step, and let every one of the r directions learn something of its own.",
        "1: which gradient is a product with which factor? 2: what is B A x at the start? 3: what "
        "is the rank of a matrix whose rows are equal? 4: kaiming reads `in` from the second axis "
        "of the tensor that it is given.",
        "All four end at the same place: A = `torch.empty(r, d_in)` filled by "
        "`nn.init.kaiming_uniform_(A, a=math.sqrt(5))`, B = `torch.zeros(d_out, r)`, and both "
        "wrapped in nn.Parameter last.",
    ),
    slips=BROKEN,
    other="Return the pair (A, B): A random and (r, d_in), B zero and (d_out, r).",
    make=make_starts, probe=probe_starts, judge=judge_starts,
)  # fmt: skip


# 3.4 LoRA for an embedding
TABLES = {"wide": ("for a table of 40 x 64", 4), "square": ("for a square table", 3)}


def make_table(seed):
    rng = np.random.default_rng(seed + 300)
    f, made = fixtures.normal(rng), {"alpha": rng.choice([7, 9, 11]), "ranks": np.array([4, 3])}
    for name, (n, d), r in (("wide", (40, 64), 4), ("square", (9, 9), 3)):
        made |= {f"W_{name}": f(n, d), f"A_{name}": f(r, n), f"B_{name}": f(d, r)}
        made[f"ids_{name}"] = rng.integers(0, n, size=(2 if name == "wide" else 1, 5))
    made |= {"W_default": f(9, 6), "A_default": f(8, 9), "B_default": f(6, 8)}
    return {**made, "x_default": np.arange(9), "ids_default": np.arange(9)}


def probe_table(namespace, a):
    import torch
    from torch import nn

    made, layer_class = {}, namespace["LoRAEmbedding"]
    for name, (_, r) in TABLES.items():
        base = nn.Embedding(*a[f"W_{name}"].shape)
        base.weight = nn.Parameter(tensor(a[f"W_{name}"]))
        layer, before = layer_class(base, r=r, lora_alpha=a["alpha"].item()), callers.Before(base)
        ids = tensor(a[f"ids_{name}"])
        if name == "wide":
            made = start(layer, base)
        if not fixtures.fill(layer, a[f"A_{name}"], a[f"B_{name}"]):
            break
        y = layer(ids)
        made[f"y_{name}"] = array(y, "the output")
        if isinstance(y, torch.Tensor) and y.requires_grad:
            y.square().sum().backward()
        for key in "AB":
            made[f"grad_{key}_{name}"] = gradient(factor(layer, f"lora_{key}"))
        made[f"left_{name}"] = before.change()
    base = nn.Embedding(9, 6)
    base.weight = nn.Parameter(tensor(a["W_default"]))
    return made | by_default(layer_class, a, base)


def table_case(i, name):
    """(rows of the table, update without its scale)."""
    ids = i[f"ids_{name}"]
    return i[f"W_{name}"][ids], i[f"A_{name}"].T[ids] @ i[f"B_{name}"].T


def table_gradients(i, name, s):
    """Gradients of the sum of squares of the output."""
    base, update = table_case(i, name)
    g, ids, A, B = 2 * (base + s * update), i[f"ids_{name}"], i[f"A_{name}"], i[f"B_{name}"]
    to_A = np.zeros(A.T.shape)
    np.add.at(to_A, ids, s * g @ B)
    return {"A": to_A.T, "B": s * g.reshape(-1, len(B)).T @ A.T[ids].reshape(-1, len(A))}


def judge_table(i, o):
    o, alpha, shapes = dict(o), float(i["alpha"]), ((4, 40), (64, 4))
    cases = {name: (*table_case(i, name), r, said) for name, (said, r) in TABLES.items()}
    promises = shape_promises(*shapes) + train_promises(*shapes)[:2]
    promises += output_promises(i, o, cases, alpha) + train_promises(*shapes)[2:]
    for name, (said, r) in TABLES.items():
        for key, value in table_gradients(i, name, alpha / r).items():
            what = f"{said}, the gradient of lora_{key}"
            promises.append(Promise(f"grad_{key}_{name}", value, what, rtol=1e-3, atol=1e-2))
        promises.append(callers.unchanged(f"left_{name}", f"{said}, the base layer after its use"))
    o["A_size"], o["B_size"] = np.abs(o["A"]).max(), np.std(o["B"])
    o["rank"] = np.linalg.matrix_rank(o["B"], tol=1e-3 * np.linalg.norm(o["B"]))
    wanted = "A zero, B random"
    promises += [
        Promise("B_size", lambda v: v > 0 or (o["B"] != 0).any(), seen="B starts at zero",
                expected=wanted),
        Promise("A_size", 0, atol=0, seen="A starts with entries up to {}", expected=wanted),
        Promise("rank", 4, seen="B has rank {}", expected="4, that of random columns"),
        *default_promises(*table_case(i, "default")),
        Promise("B_size", lambda v: 0.8 < v < 1.25, seen="the standard deviation of B is {}",
                expected="1, as of `torch.randn`"),
    ]  # fmt: skip
    return judged(i, o, promises, TABLE)


TABLE = (
    *SCALE,
    *TRAINS,
    Slip("base_copied", COPIED, seen_as(trains_rest=4 * 104 + 40 * 64)),
    Slip("no_update", NO_UPDATE, scale_is(lambda alpha, r: 0)),
    Slip("reshaped", "`lora_A[:, ids]` is (r, ...): reshape mixes the tokens. Use `lora_A.T[ids]`, "
         "which is (..., r).",
         lambda i: {f"y_{n}": table_case(i, n)[0] + float(i["alpha"]) / r * i[f"A_{n}"][
             :, i[f"ids_{n}"]].reshape(*i[f"ids_{n}"].shape, -1) @ i[f"B_{n}"].T
                    for n, (_, r) in TABLES.items()}),
    Slip("shapes", "lora_A is (r, n) with one column for each token, lora_B is (d, r).",
         lambda i: [{"A": lambda v: True}, {"B": lambda v: True}]),
    Slip("extra_bias", "There is something trainable beside A and B. LoRA has no bias of its own.",
         seen_as(trains_rest=lambda v: 0 < v - 4 * 104 <= 128)),
    Slip("base_missing", "This is the update alone. Add the output of `self.base_layer`.",
         lambda i: {f"y_{n}": float(i["alpha"]) / r * table_case(i, n)[1]
                    for n, (_, r) in TABLES.items()}),
    Slip("scale_all", "The table's rows are scaled as well. Only the update is multiplied by "
         "lora_alpha / r: mind the brackets.",
         lambda i: {f"y_{n}": float(i["alpha"]) / r * sum(table_case(i, n))
                    for n, (_, r) in TABLES.items()}),
    Slip("factor_detached", "The output is right, but A and B would not learn. Leave `.data`, "
         "`.detach()` and `no_grad` out of forward.",
         lambda i: [{f"grad_{k}_{n}": lambda v: not v.any() for n in TABLES} for k in "AB"]),
    Slip("both_zero", BOTH_ZERO, seen_as(A_size=zero, B_size=zero)),
    Slip("b_random", "A and B are both random, so the table is changed before the first step. For "
         "an embedding A starts at zero.", seen_as(A_size=some, B_size=some)),
    Slip("wrong_zero", "With A random and B zero, tokens that never occur in training move too, as "
         "soon as B has moved. Zero A, and draw B.", seen_as(A_size=some, B_size=zero)),
    Slip("b_size", "Draw B with `torch.randn`, and neither scale nor shift it.",
         seen_as(B_size=lambda v: v > 0, A_size=0)),
    Slip("constant", "Equal columns of B get equal gradients and stay equal. Draw every entry of B "
         "on its own.", seen_as(rank=1)),
)  # fmt: skip

lora_embedding = Check(
    name="lora_embedding", title="LoRA for an embedding", wants=("LoRAEmbedding",),
    difficulty=3, minutes=12, points=20,
    verified="token ids of two axes, scale lora_alpha / r, start, gradients, frozen table",
    hints=(
        "A token id t picks row t of the table W, which is (n, d). B A is (d, n): which part of A "
        "does token t pick there?",
        "A is (r, n), with one column for each token: `lora_A.T[ids]` is (..., r). That is the "
        "A x of the linear layer, for a one-hot x. The rest is as there.",
        "`forward`: `self.base_layer(ids) + self.scaling * self.lora_A.T[ids] @ self.lora_B.T`."
        "\n\nStart: `nn.Parameter(torch.zeros(r, n))` for A and `nn.Parameter(torch.randn(d, r))` "
        "for B.",
    ),
    slips=TABLE,
    other="For one token t the row is W[t] + (lora_alpha / r) * B @ A[:, t].",
    make=make_table, probe=probe_table, judge=judge_table,
)  # fmt: skip


# 3.5 More rank, the same update
def make_grow(seed):
    rng = np.random.default_rng(seed + 400)
    f, r = fixtures.normal(rng), int(rng.integers(2, 5))
    made = {"A": f(r, 20), "B": f(15, r), "alpha": rng.choice([17, 19, 23])}
    more = rng.choice([k for k in (1, 2, 3) if k % r])  # the new alpha is no whole number
    return {**made, "new_r": 2 * r + more}


def probe_grow(namespace, a):
    A, B = tensor(a["A"]), tensor(a["B"])
    before = callers.Before(A, B)
    made = namespace["grow_rank"](A, B, a["alpha"].item(), a["new_r"].item())
    values = fixtures.several(made, ("the new A", "the new B", "the new alpha"), "grow_rank")
    return {**dict(zip(("A", "B", "alpha"), values, strict=True)), "left": before.change()}


def grow_facts(i, o):
    """What the new factors are worth: the update as a multiple of the old one, dead directions."""
    A, B, r, new_r = i["A"].astype(float), i["B"].astype(float), len(i["A"]), int(i["new_r"])
    new_A, new_B = o["A"].astype(float), o["B"].astype(float)
    old, unit = float(i["alpha"]) / r * B @ A, float(o["alpha"].reshape(-1)[0]) / new_r
    rows = np.linalg.norm(new_A, axis=1) > 1e-3 * np.linalg.norm(A, axis=1).mean()
    columns = np.linalg.norm(new_B, axis=0) > 1e-3 * np.linalg.norm(B, axis=0).mean()
    c = multiple(unit * new_B @ new_A, old, 1e-6)
    rank = rank_of(new_A) + rank_of(new_B.T)
    return {
        "factor": np.array(np.nan if c is None else c),
        "gap": np.abs(unit * new_B @ new_A - old).max() / np.abs(old).max(),
        "kept": np.allclose(new_A[:r], A) and np.allclose(new_B[:, :r], B),
        "below": np.allclose(new_A[-r:], A) and np.allclose(new_B[:, :r], B),
        "dead": np.array((~rows & ~columns).sum()),
        "both": np.array((new_A.any(1) & new_B.any(0))[r:].sum()),
        "new": np.array(min(rank - 2 * r, new_r - r)),
    }


def judge_grow(i, o):
    o, A, B, new_r = dict(o), i["A"], i["B"], int(i["new_r"])
    r, spare = len(A), new_r - len(A)
    promises = shape_promises((new_r, A.shape[1]), (len(B), new_r))
    one = lambda v: v.size == 1 and np.isfinite(v).all() and v.dtype.kind != "c"  # noqa: E731
    promises.append(Promise("alpha", one, "the new alpha", expected="one number"))
    if all(p.key in o and p.holds(o[p.key]) for p in promises):
        o |= {k: np.asarray(v) for k, v in grow_facts(i, o).items()}
        if not np.isnan(o["factor"]):
            said = f"from r = {r} to {new_r} the update is {{}} times what it was"
            promises.append(Promise("factor", 1, seen=said, expected="1", rtol=1e-5, atol=0))
    promises += [
        Promise("gap", lambda v: v < 1e-5, seen="the update changes by {} of its size",
                expected="the same delta weight"),
        Promise("dead", 0, seen=f"in {{}} of the {spare} new directions the row of A and the "
                "column of B are zero", expected="0"),
        Promise("new", spare, seen=f"of the {spare} new directions {{}} can learn something of "
                "their own", expected=f"{spare}"),
        callers.unchanged("left", "the old A or B"),
    ]  # fmt: skip
    return judged(i, o, promises, GROW)


def cut_down(i):
    """A slip's values: a whole number for alpha / r, for new_r / r, or for the new alpha."""
    alpha, r, new_r = int(i["alpha"]), len(i["A"]), int(i["new_r"])
    cut = (alpha // r * new_r, new_r // r * alpha, alpha * new_r // r)
    return [{"factor": value / (alpha * new_r / r)} for value in cut]


GROW = (
    Slip("shapes", "A grows by rows (dim 0), B grows by columns (dim 1).",
         lambda i: [{"A": lambda v: True}, {"B": lambda v: True}]),
    Slip("alpha_kept", "The scale lora_alpha / r fell, because r grew. Give back a lora_alpha that "
         "makes the quotient what it was.", lambda i: {"factor": len(i["A"]) / i["new_r"]}),
    Slip("alpha_rule", "That alpha follows from new_r alone. The scale with which the adapter has "
         "learned must stay: new alpha / new_r = lora_alpha / r.",
         lambda i: [{"factor": n * len(i["A"]) / i["alpha"]} for n in (1, 2)]),
    Slip("scale_itself", "lora_alpha / r is the scale that must stay. Return the alpha which gives "
         "it at new_r: the scale times new_r.", lambda i: {"factor": 1 / i["new_r"]}),
    Slip("alpha_wrong", "The scale of the update is another one than before. The new lora_alpha "
         "divided by new_r must equal the old one divided by r.",
         lambda i: [{"factor": (len(i["A"]) / i["new_r"]) ** n} for n in (2, 0.5)] + [
             {"factor": len(i["A"]) / i["new_r"] * (1 + (i["new_r"] - len(i["A"])) / i["alpha"])}]),
    Slip("whole_number", "Something was cut down to a whole number, by `//` or `int`. Divide with "
         "`/`: alpha need not be whole.", cut_down),
    Slip("adds", "The new directions already add something: their rows of A and columns of B are "
         "both non-zero. One of the two must be zero.",
         seen_as(gap=lambda v: v > 0, kept=1, both=lambda v: v > 0)),
    Slip("below", "The old rows of A stand below the new ones, the old columns of B on the left: "
         "each row meets another's column. Both must grow at the same end.",
         seen_as(gap=lambda v: v > 0, below=1)),
    Slip("lost", "What the adapter has learned is not all there: the old A and B stay as they are, "
         "and new rows and columns come beside them.",
         seen_as(gap=lambda v: v > 0, kept=0, below=0)),
    Slip("dead", "Each gradient is a product with the other factor, so a row and a column that are "
         "both zero stay zero for ever. One of the two must be random.",
         seen_as(dead=some)),
    Slip("copies", "Some new directions repeat others or mix them: equal rows get equal "
         "gradients, and the rank does not grow. Draw every new row at random.",
         seen_as(new=lambda v: v >= 0, dead=0)),
)  # fmt: skip

grow_rank = Check(
    name="grow_rank", title="More rank, the same update", wants=("grow_rank",),
    difficulty=4, minutes=12, points=25,
    verified="shapes, the same delta weight, and every new direction able to learn",
    hints=(
        "Three things must hold: the shapes fit the new rank, the delta weight stays, and each new "
        "row of A with its column of B can learn. The last one is the question of section 5.",
        "Put new rows under A and new columns beside B. Their product must be zero, so one side "
        "of it is zero; the other must not be. Then look at lora_alpha / r: what did the larger "
        "r do to it?",
        "`rows = torch.empty(new_r - r, d_in)` filled by kaiming, `columns = torch.zeros(d_out, "
        "new_r - r)`, both joined by torch.cat, and `lora_alpha * new_r / r` as the new alpha.",
    ),
    slips=GROW,
    other="Compare alpha / r * B @ A before with new_alpha / new_r * new_B @ new_A after.",
    make=make_grow, probe=probe_grow, judge=judge_grow,
)  # fmt: skip

EXERCISES = (lora_linear, delta_weight, broken_starts, lora_embedding, grow_rank)
