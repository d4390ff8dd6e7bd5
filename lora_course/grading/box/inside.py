"""What happens in a box: the student's code is run, and its arrays are sent. Nothing here is
trusted: from the first cell on, the student's code can change all of it.
"""

import itertools
import json
import os
import sys
import tempfile

from lora_course.checks.core import Check, Verdict
from lora_course.checks.guard import steady, stopped
from lora_course.grading.box import program_slice, wire

CONTROL = 3  # the descriptor of the box that leads to the grader


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
    os.dup2(channel, CONTROL)
    nowhere = os.open(os.devnull, os.O_RDWR)  # after that: it must not be CONTROL
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.closerange(CONTROL + 1, 4096)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="replace", closefd=False)
    os.environ.update(HOME=folder, TMPDIR=folder, MPLCONFIGDIR=folder, LORA_COURSE_HOME=folder)
    tempfile.tempdir = None


def run_exercise(warm):
    """One exercise: an order, then arrays in and arrays out until the grader has enough."""
    pipe = Pipe(CONTROL)
    order = json.loads(wire.receive(pipe, b"o")[1])
    check = warm.checks[order["module"], order["name"]]
    namespace = dict(warm.setups.get(order["chapter"], {"__name__": "__main__"}))
    namespace["input"] = lambda prompt="": ""
    Check.__call__ = lambda self, *objects: None  # the notebook's own checks are not asked
    with steady(0):
        error = program_slice.run_slice(order["cells"], check.wants, namespace, check.name)
    missing = [name for name in check.wants if name not in namespace]
    if missing:
        said = ("_missing", missing[0], "") if error is None else stopped(error, check)
        wire.send(pipe, b"w", _words(said))
        return
    wire.send(pipe, b"k")
    for number in itertools.count():
        payload = wire.receive(pipe, b"a")[1]
        made = check.outputs(namespace, wire.unpack_arrays(payload), number)
        if isinstance(made, Verdict):
            wire.send(pipe, b"w", _words((made.mistake, made.seen, made.expected)))
        else:
            wire.send(pipe, b"a", wire.pack_arrays(made))


def _words(said):
    keys = ("mistake", "seen", "expected")
    return json.dumps(
        {key: str(word)[:1000] for key, word in zip(keys, said, strict=True)}
    ).encode()
