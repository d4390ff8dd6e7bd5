"""What happens in a box: the student's code is run, and its arrays are sent. Nothing here is
trusted: from the first cell on, the student's code can change all of it.
"""

import contextlib
import json
import linecache
import os
import sys
import tempfile

from lora_course.checks.core import Verdict
from lora_course.checks.guard import steady, stopped
from lora_course.grading.box import asked, program_slice, wire

CONTROL = 3  # the descriptor of the box that leads to the grader
WARM = """
%matplotlib inline
class Layer(torch.nn.Module):
    def __init__(self, size, *, bias=True):
        super().__init__()
        self.linear = torch.nn.Linear(size, 2 * size, bias=bias)

    def forward(self, x):
        return self.linear(x) @ torch.randn(6, 3)

def layers(x):
    return [Layer(3)(y) for y in (x, x) if y is not None]

check.layers(layers)
"""


class Pipe:
    """Reads and writes without the calls of sockets, which the walls refuse."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def recv(self, count):
        return os.read(self.descriptor, count)

    def send(self, data):
        return os.write(self.descriptor, data)


def warm_up():
    """Does once, before any box is forked, what Python and torch do at first, or each box would."""
    import torch

    namespace = {"torch": torch}
    with contextlib.suppress(Exception), steady(0):
        program_slice.run_answer([WARM], ("layers",), namespace, "layers")
        program_slice.other_ways([WARM], ("layers",), "layers")
        made = namespace["layers"](torch.ones(2, 3))
        wire.unpack_arrays(wire.pack_arrays({"y": made[0].detach().numpy()}))
    linecache.clearcache()


def enter(channel, folder):
    """A session, a folder and descriptors of its own; input is empty, output goes nowhere."""
    os.setsid()
    os.chdir(folder)
    os.umask(0)
    os.dup2(channel, CONTROL)
    nowhere = os.open(os.devnull, os.O_RDWR)  # after that: it must not be CONTROL
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", errors="replace", closefd=False)
    os.environ.update(HOME=folder, TMPDIR=folder, MPLCONFIGDIR=folder, LORA_COURSE_HOME=folder)
    os.environ["USER"] = "student"
    sys.path.insert(0, folder)  # as beside a notebook: what a cell has written can be imported
    tempfile.tempdir = None


def run_exercise(warm):
    """One exercise: an order, then arrays in and arrays out until the grader has enough."""
    pipe = Pipe(CONTROL)
    order = json.loads(wire.receive(pipe, b"o")[1])
    check, cells, way = warm.checks[order["check"]], order["cells"], order["way"]
    namespace = dict(warm.setups.get(order["chapter"], {"__name__": "__main__"}))
    with steady(0):
        error = program_slice.run_answer(
            cells, check.wants, namespace, check.name, way, asked.given
        )

    def ways():
        found = program_slice.other_ways(cells, check.wants, check.name) if way == "slice" else ()
        return " ".join(found)

    missing = [name for name in check.wants if name not in namespace]
    if missing:
        said = ("_missing", missing[0], "") if error is None else stopped(error, check)
        wire.send(pipe, b"w", _words(said, ways()))
        return
    wire.send(pipe, b"k")
    number = 0
    while True:
        kind, payload = wire.receive(pipe, b"aq")
        if kind == b"q":
            wire.send(pipe, b"q", ways().encode())
            continue
        made = check.outputs(namespace, wire.unpack_arrays(payload), number)
        number += 1
        if isinstance(made, Verdict):
            said = made.mistake, made.seen, made.expected
            wire.send(pipe, b"w", _words(said, ""))
        else:
            wire.send(pipe, b"a", wire.pack_arrays(made))


def _words(said, ways):
    keys = ("mistake", "seen", "expected")
    words = {key: str(word)[:1000] for key, word in zip(keys, said, strict=True)}
    return json.dumps({**words, "ways": ways}).encode()
