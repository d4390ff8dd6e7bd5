"""Checks of chapter 12: merge, what a folder lacks, TIES, a mixed batch, what a card lacks."""

import json
import tempfile
from pathlib import Path

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, in_parts, judged, seen_as
from lora_course.checks.values import array, close
from lora_course.checks.wording import differ, shape


# What several exercises share
def five(value, names, function):
    """Five answers as 0 and 1, whatever stands for yes and no."""
    answers = [bool(v) for v in value] if isinstance(value, (list, tuple)) else value
    return fixtures.several(answers, names, function)


def spread(rng, **columns):
    """A table with one row for each folder or card; each column in an order of its own."""
    return {key: np.array(values)[rng.permutation(len(values))] for key, values in columns.items()}


FIVE = (  # slips of five answers; judge_five knows their values
    Slip("exchanged", "Two of the five answers stand in each other's place."),
    Slip("reversed", "This answer is True where it should be False, and the reverse."),
    Slip("joined", "This answer is False also where another one is: each of the five stands for "
         "itself."),
)  # fmt: skip


def of_five(right):
    """FIVE with values. right: {name: column of right answers}."""
    pairs = [(a, b) for a in right for b in right if a != b]
    exchanged = [{a: right[b], b: right[a]} for a, b in pairs if a < b]
    joined = [{a: right[a] & right[b]} for a, b in pairs]
    turned = [{a: ~np.asarray(right[a], bool)} for a in right]
    return tuple(
        slip._replace(values=lambda i, values=values: values)
        for slip, values in zip(FIVE, (exchanged, turned, joined), strict=True)
    )


def judge_five(i, o, right, slips, describe):
    """Each answer is worth a fifth. describe(name, row): what stands there, in words."""
    exchanged, *rest = of_five(right)

    def promise(number, name):
        def seen(value):
            if value.shape != right[name].shape:
                return f"answer {number} ({name}) is not one number"
            wrong = value != right[name]
            row = int(np.argmax(wrong))
            said = bool(value[row]) if np.isfinite(value[row]) else value[row]
            return (f"answer {number} ({name}) is {said} for {describe(name, row)}; it is wrong "
                    f"for {wrong.sum()} of {len(value)}")  # fmt: skip

        value = np.asarray(o.get(name, np.zeros(0)))
        bad = value != right[name] if value.shape == right[name].shape else np.ones(1)
        expected = str(bool(right[name][int(np.argmax(bad))]))
        return Promise(name, right[name], seen=seen, expected=expected, rtol=0, atol=0)

    def verdict(number, name):
        for known in ((exchanged,), slips, rest):
            said = judged(i, o, [promise(number, name)], known)
            if said.mistake != "other":
                return said
        return said

    return in_parts(*(verdict(n, name) for n, name in enumerate(right, 1)))


# 12.1 Merge without loss
DTYPES = ("bfloat16", "float16", "float32", "float64")
STORED = DTYPES[:2]
BITS = {"bfloat16": 8, "float16": 11}  # of a number's fraction


def rounded(a, dtype):
    """The nearest number of this type, ties to even, as float32."""
    if dtype == "float16":
        return np.asarray(a, np.float16).astype(np.float32)
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def make_merge(seed):
    rng = np.random.default_rng(seed + 1200)
    f, (d_out, d_in) = fixtures.normal(rng), fixtures.sizes(rng, 2, 38, 60)
    r, W = int(rng.integers(3, 7)), f(d_out, d_in)
    made = {
        "scaling": rng.choice([7 / 3, 8 / 3, 11 / 3]),
        "A": f(r, d_in) / 4,
        "B": f(d_out, r) / 4,
    }
    made |= {f"W_{dtype}": rounded(W, dtype) for dtype in STORED}
    made["W_bfloat16"][0, :20] *= 2.0**18  # too large for float16
    return made


def probe_merge(namespace, a):
    import torch

    made = {}
    for dtype in STORED:
        weight = tensor(a[f"W_{dtype}"]).to(getattr(torch, dtype))
        A, B = tensor(a["A"]), tensor(a["B"])
        before = callers.Before(A, B)
        out = namespace["merge_weight"](weight, A, B, a["scaling"].item())
        kind = str(getattr(out, "dtype", "")).removeprefix("torch.")
        made |= {
            dtype: array(out, "the merged weight"),
            f"type_{dtype}": DTYPES.index(kind) if kind in DTYPES else -1,
            f"left_{dtype}": before.change(),
        }
    return made


def type_name(value):
    known = value.size == 1 and value.item() in range(len(DTYPES))
    return DTYPES[int(value.item())] if known else "no tensor of a float type"


def merged(i, dtype, times=1.0, early=lambda a: a):
    """The sum before it is rounded. early: what is done to the update."""
    A, B = i["A"].astype(np.float64), i["B"].astype(np.float64)
    return i[f"W_{dtype}"] + early(times * float(i["scaling"]) * B @ A)


def agrees(i, dtype, total, share=0.005):
    """A condition: all but a few entries are the rounded sum, and those are near it."""
    right = rounded(total, dtype)

    def fits(value):
        if value.shape != right.shape or value.dtype.kind == "c" or not np.isfinite(value).all():
            return False
        far = np.abs(value - right) > 2.0 ** (2 - BITS[dtype]) * np.abs(right) + 1e-3
        return bool(np.mean(value != right) <= share and not far.any())

    return fits


def weight_times(i, value):
    """Whether the weight itself came in with a factor; its large entries tell."""
    large, right = i["W_bfloat16"][0, :20], i["W_bfloat16"].shape
    if value.shape != right or value.dtype.kind == "c" or not np.isfinite(value).all():
        return False
    times = np.median(value[0, :20] / large)
    return abs(times - 1) > 0.05 and abs(times) > 0.05


def judge_merge(i, o):
    promises = []
    for dtype in STORED:
        right = rounded(merged(i, dtype), dtype)

        def seen(value, dtype=dtype, right=right):
            if value.shape != right.shape or value.dtype.kind == "c":
                return differ(value, right, f"the merged weight, in {dtype}")[0]
            off, place = (value != right).sum(), differ(value, right, "the merged weight", 0, 0)[0]
            return f"in {dtype}, {off:,} of {right.size:,} entries are other ones; {place}"

        promises += [
            Promise(f"type_{dtype}", DTYPES.index(dtype), expected=dtype, seen=lambda v, d=dtype:
                    f"for a weight in {d} the result is "
                    + type_name(v)),
            Promise(dtype, agrees(i, dtype, merged(i, dtype)), seen=seen,
                    expected=f"{shape(right)}, each entry the sum, rounded once"),
            callers.unchanged(f"left_{dtype}", "lora_A or lora_B"),
        ]  # fmt: skip
    return judged(i, o, promises, MERGE)


def sum_is(*totals):
    """A slip's values: total(i, dtype), before it is rounded, in both types."""
    return lambda i: [{dtype: agrees(i, dtype, total(i, dtype), 0.02) for dtype in STORED}
                      for total in totals]  # fmt: skip


