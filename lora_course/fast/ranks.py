"""Processes that train together: how they meet, and how one ends when another one is gone.

A rank is one of the processes, world is how many there are. gloo (CPU) or NCCL (NVIDIA's GPUs)
carries the numbers between them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist

LOST = 75  # the exit code of a rank that lost another one
CARRIERS = ("gloo", "NCCL", "TCPStore")  # one of these stands in the error of a broken connection


def join(cpu=False, seconds=120):
    """(rank, world, device) of this process, after it has met the others; alone (0, 1, device).

    The launcher names rank, world and the meeting place in the environment. seconds: how long a
    rank waits for the others, now and later. Raises ValueError for more ranks than GPUs.
    """
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    rank, world, place, here = (int(os.environ.get(name, names[name])) for name in names)
    gpus = 0 if cpu else torch.cuda.device_count()
    if 0 < gpus < here:
        raise ValueError(f"{here} ranks need {here} GPUs, and there are {gpus}. Or give --cpu.")
    device = torch.device("cuda", place) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if gpus else "gloo", timeout=timedelta(seconds=seconds))
    return rank, world, device


def print_line(words):
    """Print a line in one piece: print() writes its end apart, and another rank gets in between."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def same_everywhere(done, world):
    """Raise ValueError when the ranks have not made the same number of steps."""
    counts = [done] * world
    if world > 1:
        dist.all_gather_object(counts, done)
    if len(set(counts)) > 1:
        raise ValueError(
            f"The ranks go on after different steps: {counts}. All must read the same checkpoint: "
            "put it on a disk that every machine sees."
        )


@contextlib.contextmanager
def leaving(rank, world):
    """The block works with other ranks; when one of them is gone, this one says so and ends."""
    if world == 1:
        yield
        return
    # The launcher sends SIGTERM to the ranks that are left. When it was killed itself, nobody does.
    signal.signal(signal.SIGTERM, lambda *_: leave(rank, "the launcher ended this one"))
    threading.Thread(target=outlive, args=(rank, os.getppid()), daemon=True).start()
    try:
        yield
        dist.destroy_process_group()
    except RuntimeError as error:
        if not any(word in str(error) for word in CARRIERS):
            raise
        leave(rank, f"the connection to another rank broke: {str(error).split('. ')[0]}")


def outlive(rank, launcher):
    """Wait until the launcher is gone, then end this rank."""
    while os.getppid() == launcher:
        time.sleep(1)
    leave(rank, "the launcher is gone")


def leave(rank, reason):
    """End this process at once: nobody is left whom it could tell."""
    words = (
        f"rank {rank} ends, because it cannot go on alone ({reason}). Mend what ended the others, "
        "for instance too little memory, and start the same command again: it goes on from the "
        "last checkpoint.\n"
    )
    os.write(2, words.encode())  # in one piece, also in the middle of another print
    os._exit(LOST)


def launch(module, *options, ranks=2, seconds=300, look=None):
    """Run `python -m module options` on ranks of this machine; returns (exit code, lines).

    Several ranks go through `accelerate launch`, on a free port. Without --multi_gpu it starts one
    process where there is no GPU, whatever --num_processes says; with it, several, with or without.
    seconds: after these all are ended. look: called with each line while the ranks run.
    """
    command = [sys.executable, "-m"]
    if ranks > 1:
        command += ["accelerate.commands.launch", "--multi_gpu", f"--num_processes={ranks}"]
        command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
        command += ["--main_process_port=0", "-m"]
    command += [module, *map(str, options)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    lines, pipe = [], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, env=environment, **pipe) as process:
        clock = threading.Timer(seconds, end_all, [process.pid])
        clock.start()
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if look:
                    look(lines[-1])
            process.wait()
        except BaseException:  # also a stop by hand
            end_all(process.pid)
            raise
        finally:
            clock.cancel()
    return process.returncode, lines


def end_all(pid):
    """End a process and those that it has started, first with a request."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for ask in ("terminate", "kill"):
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, ask)()
        until = time.monotonic() + 10
        while (family := [p for p in family if works(p)]) and time.monotonic() < until:
            time.sleep(0.05)


def works(process):
    """Whether a process has not ended; its exit code stays where it is, for who started it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
