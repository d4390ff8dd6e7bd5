"""Checks of chapter 01: full fine-tuning, an adapter file, storage, what fits, the peak."""

import numpy as np

from lora_course.checks import fixtures
from lora_course.checks.core import Check, array
from lora_course.checks.slips import Promise, Slip, judged
from lora_course.checks.values import Refused

GIB = 2**30


def number(value, name):
    """The learner's value as one number."""
    made = array(value, name)
    if made.size != 1:
        raise Refused("type", f"{name} returns {made.size} numbers.", "one number.")
    return made.reshape(())


def rows(key, values):
    """{"gb 0": first value, ...}: an output for each case."""
    return {f"{key} {n}": value for n, value in enumerate(values)}


def promises(key, right, cases, unit):
    """A promise for each case. cases: what was asked, in words."""
    return [
        Promise(f"{key} {n}", value, f"{unit} for {case}", rtol=1e-6, atol=0)
        for n, (value, case) in enumerate(zip(right, cases, strict=True))
    ]


def rounded(right):
    """A slip's values: right ones with 0 to 3 digits behind the point, or cut to a whole number."""
    made = [{k: np.round(v, digits) for k, v in right.items()} for digits in range(4)]
    return [*made, {k: np.floor(v) for k, v in right.items()}]


# 1.1 bytes of full fine-tuning
RECIPES = [(16, 16, 32, 32), (32, 32, 0, 32), (16, 16, 0, 16), (16, 32, 0, 8)]
FULL = ("weight", "gradient", "master", "state")


def make_full(seed):
    rng = np.random.default_rng(seed)
    parameters = rng.integers(1_000_000_000, 70_000_000_000, 4)
    return {"parameters": parameters, "bits": rng.permutation(RECIPES)}


def probe_full(namespace, a):
    full_gb, cases = namespace["full_gb"], zip(a["parameters"], a["bits"], strict=True)
    return rows("gb", [number(full_gb(int(n), *map(int, b)), "full_gb") for n, b in cases])


def full(i, unit=8e9, **change):
    """GB of each case. change: another factor for a part, such as weight=0."""
    factors = {"weight": 1, "gradient": 1, "master": 1, "state": 2, **change}
    bits = i["bits"].astype(float) @ [factors[name] for name in FULL]
    return rows("gb", i["parameters"] * bits / unit)


def judge_full(i, o):
    cases = [
        f"{n / 1e9:.1f} billion parameters with {w} + {g} + {c} bits and states of {s} bits"
        for n, (w, g, c, s) in zip(i["parameters"], i["bits"], strict=True)
    ]
    return judged(i, o, promises("gb", full(i).values(), cases, "GB"), FULL_SLIPS)


FULL_SLIPS = (
    Slip("no_weights", "The weights themselves are not counted.", lambda i: full(i, weight=0)),
    Slip("no_gradients", "The gradients are not counted. Each trained parameter has one.",
         lambda i: full(i, gradient=0)),
    Slip("no_master", "The master copy is not counted. `master_bits` is 0 where there is none.",
         lambda i: full(i, master=0)),
    Slip("one_state", "Only one state of AdamW is counted. It keeps two: the average of the "
         "gradient and that of its square.", lambda i: full(i, state=1)),
    Slip("bits", "Eight times too large: these are bits. A byte has 8 of them.",
         lambda i: full(i, 1e9)),
    Slip("gib", "Divided by 2³⁰, which gives GiB. A GB is 10⁹ bytes here.",
         lambda i: full(i, 8 * GIB)),
    Slip("bytes", "These are bytes. Divide by 10⁹ for GB.", lambda i: full(i, 8)),
    Slip("unit", "The digits are right, the unit is not: bits / 8 are bytes, and a GB is 10⁹ of "
         "them.", lambda i: [full(i, 8 * u) for u in (1e3, 1e6, 1e10, 1e12)]),
    Slip("times_8", "Multiplied by 8. A byte has 8 bits, so the bits are divided by 8.",
         lambda i: full(i, 1e9 / 8)),
    Slip("caret", "In Python `10^9` is no power, it is 3. Write `1e9`, or `10**9`.",
         lambda i: full(i, 8 * (10 ^ 9))),
    Slip("state_type", "The states have a number type of their own, `state_bits`. It need not be "
         "that of another part.", lambda i: [
             rows("gb", i["parameters"] * (i["bits"] @ [1, 1, 1, 0] + 2 * i["bits"][:, k]) / 8e9)
             for k in range(3)]),
    Slip("double_master", "The master copy is in it twice. Only the states come in a pair.",
         lambda i: full(i, master=2)),
    Slip("three_states", "Three states are counted. AdamW keeps two; the gradient and the master "
         "copy are counted by themselves.", lambda i: full(i, state=3)),
    Slip("instead", "The master copy was counted in the place of the weights. Both are there.",
         lambda i: rows("gb", i["parameters"] / 8e9 * (
             np.where(i["bits"][:, 2] > 0, i["bits"][:, 2], i["bits"][:, 0])
             + i["bits"] @ [0, 1, 0, 2]))),
    Slip("fixed", "16 bytes a parameter, whatever the number types are. Use the bits that are "
         "given.", lambda i: rows("gb", i["parameters"] * 16 / 1e9)),
    Slip("rounded", "The number was rounded. Return it as it is.", lambda i: rounded(full(i))),
)  # fmt: skip

