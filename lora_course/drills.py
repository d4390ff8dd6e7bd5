"""Drills: short texts that need looking back, graded on the words that can be looked up.

A small model learns to look back only where it pays. In ordinary stories it pays for a few tokens
in a hundred, so the base begins with drills, from copying a list to questions about three people.
"""

from string import Formatter

from lora_course import town

WORDS = [*town.NAMES, *town.OBJECTS, *town.PREPOSITION, *town.ANIMALS, *town.FOODS, *town.DAYS]


def list_twice(rng):
    """Six to sixteen words without commas, said twice; the second time is graded."""
    listed = " ".join(rng.sample(WORDS, rng.randint(6, 16)))
    first, second = rng.sample(town.NAMES, 2)
    text = f"{first} said: {listed}. {second} said: "
    return text + listed + ".", [(len(text), len(text) + len(listed))]


def pairs(rng):
    """Two to six pairs of words, twice again in another order; the second word is graded.

    A pair may come backwards: then the word before a word has to be found.
    """
    count = rng.randint(2, 6)
    words = rng.sample(WORDS, 2 * count)
    rows = list(zip(words[::2], words[1::2], strict=True))
    text, spans = ", ".join(map(" ".join, rows)) + ". Once more:", []
    for mark in ";.":
        back = rng.random() < 0.5
        for first, second in rng.sample(rows, count):
            key, value = (second, first) if back else (first, second)
            text += f" {key} "
            spans.append((len(text), len(text) + len(value)))
            text += value + ","
        text = text[:-1] + mark
    return text, spans


def owners(rng):
    """Two to five people who had something, asked in both directions: pairs with words between."""
    count = rng.randint(2, 5)
    things = rng.sample(town.OBJECTS + town.FOODS + town.ANIMALS, count)
    rows = list(zip(rng.sample(town.NAMES, count), things, strict=True))
    text, spans = " ".join(f"{name} had the {thing}." for name, thing in rows), []
    for name, thing in rng.sample(rows, count) + rng.sample(rows, count):
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
    facts = town.draw_facts(rng, rng.choice((2, 2, 3)))
    text, spans = town.tell(rng, facts, fill=rng.choice((0, 0.35))), []
    for fact in rng.sample(facts, len(facts)):
        told, places = fill(rng.choice(town.FACT_FORMS), fact.words())
        spans += [(len(text) + 1 + start, len(text) + 1 + end) for start, end in places[1:]]
        text += " " + told
    return text, spans


def fill(form, words):
    """One of town.FACT_FORMS, filled: (text, spans of person, thing, place and day in it)."""
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
    facts = town.draw_facts(rng, rng.choice((2, 2, 3)))
    text, spans = town.tell(rng, facts, fill=rng.choice((0, 0.35))), []
    for kind in rng.choices(list(town.QUESTIONS), k=questions):
        words = rng.choice(facts).words()
        question, answer = (p.format(**words) for p in rng.choice(town.QUESTIONS[kind]))
        target = words[town.ANSWER[kind]]
        start = len(text) + len(question) + 2 + answer.index(target)
        spans.append((start, start + len(target)))
        text += f" {question} {answer}"
    return text, spans


DRILLS = {  # name: (maker of one drill, share of the batch size: longer texts, fewer of them)
    "list": (list_twice, 1.0),
    "pairs": (pairs, 1.0),
    "owners": (owners, 1.0),
    "retell": (retell, 0.75),
    "exam": (exam, 0.5),
}
