"""Right and wrong answers to the exercises of chapter 04."""

from tests.answers import Answer

FIND = 'found = [n for n in names if f".{n}".endswith(f".{entry}")]'
NAMES = "names = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)]"
NO_HIT = """        if not found:
            raise ValueError(f"{entry!r} hits no linear layer.")
"""
REPLACE = "model.set_submodule(name, layer)"
FREEZE = 'parameter.requires_grad = name.endswith(("lora_A", "lora_B"))'
LOOP = """    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(("lora_A", "lora_B"))
"""
MARK = 'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")'
SUM = "sum(r * sum(layer.weight.shape) for layer in layers)"
SET = "layers = {model.get_submodule(name) for name in names}"
TOTAL = "sum(p.numel() for p in model.parameters())"
ASKED = "isinstance(part, (nn.Linear, Conv1D)) and not is_base and name != head"
HEAD = "    model.get_submodule(head).requires_grad_(True)\n"
TRAINED = "    trained = [p for p in model.parameters() if p.requires_grad]\n"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "inject_lora",
        "freeze first, parent and child",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    def fits(name, entry):
        return name == entry or name.endswith("." + entry)

    linear = {n: m for n, m in model.named_modules() if type(m) is nn.Linear}
    for entry in target_modules:
        if not any(fits(n, entry) for n in linear):
            raise ValueError(entry)
    model.requires_grad_(False)
    for name, layer in linear.items():
        if any(fits(name, entry) for entry in target_modules):
            parent, _, child = name.rpartition(".")
            wrapped = LoRALinear(layer, r=r, lora_alpha=lora_alpha)
            setattr(model.get_submodule(parent), child, wrapped)
    return model
""",
    ),
    Answer(
        "inject_lora",
        "by the parts of the name",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    wanted, hits = [e.split(".") for e in target_modules], {}
    for name, layer in model.named_modules():
        parts = name.split(".")
        for entry in wanted:
            if parts[-len(entry):] == entry and isinstance(layer, nn.Linear):
                hits.setdefault(tuple(entry), []).append(name)
    missing = [".".join(e) for e in wanted if tuple(e) not in hits]
    if missing:
        raise ValueError(f"no layer for {missing}")
    for p in model.parameters():
        p.requires_grad_(False)
    for name in {n for found in hits.values() for n in found}:
        model.set_submodule(name, LoRALinear(model.get_submodule(name), r, lora_alpha))
    return model
""",
    ),
    Answer(
        "inject_lora",
        "a layer of one's own, as in peft",
        edits=[
            (
                "        layer = LoRALinear(model.get_submodule(name), r, lora_alpha)\n",
                """        class Own(nn.Module):
            def __init__(self, base):
                super().__init__()
                self.base, self.scale = base, lora_alpha / r
                self.lora_A = nn.Linear(base.in_features, r, bias=False)
                self.lora_B = nn.Linear(r, base.out_features, bias=False)
                nn.init.zeros_(self.lora_B.weight)

            def forward(self, x):
                return self.base(x) + self.scale * self.lora_B(self.lora_A(x))

        layer = Own(model.get_submodule(name))
""",
            ),
            (FREEZE, 'parameter.requires_grad = ".lora_" in name'),
        ],
    ),
    edit(
        "mark_only_lora_as_trainable",
        "by the end of the name",
        "",
        (MARK, 'parameter.requires_grad = name.endswith((".lora_A", ".lora_B"))'),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "by the layers",
        code="""
def mark_only_lora_as_trainable(model):
    model.requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.lora_A.requires_grad = layer.lora_B.requires_grad = True
    return model
""",
    ),
    Answer(
        "lora_report",
        "on a copy with real adapters",
        code="""
def lora_report(model, names, r):
    trainable = 0
    for layer in {id(model.get_submodule(n)): model.get_submodule(n) for n in names}.values():
        d_out, d_in = layer.weight.shape
        trainable += torch.empty(r, d_in).numel() + torch.empty(d_out, r).numel()
    total = trainable + sum({id(p): p.numel() for p in model.parameters()}.values())
    return torch.tensor([trainable, total])
""",
    ),
    Answer(
        "lora_report",
        "by data pointers",
        code="""
def lora_report(model, names, r):
    tensors = {p.data_ptr(): p for _, p in model.named_parameters(remove_duplicate=False)}
    layers = {id(layer): layer.weight for layer in map(model.get_submodule, names)}
    trainable = r * sum(w.shape[0] + w.shape[1] for w in layers.values())
    return [trainable, trainable + sum(t.numel() for t in tensors.values())]
""",
    ),
    Answer(
        "missed_layers",
        "skips what is inside a wrapper",
        code="""
def missed_layers(model, head):
    inside = {id(m.base_layer) for m in model.modules() if isinstance(m, LoRALinear)}
    return {
        n: m
        for n, m in model.named_modules()
        if type(m) in (nn.Linear, Conv1D) and id(m) not in inside and n != head
    }
""",
    ),
    Answer(
        "missed_layers",
        "a generator",
        code="""
def missed_layers(model, head):
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) or isinstance(part, Conv1D):
            if ".base_layer" not in name and part is not model.get_submodule(head):
                yield name
""",
    ),
    Answer(
        "prepare",
        "two groups",
        code="""
def prepare(model, inject, head, lr):
    model = inject(model)
    new = list(model.get_submodule(head).parameters())
    for p in new:
        p.requires_grad = True
    factors = [p for n, p in model.named_parameters() if "lora_" in n]
    groups = [{"params": factors}, {"params": new, "weight_decay": 0.1}]
    return torch.optim.AdamW(groups, lr=lr)
""",
    ),
    Answer(
        "prepare",
        "groups added one by one",
        code="""
def prepare(model, inject, head, lr):
    inject(model)
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=lr)
    for name, p in model.named_parameters():
        if name.startswith(head + "."):
            p.requires_grad = True
            optimizer.add_param_group({"params": [p]})
    return optimizer
""",
    ),
    Answer(
        "inject_lora",
        "looks by the parts, backwards",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    table = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear):
            parts = tuple(name.split("."))
            for k in range(len(parts)):
                table.setdefault(".".join(parts[k:]), set()).add(name)
    if not set(target_modules) <= set(table):
        raise ValueError(f"no linear layer for {set(target_modules) - set(table)}")
    for p in model.parameters():
        p.requires_grad = False
    for name in set().union(*(table[entry] for entry in target_modules)):
        parent, _, last = name.rpartition(".")
        model.get_submodule(parent)._modules[last] = LoRALinear(
            model.get_submodule(name), r=r, lora_alpha=lora_alpha
        )
    return model
""",
    ),
    Answer(
        "inject_lora",
        "an error class of one's own",
        edits=[
            (NAMES, "class NoHit(ValueError):\n        pass\n\n    " + NAMES),
            ("raise ValueError", "raise NoHit"),
        ],
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "all off, then two on",
        code="""
