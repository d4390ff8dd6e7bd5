"""Checks of chapter 03: the layer, its delta weight, four broken starts, embeddings, more rank."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor


# What several checks share
def _factor(layer, name):
    """The learner's A or B: a parameter itself, or the weight of a submodule (as in peft)."""
    value = getattr(layer, name)
    return getattr(value, "weight", value)


def _trained(value):
    """1.0 when the optimizer could train this tensor: a Parameter that requires a gradient."""
    from torch import nn

    return float(isinstance(value, nn.Parameter) and value.requires_grad)


def _frozen_linear(weight, bias=None):
    """An nn.Linear with these values, as it comes: not yet frozen."""
    from torch import nn

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(tensor(bias))
    return layer


def _fill(layer, a, b):
    """Write values into the learner's A and B; False when the shapes do not fit."""
    import torch

    mine = _factor(layer, "lora_A"), _factor(layer, "lora_B")
    if [tuple(m.shape) for m in mine] != [a.shape, b.shape]:
        return False
    with torch.no_grad():
        for place, values in zip(mine, (a, b), strict=True):
            place.copy_(tensor(values))
    return True


def _counts(layer, base):
    """Trainable numbers: of the base, and of everything else in the layer."""
    own = {id(p) for p in base.parameters()}
    sizes = {True: 0, False: 0}
    for p in layer.parameters():
        sizes[id(p) in own] += p.numel() if p.requires_grad else 0
    return {"trains_base": float(sizes[True]), "trains_rest": float(sizes[False])}


def _start(layer, base):
    """A and B as the learner starts them, and what would be trained."""
    a, b = _factor(layer, "lora_A"), _factor(layer, "lora_B")
    made = {"A": array(a, "layer.lora_A"), "B": array(b, "layer.lora_B")}
    return {**made, **_counts(layer, base), "is_trained": min(_trained(a), _trained(b))}


def _shape(value):
    return " x ".join(str(n) for n in value.shape) or "one number"


def _shape_verdict(made, a_shape, b_shape):
    """Verdict on the shapes of A and B, None when they are right."""
    if made["A"].shape == a_shape and made["B"].shape == b_shape:
        return None
    seen = f"lora_A is {_shape(made['A'])}, lora_B is {_shape(made['B'])}"
    wanted = " and ".join(" x ".join(str(n) for n in s) for s in (a_shape, b_shape))
    return Verdict(0.0, "shapes", seen, wanted)


def _trains_verdict(made, a_shape, b_shape):
    """Verdict on what the optimizer would train, None when it is A and B alone."""
    if not made["is_trained"]:
        return Verdict(0.0, "not_parameter", "no gradient reaches lora_A or lora_B", "nn.Parameter")
    size = int(np.prod(a_shape) + np.prod(b_shape))
    seen = f"{int(made['trains_base'] + made['trains_rest'])} trainable numbers"
    if made["trains_base"] or made["trains_rest"] - size >= a_shape[1] * b_shape[0]:
        return Verdict(0.0, "base_trains", seen, f"{size}, those of A and B")
    if made["trains_rest"] != size:
        return Verdict(0.0, "extra_bias", seen, f"{size}, those of A and B")
    return None


def _spread(a):
    """Standard deviation of A times sqrt(in): 0.58 for the uniform start, 1 for 1/sqrt(in)."""
    return float(np.std(a) * np.sqrt(a.shape[1]))


def _scale_key(scale, alpha, r):
    """Name of a wrong multiple of B A x."""
    if abs(scale) < 1e-4:
        return "no_update"
    known = {"no_scale": 1, "only_alpha": alpha}
    return next((key for key, c in known.items() if close(scale, c, rtol=1e-3)), "wrong_scale")


def _multiple(seen, unit):
    """c when seen = c * unit, else None."""
    c = float((seen * unit).sum() / (unit * unit).sum())
    return c if np.allclose(seen, c * unit, rtol=1e-3, atol=1e-3 * np.abs(unit).max()) else None


