"""The house as a whole: imports go down only, modules are short, nothing heavy is loaded early."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lora_course

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lora_course"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
HEAVY = ("torch", "transformers", "datasets", "peft", "matplotlib", "IPython", "numpy")

# From the bottom up. A module may import those of its own line and of the lines above it here;
# a folder stands for its __init__. Whatever is in the package is named, and nothing else is.
LAYERS = (
    "plumbing plumbing.files",
    "lora rank train",
    "inject",
    "adapters merge",
    "methods methods.combine methods.loraplus methods.rslora methods.bottleneck methods.ia3",
    "methods.prompt",
    "methods.prefix methods.hybrid",
    "bits bits.quantize costs costs.memory costs.shapes fast fast.many",
    "kit kit.models kit.plots kit.your_data kit.town kit.town.world kit.town.templates",
    "kit.town.stories kit.town.tasks",
    "kit.data",
    "bits.fourbit costs.calculator costs.gpu_records",
    "costs.peak",
    "bridges bridges.fingerprint bridges.model_card bridges.peft_adapters bridges.sft",
    "bridges.shipping",
    "make_base make_base.muon make_base.drills make_base.untrained",
    "make_base.curriculum make_base.card",
    "make_base.pretrain",
    "learner learner.record learner.pins",
    "checks checks.values checks.guard checks.display",
    "checks.messages checks.verdicts checks.wording",
    "checks.core checks.slips",
    "checks.callers checks.fixtures",
    "checks.chapters",
    "learner.machine learner.progress",
    "learner.doctor",
    "builder builder.source builder.execute",
    "builder.exercises",
    "builder.notebook",
    "builder.build",
    "builder.__main__",
    "grading.results.harmless grading.results.graded",
    "grading.results grading.results.feedback grading.results.formats",
    "grading.results.reports",
    "grading.box grading.box.magics grading.box.reaper grading.box.syscalls grading.box.wire",
    "grading.box.jail grading.box.statements",
    "grading.box.program_slice",
    "grading.box.inside",
    "grading.box.fork_server",
    "grading.intake grading.intake.submitted grading.intake.classroom grading.other_tasks",
    "grading.catalog",
    "grading.intake.collect grading.state grading.trusted",
    "grading.box.fork_client grading.in_process",
    "grading.pool",
    "grading.run",
    "grading.commands grading",
    "grading.exports grading.exports.sources",
    "grading.exports.gradescope grading.exports.harness grading.exports.nbgrader",
    "grading.exports.command",
    "cli",
)
PLACE = {name: n for n, line in enumerate(LAYERS) for name in line.split()}


def name_of(module):
    """The name of a module in LAYERS; the modules of the chapters' checks share one."""
    return re.sub(r"checks\.ch\d\d$", "checks.chapters", module.partition(".")[2])


def imported(module):
    """The package's own modules that a module imports, anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write the import out in full"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) or {node.module}
    return found & FILES.keys()


ARROWS = {module: imported(module) for module in FILES if module != "lora_course"}


def test_imports_go_down_only():
    for module, targets in ARROWS.items():
        for target in targets - {"lora_course"}:
            assert PLACE[name_of(target)] <= PLACE[name_of(module)], (
                f"{module} imports {target}, which is above it"
            )


def test_imports_make_no_circle():
    left = {module: set(targets) - {"lora_course"} for module, targets in ARROWS.items()}
    while left:
        free = {module for module, targets in left.items() if not targets & left.keys()}
        assert free, f"these import each other: {sorted(left)}"
        left = {module: targets for module, targets in left.items() if module not in free}


def test_nobody_imports_the_commands():
    for module, targets in ARROWS.items():
        if module != "lora_course.builder.__main__":
            assert not targets & {"lora_course.cli", "lora_course.builder.build"}, module
    assert imported("lora_course") == {"lora_course.learner.progress"}


def test_every_module_has_its_layer():
    named = [name for line in LAYERS for name in line.split()]
    assert len(named) == len(set(named))
    assert {name_of(module) for module in FILES if module != "lora_course"} == set(named)


@pytest.mark.parametrize("module", FILES)
def test_modules_are_short(module):
    """150 lines; a chapter's checks, and texts without a function, are lists and may be longer."""
    text = FILES[module].read_text(encoding="utf-8")
    listed = re.search(r"\.checks\.ch\d\d$", module) or not re.search(
        r"^ *(def|class) ", text, re.M
    )
    assert listed or len(text.splitlines()) <= 150


@pytest.mark.parametrize("module", FILES)
def test_modules_say_what_they_are(module):
    assert ast.get_docstring(ast.parse(FILES[module].read_text(encoding="utf-8")))


def test_no_star_imports():
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "*" not in {alias.name for alias in node.names}, module


def python(code):
    """What a new interpreter prints; stderr must stay empty."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_import_is_light():
    code = "import time; a = time.process_time(); import lora_course, sys; "
    code += "print(time.process_time() - a, *sys.modules)"
    runs = [python(code).split() for _ in range(3)]
    assert min(float(run[0]) for run in runs) < 0.2
    assert not set(HEAVY) & set(runs[0])


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("lora_course.cli", ()),
        ("lora_course.learner.record", ()),
        ("lora_course.checks.core", ("numpy",)),
    ],
)
def test_commands_and_checks_are_light(module, allowed):
    loaded = python(f"import {module}, sys; print(*sys.modules)").split()
    assert set(HEAVY) & set(loaded) <= set(allowed)


def test_progress_is_a_function_and_light():
    code = "import lora_course, sys; lora_course.progress(); print(callable(lora_course.progress), "
    code += "'torch' in sys.modules)"
    assert python(code).split() == ["True", "False"]


@pytest.mark.slow
def test_every_module_imports_without_a_word():
    assert python("; ".join(f"import {module}" for module in FILES)) == ""


def test_version():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert stated["version"] == lora_course.__version__
    assert stated["scripts"]["lora-course"] == "lora_course.cli:main"
