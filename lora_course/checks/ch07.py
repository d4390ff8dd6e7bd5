"""Checks of chapter 07: merge, refuse a second merge, visit, add two adapters, rounding."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor

CASES = ("linear", "linear_square", "conv_square", "conv")


# What several checks share
def _normal(rng):
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


def _base(name, weight, bias):
    """A frozen nn.Linear or Conv1D with these values."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if name.startswith("conv"):
        layer = Conv1D(weight.shape[1], weight.shape[0])
    else:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(tensor(weight)), nn.Parameter(tensor(bias))
    return layer.requires_grad_(False)


def _multiple(seen, unit):
    """c when seen = c * unit, else None."""
    if seen.shape != unit.shape or not np.all(np.isfinite(seen)):
        return None
    c = float((seen * unit).sum() / (unit * unit).sum())
    return c if np.allclose(seen, c * unit, rtol=1e-3, atol=2e-3 * np.abs(unit).max()) else None


def _shape(value):
    return " x ".join(str(n) for n in value.shape) or "one number"


# 7.1 Merge and unmerge
def make_layer(seed):
    rng = np.random.default_rng(seed + 700)
    f = _normal(rng)
    made = {"alpha": np.array(rng.choice([5, 7, 8]))}
    for name in CASES:
        n_in, n_out = (6, 6) if name.endswith("square") else (5, 8)
        made[f"W_{name}"] = f(n_in, n_out) if name.startswith("conv") else f(n_out, n_in)
        made |= {f"A_{name}": f(3, n_in), f"B_{name}": f(n_out, 3)}
        made |= {f"b_{name}": f(n_out), f"x_{name}": f(2, 4, n_in)}
    return made


def probe_layer(namespace, a):
    made = {}
    for name in CASES:
        base = _base(name, a[f"W_{name}"], a[f"b_{name}"])
        A, B, x = (tensor(a[f"{key}_{name}"]) for key in "ABx")
        layer = namespace["LoRALayer"](base, A, B, a["alpha"].item())
        made[f"delta_{name}"] = array(layer.delta(), "layer.delta()")
        for step, act in enumerate((None, "merge", None, "unmerge")):
            if act:
                getattr(layer, act)()
            weight = layer.base_layer.weight
            made[f"y{step}_{name}"] = array(layer(x), "the output")
            made[f"W{step}_{name}"] = array(weight, "base_layer.weight")
            made[f"trains{step}_{name}"] = float(weight.requires_grad)
    return made


def judge_layer(inputs, outputs):
    for name in CASES:
        wrong = _delta_verdict(inputs, outputs, name)
        if wrong:
            return wrong
    for name in CASES:
        wrong = _layer_verdict(inputs, outputs, name)
        if wrong:
            return wrong
    if any(outputs[f"trains{step}_{name}"] for step in range(4) for name in CASES):
        return Verdict(0.0, "trains", "base_layer.weight requires a gradient", "a frozen weight")
    return Verdict(1.0)


def _right_delta(i, name):
    delta = i["alpha"].item() / 3 * i[f"B_{name}"] @ i[f"A_{name}"]  # (out, in)
    return delta.T if name.startswith("conv") else delta


def _delta_verdict(i, outputs, name):
    delta, want = outputs[f"delta_{name}"], _right_delta(i, name)
    if close(delta, want, rtol=1e-3, atol=1e-4):
        return None
    if delta.shape == want.T.shape and close(delta.T, want, rtol=1e-3, atol=1e-4):
        key = "conv_layout" if name.startswith("conv") else "linear_layout"
        return Verdict(0.0, key, f"delta() is transposed for the case {name!r}")
    c, s = _multiple(delta, want), i["alpha"].item() / 3
    if c is None:
        seen = f"delta() is {_shape(delta)} for the case {name!r}, with other numbers"
        return Verdict(0.0, "other", seen, f"{_shape(want)}, scaling * B @ A")
    key = "no_scale" if close(c * s, 1.0, 1e-3) else "scale_twice" if close(c, s, 1e-3) else "other"
    return Verdict(0.0, key, f"delta() is {c * s:.3g} * B @ A", f"{s:.3g} * B @ A")