def _output_verdict(cases, alpha, r):
    """Verdict on outputs. cases: [(seen, base, bias, unscaled update)], all with random B."""
    s = alpha / r
    if all(close(y, base + s * u, rtol=1e-3, atol=1e-4) for y, base, _, u in cases):
        return None
    for y, base, _, _ in cases:
        if y.shape != base.shape:
            return Verdict(0.0, "other", f"an output of {_shape(y)}", _shape(base))
    known = {
        "base_missing": [s * u for _, _, _, u in cases],
        "bias_lost": [base - b + s * u for _, base, b, u in cases],
        "scale_all": [s * (base + u) for _, base, _, u in cases],
    }
    for key, values in known.items():
        if all(close(c[0], v, rtol=1e-3, atol=1e-4) for c, v in zip(cases, values, strict=True)):
            return Verdict(0.0, key)
    scales = [_multiple(y - base, u) for y, base, _, u in cases]
    if None not in scales and np.ptp(scales) < 1e-2 * max(np.abs(scales).max(), 1):
        text = f"the update is {scales[0]:.3g} * B A x"
        expected = f"{s:.3g} * B A x, with lora_alpha = {alpha:g} and r = {r}"
        return Verdict(0.0, _scale_key(scales[0], alpha, r), text, expected)
    return Verdict(0.0, "other", *_first_difference(cases, s))


def _first_difference(cases, s):
    for y, base, _, u in cases:
        want = base + s * u
        if not close(y, want, rtol=1e-3, atol=1e-4):
            at = np.unravel_index(np.argmax(np.abs(y - want)), y.shape)
            return f"{y[at]:.4g} in the output", f"{want[at]:.4g}"
    return "", ""


SCALE = {
    "no_scale": "The update is added without its scale. Multiply it by lora_alpha / r.",
    "only_alpha": "The update is multiplied by lora_alpha alone. The scale is lora_alpha / r: it "
    "keeps the size of the update steady when r changes.",
    "wrong_scale": "The product B A x is right, its factor is not. The scale is lora_alpha / r, "
    "applied once.",
    "no_update": "The output is that of the base layer. With values in A and B, something must be "
    "added to it.",
}
PARTS = {
    "base_missing": "This is the update alone. Add the output of `self.base_layer`.",
    "scale_all": "The base layer's output is scaled as well. Only the update is multiplied by "
    "lora_alpha / r: mind the brackets.",
    "not_parameter": "A or B would not be trained. Either it is a plain tensor (arithmetic after "
    "`nn.Parameter(...)` makes one: wrap last), or something froze it after it was made: freeze "
    "only `base_layer`.",
    "base_trains": "The base layer must be frozen: set `requires_grad` to False for its weight and "
    "its bias.",
    "both_zero": "A and B are both zero. Then both gradients are zero for ever: each is a product "
    "with the other factor. One of them must be random.",
}


# 3.1 The LoRA layer
def make_linear(seed):
    rng = np.random.default_rng(seed)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    thin = lambda m, n: np.linalg.qr(rng.normal(size=(m, n)))[0].astype(np.float32)  # noqa: E731
    sign = rng.choice([-1, 1], size=(3, 4, 5))
    return {
        "alpha": np.array(rng.choice([5, 7, 9])),
        **{"W_start": f(32, 64), "b_start": f(32), "x_start": f(2, 3, 64)},
        **{"W_wide": f(8, 5), "b_wide": f(8), "A_wide": thin(6, 5), "B_wide": thin(8, 6) * 1.5},
        "x_wide": (sign * rng.uniform(0.5, 1.5, size=(3, 4, 5))).astype(np.float32),
        **{"W_square": f(7, 7), "A_square": f(3, 7), "B_square": f(7, 3), "x_square": f(2, 3, 7)},
        **{"g_wide": f(3, 4, 8), "g_square": f(2, 3, 7)},
    }


def probe_linear(namespace, a):
    import torch

    layer_class, alpha = namespace["LoRALinear"], a["alpha"].item()

    def layer(name, r, p):
        bias = a.get(f"b_{name}")
        base = _frozen_linear(a[f"W_{name}"], bias)
        made = layer_class(base, r=r, lora_alpha=alpha, lora_dropout=p)
        return made, base, tensor(a[f"x_{name}"])

    start, base, x = layer("start", 4, 0.0)
    made = _start(start, base)
    made["y_start"] = array(start.eval()(x), "the output")
    for name, r in (("wide", 6), ("square", 3)):
        filled, _, x = layer(name, r, 0.0)
        if not _fill(filled, a[f"A_{name}"], a[f"B_{name}"]):
            continue
        x.requires_grad_()
        y = filled.eval()(x)
        made[f"y_{name}"] = array(y, "the output")
        grads = {"x": x, "A": _factor(filled, "lora_A"), "B": _factor(filled, "lora_B")}
        if isinstance(y, torch.Tensor) and y.requires_grad and y.shape == a[f"g_{name}"].shape:
            (y * tensor(a[f"g_{name}"])).sum().backward()
        for key, value in grads.items():
            grad = torch.zeros_like(value) if value.grad is None else value.grad
            made[f"grad_{key}_{name}"] = array(grad)
    dropping, _, x = layer("wide", 6, 0.5)
    _fill(dropping, a["A_wide"], 0 * a["B_wide"])
    made["y_zero_train"] = array(dropping.train()(x), "the output")
    _fill(dropping, a["A_wide"], a["B_wide"])
    made["y_train"] = array(dropping.train()(x), "the output")
    made["y_eval"] = array(dropping.eval()(x), "the output")
    return made


