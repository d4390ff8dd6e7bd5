"""Build the notebooks from their sources: python -m lora_course.build NN ... [--check].

Arrows go one way: chapters/source, solutions/source and the package make the notebooks.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import nbformat

from lora_course import assemble
from lora_course.notebook import Cell, SourceError

ROOT = Path(__file__).resolve().parent.parent
MAKERS = {
    "chapters": assemble.chapter,
    "solutions": assemble.solution,
    "exercises": assemble.exercise,
}


class Target(NamedTuple):
    source: Path
    notebook: Path

    def cells(self, root: Path) -> list[Cell]:
        return MAKERS[self.notebook.parent.name](self.source, root)


def targets(root: Path, numbers: list[str]) -> list[Target]:
    """List what is to be built for these chapter numbers (none: all)."""
    found = []
    for folder, kinds in (("chapters", ["chapters"]), ("solutions", ["solutions", "exercises"])):
        for source in sorted((root / folder / "source").glob("[0-9][0-9]_*.py")):
            if not numbers or source.name[:2] in numbers:
                found += [Target(source, root / k / f"{source.stem}.ipynb") for k in kinds]
    for number in numbers:
        if not any(t.source.name[:2] == number for t in found):
            raise SourceError(f"there is no chapters/source/{number}_*.py")
    return found


def to_notebook(cells: list[Cell]) -> nbformat.NotebookNode:
    """Make a notebook without outputs."""
    nb = nbformat.v4.new_notebook(metadata=assemble.METADATA)
    for cell in cells:
        make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
        meta = {"tags": list(cell.tags)} if cell.tags else {}
        if cell.meta:
            meta["lora_course"] = cell.meta
        nb.cells.append(make[cell.kind](cell.source, id=cell.id, metadata=meta))
    return nb


def load(path: Path) -> nbformat.NotebookNode | None:
    """Read a stored notebook; None where there is none or it cannot be read."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None


def keep_outputs(nb, stored, run: bool) -> None:
    """Carry stored outputs over: of cells with ignored output; without a run, of all cells.

    Without a run they are kept only where no code cell changed: else they could be stale.
    """
    old = {c.id: c for c in stored.cells if c.cell_type == "code"} if stored else {}
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
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


def write(nb, path: Path) -> None:
    """Replace one file at once."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(nbformat.writes(nb).rstrip("\n") + "\n", encoding="utf-8", newline="\n")
    os.replace(part, path)


def build(target: Target, root: Path, run: bool) -> None:
    """Make one notebook."""
    cells = target.cells(root)
    nb = to_notebook(cells)
    if target.notebook.parent.name != "exercises":
        if run:
            from lora_course.execute import execute

            execute(nb, [cell.where for cell in cells], target.notebook.parent, root)
        keep_outputs(nb, load(target.notebook), run)
    write(nb, target.notebook)


def problem(target: Target, root: Path) -> str:
    """Say how a stored notebook differs from its source; "" where it does not."""
    stored, fresh = load(target.notebook), to_notebook(target.cells(root))
    if stored is None:
        return "is missing or cannot be read"
    plain = [[dict(c, outputs=0, execution_count=0) for c in nb.cells] for nb in (stored, fresh)]
    for place, (a, b) in enumerate(zip(*plain, strict=False), 1):
        if a != b:
            return f"is stale from cell {place} on ({b['source'][:40]!r} in the source)"
    if len(stored.cells) != len(fresh.cells) or stored.metadata != fresh.metadata:
        return "is stale: number of cells or metadata differ"
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if target.notebook.parent.name == "exercises":
        return "holds outputs" if any(c.outputs for c in code) or any(counts) else ""
    if counts != list(range(1, len(code) + 1)):
        return "is not executed from top to bottom"
    kinds = {o.get("name", o.output_type) for c in code for o in c.outputs}
    bad = sorted(kinds & {"error", "stderr"})
    return f"stores {bad} outputs" if bad else ""


def check(root: Path, numbers: list[str]) -> list[str]:
    """Return one line for every notebook that is not what its source makes."""
    found, listed = [], targets(root, numbers)
    for target in listed:
        try:
            text = problem(target, root)
        except SourceError as error:
            text = f"cannot be built: {error}"
        if text:
            mend = f"python -m lora_course.build {target.source.name[:2]}"
            found.append(f"{target.notebook.relative_to(root).as_posix()} {text}. Run: {mend}")
    if not numbers:
        known = {target.notebook for target in listed}
        stored = [p for k in MAKERS for p in sorted((root / k).glob("*.ipynb"))]
        found += [
            f"{p.relative_to(root).as_posix()} has no source; delete it"
            for p in stored
            if p not in known
        ]
    return found


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lora_course.build", description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="chapter numbers (default: all)")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if one is stale")
    parser.add_argument("--no-run", action="store_true", help="do not execute the notebooks")
    args = parser.parse_args(argv)
    numbers = [re.sub(r"^0?(?=\d)", "0", n)[-2:] for n in args.numbers]
    try:
        if args.check:
            lines = check(root, numbers)
            print("\n".join(lines) or "every notebook is what its source makes")
            return 1 if lines else 0
        listed = targets(root, numbers)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    failed = 0
    for target in listed:
        name, start = target.notebook.relative_to(root).as_posix(), time.perf_counter()
        try:
            build(target, root, run=not args.no_run)
            print(f"{name}  built in {time.perf_counter() - start:.0f} s", flush=True)
        except SourceError as error:
            failed += 1
            print(f"{name}  not built\n  {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
