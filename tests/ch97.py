"""A toy chapter: two small checks for the tests of the framework itself."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor


def make(seed):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(3, 4)), "scale": rng.uniform(2, 3)}


def probe(namespace, arrays):
    y = namespace["scaled"](tensor(arrays["x"]), float(arrays["scale"]))
    return {"y": array(y, "the result of `scaled`")}


def judge(inputs, outputs):
    x, scale, y = inputs["x"], inputs["scale"], outputs["y"]
    if close(y, scale * x):
        return Verdict(1.0)
    if close(y, x):
        return Verdict(0.0, "no_scale", "the input itself", "scale * x")
    if y.shape == x.shape and close(y[0], scale * x[0]):
        return Verdict(0.4, "first_row", "one row scaled")
    return Verdict(0.0, "other")


def judge_pair(inputs, outputs):
    return Verdict(1.0) if outputs["up"] == 2 * outputs["down"] else Verdict(0.0)


scaled = Check(
    name="scaled",
    title="Scale <it>",
    wants=("scaled",),
    difficulty=1,
    minutes=5,
    points=10,
    verified="3 random inputs",
    hints=("Look at `scale`.", "Multiply.", "x times scale"),
    mistakes={
        "no_scale": "The factor `scale` is missing",
        "first_row": "Only the first row is scaled.",
        "other": "Compare with scale * x.",
        "raised:RuntimeError": "Do the shapes fit?",
    },
    make=make,
    probe=probe,
    judge=judge,
)

pair = Check(
    name="pair",
    title="Up and down",
    wants=("up", "down"),
    difficulty=1,
    minutes=5,
    points=5,
    verified="up is twice down",
    hints=("a", "b", "c"),
    mistakes={"other": "Try again."},
    make=lambda seed: {"seed": np.array(seed)},
    probe=lambda n, a: {"up": array(n["up"]()), "down": array(n["down"]())},
    judge=judge_pair,
)

EXERCISES = (scaled, pair)
