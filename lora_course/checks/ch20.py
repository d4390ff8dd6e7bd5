"""Checks of chapter 20: cleaning, a split by report, a decision, a release, a card."""

import math
import re
from collections import Counter

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.ch12 import FIVE, five, judge_five, spread
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, all_of, judged, seen_as
from lora_course.checks.values import Refused, array, kind, text, words

# 20.1 Clean
STYLES = 6  # how a prompt may be written
WORDS = "mill bridge harbor bakery well barn garden forest tower hill school market".split()
BAD = "unclear"  # a word in wrong completions


def make_clean(seed):
    """Rows in an order that is drawn: report, answer, way of writing, words of padding, format."""
    rng = np.random.default_rng(seed + 2000)
    report = rng.permutation(40)
    plan = []  # report, answer, style of the prompt, style of the answer, padding

    def row(n, answer=0, style=0, told=0, pad=0):
        plan.append((int(report[n]), answer, style, told, pad))

    for n in range(4):  # good ones, alone; one with spaces, one with a word of its own
        own = (int(report[n]) + 6) % 12 or 1
        row(n, own if n == 1 else 0, int(rng.integers(STYLES)) if n else 3, pad=3 * (n == 3))
    row(4), row(4)  # a copy, letter by letter
    for n in (5, 6):  # copies in other letters, also of the answer
        ways = rng.permutation([1, 2] if n == 5 else STYLES)  # 5: more than capitals differs
        first, second = (int(s) for s in ways[:2])
        row(n, style=first, told=0), row(n, style=second, told=1)
    row(7), row(8, style=int(rng.choice([1, 2, 3, 5])))  # leaks: see tested
    row(9, answer=-1)  # wrong, alone
    row(10, answer=-1), row(10)  # wrong, then right
    row(11), row(11, answer=-1, style=2)  # right, then wrong
    row(12, answer=0), row(12, answer=1, style=1)  # a contradiction
    row(13, answer=1), row(13, answer=2), row(13, answer=1)
    row(14, pad=1)  # as long as may be
    row(15, pad=2), row(15, pad=2)  # one word longer, twice: the next one after it as well
    row(16, answer=1, pad=5), row(16)  # a form that is too long, then another one that is not
    row(17), row(17, answer=2, pad=5)  # the reverse
    drawn, at = np.array(plan), rng.permutation(len(plan))
    at = np.array(sorted(range(len(plan)), key=lambda n: at[first_of(plan, n)] * 100 + n))
    tested = np.array([[report[7], 0, 0], [report[8], 4, 0], [report[30], 2, 0],
                       [report[0], 1, 1], [report[3], 0, 0]])  # fmt: skip
    made = {"rows": drawn[at], "format": rng.integers(0, 2, len(plan))}
    made["format"][made["rows"][:, 0] == report[0]] = 0  # its spaces are no work of as_row alone
    # The last two of the test: the text of a row and more, or less.
    return made | {"tested": rng.permutation(tested)}


def first_of(plan, n):
    """The first row with the same report, so that rows of one report keep their order."""
    return next(k for k, row in enumerate(plan) if row[0] == plan[n][0])


def styled(text, style):
    return (text, text.upper(), text.replace(" ", "  "), f"\n{text} ", text.removesuffix("."),
            text.replace("a", "\uff41").replace(" ", "\u00a0", 1))[int(style)]  # fmt: skip


def prompt_text(report, style, pad=0):
    """pad: 0 for 8 words, 1, 2 or 3 for 12, 13 or 10; 5: the form is longer, and not the prompt."""
    body = f"The {WORDS[report % 12]} paid, and coin {report} is here."
    return styled(body, style) + " so" * {0: 0, 1: 4, 2: 5, 3: 2, 5: 0}[int(pad)]


def answer_text(answer, style, pad=0):
    """3 words, or 8."""
    said = styled(f"Paid by {BAD if answer < 0 else WORDS[answer]}.", style)
    return said + " so" * (5 if pad == 5 else 0)


LIMIT = 15
NO_ROW, TURNED = -1, -2  # a row that was not given; one with its texts exchanged


def written(a):
    """The rows as a project has them."""
    made = []
    for (report, answer, style, told, pad), talk in zip(a["rows"].tolist(), a["format"],
                                                        strict=True):  # fmt: skip
        prompt, form = prompt_text(report, style, pad), answer_text(answer, told, pad)
        said = ("user", prompt), ("assistant", form)
        made.append({"messages": [dict(role=r, content=c) for r, c in said]} if talk
                    else {"prompt": prompt, "completion": form})  # fmt: skip
    return made


def probe_clean(namespace, a):
    rows = written(a)
    test = [{"prompt": prompt_text(*t), "completion": answer_text(1, 0)}  # not that of the rows
            for t in a["tested"].tolist()]  # fmt: skip
    before = callers.Before(rows, test)
    count = lambda row: len(f"{row['prompt']} {row['completion']}".split())  # noqa: E731
    wrong = lambda row: BAD in row["completion"].lower()  # noqa: E731
    found = namespace["clean"](rows, test, count, LIMIT, wrong)
    fixtures.expect(found, (list, tuple), "clean", "a list of rows")
    texts = [(prompt_text(r, s, p), answer_text(w, t, p)) for r, w, s, t, p in a["rows"].tolist()]
    places = {(p.strip(), c.strip()): n for n, (p, c) in reversed([*enumerate(texts)])}
    swapped = {(c, p) for p, c in places}
    kept, keys, bare, strange = [], [], [], ""
    for row in found:
        if not isinstance(row, dict):
            raise Refused("type", f"clean returns a list with {kind(row)}.", "a list of rows.")
        pair = row.get("prompt"), row.get("completion")
        keys.append(set(row) == {"prompt", "completion"} and all(type(t) is str for t in pair))
        pair = tuple(str(text) for text in pair)
        bare.append(pair == (pair[0].strip(), pair[1].strip()))
        pair = pair[0].strip(), pair[1].strip()
        kept.append(places.get(pair, TURNED if pair in swapped else NO_ROW))
        strange = strange or (str(row)[:200] if kept[-1] < 0 else "")
    return {"kept": np.array(kept, int), "keys": np.array(keys, bool),
            "bare": np.array(bare, bool), "left": before.change(),
            "strange": text(strange)}  # fmt: skip


def stay(i, *kinds):
    """Numbers of the rows that stay, or those of mistakes. A copy has the number of its first."""
    rows, tested = i["rows"].tolist(), i["tested"].tolist()
    texts = [prompt_text(r, s, p).strip() for r, _, s, _, p in rows]
    forms = [answer_text(w, t, p).strip() for _, w, _, t, p in rows]
    asked = [prompt_text(*t).strip() for t in tested]
    if "lower" in kinds:
        texts, forms, asked = ([t.lower() for t in each] for each in (texts, forms, asked))
    by_letters = {"letters", "lower"} & {*kinds}
    key = lambda n: texts[n] if by_letters else key_of(rows[n])  # noqa: E731

    def prompt(n):  # under which an answer is noted
        if "told_letters" in kinds:
            return texts[n]
        return key_of(rows[n]) if "told" in kinds else key(n)

    def out(n):
        size = len(f"{texts[n]} {forms[n]}".split())
        long = size >= LIMIT if "at_limit" in kinds else size > LIMIT
        wrong = (rows[n][1] < 0) != ("turned" in kinds)
        if "both" in kinds:
            return long and wrong
        return (long and "any_length" not in kinds) or (wrong and "keeps_wrong" not in kinds)

    def leaks(n):
        if "leak_letters" in kinds or "lower" in kinds:
            return texts[n] in asked
        pads = [t[2] for t in tested if t[0] == rows[n][0]]
        if "within" in kinds and pads and max(pads) >= rows[n][4] % 5:
            return True  # part of a text of the test
        if "around" in kinds and pads and min(pads) <= rows[n][4] % 5:
            return True
        return [*key_of(rows[n])] in [[t[0], t[2]] for t in tested] and "keeps_leaks" not in kinds

    gone, skip = set(), False
    for n in range(len(rows)):  # what is taken out of a list that somebody goes through
        skip = not skip and out(n)
        gone |= {n} if skip else set()
    gone = gone if "skips" in kinds else {n for n in range(len(rows)) if out(n)}
    gone |= set(np.flatnonzero(i["format"]).tolist()) if "prompt_only" in kinds else set()
    said, kept, seen, copies = {}, [], set(), Counter(key(n) for n in range(len(rows)) if n
                                                      not in gone)  # fmt: skip
    for n, row in enumerate(rows):
        if n not in gone or "wrong_answers_count" in kinds or (
                "long_answers_count" in kinds and row[1] >= 0) or (
                "accused_answers_count" in kinds and row[4] == 0):  # fmt: skip
            told = forms[n] if {"answer_letters", "lower"} & {*kinds} else (row[1], row[4] == 5)
            said.setdefault(prompt(n), set()).add(told)
    order = range(len(rows))
    for n in reversed(order) if "keeps_last" in kinds else order:
        two = len(said.get(prompt(n), ())) > 1 and "first_answer" not in kinds
        two = two or ("alone" in kinds and copies[key(n)] > 1)
        mine = (key(n), rows[n][1]) if "pairs" in kinds else key(n)
        again = mine in seen and "keeps_copies" not in kinds
        if "copies_first" in kinds:
            seen.add(mine)
        if n in gone or leaks(n) or two or again:
            continue
        seen.add(mine)
        kept.append(n)
    return np.array([same_as(rows, n) for n in sorted(kept)], int)