def _layer_verdict(i, outputs, name):
    """Verdict on one base layer, in the order in which things happen."""
    W, delta, x = i[f"W_{name}"], _right_delta(i, name), i[f"x_{name}"]
    into = (lambda w: w) if name.startswith("conv") else np.transpose  # as (in, out)
    out = x @ into(W) + i[f"b_{name}"]
    update = x @ into(delta)
    s = i["alpha"].item() / 3
    y, w = ([outputs[f"{key}{step}_{name}"] for step in range(4)] for key in "yW")
    same = lambda a, b: close(a, b, rtol=1e-3, atol=2e-3)  # noqa: E731
    if not same(w[0], W):
        return Verdict(
            0.0, "other", "the weight has changed before merge()", "the weight as it was"
        )
    if not same(y[0], out + update):
        for key, value in {"no_update": out, "no_scale": out + update / s}.items():
            if same(y[0], value):
                return Verdict(0.0, key, "the output before merge() is another one")
        return Verdict(
            0.0, "other", "the output before merge() is another one", "W x + scaling B A x"
        )
    c = _multiple(w[1] - W, delta)
    if c is None:
        return Verdict(0.0, "other", "merge() adds something else to the weight", "scaling * B @ A")
    if not close(c, 1.0, rtol=5e-3):
        known = {"not_folded": 0.0, "no_scale": 1 / s, "scale_twice": s}
        key = next((k for k, v in known.items() if close(c, v, rtol=5e-3, atol=1e-3)), "other")
        seen = f"merge() adds {c * s:.3g} * B @ A to the weight"
        return Verdict(0.0, key, seen, f"{s:.3g} * B @ A, once")
    for step in (1, 2):
        if not same(y[step], out + update):
            extra = _multiple(y[step] - out - update, update)
            key = "adds_again" if extra is not None and close(extra, 1.0, 1e-2) else "other"
            seen = "the merged weight is right, but the merged output is another one"
            return Verdict(0.0, key, seen, "the output before merge()")
    if not same(w[2], W + delta):
        return Verdict(0.0, "other", "the weight changes while the layer is used", "one merge")
    c = _multiple(w[3] - W, delta)
    if c is None or not close(c, 0.0, atol=1e-2):
        known = {"not_taken": 1.0, "added": 2.0}
        key = next((k for k, v in known.items() if c is not None and close(c, v, 1e-2)), "other")
        seen = "" if c is None else f"after unmerge() the weight has {c:.3g} updates in it"
        return Verdict(0.0, key, seen, "the old weight")
    if not same(y[3], out + update):
        key = "flag_stays" if same(y[3], out) else "other"
        return Verdict(0.0, key, "after unmerge() the output is another one", "that of the start")
    return None


