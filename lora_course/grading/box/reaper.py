"""Ends a box when it is time, and sweeps up after it: processes and files."""

import contextlib
import os
import select
import signal
import time

DISK, FILES = 256 << 20, 4000  # what a box may leave in its folder before it is ended


def watch(box, life, folder):
    """Waits for the end: the box has finished, the grader has let go, or the folder is too full."""
    poll = select.poll()
    poll.register(life, select.POLLHUP)
    with contextlib.suppress(OSError, AttributeError):
        poll.register(os.pidfd_open(box), select.POLLIN)
    while not poll.poll(100) and os.waitpid(box, os.WNOHANG) == (0, 0) and not full(folder):
        pass
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # the box, and with reduced isolation what it started
        for child in {box, *children()}:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.002)
            continue
        return


def children():
    """Processes that this one has to bury."""
    with contextlib.suppress(OSError):
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    return []


def full(folder):
    """True when the folder holds too much, or is too deep to tell."""
    size = count = 0
    try:
        for _, _, names, at in os.fwalk(folder):
            count += 1 + len(names)
            size += sum(os.stat(n, dir_fd=at, follow_symlinks=False).st_blocks * 512 for n in names)
            if count > FILES or size > DISK:
                return True
    except FileNotFoundError:
        return False
    except (OSError, RecursionError):
        return True
    return False


def remove(folder):
    """Removes a folder however deep: what lies below a folder is first moved up."""
    with contextlib.suppress(OSError):
        number, left, token = 0, True, os.urandom(6).hex()
        while left:
            left = False
            for entry in list(os.scandir(folder)):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                for inner in list(os.scandir(entry.path)):
                    number += 1
                    os.rename(inner.path, os.path.join(folder, f"{token}-{number}"))
                    left = True
                os.rmdir(entry.path)
        os.rmdir(folder)
