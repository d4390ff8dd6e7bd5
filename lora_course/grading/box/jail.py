"""The walls of the box: what a process can still do after `confine`. Linux only, without root.

Three parts, each from the kernel itself, and each tested by tests/test_grading.py:
Landlock (files and addresses), seccomp (no process, no socket, no signal to others, no
permissions), rlimits (memory, threads, sizes). A box never forks: what it starts are threads, which
end with it. All of it is inherited and cannot be taken off again.

Before it is closed, room.py gives the box a disk of its own and counts its threads.
"""

import ctypes
import os
import platform
import struct
import sys

from lora_course.grading.box import syscalls

GB = 1 << 30
MEMORY = 2 * GB  # address space beyond that of the warm process
FILE_SIZE = 64 << 20  # bytes, of one file

ALLOW, EPERM, ENOSYS, DONE, DIE = 0x7FFF0000, 0x50001, 0x50026, 0x50000, 0x80000000
ENOTTY = 0x50019


def confine(folder, readable):
    """Closes the box around this process, for good. folder: the one place it may write to.

    readable: files and folders that it may read, as paths or as descriptors opened with O_PATH.
    Returns what this system does not offer.
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


def limits(memory=MEMORY):
    """Memory, file size, open files, no core dump. Time is measured from outside."""
    import resource

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, now + memory),
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
            place = os.dup(path) if isinstance(path, int) else os.open(path, os.O_PATH)
        except OSError:
            continue
        rights &= ~0 if os.path.isdir(place) else 0b111
        _call(libc.syscall, 445, ruleset, 1, struct.pack("=Qi", rights, place), 0)
        os.close(place)
    _call(libc.prctl, 38, 1, 0, 0, 0)  # no_new_privs
    _call(libc.syscall, 446, ruleset, 0)
    os.close(ruleset)


def seccomp():
    """System calls: see syscalls.py. A signal reaches this process itself and no other.

    A process that ends or stops itself by a signal ends by SIGSYS, so that SIGKILL is always
    another's doing.
    """
    column, machine = syscalls.MACHINES[platform.machine()]
    code = [_load(4), (0x15, 1, 0, machine), _answer(DIE), _load(0)]  # 4: the machine, 0: the call
    code += [(0x35, 0, 1, syscalls.NEWEST), _answer(ENOSYS)]  # also the calls of 32-bit code
    for table, answer in (
        (syscalls.REFUSED, EPERM),
        (syscalls.PRETENDED, DONE),
        (syscalls.UNKNOWN, ENOSYS),
    ):
        for number in syscalls.numbers(table, column):
            code += [_skip_unless(number, 1), _answer(answer)]
    own = os.getpid()
    for call, position in (syscalls.KILL, 1), (syscalls.TGKILL, 2):  # position of the signal
        ends = [step for n in syscalls.ENDS for step in (_skip_unless(n, 1), _answer(DIE))]
        inner = [_load(16 + 8 * position), *ends, _answer(ALLOW)]
        body = [_load(16), _skip_unless(own, len(inner)), *inner, _answer(EPERM)]
        code += [_skip_unless(call[column], len(body)), *body]
    for call, argument, values, then, otherwise in (
        (syscalls.SETRLIMIT, 0, (syscalls.CPU_TIME,), EPERM, ALLOW),
        (syscalls.FCNTL, 1, syscalls.OWNER, EPERM, ALLOW),
        (syscalls.IOCTL, 1, syscalls.HARMLESS, ALLOW, ENOTTY),
    ):
        body = [_load(16 + 8 * argument)]
        for value in values:
            body += [_skip_unless(value, 1), _answer(then)]
        code += [_skip_unless(call[column], len(body) + 1), *body, _answer(otherwise)]
    body = [_load(24), _skip_unless(syscalls.CPU_TIME, 1), _answer(EPERM), _load(16)]
    for value in (0, own):
        body += [_skip_unless(value, 1), _answer(ALLOW)]
    code += [_skip_unless(syscalls.PRLIMIT[column], len(body) + 1), *body, _answer(EPERM)]
    threads = [_load(16), (0x45, 1, 0, syscalls.THREAD), _answer(EPERM), _answer(ALLOW)]
    code += [_skip_unless(syscalls.CLONE[column], len(threads)), *threads, _answer(ALLOW)]
    kept = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
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
