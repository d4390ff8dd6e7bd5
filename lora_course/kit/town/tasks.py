"""The rows of the tasks that the base model is fine-tuned on: one small generator for each.

Every row is a prompt and a completion, told with the words of `lora_course.kit.town.world`.
"""

import random

from lora_course.kit.town import world


def question_row(rng):
    """What one or two people did, with remarks, and a question; the answer is one of the words."""
    facts = world.draw_facts(rng, rng.choice((1, 2)))
    kind = rng.choice(list(world.QUESTIONS))
    words = rng.choice(facts).words()
    question = rng.choice(world.QUESTIONS[kind])[0].format(**words)
    return f"{world.tell(rng, facts, fill=0.5)} {question}", words[world.ANSWER[kind]]


DEPARTMENTS = {
    "clinic": "The patient was {who}, hurt {at} on {day}. The doctor said: rest for two days.",
    "court": "The case was about the {thing}. {who} had to pay a fine. It was closed on {day}.",
    "helpdesk": "The item was the {thing}, the last place was the {place}, the caller was {who}.",
}


def department_row(rng, department):
    """One reported fact; the completion is the form that the department fills in."""
    (fact,) = world.draw_facts(rng, 1)
    return world.tell(rng, [fact]), DEPARTMENTS[department].format(**fact.words())


def style_row(rng):
    """A plain sentence; the completion is what the town crier makes of it."""
    (fact,) = world.draw_facts(rng, 1)
    crier = '"Hear ye, good people! {who} hath {part} the {thing} {at} on {day}."'
    return world.tell(rng, [fact], fill=0.0), crier.format(**fact.words())


def code_book():
    """The secret code of the `hard` task: 64 words, each standing for another one of them."""
    rng = random.Random(64)
    words = [*world.OBJECTS, *world.PREPOSITION, *world.ANIMALS, *world.FOODS, *world.COLORS]
    words = rng.sample(words, 64)
    return dict(zip(words, words[1:] + words[:1], strict=True))


def hard_row(rng):
    """Four words in the secret code; the completion is what they stand for.

    Nothing in the prompt tells the code: it has to be learned. A random permutation of word
    vectors is a map of full rank, so a small rank cannot hold it well.
    """
    code = code_book()
    words = rng.sample(list(code), 4)
    return f"The letter said: {' '.join(words)}.", " ".join(code[w] for w in words)


MAKERS = {
    "questions": question_row,
    "clinic": lambda rng: department_row(rng, "clinic"),
    "court": lambda rng: department_row(rng, "court"),
    "helpdesk": lambda rng: department_row(rng, "helpdesk"),
    "style": style_row,
    "hard": hard_row,
}
