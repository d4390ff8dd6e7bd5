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
        if model.get_submodule(n).lora_B["default"].weight.abs().sum() == 0:
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
        "raised:KeyError",
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
        "shapes",
        edits=[(f"{KEY}: t for", f"{KEY}: t.T for")],
    ),
    Answer(
        "convert", "doubles the values", "other", edits=[(f"{KEY}: t for", f"{KEY}: 2 * t for")]
    ),
    # 8.2
    Answer("gpt2_rules", "c_proj alone", "mlp_too", edits=[(ATTENTION, '["c_attn", "c_proj"]')]),
    Answer("gpt2_rules", "c_proj for the MLP", "attention_too", edits=[(SECOND, '["c_proj"]')]),
    Answer(
        "gpt2_rules",
        "a comma string",
        "comma_or_part",
        edits=[(ATTENTION, '"attn.c_attn,attn.c_proj"')],
    ),
    Answer("gpt2_rules", "a part of the name", "comma_or_part", edits=[(SECOND, '"mlp.c_proj"')]),
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
        edits=[(LAST, r'rf".*({blocks - 2}|{blocks - 1}|1)\.(attn|mlp)\.c_\w+"')],
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
        "raised:TypeError",
        edits=[("gpt2_rules(blocks)", "gpt2_rules()")],
    ),
    Answer("gpt2_rules", "first layer of the MLP", "other", edits=[(SECOND, '["mlp.c_fc"]')]),
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
        "no_switch",
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
                "            outputs.append(model(x))\n    model.set_adapter(active)\n"
                "    model.delete_adapter(second)\n",
            ),
            (FLAGS, ""),
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
        "raised:TypeError",
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
        "raised:KeyError",
        edits=[(HELD, "torch.equal(own[k], t)")],
    ),
    Answer(
        "audit", "counts the good ones", "other", edits=[("hit.count(False)", "hit.count(True)")]
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
        "shape",
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
        "raised:KeyError",
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
        "raised:RuntimeError",
        code="""
def mixed_batch(x, W, adapters, names):
    A = torch.stack([a for a, _, _ in adapters.values()])
    return x @ W.T + x @ A[0].T
""",
    ),
    Answer("mixed_batch", "a negative update", "other", edits=[("out[rows] +=", "out[rows] -=")]),
]
