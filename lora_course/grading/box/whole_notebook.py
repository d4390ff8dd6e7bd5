"""Runs a notebook from its first cell up to the check of an exercise, as Jupyter would.

For answers that depend on what no analysis of names can see. Runs inside the box; nothing here is
trusted.
"""

import __future__

import ast
import asyncio
import functools
import inspect

from lora_course.grading.box.statements import parse_cells


class Shell:
    """What get_ipython() gives: every magic is done, and nothing is."""

    def __getattr__(self, name):
        return lambda *arguments, **options: []


def as_in_jupyter(namespace):
    """The names that every notebook has. namespace: changed."""
    shell = Shell()
    silent = {"display": lambda *objects, **options: None, "get_ipython": lambda: shell}
    names = {"In": [""], "Out": {}, "_": "", "__": "", "___": "", "input": lambda prompt="": ""}
    for name, value in {**silent, **names}.items():
        namespace.setdefault(name, value)


def run_in_order(cells, namespace, exercise, way="last"):
    """Runs the cells up to the last (or first) check of the exercise, or all of them.

    A statement that raises ends its cell, and no other. Returns the first exception, or None.
    """
    parsed, broken = parse_cells(cells)
    late = any(getattr(s.node, "module", "") == "__future__" for s in parsed)
    flags = __future__.annotations.compiler_flag if late else 0
    checks = [at for at, s in enumerate(parsed) if asks(s.node, exercise)]
    end = (checks[0] if way == "first" else checks[-1]) if checks else len(parsed)
    first, ended = None, set()
    for at, s in enumerate(parsed[: end + 1]):
        if s.cell in ended:
            continue
        try:
            last = at + 1 == len(parsed) or parsed[at + 1].cell != s.cell
            if last and isinstance(s.node, ast.Expr):
                _show(execute(ast.Expression(s.node.value), s.file, namespace, flags), s, namespace)
            else:
                execute(s.node, s.file, namespace, flags)
        except BaseException as error:
            first = first or error
            ended.add(s.cell)
    return first or next((error for _, error in broken), None)


def execute(node, file, namespace, flags=0):
    """Runs one statement, or gives the value of an expression; `await` may stand outside."""
    if isinstance(node, ast.Expression):
        tree, kind = node, "eval"
    else:
        tree, kind = ast.Module([node], []), "exec"
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(tree, file, kind, flags, dont_inherit=True)
    made = eval(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        return loop().run_until_complete(made)
    return made


def asks(node, exercise):
    """True where `check.EXERCISE(...)` is called in this statement, under whatever name."""
    return any(
        isinstance(n, ast.Call) and getattr(n.func, "attr", "") == exercise for n in ast.walk(node)
    )


def _show(value, statement, namespace):
    if value is not None:
        namespace["___"], namespace["__"] = namespace.get("__"), namespace.get("_")
        namespace["_"] = namespace[f"_{statement.cell}"] = value
        if isinstance(namespace.get("Out"), dict):
            namespace["Out"][statement.cell] = value


class _Loop(asyncio.SelectorEventLoop):
    """A loop without the pair of sockets that others would wake it by."""

    def _make_self_pipe(self):
        self._internal_fds += 1

    def _close_self_pipe(self):
        self._internal_fds -= 1

    def _write_to_self(self):
        pass


@functools.cache
def loop():
    """The one event loop, for `await` outside of functions."""
    made = _Loop()
    asyncio.set_event_loop(made)
    return made
