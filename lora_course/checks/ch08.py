"""Checks of chapter 08: convert, target rules, switch, audit, a mixed batch."""

import itertools
import logging
import re
import warnings
from contextlib import contextmanager
from functools import cache

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.mould import Mould
from lora_course.checks.slips import Promise, Slip, in_parts, judged, seen_as
from lora_course.checks.values import Refused, array, close, kind, none, text, words
from lora_course.checks.wording import multiple, shape

PREFIX = "base_model.model."


# What several exercises share
def unpacked(value, names, function):
    """The learner's several values, whatever they are; Refused when their number is another."""
    wanted = f"{len(names)} values: {', '.join(names)}"
    if not isinstance(value, (tuple, list)):
        key = "none" if value is None else "type"
        raise Refused(key, f"{function} returns {kind(value)}.", f"{wanted}.")
    if len(value) != len(names):
        raise Refused("type", f"{function} returns {len(value)} values.", f"{wanted}.")
    return value


@contextmanager
def quiet_peft():
    """PEFT without the noise of its import and its warnings."""
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    if logger.level != logging.ERROR:  # setting it takes 2 ms: every logger forgets what it knew
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


def ruled(rule, what):
    """A rule for target_modules as it was given: a text, or a list of texts."""
    if isinstance(rule, str):
        return rule
    if not isinstance(rule, (list, tuple, set)) or not all(isinstance(t, str) for t in rule):
        raise Refused("type", f"{what} is {kind(rule)}.", "a text, or a list of texts.")
    return list(rule)


def hits(rule, names):
    """Which names get_peft_model would take by this rule, by PEFT's own comparison; None: error."""
    with quiet_peft() as peft:
        from peft.tuners.tuners_utils import check_target_module_exists

        try:
            config = peft.LoraConfig(target_modules=rule)
            return np.array([bool(check_target_module_exists(config, n)) for n in names])
        except Exception:  # no regular expression
            return None


# 8.1 To PEFT and back
PARTS = {"self_attn.q_proj": (5, 7), "mlp.up_proj": (5, 9), "mlp.down_proj": (9, 7)}  # (in, out)
LAYERS = tuple(f"model.layers.{n}.{part}" for n in (3, 10) for part in PARTS)
TENSORS = tuple(f"{layer}.lora_{letter}" for layer in LAYERS for letter in "AB")
CONVERTED = ("many", "one")  # adapters: three layers, a single one
KEYS = {  # how a key may come out of to_peft; the first is right
    "": lambda name: f"{PREFIX}{name}.weight",
    "prefix": lambda name: f"{name}.weight",
    "one_prefix": lambda name: f"base_model.{name}.weight",
    "weight": lambda name: f"{PREFIX}{name}",
    "adapter_name": lambda name: f"{PREFIX}{name}.default.weight",
    "untouched": lambda name: name,
}
BACK = {  # and how a name may come out of from_peft
    "": lambda name: name,
    "back_prefix": lambda name: PREFIX + name,
    "back_weight": lambda name: f"{name}.weight",
    "back_eaten": lambda name: name.replace("model.", ""),
    "back_untouched": KEYS[""],
    "back_half": lambda name: f"model.{name}",
    "back_stripped": lambda name: KEYS[""](name).strip("base_model.model.").strip(".weight"),  # noqa: B005
}


