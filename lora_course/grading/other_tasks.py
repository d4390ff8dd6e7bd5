"""Exercises with another task: the public solution does not pass them. For `--variant`.

A teacher tells the class what is different (TASKS has the sentence) and grades with, for
example, `--variant lora_linear=rslora`. A variant turns the learner's arrays back into those of
the public task, and leaves the judging to the public check.
"""

import dataclasses

import numpy as np

from lora_course.checks.ch03 import delta_weight, judge_linear, lora_linear, probe_delta
from lora_course.checks.core import Verdict

TASKS = {
    "lora_linear=rslora": "The update is scaled by lora_alpha / sqrt(r), not by lora_alpha / r.",
    "delta_weight=transposed": "lora_A is stored as (in, r) and lora_B as (r, out).",
}


def judge_rslora(inputs, outputs):
    """Outputs and gradients of alpha / sqrt(r), brought to what alpha / r would have given."""
    made = dict(outputs)
    for name, r in (("wide", 6), ("square", 3), ("default", 8)):
        root, x, W = np.sqrt(r), inputs[f"x_{name}"], inputs[f"W_{name}"]
        base = x @ W.T + inputs.get(f"b_{name}", 0)
        parts = [(f"y_{name}", base), (f"grad_x_{name}", inputs.get(f"g_{name}", 0 * base) @ W)]
        parts += [(f"grad_{factor}_{name}", 0) for factor in "AB"]
        parts += [(key, base) for key in ("y_zero_train", "y_train", "y_eval") if name == "wide"]
        for key, rest in parts:
            if key in made and np.shape(made[key]) == np.shape(rest + made[key]):
                made[key] = rest + (made[key] - rest) / root
    verdict = judge_linear(inputs, made)
    return Verdict(verdict.share, verdict.mistake)  # what was seen would be the turned values


def probe_transposed(namespace, arrays):
    """The same factors, stored the other way round."""
    factors = {k: v.T for k, v in arrays.items() if k.startswith(("A_", "B_"))}
    return probe_delta(namespace, {**arrays, **factors})


def _variant(check, task, **changes):
    note = f"This class has another task: {TASKS[task]}"
    mistakes = {key: f"{note} {advice}" for key, advice in check.mistakes.items()}
    return dataclasses.replace(check, mistakes=mistakes, **changes)


rslora = _variant(
    lora_linear,
    "lora_linear=rslora",
    title="The LoRA layer, scaled by lora_alpha / sqrt(r)",
    judge=judge_rslora,
)
transposed = _variant(
    delta_weight,
    "delta_weight=transposed",
    title="The delta weight of transposed factors",
    probe=probe_transposed,
)
EXERCISES = (rslora, transposed)
VARIANTS = {
    ("03", "lora_linear", "rslora"): rslora,
    ("03", "delta_weight", "transposed"): transposed,
}