def mark_only_lora_as_trainable(model):
    for p in model.parameters():
        p.requires_grad_(False)
    for part in model.modules():
        for name, p in part.named_parameters(recurse=False):
            if name in {"lora_A", "lora_B"}:
                p.requires_grad_()
""",
    ),
    Answer(
        "lora_report",
        "from a meta copy, as NumPy numbers",
        code="""
def lora_report(model, names, r):
    import numpy as np
    import copy
    copied = copy.deepcopy(model)
    seen, trainable = [], np.int64(0)
    for name in names:
        layer = copied.get_submodule(name)
        if not any(layer is other for other in seen):
            seen.append(layer)
            trainable += r * np.sum(layer.weight.shape)
    return [trainable, np.int64(sum(p.numel() for p in copied.parameters())) + trainable]
""",
    ),
    Answer(
        "missed_layers",
        "a recursion",
        code="""
def missed_layers(model, head):
    def walk(part, path):
        for name, child in part.named_children():
            full = f"{path}.{name}" if path else name
            if isinstance(child, LoRALinear) or full == head:
                continue
            if isinstance(child, (nn.Linear, Conv1D)):
                yield full
            yield from walk(child, full)

    return sorted(walk(model, ""), reverse=True)
""",
    ),
    Answer(
        "prepare",
        "a class made from AdamW",
        code="""
class Own(torch.optim.AdamW):
    pass


def prepare(model, inject, head, lr):
    inject(model)
    for p in model.get_submodule(head).parameters():
        p.requires_grad_()
    return Own((p for p in model.parameters() if p.requires_grad), lr)
