"""docs/claims.md: made from its table, whole, and every link leads to a cell that is there."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from lora_course.builder.source import read

ROOT = Path(__file__).resolve().parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = load("make_claims")
CLAIMS = maker.claims()


def test_the_page_is_what_the_command_makes():
    stored = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert stored == maker.page(), "run: python docs/make_claims.py"


def test_every_claim_is_there_once_and_whole():
    assert [row["id"] for row in CLAIMS] == [f"A{n:02}" for n in range(1, 100)]
    for row in CLAIMS:
        assert all(row[key].strip() for key in ("claim", "verdict", "right", "source")), row
        assert len({"cell", "shown", "why"} & row.keys()) == 1, row
        assert "!" not in "".join(map(str, row.values())), row


@pytest.mark.parametrize("row", [r for r in CLAIMS if "cell" in r], ids=lambda row: row["id"])
def test_a_link_leads_to_a_section_with_code(row):
    number, heading = row["cell"]
    (source,) = (ROOT / "chapters/source").glob(f"{number}_*.py")
    here, code = "", 0
    for cell in read(source, ROOT):
        if cell.kind == "markdown":
            for found in re.findall(r"^#+ (.+)$", cell.source, re.M):
                here = found
        elif here == heading:
            code += 1
    assert code, f"{source.name} has no code under {heading!r}"
    path, _, anchor = maker.link(row).partition("](")[2].removesuffix(")").partition("#")
    notebook = json.loads((ROOT / "docs" / path).read_text(encoding="utf-8"))
    text = "\n".join(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    )
    there = {title.replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)}
    assert anchor in there, f"{path} has no heading {anchor!r}"


@pytest.mark.parametrize("name", sorted({r["shown"] for r in CLAIMS if "shown" in r}))
def test_what_no_chapter_shows_holds(name):
    getattr(load("claims_shown"), name)()


def test_each_function_is_claimed():
    text = (ROOT / "docs/claims_shown.py").read_text(encoding="utf-8")
    listed = re.search(r"for show in \((.+?)\)", text, re.S)[1]
    names = {name.strip() for name in listed.split(",") if name.strip()}
    assert names == {row["shown"] for row in CLAIMS if "shown" in row}