def key_of(row):
    """What decides whether two prompts have the same words: the report, and the padding."""
    return row[0], row[4] % 5


def same_as(rows, n):
    """The first row with the texts of row n."""
    written = [(prompt_text(r, s, p).strip(), answer_text(w, t, p).strip())
               for r, w, s, t, p in rows]  # fmt: skip
    return written.index(written[n])


def judge_clean(i, o):
    def seen(value):
        if (value < 0).any():
            return f"a row that is none of those given: {words(o.get('strange', text('')))}"
        lost, more = differences(value)
        for rows, verb in ((more, "stays"), (lost, "is gone")):
            if rows:
                row = written(i)[rows[0]]
                said = [m["content"] for m in row.get("messages", ())]
                shown = {"prompt": said[0], "completion": said[1]} if said else row
                return f"this row {verb}: {shown}"
        return "another order, or a row twice"

    def differences(value):
        """Numbers of rows that are lost, and of those that should not be there."""
        right = set(stay(i).tolist())
        return sorted(right - set(value.tolist())), sorted(set(value.tolist()) - right)

    def wanted():
        value = np.asarray(o.get("kept", stay(i)))
        if (value < 0).any():
            return "rows of the file, each with its own texts"
        lost, more = differences(value)
        return "it goes" if more else "it stays" if lost else "the order of the file, each row once"

    promises = [
        all_of("keys", "rows have just the two texts prompt and completion"),
        all_of("bare", "rows have no space at the ends of their texts"),
        Promise("kept", stay(i), seen=seen, expected=wanted(), rtol=0, atol=0.1),
        callers.unchanged("left", "the rows or the test that were given"),
    ]  # fmt: skip
    return judged(i, o, promises, CLEAN)


def stays(*kinds):
    """A slip's values: what stays with these mistakes; several in one string happen together."""
    return lambda i: [{"kept": stay(i, *kind.split())} for kind in kinds]


CLEAN = (
    Slip("by_letters", "Prompts in other letters were missed, as copies or for their two answers: "
         "compare `words_of(prompt)`.",
         stays("letters", "letters leak_letters", "letters leak_letters answer_letters", "lower",
               "letters answer_letters", "told_letters", "letters told",
               "letters leak_letters told")),
    Slip("leak_letters", "A test row in other letters is a leak, too. Compare `words_of` of both.",
         stays("leak_letters")),
    Slip("leaks_stay", "Rows of the test split are still there. A prompt of the test is a leak, "
         "whatever the two answers are.", stays("keeps_leaks")),
    Slip("copies_stay", "Copies are still there.", stays("keeps_copies")),
    Slip("copies_first", "A row that goes for another reason still pushed out its copy. Only a row "
         "that stays may do so.", stays("copies_first")),
    Slip("first_of_all", "The first row with each prompt was taken before anything else was asked. "
         "Two answers to one prompt: both go. And a row that goes must not push out its copy.",
         stays("copies_first first_answer")),
    Slip("last_stays", "Of several copies the first one stays.", stays("keeps_last")),
    Slip("first_answer", "Two answers to one prompt: nobody knows which is right, so both go.",
         stays("first_answer", "first_answer pairs")),
    Slip("wrong_answers_count", "A row that is known to be wrong or is too long does not contradict"
         " anybody. Look for contradictions among the others.",
         stays("wrong_answers_count", "long_answers_count", "accused_answers_count")),
    Slip("answer_letters", "Two answers that differ in capitals or spaces are one answer. Compare "
         "`words_of(completion)`.", stays("answer_letters")),
    Slip("at_limit", "A row with just `limit` tokens stays.", stays("at_limit")),
    Slip("long_stay", "Rows that are too long are still there.", stays("any_length")),
    Slip("wrong_stay", "Rows that `wrong` accuses are still there.", stays("keeps_wrong")),
    Slip("within", "`in` on a text finds a part of it: a prompt that is longer or shorter than "
         "that of the test is another prompt. Compare whole ones.",
         stays("within", "around", "within around")),
    Slip("skips", "A list that loses rows while somebody goes through it skips the next one. Make "
         "a new list.", stays("skips")),
    Slip("turned", "`wrong(row)` is True for a row that goes.", stays("turned")),
    Slip("or_and", "Too long **or** accused: one of the two is enough to go.", stays("both")),
    Slip("copies_all_go", "Copies with one and the same answer do not contradict each other: the "
         "first one stays. Compare the completions.", stays("alone")),
    Slip("one_format", "Half of the rows have `messages`: `as_row` reads both formats.",
         stays("prompt_only")),
    Slip("mixed", "The rows stay in the order of the file. A set has none, and nobody asked to "
         "sort.", lambda i: {"kept": lambda v: not np.array_equal(v, stay(i)) and
                             np.array_equal(np.sort(v), np.sort(stay(i)))}),
    Slip("sides", "The prompt stands under `completion`, and the completion under `prompt`.",
         seen_as(kept=lambda v: v.size > 0 and (v == TURNED).all())),
    Slip("rewritten", "Rows come back with their own texts. `words_of` is for comparing alone.",
         seen_as(kept=lambda v: v.size > 0 and (v == NO_ROW).all())),
    Slip("in_place", "Whoever calls `clean` goes on with what was given. Make new lists and new "
         "rows; `rows[:] =`, `append` and `update` write into the caller's.",
         seen_as(left=lambda v: v > 0)),
    Slip("other_keys", "Each row that stays has `prompt` and `completion`, in one format.",
         lambda i: {"keys": lambda v: not v.all()}),
    Slip("spaces", "Strip both texts: a space at the end of a prompt is a token.",
         lambda i: {"bare": lambda v: not v.all()}),
)  # fmt: skip

clean = Check(
    name="clean", title="Clean", wants=("clean",), difficulty=3, minutes=25, points=25,
    verified="both formats, copies in any letters, leaks, contradictions, long and wrong rows, "
    "and that none of them pushes out a good one",
    hints=(
        "Which rows may push out others, and which may not? In which order do you ask?",
        "First every row in one format, then leave out those that are wrong or too long. Of the "
        "rest collect the answers to each `words_of(prompt)`. Then go through it once more, with a "
        "set of the prompts that stay.",
        "`answers.setdefault(words_of(row['prompt']), set()).add(words_of(row['completion']))` "
        "for the rest; a row stays if its key is not in the test, has one answer, and was not "
        "seen.",
    ),
    slips=CLEAN, other="Take the row that is shown, and go through the reasons one by one.",
    make=make_clean, probe=probe_clean, judge=judge_clean,
)  # fmt: skip


# 20.2 Split by report
def make_split(seed):
    rng = np.random.default_rng(seed + 2100)
    reports = int(rng.integers(17, 24))
    sizes = rng.permutation(1 + np.arange(reports) % 5)
    rows = rng.permutation(np.repeat(rng.permutation(90)[:reports], sizes))
    names, counts = np.unique(rows, return_counts=True)
    alone = int(np.flatnonzero(rows == names[counts == 1][0])[0])
    rows[[alone, -1]] = rows[[-1, alone]]  # the last row is the only one of its report
    share = float(rng.choice([0.23, 0.31, 0.37]))
    return {"report": rows, "again": rng.permutation(len(rows)), "share": share,
            "seeds": rng.permutation(50)[:3]}  # fmt: skip


def asked_rows(a):
    return [{"report": f"report {r}", "prompt": f"question {n}", "completion": f"answer {n}"}
            for n, r in enumerate(a["report"].tolist())]  # fmt: skip


