"""The builder on tiny sources: every rule, its message, and the bytes it writes."""

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import nbformat
import pytest

from lora_course.builder import notebook
from lora_course.builder.build import check, main
from lora_course.builder.digest import bare
from lora_course.builder.exercises import HINTS
from lora_course.builder.source import SourceError, definition
from tests import warm_kernel

CHAPTER = """\
# %% [markdown]
# # Chapter
# What is it?

# %%
import math

# %% tags=["quote"]
from lora_course.parts import scale, ALPHA

# %%
print(scale(ALPHA, 8))
print("twice")
"""
SOLUTION = """\
# %% [markdown]
# # Exercises of chapter 3
# Do them in order.

# %% tags=["setup"]
from lora_course.checks import ch03 as check

# %% [markdown]
# ## 3.1 The first
# Write it.

# %% exercise="one"
def one():
    \"\"\"Return 1.\"\"\"
    ### BEGIN SOLUTION
    value = 1
    return value
    ### END SOLUTION

# %%
check.one(one)

# %% [markdown]
# ## 3.2 The second
# Write it too.

# %% exercise="two"
class Two:
    def first(self):
        ### BEGIN SOLUTION
        return 1
        ### END SOLUTION

    def second(self):
        ### BEGIN SOLUTION
        return 2
        ### END SOLUTION

# %%
check.two(Two)

# %% [markdown]
# ## 3. What now
# On to the next chapter.
"""
CHECKS = """\
class Check:
    difficulty, minutes, points = 2, 12, 10
    hints = ("Look at `x`.", "The idea.", "```python\\nanswer\\n```")

    def __init__(self, name, title):
        self.name, self.title = name, title

    def __call__(self, *objects):
        print(self.name, "is right")


one, two = Check("one", "The first"), Check("two", "The second")
EXERCISES = (one, two)
"""
PARTS = '''\
"""A module of the package."""
import math

# LoRA's usual alpha
# in this course
ALPHA = 16
RANK: int = 8
"""The rank."""
LOW, HIGH = 1, 2


# Why it is static.
@staticmethod
def scale(alpha, r):
    """alpha / r."""
    return alpha / r  # no rounding


class Layer:
    """A layer."""

    def scale(self):
        return 1
'''
NAME = "03_small"


@pytest.fixture
def forked(monkeypatch):
    """Kernels are forked, where how they start and with which variables is not the matter."""
    warm_kernel.fork_kernels(monkeypatch)


