"""Checks of chapter 09: chat template, the mask of a talk, packing, an old script, settings."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close
from lora_course.checks.values import Refused, kind

IGNORED = -100


# What several checks share
def _same(seen, wanted):
    return seen.shape == wanted.shape and bool(np.array_equal(seen, wanted))


def _listed(row):
    return "[" + ", ".join(f"{v:g}" for v in np.ravel(row)[:16]) + "]"


def _expect(value, kinds, name, expected):
    """The learner's value, when it is one of these kinds; else Refused."""
    if value is None:
        raise Refused("none", f"{name} gave None.", expected)
    if not isinstance(value, kinds):
        raise Refused("type", f"{name} gave {kind(value)}.", expected)
    return value


def _parting(seen, wanted):
    """The first place at which two rows differ."""
    n = min(len(seen), len(wanted))
    apart = np.flatnonzero(seen[:n] != wanted[:n])
    return int(apart[0]) if len(apart) else n


# 9.1 A chat template
WORDS = "mill bridge harbour bakery Mira Tom rain lantern letter ferry market bell".split()
ENDS = ("<s>", "</s>"), ("<|start|>", "<|stop|>"), ("[B]", "[E]")
SPELLED = ("<bos>", "<eos>", *(end for ends in ENDS for end in ends))
TALKS = (("system", "user", "assistant", "user", "assistant"), ("user",), ("user", "assistant") * 2)
OPEN = (False, True, False)  # add_generation_prompt of each talk


def make_template(seed):
    rng = np.random.default_rng(seed + 910)
    made = {"ends": rng.permutation(len(ENDS))}
    for k, roles in enumerate(TALKS):
        made[f"words_{k}"] = rng.integers(len(WORDS), size=(len(roles), 3))
    return made


def _talks(a):
    """[(messages, add_generation_prompt, bos, eos)]; each talk has other first and end tokens."""
    talks = []
    for k, roles in enumerate(TALKS):
        texts = [" ".join(WORDS[int(i)] for i in row) for row in a[f"words_{k}"]]
        messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
        talks.append((messages, OPEN[k], *ENDS[int(a["ends"][k])]))
    return talks


def probe_template(namespace, a):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = _expect(namespace["chat_template"](), str, "chat_template()", "a str.")
    made = {}
    for k, (messages, ready, bos, eos) in enumerate(_talks(a)):
        marks = "generation" in template
        text, where = render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=ready,
            return_assistant_tokens_mask=marks, bos_token=bos, eos_token=eos,
        )  # fmt: skip
        made[f"text_{k}"] = np.array([ord(letter) for letter in text[0]])
        made[f"marked_{k}"] = np.zeros(len(text[0]), dtype=int)
        for start, end in (where[0] if marks else ()) or ():
            made[f"marked_{k}"][start:end] = 1
    return made


def _rendered(messages, ready, bos, eos, slip=""):
    """The text that is asked for, or what a slip makes of it, and where the model speaks."""
    text = "" if slip == "no_bos" else bos
    marked = [0] * len(text)
    for n, message in enumerate(messages):
        speaks = message["role"] == "assistant"
        head = ("" if slip != "bos_each" or n == 0 else bos) + f"# {message['role']}\n"
        ends = slip != "no_eos" and (speaks or slip == "eos_each")
        parts = (
            (head, slip == "header_marked"),
            (message["content"], slip != "no_marks"),
            (eos if ends else "", slip not in ("eos_outside", "no_marks")),
            ("\n", slip == "newline_marked"),
        )
        for part, mark in parts:
            text += part
            marked += [int(mark and speaks)] * len(part)
    if (ready and slip != "no_prompt") or slip == "always_prompt":
        tail = "# assistant\n"
        text, marked = text + tail, marked + [0] * len(tail)
    return np.array([ord(letter) for letter in text]), np.array(marked)


SLIPS = (
    "no_bos", "bos_each", "no_eos", "eos_each", "no_prompt", "always_prompt", "no_marks",
    "eos_outside", "header_marked", "newline_marked",
)  # fmt: skip


