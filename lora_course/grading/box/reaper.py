"""Ends a box when it is time, says why it ended, and sweeps up the processes it left."""

import contextlib
import os
import select
import signal
import time

from lora_course.grading.box.disk import full, lacks_room, unnamed
from lora_course.grading.box.room import DISK, THREADS


def watch(box, life, folder, own_disk=False):
    """Waits for the end: the box has finished, the grader has let go, or a limit is passed.

    Returns what the judge has to know, a dict: why "ended", "let go", "threads" or "disk";
    signal: the one that ended the box, when we did not; cpu: seconds of processor time; waited:
    seconds in which it wanted to run and could not; held: somebody had stopped it; short: the
    disk that boxes share was full.
    """
    poll = select.poll()
    poll.register(life, select.POLLHUP)
    with contextlib.suppress(OSError, AttributeError):
        poll.register(os.pidfd_open(box), select.POLLIN)
    said = {"why": "", "signal": 0, "cpu": 0.0, "waited": 0.0, "held": False, "short": False}
    while not said["why"]:
        gone = any(descriptor == life for descriptor, _ in poll.poll(50))
        done, status, usage = os.wait4(box, os.WNOHANG)
        if done:
            ended = os.waitstatus_to_exitcode(status)
            said |= {"why": "ended", "signal": -min(ended, 0)}
            said["cpu"] = usage.ru_utime + usage.ru_stime
        elif gone:
            said |= {"why": "let go", **state(box)}
        elif threads(box) > THREADS + 8:
            said["why"] = "threads"
        elif not own_disk and (full(folder) or unnamed(box) > DISK):
            said["why"] = "disk"
    if not own_disk:
        said["short"] = lacks_room(folder)
    bury([] if said["why"] == "ended" else [box])
    return said


def bury(left):
    """Ends the box where it is left, and with reduced isolation what it started."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for child in {*left, *children()}:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.002)
            continue
        return


def state(box):
    """How a box fares that still runs: work, waiting for a core (in seconds), and if it is held."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{box}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        said = {"held": fields[0] in "Tt", "cpu": (int(fields[11]) + int(fields[12])) / ticks}
        with contextlib.suppress(OSError), open(f"/proc/{box}/schedstat") as file:
            said["waited"] = int(file.read().split()[1]) / 1e9
        return said
    return {}


def threads(box):
    """How many threads the box has."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{box}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[17])
    return 0


def children():
    """Processes that this one has to bury."""
    with contextlib.suppress(OSError):
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    return []
