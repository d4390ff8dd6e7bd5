"""The house as a whole: imports go down only, modules are short, nothing heavy is loaded early."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

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
    "plumbing plumbing.controls plumbing.files plumbing.model_facts plumbing.talk_facts",
    "plumbing.origin",
    "lora rank train",
    "inject",
    "adapters merge",
    "methods methods.combine methods.descendant methods.intruders methods.loraplus methods.rslora",
    "methods.adalora methods.dora methods.experts methods.pissa methods.vera",
    "bits bits.quantize costs costs.activations costs.memory costs.shapes fast fast.many",
    "fast.cache fast.gathered",
    "fast.ranks fast.unpack",
    "fast.lean",
    "methods.bottleneck methods.ia3 methods.prompt",
    "methods.prefix methods.hybrid",
    "kit kit.models kit.plots kit.rows kit.your_data kit.town kit.town.world kit.town.templates",
    "kit.town.stories kit.town.tasks kit.town.second kit.town.probes",
    "methods.conv methods.sight",
    "kit.town.pictures",
    "kit.vision kit.images",
    "kit.clean",
    "kit.town.messy",
    "kit.data kit.pages kit.tradeoff",
    "kit.chart kit.clinic kit.guide kit.looking kit.race",
    "bits.coverage bits.fourbit costs.calculator costs.gpu_records",
    "costs.peak costs.planner fast.shards kit.chooser",
    "fast.wide",
    "bridges bridges.fingerprint bridges.model_card bridges.peft_fields bridges.proof bridges.sft",
    "bridges.engine bridges.gguf bridges.peft_adapters",
    "bridges.twin",
    "bridges.shipping",
    "rubric rubric.project rubric.used_rows rubric.release rubric.conduct rubric.card_facts",
    "rubric.whole",
    "rubric.judge",
    "preflight.report preflight.adapted",
    "preflight.added preflight.labelled preflight.probe preflight.sampled preflight.talk",
    "preflight.untouched preflight.evidence preflight.saved preflight.bugs",
    "preflight.rules.answers preflight.rules.four_bits preflight.rules.gradients",
    "preflight.rules.layers preflight.rules.own_layers preflight.rules.optimizers",
    "preflight.rules.rates preflight.rules.texts preflight.rules.what_trains",
    "preflight.rules.folders preflight.rules.loads",
    "preflight.rules.labels preflight.rules.targets preflight.rules.tokens",
    "preflight.rules.vocabulary",
    "preflight.rules preflight.check preflight.callback",
    "preflight preflight.terminal",
    "make_base make_base.muon make_base.drills make_base.untrained",
    "make_base.curriculum make_base.card",
    "make_base.pretrain",
    "make_eye make_eye.train_eye",
    "make_eye.eye_card",
    "learner learner.copies learner.pins learner.record",
    "learner.restart learner.standing",
    "learner.desk",
    "checks checks.values checks.randomness checks.mould checks.display",
    "checks.guard checks.messages checks.verdicts checks.wording",
    "checks.core checks.slips",
    "checks.callers checks.fixtures",
    "checks.chapters",
    "learner.machine learner.progress",
    "learner.doctor",
    "builder builder.source builder.execute",
    "builder.digest builder.exercises builder.names",
    "builder.notebook builder.fold",
    "builder.build",
    "builder.__main__",
    "grading.results.harmless grading.results.graded",
    "grading.results grading.results.feedback grading.results.formats",
    "grading.results.tables",
    "grading.results.canvas",
    "grading.results.reports",
    "grading.box grading.box.magics grading.box.syscalls grading.box.wire",
    "grading.box.program grading.box.statements",
    "grading.box.jail grading.box.whole_notebook",
    "grading.box.room grading.box.program_slice",
    "grading.box.disk",
    "grading.box.asked grading.box.readable grading.box.reaper",
    "grading.box.inside",
    "grading.box.fork_server",
    "grading.intake grading.intake.submitted grading.intake.find grading.intake.spool",
    "grading.intake.classroom grading.other_tasks",
    "grading.catalog",
    "grading.intake.choose grading.intake.students grading.state grading.outcome",
    "grading.intake.collect grading.extract grading.one_box",
    "grading.box.fork_client grading.in_process",
    "grading.trusted",
    "grading.pool grading.self_test",
    "grading.boxed grading.parts",
    "grading.console grading.run",
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


class Definition(NamedTuple):
    """At a module's top level. first: its first line, of a decorator where it has one."""

    constant: bool
    first: int
    line: int
    end: int