def judge_template(inputs, outputs):
    talks = _talks(inputs)
    seen = [(outputs[f"text_{k}"], outputs[f"marked_{k}"]) for k in range(len(talks))]

    def fits(slip):
        wanted = [_rendered(*talk, slip) for talk in talks]
        return all(
            _same(a, b)
            for s, w in zip(seen, wanted, strict=True)
            for a, b in zip(s, w, strict=True)
        )

    if fits(""):
        return Verdict(1.0)
    slip = next((slip for slip in SLIPS if fits(slip)), None)
    for k, talk in enumerate(talks):
        text, marked = _rendered(*talk)
        if not _same(seen[k][0], text):
            said, wanted = _text(seen[k][0]), _text(text)
            start = max(0, _parting(np.ravel(seen[k][0]), text) - 20)
            parts = [t[start : start + 60] for t in (said, wanted)]
            if slip is None and any(end in said for end in SPELLED if end not in wanted):
                slip = "hard_coded"
            seen_part = f"from letter {start} on, {parts[0]!r}"
            return Verdict(0.0, slip or "other", seen_part, repr(parts[1]))
        if not _same(seen[k][1], marked):
            parts = [repr(_text(t)[:100]) for t in (text[_on(seen[k][1])], text[_on(marked)])]
            return Verdict(0.0, slip or "other", f"marked: {parts[0]}", parts[1])
    return Verdict(0.0, "other")


def _on(marks):
    return np.asarray(marks) == 1


def _text(letters):
    return "".join(chr(int(n)) for n in np.ravel(letters) if 0 < n < 0x110000)


chat_template = Check(
    name="chat_template",
    title="A chat template",
    wants=("chat_template",),
    difficulty=2,
    minutes=15,
    points=20,
    verified="three talks with other first and end tokens: the text, the sign to answer, and "
    "what is marked as the model's own words",
    hints=(
        "Print what your template makes of one talk, with `repr`, and lay it beside the example.",
        "First `bos_token`, once. Then a loop over `messages`; inside, an `if` on "
        "`message['role'] == 'assistant'`, because only there the end token follows. After the "
        "loop an `if add_generation_prompt`.",
        "In the assistant's branch: "
        "`{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}` and after it "
        "`{{ '\\n' }}`. Write line breaks as `'\\n'` inside `{{ }}`, and put a `-` into the tags, "
        "as the chapter does, so that your own line breaks do not count.",
    ),
    mistakes={
        "no_bos": "The first token is missing. Write `bos_token` once, before the loop.",
        "bos_each": "The first token stands before every message. It belongs before the loop.",
        "hard_coded": "The first or end token is spelled out. Other tokenizers have other ones: "
        "use the variables `bos_token` and `eos_token`.",
        "no_eos": "The end token is missing after what the model says. It would never stop.",
        "eos_each": "The end token follows every message. It tells the model that its own turn is "
        "over: only the assistant's messages get it.",
        "no_prompt": "With add_generation_prompt=True the text must end with the sign to answer. "
        "Without it the model may go on as the user.",
        "always_prompt": "The sign to answer is there in every case. Write it only if "
        "add_generation_prompt is true, after the loop.",
        "no_marks": "The text is right, and nothing is marked. Put `{% generation %}` and "
        "`{% endgeneration %}` around what the model says.",
        "eos_outside": "The end token stands outside the marks. It would not be graded, and the "
        "model would never learn to stop.",
        "header_marked": "The header of the assistant's turn is inside the marks. The template "
        "writes it, not the model.",
        "newline_marked": "The line break after the end token is inside the marks. When the model "
        "has said its end token, its turn is over.",
        "raised:TemplateSyntaxError": "Count the tags: every `{% if %}`, `{% for %}` and "
        "`{% generation %}` needs its end.",
        "raised:UndefinedError": "In Jinja a message is a dict: `message['role']`, "
        "`message['content']`.",
        "type": "return the template itself, as one text.",
        "other": "Lay both texts under each other. An extra line break or space often comes from "
        "the template's own lines: `{%-` and `{{-` remove what stands before them.",
    },
    make=make_template,
    probe=probe_template,
    judge=judge_template,
)


# 9.2 The mask of a talk
def make_labels(seed):
    rng = np.random.default_rng(seed + 920)
    made = {"sign": np.array(int(rng.integers(3, 6))), "end": np.array(int(rng.integers(6, 9)))}
    for k, turns in enumerate((1, 3, 2)):
        ids = [1]
        for turn in range(turns):
            asked = 20 + rng.permutation(70)[: rng.integers(2, 5)]
            if k == 1 and turn == 1:
                asked[0] = made["end"]  # the user quotes the end token
            told = 20 + rng.permutation(70)[: rng.integers(2, 4)]
            ids += [10, *asked, 11, int(made["sign"]), *told, int(made["end"])]
        if k == 2:
            ids = ids[:-2]  # max_length has cut the last answer
        made[f"ids_{k}"] = np.array(ids)
    return made


def probe_labels(namespace, a):
    made = {}
    for k in range(3):
        labels = namespace["talk_labels"](a[f"ids_{k}"].tolist(), a["sign"].item(), a["end"].item())
        made[f"labels_{k}"] = array(labels, "the labels")
    return made