def probe_split(namespace, a):
    rows = asked_rows(a)
    before, share = callers.Before(rows), float(a["share"])
    turned = [rows[n] for n in a["again"]]
    made, seeds, moved = {}, a["seeds"].tolist(), False
    for name, given, seed in (("sides", rows, seeds[0]), ("turned", turned, seeds[0]),
                              ("second", rows, seeds[1]), ("third", rows, seeds[2])):  # fmt: skip
        handed = list(given)
        parts = namespace["split"](handed, share, seed)
        moved = moved or [id(row) for row in handed] != [id(row) for row in given]
        wanted = "two lists, train and validation"
        fixtures.expect(parts, (tuple, list), "split", wanted)
        if len(parts) != 2 or not all(isinstance(part, (list, tuple)) for part in parts):
            raise Refused("type", f"split returns {kind(parts)} of {len(parts)}.", f"{wanted}.")
        made |= sides_of(name, parts, given, rows)
    crowd = [{"report": f"report {n}", "prompt": "", "completion": ""} for n in range(300)]
    held = [namespace["split"](each, 0.5, seeds[0])[1] for each in (crowd[:], crowd[::-1])]
    one, two = ({row["report"] for row in part} for part in held)
    made["crowd"] = one == two  # a set of many names has another order when it is filled otherwise
    again = namespace["split"](list(rows), share, seeds[0])
    made["repeated"] = sides_of("again", again, rows, rows)["again"]
    held = namespace["split"](list(rows), share_other(a), seeds[0])[1]
    made["other_count"] = len({row["report"] for row in held})
    made["few"] = len(namespace["split"](list(rows), 0.01, seeds[0])[1])
    held = namespace["split"](list(rows), 1.0, seeds[0])[1]
    made["everybody"] = len({row["report"] for row in held})
    for key, pair in LIKE.items():
        two = [{"report": name, "prompt": name, "completion": ""} for name in pair]
        made[key] = len(namespace["split"](two, 0.5, seeds[0])[1])
    return made | {"drawn": made["sides"], "left": before.change() or 5 * moved}


LIKE = {"letters": ("Mill 4", "mill 4"), "space": ("Mill 4", "Mill 4 ")}


def share_other(a):
    """A share that is rounded up, to one report more than the first one."""
    return (held_wanted(a) + 0.7) / len(set(a["report"].tolist()))


def sides_of(name, parts, given, rows):
    """{name: 0 or 1 of each row, -1 where it is nowhere or more than once; order: kept or not}."""
    number = {row["prompt"]: n for n, row in enumerate(rows)}
    place = {row["prompt"]: n for n, row in enumerate(given)}
    sides, order = np.full(len(rows), -1), True
    counts = Counter()
    for side, part in enumerate(parts):
        prompts = [row.get("prompt") if isinstance(row, dict) else None for row in part]
        known = [p for p in prompts if p in number and part[prompts.index(p)] in given]
        order = order and len(known) == len(prompts)
        order = order and [place[p] for p in known] == sorted(place[p] for p in known)
        for prompt in known:
            counts[prompt] += 1
            sides[number[prompt]] = side if counts[prompt] == 1 else -1
    return {name: sides, f"{name}_order": order}


def broken(i, sides):
    """How many reports have rows on both sides."""
    return sum(len(set(sides[i["report"] == r].tolist())) > 1 for r in set(i["report"].tolist()))


def held_reports(i, sides):
    return len(set(i["report"][sides == 1].tolist()))


def judge_split(i, o):
    n, size = len(set(i["report"].tolist())), len(i["report"])
    wanted, first = held_wanted(i), o["sides"]
    helds = {held_reports(i, o[key]) for key in DRAWS}
    more = int(o["other_count"]) - round(share_other(i) * n)  # for a share that is rounded up
    rounds = (helds, more) in (({wanted + 1}, 0), ({wanted - 1}, -1))
    o = {**o, "rounds": rounds and bool(o["everybody"] == n)}

    def fair(key):
        """Of one draw: each row once, each report whole, and the right number of reports."""
        return [
            Promise(key, lambda v: v.shape == (size,) and (v >= 0).all(),
                    seen=lambda v: f"{np.count_nonzero(v < 0)} of {size} rows are on no side, or "
                    "twice", expected="each row on one side"),
            Promise(key, lambda v: not broken(i, v),
                    seen=lambda v: f"{broken(i, v)} of {n} reports have rows on both sides",
                    expected="each report on one side"),
            Promise(key, lambda v: held_reports(i, v) == wanted,
                    seen=lambda v: f"{held_reports(i, v)} of {n} reports in validation",
                    expected=f"{wanted}, for share = {float(i['share']):.3f}"),
        ]  # fmt: skip

    promises = [
        *fair("sides"), *fair("second"), *fair("third"),
        Promise("other_count", round(share_other(i) * n), "the number of reports in validation, "
                f"of {n}, for share = {share_other(i):.3f},", rtol=0, atol=0.1),
        Promise("few", 0, f"the number of rows in validation, for share = 0.01 of {n} reports,"),
        Promise("everybody", n, "the number of reports in validation, for share = 1,"),
        *(Promise(key, 1, f"the number of reports in validation, of `{one}` and `{two}`, for share "
                  "= 0.5,") for key, (one, two) in LIKE.items()),
        Promise("sides_order", 1, seen="the rows of a side have another order than in the file",
                expected="their order in the file"),
        Promise("repeated", lambda v: np.array_equal(v, first), seen="the same rows and seed a "
                "second time: other reports are in validation", expected="the same ones"),
        Promise("turned", lambda v: np.array_equal(v, first), seen="the same rows in another "
                "order: other reports are in validation", expected="the same ones"),
        Promise("turned_order", 1, seen="the rows of a side have another order than in the file",
                expected="their order in the file"),
        Promise("crowd", 1, seen="300 reports in another order: other ones are in validation",
                expected="the same ones"),
        Promise("second", lambda v: not (np.array_equal(v, first) and np.array_equal(
            o.get("third"), first)), seen="three seeds give one split",
                expected="another split for another seed"),
        callers.unchanged("left", "the rows that were given"),
    ]  # fmt: skip
    return judged(i, o, promises, SPLIT)


def held_wanted(i):
    return round(float(i["share"]) * len(set(i["report"].tolist())))


DRAWS = ("sides", "second", "third")


def in_a_draw(rule):
    """A slip's values: the rule holds for the draw that broke a promise."""
    return lambda i: [{key: lambda v: rule(i, v)} for key in DRAWS]


def whole(i, sides):
    return (sides >= 0).all() and not broken(i, sides)


SPLIT = (
    Slip("by_rows", "Draw reports, not rows: who has read a report in training knows it.",
         in_a_draw(lambda i, v: (v >= 0).all() and broken(i, v) > 0)),
    Slip("swapped", "Train comes first, then validation: the smaller part is the second.",
         in_a_draw(lambda i, v: whole(i, v) and held_reports(i, v) == len(
             set(i["report"].tolist())) - held_wanted(i))),
    Slip("counts_rows", "The number of reports differs from draw to draw: `share` is a share of "
         "the reports, not of the rows, and no report is drawn twice (`sample`, not `choices`).",
         lambda i: [{key: lambda v: whole(i, v) and held_reports(i, v) not in (held_wanted(
             i), len(set(i["report"].tolist())) - held_wanted(i)), "rounds": 0} for key in DRAWS]
         + [{key: lambda v: v.size == 1, "everybody": lambda v: v < len(set(i["report"].tolist()))}
            for key in ("other_count", "everybody")]),
    Slip("rounding", "The number of reports is `round(share * n)`: rounded to the nearest one.",
         lambda i: [{key: lambda v: whole(i, v), "rounds": 1} for key in DRAWS]
         + [{"other_count": lambda v: abs(v - round(share_other(i) * len(set(
             i["report"].tolist())))) == 1, "everybody": len(set(i["report"].tolist()))}]),
    Slip("unseeded", "Each call draws anew: the draw needs a generator of its own with the seed, "
         "`random.Random(seed)`.", lambda i: {"repeated": lambda v: whole(i, v)}),
    Slip("at_least_one", "`round(share * n)` may be 0. A split that takes more than was asked for "
         "hides it.", lambda i: {"few": lambda v: v > 0}),
    Slip("letters", "Names that differ in one letter, a capital or a space, are two reports.",
         lambda i: [{key: v} for key in LIKE for v in (0, 2)]),
    Slip("first_ones", "Those at one end of the file are of one season or one clerk. Draw them.",
         lambda i: {"turned": lambda v: True, "drawn": lambda v: ends(i, v)}),
    Slip("order", "Sort the reports before you draw, or the order of the rows is in the draw.",
         lambda i: [{"turned": lambda v: True, "drawn": lambda v: not ends(i, v)}, {"crowd": 0}]),
    Slip("seed_ignored", "The seed must count: `random.Random(seed)`.",
         lambda i: {"second": lambda v: whole(i, v) and held_reports(i, v) == held_wanted(i)}),
    Slip("in_place", "Whoever calls `split` goes on with the rows: `sort` and `shuffle` turn their "
         "list, and a new key changes them.", seen_as(left=lambda v: v > 0)),
    Slip("reordered", "Each side keeps the order of the file.",
         lambda i: [{"sides_order": 0}, {"turned_order": 0}]),
)  # fmt: skip


