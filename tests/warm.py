"""Scripts in processes of their own, forked from one that has imported the large packages.

Importing torch, transformers, datasets and peft takes an interpreter 7 seconds of CPU time; a fork
has them at once. Nothing else is shared: each run has its own modules of the course, its own random
state, its own environment. Elsewhere than on Linux, each run imports for itself.
"""

import importlib.util
import multiprocessing
import os
import runpy
import sys
import tempfile
from functools import cache

import pytest

PACKAGES = (
    "torch", "datasets", "peft", "matplotlib.pyplot", "transformers.trainer",
    "transformers.models.llama.modeling_llama", "trl.trainer.sft_trainer", "bitsandbytes",
)  # fmt: skip
LIMIT = 600  # seconds a run may take
WAYS = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
WAYS.set_forkserver_preload(list(PACKAGES))


class Forked:
    """A process of multiprocessing that is asked as subprocess.Popen is; it is started here."""

    def __init__(self, process):
        self.process = process
        process.start()
        self.pid = process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        return self.process.exitcode

    returncode = property(poll)


@cache
def prepared():
    """A folder for data sets that a run prepares; not made in the runs themselves."""
    return tempfile.TemporaryDirectory(prefix="warm_", ignore_cleanup_errors=True)


def run_script(path, folder, log, options=(), environment=None, hidden=(), first=None):
    """Runs a script as a program: (exit code, what it printed, stdout and stderr in one).

    folder: the working directory. log: a file for what is printed. options: words behind the
    script's name. environment: variables beside those of this process. hidden: packages that the
    script does not find. first: called before the script, in its process. A negative exit code is
    the signal that ended it.
    """
    words = [str(word) for word in (path, *options)]
    variables = {**os.environ, "HF_HOME": prepared().name, **(environment or {})}
    process = WAYS.Process(
        target=_run, args=(words, str(folder), str(log), variables, hidden, first)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", prepared().name)  # read by the first process, when it imports
        process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return process.exitcode, said


def _run(words, folder, log, variables, hidden, first):
    """In the new process."""
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()  # those of the first process are as old as that one
    os.environ.update(variables)
    if hidden:
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *more: None if name in hidden else real(name, *more)
        sys.modules.update(dict.fromkeys(hidden))
    sys.argv[:] = words
    sys.path.insert(0, os.path.dirname(words[0]))
    if first:
        first()
    runpy.run_path(words[0], run_name="__main__")
