"""Checks of chapter 12: merge, what a folder lacks, TIES, a mixed batch, what a card lacks."""

import json
import tempfile
from pathlib import Path

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor


def _normal(rng):
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


def _shape(value):
    return " x ".join(str(n) for n in value.shape) or "one number"


def _five(value, name):
    """Five answers as an array of 0 and 1, or the array as it came when it is something else."""
    return array([bool(v) for v in value] if isinstance(value, (list, tuple)) else value, name)


# 12.1 Merge without loss
KINDS = ("bfloat16", "float16")


def _rounded(a, kind):
    """The nearest number of this type, ties to even, as float32."""
    if kind == "float16":
        return np.asarray(a, np.float16).astype(np.float32)
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def make_merge(seed):
    f = _normal(np.random.default_rng(seed + 1200))
    made = {"scaling": np.array([0.75, 1.5, 2.5][seed % 3])}
    return made | {"W": f(48, 40), "A": f(4, 40) / 4, "B": f(48, 4) / 4}


def probe_merge(namespace, a):
    import torch

    made = {}
    for kind in KINDS:
        dtype = getattr(torch, kind)
        weight = tensor(_rounded(a["W"], kind)).to(dtype)
        A, B, scaling = tensor(a["A"]), tensor(a["B"]), a["scaling"].item()
        out = namespace["merge_weight"](weight, A, B, scaling)
        made[kind] = array(out, "the merged weight")
        made[f"wide_{kind}"] = float(getattr(out, "dtype", None) != dtype)
    return made


def judge_merge(inputs, outputs):
    s = inputs["scaling"].item()
    A, B = inputs["A"].astype(np.float64), inputs["B"].astype(np.float64)
    for kind in KINDS:
        W, seen = _rounded(inputs["W"], kind), outputs[kind]
        if seen.shape != W.shape:
            return Verdict(0.0, "other", f"the merged weight is {_shape(seen)}", _shape(W))
        if outputs[f"wide_{kind}"]:
            seen = f"the merged weight is not of the type of the weight, {kind}"
            return Verdict(0.0, "wide", seen, kind)
        sums = {
            "": W + s * B @ A,
            "rounds_update": W + _rounded(s * B @ A, kind),
            "no_scale": W + B @ A,
            "scaled_twice": W + s * s * B @ A,
            "not_merged": W,
            "subtracted": W - s * B @ A,
        }
        wrong = {key: np.mean(_rounded(total, kind) != seen) for key, total in sums.items()}
        if wrong[""] <= 0.005:
            continue
        text = f"{wrong['']:.0%} of the entries differ from the rounded sum, in {kind}"
        key = min(wrong, key=wrong.get)
        if key and wrong[key] <= 0.01:
            return Verdict(0.0, key, text, "none")
        near = np.linalg.norm(seen - sums[""]) < 0.05 * np.linalg.norm(s * B @ A)
        return Verdict(0.0, "rounds_early" if near else "other", text, "none")
    return Verdict(1.0)


merge_weight = Check(
    name="merge_weight",
    title="Merge without loss",
    wants=("merge_weight",),
    difficulty=2,
    minutes=8,
    points=15,
    verified="bfloat16 and float16, entry by entry the rounded sum",
    hints=(
        "In which type is a sum computed when one part is float32? And in which when both are "
        "bfloat16?",
        "Bring the weight to float32, add the scaled product there, and go to the type of the "
        "weight at the very end.",
        "`total = weight.float() + scaling * lora_B @ lora_A`, then `total.to(weight.dtype)`.",
    ),
    mistakes={
        "wide": "The sum is right, but it stays in float32. Return it in `weight.dtype`.",
        "rounds_update": "The update was rounded before it was added, and the sum again. That is "
        "what `safe_merge=True` does. Only the sum may be rounded.",
        "rounds_early": "Nearly right: something was rounded before the sum, a factor or a "
        "product. Keep A, B and B @ A in float32.",
        "no_scale": "The update goes in without `scaling`.",
        "scaled_twice": "The update is scaled twice.",
        "not_merged": "The result is the old weight: the update is not in it.",
        "subtracted": "The update is taken off instead of added.",
        "raised:RuntimeError": "lora_B is (out, r) and lora_A is (r, in). B @ A fits the weight. "
        "A product needs one type on both sides.",
        "other": "Compare with weight.float() + scaling * lora_B @ lora_A, rounded at the end.",
    },
    make=make_merge,
    probe=probe_merge,
    judge=judge_merge,
)


