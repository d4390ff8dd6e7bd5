"""The warm process: imports torch once, and forks a box for each exercise of each submission.

    warm process -> reaper (watches, ends and sweeps up) -> box (runs the student's code)

It is started with an empty environment and takes its orders from the grader over a socket, which is
its standard input. It knows no secret, no expected value and no judge: of a check it gets the
source of the probe (extract.py), and never imports the module. fork_client.ForkClient starts it.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import tempfile
import time
import traceback

from lora_course.grading.box import asked, disk, inside, jail, readable, reaper, room, wire

PAUSES = (0.01, 0.03, 0.1, 0.3, 1, 2)  # seconds between tries to get a process


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
        wire.send(control, b"r", json.dumps([warm.missing, warm.unreadable]).encode())
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reapers are buried by the system
        while True:
            message, ends, _, _ = socket.recv_fds(control, 1, 3)
            if not message:
                return
            made = fork() if len(ends) == 3 else None
            if made == 0:
                control.close()
                warm.keep(*ends)
            if made is None:
                write_word(ends[-1:], {"why": "no process"})
            for end in ends:
                os.close(end)


def fork():
    """os.fork, tried again while the system has no process to give; None when it has none."""
    for pause in PAUSES:
        try:
            return os.fork()
        except OSError:
            time.sleep(pause)
    return None


def write_word(ends, said):
    """Writes what the judge has to know about a box; a judge that has gone needs no word."""
    for end in ends:
        with contextlib.suppress(OSError):
            os.write(end, json.dumps(said).encode())


class ForkServer:
    """What every box starts with. order: probes, names of checks, setup cells, readable paths."""

    def __init__(self, order):
        import torch

        torch.set_num_threads(1)
        self.trust = order["trust"]
        asked.stand_in(order["chapters"])
        self.checks = {key: asked.Probe(key, *about) for key, about in order["probes"].items()}
        self.setups = {}
        for chapter, source in order["setups"].items():
            self.setups[chapter] = {"__name__": "__main__", "__builtins__": __builtins__}
            with contextlib.suppress(Exception):
                exec(compile(source, f"<setup {chapter}>", "exec"), self.setups[chapter])
        with contextlib.suppress(Exception):
            importlib.import_module("IPython.core.inputtransformer2")  # cells with magics
        inside.warm_up()
        self.readable = readable.opened(order["readable"])
        self.missing, self.unreadable = self.trial()
        gc.collect()
        gc.freeze()  # boxes share these pages

    def trial(self):
        """What this system does not offer to a box, and what of the packages a box cannot read."""
        end, start = os.pipe()
        folder = tempfile.mkdtemp(prefix="lora-box-")
        with os.fdopen(end, "rb") as said:
            if os.fork() == 0:
                room.settle(folder)
                missing = jail.confine(folder, self.readable)
                os.write(start, json.dumps([missing, readable.closed_files()]).encode())
                os._exit(0)
            os.close(start)
            os.wait()
            found = said.read()
        disk.remove(folder)
        return json.loads(found or '[["boxes do not start"], []]')

    def keep(self, channel, life, word):
        """The reaper: starts the box, ends it when the grader lets go, leaves nothing behind."""
        folder, said = "", {"why": "no process"}
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with contextlib.suppress(OSError, AttributeError):
                jail._libc().prctl(36, 1, 0, 0, 0)  # orphans of the box become our children
            folder = tempfile.mkdtemp(prefix="lora-box-")
            ready, start = os.pipe()
            box = fork()
            if box == 0:
                os.close(life)
                self.box(channel, folder, start)
            os.close(start)
            if box is not None:
                with open(ready, "rb") as file:
                    own_disk = file.read(1) == b"d"  # closed without a word when the box is gone
                said = reaper.watch(box, life, folder, own_disk)
        except OSError as error:
            said = {"why": f"no folder ({error.strerror})"}
        finally:
            if folder:
                disk.remove(folder)
            write_word([word], said)
            os._exit(0)

    def box(self, channel, folder, start):
        """The box itself: closes the walls, runs the student's code, answers with arrays."""
        try:
            os.write(start, b"d" if room.settle(folder) else b"-")
            inside.enter(channel, folder)
            missing = jail.confine(folder, self.readable)
            os.closerange(inside.CONTROL + 1, 4096)
            if missing and not self.trust:
                os._exit(1)
            inside.run_exercise(self)
        finally:
            os._exit(0)


if __name__ == "__main__":
    main()
