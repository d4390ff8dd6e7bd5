"""Checks of chapter 04: injection, freezing, a report, what a rule missed, the optimizer's list."""

from itertools import combinations

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.guard import described
from lora_course.checks.mould import Mould
from lora_course.checks.slips import Promise, Slip, all_of, judged, none_of, seen_as
from lora_course.checks.values import Refused, array, every, kind, none, text, words

# 4.1 Injection by a list of endings
LAYERS = {  # name: has it a bias; every layer feeds the next one
    "q_proj": False,  # at the top: no dot before the ending
    "blocks.0.attn.q_proj": True,
    "blocks.0.attn.freq_proj": False,  # ends in the letters q_proj
    "blocks.0.mlp.up_proj": True,
    "blocks.1.attn.q_proj_out": False,  # has q_proj inside
    "blocks.1.attn.q_proj": False,
    "blocks.1.mlp.up_proj": False,
    "blocks.1.mlp_up_proj": False,  # what a regular expression takes for mlp.up_proj
    "head": True,
    "blocks.0.up_proj": False,  # ends in up_proj, not in mlp.up_proj
}
NAMES = tuple(LAYERS)
HITS = (0, 1, 3, 5, 6)  # of the first rule
UP = (3, 6, 9)  # of the second
RULES = {  # key: list, the layers that it hits
    "both": (["q_proj", "mlp.up_proj"], HITS),
    "last": (["up_proj"], UP),
    "top": (["head", "up_proj"], (*UP, 8)),  # no Conv1D is called so
    "single": (["q_proj"], (0, 1, 5)),
    "overlap": (["q_proj", "attn.q_proj"], (0, 1, 5)),
}
MISSES = {  # key: list, the entry that hits no linear layer
    "none": (["zzz"], "zzz"),
    "typo": (["q_proj", "k_porj", "up_proj"], "k_porj"),
    "module": (["attn"], "attn"),
}
UNTOUCHED = 11  # old tensors that train when only LoRALinear has frozen anything
FAILED = np.full(len(NAMES), -1)  # in the place of the counts when an exception came


def wrapped(*hits):
    """How many wrappers each layer has when these have one."""
    return np.isin(np.arange(len(NAMES)), hits).astype(int)


def make_inject(seed):
    rng = np.random.default_rng(seed)
    f, r = fixtures.normal(rng), int(rng.choice([2, 3, 4]))
    a, b, c = rng.permutation([5, 6, 8])
    widths = (a, b, c, a, a, b, a, c, a, b, c)
    made = {"r": r, "alpha": rng.choice([7, 9, 11]), "x": f(3, a), "training": rng.integers(2)}
    for n, bias in enumerate(LAYERS.values()):
        d_in, d_out = widths[n], widths[n + 1]
        made |= {f"W{n}": f(d_out, d_in) / 2, f"A{n}": f(r, d_in) / 2, f"B{n}": f(d_out, r) / 2}
        made |= {f"b{n}": f(d_out)} if bias else {}
    return made


def chain(a, order=list):
    """Ten linear layers in a row under the names of LAYERS, a norm, two parts that nobody uses.

    order: of the names, in which the model holds its parts.
    """
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    class Chain(nn.Module):
        def forward(self, x):
            for name in NAMES:
                x = torch.tanh(self.get_submodule(name)(x))
            return self.norm(x)

    parts = {n: fixtures.linear(a[f"W{k}"], a.get(f"b{k}")) for k, n in enumerate(NAMES)}
    parts["blocks.1.cross.q_proj"] = Conv1D(4, 3)  # ends in q_proj, and is no nn.Linear
    parts = {"norm": nn.LayerNorm(len(a[f"W{len(NAMES) - 1}"])), **parts}
    parts = {"a_flora_norm": nn.LayerNorm(3), **parts}  # lora_ inside; stands first in any order
    model = Chain().train(bool(a["training"]))
    for name in order(list(parts)):
        fixtures.put(model, name, parts[name].train(model.training))
    parts["blocks.1.cross.q_proj"].bias.requires_grad_(False)
    parts["norm"].train(not a["training"])
    return model


def has_lora(part):
    return hasattr(part, "lora_A") and hasattr(part, "lora_B")


def probe_inject(namespace, a):
    made, usual, by_name = {}, Mould(chain(a)), Mould(chain(a, sorted))
    for key, (rule, _) in RULES.items():
        model = (by_name if key == "overlap" else usual).cast()
        made |= inject_once(namespace["inject_lora"], model, a, key, rule)
    for key, (rule, entry) in MISSES.items():
        model = usual.cast()
        call = lambda m=model, rule=rule: namespace["inject_lora"](m, list(rule), 2, 4)  # noqa: E731
        made |= callers.failing(key, call, ValueError, names=entry, keep=(model,))
    rule, entry = MISSES["typo"]  # the whole list does not say which entry it was
    alone = entry in words(made["typo_said"]).replace(str(rule), "")
    return made | {"typo_names": made["typo_names"] and float(alone)}


def inject_once(inject, model, a, key, rule):
    """What the learner's function makes of one rule that is in order."""
    import torch

    x, given = tensor(a["x"]), list(rule)
    before, old = callers.Before(given), list(model.parameters())
    modes = [(part, part.training) for part in model.modules()]
    weights, y = [model.get_submodule(name).weight for name in NAMES], model(x).detach()
    try:
        result = inject(model, given, a["r"].item(), a["alpha"].item())
    except NotImplementedError:
        raise
    except Exception as error:
        return {f"wrapped_{key}": FAILED, f"said_{key}": text(described(error)[1])}
    fixtures.expect(result, torch.nn.Module, "inject_lora", "the model")
    parts = [model.get_submodule(name) for name in NAMES]
    counts = np.array([sum(map(has_lora, part.modules())) for part in parts])
    made = {
        f"wrapped_{key}": counts,
        "same": result is model,
        "strays": sum(map(has_lora, model.modules())) - counts.sum(),
    }
    if key != "both" or not np.array_equal(counts, wrapped(*HITS)):
        return made if key == "both" else {f"wrapped_{key}": counts}
    fresh = [p for p in model.parameters() if not any(p is q for q in old)]
    kept = [any(p is w for p in part.parameters()) for part, w in zip(parts, weights, strict=True)]
    made |= {
        "kept": np.array(kept),
        "old": np.array([p.requires_grad for p in old]),
        "new": np.array([p.requires_grad for p in fresh]),
        "list": before.change(),
        "mode": 4 * any(part.training != was for part, was in modes),
        "gap": (model(x) - y).abs().max().item(),
    }
    filled = [(n, part) for n, part in enumerate(parts) if has_lora(part)]
    factors = [[fixtures.factor(m, f"lora_{key}").shape for key in "AB"] for _, m in filled]
    made["shapes"] = np.array(factors, dtype=int)
    starts = [[bool(fixtures.factor(m, f"lora_{k}").any()) for k in "AB"] for _, m in filled]
    made["starts"] = np.array(starts)
    for n, part in filled:
        fixtures.fill(part, a[f"A{n}"], a[f"B{n}"])
    return {**made, "y": array(model(x), "the output")}


