"""Submissions of chapter 03 that want more than they earned, and honest ones that had bad luck.

Each is the solved notebook with something changed; what the rest of it earns stays. The attacks
stand inside of LoRALinear (exercise 3.1), where the grader has to run them.
"""

import json
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOLVED = json.loads((ROOT / "solutions/03_the_lora_layer.ipynb").read_text(encoding="utf-8"))
POINTS = {
    **{"lora_linear": 20, "delta_weight": 15, "broken_starts": 20, "lora_embedding": 20},
    "grow_rank": 25,
}
FULL = sum(POINTS.values())


class Case(NamedTuple):
    """note: names the student. points: of exercise 3.1. says: in the message of 3.1."""

    note: str
    code: str
    points: float = 0
    says: str = ""


def notebook(edit=None, exercise="lora_linear"):
    """The solved notebook, one exercise cell edited by a function of its source."""
    made = json.loads(json.dumps(SOLVED))
    for cell in made["cells"]:
        cell.pop("outputs", None)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        source = "".join(cell["source"])
        if cell["metadata"].get("lora_course", {}).get("exercise") == f"03.{exercise}" and edit:
            source = edit(source)
        cell["source"] = source.splitlines(keepends=True)
    return made


def attack(code):
    """The right answer with `code` run in __init__, before anything else."""
    line = "        super().__init__()\n"
    body = "".join(f"        {row}\n" for row in code.strip().splitlines())

    def edit(source):
        assert line in source
        return source.replace(line, line + body)

    return notebook(edit)


def forward(body):
    """The right answer with another forward."""
    rows = "".join(f"        {row}\n" for row in body.strip().splitlines())
    return notebook(
        lambda source: (
            source[: source.index("    def forward")] + f"    def forward(self, x):\n{rows}"
        )
    )


# What is judged: other values than the right ones, however they are dressed.
FORWARD = [
    Case(
        "patched allclose",
        "import numpy\n"
        "for lib in (torch, numpy):\n"
        "    for name in ('allclose', 'equal', 'isclose', 'array_equal'):\n"
        "        setattr(lib, name, lambda *a, **k: True)\n"
        "return torch.zeros(*x.shape[:-1], self.lora_B.shape[0])",
        says="Seen",
    ),
    Case(
        "equal to everything",
        "class Yes(torch.Tensor):\n"
        "    @classmethod\n"
        "    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
        "        return True\n"
        "    def __eq__(self, other): return True\n"
        "    def numpy(self): return Yes()\n"
        "    def detach(self): return self\n"
        "return torch.zeros(*x.shape[:-1], self.lora_B.shape[0]).as_subclass(Yes)",
    ),
    Case(
        "array subclass",
        "import numpy\n"
        "class Yes(numpy.ndarray):\n"
        "    def __array_function__(self, *a): return True\n"
        "    def __array_ufunc__(self, *a, **k): return True\n"
        "return numpy.zeros((*x.shape[:-1], self.lora_B.shape[0])).view(Yes)",
    ),
    Case(
        "want off the stack",
        "import sys\n"
        "frame, shape = sys._getframe(), (*x.shape[:-1], self.lora_B.shape[0])\n"
        "while frame:\n"
        "    for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n"
        "        for v in value.values() if isinstance(value, dict) else [value]:\n"
        "            if getattr(v, 'shape', None) == shape: return torch.as_tensor(v)\n"
        "    frame = frame.f_back\n"
        "raise LookupError('no expected value here')",
        says="no expected value here",
    ),
    Case(
        "want from the heap",
        "import gc, numpy\n"
        "shape = (*x.shape[:-1], self.lora_B.shape[0])\n"
        "for v in gc.get_objects():\n"
        "    if isinstance(v, numpy.ndarray) and v.shape == shape and v.dtype == 'float32':\n"
        "        return torch.as_tensor(v)\n"
        "raise LookupError('no expected value here')",
    ),
    Case("nan", "return self.base_layer(x) * float('nan')"),
    Case("inf", "return self.base_layer(x) * float('inf')"),
    Case("nothing", "return None", says="None"),
    Case("a text", "return 'full marks'", says="str"),
    Case("object array", "import numpy\nreturn numpy.array([object(), None])"),
    Case(
        "a pickle",
        "class Bomb:\n"
        "    def __reduce__(self): return (open, ('@OUTSIDE@/pickled', 'w'))\n"
        "import numpy\n"
        "return numpy.array([Bomb()], dtype=object)",
    ),
    Case("a giant view", "return torch.zeros(1).expand(10**12)"),
    Case("a giant array", "return torch.zeros(30_000_000)"),
    Case("a meta tensor", "return torch.zeros(3, device='meta')"),
    Case("sparse", "return torch.eye(3).to_sparse()"),
    Case("complex", "return self.base_layer(x).to(torch.complex128)"),
    Case("a generator", "return (y for y in self.base_layer(x))"),
]