def nearly(i, dtype):
    """A condition: an error of a few per cent of the update, as a factor or product rounded."""
    right, update = rounded(merged(i, dtype), dtype), merged(i, dtype) - i[f"W_{dtype}"]

    def fits(value):
        if value.shape != right.shape or not np.isfinite(value).all():
            return False
        step = 2.0 ** (1 - BITS[dtype]) * np.abs(right)
        return bool((np.abs(value - right) <= 0.05 * np.abs(update).max() + step).all())

    return fits


def other_factor(i, dtype):
    """A condition: the update goes in with a factor that no other slip names."""
    A, B, s = i["A"].astype(np.float64), i["B"].astype(np.float64), float(i["scaling"])
    update, known = (s * B @ A)[1:], (1, 0, -1, 1 / s, s, int(s) / s, s**-2, 1 / len(A))

    def fits(value):
        if value.shape != i[f"W_{dtype}"].shape or not np.isfinite(value).all():
            return False
        t = ((value - i[f"W_{dtype}"])[1:] * update).sum() / (update**2).sum()
        new = min(abs(t - k) for k in known) > 0.02
        return new and agrees(i, dtype, merged(i, dtype, t), 0.15)(value)

    return fits


MERGE = (
    Slip("changed", "Names that end in `_` and `*=` write into the factors that were given: "
         "make new ones.", lambda i: [{f"left_{dtype}": lambda v: v > 0} for dtype in STORED]),
    Slip("weight_scaled", "The weight itself was multiplied, by the scale or something else. Only "
         "the update has a factor.", lambda i: {"bfloat16": lambda v: weight_times(i, v)}),
    Slip("other_factor", "The update goes in with another factor than `scaling`: print both.",
         lambda i: {dtype: other_factor(i, dtype) for dtype in STORED}),
    Slip("wide", "The result stays in a wider type. Return it in `weight.dtype`.",
         lambda i: [{f"type_{dtype}": n for dtype in STORED} for n in (2, 3)]),
    Slip("always_half", "The result is float16 whatever the weight was. `.half()` names a type of "
         "its own; `.to(weight.dtype)` takes that of the weight.",
         seen_as(type_bfloat16=1, type_float16=1)),
    Slip("always_bfloat16", "The result is bfloat16 whatever the weight was. `.to(weight.dtype)` "
         "takes the type of the weight.", seen_as(type_bfloat16=0, type_float16=0)),
    Slip("rounds_update", "The update was rounded before it was added, and the sum again. That is "
         "what `safe_merge=True` does. Only the sum may be rounded.",
         sum_is(lambda i, dtype: merged(i, dtype, early=lambda a: rounded(a, dtype)))),
    Slip("rounds_early", "Nearly right, but rounded more than once: a factor, the scale, a product "
         "or the sum. Keep all of it in float32, up to `.to(weight.dtype)`.",
         lambda i: {dtype: lambda v, d=dtype: nearly(i, d)(v) and not any(agrees(i, d, merged(
             i, d, early=way), 0.02)(v) for way in (lambda a: a, lambda a: rounded(a, d)))
             for dtype in STORED}),
    Slip("rounds_after", "The sum went through the other 16-bit type before it got its own, and "
         "was rounded twice. Go from float32 to `weight.dtype` at once.",
         lambda i: [{"bfloat16": agrees(i, "bfloat16", merged(i, "bfloat16")), "float16": agrees(
                     i, "float16", rounded(merged(i, "float16"), "bfloat16"), 0.02)},
                    {"bfloat16": lambda v: bool(np.isinf(v).any()), "type_float16": 1}]),
    Slip("over_r", "`scaling` is lora_alpha / r already. Do not divide by r again.",
         sum_is(lambda i, dtype: merged(i, dtype, 1 / len(i["A"])))),
    Slip("no_scale", "The update goes in without `scaling`.",
         sum_is(lambda i, dtype: merged(i, dtype, 1 / float(i["scaling"])))),
    Slip("scaled_twice", "The update is scaled twice.",
         sum_is(lambda i, dtype: merged(i, dtype, float(i["scaling"])))),
    Slip("whole", "The scale was cut to a whole number. It may have a fraction.",
         sum_is(lambda i, dtype: merged(i, dtype, int(i["scaling"]) / float(i["scaling"])))),
    Slip("divided", "The update is multiplied by `scaling`, not divided by it.",
         sum_is(lambda i, dtype: merged(i, dtype, float(i["scaling"]) ** -2))),
    Slip("not_merged", "The result is the old weight: the update is not in it.",
         sum_is(lambda i, dtype: merged(i, dtype, 0.0))),
    Slip("update_only", "The result is the update alone. Add it to the weight.",
         sum_is(lambda i, dtype: merged(i, dtype) - i[f"W_{dtype}"])),
    Slip("subtracted", "The update is taken off instead of added.",
         sum_is(lambda i, dtype: merged(i, dtype, -1.0))),
)  # fmt: skip

merge_weight = Check(
    name="merge_weight", title="Merge without loss", wants=("merge_weight",),
    difficulty=2, minutes=8, points=15,
    verified="bfloat16 and float16: the type, and entry by entry the sum, rounded once",
    hints=(
        "In which type is a sum computed when one part is float32? And in which when both are "
        "bfloat16?",
        "Bring the weight to float32, add the scaled product there, and go to the type of the "
        "weight at the very end.",
        "`total = weight.float() + scaling * lora_B @ lora_A`, then `total.to(weight.dtype)`.",
    ),
    slips=MERGE, other="Compare with weight.float() + scaling * lora_B @ lora_A, rounded at the "
    "end.",
    make=make_merge, probe=probe_merge, judge=judge_merge,
)  # fmt: skip


# 12.2 Catch what is missing
READY = ("weights", "tokenizer", "chat template", "a row for every token", "no adapter")
LEFT = (  # weights, an adapter, beside: 1: parts without index, 2: .bin files, 3: the adapter's
    (0, 0, 1), (0, 1, 2), (1, 0, 4), (1, 1, 3), (2, 0, 0), (2, 1, 0), (1, 1, 3), (2, 0, 4),
)  # fmt: skip  # weights as .bin, 4: the adapter's weights without its settings
TOKENS = (  # has a tokenizer, are the added ids the highest, rows beyond the highest id, order
    (1, 1, 0, 0), (1, 1, -1, 1), (1, 0, 0, 0), (1, 0, 0, 1), (1, 1, 1, 0), (1, 0, 1, 1),
    (1, 0, 9, 0), (0, 1, 9, 1),
)  # fmt: skip


def make_ready(seed):
    rng = np.random.default_rng(seed + 1300)
    made = spread(
        rng,
        left=LEFT,  # weights: 1: one file, 2: several
        template=[0, 0, 1, 1, 2, 2, 3, 4],  # 0: config without, 1, 3: jinja, 2: config, 4: nothing
        tokens=TOKENS,
        low=rng.permutation(np.arange(20, 70))[:8],
    )
    bare, config = int(made["tokens"][:, 0].argmin()), ~np.isin(made["template"], (1, 4))
    if not config[bare]:  # the folder without a tokenizer has a tokenizer_config.json
        places = [bare, int(config.argmax())]
        made["template"][places] = made["template"][places[::-1]]
    made["high"] = made["low"] + rng.integers(2, 6, 8)
    made["weights"], made["adapter"], made["beside"] = made.pop("left").T
    return {**made, "rows": made["high"] + made["tokens"][:, 2]}


