"""Right and wrong answers to the exercises of chapter 12."""

from tests.answers import Answer

TOTAL = "total = weight.float() + scaling * lora_B @ lora_A  # float32"
TO = "return total.to(weight.dtype)"

WEIGHTS = 'weights = has("model.safetensors") or has("model.safetensors.index.json")'
IN_CONFIG = '"chat_template" in read("tokenizer_config.json")'
TEMPLATE = f'template = has("chat_template.jinja") or {IN_CONFIG}'
ADDED = '        ids += [token["id"] for token in spec["added_tokens"]]\n'
VOCAB = 'ids = [*spec["model"]["vocab"].values()]'
FITS = 'fits = max(ids) < read("config.json")["vocab_size"]'
ADAPTER = 'not has("adapter_config.json")'
READY = 'return weights, has("tokenizer.json"), template, fits, not has("adapter_config.json")'

LEAST = "least = flat.topk(keep).values[:, -1]  # (n,), the smallest that stays"
TRIMMED = "trimmed = updates * (updates.abs() >= least.view(-1, 1, 1))  # (n, out, in)"
SIGN = "sign = trimmed.sum(0).sign()  # (out, in)"
AGREES = "agrees = (trimmed.sign() == sign) & (trimmed != 0)  # (n, out, in)"
SUM = "total = (trimmed * weights.view(-1, 1, 1) * agrees).sum(0)"
MEAN = "return total / agrees.sum(0).clamp(min=1)"

OUT = "out = x @ W.T  # (rows, T, out), one product for all"
PICK = "A, B = lora_A[which], lora_B[which]  # (rows, r, in), (rows, out, r)"
STRENGTH = "strength = scaling[which] * (which >= 0)  # (rows,), 0 for the base"
MIXED = "return out + strength.view(-1, 1, 1) * (x @ A.mT @ B.mT)"

LICENSED = 'licensed = about.license and (about.license != "other" or about.license_name)'
TESTED = 'tested = any(r.dataset_split == "test" for r in about.eval_results or [])'
LIMITS = 'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]'
CARD = "return bool(about.base_model), bool(licensed), tested, bool(limits.strip()), not open_"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


def whole(exercise, note, code, mistake=""):
    return Answer(exercise, note, mistake, code=code)


