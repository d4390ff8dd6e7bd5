"""The instructor's pages: the list is what its command makes, links and commands exist."""

import importlib.util
import re
from pathlib import Path

from lora_course import cli
from lora_course.grading.other_tasks import TASKS

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDE = (DOCS / "instructors.md").read_text(encoding="utf-8")


def maker():
    spec = importlib.util.spec_from_file_location("make_instructors", DOCS / "make_instructors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_list_of_exercises_is_what_the_command_makes():
    stored = (DOCS / "exercises.md").read_text(encoding="utf-8")
    assert stored == maker().page(), "run: python docs/make_instructors.py"


def test_links_lead_somewhere():
    for page in ("instructors.md", "exercises.md"):
        for target in re.findall(r"\]\(([^)#]+)", (DOCS / page).read_text(encoding="utf-8")):
            assert target.startswith("https://") or (DOCS / target).exists(), f"{page}: {target}"


def test_contents_lead_to_chapters_and_exercises():
    text = (DOCS / "exercises.md").read_text(encoding="utf-8")
    anchors = re.findall(r'<a id="([^"]+)"></a>', text)
    targets = re.findall(r'<a href="#([^"]+)">', text)
    assert len(anchors) == len(set(anchors)) and set(anchors) == set(targets)
    for target, heading in re.findall(r'<a id="([^"]+)"></a>\n\n#+ (.+)', text):
        assert f'<a href="#{target}">{heading}</a>' in text
    headings = re.findall(r"(?m)^##+ ", text)
    assert len(headings) == len(anchors) - 1 > 100  # the contents have no heading


def test_variants_are_those_there_are():
    for name, task in TASKS.items():
        assert f"| `--variant {name}` | {task} |" in GUIDE


def test_commands_exist(capsys):
    for command in {"", *re.findall(r"lora-course (\w+)", GUIDE)}:
        try:
            cli.main([*command.split(), "--help"])
        except SystemExit as end:
            assert end.code == 0, command
    said = capsys.readouterr().out
    others = "benchmarks/", "sbatch "
    ours = "\n".join(line for line in GUIDE.splitlines() if not any(o in line for o in others))
    for option in set(re.findall(r"--[a-z][a-z-]*", ours)):
        assert option in said, option