full_gb = Check(
    name="full_gb",
    title="Bytes of full fine-tuning",
    wants=("full_gb",),
    difficulty=1,
    minutes=6,
    points=10,
    verified="four mixtures of number types on random model sizes",
    hints=(
        "List everything that exists once for each parameter. AdamW has two running averages.",
        "Add the bits for one parameter, turn bits into bytes, multiply by the parameters, and "
        "turn bytes into GB (10⁹).",
        "`(weight_bits + gradient_bits + master_bits + 2 * state_bits) / 8` bytes for each "
        "parameter.",
    ),
    slips=FULL_SLIPS,
    other="Try one parameter in your head: 16 + 16 + 32 bits and two states of 32 bits make 16 "
    "bytes.",
    make=make_full,
    probe=probe_full,
    judge=judge_full,
)


# 1.2 the calculator that forgets
SIZES = ("batch", "tokens", "hidden", "blocks", "vocabulary")


def make_peak(seed):
    rng, k = np.random.default_rng(seed), 4
    while True:
        made = {
            "states": rng.uniform(1, 20, k).round(2),
            "batch": rng.choice([3, 4, 8, 16], k),
            "tokens": rng.choice([384, 512, 768, 1024], k),
            "hidden": rng.integers(6, 40, k) * 128,
            "blocks": rng.integers(12, 60, k),
            "vocabulary": rng.integers(60_000, 200_000, k),
            "checkpointing": rng.permutation([0, 1, 0, 1]),
        }
        logits, kept = (parts(made)[key] for key in ("logits", "kept"))
        if (logits < kept)[made["checkpointing"] == 0].any():  # the larger of the two is not one
            return made


def probe_peak(namespace, a):
    sizes = []
    for n, states in enumerate(a["states"]):
        row, on = (int(a[key][n]) for key in SIZES), bool(a["checkpointing"][n])
        sizes.append(number(namespace["peak_gb"](float(states), *row, on), "peak_gb"))
    return rows("gb", sizes)


def parts(i):
    """What the rules of the exercise are made of, an array of the cases each."""
    batch, tokens, hidden, blocks, vocabulary = (i[key].astype(float) for key in SIZES)
    one = batch * tokens * hidden
    return {
        "states": i["states"].astype(float),
        "on": i["checkpointing"].astype(bool),
        "batch": batch,
        "blocks": blocks,
        "kept": 34 * one * blocks,  # without checkpointing
        "inputs": 2 * one * blocks,  # with it
        "live": 34 * one,  # and the block that is run again
        "logits": 8 * batch * tokens * vocabulary,
    }


def held(p):
    """The activations."""
    return np.where(p["on"], p["inputs"] + p["live"], p["kept"])


def peak(i, activations=held,
         logits=lambda p: p["logits"], states=1, unit=1e9):  # fmt: skip
    p = parts(i)
    return rows("gb", states * p["states"] + (activations(p) + logits(p)) / unit)


def judge_peak(i, o):
    texts, tokens, hidden, blocks, vocabulary = (i[key] for key in SIZES)
    cases = [
        f"{texts[n]} texts of {tokens[n]} tokens, hidden {hidden[n]}, {blocks[n]} blocks, "
        f"{vocabulary[n]:,} words, checkpointing {'on' if i['checkpointing'][n] else 'off'}, "
        f"states {i['states'][n]} GB"
        for n in range(len(texts))
    ]
    return judged(i, o, promises("gb", peak(i).values(), cases, "GB"), PEAK)


