"""The statements of a notebook: what each one defines, changes and reads."""

import ast
import builtins
import linecache
import symtable
from typing import NamedTuple

from lora_course.builder.exercises import UNDONE
from lora_course.grading.box import magics

IMPORTS = ast.Import, ast.ImportFrom


class Statement(NamedTuple):
    """One top-level statement. makes: names it sets or changes; uses: it reads; checks: which."""

    node: ast.stmt
    file: str
    makes: frozenset
    uses: frozenset
    checks: str | None  # "lora_linear" in check.lora_linear(LoRALinear)
    cell: int
    calls: frozenset  # names in it, also those of Python itself


def parse_cells(cells):
    """([Statement], [(source, error)] of the cells that are no Python)."""
    statements, broken = [], []
    for number, source in enumerate((cell for cell in cells if cell.strip()), 1):
        file = f"<cell {number}>"
        try:
            tree, text = magics.tree(source, file)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
            broken.append((source, problem))
            continue
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        for node in tree.body:
            names = frozenset(_makes(node)), frozenset(_uses(node))
            calls = frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
            statements.append(Statement(node, file, *names, _checks(node), number, calls))
    return statements, broken


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


def only_calls(statement, modules):
    """True for a line such as torch.manual_seed(0): it changes no name of the notebook."""
    return isinstance(statement.node, ast.Expr) and statement.makes <= modules


def binds(node):
    """Names that a statement defines as a whole, not only a part of them."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    return [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]


def _checks(node):
    call = getattr(node, "value", None) if isinstance(node, ast.Expr) else None
    root = getattr(getattr(getattr(call, "func", None), "value", None), "id", "")
    return call.func.attr if isinstance(call, ast.Call) and root == "check" else None


def is_stub(node):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return isinstance(node, kinds) and any(
        isinstance(n, ast.Constant) and isinstance(n.value, str) and UNDONE in n.value
        for n in ast.walk(node)
    )