def run_chain(i, scale):
    """The output when the layers of the first rule have factors with this scale."""
    x = i["x"].astype(np.float64)
    for n in range(len(NAMES)):
        W = i[f"W{n}"] + (scale * i[f"B{n}"] @ i[f"A{n}"] if n in HITS else 0)
        x = np.tanh(x @ W.T + i.get(f"b{n}", 0))
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def shapes_of(i, r):
    return np.array([[(r, i[f"A{n}"].shape[1]), (len(i[f"B{n}"]), r)] for n in HITS])


def wrapped_promise(o, key):
    """That the layers which a rule hits have one wrapper each, and no other layer has any."""
    rule, hits = RULES[key]
    right, named = wrapped(*hits), ", ".join(NAMES[n] for n in hits)

    def seen(value):
        if (value == -1).all():
            return f"for {rule} {words(o[f'said_{key}'])}"
        wrong = {
            "not wrapped": value < right,
            "wrapped although not named": (value > right) & (right == 0),
            "wrapped more than once": (value > right) & (right == 1),
        }
        said = [f"{w}: {', '.join(NAMES[n] for n in np.flatnonzero(v))}" for w, v in wrong.items()]
        return f"for {rule} {'; '.join(line for line in said if line[-2:] != ': ')}"

    return Promise(f"wrapped_{key}", right, seen=seen, expected=f"one wrapper each for {named}")


def judge_inject(i, o):
    alpha, r = float(i["alpha"]), int(i["r"])
    promises = [
        wrapped_promise(o, "both"),
        wrapped_promise(o, "last"),
        wrapped_promise(o, "single"),
        wrapped_promise(o, "top"),
        Promise("same", 1, seen="another object comes back", expected="the model that was given"),
        Promise("strays", 0, seen="{} wrappers in new places of the model", expected="none"),
        Promise("kept", lambda v: v.all(), expected="the weight that was there", seen=lambda v:
                f"{NAMES[int(np.argmin(v))]} has another weight tensor"),
        Promise("shapes", shapes_of(i, r), seen=lambda v: f"A and B of {NAMES[0]}: "
                f"{v.reshape(-1, 2)[:2].tolist()}", expected=f"{shapes_of(i, r)[0].tolist()}, for "
                f"r = {r}"),
        none_of("old", "tensors that the model had still train"),
        all_of("new", "new tensors train"),
        Promise("starts", lambda v: v.ndim == 2 and v[:, 0].all() and not v[:, 1].any(),
                seen=lambda v: f"A is {'not zero' if every(v[..., 0]) else 'zero'} after the "
                f"injection, and B is {'zero' if none(v[..., 1]) else 'not zero'}",
                expected="A random, B zero"),
        Promise("gap", 0, seen="the injection alone changes the output by {}", expected="0"),
        Promise("y", run_chain(i, alpha / r), f"with values in A and B, r = {r} and lora_alpha = "
                f"{alpha:g}, the output", rtol=1e-3, atol=1e-3),
    ]  # fmt: skip
    for key, (rule, entry) in MISSES.items():
        promises += callers.raises(o, key, f"{rule}", "ValueError", entry, keep="the model")
    promises += [wrapped_promise(o, "overlap"), callers.unchanged("list", "target_modules"),
                 callers.unchanged("mode", "the model")]  # fmt: skip
    return judged(i, o, promises, INJECT)


