"""The launcher of chapter 17 and its ranks, forked from one that has imported (see tests/warm.py).

A launch on two ranks is three interpreters, and each imports torch for itself: 12 seconds of CPU
time, where the ranks train for one. The chapter's own notebook starts ordinary ones. Only Linux
forks; elsewhere, and beside a GPU that is in use, nothing is changed.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from types import SimpleNamespace

import torch

from tests.warm import WAYS, Forked


class Program(Forked):
    """`python -m module options` with the methods of Popen that ranks.launch calls."""

    def __init__(self, words, env, ways=WAYS):
        ours, theirs = ways.Pipe(duplex=False)
        super().__init__(ways.Process(target=run, args=(words, env, theirs)))
        theirs.close()
        self.stdout = os.fdopen(os.dup(ours.fileno()), encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stdout.close()
        self.wait()


def run(words, env, out=None):
    """In the new process. Without `out`, it is a rank: it leads a group, and prints where it is."""
    if out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
        out.close()
    else:
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # the launcher has handlers of its own
    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", 1)))
    for name in [n for n in sys.modules if n.partition(".")[0] in ("lora_course", "tests")]:
        del sys.modules[name]  # the course anew, as the program finds it
    module, *options = words[words.index("-m") + 1 :]
    sys.argv[:] = [module, *options]
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    SubprocessHandler._popen = lambda self, words, env: rank(words, env)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def rank(words, env):
    """In the launcher: one of its ranks, a child of its own."""
    made = Forked(multiprocessing.get_context("fork").Process(target=run, args=(words, env)))
    with contextlib.suppress(OSError):
        os.setpgid(made.pid, made.pid)  # at once, or it could not be ended yet
    return made


def use(patch, ways=WAYS):
    """From now on ranks.launch forks. patch: a MonkeyPatch."""
    from lora_course.fast import ranks

    def popen(command, env, text, **pipe):
        return Program(command, env, ways)

    if sys.platform == "linux" and (ways is WAYS or not torch.cuda.is_available()):
        names = {"PIPE": subprocess.PIPE, "STDOUT": subprocess.STDOUT}
        patch.setattr(ranks, "subprocess", SimpleNamespace(Popen=popen, **names))