def write_folder(folder, a, n):
    """The files of folder n, as far as the exercise reads them."""

    def write(name, content):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    weights, template, adapter, beside = (
        int(a[key][n]) for key in ("weights", "template", "adapter", "beside")
    )
    has, added_high, _, order = a["tokens"][n].tolist()
    step, low, high = 1 - 2 * order, int(a["low"][n]), int(a["high"][n])
    write("config.json", {"model_type": "llama", "vocab_size": int(a["rows"][n])})
    if template not in (1, 4):
        settings = {"eos_token": "<eos>", "chat_template" if template == 2 else
                    "no_chat_template": "{}"}  # fmt: skip
        write("tokenizer_config.json", settings)
    if template in (1, 3):
        (folder / "chat_template.jinja").write_text("{}", encoding="utf-8")
    if weights:
        write("model.safetensors.index.json" if weights == 2 else "model.safetensors", {})
    if weights == 2 or beside == 1:
        write("model-00001-of-00002.safetensors", {})
    for name in ("pytorch_model.bin", "pytorch_model.bin.index.json")[: 2 * (beside == 2)]:
        write(name, {})
    if has:
        ids = [5, high if added_high else low]
        added = [{"id": k, "content": f"<t{k}>"} for k in ids[::step]]
        vocab = {f"t{k}": k for k in [3, low if added_high else high, 4][::step]}
        write("tokenizer.json", {"model": {"vocab": vocab}, "added_tokens": added})
    else:
        write("tokenizer.model", {})
        write("tokenizer_old.json", {})
    if adapter:
        write("adapter_config.json", {"r": 8})
    if adapter or beside == 4:
        write("adapter_model.bin" if beside == 3 else "adapter_model.safetensors", {})
    (folder / "checkpoint-40").mkdir()  # as a trainer leaves it
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"):
        write(f"checkpoint-40/{name}", {})


def probe_ready(namespace, a):
    said = []
    with tempfile.TemporaryDirectory() as place:
        for n in range(len(a["weights"])):
            folder = Path(place) / str(n)
            folder.mkdir()
            write_folder(folder, a, n)
            given = folder if n % 3 == 0 else str(folder)
            said.append(five(namespace["ready"](given), READY, "ready"))
    return {name: np.array(column) for name, column in zip(READY, zip(*said, strict=True),
                                                           strict=True)}  # fmt: skip


def fits(i, vocab=True, added=True, limit=lambda ids, rows: ids < rows):
    """The fourth answer. vocab, added: which ids are looked at."""
    has, added_high, _, _ = i["tokens"].T
    top = np.where(added_high == 1, i["high"] if added else i["low"],
                   i["high"] if vocab else i["low"])  # fmt: skip
    return (has == 1) & limit(top, i["rows"])


def judge_ready(i, o):
    has, templates = i["tokens"][:, 0], np.isin(i["template"], (1, 2, 3))
    right = (i["weights"] > 0, has == 1, templates, fits(i), i["adapter"] == 0)
    words = {
        "weights": lambda n: ("no weights", "model.safetensors",
                              "model.safetensors.index.json")[int(i["weights"][n])],
        "tokenizer": lambda n: "tokenizer.json" if has[n] else "no tokenizer.json",
        "chat template": lambda n: (
            "a tokenizer_config.json without a template", "chat_template.jinja alone",
            "a template in tokenizer_config.json", "chat_template.jinja and a "
            "tokenizer_config.json", "no file of a template")[int(i["template"][n])],
        "a row for every token": lambda n: f"{i['rows'][n]} rows and " + (
            f"{i['high'][n]} as the highest id, {'added' if i['tokens'][n][1] else 'in the vocab'}"
            if has[n] else "no tokenizer.json"),
        "no adapter": lambda n: "adapter_config.json" if i["adapter"][n] else
        "no adapter_config.json",
    }  # fmt: skip
    return judge_five(i, o, dict(zip(READY, right, strict=True)), READY_SLIPS,
                      lambda name, n: f"a folder with {words[name](n)}")  # fmt: skip


def column(name, *values):
    """A slip's values: one answer's column, value(i)."""
    return lambda i: [{name: value(i)} for value in values]


READY_SLIPS = (
    Slip("not_sharded", "Weights in several files have no `model.safetensors`, but "
         "`model.safetensors.index.json`.", column("weights", lambda i: i["weights"] == 1)),
    Slip("other_weights", "Other files were taken for the model's weights: those of an adapter, "
         "parts without their index, or a `.bin`. Look for the two names of the task.",
         column("weights", *(lambda i, n=n: (i["weights"] > 0) | (i["beside"] == n)
                             for n in (1, 2)))),
    Slip("always", "This answer is True for every folder: other files were taken for those of the "
         "task, or none was looked at. Some folders have an adapter's weights, parts without their "
         "index, a `.bin`, or a config without a template.",
         lambda i: [{name: np.ones(8, bool)} for name in (READY[0], READY[2], READY[3])]),
    Slip("both_files", "This answer is False for every folder: nothing was found (does the path "
         "begin with `folder`?), or both places were asked for, where one is enough: `or`.",
         lambda i: [{name: np.zeros(8, bool)} for name in (READY[0], READY[2])]),
    Slip("other_tokenizer", "True for every folder: a file of another name, or in a subfolder, was "
         "taken for the tokenizer, or none was looked at. What counts is `tokenizer.json` in the "
         "folder itself.", column("tokenizer", lambda i: np.ones(8, bool))),
    Slip("only_settings", "`tokenizer_config.json` holds settings. The tokenizer itself is "
         "`tokenizer.json`.", column("tokenizer", lambda i: np.isin(i["template"], (0, 2, 3)), (
             lambda i: np.isin(i["template"], (0, 2, 3)) & (i["tokens"][:, 0] == 1)))),
    Slip("old_template", "Older releases keep the template in `tokenizer_config.json`, under "
         "`chat_template`. Look there as well.",
         column("chat template", lambda i: i["template"] % 2 == 1)),
    Slip("new_template", "The template may lie in a file of its own, `chat_template.jinja`.",
         column("chat template", lambda i: i["template"] == 2)),
    Slip("config_alone", "`tokenizer_config.json` alone is no template: read it as json, and ask "
         "whether it has the key `chat_template`.",
         column("chat template", lambda i: i["template"] != 4,
                lambda i: np.isin(i["template"], (0, 2, 3)))),
    Slip("added_tokens", "The added tokens are forgotten. They have the highest ids, as a rule: "
         "just those that a resized embedding was resized for.",
         column("a row for every token", lambda i: fits(i, added=False))),
    Slip("only_added", "Look at the vocabulary and at the added tokens: either may have the "
         "highest id. In a vocabulary that is not the last one, nor the number of tokens.",
         column("a row for every token", lambda i: fits(i, vocab=False))),
    Slip("last_added", "Added tokens stand in any order: the last one need not have the highest "
         "id.", column("a row for every token", lambda i: np.where(
             i["tokens"][:, 3] == 1, fits(i, added=False), fits(i)))),
    Slip("off_by_one", "Rows are counted from 0: the highest id must be below `vocab_size`, not "
         "equal to it.",
         column("a row for every token", lambda i: fits(i, limit=lambda ids, n: ids <= n))),
    Slip("must_be_equal", "An embedding may have more rows than there are tokens. Only too few is "
         "wrong.", column("a row for every token",
                          lambda i: fits(i, limit=lambda ids, n: ids + 1 == n))),
    Slip("too_strict", "The highest id may be the last row, `vocab_size` - 1.",
         column("a row for every token", lambda i: fits(i, limit=lambda ids, n: ids + 1 < n))),
    Slip("counts_tokens", "The answer is True for every tokenizer. Compare the highest id with "
         "`vocab_size`, not the number of tokens: ids may have gaps.",
         column("a row for every token", lambda i: i["tokens"][:, 0] == 1)),
    Slip("no_tokenizer", "Without `tokenizer.json` the fourth answer is False: nobody knows the "
         "ids.", column("a row for every token", lambda i: fits(i) | (i["tokens"][:, 0] == 0))),
    Slip("adapter_file", "What counts is `adapter_config.json` in the folder itself: neither an "
         "adapter's weights, which nobody loads without it, nor what lies in a subfolder.",
         column("no adapter", lambda i: np.zeros(8, bool), lambda i: i["beside"] != 4,
                lambda i: (i["adapter"] == 0) & (i["beside"] != 4),
                lambda i: ~((i["adapter"] == 1) & (i["beside"] != 3) | (i["beside"] == 4)))),
    Slip("adapter_reversed", "The fifth answer is True when there is **no** adapter.",
         column("no adapter", lambda i: i["adapter"] == 1)),
    Slip("adapter_ignored", "The fifth answer is always True. `adapter_config.json` beside merged "
         "weights makes transformers apply the adapter twice.",
         column("no adapter", lambda i: np.ones(8, bool))),
)  # fmt: skip

