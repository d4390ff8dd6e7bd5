"""Checks of chapter 04: injection, freezing, a report, what a rule missed, the optimizer's list."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor
from lora_course.checks.values import Refused, kind


def _put(model, name, part):
    """Store a part under a dotted name; what is missing on the way becomes an empty module."""
    from torch import nn

    *path, last = name.split(".")
    for step in path:
        if not hasattr(model, step):
            model.add_module(step, nn.Module())
        model = getattr(model, step)
    model.add_module(last, part)


def _linear(weight, bias=None):
    """An nn.Linear with these values."""
    from torch import nn

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(tensor(bias))
    return layer


def _factor(layer, name):
    """The learner's A or B: a parameter itself, or the weight of a submodule."""
    value = getattr(layer, name)
    return getattr(value, "weight", value)


# 4.1 Injection by a list of endings
LAYERS = {  # name: does it have a bias; every layer feeds the next one
    "q_proj": False,  # at the top: no dot before the ending
    "blocks.0.attn.q_proj": True,
    "blocks.0.attn.freq_proj": False,  # ends in the letters q_proj
    "blocks.0.mlp.up_proj": True,
    "blocks.1.attn.q_proj_out": False,  # has q_proj inside
    "blocks.1.attn.q_proj": False,
    "blocks.1.mlp.up_proj": False,
    "blocks.1.attn.o_proj": False,
    "head": True,
}
NAMES = tuple(LAYERS)
RULE = ["q_proj", "mlp.up_proj"]
HITS = frozenset({0, 1, 3, 5, 6})
WRONG_HITS = {
    frozenset(): "nothing",
    HITS | {2}: "no_dot",
    HITS | {2, 4}: "substring",
    HITS - {0}: "top_level",
    frozenset({0, 1, 5}): "last_part",
    frozenset({0}): "shallow",
    frozenset({0, 8}): "shallow",
    frozenset(range(9)): "everything",
    frozenset(range(8)): "everything",
}


def make_inject(seed):
    rng = np.random.default_rng(seed)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    a, b, c = rng.permutation([5, 6, 8])
    widths, r = (a, b, c, a, a, b, a, c, a, b), int(rng.choice([2, 3, 4]))
    made = {"r": np.array(r), "alpha": np.array(rng.choice([7, 9, 11])), "x": f(3, a)}
    for n, bias in enumerate(LAYERS.values()):
        d_in, d_out = widths[n], widths[n + 1]
        made |= {f"W{n}": f(d_out, d_in) / 2, f"A{n}": f(r, d_in) / 2, f"B{n}": f(d_out, r) / 2}
        made |= {f"b{n}": f(d_out)} if bias else {}
    return made


def _chain(a):
    """A model of nine linear layers in a row, under the names of LAYERS, and a LayerNorm."""
    import torch
    from torch import nn

    class Chain(nn.Module):
        def forward(self, x):
            for name in NAMES:
                x = torch.tanh(self.get_submodule(name)(x))
            return self.norm(x)

    model = Chain()
    for n, name in enumerate(NAMES):
        _put(model, name, _linear(a[f"W{n}"], a.get(f"b{n}")))
    model.norm = nn.LayerNorm(a[f"W{len(NAMES) - 1}"].shape[0])
    return model


def _has_lora(part):
    return hasattr(part, "lora_A") and hasattr(part, "lora_B")


def probe_inject(namespace, a):
    import torch

    inject, r, alpha = namespace["inject_lora"], a["r"].item(), a["alpha"].item()
    model, x = _chain(a), tensor(a["x"])
    old = {id(p) for p in model.parameters()}
    weights = [model.get_submodule(name).weight for name in NAMES]
    with torch.no_grad():
        before = model(x)
    result = inject(model, list(RULE), r, alpha)
    if result is None:
        array(None, "what inject_lora returns")
    if not isinstance(result, torch.nn.Module):
        raise Refused("type", f"inject_lora returns {kind(result)}.", "the model.")
    parts = [model.get_submodule(name) for name in NAMES]
    made = {"same_model": float(result is model)}
    made["wrapped"] = np.array([_has_lora(part) for part in parts])
    made["kept"] = np.array([
        any(p is w for p in part.parameters()) for part, w in zip(parts, weights, strict=True)
    ])  # fmt: skip
    flags = [(id(p) in old, p.requires_grad) for p in model.parameters()]
    made["old_trains"] = sum(trains for is_old, trains in flags if is_old)
    made["new_frozen"] = sum(not trains for is_old, trains in flags if not is_old)
    made["new"] = sum(not is_old for is_old, _ in flags)
    with torch.no_grad():
        made["change"] = array((model(x) - before).abs().max())
    for n, part in enumerate(parts):
        if not _has_lora(part):
            continue
        for key in "AB":
            place = _factor(part, f"lora_{key}")
            made[f"rank_{key}{n}"] = np.array(place.shape)
            if tuple(place.shape) == a[f"{key}{n}"].shape:
                with torch.no_grad():
                    place.copy_(tensor(a[f"{key}{n}"]))
    with torch.no_grad():
        made["y"] = array(model(x), "the output")
    for key, rule in (("one", ["q_proj", "k_porj"]), ("all", ["zzz"])):
        made |= _failing(inject, _chain(a), rule, r, alpha, key)
    return made