def ends(i, sides):
    """Whether validation is what stands first or last in the file."""
    firsts = list(dict.fromkeys(i["report"].tolist()))
    held = {r for r in firsts if (sides[i["report"] == r] == 1).all()}
    return bool(held) and held in (set(firsts[: len(held)]), set(firsts[-len(held) :]))


split = Check(
    name="split", title="Split by report", wants=("split",), difficulty=2, minutes=12, points=15,
    verified="reports on one side, how many, also none, in any order of the rows, for three seeds",
    hints=(
        "What must be drawn: rows or reports? And what may the order of the file change?",
        "Sort the distinct reports, draw a sample of them from a generator with the seed, and let "
        "each row follow its report.",
        "`random.Random(seed).sample(sorted({r['report'] for r in rows}), round(share * n))` are "
        "those in validation.",
    ),
    slips=SPLIT, other="Print the reports on each side.",
    make=make_split, probe=probe_split, judge=judge_split,
)  # fmt: skip


# 20.3 Decide
SEEDS = (3, 4, 3, 4)  # seeds of each set of runs; arrays have room for four
CASES, MOST = len(SEEDS), max(SEEDS)
STEP = 1 / 64  # the best run's standard error with four seeds: all of that set's sums are exact
PLAN = {  # run: mean below the best's, own error (in errors of the best), share of the limit
    "best": (0, 1, 1), "near": (0.1, 0.2, 0.875), "third": (0.25, 0.1, 0.75),
    "level": (0.45, 0.1, 0.625), "mid": (0.75, 0.1, 0.56), "right": (0.9, 0.1, 0.5),
    "twin": (0.95, 0.1, 0.5), "edge": (1, 0.125, 0.45), "root": (1.1, 0.1, 0.42),
    "one seed forgot": (0.4, 0.1, 0.375), "sum": (1.4, 0.1, 0.34), "two": (1.9, 0.1, 0.3),
    "odd": (0, 0, 0.2), "peak": (0, 0, 0.19), "bad": (12, 0.1, 0.125), "tested": (35, 0.1, 0.8),
    "forgot": (-1.15, 1.32, 0.25), "also forgot": (0.6, 0.1, 0.22), "large": (-0.9, 0.1, 1.5),
}  # fmt: skip
RUNS = len(PLAN)


def make_decide(seed):
    """Sets of runs in which each mistake takes another run; see PLAN and `choice`."""
    rng, cases = np.random.default_rng(seed + 2200), []
    for n, count in enumerate(SEEDS):
        names = list(rng.permutation(list(PLAN)))
        first, second = sorted((names.index("right"), names.index("twin")))
        names[first], names[second] = "twin", "right"
        if n == CASES - 2:  # here the right one is the first of all
            names.insert(0, names.pop(second))
        cases.append(drawn_runs(rng, names, count, exact=n >= CASES / 2))
    return {key: np.stack([case[key] for case in cases]) for key in cases[0]}


def drawn_runs(rng, names, count, exact):
    """One set in this order. exact: the right run keeps just what must be kept."""
    top, keep, most = rng.integers(45, 52) * STEP, rng.choice([0.8, 0.85]), rng.choice([1, 2, 8.0])
    plan = dict(PLAN)
    # Sample deviation 1. Of four seeds, the error of the best is STEP, and `edge` lies on it.
    shape = rng.permutation([-1.0, 0, 1] if count == 3 else [-1.5, 0.5, 0.5, 0.5])
    if count == 3:
        plan["edge"] = (1.05, 0.1, 0.45)
    else:
        plan["odd"], plan["peak"] = (0, 0, 0.19), (0, 0, 0.2)
    rows = []
    for name in names:
        below, error, _ = plan[name]
        row = top - below * STEP + error * STEP * math.sqrt(count) * shape
        if name == "odd":  # a high median
            row = top + rng.permutation([0.05] * (count - 1) + [-0.4])
        if name == "peak":  # one high seed
            row = top + rng.permutation([-0.2 if count == 3 else -0.15] * (count - 1) + [0.2])
        rows.append([*row, *[0] * (MOST - count)])
    old = keep + rng.uniform(0.02, 0.1, (RUNS, MOST))
    old[[names.index("forgot"), names.index("also forgot")]] -= 0.2
    old[names.index("one seed forgot"), :3] = keep + rng.permutation([-0.02, 0.06, 0.06])
    if exact:
        old[names.index("right" if count == 3 else "edge"), 0] = keep
    test = rng.uniform(0.3, 0.5, RUNS)
    test[[names.index("tested"), names.index("twin")]] = 0.97, 0.6
    return {"validation": np.array(rows), "old": old, "test": test, "count": count,
            "limits": np.array([keep, most]),
            "megabytes": most * np.array([plan[name][2] for name in names])}  # fmt: skip


def choice(case, kind=""):
    """The number of the run that the rule takes, or that of a mistake; None where nothing fits."""
    count, size = int(case["count"]), case["megabytes"]
    scores, old = case["validation"][:, :count], case["old"][:, :count]
    score = {"median": np.median(scores, 1), "peak": scores.max(1), "test": case["test"]}.get(
        kind, scores.mean(1))  # fmt: skip
    keep, most = case["limits"]
    least = {"old_mean": old.mean(1), "old_max": old.max(1)}.get(kind, old.min(1))
    kept = least > keep if kind == "above_keep" else least >= keep
    fits = size < most if kind == "smaller_size" else size <= most
    fit = np.where((kept | (kind == "any_old")) & (fits | (kind == "any_size")))[0]
    if not len(fit):
        return None
    if kind == "best_mean":
        return int(fit[np.argmax(score[fit])])
    pool = np.arange(RUNS) if kind == "filter_late" else fit
    best = pool[np.argmax(score[pool])]
    wobble = scores.std(1, ddof=0 if kind.startswith("whole") else 1)
    root = {"spread": 1, "by_n": count, "whole_by_n": count, "less_one": math.sqrt(count - 1),
            "three": math.sqrt(3), "two": math.sqrt(count) / 2}.get(
        kind, math.sqrt(count))  # fmt: skip
    level = score[best] - wobble[best] / root
    if kind == "own":
        level = score[best] - wobble / root
    if kind == "smallest":
        level = -np.inf
    same = np.flatnonzero(score > level if kind == "above_level" else score >= level)
    same = same if kind == "all_level" else same[np.isin(same, fit)]
    if not len(same):
        return None
    small = [n for n in same if size[n] == size[same].min()]
    if kind in ("tie", "tie_low"):
        return int(small[0] if kind == "tie" else min(small, key=lambda n: score[n]))
    taken = int(max(small, key=lambda n: score[n]))
    lists = {"in_fit": fit, "in_same": same, "by_size": np.argsort(size, kind="stable"),
             "by_score": np.argsort(-score, kind="stable")}  # fmt: skip
    return lists[kind].tolist().index(taken) if kind in lists else taken + (kind == "from_one")


def are_level(case):
    """The runs among which the file decides."""
    found = []
    for n in range(RUNS):
        alone = {**case, "megabytes": np.where(np.arange(RUNS) == n, 0, case["megabytes"])}
        found += [n] if choice(alone) == n and case["megabytes"][n] <= case["limits"][1] else []
    return found


def runs_of(a, n):
    count = int(a["count"][n])
    return [{"validation": a["validation"][n][k, :count].tolist(),
             "old": a["old"][n][k, :count].tolist(),
             "megabytes": float(a["megabytes"][n][k]), "test": float(a["test"][n][k])}
            for k in range(RUNS)]  # fmt: skip


