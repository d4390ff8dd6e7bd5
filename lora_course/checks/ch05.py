"""Checks of chapter 05: the loss mask, collate, the schedule, save and load, triage."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor
from lora_course.checks.values import Refused, kind

IGNORED = -100


# What several checks share
def _parts(value, count, name):
    """The learner's `count` results as a tuple; Refused when it is something else."""
    if value is None:
        array(None, name)
    if not isinstance(value, (tuple, list)) or len(value) != count:
        size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise Refused("type", f"{name} is {kind(value)}{size}.", f"{count} of them, as a tuple.")
    return value


def _same(seen, wanted):
    return seen.shape == wanted.shape and bool(np.array_equal(seen, wanted))


def _listed(row):
    """A short row of numbers as text."""
    return "[" + ", ".join(f"{v:g}" for v in np.ravel(row)[:12]) + "]"


# 5.1 The loss mask
LENGTHS = (5, 3), (2, 6), (8, 1)  # tokens of prompt and completion


def make_mask(seed):
    rng = np.random.default_rng(seed + 500)
    made = {"eos": np.array(rng.integers(2, 9))}
    for k, (p, c) in enumerate(LENGTHS):
        ids = 10 + rng.permutation(60)[: p + c]  # all different
        made |= {f"prompt_{k}": ids[:p], f"completion_{k}": ids[p:]}
    made["prompt_2"][3] = made["eos"]  # an earlier turn of the talk ends there
    return made


def probe_mask(namespace, a):
    made = {}
    for k in range(len(LENGTHS)):
        prompt, completion = a[f"prompt_{k}"].tolist(), a[f"completion_{k}"].tolist()
        pair = namespace["encode_row"](prompt, completion, a["eos"].item())
        ids, labels = _parts(pair, 2, "the result")
        made |= {f"ids_{k}": array(ids, "the first"), f"labels_{k}": array(labels, "the second")}
    return made


def _mask_candidates(ids, p):
    """What learners return for the labels of one row of ids with p prompt tokens, by mistake."""
    right = np.where(np.arange(len(ids)) < p, IGNORED, ids)
    masked = lambda n: np.where(np.arange(len(ids)) < n, IGNORED, ids)  # noqa: E731
    return right, {
        "prompt_in_loss": [ids],
        "eos_masked": [np.append(right[:-1], IGNORED)],
        "shifted": [np.append(right[1:], IGNORED), right[1:], np.append(right[1:], ids[-1])],
        "one_early": [masked(p - 1)],
        "one_late": [masked(p + 1)],
        "inverted": [np.where(np.arange(len(ids)) < p, ids, IGNORED)],
        "all_masked": [np.full(len(ids), IGNORED)],
    }


def judge_mask(inputs, outputs):
    found = []
    for k, (p, _) in enumerate(LENGTHS):
        whole = np.concatenate([inputs[f"prompt_{k}"], inputs[f"completion_{k}"]])
        ids = np.append(whole, inputs["eos"])
        seen, labels = outputs[f"ids_{k}"], outputs[f"labels_{k}"]
        if _same(seen, whole):
            return Verdict(0.0, "no_eos", f"{len(seen)} tokens", f"{len(ids)}, eos_id comes last")
        if np.any(seen == IGNORED):
            return Verdict(0.0, "inputs_masked", f"the tokens {_listed(seen)}", _listed(ids))
        if not _same(seen, ids):
            return Verdict(0.0, "other", f"the tokens {_listed(seen)}", _listed(ids))
        right, known = _mask_candidates(ids, p)
        names = {n for n, forms in known.items() if any(_same(labels, form) for form in forms)}
        if labels.shape == ids.shape and _same(labels[p:], ids[p:]):
            fill = set(labels[:p].tolist())
            names |= {"other_number"} if len(fill) == 1 and fill != {IGNORED} else set()
        found.append({"right"} if _same(labels, right) else names)
    if all(names == {"right"} for names in found):
        return Verdict(1.0)
    keys = set.intersection(*found) or {"other"}
    bad = next(k for k, names in enumerate(found) if names != {"right"})
    right = _mask_candidates(outputs[f"ids_{bad}"], LENGTHS[bad][0])[0]
    return Verdict(0.0, min(keys), f"labels {_listed(outputs[f'labels_{bad}'])}", _listed(right))