ready = Check(
    name="ready", title="Catch what is missing", wants=("ready",),
    difficulty=3, minutes=15, points=25,
    verified="eight drawn folders: sharded weights, both places of the template, added tokens, "
    "rows to spare, an adapter left behind",
    hints=(
        "Four of the five ask only whether something is there. Which one needs numbers?",
        "`(Path(folder) / name).exists()` and `json.loads(path.read_text())`. For the fourth, "
        "gather all ids, of the vocabulary and of the added tokens. The largest must be a row.",
        '`ids = list(spec["model"]["vocab"].values()) + [t["id"] for t in spec["added_tokens"]]`, '
        'and `max(ids) < config["vocab_size"]`, when `tokenizer.json` is there.',
    ),
    slips=(*READY_SLIPS, *FIVE),
    other="Take the five answers one by one, each with a file or a number of its own.",
    make=make_ready, probe=probe_ready, judge=judge_ready,
)  # fmt: skip


# 12.3 TIES by hand
def make_ties(seed):
    rng = np.random.default_rng(seed + 1400)
    f, n = fixtures.normal(rng), int(rng.integers(3, 5))
    size = [(12, 15), (18, 10), (9, 20)][int(rng.integers(3))]  # 180 entries
    sizes = rng.permutation([0.5, 1.0, 1.5, 2.0])[:n, None, None]
    weights = rng.permutation([0.5, 1.5, 0.8, 1.2])[:n].astype(np.float32)
    made = {"updates": f(n, *size) * sizes.astype(np.float32), "weights": weights}
    place = int(rng.integers(size[0])), int(rng.integers(size[1]))
    made["updates"][(slice(3), *place)] = rng.permutation([7, -5, -4])  # two outweigh the largest
    made["updates"][(slice(3, None), *place)] = -1
    return made | {"density": rng.choice([0.4, 0.55, 0.6])}


def probe_ties(namespace, a):
    updates, weights = tensor(a["updates"]), tensor(a["weights"])
    before = callers.Before(updates, weights)
    out = namespace["ties"](updates, a["density"].item(), weights)
    return {"out": array(out, "what ties returns"), "left": before.change()}


def keep(values, share, largest=True):
    """`values` with a share of its entries, those of largest or smallest size, the rest 0."""
    order = np.argsort(np.abs(values).ravel() * (-1 if largest else 1), kind="stable")
    kept = np.zeros(values.size)
    kept[order[: round(share * values.size)]] = 1
    return values * kept.reshape(values.shape)


def trimmed(i, largest=True):
    return np.stack([keep(part, float(i["density"]), largest) for part in updates(i)])


def updates(i):
    return i["updates"].astype(np.float64)


def combine(i, t=None, elect=None, weighted=True, divide="agrees", agree=np.equal):
    """TIES with one step made in another way; t: trimmed updates, elect: where the sign is from."""
    t = trimmed(i) if t is None else t
    w = i["weights"].astype(np.float64)[:, None, None] if weighted else np.ones((len(t), 1, 1))
    sign = np.sign((t if elect is None else elect).sum(0))
    takes = agree(np.sign(t), sign) & (t != 0)
    count = {
        "agrees": takes.sum(0),
        "all": np.full(t[0].shape, len(t)),
        "one": np.ones(t[0].shape),
        "weights": (takes * w).sum(0),
        "zeros": (takes | (t == 0)).sum(0),
        "stayed": (t != 0).sum(0),
    }[divide]
    return (t * w * takes).sum(0) / np.maximum(count, 1e-9)


def judge_ties(i, o):
    what = f"with density {float(i['density']):g} and {len(i['updates'])} updates, the result"
    promises = [
        Promise("out", combine(i), what, rtol=1e-3, atol=1e-4),
        callers.unchanged("left", "the updates or the weights"),
    ]
    return judged(i, o, promises, TIES)


def outs(*values):
    return lambda i: [{"out": value(i)} for value in values]


def without_election(i):
    t, w = trimmed(i), i["weights"].astype(np.float64)[:, None, None]
    total = (t * w).sum(0)
    return [{"out": total / count} for count in (np.maximum((t != 0).sum(0), 1), len(t), 1)]


def other_counts(i):
    """Numbers of entries that may stay by mistake."""
    size, share = i["updates"].shape, float(i["density"])
    right = round(share * size[1] * size[2])
    return [right - 1, right + 1, *(round(share * n) for n in size)]


def agreed(i):
    """(sum, number) of those that agree, entry by entry, and their parts without weights."""
    t = trimmed(i)
    parts = t * (np.sign(t) == np.sign(t.sum(0)))
    return combine(i, divide="one"), (parts != 0).sum(0), parts