merge_layer = Check(
    name="merge_layer",
    title="Merge and unmerge",
    wants=("LoRALayer",),
    difficulty=2,
    minutes=12,
    points=20,
    verified="Linear and Conv1D, square and not: weight and output before, merged and after, "
    "nothing trainable in the base",
    hints=(
        "Before and after a merge the output must be the same. So what must `forward` leave out "
        "once the weight holds the update?",
        "`merge` adds `self.delta()` to `self.base_layer.weight` and sets `self.merged`; `unmerge` "
        "does the reverse of both. `forward` looks at `self.merged`. A `Conv1D` stores its weight "
        "as (in, out), so its delta is the transpose of B @ A.",
        "In `merge`: `with torch.no_grad(): self.base_layer.weight += self.delta()`, then "
        "`self.merged = True`. In `forward`: return `self.base_layer(x)` alone when `self.merged`.",
    ),
    mistakes={
        "conv_layout": "A Conv1D stores its weight as (in, out). Transpose the product, also "
        "where it is square: ask for the type of the layer, not for the shape.",
        "linear_layout": "An nn.Linear stores its weight as (out, in), just as B @ A comes. Only "
        "the Conv1D needs the transpose.",
        "no_scale": "The update goes in without its scale. Multiply B @ A by self.scaling.",
        "scale_twice": "The scale goes in twice. If delta() is scaled already, merge() adds it as "
        "it is.",
        "no_update": "Before the merge, forward gives the base layer's output alone. The update "
        "must be added as long as it is not in the weight.",
        "not_folded": "After merge() the weight is the old one. `weight + delta` makes a new "
        "tensor: store it, or add in place with `+=`.",
        "adds_again": "The weight holds the update, and forward adds it once more. Look at "
        "self.merged in forward, and set it in merge().",
        "not_taken": "After unmerge() the update is still in the weight. Subtract the same delta.",
        "added": "unmerge() adds the update instead of taking it off.",
        "flag_stays": "After unmerge() the weight is right, but the layer still thinks that it is "
        "merged. Set self.merged to False.",
        "trains": "Values are right, but the weight now requires a gradient: it would be trained, "
        "or hang on A and B. Work inside `torch.no_grad()`, and give a new Parameter "
        "`requires_grad=False`.",
        "raised:RuntimeError": "Compare the shapes of self.delta() and self.base_layer.weight. "
        "B @ A is (out, in), a Conv1D stores (in, out).",
        "raised:ValueError": "A frozen weight must not become a result of A and B: change it "
        "inside `with torch.no_grad():`.",
        "raised:TypeError": "A weight cannot be replaced by a plain tensor. Add in place, inside "
        "`torch.no_grad()`, or wrap the sum in nn.Parameter.",
        "other": "Write down weight and output for one small layer before, after merge() and after "
        "unmerge().",
    },
    make=make_layer,
    probe=probe_layer,
    judge=judge_layer,
)


# 7.2 Refuse a double merge
def make_all(seed):
    f = _normal(np.random.default_rng(seed + 800))
    return {"W": f(4, 5, 6), "delta": f(4, 5, 6)}


class _Layer:
    """What merge_all is given: a weight, a flag and an update."""

    def __init__(self, weight, delta):
        self.base_layer = _base("linear", weight, np.zeros(weight.shape[0], np.float32))
        self.delta, self.merged = tensor(delta), False

    def get_delta_weight(self):
        return self.delta


def probe_all(namespace, a):
    made, merge_all = {}, namespace["merge_all"]

    def call(layers, step):
        """Weights, flags, and what was raised: 0 nothing, 1 ValueError, 2 something else."""
        raised = 0.0
        try:
            merge_all(layers)
        except NotImplementedError:
            raise
        except Exception as error:
            if step == "first" and not isinstance(error, ValueError):
                raise
            raised = 1.0 if isinstance(error, ValueError) else 2.0
        made[f"raised_{step}"] = raised
        made[f"W_{step}"] = array([lay.base_layer.weight for lay in layers], "the weights")
        made[f"flags_{step}"] = array([bool(layer.merged) for layer in layers])

    layers = [_Layer(w, d) for w, d in zip(a["W"], a["delta"], strict=True)]
    call(layers, "first")
    call(layers, "second")
    layers = [_Layer(w, d) for w, d in zip(a["W"], a["delta"], strict=True)]
    layers[2].base_layer.weight.data += layers[2].delta
    layers[2].merged = True
    call(layers, "mixed")
    return made


def judge_all(inputs, outputs):
    W, merged = inputs["W"], inputs["W"] + inputs["delta"]
    o, same = outputs, lambda a, b: close(a, b, rtol=1e-3, atol=1e-4)
    if o["raised_first"]:
        return Verdict(0.0, "refuses_first", "a first merge raises ValueError", "no error")
    if not same(o["W_first"], merged):
        key = "not_folded" if same(o["W_first"], W) else "other"
        return Verdict(0.0, key, "a first merge gives other weights", "weight + get_delta_weight()")
    if not np.all(o["flags_first"]):
        return Verdict(0.0, "no_flag", "after a merge, `merged` is still False", "True")
    if same(o["W_second"], merged + inputs["delta"]):
        return Verdict(0.0, "adds_twice", "a second merge adds the update again", "a ValueError")
    if not same(o["W_second"], merged):
        return Verdict(0.0, "other", "a second merge changes the weights", "a ValueError")
    if 2.0 in (o["raised_second"], o["raised_mixed"]):
        return Verdict(0.0, "wrong_error", "a second merge raises another error", "a ValueError")
    if not (o["raised_second"] and o["raised_mixed"]):
        return Verdict(0.0, "silent", "no error although a layer is merged already", "a ValueError")
    before = W.copy()
    before[2] = merged[2]
    if not same(o["W_mixed"], before):
        seen = "with the third of four layers merged already, others were changed"
        return Verdict(0.0, "partial", seen, "a ValueError, and no weight changed")
    if not np.array_equal(o["flags_mixed"], [False, False, True, False]):
        return Verdict(0.0, "partial", "`merged` of some layers has changed", "no change")
    return Verdict(1.0)


