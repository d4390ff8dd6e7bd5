"""Right and wrong answers to the exercises of chapter 08."""

from tests.answers import Answer

KEY = 'f"base_model.model.{name}.weight"'
LAYERS = 'layers = sorted({name.rsplit(".", 1)[0] for name in state})'
BACK = 'key.removeprefix("base_model.model.").removesuffix(".weight")'
SCALE = 'settings["lora_alpha"] / settings["r"]'

ATTENTION = '["attn.c_attn", "attn.c_proj"]'
SECOND = '["mlp.c_proj"]'
LAST = r'rf".*\.h\.({blocks - 2}|{blocks - 1})\.(attn|mlp)\.c_\w+"'

OFF = "        with model.disable_adapter():\n            outputs = [model(x)]\n"
SET = "            model.set_adapter(name)\n"
RESET = "    model.set_adapter(active)\n"
FLAGS = """    for name, p in model.named_parameters():
        p.requires_grad = trains[name]
"""

HIT = 'any(f".{n}".endswith(f".{t}") for n in layers)'
HELD = "k in own and torch.equal(own[k], t)"
ALIVE = 'bool(m.get_delta_weight("default").any())'
COUNTS = "return hit.count(False), held.count(False), alive.count(False)"

PLUS = "        out[rows] += scaling * (x[rows] @ A.T @ B.T)\n"
ALL = "    out = x @ W.T  # (rows, T, out), once for all rows\n"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


def whole(exercise, note, code, mistake=""):
    return Answer(exercise, note, mistake, code=code)


RIGHT = [
    # 8.1
    Answer(
        "convert",
        "a regular expression and a loop",
        code="""
import re


def to_peft(state, lora_alpha):
    tensors, layers = {}, []
    for name in state:
        layer, factor = name.rsplit(".", 1)
        layers.append(re.escape(layer))
        tensors["base_model.model." + layer + "." + factor + ".weight"] = state[name].clone()
        if factor == "lora_B":
            r = state[name].size(1)
    rule = "|".join(layers)
    return dict(target_modules=rule, r=r, lora_alpha=lora_alpha), tensors


def from_peft(settings, tensors):
    scaling = torch.tensor(settings["lora_alpha"]) / settings["r"]
    return {".".join(k.split(".")[2:-1]): t for k, t in tensors.items()}, scaling
""",
    ),
    Answer(
        "convert",
        "a set of names, slices",
        edits=[
            (LAYERS, "layers = {name[: -len('.lora_A')] for name in state}"),
            (BACK, 'key[len("base_model.model.") : -len(".weight")]'),
        ],
    ),
    # 8.2
    Answer(
        "gpt2_rules",
        "three regular expressions",
        edits=[
            (ATTENTION, r'r".*attn\.c_(attn|proj)"'),
            (SECOND, r'r"transformer\.h\.\d+\.mlp\.c_proj"'),
        ],
    ),
    Answer(
        "gpt2_rules",
        "whole names",
        code="""
def gpt2_rules(blocks):
    parts = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    last = [f"h.{n}.{p}" for n in range(blocks - 2, blocks) for p in parts]
    return [("attn.c_proj", "c_attn"), {"mlp.c_proj"}, last]
""",
    ),
    # 8.3
    Answer(
        "three_outputs",
        "mixed batches, nothing is switched",
        code="""
@torch.no_grad()
def three_outputs(model, x, first, second):
    return tuple(model(x, adapter_names=[n] * len(x)) for n in ("__base__", first, second))
""",
    ),
    Answer(
        "three_outputs",
        "one mixed batch",
        code="""
def three_outputs(model, x, first, second):
    names = ["__base__"] * len(x) + [first] * len(x) + [second] * len(x)
    with torch.no_grad():
        return model(torch.cat([x, x, x]), adapter_names=names).chunk(3)
""",
    ),
    Answer(
        "three_outputs",
        "inference_mode, and back as it was",
        code="""
def three_outputs(model, x, first, second):
    active = model.active_adapters[0]
    trained = any(p.requires_grad for p in model.parameters())
    with model.disable_adapter():
        found = [model(x).detach()]
    for name in (first, second):
        model.set_adapter(name, inference_mode=True)
        found.append(model(x).detach())
    model.set_adapter(active, inference_mode=not trained)
    return found
""",
    ),
    # 8.4
    Answer(
        "audit",
        "loops",
        code="""
def audit(model, target_modules, tensors):
    missed = lost = idle = 0
    names = [n for n, m in model.named_modules() if hasattr(m, "lora_A")]
    for entry in target_modules:
        if not [n for n in names if n.split(".")[-len(entry.split(".")):] == entry.split(".")]:
            missed += 1
    state = model.state_dict()
    for key, value in tensors.items():
        place = key.replace(".weight", ".default.weight")
        if place not in state or (state[place] != value).any():
            lost += 1
    for n in names:
        layer = model.get_submodule(n)
        update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        if update.abs().sum() == 0:
            idle += 1
    return missed, lost, idle
""",
    ),
    Answer(
        "audit",
        "sums of flags",
        edits=[(COUNTS, "return tuple(len(v) - sum(v) for v in (hit, held, alive))")],
    ),
    # 8.5
    Answer(
        "mixed_batch",
        "row by row",
        code="""
def mixed_batch(x, W, adapters, names):
    rows = []
    for row, name in zip(x, names):
        out = row @ W.T
        if name != "__base__":
            A, B, scaling = adapters[name]
            out = out + (row @ A.T) @ B.T * scaling
        rows.append(out)
    return torch.stack(rows)
""",
    ),
    Answer(
        "mixed_batch",
        "masks and einsum",
        code="""
def mixed_batch(x, W, adapters, names):
    out = torch.einsum("btd,od->bto", x, W)
    for name, (A, B, scaling) in adapters.items():
        mask = torch.tensor([n == name for n in names])[:, None, None]
        out = out + mask * (scaling * (x @ (B @ A).T))
    return out
""",
    ),
]

