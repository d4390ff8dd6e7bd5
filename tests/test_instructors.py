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


PAGES = sorted((DOCS / "exercises").glob("*.md"))


def test_list_of_exercises_is_what_the_command_makes():
    made = maker().pages()
    for name, text in made.items():
        stored = (DOCS / name).read_text(encoding="utf-8")
        assert stored == text, f"{name}: run python docs/make_instructors.py"
    assert {f"exercises/{page.name}" for page in PAGES} == set(made) - {"exercises.md"}


def test_links_lead_somewhere():
    for page in (DOCS / "instructors.md", DOCS / "exercises.md", *PAGES):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), page.name


def test_contents_lead_to_chapters_and_exercises():
    listed = re.findall(r"\]\((exercises/\d\d\.md)\)", (DOCS / "exercises.md").read_text("utf-8"))
    assert listed == [f"exercises/{page.name}" for page in PAGES] and len(listed) >= 20
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r'<a id="([^"]+)"></a>\n\n## (.+)', text)
        assert found == re.findall(r'<a href="#([^"]+)">([^<]+)</a>', text), page.name
        assert len(found) == len(set(found)) == len(re.findall(r"(?m)^##+ ", text)) >= 4


def test_minutes_in_the_readme_are_those_of_the_list():
    """To the nearest five, as a reader plans an evening."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"(?m)^\| (\d\d) \|[^|]+\| (\d+) \+ (\d+) \|", readme)
    listed = re.findall(
        r"(?m)^\| \[(\d\d) [^|]+\| (\d+) \| \d+ \| (\d+) \|",
        (DOCS / "exercises.md").read_text(encoding="utf-8"),
    )
    assert len(shown) == len(listed) >= 20
    for (chapter, read, work), (same, reading, working) in zip(shown, listed, strict=True):
        assert (chapter, read) == (same, reading)
        assert abs(int(work) - int(working)) <= 2, f"{chapter}: {work} minutes, not {working}"


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
