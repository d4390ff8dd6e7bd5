"""Checks of chapter 05: the loss mask, collate, the schedule, save and load, triage, the loop."""

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, array, tensor
from lora_course.checks.guard import described
from lora_course.checks.slips import Promise, Slip, in_parts, judged, seen_as
from lora_course.checks.values import Refused, close, every, kind, none, text, words

IGNORED = -100

# 5.1 The loss mask
ROWS = range(3)


def make_mask(seed):
    rng = np.random.default_rng(seed + 500)
    made = {"eos": rng.integers(2, 9)}
    for k, (p, c) in enumerate([(5, 3), (2, 6), (8, 1)]):  # tokens of prompt and completion
        p, c = p + rng.integers(3), c + (rng.integers(3) if c > 1 else 0)
        ids = 10 + rng.permutation(60)[: p + c]
        made |= {f"prompt_{k}": ids[:p], f"completion_{k}": ids[p:]}
    made["prompt_2"][3] = made["eos"]  # an earlier turn of the talk ends there
    made["completion_0"][1] = made["prompt_0"][2]  # a word of the question in the answer
    made["completion_1"][[0, -1]] = made["prompt_1"][0], made["eos"]  # it begins alike, ends twice
    made["completion_1"][2] = made["eos"]  # and has an end on the way
    return made


def probe_mask(namespace, a):
    made, whole, left = {}, [], []
    for k in ROWS:
        given = a[f"prompt_{k}"].tolist(), a[f"completion_{k}"].tolist()
        before = callers.Before(*given)
        result = namespace["encode_row"](*given, a["eos"].item())
        pair = fixtures.several(result, ("ids", "labels"), "encode_row")
        made |= {f"ids_{k}": pair[0], f"labels_{k}": pair[1]}
        whole += [part.dtype.kind in "iu" for part in pair]
        left.append(before.change())
    return {**made, "whole": np.array(whole), "left": max(left)}


def rows(i, change):
    """A slip's values: change(ids of the whole row, length of the prompt) -> ids, labels."""
    made = {}
    for k in ROWS:
        ids = np.append(np.concatenate([i[f"prompt_{k}"], i[f"completion_{k}"]]), i["eos"])
        made[f"ids_{k}"], made[f"labels_{k}"] = change(ids, len(i[f"prompt_{k}"]))
    return made


def masked(ids, n, fill=IGNORED):
    """The ids with the first n painted over."""
    return np.where(np.arange(len(ids)) < n, fill, ids)


def labels(*changes):
    """A slip's values with the right ids and labels by any of changes(ids, p)."""
    return lambda i: [rows(i, lambda ids, p, c=c: (ids, c(ids, p))) for c in changes]


def tokens(*changes):
    """A slip's values of the ids, by any of changes(ids, p)."""
    return lambda i: [{k: v for k, v in rows(i, lambda ids, p, c=c: (c(ids, p), ids)).items()
                       if k.startswith("ids")} for c in changes]  # fmt: skip


def wrong_at(i, k, where):
    """A condition: the first wrong label of row k is in the prompt, or in the answer."""
    right, p = rows(i, lambda ids, p: (ids, masked(ids, p)))[f"labels_{k}"], len(i[f"prompt_{k}"])

    def found(value):
        if value.shape != right.shape:
            return where == "nowhere"
        return where == ("prompt" if np.argmax(value != right) < p else "answer")

    return found


def judge_mask(i, o):
    right = rows(i, lambda ids, p: (ids, masked(ids, p)))
    promises = []
    for key, what in (("ids", "tokens"), ("labels", "labels")):
        for k in ROWS:
            p, c = len(i[f"prompt_{k}"]), len(i[f"completion_{k}"])
            case = f"for {p} tokens of prompt and {c} of completion, the {what}"
            promises.append(Promise(f"{key}_{k}", right[f"{key}_{k}"], case))
    whole = Promise("whole", every, expected="whole numbers", seen="token numbers that are floats")
    promises += [whole, callers.unchanged("left", "prompt_ids or completion_ids")]
    return judged(i, o, promises, MASK, last=MASK_LAST)


MASK = (
    Slip("no_eos", "The end token is missing. Without it in tokens and labels the model never "
         "learns to stop.", lambda i: [rows(i, lambda ids, p: (ids[:-1], masked(ids[:-1], p))),
                                       rows(i, lambda ids, p: (ids[:-1], masked(ids, p)))]),
    Slip("inputs_masked", "-100 is in the tokens. The model must read the prompt: -100 belongs in "
         "the labels only.", lambda i: rows(i, lambda ids, p: (masked(ids, p), masked(ids, p)))),
    Slip("exchanged", "The two rows are exchanged: first the tokens, then the labels.",
         lambda i: rows(i, lambda ids, p: (masked(ids, p), ids[:]))),
    Slip("prompt_in_loss", "The prompt is in the loss too. The model would mostly learn to write "
         "questions. Put -100 on the prompt's labels.", labels(lambda ids, p: ids)),
    Slip("eos_masked", "The last label is -100, so the model never learns to stop. The end token "
         "belongs to the answer: keep it in the labels.",
         labels(lambda ids, p: np.append(masked(ids, p)[:-1], IGNORED))),
    Slip("shifted", "The labels are shifted by one. The model shifts them itself: label t has the "
         "same token as position t. Shifted twice, it learns the token after next.",
         labels(lambda ids, p: np.append(masked(ids, p)[1:], IGNORED),
                lambda ids, p: np.append(masked(np.append(ids[:p], ids[p + 1:]), p), IGNORED),
                lambda ids, p: masked(ids, p)[1:],
                lambda ids, p: np.append(masked(ids, p)[1:], ids[-1]))),
    Slip("one_early", "The last token of the prompt is still in the loss. Count: the mask has as "
         "many places as the prompt has tokens.", labels(lambda ids, p: masked(ids, p - 1))),
    Slip("one_late", "The first token of the completion is masked. It is the most important one: "
         "count how many places the mask has.", labels(lambda ids, p: masked(ids, p + 1))),
    Slip("inverted", "This is the reverse: the loss is on the prompt and skips the answer.",
         labels(lambda ids, p: np.where(np.arange(len(ids)) < p, ids, IGNORED))),
    Slip("all_masked", "Every label is -100. Then no token is left to learn from, and the loss is "
         "nan.", labels(lambda ids, p: np.full(len(ids), IGNORED))),
    Slip("completion_only", "The labels have no places for the prompt. Labels and tokens are as "
         "long as each other: the prompt's places hold -100.", labels(lambda ids, p: ids[p:])),
    Slip("by_token", "A token may stand in the prompt and in the answer, so its number tells "
         "nothing. Mask by position: the first len(prompt_ids) places.",
         labels(lambda ids, p: np.where(np.isin(ids, ids[:p]), IGNORED, ids),
                lambda ids, p: masked(ids, int(np.argmax(ids == ids[p]))),
                lambda ids, p: np.where(np.isin(ids, ids[:p]) & (ids != ids[-1]), IGNORED, ids))),
    Slip("other_number", "The prompt is painted over with another number. Only -100 is skipped by "
         "the loss; any other number is taken for a token.",
         lambda i: [rows(i, lambda ids, p, n=n: (ids, masked(ids, p, n)))
                    for n in (0, -1, 1, 100, int(i["eos"]))]),
    Slip("label_short", "The labels lack the end token: they have one place less than the tokens. "
         "It belongs to the answer.", labels(lambda ids, p: masked(ids, p)[:-1])),
    Slip("by_eos", "The end token may stand in the prompt and anywhere in the completion. Do not "
         "look for it: every row gets one at its end, and the first len(prompt_ids) labels are "
         "-100, no others.",
         lambda i: labels(
             lambda ids, p: np.where(ids == ids[-1], IGNORED, masked(ids, p)),
             lambda ids, p: np.append(np.where(ids == ids[-1], IGNORED, masked(ids, p))[:-1],
                                      ids[-1]),
             lambda ids, p: masked(ids, int(np.argmax(ids == ids[-1]))),
             lambda ids, p: masked(ids, int(np.argmax(ids == ids[-1])) + 1))(i) + tokens(
             lambda ids, p: ids[: np.argmax(ids == ids[-1]) + 1],
             lambda ids, p: ids[:-1] if ids[-2] == ids[-1] else ids)(i)),
    Slip("eos_place", "The end token stands in another place too, or twice. It comes once, after "
         "the completion.",
         tokens(lambda ids, p: np.concatenate([ids[:p], ids[-1:], ids[p:-1]]),
                lambda ids, p: np.concatenate([ids[:p], ids[-1:], ids[p:]]),
                lambda ids, p: np.append(ids, ids[-1]))),
    Slip("answer_first", "The completion stands before the prompt. The prompt comes first.",
         tokens(lambda ids, p: np.append(ids[p:], ids[:p]),
                lambda ids, p: np.concatenate([ids[p:-1], ids[:p], ids[-1:]]))),
    Slip("one_row", "A row is one plain list of numbers: take off the outer brackets.",
         lambda i: {"ids_0": lambda v: v.ndim > 1}),
    Slip("long_as_answer", "The mask is as long as the answer. It covers the prompt: "
         "len(prompt_ids) places.", labels(lambda ids, p: masked(ids, len(ids) - p - 1),
                                           lambda ids, p: masked(ids, len(ids) - p))),
    Slip("one_mark", "One -100 stands for the whole prompt. Each of its tokens needs one.",
         labels(lambda ids, p: masked(ids, p)[p - 1:])),
    Slip("mark_after", "The -100 come after the answer. Label t belongs to token t, so they come "
         "first, where the prompt is.",
         labels(lambda ids, p: np.append(ids[p:], np.full(p, IGNORED)))),
    Slip("only_eos", "The completion is masked too, and the model learns the end token alone.",
         labels(lambda ids, p: masked(ids, len(ids) - 1))),
    Slip("ones", "These are zeros and ones, as in an attention mask. A label is the number of the "
         "token itself, or -100.",
         labels(lambda ids, p: (np.arange(len(ids)) >= p) * 1,
                lambda ids, p: np.ones_like(ids), lambda ids, p: masked(np.ones_like(ids), p))),
    Slip("shifted_right", "The labels are shifted to the right by one. Label t has the same token "
         "as position t; the model itself compares position t with label t + 1.",
         labels(lambda ids, p: np.concatenate([[IGNORED], masked(ids, p)[:-1]]))),
    Slip("in_place", "`+=`, `.append()` and `.extend()` change the list that was given. "
         "Build a new one with `+`.", seen_as(left=5)),
)  # fmt: skip

MASK_LAST = (
    Slip("tokens", "The tokens are the prompt, the completion and one end token, in this order. "
         "Nothing else is added, left out or moved.",
         lambda i: [{f"ids_{k}": lambda v: True} for k in ROWS]),
    *(Slip(name, advice, lambda i, where=where: [{f"labels_{k}": wrong_at(i, k, where)}
                                                 for k in ROWS])
      for name, where, advice in (
          ("length", "nowhere", "Each token of the row has one label, that of the end token too."),
          ("prompt_labels", "prompt", "This place belongs to the prompt: its label is -100."),
          ("answer_labels", "answer", "This place belongs to the answer, which is all that comes "
           "after the prompt's len(prompt_ids) places: its label is the token itself."))),
)  # fmt: skip