@pytest.fixture
def root(tmp_path):
    """A repository with one chapter, its solutions, and a package to quote from."""
    files = {
        f"chapters/source/{NAME}.py": CHAPTER,
        f"solutions/source/{NAME}.py": SOLUTION,
        "lora_course/__init__.py": "",
        "lora_course/parts.py": PARTS,
        "lora_course/checks/__init__.py": "",
        "lora_course/checks/ch03.py": CHECKS,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def edit(root, name, old, new):
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")


def cells(root, kind):
    folder = "chapters" if kind == "chapter" else "solutions"
    return getattr(notebook, kind)(root / folder / "source" / f"{NAME}.py", root)


def stored(root, folder):
    return json.loads((root / folder / f"{NAME}.ipynb").read_text(encoding="utf-8"))


def bytes_of(root):
    return {p.parent.name: p.read_bytes() for p in root.glob("*/*.ipynb")}


# Quotes


def test_quote_puts_the_real_source_in_place_of_the_import(root):
    quoted = cells(root, "chapter")[2].source
    assert quoted == (
        "# Why it is static.\n@staticmethod\ndef scale(alpha, r):\n"
        '    """alpha / r."""\n    return alpha / r  # no rounding\n\n\n'
        "# LoRA's usual alpha\n# in this course\nALPHA = 16"
    )


@pytest.mark.parametrize(
    "name, start",
    [
        ("RANK", "# The rank.\nRANK: int = 8"),
        ("HIGH", "LOW, HIGH = 1, 2"),
        ("Layer", 'class Layer:\n    """A layer."""\n\n    def scale(self):\n        return 1'),
        ("math", ""),
        ("LAYER", ""),
    ],
)
def test_definition(name, start):
    assert definition(PARTS, name) == start


@pytest.mark.parametrize(
    "code, message",
    [
        ("from lora_course.parts import gone", "lora_course.parts defines no gone"),
        ("from lora_course.parts import math", "defines no math"),
        ("from lora_course.gone import scale", "no module lora_course.gone"),
        ("from math import pi", "no module math in the package"),
        ("from lora_course.parts import scale as s", "without `as`"),
        ("from .parts import scale", "holds one `from"),
        ("import lora_course.parts", "holds one `from"),
        ("from lora_course.parts import scale\nx = 1", "nothing else"),
        ("x = 1", "holds one `from"),
    ],
)
def test_quote_refuses(root, code, message):
    edit(root, f"chapters/source/{NAME}.py", "from lora_course.parts import scale, ALPHA", code)
    with pytest.raises(SourceError, match=message) as error:
        cells(root, "chapter")
    assert f"chapters/source/{NAME}.py, line 8" in str(error.value)


FREE = """
LIMIT = 4


def clipped(value):
    return bounded(value, LIMIT)


def bounded(value, most=LIMIT):
    return min(value, most)
"""


@pytest.mark.parametrize(
    "quoted, above, missing",
    [
        ("clipped, bounded, LIMIT", "x = 1", ""),
        ("clipped", "x = 1", "LIMIT, bounded"),
        ("clipped", "LIMIT = 3", "bounded"),
        ("bounded", "x = 1", "LIMIT"),
        ("clipped", "LIMIT = 3\ndef bounded(value, most): return value", ""),
        ("clipped", "def f():\n    LIMIT = bounded = 1", "LIMIT, bounded"),
        ("clipped", "for LIMIT in (1, 2):\n    import math as bounded", ""),
    ],
)
def test_quoted_code_finds_its_names_above(root, quoted, above, missing):
    edit(root, "lora_course/parts.py", "RANK: int = 8\n", FREE + "RANK: int = 8\n")
    path = f"chapters/source/{NAME}.py"
    edit(root, path, "import math", above)
    edit(root, path, "import scale, ALPHA", f"import {quoted}")
    edit(root, path, "print(scale(ALPHA, 8))", "print(clipped, bounded, LIMIT)")
    if not missing:
        assert cells(root, "chapter")
    else:
        said = f"line [0-9]+: the quoted code uses {missing}, which no cell above"
        with pytest.raises(SourceError, match=said):
            cells(root, "chapter")


@pytest.mark.parametrize("place", ["import math", 'print("twice")'])
@pytest.mark.parametrize(
    "code",
    [
        "from lora_course.parts import scale",
        "from lora_course.parts import scale as other",
        "def f():\n    from lora_course.parts import ALPHA",
        "from lora_course import parts\nprint(parts.scale(1, 2))",
        "import lora_course.parts as p\nprint(p.ALPHA)",
        "import lora_course.parts\nprint(lora_course.parts.scale(1, 2))",
    ],
)
def test_a_quoted_name_and_the_packages_own_are_not_used_together(root, place, code):
    edit(root, f"chapters/source/{NAME}.py", place, code)
    with pytest.raises(SourceError, match="is quoted from lora_course.parts in this chapter"):
        cells(root, "chapter")


def test_other_names_of_a_quoted_module_may_be_imported(root):
    code = "from lora_course.parts import Layer\nimport lora_course.parts as p\np.RANK, Layer.scale"
    edit(root, f"chapters/source/{NAME}.py", "import math", code)
    assert cells(root, "chapter")


# Sources that break a rule


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("# %% [markdown]\n# # Chapter", "import os\n# %% [markdown]\n# # Chapter", "before the"),
        ("# # Chapter", "# Chapter", "must be markdown that starts with `# Title`"),
        ("# %%\nimport math", '# %% tags=["quoted"]\nimport math', "quoted"),
        ("# %%\nimport math", "# %% A title\nimport math", "title"),
        ("# %%\nimport math", "# %%\n\n# %%\nimport math", "empty"),
        ("import math", "import math as", "invalid syntax"),
        ("import math", "### BEGIN SOLUTION\nimport math", "outside an exercise"),
        ("# %%\nimport math", '# %% exercise="one"\nimport math', "live in solutions/source"),
    ],
)
def test_chapter_refuses(root, old, new, message):
    edit(root, f"chapters/source/{NAME}.py", old, new)
    with pytest.raises(SourceError, match=message) as error:
        cells(root, "chapter")
    assert f"chapters/source/{NAME}.py" in str(error.value)