loss_mask = Check(
    name="loss_mask",
    title="The loss mask",
    wants=("encode_row",),
    difficulty=1,
    minutes=8,
    points=15,
    verified="tokens and labels of three rows, one with an end token inside the prompt",
    hints=(
        "How many labels does a row need, and which of them should the loss skip?",
        "The tokens are prompt, completion and eos, one after the other. The labels are the same "
        "row with the prompt painted over. The model itself compares position t with label t + 1.",
        "`ids = prompt_ids + completion_ids + [eos_id]`; the labels are "
        "`[-100] * len(prompt_ids)` and then the rest of `ids`.",
    ),
    mistakes={
        "prompt_in_loss": "The prompt is in the loss too. The model would mostly learn to write "
        "questions. Put -100 on the prompt's labels.",
        "eos_masked": "The last label is -100, so the model never learns to stop. The end token "
        "belongs to the answer: keep it in the labels.",
        "no_eos": "The end token is missing. Without it in tokens and labels the model never "
        "learns to stop.",
        "shifted": "The labels are shifted by one. The model shifts them itself: label t has the "
        "same token as position t. Shifted twice, it learns the token after next.",
        "one_early": "The last token of the prompt is still in the loss. Count: the mask has as "
        "many places as the prompt has tokens.",
        "one_late": "The first token of the completion is masked. It is the most important one: "
        "count how many places the mask has.",
        "inverted": "This is the reverse: the loss is on the prompt and skips the answer.",
        "all_masked": "Every label is -100. Then no token is left to learn from, and the loss is "
        "nan.",
        "other_number": "The prompt is painted over with another number. Only -100 is skipped by "
        "the loss; any other number is taken for a token.",
        "inputs_masked": "-100 is in the tokens. The model must read the prompt: -100 belongs in "
        "the labels only.",
        "raised:TypeError": "prompt_ids and completion_ids are lists, eos_id is one number. Put it "
        "in a list before you add it: `[eos_id]`.",
        "other": "Print both rows under each other, and go through them token by token.",
    },
    make=make_mask,
    probe=probe_mask,
    judge=judge_mask,
)


# 5.2 The collate function
ROWS = (4, 7, 5, 6), (8, 3, 5)  # lengths of the rows of two batches
KEYS = "input_ids", "attention_mask", "labels"


def make_collate(seed):
    rng = np.random.default_rng(seed + 510)
    made = {"pad_0": np.array(rng.integers(2, 9)), "pad_1": np.array(9)}
    for batch, lengths in enumerate(ROWS):
        for k, length in enumerate(lengths):
            ids = 10 + rng.permutation(80)[:length]
            ids[-1] = made["pad_0"]  # the end token; in batch 0 it is the padding token as well
            prompt = int(rng.integers(1, length - 1))
            labels = np.where(np.arange(length) < prompt, IGNORED, ids)
            made |= {f"ids_{batch}_{k}": ids, f"labels_{batch}_{k}": labels}
    return made


def _rows(a, batch):
    n = len(ROWS[batch])
    return [(a[f"ids_{batch}_{k}"], a[f"labels_{batch}_{k}"]) for k in range(n)]


def probe_collate(namespace, a):
    made = {}
    for batch in range(len(ROWS)):
        rows = [(ids.tolist(), labels.tolist()) for ids, labels in _rows(a, batch)]
        result = namespace["collate"](rows, a[f"pad_{batch}"].item())
        if result is None:
            array(None, "the batch")
        if not hasattr(result, "keys"):
            raise Refused("type", f"the batch is {kind(result)}.", "a dict of three tensors.")
        for key in KEYS:
            if key not in result:
                raise Refused("type", f"the batch has no {key!r}.", "a dict with three keys.")
            made[f"{key}_{batch}"] = array(result[key], key)
    return made


def _padded(rows, fill, which, left=False):
    width = max(len(row[0]) for row in rows)
    made = np.full((len(rows), width), fill)
    for line, row in zip(made, rows, strict=True):
        n = len(row[0])
        line[width - n if left else 0 : width if left else n] = 1 if which is None else row[which]
    return made


