"""What `benchmarks/gpu_qlora.py` measured on real GPUs: read, put into a table, drawn.

A record is a JSON file: {"device", "versions", "command", "runs"}. A run has "shape", "method",
"checkpointing", "batch", "tokens", "rank", "prepare", "measured" (bytes by part), "peak" (bytes),
"tokens_per_second"; or, when the memory ran out, "peak" and "tokens_per_second" of None.
"predicted" is what the formulas of that day said; `predict` is what they say now.
"""

import json
from pathlib import Path

from lora_course.costs.activations import activation_bytes, logit_bytes, peak_of
from lora_course.costs.memory import GB, GIB, training_bytes
from lora_course.costs.shapes import SHAPES, meta_model
from lora_course.kit.plots import COLORS

WORDS = {"full": "full, bf16", "lora": "LoRA", "qlora": "QLoRA"}
PARTS = {"weights": "base", "gradients": "extra", "optimizer": "full", "the rest": "qlora"}
NONE = (
    "There is no record of a GPU here yet. On a machine with a GPU, "
    "`python benchmarks/gpu_qlora.py` makes one; then run this cell again."
)


def load_records(folder="results"):
    """The runs of all gpu_qlora records in a folder, with their "device", largest peak first.

    A folder that does not exist has no records. Raises ValueError for a file that is no record.
    """
    runs = []
    for path in sorted(Path(folder).glob("gpu_qlora*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            made = [{"device": record["device"], **run} for run in record["runs"]]
            assert all({"shape", "method", "prepare", "peak"} <= run.keys() for run in made)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ValueError(
                f"{path} is no record of benchmarks/gpu_qlora.py: delete or make it again."
            ) from error
        runs += made
    return sorted(runs, key=lambda run: run["peak"] or float("inf"), reverse=True)


def predict(run):
    """The bytes of a run's step, by part, after costs.memory; adapters are PEFT's, in float32."""
    hidden, intermediate, layers, _, _, vocabulary, _ = SHAPES[run["shape"]][1:]
    model, full = meta_model(run["shape"]), run["method"] == "full"
    if full:  # all of it in bfloat16, the states as well, and no master copy
        n = model.num_parameters()
        parts = {"weights": 2 * n, "gradients": 2 * n, "optimizer": 4 * n}
    else:
        wide = 4 if run["prepare"] else 2  # a float32 embedding: float32 between the layers
        parts = training_bytes(model, run["method"], run["rank"], rest_bytes=wide)
    size = (run["batch"], run["tokens"])
    kept = (hidden, layers, intermediate, run["checkpointing"])
    if full:
        parts["activations"] = activation_bytes(*size, *kept)
    else:  # where the layers pass float32 on, the adapter needs no copy
        copy = 0 if run["prepare"] else 4
        parts["activations"] = activation_bytes(*size, *kept, copy_bytes=copy, number_bytes=wide)
    parts["logits"] = logit_bytes(*size, vocabulary)
    return parts


def predicted_peak(run):
    """The bytes of a run's step at its peak."""
    one_block = predict({**run, "checkpointing": False})["activations"] / SHAPES[run["shape"]][3]
    return peak_of(predict(run), one_block if run["checkpointing"] else 0)


def name_of(run):
    """A run in a few words."""
    extra = ", checkpointing" * run["checkpointing"] + ", prepared" * run["prepare"]
    return f"{run['shape']}, {WORDS[run['method']]}{extra}"


def record_table(runs):
    """Markdown: peak and prediction in GB, their ratio, and tokens per second."""
    lines = ["| run | device | peak | predicted | ratio | tokens/s |", "|:--|:--|--:|--:|--:|--:|"]
    for run in runs:
        predicted = predicted_peak(run) / GB
        measured = f"out of memory | {predicted:.1f} | | |"
        if run["peak"]:
            peak, speed = run["peak"] / GB, run["tokens_per_second"]
            measured = f"{peak:.1f} | {predicted:.1f} | {predicted / peak:.2f} | {speed:,.0f} |"
        lines.append(f"| {name_of(run)} | {run['device']} | {measured}")
    return "\n".join(lines)


def draw_records(ax, runs, card=16):
    """Draw one bar for every run that did not run out of memory, its parts stacked.

    ax: of `plots.figure`. The dot is the prediction, the dashed line a card of `card` GiB.
    """
    runs = [run for run in runs if run["peak"]]
    for row, run in enumerate(runs):
        left, parts = 0, dict(run["measured"])
        parts["the rest"] = run["peak"] - sum(parts.values())
        for part, size in parts.items():
            label = part if row == 0 else None
            ax.barh(row, size / GB, left=left / GB, color=COLORS[PARTS[part]], label=label)
            left += size
        ax.plot(predicted_peak(run) / GB, row, "ko", label=None if row else "predicted")
    ax.axvline(card * GIB / GB, color=COLORS["grey"], ls="--", lw=1)
    ax.text(card * GIB / GB, -0.75, f" {card} GB card", va="center", color=COLORS["grey"])
    ax.set(xlabel="GB", ylim=(len(runs) - 0.4, -1.1))
    ax.set_yticks(range(len(runs)), [name_of(run) for run in runs])
    ax.legend(loc="lower right")
