"""Photographs docs/exercise.png for README.md: an exercise with a slip, and what its check says.

pip install playwright, and a Chromium on the path; then: python docs/make_screenshot.py
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main():
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_code_cell, new_notebook
    from playwright.sync_api import sync_playwright

    from lora_course.builder.exercises import annotated, answer

    cells, _ = annotated(next((ROOT / "solutions/source").glob("03_*.py")), ROOT)
    setup = next(cell.source for cell in cells if "setup" in cell.tags)
    place = next(n for n, cell in enumerate(cells) if cell.exercise)
    right = answer(cells[place])
    wrong = right.replace("scaling = lora_alpha / r", "scaling = r / lora_alpha")
    assert wrong != right, "the slip in this picture no longer fits the solution"
    nb = new_notebook(
        cells=[new_code_cell(code) for code in (setup, wrong, cells[place + 1].source)]
    )
    NotebookClient(nb, timeout=300, resources={"metadata": {"path": ROOT / "solutions"}}).execute()
    nb.cells = nb.cells[1:]
    export = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True)
    html, _ = export.from_notebook_node(nb)
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 900, "height": 700}, device_scale_factor=2)
        page.set_content(html)
        page.wait_for_timeout(1500)
        page.locator("main").screenshot(path=ROOT / "docs/exercise.png")
        browser.close()


if __name__ == "__main__":
    main()
