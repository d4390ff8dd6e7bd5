"""Checks of chapter 11: budget, settings, checkpointing, layers kept out, no repacking."""

import contextlib
import copy
import itertools
from functools import cache

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, array, tensor
from lora_course.checks.mould import Mould
from lora_course.checks.slips import Promise, Slip, all_of, judged, seen_as
from lora_course.checks.values import Refused, every, kind, none, text, words

# 11.1 The budget
PARTS = ("gradients", "optimizer", "weights", "logits")


def make_budget(seed):
    rng = np.random.default_rng(seed + 1100)
    sides = 128 * np.array(fixtures.sizes(rng, 8, 20, 60)).reshape(4, 2)  # whole groups of scales
    sides[0, 0] += 128 * (sides[:, 0].sum() == sides[:, 1].sum())  # A and B differ
    low_high = {"rest": (5e6, 2e7), "tokens": (300, 3000), "vocabulary": (20_000, 150_000)}
    made = {key: rng.integers(*map(int, limits)) for key, limits in low_high.items()}
    return {**made, "shapes": sides, "r": rng.choice([12, 20, 48])}


def probe_budget(namespace, a):
    shapes, made = [tuple(shape) for shape in a["shapes"].tolist()], {}
    numbers = [a[key].item() for key in ("rest", "r", "tokens", "vocabulary")]
    before = callers.Before(shapes)
    for n, prepared in enumerate((False, True)):
        got = namespace["step_bytes"](shapes, *numbers, prepared)
        names = ("weights", "gradients", "optimizer", "logits")
        parts = fixtures.several(got, names, "step_bytes")
        made |= {f"{name}_{n}": part for name, part in zip(names, parts, strict=True)}
    return {**made, "left": before.change()}


def counts(i):
    """Weights in 4 bits, their bytes, other weights, numbers in A, in B, in both, logits."""
    out, into = i["shapes"].T.astype(float)
    n, A, B = (out * into).sum(), i["r"] * into.sum(), i["r"] * out.sum()
    scales = n / 64
    logits = float(i["tokens"]) * float(i["vocabulary"])
    return n, n / 2 + scales + 4 * scales / 256, float(i["rest"]), A, B, A + B, logits


def budget(i):
    """{part: (bytes before the preparation, bytes after it)}."""
    _, packed, rest, _, _, p, logits = counts(i)
    return {
        "gradients": (4 * p, 4 * p),
        "optimizer": (8 * p, 8 * p),
        "weights": (packed + 2 * rest + 4 * p, packed + 4 * rest + 4 * p),
        "logits": (8 * logits, 8 * logits),
    }


def judge_budget(i, o):
    promises = [
        Promise(f"{part}_{n}", right, rtol=2e-7, expected=f"{right:,.0f} bytes", seen=lambda v,
                part=part, n=n: f"{part}: {amount(v)} {('before', 'after')[n]} the preparation")
        for part in PARTS for n, right in enumerate(budget(i)[part])
    ]  # fmt: skip
    return judged(i, o, [*promises, callers.unchanged("left", "shapes")], BUDGET)


def amount(value):
    return f"{float(value):,.0f} bytes" if value.shape == () and value.dtype.kind in "iuf" else (
        f"an array of shape {value.shape}")  # fmt: skip


def counted(part, *wrong):
    """A slip's bytes. wrong: functions of `counts`, each giving one number or (before, after)."""

    def values(i):
        made = [np.broadcast_to(f(*counts(i)), 2) for f in wrong]
        return [{f"{part}_{n}": value for n, value in enumerate(pair)} for pair in made]

    return values


def stored(bits):
    """Functions for `counted`: the 4-bit weights take other bytes. bits: (n, packed) -> bytes."""
    return lambda n, packed, rest, A, B, p, logits: (
        bits(n, packed) + 2 * rest + 4 * p, bits(n, packed) + 4 * rest + 4 * p)  # fmt: skip


def others(before, after, adapter=4):
    """A function for `counted`: bytes of each other weight and of each number of the adapter."""
    return lambda n, packed, rest, A, B, p, logits: (
        packed + before * rest + adapter * p, packed + after * rest + adapter * p)  # fmt: skip


def in_order(i):
    """The right bytes, each part in every other's place."""
    names, right = ("weights", "gradients", "optimizer", "logits"), budget(i)
    return [{f"{part}_{n}": right[other][n] for part, other in zip(names, order, strict=True)
             for n in range(2)}
            for order in itertools.permutations(names) if order != names]  # fmt: skip


def one_matrix(i):
    """The bytes of one of the matrices alone."""
    options = []
    for shape in (i["shapes"][:1], i["shapes"][-1:]):
        alone, right = budget({**i, "shapes": shape}), budget(i)
        adapter = right["gradients"][0] - alone["gradients"][0]
        options += [{"gradients_0": alone["gradients"][0]}]
        options += [{f"weights_{n}": alone["weights"][n] + more for n in range(2)}
                    for more in (0, adapter)]  # fmt: skip
    return options