def make_convert(seed):
    rng = np.random.default_rng(seed + 800)
    f, r, r_one = fixtures.normal(rng), int(rng.choice([2, 3, 4])), int(rng.choice([10, 11, 12]))
    alpha, other = rng.permutation([11, 13, 17])[:2]  # more than 2 r
    many, one = np.zeros((2, len(PARTS)), bool), np.zeros(len(LAYERS), bool)
    many[0, rng.permutation(3)[:2]] = many[1, rng.integers(3)] = True  # blocks differ
    one[rng.choice(np.flatnonzero(~many))] = True
    made = {"r": r, "alpha": alpha, "alpha_back": other, "many": many.ravel(), "one": one}
    made["r_one"] = r_one  # more than the layer's sizes
    for n, layer in enumerate(LAYERS):
        rank, (d_in, d_out) = r_one if one[n] else r, PARTS[layer.split(".", 3)[-1]]
        made |= {f"t{2 * n}": f(rank, d_in), f"t{2 * n + 1}": f(d_out, rank)}
    order = rng.permutation(len(TENSORS))  # of the names in the dict
    first = int(np.argmax([n % 2 and made["many"][n // 2] for n in order]))  # a lora_B
    order_one = np.arange(len(TENSORS))[:: 1 - 2 * (seed % 2)]  # A first, B first in turn
    return {**made, "order_many": np.roll(order, -first), "order_one": order_one}


def rank_of(i, case):
    return i["r_one" if case == "one" else "r"]


def held(i, case):
    """Numbers of the tensors of this adapter, in the order of the dict."""
    order = i[f"order_{case}"]
    return [int(n) for n in order if i[case][n // 2]]


def found(names, forms, case):
    """How often each tensor is there in each form, and the first key of another form."""
    known = {form(n): (k, at) for k, form in enumerate(forms.values()) for at, n in
             enumerate(TENSORS)}  # fmt: skip
    count = np.zeros((len(forms) + 1, len(TENSORS)))
    for name in names:
        count[known.get(name, (len(forms), 0))] += 1
    strange = [str(name) for name in names if known.get(name, (1, 0))[0]]
    return {f"keys_{case}": count, f"first_{case}": text(sorted(strange)[0] if strange else "")}


def in_form(i, case, form):
    """The count of `found` when every key has this form."""
    forms = BACK if case == "back" else KEYS
    count = np.zeros((len(forms) + 1, len(TENSORS)))
    count[list(forms).index(form), held(i, "many" if case == "back" else case)] = 1
    return count


def tensors_of(d, forms, case):
    import torch

    right = {name: d[forms[""](name)] for name in TENSORS if forms[""](name) in d}
    for name, value in right.items():
        fixtures.expect(value, torch.Tensor, f"for {forms[''](name)} the function", "a tensor")
    return {f"{case}_t{TENSORS.index(n)}": array(value, n) for n, value in right.items()}


def probe_convert(namespace, a):
    made = {case: fixtures.attempt(case, lambda c=case: forth(namespace["to_peft"], a, c))
            for case in CONVERTED}  # fmt: skip
    made["back"] = fixtures.attempt("back", lambda: back(namespace["from_peft"], a))
    joined = {key: value for part in made.values() for key, value in part.items()}
    return fixtures.unless_all_open(joined, made)


def forth(to_peft, a, case):
    state = {TENSORS[n]: tensor(a[f"t{n}"]) for n in held(a, case)}
    before = callers.Before(state)
    result = to_peft(state, a["alpha"].item())
    settings, tensors = unpacked(result, ("settings", "tensors"), "to_peft")
    for what, value in (("settings", settings), ("tensors", tensors)):
        if not isinstance(value, dict):
            raise Refused("type", f"the {what} of to_peft are {kind(value)}.", "a dict.")
    lacking = [k for k in ("r", "lora_alpha", "target_modules") if k not in settings]
    if lacking:
        wanted = "r, lora_alpha and target_modules."
        raise Refused("type", f"the settings lack {', '.join(lacking)}.", wanted)
    rule = ruled(settings["target_modules"], "target_modules")
    every = rule == "all-linear"
    took = np.arange(len(LAYERS) + 1) < len(LAYERS) if every else hits(rule, [*LAYERS, "lm_head"])
    return {
        **found(tensors, KEYS, case),
        **tensors_of(tensors, KEYS, case),
        f"r_{case}": array(settings["r"], "r"),
        f"alpha_{case}": array(settings["lora_alpha"], "lora_alpha"),
        f"hits_{case}": np.zeros(len(LAYERS) + 1, bool) if took is None else took,
        f"text_{case}": isinstance(rule, str),
        f"left_{case}": before.change(),
    }


def back(from_peft, a):
    tensors = {KEYS[""](TENSORS[n]): tensor(a[f"t{n}"]) for n in held(a, "many")}
    settings = {"peft_type": "LORA", "r": a["r"].item(), "lora_alpha": a["alpha_back"].item()}
    before = callers.Before(settings, tensors)
    state, scaling = unpacked(from_peft(settings, tensors), ("state", "scaling"), "from_peft")
    if not isinstance(state, dict):
        raise Refused("type", f"the state of from_peft is {kind(state)}.", "a dict.")
    return {
        **found(state, BACK, "back"),
        **tensors_of(state, BACK, "back"),
        "scaling": array(scaling, "the scaling"),
        "left_back": before.change(),
    }


def keys_promise(i, o, case, what):
    """That the dict has the right keys and no others."""
    right, forms = in_form(i, case, ""), BACK if case == "back" else KEYS
    names = sorted(forms[""](TENSORS[n]) for n in np.flatnonzero(right[0]))

    def seen(value):
        strange = words(o.get(f"first_{case}", text("")))
        return f"{what} gives the key {strange}" if strange else f"a key of {what} is missing"

    return Promise(f"keys_{case}", right, seen=seen, expected=f"{len(names)} keys such as "
                   f"{names[0]}", rtol=0, atol=0)  # fmt: skip


def values_promises(i, case, what):
    """That each tensor has the values and the shape that it had."""
    return [Promise(f"{case}_t{n}", i[f"t{n}"], f"{what} changes a tensor: {TENSORS[n]}", rtol=0,
                    atol=0, dtype="float32")
            for n in sorted(held(i, "many" if case == "back" else case))]  # fmt: skip


def judge_convert(i, o):
    alpha, forward = float(i["alpha"]), []
    for case in CONVERTED:
        layers, r = int(i[case].sum()), int(rank_of(i, case))
        hit = np.append(i[case], False)
        named = ", ".join(np.array(LAYERS)[i[case]])
        forward.append([
            keys_promise(i, o, case, "to_peft"),
            Promise(f"r_{case}", r, "r", expected=f"{r}, the first size of each A"),
            Promise(f"alpha_{case}", alpha, f"for alpha = {alpha:g} and r = {r}, lora_alpha"),
            Promise(f"hits_{case}", hit, expected=f"LoRA in {named}, and nowhere else", seen=lambda
                    v, n=layers, h=hit: f"the rule puts LoRA into {np.sum(v & h)} of {n} layers, "
                    f"and into {np.sum(v & ~h)} others" if v.shape == h.shape and v.dtype == bool
                    else "no rule"),
            *values_promises(i, case, "to_peft"),
            callers.unchanged(f"left_{case}", "state, after to_peft"),
        ])  # fmt: skip
    to_peft = [judged(i, o, promises, CONVERT, part=case)
               for promises, case in zip(forward, CONVERTED, strict=True)]  # fmt: skip
    r = int(i["r"])
    scaling = i["alpha_back"] / r
    promises = [
        keys_promise(i, o, "back", "from_peft"),
        *values_promises(i, "back", "from_peft"),
        Promise("scaling", scaling, f"for lora_alpha = {i['alpha_back']} and r = {r}, scaling"),
        callers.unchanged("left_back", "settings or tensors, after from_peft"),
    ]
    from_peft = judged(i, o, promises, CONVERT, part="back")
    return in_parts(min(to_peft, key=lambda verdict: verdict.share), from_peft)


def form_slip(key, advice):
    cases = ("back",) if key in BACK else CONVERTED
    return Slip(key, advice, lambda i: {f"keys_{case}": in_form(i, case, key) for case in cases})


def reaches(i, less, more):
    """A condition on the hits: layers with an adapter are left out, layers without one are hit."""
    hit = np.append(i["many"], False)
    return lambda v: v.shape == hit.shape and (v < hit).any() == less and (v > hit).any() == more


def is_multiple(right):
    """A condition: the tensor times one number other than 1."""

    def holds(value):
        c = multiple(value, right)
        return c is not None and abs(c - 1) > 1e-3

    return holds


CONVERT = (
    form_slip("prefix", "PEFT's keys begin with `base_model.model.`. Without it no tensor finds "
              "its place, and the model runs on as the bare base."),
    form_slip("one_prefix", "Our names begin with `model.` already; PEFT's prefix is "
              "`base_model.model.` all the same, so `model.` stands there twice."),
    form_slip("weight", "In PEFT A and B are small linear layers: the key ends in `.weight`."),
    form_slip("adapter_name", "The name of the adapter, `default`, is in the model and not in the "
              "file."),
    form_slip("untouched", "The names are still ours."),
    Slip("rank", "The rank is the first size of A, (r, in), or the second of B, (out, r). Which "
         "of the two comes first in the dict is not certain.",
         lambda i: {"r_many": lambda v: any(close(v, n) for n in (5, 7, 9)), "keys_many":
                    in_form(i, "many", "")}),
    Slip("smallest", "The rank is the first size of A, (r, in). It is not always the smallest of "
         "the sizes: nothing keeps r below those of the layer.",
         lambda i: {"r_many": i["r"], "r_one": lambda v: v.size == 1 and 5 <= v < i["r_one"]}),
    Slip("alpha", "PEFT divides by r itself: hand alpha over as it is.",
         lambda i: {f"alpha_{case}": i["alpha"] / rank_of(i, case) for case in CONVERTED}),
    Slip("text", "A string is one regular expression, which must match the whole name of a layer. "
         "Commas separate nothing in it. Give a list of names.",
         seen_as(hits_many=none, text_many=1)),
    Slip("no_hit", "No entry of the list is a layer. An entry is the full name of a layer in the "
         "base model, or the end of one: without `.lora_A`, and without PEFT's prefix.",
         seen_as(hits_many=none, text_many=0)),
    Slip("missed", "The rule hits fewer layers than have an adapter. In one block not the same "
         "layers need be adapted as in another.",
         lambda i: {"hits_many": lambda v: v.any() and reaches(i, True, False)(v)}),
    Slip("too_many", "The rule also hits layers without an adapter: those would stay at zero. Where"
         " an ending is adapted in one block only, give whole names.",
         lambda i: {"hits_many": reaches(i, False, True)}),
    Slip("transposed", "The names are right, but the tensors are turned over. PEFT keeps the "
         "shapes: A is (r, in) and B is (out, r).",
         lambda i: [{f"{case}_t{n}": i[f"t{n}"].T for n in held(i, "many") if n in which}
                    for case in ("many", "back") for which in (range(99), range(1, 99, 2))]),
    Slip("twice_r", "alpha is 2 r by habit only. Hand over the alpha that is given.",
         lambda i: {f"alpha_{case}": 2 * rank_of(i, case) for case in CONVERTED}),
    Slip("other_layers", "The rule misses layers that have an adapter and hits others. Take the "
         "names of the layers from `state`, whole.",
         lambda i: {"hits_many": reaches(i, True, True)}),
    Slip("multiplied", "The numbers in the tensors stay as they are, both ways: alpha / r is "
         "applied when the layer runs.",
         lambda i: [{f"{case}_t{n}": is_multiple(i[f"t{n}"])} for case in ("many", "back")
                    for n in held(i, "many")]),
    Slip("exchanged", "A and B have changed places.",
         lambda i: [{f"{case}_t{n}": i[f"t{n + 1 - n % 2 * 2}"]} for case in ("many", "back")
                    for n in held(i, "many")]),
    Slip("changed", "What was handed in belongs to the caller: make a new dict.",
         lambda i: [{f"left_{case}": np.any} for case in (*CONVERTED, "back")]),
    form_slip("back_prefix", "from_peft leaves PEFT's prefix on."),
    form_slip("back_half", "from_peft leaves one `model.` too many: PEFT's prefix is "
              "`base_model.model.`, and our name begins with a `model.` of its own."),
    form_slip("back_stripped", "`strip` takes off letters, as many as there are of those given, "
              "not a word. Use `removeprefix` and `removesuffix`."),
    form_slip("back_weight", "from_peft leaves `.weight` at the end."),
    form_slip("back_untouched", "from_peft gives the names of PEFT."),
    form_slip("back_eaten", "`replace('model.', '')` and `lstrip` eat more than the prefix: our own"
              " name begins with `model.`. Use `removeprefix('base_model.model.')`."),
    Slip("back_scale", "The update is multiplied by alpha / r, not by alpha.",
         lambda i: {"scaling": i["alpha_back"]}),
    Slip("upside_down", "The fraction is upside down: the scale is alpha / r.",
         lambda i: {"scaling": i["r"] / i["alpha_back"]}),
    Slip("floor", "`//` throws the fraction away. The scale is alpha / r.",
         lambda i: {"scaling": i["alpha_back"] // i["r"]}),
    Slip("scale", "The scale is lora_alpha / r, both from `settings`, as they are.",
         lambda i: {"scaling": lambda v: v.size == 1 and not any(close(v, known) for known in (
             i["alpha_back"], i["r"] / i["alpha_back"], i["alpha_back"] // i["r"]))}),
)  # fmt: skip

convert = Check(
    name="convert", title="To PEFT and back", wants=("to_peft", "from_peft"),
    difficulty=2, minutes=12, points=20,
    verified="keys and values both ways, rank and alpha, the scale, and by PEFT's own comparison "
    "that the rule hits the layers of two adapters and no others",
    hints=(
        "Put the two names of the task under each other. What stands before, what stands behind?",
        "`f'base_model.model.{name}.weight'` one way, `removeprefix` and `removesuffix` the other. "
        "The rank is the first size of an A. `target_modules` may list whole layer names.",
        "`r = state[...].shape[0]` for a name that ends in lora_A; the layers are "
        "`sorted({name.rsplit('.', 1)[0] for name in state})`; back: "
        "`settings['lora_alpha'] / settings['r']`.",
    ),
    slips=CONVERT, other="Take one name and one tensor, and follow them by hand both ways.",
    make=make_convert, probe=probe_convert, judge=judge_convert,
)  # fmt: skip


# 8.2 Switch and disable
NAMES = ("red", "green", "blue")
STEPS = ("base", "first", "second")
STATES = ("trains", "frozen")  # the active adapter of the model, before the call
NET = ((6, 8), (8, 5))  # (in, out) of its layers
R, ALPHA = 3, 7


@cache
def net():
    """The mould of a PeftModel of two layers with three adapters."""
    from torch import nn

    body = nn.Sequential(nn.Linear(*NET[0]), nn.Tanh(), nn.Linear(*NET[1]))
    with quiet_peft() as peft:
        config = peft.LoraConfig(r=R, lora_alpha=ALPHA, target_modules=["0", "2"])
        model = peft.get_peft_model(body, config, adapter_name=NAMES[0])
        for name in NAMES[1:]:
            model.add_adapter(name, config)
    return Mould(model.eval())


def lora_layers(model):
    return [part for part in model.modules() if hasattr(part, "lora_A")]


def make_three(seed):
    rng = np.random.default_rng(seed + 820)
    f, made = fixtures.normal(rng), {}
    for k, (d_in, d_out) in enumerate(NET):
        made |= {f"W{k}": f(d_out, d_in) / 3, f"b{k}": f(d_out) / 3}
        for n in range(len(NAMES)):
            made |= {f"A{k}{n}": f(R, d_in) / 3, f"B{k}{n}": f(d_out, R) / 3}
    for state in STATES:  # numbers of first, second and of the active one, which is a third
        made[state] = rng.permutation(3)
    if seed % 2:  # or the last
        made["frozen"][2] = 2
    return {**made, "x": f(4, NET[0][0])}


def probe_three(namespace, a):
    import torch

    made = {}
    for state in STATES:
        first, second, active = (NAMES[n] for n in a[state])
        model, x = net().cast(), tensor(a["x"])
        with torch.no_grad():
            for k, layer in enumerate(lora_layers(model)):
                layer.base_layer.weight.copy_(tensor(a[f"W{k}"]))
                layer.base_layer.bias.copy_(tensor(a[f"b{k}"]))
                for n, name in enumerate(NAMES):
                    layer.lora_A[name].weight.copy_(tensor(a[f"A{k}{n}"]))
                    layer.lora_B[name].weight.copy_(tensor(a[f"B{k}{n}"]))
        with quiet_peft():
            model.set_adapter(active, inference_mode=state == "frozen")
            before, held = callers.Before(model), list(model.parameters())
            flags, given = np.array([p.requires_grad for p in held], int), callers.Before(x)
            result = namespace["three_outputs"](model, x, first, second)
        outputs = fixtures.several(result, STEPS, "three_outputs")
        made |= {f"{step}_{state}": y for step, y in zip(STEPS, outputs, strict=True)}
        now = np.array([p.requires_grad for p in held], int)
        made |= {
            f"layers_{state}": len(lora_layers(model)),
            f"left_{state}": before.change(but=3),
            f"x_{state}": given.change(),
            f"thawed_{state}": int((now > flags).sum()),
            f"frozen_{state}": int((now < flags).sum()),
            f"active_{state}": getattr(model, "active_adapter", None) == active,
        }
        if made[f"layers_{state}"] == 2 and not made[f"left_{state}"]:
            made[f"after_{state}"] = array(model(tensor(a["x"])), "the output after the call")
    return made


def output(i, n=None, *more):
    """The model's output for x with adapter number n, or of the base; more: adapters on top."""
    h = i["x"].astype(float)
    for k in range(len(NET)):
        several = [] if n is None else (n, *more)
        delta = ALPHA / R * sum((i[f"B{k}{m}"] @ i[f"A{k}{m}"] for m in several), 0.0)
        h = h @ (i[f"W{k}"] + delta).T + i[f"b{k}"]
        h = np.tanh(h) if k == 0 else h
    return h


def judge_three(i, o):
    promises, near = [], {"rtol": 1e-3, "atol": 1e-4}
    for state in STATES:
        first, second, active = i[state]
        case = f"(active: {NAMES[active]}, {'trained' if state == 'trains' else 'frozen'})"
        for step, n in zip(STEPS, (None, first, second), strict=True):
            what = "without adapters" if n is None else f"with {NAMES[n]}"
            promises.append(
                Promise(f"{step}_{state}", output(i, n), f"the output {what} {case}", **near)
            )
        promises += [
            Promise(f"layers_{state}", len(NET), f"the count of LoRA layers after the call {case}"),
            callers.unchanged(f"left_{state}", f"the model {case}"),
            callers.unchanged(f"x_{state}", f"x {case}"),
            Promise(f"after_{state}", output(i, active), f"model(x) after the call {case}", **near),
            Promise(f"active_{state}", 1, seen="model.active_adapter is another one after the call "
                    + case, expected=NAMES[active]),
            Promise(f"thawed_{state}", 0, seen=f"{{}} frozen tensors train after the call {case}",
                    expected="none"),
            Promise(f"frozen_{state}", 0, seen=f"{{}} trained tensors are frozen after the call "
                    f"{case}", expected="none"),
        ]  # fmt: skip
    return judged(i, o, promises, THREE)


def in_states(*options):
    """A slip's values: each option maps an output to value(i, numbers of the three adapters)."""
    return lambda i: [{f"{key}_{state}": value(i, i[state]) for state in STATES
                       for key, value in option.items()} for option in options]  # fmt: skip


def in_one(**conditions):
    """A slip's values that show in either of the two states."""
    return lambda i: [{f"{k}_{state}": v for k, v in conditions.items()} for state in STATES]


def is_output(*numbers):
    """A condition: an output of these places in (first, second, active). None: of the base."""
    return lambda i, which: (
        lambda v: any(
            close(v, output(i, None if n is None else which[n]), 1e-3, 1e-4) for n in numbers
        )
    )


def off_active(i, which):
    """A condition: the output of an adapter that is not the active one, and not the base's."""
    others = [n for n in range(3) if n != which[2]]
    return lambda v: any(close(v, output(i, n), 1e-3, 1e-4) for n in others)


def positive(v):
    return v.size == 1 and v.item() > 0


THREE = (
    Slip("not_disabled", "The first output still has an adapter in it. Call the model inside "
         "`with model.disable_adapter():`.",
         in_states({"base": is_output(0, 1, 2), "second": is_output(0, 1, 2)})),
    Slip("not_off", "These outputs are the base's: the adapters are still off. Leave the `with` "
         "block before you switch.",
         in_states({"first": is_output(None), "second": is_output(None),
                    "after": is_output(0, 1, 2)})),
    Slip("stay_off", "These outputs are the base's: the adapters stay off, or have no strength "
         "left. `with model.disable_adapter():` turns them on again by itself.",
         in_states({"first": is_output(None), "second": is_output(None),
                    "after": is_output(None)})),
    Slip("late", "Each output is that of the adapter before it. Switch first, then call the "
         "model.", in_states({"first": is_output(2), "second": is_output(0)})),
    Slip("no_switch", "Both outputs are those of the active adapter. Call "
         "`model.set_adapter(name)` before each call of the model.",
         in_states({"base": is_output(None), "first": is_output(2), "second": is_output(2)})),
    Slip("same_twice", "Both outputs are those of one adapter. Switch and call the model, one "
         "after the other, for each name.",
         in_states({"first": is_output(1), "second": is_output(1)},
                   {"first": is_output(0), "second": is_output(0)})),
    Slip("exchanged", "The outputs of `first` and `second` are exchanged.",
         in_states({"first": is_output(1), "second": is_output(0)})),
    Slip("base_last", "The output without adapters comes first: base, first, second.",
         in_states({"base": is_output(0), "first": is_output(1), "second": is_output(None)})),
    Slip("unloaded", "`unload()` and `merge_and_unload()` take the LoRA layers out of the model for"
         " good. To look at the base for a moment, use `disable_adapter()`.",
         in_one(layers=lambda v: v.size == 1 and v.item() == 0)),
    Slip("changed", "A part of the model is gone, such as an adapter that was deleted. Only "
         "switch.", in_one(left=1, layers=2)),
    Slip("zeroed", "Numbers in the model are other ones after the call: an adapter that is zeroed, "
         "reset or merged is lost. Only switch.",
         lambda i: [{f"{key}_{state}": value for key, value in option.items()} for state in STATES
                    for option in ({"left": 2, "layers": 2},
                                   {"left": 2, "first": lambda v: close(v, output(i), 1e-3, 1e-4)})]
         ),
    Slip("mode", "The model was in eval mode, and is in train mode now.", in_one(left=4)),
    Slip("still_off", "The adapters stay off after your function. `with model.disable_adapter():` "
         "turns them on again by itself.", in_states({"after": is_output(None)})),
    Slip("left", "The outputs are right, but the model is left with another active adapter. Note "
         "`model.active_adapter` first and set it again at the end.",
         lambda i: [{f"after_{state}": off_active(i, i[state])} for state in STATES]),
    Slip("both", "Two adapters act at once, and their updates add up. Switch to one at a time.",
         lambda i: {f"first_{s}": lambda v, s=s: any(
             close(v, output(i, *pair), 1e-3, 1e-4) for pair in ((0, 1), (0, 2), (1, 2), (0, 1, 2)))
             for s in STATES}),
    Slip("difference", "The output without adapters was taken off, or added. Return what model(x) "
         "gives.", lambda i: [{f"first_{s}": output(i, i[s][0]) + sign * output(i) for s in STATES}
                              for sign in (1, -1)]),
    Slip("x", "x belongs to the caller: make a new tensor instead of writing into it.",
         in_one(x=positive)),
    Slip("thawed", "`set_adapter`, and the end of `disable_adapter`, make an adapter trainable that"
         " was frozen. Put the old `requires_grad` back at the very end.",
         in_one(thawed=positive)),
    Slip("frozen", "Parameters that were training come back frozen. Note the `requires_grad` of "
         "each first and put it back at the end.", in_one(frozen=positive, thawed=0)),
)  # fmt: skip

three_outputs = Check(
    name="three_outputs", title="Switch and disable", wants=("three_outputs",),
    difficulty=3, minutes=12, points=20,
    verified="three outputs, and the model as before: its output, every number and every "
    "requires_grad, whether the active adapter was training or frozen",
    hints=(
        "Two calls do the work: `with model.disable_adapter():` and `model.set_adapter(name)`. "
        "What do they leave behind?",
        "Note `model.active_adapter` and the `requires_grad` of every parameter first. "
        "`set_adapter` thaws what it chooses, and `disable_adapter` the active one when it ends; "
        "so put the flags back last.",
        "`trains = {n: p.requires_grad for n, p in model.named_parameters()}` at the start; at the "
        "end `model.set_adapter(active)`, then `p.requires_grad = trains[n]` for all. (Or use "
        "`model(x, adapter_names=[...])`, which switches nothing.)",
    ),
    slips=THREE, other="Call the model once by hand in each of the three states, and compare.",
    make=make_three, probe=probe_three, judge=judge_three,
)  # fmt: skip


# 8.3 A mixed batch
TEAMS = ("court", "base", "clinic", "courtyard")  # nobody asks for the second one
NOBODY = len(TEAMS)  # the number of "__base__"


def make_mixed(seed):
    rng = np.random.default_rng(seed + 840)
    f, (T, d_in, d_out) = fixtures.normal(rng), rng.permutation([4, 6, 7, 11, 12])[:3]
    ranks, scales = rng.permutation([1, 2, 3, 5]), rng.permutation([0.5, 1.5, 3.0, -2.0])
    if scales[1] < 0:  # nobody would see it
        scales[[0, 1]] = scales[[1, 0]]
    more = rng.choice([0, 2, 3], rng.integers(1, 4))
    rows = rng.permutation([0, 0, 2, 2, 3, NOBODY, NOBODY, *more])
    made = {"rows": rows, "scales": scales, "x": f(len(rows), T, d_in), "W": f(d_out, d_in)}
    for n, r in enumerate(ranks):
        made |= {f"A{n}": f(r, d_in), f"B{n}": f(d_out, r)}
    return made


def probe_mixed(namespace, a):
    adapters = {
        name: (tensor(a[f"A{n}"]), tensor(a[f"B{n}"]), a["scales"][n].item())
        for n, name in enumerate(TEAMS)
    }
    names = [(*TEAMS, "__base__")[n] for n in a["rows"]]
    x, W = tensor(a["x"]), tensor(a["W"])
    factors = [t for A, B, _ in adapters.values() for t in (A, B)]
    before = callers.Before(x, W, *factors, names)
    y = array(namespace["mixed_batch"](x, W, adapters, names), "the result")
    return {"y": y, "left": before.change() or 5 * (list(adapters) != list(TEAMS))}


def mixed(i, rows=None, base=1.0, scale=lambda s: s, keep=lambda n, k: True, ranks=0):
    """The output when row k gets adapter rows[k]; keep(adapter, k): whether it gets the update.

    ranks: the power of its rank in the scale.
    """
    rows, out = i["rows"] if rows is None else rows, base * i["x"].astype(float) @ i["W"].T
    for k, n in enumerate(rows):
        if n < NOBODY and keep(n, k):
            s = scale(i["scales"][n]) * float(len(i[f"A{n}"])) ** ranks
            out[k] += s * i["x"][k] @ i[f"A{n}"].T @ i[f"B{n}"].T
    return out


def judge_mixed(i, o):
    right = mixed(i)

    def seen(value):
        if value.shape != right.shape:
            return f"the result: {shape(value)}"
        wrong = [k for k in range(len(right)) if not close(value[k], right[k], 1e-3, 1e-3)]
        told = [f"{k} ({(*TEAMS, '__base__')[i['rows'][k]]})" for k in wrong]
        return f"{len(wrong)} of {len(right)} rows are wrong: {', '.join(told)}"

    promises = [
        Promise("y", right, seen=seen, rtol=1e-3, atol=1e-3, expected=
                f"{shape(right)}, each row W x and the update of its own adapter"),
        callers.unchanged("left", "x, W, the adapters or the names"),
    ]  # fmt: skip
    return judged(i, o, promises, MIXED)


def outputs_are(*values):
    return lambda i: [{"y": value(i)} for value in values]


def for_all(n):
    return lambda i: mixed(i, np.full(len(i["rows"]), n))


def everybody(i):
    plain = mixed(i, np.full(len(i["rows"]), NOBODY))
    return plain + sum(for_all(n)(i) - plain for n in range(NOBODY))


def grouped(i):
    """The right rows, sorted by adapter in one of the usual orders."""
    rows, right = i["rows"], mixed(i)
    names = np.array((*TEAMS, "__base__"))[rows]
    seen = {n: k for k, n in reversed(list(enumerate(rows.tolist())))}  # where each comes first
    orders = (rows, (rows + 1) % (NOBODY + 1), [seen[n] for n in rows.tolist()], names)
    return [{"y": right[np.argsort(order, kind="stable")]} for order in orders]


def of_rows(i, values):
    """The value of each row's adapter, 1 for the base."""
    return np.append(values, 1.0)[i["rows"]][:, None, None]


def with_parts(i, within=str.__contains__):
    """The output when each row gets the updates of all adapters whose name is in its own."""
    names, plain = (*TEAMS, "__base__"), for_all(NOBODY)(i)
    return plain + sum(
        mixed(i, np.where([within(names[k], name) for k in i["rows"]], n, NOBODY)) - plain
        for n, name in enumerate(TEAMS)
    )


def added_up(i):
    """The output when each row's update is added to W for good."""
    W, out = i["W"].astype(float), []
    for x, n in zip(i["x"], i["rows"], strict=True):
        W = W + (i["scales"][n] * i[f"B{n}"] @ i[f"A{n}"] if n < NOBODY else 0)
        out.append(x @ W.T)
    return np.stack(out)


def piled_up(i):
    """The output when each adapter's update stays in the matrix of the adapters after it."""
    steps = [mixed(i, np.where((i["rows"] < NOBODY) & (i["rows"] >= n), n, NOBODY))
             for n in range(NOBODY)]  # fmt: skip
    return sum(steps) - (NOBODY - 1) * for_all(NOBODY)(i)


def base_of_all(i):
    """The right rows, and those of the base with the updates of all adapters."""
    return np.where((i["rows"] == NOBODY)[:, None, None], everybody(i), mixed(i))


def one_row(i, last=False):
    """The output when of each adapter's rows one alone gets the update."""
    rows = i["rows"].tolist()
    only = {n: k for k, n in (enumerate(rows) if last else reversed(list(enumerate(rows))))}
    return mixed(i, keep=lambda n, k: only[n] == k)


def other_scale(i):
    """A condition: each row has its update, times a number that no other slip has."""
    plain, right = for_all(NOBODY)(i), mixed(i)
    rules = [lambda s: 0, lambda s: 1, lambda s: 1 / s, lambda s: -s, lambda s: s * s]
    known = [right, *(mixed(i, scale=rule) for rule in rules)]
    known += [mixed(i, ranks=power) for power in (-1, 1)]
    known += [mixed(i, scale=lambda s, c=c: c) for c in i["scales"]]

    def holds(v):
        if v.shape != right.shape or any(close(v, k, 1e-3, 1e-3) for k in known):
            return False
        bare = i["rows"] == NOBODY
        grown = [multiple(y, u) for y, u in zip((v - plain)[~bare], (right - plain)[~bare],
                                                strict=True)]  # fmt: skip
        return close(v[bare], plain[bare], 1e-3, 1e-3) and all(
            c is not None and abs(c) > 1e-3 for c in grown
        )

    return holds


MIXED = (
    Slip("inputs", "Your function changes what it was given. `x @ W.T` makes a new tensor; work on "
         "that. Leave lists and dicts as they are, too.", seen_as(left=np.any)),
    Slip("in_place", "An update was added to W itself, and the rows after it got it too. Make a "
         "new matrix, or add to the output.", lambda i: {"y": added_up(i)}),
    Slip("part_of_name", "A name that is a part of another one was taken for it: `court` for "
         "`courtyard`. Compare whole names, with `==`.",
         outputs_are(with_parts, lambda i: with_parts(i, str.startswith))),
    Slip("rows_lost", "The rows of `__base__` are missing. They get W x, in their place.",
         lambda i: {"y": lambda v: v.shape == mixed(i)[i["rows"] < NOBODY].shape}),
    Slip("axes", "Rows and time are exchanged. Stack the rows along the first axis.",
         outputs_are(lambda i: mixed(i).swapaxes(0, 1))),
    Slip("over_r", "The third value of an adapter is alpha / r already. Neither divide by r again, "
         "nor multiply.", outputs_are(lambda i: mixed(i, ranks=-1), lambda i: mixed(i, ranks=1))),
    Slip("other_scale", "The updates are the right ones, in another size. Multiply each by the "
         "third value of its adapter, and by nothing else.", lambda i: {"y": other_scale(i)}),
    Slip("scale_twice", "The scale is in it twice. Multiply the update by it once.",
         outputs_are(lambda i: mixed(i, scale=lambda s: s * s))),
    Slip("base_twice", "W x is in it twice. Every row gets it once, and the update on top.",
         outputs_are(lambda i: mixed(i) + for_all(NOBODY)(i),
                     lambda i: mixed(i) + (i["rows"] < NOBODY)[:, None, None] * for_all(NOBODY)(i))
         ),
    Slip("left_in_W", "The update of one adapter stays in W for those that come after it. Begin "
         "each time with the W that was given.", outputs_are(piled_up)),
    Slip("one_adapter", "The rows of one adapter alone got their update. Does `return` or `break` "
         "stand inside the loop?",
         lambda i: [{"y": mixed(i, keep=lambda n, k, m=m: n == m)} for m in (0, 2, 3)]),
    Slip("by_place", "Row k does not belong to adapter number k, but to the one called `names[k]`.",
         lambda i: [{"y": mixed(i, np.where(places < NOBODY, places, NOBODY))} for places in (
             np.arange(len(i["rows"])),
             np.where(i["rows"] < NOBODY, np.arange(len(i["rows"])), NOBODY))]),
    Slip("sorted", "The names were sorted. Row k belongs to `names[k]`, in the order that was "
         "given.", outputs_are(lambda i: mixed(i, np.array(sorted(
             i["rows"], key=lambda n: (*TEAMS, "__base__")[n]))))),
    Slip("base_scaled", "The scale also went into W x. It belongs to the update alone.",
         outputs_are(lambda i: mixed(i, scale=lambda s: 1) * of_rows(i, i["scales"]),
                     lambda i: mixed(i) + (of_rows(i, i["scales"]) - 1) * for_all(NOBODY)(i))),
    Slip("no_scale", "The updates go in without their scale, the third value of each adapter.",
         outputs_are(lambda i: mixed(i, scale=lambda s: 1))),
    Slip("one_scale", "All updates get the scale of one adapter. Each has its own, its third value."
         , lambda i: [{"y": mixed(i, scale=lambda s, c=c: c)} for c in i["scales"]]),
    Slip("divided", "The update is multiplied by the scale, not divided by it.",
         outputs_are(lambda i: mixed(i, scale=lambda s: 1 / s))),
    Slip("base_only", "Every row gets W x alone. `out[rows].add_(...)` changes a copy: use "
         "`out[rows] += ...`.", outputs_are(for_all(NOBODY))),
    Slip("update_only", "W x is missing. Every row gets it, and the update on top.",
         outputs_are(lambda i: mixed(i, base=0.0), lambda i: np.where(
             (i["rows"] < NOBODY)[:, None, None], mixed(i, base=0.0), mixed(i)))),
    Slip("base_empty", "The rows of `__base__` come out as zero. They get W x like all others.",
         outputs_are(lambda i: mixed(i) * (i["rows"] < NOBODY)[:, None, None])),
    Slip("base_adapted", "The rows of `__base__` get the update of an adapter. They get W x alone.",
         lambda i: [{"y": base_of_all(i)}] + [
             {"y": mixed(i, np.where(i["rows"] < NOBODY, i["rows"], n))} for n in range(NOBODY)]),
    Slip("everybody", "Every row gets the updates of all adapters. Pick the rows of each one.",
         outputs_are(everybody)),
    Slip("one_for_all", "All rows get the same adapter. `names` has one name for each row.",
         outputs_are(*(for_all(n) for n in range(NOBODY)))),
    Slip("first_row", "Of each adapter one row alone got the update. `names.index(name)` gives one "
         "number, and a name may stand there more than once.",
         outputs_are(one_row, lambda i: one_row(i, last=True))),
    Slip("order", "The rows are right but come out sorted by adapter. Write each result to its old "
         "place.", grouped),
    Slip("subtracted", "The updates are taken off instead of added.",
         outputs_are(lambda i: mixed(i, scale=lambda s: -s))),
)  # fmt: skip

mixed_batch = Check(
    name="mixed_batch", title="A mixed batch", wants=("mixed_batch",),
    difficulty=4, minutes=15, points=20,
    verified="every row, of adapters of unlike rank and of the base, in any order; what was given "
    "is untouched",
    hints=(
        "What do all rows share? Do that once. What is left is a loop over adapters, not rows.",
        "`out = x @ W.T` for the whole batch. For each adapter find the numbers of its rows, and "
        "add the update to those rows of `out` only.",
        "`rows = [i for i, n in enumerate(names) if n == name]`, then "
        "`out[rows] += scaling * (x[rows] @ A.T @ B.T)`. Rows of `__base__` are never touched.",
    ),
    slips=MIXED, other="Compute one row by hand: W x + scaling B A x with its own adapter.",
    make=make_mixed, probe=probe_mixed, judge=judge_mixed,
)  # fmt: skip


# 8.4 Target rules for a GPT-2
GPT2 = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
SPOKEN = ("the attention", "the second layer of the MLP", "the last two blocks")


def make_rules(seed):
    return {"blocks": np.random.default_rng(seed + 810).integers(11, 40)}


@cache
def one_block():
    """{name: can LoRA go there} for every module of a GPT-2 with one block."""
    import torch
    from torch import nn
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    config = GPT2Config(
        vocab_size=4, n_embd=2, n_layer=1, n_head=1, n_positions=2, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    with torch.device("meta"):
        model, kinds = GPT2LMHeadModel(config), (nn.Linear, nn.Embedding, Conv1D)
    return {name: isinstance(m, kinds) for name, m in model.named_modules() if name}


def gpt2_names(blocks):
    """{name: can LoRA go there} for a GPT-2 with so many blocks."""
    names = {name: fits for name, fits in one_block().items() if ".h.0" not in name}
    for name, fits in one_block().items():
        if ".h.0" in name:
            names |= {name.replace(".h.0", f".h.{n}"): fits for n in range(blocks)}
    return names


CLASS = r"\[(?!0-9\])[\d|,-]+\]"  # brackets that choose one of these characters


def probe_rules(namespace, a):
    blocks = a["blocks"].item()
    rules = unpacked(namespace["gpt2_rules"](blocks), SPOKEN, "gpt2_rules")
    made, names = {}, gpt2_names(blocks)
    four = {f"transformer.h.{n}.{part}": (n, k) for n in range(blocks) for k, part in
            enumerate(GPT2)}  # fmt: skip
    for k, rule in enumerate(rules):
        rule = ruled(rule, f"rule {k + 1}")
        if rule == "all-linear":
            took = np.array([fits and ".h." in name for name, fits in names.items()])
        else:
            took = hits(rule, names)
        looser = hits(f".*(?:{rule})", four) if isinstance(rule, str) else None
        entries = [rule] if isinstance(rule, str) else rule
        table, refused, strays = np.zeros((blocks, 4), bool), 0, 0
        for name in [] if took is None else [n for n, hit in zip(names, took, strict=True) if hit]:
            if name in four:
                table[four[name]] = True
            else:
                refused, strays = refused + (not names[name]), strays + names[name]
        made |= {
            f"hits_{k}": table,
            f"refused_{k}": -1 if took is None else refused,
            f"strays_{k}": strays,
            f"class_{k}": isinstance(rule, str) and re.search(CLASS, rule) is not None,
            f"looser_{k}": table * False if looser is None else looser.reshape(blocks, 4),
            f"comma_{k}": isinstance(rule, str) and "," in rule,
            f"bare_{k}": isinstance(rule, str) and "|" in re.sub(r"\([^()]*\)", "", rule),
            f"brace_{k}": any("{blocks" in entry for entry in entries),
            f"pattern_{k}": not isinstance(rule, str) and any(c in e for e in rule for c in "*\\|"),
        }
    return made


def wanted(i, k):
    """(blocks, 4): which layers rule k is to hit, in the order of GPT2."""
    table = np.zeros((int(i["blocks"]), 4), bool)
    table[:, :2] |= k == 0
    table[:, 3] |= k == 1
    table[-2:] |= k == 2
    return table


def rule_promises(i, k):
    right, said = wanted(i, k), f"the rule for {SPOKEN[k]}"

    def seen(value):
        if value.shape != right.shape or value.dtype != bool:
            return f"{said} gives no table"
        told = []
        for table, word in ((value > right, "too many"), (value < right, "missed")):
            places = np.argwhere(table)
            like = [f" (such as transformer.h.{n}.{GPT2[c]})" for n, c in places[:1]]
            told.append(f"{len(places)} {word}{''.join(like)}")
        return f"{said} hits {value.sum()} layers: {', '.join(told)}"

    return [
        Promise(f"refused_{k}", 0, expected="linear layers only", seen=lambda v: f"{said} " + (
            "is no regular expression" if v.size == 1 and v.item() == -1 else
            "hits modules that PEFT refuses")),
        Promise(f"strays_{k}", 0, seen=f"{said} hits something outside the blocks, such as lm_head",
                expected="layers of the blocks"),
        Promise(f"hits_{k}", right, seen=seen, expected=f"{right.sum()} layers"),
    ]  # fmt: skip


def judge_rules(i, o):
    return in_parts(*(judged(i, o, rule_promises(i, k), RULES[k]) for k in range(3)))


def columns(i, *hit):
    return np.isin(np.arange(4), hit) & np.ones((int(i["blocks"]), 1), bool)


def rows(i, *hit):
    """The table when all four layers of these blocks are hit; they count from the end."""
    table = np.zeros((int(i["blocks"]), 4), bool)
    table[list(hit)] = True
    return table


def loose(i):
    """A condition: the last two blocks, and others whose number has a digit in common."""
    right = wanted(i, 2)
    digits = [{str(n)[0], str(n)[-1]} for n in range(len(right))]
    kin = np.array([bool(d & (digits[-1] | digits[-2])) for d in digits])

    def fits(value):
        if value.shape != right.shape or (value < right).any():
            return False
        extra = (value > right).any(1)
        one = extra.sum() == 1 and extra[-3]  # which is a slip of its own
        return bool(extra.any() and not extra[~kin].any() and not value.all() and not one)

    return fits


def rule_slips(k):
    """Slips that any of the three rules may have."""
    fail = f"hits_{k}"

    def whole_columns(i):
        right = wanted(i, k)
        return lambda v: (v.shape == right.shape and not (v > right).any() and v.any()
                          and (v.any(0) == (v | ~right).all(0) & right.any(0)).all())  # fmt: skip

    return (
        Slip("no_f", "The rule has `{blocks` in it as letters. Put an `f` before the string, so "
             "that the number stands there: rf'...'.",
             lambda i: [{fail: none, f"brace_{k}": 1}, {f"refused_{k}": -1, f"brace_{k}": 1}]),
        Slip("comma", "A string is one regular expression, and commas separate nothing in it. Give "
             "a list, or put `|` in brackets between the parts.",
             lambda i: {fail: none, f"comma_{k}": 1, f"looser_{k}": none, f"brace_{k}": 0}),
        Slip("part", "A string is one regular expression, and it must match the whole name, from "
             "`transformer` on. Begin with `.*`, or give a list.",
             lambda i: {fail: none, f"looser_{k}": lambda v: v.shape == wanted(i, k).shape
                        and v.any() and not (v > wanted(i, k)).any()}),
        Slip("no_hit", "It hits nothing. An entry of a list is the end of a name, such as "
             "`attn.c_attn`; a string is one regular expression, in which a blank is a blank. Are "
             "the names those of a GPT-2, and the numbers below `blocks`?",
             lambda i: {fail: none, f"comma_{k}": 0, f"looser_{k}": none, f"brace_{k}": 0,
                        f"pattern_{k}": 0, f"bare_{k}": 0, f"refused_{k}": 0}),
        Slip("no_group", "`|` parts the whole expression in two. Put brackets around what is to be "
             "parted: `(10|11)`.",
             lambda i: [{f"bare_{k}": 1, f"refused_{k}": lambda v: v.size == 1 and v.item() > 0},
                        {f"bare_{k}": 1, fail: np.any}]),
        Slip("regex_in_list", "The entries of a list are compared letter by letter with the end of "
             "the name, not as regular expressions. Give the expression itself, without a list.",
             lambda i: {fail: none, f"pattern_{k}": 1, f"brace_{k}": 0}),
        Slip("in_brackets", "`[10]` is one character, 1 or 0. For one of two numbers write "
             "`(10|11)`.",
             lambda i: [{f"class_{k}": 1, f"refused_{k}": np.any},
                        {f"class_{k}": 1, fail: lambda v: True}]),
        Slip("no_linear", "The rule also hits a whole block, its attention or MLP, a norm or an "
             "activation. End it with the names of the linear layers.",
             lambda i: {f"refused_{k}": lambda v: v.size == 1 and v.item() > 0, f"bare_{k}": 0,
                        f"class_{k}": 0}),
        Slip("one_digit", "`\\d` and `[0-9]` are one digit, and block 10 has two. Write `\\d+`.",
             lambda i: {fail: wanted(i, k) & (np.arange(int(i["blocks"])) < 10)[:, None]}
             if k < 2 else {}),
        Slip("missed", "Some of the wanted layers are not hit. The attention has `c_attn` and "
             "`c_proj`, the MLP `c_fc` and `c_proj`.", lambda i: {fail: whole_columns(i)}),
        Slip("order", "The right layers, in another place. The order is: attention, second layer "
             "of the MLP, last two blocks.",
             lambda i: [{fail: wanted(i, other)} for other in range(3) if other != k]),
    )  # fmt: skip


RULES = (
    (*rule_slips(0), Slip("mlp_too", "`c_proj` alone also ends `mlp.c_proj`. Say `attn.c_proj`.",
                          lambda i: {"hits_0": columns(i, 0, 1, 3)})),
    (*rule_slips(1),
     Slip("attention_too", "`c_proj` alone also ends `attn.c_proj`. Say `mlp.c_proj`.",
          lambda i: {"hits_1": columns(i, 1, 3)}),
     Slip("first_layer", "That is the first layer of the MLP, or both. In the order of the "
          "computation `c_fc` is the first and `c_proj` the second.",
          lambda i: [{"hits_1": columns(i, 2)}, {"hits_1": columns(i, 2, 3)}])),
    (*rule_slips(2),
     Slip("all_blocks", "The last rule hits every block. It needs the numbers of the last two.",
          lambda i: {"hits_2": columns(i, 0, 1, 2, 3)}),
     Slip("other_blocks", "The last rule hits other blocks as well, whose numbers have a digit in "
          "common. In `.*1.*` any 1 counts, also that of block 1 or 10: put `\\.` on both sides "
          "of the number.", lambda i: {"class_2": 0, "hits_2": loose(i)}),
     Slip("fixed", "Two other blocks are hit. `blocks` says how many there are: put blocks - 2 and "
          "blocks - 1 into the rule, no number of your own.",
          lambda i: [{"class_2": 0, "hits_2": rows(i, n, n + 1)}
                     for n in range(int(i["blocks"]) - 3)]),
     Slip("count", "Blocks count from 0: the last two are blocks - 2 and blocks - 1.",
          lambda i: [{"hits_2": rows(i, *n)} for n in ((-1,), (-2,), (-3, -2), (-3, -2, -1))])),
)  # fmt: skip

gpt2_rules = Check(
    name="gpt2_rules", title="Target rules for a GPT-2", wants=("gpt2_rules",),
    difficulty=2, minutes=12, points=20,
    verified="by PEFT's own comparison, the three rules hit exactly the wanted layers of a GPT-2",
    hints=(
        "`c_proj` is the end of two names in every block. An ending may hold a dot.",
        "Two lists do for the first two rules. The third needs a string: a regular expression that "
        "matches the **whole** name, with the two numbers in it.",
        r"`rf'.*\.h\.({blocks - 2}|{blocks - 1})\.(attn|mlp)\.c_\w+'`. An unescaped dot is any "
        "character, and `h.1` without a dot behind it also begins `h.10`.",
    ),
    slips=tuple({s.name: s for part in RULES for s in part}.values()),
    other="Print the names: `for n, m in GPT2LMHeadModel(config).named_modules()`, and try your "
    "rule on them.",
    make=make_rules, probe=probe_rules, judge=judge_rules,
)  # fmt: skip


# 8.5 Three silent failures
LINEAR = {"self_attn.q_proj": (5, 7), "self_attn.o_proj": (7, 5), "mlp.up_proj": (5, 9),
          "mlp.down_proj": (9, 4)}  # fmt: skip
BLOCKS = 2
CASES = {  # what is broken in each case: the list, the keys, the values, the updates
    "all is well": (0, 0, 0, 0),
    "a wrong list": (1, 0, 0, 0),
    "wrong keys": (0, 1, 0, 0),
    "other values": (0, 0, 1, 0),
    "updates of zero": (0, 0, 0, 1),
    "all at once": (1, 1, 1, 1),
}
GOOD, LOST_PREFIX, WITH_NAME, STALE, ABSENT = range(5)  # what became of a tensor of the file
FORMS = (  # how an entry of the list may be written; an ending is such as mlp.up_proj
    lambda e: e.split(".")[-1],  # these four hit, the last two a single layer
    lambda e: e,
    lambda e: f"layers.0.{e}",
    lambda e: f"model.layers.{BLOCKS - 1}.{e}",
    lambda e: e.split(".")[-1].replace("p", "b", 1),  # a typo
    lambda e: e.split("_")[-1],  # a part of the last part: proj
    lambda e: ".*" + e.split(".")[-1],  # a regular expression
    lambda e: e.split(".")[0],  # a part of the model, which is no layer
    lambda e: "lm_head",  # a layer without LoRA
)

PART_OF = 5  # the place of the part


@cache
def adapted(bare):
    """The mould of a PeftModel with LoRA on all endings of LINEAR but number `bare`."""
    from torch import nn

    base = nn.Module()
    for n in range(BLOCKS):
        for ending, (d_in, d_out) in LINEAR.items():
            fixtures.put(base, f"model.layers.{n}.{ending}", nn.Linear(d_in, d_out, bias=False))
    base.lm_head = nn.Linear(5, 8)
    with quiet_peft() as peft:
        config = peft.LoraConfig(r=2, lora_alpha=7, target_modules=adapted_endings(bare))
        return Mould(peft.get_peft_model(base, config).eval())


def adapted_endings(bare):
    return [ending for n, ending in enumerate(LINEAR) if n != bare]


def make_audit(seed):
    rng = np.random.default_rng(seed + 830)
    made, tensors = {"bare": rng.integers(len(LINEAR)), "seed": rng.integers(10**6)}, 6 * BLOCKS
    for n, broken in enumerate(CASES.values()):
        wrong_list, keys, values, zeros = broken
        entries = [(k, rng.integers(2)) for k in rng.permutation(3)]  # (which ending, its form)
        if wrong_list:  # so many of each kind that no two rules count the same
            entries = [entry for entry in entries if entry[0] != 1]
            typos = [(k, 4) for k in rng.permutation(3)[: rng.integers(1, 4)]]
            entries += [(0, PART_OF), (0, PART_OF), (0, 6), (1, 6), *typos]
            entries += [(rng.integers(3), form) for form in (7, 8)]
            entries += [(int(made["bare"]) + 3, form) for form in (0, 1)]  # the ending without LoRA
        entries += [(0, 2), (2, 3)]  # the first and the last layer
        made[f"asked{n}"] = np.array(entries)[rng.permutation(len(entries))]
        state = np.zeros(tensors, int)
        places = rng.permutation(np.arange(2, tensors))
        if keys:
            state[places[: rng.integers(2, 4)]] = LOST_PREFIX
            state[places[4:6]], state[:2], state[places[6]] = WITH_NAME, ABSENT, ABSENT
        if values:
            state[places[7 : rng.integers(9, 11)]] = STALE
        made[f"state{n}"], made[f"order{n}"] = state, rng.permutation(tensors)
        idle, end = np.zeros(3 * BLOCKS, bool), 0 if keys else 3 * BLOCKS - 1
        others = rng.permutation(np.delete(np.arange(3 * BLOCKS), end))
        idle[[end, *others[: rng.integers(3, 5)]]] = zeros  # with the first or the last layer
        kinds = [1] * (1 + keys) + [3, 3] + [2] * (3 * BLOCKS)  # 1: B is zero, 2: A, 3: both
        made[f"zero{n}"] = idle * np.array(kinds)[np.cumsum(idle) - idle]
    return made


def asked(i, n):
    """The list of case n: entries as texts."""
    endings = adapted_endings(int(i["bare"]))
    every = [*endings, *LINEAR]
    return [FORMS[form](every[which]) for which, form in i[f"asked{n}"].tolist()]


def probe_audit(namespace, a):
    import torch

    model, counts, left = adapted(int(a["bare"])).cast(), [], 0
    for n in range(len(CASES)):
        draw = torch.Generator().manual_seed(int(a["seed"]) + n)
        with torch.no_grad(), quiet_peft() as peft:
            alive = np.cumsum(a[f"zero{n}"] == 0)
            for k, (zero, layer) in enumerate(zip(a[f"zero{n}"], lora_layers(model), strict=True)):
                A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
                for factor in (A, B):  # values whose sum is exact in any order
                    factor.normal_(generator=draw).mul_(64).round_().div_(64)
                B[1] = 0  # a row of zeros is no update of zero
                if alive[k] == 1:  # nor is one whose numbers add up to 0
                    A[:, 1], A[:, 2:] = -A[:, 0], 0
                    B[1:] = 0
                for factor in (A, B):
                    factor *= 2.0**-14 if alive[k] in (2, 3) else 1  # nor a small one
                if alive[k] == 4:  # nor one whose first row is zero
                    B[0] = 0
                A *= float(zero not in (2, 3))
                B *= float(zero not in (1, 3))
            own = peft.get_peft_model_state_dict(model)
        keys, tensors = list(own), {}
        for k in a[f"order{n}"].tolist():
            key, value, state = keys[k], own[keys[k]].clone(), a[f"state{n}"][k]
            if state == ABSENT:
                continue
            if state == LOST_PREFIX:
                key = key.removeprefix(PREFIX)
            if state == WITH_NAME:
                key = key.replace(".weight", ".default.weight")
            if state == STALE:  # another version with the same sum
                value[0, 0] += 1
                value[-1, -1] -= 1
            tensors[key] = value
        given = asked(a, n)
        before = callers.Before(model, given, tensors)
        with quiet_peft():
            result = namespace["audit"](model, given, tensors)
        three = fixtures.several(result, COUNTED, "audit")
        if any(value.size != 1 for value in three):
            raise Refused("type", "a count of audit is an array.", "three numbers.")
        counts.append([value.reshape(()) for value in three])
        left = before.change()
        if left:
            break
    table = np.array(counts)
    return {**{word: table[:, k] for k, word in enumerate(COUNTED)}, "left": left}


COUNTED = ("missed", "lost", "idle")


def adapted_names(i):
    """The names of the layers with LoRA."""
    return [f"model.layers.{n}.{e}" for n in range(BLOCKS) for e in adapted_endings(i["bare"])]


def count_missed(i, hit):
    """For each case, the entries for which hit(entry, names of the layers with LoRA) is False."""
    names = adapted_names(i)
    return np.array(
        [sum(not hit(entry, names) for entry in asked(i, n)) for n in range(len(CASES))]
    )


def count_lost(i, *states):
    return np.array([np.isin(i[f"state{n}"], states).sum() for n in range(len(CASES))])


def count_idle(i):
    return np.array([(i[f"zero{n}"] > 0).sum() for n in range(len(CASES))])


def count_zero(i, kind, held=lambda i, n: True):
    """For each case, the layers whose B (1) or A (2) is zero; held(i, n): those looked at."""
    return np.array([(np.isin(i[f"zero{n}"], (kind, 3)) & held(i, n)).sum()
                     for n in range(len(CASES))])  # fmt: skip


def key_there(factor):
    """A rule for count_zero: the layers whose A (0) or B (1) is in the file, as in the model."""
    there = (GOOD, LOST_PREFIX, WITH_NAME)
    return lambda i, n: np.isin(i[f"state{n}"].reshape(-1, 2)[:, factor], there)


def in_file(i, n):
    """Which layers have a tensor in the file, in a key that ends as it should."""
    return np.isin(i[f"state{n}"].reshape(-1, 2), (GOOD, LOST_PREFIX, STALE)).any(1)


def hit_by_file(i):
    """The first count when the layers are those of the file's keys."""
    names = adapted_names(i)
    held = [[x for x, there in zip(names, in_file(i, n), strict=True) if there]
            for n in range(len(CASES))]  # fmt: skip
    return np.array([sum(not ends(entry, held[n]) for entry in asked(i, n))
                     for n in range(len(CASES))])  # fmt: skip


def alive_but(i, first, last):
    """The third count when some of the layers that are alive are taken for idle."""
    alive = 3 * BLOCKS - count_idle(i)
    return count_idle(i) + np.clip(alive, first, last) - first


def ends(entry, names):
    return any(f".{name}".endswith(f".{entry}") for name in names)


def in_model(entry, names):
    """Whether the entry hits any module, with LoRA or not."""
    every = [f"model.layers.{n}.{part}" for n in range(BLOCKS) for e in LINEAR
             for part in (e, e.split(".")[0])]  # fmt: skip
    return ends(entry, [*every, "lm_head"])


def judge_audit(i, o):
    right = (count_missed(i, ends), count_lost(i, LOST_PREFIX, WITH_NAME, STALE), count_idle(i))
    whole = "the model, the list or the tensors"
    if not Promise("left", 0).holds(o.get("left", np.array(np.nan))):
        return judged(i, o, [callers.unchanged("left", whole)], AUDIT)
    cases = list(CASES)

    def promise(word, counts):
        def seen(value):
            if value.shape != counts.shape:
                return f"{word} is no number"
            n = int(np.argmax(value != counts))
            return f"in the case «{cases[n]}», {word} = {value[n]:g}"

        def expected(value):
            n = int(np.argmax(value != counts)) if value.shape == counts.shape else 0
            return f"{counts[n]}"

        value = np.asarray(o.get(word, np.zeros(0)))
        return Promise(word, counts, seen=seen, expected=expected(value), rtol=0, atol=0)

    parts = [judged(i, o, [promise(w, c)], AUDIT) for w, c in zip(COUNTED, right, strict=True)]
    return in_parts(*parts)


def flagged(i):
    right = count_missed(i, ends), count_lost(i, 1, 2, 3), count_idle(i)
    return [{word: np.minimum(c, 1)} for word, c in zip(COUNTED, right, strict=True)]


def turned(i):
    right = count_missed(i, ends), count_lost(i, 1, 2, 3), count_idle(i)
    return [[right[k] for k in order] for order in itertools.permutations(range(3)) if order !=
            (0, 1, 2)]  # fmt: skip


def good_ones(i):
    sizes = [[len(i[f"asked{n}"]), (i[f"state{n}"] != ABSENT).sum(), 3 * BLOCKS]
             for n in range(len(CASES))]  # fmt: skip
    right = count_missed(i, ends), count_lost(i, 1, 2, 3), count_idle(i)
    return [{word: np.array(sizes)[:, k] - right[k]} for k, word in enumerate(COUNTED)]


AUDIT = (
    Slip("blind", "Entries that hit nothing are not seen. Go through the list that is given, not "
         "through the model or its config, and ask whether any layer with LoRA has a name that "
         "ends in the entry.", lambda i: {"missed": np.zeros(len(CASES))}),
    Slip("substring", "`proj` is a part of `q_proj` and does not hit it: a name must end in a dot "
         "and the entry.",
         lambda i: [{"missed": count_missed(i, rule)} for rule in (
             lambda entry, names: any(entry in name for name in names),
             lambda entry, names: any(name.endswith(entry) for name in names))]),
    Slip("no_lora", "An entry that hits `lm_head` or another layer without LoRA is missed too. "
         "Look only at layers that have a `lora_A`.",
         lambda i: {"missed": count_missed(i, in_model)}),
    Slip("unique", "An entry that stands in the list twice counts twice.",
         lambda i: {"missed": np.array([
             sum(not ends(entry, adapted_names(i)) for entry in set(asked(i, n)))
             for n in range(len(CASES))])}),
    Slip("regex", "An entry is no regular expression here. It is compared letter by letter with "
         "the end of a name.",
         lambda i: [{"missed": count_missed(i, lambda entry, names, find=find: any(
             find(entry, PREFIX + name) for name in names))} for find in (re.search, re.fullmatch)]
         ),
    Slip("whole_names", "No entry hits anything by this rule. The names in the model are longer "
         "than the entries: ask for the end of a name, behind a dot.",
         lambda i: {"missed": np.array([len(i[f"asked{n}"]) for n in range(len(CASES))])}),
    Slip("config", "The config of the model says what was asked for once. Ask which of its layers "
         "have LoRA.", lambda i: {"missed": count_missed(
             i, lambda entry, names: entry in adapted_endings(i["bare"]))}),
    Slip("layers", "These are layers that no entry hits. Asked are entries that hit no layer.",
         lambda i: {"missed": np.array([
             sum(not any(ends(entry, [name]) for entry in asked(i, n)) for name in adapted_names(i))
             for n in range(len(CASES))])}),
    Slip("last_part", "An entry may have a dot in it, like `mlp.up_proj`. The last part of the "
         "name alone cannot be equal to it.",
         lambda i: [{"missed": count_missed(i, lambda entry, names, first=first: entry in {
             part for name in names for part in name.split(".")[first:]})} for first in (-1, 0)]),
    Slip("names_only", "The keys are there, but some values in the model are not those of the "
         "file. Compare with `torch.equal`.",
         lambda i: {"lost": count_lost(i, LOST_PREFIX, WITH_NAME)}),
    Slip("values_only", "A tensor whose key is not in the model is lost as well.",
         lambda i: {"lost": count_lost(i, STALE)}),
    Slip("adapter_name", "In `model.state_dict()` the keys have the adapter's name in them, and "
         "those of the file have not. Compare with `get_peft_model_state_dict(model)`.",
         lambda i: {"lost": count_lost(i, GOOD, LOST_PREFIX, STALE)}),
    Slip("repaired", "A key counts as it is in the file: PEFT adds no prefix and cuts out no "
         "name when it loads.", lambda i: [{"lost": count_lost(i, LOST_PREFIX, STALE)},
                                      {"lost": count_lost(i, WITH_NAME, STALE)}]),
    Slip("model_side", "This counts tensors of the model that are not in the file. Go through "
         "those of the file.",
         lambda i: [{"lost": count_lost(i, LOST_PREFIX, WITH_NAME, ABSENT, *stale)}
                    for stale in ((), (STALE,))]),
    Slip("all_lost", "No tensor is found. Look the key up in `get_peft_model_state_dict(model)`, "
         "and compare the values with `torch.equal`: two equal tensors need not be one object.",
         lambda i: {"lost": count_lost(i, GOOD, LOST_PREFIX, WITH_NAME, STALE)}),
    Slip("changed", "The audit only looks: model, list and tensors stay as they are.",
         seen_as(left=np.any)),
    Slip("from_file", "This looks at the layers of the file. What counts is the model: a layer "
         "may be there and not in the file.", lambda i: {"missed": hit_by_file(i)}),
    Slip("looks_at_A", "Updates of zero are not seen. A layer whose B is zero has one, though its "
         "A is not zero: look at the update B @ A.",
         lambda i: [{"idle": np.zeros(len(CASES))}, {"idle": count_zero(i, 2)},
                    {"idle": count_zero(i, 1) + count_zero(i, 2) - count_idle(i)}]),
    Slip("looks_at_B", "A layer whose A is zero has an update of zero, though its B is not: look "
         "at the update B @ A.",
         lambda i: [{"idle": count_zero(i, 1)}, {"idle": count_zero(i, 1, key_there(1))}]),
    Slip("factors", "This counts factors that are zero. Count layers, once each.",
         lambda i: {"idle": count_zero(i, 1) + count_zero(i, 2)}),
    Slip("one_entry", "An update whose first numbers are 0 is not zero yet. Ask whether any of its "
         "numbers is not 0.", lambda i: {"idle": alive_but(i, 3, 4)}),
    Slip("adds_up", "An update whose numbers add up to 0 is not zero. Ask for any number that is "
         "not 0.", lambda i: {"idle": alive_but(i, 0, 1)}),
    Slip("small", "A small update is not zero. Compare with 0 itself, without a tolerance.",
         lambda i: {"idle": alive_but(i, 1, 3)}),
    Slip("order", "The order is: missed, lost, idle.",
         lambda i: [{word: right[k] for k, word in enumerate(COUNTED)} for right in turned(i)]),
    Slip("some_zeros", "Every layer was counted. An update with a row of zeros is not zero: ask "
         "whether all of its numbers are 0.", lambda i: {"idle": np.full(len(CASES), 3 * BLOCKS)}),
    Slip("tensors", "This counts tensors. Count layers: each has an A and a B.",
         lambda i: {"idle": 2 * count_idle(i)}),
    Slip("flags", "This says whether, not how many. Return counts.", flagged),
    Slip("good", "These are the good ones. Count those that fail.", good_ones),
)  # fmt: skip

audit = Check(
    name="audit", title="Three silent failures", wants=("audit",),
    difficulty=3, minutes=15, points=20,
    verified="six models of PEFT: all is well, a wrong list, wrong keys, other values, updates of "
    "zero, all at once; which ones was drawn",
    hints=(
        "Each count is a loop over one of the three things you are given. PEFT's LoRA layers are "
        "those with a `lora_A`.",
        "An entry t hits a name n when `f'.{n}'.endswith(f'.{t}')`. A tensor is in the model when "
        "its key is in `get_peft_model_state_dict(model)`, with equal values. The update of a "
        "layer is `layer.get_delta_weight('default')`.",
        "`layers = {n: m for n, m in model.named_modules() if hasattr(m, 'lora_A')}`; then "
        "`lost = sum(k not in own or not torch.equal(own[k], t) for k, t in tensors.items())`.",
    ),
    slips=AUDIT, other="Three counts: entries without a layer, tensors without a place, layers "
    "without an update.",
    make=make_audit, probe=probe_audit, judge=judge_audit,
)  # fmt: skip

EXERCISES = (convert, three_outputs, mixed_batch, gpt2_rules, audit)
