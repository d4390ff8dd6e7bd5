"""Run the chapters' sources on this machine's device, without Jupyter: make test-gpu.

    python -m tests.gpu             every chapter; a table of chapter, seconds, result
    python -m tests.gpu 03 11       some of them

Each chapter runs in a process of its own, in the folder chapters/, cell by cell, with the package's
code in its quote cells as in the notebook, and with every assert. What cells print goes to
OUT/NN.txt (--out). Where IPython is missing, as on a rented machine, displays are dropped. Exit
status 1 when a chapter fails. The notebooks' stored outputs are not compared: that is `make test`.
"""

import argparse
import importlib.util
import linecache
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path

from lora_course.builder.execute import environment
from lora_course.builder.source import Cell, quote

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 3600  # seconds a chapter may take


def code_cells(path, quoted=True):
    """(line, source) of each code cell of a percent script; quoted: with quote cells filled in."""
    parts = re.split(r"^# ?%%(.*)\n", path.read_text(encoding="utf-8"), flags=re.M)
    line, found = parts[0].count("\n") + 1, []
    for mark, source in zip(parts[1::2], parts[2::2], strict=True):
        if "[markdown]" not in mark:
            cell = Cell("code", source, f"{path.name}, line {line}")
            filled = quoted and '"quote"' in mark
            found.append((line, quote(cell, ROOT)[0] if filled else source))
        line += 1 + source.count("\n")
    return found


def without_ipython():
    """Put an IPython that shows nothing where there is none."""
    if importlib.util.find_spec("IPython"):
        return
    shell, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    shell.get_ipython, shell.display, shell.version_info = lambda: None, display, (0,)
    display.display = lambda *things, **options: None
    display.clear_output = lambda *things, **options: None
    for name in ("Markdown", "HTML", "Image", "SVG", "Math", "Latex", "Code"):
        setattr(display, name, type(name, (), {"__init__": lambda self, *data, **options: None}))
    sys.modules |= {"IPython": shell, "IPython.display": display}


def run_here(path, quoted=True):
    """Run the cells of a source one after the other as __main__, as a kernel does."""
    without_ipython()
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    for line, source in code_cells(path, quoted):
        name = f"{path.name}, cell at line {line}"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            exec(compile(source, name, "exec"), main.__dict__)
        except BaseException as error:
            traceback.print_exc()
            words = " ".join(str(error).split())[:120]
            own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
            at = own[-1].line if own else ""
            sys.exit(f"{name}: {type(error).__name__} {words} at `{at}`")


def device():
    """The device that the chapters find, in words."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"CPU, torch {torch.__version__}: no GPU here, so this says nothing about one"


def run_chapter(path, out, module="tests.gpu"):
    """Run a chapter in a new process: (seconds, "" or what went wrong)."""
    began, log = time.perf_counter(), out / f"{path.stem.partition('_')[0]}.txt"
    command = [sys.executable, "-m", module, "--source", str(path)]
    with tempfile.TemporaryDirectory() as home, log.open("w", encoding="utf-8") as stream:
        settings = {**environment(ROOT, home), "MPLBACKEND": "Agg"}
        options = {"env": settings, "cwd": ROOT / "chapters", "timeout": TIMEOUT}
        try:
            failed = subprocess.run(command, stdout=stream, stderr=stream, **options).returncode
        except subprocess.TimeoutExpired:
            stream.write(f"stopped after {TIMEOUT} s")
            failed = True
    lines = log.read_text(encoding="utf-8").splitlines() or ["it ended without a word"]
    return time.perf_counter() - began, lines[-1] if failed else ""


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", metavar="NN", help="chapters (default: all)")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "chapters")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.source:
        return run_here(args.source)
    if sys.flags.optimize:
        parser.error("python -O drops the asserts: run it without -O.")
    sources = sorted((ROOT / "chapters" / "source").glob("[0-9][0-9]_*.py"))
    chosen = [path for path in sources if not args.numbers or path.name[:2] in args.numbers]
    if len(chosen) < len(args.numbers):
        parser.error(f"chapters are {', '.join(path.name[:2] for path in sources)}")
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"device: {device()}\noutputs: {args.out}\n\n| chapter | seconds | result |", flush=True)
    print("|:--|--:|:--|", flush=True)
    failed = 0
    for path in chosen:
        seconds, wrong = run_chapter(path, args.out)
        failed += bool(wrong)
        print(f"| {path.stem} | {seconds:.0f} | {wrong or 'passed'} |", flush=True)
    print(f"\n{len(chosen) - failed} of {len(chosen)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
