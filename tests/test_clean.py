"""Cleaning and splitting, on small files whose answer is written out."""

import random

import pytest

from lora_course.kit.clean import as_row, cleaned, split, strange, words_of


def row(prompt, completion):
    return {"prompt": prompt, "completion": completion}


def talk(*said):
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def length(one):
    return len(one["prompt"].split())


def test_both_formats_become_one():
    assert as_row(row(" a b ", "c\n")) == row("a b", "c")
    assert as_row(talk(("user", "a "), ("assistant", "b"))) == row("a", "b")
    assert as_row(row("a", "b") | {"id": 3}) == row("a", "b")
    for bad in (
        {"prompt": "a"}, row("a", ""), row(None, "b"), row("a", 3), talk(("user", "a")),
        talk(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), {},
        talk(("system", "s"), ("user", "a"), ("assistant", "b")),  # what s asks would be lost
        talk(("assistant", "b"), ("user", "a")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="one question and answer"):
            as_row(bad)


def test_words_of():
    assert words_of("The  CAT, sat.") == words_of("the cat\u00a0sat") == "the cat sat"
    assert words_of("\uff43afe\u0301") == words_of("CAF\u00c9")  # wide letters, a separate accent
    assert words_of("cat's") != words_of("cats") and words_of("...") == ""
    for one, two in (
        ("3 + 4 = ?", "3 - 4 = ?"), ("6 / 2", "6 * 2"), ("C++", "C#"),
        ("\U0001f44d", "\U0001f44e"), ("\u0915\u093f", "\u0915\u0940"),
    ):  # fmt: skip
        assert words_of(one) != words_of(two) and words_of(one)


def test_strange_words():
    rows = [row("Mira took a map", "It was Mira."), row("Ivan left", "It was Ivan."),
            row("Lena sat", "It was Emil.")]  # fmt: skip
    assert strange(rows) == [set(), set(), {"emil"}]


def test_each_reason_and_their_order():
    rows = [
        row("a one", "x"), row("A  one.", "X"),  # a copy
        row("b two", "x"), row("b two", "y"),  # a contradiction
        row("c three", "x"),  # a leak
        row("d four four four four", "x"),  # too long
        row("e five", "x"),
    ]  # fmt: skip
    kept, went = cleaned(rows, [row("C three", "z")], length, 4, extractive=False)
    assert kept == [row("a one", "x"), row("e five", "x")]
    assert went == {"too long": [5], "wrong": [], "contradiction": [2, 3], "leak": [4], "copy": [1]}


def test_a_wrong_row_pushes_out_no_right_one():
    rows = [row(f"{n} w{n}", f"it was w{n}") for n in range(5)]
    for place in (0, 5):
        mixed = rows[:]
        mixed.insert(place, row("3 w3", "it was nobody"))
        kept, went = cleaned(mixed, [], length, 9)
        assert kept == rows and went["wrong"] == [place] and not went["contradiction"]


def test_the_side_of_a_row_depends_on_it_alone():
    rows = [row(f"prompt number {n}", "x") for n in range(2000)]
    train, held = split(rows, 0.15, 0)
    assert 0.12 < len(held) / len(rows) < 0.18
    assert sorted(map(str, train + held)) == sorted(map(str, rows))
    some = random.Random(0).sample(rows, 500)
    assert all(r in held for r in split(some, 0.15, 0)[1])
    assert split([row("PROMPT  number 7.", "x")], 0.15, 0)[1] == (
        [row("PROMPT  number 7.", "x")] if rows[7] in held else [])  # fmt: skip
    assert split(rows, 0.15, 1)[1] != held
    assert split(rows[:3], 0.15, 0) == split(rows[:3], 0.15, 0)
