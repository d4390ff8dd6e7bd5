"""What the base model reads: short documents about the town, in many forms.

Names, things, places and days are drawn at random, so the only way to predict them is to look
back in the text. Half of the documents ask about themselves and answer in whole sentences.
"""

import random
import re

from lora_course.kit.town import templates, world


def fill_plot(rng, plot):
    """One story from a template of templates.PLOTS, with 0 to 2 of its questions at the end."""
    people = dict(zip("ABC", rng.sample(world.NAMES, 3), strict=True))
    slots = dict(people)
    for letter, name in people.items():
        she, her, his = ("she", "her", "her") if name in world.WOMEN else ("he", "him", "his")
        slots |= {f"{letter}she": she, f"{letter}her": her, f"{letter}his": his}
        slots[f"{letter}She"] = she.capitalize()
    places = rng.sample(list(world.PREPOSITION), 2)
    slots["at"], slots["at2"] = (f"{world.PREPOSITION[p]} {p}" for p in places)
    for key, words in {
        "o": world.OBJECTS, "n": world.NUMBERS, "d": world.DAYS, "f": world.FOODS, "l": world.LOOKS,
    }.items():  # fmt: skip
        slots[key], slots[key + "2"] = rng.sample(words, 2)
    for key, words in {
        "c": world.COLORS, "a": world.ANIMALS, "j": world.JOBS, "e": world.FEELINGS,
        "w": world.WEATHER, "k": ("soup", "stew", "porridge", "jam"),
    }.items():  # fmt: skip
        slots[key] = rng.choice(words)
    slots["t"] = rng.choice(world.TIMES).capitalize()
    slots["article_a"] = ("an " if slots["a"][0] in "aeiou" else "a ") + slots["a"]
    plot = re.sub(r"\[([^]]*)\]", lambda m: rng.choice(m[1].split("|")), plot)
    story, *asked = (part.strip() for part in plot.format(**slots).split("??"))
    story = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", story)
    asked = [re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", a) for a in asked]
    return " ".join([story, *rng.sample(asked, rng.choice((0, 1, 2, 2)))])


def report(rng):
    """Two to four facts, then questions about them with whole-sentence answers."""
    facts = world.draw_facts(rng, rng.choice((1, 1, 2, 2, 3)))
    asked = []
    for kind in rng.choices(list(world.QUESTIONS), k=rng.choice((1, 2, 2, 3))):
        form = " ".join(rng.choice(world.QUESTIONS[kind]))
        asked.append(form.format(**rng.choice(facts).words()))
    return " ".join([world.tell(rng, facts), *dict.fromkeys(asked)])


def read_back(rng, commas=0.6):
    """A list that is read and repeated: the purest form of copying.

    commas: how often, in [0, 1], the list has commas. Without them the next word follows the last
    one directly, which is easier to learn.
    """
    first, second = rng.sample(world.NAMES, 2)
    edible = world.FOODS + world.ANIMALS
    pool = rng.choice((world.OBJECTS, world.NAMES, edible, list(world.PREPOSITION)))
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
        f"On {day} {name} works {world.PREPOSITION[place]} {place}."
        for day, name, place in zip(
            rng.sample(world.DAYS, count), rng.sample(world.NAMES, count),
            rng.sample(list(world.PREPOSITION), count), strict=True,
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
        return fill_plot(rng, rng.choice(templates.PLOTS))
    return read_back(rng) if kind < 0.92 else week(rng)


def documents(seed, count):
    """`count` documents from one seed."""
    rng = random.Random(seed)
    return [document(rng) for _ in range(count)]
