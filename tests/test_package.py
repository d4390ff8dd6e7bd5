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

# From the bottom up; a module may import its own layer and those below. What is not named here
# is the bottom: the material of the chapters.
LAYERS = (
    ("merge", "inject", "variants", "peft_adapters"),
    ("checks",),
    ("overview", "doctor", "builder", "grading"),
    ("build",),
    ("cli",),
)
ALONE = ("lora", "memory", "quantize", "rank", "plots", "record", "train")  # import nothing here


def layer(module):
    part = module.split(".")[1]
    return next((n for n, names in enumerate(LAYERS, 1) if part in names), 0)


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
            assert layer(target) <= layer(module), f"{module} imports {target}, which is above it"


def test_imports_make_no_circle():
    left = {module: set(targets) - {"lora_course"} for module, targets in ARROWS.items()}
    while left:
        free = {module for module, targets in left.items() if not targets & left.keys()}
        assert free, f"these import each other: {sorted(left)}"
        left = {module: targets for module, targets in left.items() if module not in free}


def test_nobody_imports_the_commands():
    for module, targets in ARROWS.items():
        assert not targets & {"lora_course.cli", "lora_course.build"}, module
    assert imported("lora_course") == {"lora_course.overview"}


@pytest.mark.parametrize("name", [n for n in ALONE if f"lora_course.{n}" in FILES])
def test_material_stands_alone(name):
    assert ARROWS[f"lora_course.{name}"] == set()


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
    [("lora_course.cli", ()), ("lora_course.record", ()), ("lora_course.checks.core", ("numpy",))],
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
