"""The rubric's properties of the card: complete, and true to the folder it stands in."""

import re

from lora_course.bridges.model_card import card_problems
from lora_course.bridges.peft_adapters import read_peft


def card_complete(p):
    """The card has all that a reader asks for."""
    open_ = [s for s in ("More Information Needed", "not described", "Say what it") if s in p.card]
    problems = card_problems(p.card) + [f"Left open: {words}." for words in open_]
    return not problems, " ".join(problems) or "complete"


def card_true(p):
    """What the card says of rows, settings and scores is what the folder shows."""
    from huggingface_hub import ModelCard

    config, tensors, _ = read_peft(p.folder / "adapter")
    right = {
        r", ([\d,]+) rows\.\n": ("training rows", len(p.rows("train")), 0),
        r"On ([\d,]+) rows of the test split": ("test rows", len(p.test), 0),
        r"\| r \| (\d+)": ("r", config.get("r"), 0),
        r"\| lora_alpha \| (\d+)": ("lora_alpha", config.get("lora_alpha"), 0),
        r"; ([\d,]+) numbers trained": ("trained", sum(t.numel() for t in tensors.values()), 0),
    }
    before, after = (100 * p.measure(model, "test")[0] for model in ("base", "merged"))
    right[r"\| base \| ([\d.]+)%"] = "the base's score", before, 0.6
    right[r"\| this model \| ([\d.]+)%"] = "its score", after, 0.6
    wrong = []
    for rule, (what, value, slack) in right.items():
        found = re.search(rule, p.card)
        says = float(found[1].replace(",", "")) if found else None
        if says is None or value is None or abs(says - value) > slack:
            wrong.append(f"{what}: says {says}, is {value:.4g}")
    results = ModelCard(p.card).data.get("eval_results") or []
    tested = [r.metric_value for r in results if r.dataset_split == "test"]
    if not tested or abs(100 * tested[0] - after) > 0.6:
        wrong.append(f"metadata: says {tested}, is {after / 100:.3g}")
    return not wrong, "; ".join(wrong) or "rows, settings and scores agree"
