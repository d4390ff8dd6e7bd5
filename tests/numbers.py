"""The chapters' numbers on other machines: python -m tests.numbers [NN ...] [--jobs 2].

Runs every chapter with 1 and 2 threads and with two instruction sets, compares all outputs by
nbval, and prints one line for every run, with what failed, and a table. Two runs at a time; longest
chapter first.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import seconds_of

ROOT = Path(__file__).resolve().parents[1]
COMBINATIONS = [(threads, cpu) for threads in ("1", "2") for cpu in ("default", "avx2")]
NBVAL = "-p no:cacheprovider -q --color=no --nbval --nbval-current-env --nbval-cell-timeout 900"


def run(path, threads, cpu):
    """Runs one chapter; returns (passed, failed, seconds) and pytest's lines about failures."""
    settings = {"OMP_NUM_THREADS": threads, "ATEN_CPU_CAPABILITY": cpu, "HF_HUB_OFFLINE": "1"}
    settings["OMP_WAIT_POLICY"] = "PASSIVE"  # else two runs of two threads take each other's cores
    # torch 2.13 reads a loop that was compiled for other instructions, and gets wrong numbers
    settings["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"compiled_{cpu}")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *NBVAL.split(), str(path)],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    passed, failed = counts(done.stdout)
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failed:
        failed, failures = 1, [*failures, *done.stderr.splitlines()[-3:]]
    return (passed, failed, time.perf_counter() - start), failures


def counts(text):
    """Returns (passed, failed) of pytest's closing line; errors count as failed."""
    last = text.strip().splitlines()[-1] if text.strip() else ""
    found = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", last)}
    return found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)


def number_of(path):
    """03, or "appendix"."""
    return path.name.partition("_")[0]


def table(results):
    """One line for a chapter: passed/failed cells and seconds for every combination."""
    heads = [f"{threads} thread{'s' * (threads > '1')}, {cpu}" for threads, cpu in COMBINATIONS]
    lines = ["chapter  " + "".join(f"{head:>22}" for head in heads)]
    for name in sorted({name for name, *_ in results}):
        cells = []
        for combination in COMBINATIONS:
            passed, failed, seconds = results[name, *combination]
            cells.append(f"{passed}/{failed}  {seconds:.0f} s")
        lines.append(f"{name:9}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.numbers", description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="chapter numbers (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    args = parser.parse_args(argv)
    paths = sorted((ROOT / "chapters").glob("*_*.ipynb"))
    paths = [path for path in paths if not args.numbers or number_of(path) in args.numbers]
    if not paths:
        parser.error(f"there is no chapter {' '.join(args.numbers)}")
    paths.sort(key=lambda path: -seconds_of(path.relative_to(ROOT).as_posix()))
    work, results = [(p, *c) for p in paths for c in COMBINATIONS], {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for (path, *combination), (found, lines) in zip(
            work, pool.map(lambda job: run(*job), work), strict=True
        ):
            results[number_of(path), *combination] = found
            text = "passed {} failed {} {:.0f} s".format(*found)
            print(path.stem, *combination, text, *lines, sep="  ", flush=True)
    print(table(results))
    return 1 if any(failed for _, failed, _ in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
