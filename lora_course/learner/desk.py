"""The learner's folder: made, brought up to date, opened in JupyterLab, an exercise begun again."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lora_course.learner import copies, restart

NOT_HERE = (
    "There is no exercises/ folder here. Go to the folder of the course (the one that "
    "holds chapters/ and exercises/) and run this again."
)
FIRST = "chapters/01_chapter.ipynb"
INSTALLED = Path(__file__).resolve().parents[1] / "course"  # what a wheel carries, see setup.py


def start_chapters(chapters, fresh):
    """Copies the exercise notebooks of these chapters; overwrites none."""
    root = repository()
    if root is None:
        return fail(NOT_HERE)
    notebooks = {path.name[:2]: path for path in _notebooks(root)}
    wanted = list(notebooks) if "all" in chapters else [number.zfill(2) for number in chapters]
    unknown = [number for number in wanted if number not in notebooks]
    if unknown or not wanted:
        said = f"There are no exercises {' '.join(unknown)}." if unknown else "Which chapter?"
        known = [f"  lora-course start {p.stem[:2]}   {p.stem[3:]}" for p in notebooks.values()]
        return fail("\n".join([f"{said} These are here:", *known]))
    for number in wanted:
        _start(root, notebooks[number], mine(root), fresh)
    print("Is JupyterLab open already? Its file browser shows the folder exercises.")
    return 0


def begin_again(args):
    """Empties one exercise in the learner's copy, or puts the answer back."""
    root, found = repository(), re.fullmatch(r"0?(\d+)\.(\d+)", args.only)
    if root is None:
        return fail(NOT_HERE)
    numbers = {path.name[:2]: path for path in _notebooks(root)}
    original = numbers.get(found[1].zfill(2)) if found else None
    if original is None or any(n.zfill(2) != original.name[:2] for n in args.chapters):
        return fail(f"There is no exercise {args.only}. It looks like this: --only 3.2")
    act = restart.restore_exercise if args.back else restart.reset_exercise
    try:
        print(act(original, mine(root) / copies.place(original), int(found[2])))
    except ValueError as error:
        return fail(str(error))
    return 0


def bring_up_to_date(folder):
    """Brings the learner's folder up to date and says what happened: (root, folder), or None."""
    root = repository()
    if root is None:
        fail(NOT_HERE)
        return None
    folder = mine(root) if folder is None else folder.resolve()
    new = not (folder / copies.RECORD).exists()
    if new and folder.is_dir() and any(folder.iterdir()) and folder != root / "work":
        fail(f"{folder} holds other files. Name a folder that is empty or not there yet.")
        return None
    for line in copies.bring(root, folder):
        print(line, flush=True)
    print(f"{'Made' if new else 'Up to date'}: {_shown(folder)}", flush=True)
    return root, folder


def lab(folder, options):
    """Brings the learner's folder up to date and opens JupyterLab on its first chapter.

    options: handed on to JupyterLab. The notebooks and terminals in it find `lora-course`, and a
    waiting thread sleeps (OMP_WAIT_POLICY, read when torch is loaded): spinning takes the cores
    away from a second notebook.
    """
    brought = bring_up_to_date(folder)
    if brought is None:
        return 1
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PATH": path}
    shell = {} if os.name == "nt" else {"shell_command": [os.environ.get("SHELL", "sh")]}
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={brought[1]}"]
    command += [f"--LabApp.default_url=/lab/tree/{FIRST}"]
    command += [f"--ServerApp.terminado_settings={shell}", *options]  # a login shell resets PATH
    if os.name == "nt":
        return subprocess.run(command, env=environment).returncode
    os.execve(sys.executable, command, environment)  # Ctrl-C reaches JupyterLab alone


def mine(root):
    """The learner's folder: the one they stand in, work/ in a clone, else ./lora-course."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / copies.RECORD).exists():
            return folder
    return root / "work" if root != INSTALLED else here / "lora-course"


def repository(folder=None):
    """The folder with the originals: this one, one above it, a clone's, or the installed one."""
    here = Path(folder or Path.cwd())
    for root in (here, *here.parents, INSTALLED.parents[1], INSTALLED):
        learners = root.name == "work" or (root / copies.RECORD).exists()  # copies
        if not learners and _notebooks(root):
            return root
    return None


def _start(root, notebook, folder, fresh):
    """Copies one notebook, or says that it is there already."""
    target, number = folder / copies.place(notebook), 1
    if target.exists() and not fresh:
        print(f"{_shown(target)} is there already; it stays as it is.")
        print(f"  to open it:         jupyter lab {_quoted(target)}")
        print(f"  a fresh one beside: lora-course start {notebook.name[:2]} --fresh")
        return
    if not os.path.lexists(target):
        for line in copies.bring(root, folder, [notebook]):  # an update knows what this copied
            print(line)
    else:
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{copies.place(notebook).stem} ({number}).ipynb")
        with open(target, "xb") as file:  # "x": never over a file, whoever made it meanwhile
            file.write(copies.linked(notebook.read_bytes(), "exercises"))
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


def fail(text):
    print(text, file=sys.stderr)
    return 1