BUDGET = (
    Slip("half_adapter", "Each matrix has two factors of different size: A is (r, in), B is "
         "(out, r). Count both.", counted("gradients", *(
             lambda n, q, rest, A, B, p, _, a=a, b=b: 4 * (a * A + b * B)
             for a, b in ((1, 0), (0, 1), (2, 0), (0, 2))))),
    Slip("one_matrix", "Only one of the matrices is counted. Add up over all `shapes`.",
         one_matrix),
    Slip("frozen_gradients", "Frozen weights have no gradient. Only the adapter has.",
         counted("gradients", *(lambda n, q, rest, A, B, p, _, b=b, k=k, m=m: b * (n + k * rest)
                                + 4 * p * m for b in (2, 4) for k in (0, 1) for m in (0, 1)),
                 lambda n, q, rest, A, B, p, _: 4 * (p + rest),
                 lambda n, q, rest, A, B, p, _: (4 * p + 2 * rest, 4 * p + 4 * rest),
                 lambda n, q, rest, A, B, p, _: 4 * p + 2 * rest)),
    Slip("full_size", "An adapter of rank r has r * (out + in) numbers for each matrix, not "
         "r * out * in.",
         lambda i: [{f"gradients_{k}": 4 * i["r"] * counts(i)[0] for k in (0, 1)}]),
    Slip("no_rank", "Every number of the adapter occurs r times: A is (r, in), B is (out, r).",
         lambda i: [{f"gradients_{k}": 4 * counts(i)[5] / i["r"] for k in (0, 1)}]),
    Slip("units", "The numbers are to be bytes: not bits, and not megabytes.",
         counted("gradients", *(lambda n, q, rest, A, B, p, _, c=c: 4 * p * c
                                for c in (8, 1e-6, 2.0**-20, 1e-9, 2.0**-30)))),
    Slip("exchanged", "The parts are in another order. It is: weights, gradients, optimizer, "
         "logits.", in_order),
    Slip("half_gradients", "The adapter is in float32, and so are its gradients: 4 bytes for each "
         "number.", counted("gradients", lambda n, q, rest, A, B, p, _: 2 * p)),
    Slip("one_state", "AdamW keeps two numbers for each trained one: m and v, 4 bytes each.",
         counted("optimizer", *(lambda n, q, rest, A, B, p, _, c=c: c * p for c in (2, 4, 16)))),
    Slip("frozen_state", "The optimizer sees the adapter alone. Frozen weights have no states.",
         counted("optimizer", *(lambda n, q, rest, A, B, p, _, k=k, m=m: 8 * (n + k * rest + m * p)
                                for k in (0, 1) for m in (0, 1)))),
    Slip("master", "That is 12 bytes a number. The adapter is in float32 already: there is no "
         "copy of it beside the two states.",
         counted("optimizer", lambda n, q, rest, A, B, p, _: 12 * p)),
    Slip("no_constants", "The 4-bit codes are right, their scales are missing: a byte for 64 "
         "weights, and 4 bytes for 256 of those.", counted("weights", stored(lambda n, q: n / 2))),
    Slip("no_second", "Double quantization keeps a float32 for every 256 scales as well.",
         counted("weights", stored(lambda n, q: n / 2 + n / 64))),
    Slip("each_256", "There is a float32 for every 256 scales: not for every 256 weights, nor for "
         "every 64 scales.", counted("weights", *(
             stored(lambda n, q, c=c: n / 2 + n / 64 + 4 * n / c) for c in (256, 64 * 64)))),
    Slip("large_scales", "With double quantization each block of 64 weights has a scale of one "
         "byte: it is quantized itself.", counted("weights", stored(lambda n, q: 2 * q - n / 2), *(
             stored(lambda n, q, c=c: q + c * n / 64) for c in (1, 3)))),
    Slip("unquantized", "These matrices are in 4 bits, before the preparation and after it.",
         counted("weights", stored(lambda n, q: 2 * n),
                 lambda n, q, rest, A, B, p, _: (q + 2 * rest + 4 * p, 4 * n + 4 * rest + 4 * p))),
    Slip("counted_twice", "Gradients and states are parts of their own. Among the weights the "
         "adapter counts once, 4 bytes a number.",
         counted("weights", *(others(2, 4, bytes_) for bytes_ in (8, 12, 16)))),
    Slip("second_byte", "The scale of 256 scales is a float32, which takes 4 bytes.",
         counted("weights", stored(lambda n, q: n / 2 + n / 64 + n / 64 / 256))),
    Slip("rounded", "4.127 bits is a rounded figure. Count the codes, the scales and their scales, "
         "each by itself.", counted("weights", stored(lambda n, q: 4.127 * n / 8),
                                    stored(lambda n, q: 4.13 * n / 8))),
    Slip("single", "These are scales in float32. With double quantization each takes one byte, and "
         "4 bytes more for every 256 of them.",
         counted("weights", stored(lambda n, q: n / 2 + n / 16))),
    Slip("tables", "This counts the small tables of each matrix. The task leaves them out.",
         counted("weights", stored(lambda n, q: q + 4 * 4 * (16 + 257)))),
    Slip("bits", "A weight in 4 bits takes half a byte.", counted("weights",
         stored(lambda n, q: 4 * n), stored(lambda n, q: q + n / 2), stored(lambda n, q: n))),
    Slip("rest_4bit", "Embedding, head and norms do not go into 4 bits: the rest takes 2 bytes "
         "each, or 4 after the preparation.", counted("weights", *(
             lambda n, q, rest, A, B, p, _, b=b: (n + rest) * (q / n if b else 0.5) + 4 * p
             for b in (0, 1)))),
    Slip("no_rest", "Embedding, head and norms are missing: the rest takes 2 bytes each, or 4 "
         "after the preparation.", counted("weights", others(0, 0))),
    Slip("prepared", "The preparation turns what is left in 16 bits into float32. So the rest "
         "takes 4 bytes a number when `prepared`, else 2.",
         counted("weights", *(others(*each) for each in ((2, 2), (4, 4), (4, 2), (1, 2))))),
    Slip("no_adapter", "The adapter's own weights are missing: they lie beside the frozen ones.",
         counted("weights", others(2, 4, 0))),
    Slip("half_weights", "The adapter is in float32, prepared or not: 4 bytes for each of its "
         "numbers.",
         counted("weights", others(2, 4, 2), lambda n, q, rest, A, B, p, _: (
             q + 2 * rest + 2 * p, q + 2 * rest + 4 * p))),
    Slip("logits_once", "The logits take 4 bytes each in float32, and their gradient as much "
         "again.", counted("logits", *(lambda n, q, rest, A, B, p, logits, c=c: c * logits
                                       for c in (1, 2, 4, 6, 12)))),
    Slip("logits_prepared", "The logits are in float32, whether the model is prepared or not.",
         counted("logits", lambda n, q, rest, A, B, p, logits: (4 * logits, 8 * logits))),
    Slip("no_logits", "The logits are missing: one number for every token and every word.",
         lambda i: [{f"logits_{n}": c * each for n in (0, 1)} for c in (0, 4, 8)
                    for each in (float(i["tokens"]), float(i["vocabulary"]))]),
)  # fmt: skip

