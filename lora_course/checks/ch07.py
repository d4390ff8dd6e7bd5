"""Checks of chapter 07: merge, refuse a second merge, visit, add two adapters, rounding."""

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.guard import described
from lora_course.checks.slips import Promise, Slip, all_of, in_parts, judged, none_of, seen_as
from lora_course.checks.values import Refused, array, close, kind, none, text, words
from lora_course.checks.wording import multiple, shape

# 7.1 Merge and unmerge
CASES = {  # key: what it is called
    "linear": "an nn.Linear",
    "linear_square": "a square nn.Linear",
    "conv_square": "a square Conv1D",
    "conv": "a Conv1D",
}
IN_EVAL = ("linear_square", "conv")  # cases in which the layer is in eval mode
OUT = {"W": "base_layer.weight", "y": "the output", "gA": "the gradient of lora_A",
       "gB": "the gradient of lora_B", "gx": "the gradient of x"}  # fmt: skip
STEPS = ("before merge()", "after merge()", "after merge() and one use", "after unmerge()",
         "after lora_A changed and another merge()")  # fmt: skip
NOTHING = np.zeros(0, np.uint8)  # the words of an error that did not come


def make_layer(seed):
    rng = np.random.default_rng(seed + 700)
    f, made = fixtures.normal(rng), {"alpha": rng.choice([5, 7, 11]), "r": rng.choice([2, 3, 4])}
    for name in CASES:
        n_in, n_out = fixtures.sizes(rng, 2, 5, 9)
        n_out, r = n_in if name.endswith("square") else n_out, int(made["r"])
        made[f"W_{name}"] = f(n_in, n_out) if name.startswith("conv") else f(n_out, n_in)
        made |= {f"A_{name}": f(r, n_in), f"B_{name}": f(n_out, r), f"A2_{name}": f(r, n_in)}
        made |= {f"b_{name}": f(n_out), f"x_{name}": f(2, 3, n_in), f"g_{name}": f(2, 3, n_out)}
    return made


