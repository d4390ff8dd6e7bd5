"""Checks of chapter 09: chat template, the mask of a talk, packing, an old script, settings."""

import math
import re
from functools import cache

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, array
from lora_course.checks.guard import described
from lora_course.checks.mould import Mould
from lora_course.checks.slips import Promise, Slip, all_of, judged, seen_as
from lora_course.checks.values import Refused, every, kind, none, text, words
from lora_course.checks.verdicts import Verdict
from lora_course.checks.wording import shape

IGNORED = -100
WORDS = "mill bridge harbour bakery Mira Tom rain lantern letter ferry market bell".split()

# 9.1 A chat template
ENDS = ("[first]", "[last]"), ("<go>", "<halt>"), ("(open)", "(shut)"), ("{in}", "{out}")
SPELLED = ("<bos>", "<eos>"), ("<s>", "</s>"), ("<|bos|>", "<|eos|>")  # what may be spelled out
TALKS = (  # roles, whether an answer is asked for
    (("system", "user", "assistant", "user", "assistant"), 0),
    (("user", "assistant", "user"), 1),
    (("user",), 0),
    (("user", "assistant", "user", "assistant"), 1),
)
HEAD, CONTENT, EOS, BREAK = range(4)  # the parts of a message


def make_template(seed):
    rng = np.random.default_rng(seed + 910)
    made = {"ends": rng.permutation(len(ENDS))}
    for k, (roles, _) in enumerate(TALKS):
        made[f"words_{k}"] = rng.integers(len(WORDS), size=(len(roles), 3))
    return made


def talk(i, k):
    """[(role, content)] of talk k."""
    contents = [" ".join(WORDS[int(n)] for n in row) for row in i[f"words_{k}"]]
    contents[-1] = f" {contents[-1]} "  # spaces of the message's own
    return list(zip(TALKS[k][0], contents, strict=True))


def probe_template(namespace, a):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = fixtures.expect(namespace["chat_template"](), str, "chat_template", "a str")
    made, marks = {}, re.search(r"{%[-+]?\s*generation\s*[-+]?%}", template) is not None
    for k, (_, ready) in enumerate(TALKS):
        bos, eos = ENDS[int(a["ends"][k])]
        written, where = render_jinja_template(
            conversations=[[{"role": role, "content": said} for role, said in talk(a, k)]],
            chat_template=template, add_generation_prompt=bool(ready),
            return_assistant_tokens_mask=marks, bos_token=bos, eos_token=eos,
        )  # fmt: skip
        made[f"text_{k}"] = letters(written[0])
        made[f"marked_{k}"] = np.zeros(len(written[0]), dtype=int)
        for start, end in (where[0] if marks else ()) or ():
            made[f"marked_{k}"][start:end] = 1
    return made


def letters(string):
    return np.array([ord(letter) for letter in string], dtype=int)


def string(letters):
    return "".join(chr(int(n)) for n in np.ravel(letters) if 0 < n < 0x110000)


def message_parts(i, k, slip=""):
    """[(role, part, text)] of talk k, or what a slip makes of it."""
    bos, eos = ENDS[int(i["ends"][k])]
    messages, ready = talk(i, k), TALKS[k][1]
    messages = [m for m in messages if slip != "no_system" or m[0] != "system"]
    ready = {"always_prompt": 1, "no_prompt": 0}.get(slip, ready)
    ready = messages[-1][0] == "user" if slip == "prompt_by_role" else ready
    nl, made = "\\n" if slip == "backslash" else "\n", []
    sign = {"no_space": "#", "tags": "<|"}.get(slip, "# ")
    name = {"all_users": lambda role: "user", "tags": lambda role: role + "|>",
            "two_roles": lambda role: role if role == "assistant" else "user",
            }.get(slip, str)  # fmt: skip
    for n, (role, content) in enumerate(messages):
        ends = role == "assistant" or slip == "eos_each" or slip == "system" and role == "system"
        last = n == len(messages) - 1
        ends = {"by_number": n % 2 == 1, "eos_last": ends and last}.get(slip, ends)
        unbroken = {"eaten": 1, "between": last, "last_break": last and not ready}.get(slip)
        end = "" if slip == "no_eos" or not ends else nl + eos if slip == "eos_below" else eos
        said = content.strip() if slip == "trimmed" else content
        said = "" if slip == "silent" and role != "assistant" else said
        made += [
            (
                "",
                0,
                bos
                * (
                    (n == 0 and slip != "no_bos")
                    + (slip == "bos_again" or n > 0 and slip == "bos_each")
                ),
            ),
            (role, HEAD, sign + name(role) + {"one_line": " ", "colon": ": "}.get(slip, nl)),
            (role, CONTENT, said),
            (role, EOS, end),
            (role, BREAK, "" if unbroken else nl),
            ("", 0, f"# assistant{nl}" if slip == "prompt_in_loop" and ready else ""),
        ]
    tail = f"# assistant{'' if slip == 'prompt_break' else nl}"
    return made + [("", 0, tail if ready and slip != "prompt_in_loop" else "")]


def rendered(i, k, slip=""):
    return letters("".join(part for _, _, part in message_parts(i, k, slip)))


def marked(i, k, parts=(CONTENT, EOS), roles=("assistant",)):
    """1 for each letter of these parts of the messages of these roles."""
    spans = [np.full(len(s), role in roles and p in parts) for role, p, s in message_parts(i, k)]
    return np.concatenate(spans).astype(int)


def only_last(i, k):
    """The marks of the talk's last message alone."""
    before = rendered(i, k).size - sum(len(s) for *_, s in message_parts(i, k)[-6:])
    return marked(i, k) * (np.arange(rendered(i, k).size) >= before)


def with_prompt(i, k):
    """The marks, and those of the sign to answer."""
    sign = len(message_parts(i, k)[-1][2])
    return marked(i, k) | (np.arange(n := rendered(i, k).size) >= n - sign)


def place_of(i, k, letter):
    """Where a letter of talk k stands, in words."""
    roles = [role for role, _ in talk(i, k)]
    parts = message_parts(i, k)
    for n, (_, part, said) in enumerate(parts):
        if letter < len(said):
            what = ("the line with its role", "its content", "its end token", "its line break")
            if n == len(parts) - 1:
                return "in the sign to answer, after the messages"
            at = f"in message {n // 6 + 1} of {len(roles)} ({roles[n // 6]}), {what[part]}"
            return at if parts[n][0] else "at the first token"
        letter -= len(said)
    return "after the end of what is asked for"


def judge_template(i, o):
    texts, marks_ = [], []
    for k in range(len(TALKS)):
        right, on = rendered(i, k), marked(i, k)
        first = parting(np.ravel(o.get(f"text_{k}", right)), right)
        start, where = max(0, first - 20), place_of(i, k, first)

        def seen(value, start=start, where=where):
            return f"{where}: {string(np.ravel(value)[start : start + 60])!r}"

        def said(value, whole=right):
            return f"marked: {string(whole[value == 1])!r} of {string(whole)!r}"

        wanted = repr(string(right[start : start + 60]))
        texts.append(Promise(f"text_{k}", right, seen=seen, expected=wanted))
        wanted = repr(string(right[on == 1]))
        marks_.append(Promise(f"marked_{k}", on, seen=said, expected=wanted))
    return judged(i, o, texts + marks_, TEMPLATE)


def parting(seen, wanted):
    """The first place at which two rows differ."""
    n = min(len(seen), len(wanted))
    apart = np.flatnonzero(seen[:n] != wanted[:n])
    return int(apart[0]) if len(apart) else n


def writes(slip):
    """A slip's texts."""
    return lambda i: {f"text_{k}": rendered(i, k, slip) for k in range(len(TALKS))}


def marks(*parts, roles=("assistant",)):
    """A slip's marks."""
    return lambda i: {f"marked_{k}": marked(i, k, parts, roles) for k in range(len(TALKS))}


def spelled_out(i):
    """Texts with first and end tokens that are not those of the tokenizer."""
    options = []
    for wrong in SPELLED:
        for pick in ((1, 1), (1, 0), (0, 1)):
            option = {}
            for k in range(len(TALKS)):
                right, said = ENDS[int(i["ends"][k])], string(rendered(i, k))
                for old, new, use in zip(right, wrong, pick, strict=True):
                    said = said.replace(old, new) if use else said
                option[f"text_{k}"] = letters(said)
            options.append(option)
    return options


