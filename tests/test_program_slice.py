"""What of a notebook is run for one exercise: its statements, and the cells in other languages."""

import pytest

from lora_course.builder.exercises import UNDONE
from lora_course.grading.box import magics, program_slice

STUB = f"def f(): raise NotImplementedError('Exercise 1.1 {UNDONE}')"


def run(*cells, wants=("f",), **names):
    namespace = dict(names)
    error = program_slice.run_slice(cells, wants, namespace, "f")
    return namespace, error


@pytest.mark.parametrize(
    "cells",
    [
        ["def f(): return 7"],
        ["import os", "while True: pass", "def f(): return 7"],
        ["def f(): return 7\nwhile True: pass"],
        ["def g(): return 7", "def f(): return g()"],
        ["def f(): return g()", "x = 3\ny = 4", "def g(): return x + y"],
        ["f = lambda: 7"],
        ["class f:\n    def __new__(cls): return cls.x", "f.x = 7"],
        ["class f:\n    def __new__(cls): return cls.x", "setattr(f, 'x', 7)"],
        ["def f(): return table['a']", "table = {}", "table['a'] = 7"],
        ["def f(): return len(table)", "table = []", "for i in range(7): table.append(i)"],
        ["def f(): return 1", "def f(): return 7"],
        ["from math import *", "def f(): return floor(7.5)"],
        ["import math as m", "def f(): return m.floor(7.5)"],
        ["def deco(g): return lambda: g() + 1", "@deco\ndef f(): return 6"],
        ["n = 7", "def f(a=n): return a"],
        ["if 1 < 2:\n    def f(): return 7\nelse:\n    1 / 0"],
        ["try:\n    import no_such_thing\nexcept ImportError:\n    x = 7", "def f(): return x"],
        ["(x := 7)", "def f(): return x"],
        ["a, *b = 1, 7", "def f(): return b[0]"],
        ["global_name = 0", "def f():\n    global global_name\n    global_name = 7\n    return 7"],
        [STUB] + ["def f(): return 7"],
        ["def f(): return 7"] + [STUB],
        ["def g(): return 7", "def f(): return g()", "check.f(f)", "def g(): return 0"],
        ["def g(): return 0", "def f(): return g()", "def g(): return 7", "check.f(f)"],
        ["def f(): return g()", "check.f(f)", "def g(): return 7"],
        ["check.f(f)", "def f(): return g()", "def g(): return 7"],
        ["x = [7]", "def f(): return x[0]", "check.f(f)", "x[0] = 1", "x.clear()"],
        [f"class f:\n    x = '{UNDONE}'", "f.__new__ = lambda c: 7"],
        ["exec('def f(): return 7')"],  # only the whole notebook defines it
        ["%%time\ndef f(): return 7"],
        ["%matplotlib inline\n!ls\ndef f(): return 7"],
        ["broken(", "def f(): return 7"],
        ["\ufeffdef f():\r\n    return 7\r\n"],
    ],
)
def test_what_is_needed_runs(cells):
    namespace, _ = run(*cells)
    assert namespace["f"]() == 7


def test_what_is_not_needed_does_not_run():
    namespace, error = run("x = 1 / 0", "def f(): return 7", "y = f()", "f()")
    assert error is None and "y" not in namespace


def test_errors_of_a_missing_name():
    assert run("def g(): pass")[1] is None
    assert isinstance(run("def f(:\n    pass")[1], SyntaxError)
    assert run("x = (", "def g(): pass")[1] is None
    assert isinstance(run("f = 1 / 0")[1], ZeroDivisionError)


def test_deep_nesting_is_no_crash():
    assert "f" not in run("(" * 100_000 + "f = 1")[0]
    assert run("x = " + "-" * 50_000 + "1", "def f(): return 7")[0]["f"]() == 7


@pytest.mark.parametrize("first", ["%%bash", "%%html"])
def test_cells_in_other_languages(first):
    assert magics.tree(f"{first}\ndef f(): pass", "<cell 1>")[0].body == []


@pytest.mark.parametrize(
    ("cells", "settled"),
    [
        (["import os", "def g(): pass", "def f(): return 7", "check.f(f)"], True),
        (["'words'", "def f(): return g()", "def g(): return 7", "check.f(f)"], True),
        (["def f(): return 7", "check.f(f)", "def h(): pass", "check.h(h)"], True),
        (["def f(): return 7", "check.f(f)", "f = 3"], False),
        (["d.update(a=1)", "def f(): return 7", "check.f(f)"], False),
        (["@put\ndef g(): pass", "def f(): return 7", "check.f(f)"], False),
        (["def g(): pass", "def f(): return globals()['g']()", "check.f(f)"], False),
        (["def f(): return _", "check.f(f)"], False),
        (["def f(): return 7", "check.f(mine)"], False),
        (["%time x = 1", "def f(): return 7", "check.f(f)"], False),
        (["def f(): return 7"], True),
        (["def f(): return 7", "def broken(:"], True),
        (["def f(): return 7", "check.f(f)", "check.f(f)"], False),
    ],
)
def test_whether_the_rest_can_matter(cells, settled):
    assert program_slice.settled(cells, ("f",), "f") == settled


def test_the_whole_notebook_stops_at_the_check():
    cells = ["x = 1", "def f(): return x", "check.f(f)", "x = 2", "check.f(f)", "x = 3"]
    for way, value in (("first", 1), ("last", 2)):
        given = {}
        check = type("C", (), {"f": staticmethod(lambda f, to=given: to.update(f=(f,)))})
        space = {"check": check}
        program_slice.run_answer(cells, ("f",), space, "f", way, given)
        assert space["f"]() == value


def test_a_cell_that_raises_ends_itself_only():
    space = {}
    error = program_slice.run_answer(
        ["x = 1\n1 / 0\nx = 2", "def f(): return x"], ("f",), space, "f", "last", {}
    )
    assert isinstance(error, ZeroDivisionError) and space["f"]() == 1