def _collate_wrong(rows, pad, seen):
    """Which of the three tensors of one batch is wrong, and how: a key; "" when all is right."""
    right = {
        "input_ids": _padded(rows, pad, 0),
        "attention_mask": _padded(rows, 0, None),
        "labels": _padded(rows, IGNORED, 1),
    }
    ids, mask, labels = (seen[key] for key in KEYS)
    if _same(ids, _padded(rows, pad, 0, left=True)) and not _same(ids, right["input_ids"]):
        return "left_padding", "input_ids"
    if ids.ndim != 2 or ids.shape != right["input_ids"].shape:
        shortest = min(len(row[0]) for row in rows)
        cut = ids.ndim == 2 and ids.shape[1] == shortest
        return "truncated" if cut else "width", "input_ids"
    for key, value in (("input_ids", ids), ("labels", labels)):
        if value.dtype.kind == "f":
            return "floats", key
    real = right["attention_mask"] == 1
    if not _same(ids, right["input_ids"]):
        return ("pad_id" if _same(ids[real], right["input_ids"][real]) else "other"), "input_ids"
    if not _same(mask, right["attention_mask"]):
        known = {
            "mask_ones": np.ones_like(real),
            "mask_by_id": ids != pad,
            "mask_hides_prompt": right["labels"] != IGNORED,
            "mask_inverted": ~real,
        }
        hits = [name for name, value in known.items() if _same(mask, value)]
        return (hits or ["other"])[0], "attention_mask"
    if _same(labels, right["labels"]):
        return "", ""
    if _same(labels, np.where(ids == pad, IGNORED, right["labels"])):
        return "eos_masked", "labels"
    if any(_same(labels, np.where(real & (ids != p), ids, IGNORED)) for p in (pad, -1)):
        return "prompt_in_loss", "labels"
    if labels.shape == real.shape and _same(labels[real], right["labels"][real]):
        return "pads_in_loss", "labels"
    return "other", "labels"


def judge_collate(inputs, outputs):
    for batch in range(len(ROWS)):
        rows, pad = _rows(inputs, batch), inputs[f"pad_{batch}"].item()
        seen = {key: outputs[f"{key}_{batch}"] for key in KEYS}
        mistake, where = _collate_wrong(rows, pad, seen)
        if mistake:
            value = seen[where]
            text = f"{where} of shape {tuple(value.shape)}"
            if value.ndim == 2 and len(value):
                text += f", first row {_listed(value[0])}"
            fill, which = {"input_ids": (pad, 0), "labels": (IGNORED, 1)}.get(where, (0, None))
            wanted = _padded(rows, fill, which)
            return Verdict(
                0.0, mistake, text, f"shape {tuple(wanted.shape)}, first row {_listed(wanted[0])}"
            )
    return Verdict(1.0)


collate = Check(
    name="collate",
    title="The collate function",
    wants=("collate",),
    difficulty=2,
    minutes=12,
    points=20,
    verified="tokens, attention mask and labels of two batches, one with pad_id = eos_id",
    hints=(
        "Find the longest row first. Each of the three tensors is filled up to it, with a filler "
        "of its own.",
        "The fillers: `pad_id` for the tokens, 0 for the attention mask, -100 for the labels. A "
        "row's length tells where the filling begins; a token's number does not.",
        "For one row with `n = width - len(ids)` places to fill: `ids + [pad_id] * n`, "
        "`[1] * len(ids) + [0] * n`, `labels + [-100] * n`. Then `torch.tensor` of each list.",
    ),
    mistakes={
        "left_padding": "The rows are filled on the left. That is for generating; for training "
        "fill them on the right, after the end token.",
        "width": "The batch has another shape than (rows, longest row).",
        "truncated": "The rows were cut to the shortest one. Answers and their end tokens are lost "
        "without a word. Fill up to the longest instead.",
        "floats": "Token numbers must be whole numbers. `torch.zeros` and `torch.ones` make "
        "floats; give them `dtype=torch.long`.",
        "pad_id": "The tokens are filled up with another number than pad_id.",
        "mask_ones": "The attention mask is 1 everywhere. It is 0 where a row was filled up.",
        "mask_by_id": "The attention mask was found by comparing with pad_id. Here the padding "
        "token is the end token as well, and the real one got hidden. Use the row's length.",
        "mask_hides_prompt": "The attention mask hides the prompt. The model must read it: only "
        "the filling gets 0. What the loss skips is the business of the labels.",
        "mask_inverted": "The attention mask is the wrong way round: 1 means a real token.",
        "eos_masked": "The labels lost their end token: they were masked by comparing with pad_id, "
        "and here pad_id is the end token. Such a model never stops. Use the row's length.",
        "pads_in_loss": "The filling is in the loss. Its labels must be -100, or the model is "
        "mostly praised for predicting padding.",
        "prompt_in_loss": "The labels were made from the tokens. The mask over the prompt got "
        "lost: fill up the labels that each row brings.",
        "raised:ValueError": "torch.tensor needs rows of equal length. Fill them up first.",
        "other": "Print the three tensors of a batch with two short rows.",
    },
    make=make_collate,
    probe=probe_collate,
    judge=judge_collate,
)


# 5.3 The schedule
def make_schedule(seed):
    rng = np.random.default_rng(seed + 520)
    steps, warmup = int(rng.integers(20, 31)), int(rng.integers(4, 8))
    peak = float(rng.choice([3e-4, 2e-3, 5e-3]))
    runs = [(steps, peak, warmup, 0.1 * peak), (steps + 7, peak, 0, 0.2 * peak)]
    return {"runs": np.array(runs)}