def spaced(i):
    """Texts that are right but for spaces and line breaks on top."""

    def right_but(k):
        right, below = rendered(i, k), rendered(i, k, "eos_below")
        return lambda v: (
            squeezed(v) == squeezed(right)
            and v.size >= right.size + (k == 0)
            and not (k == 0 and np.array_equal(v, below))
        )

    return {f"text_{k}": right_but(k) for k in range(len(TALKS))}


def literal(letters):
    """That a template's own code stands in the text."""
    return re.search(r"bos_token|eos_token|message|{role|{content", string(letters)) is not None


def cased(right):
    """That letters are right but for capitals."""
    low = string(right).lower()
    return lambda v: string(v).lower() == low


def squeezed(letters):
    return "".join(string(letters).split())


TEMPLATE = (
    Slip("no_bos", "The first token is missing. Write `bos_token` once, before the loop.",
         writes("no_bos")),
    Slip("bos_each", "The first token stands before every message. It belongs before the "
         "loop, once.",
         lambda i: [writes("bos_each")(i), writes("bos_again")(i)]),
    Slip("hard_coded", "The first or end token is spelled out. Other tokenizers have other ones: "
         "use the variables `bos_token` and `eos_token`.", spelled_out),
    Slip("no_eos", "The end token is missing after what the model says. It would never stop.",
         writes("no_eos")),
    Slip("eos_each", "The end token follows every message. It tells the model that its own turn "
         "is over: only the assistant's messages get it.", writes("eos_each")),
    Slip("eos_below", "The end token stands on a line of its own. The line break comes after it.",
         writes("eos_below")),
    Slip("system", "The system's messages are treated as the assistant's. Ask for the role "
         "'assistant', not for everything but the user.", writes("system")),
    Slip("no_prompt", "When an answer is asked for, the line `# assistant` must follow the "
         "messages: see `add_generation_prompt`.", writes("no_prompt")),
    Slip("always_prompt", "The line `# assistant` always follows the messages. Only "
         "`add_generation_prompt` asks for it.", writes("always_prompt")),
    Slip("prompt_by_role", "The last role does not say whether an answer is asked for. "
         "`add_generation_prompt` does.", writes("prompt_by_role")),
    Slip("prompt_in_loop", "The sign to answer follows every message. Write it once, after "
         "`endfor`.", writes("prompt_in_loop")),
    Slip("prompt_break", "The line `# assistant` that asks for an answer ends with a line break "
         "too, as it does in the talks that the model learns from.", writes("prompt_break")),
    Slip("last_break", "The last line has no line break. Put it behind each message, not between "
         "them.", lambda i: [writes("last_break")(i), writes("between")(i)]),
    Slip("trimmed", "A message begins or ends with a space of its own, which is gone. Write the "
         "content as it is, without `trim`.", writes("trimmed")),
    Slip("no_space", "The space between `#` and the role is missing.", writes("no_space")),
    Slip("eaten", "The line break after a message is missing. One that follows a tag `%}` in the "
         "template is removed: write it as `{{ '\\n' }}`.", writes("eaten")),
    Slip("one_line", "Role and content share a line. A line break follows the role.",
         writes("one_line")),
    Slip("backslash", "A backslash and an n stand in the text. `\\n` becomes a line break inside "
         "quotes within `{{ }}`, or in a Python text that is not raw.", writes("backslash")),
    Slip("spaces", "Only spaces and line breaks are too many. Those between the template's tags "
         "count too: a `-` inside a tag removes them, as the chapter does.", spaced),
    Slip("role_spelled", "The role is spelled out. There are others than these: write "
         "`message['role']`.", lambda i: [writes("all_users")(i), writes("two_roles")(i)]),
    Slip("by_number", "Turns are told apart by their number. A talk may begin with the system: "
         "ask for `message['role']`.", writes("by_number")),
    Slip("eos_last", "Only the talk's last message gets its end token. Each of the assistant's "
         "answers ends with one.", writes("eos_last")),
    Slip("tags", "`<|role|>` is the chapter's line. Here it is `# role`, and a line break.",
         writes("tags")),
    Slip("colon", "A colon follows the role. It is a line break that parts role and content.",
         writes("colon")),
    Slip("silent", "Only the assistant's content is written. What the others say belongs into "
         "an `else`, without the end token.", writes("silent")),
    Slip("no_system", "The system's message is left out. Write every message.",
         writes("no_system")),
    Slip("capitals", "Only capital letters differ. Write roles and contents as they are.",
         lambda i: {f"text_{k}": cased(rendered(i, k)) for k in range(len(TALKS))}),
    Slip("literal", "A piece of the template's own code stands in the text as it is. Jinja writes "
         "the value of a name between `{{` and `}}`.",
         lambda i: {f"text_{k}": literal for k in range(len(TALKS))}),
    Slip("constant", "Nothing of the messages is in the text. Loop over `messages`, and write "
         "role and content of each.", lambda i: {
             f"text_{k}": lambda v, k=k: not literal(v) and not any(
                 said.strip() in string(v) for _, said in talk(i, k)) for k in range(len(TALKS))}),
    Slip("no_marks", "Nothing is marked. Put `{% generation %}` and `{% endgeneration %}` around "
         "what the model says.", marks()),
    Slip("eos_outside", "The end token is outside the marks. The model must learn to write it.",
         marks(CONTENT)),
    Slip("header_marked", "The line `# assistant` is marked. The template writes it, not the "
         "model.", lambda i: [marks(HEAD, CONTENT, EOS)(i), marks(HEAD, CONTENT)(i)]),
    Slip("last_marked", "Only the last message is marked. The model learns from every answer.",
         lambda i: {f"marked_{k}": only_last(i, k) for k in range(len(TALKS))}),
    Slip("prompt_marked", "The sign to answer is marked as well. Nobody has said it yet, and the "
         "template writes it: no marks there.",
         lambda i: {f"marked_{k}": with_prompt(i, k) for k in range(len(TALKS))}),
    Slip("newline_marked", "The line break after the end token is marked. The model stops at the "
         "end token; the template adds the rest.", marks(CONTENT, EOS, BREAK)),
    Slip("turn_marked", "The whole turn is marked. What the template writes by itself, the line "
         "`# assistant` and the last line break, stays outside.",
         marks(HEAD, CONTENT, EOS, BREAK)),
    Slip("all_marked", "What other roles say is marked as well. The marks belong into the branch "
         "of the assistant.", lambda i: [
             marks(*parts, roles=("user", "assistant", "system"))(i)
             for parts in ((CONTENT,), (CONTENT, EOS), (CONTENT, EOS, BREAK),
                           (HEAD, CONTENT, EOS, BREAK))]),
)  # fmt: skip

chat_template = Check(
    name="chat_template", title="A chat template", wants=("chat_template",),
    difficulty=2, minutes=15, points=20,
    verified="four talks with other first and end tokens: the text, the sign to answer, and "
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
    slips=TEMPLATE, other="Lay Seen and Expected under each other, letter by letter.",
    make=make_template, probe=probe_template, judge=judge_template,
)  # fmt: skip


# 9.2 The mask of a talk
CASES = ("one", "three", "cut", "empty")  # one turn, a quoted end token, cut, nothing said


def make_labels(seed):
    rng = np.random.default_rng(seed + 920)
    sign, end, opens, closes = (int(n) for n in 3 + rng.permutation(12)[:4])  # closes: a user's
    made = {"sign": sign, "end": end}
    for case, turns in zip(CASES, (1, 3, 2, 2), strict=True):
        ids = [1]
        for turn in range(turns):
            asked = 20 + rng.permutation(70)[: rng.integers(2, 5)]
            if case == "three" and turn == 1:
                asked[0] = end  # the user quotes the end token
            told = 20 + rng.permutation(70)[: rng.integers(3, 5)]
            told = told[:0] if case == "empty" and turn == 0 else told
            ids += [opens, *asked, closes, sign, *told, end]
        made[f"ids_{case}"] = np.array(ids[:-2] if case == "cut" else ids)
    return made


