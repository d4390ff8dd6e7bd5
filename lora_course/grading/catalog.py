"""What can be graded: chapters, their exercises, private checks and variants."""

import hashlib
import importlib
import json
import pkgutil
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import lora_course
from lora_course import checks
from lora_course.grading.intake import submitted

GROUP = "lora_course.checks"  # entry points: name "03" or "ch03", value a module with EXERCISES
PACKAGE = Path(__file__).resolve().parents[1]
# Where chapters/, exercises/ and solutions/ are: in a wheel, or beside the package in a clone.
ROOT = PACKAGE / "course" if (PACKAGE / "course").is_dir() else PACKAGE.parent


class Task(NamedTuple):
    """One check to be graded. private: from an entry point; variant: replaces a public one."""

    check: object
    module: str
    number: str
    private: bool = False
    variant: bool = False


@cache
def chapters():
    """Chapters that have checks: ("01", "02", ...)."""
    names = [m.name for m in pkgutil.iter_modules(checks.__path__)]
    return tuple(sorted(n[2:] for n in names if re.fullmatch(r"ch\d\d", n)))


@cache
def wanted_names():
    """{chapter: names that its exercises define}."""
    return {
        chapter: tuple(want for check in _exercises(f"{GROUP}.ch{chapter}") for want in check.wants)
        for chapter in chapters()
    }


@cache
def names_of_checks():
    """{"ch03": {check: names that it wants}}: what may be known everywhere."""
    return {
        f"ch{chapter}": {c.name: list(c.wants) for c in _exercises(f"{GROUP}.ch{chapter}")}
        for chapter in chapters()
    }


@cache
def tasks(chapter, variants=()):
    """The tasks of a chapter, in order. variants: such as ("lora_linear=rslora",)."""
    from lora_course.grading.other_tasks import VARIANTS

    chosen = dict(variant.split("=", 1) for variant in variants)
    found, modules = [], [(f"{GROUP}.ch{chapter}", False)]
    modules += [(module, True) for module in private(chapter)]
    for module, is_private in modules:
        for check in _exercises(module):
            number = f"{int(chapter)}.{len(found) + 1}"
            other = VARIANTS.get((chapter, check.name, chosen.get(check.name)))
            if other is not None and not is_private:
                found.append(Task(other, "lora_course.grading.other_tasks", number, False, True))
            else:
                found.append(Task(check, module, number, is_private))
    return tuple(found)


@cache
def private(chapter):
    """Modules that are installed for this chapter under the entry point group."""
    points = metadata.entry_points(group=GROUP)
    return tuple(sorted(p.value for p in points if p.name.removeprefix("ch")[:2] == chapter))


@cache
def assignment(chapter):
    """Name of a chapter's notebook without its ending; "03" when it is not there."""
    found = sorted((ROOT / "exercises").glob(f"{chapter}_*.ipynb"))
    return found[0].stem if found else chapter


@cache
def title(chapter):
    """A chapter with its name, as in 03 The LoRA layer; "" when its notebook is not there."""
    path = ROOT / "exercises" / f"{assignment(chapter)}.ipynb"
    if not path.is_file():
        return ""
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    found = re.match(rf"# Exercises {chapter}: (.+)", first)
    return f"{chapter} {found[1].strip()}" if found else ""


@cache
def setup(chapter):
    """Source of the setup cell of a chapter's exercises: what every answer may use."""
    path = ROOT / "exercises" / f"{assignment(chapter)}.ipynb"
    if path.is_file():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "setup" in cell["metadata"].get("tags", ()):
                return submitted.code_sources(json.dumps({"cells": [cell]}).encode())[0]
    return (
        f"import math\nimport torch\nfrom torch import nn\nfrom {GROUP} import ch{chapter} as check"
    )


@cache
def version():
    """The package's version, and a mark of the checks that are in it."""
    digest = hashlib.sha256()
    for chapter in chapters():
        for module in (f"{GROUP}.ch{chapter}", *private(chapter)):
            digest.update(Path(importlib.util.find_spec(module).origin).read_bytes())
    return f"{lora_course.__version__}+{digest.hexdigest()[:8]}"


def _exercises(module):
    return getattr(importlib.import_module(module), "EXERCISES", ())
