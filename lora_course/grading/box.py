"""The warm process: imports torch once, and forks a box for each exercise of each submission.

    warm process -> keeper (watches, ends and sweeps up) -> box (runs the student's code)

It is started with an empty environment, knows no secret and no expected value, and takes its
orders from the grader over a socket, which is its standard input. trusted.Warm starts it.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback

from lora_course.grading import jail, keeper, slices, wire

CONTROL = 3  # the descriptor of the box that leads to the grader


def main():
    """Warms up, reports how well the boxes are closed, then forks until the grader is gone."""
    with socket.socket(fileno=os.dup(0)) as control:
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        order = json.loads(wire.receive(control, b"o")[1])
        try:
            warm = Warm(order)
        except Exception:
            wire.send(control, b"e", traceback.format_exc().encode())
            return
        wire.send(control, b"r", json.dumps(warm.missing).encode())
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are buried by the system
        while True:
            message, ends, _, _ = socket.recv_fds(control, 1, 2)
            if not message:
                return
            if os.fork() == 0:
                control.close()
                warm.keep(*ends)
            for end in ends:
                os.close(end)


class Warm:
    """What every box starts with. order: modules of checks, setup cells, readable paths."""

    def __init__(self, order):
        import torch

        torch.set_num_threads(1)
        self.readable, self.trust, self.checks, self.setups = (
            order["readable"],
            order["trust"],
            {},
            {},
        )
        for name in order["modules"]:
            for check in importlib.import_module(name).EXERCISES:
                self.checks[name, check.name] = check
        for chapter, source in order["setups"].items():
            self.setups[chapter] = {"__name__": "__main__", "__builtins__": __builtins__}
            with contextlib.suppress(Exception):
                exec(compile(source, f"<setup {chapter}>", "exec"), self.setups[chapter])
        self.missing = self.trial()

    def trial(self):
        """What this system does not offer to a box, found out by closing one."""
        end, start = os.pipe()
        if os.fork() == 0:
            with tempfile.TemporaryDirectory() as folder:
                missing = jail.confine(folder, self.readable)
                os.write(start, json.dumps(missing).encode())
                os._exit(0)
        os.close(start)
        os.wait()
        with os.fdopen(end, "rb") as said:
            return json.loads(said.read() or '["boxes do not start"]')

    def keep(self, channel, life):
        """The keeper: starts the box, ends it when the grader lets go, leaves nothing behind."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = tempfile.mkdtemp(prefix="lora-box-")
        try:
            with contextlib.suppress(OSError, AttributeError):
                jail._libc().prctl(36, 1, 0, 0, 0)  # orphans of the box become our children
            box = os.fork()
            if box == 0:
                os.close(life)
                self.box(channel, folder)
            keeper.watch(box, life, folder)
        finally:
            keeper.remove(folder)
            os._exit(0)

    def box(self, channel, folder):
        """The box itself: closes the walls, runs the student's code, answers with arrays."""
        try:
            enter(channel, folder)
            missing = jail.confine(folder, self.readable)
            if missing and not self.trust:
                os._exit(1)
            serve(Pipe(CONTROL), self)
        finally:
            os._exit(0)


class Pipe:
    """Reads and writes without the calls of sockets, which the walls refuse."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def recv(self, count):
        return os.read(self.descriptor, count)

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]


def enter(channel, folder):
    """A session, a folder and descriptors of its own; input is empty, output goes nowhere."""
    os.setsid()
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(channel, CONTROL)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.closerange(CONTROL + 1, 4096)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="replace", closefd=False)
    os.environ.update(HOME=folder, TMPDIR=folder, MPLCONFIGDIR=folder, LORA_COURSE_HOME=folder)
    tempfile.tempdir = None


def serve(pipe, warm):
    """One exercise: an order, then arrays in and arrays out until the grader has enough."""
    from lora_course.checks.core import Check, Verdict
    from lora_course.checks.guard import steady, stopped

    order = json.loads(wire.receive(pipe, b"o")[1])
    check = warm.checks[order["module"], order["name"]]
    namespace = dict(warm.setups.get(order["chapter"], {"__name__": "__main__"}))
    namespace["input"] = lambda prompt="": ""
    Check.__call__ = lambda self, *objects: None  # the notebook's own checks are not asked
    with steady(0):
        error = slices.execute(order["cells"], check.wants, namespace)
    missing = [name for name in check.wants if name not in namespace]
    if missing:
        said = ("missing", missing[0], "") if error is None else stopped(error, check)
        wire.send(pipe, b"w", _words(said))
        return
    wire.send(pipe, b"k")
    while True:
        payload = wire.receive(pipe, b"a")[1]
        made = check.outputs(namespace, wire.unpack(payload), order["seed"])
        if isinstance(made, Verdict):
            wire.send(pipe, b"w", _words((made.mistake, made.seen, made.expected)))
        else:
            wire.send(pipe, b"a", wire.pack(made))


def _words(said):
    keys = ("mistake", "seen", "expected")
    return json.dumps(
        {key: str(word)[:1000] for key, word in zip(keys, said, strict=True)}
    ).encode()


if __name__ == "__main__":
    main()