step_bytes = Check(
    name="step_bytes", title="The budget", wants=("step_bytes",),
    difficulty=2, minutes=12, points=20,
    verified="weights, gradients, optimizer states and logits to the byte, prepared and not",
    hints=(
        "Two kinds of weights are frozen: those in 4 bits, and the rest. Which numbers have a "
        "gradient?",
        "Only the adapter has gradients and states: r * (out + in) numbers for each matrix, in "
        "float32. A quantized weight takes 4 bits, its share of a one-byte scale, and that "
        "scale's share of a float32.",
        "`n` weights in 4 bits take `n / 2 + n / 64 + 4 * n / 64 / 256` bytes, the rest 2 or 4 "
        "bytes each. The adapter takes 4 bytes a number as weight, 4 as gradient, 8 in AdamW.",
    ),
    slips=BUDGET, other="Work it out for one matrix of 2048 x 2048 first, part by part.",
    make=make_budget, probe=probe_budget, judge=judge_budget,
)  # fmt: skip


# 11.2 The settings
DTYPES = ("float32", "float16", "bfloat16")


def make_config(seed):
    asks = np.random.default_rng(seed + 1200).integers(2, size=7)
    asks[:2] = 1 - asks[1], asks[1]  # both occur
    return {"asks": asks}


def probe_config(namespace, a):
    import torch
    from transformers import BitsAndBytesConfig

    types, made = [getattr(torch, name) for name in DTYPES], []
    usual, other = BitsAndBytesConfig(load_in_4bit=True).to_dict(), ""
    for bf16 in a["asks"]:
        config = namespace["qlora_config"](bool(bf16))
        fixtures.expect(config, BitsAndBytesConfig, "qlora_config", "a BitsAndBytesConfig")
        compute = config.bnb_4bit_compute_dtype
        made.append([
            bool(config.load_in_8bit),
            bool(config.load_in_4bit),
            config.bnb_4bit_quant_type == "nf4",
            bool(config.bnb_4bit_use_double_quant),
            types.index(compute) if compute in types else -1,
        ])  # fmt: skip
        for key, value in config.to_dict().items():
            if key.lstrip("_") not in ASKED and value != usual.get(key):
                other = f"{key} = {value}"
    columns = np.array(made, dtype=int).T
    names = ("eight", "four", "nf4", "double", "compute")
    return dict(zip(names, columns, strict=True)) | {"other": text(other)}


ASKED = {
    "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
    "bnb_4bit_compute_dtype",
}  # fmt: skip


def computes(without, with_):
    """A slip's types of the products, for a GPU without bfloat16 and for one with it."""
    return lambda i: {
        "compute": np.where(i["asks"] == 1, DTYPES.index(with_), DTYPES.index(without))
    }


def judge_config(i, o):
    asks = i["asks"]

    def dtype(value):
        for k, ask in enumerate(asks):
            if value.shape != asks.shape or value[k] != 1 + ask:
                word = (
                    DTYPES[int(value[k])] if value.shape == asks.shape and 0 <= value[k] < 3 else ""
                )
                return f"qlora_config({bool(ask)}) computes in {word or 'another type'}"

    promises = [
        Promise("eight", np.zeros(len(asks)), seen="load_in_8bit is True", expected="4 bits"),
        Promise("four", np.ones(len(asks)), seen="load_in_4bit is False", expected="4 bits"),
        Promise("nf4", np.ones(len(asks)), seen="another bnb_4bit_quant_type", expected="'nf4'"),
        Promise("double", np.ones(len(asks)), seen="bnb_4bit_use_double_quant is False",
                expected="True"),
        Promise("compute", 1 + asks, seen=dtype,
                expected="bfloat16 where the GPU has it, else float16"),
        Promise("other", lambda v: v.shape == (0,), seen=words, expected="all else at its default"),
    ]  # fmt: skip
    return judged(i, o, promises, CONFIG)


