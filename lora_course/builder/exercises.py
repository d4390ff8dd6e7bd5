"""What a solution source holds about its exercises: headings, stubs, checks and hints."""

import ast
import re
import runpy
import traceback
from pathlib import Path

from lora_course.builder.source import BEGIN, END, Cell, SourceError, parse, read

UNDONE = "is not done yet: replace this line with your code."  # in the error of every stub
HINTS = ("a nudge", "the idea", "nearly the answer")


def annotated(path: Path, root: Path) -> tuple[list[Cell], dict]:
    """Read a solution source, hold it against its checks, and label its exercises.

    Returns the cells (answers and markers still in) and the checks by name.
    """
    number, cells = path.name[:2], read(path, root)
    checks = {check.name: check for check in load_checks(root, number)}
    setup = next((cell for cell in cells if cell.kind == "code"), cells[0])
    wanted = f"from lora_course.checks import ch{number} as check"
    if [c for c in cells if "setup" in c.tags] != [setup] or wanted not in setup.source:
        raise SourceError(
            f'{setup.where}: the first code cell, and it alone, must carry tags=["setup"] '
            f"and hold `{wanted}`"
        )
    heading, waiting, done = None, None, []
    for cell in [*cells, Cell("markdown", "", "the end of the source")]:
        if cell.kind == "markdown" and re.match(r"## (\d|Exercise$)", cell.source, re.M):
            heading = cell
        called = check_name(cell) if cell.kind == "code" and not cell.exercise else ""
        if waiting and called != waiting.exercise:
            raise SourceError(
                f"{waiting.where}: exercise {waiting.exercise} is without a check; "
                f"the next cell must call check.{waiting.exercise}(...)"
            )
        if called and not waiting:
            raise SourceError(f"{cell.where}: check.{called} is without an exercise cell above it")
        waiting = cell if cell.exercise else None
        if cell.exercise:
            done.append(cell.exercise)
            if list(checks)[: len(done)] != done:
                raise SourceError(
                    f"{cell.where}: exercise {len(done)} is {cell.exercise}, "
                    f"but EXERCISES of checks/ch{number}.py are {list(checks)}"
                )
            introduce(heading, cell, checks[cell.exercise], f"{int(number)}.{len(done)}")
            cell.meta = {"exercise": f"{number}.{cell.exercise}"}
            cell.id, heading = f"exercise-{cell.exercise}", None
        elif called:
            cell.meta, cell.id = {"check": f"{number}.{called}"}, f"check-{called}"
    if len(done) < len(checks):
        name = path.relative_to(root).as_posix()
        raise SourceError(f"{name}: there is no exercise {list(checks)[len(done)]}")
    return cells, checks


def load_checks(root: Path, number: str) -> tuple:
    """Return EXERCISES of lora_course/checks/chNN.py."""
    path = root / f"lora_course/checks/ch{number}.py"
    name = path.relative_to(root).as_posix()
    if not path.is_file():
        raise SourceError(f"{name} is missing; it must hold the checks of chapter {number}")
    try:
        found = runpy.run_path(str(path), run_name=f"lora_course.checks.ch{number}")
    except Exception:
        raise SourceError(f"{name} cannot be imported\n{traceback.format_exc(limit=-2)}") from None
    if not found.get("EXERCISES"):
        raise SourceError(f"{name} defines no EXERCISES")
    return tuple(found["EXERCISES"])


def introduce(heading: Cell | None, cell: Cell, check, label: str) -> None:
    """Complete an exercise's heading, and write difficulty, minutes and points under it.

    In the source it is `## Exercise`: number and title stand in the check alone.
    """
    line, _, text = heading.source.partition("\n") if heading else ("", "", "")
    wanted = f"## {label} {check.title}"
    line = wanted if line.strip() == "## Exercise" else line
    if line.strip() != wanted:
        raise SourceError(
            f"{cell.where}: a markdown cell above must start with `{wanted}`"
            + (f"; it starts with `{line}`" if line else "")
        )
    facts = f"Difficulty {check.difficulty}/5 · {check.minutes} minutes · {check.points} points"
    heading.source = f"{line}\n\n*{facts}*\n\n{text.strip()}".rstrip()


def check_name(cell: Cell) -> str:
    """Return `x` when the cell calls check.x(...), else ""."""
    for node in ast.walk(parse(cell)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "check":
                return node.func.attr
    return ""


def answer(cell: Cell) -> str:
    """Return an exercise cell with its answer in place and the markers gone."""
    return "\n".join(line for line, marker, _ in marked(cell) if not marker)


def stub(cell: Cell, label: str) -> str:
    """Return an exercise cell with every marked block replaced by one line that raises."""
    text = f"Exercise {label} {UNDONE}"
    lines = []
    for line, marker, inside in marked(cell):
        if marker and not inside:
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f'{indent}raise NotImplementedError("{text}")')
        elif not marker and not inside:
            lines.append(line)
    return "\n".join(lines)


def marked(cell: Cell) -> list[tuple[str, bool, bool]]:
    """Return each line with: is it a marker, and was a block open before it."""
    found, inside = [], False
    for line in cell.source.split("\n"):
        marker = BEGIN in line or END in line
        if marker and line.strip() != (END if inside else BEGIN):
            raise SourceError(
                f"{cell.where}: unbalanced or nested solution markers: `{line.strip()}` "
                f"where `{END if inside else BEGIN}` belongs, alone on its line"
            )
        found.append((line, marker, inside))
        inside = inside != marker
    if inside or not any(marker for _, marker, _ in found):
        raise SourceError(
            f"{cell.where}: exercise {cell.exercise} lacks `{END if inside else BEGIN}`"
        )
    return found


def hint_cell(check, where: str) -> Cell:
    """Nest the three hints so that each opens only inside the one before it."""
    text = ""
    for place, (name, hint) in reversed(list(enumerate(zip(HINTS, check.hints, strict=True), 1))):
        parts = ["<details>", f"<summary>Hint {place}: {name}</summary>", "", hint.strip(), ""]
        parts += [text, ""] if text else []
        text = "\n".join([*parts, "</details>"])
    return Cell("markdown", text, where, id=f"hints-{check.name}")
