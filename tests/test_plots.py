"""Figures: alternative text where nbconvert reads it, stable bytes, nobody's settings touched."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lora_course.kit import plots

ROOT = Path(__file__).resolve().parents[1]


def draw():
    fig, ax = plots.figure()
    ax.plot([0, 1, 2], [1, 3, 2], color=plots.COLORS["lora"], label="LoRA")
    ax.set(xlabel="step", ylabel="loss", title="A title")
    ax.legend()
    return fig


@pytest.fixture
def shown(monkeypatch):
    """List of (data, metadata) of everything that show() displays."""
    import IPython.display

    calls = []

    def record(data, metadata=None, raw=False):
        assert raw
        calls.append((data, metadata or {}))

    monkeypatch.setattr(IPython.display, "display", record)
    return calls


def test_same_figure_same_bytes_without_version_or_date():
    first, second = plots.png(draw()), plots.png(draw())
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert b"tEXt" not in first and b"Matplotlib" not in first


def test_white_ground():
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(plots.png(draw()))).convert("RGBA")
    assert image.getpixel((0, 0)) == (255, 255, 255, 255)
    assert abs(image.width - 7 * plots.DPI) <= 1


def test_show_displays_picture_then_caption(shown):
    plots.show(draw(), caption="The loss\n falls.", alt='A line from 1 to 3, "then" 2 < 3.')
    (image, about), (text, _) = shown
    alt = 'A line from 1 to 3, "then" 2 < 3.'
    assert about["image/png"]["alt"] == alt
    assert image["text/plain"] == f"[{alt}]"
    assert text["text/plain"] == "Figure. The loss falls."
    assert text["text/markdown"].startswith("**Figure.** The loss falls.")
    assert "2 &lt; 3." in text["text/markdown"]  # readable in JupyterLab, which shows no alt


@pytest.mark.parametrize(("caption", "alt"), [("", "text"), ("text", " "), ("\n", "")])
def test_show_asks_for_caption_and_alternative_text(shown, caption, alt):
    with pytest.raises(ValueError, match="needs a caption and an alternative text"):
        plots.show(draw(), caption=caption, alt=alt)
    assert not shown


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("classic", 'alt="One line &amp; a dot."'),
        ("lab", "<summary>Description</summary>One line &amp; a dot."),
    ],
)
def test_nbconvert_writes_the_alternative_text(shown, template, found):
    """Of the two only the classic template reads alt (nbconvert 7.17); the fold serves lab."""
    import nbformat
    from nbconvert import HTMLExporter

    plots.show(draw(), caption="The loss falls.", alt="One line & a dot.")
    outputs = [
        nbformat.v4.new_output("display_data", data=data, metadata=metadata)
        for data, metadata in shown
    ]
    cell = nbformat.v4.new_code_cell("", outputs=outputs)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    html, _ = HTMLExporter(template_name=template).from_notebook_node(notebook)
    assert found in html


def test_several_axes():
    fig, axes = plots.figure(ncols=3)
    assert len(axes) == 3
    assert fig.get_size_inches().tolist() == [7, 3.2]


def test_reader_settings_neither_used_nor_changed():
    import matplotlib as mpl

    plain = plots.png(draw())
    with mpl.rc_context({"axes.facecolor": "black", "axes.grid": False, "savefig.dpi": 40}):
        before = dict(mpl.rcParams)
        fig, ax = plots.figure()
        assert ax.get_facecolor() == (1, 1, 1, 1)
        assert len(plots.png(fig)) > 0
        assert dict(mpl.rcParams) == before
    assert plots.png(draw()) == plain


def test_colors_are_distinct_and_named():
    assert {"base", "full", "lora", "qlora", "extra", "grey"} == set(plots.COLORS)
    assert len(set(plots.COLORS.values())) == len(plots.COLORS)


def test_import_is_light_and_pyplot_is_left_alone():
    code = (
        "import sys; from lora_course.kit import plots; assert 'matplotlib' not in sys.modules;"
        "fig, ax = plots.figure(); plots.png(fig); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def luminance(color):
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_words_in_figures_can_be_read():
    """4.5 to 1 on white, and no chapter writes words in a color that has less."""
    assert plots.TEXT.keys() == plots.COLORS.keys()
    for color in plots.TEXT.values():
        assert 1.05 / (luminance(color) + 0.05) >= 4.5, color
    for source in sorted((ROOT / "chapters/source").glob("*.py")):
        words = re.findall(r"\.(?:text|annotate)\(.*", source.read_text(encoding="utf-8"))
        pale = [line for line in words if re.search(r"COLORS\[(?!.(?:grey|base))", line)]
        assert not pale, f"{source.name}: {pale}: take the color from TEXT"