INJECT = (
    Slip("copy", "Change the model that was given and return it, instead of a copy.",
         seen_as(wrapped_both=wrapped(), same=0)),
    Slip("nothing", "No layer of the model was replaced. Giving the wrapper to a loop variable or "
         "a dictionary does not reach the model: set it on the parent, or use "
         "`model.set_submodule(name, layer)`.",
         seen_as(wrapped_both=wrapped(), wrapped_last=wrapped(), same=1, strays=0)),
    Slip("no_dot", "`endswith` on the bare letters also hits `freq_proj`. An ending means whole "
         "parts of the name: compare with a dot in front.",
         seen_as(wrapped_both=wrapped(*HITS, 2), wrapped_last=wrapped(*UP, 7))),
    Slip("substring", "`q_proj` must not hit `q_proj_out`. `in` finds the entry anywhere, and "
         "`startswith` at the front. Only the end of the name counts, in whole parts.",
         lambda i: [{"wrapped_both": wrapped(*HITS, 2, 4)},
                    {"wrapped_both": FAILED, "wrapped_single": wrapped(0, 1, 4, 5)}]),
    Slip("regex", "In a regular expression the dot of `mlp.up_proj` stands for any character, also "
         "for the underscore of `mlp_up_proj`. Compare texts, with `endswith`.",
         lambda i: [{"wrapped_both": wrapped(*HITS, 7)}, {"wrapped_both": wrapped(*HITS, 2, 7)}]),
    Slip("top_level", "A layer directly in the model has no dot in its name: it may be equal to "
         "the entry, and its parent is the model itself, whose name is empty.",
         lambda i: [{"wrapped_both": w, "wrapped_last": wrapped(*UP), "wrapped_top": t}
                    for w, t in ((wrapped(1, 3, 5, 6), wrapped(*UP)), (FAILED, FAILED),
                                 (wrapped(1, 3, 5, 6), FAILED))]),
    Slip("last_part", "An entry may have several parts, like `mlp.up_proj`. Comparing the last "
         "part of the name alone cannot hit it.",
         lambda i: [{"wrapped_both": w, "wrapped_last": wrapped(*UP), "module_error": 1,
                     "wrapped_single": wrapped(0, 1, 5), "wrapped_top": wrapped(*UP, 8)}
                    for w in (FAILED, wrapped(0, 1, 5))]),
    Slip("one_entry_used", "One entry of the list was used alone. Go through all of them, and "
         "collect what each one hits.",
         lambda i: [{"wrapped_both": wrapped(0, 1, 5), "wrapped_top": wrapped(8)},
                    {"wrapped_both": wrapped(3, 6), "wrapped_top": wrapped(*UP)}]),
    Slip("any_part", "An entry may have several parts, like `mlp.up_proj`, and it stands at the "
         "end: `attn` is in the middle of a name and names no layer.",
         seen_as(wrapped_both=FAILED, wrapped_last=wrapped(*UP), none_error=1, module_error=0)),
    Slip("parent_ignored", "`mlp.up_proj` must not hit `blocks.0.up_proj`. All parts of an entry "
         "count, not its last one alone.",
         seen_as(wrapped_both=wrapped(*HITS, 9), wrapped_last=wrapped(*UP))),
    Slip("shallow", "Only a layer directly in the model was found, whose whole name is the entry. "
         "`named_modules()` goes to every depth, and an entry is the end of a name.",
         lambda i: [{"wrapped_both": wrapped(0), "wrapped_last": wrapped(), "strays": 0},
                    {"wrapped_both": FAILED, "wrapped_last": FAILED, "module_error": 1,
                     "wrapped_single": wrapped(0), "typo_error": 1, "typo_left": 0}]),
    Slip("one_layer", "One layer was wrapped, the first that was found. Does `return` or `break` "
         "stand inside the loop?",
         seen_as(wrapped_both=wrapped(0), wrapped_last=wrapped(3), strays=0)),
    Slip("wrong_place", "The wrappers stand under new names, where the model does not look. "
         "`setattr` does not follow the dots of a name: set the attribute of the parent, "
         "`model.get_submodule(parent)`, or use `model.set_submodule`.",
         seen_as(wrapped_both=lambda w: 0 <= w.min() and w[1:].max() == 0, strays=lambda n: n > 0)),
    Slip("no_filter", "A name does not say what a part is: one `q_proj` of this model is a "
         "`Conv1D`, and `attn` holds other parts. Take only what is an nn.Linear.",
         lambda i: [{"module_error": 2, "none_error": 1},
                    {"wrapped_both": FAILED, "module_error": 2, "none_error": 1},
                    {"wrapped_both": FAILED, "wrapped_single": FAILED, "none_error": 1,
                     "wrapped_last": wrapped(*UP), "wrapped_top": wrapped(*UP, 8)}]),
    Slip("everything", "Every linear layer was wrapped, whatever the list says.",
         lambda i: [{"wrapped_both": w, "wrapped_last": w}
                    for w in (wrapped(*range(8), 9), wrapped(*range(10)))]),
    Slip("first_hit", "Of each entry only the first hit was wrapped. An entry may hit many layers.",
         seen_as(wrapped_both=wrapped(0, 3), wrapped_last=wrapped(3))),
    Slip("twice", "Two entries may hit one layer, like `q_proj` and `attn.q_proj`. Collect the "
         "names of all entries first, each once, and then wrap.",
         lambda i: [{"wrapped_overlap": w} for w in (FAILED, wrapped(0, 1, 5) + wrapped(1, 5))]),
    Slip("new_weights", "The wrapper must hold the layer that was there, not a new one or a copy.",
         seen_as(kept=1 - wrapped(*HITS))),
    Slip("args", "The wrapper did not get the values it was given: `LoRALinear(layer, r, "
         "lora_alpha)`, in that order.",
         lambda i: [{"shapes": shapes_of(i, int(i["alpha"]))}, {"shapes": shapes_of(i, 8)},
                    *({"y": run_chain(i, c / i["r"])} for c in (16, i["alpha"] / i["r"]))]),
    Slip("restarted", "A LoRALinear starts with A random and B zero: nothing changes at first, and "
         "B gets a gradient through A. Leave its factors as they come.",
         seen_as(starts=lambda v: v.size > 0)),
    Slip("only_wrapped", "Only what LoRALinear itself freezes is frozen. Norms and layers without "
         "a wrapper still train: set `parameter.requires_grad` of every parameter of the model.",
         seen_as(old=lambda v: v.sum() == UNTOUCHED)),
    Slip("not_frozen", "Weights or biases of the model are still on. Go through all parameters, "
         "also of layers that were not wrapped, of norms and inside a wrapper, and leave on the "
         "factors alone.", seen_as(old=lambda v: v[2:].any() and v.sum() != UNTOUCHED)),
    Slip("looks_like", "`lora_` also stands in the name of another part, `a_flora_norm`. Look at "
         "whole parts of the name.", seen_as(old=lambda v: v[:2].any() and not v[2:].any())),
    Slip("lora_frozen", "A freeze after the injection froze the factors as well, and nothing would "
         "learn. Freeze first, or by name.", seen_as(new=lambda v: not v.any())),
    Slip("one_factor", "In each wrapper one factor is frozen. `lora_A` and `lora_B` both train.",
         seen_as(new=lambda v: v.size == 2 * len(HITS) and v.sum() == len(HITS))),
    Slip("other_error", "The task asks for a ValueError: a caller who writes `except ValueError` "
         "does not catch an `assert` or another class.",
         seen_as(wrapped_both=wrapped(*HITS), none_error=2, typo_error=2)),
    Slip("attn_hits", "`attn` is a part of the model, but no linear layer. An entry has hit "
         "something only when the name of a linear layer ends in it.",
         seen_as(wrapped_both=wrapped(*HITS), none_error=1, module_error=0)),
    Slip("silent", "A rule that hits nothing must raise a ValueError. In silence, somebody trains "
         "a model in which nothing learns.", seen_as(none_error=0, typo_error=0)),
    Slip("one_entry", "One entry hit, the other one did not, and nothing was raised. Check each "
         "entry for itself: a misspelled name must not pass.",
         seen_as(none_error=1, typo_error=0)),
    Slip("nameless", "The error must say which entry it was: put the entry into its text.",
         seen_as(none_error=1, none_names=0)),
    Slip("whole_list", "The whole list does not say which of its entries hits nothing. Check each "
         "entry for itself, and put that one into the text.",
         seen_as(none_names=1, typo_error=1, typo_names=0)),
    Slip("half_done", "Look at all entries first, and replace and freeze only when every one has "
         "hit something.", lambda i: [{f"{key}_left": lambda v: v > 0} for key in MISSES]),
    Slip("mode", "`train()` and `eval()` are the caller's choice. Leave them out.",
         seen_as(mode=4)),
    Slip("list", "The list belongs to the caller. Collect the hits in a list of your own.",
         seen_as(list=5)),
)  # fmt: skip

inject_lora = Check(
    name="inject_lora", title="Injection by a list of endings", wants=("inject_lora",),
    difficulty=3, minutes=15, points=25,
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
    slips=INJECT, other="Compare your model with one that you wrap by hand, layer by layer.",
    make=make_inject, probe=probe_inject, judge=judge_inject,
)  # fmt: skip


# 4.2 Only the factors train
GROUPS = ("A", "B", "base", "rest", "flora", "flora_base", "begins", "inside", "letters")
DORAS = ("dora", "blocks.0.dora")  # with a parameter lora_magnitude
OTHERS = GROUPS[2:]


def make_marked(seed):
    rng = np.random.default_rng(seed + 100)
    return {"d": rng.integers(3, 7), "blocks": rng.integers(2, 5), "first": rng.integers(0, 2)}