class Text(NamedTuple):
    """Of a module: docstring, import statements anywhere in it, {name: Definition}."""

    docstring: str
    imports: list
    definitions: dict


@cache
def text_of(module):
    """Read once; its tree is not kept."""
    tree, found = ast.parse(FILES[module].read_text(encoding="utf-8")), {}
    for node in tree.body:
        named = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            named = [node.name]
        elif isinstance(node, ast.Assign):
            named = [n.id for t in node.targets for n in ast.walk(t) if hasattr(n, "id")]
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        constant = isinstance(node, ast.Assign)
        found |= dict.fromkeys(named, Definition(constant, first, node.lineno, node.end_lineno))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return Text(ast.get_docstring(tree), imports, found)


def imported(module):
    """The package's own modules that a module imports, anywhere in its text."""
    found = set()
    for node in text_of(module).imports:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{module}: write the import out in full"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) or {node.module}
    return found & FILES.keys()


def arrows():
    return {module: imported(module) for module in FILES if module != "lora_course"}


def test_imports_go_down_only():
    for module, targets in arrows().items():
        for target in targets - {"lora_course"}:
            assert PLACE[name_of(target)] <= PLACE[name_of(module)], (
                f"{module} imports {target}, which is above it"
            )


def test_imports_make_no_circle():
    left = {module: set(targets) - {"lora_course"} for module, targets in arrows().items()}
    while left:
        free = {module for module, targets in left.items() if not targets & left.keys()}
        assert free, f"these import each other: {sorted(left)}"
        left = {module: targets for module, targets in left.items() if module not in free}


def test_nobody_imports_the_commands():
    for module, targets in arrows().items():
        if module != "lora_course.builder.__main__":
            assert not targets & {"lora_course.cli", "lora_course.builder.build"}, module
    assert imported("lora_course") == {"lora_course.learner.progress"}


def test_every_module_has_its_layer():
    named = [name for line in LAYERS for name in line.split()]
    assert len(named) == len(set(named))
    here = {name_of(module) for module in FILES if module != "lora_course"}
    assert not here - set(named), (
        f"Name {sorted(here - set(named))} in LAYERS, in the lowest line whose modules and those "
        "above it have all that it imports."
    )
    assert not set(named) - here, f"Take {sorted(set(named) - here)} out of LAYERS: it is gone."


# Names. The same name twice is fine where it is the same thing for another thing of its kind.
SAME_THING = {
    "main": "what a command runs",
    "add": "a command's arguments",
    "export": "one for each kind of export",
    "examine": "one exercise, in a box or in this process",
    "environment": "os.environ of another process",
    "show": "a message, and a figure",
    "unpack": "4 bits back as numbers, by hand and in one kernel",
}


def test_a_name_stands_for_one_thing():
    """Of modules, and of public functions and classes; builder/ and the chapters' checks aside."""
    places = {}
    for module, path in FILES.items():
        if path.stem not in ("__init__", "__main__"):
            places.setdefault(f"module {path.stem}", []).append(module)
        if "checks.ch" in module or ".builder" in module:
            continue
        for name, found in text_of(module).definitions.items():
            if name[0] != "_" and not found.constant and name not in SAME_THING:
                places.setdefault(name, []).append(module)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, f"{twice}: rename one by the field's term, or say in SAME_THING why not"


# Who defines what
OWNER = re.compile(r"# owned by chapter (\d\d)$")


def quoted():
    """{(module, name): chapter} of what the quote cells of the chapters import."""
    found = {}
    for path in sorted((ROOT / "chapters/source").glob("[0-9][0-9]_*.py")):
        cells = re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.M)
        for cell in cells:
            mark, _, code = cell.partition("\n")
            if re.search(r"tags=\[.*\"quote\"", mark):
                (node,) = ast.parse(code).body
                for alias in node.names:
                    assert (node.module, alias.name) not in found, f"{alias.name} is quoted twice"
                    found[node.module, alias.name] = path.name[:2]
    return found


