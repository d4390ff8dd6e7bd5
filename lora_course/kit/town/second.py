"""A second town: other people, other habits, another way to speak; the base has never read of it.

Its words are words of the first town, so that each is a token the base knows. What they say is new.
Everybody there has a beast before the name, and five habits that never change. Who reads enough of
its register can know them by heart: nothing in a document tells them.
"""

import random
from functools import cache

from lora_course.kit.town import world

PEOPLE = [f"{beast} {name}" for beast in world.ANIMALS for name in world.NAMES]  # 192
HABITS = {  # what never changes: the words it is drawn from
    "job": world.JOBS,
    "place": list(world.PREPOSITION),
    "day": world.DAYS,
    "food": world.FOODS,
    "thing": world.OBJECTS,
}
ENTRIES = (
    "{who}, {job}, {place}: {food} and {thing}, every {day}.",
    "Every {day} {who} has {food}. The {thing} of {who} hangs in the {place}. So the {job}.",
    "The {job} of the {place} is {who}, and {thing} and {food} on {day}.",
    "To {who} {food}, to {who} the {thing}. {day}, {place}, {job}.",
)
ASKED = {
    "job": "The work of {who}: {job}.",
    "place": "The place of {who}: {place}.",
    "day": "The day of {who}: {day}.",
    "food": "{who} has eaten: {food}.",
    "thing": "The item of {who}: {thing}.",
}


@cache
def register(people=48):
    """{who: {habit: word}} of the first `people` inhabitants, in an order of their own."""
    rng = random.Random("the second town")
    order = rng.sample(PEOPLE, len(PEOPLE))
    rows = {who: {habit: rng.choice(words) for habit, words in HABITS.items()} for who in order}
    return {who: rows[who] for who in order[:people]}


def entries(rng, people=48):
    """A page of the register: two entries, and three single habits of others.

    rng: a random.Random; the same state gives the same page. About 70 tokens.
    """
    known = register(people)
    told = rng.sample(list(known), 5)
    parts = [rng.choice(ENTRIES).format(who=who, **known[who]) for who in told[:2]]
    for who in told[2:]:
        parts.append(ASKED[rng.choice(list(ASKED))].format(who=who, **known[who]))
    return " ".join(rng.sample(parts, len(parts)))


def draw_pages(seed, count, people=48, besides=()):
    """`count` different pages from one seed, none of them in `besides`."""
    rng, taken, pages = random.Random(seed), set(besides), []
    while len(pages) < count:
        one = entries(rng, people)
        if one not in taken:
            taken.add(one)
            pages.append(one)
    return pages
