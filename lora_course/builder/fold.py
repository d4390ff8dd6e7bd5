"""Outputs that answer a question stay closed until the reader opens them."""

from nbformat import NotebookNode


def fold(nb: NotebookNode) -> None:
    """Close the outputs that answer a «Predict», up to the next text; a click opens them.

    Sets what JupyterLab reads (`jupyter.outputs_hidden`, `collapsed`) and nothing in the source.
    """
    asked = answered = False
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            asked = "**Predict" in cell.source or (asked and not answered)
            answered = False
        elif asked and cell.outputs:
            cell.metadata |= {"collapsed": True, "jupyter": {"outputs_hidden": True}}
            answered = True
