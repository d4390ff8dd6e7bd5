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

from lora_course.grading.box import program, syscalls

GB = 1 << 30
MEMORY = 2 * GB  # address space beyond that of the warm process
FILE_SIZE = 64 << 20  # bytes, of one file


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
    """System calls: see program.py."""
    column, machine = syscalls.MACHINES[platform.machine()]
    steps = program.steps(column, machine, os.getpid())
    kept = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    _call(_libc().prctl, 38, 1, 0, 0, 0)
    head = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(kept))
    _call(_libc().prctl, 22, 2, head, 0, 0)


def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _call(function, *arguments):
    """The result of a system call; integers are passed as longs. Raises OSError."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = function(*passed)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
