"""The course as a source tree for nbgrader 0.9.6.

Each exercise becomes an autograded answer cell, and under its check stands a locked test cell whose
last line is the points: nbgrader reads a number there as partial credit. Its hidden lines run the
check again on inputs that only this tree knows.

nbgrader runs its tests in the student's own process. An answer that sets out to cheat can change
what it measures, as with every test that nbgrader runs; `lora-course grade` judges in another one.
"""

import secrets

from lora_course.builder.exercises import UNDONE, annotated, hint_cell
from lora_course.grading.exports.sources import ROOT, NoExport, refuse_to_replace
from lora_course.plumbing.files import write_atomically

CONFIG = """\
# Made by `lora-course export nbgrader`. Run nbgrader in this folder:
#
#   nbgrader generate_assignment {first}
#   (students' notebooks go to submitted/STUDENT/{first}/{first}.ipynb)
#   nbgrader autograde {first}
#   nbgrader generate_feedback {first}
#   nbgrader export

c = get_config()
c.CourseDirectory.course_id = "lora-course"
c.ClearSolutions.code_stub = {{"python": 'raise NotImplementedError("{stub}")'}}
c.Execute.timeout = 120  # seconds for one cell
"""
TEST = """\
# nbgrader takes the points from the last line. What to mend says the check above.
from lora_course.checks import {chapter} as check

result = check.{name}.run({{{names}}})
### BEGIN HIDDEN TESTS
if result.points:
    other = check.{name}.run({{{names}}}, seeds={seeds})
    result = min(result, other, key=lambda made: made.points)
### END HIDDEN TESTS
result.points"""


def export(folder, sources, secret=None, variants=()):
    """Writes the tree into `folder`; returns sentences about it. Raises NoExport and OSError."""
    if secret or variants:
        raise NoExport("nbgrader takes no secret and no variant: its hidden tests are in the tree.")
    targets = {path: folder / "source" / path.stem / f"{path.stem}.ipynb" for path in sources}
    config = folder / "nbgrader_config.py"
    refuse_to_replace(targets.values())
    made = {target: notebook(path) for path, target in targets.items()}
    for target, text in made.items():
        write_atomically(target, text)
    first = sources[0].stem
    if not config.exists():
        write_atomically(config, CONFIG.format(first=first, stub=f"This exercise {UNDONE}"))
    return [
        *(f"{target} is ready." for target in targets.values()),
        f"Next: cd {folder} && nbgrader generate_assignment {first}",
        "Keep this tree to yourself: it holds the answers and the hidden inputs.",
    ]


def notebook(source):
    """One assignment as the text of a notebook."""
    import nbformat

    from lora_course.builder.notebook import to_notebook
    from lora_course.builder.source import Cell, identify

    cells, checks = annotated(source, ROOT)
    chapter, made, about = f"ch{source.name[:2]}", [], {}
    for cell in cells:
        made.append(cell)
        if cell.exercise:
            about[cell.id] = {"solution": True, "grade": False, "locked": False}
        elif "check" in cell.meta:
            check = checks[cell.meta["check"].partition(".")[2]]
            test = Cell("code", test_cell(check, chapter), cell.where, id=f"points-{check.name}")
            made += [test, hint_cell(check, cell.where)]
            about[test.id] = {"solution": False, "grade": True, "locked": True}
            about[test.id]["points"] = check.points
    nb = to_notebook(identify(made), ROOT)
    for cell in nb.cells:
        if cell.id in about:
            fixed = {"schema_version": 3, "task": False, "cell_type": "code", "grade_id": cell.id}
            cell.metadata["nbgrader"] = {**fixed, **about[cell.id]}
    return nbformat.writes(nb) + "\n"


def test_cell(check, chapter):
    """The code of the cell from which nbgrader takes the points."""
    names = ", ".join(f'"{name}": {name}' for name in check.wants)
    seeds = tuple(secrets.randbelow(2**31) for _ in range(3))
    return TEST.format(chapter=chapter, name=check.name, names=names, seeds=seeds)