CONFIG = (
    Slip("int8", "This is 8-bit quantization. QLoRA is `load_in_4bit=True`.", seen_as(eight=every)),
    Slip("no_4bit", "Nothing is quantized: set `load_in_4bit=True`.",
         seen_as(four=none, eight=none)),
    Slip("fp4", "QLoRA's code book is asked for as \"nf4\", in small letters. The default is FP4.",
         seen_as(nf4=none)),
    Slip("single", "The scales stay in float32 by default. Ask for double quantization by its full "
         "name: one that the class does not know is passed over in silence.",
         seen_as(double=none)),
    Slip("float32", "Products in float32 are the default, and slow on a GPU. "
         "`bnb_4bit_compute_dtype` is to be a 16-bit type.",
         lambda i: [computes("float32", "float32")(i), computes("float32", "bfloat16")(i),
                    computes("float16", "float32")(i)]),
    Slip("always_bf16", "A GPU without bfloat16 must compute in float16. Look at the argument.",
         computes("bfloat16", "bfloat16")),
    Slip("always_fp16", "Where there is bfloat16, take it: float16 overflows above 65,504. Look at "
         "the argument.", computes("float16", "float16")),
    Slip("by_argument", "`bf16` decides on the type of the products alone. All else is the same on "
         "every GPU.", lambda i: [{key: flags} for key in ("four", "nf4", "double")
                                  for flags in (i["asks"], 1 - i["asks"])]),
    Slip("swapped", "The two types are the wrong way round. `bf16` says that the GPU has bfloat16.",
         computes("bfloat16", "float16")),
    Slip("skip_list", "A list replaces the rule that keeps the head out, whatever the model calls "
         "it. Leave it unset.",
         seen_as(other=lambda v: words(v).startswith("llm_int8_skip_modules"))),
)  # fmt: skip

qlora_config = Check(
    name="qlora_config", title="The settings", wants=("qlora_config",),
    difficulty=1, minutes=6, points=10,
    verified="the three settings, with and without bfloat16, and all else at its default",
    hints=(
        "Print `BitsAndBytesConfig(load_in_4bit=True)` and look at each value that begins with "
        "`bnb_4bit`. Which would QLoRA's authors change?",
        "Three of them: the code book, the double quantization, and the type of the products, "
        "which depends on the argument.",
        '`load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
        "bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float16`.",
    ),
    slips=CONFIG, other="Compare your settings one by one with those of section 2.",
    make=make_config, probe=probe_config, judge=judge_config,
)  # fmt: skip


# 11.3 Keep the right layers out
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
FAMILIES = {  # prefix of a layer, its linear layers, other linear layers, the head; ends to draw
    "llama": ("model.layers", (*ATTENTION, "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
              "mlp.down_proj"), (), "lm_head",
              ("down_proj", "v_proj", "layers.1.mlp.up_proj", "self_attn.o_proj")),
    "biogpt": ("biogpt.layers", (*ATTENTION, "self_attn.out_proj", "fc1", "fc2"), (),
               "output_projection", ("fc2", "v_proj", "layers.1.fc1", "self_attn.out_proj")),
    "bert": ("bert.encoder.layer", ("attention.self.query", "attention.self.key",
             "attention.self.value", "attention.output.dense", "intermediate.dense",
             "output.dense"), ("cls.predictions.transform.dense",), "cls.predictions.decoder",
             ("intermediate.dense", "value", "layer.1.output.dense", "attention.output.dense")),
}  # fmt: skip


def linears(family):
    """Names of the linear layers, the head last."""
    prefix, inner, more, head, _ = FAMILIES[family]
    return [f"{prefix}.{n}.{name}" for n in range(2) for name in inner] + [*more, head]


def make_skip(seed):
    rng = np.random.default_rng(seed + 1400)
    while True:
        made = {f"more_{family}": rng.permutation(4)[:2] for family in FAMILIES}
        short = np.array([["." not in end for end in ends(made, family)] for family in FAMILIES])
        if not any((short == pair).all() for pair in ([1, 0], [0, 1])):  # else it is one of more
            return made


def ends(i, family):
    return [FAMILIES[family][-1][int(n)] for n in i[f"more_{family}"]]