def other_divisor(i, v):
    """Whether the sum is right, and what it is divided by depends on nothing but the number."""
    total, count, _ = agreed(i)
    taken = np.abs(total) > 0.05
    if v.shape != total.shape or not np.isfinite(v).all() or (v[taken] == 0).any():
        return False
    by = total[taken] / v[taken]
    return all(np.ptp(by[count[taken] == n]) < 1e-2 * np.abs(by).max() for n in set(count[taken]))


def other_weights(i, v):
    """Whether these are averages, and each update came in with a factor that is not its weight."""
    total, count, parts = agreed(i)
    if v.shape != total.shape or not np.isfinite(v).all():
        return False
    columns, right = parts.reshape(len(parts), -1).T, (v * count).ravel()
    w = np.linalg.lstsq(columns, right, rcond=None)[0]
    ratio = w / i["weights"]
    return np.ptp(ratio) > 0.02 and np.allclose(columns @ w, right, 1e-3, 1e-3)


def if_none_of(slips, rule):
    """A slip's values: rule(i, v) holds for the output, and none of these slips explains it."""

    def values(i):
        def fits(v):
            return rule(i, v) and not any(
                option["out"](v) if callable(option["out"]) else close(v, option["out"], 1e-3, 1e-3)
                for slip in slips
                for option in np.atleast_1d(slip.values(i))
            )

        return {"out": fits}

    return values


def nan_where_nobody(i):
    right = combine(i)

    def fits(value):
        if value.shape != right.shape or not np.isnan(value).any():
            return False
        return bool((right[np.isnan(value)] == 0).all()
                    and close(np.nan_to_num(value), right, 1e-3, 1e-4))  # fmt: skip

    return {"out": fits}


TIES = (
    Slip("no_trim", "Nothing was trimmed: density makes no difference.",
         outs(lambda i: combine(i, updates(i)))),
    Slip("trims_the_large", "The smallest entries stay. Keep those of largest absolute value.",
         outs(lambda i: combine(i, trimmed(i, largest=False)))),
    Slip("trims_the_share", "The share `density` was dropped. It is the share that stays.",
         outs(lambda i: combine(i, updates(i) - trimmed(i)),
              lambda i: combine(i, np.stack([keep(u, 1 - i["density"]) for u in updates(i)])))),
    Slip("trims_together", "All updates were trimmed together. Trim each by itself: an update with "
         "small numbers keeps as many entries as the others.",
         outs(lambda i: combine(i, keep(updates(i), float(i["density"]))))),
    Slip("signed", "The entries were ordered by their value, so that negative ones fell out. Order "
         "them by their absolute value.", outs(lambda i: combine(i, np.stack(
             [u * (keep(u - u.min() + 1, float(i["density"])) != 0) for u in updates(i)])))),
    Slip("other_count", "Another number of entries stays. Of each update it is `density` times all "
         "its entries, the smallest of them included (`>=`, not `>`).", lambda i: [
             {"out": combine(i, np.stack([keep(u, n / u.size) for u in updates(i)]))}
             for n in other_counts(i)]),
    Slip("by_rows", "Each row was trimmed by itself. The share is one of all entries of an update.",
         outs(lambda i: combine(i, np.stack([[keep(row, float(i["density"])) for row in u]
                                             for u in updates(i)])))),
    Slip("rescaled", "The result was divided by `density`. That belongs to DARE, where entries "
         "fall out by chance.", outs(lambda i: combine(i) / i["density"])),
    Slip("elects_largest", "The sign of the largest entry was elected. The sign of the sum counts: "
         "several small entries can outweigh a large one.",
         outs(lambda i: combine(i, elect=np.where(
             np.abs(trimmed(i)) == np.abs(trimmed(i)).max(0), trimmed(i), 0)))),
    Slip("divides_by_stayed", "It was divided by the number of entries that stay, those of the "
         "other sign too. Divide by the number of those that agree.",
         outs(lambda i: combine(i, divide="stayed"))),
    Slip("counts_heads", "The sign was elected by counting signs. What counts is the mass: the sign"
         " of the sum.", outs(lambda i: combine(i, elect=np.sign(trimmed(i))))),
    Slip("elects_before", "The sign was elected before trimming. Elect with the trimmed updates.",
         outs(lambda i: combine(i, elect=updates(i)))),
    Slip("weights_first", "The weights took part in the election. They belong to the merge.",
         outs(lambda i: combine(i, elect=trimmed(i) * i["weights"][:, None, None]))),
    Slip("weights_lost", "The weights make no difference. Multiply each update with its own.",
         outs(lambda i: combine(i, weighted=False))),
    Slip("divides_by_all", "It was divided by the number of updates. Divide by the number of those "
         "that agree, entry by entry.", outs(lambda i: combine(i, divide="all"))),
    Slip("not_divided", "The agreeing entries were added. Average them.",
         outs(lambda i: combine(i, divide="one"))),
    Slip("divides_by_weights", "It was divided by the sum of the weights. Divide by the number of "
         "those that agree.", outs(lambda i: combine(i, divide="weights"))),
    Slip("weights_shared_out", "The weights were divided by their sum. Take them as they are.",
         outs(lambda i: combine(i) / i["weights"].astype(np.float64).sum())),
    Slip("counts_zeros", "Trimmed entries were counted in the average. A zero agrees with nobody.",
         outs(lambda i: combine(i, divide="zeros"))),
    Slip("disagrees", "Those whose sign is another than the elected one were averaged.",
         outs(lambda i: combine(i, agree=np.not_equal))),
    Slip("signs", "The sizes are right, the signs are not: an entry has the elected sign.",
         outs(lambda i: -combine(i), lambda i: np.abs(combine(i)))),
    Slip("no_election", "There was no election: entries of both signs are in the result.",
         without_election),
    Slip("merges_all", "The entries that were trimmed away are in the average. Merge the trimmed "
         "updates.", outs(lambda i: combine(i, updates(i), elect=trimmed(i)))),
    Slip("nan", "Some entries are nan: where nobody agrees, 0 was divided by 0. The result there "
         "is 0.", nan_where_nobody),
)  # fmt: skip
TIES = (
    *TIES,
    Slip("changed", "The result is right, but `x[...] =`, `*=` or a name that ends in `_` wrote "
         "into what was given; a view of a tensor is that tensor. Make a new one.",
         lambda i: {"left": lambda v: v > 0}),
    Slip("other_divisor", "The sum of those that agree is right, what it is divided by is not: "
         "their number, entry by entry.", if_none_of(TIES, other_divisor)),
    Slip("other_weights", "Each update was multiplied with something else than its own weight.",
         if_none_of(TIES, other_weights)),
)  # fmt: skip

ties = Check(
    name="ties", title="TIES by hand", wants=("ties",),
    difficulty=4, minutes=20, points=25,
    verified="updates of unlike size, a drawn density, weights that differ; what was given is "
    "untouched",
    hints=(
        "Do the three steps one after another, and print each for two updates of four numbers.",
        "Trim each update by itself: `topk` of its absolute values gives the smallest that stays. "
        "The sign comes from the sum of the trimmed updates, without weights. Count, entry by "
        "entry, who agrees; a zero agrees with nobody.",
        "`agrees = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)`, then "
        "`(trimmed * weights.view(-1, 1, 1) * agrees).sum(0) / agrees.sum(0).clamp(min=1)`.",
    ),
    slips=TIES, other="Check the steps one by one: how many entries stay in each update? Which "
    "sign wins? Who is averaged?",
    make=make_ties, probe=probe_ties, judge=judge_ties,
)  # fmt: skip