# 12.2 Catch what is missing: one row for each folder, columns as follows
WEIGHTS, TOKENIZER, TEMPLATE, ROWS, TOP, ADDED, ADAPTER = range(7)
FOLDERS = (  # weights: 0 none, 1 one file, 2 several; template: 0 none, 1 jinja, 2 in the config
    (1, 1, 1, 0, 20, 22, 0),  # rows are set in make: 0 just enough, 9 nine more, -1 one short
    (2, 1, 2, 9, 20, 22, 0),
    (1, 0, 0, 0, 20, 22, 0),
    (0, 1, 1, 0, 20, 22, 1),
    (1, 1, 0, -1, 20, 22, 0),
    (2, 1, 1, -2, 20, 22, 1),
    (1, 1, 2, -1, 22, 20, 1),
    (1, 1, 1, 9, 22, 20, 0),
)


def make_ready(seed):
    rng = np.random.default_rng(seed + 1300)
    table = np.array(FOLDERS)[rng.permutation(len(FOLDERS))]
    table[:, [TOP, ADDED]] += int(rng.integers(0, 50))
    table[:, ROWS] += table[:, [TOP, ADDED]].max(1) + 1
    return {"folders": table}


def write_folder(folder, row):
    """The files of one folder, as far as the exercise reads them."""

    def write(name, content):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    write("config.json", {"model_type": "llama", "vocab_size": int(row[ROWS])})
    settings = {"eos_token": "<eos>"} | ({"chat_template": "{}"} if row[TEMPLATE] == 2 else {})
    write("tokenizer_config.json", settings)
    if row[WEIGHTS]:
        write("model.safetensors.index.json" if row[WEIGHTS] == 2 else "model.safetensors", {})
    if row[TOKENIZER]:
        added = [{"id": 0, "content": "<pad>"}, {"id": int(row[ADDED]), "content": "<form>"}]
        vocab = {"a": 3, "b": int(row[TOP]), "c": 4}
        write("tokenizer.json", {"model": {"vocab": vocab}, "added_tokens": added})
    if row[TEMPLATE] == 1:
        (folder / "chat_template.jinja").write_text("{}", encoding="utf-8")
    if row[ADAPTER]:
        write("adapter_config.json", {"r": 8})


def probe_ready(namespace, a):
    said = []
    with tempfile.TemporaryDirectory() as place:
        for i, row in enumerate(a["folders"]):
            folder = Path(place) / str(i)
            folder.mkdir()
            write_folder(folder, row)
            said.append(_five(namespace["ready"](str(folder)), "what ready returns"))
    return {"said": array(said, "the answers")}


def judge_ready(inputs, outputs):
    t, said = inputs["folders"], outputs["said"]
    if said.shape != (len(t), 5):
        return Verdict(0.0, "not_five", f"{_shape(said[0]) if said.ndim > 1 else 'one answer'}")
    top = np.maximum(t[:, TOP], t[:, ADDED])
    has = t[:, TOKENIZER] == 1
    want = np.stack(
        [t[:, WEIGHTS] > 0, has, t[:, TEMPLATE] > 0, has & (top < t[:, ROWS]), t[:, ADAPTER] == 0],
        axis=1,
    )
    said = said.astype(bool)
    if np.array_equal(said, want):
        return Verdict(1.0)
    known = {
        "not_sharded": (0, t[:, WEIGHTS] == 1),
        "old_template": (2, t[:, TEMPLATE] == 1),
        "new_template": (2, t[:, TEMPLATE] == 2),
        "added_tokens": (3, has & (t[:, TOP] < t[:, ROWS])),
        "only_added": (3, has & (t[:, ADDED] < t[:, ROWS])),
        "off_by_one": (3, has & (top <= t[:, ROWS])),
        "must_be_equal": (3, has & (top + 1 == t[:, ROWS])),
        "adapter_reversed": (4, t[:, ADAPTER] == 1),
        "adapter_ignored": (4, np.ones_like(has)),
    }
    wrong = [column for column in range(5) if not np.array_equal(said[:, column], want[:, column])]
    share = 1 - len(wrong) / 5
    hits = (k for k, (c, v) in known.items() if c == wrong[0] and np.array_equal(said[:, c], v))
    key = next(hits, "other")
    names = ("weights", "tokenizer", "chat template", "a row for every token", "no adapter")
    count = int((said[:, wrong[0]] != want[:, wrong[0]]).sum())
    text = f"answer {wrong[0] + 1} ({names[wrong[0]]}) is wrong for {count} of {len(t)} folders"
    return Verdict(round(share, 2), key, text)