WRONG = [
    # 8.1
    Answer("convert", "no prefix", "prefix", edits=[(KEY, 'f"{name}.weight"')]),
    Answer(
        "convert", "base_model alone", "one_prefix", edits=[(KEY, 'f"base_model.{name}.weight"')]
    ),
    Answer("convert", "no .weight", "weight", edits=[(KEY, 'f"base_model.model.{name}"')]),
    Answer(
        "convert",
        "the key of the model",
        "adapter_name",
        edits=[(KEY, 'f"base_model.model.{name}.default.weight"')],
    ),
    Answer("convert", "our names", "untouched", edits=[(KEY, "name")]),
    Answer("convert", "the wrong size", "rank", edits=[("t.shape[0] for", "t.shape[1] for")]),
    Answer("convert", "r of lora_B", "rank", edits=[('endswith("lora_A")', 'endswith("lora_B")')]),
    Answer(
        "convert",
        "alpha / r",
        "alpha",
        edits=[('"lora_alpha": lora_alpha', '"lora_alpha": lora_alpha / r')],
    ),
    Answer(
        "convert", "a comma string", "text", edits=[(LAYERS, LAYERS.replace("sorted", '",".join'))]
    ),
    Answer("convert", "one string", "text", edits=[(LAYERS, 'layers = "q_proj"')]),
    Answer(
        "convert", "one ending", "missed", edits=[(LAYERS, "layers = [sorted(state)[0][: -7]]")]
    ),
    Answer(
        "convert",
        "endings only",
        "too_many",
        edits=[(LAYERS, 'layers = sorted({name.split(".")[-2] for name in state})')],
    ),
    Answer("convert", "all-linear", "too_many", edits=[(LAYERS, 'layers = "all-linear"')]),
    Answer("convert", "the head as well", "too_many", edits=[(LAYERS, LAYERS + ' + ["lm_head"]')]),
    Answer(
        "convert", "prefix stays on", "back_prefix", edits=[(BACK, 'key.removesuffix(".weight")')]
    ),
    Answer(
        "convert",
        "replace eats too much",
        "back_eaten",
        edits=[(BACK, 'key.replace("base_", "").replace("model.", "").removesuffix(".weight")')],
    ),
    Answer(
        "convert",
        "weight stays on",
        "back_weight",
        edits=[(BACK, 'key.removeprefix("base_model.model.")')],
    ),
    Answer(
        "convert", "alpha for the scale", "back_scale", edits=[(SCALE, 'settings["lora_alpha"]')]
    ),
    Answer(
        "convert",
        "one layer by name",
        "raised",
        edits=[
            (
                'next(t.shape[0] for name, t in state.items() if name.endswith("lora_A"))',
                'state["model.layers.9.q_proj.lora_A"].shape[0]',
            )
        ],
    ),
    Answer(
        "convert",
        "tensors transposed",
        "transposed",
        edits=[(f"{KEY}: t for", f"{KEY}: t.T for")],
    ),
    Answer(
        "convert",
        "doubles the values",
        "multiplied",
        edits=[(f"{KEY}: t for", f"{KEY}: 2 * t for")],
    ),
    # 8.2
    Answer("gpt2_rules", "c_proj alone", "mlp_too", edits=[(ATTENTION, '["c_attn", "c_proj"]')]),
    Answer("gpt2_rules", "c_proj for the MLP", "attention_too", edits=[(SECOND, '["c_proj"]')]),
    Answer(
        "gpt2_rules",
        "a comma string",
        "comma",
        edits=[(ATTENTION, '"attn.c_attn,attn.c_proj"')],
    ),
    Answer("gpt2_rules", "a part of the name", "part", edits=[(SECOND, '"mlp.c_proj"')]),
    Answer("gpt2_rules", "a regex in a list", "regex_in_list", edits=[(LAST, "[" + LAST + "]")]),
    Answer(
        "gpt2_rules",
        "whole blocks",
        "no_linear",
        edits=[(LAST, r'rf".*\.h\.({blocks - 2}|{blocks - 1})\..*"')],
    ),
    Answer(
        "gpt2_rules",
        "no dot around the number",
        "other_blocks",
        edits=[(LAST, r'rf".*({(blocks - 2) % 10}|{(blocks - 1) % 10})\.(attn|mlp)\.c_\w+"')],
    ),
    Answer(
        "gpt2_rules",
        "blocks count from 1",
        "count",
        edits=[(LAST, r'rf".*\.h\.({blocks - 1}|{blocks})\.(attn|mlp)\.c_\w+"')],
    ),
    Answer(
        "gpt2_rules",
        "a block too early",
        "count",
        edits=[(LAST, r'rf".*\.h\.({blocks - 3}|{blocks - 2})\.(attn|mlp)\.c_\w+"')],
    ),
    Answer(
        "gpt2_rules",
        "the attention of the last two",
        "missed",
        edits=[(LAST, r'rf".*\.h\.({blocks - 2}|{blocks - 1})\.attn\.c_\w+"')],
    ),
    Answer("gpt2_rules", "c_attn alone", "missed", edits=[(ATTENTION, '["c_attn"]')]),
    Answer(
        "gpt2_rules",
        "wants no number",
        "raised",
        edits=[("gpt2_rules(blocks)", "gpt2_rules()")],
    ),
    Answer("gpt2_rules", "first layer of the MLP", "first_layer", edits=[(SECOND, '["mlp.c_fc"]')]),
    # 8.3
    Answer(
        "three_outputs",
        "never disabled",
        "not_disabled",
        edits=[(OFF, "        outputs = [model(x)]\n")],
    ),
    Answer(
        "three_outputs",
        "all inside the block",
        "not_off",
        edits=[
            (
                "        for name in (first, second):\n",
                "            for name in (first, second):\n",
            ),
            (SET, "                model.set_adapter(name)\n"),
            ("            outputs.append(", "                outputs.append("),
        ],
    ),
    Answer("three_outputs", "never switched", "no_switch", edits=[(SET, "")]),
    Answer(
        "three_outputs",
        "swapped",
        "exchanged",
        edits=[("(first, second):\n        ", "(second, first):\n        ")],
    ),
    Answer(
        "three_outputs",
        "unload",
        "unloaded",
        code="""
def three_outputs(model, x, first, second):
    outs = []
    with torch.no_grad():
        for name in (first, second):
            model.set_adapter(name)
            outs.append(model(x))
        base = model.unload()
        return base(x), *outs
""",
    ),
    Answer(
        "three_outputs",
        "deletes what it has seen",
        "changed",
        edits=[
            (
                "            outputs.append(model(x))\n",
                "            outputs.append(model(x))\n    model.delete_adapter(second)\n",
            ),
            (RESET + FLAGS, ""),
        ],
    ),
    Answer(
        "three_outputs",
        "turns off for good",
        "still_off",
        code="""
@torch.no_grad()
def three_outputs(model, x, first, second):
    active, outs = model.active_adapter, []
    for name in (first, second):
        model.set_adapter(name, inference_mode=True)
        outs.append(model(x))
    model.set_adapter(active, inference_mode=True)
    model.base_model.disable_adapter_layers()
    return model(x), *outs
""",
    ),
    Answer("three_outputs", "leaves the second one", "left", edits=[(RESET, "")]),
    Answer("three_outputs", "set_adapter alone", "thawed", edits=[(FLAGS, "")]),
    Answer(
        "three_outputs",
        "disables last",
        "thawed",
        code="""
@torch.no_grad()
def three_outputs(model, x, first, second):
    active, found = model.active_adapter, []
    trained = any(p.requires_grad for p in model.parameters())
    for name in (first, second):
        model.set_adapter(name, inference_mode=True)
        found.append(model(x))
    model.set_adapter(active, inference_mode=not trained)
    with model.disable_adapter():
        return model(x), *found
""",
    ),
    Answer(
        "three_outputs",
        "sets back, thaws or not",
        "thawed",
        edits=[(FLAGS, "    for p in model.parameters():\n        p.requires_grad = True\n")],
    ),
    Answer(
        "three_outputs",
        "everything frozen after",
        "frozen",
        edits=[(FLAGS, "    model.requires_grad_(False)\n")],
    ),
    Answer(
        "three_outputs",
        "no with",
        "raised",
        edits=[(OFF, "        outputs = [model(x, model.disable_adapter())]\n")],
    ),
    Answer(
        "three_outputs",
        "two of them",
        "type",
        edits=[("return tuple(outputs)", "return outputs[1:]")],
    ),
    # 8.4
    Answer("audit", "never looks at the list", "blind", edits=[(HIT, "True")]),
    Answer(
        "audit", "a part of the name", "substring", edits=[(HIT, "any(t in n for n in layers)")]
    ),
    Answer("audit", "names only", "names_only", edits=[(HELD, "k in own")]),
    Answer(
        "audit",
        "the model's own keys",
        "adapter_name",
        edits=[("get_peft_model_state_dict(model)", "model.state_dict()")],
    ),
    Answer(
        "audit",
        "looks at A",
        "looks_at_A",
        edits=[(ALIVE, 'bool(m.lora_A["default"].weight.any())')],
    ),
    Answer("audit", "yes or no: rules", "flags", edits=[("hit.count(False),", "False in hit,")]),
    Answer(
        "audit", "yes or no: tensors", "flags", edits=[("held.count(False),", "False in held,")]
    ),
    Answer("audit", "yes or no: layers", "flags", edits=[("alive.count(False)", "False in alive")]),
    Answer(
        "audit",
        "counts tensors",
        "tensors",
        edits=[("alive.count(False)", "2 * alive.count(False)")],
    ),
    Answer(
        "audit",
        "takes every key for there",
        "raised",
        edits=[(HELD, "torch.equal(own[k], t)")],
    ),
    Answer(
        "audit", "counts the good ones", "good", edits=[("hit.count(False)", "hit.count(True)")]
    ),
    # 8.5
    Answer("mixed_batch", "no scale", "no_scale", edits=[(PLUS, PLUS.replace("scaling * ", ""))]),
    Answer(
        "mixed_batch",
        "adds to a copy",
        "base_only",
        edits=[(PLUS, "        out[rows].add_(scaling * (x[rows] @ A.T @ B.T))\n")],
    ),
    Answer(
        "mixed_batch",
        "update alone",
        "update_only",
        edits=[(ALL, "    out = torch.zeros(*x.shape[:2], len(W))\n")],
    ),
    Answer(
        "mixed_batch",
        "base rows empty",
        "base_empty",
        edits=[
            (ALL, "    out = torch.zeros(*x.shape[:2], len(W))\n"),
            (PLUS, PLUS.replace("scaling *", "x[rows] @ W.T + scaling *")),
        ],
    ),
    Answer(
        "mixed_batch",
        "all on all rows",
        "everybody",
        edits=[(PLUS, "        out += scaling * (x @ A.T @ B.T)\n")],
    ),
    Answer(
        "mixed_batch",
        "one for all",
        "one_for_all",
        code="""
def mixed_batch(x, W, adapters, names):
    A, B, scaling = adapters["court"] if names[0] == "__base__" else adapters[names[0]]
    return x @ W.T + scaling * (x @ A.T @ B.T)
""",
    ),
    Answer(
        "mixed_batch",
        "sorted by adapter",
        "order",
        code="""
def mixed_batch(x, W, adapters, names):
    parts = []
    for name in [*adapters, "__base__"]:
        rows = [i for i, n in enumerate(names) if n == name]
        out = x[rows] @ W.T
        if name in adapters:
            A, B, scaling = adapters[name]
            out = out + scaling * (x[rows] @ A.T @ B.T)
        parts.append(out)
    return torch.cat(parts)
""",
    ),
    Answer(
        "mixed_batch",
        "last token only",
        "other",
        edits=[("    return out", "    return out[:, -1]")],
    ),
    Answer(
        "mixed_batch",
        "scales x in place",
        "inputs",
        edits=[(PLUS, "        x[rows] *= scaling\n        out[rows] += x[rows] @ A.T @ B.T\n")],
    ),
    Answer(
        "mixed_batch",
        "every name is an adapter",
        "raised",
        code="""
def mixed_batch(x, W, adapters, names):
    out = []
    for row, name in zip(x, names):
        A, B, scaling = adapters[name]
        out.append(row @ W.T + scaling * (row @ A.T @ B.T))
    return torch.stack(out)
""",
    ),
    Answer(
        "mixed_batch",
        "stacks the factors",
        "raised",
        code="""
def mixed_batch(x, W, adapters, names):
    A = torch.stack([a for a, _, _ in adapters.values()])
    return x @ W.T + x @ A[0].T
""",
    ),
    Answer(
        "mixed_batch", "a negative update", "subtracted", edits=[("out[rows] +=", "out[rows] -=")]
    ),
]