PEAK = (
    Slip("unchanged", "This is the calculator as it was: states and nothing else.",
         lambda i: peak(i, lambda p: 0, lambda p: 0)),
    Slip("no_activations", "The logits are in, the activations of the blocks are not.",
         lambda i: peak(i, lambda p: 0)),
    Slip("no_logits", "The activations are in, the logits are not.",
         lambda i: peak(i, logits=lambda p: 0)),
    Slip("no_states", "Weights, gradients and optimizer states (`states_gb`) do not count in "
         "it. They are GB already: add them after the bytes of the rest have become GB.",
         lambda i: peak(i, states=0)),
    Slip("logits_once", "A score takes 8 bytes in all: 4 for the logit and 4 for its gradient. "
         "Half of that is in.",
         lambda i: peak(i, logits=lambda p: p["logits"] / 2)),
    Slip("no_batch", "One text was counted somewhere. A batch has `batch` of them, in the "
         "activations and in the logits.",
         lambda i: [
             peak(i, logits=lambda p: p["logits"] / p["batch"]),
             peak(i, lambda p: held(p) / p["batch"]),
             peak(i, lambda p: held(p) / p["batch"], lambda p: p["logits"] / p["batch"]),
         ]),
    Slip("one_block", "The activations of one block are in. Every block keeps its own.",
         lambda i: [
             peak(i, lambda p: np.where(p["on"], p["inputs"] / p["blocks"], 0) + p["live"]),
             peak(i, lambda p: np.where(p["on"], p["inputs"], 0) + p["live"]),
         ]),
    Slip("always_kept", "`checkpointing` changes nothing yet.",
         lambda i: peak(i, lambda p: p["kept"])),
    Slip("always_again", "The formula for checkpointing is used where checkpointing is off.",
         lambda i: [
             peak(i, lambda p: p["inputs"] + p["live"]),
             peak(i, lambda p: np.where(p["on"], p["kept"], p["inputs"] + p["live"])),
         ]),
    Slip("all_again", "With checkpointing a block keeps 2 bytes in the place of its 34, and one "
         "block alone needs 34 more. Not every block.",
         lambda i: peak(i, lambda p: np.where(p["on"], p["inputs"], 0) + p["kept"])),
    Slip("one_less", "All blocks keep their 2 bytes, also the one that is run again.",
         lambda i: peak(i, lambda p: np.where(
             p["on"], p["inputs"] * (1 - 1 / p["blocks"]) + p["live"], p["kept"]))),
    Slip("logits_forgotten", "With checkpointing the logits are as large as without.",
         lambda i: peak(i, logits=lambda p: np.where(p["on"], 0, p["logits"]))),
    Slip("twice", "34 bytes are all of it, in 16-bit training: no 2 bytes for each of them.",
         lambda i: peak(i, lambda p: np.where(
             p["on"], p["inputs"] + 2 * p["live"], 2 * p["kept"]))),
    Slip("divided", "These are bytes already: 34, 2 and 4 are no bits.",
         lambda i: peak(i, unit=8e9)),
    Slip("rounded", "The number was rounded. Return it as it is.", lambda i: rounded(peak(i))),
    Slip("no_live_block", "With checkpointing, one block at a time is run again and needs its 34 "
         "bytes, for every text, token and hidden unit.",
         lambda i: peak(i, lambda p: np.where(p["on"], p["inputs"], p["kept"]))),
    Slip("per_block_logits", "The logits were counted in every block. There is one output layer.",
         lambda i: peak(i, logits=lambda p: p["logits"] * p["blocks"])),
    Slip("gib", "The new parts are divided by 2³⁰. A GB is 10⁹ bytes here.",
         lambda i: peak(i, unit=GIB)),
    Slip("bytes", "Bytes were added to GB. Divide them by 10⁹ first.",
         lambda i: peak(i, unit=1)),
    Slip("unit", "The new parts have the right digits and the wrong unit: a GB is 10⁹ bytes.",
         lambda i: [peak(i, unit=u) for u in (1e3, 1e6, 1e12)]),
    Slip("larger_only", "Activations and logits lie in memory at the same time: add them, do not "
         "take the larger one.", lambda i: peak(
             i, lambda p: np.maximum(held(p), p["logits"]), lambda p: 0)),
    Slip("logits_wide", "The logits have no hidden axis: one score for each text, token and word.",
         lambda i: peak(i, logits=lambda p: p["logits"] * i["hidden"])),
)  # fmt: skip