def base_of(name, weight, bias):
    """A frozen nn.Linear or Conv1D with these values."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if not name.startswith("conv"):
        return fixtures.linear(weight, bias, frozen=True)
    layer = Conv1D(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(tensor(weight)), nn.Parameter(tensor(bias))
    return layer.requires_grad_(False)


def delta_of(i, name, A="A"):
    """The scaled update, in the layout of the weight."""
    delta = i["alpha"] / i["r"] * i[f"B_{name}"] @ i[f"{A}_{name}"]  # (out, in)
    return delta.T if name.startswith("conv") else delta


def probe_layer(namespace, a):
    made, layers = {"stopped": NOTHING, "grew": 0}, {}
    for name in CASES:
        base = base_of(name, a[f"W_{name}"], a[f"b_{name}"])
        factors = tensor(a[f"A_{name}"]), tensor(a[f"B_{name}"])
        layers[name] = namespace["LoRALayer"](base, *factors, a["alpha"].item())
        made[f"delta_{name}"] = array(layers[name].delta(), "layer.delta()")
    if all(close(made[f"delta_{n}"], delta_of(a, n), 1e-3, 1e-4) for n in CASES):
        for name, layer in layers.items():
            made |= use_layer(layer, name, a)
            if made["stopped"].size:
                break
    return made


def use_layer(layer, name, a):
    """Weight, output and gradients before, merged, merged and used, unmerged, merged again."""
    from torch import nn

    made = {}
    if isinstance(layer, nn.Module):
        layer.train(name not in IN_EVAL)
    for step, act in enumerate((None, "merge", None, "unmerge", "merge")):
        if step == 4:
            fixtures.fill(layer, a[f"A2_{name}"], a[f"B_{name}"])
        weight = layer.base_layer.weight
        try:
            if act:
                getattr(layer, act)()
        except NotImplementedError:
            raise
        except Exception as error:
            grew = weight.grad_fn is not None or layer.base_layer.weight.grad_fn is not None
            return {**made, "stopped": text(f"{act}(): {described(error)[1]}"), "grew": grew}
        made |= record_step(layer, name, a, step)
    return {**made, "stopped": NOTHING}


def record_step(layer, name, a, step):
    import torch

    weight, x = layer.base_layer.weight, tensor(a[f"x_{name}"]).requires_grad_()
    made = {f"W{step}_{name}": array(weight, "base_layer.weight"),
            f"trains{step}_{name}": weight.requires_grad,
            f"flag{step}_{name}": bool(getattr(layer, "merged", False))}  # fmt: skip
    y = layer(x)
    made[f"y{step}_{name}"] = array(y, "the output")
    g, into = tensor(a[f"g_{name}"]), [fixtures.factor(layer, f"lora_{k}") for k in "AB"] + [x]
    grads = [None] * 3
    if y.requires_grad and y.shape == g.shape and not weight.requires_grad:
        free = [n for n, each in enumerate(into) if each.requires_grad]
        found = torch.autograd.grad(
            (y * g).sum(), [into[n] for n in free], None, True, allow_unused=True
        )
        grads = [dict(zip(free, found, strict=True)).get(n) for n in range(3)]
    for key, grad, of in zip(("gA", "gB", "gx"), grads, into, strict=True):
        made[f"{key}{step}_{name}"] = array(torch.zeros_like(of) if grad is None else grad)
    return made


def layer_values(i, name, weight, update=0.0):
    """What a layer with this weight gives when its forward adds `update` times the update."""
    as_out_in = np.transpose if name.startswith("conv") else np.asarray
    x, g, s = i[f"x_{name}"], i[f"g_{name}"], i["alpha"] / i["r"] * update
    A, B = i[f"A_{name}"], i[f"B_{name}"]
    W = as_out_in(weight) + s * B @ A  # (out, in)
    rows, out = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return {"W": weight, "y": x @ W.T + i[f"b_{name}"], "gx": g @ W,
            "gA": s * B.T @ out.T @ rows, "gB": s * out.T @ rows @ A.T}  # fmt: skip


def layer_steps(i, name):
    """The right values of each step."""
    W, delta = i[f"W_{name}"], delta_of(i, name)
    outside, merged = layer_values(i, name, W, 1.0), layer_values(i, name, W + delta)
    again = layer_values(i, name, W + delta_of(i, name, "A2"))
    return [outside, merged, merged, outside, again]


def judge_layer(i, o):
    s, promises = float(i["alpha"] / i["r"]), []
    for name, title in CASES.items():
        what = f"for {title} and scaling = {s:.4g}, delta()"
        right = delta_of(i, name)
        promises.append(Promise(f"delta_{name}", right, what, rtol=1e-3, atol=1e-4))
    promises.append(Promise("stopped", lambda v: v.size == 0, seen=words, expected="no error"))
    steps = {name: layer_steps(i, name) for name in CASES}
    for keys in (("W", "y"), ("gx", "gA", "gB")):
        for name, title in CASES.items():
            for n, step in enumerate(STEPS):
                promises += [
                    Promise(f"{key}{n}_{name}", steps[name][n][key], f"for {title} {step}, "
                            f"{OUT[key]}", rtol=2e-3, atol=2e-3)
                    for key in keys if n not in (1, 2, 4) or key not in ("gA", "gB")
                ]  # fmt: skip
                if keys[0] == "W":
                    promises.append(Promise(f"trains{n}_{name}", 0, expected="a frozen weight",
                        seen=f"for {title} {step}, {OUT['W']} requires a gradient"))  # fmt: skip
    return judged(i, o, promises, LAYER, last=LAYER_LAST)


def gradients(**conditions):
    """The same condition, or flag, in every case."""
    return {f"{key}_{name}": right for key, right in conditions.items() for name in CASES}


def deltas(i, **change):
    """The deltas with some changed: kinds of layer -> function of the right one."""
    made = {}
    for name in CASES:
        changed = change.get(name, change.get(name.partition("_")[0], lambda d: d))
        made[f"delta_{name}"] = changed(delta_of(i, name))
    return made


def weights(i, step, times):
    """The weights at a step when they hold so many updates."""
    return {f"W{step}_{n}": i[f"W_{n}"] + times * delta_of(i, n) for n in CASES}


def outputs_of(i, step, weight, update):
    """The outputs at a step: updates in the weight, and added by forward."""
    held = {n: i[f"W_{n}"] + weight * delta_of(i, n) for n in CASES}
    return {f"y{step}_{n}": layer_values(i, n, held[n], update)["y"] for n in CASES}


def scaled(i, c):
    """Evidence of c times the right scale: in delta(), in merge(), in forward()."""
    times = lambda d: c * d  # noqa: E731
    return [deltas(i, linear=times, conv=times), weights(i, 1, c), outputs_of(i, 0, 0, c)]


LAYER = (
    Slip("conv_layout", "A Conv1D stores its weight as (in, out). Transpose the product, also "
         "where it is square: ask for the type of the layer, not for the shape.",
         lambda i: [deltas(i, conv=np.transpose), deltas(i, conv_square=np.transpose)]),
    Slip("linear_layout", "An nn.Linear stores its weight as (out, in), just as B @ A comes. Only "
         "the Conv1D needs the transpose.",
         lambda i: [deltas(i, linear=np.transpose),
                    deltas(i, linear_square=np.transpose, linear=lambda d: d)]),
    Slip("swapped_layout", "The transpose is at the wrong layer: B @ A fits the nn.Linear as it "
         "comes, and the Conv1D needs its transpose.",
         lambda i: deltas(i, linear=np.transpose, conv=np.transpose)),
    Slip("no_scale", "The update goes in without its scale. B @ A needs self.scaling, once.",
         lambda i: scaled(i, i["r"] / i["alpha"])),
    Slip("scale_twice", "The scale goes in twice. It belongs once into delta() and once into the "
         "product of forward; whoever uses delta() does not multiply again.",
         lambda i: scaled(i, i["alpha"] / i["r"])),
    Slip("upside_down", "Divided by the scale instead of multiplied.",
         lambda i: scaled(i, (i["r"] / i["alpha"]) ** 2)),
    Slip("graph", "The frozen weight became a result of lora_A and lora_B, with a gradient. Change "
         "it inside `with torch.no_grad():`.", seen_as(stopped=lambda v: v.size > 0, grew=1)),
    Slip("no_update", "forward gives the base layer alone. As long as the update is not in the "
         "weight, it must be added.",
         lambda i: outputs_of(i, 0, 0, 0) | outputs_of(i, 1, 1, 0)),
    Slip("by_mode", "The output depends on train() and eval(). forward looks at `self.merged` "
         "alone.", lambda i: [
             {k: v if (k[3:] in IN_EVAL) == (m == "eval") else outputs_of(i, 0, 0, 1)[k]
              for k, v in outputs_of(i, 0, 0, 0).items()} for m in ("eval", "train")]),
    Slip("reversed", "The question in forward is the wrong way round: the update is added when it "
         "is merged, and left out when it is not.",
         lambda i: outputs_of(i, 0, 0, 0) | outputs_of(i, 1, 1, 1)),
    Slip("not_folded", "merge() leaves the old weight. `weight + delta` makes a new tensor: store "
         "it, or add in place with `+=`.", lambda i: weights(i, 1, 0)),
    Slip("adds_again", "The weight holds the update, and forward adds it once more. Look at "
         "self.merged in forward, and set it in merge().",
         lambda i: weights(i, 1, 1) | outputs_of(i, 1, 1, 1)),
    Slip("subtracted", "merge() takes the update off instead of adding it.",
         lambda i: weights(i, 1, -1)),
    Slip("not_taken", "unmerge() leaves the update in the weight. Subtract the same delta.",
         lambda i: weights(i, 3, 1)),
    Slip("added", "unmerge() adds the update instead of taking it off.",
         lambda i: weights(i, 3, 2)),
    Slip("flag_stays", "The weight is right again, but the layer still thinks that it is merged. "
         "Set self.merged to False in unmerge().",
         lambda i: weights(i, 3, 0) | outputs_of(i, 3, 0, 0) | gradients(flag3=1)),
    Slip("factors_lost", "The weight is right again, but the update is gone: unmerge() must leave "
         "lora_A and lora_B as they are.",
         lambda i: weights(i, 3, 0) | outputs_of(i, 3, 0, 0) | gradients(flag3=0)),
    Slip("merged_twice", "The layer was merged already when merge() came: forward changes the "
         "weight. It only computes; merge() alone folds the update in.",
         lambda i: weights(i, 1, 2) | weights(i, 0, 0)),
    Slip("no_bias", "The bias of the base layer is missing from the output. Call base_layer(x).",
         lambda i: {k: v - i[f"b_{k[3:]}"] for k, v in outputs_of(i, 0, 0, 1).items()}),
    Slip("base_cut", "The output is right, but the gradient of x does not come through the base "
         "layer: it is under no_grad, or detached. Frozen weights still hand a gradient on.",
         lambda i: {f"gx0_{n}": layer_values(i, n, i[f"W_{n}"], 1.0)["gx"]
                    - layer_values(i, n, i[f"W_{n}"])["gx"] for n in CASES}),
    Slip("over_r", "`self.scaling` is lora_alpha / r already. Do not divide by r again.",
         lambda i: scaled(i, 1 / i["r"])),
    Slip("stale", "The delta of the first merge was used again. The factors may train in between: "
         "compute it anew in each merge.", lambda i: weights(i, 4, 1)),
    Slip("trains", "The values are right, but the weight would now be trained, or hangs on A and "
         "B. Work inside `torch.no_grad()`, and give a new Parameter `requires_grad=False`.",
         lambda i: gradients(trains0=0, trains1=1)),
    Slip("no_grad", "forward cuts every gradient, so nothing could be trained through it. Only "
         "merge() and unmerge() belong under no_grad.",
         lambda i: gradients(gx0=none, gA0=none, gB0=none, gx1=none)),
    Slip("no_grad_outside", "Before the merge forward cuts every gradient, so the factors could "
         "not be trained.",
         lambda i: gradients(gx0=none, gA0=none, gB0=none, gx1=np.any)),
    Slip("no_grad_merged", "After the merge no gradient reaches x. Frozen weights still hand one "
         "on: leave no_grad and .detach() out of forward.",
         lambda i: gradients(gx1=none) | {
             f"gx0_{n}": layer_values(i, n, i[f"W_{n}"], 1.0)["gx"] for n in CASES}),
    Slip("x_cut", "The gradient of x comes through the base layer alone: x is detached on its way "
         "into A.", lambda i: gradients(gA0=np.any, gB0=np.any) | {
             f"gx0_{n}": layer_values(i, n, i[f"W_{n}"])["gx"] for n in CASES}),
    Slip("frozen_factors", "After merge() or unmerge() a factor no longer trains. Leave their "
         "`requires_grad` alone.", lambda i: [gradients(**{f"{k}0": np.any, f"{k}3": none})
                                                for k in ("gA", "gB")]),
    Slip("detached", "The output is right, but a factor gets no gradient. In forward multiply by "
         "lora_A and lora_B themselves, without .detach(), .data or no_grad.",
         lambda i: [gradients(**{key: none}, gx0=np.any) for key in ("gA0", "gB0")]),
)  # fmt: skip


def any_case(*keys):
    """A slip's values: any of these outputs is the first that is wrong, in any case."""
    return lambda i: [{f"{key}_{name}": lambda v: v.size > 0} for key in keys for name in CASES]


LAYER_LAST = (
    Slip("delta_factor", "B @ A is there, its factor is not `self.scaling`, which is lora_alpha / "
         "r with r = lora_A.shape[0].", lambda i: {"delta_linear": lambda v: multiple(
             v, delta_of(i, "linear")) is not None}),
    Slip("forward", "As long as the layer is not merged, its output is base_layer(x) + scaling "
         "times x A^T B^T.", any_case("y0")),
    Slip("merge", "merge() adds delta() to the weight, once and whole, and changes nothing else.",
         any_case("W1", "y1", "W2", "y2", "W4", "y4")),
    Slip("unmerge", "merge() is right. unmerge() takes off exactly what merge() added, and leaves "
         "the rest of the layer as it was.", any_case("W3", "y3")),
)  # fmt: skip

