"""A right answer to a small exercise, run in a box before the first submission."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, tensor
from lora_course.grading import trusted
from lora_course.grading.state import CannotGrade

ANSWER = (
    "import torch\n\ndef doubled(x):\n    return torch.nn.functional.linear(x, 2 * torch.eye(3))"
)


def make_trial(seed):
    """(4, 3) numbers."""
    return {"x": np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)}


def probe_trial(namespace, arrays):
    """What the answer makes of them."""
    return {"y": array(namespace["doubled"](tensor(arrays["x"])), "doubled")}


def judge_trial(inputs, outputs):
    """Twice as much."""
    return Verdict(1.0) if np.allclose(outputs["y"], 2 * inputs["x"]) else Verdict(0.0, "other")


doubled = Check(
    name="doubled",
    title="The trial of the box",
    wants=("doubled",),
    difficulty=1,
    minutes=1,
    points=1,
    verified="a box answers",
    hints=("", "", ""),
    other="The box gave other numbers.",
    make=make_trial,
    probe=probe_trial,
    judge=judge_trial,
)


def try_box(warm):
    """Raises CannotGrade when a right answer gets no points."""
    order = {"cells": [ANSWER], "chapter": "", "module": __name__}
    said = trusted.examine(warm, order, doubled, trusted.VISIBLE[:1], (), 60.0)
    if said.share < 1:
        raise CannotGrade(
            f"The box was tried with a right answer, and it failed: {said.message} Nothing was "
            "graded. Is the temporary folder full, or memory short? `lora-course doctor` looks."
        )
