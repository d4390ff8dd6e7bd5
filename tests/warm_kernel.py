"""Kernels of nbval forked from a process that has imported the large packages (see tests/warm.py).

A kernel of its own imports for four seconds of CPU time, and there are more than forty notebooks.
The builder starts ordinary kernels: a notebook that forgets an import is found there; only in
test_build.py most of its kernels are forked. Only Linux forks; elsewhere nothing is changed.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.warm import WAYS, Forked, prepared

ROOT = Path(__file__).resolve().parents[1]


class Kernel(Forked):
    """A forked kernel with the methods of Popen that jupyter_client calls."""

    stdin = stdout = stderr = None

    def __init__(self, words, env, cwd):
        ready, said = WAYS.Pipe(duplex=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_HOME", prepared().name)  # read by the first process, when it imports
            super().__init__(WAYS.Process(target=_serve, args=(words, env, str(cwd), said)))
        said.close()
        ready.recv()  # it leads a group of its own by now

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _serve(words, env, cwd, said):
    """In the new process: what `python -m ipykernel_launcher` does."""
    os.setsid()
    said.send("ready")
    said.close()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.chdir(cwd)
    os.environ.clear()  # those of the first process are as old as that one
    os.environ.update(env)
    sys.argv[:] = words
    given = env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [place for place in (*given, *sys.path) if place not in ("", str(ROOT))]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


def launch(words, env=None, cwd=None, **rest):
    """In place of `jupyter_client.launcher.launch_kernel`."""
    words = words[words.index("ipykernel_launcher") :]
    return Kernel(words, dict(env or os.environ), cwd or os.getcwd())


def fork_kernels(patch):
    """While `patch` (a monkeypatch) holds, every kernel that this process starts is forked."""
    if sys.platform == "linux":
        from jupyter_client.provisioning import local_provisioner

        patch.setattr(local_provisioner, "launch_kernel", launch)


def use():
    """From now on nbval in this process forks its kernels; everybody else starts ordinary ones."""
    if sys.platform != "linux":
        return
    import nbval.kernel

    start = nbval.kernel.start_new_kernel

    def forked(*given, **settings):
        with pytest.MonkeyPatch.context() as patch:
            fork_kernels(patch)
            return start(*given, **settings)

    nbval.kernel.start_new_kernel = forked