def probe_decide(namespace, a):
    chosen, left = [], 0
    for n in range(CASES):
        runs = runs_of(a, n)
        before = callers.Before(runs)
        keep, most = a["limits"][n].tolist()
        value = namespace["decide"](runs, keep, most)
        if isinstance(value, dict):
            raise Refused("type", "decide returns a run.", "the number of a run, from 0.")
        value = array(value, "what decide returns")
        if value.shape != ():
            raise Refused("type", f"decide returns an array of shape {value.shape}.",
                          "the number of a run.")  # fmt: skip
        chosen.append(value.item())
        left = max(left, before.change())
    try:
        few = array(namespace["decide"](few_runs(a), 0.5, 9.0), "the run")
    except ValueError:
        few = -1
    call = lambda: namespace["decide"](runs_of(a, 0), 1.01, 0.1)  # noqa: E731
    return {"chosen": np.array(chosen), "left": left, "few": few} | callers.failing(
        "none", call, ValueError
    )


def few_runs(a):
    """Three runs of five seeds. No other one is level with the best, whose error is 0.014."""
    top = float(a["validation"][0].max()) / 2
    return [{"validation": [top + below + d for d in (-0.04, 0.02, 0, -0.02, 0.04)],
             "old": [0.9] * 5, "test": 0.5, "megabytes": size}
            for below, size in ((-0.3, 1.0), (0, 3.0), (-0.017, 2.0))]  # fmt: skip


def cases_of(i):
    return [{key: i[key][n] for key in i} for n in range(CASES)]


def choices(i, kind=""):
    found = [choice(case, kind) for case in cases_of(i)]
    return np.array([-1 if n is None else n for n in found])


def judge_decide(i, o):
    right = choices(i)

    def seen(value):
        if value.shape != right.shape:
            return "no number for each set of runs"
        n = int(np.argmax(value != right))
        keep, most = i["limits"][n]
        return f"for keep = {keep:g}, megabytes = {most:g}: {told(n, value[n])}"

    def told(n, k):
        """Run k of a set, with what speaks for it."""
        if k not in range(RUNS):
            return f"run {k:g}, which is none"
        run = runs_of(i, n)[int(k)]
        mean, old = np.mean(run["validation"]), min(run["old"])
        return f"run {k:g} (mean {mean:.4f}, old at least {old:.3f}, {run['megabytes']:g} MB)"

    def wanted():
        value = np.asarray(o.get("chosen", right))
        wrong = value != right if value.shape == right.shape else np.ones(1)
        n = int(np.argmax(wrong))
        return told(n, right[n])

    promises = [
        Promise("chosen", right, seen=seen, expected=wanted(), rtol=0, atol=0),
        Promise(
            "few",
            1,
            seen=lambda v: (
                "for three runs, of which none is level with the best, "
                + ("an error is raised" if (v < 0).any() else f"run {v.mean():g}")
            ),
            expected="run 1, the best",
        ),
        callers.unchanged("left", "the runs"),
        *callers.raises(o, "none", "keep = 1.01", "ValueError"),
    ]
    return judged(i, o, promises, DECIDE)


def decided(*kinds):
    return lambda i: [{"chosen": choices(i, kind)} for kind in kinds]


KINDS = """old_mean old_max any_old any_size best_mean spread by_n whole_by_n less_one three two
    whole own smallest filter_late all_level tie tie_low test smaller_size above_keep above_level
    median peak in_fit in_same by_size by_score from_one"""


def level_taken(i, value, than):
    """Whether level runs were taken, each the right one or `than` it in its bytes."""
    if value.shape != (CASES,):
        return False
    sizes = [case["megabytes"] for case in cases_of(i)]
    return all(n in are_level(case) and (n == k or than(size[int(n)], size[k]))
               for n, k, size, case in zip(value, choices(i), sizes, cases_of(i),
                                           strict=True))  # fmt: skip


def not_smallest(i, value):
    """Whether level ones were taken, some of them larger, by a rule that is none of the named."""
    known = [choices(i, kind) for kind in KINDS.split()]
    return (level_taken(i, value, np.greater_equal) and not level_taken(i, value, np.equal)
            and not any(np.array_equal(value, k) for k in known))  # fmt: skip


DECIDE = (
    Slip("old_mean", "One seed that forgot is enough: `keep` is a limit for every seed, so the "
         "smallest share decides.", decided("old_mean", "old_max")),
    Slip("any_old", "`keep` is a limit for the old skills: look at `old`.", decided("any_old")),
    Slip("any_size", "`megabytes` is a limit for the file.", decided("any_size")),
    Slip("no_noise", "The best mean won, as if nothing were level with it. Runs within one "
         "standard error of the best are equal to it, and of equals the smallest file wins.",
         decided("best_mean")),
    Slip("std", "The standard error of a mean of n is the standard deviation / sqrt(n), with the n "
         "of that run, and it is taken off once.",
         decided("spread", "by_n", "whole_by_n", "less_one", "three", "two")),
    Slip("whole_std", "A few seeds are a sample: divide by n - 1 (`statistics.stdev`).",
         decided("whole")),
    Slip("own_error", "One level for all: the best mean minus the standard error of the **best** "
         "run.", decided("own")),
    Slip("smallest", "The smallest file counts only among runs that are level with the best.",
         decided("smallest")),
    Slip("not_smallest", "The run that was taken is level with the best. Among level ones the "
         "smallest file decides, and of equally small ones the mean.",
         lambda i: {"chosen": lambda v: not_smallest(i, v)}),
    Slip("filter_late", "A run that may not win can be neither the best nor level with it: leave "
         "it out first. And the error is that of the best run.",
         decided("filter_late", "all_level")),
    Slip("tie", "Of equally small files the one with the higher mean validation wins.",
         lambda i: {"chosen": lambda v: level_taken(i, v, np.equal)}),
    Slip("best_too", "The best run is level with itself: it wins where no other one is.",
         seen_as(few=-1)),
    Slip("test", "The test is not for choosing: who chooses by it has no test left.",
         decided("test")),
    Slip("below", "A seed that keeps just `keep` keeps enough: `>=`.", decided("above_keep")),
    Slip("best_missed", "The run with the highest mean was left out, or was not the best: a file "
         "of just `megabytes` fits (`<=`), and the mean of the seeds counts, not the lowest one.",
         decided("smaller_size")),
    Slip("above_level", "A run whose mean is just the best mean minus the error is level.",
         decided("above_level")),
    Slip("median", "The mean of the seeds was asked for, not the median and not one of them.",
         decided("median", "peak")),
    Slip("place", "The number asked for is the run's place in `runs` as given, from 0: not its "
         "place in a list that was filtered or sorted.",
         decided("in_fit", "in_same", "by_size", "by_score", "from_one")),
    Slip("in_place", "Whoever calls `decide` goes on with the runs: keep what you compute in "
         "lists of your own.", seen_as(left=lambda v: v > 0)),
    Slip("no_winner", "A number that fits nothing would be taken for a decision. When no run may "
         "win, raise a ValueError, before the best is looked for.",
         seen_as(none_error=lambda v: v != 1)),
)  # fmt: skip

decide = Check(
    name="decide", title="Decide", wants=("decide",), difficulty=3, minutes=20, points=20,
    verified="four drawn sets of nineteen runs, with three or four seeds, a trap in each run, and "
    "one set that nothing fits",
    hints=(
        "Three questions in this order: which runs may win at all, which of them are level with "
        "the best, and which of those is the smallest?",
        "The level is mean(best) - stdev(best) / sqrt(n), with the best among those that fit. "
        "`statistics.mean` and `statistics.stdev` do it.",
        "`return min(level, key=lambda n: (runs[n]['megabytes'], -mean(runs[n]['validation'])))` "
        "over the numbers of the runs that are level.",
    ),
    slips=DECIDE, other="Go through the set that is shown by hand: may win, level, smallest.",
    make=make_decide, probe=probe_decide, judge=judge_decide,
)  # fmt: skip


# 20.4 Prove a release
PROOF = ("only factors", "pairs of rank r", "places", "merged", "nothing else")
LAYERS = ("model.layers.0.q_proj", "model.layers.0.flora_A", "model.layers.1.up_proj")
PREFIX = "base_model.model."
NORM, EMBEDDING = "model.norm.bias", "model.embed_tokens.weight"
IN_FILE = ("", f"{PREFIX}{EMBEDDING}", f"{PREFIX}{NORM}", f"{PREFIX}{LAYERS[1]}.weight",
           f"{PREFIX}model.norm.lora_A.weight.old",
           f"old.{PREFIX}model.norm.lora_A.weight")  # fmt: skip
