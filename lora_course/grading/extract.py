"""The part of a check that enters a box, cut out of its module: the probe and what it is made of.

Everything that is in a box can be read there. So the module of a check, with its judge and what
that works out, stays outside; only the statements that the probe depends on go in, as source.
"""

import ast
import inspect
import symtable
import sys
from functools import cache

from lora_course.grading.state import CannotGrade


def source_of(check):
    """(name of the function, source that defines it) of a check's probe. Raises CannotGrade."""
    probe = check.probe
    name, module = getattr(probe, "__name__", ""), sys.modules.get(probe.__module__)
    if module is None or getattr(module, name, None) is not probe:
        raise CannotGrade(
            f"The probe of the check {check.name} must be a function that is defined at the top "
            "of its module: it is cut out there, and nothing else of the module enters a box."
        )
    return name, "\n".join(cut_out(module.__name__, (name,)))


@cache
def cut_out(module, names):
    """The statements of a module that these names depend on, in order, as source."""
    statements = _statements(module)
    open_names, chosen, wanted = list(names), set(), set()
    while open_names:
        name = open_names.pop()
        wanted.add(name)
        for at, (_, made, uses) in enumerate(statements):
            if name in made and at not in chosen:
                chosen.add(at)
                open_names += uses
    lines = []
    for at in sorted(chosen):
        node = statements[at][0]
        if isinstance(node, ast.ImportFrom) and not node.level and _holds_checks(node.module):
            for alias in (a for a in node.names if (a.asname or a.name) in wanted):
                lines += cut_out(node.module, (alias.name,))
                lines += [f"{alias.asname} = {alias.name}"] if alias.asname else []
        else:
            lines.append(ast.unparse(node))
    return lines


@cache
def _statements(module):
    """[(node, names that it binds, names that it reads)] of a module's top level."""
    found = []
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        table = symtable.symtable(ast.unparse(node), "check", "exec")
        made = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
        made |= {child.get_name() for child in table.get_children() if child.get_type() != "module"}
        uses, tables = set(), [table]
        while tables:
            each = tables.pop()
            tables += each.get_children()
            uses |= {s.get_name() for s in each.get_symbols() if s.is_global() or each is table}
        found.append((node, made & uses, sorted(uses - made)))
    return found


def _holds_checks(module):
    """True for a module that has judges in it: it does not enter a box."""
    return bool(getattr(sys.modules.get(module), "EXERCISES", ()))