def _failing(inject, model, rule, r, alpha, key):
    """What happens with a rule that must fail: 0 no error, 1 ValueError, 2 another error."""
    before = [(id(part), part.training) for part in model.modules()]
    error = 1
    try:
        inject(model, rule, r, alpha)
        error = 0
    except ValueError:
        pass
    except Exception:
        error = 2
    after = [(id(part), part.training) for part in model.modules()]
    untouched = before == after and all(p.requires_grad for p in model.parameters())
    return {f"error_{key}": error, f"untouched_{key}": float(untouched)}


def _run_chain(i, hits, scale):
    x = i["x"].astype(np.float64)
    for n in range(len(NAMES)):
        W = i[f"W{n}"] + (scale * i[f"B{n}"] @ i[f"A{n}"] if n in hits else 0)
        x = np.tanh(x @ W.T + i.get(f"b{n}", 0))
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def judge_inject(inputs, outputs):
    i, o, r, alpha = inputs, outputs, int(inputs["r"]), float(inputs["alpha"])
    if not o["same_model"]:
        return Verdict(0.0, "copy")
    wrapped = frozenset(np.flatnonzero(o["wrapped"]).tolist())
    if wrapped != HITS:
        extra = [NAMES[n] for n in sorted(wrapped - HITS)]
        lacking = [NAMES[n] for n in sorted(HITS - wrapped)]
        seen = f"for {RULE}: " + "; ".join(
            text for text, names in (("wrapped too: " + ", ".join(extra), extra),
                                     ("not wrapped: " + ", ".join(lacking), lacking)) if names
        )  # fmt: skip
        return Verdict(0.0, WRONG_HITS.get(wrapped, "wrong_layers"), seen)
    if not o["kept"].all():
        return Verdict(0.0, "new_weights", f"{NAMES[int(np.argmin(o['kept']))]} has a new weight")
    shapes = [tuple(o[f"rank_{k}{n}"]) == i[f"{k}{n}"].shape for n in HITS for k in "AB"]
    if not all(shapes):
        seen = f"lora_A of q_proj is {' x '.join(map(str, o['rank_A0']))}"
        return Verdict(0.0, "args", seen, " x ".join(map(str, i["A0"].shape)))
    if o["old_trains"]:
        return Verdict(0.0, "not_frozen", f"{int(o['old_trains'])} tensors of the model train", "0")
    if o["new_frozen"]:
        seen = f"{int(o['new_frozen'])} of the {int(o['new'])} new tensors are frozen"
        return Verdict(0.0, "lora_frozen", seen, "none")
    if o["change"] > 1e-6:
        return Verdict(0.0, "changed", f"the output changed by {float(o['change']):.2g}", "0")
    if not close(o["y"], _run_chain(i, HITS, alpha / r), rtol=1e-3, atol=1e-3):
        known = close(o["y"], _run_chain(i, HITS, 16 / r), rtol=1e-3, atol=1e-3)
        return Verdict(0.0, "args" if known else "other", "the scale of the update is another one")
    if not o["error_all"]:
        return Verdict(0.0, "silent", "['zzz'] raised nothing", "a ValueError")
    if not o["error_one"]:
        return Verdict(0.0, "one_entry", "['q_proj', 'k_porj'] raised nothing", "a ValueError")
    if max(o["error_all"], o["error_one"]) > 1:
        return Verdict(0.0, "error_kind", "another kind of error", "a ValueError")
    if not (o["untouched_all"] and o["untouched_one"]):
        return Verdict(0.0, "half_done", "after the ValueError the model was changed", "as it was")
    return Verdict(1.0)


