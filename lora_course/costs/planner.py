"""Before a long run: the bytes on each card, by part, and the hours, by formula.

Bytes: those of one card (`gpu_records.predict`), then what several cards share. DDP keeps all of it
on every card; FSDP (arXiv 2304.11277) cuts weights, gradients and states, and gathers one block at
a time. Time: floating-point operations, as chapter 01 counts them, over a share of the card's peak
that a record or ten steps of yours have measured.
"""

import math
from functools import cache

from lora_course.costs.activations import peak_of
from lora_course.costs.gpu_records import predict
from lora_course.costs.memory import block_linears, nf4_bytes
from lora_course.costs.shapes import SHAPES, meta_model

PEAK = {"H100": 989e12, "A100": 312e12, "RTX 4090": 165e12}  # 16-bit, dense: NVIDIA's data sheets


# owned by chapter 17
def shard_numbers(shape, world):
    """Numbers of a tensor that every rank holds: the first axis is cut, the last piece padded."""
    return math.ceil(shape[0] / world) * math.prod(shape[1:])


# owned by chapter 17
def plan_run(shape, method, batch=1, tokens=1024, rank=16, checkpointing=True, prepare=False):
    """A run in the form of a record. shape: a key of SHAPES. method: "full", "lora", "qlora".

    batch, tokens: rows in a step of one card, and tokens in each. rank: r, all linear layers.
    prepare: PEFT's prepare_model_for_kbit_training. Raises ValueError for another shape or method.
    """
    if shape not in SHAPES or method not in ("full", "lora", "qlora"):
        raise ValueError(
            f"{shape!r} by {method!r}: the shape must be one of {', '.join(SHAPES)}, the method "
            "full, lora or qlora."
        )
    return {
        "shape": shape, "method": method, "batch": batch, "tokens": tokens, "rank": rank,
        "checkpointing": checkpointing, "prepare": prepare,
    }  # fmt: skip


# owned by chapter 17
def scale_bytes(linear):
    """What 4-bit weights take beyond half a byte a number; under FSDP each card has all of it."""
    return sum(nf4_bytes(math.prod(w)) - math.ceil(math.prod(w) / 2) for w in linear)


# owned by chapter 17
def rank_bytes(run, cards=1, sharded=False):
    """The bytes of a step on one card, by part.

    Returns {"base", "adapter", "gradients", "optimizer", "gathered", "activations", "logits"}.
    "gathered": whole weights that FSDP holds for a moment, two blocks (one works, the next comes)
    and all that is outside the blocks. Of 4-bit layers the scales are not cut: each card has all.
    """
    parts, wide = one_card(run), 4 if run["prepare"] else 2  # bytes of an unquantized number
    blocks, linear, rest = shapes_of(run["shape"])
    trained, four_bit = run["method"] != "full", run["method"] == "qlora"
    factors = [s for w in linear * trained for s in factor_shapes(w, run["rank"])]
    adapter = 4 * sum(math.prod(s) for s in factors)
    made = {"base": parts["weights"] - adapter, "adapter": adapter, "gathered": 0}
    made |= {part: parts[part] for part in ("gradients", "optimizer", "activations", "logits")}
    if not sharded or cards == 1:
        return made
    # Two weights lie in a byte, and all bytes of a layer in one column.
    packed = [(math.ceil(math.prod(w) / 2), 1) for w in linear * four_bit]
    scales = scale_bytes(linear) if four_bit else 0
    plain = rest + linear * (not four_bit)
    made["base"] = scales + sum(shard_numbers(s, cards) for s in packed)
    made["base"] += wide * sum(shard_numbers(s, cards) for s in plain)
    made["adapter"] = 4 * sum(shard_numbers(s, cards) for s in factors)
    whole = sum(math.prod(s) for s in packed) or wide * sum(math.prod(s) for s in linear)
    outside = wide * sum(math.prod(s) for s in rest)  # norms inside the blocks are few
    made["gathered"] = outside + 2 * (whole + adapter) // blocks
    made["gradients"] = made["adapter"] if trained else made["base"]
    made["optimizer"] = 2 * made["gradients"]
    return made


@cache
def shapes_of(name):
    """(blocks, shapes of the linear layers, shapes of all other weights) of a key of SHAPES."""
    model = meta_model(name)
    linear = [layer.weight for layer in block_linears(model).values()]
    known = {id(w) for w in linear}
    rest = [tuple(p.shape) for p in model.parameters() if id(p) not in known]
    return model.config.num_hidden_layers, [tuple(w.shape) for w in linear], rest


def one_card(run):
    """What `predict` says of a run, and remembers."""
    keys = ("shape", "method", "batch", "tokens", "rank", "checkpointing", "prepare")
    return dict(_remembered(tuple((key, run[key]) for key in keys)))


@cache
def _remembered(items):
    return predict(dict(items))


def factor_shapes(weight, r):
    """The shapes of A and B beside a weight (out, in)."""
    return (r, weight[1]), (weight[0], r)


def rank_peak(run, cards=1, sharded=False):
    """The bytes of a step on one card at its peak."""
    parts = rank_bytes(run, cards, sharded)
    parts["weights"] = parts["base"] + parts["adapter"] + parts["gathered"]
    one_block = one_card({**run, "checkpointing": False})["activations"] / SHAPES[run["shape"]][3]
    return peak_of(parts, one_block if run["checkpointing"] else 0)


# owned by chapter 17
def step_flops(run):
    """Floating-point operations of a step of one card.

    A token costs two for each weight of a matrix, and attention 4 · tokens · hidden in each block.
    Backward costs the same for the gradient of a layer's input, and again for that of its weight
    (attention: twice as much in any case). Checkpointing runs the blocks forward twice.
    """
    _, hidden, _, layers, *_, vocabulary, _ = SHAPES[run["shape"]]
    _, weights, _ = shapes_of(run["shape"])
    attention, head = 4 * run["tokens"] * hidden * layers, 2 * hidden * vocabulary
    trained, again = run["method"] == "full", run["checkpointing"]
    token = (2 + trained + again) * 2 * sum(math.prod(w) for w in weights)
    token += (3 + again) * attention + (2 + trained) * head
    if not trained:
        sizes = [math.prod(s) for w in weights for s in factor_shapes(w, run["rank"])]
        token += (3 + again) * 2 * sum(sizes)
    return token * run["batch"] * run["tokens"]


# owned by chapter 17
def share_of_peak(run, peak=PEAK["H100"]):
    """What a measured run made of the card's peak: its "tokens_per_second" in operations."""
    return step_flops(run) / (run["batch"] * run["tokens"]) * run["tokens_per_second"] / peak


# owned by chapter 17
def hours(run, total, share, cards=1, peak=PEAK["H100"]):
    """Hours for `total` tokens on several cards, when each makes `share` of its peak."""
    each = step_flops(run) / (run["batch"] * run["tokens"])
    return total * each / (cards * share * peak) / 3600


def gathered_each_step(run, cards):
    """Bytes of the base that reach a card in a step under FSDP: the shards of the others, twice.

    Forward gathers every block, backward again; checkpointing within backward needs no third time.
    Scales are on every card and do not travel. Gradients that travel back are not counted.
    """
    scales = scale_bytes(shapes_of(run["shape"])[1]) * (run["method"] == "qlora")
    return 2 * (cards - 1) * (rank_bytes(run, cards, sharded=True)["base"] - scales)
