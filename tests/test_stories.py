"""Stories: the same for the same seed, whole, and varied."""

import random

from lora_course.kit.town import stories, templates, world


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
