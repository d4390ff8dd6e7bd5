"""Runs what one exercise needs of a notebook: its functions and what they are made of.

An endless loop, a broken cell or a call of input() elsewhere in the notebook costs it nothing.
Where that part is not enough, whole_notebook.py runs everything. Runs inside the box; nothing here
is trusted.
"""

import __future__

import ast
import functools
import re

from lora_course.grading.box import whole_notebook
from lora_course.grading.box.statements import (
    IMPORTS,
    binds,
    is_stub,
    only_calls,
    parse_cells,
)

REACHES = {"globals", "locals", "vars", "eval", "exec", "compile", "get_ipython", "__main__", "sys"}


def run_answer(cells, wants, namespace, exercise="", way="slice", given=None):
    """Fills `namespace` with the names in `wants`; returns the first exception, or None.

    way: "slice", or "last" or "first" for the whole notebook up to that check of the exercise.
    given: where `check.NAME(...)` of this process keeps the objects it was called with.
    """
    whole_notebook.as_in_jupyter(namespace)
    if way == "slice":
        return run_slice(cells, wants, namespace, exercise)
    error = whole_notebook.run_in_order(cells, namespace, exercise, way)
    objects = (given or {}).get(exercise, ())
    if len(objects) == len(wants):  # what the notebook itself has checked
        namespace.update(zip(wants, objects, strict=True))
    return error


def run_slice(cells, wants, namespace, exercise=""):
    """Fills `namespace` with what the names in `wants` need; returns the first exception, or None.

    cells: sources of the code cells, in order. A name that is still missing afterwards was looked
    for in the whole notebook.
    """
    parsed, broken = _parsed(tuple(cells))
    late = any(getattr(s.node, "module", "") == "__future__" for s in parsed)
    flags = __future__.annotations.compiler_flag if late else 0
    error = _run(needed(parsed, wants, exercise), namespace, flags)
    if not set(wants) <= namespace.keys():
        _run(parsed, namespace, flags)
        made = re.compile(rf"\b(def|class) +({'|'.join(wants)})\b")
        error = error or next((e for text, e in broken if made.search(text)), None)
    return error


def other_ways(cells, wants, exercise=""):
    """The ways of `run_answer` that could give another answer than the slice: a tuple."""
    parsed, _ = _parsed(tuple(cells))
    if settled(cells, wants, exercise):
        return ()
    asked = sum(whole_notebook.asks(s.node, exercise) for s in parsed)
    return ("last", "first") if asked > 1 else ("last",)


def settled(cells, wants, exercise=""):
    """True when the statements that were left out can change nothing: no need to run them too."""
    if any(re.search(r"(?m)^\s*[%!]", cell) for cell in cells):
        return False
    parsed, _ = _parsed(tuple(cells))
    chosen = needed(parsed, wants, exercise)
    if sum(bool(set(binds(s.node)) & set(wants)) for s in chosen) > len(wants):
        return False
    if any({*s.uses, *s.makes, *s.calls} & REACHES for s in chosen):
        return False
    if any(re.fullmatch(r"In|Out|_+|_\d+", name) for s in chosen for name in s.uses):
        return False
    kept, names = set(map(id, chosen)), set().union(*[s.uses | s.makes for s in chosen])
    for s in parsed:
        plain = isinstance(s.node, (ast.FunctionDef, ast.ClassDef)) and not s.node.decorator_list
        plain = plain and not s.makes & names
        words = isinstance(s.node, ast.Expr) and isinstance(s.node.value, ast.Constant)
        asked = s.checks and all(isinstance(a, ast.Name) for a in s.node.value.args)
        if s.checks == exercise and [a.id for a in s.node.value.args if asked] != list(wants):
            return False
        if id(s) not in kept and not (plain or words or asked or isinstance(s.node, IMPORTS)):
            return False
    checked = [at for at, s in enumerate(parsed) if s.checks == exercise]
    last = max((at for at, s in enumerate(parsed) if id(s) in kept), default=0)
    return not checked or len(checked) == 1 and last < checked[0]


@functools.lru_cache(maxsize=1)
def _parsed(cells):
    return parse_cells(cells)


def needed(statements, wants, exercise=""):
    """The statements that the names in `wants` depend on, in order.

    A name that is defined again after the exercise has been checked keeps its first meaning.
    """
    wanted, everything = set(wants), list(enumerate(statements))
    stubs = {i for i, s in everything if s.makes & wanted and is_stub(s.node)}
    done = {name for i, s in everything if i not in stubs for name in binds(s.node)}
    dropped = {i for i in stubs if statements[i].makes <= done}
    modules = {name for _, s in everything if isinstance(s.node, IMPORTS) for name in s.makes}
    names, chosen, more = set(wanted), set(), {-1}
    while more:
        more = set()
        for i, s in everything:
            if (s.makes & names or "*" in s.makes) and not only_calls(s, modules):
                more |= {i} - chosen - dropped
        chosen |= more
        names = names.union(*[statements[i].uses | statements[i].makes for i in more])
    ends = [i for i, s in everything if (i in chosen and s.makes & wanted) or s.checks == exercise]
    end = max(ends, default=0)
    before = {name for i in chosen if i <= end for name in statements[i].makes}
    return [s for i, s in everything if i in chosen and (i <= end or not s.makes & names <= before)]


def _run(statements, namespace, flags):
    first = None
    for statement in statements:
        try:
            whole_notebook.execute(statement.node, statement.file, namespace, flags)
        except BaseException as error:
            first = first or error
    return first