ready = Check(
    name="ready",
    title="Catch what is missing",
    wants=("ready",),
    difficulty=3,
    minutes=15,
    points=25,
    verified="eight folders: sharded weights, both places of the template, added tokens, rows to "
    "spare, an adapter left behind",
    hints=(
        "Four of the five ask only whether something is there. Which one needs numbers?",
        "`(Path(folder) / name).exists()` and `json.loads(path.read_text())`. For the fourth, "
        "gather all ids, of the vocabulary and of the added tokens. The largest must be a row.",
        '`ids = list(spec["model"]["vocab"].values()) + [t["id"] for t in spec["added_tokens"]]`, '
        'and `max(ids) < config["vocab_size"]`, when `tokenizer.json` is there.',
    ),
    mistakes={
        "not_five": "Return five answers, as a tuple or a list.",
        "not_sharded": "Weights in several files have no `model.safetensors`, but "
        "`model.safetensors.index.json`.",
        "old_template": "Older releases keep the template in `tokenizer_config.json`, under "
        "`chat_template`. Look there as well.",
        "new_template": "The template may lie in a file of its own, `chat_template.jinja`.",
        "added_tokens": "The added tokens are forgotten. They have the highest ids, as a rule: "
        "just those that a resized embedding was resized for.",
        "only_added": "Look at the vocabulary and at the added tokens: either may have the "
        "highest id.",
        "off_by_one": "Rows are counted from 0: the highest id must be below `vocab_size`, not "
        "equal to it.",
        "must_be_equal": "An embedding may have more rows than there are tokens. Only too few is "
        "wrong.",
        "adapter_reversed": "The fifth answer is True when there is **no** adapter.",
        "adapter_ignored": "The fifth answer is always True. `adapter_config.json` beside merged "
        "weights makes transformers apply the adapter twice.",
        "raised:FileNotFoundError": "A file that you open is not in every folder. Ask first "
        "whether it exists.",
        "raised:KeyError": "Not every file has this key: ask with `in` or `.get`.",
        "other": "Take the five answers one by one, each with a file or a number of its own.",
    },
    make=make_ready,
    probe=probe_ready,
    judge=judge_ready,
)


# 12.3 TIES by hand
def make_ties(seed):
    f = _normal(np.random.default_rng(seed + 1400))
    made = {"updates": f(3, 12, 15), "weights": np.array([0.5, 1.5, 0.8], np.float32)}
    return made | {"density": np.array([0.4, 0.55, 0.6][seed % 3])}


def probe_ties(namespace, a):
    updates, weights = tensor(a["updates"]), tensor(a["weights"])
    out = namespace["ties"](updates, a["density"].item(), weights)
    return {"out": array(out, "what ties returns")}


def _keep(values, count):
    """`values` with all but the `count` entries of largest absolute value set to 0."""
    kept = np.zeros(values.size)
    order = np.argsort(-np.abs(values).ravel(), kind="stable")[:count]
    kept[order] = values.ravel()[order]
    return kept.reshape(values.shape)


def _ties(trimmed, weights, elect, divide):
    w = weights[:, None, None]
    sign = np.sign(elect)
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    total = (trimmed * w * agrees).sum(0)
    return total / np.maximum(divide(agrees, w), 1e-12)


