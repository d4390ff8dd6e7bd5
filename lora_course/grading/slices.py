"""Runs the part of a notebook that one exercise needs: its functions and what they are made of.

An endless loop, a broken cell or a call of input() elsewhere in the notebook costs it nothing.
Runs inside the box; nothing here is trusted.
"""

import __future__

import ast
import builtins
import linecache
import re
import symtable
from typing import NamedTuple

from lora_course.grading import magics

UNDONE = "is not done yet: replace this line"
IMPORTS = ast.Import, ast.ImportFrom


class Statement(NamedTuple):
    """One top-level statement of a code cell. makes: names it sets or changes; uses: it reads."""

    node: ast.stmt
    file: str
    makes: frozenset
    uses: frozenset


def execute(cells, wants, namespace):
    """Fills `namespace` with what the names in `wants` need; returns the first exception, or None.

    cells: sources of the code cells, in order. A name that is still missing afterwards was looked
    for in the whole notebook.
    """
    parsed, broken = parse(cells)
    late = any(getattr(s.node, "module", "") == "__future__" for s in parsed)
    flags = __future__.annotations.compiler_flag if late else 0
    error = _run(needed(parsed, wants), namespace, flags)
    if not set(wants) <= namespace.keys():
        _run(parsed, namespace, flags)
        made = re.compile(rf"\b(def|class) +({'|'.join(wants)})\b")
        error = error or next((e for text, e in broken if made.search(text)), None)
    return error


def parse(cells):
    """([Statement], [(source, error)] of the cells that are no Python)."""
    statements, broken = [], []
    for number, source in enumerate(cells, 1):
        file = f"<cell {number}>"
        try:
            tree, text = magics.tree(source, file)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
            broken.append((source, problem))
            continue
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        for node in tree.body:
            statements.append(
                Statement(node, file, frozenset(_makes(node)), frozenset(_uses(node)))
            )
    return statements, broken


def needed(statements, wants):
    """The statements that the names in `wants` depend on, in order."""
    stubs = {i for i, s in enumerate(statements) if s.makes & set(wants) and _is_stub(s.node)}
    done = set().union(*[s.makes for i, s in enumerate(statements) if i not in stubs], ())
    dropped = {i for i in stubs if statements[i].makes <= done}
    modules = set().union(*[s.makes for s in statements if isinstance(s.node, IMPORTS)], ())
    names, chosen = set(wants), set()
    while True:
        more = set()
        for i, s in enumerate(statements):
            if (s.makes & names or "*" in s.makes) and not _only_calls(s, modules):
                more |= {i} - chosen - dropped
        if not more:
            return [s for i, s in enumerate(statements) if i in chosen]
        chosen |= more
        names = names.union(*[statements[i].uses | statements[i].makes for i in more])


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


def _makes(node):
    """Names that a statement sets or changes, without those inside of functions."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, IMPORTS):
        yield from ((a.asname or a.name.partition(".")[0]) for a in node.names)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        if isinstance(call.func, ast.Attribute):
            yield from _root(call.func)
        elif getattr(call.func, "id", "") in ("setattr", "delattr") and call.args:
            yield from _root(call.args[0])
    if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        yield from _root(node)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from _makes(child)


def _root(node):
    """The name at the left of a.b[c]."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _uses(node):
    """Names that a statement takes from outside of itself, also those inside of its functions."""
    try:
        tables = [symtable.symtable(ast.unparse(node), "cell", "exec")]
    except (SyntaxError, ValueError, RecursionError):
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    found, top = set(), tables[0]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() or (table is top and symbol.is_referenced()):
                found.add(symbol.get_name())
    return found - set(dir(builtins))


def _only_calls(statement, modules):
    """True for a line such as torch.manual_seed(0): it changes no name of the notebook."""
    return isinstance(statement.node, ast.Expr) and statement.makes <= modules


def _is_stub(node):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return isinstance(node, kinds) and any(
        isinstance(n, ast.Constant) and isinstance(n.value, str) and UNDONE in n.value
        for n in ast.walk(node)
    )
