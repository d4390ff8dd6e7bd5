"""Five exercises of chapter 03 in one notebook, each with something strange in it.

FORMS are honest: green in the notebook, so that each earns its points. ATTACKS earn nothing.
"""

import re

from tests import hostile

# note: (cells above the answers, what has to be 1 inside of the answer, cells below the check).
# _N stands for the number of the exercise, so that five forms can share a notebook.
SCALE = "def one_N(): return 1"
FORMS = {
    "a function sets a global": (["def on_N():\n    global a_N\n    a_N = 1\non_N()"], "a_N", []),
    "a decorator registers": (
        ["T_N = {}\ndef put_N(f):\n    T_N['f'] = f", "@put_N\ndef any_N(): return 1"],
        "T_N['f']()",
        [],
    ),
    "a loop registers": (
        ["T_N = {}\ndef put_N(k): T_N[k] = 1", "for k_N in 'ab': put_N(k_N)"],
        "T_N['a']",
        [],
    ),
    "fills a dict": (
        ["C_N = {}\ndef fill_N(c): c['a'] = 1\nfill_N(C_N)"],
        "C_N['a']",
        [],
    ),
    "update into _": (["d_N = {}\n_ = d_N.update(a=1)"], "d_N['a']", []),
    "setdefault": (["d_N = {}\nd_N.setdefault('a', []).append(1)"], "d_N['a'][0]", []),
    "comprehension": (["d_N = []\n[d_N.append(i) for i in [1]]"], "d_N[0]", []),
    "fills in place": (["T_N = torch.zeros(1)\nnn.init.ones_(T_N)"], "T_N.item()", []),
    "globals": (["globals()['g_N'] = 1"], "g_N", []),
    "exec": (["exec('e_N = 1')"], "e_N", []),
    "writefile": (["%%writefile helper_N.py\none = 1", "import helper_N"], "helper_N.one", []),
    "a file of another cell": (
        ["with open('f_N.txt', 'w') as f_N: f_N.write('1')"],
        "int(open('f_N.txt').read())",
        [],
    ),
    "display": (["display(torch.zeros(1))\nv_N = 1"], "[display(1), v_N][1]", ["display(v_N)"]),
    "Out": (["1", "v_N = Out[max(Out)]"], "v_N", []),
    "underscore": (["1", "v_N = _"], "v_N", []),
    "await": (
        [
            "from asyncio import sleep",
            "async def f_N():\n    await sleep(0)\n    return 1\nv_N = await f_N()",
        ],
        "v_N",
        [],
    ),
    "time": (["%time v_N = 1"], "v_N", []),
    "time of a cell": (["%%time\nv_N = 1"], "v_N", []),
    "a line that begins with %": (["%matplotlib inline\nv_N = (3\n% 2)"], "v_N", []),
    "timeit": (["%timeit -n1 -r1 1 + 1\nv_N = 1"], "v_N", []),
    "capture": (["%%capture out\nv_N = 1"], "v_N", []),
    "a shell line": (["files_N = !ls\nv_N = 1"], "v_N", []),
    "redefined below": ([SCALE], "one_N()", ["def one_N(): return 0"]),
    "deleted below": ([SCALE], "one_N()", ["del one_N"]),
    "reused below": ([SCALE], "one_N()", ["one_N = 5\nfor one_N in range(3): pass"]),
    "setattr in a loop": (
        ["class X_N: pass\nfor n_N, v_N in {'a': 1}.items(): setattr(X_N, n_N, v_N)"],
        "X_N.a",
        [],
    ),
    "a module of its own": (
        ["import sys, types\nm_N = types.ModuleType('t_N')\nm_N.a = 1\nsys.modules['t_N'] = m_N"],
        "__import__('t_N').a",
        [],
    ),
    "with": (
        ["import contextlib\nK_N = [0]\nwith contextlib.suppress(ValueError):\n    K_N[0] = 1"],
        "K_N[0]",
        [],
    ),
    "walrus": (["print(v_N := 1)"], "v_N", []),
    "checked twice": ([SCALE], "one_N()", ["def one_N(): return 0", "CHECK"]),
}

