import itertools
import random

import pytest

from lora_course.kit.town import stories, tasks, templates, world
from lora_course.make_base import untrained


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


def test_same_seed_same_documents_and_no_template_marks_left():
    first = stories.documents(7, 500)
    assert first == stories.documents(7, 500)
    assert first != stories.documents(8, 500)
    for text in first:
        assert not set("{}[]|") & set(text) and "??" not in text, text
        assert " a a" not in text and " a o" not in text, text


def test_every_plot_can_be_told():
    rng = random.Random(2)
    for plot in templates.PLOTS:
        for _ in range(20):
            assert stories.fill_plot(rng, plot).endswith((".", '"'))


def test_text_is_varied():
    words = {w.strip('.,:?"') for text in stories.documents(0, 3000) for w in text.split()}
    assert len(words) > 400
    assert len(templates.PLOTS) + len(world.FACT_FORMS) + 12 > 40  # and 12 forms of questions


@pytest.mark.slow
def test_tasks_use_only_tokens_that_the_base_has_read():
    """A token that the base never saw has an untrained embedding, and fine-tuning stalls on it."""
    tokenizer = untrained.make_tokenizer()
    read = set(itertools.chain(*tokenizer(stories.documents(0, 6000))["input_ids"]))
    rng = random.Random(3)
    for maker in tasks.MAKERS.values():
        texts = [text for _ in range(300) for text in maker(rng)]
        asked = set(itertools.chain(*tokenizer(texts)["input_ids"]))
        assert not asked - read, tokenizer.convert_ids_to_tokens(asked - read)


def test_code_book_is_a_permutation_without_fixed_words():
    code = tasks.code_book()
    assert len(code) == 64 and set(code) == set(code.values())
    assert all(word != other for word, other in code.items())
