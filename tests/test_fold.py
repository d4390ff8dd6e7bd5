import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lora_course.builder.fold import fold


def test_outputs_that_answer_a_question_are_closed():
    out = [new_output("stream", name="stdout", text="1")]
    cells = [
        ("open", new_code_cell("a", outputs=out)),
        ("", new_markdown_cell("More. **Predict:** which?")),
        ("", new_code_cell("def f(): ...")),
        ("", new_markdown_cell("The cell measures it.")),
        ("closed", new_code_cell("b", outputs=out)),
        ("closed", new_code_cell("c", outputs=out)),
        ("", new_markdown_cell("So it is.")),
        ("open", new_code_cell("d", outputs=out)),
    ]
    nb = new_notebook(cells=[cell for _, cell in cells])
    fold(nb)
    for kind, cell in cells:
        hidden = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
        assert hidden == (kind == "closed") == cell.metadata.get("collapsed", False), cell.source


ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "source", sorted((ROOT / "chapters/source").glob("*.py")), ids=lambda p: p.stem
)
def test_a_question_is_marked_as_one_so_that_its_answer_is_closed(source):
    text = source.read_text(encoding="utf-8")
    assert not re.findall(r"(?m)^.*(?<!\*\*)\bPredict\b.*$", text)


@pytest.mark.parametrize(
    "source", sorted((ROOT / "solutions/source").glob("*.py")), ids=lambda p: p.stem
)
def test_exercises_say_what_to_run_first(source):
    """Before the setup cell a check would end in a bare NameError."""
    first = source.read_text(encoding="utf-8").partition('tags=["setup"]')[0]
    assert "Run the next cell first." in " ".join(first.split())


@pytest.mark.parametrize(
    "source", sorted((ROOT / "chapters/source").glob("[0-9]*.py")), ids=lambda p: p.stem
)
def test_every_mention_of_an_exercise_leads_to_it(source):
    text = " ".join(source.read_text(encoding="utf-8").split())
    number, page = int(source.name[:2]), f"../exercises/{source.stem}.ipynb"
    said = re.findall(rf"(.)Exercise {number}\.\d(?:\]\(([^)#]+))?", text)
    assert len(said) >= 4 and set(said) == {("[", page)}, said
