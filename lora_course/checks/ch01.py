"""Checks of chapter 01: full fine-tuning, an adapter file, storage, what fits, the peak."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array

GIB = 2**30


def _number(value, name):
    """The learner's value as one number; nan where it is several."""
    made = array(value, name)
    return made.reshape(()) if made.size == 1 else np.array(np.nan)


def _same(got, want):
    return np.shape(got) == np.shape(want) and np.allclose(got, want, rtol=1e-3, atol=0)


def _pick(got, right, wrong, unit, cases):
    """The verdict on one row of numbers for each case.

    wrong: mistake -> the values that this mistake gives. unit: for the message. cases: what each
    row was asked, in words.
    """
    if _same(got, right):
        return Verdict(1.0)
    found = [key for key, value in wrong.items() if _same(got, value)]
    first = next(i for i in range(len(right)) if not _same(got[i], right[i]))

    def words(values):
        numbers = [f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.4g}" for v in np.atleast_1d(values)]
        return " and ".join(numbers) + f" {unit}"

    seen = f"{words(got[first])} for {cases[first]}"
    return Verdict(0.0, found[0] if found else "other", seen, words(right[first]))


# 1.1 bytes of full fine-tuning
RECIPES = [(16, 16, 32, 32), (32, 32, 0, 32), (16, 16, 0, 16), (16, 32, 0, 32)]


def make_full(seed):
    rng = np.random.default_rng(seed)
    parameters = rng.integers(1_000_000_000, 70_000_000_000, 4)
    return {"parameters": parameters, "bits": rng.permutation(RECIPES)}


def probe_full(namespace, arrays):
    rows = zip(arrays["parameters"], arrays["bits"], strict=True)
    full_gb = namespace["full_gb"]
    return {"gb": np.array([_number(full_gb(int(n), *map(int, b)), "full_gb") for n, b in rows])}


def judge_full(inputs, outputs):
    n, bits = inputs["parameters"].astype(float), inputs["bits"].astype(float)
    weight, gradient, master, state = bits.T
    every = weight + gradient + master + 2 * state
    right = n * every / 8 / 1e9
    wrong = {
        "no_weights": n * (every - weight) / 8e9,
        "no_gradients": n * (every - gradient) / 8e9,
        "no_master": n * (every - master) / 8e9,
        "one_state": n * (every - state) / 8e9,
        "bits": n * every / 1e9,
        "gib": n * every / 8 / GIB,
        "bytes": n * every / 8,
    }
    cases = [
        f"{m / 1e9:.1f} billion parameters with {w} + {g} + {c} bits and states of {s} bits"
        for m, (w, g, c, s) in zip(n, inputs["bits"], strict=True)
    ]
    return _pick(outputs["gb"], right, wrong, "GB", cases)


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
    mistakes={
        "no_weights": "The weights themselves are not counted.",
        "no_gradients": "The gradients are not counted. Each trained parameter has one.",
        "no_master": "The master copy is not counted. `master_bits` is 0 where there is none.",
        "one_state": "Only one state of AdamW is counted. It keeps two: the average of the "
        "gradient and that of its square.",
        "bits": "Eight times too large: these are bits. A byte has 8 of them.",
        "gib": "Divided by 2³⁰, which gives GiB. A GB is 10⁹ bytes here.",
        "bytes": "These are bytes. Divide by 10⁹ for GB.",
        "other": "Try one parameter in your head: 16 + 16 + 32 bits and two states of 32 bits "
        "make 16 bytes.",
    },
    make=make_full,
    probe=probe_full,
    judge=judge_full,
)


# 1.2 the size of an adapter file
def make_file(seed):
    rng = np.random.default_rng(seed)
    out = {"blocks": rng.integers(6, 60, 3), "r": rng.choice([2, 4, 8, 16, 64], 3)}
    out["bits"] = rng.permutation([16, 32, 16])
    for i in range(3):
        d_out, d_in = rng.integers(4, 20, 3) * 128, rng.integers(24, 64, 3) * 128
        out[f"shapes {i}"] = np.stack([d_out, d_in], axis=1)  # never square
    return out


def probe_file(namespace, arrays):
    sizes = []
    for i in range(3):
        shapes = [(int(o), int(d)) for o, d in arrays[f"shapes {i}"]]
        blocks, r, bits = (int(arrays[key][i]) for key in ("blocks", "r", "bits"))
        size = namespace["adapter_file_mb"](shapes, blocks, r, bits)
        sizes.append(_number(size, "adapter_file_mb"))
    return {"mb": np.array(sizes)}


