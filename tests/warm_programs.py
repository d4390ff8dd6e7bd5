"""Programs that chapters start, forked from a process that has imported (see tests/warm.py).

A launch of chapter 17 on two ranks is three interpreters, and each imports torch for itself: 12
seconds of CPU time, where the ranks train for one. The chapters' own notebooks start ordinary ones.
Only Linux forks; elsewhere, and beside a GPU that may be in use, nothing is changed.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers.utils.import_utils import is_peft_available

from tests.warm import WAYS, Forked

FORK = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


class Program(Forked):
    """`python -m module options` or `python -c text options`, with methods of Popen."""

    def __init__(self, words, env, ways, streams):
        ours, theirs = ways.Pipe(duplex=False)
        super().__init__(ways.Process(target=run, args=(words, env, theirs, streams)))
        theirs.close()
        self.stdout = os.fdopen(os.dup(ours.fileno()), encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stdout.close()
        self.wait()


def run(words, env, out=None, streams=()):
    """In the new process. Without `out`, it is a rank: it leads a group, and prints where it is."""
    for stream in streams:
        os.dup2(out.fileno(), stream)
    if out:
        out.close()
    else:
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # the launcher has handlers of its own
    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", 1)))
    forget("lora_course", "tests")  # the course anew, as the program finds it
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    SubprocessHandler._popen = lambda self, words, env: rank(words, env)
    at = next(i for i, word in enumerate(words) if word in ("-m", "-c"))
    sys.argv[:] = words[at + 1 :]
    if words[at] == "-m":
        runpy.run_module(words[at + 1], run_name="__main__", alter_sys=True)
    else:
        forget("peft", "trl")
        is_peft_available.cache_clear()
        exec(compile(words[at + 1], "<string>", "exec"), {"__name__": "__main__"})


def forget(*packages):
    for name in [n for n in sys.modules if n.partition(".")[0] in packages]:
        del sys.modules[name]


def rank(words, env):
    """In the launcher: one of its ranks, a child of its own."""
    made = Forked(FORK.Process(target=run, args=(words, env)))
    with contextlib.suppress(OSError):
        os.setpgid(made.pid, made.pid)  # at once, or it could not be ended yet
    return made


def use(patch, ways=WAYS):
    """From now on ranks.launch forks. patch: a MonkeyPatch."""
    from lora_course.fast import ranks

    def popen(command, env, text, **pipe):
        return Program(command, env, ways, (1, 2))

    if sys.platform == "linux" and (ways is WAYS or not torch.cuda.is_available()):
        names = {"PIPE": subprocess.PIPE, "STDOUT": subprocess.STDOUT}
        patch.setattr(ranks, "subprocess", SimpleNamespace(Popen=popen, **names))


def use_in_chapter():
    """In the process of a chapter, which has imported: ranks and strangers are its forks."""
    from lora_course.bridges import shipping

    patch = pytest.MonkeyPatch()
    use(patch, FORK)

    def stranger(command, capture_output, encoding, check):
        with Program(command, dict(os.environ), FORK, (1,)) as process:
            said = process.stdout.read()
        code = process.wait()
        assert code == 0 or not check, f"the stranger ended with {code}"
        return SimpleNamespace(stdout=said)

    if sys.platform == "linux" and not torch.cuda.is_available():
        patch.setattr(shipping, "subprocess", SimpleNamespace(run=stranger))
