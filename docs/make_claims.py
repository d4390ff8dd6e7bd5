"""Writes docs/claims.md from docs/claims.toml: python docs/make_claims.py

Every claim has a verdict, what holds instead, a source, and a link to the cells that show it, or
the reason why nothing here does.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE, TARGET = ROOT / "docs/claims.toml", ROOT / "docs/claims.md"
GROUPS = {
    1: "Cost and memory", 34: "How it works", 64: "Quality and settings", 90: "Code",
}  # fmt: skip
TITLES = "| | claim | verdict | what holds | source | shown in |"
HEAD = """\
<!-- Made by `python docs/make_claims.py` from claims.toml. -->

# Claims about LoRA, and what holds

{count} claims that circulate in articles, courses and glossaries, in our words. Each has a verdict,
what holds instead, and where it stands. The last column leads to the cells that show it:
{chapters} lead to a chapter, {appendix} to
[the appendix](../chapters/appendix_claims.ipynb), and {none} say why nothing here shows it.
"""


def claims():
    """The rows of the table, as dicts."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))["claim"]


def link(row):
    """The last column of a row."""
    if "why" in row:
        return row["why"]
    number, heading = row["cell"]
    (source,) = (ROOT / "chapters/source").glob(f"{number}_*.py")
    anchor = heading.replace(" ", "-")
    return f"[{number}, {heading}](../chapters/{source.stem}.ipynb#{anchor})"


def page():
    """The whole file as text."""
    rows = claims()
    none = sum("why" in row for row in rows)
    appendix = sum(row.get("cell", "")[:1] == ["appendix"] for row in rows)
    chapters = len(rows) - none - appendix
    lines = [HEAD.format(count=len(rows), chapters=chapters, appendix=appendix, none=none)]
    for row in rows:
        if title := GROUPS.get(int(row["id"][1:])):
            lines += ["", f"## {title}", "", TITLES, "|:--|:--|:--|:--|:--|:--|"]
        cells = [row["id"], row["claim"], row["verdict"], row["right"], row["source"], link(row)]
        lines.append("| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    TARGET.write_text(page(), encoding="utf-8", newline="\n")
    print(f"{TARGET.relative_to(ROOT)} is written.")


if __name__ == "__main__":
    main()
