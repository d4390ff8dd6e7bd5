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