@pytest.mark.parametrize("kind", ["solution", "exercise"])
@pytest.mark.parametrize(
    "old, new, message",
    [
        ("    return value\n    ### END SOLUTION\n", "    return value\n", "lacks `### END"),
        ("    ### BEGIN SOLUTION\n    value", "    value", "`### END SOLUTION` where `### BEGIN"),
        ("    value = 1\n", "    ### BEGIN SOLUTION\n    value = 1\n", "unbalanced or nested"),
        ("    value = 1\n", "    value = 1  ### END SOLUTION\n", "alone on its line"),
        (
            "    ### BEGIN SOLUTION\n    value = 1\n    return value\n    ### END SOLUTION\n",
            "    return 1\n",
            "exercise one lacks `### BEGIN",
        ),
        ("# %%\ncheck.one(one)\n", "", "exercise one is without a check"),
        ("# %%\ncheck.two(Two)\n", "# %%\nprint(Two)\n", "exercise two is without a check"),
        ("check.one(one)", "check.two(one)", "exercise one is without a check"),
        ("check.one(one)\n", "check.one(one)\n\n# %%\ncheck.one(1)\n", "without an exercise"),
        ('exercise="two"', 'exercise="one"', r"are \['one', 'two'\]"),
        ('exercise="one"', 'exercise="three"', "exercise 1 is three"),
        ("## 3.2 The second", "## 3.3 The second", "must start with `## 3.2 The second`"),
        ("## 3.2 The second", "## 3.2 Second", "it starts with `## 3.2 Second`"),
        ("# %% [markdown]\n# ## 3.2 The second\n# Write it too.\n", "", "must start with `## 3.2"),
        ('# %% tags=["setup"]', "# %%", "must carry"),
        ("ch03 as check", "ch03", "from lora_course.checks import ch03 as check"),
    ],
)
def test_solution_source_refuses(root, kind, old, new, message):
    edit(root, f"solutions/source/{NAME}.py", old, new)
    with pytest.raises(SourceError, match=message) as error:
        cells(root, kind)
    assert f"solutions/source/{NAME}.py, line" in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        (CHECKS.replace("(one, two)", "(one, two, Check('three', 'x'))"), "no exercise three"),
        (CHECKS.replace("(one, two)", "(two, one)"), "exercise 1 is one"),
        (CHECKS.replace("(one, two)", "()"), "defines no EXERCISES"),
        ("import gone_for_good", "cannot be imported(.|\n)*gone_for_good"),
        (None, "ch03.py is missing"),
    ],
)
def test_exercises_must_be_those_of_the_checks(root, text, message):
    path = root / "lora_course/checks/ch03.py"
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        cells(root, "exercise")


# What comes out


def test_exercise_notebook(root):
    made = cells(root, "exercise")
    names = [cell.id for cell in made if "-" in cell.id]
    assert names == [
        f"{kind}-{n}" for n in ("one", "two") for kind in ("exercise", "check", "hints")
    ]
    by_id = {cell.id: cell for cell in made}
    stub = by_id["exercise-one"]
    assert stub.meta == {"exercise": "03.one"} and by_id["check-one"].meta == {"check": "03.one"}
    assert stub.source == (
        'def one():\n    """Return 1."""\n    raise NotImplementedError('
        '"Exercise 3.1 is not done yet: replace this line with your code.")'
    )
    both = by_id["exercise-two"].source
    assert both.count('        raise NotImplementedError("Exercise 3.2 ') == 2
    assert "return" not in both and "SOLUTION" not in both
    ast.parse(both)
    assert made[0].source == "# Exercises of chapter 3\nDo them in order."
    assert made[2].source == (
        "## 3.1 The first\n\n*Difficulty 2/5 · 12 minutes · 10 points*\n\nWrite it."
    )


