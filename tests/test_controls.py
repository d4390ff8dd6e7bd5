import pytest

from lora_course.plumbing.controls import show_controls


def test_a_text_stands_where_no_kernel_runs(monkeypatch):
    widgets = pytest.importorskip("ipywidgets")
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    show_controls(widgets.VBox([widgets.IntSlider()]), "3 < 4\nfits")
    (data,) = shown
    assert "model_id" in data["application/vnd.jupyter.widget-view+json"]
    assert data["text/plain"] == "3 < 4\nfits" and "3 &lt; 4\nfits" in data["text/html"]
