"""What a box knows of checks: how to ask the student's code, and nothing about what is right.

Modules of checks do not enter a box. In their place stand objects that keep what they are given:
`check.lora_linear(LoRALinear)` in a notebook tells the box which object its author meant.
"""

import ast
import contextlib
import sys
import types

from lora_course import checks
from lora_course.checks.core import Check

given = {}  # name of a check: the objects that the notebook has passed to it last


class Asked:
    """One check of the notebook, in a box: says nothing, keeps what it is given."""

    def __init__(self, name, wants):
        self.name, self.wants = name, tuple(wants)

    def __call__(self, *objects):
        given[self.name] = objects


class Probe:
    """The part of a check that runs beside the student's code.

    key: "module:name"; wants: names; mistakes: those that name an exception; probe: the name of
    the function in `source`.
    """

    outputs = Check.outputs

    def __init__(self, key, wants, mistakes, probe, source):
        self.name, self.wants = key.rpartition(":")[2], tuple(wants)
        self.mistakes = dict.fromkeys(mistakes, "")
        file = f"<probe {key}>"
        tree = ast.parse(source, file)
        for node in ast.walk(tree):  # what its functions import when they are called
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                with contextlib.suppress(Exception):
                    exec(compile(ast.Module([node], []), file, "exec"), {})
        space = {"__name__": f"probe_of_{self.name}"}
        exec(compile(tree, file, "exec"), space)
        self.probe = space[probe]


def stand_in(chapters):
    """Modules such as lora_course.checks.ch03 whose checks are Asked. chapters: {"ch03": {..}}."""
    for name, wanted in chapters.items():
        module = types.ModuleType(f"{checks.__name__}.{name}")
        module.EXERCISES = tuple(Asked(*one) for one in wanted.items())
        vars(module).update({one.name: one for one in module.EXERCISES})
        sys.modules[module.__name__] = module
        setattr(checks, name, module)
