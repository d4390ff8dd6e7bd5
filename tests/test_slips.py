"""The vocabulary of checks: what is promised, which slip is named, what is said."""

import numpy as np
import pytest
import torch
from torch import nn

from lora_course.checks import callers, fixtures, guard
from lora_course.checks.slips import Promise, Slip, in_parts, judged, seen_as
from lora_course.checks.values import Refused, text, words
from lora_course.checks.wording import differ

PROMISES = [Promise("a", 1.0, "a for r = 3"), Promise("b", 2.0, "b", share=0.4)]
DOUBLE = Slip("double", "Twice.", seen_as(a=2.0, b=4.0))


def said(a, b, *slips):
    outputs = {"a": np.array(a, float), "b": np.array(b, float)}
    return judged({}, outputs, PROMISES, slips)


def test_a_slip_needs_all_its_values():
    assert said(1, 2, DOUBLE).share == 1
    assert said(2, 4, DOUBLE)[:2] == (0, "double")
    assert said(2, 5, DOUBLE)[:2] == (0, "other"), "right for one case only"
    assert said(1, 4, Slip("b", "", seen_as(b=4.0)))[:2] == (0.4, "b")
    assert said(1, 4, Slip("b", "", seen_as(b=4.0), share=0.5))[:2] == (0.5, "b")
    assert said(2, 4)[2:] == ("a for r = 3 is 2", "1")


def test_a_slip_must_speak_of_the_broken_promise():
    same = Slip("same", "", seen_as(b=2.0))
    assert said(3, 2, same).mistake == "other", "its values are the right ones"
    assert said(3, 4, Slip("late", "", seen_as(b=4.0))).mistake == "other"


def test_two_slips_that_fit_are_no_hint():
    other = Slip("a_alone", "", seen_as(a=2.0))
    assert said(2, 4, DOUBLE, other).mistake == "other"
    assert said(2, 5, DOUBLE, other).mistake == "a_alone"
    assert said(2, 4, DOUBLE, Slip("b", "", lambda i: [{"a": 7.0}, {"a": 3.0}])).mistake == "double"


def test_a_missing_output_is_judged():
    assert judged({}, {"a": np.ones(())}, PROMISES, ())[:2] == (0.4, "other")


@pytest.mark.parametrize("value", [np.nan, np.zeros(0), np.ones((2, 3)), 1j, True, 1e300])
def test_odd_values_fail_a_promise_and_have_words(value):
    verdict = judged({}, {"a": np.asarray(value), "b": np.array(2.0)}, [Promise("a", 5.0)], ())
    assert verdict.share == 0 and verdict.seen != verdict.expected != ""


@pytest.mark.parametrize(
    ("seen", "right", "words"),
    [
        ([1, 2, 4], [1, 2, 3], ("y[2] is 4", "3")),
        ([[1, 2], [3, 4.5]], [[1, 2], [3, 4]], ("y[1, 1] is 4.5", "4")),
        (0.123456, 0.123499, ("y is 0.12346", "0.1235")),
        (0.12341, 0.12349, ("y is 0.1234", "0.1235")),
        (12_345_678, 12_345_679, ("y is 12,345,678", "12,345,679")),
        ([1, np.nan], [1, 2], ("y[1] is nan", "2")),
        ([1.0, 2.0], [[1.0, 2.0]], ("y: 2 numbers", "shape 1 x 2")),
        ([1j], [1.0], ("y is complex", "real numbers")),
    ],
)
def test_first_place_at_the_precision_at_which_they_differ(seen, right, words):
    found = differ(np.array(seen), np.array(right), "y", rtol=0, atol=0)
    assert found[0].split(" is ")[-1] != found[1]
    if words[0] != "y is 0.12346":
        assert found == words


def test_dtype_is_a_promise():
    promise = Promise("a", np.ones(2), "codes", dtype="uint8")
    assert promise.words(np.ones(2, np.int8)) == ("codes: int8", "uint8")
    assert promise.holds(np.ones(2, np.uint8)) and not promise.holds(np.ones(2))


