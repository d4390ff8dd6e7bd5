"""The messy file: what was planted is there, and nothing else that is wrong."""

import json
from collections import Counter

import pytest

from lora_course.kit.clean import as_row, strange, words_of
from lora_course.kit.data import encode
from lora_course.kit.models import load_tokenizer
from lora_course.kit.town import messy


def pair(row):
    row = as_row(row)
    return words_of(row["prompt"]), words_of(row["completion"])


@pytest.mark.parametrize("seed", range(5))
def test_what_is_planted_is_there(seed):
    rows, test = messy.messy(seed)
    truth = messy.kinds(seed)
    assert len(rows) == 600 and len(test) == messy.TEST_ROWS
    assert {tuple(sorted(row)) for row in rows} == {("completion", "prompt"), ("messages",)}
    found = Counter(truth[pair(row)] for row in rows)
    counts = messy.COUNTS
    assert found["wrong"] == counts["wrong"] + counts["contradiction"]
    assert found["leak"] == counts["leak"] + counts["respelled leak"]
    assert found["long"] == counts["long"]
    pairs = Counter(pair(row) for row in rows)
    assert sum(n - 1 for n in pairs.values()) == counts["copy"] + counts["respelled"]
    letters = Counter((as_row(row)["prompt"]) for row in rows)
    assert len(letters) > len(Counter(key for key, _ in pairs))  # some copies are respelled


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_follows_from_the_rows(seed):
    rows, test = messy.messy(seed)
    truth, asked = messy.kinds(seed), {words_of(row["prompt"]) for row in test}
    tokenizer = load_tokenizer()
    plain = [as_row(row) for row in rows]
    for row, odd in zip(plain, strange(plain), strict=True):
        kind = truth[pair(row)]
        assert bool(odd) == (kind == "wrong"), (row, odd)
        assert (words_of(row["prompt"]) in asked) == (kind == "leak"), row
        length = len(encode(tokenizer, row["prompt"], row["completion"])[0])
        assert (length > 128) == (kind == "long"), (length, row)


def test_seeds_and_files(tmp_path):
    assert messy.messy(3) == messy.messy(3) != messy.messy(4)
    messy.write_messy(tmp_path, 3)
    for name, rows in zip(("rows", "test"), messy.messy(3), strict=True):
        lines = (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        assert [json.loads(line) for line in lines] == rows
    known = {key for key, _ in messy.kinds(0)}
    fresh = [words_of(row["prompt"]) for row in messy.hidden(0, 300)]
    assert len(known & set(fresh)) < 3 and messy.hidden(0) != messy.hidden(1)