def judge_ties(inputs, outputs):
    u, w = inputs["updates"].astype(np.float64), inputs["weights"].astype(np.float64)
    density, seen = inputs["density"].item(), outputs["out"]
    if seen.shape != u.shape[1:]:
        return Verdict(0.0, "shape", f"the result is {_shape(seen)}", _shape(u[0]))
    keep = round(density * u[0].size)
    t = np.stack([_keep(part, keep) for part in u])
    count = lambda agrees, _: np.maximum(agrees.sum(0), 1)  # noqa: E731
    want = _ties(t, w, t.sum(0), count)
    if close(seen, want, rtol=1e-3, atol=1e-4):
        return Verdict(1.0)
    small = np.stack([part - _keep(part, part.size - keep) for part in u])
    dropped = np.stack([part - _keep(part, keep) for part in u])
    joint = _keep(u, keep * len(u))
    ones, both = np.ones(3), w[:, None, None]
    known = {
        "no_trim": _ties(u, w, u.sum(0), count),
        "trims_the_large": _ties(small, w, small.sum(0), count),
        "trims_the_share": _ties(dropped, w, dropped.sum(0), count),
        "trims_together": _ties(joint, w, joint.sum(0), count),
        "counts_heads": _ties(t, w, np.sign(t).sum(0), count),
        "elects_before": _ties(t, w, u.sum(0), count),
        "weights_first": _ties(t, w, (t * both).sum(0), count),
        "weights_lost": _ties(t, ones, t.sum(0), count),
        "divides_by_all": _ties(t, w, t.sum(0), lambda agrees, _: np.full(u[0].shape, 3.0)),
        "not_divided": _ties(t, w, t.sum(0), lambda agrees, _: np.ones(u[0].shape)),
        "divides_by_weights": _ties(t, w, t.sum(0), lambda agrees, v: (agrees * v).sum(0)),
        "counts_zeros": _ties(t, w, t.sum(0), lambda agrees, _: (agrees | (t == 0)).sum(0).clip(1)),
        "no_election": (t * both).sum(0) / np.maximum((t != 0).sum(0), 1),
        "plain_mean": (t * both).sum(0) / 3,
        "plain_sum": (t * both).sum(0),
    }
    off = float(np.mean(~np.isclose(seen, want, rtol=1e-3, atol=1e-4)))
    hits = (k for k, value in known.items() if close(seen, value, rtol=1e-3, atol=1e-4))
    key = next(hits, "nan" if np.isnan(seen).any() else "other")
    key = "no_election" if key.startswith("plain") else key
    return Verdict(0.0, key, f"{off:.0%} of the entries are wrong, at density {density:g}")


ties = Check(
    name="ties",
    title="TIES by hand",
    wants=("ties",),
    difficulty=4,
    minutes=20,
    points=25,
    verified="three updates, three densities, weights that differ",
    hints=(
        "Do the three steps one after another, and print each for two updates of four numbers.",
        "Trim each update by itself: `topk` of its absolute values gives the smallest that stays. "
        "The sign comes from the sum of the trimmed updates, without weights. Count, entry by "
        "entry, who agrees; a zero agrees with nobody.",
        "`agrees = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)`, then "
        "`(trimmed * weights.view(-1, 1, 1) * agrees).sum(0) / agrees.sum(0).clamp(min=1)`.",
    ),
    mistakes={
        "shape": "Return one matrix of the shape of one update.",
        "no_trim": "Nothing was trimmed: density makes no difference.",
        "trims_the_large": "The smallest entries stay. Keep those of largest absolute value.",
        "trims_the_share": "The share `density` was dropped. It is the share that stays.",
        "trims_together": "All updates were trimmed together. Trim each by itself: an update with "
        "small numbers keeps as many entries as the others.",
        "counts_heads": "The sign was elected by counting signs. What counts is the mass: the sign "
        "of the sum.",
        "elects_before": "The sign was elected before trimming. Elect with the trimmed updates.",
        "weights_first": "The weights took part in the election. They belong to the merge.",
        "weights_lost": "The weights make no difference. Multiply each update with its own.",
        "divides_by_all": "It was divided by the number of updates. Divide by the number of those "
        "that agree, entry by entry.",
        "not_divided": "The agreeing entries were added. Average them.",
        "divides_by_weights": "It was divided by the sum of the weights. Divide by the number of "
        "those that agree.",
        "counts_zeros": "Trimmed entries were counted in the average. A zero agrees with nobody.",
        "no_election": "There was no election: entries of both signs are in the result.",
        "nan": "Some entries are nan: where nobody agrees, 0 was divided by 0. The result there "
        "is 0.",
        "raised:RuntimeError": "Mind the shapes: weights is (n,), updates (n, out, in). Give the "
        "weights two more axes with `.view(-1, 1, 1)`.",
        "other": "Check the steps one by one: how many entries stay in each update? Which sign "
        "wins? Who is averaged?",
    },
    make=make_ties,
    probe=probe_ties,
    judge=judge_ties,
)