loss_mask = Check(
    name="loss_mask", title="The loss mask", wants=("encode_row",),
    difficulty=1, minutes=8, points=10,
    verified="tokens and labels of three rows, one with an end token inside the prompt",
    hints=(
        "How many labels does a row need, and which of them should the loss skip?",
        "The tokens are prompt, completion and eos, one after the other. The labels are the same "
        "row with the prompt painted over. The model itself compares position t with label t + 1.",
        "`ids = prompt_ids + completion_ids + [eos_id]`; the labels are "
        "`[-100] * len(prompt_ids)` and then the rest of `ids`.",
    ),
    slips=MASK + MASK_LAST,
    other="Print both rows under each other, and go through them token by token.",
    make=make_mask, probe=probe_mask, judge=judge_mask,
)  # fmt: skip


# 5.2 The collate function
BATCHES = {"end": 4, "own": 3}  # name by what pad_id is: rows
KEYS = "input_ids", "attention_mask", "labels"


def make_collate(seed):
    rng = np.random.default_rng(seed + 510)
    made = {"eos": rng.integers(2, 9), "pad": 9}
    for batch, count in BATCHES.items():
        lengths = fixtures.sizes(rng, count, 4, 10)
        longest = max(lengths)
        lengths.remove(longest)
        longest += longest == 8  # no multiple of eight
        lengths = [*lengths, longest] if batch == "end" else [longest, *lengths]
        for k, length in enumerate(lengths):
            ids = 10 + rng.permutation(80)[:length]
            ids[[0, -1]] = made["eos"] if k else (ids[0], made["eos"])
            targets = masked(ids, rng.integers(1, length - 1))
            made |= {f"ids_{batch}_{k}": ids, f"labels_{batch}_{k}": targets}
    return made


def batch_of(i, batch):
    """[(ids, labels)] and pad_id of a batch."""
    pairs = [(i[f"ids_{batch}_{k}"], i[f"labels_{batch}_{k}"]) for k in range(BATCHES[batch])]
    return pairs, int(i["eos"] if batch == "end" else i["pad"])


def probe_collate(namespace, a):
    import torch

    made, left = {}, []
    for batch in BATCHES:
        pairs, pad = batch_of(a, batch)
        given = [(ids.tolist(), targets.tolist()) for ids, targets in pairs]
        before = callers.Before(given)
        result = namespace["collate"](given, pad)
        if result is None or not hasattr(result, "keys"):
            key = "none" if result is None else "type"
            raise Refused(key, f"collate returns {kind(result)}.", "a dict of three tensors.")
        keys = set(result.keys())
        if keys != set(KEYS):
            seen = f"the keys are {', '.join(sorted(map(str, keys)))}."
            raise Refused("type", seen, f"the keys {', '.join(KEYS)}, no others.")
        for key in KEYS:
            if not isinstance(result[key], torch.Tensor):
                raise Refused("type", f"{key} is {kind(result[key])}.", "a tensor.")
            made[f"{key}_{batch}"] = array(result[key], key)
        left.append(before.change())
    return {**made, "left": max(left)}


def padded(lines, fill, left=False):
    """Rows of different length as a rectangle."""
    width = max(map(len, lines))
    ends = [np.full(width - len(line), fill) for line in lines]
    pairs = zip(lines, ends, strict=True)
    return np.stack([np.concatenate((e, n) if left else (n, e)) for n, e in pairs])


def filled(i, change=None, left=False):
    """All outputs of right answers: change(dict of a batch, pairs, pad) makes a slip of them."""
    made = {}
    for batch in BATCHES:
        pairs, pad = batch_of(i, batch)
        right = {
            "input_ids": padded([ids for ids, _ in pairs], pad, left),
            "attention_mask": padded([np.ones_like(ids) for ids, _ in pairs], 0, left),
            "labels": padded([targets for _, targets in pairs], IGNORED, left),
        }
        right |= change(right, pairs, pad) if change else {}
        made |= {f"{key}_{batch}": value for key, value in right.items()}
    return made


def judge_collate(i, o):
    right, promises = filled(i), []
    for key in KEYS:
        for batch in BATCHES:
            name, pad = f"{key}_{batch}", "the" if batch == "end" else "not the"
            what, dtype = f"where pad_id is {pad} end token, {key}", "int64"
            if key == "attention_mask":
                dtype = ""
                promises.append(
                    Promise(
                        name,
                        lambda v: v.dtype.kind in "iub",
                        seen=f"{what}: floats",
                        expected="whole numbers or bool",
                    )
                )
            promises.append(Promise(name, right[name], what, dtype=dtype))
    promises.append(callers.unchanged("left", "the rows that were given"))
    return judged(i, o, promises, COLLATE, last=COLLATE_LAST)


def one_of(key, change):
    """A slip's values of this key: change(right, pairs, pad), in both batches."""

    def found(i):
        made = filled(i, lambda right, pairs, pad: {key: change(right, pairs, pad)})
        return {f"{key}_{batch}": made[f"{key}_{batch}"] for batch in BATCHES}

    return found


def is_float(value):
    return value.dtype.kind == "f"


def real(right):
    return right["attention_mask"] == 1


COLLATE = (
    Slip("floats", "Tokens, mask and labels are whole numbers. `torch.zeros` and `torch.ones` make "
         "floats; give them `dtype=torch.long`.",
         lambda i: [{f"{key}_{b}": is_float for b in BATCHES} for key in KEYS]),
    Slip("left_padding", "The rows are filled on the left. That is for generating; for training "
         "fill them on the right, after the end token.",
         lambda i: {k: v for k, v in filled(i, left=True).items() if k.startswith("input_ids")}),
    Slip("truncated", "The rows were cut to the shortest one. Answers and their end tokens are "
         "lost without a word. Fill up to the longest instead.",
         one_of("input_ids", lambda right, pairs, pad:
                right["input_ids"][:, : min(len(ids) for ids, _ in pairs)])),
    Slip("transposed", "Rows and positions are exchanged: (T, B) instead of (B, T). "
         "`pad_sequence` needs `batch_first=True`.",
         one_of("input_ids", lambda right, pairs, pad: right["input_ids"].T)),
    Slip("pad_id", "The tokens are filled up with another number than pad_id.",
         lambda i: {f"input_ids_{b}": lambda v, b=b: fits_where_real(i, b, v) for b in BATCHES}),
    Slip("mask_ones", "The attention mask is 1 everywhere. It is 0 where a row was filled up.",
         one_of("attention_mask", lambda right, *_: np.ones_like(right["attention_mask"]))),
    Slip("mask_by_id", "The attention mask was found by comparing with pad_id. Here the padding "
         "token is the end token as well, and the real one got hidden. Use the row's length.",
         one_of("attention_mask", lambda right, _, pad: right["input_ids"] != pad)),
    Slip("mask_hides_prompt", "The attention mask hides the prompt. The model must read it: only "
         "the filling gets 0. What the loss skips is the business of the labels.",
         one_of("attention_mask", lambda right, *_: right["labels"] != IGNORED)),
    Slip("mask_inverted", "The attention mask is the wrong way round: 1 means a real token.",
         one_of("attention_mask", lambda right, *_: ~real(right))),
    Slip("eos_masked", "The labels lost an end token: they were masked by comparing with pad_id, "
         "and here pad_id is the end token. Such a model never stops. Use the row's length.",
         one_of("labels", lambda right, _, pad:
                np.where(right["input_ids"] == pad, IGNORED, right["labels"]))),
    Slip("pads_in_loss", "The filling is in the loss. Its labels must be -100, or the model is "
         "mostly praised for predicting padding.",
         lambda i: [one_of("labels", lambda right, _, pad, n=n: np.where(
             real(right), right["labels"], pad if n is None else n))(i) for n in (None, 0, -1)]),
    Slip("prompt_in_loss", "The labels were made from the tokens. The mask over the prompt got "
         "lost: fill up the labels that each row brings.",
         lambda i: [one_of("labels", change)(i) for change in (
             lambda right, *_: np.where(real(right), right["input_ids"], IGNORED),
             lambda right, *_: right["input_ids"],
             lambda right, _, pad: np.where(real(right) & (right["input_ids"] != pad),
                                            right["input_ids"], IGNORED))]),
    Slip("sorted", "The rows came back in another order. Keep that of `rows`: nothing else says "
         "which row is which.",
         lambda i: [{f"input_ids_{b}": lambda v, b=b: other_order(filled(i)[f"input_ids_{b}"], v)}
                    for b in BATCHES]),
    Slip("shifted", "The labels are shifted by one. The model shifts them itself.",
         lambda i: [one_of("labels", change)(i) for change in (
             lambda right, *_: np.pad(right["labels"][:, 1:], ((0, 0), (0, 1)),
                                      constant_values=IGNORED),
             lambda _, pairs, pad: padded([np.append(IGNORED, t[:-1]) for _, t in pairs],
                                          IGNORED))]),
    Slip("two_sides", "The tokens are filled on the right, and this tensor on the left. All three "
         "are filled on the right, or a label and its token no longer meet.",
         lambda i: [{f"{key}_{b}": filled(i, left=True)[f"{key}_{b}"] for b in BATCHES}
                    for key in KEYS[1:]]),
    Slip("mask_values", "The attention mask holds 1 and 0 and nothing else: 1 for each token of "
         "the row, 0 for the filling.",
         lambda i: [{f"attention_mask_{b}": lambda v: v.dtype.kind in "iu"
                     and not np.isin(v, (0, 1)).all()} for b in BATCHES]),
    Slip("mask_count", "The ones of a row are as many as its tokens, len(ids), the end token "
         "included. Here it is one more or one less.",
         lambda i: [one_of("attention_mask", lambda _, pairs, pad, n=n: padded(
             [np.ones(len(ids), int) for ids, _ in pairs], 0) * (np.arange(
                 max(len(ids) for ids, _ in pairs)) < [[len(ids) + n] for ids, _ in pairs])
             | (np.arange(max(len(ids) for ids, _ in pairs)) < [[len(ids) + n] for ids, _ in pairs]
                ))(i) for n in (-1, 1)]),
    Slip("in_place", "`+=`, `.append()` and `.extend()` change the list that was given. "
         "Build a new one with `+`.", seen_as(left=5)),
)  # fmt: skip


def other_order(right, value):
    """The same rows, in another order."""
    return value.shape == right.shape and not np.array_equal(value, right) and np.array_equal(
        np.unique(value, axis=0), np.unique(right, axis=0))  # fmt: skip


def fits_where_real(i, batch, value):
    """The tokens are right, only the filling is not."""
    right = filled(i)
    at = right[f"attention_mask_{batch}"] == 1
    right = right[f"input_ids_{batch}"]
    whole = value.dtype == np.int64 and value.shape == right.shape
    return whole and np.array_equal(value[at], right[at])


def spoiled(i, key, what):
    """Conditions, one for each batch: a wrong shape, or the first wrong place is of this kind."""

    def found(value, batch):
        right = filled(i)[f"{key}_{batch}"]
        if value.ndim != 2 or len(value) != len(right):
            return what == "shape"
        if value.shape != right.shape:
            return what == "width"
        at = filled(i)[f"attention_mask_{batch}"][value != right]
        return at.size > 0 and what == ("real" if at[0] else "filling")

    return [{f"{key}_{batch}": lambda v, b=batch: found(v, b)} for batch in BATCHES]