inject_lora = Check(
    name="inject_lora",
    title="Injection by a list of endings",
    wants=("inject_lora",),
    difficulty=3,
    minutes=15,
    points=25,
    verified="which layers are wrapped, who trains, the output before and after, and that a rule "
    "without a hit raises and changes nothing",
    hints=(
        "Three separate passes: collect the names, replace the layers, set `requires_grad`. Raise "
        "in the first one, while nothing has changed.",
        "`model.named_modules()` gives full names at every depth. Put a dot in front of both the "
        "name and the entry, and one `endswith` covers the top level as well. "
        "`model.set_submodule(name, layer)` replaces.",
        "`found = [n for n in names if f'.{n}'.endswith(f'.{entry}')]`, a `ValueError` if it is "
        "empty, then `model.set_submodule(n, LoRALinear(model.get_submodule(n), r, lora_alpha))`, "
        "and last `requires_grad` by the last part of each parameter's name.",
    ),
    mistakes={
        "copy": "The model that comes back is another object. Change the model that was given and "
        "return it.",
        "nothing": "No layer of the model was replaced. Giving the wrapper to a loop variable does "
        "not reach the model: set it on the parent, or use `model.set_submodule(name, layer)`.",
        "no_dot": "`endswith` on the bare letters also hits `freq_proj`. An ending means whole "
        "parts of the name: compare with a dot in front.",
        "substring": "`in` finds the entry anywhere in the name. Only the end of the name counts, "
        "in whole parts.",
        "top_level": "A layer directly in the model has no dot before its name. The name may also "
        "be equal to the entry.",
        "last_part": "An entry may have several parts, like `mlp.up_proj`. Comparing the last part "
        "of the name alone cannot hit it.",
        "shallow": "Only the layers directly in the model were found. `named_modules()` goes to "
        "every depth, `named_children()` does not.",
        "everything": "Layers were wrapped that the list does not name.",
        "wrong_layers": "Print the names that your rule hits, before you replace anything.",
        "new_weights": "The wrapper must hold the layer that was there, not a new one.",
        "args": "The wrapper did not get the values it was given: `LoRALinear(layer, r, "
        "lora_alpha)`, in that order.",
        "not_frozen": "Parts of the model still train. Go through all of `model.parameters()`, "
        "also those of layers that were not wrapped, and of norms.",
        "lora_frozen": "A freeze after the injection froze the factors as well, and nothing would "
        "learn. Freeze first, or by name.",
        "changed": "After the injection the model must give what it gave before.",
        "silent": "A rule that hits nothing must raise a ValueError. In silence, somebody trains "
        "a model in which nothing learns.",
        "one_entry": "One entry hit, the other one did not, and nothing was raised. Check each "
        "entry for itself: a misspelled name must not pass.",
        "error_kind": "Raise a `ValueError`: that is what the caller will catch.",
        "half_done": "Look at all entries first, and replace and freeze only when every one has "
        "hit something.",
        "raised:TypeError": "LoRALinear takes an nn.Linear only. Which modules does your loop "
        "give it?",
        "raised:RuntimeError": "A dictionary or list cannot change while a loop walks through it. "
        "Collect the names in a list first.",
        "raised:ValueError": f"The list was {RULE}, and both entries hit layers of this model. "
        "`mlp.up_proj` is the end of a name with several parts.",
        "other": "Compare your model with one that you wrap by hand, layer by layer.",
    },
    make=make_inject,
    probe=probe_inject,
    judge=judge_inject,
)


# 4.2 Only the factors train
FACTORS = "AB"
GROUPS = ("A", "B", "base", "rest", "flora", "flora_base")  # the last two: lora_ by chance


def make_marked(seed):
    rng = np.random.default_rng(seed + 100)
    return {"d": rng.integers(3, 7), "blocks": rng.integers(2, 5), "first": rng.integers(0, 2)}


def _given(a):
    """The flags before the learner's call, {group: bools}; on and off in every group."""
    n = int(a["blocks"])
    sizes = {"A": n + 1, "B": n + 1, "base": 2 * n, "rest": 2 * n, "flora": 2 * n, "flora_base": 2}
    first = int(a["first"])
    return {g: (np.arange(k) + first + (g == "B")) % 2 == 0 for g, k in sizes.items()}


