"""The command `lora-course`: JupyterLab, start, check and grade exercises, progress, machine."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from lora_course.grading import commands as grading
from lora_course.grading.exports import command as export

START = "copies exercises into work/, where no update touches them"
SAVED = "examines a saved adapter or merged model: will others get what was trained?"
NOT_HERE = (
    "There is no exercises/ folder here. Go to the folder of the course (the one that "
    "holds chapters/ and exercises/) and run this again."
)
FIRST = "work/chapters/01_what_full_fine_tuning_costs.ipynb"


def main(argv=None):
    """Runs one subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(prog="lora-course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("lab", help="opens JupyterLab on your copy of the first chapter, in work/")
    start = commands.add_parser("start", help=START, description=f"start NN {START}.")
    start.add_argument("chapters", nargs="*", metavar="NN", help="chapter numbers, or all")
    start.add_argument("--fresh", action="store_true", help="a fresh copy beside the one there is")
    commands.add_parser("progress", help="shows which exercises are done")
    commands.add_parser("doctor", help="examines Python, the packages, the GPU and the disk")
    flight = commands.add_parser("preflight", help=SAVED, description=SAVED)
    flight.add_argument("folder", metavar="FOLDER", help="where save_pretrained() wrote")
    flight.add_argument("--base", help="folder or hub id of the base, instead of the one named")
    flight.add_argument(
        "--all", action="store_true", help="also what is well, and what was not examined"
    )
    grading.add(commands)
    export.add(commands)
    args, others = parser.parse_known_args(argv)
    if others and args.command != "lab":  # lab hands them on to JupyterLab
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if "run" in args:
        return args.run(args)
    if args.command == "preflight":
        return preflight_folder(args.folder, args.base, args.all)
    if args.command == "progress":
        from lora_course import progress

        print(progress())
        return 0
    if args.command == "doctor":
        from lora_course.learner import doctor

        return doctor.main()
    try:
        if args.command == "lab":
            return lab(others)
        return start_chapters(args.chapters, args.fresh)
    except OSError as error:
        return _fail(f"{error.filename} cannot be written: {error.strerror}. Nothing was lost.")


def start_chapters(chapters, fresh):
    """Copies the exercise notebooks of these chapters into work/; never overwrites."""
    root = repository()
    if root is None:
        return _fail(NOT_HERE)
    notebooks = {path.name[:2]: path for path in _notebooks(root)}
    wanted = list(notebooks) if "all" in chapters else [number.zfill(2) for number in chapters]
    unknown = [number for number in wanted if number not in notebooks]
    if unknown or not wanted:
        said = f"There are no exercises {' '.join(unknown)}." if unknown else "Which chapter?"
        known = "\n".join(
            f"  lora-course start {path.stem[:2]}   {path.stem[3:]}" for path in notebooks.values()
        )
        return _fail(f"{said} These are here:\n{known}")
    for number in wanted:
        _start(notebooks[number], root / "work" / "exercises", fresh)
    print("Is JupyterLab open already? Then open the folder work in its file browser.")
    return 0


def preflight_folder(folder, base, everything):
    """Examines a saved adapter or model: 0 without a problem, 1 with one, 2 for no such folder."""
    from lora_course import preflight

    try:
        report = preflight(folder, base=base, show=False)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    print(report.table() if everything else report)
    return 1 if report.problems else 0


def lab(options):
    """Brings the copies in work/ up to date and opens JupyterLab on the first of them.

    options: handed on to JupyterLab. The notebooks and terminals in it find `lora-course`, and a
    waiting thread sleeps (OMP_WAIT_POLICY, read when torch is loaded): spinning takes the cores
    away from a second notebook.
    """
    from lora_course.learner import copies

    root = repository()
    if root is None:
        return _fail(NOT_HERE)
    for line in copies.bring(root):
        print(line, flush=True)
    programs = str(Path(sys.executable).parent)
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    environment["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}", *options]
    if os.name == "nt":
        return subprocess.run(command, env=environment).returncode
    os.execve(sys.executable, command, environment)  # Ctrl-C reaches JupyterLab alone


def repository(folder=None):
    """The folder with exercises/NN_*.ipynb: this one, one above it, or the package's own."""
    here = Path(folder or Path.cwd())
    for root in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if root.name != "work" and _notebooks(root):  # work/exercises holds copies
            return root
    return None


def _start(notebook, work, fresh):
    """Copies one notebook, or says that it is there already."""
    target, number = work / notebook.name, 1
    if target.exists() and not fresh:
        print(f"{_shown(target)} is there already; it stays as it is.")
        print(f"  to open it:         jupyter lab {_quoted(target)}")
        print(f"  a fresh one beside: lora-course start {notebook.name[:2]} --fresh")
        return
    while os.path.lexists(target):
        number += 1
        target = work / f"{notebook.stem} ({number}).ipynb"
    content = notebook.read_bytes()
    work.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as file:  # "x": never over a file, whoever made it meanwhile
        file.write(content)
    print(f"{_shown(target)} is ready.")
    print(f"  to open it: jupyter lab {_quoted(target)}")


def _notebooks(root):
    found = sorted((root / "exercises").glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if re.fullmatch(r"\d\d_\w+", path.stem)]


def _shown(path):
    """The path as the reader would type it from where they are."""
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def _quoted(path):
    text = str(_shown(path))
    return f'"{text}"' if " " in text else text


def _fail(text):
    print(text, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
