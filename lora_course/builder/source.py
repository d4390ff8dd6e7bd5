"""Read a percent script into cells, and fill quote cells with the package's own source."""

import ast
import hashlib
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
LINTERS = re.compile(r"[ \t]*# (?:noqa\b.*|fmt: (?:skip|off|on))$", re.M)
TAGS = {"quote", "setup", "nbval-ignore-output", "answers"}


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
    quoted: dict = field(default_factory=dict)  # name of each quoted object: its module


def read(path: Path, root: Path) -> list[Cell]:
    """Read a percent script into cells, quotes filled in; raise SourceError for a broken rule."""
    import jupytext

    text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    # comment_magics off: jupytext would turn a comment such as "# cat the rows" into a command
    form = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    nodes = jupytext.reads(text, fmt=form).cells
    lines = [n for n, line in enumerate(text.splitlines(), 1) if re.match(r"# ?%%", line)]
    if len(nodes) != len(lines):
        raise SourceError(
            f"{name}: {len(lines)} `# %%` markers, but {len(nodes)} cells; "
            "does text stand before the first marker, or a marker inside a string?"
        )
    cells = [to_cell(node, f"{name}, line {line}") for node, line in zip(nodes, lines, strict=True)]
    if not cells or cells[0].kind != "markdown" or not cells[0].source.startswith("# "):
        raise SourceError(f"{name}: the first cell must be markdown that starts with `# Title`")
    for cell in cells:
        if "quote" in cell.tags:
            cell.source, cell.quoted = quote(cell, root)
        cell.source = LINTERS.sub("", cell.source).strip("\n")
    return cells


def to_cell(node, where: str) -> Cell:
    """Turn a cell that jupytext read into ours; raise SourceError where it breaks a rule."""
    meta = {k: v for k, v in node.metadata.items() if k != "lines_to_next_cell"}
    cell = Cell(node.cell_type, node.source, where)
    cell.tags, cell.exercise = tuple(meta.pop("tags", ())), meta.pop("exercise", "")
    unknown = sorted(set(cell.tags) - TAGS) + sorted(meta)
    if unknown or cell.kind not in ("code", "markdown"):
        raise SourceError(
            f"{where}: {unknown or cell.kind} is not known; a marker line may hold "
            f"[markdown], exercise=... and the tags {sorted(TAGS)}"
        )
    if not cell.source.strip():
        raise SourceError(f"{where}: the cell is empty; delete it")
    if (BEGIN in cell.source or END in cell.source) and not cell.exercise:
        raise SourceError(f"{where}: solution markers outside an exercise cell")
    if cell.kind == "code":
        parse(cell)
    elif cell.exercise or set(cell.tags) - {"answers"}:
        raise SourceError(f"{where}: a markdown cell is no exercise and has no tag but answers")
    return cell


def identify(cells: list[Cell]) -> list[Cell]:
    """Give every cell without an id the hash of its text; twins get a counter."""
    seen = {}
    for cell in cells:
        if not cell.id:
            digest = hashlib.sha256(f"{cell.kind}\n{cell.source}".encode()).hexdigest()[:12]
            seen[digest] = seen.get(digest, 0) + 1
            cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return cells


def parse(cell: Cell) -> ast.Module:
    try:
        return ast.parse(cell.source)
    except SyntaxError as error:
        raise SourceError(f"{cell.where}: {error}") from None


def quote(cell: Cell, root: Path) -> tuple[str, dict]:
    """Return the source of the names that a quote cell imports, and {name: module} of them."""
    body = parse(cell).body
    found = body[0] if len(body) == 1 else None
    if not isinstance(found, ast.ImportFrom) or found.level or any(n.asname for n in found.names):
        raise SourceError(
            f"{cell.where}: a quote cell holds one `from lora_course.x import name, ...`, "
            "without `as`, and nothing else"
        )
    stem = root / found.module.replace(".", "/")
    files = [f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()]
    if not files or found.module.split(".")[0] != "lora_course":
        raise SourceError(f"{cell.where}: there is no module {found.module} in the package")
    module = files[0].read_text(encoding="utf-8")
    parts = {alias.name: definition(module, alias.name) for alias in found.names}
    missing = [name for name, part in parts.items() if not part]
    if missing:
        raise SourceError(
            f"{cell.where}: {found.module} defines no {missing[0]} at its top level; "
            "quote a name from the module that defines it"
        )
    text, constant = "", re.compile(r"(?:#.*\n)*\w+\s*[:=]")
    before = ""
    for part in parts.values():
        gap = "\n\n" if constant.match(before) and constant.match(part) else "\n\n\n"
        text, before = f"{text}{gap}{part}" if text else part, part
    return text, dict.fromkeys(parts, found.module)


def definition(module: str, name: str) -> str:
    """Cut a top-level function, class or constant out of a module's text; "" if it has none.

    Comments directly above come along. A string under a constant comes as a comment, because
    at the end of a notebook cell a string would be printed.
    """
    lines, body = module.splitlines(), ast.parse(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        first, note = node.lineno, []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = {node.name}
            first = min([first, *(d.lineno for d in node.decorator_list)])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                note = [
                    f"# {line}".rstrip() for line in inspect.cleandoc(after.value.value).split("\n")
                ]
        else:
            continue
        if name in names:
            last = node.end_lineno
            while first > 1 and lines[first - 2].startswith("#"):
                first -= 1
            return "\n".join([*note, *lines[first - 1 : last]])
    return ""
