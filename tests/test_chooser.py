"""chooser.py and guide.py: what it answers, that every link leads somewhere, the controls."""

import re
import sys
from pathlib import Path

import pytest

from lora_course.kit import chooser
from lora_course.kit.chooser import choose, file_megabytes
from lora_course.kit.guide import GUIDE, guide

SOURCES = Path(__file__).resolve().parent.parent / "chapters/source"
ADDRESS = re.compile(r"https://arxiv\.org/abs/\d{4}\.\d{5}")


def headings(stem):
    """Anchors of a chapter, as Jupyter and GitHub make them: spaces become hyphens."""
    text = (SOURCES / f"{stem}.py").read_text(encoding="utf-8")
    return {h.strip().replace(" ", "-") for h in re.findall(r"^# #+ (.+)$", text, re.M)}


@pytest.mark.parametrize("line", GUIDE, ids=lambda line: f"{line.about}-{line.case}")
def test_every_line_leads_somewhere(line):
    words, target = line.link
    if target.startswith("http"):
        assert ADDRESS.fullmatch(target)
        return
    file, _, anchor = target.partition("#")
    stem = file.removesuffix(".ipynb")
    assert words.startswith(f"chapter {stem[:2]}")
    assert (SOURCES / f"{stem}.py").exists(), f"no chapter {stem}"
    if anchor:
        assert anchor in headings(stem), f"{stem} has no heading {anchor!r}"
        assert words.endswith(f"section {anchor.split('-')[0]}")


def test_guide_covers_what_it_promises():
    table, about = guide(), {line.about for line in GUIDE}
    wanted = {"memory", "latency", "storage per task", "tasks", "drift from the base", "data",
              "4-bit base"}  # fmt: skip
    assert wanted <= about
    assert len(table.splitlines()) == 2 + len(GUIDE)
    assert all(line.count("|") == 5 for line in table.splitlines())


def test_links_of_the_chapters():
    """Anchors that this chapter's text uses exist, too."""
    text = (SOURCES / "14_descendants_and_how_to_choose.py").read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\((\d\d_\w+)\.ipynb(?:#([^)]+))?\)", text):
        assert (SOURCES / f"{file}.py").exists(), file
        assert not anchor or anchor in headings(file), (file, anchor)


# What it answers
def test_memory_decides_the_base():
    assert choose("Llama-3.1-8B", 24).base == "16 bits"
    assert choose("Llama-3.1-8B", 16).base == "NF4"
    assert choose("Llama-2-70B", 48).base == "NF4"
    assert choose("Llama-2-70B", 24).method == "none"
    assert "smaller model" in choose("Llama-2-70B", 24).notes[0]


def test_room_decides_the_rank_and_then_the_method():
    sizes = {}
    for room in (None, 200, 100, 12, 6, 1):
        found = choose("Llama-2-7B", 24, megabytes=room)
        sizes[room] = found.method, found.r
        assert room is None or found.megabytes <= room
    assert sizes == {
        None: ("LoRA", 16), 200: ("LoRA", 16), 100: ("LoRA", 8), 12: ("LoRA", 1),
        6: ("VeRA", 256), 1: ("prompt tuning", 0),
    }  # fmt: skip
    assert choose("Llama-2-7B", 24, megabytes=6, mixed=True).method == "prompt tuning"


def test_sizes_are_those_of_the_ledger():
    """FACTS B0 and C2: numbers of Llama-2-7B, all linear layers, 4 bytes each."""
    assert file_megabytes("Llama-2-7B", "LoRA", 16) == pytest.approx(159.9, abs=0.05)
    assert file_megabytes("Llama-2-7B", "LoRA", 8) == pytest.approx(4 * 19.98848)
    assert file_megabytes("Llama-2-7B", "VeRA", 16) == pytest.approx(4 * 1.363456)
    assert file_megabytes("Llama-2-7B", "prompt tuning", 0) == pytest.approx(4 * 0.081920)
    assert file_megabytes("Llama-2-7B", "full fine-tuning", 0) == pytest.approx(13476.8, abs=0.1)


def test_latency_and_tasks():
    assert choose("Llama-2-7B", 24, fast=True).merged
    assert not choose("Llama-2-7B", 24).merged
    many = choose("Llama-2-7B", 24, tasks=30, fast=True)
    assert many.merged and any("one copy" in note for note in many.notes)
    mixed = choose("Llama-2-7B", 24, tasks=30, fast=True, mixed=True)
    assert not mixed.merged and any("cannot be merged" in note for note in mixed.notes)
    prompt = choose("Llama-2-7B", 24, megabytes=0.5, fast=True)
    assert not prompt.merged and any("prompt cannot" in note for note in prompt.notes)
    packed = choose("Llama-3.1-8B", 16, fast=True)
    assert packed.merged and any("dequantized" in note for note in packed.notes)


def test_drift_and_data():
    assert any("PiSSA" in note for note in choose("Llama-3.1-8B", 16).notes)
    assert not any("PiSSA" in note for note in choose("Llama-3.1-8B", 16, untouched=True).notes)
    assert choose("Qwen2.5-0.5B", 24, new=True).method == "full fine-tuning"
    assert choose("Qwen2.5-0.5B", 24, new=True, untouched=True).method == "LoRA"
    assert choose("Qwen2.5-0.5B", 24, new=True, tasks=5).method == "LoRA"
    assert choose("Qwen2.5-0.5B", 24, new=True, megabytes=100).method == "LoRA"
    assert choose("Llama-2-7B", 24, new=True).r == 64
    assert choose("Llama-2-7B", 24, new=True).method == "LoRA"


def test_bad_questions():
    with pytest.raises(ValueError, match="No shape is called 'gpt-5'"):
        choose("gpt-5", 24)
    with pytest.raises(ValueError, match="above 0"):
        choose("Llama-2-7B", 24, tasks=0)
    with pytest.raises(ValueError, match="above 0"):
        choose("Llama-2-7B", 24, megabytes=0)


def test_answer_in_words():
    said = chooser.answer(choose("Llama-2-7B", 24))
    assert said.startswith("LoRA, r = 16, the base in 16 bits") and "159.91 MB" in said
    assert "Sweep the learning rate" in said
    assert "smaller model" in chooser.answer(choose("Llama-2-70B", 8))


# The controls
@pytest.fixture
def box(monkeypatch):
    pytest.importorskip("ipywidgets")
    shown = []
    monkeypatch.setattr(chooser, "show_controls", lambda *shows: shown.append(shows))
    chooser.chooser()
    ((widget, text),) = shown
    assert "not merged" in text and text.startswith("name "), "what stands there without a kernel"
    return widget


def test_controls_ask_and_answer(box):
    controls = {child.description: child for child in box.children[:-1]}
    assert list(controls) == [
        "model", "card", "tasks", "room per task", "several tasks in one batch",
        "no slower than the base", "the original base must stay usable", "much is new to the model",
    ]  # fmt: skip
    text = box.children[-1]
    assert "16 bits" in text.value and "not merged" in text.value
    controls["card"].value = 16
    assert "NF4" in text.value
    controls["no slower than the base"].value = True
    assert "merged for use" in text.value and "dequantized" in text.value


def test_without_ipywidgets_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    chooser.chooser()
    assert "choose(...)" in capsys.readouterr().out
