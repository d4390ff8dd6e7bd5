"""Processes that train together: how they meet, and how one ends when another one is gone.

A rank is one of the processes, world is how many there are. gloo (CPU) or NCCL (NVIDIA's GPUs)
carries the numbers between them.
"""

import contextlib
import os
import signal
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

LOST = 75  # the exit code of a rank that lost another one
CARRIERS = ("gloo", "NCCL", "TCPStore")  # one of these stands in the error of a broken connection


# owned by chapter 17
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


@contextlib.contextmanager
def leaving(rank, world):
    """The block works with other ranks; when one of them is gone, this one says so and ends."""
    if world == 1:
        yield
        return
    # The launcher sends SIGTERM to the ranks that are left.
    signal.signal(signal.SIGTERM, lambda *_: leave(rank, "the launcher ended this one"))
    try:
        yield
        dist.destroy_process_group()
    except RuntimeError as error:
        if not any(word in str(error) for word in CARRIERS):
            raise
        leave(rank, str(error).splitlines()[0])


def leave(rank, reason):
    """End this process at once: nobody is left whom it could tell."""
    print(
        f"rank {rank} ends, because another rank is gone ({reason}). Mend what ended that one, for "
        "instance too little memory, and start the same command again: it goes on from the last "
        "checkpoint.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(LOST)