CHECKS = "import lora_course.checks.core as core, lora_course.checks.ch03 as ch03\n"
INSIDE = [
    # the framework itself, in the process of the box
    Case(
        "patched verdict",
        CHECKS + "core.Check.verdict = lambda *a, **k: core.Verdict(1.0)\n"
        "core.Check.run = core.Check.verdict\n"
        "ch03.judge_linear = lambda *a: core.Verdict(1.0)\n"
        "object.__setattr__(ch03.lora_linear, 'judge', ch03.judge_linear)\n"
        "raise ValueError('patched')",
        says="patched",
    ),
    Case(
        "patched outputs",
        CHECKS + "core.Check.outputs = lambda *a, **k: core.Verdict(1.0, '', 'full marks')\n"
        "raise ValueError",
    ),
    Case(
        "patched numpy",
        "import numpy\nnumpy.array = numpy.asarray = lambda *a, **k: 1 / 0\nraise ValueError",
    ),
    Case(
        "patched wire",
        "import lora_course.grading.box.wire as wire\n"
        "wire.pack_arrays = lambda arrays: b'x' * 1000",
        says="without an answer",
    ),
    # the channel
    Case("garbage", "import os\nos.write(3, b'garbage' * 1000)", says="without an answer"),
    Case(
        "forged frame",
        "import os, numpy\n"
        "from lora_course.grading.box import wire\n"
        "p = wire.pack_arrays({'y_wide': numpy.ones((3, 4, 8))})\n"
        "os.write(3, wire.HEAD.pack(b'a', len(p)) + p)\n"
        "os._exit(0)",
        says="not right yet",
    ),
    Case(
        "forged words",
        "import os, json\n"
        "p = json.dumps({'mistake': '', 'share': '1', 'points': '20'}).encode()\n"
        "os.write(3, b'w' + len(p).to_bytes(4, 'little') + p)\n"
        "os._exit(0)",
    ),
    Case(
        "forged deep words",
        "import os\n"
        "p = b'[' * 100000\n"
        "os.write(3, b'w' + len(p).to_bytes(4, 'little') + p)\n"
        "os._exit(0)",
    ),
    Case(
        "forged header",
        "import os\n"
        "p = (1 << 60).to_bytes(8, 'little') + b'{}'\n"
        "os.write(3, b'a' + len(p).to_bytes(4, 'little') + p)\n"
        "os._exit(0)",
        says="without an answer",
    ),
    Case("promised 4 GB", "import os\nos.write(3, b'a' + b'\\xff' * 4)", says="without an answer"),
    Case(
        "endless data",
        "import os\nwhile True: os.write(3, b'a\\x00\\x00\\x00\\x03' + bytes(1 << 20))",
        says="without an answer",
    ),
    Case("closed files", "import os\nos.closerange(0, 100)", says="without an answer"),
    # endings
    Case("os._exit", "import os\nos._exit(0)", says="without an answer"),
    Case("sys.exit", "import sys\nsys.exit(0)", says="SystemExit"),
    Case("keyboard", "raise KeyboardInterrupt", says="stopped"),
    Case("kills itself", "import os\nos.kill(os.getpid(), 9)", says="without an answer"),
    Case("stops itself", "import os\nos.kill(os.getpid(), 19)", says="without an answer"),
    Case("abort", "import os\nos.abort()", says="without an answer"),
    Case("segfault", "import ctypes\nctypes.string_at(0)", says="without an answer"),
    Case("endless loop", "while True: pass", says="no answer within"),
    Case(
        "loop that catches",
        "import signal\n"
        "for s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True:\n"
        "    try:\n"
        "        while True: pass\n"
        "    except BaseException: pass",
        says="no answer within",
    ),
    Case("sleeps", "import time\ntime.sleep(10**6)", says="no answer within"),
    Case("recursion", "import sys\nsys.setrecursionlimit(10**9)\nf = lambda n: f(n + 1)\nf(0)"),
    Case("memory bomb", "a = []\nwhile True: a.append(bytearray(1 << 26))", says="0/20"),
    Case("one huge tensor", "torch.zeros(10**11)", says="RuntimeError"),
    Case("hostile error", "class E(Exception):\n    def __str__(self): 1 / 0\nraise E"),
    Case("not done, it says", "raise NotImplementedError('done, 20 points')"),
    # processes and signals
    Case("fork bomb", "import os\nwhile True: os.fork()", says="PermissionError"),
    Case(
        "subprocess", "import subprocess\nsubprocess.run(['sleep', '1000'])", says="PermissionError"
    ),
    Case("os.system", "import os\nassert os.system('sleep 1000 &') == 0"),
    Case("exec", "import os\nos.execv('/bin/sh', ['sh'])", says="PermissionError"),
    Case(
        "spawn",
        "import os\nos.posix_spawn('/bin/sleep', ['sleep', '9'], {})",
        says="PermissionError",
    ),
    Case(
        "daemon",
        "import multiprocessing, time\n"
        "p = multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,))\n"
        "p.start()",
        says="PermissionError",
    ),
    Case("kills its parent", "import os\nos.kill(os.getppid(), 9)", says="PermissionError"),
    Case("kills everything", "import os\nos.kill(-1, 9)", says="PermissionError"),
    Case(
        "kills its group",
        "import os\nos.killpg(os.getpgid(os.getppid()), 9)",
        says="PermissionError",
    ),
    Case(
        "pidfd",
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
        says="PermissionError",
    ),
    Case(
        "signal by file owner",
        "import fcntl, os\nfcntl.fcntl(3, 8, os.getppid())  # F_SETOWN",
        says="PermissionError",
    ),
    Case(
        "ptrace",
        "import ctypes, os\n"
        "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0, 'ptrace refused'",
        says="ptrace refused",
    ),
    Case(
        "memory of its parent",
        "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
        says="PermissionError",
    ),
    Case(
        "limits of its parent",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        says="PermissionError",
    ),
    Case(
        "raises its limits",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)",
        says="ValueError",
    ),
    Case(
        "slows its parent",
        "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        says="PermissionError",
    ),
    Case(
        "threads",
        "import threading, time\n"
        "for _ in range(3): threading.Thread(target=time.sleep, args=(1000,)).start()",
        points=20,
    ),
    Case(
        "thread bomb",
        "import threading, time\n"
        "while True: threading.Thread(target=time.sleep, args=(1000,)).start()",
    ),
    Case(
        "at exit",
        "import atexit\natexit.register(lambda: open('@OUTSIDE@/atexit', 'w'))",
        points=20,
    ),
    Case(
        "namespace",
        "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0, 'no namespace'",
        says="no namespace",
    ),
    # network
    Case("socket", "import socket\nsocket.socket()", says="PermissionError"),
    Case("unix socket", "import socket\nsocket.socketpair()", says="PermissionError"),
    Case(
        "download",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')",
        says="URLError",
    ),
    # files
    Case("reads passwords", "open('/etc/passwd')", says="PermissionError"),
    Case("reads the secret", "open('@SECRET@')", says="PermissionError"),
    Case(
        "reads the solution",
        "open('@ROOT@/solutions/03_the_lora_layer.ipynb')",
        says="PermissionError",
    ),
    Case(
        "reads the sources",
        "open('@ROOT@/solutions/source/03_the_lora_layer.py')",
        says="PermissionError",
    ),
    Case(
        "reads another student",
        "open('@CLASS@/honest/03_the_lora_layer.ipynb')",
        says="PermissionError",
    ),
    Case("lists the class", "import os\nos.listdir('@CLASS@')", says="PermissionError"),
    Case("lists the root", "import os\nos.listdir('/')", says="PermissionError"),
    Case("reads the environment", "open('/proc/1/environ')", says="PermissionError"),
    Case("reads results", "import os\nos.listdir('@OUT@')", says="PermissionError"),
    Case("writes a result", "open('@OUT@/grades.csv', 'a')", says="PermissionError"),
    Case(
        "writes another student",
        "open('@CLASS@/honest/03_the_lora_layer.ipynb', 'w')",
        says="PermissionError",
    ),
    Case("writes outside", "open('@OUTSIDE@/written', 'w')", says="PermissionError"),
    Case(
        "writes the package",
        "import lora_course\nopen(lora_course.__file__, 'a')",
        says="PermissionError",
    ),
    Case("writes shared memory", "open('/dev/shm/left', 'w')", says="PermissionError"),
    Case("deletes outside", "import os\nos.remove('@OUTSIDE@/canary')", says="PermissionError"),
    Case(
        "renames outside",
        "import os\nos.rename('@OUTSIDE@/canary', '@OUTSIDE@/moved')",
        says="PermissionError",
    ),
    Case(
        "empties outside", "import os\nos.truncate('@OUTSIDE@/canary', 0)", says="PermissionError"
    ),
    Case(
        "empties by opening",
        "import os\nos.open('@OUTSIDE@/canary', os.O_RDONLY | os.O_TRUNC)",
        says="PermissionError",
    ),
    Case("hard link", "import os\nos.link('@SECRET@', 'mine')\nopen('mine')", says="Error"),
    Case(
        "soft link",
        "import os\nos.symlink('@SECRET@', 'mine')\nopen('mine')",
        says="PermissionError",
    ),
    Case("through proc", "open('/proc/self/root@SECRET@')", says="PermissionError"),
    Case("takes rights away", "import os\nos.chmod('@OUTSIDE@/canary', 0)", points=20),
    Case("changes times", "import os\nos.utime('@OUTSIDE@/canary', (0, 0))", points=20),
    Case(
        "device", "import os\nos.mknod('disk', 0o60600, os.makedev(254, 0))", says="PermissionError"
    ),
    Case(
        "message queue",
        "import ctypes\nassert ctypes.CDLL(None).shmget(7, 4096, 0o1600) >= 0, 'no shm'",
        says="no shm",
    ),
    Case(
        "io_uring",
        "import ctypes\n"
        "params = ctypes.create_string_buffer(256)\n"
        "assert ctypes.CDLL(None).syscall(425, 8, params) >= 0, 'no ring'",
        says="no ring",
    ),
    Case(
        "watches others",
        "import ctypes\nassert ctypes.CDLL(None).inotify_init1(0) >= 0, 'no watch'",
        says="no watch",
    ),
    Case(
        "reads shared memory",
        "import ctypes\nassert ctypes.CDLL(None).shmat(0, None, 0) != -1, 'no shm'",
        says="no shm",
    ),
    Case("memory file", "import os\nos.memfd_create('x')", says="PermissionError"),
    Case(
        "environment",
        "import os\n"
        "found = [k for k in os.environ if 'SECRET' in k or 'CANARY' in k]\n"
        "found += [w for w in open('/proc/self/environ').read().split('\\0') if 'canary' in w]\n"
        "raise ValueError(f'leaks: {found}')",
        says="leaks: []",
    ),
    Case(
        "one large file",
        "f = open('large', 'wb')\nwhile True: f.write(bytes(1 << 20))",
        says="OSError",
    ),
    Case(
        "fills the disk",
        "n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'wb').write(bytes(1 << 24))",
        says="0/20",
    ),
    Case(
        "many files",
        "n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'wb')",
        says="0/20",
    ),
    Case(
        "deep folders",
        "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')",
        says="0/20",
    ),
    Case(
        "closed folder",
        "import os, tempfile\nos.mkdir(tempfile.mkdtemp(dir='.') + '/x', 0)",
        points=20,
    ),
    Case(
        "deletes its folder",
        "import shutil\nshutil.rmtree('.', ignore_errors=True)",
        points=20,
    ),
    Case("another folder", "import os\nos.chdir('/')", points=20),
    Case(
        "odd file names",
        "open(b'\\xff\\n', 'w')",
        points=20,
    ),
    # output
    Case(
        "much output",
        "import sys\nfor _ in range(2): print('x' * 10**6, file=sys.stderr); print('y' * 10**6)",
        points=20,
    ),
    Case("closes output", "import sys\nsys.stdout.close(); sys.stderr.close()", points=20),
    Case(
        "markup",
        "raise ValueError('<script>alert(1)</script> =cmd() \\x1b[31m ]]>')",
        says="script",
    ),
]