merge_all = Check(
    name="merge_all",
    title="Refuse a double merge",
    wants=("merge_all",),
    difficulty=2,
    minutes=8,
    points=15,
    verified="a first merge, a second one, and a list in which one layer is merged already",
    hints=(
        "When must the question be asked: before the first weight changes, or on the way?",
        "Two loops. The first only looks, and raises when any layer is merged. The second adds.",
        "`if any(layer.merged for layer in layers): raise ValueError(...)`. Then, for each layer, "
        "`layer.base_layer.weight.data += layer.get_delta_weight()` and `layer.merged = True`.",
    ),
    mistakes={
        "refuses_first": "Nothing is merged yet, and still it is refused. Raise only when some "
        "layer's `merged` is True.",
        "not_folded": "The weights are the old ones. `weight + delta` makes a new tensor: add in "
        "place.",
        "no_flag": "The weights are merged, but the layers do not know it. Set `layer.merged`.",
        "adds_twice": "The update is in the weight twice. Look at `layer.merged` before adding.",
        "wrong_error": "It is refused, but not by a ValueError. An assert, say, raises "
        "AssertionError, and disappears under `python -O`.",
        "silent": "Merged layers are passed over in silence. Whoever calls believes that the merge "
        "was done: raise a ValueError.",
        "partial": "It is refused too late: layers before the merged one were merged already. Look "
        "at all of them first, then change them.",
        "raised:RuntimeError": "Change a frozen weight inside `torch.no_grad()`, or through its "
        "`.data`.",
        "other": "First ask all layers, then merge all layers.",
    },
    make=make_all,
    probe=probe_all,
    judge=judge_all,
)


# 7.3 A visit by another adapter
NAMES = ("first.lora_A", "first.lora_B", "second.lora_A", "second.lora_B")


def make_visit(seed):
    f = _normal(np.random.default_rng(seed + 900))
    shapes = ((2, 5), (4, 2), (2, 4), (3, 2))
    old = {f"old_{i}": f(*shape) for i, shape in enumerate(shapes)}
    return old | {f"new_{i}": f(*shape) for i, shape in enumerate(shapes)} | {"W": f(4, 5)}


class _Stop(Exception):
    """Raised inside the block; it must come out of it."""


def probe_visit(namespace, a):
    import torch
    from torch import nn

    model = nn.ModuleDict({"first": nn.Module(), "second": nn.Module()})
    model["first"].weight = nn.Parameter(tensor(a["W"]), requires_grad=False)
    for i, name in enumerate(NAMES):
        part, kind = name.split(".")
        setattr(model[part], kind, nn.Parameter(tensor(a[f"old_{i}"])))
    state = {name: tensor(a[f"new_{i}"]) for i, name in enumerate(NAMES)}
    made, adapter = {}, namespace["adapter"]

    def note(step):
        found = dict(model.named_parameters())
        for i, name in enumerate(NAMES):
            made[f"{step}_{i}"] = array(found[name], name)
            made[f"trains_{step}_{i}"] = float(found[name].requires_grad)
        made[f"{step}_W"] = array(model["first"].weight)

    with adapter(model, state):
        note("inside")
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in NAMES:
                    p.add_(1.0)  # a training step
    note("after")
    for i, name in enumerate(NAMES):
        made[f"state_{i}"] = array(state[name], "the state")
    with torch.no_grad():  # a fresh start for the second visit, whatever the first one left
        for i, name in enumerate(NAMES):
            model.get_parameter(name).data = tensor(a[f"old_{i}"])
    made["came_out"] = 0.0
    try:
        with adapter(model, {name: tensor(a[f"new_{i}"]) for i, name in enumerate(NAMES)}):
            raise _Stop
    except _Stop:
        made["came_out"] = 1.0
    note("error")
    return made


