"""What the outputs of a notebook depend on, as one short text.

nbval compares every cell but those tagged nbval-ignore-output. Of these nothing would tell that
the stored output is older than the code. So the builder stores a digest in the notebook: of its
code cells, of every package module that they import (and that these import, and so on), and of the
data files that the course ships. Comments, docstrings and empty lines change no output and do not
count. A module that is reached without an import statement is not seen: then build --fresh.

Outputs are kept or renewed for the whole notebook, never cell by cell: otherwise one cell could
print what another run measured, and the figure under it draw what this run did.
"""

import ast
import hashlib
import io
import tokenize
from pathlib import Path

from lora_course.builder.source import Cell

DATA = ("lora_course/base", "lora_course/eye", "chapters/results")


def digest(cells: list[Cell], root: Path) -> str:
    """Return the digest of everything that these cells' outputs depend on."""
    code = [bare(cell.source, is_cell=True) for cell in cells if cell.kind == "code"]
    total = hashlib.sha256("\n# %%\n".join(code).encode())
    for path in modules(code, root):
        total.update(f"\n{path.relative_to(root).as_posix()}\n".encode())
        total.update(bare(path.read_text(encoding="utf-8")).encode())
    files = [path for folder in DATA for path in (root / folder).glob("*") if path.is_file()]
    for path in sorted(path for path in files if path.suffix != ".md"):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def modules(texts: list[str], root: Path) -> list[Path]:
    """Return the files of the package that these texts import, and those that they import."""
    found, waiting = set(), list(texts)
    while waiting:
        new = imported(waiting.pop(), root) - found
        found |= new
        waiting += [path.read_text(encoding="utf-8") for path in new]
    return sorted(found)


def imported(text: str, root: Path) -> set[Path]:
    """Return the files of the package that a text imports; parents of a module run as well."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "lora_course":
            for end in range(1, len(parts) + 1):
                stem = root.joinpath(*parts[:end])
                found |= {stem.with_suffix(".py"), stem / "__init__.py"}
    return {path for path in found if path.is_file()}


def bare(text: str, is_cell: bool = False) -> str:
    """Return a text without comments, docstrings and empty lines.

    A string that begins a cell is no docstring. The lines come from the text itself, not from a
    syntax tree, so that every version of Python makes the same.
    """
    lines, tree, strings = text.split("\n"), ast.parse(text), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            strings |= set(range(node.lineno, node.end_lineno + 1))
    for node in ast.walk(tree):
        note = docstring(node) if not (is_cell and node is tree) else None
        if note and not lines[note.lineno - 1][: note.col_offset].strip():
            rows = range(note.lineno, note.end_lineno + 1)
            strings -= set(rows)
            for row in rows:
                lines[row - 1] = ""
    return "\n".join(line for n, line in enumerate(lines, 1) if line.strip() or n in strings)


def docstring(node: ast.AST) -> ast.Expr | None:
    """Return the statement that is the docstring of a module, a class or a function."""
    kinds = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    first = node.body[0] if isinstance(node, kinds) and node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first if isinstance(first.value.value, str) else None
    return None