# note: (code inside of the answer, part of the message)
ATTACKS = {
    "thread bomb": (
        "import threading, time\n"
        "threading.stack_size(65536)\n"
        "for _ in range(3000): threading.Thread(target=time.sleep, args=(1000,)).start()",
        "can't start new thread",
    ),
    "files without a name": (
        "import os\n"
        "kept = []\n"
        "for i in range(12):\n"
        "    f = open(f'x{i}', 'wb'); os.unlink(f'x{i}'); kept.append(f)\n"
        "    f.write(bytes(60 << 20)); f.flush()",
        "",
    ),
    "flags of a file": (
        "import fcntl, lora_course\n"
        "fcntl.ioctl(open(lora_course.__file__), 0x40086602, (16).to_bytes(8, 'little'))",
        "OSError",
    ),
    "who is connected": ("open('/proc/self/net/tcp')", "PermissionError"),
    "what is mounted": ("open('/proc/self/mountinfo')", "PermissionError"),
    "its thread's network": (
        "import threading\nopen(f'/proc/self/task/{threading.get_native_id()}/net/unix')",
        "PermissionError",
    ),
    "asks the judge": ("import lora_course.checks.ch03 as c\nc.judge_linear", "AttributeError"),
    "reads the judge": (
        "import lora_course.checks as c, os\nopen(os.path.dirname(c.__file__) + '/ch03.py')",
        "PermissionError",
    ),
    "loads the judge again": (
        "import sys\nsys.modules.pop('lora_course.checks.ch03')\nimport lora_course.checks.ch03",
        "",
    ),
    "finds the judge": (
        "import gc, types\n"
        "names = [f.__name__ for f in gc.get_objects() if isinstance(f, types.FunctionType)]\n"
        "raise ValueError([n for n in names if n.startswith('judge_')])",
        "ValueError: []",
    ),
    "another user": ("import os\nos.setreuid(0, 0)", "PermissionError"),
    "a limit that kills": (
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
        "Error",
    ),
    "a signal from itself": (
        "import signal, threading\nsignal.pthread_kill(threading.get_ident(), 9)",
        "without an answer",
    ),
    "keys": ("import ctypes\nassert ctypes.CDLL(None).syscall(250, 0, -3, 1) >= 0, 'no'", "no"),
    "perf": ("import ctypes\nassert ctypes.CDLL(None).syscall(298, 0, 0, 0, 0, 0) >= 0, 'no'", ""),
    "abstract socket": ("import socket\nsocket.socket(socket.AF_UNIX)", "PermissionError"),
    "mounts": (
        "import ctypes\nassert ctypes.CDLL(None).mount(b'a', b'.', b'tmpfs', 0, None) == 0, 'no'",
        "no",
    ),
    "other boxes": (
        "import os\nos.listdir(os.path.dirname(os.getcwd()))",
        "PermissionError",
    ),
    "a timer that kills": (
        "import ctypes\nassert ctypes.CDLL(None).syscall(222, 1, None, b'0' * 8) == 0, 'no'",
        "",
    ),
    "its own size": ("import sys\nsys.stdout.close()\nraise SystemExit", "SystemExit"),
}


def names():
    """The exercises, in order."""
    return list(hostile.POINTS)


def notebook(strange):
    """A solved notebook. strange: for each exercise (cells above, line inside, cells below)."""
    made = hostile.notebook()
    for number, (above, code, below) in enumerate(strange):
        cells = made["cells"]
        label = f"03.{names()[number]}"
        at = next(i for i, c in enumerate(cells) if about(c).get("exercise") == label)
        source = "".join(cells[at]["source"])
        first = re.search(r"(?m)^( *)def .*:\n", source)
        space = first[1] + "    "
        body = "".join(f"{space}{row}\n" for row in code.replace("_N", str(number)).splitlines())
        cells[at]["source"] = hostile.lines(source[: first.end()] + body + source[first.end() :])
        check = "".join(cells[at + 1]["source"])
        under = [c.replace("_N", str(number)).replace("CHECK", check) for c in below]
        cells[at + 2 : at + 2] = [hostile.code_cell(c) for c in under]
        cells[at:at] = [hostile.code_cell(c.replace("_N", str(number))) for c in above]
    return hostile.saved(made)


def about(cell):
    return cell["metadata"].get("lora_course", {})


def packed(cases):
    """[(notes of five cases, notebook)]."""
    notes = list(cases)
    groups = [notes[at : at + 5] for at in range(0, len(notes), 5)]
    return [(group, notebook([cases[note] for note in group])) for group in groups]


def honest():
    """Notebooks with FORMS, as `packed`."""
    return packed({n: (up, f"assert ({e}) == 1", low) for n, (up, e, low) in FORMS.items()})


def attacks():
    """Notebooks with ATTACKS, as `packed`."""
    return packed({note: ([], code, []) for note, (code, _) in ATTACKS.items()})