# What a closer look found
RANK = 'r = next(t.shape[0] for name, t in state.items() if name.endswith("lora_A"))'
TENSORS = f"tensors = {{{KEY}: t for name, t in state.items()}}"
BODY = OFF + "        for name in (first, second):\n" + SET
LAYERED = '{n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}'
ROWS = "rows = [i for i, n in enumerate(names) if n == name]"

RIGHT += [
    edit("convert", "r of lora_B, its second size", "", (RANK, 'r = next(t.shape[1] for n, t in '
         'state.items() if n.endswith("lora_B"))')),
    edit("convert", "PEFT's full config and an empty extra", "", ('{"r": r, ',
         '{"peft_type": "LORA", "bias": "none", "r": r, ')),
    edit("convert", "scale as a tensor of one number", "", (SCALE, f"torch.tensor([{SCALE}])[0]")),
    whole("convert", "factors with loops and partition", """
def to_peft(state, lora_alpha):
    out, names = {}, []
    for key in state:
        layer, _, factor = key.rpartition(".")
        out[f"base_model.model.{layer}.{factor}.weight"] = state[key]
        if layer not in names:
            names.append(layer)
    first = state[names[0] + ".lora_A"]
    return ({"target_modules": tuple(names), "lora_alpha": lora_alpha, "r": first.size(0)}, out)


def from_peft(settings, tensors):
    start, end = len("base_model.model."), -len(".weight")
    state = dict((key[start:end], value) for key, value in tensors.items())
    r = next(t for k, t in state.items() if k.endswith("lora_A")).shape[0]
    return [state, settings["lora_alpha"] / r]
"""),
    whole("gpt2_rules", "every layer by its full name", """
def gpt2_rules(blocks):
    h = [f"transformer.h.{n}" for n in range(blocks)]
    attention = {f"{b}.attn.{p}" for b in h for p in ("c_attn", "c_proj")}
    return attention, tuple(f"{b}.mlp.c_proj" for b in h), [
        f"{b}.{p}" for b in h[-2:] for p in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
"""),
    whole("gpt2_rules", "anchors and groups", r"""
def gpt2_rules(blocks):
    last = "|".join(str(n) for n in range(blocks)[-2:])
    third = r"^transformer\.h\.(?:%s)\.(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)$" % last
    return r"(?:.+\.)attn\.c_(?:attn|proj)", ["mlp.c_proj"], third
"""),
    whole("three_outputs", "flags by the parameter, a try and finally", """
def three_outputs(model, x, first, second):
    flags = [(p, p.requires_grad) for p in model.parameters()]
    before = model.active_adapter
    try:
        with torch.inference_mode():
            with model.disable_adapter():
                base = model(x)
            model.set_adapter(second)
            two = model(x)
            model.set_adapter(first)
            one = model(x)
    finally:
        model.set_adapter(before)
        for p, flag in flags:
            p.requires_grad_(flag)
    return base, one, two
"""),
    whole("three_outputs", "a copy", """
def three_outputs(model, x, first, second):
    import copy

    mine, outs = copy.deepcopy(model), []
    for name in (first, second):
        mine.set_adapter(name)
        outs.append(mine(x))
    return mine.unload()(x), *outs
"""),
    whole("three_outputs", "stacked, with gradients", """
def three_outputs(model, x, first, second):
    return torch.stack([model(x, adapter_names=[name] * x.shape[0])
                        for name in ["__base__", first, second]])
"""),
    whole("three_outputs", "zeroes B and puts it back", """
@torch.no_grad()
def three_outputs(model, x, first, second):
    outs = [model(x, adapter_names=[n] * len(x)) for n in (first, second)]
    now = model.active_adapter
    held = [m.lora_B[now].weight for m in model.modules() if hasattr(m, "lora_B")]
    kept = [w.clone() for w in held]
    for w in held:
        w.zero_()
    base = model(x)
    for w, old in zip(held, kept):
        w.copy_(old)
    return [base, *outs]
"""),
    whole("audit", "one tensor after another, B A by hand", """
def audit(model, target_modules, tensors):
    own = get_peft_model_state_dict(model)
    layers = [(n, m) for n, m in model.named_modules() if hasattr(m, "lora_B")]
    missed = 0
    for entry in target_modules:
        missed += not any(name == entry or name.endswith("." + entry) for name, _ in layers)
    lost = sum(1 for k in tensors if own.get(k) is None or not torch.allclose(own[k], tensors[k]))
    idle = sum(
        float((m.lora_B["default"].weight @ m.lora_A["default"].weight).abs().max()) == 0
        for _, m in layers
    )
    return torch.tensor([missed, lost, idle])
"""),
    edit("audit", "floats and a list", "", (COUNTS, "return [float(v.count(False)) for v in "
         "(hit, held, alive)]")),
    whole("mixed_batch", "stacked updates, zero for the base", """
def mixed_batch(x, W, adapters, names):
    zero = torch.zeros_like(W)
    deltas = {name: s * (B @ A) for name, (A, B, s) in adapters.items()}
    full = torch.stack([W + deltas.get(name, zero) for name in names])
    return torch.bmm(x, full.mT)
"""),
    whole("mixed_batch", "numpy", """
def mixed_batch(x, W, adapters, names):
    out = x.numpy() @ W.numpy().T
    for k, name in enumerate(names):
        if name in adapters:
            A, B, scaling = adapters[name]
            out[k] += scaling * (x[k].numpy() @ A.numpy().T @ B.numpy().T)
    return out
"""),
    whole("mixed_batch", "index_add of each group", """
def mixed_batch(x, W, adapters, names):
    out = torch.nn.functional.linear(x, W)
    for name in set(names) - {"__base__"}:
        A, B, scaling = adapters[name]
        at = torch.tensor([k for k, n in enumerate(names) if n == name])
        out = out.index_add(0, at, x[at] @ A.T @ B.T, alpha=scaling)
    return out
"""),
]  # fmt: skip