def _spans(ids, sign, end):
    """[(first, last + 1)] of the graded tokens of each turn of the assistant."""
    found, start = [], None
    for t, token in enumerate(ids):
        if start is None and token == sign:
            start = t + 1
        elif start is not None and token == end:
            found.append((start, t + 1))
            start = None
    return found + ([(start, len(ids))] if start is not None else [])


def _labels(ids, spans):
    made = np.full(len(ids), IGNORED)
    for start, stop in spans:
        made[start:stop] = ids[start:stop]
    return made


def _label_slips(ids, sign, end):
    spans, n = _spans(ids, sign, end), len(ids)
    right = _labels(ids, spans)
    closed = [(a, b - 1 if ids[b - 1] == end else b) for a, b in spans]
    everywhere = right.copy()
    everywhere[ids == end] = end
    return right, {
        "everything": [ids],
        "sign_graded": [_labels(ids, [(a - 1, b) for a, b in spans])],
        "end_masked": [_labels(ids, closed)],
        "last_only": [_labels(ids, spans[-1:])],
        "first_only": [_labels(ids, spans[:1])],
        "never_closed": [_labels(ids, [(spans[0][0], n)])],
        "shifted": [np.append(right[1:], IGNORED), right[1:]],
        "ends_everywhere": [everywhere],
        "cut_lost": [_labels(ids, [s for s in spans if ids[s[1] - 1] == end])],
        "inverted": [np.where(right == IGNORED, ids, IGNORED)],
    }


def judge_labels(inputs, outputs):
    found, bad = [], None
    for k in range(3):
        ids, seen = inputs[f"ids_{k}"], outputs[f"labels_{k}"]
        right, slips = _label_slips(ids, int(inputs["sign"]), int(inputs["end"]))
        found.append([name for name, forms in slips.items() if any(_same(seen, f) for f in forms)])
        if bad is None and not _same(seen, right):
            seen = np.ravel(seen)
            part = slice(max(0, _parting(seen, right) - 4), None)
            place = f"from token {part.start} on, " if part.start else ""
            bad = f"{place}{_listed(seen[part])} for {_listed(ids[part])}", _listed(right[part])
    if bad is None:
        return Verdict(1.0)
    key = next((name for name in found[0] if name in found[1] and name in found[2]), "other")
    return Verdict(0.0, key, *bad)


talk_labels = Check(
    name="talk_labels",
    title="The mask of a talk",
    wants=("talk_labels",),
    difficulty=2,
    minutes=12,
    points=20,
    verified="one turn, three turns with a quoted end token, and a talk that was cut short",
    hints=(
        "Read the tokens from left to right. Which two tokens change who is speaking?",
        "Keep one variable: is the assistant speaking? Its sign switches it on for the tokens "
        "that follow; the end token, itself still graded, switches it off.",
        "`speaking = False`; for each token: `labels.append(token if speaking else -100)`, and "
        "then `if token == assistant_id: speaking = True` / "
        "`elif token == end_id: speaking = False`.",
    ),
    mistakes={
        "everything": "Every token is graded. Put -100 where the assistant does not speak.",
        "sign_graded": "The assistant's sign is graded. The template writes it, so the model need "
        "not: begin with the token after it.",
        "end_masked": "The end token is masked. It is the model's own: graded, it teaches when to "
        "stop.",
        "last_only": "Only the last answer is graded. That is completion-only; here every turn of "
        "the assistant counts.",
        "first_only": "Only the first answer is graded. Go on after it: `list.index` finds the "
        "first place only.",
        "never_closed": "After the first sign everything is graded, the user's words too. The end "
        "token must switch the grading off.",
        "shifted": "The labels are shifted by one. The model shifts them itself.",
        "ends_everywhere": "An end token that the user quotes is graded too. Grade it only while "
        "the assistant speaks.",
        "cut_lost": "An answer without an end token is not graded: max_length has cut it. What is "
        "there of it still counts.",
        "inverted": "This is the reverse: the user is graded, and the assistant is not.",
        "raised:ValueError": "`list.index` raises when there is nothing left to find, for instance "
        "when the last answer was cut. A loop over the tokens needs no `index`.",
        "raised:IndexError": "A place behind the last token was asked for. The last answer may "
        "have no end token.",
        "other": "Print the tokens and your labels under each other, for one turn first.",
    },
    make=make_labels,
    probe=probe_labels,
    judge=judge_labels,
)


# 9.3 Pack
ROOM = 64