def probe_schedule(namespace, a):
    made = {}
    for k, (steps, peak, warmup, floor) in enumerate(a["runs"].tolist()):
        rates = [
            namespace["schedule"](step, int(steps), peak, int(warmup), floor)
            for step in range(int(steps))
        ]
        made[f"rates_{k}"] = array([array(rate, "the rate") for rate in rates], "the rates")
    return made


def _rates(steps, peak, warmup, floor):
    """The right rates and the wrong ones that learners compute."""
    t = np.arange(int(steps))
    rise = peak * (t + 1) / max(warmup, 1)
    progress = (t - warmup) / (steps - warmup)

    def fall(progress, low=floor, high=peak, turn=np.pi):
        return low + (high - low) * (1 + np.cos(turn * progress)) / 2

    def join(up, down):
        return np.where(t < warmup, up, down)

    right = join(rise, fall(progress))
    return right, {
        "from_zero": join(peak * t / max(warmup, 1), fall(progress)),
        "no_warmup": fall(t / steps),
        "jump": join(rise, fall(t / steps)),
        "no_floor": join(rise, fall(progress, 0)),
        "floor_added": join(rise, fall(progress, floor, floor + peak)),
        "full_turn": join(rise, fall(progress, turn=2 * np.pi)),
        "quarter_turn": join(rise, floor + (peak - floor) * np.cos(np.pi / 2 * progress)),
        "straight": join(rise, peak + (floor - peak) * progress),
        "no_half": join(rise, floor + (peak - floor) * np.cos(np.pi * progress)),
        "floor_early": join(rise, fall((t - warmup) / (steps - 1 - warmup))),
        "reversed": join(rise, fall(1 - progress)),
        "rise_from_floor": join(floor + (peak - floor) * (t + 1) / max(warmup, 1), fall(progress)),
        "no_fall": join(rise, np.full(len(t), peak)),
    }


def judge_schedule(inputs, outputs):
    runs = inputs["runs"]
    seen = [outputs[f"rates_{k}"] for k in range(len(runs))]
    for rates, run in zip(seen, runs, strict=True):
        if rates.shape != (int(run[0]),):
            shape = f"an array of shape {rates.shape[1:]} for one step"
            return Verdict(0.0, "other", shape, "one number")
    tables = [_rates(*run) for run in runs]
    fits = lambda a, b, peak: close(a, b, rtol=1e-4, atol=1e-6 * peak)  # noqa: E731
    if all(fits(s, t[0], run[1]) for s, t, run in zip(seen, tables, runs, strict=True)):
        return Verdict(1.0)
    for key in tables[0][1]:
        if all(fits(s, t[1][key], run[1]) for s, t, run in zip(seen, tables, runs, strict=True)):
            return Verdict(0.0, key, *_first_rate(seen, tables, runs))
    return Verdict(0.0, "other", *_first_rate(seen, tables, runs))


def _first_rate(seen, tables, runs):
    for rates, (right, _), (steps, peak, warmup, floor) in zip(seen, tables, runs, strict=True):
        off = ~np.isclose(rates, right, rtol=1e-4, atol=1e-6 * peak)
        if off.any():
            at = int(np.argmax(off))
            given = f"steps {steps:g}, peak {peak:g}, warmup {warmup:g}, floor {floor:g}"
            return f"{rates[at]:.4g} in step {at} ({given})", f"{right[at]:.4g}"
    return "", ""