peak_gb = Check(
    name="peak_gb",
    title="Repair a calculator",
    wants=("peak_gb",),
    difficulty=3,
    minutes=12,
    points=15,
    verified="four training steps, with and without checkpointing",
    hints=(
        "Two things grow with the batch and the text, and the calculator knows neither.",
        "Activations: 34 bytes for each text, token, hidden unit and block; with checkpointing 2 "
        "bytes for each of these, plus one block at 34. Logits: 4 bytes for each text, token and "
        "word, and their gradient again.",
        "`one = batch * tokens * hidden`; activations `34 * one * blocks`, or with checkpointing "
        "`2 * one * blocks + 34 * one`; logits `2 * 4 * batch * tokens * vocabulary`.",
    ),
    slips=PEAK,
    other="Print activations and logits one by one and compare them with the text of the exercise.",
    make=make_peak,
    probe=probe_peak,
    judge=judge_peak,
)


# 1.3 the size of an adapter file
def make_file(seed):
    rng = np.random.default_rng(seed)
    made = {"blocks": rng.integers(6, 60, 3), "r": rng.choice([2, 4, 8, 16, 64], 3, replace=False)}
    made["bits"] = rng.permutation([16, 32, 4])
    for n in range(3):
        d_out = rng.permutation(np.arange(4, 20))[:3] * 128
        d_in = rng.permutation(np.arange(24, 64))[:3] * 128
        pairs = np.stack([d_out, d_in], axis=1)  # never square
        made[f"shapes {n}"] = np.concatenate([pairs, pairs[1:2]])  # and one of them twice
    return made


def probe_file(namespace, a):
    sizes = []
    for n in range(3):
        shapes = [(int(d_out), int(d_in)) for d_out, d_in in a[f"shapes {n}"]]
        blocks, r, bits = (int(a[key][n]) for key in ("blocks", "r", "bits"))
        made = namespace["adapter_file_mb"](shapes, blocks, r, bits)
        sizes.append(number(made, "adapter_file_mb"))
    return rows("mb", sizes)


def file(i, numbers=lambda d_out, d_in, r: r * (d_out + d_in), of=slice(None), blocks=True,
         number_bytes=lambda bits: bits / 8, unit=1e6):  # fmt: skip
    """MB of each case. numbers: of one matrix; of: which of four; number_bytes: from bits."""
    sizes = []
    for n in range(3):
        d_out, d_in = i[f"shapes {n}"][of].astype(float).T
        count = numbers(d_out, d_in, float(i["r"][n])).sum() * (i["blocks"][n] if blocks else 1)
        sizes.append(count * number_bytes(int(i["bits"][n])) / unit)
    return rows("mb", sizes)


def judge_file(i, o):
    cases = [
        f"shapes {[tuple(map(int, pair)) for pair in i[f'shapes {n}']]}, {i['blocks'][n]} blocks, "
        f"r = {i['r'][n]}, {i['bits'][n]} bits"
        for n in range(3)
    ]
    return judged(i, o, promises("mb", file(i).values(), cases, "MB"), FILE)