# 12.4 One batch, several adapters
def make_mixed(seed):
    rng = np.random.default_rng(seed + 1500)
    f = _normal(rng)
    which = np.array([[2, 0, -1, 1, 0, 2], [1, -1, 2, 0, -1, 1], [0, 2, 1, -1, 2, 0]][seed % 3])
    made = {"x": f(6, 3, 5), "W": f(7, 5), "A": f(3, 2, 5), "B": f(3, 7, 2), "which": which}
    return made | {"scaling": rng.permutation([0.5, 1.5, 2.5]).astype(np.float32)}


def probe_mixed(namespace, a):
    parts = [tensor(a[key]) for key in ("x", "W", "A", "B", "scaling", "which")]
    return {"out": array(namespace["mixed_forward"](*parts), "the output")}


def judge_mixed(inputs, outputs):
    x, W, A, B, s = (inputs[key].astype(np.float64) for key in ("x", "W", "A", "B", "scaling"))
    which, seen = inputs["which"], outputs["out"]
    base = x @ W.T
    if seen.shape != base.shape:
        return Verdict(0.0, "shape", f"the output is {_shape(seen)}", _shape(base))
    each = np.stack([x @ a.T @ b.T for a, b in zip(A, B, strict=True)])  # (n, rows, T, out)
    rows, on = np.arange(6), (which >= 0)[:, None, None]
    own, scale = each[which, rows], s[which][:, None, None]
    want = base + on * scale * own
    if close(seen, want, rtol=1e-3, atol=1e-3):
        return Verdict(1.0)
    order = np.argsort(which, kind="stable")
    known = {
        "minus_one": base + scale * own,
        "base_only": base,
        "update_only": on * scale * own,
        "no_base": np.where(on, want, 0),
        "no_scale": base + on * own,
        "one_scale": base + on * s[0] * own,
        "first_for_all": base + s[which[0]] * each[which[0]],
        "all_summed": base + (s[:, None, None, None] * each).sum(0),
        "summed_but_base": base + on * (s[:, None, None, None] * each).sum(0),
        "out_of_order": want[order],
        "scale_by_row": base + on * np.resize(s, 6)[:, None, None] * own,
        "row_number": base + (s[rows % 3])[:, None, None] * each[rows % 3, rows],
    }
    wrong = int((~np.isclose(seen, want, rtol=1e-3, atol=1e-3)).any((1, 2)).sum())
    key = next((k for k, v in known.items() if close(seen, v, rtol=1e-3, atol=1e-3)), "other")
    key = {"summed_but_base": "all_summed", "scale_by_row": "one_scale"}.get(key, key)
    text = f"{wrong} of 6 rows are wrong, for which = {which.tolist()}"
    return Verdict(0.0, key, text, "each row with its own adapter")


