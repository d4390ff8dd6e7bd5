"""Which method? A function that answers from constraints, and controls to ask it with.

Its rules are those of the table in `kit.guide`.
"""

from functools import cache
from typing import NamedTuple

from lora_course.costs.calculator import CARDS, MARGIN, estimate
from lora_course.costs.memory import GB, GIB, adapter_parameters, block_linears
from lora_course.costs.shapes import SHAPES, meta_model
from lora_course.plumbing.controls import show_controls


class Choice(NamedTuple):
    """An answer. base: "16 bits" or "NF4"; r: 0 where there is no rank; megabytes: of a task."""

    method: str
    base: str
    r: int
    merged: bool
    megabytes: float
    notes: tuple[str, ...]


@cache
def file_megabytes(name, method, r):
    """MB of what a task stores: float32 numbers of the adapter, or the whole model in 16 bits."""
    model = meta_model(name)
    if method == "full fine-tuning":
        return 2 * sum(p.numel() for p in model.parameters()) / 1e6
    if method == "prompt tuning":  # 20 virtual tokens
        return 4 * 20 * model.config.hidden_size / 1e6
    if method == "VeRA":
        return 4 * sum(r + layer.out_features for layer in block_linears(model).values()) / 1e6
    return 4 * adapter_parameters(model, r) / 1e6


def choose(
    name, card, tasks=1, mixed=False, fast=False, megabytes=None, untouched=False, new=False
):
    """Answer from constraints. The first constraints that cannot be met decide.

    name: a key of SHAPES. card: GiB of the GPU. tasks: how many share the base. mixed: rows of
    several tasks in one batch. fast: no slower than the base. megabytes: room for a task, None
    for no limit. untouched: the original base must stay usable. new: much is new to the model.
    Returns a Choice. Raises ValueError for an unknown name, or fewer than one task.
    """
    if name not in SHAPES:
        raise ValueError(f"No shape is called {name!r}. Choose from {', '.join(SHAPES)}.")
    if tasks < 1 or (megabytes is not None and megabytes <= 0):
        raise ValueError(f"tasks = {tasks}, megabytes = {megabytes}: both must be above 0.")
    several, r, notes = tasks > 1, 64 if new else 16, []

    def fits(method):
        needed = MARGIN + sum(estimate(name, method, r, batch=1).values())
        return needed <= card * GIB / GB

    if not fits("qlora"):
        small = ("Not even 4 bits fit: a smaller model, or more cards.",)
        return Choice("none", "", 0, False, 0.0, small)
    room = megabytes is None or megabytes >= file_megabytes(name, "full fine-tuning", 0)
    if new and fits("full") and room and not (several or untouched):
        said = "Much is new and all of it fits: run LoRA with r = 64 beside, and keep the better."
        size = file_megabytes(name, "full fine-tuning", 0)
        return Choice("full fine-tuning", "16 bits", 0, True, size, (said,))
    method, base = "LoRA", "16 bits" if fits("lora") else "NF4"
    while megabytes is not None and r > 1 and file_megabytes(name, method, r) > megabytes:
        r //= 2
    if megabytes is not None and file_megabytes(name, method, r) > megabytes:
        method, r = "VeRA", 256
        if mixed or file_megabytes(name, method, r) > megabytes:
            method, r = "prompt tuning", 0
        notes.append("LoRA's smallest file is larger than the room for a task.")
    merged = fast and not mixed and method != "prompt tuning"
    if fast and mixed:
        notes.append("Mixed rows cannot be merged: the extra time of the adapter stays.")
    elif fast and method == "prompt tuning":
        notes.append("A prompt cannot be merged: it costs its tokens in every request.")
    if merged and several:
        notes.append("Merged means one copy of the model for each task, or a swap between them.")
    if merged and base == "NF4":
        notes.append("Merge into the dequantized base, and serve in 16 bits.")
    if base == "NF4" and method == "LoRA" and not (untouched or several):
        notes.append("PiSSA or LoftQ as the start may win back what 4 bits lose: measure.")
    if new:
        notes.append("Much is new: compare r = 16, 64 and 256, each at its own rate.")
    return Choice(method, base, r, merged, file_megabytes(name, method, r), tuple(notes))


def answer(choice):
    """A Choice in lines of text."""
    if choice.method == "none":
        return "\n".join(choice.notes)
    rank = f", r = {choice.r}" if choice.r else ""
    lines = [f"{choice.method}{rank}, the base in {choice.base}"]
    lines += [f"stored for each task: {choice.megabytes:,.2f} MB"]
    lines += ["merged for use" if choice.merged else "not merged", *choice.notes]
    return "\n".join([*lines, "Sweep the learning rate: at least three, a factor of 3 apart."])


def chooser():
    """Show the controls of `choose`; without ipywidgets, a line."""
    try:
        import ipywidgets as w
    except ImportError:
        print("ipywidgets is not installed: read the table above, or call choose(...).")
        return
    room = [("no limit", 0), *((f"{mb} MB", mb) for mb in (500, 100, 20, 5, 1, 0.1))]
    pick = {
        "name": w.Dropdown(options=list(SHAPES), value="Llama-3.1-8B", description="model"),
        "card": w.SelectionSlider(options=[(f"{c} GB", c) for c in CARDS], value=24),
        "tasks": w.BoundedIntText(value=1, min=1, max=10_000, description="tasks"),
        "megabytes": w.SelectionSlider(options=room, value=0, description="room per task"),
        "mixed": w.Checkbox(description="several tasks in one batch"),
        "fast": w.Checkbox(description="no slower than the base"),
        "untouched": w.Checkbox(description="the original base must stay usable"),
        "new": w.Checkbox(description="much is new to the model"),
    }
    pick["card"].description, text = "card", w.HTML()

    def said():
        asked = {key: widget.value for key, widget in pick.items()}
        return answer(choose(**asked | {"megabytes": asked["megabytes"] or None}))

    def update(_=None):
        text.value = f"<pre style='line-height: 1.3'>{said()}</pre>"

    for widget in pick.values():
        widget.style.description_width, widget.layout.width = "110px", "480px"
        widget.observe(update, "value")
    update()
    asked = ", ".join(f"{key} {widget.value}" for key, widget in pick.items())
    show_controls(w.VBox([*pick.values(), text]), f"{asked}\n\n{said()}")
