"""The longest test files begin first, and the table of `make test-numbers` counts right."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
from tests import numbers

ROOT = Path(__file__).resolve().parents[1]
# In the run below: nbval alone takes two seconds to import, in both processes.
PLUGINS = ("no:cacheprovider", "no:anyio", "no:nbval", "in_place_of_nbval")
NO_NOTEBOOKS = "def pytest_addoption(parser): parser.addoption('--nbval', action='store_true')\n"


def test_items_are_sorted_by_file_and_keep_their_order_in_it(tmp_path, monkeypatch):
    table = tmp_path / "seconds.json"
    table.write_text('{"tests/a.py": 3, "chapters/b.ipynb": 70}')
    monkeypatch.setattr(conftest, "SECONDS", table)
    names = ["tests/a.py::2", "tests/a.py::1", "chapters/b.ipynb::Cell 0", "tests/new.py::x"]
    items = [SimpleNamespace(nodeid=name) for name in names]
    conftest.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == [names[3], names[2], names[0], names[1]]


def test_processes_take_the_longest_files_first_and_the_table_is_written(tmp_path):
    """In a real run with two processes; without the Makefile's option xdist counts tests."""
    tests = tmp_path / "tests"
    tests.mkdir()
    for name, count, wait in (("many", 4, 0.0), ("short", 1, 0.0), ("long", 1, 0.6)):
        text = "".join(f"def test_{n}(): time.sleep({wait})\n" for n in range(count))
        (tests / f"test_{name}.py").write_text(f"import time\n{text}")
    seconds = {"tests/test_many.py": 2, "tests/test_short.py": 1, "tests/test_long.py": 9}
    (tests / "seconds.json").write_text(json.dumps(seconds))
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text("utf-8"))
    (tmp_path / "in_place_of_nbval.py").write_text(NO_NOTEBOOKS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    options = next(line for line in makefile.splitlines() if line.startswith("SHARED"))
    options = options.partition("$(JOBS) ")[2].split()
    command = [sys.executable, "-m", "pytest", "-v", "-n", "1", *options]
    command += [word for name in PLUGINS for word in ("-p", name)]
    done = subprocess.run(
        [*command, "--write-seconds", "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line.split()[-1] for line in done.stdout.splitlines() if "PASSED" in line]
    assert [name.partition("::")[0] for name in ran] == [
        "tests/test_long.py",
        *["tests/test_many.py"] * 4,
        "tests/test_short.py",
    ]
    written = json.loads((tests / "seconds.json").read_text())
    assert set(written) == set(seconds) and 0.6 <= written["tests/test_long.py"] < 5


def test_the_table_names_files_that_exist():
    known = json.loads(conftest.SECONDS.read_text("utf-8"))
    assert known and all((ROOT / name).is_file() for name in known)


def test_counts_of_a_run_of_numbers():
    assert numbers.counts("x\n11 failed, 121 passed in 34.69s\n") == (121, 11)
    assert numbers.counts("30 passed, 2 warnings in 3s") == (30, 0)
    assert numbers.counts("1 passed, 2 errors in 3s") == (1, 2) and numbers.counts("") == (0, 0)


def test_table_of_numbers():
    results = {("03", *c): (26 - n, n, 4.6) for n, c in enumerate(numbers.COMBINATIONS)}
    head, line = numbers.table(results).splitlines()
    assert head.split()[:4] == ["chapter", "1", "thread,", "default"] and "2 threads, avx2" in head
    assert line.split() == "03 26/0 5 s 25/1 5 s 24/2 5 s 23/3 5 s".split()