def flags_before(i):
    """The flags before the learner's call, {group: bools}; on and off in every group."""
    n, first = int(i["blocks"]), int(i["first"])
    counts = (n + 1, n + 1, 2 * n, 2 * n, 2 * n, 2, 2, 2, 2)
    start = {"A": 1, "B": 0}  # the first parameter of the model, an A, is frozen
    return {
        g: (np.arange(k) // (1 + (g == "rest")) + start.get(g, first)) % 2 == 0
        for g, k in zip(GROUPS, counts, strict=True)
    }


def flags_with(i, *on, keep=()):
    """All flags in the order of GROUPS: True in the groups `on`, as before in `keep`."""
    given = flags_before(i).items()
    return np.concatenate([v if g in keep else np.full(v.shape, g in on) for g, v in given])


def outer(i, *on, factors):
    """Flags on in the groups `on`, and of the factors in the outermost wrapper alone or in others.

    The wrapper directly in the model, `flora_gate`, holds the last A and the last B.
    """
    flags, n = flags_with(i, *on), int(i["blocks"])
    flags[: 2 * n + 2] = not factors
    flags[[n, 2 * n + 1]] = factors
    return {"flags": flags}


def biases_too(i, *groups):
    """Flags of the factors, and of the biases in these groups: weight, bias, and so on."""
    flags = flags_with(i, "A", "B")
    places = np.repeat(GROUPS, [len(v) for v in flags_before(i).values()])
    for group in groups:
        flags[np.flatnonzero(places == group)[1::2]] = True
    return {"flags": flags}


def group_of(name):
    if name.endswith((".lora_A", ".lora_B")):
        return name[-1]
    if name.endswith(".lora_magnitude"):
        return "begins"
    if name.startswith(("lora_A_gate", "flora_mixer")):
        return "inside" if name.startswith("lora_A_gate") else "letters"
    if "base_layer" in name:
        return "flora_base" if "flora" in name else "base"
    return "flora" if "flora" in name else "rest"


def probe_marked(namespace, a):
    import torch
    from torch import nn

    from lora_course.lora import LoRALinear

    d, model = a["d"].item(), nn.Module()
    for n in range(a["blocks"].item()):
        fixtures.put(model, f"blocks.{n}.q_proj", LoRALinear(nn.Linear(d, d), r=2))
        fixtures.put(model, f"blocks.{n}.flora_gate", nn.Linear(d, d))
        fixtures.put(model, f"blocks.{n}.norm", nn.LayerNorm(d))
    fixtures.put(model, "flora_gate", LoRALinear(nn.Linear(d, d), r=2))
    for name in DORAS:
        fixtures.put(model, name, nn.Module())
        model.get_submodule(name).lora_magnitude = nn.Parameter(torch.ones(1))
    model.lora_A_gate, mixer = nn.Linear(d, d), nn.Module()
    mixer.A, mixer.log_B = nn.Parameter(torch.ones(1, d)), nn.Parameter(torch.ones(1))
    model.flora_mixer = mixer
    for p in model.parameters():
        nn.init.normal_(p)  # a B of zeros would hide that it was reset
    groups = {group: [] for group in GROUPS}
    for name, p in model.named_parameters():
        groups[group_of(name)].append(p)
    for group, before in flags_before(a).items():
        for p, flag in zip(groups[group], before, strict=True):
            p.requires_grad = bool(flag)
    model.train(bool(a["first"])).flora_gate.train(not a["first"])
    before = callers.Before(model)
    namespace["mark_only_lora_as_trainable"](model)
    after = np.array([p.requires_grad for held in groups.values() for p in held])
    return {"flags": after, "left": before.change(but=3)}


def judge_marked(i, o):
    right = flags_with(i, "A", "B")
    promises = [
        callers.unchanged("left", "beside the flags, in the model"),
        Promise("flags", right, expected=f"{right.sum()} of {right.sum()} and 0", seen=lambda v:
                f"{int(v[right].sum())} of {right.sum()} factors train, and {int(v[~right].sum())} "
                "other tensors"),
    ]  # fmt: skip
    return judged(i, o, promises, MARKED)


def flags_are(*on, keep=()):
    """A slip's values."""
    return lambda i: {"flags": flags_with(i, *on, keep=keep)}


MARKED = (
    Slip("nothing_changed", "Every flag is as before. The attribute is `requires_grad`, and it is "
         "set on the parameter: `parameter.requires_grad = ...`.",
         flags_are(keep=GROUPS)),
    Slip("stopped", "Only the first parameter was set. Does `return` or `break` stand inside the "
         "loop?", lambda i: {"flags": np.append(True, flags_with(i, keep=GROUPS)[1:])}),
    Slip("all_frozen", "Nothing trains, not even the factors. The names are full, such as "
         "`blocks.0.q_proj.lora_A`: compare their last part. And no freeze after your loop.",
         flags_are()),
    Slip("all_train", "Everything trains: full fine-tuning with LoRA on top. Is the condition "
         "always true, as `a or 'lora_B'` is? Or is the flag set on the whole model?",
         flags_are(*GROUPS)),
    Slip("inverse", "The other way round: the factors are frozen and the rest trains.",
         flags_are(*OTHERS)),
    Slip("base_layer", "The original layer inside the wrapper trains too. Ask for the name of the "
         "parameter, not for the layer around it.",
         flags_are("A", "B", "base", "flora_base")),
    Slip("looks_like", "`lora_` also stands in `flora_gate`, `lora_magnitude` and `lora_A_gate`. "
         "Compare the whole last part of the name, behind its last dot.",
         lambda i: [{"flags": flags_with(i, "A", "B", *more)}
                    for more in (("flora", "flora_base", "begins", "inside", "letters"),
                                 ("begins",), ("inside",), ("begins", "inside"))]),
    Slip("from_the_front", "A full name begins with its outermost part: `lora_A_gate.weight` "
         "begins with `lora_`, `blocks.0.q_proj.lora_A` does not. Compare the last part.",
         flags_are("inside")),
    Slip("letters", "Other names end in A or B too: `flora_mixer.A` and `flora_mixer.log_B`. "
         "Compare the whole last part.", flags_are("A", "B", "letters")),
    Slip("not_base", "What stands beside the wrappers trains too: norms and other layers. Ask for "
         "the factors, by name.",
         lambda i: [{"flags": flags_with(i, *groups)} for groups in (
             [g for g in GROUPS if g not in ("base", "flora_base")], ("A", "B", "rest"))]),
    Slip("biases", "Biases train too. The task asks for the factors alone.",
         lambda i: [biases_too(i, *groups) for groups in (
             ("base", "rest", "flora", "flora_base", "inside"), ("base", "flora_base"))]),
    Slip("flora_left_out", "One wrapped layer is called `flora_gate`, and its factors stay frozen. "
         "Compare the last part of the name instead of leaving names out.",
         lambda i: [outer(i, "begins", "inside", *more, factors=False)
                    for more in ((), ("letters",))]),
    Slip("shallow", "Only the wrapper directly in the model was found. `named_children()` stops "
         "there; `named_modules()` goes to every depth.", lambda i: outer(i, factors=True)),
    Slip("not_turned_on", "Factors that were frozen stay frozen. Set the flag of every parameter, "
         "True or False.", flags_are(keep=("A", "B"))),
    Slip("not_turned_off", "Other parameters that were trained still train. Set the flag of every "
         "parameter, True or False.", lambda i: {"flags": lambda v: (
             v[flags_with(i, "A", "B")].all()
             and np.array_equal(v[flags_with(i, "rest")], flags_before(i)["rest"]))}),
    Slip("one_factor", "Only one of the two factors trains. Both lora_A and lora_B must.",
         lambda i: [{"flags": flags_with(i, "A")}, {"flags": flags_with(i, "B")}]),
    Slip("more_than_flags", "Set the flags and nothing else: the parameters, their numbers and the "
         "mode of the model stay.", seen_as(left=lambda v: v > 0)),
)  # fmt: skip

mark_only_lora_as_trainable = Check(
    name="mark_only_lora_as_trainable", title="Only the factors train",
    wants=("mark_only_lora_as_trainable",),
    difficulty=1, minutes=6, points=15,
    verified="the factors train and nothing else does, whatever the flags were before",
    hints=(
        "Both directions: some factors are frozen, and some other parameters train.",
        "`model.named_parameters()` gives the full name, such as "
        "`blocks.0.q_proj.lora_A`. Which part of it decides?",
        "`parameter.requires_grad = name.split('.')[-1] in ('lora_A', 'lora_B')`, for every "
        "parameter.",
    ),
    slips=MARKED, other="Print the name and the flag of every parameter after your call.",
    make=make_marked, probe=probe_marked, judge=judge_marked,
)  # fmt: skip


# 4.3 A report before you train
REPORTED = ("b.up", "shared", "a.c_attn", "b.down", "b.gate")  # shapes of up and gate are alike
SHARED, CONV, DOWN, GATE = 1, 2, 3, 4  # "again" is "shared", "last" is b.down
FROZEN, ANGLES = [0, 3, 4], 211


def make_report(seed):
    rng = np.random.default_rng(seed + 200)
    v, *rest = fixtures.sizes(rng, 6, 20, 70)
    small, c, d, down, large = sorted(rest)  # so that no rule of max or min is r * in or r * out
    up, out = (small, large + 2) if rng.integers(2) else (large + 2, small)
    down += (d + c + down + out) % 2 == 0  # and no rule of one axis twice is the right sum
    shapes = [(d, up), (d, out), (d, c), (down, d), (d, up)]  # (in, out), as in REPORTED
    return {"shapes": np.array(shapes), "vocab": v + 300, "r": rng.integers(3, 9)}


def probe_report(namespace, a):
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    d, vocab, model = int(a["shapes"][0, 0]), a["vocab"].item(), nn.Module()
    for name, (d_in, d_out) in zip(REPORTED, a["shapes"].tolist(), strict=True):
        fixtures.put(
            model, name, Conv1D(d_out, d_in) if "c_attn" in name else nn.Linear(d_in, d_out)
        )
    model.again, model.table = model.shared, nn.Embedding(vocab, d)
    model.last = model.b.down
    model.head = nn.Linear(d, vocab, bias=False)
    model.head.weight = model.table.weight
    model.b.gate.weight = model.b.up.weight  # two layers, one weight
    model.register_buffer("angles", torch.zeros(ANGLES))
    model.b.requires_grad_(False)
    names = [REPORTED[0], "again", *REPORTED[1:3], "last", "b.gate"]  # one under its second name
    before = callers.Before(model, names)
    result = namespace["lora_report"](model, names, a["r"].item())
    trainable, total = fixtures.several(result, ("trainable", "total"), "lora_report")
    return {"trainable": trainable, "total": total, "left": before.change()}


def sums(i):
    """(trainable, the model, what stands in two places: a table, layers, a weight), once each."""
    d_in, d_out = i["shapes"].T
    each, table = d_in * d_out + d_out, int(i["vocab"] * d_in[0])
    tied = int(d_in[GATE] * d_out[GATE])
    base = int(each.sum()) + table - tied
    return int(i["r"] * (d_in + d_out).sum()), base, table, int(each[[SHARED, DOWN]].sum()), tied


def judge_report(i, o):
    trainable, base, *_ = sums(i)
    exact = {"rtol": 0, "atol": 0.01}
    promises = [
        Promise("trainable", trainable, "the first number", **exact),
        Promise("total", base + trainable, "the second number", share=0.4, **exact),
        callers.unchanged("left", "the model or the list of names", share=0.4),
    ]
    return judged(i, o, promises, REPORT)


def per_layer(*counts):
    """A slip's values: count(r, in, out) for each layer, the shared one once or twice."""

    def values(i):
        each = [count(int(i["r"]), *i["shapes"].T) for count in counts]
        return [{"trainable": v} for e in each for v in (e.sum(), e.sum() + e[SHARED])]

    return values


def totals(i, adapters, extras):
    """A slip's values: the first number right, the second one with something more or less."""
    trainable, base, *_ = sums(i)
    return [{"trainable": trainable, "total": base + adapters + extra} for extra in extras]


def some_twice(i):
    """What is too much when some of what stands in two places is counted twice."""
    table, layers, tied = sums(i)[2:]
    extras = {a + b + c for a in (0, table) for b in (0, layers) for c in (0, tied)}
    return sorted({*extras, table + layers + tied + ANGLES} - {0})  # a state dict has buffers too


def along(axis):
    """r times one side of each weight, by its axis: a Conv1D stores (in, out)."""
    return lambda r, n, m: r * np.where((np.arange(len(n)) == CONV) == (axis == 1), m, n)


def without(place):
    """The slip's values when one layer of REPORTED is left out."""
    return lambda i: {"trainable": sums(i)[0] - i["r"] * i["shapes"][place].sum()}


def frozen(i):
    """How many numbers of the model are frozen: those of the parts in b."""
    return sum((n + 1) * m for n, m in i["shapes"][FROZEN]) - sums(i)[4]


def incomplete(i, total):
    """A slip's condition: too small, and no total that has a slip of its own."""
    trainable, base, *_ = sums(i)
    known = [base, base - frozen(i) + trainable, *(base + extra for extra in some_twice(i))]
    return trainable <= total < base + trainable and np.abs(np.array(known) - total).min() > 0.5


def once(r, n, m):
    return r * (n + m)


REPORT = (
    Slip("shared_twice", "Two of the names lead to the same layer, which gets one adapter. Count "
         "layers, not names.", lambda i: per_layer(once)(i)[1]),
    Slip("shared_weight", "Two layers share one weight, so also its shape, and are two layers all "
         "the same: each gets an A and a B of its own. Count layers, not weights or shapes.",
         without(GATE)),
    Slip("second_name", "`last` is the second name of a layer, and the only one on the list. "
         "`named_modules()` gives a layer under its first name; `get_submodule` follows any.",
         without(DOWN)),
    Slip("not_named", "A layer is in it that is not among `names`.",
         lambda i: {"trainable": sums(i)[0] + i["r"] * (i["shapes"][0, 0] + i["vocab"])}),
    Slip("now", "That is what trains now, before any LoRA. Count A and B from the shapes.",
         lambda i: {"trainable": sums(i)[1] - frozen(i)}),
    Slip("no_conv", "The Conv1D is not in it. It is a linear layer too, and `weight.shape` has its "
         "two sides, in the other order.", without(CONV)),
    Slip("full_size", "That is in · out, the size of the weight itself. LoRA adds r · (in + out).",
         per_layer(*(lambda r, n, m, k=k: r**k * n * m for k in (0, 1, 2)))),
    Slip("r_twice", "The rank is in it twice: r · (in + out).",
         per_layer(lambda r, n, m: r * r * (n + m))),
    Slip("no_r", "The rank is missing: r · (in + out).", per_layer(lambda r, n, m: n + m)),
    Slip("with_bias", "LoRA adds no bias: r · (in + out) is all.",
         per_layer(lambda r, n, m: r * (n + m) + m, lambda r, n, m: r * (n + m + m))),
    Slip("only_in", "A reads `in` numbers and B writes `out`: r · (in + out), not twice the same.",
         per_layer(lambda r, n, m: 2 * r * n, lambda r, n, m: 2 * r * m,
                   *(lambda *a, axis=axis: 2 * along(axis)(*a) for axis in (0, 1)))),
    Slip("one_factor", "That is one factor alone: A has r · in numbers, and B has r · out.",
         per_layer(lambda r, n, m: r * n, lambda r, n, m: r * m, along(0), along(1))),
    Slip("exchanged", "The first number is what trains, the second one the total.",
         lambda i: {"trainable": sum(sums(i)[:2]), "total": sums(i)[0]}),
    Slip("tied_twice", "A tensor in two places was counted twice. `model.parameters()` gives each "
         "one once; a state dict, or a sum over the modules, does not.",
         lambda i: totals(i, sums(i)[0], some_twice(i))),
    Slip("buffers", "A buffer is counted too. It is no parameter: `model.parameters()`.",
         lambda i: totals(i, sums(i)[0], [ANGLES])),
    Slip("base_only", "The total is that of the model without the adapters. Add them.",
         lambda i: totals(i, 0, (0, *some_twice(i)))),
    Slip("no_frozen", "The total has every parameter of the model, also those that are frozen.",
         lambda i: totals(i, sums(i)[0], [-frozen(i)])),
    Slip("added_twice", "The adapters are in the total twice.",
         lambda i: totals(i, 2 * sums(i)[0], (0, *some_twice(i)))),
    Slip("incomplete", "A part of the model is missing in the total. Every parameter counts, "
         "frozen or not, biases and tables too: `sum(p.numel() for p in model.parameters())`.",
         lambda i: {"trainable": sums(i)[0], "total": lambda v: incomplete(i, v)}),
    Slip("changed", "Only look: neither the model nor the list of names changes for a report.",
         seen_as(left=lambda v: v > 0)),
)  # fmt: skip

lora_report = Check(
    name="lora_report", title="A report before you train", wants=("lora_report",),
    difficulty=2, minutes=8, points=20,
    verified="both counts, with a Conv1D, tied weights and a layer in two places",
    hints=(
        "A is (r, in) and B is (out, r). How many numbers are that together?",
        "`nn.Linear` has in_features, `Conv1D` has not; both have `weight.shape`. A set of the "
        "layers keeps each one once, and `model.parameters()` gives each tensor once.",
        "`layers = {model.get_submodule(name) for name in names}`, then `r * "
        "sum(layer.weight.shape)` for each, and `p.numel()` over `model.parameters()`.",
    ),
    slips=REPORT,
    other="First the layers one by one: how many numbers do A and B of in × out have? Then "
    "`p.numel()` over `model.parameters()`, and the first number on top.",
    make=make_report, probe=probe_report, judge=judge_report,
)  # fmt: skip


# 4.4 The optimizer's list
NEW_HEADS = ("new.score", "top.classifier")


def make_prepare(seed):
    rng = np.random.default_rng(seed + 400)
    draw = {"d": (4, 8), "r": (2, 4), "blocks": (2, 4), "head": (0, 2)}
    made = {key: rng.integers(*limits) for key, limits in draw.items()}
    return {**made, "lr": rng.choice([0.002, 0.0005, 0.03])}


def probe_prepare(namespace, a):
    import torch
    from torch import nn

    from lora_course.inject import inject_lora as course_inject

    d, model, head = a["d"].item(), nn.Module(), NEW_HEADS[a["head"].item()]
    for n in range(a["blocks"].item()):
        fixtures.put(model, f"blocks.{n}.up_proj", nn.Linear(d, d))
        fixtures.put(model, f"blocks.{n}.q_proj", nn.Linear(d, d))
        fixtures.put(model, f"blocks.{n}.norm", nn.LayerNorm(d))
    fixtures.put(model, head + "_norm", nn.LayerNorm(d))  # its name begins like that of the head
    fixtures.put(model, head, nn.Linear(d, 3))
    fixtures.put(model, "again.q_proj", model.get_submodule("blocks.0.q_proj"))
    given = model.get_submodule(head)
    model.eval().blocks.get_submodule("0.norm").train()
    before, calls = callers.Before(dict(model.named_parameters())), []
    modes = [(part, part.training) for part in model.modules()]

    def inject(model):
        calls.append(model)
        return course_inject(model, ["q_proj", "up_proj"], r=a["r"].item())

    optimizer = namespace["prepare"](model, inject, head, a["lr"].item())
    fixtures.expect(optimizer, torch.optim.Optimizer, "prepare", "a torch.optim.AdamW")
    held = [p for group in optimizer.param_groups for p in group["params"]]
    groups = {"lora": [], "head": [], "near": [], "rest": []}
    for name, p in model.named_parameters():
        near = "near" if name.startswith(head) else "rest"
        group = "head" if name.startswith(head + ".") else near
        groups["lora" if ".lora_" in name else group].append(p)
    trains = {g: np.array([p.requires_grad for p in ps], dtype=int) for g, ps in groups.items()}
    count = {g: [sum(p is h for h in held) for p in ps] for g, ps in groups.items()}
    return {
        **{f"trains_{group}": flags for group, flags in trains.items()},
        **{f"held_{group}": np.array(times, dtype=int) for group, times in count.items()},
        "calls": len(calls),
        "strangers": sum(not any(h is p for p in model.parameters()) for h in held),
        "kind": isinstance(optimizer, torch.optim.AdamW),
        "lr": np.array([group["lr"] for group in optimizer.param_groups], dtype=float),
        "left": before.change() or dict(model.named_modules()).get(head) is not given
        or 4 * any(part.training != was for part, was in modes),
    }  # fmt: skip


def judge_prepare(i, o):
    factors, lr, groups = 4 * int(i["blocks"]), float(i["lr"]), ("lora", "head", "near", "rest")
    promises = [
        Promise("trains_lora", lambda v: v.size == factors, expected=f"{factors} factors",
                seen=lambda v: f"{v.size} factors of LoRA in the model"),
        Promise("calls", 1, "the number of calls of inject"),
        all_of("trains_lora", f"of {factors} factors train", factors),
        none_of("trains_near", "tensors of a part beside the head train"),
        none_of("trains_rest", "other tensors train"),
        all_of("held_lora", f"of {factors} factors are in the list", factors),
        all_of("trains_head", "of 2 tensors of the new head train", 2),
        all_of("held_head", "of 2 tensors of the new head are in the list", 2),
        *(Promise(f"held_{g}", lambda v: v.max() <= 1, expected="once",
                  seen=lambda v: f"a tensor is in the list {int(v.max())} times") for g in groups),
        *(none_of(f"held_{g}", "frozen tensors are in the list", share=0.5) for g in groups[2:]),
        Promise("strangers", 0, expected="none",
                seen="tensors in the list that the model does not have: {}"),
        Promise("kind", 1, seen="another optimizer", expected="torch.optim.AdamW", share=0.5),
        Promise("lr", lambda v: np.allclose(v, lr, atol=0), "the learning rate", share=0.5,
                expected=f"{lr:g}"),
        callers.unchanged("left", "the model, beside LoRA"),
    ]  # fmt: skip
    return judged(i, o, promises, PREPARE)


PREPARE = (
    Slip("not_injected", "The model has no LoRA. Call `inject(model)`, on the model itself.",
         seen_as(trains_lora=lambda v: v.size == 0)),
    Slip("lora_frozen", "The factors are frozen: something froze the model after the injection.",
         seen_as(trains_lora=none)),
    Slip("all_train", "Parts of the old model train as well. Only the factors and the new head "
         "should: switch on the head alone, after `inject`.",
         seen_as(trains_near=every, trains_rest=every)),
    Slip("prefix", "Another part's name begins like that of the head, and was taken for it. Get "
         "the head itself: `model.get_submodule(head)`.",
         lambda i: [{"trains_near": every, "trains_rest": none},
                    {"trains_near": none, "held_near": every, "held_rest": none}]),
    Slip("too_early", "The factors are not in the optimizer, so the loss would stay the same to "
         "the last digit. Build the list and the optimizer after the injection.",
         seen_as(held_lora=none, held_rest=np.any)),
    Slip("only_head", "The list holds the new head alone. The LoRA factors train too.",
         seen_as(held_lora=none, held_rest=none, held_head=every)),
    Slip("head_frozen", "The new head has random weights and would keep them: `inject` froze it. "
         "Switch it on again after the injection, with `requires_grad_(True)`: a module has no "
         "`requires_grad` of its own.", seen_as(trains_head=none, held_head=none)),
    Slip("head_held_frozen", "The optimizer holds the new head, but it gets no gradient. Set "
         "`requires_grad` for it, after the injection.",
         seen_as(trains_head=none, held_head=every)),
    Slip("half_head", "The head has a weight and a bias, and both are new.",
         lambda i: [{k: lambda v: v.sum() == 1} for k in ("trains_head", "held_head")]),
    Slip("head_not_held", "The new head trains, but is not in the list, so no step moves it. "
         "Switch it on before you build the list.", seen_as(trains_head=every, held_head=none)),
    Slip("twice", "Going through the modules meets a tensor at each level above it, and every step "
         "would move it more than once. `model.parameters()` gives each one once.",
         seen_as(held_lora=lambda v: v.max() > 1, held_head=lambda v: v.max() > 1)),
    Slip("places", "A layer stands in two places of this model. `model.parameters()` gives each "
         "tensor once; a list over all places does not.",
         seen_as(held_lora=lambda v: v.max() == 2 and v.min() == 1, held_head=every)),
    Slip("head_twice", "The new head is in the list twice: what trains in `model.parameters()` has "
         "it already.", seen_as(held_lora=lambda v: v.max() == 1, held_head=lambda v: v.min() > 1)),
    Slip("copies", "The optimizer holds copies, and would move tensors that the model does not "
         "use. Give it the parameters themselves: no clones, no `.data`, no state dict.",
         seen_as(held_lora=none, held_head=none, strangers=lambda n: n > 0)),
    Slip("frozen_too", "The list holds frozen tensors. AdamW skips them while they have no "
         "gradient, but the list should say what trains: filter by `requires_grad`.",
         seen_as(held_near=every, held_rest=every)),
    Slip("default_lr", "That is AdamW's default. Take the learning rate that was given.",
         seen_as(lr=lambda v: np.allclose(v, 1e-3))),
    Slip("other_lr", "Give AdamW the `lr` of the caller as it is, and the same for every group.",
         seen_as(lr=lambda v: not np.allclose(v, 1e-3))),
    Slip("optimizer", "Adam, SGD and others treat the weights in another way. The text asks for "
         "AdamW.", seen_as(kind=0)),
    Slip("mode", "`train()` and `eval()` are the caller's choice. Leave them out.",
         seen_as(left=4)),
    Slip("changed", "This function prepares. It takes no step, and starts or replaces nothing in "
         "the model.", seen_as(left=lambda v: v in (1, 2, 5))),
)  # fmt: skip

prepare = Check(
    name="prepare", title="The optimizer's list", wants=("prepare",),
    difficulty=3, minutes=10, points=20,
    verified="who trains, what the AdamW holds, each tensor once, the learning rate",
    hints=(
        "Four steps in an order that matters. Which one creates the factors, and which one needs "
        "them?",
        "`inject` freezes the new head together with everything else, so the head is switched on "
        "after it. The optimizer keeps the tensors that it is given: build it last.",
        "`inject(model)`, then `model.get_submodule(head).requires_grad_(True)`, then AdamW over "
        "`[p for p in model.parameters() if p.requires_grad]`.",
    ),
    slips=PREPARE, other="Print each parameter's name and flag, and whether the list holds it.",
    make=make_prepare, probe=probe_prepare, judge=judge_prepare,
)  # fmt: skip


# 4.5 What the rule missed
HEADS = ("output.head", "lm.score")
BASE_WORD = "model.database_layer"  # a layer without LoRA


def make_missed(seed):
    rng = np.random.default_rng(seed + 300)
    draw = {"blocks": (11, 14), "d": (3, 6), "hole": (2, 9), "head": (0, 2)}
    return {key: rng.integers(*limits) for key, limits in draw.items()}


def tree(i):
    """{name: kind} of the leaves: LoRA on the q_proj of blocks 0 to 9 but one, on every down_proj.

    Kinds: linear, wrapped, conv, conv_wrapped, head, norm, table.
    """
    leaves = {HEADS[int(i["head"])]: "head", "model.table": "table"}
    for n in reversed(range(int(i["blocks"]))):
        has = n < 10 and n != int(i["hole"])
        leaves[f"model.layers.{n}.attn.q_proj"] = "wrapped" if has else "linear"
        leaves[f"model.layers.{n}.mlp.down_proj"] = "wrapped"
        leaves[f"model.layers.{n}.norm"] = "norm"
    return (
        leaves
        | {"model.c_proj": "conv_wrapped", "model.c_fc": "conv"}
        | dict.fromkeys((*decoys(i), BASE_WORD), "linear")
    )


def decoys(i):
    """Layers whose name has the head's name or its last part inside, or stands inside it."""
    head = HEADS[int(i["head"])]
    last = head.split(".")[-1]
    return f"model.multi{last}.out", f"model.{head}", f"{head}_2", last


def missing(i, *kinds, bases=False):
    """A slip's count of the names: 1 for each leaf of these kinds, as in `named`."""
    return np.array([[kind in kinds, bases and "wrapped" in kind] for kind in tree(i).values()])


def gone(i, *names):
    """A slip's values: these names are missing in the list."""
    lost = np.outer([name in names for name in tree(i)], [1, 0])
    return {"named": missing(i, "linear", "conv") - lost}


def inside_conv(i):
    """A count of one for the inside of the wrapped Conv1D."""
    return np.array([[0, kind == "conv_wrapped"] for kind in tree(i).values()])


def probe_missed(namespace, a):
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from lora_course.lora import LoRAConv1D, LoRALinear

    d, model, leaves = a["d"].item(), nn.Module(), tree(a)
    build = {
        "linear": lambda: nn.Linear(d, d),
        "wrapped": lambda: LoRALinear(nn.Linear(d, d)),
        "conv": lambda: Conv1D(d, d),
        "conv_wrapped": lambda: LoRAConv1D(Conv1D(d, d)),
        "head": lambda: nn.Linear(d, 9),
        "norm": lambda: nn.LayerNorm(d),
        "table": lambda: nn.Embedding(9, d),
    }
    for name, leaf in leaves.items():
        fixtures.put(model, name, build[leaf]())
    for name, p in model.named_parameters():
        p.requires_grad = ".lora_" in name  # so that a flag does not tell what was missed
    before = callers.Before(model)
    result = namespace["missed_layers"](model, HEADS[a["head"].item()])
    if result is None or isinstance(result, str) or not hasattr(result, "__iter__"):
        key = "none" if result is None else "type"
        raise Refused(key, f"missed_layers returns {kind(result)}.", "a list of names.")
    named = list(result)
    for name in named:
        if not isinstance(name, str):
            raise Refused("type", f"the list holds {kind(name)}.", "names, each a text.")
    every = {name for name, _ in model.named_modules()}
    unknown = [name for name in named if name not in every]
    known = [(name, name + ".base_layer") for name in leaves]
    inner = every - {name for pair in known for name in pair}  # containers, dropouts
    return {
        "named": np.array([[named.count(name) for name in pair] for pair in known]),
        "inner": sum(name in inner for name in named),
        "unknown": len(unknown),
        "first": text(unknown[0] if unknown else ""),
        "letters": sum(len(name) == 1 for name in unknown),
        "tensors": sum(name.endswith((".weight", ".bias")) for name in unknown),
        "short": sum(name in {full.split(".")[-1] for full in leaves} for name in unknown),
        "left": before.change(),
    }


def judge_missed(i, o):
    right, leaves = missing(i, "linear", "conv"), list(tree(i))

    def seen(value):
        for word, wrong in (
            ("missing in the list", value < right),
            ("in the list, and should not be", (value > right) & (right == 0)),
            ("more than once in the list", value > right),
        ):
            names = [leaves[n] + ".base_layer" * k for n, k in zip(*np.nonzero(wrong), strict=True)]
            if names:
                more = f" and {len(names) - 2} more" if len(names) > 2 else ""
                return f"{word}: {', '.join(names[:2])}{more}"
        return ""

    promises = [
        Promise("unknown", 0, expected="names of parts of the model", seen=lambda v: "no part of "
                f"the model is called {words(o['first'])}"),
        Promise("named", right, seen=seen, expected=f"{right.sum()} names, each once"),
        Promise("inner", 0, seen="{} names of parts that are no linear layers", expected="none"),
        callers.unchanged("left", "the model"),
    ]  # fmt: skip
    return judged(i, o, promises, MISSED)


MISSED = (
    Slip("short", "The last part of a name does not say which layer it is. Return full names.",
         seen_as(unknown=lambda n: n > 0, short=lambda n: n > 0,
                 named=lambda v: np.count_nonzero(v) <= 1)),
    Slip("letters", "`+=` and `extend` take a text apart, letter by letter. Use `append`.",
         seen_as(letters=lambda n: n > 0, unknown=lambda n: n > 0)),
    Slip("tensors", "These are names of parameters. The layer is the part that holds them.",
         seen_as(tensors=lambda n: n > 0, unknown=lambda n: n > 0)),
    Slip("one_name", "The list has one name. Does `return` stand inside the loop? Or does a "
         "condition hold for one layer alone?", lambda i: {"named": lambda v: v.sum() == 1
         and (v > missing(i, "conv")).any() and not v[list(tree(i)).index(decoys(i)[-1])].any()}),
    Slip("top_level", "Only a layer directly in the model is there. `named_modules()` goes to "
         "every depth, `named_children()` does not.",
         lambda i: {"named": -gone(i, decoys(i)[-1])["named"] + missing(i, "linear", "conv")}),
    Slip("repeated", "A layer is met once in `named_modules()`. Append its name once.",
         lambda i: {"named": 2 * missing(i, "linear", "conv")}),
    Slip("empty", "The list is empty. Layers without LoRA stand at every depth "
         "(`named_modules()`), and are frozen like the others, so no flag finds them. Does "
         "`return` stand inside the loop?",
         lambda i: {"named": missing(i), "unknown": 0, "inner": 0}),
    Slip("found", "These are layers that do have LoRA. The question is which ones do not.",
         lambda i: [{"named": missing(i, "wrapped", "conv_wrapped")},
                    {"named": missing(i, "wrapped")}]),
    Slip("changed", "The function only looks. Leave the model and its flags as they are.",
         seen_as(left=lambda v: v > 0)),
    Slip("base_layers", "A `base_layer` is the inside of a wrapper, so it has LoRA. Leave it out.",
         lambda i: [{"named": missing(i, "linear", "conv", *head, bases=True)}
                    for head in ((), ("head",))]),
    Slip("conv_wrapper", "One wrapper is a LoRAConv1D, a subclass of LoRALinear. `isinstance` "
         "takes both, `type(...) is` does not; the name of the inside is the same.",
         lambda i: {"named": missing(i, "linear", "conv") + inside_conv(i)}),
    Slip("head", "All but the head: it was not meant to have LoRA, so it was not missed. `head` is "
         "its full name.", lambda i: {"named": missing(i, "linear", "conv", "head")}, share=0.3),
    Slip("head_word", "A layer that is not the head has the head's name, or a part of it, in its "
         "own. Compare the full name with the one that was given.",
         lambda i: [gone(i, *names) for n in (1, 2, 3, 4) for names in combinations(decoys(i), n)]),
    Slip("base_word", "`base_layer` also stands in `model.database_layer`, which is no wrapper's "
         "inside. There the last part of the name is `base_layer`: mind the dot.",
         lambda i: gone(i, BASE_WORD)),
    Slip("with_wrapped", "Layers that have LoRA are in the list too: where the name leads to a "
         "wrapper, nothing was missed.",
         lambda i: [{"named": missing(i, "linear", "conv", "wrapped", "conv_wrapped")},
                    {"named": missing(i, "linear", "wrapped")}]),
    Slip("linear_missed", "Only the `Conv1D` is there. An nn.Linear without LoRA was missed too.",
         lambda i: {"named": missing(i, "conv")}),
    Slip("not_linear", "Norms, tables and containers are no linear layers. Ask for the type.",
         lambda i: {"named": lambda v: all(
             v[n, 0] for n, leaf in enumerate(tree(i).values()) if leaf in ("norm", "table"))}),
    Slip("conv_missed", "One missed layer is a `Conv1D`, the linear layer of GPT-2. It is no "
         "nn.Linear, and no nn.Conv1d: ask for both types.",
         lambda i: {"named": missing(i, "linear")}, share=0.5),
)  # fmt: skip

missed_layers = Check(
    name="missed_layers", title="What the rule missed", wants=("missed_layers",),
    difficulty=3, minutes=10, points=20,
    verified="every layer that was left out, of both kinds, and no other",
    hints=(
        "Print the names and types of all modules of a model with LoRA. Which linear layers do "
        "you see, and which of them are the inside of a wrapper?",
        "A wrapped layer shows up twice in `named_modules()`: as the wrapper, which is no "
        "nn.Linear, and as its `base_layer`, which is one.",
        "Collect `name` when `isinstance(part, (nn.Linear, Conv1D))` and the name neither ends in "
        "`.base_layer` nor equals `head`.",
    ),
    slips=MISSED, other="Compare with a list that you make by hand from `print(model)`.",
    make=make_missed, probe=probe_missed, judge=judge_missed,
)  # fmt: skip

EXERCISES = (inject_lora, mark_only_lora_as_trainable, lora_report, prepare, missed_layers)
