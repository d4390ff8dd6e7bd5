"""Grading with boxes: starts the warm process, tries a box, hands over to the judges."""

from lora_course.grading import catalog, pool, self_test
from lora_course.grading.box.fork_client import ForkClient
from lora_course.grading.state import CannotGrade

OPEN = (
    "This system cannot close the box: {}. Code of strangers could read and change your files. "
    "If you trust these notebooks, add --i-trust-these-files."
)


def boxed(submissions, plan, trust, jobs):
    """Yields (submission, record). Raises WarmGone when the warm process does not live on."""
    chapters = sorted({s.chapter for s in submissions})
    tasks = {(t.module, t.check) for c in chapters for t in catalog.tasks(c, plan.variants)}
    tasks.add((self_test.__name__, self_test.doubled))
    warm = ForkClient(tasks, {c: catalog.setup(c) for c in chapters}, trust)
    try:
        import torch  # while the warm process does the same

        torch.set_num_threads(1)
        missing = warm.ready()
        if missing and not trust:
            raise CannotGrade(OPEN.format("; ".join(missing)))
        plan.isolation = f"reduced: {'; '.join(missing)}" if missing else "full"
        self_test.try_box(warm)
        yield from pool.grade_all(warm, plan, submissions, jobs)
    finally:
        warm.stop()