mixed_forward = Check(
    name="mixed_forward",
    title="One batch, several adapters",
    wants=("mixed_forward",),
    difficulty=3,
    minutes=12,
    points=20,
    verified="six rows, three adapters with scales of their own, rows of the bare base",
    hints=(
        "What is the same for all rows, and what is each row's own?",
        "`lora_A[which]` picks a matrix for each row: (rows, r, in). Products of stacks go row by "
        "row. But what does an index of −1 pick?",
        "`x @ W.T + strength.view(-1, 1, 1) * (x @ lora_A[which].mT @ lora_B[which].mT)` with "
        "`strength = scaling[which] * (which >= 0)`.",
    ),
    mistakes={
        "shape": "The output is (rows, T, out).",
        "minus_one": "Rows of the base got an adapter: an index of −1 picks the last one. Set "
        "their update to 0.",
        "base_only": "No row has an update. Did its result get lost?",
        "update_only": "x @ W.T is missing.",
        "no_base": "Rows of the bare base are 0. They get x @ W.T.",
        "no_scale": "The updates are not scaled.",
        "one_scale": "Every adapter has a scale of its own: `scaling[which]`.",
        "first_for_all": "All rows got the adapter of the first row.",
        "all_summed": "Every row got the sum of all adapters.",
        "out_of_order": "The rows are right, but sorted by adapter. Put each back in its place.",
        "row_number": "Rows got their adapters by their own number. It is in `which`.",
        "raised:RuntimeError": "Print the shapes. A stack of matrices is transposed by `.mT`; "
        "scales need two more axes, `.view(-1, 1, 1)`.",
        "raised:IndexError": "`which` goes from −1 to n - 1, `x` from 0 to rows - 1. Which one "
        "are you using as an index?",
        "other": "Compute one row by itself, with the adapter that `which` names, and compare.",
    },
    make=make_mixed,
    probe=probe_mixed,
    judge=judge_mixed,
)


# 12.5 The card's checks: one row for each card, columns as follows
BASE, LICENSE, RESULTS, LIMITS, OPEN = range(5)
CARDS = (  # base: 0 none, 1 one, 2 a list. license: 0 none, 1 named, 2 other and name, 3 other
    (1, 1, 1, 1, 0),  # results: 0 none, 1 test, 2 train, 3 train and test
    (0, 1, 2, 2, 1),  # limits: 0 none, 1 text, 2 the title alone, 3 text, at the end of the card
    (2, 2, 3, 3, 0),
    (1, 0, 0, 0, 0),
    (0, 3, 2, 2, 1),
    (1, 3, 3, 1, 1),
    (2, 2, 0, 3, 0),
    (1, 1, 1, 0, 0),
)


def make_card(seed):
    return {"cards": np.array(CARDS)[np.random.default_rng(seed + 1600).permutation(len(CARDS))]}


def card_text(row):
    """README.md of one card."""
    lines = [[], ["base_model: lab/base"], ["base_model:", "- lab/base", "- lab/other"]][row[BASE]]
    other = ["license: other", "license_name: town"]
    lines = lines + [[], ["license: mit"], other, other[:1]][row[LICENSE]] + ["language: en"]
    splits = [[], ["test"], ["train"], ["train", "test"]][row[RESULTS]]
    if splits:
        lines += ["model-index:", "- name: forms", "  results:"]
    for split in splits:
        lines += ["  - task: {type: text-generation}"]
        lines += [f"    dataset: {{type: generated, name: forms, split: {split}}}"]
        lines += ["    metrics: [{type: exact_match, value: 0.97}]"]
    said = "[More Information Needed]" if row[OPEN] else "Forms of a court."
    body = ["# forms", "", "base_model, license and test results are named above.", ""]
    body += ["## Intended use", "", said, ""]
    limits = ["## Limits", "", *["Not for real cases.", ""] * int(row[LIMITS] != 2)]
    training = ["## Training", "", "40 steps.", ""]
    order = {0: training, 3: training + limits}.get(int(row[LIMITS]), limits + training)
    return "\n".join(["---", *lines, "---", "", *body, *order])


def probe_card(namespace, a):
    said = [
        _five(namespace["card_checks"](card_text(row)), "what card_checks returns")
        for row in a["cards"]
    ]
    return {"said": array(said, "the answers")}