def _fill(lengths, order, room, choose):
    """Bins as lists of rows: each goes where `choose` says, among [(free, bin)] that have room."""
    bins, free = [], []
    for i in order:
        fits = [(free[b], b) for b in range(len(bins)) if free[b] >= lengths[i]]
        if choose == "last":
            fits = [f for f in fits if f[1] == len(bins) - 1]
        if not fits:
            bins.append([])
            free.append(room)
        b = len(bins) - 1 if not fits else (min(fits) if choose == "best" else fits[0])[1]
        bins[b].append(i)
        free[b] -= lengths[i]
    return bins


def _contents(lengths, bins):
    """What is in the bins, whichever of two rows of one length is meant."""
    return sorted(sorted(lengths[i] for i in b) for b in bins)


def _down(lengths):
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


def make_pack(seed):
    for attempt in range(10_000):
        rng = np.random.default_rng((seed + 930) * 10_000 + attempt)
        lengths = [int(n) for n in rng.integers(6, 49, size=18)]
        given, down = range(18), _down(lengths)
        least = len(_fill(lengths, down, ROOM, "best"))
        other = [_fill(lengths, given, ROOM, way) for way in ("best", "first", "last")]
        other.append(_fill(lengths, down, ROOM, "last"))
        up = _fill(lengths, down[::-1], ROOM, "best")
        differ = _contents(lengths, up) != _contents(lengths, other[-1])
        if differ and len(_fill(lengths, down, ROOM, "first")) == least < min(map(len, other)):
            break
    rows = [rng.integers(10, 90, size=n) for n in (4, 2, 3)]
    ids = {f"ids_{k}": row for k, row in enumerate(rows)}
    labels = {f"labels_{k}": row.copy() for k, row in enumerate(rows)}
    labels["labels_2"][:1] = IGNORED
    return {"lengths": np.array(lengths), **ids, **labels}


def probe_pack(namespace, a):
    n = len(a["lengths"])
    bins = namespace["pack"](a["lengths"].tolist(), ROOM)
    words = "a list of lists of row numbers."
    for part in (bins, *_expect(bins, (list, tuple), "pack()", words)):
        _expect(part, (list, tuple), "pack()", words)
    made = {"size": np.array([len(b) for b in bins]), "bins": np.zeros(0)}
    flat = [array(i, "a row number") for b in bins for i in b]
    if any(i.shape != () for i in flat):
        raise Refused("type", "pack() gave something else than row numbers.", f"0 to {n - 1}.")
    made["bins"] = np.array([float(i) for i in flat])
    rows = [(a[f"ids_{k}"].tolist(), a[f"labels_{k}"].tolist()) for k in range(3)]
    joined = _expect(namespace["join"](rows), (list, tuple), "join()", "three lists.")
    if len(joined) != 3:
        raise Refused("type", f"join() gave {len(joined)} values.", "three lists.")
    for name, part in zip(("ids", "labels", "positions"), joined, strict=True):
        made[name] = array(part, f"{name} of join()")
    return made


def judge_pack(inputs, outputs):
    lengths = [int(n) for n in inputs["lengths"]]
    n, sizes, flat = len(lengths), outputs["size"], outputs["bins"]
    if flat.ndim != 1 or sizes.ndim != 1 or not np.all(np.isin(flat, range(n))):
        return Verdict(0.0, "other", "pack() gave other numbers", f"row numbers from 0 to {n - 1}")
    if int(np.sum(sizes)) != len(flat):
        return Verdict(0.0, "other")
    bins, start = [], 0
    for size in sizes.astype(int):
        bins.append([int(i) for i in flat[start : start + size]])
        start += size
    missing = sorted(set(range(n)) - set(flat.astype(int).tolist()))
    if missing:
        return Verdict(0.0, "lost", f"row {missing[0]} is in no bin", "every row in one bin")
    if len(flat) > n:
        return Verdict(0.0, "twice", f"{len(flat)} places for {n} rows", "every row in one bin")
    fullest = max(sum(lengths[i] for i in b) for b in bins)
    if fullest > ROOM:
        return Verdict(0.0, "overfull", f"a bin of {fullest} tokens", f"at most {ROOM}")
    wanted = _fill(lengths, _down(lengths), ROOM, "best")
    if len([b for b in bins if b]) > len(wanted):
        key = _pack_slip(lengths, [b for b in bins if b])
        return Verdict(0.0, key, f"{len(bins)} bins", f"{len(wanted)} bins")
    if len(bins) > len(wanted):
        return Verdict(0.0, "empty", f"{len(bins)} bins, some empty", f"{len(wanted)} bins")
    return _join_verdict(inputs, outputs)