def judge_linear(inputs, outputs):
    i, alpha = inputs, inputs["alpha"].item()
    shapes = (4, 64), (32, 4)
    wrong = _shape_verdict(outputs, *shapes)
    if wrong or "y_wide" not in outputs or "y_square" not in outputs:
        return wrong or Verdict(0.0, "shapes", "", "(r, in) and (out, r) for every r")
    if not outputs["is_trained"]:
        return _trains_verdict(outputs, *shapes)

    def case(y, name):
        bias, x = i.get(f"b_{name}", np.zeros(1)), i[f"x_{name}"]
        unscaled = x @ i[f"A_{name}"].T @ i[f"B_{name}"].T
        return y, x @ i[f"W_{name}"].T + bias, bias, unscaled

    wrong = _trains_verdict(outputs, *shapes)
    if wrong and wrong.mistake == "extra_bias":
        return wrong
    for name, r in (("wide", 6), ("square", 3)):
        found = _output_verdict([case(outputs[f"y_{name}"], name)], alpha, r)
        if found:
            return found
    return (
        wrong
        or _gradient_verdict(i, outputs, alpha)
        or _start_verdict(outputs, i)
        or _dropout_verdict(i, outputs, alpha, case)
        or Verdict(1.0)
    )


def _gradient_verdict(i, outputs, alpha):
    for name, r in (("wide", 6), ("square", 3)):
        g, A, B, s = i[f"g_{name}"], i[f"A_{name}"], i[f"B_{name}"], alpha / r
        x, d_out = i[f"x_{name}"].reshape(-1, A.shape[1]), B.shape[0]
        through = s * g @ B @ A
        tokens = g.reshape(-1, d_out)
        wanted = {"A": s * (tokens @ B).T @ x, "B": s * tokens.T @ (x @ A.T)}
        for key, value in wanted.items():
            seen = outputs[f"grad_{key}_{name}"]
            if not seen.any():
                return Verdict(0.0, "factor_detached", f"no gradient reaches lora_{key}")
            if not close(seen, value, rtol=1e-3, atol=1e-3):
                return Verdict(0.0, "other", f"the gradient of lora_{key} is wrong")
        seen = outputs[f"grad_x_{name}"]
        if close(seen, through, rtol=1e-3, atol=1e-3):
            return Verdict(0.0, "base_detached", "the gradient of x lacks the part through W")
        if not close(seen, g @ i[f"W_{name}"] + through, rtol=1e-3, atol=1e-3):
            return Verdict(0.0, "other", "the gradient of x is wrong")
    return None


def _start_verdict(outputs, i):
    A, B = outputs["A"], outputs["B"]
    base = i["x_start"] @ i["W_start"].T + i["b_start"]
    if not A.any() and not B.any():
        return Verdict(0.0, "both_zero")
    if B.any() and not A.any():
        return Verdict(0.0, "factors_exchanged")
    if B.any():
        gap = np.abs(outputs["y_start"] - base).max()
        return Verdict(0.0, "b_random", f"at the start the output is off by up to {gap:.3g}", "0")
    if not 0.3 < _spread(A) < 1.5:
        seen = f"the entries of A have a standard deviation of {np.std(A):.2g} for in = 64"
        return Verdict(0.0, "a_scale", seen, "about 0.07, which is 1 / sqrt(3 * in)")
    return None