def test_hints_open_one_inside_the_other(root):
    text = next(cell.source for cell in cells(root, "exercise") if cell.id == "hints-one")
    first, second, third = (text.index(f"Hint {n}: {word}") for n, word in enumerate(HINTS, 1))
    assert first < second < third < text.index("</details>"), "all open before the first closes"
    assert text.count("<details>") == text.count("</details>") == 3
    assert "\n\nLook at `x`.\n\n" in text and "\n\n```python\nanswer\n```\n\n" in text


def test_solution_notebook_has_answers_and_a_note_and_no_hints(root):
    made = cells(root, "solution")
    by_id = {cell.id: cell.source for cell in made}
    assert by_id["exercise-one"] == (
        'def one():\n    """Return 1."""\n    value = 1\n    return value'
    )
    title, note, text = made[0].source.split("\n\n")
    assert title == "# Exercises of chapter 3" and text == "Do them in order."
    assert f"(../exercises/{NAME}.ipynb)" in note
    assert not any("hints" in name for name in by_id)


def test_ids_follow_the_text_and_twins_get_a_counter(root):
    before = [cell.id for cell in cells(root, "chapter")]
    path = f"chapters/source/{NAME}.py"
    edit(root, path, "import math\n", "import math\n\n# %%\nimport math\n\n# %%\nx = 1\n")
    after = [cell.id for cell in cells(root, "chapter")]
    assert after[:2] == before[:2] and after[4:] == before[2:]
    assert after[2] == f"{before[1]}-2" and len(set(after)) == len(after)


def test_comments_stay_comments(root):
    edit(root, f"chapters/source/{NAME}.py", "import math", "# cat the rows\n# %time is up")
    assert cells(root, "chapter")[1].source == "# cat the rows\n# %time is up"


# Building, for real


@pytest.mark.slow
def test_two_builds_make_the_same_bytes(root, monkeypatch, capsys):
    monkeypatch.setenv("JUPYTER_PATH", str(root / "kernels"))  # another kernel called python3
    spec = {"argv": ["no-such-python"], "display_name": "wrong", "language": "python"}
    (root / "kernels/kernels/python3").mkdir(parents=True)
    (root / "kernels/kernels/python3/kernel.json").write_text(json.dumps(spec))
    source = f"chapters/source/{NAME}.py"
    edit(root, source, "import math", "import os, sys, time\nfrom pathlib import Path")
    text = """
# %% tags=["nbval-ignore-output"]
print(time.perf_counter_ns(), flush=True)
time.perf_counter_ns()

# %%
print(os.environ["LORA_COURSE_HOME"] != HOME, os.environ["HF_HUB_OFFLINE"])
print(Path.cwd().name, Path(sys.executable) == Path(EXECUTABLE), flush=True)
time.sleep(0.2)
print("late")
"""
    home = repr(os.environ["LORA_COURSE_HOME"])
    text = text.replace("!= HOME", f"!= {home}").replace("EXECUTABLE", repr(sys.executable))
    with open(root / source, "a", encoding="utf-8") as file:
        file.write(text)
    assert main(["3"], root) == 0
    first = bytes_of(root)
    assert set(first) == {"chapters", "solutions", "exercises"}
    outputs = [c["outputs"] for c in stored(root, "chapters")["cells"] if c["cell_type"] == "code"]
    assert [len(found) for found in outputs] == [0, 0, 1, 2, 1]
    assert outputs[2][0]["text"] == ["2.0\n", "twice\n"]
    assert outputs[4][0]["text"] == ["True 1\n", "chapters True\n", "late\n"]
    assert check(root, []) == []

    assert main([f"chapters/source/{NAME}.py"], root) == 0
    assert bytes_of(root) == first, "the ignored output was kept, and nothing else moved"
    assert main(["03", "--no-run"], root) == 0
    assert bytes_of(root) == first, "without a run, unchanged code keeps its outputs"
    with pytest.raises(SystemExit):
        main(["03", "--no-run", "--fresh"], root)

    edit(root, source, "time.perf_counter_ns()\n\n", "time.perf_counter_ns() + 1\n\n")
    assert main(["03"], root) == 0
    assert bytes_of(root)["chapters"] != first["chapters"], "its source changed: a fresh output"
    assert not list(root.glob("*/.*.tmp")), "no half-written file stays"

    edit(root, source, 'print("late")', 'print("later")')
    assert main(["03", "--no-run"], root) == 0
    assert "not executed" in check(root, [])[0], "changed code loses all outputs without a run"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code, message",
    [
        ("print(1 / 0)", "ZeroDivisionError"),
        ("import sys\nprint('careful', file=sys.stderr)", "wrote to stderr(.|\n)*careful"),
        ("print(object())", "names a place on this machine"),
        ("import os\nprint(os.getcwd())", "names a place on this machine"),
        ("import ipywidgets\nipywidgets.IntSlider()", "needs the tag nbval-ignore-output"),
    ],
)
def test_a_cell_that_must_not_be_stored_stops_the_build(root, forked, capsys, code, message):
    edit(root, f"chapters/source/{NAME}.py", "import math", code)
    before = root / f"chapters/{NAME}.ipynb"
    before.write_text("as it was")
    assert main(["3"], root) == 1
    out, err = capsys.readouterr()
    assert f"chapters/{NAME}.ipynb  not built\n  chapters/source/{NAME}.py, line 5:" in err
    assert re.search(message, err) and "\x1b" not in err
    assert before.read_text() == "as it was" and "solutions/03_small.ipynb  built" in out