def judge_visit(inputs, outputs):
    old, new = ([inputs[f"{key}_{i}"] for i in range(4)] for key in ("old", "new"))

    def all_are(step, values):
        return all(close(outputs[f"{step}_{i}"], v, atol=1e-5) for i, v in enumerate(values))

    if not all_are("inside", new):
        some = any(close(outputs[f"inside_{i}"], v) for i, v in enumerate(new))
        key = "not_put" if all_are("inside", old) else "some_put" if some else "other"
        return Verdict(0.0, key, "inside the block the factors are not those of `state`")
    if any(not close(outputs[f"{step}_W"], inputs["W"]) for step in ("inside", "after", "error")):
        return Verdict(0.0, "other", "a weight of the base has changed", "only the factors change")
    if not all_are("after", old):
        key = "not_restored" if _stayed(outputs, "after", old, new) else "other"
        return Verdict(0.0, key, "after the block the factors are not the old ones")
    if not all_are("state", new):
        return Verdict(0.0, "state_changed", "training inside the block changed `state`")
    if not outputs["came_out"]:
        return Verdict(0.0, "swallowed", "an error inside the block did not come out of it")
    if not all_are("error", old):
        return Verdict(0.0, "no_finally", "after an error the factors are not the old ones")
    steps = ("inside", "after", "error")
    if not all(outputs[f"trains_{step}_{i}"] for step in steps for i in range(4)):
        return Verdict(0.0, "frozen", "a factor no longer requires a gradient", "trainable factors")
    return Verdict(1.0)


def _stayed(outputs, step, old, new):
    """Each factor is the old one or the visitor's, with or without the training step."""
    options = [(a, b, b + 1, a + 1) for a, b in zip(old, new, strict=True)]
    return all(
        any(close(outputs[f"{step}_{i}"], v, atol=1e-5) for v in values)
        for i, values in enumerate(options)
    )


adapter = Check(
    name="adapter",
    title="A visit by another adapter",
    wants=("adapter",),
    difficulty=3,
    minutes=12,
    points=20,
    verified="values inside and after, after an error, with training inside, state untouched",
    hints=(
        "What stands before `yield` happens on entry, what stands after it on exit. And if the "
        "code inside raises?",
        "Before: keep a `.clone()` of each factor, then copy the visitor's values in. After: copy "
        "the clones back. `try: yield` with `finally:` does it also after an error.",
        "`before = {n: p.detach().clone() for n, p in model.named_parameters() if n in state}`. "
        "Values go in by `p.data.copy_(state[n])`, and back by `p.data.copy_(before[n])` in the "
        "`finally` block.",
    ),
    mistakes={
        "not_put": "Inside the block the factors still have their old values. Copy `state` in "
        "before `yield`, with `copy_` on the data of each parameter.",
        "some_put": "Some factors get the visitor's values, others do not. Go through all names of "
        "`state`, A and B alike.",
        "not_restored": "After the block the visitor is still there. Copy the old values back. If "
        "you do: what you kept must be a `.clone()`, else it is the same memory.",
        "state_changed": "The model and `state` share their memory, so that training in the block "
        "changes the stored adapter. Copy values with `copy_`, do not hand over the tensors.",
        "swallowed": "The error inside the block disappears. Use `finally:` alone, or raise it "
        "again; the caller must hear of it.",
        "no_finally": "Without an error all is right. With one, the line after `yield` is never "
        "reached: put the restoring into a `finally:` block.",
        "frozen": "The values are right, but some factors do not train any more. Copy into the "
        "parameters, and leave `requires_grad` alone.",
        "raised:RuntimeError": "A generator for a `with` block yields exactly once. And a "
        "parameter is changed inside `torch.no_grad()`, or through its `.data`.",
        "raised:TypeError": "The function must `yield` once; `@contextmanager` makes the rest.",
        "raised:KeyError": "Only the names in `state` are LoRA factors: leave the rest out.",
        "other": "Keep clones, copy in, yield, copy back in `finally`.",
    },
    make=make_visit,
    probe=probe_visit,
    judge=judge_visit,
)


