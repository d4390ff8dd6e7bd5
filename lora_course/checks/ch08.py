"""Checks of chapter 08: convert, target rules, switch, audit, a mixed batch."""

import logging
import warnings
from contextlib import contextmanager
from functools import cache

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor
from lora_course.checks.values import Refused, kind

PREFIX = "base_model.model."


# What several checks share
def _f(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def _parts(value, count, name):
    """The learner's `count` results as a tuple; Refused when it is something else."""
    if value is None:
        array(None, name)
    if not isinstance(value, (tuple, list)) or len(value) != count:
        size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise Refused("type", f"{name} is {kind(value)}{size}.", f"{count} values, as a tuple.")
    return value


def _codes(names):
    """A list of names as numbers, since text does not cross."""
    return np.frombuffer("\n".join(str(n)[:200] for n in names).encode(), np.uint8).copy()


def _names(codes):
    numbers = np.asarray(codes).ravel()
    if numbers.dtype != np.uint8:
        return []
    return numbers.tobytes().decode(errors="replace").split("\n")


@contextmanager
def _peft():
    """PEFT without the noise of its import and its warnings."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

        yield peft


# 8.1 To PEFT and back
ENDINGS = {"q_proj": (5, 7), "up_proj": (5, 9), "down_proj": (9, 5)}  # (in, out)
LAYERS = [f"model.layers.{n}.{e}" for n in (0, 1) for e in ENDINGS]


def _blank(blocks=2):
    """A model with these layers in each block, and an output head."""
    from torch import nn

    block = lambda: nn.ModuleDict({e: nn.Linear(*s) for e, s in ENDINGS.items()})  # noqa: E731
    body = nn.ModuleDict({"layers": nn.ModuleList([block() for _ in range(blocks)])})
    return nn.ModuleDict({"model": body, "lm_head": nn.Linear(5, 4)})


def make_convert(seed):
    rng = np.random.default_rng(seed + 800)
    r = int(rng.choice([2, 3, 4]))
    made = {"r": np.array(r), "alpha": np.array(rng.choice([5, 7, 11]))}
    hit = np.zeros(len(LAYERS), int)
    hit[rng.permutation(3)[:2]] = 1  # two endings in block 0, another choice in block 1
    hit[3 + rng.integers(3)] = 1
    for i, name in enumerate(LAYERS):
        n_in, n_out = ENDINGS[name.split(".")[-1]]
        made |= {f"A_{i}": _f(rng, r, n_in), f"B_{i}": _f(rng, n_out, r)}
    return made | {"hit": hit}


def probe_convert(namespace, a):
    import torch

    state = {
        f"{name}.lora_{letter}": tensor(a[f"{letter}_{i}"])
        for i, name in enumerate(LAYERS)
        if a["hit"][i]
        for letter in "AB"
    }
    given = {name: t.clone() for name, t in state.items()}
    settings, tensors = _parts(namespace["to_peft"](given, a["alpha"].item()), 2, "to_peft(...)")
    if not isinstance(settings, dict) or not isinstance(tensors, dict):
        raise Refused("type", f"to_peft gives {kind(settings)}, {kind(tensors)}.", "two dicts.")
    lacking = {"r", "lora_alpha", "target_modules"} - settings.keys()
    if lacking:
        raise Refused("type", f"The settings lack {', '.join(sorted(lacking))}.", "these three.")
    rule = settings["target_modules"]
    made = {
        "keys": _codes(sorted(tensors)),
        "r": array(settings["r"], "r"),
        "alpha": array(settings["lora_alpha"], "lora_alpha"),
        "is_text": float(isinstance(rule, str)),
        "hits": np.zeros(len(LAYERS) + 1),
    }
    with _peft() as peft:
        config = {"r": int(made["r"].ravel()[0]), "lora_alpha": made["alpha"].ravel()[0].item()}
        try:
            rule = rule if isinstance(rule, str) else list(rule)
            model = peft.get_peft_model(
                _blank(), peft.LoraConfig(**config, target_modules=rule, init_lora_weights=True)
            )
        except (ValueError, TypeError):  # the rule hits nothing
            return made
        names = [*LAYERS, "lm_head"]
        spots = {n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}
        made["hits"] = np.array([float(PREFIX + n in spots) for n in names])
        try:
            peft.set_peft_model_state_dict(model, tensors)
        except RuntimeError:  # a tensor of another shape
            made["misfit"] = 1.0
            return made
        for i, name in enumerate(LAYERS):
            if PREFIX + name in spots:
                delta = spots[PREFIX + name].get_delta_weight("default")
                made[f"delta_{i}"] = array(delta, "the update")
    theirs = {f"{PREFIX}{name}.weight": t.clone() for name, t in state.items()}
    settings = {"r": a["r"].item(), "lora_alpha": a["alpha"].item(), "peft_type": "LORA"}
    back, scaling = _parts(namespace["from_peft"](settings, theirs), 2, "from_peft(...)")
    if not isinstance(back, dict):
        raise Refused("type", f"The state of from_peft is {kind(back)}.", "a dict.")
    made["scaling"] = array(scaling, "the scaling")
    made["back"] = _codes(sorted(back))
    for i, name in enumerate(sorted(back)):
        if isinstance(back[name], torch.Tensor):
            made[f"back_{i}"] = array(back[name], name)
    return made


def judge_convert(i, o):
    hit = [name for name, h in zip(LAYERS, i["hit"], strict=True) if h]
    ours = sorted(f"{name}.lora_{letter}" for name in hit for letter in "AB")
    want, seen = sorted(f"{PREFIX}{n}.weight" for n in ours), _names(o["keys"])
    if seen != want:
        known = {
            "prefix": [f"{n}.weight" for n in ours],
            "one_prefix": [f"base_model.{n}.weight" for n in ours],
            "weight": [f"{PREFIX}{n}" for n in ours],
            "adapter_name": [f"{PREFIX}{n}.default.weight" for n in ours],
            "untouched": ours,
        }
        key = next((k for k, names in known.items() if seen == sorted(names)), "other")
        return Verdict(0.0, key, f"the key {seen[0]}", want[0])
    r, alpha = i["r"].item(), i["alpha"].item()
    if not close(o["r"].ravel(), [r]):
        return Verdict(0.0, "rank", f"r = {o['r'].ravel()[:1]}", f"r = {r}")
    if not close(o["alpha"].ravel(), [alpha]):
        key = "alpha" if close(o["alpha"].ravel(), [alpha / r]) else "other"
        return Verdict(0.0, key, f"lora_alpha = {o['alpha'].ravel()[0]:g}", f"{alpha}")
    hits = o["hits"].ravel()
    if len(hits) != len(LAYERS) + 1 or not np.array_equal(hits[:-1], i["hit"]) or hits[-1]:
        few = len(hits) == len(LAYERS) + 1 and not np.any(hits[:-1] > i["hit"]) and not hits[-1]
        key = "text" if few and o["is_text"] else "missed" if few else "too_many"
        return Verdict(0.0, key, f"LoRA in {int(hits.sum())} layers", f"in {len(hit)}")
    if "misfit" in o:
        return Verdict(0.0, "shapes", "PEFT finds a tensor of another shape", "A and B as they are")
    for n, name in enumerate(LAYERS):
        if i["hit"][n] and not close(
            o.get(f"delta_{n}"), alpha / r * i[f"B_{n}"] @ i[f"A_{n}"], 1e-3, 1e-4
        ):
            return Verdict(0.0, "other", f"the update of {name} is another one", "that of `state`")
    return _back_verdict(i, o, ours, alpha, r)


def _back_verdict(i, o, ours, alpha, r):
    seen = _names(o["back"])
    if seen != ours:
        known = {
            "back_prefix": [PREFIX + n for n in ours],
            "back_eaten": [n.replace("model.", "") for n in ours],
            "back_weight": [f"{n}.weight" for n in ours],
        }
        key = next((k for k, names in known.items() if seen == sorted(names)), "other")
        return Verdict(0.5, key, f"from_peft gives the name {seen[0]}", ours[0])
    for n, name in enumerate(ours):
        layer, _, letter = name.rpartition(".lora_")
        if not close(o.get(f"back_{n}"), i[f"{letter}_{LAYERS.index(layer)}"]):
            return Verdict(0.5, "other", f"from_peft changes {name}", "the values as they are")
    if not close(o["scaling"].ravel(), [alpha / r]):
        key = "back_scale" if close(o["scaling"].ravel(), [alpha]) else "other"
        return Verdict(0.5, key, f"scaling = {o['scaling'].ravel()[0]:g}", f"{alpha / r:g}")
    return Verdict(1.0)


convert = Check(
    name="convert",
    title="To PEFT and back",
    wants=("to_peft", "from_peft"),
    difficulty=2,
    minutes=12,
    points=20,
    verified="names, rank, alpha and rule taken by PEFT itself, the updates it computes, the way "
    "back",
    hints=(
        "Put the two names of the task under each other. What stands before, what stands behind?",
        "`f'base_model.model.{name}.weight'` one way, `removeprefix` and `removesuffix` the other. "
        "The rank is the first size of an A. `target_modules` may list whole layer names.",
        "`r = state[...].shape[0]` for a name that ends in lora_A; the layers are "
        "`sorted({name.rsplit('.', 1)[0] for name in state})`; back: "
        "`settings['lora_alpha'] / settings['r']`.",
    ),
    mistakes={
        "prefix": "PEFT's keys begin with `base_model.model.`. Without it no tensor finds its "
        "place, and the model runs on as the bare base.",
        "one_prefix": "Our names begin with `model.` already; PEFT's prefix is `base_model.model.` "
        "all the same, so `model.` stands there twice.",
        "weight": "In PEFT A and B are small linear layers: the key ends in `.weight`.",
        "adapter_name": "The name of the adapter, `default`, is in the model and not in the file.",
        "untouched": "The names are still ours.",
        "rank": "The rank is the first size of A, (r, in), or the second of B, (out, r).",
        "alpha": "This is alpha / r. PEFT divides by r itself: hand alpha over as it is.",
        "text": "A string is one regular expression for the whole name, not a list. Give a list.",
        "missed": "The rule hits fewer layers than have an adapter. In block 1 not the same layers "
        "need be adapted as in block 0.",
        "too_many": "The rule hits layers without an adapter: those would stay at zero. Where an "
        "ending is adapted in one block only, give whole names.",
        "shapes": "The names are right, but a tensor has changed its shape. Only the names change.",
        "back_prefix": "from_peft leaves PEFT's prefix on.",
        "back_eaten": "`replace('model.', '')` and `lstrip` eat more than the prefix: our own "
        "name begins with `model.`. Use `removeprefix('base_model.model.')`.",
        "back_weight": "from_peft leaves `.weight` at the end.",
        "back_scale": "The scale is alpha / r, not alpha.",
        "raised:KeyError": "The names are those of the task; take sizes from the tensors in `state`"
        ", whatever the layers are called.",
        "other": "Compare your keys with the one in the text, letter by letter.",
    },
    make=make_convert,
    probe=probe_convert,
    judge=judge_convert,
)


# 8.2 Target rules for a GPT-2
PARTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
RULES = ("attention", "second", "last_two")
SPOKEN = ("the attention", "the second layer of the MLP", "the last two blocks")


def make_rules(seed):
    rng = np.random.default_rng(seed + 810)
    return {"blocks": np.array(rng.integers(11, 14))}


@cache
def _gpt2(blocks):
    """[(name, whether LoRA can go there)] for every module of a GPT-2."""
    import torch
    from torch import nn
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    config = GPT2Config(
        vocab_size=4, n_embd=2, n_layer=blocks, n_head=1, n_positions=2,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    with torch.device("meta"):
        model, kinds = GPT2LMHeadModel(config), (nn.Linear, nn.Embedding, Conv1D)
    return [(name, isinstance(m, kinds)) for name, m in model.named_modules() if name]


def probe_rules(namespace, a):
    blocks = a["blocks"].item()
    rules = _parts(namespace["gpt2_rules"](blocks), 3, "the result")
    made = {"head": np.zeros(3), "fault": np.zeros(3), "is_text": np.zeros(3)}
    for k, rule in enumerate(rules):
        if not isinstance(rule, (str, list, tuple, set)):
            raise Refused("type", f"Rule {k + 1} is {kind(rule)}.", "a list or a string.")
        made["is_text"][k] = isinstance(rule, str)
        made[f"hits_{k}"] = hits = np.zeros((blocks, 4))
        try:
            found = _hit(rule if isinstance(rule, str) else list(rule), blocks)
        except Exception:  # no regular expression, or entries that are no text
            made["fault"][k] = 3
            continue
        made["fault"][k] = 2 if not all(ok for _, ok in found) else 1 if not found else 0
        for name, _ in found:
            place = name.partition(".h.")[2].split(".", 1)
            if len(place) == 2 and place[1] in PARTS:
                hits[int(place[0]), PARTS.index(place[1])] = 1
            else:
                made["head"][k] = 1
    return made


def _hit(rule, blocks):
    """What get_peft_model would choose, by PEFT's own comparison: part of _gpt2(blocks)."""
    with _peft() as peft:
        from peft.tuners.tuners_utils import check_target_module_exists

        if rule == "all-linear":
            return [(name, ok) for name, ok in _gpt2(blocks) if name.partition(".h.")[2] and ok]
        config = peft.LoraConfig(target_modules=rule)
        return [(n, ok) for n, ok in _gpt2(blocks) if check_target_module_exists(config, n)]


def judge_rules(i, o):
    blocks, right = i["blocks"].item(), 0
    wanted = np.zeros((3, blocks, 4))
    wanted[0, :, :2] = wanted[1, :, 3] = wanted[2, -2:, :] = 1
    first = None
    for k in range(3):
        verdict = _rule_verdict(k, o, wanted[k])
        first = first or verdict
        right += verdict is None
    if first is None:
        return Verdict(1.0)
    return first._replace(share=right / 3)


def _rule_verdict(k, o, want):
    hits, fault, said = o[f"hits_{k}"], o["fault"].ravel()[k], f"the rule for {SPOKEN[k]}"
    if fault in (1, 3):
        key = "comma_or_part" if o["is_text"].ravel()[k] else "regex_in_list"
        return Verdict(0.0, key, f"{said} hits nothing", f"{int(want.sum())} layers")
    if fault == 2:
        return Verdict(0.0, "no_linear", f"{said} makes PEFT raise an error", "linear layers only")
    if o["head"].ravel()[k]:
        return Verdict(0.0, "other", f"{said} hits something outside the blocks", "the blocks")
    if hits.shape == want.shape and np.array_equal(hits, want):
        return None
    if hits.shape != want.shape:
        return Verdict(0.0, "other", said)
    more, less = int((hits > want).sum()), int((hits < want).sum())
    key = "other"
    if k == 0 and np.array_equal(hits[:, :2], want[:, :2]) and hits[:, 3].all():
        key = "mlp_too"
    elif k == 1 and hits[:, 3].all() and hits[:, 1].all() and not hits[:, [0, 2]].any():
        key = "attention_too"
    elif k == 2 and not less and more:
        key = "other_blocks"
    elif k == 2 and not more and hits[-1].any() and not hits[-2].any():
        key = "count"
    elif k == 2 and np.array_equal(hits[:-1], want[1:]):
        key = "count"
    elif less and not more:
        key = "missed"
    seen = f"{said} hits {int(hits.sum())} layers, {more} too many, and misses {less}"
    return Verdict(0.0, key, seen, f"{int(want.sum())} layers")


gpt2_rules = Check(
    name="gpt2_rules",
    title="Target rules for a GPT-2",
    wants=("gpt2_rules",),
    difficulty=2,
    minutes=12,
    points=20,
    verified="PEFT puts LoRA into exactly the wanted layers, for 11 to 13 blocks",
    hints=(
        "`c_proj` is the end of two names in every block. An ending may hold a dot.",
        "Two lists do for the first two rules. The third needs a string: a regular expression that "
        "matches the **whole** name, with the two numbers in it.",
        r"`rf'.*\.h\.({blocks - 2}|{blocks - 1})\.(attn|mlp)\.c_\w+'`. An unescaped dot is any "
        "character, and `h.1` without a dot behind it also begins `h.10`.",
    ),
    mistakes={
        "comma_or_part": "A string is one regular expression, and it must match the whole name, "
        "from `transformer` on. Begin with `.*`; commas separate nothing. Or give a list.",
        "regex_in_list": "The entries of a list are compared letter by letter with the end of the "
        "name: no `.*` in them, and no number pattern.",
        "no_linear": "The expression also matches a whole block, a norm or an activation. End "
        "it with the names of the four linear layers.",
        "mlp_too": "`c_proj` alone also ends `mlp.c_proj`. Say `attn.c_proj`.",
        "attention_too": "`c_proj` alone also ends `attn.c_proj`. Say `mlp.c_proj`.",
        "other_blocks": "The last rule hits other blocks as well. In `.*1.*` any 1 counts, also "
        "that of block 1 or 10: put `\\.` on both sides of the number.",
        "count": "Blocks count from 0: the last one is blocks - 1.",
        "missed": "Some of the wanted layers are not hit. The attention has `c_attn` and "
        "`c_proj`, the MLP `c_fc` and `c_proj`.",
        "raised:TypeError": "The function returns three rules, one after the other.",
        "other": "Print the names: `for n, m in GPT2LMHeadModel(config).named_modules()`, and try "
        "your rule on them.",
    },
    make=make_rules,
    probe=probe_rules,
    judge=judge_rules,
)


# 8.3 Switch and disable
NAMES = ("red", "green", "blue")
STEPS = ("base", "first", "second")
STATES = ("trains", "frozen")  # the active adapter of the model, before the call


def _net(a, trains):
    """A PeftModel of two layers with three adapters; the third is active, and trains or not."""
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
    with torch.no_grad():
        for k, layer in enumerate((net[0], net[2])):
            layer.weight.copy_(tensor(a[f"W{k}"]))
            layer.bias.zero_()
    with _peft() as peft:
        config = lambda: peft.LoraConfig(r=3, lora_alpha=7, target_modules=["0", "2"])  # noqa: E731
        model = peft.get_peft_model(net, config(), adapter_name=NAMES[0])
        for name in NAMES[1:]:
            model.add_adapter(name, config())
        for key, layer in (("0", net[0]), ("1", net[2])):
            for name in NAMES:
                layer.lora_A[name].weight.data = tensor(a[f"A{key}_{name}"])
                layer.lora_B[name].weight.data = tensor(a[f"B{key}_{name}"])
        model.set_adapter(NAMES[2], inference_mode=not trains)
    return model.eval()


def make_three(seed):
    rng = np.random.default_rng(seed + 820)
    made = {"x": _f(rng, 4, 6), "W0": _f(rng, 8, 6) / 3, "W1": _f(rng, 5, 8) / 3}
    for k, (n_in, n_out) in enumerate(((6, 8), (8, 5))):
        for name in NAMES:
            made |= {f"A{k}_{name}": _f(rng, 3, n_in) / 3, f"B{k}_{name}": _f(rng, n_out, 3) / 3}
    return made


def probe_three(namespace, a):
    made = {}
    for state in STATES:
        model = _net(a, state == "trains")
        before = [p.requires_grad for p in model.parameters()]
        given = model, tensor(a["x"]), NAMES[0], NAMES[1]
        with _peft():
            found = _parts(namespace["three_outputs"](*given), 3, "the result")
        for name, value in zip(STEPS, found, strict=True):
            made[f"{name}_{state}"] = array(value, f"the output {name}")
        left = [m for m in model.modules() if hasattr(m, "lora_A")]
        now = getattr(model, "active_adapter", "")
        after = [p.requires_grad for p in model.parameters()]
        pairs = list(zip(before, after, strict=False))
        made |= {
            f"layers_{state}": float(len(left)),
            f"active_{state}": float(NAMES.index(now)) if now in NAMES else -1.0,
            f"enabled_{state}": float(not any(m.disable_adapters for m in left)),
            f"kept_{state}": float(all(len(m.lora_A) == 3 and not m.merged for m in left)),
            f"thawed_{state}": float(sum(b < n for b, n in pairs)),
            f"frozen_{state}": float(sum(b > n for b, n in pairs)),
        }
    return made


def _forward(i, name):
    h = i["x"]
    for k in (0, 1):
        W = i[f"W{k}"]
        if name:
            W = W + 7 / 3 * i[f"B{k}_{name}"] @ i[f"A{k}_{name}"]
        h = h @ W.T
        h = np.tanh(h) if k == 0 else h
    return h


def judge_three(i, o):
    outs = {name: _forward(i, name) for name in ("", *NAMES)}
    for state in STATES:
        wrong = _three_verdict(
            {k.rpartition("_")[0]: v for k, v in o.items() if k.endswith(state)}, outs
        )
        if wrong:
            return wrong
    return Verdict(1.0)


def _three_verdict(o, outs):
    same = lambda seen, name: close(seen, outs[name], 1e-3, 1e-4)  # noqa: E731
    if not o["layers"]:
        return Verdict(0.0, "unloaded", "the model has no LoRA layers any more", "its adapters")
    for step, want in zip(STEPS, ("", *NAMES), strict=False):
        if same(o[step], want):
            continue
        names = [name for name in ("", *NAMES) if same(o[step], name)]
        key = "other"
        if names:
            key = "not_disabled" if step == "base" else "not_off" if names == [""] else "no_switch"
        seen = f"the output `{step}` is that of {names[0] or 'the base'}" if names else f"`{step}`"
        return Verdict(0.0, key, seen, f"the output of {want or 'the base'}")
    if not o["kept"]:
        return Verdict(
            0.0, "changed", "an adapter was deleted or merged", "all three, as they were"
        )
    if not o["enabled"]:
        return Verdict(0.0, "still_off", "the adapters are off after the call", "on")
    if not close(o["active"], 2.0):
        return Verdict(0.0, "left", f"the active adapter is number {o['active']:g}", "2, as before")
    if o["thawed"]:
        return Verdict(0.0, "thawed", f"{int(o['thawed'])} tensors train that were frozen", "none")
    if o["frozen"]:
        return Verdict(0.0, "frozen", f"{int(o['frozen'])} tensors no longer train", "none")
    return None


three_outputs = Check(
    name="three_outputs",
    title="Switch and disable",
    wants=("three_outputs",),
    difficulty=3,
    minutes=12,
    points=20,
    verified="three outputs, the active adapter and every requires_grad as before, whether the "
    "active adapter was training or frozen",
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
    mistakes={
        "not_disabled": "The first output still has an adapter in it. Call the model inside "
        "`with model.disable_adapter():`.",
        "not_off": "This output is the base's: the adapters are still off. Leave the `with` block "
        "before you switch.",
        "no_switch": "This output is another adapter's. Call `model.set_adapter(name)` before each "
        "call of the model.",
        "unloaded": "`unload()` and `merge_and_unload()` take the LoRA layers out of the model for "
        "good. To look at the base for a moment, use `disable_adapter()`.",
        "changed": "An adapter of the model is gone, or is in the weights now. Only switch.",
        "still_off": "The adapters stay off after your function. `with model.disable_adapter():` "
        "turns them on again by itself.",
        "left": "The outputs are right, but the model is left with another active adapter. Note "
        "`model.active_adapter` first and set it again at the end.",
        "thawed": "`set_adapter`, and the end of `disable_adapter`, make an adapter trainable that "
        "was frozen. Put the old `requires_grad` back at the very end.",
        "frozen": "With `inference_mode=True` the active adapter comes back frozen, but it was "
        "training. Note `requires_grad` first and put it back.",
        "raised:TypeError": "`disable_adapter` is a context manager: "
        "`with model.disable_adapter(): ...`.",
        "raised:RuntimeError": "The outputs carry a gradient. Call the model inside "
        "`torch.no_grad()`.",
        "other": "Return a tuple of three tensors: base, first, second.",
    },
    make=make_three,
    probe=probe_three,
    judge=judge_three,
)


# 8.4 Three silent failures
KINDS = ("q_proj", "up_proj", "down_proj")
CASES = ("healthy", "typo", "part", "prefix", "fewer", "stale", "zero", "all")


def make_audit(seed):
    rng = np.random.default_rng(seed + 830)
    return {"r": np.array(rng.integers(2, 5)), "seed": np.array(rng.integers(1000))}


def _cases(a):
    """(name, model, target_modules, tensors) of every case, with real PEFT models."""
    import torch

    r, seed = a["r"].item(), a["seed"].item()
    with _peft() as peft:
        for number, name in enumerate(CASES):
            asked = list(KINDS)
            if name in ("typo", "all"):
                asked = ["q_porj", "up_proj", r".*down_proj"]
            if name == "part":
                asked = ["q_proj", "proj", "down_proj"]
            torch.manual_seed(seed + number)
            config = peft.LoraConfig(r=r, lora_alpha=7, target_modules=asked)
            if name == "fewer":
                config.target_modules = {"q_proj", "up_proj"}
                asked = ["q_proj", "up_proj"]
            whole = peft.LoraConfig(r=r, lora_alpha=7, target_modules=list(KINDS))
            trained = peft.get_peft_model(_blank(1), whole)
            with torch.no_grad():
                for p in trained.parameters():
                    p.normal_()
            tensors = peft.get_peft_model_state_dict(trained)
            tensors = {key: t.clone() for key, t in tensors.items()}
            if name in ("typo", "part"):  # the file is of this model, so nothing is lost
                kept = "up_proj" if name == "typo" else ("q_proj", "down_proj")
                kept = (kept,) if isinstance(kept, str) else kept
                tensors = {k: t for k, t in tensors.items() if any(f".{e}." in k for e in kept)}
            if name in ("prefix", "all"):
                tensors = {k.removeprefix(PREFIX): t for k, t in tensors.items()}
            if name == "zero":
                for key in sorted(tensors)[:4]:
                    if "lora_B" in key:
                        tensors[key].zero_()
            model = peft.get_peft_model(_blank(1), config)
            peft.set_peft_model_state_dict(model, tensors)
            if name == "stale":  # the file is newer than what the model holds
                for key in sorted(tensors)[:3]:
                    tensors[key] += 1
            yield name, model.eval(), asked, tensors


# missed, lost, idle. _blank(1) has 3 layers: 6 tensors.
RIGHT = {
    "healthy": (0, 0, 0),
    "typo": (2, 0, 0),
    "part": (1, 0, 0),
    "prefix": (0, 6, 3),
    "fewer": (0, 2, 0),
    "stale": (0, 3, 0),
    "zero": (0, 0, 2),
    "all": (2, 6, 1),
}


def probe_audit(namespace, a):
    made = {}
    for name, model, asked, tensors in _cases(a):
        with _peft():
            found = namespace["audit"](model, asked, tensors)
        counts = _parts(found, 3, f"the result for {name!r}")
        made[name] = np.array(
            [array(value, "a count").ravel()[:1].sum().real for value in counts], float
        )
    return made


def judge_audit(i, o):
    table = {name: np.asarray(o[name], float).ravel() for name in CASES}
    if any(row.shape != (3,) for row in table.values()):
        return Verdict(0.0, "other", "not three counts")
    right = sum(np.array_equal(table[name], RIGHT[name]) for name in CASES)
    if right == len(CASES):
        return Verdict(1.0)
    columns = {k: {name: table[name][k] for name in CASES} for k in range(3)}
    want = {k: {name: RIGHT[name][k] for name in CASES} for k in range(3)}
    wrong = next(k for k in range(3) if columns[k] != want[k])
    seen, is_right = columns[wrong], want[wrong]
    known = {
        0: {
            "blind": {name: 0 for name in CASES},
            "substring": {**is_right, "part": 0},
            "flags": {name: float(v > 0) for name, v in is_right.items()},
        },
        1: {
            "names_only": {**is_right, "stale": 0},
            "adapter_name": {name: {"typo": 2, "part": 4}.get(name, 6) for name in CASES},
            "flags": {name: float(v > 0) for name, v in is_right.items()},
        },
        2: {
            "looks_at_A": {name: 0 for name in CASES},
            "flags": {name: float(v > 0) for name, v in is_right.items()},
            "tensors": {name: 2 * v for name, v in is_right.items()},
        },
    }[wrong]
    key = next((k for k, row in known.items() if seen == row), "other")
    name = next(n for n in CASES if seen[n] != is_right[n])
    word = ("missed", "lost", "idle")[wrong]
    text = f"in the case {name!r}: {word} = {seen[name]:g}"
    return Verdict(wrong / 3, key, text, f"{is_right[name]:g}")


audit = Check(
    name="audit",
    title="Three silent failures",
    wants=("audit",),
    difficulty=3,
    minutes=15,
    points=20,
    verified="eight models of PEFT: healthy, a typo, part of a name, a lost prefix, a config that "
    "asks for less, an old version, zeros, all at once",
    hints=(
        "Each count is a loop over one of the three things you are given. PEFT's LoRA layers are "
        "those with a `lora_A`.",
        "An entry t hits a name n when `f'.{n}'.endswith(f'.{t}')`. A tensor is in the model when "
        "its key is in `get_peft_model_state_dict(model)`, with equal values. The update of a "
        "layer is `layer.get_delta_weight('default')`.",
        "`layers = {n: m for n, m in model.named_modules() if hasattr(m, 'lora_A')}`; then "
        "`lost = sum(k not in own or not torch.equal(own[k], t) for k, t in tensors.items())`.",
    ),
    mistakes={
        "blind": "Entries that hit nothing are not seen. Go through the list and ask for each "
        "entry whether any layer with LoRA has a name that ends in it.",
        "substring": "`proj` is a part of `q_proj` and hits it not: a name must end in a dot and "
        "the entry.",
        "names_only": "The keys are there, but some values in the model are not those of the "
        "file. Compare with `torch.equal`.",
        "adapter_name": "In `model.state_dict()` the keys have the adapter's name in them, so "
        "nothing is found. Compare with `get_peft_model_state_dict(model)`.",
        "looks_at_A": "A is never zero, B is: look at the update B @ A, or at B.",
        "flags": "This says whether, not how many. Return counts.",
        "tensors": "This counts tensors. Count layers: each has an A and a B.",
        "raised:KeyError": "A key of the file may be missing in the model: that is one of the "
        "failures. Ask with `in` first.",
        "raised:RuntimeError": "Compare tensors with `torch.equal`, which takes other shapes too.",
        "other": "Three counts: entries without a layer, tensors without a place, layers "
        "without an update.",
    },
    make=make_audit,
    probe=probe_audit,
    judge=judge_audit,
)


# 8.5 A mixed batch
TEAMS = {"clinic": 2, "court": 5, "crier": 3}  # name: rank
ROWS = ("court", "clinic", "__base__", "court", "crier", "clinic", "__base__")


def make_mixed(seed):
    rng = np.random.default_rng(seed + 840)
    made = {"x": _f(rng, len(ROWS), 4, 6), "W": _f(rng, 8, 6), "order": rng.permutation(len(ROWS))}
    for name, r in TEAMS.items():
        scale = rng.choice([0.5, 1.5, 3.0])
        made |= {
            f"A_{name}": _f(rng, r, 6),
            f"B_{name}": _f(rng, 8, r),
            f"s_{name}": np.array(scale),
        }
    return made


def probe_mixed(namespace, a):
    adapters = {n: (tensor(a[f"A_{n}"]), tensor(a[f"B_{n}"]), a[f"s_{n}"].item()) for n in TEAMS}
    names = [ROWS[k] for k in a["order"]]
    x, W = tensor(a["x"]), tensor(a["W"])
    made = {"y": array(namespace["mixed_batch"](x, W, adapters, names), "the result")}
    return made | {"x": array(x, "x"), "W": array(W, "W")}


def judge_mixed(i, o):
    names = [ROWS[k] for k in i["order"]]
    plain = i["x"] @ i["W"].T
    step = {n: i["x"] @ i[f"A_{n}"].T @ i[f"B_{n}"].T for n in TEAMS}  # without the scale
    full = {n: i[f"s_{n}"] * step[n] for n in TEAMS}
    rows = lambda parts, base: np.stack(  # noqa: E731
        [base[k] + (parts[n][k] if n in parts else 0) for k, n in enumerate(names)]
    )
    want, seen = rows(full, plain), o["y"]
    if not close(o["x"], i["x"]) or not close(o["W"], i["W"]):
        return Verdict(0.0, "inputs", "x or W has other values after the call", "them untouched")
    if close(seen, want, 1e-3, 1e-3):
        return Verdict(1.0)
    if seen.shape != want.shape:
        return Verdict(0.0, "shape", f"shape {seen.shape}", f"{want.shape}")
    zero = np.zeros_like(plain)
    grouped = [k for n in (*TEAMS, "__base__") for k, m in enumerate(names) if m == n]
    first = [k for n in ("__base__", *TEAMS) for k, m in enumerate(names) if m == n]
    seen_order = sorted(range(len(names)), key=lambda k: names.index(names[k]))
    base = np.array([n == "__base__" for n in names])[:, None, None]
    known = {
        "no_scale": [rows(step, plain)],
        "base_only": [plain],
        "update_only": [rows(full, zero)],
        "base_empty": [np.where(base, 0, want)],
        "everybody": [plain + sum(full.values())],
        "one_for_all": [plain + update for update in full.values()],
        "order": [
            want[grouped],
            want[first],
            want[seen_order],
            want[sorted(range(len(names)), key=lambda k: names[k])],
        ],
    }
    for key, values in known.items():
        if any(close(seen, value, 1e-3, 1e-3) for value in values):
            return Verdict(0.0, key)
    off = [k for k in range(len(names)) if not close(seen[k], want[k], 1e-3, 1e-3)]
    return Verdict(0.0, "other", f"{len(off)} of {len(names)} rows are wrong", "none")


mixed_batch = Check(
    name="mixed_batch",
    title="A mixed batch",
    wants=("mixed_batch",),
    difficulty=4,
    minutes=15,
    points=20,
    verified="seven rows, three adapters of unlike rank and two rows without one, in any order; x "
    "and W untouched",
    hints=(
        "What do all rows share? Do that once. What is left is a loop over adapters, not rows.",
        "`out = x @ W.T` for the whole batch. For each adapter find the numbers of its rows, and "
        "add the update to those rows of `out` only.",
        "`rows = [i for i, n in enumerate(names) if n == name]`, then "
        "`out[rows] += scaling * (x[rows] @ A.T @ B.T)`. Rows of `__base__` are never touched.",
    ),
    mistakes={
        "no_scale": "The updates go in without their scale, the third value of each adapter.",
        "base_only": "Every row gets W x alone. `out[rows].add_(...)` changes a copy: use "
        "`out[rows] += ...`.",
        "update_only": "W x is missing. Every row gets it, and the update on top.",
        "base_empty": "The rows of `__base__` come out as zero. They get W x like all others.",
        "everybody": "Every row gets the updates of all adapters. Pick the rows of each one.",
        "one_for_all": "All rows get the same adapter. `names` has one name for each row.",
        "order": "The rows are right but come out sorted by adapter. Write each result to its "
        "old place.",
        "shape": "One output for every row and token: (rows, T, out).",
        "inputs": "Your function changes what it was given. `x @ W.T` makes a new tensor; work on "
        "that.",
        "raised:KeyError": "`__base__` is not among the adapters: such a row gets no update.",
        "raised:RuntimeError": "The ranks differ, so the factors cannot be stacked into one tensor."
        " Go through the adapters one by one.",
        "other": "Compute one row by hand: W x + scaling B A x with its own adapter.",
    },
    make=make_mixed,
    probe=probe_mixed,
    judge=judge_mixed,
)

EXERCISES = (convert, gpt2_rules, three_outputs, audit, mixed_batch)