def owned():
    """{(module, name): chapter} of the package's comments above a definition, or behind it."""
    found = {}
    for module, path in FILES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        marks = {n: m[1] for n, line in enumerate(lines, 1) if (m := OWNER.search(line))}
        for name, (_, first, _, end) in text_of(module).definitions.items():
            for place in {first - 1, end} & marks.keys():
                alone = lines[place - 1].startswith("#")
                if alone == (place == first - 1):
                    found[module, name] = marks[place]
        stamped = {chapter for (where, _), chapter in found.items() if where == module}
        assert stamped == set(marks.values()), f"{module}: a stamp stands at no definition"
    return found


def test_every_quoted_definition_names_its_owner():
    wanted, stamped = quoted(), owned()
    assert len(wanted) > 60
    for (module, name), chapter in wanted.items():
        assert stamped.get((module, name)) == chapter, (
            f"Chapter {chapter} quotes {module}.{name}. Write `# owned by chapter {chapter}` "
            "on the line above it, or, for a constant on one line, behind it."
        )
    for module, name in stamped.keys() - wanted.keys():
        known = text_of(module).definitions
        line = {n for n, found in known.items() if found.line == known[name].line}  # A, B = 1, 2
        assert any((module, n) in wanted for n in line), (
            f"{module}.{name} is stamped, but chapter {stamped[module, name]} does not quote it"
        )


# Tests. A module's test is tests/test_NAME.py.
ELSEWHERE = {  # test: the modules that it tests beside its own, because they work together only
    "build": "builder.source builder.exercises builder.notebook builder.execute builder.digest "
    "builder.names",
    "checks": "checks.chapters",
    "prompt": "methods.prefix",
    "chooser": "kit.guide",
    "core": "checks.messages checks.verdicts",
    "guard": "checks.mould checks.randomness",
    "curriculum": "make_base.untrained",  # its probe and tokenizer: also test_pretrain, test_base
    "exports": "grading.exports.command grading.exports.gradescope grading.exports.harness "
    "grading.exports.nbgrader grading.exports.sources",
    "grading": "grading.run grading.pool grading.trusted grading.in_process grading.other_tasks "
    "grading.outcome grading.catalog grading.state grading.commands grading.one_box "
    "grading.self_test grading.boxed "
    "grading.box.fork_client grading.box.fork_server grading.box.inside",
    "clinic": "kit.chart",
    "fourbit": "bits.coverage",
    "your_data": "kit.rows",
    "models": "plumbing.origin",
    "collect": "grading.intake.find grading.intake.students grading.intake.choose "
    "grading.intake.spool",
    "extract": "grading.box.asked grading.box.readable",
    "jail": "grading.box.syscalls grading.box.program grading.box.room",
    "judge": "rubric.project rubric.used_rows rubric.release rubric.conduct rubric.card_facts "
    "rubric.whole",
    "memory": "costs.shapes",
    "peft_adapters": "bridges.fingerprint bridges.peft_fields bridges.proof",
    "preflight": "preflight.adapted preflight.added preflight.bugs preflight.callback "
    "preflight.check preflight.evidence preflight.labelled preflight.probe preflight.report "
    "preflight.sampled preflight.saved preflight.talk preflight.terminal preflight.untouched "
    "preflight.rules.answers preflight.rules.folders preflight.rules.four_bits "
    "preflight.rules.gradients preflight.rules.labels preflight.rules.layers "
    "preflight.rules.loads preflight.rules.optimizers preflight.rules.own_layers "
    "preflight.rules.rates preflight.rules.targets preflight.rules.texts preflight.rules.tokens "
    "preflight.rules.vocabulary preflight.rules.what_trains",
    "program_slice": "grading.box.statements grading.box.magics grading.box.whole_notebook",
    "reaper": "grading.box.disk",
    "slips": "checks.callers checks.fixtures checks.wording",
    "reports": "grading.results.feedback grading.results.formats grading.results.graded "
    "grading.results.tables grading.results.canvas",
}
UNTESTED = {
    "make_base.card": "writes the model card after a pre-training, by hand and read by eye",
    "make_eye.eye_card": "the same for the vision model",
}
WHOLE = {  # tests of what is no module
    "architectures": "docs/architectures.md",
    "base": "the shipped base model",
    "breaks": "the list of deliberate breaks stays applicable",
    "checks": "every chapter's checks with right and wrong answers",
    "claims": "docs/claims.md: every claim has its cell, or the reason why not",
    "environment": "pins, Makefile, CI, README",
    "exports": "the course inside nbgrader and Gradescope",
    "gpu_qlora": "benchmarks/gpu_qlora.py",
    "glossary": "docs/glossary.md: each term is explained where it first appears",
    "grading": "a class, from a folder to its reports",
    "instructors": "docs/instructors.md",
    "latest": "tests/latest.py: the newest packages",
    "mutants": "no mutant of a solution passes its check",
    "notebooks": "the sources of chapters and exercises",
    "real": "tests/real.py and docs/real_model.py: a real model",
    "training_step": "benchmarks/training_step.py",
    "site": "docs/site/make_site.py: the pages on the web",
    "wheel": "what pip installs, outside the repository",
    "order": "tests begin with the longest",
    "other_models": "chapters on another model",
    "package": "this file",
    "preflight": "the tool, on runs with and without faults",
    "your_own_model": "docs/your_own_model.py",
    "warm_kernel": "tests/warm_kernel.py: nbval's forked kernels",
}


