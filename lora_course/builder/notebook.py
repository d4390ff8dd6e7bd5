"""The three notebooks of a chapter, and how a notebook is stored."""

import os
from pathlib import Path

import nbformat

from lora_course.builder.exercises import annotated, answer, hint_cell, stub
from lora_course.builder.source import Cell, SourceError, identify, read

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def chapter(path: Path, root: Path) -> list[Cell]:
    """Cells of the chapter notebook."""
    cells = read(path, root)
    for cell in cells:
        if cell.exercise:
            raise SourceError(f"{cell.where}: exercises live in solutions/source, not in a chapter")
    return identify(cells)


def solution(path: Path, root: Path) -> list[Cell]:
    """Cells of the solution notebook: answers in place, without their markers."""
    cells, _ = annotated(path, root)
    for cell in cells:
        if cell.exercise:
            cell.source = answer(cell)
    title, _, rest = cells[0].source.partition("\n")
    note = f"*These are the solutions. Try [the exercises](../exercises/{path.stem}.ipynb) first.*"
    cells[0].source = f"{title}\n\n{note}\n\n{rest.strip()}".rstrip()
    return identify(cells)


def exercise(path: Path, root: Path) -> list[Cell]:
    """Cells of the exercise notebook: stubs, and after each check its hints."""
    cells, checks = annotated(path, root)
    result = []
    for cell in cells:
        result.append(cell)
        if cell.exercise:
            label = f"{int(path.name[:2])}.{list(checks).index(cell.exercise) + 1}"
            cell.source = stub(cell, label)
        elif "check" in cell.meta:
            name = cell.meta["check"].partition(".")[2]
            result.append(hint_cell(checks[name], cell.where))
    return identify(result)


def to_notebook(cells: list[Cell]) -> nbformat.NotebookNode:
    """Make a notebook without outputs."""
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    nb = nbformat.v4.new_notebook(metadata=METADATA)
    for cell in cells:
        meta = {"tags": list(cell.tags)} if cell.tags else {}
        if cell.meta:
            meta["lora_course"] = cell.meta
        nb.cells.append(make[cell.kind](cell.source, id=cell.id, metadata=meta))
    return nb


def code_cells(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def keep_outputs(
    nb: nbformat.NotebookNode, stored: nbformat.NotebookNode | None, run: bool
) -> None:
    """Carry stored outputs over: of cells with ignored output; without a run, of all cells.

    Without a run they are kept only where no code cell changed: else they could be stale.
    """
    old = {c.id: c for c in code_cells(stored)} if stored else {}
    code = code_cells(nb)
    unchanged = [c.id for c in code] == list(old)
    for count, cell in enumerate(code, 1):
        twin = old.get(cell.id)
        if run:
            keep = twin and twin.execution_count and ignored(cell)
            cell.outputs = twin.outputs if keep else cell.outputs
            cell.execution_count = count
        elif unchanged:
            cell.outputs, cell.execution_count = twin.outputs, twin.execution_count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def ignored(cell) -> bool:
    return "nbval-ignore-output" in cell.metadata.get("tags", ())


def load(path: Path) -> nbformat.NotebookNode | None:
    """Read a stored notebook; None where there is none or it cannot be read."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None


def write(nb: nbformat.NotebookNode, path: Path) -> None:
    """Replace one file, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(nbformat.writes(nb).rstrip("\n") + "\n", encoding="utf-8", newline="\n")
    os.replace(part, path)