def _group_of(name):
    last = name.split(".")[-1]
    if last in ("lora_A", "lora_B"):
        return last[-1]
    if "base_layer" in name:
        return "flora_base" if "flora" in name else "base"
    return "flora" if "flora" in name else "rest"


def probe_marked(namespace, a):
    from torch import nn

    from lora_course.lora import LoRALinear

    d, model = a["d"].item(), nn.Module()
    for n in range(a["blocks"].item()):
        _put(model, f"blocks.{n}.q_proj", LoRALinear(nn.Linear(d, d), r=2))
        _put(model, f"blocks.{n}.flora_gate", nn.Linear(d, d))
        _put(model, f"blocks.{n}.norm", nn.LayerNorm(d))
    _put(model, "flora_gate", LoRALinear(nn.Linear(d, d), r=2))
    groups = {group: [] for group in GROUPS}
    for name, p in model.named_parameters():
        groups[_group_of(name)].append(p)
    for group, flags in _given(a).items():
        for p, flag in zip(groups[group], flags, strict=True):
            p.requires_grad = bool(flag)
    namespace["mark_only_lora_as_trainable"](model)
    made = {group: np.array([p.requires_grad for p in held]) for group, held in groups.items()}
    return {**made, "count": sum(1 for _ in model.parameters())}


def judge_marked(inputs, outputs):
    given = _given(inputs)
    if int(outputs["count"]) != sum(map(len, given.values())):
        return Verdict(0.0, "other", "the model has other parameters than before")
    if any(outputs[group].shape != flags.shape for group, flags in given.items()):
        return Verdict(0.0, "other")
    seen = {group: outputs[group].astype(bool) for group in GROUPS}

    def flags(*on, keep=()):
        return {g: given[g] if g in keep else np.full(given[g].shape, g in on) for g in GROUPS}

    others = GROUPS[2:]
    known = {
        "": flags(*FACTORS),
        "nothing_changed": given,
        "all_frozen": flags(),
        "all_train": flags(*GROUPS),
        "inverse": flags(*others),
        "base_layer": flags(*FACTORS, "base", "flora_base"),
        "looks_like": flags(*FACTORS, "flora", "flora_base"),
        "not_turned_on": flags(keep=FACTORS),
        "not_turned_off": flags(*FACTORS, keep=others),
        "one_factor": flags("B" if seen["B"].any() else "A"),
    }
    same = (k for k, v in known.items() if all(np.array_equal(seen[g], v[g]) for g in GROUPS))
    key = next(same, "other")
    if not key:
        return Verdict(1.0)
    train = {group: int(value.sum()) for group, value in seen.items()}
    right, factors = len(given["A"]) * 2, train["A"] + train["B"]
    text = f"{factors} of {right} factors train, and {sum(train.values()) - factors} other tensors"
    return Verdict(0.0, key, text, f"{right} and 0")


mark_only_lora_as_trainable = Check(
    name="mark_only_lora_as_trainable",
    title="Only the factors train",
    wants=("mark_only_lora_as_trainable",),
    difficulty=1,
    minutes=6,
    points=15,
    verified="the factors train and nothing else does, whatever the flags were before",
    hints=(
        "Both directions: some factors are frozen, and some other parameters train.",
        "`model.named_parameters()` gives the full name, such as "
        "`blocks.0.q_proj.lora_A`. Which part of it decides?",
        "`parameter.requires_grad = name.split('.')[-1] in ('lora_A', 'lora_B')`, for every "
        "parameter.",
    ),
    mistakes={
        "nothing_changed": "Every flag is as before. The attribute is `requires_grad`, and it is "
        "set on the parameter: `parameter.requires_grad = ...`.",
        "all_frozen": "Nothing trains, not even the factors. The loss of such a model cannot be "
        "differentiated.",
        "all_train": "Everything trains: that is full fine-tuning with LoRA on top.",
        "inverse": "The other way round: the factors are frozen and the rest trains.",
        "base_layer": "The original layer inside the wrapper trains too. Ask for the name of the "
        "parameter, not for the layer around it.",
        "looks_like": "`lora_` also stands in `flora_gate`. Look at whole parts of the name.",
        "not_turned_on": "Factors that were frozen stay frozen. Set the flag of every parameter, "
        "True or False.",
        "not_turned_off": "Other parameters that were trained still train. Set the flag of every "
        "parameter, True or False.",
        "one_factor": "Only one of the two factors trains. Both lora_A and lora_B must.",
        "other": "Print the name and the flag of every parameter after your call.",
    },
    make=make_marked,
    probe=probe_marked,
    judge=judge_marked,
)


