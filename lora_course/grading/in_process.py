"""One exercise in this very process: for one's own notebooks, on systems that cannot fork."""

import os

from lora_course.checks.core import Check, Verdict
from lora_course.checks.guard import steady, stopped
from lora_course.checks.verdicts import decide
from lora_course.grading import catalog
from lora_course.grading.box import program_slice
from lora_course.grading.outcome import outcome


def examine(order, check, seeds, hidden=()):
    """As trusted.examine, without a box and without a limit of time."""
    best = _run(order, check, seeds, hidden, "slice")
    for way in program_slice.other_ways(order["cells"], check.wants, check.name):
        if best.share < 1:
            best = max(best, _run(order, check, seeds, hidden, way), key=lambda said: said.share)
    return best


def _run(order, check, seeds, hidden, way):
    namespace, given = {"__name__": "__main__", "input": lambda prompt="": ""}, {}
    environment = dict(os.environ)  # what a notebook sets is not the next one's
    kept, Check.__call__ = (
        Check.__call__,
        lambda self, *objects: given.__setitem__(self.name, objects),
    )
    try:
        with steady(0):
            exec(compile(catalog.setup(order["chapter"]), "<setup>", "exec"), namespace)
            names = order["cells"], check.wants, namespace, check.name
            error = program_slice.run_answer(*names, way, given)
    finally:
        Check.__call__ = kept
        os.environ.clear()
        os.environ.update(environment)
    missing = [name for name in check.wants if name not in namespace]
    if missing:
        said = ("_missing", missing[0]) if error is None else stopped(error, check)
        return outcome(check, Verdict(0.0, *said))

    def judge(number, seed):
        return check.answer(namespace, number, seed)

    return outcome(check, *decide(judge, seeds, hidden), bool(seeds))