def _dropout_verdict(i, outputs, alpha, case):
    s, A, B, x = alpha / 6, i["A_wide"], i["B_wide"], i["x_wide"]
    _, base, _, unscaled = case(None, "wide")
    if not close(outputs["y_zero_train"], base, rtol=1e-3, atol=1e-4):
        return Verdict(0.0, "dropout_base", "with B = 0, train() changes the output")
    if not close(outputs["y_eval"], base + s * unscaled, rtol=1e-3, atol=1e-4):
        return Verdict(0.0, "dropout_eval", "after eval() the output still varies")
    update = (outputs["y_train"] - base) / s
    if close(update, unscaled, rtol=1e-3, atol=1e-3):
        return Verdict(0.0, "no_dropout", "with lora_dropout = 0.5, train() drops nothing")
    hidden = update @ np.linalg.pinv(B).T  # (..., r)
    fed = hidden @ np.linalg.pinv(A).T  # (..., in), what A was fed
    if _dropped(fed, x) and close(fed @ A.T, hidden, atol=1e-3):
        return None
    if _dropped(hidden, x @ A.T) or _dropped(update, unscaled):
        return Verdict(0.0, "dropout_place", "what A is fed is not x with some entries dropped")
    return Verdict(0.0, "other", "with dropout 0.5, A is not fed x with half its entries dropped")


def _dropped(seen, whole):
    """Every entry is 0 or doubled, as dropout of one half leaves it."""
    return bool(np.all((np.abs(seen) < 1e-3) | (np.abs(seen - 2 * whole) < 2e-3)))


lora_linear = Check(
    name="lora_linear",
    title="The LoRA layer",
    wants=("LoRALinear",),
    difficulty=2,
    minutes=15,
    points=20,
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
    mistakes={
        **SCALE,
        **PARTS,
        "shapes": "lora_A is (r, in) and lora_B is (out, r), so that B @ A has the shape of the "
        "weight. A reads the input, B writes the output.",
        "bias_lost": "The bias of the base layer is missing. Call `self.base_layer(x)` instead of "
        "multiplying by its weight.",
        "extra_bias": "The update has a bias of its own. LoRA has none: with nn.Linear for A and "
        "B, say `bias=False`.",
        "base_detached": "The base layer is frozen, but the gradient of x must still pass through "
        "it to the layers below. Freeze its parameters, not its output: no `no_grad`, no `detach`.",
        "factor_detached": "The output is right, but A and B would not learn. Leave `.data`, "
        "`.detach()` and `no_grad` out of forward.",
        "factors_exchanged": "A is zero and B is random. It can learn, but the reference start is "
        "the other way round: A random, B zero.",
        "b_random": "B is random too. Then the layer does not start as its base layer, and the "
        "model is damaged before the first step. B starts at zero.",
        "a_scale": "A starts too large or too small. Draw it uniformly from +-1 / sqrt(in): "
        "`nn.init.kaiming_uniform_(A, a=math.sqrt(5))` on the (r, in) tensor.",
        "dropout_base": "Dropout reaches the base layer. It belongs on the x that goes into A "
        "alone; the base layer gets x whole.",
        "dropout_eval": "Dropout is still on after eval(). Use `nn.Dropout(p)` as a submodule, or "
        "pass `training=self.training`.",
        "no_dropout": "Dropout is not used in forward. Apply it to the x that goes into A.",
        "dropout_place": "Dropout comes too late. Drop entries of x before A, not entries of A x "
        "or of the update.",
        "raised:AttributeError": "The check reads `layer.lora_A` and `layer.lora_B`. Are they set "
        "on `self`, after `super().__init__()`, under these names?",
        "raised:RuntimeError": "Print the shapes: x is (..., in), A is (r, in), B is (out, r). "
        "Which of them needs `.T`?",
        "other": "Compare with `base_layer(x) + (lora_alpha / r) * x @ A.T @ B.T` for a small x.",
    },
    make=make_linear,
    probe=probe_linear,
    judge=judge_linear,
)


# 3.2 The delta weight
CASES = ("linear", "linear_square", "conv", "conv_square")


def make_delta(seed):
    rng = np.random.default_rng(seed + 100)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    made = {"alpha": np.array(rng.choice([5, 7, 8]))}
    for name in CASES:
        n_in, n_out = (6, 6) if name.endswith("square") else (5, 8)
        made[f"W_{name}"] = f(n_in, n_out) if name.startswith("conv") else f(n_out, n_in)
        made |= {f"A_{name}": f(3, n_in), f"B_{name}": f(n_out, 3)}
    return made


def probe_delta(namespace, a):
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    made = {}
    for name in CASES:
        weight = a[f"W_{name}"]
        if name.startswith("conv"):
            base = Conv1D(weight.shape[1], weight.shape[0])
            base.weight = nn.Parameter(tensor(weight))
        else:
            base = _frozen_linear(weight, np.zeros(weight.shape[0], np.float32))
        base.requires_grad_(False)
        A, B = tensor(a[f"A_{name}"]), tensor(a[f"B_{name}"])
        made[name] = array(namespace["delta_weight"](base, A, B, a["alpha"].item()), "the delta")
        made[f"after_{name}"] = array(base.weight)
    return made