# 4.3 A report before you train
REPORTED = ("a.up", "a.down", "b.c_attn", "shared")  # and "again", the same layer as "shared"


def make_report(seed):
    rng = np.random.default_rng(seed + 200)
    d, up, c, v = rng.permutation(np.arange(20, 70))[:4]
    shapes = [(d, up), (up, d), (d, c), (d, d)]  # (in, out) of the layers of REPORTED
    return {"shapes": np.array(shapes), "vocab": np.array(v + 100), "r": rng.integers(3, 9)}


def probe_report(namespace, a):
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    d, model = int(a["shapes"][0, 0]), nn.Module()
    for name, (d_in, d_out) in zip(REPORTED, a["shapes"].tolist(), strict=True):
        _put(model, name, Conv1D(d_out, d_in) if "c_attn" in name else nn.Linear(d_in, d_out))
    model.again = model.shared
    model.table = nn.Embedding(a["vocab"].item(), d)
    model.head = nn.Linear(d, a["vocab"].item(), bias=False)
    model.head.weight = model.table.weight
    model.a.requires_grad_(False)
    before = [(id(p), p.requires_grad) for p in model.parameters()]
    result = namespace["lora_report"](model, [*REPORTED, "again"], a["r"].item())
    if isinstance(result, torch.Tensor) or result is None:
        result = array(result, "what lora_report returns").tolist()
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Refused("type", f"lora_report returns {kind(result)}.", "two numbers.")
    made = {k: array(v, k) for k, v in zip(("trainable", "total"), result, strict=True)}
    unchanged = before == [(id(p), p.requires_grad) for p in model.parameters()]
    return {**made, "unchanged": float(unchanged)}


