"""The tests with the newest packages that pyproject.toml allows: make test-latest.

    python -m tests.latest FOLDER [--only TESTS ...]

Makes a fresh environment in FOLDER, installs the newest versions within the ranges (torch stays at
its pin: a newer one brings gigabytes), prints what differs from requirements.txt, and runs the
tests. Exit status 1 when one fails: then mend the course, or narrow the range and say why. Only
the standard library is used, so any Python 3.11 or newer can begin it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.M)
TESTS = ["chapters", "solutions", "tests"]


def newer(pins, installed):
    """{name: (pinned version, installed version)} where they differ; a local part does not count.

    pins: the text of requirements.txt. installed: the text of `pip freeze`.
    """
    old, new = (
        {name.lower().replace("_", "-"): version for name, version in PIN.findall(text)}
        for text in (pins, installed)
    )
    return {
        name: (old[name], version)
        for name, version in new.items()
        if name in old and old[name] != version.partition("+")[0]
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the environment; replaced if it is there")
    parser.add_argument("--only", nargs="+", default=TESTS, metavar="TESTS", help="for pytest")
    args = parser.parse_args(argv)
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    torch = f"torch=={dict(PIN.findall(pins))['torch']}"
    shutil.rmtree(args.folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", args.folder], check=True)
    bin_ = args.folder / ("Scripts" if os.name == "nt" else "bin")
    python = bin_ / "python"
    install = [python, "-m", "pip", "install", "--quiet"]
    index = os.environ.get("TORCH_INDEX")
    subprocess.run([*install, *(["--index-url", index] if index else []), torch], check=True)
    newest = [*install, "--upgrade", "--upgrade-strategy", "eager"]
    subprocess.run([*newest, torch, "-e", f"{ROOT}[dev,edge]"], check=True)
    frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True)
    differ = newer(pins, frozen.stdout)
    print("| package | pinned | here |\n|:--|:--|:--|")
    for name, (old, new) in differ.items():
        print(f"| {name} | {old} | {new} |", flush=True)
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    settings |= {"OMP_WAIT_POLICY": "PASSIVE"}
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    command += ["--no-loadscope-reorder", "--nbval", "--nbval-current-env"]
    command += ["--deselect", "tests/test_environment.py::test_installed_as_pinned"]  # it is not
    done = subprocess.run([*command, *args.only], cwd=ROOT, env=settings)
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