COLLATE_LAST = tuple(
    Slip(name, advice, lambda i, keys=keys, what=what: sum((spoiled(i, k, what) for k in keys), []))
    for name, keys, what, advice in (
        ("rectangle", KEYS, "shape", "Each tensor has the shape (B, T): a line for each row that "
         "was given."),
        ("width", KEYS, "width", "A batch is as wide as its longest row: "
         "`max(len(ids) for ids, _ in rows)`."),
        ("real_tokens", KEYS[:1], "real", "A token of the row itself is another one. Copy the "
         "row's tokens whole, the end token too, and fill up after them."),
        ("real_mask", KEYS[1:2], "real", "The mask is 0 on a token of the row. It is 1 on "
         "`len(ids)` places."),
        ("more_mask", KEYS[1:2], "filling", "The mask is not 0 on the filling. It is 1 on "
         "`len(ids)` places alone."),
        ("real_labels", KEYS[2:], "real", "On the row's own tokens the labels are those that the "
         "row brings, unchanged and in their places."),
        ("filled_labels", KEYS[2:], "filling", "Every place of the filling has the label -100."),
    )
)  # fmt: skip

collate = Check(
    name="collate", title="The collate function", wants=("collate",),
    difficulty=2, minutes=12, points=15,
    verified="tokens, attention mask and labels of two batches, one with pad_id = eos_id",
    hints=(
        "Find the longest row first. Each of the three tensors is filled up to it, with a filler "
        "of its own.",
        "The fillers: `pad_id` for the tokens, 0 for the attention mask, -100 for the labels. A "
        "row's length tells where the filling begins; a token's number does not.",
        "For one row with `n = width - len(ids)` places to fill: `ids + [pad_id] * n`, "
        "`[1] * len(ids) + [0] * n`, `labels + [-100] * n`. Then `torch.tensor` of each list.",
    ),
    slips=COLLATE + COLLATE_LAST, other="Print the three tensors of a batch with two short rows.",
    make=make_collate, probe=probe_collate, judge=judge_collate,
)  # fmt: skip


# 5.3 The schedule
RUNS = ("both", "no_rise", "all_rise")


def make_schedule(seed):
    rng = np.random.default_rng(seed + 520)
    steps, rise = int(rng.integers(20, 31)), int(rng.integers(4, 8))
    peak = float(rng.choice([3.1e-4, 2.3e-3, 5.7e-3]))
    runs = [(steps, peak, rise, 0.1 * peak), (steps + 7, peak, 0, 0.2 * peak)]
    return {"runs": np.array([*runs, (rise + 1, 2 * peak, rise + 1, 0.5 * peak)])}


def probe_schedule(namespace, a):
    made = {}
    for key, (steps, peak, warmup, floor) in zip(RUNS, a["runs"].tolist(), strict=True):
        rates = []
        for step in range(int(steps)):
            try:
                rates.append(namespace["schedule"](step, int(steps), peak, int(warmup), floor))
            except ZeroDivisionError as error:  # warmup, or what is left after it, may be 0
                return {**made, f"zero_{key}": text(described(error)[1])}
        made[key] = array([array(rate, "the rate") for rate in rates], "the rates")
    return made


def rates(i, rise=None, fall=None, limit=0):
    """The rates of all runs, each divided by its peak.

    rise(t, warmup, floor), fall(t, steps, warmup, floor): instead of the right ones; all times
    and rates are in steps and peaks. limit: how many steps more belong to the rise.
    """
    made = {}
    for key, (steps, peak, warmup, floor) in zip(RUNS, i["runs"], strict=True):
        t, low = np.arange(int(steps)), floor / peak
        up = (rise or line_up)(t, max(warmup, 1), low)
        down = (fall or half_turn)(t, steps, min(warmup, steps - 2), low)
        made[key] = peak * np.where(t < warmup + limit * (warmup > 0), up, down)
    return made


def shares(i):
    """All rates as shares of the peak, down to 0."""
    made = rates(i, fall=lambda t, steps, w, low: half_turn(t, steps, w, 0))
    return {key: made[key] / run[1] for key, run in zip(RUNS, i["runs"], strict=True)}


def line_up(t, warmup, low):
    return (t + 1) / warmup


def part(t, steps, warmup):
    return (t - warmup) / (steps - warmup)


def half_turn(t, steps, warmup, low, high=1.0):
    return low + (high - low) * (1 + np.cos(np.pi * part(t, steps, warmup))) / 2


def judge_schedule(i, o):
    right, promises = rates(i), []
    for key, (steps, peak, warmup, floor) in zip(RUNS, i["runs"], strict=True):
        what = (f"for steps = {steps:g}, peak = {peak:g}, warmup = {warmup:g} and floor = "
                f"{floor:g}, the rate of step ")  # fmt: skip
        if f"zero_{key}" in o:
            said = f"{what[:-6]} {words(o[f'zero_{key}'])}".replace("the rate of ", "")
            promises.append(Promise(f"zero_{key}", none, seen=lambda v, said=said: said,
                                    expected="a rate for every step"))  # fmt: skip
        promises.append(Promise(key, right[key], what, rtol=1e-4, atol=1e-6 * peak))
    return judged(i, o, promises, SCHEDULE, last=SCHEDULE_LAST)


def falls(*falls, **options):
    """A slip's values: rates with any of these instead of the right fall."""
    return lambda i: [rates(i, fall=fall, **options) for fall in falls]


def cut_off(value, right):
    """True where the wrong entries are the right ones with a few digits."""
    if value.shape != right.shape or not np.isfinite(value).all():
        return False
    at = ~np.isclose(value, right, rtol=1e-4, atol=0)
    return value[at].any() and any(np.allclose(value[at], np.round(value[at], n), rtol=1e-9, atol=0)
               and np.all(np.abs(value - right)[at] < 0.51 * 10.0**-n)
               for n in (3, 4, 5))  # fmt: skip


