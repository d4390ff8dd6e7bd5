"""Drills: short texts that need looking back, graded on the words that can be looked up.

A small model learns to look back only where it pays. In ordinary stories it pays for a few tokens
in a hundred, so the base begins with drills, from copying a list to questions about three people.
"""

from string import Formatter

from lora_course.kit.town import world

THINGS = world.OBJECTS + world.FOODS + world.ANIMALS
WORDS = [*world.NAMES, *world.OBJECTS, *world.PREPOSITION]
WORDS += [*world.ANIMALS, *world.FOODS, *world.DAYS]


def list_twice(rng):
    """Six to sixteen words without commas, said twice; the second time is graded."""
    listed = " ".join(rng.sample(WORDS, rng.randint(6, 16)))
    first, second = rng.sample(world.NAMES, 2)
    text = f"{first} said: {listed}. {second} said: "
    return text + listed + ".", [(len(text), len(text) + len(listed))]


def rows(rng):
    """Two to six rows of two to four words, told twice again, rows and columns in another order.

    From the second word of a row on, the words are graded. With more than two columns the first
    row of a telling is not: only it shows the new order of the columns.
    """
    width = rng.choice((2, 2, 3, 4))
    count = rng.randint(2, {2: 6, 3: 4, 4: 3}[width])
    kinds = rng.sample((world.NAMES, THINGS, list(world.PREPOSITION), world.DAYS), width)
    columns = [rng.sample(kind, count) for kind in kinds]
    if rng.random() < 0.3:  # words of any kind
        words = rng.sample(WORDS, width * count)
        columns = [words[i * count : (i + 1) * count] for i in range(width)]
    table = list(zip(*columns, strict=True))
    text, spans = ", ".join(map(" ".join, table)) + ". Once more:", []
    for mark in ";.":
        order = rng.sample(range(width), width)
        for n, row in enumerate(rng.sample(table, count)):
            for k, i in enumerate(order):
                text += " "
                if k and (n or width == 2):
                    spans.append((len(text), len(text) + len(row[i])))
                text += row[i]
            text += ","
        text = text[:-1] + mark
    return text, spans


def owners(rng):
    """Two to five people who had something, asked in both directions: rows with words between."""
    count = rng.randint(2, 5)
    had = list(zip(rng.sample(world.NAMES, count), rng.sample(THINGS, count), strict=True))
    text, spans = " ".join(f"{name} had the {thing}." for name, thing in had), []
    for name, thing in rng.sample(had, count) + rng.sample(had, count):
        start, value = (f"{name} had the", thing)
        if rng.random() < 0.5:
            start, value = (f"The {thing} was given to", name)
        text += f" {start} "
        spans.append((len(text), len(text) + len(value)))
        text += value + "."
    return text, spans


def retell(rng):
    """Two or three facts, told again in other forms; graded from each one's second word on.

    The first word of a fact is free: it says which one is told.
    """
    facts = world.draw_facts(rng, rng.choice((2, 2, 3)))
    text, spans = world.tell(rng, facts, fill=rng.choice((0, 0.35))), []
    for fact in rng.sample(facts, len(facts)):
        told, places = fill_words(rng.choice(world.FACT_FORMS), fact.words())
        spans += [(len(text) + 1 + start, len(text) + 1 + end) for start, end in places[1:]]
        text += " " + told
    return text, spans


def fill_words(form, words):
    """One of world.FACT_FORMS, filled: (text, spans of person, thing, place and day in it)."""
    text, spans = "", []
    for literal, slot, _, _ in Formatter().parse(form):
        text, word = text + literal, words[slot] if slot else ""
        if slot == "at":  # a preposition and the place; the place alone is graded
            text, word = text + word.removesuffix(words["place"]), words["place"]
        if slot in ("who", "thing", "at", "day"):
            spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


def exam(rng, questions=6):
    """Two or three facts and questions about them; the word that each asks for is graded."""
    facts = world.draw_facts(rng, rng.choice((2, 2, 3)))
    text, spans = world.tell(rng, facts, fill=rng.choice((0, 0.35))), []
    for kind in rng.choices(list(world.QUESTIONS), k=questions):
        words = rng.choice(facts).words()
        question, answer = (p.format(**words) for p in rng.choice(world.QUESTIONS[kind]))
        target = words[world.ANSWER[kind]]
        start = len(text) + len(question) + 2 + answer.index(target)
        spans.append((start, start + len(target)))
        text += f" {question} {answer}"
    return text, spans


DRILLS = {  # name: (maker of one drill, share of the batch size: longer texts, fewer of them)
    "list": (list_twice, 1.0),
    "rows": (rows, 1.0),
    "owners": (owners, 1.0),
    "retell": (retell, 0.75),
    "exam": (exam, 0.5),
}
