"""calculator.py: the table, the verdict, the sliders, and what happens without ipywidgets."""

import sys

import pytest

from lora_course.costs import calculator
from lora_course.costs.shapes import SHAPES


def row(table, name):
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_estimate_has_every_part():
    parts = calculator.estimate("Llama-2-7B", "lora", batch=1, tokens=512, checkpointing=False)
    assert list(parts) == ["weights", "gradients", "optimizer", "activations", "logits"]
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == pytest.approx(
        14.12, abs=0.01
    )
    # 24 hidden + 8 intermediate in full fine-tuning; 40 and 10 beside a float32 adapter
    assert parts["activations"] == pytest.approx(4.49, abs=0.01)
    full = calculator.estimate("Llama-2-7B", "full", batch=1, tokens=512, checkpointing=False)
    assert full["activations"] == pytest.approx(3.05, abs=0.01)
    assert parts["logits"] == pytest.approx(0.131, abs=0.001)


def test_more_of_anything_needs_more():
    def need(**options):
        chosen = {"name": "Llama-3.1-8B", "method": "lora", **options}
        return calculator.peak_gb(**chosen)

    assert need(batch=2) > need(batch=1)
    assert need(tokens=1024) > need(tokens=512)
    assert need(r=64) > need(r=16)
    assert need(checkpointing=False) > need(checkpointing=True)
    assert need(method="full") > need(method="lora") > need(method="qlora")


@pytest.mark.slow
def test_table_agrees_with_the_known_cases():
    """What fits where: 0.5B fully on 16 GB, 7B with LoRA on 24, 33B with QLoRA on 24, 70B on 48."""
    table = calculator.fit_table()
    assert len(table.splitlines()) == 2 + len(SHAPES)
    assert "16 GB" in row(table, "Qwen2.5-0.5B")[0]
    full, lora, qlora = row(table, "Llama-2-7B")
    assert "no single card" in full and "24 GB card" in lora and "8 GB card" in qlora
    assert "48 GB card" in row(table, "Llama-2-13B")[1]
    assert "24 GB card" in row(table, "LLaMA-33B")[2]
    assert "80 GB card" in row(table, "LLaMA-33B")[1]
    assert "48 GB card" in row(table, "LLaMA-65B")[2]
    assert "48 GB card" in row(table, "Llama-2-70B")[2]


def test_gradients_take_the_place_of_activations():
    def parts_and_peak(method, checkpointing=False):
        options = dict(batch=2, tokens=512, checkpointing=checkpointing)
        parts = calculator.estimate("Llama-2-7B", method, **options)
        return parts, calculator.peak_gb("Llama-2-7B", method, **options)

    full, most = parts_and_peak("full")
    assert full["gradients"] > full["activations"] + 1.5 * full["logits"]
    assert most == pytest.approx(full["weights"] + full["gradients"] + full["optimizer"])
    lora, most = parts_and_peak("lora")
    assert most == pytest.approx(sum(lora.values()) - lora["gradients"] + lora["logits"] / 2)
    assert parts_and_peak("lora", True)[1] < most


def test_verdict():
    assert calculator.verdict(23.0, 24) == "25.0 GB needed, 25.8 GB there: fits"
    assert calculator.verdict(24.0, 24).endswith("25.8 GB there: does not fit")


@pytest.fixture
def box(monkeypatch):
    """The widget that `calculator()` displays."""
    pytest.importorskip("ipywidgets")
    shown = []
    monkeypatch.setattr(calculator, "show_controls", lambda *shows: shown.append(shows))
    calculator.calculator()
    ((widget, text),) = shown
    assert "fits" in text and text.startswith("name "), "what stands there without a kernel"
    return widget


def test_sliders_have_names(box):
    names = [child.description for child in box.children[:-1]]
    words = "model", "method", "card", "rank", "batch", "tokens each", "checkpointing"
    assert tuple(names) == words


def test_sliders_recompute(box):
    sliders = {child.description: child for child in box.children[:-1]}
    text = box.children[-1]
    assert "17.3 GB needed, 25.8 GB there: fits" in text.value  # as in the table
    sliders["method"].value = "full"
    assert "does not fit" in text.value
    sliders["model"].value, sliders["card"].value = "SmolLM2-135M", 8
    assert "5.2 GB needed, 8.6 GB there: fits" in text.value


def test_without_ipywidgets_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    calculator.calculator()
    out = capsys.readouterr().out
    assert "ipywidgets is not installed" in out and "fit_table" in out