# 12.4 One batch, several adapters
ADAPTERS = 3
PARTS = ("x", "W", "A", "B", "scaling", "which")


def make_mixed(seed):
    rng = np.random.default_rng(seed + 1500)
    f, (T, d_in, d_out) = fixtures.normal(rng), rng.permutation([4, 5, 6, 9, 10, 11])[:3]
    which = np.array([0, 0, 1, 2, -1, -1, *rng.integers(-1, 3, rng.integers(1, 3))])
    which = rng.permutation(which)
    which = np.roll(which, -int(np.argmax(which >= 0)))
    last = int(np.flatnonzero(which >= 0)[-1])
    which[[last, -1]] = which[[-1, last]]  # the first row and the last one have an adapter
    made = {"which": which, "x": f(len(which), T, d_in), "W": f(d_out, d_in)}
    made |= {"A": f(ADAPTERS, 2, d_in), "B": f(ADAPTERS, d_out, 2)}
    return made | {"scaling": rng.permutation([0.5, 1.5, 2.5]).astype(np.float32)}


def probe_mixed(namespace, a):
    parts = [tensor(a[key]) for key in PARTS]
    before = callers.Before(*parts)
    out = array(namespace["mixed_forward"](*parts), "the output")
    return {"out": out, "left": before.change()}


def served(i, which=None, base=1.0, scale=None):
    """The output when row k gets adapter which[k] with scale[k]; -1 is none."""
    x, W, A, B = (i[key].astype(np.float64) for key in ("x", "W", "A", "B"))
    which = i["which"] if which is None else which
    scale = i["scaling"][which] if scale is None else scale
    out = base * x @ W.T
    for k, n in enumerate(which):
        if n >= 0:
            out[k] += scale[k] * x[k] @ A[n].T @ B[n].T
    return out


def judge_mixed(i, o):
    right, which = served(i), i["which"].tolist()

    def seen(value):
        if value.shape != right.shape:
            return differ(value, right, "the output")[0]
        rows = [k for k in range(len(right)) if not close(value[k], right[k], 1e-3, 1e-3)]
        return f"for which = {which}, the rows {rows} are wrong"

    promises = [
        Promise("out", right, seen=seen, rtol=1e-3, atol=1e-3, expected=
                f"{shape(right)}, each row with its own adapter"),
        callers.unchanged("left", "what the function was given"),
    ]  # fmt: skip
    return judged(i, o, promises, SERVED)


def wrong_rows(i, v):
    """The adapters of rows that are wrong."""
    right = served(i)
    return {int(n) for n, a, b in zip(i["which"], v, right, strict=True)
            if not close(a, b, 1e-3, 1e-3)} if v.shape == right.shape else set()  # fmt: skip


def all_rows(i, v, factors=None):
    """Whether each row is x @ W.T and its update times a factor, one of these."""
    plain, right = served(i, np.full(len(i["which"]), -1)), served(i)
    if v.shape != right.shape or not np.isfinite(v).all():
        return False
    update = right - plain
    times = ((v - plain) * update).sum((1, 2)) / np.maximum((update**2).sum((1, 2)), 1e-12)
    fits = close(v, plain + times[:, None, None] * update, 1e-3, 1e-3)
    near = factors is None or all(np.abs(t - np.array(factors)).min() < 1e-3 for t in times)
    return fits and near


def summed(i, least):
    """The rows whose number is at least this, with the sum of all updates."""
    plain = served(i, np.full(len(i["which"]), -1))
    each = [served(i, np.where(i["which"] >= least, n, -1)) - plain for n in range(ADAPTERS)]
    return plain + sum(each)


def added_up(i):
    """The output when each row's update is added to W for good."""
    W, out = i["W"].astype(np.float64), []
    for x, n in zip(i["x"].astype(np.float64), i["which"], strict=True):
        W = W + (i["scaling"][n] * i["B"][n] @ i["A"][n] if n >= 0 else 0)
        out.append(x @ W.T)
    return np.stack(out)


def row_numbers(i):
    return np.arange(len(i["which"])) % ADAPTERS