def judge_file(inputs, outputs):
    shapes = np.stack([inputs[f"shapes {i}"] for i in range(3)]).astype(float)  # (3, matrices, 2)
    d_out, d_in = shapes[:, :, 0].sum(1), shapes[:, :, 1].sum(1)
    blocks, r, bits = (inputs[key].astype(float) for key in ("blocks", "r", "bits"))
    numbers = blocks * r * (d_out + d_in)
    mb = bits / 8 / 1e6
    area = (shapes[:, :, 0] * shapes[:, :, 1]).sum(1)
    wrong = {
        "full_matrix": [blocks * area * mb, blocks * r * area * mb],
        "one_factor": [blocks * r * d_out * mb, blocks * r * d_in * mb],
        "square": [2 * blocks * r * d_out * mb, 2 * blocks * r * d_in * mb],
        "one_block": [numbers / blocks * mb],
        "one_matrix": [
            blocks * r * shapes[:, 0].sum(1) * mb,
            blocks * r * shapes[:, -1].sum(1) * mb,
        ],
        "fixed_type": [numbers * 4 / 1e6, numbers * 2 / 1e6],
        "bits": [numbers * bits / 1e6],
        "mib": [numbers * bits / 8 / 2**20],
        "unit": [numbers * bits / 8, numbers * bits / 8 / 1e9],
        "states": [numbers * 16 / 1e6, 4 * numbers * mb],
    }
    flat = {f"{key} {i}": v for key, values in wrong.items() for i, v in enumerate(values)}
    cases = [
        f"shapes {[(int(o), int(d)) for o, d in shapes[i]]}, {int(blocks[i])} blocks, "
        f"r = {int(r[i])}, {int(bits[i])} bits"
        for i in range(3)
    ]
    verdict = _pick(outputs["mb"], numbers * mb, flat, "MB", cases)
    return verdict._replace(mistake=verdict.mistake.split(" ")[0])


adapter_file_mb = Check(
    name="adapter_file_mb",
    title="The size of an adapter file",
    wants=("adapter_file_mb",),
    difficulty=2,
    minutes=8,
    points=10,
    verified="three adapters on matrices that are not square, 16 and 32 bits",
    hints=(
        "Draw one matrix of shape (d_out, d_in), and beside it $A$ and $B$ with their shapes.",
        "$A$ has r · d_in numbers and $B$ has d_out · r. Sum over the matrices of a block, then "
        "over the blocks. Only then think of bytes.",
        "`numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)`, and each number "
        "takes `bits / 8` bytes.",
    ),
    mistakes={
        "full_matrix": "d_out was multiplied by d_in: that is the full matrix (or B @ A worked "
        "out). The file holds the two factors, A and B.",
        "one_factor": "Only one of the two factors is counted. A has r * d_in numbers, B has "
        "d_out * r.",
        "square": "Both factors were given the same length. One side of the matrix is d_out, the "
        "other d_in, and they differ here.",
        "one_block": "The model has `blocks` blocks, each with its own adapters.",
        "one_matrix": "Only one matrix of the block is counted. Sum over all of `shapes`.",
        "fixed_type": "The bytes of a number do not follow `bits`. 16 bits are 2 bytes, 32 bits "
        "are 4.",
        "bits": "Eight times too large: these are bits. A byte has 8 of them.",
        "mib": "Divided by 2²⁰, which gives MiB. A MB is 10⁶ bytes here.",
        "unit": "The digits are right, the unit is not: MB means bytes divided by 10⁶.",
        "states": "Gradients and optimizer states are counted. They live in memory while you "
        "train; the file holds the adapter alone.",
        "other": "Try one block, one matrix of 3 × 5, r = 2 and 16 bits: 2 · (3 + 5) numbers of "
        "2 bytes.",
        "raised": "`shapes` is a list of pairs (d_out, d_in).",
    },
    make=make_file,
    probe=probe_file,
    judge=judge_file,
)


# 1.3 storage for 100 tasks
def make_storage(seed):
    rng = np.random.default_rng(seed)
    parameters = rng.integers(1_000_000_000, 70_000_000_000, 3)
    return {
        "tasks": rng.integers(20, 300, 3),
        "parameters": parameters,
        "adapter": (parameters * rng.uniform(0.002, 0.02, 3)).astype(int),
        "bits": rng.permutation([16, 32, 16]),
    }


def probe_storage(namespace, arrays):
    rows = zip(*(arrays[k] for k in ("tasks", "parameters", "adapter", "bits")), strict=True)
    out = {}
    for i, row in enumerate(rows):
        out[f"gb {i}"] = array(namespace["storage_gb"](*map(int, row)), "storage_gb").ravel()
    return out