@pytest.mark.slow
def test_a_widget_leaves_nothing_and_progress_bars_are_off(root):
    code = "import ipywidgets\nfrom tqdm.auto import tqdm\nlist(tqdm([1]))\nipywidgets.IntSlider()"
    edit(
        root,
        f"chapters/source/{NAME}.py",
        "# %%\nimport math",
        f'# %% tags=["nbval-ignore-output"]\n{code}',
    )
    assert main(["3"], root) == 0
    made = stored(root, "chapters")
    assert made["cells"][1]["outputs"] == [] and "widgets" not in made["metadata"]


@pytest.mark.slow
def test_nbval_compares_text_and_leaves_images_and_widgets_out(root, forked):
    cells = """
# %%
import base64
from IPython.display import HTML, Image, display
from ipywidgets import interact
display(Image(base64.b64decode(b"iVBORw0KGgo=")), HTML("<b>bold</b>"))

# %% tags=["nbval-ignore-output"]
interact(lambda x: print(x), x=(0, 3));
"""
    with open(root / f"chapters/source/{NAME}.py", "a", encoding="utf-8") as file:
        file.write(cells)
    assert main(["3"], root) == 0
    path = root / f"chapters/{NAME}.ipynb"

    picture, text = (shutil.copy(path, path.with_stem(name)) for name in ("picture", "text"))
    change(picture, lambda nb: nb["cells"][4]["outputs"][0]["data"].update({"image/png": "AAAA"}))
    change(text, lambda nb: nb["cells"][4]["outputs"][1]["data"].update({"text/html": "<b>"}))
    change(text, lambda nb: nb["cells"][3]["outputs"][0].update(text="3.0\n"))
    flags = ["--nbval", "--nbval-current-env", "-v", "-p", "no:cacheprovider", "--color=no"]
    command = [sys.executable, "-m", "pytest", *flags, path, picture, text]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = Counter(re.findall(r"(\w+)::ipynb::.* (PASSED|FAILED) +\[", done.stdout))
    assert found.pop((NAME, "PASSED")) == 5, "as it was built"
    assert found.pop(("picture", "PASSED")) == 5, "another picture is no difference"
    assert found.pop(("text", "FAILED")) == 2, "another text and another HTML are"
    assert found == {("text", "PASSED"): 3}


# Outputs that no test compares: they come from one run, and from the code of today

