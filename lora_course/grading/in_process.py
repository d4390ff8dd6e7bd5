"""One exercise in this very process: for one's own notebooks, on systems that cannot fork."""

from lora_course.checks.core import Check, Verdict
from lora_course.checks.guard import steady, stopped
from lora_course.grading import catalog
from lora_course.grading.box import program_slice
from lora_course.grading.trusted import Outcome, outcome


def examine(order, check, seeds):
    """As trusted.examine, without a box and without a limit of time."""
    namespace = {"__name__": "__main__", "input": lambda prompt="": ""}
    kept, Check.__call__ = Check.__call__, lambda self, *objects: None
    try:
        with steady(0):
            exec(compile(catalog.setup(order["chapter"]), "<setup>", "exec"), namespace)
            error = program_slice.run_slice(order["cells"], check.wants, namespace, check.name)
    finally:
        Check.__call__ = kept
    missing = [name for name in check.wants if name not in namespace]
    if missing:
        said = ("_missing", missing[0]) if error is None else stopped(error, check)
        return outcome(check, Verdict(0.0, *said), False)
    result = check.run(namespace, seeds)
    status = "todo" if result.todo else "wrong" if result.mistake else "right"
    return Outcome(status, result.points / check.points, result.message, False)