def judge_storage(inputs, outputs):
    got = [outputs[f"gb {i}"] for i in range(3)]
    if any(g.shape != (2,) for g in got):
        return Verdict(0.0, "not_a_pair", f"{got[0].size} number(s)", "two: full, LoRA")
    keys = ("tasks", "parameters", "adapter", "bits")
    tasks, n, p, bits = (inputs[key].astype(float) for key in keys)
    gb = bits / 8 / 1e9

    def pair(full, lora):
        return np.stack([full * gb, lora * gb], axis=1)

    full, lora = tasks * n, n + tasks * p
    right = pair(full, lora)
    wrong = {
        "swapped": pair(lora, full),
        "base_per_task": pair(full, tasks * (n + p)),
        "no_base": pair(full, tasks * p),
        "one_adapter": pair(full, n + p),
        "one_copy": pair(n, lora),
        "extra_copy": pair(full + n, lora),
        "fixed_type": np.stack([full, lora], axis=1) * 2e-9,
        "states": np.stack([full, lora], axis=1) * 16e-9,
        "bits": right * 8,
        "gib": right * 1e9 / GIB,
    }
    cases = [
        f"{int(t)} tasks, {m / 1e9:.1f} billion parameters, {q / 1e6:.0f} million in an adapter"
        for t, m, q in zip(tasks, n, p, strict=True)
    ]
    return _pick(np.stack(got), right, wrong, "GB", cases)


storage_gb = Check(
    name="storage_gb",
    title="Storage for 100 tasks",
    wants=("storage_gb",),
    difficulty=2,
    minutes=6,
    points=10,
    verified="three numbers of tasks, both ways of storing",
    hints=(
        "What has to lie on the disk so that you can run every task tomorrow?",
        "Full fine-tuning changes every weight, so each task has its own model. With LoRA the "
        "base is the same for all tasks.",
        "Full: `tasks * parameters` numbers. LoRA: `parameters + tasks * adapter` numbers.",
    ),
    mistakes={
        "not_a_pair": "Return two numbers: `return full, lora`.",
        "swapped": "The two numbers are in the other order. Full fine-tuning comes first.",
        "base_per_task": "The base is stored once for every task. It is frozen, so one copy "
        "serves all of them.",
        "no_base": "The base is missing. An adapter runs only on top of it.",
        "one_adapter": "There is one adapter for all tasks together. Each task has its own.",
        "one_copy": "Full fine-tuning changes every weight: each task needs a whole model.",
        "extra_copy": "Full fine-tuning needs no base beside its copies. Count one model a task.",
        "fixed_type": "Two bytes for every number, whatever `bits` says.",
        "states": "16 bytes a number is the state of training. Only the numbers themselves are "
        "stored.",
        "bits": "Eight times too large: these are bits. A byte has 8 of them.",
        "gib": "Divided by 2³⁰, which gives GiB. A GB is 10⁹ bytes here.",
        "other": "Try 2 tasks, 10 parameters, 1 in an adapter, 16 bits: 40 bytes and 24 bytes.",
    },
    make=make_storage,
    probe=probe_storage,
    judge=judge_storage,
)


# 1.4 which models fit
WAYS = ("full", "LoRA", "QLoRA")


def _need(n, linear, p, full=16, frozen=2, trained=16, bits=4.127, rest=2):
    """Bytes by the three methods, shape (models, 3)."""
    lora = frozen * n + trained * p
    return np.stack([full * n, lora, linear * bits / 8 + rest * (n - linear) + trained * p], axis=1)


def make_fits(seed):
    rng = np.random.default_rng(seed)
    k = 200
    card, reserve = rng.choice([16, 24, 48, 80], k), rng.uniform(0.5, 6, k).round(2)
    linear, p = rng.uniform(0.55, 0.98, k), rng.uniform(5e-4, 0.08, k)  # shares of the parameters
    # sizes near the edge of one of the three methods, so that every slip shows
    way, ratio = rng.integers(0, 3, k), rng.uniform(0.85, 1.18, k)
    scales = (2, 1.006, 0.95, 5e-4), (2, 0.994, 0.95, 5e-4)
    slips = *scales, (1, 1.58, 0.9, 0.08), (2, 2.66, 0.6, 5e-4)
    for i, slip in enumerate(slips):  # scales, adapter and unquantized rest, told apart for sure
        way[i::10], ratio[i::10], linear[i::10], p[i::10] = slip
    budget = card * GIB - reserve * 1e9
    n = budget * ratio / _need(np.ones(k), linear, p)[np.arange(k), way]
    values = np.stack([n, n * linear, n * p], axis=1).astype(np.int64)
    clear = np.abs(_need(*values.T.astype(float)) / budget[:, None] - 1).min(1) > 2e-3
    return {"models": values[clear], "card": card[clear], "reserve": reserve[clear]}


