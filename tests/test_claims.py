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
        assert len({"cell", "why"} & row.keys()) == 1, row
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


def told(row):
    """What the appendix says of a claim, above the cells that show it."""
    verdict = row["verdict"]
    return f"**{row['id']}.** *{row['claim']}* {verdict[0].upper()}{verdict[1:]}."


def test_the_appendix_tells_its_claims_under_their_headings_and_no_other():
    here, there = "", []
    for cell in read(ROOT / "chapters/source/appendix_claims.py", ROOT):
        for part in cell.source.split("\n\n") if cell.kind == "markdown" else ():
            if found := re.match(r"#+ (.+)", part):
                here = found[1]
            elif part.startswith("**A"):
                there.append((here, " ".join(part.split())))
    wanted = [(r["cell"][1], told(r)) for r in CLAIMS if r.get("cell", "")[:1] == ["appendix"]]
    assert wanted and sorted(there) == sorted(wanted)