# 7.4 Two adapters in one
PAIRS = {"equal": (3, 3), "unequal": (2, 5)}


def make_add(seed):
    rng = np.random.default_rng(seed + 1000)
    f, made = _normal(rng), {}
    for name, ranks in PAIRS.items():
        for i, r in enumerate(ranks, 1):
            made |= {f"A{i}_{name}": f(r, 12), f"B{i}_{name}": f(11, r)}
        alphas = rng.choice([5, 7, 8, 11, 13], size=2, replace=False)
        made |= {f"alpha{i}_{name}": np.array(a) for i, a in enumerate(alphas, 1)}
    return made


def probe_add(namespace, a):
    made = {}
    for name in PAIRS:
        given = []
        for i in (1, 2):
            given += [tensor(a[f"A{i}_{name}"]), tensor(a[f"B{i}_{name}"])]
            given.append(a[f"alpha{i}_{name}"].item())
        try:
            found = namespace["add_adapters"](*given)
        except (RuntimeError, ValueError):
            if name == "equal":
                raise
            continue  # the judge sees that it is missing
        if not isinstance(found, (tuple, list)) or len(found) != 3:
            array(None if found is None else "", "what add_adapters returns")
        for key, value in zip(("A", "B", "alpha"), found, strict=True):
            made[f"{key}_{name}"] = array(value, f"the new {key}")
    return made


def judge_add(inputs, outputs):
    for name in PAIRS:
        if f"A_{name}" not in outputs:
            seen = "it fails when one adapter has r = 2 and the other r = 5"
            return Verdict(0.0, "unequal", seen, "an adapter of r = 7")
        wrong = _add_verdict(inputs, outputs, name)
        if wrong:
            return wrong
    return Verdict(1.0)


def _add_verdict(i, outputs, name):
    A1, B1, A2, B2 = (i[f"{key}_{name}"] for key in ("A1", "B1", "A2", "B2"))
    s1, s2 = (i[f"alpha{n}_{name}"].item() / len(A) for n, A in ((1, A1), (2, A2)))
    A, B, alpha = (outputs[f"{key}_{name}"] for key in ("A", "B", "alpha"))
    if A.ndim != 2 or B.ndim != 2 or alpha.size != 1 or A.shape[0] != B.shape[1] or not len(A):
        seen = f"A is {_shape(A)}, B is {_shape(B)}"
        return Verdict(0.0, "shapes", seen, "A (r, 12), B (11, r), alpha one number")
    if (A.shape[1], B.shape[0]) != (12, 11):
        seen = f"A is {_shape(A)}, B is {_shape(B)}"
        return Verdict(0.0, "shapes", seen, "A (r, 12) and B (11, r)")
    r, want = len(A), s1 * B1 @ A1 + s2 * B2 @ A2
    got = float(alpha.reshape(-1)[0]) / r * B @ A
    if close(got, want, rtol=1e-3, atol=1e-3):
        if r > len(A1) + len(A2):
            return Verdict(0.0, "too_large", f"r = {r}", f"r = {len(A1) + len(A2)}")
        return None
    sums = {"scale": want, "scales_lost": B1 @ A1 + B2 @ A2}
    sums["scaled_twice"] = s1**2 * B1 @ A1 + s2**2 * B2 @ A2
    if A1.shape == A2.shape:
        sums["averaged"] = (B1 + B2) @ (A1 + A2)
        sums["averaged scaled"] = (s1 * B1 + s2 * B2) @ (A1 + A2)
        sums["averaged each scaled"] = (s1 * B1 + s2 * B2) @ (s1 * A1 + s2 * A2)
        sums["averaged root"] = (s1**0.5 * B1 + s2**0.5 * B2) @ (s1**0.5 * A1 + s2**0.5 * A2)
        sums["crossed"] = s1 * B1 @ A2 + s2 * B2 @ A1
        sums["crossed scaled"] = s2 * B1 @ A2 + s1 * B2 @ A1
        sums["crossed plain"] = B1 @ A2 + B2 @ A1
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    for key, value in sums.items():
        c = _multiple(got, value)
        if c is not None and abs(c) > 1e-3:
            seen = f"the update is off by {error:.0%} of its size, at r = {len(A1)} and {len(A2)}"
            return Verdict(0.0, key.split(" ")[0], seen, "the sum of the two updates")
    return Verdict(0.0, "other", f"the update is off by {error:.0%} of its size", "the sum")