merge_layer = Check(
    name="merge_layer", title="Merge and unmerge", wants=("LoRALayer",),
    difficulty=2, minutes=12, points=20,
    verified="Linear and Conv1D, square and not: weight, output and gradients before, merged, "
    "after and merged again, and a base that stays frozen",
    hints=(
        "Before and after a merge the output must be the same. So what must `forward` leave out "
        "once the weight holds the update?",
        "`merge` adds `self.delta()` to `self.base_layer.weight` and sets `self.merged`; `unmerge` "
        "does the reverse of both. `forward` looks at `self.merged`. A `Conv1D` stores its weight "
        "as (in, out), so its delta is the transpose of B @ A.",
        "In `merge`: `with torch.no_grad(): self.base_layer.weight += self.delta()`, then "
        "`self.merged = True`. In `forward`: return `self.base_layer(x)` alone when `self.merged`.",
    ),
    slips=LAYER + LAYER_LAST,
    other="Follow one small layer by hand: weight, output and gradient at each step.",
    make=make_layer, probe=probe_layer, judge=judge_layer,
)  # fmt: skip


# 7.2 Refuse a double merge
COUNT = 4
STEPS_OF_ALL = ("second", *(f"at{n}" for n in range(COUNT)))


def make_all(seed):
    rng = np.random.default_rng(seed + 800)
    f, made = fixtures.normal(rng), {"alpha": rng.choice([5, 7, 9]), "conv": rng.integers(COUNT)}
    for n in range(COUNT):
        d_in, d_out = fixtures.sizes(rng, 2, 4, 8)
        made |= {f"A{n}": f(3, d_in), f"B{n}": f(d_out, 3)}
        made[f"W{n}"] = f(d_in, d_out) if n == made["conv"] else f(d_out, d_in)
    return made


def some_layers(a, merged=()):
    """Layers of the course, one of them around a Conv1D; those in `merged` are merged."""
    from lora_course.lora import LoRAConv1D, LoRALinear

    layers = []
    for n in range(COUNT):
        name, kind = ("conv", LoRAConv1D) if n == a["conv"] else ("linear", LoRALinear)
        bias = np.zeros(len(a[f"B{n}"]), np.float32)
        layer = kind(base_of(name, a[f"W{n}"], bias), r=3, lora_alpha=a["alpha"].item())
        fixtures.fill(layer, a[f"A{n}"], a[f"B{n}"])
        layer.merged = n in merged
        if layer.merged:
            layer.base_layer.weight.data += layer.get_delta_weight().detach()
        layers.append(layer)
    return layers


def probe_all(namespace, a):
    merge_all, layers = namespace["merge_all"], some_layers(a)
    olds, given = [layer.base_layer.weight for layer in layers], list(layers)
    try:
        merge_all(layers)
        made = {"stopped": NOTHING}
    except NotImplementedError:
        raise
    except Exception as error:
        made = {"stopped": text(described(error)[1])}
    made["grew"] = any(w.grad_fn is not None for w in olds + [x.base_layer.weight for x in given])
    if made["stopped"].size:
        return made
    made |= {f"W{n}_first": array(x.base_layer.weight, "a weight") for n, x in enumerate(given)}
    made["trains"] = np.array([x.base_layer.weight.requires_grad for x in given])
    made["flags_first"] = np.array([bool(x.merged) for x in given])
    made["list"] = 0 if len(layers) == COUNT else 5
    made |= refused("second", merge_all, given)
    made |= {f"W{n}_second": array(x.base_layer.weight, "a weight") for n, x in enumerate(given)}
    for n in range(COUNT):
        made |= refused(f"at{n}", merge_all, some_layers(a, {n}))
    return made


def refused(key, merge_all, layers):
    """What merge_all does with layers of which one is merged, at least."""
    call = lambda: merge_all(list(layers))  # noqa: E731
    made = callers.failing(key, call, ValueError, keep=layers)
    return {**made, f"flags_{key}": np.array([bool(layer.merged) for layer in layers])}


def merged_weights(i, step, times):
    """All weights after a step, with so many updates in them."""
    made = {}
    for n in range(COUNT):
        delta = i["alpha"] / 3 * i[f"B{n}"] @ i[f"A{n}"]
        made[f"W{n}_{step}"] = i[f"W{n}"] + times * (delta.T if n == i["conv"] else delta)
    return made


def judge_all(i, o):
    promises = [Promise("stopped", lambda v: v.size == 0, expected="no error",
                        seen=lambda v: f"at the first merge {words(v)}")]  # fmt: skip
    for n in range(COUNT):
        promises.append(Promise(f"W{n}_first", merged_weights(i, "first", 1)[f"W{n}_first"],
            f"after a first merge the weight of layer {n}", rtol=1e-3, atol=1e-3))  # fmt: skip
    promises += [
        none_of("trains", "merged weights train"),
        all_of("flags_first", f"of {COUNT} layers say that they are merged", COUNT),
        callers.unchanged("list", "the list"),
    ]
    for n in range(COUNT):
        promises.append(Promise(f"W{n}_second", merged_weights(i, "second", 1)[f"W{n}_second"],
            f"after a second call the weight of layer {n}", rtol=1e-3, atol=1e-3))  # fmt: skip
    cases = {"second": "a second call with the same layers"}
    cases |= {f"at{n}": f"{COUNT} layers of which number {n} is merged" for n in range(COUNT)}
    for key, case in cases.items():
        flags = np.array([key in ("second", f"at{n}") for n in range(COUNT)])
        promises += callers.raises(o, key, case, "ValueError", keep="the layers")
        promises.append(Promise(f"flags_{key}", flags, f"after {case}, `merged`"))
    return judged(i, o, promises, ALL, last=ALL_LAST)


def errors(second, *at):
    """The kinds of error: 0 none, 1 ValueError, 2 another one."""
    return {"second_error": second} | {f"at{n}_error": e for n, e in enumerate(at)}


ALL = (
    Slip("graph", "The frozen weight became a result of the factors, with a gradient, and torch "
         "refuses that. Add inside `torch.no_grad()`, or through `.data`.",
         seen_as(stopped=lambda v: v.size > 0, grew=1)),
    Slip("refuses_first", "Nothing is merged yet, and still it is refused. Raise only when some "
         "layer's `merged` is True.",
         seen_as(stopped=lambda v: "raised ValueError" in words(v) and "merged" in words(v),
                 grew=0)),
    Slip("not_folded", "These are the old weights. `weight + delta` makes a new tensor: add in "
         "place, or store it.", lambda i: merged_weights(i, "first", 0)),
    Slip("subtracted", "The update was taken off instead of added.",
         lambda i: merged_weights(i, "first", -1)),
    Slip("trains", "The weights would now be trained, or hang on A and B. Add inside "
         "`torch.no_grad()`, and give a new Parameter `requires_grad=False`.",
         seen_as(trains=lambda v: v.all())),
    Slip("no_flag", "The weights are merged, but the layers do not know it. Set `layer.merged`.",
         seen_as(flags_first=none)),
    Slip("adds_twice", "The update is in the weight twice. Look at `layer.merged` before adding.",
         lambda i: merged_weights(i, "second", 2) | errors(0, 0, 0, 0, 0)),
    Slip("wrong_error", "It is refused, but not by a ValueError. (An assert raises AssertionError, "
         "and disappears under `python -O`.)", seen_as(**errors(2, 2, 2, 2, 2))),
    Slip("silent", "Nothing is raised. Whoever calls believes that all layers were merged now.",
         lambda i: errors(0, 0, 0, 0, 0) | merged_weights(i, "second", 1)),
    Slip("all", "One merged layer is enough to refuse: `any`, not `all`.",
         seen_as(**errors(1, 0, 0, 0, 0))),
    Slip("only_first", "Only the first layer was asked. Any of them may be merged already.",
         seen_as(**errors(1, 1, 0, 0, 0))),
    Slip("only_last", "Only the last layer decides. Any of them may be merged already.",
         seen_as(**errors(1, 0, 0, 0, 1))),
    Slip("partial", "It is refused too late: layers were changed already. Look at all of them "
         "first, then change them.", lambda i: [
             errors(1, 1, 1, 1, 1) | {"at0_left": 0, "at1_left": 2, "at2_left": 2, "at3_left": 2},
             merged_weights(i, "second", 2) | errors(1, 1, 1, 1, 1), *(
                 {f"{key}_error": 1, f"{key}_left": 2} for key in STEPS_OF_ALL)]),
    Slip("first_alone", "The loop ends after the first layer, by `break` or `return`. Merge all.",
         lambda i: {"W0_first": merged_weights(i, "first", 1)["W0_first"]} | {
             k: v for k, v in merged_weights(i, "first", 0).items() if k != "W0_first"}),
    Slip("unmarked", "The ValueError comes, and `merged` of a layer is another one than before. "
         "Change nothing before you raise.", lambda i: [
             {f"flags_{key}": lambda v: v.shape == (COUNT,)}
             for key in STEPS_OF_ALL]),
)  # fmt: skip

