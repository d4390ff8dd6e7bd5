"""A rank of the course's training script, looked at or killed: what tests/test_wide.py launches.

Options behind "--then" are another run, which the same ranks make next: importing costs them more
than training. Between two runs rank 0 prints "--then".
$WIDE_DIE = "RANK:STEP" kills that rank after that step. Where $WIDE_SEEN is set, the gradients of
the last step lie beside the adapter.
"""

import os
import signal
import sys

import torch
import torch.distributed as dist

from lora_course.fast import ranks, wide
from lora_course.fast.shards import whole

THEN = "--then"


def look(step, weights):
    rank = os.environ.get("RANK", "0")
    if os.environ.get("WIDE_DIE") == f"{rank}:{step}":
        os.kill(os.getpid(), signal.SIGKILL)
    gradients = [whole(p.grad).clone() for p in weights]
    if "WIDE_SEEN" in os.environ:
        torch.save(gradients, f"{sys.argv[sys.argv.index('--out') + 1]}/seen.{rank}")


def several(program, *words):
    """One run after another; the ranks meet before the first and part after the last."""
    meet, part, last = dist.init_process_group, dist.destroy_process_group, THEN not in words
    at = len(words) if last else words.index(THEN)
    sys.argv = [program, *words[:at]]
    dist.init_process_group = lambda *a, **k: None if dist.is_initialized() else meet(*a, **k)
    dist.destroy_process_group = part if last else between
    wide.main(look)
    dist.init_process_group, dist.destroy_process_group = meet, part
    if not last:
        several(program, *words[at + 1 :])


def between():
    """In the place of parting: every line of a run stands before those of the next."""
    dist.barrier()
    if dist.get_rank() == 0:
        ranks.print_line(THEN)
    dist.barrier()


if __name__ == "__main__":
    several(*sys.argv)