def judge_delta(inputs, outputs):
    alpha = inputs["alpha"].item()
    plain = {name: inputs[f"B_{name}"] @ inputs[f"A_{name}"] for name in CASES}  # (out, in)
    right = {n: d.T if n.startswith("conv") else d for n, d in plain.items()}
    if any(not np.array_equal(outputs[f"after_{n}"], inputs[f"W_{n}"]) for n in CASES):
        return Verdict(0.0, "changed_base")
    if all(close(outputs[n], inputs[f"W_{n}"] + alpha / 3 * right[n], rtol=1e-3) for n in CASES):
        return Verdict(0.0, "with_base")
    scales = {n: _layout_scale(outputs[n], d) for n, d in right.items()}
    turned = {n: _layout_scale(outputs[n], d.T) for n, d in right.items()}
    if None not in scales.values():
        return _delta_scale_verdict(scales, alpha)
    bad = [n for n in CASES if scales[n] is None]
    seen = f"{_shape(outputs[bad[0]])} for {_kind(inputs, bad[0])}"
    if any(turned[n] is None for n in bad):
        first = outputs[bad[0]]
        if first.shape == right[bad[0]].shape:
            seen = f"the right shape for {_kind(inputs, bad[0])}, and wrong numbers"
        return Verdict(0.0, "other", seen, f"{_shape(right[bad[0]])}, a multiple of B A")
    if bad == ["conv_square"]:
        return Verdict(0.0, "square", f"the transpose for {_kind(inputs, bad[0])}")
    key = "conv_layout" if bad[0] == "conv" else "linear_layout"
    return Verdict(0.0, key, seen, _shape(right[bad[0]]))


def _layout_scale(seen, unit):
    return _multiple(seen, unit) if seen.shape == unit.shape else None


def _delta_scale_verdict(scales, alpha):
    c, want = scales["linear"], alpha / 3
    if all(close(v, want, rtol=1e-3) for v in scales.values()):
        return Verdict(1.0)
    names = dict(zip(CASES, (5, 6, 5, 6), strict=True))
    if all(close(v, alpha / names[n], rtol=1e-3) for n, v in scales.items()):
        return Verdict(0.0, "wrong_r", f"a factor of {c:.3g}", f"{want:.3g}")
    key = _scale_key(c, alpha, 3)
    return Verdict(0.0, key, f"{c:.3g} * B A", f"{want:.3g} * B A, as alpha = {alpha} and r = 3")


def _kind(inputs, name):
    side = "x".join(str(n) for n in inputs[f"W_{name}"].shape)
    return f"a {'Conv1D' if name.startswith('conv') else 'Linear'} whose weight is {side}"


delta_weight = Check(
    name="delta_weight",
    title="The delta weight",
    wants=("delta_weight",),
    difficulty=2,
    minutes=8,
    points=15,
    verified="Linear and Conv1D, square and not, scale lora_alpha / r, base weight untouched",
    hints=(
        "What is the shape of B @ A? And what is the shape of `base_layer.weight` for each kind?",
        "B @ A is (out, in), as in nn.Linear. A Conv1D stores (in, out). For a square weight the "
        "shape cannot tell you which it is: ask for the type.",
        "`delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A`, and return `delta.T` when "
        "`isinstance(base_layer, Conv1D)`.",
    ),
    mistakes={
        **{key: SCALE[key] for key in ("no_scale", "only_alpha", "wrong_scale")},
        "no_update": "The delta is zero. It is the scaled product of B and A.",
        "wrong_r": "The scale divides by the wrong number. r is the number of rows of A, "
        "`lora_A.shape[0]`; its columns are the inputs.",
        "conv_layout": "This layer is a Conv1D: it stores its weight as (in, out). Transpose the "
        "product for it.",
        "linear_layout": "An nn.Linear stores its weight as (out, in), just as B @ A comes. Only "
        "the Conv1D needs the transpose.",
        "square": "Right, except for a square Conv1D: there the shapes fit both ways, and the "
        "transpose was left out. Ask for the type of the layer, not for its shape.",
        "with_base": "This is the merged weight. Return what is added to it, the delta alone.",
        "changed_base": "The base layer's weight was changed. Return the delta, and leave the "
        "adding to the caller.",
        "raised:RuntimeError": "Print the shapes: A is (r, in), B is (out, r). In which order do "
        "they multiply?",
        "other": "Start from B @ A, which is (out, in), and compare it with base_layer.weight.",
    },
    make=make_delta,
    probe=probe_delta,
    judge=judge_delta,
)