FILE = ("factors alone", "the embedding", "a bias", "the weight of the layer `flora_A`",
        f"`{IN_FILE[4]}`", f"`{IN_FILE[5]}`")  # fmt: skip
PAIR = ("whole pairs", "an A without a B", "a B without an A", "another r in the config",
        "a B with a column more", "an A with a row more", "an A and a B of two layers")  # fmt: skip
PLACE = ("layers of the base", "a layer that the base does not have", "an A of twice the width",
         "a B of twice the height")  # fmt: skip
MERGE = ("the update once", "the first layer forgotten", "the update twice",
         "the last layer forgotten",
         "the scale of the other rule", "an entry off by 0.0023 of the update's norm",
         "an entry off by 0.0008 of the update's norm")  # fmt: skip
FAULTS = (  # of the pairs, of their places, of the merge; rsLoRA
    (0, 0, 1, 1), (0, 0, 3, 0), (1, 2, 0, 0), (2, 3, 4, 1), (3, 0, 0, 1), (4, 1, 5, 0),
    (5, 0, 6, 1), (0, 3, 2, 0), (0, 2, 0, 1), (6, 0, 0, 0),
)  # fmt: skip
REST = ("all else as in the base", "a layer's bias off in the last digit", "a name more",
        "a name less", "an embedding off by 0.01", "a norm's bias off by 0.01",
        "a name in another's place")  # fmt: skip


def make_prove(seed):
    rng = np.random.default_rng(seed + 2300)
    f, (d_in, d_out) = fixtures.normal(rng), fixtures.sizes(rng, 2, 4, 9)
    r = int(rng.integers(2, 4))
    made = {"W": f(3, d_out, d_in), "A": f(3, r, d_in), "B": 0.0006 * f(3, d_out, r),
            "bias": f(d_out), "emb": f(11, d_in), "alpha": int(rng.choice([5, 7, 11]))}  # fmt: skip
    drawn = spread(rng, in_file=[0, 0, 0, 0, 0, 1, 2, 3, 4, 5], rest=[0, 0, 0, 0, 1, 2, 3, 4, 5, 6],
                   layers=[2, 3, 2, 3, 2, 3, 2, 3, 3, 3], faults=FAULTS)  # fmt: skip
    torn = np.isin(drawn["faults"][:, 0], (1, 2, 6))  # one of them stands alone
    return made | drawn if (drawn["rest"][torn] == 0).any() else make_prove(seed + 10**6)


def fault(a, n):
    """What is wrong with release n, {part: number}."""
    names = ("pair", "place", "merge", "rslora")
    made = dict(zip(names, a["faults"][n].tolist(), strict=True))
    return made | {"in_file": int(a["in_file"][n]), "rest": int(a["rest"][n])}


