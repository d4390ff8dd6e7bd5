"""A rank of the course's training script, looked at or killed: what tests/test_wide.py launches.

$WIDE_DIE = "RANK:STEP" kills that rank after that step. $WIDE_SEEN names a file for the gradients
of the last step.
"""

import os
import signal

import torch

from lora_course.fast import wide
from lora_course.fast.shards import whole


def look(step, weights):
    rank = os.environ.get("RANK", "0")
    if os.environ.get("WIDE_DIE") == f"{rank}:{step}":
        os.kill(os.getpid(), signal.SIGKILL)
    gradients = [whole(p.grad).clone() for p in weights]
    if path := os.environ.get("WIDE_SEEN"):
        torch.save(gradients, f"{path}.{rank}")


if __name__ == "__main__":
    wide.main(look)
