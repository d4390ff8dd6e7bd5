"""The facts of the town: each question has one answer, and it is told."""

import random

from lora_course.kit.town import world


def test_facts_share_nothing_so_that_every_question_has_one_answer():
    rng = random.Random(0)
    for _ in range(200):
        facts = world.draw_facts(rng, 4)
        for field in world.Fact._fields:
            assert len({getattr(fact, field) for fact in facts}) == 4


def test_every_answer_stands_in_the_story_and_in_its_full_answer():
    rng = random.Random(1)
    for _ in range(200):
        facts = world.draw_facts(rng, 3)
        words = rng.choice(facts).words()
        story = world.tell(rng, facts)
        for kind, forms in world.QUESTIONS.items():
            answer = words[world.ANSWER[kind]]
            assert answer in story
            for question, full in forms:
                assert answer in full.format(**words)
                assert answer not in question.format(**words).strip("?").split()