def release(a, n):
    """(config, adapter, base, merged) of release n: a dict, and three dicts of arrays."""
    r, count, pick = a["A"].shape[1], int(a["layers"][n]), fault(a, n)
    config = {"r": r + (pick["pair"] == 3), "lora_alpha": int(a["alpha"]),
              "use_rslora": bool(pick["rslora"])}  # fmt: skip
    plain, root = (config["lora_alpha"] / x for x in (config["r"], math.sqrt(config["r"])))
    s, other = (root, plain) if pick["rslora"] else (plain, root)
    base = {f"{name}.weight": a["W"][k] for k, name in enumerate(LAYERS)}
    base |= {NORM: a["bias"], EMBEDDING: a["emb"], f"{LAYERS[0]}.bias": a["bias"]}
    adapter, merged, last = {}, dict(base), count - 1
    for k in range(count):
        home = PREFIX + LAYERS[k]
        if pick["place"] == 1 and k == last:
            home = f"{PREFIX}model.layers.9.o_proj"
        A, B = a["A"][k], a["B"][k]
        if k == last:  # the one with the fault
            A = np.concatenate([A] * (1 + (pick["place"] == 2)), 1)
            B = np.concatenate([B] * (1 + (pick["place"] == 3)), 0)
            A = np.concatenate([A, A[:1]]) if pick["pair"] == 5 else A
            B = np.concatenate([B, B[:, :1]], 1) if pick["pair"] == 4 else B
        if not (pick["pair"] == 2 and k == last or pick["pair"] == 6 and k == 0):
            adapter[f"{home}.lora_A.weight"] = A
        if not (pick["pair"] in (1, 6) and k == last):
            adapter[f"{home}.lora_B.weight"] = B
        if pick["place"] == 1 and k == last:
            continue
        factor = (s, s * (k > 0), 2 * s, s * (k < last), other, s, s)[pick["merge"]]
        weight = a["W"][k] + np.float32(factor) * (a["B"][k] @ a["A"][k])
        at = np.unravel_index(np.argsort(np.abs(weight), None)[weight.size // 2], weight.shape)
        weight[at] *= np.float32(1 + 2**-22)  # a merge rounds
        if pick["merge"] > 4:  # where a comparison of entries allows least
            at = np.unravel_index(np.abs(weight).argmin(), weight.shape)
            off = (0.0023, 0.0008)[pick["merge"] - 5]
            weight[at] += off * np.linalg.norm(s * (a["B"][k] @ a["A"][k]))
        merged[f"{LAYERS[k]}.weight"] = weight.astype(np.float32)
    if pick["in_file"]:
        strange = (a["emb"], a["bias"], a["emb"], a["A"][0] + 1, a["A"][0] + 1)
        adapter[IN_FILE[pick["in_file"]]] = strange[pick["in_file"] - 1]
    if pick["rest"] == 1:
        merged[f"{LAYERS[0]}.bias"] = a["bias"] * np.float32(1 + 2**-22)
    if pick["rest"] in (2, 6):
        merged["model.extra.weight"] = a["emb"]
    if pick["rest"] in (3, 6):
        del merged[EMBEDDING]
    if pick["rest"] == 4:
        merged[EMBEDDING] = a["emb"] + np.float32(0.01)
    if pick["rest"] == 5:
        merged[NORM] = a["bias"] + np.float32(0.01)
    return config, adapter, base, dict(reversed(merged.items()))


def probe_prove(namespace, a):
    said, left = [], 0
    for n in range(len(a["in_file"])):
        config, *parts = release(a, n)
        adapter, base, merged = ({k: tensor(v) for k, v in part.items()} for part in parts)
        before = callers.Before(config, adapter, base, merged)
        said.append(five(namespace["prove"](config, adapter, base, merged), PROOF, "prove"))
        left = max(left, before.change())
    columns = zip(PROOF, zip(*said, strict=True), strict=True)
    return {name: np.array(column) for name, column in columns} | {"left": left}


NAMES = {  # what is taken for a factor's name
    "contains": "lora_", "tail": r"lora_[AB]\.weight$", "weight": r"weight$",
    "dots": rf"^{PREFIX}.+lora_[AB].weight$", "end": r"\.lora_[AB]\.weight$",
    "start": rf"^{re.escape(PREFIX)}.+\.lora_[AB]\.weight",
    "part": rf"{re.escape(PREFIX)}.+\.lora_[AB]\.weight",
}  # fmt: skip


def proven(i, n, kind=""):
    """The five answers for release n, or those of a mistake."""
    config, adapter, base, merged = release(i, n)
    found = {}
    for key, value in adapter.items():
        if m := re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_([AB])\.weight", key):
            found.setdefault(m[1], {})[m[2]] = value
    only = all(re.search(NAMES[kind], key) if kind in NAMES else
               re.fullmatch(rf"{re.escape(PREFIX)}.+\.lora_[AB]\.weight", key)
               for key in adapter)  # fmt: skip
    r = config["r"]
    root = config["use_rslora"] and kind != "plain" or kind == "root"
    s = config["lora_alpha"] / (math.sqrt(r) if root else r)
    s = {"no_scale": 1.0, "alpha": config["lora_alpha"]}.get(kind, s)
    if kind == "scale_of_A":
        s = s * (r / len(i["A"][0])) ** (0.5 if root else 1)
    pairs, places, right = [], [], []
    for name, pair in found.items():
        weight = base.get(f"{name}.weight")
        parts = [(x, v.shape) for x, v in pair.items()]
        pairs.append(len(pair) == 2 or kind == "any_pair")
        rows = len(i["A"][0]) if kind == "own_rank" else r  # those of the first A
        ranked = [shape[x == "B"] == rows for x, shape in parts if kind != f"no_{x}"]
        pairs[-1] = pairs[-1] and (all(ranked) or kind == "any_rank")
        places.append(weight is not None and all(
            kind in ("names", f"wide_{x}") or shape[x == "A"] == weight.shape[x == "A"]
            for x, shape in parts))  # fmt: skip
        if len(pair) < 2 or weight is None or pair["A"].shape[0] != pair["B"].shape[1]:
            continue
        if (len(pair["B"]), pair["A"].shape[1]) != weight.shape:
            continue
        update = s * (pair["B"] @ pair["A"])
        ours, size = weight + update, np.linalg.norm(update)
        off = np.linalg.norm(merged[f"{name}.weight"] - ours)
        size = {"absolute": 1.0, "weight": np.linalg.norm(weight), "strict": 0.03 * size}.get(
            kind, size)  # fmt: skip
        right.append(kind != "never" and off <= (0.05 if kind == "loose" else 1e-3) * size)
    every_one = any if kind == "any" else all
    right = [any(right) or not right] if kind == "any_there_is" else right
    if kind in ("first", "last"):
        pairs, places, right = ([each[0 if kind == "first" else -1]] if each else []
                                for each in (pairs, places, right))  # fmt: skip
    if kind == "counts":  # as many A as B
        pairs = [sum("A" in p for p in found.values()) == sum("B" in p for p in found.values()),
                 all(len(v) == r if x == "A" else v.shape[1] == r
                     for p in found.values() for x, v in p.items())]  # fmt: skip
    if kind == "whole_pairs":
        places = [place for place, pair in zip(places, found.values(), strict=True)
                  if len(pair) == 2]  # fmt: skip
    spoken = set() if kind == "whole" else {f"{name}.weight" for name, pair in found.items()
                                            if kind != "torn" or len(pair) == 2}  # fmt: skip
    if kind == "layer":
        spoken = {key for key in base for name in found if key.startswith(f"{name}.")}
    names = base.keys() == merged.keys() or kind == "any_names"
    names = names or kind == "same_count" and len(base) == len(merged)
    if kind == "no_more":
        names = base.keys() <= merged.keys()
    if kind == "no_less":
        names = base.keys() >= merged.keys()
    rest = all(np.array_equal(base[k], merged[k]) or kind == "names_only" or (
        kind == "near" and np.abs(base[k] - merged[k]).max() < 5e-3)
        for k in base.keys() & merged.keys() - spoken)  # fmt: skip
    return only, every_one(pairs), every_one(places), every_one(right), names and rest


def answers_of(i, name, kind=""):
    return np.array([proven(i, n, kind)[PROOF.index(name)] for n in range(len(i["in_file"]))])


def judge_prove(i, o):
    words = {
        "only factors": lambda n: FILE[i["in_file"][n]],
        "pairs of rank r": lambda n: PAIR[fault(i, n)["pair"]],
        "places": lambda n: PLACE[fault(i, n)["place"]],
        "merged": lambda n: MERGE[fault(i, n)["merge"]] + ", with rsLoRA" * fault(i, n)["rslora"],
        "nothing else": lambda n: REST[i["rest"][n]],
    }
    verdict = judge_five(i, o, {name: answers_of(i, name) for name in PROOF}, PROVE,
                         lambda name, n: f"a release with {words[name](n)}")  # fmt: skip
    left = judged(i, o, [callers.unchanged("left", "what was given")], PROVE)
    return left if verdict.share == 1 else verdict


def said_as(name, *kinds):
    return lambda i: [{name: answers_of(i, name, kind)} for kind in kinds]


PROVE = (
    Slip("part_of_a_name", "`flora_A.weight` ends like a factor and is none: the name of the part "
         "is `lora_A`, with a point before it.",
         said_as("only factors", "tail", "dots")),
    Slip("whole_name", "The whole name counts: `base_model.model.`, a layer, `.lora_A.weight` or "
         "`.lora_B.weight`, nothing before and nothing after. `re.fullmatch` looks at all of it.",
         said_as("only factors", "contains", "weight", "end", "start", "part")),
    Slip("any_rank", "A has `config['r']` rows, and B as many columns: look at both.",
         said_as("pairs of rank r", "any_rank", "no_A", "no_B", "own_rank")),
    Slip("any_pair", "An A without its B, or a B without its A, is no pair.",
         said_as("pairs of rank r", "any_pair", "counts")),
    Slip("names", "A layer of that name is not enough: A must be as wide as its input, and B as "
         "high as its output, each also without the other.",
         said_as("places", "names", "wide_A", "wide_B", "whole_pairs")),
    Slip("plain_scale", "The scale is lora_alpha / r, and with `use_rslora` lora_alpha / sqrt(r), "
         "with the r of the config.", said_as("merged", "plain", "root", "scale_of_A")),
    Slip("no_scale", "Is what merged has more than the base scaling · B A, with the scaling, once, "
         "and with a plus? Print the norm of the difference beside the update's. Where it is tiny, "
         "the comparison is too strict.", said_as("merged", "never", "no_scale", "alpha")),
    Slip("loose", "Too generous: off by a thousandth of the **update's** size is rounding. A fixed "
         "number, or a share of the weight, is too much for a small update.",
         said_as("merged", "loose", "absolute", "weight")),
    Slip("strict", "Too strict: a merge rounds. Take the norm of the whole difference, and allow a "
         "thousandth of the update's norm.", said_as("merged", "strict")),
    Slip("any_layer", "What is asked holds for **every** layer, not for one of them.",
         lambda i: [*said_as("merged", "any", "any_there_is")(i),
                    *({name: answers_of(i, name, kind)} for name in (PROOF[1], PROOF[3])
                      for kind in ("first", "last"))]),
    Slip("always", "This answer is True for every release: is it read from nothing, or is it `any` "
         "where `all` is meant?", lambda i: [{name: i["rest"] >= 0} for name in PROOF]),
    Slip("names_forgotten", "A tensor more or less is a change, too: compare the names.",
         said_as("nothing else", "any_names", "no_more", "no_less", "same_count")),
    Slip("values_forgotten", "Same names are not same numbers: compare what no factor speaks of.",
         said_as("nothing else", "names_only")),
    Slip("near", "What no factor speaks of was not touched, the bias of an adapted layer included: "
         "equal to the last bit.", said_as("nothing else", "near", "layer")),
    Slip("whole_model", "Adapted layers differ from the base: that is their task. Leave them out, "
         "also where one factor is missing.", said_as("nothing else", "whole", "torn")),
    Slip("in_place", "`sub_`, `-=` and `pop` change what was given. Compute new tensors.",
         seen_as(left=lambda v: v > 0)),
)  # fmt: skip

prove = Check(
    name="prove", title="Prove a release", wants=("prove",), difficulty=4, minutes=25, points=25,
    verified="ten drawn releases: other tensors in the file, torn pairs, lost places, five wrong "
    "merges, five other changes",
    hints=(
        "Take the factors apart by layer first: {layer: {'A': ..., 'B': ...}}. Which of the five "
        "can you read off that dict?",
        "`re.fullmatch(r'base_model\\.model\\.(.+)\\.lora_([AB])\\.weight', key)` gives layer and "
        "letter. For the fourth, compare `merged - base - scaling * B @ A` with the size of the "
        "update.",
        "`(m - w - u).norm() <= 1e-3 * u.norm()` for each whole pair that has its place, and "
        "`torch.equal` for every name of the base that is not `layer + '.weight'`.",
    ),
    slips=(*PROVE, *FIVE),
    other="Print the names in the adapter, and what each of your five looks at.",
    make=make_prove, probe=probe_prove, judge=judge_prove,
)  # fmt: skip


# 20.5 A card that tells the truth
TRUE = ("base", "rows", "r", "score", "test rows")
RESULTS = ("the test alone", "validation, then two of the test", "two of the test, then validation",
           "validation alone", "another test result", "rounded to three digits", "off by 0.0008",
           "no results")  # fmt: skip
BASES = ("the base as found", "another base, with the start of its name", "no base", "the base in "
         "its prose alone", "another base, with its name at the end", "another base, with its name "
         "at the start")  # fmt: skip
COUNTS = (  # training rows, test rows. 1: another number, 2: that of the other ones
    (0, 0), (0, 0), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1),
)  # fmt: skip


def make_card(seed):
    rng = np.random.default_rng(seed + 2400)
    # base: see BASES. r: 1: another, 2: lora_alpha is what r is, 3: no row of r
    made = spread(rng, base=[0, 0, 0, 1, 2, 3, 4, 5], r=[0, 0, 0, 0, 1, 1, 2, 3], counts=COUNTS,
                  score=range(8))  # fmt: skip
    made["rows"], made["test"] = made.pop("counts").T
    n_rows, n_test = rng.permutation(np.arange(1, 9))[:2] * 1000 + rng.integers(100, 999, 2)
    return made | {
        "n_rows": int(n_rows), "n_test": int(n_test),
        "rank": int(rng.choice([4, 6, 12])), "alpha": int(rng.choice([16, 32])),
        "value": float(rng.integers(500, 900)) / 1000 + 0.0006,  # with 0.0008 more as it is rounded
        "name": int(rng.integers(10, 99)),
    }  # fmt: skip


def card_text(a, n):
    """README.md of card n, in the layout of `model_card`."""
    base, rows, r, score, test = (int(a[k][n]) for k in ("base", "rows", "r", "score", "test"))
    name, value = f"lab/town-{a['name']}", float(a["value"])
    named = (name, "lab/town", "", "", f"my-{name}", f"{name}-chat")[base]
    lines = ["license: mit", *[f"base_model: {named}"] * bool(named)]
    other = ("test", value - 0.05)
    shown = {0: [("test", value)], 1: [("validation", value - 0.1), other, ("test", value)],
             2: [("test", value), ("test", value + 0.05), ("validation", value - 0.1)],
             3: [("validation", value)],
             4: [other], 5: [("test", round(value, 3))],
             6: [("test", round(value + 0.0008, 6))], 7: []}[score]  # fmt: skip
    if shown:
        lines += ["model-index:", "- name: forms", "  results:"]
    for split, number in shown:
        lines += ["  - task: {type: text-generation}"]
        lines += [f"    dataset: {{type: generated, name: the latest forms, split: {split}}}"]
        lines += [f"    metrics: [{{type: exact_match, value: {number}}}]"]
    told = (a["n_rows"], a["n_rows"] + 10_000, a["n_test"])[rows]  # 1,234 and 11,234
    asked = (a["n_test"], a["n_test"] + 10_000, a["n_rows"])[test]
    came = a["n_rows"] + 500 * (rows == 0)
    rank, alpha = int(a["rank"]), int(a["alpha"])
    settings = [
        [f"| r | {rank} |", f"| lora_alpha | {alpha} |"],
        [f"| lora_alpha | {alpha} |", f"| r | {rank + 1} |"],
        [f"| r | {rank * 10 + 1} |", f"| lora_alpha | {rank} |"],
        [f"| lora_alpha | {rank} |"],
    ][r]
    settings.append(f"| steps for r | {rank} |")
    body = ["# forms", "", f"Made from {name} by LoRA.", "", "## Training", "",
            f"Data: {came:,} rows of the desk, cleaned, {told:,} rows.", "",
            "| setting | value |", "| --- | --- |", *settings, "", "## Evaluation", "",
            f"On {asked:,} rows of the test split, none of which was trained on.", ""]  # fmt: skip
    return "\n".join(["---", *lines, "---", *body])


def facts_of(a):
    return {"base": f"lab/town-{a['name']}", "rows": int(a["n_rows"]), "r": int(a["rank"]),
            "score": float(a["value"]), "test_rows": int(a["n_test"])}  # fmt: skip


def probe_card(namespace, a):
    said = [five(namespace["true_card"](card_text(a, n), facts_of(a)), TRUE, "true_card")
            for n in range(len(a["base"]))]  # fmt: skip
    return {name: np.array(column) for name, column in zip(TRUE, zip(*said, strict=True),
                                                           strict=True)}  # fmt: skip


def judge_card(i, o):
    right = (i["base"] == 0, i["rows"] == 0, i["r"] == 0, np.isin(i["score"], (0, 1, 2, 5)),
             i["test"] == 0)  # fmt: skip
    words = {
        "base": lambda n: BASES[i["base"][n]],
        "rows": lambda n: ("the rows as found", "another number of rows",
                           "the number of test rows")[i["rows"][n]],
        "r": lambda n: ("the rank as found", "a rank one too large", "another rank, and the rank "
                        "as lora_alpha", "no row of r")[i["r"][n]],
        "score": lambda n: f"the result: {RESULTS[i['score'][n]]}",
        "test rows": lambda n: ("the test rows as found", "another number of test rows",
                                "the number of training rows")[i["test"][n]],
    }  # fmt: skip
    return judge_five(i, o, dict(zip(TRUE, right, strict=True)), TRUTH,
                      lambda name, n: f"a card with {words[name](n)}")  # fmt: skip


def as_told(name, *tests):
    return lambda i: [{name: test(i)} for test in tests]


TRUTH = (
    Slip("prose", "The base's name stands in the prose of every card. The hub reads the metadata.",
         as_told("base", lambda i: np.ones(8, bool))),
    Slip("any_base", "A base is named, and it is another one. Compare it.",
         as_told("base", lambda i: np.isin(i["base"], (0, 1, 4, 5)))),
    Slip("part_of_base", "Another base may have the name within its own, or the start of it. "
         "Compare the whole name.", lambda i: [
             {"base": np.isin(i["base"], kinds)}
             for kinds in ((0, 1), (0, 4), (0, 5), (0, 4, 5))]),
    Slip("comma", "This answer is never True. Numbers have a comma, 1,234: take it out before you "
         "compare. Else print what your search finds.",
         lambda i: [{name: np.zeros(8, bool)} for name in ("rows", "test rows")]),
    Slip("any_number", "The number stands elsewhere in the card as well. Look in the sentence: "
         "`, 1,234 rows.` for training, `On 1,234 rows of the test split`.",
         lambda i: [{"rows": (i["rows"] == 0) | (i["test"] == 2)}, {"rows": i["rows"] >= 0},
                    {"rows": i["rows"] != 0}, {"test rows": (i["test"] == 0) | (i["rows"] == 2)}]),
    Slip("end_of_number", "11,234 ends with 1,234 and is another number. Compare the whole one.",
         lambda i: [{"rows": i["rows"] != 2}, {"test rows": i["test"] != 2}]),
    Slip("other_setting", "`| steps for r |` and `| lora_alpha |` are other settings. The row is "
         "`| r | n |`.", as_told("r", lambda i: np.ones(8, bool), lambda i: i["r"] != 1)),
    Slip("first_digits", "Compare the whole number, to the bar behind it.",
         as_told("r", lambda i: np.isin(i["r"], (0, 2)))),
    Slip("any_split", "A result on the validation split is not the test's. Look at "
         "`dataset_split`.", as_told("score", lambda i: np.isin(i["score"], (0, 1, 2, 3, 5)),
                                     lambda i: np.isin(i["score"], (0, 2, 3, 5)))),
    Slip("first_result", "A card may hold several results, also several of the test, in any order.",
         as_told("score", lambda i: np.isin(i["score"], (0, 2, 5)),
                 lambda i: np.isin(i["score"], (0, 1, 5)), lambda i: np.isin(i["score"], (0, 5)))),
    Slip("to_the_bit", "A card rounds: 0.0005 may lie between.",
         as_told("score", lambda i: np.isin(i["score"], (0, 1, 2)),
                 lambda i: i["score"] == 5)),
    Slip("loose_score", "0.0008 is more than rounding to three digits: that takes at most 0.0005.",
         as_told("score", lambda i: np.isin(i["score"], (0, 1, 2, 5, 6)))),
    Slip("has_result", "There is a result on the test; compare its value, above and below.",
         as_told("score", lambda i: np.isin(i["score"], (0, 1, 2, 4, 5, 6)),
                 lambda i: np.isin(i["score"], (0, 1, 2, 4, 5)))),
)  # fmt: skip

true_card = Check(
    name="true_card", title="A card that tells the truth", wants=("true_card",),
    difficulty=3, minutes=15, points=15,
    verified="eight drawn cards: bases in the prose alone and within other names, numbers of the "
    "other split, ranks that only look right, results in any order",
    hints=(
        "Two of the five stand in the metadata, three in sentences of the layout.",
        "`about = ModelCard(text).data` has `base_model` and `eval_results`, a list of objects "
        "with `dataset_split` and `metric_value`, or None. For the others, a regular expression "
        "with the words around the number.",
        "`re.search(r', ([\\d,]+) rows\\.$', text, re.M)`, `int(m[1].replace(',', ''))`, and "
        "`re.search(r'^\\| r \\| (\\d+) \\|$', text, re.M)`.",
    ),
    slips=(*TRUTH, *FIVE), other="Print one card, and look for the five by eye.",
    make=make_card, probe=probe_card, judge=judge_card,
)  # fmt: skip

EXERCISES = (clean, split, decide, prove, true_card)