@cache
def meta_model(family):
    """The mould of a small model of this family without values."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family, hidden_size=8, intermediate_size=16, num_hidden_layers=2, vocab_size=16,
        num_attention_heads=2, num_key_value_heads=2, is_decoder=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if family == "llama":  # the head need not be the last part
        rest = dict(model._modules)
        model._modules.clear()
        model._modules.update({"lm_head": rest.pop("lm_head"), **rest})
    return Mould(model)


def probe_skip(namespace, a):
    from unittest.mock import patch

    import torch
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    from lora_course.bits.fourbit import four_bit_config, four_bit_layers

    made, left, weights = {}, 0, 0
    for case in (*FAMILIES, "alone"):
        family, more = ("biogpt", []) if case == "alone" else (case, ends(a, case))
        model = meta_model(family).cast()
        before = callers.Before(more)
        if more:
            names = namespace["skip_list"](model, more)
        else:
            call = lambda: namespace["skip_list"](model, more)  # noqa: B023, E731
            names = fixtures.in_case("for more = []", call)
        said = "skip_list" if more else "skip_list(model, [])"
        fixtures.expect(names, (list, tuple, set), said, "a list of names")
        if strange := [name for name in names if type(name) is not str]:
            raise Refused("type", f"the list holds {kind(strange[0])}.", "names, each a text.")
        left = left or before.change()
        with patch("transformers.integrations.bitsandbytes.logger"):  # warns of what we judge
            replace_with_bnb_linear(model, list(names), four_bit_config(torch.float32))
        packed = four_bit_layers(model)
        made[case] = np.array([name in packed for name in linears(family)])
        weights += sum(name.endswith(".weight") for name in names)
    return {**made, "left": left, "weights": weights}


def packs(keeps):
    """{family: which linear layers are in 4 bits}. keeps: (name, head, ends) -> stays out."""
    return lambda i: {
        family: np.array([
            not keeps(name, FAMILIES[family][3], ends(i, family)) for name in linears(family)
        ])
        for family in FAMILIES
    }  # fmt: skip


def right_ones(name, head, ends):
    return name == head or name.endswith(tuple(ends))


def judge_skip(i, o):
    right = packs(right_ones)(i)

    right["alone"] = packs(lambda name, head, ends: name == head)(i)["biogpt"]

    def seen(value, case):
        family = "biogpt" if case == "alone" else case
        names, more = np.array(linears(family)), [] if case == "alone" else ends(i, case)
        if value.shape != names.shape:
            return ""
        said = []
        for what, there in (("in 4 bits", 1), ("kept out", 0)):
            wrong = names[(value == there) & (right[case] != there)]
            if len(wrong):
                said.append(
                    f"{what}: {wrong[-1]}" + f" and {len(wrong) - 1} more" * (len(wrong) > 1)
                )
        return f"for {more} in a {family}, wrongly {'; wrongly '.join(said)}"

    promises = [
        Promise(family, right[family], seen=lambda v, family=family: seen(v, family), expected=
                f"{FAMILIES[family][3]} and what ends in one of these kept out, all else in 4 bits")
        for family in FAMILIES
    ]  # fmt: skip
    promises.append(
        Promise("alone", right["alone"], seen=lambda v: seen(v, "alone"),
                expected=f"{FAMILIES['biogpt'][3]} kept out, all else in 4 bits")
    )  # fmt: skip
    return judged(i, o, [*promises, callers.unchanged("left", "more")], SKIP)


SKIP = (
    Slip("head_lost", "The list replaces the rule that protects the head. Put the head's name into "
         "it, that of `get_output_embeddings()`.",
         lambda i: {**packs(lambda name, head, ends: name.endswith(tuple(ends)))(i),
                    "weights": 0}),
    Slip("parameters", "The list names layers, such as `lm_head`, not their weights: no "
         "`.weight` at the end.",
         lambda i: {**packs(lambda name, head, ends: name.endswith(tuple(ends)))(i),
                    "weights": lambda v: v.size == 1 and v.item() > 0}),
    Slip("by_place", "The head is not the last part of every model. Ask "
         "`model.get_output_embeddings()`, and look its name up.",
         lambda i: [packs(lambda name, head, ends, at=at: name.endswith(tuple(ends)) or name == (
             at if head == "lm_head" else head))(i)
                    for at in ("model.layers.1.mlp.down_proj", "")]),
    Slip("by_size", "Another layer may have as many outputs as there are words. Ask "
         "`model.get_output_embeddings()`, and look its name up.",
         packs(lambda name, head, ends: name == head or name.endswith(
             ("gate_proj", "up_proj", "fc1", "intermediate.dense", *ends)))),
    Slip("head_by_name", "The head is not called lm_head in every model. Ask "
         "`model.get_output_embeddings()`, and look its name up.",
         packs(lambda name, head, ends: name.endswith(("lm_head", *ends)))),
    Slip("head_nested", "The head may lie deeper in the model. Look through `named_modules()`, not "
         "only at its children.",
         packs(lambda name, head, ends: name.endswith(tuple(ends)) or name == head and "." not in
               head)),
    Slip("forgot_more", "What ends in an entry of `more` stays out, too: put its entries into "
         "the list.",
         packs(lambda name, head, ends: name == head)),
    Slip("last_part", "An entry may have several parts, such as layers.1.fc1. Compare the end of "
         "the full name.",
         packs(lambda name, head, ends: name == head or name.split(".")[-1] in ends)),
    Slip("one_of_more", "Only one entry of `more` is in the list. All of them belong there.",
         lambda i: [packs(lambda name, head, ends, k=k: name == head or name.endswith(ends[k]))(i)
                    for k in (0, 1)]),
    Slip("parent", "The part around the head is named, which keeps its other layers out as well. "
         "Name the head itself.", packs(lambda name, head, ends: name.endswith(tuple(ends))
                                        or name.startswith(head.rpartition(".")[0] or head))),
    Slip("in_place", "`more` is still needed: `+=`, `append` and `insert` write into it. Build a "
         "new list.", seen_as(left=5)),
    Slip("empty", "Everything is in 4 bits, the head as well: a list that is given replaces the "
         "rule that protects it.", packs(lambda *a: False)),
    Slip("nothing", "No layer is left in 4 bits. The list names what stays **out**.",
         packs(lambda *a: True)),
    Slip("reverse", "This is the reverse: the list names the layers that stay **out** of 4 bits.",
         lambda i: [packs(lambda *a: not right_ones(*a))(i),
                    packs(lambda name, head, ends: name == head
                          or not right_ones(name, head, ends))(i)]),
)  # fmt: skip

skip_list = Check(
    name="skip_list", title="Keep the right layers out", wants=("skip_list",),
    difficulty=3, minutes=10, points=15,
    verified="a Llama, a BioGPT and a BERT: the head, the named layers, and nothing else stay out",
    hints=(
        "Section 3: what does transformers do with its own rule when it is given a list?",
        "The list needs the head and the names in `more`. The head is called otherwise in other "
        "models: ask the model for it.",
        "`head = model.get_output_embeddings()`, then `[n for n, m in model.named_modules() if m "
        "is head] + more`.",
    ),
    slips=SKIP, other="Return a list of names: that of the head, and those in `more`.",
    make=make_skip, probe=probe_skip, judge=judge_skip,
)  # fmt: skip


# 11.4 No repacking
TOP, DEEP, WRAPPED, SUBCLASS = KINDS = range(4)  # where a 4-bit layer lies, or which it is
PLACES = ("at the top", "inside another part", "inside a LoRA layer", "of the subclass LinearNF4")


def make_protect(seed):
    rng = np.random.default_rng(seed + 1500)
    often = rng.integers(4)  # a kind that is there three times: one was protected before
    layout = np.array([often, *rng.permutation([*KINDS, *KINDS[: rng.integers(3)]]), often])
    starts = np.ones(len(layout), dtype=int)
    starts[rng.choice(np.flatnonzero(layout == often)[1:-1])] = 0
    return {"layout": layout, "starts": starts, "W": fixtures.normal(rng)(64, 64)}


def probe_protect(namespace, a):
    import bitsandbytes as bnb
    import torch
    from torch import nn

    def four(kind, **settings):
        layer = kind(64, 64, bias=False, compute_dtype=torch.float32, **settings)
        layer.weight = bnb.nn.Params4bit(tensor(a["W"]), requires_grad=False, quant_type="nf4")
        return layer.to("cpu")

    class Wrapped(nn.Module):
        def __init__(self, base_layer):
            super().__init__()
            self.base_layer = base_layer
            self.lora_A = nn.ModuleDict({"default": nn.Linear(64, 2, bias=False)})

    usual, other = four(bnb.nn.Linear4bit, quant_type="nf4"), four(bnb.nn.LinearNF4)
    layers, parts = [], [nn.LayerNorm(64), nn.Linear(64, 64)]
    for place, start in zip(a["layout"], a["starts"], strict=True):
        layer = copy.deepcopy(other if place == SUBCLASS else usual)
        layer.support_avx512bf16_for_cpu = bool(start)
        layers.append(layer)
        wraps = {WRAPPED: Wrapped, DEEP: lambda inner: nn.ModuleList([nn.Sequential(inner)])}
        parts.append(wraps.get(place, lambda inner: inner)(layer))
    model, alone = nn.Sequential(*parts), copy.deepcopy(usual)
    alone.support_avx512bf16_for_cpu = True
    before = callers.Before(model)
    namespace["protect"](model)
    with contextlib.suppress(Exception):  # then it is as it was
        namespace["protect"](alone)
    known = [any(part is layer for layer in layers) for part in model.modules()]
    flagged = [hasattr(part, "support_avx512bf16_for_cpu") for part in model.modules()]
    return {
        "on": np.array([flag_of(layer) for layer in layers]),
        "alone": bool(alone.support_avx512bf16_for_cpu),
        "strays": sum(has and not mine for has, mine in zip(flagged, known, strict=True)),
        "left": before.change(),
    }


def flag_of(part):
    """1 for True, 0 for False, 2 for anything else."""
    flag = getattr(part, "support_avx512bf16_for_cpu", None)
    return int(flag) if isinstance(flag, (bool, int)) else 2


def judge_protect(i, o):
    layout = i["layout"]

    def seen(value):
        if value.shape != layout.shape:
            return ""
        if (value == 2).all():
            return f"the flags of {len(layout)} layers are neither True nor False"
        still = [PLACES[k] for k in KINDS if value[layout == k].any()]
        return f"{np.count_nonzero(value)} of {len(layout)} layers may still repack: those " \
               f"{', '.join(still)}"  # fmt: skip

    promises = [
        Promise("on", np.zeros(len(layout)), seen=seen, expected="none, each is False"),
        callers.unchanged("left", "the model, beside the flags"),
        Promise("strays", 0, seen="{} parts that are no Linear4bit have the flag now",
                expected="only those that had it"),
        Promise("alone", 0, seen="a model that is itself a Linear4bit may still repack",
                expected="it may not"),
    ]  # fmt: skip
    return judged(i, o, promises, PROTECT)


def leaves(*kinds):
    """A slip that leaves the flags of the layers of these kinds as they were."""
    return lambda i: {"on": i["starts"] * np.isin(i["layout"], kinds)}


PROTECT = (
    Slip("nothing", "Every flag is as it was. Was it set on something else, or under another name? "
         "Each Linear4bit has its own `support_avx512bf16_for_cpu`.",
         leaves(*KINDS)),
    Slip("first_only", "Only one layer was reached. Does the loop end at the first, by `break` or "
         "`return`, or is the flag set behind it?", lambda i: [
             {"on": np.where(np.arange(len(i["starts"])) == k, 0, i["starts"])}
             for k in (0, len(i["starts"]) - 1)]),
    Slip("no_bool", "The flag is the value False itself.", seen_as(on=lambda v: (v == 2).all())),
    Slip("top_only", "Not every depth is reached. `model.modules()` goes all the way down, "
         "`children()` does not.", lambda i: [leaves(DEEP, WRAPPED)(i), leaves(DEEP)(i)]),
    Slip("wrapped_left", "A layer that PEFT has wrapped is one of 4 bits all the same: it lies "
         "inside, as `base_layer`.", leaves(WRAPPED)),
    Slip("exact_type", "A LinearNF4 is left out. Ask with isinstance, not for the exact type.",
         leaves(SUBCLASS)),
    Slip("allowed", "True allows a layer to repack. The flag must become False.",
         lambda i: [{"on": np.ones(len(i["layout"]))}, {"on": 1 - i["starts"]}]),
    Slip("all_parts", "The flag was set in parts of other kinds as well. Ask with isinstance "
         "whether a part is a bnb.nn.Linear4bit.",
         seen_as(strays=lambda v: v.size == 1 and v.item() > 0)),
    Slip("root", "The model itself may be a Linear4bit. `model.modules()` begins with the model.",
         lambda i: {"on": np.zeros(len(i["layout"])), "alone": 1}),
    Slip("lora_only", "Layers without LoRA around them repack as well. Walk through "
         "`model.modules()`.", leaves(TOP, DEEP, SUBCLASS)),
)  # fmt: skip

protect = Check(
    name="protect", title="No repacking", wants=("protect",),
    difficulty=2, minutes=6, points=10,
    verified="four-bit layers at the top, inside other parts, inside LoRA layers, of a subclass; "
    "weights, flags and modes as before",
    hints=(
        "Which layers repack, and where in a model do they hide after PEFT has wrapped them?",
        "Walk through **all** modules, at every depth. `isinstance` also finds subclasses.",
        "`for m in model.modules(): if isinstance(m, bnb.nn.Linear4bit): "
        "m.support_avx512bf16_for_cpu = False`.",
    ),
    slips=PROTECT, other="Set `support_avx512bf16_for_cpu` of every Linear4bit, and nothing else.",
    make=make_protect, probe=probe_protect, judge=judge_protect,
)  # fmt: skip


# 11.5 Why the gradients vanish
def make_blocks(seed):
    rng = np.random.default_rng(seed + 1300)
    f, depth = fixtures.normal(rng), int(rng.integers(3, 6))
    b, t, d, r = fixtures.sizes(rng, 4, 2, 8)
    return {"x": f(b, t, d) / 2, "W": f(depth, d, d) / 2, "A": f(depth, r, d) / 2,
            "B": f(depth, d, r) / 2}  # fmt: skip


def probe_blocks(namespace, a):
    first = blocks_run(namespace["run_blocks"], a, tensor(a["x"]))
    again = blocks_run(namespace["run_blocks"], a, tensor(a["x"]).requires_grad_())
    return {**first, "with_x": again["has"]}


def blocks_run(run, a, x):
    """A forward and a backward pass of the learner's function."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.n, self.weight = n, nn.Parameter(tensor(a["W"][n]), requires_grad=False)
            self.lora_A, self.lora_B = (
                nn.Parameter(tensor(a["A"][n])),
                nn.Parameter(tensor(a["B"][n])),
            )

        def forward(self, x):
            calls.append(self.n)
            return torch.tanh(x @ self.weight.T + x @ self.lora_A.T @ self.lora_B.T)

    calls, depth = [], len(a["W"])
    blocks, norm = [Block(n) for n in range(depth)], nn.Parameter(torch.ones(x.shape[-1]))
    y = run(blocks, x)
    made = {"y": array(y, "the result"), "forward": np.array(calls, dtype=int)}
    factors = [(b.lora_A, b.lora_B) for b in blocks]
    if torch.is_tensor(y) and y.shape == x.shape:
        with torch.enable_grad():
            (norm * y).square().sum().backward()
    made["has"] = np.array([[p.grad is not None for p in pair] for pair in factors])
    for n, name in enumerate("AB"):
        grads = [torch.zeros_like(p[n]) if p[n].grad is None else p[n].grad for p in factors]
        made[f"grad_{name}"] = array(torch.stack(grads))
    made["calls"] = np.array(calls, dtype=int)
    made["frozen"] = np.array([not b.weight.requires_grad for b in blocks])
    return made