def probe_fits(namespace, arrays):
    out = []
    rows = zip(arrays["models"], arrays["card"], arrays["reserve"], strict=True)
    for (n, linear, p), card, reserve in rows:
        answer = namespace["what_fits"](int(n), int(linear), int(p), int(card), float(reserve))
        made = array(answer, "what_fits").ravel()
        if made.shape != (3,):
            return {"not_three": np.array(made.size)}
        out.append(made.astype(float))
    return {"fits": np.array(out)}


def judge_fits(inputs, outputs):
    if "not_three" in outputs:
        return Verdict(0.0, "not_three", f"{int(outputs['not_three'])} value(s)", "three")
    n, linear, p = inputs["models"].T.astype(float)
    card, reserve = inputs["card"] * float(GIB), inputs["reserve"] * 1e9
    got, room = outputs["fits"], (card - reserve)[:, None]
    need = _need(n, linear, p)
    right = need <= room
    lora, qlora = np.array([0, 1, 0]), np.array([0, 0, 1])
    states = 14.0 * n[:, None]
    wrong = {
        "gb_card": [need <= (inputs["card"] * 1e9 - reserve)[:, None]],
        "no_reserve": [need <= card[:, None]],
        "full_bytes": [_need(n, linear, p, full=b) <= room for b in (2, 4, 8, 12)],
        "frozen_states": [need + states * mask <= room for mask in (lora, qlora, lora + qlora)],
        "adapter_states": [_need(n, linear, p, trained=b) <= room for b in (2, 4)],
        "no_adapter": [_need(n, linear, p, trained=0) <= room],
        "all_quantized": [_need(n, n, p) <= room],
        "no_rest": [_need(n, linear, p, rest=0) <= room],
        "constants": [_need(n, linear, p, bits=b) <= room for b in (4, 4.5)],
        "half_byte": [_need(n, linear, p, bits=b) <= room for b in (8, 4.127 * 8)],
        "best_only": [right & (np.cumsum(right, axis=1) == 1)],
        "reversed": [right[:, ::-1]],
        "inverted": [~right],
    }
    if np.array_equal(got, right):
        return Verdict(1.0)
    same = [key for key, tables in wrong.items() for t in tables if np.array_equal(got, t)]
    row, way = np.argwhere(got != right)[0]
    word = {1.0: "fits", 0.0: "does not fit"}
    billions = f"{n[row] / 1e9:.2f} billion parameters ({linear[row] / 1e9:.2f} in linear layers)"
    seen = (
        f"{WAYS[way]}, {billions}, {p[row] / 1e9:.3f} billion in the adapter, card of "
        f"{inputs['card'][row]} GiB, {inputs['reserve'][row]} GB reserved: "
        f"{word.get(got[row, way], 'no yes or no')}"
    )
    expected = (
        f"{word[float(right[row, way])]}: {need[row, way] / 1e9:.1f} GB needed, "
        f"{room[row, 0] / 1e9:.1f} GB free"
    )
    return Verdict(0.0, same[0] if same else "other", seen, expected)


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
    mistakes={
        "not_three": "Return three truth values: `return full, lora, qlora`.",
        "gb_card": "The card was taken as 10⁹ bytes a unit. It is named in GiB: 2³⁰ bytes each.",
        "no_reserve": "The reserve is not taken off the card.",
        "full_bytes": "Full fine-tuning in mixed precision takes 16 bytes a parameter: 2 + 2 + 4 "
        "+ 8. Some of them are missing.",
        "frozen_states": "Gradients and optimizer states are counted for frozen weights too. Only "
        "the adapter has them.",
        "adapter_states": "The adapter's numbers are counted, without their gradients and AdamW "
        "states: 4 + 4 + 8 = 16 bytes each.",
        "no_adapter": "The adapter is missing: 16 bytes for each of its numbers.",
        "all_quantized": "Every weight was quantized. Only the linear layers are; the rest stays "
        "at 2 bytes.",
        "no_rest": "QLoRA's other weights are missing: what is not in the linear layers stays at "
        "2 bytes.",
        "constants": "4.127 bits a weight: 4 for the weight, 0.127 for the scales with double "
        "quantization.",
        "half_byte": "4.127 bits is about half a byte. Divide bits by 8.",
        "best_only": "A model may fit in several ways. Answer each method on its own.",
        "reversed": "The order is full, LoRA, QLoRA.",
        "inverted": "True should mean that it fits.",
        "other": "Print the three sizes for one model and compare them with section 10 of the "
        "chapter.",
    },
    make=make_fits,
    probe=probe_fits,
    judge=judge_fits,
)