def judge_card(inputs, outputs):
    c, said = inputs["cards"], outputs["said"]
    if said.shape != (len(c), 5):
        return Verdict(0.0, "not_five", f"{_shape(said[0]) if said.ndim > 1 else 'one answer'}")
    licensed = (c[:, LICENSE] == 1) | (c[:, LICENSE] == 2)
    tested, limits = c[:, RESULTS] % 2 == 1, c[:, LIMITS] % 2 == 1
    want = np.stack([c[:, BASE] > 0, licensed, tested, limits, c[:, OPEN] == 0], axis=1)
    said, yes = said.astype(bool), np.ones(len(c), bool)
    if np.array_equal(said, want):
        return Verdict(1.0)
    known = {
        "reads_prose": [(0, yes), (1, yes)],
        "one_base": [(0, c[:, BASE] == 1)],
        "other_license": [(1, c[:, LICENSE] > 0)],
        "never_other": [(1, c[:, LICENSE] == 1)],
        "any_result": [(2, c[:, RESULTS] > 0)],
        "one_result": [(2, c[:, RESULTS] == 1)],
        "empty_section": [(3, c[:, LIMITS] > 0)],
        "last_section": [(3, c[:, LIMITS] == 1)],
        "open_reversed": [(4, c[:, OPEN] == 1)],
        "open_ignored": [(4, yes)],
    }
    wrong = [column for column in range(5) if not np.array_equal(said[:, column], want[:, column])]
    key = next(
        (
            k
            for k, values in known.items()
            if any(col == wrong[0] and np.array_equal(said[:, col], v) for col, v in values)
        ),
        "other",
    )
    names = ("base", "licence", "test result", "limits", "nothing left open")
    count = int((said[:, wrong[0]] != want[:, wrong[0]]).sum())
    text = f"answer {wrong[0] + 1} ({names[wrong[0]]}) is wrong for {count} of {len(c)} cards"
    return Verdict(round(1 - len(wrong) / 5, 2), key, text)


card_checks = Check(
    name="card_checks",
    title="The card's checks",
    wants=("card_checks",),
    difficulty=3,
    minutes=15,
    points=15,
    verified="eight cards: two bases, other licences, train and test results, an empty section, "
    "the template's open questions",
    hints=(
        "The hub reads the metadata, not the prose. Which of the five stand there?",
        "`about = ModelCard(text).data` has fields: `about.base_model`, `about.license`, "
        "`about.license_name`, `about.eval_results`, a list of objects with `dataset_split`, or "
        "None. For the section, cut the text at its title, then at the next one.",
        '`any(r.dataset_split == "test" for r in about.eval_results or [])`, and '
        '`card.text.partition("\\n## Limits\\n")[2].partition("\\n## ")[0].strip()`.',
    ),
    mistakes={
        "not_five": "Return five answers, as a tuple or a list.",
        "reads_prose": "The word stands in the prose of every card. What counts is the metadata: "
        "`ModelCard(text).data`.",
        "one_base": "A merge of several models names a list of bases. That counts as well.",
        "other_license": "`license: other` alone says nothing. It needs a `license_name`.",
        "never_other": "`license: other` with a `license_name` is a licence of its own name.",
        "any_result": "A result on the training rows counted as a test. Look at `dataset_split`.",
        "one_result": "A card may hold several results: look at all of them, not at the first.",
        "empty_section": "A title without text counted as a section. Look at what stands between "
        "the title and the next one.",
        "last_section": "The section may be the last one: nothing follows it, and it still has "
        "text.",
        "open_reversed": "The fifth answer is True when nothing is left open.",
        "open_ignored": "The template's `[More Information Needed]` was not noticed.",
        "raised:TypeError": "`eval_results` is None when the card has no results: write "
        "`about.eval_results or []`.",
        "raised:AttributeError": "The metadata are in `ModelCard(text).data`. A field that a card "
        "does not have is None, or comes by `.get(name)`.",
        "other": "Print `ModelCard(text).data.to_dict()` for a card, and go through the five.",
    },
    make=make_card,
    probe=probe_card,
    judge=judge_card,
)

EXERCISES = (merge_weight, ready, ties, mixed_forward, card_checks)