# 3.3 Four broken starts
STARTS = ("init_1", "init_2", "init_3", "init_4")


def make_starts(seed):
    rng = np.random.default_rng(seed + 200)
    return {"d_in": rng.integers(250, 350), "d_out": rng.integers(30, 60), "r": rng.integers(4, 7)}


def probe_starts(namespace, a):
    made, todo = {}, None
    for name in STARTS:
        try:
            pair = namespace[name](*(int(a[k]) for k in ("d_in", "d_out", "r")))
        except NotImplementedError as error:
            todo = error
            continue
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            array(None if pair is None else "", f"what {name} returns")
        for key, value in zip("AB", pair, strict=True):
            made[f"{name}_{key}"] = array(value, f"the {key} of {name}")
            made[f"{name}_{key}_trained"] = _trained(value)
    if todo and not made:
        raise todo
    return made


def judge_starts(inputs, outputs):
    verdicts = [_one_start(inputs, outputs, name) for name in STARTS]
    share = sum(v.share for v in verdicts) / 4
    wrong = next((v for v in verdicts if v.share < 1), Verdict(1.0))
    return wrong._replace(share=share)


def _one_start(inputs, outputs, name):
    if f"{name}_A" not in outputs:
        return Verdict(0.0, "unfinished", f"{name} is still open")
    A, B = outputs[f"{name}_A"], outputs[f"{name}_B"]
    d_in, d_out, r = (int(inputs[k]) for k in ("d_in", "d_out", "r"))
    if A.shape != (r, d_in) or B.shape != (d_out, r):
        seen = f"{name} gives A {_shape(A)}, B {_shape(B)}"
        return Verdict(0.0, "shapes", seen, f"{r} x {d_in} and {d_out} x {r}")
    if not A.any() or B.any():
        key = "b_random" if A.any() else "factors_exchanged" if B.any() else "both_zero"
        return Verdict(0.0, key, f"{name}: A is {_word(A)}, B is {_word(B)}", "A random, B zero")
    if np.linalg.matrix_rank(A, tol=1e-4 * np.linalg.norm(A)) < r:
        return Verdict(0.0, "constant", f"{name}: the rows of A are not independent", f"rank {r}")
    if not 0.3 < _spread(A) < 1.5:
        seen = f"{name}: entries of A have a standard deviation of {np.std(A):.2g}"
        return Verdict(0.0, "a_scale", seen, f"about {(3 * d_in) ** -0.5:.2g} for in = {d_in}")
    if min(outputs[f"{name}_A_trained"], outputs[f"{name}_B_trained"]) < 1:
        return Verdict(0.0, "not_parameter", f"{name} gives a tensor that is not trained")
    return Verdict(1.0)


def _word(a):
    return "not zero" if a.any() else "zero"


broken_starts = Check(
    name="broken_starts",
    title="Four broken starts",
    wants=STARTS,
    difficulty=3,
    minutes=10,
    points=20,
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
    mistakes={
        "unfinished": "This function still raises NotImplementedError. The others are counted.",
        "shapes": "A is (r, d_in) and B is (d_out, r): A reads the input, B writes the output.",
        "both_zero": PARTS["both_zero"],
        "b_random": "B is not zero, so B A x is not zero either, and the model is damaged before "
        "the first step. Keep A random and make B zero.",
        "factors_exchanged": "A is zero and B is random. It can learn, but here the task is the "
        "reference start: A random, B zero.",
        "constant": "Equal rows of A get equal gradients and stay equal: the update never gets "
        "beyond the rank that A starts with. Draw every entry of A on its own.",
        "a_scale": "A has the wrong size. Its entries should lie in +-1 / sqrt(d_in), so that A x "
        "stays of the size of one entry of x, however many inputs there are. Give kaiming the "
        "(r, d_in) tensor.",
        "not_parameter": "Return `nn.Parameter`s that train: wrap last, since arithmetic after "
        "`nn.Parameter(...)` gives a plain tensor again.",
        "other": "Return the pair (A, B): A random and (r, d_in), B zero and (d_out, r).",
    },
    make=make_starts,
    probe=probe_starts,
    judge=judge_starts,
)


