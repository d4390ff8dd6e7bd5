"""Bytes that a training step holds: weights, gradients, optimizer states, saved activations.

Units: bytes everywhere; GB = 1e9, GiB = 2**30 bytes. Sources: QLoRA, 2305.14314, section 3 (NF4
and its constants); Korthikanti et al., 2205.05198 (a GPT block). The rest is counted, not quoted.
"""

import torch

GB = 1e9
GIB = 2**30
QV = ("q_proj", "v_proj")  # the two matrices that the LoRA paper adapts


def tensor_bytes(tensor):
    """Bytes of the numbers in one tensor."""
    return tensor.numel() * tensor.element_size()


def state_bytes(model, optimizer):
    """Measure what a model and its optimizer hold between two steps.

    Returns {"weights", "gradients", "optimizer"}, without AdamW's step counters of 4 bytes each.
    """
    parameters = list(model.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    states = [s for state in optimizer.state.values() for s in state.values()]
    return {
        "weights": sum(tensor_bytes(p) for p in parameters),
        "gradients": sum(tensor_bytes(g) for g in gradients),
        "optimizer": sum(tensor_bytes(s) for s in states if s.ndim > 0),
    }


def saved_bytes(step, weights):
    """Run `step()` and count the bytes that autograd keeps for its backward pass.

    step: function without arguments that returns the loss; backward must not run inside it.
    weights: tensors that are there anyway (parameters, the batch); they are not counted.
    Two saved views of one storage count once. Works on the meta device as well.
    """
    known, kept = {w.untyped_storage()._cdata for w in weights}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step()  # keeps the graph, and so every saved tensor, alive until the count is done
    del loss
    return sum(kept.values())


def block_linears(model):
    """Return {name: layer} of every `nn.Linear`, or GPT-2's `Conv1D`, but the output head."""
    head, found = model.get_output_embeddings(), {}
    for name, m in model.named_modules():
        linear = isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D"
        if linear and m is not head:
            found[name] = m
    return found


def adapter_parameters(model, r, targets=None):
    """Numbers in a rank-r LoRA: r * (d_in + d_out) for every adapted matrix.

    targets: last parts of module names, such as ("q_proj", "v_proj"); None adapts every linear
    layer but the head. Raises ValueError when no layer has such a name.
    """
    layers = block_linears(model)
    chosen = [m for n, m in layers.items() if targets is None or n.split(".")[-1] in targets]
    if not chosen:
        names = sorted({name.split(".")[-1] for name in layers})
        raise ValueError(f"No linear layer is named {targets}. Choose from {names}.")
    return sum(r * sum(m.weight.shape) for m in chosen)


def nf4_bytes(n, double_quant=True):
    """Bytes of n weights of one matrix stored as NF4 (QLoRA, section 3).

    4 bits a weight; one scale for every 64 weights, in float32, or with double quantization in one
    byte plus a float32 for every 256 scales; and the small tables that bitsandbytes keeps for each
    matrix: 16 float32 levels, with double quantization 256 more and an offset.
    """
    scales = -(-n // 64)  # rounded up
    if double_quant:
        constants = scales + 4 * -(-scales // 256)
        tables = 4 * 16 + 4 * 256 + 4
    else:
        constants, tables = 4 * scales, 4 * 16
    return -(-n // 2) + constants + tables


def training_bytes(
    model, method, r=16, targets=None, double_quant=True, rest_bytes=2, adapter_bytes=4
):
    """Predict weights, gradients and optimizer states of AdamW training, in bytes.

    method: "full" is mixed precision: bfloat16 weights and gradients, and in float32 a master copy
    of the weights and AdamW's two states (2 + 2 + 4 + 8 = 16 bytes a parameter). "lora" freezes a
    bfloat16 model and trains an adapter. "qlora" also stores the linear layers as NF4.
    r, targets: the adapter, see `adapter_parameters`. adapter_bytes: of one of its numbers.
    rest_bytes: bytes of one frozen weight that stays unquantized: 2 in bfloat16, 4 in float32 or
    after PEFT's `prepare_model_for_kbit_training`. Raises ValueError for another method.
    """
    n = sum(p.numel() for p in model.parameters())
    if method == "full":
        return {"weights": 2 * n, "gradients": 2 * n, "optimizer": 4 * n + 8 * n}
    if method not in ("lora", "qlora"):
        raise ValueError(f"method is {method!r}; it must be 'full', 'lora' or 'qlora'.")
    adapter, frozen = adapter_bytes * adapter_parameters(model, r, targets), rest_bytes * n
    if method == "qlora":
        sizes = [layer.weight.numel() for layer in block_linears(model).values()]
        frozen = sum(nf4_bytes(s, double_quant) for s in sizes) + rest_bytes * (n - sum(sizes))
    return {"weights": frozen + adapter, "gradients": adapter, "optimizer": 2 * adapter}


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
        norms, rest, once, each = 0, 10 * hidden, 7 * hidden, 7 * hidden  # inputs: h, h, h, 4 h
    else:
        norms = 8 * hidden  # both compute in float32; a trained one keeps what it scales as well
        rest = (4 if copy_bytes is not None else 6) * hidden + 3 * intermediate  # attention; MLP
        once, each = 2 * hidden + intermediate, 6 * hidden + intermediate  # inputs of the layers
    inputs = number_bytes * once  # attention's output, which is o's input, is in the rest
    if mask_bytes or copy_bytes:  # a copy for each layer, with dropout the dropped one
        inputs = ((copy_bytes or number_bytes) + mask_bytes) * each
    block = norms + number_bytes * rest + inputs
    kept = number_bytes * hidden * layers + block if checkpointing else block * layers
    return batch * tokens * kept


def logit_bytes(batch, tokens, vocabulary):
    """Bytes of the float32 logits and of their gradient, which is as large."""
    return 2 * 4 * batch * tokens * vocabulary
