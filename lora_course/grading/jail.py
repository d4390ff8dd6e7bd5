"""The walls of the box: what a process can still do after `confine`. Linux only, without root.

Three parts, each from the kernel itself, and each tested by tests/test_box.py:
Landlock (files and addresses), seccomp (no process, no socket, no signal to others, no
permissions), rlimits (memory, time, sizes). A box never forks: what it starts are threads, which
end with it. All of it is inherited and cannot be taken off again.
"""

import ctypes
import os
import platform
import struct
import sys

GB = 1 << 30
MEMORY = 3 * GB  # address space beyond that of the warm process
FILE_SIZE = 64 << 20  # bytes, of one file

# Numbers of system calls: (x86_64, aarch64), None where there is no such call.
REFUSED = {
    "processes": [(57, None), (58, None), (59, 221), (322, 281), (435, 435)],  # fork vfork exec*
    "signals": [(200, 130), (129, 138), (297, 240), (424, 424), (434, 434), (438, 438)],
    "other processes": [(101, 117), (310, 270), (311, 271), (312, 272), (440, 440), (448, 448)],
    "sockets": [(41, 198), (53, 199), (42, 203), (49, 200), (50, 201), (43, 202), (288, 242)]
    + [(44, 206), (46, 211), (307, 269), (47, 212), (299, 243), (425, 425), (426, 426), (427, 427)],
    "namespaces, mounts": [(272, 97), (308, 268), (165, 40), (166, 39), (155, 41), (161, 51)]
    + [(n, n) for n in (428, 429, 430, 431, 432, 433, 442)],
    "kernel": [(321, 280), (298, 241), (323, 282), (248, 217), (249, 218), (250, 219), (300, 262)],
    "memory outside the limits": [(29, 194), (68, 186), (64, 190), (240, 180), (241, 181)]
    + [(319, 279), (447, 447)],
    "priorities": [(141, 140), (142, 118), (144, 119), (203, 122), (314, 274), (251, 30)]
    + [(256, 238), (279, 239)],
    "files by another way": [(76, 45), (133, None), (259, 33), (304, 265)],
}
# chmod, chown, utime, setxattr and kin: answered with "done" and not done. Landlock does not
# stop them, and honest code (shutil.copy) calls them.
PRETENDED = [(90, None), (91, 52), (268, 53), (92, None), (93, 55), (94, None), (260, 54)]
PRETENDED += [(132, None), (235, None), (261, None), (280, 88)]
PRETENDED += [(188, 5), (189, 6), (190, 7), (197, 14), (198, 15), (199, 16)]
NEWEST = 449  # calls from this number on are refused: nobody here has read what they do
KILL, TGKILL, CLONE, PRLIMIT, FCNTL, IOCTL = (
    (62, 129), (234, 131), (56, 220), (302, 261), (72, 25), (16, 29)
)  # fmt: skip
SETOWN = (8, 10, 15, 1024, 1026)  # fcntl: who gets the signals of a file
ASYNC = (0x8901, 0x8902, 0x5412, 0x541C)  # ioctl: the same, and typing into a terminal
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOW, EPERM, ENOSYS, DONE, DIE = 0x7FFF0000, 0x50001, 0x50026, 0x50000, 0x80000000


def confine(folder, readable):
    """Closes the box around this process, for good. folder: the one place it may write to.

    readable: files and folders that it may read. Returns what this system does not offer.
    """
    missing = []
    for part, close in (
        ("no limits", limits),
        ("no capabilities dropped", drop_capabilities),
        ("no file access rules (Landlock 3, Linux 6.2)", lambda: landlock(folder, readable)),
        ("no system call filter (seccomp)", seccomp),
    ):
        try:
            close()
        except (OSError, AttributeError, KeyError, ImportError, ValueError):
            missing.append(part)
    return missing