schedule = Check(
    name="schedule",
    title="The schedule",
    wants=("schedule",),
    difficulty=2,
    minutes=10,
    points=15,
    verified="every step of two schedules, one without warm-up",
    hints=(
        "Two cases: `step < warmup`, and the rest. Write down the rate of step 0, of the last "
        "rising step, and of the step that comes after the end.",
        "Rising: the share (step + 1) / warmup of the peak. Falling: let the progress run from 0, "
        "at step = warmup, to 1, at step = steps. (1 + cos(pi * progress)) / 2 falls from 1 to 0; "
        "stretch that to run from peak to floor.",
        "`progress = (step - warmup) / (steps - warmup)` and `floor + (peak - floor) * "
        "(1 + math.cos(math.pi * progress)) / 2`.",
    ),
    mistakes={
        "from_zero": "The first step has a rate of 0 and is wasted. Count the rise from 1: "
        "(step + 1) / warmup, so that the last rising step has the peak.",
        "no_warmup": "The rising part is missing. It comes before the cosine, for step < warmup.",
        "jump": "The cosine is counted from step 0, so the rate drops at the end of the warm-up. "
        "Its progress is (step - warmup) / (steps - warmup).",
        "no_floor": "The rate falls to 0. It should fall to floor.",
        "floor_added": "floor was added on top, so the rate begins above the peak. The cosine "
        "covers the distance from floor to peak, which is peak - floor.",
        "full_turn": "The cosine makes a full turn: the rate comes back up at the end. Half a "
        "turn, pi, is enough.",
        "quarter_turn": "This is a quarter of a turn. Half a turn of (1 + cos) / 2 starts and ends "
        "flat.",
        "straight": "The rate falls in a straight line. Ask for the cosine of the progress.",
        "no_half": "The cosine runs from 1 to -1, so the rate goes below the floor. Use "
        "(1 + cos) / 2, which runs from 1 to 0.",
        "floor_early": "The last step already has the floor. The floor comes one step after the "
        "last: divide by steps - warmup.",
        "reversed": "After the warm-up the rate goes up again. The cosine of 0 is 1: mind the "
        "direction.",
        "rise_from_floor": "The rise is counted from floor to peak. In the warm-up, the rate is "
        "the share (step + 1) / warmup of the peak; floor plays no part.",
        "no_fall": "After the warm-up the rate stays at the peak. Let it fall along the cosine.",
        "raised:ZeroDivisionError": "warmup can be 0. Divide by it only where step < warmup.",
        "other": "Print the rates of 10 steps with a warm-up of 3.",
    },
    make=make_schedule,
    probe=probe_schedule,
    judge=judge_schedule,
)


# 5.4 Save and load an adapter
SIDES = {"attention": (6, 5), "mlp": (5, 7)}  # in, out
NAMES = [f"{layer}.lora_{factor}" for layer in SIDES for factor in "AB"]


def make_files(seed):
    rng = np.random.default_rng(seed + 530)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    made = {}
    for layer, (d_in, d_out) in SIDES.items():
        made |= {f"{layer}.W": f(d_out, d_in), f"{layer}.lora_A": f(3, d_in)}
        made |= {f"{layer}.lora_B": f(d_out, 3)}
    return made


def _model(a, factors=1.0):
    """A tiny model with two LoRA layers and a frozen head; its factors times a number."""
    import torch
    from torch import nn

    from lora_course.lora import LoRALinear

    model = nn.ModuleDict()
    for layer, (d_in, d_out) in SIDES.items():
        wrapped = LoRALinear(nn.Linear(d_in, d_out), r=3, lora_alpha=5)
        with torch.no_grad():
            wrapped.base_layer.weight.copy_(tensor(a[f"{layer}.W"]))
            wrapped.base_layer.bias.fill_(0.5)
            wrapped.lora_A.copy_(factors * tensor(a[f"{layer}.lora_A"]))
            wrapped.lora_B.copy_(factors * tensor(a[f"{layer}.lora_B"]))
        model[layer] = wrapped
    model["head"] = nn.Linear(7, 4).requires_grad_(False)
    nn.init.ones_(model["head"].weight)
    nn.init.zeros_(model["head"].bias)
    return model


def _state(model):
    """All factors in one row of numbers, and all the rest in another."""
    state = model.state_dict()
    rest = [name for name in state if name not in NAMES]
    flat = lambda names: np.concatenate([state[n].numpy().ravel() for n in names])  # noqa: E731
    return flat(NAMES), flat(rest)


def probe_files(namespace, a):
    import tempfile

    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    save, load = namespace["save_adapter"], namespace["load_adapter"]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/adapter.safetensors"
        trained = _model(a)
        save(trained, path)
        after, rest = _state(trained)
        made = {"saver_factors": after, "saver_rest": rest}
        try:
            found = load_file(path)
        except SafetensorError:
            return {**made, "readable": 0.0}
        except FileNotFoundError:
            return {**made, "readable": -1.0}
        made["readable"] = 1.0
        made["others"] = float(len(found.keys() - set(NAMES)))
        made["missing"] = float(len(set(NAMES) - found.keys()))
        good = {name: t.clone() for name, t in trained.state_dict().items() if name in NAMES}
        if made["missing"]:
            return made
        made["values"] = np.concatenate([array(found[n]).ravel() for n in NAMES])
        save_file(good, path)
        fresh = _model(a, factors=-0.25)
        load(fresh, path)
        made["loaded_factors"], made["loaded_rest"] = _state(fresh)
        own = dict(fresh.named_parameters())
        made["trains"] = float(all(n in own and own[n].requires_grad for n in NAMES))
        wrong = {
            "lacking": {n: t for n, t in good.items() if n != NAMES[2]},
            "extra": {**good, "other.lora_A": good[NAMES[0]].clone()},
            "shape": {**good, NAMES[3]: good[NAMES[3]][:, :2].contiguous()},
        }
        for case, tensors in wrong.items():
            save_file(tensors, path)
            fresh = _model(a, factors=-0.25)
            try:
                load(fresh, path)
                made[f"{case}_raised"] = 0.0
            except NotImplementedError:
                raise
            except ValueError:
                made[f"{case}_raised"] = 1.0
            except Exception:
                made[f"{case}_raised"] = 2.0
            made[f"{case}_factors"], made[f"{case}_rest"] = _state(fresh)
    return made


