"""Runs the part of a notebook that one exercise needs: its functions and what they are made of.

An endless loop, a broken cell or a call of input() elsewhere in the notebook costs it nothing.
Runs inside the box; nothing here is trusted.
"""

import __future__

import ast
import re

from lora_course.grading.box.statements import IMPORTS, binds, is_stub, only_calls, parse_cells


def run_slice(cells, wants, namespace, exercise=""):
    """Fills `namespace` with what the names in `wants` need; returns the first exception, or None.

    cells: sources of the code cells, in order. A name that is still missing afterwards was looked
    for in the whole notebook.
    """
    parsed, broken = parse_cells(cells)
    late = any(getattr(s.node, "module", "") == "__future__" for s in parsed)
    flags = __future__.annotations.compiler_flag if late else 0
    error = _run(needed(parsed, wants, exercise), namespace, flags)
    if not set(wants) <= namespace.keys():
        _run(parsed, namespace, flags)
        made = re.compile(rf"\b(def|class) +({'|'.join(wants)})\b")
        error = error or next((e for text, e in broken if made.search(text)), None)
    return error


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
            module = ast.Module([statement.node], [])
            code = compile(module, statement.file, "exec", flags, dont_inherit=True)
            exec(code, namespace)
        except BaseException as error:
            first = first or error
    return first