# 1.5 the calculator that forgets
def make_peak(seed):
    rng = np.random.default_rng(seed)
    k = 4
    return {
        "states": rng.uniform(1, 20, k).round(2),
        "batch": rng.choice([3, 4, 8, 16], k),
        "tokens": rng.choice([384, 512, 768, 1024], k),
        "hidden": rng.integers(6, 40, k) * 128,
        "blocks": rng.integers(12, 60, k),
        "vocabulary": rng.integers(60_000, 200_000, k),
        "checkpointing": rng.permutation([0, 1, 0, 1]),
    }


def probe_peak(namespace, arrays):
    keys = ("batch", "tokens", "hidden", "blocks", "vocabulary")
    sizes = []
    for i, states in enumerate(arrays["states"]):
        row = (int(arrays[key][i]) for key in keys)
        size = namespace["peak_gb"](float(states), *row, bool(arrays["checkpointing"][i]))
        sizes.append(_number(size, "peak_gb"))
    return {"gb": np.array(sizes)}


def judge_peak(inputs, outputs):
    keys = ("states", "batch", "tokens", "hidden", "blocks", "vocabulary")
    states, batch, tokens, hidden, blocks, vocabulary = (inputs[key].astype(float) for key in keys)
    on = inputs["checkpointing"].astype(bool)
    one = batch * tokens * hidden
    kept, again = 34 * one * blocks, 2 * one * blocks + 34 * one
    act, logits = np.where(on, again, kept), 8 * batch * tokens * vocabulary
    right = states + (act + logits) / 1e9
    wrong = {
        "unchanged": [states],
        "no_activations": [states + logits / 1e9],
        "no_logits": [states + act / 1e9],
        "no_states": [(act + logits) / 1e9],
        "logits_once": [states + (act + logits / 2) / 1e9],
        "no_batch": [
            states + (act / batch + logits / batch) / 1e9,
            states + (act / batch + logits) / 1e9,
            states + (act + logits / batch) / 1e9,
        ],
        "one_block": [states + (np.where(on, 2 * one + 34 * one, 34 * one) + logits) / 1e9],
        "always_kept": [states + (kept + logits) / 1e9],
        "always_again": [
            states + (again + logits) / 1e9,
            states + (np.where(on, kept, again) + logits) / 1e9,
        ],
        "no_live_block": [states + (np.where(on, 2 * one * blocks, kept) + logits) / 1e9],
        "per_block_logits": [states + (act + logits * blocks) / 1e9],
        "gib": [states + (act + logits) / GIB],
        "bytes": [states + act + logits],
    }
    flat = {f"{key} {i}": v for key, values in wrong.items() for i, v in enumerate(values)}
    cases = [
        f"{int(batch[i])} texts of {int(tokens[i])} tokens, hidden {int(hidden[i])}, "
        f"{int(blocks[i])} blocks, {int(vocabulary[i]):,} words, checkpointing "
        f"{'on' if on[i] else 'off'}, states {states[i]} GB"
        for i in range(len(states))
    ]
    verdict = _pick(outputs["gb"], right, flat, "GB", cases)
    return verdict._replace(mistake=verdict.mistake.split(" ")[0])


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
    mistakes={
        "unchanged": "This is the calculator as it was: states and nothing else.",
        "no_activations": "The logits are in, the activations of the blocks are not.",
        "no_logits": "The activations are in, the logits are not.",
        "no_states": "Weights, gradients and optimizer states (`states_gb`) are no longer in it.",
        "logits_once": "4 bytes for each score are in. The gradient of the logits takes 4 more.",
        "no_batch": "One text was counted somewhere. A batch has `batch` of them, in the "
        "activations and in the logits.",
        "one_block": "The activations of one block are in. Every block keeps its own.",
        "always_kept": "`checkpointing` changes nothing yet.",
        "always_again": "The formula for checkpointing is used where checkpointing is off.",
        "no_live_block": "With checkpointing, one block at a time is run again and needs its 34 "
        "bytes.",
        "per_block_logits": "The logits were counted in every block. There is one output layer.",
        "gib": "The new parts are divided by 2³⁰. A GB is 10⁹ bytes here.",
        "bytes": "Bytes were added to GB. Divide them by 10⁹ first.",
        "other": "Print activations and logits one by one and compare them with the text of the "
        "exercise.",
    },
    make=make_peak,
    probe=probe_peak,
    judge=judge_peak,
)

EXERCISES = (full_gb, adapter_file_mb, storage_gb, what_fits, peak_gb)
