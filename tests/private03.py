"""A teacher's private check for chapter 03, as an entry point would bring it."""

import numpy as np

from lora_course.checks.core import Check, Verdict


def make(seed):
    return {"alpha": np.array(seed % 7 + 5.0)}


def probe(namespace, arrays):
    from torch import nn

    layer = namespace["LoRALinear"](nn.Linear(3, 4), r=4, lora_alpha=arrays["alpha"].item())
    return {"scaling": np.array(layer.scaling)}


def judge(inputs, outputs):
    right = np.allclose(outputs["scaling"], inputs["alpha"] / 4)
    return Verdict(1.0) if right else Verdict(0.0, "other")


scaling = Check(
    name="scaling",
    title="The scaling",
    wants=("LoRALinear",),
    difficulty=1,
    minutes=1,
    points=5,
    verified="scaling",
    hints=("a", "b", "c"),
    mistakes={"other": "The scale is lora_alpha / r."},
    make=make,
    probe=probe,
    judge=judge,
)
EXERCISES = (scaling,)