RIGHT = [
    # 12.1
    Answer(
        "merge_weight",
        "in place",
        code="""
def merge_weight(weight, lora_A, lora_B, scaling):
    weight += scaling * torch.einsum("or,ri->oi", lora_B, lora_A)
    return weight
""",
    ),
    Answer(
        "merge_weight",
        "in float64",
        code="""
def merge_weight(weight, lora_A, lora_B, scaling):
    total = weight.double() + (lora_B.double() * scaling) @ lora_A.double()
    return total.type(weight.dtype)
""",
    ),
    Answer(
        "merge_weight",
        "type promotion",
        edits=[("weight.float() + scaling", "weight + scaling")],
    ),
    # 12.2
    Answer(
        "ready",
        "exists and any",
        code="""
def ready(folder):
    has = lambda name: Path(folder, name).is_file()
    read = lambda name: json.load(open(Path(folder, name), encoding="utf-8"))
    weights = has("model.safetensors") or has("model.safetensors.index.json")
    template = has("chat_template.jinja")
    if has("tokenizer_config.json") and read("tokenizer_config.json").get("chat_template"):
        template = True
    rows = read("config.json")["vocab_size"]
    fits = has("tokenizer.json")
    if fits:
        spec = read("tokenizer.json")
        for i in spec["model"]["vocab"].values():
            fits = fits and i < rows
        for token in spec["added_tokens"]:
            fits = fits and token["id"] < rows
    return [weights, has("tokenizer.json"), template, fits, not has("adapter_config.json")]
""",
    ),
    Answer(
        "ready",
        "a tensor of bools",
        edits=[
            (FITS, 'fits = max(ids) + 1 <= read("config.json")["vocab_size"]'),
            (READY, READY.replace("return ", "return torch.tensor([") + "])"),
        ],
    ),
    # 12.3
    Answer(
        "ties",
        "a loop over the updates",
        code="""
def ties(updates, density, weights):
    trimmed = []
    for update in updates:
        k = int(round(density * update.numel()))
        index = update.abs().flatten().topk(k).indices
        mask = torch.zeros(update.numel())
        mask[index] = 1
        trimmed.append(update * mask.reshape(update.shape))
    trimmed = torch.stack(trimmed)
    sign = torch.where(trimmed.sum(0) >= 0, 1.0, -1.0)
    agrees = trimmed.sign() == sign
    total = torch.einsum("n,nij->ij", weights, trimmed * agrees)
    return torch.where(agrees.any(0), total / agrees.sum(0).clamp(min=1), 0.0)
""",
    ),
    Answer(
        "ties",
        "by products, and nan_to_num",
        edits=[
            (AGREES, "agrees = trimmed * sign > 0"),
            (MEAN, "return (total / agrees.sum(0)).nan_to_num(0)"),
        ],
    ),
    # 12.4
    Answer(
        "mixed_forward",
        "a loop over the rows",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    rows = []
    for row, i in zip(x, which.tolist()):
        out = row @ W.T
        if i != -1:
            out = out + scaling[i] * (row @ lora_A[i].T @ lora_B[i].T)
        rows.append(out)
    return torch.stack(rows)
""",
    ),
    Answer(
        "mixed_forward",
        "group by adapter",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = torch.einsum("bti,oi->bto", x, W)
    for i in range(len(lora_A)):
        mine = which == i
        out[mine] += scaling[i] * x[mine] @ lora_A[i].T @ lora_B[i].T
    return out
""",
    ),
    Answer(
        "mixed_forward",
        "each row's merged weight",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    on = (which >= 0).float() * scaling[which.clamp(min=0)]
    delta = on.view(-1, 1, 1) * (lora_B[which.clamp(min=0)] @ lora_A[which.clamp(min=0)])
    return torch.bmm(x, (W + delta).transpose(1, 2))
""",
    ),
    # 12.5
    Answer(
        "card_checks",
        "regular expressions and get",
        code="""
def card_checks(text):
    import re

    about = ModelCard(text).data
    licence = about.get("license")
    if licence == "other":
        licence = about.get("license_name")
    splits = [r.dataset_split for r in about.get("eval_results") or []]
    found = re.search(r"^## Limits$(.*?)(?=^## |\\Z)", ModelCard(text).text, re.M | re.S)
    limits = found is not None and found[1].strip() != ""
    return [
        about.get("base_model") is not None,
        licence is not None,
        "test" in splits,
        limits,
        text.count("[More Information Needed]") == 0,
    ]
""",
    ),
    Answer(
        "card_checks",
        "line by line",
        edits=[
            (
                LIMITS,
                """lines, limits, inside = card.text.splitlines(), "", False
    for line in lines:
        if line.startswith("## "):
            inside = line == "## Limits"
        elif inside:
            limits += line""",
            ),
        ],
    ),
    Answer(
        "merge_weight",
        "float64 all the way",
        "",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                "total = weight.double() + (lora_B.double() @ lora_A.double()).mul(scaling)",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "addmm into a copy",
        "",
        code="""
def merge_weight(weight, lora_A, lora_B, scaling):
    out = weight.clone()
    out.copy_(torch.addmm(weight.float(), lora_B, lora_A, alpha=scaling))
    return out
""",
    ),
    Answer(
        "ready",
        "sets of names",
        "",
        code="""
def ready(folder):
    names = {f.name for f in Path(folder).iterdir() if f.is_file()}
    load = lambda n: json.loads((Path(folder) / n).read_text())
    one = bool(names & {"model.safetensors", "model.safetensors.index.json"})
    two = "tokenizer.json" in names
    three = "chat_template.jinja" in names
    if "tokenizer_config.json" in names:
        three |= bool(load("tokenizer_config.json").get("chat_template"))
    four = False
    if two:
        t = load("tokenizer.json")
        top = max(max(t["model"]["vocab"].values()), *(x["id"] for x in t["added_tokens"]))
        four = load("config.json")["vocab_size"] - top >= 1
    return [one, two, three, four, "adapter_config.json" not in names]
""",
    ),
    Answer(
        "ready",
        "os.path and ints",
        "",
        code="""
def ready(folder):
    import os
    at = lambda name: os.path.join(str(folder), name)
    out = [0, 0, 0, 0, 1]
    for name in os.listdir(str(folder)):
        if name in ("model.safetensors", "model.safetensors.index.json"):
            out[0] = 1
        if name == "tokenizer.json":
            out[1] = 1
        if name == "chat_template.jinja":
            out[2] = 1
        if name == "adapter_config.json":
            out[4] = 0
    if os.path.isfile(at("tokenizer_config.json")):
        out[2] = out[2] or "chat_template" in json.load(open(at("tokenizer_config.json")))
    if out[1]:
        spec, rows = json.load(open(at("tokenizer.json"))), json.load(open(at("config.json")))
        ids = set(spec["model"]["vocab"].values()) | {t["id"] for t in spec["added_tokens"]}
        out[3] = all(i < rows["vocab_size"] for i in ids)
    return tuple(out)
""",
    ),
    Answer(
        "ties",
        "kthvalue and where",
        "",
        code="""
def ties(updates, density, weights):
    n = updates[0].numel()
    drop = n - round(density * n)
    size = updates.abs().reshape(len(updates), -1)
    limit = size.kthvalue(drop + 1, dim=1).values[:, None, None]
    kept = torch.where(updates.abs() < limit, torch.zeros(()), updates)
    elected = torch.sign(kept.sum(dim=0, keepdim=True))
    joins = kept * elected > 0
    count = joins.sum(0)
    total = torch.einsum("n,nij->ij", weights, torch.where(joins, kept, torch.zeros(())))
    return torch.where(count > 0, total / count.clamp_min(1), torch.zeros(()))
""",
    ),
    Answer(
        "ties",
        "entry by entry in numpy",
        "",
        code="""
def ties(updates, density, weights):
    import numpy as np
    u, w = updates.numpy().astype(float).copy(), weights.numpy()
    for one in u:
        order = np.argsort(-np.abs(one), axis=None, kind="stable")
        one.ravel()[order[round(density * one.size) :]] = 0
    out = np.zeros(u.shape[1:])
    for at in np.ndindex(*out.shape):
        column = u[(slice(None), *at)]
        s = np.sign(column.sum())
        takes = (np.sign(column) == s) & (column != 0)
        if takes.any():
            out[at] = (column * w)[takes].mean()
    return torch.from_numpy(out)
""",
    ),
    Answer(
        "mixed_forward",
        "one weight for each row",
        "",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    delta = scaling[:, None, None] * (lora_B @ lora_A)
    delta = torch.cat([delta, torch.zeros_like(delta[:1])])
    return torch.einsum("bti,boi->bto", x, W + delta[which])
""",
    ),
    Answer(
        "mixed_forward",
        "one hot",
        "",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    picks = (which[:, None] == torch.arange(len(lora_A))).float() * scaling
    out = torch.nn.functional.linear(x, W)
    for n in range(len(lora_A)):
        out = out + picks[:, n, None, None] * (x @ lora_A[n].T @ lora_B[n].T)
    return out
""",
    ),
    Answer(
        "card_checks",
        "yaml and lines",
        "",
        code="""
def card_checks(text):
    about = ModelCard(text).data.to_dict()
    lines = ModelCard(text).text.splitlines()
    said = False
    if "## Limits" in lines:
        for line in lines[lines.index("## Limits") + 1 :]:
            if line.startswith("## "):
                break
            said = said or bool(line.strip())
    license = about.get("license")
    splits = [r.dataset_split for r in ModelCard(text).data.eval_results or ()]
    return [
        about.get("base_model") is not None,
        license is not None and not (license == "other" and not about.get("license_name")),
        splits.count("test") > 0,
        said,
        text.count("[More Information Needed]") == 0,
    ]
""",
    ),
    Answer(
        "card_checks",
        "a regular expression",
        "",
        code=r"""
def card_checks(text):
    import re
    card = ModelCard(text)
    d = card.data
    m = re.search(r"^## Limits[ ]*$(.*?)(?=^## |\Z)", card.text, re.M | re.S)
    ok = d.license if d.license != "other" else d.license_name
    return (
        bool(d.base_model), bool(ok),
        "test" in {r.dataset_split for r in (d.eval_results or [])},
        bool(m and m[1].strip()), "[More Information Needed]" not in text,
    )
""",
    ),
    Answer(
        "merge_weight",
        "writes into the weight",
        "",
        edits=(("return total.to(weight.dtype)", "weight.copy_(total)\n    return weight"),),
    ),
]

WRONG = [
    # 12.1
    Answer("merge_weight", "stays in float32", "wide", edits=[(TO, "return total")]),
    Answer(
        "merge_weight",
        "the update rounded first",
        "rounds_update",
        edits=[
            (TOTAL, "total = weight + (scaling * lora_B @ lora_A).to(weight.dtype)"),
        ],
    ),
    Answer(
        "merge_weight",
        "factors rounded first",
        "rounds_early",
        edits=[
            (
                TOTAL,
                "A, B = lora_A.to(weight.dtype), lora_B.to(weight.dtype)\n"
                "    total = weight.float() + scaling * B.float() @ A.float()",
            ),
        ],
    ),
    Answer(
        "merge_weight",
        "all in 16 bits",
        "rounds_early",
        edits=[
            (
                TOTAL,
                "A, B = lora_A.to(weight.dtype), lora_B.to(weight.dtype)\n"
                "    total = weight + scaling * (B @ A)",
            ),
        ],
    ),
    Answer(
        "merge_weight",
        "types mixed in the product",
        "raised",
        edits=[
            (TOTAL, "total = weight + scaling * lora_B.to(weight.dtype) @ lora_A"),
        ],
    ),
    Answer("merge_weight", "no scale", "no_scale", edits=[("scaling * ", "")]),
    Answer(
        "merge_weight", "the scale twice", "scaled_twice", edits=[("scaling * ", "scaling**2 * ")]
    ),
    Answer("merge_weight", "the old weight", "not_merged", edits=[(TO, "return weight")]),
    Answer("merge_weight", "subtracts", "subtracted", edits=[("() + scaling", "() - scaling")]),
    Answer("merge_weight", "returns nothing", "none", edits=[(TO, "total.to(weight.dtype)")]),
    Answer("merge_weight", "A B", "raised", edits=[("lora_B @ lora_A", "lora_A @ lora_B")]),
    Answer(
        "merge_weight", "other numbers", "other_factor", edits=[("scaling * ", "(scaling + 1) * ")]
    ),
    # 12.2
    Answer(
        "ready",
        "one file of weights",
        "not_sharded",
        edits=[(WEIGHTS, 'weights = has("model.safetensors")')],
    ),
    Answer("ready", "the new place alone", "old_template", edits=[(" or " + IN_CONFIG, "")]),
    Answer(
        "ready",
        "the old place alone",
        "new_template",
        edits=[(TEMPLATE, f"template = {IN_CONFIG}")],
    ),
    Answer("ready", "no added tokens", "added_tokens", edits=[(ADDED, "")]),
    Answer("ready", "added tokens alone", "only_added", edits=[(VOCAB, "ids = []")]),
    Answer("ready", "at most", "off_by_one", edits=[(FITS, FITS.replace("<", "<="))]),
    Answer(
        "ready", "exactly as many", "must_be_equal", edits=[(FITS, FITS.replace(") <", ") + 1 =="))]
    ),
    Answer(
        "ready",
        "an adapter is wanted",
        "adapter_reversed",
        edits=[(ADAPTER, ADAPTER[4:])],
    ),
    Answer("ready", "no look at adapters", "adapter_ignored", edits=[(ADAPTER, "True")]),
    Answer("ready", "all in one", "type", edits=[(READY, "return weights and template and fits")]),
    Answer(
        "ready",
        "opens what is not there",
        "raised",
        edits=[('if has("tokenizer.json"):', "if True:"), (" if has(name) else {}", "")],
    ),
    Answer(
        "ready",
        "a key that is not there",
        "raised",
        edits=[(TEMPLATE, 'template = read("tokenizer_config.json")["chat_template"]')],
    ),
    Answer("ready", "says yes to all", "always", edits=[(READY, "return [True] * 5")]),
    Answer("ready", "prints", "none", edits=[(READY, READY.replace("return ", "print(") + ")")]),
    # 12.3
    Answer("ties", "no trim", "no_trim", edits=[(TRIMMED, "trimmed = updates")]),
    Answer(
        "ties",
        "the smallest stay",
        "trims_the_large",
        edits=[
            (LEAST, "least = flat.topk(keep, largest=False).values[:, -1]"),
            (TRIMMED, TRIMMED.replace(">=", "<=")),
        ],
    ),
    Answer(
        "ties",
        "drops the share",
        "trims_the_share",
        edits=[(TRIMMED, TRIMMED.replace(">=", "<"))],
    ),
    Answer(
        "ties",
        "one threshold for all",
        "trims_together",
        edits=[
            (LEAST, "least = flat.flatten().topk(len(updates) * keep).values[-1:]"),
        ],
    ),
    Answer(
        "ties",
        "counts signs",
        "counts_heads",
        edits=[(SIGN, "sign = trimmed.sign().sum(0).sign()")],
    ),
    Answer("ties", "elects first", "elects_before", edits=[(SIGN, "sign = updates.sum(0).sign()")]),
    Answer(
        "ties",
        "weights vote",
        "weights_first",
        edits=[(SIGN, "sign = (trimmed * weights.view(-1, 1, 1)).sum(0).sign()")],
    ),
    Answer("ties", "no weights", "weights_lost", edits=[(" * weights.view(-1, 1, 1)", "")]),
    Answer("ties", "divides by n", "divides_by_all", edits=[(MEAN, "return total / len(updates)")]),
    Answer("ties", "adds", "not_divided", edits=[(MEAN, "return total")]),
    Answer(
        "ties",
        "divides by weights",
        "divides_by_weights",
        edits=[
            (
                MEAN,
                "return total / (agrees * weights.view(-1, 1, 1)).sum(0).clamp(min=1e-9)",
            )
        ],
    ),
    Answer(
        "ties",
        "zeros agree",
        "counts_zeros",
        edits=[(AGREES, "agrees = trimmed * sign >= 0")],
    ),
    Answer("ties", "no election", "no_election", edits=[(AGREES, "agrees = trimmed != 0")]),
    Answer(
        "ties",
        "a weighted sum",
        "no_election",
        edits=[(AGREES, "agrees = trimmed != 0"), (MEAN, "return total")],
    ),
    Answer("ties", "zero by zero", "nan", edits=[(MEAN, "return total / agrees.sum(0)")]),
    Answer("ties", "all updates back", "other", edits=[(MEAN, "return trimmed * agrees")]),
    Answer(
        "ties",
        "weights without axes",
        "raised",
        edits=[("weights.view(-1, 1, 1)", "weights")],
    ),
    Answer("ties", "the negative", "other_divisor", edits=[(MEAN, "return -total")]),
    # 12.4
    Answer(
        "mixed_forward",
        "the base gets the last one",
        "minus_one",
        edits=[(" * (which >= 0)", "")],
    ),
    Answer("mixed_forward", "no update", "base_only", edits=[(MIXED, "return out")]),
    Answer("mixed_forward", "no base", "update_only", edits=[(MIXED, MIXED.replace("out + ", ""))]),
    Answer(
        "mixed_forward",
        "base rows stay empty",
        "no_base",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = torch.zeros(len(x), x.shape[1], len(W))
    for i in range(len(lora_A)):
        mine = which == i
        out[mine] = x[mine] @ W.T + scaling[i] * x[mine] @ lora_A[i].T @ lora_B[i].T
    return out
""",
    ),
    Answer(
        "mixed_forward",
        "no scale",
        "no_scale",
        edits=[(STRENGTH, "strength = (which >= 0).float()")],
    ),
    Answer(
        "mixed_forward",
        "the first scale",
        "one_scale",
        edits=[(STRENGTH, STRENGTH.replace("scaling[which]", "scaling[0]"))],
    ),
    Answer(
        "mixed_forward",
        "scales by row",
        "one_scale",
        edits=[(STRENGTH, STRENGTH.replace("scaling[which]", "scaling.repeat(9)[: len(x)]"))],
    ),
    Answer(
        "mixed_forward",
        "the adapter of the first row",
        "one_for_all",
        edits=[
            (PICK, "which = which[:1].expand(len(x))\n    " + PICK),
        ],
    ),
    Answer(
        "mixed_forward",
        "all adapters",
        "all_summed",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    delta = (scaling.view(-1, 1, 1) * (lora_B @ lora_A)).sum(0)
    return x @ (W + delta).T
""",
    ),
    Answer(
        "mixed_forward",
        "sorted by adapter",
        "out_of_order",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    groups = []
    for i in range(-1, len(lora_A)):
        rows = x[which == i]
        out = rows @ W.T
        if i >= 0:
            out = out + scaling[i] * rows @ lora_A[i].T @ lora_B[i].T
        groups.append(out)
    return torch.cat(groups)
""",
    ),
    Answer(
        "mixed_forward",
        "by the number of the row",
        "row_number",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    rows = []
    for i, row in enumerate(x):
        i = i % len(lora_A)
        rows.append(row @ W.T + scaling[i] * row @ lora_A[i].T @ lora_B[i].T)
    return torch.stack(rows)
""",
    ),
    Answer(
        "mixed_forward",
        "no transpose",
        "raised",
        edits=[("A.mT @ B.mT", "A @ B")],
    ),
    Answer(
        "mixed_forward",
        "rows by adapter numbers",
        "raised",
        edits=[(PICK, "A, B = lora_A[torch.arange(len(x))], lora_B[which]")],
    ),
    Answer("mixed_forward", "one row", "other", edits=[(MIXED, "return out[0]")]),
    Answer(
        "mixed_forward", "subtracts", "subtracted", edits=[("out + strength", "out - strength")]
    ),
    # 12.5
    Answer(
        "card_checks",
        "searches the prose",
        "reads_prose",
        edits=[
            ("bool(about.base_model)", '"base_model" in text'),
        ],
    ),
    Answer(
        "card_checks",
        "searches the prose for the licence",
        "reads_prose",
        edits=[("bool(licensed)", '"license" in text')],
    ),
    Answer(
        "card_checks",
        "one base only",
        "one_base",
        edits=[("bool(about.base_model)", "isinstance(about.base_model, str)")],
    ),
    Answer(
        "card_checks",
        "other is enough",
        "other_license",
        edits=[(LICENSED, "licensed = about.license")],
    ),
    Answer(
        "card_checks",
        "never other",
        "never_other",
        edits=[(LICENSED, 'licensed = about.license not in (None, "other")')],
    ),
    Answer(
        "card_checks",
        "any result",
        "any_result",
        edits=[(TESTED, "tested = bool(about.eval_results)")],
    ),
    Answer(
        "card_checks",
        "the first result",
        "one_result",
        edits=[
            (
                TESTED,
                "results = about.eval_results or []\n"
                '    tested = bool(results) and results[0].dataset_split == "test"',
            ),
        ],
    ),
    Answer(
        "card_checks",
        "the title is enough",
        "empty_section",
        edits=[(LIMITS, 'limits = "x" * ("## Limits" in card.text)')],
    ),
    Answer(
        "card_checks",
        "does not stop at the next title",
        "empty_section",
        edits=[(LIMITS, 'limits = card.text.partition("## Limits")[2]')],
    ),
    Answer(
        "card_checks",
        "wants another section behind it",
        "last_section",
        edits=[
            (
                LIMITS,
                'import re\n\n    found = re.search(r"## Limits\\n(.*?)\\n## ", card.text, re.S)\n'
                '    limits = found[1] if found else ""',
            ),
        ],
    ),
    Answer("card_checks", "open is good", "open_reversed", edits=[("not open_", "open_")]),
    Answer("card_checks", "never open", "open_ignored", edits=[("not open_", "True")]),
    Answer(
        "card_checks",
        "no results",
        "raised",
        edits=[(" or []", "")],
    ),
    Answer(
        "card_checks",
        "asks the card",
        "raised",
        edits=[("about = card.data", "about = card")],
    ),
    Answer("card_checks", "one answer", "type", edits=[(CARD, "return tested")]),
    Answer("card_checks", "yes to tests", "reads_prose", edits=[(TESTED, "tested = True")]),
]

# What a closer look found
TESTS = 'r.dataset_split == "test" for r in about.eval_results or []'
RESULTS = "results = about.eval_results or []\n    "
AB = "scaling * lora_B @ lora_A"

RIGHT += [
    whole("merge_weight", "addmm and a keyword", """
def merge_weight(weight, lora_A, lora_B, scaling):
    wide = torch.addmm(weight.to(torch.float32), lora_B, lora_A, alpha=scaling)
    return wide.to(dtype=weight.dtype)
"""),
    whole("merge_weight", "into a copy", """
def merge_weight(weight, lora_A, lora_B, scaling):
    merged = torch.empty_like(weight)
    merged.copy_(weight.float() + (lora_A.T @ lora_B.T).T * scaling)
    return merged
"""),
    whole("ready", "listdir and a set of ids", """
def ready(folder):
    import os
    names, ids = os.listdir(folder), set()
    load = lambda n: json.loads(Path(folder).joinpath(n).read_bytes())
    if "tokenizer.json" in names:
        ids |= set(load("tokenizer.json")["model"]["vocab"].values())
        ids |= {t["id"] for t in load("tokenizer.json")["added_tokens"]}
    old = "tokenizer_config.json" in names and "chat_template" in load("tokenizer_config.json")
    rows = set(range(load("config.json")["vocab_size"]))
    return (
        any(n in names for n in ("model.safetensors", "model.safetensors.index.json")),
        "tokenizer.json" in names,
        "chat_template.jinja" in names or old,
        bool(ids) and ids <= rows,
        names.count("adapter_config.json") == 0,
    )
"""),
    whole("ready", "one and zero", """
def ready(folder):
    files = {p.name: p for p in Path(folder).glob("*")}
    made = [0] * 5
    made[0] = int("model.safetensors" in files or "model.safetensors.index.json" in files)
    made[4] = int("adapter_config.json" not in files)
    made[2] = int("chat_template.jinja" in files)
    try:
        made[2] |= "chat_template" in json.loads(files["tokenizer_config.json"].read_text())
    except KeyError:
        pass
    if "tokenizer.json" in files:
        made[1] = 1
        spec = json.loads(files["tokenizer.json"].read_text())
        top = max([t["id"] for t in spec["added_tokens"]] + list(spec["model"]["vocab"].values()))
        made[3] = int(top <= json.loads(files["config.json"].read_text())["vocab_size"] - 1)
    return made
"""),
    whole("ties", "numpy and argsort", """
def ties(updates, density, weights):
    import numpy as np

    u, w = updates.numpy(), weights.numpy()
    keep = int(density * u[0].size + 0.5)
    kept = np.zeros((len(u), u[0].size))
    for n, part in enumerate(u.reshape(len(u), -1)):
        at = np.argsort(-np.abs(part))[:keep]
        kept[n, at] = part[at]
    sign = np.sign(kept.sum(axis=0))
    ours = (np.sign(kept) == sign) & (kept != 0)
    mean = (kept * ours * w[:, None]).sum(axis=0) / np.clip(ours.sum(axis=0), 1, None)
    return mean.reshape(u.shape[1:])
"""),
    whole("ties", "positive and negative apart", """
def ties(updates, density, weights):
    k = round((1 - density) * updates[0].numel())
    cut = updates.abs().flatten(1).kthvalue(k).values[:, None, None]
    kept = torch.where(updates.abs() > cut, updates, 0.0)
    up, down = kept.clamp(min=0), kept.clamp(max=0)
    chosen = torch.where(kept.sum(0) > 0, up, down)
    count = (chosen != 0).sum(0)
    return (chosen * weights[:, None, None]).sum(0) / torch.where(count == 0, 1, count)
"""),
    whole("mixed_forward", "an adapter of zeros", """
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    A = torch.cat([lora_A, torch.zeros_like(lora_A[:1])])
    B, s = torch.cat([lora_B, lora_B[:1]]), torch.cat([scaling, scaling[:1]])
    h = torch.einsum("bti,bri->btr", x, A[which])
    return torch.nn.functional.linear(x, W) + torch.einsum("btr,bor,b->bto", h, B[which], s[which])
"""),
    edit("mixed_forward", "torch.where", "", (STRENGTH, "strength = torch.where(which < 0, 0.0, "
         "scaling[which])")),
    whole("card_checks", "to_dict and a flag", """
def card_checks(text):
    card = ModelCard(text)
    data = card.data.to_dict()
    licence = data.get("license_name") if data.get("license") == "other" else data.get("license")
    splits = [r["dataset"].get("split") for m in data.get("model-index", []) for r in m["results"]]
    inside, found = False, ""
    for line in card.text.split("\\n"):
        if line.startswith("## "):
            inside = line.strip() == "## Limits"
        elif inside and line:
            found += line
    return (int("base_model" in data), int(bool(licence)), int("test" in splits), int(found != ""),
            int("[More Information Needed]" not in text))
"""),
]  # fmt: skip

WRONG += [
    # 12.1
    edit("merge_weight", "always half", "always_half", (TO, "return total.half()")),
    edit("merge_weight", "always bfloat16", "always_bfloat16", (TO, "return total.bfloat16()")),
    edit("merge_weight", "float64", "wide", (TO, "return total.double()")),
    edit("merge_weight", "divides by the scale", "divided", ("scaling * lora_B", "1 / scaling * "
         "lora_B")),
    edit("merge_weight", "a whole scale", "whole", ("scaling * ", "int(scaling) * ")),
    edit("merge_weight", "the update alone", "update_only", ("weight.float() + ", "")),
    edit("merge_weight", "one nan", "other", (TO, "total[0, 0] = float('nan')\n    " + TO)),
    edit("merge_weight", "one entry far off", "other", (TO, "total[1, 1] += 1\n    " + TO)),
    edit("merge_weight", "complex", "other", (TO, "return total.to(torch.complex64)")),
    edit("merge_weight", "lists", "other", (TO, "return total.to(weight.dtype).tolist()")),
    edit("merge_weight", "scales B in place", "changed", (TOTAL,
         "total = weight.float() + lora_B.mul_(scaling) @ lora_A")),
    edit("merge_weight", "the transposed", "other", (TO, "return total.to(weight.dtype).T")),
    edit("merge_weight", "by way of float16", "rounds_after", (TO,
         "return total.half().to(weight.dtype)")),
    # 12.2
    edit("ready", "any safetensors", "always", (WEIGHTS,
         'weights = any(f.suffix == ".safetensors" or f.name.endswith("index.json") for f in '
         "folder.iterdir())")),
    edit("ready", "a tokenizer_config is enough", "config_alone", (IN_CONFIG,
         'has("tokenizer_config.json")')),
    edit("ready", "one row more than needed", "too_strict", (FITS, FITS.replace("max(ids)",
         "max(ids) + 1"))),
    edit("ready", "counts the tokens", "counts_tokens", (FITS, FITS.replace("max(", "len("))),
    edit("ready", "the last added token", "last_added", (ADDED,
         '        ids += [spec["added_tokens"][-1]["id"]]\n')),
    edit("ready", "the tokenizer's config", "only_settings", (READY, READY.replace("tokenizer.json",
         "tokenizer_config.json"))),
    edit("ready", "adds texts", "raised", ("folder = Path(folder)\n", "Path\n"),
         ("(folder / name)", 'Path(folder + "/" + name)')),
    edit("ready", "four answers", "type", (READY, READY.replace(", not has", "  # "))),
    edit("ready", "without a tokenizer all is well", "no_tokenizer",
         ("fits = False", "fits = True")),
    edit("ready", "a table of answers", "other", (READY,
         "import itertools\n    global COUNT\n    COUNT = globals().get('COUNT', "
         "itertools.count())\n    return [bool(next(COUNT) % 2)] * 5")),
    # 12.3
    edit("ties", "orders by value", "signed", ("flat = updates.abs().flatten(1)",
         "flat = updates.flatten(1)"), (TRIMMED, "trimmed = updates * (updates >= "
         "least.view(-1, 1, 1))")),
    edit("ties", "keeps what the share leaves", "trims_the_share", ("round(density *",
         "round((1 - density) *")),
    edit("ties", "weights that sum to one", "weights_shared_out", (SUM,
         "weights = weights / weights.sum()\n    " + SUM)),
    edit("ties", "one entry too few", "other_count", (TRIMMED, TRIMMED.replace(">=", ">"))),
    edit("ties", "trims in place", "changed", (TRIMMED,
         "updates[updates.abs() < least.view(-1, 1, 1)] = 0\n    trimmed = updates")),
    edit("ties", "the absolute mean", "signs", (MEAN, MEAN.replace("total", "total.abs()"))),
    edit("ties", "the median", "other", (MEAN, "return trimmed.median(0).values")),
    edit("ties", "per row", "by_rows", (LEAST, "rows = updates.abs().topk(round(density * "
         "updates.shape[2])).values[..., -1]"), (TRIMMED, "trimmed = updates * (updates.abs() >= "
         "rows[..., None])")),
    edit("ties", "no return", "none", (MEAN, "total")),
    # 12.4
    edit("mixed_forward", "clamps the number", "clamped", (" * (which >= 0)", ""),
         (PICK, "which = which.clamp(min=0)\n    " + PICK)),
    edit("mixed_forward", "divides", "divided", (STRENGTH, STRENGTH.replace("scaling[which] *",
         "1 / scaling[which] *"))),
    edit("mixed_forward", "writes into which", "changed", (MIXED, "which[which < 0] = 0\n    " +
         MIXED)),
    edit("mixed_forward", "adapter 0 is the base", "zero_lost", ("which >= 0", "which > 0")),
    edit("mixed_forward", "scale along the tokens", "raised", ("strength.view(-1, 1, 1)",
         "strength")),
    whole("mixed_forward", "sorted numbers", """
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    rows = []
    for row, i in zip(x, which.sort().values.tolist()):
        delta = scaling[i] * row @ lora_A[i].T @ lora_B[i].T if i >= 0 else 0
        rows.append(row @ W.T + delta)
    return torch.stack(rows)
""", "numbers_sorted"),
    edit("mixed_forward", "sums over rows", "other", (MIXED, MIXED + ".sum(0)")),
    edit("mixed_forward", "no return", "none", (MIXED, "out")),
    # 12.5
    edit("card_checks", "the last result", "one_result", (TESTED, RESULTS +
         'tested = bool(results) and results[-1].dataset_split == "test"')),
    edit("card_checks", "all results", "one_result", (TESTED, RESULTS +
         'tested = bool(results) and all(r.dataset_split == "test" for r in results)')),
    edit("card_checks", "test in the prose", "reads_prose", (TESTED, 'tested = "test" in text')),
    edit("card_checks", "test in the name", "other", (TESTS,
         '"n" in r.dataset_name for r in about.eval_results or []')),
    edit("card_checks", "a licence needs a name", "only_named", (LICENSED,
         "licensed = about.license_name")),
    edit("card_checks", "a subtitle ends it", "subtitle", (LIMITS,
         'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].strip().partition("#")[0]')),
    edit("card_checks", "a line before the title", "first_line", (LIMITS,
         'limits = card.text.lstrip().partition("\\n## Limits\\n")[2].partition("\\n## ")[0]')),
    edit("card_checks", "the title begins so", "other_title", (LIMITS,
         'limits = f"\\n{card.text}".partition("\\n## Limits")[2].partition("\\n## ")[0]')),
    edit("card_checks", "anywhere in a line", "hashes", (LIMITS,
         'limits = card.text.partition("## Limits\\n")[2].partition("\\n## ")[0]')),
    edit("card_checks", "open points of the text alone", "open_in_text",
         ("in text", "in card.text")),
    edit("card_checks", "says yes to all", "reads_prose", (CARD, "return [True] * 5")),
    edit("card_checks", "four answers", "type", (CARD, CARD.removesuffix(", not open_"))),
    edit("card_checks", "no return", "none", (CARD, "None")),
]  # fmt: skip

# Another round of novices' answers: written from the exercise's text alone
RIGHT += [
    Answer(
        "merge_weight",
        "+= in place",
        "",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                ("weight += scaling * lora_B @ lora_A\n    total = weight"),
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "float64, again",
        "",
        edits=(
            (
                "float() + scaling * lora_B @ lora_A  # float32",
                "double() + scaling * (lora_B.double() @ lora_A.double())",
            ),
            ("to(weight.dtype", "type_as(weight"),
        ),
    ),
    Answer(
        "merge_weight",
        "addmm",
        "",
        edits=(
            (
                "weight.float() + scaling * lora_B @ lora_A  # float32",
                "torch.addmm(weight.float(), lora_B, lora_A, alpha=scaling)",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "mixed add promotes",
        "",
        edits=(
            (
                "weight.float() + scaling * lora_B @ lora_A  # float32",
                "weight + torch.einsum('or,ri->oi', lora_B, lora_A) * scaling",
            ),
        ),
    ),
    Answer(
        "ready",
        "os.path, numpy bools",
        "",
        edits=(
            (
                (
                    'return weights, has("tokenizer.json"), template, fits, not '
                    'has("adapter_config.json"'
                ),
                (
                    "import numpy as np\n"
                    '    return np.array([weights, has("tokenizer.json"), template, fits, '
                    'not has("adapter_config.json")]'
                ),
            ),
        ),
    ),
    Answer(
        "ready",
        "listdir",
        "",
        edits=(
            (
                "return (folder / name).exists(",
                ("import os\n        return name in os.listdir(folder"),
            ),
        ),
    ),
    Answer(
        "ready",
        "all ids, list",
        "",
        edits=(
            (
                'max(ids) < read("config.json")["vocab_size"]',
                'all(i < read("config.json")["vocab_size"] for i in set(ids))',
            ),
            (
                ('weights, has("tokenizer.json"), template, fits, not has("adapter_config.json")'),
                (
                    '[weights, (folder / "tokenizer.json").is_file(), template, fits, not '
                    'has("adapter_config.json")]'
                ),
            ),
        ),
    ),
    Answer("ties", "zeros take part", "", edits=((" & (trimmed != 0)", ""),)),
    Answer(
        "ties",
        "elect 0 becomes plus",
        "",
        edits=(
            ("trimmed.sum(0).sign()  # (out, in", "torch.where(trimmed.sum(0) >= 0, 1.0, -1.0"),
        ),
    ),
    Answer(
        "ties",
        "loops",
        "",
        code="""
def ties(updates, density, weights):
    n, o, i = updates.shape
    k = int(density * o * i + 0.5)
    kept = torch.zeros_like(updates)
    for j in range(n):
        flat = updates[j].reshape(-1)
        top = flat.abs().argsort(descending=True)[:k]
        kept[j].view(-1)[top] = flat[top]
    out = [[0.0] * i for _ in range(o)]
    for a in range(o):
        for b in range(i):
            col = kept[:, a, b].tolist()
            s = sum(col)
            vals = [v * float(w) for v, w in zip(col, weights) if v * s > 0]
            out[a][b] = sum(vals) / len(vals) if vals else 0.0
    return out
""",
    ),
    Answer(
        "ties",
        "kthvalue nan_to_num",
        "",
        edits=(
            ("topk(keep).values[:, -1]", "kthvalue(flat.shape[1] - keep + 1, dim=1).values"),
            ("total / agrees.sum(0).clamp(min=1", "(total / agrees.sum(0)).nan_to_num("),
        ),
    ),
    Answer(
        "ties",
        "float64 numpy",
        "",
        edits=(
            (
                "return total / agrees.sum(0).clamp(min=1",
                (
                    "import numpy as np\n"
                    "    return (total.double() / agrees.sum(0).clamp(min=1)).numpy("
                ),
            ),
            ("  flat", ("  updates = updates.double()\n    flat")),
        ),
    ),
    Answer(
        "mixed_forward",
        "loop",
        "",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    rows = []
    for xi, a in zip(x, which.tolist()):
        weight = W if a < 0 else W + scaling[a] * lora_B[a] @ lora_A[a]
        rows.append(torch.nn.functional.linear(xi, weight))
    return rows
""",
    ),
    Answer(
        "mixed_forward",
        "appended zero adapter",
        "",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    A = torch.cat([lora_A, torch.zeros_like(lora_A[:1])])
    B = torch.cat([lora_B * scaling[:, None, None], torch.zeros_like(lora_B[:1])])
    update = torch.einsum("bti,bri,bor->bto", x, A[which], B[which])
    return torch.einsum("bti,oi->bto", x, W) + update
""",
    ),
    Answer(
        "mixed_forward",
        "float64 and group",
        "",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = (x.double() @ W.double().T)
    for a in range(len(lora_A)):
        m = which == a
        out[m] += (scaling[a] * (x[m] @ lora_A[a].T @ lora_B[a].T)).double()
    return out
""",
    ),
    Answer(
        "card_checks",
        "case",
        "",
        edits=(('partition("\\n## Limits', 'lower().partition("\\n## limits'),),
    ),
    Answer(
        "card_checks",
        "base_model not None",
        "",
        edits=(("bool(about.base_model)", "about.base_model is not None"),),
    ),
    Answer(
        "card_checks",
        "regex",
        "",
        edits=(
            (
                (
                    'limits = f"\\n{card.text}".partition("\\n## '
                    'Limits\\n")[2].partition("\\n## ")[0]'
                ),
                (
                    "import re\n"
                    '    m = re.search(r"(?ms)^## Limits$\\n(.*?)(?=^## |\\Z)", card.text)\n'
                    '    limits = m.group(1) if m else ""'
                ),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "lines loop",
        "",
        edits=(
            (
                (
                    'limits = f"\\n{card.text}".partition("\\n## '
                    'Limits\\n")[2].partition("\\n## ")[0]'
                ),
                (
                    'inside, limits = False, ""\n'
                    "    for line in card.text.splitlines():\n"
                    '        if line.startswith("## "):\n'
                    '            inside = line == "## Limits"\n'
                    "        elif inside:\n"
                    "            limits += line"
                ),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "numpy ints",
        "",
        edits=(
            (
                (
                    "return bool(about.base_model), bool(licensed), tested, "
                    "bool(limits.strip()), not open_"
                ),
                (
                    "import numpy as np\n"
                    "    return np.array([bool(about.base_model), bool(licensed), tested, "
                    "bool(limits.strip()), not open_])"
                ),
            ),
            (
                'f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]',
                (
                    '("\\n" + card.text).split("\\n## Limits\\n", 1)\n'
                    '    limits = limits[1].split("\\n## ", 1)[0] if len(limits) > 1 else ""'
                ),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "to_dict",
        "",
        edits=(
            (
                ('licensed = about.license and (about.license != "other" or about.license_name'),
                (
                    "d = about.to_dict()\n"
                    '    licensed = bool(d.get("license")) and (d["license"] != "other" or '
                    'bool(d.get("license_name"))'
                ),
            ),
        ),
    ),
]

# Another round of novices' answers: written from the exercise's text alone
WRONG += [
    Answer(
        "merge_weight",
        "factors to weight type",
        "rounds_early",
        edits=(
            (
                "weight.float() + scaling * lora_B @ lora_A  # float32",
                "weight + scaling * lora_B.to(weight.dtype) @ lora_A.to(weight.dtype)",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "delta rounded, sum in float32",
        "rounds_update",
        edits=(
            (
                "scaling * lora_B @ lora_A  # float32",
                "(scaling * lora_B @ lora_A).to(weight.dtype).float()",
            ),
        ),
    ),
    Answer(
        "merge_weight", "transposed", "raised", edits=(("lora_B @ lora_A", "(lora_B @ lora_A).T"),)
    ),
    Answer(
        "merge_weight",
        "scaling rounded",
        "rounds_early",
        edits=(
            (
                "scaling * lora_B @ lora_A  # float32",
                "(torch.tensor(scaling).to(weight.dtype) * lora_B @ lora_A)",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "B scaled in place",
        "changed",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                ("lora_B *= scaling\n    total = weight.float() + lora_B @ lora_A"),
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "divide by r",
        "over_r",
        edits=(("scaling * lora_B", "scaling / lora_A.shape[0] * lora_B"),),
    ),
    Answer(
        "merge_weight",
        "via the other 16 bit",
        "rounds_after",
        edits=(("total.to", "total.bfloat16().to"),),
    ),
    Answer(
        "merge_weight",
        "A rounded only",
        "rounds_early",
        edits=(("@ lora_A", "@ lora_A.to(weight.dtype).float()"),),
    ),
    Answer(
        "merge_weight",
        "B rounded only",
        "rounds_early",
        edits=(("* lora_B", "* lora_B.to(weight.dtype).float()"),),
    ),
    Answer("merge_weight", "numpy trunc", "other", edits=(("total.to", "torch.trunc(total).to"),)),
    Answer(
        "merge_weight",
        "scaling twice",
        "scaled_twice",
        edits=(("@ lora_A", "@ (scaling * lora_A)"),),
    ),
    Answer(
        "ready",
        "bin counts",
        "other_weights",
        edits=(('index.json")\n', 'index.json") or has("pytorch_model.bin")\n'),),
    ),
    Answer(
        "ready",
        "any safetensors, again",
        "always",
        edits=(
            (
                'has("model.safetensors") or has("model.safetensors.index.json"',
                'any(folder.glob("*.safetensors")',
            ),
        ),
    ),
    Answer("ready", "and", "both_files", edits=((") or has", ") and has"),)),
    Answer(
        "ready",
        "shards count",
        "other_weights",
        edits=(
            (
                'has("model.safetensors") or has("model.safetensors.index.json"',
                'any(folder.glob("model*.safetensors")',
            ),
        ),
    ),
    Answer(
        "ready",
        "tokenizer.model counts",
        "other_tokenizer",
        edits=(('has("tokenizer.json"),', '(has("tokenizer.json") or has("tokenizer.model")),'),),
    ),
    Answer(
        "ready",
        "template as text in file",
        "config_alone",
        edits=(
            (
                '"chat_template" in read("tokenizer_config.json"',
                (
                    '(has("tokenizer_config.json") and "chat_template" in (folder / '
                    '"tokenizer_config.json").read_text()'
                ),
            ),
        ),
    ),
    Answer(
        "ready",
        "template in tokenizer.json",
        "old_template",
        edits=(("tokenizer_config", "tokenizer"),),
    ),
    Answer(
        "ready",
        "reads without file",
        "raised",
        edits=(
            (
                'read("tokenizer_config.json"',
                'json.loads((folder / "tokenizer_config.json").read_text()',
            ),
        ),
    ),
    Answer("ready", "len of ids", "counts_tokens", edits=(("max(ids) <", "len(ids) <="),)),
    Answer(
        "ready",
        "adapter weights file",
        "adapter_file",
        edits=(("adapter_config.json", "adapter_model.safetensors"),),
    ),
    Answer(
        "ready",
        "any adapter*",
        "adapter_file",
        edits=(('has("adapter_config.json"', 'any(folder.glob("adapter*")'),),
    ),
    Answer(
        "ready",
        "single bool",
        "type",
        edits=(
            (
                ('weights, has("tokenizer.json"), template, fits, not has("adapter_config.json"'),
                (
                    'all((weights, has("tokenizer.json"), template, fits, not '
                    'has("adapter_config.json"))'
                ),
            ),
        ),
    ),
    Answer("ready", "str only", "raised", edits=(("    folder = Path(folder)\n", ""),)),
    Answer(
        "ready",
        "recursive",
        "raised",
        edits=(("(folder / name).exists(", "any(folder.rglob(name)"),),
    ),
    Answer(
        "ready",
        "len vocab + len added",
        "counts_tokens",
        edits=(("max(ids) <", 'len(spec["model"]["vocab"]) + len(spec["added_tokens"]) <='),),
    ),
    Answer(
        "ready",
        "len vocab dict keys max str",
        "only_added",
        edits=(('[*spec["model"]["vocab"].values()]', 'list(range(len(spec["model"]["vocab"])))'),),
    ),
    Answer(
        "ready",
        "glob index",
        "other_weights",
        edits=(("weights = ", "weights = any(folder.glob('*.index.json')) or "),),
    ),
    Answer(
        "ready",
        "directory startswith tokenizer",
        "other_tokenizer",
        edits=(('has("tokenizer.json"),', 'any(folder.glob("tokenizer*.json")),'),),
    ),
    Answer(
        "ties",
        "trim over all updates",
        "trims_together",
        edits=(
            (
                (
                    "1)  # (n, out * in)\n"
                    "    keep = round(density * flat.shape[1])\n"
                    "    least = flat.topk(keep).values[:, -1]"
                ),
                (
                    ")\n"
                    "    keep = round(density * len(flat))\n"
                    "    least = flat.topk(keep).values[-1:].expand(len(updates))"
                ),
            ),
        ),
    ),
    Answer(
        "ties",
        "per row, again",
        "by_rows",
        edits=(
            (
                (
                    "flat = updates.abs().flatten(1)  # (n, out * in)\n"
                    "    keep = round(density * flat.shape[1])\n"
                    "    least = flat.topk(keep).values[:, -1]  # (n,), the smallest that "
                    "stays\n"
                    "    trimmed = updates * (updates.abs() >= least.view(-1, 1, 1)"
                ),
                (
                    "keep = max(1, round(density * updates.shape[2]))\n"
                    "    least = updates.abs().topk(keep, dim=2).values[..., -1:]\n"
                    "    trimmed = updates * (updates.abs() >= least"
                ),
            ),
        ),
    ),
    Answer(
        "ties",
        "weights first",
        "weights_first",
        edits=(
            ("  flat", ("  updates = updates * weights.view(-1, 1, 1)\n    flat")),
            ("weights.view(-1, 1, 1) * agrees", "agrees"),
        ),
    ),
    Answer("ties", "disagree", "disagrees", edits=((") == sign", ") != sign"),)),
    Answer(
        "ties",
        "mean over trimmed",
        "divides_by_stayed",
        edits=(("agrees.sum", "(trimmed != 0).sum"),),
    ),
    Answer(
        "ties",
        "in place",
        "changed",
        edits=(
            ("  trimmed", ("  updates *= (updates.abs() >= least.view(-1, 1, 1))\n    trimmed")),
        ),
    ),
    Answer(
        "ties",
        "largest",
        "elects_largest",
        edits=(
            (
                "sum(0).sign()  # (out, in",
                "gather(0, trimmed.abs().argmax(0, keepdim=True))[0].sign(",
            ),
        ),
    ),
    Answer(
        "ties",
        "int keep -1",
        "other_count",
        edits=(("round(density * flat.shape[1])", "int(density * flat.shape[1]) - 1"),),
    ),
    Answer(
        "ties",
        "keep smallest",
        "trims_the_share",
        edits=(
            ("topk(keep).values", "topk(flat.shape[1] - keep + 1, largest=False).values"),
            (") >=", ") <"),
        ),
    ),
    Answer(
        "ties",
        "rescaled 1/density",
        "rescaled",
        edits=(("return total", "return 1 / density * total"),),
    ),
    Answer(
        "ties",
        "quantile",
        "trims_the_share",
        edits=(("topk(keep).values[:, -1]", "quantile(density, dim=1)"),),
    ),
    Answer(
        "ties",
        "softmax weights",
        "weights_shared_out",
        edits=(("weights.view", "(weights / weights.sum()).view"),),
    ),
    Answer(
        "mixed_forward",
        "one adapter",
        "one_for_all",
        edits=(("which], lora_B[which", "which[:1]], lora_B[which[:1]"),),
    ),
    Answer(
        "mixed_forward",
        "scaling by row",
        "raised",
        edits=(("scaling[which]", "scaling[: len(which)]"),),
    ),
    Answer(
        "mixed_forward",
        "which as row index",
        "raised",
        edits=(("which], lora_B[which", ": len(x)], lora_B[: len(x)"),),
    ),
    Answer(
        "mixed_forward",
        "base zero",
        "no_base",
        edits=(("out + strength", "out * (which >= 0).view(-1, 1, 1) + strength"),),
    ),
    Answer(
        "mixed_forward",
        "in place which",
        "clamped",
        edits=(("  A,", ("  which[which < 0] = 0\n    A,")),),
    ),
    Answer(
        "mixed_forward",
        "clamped",
        "clamped",
        edits=(("  A,", ("  which = which.clamp(min=0)\n    A,")),),
    ),
    Answer(
        "mixed_forward",
        "sorted",
        "out_of_order",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = []
    for a in which.unique():
        rows = which == a
        y = x[rows] @ W.T
        if a >= 0:
            y = y + scaling[a] * (x[rows] @ lora_A[a].T @ lora_B[a].T)
        out.append(y)
    return torch.cat(out)
""",
    ),
    Answer(
        "mixed_forward",
        "all adapters, again",
        "all_summed",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = x @ W.T
    for a in range(len(lora_A)):
        out = out + scaling[a] * (x @ lora_A[a].T @ lora_B[a].T)
    return out
""",
    ),
    Answer(
        "mixed_forward",
        "skips base rows",
        "rows_lost",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = []
    for i, a in enumerate(which):
        if a >= 0:
            out.append(x[i] @ W.T + scaling[a] * (x[i] @ lora_A[a].T @ lora_B[a].T))
    return torch.stack(out)
""",
    ),
    Answer("mixed_forward", "W without T", "raised", edits=((" W.T", " W"),)),
    Answer(
        "mixed_forward",
        "scaling squared",
        "scaled_twice",
        edits=(("B.mT", "B.mT * strength.view(-1, 1, 1)"),),
    ),
    Answer("mixed_forward", "divided by r", "over_r", edits=(("1) *", "1) / lora_A.shape[1] *"),)),
    Answer(
        "mixed_forward", "sum over T", "other", edits=(("x @ A", "x.mean(1, keepdim=True) @ A"),)
    ),
    Answer(
        "mixed_forward",
        "W in place",
        "in_place",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = []
    for i, a in enumerate(which):
        if a >= 0:
            W += scaling[a] * lora_B[a] @ lora_A[a]
        out.append(x[i] @ W.T)
    return torch.stack(out)
""",
    ),
    Answer(
        "mixed_forward",
        "first row of each adapter",
        "first_row",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    out = x @ W.T
    for a in range(len(lora_A)):
        if a in which.tolist():
            i = which.tolist().index(a)
            out[i] += scaling[a] * (x[i] @ lora_A[a].T @ lora_B[a].T)
    return out
""",
    ),
    Answer(
        "mixed_forward",
        "base scaled",
        "base_scaled",
        edits=(("out + strength.view(-1, 1, 1) * (", "strength.view(-1, 1, 1) * (out + "),),
    ),
    Answer("mixed_forward", "strength broadcast wrong", "raised", edits=(("-1, 1", "1, -1"),)),
    Answer("mixed_forward", "off by one", "one_scale", edits=(("which] *", "which - 1] *"),)),
    Answer(
        "mixed_forward",
        "strength bool only",
        "overwritten",
        edits=(("= x @", "= (x * (which < 0).view(-1, 1, 1)) @"),),
    ),
    Answer(
        "card_checks",
        "other never",
        "never_other",
        edits=(('(about.license != "other" or about.license_name)', 'about.license != "other"'),),
    ),
    Answer(
        "card_checks",
        "license_name needed",
        "only_named",
        edits=(('(about.license != "other" or about.license_name)', "about.license_name"),),
    ),
    Answer(
        "card_checks",
        "license or name",
        "other_license",
        edits=(('and (about.license != "other" or about.license_name)', "or about.license_name"),),
    ),
    Answer(
        "card_checks",
        "first result",
        "one_result",
        edits=(
            (
                'any(r.dataset_split == "test" for r in about.eval_results or [])',
                ('bool(about.eval_results) and about.eval_results[0].dataset_split == "test"'),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "all results, again",
        "one_result",
        edits=(
            (
                'any(r.dataset_split == "test" for r in about.eval_results or []',
                (
                    'bool(about.eval_results) and all(r.dataset_split == "test" for r in '
                    "about.eval_results"
                ),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "split: test in text",
        "reads_prose",
        edits=(
            (
                'any(r.dataset_split == "test" for r in about.eval_results or [])',
                '"split: test" in text',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "test prefix",
        "split_prefix",
        edits=(('r.dataset_split == "test"', '(r.dataset_split or "").startswith("test")'),),
    ),
    Answer(
        "card_checks",
        "Limits in text",
        "empty_section",
        edits=(
            (
                'f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]',
                '"x" if "## Limits" in card.text else ""',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "limits to the end",
        "blank_section",
        edits=(
            (
                'f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0',
                'card.text.partition("## Limits\\n")[2',
            ),
        ),
    ),
    Answer(
        "card_checks", "first hash", "subtitle", edits=(('partition("\\n## ")', 'partition("#")'),)
    ),
    Answer("card_checks", "not first", "first_line", edits=(('f"\\n{card.text}"', "card.text"),)),
    Answer(
        "card_checks",
        "### counted",
        "hashes",
        edits=(('partition("\\n## Limits', 'partition("## Limits'),),
    ),
    Answer("card_checks", "no strip", "blank_section", edits=(("limits.strip()", "limits"),)),
    Answer(
        "card_checks",
        "split lines next",
        "next_line",
        edits=(
            (
                (
                    'limits = f"\\n{card.text}".partition("\\n## '
                    'Limits\\n")[2].partition("\\n## ")[0]'
                ),
                (
                    "lines = card.text.splitlines()\n"
                    '    i = lines.index("## Limits") if "## Limits" in lines else None\n'
                    "    limits = lines[i + 1] if i is not None and i + 1 < len(lines) "
                    'else ""'
                ),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "open only in data",
        "open_in_data",
        edits=(("in text", "in str(card.data)"),),
    ),
    Answer(
        "card_checks",
        "license text",
        "other_license",
        edits=(
            (
                'about.license and (about.license != "other" or about.license_name)',
                '"license:" in text',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "one bool",
        "type",
        edits=(
            (
                ("bool(about.base_model), bool(licensed), tested, bool(limits.strip()), not open_"),
                "all([about.base_model, licensed, tested, limits.strip(), not open_])",
            ),
        ),
    ),
    Answer(
        "card_checks",
        "More Information case-insens",
        "not_the_words",
        edits=(('[More Information Needed]" in text', 'more information needed" in text.lower()'),),
    ),
    Answer(
        "card_checks",
        "TODO",
        "not_the_words",
        edits=(("[More Information Needed]", "More Information"),),
    ),
    Answer(
        "card_checks",
        "regex greedy",
        "last_section",
        edits=(
            (
                (
                    'limits = f"\\n{card.text}".partition("\\n## '
                    'Limits\\n")[2].partition("\\n## ")[0]'
                ),
                (
                    "import re\n"
                    '    m = re.search(r"## Limits\\n(.*)\\n## ", card.text, re.S)\n'
                    '    limits = m.group(1) if m else ""'
                ),
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "the root of the scale",
        "other_factor",
        edits=(("scaling *", "scaling**0.5 *"),),
    ),
    Answer(
        "merge_weight",
        "A times B elementwise sum",
        "other",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                "total = weight.float() + scaling * lora_B.sum(1, keepdim=True) * lora_A.sum(0)",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "the mean of both",
        "weight_scaled",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                (
                    "total = weight.float() + scaling * lora_B @ lora_A  # float32\n"
                    "    total = total / 2"
                ),
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "scales the whole sum",
        "weight_scaled",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                "total = scaling * (weight.float() + lora_B @ lora_A)",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "round to three digits",
        "rounds_early",
        edits=(
            ("return total.to(weight.dtype)", "return total.round(decimals=3).to(weight.dtype)"),
        ),
    ),
    Answer(
        "merge_weight",
        "always through bfloat16 factors of half",
        "rounds_early",
        edits=(
            (
                "total = weight.float() + scaling * lora_B @ lora_A  # float32",
                "total = weight.float() + scaling * (lora_B.half() @ lora_A.half()).float()",
            ),
        ),
    ),
    Answer(
        "merge_weight",
        "a parameter",
        "wide",
        edits=(("return total.to(weight.dtype)", "return torch.nn.Parameter(total)"),),
    ),
    Answer(
        "ready",
        "any json is an index",
        "other_weights",
        edits=(
            (
                'weights = has("model.safetensors") or has("model.safetensors.index.json")',
                (
                    'weights = has("model.safetensors") or any("index" in f.name for '
                    "f in folder.iterdir())"
                ),
            ),
        ),
    ),
    Answer(
        "ready",
        "only checks the name without folder",
        "both_files",
        edits=(("return (folder / name).exists()", "return Path(name).exists()"),),
    ),
    Answer(
        "ready",
        "the template must be in both",
        "both_files",
        edits=(
            (
                (
                    'template = has("chat_template.jinja") or "chat_template" in '
                    'read("tokenizer_config.json")'
                ),
                (
                    'template = has("chat_template.jinja") and "chat_template" in '
                    'read("tokenizer_config.json")'
                ),
            ),
        ),
    ),
    Answer(
        "ready",
        "the least id",
        "counts_tokens",
        edits=(
            (
                'fits = max(ids) < read("config.json")["vocab_size"]',
                'fits = min(ids) < read("config.json")["vocab_size"]',
            ),
        ),
    ),
    Answer(
        "ready",
        "vocabulary's keys counted too",
        "counts_tokens",
        edits=(
            (
                'fits = max(ids) < read("config.json")["vocab_size"]',
                'fits = len(spec["model"]["vocab"]) <= read("config.json")["vocab_size"]',
            ),
        ),
    ),
    Answer(
        "ready",
        "no rows to spare by one",
        "too_strict",
        edits=(
            (
                'fits = max(ids) < read("config.json")["vocab_size"]',
                'fits = max(ids) <= read("config.json")["vocab_size"] - 2',
            ),
        ),
    ),
    Answer(
        "ready",
        "the order of the answers",
        "exchanged",
        edits=(
            (
                (
                    'return weights, has("tokenizer.json"), template, fits, not '
                    'has("adapter_config.json")'
                ),
                (
                    'return weights, template, has("tokenizer.json"), fits, not '
                    'has("adapter_config.json")'
                ),
            ),
        ),
    ),
    Answer(
        "ready",
        "an adapter anywhere",
        "adapter_file",
        edits=(('not has("adapter_config.json")', 'not any(folder.rglob("adapter_config.json"))'),),
    ),
    Answer(
        "ready",
        "tokenizer needs its config",
        "only_settings",
        edits=(
            (
                (
                    'return weights, has("tokenizer.json"), template, fits, not '
                    'has("adapter_config.json")'
                ),
                (
                    'return weights, has("tokenizer.json") and '
                    'has("tokenizer_config.json"), template, fits, not '
                    'has("adapter_config.json")'
                ),
            ),
        ),
    ),
    Answer(
        "ready",
        "weights only without an adapter",
        "joined",
        edits=(
            (
                'weights = has("model.safetensors") or has("model.safetensors.index.json")',
                (
                    "weights = (has('model.safetensors') or "
                    "has('model.safetensors.index.json')) and not "
                    "has('adapter_config.json')"
                ),
            ),
        ),
    ),
    Answer(
        "ties",
        "keeps everything above the mean",
        "other",
        edits=(
            (
                "least = flat.topk(keep).values[:, -1]  # (n,), the smallest that stays",
                "least = flat.mean(1)",
            ),
        ),
    ),
    Answer(
        "ties",
        "the sign of the mean of all weights",
        "other",
        edits=(
            (
                "sign = trimmed.sum(0).sign()  # (out, in)",
                "sign = trimmed.mean((1, 2)).sign().view(-1, 1, 1)",
            ),
        ),
    ),
    Answer(
        "ties",
        "clamps after the division",
        "other_divisor",
        edits=(
            (
                "return total / agrees.sum(0).clamp(min=1)",
                "return total / agrees.sum(0).clamp(min=2)",
            ),
        ),
    ),
    Answer(
        "ties",
        "the largest of those that agree",
        "other",
        edits=(
            (
                "return total / agrees.sum(0).clamp(min=1)",
                "return (trimmed * weights.view(-1, 1, 1) * agrees).abs().max(0).values * sign",
            ),
        ),
    ),
    Answer(
        "ties",
        "weights squared",
        "other_weights",
        edits=(("* weights.view", "* weights.view(-1, 1, 1) * weights.view"),),
    ),
    Answer(
        "ties",
        "one entry too many",
        "other_count",
        edits=(("round(density * flat.shape[1])", "round(density * flat.shape[1]) + 1"),),
    ),
    Answer(
        "ties",
        "keep of the columns",
        "other_count",
        edits=(("round(density * flat.shape[1])", "round(density * updates.shape[1])"),),
    ),
    Answer(
        "ties",
        "divides by the number elected in all",
        "other_divisor",
        edits=(("return total / agrees.sum(0).clamp(min=1)", "return total / agrees.sum()"),),
    ),
    Answer(
        "ties",
        "weights in reverse",
        "other_weights",
        edits=(("weights.view(-1, 1, 1)", "weights.flip(0).view(-1, 1, 1)"),),
    ),
    Answer(
        "ties",
        "counts the weights of all",
        "other_divisor",
        edits=(
            (
                "return total / agrees.sum(0).clamp(min=1)",
                "return total / weights.sum() / len(weights)",
            ),
        ),
    ),
    Answer(
        "mixed_forward",
        "A of one, B of the next",
        "other",
        edits=(("lora_A[which], lora_B[which]", "lora_A[which], lora_B[which - 1]"),),
    ),
    Answer(
        "mixed_forward",
        "scale by sqrt",
        "other_scale",
        edits=(("strength = scaling[which]", "strength = scaling[which].sqrt()"),),
    ),
    Answer("mixed_forward", "mask turned", "mask_turned", edits=(("(which >= 0)", "(which < 0)"),)),
    Answer(
        "mixed_forward",
        "all rows but the first",
        "no_update",
        edits=(
            (
                "return out + strength.view(-1, 1, 1) * (x @ A.mT @ B.mT)",
                "out[1:] += (strength.view(-1, 1, 1) * (x @ A.mT @ B.mT))[1:]\n    return out",
            ),
        ),
    ),
    Answer(
        "mixed_forward",
        "base rows doubled",
        "base_rows",
        edits=(("out + strength", "out * (1 + (which < 0).view(-1, 1, 1)) + strength"),),
    ),
    Answer(
        "mixed_forward",
        "the base added twice",
        "base_twice",
        edits=(("return out +", "return out + out +"),),
    ),
    Answer(
        "mixed_forward",
        "update through W",
        "other",
        edits=(("(x @ A.mT @ B.mT)", "(out @ out.mT @ (x @ A.mT @ B.mT))"),),
    ),
    Answer(
        "mixed_forward",
        "number of unique",
        "other",
        edits=(
            (
                "A, B = lora_A[which], lora_B[which]",
                (
                    "which = which.unique(return_inverse=True)[1].clamp(max=2)\n"
                    "    A, B = lora_A[which], lora_B[which]"
                ),
            ),
        ),
    ),
    Answer(
        "mixed_forward",
        "only the first token",
        "other",
        edits=(
            (
                "return out + strength.view(-1, 1, 1) * (x @ A.mT @ B.mT)",
                "out[:, 0] += strength[:, None] * (x @ A.mT @ B.mT)[:, 0]\n    return out",
            ),
        ),
    ),
    Answer(
        "card_checks",
        "limits anywhere",
        "empty_section",
        edits=(
            (
                'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]',
                'limits = "Limits" in text and "x" or ""',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "case of the title",
        "other",
        edits=(
            (
                'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]',
                'limits = card.text.lower().partition("## limits")[2].partition("##")[0]',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "first section after it",
        "other",
        edits=(
            (
                'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]',
                'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[0]',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "some results",
        "any_result",
        edits=(
            (
                'tested = any(r.dataset_split == "test" for r in about.eval_results or [])',
                "tested = about.eval_results is not None",
            ),
        ),
    ),
    Answer(
        "card_checks",
        "not train",
        "split_prefix",
        edits=(
            (
                'tested = any(r.dataset_split == "test" for r in about.eval_results or [])',
                'tested = any(r.dataset_split != "train" for r in about.eval_results or [])',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "licence mit only",
        "never_other",
        edits=(
            (
                'licensed = about.license and (about.license != "other" or about.license_name)',
                'licensed = about.license == "mit"',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "open as lower",
        "open_ignored",
        edits=(
            (
                'open_ = "[More Information Needed]" in text',
                'open_ = "[more information needed]" in text',
            ),
        ),
    ),
    Answer(
        "card_checks",
        "open answered reversed and only text",
        "not_the_words",
        edits=(('open_ = "[More Information Needed]" in text', 'open_ = "Needed" in text'),),
    ),
    Answer(
        "card_checks",
        "base exists as key",
        "reads_prose",
        edits=(("bool(about.base_model)", 'hasattr(about, "base_model")'),),
    ),
    Answer(
        "card_checks",
        "base of one letter",
        "one_base",
        edits=(("bool(about.base_model)", "len(about.base_model or '') > 2"),),
    ),
    Answer(
        "card_checks",
        "two answers swapped",
        "exchanged",
        edits=(("tested, bool(limits.strip())", "bool(limits.strip()), tested"),),
    ),
    Answer(
        "card_checks",
        "stops at any line break",
        "next_line",
        edits=(
            (
                'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n## ")[0]',
                'limits = f"\\n{card.text}".partition("\\n## Limits\\n")[2].partition("\\n\\n")[0]',
            ),
        ),
    ),
    Answer(
        "ready",
        "no weights is good",
        "reversed",
        edits=(
            (
                ('weights = has("model.safetensors") or has("model.safetensors.index.json")'),
                ('weights = not (has("model.safetensors") or has("model.safetensors.index.json"))'),
            ),
        ),
    ),
    Answer(
        "card_checks",
        "a test is bad",
        "reversed",
        edits=(("licensed), tested,", "licensed), not tested,"),),
    ),
    Answer(
        "card_checks",
        "open points: tested",
        "joined",
        edits=(("not open_\n", "not open_ and bool(tested)\n"),),
    ),
]

WRONG += [
    Answer(
        "merge_weight",
        "a factor scaled in place",
        "changed",
        code="""
def merge_weight(weight, lora_A, lora_B, scaling):
    lora_B.mul_(scaling)
    return (weight.float() + lora_B @ lora_A).to(weight.dtype)
""",
    ),
    Answer(
        "ready",
        "its settings for the tokenizer",
        "other_tokenizer",
        code="""
def ready(folder):
    folder = Path(folder)
    names = [p.name for p in folder.iterdir()]
    weights = "model.safetensors" in names or "model.safetensors.index.json" in names
    tok = "tokenizer_config.json" in names or "tokenizer.json" in names
    chat = "chat_template.jinja" in names
    if not chat and "tokenizer_config.json" in names:
        chat = "chat_template" in json.loads((folder / "tokenizer_config.json").read_text())
    rows = False
    if "tokenizer.json" in names:
        spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        ids = list(spec["model"]["vocab"].values()) + [t["id"] for t in spec["added_tokens"]]
        size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        rows = max(ids) < size
    return weights, tok, chat, rows, "adapter_config.json" not in names
""",
    ),
    Answer(
        "ties",
        "merges what was trimmed",
        "merges_all",
        code="""
def ties(updates, density, weights):
    n = updates.shape[0]
    flat = updates.flatten(1)
    k = round(density * flat.shape[1])
    top = flat.abs().topk(k, dim=1).indices
    mask = torch.zeros_like(flat).scatter(1, top, 1.0)
    trimmed = (flat * mask).view_as(updates)
    sign = trimmed.sum(0).sign()
    part = (trimmed.sign() == sign) & (trimmed != 0)
    total = (weights.view(-1, 1, 1) * updates * (updates.sign() == sign)).sum(0)
    return total / (updates.sign() == sign).sum(0).clamp(min=1)
""",
    ),
    Answer(
        "ties",
        "trims a view in place",
        "changed",
        code="""
def ties(updates, density, weights):
    n = updates.shape[0]
    flat = updates.flatten(1)
    k = round(density * flat.shape[1])
    top = flat.abs().topk(k, dim=1).indices
    mask = torch.zeros_like(flat).scatter(1, top, 1.0)
    flat *= mask
    trimmed = flat.view_as(updates)
    sign = trimmed.sum(0).sign()
    part = (trimmed.sign() == sign) & (trimmed != 0)
    total = (weights.view(-1, 1, 1) * trimmed * part).sum(0)
    return total / part.sum(0).clamp(min=1)
""",
    ),
    Answer(
        "mixed_forward",
        "-1 made 0 in place",
        "changed",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    none = which < 0
    which[none] = 0
    d = scaling[which].view(-1, 1, 1) * (x @ lora_A[which].mT @ lora_B[which].mT)
    d[none] = 0
    return x @ W.T + d
""",
    ),
    Answer(
        "mixed_forward",
        "= for +=",
        "overwritten",
        code="""
def mixed_forward(x, W, lora_A, lora_B, scaling, which):
    y = x @ W.T
    for i, k in enumerate(which.tolist()):
        if k >= 0:
            y[i] = scaling[k] * x[i] @ lora_A[k].T @ lora_B[k].T
    return y
""",
    ),
    Answer(
        "card_checks",
        "cut at the title, wherever",
        "any_place",
        code=r"""
def card_checks(text):
    card = ModelCard(text)
    data, body = card.data, card.text
    base = bool(data.base_model)
    lic = bool(data.license) and (data.license != "other" or bool(data.get("license_name")))
    test = any(r.dataset_split == "test" for r in data.eval_results or [])
    lines = body.splitlines()
    limits = False
    limits = "## Limits" in body and bool(
        body.split("## Limits")[1].split("\n## ")[0].strip()
    )
    for i, line in enumerate([]):
        if line.strip() == "## Limits":
            for rest in lines[i + 1:]:
                if rest.startswith("## "):
                    break
                limits = limits or bool(rest.strip())
    return base, lic, test, limits, "[More Information Needed]" not in text
""",
    ),
]