SERVED = (
    Slip("minus_one", "Rows of the base got an adapter: an index of −1 picks the last one. Set "
         "their update to 0.", outs(lambda i: served(i, i["which"] % ADAPTERS))),
    Slip("clamped", "Rows of the base got the first adapter: −1 was made 0, as `clamp` does. Set "
         "their update to 0.", outs(lambda i: served(i, i["which"].clip(0)))),
    Slip("base_only", "No row has an update. Did its result get lost?",
         outs(lambda i: served(i, np.full(len(i["which"]), -1)))),
    Slip("update_only", "x @ W.T is missing.", outs(lambda i: served(i, base=0.0))),
    Slip("base_twice", "x @ W.T is in the output twice.", outs(lambda i: served(i, base=2.0))),
    Slip("mask_turned", "The mask is the wrong way round: rows of the base got an update, and "
         "those with an adapter none.", outs(*(lambda i, n=n: served(i, np.where(
             i["which"] < 0, n, -1)) for n in range(ADAPTERS)))),
    Slip("no_base", "Rows of the bare base are 0. They get x @ W.T.",
         outs(lambda i: served(i) * (i["which"] >= 0)[:, None, None])),
    Slip("overwritten", "Rows with an adapter are the update alone, without x @ W.T. Add the one "
         "to the other.", outs(lambda i: served(i) - served(i, np.full(len(i["which"]), -1)) * (
             i["which"] >= 0)[:, None, None])),
    Slip("no_scale", "The updates are not scaled.",
         outs(lambda i: served(i, scale=np.ones(len(i["which"]))))),
    Slip("one_scale", "Every adapter has a scale of its own: `scaling[which]`.",
         lambda i: [{"out": served(i, scale=scale)} for scale in (
             *(np.full(len(i["which"]), s) for s in i["scaling"]),
             np.resize(i["scaling"], len(i["which"])),
             *(i["scaling"][(i["which"] + k) % ADAPTERS] for k in (1, 2)))]),
    Slip("divided", "The update is multiplied by the scale, not divided by it.",
         outs(lambda i: served(i, scale=1 / i["scaling"][i["which"]]))),
    Slip("one_for_all", "All rows got the same adapter. Each has its own number in `which`.",
         outs(*(lambda i, n=n: served(i, np.full(len(i["which"]), n)) for n in range(ADAPTERS)),
              *(lambda i, n=n: served(i, np.where(i["which"] < 0, -1, n))
                for n in range(ADAPTERS)),
              *(lambda i, n=n: served(i, np.where(i["which"] < 0, -1, n),
                                      scale=i["scaling"][i["which"]]) for n in range(ADAPTERS)))),
    Slip("numbers_sorted", "The numbers in `which` were sorted and the rows were not: each row got "
         "the adapter of another one.", outs(lambda i: served(i, np.sort(i["which"])))),
    Slip("zero_lost", "Rows of adapter 0 got no update. Only −1 means none: `which >= 0`.",
         outs(lambda i: served(i, np.where(i["which"] > 0, i["which"], -1)))),
    Slip("rows_lost", "The rows of the bare base are missing. They get x @ W.T, in their place.",
         outs(lambda i: served(i)[i["which"] >= 0])),
    Slip("first_row", "Only the first row of each adapter got its update.",
         outs(lambda i: served(i, np.where(np.isin(np.arange(len(i["which"])), np.unique(
             i["which"], return_index=True)[1]), i["which"], -1)))),
    Slip("scaled_twice", "The updates are scaled twice.",
         outs(lambda i: served(i, scale=i["scaling"][i["which"]] ** 2))),
    Slip("base_scaled", "The scale also went into x @ W.T. It belongs to the update alone.",
         outs(*(lambda i, none=none: served(i, scale=np.ones(len(i["which"]))) * np.where(
             i["which"] < 0, none, i["scaling"][i["which"]])[:, None, None] for none in (0, 1)))),
    Slip("over_r", "`scaling` is alpha / r already. Do not divide by r again.",
         outs(lambda i: served(i, scale=i["scaling"][i["which"]] / i["A"].shape[1]))),
    Slip("in_place", "An update was added to W itself, and the rows after it got it too. Make a "
         "new matrix, or add to the output.",
         lambda i: {"left": np.any, "out": added_up(i)}),
    Slip("all_summed", "Rows got the sum of all adapters. Each has one of its own.",
         outs(lambda i: summed(i, -1), lambda i: summed(i, 0))),
    Slip("out_of_order", "The rows are right, but sorted by adapter. Put each back in its place.",
         outs(*(lambda i, n=n: served(i)[np.argsort(i["which"] % n, kind="stable")]
                for n in (99, ADAPTERS + 1)),
              lambda i: served(i)[np.argsort(i["which"], kind="stable")])),
    Slip("row_number", "Rows got their adapters by their own number. It is in `which`.",
         outs(lambda i: served(i, row_numbers(i)),
              lambda i: served(i, np.where(i["which"] < 0, -1, row_numbers(i))))),
    Slip("subtracted", "The updates are taken off instead of added.",
         outs(lambda i: served(i, scale=-i["scaling"][i["which"]]))),
)  # fmt: skip
KNOWN = tuple(slip for slip in SERVED if slip.name != "in_place")
SERVED = (
    *SERVED,
    Slip("changed", "The output is right, but `x[...] =`, `+=` or a name that ends in `_` wrote "
         "into what was given. Make a new tensor.", lambda i: {"left": lambda v: v > 0}),
    Slip("base_rows", "Rows with an adapter are right, those of the bare base (-1) are not: they "
         "get x @ W.T alone.", if_none_of(KNOWN, lambda i, v: wrong_rows(i, v) == {-1})),
    Slip("no_update", "Some rows got no update: they are x @ W.T.", if_none_of(
        KNOWN, lambda i, v: wrong_rows(i, v) and all_rows(i, v, (0, 1)))),
    Slip("other_scale", "The updates are right up to a factor: it is `scaling[which]`, nothing "
         "else.", if_none_of(KNOWN, lambda i, v: all_rows(i, v) and not all_rows(i, v, (0, 1)))),
)  # fmt: skip

mixed_forward = Check(
    name="mixed_forward", title="One batch, several adapters", wants=("mixed_forward",),
    difficulty=3, minutes=12, points=20,
    verified="a drawn batch: three adapters with scales of their own, rows of the bare base",
    hints=(
        "What is the same for all rows, and what is each row's own?",
        "`lora_A[which]` picks a matrix for each row: (rows, r, in). Products of stacks go row by "
        "row. But what does an index of −1 pick?",
        "`x @ W.T + strength.view(-1, 1, 1) * (x @ lora_A[which].mT @ lora_B[which].mT)` with "
        "`strength = scaling[which] * (which >= 0)`.",
    ),
    slips=SERVED, other="Compute one row by itself, with the adapter that `which` names, and "
    "compare.",
    make=make_mixed, probe=probe_mixed, judge=judge_mixed,
)  # fmt: skip


# 12.5 The card's checks
CARD = ("base", "licence", "test result", "limits", "nothing left open")
SPLITS = ((), ("test",), ("train",), ("train", "test"), ("test", "train"), ("test_easy",))
SECTIONS = (  # what stands in the card about its limits
    "a subtitle `### Limits` alone", "a section", "an empty section", "a section at the end",
    "a section with a subtitle", "a section at the start", "an empty section at the end",
    "another section, `## Limits of memory`",
)  # fmt: skip
WRITTEN = (0, 1, 0, 1, 1, 1, 0, 0)  # whether it has text


def make_card(seed):
    return spread(
        np.random.default_rng(seed + 1600),
        base=[0, 0, 0, 1, 1, 1, 2, 2],  # 2: a list of two
        license=[0, 0, 1, 1, 2, 2, 3, 3],  # 1: named, 2: other with a name, 3: other alone
        results=[0, 0, 1, 1, 2, 5, 3, 4],  # as in SPLITS
        limits=range(8),  # as in SECTIONS
        open=[0, 0, 0, 0, 1, 1, 2, 2],  # 1: in the text, 2: in the metadata
    )


def card_text(a, n):
    """README.md of card n."""
    base, license_, results, limits, open_ = (
        int(a[key][n]) for key in ("base", "license", "results", "limits", "open")
    )
    lines = [[], ["base_model: lab/base"], ["base_model:", "- lab/base", "- lab/other"]][base]
    other = ["license: other", "license_name: town"]
    lines = lines + [[], ["license: mit"], other, other[:1]][license_] + ["language: en"]
    if open_ == 2:
        lines += ['pipeline_tag: "[More Information Needed]"']
    if SPLITS[results]:
        lines += ["model-index:", "- name: forms", "  results:"]
    for split in SPLITS[results]:
        lines += ["  - task: {type: text-generation}"]
        lines += [f"    dataset: {{type: generated, name: forms {split}, split: {split}}}"]
        lines += ["    metrics: [{type: exact_match, value: 0.97}]"]
    said = "[More Information Needed]" if open_ == 1 else "Forms of a court."
    body = ["# forms", "", "base_model, license and results (split: test) are named above.", ""]
    body += ["More Information: ask the court. Needed: form B. Is more information needed, write "
             "to us.", ""]  # fmt: skip
    body += ["## Intended use", "", said, ""]
    title, text = ["## Limits", ""], ["Not for real cases.", ""]
    section = [
        ["### Limits", "", *text], title[:1] + text, [*title, "", ""], [*title, "", *text],
        [*title, "", "### Law", "", *text], title + text, title, ["## Limits of memory", "", *text],
    ][limits]  # fmt: skip
    training = ["## Training", "", "40 steps on the test rows' neighbours.", ""]
    order = section + training
    if limits in (3, 6):
        order = training + section
    whole = section + body + training if limits == 5 else body + order
    return "\n".join(["---", *lines, "---", *whole])


