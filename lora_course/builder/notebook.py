"""The three notebooks of a chapter, and how a notebook is stored."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lora_course.builder.digest import digest
from lora_course.builder.exercises import annotated, answer, hint_cell, stub
from lora_course.builder.names import check_names
from lora_course.builder.source import Cell, SourceError, identify, read
from lora_course.plumbing.files import write_atomically

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
UNCOUNTED = (
    "import os\n"
    'os.environ["LORA_COURSE_PROGRESS"] = "off"  # solutions do not count as your progress'
)


def chapter(path: Path, root: Path) -> list[Cell]:
    """Cells of the chapter notebook."""
    cells = read(path, root)
    for cell in cells:
        if cell.exercise:
            raise SourceError(f"{cell.where}: exercises live in solutions/source, not in a chapter")
    check_names(cells)
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
    setup = next(cell for cell in cells if "setup" in cell.tags)
    setup.source += f"\n\n{UNCOUNTED}"
    return identify(cells)


def exercise(path: Path, root: Path) -> list[Cell]:
    """Cells of the exercise notebook: stubs, and after each check its hints."""
    cells, checks = annotated(path, root)
    result = []
    for cell in cells:
        if "answers" in cell.tags:  # to the problems without code: for the solutions only
            continue
        result.append(cell)
        if cell.exercise:
            label = f"{int(path.name[:2])}.{list(checks).index(cell.exercise) + 1}"
            cell.source = stub(cell, label)
        elif "check" in cell.meta:
            name = cell.meta["check"].partition(".")[2]
            result.append(hint_cell(checks[name], cell.where))
    return identify(result)


def to_notebook(cells: list[Cell], root: Path) -> NotebookNode:
    """Make a notebook without outputs; with a digest where some outputs are not compared."""
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    nb = nbformat.v4.new_notebook(metadata=METADATA)
    for cell in cells:
        meta = {"tags": list(cell.tags)} if cell.tags else {}
        if cell.meta:
            meta["lora_course"] = cell.meta
        nb.cells.append(make[cell.kind](cell.source, id=cell.id, metadata=meta))
    if any(ignored(cell) for cell in nb.cells):
        nb.metadata["lora_course"] = {"made_by": digest(cells, root)}
    return nb


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def keep_outputs(nb: NotebookNode, stored: NotebookNode | None, run: bool) -> None:
    """Carry the stored outputs over, all of them or none, so that they come from one run.

    After a run: where the digest is the same and every compared cell says the same again; then only
    what no test compares could differ (a timing, and the figure of it), and two builds make the
    same bytes. A notebook without a digest has no such cell and takes what the run gave.
    Without a run: where no code cell changed. The digest stays that of the outputs.
    """
    new, old = code_cells(nb), code_cells(stored) if stored else []
    own = stored.metadata.get("lora_course") if stored else None
    if run:
        keep = own and own == nb.metadata.get("lora_course") and said(new) == said(old)
    else:
        keep = [cell.id for cell in new] == [cell.id for cell in old]
        nb.metadata.pop("lora_course", None)
        if keep and own:
            nb.metadata["lora_course"] = own
    for count, cell in enumerate(new, 1):
        if keep:
            cell.outputs = old[count - 1].outputs
        cell.execution_count = count if run else keep and old[count - 1].execution_count or None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def said(cells: list[NotebookNode]) -> list:
    """Return what nbval compares: texts of the cells that are not ignored, without images."""
    return [
        None
        if ignored(cell)
        else [
            (o.get("text"), {k: v for k, v in o.get("data", {}).items() if "image" not in k})
            for o in cell.outputs
        ]
        for cell in cells
    ]


def ignored(cell: NotebookNode) -> bool:
    return "nbval-ignore-output" in cell.metadata.get("tags", ())


def essence(nb: NotebookNode) -> list[tuple]:
    """Return what the source made of each cell: not the outputs, nor what an editor adds.

    JupyterLab stores a notebook that was opened and not touched with the kernel's full
    language_info, its version of Python among it: that makes no notebook stale.
    """
    known = [
        {k: c.metadata[k] for k in ("tags", "lora_course") if k in c.metadata} for c in nb.cells
    ]
    return [(c.id, c.cell_type, c.source, meta) for c, meta in zip(nb.cells, known, strict=True)]


def load(path: Path) -> NotebookNode | None:
    """Read a stored notebook; None where there is none or it cannot be read."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None


def write(nb: NotebookNode, path: Path) -> None:
    """Replace one file, whole or not at all."""
    write_atomically(path, nbformat.writes(nb).rstrip("\n") + "\n")