TIMED = """
# %% tags=["nbval-ignore-output"]
import time
from lora_course.measure import seconds
took = seconds()
print(took)

# %%
from IPython.display import Image, display
display(Image(data=str(took).encode(), format="png"))
"""
MEASURE = """
import time

from lora_course import deeper


def seconds():
    "How long."
    return time.perf_counter_ns() * deeper.FACTOR
"""


@pytest.fixture
def timed(root):
    """A chapter with a cell that measures and a figure that draws what was measured."""
    with open(root / f"chapters/source/{NAME}.py", "a", encoding="utf-8") as file:
        file.write(TIMED)
    (root / "lora_course/measure.py").write_text(MEASURE)
    (root / "lora_course/deeper.py").write_text("FACTOR = 1\n")
    (root / "lora_course/base").mkdir()
    (root / "lora_course/base/model.bin").write_bytes(b"weights")
    return root


def shown(root):
    """What the measuring cell printed, and what the figure under it draws."""
    code = [c for c in stored(root, "chapters")["cells"] if c["cell_type"] == "code"]
    printed, drawn = code[-2]["outputs"][0]["text"], code[-1]["outputs"][0]["data"]["image/png"]
    return "".join(printed).strip(), base64.b64decode("".join(drawn)).decode()


@pytest.mark.slow
def test_a_notebook_shows_the_numbers_of_one_run(timed, forked):
    assert main(["3"], timed) == 0
    first, before = shown(timed), bytes_of(timed)
    assert first[0] == first[1]
    assert main(["3"], timed) == 0
    assert bytes_of(timed) == before, "nothing changed: the figure is kept with its numbers"
    edit(timed, f"chapters/source/{NAME}.py", 'print("twice")', 'print("thrice")')
    assert main(["3"], timed) == 0
    second = shown(timed)
    assert second[0] == second[1] != first[0], "one cell changed: all are of the new run"
    assert main(["3", "--fresh"], timed) == 0
    third = shown(timed)
    assert third[0] == third[1] != second[0] and check(timed, []) == []


@pytest.mark.slow
def test_an_output_that_comes_out_differently_renews_all(timed, forked):
    """The digest sees no change behind an import by name; the compared cells do."""
    code = "from importlib import import_module\nprint(import_module('lora_course.hidden').X)"
    edit(timed, f"chapters/source/{NAME}.py", 'print("twice")', code)
    (timed / "lora_course/hidden.py").write_text("X = 1\n")
    assert main(["3"], timed) == 0
    first = shown(timed)
    (timed / "lora_course/hidden.py").write_text("X = 2\n")
    assert main(["3"], timed) == 0
    assert shown(timed)[0] == shown(timed)[1] != first[0]


def made_by(root):
    made = notebook.to_notebook(cells(root, "chapter"), root)
    return made.metadata.get("lora_course", {}).get("made_by")


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("lora_course/measure.py", "* deeper.FACTOR", "+ deeper.FACTOR"),
        ("lora_course/deeper.py", "FACTOR = 1", "FACTOR = 2"),
        ("lora_course/parts.py", "return alpha / r", "return alpha // r"),
        ("lora_course/base/model.bin", "weights", "other weights"),
        (f"chapters/source/{NAME}.py", "took = seconds()", "took = seconds() + 1"),
        (f"chapters/source/{NAME}.py", "import math", "import math, cmath"),
    ],
)
def test_digest_sees_code_and_data(timed, name, old, new):
    before = made_by(timed)
    assert before and made_by(timed) == before
    edit(timed, name, old, new)
    assert made_by(timed) != before


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("lora_course/measure.py", '"How long."', '"How long it takes."'),
        ("lora_course/measure.py", "import time\n", "import time  # the clock\n\n"),
        ("lora_course/checks/ch03.py", "The idea.", "Another."),
        (f"chapters/source/{NAME}.py", "# What is it?", "# What is this?"),
        (f"chapters/source/{NAME}.py", "took = seconds()", "took = seconds()  # once"),
    ],
)
def test_digest_does_not_see_words_and_other_modules(timed, name, old, new):
    before = made_by(timed)
    edit(timed, name, old, new)
    assert made_by(timed) == before