def probe_labels(namespace, a):
    made, given = {}, [a[f"ids_{case}"].tolist() for case in CASES]
    before = callers.Before(*given)
    for case, ids in zip(CASES, given, strict=True):
        labels = namespace["talk_labels"](ids, a["sign"].item(), a["end"].item())
        made[f"labels_{case}"] = array(labels, "the list of labels")
    return {**made, "left": before.change()}


def spans(i, case):
    """[(first, last + 1)] of the graded tokens of each turn of the assistant."""
    found, start, ids = [], None, i[f"ids_{case}"]
    for t, token in enumerate(ids):
        if start is None and token == i["sign"]:
            start = t + 1
        elif start is not None and token == i["end"]:
            found.append((start, t + 1))
            start = None
    return found + ([(start, len(ids))] if start is not None else [])


def graded(i, case, turns=None):
    """The labels when these turns are graded; without turns, the right ones."""
    ids = i[f"ids_{case}"]
    made = np.full(len(ids), IGNORED)
    for start, stop in spans(i, case) if turns is None else turns:
        made[start:stop] = ids[start:stop]
    return made


def judge_labels(i, o):
    promises = []
    for case in CASES:
        ids, right = i[f"ids_{case}"], graded(i, case)
        start = max(0, parting(np.ravel(o.get(f"labels_{case}", right)), right) - 4)

        def seen(value, start=start, ids=ids):
            if value.shape != ids.shape:
                return f"labels of {shape(value)}, {listed(value)}, for the tokens {listed(ids)}"
            said = f"from token {start} on, " if start else ""
            return f"{said}{listed(np.ravel(value)[start:])} for {listed(ids[start:])}"

        fits = o.get(f"labels_{case}", right).shape == right.shape
        wanted = listed(right[start:]) if fits else f"{shape(right)}, {listed(right)}"
        promises.append(Promise(f"labels_{case}", right, seen=seen, expected=wanted))
    return judged(i, o, [*promises, callers.unchanged("left", "ids")], LABELS)


def listed(row):
    return f"[{', '.join(f'{v:g}' for v in np.ravel(row)[:16])}]"


def grades(change):
    """A slip's labels. change: (ids, right labels, spans, end) -> labels."""
    return lambda i: {
        f"labels_{case}": change(i[f"ids_{case}"], graded(i, case), spans(i, case), i["end"])
        for case in CASES
    }


def turns(change):
    """A slip that grades other turns. change: (spans, ids, end) -> spans."""
    return lambda i: {
        f"labels_{case}": graded(i, case, change(spans(i, case), i[f"ids_{case}"], i["end"]))
        for case in CASES
    }


def toggled(spans, ids, end):
    """The turns when each end token switches, on or off, and each sign too."""
    signs = {start - 1 for start, _ in spans}
    switches = [t + 1 for t in range(len(ids)) if ids[t] == end or t in signs] + [len(ids)]
    return list(zip(switches[::2], switches[1::2], strict=False))


def paired(spans, ids, end):
    """The turns when the n-th sign goes with the n-th end token, wherever it stands."""
    ends = np.flatnonzero(ids == end) + 1
    return [(start, int(stop)) for (start, _), stop in zip(spans, ends, strict=False)]


def to_next(spans, ids, end):
    """The turns when each goes on to the next sign."""
    starts = [start for start, _ in spans]
    return list(zip(starts, [start - 1 for start in starts[1:]] + [len(ids)], strict=True))


def other_size(right):
    """That there are more labels or fewer, and not those from the second one on."""
    return lambda v: v.shape != right.shape and not np.array_equal(v, right[1:])


def without_end(spans, ids, end):
    return [(a, b - 1 if ids[b - 1] == end else b) for a, b in spans]


LABELS = (
    Slip("everything", "Every token is graded. Put -100 where the assistant does not speak.",
         grades(lambda ids, right, spans, end: ids)),
    Slip("sign_graded", "The assistant's sign is graded. The template writes it, so the model need "
         "not: begin with the token after it.",
         turns(lambda spans, ids, end: [(a - 1, b) for a, b in spans])),
    Slip("end_masked", "The end token is masked. It is the model's own: graded, it teaches when to "
         "stop.", turns(without_end)),
    Slip("both_ends", "The sign that opens a turn is graded, and the end token is not. It should "
         "be the other way round: decide before you look at the token, not after.",
         turns(lambda *a: [(x - 1, y) for x, y in without_end(*a)])),
    Slip("last_only", "Only the last answer is graded. That is completion-only; here every turn of "
         "the assistant counts.", turns(lambda spans, ids, end: spans[-1:])),
    Slip("first_only", "Only the first answer is graded. Go on after it: `list.index` finds the "
         "first place only.", turns(lambda spans, ids, end: spans[:1])),
    Slip("never_closed", "The user's words between two answers are graded too. The first end token "
         "after a sign must switch the grading off.", lambda i: [turns(to_next)(i), *(
             turns(lambda spans, ids, end, stop=stop: [(spans[0][0], stop(spans, ids))])(i)
             for stop in (lambda spans, ids: len(ids), lambda spans, ids: spans[-1][1],
                          lambda spans, ids: spans[-1 - (spans[-1][1] == len(ids)
                                                         and len(spans) > 1)][1]))]),
    Slip("toggles", "An end token that the user quotes switches the grading on. Only the sign may: "
         "switch to True there, to False at an end token.", turns(toggled)),
    Slip("paired", "The signs and the end tokens are paired in their order. The user may quote an "
         "end token, and a cut answer has none: look for the first one after each sign.",
         turns(paired)),
    Slip("late", "The first token after the sign is not graded. The answer begins there.",
         turns(lambda spans, ids, end: [(a + 1, b) for a, b in spans])),
    Slip("shifted", "The labels are shifted by one. The model shifts them itself.", lambda i: [
        grades(lambda ids, right, *_: np.append(right[1:], IGNORED))(i),
        grades(lambda ids, right, *_: right[1:])(i),
        {f"labels_{case}": np.append(graded(i, case, [(a - 1, b) for a, b in spans(i, case)])[1:],
                                     IGNORED) for case in CASES}]),
    Slip("shifted_back", "Each label stands one place too late. A label is the token at its own "
         "place.", grades(lambda ids, right, *_: np.append(IGNORED, right[:-1]))),
    Slip("ends_everywhere", "An end token that the user quotes is graded too. Grade it only while "
         "the assistant speaks.",
         grades(lambda ids, right, spans, end: np.where(ids == end, ids, right))),
    Slip("cut_lost", "An answer without an end token is not graded: max_length has cut it. What is "
         "there of it still counts.",
         turns(lambda spans, ids, end: [s for s in spans if ids[s[1] - 1] == end])),
    Slip("cut_short", "The last token of an answer that was cut is not graded. Only the end token "
         "closes a turn, and here there is none.",
         turns(lambda spans, ids, end: [(a, b - (ids[b - 1] != end)) for a, b in spans])),
    Slip("inverted", "This is the reverse: the user is graded, and the assistant is not.",
         grades(lambda ids, right, *_: np.where(right == IGNORED, ids, IGNORED))),
    Slip("zero", "Token 0 is a token like any other. The loss leaves out the label -100 alone.",
         grades(lambda ids, right, *_: np.where(right == IGNORED, 0, right))),
    Slip("flags", "These are flags. A graded label is the token itself, another one is -100.",
         lambda i: [grades(lambda ids, right, *_: right != IGNORED)(i),
                    grades(lambda ids, right, *_: np.where(right != IGNORED, 1, IGNORED))(i)]),
    Slip("signs_only", "Only the two signs are masked. What others say is not graded either: keep "
         "in mind who is speaking.", lambda i: {f"labels_{case}": np.where(
             np.isin(i[f"ids_{case}"], [i["sign"], i["end"]]), IGNORED, i[f"ids_{case}"])
             for case in CASES}),
    Slip("in_place", "The labels were written into `ids`, which the caller still needs. Build a "
         "new list.", seen_as(left=5)),
    Slip("filtered", "There is one label for each token, no more and no less: -100 where a token "
         "is not graded. Every way through the loop must append one.", lambda i: [
             {f"labels_{case}": other_size(graded(i, case))} for case in CASES]),
)  # fmt: skip

