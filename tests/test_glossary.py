"""Every term of docs/glossary.md is explained, and marked, where the chapters first use it.

The first markdown cell that uses a term outside code marks it (`*term*` or `**term**`): so no
reader meets it before its explanation. What a chapter's title cell announces does not count, nor
what links name. A term in backticks is looked for in code spans as well.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from lora_course.builder.source import read

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "chapters/source").glob("[0-9][0-9]_*.py"))
ROW = re.compile(r"\| (.+?) \| (.+?) \| \[(\d\d), (.+?)\]\(\.\./chapters/(\S+)\.ipynb\) \|")


def glossary():
    """[(term, meaning, number, heading, stem)] of the table."""
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]  # without the head
    rows = [ROW.fullmatch(line) for line in lines]
    assert all(rows), [line for line, row in zip(lines, rows, strict=True) if not row]
    return [row.groups() for row in rows]


@cache
def cells(path, root):
    """[(heading, text)] of the markdown cells but the title's; the heading a cell begins under."""
    heading, found = "", []
    for cell in read(path, root)[1:]:
        if cell.kind == "markdown":
            found.append((heading, cell.source))
            heading = headings(heading, cell.source)[-1]
    return found


def headings(first, text):
    return [first, *re.findall(r"^#+ (.+)$", text, flags=re.M)]


def plain(text, term):
    """The text without code, formulas and links; with code spans for a term that is code."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)", " ", text, flags=re.S)
    text = re.sub(r"^(> ?)+", "", text, flags=re.M)
    return text if "`" in term else re.sub(r"`[^`]*`", " ", text)


def find(term, text, start="", end=""):
    """Search for a term as a word, also in the plural; only a term in capitals minds its case."""
    words = r"\s+".join(map(re.escape, term.split()))
    rule = rf"{start}(?<![\w`-]){words}(?:e?s)?(?![\w`]){end}"
    return re.search(rule, text, 0 if term.isupper() else re.I)


def first_use(term, sources, root=ROOT):
    """(number, heading, marked) of the first cell that uses a term, None where none does."""
    for path in sources:
        for heading, text in cells(path, root):
            prose = plain(text, term)
            if not (found := find(term, prose)):
                continue
            mark = find(term, prose, r"\*", r"[.:,]?\*")
            end = (mark or found).end()
            before = prose[:end] + prose[end:].partition("\n")[0]  # to the end of its line
            return path.stem[:2], headings(heading, before)[-1], bool(mark)
    return None


def test_the_table_is_in_order_and_links_to_chapters():
    rows = glossary()
    terms = [row[0].strip("`").lower() for row in rows]
    assert len(terms) >= 40 and terms == sorted(set(terms))
    stems = {path.stem for path in SOURCES}
    assert not [stem for _, _, number, _, stem in rows if stem not in stems or stem[:2] != number]


@pytest.mark.parametrize("term, number, heading", [(r[0], r[2], r[3]) for r in glossary()])
def test_a_term_is_explained_at_its_first_use(term, number, heading):
    assert first_use(term, SOURCES) == (number, heading, True)


@pytest.mark.parametrize(
    "text, found",
    [
        ("## 2 Gears\n\nA *cog* turns. Cogs!", ("03", "2 Gears", True)),
        ("## 2 Gears\n\n`cog` is code, **cogs** are teeth.", ("03", "2 Gears", True)),
        (
            "A [cog](x.md), $cog$.\n\n```\ncog\n```\n\n## 3 Teeth\n> *cog*",
            ("03", "3 Teeth", True),
        ),
        ("A cog turns.\n\n## 3 Teeth\n\nNothing.", ("03", "1 Wheels", False)),
        ("*cogwheel*, a precog", ("03", "1 Wheels", False)),
    ],
)
def test_the_test_finds_the_first_use(tmp_path, text, found):
    """On a chapter of its own: what it announces is no use, what comes too early is told."""
    commented = "\n".join(f"# {line}".rstrip() for line in text.split("\n"))
    path = tmp_path / "03_small.py"
    path.write_text(
        "# %% [markdown]\n# # Cogs\n# You will know the cog.\n\n"
        "# %% [markdown]\n# ## 1 Wheels\n# They turn.\n\n"
        f"# %%\ncog = 1\n\n# %% [markdown]\n{commented}\n\n# %% [markdown]\n# A cog again.\n"
    )
    assert first_use("cog", [path], tmp_path) == found