CASES = {
    "lacking": "a file in which one factor is missing",
    "extra": "a file with a factor too many",
    "shape": "a file in which the last factor has another rank",
}


def judge_files(inputs, outputs):
    o = outputs
    factors = np.concatenate([inputs[name].ravel() for name in NAMES])
    untouched, rest = -0.25 * factors, o["saver_rest"]
    if o["readable"] != 1:
        if o["readable"] < 0:
            return Verdict(0.0, "no_file", "no file at the path", "a safetensors file")
        return Verdict(0.0, "not_safetensors", "a file that safetensors cannot read")
    if o["others"]:
        key = "base_saved" if not o["missing"] else "names"
        return Verdict(0.0, key, f"{int(o['others'])} other tensors in the file", "the factors")
    if o["missing"]:
        seen = f"{int(o['missing'])} of {len(NAMES)} factors are not in the file"
        return Verdict(0.0, "factors_missing", seen)
    if not _same(o["values"], factors.astype(np.float32)):
        return Verdict(0.0, "values", "other numbers in the file than in the model")
    if not _same(o["saver_factors"], factors.astype(np.float32)):
        return Verdict(0.0, "values", "saving changed the model")
    if not _same(o["loaded_rest"], rest):
        return Verdict(0.0, "base_changed", "loading changed the base")
    if _same(o["loaded_factors"], untouched.astype(np.float32)):
        return Verdict(0.0, "nothing_loaded", "the factors are those from before")
    if not _same(o["loaded_factors"], factors.astype(np.float32)):
        return Verdict(0.0, "other", "the factors are not those of the file")
    if o["trains"] != 1:
        return Verdict(0.0, "frozen", "a factor is no longer a parameter that trains")
    return _refusal(o, untouched.astype(np.float32), rest) or Verdict(1.0)


def _refusal(o, untouched, rest):
    """Verdict on files that do not fit, None when all are refused and the model is left alone."""
    share = 0.5  # saving and loading a good file
    for case, what in CASES.items():
        if o[f"{case}_raised"] == 0:
            key = "silent_shape" if case == "shape" else f"silent_{case}"
            return Verdict(share, key, f"no error for {what}", "a ValueError")
    for case, what in CASES.items():
        if not (_same(o[f"{case}_factors"], untouched) and _same(o[f"{case}_rest"], rest)):
            return Verdict(share, "half_loaded", f"{what} changed the model", "the model as it was")
    for case, what in CASES.items():
        if o[f"{case}_raised"] != 1:
            return Verdict(share, "wrong_error", f"another error for {what}", "a ValueError")
    return None


save_load = Check(
    name="save_load",
    title="Save and load an adapter",
    wants=("save_adapter", "load_adapter"),
    difficulty=3,
    minutes=20,
    points=25,
    verified="only the factors are in the file, they come back to the last bit, and three files "
    "that do not fit are refused with the model as it was",
    hints=(
        "The names of the factors contain `lora_`. `model.state_dict()` has all names; which are "
        "to go into the file?",
        "First compare, then copy. Compare the set of names in the file with the set in the model, "
        "then each shape. Only when everything fits, write the values into the tensors that are "
        "there already.",
        "`places = {n: p for n, p in model.named_parameters() if 'lora_' in n}`. Refuse when "
        "`loaded.keys() != places.keys()` or when any shape differs, with `raise ValueError(...)`. "
        "Then, under `torch.no_grad()`, `place.copy_(loaded[name])` for each.",
    ),
    mistakes={
        "no_file": "Write the file to exactly the path that was given.",
        "not_safetensors": "The file is not in the safetensors format. `torch.save` writes "
        "pickles, which can run code when they are loaded: use `save_file`.",
        "base_saved": "The base is in the file as well. That makes it as large as the whole "
        "model: keep only the names with `lora_`.",
        "names": "The tensors in the file have other names. Keep the names that "
        "`model.state_dict()` gives them.",
        "factors_missing": "Factors are missing in the file. Each layer has two, lora_A and "
        "lora_B.",
        "values": "Saving must leave the numbers as they are.",
        "base_changed": "Loading an adapter must not touch the base.",
        "nothing_loaded": "Nothing arrived in the model. Assigning to a variable moves no numbers: "
        "use `place.copy_(value)` or `load_state_dict`.",
        "frozen": "After loading, the factors can no longer train. Write into the parameters that "
        "are there, with `copy_` under `torch.no_grad()`.",
        "silent_lacking": "A factor is missing in the file, and nobody was told. With "
        "`strict=False` load_state_dict passes over that: compare the names yourself.",
        "silent_extra": "The file has a factor for which the model has no place, and nobody was "
        "told. Compare the names in both directions.",
        "silent_shape": "A factor of another rank was accepted. Compare the shapes.",
        "half_loaded": "A file that does not fit left the model half loaded. Compare all names and "
        "shapes first, and copy only then.",
        "wrong_error": "The file was refused, but not with a ValueError that says what does not "
        "fit. Check names and shapes yourself.",
        "raised:RuntimeError": "Two usual causes. A parameter is changed in place: do that under "
        "`torch.no_grad()`. Or load_state_dict is strict, and a file without the base lacks "
        "names: copy the factors one by one, or compare the names yourself and say strict=False.",
        "other": "Save, load into a second model, and compare name by name.",
    },
    make=make_files,
    probe=probe_files,
    judge=judge_files,
)