add_adapters = Check(
    name="add_adapters",
    title="Two adapters in one",
    wants=("add_adapters",),
    difficulty=3,
    minutes=10,
    points=20,
    verified="equal and unequal ranks and alphas, the exact sum, rank r1 + r2",
    hints=(
        "B @ A is a sum over r of columns of B times rows of A. How do you put two such sums into "
        "one?",
        "Stack the rows of A1 and A2, set the columns of B1 and B2 side by side. Then each column "
        "meets its own row. The two scales differ, so they go into the factors, and the alpha you "
        "return must leave them as they are.",
        "`A = torch.cat([A1, A2])`, `B = torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)`, "
        "and alpha = r1 + r2, so that alpha / r is 1.",
    ),
    mistakes={
        "averaged": "(B1 + B2) @ (A1 + A2) has the cross terms B1 @ A2 and B2 @ A1, which are "
        "nobody's. Do not add or average the factors: set them side by side.",
        "scales_lost": "B1 @ A1 and B2 @ A2 are both there, but each has lost its own scale "
        "alpha / r. Multiply it into one of the two factors.",
        "scaled_twice": "Each scale is in A and in B, so it counts twice. One factor takes it.",
        "scale": "The sum is right up to one factor. The new scale is alpha / r with the new r: "
        "return an alpha that makes it what you need.",
        "crossed": "B1 meets A2, and B2 meets A1. Rows and columns must stand in the same order.",
        "shapes": "A grows by rows, B by columns: A is (r1 + r2, in), B is (out, r1 + r2).",
        "too_large": "The sum is right, but the adapter is larger than both together. Nothing "
        "needs to be multiplied out.",
        "unequal": "With equal ranks it works. The ranks may differ: nothing may rely on A1 and A2 "
        "having one shape.",
        "raised:RuntimeError": "Print the shapes: torch.cat needs equal sizes on every axis but "
        "the one along which it joins. B joins along dim=1.",
        "other": "Compare alpha / r * B @ A with the sum of the two updates.",
    },
    make=make_add,
    probe=probe_add,
    judge=judge_add,
)


# 7.5 Which updates survive
def _bfloat16(a):
    """float32 rounded to the nearest bfloat16, ties to even, as float32."""
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def _half_unit(weight):
    return np.exp2(np.floor(np.log2(np.abs(weight))) - 8).astype(np.float32)


def make_rounding(seed):
    """Weights from 2**-6 to 2**3, no power of two; updates of 0.3 to 3 half units, none near 1."""
    rng = np.random.default_rng(seed + 1100)
    mantissa = 1 + rng.integers(3, 120, size=60) / 128
    sign = rng.choice([-1.0, 1.0], size=60)
    weight = (sign * mantissa * np.exp2(rng.integers(-6, 4, size=60))).astype(np.float32)
    times = np.concatenate(
        [rng.uniform(lo, hi, 20) for lo, hi in ((0.55, 0.9), (1.1, 1.8), (2.2, 3))]
    )
    times *= rng.choice([-1.0, 1.0], size=60)
    order = rng.permutation(60)
    return {"weight": weight, "update": (times[order] * _half_unit(weight)).astype(np.float32)}


def probe_rounding(namespace, a):
    made = {}
    for name in ("half_unit", "survives"):
        given = [tensor(a["weight"])] + [tensor(a["update"])] * (name == "survives")
        made[name] = array(namespace[name](*given), f"what {name} returns")
    return made


def judge_rounding(inputs, outputs):
    w, u = inputs["weight"], inputs["update"]
    wrong = _unit_verdict(w, outputs["half_unit"]) or _survival_verdict(w, u, outputs["survives"])
    return wrong or Verdict(1.0)