WRONG += [
    # 8.1
    edit("convert", "scale upside down", "upside_down",
         (SCALE, 'settings["r"] / settings["lora_alpha"]')),
    edit("convert", "scale by whole division", "floor",
         (SCALE, 'settings["lora_alpha"] // settings["r"]')),
    edit("convert", "alpha times r", "other", ('"lora_alpha": lora_alpha', '"lora_alpha": '
         'lora_alpha * r')),
    edit("convert", "r of the first tensor", "rank",
         (RANK, "r = next(iter(state.values())).shape[0]")),
    edit("convert", "entries with the factor", "no_hit",
         (LAYERS, 'layers = sorted(state)')),
    edit("convert", "entries with PEFT's prefix", "no_hit",
         (LAYERS, 'layers = sorted({"base_model.model." + n.rsplit(".", 1)[0] for n in state})')),
    edit("convert", "the first block only", "missed",
         (LAYERS, LAYERS + '\n    layers = [n for n in layers if n.split(".")[2] == '
          'layers[0].split(".")[2]]')),
    edit("convert", "A and B exchanged", "exchanged",
         (TENSORS, 'swap = {"A": "B", "B": "A"}\n    tensors = {f"base_model.model.{n[:-1]}'
          '{swap[n[-1]]}.weight": t for n, t in state.items()}')),
    edit("convert", "half precision", "other", (f"{KEY}: t for", f"{KEY}: t.half() for")),
    edit("convert", "transposed on the way back", "transposed",
         (f"{BACK}: t\n", f"{BACK}: t.T\n")),
    edit("convert", "PEFT's names come back", "back_untouched", (BACK, "key")),
    edit("convert", "lstrip", "back_stripped",
         (BACK, 'key.lstrip("base_model.").removesuffix(".weight")')),
    edit("convert", "empties the state", "changed", ("    return {\"r\"", "    state.clear()\n"
         "    return {\"r\"")),
    edit("convert", "scale of a fixed alpha", "scale", (SCALE, '0.7 / settings["r"]')),
    edit("convert", "the tensors alone", "type", ('return {"r": r, "lora_alpha": lora_alpha, '
         '"target_modules": layers}, tensors', "return tensors")),
    edit("convert", "no way back", "raised", ("return state, ", "return states, ")),
    # 8.2
    edit("gpt2_rules", "forgets the f", "no_f", (LAST, LAST[0] + LAST[2:])),
    edit("gpt2_rules", "alternatives without a start", "part", (ATTENTION,
         '"attn.c_attn|attn.c_proj"')),
    edit("gpt2_rules", "no start", "part", (LAST, LAST.replace(".*", "", 1))),
    edit("gpt2_rules", "one digit", "one_digit",
         (ATTENTION, r'r".*\.h\.\d\.attn\.c_(attn|proj)"')),
    edit("gpt2_rules", "one digit, in the MLP", "one_digit",
         (SECOND, r'r"transformer\.h\.[0-9]\.mlp\.c_proj"')),
    edit("gpt2_rules", "stars in a list", "regex_in_list",
         (ATTENTION, '["*.attn.c_attn", "*.attn.c_proj"]')),
    edit("gpt2_rules", "the whole attention", "no_linear", (ATTENTION, '["attn"]')),
    edit("gpt2_rules", "the whole MLP", "no_linear", (SECOND, '["mlp"]')),
    edit("gpt2_rules", "both layers of the MLP", "first_layer",
         (SECOND, '["mlp.c_fc", "mlp.c_proj"]')),
    edit("gpt2_rules", "all blocks", "all_blocks",
         (LAST, r'r".*\.h\.\d+\.(attn|mlp)\.c_\w+"')),
    edit("gpt2_rules", "all linear layers", "all_blocks", (LAST, '"all-linear"')),
    edit("gpt2_rules", "the last three", "count",
         (LAST, r'rf".*\.h\.({blocks - 3}|{blocks - 2}|{blocks - 1})\.(attn|mlp)\.c_\w+"')),
    edit("gpt2_rules", "a class of digits", "in_brackets",
         (LAST, r'rf".*\.h\.[{blocks - 2}{blocks - 1}]+\.(attn|mlp)\.c_\w+"')),
    edit("gpt2_rules", "an open bracket", "other", (LAST, LAST.replace("1})", "1}"))),
    edit("gpt2_rules", "another order", "order",
         ("return attention, second", "return second, attention")),
    edit("gpt2_rules", "the head too", "other",
         (ATTENTION, '["attn.c_attn", "attn.c_proj", "lm_head"]')),
    edit("gpt2_rules", "a table for 52 blocks", "no_hit",
         (LAST, r'r".*\.h\.(50|51)\.(attn|mlp)\.c_\w+"')),
    edit("gpt2_rules", "two rules", "type", ("return attention, second, last_two",
         "return attention, second")),
    edit("gpt2_rules", "a number for the blocks", "type", (LAST, "blocks - 2")),
    # 8.3
    edit("three_outputs", "zeroes every B", "zeroed", (OFF, ""), ("        for name in (first",
         "        outputs = []\n        for name in (first"), (RESET,
         "    with torch.no_grad():\n        for n, p in model.named_parameters():\n"
         "            if 'lora_B' in n:\n                p.zero_()\n"
         "        outputs.insert(0, model(x))\n" + RESET)),
    edit("three_outputs", "zeroes every B first", "zeroed", (OFF,
         "        for n, p in model.named_parameters():\n            if 'lora_B' in n:\n"
         "                p.zero_()\n        outputs = [model(x)]\n")),
    edit("three_outputs", "resets the adapters", "zeroed", (RESET, RESET +
         "    for m in model.modules():\n        if hasattr(m, 'reset_lora_parameters'):\n"
         "            m.reset_lora_parameters(second, True)\n")),
    edit("three_outputs", "leaves it in train mode", "mode", (RESET, RESET + "    model.train()\n"
         )),
    edit("three_outputs", "merges the second", "zeroed", (RESET,
         "    model.merge_adapter()\n" + RESET)),
    edit("three_outputs", "switches once", "same_twice", (BODY, OFF +
         "        model.set_adapter(first)\n        for name in (first, second):\n")),
    edit("three_outputs", "the base last", "base_last", ("return tuple(outputs)",
         "return (*outputs[1:], outputs[0])")),
    edit("three_outputs", "doubles x", "x", (RESET, "    x *= 2\n" + RESET)),
    edit("three_outputs", "thaws all lora parameters", "thawed", ("p.requires_grad = trains[name]",
         "p.requires_grad = 'lora_' in name")),
    whole("three_outputs", "scales to zero", """
def three_outputs(model, x, first, second):
    for m in model.modules():
        for name in getattr(m, "scaling", {}):
            m.scaling[name] = 0.0
    return model(x), model(x), model(x)
""", "stay_off"),
    whole("three_outputs", "layers alone", """
def three_outputs(model, x, first, second):
    with model.disable_adapter():
        outs = [model(x)]
    for name in (first, second):
        for m in model.modules():
            if hasattr(m, "lora_A"):
                m.set_adapter(name)
        outs.append(model(x))
    return outs
""", "left"),
    edit("three_outputs", "scores the weights", "other", ("return tuple(outputs)",
         "return tuple(y + 1 for y in outputs)")),
    edit("three_outputs", "forgets return", "none", ("    return tuple(outputs)\n", "")),
    # 8.4
    whole("audit", "a table of answers", """
CALLS = []


def audit(model, target_modules, tensors):
    table = [(0, 0, 0), (20, 0, 0), (0, 5, 0), (0, 2, 0), (0, 0, 2), (20, 7, 3)]
    CALLS.append(1)
    return table[(len(CALLS) - 1) % 6]
""", "other"),
    edit("audit", "the config's list", "blind", (HIT, HIT), ("for t in target_modules",
         'for t in model.peft_config["default"].target_modules')),
    edit("audit", "all modules", "no_lora", (HIT, 'any(f".{n}".endswith(f".{t}") for n, _ in '
         'model.named_modules())')),
    edit("audit", "the last part", "last_part", (HIT,
         'any(n.split(".")[-1] == t for n in layers)')),
    edit("audit", "no dot", "substring", (HIT, "any(n.endswith(t) for n in layers)")),
    edit("audit", "values of known keys only", "values_only", (HELD,
         "k not in own or torch.equal(own[k], t)")),
    edit("audit", "compares sums", "names_only", (HELD,
         "k in own and torch.isclose(own[k].sum(), t.sum(), atol=1e-4)")),
    edit("audit", "the very same object", "all_lost", (HELD, "own.get(k) is t")),
    edit("audit", "the other way round", "model_side", ("for k, t in tensors.items()]",
         "for k, t in own.items()]"), (HELD, "k in tensors and torch.equal(tensors[k], t)")),
    edit("audit", "any zero in the update", "some_zeros", (ALIVE,
         'bool(m.get_delta_weight("default").all())')),
    edit("audit", "tensors found", "good", ("held.count(False)", "held.count(True)")),
    edit("audit", "swapped", "order", (COUNTS,
         "return held.count(False), hit.count(False), alive.count(False)")),
    edit("audit", "repairs the file", "changed", (COUNTS, "tensors.clear()\n    " + COUNTS)),
    edit("audit", "one number", "type", (COUNTS, "return hit.count(False)")),
    edit("audit", "forgets return", "none", (COUNTS, "")),
    # 8.5
    edit("mixed_batch", "x @ W", "raised", ("x @ W.T", "x @ W")),
    edit("mixed_batch", "divides by the scale", "divided", ("scaling * (", "1 / scaling * (")),
    edit("mixed_batch", "the first row of each", "first_row", (ROWS,
         "rows = [names.index(name)] if name in names else []")),
    edit("mixed_batch", "only the scale of the last", "one_scale", (ALL, ALL +
         "    last = list(adapters.values())[-1][2]\n"), ("scaling * (", "last * (")),
    whole("mixed_batch", "the first adapter for the base", """
def mixed_batch(x, W, adapters, names):
    rows, default = [], next(iter(adapters.values()))
    for row, name in zip(x, names):
        A, B, scaling = adapters.get(name, default)
        rows.append(row @ W.T + scaling * (row @ A.T @ B.T))
    return torch.stack(rows)
""", "base_adapted"),
    edit("mixed_batch", "sets instead of adds", "update_only", ("out[rows] +=", "out[rows] =")),
    edit("mixed_batch", "pops the adapters", "inputs", ("    return out", "    adapters.clear()\n"
         "    return out")),
    edit("mixed_batch", "sorts the names", "sorted", (ALL, "    names = sorted(names)\n" + ALL)),
    edit("mixed_batch", "A B for B A", "raised", ("A.T @ B.T", "B.T @ A.T")),
    edit("mixed_batch", "mean over rows", "other", ("    return out", "    return out.mean(0)")),
    edit("mixed_batch", "forgets return", "none", ("    return out", "")),
]  # fmt: skip

