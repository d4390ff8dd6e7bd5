"""Drills: short texts that need looking back, graded on the words that can be looked up.

A small model learns to look back only where it pays. In ordinary stories it pays for a few tokens
in a hundred, so the base begins with drills: lists said twice, and questions.
"""

from lora_course import town


def list_twice(rng):
    """Six to sixteen words without commas, said twice; the second time is graded."""
    words = [*town.NAMES, *town.OBJECTS, *town.PREPOSITION, *town.ANIMALS, *town.FOODS, *town.DAYS]
    listed = " ".join(rng.sample(words, rng.randint(6, 16)))
    first, second = rng.sample(town.NAMES, 2)
    text = f"{first} said: {listed}. {second} said: "
    return text + listed + ".", [(len(text), len(text) + len(listed))]


def exam(rng, forms=town.FACT_FORMS, questions=5):
    """One or two facts and questions about them; the word that each asks for is graded."""
    facts = town.draw_facts(rng, rng.choice((1, 1, 2)))
    text, spans = " ".join(rng.choice(forms).format(**fact.words()) for fact in facts), []
    for kind in rng.choices(list(town.QUESTIONS), k=questions):
        words = rng.choice(facts).words()
        question, answer = (p.format(**words) for p in rng.choice(town.QUESTIONS[kind]))
        target = words[town.ANSWER[kind]]
        start = len(text) + len(question) + 2 + answer.index(target)
        spans.append((start, start + len(target)))
        text += f" {question} {answer}"
    return text, spans


def drill(rng):
    """One drill: (text, spans of characters that are graded)."""
    return list_twice(rng) if rng.random() < 0.65 else exam(rng)