def _unit_verdict(w, seen):
    want = _half_unit(w)
    if close(seen, want, rtol=1e-3, atol=0):
        return None
    if seen.shape != w.shape:
        return Verdict(0.0, "other", f"half_unit returns {_shape(seen)}", _shape(w))
    known = {
        "whole": 2 * want,
        "float16": want / 8,
        "float32": want * 2.0**-16,
        "relative": np.abs(w) * 2.0**-8,
        "fixed": np.full_like(w, 2.0**-8),
        "sign": np.sign(w) * want,
    }
    at = f"half_unit({w[0]:.6g}) is {seen[0]:.3g}"
    for key, value in known.items():
        if close(seen, value, rtol=1e-3, atol=0):
            return Verdict(0.0, key, at, f"{want[0]:.3g}")
    return Verdict(0.0, "other", at, f"{want[0]:.3g}")


def _survival_verdict(w, u, seen):
    want, half = _bfloat16(w + u) != w, _half_unit(w)
    if seen.shape != w.shape:
        return Verdict(0.5, "other", f"survives returns {_shape(seen)}", _shape(w))
    seen = seen.astype(bool)
    if np.array_equal(seen, want):
        return None
    known = {
        "all_survive": np.ones_like(want),
        "reversed": ~want,
        "no_abs": u > half,
        "one_threshold": np.abs(u) > 2.0**-8,
        "whole_unit": np.abs(u) > 2 * half,
    }
    n, m = int(seen.sum()), int(want.sum())
    for key, value in known.items():
        if np.array_equal(seen, value):
            return Verdict(0.5, key, f"{n} of {len(w)} updates survive", f"{m}")
    text = f"{int((seen != want).sum())} of {len(w)} answers of survives are wrong"
    return Verdict(0.5, "other", text, "none")


rounding = Check(
    name="rounding",
    title="Which updates survive",
    wants=("half_unit", "survives"),
    difficulty=4,
    minutes=15,
    points=25,
    verified="half_unit for weights of ten sizes, survives against the true rounding",
    hints=(
        "Write 1.0, 1.5 and 2.0 in bfloat16, which keeps 7 bits after the leading one. What is the "
        "next number after each?",
        "From 1 to 2 the step is 2**-7, from 2 to 4 it is 2**-6, from 1/2 to 1 it is 2**-8. So "
        "find the power of two at or below |weight|. `survives` can round for itself: compare "
        "`.bfloat16()` before and after.",
        "`2.0 ** (torch.floor(torch.log2(weight.abs())) - 8)`, and "
        "`(weight + update).bfloat16() != weight.bfloat16()`.",
    ),
    mistakes={
        "whole": "This is the whole step to the next number. A sum goes to the nearer one, so "
        "half a step decides.",
        "float16": "This is half a unit of float16, which keeps 10 bits. bfloat16 keeps 7.",
        "float32": "This is half a unit of float32, which keeps 23 bits. bfloat16 keeps 7: "
        "`torch.finfo(torch.bfloat16).eps` is 2**-7.",
        "relative": "The step does not grow with every weight. It is the same between two powers "
        "of two, and doubles there: round log2 down first.",
        "fixed": "This is half a unit for weights from 1 to 2. Below 1 it halves.",
        "sign": "A distance is positive, also for a negative weight. Take `weight.abs()`.",
        "all_survive": "half_unit is right. In float32 every sum differs from the weight; the sum "
        "must be rounded to bfloat16 before you compare.",
        "reversed": "half_unit is right. survives says True where an update is lost.",
        "no_abs": "half_unit is right. A negative update can survive as well: compare its size.",
        "one_threshold": "half_unit is right. One threshold for all weights cannot be: use half a "
        "unit of each weight.",
        "whole_unit": "half_unit is right. An update needs half a unit, not a whole one: the sum "
        "goes to the nearer number.",
        "raised:RuntimeError": "Both functions get float32 tensors of one shape, (n,).",
        "other": "Try weight = 1.5: the numbers next to it are 1.5078125 and 1.4921875, so half a "
        "unit is 0.00390625.",
    },
    make=make_rounding,
    probe=probe_rounding,
    judge=judge_rounding,
)

EXERCISES = (merge_layer, merge_all, adapter, add_adapters, rounding)