talk_labels = Check(
    name="talk_labels", title="The mask of a talk", wants=("talk_labels",),
    difficulty=2, minutes=12, points=20,
    verified="one turn, three turns with a quoted end token, an answer that was cut short, and "
    "one of the end token alone",
    hints=(
        "Read the tokens from left to right. Which two tokens change who is speaking?",
        "Keep one variable: is the assistant speaking? Its sign switches it on for the tokens "
        "that follow; the end token, itself still graded, switches it off.",
        "`speaking = False`; for each token: `labels.append(token if speaking else -100)`, and "
        "then `if token == assistant_id: speaking = True` / "
        "`elif token == end_id: speaking = False`.",
    ),
    slips=LABELS, other="Print the tokens and your labels under each other, for one turn first.",
    make=make_labels, probe=probe_labels, judge=judge_labels,
)  # fmt: skip


# 9.3 Pack
ROWS = (4, 1, 3, 2)  # tokens of the rows to join


PICKS = {  # one of the (room, bin) in which a row fits
    "first": lambda fits: fits[0],
    "best": min,
    "best_late": lambda fits: min(fits, key=lambda fit: (fit[0], -fit[1])),
    "worst": lambda fits: max(fits, key=lambda fit: fit[0]),
    "worst_late": max,
}


def fill(lengths, most, order="down", way="best", slip=""):
    """The bin of each row; where `way` is "last", only the newest bin is looked at."""
    rows = {"given": range(len(lengths)), "back": range(len(lengths))[::-1],
            "up": np.argsort(lengths, kind="stable"),
            "down": np.argsort(-lengths, kind="stable")}[order]  # fmt: skip
    bins, free = np.full(len(lengths), -1), []
    for i in rows:
        need = lengths[i] + (slip == "strict")
        fits = [(f, b) for b, f in enumerate(free) if f >= need or slip == "any_room" and f > 0]
        fits = [f for f in fits if way != "last" or f[1] == len(free) - 1]
        if not fits or way == "alone":
            free.append(int(most))
            fits = [(int(most), len(free) - 1)]
            if slip == "unpaid":
                bins[i] = len(free) - 1
            if slip in ("lost", "unpaid"):
                continue
        if way == "crowded":
            fits = [max(fits, key=lambda fit: np.sum(bins == fit[1]))]
        _, b = PICKS.get(way, PICKS["first"])(fits)
        bins[i] = b
        free[b] -= lengths[i] * (slip != "not_reduced")
    return bins


def contents(lengths, bins):
    """What is in the bins, longest rows first, whichever of two rows of one length is meant."""
    held = [sorted(lengths[bins == b].tolist(), reverse=True) for b in set(bins.tolist()) - {-1}]
    return sorted(held, reverse=True)


WAYS = {  # slip: ways to fill
    "first_fit": [("down", "first")],
    "worst_fit": [("down", "worst"), ("down", "worst_late")],
    "last_bin": [("down", "last"), ("given", "last")],
    "unsorted": [("given", way) for way in PICKS] + [("back", "best")],
    "shortest_first": [("up", "best")],  # only the newest bin has room, whatever the way
    "one_each": [("down", "alone")],
    "most_rows": [("down", "crowded")],
    "strict": [("down", "best", "strict"), ("down", "first", "strict")],
}