FILE = (
    Slip("full_matrix", "d_out was multiplied by d_in: that is the full matrix (or B @ A worked "
         "out). The file holds the two factors, A and B.",
         lambda i: [file(i, lambda d_out, d_in, r: d_out * d_in),
                    file(i, lambda d_out, d_in, r: r * d_out * d_in)]),
    Slip("one_factor", "Only one of the two factors is counted. A has r * d_in numbers, B has "
         "d_out * r.",
         lambda i: [file(i, lambda d_out, d_in, r: r * d_out),
                    file(i, lambda d_out, d_in, r: r * d_in)]),
    Slip("square", "Both factors were given the same length. One side of the matrix is d_out, the "
         "other d_in, and they differ here.",
         lambda i: [file(i, lambda d_out, d_in, r: 2 * r * d_out),
                    file(i, lambda d_out, d_in, r: 2 * r * d_in)]),
    Slip("one_block", "The model has `blocks` blocks, each with its own adapters.",
         lambda i: file(i, blocks=False)),
    Slip("one_matrix", "Only one matrix of the block is counted. Sum over all of `shapes`.",
         lambda i: [file(i, of=slice(1)), file(i, of=slice(-1, None))]),
    Slip("once", "Two matrices of one shape are two matrices, each with its own A and B.",
         lambda i: file(i, of=slice(3))),
    Slip("fixed_type", "The bytes of a number do not follow `bits`. 16 bits are 2 bytes, 32 bits "
         "are 4.", lambda i: [file(i, number_bytes=lambda bits, n=n: n) for n in (4, 2)]),
    Slip("whole_bytes", "4 bits are half a byte. `//` makes 0 of it: divide by 8 with `/`.",
         lambda i: file(i, number_bytes=lambda bits: bits // 8)),
    Slip("bits", "Eight times too large: these are bits. A byte has 8 of them.",
         lambda i: file(i, unit=1e6 / 8)),
    Slip("mib", "Divided by 2²⁰, which gives MiB. A MB is 10⁶ bytes here.",
         lambda i: file(i, unit=2**20)),
    Slip("unit", "The digits are right, the unit is not: MB means bytes divided by 10⁶.",
         lambda i: [file(i, unit=u) for u in (1, 1e3, 1e9)]),
    Slip("no_rank", "The rank is missing: A has r rows, and B has r columns.",
         lambda i: file(i, lambda d_out, d_in, r: d_out + d_in)),
    Slip("rank_once", "r belongs to both factors: A has r · d_in numbers and B has d_out · r. Mind "
         "the brackets.", lambda i: [file(i, lambda d_out, d_in, r: r * d_out + d_in),
                                     file(i, lambda d_out, d_in, r: d_out + r * d_in)]),
    Slip("base_too", "The matrix itself is counted beside its factors. The base is no part of the "
         "file.", lambda i: file(i, lambda d_out, d_in, r: d_out * d_in + r * (d_out + d_in))),
    Slip("rank_twice", "r is in it twice. A has r · d_in numbers and B has d_out · r.",
         lambda i: file(i, lambda d_out, d_in, r: r * r * (d_out + d_in))),
    Slip("rounded", "The number was rounded. Return it as it is.", lambda i: rounded(file(i))),
    Slip("states", "Gradients and optimizer states are counted. They live in memory while you "
         "train; the file holds the adapter alone.",
         lambda i: [file(i, number_bytes=lambda bits: 16), file(i, unit=1e6 / 4),
                    file(i, unit=1e6 / 3)]),
)  # fmt: skip

adapter_file_mb = Check(
    name="adapter_file_mb",
    title="The size of an adapter file",
    wants=("adapter_file_mb",),
    difficulty=2,
    minutes=8,
    points=10,
    verified="three adapters on matrices that are not square, of 4, 16 and 32 bits",
    hints=(
        "Draw one matrix of shape (d_out, d_in), and beside it $A$ and $B$ with their shapes.",
        "$A$ has r · d_in numbers and $B$ has d_out · r. Sum over the matrices of a block, then "
        "over the blocks. Only then think of bytes.",
        "`numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)`, and each number "
        "takes `bits / 8` bytes.",
    ),
    slips=FILE,
    other="Try one block, one matrix of 3 × 5, r = 2 and 16 bits: 2 · (3 + 5) numbers of 2 bytes.",
    make=make_file,
    probe=probe_file,
    judge=judge_file,
)


# 1.4 storage for 100 tasks
TASKS = ("tasks", "parameters", "adapter", "bits")


def make_storage(seed):
    rng = np.random.default_rng(seed)
    parameters = rng.integers(1_000_000_000, 70_000_000_000, 3)
    return {
        "tasks": rng.integers(20, 300, 3),
        "parameters": parameters,
        "adapter": (parameters * rng.uniform(0.002, 0.02, 3)).astype(int),
        "bits": rng.permutation([16, 32, 4]),
    }


def probe_storage(namespace, a):
    made = {}
    for n, case in enumerate(zip(*(a[key] for key in TASKS), strict=True)):
        answer = namespace["storage_gb"](*map(int, case))
        full, lora = fixtures.several(answer, ("full", "LoRA"), "storage_gb")
        made |= {f"full {n}": number(full, "full"), f"lora {n}": number(lora, "LoRA")}
    return made


def storage(i, full=lambda t, n, p: t * n, lora=lambda t, n, p: n + t * p, byte=None, unit=1e9):
    t, n, p, bits = (i[key].astype(float) for key in TASKS)
    each = (bits / 8 if byte is None else byte(bits)) / unit
    return rows("full", full(t, n, p) * each) | rows("lora", lora(t, n, p) * each)


def judge_storage(i, o):
    cases = [
        f"{t} tasks, {n / 1e9:.1f} billion parameters, {p / 1e6:.0f} million in an adapter, "
        f"{bits} bits"
        for t, n, p, bits in zip(*(i[key] for key in TASKS), strict=True)
    ]
    right = list(storage(i).values())
    wanted = promises("full", right[:3], cases, "full: GB")
    return judged(i, o, wanted + promises("lora", right[3:], cases, "LoRA: GB"), STORAGE)


STORAGE = (
    Slip("swapped", "The two numbers are in the other order. Full fine-tuning comes first.",
         lambda i: storage(i, lambda t, n, p: n + t * p, lambda t, n, p: t * n)),
    Slip("base_per_task", "The base is stored once for every task. It is frozen, so one copy "
         "serves all of them.", lambda i: storage(i, lora=lambda t, n, p: t * (n + p))),
    Slip("no_base", "The base is missing. An adapter runs only on top of it.",
         lambda i: storage(i, lora=lambda t, n, p: t * p)),
    Slip("one_adapter", "There is one adapter for all tasks together. Each task has its own.",
         lambda i: storage(i, lora=lambda t, n, p: n + p)),
    Slip("one_copy", "Full fine-tuning changes every weight: each task needs a whole model.",
         lambda i: storage(i, lambda t, n, p: n)),
    Slip("one_less", "Every task has an adapter, the first one too.",
         lambda i: storage(i, lora=lambda t, n, p: n + (t - 1) * p)),
    Slip("unit", "The digits are right, the unit is not: a GB is 10⁹ bytes.",
         lambda i: [storage(i, unit=u) for u in (1, 1e6, 1e12)]),
    Slip("rounded", "The numbers were rounded. Return them as they are.",
         lambda i: rounded(storage(i))),
    Slip("extra_copy", "Full fine-tuning needs no base beside its copies. Count one model a task.",
         lambda i: storage(i, lambda t, n, p: (t + 1) * n)),
    Slip("fixed_type", "Two bytes for every number, whatever `bits` says.",
         lambda i: storage(i, byte=lambda bits: 2)),
    Slip("whole_bytes", "4 bits are half a byte. `//` makes 0 of it: divide by 8 with `/`.",
         lambda i: storage(i, byte=lambda bits: bits // 8)),
    Slip("states", "Gradients or optimizer states are counted. They live in memory while you "
         "train; only the numbers of the model are stored.",
         lambda i: [storage(i, byte=lambda bits: 16), storage(i, unit=1e9 / 3),
                    storage(i, unit=1e9 / 4), storage(i, lambda t, n, p: 3 * t * n,
                                                      lambda t, n, p: n + 3 * t * p)]),
    Slip("brackets", "Mind the brackets: both the base and the adapters are numbers, and each "
         "takes bits / 8 bytes.", lambda i: rows("full", list(storage(i).values())[:3]) | rows(
             "lora", i["parameters"] + i["tasks"] * i["adapter"] * i["bits"] / 8e9)),
    Slip("saved", "That is what LoRA saves. The second number is what it takes.",
         lambda i: [storage(i, lora=lambda t, n, p: t * n - (n + t * p)),
                    rows("full", list(storage(i).values())[:3]) | rows("lora", i["tasks"] * i[
                        "parameters"] / (i["parameters"] + i["tasks"] * i["adapter"]))]),
    Slip("bits", "Eight times too large: these are bits. A byte has 8 of them.",
         lambda i: storage(i, unit=1e9 / 8)),
    Slip("gib", "Divided by 2³⁰, which gives GiB. A GB is 10⁹ bytes here.",
         lambda i: storage(i, unit=GIB)),
)  # fmt: skip

storage_gb = Check(
    name="storage_gb",
    title="Storage for 100 tasks",
    wants=("storage_gb",),
    difficulty=2,
    minutes=6,
    points=10,
    verified="three numbers of tasks, both ways of storing, numbers of 4, 16 and 32 bits",
    hints=(
        "What has to lie on the disk so that you can run every task tomorrow?",
        "Full fine-tuning changes every weight, so each task has its own model. With LoRA the "
        "base is the same for all tasks.",
        "Full: `tasks * parameters` numbers. LoRA: `parameters + tasks * adapter` numbers.",
    ),
    slips=STORAGE,
    other="Try 2 tasks, 10 parameters, 1 in an adapter, 16 bits: 40 bytes and 24 bytes.",
    make=make_storage,
    probe=probe_storage,
    judge=judge_storage,
)


# 1.5 which models fit
WAYS = ("full", "LoRA", "QLoRA")


def needed(n, linear, p, full=16, frozen=2, trained=16, bits=4.127, rest=2):
    """Bytes by the three methods, shape (models, 3)."""
    lora = frozen * n + trained * p
    return np.stack([full * n, lora, linear * bits / 8 + rest * (n - linear) + trained * p], axis=1)


def make_fits(seed):
    rng = np.random.default_rng(seed)
    k = 224
    card, reserve = rng.choice([16, 24, 48, 80], k), rng.uniform(0.5, 6, k).round(2)
    linear, p = rng.uniform(0.55, 0.98, k), rng.uniform(5e-4, 0.08, k)  # shares of the parameters
    # sizes near the edge of one of the three methods, so that every slip shows
    way, ratio = rng.integers(0, 3, k), rng.uniform(0.85, 1.18, k)
    scales = (2, 1.006, 0.95, 5e-4), (2, 0.994, 0.95, 5e-4)
    far = (
        (2, 0.7, 0.95, 5e-4),
        (2, 0.4, 0.95, 5e-4),
        (2, 0.2, 0.95, 5e-4),
    )  # wrong sizes that are all too large
    rest = (2, 2.66, 0.6, 5e-4), (2, 1.5, 0.6, 5e-4)  # much is not quantized
    wide = (
        (1, 1.58, 0.9, 0.08),
        (1, 1.02, 0.9, 0.08),
        (1, 1.07, 0.9, 0.08),
        (0, 0.97, 0.9, 0.08),
    )  # a large adapter
    full = ((0, 0.9, 0.9, 5e-4),)
    for n, edge in enumerate((*scales, *far, *rest, *wide, *full)):  # told apart for sure
        way[n::16], ratio[n::16], linear[n::16], p[n::16] = edge
    budget = card * GIB - reserve * 1e9
    n = budget * ratio / needed(np.ones(k), linear, p)[np.arange(k), way]
    values = np.stack([n, n * linear, n * p], axis=1).astype(np.int64)
    clear = np.abs(needed(*values.T.astype(float)) / budget[:, None] - 1).min(1) > 2e-3
    return {"models": values[clear], "card": card[clear], "reserve": reserve[clear]}


def probe_fits(namespace, a):
    answers = []
    for (n, linear, p), card, reserve in zip(a["models"], a["card"], a["reserve"], strict=True):
        said = namespace["what_fits"](int(n), int(linear), int(p), int(card), float(reserve))
        answers.append(fixtures.several(said, WAYS, "what_fits"))
    return {"fits": np.array(answers, dtype=float).reshape(len(answers), -1)}


def fits(i, unit=GIB, reserve=1, more=(0, 0, 0), quantized=False, **change):
    """The table of answers. more: 14 bytes of each frozen weight, by method."""
    n, linear, p = i["models"].T.astype(float)
    room = i["card"] * float(unit) - reserve * i["reserve"] * 1e9
    need = needed(n, n if quantized else linear, p, **change)
    return need + 14.0 * n[:, None] * more <= room[:, None]


def judge_fits(i, o):
    verdict = judged(i, o, [Promise("fits", fits(i).astype(float), "the answers")], FITS)
    if verdict.share == 1 or o.get("fits", np.zeros(0)).shape != (len(i["card"]), 3):
        return verdict
    row, way = np.argwhere(o["fits"] != fits(i))[0]
    n, linear, p = i["models"][row] / 1e9
    need = needed(*i["models"].T.astype(float))[row, way] / 1e9
    room = i["card"][row] * GIB / 1e9 - i["reserve"][row]
    word = {1.0: "it fits", 0.0: "it does not fit"}
    seen = (
        f"{WAYS[way]}, {n:.2f} billion parameters ({linear:.2f} in linear layers), {p:.3f} "
        f"billion in the adapter, card of {i['card'][row]} GiB, {i['reserve'][row]} GB reserved: "
        f"{word.get(o['fits'][row, way], 'neither True nor False')}"
    )
    expected = f"{word[float(need <= room)]}: {need:.1f} GB needed, {room:.1f} GB free"
    return verdict._replace(seen=seen, expected=expected)


def column(i, way, rule):
    """The table of answers with another size for one method."""
    n, linear, p = i["models"].T.astype(float)
    table = fits(i)
    table[:, way] = rule(n, linear, p) <= i["card"] * float(GIB) - i["reserve"] * 1e9
    return {"fits": table}


FITS = (
    Slip("gb_card", "The card was taken as 10⁹ bytes a unit. It is named in GiB: 2³⁰ bytes each.",
         lambda i: [{"fits": fits(i, unit=1e9, reserve=r)} for r in (1, 0)]),
    Slip("no_reserve", "The reserve is not taken off the card.",
         lambda i: [{"fits": fits(i, reserve=r)} for r in (0, -1)]),
    Slip("reserve_unit", "`reserve_gb` is in GB, 10⁹ bytes. Only the card is in GiB.",
         lambda i: {"fits": fits(i, reserve=GIB / 1e9)}),
    Slip("float_base", "LoRA's base is in bf16: 2 bytes for each parameter.",
         lambda i: {"fits": fits(i, frozen=4)}),
    Slip("rest_whole", "The linear weights are counted twice in QLoRA: in NF4, and once more in "
         "bf16. Only the others stay in bf16: parameters - linear.",
         lambda i: column(i, 2, lambda n, lin, p: lin * 4.127 / 8 + 2 * n + 16 * p)),
    Slip("rest_float", "QLoRA's other weights are in bf16: 2 bytes each.",
         lambda i: {"fits": fits(i, rest=4)}),
    Slip("parts_exchanged", "QLoRA quantizes the linear weights, and leaves the others in bf16.",
         lambda i: column(i, 2, lambda n, lin, p: 2 * lin + (n - lin) * 4.127 / 8 + 16 * p)),
    Slip("full_bytes", "Full fine-tuning in mixed precision takes 16 bytes a parameter: 2 + 2 + 4 "
         "+ 8. Here it is another number.",
         lambda i: [{"fits": fits(i, full=b)} for b in (2, 4, 6, 8, 12, 14, 18, 20)]),
    Slip("full_adapter", "Full fine-tuning has no adapter: it trains the weights themselves.",
         lambda i: column(i, 0, lambda n, lin, p: 16 * (n + p))),
    Slip("no_base", "The frozen base is missing. It lies on the card beside the adapter.",
         lambda i: [column(i, 1, lambda n, lin, p: 16 * p), {"fits": fits(i, frozen=0)}]),
    Slip("in_place_of", "The adapter stands beside the base, not in its place: all `parameters` "
         "are on the card.", lambda i: column(i, 1, lambda n, lin, p: 2 * (n - p) + 16 * p)),
    Slip("frozen_states", "Gradients and optimizer states are counted for frozen weights too. Only "
         "the adapter has them.",
         lambda i: [{"fits": fits(i, more=m)} for m in ((0, 1, 0), (0, 0, 1), (0, 1, 1))]),
    Slip("adapter_states", "A number of the adapter takes 16 bytes, in LoRA and in QLoRA: 4 for "
         "itself, 4 for its gradient and 8 for the AdamW states. Some of that is missing.",
         lambda i: [{"fits": fits(i, trained=b)} for b in (0, 2, 4, 8, 12)] + [
             column(i, way, lambda n, lin, p, way=way, b=b: needed(n, lin, p, trained=b)[:, way])
             for way in (1, 2) for b in (0, 2, 4, 8, 12)]),
    Slip("all_quantized", "Every weight was quantized. Only the linear layers are; the rest stays "
         "at 2 bytes.", lambda i: {"fits": fits(i, quantized=True)}),
    Slip("no_rest", "QLoRA's other weights are missing: what is not in the linear layers stays at "
         "2 bytes.", lambda i: [{"fits": fits(i, rest=0)}] + [
             column(i, 2, lambda n, lin, p, bits=bits, b=b: lin * bits / 8 + b * p)
             for bits, b in ((4, 16), (4.127, 0), (4, 0))]),
    Slip("constants", "4.127 bits a weight: 4 for the weight, 0.127 for the scales with double "
         "quantization.", lambda i: [{"fits": fits(i, bits=b)} for b in (4, 4.5)]),
    Slip("half_byte", "4.127 bits is about half a byte. Divide bits by 8.",
         lambda i: [{"fits": fits(i, bits=b)} for b in (8, 4.127 * 8)]),
    Slip("best_only", "A model may fit in several ways. Answer each method on its own.",
         lambda i: [{"fits": fits(i) & (np.cumsum(fits(i), axis=1) == 1)}] + [
             {"fits": np.stack([f, lora & ~(f & a), q & ~(f & b) & ~(lora & c)], axis=1)}
             for f, lora, q in [fits(i).T] for a, b, c in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]),
    Slip("reversed", "The order is full, LoRA, QLoRA.", lambda i: {"fits": fits(i)[:, ::-1]}),
    Slip("inverted", "True should mean that it fits.", lambda i: {"fits": ~fits(i)}),
)  # fmt: skip

what_fits = Check(
    name="what_fits",
    title="Which models fit, and by which method",
    wants=("what_fits",),
    difficulty=3,
    minutes=12,
    points=15,
    verified="some 200 models near the edge of cards of 16, 24, 48 and 80 GiB",
    hints=(
        "Work in bytes: first what is free on the card, then what each method needs.",
        "Free: card_gib · 2³⁰ minus reserve_gb · 10⁹. Full: 16 for each parameter. LoRA: 2 for "
        "each parameter and 16 for each number of the adapter. QLoRA: the linear weights at "
        "4.127 bits, the rest at 2 bytes, and the same adapter.",
        "QLoRA: `linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter`.",
    ),
    slips=FITS,
    other="Print the three sizes for one model and compare them with section 10 of the chapter.",
    make=make_fits,
    probe=probe_fits,
    judge=judge_fits,
)

EXERCISES = (full_gb, peak_gb, adapter_file_mb, storage_gb, what_fits)