def test_parts_count_when_another_one_raises():
    def broken():
        raise KeyError("no such layer")

    def open_():
        raise NotImplementedError("later")

    made = fixtures.attempt("one", lambda: {"one": np.array(1.0)})
    made |= fixtures.attempt("two", broken)
    made |= fixtures.attempt("three", open_)
    made |= fixtures.attempt("four", lambda: fixtures.expect(None, int, "four", "a number"))
    assert fixtures.unless_all_open(made, ("one", "two", "three", "four")) is made

    def part(name):
        return judged({}, made, [Promise(name, 1.0)], (), part=name)

    assert [part(n).mistake for n in ("one", "two", "three", "four")] == [
        "", "raised", "unfinished", "none"
    ]  # fmt: skip
    verdict = in_parts(*(part(name) for name in ("one", "two", "three", "four")))
    assert verdict.share == 0.25 and "KeyError: 'no such layer'" in verdict.seen
    assert in_parts(part("three"), part("two"), part("one")).mistake == "raised"
    with pytest.raises(guard.Open):
        fixtures.unless_all_open(fixtures.attempt("x", open_), ("x",))
    with pytest.raises(KeyboardInterrupt):
        fixtures.attempt("x", lambda: (_ for _ in ()).throw(KeyboardInterrupt))


def test_number_of_values_is_said_as_such():
    names = ("the new A", "the new B", "the new alpha")
    wanted = "3 values: the new A, the new B, the new alpha."
    for value, seen in (
        ((1, 2), "grow returns 2 values."),
        (None, "grow returns None."),
        (torch.zeros(()), "grow returns a Tensor."),
        ("abc", "grow returns a str."),
        ({"a": 1, "b": 2, "c": 3}, "grow returns a dict."),
        (3.0, "grow returns a float."),
        ((1, 2, None), "of what grow returns, the new alpha is None."),
    ):
        with pytest.raises(Refused) as refused:
            fixtures.several(value, names, "grow")
        assert (refused.value.seen, refused.value.expected) == (seen, wanted)
    for value in ((1, 2, 3), [1, 2, 3], torch.tensor([1, 2, 3]), np.array([1, 2, 3])):
        assert [float(v) for v in fixtures.several(value, names, "grow")] == [1, 2, 3]


CHANGE = {
    0: lambda m: m(torch.ones(1, 2)),
    1: lambda m: m.add_module("more", nn.Identity()),
    2: lambda m: m[0].weight.data.add_(1),
    3: lambda m: m[0].bias.requires_grad_(False),
    4: lambda m: m[1].eval(),
}


@pytest.mark.parametrize("number", CHANGE)
def test_changes_of_a_model_are_seen(number):
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.1))
    before = callers.Before([1, 2], model)
    CHANGE[number](model)
    assert before.change() == number
    assert number == 1 or before.change(but=number) == 0
    verdict = judged({}, {"left": np.array(number)}, [callers.unchanged("left", "it")], ())
    assert verdict.share == (number == 0) and "None" not in verdict.seen


def test_changes_of_other_objects_are_seen():
    tensor, names, table = torch.zeros(2), ["b", "a"], {"w": torch.ones(2)}
    for change in (
        lambda: tensor.add_(1),
        lambda: names.sort(),
        lambda: table["w"].mul_(2),
        lambda: table.update(w=torch.full((2,), 2.0)),
        lambda: table.pop("w"),
    ):
        before = callers.Before(tensor, names, table)
        assert before.change() == 0
        change()
        assert before.change() > 0


def test_an_error_that_is_asked_for():
    def made(call, model):
        found = callers.failing("x", lambda: call(model), ValueError, "zzz", keep=(model,))
        promises = callers.raises(found, "x", "['zzz']", "ValueError", "zzz", "the model")
        outputs = {k: np.asarray(v) for k, v in found.items()}
        return judged({}, outputs, promises, ())

    def raising(error, before=lambda m: None):
        def call(model):
            before(model)
            raise error

        return call

    model = nn.Linear(2, 2)
    assert made(raising(ValueError("no zzz here")), model).share == 1
    assert made(lambda m: None, model).seen == "for ['zzz'] nothing is raised"
    verdict = made(raising(KeyError("zzz {}")), model)
    assert (
        "KeyError: 'zzz {}'" in verdict.seen and verdict.expected == "a ValueError that names zzz"
    )
    assert "ValueError: nothing {0}" in made(raising(ValueError("nothing {0}")), model).seen
    verdict = made(raising(ValueError("zzz"), lambda m: m.requires_grad_(False)), model)
    assert verdict.seen == "the model, after the ValueError for ['zzz']: requires_grad was changed"
    with pytest.raises(NotImplementedError):
        made(raising(NotImplementedError()), model)


def test_texts_cross_as_bytes():
    assert words(text("naïve\n{}")) == "naïve\n{}"
    for forged in (np.nan, np.zeros((2, 2), np.uint8), np.array([300]), np.array(1j)):
        assert words(np.asarray(forged)) == ""