ALL_LAST = (
    Slip("not_asked", "Not every place of the list was asked. Any layer may be merged already, the "
         "first, the last, or one between.",
         lambda i: [{f"at{n}_error": 0} for n in range(COUNT)]),
    Slip("first_weights", "Each weight becomes weight + get_delta_weight(), once, for every layer.",
         lambda i: [{f"W{n}_first": lambda v: v.size > 0} for n in range(COUNT)]),
)  # fmt: skip

merge_all = Check(
    name="merge_all", title="Refuse a double merge", wants=("merge_all",),
    difficulty=2, minutes=8, points=15,
    verified="a first merge, a second one, and lists with one merged layer at every place",
    hints=(
        "When must the question be asked: before the first weight changes, or on the way?",
        "Two loops. The first only looks, and raises when any layer is merged. The second adds.",
        "`if any(layer.merged for layer in layers): raise ValueError(...)`. Then, for each layer, "
        "`layer.base_layer.weight.data += layer.get_delta_weight()` and `layer.merged = True`.",
    ),
    slips=ALL + ALL_LAST, other="First ask all layers, then merge all layers.",
    make=make_all, probe=probe_all, judge=judge_all,
)  # fmt: skip


# 7.3 A visit by another adapter
NAMES = ("zeta.lora_A", "zeta.lora_B", "lora_mid.lora_A", "lora_mid.lora_B")
REST = ("zeta.weight", "alpha.bias")  # parameters that are not the visitor's business
VISITS = ("inside", "after", "error", "state")


def make_visit(seed):
    rng = np.random.default_rng(seed + 900)
    f, (a, b, c, d) = fixtures.normal(rng), fixtures.sizes(rng, 4, 3, 8)
    shapes = ((2, a), (b, 2), (3, c), (d, 3))
    made = {
        "W": f(b, a),
        "bias": f(c),
        "frozen": rng.integers(4),
        "mode": rng.integers(2),
        "order": np.roll(rng.permutation([[0, 1, 2, 3], [3, 2, 1, 0]])[0], 1),
    }
    for n, each in enumerate(shapes):
        made |= {f"old{n}": f(*each), f"new{n}": f(*each), f"next{n}": f(*each)}
    return made


class Stop(Exception):
    """Raised inside the block; it must come out of it."""


def visited(a):
    """A model with two pairs of factors, a pair's factor frozen, a weight and a bias."""
    from torch import nn

    model = nn.Module()
    model.zeta, model.alpha, model.lora_mid = nn.Module(), nn.Module(), nn.Module()
    for n, name in enumerate(NAMES):
        part, _, last = name.partition(".")
        setattr(getattr(model, part), last, nn.Parameter(tensor(a[f"old{n}"])))
    model.zeta.weight = nn.Parameter(tensor(a["W"]), requires_grad=False)
    model.alpha.bias = nn.Parameter(tensor(a["bias"]))
    model.get_parameter(NAMES[a["frozen"]]).requires_grad_(False)
    model.train(bool(a["mode"])).lora_mid.train(not a["mode"])  # both modes in every model
    return model


def probe_visit(namespace, a):
    import torch

    model, made = visited(a), {"twice": 0}
    parameters = [model.get_parameter(name) for name in NAMES]
    state, second = (  # in another order than the model's
        {NAMES[n]: tensor(a[f"{key}{n}"]) for n in a["order"]} for key in ("new", "next")
    )
    grads = {}
    for name in REST[1:]:  # as a training step outside has left it
        model.get_parameter(name).grad = grads[name] = tensor(a["bias"]) + 1
    before = callers.Before(model)

    def note(step):
        found = {n: p.detach().clone() for n, p in model.named_parameters()}
        made.update({f"{step}{n}": array(found[name], name) for n, name in enumerate(NAMES)})
        made.update({f"W_{step}": array(found[REST[0]]), f"bias_{step}": array(found[REST[1]])})
        made[f"parts_{step}"] = before.change(but=2)
        made[f"grads_{step}"] = all(model.get_parameter(n).grad is g for n, g in grads.items())
        made[f"on_{step}"] = torch.is_grad_enabled()

    def visit(state, error=None):
        with opened(namespace["adapter"], model, state):
            note("error_inside" if error else "inside")
            with torch.no_grad():  # training
                for name in (*NAMES, REST[1]):
                    model.get_parameter(name).add_(1.0)
            if error:
                raise error

    ended(lambda: visit(state))
    note("after")
    made["names"] = set(state) == set(NAMES)
    if made["names"]:
        made |= {f"state{n}": array(state[name], "state") for n, name in enumerate(NAMES)}
    torch.set_grad_enabled(True)
    with torch.no_grad():  # a fresh start for the second visit, whatever the first one left
        for n, p in enumerate(parameters):
            p.data = tensor(a[f"old{n}"])
    error, made["came_out"] = Stop("inside the block"), 0
    try:
        ended(lambda: visit(second, error))
    except Refused:
        raise
    except Exception as came:
        made["came_out"] = came is error
    note("error")
    return made


def opened(adapter, model, state):
    """The learner's context manager, or Refused with the reason why it is none."""
    made = adapter(model, state)
    if not hasattr(type(made), "__enter__"):
        wanted = "a context manager, by one `yield` under @contextmanager."
        raise Refused("type", f"adapter(model, state) gives {kind(made)}.", wanted)
    if hasattr(made, "gen") and not hasattr(made.gen, "__next__"):
        raise Refused("type", "adapter has no `yield` in it.", "one, where the block runs.")
    return made


def ended(visit):
    """visit(), with words of ours where contextlib says that a generator went on."""
    try:
        visit()
    except RuntimeError as error:
        if str(error).startswith("generator didn't stop"):
            raise Refused("type", "adapter yields more than once.", "one `yield`.") from error
        raise


def judge_visit(i, o):
    promises = factors_are(i, "inside", "new", "inside the block")
    promises += [
        Promise("W_inside", i["W"], "inside the block the frozen weight"),
        Promise("on_inside", 1, seen="gradients are switched off inside the block",
                expected="on, as outside: the code inside may train"),
        *factors_are(i, "after", "old", "after the block"),
        Promise("W_after", i["W"], "after the block the frozen weight"),
        Promise("bias_after", i["bias"] + 1, "after 1 was added inside the block, the bias"),
        Promise("names", 1, seen="the dict `state` has other entries", expected="as it was"),
        *factors_are(i, "state", "new", "after training inside the block, in `state`"),
        Promise("on_after", 1, seen="gradients are off after the block", expected="on"),
        *factors_are(i, "error_inside", "next", "inside a second block"),
        Promise("came_out", 1, seen="an error inside the block did not come out of it, or another "
                "one did", expected="the same error"),
        *factors_are(i, "error", "old", "after an error in the block"),
        Promise("bias_error", i["bias"] + 2, "after 1 was added in each of two blocks, the bias"),
        Promise("on_error", 1, seen="gradients are off after an error", expected="on"),
    ]  # fmt: skip
    for step in ("inside", "after", "error"):
        promises.append(callers.unchanged(f"parts_{step}", f"the model {step} (beside values)"))
        promises.append(Promise(f"grads_{step}", 1, seen=f"the gradient of the bias, {step}: it is "
                                "gone or another one", expected="as it was"))  # fmt: skip
    return judged(i, o, promises, VISIT, last=VISIT_LAST)


