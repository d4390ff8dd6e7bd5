"""The notebooks are those of their sources, and the sources keep the rhythm of a chapter.

What their cells print is compared by nbval, in the same run as all other tests:

    python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 600 chapters solutions tests

--nbval-current-env: this interpreter, not whatever kernel is called python3. nbval compares text,
HTML and JSON outputs literally and leaves images out (their bytes depend on fonts and on the
machine), and it leaves out cells tagged nbval-ignore-output. Anything on stderr fails. It needs
no cache (-p no:cacheprovider is fine) and no sanitize file. The variables that the kernels run
under come from conftest.py at the root. --nbval with chapters or solutions alone works too.
"""

import ast
import re
from functools import cache
from pathlib import Path
from statistics import median

import pytest

from lora_course.builder import notebook
from lora_course.builder.build import check
from lora_course.builder.source import END

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters/source").glob("[0-9][0-9]_*.py"))
EXERCISES = sorted(path.stem for path in (ROOT / "solutions/source").glob("[0-9][0-9]_*.py"))
APPENDIX = "appendix_claims"
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u26ff\u2705\u2728\u274c\u2757\u2b50\ufe0f]")


@cache
def cells(kind, stem):
    folder = "chapters" if kind == "chapter" else "solutions"
    return getattr(notebook, kind)(ROOT / folder / "source" / f"{stem}.py", ROOT)


def prose(text):
    """Markdown without code, formulas, pictures and links' targets."""
    text = re.sub(r"```.*?```|<!--.*?-->", " ", text, flags=re.S)
    text = re.sub(r"`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", " x ", text, flags=re.S)
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)


def of_kind(stem, kind):
    return [cell for cell in cells("chapter", stem) if cell.kind == kind]


def lines(cell):
    return len(cell.source.splitlines())


def test_notebooks_are_fresh():
    assert check(ROOT, []) == []


@pytest.mark.parametrize("stem", CHAPTERS)
def test_size_of_a_chapter(stem):
    everything = cells("chapter", stem)
    code = [cell for cell in of_kind(stem, "code") if "quote" not in cell.tags]
    assert 30 <= len(everything) <= 55, f"{len(everything)} cells"
    words = median(len(prose(cell.source).split()) for cell in of_kind(stem, "markdown"))
    assert words <= 45, f"a median markdown cell has {words} words"
    assert median(map(lines, code)) <= 10, (
        f"a median code cell has {median(map(lines, code))} lines"
    )
    own = [cell for cell in everything if "quote" not in cell.tags]
    assert [f"{cell.where}: {lines(cell)} lines" for cell in own if lines(cell) > 25] == []


@pytest.mark.parametrize("stem", CHAPTERS)
def test_start_of_a_chapter(stem):
    everything = cells("chapter", stem)
    kinds = [cell.kind for cell in everything]
    assert "code" in kinds[:5], "the first code cell comes after the fifth cell"
    pointer = rf"Exercise {int(stem[:2])}\.\d"
    places = [n for n, cell in enumerate(everything, 1) if re.search(pointer, prose(cell.source))]
    assert places and places[0] <= 14, f"the first pointer to an exercise is in cell {places[:1]}"


@pytest.mark.parametrize("stem", CHAPTERS)
def test_pointers_name_exercises_that_exist(stem):
    if stem not in EXERCISES:
        pytest.skip("no solutions yet")
    count = len([cell for cell in cells("solution", stem) if cell.exercise])
    known = {f"{int(stem[:2])}.{n}" for n in range(1, count + 1)}
    text = " ".join(cell.source for cell in of_kind(stem, "markdown"))
    named = set(re.findall(rf"Exercise ({int(stem[:2])}\.\d+)", text))
    assert named <= known, f"no such exercise: {sorted(named - known)}"


@pytest.mark.parametrize(
    "kind, stem",
    [("chapter", s) for s in (*CHAPTERS, APPENDIX)] + [("exercise", s) for s in EXERCISES],
)
def test_words(kind, stem):
    for cell in cells(kind, stem):
        text = prose(cell.source) if cell.kind == "markdown" else ""
        assert not re.search(r"\bsimply\b", text, re.I), f"{cell.where}: the word `simply`"
        assert "!" not in text, f"{cell.where}: an exclamation mark"
        assert not EMOJI.search(cell.source), f"{cell.where}: an emoji"


@pytest.mark.parametrize("kind, stem", [("chapter", s) for s in CHAPTERS])
def test_every_figure_has_a_caption_and_alternative_text(kind, stem):
    for cell in of_kind(stem, "code"):
        for node in ast.walk(ast.parse(cell.source)):
            name = getattr(node, "func", None)
            name = getattr(name, "id", getattr(name, "attr", ""))
            if isinstance(node, ast.Call) and name == "show":
                given = {word.arg for word in node.keywords}
                assert {"caption", "alt"} <= given, f"{cell.where}: show() wants caption= and alt="
            assert name != "savefig" and (name != "show" or node.args), (
                f"{cell.where}: use show(fig)"
            )


@pytest.mark.parametrize("stem", EXERCISES)
def test_exercises_of_a_chapter(stem):
    stubs = [cell for cell in cells("exercise", stem) if cell.exercise]
    most = 7 if stem.startswith("19") else 6  # the clinic: six diagnoses and a rule
    assert 4 <= len(stubs) <= most, f"{len(stubs)} exercises"
    for number, cell in enumerate(stubs, 1):
        label = f"Exercise {int(stem[:2])}.{number} is not done yet"
        raised = [n.exc.args[0].value for n in ast.walk(ast.parse(cell.source)) if raises(n)]
        assert raised and all(text.startswith(label) for text in raised), cell.where
        assert END not in cell.source
        assert ast.get_docstring(definitions(cell)[0]), f"{cell.where}: the stub has no docstring"


def definitions(cell):
    kinds = ast.FunctionDef | ast.ClassDef
    return [node for node in ast.parse(cell.source).body if isinstance(node, kinds)]


def raises(node):
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "NotImplementedError"
    )


@pytest.mark.parametrize("stem", CHAPTERS)
def test_every_problem_has_a_folded_answer_in_the_solutions_alone(stem):
    text = (ROOT / f"chapters/source/{stem}.py").read_text(encoding="utf-8")
    _, _, problems = text.partition("roblems without code")
    count = len(re.findall(r"^# \d+\. ", problems, re.M))
    source = ROOT / f"solutions/source/{stem}.py"
    folded = "<details><summary>Problem"
    assert count
    assert sum(c.source.count(folded) for c in notebook.solution(source, ROOT)) == count
    assert not any(folded in cell.source for cell in notebook.exercise(source, ROOT))


@pytest.mark.parametrize("stem", CHAPTERS)
def test_exercises_are_announced_in_their_order(stem):
    text = "\n".join(prose(cell.source) for cell in of_kind(stem, "markdown"))
    told = re.findall(rf"(?:Exercises? |\. ){int(stem[:2])}\.(\d)(?=[:\]* ,)]|\*\*)", text)
    first = list(dict.fromkeys(map(int, told)))
    assert first == sorted(first), f"announced in the order {first}"