def judge_report(inputs, outputs):
    shapes, r, vocab = inputs["shapes"].astype(int), int(inputs["r"]), int(inputs["vocab"])
    if outputs["trainable"].size != 1 or outputs["total"].size != 1:
        return Verdict(0.0, "other", "more than two numbers", "two numbers")
    trainable, total = float(outputs["trainable"].item()), float(outputs["total"].item())
    d_in, d_out = shapes.T
    base = int((d_in * d_out + d_out).sum()) + vocab * int(d_in[0])
    right = int(r * (d_in + d_out).sum())
    tied, shared = vocab * int(d_in[0]), int(d_in[3] * d_out[3] + d_out[3])
    twice = int(r * (d_in[3] + d_out[3]))
    known = {
        "shared_twice": right + twice,
        "full_size": int((d_in * d_out).sum()),
        "no_r": int((d_in + d_out).sum()),
        "with_bias": right + int(d_out.sum()),
        "only_in": int(2 * r * d_in.sum()),
        "only_out": int(2 * r * d_out.sum()),
        "one_factor": int(r * d_in.sum()),
        "exchanged": base + right,
    }
    variants = {"full_size": shared - int(d_out[3]), "no_r": twice // r, "with_bias": twice}
    variants["with_bias"] += int(d_out[3])
    variants |= {"only_in": int(2 * r * d_in[3]), "only_out": int(2 * r * d_out[3])}
    variants["one_factor"] = int(r * d_in[3])
    if trainable != right:
        seen, wanted = f"{trainable:,.0f} trainable numbers", f"{right:,}"
        for key, value in known.items():
            if trainable in (value, value + variants.get(key, 0)):
                key = "only_in" if key == "only_out" else key
                return Verdict(0.0, key, seen, wanted)
        return Verdict(0.0, "other", seen, wanted)
    seen, wanted = f"{total:,.0f} numbers in total", f"{base + right:,}"
    if total != base + right:
        totals = {
            "tied_twice": [base + tied, base + tied + shared],
            "base_only": [0, tied, tied + shared],
        }
        if total - right in totals["tied_twice"]:
            return Verdict(0.4, "tied_twice", seen, wanted)
        if total - base in totals["base_only"]:
            return Verdict(0.4, "base_only", seen, wanted)
        return Verdict(0.4, "total_wrong", seen, wanted)
    if not outputs["unchanged"]:
        return Verdict(0.4, "changed", "the model is another one after the report")
    return Verdict(1.0)


lora_report = Check(
    name="lora_report",
    title="A report before you train",
    wants=("lora_report",),
    difficulty=2,
    minutes=8,
    points=20,
    verified="both counts, with a Conv1D, tied weights and a layer in two places",
    hints=(
        "A is (r, in) and B is (out, r). How many numbers are that together?",
        "`nn.Linear` has in_features, `Conv1D` has not; both have `weight.shape`. A set of the "
        "layers keeps each one once, and `model.parameters()` gives each tensor once.",
        "`layers = {model.get_submodule(name) for name in names}`, then `r * "
        "sum(layer.weight.shape)` for each, and `p.numel()` over `model.parameters()`.",
    ),
    mistakes={
        "shared_twice": "Two of the names lead to the same layer, which gets one adapter. Count "
        "layers, not names.",
        "full_size": "That is in · out, the size of the weight itself. LoRA adds r · (in + out).",
        "no_r": "The rank is missing: r · (in + out).",
        "with_bias": "LoRA adds no bias: r · (in + out) is all.",
        "only_in": "A reads `in` numbers and B writes `out`: r · (in + out), not twice the same.",
        "one_factor": "That is A alone. B adds r · out.",
        "exchanged": "The first number is what trains, the second one the total.",
        "tied_twice": "A tensor in two places was counted twice. `model.parameters()` gives each "
        "one once; a state dict, or a sum over the modules, does not.",
        "base_only": "The total is that of the model without the adapters. Add them.",
        "total_wrong": "The total has every parameter of the model, frozen or not, plus those of "
        "the adapters.",
        "changed": "The report must leave the model as it is: count from the shapes.",
        "raised:AttributeError": "A `Conv1D` has no in_features. `layer.weight.shape` exists for "
        "both kinds, and for the sum the order does not matter.",
        "raised:TypeError": "LoRALinear does not wrap a `Conv1D`, and no wrapper is needed: the "
        "shapes say it all.",
        "other": "Start with one layer of in × out: how many numbers do A and B have?",
    },
    make=make_report,
    probe=probe_report,
    judge=judge_report,
)


# 4.4 What the rule missed
def make_missed(seed):
    rng = np.random.default_rng(seed + 300)
    return {"blocks": rng.integers(11, 14), "d": rng.integers(3, 6), "hole": rng.integers(2, 9)}


def _model_with_holes(a):
    """LoRA on every q_proj of the blocks 0 to 9 but one, on every down_proj, on nothing else."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from lora_course.lora import LoRALinear

    d, model, groups = a["d"].item(), nn.Module(), {}
    for n in range(a["blocks"].item()):
        path = f"model.layers.{n}"
        has = n < 10 and n != a["hole"].item()
        wrap = LoRALinear if has else lambda layer: layer
        _put(model, f"{path}.attn.q_proj", wrap(nn.Linear(d, d)))
        _put(model, f"{path}.mlp.down_proj", LoRALinear(nn.Linear(d, d)))
        _put(model, f"{path}.norm", nn.LayerNorm(d))
    _put(model, "model.gate.c_fc", Conv1D(d, d))
    _put(model, "model.table", nn.Embedding(9, d))
    _put(model, "output.head", nn.Linear(d, 9))
    for name, part in model.named_modules():
        groups[name] = _group(name, part)
    return model, groups


def _group(name, part):
    """0 missed, 1 missed Conv1D, 2 wrapper, 3 base layer, 4 head, 5 not linear."""
    from torch import nn

    if name == "output.head":
        return 4
    if name.endswith("base_layer"):
        return 3
    if hasattr(part, "lora_A"):
        return 2
    if type(part).__name__ == "Conv1D":
        return 1
    return 0 if isinstance(part, nn.Linear) else 5


def probe_missed(namespace, a):
    model, groups = _model_with_holes(a)
    result = namespace["missed_layers"](model, "output.head")
    if result is None:
        array(None, "what missed_layers returns")
    if isinstance(result, str) or not hasattr(result, "__iter__"):
        raise Refused("type", f"missed_layers returns {kind(result)}.", "a list of names.")
    named = list(result)
    if any(not isinstance(name, str) for name in named):
        wrong = next(name for name in named if not isinstance(name, str))
        raise Refused("type", f"the list holds {kind(wrong)}.", "names.")
    counts = [sum(groups.get(name) == n for name in set(named)) for n in range(6)]
    wanted = [sum(group == n for group in groups.values()) for n in range(6)]
    last = {name.split(".")[-1] for name in groups}
    unknown = {name for name in named if name not in groups}
    return {
        "counts": np.array(counts),
        "sizes": np.array(wanted),
        "unknown": len(unknown),
        "short": sum(name in last for name in unknown),
    }


def judge_missed(inputs, outputs):
    c, sizes = outputs["counts"], outputs["sizes"]
    missed = int(inputs["blocks"]) - 9  # of q_proj; and one Conv1D
    if int(sizes[0]) != missed or int(sizes[1]) != 1:
        return Verdict(0.0, "other", "the model was changed", "as it was")
    seen, wanted = f"{int(c.sum() + outputs['unknown'])} names", f"{missed + 1}"
    if outputs["unknown"]:
        key = "short" if outputs["short"] == outputs["unknown"] else "unknown"
        return Verdict(0.0, key, f"{int(outputs['unknown'])} names that no layer has", "none")
    if not c.sum():
        return Verdict(0.0, "empty", seen, wanted)
    if c[2]:
        return Verdict(0.0, "found", f"{int(c[2])} of the names have LoRA", "none")
    if c[3]:
        return Verdict(0.0, "base_layers", f"{int(c[3])} of the names end in base_layer", "none")
    if c[5]:
        return Verdict(0.0, "not_linear", f"{int(c[5])} names of modules that are not linear", "0")
    if c[4]:
        return Verdict(0.3, "head", "the output head is in the list", "it is not")
    if c[0] == missed and not c[1]:
        return Verdict(0.5, "conv_missed", seen, wanted)
    if c[0] < missed:
        return Verdict(0.0, "incomplete", seen, wanted)
    return Verdict(1.0)


missed_layers = Check(
    name="missed_layers",
    title="What the rule missed",
    wants=("missed_layers",),
    difficulty=3,
    minutes=10,
    points=20,
    verified="every layer that was left out, of both kinds, and no other",
    hints=(
        "Print the names and types of all modules of a model with LoRA. Which linear layers do "
        "you see, and which of them are the inside of a wrapper?",
        "A wrapped layer shows up twice in `named_modules()`: as the wrapper, which is no "
        "nn.Linear, and as its `base_layer`, which is one.",
        "Collect `name` when `isinstance(part, (nn.Linear, Conv1D))` and the name neither ends in "
        "`.base_layer` nor equals `head`.",
    ),
    mistakes={
        "found": "These are layers that do have LoRA. The question is which ones do not.",
        "base_layers": "A `base_layer` is the inside of a wrapper, so it has LoRA. Leave it out.",
        "head": "All but the head: it was not meant to have LoRA, so it was not missed.",
        "not_linear": "Norms, tables and containers are no linear layers. Ask for the type.",
        "conv_missed": "One missed layer is a `Conv1D`, the linear layer of GPT-2. It is no "
        "nn.Linear: ask for both types.",
        "short": "The last part of a name does not say which layer it is. Return full names.",
        "unknown": "Return the names as `named_modules()` gives them.",
        "empty": "Layers were missed: a regular expression with one digit stops at block 9.",
        "incomplete": "Some are missing. They are in the blocks from 10 on, and there is one "
        "earlier block that was left out.",
        "other": "Compare with a list that you make by hand from `print(model)`.",
    },
    make=make_missed,
    probe=probe_missed,
    judge=judge_missed,
)


# 4.5 The optimizer's list
def make_prepare(seed):
    rng = np.random.default_rng(seed + 400)
    lr = rng.choice([0.002, 0.0005, 0.03])
    return {"d": rng.integers(4, 8), "r": rng.integers(2, 4), "lr": np.array(lr)}


def probe_prepare(namespace, a):
    import torch
    from torch import nn

    from lora_course.inject import inject_lora as course_inject

    d, model = a["d"].item(), nn.Module()
    for n in range(2):
        _put(model, f"blocks.{n}.q_proj", nn.Linear(d, d))
        _put(model, f"blocks.{n}.up_proj", nn.Linear(d, d))
        _put(model, f"blocks.{n}.norm", nn.LayerNorm(d))
    _put(model, "new.score", nn.Linear(d, 3))

    def inject(model):
        return course_inject(model, ["q_proj", "up_proj"], r=a["r"].item())

    optimizer = namespace["prepare"](model, inject, "new.score", a["lr"].item())
    if optimizer is None:
        array(None, "what prepare returns")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise Refused("type", f"prepare returns {kind(optimizer)}.", "an optimizer.")
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    rows = []
    for name, p in model.named_parameters():
        part = 0 if ".lora_" in name else 1 if name.startswith("new.score.") else 2
        rows.append([part, p.requires_grad, held.count(id(p))])
    ids = {id(p) for p in model.parameters()}
    return {
        "rows": np.array(rows, dtype=int),
        "strangers": sum(h not in ids for h in held),
        "lr": np.array([group["lr"] for group in optimizer.param_groups], dtype=float),
    }


def judge_prepare(inputs, outputs):
    part, trains, held = outputs["rows"].T
    lora, head, rest = (part == n for n in range(3))
    count = f"{int(held[lora].astype(bool).sum())} of {int(lora.sum())} factors are in the list"
    heads = "the new head is frozen" if not trains[head].all() else "the new head trains"
    tests = (
        (not lora.any(), "not_injected", "no LoRA in the model"),
        (not trains[lora].any(), "lora_frozen", "the factors are frozen"),
        (trains[rest].any(), "all_train", f"{int(trains[rest].sum())} other tensors train"),
        (not held[lora].all(), "too_early", count),
        (not trains[head].all() and not held[head].all(), "head_frozen", heads),
        (not trains[head].all(), "head_held_frozen", heads + ", and the list holds it"),
        (not held[head].all(), "head_not_held", heads + ", and the list lacks it"),
        (held.max() > 1, "twice", f"a tensor is {int(held.max())} times in the list"),
        (held[rest].any(), "frozen_too", f"{int(held[rest].sum())} frozen tensors in the list"),
        (outputs["strangers"] > 0, "other", "tensors that are not in the model"),
        (not np.allclose(outputs["lr"], inputs["lr"]), "wrong_lr",
         f"learning rate {outputs['lr'].max():g}"),
    )  # fmt: skip
    for wrong, key, seen in tests:
        if wrong:
            wanted = f"{float(inputs['lr']):g}" if key == "wrong_lr" else ""
            return Verdict(0.5 if key in ("frozen_too", "wrong_lr") else 0.0, key, seen, wanted)
    return Verdict(1.0)


prepare = Check(
    name="prepare",
    title="The optimizer's list",
    wants=("prepare",),
    difficulty=3,
    minutes=10,
    points=20,
    verified="who trains, what the optimizer holds, each tensor once, the learning rate",
    hints=(
        "Four steps in an order that matters. Which one creates the factors, and which one needs "
        "them?",
        "`inject` freezes the new head together with everything else, so the head is switched on "
        "after it. The optimizer keeps the tensors that it is given: build it last.",
        "`inject(model)`, then `model.get_submodule(head).requires_grad_(True)`, then AdamW over "
        "`[p for p in model.parameters() if p.requires_grad]`.",
    ),
    mistakes={
        "not_injected": "The model has no LoRA. Call `inject(model)`.",
        "lora_frozen": "The factors are frozen: something froze the model after the injection.",
        "all_train": "Parts of the old model train as well. Only the factors and the new head "
        "should: switch on the head alone, after `inject`.",
        "too_early": "The factors are not in the optimizer, so the loss would stay the same to "
        "the last digit. Build the optimizer after the injection.",
        "head_frozen": "The new head has random weights and would keep them: `inject` froze it. "
        "Switch it on again after the injection.",
        "head_held_frozen": "The optimizer holds the new head, but it gets no gradient. Set "
        "`requires_grad` for it, after the injection.",
        "head_not_held": "The new head trains, but is not in the list, so no step moves it. Switch "
        "it on before you build the list.",
        "twice": "Going through the modules meets a tensor at each level above it, and every step "
        "would move it more than once. `model.parameters()` gives each one once.",
        "frozen_too": "The list holds frozen tensors. AdamW skips them while they have no "
        "gradient, but the list should say what trains: filter by `requires_grad`.",
        "wrong_lr": "The learning rate is the one that was given, for the whole list.",
        "other": "Print, for every parameter, its name, its flag, and whether the list holds it.",
    },
    make=make_prepare,
    probe=probe_prepare,
    judge=judge_prepare,
)

EXERCISES = (inject_lora, mark_only_lora_as_trainable, lora_report, missed_layers, prepare)