# Another round of novices' answers: written from the exercise's text alone
RIGHT += [
    Answer(
        "convert",
        "slice with indices",
        "",
        edits=(
            (
                (
                    "\n"
                    '        key.removeprefix("base_model.model.").removesuffix(".weight"):'
                    " t\n"
                    "        for key, t in tensors.items()\n"
                    "    "
                ),
                '".".join(key.split(".")[2:-1]): t for key, t in tensors.items()',
            ),
        ),
    ),
    Answer(
        "convert",
        "set as target, numpy r",
        "",
        edits=(
            (
                'return {"r": r, "lora_alpha": lora_alpha, "target_modules": layers',
                (
                    "import numpy as np\n"
                    '    return {"r": np.int64(r), "lora_alpha": float(lora_alpha), '
                    '"target_modules": set(layers)'
                ),
            ),
        ),
    ),
    Answer(
        "convert",
        "tuple target and endings",
        "",
        edits=(
            (
                ('return {"r": r, "lora_alpha": lora_alpha, "target_modules": layers}, tensors'),
                (
                    "from collections import OrderedDict\n"
                    "    return OrderedDict(r=r, lora_alpha=lora_alpha, "
                    'target_modules=tuple(n.removeprefix("model.") for n in layers)), '
                    "OrderedDict(tensors)"
                ),
            ),
        ),
    ),
    Answer(
        "convert",
        "extra keys in settings",
        "",
        edits=(("layers},", 'layers, "lora_dropout": 0.0, "bias": "none"},'),),
    ),
    Answer(
        "three_outputs",
        "deepcopy",
        "",
        code="""
import copy
def three_outputs(model, x, first, second):
    m = copy.deepcopy(model)
    outs = []
    for name in (first, second):
        m.set_adapter(name)
        outs.append(m(x).detach())
    return [m.unload()(x).detach(), *outs]
""",
    ),
    Answer(
        "three_outputs",
        "numpy, enable in finally",
        "",
        edits=(
            (
                ("with model.disable_adapter():\n            outputs = [model(x)]"),
                (
                    "model.base_model.disable_adapter_layers()\n"
                    "        try:\n"
                    "            outputs = [model(x)]\n"
                    "        finally:\n"
                    "            model.base_model.enable_adapter_layers()"
                ),
            ),
            (
                "tuple(outputs",
                (
                    "{'base': outputs[0], 'first': outputs[1], 'second': "
                    "outputs[2]}.values() and tuple(o.numpy() for o in outputs"
                ),
            ),
        ),
    ),
    Answer("three_outputs", "with gradients", "", edits=(("with torch.no_grad()", "if True"),)),
    Answer(
        "mixed_batch",
        "padded bmm",
        "",
        code="""
def mixed_batch(x, W, adapters, names):
    r = max(len(A) for A, _, _ in adapters.values())
    zero = (torch.zeros(1, x.shape[2]), torch.zeros(W.shape[0], 1), 0.0)
    As, Bs = [], []
    for n in names:
        A, B, s = adapters.get(n, zero)
        As.append(torch.nn.functional.pad(A, (0, 0, 0, r - len(A))))
        Bs.append(torch.nn.functional.pad(B * s, (0, r - len(A))))
    return torch.baddbmm(x @ W.T, torch.bmm(x, torch.stack(As).mT), torch.stack(Bs).mT)
""",
    ),
    Answer(
        "mixed_batch",
        "merged weight per row, list of rows",
        "",
        code="""
def mixed_batch(x, W, adapters, names):
    out = []
    for xi, n in zip(x, names):
        A, B, s = adapters.get(n, (0, 0, 0))
        out.append(xi @ (W if n == "__base__" else W + s * B @ A).T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "float64 numpy",
        "",
        code="""
def mixed_batch(x, W, adapters, names):
    import numpy as np
    out = x.double().numpy() @ W.double().numpy().T
    for i, n in enumerate(names):
        if n in adapters:
            A, B, s = adapters[n]
            out[i] = out[i] + s * np.einsum("ti,ri,or->to", x[i].numpy(), A.numpy(), B.numpy())
    return out
""",
    ),
    Answer(
        "gpt2_rules",
        "list of whole names",
        "",
        edits=(
            (
                'rf".*\\.h\\.({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_\\w+"',
                (
                    '[f"transformer.h.{b}.{n}" for b in range(blocks - 2, blocks) for n in '
                    '("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]'
                ),
            ),
        ),
    ),
    Answer(
        "gpt2_rules",
        "regexes",
        "",
        edits=(
            ('["attn.c_attn", "attn.c_proj"]', 'r".*attn\\.c_(attn|proj)$"'),
            ('["mlp.c_proj"]', 'r"transformer\\.h\\.\\d+\\.mlp\\.c_proj"'),
        ),
    ),
    Answer(
        "gpt2_rules",
        "list return, sets",
        "",
        edits=(
            ('["attn.c_attn", "attn.c_proj"]', '{"attn.c_attn", "attn.c_proj"}'),
            ("attention, second, last_two", "[attention, tuple(second), last_two]"),
        ),
    ),
    Answer(
        "audit",
        "numpy counts",
        "",
        edits=(
            (
                "return hit.count(False), held.count(False), alive.count(False",
                (
                    "import numpy as np\n"
                    "    return np.array([hit.count(False), held.count(False), "
                    "alive.count(False)]"
                ),
            ),
        ),
    ),
    Answer(
        "audit",
        "via lora layer class",
        "",
        edits=(
            ('hasattr(m, "lora_A"', 'isinstance(m, __import__("peft").tuners.lora.LoraLayer'),
            (
                "hit.count(False), held.count(False), alive",
                "torch.tensor(hit.count(False)), sum(not h for h in held), [*alive]",
            ),
        ),
    ),
    Answer(
        "audit",
        "delta by hand",
        "",
        edits=(
            (
                'm.get_delta_weight("default").any()',
                ('(m.lora_B["default"].weight @ m.lora_A["default"].weight).abs().sum() > 0'),
            ),
        ),
    ),
]

# Another round of novices' answers: written from the exercise's text alone
WRONG += [
    Answer(
        "convert",
        "r min of shape",
        "smallest",
        edits=(
            (
                ('next(t.shape[0] for name, t in state.items() if name.endswith("lora_A")'),
                "min(next(iter(state.values())).shape",
            ),
        ),
    ),
    Answer(
        "convert",
        "peft names as target",
        "no_hit",
        edits=(
            ('name.rsplit(".", 1)[0] for name in state', 'k.rsplit(".", 2)[0] for k in tensors'),
        ),
    ),
    Answer(
        "convert",
        "comma joined",
        "text",
        edits=(
            (
                'sorted({name.rsplit(".", 1)[0] for name in state}',
                '",".join(sorted({name.rsplit(".", 1)[0] for name in state})',
            ),
        ),
    ),
    Answer("convert", "alpha = 2r", "twice_r", edits=((": lora_alpha", ": 2 * r"),)),
    Answer(
        "convert",
        "transposed B",
        "transposed",
        edits=(('weight": t', "weight\": (t if 'lora_A' in name else t.T)"),),
    ),
    Answer("convert", "A scaled", "multiplied", edits=(('weight": t', 'weight": t * lora_alpha'),)),
    Answer(
        "convert",
        "back with strip",
        "back_stripped",
        edits=(
            (
                (
                    "\n"
                    '        key.removeprefix("base_model.model.").removesuffix(".weight"):'
                    " t\n"
                    "        for key, t in tensors.items()\n"
                    "    "
                ),
                (
                    'key.strip("base_model.model.").strip(".weight"): t for key, t in '
                    "tensors.items()"
                ),
            ),
        ),
    ),
    Answer(
        "convert",
        "back replace everything model.",
        "back_eaten",
        edits=(
            (
                (
                    "\n"
                    '        key.removeprefix("base_model.model.").removesuffix(".weight"):'
                    " t\n"
                    "        for key, t in tensors.items()\n"
                    "    "
                ),
                (
                    'key.replace("base_model.model.", "").replace(".weight", '
                    '"").replace("model.", ""): t for key, t in tensors.items()'
                ),
            ),
        ),
    ),
    Answer(
        "convert",
        "back replace base_model only",
        "back_half",
        edits=(
            (
                (
                    "\n"
                    '        key.removeprefix("base_model.model.").removesuffix(".weight"):'
                    " t\n"
                    "        for key, t in tensors.items()\n"
                    "    "
                ),
                (
                    'key.replace("base_model.", "").replace(".weight", ""): t for key, t '
                    "in tensors.items()"
                ),
            ),
        ),
    ),
    Answer(
        "convert",
        "back: scale into B",
        "multiplied",
        edits=(
            (
                ": t\n",
                (": (t * settings['lora_alpha'] / settings['r'] if 'lora_B' in key else t)\n"),
            ),
        ),
    ),
    Answer(
        "convert", "only A goes", "other", edits=(("items()}", 'items() if name.endswith("A")}'),)
    ),
    Answer(
        "convert",
        "pops",
        "changed",
        edits=(
            (
                "  tensors",
                (
                    "  state2 = {k: state.pop(k) for k in list(state)}\n"
                    "    state = state2\n"
                    "    tensors"
                ),
            ),
        ),
    ),
    Answer("convert", "all-linear, again", "too_many", edits=((": layers},", ': "all-linear"},'),)),
    Answer(
        "convert",
        "LoraConfig object",
        "type",
        edits=(
            (
                'return {"r": r, "lora_alpha": lora_alpha, "target_modules": layers}',
                (
                    "from peft import LoraConfig\n"
                    "    return LoraConfig(r=r, lora_alpha=lora_alpha, "
                    "target_modules=layers)"
                ),
            ),
        ),
    ),
    Answer(
        "three_outputs",
        "reset to first",
        "left",
        edits=(("set_adapter(active)", "set_adapter(first)"),),
    ),
    Answer(
        "three_outputs",
        "reset to default",
        "raised",
        edits=(("set_adapter(active)", 'set_adapter("default")'),),
    ),
    Answer(
        "three_outputs",
        "base_model.model",
        "not_disabled",
        edits=(
            (
                ("with model.disable_adapter():\n            outputs = [model"),
                "outputs = [model.base_model.model",
            ),
        ),
    ),
    Answer(
        "three_outputs",
        "get_base_model",
        "not_disabled",
        edits=(
            (
                ("with model.disable_adapter():\n            outputs = [model"),
                "outputs = [model.get_base_model()",
            ),
        ),
    ),
    Answer(
        "three_outputs",
        "unload, again",
        "raised",
        edits=(
            (
                ("with model.disable_adapter():\n            outputs = [model"),
                "outputs = [model.unload()",
            ),
        ),
    ),
    Answer(
        "three_outputs",
        "merge",
        "zeroed",
        edits=(
            (
                "        outputs.append",
                ("        model.merge_adapter()\n            outputs.append"),
            ),
        ),
    ),
    Answer(
        "three_outputs",
        "cumulative: both active",
        "both",
        edits=(("set_adapter(name", "base_model.set_adapter([first, second]"),),
    ),
    Answer(
        "three_outputs",
        "set outside loop",
        "late",
        edits=(
            (
                ("model.set_adapter(name)\n            outputs.append(model(x)"),
                ("outputs.append(model(x))\n            model.set_adapter(name"),
            ),
        ),
    ),
    Answer(
        "three_outputs", "train()", "mode", edits=(("  active", ("  model.train()\n    active")),)
    ),
    Answer(
        "three_outputs",
        "disable without with",
        "not_disabled",
        edits=((("with model.disable_adapter():\n    "), "model.disable_adapter()\n"),),
    ),
    Answer(
        "three_outputs",
        "disable_adapter_layers no enable",
        "stay_off",
        edits=(
            (
                ("with model.disable_adapter():\n    "),
                "model.base_model.disable_adapter_layers()\n",
            ),
        ),
    ),
    Answer("three_outputs", "freezes everything", "frozen", edits=(("trains[name]", "False"),)),
    Answer("three_outputs", "second without base", "type", edits=(("outputs)", "outputs[1:])"),)),
    Answer(
        "three_outputs", "logits minus base", "difference", edits=(("x))\n", "x) - outputs[0])\n"),)
    ),
    Answer(
        "mixed_batch",
        "base key error",
        "raised",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    for i, n in enumerate(names):
        A, B, s = adapters[n]
        out[i] += s * (x[i] @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "all adapters summed",
        "everybody",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    for A, B, s in adapters.values():
        out = out + s * (x @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "rows in order of adapters",
        "rows_lost",
        code="""
def mixed_batch(x, W, adapters, names):
    out = []
    for name, (A, B, s) in adapters.items():
        rows = [i for i, n in enumerate(names) if n == name]
        out.append(x[rows] @ W.T + s * (x[rows] @ A.T @ B.T))
    return torch.cat(out)
""",
    ),
    Answer(
        "mixed_batch",
        "base rows zero",
        "base_empty",
        code="""
def mixed_batch(x, W, adapters, names):
    out = torch.zeros(*x.shape[:2], W.shape[0])
    for i, n in enumerate(names):
        if n in adapters:
            A, B, s = adapters[n]
            out[i] = x[i] @ W.T + s * (x[i] @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "no base for adapters",
        "update_only",
        code="""
def mixed_batch(x, W, adapters, names):
    out = torch.zeros(*x.shape[:2], W.shape[0])
    for i, n in enumerate(names):
        if n == "__base__":
            out[i] = x[i] @ W.T
        else:
            A, B, s = adapters[n]
            out[i] = s * (x[i] @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "index",
        "first_row",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    for name in adapters:
        if name in names:
            A, B, s = adapters[name]
            i = names.index(name)
            out[i] += s * (x[i] @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "in place into W",
        "in_place",
        code="""
def mixed_batch(x, W, adapters, names):
    out = []
    for i, n in enumerate(names):
        if n != "__base__":
            A, B, s = adapters[n]
            W += s * B @ A
        out.append(x[i] @ W.T)
    return torch.stack(out)
""",
    ),
    Answer(
        "mixed_batch",
        "pops names",
        "inputs",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    i = 0
    while names:
        n = names.pop(0)
        if n in adapters:
            A, B, s = adapters[n]
            out[i] += s * (x[i] @ A.T @ B.T)
        i += 1
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "scaled by alpha over r",
        "over_r",
        edits=(("scaling * ", "scaling / len(A) * "),),
    ),
    Answer(
        "mixed_batch",
        "zip adapters",
        "by_place",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    for i, (A, B, s) in enumerate(adapters.values()):
        if i < len(names) and names[i] != "__base__":
            out[i] += s * (x[i] @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "first adapter for base",
        "base_adapted",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    for i, n in enumerate(names):
        A, B, s = adapters.get(n, next(iter(adapters.values())))
        out[i] += s * (x[i] @ A.T @ B.T)
    return out
""",
    ),
    Answer(
        "mixed_batch",
        "time as rows",
        "other",
        edits=(
            (
                "rows] += scaling * (x[rows] @ A.T @ B.T)",
                ":, 0][rows] += scaling * (x[rows] @ A.T @ B.T)[:, 0]",
            ),
        ),
    ),
    Answer("mixed_batch", "substring", "part_of_name", edits=(("n == name", "name in n"),)),
    Answer(
        "mixed_batch",
        "base scaled too",
        "base_scaled",
        edits=(("rows] +=", ("rows] *= scaling\n        out[rows] +=")),),
    ),
    Answer(
        "mixed_batch",
        "stack wrong dim",
        "axes",
        code="""
def mixed_batch(x, W, adapters, names):
    out = []
    for i, n in enumerate(names):
        y = x[i] @ W.T
        if n in adapters:
            A, B, s = adapters[n]
            y = y + s * (x[i] @ A.T @ B.T)
        out.append(y)
    return torch.stack(out, dim=1)
""",
    ),
    Answer(
        "mixed_batch",
        "list out",
        "first_row",
        code="""
def mixed_batch(x, W, adapters, names):
    out = x @ W.T
    seen = set()
    for i, n in enumerate(names):
        if n in adapters and n not in seen:
            A, B, s = adapters[n]
            out[i] += s * (x[i] @ A.T @ B.T)
            seen.add(n)
    return out
""",
    ),
    Answer(
        "gpt2_rules",
        "attn regex no start",
        "part",
        edits=(('["attn.c_attn", "attn.c_proj"]', 'r"attn\\.(c_attn|c_proj)"'),),
    ),
    Answer(
        "gpt2_rules",
        "string ending as regex",
        "part",
        edits=(('["attn.c_attn", "attn.c_proj"]', '"attn.c_attn"'),),
    ),
    Answer(
        "gpt2_rules", "glob", "regex_in_list", edits=(('attn.c_attn", "attn.c_proj', "*.attn.*"),)
    ),
    Answer(
        "gpt2_rules",
        "second with transformer.h.*",
        "regex_in_list",
        edits=(('["mlp', '["transformer.h.*.mlp'),),
    ),
    Answer(
        "gpt2_rules",
        "last class",
        "in_brackets",
        edits=(
            (
                "({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_\\w+",
                "[{blocks - 2}{blocks - 1}]\\..*",
            ),
        ),
    ),
    Answer(
        "gpt2_rules",
        "last range",
        "in_brackets",
        edits=(
            ("({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_", "[{blocks - 2}-{blocks - 1}]\\..*c_"),
        ),
    ),
    Answer(
        "gpt2_rules",
        "last whole blocks",
        "no_linear",
        edits=(
            (
                'rf".*\\.h\\.({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_\\w+"',
                '[f"h.{blocks - 2}", f"h.{blocks - 1}"]',
            ),
        ),
    ),
    Answer(
        "gpt2_rules",
        "no group",
        "no_group",
        edits=(("({blocks - 2}|{blocks - 1})", "{blocks - 2}|{blocks - 1}"),),
    ),
    Answer(
        "gpt2_rules",
        "three of four",
        "missed",
        edits=(
            (
                'rf".*\\.h\\.({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_\\w+"',
                (
                    '[f"h.{b}.{n}" for b in (blocks - 2, blocks - 1) for n in '
                    '("attn.c_attn", "attn.c_proj", "mlp.c_proj")]'
                ),
            ),
        ),
    ),
    Answer("gpt2_rules", "first two", "fixed", edits=(("{blocks - 2}|{blocks - 1}", "0|1"),)),
    Answer(
        "gpt2_rules",
        "only the last",
        "count",
        edits=(("({blocks - 2}|{blocks - 1})", "{blocks - 1}"),),
    ),
    Answer(
        "gpt2_rules",
        "layers_to_transform tuple",
        "type",
        edits=(
            (
                'rf".*\\.h\\.({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_\\w+"',
                "[blocks - 2, blocks - 1]",
            ),
        ),
    ),
    Answer(
        "gpt2_rules",
        "compiled",
        "type",
        edits=(
            (
                'rf".*\\.h\\.({blocks - 2}|{blocks - 1})\\.(attn|mlp)\\.c_\\w+"',
                (
                    '__import__("re").compile(rf".*\\.h\\.({blocks - 2}|{blocks - '
                    '1})\\.(attn|mlp)\\.c_\\w+")'
                ),
            ),
        ),
    ),
    Answer(
        "gpt2_rules",
        "dict",
        "type",
        edits=(
            (
                "attention, second, last_two",
                "{'attention': attention, 'second': second, 'last': last_two}",
            ),
        ),
    ),
    Answer(
        "audit",
        "any module",
        "no_lora",
        edits=(
            (
                '{n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}',
                "dict(model.named_modules())",
            ),
            ("values()]", 'values() if hasattr(m, "get_delta_weight")]'),
        ),
    ),
    Answer(
        "audit",
        "held values of common only",
        "values_only",
        edits=(("items()]", "items() if k in own]"),),
    ),
    Answer(
        "audit",
        "sum equal",
        "names_only",
        edits=(("torch.equal(own[k], t", "own[k].sum() == t.sum("),),
    ),
    Answer(
        "audit",
        "shape only",
        "names_only",
        edits=(("torch.equal(own[k], t)", "own[k].shape == t.shape"),),
    ),
    Answer(
        "audit",
        "idle: B zero",
        "looks_at_B",
        edits=(('get_delta_weight("default")', 'lora_B["default"].weight'),),
    ),
    Answer("audit", "idle: sum", "adds_up", edits=((").any()", ").sum()"),)),
    Answer(
        "audit",
        "idle: any A or B",
        "looks_at_A",
        edits=(
            (
                'get_delta_weight("default")',
                'lora_A["default"].weight.any() or m.lora_B["default"].weight',
            ),
        ),
    ),
    Answer("audit", "counts alive", "good", edits=(("alive.count(False)", "alive.count(True)"),)),
    Answer(
        "audit",
        "set of layers",
        "from_file",
        edits=(("in layers)", 'in [k.rsplit(".", 2)[0] for k in tensors])'),),
    ),
    Answer(
        "audit", "merges", "changed", edits=(("  layers", ("  model.merge_adapter()\n    layers")),)
    ),
    Answer(
        "audit",
        "pops tensors",
        "changed",
        edits=(("tensors.items()", "[(k, tensors.pop(k)) for k in list(tensors)]"),),
    ),
    Answer(
        "audit",
        "difference of numbers",
        "other",
        edits=(
            (
                "hit.count(False), held.count(False",
                "len(target_modules) - len(layers), len(tensors) - len(own",
            ),
        ),
    ),
    Answer("audit", "idle tolerance", "small", edits=(("any()", "abs().max() > 1e-3"),)),
    Answer(
        "audit",
        "bools",
        "flags",
        edits=(
            (
                "hit.count(False), held.count(False), alive.count(False)",
                "False in hit, False in held, False in alive",
            ),
        ),
    ),
    Answer(
        "audit",
        "ratios",
        "other",
        edits=(
            (
                ", held.count(False), alive.count(False",
                (" / len(hit), held.count(False) / len(held), alive.count(False) / len(alive"),
            ),
        ),
    ),
]

WRONG += [  # what a novice wrote in a later round
    edit("convert", "max of A", "rank", (RANK, "r = max(next(iter(state.values())).shape)")),
    edit(
        "convert",
        "two parts",
        "too_many",
        (LAYERS, ('layers = sorted({".".join(name.split(".")[-3:-1]) for name in state})')),
    ),
    edit(
        "convert",
        "replaces model. in front",
        "one_prefix",
        (KEY, 'name.replace("model.", "base_model.model.") + ".weight"'),
    ),
    edit(
        "convert",
        "scaled B",
        "multiplied",
        (KEY + ": t", KEY + ': t * (lora_alpha / 2 if name.endswith("lora_B") else 1)'),
    ),
    edit(
        "convert", "back alpha times r", "scale", (SCALE, 'settings["lora_alpha"] * settings["r"]')
    ),
    edit("convert", "back one", "scale", (SCALE, "1.0")),
    edit("convert", "back sqrt", "scale", (SCALE, SCALE + " ** 0.5")),
    edit("convert", "back split 3", "back_eaten", (BACK, '".".join(key.split(".")[3:-1])')),
    edit("convert", "back slices", "back_half", (BACK, 'key[len("base_model."):-len(".weight")]')),
    edit(
        "convert",
        "back r from tensor",
        "scale",
        (SCALE, 'settings["lora_alpha"] / next(iter(tensors.values())).shape[0]'),
    ),
    edit(
        "three_outputs",
        "no set back",
        "left",
        (RESET, ""),
        ("        p.requires_grad = trains[name]", "        pass"),
    ),
    edit(
        "three_outputs",
        "sets back before flags wrong: flags noted late",
        "thawed",
        (("    trains = {name: p.requires_grad for name, p in model.named_parameters()}\n"), ""),
        (
            RESET,
            ("    trains = {name: p.requires_grad for name, p in model.named_parameters()}\n")
            + RESET,
        ),
    ),
    edit("three_outputs", "flags before set back", "thawed", (RESET + FLAGS, FLAGS + RESET)),
    edit(
        "three_outputs",
        "disable in loop",
        "not_off",
        (
            SET + "            outputs.append(model(x))",
            SET
            + (
                "            with model.disable_adapter():\n"
                "                outputs.append(model(x))"
            ),
        ),
    ),
    edit(
        "three_outputs",
        "base_model of first",
        "not_disabled",
        (
            ("        with model.disable_adapter():\n            outputs = [model(x)]"),
            "        model.set_adapter(first)\n        outputs = [model(x)]",
        ),
    ),
    edit(
        "three_outputs",
        "adds difference",
        "difference",
        ("outputs.append(model(x))", "outputs.append(model(x) + outputs[0])"),
    ),
    edit(
        "three_outputs",
        "train eval",
        "thawed",
        (
            "    return tuple(outputs)",
            ("    model.eval()\n    model.requires_grad_(True)\n    return tuple(outputs)"),
        ),
    ),
    edit(
        "three_outputs",
        "flags only lora of active",
        "thawed",
        ("p.requires_grad = trains[name]", "p.requires_grad = active in name"),
    ),
    edit(
        "three_outputs",
        "active is first",
        "left",
        ("active = model.active_adapter", "active = first"),
    ),
    edit(
        "three_outputs",
        "active is list of all",
        "left",
        ("active = model.active_adapter", "active = list(model.peft_config)[0]"),
    ),
    edit(
        "three_outputs",
        "sets adapter weights to zero scaling",
        "stay_off",
        (
            ("        with model.disable_adapter():\n            outputs = [model(x)]"),
            (
                "        for mod in model.modules():\n"
                "            if hasattr(mod, 'scaling'):\n"
                "                for k in mod.scaling:\n"
                "                    mod.scaling[k] = 0\n"
                "        outputs = [model(x)]"
            ),
        ),
    ),
    edit(
        "mixed_batch",
        "scaling alpha over",
        "over_r",
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            "out[rows] += scaling * len(A) * (x[rows] @ A.T @ B.T)",
        ),
    ),
    edit(
        "mixed_batch",
        "squared scale",
        "scale_twice",
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            "out[rows] += scaling * scaling * (x[rows] @ A.T @ B.T)",
        ),
    ),
    edit(
        "mixed_batch",
        "last row only",
        "first_row",
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            ("for i in rows[-1:]:\n            out[i] += scaling * (x[i] @ A.T @ B.T)"),
        ),
    ),
    edit(
        "mixed_batch",
        "mixes: out double base",
        "base_twice",
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            "out[rows] += x[rows] @ W.T + scaling * (x[rows] @ A.T @ B.T)",
        ),
    ),
    edit(
        "mixed_batch",
        "merged W in loop cumulated",
        "left_in_W",
        ("    for name,", "    W = W.clone()\n    for name,"),
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            "W += scaling * B @ A\n        out[rows] = x[rows] @ W.T",
        ),
    ),
    edit(
        "mixed_batch",
        "base name gets first",
        "base_adapted",
        ("if n == name]", "if n == name or n == '__base__']"),
    ),
    edit("mixed_batch", "startswith", "part_of_name", ("if n == name]", "if n.startswith(name)]")),
    edit(
        "mixed_batch",
        "break after first",
        "one_adapter",
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)\n        break",
        ),
    ),
    edit(
        "mixed_batch",
        "return in loop",
        "one_adapter",
        (
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            "out[rows] += scaling * (x[rows] @ A.T @ B.T)\n        return out",
        ),
    ),
    edit(
        "mixed_batch",
        "zip names with adapters",
        "by_place",
        (
            "    for name, (A, B, scaling) in adapters.items():\n        "
            + ROWS
            + "\n        out[rows] += scaling * (x[rows] @ A.T @ B.T)",
            (
                "    for i, (A, B, scaling) in enumerate(adapters.values()):\n"
                "        out[i] += scaling * (x[i] @ A.T @ B.T)"
            ),
        ),
    ),
    edit("gpt2_rules", "attention star c_", "missed", (ATTENTION, 'r".*attn\\.c_attn"')),
    edit(
        "gpt2_rules",
        "names of llama",
        "no_hit",
        (ATTENTION, '["q_proj", "k_proj", "v_proj", "o_proj"]'),
    ),
    edit("gpt2_rules", "second is mlp.1", "no_hit", (SECOND, '["mlp.1"]')),
    edit(
        "gpt2_rules",
        "last two: list ends in blocks",
        "no_hit",
        (LAST, '[f"h.{blocks - 2}.c_attn", f"h.{blocks - 1}.c_attn"]'),
    ),
    edit(
        "gpt2_rules",
        "last two: -1 -2",
        "no_hit",
        (LAST, 'r".*\\.h\\.(-1|-2)\\.(attn|mlp)\\.c_\\w+"'),
    ),
    edit("gpt2_rules", "and in string", "no_hit", (LAST, 'f"h.{blocks - 2} and h.{blocks - 1}"')),
    edit(
        "gpt2_rules",
        "from 2 before",
        "fixed",
        (
            LAST,
            (
                '[f"h.{n}.{p}" for n in range(2) for p in ("attn.c_attn",'
                ' "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]'
            ),
        ),
    ),
    edit(
        "gpt2_rules",
        "one string of list",
        "comma",
        (LAST, 'str([f"h.{blocks - 2}", f"h.{blocks - 1}"])'),
    ),
    edit("gpt2_rules", "space", "no_hit", (ATTENTION, '"c_attn c_proj"')),
    edit(
        "audit",
        "entries in config",
        "config",
        (HIT, "t in model.peft_config['default'].target_modules"),
    ),
    edit("audit", "entries exactly equal names", "whole_names", (HIT, "t in layers")),
    edit(
        "audit",
        "counts layers not hit",
        "layers",
        (
            "hit = [" + HIT + " for t in target_modules]",
            ('hit = [any(f".{n}".endswith(f".{t}") for t in target_modules) for n in layers]'),
        ),
    ),
    edit("audit", "in any parts", "last_part", (HIT, "any(t in n.split('.') for n in layers)")),
    edit("audit", "regex", "regex", (HIT, "any(__import__('re').fullmatch(t, n) for n in layers)")),
    edit(
        "audit",
        "regex search",
        "regex",
        (HIT, "any(__import__('re').search(t, n) for n in layers)"),
    ),
    edit(
        "audit",
        "prefix fixed up",
        "repaired",
        (
            "for k, t in tensors.items()]",
            (
                "for k, t in ((('' if k.startswith('base_model.model.') else"
                " 'base_model.model.') + k, t) for k, t in tensors.items())]"
            ),
        ),
    ),
    edit(
        "audit",
        "missing keys in own",
        "model_side",
        ("held = [" + HELD + " for k, t in tensors.items()]", "held = [k in tensors for k in own]"),
    ),
    edit(
        "audit",
        "lost counts stale with default removed",
        "repaired",
        (
            "for k, t in tensors.items()]",
            ("for k, t in ((k.replace('.default', ''), t) for k, t in tensors.items())]"),
        ),
    ),
    edit(
        "audit",
        "B.any and A any count factors",
        "factors",
        (
            "alive = [" + ALIVE + " for m in layers.values()]",
            (
                "alive = [bool(f['default'].weight.any()) for m in"
                " layers.values() for f in (m.lora_A, m.lora_B)]"
            ),
        ),
    ),
    edit(
        "audit", "idle norm small", "small", (ALIVE, 'm.get_delta_weight("default").norm() > 1e-6')
    ),
    edit("audit", "unused", "looks_at_A", (ALIVE, "m.base_layer.weight.any()")),
    edit(
        "audit",
        "set of unique entries",
        "unique",
        ("for t in target_modules]", "for t in set(target_modules)]"),
    ),
    edit(
        "convert",
        "one layer short, and the head",
        "other_layers",
        (
            'layers = sorted({name.rsplit(".", 1)[0] for name in state})',
            'layers = sorted({name.rsplit(".", 1)[0] for name in state})[1:] + ["lm_head"]',
        ),
    ),
    edit(
        "audit",
        "the first number of the update",
        "one_entry",
        ('bool(m.get_delta_weight("default").any())', 'm.get_delta_weight("default")[0, 0] != 0'),
    ),
    edit(
        "audit",
        "the mean of the update",
        "adds_up",
        ('bool(m.get_delta_weight("default").any())', 'm.get_delta_weight("default").mean() != 0'),
    ),
    edit(
        "audit",
        "every B of the file",
        "looks_at_B",
        (
            "for m in layers.values()]",
            "for m in layers.values()]\n    alive = ["
            "bool(t.any()) for k, t in tensors.items() if 'lora_B' in k]",
        ),
    ),
    edit(
        "mixed_batch",
        "half the scale",
        "other_scale",
        ("out[rows] += scaling * (", "out[rows] += scaling / 2 * ("),
    ),
]