def lines(source):
    """Source as a notebook keeps it."""
    return source.splitlines(keepends=True)


def code_cell(source):
    return {
        "cell_type": "code",
        "id": "extra",
        "metadata": {},
        "execution_count": 1,
        "outputs": [],
        "source": lines(source),
    }


def exercise_cells(made):
    return [c for c in made["cells"] if "exercise" in c["metadata"].get("lora_course", {})]


def added(source, at=1, solved=None):
    """A solved notebook with one more code cell."""
    made = solved or notebook()
    made["cells"].insert(at, code_cell(source))
    return made


def stripped():
    made = notebook()
    made["metadata"] = {}
    for cell in made["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)
    return made


def of_format_3():
    made = notebook()
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
            cell |= {"language": "python", "prompt_number": 1, "collapsed": False}
        cell.pop("id", None)
    cells = made.pop("cells")
    sheet = {"cells": cells, "metadata": {}}
    return {**made, "nbformat": 3, "nbformat_minor": 0, "worksheets": [sheet]}


def with_metadata(**changes):
    return {**notebook(), "metadata": changes}


def same_ids():
    made = notebook()
    for cell in made["cells"]:
        cell["id"] = "same"
    return made


def reordered():
    made = notebook()
    made["cells"] = made["cells"][::-1]
    return made


def only_code():
    made = notebook()
    made["cells"] = [c for c in made["cells"] if c["cell_type"] == "code"]
    return made


def without_setup():
    made = notebook()
    made["cells"] = [c for c in made["cells"] if "setup" not in c["metadata"].get("tags", [])]
    return made


def one_cell():
    made = only_code()
    source = "\n\n".join("".join(c["source"]) for c in made["cells"])
    made["cells"] = [code_cell(source)]
    return made


def sources_as_text():
    made = notebook()
    for cell in made["cells"]:
        cell["source"] = "".join(cell["source"])
    return made


def stub_below():
    """The answer was written into a new cell above the stub, which is still there."""
    made = notebook()
    stubs = json.loads((ROOT / "exercises/03_the_lora_layer.ipynb").read_text(encoding="utf-8"))
    made["cells"] += exercise_cells(stubs)
    return made


def methods_elsewhere():
    """forward is written in a second cell and put into the class afterwards."""
    kept = {}

    def edit(source):
        at = source.index("    def forward")
        kept["forward"] = "\n".join(row[4:] for row in source[at:].splitlines())
        return source[:at]

    made = notebook(edit)
    made["cells"].append(code_cell(kept["forward"] + "\nLoRALinear.forward = forward\n"))
    return made


def helper_elsewhere():
    made = notebook(
        lambda s: s.replace("self.scaling = lora_alpha / r", "self.scaling = scale(lora_alpha, r)")
    )
    return added(
        "def scale(alpha, r):\n    return divide(alpha, r)\n",
        solved=added(
            """
def divide(a, b):
    return a / b
""",
            at=4,
            solved=made,
        ),
    )


def deleted():
    made = notebook()
    cell = exercise_cells(made)[0]
    made["cells"] = [c for c in made["cells"] if c is not cell]
    return made


def saved(made, encoding="utf-8", newline="\n", **options):
    text = json.dumps(made, indent=1, ensure_ascii=False, **options)
    return text.replace("\n", newline).encode(encoding)


# Honest: note -> (bytes of the file, points lost, part of the message of 3.1)
HONEST = {
    "honest": (saved(notebook()), 0, ""),
    "byte order mark": (b"\xef\xbb\xbf" + saved(notebook()), 0, ""),
    "utf-16": (saved(notebook(), "utf-16"), 0, ""),
    "CRLF": (saved(notebook(), newline="\r\n"), 0, ""),
    "CRLF in the cells": (saved(notebook(lambda s: s.replace("\n", "\r\n"))), 0, ""),
    "no metadata": (saved(stripped()), 0, ""),
    "format 3": (saved(of_format_3()), 0, ""),
    "another kernel": (saved(with_metadata(kernelspec={"name": "my-gpu", "language": "R"})), 0, ""),
    "odd metadata": (saved(with_metadata(kernelspec=None, widgets=[1])), 0, ""),
    "same ids": (saved(same_ids()), 0, ""),
    "cells reversed": (saved(reordered()), 0, ""),
    "only code": (saved(only_code()), 0, ""),
    "no setup cell": (saved(without_setup()), 0, ""),
    "all in one cell": (saved(one_cell()), 0, ""),
    "sources as text": (saved(sources_as_text()), 0, ""),
    "stub below the answer": (saved(stub_below()), 0, ""),
    "forward elsewhere": (saved(methods_elsewhere()), 0, ""),
    "helpers in other cells": (saved(helper_elsewhere()), 0, ""),
    "exercise deleted": (saved(deleted()), 20, "not done yet"),
    "broken cell": (saved(added("def broken(:\n")), 0, ""),
    "cell that raises": (saved(added("1 / 0\nimport no_such_library\n")), 0, ""),
    "endless scratch cell": (saved(added("x = 1\nwhile True:\n    x += 1\n")), 0, ""),
    "asks for input": (saved(added("r = int(input('rank? '))\n")), 0, ""),
    "plots": (
        saved(added("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n")),
        0,
        "",
    ),
    "writes to stderr": (
        saved(attack("import sys, warnings\nprint('x', file=sys.stderr)\nwarnings.warn('old')")),
        0,
        "",
    ),
    "imports peft": (saved(added("import peft\nfrom peft import LoraConfig\n")), 0, ""),
    "magics": (
        saved(
            added(
                "%matplotlib inline\n!pip install torch\nfiles = !ls\nprint?\nimport math\n",
                solved=added("%%bash\nsleep 100\n", solved=added("%%time\nimport math\n")),
            )
        ),
        0,
        "",
    ),
    "magic above the answer": (saved(notebook(lambda s: "%%time\n" + s)), 0, ""),
    "shows its work": (saved(notebook(lambda s: s + "\nprint(LoRALinear(1))\n")), 0, ""),
    "waits in its cell": (saved(notebook(lambda s: s + "\nwhile True: pass\n")), 0, ""),
    "double precision": (saved(added("torch.set_default_dtype(torch.float64)\n", at=3)), 0, ""),
    "warnings as errors": (
        saved(added("import warnings\nwarnings.simplefilter('error')\n")),
        0,
        "",
    ),
    "star import": (saved(added("from torch.nn import *\nfrom math import *\n", at=3)), 0, ""),
    "asserts": (
        saved(notebook(lambda s: s + "\nassert LoRALinear(None) == 3, 'my own test'\n")),
        0,
        "",
    ),
    "type hints": (
        saved(
            notebook(
                lambda s: (
                    "from __future__ import annotations\n"
                    + s.replace("def forward(self, x):", "def forward(self, x: NoName) -> NoName:")
                )
            )
        ),
        0,
        "",
    ),
    "other scripts": (saved(added("größe = 'Größe — 大きさ 🙂'\n")), 0, ""),
    "half a character": (saved(added("x = '\\ud800'\n")), 0, ""),
    "one exercise wrong": (
        saved(notebook(lambda s: s.replace("lora_alpha / r", "lora_alpha"))),
        20,
        "lora_alpha alone",
    ),
    "syntax error": (saved(notebook(lambda s: s.replace("super()", "super("))), 20, "SyntaxError"),
}
BROKEN = {
    "empty file": (b"", "empty"),
    "blank file": (b" \n", "empty"),
    "no json": (b"print('hello')", "JSON is broken"),
    "cut off": (saved(notebook())[:5000], "JSON is broken"),
    "nested": (b"[" * 200_000, "JSON is broken"),
    "a list": (b"[1, 2]", "no cells"),
    "a number": (b"7", "no cells"),
    "no cells": (b'{"nbformat": 4, "metadata": {}}', "no cells"),
    "cells of nonsense": (
        b'{"cells": [1, null, {"cell_type": "code", "source": 5}]}',
        "no code",
    ),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "JSON is broken"),
    "an empty notebook": (b'{"cells": [], "metadata": {}, "nbformat": 4}', "no code"),
}
