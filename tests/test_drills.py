import random

from lora_course import drills, models, pretrain


def test_spans_are_the_words_that_can_be_looked_up():
    rng = random.Random(0)
    for maker in (drills.list_twice, drills.exam):
        for _ in range(100):
            text, spans = maker(rng)
            for start, end in spans:
                assert start < end <= len(text)
                for word in text[start:end].split():
                    assert word in text[:start], (text, word)
    text, spans = drills.exam(random.Random(1), questions=5)
    assert len(spans) == 5 and all(text[a:b].isalpha() for a, b in spans)


def test_labels_are_the_tokens_of_the_graded_words(monkeypatch):
    tokenizer, made = models.load_tokenizer("base"), []

    def drill(rng):
        made.append(drills.drill(rng))
        return made[-1]

    monkeypatch.setattr(pretrain, "drill", drill)
    seen = []
    for _, labels in pretrain.make_batches(tokenizer, 5, count=8, size=8, drilled=1.0):
        seen += [tokenizer.decode(row[row >= 0]).strip() for row in labels]
    wanted = [" ".join(text[a:b] for a, b in spans) for text, spans in made]
    assert sorted(seen) == sorted(wanted) and len(seen) == 64