def test_a_notebook_whose_cells_are_all_compared_has_no_digest(root):
    assert made_by(root) is None


@pytest.mark.parametrize(
    "text, rest",
    [
        ("x = '# no comment'  # a comment\n", "x = '# no comment'"),
        ('"""Module."""\n\nx = 1\n', "x = 1"),
        ('def f():\n    """Say.\n\n    More.\n    """\n    return 1', "def f():\n    return 1"),
        ('x = """a\n\nb"""\n\n\ny = 1', 'x = """a\n\nb"""\ny = 1'),
        ('class E(Exception): """Bad."""', 'class E(Exception): """Bad."""'),
        (
            "class E(Exception):\n    'Bad.'\n    x = f'{1}#'",
            "class E(Exception):\n    x = f'{1}#'",
        ),
        ('print("ü")  # ü\ns = "\u2028"', 'print("ü")\ns = "\u2028"'),
    ],
)
def test_bare(text, rest):
    assert bare(text) == rest


def test_a_string_that_begins_a_cell_is_its_output():
    assert bare("'shown'", is_cell=True) == "'shown'" and bare("'doc'") == ""


# --check


@pytest.fixture
def built(root):
    """Built without running: outputs are put in by hand."""
    assert main(["--no-run"], root) == 0
    for path in [root / f"chapters/{NAME}.ipynb", root / f"solutions/{NAME}.ipynb"]:
        nb = nbformat.read(path, as_version=4)
        for count, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), 1):
            cell.execution_count = count
        notebook.write(nb, path)
    assert check(root, []) == []
    return root


def change(path, action):
    nb = json.loads(path.read_text(encoding="utf-8"))
    action(nb)
    path.write_text(json.dumps(nb), encoding="utf-8")


@pytest.mark.parametrize(
    "folder, action, message",
    [
        ("chapters", lambda nb: nb["cells"][0].update(source="# Other"), "stale from cell 1"),
        ("chapters", lambda nb: nb["cells"][1].update(id="other"), "stale from cell 2"),
        ("solutions", lambda nb: nb["cells"][1].update(metadata={}), "stale from cell 2"),
        ("chapters", lambda nb: nb["cells"].pop(), "number of cells"),
        ("chapters", lambda nb: nb["metadata"].update(lora_course={"made_by": ""}), "behind its"),
        ("chapters", lambda nb: nb["cells"][1].update(execution_count=None), "not executed"),
        ("chapters", lambda nb: nb["cells"][1].update(execution_count=7), "not executed"),
        (
            "solutions",
            lambda nb: nb["cells"][1].update(
                outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]
            ),
            "stores ['error'] outputs",
        ),
        (
            "exercises",
            lambda nb: nb["cells"][1].update(
                outputs=[{"output_type": "stream", "name": "stdout", "text": "x"}]
            ),
            "holds outputs",
        ),
    ],
)
def test_check_finds_a_changed_notebook(built, capsys, folder, action, message):
    change(built / folder / f"{NAME}.ipynb", action)
    before = bytes_of(built)
    assert main(["--check"], built) == 1
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{folder}/{NAME}.ipynb") and message in line
    assert line.endswith("Run: python -m lora_course.builder 03")
    assert bytes_of(built) == before, "--check writes nothing"


@pytest.mark.parametrize(
    "name, old, new, stale",
    [
        (f"chapters/source/{NAME}.py", "twice", "thrice", {"chapters"}),
        ("lora_course/parts.py", "# no rounding", "# none", {"chapters"}),
        ("lora_course/checks/ch03.py", "The idea.", "Another.", {"exercises"}),
        ("lora_course/checks/ch03.py", "2, 12, 10", "2, 15, 10", {"solutions", "exercises"}),
        (f"solutions/source/{NAME}.py", "value = 1", "value = 2 - 1", {"solutions"}),
    ],
)
def test_check_finds_a_changed_source(built, name, old, new, stale):
    edit(built, name, old, new)
    assert {line.partition("/")[0] for line in check(built, [])} == stale
    assert {line.partition("/")[0] for line in check(built, ["03"])} == stale