# 3.4 LoRA for an embedding
def make_table(seed):
    rng = np.random.default_rng(seed + 300)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    shapes = {"wide": (40, 12), "square": (9, 9)}
    made = {"alpha": np.array(rng.choice([5, 7, 8]))}
    for name, (n, d) in shapes.items():
        made |= {f"W_{name}": f(n, d), f"A_{name}": f(3, n), f"B_{name}": f(d, 3)}
        made[f"ids_{name}"] = rng.integers(0, n, size=(2, 5))
    return made


def probe_table(namespace, a):
    import torch
    from torch import nn

    made, layer_class = {}, namespace["LoRAEmbedding"]
    for name in ("wide", "square"):
        base = nn.Embedding(*a[f"W_{name}"].shape)
        base.weight = nn.Parameter(tensor(a[f"W_{name}"]))
        layer = layer_class(base, r=3, lora_alpha=a["alpha"].item())
        ids = tensor(a[f"ids_{name}"])
        if name == "wide":
            made = _start(layer, base)
        if not _fill(layer, a[f"A_{name}"], a[f"B_{name}"]):
            break
        y = layer(ids)
        made[f"y_{name}"] = array(y, "the output")
        if isinstance(y, torch.Tensor) and y.requires_grad:
            y.square().sum().backward()
        for key in "AB":
            value = _factor(layer, f"lora_{key}")
            grad = torch.zeros_like(value) if value.grad is None else value.grad
            made[f"grad_{key}_{name}"] = array(grad)
    return made


def judge_table(inputs, outputs):
    i, alpha = inputs, inputs["alpha"].item()
    shapes = (3, 40), (12, 3)
    wrong = _shape_verdict(outputs, *shapes)
    if wrong or "y_square" not in outputs:
        return wrong or Verdict(0.0, "shapes", "", "(r, n) and (d, r) for every n and d")
    if not outputs["is_trained"]:
        return _trains_verdict(outputs, *shapes)
    cases = []
    for name in ("wide", "square"):
        ids = i[f"ids_{name}"]
        base, unscaled = i[f"W_{name}"][ids], i[f"A_{name}"].T[ids] @ i[f"B_{name}"].T
        cases.append((outputs[f"y_{name}"], base, 0.0, unscaled))
    wrong = _output_verdict(cases, alpha, 3) or _trains_verdict(outputs, *shapes)
    if wrong:
        return wrong
    if not all(outputs[f"grad_{k}_{n}"].any() for k in "AB" for n in ("wide", "square")):
        return Verdict(0.0, "factor_detached", "no gradient reaches lora_A or lora_B")
    A, B = outputs["A"], outputs["B"]
    if not A.any() and not B.any():
        return Verdict(0.0, "both_zero")
    if A.any():
        key = "b_random" if B.any() else "wrong_zero"
        return Verdict(0.0, key, f"A is {_word(A)}, B is {_word(B)}", "A zero, B random")
    if np.linalg.matrix_rank(B, tol=1e-4 * np.linalg.norm(B)) < 3:
        return Verdict(0.0, "constant", "the columns of B are not independent", "rank 3")
    return Verdict(1.0)


lora_embedding = Check(
    name="lora_embedding",
    title="LoRA for an embedding",
    wants=("LoRAEmbedding",),
    difficulty=3,
    minutes=12,
    points=20,
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
    mistakes={
        **SCALE,
        **PARTS,
        "base_trains": "The table must be frozen: `base_layer.requires_grad_(False)`.",
        "shapes": "lora_A is (r, n) with one column for each token, lora_B is (d, r).",
        "extra_bias": "There is something trainable beside A and B. LoRA has no bias of its own.",
        "factor_detached": "The output is right, but A and B would not learn. Leave `.data`, "
        "`.detach()` and `no_grad` out of forward.",
        "b_random": "A and B are both random, so the table is changed before the first step. For "
        "an embedding A starts at zero.",
        "wrong_zero": "The wrong factor is zero. With A random and B zero, tokens that never occur "
        "in training move too, as soon as B has moved. Zero A, and draw B.",
        "constant": "Equal columns of B get equal gradients and stay equal. Draw every entry of B "
        "on its own.",
        "raised:AttributeError": "The check reads `layer.lora_A` and `layer.lora_B`. Are they set "
        "on `self`, after `super().__init__()`, under these names?",
        "raised:RuntimeError": "Token ids are whole numbers that pick rows: they index `lora_A.T`, "
        "they are not multiplied by it.",
        "raised:IndexError": "The ids index tokens, and A is (r, n): the tokens are its columns. "
        "Index `lora_A.T`, or `lora_A[:, ids]`.",
        "other": "For one token t the row is W[t] + (lora_alpha / r) * B @ A[:, t].",
    },
    make=make_table,
    probe=probe_table,
    judge=judge_table,
)