def judge_blocks(i, o):
    y, grad_A, grad_B = by_hand(i)
    depth = len(i["W"])
    order = np.arange(depth)
    promises = [
        Promise("y", y, "the output", rtol=1e-3, atol=1e-4),
        Promise("forward", order, seen=lambda v: f"blocks run in the forward pass: {order_of(v)}",
                expected=order_of(order)),
        Promise("has", np.ones((depth, 2)), expected=f"all {depth}", seen=lambda v: f"A and B have "
                f"gradients in {np.count_nonzero(np.atleast_2d(v).all(-1))} of {depth} blocks"),
        Promise("grad_A", grad_A, "the gradients of A, at [block, row, column]", rtol=1e-3,
                atol=1e-4),
        Promise("grad_B", grad_B, "the gradients of B, at [block, row, column]", rtol=1e-3,
                atol=1e-4),
        all_of("frozen", "frozen weights are still frozen", depth),
        Promise("calls", np.concatenate([order, order[::-1]]), expected="each once more in the "
                f"backward pass, the last one first: {order_of([*order, *order[::-1]])}",
                seen=lambda v: f"blocks run in the whole step: {order_of(v)}"),
    ]  # fmt: skip
    return judged(i, o, promises, BLOCKS)


def order_of(calls):
    return ", ".join(f"{n:g}" for n in np.ravel(calls)[:20]) or "none"