def test_check_finds_missing_damaged_and_orphaned_notebooks(built):
    (built / f"chapters/{NAME}.ipynb").unlink()
    (built / f"exercises/{NAME}.ipynb").write_text("{")
    (built / "exercises/02_gone.ipynb").write_text("{}")
    (built / "chapters/source/04_alone.py").write_text("# %% [markdown]\n# # Alone\n")
    lines = check(built, [])
    assert any(f"chapters/{NAME}.ipynb is missing or cannot be read" in line for line in lines)
    assert any(f"exercises/{NAME}.ipynb is missing or cannot be read" in line for line in lines)
    assert any("exercises/02_gone.ipynb has no source" in line for line in lines)
    assert any("04_alone.py lies in only one of" in line for line in lines)


def test_the_appendix_is_a_chapter_without_exercises(built, forked):
    source = built / "chapters/source/appendix_claims.py"
    source.write_text("# %% [markdown]\n# # Appendix\n\n# %%\nprint(6 * 7)\n")
    (line,) = check(built, [])
    assert line.endswith("Run: python -m lora_course.builder appendix")
    assert main(["appendix"], built) == 0 and check(built, []) == []
    assert "42" in (built / "chapters/appendix_claims.ipynb").read_text()
    source.write_text(source.read_text().replace("6", "5"))
    (line,) = check(built, ["appendix"])
    assert "chapters/appendix_claims.ipynb is stale" in line
    assert main([str(source), "--no-run"], built) == 0


def test_check_reports_a_broken_source(built):
    edit(built, f"chapters/source/{NAME}.py", "scale, ALPHA", "gone")
    assert "cannot be built: chapters/source/03_small.py, line 8" in check(built, [])[0]


def saved_by_jupyterlab(path, root):
    """Open a notebook over the server's contents API and save it as JupyterLab does, untouched.

    JupyterLab writes the kernel's language_info and kernelspec into an open notebook, and the
    server writes the file: json as nbformat has it, which splits texts into lines.
    """
    from jupyter_server.services.contents.filemanager import FileContentsManager

    manager = FileContentsManager(root_dir=str(root))
    name = path.relative_to(root).as_posix()
    model = manager.get(name, content=True, type="notebook")
    model["content"]["metadata"]["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    model["content"]["metadata"]["language_info"] = {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": "3.12.99",
    }
    model = json.loads(json.dumps(model, default=str))  # over the wire
    manager.save({"type": "notebook", "format": "json", "content": model["content"]}, name)


@pytest.mark.parametrize("folder", ["chapters", "solutions", "exercises"])
def test_a_save_by_jupyterlab_makes_nothing_stale(built, folder):
    path = built / folder / f"{NAME}.ipynb"
    before = json.loads(path.read_bytes())
    saved_by_jupyterlab(path, built)
    after = json.loads(path.read_bytes())
    assert after["metadata"].pop("language_info")["version"] == "3.12.99"
    before["metadata"].pop("language_info")
    assert after == before, "nothing else was written"
    assert main(["--check"], built) == 0


@pytest.mark.slow
def test_the_kernels_language_info_is_all_that_a_save_changes(timed, forked):
    """With outputs: text, an image, a digest. What a person ran shows again as it was."""
    assert main(["3"], timed) == 0
    path = timed / f"chapters/{NAME}.ipynb"
    before = path.read_text(encoding="utf-8")
    saved_by_jupyterlab(path, timed)
    nb = notebook.load(path)
    nb.metadata.language_info = notebook.METADATA["language_info"]
    notebook.write(nb, path)
    assert path.read_text(encoding="utf-8") == before
    saved_by_jupyterlab(path, timed)
    assert main(["--check"], timed) == 0


@pytest.mark.parametrize("argument", ["07", "seven", "chapters/source/07_x.py"])
def test_unknown_chapter(root, capsys, argument):
    assert main([argument, "--no-run"], root) == 1
    assert "there is no chapters/source/" in capsys.readouterr().err
