"""The three notebooks of a chapter: chapter, solutions and exercises, as lists of cells."""

import ast
import re
from pathlib import Path

from lora_course.notebook import (
    BEGIN,
    END,
    HINTS,
    Cell,
    SourceError,
    identify,
    load_checks,
    quote,
    read,
)

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def chapter(path: Path, root: Path) -> list[Cell]:
    """Cells of the chapter notebook: the source with its quotes filled in."""
    cells = read(path, root)
    for cell in cells:
        if cell.exercise:
            raise SourceError(f"{cell.where}: exercises live in solutions/source, not in a chapter")
    return identify(filled(cells, root))


def solution(path: Path, root: Path) -> list[Cell]:
    """Cells of the solution notebook: answers in place, without their markers."""
    cells, _ = annotated(path, root)
    for cell in cells:
        if cell.exercise:
            cell.source = blocks(cell)[0]
    title, _, rest = cells[0].source.partition("\n")
    note = f"*These are the solutions. Try [the exercises](../exercises/{path.stem}.ipynb) first.*"
    cells[0].source = f"{title}\n\n{note}\n\n{rest.strip()}".rstrip()
    return identify(cells)


def exercise(path: Path, root: Path) -> list[Cell]:
    """Cells of the exercise notebook: stubs, and the hints of each exercise after its check."""
    cells, checks = annotated(path, root)
    result = []
    for cell in cells:
        result.append(cell)
        if cell.exercise:
            label = f"{int(path.name[:2])}.{list(checks).index(cell.exercise) + 1}"
            cell.source = blocks(cell, label)[1]
        elif "check" in cell.meta:
            name = cell.meta["check"].partition(".")[2]
            hints = Cell("markdown", details(checks[name].hints), cell.where, id=f"hints-{name}")
            result.append(hints)
    return identify(result)


def filled(cells: list[Cell], root: Path) -> list[Cell]:
    """Put the package's source in place of every quote cell's import."""
    for cell in cells:
        if "quote" in cell.tags:
            cell.source = quote(cell, root)
    return cells


def annotated(path: Path, root: Path) -> tuple[list[Cell], dict]:
    """Read a solution source, hold it against its checks, and label its exercises."""
    number, cells = path.name[:2], filled(read(path, root), root)
    checks = {check.name: check for check in load_checks(root, number)}
    setup = [cell for cell in cells if cell.kind == "code"][:1]
    wanted = f"from lora_course.checks import ch{number} as check"
    if [c for c in cells if "setup" in c.tags] != setup or wanted not in setup[0].source:
        raise SourceError(
            f'{cells[0].where}: the first code cell, and it alone, carries tags=["setup"] '
            f"and holds `{wanted}`"
        )
    heading, open_exercise, done = None, None, []
    for cell in cells:
        if cell.kind == "markdown" and re.match(r"## \d", cell.source):
            heading = cell
        called = check_name(cell) if cell.kind == "code" and not cell.exercise else None
        if open_exercise and called != open_exercise.exercise:
            raise SourceError(
                f"{open_exercise.where}: exercise {open_exercise.exercise} is without a check: "
                f"the next cell must call check.{open_exercise.exercise}(...)"
            )
        if called and not open_exercise:
            raise SourceError(f"{cell.where}: check.{called} is without an exercise cell above it")
        if cell.exercise:
            name, done = cell.exercise, [*done, cell.exercise]
            if list(checks)[: len(done)] != done:
                raise SourceError(
                    f"{cell.where}: exercise {len(done)} is {name}; "
                    f"EXERCISES of checks/ch{number}.py is {list(checks)}"
                )
            introduce(heading, cell, checks[name], f"{int(number)}.{len(done)}")
            cell.meta, cell.id, heading = {"exercise": f"{number}.{name}"}, f"exercise-{name}", None
        if called:
            cell.meta, cell.id = {"check": f"{number}.{called}"}, f"check-{called}"
        open_exercise = cell if cell.exercise else None
    if open_exercise or done != list(checks):
        missing = open_exercise.exercise if open_exercise else [n for n in checks if n not in done]
        raise SourceError(
            f"{path.relative_to(root).as_posix()}: "
            + (f"exercise {missing} is without a check" if open_exercise else f"lacks {missing}")
        )
    return cells, checks


def introduce(heading: Cell | None, cell: Cell, check, label: str) -> None:
    """Write the line of difficulty, minutes and points under an exercise's heading."""
    line, _, text = heading.source.partition("\n") if heading else ("", "", "")
    if line != f"## {label} {check.title}":
        raise SourceError(
            f"{cell.where}: the markdown above must start `## {label} {check.title}`, not {line!r}"
        )
    facts = f"Difficulty {check.difficulty}/5 · {check.minutes} minutes · {check.points} points"
    heading.source = f"{line}\n\n*{facts}*\n\n{text.strip()}".rstrip()


def check_name(cell: Cell) -> str | None:
    """Return `x` when the cell calls check.x(...), else None."""
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        raise SourceError(f"{cell.where}: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "check":
                return node.func.attr
    return None


def blocks(cell: Cell, label: str = "") -> tuple[str, str]:
    """Return an exercise cell twice: without the markers, and with its answers cut out."""
    whole, stub, inside, count = [], [], False, 0
    for line in cell.source.split("\n"):
        mark = line.strip()
        if BEGIN in mark or END in mark:
            if mark != (END if inside else BEGIN):
                raise SourceError(f"{cell.where}: solution markers unbalanced or nested at {mark}")
            inside, count = not inside, count + 1
            if inside:
                text = f"Exercise {label} is not done yet: replace this line with your code."
                stub.append(line[: len(line) - len(line.lstrip())])
                stub[-1] += f'raise NotImplementedError("{text}")'
            continue
        whole.append(line)
        if not inside:
            stub.append(line)
    if inside or not count:
        raise SourceError(f"{cell.where}: solution markers unbalanced: {END if inside else BEGIN}?")
    return "\n".join(whole), "\n".join(stub)


def details(hints: tuple) -> str:
    """Nest three hints so that each opens only inside the one before it."""
    text = ""
    for place, (name, hint) in reversed(list(enumerate(zip(HINTS, hints, strict=True), 1))):
        inner = f"\n\n{text}" if text else ""
        text = (
            f"<details>\n<summary>Hint {place}: {name}</summary>\n\n"
            f"{hint.strip()}{inner}\n\n</details>"
        )
    return text
