"""One exercise in this very process: for one's own notebooks, on systems that cannot fork."""

from lora_course.checks.core import Check, Verdict
from lora_course.checks.guard import steady, stopped
from lora_course.checks.verdicts import decide
from lora_course.grading import catalog
from lora_course.grading.box import program_slice
from lora_course.grading.trusted import outcome


def examine(order, check, seeds, hidden=()):
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
        return outcome(check, Verdict(0.0, *said))

    def judge(number, seed):
        return check.answer(namespace, number, seed)

    return outcome(check, *decide(judge, seeds, hidden))
