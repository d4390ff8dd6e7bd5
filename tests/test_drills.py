import random
from itertools import pairwise

import pytest

from lora_course.kit.town import world
from lora_course.make_base import drills


@pytest.mark.parametrize("maker", [maker for maker, _ in drills.DRILLS.values()])
def test_graded_words_stand_in_the_text_before(maker):
    """What is graded can be looked up; and it comes in the order of the text, without overlap."""
    rng = random.Random(0)
    for _ in range(200):
        text, spans = maker(rng)
        assert spans and all(one[1] < two[0] for one, two in pairwise(spans))
        for start, end in spans:
            assert start < end <= len(text)
            for word in text[start:end].split():
                assert word in drills.WORDS and word in text[:start], (text, word)


def test_rows_are_told_twice_again_and_graded_where_they_can_be_known():
    rng, widths, moved = random.Random(0), set(), False
    for _ in range(200):
        text, spans = drills.rows(rng)
        first, *again = (
            [tuple(row.split()) for row in part.strip(" .").split(", ")]
            for part in text.replace(". Once more:", ";").split(";")
        )
        width, graded = len(first[0]), [text[a:b] for a, b in spans]
        wanted = []
        for telling in again:
            assert sorted(map(sorted, telling)) == sorted(map(sorted, first))
            wanted += [w for n, row in enumerate(telling) if n or width == 2 for w in row[1:]]
            moved |= telling[0] not in first
        assert graded == wanted
        widths.add(width)
    assert widths == {2, 3, 4} and moved


def test_owners_have_what_they_are_said_to_have():
    rng, directions = random.Random(0), set()
    for _ in range(100):
        text, spans = drills.owners(rng)
        sentences = [s.strip() for s in text.split(".") if s.strip()]
        count = len(spans) // 2
        had = dict(s.split(" had the ") for s in sentences[:count])
        for sentence, (start, end) in zip(sentences[count:], spans, strict=True):
            given = " was given to " in sentence
            thing, name = (
                sentence[4:].split(" was given to ")
                if given
                else (had[sentence.split()[0]], sentence.split()[0])
            )
            assert had[name] == thing and text[start:end] == (name if given else thing)
            directions.add(given)
    assert directions == {True, False}


@pytest.mark.parametrize("form", world.FACT_FORMS)
def test_a_filled_form_reads_like_the_form_and_marks_its_four_words(form):
    (fact,) = world.draw_facts(random.Random(4), 1)
    text, spans = drills.fill_words(form, fact.words())
    assert text == form.format(**fact.words())
    assert sorted(text[a:b] for a, b in spans) == sorted(
        (fact.who, fact.thing, fact.place, fact.day)
    )


def test_exam_asks_as_often_as_it_is_told_to():
    text, spans = drills.exam(random.Random(1), questions=5)
    assert len(spans) == 5 and text.count("?") == 5