def _pack_slip(lengths, bins):
    seen, n = _contents(lengths, bins), len(lengths)
    if len(bins) == n:
        return "one_each"
    up = _down(lengths)[::-1]
    for key, order, ways in (
        ("unsorted", range(n), ("best", "first")),
        ("unsorted", up, ("best", "first", "last")),
        ("last_bin", _down(lengths), ("last",)),
        ("last_bin", range(n), ("last",)),
    ):
        if any(_contents(lengths, _fill(lengths, order, ROOM, way)) == seen for way in ways):
            return key
    return "too_many"


def _join_verdict(i, outputs):
    rows = [(i[f"ids_{k}"], i[f"labels_{k}"]) for k in range(3)]
    ids = np.concatenate([row for row, _ in rows])
    labels = np.concatenate([row for _, row in rows])
    positions = np.concatenate([np.arange(len(row)) for row, _ in rows])
    masked = np.where(positions == 0, IGNORED, labels)
    seen = outputs["positions"]
    if not _same(outputs["ids"], ids):
        return Verdict(0.0, "other", f"tokens {_listed(outputs['ids'])}", _listed(ids))
    if not _same(seen, positions):
        runs = {"positions_run": np.arange(len(ids)), "positions_from_1": positions + 1}
        key = next((key for key, value in runs.items() if _same(seen, value)), "other")
        return Verdict(0.0, key, f"positions {_listed(seen)}", _listed(positions))
    if not _same(outputs["labels"], masked):
        key = "first_graded" if _same(outputs["labels"], labels) else "other"
        only = np.append([IGNORED], labels[1:])
        key = "one_masked" if _same(outputs["labels"], only) else key
        return Verdict(0.0, key, f"labels {_listed(outputs['labels'])}", _listed(masked))
    return Verdict(1.0)


pack = Check(
    name="pack",
    title="Pack",
    wants=("pack", "join"),
    difficulty=3,
    minutes=18,
    points=25,
    verified="18 rows in as few bins as best fit, decreasing; tokens, labels and positions of a "
    "bin",
    hints=(
        "Large stones first, then sand. And for `join`: what does the last token of a row predict, "
        "once another row follows?",
        "Go through the rows from the longest to the shortest. Keep for every bin how much room "
        "is left, and take the bin with the least room that still suffices. In `join`, the first "
        "label of each row becomes -100.",
        "`for i in sorted(range(len(lengths)), key=lambda i: -lengths[i])`; "
        "`fits = [b for b in range(len(bins)) if room[b] >= lengths[i]]`; if `fits` is empty open "
        "a bin, else `b = min(fits, key=lambda b: room[b])`. Positions: `range(len(ids))` for "
        "each row; labels: `[-100] + labels[1:]`.",
    ),
    mistakes={
        "lost": "A row got lost. Append it also when it opens a new bin.",
        "twice": "A row is in more than one bin. Leave the search as soon as it has found one.",
        "overfull": "A bin holds more than max_length tokens; the rest would be cut. Is there "
        "room for the whole row?",
        "one_each": "Every row has a bin of its own: nothing is packed. Look for room first.",
        "last_bin": "Only the bin that was opened last is looked at. Earlier bins may have room "
        "as well.",
        "unsorted": "The rows are not taken from the longest to the shortest. Short ones go in "
        "first, and no room is left for the long ones.",
        "too_many": "More bins than needed. Take the longest row first, and look at all bins.",
        "empty": "There are empty bins among them. Open a bin only when a row needs it.",
        "positions_run": "The positions run on through the bin. They must begin again at 0 with "
        "every row: that is how the model knows where a row begins.",
        "positions_from_1": "The positions begin at 1. The first token has position 0.",
        "first_graded": "The first token of a row is still graded. The token before it, the last "
        "one of the row before, would have to guess it: put -100 there.",
        "one_masked": "Only the first row's first label is -100. Every row that follows another "
        "one needs it as well.",
        "raised:ValueError": "`min` of an empty list: no bin has room. Then open a new one.",
        "raised:TypeError": "`join` gets a list of pairs (ids, labels), and `pack` a list of "
        "lengths and one number.",
        "raised:IndexError": "Room and bins must grow together: when you open a bin, append to "
        "both.",
        "type": "return lists: of row numbers in `pack`, three of them in `join`.",
        "other": "Try `pack([3, 5, 2], 5)` and `join([([7, 8], [7, 8]), ([9], [9])])` by hand.",
    },
    make=make_pack,
    probe=probe_pack,
    judge=judge_pack,
)


# 9.4 Repair the outdated script
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SETTINGS = ("max_length", "learning_rate", "max_steps", "eval_steps", "warmup_steps", "r")


