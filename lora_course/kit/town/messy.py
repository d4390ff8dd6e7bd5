"""A file as projects get them: 600 rows of the court's desk, with what such files have in them.

A row is a report and the form that the court fills in, as prompt and completion or as messages.
Among the good rows stand copies (exact, and the same words written otherwise), rows of the test
split, wrong forms, and rows that are too long. What was planted where, `kinds` tells: the course's
checks ask it, the chapter does not.
"""

import json
import random
import re
from pathlib import Path

from lora_course.kit.clean import words_of
from lora_course.kit.town import world
from lora_course.kit.town.tasks import DEPARTMENTS, department_row

COUNTS = {
    "copy": 36,  # the same report once more, letter by letter
    "respelled": 24,  # the same words in other letters and spaces
    "leak": 15,  # a report of the test split
    "respelled leak": 15,
    "wrong": 15,  # a word in the form that is not in the report, or another form
    "contradiction": 15,  # a report that is there already, with a wrong form
    "long": 12,  # the papers of a whole day before the report
}
TEST_ROWS = 100


def messy(seed=0, count=600):
    """(rows, test) of a project: a list of dicts in two formats, and the test split.

    rows: {"prompt", "completion"} or {"messages"}. test: {"prompt", "completion"}, clean.
    """
    rows, test, _ = _drawn(seed, count)
    return rows, test


def kinds(seed=0, count=600):
    """{(words of the prompt, words of the completion): kind}, for the checks.

    kind: "good", "leak", "wrong" or "long". Copies are pairs that occur more than once.
    """
    return _drawn(seed, count)[2]


def hidden(seed, count=100):
    """Rows of the same desk for the judge: in no file of a project."""
    rng = random.Random(f"hidden {seed}")
    rows = (department_row(rng, "court") for _ in range(count))
    return [{"prompt": prompt, "completion": form} for prompt, form in rows]


def write_messy(folder, seed=0):
    """Write rows.jsonl and test.jsonl into a folder, one row on each line."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("rows", "test"), messy(seed), strict=True):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def _drawn(seed, count):
    rng, known = random.Random(f"messy {seed}"), set()

    def fresh():
        while words_of((row := department_row(rng, "court"))[0]) in known:
            pass
        known.add(words_of(row[0]))
        return row

    test = [fresh() for _ in range(TEST_ROWS)]
    good = [fresh() for _ in range(count - sum(COUNTS.values()))]
    planted = {"good": good}
    planted["copy"] = rng.sample(good, COUNTS["copy"])
    planted["respelled"] = [_respelled(rng, *r) for r in rng.sample(good, COUNTS["respelled"])]
    leaked = rng.sample(test, COUNTS["leak"] + COUNTS["respelled leak"])
    planted["leak"] = leaked[: COUNTS["leak"]]
    planted["respelled leak"] = [_respelled(rng, *row) for row in leaked[COUNTS["leak"] :]]
    planted["wrong"] = [_wrong(rng, *fresh()) for _ in range(COUNTS["wrong"])]
    twice = rng.sample(good, COUNTS["contradiction"])
    planted["contradiction"] = [_wrong(rng, *row) for row in twice]
    planted["long"] = [_long(rng, *fresh()) for _ in range(COUNTS["long"])]
    words = {"copy": "good", "respelled": "good", "respelled leak": "leak",
             "contradiction": "wrong"}  # fmt: skip
    truth = {
        (words_of(prompt), words_of(form)): words.get(kind, kind)
        for kind, rows in planted.items()
        for prompt, form in rows
    }
    pairs = [row for rows in planted.values() for row in rows]
    rng.shuffle(pairs)
    rows = [_written(prompt, form, rng.random() < 0.4) for prompt, form in pairs]
    return rows, [_written(*row, False) for row in test], truth


def _written(prompt, form, talk):
    if not talk:
        return {"prompt": prompt, "completion": form}
    return {
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": form},
        ]
    }


def _respelled(rng, prompt, form):
    """The same words: other capitals, spaces, a lost full stop, wide letters."""
    ways = (
        lambda text: text.upper(),
        lambda text: text.lower(),
        lambda text: text.replace(" ", "  "),
        lambda text: "\n" + text + " ",
        lambda text: text.removesuffix("."),
        lambda text: text.replace(" ", "\u00a0", 3),
        lambda text: text.replace("e", "\uff45", 2),
    )
    return rng.choice(ways)(prompt), form + rng.choice(("", " ", "\n"))


def _wrong(rng, prompt, form):
    """A form with one word that the report does not have, or the clinic's form."""
    if rng.random() < 0.3:
        (fact,) = world.draw_facts(rng, 1)
        return prompt, DEPARTMENTS["clinic"].format(**fact.words())
    pool = rng.choice((world.NAMES, world.OBJECTS, world.DAYS))
    (old,) = (word for word in pool if re.search(rf"\b{word}\b", form))
    new = rng.choice([word for word in pool if not re.search(rf"\b{word}\b", prompt)])
    return prompt, re.sub(rf"\b{old}\b", new, form)


def _long(rng, prompt, form):
    facts = [fact for _ in range(3) for fact in world.draw_facts(rng, 4)]
    return f"{world.tell(rng, facts, fill=1.0)} {prompt}", form