def probe_card(namespace, a):
    said = [five(namespace["card_checks"](card_text(a, n)), CARD, "card_checks")
            for n in range(len(a["base"]))]  # fmt: skip
    return {name: np.array(column) for name, column in zip(CARD, zip(*said, strict=True),
                                                           strict=True)}  # fmt: skip


def tested(i, rule):
    """The third answer: rule(splits of the card)."""
    return np.array([bool(rule(SPLITS[k])) for k in i["results"]])


def sections(i, *kinds):
    return np.isin(i["limits"], kinds)


def judge_card(i, o):
    right = (
        i["base"] > 0,
        np.isin(i["license"], (1, 2)),
        tested(i, lambda splits: "test" in splits),
        np.array(WRITTEN)[i["limits"]] == 1,
        i["open"] == 0,
    )
    words = {
        "base": lambda n: ("no base_model", "one base_model", "a list of two as base_model")[
            int(i["base"][n])],
        "licence": lambda n: ("no license", "license: mit", "license: other and a license_name",
                              "license: other alone")[int(i["license"][n])],
        "test result": lambda n: "no results" if not i["results"][n] else
        f"results on {', '.join(SPLITS[i['results'][n]])}",
        "limits": lambda n: SECTIONS[i["limits"][n]],
        "nothing left open": lambda n: ("nothing left open", "an open point in the text",
                                        "an open point in the metadata")[int(i["open"][n])],
    }  # fmt: skip
    return judge_five(i, o, dict(zip(CARD, right, strict=True)), CARD_SLIPS,
                      lambda name, n: f"a card with {words[name](n)}")  # fmt: skip


CARD_SLIPS = (
    Slip("reads_prose", "This answer is True for every card. Its word stands in the prose of each; "
         "what counts is the metadata, `ModelCard(text).data`.",
         lambda i: [{name: np.ones(8, bool)} for name in CARD[:3]]),
    Slip("one_base", "A merge of several models names a list of bases. That counts as well.",
         column("base", lambda i: i["base"] == 1)),
    Slip("other_license", "`license: other` alone says nothing. It needs a `license_name`.",
         column("licence", lambda i: i["license"] > 0)),
    Slip("never_other", "`license: other` with a `license_name` is a licence of its own name.",
         column("licence", lambda i: i["license"] == 1)),
    Slip("only_named", "A licence such as `mit` needs no `license_name`. Only `other` does.",
         column("licence", lambda i: i["license"] == 2)),
    Slip("any_result", "A result on the training rows counted as a test. Look at `dataset_split`.",
         column("test result", lambda i: i["results"] > 0)),
    Slip("split_prefix", "`test_easy` is another split. The name must be `test`.",
         column("test result", lambda i: tested(i, lambda s: any("test" in x for x in s)))),
    Slip("one_result", "A card may hold several results: look at all of them, in any order.",
         column("test result", lambda i: tested(i, lambda s: s[:1] == ("test",)),
                lambda i: tested(i, lambda s: s[-1:] == ("test",)),
                lambda i: tested(i, lambda s: s == ("test",)))),
    Slip("empty_section", "A title without text counted as a section. Look at what stands between "
         "the title and the next one.",
         column("limits", lambda i: sections(i, 1, 2, 3, 4, 5, 6),
                lambda i: sections(i, *range(8)), lambda i: sections(i, *range(6), 7))),
    Slip("blank_section", "A section without text counted: under its title there are blank lines, "
         "or the next section. Cut at the next `## `, and strip what is left.",
         column("limits", lambda i: sections(i, 1, 2, 3, 4, 5),
                lambda i: sections(i, 0, 1, 2, 3, 4, 5))),
    Slip("next_line", "The line under the title may be blank. Look at all lines up to the next "
         "title.", column("limits", lambda i: sections(i, 1), lambda i: sections(i, 1, 5))),
    Slip("other_title", "`## Limits of memory` is another section. The line is `## Limits` and "
         "nothing else.", column("limits", lambda i: sections(i, 1, 3, 4, 5, 7))),
    Slip("last_section", "The section may be the last one: nothing follows it, and it still has "
         "text.", column("limits", lambda i: sections(i, 1, 4, 5),
                         lambda i: sections(i, 0, 1, 4, 5))),
    Slip("any_place", "`## Limits` also stands in `### Limits` and in `## Limits of memory`. "
         "Compare whole lines.", column("limits", lambda i: sections(i, 0, 1, 3, 4, 5, 7))),
    Slip("hashes", "`### Limits` is a subtitle, although `## Limits` stands in it. The line must "
         "begin with `## `.", column("limits", lambda i: sections(i, 0, 1, 3, 4, 5))),
    Slip("subtitle", "A subtitle `###` does not end the section. It ends at a line that begins with"
         " `## `.", column("limits", lambda i: sections(i, 1, 3, 5))),
    Slip("first_line", "The section may be the first thing in the card, so nothing stands before "
         "its title.", column("limits", lambda i: sections(i, 1, 3, 4))),
    Slip("open_reversed", "The fifth answer is True when nothing is left open.",
         column("nothing left open", lambda i: i["open"] > 0)),
    Slip("open_ignored", "The template's `[More Information Needed]` was not noticed.",
         column("nothing left open", lambda i: np.ones(8, bool))),
    Slip("open_in_text", "An open point may stand in the metadata too. Look at the whole of `text`."
         , column("nothing left open", lambda i: i["open"] != 1)),
    Slip("open_in_data", "An open point may stand in the prose too. Look at the whole of `text`.",
         column("nothing left open", lambda i: i["open"] != 2)),
    Slip("not_the_words", "Other words were taken for the template's. What counts is "
         "`[More Information Needed]`, with its brackets.",
         column("nothing left open", lambda i: np.zeros(8, bool))),
)  # fmt: skip

card_checks = Check(
    name="card_checks", title="The card's checks", wants=("card_checks",),
    difficulty=3, minutes=15, points=15,
    verified="eight drawn cards: two bases, other licences, train and test results in any order, "
    "sections that are empty, first or last, open points of the template",
    hints=(
        "The hub reads the metadata, not the prose. Which of the five stand there?",
        "`about = ModelCard(text).data` has fields: `about.base_model`, `about.license`, "
        "`about.license_name`, `about.eval_results`, a list of objects with `dataset_split`, or "
        "None. For the section, cut the text at its title, then at the next one.",
        '`any(r.dataset_split == "test" for r in about.eval_results or [])`, and with a line break '
        'before the text, `partition("\\n## Limits\\n")[2].partition("\\n## ")[0].strip()`.',
    ),
    slips=(*CARD_SLIPS, *FIVE),
    other="Print `ModelCard(text).data.to_dict()` for a card, and go through the five.",
    make=make_card, probe=probe_card, judge=judge_card,
)  # fmt: skip

EXERCISES = (merge_weight, ready, ties, mixed_forward, card_checks)