def make_script(seed):
    rng = np.random.default_rng(seed + 940)
    return {
        "length": np.array(int(rng.integers(40, 60))),
        "rate": np.array(float(rng.choice([1e-3, 2e-3, 5e-3]))),
        "words": rng.integers(len(WORDS), size=(2, 2)),
    }


def probe_script(namespace, a):
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTTrainer

    from lora_course.bridges.sft import as_chat
    from lora_course.kit.models import load_tokenizer, quiet

    quiet()
    tokenizer = load_tokenizer("base")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads)
    words = [[WORDS[int(i)] for i in row] for row in a["words"]]
    rows = [as_chat({"prompt": f"Where is {p}?", "completion": f"At the {c}."}) for p, c in words]
    rows = Dataset.from_list(rows)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng([]):
        trainer = namespace["make_trainer"](
            LlamaForCausalLM(config), tokenizer, rows, rows, folder,
            a["length"].item(), a["rate"].item(),
        )  # fmt: skip
    _expect(trainer, SFTTrainer, "make_trainer()", "an SFTTrainer.")
    args, row = trainer.args, trainer.train_dataset[0]
    configs = getattr(trainer.model, "peft_config", {})
    names = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    made = {
        "max_length": float(args.max_length or -1),
        "learning_rate": float(args.learning_rate),
        "max_steps": float(args.max_steps),
        "eval_steps": float(args.eval_steps or 0) * (args.eval_strategy == "steps"),
        "warmup_steps": float(args.get_warmup_steps(20)),
        "r": float(configs["default"].r if "default" in configs else 0),
        "grouped": float(args.train_sampling_strategy == "group_by_length"),
        "bf16": float(bool(args.bf16 or args.fp16)),
        "checkpointing": float(bool(args.activation_checkpointing)),
        "ids": array(row["input_ids"]),
        "labels": array(row["labels"]),
        "asked": array(tokenizer.apply_chat_template(rows[0]["prompt"])["input_ids"]),
    }
    made["targets"] = np.array([any(f".{p}.lora_A" in n for n in names) for p in PARTS], float)
    made["others"] = float(len([n for n in names if "lora_" not in n]))
    return made


def judge_script(inputs, outputs):
    values = (inputs["length"].item(), inputs["rate"].item(), 20, 5, 2, 4)
    wanted = dict(zip(SETTINGS, values, strict=True))
    if outputs["others"] or outputs["r"] == 0:
        return Verdict(0.0, "no_lora", "the whole model trains", "LoRA on q_proj and v_proj")
    want = np.array([part in ("q_proj", "v_proj") for part in PARTS], float)
    if not _same(outputs["targets"], want):
        seen = [p for p, on in zip(PARTS, np.ravel(outputs["targets"]), strict=False) if on == 1]
        return Verdict(0.0, "targets", f"LoRA on {', '.join(seen)}", "q_proj and v_proj")
    ids, labels = outputs["ids"], outputs["labels"]
    start = len(np.ravel(outputs["asked"])) + 1  # the prompt and the assistant's sign
    if _same(labels, ids):
        return Verdict(0.0, "prompt_graded", "every token is graded", "only the completion")
    if not _same(labels, np.where(np.arange(len(ids)) < start, IGNORED, ids)):
        return Verdict(0.0, "other", f"labels {_listed(labels[-8:])}", "only the completion graded")
    for name in SETTINGS:
        if not close(outputs[name], wanted[name], rtol=1e-6):
            seen = f"{name} is {float(outputs[name]):g}"
            return Verdict(0.0, "lost", seen, f"{wanted[name]:g}, as in the old script")
    if not outputs["grouped"]:
        return Verdict(0.0, "lost", "rows in random order", "like lengths together, as before")
    for name in ("bf16", "checkpointing"):
        if outputs[name]:
            return Verdict(0.0, "machine", f"{name} is on", "float32 without checkpointing")
    return Verdict(1.0)