# 5.5 Why does it not learn?
STEPS = 40
NAN = -1.0  # stands for a loss of nan until the probe, because nan differs from itself
KINDS = "healthy", "labels", "optimizer", "zeros", "slow"


def _run(rng, fault):
    """The log of a real small run: LoRA against a hidden update, Adam, written out in numpy."""
    d_in, d_out, r = 12, 8, 3
    hidden = rng.normal(size=(d_out, d_in))
    X = rng.normal(size=(64, d_in))
    A = rng.uniform(-1, 1, size=(r, d_in)) / np.sqrt(d_in)
    B = np.zeros((d_out, r))
    A = 0 * A if fault == "zeros" else A
    lr = 2e-5 if fault == "slow" else 0.03
    moments, log = [0.0, 0.0, 0.0, 0.0], {key: [] for key in ("losses", *LOGGED)}
    for step in range(1, STEPS + 1):
        error = X @ (2 * B @ A - hidden).T  # (64, out)
        G = 2 * error.T @ X / len(X)  # (out, in)
        grads = np.zeros_like(A) + 2 * B.T @ G, np.zeros_like(B) + 2 * G @ A.T
        loss = (error**2).sum(1).mean() * rng.uniform(0.995, 1.005)
        if fault == "labels":
            grads, loss = (0 * grads[0], 0 * grads[1]), NAN
        row = loss, *(np.linalg.norm(m) for m in (*grads, A, B))
        for key, value in zip(log, row, strict=True):
            log[key].append(value)
        for k, g in enumerate(grads):
            moments[k] = 0.9 * moments[k] + 0.1 * g
            moments[k + 2] = 0.999 * moments[k + 2] + 0.001 * g**2
            mean, square = moments[k] / (1 - 0.9**step), moments[k + 2] / (1 - 0.999**step)
            if fault != "optimizer":
                (A, B)[k][...] -= lr * mean / (np.sqrt(square) + 1e-8)
    labels = rng.integers(3, 900, size=(4, 10))
    for row in labels:
        row[: rng.integers(3, 8)] = IGNORED
    return {"labels": np.full_like(labels, IGNORED) if fault == "labels" else labels, **log}


LOGGED = "grad_A", "grad_B", "A", "B"
ARGUMENTS = "labels", "losses", *LOGGED


def make_runs(seed):
    rng = np.random.default_rng(seed + 540)
    order = rng.permutation(np.repeat(np.arange(5), 3))
    runs = [_run(rng, KINDS[fault]) for fault in order]
    made = {key: np.stack([np.array(run[key]) for run in runs]) for key in ARGUMENTS}
    hidden = np.flatnonzero(order == 1)[0]
    made["losses"][hidden] = 0.0  # some trainers report 0 where others report nan
    return made


def probe_runs(namespace, a):
    import torch

    said = []
    for k in range(len(a["losses"])):
        log = [tensor(a[key][k]).to(torch.float32 if key != "labels" else torch.int64)
               for key in ARGUMENTS]  # fmt: skip
        log[1][log[1] == NAN] = torch.nan
        said.append(array(namespace["diagnose"](*log), "the diagnosis"))
    return {"said": array(said, "the diagnoses")}


def _truth(inputs):
    """What is wrong with each run, found from its arrays."""
    truth = []
    for k, losses in enumerate(inputs["losses"]):
        if np.all(inputs["labels"][k] == IGNORED):
            truth.append(1)
        elif not (inputs["grad_A"][k].any() or inputs["grad_B"][k].any()):
            truth.append(3)
        elif inputs["B"][k][-1] == inputs["B"][k][0]:
            truth.append(2)
        else:
            truth.append(4 if losses[-10:].mean() > 0.95 * losses[:10].mean() else 0)
    return np.array(truth)


