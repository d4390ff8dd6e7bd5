"""Right and wrong answers to the exercises of chapter 12."""

from tests.answers import Answer

TOTAL = "total = weight.float() + scaling * lora_B @ lora_A  # float32"
TO = "return total.to(weight.dtype)"

WEIGHTS = 'weights = bool(names & {"model.safetensors", "model.safetensors.index.json"})'
IN_CONFIG = 'template = "chat_template" in read("tokenizer_config.json")'
IN_FILE = '    template = template or "chat_template.jinja" in names\n'
ADDED = '        ids += [token["id"] for token in spec["added_tokens"]]\n'
VOCAB = 'ids = [*spec["model"]["vocab"].values()]'
FITS = 'fits = max(ids) < read("config.json")["vocab_size"]'
ADAPTER = 'no_adapter = "adapter_config.json" not in names'
READY = 'return weights, "tokenizer.json" in names, template, fits, no_adapter'

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
        "raised:RuntimeError",
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
    Answer(
        "merge_weight", "A B", "raised:RuntimeError", edits=[("lora_B @ lora_A", "lora_A @ lora_B")]
    ),
    Answer("merge_weight", "other numbers", "other", edits=[("scaling * ", "(scaling + 1) * ")]),
    # 12.2
    Answer(
        "ready",
        "one file of weights",
        "not_sharded",
        edits=[(WEIGHTS, 'weights = "model.safetensors" in names')],
    ),
    Answer("ready", "the new place alone", "old_template", edits=[(IN_CONFIG, "template = False")]),
    Answer("ready", "the old place alone", "new_template", edits=[(IN_FILE, "")]),
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
        edits=[(ADAPTER, ADAPTER.replace("not in", "in"))],
    ),
    Answer(
        "ready", "no look at adapters", "adapter_ignored", edits=[(ADAPTER, "no_adapter = True")]
    ),
    Answer(
        "ready", "all in one", "not_five", edits=[(READY, "return weights and template and fits")]
    ),
    Answer(
        "ready",
        "opens what is not there",
        "raised:FileNotFoundError",
        edits=[('if "tokenizer.json" in names:', "if True:"), (" if file.exists() else {}", "")],
    ),
    Answer(
        "ready",
        "a key that is not there",
        "raised:KeyError",
        edits=[(IN_CONFIG, 'template = read("tokenizer_config.json")["chat_template"]')],
    ),
    Answer("ready", "says yes to all", "other", edits=[(READY, "return [True] * 5")]),
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
            (LEAST, "least = flat.flatten().topk(3 * keep).values[-1:]"),
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
    Answer("ties", "all updates back", "shape", edits=[(MEAN, "return trimmed * agrees")]),
    Answer(
        "ties",
        "weights without axes",
        "raised:RuntimeError",
        edits=[("weights.view(-1, 1, 1)", "weights")],
    ),
    Answer("ties", "the negative", "other", edits=[(MEAN, "return -total")]),
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
        edits=[(STRENGTH, STRENGTH.replace("scaling[which]", "scaling.repeat(2)"))],
    ),
    Answer(
        "mixed_forward",
        "the adapter of the first row",
        "first_for_all",
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
        "raised:RuntimeError",
        edits=[("A.mT @ B.mT", "A @ B")],
    ),
    Answer(
        "mixed_forward",
        "rows by adapter numbers",
        "raised:IndexError",
        edits=[(PICK, "A, B = lora_A[torch.arange(len(x))], lora_B[which]")],
    ),
    Answer("mixed_forward", "one row", "shape", edits=[(MIXED, "return out[0]")]),
    Answer("mixed_forward", "subtracts", "other", edits=[("out + strength", "out - strength")]),
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
        "raised:TypeError",
        edits=[(" or []", "")],
    ),
    Answer(
        "card_checks",
        "asks the card",
        "raised:AttributeError",
        edits=[("about = card.data", "about = card")],
    ),
    Answer("card_checks", "one answer", "not_five", edits=[(CARD, "return tested")]),
    Answer("card_checks", "yes to tests", "other", edits=[(TESTED, "tested = True")]),
]
