"""Build the notebooks from their sources: python -m lora_course.builder NN ... [--check].

Arrows go one way: chapters/source, solutions/source and the package make the notebooks.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lora_course.builder import notebook
from lora_course.builder.fold import fold
from lora_course.builder.notebook import (
    code_cells,
    essence,
    keep_outputs,
    load,
    to_notebook,
    write,
)
from lora_course.builder.source import Cell, SourceError

ROOT = Path(__file__).resolve().parents[2]
MAKERS = {
    "chapters": notebook.chapter,
    "solutions": notebook.solution,
    "exercises": notebook.exercise,
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
        for source in sorted((root / folder / "source").glob("*_*.py")):
            if not numbers or source.name.partition("_")[0] in numbers:
                found += [Target(source, root / k / f"{source.stem}.ipynb") for k in kinds]
    for number in numbers:
        if not any(t.source.name.startswith(f"{number}_") for t in found):
            raise SourceError(f"there is no chapters/source/{number}_*.py")
    return found


def build(target: Target, root: Path, run: bool, fresh: bool) -> str:
    """Make one notebook; return a word about its slowest cell, if it was run.

    fresh: no stored output is kept.
    """
    cells, slowest = target.cells(root), ""
    nb = to_notebook(cells, root)
    if target.notebook.parent.name != "exercises":
        if run:
            from lora_course.builder.execute import execute

            slowest = execute(nb, [cell.where for cell in cells], target.notebook.parent, root)
        keep_outputs(nb, None if fresh else load(target.notebook), run)
        fold(nb)
    write(nb, target.notebook)
    return slowest


def problem(target: Target, root: Path) -> str:
    """Say how a stored notebook differs from its source; "" where it does not."""
    stored, fresh = load(target.notebook), to_notebook(target.cells(root), root)
    if stored is None:
        return "is missing or cannot be read"
    old, new = essence(stored), essence(fresh)
    for place, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a != b:
            return f"is stale from cell {place} on ({b[2][:40]!r} in the source)"
    if len(old) != len(new):
        return "is stale: the number of cells differs"
    code = code_cells(stored)
    counts = [cell.execution_count for cell in code]
    if target.notebook.parent.name == "exercises":
        return "holds outputs" if any(c.outputs for c in code) or any(counts) else ""
    if counts != list(range(1, len(code) + 1)):
        return "is not executed from top to bottom"
    if stored.metadata.get("lora_course") != fresh.metadata.get("lora_course"):
        return "is stale: the package code or data behind its outputs has changed"
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
            mend = f"python -m lora_course.builder {target.source.name.partition('_')[0]}"
            found.append(f"{target.notebook.relative_to(root).as_posix()} {text}. Run: {mend}")
    if numbers:
        return found
    stems = [{t.notebook.stem for t in listed if t.notebook.parent.name == k} for k in MAKERS]
    found += [
        f"{stem}.py lies in only one of chapters/source and solutions/source"
        for stem in sorted(stems[0] ^ stems[1])
        if stem[:2].isdigit()
    ]
    for kind, known in zip(MAKERS, stems, strict=True):
        stored = sorted(path.stem for path in (root / kind).glob("*.ipynb"))
        found += [f"{kind}/{s}.ipynb has no source; delete it" for s in stored if s not in known]
    return found


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lora_course.builder", description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="default: all; or: appendix")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if one is stale")
    parser.add_argument("--no-run", action="store_true", help="do not execute the notebooks")
    parser.add_argument("--fresh", action="store_true", help="make every output anew")
    args = parser.parse_args(argv)
    if args.fresh and (args.no_run or args.check):
        parser.error("--fresh runs the notebooks: it goes with neither --no-run nor --check")
    numbers = [Path(n).stem.partition("_")[0].zfill(2) for n in args.numbers]  # 3, 03, a path
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
            note = build(target, root, not args.no_run, args.fresh)
            print(f"{name}  built in {time.perf_counter() - start:.0f} s{note}", flush=True)
        except SourceError as error:
            failed += 1
            print(f"{name}  not built\n  {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0
