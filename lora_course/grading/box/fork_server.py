"""The warm process: imports torch once, and forks a box for each exercise of each submission.

    warm process -> reaper (watches, ends and sweeps up) -> box (runs the student's code)

It is started with an empty environment, knows no secret and no expected value, and takes its
orders from the grader over a socket, which is its standard input. fork_client.ForkClient starts it.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import tempfile
import traceback

from lora_course.grading.box import inside, jail, reaper, wire


def main():
    """Warms up, reports how well the boxes are closed, then forks until the grader is gone."""
    with socket.socket(fileno=os.dup(0)) as control:
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        order = json.loads(wire.receive(control, b"o")[1])
        try:
            warm = ForkServer(order)
        except Exception:
            wire.send(control, b"e", traceback.format_exc().encode())
            return
        wire.send(control, b"r", json.dumps(warm.missing).encode())
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reapers are buried by the system
        while True:
            message, ends, _, _ = socket.recv_fds(control, 1, 2)
            if not message:
                return
            if os.fork() == 0:
                control.close()
                warm.keep(*ends)
            for end in ends:
                os.close(end)


class ForkServer:
    """What every box starts with. order: modules of checks, setup cells, readable paths."""

    def __init__(self, order):
        import torch

        torch.set_num_threads(1)
        self.readable, self.trust = order["readable"], order["trust"]
        self.checks, self.setups = {}, {}
        for name in order["modules"]:
            module = importlib.import_module(name)
            for check in module.EXERCISES:
                self.checks[name, check.name] = check
            preload(module)
        for chapter, source in order["setups"].items():
            self.setups[chapter] = {"__name__": "__main__", "__builtins__": __builtins__}
            with contextlib.suppress(Exception):
                exec(compile(source, f"<setup {chapter}>", "exec"), self.setups[chapter])
        self.missing = self.trial()
        gc.collect()
        gc.freeze()  # boxes share these pages

    def trial(self):
        """What this system does not offer to a box, found out by closing one."""
        end, start = os.pipe()
        with tempfile.TemporaryDirectory() as folder, os.fdopen(end, "rb") as said:
            if os.fork() == 0:
                os.write(start, json.dumps(jail.confine(folder, self.readable)).encode())
                os._exit(0)
            os.close(start)
            os.wait()
            return json.loads(said.read() or '["boxes do not start"]')

    def keep(self, channel, life):
        """The reaper: starts the box, ends it when the grader lets go, leaves nothing behind."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = tempfile.mkdtemp(prefix="lora-box-")
        try:
            with contextlib.suppress(OSError, AttributeError):
                jail._libc().prctl(36, 1, 0, 0, 0)  # orphans of the box become our children
            box = os.fork()
            if box == 0:
                os.close(life)
                self.box(channel, folder)
            reaper.watch(box, life, folder)
        finally:
            reaper.remove(folder)
            os._exit(0)

    def box(self, channel, folder):
        """The box itself: closes the walls, runs the student's code, answers with arrays."""
        try:
            inside.enter(channel, folder)
            missing = jail.confine(folder, self.readable)
            if missing and not self.trust:
                os._exit(1)
            inside.run_exercise(self)
        finally:
            os._exit(0)


def preload(module):
    """Imports what the functions of a module import when they are called."""
    with open(module.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            with contextlib.suppress(Exception):
                exec(compile(ast.Module([node], []), module.__file__, "exec"), {})


if __name__ == "__main__":
    main()