""",
    ),
]

WRONG = [
    # 4.1
    edit("inject_lora", "gives the wrapper to a variable", "nothing", (REPLACE, "pass")),
    edit(
        "inject_lora",
        "replaces in the list of modules",
        "nothing",
        (REPLACE, "dict(model.named_modules())[name] = layer"),
    ),
    edit(
        "inject_lora",
        "works on a copy",
        "copy",
        (NAMES, "import copy\n    model = copy.deepcopy(model)\n    " + NAMES),
    ),
    edit(
        "inject_lora",
        "endswith without the dot",
        "no_dot",
        (FIND, FIND.replace('f".{n}"', "n").replace('f".{entry}"', "entry")),
    ),
    edit(
        "inject_lora",
        "entry anywhere in the name",
        "substring",
        (FIND, "found = [n for n in names if entry in n]"),
    ),
    edit("inject_lora", "a dot is a must", "top_level", (FIND, FIND.replace('f".{n}"', "n"))),
    edit(
        "inject_lora",
        "compares the last part, checks the whole list",
        "last_part",
        (FIND, 'found = [n for n in names if n.split(".")[-1] == entry]'),
        (NO_HIT, ""),
        (
            "    for name in dict.fromkeys(hits):",
            "    if not hits:\n        raise ValueError"
            "('nothing')\n    for name in dict.fromkeys(hits):",
        ),
    ),
    edit(
        "inject_lora",
        "compares the last part",
        "last_part",
        (FIND, 'found = [n for n in names if n.split(".")[-1] == entry]'),
    ),
    edit(
        "inject_lora",
        "children only",
        "shallow",
        ("model.named_modules()", "model.named_children()"),
        (NO_HIT, ""),
    ),
    edit("inject_lora", "all linear layers", "everything", (FIND, "found = names")),
    edit(
        "inject_lora",
        "all but the head",
        "everything",
        (FIND, 'found = [n for n in names if n != "head"]'),
    ),
    edit(
        "inject_lora",
        "one layer of each kind",
        "first_hit",
        ("hits += found", "hits += found[:1]"),
    ),
    edit(
        "inject_lora",
        "a new linear layer",
        "new_weights",
        (
            "LoRALinear(model.get_submodule(name), r, lora_alpha)",
            "model.get_submodule(name)\n        layer = LoRALinear(nn.Linear("
            "layer.in_features, layer.out_features), r, lora_alpha)",
        ),
    ),
    edit(
        "inject_lora",
        "r and alpha exchanged",
        "args",
        ("r, lora_alpha)\n        model", "lora_alpha, r)\n        model"),
    ),
    edit(
        "inject_lora",
        "r forgotten",
        "args",
        ("(name), r, lora_alpha)", "(name), lora_alpha=lora_alpha)"),
    ),
    edit("inject_lora", "alpha forgotten", "args", ("(name), r, lora_alpha)", "(name), r)")),
    edit("inject_lora", "nothing frozen", "only_wrapped", (LOOP, "")),
    edit(
        "inject_lora",
        "freezes weights, not biases",
        "not_frozen",
        (FREEZE, 'parameter.requires_grad = not name.endswith("weight")'),
    ),
    edit(
        "inject_lora",
        "freezes everything last",
        "lora_frozen",
        (FREEZE, "parameter.requires_grad = False"),
    ),
    edit(
        "inject_lora",
        "B random",
        "restarted",
        (REPLACE, "nn.init.normal_(layer.lora_B)\n        " + REPLACE),
    ),
    edit("inject_lora", "never raises", "silent", (NO_HIT, "")),
    edit(
        "inject_lora",
        "raises only when nothing at all is hit",
        "one_entry",
        (NO_HIT, ""),
        (
            "    for name in dict.fromkeys(hits):",
            "    if not hits:\n        raise ValueError"
            "(target_modules)\n    for name in dict.fromkeys(hits):",
        ),
    ),
    edit("inject_lora", "asserts", "other_error", (NO_HIT, "        assert found\n")),
    edit("inject_lora", "a KeyError", "other_error", ("raise ValueError", "raise KeyError")),
    Answer(
        "inject_lora",
        "replaces entry by entry",
        "half_done",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    for entry in target_modules:
        names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
        found = [n for n in names if n == entry or n.endswith("." + entry)]
        if not found:
            raise ValueError(f"{entry} hits nothing")
        for name in found:
            model.set_submodule(name, LoRALinear(model.get_submodule(name), r, lora_alpha))
    for name, p in model.named_parameters():
        p.requires_grad = name.endswith(("lora_A", "lora_B"))
    return model
""",
    ),
    edit(
        "inject_lora",
        "freezes before it looks",
        "half_done",
        (NAMES, "model.requires_grad_(False)\n    " + NAMES),
    ),
    edit("inject_lora", "forgets return", "none", ("    return model", "")),
    edit("inject_lora", "returns a list", "type", ("return model", "return hits")),
    edit(
        "inject_lora",
        "wraps the blocks as well",
        "no_filter",
        (" if isinstance(part, nn.Linear)", ""),
        (FIND, "found = [n for n in names if entry in n or entry.split('.')[0] in n]"),
    ),
    Answer(
        "inject_lora",
        "changes a dictionary that it walks through",
        "other",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    for name, layer in layers.items():
        layers[name + ".lora"] = LoRALinear(layer, r, lora_alpha)
    return model
""",
    ),
    edit(
        "inject_lora",
        "scales A at the start",
        "other",
        (REPLACE, "layer.scaling *= 3\n        " + REPLACE),
    ),
    # 4.2
    edit(
        "mark_only_lora_as_trainable",
        "a typing error in the attribute",
        "nothing_changed",
        ("parameter.requires_grad =", "parameter.require_grad ="),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "freezes all",
        "all_frozen",
        (MARK, "parameter.requires_grad = False"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "compares the whole name",
        "all_frozen",
        ('name.split(".")[-1] in', "name in"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "switches all on",
        "all_train",
        (MARK, "parameter.requires_grad = True"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "the other way round",
        "inverse",
        ("[-1] in (", "[-1] not in ("),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "lora_ anywhere in the name",
        "looks_like",
        (MARK, 'parameter.requires_grad = "lora_" in name'),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "everything in a LoRA layer",
        "base_layer",
        code="""
def mark_only_lora_as_trainable(model):
    model.requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.requires_grad_(True)
""",
    ),
    edit(
        "mark_only_lora_as_trainable",
        "freezes the others only",
        "not_turned_on",
        (MARK, "parameter.requires_grad &= name[-6:] in ('lora_A', 'lora_B')"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "switches the factors on only",
        "not_turned_off",
        (MARK, "parameter.requires_grad |= name[-6:] in ('lora_A', 'lora_B')"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "B alone",
        "one_factor",
        ('in ("lora_A", "lora_B")', 'in ("lora_B",)'),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "A alone",
        "one_factor",
        ('in ("lora_A", "lora_B")', 'in ("lora_A",)'),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "norms as well",
        "not_base",
        (MARK, MARK + ' or "norm" in name'),
    ),
    # 4.3
    edit(
        "lora_report",
        "counts names",
        "shared_twice",
        (SET, "layers = [model.get_submodule(name) for name in names]"),
    ),
    edit(
        "lora_report",
        "the size of the weight",
        "full_size",
        (SUM, "sum(layer.weight.numel() for layer in layers)"),
    ),
    edit("lora_report", "forgets r", "no_r", ("sum(r * sum", "sum(sum")),
    edit(
        "lora_report",
        "a bias for each layer",
        "with_bias",
        ("sum(layer.weight.shape)", "sum(layer.weight.shape) + len(layer.bias)"),
    ),
    edit(
        "lora_report",
        "twice the input",
        "only_in",
        (
            SUM,
            "sum(2 * r * (layer.weight.shape[isinstance(layer, nn.Linear)]) for layer in layers)",
        ),
    ),
    edit(
        "lora_report",
        "twice the output",
        "only_in",
        (SUM, "sum(2 * r * len(layer.bias) for layer in layers)"),
    ),
    edit(
        "lora_report",
        "A alone",
        "one_factor",
        (SUM, "sum(r * (layer.weight.shape[isinstance(layer, nn.Linear)]) for layer in layers)"),
    ),
    edit(
        "lora_report",
        "total first",
        "exchanged",
        ("return trainable, trainable + " + TOTAL, "return trainable + " + TOTAL + ", trainable"),
    ),
    edit(
        "lora_report",
        "the total from the state dict",
        "tied_twice",
        (TOTAL, "sum(t.numel() for t in model.state_dict().values())"),
    ),
    edit(
        "lora_report",
        "the total from the modules",
        "tied_twice",
        (
            TOTAL,
            "sum(p.numel() for m in model.modules() for p in m.parameters(recurse=False))",
        ),
    ),
    edit(
        "lora_report",
        "the total without the adapters",
        "base_only",
        ("return trainable, trainable + ", "return trainable, "),
    ),
    edit(
        "lora_report",
        "the total without what is frozen",
        "no_frozen",
        (TOTAL, TOTAL[:-1] + " if p.requires_grad)"),
    ),
    edit(
        "lora_report",
        "freezes the model",
        "changed",
        (SET, "model.requires_grad_(False)\n    " + SET),
    ),
    edit(
        "lora_report",
        "in_features of all",
        "raised",
        ("sum(layer.weight.shape)", "(layer.in_features + layer.out_features)"),
    ),
    edit(
        "lora_report",
        "wraps them all",
        "raised",
        (SUM, "sum(LoRALinear(layer, r).lora_A.numel() for layer in layers)"),
    ),
    edit(
        "lora_report", "one number", "type", ("return trainable, trainable +", "return trainable +")
    ),
    edit("lora_report", "forgets return", "none", ("return trainable, ", "total = ")),
    edit("lora_report", "r squared", "r_twice", ("sum(r * sum", "sum(r * r * sum")),
    # 4.4
    edit("missed_layers", "those that have LoRA", "found", (ASKED, "isinstance(part, LoRALinear)")),
    edit("missed_layers", "base layers too", "base_layers", (" and not is_base", "")),
    edit(
        "missed_layers",
        "base layers and head too",
        "base_layers",
        (" and not is_base and name != head", ""),
    ),
    edit("missed_layers", "the head too", "head", (" and name != head", "")),
    edit(
        "missed_layers",
        "compares the last part with the head",
        "head",
        ("name != head", 'name.split(".")[-1] != head'),
    ),
    edit(
        "missed_layers",
        "all parts without LoRA",
        "not_linear",
        ("isinstance(part, (nn.Linear, Conv1D))", 'not hasattr(part, "lora_A")'),
    ),
    edit("missed_layers", "nn.Linear alone", "conv_missed", ("(nn.Linear, Conv1D)", "nn.Linear")),
    edit(
        "missed_layers",
        "last parts of the names",
        "short",
        ("missed.append(name)", 'missed.append(name.split(".")[-1])'),
    ),
    edit(
        "missed_layers",
        "names of weights",
        "tensors",
        ("missed.append(name)", 'missed.append(name + ".weight")'),
    ),
    edit("missed_layers", "empty", "empty", ("missed.append(name)", "pass")),
    edit(
        "missed_layers",
        "from block 10 on",
        "one_name",
        (ASKED, ASKED + ' and (".10." in name or "gate" in name)'),
    ),
    edit(
        "missed_layers",
        "the layers, not the names",
        "type",
        ("missed.append(name)", "missed.append(part)"),
    ),
    edit("missed_layers", "one text", "type", ("return missed", 'return ", ".join(missed)')),
    edit("missed_layers", "forgets return", "none", ("    return missed", "")),
    # 4.5
    edit("prepare", "no injection", "not_injected", ("    inject(model)\n", "")),
    edit(
        "prepare",
        "freezes all afterwards",
        "lora_frozen",
        (HEAD, "    model.requires_grad_(False)\n" + HEAD),
    ),
    edit(
        "prepare",
        "switches everything on",
        "all_train",
        ("model.get_submodule(head).requires_grad_", "model.requires_grad_"),
    ),
    Answer(
        "prepare",
        "the optimizer first",
        "too_early",
        code="""
def prepare(model, inject, head, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    inject(model)
    model.get_submodule(head).requires_grad_(True)
    return optimizer
""",
    ),
    Answer(
        "prepare",
        "the list first",
        "too_early",
        code="""
def prepare(model, inject, head, lr):
    trained = [p for p in model.parameters() if p.requires_grad]
    inject(model)
    return torch.optim.AdamW(trained, lr=lr)
""",
    ),
    edit("prepare", "head forgotten", "head_frozen", (HEAD, "")),
    edit(
        "prepare",
        "head before the injection",
        "head_frozen",
        ("    inject(model)\n" + HEAD, HEAD + "    inject(model)\n"),
    ),
    edit(
        "prepare",
        "all parameters, head forgotten",
        "head_held_frozen",
        (HEAD, ""),
        (" if p.requires_grad", ""),
    ),
    edit("prepare", "head after the list", "head_not_held", (HEAD + TRAINED, TRAINED + HEAD)),
    edit(
        "prepare",
        "only the factors in the list",
        "head_not_held",
        (TRAINED, '    trained = [p for n, p in model.named_parameters() if "lora_" in n]\n'),
    ),
    edit("prepare", "all parameters", "frozen_too", (" if p.requires_grad", "")),
    edit(
        "prepare",
        "through all modules",
        "twice",
        ("p for p in model.parameters()", "p for m in model.modules() for p in m.parameters()"),
    ),
    edit("prepare", "the default learning rate", "default_lr", (", lr=lr", "")),
    edit(
        "prepare",
        "returns the list",
        "type",
        ("return torch.optim.AdamW(trained, lr=lr)", "return trained"),
    ),
    edit(
        "prepare",
        "returns the model too",
        "type",
        (
            "return torch.optim.AdamW(trained, lr=lr)",
            "return model, torch.optim.AdamW(trained, lr=lr)",
        ),
    ),
    edit("prepare", "forgets return", "none", ("return torch", "optimizer = torch")),
    edit(
        "prepare",
        "a copy of the model",
        "not_injected",
        ("inject(model)\n", "import copy\n    old, model = model, inject(copy.deepcopy(model))\n"),
    ),
    edit(
        "prepare",
        "a tensor of its own as well",
        "other",
        ("(trained, lr=lr)", "(trained + [nn.Parameter(torch.zeros(1))], lr=lr)"),
    ),
    # What a closer look found
    edit(
        "inject_lora",
        "no look at the type",
        "no_filter",
        (NAMES, "names = [n for n, _ in model.named_modules()]"),
    ),
    edit(
        "inject_lora",
        "skips what cannot be wrapped",
        "attn_hits",
        (NAMES, "names = [n for n, part in model.named_modules() if n]"),
        (
            "        layer = LoRALinear(model.get_submodule(name), r, lora_alpha)\n",
            "        if not isinstance(model.get_submodule(name), nn.Linear):\n"
            "            continue\n"
            "        layer = LoRALinear(model.get_submodule(name), r, lora_alpha)\n",
        ),
    ),
    edit(
        "inject_lora",
        "an error that names nothing",
        "nameless",
        ('f"{entry!r} hits no linear layer."', '"an entry hits no linear layer"'),
    ),
    edit("inject_lora", "a bare error", "nameless", ('(f"{entry!r} hits no linear layer.")', "")),
    edit("inject_lora", "names collected twice", "twice", ("in dict.fromkeys(hits)", "in hits")),
    edit(
        "inject_lora",
        "setattr with a dotted name",
        "wrong_place",
        (REPLACE, "setattr(model, name, layer)"),
    ),
    edit(
        "inject_lora",
        "setattr on the model with the last part",
        "wrong_place",
        (REPLACE, 'setattr(model, name.split(".")[-1], layer)'),
    ),
    edit(
        "inject_lora",
        "setattr on the parent with the whole name",
        "wrong_place",
        (REPLACE, 'setattr(model.get_submodule(name.rpartition(".")[0]), name, layer)'),
    ),
    edit(
        "inject_lora",
        "a regular expression of the entry",
        "regex",
        (FIND, 'import re\n        found = [n for n in names if re.search(f"(^|[.]){entry}$", n)]'),
    ),
    edit(
        "inject_lora",
        "a copy of each layer",
        "new_weights",
        (
            "LoRALinear(model.get_submodule(name), r",
            "LoRALinear(__import__('copy').deepcopy(model.get_submodule(name)), r",
        ),
    ),
    edit(
        "inject_lora",
        "only the last entry is looked at",
        "one_entry",
        (NO_HIT, ""),
        (
            "    for name in dict.fromkeys(hits):",
            "    if not found:\n        raise ValueError(entry)\n"
            "    for name in dict.fromkeys(hits):",
        ),
    ),
    edit(
        "inject_lora",
        "empties the list that was given",
        "list",
        ("    return model", "    target_modules.clear()\n    return model"),
    ),
    edit(
        "inject_lora",
        "switches to eval() before the look",
        "half_done",
        (NAMES, "model.train(not model.training)\n    " + NAMES),
    ),
    edit(
        "inject_lora",
        "B trains, A does not",
        "one_factor",
        (FREEZE, 'parameter.requires_grad = name.endswith("lora_B")'),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "and zeroes B",
        "more_than_flags",
        (
            MARK,
            MARK + "\n        if name.endswith('lora_B'):\n            nn.init.ones_(parameter)",
        ),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "and switches the mode",
        "more_than_flags",
        (MARK, MARK + "\n    model.train(not model.training)"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "a new parameter for each",
        "more_than_flags",
        (
            "    for name, parameter in model.named_parameters():\n",
            "    for name, parameter in list(model.named_parameters()):\n"
            "        place, _, last = name.rpartition('.')\n"
            "        setattr(model.get_submodule(place), last, nn.Parameter(parameter.data))\n"
            "    for name, parameter in model.named_parameters():\n",
        ),
    ),
    edit(
        "lora_report",
        "shared twice and r forgotten",
        "no_r",
        (SET, "layers = [model.get_submodule(name) for name in names]"),
        ("sum(r * sum", "sum(sum"),
    ),
    edit(
        "lora_report",
        "B alone",
        "one_factor",
        (SUM, "sum(r * len(layer.bias) for layer in layers)"),
    ),
    edit(
        "lora_report",
        "three values",
        "type",
        ("return trainable, trainable + " + TOTAL, "return trainable, 0, trainable + " + TOTAL),
    ),
    edit(
        "lora_report",
        "sorts the names that were given",
        "changed",
        (SET, "names.sort()\n    " + SET),
    ),
    edit(
        "lora_report",
        "thousands",
        "other",
        (
            "return trainable, trainable + " + TOTAL,
            "return trainable / 1000, (trainable + " + TOTAL + ") / 1000",
        ),
    ),
    edit(
        "missed_layers",
        "head anywhere in the name",
        "head_word",
        ("name != head", 'head.split(".")[-1] not in name'),
    ),
    edit(
        "missed_layers",
        "each name twice",
        "repeated",
        ("missed.append(name)", "missed += [name, name]"),
    ),
    edit(
        "missed_layers",
        "wraps what was missed",
        "changed",
        ("missed.append(name)", "missed.append(name)\n            part.requires_grad_(True)"),
    ),
    edit(
        "missed_layers",
        "stops at the first",
        "one_name",
        ("missed.append(name)", "return [name]"),
    ),
    edit("prepare", "SGD", "optimizer", ("torch.optim.AdamW", "torch.optim.SGD")),
    edit("prepare", "Adam", "optimizer", ("torch.optim.AdamW", "torch.optim.Adam")),
    edit(
        "prepare",
        "by the first letters of the name",
        "prefix",
        (
            HEAD,
            "    for n, p in model.named_parameters():\n"
            "        if n.startswith(head):\n            p.requires_grad = True\n",
        ),
    ),
    edit(
        "prepare",
        "the bias of the head forgotten",
        "half_head",
        (HEAD, "    model.get_submodule(head).weight.requires_grad = True\n"),
    ),
    edit(
        "prepare",
        "the new head alone",
        "only_head",
        (TRAINED, "    trained = list(model.get_submodule(head).parameters())\n"),
    ),
    edit(
        "prepare", "injects twice", "raised", ("    inject(model)\n", "    inject(inject(model))\n")
    ),
    edit("prepare", "ten times the rate", "other_lr", ("lr=lr", "lr=10 * lr")),
    edit(
        "prepare",
        "a new start for the head",
        "changed",
        (HEAD, HEAD + "    nn.init.zeros_(model.get_submodule(head).weight)\n"),
    ),
    edit(
        "prepare",
        "switches to train()",
        "mode",
        (TRAINED, "    model.train()\n" + TRAINED),
    ),
    edit(
        "inject_lora",
        "lora_ anywhere in the name trains",
        "looks_like",
        (FREEZE, 'parameter.requires_grad = "lora_" in name'),
    ),
    edit(
        "inject_lora",
        "everything with a weight",
        "no_filter",
        ("isinstance(part, nn.Linear)", "hasattr(part, 'weight')"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "begins with lora_",
        "looks_like",
        (MARK, "parameter.requires_grad = name.split('.')[-1].startswith('lora_')"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "starts B anew",
        "more_than_flags",
        (
            MARK,
            MARK + "\n        if name.endswith('lora_B'):\n            nn.init.zeros_(parameter)",
        ),
    ),
    edit(
        "lora_report",
        "one layer for each shape",
        "shared_weight",
        (
            SET,
            "layers = {model.get_submodule(n).weight.shape: model.get_submodule(n) "
            "for n in names}.values()",
        ),
    ),
    edit(
        "lora_report",
        "the first name of a layer alone",
        "second_name",
        (SET, "layers = [part for name, part in model.named_modules() if name in names]"),
    ),
    edit(
        "lora_report",
        "one tensor for each shape",
        "incomplete",
        (TOTAL, "sum({p.shape: p.numel() for p in model.parameters()}.values())"),
    ),
    edit("prepare", "switches to eval()", "mode", (TRAINED, "    model.eval()\n" + TRAINED)),
    edit(
        "missed_layers",
        "ends like the head",
        "head_word",
        (ASKED, ASKED.replace("name != head", "not name.endswith(head)")),
    ),
    edit(
        "missed_layers",
        "the last part of the head",
        "head_word",
        (ASKED, ASKED.replace("name != head", "name.split('.')[-1] != head.split('.')[-1]")),
    ),
    edit(
        "missed_layers",
        "what is not frozen",
        "empty",
        (ASKED, ASKED.replace("not is_base", "part.weight.requires_grad")),
    ),
    edit(
        "missed_layers",
        "only the top level",
        "top_level",
        ("model.named_modules()", "model.named_children()"),
    ),
]

RIGHT += [
    Answer(
        "inject_lora",
        "tuple endswith",
        edits=(
            (
                'found = [n for n in names if f".{n}".endswith(f".{entry}")]',
                'found = [n for n in names if n == entry or n.endswith("." + entry)]',
            ),
        ),
    ),
    Answer(
        "inject_lora",
        "setattr on parent",
        edits=(
            (
                "model.set_submodule(name, layer)",
                (
                    'parent, _, last = name.rpartition(".")\n'
                    "        setattr(model.get_submodule(parent), last, layer)"
                ),
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "rsplit",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                ('parameter.requires_grad_(name.rsplit(".", 1)[-1] in {"lora_A", "lora_B"})'),
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "modules",
        code="""
def mark_only_lora_as_trainable(model):
    model.requires_grad_(False)
    for part in model.modules():
        if isinstance(part, LoRALinear):
            part.lora_A.requires_grad = part.lora_B.requires_grad = True
""",
    ),
    Answer(
        "lora_report",
        "ids",
        edits=(
            (
                "layers = {model.get_submodule(name) for name in names}",
                (
                    "layers = {id(model.get_submodule(name)): model.get_submodule(name) for n"
                    "ame in names}.values()"
                ),
            ),
        ),
    ),
    Answer(
        "lora_report",
        "tensors",
        edits=(
            (
                ("return trainable, trainable + sum(p.numel() for p in model.parameters())"),
                (
                    "return torch.tensor([trainable, trainable + sum(p.numel() for p in model"
                    ".parameters())])"
                ),
            ),
        ),
    ),
    Answer(
        "prepare",
        "two groups",
        edits=(
            (
                "return torch.optim.AdamW(trained, lr=lr)",
                (
                    "return torch.optim.AdamW([{'params': [p for n, p in model.named_paramete"
                    "rs() if p.requires_grad and 'lora_' in n]}, {'params': [p for n, p in mo"
                    "del.named_parameters() if p.requires_grad and 'lora_' not in n]}], lr=lr"
                    ")"
                ),
            ),
        ),
    ),
    Answer(
        "prepare",
        "filter generator",
        edits=(
            (
                "return torch.optim.AdamW(trained, lr=lr)",
                (
                    "return torch.optim.AdamW(filter(lambda p: p.requires_grad, model.paramet"
                    "ers()), lr=lr)"
                ),
            ),
        ),
    ),
    Answer(
        "missed_layers",
        "tuple",
        edits=(("return missed", "return tuple(missed)"),),
    ),
    Answer(
        "missed_layers",
        "set",
        edits=(("return missed", "return set(missed)"),),
    ),
]

WRONG += [
    Answer(
        "inject_lora",
        "last part equals last of entry",
        "parent_ignored",
        edits=(
            (
                'found = [n for n in names if f".{n}".endswith(f".{entry}")]',
                ('found = [n for n in names if n.split(".")[-1] == entry.split(".")[-1]]'),
            ),
        ),
    ),
    Answer(
        "inject_lora",
        "part anywhere",
        "any_part",
        edits=(
            (
                'found = [n for n in names if f".{n}".endswith(f".{entry}")]',
                'found = [n for n in names if entry in n.split(".")]',
            ),
        ),
    ),
    Answer(
        "inject_lora",
        "train mode",
        "mode",
        edits=(("    return model\n", "    return model.train()\n"),),
    ),
    Answer(
        "inject_lora",
        "eval mode",
        "mode",
        edits=(("    return model\n", "    return model.eval()\n"),),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "startswith lora",
        "from_the_front",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                'parameter.requires_grad = name.startswith("lora_")',
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "endswith A, B letters",
        "letters",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                'parameter.requires_grad = name.endswith(("A", "B"))',
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "lora_A in name",
        "looks_like",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                'parameter.requires_grad = "lora_A" in name or "lora_B" in name',
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "base_layer not in name",
        "not_base",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                'parameter.requires_grad = "base_layer" not in name',
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "not flora",
        "flora_left_out",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                'parameter.requires_grad = "lora" in name and "flora" not in name',
            ),
        ),
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "modules' direct parameters without base: children",
        "shallow",
        code="""
def mark_only_lora_as_trainable(model):
    model.requires_grad_(False)
    for name, part in model.named_children():
        if isinstance(part, LoRALinear):
            part.lora_A.requires_grad_(True)
            part.lora_B.requires_grad_(True)
""",
    ),
    Answer(
        "mark_only_lora_as_trainable",
        "switches to train",
        "more_than_flags",
        edits=(
            (
                'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")',
                (
                    'parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B")\n'
                    "    model.train()"
                ),
            ),
        ),
    ),
    Answer(
        "lora_report",
        "product",
        "full_size",
        edits=(("sum(layer.weight.shape)", "layer.weight.numel()"),),
    ),
    Answer(
        "lora_report",
        "only in",
        "one_factor",
        edits=(("sum(layer.weight.shape)", "layer.weight.shape[1]"),),
    ),
    Answer(
        "lora_report",
        "only out",
        "one_factor",
        edits=(("sum(layer.weight.shape)", "layer.weight.shape[0]"),),
    ),
    Answer(
        "lora_report",
        "bias too",
        "with_bias",
        edits=(("sum(layer.weight.shape)", "sum(sum(p.shape) for p in layer.parameters())"),),
    ),
    Answer(
        "lora_report",
        "by shapes: equal shapes once",
        "shared_weight",
        edits=(
            (
                "layers = {model.get_submodule(name) for name in names}",
                (
                    "layers = {model.get_submodule(name).weight.shape: model.get_submodule(na"
                    "me) for name in names}.values()"
                ),
            ),
        ),
    ),
    Answer(
        "lora_report",
        "Linear only",
        "no_conv",
        edits=(
            (
                "layers = {model.get_submodule(name) for name in names}",
                (
                    "layers = {model.get_submodule(name) for name in names if isinstance(mode"
                    "l.get_submodule(name), nn.Linear)}"
                ),
            ),
        ),
    ),
    Answer(
        "lora_report",
        "tied weights once too in layers",
        "shared_weight",
        edits=(
            (
                "layers = {model.get_submodule(name) for name in names}",
                (
                    "layers = {id(model.get_submodule(name).weight): model.get_submodule(name"
                    ") for name in names}.values()"
                ),
            ),
        ),
    ),
    Answer(
        "lora_report",
        "buffers counted",
        "buffers",
        edits=(
            (
                "sum(p.numel() for p in model.parameters())",
                "sum(p.numel() for p in [*model.parameters(), *model.buffers()])",
            ),
        ),
    ),
    Answer(
        "prepare",
        "state dict tensors",
        "copies",
        edits=(
            (
                "trained = [p for p in model.parameters() if p.requires_grad]",
                "trained = [p for p in model.state_dict().values()]",
            ),
        ),
    ),
    Answer(
        "prepare",
        "named params list with duplicates",
        "places",
        edits=(
            (
                "trained = [p for p in model.parameters() if p.requires_grad]",
                (
                    "trained = [p for _, p in model.named_parameters(remove_duplicate=False) "
                    "if p.requires_grad]"
                ),
            ),
        ),
    ),
    Answer(
        "prepare",
        "copies",
        "copies",
        edits=(
            (
                "trained = [p for p in model.parameters() if p.requires_grad]",
                (
                    "trained = [p.detach().clone().requires_grad_() for p in model.parameters"
                    "() if p.requires_grad]"
                ),
            ),
        ),
    ),
    Answer(
        "prepare",
        "getattr",
        "raised",
        edits=(
            (
                "model.get_submodule(head).requires_grad_(True)",
                "getattr(model, head).requires_grad_(True)",
            ),
        ),
    ),
    Answer(
        "prepare",
        "new head",
        "changed",
        edits=(
            (
                "model.get_submodule(head).requires_grad_(True)",
                (
                    "import copy\n"
                    "    model.set_submodule(head, copy.deepcopy(model.get_submodule(head)))\n"
                    "    model.get_submodule(head).requires_grad_(True)"
                ),
            ),
        ),
    ),
    Answer(
        "missed_layers",
        "Conv only",
        "linear_missed",
        edits=(("(nn.Linear, Conv1D)", "Conv1D"),),
    ),
    Answer(
        "missed_layers",
        "startswith head",
        "head_word",
        edits=(("name != head", "not name.startswith(head)"),),
    ),
    Answer(
        "missed_layers",
        "base in name",
        "base_word",
        edits=(('is_base = name.endswith(".base_layer")', 'is_base = "base" in name'),),
    ),
    Answer(
        "missed_layers",
        "base_layer in name",
        "base_word",
        edits=(('is_base = name.endswith(".base_layer")', 'is_base = "base_layer" in name'),),
    ),
    Answer(
        "missed_layers",
        "endswith base_layer without dot",
        "base_word",
        edits=(
            ('is_base = name.endswith(".base_layer")', 'is_base = name.endswith("base_layer")'),
        ),
    ),
    Answer(
        "missed_layers",
        "wrapped names beside",
        "with_wrapped",
        edits=(
            (
                ("if isinstance(part, (nn.Linear, Conv1D)) and not is_base and name != head:"),
                (
                    "if isinstance(part, (nn.Linear, Conv1D, LoRALinear)) and not is_base and"
                    " name != head:"
                ),
            ),
        ),
    ),
    Answer(
        "missed_layers",
        "bases cut",
        "with_wrapped",
        edits=(
            (
                ("if isinstance(part, (nn.Linear, Conv1D)) and not is_base and name != head:"),
                (
                    'name = name.removesuffix(".base_layer")\n'
                    "        if isinstance(part, (nn.Linear, Conv1D)) and name != head:"
                ),
            ),
        ),
    ),
]

WRONG += [  # what a novice wrote in a later round
    edit(
        "inject_lora",
        "A zero too",
        "restarted",
        (REPLACE, "nn.init.zeros_(layer.lora_A)\n        " + REPLACE),
    ),
    edit(
        "inject_lora",
        "returns hits inside loop",
        "one_layer",
        (
            "    for name, parameter in model.named_parameters():\n",
            ("        return model\n    for name, parameter in model.named_parameters():\n"),
        ),
    ),
    edit(
        "inject_lora",
        "startswith",
        "substring",
        (FIND, 'found = [n for n in names if n.split(".")[-1].startswith(entry)]'),
    ),
    edit(
        "inject_lora",
        "scaling passed",
        "args",
        ("r, lora_alpha)\n        model", "r, lora_alpha / r)\n        model"),
    ),
    edit("inject_lora", "raises TypeError", "other_error", ("raise ValueError", "raise TypeError")),
    edit(
        "inject_lora",
        "raises with the list",
        "whole_list",
        ('f"{entry!r} hits no linear layer."', 'f"{target_modules} hits no linear layer"'),
    ),
    edit(
        "inject_lora",
        "prints instead of raising",
        "silent",
        (
            'raise ValueError(f"{entry!r} hits no linear layer.")',
            'print(f"{entry!r} hits no linear layer.")',
        ),
    ),
    edit(
        "inject_lora",
        "returns model without",
        "silent",
        ('raise ValueError(f"{entry!r} hits no linear layer.")', "return model"),
    ),
    Answer(
        "inject_lora",
        "walks and replaces, raises at the end",
        "looks_like",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    hit = set()
    for name, part in list(model.named_modules()):
        for entry in target_modules:
            if isinstance(part, nn.Linear) and (name == entry or name.endswith("." + entry)):
                model.set_submodule(name, LoRALinear(part, r, lora_alpha))
                hit.add(entry)
    for entry in target_modules:
        if entry not in hit:
            raise ValueError(entry)
    for n, p in model.named_parameters():
        p.requires_grad = "lora_" in n
    return model
""",
    ),
    Answer(
        "inject_lora",
        "wraps children of parent by first name",
        "last_part",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    for p in model.parameters():
        p.requires_grad = False
    for entry in target_modules:
        found = False
        for name, module in model.named_modules():
            for child_name, child in module.named_children():
                if child_name == entry and isinstance(child, nn.Linear):
                    setattr(module, child_name, LoRALinear(child, r, lora_alpha))
                    found = True
        if not found:
            raise ValueError(entry)
    return model
""",
    ),
    Answer(
        "inject_lora",
        "setattr full child name match",
        "top_level",
        code="""
def inject_lora(model, target_modules, r, lora_alpha):
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    hits = [n for n in names if any(n == t or n.endswith("." + t) for t in target_modules)]
    if not hits:
        raise ValueError(f"{target_modules} hits no linear layer")
    for n in hits:
        parent, child = n.rsplit(".", 1)
        layer = LoRALinear(model.get_submodule(n), r, lora_alpha)
        setattr(model.get_submodule(parent), child, layer)
    for n, p in model.named_parameters():
        p.requires_grad = n.endswith(("lora_A", "lora_B"))
    return model
""",
    ),
    edit(
        "inject_lora",
        "first entry only",
        "one_entry_used",
        ("for entry in target_modules:", "for entry in target_modules[:1]:"),
    ),
    edit(
        "inject_lora",
        "in any order of any",
        "attn_hits",
        (FIND, ('found = [n for n in names if set(entry.split(".")) <= set(n.split("."))]')),
    ),
    edit(
        "inject_lora",
        "wraps parent of base twice",
        "args",
        ("dict.fromkeys(hits)", "hits"),
        (
            "LoRALinear(model.get_submodule(name), r, lora_alpha)",
            (
                "model.get_submodule(name)\n"
                "        layer = layer if isinstance(layer, LoRALinear) else"
                " LoRALinear(layer, lora_alpha, r)"
            ),
        ),
    ),
    edit(
        "inject_lora",
        "requires_grad_ not called",
        "only_wrapped",
        (FREEZE, 'parameter.requires_grad_ = name.endswith(("lora_A", "lora_B"))'),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "param.grad",
        "all_frozen",
        (
            MARK,
            (
                "parameter.requires_grad = False\n"
                '        if name in ("lora_A", "lora_B"):\n'
                "            parameter.requires_grad = True"
            ),
        ),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "or precedence",
        "all_train",
        (MARK, ('parameter.requires_grad = bool(name.endswith("lora_A") or "lora_B")')),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "not flora gate",
        "flora_left_out",
        (MARK, ('parameter.requires_grad = "lora_" in name and "flora_gate" not in name')),
    ),
    edit(
        "mark_only_lora_as_trainable",
        ".lora_ in",
        "looks_like",
        (MARK, 'parameter.requires_grad = ".lora_" in name'),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "elif",
        "not_turned_off",
        (
            MARK,
            (
                'if "base_layer" in name:\n'
                "            parameter.requires_grad = False\n"
                '        elif "lora" in name:\n'
                "            parameter.requires_grad = True"
            ),
        ),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "bias too",
        "biases",
        (MARK, ('parameter.requires_grad = name.split(".")[-1] in ("lora_A", "lora_B", "bias")')),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "model.modules lora only",
        "not_turned_off",
        (
            "    for name, parameter in model.named_parameters():\n        " + MARK,
            (
                "    for m in model.modules():\n"
                "        if isinstance(m, LoRALinear):\n"
                "            m.base_layer.requires_grad_(False)\n"
                "            m.lora_A.requires_grad_(True)\n"
                "            m.lora_B.requires_grad_(True)"
            ),
        ),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "freeze last",
        "all_frozen",
        (MARK, MARK + "\n    model.requires_grad_(False)"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "detach",
        "nothing_changed",
        (
            MARK,
            (
                'if name.split(".")[-1] not in ("lora_A", "lora_B"):\n'
                "            parameter = parameter.detach()"
            ),
        ),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "returns in loop",
        "stopped",
        (MARK, MARK + "\n        return model"),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "break at first lora",
        "stopped",
        (
            MARK,
            (
                "parameter.requires_grad = False\n"
                '        if name.split(".")[-1] in ("lora_A", "lora_B"):\n'
                "            parameter.requires_grad = True\n"
                "            break"
            ),
        ),
    ),
    edit(
        "lora_report",
        "one shape only in for Linear",
        "only_in",
        (SUM, ("sum(r * (layer.weight.shape[0] + layer.weight.shape[0]) for layer in layers)")),
    ),
    edit(
        "lora_report",
        "total is base + nothing frozen",
        "incomplete",
        (TOTAL, ("sum(p.numel() for n, p in model.named_parameters() if n in names)")),
    ),
    edit(
        "lora_report",
        "total of the layers only",
        "incomplete",
        (TOTAL, "sum(l.weight.numel() for l in layers)"),
    ),
    edit(
        "lora_report",
        "total counts tensors",
        "incomplete",
        (TOTAL, "len(list(model.parameters()))"),
    ),
    edit(
        "lora_report",
        "trainable from requires_grad",
        "now",
        (SUM, "sum(p.numel() for p in model.parameters() if p.requires_grad)"),
    ),
    edit(
        "lora_report",
        "square",
        "full_size",
        (SUM, ("sum(r * layer.weight.shape[0] * r * layer.weight.shape[1] for layer in layers)")),
    ),
    edit(
        "lora_report",
        "no set, weight ids in total",
        "shared_twice",
        (SET, "layers = [model.get_submodule(name) for name in set(names)]"),
    ),
    edit(
        "lora_report",
        "names of linear only by type",
        "not_named",
        (
            SET,
            (
                "layers = {m for n, m in model.named_modules() if"
                " isinstance(m, (nn.Linear, Conv1D))}"
            ),
        ),
    ),
    edit(
        "lora_report",
        "percent",
        "other",
        ("return trainable, trainable + " + TOTAL, "return trainable, trainable / " + TOTAL),
    ),
    edit(
        "lora_report",
        "trainable doubled in total",
        "added_twice",
        ("return trainable, trainable +", "return trainable, 2 * trainable +"),
    ),
    edit(
        "lora_report",
        "minus the wrapped",
        "incomplete",
        (
            "return trainable, trainable +",
            ("return trainable, trainable - sum(l.weight.numel() for l in layers) +"),
        ),
    ),
    edit(
        "lora_report",
        "weights only in total",
        "incomplete",
        (TOTAL, ('sum(p.numel() for n, p in model.named_parameters() if n.endswith("weight"))')),
    ),
    edit(
        "lora_report",
        "injects",
        "added_twice",
        (
            SET,
            (
                "from lora_course.inject import inject_lora\n"
                "    inject_lora(model, names, r=r)\n"
                "    layers = {model.get_submodule(name).base_layer for name"
                " in names}"
            ),
        ),
    ),
    edit(
        "lora_report",
        "embeddings head not counted",
        "incomplete",
        (TOTAL, ('sum(p.numel() for n, p in model.named_parameters() if "table" not in n)')),
    ),
    edit(
        "prepare",
        "lora list plus head list concatenated over all",
        "prefix",
        (
            "p for p in model.parameters() if p.requires_grad",
            ("p for n, p in model.named_parameters() if 'lora_' in n or n.startswith(head)"),
        ),
    ),
    edit(
        "prepare",
        "get_parameter weight only",
        "half_head",
        (
            TRAINED,
            (
                "    trained = [p for n, p in model.named_parameters() if"
                ' "lora_" in n] + [model.get_submodule(head).weight]\n'
            ),
        ),
    ),
    edit(
        "prepare",
        "head train mode",
        "head_frozen",
        (HEAD, "    model.get_submodule(head).train()\n"),
    ),
    edit(
        "prepare",
        "by last part",
        "prefix",
        (
            HEAD,
            (
                "    for n, p in model.named_parameters():\n"
                "        if head in n:\n"
                "            p.requires_grad = True\n"
            ),
        ),
    ),
    edit("prepare", "lr positional ok, wd as lr", "default_lr", ("lr=lr", "weight_decay=lr")),
    edit(
        "prepare",
        "inject after head list",
        "head_held_frozen",
        (
            "    inject(model)\n" + HEAD,
            HEAD
            + (
                "    trained_head ="
                " list(model.get_submodule(head).parameters())\n"
                "    inject(model)\n"
            ),
        ),
        ("AdamW(trained,", "AdamW(trained + trained_head,"),
    ),
    edit(
        "prepare",
        "head twice in groups",
        "head_twice",
        ("AdamW(trained,", "AdamW([*trained, *model.get_submodule(head).parameters()],"),
    ),
    edit(
        "prepare",
        "freezes lora by setting only head",
        "lora_frozen",
        (
            HEAD,
            (
                "    for n, p in model.named_parameters():\n"
                "        p.requires_grad = n.startswith(head + '.')\n"
            ),
        ),
    ),
    edit("prepare", "model passed", "raised", ("AdamW(trained,", "AdamW(model,")),
    edit(
        "prepare",
        "steps once",
        "changed",
        (
            "    return torch.optim.AdamW(trained, lr=lr)",
            (
                "    optimizer = torch.optim.AdamW(trained, lr=lr)\n"
                "    for p in trained:\n"
                "        p.grad = torch.ones_like(p)\n"
                "    optimizer.step()\n"
                "    return optimizer"
            ),
        ),
    ),
    edit("prepare", "fixed lr", "other_lr", ("lr=lr", "lr=2e-4")),
    edit(
        "prepare",
        "head lr only",
        "other_lr",
        (
            "AdamW(trained, lr=lr)",
            ("AdamW([{'params': trained[:-2]}, {'params': trained[-2:], 'lr': lr}])"),
        ),
    ),
    edit(
        "missed_layers",
        "linear type name",
        "with_wrapped",
        ("isinstance(part, (nn.Linear, Conv1D))", '"Linear" in type(part).__name__'),
    ),
    edit("missed_layers", "nn.Conv1d", "conv_missed", ("Conv1D)", "nn.Conv1d)")),
    edit(
        "missed_layers",
        "return in the loop",
        "empty",
        ("    return missed", "        return missed"),
    ),
    edit("missed_layers", "head in not", "head_word", ("name != head", "name not in head")),
    edit("missed_layers", "tuples", "type", ("missed.append(name)", "missed.append((name, part))")),
    edit(
        "missed_layers",
        "index of blocks by regex one digit",
        "other",
        (
            "and name != head",
            ("and name != head and not __import__('re').search(r'layers\\.\\d\\.', name)"),
        ),
    ),
    edit("missed_layers", "extend", "letters", ("missed.append(name)", "missed.extend(name)")),
    edit(
        "missed_layers",
        "wrapped Conv not seen as wrapped",
        "head",
        (
            ASKED,
            (
                "isinstance(part, (nn.Linear, Conv1D)) and not"
                " isinstance(model.get_submodule(name.rpartition('.')[0]),"
                " LoRALinear)"
            ),
        ),
    ),
    edit(
        "missed_layers",
        "type LoRALinear parent",
        "conv_wrapper",
        (
            ASKED,
            (
                "isinstance(part, (nn.Linear, Conv1D)) and"
                " type(model.get_submodule(name.rpartition('.')[0])) is not"
                " LoRALinear and name != head"
            ),
        ),
    ),
    edit(
        "mark_only_lora_as_trainable",
        "the last letter",
        "letters",
        (MARK, 'parameter.requires_grad = name[-1] in "AB" and "lora" in name'),
    ),
    edit(
        "prepare", "the whole list twice", "twice", ("AdamW(trained,", "AdamW(trained + trained,")
    ),
]