make_trainer = Check(
    name="make_trainer",
    title="Repair the outdated script",
    wants=("make_trainer",),
    difficulty=3,
    minutes=15,
    points=20,
    verified="made without an error; lengths, rates, steps, warm-up, evaluation, order of rows, "
    "what is graded and which layers train as in the old script; float32 on the CPU",
    hints=(
        "Run it, read the message, repair one name, run it again. The table at the end of the "
        "chapter's section 9 has the new names.",
        "All settings are in one `SFTConfig`, those of the rows too. The tokenizer comes as "
        "`processing_class`. Rows with prompt and completion need no collator. `target_modules` "
        "is a list.",
        "`SFTConfig(folder, eval_strategy='steps', eval_steps=5, max_steps=20, warmup_steps=0.1, "
        "train_sampling_strategy='group_by_length', learning_rate=rate, max_length=length, "
        "use_cpu=True, bf16=False, activation_checkpointing=False, report_to='none')`.",
    ),
    mistakes={
        "lost": "It runs, but a setting of the old script got lost on the way. Look for its new "
        "name; a missing one falls back to the default without a word.",
        "prompt_graded": "The prompt is graded as well. Rows with the columns prompt and "
        "completion need no collator: leave completion_only_loss alone.",
        "targets": "Other layers are adapted than the script meant. A string is one regular "
        "expression; give a list of names.",
        "no_lora": "The whole model trains. Give the trainer a peft_config.",
        "machine": "It would run in another way on another machine. Switch bf16 and "
        "checkpointing off by name: both are on by default.",
        "raised:TypeError": "An argument of that name is no longer known there. It was renamed, "
        "or it belongs into SFTConfig.",
        "raised:ValueError": "Without a GPU the default bf16=True needs use_cpu=True; and "
        "target_modules must be a list of names.",
        "raised:NameError": "The message has the name. DataCollatorForCompletionOnlyLM is gone, "
        "TrainingArguments is now SFTConfig, and PEFT's class is spelled LoraConfig.",
        "type": "return the trainer itself, without running it.",
        "other": "Print `trainer.args` and `trainer.train_dataset[0]`.",
    },
    make=make_script,
    probe=probe_script,
    judge=judge_script,
)


# 9.5 Pass the exam
BUDGET, NUMBERS, PASS = 8000, 8, 0.85  # rows read, largest rank, share right on new rows
TRAIN, NEW = 2000, 1000
WIDE, CLASSES, NEEDED = 16, 5, 3  # inputs and hidden units; answers; rank of the true update
FIELDS = ("r", "scale", "rate", "warmup", "steps", "batch", "curve")
CURVES = ("constant", "linear", "cosine")


def make_exam(seed):
    rng = np.random.default_rng(seed + 950)
    W = rng.normal(size=(WIDE, WIDE)) / WIDE**0.5  # (hidden, in)
    V = rng.normal(size=(CLASSES, WIDE))
    up = rng.normal(size=(WIDE, NEEDED)) @ rng.normal(size=(NEEDED, WIDE))
    up *= 2.5 * np.linalg.norm(W) / np.linalg.norm(up)
    X = rng.normal(size=(TRAIN + NEW, WIDE))
    return {"W": W, "V": V, "X": X, "y": _logits(X, W + up, V).argmax(1)}


def _hidden(x, W):
    return 4 * np.tanh(x @ W.T / 4)


def _logits(x, W, V):
    return _hidden(x, W) @ V.T


def probe_exam(namespace, a):
    import tempfile

    words = "an SFTConfig and a LoraConfig."
    pair = _expect(namespace["choose"](tempfile.gettempdir()), (tuple, list), "choose()", words)
    if len(pair) != 2:
        raise Refused("type", f"choose() gave {len(pair)} values.", words)
    args, lora = pair
    if not hasattr(args, "learning_rate") or not hasattr(lora, "lora_alpha"):
        raise Refused("type", "choose() gave other objects.", words)
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    steps = args.max_steps
    if steps <= 0:
        steps = int(np.ceil(args.num_train_epochs * np.ceil(TRAIN / batch)))
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    curve = next((n for n, word in enumerate(CURVES) if name.startswith(word)), 2)
    warmup = 0 if name == "constant" else args.get_warmup_steps(steps)
    root = np.sqrt(lora.r) if lora.use_rslora else lora.r
    values = (lora.r, lora.lora_alpha / root, args.learning_rate, warmup, steps, batch, curve)
    return {field: np.array(float(v)) for field, v in zip(FIELDS, values, strict=True)}