SCHEDULE = (
    Slip("from_zero", "The first step has a rate of 0 and is wasted. Count the rise from 1: "
         "(step + 1) / warmup, so that the last rising step has the peak.",
         lambda i: [rates(i, rise=lambda t, w, low, n=n: t / np.maximum(w - n, 1))
                    for n in (0, 1)]),
    Slip("zero_warmup", "`warmup` may be 0. Divide by it only where step < warmup.",
         lambda i: {"both": np.any, "zero_no_rise": np.any}),
    Slip("all_warmup", "`warmup` may be `steps`: then nothing is left for the fall. Work out its "
         "progress only where step >= warmup.",
         lambda i: {"both": np.any, "no_rise": np.any, "zero_all_rise": np.any}),
    Slip("cut", "`//` cuts the share down to a whole number. Divide with `/`.",
         lambda i: rates(i, rise=lambda t, w, low: (t + 1) // w)),
    Slip("rounded", "The rate was rounded. Return it as it is.",
         lambda i: {"both": lambda v: cut_off(v, rates(i)["both"])}),
    Slip("rise_from_floor", "The rise is counted from floor to peak. In the warm-up, the rate is "
         "the share (step + 1) / warmup of the peak; floor plays no part.",
         lambda i: [rates(i, rise=lambda t, w, low, n=n: low + (1 - low) * (t + n) / w)
                    for n in (0, 1)]),
    Slip("rise_slow", "The rise is one step too long: in step warmup - 1 the rate must be the "
         "peak. Divide by warmup.", lambda i: rates(i, rise=lambda t, w, low: (t + 1) / (w + 1))),
    Slip("floor_in_rise", "The rise begins below the floor, and that is right: floor plays no part "
         "in the warm-up.",
         lambda i: rates(i, rise=lambda t, w, low: np.maximum(low, (t + 1) / w))),
    Slip("share", "In the warm-up that is the share of the peak, a number up to 1. The rate is the "
         "share times `peak`.",
         lambda i: [{k: np.where(np.arange(len(v)) < run[2], v / run[1], fall * v)
                     for (k, v), run in zip(rates(i).items(), i["runs"], strict=True)}
                    for fall in (1,)] + [shares(i), {k: v / run[1] for (k, v), run in zip(
                        rates(i).items(), i["runs"], strict=True)}]),
    Slip("no_warmup", "The rising part is missing. It comes before the cosine, for step < warmup.",
         lambda i: rates(i, rise=lambda t, w, low: half_turn(t, len(t), 0, low),
                         fall=lambda t, steps, w, low: half_turn(t, steps, 0, low))),
    Slip("overshoot", "One step too many rises, above the peak. The rise is for step < warmup: "
         "step warmup itself is the first of the cosine.",
         lambda i: rates(i, limit=1)),
    Slip("jump", "The cosine is counted from step 0, so the rate drops at the end of the warm-up. "
         "Its progress is (step - warmup) / (steps - warmup).",
         falls(lambda t, steps, w, low: half_turn(t, steps, 0, low))),
    Slip("not_stretched", "The fall is cut off before its end: its progress is divided by steps. "
         "It has steps - warmup steps to go.",
         falls(lambda t, steps, w, low: half_turn(t - w, steps, 0, low))),
    Slip("no_floor", "The rate falls to 0. It should fall to floor.",
         falls(lambda t, steps, w, low: half_turn(t, steps, w, 0))),
    Slip("floor_lost", "The distance from peak to floor is there, and the floor under it is "
         "missing: add `floor`.",
         falls(lambda t, steps, w, low: half_turn(t, steps, w, low) - low)),
    Slip("degrees", "`math.cos` counts in radians: half a turn is pi, not 180.",
         falls(lambda t, steps, w, low: low + (1 - low) * (
             1 + np.cos(180 * part(t, steps, w))) / 2)),
    Slip("no_pi", "The progress goes into the cosine as it is, and 1 radian is no half turn. "
         "Multiply it by pi.",
         falls(lambda t, steps, w, low: low + (1 - low) * (1 + np.cos(part(t, steps, w))) / 2)),
    Slip("half_of_all", "The floor is halved as well. Only 1 + cos is divided by 2.",
         falls(lambda t, steps, w, low: low / 2 + (1 - low) * (
             1 + np.cos(np.pi * part(t, steps, w))) / 2)),
    Slip("floor_share", "`floor` is a rate like `peak`, not a share of it.",
         lambda i: rates_of_shares(i)),
    Slip("sine", "That is the sine, which begins at 0. The cosine begins at 1.",
         falls(lambda t, steps, w, low: low + (1 - low) * (
             1 + np.sin(np.pi * part(t, steps, w))) / 2)),
    Slip("clamped", "The rate falls towards 0 and is held at floor. Stretch the cosine instead, "
         "so that it covers the distance from peak to floor.",
         falls(lambda t, steps, w, low: np.maximum(low, half_turn(t, steps, w, 0)))),
    Slip("floor_added", "floor was added on top, so the rate begins above the peak. The cosine "
         "covers the distance from floor to peak, which is peak - floor.",
         falls(lambda t, steps, w, low: half_turn(t, steps, w, low, 1 + low))),
    Slip("full_turn", "The cosine makes a full turn: the rate comes back up at the end. Half a "
         "turn, pi, is enough.",
         falls(lambda t, steps, w, low: low + (1 - low) * (
             1 + np.cos(2 * np.pi * part(t, steps, w))) / 2)),
    Slip("quarter_turn", "This is a quarter of a turn. Half a turn of (1 + cos) / 2 starts and "
         "ends flat.",
         falls(lambda t, steps, w, low: low + (1 - low) * np.cos(np.pi / 2 * part(t, steps, w)))),
    Slip("straight", "The rate falls in a straight line. Ask for the cosine of the progress.",
         falls(lambda t, steps, w, low: 1 + (low - 1) * part(t, steps, w))),
    Slip("no_half", "The cosine runs from 1 to -1, so the rate goes below the floor. Use "
         "(1 + cos) / 2, which runs from 1 to 0.",
         falls(lambda t, steps, w, low: low + (1 - low) * np.cos(np.pi * part(t, steps, w)))),
    Slip("no_halving", "1 + cos runs from 2 to 0, so the fall begins above the peak. Divide by 2.",
         falls(lambda t, steps, w, low: low + (1 - low) * (1 + np.cos(np.pi * part(t, steps, w))))),
    Slip("floor_early", "The last step already has the floor. The floor comes one step after the "
         "last: divide by steps - warmup, and count the progress from 0.",
         falls(lambda t, steps, w, low: half_turn(t, steps - 1, w, low),
               lambda t, steps, w, low: half_turn(t + 1, steps, w, low))),
    Slip("reversed", "After the warm-up the rate goes up again. The cosine of 0 is 1: mind the "
         "direction.",
         falls(lambda t, steps, w, low: low + (1 - low) * (
             1 - np.cos(np.pi * part(t, steps, w))) / 2)),
    Slip("no_fall", "After the warm-up the rate stays at the peak. Let it fall along the cosine.",
         falls(lambda t, steps, w, low: np.ones(len(t)))),
)  # fmt: skip


def rates_of_shares(i):
    """The rates where floor is taken for a share of the peak."""
    shares = {key: run[3] for key, run in zip(RUNS, i["runs"], strict=True)}
    made = rates(i)
    for key, (steps, peak, warmup, _) in zip(RUNS, i["runs"], strict=True):
        t = np.arange(int(steps))
        down = half_turn(t, steps, min(warmup, steps - 2), shares[key])
        made[key] = np.where(t < warmup, made[key], peak * down)
    return made


def halves(i, rise, fall, start=None):
    """Conditions on the first run: is the rise right, the fall, the beginning of the fall?"""
    warmup, right = int(i["runs"][0][2]), rates(i)["both"]

    def found(v):
        if v.shape != right.shape or not np.isfinite(v).all():
            return False
        same = [
            close(v[:warmup], right[:warmup], atol=0),
            close(v[warmup:], right[warmup:], atol=0),
        ]
        begins = close(v[warmup], right[warmup], atol=0)
        return same == [rise, fall] and (start is None or begins == start)

    return {"both": found}


SCHEDULE_LAST = (
    Slip("rise", "The fall is right, the rise is not. It is a straight line of `warmup` equal "
         "steps, the first of them peak / warmup, the last peak: peak * (step + 1) / warmup.",
         lambda i: halves(i, False, True)),
    Slip("fall_begins", "The warm-up is right. The fall begins elsewhere: in step `warmup` the "
         "progress is 0, its cosine 1, and the rate is peak.",
         lambda i: halves(i, True, False, False)),
    Slip("fall", "The warm-up is right, and the fall begins at the peak. On the way down its "
         "share is (1 + cos(pi * progress)) / 2 of the distance from floor to peak.",
         lambda i: halves(i, True, False, True)),
    Slip("no_rise", "With a warm-up it is right, without one it is not: where warmup is 0, all "
         "steps belong to the fall.", lambda i: {
             "both": rates(i)["both"],
             "no_rise": lambda v: not close(v, rates(i)["no_rise"], atol=0)}),
    Slip("all_rise", "Only the run that is all warm-up is wrong: where warmup is `steps`, every "
         "step rises.", lambda i: rates(i) | {"all_rise": np.any}),
)  # fmt: skip

schedule = Check(
    name="schedule", title="The schedule", wants=("schedule",),
    difficulty=2, minutes=10, points=15,
    verified="every step of three schedules, one without warm-up and one of warm-up alone",
    hints=(
        "Two cases: `step < warmup`, and the rest. Write down the rate of step 0, of the last "
        "rising step, and of the step that comes after the end.",
        "Rising: the share (step + 1) / warmup of the peak. Falling: let the progress run from 0, "
        "at step = warmup, to 1, at step = steps. (1 + cos(pi * progress)) / 2 falls from 1 to 0; "
        "stretch that to run from peak to floor.",
        "`progress = (step - warmup) / (steps - warmup)` and `floor + (peak - floor) * "
        "(1 + math.cos(math.pi * progress)) / 2`.",
    ),
    slips=SCHEDULE + SCHEDULE_LAST, other="Print the rates of 10 steps with a warm-up of 3.",
    make=make_schedule, probe=probe_schedule, judge=judge_schedule,
)  # fmt: skip


# 5.4 Save and load an adapter
NAMES = (  # the factors in the order of the model; a file has them in that of the alphabet
    "up.lora_A", "up.lora_B", "q.lora_A", "q.lora_B", "out.lora_A.weight", "out.lora_B.weight",
)  # fmt: skip
FILES = {  # files that do not fit: what is wrong, the change to its tensors
    "lacking": ("that lacks a factor", lambda f: f.pop(NAMES[3])),
    "extra": ("with one factor too many", lambda f: f.update({"k.lora_A": f[NAMES[0]].clone()})),
    "renamed": ("with another name for a factor", lambda f: f.update(k=f.pop(NAMES[2]))),
    "rank_A": ("with a lora_A of another rank", lambda f: cut(f, NAMES[4], lambda t: t[1:])),
    "rank_B": ("with a lora_B of another rank", lambda f: cut(f, NAMES[1], lambda t: t[:, 1:])),
    "row": ("with a lora_A of rank 1", lambda f: cut(f, NAMES[2], lambda t: t[:1])),
    "turned": ("with a lora_A the other way round", lambda f: cut(f, NAMES[2], lambda t: t.T)),
}


def cut(found, name, change):
    found[name] = change(found[name]).clone().contiguous()


def make_files(seed):
    rng = np.random.default_rng(seed + 530)
    f, (d_in, d_out, r) = fixtures.normal(rng), fixtures.sizes(rng, 3, 3, 9)
    made = {name: f(r, d_in) if "lora_A" in name else f(d_out, r) for name in NAMES}
    made |= {name: rng.normal(size=made[name].shape) for name in NAMES[4:]}  # these in float64
    return {**made, "W": f(d_out, d_in)}


def adapted(a, times=1.0):
    """Three LoRA layers, one of them named as in PEFT, and frozen others. times: the factors'."""
    import torch
    from torch import nn

    from lora_course.lora import LoRALinear

    model, r = nn.Module(), len(a[NAMES[0]])
    for name in ("up", "q"):
        fixtures.put(model, name, LoRALinear(fixtures.linear(a["W"], a["W"][:, 0]), r=r))
    fixtures.put(model, "flora", fixtures.linear(a["W"], frozen=True))  # no lora_ in its names
    for key in "AB":
        fixtures.put(model, f"out.lora_{key}", fixtures.linear(a[f"out.lora_{key}.weight"]))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in NAMES:
                p.copy_(times * tensor(a[name]))
    model.up.lora_A.requires_grad = False  # a factor too, and stays frozen
    model.q.base_layer.bias.requires_grad = True  # trains, and is no factor
    model.train().flora.eval()
    return model


def factors_of(model):
    held = dict(model.named_parameters())
    return np.concatenate([array(held[name]).ravel() for name in NAMES])


def rest_of(model):
    return np.concatenate([array(t).ravel() for n, t in model.state_dict().items()
                           if n not in NAMES])  # fmt: skip


def probe_files(namespace, a):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/adapter.safetensors"
        parts = {"save": saved, "load": loaded}
        made = {}
        for part, run in parts.items():
            made |= fixtures.attempt(part, lambda run=run: run(namespace, a, path))
    return fixtures.unless_all_open(made, parts)


def saved(namespace, a, path):
    """What the learner's file holds."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = adapted(a)
    before = callers.Before(model)
    namespace["save_adapter"](model, path)
    made = {"saver": before.change()}
    try:
        found = load_file(path)
    except FileNotFoundError:
        return {**made, "written": -1}
    except SafetensorError:
        return {**made, "written": 0}
    base = model.state_dict().keys() - set(NAMES)
    made |= {
        "written": 1,
        "others": len(found.keys() - set(NAMES)),
        "base": len(found.keys() & base),
    }
    made["missing"] = np.array([name not in found for name in NAMES])
    if not made["missing"].any():
        held = model.state_dict()
        made["types"] = sum(found[name].dtype != held[name].dtype for name in NAMES)
        made["values"] = np.concatenate([array(found[name]).ravel() for name in NAMES])
    return made


def loaded(namespace, a, path):
    """What the learner makes of a good file, and of files that do not fit."""
    import os

    from safetensors.torch import save_file

    load, good = namespace["load_adapter"], {name: tensor(a[name]) for name in NAMES}
    save_file(good, path)
    model = adapted(a, -0.25)
    before, rest = callers.Before(model), rest_of(model)
    try:
        load(model, path)
    except NotImplementedError:
        raise
    except Exception as error:
        return {"stopped": text(described(error)[1])}
    made = {"in_place": before.change(but=2)}
    if not set(NAMES) <= dict(model.named_parameters()).keys():
        return made
    made |= {"factors": factors_of(model), "rest": not np.array_equal(rest, rest_of(model))}
    for case, (_, change) in FILES.items():
        tensors = {name: t.clone() for name, t in good.items()}
        change(tensors)
        os.remove(path)
        save_file(tensors, path)
        model = adapted(a, -0.25)
        made |= callers.failing(case, lambda m=model: load(m, path), ValueError, keep=(model,))
    return made


def values(i, order=NAMES, times=1.0):
    """All factors in the order of NAMES, each taken from the name in `order`."""
    pairs = zip(NAMES, order, strict=True)
    return times * np.concatenate([i[name].astype(i[at].dtype).ravel() for at, name in pairs])


def judge_files(i, o):
    exact = {"rtol": 0, "atol": 0}
    save = [
        Promise("written", 1, expected="a safetensors file", seen=lambda v: "no file at the path"
                if v.size == 1 and v < 0 else "a file that safetensors cannot read"),
        Promise("others", 0, seen="in the file, tensors that are no factors: {}", expected="none"),
        Promise("missing", none, expected=f"all {len(NAMES)} factors", seen=lambda v:
                f"not in the file: {', '.join(np.array(NAMES)[v.astype(bool)])}"
                if v.shape == (len(NAMES),) else "no list of names"),
        Promise("types", 0, seen="{} tensors of another type than in the model",
                expected="float32 or float64, as in the model"),
        Promise("values", values(i), "of all numbers in the file, number ", **exact),
        callers.unchanged("saver", "the model, after saving"),
    ]  # fmt: skip
    load = [
        *[
            Promise(
                "stopped",
                none,
                expected="no error",
                seen=lambda v: f"for a file that fits {words(v)}",
            )
            for k in o
            if k == "stopped"
        ],
        Promise("rest", 0, seen="loading changed other numbers than the factors", expected="none"),
        Promise("factors", values(i), "of all numbers in the factors, number ", **exact),
        callers.unchanged("in_place", "the model, after loading"),
    ]
    for case, (what, _) in FILES.items():
        each = callers.raises(o, case, f"a file {what}", "ValueError", keep="the model")
        load += [promise._replace(share=0.5) for promise in each]
    both = (judged(i, o, save, FILE, part="save", last=FILE_LAST),
            judged(i, o, load, FILE, part="load", last=FILE_LAST))  # fmt: skip
    return in_parts(*both)


def errors(**codes):
    """A slip's values: 0 where nothing is raised, 1 for a ValueError, 2 for another."""
    return seen_as(**{f"{case}_error": code for case, code in codes.items()})


def only_frozen(value):
    return np.array_equal(value, [name == NAMES[0] for name in NAMES])


def not_refused(value):
    return value.size == 1 and value != 1


FILE = (
    Slip("no_file", "Write the file to exactly the path that was given.", seen_as(written=-1)),
    Slip("not_safetensors", "The file is not in the safetensors format. `torch.save` writes "
         "pickles, which can run code when they are loaded: use `save_file`.", seen_as(written=0)),
    Slip("base_saved", "The base is in the file as well. That makes it as large as the whole "
         "model: keep only the names with `lora_`.",
         seen_as(missing=none, others=lambda n: n > 1)),
    Slip("lora_word", "A layer called `flora` is in the file. The mark of a factor is `lora_`, "
         "with the underscore.", seen_as(missing=none, others=1)),
    Slip("names", "The tensors in the file have other names. Keep the names that "
         "`model.state_dict()` gives them.",
         seen_as(others=lambda n: n > 0, base=0, missing=np.any)),
    Slip("inverted", "These are the tensors of the base. The factors belong in the file: the names "
         "with `lora_`.", seen_as(base=lambda n: n > 0, missing=every, others=np.any)),
    Slip("one_factor", "Each layer has two factors, lora_A and lora_B.",
         lambda i: [{"missing": np.array([key in n for n in NAMES])} for key in ("_A", "_B")]),
    Slip("ends_with", "One layer calls its factors `lora_A.weight`, as PEFT does. The mark is "
         "`lora_` anywhere in the name, not at its end.",
         seen_as(missing=np.array(["weight" in name for name in NAMES]))),
    Slip("by_flag", "`requires_grad` does not tell a factor: one factor of this model is frozen, "
         "and a bias trains. Go by the name.",
         lambda i: [{"missing": only_frozen}, {"others": 1, "missing": only_frozen}]),
    Slip("good_refused", "This file fits. It holds every factor of the model, one of them frozen, "
         "and nothing else: compare it with the names that contain `lora_`.",
         seen_as(stopped=lambda v: "raised ValueError" in words(v))),
    Slip("whole_state", "`load_state_dict` wants every tensor of the model, and the file holds the "
         "factors alone. Compare the names of the factors yourself.",
         seen_as(stopped=lambda v: "Missing key(s)" in words(v))),
    Slip("needs_no_grad", "A parameter that trains may be written only under `torch.no_grad()`.",
         seen_as(stopped=lambda v: "in-place operation" in words(v))),
    Slip("cast", "Factors were stored in another number type. Store them as they are, or bits get "
         "lost.", seen_as(types=lambda n: n > 0)),
    Slip("nothing_loaded", "Nothing arrived in the model. Assigning to a variable moves no "
         "numbers: use `place.copy_(value)` or `load_state_dict`.",
         lambda i: {"factors": values(i, times=-0.25)}),
    Slip("by_order", "The factors landed in the wrong layers: a file has its tensors in another "
         "order than the model. Go by name.", lambda i: {"factors": values(i, sorted(NAMES))}),
    Slip("replaced", "The factors are new objects now, so an optimizer that holds the old ones "
         "would train what nobody uses. Write into the parameters that are there, with `copy_` "
         "under `torch.no_grad()`.", seen_as(in_place=1)),
    Slip("frozen", "After loading, a factor has another `requires_grad`. Write the numbers "
         "into the parameters, and leave the flag alone.", seen_as(in_place=3)),
    Slip("not_strict", "Names that the file lacks, and names that the model does not know, were "
         "passed over without a word. (`strict=False` does that too.) Compare the names yourself.",
         errors(lacking=0, extra=0, renamed=0)),
    Slip("silent_lacking", "A factor is missing in the file, and nobody was told. Compare the "
         "names in both directions.", errors(lacking=0, extra=1)),
    Slip("silent_extra", "The file has a factor for which the model has no place, and nobody was "
         "told. Compare the names in both directions.", errors(lacking=1, extra=0)),
    Slip("count", "The number of names fits here, one name does not. Compare the names "
         "themselves.", errors(lacking=1, extra=1, renamed=lambda v: not_refused(v))),
    Slip("only_B", "The shape of lora_B alone was compared. Compare every factor's.",
         errors(renamed=1, rank_A=not_refused, rank_B=1)),
    Slip("only_A", "The shape of lora_A alone was compared. Compare every factor's.",
         errors(rank_A=1, row=1, rank_B=not_refused)),
    Slip("any_shape", "The shapes were not compared, and factors of any shape came in.",
         errors(renamed=1, rank_A=0, rank_B=0, row=0, turned=0)),
    Slip("late_error", "No ValueError stops this file before the copying. This error comes from "
         "`copy_` itself, when other factors may have moved. Compare the shapes, and raise.",
         errors(renamed=1, rank_A=2, rank_B=2)),
    Slip("spread", "`copy_` spreads one row over all rows of a factor without a word, so its own "
         "error is no test. Compare the shapes before.", errors(rank_A=1, rank_B=1, row=0)),
    Slip("size_only", "This factor has as many numbers as its place, and another shape. Compare "
         "`shape`, not `numel()`.", errors(rank_A=1, row=1, turned=not_refused)),
    Slip("half_loaded", "A file that does not fit left the model half loaded. Compare all names "
         "and shapes first, and copy only then.",
         lambda i: [{f"{case}_left": 2, f"{case}_error": 1} for case in FILES]),
)  # fmt: skip

FILE_LAST = (
    Slip("other_values", "Every factor is in its place, with other numbers. They pass through the "
         "file unchanged.",
         lambda i: [{key: lambda v: v.size > 0} for key in ("values", "factors")]),
    Slip("wrong_error", "The file is not accepted, but by another error. Compare names and shapes "
         "yourself, and raise a ValueError.",
         lambda i: [{f"{case}_error": 2} for case in FILES]),
    Slip("accepted", "This file does not fit and is accepted all the same. Compare the names in "
         "both directions and the shapes before anything is copied.",
         lambda i: [{f"{case}_error": 0} for case in FILES]),
    Slip("some_missing", "A factor is any parameter with `lora_` anywhere in its name, in every "
         "layer, whether it trains or not.", seen_as(missing=np.any)),
)  # fmt: skip

save_load = Check(
    name="save_load", title="Save and load an adapter", wants=("save_adapter", "load_adapter"),
    difficulty=3, minutes=20, points=20,
    verified="only the factors are in the file, they come back to the last bit, and seven files "
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
    slips=FILE + FILE_LAST, other="Save, load into a second model, and compare name by name.",
    make=make_files, probe=probe_files, judge=judge_files,
)  # fmt: skip


# 5.5 Why does it not learn?
STEPS = 40
NAN = -1.0  # stands for a loss of nan until the probe, because nan differs from itself
WORDS = "it learns", "labels masked", "wrong optimizer", "both factors zero", "rate too low"
LOGGED = "grad_A", "grad_B", "A", "B"
ARGUMENTS = "labels", "losses", *LOGGED
IDLE = {(0, 1), (4, 2)}  # (fault, variant): runs whose first step has a rate of 0
SLOW = {(0, 1): 2e-6, (4, 0): 5e-5, (4, 1): 2e-9, (4, 2): 1e-6}  # no distance tells 0 from 4
SPIKES = {(0, 0): 29, (0, 1): 9, (4, 0): 30, (4, 1): 10}  # (fault, variant): step of a bad batch


def one_log(rng, fault, variant):
    """The log of a real small run: LoRA against a hidden update, Adam, written out in numpy.

    variant: 0 as in the chapter; 1 A is frozen; 2 a start with A = 0 and with values in B. In two
    of the runs the warm-up begins at a rate of 0.
    """
    d_in, d_out, r = 12, 8, 3
    hidden, X = rng.normal(size=(d_out, d_in)), rng.normal(size=(64, d_in))
    A, B = rng.uniform(-1, 1, size=(r, d_in)) / np.sqrt(d_in), np.zeros((d_out, r))
    if variant == 2:
        A, B = np.zeros((r, d_in)), rng.uniform(-1, 1, size=(d_out, r)) / np.sqrt(d_out)
    if fault == 3:
        A, B = 0 * A, 0 * B
    moments, log = [0.0, 0.0, 0.0, 0.0], {key: [] for key in LOGGED}
    for step in range(1, STEPS + 1):
        rate = 0 if step == 1 and (fault, variant) in IDLE else SLOW.get((fault, variant), 0.01)
        G = 2 * (X @ (2 * B @ A - hidden).T).T @ X / len(X)  # (out, in)
        grads = [(variant != 1) * 2 * B.T @ G + 0, 2 * G @ A.T]
        grads = [0 * g for g in grads] if fault == 1 else grads
        for key, m in zip(LOGGED, (*grads, A, B), strict=True):
            log[key].append(np.linalg.norm(m))
        for k, g in enumerate(grads):
            moments[k] = 0.9 * moments[k] + 0.1 * g
            moments[k + 2] = 0.999 * moments[k + 2] + 0.001 * g**2
            mean, square = moments[k] / (1 - 0.9**step), moments[k + 2] / (1 - 0.999**step)
            if fault != 2:
                (A, B)[k][...] -= rate * mean / (np.sqrt(square) + 1e-8)
    return {key: np.array(value, dtype=np.float32) for key, value in log.items()}


def losses_of(rng, fault, variant):
    """Forty noisy losses; those of 0 and 4 lie close to the limit, on either side of it."""
    if fault == 1:
        return np.full(STEPS, 0.0 if variant == 1 else NAN)
    losses = 3 * rng.uniform(0.99, 1.01, STEPS)
    if fault in (0, 4):
        losses *= np.linspace(1, 0.95, STEPS)
        losses[SPIKES.get((fault, variant), 20)] *= 2
        losses[[0, -1]] = losses[1:10].mean(), losses[-10:-1].mean()
        if variant < 2:  # the first and the last loss alone mislead
            losses[[0, -1]] *= (0.8, 1.3) if fault == 0 else (1.3, 0.9)
        ratio = rng.uniform(0.93, 0.945)
        if fault == 4:  # close to the limit; a little above 0.95; the loss goes up
            ratio = rng.uniform(*[(0.955, 0.97), (0.9505, 0.952), (1.06, 1.1)][variant])
        losses[-10:] *= ratio * losses[:10].mean() / losses[-10:].mean()
    return losses


def make_runs(seed):
    rng = np.random.default_rng(seed + 540)
    kinds = rng.permutation([(fault, variant) for fault in range(5) for variant in range(3)])
    runs = []
    for fault, variant in kinds:
        batch = rng.integers(3, (900, 900, 40)[variant], size=(4, 10))  # a sum may be below 0
        for row in batch:
            row[: rng.integers(3, 8)] = IGNORED
        batch[:, 10 - (variant == 2) :] = IGNORED  # padding
        batch[(0, 3, 2)[variant]] = IGNORED  # one row too long for its answer is no fault
        batch = np.full_like(batch, IGNORED) if fault == 1 else batch
        losses = losses_of(rng, fault, variant).astype(np.float32)
        runs.append({"labels": batch, "losses": losses, **one_log(rng, fault, variant)})
    return {key: np.stack([run[key] for run in runs]) for key in ARGUMENTS}


def probe_runs(namespace, a):
    import torch

    said, left = [], []
    for k in range(len(a["losses"])):
        log = [tensor(a[key][k]) for key in ARGUMENTS]
        log[1][log[1] == NAN] = torch.nan
        before = [each.nan_to_num(NAN) for each in log]
        one = array(namespace["diagnose"](*log), "the diagnosis")
        if one.size != 1:
            raise Refused("type", f"the diagnosis is {one.size} numbers.", "one number.")
        said.append(one.reshape(()))
        left += [not torch.equal(e.nan_to_num(NAN), b) for e, b in zip(log, before, strict=True)]
    return {"said": array(said, "the diagnoses"), "left": max(left)}


ORDER = (1, 3, 2, 4, 0)  # of the questions


def means(i):
    """The mean of the first ten losses of each run, and of the last ten."""
    return i["losses"][:, :10].mean(1), i["losses"][:, -10:].mean(1)


def diagnoses(i, order=ORDER[:4], **other):
    """What somebody says who asks in this order. other: labels, zeros, stuck, slow: bools (15,)."""
    first, last = means(i)
    asks = {
        "labels": (i["labels"] == IGNORED).all((1, 2)),
        "stuck": i["B"][:, -1] == i["B"][:, 0],
        "zeros": ~(i["grad_A"].any(1) | i["grad_B"].any(1)),
        "slow": last > 0.95 * first,
    } | other
    said = np.zeros(len(first), dtype=int)
    for fault in reversed(order):
        said[asks[("labels", "stuck", "zeros", "slow")[fault - 1]]] = fault
    return said


def judge_runs(i, o):
    right = diagnoses(i)
    said = o.get("said", np.zeros(0))

    def seen(value):
        if value.shape != right.shape:
            return f"a diagnosis of {'no' if value.ndim < 2 else value[0].size} numbers"
        fault = next(f for f in ORDER if (value != right)[right == f].any())  # as one asks
        answer = value[(value != right) & (right == fault)][0]
        word = f" ({WORDS[int(answer)]})" if answer in range(5) else ""
        return f"a run with fault {fault} ({WORDS[fault]}) is called {answer:g}{word}"

    promises = [
        Promise("said", right, seen=seen, expected="0, 1, 2, 3 or 4, the fault of each run"),
        Promise("left", 0, seen="the logs that were given were changed", expected="as they were"),
    ]
    verdict = judged(i, o, promises, TRIAGE, last=TRIAGE_LAST)
    if said.shape == right.shape and verdict.share < 1:
        found = [bool((said[right == fault] == fault).all()) for fault in range(5)]
        constant = sum(found) == 1 and len(np.unique(said)) == 1
        verdict = verdict._replace(share=0.0 if constant else min(sum(found), 4) / 5)
    return verdict


def says(*options):
    """A slip's values: what options(inputs), keywords of `diagnoses`, say."""
    return lambda i: [{"said": diagnoses(i, **option(i))} for option in options]


def near(i, key, far):
    """Where a norm has moved by less than this from the first to the last step."""
    return np.abs(i[key][:, -1] - i[key][:, 0]) < far


def by_loss(compare):
    """A slip's values: another question to the losses in the place of the right one."""
    return lambda i: {"slow": compare(i["losses"])}


def low_median(v):
    """As torch has it: of ten numbers the fifth."""
    return np.sort(v, 1)[:, (v.shape[1] - 1) // 2]


TRIAGE = (
    Slip("first_step", "In step 0 the gradient of A is rightly zero where B is zero, and that of B "
         "where A is. Look at both gradients, over all steps.",
         says(lambda i: {"zeros": i["grad_A"][:, 0] == 0},
              lambda i: {"zeros": i["grad_B"][:, 0] == 0},
              lambda i: {"zeros": (i["grad_A"][:, 0] == 0) | (i["grad_B"][:, 0] == 0)})),
    Slip("one_gradient", "One gradient can be zero throughout: that of A while B stays zero or "
         "where A is frozen, that of B while A stays zero. Both factors began at zero only where "
         "both gradients are zero in all steps.",
         says(lambda i: {"zeros": ~i["grad_A"].any(1)}, lambda i: {"zeros": ~i["grad_B"].any(1)},
              lambda i: {"zeros": ~i["grad_A"].any(1) | ~i["grad_B"].any(1)})),
    Slip("labels_first", "Where all labels are masked there is no gradient, nothing moves, and the "
         "loss, nan or 0, says nothing. Look at the labels first.",
         lambda i: {"said": lambda v: v.shape == (15,) and none(v[diagnoses(i) == 1] == 1)}),
    Slip("nan_only", "Some trainers log a loss of 0 where others log nan. Look at the labels, not "
         "at the loss.", says(*(lambda i, n=n: {"labels": (i["losses"] == n).all(1)}
                                for n in (NAN, 0)))),
    Slip("one_row", "One row without a label is no fault yet. Is any label left in the batch?",
         says(lambda i: {"labels": (i["labels"] == IGNORED).all(2).any(1)},
              lambda i: {"labels": (i["labels"] == IGNORED).any((1, 2))},
              *(lambda i, n=n: {"labels": (i["labels"][:, n] == IGNORED).all(1)}
                for n in (0, 3)))),
    Slip("zeros_are_stuck", "Nothing moves here because no gradient is there to use. The optimizer "
         "is to blame only where there is a gradient.",
         says(lambda i: {"order": (1, 2, 3, 4)}, lambda i: {"order": (1, 2, 4)})),
    Slip("b_is_zero", "B need not have begun at zero. Ask whether it is the same at the end as at "
         "the beginning.", says(lambda i: {"stuck": i["B"][:, -1] == 0},
                                lambda i: {"stuck": ~i["B"].any(1)})),
    Slip("rises", "A loss that went up is not 5 % below the first ones either. Compare the last "
         "mean with 0.95 times the first, without `abs` and without an upper limit.",
         lambda i: {"said": np.where(diagnoses(i, slow=means(i)[1] > means(i)[0]) == 4,
                                     0, diagnoses(i))}),
    Slip("of_the_last", "5 % below the first mean is 0.95 times the first. 1.05 times the last is "
         "another limit.", says(lambda i: {"slow": 1.05 * means(i)[1] > means(i)[0]})),
    Slip("a_alone", "A frozen A does not move either, and such a run can learn: B does the work. "
         "The optimizer is at fault where neither moves.",
         says(lambda i: {"stuck": i["A"][:, -1] == i["A"][:, 0]},
              lambda i: {"stuck": (i["A"][:, -1] == i["A"][:, 0])
                         | (i["B"][:, -1] == i["B"][:, 0])})),
    Slip("second_step", "In some warm-ups the first step has a rate of 0, and nothing moves yet. "
         "Compare the first step with the last.",
         says(lambda i: {"stuck": i["B"][:, 1] == i["B"][:, 0]},
              lambda i: {"stuck": (i["B"][:, 1] == i["B"][:, 0])
                         & (i["A"][:, 1] == i["A"][:, 0])})),
    Slip("slow_is_stuck", "These weights do move, by very little. Ask for exact equality between "
         "the first and the last step, not for nearly.",
         says(lambda i: {"stuck": (diagnoses(i) == 2) | (diagnoses(i) == 4)},
              *(lambda i, far=far: {"stuck": near(i, "A", far) & near(i, "B", far)}
                for far in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)))),
    Slip("by_distance", "How far the weights move does not say what the loss does: a short way can "
         "be enough, and a longer one too short. Ask the losses.",
         says(*(lambda i, far=far: {"slow": near(i, "B", far)} for far in (1e-2, 0.1)))),
    Slip("two_and_three", "2 and 3 are exchanged: without any gradient it is 3, with gradients and "
         "without motion it is 2.",
         lambda i: {"said": np.array([0, 1, 3, 2, 4])[diagnoses(i)]}),
    Slip("zero_and_four", "0 and 4 are exchanged: a mean above 0.95 times the first is a 4.",
         lambda i: {"said": np.array([4, 1, 2, 3, 0])[diagnoses(i)]}),
    Slip("stuck_is_slow", "Here the weights do not move at all, in no step. Ask that before you "
         "ask for the loss.",
         says(lambda i: {"order": (1, 3, 4)}, lambda i: {"order": (1, 3, 4, 2)})),
    Slip("slow_is_healthy", "The weights move, yet the last ten losses are on average less than "
         "5 % below the first ten: above 0.95 times their mean. That is a 4.",
         says(lambda i: {"order": (1, 3, 2)}, lambda i: {"slow": means(i)[1] > means(i)[0]})),
    Slip("healthy_is_slow", "These losses are at the end more than 5 % below the first ten: below "
         "0.95 times their mean. That is a 0.", says(lambda i: {"slow": np.ones(15, bool)})),
    Slip("single_loss", "Single losses, medians and means over other steps say something else. "
         "Compare the mean of the last ten losses with that of the first ten.",
         says(*(by_loss(lambda v, n=n: v[:, -n:].mean(1) > 0.95 * v[:, :n].mean(1))
                for n in (5, 20)),
              by_loss(lambda v: np.median(v[:, -10:], 1) > 0.95 * np.median(v[:, :10], 1)),
              by_loss(lambda v: low_median(v[:, -10:]) > 0.95 * low_median(v[:, :10])),
              by_loss(lambda v: v[:, -1] > 0.95 * v[:, 0]),
              by_loss(lambda v: v[:, -1] > 0.95 * v[:, :10].mean(1)),
              by_loss(lambda v: v[:, -10:].mean(1) > 0.95 * v[:, 0]))),
)  # fmt: skip


def mixed_up(among, others=()):
    """A slip's values: runs are mistaken for one another, all of them between these faults."""

    def found(i):
        right = diagnoses(i)

        def only(said):
            if said.shape != right.shape:
                return False
            pairs = {(int(a), int(b)) for a, b in zip(right, said, strict=True) if a != b}
            return all(set(pair) <= {*among, *others} and (not others or set(pair) & set(among))
                       for pair in pairs)  # fmt: skip

        return {"said": only}

    return found


TRIAGE_LAST = (
    Slip("zero_or_four", "Only 0 and 4 are taken for each other. It is 4 where the mean of the "
         "last ten losses is above 0.95 times the mean of the first ten, else 0.",
         mixed_up((0, 4))),
    Slip("moves_or_not", "The question of 2 goes wrong: is each of A and B in the last step "
         "exactly what it was in the first?", mixed_up((2,), (0, 4))),
    Slip("label_or_not", "The question of 1 goes wrong: is any label of the batch another number "
         "than -100?", mixed_up((1,), (0, 2, 3, 4))),
)  # fmt: skip

triage = Check(
    name="triage", title="Why does it not learn?", wants=("diagnose",),
    difficulty=4, minutes=20, points=20,
    verified="15 logs of small runs, three of each kind, some with a frozen A or a B that does "
    "not start at zero",
    hints=(
        "Which evidence does each fault leave? Make a table: five rows for the diagnoses, columns "
        "for labels, gradients, weights and loss.",
        "Ask in this order. Is there a label at all? Is there a gradient, in any step, of A or of "
        "B? Do the weights move, be it ever so little? Does the loss fall?",
        "1 when `(labels == -100).all()`. Else 3 when neither `grad_A` nor `grad_B` is ever above "
        "0. Else 2 when A and B are the same from the first step to the last. Else 4 or 0, by the "
        "mean of the last ten losses against that of the first ten.",
    ),
    slips=TRIAGE + TRIAGE_LAST, other="Make a table of what each fault does to labels, gradients, "
    "weights and loss, and go through it in the order of hint 2.",
    make=make_runs, probe=probe_runs, judge=judge_runs,
)  # fmt: skip


# 5.6 The training loop
TRAINED = ("A", "B", "shift")
LOOP_STEPS = 9


def make_loop(seed):
    rng = np.random.default_rng(seed + 550)
    f = fixtures.normal(rng)
    while True:
        d_in, d_out, r, rows = fixtures.sizes(rng, 4, 2, 8)
        if rows < 4:  # neither the 2 of a gradient taken twice nor the number of tensors
            continue
        made = {"W": f(d_out, d_in), "A": f(r, d_in) / 2, "B": f(d_out, r) / 2, "shift": f(d_out)}
        made |= {f"old_{key}": 5 * f(*made[key].shape) for key in TRAINED}
        made["old_W"] = f(d_out, d_in)  # was trained once, and is frozen now
        sizes = rng.permutation([0.2, 0.4, 0.7, 1, 1.5, 2, 3, 5, 8])  # of the batches
        made |= {"x": f(LOOP_STEPS, rows, d_in), "y": f(LOOP_STEPS, rows, d_out)}
        made["y"] *= sizes[:, None, None].astype(np.float32)
        small = rng.integers(2, LOOP_STEPS - 1)  # a loss far below 1 is no reason to stop
        made["x"][small] /= 10
        made["y"][small] /= 10
        made |= {"lr": rng.choice([0.03, 0.05]), "warmup": rng.integers(3, 6)}
        made |= {"clip": np.inf, "decay": rng.choice([0.2, 0.5])}
        made["clip"] = (0.6 * np.median(trained_by(made)["lengths"])).round(2)
        lengths = trained_by(made)["lengths"] / made["clip"]
        ends = [trained_by(made, clip=clip)["B"] for clip in ("none", "value")]
        if (
            (lengths > 1.3).sum() > 2
            and lengths.min() < 0.8
            and abs(made["clip"] - 1) > 0.1
            and abs(ends[0] - ends[1]).max() > 0.01
        ):
            return made


def probe_loop(namespace, a):
    from types import SimpleNamespace

    from torch import nn

    from lora_course.lora import LoRALinear

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            r, layer = len(a["A"]), fixtures.linear(a["W"], a["shift"])
            self.q_proj, self.modes = LoRALinear(layer, r=r, lora_alpha=r), []
            layer.bias.requires_grad = True

        def forward(self, x, y):
            self.modes.append(self.training and self.q_proj.training)
            return SimpleNamespace(loss=(self.q_proj(x) - y).square().mean())

    model = Small()
    fixtures.fill(model.q_proj, a["A"], a["B"])
    base = model.q_proj.base_layer
    parts = {"A": model.q_proj.lora_A, "B": model.q_proj.lora_B, "shift": base.bias}
    for key, part in parts.items():
        part.grad = tensor(a[f"old_{key}"])
    base.weight.grad = tensor(a["old_W"])
    frozen = callers.Before(base.weight)
    batches = ({"x": tensor(x), "y": tensor(y)} for x, y in zip(a["x"], a["y"], strict=True))
    settings = (a["lr"].item(), a["warmup"].item(), a["clip"].item(), a["decay"].item())
    result = namespace["train_adapter"](model.eval(), batches, *settings)
    losses, lengths = fixtures.several(result, ("losses", "lengths"), "train_adapter")
    return {
        "losses": losses,
        "lengths": lengths,
        **{key: array(part) for key, part in parts.items()},
        "frozen": frozen.change(),
        "flags": np.array([part.requires_grad for part in parts.values()]),
        "modes": np.array(model.modes, dtype=int),
        "after": model.training or model.q_proj.training,
        "left_over": len(list(batches)),
        "graphs": sum(
            getattr(v, "requires_grad", False)
            for part in result
            if isinstance(part, (list, tuple))
            for v in part
        ),
    }


def gradients(w, x, y, W):
    """The loss of one batch and its gradients, by hand. w: A, B and shift."""
    error = x @ (W + w["B"] @ w["A"]).T + w["shift"] - y  # (rows, out)
    G = 2 * error.T @ x / error.size  # (out, in)
    grads = {"A": w["B"].T @ G, "B": G @ w["A"].T, "shift": 2 * error.sum(0) / error.size}
    return (error**2).mean(), grads


def length(grads):
    return np.sqrt(sum((g**2).sum() for g in grads.values()))


def trained_by(i, clip="norm", zero="before", rate=None, rule="AdamW", decay=None, only=TRAINED,
               order="right", fresh=False, limit=None, late_loss=False, beside=0.0):  # fmt: skip
    """Losses, lengths and weights of a loop in float64, with AdamW's defaults.

    clip: norm, none, each (tensor), value, always (also what is shorter), square (of the length).
    limit: instead of clip's own. beside: length of another gradient, clipped with the rest.
    zero: before backward, after the step, never, once (before the loop).
    rate: (step) -> share of lr. rule: AdamW, Adam, SGD. order: right; late: the step comes before
    the forward pass; none: no step finds a gradient. fresh: a new optimizer for each step.
    late_loss: the loss is worked out after the step.
    """
    w = {key: i[key].astype(float) for key in TRAINED}
    g = {key: i[f"old_{key}"].astype(float) for key in TRAINED}
    rate = rate or (lambda step: min(1, (step + 1) / i["warmup"]))
    decay, c = float(i["decay"]) if decay is None else decay, float(limit or i["clip"])
    m, v = {key: 0.0 for key in only}, {key: 0.0 for key in only}
    losses, lengths = [], []

    def move(step):
        t, lr = 1 if fresh else step + 1, float(i["lr"]) * rate(step)
        for key in only:
            w[key] = w[key] * (1 - lr * decay) if rule == "AdamW" else w[key]
            each = g[key] + (0 if rule == "AdamW" else decay * w[key])
            m[key] = 0.1 * each + (0 if fresh else 0.9 * m[key])
            v[key] = 0.001 * each**2 + (0 if fresh else 0.999 * v[key])
            adam = m[key] / (1 - 0.9**t) / (np.sqrt(v[key] / (1 - 0.999**t)) + 1e-8)
            w[key] = w[key] - lr * (each if rule == "SGD" else adam)

    for step in range(LOOP_STEPS):
        if order == "late":
            move(step)
        x, y = i["x"][step].astype(float), i["y"][step].astype(float)
        loss, new = gradients(w, x, y, i["W"].astype(float))
        keep = zero == "never" or zero == ("once" if step else "after")
        g = {key: new[key] + (g[key] if keep else 0) for key in only}
        losses.append(loss)
        lengths.append(np.hypot(length(g), beside))
        beside *= min(1, c / lengths[-1])
        for key in only:
            if clip in ("norm", "each", "square"):
                size = np.linalg.norm(g[key]) if clip == "each" else lengths[-1]
                size = size**2 if clip == "square" else size
                g[key] = g[key] * min(1, c / size)
            elif clip == "value":
                g[key] = g[key].clip(-c, c)
            elif clip == "always":
                g[key] = g[key] * c / lengths[-1]
        if order == "right":
            move(step)
        losses[-1] = gradients(w, x, y, i["W"].astype(float))[0] if late_loss else loss
    return {"losses": np.array(losses), "lengths": np.array(lengths), **w}


def other_norms(i):
    """The sum and the largest of the sizes in the first gradient."""
    w = {key: i[key].astype(float) for key in TRAINED}
    first = (i["x"][0], i["y"][0], i["W"])
    grads = gradients(w, *(each.astype(float) for each in first))[1]
    every = np.abs(np.concatenate([g.ravel() for g in grads.values()]))
    return every.sum(), every.max()


def judge_loop(i, o):
    right, near = trained_by(i), {"rtol": 1e-3, "atol": 1e-3}
    named = {"A": "lora_A", "B": "lora_B", "shift": "a trained bias"}
    promises = [
        callers.unchanged("frozen", "a frozen weight"),
        Promise("left_over", 0, seen="{} batches were not used", expected="a step for each batch"),
        Promise("losses", right["losses"], "losses", **near),
        *(Promise(key, right[key], f"after {LOOP_STEPS} steps {what}", **near)
          for key, what in named.items()),
        Promise("lengths", right["lengths"], "lengths", **near),
        Promise("flags", every, seen="what was trained no longer requires a gradient",
                expected="requires_grad as before"),
        Promise("modes", every, seen=lambda v: f"{np.sum(v == 0)} forward passes in eval mode",
                expected="train mode in every step"),
        Promise("graphs", 0, seen="{} losses or lengths still require a gradient", share=0.8,
                expected="plain numbers"),
        Promise("after", 0, seen="the model is still in train mode afterwards",
                expected="eval mode"),
    ]  # fmt: skip
    return judged(i, o, promises, LOOP, last=LOOP_LAST)


def first_length(i, c):
    """The condition that the first length is c times the right one."""
    return lambda v: v.size > 0 and close(v.flat[0], trained_by(i)["lengths"][0] * c, 1e-3)


def loops(*options):
    """A slip's values: losses and weights of loops with any of these options."""

    def found(i):
        made = [trained_by(i, **(o(i) if callable(o) else o)) for o in options]
        return [{key: each[key] for key in ("losses", *TRAINED)} for each in made]

    return found


LOOP = (
    Slip("graph_kept", "A loss that requires a gradient keeps the activations of its step, so the "
         "memory grows with every step. Keep `loss.item()`.", seen_as(graphs=lambda v: v > 0)),
    Slip("unfrozen", "A frozen weight was switched on or moved. Train what requires a gradient, "
         "and leave the flags alone.", seen_as(frozen=lambda v: v > 0)),
    Slip("no_gradient", "No step had a gradient to use: when the optimizer stepped it was not "
         "there yet, or gone again. The order is zero_grad, backward, clip, step.",
         loops({"order": "none"})),
    Slip("late", "Each step uses the gradient of the batch before. Call backward before the "
         "optimizer's step.", loops({"order": "late"}, {"order": "late", "clip": "none"})),
    Slip("no_clip", "The step used the gradient at its full length. Clip between backward and "
         "step: before backward there is nothing to clip, after the step it is too late.",
         lambda i: [each | {"lengths": lambda v: v.size > 0 and (v.flat[0] == 0 or close(
             v.flat[0], trained_by(i)["lengths"][0], 1e-3))}
                    for each in loops({"clip": "none"})(i)]),
    Slip("scaled_loss", "The gradient is longer or shorter than that of the loss, by the number of "
         "rows. Call backward on `loss` itself.",
         lambda i: {"losses": np.any, "lengths": lambda v: v.size > 0 and any(close(
             v.flat[0], trained_by(i)["lengths"][0] * c, 1e-3)
             for c in (len(i["x"][0]), 1 / len(i["x"][0])))}),
    Slip("other_norm", "Another norm decides here. The length is the root of the sum of squares, "
         "the `norm_type` 2 of clip_grad_norm_.",
         lambda i: [{"lengths": lambda v: v.size > 0 and any(
             close(v.flat[0], norm, 1e-3) for norm in other_norms(i)), key: np.any}
                    for key in ("losses", "A", "B", "shift")] + loops({"clip": "square"})(i)),
    Slip("frozen_clipped", "The length has an old gradient of a frozen weight in it, which no "
         "zero_grad of this optimizer takes away. Clip what requires a gradient.",
         lambda i: trained_by(i, beside=np.linalg.norm(i["old_W"].astype(float)))),
    Slip("rise_fast", "The rise is one step too short: step 0 has the rate of step 1. Count the "
         "steps from 0: (step + 1) / warmup.",
         loops(lambda i: {"rate": lambda step: min(1, (step + 2) / i["warmup"])})),
    Slip("rounded", "The losses were rounded. Return them as they are.",
         lambda i: {"losses": lambda v: v.shape == (LOOP_STEPS,) and any(
             close(v, np.round(v, n), 1e-9) and np.all(np.abs(v - trained_by(i)["losses"])
                                                       < 0.52 * 10.0**-n) for n in range(4))}),
    Slip("each_clipped", "Every tensor was clipped for itself, which changes the direction. One "
         "length for all: give clip_grad_norm_ the whole list.", loops({"clip": "each"})),
    Slip("value_clipped", "Every number of the gradient was cut off at the limit, which changes "
         "the direction. `clip` is the length of the whole gradient: `clip_grad_norm_`.",
         loops({"clip": "value"})),
    Slip("all_alike", "All gradients came out equally long, also the short ones. `clip` is a "
         "limit: what is shorter stays as it is. (The limit is the one given, not 1.)",
         lambda i: [each | {"lengths": lambda v: not first_length(i, 2)(v)}
                    for each in loops({"clip": "always"}, {"limit": 1.0})(i)]),
    Slip("twice", "The gradient is twice as long as it should be: backward ran twice, or the loss "
         "was doubled.", lambda i: [{key: np.any, "lengths": first_length(i, 2)}
                                    for key in ("losses", "A", "B", "shift", "lengths")]),
    Slip("no_zero", "The gradients of earlier steps are still there, and backward adds to them. "
         "Call zero_grad in every step, before backward.",
         loops({"zero": "never"}, {"zero": "never", "clip": "none"}, {"zero": "once"})),
    Slip("zero_after", "The first step also used gradients that the model brought along. Call "
         "zero_grad before backward, not only after the step.", loops({"zero": "after"})),
    Slip("no_warmup", "Every step had the full rate. Write the step's rate into each of "
         "`optimizer.param_groups`, as `group[\"lr\"]`, before the step.",
         loops({"rate": lambda step: 1})),
    Slip("endless_warmup", "The rate went on rising after the warm-up, above lr. It stops at lr: "
         "`min(1, (step + 1) / warmup)`.",
         loops(lambda i: {"rate": lambda step: (step + 1) / i["warmup"]})),
    Slip("rise_slow", "The rise took one step more than `warmup`. In step warmup - 1 the rate is "
         "lr already: lr * (step + 1) / warmup.",
         loops(lambda i: {"rate": lambda step: min(1, (step + 1) / (i["warmup"] + 1))},
               lambda i: {"rate": lambda step: 1 - (1 - 1 / i["warmup"]) * max(
                   0, 1 - step / i["warmup"])})),
    Slip("lr_twice", "The rate has lr in it twice. A scheduler such as LambdaLR multiplies the "
         "optimizer's lr by what its function returns: the share alone.",
         loops(lambda i: {"rate": lambda step: i["lr"] * min(1, (step + 1) / i["warmup"])})),
    Slip("stays_low", "Every step had the rate of the first one, lr / warmup. Write the step's "
         "rate into `optimizer.param_groups` in every step.",
         loops(lambda i: {"rate": lambda step: 1 / i["warmup"]})),
    Slip("falls", "After the warm-up the rate fell. Here it stays at lr.",
         loops(*(lambda i, fall=fall: {"rate": lambda step: (step + 1) / i["warmup"] if step < i[
             "warmup"] else fall(step, int(i["warmup"]))} for fall in (
                 lambda t, w: w / (t + 1), lambda t, w: 0,
                 lambda t, w: half_turn(t, LOOP_STEPS, w, 0),
                 lambda t, w: 1 - part(t, LOOP_STEPS, w),
             )))),
    Slip("max_for_min", "The rate is lr at first and rises above it: `max` takes the larger of 1 "
         "and the share. It is `min(1, (step + 1) / warmup)`.",
         loops(lambda i: {"rate": lambda step: max(1, (step + 1) / i["warmup"])})),
    Slip("compounds", "Each step's share was multiplied into the rate of the step before. Set the "
         "rate anew: lr times the share.",
         loops(lambda i: {"rate": lambda step: np.prod(
             [min(1, (t + 1) / i["warmup"]) for t in range(step + 1)])})),
    Slip("loss_after", "These are losses after the step. Keep the one whose gradient the step "
         "used.", lambda i: trained_by(i, late_loss=True)),
    Slip("running", "These are means of all losses so far. Return each step's own.",
         lambda i: trained_by(i) | {"losses": trained_by(i)["losses"].cumsum()
                                    / np.arange(1, LOOP_STEPS + 1)}),
    Slip("one_batch", "Every step used the first batch. Go through all of them.",
         lambda i: {"losses": trained_by({**i, **{key: np.repeat(i[key][:1], LOOP_STEPS, 0)
                                                  for key in "xy"}})["losses"]}),
    Slip("other_length", "The length is the root of the sum of all squares, over all gradients "
         "together: `clip_grad_norm_` returns it.",
         lambda i: [trained_by(i) | {"lengths": trained_by(i)["lengths"] ** 2}]),
    Slip("from_zero", "The first step had a rate of 0 and moved nothing. Count from 1: "
         "(step + 1) / warmup.",
         loops(lambda i: {"rate": lambda step: min(1, step / i["warmup"])})),
    Slip("rate_late", "The rate was set after the step, so each step had that of the one before, "
         "and the first the full one. Set it before the step.",
         loops(lambda i: {"rate": lambda step: min(1, step / i["warmup"]) if step else 1})),
    Slip("sgd", "These are the steps of plain gradient descent. AdamW divides by the size of past "
         "gradients: `torch.optim.AdamW`.", loops({"rule": "SGD"}, {"rule": "SGD", "decay": 0})),
    Slip("adam", "Adam puts the weight decay into the gradient, where its division undoes it. "
         "AdamW takes it from the weights: `torch.optim.AdamW`.", loops({"rule": "Adam"})),
    Slip("default_decay", "The weight decay that was given was not used. AdamW's own is 0.01: "
         "`weight_decay=weight_decay`.", loops({"decay": 0.01}, {"decay": 0},
                                               {"decay": 0, "rule": "Adam"})),
    Slip("new_optimizer", "AdamW began anew in each step and forgot its means of past gradients. "
         "Build it once, before the loop.", loops({"fresh": True})),
    Slip("only_lora", "Something beside the factors requires a gradient too. Ask "
         "`requires_grad`, not the name.", loops({"only": ("A", "B")})),
    Slip("exchanged", "The two lists are exchanged: first the losses, then the lengths.",
         lambda i: {"losses": trained_by(i)["lengths"], "lengths": trained_by(i)["losses"]}),
    Slip("clipped_length", "These are the lengths after clipping. clip_grad_norm_ returns the "
         "length before.",
         lambda i: {**trained_by(i), "lengths": np.minimum(trained_by(i)["lengths"], i["clip"])}),
    Slip("eval_mode", "In eval mode the dropout is off, and nobody would notice. `model.train()` "
         "comes before the loop.", seen_as(modes=none)),
)  # fmt: skip


def first_wrong(low, high):
    """A slip's values: the first wrong loss is that of a step from low(warmup) to high(warmup)."""

    def found(i):
        right, warmup = trained_by(i)["losses"], int(i["warmup"])

        def at(v):
            if v.shape != right.shape or not np.isfinite(v).all():
                return False
            return low(warmup) <= np.argmax(~np.isclose(v, right, 1e-3, 1e-3)) <= high(warmup)

        return {"losses": at}

    return found


LOOP_LAST = (
    Slip("one_a_step", "Return two lists with one number for each step.",
         seen_as(losses=lambda v: v.shape != (LOOP_STEPS,))),
    Slip("before_any", "The very first loss is another one, and no step has been made. It is "
         "`model(**batch).loss` of the first batch, of the model as it came.",
         first_wrong(lambda w: 0, lambda w: 0)),
    Slip("in_warmup", "The first loss is right, and in the warm-up the weights go another way. Go "
         "through a step: rate lr * (step + 1) / warmup, zero_grad, backward, clip, step. Of the "
         "step before, only AdamW's memory is left.", first_wrong(lambda w: 1, lambda w: w)),
    Slip("after_warmup", "The losses are right up to the end of the warm-up. Look at the rate "
         "after it, which stays at lr, at gradients that are longer or shorter than `clip`, and at "
         "AdamW's settings.", first_wrong(lambda w: w + 1, lambda w: LOOP_STEPS)),
    Slip("lengths", "Losses and weights are right, the lengths are not. Each is the length of all "
         "gradients as one vector, before clipping.", seen_as(lengths=lambda v: v.size > 0)),
)  # fmt: skip

training_loop = Check(
    name="training_loop", title="The training loop", wants=("train_adapter",),
    difficulty=3, minutes=15, points=20,
    verified=f"losses, lengths and weights of {LOOP_STEPS} steps against AdamW by hand in float64, "
    "and what is frozen",
    hints=(
        "Which lines come once, before the loop, and which in every step? AdamW remembers, so it "
        "comes once.",
        "In every step: set the rate, forward, zero_grad, backward, clip, step. "
        "`torch.nn.utils.clip_grad_norm_` shortens the gradients where they are and returns the "
        "length that they had.",
        '`group["lr"] = lr * min(1, (step + 1) / warmup)` for each group of '
        "`optimizer.param_groups`, and after backward "
        "`lengths.append(clip_grad_norm_(weights, clip).item())`.",
    ),
    slips=LOOP + LOOP_LAST, other="Take one batch and one step, and compare the weights with the "
    "chapter's loop.",
    make=make_loop, probe=probe_loop, judge=judge_loop,
)  # fmt: skip

EXERCISES = (loss_mask, collate, schedule, save_load, triage, training_loop)