# 3.5 More rank, the same update
def make_grow(seed):
    rng = np.random.default_rng(seed + 400)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    r = int(rng.integers(2, 5))
    return {
        **{"A": f(r, 20), "B": f(15, r), "alpha": np.array(rng.choice([7, 9, 11]))},
        **{"new_r": np.array(2 * r + rng.integers(1, 4))},
    }


def probe_grow(namespace, a):
    A, B, alpha, new_r = tensor(a["A"]), tensor(a["B"]), a["alpha"].item(), a["new_r"].item()
    made = namespace["grow_rank"](A, B, alpha, new_r)
    if not isinstance(made, (tuple, list)) or len(made) != 3:
        array(None if made is None else "", "what grow_rank returns")
    names = ("the new A", "the new B", "the new alpha")
    return {k: array(v, n) for k, v, n in zip(("A", "B", "alpha"), made, names, strict=True)}


def judge_grow(inputs, outputs):
    A, B, alpha, new_r = inputs["A"], inputs["B"], inputs["alpha"].item(), inputs["new_r"].item()
    r, new_A, new_B = len(A), outputs["A"], outputs["B"]
    shapes = (new_r, A.shape[1]), (B.shape[0], new_r)
    wrong = _shape_verdict(outputs, *shapes)
    if wrong:
        return wrong
    if outputs["alpha"].size != 1:
        return Verdict(0.0, "other", f"an alpha of {_shape(outputs['alpha'])}", "one number")
    new_alpha = float(outputs["alpha"].reshape(-1)[0])
    old, new = alpha / r * B @ A, new_alpha / new_r * new_B @ new_A
    c = _multiple(new, old)
    if c is None:
        mixed = np.allclose(new_A[:r], A) and np.allclose(new_B[:, :r], B)
        kept = np.allclose(new_alpha / new_r * new_B[:, :r] @ new_A[:r], old, atol=1e-3)
        key = "adds" if mixed or kept else "other"
        return Verdict(0.0, key, "the update is another one than before", "the same delta weight")
    if not close(c, 1.0, rtol=1e-3):
        key = {True: "alpha_kept"}.get(close(c, r / new_r, rtol=1e-3), "alpha_wrong")
        seen = f"the update is {c:.3g} times what it was, at r = {r} -> {new_r}"
        return Verdict(0.0, key, seen, "the same update")
    rank = max(np.linalg.matrix_rank(m, tol=1e-3 * np.linalg.norm(m)) for m in (new_A, new_B))
    alive = (np.abs(new_A).max(1) > 1e-6) | (np.abs(new_B).max(0) > 1e-6)  # (new_r,)
    if not alive.all():
        seen = f"{int((~alive).sum())} directions whose row of A and column of B are both zero"
        return Verdict(0.0, "dead", seen, "none")
    if rank < new_r:
        return Verdict(0.0, "copies", f"the factors have rank {rank}", f"rank {new_r}")
    return Verdict(1.0)


grow_rank = Check(
    name="grow_rank",
    title="More rank, the same update",
    wants=("grow_rank",),
    difficulty=4,
    minutes=12,
    points=25,
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
    mistakes={
        "shapes": "A grows by rows (dim 0), B grows by columns (dim 1).",
        "alpha_kept": "The scale lora_alpha / r fell, because r grew. Give back a lora_alpha that "
        "makes the quotient what it was.",
        "alpha_wrong": "The update is the old one times a factor. The new lora_alpha divided by "
        "new_r must equal the old lora_alpha divided by r.",
        "adds": "The new directions already add something: their rows of A and columns of B are "
        "both non-zero. One of the two must be zero.",
        "dead": "Some new rows of A and their columns of B are both zero. Each gradient is a "
        "product with the other one, so they stay zero for ever.",
        "copies": "The new directions repeat others: equal rows of A get equal gradients, and the "
        "rank does not grow. Draw every new row at random.",
        "raised:RuntimeError": "Print the shapes: torch.cat needs equal sizes on every axis but "
        "the one along which it joins.",
        "other": "Compare alpha / r * B @ A before with new_alpha / new_r * new_B @ new_A after.",
    },
    make=make_grow,
    probe=probe_grow,
    judge=judge_grow,
)

EXERCISES = (lora_linear, delta_weight, broken_starts, lora_embedding, grow_rank)