def _sit(i, r, scale, rate, warmup, steps, batch, curve):
    """Train LoRA on the exam's first layer by hand; the share right on the new rows."""
    r, steps, batch = int(r), int(steps), int(batch)
    rng = np.random.default_rng(0)
    W, V, X, y = (np.asarray(i[key]) for key in "WVXy")
    A, B = rng.uniform(-1, 1, size=(r, WIDE)) / WIDE**0.5, np.zeros((WIDE, r))
    passes = -(-steps * batch // TRAIN)
    order = np.concatenate([rng.permutation(TRAIN) for _ in range(passes)])
    means = [[np.zeros_like(w), np.zeros_like(w)] for w in (A, B)]
    for k in range(steps):
        rows = order[k * batch : (k + 1) * batch]
        x, n = X[rows], np.arange(len(rows))
        h = _hidden(x, W + scale * B @ A)  # (b, hidden)
        z = h @ V.T  # (b, classes)
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[n, y[rows]] -= 1
        dW = ((p / len(rows)) @ V * (1 - (h / 4) ** 2)).T @ x  # (hidden, in)
        left = (k - warmup) / max(1, steps - warmup)
        falls = (1.0, 1 - left, (1 + np.cos(np.pi * left)) / 2)[int(curve)]
        lr = rate * (k / warmup if k < warmup else falls)
        grads = scale * B.T @ dW, scale * dW @ A.T
        for w, g, (m, v) in zip((A, B), grads, means, strict=True):  # AdamW without decay
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= lr * (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
    return float((_logits(X[TRAIN:], W + scale * B @ A, V).argmax(1) == y[TRAIN:]).mean())


def judge_exam(inputs, outputs):
    values = {field: np.asarray(outputs[field]) for field in FIELDS}
    if any(v.shape != () or not np.isfinite(v) for v in values.values()):
        return Verdict(0.0, "other", "a value is not a number")
    seen = {field: float(v) for field, v in values.items()}
    read = seen["steps"] * seen["batch"]
    if min(seen["r"], seen["steps"], seen["batch"]) < 1 or not 0 <= seen["curve"] < len(CURVES):
        return Verdict(0.0, "other", "r, steps or batch is below 1")
    if read > BUDGET:
        return Verdict(0.0, "budget", f"{read:,.0f} rows read", f"at most {BUDGET:,}")
    if seen["r"] > NUMBERS:
        return Verdict(0.0, "rank_over", f"r = {seen['r']:.0f}", f"at most {NUMBERS}")
    with np.errstate(all="ignore"):
        share = _sit(inputs, **seen)
        if share >= PASS:
            return Verdict(1.0)
        most = BUDGET // max(int(seen["batch"]), 1)
        better = {
            "low_rank": {"r": 4.0},
            "slow" if seen["rate"] * seen["scale"] < 0.04 else "fast": {
                "rate": 0.04 / max(seen["scale"], 1e-6)
            },
            "short": {"steps": float(most)},
            "few_updates": {"batch": 32.0, "steps": BUDGET / 32.0},
        }
        key = next((k for k, new in better.items() if _sit(inputs, **seen | new) >= PASS), "other")
    return Verdict(0.0, key, f"{share:.0%} right on new rows", f"at least {PASS:.0%}")


choose = Check(
    name="choose",
    title="Pass the exam",
    wants=("choose",),
    difficulty=4,
    minutes=20,
    points=25,
    verified="a small network, trained with your numbers, answers new rows; rows read and rank "
    "are within the budget",
    hints=(
        "Start from the numbers of the chapter's run, not from the defaults. Then change one at "
        "a time, and watch the share that the check reports.",
        "8,000 rows are few: spend them all, in many steps rather than in large batches. The "
        "update that is needed has rank 3. The learning rate is that of LoRA, not that of full "
        "fine-tuning.",
        "r = 4, lora_alpha = 8, 250 steps of 32 rows, ten steps of warm-up, a cosine, and a rate "
        "between 0.01 and 0.05.",
    ),
    mistakes={
        "budget": "More rows are read than you may. Rows read are steps times rows in a batch "
        "(times gradient accumulation).",
        "rank_over": "The rank is over the budget.",
        "low_rank": "With a higher rank, and nothing else changed, it would have passed: the "
        "update that this task needs does not fit into so few.",
        "slow": "With a higher learning rate, and nothing else changed, it would have passed. "
        "SFTConfig's default is made for full fine-tuning.",
        "fast": "With a lower learning rate, and nothing else changed, it would have passed: the "
        "steps overshoot.",
        "short": "With more steps, and nothing else changed, it would have passed. You have not "
        "spent your rows.",
        "few_updates": "The same rows in smaller batches would have passed: more steps, and each "
        "of them moves the factors.",
        "raised:ValueError": "Without a GPU, SFTConfig needs use_cpu=True.",
        "raised:TypeError": "Look up the name of that argument; those of the rows and the steps "
        "belong into SFTConfig, r and lora_alpha into LoraConfig.",
        "type": "return the two objects, `args, lora`.",
        "other": "More than one value is far off. Go back to the numbers of the chapter's run, "
        "and change one at a time.",
    },
    make=make_exam,
    probe=probe_exam,
    judge=judge_exam,
)

EXERCISES = (chat_template, talk_labels, pack, make_trainer, choose)
