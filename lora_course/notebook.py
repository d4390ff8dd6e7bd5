"""Percent scripts to notebook cells: quotes, stubs, hints, stable ids. Text in, text out."""

import ast
import hashlib
import re
import runpy
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
TAGS = {"quote", "setup", "nbval-ignore-output"}
HINTS = ("a nudge", "the idea", "nearly the answer")


class SourceError(Exception):
    """A source breaks one of the rules; the text names the file, the line and the remedy."""


@dataclass
class Cell:
    kind: str  # "markdown" or "code"
    source: str
    where: str  # file and line of the source, for messages
    tags: tuple = ()
    exercise: str = ""  # name given on the marker line of an exercise cell
    id: str = ""
    meta: dict = field(default_factory=dict)  # what goes under metadata["lora_course"]


def read(path: Path, root: Path) -> list[Cell]:
    """Read a percent script into cells; raise SourceError where a cell breaks a rule."""
    import jupytext

    text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    # comment_magics off: jupytext would turn a comment such as "# cat the rows" into a command
    form = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    nodes = jupytext.reads(text, fmt=form).cells
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.startswith("# %%")]
    if len(nodes) != len(lines):
        raise SourceError(f"{name}: text stands before the first `# %%` marker; move it below one")
    cells = []
    for node, line in zip(nodes, lines, strict=True):
        meta = {k: v for k, v in node.metadata.items() if k != "lines_to_next_cell"}
        cell = Cell(node.cell_type, node.source, f"{name}, line {line}")
        cell.tags, cell.exercise = tuple(meta.pop("tags", ())), meta.pop("exercise", "")
        unknown = sorted(set(cell.tags) - TAGS) + sorted(meta)
        if unknown:
            raise SourceError(f"{cell.where}: {unknown} is not known; tags are {sorted(TAGS)}")
        if not cell.source.strip():
            raise SourceError(f"{cell.where}: the cell is empty; delete it")
        if cell.kind == "code" and (BEGIN in cell.source or END in cell.source):
            if not cell.exercise:
                raise SourceError(f"{cell.where}: solution markers outside an exercise cell")
        cells.append(cell)
    if not cells or not cells[0].source.startswith("# "):
        raise SourceError(f"{name}: the first cell must be markdown that starts with `# Title`")
    return cells


def identify(cells: list[Cell]) -> list[Cell]:
    """Give every cell without an id the hash of its text; twins get a counter."""
    seen = {}
    for cell in cells:
        if not cell.id:
            digest = hashlib.sha256(f"{cell.kind}\n{cell.source}".encode()).hexdigest()[:12]
            seen[digest] = seen.get(digest, 0) + 1
            cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return cells


def quote(cell: Cell, root: Path) -> str:
    """Return the source of the names that a quote cell imports from the package."""
    try:
        body = ast.parse(cell.source).body
    except SyntaxError as error:
        raise SourceError(f"{cell.where}: {error}") from None
    statement = body[0] if len(body) == 1 else None
    if not isinstance(statement, ast.ImportFrom) or statement.level:
        raise SourceError(
            f"{cell.where}: a quote cell holds one `from lora_course.x import name`, nothing else"
        )
    stem = root / (statement.module or "").replace(".", "/")
    files = [f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()]
    if not files or statement.module.split(".")[0] != "lora_course":
        raise SourceError(f"{cell.where}: there is no module {statement.module} in the package")
    text = files[0].read_text(encoding="utf-8")
    parts = []
    for alias in statement.names:
        part = "" if alias.asname else definition(text, alias.name)
        if not part:
            raise SourceError(
                f"{cell.where}: {statement.module} defines no {alias.name} at its top level"
                + (f" (no `as {alias.asname}` in a quote)" if alias.asname else "")
            )
        parts.append(part)
    text = parts[0]
    for before, after in zip(parts, parts[1:], strict=False):
        plain = re.compile(r"(?:#.*\n)*\w+\s*[:=]")
        text += ("\n\n" if plain.match(before) and plain.match(after) else "\n\n\n") + after
    return text


def definition(text: str, name: str) -> str:
    """Cut a top-level function, class or constant out of a module, with comment and docstring."""
    lines, body = text.splitlines(), ast.parse(text).body
    for place, node in enumerate(body):
        first, last = node.lineno, node.end_lineno
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            found = node.name == name
            first = min([first, *(d.lineno for d in node.decorator_list)])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            found = name in names
            after = body[place + 1] if place + 1 < len(body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                last = after.end_lineno
        else:
            continue
        if found:
            while first > 1 and lines[first - 2].startswith("#"):
                first -= 1
            return "\n".join(lines[first - 1 : last])
    return ""


def load_checks(root: Path, number: str) -> tuple:
    """Return EXERCISES of lora_course/checks/chNN.py."""
    path = root / f"lora_course/checks/ch{number}.py"
    if not path.is_file():
        raise SourceError(f"{path.relative_to(root).as_posix()} is missing: it holds the checks")
    found = runpy.run_path(str(path), run_name=f"lora_course.checks.ch{number}")
    if not found.get("EXERCISES"):
        raise SourceError(f"{path.relative_to(root).as_posix()} defines no EXERCISES")
    return tuple(found["EXERCISES"])
