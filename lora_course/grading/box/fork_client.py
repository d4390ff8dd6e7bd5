"""The grader's side of the warm process: starts it, asks it for boxes, lets them go."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from lora_course.grading import catalog, extract
from lora_course.grading.box import wire
from lora_course.grading.box.readable import package_folders, readable
from lora_course.grading.state import CannotGrade

ROOT = Path(__file__).resolve().parents[3]


class WarmGone(Exception):
    """The warm process is not there any more."""


class OpenBox:
    """channel: leads into the box; word: afterwards, what the reaper says of its end (a dict)."""

    def __init__(self, channel):
        self.channel, self.word = channel, {}


class ForkClient:
    """The warm process, and the boxes that it forks. tasks: (module, check) of what is asked."""

    def __init__(self, tasks, setups, trust=False):
        probes = {task_key(module, check): about(check) for module, check in tasks}
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "lora_course.grading.box.fork_server"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": os.sep}
        self.process = subprocess.Popen(
            command, stdin=theirs, env=box_environment(), start_new_session=True, **quiet
        )
        theirs.close()
        self.control = ours
        order = {"probes": probes, "setups": setups, "trust": trust}
        order |= {"chapters": catalog.names_of_checks()}
        order |= {"readable": readable(module for module, _ in tasks)}
        try:
            wire.send(ours, b"o", json.dumps(order).encode())
        except wire.Torn as error:
            raise CannotGrade("The warm process did not start.") from error

    def ready(self):
        """Waits until it is warm; returns the walls that are missing. Raises CannotGrade."""
        try:
            kind, said = wire.receive(self.control, b"re", wire.Deadline(300))
        except wire.Torn as error:
            raise CannotGrade("The warm process did not start.") from error
        if kind == b"e":
            raise CannotGrade(f"The warm process did not start:\n{said.decode()}")
        self.control.settimeout(None)
        missing, unreadable = json.loads(said)
        if unreadable:
            places = sorted({str(Path(path).parent) for path in unreadable})
            raise CannotGrade(
                f"A box cannot read all of the installed packages: {', '.join(places[:5])}. "
                "It reads what Python calls its lib folders, and folders of packages on sys.path "
                "(named site-packages or dist-packages, or with .dist-info in them). Install the "
                "packages into the environment that runs this command."
            )
        return missing

    @contextlib.contextmanager
    def box(self):
        """An OpenBox; afterwards it is gone, with all that it left. Raises WarmGone."""
        ours, theirs = socket.socketpair()
        (life, held), (heard, word) = os.pipe(), os.pipe()
        try:
            socket.send_fds(self.control, [b"b"], [theirs.fileno(), life, word])
        except OSError as error:
            raise WarmGone from error
        finally:
            theirs.close()
            os.close(life)
            os.close(word)
        box = OpenBox(ours)
        with open(heard, "rb") as said:
            try:
                yield box
            finally:
                os.close(held)  # the reaper ends the box now
                ours.settimeout(15)
                with ours, contextlib.suppress(OSError):
                    while ours.recv(1 << 20):  # until both are gone and their folder is removed
                        pass
                if select.select([said], [], [], 5)[0]:
                    with contextlib.suppress(ValueError):
                        box.word = json.loads(os.read(said.fileno(), 4096) or "{}")

    def stop(self):
        self.control.close()
        self.process.terminate()
        self.process.wait()


def task_key(module, check):
    """What a check is called in an order to a box."""
    return f"{module}:{check.name}"


def about(check):
    """What a box gets of a check: names, and the source of its probe."""
    named = [mistake for mistake in check.mistakes if mistake.startswith("raised")]
    return [check.wants, named, *extract.source_of(check)]


def box_environment():
    """What the warm process and every box find in os.environ: nothing of ours."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TMPDIR") if name in os.environ}
    asked = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(p)]
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **kept,
        **dict.fromkeys(threads, "1"),
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *(p for p in asked if p in package_folders())]),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