def factors_are(i, step, which, where):
    return [
        Promise(f"{step}{n}", i[f"{which}{n}"], f"{where} {name}", atol=1e-5)
        for n, name in enumerate(NAMES)
    ]


def four(i, step, which, add=0.0):
    """The four factors at a step, from `old`, `new` or `next`, one word for each or for all."""
    which = [which] * 4 if isinstance(which, str) else which
    return {f"{step}{n}": i[f"{w}{n}"] + add for n, w in enumerate(which)}


VISIT = (
    Slip("not_put", "Inside the block the factors still have their old values. Copy `state` in "
         "before `yield`, into the memory of each parameter.",
         lambda i: four(i, "inside", "old")),
    Slip("some_put", "Only one kind of factor, or one layer, got the visitor's values. Go through "
         "all names of `state`.",
         lambda i: [four(i, "inside", [("old", "new")[k] for k in which]) for which in
                    ((1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1), (1, 0, 0, 0))]),
    Slip("added_in", "The visitor's values were added to the old ones. They take their place.",
         lambda i: {f"inside{n}": i[f"old{n}"] + i[f"new{n}"] for n in range(4)}),
    Slip("not_restored", "After the block the visitor is still there. Copy the old values back. If "
         "you do: what you kept must be a `.clone()`, else it is the same memory.",
         lambda i: four(i, "after", "new", 1.0) | {
             "error0": lambda v: not close(v, i["old0"], atol=1e-5)}),
    Slip("only_on_error", "The old values come back only after an error: `except` is not reached "
         "without one. Use `finally:`.",
         lambda i: four(i, "after", "new", 1.0) | four(i, "error", "old")),
    Slip("untrained", "After the block the factors have the visitor's values. Copy back those "
         "that you kept before it.", lambda i: four(i, "after", "new")),
    Slip("some_restored", "Only one kind of factor, or one layer, got its old values back. Go "
         "through all names of `state`.",
         lambda i: [{f"after{n}": i[f"old{n}"] if back[n] else i[f"new{n}"] + 1 for n in range(4)}
                    for back in ((1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1))]),
    Slip("mode", "train() or eval() was called. Only the values of the factors change.",
         lambda i: [{f"parts_{step}": 4} for step in ("inside", "after", "error")]),
    Slip("emptied", "`pop` takes the entries out of the caller's dict. Read them: `state[name]`.",
         seen_as(names=0)),
    Slip("zeroed", "After the block the factors are zero. Keep the old values, and copy them back.",
         lambda i: {f"after{n}": lambda v: v.size > 0 and not v.any() for n in range(4)}),
    Slip("all_restored", "More than the factors was taken back: the code inside also trained a "
         "bias, which is not the visitor's. Keep and restore the names in `state` alone.",
         lambda i: four(i, "after", "old") | {"bias_after": i["bias"]}),
    Slip("state_changed", "Training in the block changed the stored adapter: the model and `state` "
         "share their memory, or values were written back. Copy values with `copy_`, from `state` "
         "into the model alone.",
         lambda i: four(i, "state", "new", 1.0)),
    Slip("no_grad_inside", "The `yield` stands under `no_grad`, so the whole block runs without "
         "gradients. Close `no_grad` before the `yield`.", seen_as(on_inside=0)),
    Slip("swallowed", "The error inside the block disappears, or turns into another one. Use "
         "`finally:` alone; the caller must hear of the error.", seen_as(came_out=0)),
    Slip("no_finally", "Without an error all is right. With one, the lines after `yield` are not "
         "reached: put the restoring into a `finally:` block.",
         lambda i: four(i, "after", "old") | four(i, "error", "next", 1.0)),
    Slip("replaced", "The values are right, but the model holds new parameters. An optimizer, or "
         "somebody else, still holds the old ones: copy values into those that are there.",
         seen_as(parts_inside=1)),
    Slip("flags", "The values are right, but `requires_grad` of some tensors is another one. "
         "Copy into the parameters, and leave the flags alone.",
         lambda i: [{f"parts_{step}": 3} for step in ("inside", "after", "error")]),
)  # fmt: skip

VISIT_LAST = (
    Slip("rest", "Something beside the factors was changed. Only the names in `state` are the "
         "visitor's.", lambda i: [{key: lambda v: v.size > 0} for key in (
             "W_inside", "W_after", "bias_after", "bias_error")]),
    Slip("other_inside", "Inside the block each factor has the value that `state` holds under its "
         "name.", lambda i: [{f"{step}{n}": lambda v: True} for n in range(4)
                             for step in ("inside", "error_inside")]),
    Slip("other_after", "After the block each factor has the value that it had before it.",
         lambda i: [{f"{step}{n}": lambda v: True} for n in range(4)
                    for step in ("after", "error")]),
    Slip("gradients_lost", "The gradients that the model brought along are not yours: leave "
         "`.grad` alone.",
         lambda i: [{f"grads_{step}": 0} for step in ("inside", "after", "error")]),
)  # fmt: skip

adapter = Check(
    name="adapter", title="A visit by another adapter", wants=("adapter",),
    difficulty=3, minutes=12, points=20,
    verified="values inside, after and after an error, with training inside; the rest, the flags, "
    "the parameters and `state` as they were",
    hints=(
        "What stands before `yield` happens on entry, what stands after it on exit. And if the "
        "code inside raises?",
        "Before: keep a `.clone()` of each factor, then copy the visitor's values in. After: copy "
        "the clones back. `try: yield` with `finally:` does it also after an error.",
        "`before = {n: p.detach().clone() for n, p in model.named_parameters() if n in state}`. "
        "Values go in by `p.data.copy_(state[n])`, and back by `p.data.copy_(before[n])` in the "
        "`finally` block.",
    ),
    slips=VISIT + VISIT_LAST, other="Keep clones, copy in, yield, copy back in `finally`.",
    make=make_visit, probe=probe_visit, judge=judge_visit,
)  # fmt: skip


# 7.4 Which updates survive
PARTS = ("half_unit", "survives")


def bfloat16(a):
    """float32 rounded to the nearest bfloat16, ties to even, as float32."""
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def half_of(weight, shift=0):
    """Half a unit in the last place of each weight."""
    return np.ldexp(1.0, np.frexp(weight)[1] - 9 + shift)