def limits():
    """Memory, file size, open files, no core dump. Time is measured from outside."""
    import resource

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, now + MEMORY),
        (resource.RLIMIT_FSIZE, FILE_SIZE),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(what, (most, most))


def drop_capabilities():
    """Root without its rights: a grader that runs as root must not hand them on."""
    if not sys.platform.startswith("linux"):
        raise OSError("Linux only")
    head, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _call(_libc().capset, head, none)
    _call(_libc().prctl, 47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, clear all


def landlock(folder, readable):
    """Files: read what is listed, write into `folder`, nothing else. Addresses: none."""
    libc = _libc()
    abi = libc.syscall(444, None, 0, 1)
    if abi < 3:
        raise OSError("Landlock is missing or older than truncate")
    read, device = 0b1100, 0b110
    below = sum(1 << bit for bit in (1, 2, 3, 4, 5, 7, 8, 12, 13, 14))  # no sockets, no devices
    handled = (1 << (16 if abi >= 5 else 15)) - 1
    rules = struct.pack("QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call(libc.syscall, 444, rules, size, 0)
    allowed = [(path, read) for path in readable]
    allowed += [(f"/dev/{name}", device) for name in ("null", "zero", "urandom")]
    for path, rights in [*allowed, (folder, below)]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights &= ~0 if os.path.isdir(path) else 0b111
        _call(libc.syscall, 445, ruleset, 1, struct.pack("=Qi", rights, place), 0)
        os.close(place)
    _call(libc.prctl, 38, 1, 0, 0, 0)  # no_new_privs
    _call(libc.syscall, 446, ruleset, 0)
    os.close(ruleset)


def seccomp():
    """System calls: see the lists above. A signal reaches this process itself and no other."""
    column, machine = MACHINES[platform.machine()]
    code = [_load(4), _skip_unless(machine, 1), _answer(ALLOW), _load(0)]
    code[1:3] = [(0x15, 1, 0, machine), _answer(DIE)]
    code += [(0x35, 0, 1, NEWEST), _answer(ENOSYS)]
    for calls, answer in ((sum(REFUSED.values(), []), EPERM), (PRETENDED, DONE)):
        for call in calls:
            if call[column] is not None:
                number = ENOSYS if call == (435, 435) else answer  # clone3: libc falls back
                code += [_skip_unless(call[column], 1), _answer(number)]
    own = os.getpid()
    for call, argument, values, then, otherwise in (
        (KILL, 0, (own,), ALLOW, EPERM),
        (TGKILL, 0, (own,), ALLOW, EPERM),
        (PRLIMIT, 0, (0, own), ALLOW, EPERM),
        (FCNTL, 1, SETOWN, EPERM, ALLOW),
        (IOCTL, 1, ASYNC, EPERM, ALLOW),
    ):
        body = [_load(16 + 8 * argument)]
        for value in values:
            body += [_skip_unless(value, 1), _answer(then)]
        code += [_skip_unless(call[column], len(body) + 1), *body, _answer(otherwise)]
    threads = [_load(16), (0x45, 1, 0, 0x10000), _answer(EPERM), _answer(ALLOW)]
    code += [_skip_unless(CLONE[column], len(threads)), *threads, _answer(ALLOW)]
    program = b"".join(struct.pack("HBBI", *step) for step in code)
    kept = ctypes.create_string_buffer(program)
    _call(_libc().prctl, 38, 1, 0, 0, 0)
    head = struct.pack("HxxxxxxP", len(code), ctypes.addressof(kept))
    _call(_libc().prctl, 22, 2, head, 0, 0)


def _load(offset):
    return 0x20, 0, 0, offset


def _answer(value):
    return 0x06, 0, 0, value


def _skip_unless(value, steps):
    """Goes on when the loaded number is `value`, else over the next `steps`."""
    return 0x15, 0, steps, value


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _call(function, *arguments):
    """The result of a system call; integers are passed as longs. Raises OSError."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = function(*passed)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
