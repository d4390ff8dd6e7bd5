"""The grader's side of the warm process: starts it, asks it for boxes, lets them go."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from lora_course.grading.box import wire
from lora_course.grading.state import CannotGrade


class ForkClient:
    """The warm process, and the boxes that it forks. missing: walls that this system lacks."""

    def __init__(self, modules, setups, trust=False):
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "lora_course.grading.box.fork_server"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": os.sep}
        self.process = subprocess.Popen(
            command, stdin=theirs, env=box_environment(), start_new_session=True, **quiet
        )
        theirs.close()
        self.control = ours
        order = {"modules": modules, "setups": setups, "readable": readable(modules)}
        wire.send(ours, b"o", json.dumps({**order, "trust": trust}).encode())

    def ready(self):
        """Waits until it is warm; returns the walls that are missing."""
        try:
            kind, said = wire.receive(self.control, b"re", time.monotonic() + 300)
        except wire.Torn as error:
            raise CannotGrade("The warm process did not start.") from error
        if kind == b"e":
            raise CannotGrade(f"The warm process did not start:\n{said.decode()}")
        self.control.settimeout(None)
        return json.loads(said)

    @contextlib.contextmanager
    def box(self):
        """A channel to a new box; afterwards the box is gone, with all that it left."""
        ours, theirs = socket.socketpair()
        life, held = os.pipe()
        socket.send_fds(self.control, [b"b"], [theirs.fileno(), life])
        theirs.close()
        os.close(life)
        try:
            yield ours
        finally:
            os.close(held)  # the reaper ends the box now
            ours.settimeout(15)
            with ours, contextlib.suppress(OSError):
                while ours.recv(1 << 20):  # until both are gone and their folder is removed
                    pass

    def stop(self):
        self.control.close()
        self.process.terminate()
        self.process.wait()


def box_environment():
    """What the warm process and every box find in os.environ: nothing of ours."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TMPDIR") if name in os.environ}
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **kept,
        **dict.fromkeys(threads, "1"),
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
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


def readable(modules):
    """The files and folders that a box may read: Python, the installed packages, the course."""
    found = {sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)}
    found |= {str(Path(__file__).resolve().parents[2]), "/usr/lib", "/lib", "/lib64"}
    found |= {"/etc/ld.so.cache", "/proc/self", "/proc/cpuinfo", "/proc/meminfo"}
    found |= {"/sys/devices/system/cpu", "/usr/share/zoneinfo", "/etc/localtime"}
    for module in modules:
        if not module.startswith("lora_course."):
            found.add(importlib.util.find_spec(module).origin)
    return sorted(path for path in found if os.path.exists(path))
