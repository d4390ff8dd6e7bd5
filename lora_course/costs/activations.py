"""What a training step holds beside weights, gradients and states: activations, logits, the peak.

Estimates in bytes. Sources: Korthikanti et al., arXiv 2205.05198 (a block of the GPT kind); the
terms of a Llama block are counted, and tests compare them with what autograd keeps.
"""


# owned by chapter 01
def activation_bytes(
    batch, tokens, hidden, layers, intermediate=None, checkpointing=False, copy_bytes=None,
    mask_bytes=0, number_bytes=2,
):  # fmt: skip
    """Estimate the activations that transformer blocks save, in bytes, without attention scores.

    intermediate: of a Llama block of transformers 5, counted below; None takes 34 * hidden for a
    token and block of the GPT kind (Korthikanti et al., 2205.05198). With checkpointing only the
    input of each block stays, and one block at a time is made again.
    copy_bytes: None is full fine-tuning; else LoRA on all linear layers. 0: a layer keeps its input
    as it is, once for q, k and v (the course's). 4: each keeps a float32 copy (PEFT's default on a
    16-bit base). 2: each keeps a 16-bit copy (the same under bf16 autocast).
    mask_bytes: of lora_dropout's mask; 0 without dropout, 1 on a GPU, 4 on a CPU in float32.
    number_bytes: of a number between the layers. Left out: r numbers a token, casts of A and B.
    """
    if intermediate is None:
        norms, others = 0, 10 * hidden
        shared = own = 7 * hidden  # inputs of the linear layers: h, h, h, 4 h
    else:
        norms = 8 * hidden  # the inputs of both, in float32
        others = 4 * hidden + 3 * intermediate  # q, k, v, attention's output; gate, its silu, up
        others += 2 * hidden if copy_bytes is None else 0  # a trained norm keeps what it scales
        shared = 2 * hidden + intermediate  # inputs of q, k, v; of gate, up; of down
        own = 6 * hidden + intermediate  # the same and o's, when every layer keeps one for itself
    if mask_bytes or copy_bytes:
        inputs = ((copy_bytes or number_bytes) + mask_bytes) * own  # with dropout: what is left
    else:
        inputs = number_bytes * shared
    block = norms + number_bytes * others + inputs
    kept = number_bytes * hidden * layers + block if checkpointing else block * layers
    return batch * tokens * kept


# owned by chapter 01
def logit_bytes(batch, tokens, vocabulary):
    """Bytes of the float32 logits and of their gradient, which is as large."""
    return 2 * 4 * batch * tokens * vocabulary


def peak_of(parts, again=0):
    """Predict the most bytes at once from the parts of a step; every gradient starts as None.

    parts: "weights", "gradients", "optimizer", "activations" and "logits".
    again: bytes of the block that checkpointing makes again; they are in "activations".
    Backward puts gradients in the place of activations and logits: the larger of them counts.
    """
    # Backward of the loss holds three copies, not two: log-probabilities, their gradient, and the
    # gradient of the logits. They are gone when checkpointing makes a block again.
    forward = parts["activations"] - again + max(again, 1.5 * parts["logits"])
    return parts["weights"] + parts["optimizer"] + max(parts["gradients"], forward)