def make_pack(seed):
    """Lengths for which all ways differ, without a tie between two bins of other contents."""
    rng = np.random.default_rng(seed + 930)
    while True:
        most = int(rng.integers(180, 300))
        lengths = rng.integers(most // 12, most // 2, size=20)
        lengths[7] = lengths[13]  # two rows of one length
        bins = fill(np.delete(lengths, 4), most)
        free = most - np.bincount(bins, weights=np.delete(lengths, 4))
        small = free[(free > 3) & (free < lengths.min())]
        if len(small):
            lengths[4] = small[0]  # fits to the last token
            found = [
                {str(contents(lengths, fill(lengths, most, *way))) for way in ways}
                for ways in ([("down", "best"), ("down", "best_late")], *WAYS.values())
            ]
            if len(found[0]) == 1 and sum(map(len, found)) == len(set.union(*found)):
                break
    made = {"lengths": lengths, "most": most}
    for k, n in enumerate(ROWS):
        made[f"ids_{k}"] = rng.integers(10, 90, size=n)
        made[f"labels_{k}"] = np.where(rng.integers(3, size=n) > 0, made[f"ids_{k}"], IGNORED)
        made[f"labels_{k}"][0] = IGNORED if k == 2 else made[f"ids_{k}"][0]
        if n > 2:  # one that is not graded, and one that is
            made[f"labels_{k}"][1:3] = IGNORED, made[f"ids_{k}"][2]
    return made


def probe_pack(namespace, a):
    lengths, most, wanted = (
        a["lengths"].tolist(),
        a["most"].item(),
        "a list of lists of row numbers",
    )
    rows = [(a[f"ids_{k}"].tolist(), a[f"labels_{k}"].tolist()) for k in range(len(ROWS))]
    before = callers.Before(lengths), callers.Before(rows)
    bins = namespace["pack"](lengths, most)
    for part in fixtures.expect(bins, (list, tuple), "pack", wanted):
        if not isinstance(part, (list, tuple, np.ndarray)):
            raise Refused("type", f"in place of a bin, pack gives {kind(part)}.", f"{wanted}.")
    for number in (number for b in bins for number in b):
        if array(number, "a row number").shape != ():
            raise Refused("type", f"in place of a row number, a bin holds {kind(number)}.",
                          f"{wanted}.")  # fmt: skip
    flat = [array(number) for b in bins for number in b]
    flat, n = np.array([float(i) for i in flat]), len(lengths)
    each = np.repeat(np.arange(len(bins)), [len(b) for b in bins])
    made = {"numbers": flat, "left": before[0].change(), "empty": sum(len(b) == 0 for b in bins)}
    if np.isin(flat, range(n)).all():
        made["count"] = np.bincount(flat.astype(int), minlength=n)
        made["bin"] = np.full(n, -1)
        made["bin"][flat.astype(int)] = each
        made["tokens"] = np.bincount(each, weights=a["lengths"][flat.astype(int)])
    names = ("ids", "labels", "positions")
    row = namespace["join"](rows)
    for name, part in zip(names, row if isinstance(row, (list, tuple)) else (), strict=False):
        if isinstance(part, (list, tuple)) and any(
            isinstance(n, (list, tuple, range)) for n in part
        ):
            raise Refused("type", f"the {name} of join hold lists.", "one flat list of numbers: "
                          "`+=` adds what is in a list, `append` the list itself.")  # fmt: skip
    row = fixtures.several(row, names, "join")
    return {**made, **dict(zip(names, row, strict=True)), "rows": before[1].change()}


def judge_pack(i, o):
    lengths, most = i["lengths"], int(i["most"])
    right, n = contents(lengths, fill(lengths, most)), len(lengths)
    ids, labels, positions = joined(i)

    def content(value):
        if value.shape != (n,):
            return "", ""
        held = contents(lengths, value)
        k = next((k for k, b in enumerate(held) if k >= len(right) or b != right[k]), len(held) - 1)
        wanted = f"{len(right)} bins; number {k} holds {(right + [[]] * n)[k]}"
        return f"{len(held)} bins; by rows, longest first, number {k} holds {held[k]}", wanted

    def same(value):
        return value.shape == (n,) and contents(lengths, value) == right

    def counted(value):
        row = int(np.argmax(value != 1)) if value.shape == (n,) else 0
        times = f"{np.ravel(value)[row]:g} times"
        times = {"0 times": "in no bin", "2 times": "in the bins twice"}.get(
            times, f"there {times}"
        )
        return f"row {row}, of {lengths[row]} tokens, is {times}"

    shown = content(o.get("bin", np.zeros(0)))[1]
    promises = [
        Promise("numbers", lambda v: np.isin(v, range(n)).all(), seen=lambda v: "bins hold "
                f"{listed(v)}", expected=f"numbers of rows, 0 to {n - 1}"),
        Promise("count", np.ones(n), seen=counted, expected="every row in one bin, once"),
        Promise("tokens", lambda v: v.size and v.max() <= most, seen=lambda v:
                f"a bin of {v.max(initial=0):g} tokens",
                expected=f"at most {most}"),
        Promise("bin", same, seen=lambda v: content(v)[0], expected=shown),
        Promise("empty", 0, seen="empty bins: {}", expected="none"),
        callers.unchanged("left", "lengths"),
        Promise("ids", ids, "the ids of join"),
        Promise("positions", positions, "the positions of join"),
        Promise("labels", labels, "the labels of join"),
        callers.unchanged("rows", "the rows given to join"),
    ]  # fmt: skip
    return judged(i, o, promises, PACK)


def joined(i):
    """(ids, labels, positions) of the row that the others make."""
    ids, labels = (np.concatenate([i[f"{key}_{k}"] for k in range(len(ROWS))])
                   for key in ("ids", "labels"))  # fmt: skip
    positions = np.concatenate([np.arange(n) for n in ROWS])
    return ids, np.where(positions == 0, IGNORED, labels), positions


def unmasked(i):
    return np.concatenate([i[f"labels_{k}"] for k in range(len(ROWS))])


def filled(name):
    """A slip's bins, in any order."""

    def values(i):
        made = [fill(i["lengths"], i["most"], *way) for way in WAYS[name]]
        held = [contents(i["lengths"], bins) for bins in made]
        return {"bin": lambda v: v.shape == made[0].shape and contents(i["lengths"], v) in held}

    return values


def broken(slip):
    """A slip's bins where they are too full; either of two rows of one length."""
    return lambda i: {"tokens": lambda v: np.array_equal(np.sort(v), np.sort(np.bincount(
        (bins := fill(i["lengths"], i["most"], slip=slip))[bins >= 0],
        weights=i["lengths"][bins >= 0])))}  # fmt: skip


def sorted_numbers(i):
    """Bins that are right for the lengths in order."""
    right = contents(i["lengths"], fill(i["lengths"], i["most"]))

    def places_in(order):
        return lambda v: v.shape == order.shape and contents(order, v) == right

    up = np.sort(i["lengths"])
    return [{"bin": places_in(order), "tokens": lambda v: True} for order in (up, up[::-1])]


def without(rows):
    """That each row is in one bin, but for some that are in none. rows: inputs -> which, bool."""

    def values(i):
        return [{"count": lambda v, gone=gone: v.shape == gone.shape and v.max() <= 1
                 and np.array_equal(np.sort(i["lengths"][v == 0]), np.sort(i["lengths"][gone]))}
                for gone in rows(i)]  # fmt: skip

    return values


def last_bins(i):
    """The rows in the last bin, where only the newest is looked at."""
    made = [fill(i["lengths"], i["most"], order, "last") for order in ("given", "down", "up")]
    return [bins == bins.max() for bins in made]


def by_value(i):
    """How often each row is there when `list.index` finds it by its length."""
    places = [i["lengths"].tolist().index(n) for n in i["lengths"]]
    return {"count": np.bincount(places, minlength=len(places))}


PACK = (
    Slip("lengths", "These are lengths. A bin holds the numbers of its rows, so that their tokens "
         "can be found.", lambda i: {
             "numbers": lambda v: np.array_equal(np.sort(v), np.sort(i["lengths"]))}),
    Slip("sorted_numbers", "These are places in the sorted list. Sort the numbers of the rows by "
         "their lengths instead: `sorted(range(n), key=...)`.", sorted_numbers),
    Slip("lost", "A row for which a new bin is opened must go into it as well.",
         without(lambda i: [fill(i["lengths"], i["most"], slip="lost") < 0])),
    Slip("last_lost", "The last bin is missing: it is still to be added when the loop is over.",
         without(last_bins)),
    Slip("by_value", "Two rows have the same length, and `list.index` finds the first of them "
         "both times. Sort the numbers of the rows, not the lengths.", by_value),
    Slip("twice", "A row was put into bins more than once: into several that have room, or again "
         "after a new one was opened for it. Choose one.",
         seen_as(count=lambda v: v.size > 0 and v.max() > 1 and v.min() > 0)),
    Slip("from_1", "Rows are counted from 0, as in any list.", lambda i: {
             "numbers": lambda v: np.array_equal(np.sort(v), np.arange(len(i["lengths"])) + 1)}),
    Slip("any_room", "A bin with some room is taken, whether or not the row fits. Compare the room "
         "with the row's length.", broken("any_room")),
    Slip("not_reduced", "A row went into a bin whose room did not shrink. Take its length from "
         "the room each time, also in a bin just opened.",
         lambda i: [broken("not_reduced")(i), broken("unpaid")(i)]),
    Slip("first_fit", "This is first fit. Of the bins that have room take the fullest one, which "
         "has the least room left.", filled("first_fit")),
    Slip("worst_fit", "This is worst fit: each row went into the emptiest bin that had room. Take "
         "the fullest.", filled("worst_fit")),
    Slip("most_rows", "The bin with the most rows was taken. The fullest has the least room left, "
         "in tokens.", filled("most_rows")),
    Slip("last_bin", "Only the newest bin is looked at. Older ones still have room.",
         filled("last_bin")),
    Slip("unsorted", "The rows are taken in the order of their numbers. Take the longest first: "
         "the short ones fill what is left.", filled("unsorted")),
    Slip("shortest_first", "The shortest row comes first. Begin with the longest, which is the "
         "hardest to place.", filled("shortest_first")),
    Slip("one_each", "Every row has a bin of its own. A bin that has room for at least the row's "
         "length will do: look for one before you open another.", filled("one_each")),
    Slip("strict", "A row that fits to the last token belongs into that bin: compare with `>=`, "
         "and let a bin hold all of `max_length`.", filled("strict")),
    Slip("empty", "Open a bin when a row needs it.", seen_as(empty=lambda v: v > 0)),
    Slip("positions_run", "The positions run on. A row that begins must not see those before it: "
         "begin again at 0.", lambda i: {"positions": np.arange(sum(ROWS))}),
    Slip("positions_rows", "These are numbers of rows. A position says where a token stands in its "
         "row, from 0 on.", lambda i: {"positions": np.repeat(np.arange(len(ROWS)), ROWS)}),
    Slip("exchanged", "The order is: ids, labels, positions.",
         lambda i: {"labels": np.concatenate([np.arange(n) for n in ROWS]),
                    "positions": lambda v: bool((v == IGNORED).any())}),
    Slip("other_number", "The loss leaves out the label -100 alone. Any other number is a token.",
         lambda i: [{"labels": np.concatenate([[c, *i[f"labels_{k}"][1:]]
                                               for k in range(len(ROWS))])} for c in (0, -1)]),
    Slip("last_masked", "Each row's last label is gone. It is the first one that nobody can guess.",
         lambda i: {"labels": np.concatenate([[*i[f"labels_{k}"][:-1], IGNORED]
                                              for k in range(len(ROWS))])}),
    Slip("positions_from_1", "The positions begin at 1. The first token has position 0.",
         lambda i: {"positions": joined(i)[2] + 1}),
    Slip("first_graded", "The first token of a row is still graded. The token before it, the last "
         "one of the row before, would have to guess it: put -100 there.", lambda i: {
             "labels": unmasked(i)}),
    Slip("one_masked", "Only the first row's first label is -100. Every row that follows another "
         "one needs it as well.", lambda i: {"labels": np.append(IGNORED, unmasked(i)[1:])}),
    Slip("first_free", "The first row's first label is -100 as well: the packed row may itself be "
         "put behind another one.", lambda i: {"labels": np.append(
             i["labels_0"][:1], joined(i)[1][1:])}),
    Slip("moved", "The labels no longer stand under their tokens. -100 takes the place of a row's "
         "first label, the others stay where they are.", lambda i: [
             {"labels": np.concatenate([np.concatenate([before, i[f"labels_{k}"][first:], after])
                                        for k in range(len(ROWS))])}
             for before, first, after in (([IGNORED], 0, []), ([], 1, []), ([], 1, [IGNORED]))]),
    Slip("tokens_graded", "These are the tokens. A row comes with labels of its own, and some of "
         "them are -100 already.", lambda i: {
             "labels": np.where(joined(i)[2] == 0, IGNORED, joined(i)[0])}),
    Slip("all_masked", "Only the first label of a row goes. Here a whole row has none left.",
         lambda i: [{"labels": np.where(np.arange(sum(ROWS)) < n, IGNORED, joined(i)[1])}
                    for n in (ROWS[0], sum(ROWS))]),
    Slip("ids_masked", "-100 stands among the labels only. The model must still read the token.",
         lambda i: {"ids": np.where(joined(i)[2] == 0, IGNORED, joined(i)[0])}),
    Slip("in_place", "`labels[0] = -100` and `ids += ...` write into a list that the caller still "
         "needs. Build new lists.", seen_as(rows=5)),
)  # fmt: skip

pack = Check(
    name="pack", title="Pack", wants=("pack", "join"),
    difficulty=3, minutes=18, points=25,
    verified="20 rows in the bins of best fit, decreasing; tokens, labels and positions of a "
    "packed row; the lists that were given are as before",
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
    slips=PACK,
    other="Try `pack([3, 5, 2], 5)` and `join([([7, 8], [7, 8]), ([9], [9])])` by hand.",
    make=make_pack, probe=probe_pack, judge=judge_pack,
)  # fmt: skip


# 9.4 Repair the outdated script
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PAD, USER, ASSISTANT, END = range(4)  # the first tokens; WORDS follow
SIGNS = ("<|pad|>", "<|user|>", "<|assistant|>", "<|end|>")
TALK = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + ' <|end|> ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SETS = {"train": 3, "new": 2}  # rows
LONGEST = 90
DEFAULTS = {  # what the old script left alone: field, value
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "weight_decay": 0,
    "packing": 0,
}


def make_script(seed):
    rng = np.random.default_rng(seed + 940)
    made = {"length": rng.integers(40, 60), "rate": rng.integers(1050, 4950) / 1e6}
    for name, count in SETS.items():
        made[f"words_{name}"] = rng.integers(len(WORDS), size=(count, LONGEST))
        made[f"asked_{name}"] = fixtures.sizes(rng, count, 3, 9)
        said = np.array(fixtures.sizes(rng, count, 3, 20))
        said[rng.integers(count)] = 70  # to be cut
        made[f"said_{name}"] = said
    return {key: np.array(value) for key, value in made.items()}


def halves(a, name):
    """[(question, answer)] of a set of rows, each a list of numbers of words."""
    rows = zip(*(a[f"{key}_{name}"] for key in ("words", "asked", "said")), strict=True)
    return [(w[:asked].tolist(), w[asked : asked + said].tolist()) for w, asked, said in rows]


def encoded(a, name, graded="answer", cut=True):
    """(ids, labels) of a set of rows, sorted and filled up with -1: (rows, LONGEST) each."""
    rows, most = [], int(a["length"]) if cut else LONGEST
    for question, answer in halves(a, name):
        asked = [USER, *(w + len(SIGNS) for w in question), END, ASSISTANT]
        ids = [*asked, *(w + len(SIGNS) for w in answer), END]
        start = len(asked) if graded == "answer" else 0
        rows.append((ids[:most], ([IGNORED] * start + ids[start:])[:most]))
    return filled_up(rows)


def filled_up(rows):
    """Pairs of lists, sorted by the first, as two arrays of one width."""
    made = np.full((2, len(rows), LONGEST), -1)
    for n, pair in enumerate(sorted(rows)):
        for k, row in enumerate(pair):
            made[k, n, : len(row)] = row[:LONGEST]
    return made


@cache
def tiny():
    """The mould of a Llama of one layer and a tokenizer of a few words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: n for n, word in enumerate((*SIGNS, *WORDS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=SIGNS[PAD]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=SIGNS[END], pad_token=SIGNS[PAD], chat_template=TALK
    )
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, eos_token_id=END, pad_token_id=PAD,
        bos_token_id=None, dtype="float32",
    )  # fmt: skip
    return Mould((LlamaForCausalLM(config).to(torch.float32), tokenizer))


def probe_script(namespace, a):
    import tempfile
    import uuid
    from unittest.mock import patch

    import torch
    from accelerate.utils import imports
    from datasets import Dataset
    from trl import SFTTrainer

    from lora_course.kit.models import quiet

    quiet()
    model, tokenizer = tiny().cast()
    asked = []  # for every service that is installed
    fresh = lambda *a: uuid.uuid4().hex  # noqa: E731  (a name for each step, and no hash of code)
    installed = cache(imports._is_package_available)  # reads a package's papers each time
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.random.fork_rng([]),
        patch("accelerate.utils.imports._is_package_available", installed),
        patch("datasets.arrow_dataset.update_fingerprint", fresh),
        patch("datasets.fingerprint.update_fingerprint", fresh),
        patch("datasets.arrow_dataset.generate_fingerprint", fresh),
        patch("transformers.integrations.get_available_reporting_integrations",
              lambda: asked.append(1) or []),
    ):  # fmt: skip
        rows = {
            name: Dataset.from_list([
                {"prompt": [{"role": "user", "content": spoken(question)}],
                 "completion": [{"role": "assistant", "content": spoken(answer)}]}
                for question, answer in halves(a, name)
            ])
            for name in SETS
        }  # fmt: skip
        try:
            trainer = namespace["make_trainer"](
                model, tokenizer, rows["train"], rows["new"], folder,
                a["length"].item(), a["rate"].item(),
            )  # fmt: skip
        except NotImplementedError:
            raise
        except Exception as error:
            return {"said": text(described(error)[1])}
        fixtures.expect(trainer, SFTTrainer, "make_trainer", "an SFTTrainer")
        made = {"said": text(""), "folder": trainer.args.output_dir == folder}
        made |= settings_of(trainer) | adapter_of(trainer.model)
        made["foreign"] = not type(trainer.data_collator).__module__.startswith("trl.")
        made["reports"] = len(asked) + len(trainer.args.report_to or [])
        try:
            for name, loader in (("train", "get_train_dataloader"), ("new", "get_eval_dataloader")):
                made[f"ids_{name}"], made[f"labels_{name}"] = batches(getattr(trainer, loader)())
        except Exception as error:
            made["batch"] = text(described(error)[1])
    return {"batch": text(""), **made}


def spoken(numbers):
    return " ".join(WORDS[n] for n in numbers)


def word(value):
    return str(getattr(value, "value", value))  # also of an Enum


def place(value, *words):
    """0 for the first word, 1 for the second, 2 for another."""
    return words.index(word(value)) if word(value) in words else 2


def settings_of(trainer):
    args = trainer.args
    evals = args.eval_steps or 0
    numbers = {
        "learning_rate": args.learning_rate,
        "max_steps": args.max_steps,
        "eval_steps": math.ceil(evals * 20) if evals < 1 else evals,  # a share of the 20 steps
        "evals": place(args.eval_strategy, "no", "steps"),
        "warmup_steps": args.get_warmup_steps(20),
        "grouped": place(args.train_sampling_strategy, "random", "group_by_length"),
        "linear": place(args.lr_scheduler_type, "", "linear"),
        "half": bool(args.bf16 or args.fp16),
        "checkpointing": bool(args.activation_checkpointing or args.gradient_checkpointing),
        "steps_done": trainer.state.global_step,
    }
    return {key: float(v) for key, v in numbers.items()} | {
        key: float(getattr(args, key) or 0) for key in DEFAULTS
    }


def adapter_of(model):
    """Where LoRA is, with which r and scale, what else trains, and whether B is still 0."""
    import torch

    layers = {n: m for n, m in model.named_modules() if getattr(m, "lora_A", None)}
    found = [(m, key) for m in layers.values() for key in m.lora_A]
    trains = [name for name, p in model.named_parameters() if p.requires_grad]
    return {
        "targets": np.array([any(n.endswith(part) for n in layers) for part in PARTS]),
        "r": np.array([m.lora_A[key].weight.shape[0] for m, key in found]),
        "scale": np.array([float(m.scaling[key]) for m, key in found]),
        "rslora": any(c.use_rslora for c in getattr(model, "peft_config", {}).values()),
        "dropout": max((getattr(m.lora_dropout[key], "p", 0.0) for m, key in found), default=0.0),
        "moved": sum(bool(m.lora_B[key].weight.any()) for m, key in found),
        "trains": np.array([p.requires_grad for n, p in model.named_parameters() if "lora_" in n]),
        "others": sum("lora_" not in name for name in trains),
        "float32": all(p.dtype == torch.float32 for p in model.parameters()),
    }


def batches(loader):
    """(ids, labels) of all rows that a loader gives, in any order, without the filling."""
    rows = []
    for batch in loader:
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
            kept = [n for n, token in enumerate(ids) if token != PAD]
            rows.append(([ids[n] for n in kept], [labels[n] for n in kept]))
    return filled_up(rows)


def judge_script(i, o):
    q_and_v = np.isin(PARTS, ("q_proj", "v_proj"))

    def on(value):
        named = [part for part, there in zip(PARTS, np.ravel(value), strict=False) if there]
        return f"LoRA on {', '.join(named) or 'no layer'}"

    promises = [
        Promise("said", lambda v: v.shape == (0,), seen=words, expected="an SFTTrainer"),
        Promise("targets", q_and_v, seen=on, expected="q_proj and v_proj"),
        Promise("others", 0, seen="tensors that train beside the factors: {}", expected="none"),
        Promise("r", np.full(2, 4), "r of layer"),
        Promise("rslora", 0, seen="use_rslora is on", expected="off, as in the script"),
        Promise("scale", np.full(2, 2), "the scaling, lora_alpha / r, of layer"),
        Promise("dropout", 0, "the dropout of LoRA"),
        all_of("trains", "factors train", 4),
        Promise("steps_done", 0, "the number of steps that have been run"),
        Promise("moved", 0, seen="B is no longer 0", expected="the trainer as made, not yet run"),
    ]  # fmt: skip
    promises += [Promise("packing", 0, seen="packing is on", expected="off, as in the script")]
    for name, what in (("train", "train_dataset"), ("new", "eval_dataset")):
        ids, labels = encoded(i, name)
        promises += [
            Promise("batch", lambda v: v.shape == (0,), expected="batches of rows",
                    seen=lambda v: f"the trainer cannot make a batch of its rows: {words(v)}"),
            Promise(f"ids_{name}", ids, seen=lambda v, ids=ids, what=what: f"{what}: "
                    f"{tokens(v)}", expected=tokens(ids)),
            Promise(f"labels_{name}", labels, seen=lambda v, what=what: f"{what}: "
                    f"{np.count_nonzero(v >= 0)} tokens are graded",
                    expected=f"{np.count_nonzero(labels >= 0)}, those of the answers"),
        ]  # fmt: skip
    promises += [
        Promise("learning_rate", float(i["rate"]), atol=0),
        Promise("max_steps", 20),
        Promise("warmup_steps", 2, "the number of warm-up steps"),
        Promise("eval_steps", 5, "the number of steps from one evaluation to the next"),
        Promise("evals", 1, seen="eval_strategy is another one", expected="every 5 steps"),
        Promise("grouped", 1, seen="train_sampling_strategy is another one",
                expected="like lengths together, as group_by_length did"),
        Promise("linear", 1, seen="lr_scheduler_type is another one",
                expected="linear, which the script left as it was"),
        *(Promise(key, value) for key, value in DEFAULTS.items()),
        Promise("folder", 1, seen="output_dir is another folder", expected="the one given"),
        Promise("half", 0, seen="bf16 or fp16 is on", expected="float32"),
        Promise("float32", 1, seen="the model that was given has been cast", expected="float32"),
        Promise("checkpointing", 0, seen="checkpointing is on", expected="no checkpointing"),
        Promise("reports", 0, seen="a service is told of the run", expected="report_to='none'"),
    ]  # fmt: skip
    return judged(i, o, promises, SCRIPT)


def tokens(ids):
    """Rows in words: how many tokens each has."""
    count = [int(n) for n in (np.atleast_2d(ids) >= 0).sum(-1).ravel()[:9]]
    return f"rows of {', '.join(map(str, count))} tokens"


RENAMED = {  # a name that an error quotes: advice
    "DataCollatorForCompletionOnlyLM": "TRL no longer has it, and you need none: of rows with the "
    "columns prompt and completion only the completion is graded.",
    "TrainingArguments": "TRL has a class of its own for the settings: `SFTConfig`, which the "
    "first cell imports.",
    "evaluation_strategy": "It is called `eval_strategy` now.",
    "warmup_ratio": "`warmup_steps` takes a share as well: 0.1 is a tenth of the steps.",
    "group_by_length": "It is a choice of `train_sampling_strategy` now: `'group_by_length'`.",
    "max_seq_length": "The length is a setting of the rows, so it belongs into SFTConfig: "
    "`max_length`.",
    "tokenizer": "SFTTrainer takes the tokenizer as `processing_class`.",
    "LoRAConfig": "PEFT's class is spelled `LoraConfig`.",
}


def error_with(part, line="", key="said"):
    """That the error's own sentence has this part, and the line of code after it another."""

    def there(value):
        said, _, code = words(value).partition(" (in line")
        return part in said and (not line or line in code and "SFTConfig(" not in code)

    return seen_as(**{key: there})


def unknown_name(owner):
    """That `owner` does not know an argument, and that none of RENAMED explains it."""
    start = f"{owner}.__init__() got an unexpected keyword argument '"
    return seen_as(said=lambda v: start in words(v)
                   and words(v).split(start)[1].split("'")[0] not in RENAMED)  # fmt: skip


def loses(name, **wrong):
    """A slip about the rows of both sets. wrong: see `encoded`."""
    return lambda i: {f"{name}_{s}": encoded(i, s, **wrong)[int(name == "labels")] for s in SETS}


SCRIPT = (
    *(Slip(f"old_{old}", advice, error_with(f"'{old}'")) for old, advice in RENAMED.items()),
    Slip("comma", "PEFT takes a text as one regular expression. Give a list of two names.",
         error_with("q_proj,v_proj")),
    Slip("trainer_setting", "That is no argument of the trainer. Settings, those of the rows too, "
         "go into SFTConfig.", unknown_name("SFTTrainer")),
    Slip("unknown_setting", "SFTConfig has no setting of that name. The table at the end of the "
         "chapter's section 9 has the new names; LoRA's own go into LoraConfig.",
         unknown_name("SFTConfig")),
    Slip("args_lost", "The trainer got no settings, and made its own. Pass yours as `args`.",
         error_with("bf16/gpu", line="SFTTrainer(")),
    Slip("needs_gpu", "bf16 is on by default, which needs a GPU: give `use_cpu=True` and "
         "`bf16=False`.", seen_as(said=lambda v: "bf16/gpu" in words(v) and not error_with(
             "bf16/gpu", line="SFTTrainer(")(None)["said"](v))),
    Slip("no_tokenizer", "Without a tokenizer the trainer looks for one on the web. Pass yours as "
         "`processing_class`.", error_with("Repo id must")),
    Slip("wrapped", "The trainer puts the LoRA layers in itself: give it the plain model and the "
         "LoraConfig.", error_with("`PeftModel` instance")),
    Slip("marks_asked", "assistant_only_loss wants a template with marks. Rows with prompt and "
         "completion need no switch: the completion is graded.",
         error_with("training-compatible")),
    Slip("no_new_rows", "The trainer has no rows to evaluate on. Pass `new_rows` as "
         "`eval_dataset`.", lambda i: [error_with("eval_dataset", key=key)(i)
                                       for key in ("said", "batch")]),
    Slip("collator", "Leave data_collator out. TRL's own knows rows with prompt and completion, "
         "and grades the completion.", lambda i: [
             {"foreign": 1, "batch": lambda v: v.size > 0},
             {"foreign": 1, "labels_train": lambda v: v.size > 0}]),
    Slip("no_lora", "The whole model trains. Give the trainer a peft_config.",
         seen_as(targets=none, others=lambda v: v > 0)),
    Slip("all_linear", "`all-linear` adapts every linear layer. The script names two.",
         seen_as(targets=every)),
    Slip("ran", "The trainer has been run. Return it as it was made.",
         lambda i: [{"steps_done": lambda v: v > 0}, {"moved": lambda v: v > 0}]),
    Slip("swapped", "It trains on `new_rows`. These are for eval_dataset, `rows` for "
         "train_dataset.", lambda i: {"ids_train": encoded(i, "new")[0]}),
    Slip("eval_rows", "It evaluates on the rows that it trains on. `new_rows` are for "
         "eval_dataset.", lambda i: {"ids_new": encoded(i, "train")[0]}),
    Slip("not_cut", "The rows are not cut to `length`. SFTConfig takes it as `max_length`, whose "
         "default is 1,024.", loses("ids", cut=False)),
    Slip("prompt_graded", "The prompt is graded as well. Rows with the columns prompt and "
         "completion need no collator: leave completion_only_loss alone.",
         loses("labels", graded="all")),
    Slip("lost", "This is the default: the script's own setting got lost on the way. Take it over, "
         "under its new name if it has one.", lambda i: [
             {"learning_rate": 2e-5}, {"max_steps": -1}, {"warmup_steps": 0}, {"evals": 0},
             {"eval_steps": 10}, {"grouped": 0}, {"r": np.full(2, 8)}]),
    Slip("bf16", "Switch bf16 off by name: SFTConfig has it on.", seen_as(half=1)),
    Slip("checkpointing", "Switch activation_checkpointing off by name: SFTConfig has it on.",
         seen_as(checkpointing=1)),
)  # fmt: skip

make_trainer = Check(
    name="make_trainer", title="Repair the outdated script", wants=("make_trainer",),
    difficulty=3, minutes=15, points=20,
    verified="made without an error and not yet run; rows, lengths, what is graded, rate, steps, "
    "warm-up, evaluation, order, batches and LoRA as in the old script; float32, no checkpointing, "
    "no web service",
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
    slips=SCRIPT, other="Go through the script once more, one setting at a time, and print "
    "`trainer.args` beside it.",
    make=make_script, probe=probe_script, judge=judge_script,
)  # fmt: skip


# 9.5 Pass the exam
BUDGET, NUMBERS, PASS = 8000, 8, 0.85  # rows read, largest rank, share right on new rows
TRAIN, NEW = 2000, 1000
WIDE, CLASSES, NEEDED = 16, 5, 3  # inputs and hidden units; answers; rank of the true update
FIELDS = ("r", "scale", "rate", "warmup", "steps", "batch", "curve")
CURVES = ("constant", "linear", "cosine")
SCHEDULES = {"constant": 0, "constant_with_warmup": 0, "linear": 1, "cosine": 2}


def make_exam(seed):
    rng = np.random.default_rng(seed + 950)
    W = rng.normal(size=(WIDE, WIDE)) / WIDE**0.5  # (hidden, in)
    V = rng.normal(size=(CLASSES, WIDE))
    up = rng.normal(size=(WIDE, NEEDED)) @ rng.normal(size=(NEEDED, WIDE))
    up *= 2.5 * np.linalg.norm(W) / np.linalg.norm(up)
    X = rng.normal(size=(TRAIN + NEW, WIDE))
    return {"W": W, "V": V, "X": X, "y": logits(X, W + up, V).argmax(1)}


def hidden(x, W):
    return 4 * np.tanh(x @ W.T / 4)


def logits(x, W, V):
    return hidden(x, W) @ V.T


def probe_exam(namespace, a):
    import tempfile

    pair, wanted = namespace["choose"](tempfile.gettempdir()), "an SFTConfig and a LoraConfig"
    fixtures.expect(pair, (tuple, list), "choose", wanted)
    if len(pair) != 2:
        raise Refused("type", f"choose returns {len(pair)} values.", f"{wanted}.")
    args, lora = pair
    if any(isinstance(each, type) for each in pair):
        raise Refused("type", "choose returns a class.", f"{wanted}, made with its numbers.")
    if not hasattr(args, "learning_rate") or not hasattr(lora, "lora_alpha"):
        seen = f"choose returns {kind(args)} and {kind(lora)}."
        raise Refused("type", seen, f"{wanted}.")
    batch, steps = (
        args.per_device_train_batch_size * args.gradient_accumulation_steps,
        args.max_steps,
    )
    if steps <= 0:
        steps = math.ceil(args.num_train_epochs * math.ceil(TRAIN / batch))
    name = word(args.lr_scheduler_type)
    if name not in SCHEDULES:
        raise Refused("type", f"lr_scheduler_type is {name}.", "constant, linear or cosine.")
    warmup = 0 if name == "constant" else args.get_warmup_steps(steps)
    scale = lora.lora_alpha / (np.sqrt(lora.r) if lora.use_rslora else lora.r)
    values = (lora.r, scale, args.learning_rate, warmup, steps, batch, SCHEDULES[name])
    return {field: np.array(float(v)) for field, v in zip(FIELDS, values, strict=True)}


def sit(i, r, scale, rate, warmup, steps, batch, curve):
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
        h = hidden(x, W + scale * B @ A)  # (b, hidden)
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
    return float((logits(X[TRAIN:], W + scale * B @ A, V).argmax(1) == y[TRAIN:]).mean())


def judge_exam(i, o):
    if any(o.get(f) is None or o[f].shape != () or not np.isfinite(o[f]) for f in FIELDS):
        return Verdict(0.0, "other", "a value is not a number")
    seen = {field: float(o[field]) for field in FIELDS}
    read = seen["steps"] * seen["batch"]
    if min(seen["r"], seen["steps"], seen["batch"]) < 1 or not 0 <= seen["curve"] < len(CURVES):
        return Verdict(0.0, "other", "r, steps or batch is below 1")
    if read > BUDGET:
        return Verdict(0.0, "budget", f"{read:,.0f} rows read", f"at most {BUDGET:,}")
    if seen["r"] > NUMBERS:
        return Verdict(0.0, "rank_limit", f"r = {seen['r']:.0f}", f"at most {NUMBERS}")
    with np.errstate(all="ignore"):
        share = sit(i, **seen)
        if share >= PASS:
            return Verdict(1.0)
        best = {key: sit(i, **seen | new(seen)) if new(seen) else share
                for key, new in BETTER.items()}  # fmt: skip
    key, said = max(best, key=best.get), f"{share:.1%} right on new rows"
    passing = [name for name, new in best.items() if new >= PASS]
    if not passing and best[key] > share + 0.01:
        passing = ["several"]
        said += f"; {CHANGES[key]}, and nothing else changed, {best[key]:.1%}"
    return Verdict(0.0, [*passing, "other"][0], said, f"at least {PASS:.0%}")


def near(seen):
    return {"rate": 0.04 / max(seen["scale"], 1e-6)}


BETTER = {  # the one change that would have passed, all else as it was: new numbers
    "low_rank": lambda seen: {"r": 4.0},
    "slow": lambda seen: near(seen) if seen["rate"] < near(seen)["rate"] else {},
    "fast": lambda seen: near(seen) if seen["rate"] > near(seen)["rate"] else {},
    "short": lambda seen: {"steps": float(BUDGET // seen["batch"])},
    "few_updates": lambda seen: {"batch": 32.0, "steps": BUDGET / 32.0},
    "alpha": lambda seen: {"scale": 2.0},
}
CHANGES = {
    "low_rank": "with r = 4", "slow": "with a higher learning rate",
    "fast": "with a lower learning rate", "short": "with more steps",
    "few_updates": "with the same rows in smaller batches", "alpha": "with lora_alpha twice r",
}  # fmt: skip
EXAM = (  # named by the judge, which has tried the change
    Slip("budget", "Rows read are steps times rows in a batch, times gradient accumulation; "
         "without max_steps, epochs times 2,000."),
    Slip("rank_limit", "A smaller r will do: the update that this task needs is of low rank."),
    Slip("low_rank", "With a higher rank, and nothing else changed, it would have passed: the "
         "update that this task needs does not fit into so few."),
    Slip("slow", "With a higher learning rate, and nothing else changed, it would have passed. "
         "LoRA takes a larger one than full fine-tuning, which SFTConfig's default is made for."),
    Slip("fast", "With a lower learning rate, and nothing else changed, it would have passed: the "
         "steps overshoot."),
    Slip("short", "With more steps, and nothing else changed, it would have passed. You have not "
         "spent your rows."),
    Slip("several", "More than one number is off. Make the change that Seen names first, then ask "
         "again."),
    Slip("few_updates", "The same rows in smaller batches would have passed: more steps, and each "
         "of them moves the factors."),
    Slip("alpha", "With lora_alpha twice r, and nothing else changed, it would have passed. The "
         "update is multiplied by lora_alpha / r: neither by thousands, nor by hardly anything."),
)  # fmt: skip

choose = Check(
    name="choose", title="Pass the exam", wants=("choose",),
    difficulty=4, minutes=20, points=25,
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
    slips=EXAM, other="Go back to the numbers of the chapter's run, and change one at a time.",
    make=make_exam, probe=probe_exam, judge=judge_exam,
)  # fmt: skip

EXERCISES = (chat_template, talk_labels, pack, make_trainer, choose)