def by_hand(i):
    """The output and the gradients of A and B in float64, with numpy."""
    x, W, A, B = (i[key].astype(float) for key in "xWAB")
    inputs = [x]
    for w, a, b in zip(W, A, B, strict=True):
        inputs.append(np.tanh(inputs[-1] @ (w + b @ a).T))
    grad, grads = 2 * inputs[-1], []
    for n in reversed(range(len(W))):
        grad = grad * (1 - inputs[n + 1] ** 2)  # (B, T, d), before tanh
        delta = np.einsum("bto,bti->oi", grad, inputs[n])  # of W
        grads.append((B[n].T @ delta, delta @ A[n].T))
        grad = grad @ (W[n] + B[n] @ A[n])
    return inputs[-1], *(np.stack(g) for g in zip(*grads[::-1], strict=True))


def chain(i, order, residual=0):
    """The output when these blocks are run, in this order."""
    x = i["x"].astype(float)
    for n in order:
        x = residual * x + np.tanh(x @ (i["W"][n] + i["B"][n] @ i["A"][n]).T)
    return x


def last_alone(i):
    """The output when every block gets the x of the start."""
    return np.tanh(i["x"] @ (i["W"][-1] + i["B"][-1] @ i["A"][-1]).T)


BLOCKS = (
    Slip("not_chained", "Every block gets the x of the start. Hand on what the block before it "
         "gave.", lambda i: [{"y": last_alone(i)}, {"y": sum(chain(i, [n]) for n in range(
             len(i["W"])))}]),
    Slip("backwards", "The blocks run from the last to the first.",
         lambda i: {"y": chain(i, reversed(range(len(i["W"]))))}),
    Slip("not_all", "Not every block is run. Does the loop end too early, or leave one out?",
         lambda i: [{"y": chain(i, order)} for n in [len(i["W"])] for order in (
             *(range(k) for k in range(n)), *(range(k, n) for k in range(1, n - 1)))]),
    Slip("residual", "x is added to what a block gives. The blocks are run as they are.",
         lambda i: {"y": chain(i, range(len(i["W"])), 1)}),
    Slip("twice", "Each block runs twice in the forward pass. Let `checkpoint` call it, and nobody "
         "else.", lambda i: [{"forward": np.repeat(np.arange(len(i["W"])), 2)},
                             {"forward": np.tile(np.arange(len(i["W"])), 2)},
                             {"y": chain(i, np.repeat(np.arange(len(i["W"])), 2))}]),
    Slip("vanished", "Reentrant checkpointing looks at the inputs of a block alone. None requires "
         "a gradient, so there is nothing to do for it, and no error.",
         seen_as(has=none, with_x=every)),
    Slip("no_grad", "Even when x requires a gradient none arrives. Is there a `torch.no_grad()` or "
         "a `detach()`, or are the factors frozen?", seen_as(has=none, with_x=none)),
    Slip("first_lost", "The first block gets none: its input still requires no gradient. Cure it "
         "before the loop, not after the first block.",
         seen_as(has=lambda v: v.ndim == 2 and not v[0].any() and v[1:].all())),
    Slip("cut", "The gradient does not flow from block to block, so only the last one has it. "
         "Is there a `detach()` or a `no_grad()`?",
         seen_as(has=lambda v: v.ndim == 2 and v[-1].all() and not v[:-1].any())),
    Slip("unfrozen", "The base is trained now. Let the input require a gradient, not the weights.",
         seen_as(frozen=none)),
    Slip("late", "In the backward pass the last block runs for all. A function made in the loop "
         "looks `block` up when it is called: hand the block itself to `checkpoint`.", lambda i: {
             "grad_A": lambda v: True, "calls": np.append(np.arange(len(i["W"])), np.full(
                 len(i["W"]), len(i["W"]) - 1))}),
    Slip("no_checkpoint", "No block runs again: nothing is checkpointed, and all activations are "
         "kept.", lambda i: {"calls": np.arange(len(i["W"]))}),
    Slip("whole", "The stack is run again as one. Then all that its blocks keep is there at the "
         "same time in the backward pass. Checkpoint each block by itself.",
         lambda i: {"calls": np.tile(np.arange(len(i["W"])), 2)}),
    Slip("some", "Some blocks do not run again, so they are not checkpointed.", lambda i: {
        "calls": lambda v: len(i["W"]) < v.size < 2 * len(i["W"])}),
)  # fmt: skip

run_blocks = Check(
    name="run_blocks", title="Why the gradients vanish", wants=("run_blocks",),
    difficulty=3, minutes=12, points=20,
    verified="output, gradients of every factor, frozen weights, and each block run again",
    hints=(
        "What does reentrant checkpointing ask of the **inputs** of a block, before it decides "
        "whether there is anything to do in the backward pass?",
        "The embedding is frozen, so `x` requires no gradient. There are two cures: let `x` "
        "require one, or take the other kind of checkpointing.",
        "`x = checkpoint(block, x, use_reentrant=False)` in the loop.",
    ),
    slips=BLOCKS, other="Print which block runs, and `x.requires_grad` before and after it.",
    make=make_blocks, probe=probe_blocks, judge=judge_blocks,
)  # fmt: skip

EXERCISES = (step_bytes, qlora_config, skip_list, protect, run_blocks)
