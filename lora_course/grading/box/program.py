"""The filter of system calls, in the kernel's small language; syscalls.py says what it refuses."""

from lora_course.grading.box import syscalls

ALLOW, EPERM, ENOSYS, DONE, DIE = 0x7FFF0000, 0x50001, 0x50026, 0x50000, 0x80000000
ENOTTY = 0x50019


def steps(column, machine, own):
    """The filter as (code, skip when true, skip when not, number) each.

    own: this process; a signal reaches it and no other. A process that ends or stops itself by a
    signal ends by SIGSYS, so that SIGKILL is always another's doing.
    """
    code = [_load(4), (0x15, 1, 0, machine), _answer(DIE), _load(0)]  # 4: the machine, 0: the call
    code += [(0x35, 0, 1, syscalls.NEWEST), _answer(ENOSYS)]  # also the calls of 32-bit code
    for table, answer in (
        (syscalls.REFUSED, EPERM),
        (syscalls.PRETENDED, DONE),
        (syscalls.UNKNOWN, ENOSYS),
    ):
        for number in syscalls.numbers(table, column):
            code += [_skip_unless(number, 1), _answer(answer)]
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
    return code


def _load(offset):
    return 0x20, 0, 0, offset


def _answer(value):
    return 0x06, 0, 0, value


def _skip_unless(value, steps):
    """Goes on when the loaded number is `value`, else over the next `steps`."""
    return 0x15, 0, steps, value
