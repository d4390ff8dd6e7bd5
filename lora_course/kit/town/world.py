"""The invented town: its people, places and things, and the small facts that happen there.

Everything that the base model reads, and every task that it is fine-tuned on, is told with these
words. A fact is who did what to which thing, where and on which day.
"""

from typing import NamedTuple

WOMEN = "Mira Edda Lena Ruth Clara Nora Iris Greta".split()
MEN = "Tobin Jonas Oskar Felix Bruno Emil Hugo Ivan".split()
NAMES = WOMEN + MEN
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
PLACES = {
    "at the": "mill market harbor school bakery well".split(),
    "in the": "barn garden forest tower".split(),
    "on the": "bridge hill".split(),
}
PREPOSITION = {place: words for words, places in PLACES.items() for place in places}
OBJECTS = (
    "lantern kettle rope basket hammer ladder bucket blanket candle drum flute map key clock "
    "mirror spoon hat coat ring letter"
).split()
COLORS = "red blue green yellow black white brown silver".split()
LOOKS = "old new small big heavy broken pretty round long plain tiny strange".split()
FOODS = "bread soup cheese honey cake stew apples fish pears plums nuts jam porridge pie".split()
ANIMALS = "cat dog goat hen horse donkey mouse owl fox duck rabbit crow".split()
JOBS = (
    "baker smith miller teacher doctor judge sailor farmer tailor clerk gardener painter mayor "
    "hunter"
).split()
NUMBERS = "two three four five six seven eight nine ten".split()
FEELINGS = "glad sad tired proud angry calm hungry afraid surprised happy".split()
TIMES = (
    "in the morning,at noon,in the afternoon,in the evening,at dawn,at night,before lunch,"
    "after supper"
).split(",")
WEATHER = (
    "It was raining.,The sun was shining.,Snow lay everywhere.,The wind was cold.,"
    "Fog hung over the town.,It was a warm day.,Thunder rolled far away.,The sky was clear."
).split(",")
REMARKS = (
    "Nobody had noticed.,The bells rang twice.,Everyone was in a hurry.,The street was quiet.,"
    "The children laughed.,It took a long time.,People talked about it for days.,"
    "A dog barked.,That was no surprise.,The clerk wrote it down."
).split(",")
VERBS = {  # infinitive: (past, participle)
    "find": ("found", "found"),
    "leave": ("left", "left"),
    "lose": ("lost", "lost"),
    "hide": ("hid", "hidden"),
    "mend": ("mended", "mended"),
    "buy": ("bought", "bought"),
    "sell": ("sold", "sold"),
    "wash": ("washed", "washed"),
    "paint": ("painted", "painted"),
    "drop": ("dropped", "dropped"),
    "break": ("broke", "broken"),
    "see": ("saw", "seen"),
    "clean": ("cleaned", "cleaned"),
    "borrow": ("borrowed", "borrowed"),
}
FACT_FORMS = (
    "{who} {past} the {thing} {at} on {day}.",
    "On {day}, {who} {past} the {thing} {at}.",
    "On {day} the {thing} was {part} {at} by {who}.",
    "It was {day} when {who} {past} the {thing} {at}.",
    "{who} was {at} on {day}. There {she} {past} the {thing}.",
    "{who} went out on {day} and {past} the {thing} {at}.",
    "The {thing} was {part} {at} on {day}. It was {who} who did it.",
)
QUESTIONS = {  # kind: question, full answer in prose
    "who": (
        ("Who {past} the {thing}?", "It was {who} who {past} the {thing}."),
        ("Who was {at}?", "{who} was {at}."),
        ("Who went out on {day}?", "On {day}, {who} went out."),
    ),
    "what": (
        ("What did {who} {verb}?", "{who} {past} the {thing}."),
        ("What was {part} {at}?", "It was the {thing} that was {part} {at}."),
        ("What was {part} on {day}?", "On {day} the {thing} was {part}."),
    ),
    "where": (
        ("Where did {who} {verb} the {thing}?", "{who} {past} it {at}."),
        ("Where was {who} on {day}?", "On {day}, {who} was {at}."),
        ("Where was the {thing} {part}?", "The {thing} was {part} {at}."),
    ),
    "when": (
        ("When did {who} {verb} the {thing}?", "{who} {past} it on {day}."),
        ("When was {who} {at}?", "{who} was {at} on {day}."),
        ("When was the {thing} {part}?", "The {thing} was {part} on {day}."),
    ),
}
ANSWER = {"who": "who", "what": "thing", "where": "place", "when": "day"}


class Fact(NamedTuple):
    """Who did what (an infinitive of VERBS) to which thing, where, on which day."""

    who: str
    verb: str
    thing: str
    place: str
    day: str

    def words(self):
        """The words that FACT_FORMS and QUESTIONS are filled with."""
        past, part = VERBS[self.verb]
        she = "she" if self.who in WOMEN else "he"
        at = f"{PREPOSITION[self.place]} {self.place}"
        return self._asdict() | {"past": past, "part": part, "she": she, "at": at}


def draw_facts(rng, count):
    """`count` facts that share no person, verb, thing, place or day: each question has one answer.

    rng: a random.Random.
    """
    pools = (NAMES, list(VERBS), OBJECTS, list(PREPOSITION), DAYS)
    return [Fact(*row) for row in zip(*(rng.sample(p, count) for p in pools), strict=True)]


def tell(rng, facts, fill=0.35):
    """The facts as prose, in their order; each is followed by a remark with probability `fill`."""
    parts = []
    for fact in facts:
        parts.append(rng.choice(FACT_FORMS).format(**fact.words()))
        if rng.random() < fill:
            parts.append(rng.choice(REMARKS if rng.random() < 0.7 else WEATHER))
    return " ".join(parts)