def make_rounding(seed):
    """Weights of 2**-24 to 2**23, a third of them powers of two; updates that lie far from every
    threshold, or exactly on it."""
    rng = np.random.default_rng(seed + 1100)
    last = np.concatenate([np.zeros(24), rng.integers(1, 64, 24) * 2, rng.integers(0, 64, 24) * 2
                           + 1]) / 128  # none, even and odd last bits  # fmt: skip
    sizes = np.ldexp(1 + last, rng.permutation(np.arange(72) * 48 // 72 - 24))
    weight = (sizes * rng.choice([-1, 1], 72)).astype(np.float32)
    times = np.concatenate([[0.25, 0.5, 0.75, 1, 1.25, 2.5], rng.integers(10, 29, 18) / 32,
                            np.ones(12), rng.integers(36, 96, 12) / 32,
                            np.ones(12), rng.integers(8, 96, 11) / 32, [0]])  # fmt: skip
    # A power of two has the nearer neighbour on the side of zero: there most updates go.
    away = np.concatenate([-np.ones(16), np.ones(8), rng.choice([-1, 1], 48)])
    update = times * half_of(weight) * away * np.sign(weight)
    order = np.argsort(np.abs(np.log2(sizes)), kind="stable")  # numbers near 1 speak first
    # Just below a power of two, and a little above a tie: there rounding too early shows.
    below = np.ldexp(2 - 1 / 128, rng.permutation([-9, 5, 7])) * rng.choice([-1, 1], 3)
    ties = np.ldexp(1 + rng.integers(1, 64, 3) / 64, rng.permutation([-3, 2, 6]))
    more = np.append(below, ties)
    added = half_of(more) * np.append([0.5, 1.5, 0.75], np.full(3, 1 + 2.0**-10))
    weight, update = np.append(weight[order], more), np.append(update[order], added)
    return {"weight": weight.astype(np.float32), "update": update.astype(np.float32)}


def probe_rounding(namespace, a):
    made = {}
    for name in PARTS:
        made |= attempt_rounding(namespace[name], a, name)
    return fixtures.unless_all_open(made, PARTS)


def attempt_rounding(function, a, name):
    given = [tensor(a[key]) for key in ("weight", "update")[: 1 + (name == "survives")]]
    before = callers.Before(*given)
    return fixtures.attempt(name, lambda: {
        name: array(function(*given), f"what {name} returns"), f"left_{name}": before.change(),
    })  # fmt: skip


def judge_rounding(i, o):
    w, u = i["weight"], i["update"]
    half, alive = half_of(w), bfloat16(w + u) != w

    def unit(v):
        at = place(v, half, rtol=1e-4)
        return f"half_unit of {w[at]:.9g} is {v[at]:.6g}", f"{half[at]:.6g}"

    def life(v):
        at = place(v, alive)
        return f"survives says {bool(v[at])} for {w[at]:.9g} + {u[at]:.6g}", (
            f"{bool(alive[at])}: in bfloat16 that is {bfloat16(w[at] + u[at]):.9g}")  # fmt: skip

    promises = {}
    for name, right, say in (("half_unit", half, unit), ("survives", alive, life)):
        value = o.get(name, np.zeros(0))
        fits = value.shape == right.shape and np.isfinite(value).all()
        seen, expected = say(value) if fits else ("", "")
        said = {"seen": lambda v, seen=seen: seen, "expected": expected} if fits else {}
        what = f"what {name} returns"
        promises[name] = [
            Promise(name, right, what, rtol=1e-4, atol=0, **said),
            callers.unchanged(f"left_{name}", f"what {name} was given", share=0.5),
        ]
    return in_parts(
        *(judged(i, o, promises[n], ROUNDING, part=n, last=ROUNDING_LAST) for n in PARTS)
    )


def place(seen, right, rtol=0.0):
    """The first place where two flat arrays differ."""
    return int(np.argmax(~np.isclose(seen.astype(float), right.astype(float), rtol, 0)))


def by_log(log, whole=np.floor, shift=-8):
    """half_unit with this logarithm and this way to make it whole."""
    return lambda i: {"half_unit": np.exp2(whole(log(np.abs(i["weight"]).astype(float))) + shift)}


def alive_when(rule):
    """A slip's values for survives. rule: of weight, update, half a unit."""
    return lambda i: {"survives": rule(i["weight"], i["update"], half_of(i["weight"]))}


def rounded(a, dtype):
    with np.errstate(all="ignore"):
        return a.astype(dtype)


ROUNDING = (
    Slip("whole", "This is twice too much: the whole step to the next number. A sum goes to the "
         "nearer one, so half a step decides. (frexp gives an exponent that is one higher.)",
         lambda i: {"half_unit": half_of(i["weight"], 1)}),
    Slip("half_again", "This is half of it once more. Seven bits follow the leading one, so half "
         "a step is 2**-8 of the power of two.",
         lambda i: {"half_unit": half_of(i["weight"], -1)}),
    Slip("power", "This is the power of two below the weight. Half a step is 2**-8 of it.",
         lambda i: {"half_unit": half_of(i["weight"], 8)}),
    Slip("float16", "This is half a unit of float16, which keeps 10 bits after the leading one. "
         "bfloat16 keeps 7.", lambda i: {"half_unit": half_of(i["weight"], -3)}),
    Slip("float32", "This is half a unit of float32, which keeps 23 bits after the leading one. "
         "bfloat16 keeps 7.", lambda i: {"half_unit": half_of(i["weight"], -16)}),
    Slip("relative", "The step does not grow with every weight. It is the same between two powers "
         "of two, and doubles there: round log2 down first.",
         lambda i: [{"half_unit": np.ldexp(np.abs(i["weight"]), shift)}
                    for shift in (-7, -8, -10, -11)]),
    Slip("fixed", "One number for all weights cannot be: the step doubles at each power of two.",
         lambda i: {"half_unit": lambda v: v.size > 1 and np.ptp(v) == 0 and v.flat[0] > 0}),
    Slip("sign", "A distance is positive, also for a negative weight. Take `weight.abs()`.",
         lambda i: {"half_unit": np.sign(i["weight"]) * half_of(i["weight"])}),
    Slip("toward_zero", "Right but for negative powers of two: their neighbour on the side of zero "
         "is nearer. Take `weight.abs()` first.",
         lambda i: {"half_unit": np.where((i["weight"] < 0) & (np.frexp(i["weight"])[0] == -0.5),
                                          0.5, 1) * half_of(i["weight"])}),
    Slip("ceil", "log2 was rounded up. The power of two at or below the weight decides: round "
         "down.", by_log(np.log2, np.ceil)),
    Slip("nearest", "log2 was rounded to the nearest number. The power of two at or below the "
         "weight decides: round down.", by_log(np.log2, np.round)),
    Slip("trunc", "`int` and `trunc` cut towards zero, so a negative log2, of a weight below 1, "
         "goes up. `torch.floor` goes down.", by_log(np.log2, np.trunc)),
    Slip("short_log", "log2 was taken in bfloat16, where that of a number just below a power of "
         "two is rounded up. Keep float32.",
         by_log(lambda w: bfloat16(np.log2(w.astype(np.float32))))),
    Slip("negative", "The logarithm of a negative number is nan. Take `weight.abs()` first.",
         lambda i: {"half_unit": lambda v: v.shape == i["weight"].shape and bool(
             (np.isnan(v) == (i["weight"] < 0)).all())}),
    Slip("one_number", "One answer for all weights cannot be: each weight has its own.",
         lambda i: [{name: lambda v: v.size == 1} for name in PARTS]),
    Slip("below", "That is half the way to the next smaller number. At a power of two the next "
         "larger one is twice as far.",
         lambda i: {"half_unit": np.where(np.abs(np.frexp(i["weight"])[0]) == 0.5, 0.5, 1)
                    * half_of(i["weight"])}),
    Slip("log_base", "That is another logarithm. The step doubles at powers of two: "
         "`torch.log2`.",
         lambda i: [by_log(log)(i) for log in (np.log, np.log10)]),
    Slip("all_survive", "In float32 nearly every sum differs from the weight. The sum must be "
         "rounded to bfloat16 before you compare.", alive_when(lambda w, u, half: u != 0)),
    Slip("no_truth", "survives answers True or False for each weight. These are other numbers.",
         lambda i: {"survives": lambda v: v.shape == i["weight"].shape
                    and not np.isin(v, (0, 1)).all()}),
    Slip("early", "The update was rounded to bfloat16 before it was added, and the sum again: just "
         "above a tie that loses it. Add in float32, then round once.",
         alive_when(lambda w, u, half: bfloat16(w + bfloat16(u)) != w)),
    Slip("tolerance", "Small weights were counted as equal within a tolerance. Compare with `!=`.",
         alive_when(lambda w, u, half: ~np.isclose(bfloat16(w + u), w, 1e-5, 1e-8))),
    Slip("reversed", "survives says True where an update is lost.",
         alive_when(lambda w, u, half: bfloat16(w + u) == w)),
    Slip("no_abs", "A negative update can survive as well: compare its size.",
         lambda i: [alive_when(rule)(i) for rule in (
             lambda w, u, half: u > half, lambda w, u, half: u >= half)]),
    Slip("one_threshold", "One threshold for all weights cannot be: the unit of each weight "
         "decides.", alive_when(lambda w, u, half: np.abs(u) > 2.0**-8)),
    Slip("whole_unit", "An update needs no whole unit: the sum goes to the nearer number.",
         lambda i: [alive_when(rule)(i) for rule in (
             lambda w, u, half: np.abs(u) > 2 * half, lambda w, u, half: np.abs(u) >= 2 * half)]),
    Slip("threshold", "Half a unit decides nearly always, but not on a tie, which goes to the even "
         "neighbour, and not just below a power of two, where the numbers are twice as dense. "
         "Let the rounding itself decide.",
         lambda i: [alive_when(rule)(i) for rule in (
             lambda w, u, half: np.abs(u) > half, lambda w, u, half: np.abs(u) >= half)]),
    Slip("relative_update", "The unit is not a share of the weight: it jumps at powers of two.",
         lambda i: [alive_when(rule)(i) for rule in (
             lambda w, u, half: np.abs(u) > np.abs(w) * 2.0**-8,
             lambda w, u, half: np.abs(u) > np.abs(w) * 2.0**-7,
             lambda w, u, half: ~np.isclose(w + u, w, 2.0**-8, 1e-8))]),
    Slip("only_larger", "A weight may also become smaller. Compare with `!=`.",
         lambda i: [alive_when(rule)(i) for rule in (
             lambda w, u, half: bfloat16(w + u) > w, lambda w, u, half: bfloat16(w + u) < w)]),
    Slip("cut_bits", "Cutting the last 16 bits off goes towards zero. bfloat16 goes to the nearest "
         "number: `.bfloat16()`.",
         alive_when(lambda w, u, half: (w + u).astype(np.float32).view(np.uint32) >> 16
                    != w.view(np.uint32) >> 16)),
    Slip("as_float16", "float16 keeps three bits more than bfloat16, and cannot hold large "
         "weights.", alive_when(lambda w, u, half: rounded(w + u, np.float16)
                                != rounded(w, np.float16))),
    Slip("minus", "The update is added, not taken off: beside a power of two the two differ.",
         alive_when(lambda w, u, half: bfloat16(w - u) != w)),
)  # fmt: skip


def off(i, kind):
    """Conditions on survives: only False where True is right, or only the reverse."""
    right = bfloat16(i["weight"] + i["update"]) != i["weight"]

    def found(v):
        if v.shape != right.shape or not np.isin(v, (0, 1)).all():
            return False
        lost, kept = (right & (v == 0)).any(), (~right & (v == 1)).any()
        return kind == {(True, False): "lost", (False, True): "kept", (True, True): "both"}.get(
            (bool(lost), bool(kept)))  # fmt: skip

    return {"survives": found}


ROUNDING_LAST = (
    Slip("too_few", "Updates that survive are called lost, never the reverse: the limit is too "
         "high somewhere.", lambda i: off(i, "lost")),
    Slip("too_many", "Updates that are lost are called alive, never the reverse: the limit is too "
         "low somewhere.", lambda i: off(i, "kept")),
    Slip("both_ways", "Some that survive are called lost, and some that are lost are called alive. "
         "Round the sum to bfloat16 and compare with the weight.", lambda i: off(i, "both")),
    Slip("shift", "The power of two is right, the shift is not: half a step is 2**-8 of it.",
         lambda i: {"half_unit": lambda v: v.shape == i["weight"].shape
                    and bool(np.ptp(v / half_of(i["weight"])) < 1e-6)}),
    Slip("no_power", "Half a step is a power of two for every weight: 2**-8 of the power of two at "
         "or below |weight|.", lambda i: {"half_unit": lambda v: v.shape == i["weight"].shape
                    and not np.ptp(v / half_of(i["weight"])) < 1e-6}),
)  # fmt: skip

rounding = Check(
    name="rounding", title="Which updates survive", wants=PARTS,
    difficulty=4, minutes=15, points=25,
    verified="half_unit for weights of many sizes, survives against the true rounding, at ties and "
    "powers of two as well",
    hints=(
        "Write 1.0, 1.5 and 2.0 in bfloat16, which keeps 7 bits after the leading one. What is the "
        "next number after each?",
        "From 1 to 2 the step is 2**-7, from 2 to 4 it is 2**-6, from 1/2 to 1 it is 2**-8. So "
        "find the power of two at or below |weight|. `survives` can round for itself: compare "
        "`.bfloat16()` before and after.",
        "`2.0 ** (torch.floor(torch.log2(weight.abs())) - 8)`, and "
        "`(weight + update).bfloat16() != weight.bfloat16()`.",
    ),
    slips=ROUNDING + ROUNDING_LAST, other="Try a few by hand: beside 1.5 lie 1.5078125 and "
    "1.4921875; beside 1 lie 1.0078125 and 0.99609375.",
    make=make_rounding, probe=probe_rounding, judge=judge_rounding,
)  # fmt: skip


# 7.5 Two adapters in one
PAIRS = ("equal", "unequal")


def make_add(seed):
    rng = np.random.default_rng(seed + 1000)
    f, made = fixtures.normal(rng), {}
    for name in PAIRS:
        d_in, d_out = fixtures.sizes(rng, 2, 13, 17)
        r1, r2 = (3, 3) if name == "equal" else rng.permutation([2, 5])
        made |= {f"A1_{name}": f(r1, d_in), f"A2_{name}": f(r2, d_in)}
        made |= {f"B1_{name}": f(d_out, r1), f"B2_{name}": f(d_out, r2)}
        alphas = rng.choice([4, 7, 8, 11, 13], size=2, replace=False)
        made |= {f"alpha1_{name}": alphas[0], f"alpha2_{name}": alphas[1]}
    return made


def probe_add(namespace, a):
    made = {}
    for name in PAIRS:
        A1, B1, A2, B2 = (tensor(a[f"{key}_{name}"]) for key in ("A1", "B1", "A2", "B2"))
        before = callers.Before(A1, B1, A2, B2)
        alpha1, alpha2 = a[f"alpha1_{name}"].item(), a[f"alpha2_{name}"].item()
        made[f"stop_{name}"] = NOTHING
        try:
            found = namespace["add_adapters"](A1, B1, alpha1, A2, B2, alpha2)
        except NotImplementedError:
            raise
        except Exception as error:
            made[f"stop_{name}"] = text(described(error)[1])
            continue
        A, B, alpha = fixtures.several(found, ("A", "B", "alpha"), "add_adapters")
        made |= {f"A_{name}": A, f"B_{name}": B, f"alpha_{name}": alpha}
        made[f"left_{name}"] = before.change()
    return made


def product_of(o, name):
    """alpha / r * B @ A of what came back, where the shapes let it be; {} otherwise."""
    A, B, alpha = (o.get(f"{key}_{name}", np.zeros(0)) for key in ("A", "B", "alpha"))
    if A.ndim != 2 or B.ndim != 2 or alpha.size != 1 or not 0 < len(A) == B.shape[1]:
        return {}
    with np.errstate(all="ignore"):
        return {f"sum_{name}": alpha.reshape(()) / len(A) * (B @ A)}


def judge_add(i, o):
    o, promises = dict(o), []
    for name in PAIRS:
        o |= product_of(o, name)
        A1, A2, B1 = (i[f"{key}_{name}"] for key in ("A1", "A2", "B1"))
        r, case = len(A1) + len(A2), f"for ranks {len(A1)} and {len(A2)}"
        promises += [
            Promise(f"stop_{name}", lambda v: v.size == 0, expected="an adapter of rank "
                    f"{r}", seen=lambda v, case=case: f"{case} {words(v)}"),
            of_shape(f"A_{name}", (r, A1.shape[1]), f"{case} A"),
            of_shape(f"B_{name}", (len(B1), r), f"{case} B"),
            Promise(f"alpha_{name}", lambda v: v.size == 1 and v.dtype.kind in "biuf"
                    and bool(np.isfinite(v).all()), f"{case} alpha", expected="one real number"),
            Promise(f"sum_{name}", mix(i, name), f"{case} (alpha / r * B @ A)", rtol=1e-3,
                    atol=1e-3),
            callers.unchanged(f"left_{name}", "the tensors that were given"),
        ]  # fmt: skip
    return judged(i, o, promises, ADD, last=ADD_LAST)


def of_shape(key, wanted, what):
    return Promise(key, lambda v: v.shape == wanted, seen=lambda v: f"{what} has {shape(v)}",
                   expected=shape(np.zeros(wanted)))  # fmt: skip


def factors_of(i, name):
    """A1, B1, A2, B2 and the two scales."""
    A1, B1, A2, B2 = (i[f"{key}_{name}"] for key in ("A1", "B1", "A2", "B2"))
    return A1, B1, A2, B2, i[f"alpha1_{name}"] / len(A1), i[f"alpha2_{name}"] / len(A2)


def mix(i, name, c1=None, c2=None):
    """c1 * B1 @ A1 + c2 * B2 @ A2; the two scales when not given."""
    A1, B1, A2, B2, s1, s2 = factors_of(i, name)
    return (s1 if c1 is None else c1) * B1 @ A1 + (s2 if c2 is None else c2) * B2 @ A2


def up_to(right):
    """The condition that a sum is `right` up to one factor, which is not 0 or without end."""
    return lambda v: abs(multiple(v, right) or 0) > 1e-4


def both(value):
    """{output: value} of the two sums. value: a function of the pair's name."""
    return {f"sum_{name}": value(name) for name in PAIRS}


def scales_by(i, scales):
    """Both sums, up to a factor, when the scales come by scales(alpha1, r1, alpha2, r2)."""

    def one(name):
        ranks = len(i[f"A1_{name}"]), len(i[f"A2_{name}"])
        given = i[f"alpha1_{name}"], ranks[0], i[f"alpha2_{name}"], ranks[1]
        return up_to(mix(i, name, *scales(*given)))

    return both(one)


def crossings(i):
    """Sums of factors instead of products side by side: multiples of what averages give."""
    A1, B1, A2, B2, s1, s2 = factors_of(i, "equal")
    parts = [(1, 1, 1, 1), (s1, s2, 1, 1), (1, 1, s1, s2), (s1, s2, s1, s2)]
    parts.append((s1**0.5, s2**0.5, s1**0.5, s2**0.5))
    shapes = {"A_equal": lambda v: v.shape == A1.shape, "B_equal": lambda v: v.shape == B1.shape}
    return [
        {"sum_equal": up_to((b1 * B1 + b2 * B2) @ (a1 * A1 + a2 * A2)), **shapes}
        for b1, b2, a1, a2 in parts
    ]


def crossed(i):
    """A2 above A1 beside B1 and B2, with the scales of B, without, and with those of A."""

    def one(name, c1, c2):
        A1, B1, A2, B2, _, _ = factors_of(i, name)
        return up_to(np.hstack([c1 * B1, c2 * B2]) @ np.vstack([A2, A1]))

    ways = [both(lambda name: one(name, *factors_of(i, name)[4:])), both(lambda n: one(n, 1, 1))]
    return [*ways, {"sum_equal": one("equal", *factors_of(i, "equal")[:3:-1])}]


ADD = (
    Slip("averaged", "(B1 + B2) @ (A1 + A2) has the cross terms B1 @ A2 and B2 @ A1, which are "
         "nobody's. Do not add or average the factors: set them side by side.",
         crossings),
    Slip("scales_lost", "B1 @ A1 and B2 @ A2 are both there, but each has lost its own scale "
         "alpha / r. Multiply it into one of the two factors.",
         lambda i: scales_by(i, lambda a1, r1, a2, r2: (1, 1))),
    Slip("scaled_twice", "Each scale is in A and in B, so it counts twice. One factor takes it.",
         lambda i: scales_by(i, lambda a1, r1, a2, r2: ((a1 / r1) ** 2, (a2 / r2) ** 2))),
    Slip("own_rank", "alpha alone is no scale, and each adapter has a rank of its own: the first "
         "update is scaled by alpha1 / r1, the second by alpha2 / r2.",
         lambda i: [scales_by(i, way) for way in (
             lambda a1, r1, a2, r2: (a1, a2), lambda a1, r1, a2, r2: (a1 / r2, a2 / r1))]),
    Slip("scales_swapped", "Each update has the other one's scale. Factors and scales must stand "
         "in the same order.",
         lambda i: both(lambda name: mix(i, name, *factors_of(i, name)[:3:-1]))),
    Slip("upside_down", "The scales are upside down: alpha / r, not r / alpha.",
         lambda i: both(lambda name: mix(i, name, *(1 / s for s in factors_of(i, name)[4:])))),
    Slip("integer", "`//` cuts off the fraction of a scale. Use `/`.",
         lambda i: both(lambda name: mix(i, name, *np.floor(factors_of(i, name)[4:])))),
    Slip("scale", "The sum is right up to one factor. The new scale is alpha / r with the new r: "
         "return an alpha that makes it what you need.",
         lambda i: both(lambda name: up_to(mix(i, name)))),
    Slip("crossed", "B1 meets A2, and B2 meets A1. Rows and columns must stand in the same order.",
         crossed),
    Slip("one_only", "One adapter's update is missing from the sum.",
         lambda i: [scales_by(i, lambda *_: (1, 0)), scales_by(i, lambda *_: (0, 1))]),
    Slip("difference", "The second update is taken off, not added.",
         lambda i: scales_by(i, lambda a1, r1, a2, r2: (a1 / r1, -a2 / r2))),
    Slip("rows", "A joins by rows, B by columns (dim=1): one new row of A for one new column of B.",
         lambda i: [{"A_equal": lambda v: v.shape == tall(i, "A1", 0),
                     "B_equal": lambda v: v.shape == tall(i, "B1", 0)},
                    {"A_equal": lambda v: v.shape == tall(i, "A1", 1)}]),
    Slip("exchanged", "A and B are exchanged. The order is: A, B, alpha.",
         lambda i: {"A_equal": lambda v: v.shape == tall(i, "B1", 1),
                    "B_equal": lambda v: v.shape == tall(i, "A1", 0)}),
    Slip("own_order", "The columns of B stand in the other order than the rows of A, so that B1 "
         "meets A2.", lambda i: both(lambda name: up_to(np.hstack(
             [factors_of(i, name)[5] * i[f"B2_{name}"], factors_of(i, name)[4] * i[f"B1_{name}"]])
             @ np.vstack([i[f"A1_{name}"], i[f"A2_{name}"]])))),
    Slip("stacked", "`stack` makes a new axis. Join along one that is there: torch.cat.",
         lambda i: {"A_equal": lambda v: v.ndim == 3}),
    Slip("too_large", "The sum was multiplied out, so the adapter is as large as the matrix. "
         "Set the factors side by side instead.",
         lambda i: {"sum_equal": up_to(mix(i, "equal")),
                    "A_equal": lambda v: v.ndim == 2 and len(v) in (
                        v.shape[1], len(i["B1_equal"]))}),
    Slip("unequal", "With equal ranks it works. The ranks may differ: nothing may rely on A1 and "
         "A2 having one shape.",
         lambda i: {"stop_unequal": lambda v: v.size > 0, "sum_equal": mix(i, "equal")}),
    Slip("in_place", "`*=` and `mul_` change the caller's tensors. Multiply into new ones.",
         lambda i: {"left_equal": 2, "sum_equal": mix(i, "equal")}),
)  # fmt: skip


def tall(i, key, axis):
    """The shape of two such factors joined along an axis."""
    wanted = list(i[f"{key}_equal"].shape)
    wanted[axis] *= 2
    return tuple(wanted)


ADD_LAST = (
    Slip("rank", "The rank of the result is r1 + r2: as many rows in A, as many columns in B.",
         lambda i: [{f"{key}_{name}": lambda v: True} for key in "AB" for name in PAIRS]),
    Slip("other_sum", "The shapes are right, the sum is not. Multiply alpha / r * B @ A out and "
         "compare it with the two updates.",
         lambda i: [{f"sum_{name}": lambda v: True} for name in PAIRS]),
)  # fmt: skip

add_adapters = Check(
    name="add_adapters", title="Two adapters in one", wants=("add_adapters",),
    difficulty=3, minutes=10, points=20,
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
    slips=ADD + ADD_LAST, other="Compare alpha / r * B @ A with the sum of the two updates.",
    make=make_add, probe=probe_add, judge=judge_add,
)  # fmt: skip

EXERCISES = (merge_layer, merge_all, adapter, rounding, add_adapters)
