"""The tasks about the town: words that the base has read, and a code book that changes all."""

import itertools
import random

import pytest

from lora_course.kit.town import stories, tasks
from lora_course.make_base import untrained


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
