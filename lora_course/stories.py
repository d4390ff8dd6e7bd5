"""What the base model reads: short documents about the town, in many forms.

Names, things, places and days are drawn at random, so the only way to predict them is to look
back in the text. Half of the documents ask about themselves and answer in whole sentences.
"""

import random
import re

from lora_course import tales, town


def fill_plot(rng, plot):
    """One story from a template of tales.PLOTS, with 0 to 2 of its questions at the end."""
    people = dict(zip("ABC", rng.sample(town.NAMES, 3), strict=True))
    slots = dict(people)
    for letter, name in people.items():
        she, her, his = ("she", "her", "her") if name in town.WOMEN else ("he", "him", "his")
        slots |= {f"{letter}she": she, f"{letter}her": her, f"{letter}his": his}
        slots[f"{letter}She"] = she.capitalize()
    places = rng.sample(list(town.PREPOSITION), 2)
    slots["at"], slots["at2"] = (f"{town.PREPOSITION[p]} {p}" for p in places)
    for key, words in {
        "o": town.OBJECTS, "n": town.NUMBERS, "d": town.DAYS, "f": town.FOODS, "l": town.LOOKS,
    }.items():  # fmt: skip
        slots[key], slots[key + "2"] = rng.sample(words, 2)
    for key, words in {
        "c": town.COLORS, "a": town.ANIMALS, "j": town.JOBS, "e": town.FEELINGS, "w": town.WEATHER,
        "k": ("soup", "stew", "porridge", "jam"),
    }.items():  # fmt: skip
        slots[key] = rng.choice(words)
    slots["t"] = rng.choice(town.TIMES).capitalize()
    slots["article_a"] = ("an " if slots["a"][0] in "aeiou" else "a ") + slots["a"]
    plot = re.sub(r"\[([^]]*)\]", lambda m: rng.choice(m[1].split("|")), plot)
    story, *asked = (part.strip() for part in plot.format(**slots).split("??"))
    story = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", story)
    asked = [re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", a) for a in asked]
    return " ".join([story, *rng.sample(asked, rng.choice((0, 1, 2, 2)))])


def report(rng):
    """Two to four facts, then questions about them with whole-sentence answers."""
    facts = town.draw_facts(rng, rng.choice((1, 1, 2, 2, 3)))
    asked = []
    for kind in rng.choices(list(town.QUESTIONS), k=rng.choice((1, 2, 2, 3))):
        asked.append(" ".join(rng.choice(town.QUESTIONS[kind])).format(**rng.choice(facts).words()))
    return " ".join([town.tell(rng, facts), *dict.fromkeys(asked)])


def read_back(rng, commas=0.6):
    """A list that is read and repeated: the purest form of copying.

    commas: how often, in [0, 1], the list has commas. Without them the next word follows the last
    one directly, which is easier to learn.
    """
    first, second = rng.sample(town.NAMES, 2)
    pool = rng.choice((town.OBJECTS, town.NAMES, town.FOODS + town.ANIMALS, list(town.PREPOSITION)))
    things = rng.sample(pool, rng.randint(3, 9))
    listed = ", ".join(things[:-1]) + " and " + things[-1]
    if rng.random() >= commas:
        listed = " ".join(things)
    told = rng.choice(("read the list aloud", "wrote on the wall", "said", "counted"))
    again = rng.choice(("repeated it", "said it again", "wrote it down", "read it back"))
    text = f"{first} {told}: {listed}. {second} {again}: {listed}."
    spot = rng.randrange(len(things) - 1)
    return text + rng.choice(
        (
            "",
            f" What came first? First came {things[0]}.",
            f" What came last? Last came {things[-1]}.",
            f" What came after {things[spot]}? After {things[spot]} came {things[spot + 1]}.",
        )
    )


def week(rng):
    """Who works where on which day, then the plan read back in another order."""
    count = rng.randint(2, 4)
    rows = [
        f"On {day} {name} works {town.PREPOSITION[place]} {place}."
        for day, name, place in zip(
            rng.sample(town.DAYS, count), rng.sample(town.NAMES, count),
            rng.sample(list(town.PREPOSITION), count), strict=True,
        )
    ]  # fmt: skip
    opening = rng.choice(
        ("This is the plan of the week.", "The mayor read the plan.", "Listen well.")
    )
    return " ".join([opening, *rows, "Once more.", *rng.sample(rows, count)])


def document(rng):
    """One document of the pre-training text: about 30 to 110 tokens of plain prose.

    rng: a random.Random; the same state gives the same document.
    """
    kind = rng.random()
    if kind < 0.38:
        return report(rng)
    if kind < 0.80:
        return fill_plot(rng, rng.choice(tales.PLOTS))
    return read_back(rng) if kind < 0.92 else week(rng)


def documents(seed, count):
    """`count` documents from one seed."""
    rng = random.Random(seed)
    return [document(rng) for _ in range(count)]