CONFUSED = {  # (truth, said) -> mistake; the first that fits is named
    (1, 0): "labels_missed",
    (0, 3): "first_step",
    (1, 3): "labels_are_zeros",
    (1, 2): "labels_are_stuck",
    (2, 3): "half_zero",
    (3, 2): "zeros_are_stuck",
    (4, 2): "slow_is_stuck",
    (4, 0): "slow_is_healthy",
    (0, 4): "healthy_is_slow",
    (1, 4): "labels_are_slow",
    (2, 4): "stuck_is_slow",
}


def judge_runs(inputs, outputs):
    truth, said = _truth(inputs), outputs["said"]
    if said.shape != truth.shape or said.dtype.kind == "c":
        return Verdict(0.0, "other", f"{said.shape[1:]} instead of one number", "0, 1, 2, 3 or 4")
    right = {fault: bool(np.all(said[truth == fault] == fault)) for fault in range(5)}
    if all(right.values()):
        return Verdict(1.0)
    share = 0.0 if right == {0: True, 1: False, 2: False, 3: False, 4: False} else 0.2
    share *= sum(right.values())
    if not np.all(np.isin(said, range(5))):
        odd = said[~np.isin(said, range(5))][0]
        return Verdict(share, "code", f"a diagnosis of {odd:g}", "0, 1, 2, 3 or 4")
    pairs = set(zip(truth.tolist(), said.tolist(), strict=True))
    words = [f"{fault} ({name})" for fault, name in enumerate(WORDS)]
    for (fault, answer), key in CONFUSED.items():
        if (fault, answer) in pairs:
            return Verdict(share, key, f"a run called {words[answer]}", words[fault])
    fault, answer = next((f, s) for f, s in sorted(pairs) if f != s)
    return Verdict(share, "other", f"a run called {words[int(answer)]}", words[fault])


WORDS = "it learns", "labels masked", "wrong optimizer", "both factors zero", "rate too low"

triage = Check(
    name="triage",
    title="Why does it not learn?",
    wants=("diagnose",),
    difficulty=4,
    minutes=20,
    points=25,
    verified="15 logs of real small runs, three of each kind",
    hints=(
        "Which evidence does each fault leave? Make a table: five rows for the diagnoses, columns "
        "for labels, gradients, weights and loss.",
        "Ask in this order. Is there a label at all? Is there a gradient, in any step, of A or of "
        "B? Do the weights move, be it ever so little? Does the loss fall?",
        "1 when `(labels == -100).all()`. Else 3 when neither `grad_A` nor `grad_B` is ever above "
        "0. Else 2 when `B` is the same from the first step to the last. Else 4 or 0, by the mean "
        "of the last ten losses against that of the first ten.",
    ),
    mistakes={
        "first_step": "A healthy run was taken for two zero factors. In step 0 the gradient of A "
        "is rightly zero, because B is. Look at both gradients, over all steps.",
        "labels_are_zeros": "Where all labels are masked there is no gradient either. Look at the "
        "labels first.",
        "labels_are_stuck": "Where all labels are masked nothing moves either. Look at the labels "
        "first.",
        "labels_are_slow": "Where all labels are masked the loss says nothing. Look at the labels "
        "first.",
        "labels_missed": "A run whose labels are all -100 passed. The loss may read nan or 0: look "
        "at the labels, not at the loss.",
        "half_zero": "B stays zero here, so the gradient of A is zero as well. But B has a "
        "gradient: it is the optimizer that does not use it.",
        "zeros_are_stuck": "Nothing moves here because no gradient is there to use. The optimizer "
        "is to blame only where there is a gradient.",
        "slow_is_stuck": "These weights do move, by very little. Ask for exact equality between "
        "the first and the last step, not for nearly.",
        "slow_is_healthy": "The weights move, yet the loss has fallen by less than 5 %. Compare "
        "the mean of the last ten losses with that of the first ten.",
        "healthy_is_slow": "This loss falls by more than 5 %. Compare the mean of the last ten "
        "losses with that of the first ten.",
        "stuck_is_slow": "Here the weights do not move at all, in no step. Ask that before you ask "
        "for the loss.",
        "code": "Return one of the numbers 0 to 4.",
        "other": "Make a table of what each fault does to labels, gradients, weights and loss.",
    },
    make=make_runs,
    probe=probe_runs,
    judge=judge_runs,
)


EXERCISES = (loss_mask, collate, schedule, save_load, triage)
