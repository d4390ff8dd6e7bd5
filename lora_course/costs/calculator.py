"""Will it fit my GPU? A table that reads without a kernel, and sliders for who has one."""

from functools import cache

from lora_course.costs.activations import activation_bytes, logit_bytes, peak_of
from lora_course.costs.memory import GB, GIB, training_bytes
from lora_course.costs.shapes import SHAPES, meta_model
from lora_course.plumbing.controls import show_controls

METHODS = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}
CARDS = (8, 16, 24, 48, 80)  # GiB, by which cards are named
MARGIN = 2.0  # GB left for the driver and for gaps between tensors: chosen, not measured


@cache
def states(name, method, r):
    """Weights, gradients and optimizer states in bytes; see `training_bytes`."""
    return training_bytes(meta_model(name), method, r)


def estimate(name, method, r=16, batch=1, tokens=512, checkpointing=True):
    """Return the parts of one training step in GB, by name.

    name: a key of SHAPES. method: "full", "lora" or "qlora". r: rank, all linear layers adapted.
    batch, tokens: sequences in a step, and tokens in each. Activations are an estimate; the
    adapter is PEFT's, in float32 on a 16-bit base.
    """
    hidden, intermediate, layers, _, _, vocabulary, _ = SHAPES[name][1:]
    size = (batch, tokens, hidden, layers, intermediate, checkpointing)
    parts = dict(states(name, method, r))
    parts["activations"] = activation_bytes(*size, copy_bytes=None if method == "full" else 4)
    parts["logits"] = logit_bytes(batch, tokens, vocabulary)
    return {part: size / GB for part, size in parts.items()}


def peak_gb(name, method, r=16, batch=1, tokens=512, checkpointing=True):
    """Return the GB at the peak of a step: less than the sum, as gradients replace activations.

    The arguments: see `estimate`.
    """
    one_block = estimate(name, method, r, batch, tokens, False)["activations"] / SHAPES[name][3]
    parts = estimate(name, method, r, batch, tokens, checkpointing)
    return peak_of(parts, one_block if checkpointing else 0)


def verdict(needed, card):
    """Say in one line whether a peak of `needed` GB and the margin fit a card of `card` GiB."""
    needed, there = needed + MARGIN, card * GIB / GB
    word = "fits" if needed <= there else "does not fit"
    return f"{needed:.1f} GB needed, {there:.1f} GB there: {word}"


def fit_table(r=16, batch=4, tokens=512, checkpointing=True, cards=CARDS):
    """Return Markdown: GB that each model needs by each method, and the smallest card for it.

    cards: sizes in GiB. The other arguments: see `estimate`.
    """
    lines = ["| model | " + " | ".join(METHODS.values()) + " |", "|:--|" + "--:|" * len(METHODS)]
    for name in SHAPES:
        cells = []
        for method in METHODS:
            needed = MARGIN + peak_gb(name, method, r, batch, tokens, checkpointing)
            fitting = [card for card in cards if needed <= card * GIB / GB]
            word = f"**{min(fitting)} GB card**" if fitting else "no single card"
            cells.append(f"{needed:,.1f} · {word}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def estimate_text(name, method, card, r, batch, tokens, checkpointing):
    """Return the lines of an estimate: every part with a bar, their most at once, the verdict."""
    parts = estimate(name, method, r, batch, tokens, checkpointing)
    most = peak_gb(name, method, r, batch, tokens, checkpointing)
    lines = [
        f"{part:12}{size:10.2f} GB  {'█' * round(40 * size / sum(parts.values()))}"
        for part, size in parts.items()
    ]
    lines += [f"{'at the peak':12}{most:10.2f} GB", f"{'margin':12}{MARGIN:10.2f} GB", ""]
    return "\n".join([*lines, verdict(most, card)])


def calculator():
    """Show sliders for model, method, rank, batch, tokens and card; without ipywidgets, a line."""
    try:
        import ipywidgets as w
    except ImportError:
        print("ipywidgets is not installed: read the table above, or call fit_table(...).")
        return

    def slider(values, value, text, word="{}"):
        options = [(word.format(v), v) for v in values]
        return w.SelectionSlider(options=options, value=value, description=text)

    ways = [(text, key) for key, text in METHODS.items()]
    pick = {
        "name": w.Dropdown(options=list(SHAPES), value="Llama-2-7B", description="model"),
        "method": w.ToggleButtons(options=ways, value="lora", description="method"),
        "card": slider((8, 12, 16, 24, 32, 40, 48, 80, 96, 141), 24, "card", "{} GB"),
        "r": slider((1, 2, 4, 8, 16, 32, 64, 128, 256), 16, "rank"),
        "batch": slider((1, 2, 4, 8, 16, 32), 4, "batch"),
        "tokens": slider((128, 256, 512, 1024, 2048, 4096, 8192, 16384), 512, "tokens each"),
        "checkpointing": w.Checkbox(value=True, description="checkpointing"),
    }
    text = w.HTML()

    def update(_=None):
        lines = estimate_text(**{key: widget.value for key, widget in pick.items()})
        text.value = f"<pre style='line-height: 1.3'>{lines}</pre>"

    for widget in pick.values():
        widget.style.description_width, widget.layout.width = "110px", "480px"
        widget.observe(update, "value")
    update()
    start = estimate_text(**{key: widget.value for key, widget in pick.items()})
    asked = ", ".join(f"{key} {widget.value}" for key, widget in pick.items())
    show_controls(w.VBox([*pick.values(), text]), f"{asked}\n\n{start}")
