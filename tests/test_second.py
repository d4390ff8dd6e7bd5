import itertools
import random

from lora_course.kit.models import load_tokenizer
from lora_course.kit.town import second, stories


def test_same_seed_same_pages_and_splits_do_not_overlap():
    town = second.draw_pages(0, 300)
    assert town == second.draw_pages(0, 300) and len(set(town)) == 300
    few = second.draw_pages(0, 300, people=5)
    again = second.draw_pages(0, 100, people=5, besides=few)  # the same seed would repeat them
    assert not set(few) & set(again) and len(set(again)) == 100
    assert all(not set("{}") & set(page) for page in town)


def test_habits_never_change_and_stand_in_every_page_as_the_register_has_them():
    known = second.register(48)
    assert known == second.register(48) and len(known) == 48
    assert set(second.register(7)) == set(list(known)[:7])
    rng = random.Random(1)
    for _ in range(300):
        page = second.entries(rng)
        told = [who for who in known if f"{who}" in page]
        assert 5 <= len(told) and all(who in second.PEOPLE for who in told)
        for who in told:
            for form in second.ASKED.values():
                start = form.format(who=who, **dict.fromkeys(known[who], "")).rstrip(". ")
                if start in page:
                    assert form.format(who=who, **known[who]) in page


def test_every_word_is_a_token_that_the_base_has_read():
    tokenizer = load_tokenizer("base")
    read = set(itertools.chain(*tokenizer(stories.documents(0, 6000))["input_ids"]))
    asked = set(itertools.chain(*tokenizer(second.draw_pages(0, 500))["input_ids"]))
    assert not asked - read, tokenizer.convert_ids_to_tokens(asked - read)