def test_tests_mirror_modules():
    beside = {name for modules in ELSEWHERE.values() for name in modules.split()}
    here = {name_of(module) for module in FILES if module != "lora_course"}
    assert beside | UNTESTED.keys() <= here, f"gone: {(beside | UNTESTED.keys()) - here}"
    stems = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert ELSEWHERE.keys() | WHOLE.keys() <= stems
    for module, path in FILES.items():
        name = name_of(module)
        works = re.search(r"^(def|class) ", path.read_text(encoding="utf-8"), re.M)
        if works and path.stem not in ("__init__", *stems):
            assert name in beside | UNTESTED.keys(), (
                f"{name} has no tests/test_{path.stem}.py; or name it in ELSEWHERE with its test"
            )
    odd = stems - {path.stem for path in FILES.values()} - WHOLE.keys()
    assert not odd, f"test_{odd}.py is named after no module; rename it, or say in WHOLE what it is"


# The map
def test_the_map_shows_the_folder():
    """The tree in lora_course/README.md: every module once, in a folder that is above it."""
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"```\n(lora_course/\n.*?)```", text, re.S)[1].splitlines()[1:]
    shown, folders = [], []
    for line in tree:
        indent, name = re.match(r"( +)(\S+)", line).groups()
        folders = folders[: len(indent) // 2 - 1]
        if name.endswith("/"):
            folders.append(name[:-1])
        shown.append("/".join([*folders, "" if name.endswith("/") else name]))
        assert len(line.split(None, 1)) == 2, f"README.md, {name}: say in a few words what it is"
    modules = {path.relative_to(PACKAGE) for path in FILES.values()}
    wanted = {path.as_posix() for path in modules if not re.match(r"__\w+__|ch\d\d$", path.stem)}
    wanted |= {f"{path.parent.as_posix()}/" for path in modules if path.parent.parts}
    wanted |= {f"{path.parent.name}/" for path in PACKAGE.glob("*/config.json")}
    wanted |= {"checks/chNN.py"}
    assert len(shown) == len(set(shown)), "a line of the tree stands there twice"
    lacking, gone = sorted(wanted - set(shown)), sorted(set(shown) - wanted)
    assert not lacking, f"Add a line for {lacking} to the tree in lora_course/README.md"
    assert not gone, f"Take {gone} out of the tree in lora_course/README.md: it is not there"


@pytest.mark.parametrize("module", FILES)
def test_modules_are_short(module):
    """150 lines; a chapter's checks, and texts without a function, are lists and may be longer."""
    text = FILES[module].read_text(encoding="utf-8")
    listed = re.search(r"\.checks\.ch\d\d$", module) or not re.search(
        r"^ *(def|class) ", text, re.M
    )
    lines = [line for line in text.splitlines() if not line.startswith("# owned by chapter")]
    assert listed or len(lines) <= 150, f"{len(lines)} lines: split it by what a reader looks for"


@pytest.mark.parametrize("module", FILES)
def test_modules_say_what_they_are(module):
    assert text_of(module).docstring


def test_no_star_imports():
    for module in FILES:
        for node in text_of(module).imports:
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
