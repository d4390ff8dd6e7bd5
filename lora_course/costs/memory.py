"""Bytes that training holds between two steps; and a counter of what forward keeps for backward.

Units: bytes everywhere; GB = 1e9 bytes and GiB = 2**30 bytes where a number is shown.
Source: QLoRA, arXiv 2305.14314, section 3 (NF4 and its constants). The rest is counted, not quoted.
"""

import torch

GB = 1e9
GIB = 2**30
QV = ("q_proj", "v_proj")  # the two matrices that the LoRA paper adapts


# owned by chapter 01
def tensor_bytes(tensor):
    """Bytes of the numbers in one tensor."""
    return tensor.numel() * tensor.element_size()


# owned by chapter 01
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


# owned by chapter 01
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


# owned by chapter 01
def block_linears(model):
    """Return {name: layer} of every `nn.Linear`, or GPT-2's `Conv1D`, but the output head."""
    head, found = model.get_output_embeddings(), {}
    for name, m in model.named_modules():
        linear = isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D"
        if linear and m is not head:
            found[name] = m
    return found


# owned by chapter 01
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


# owned by chapter 01
def nf4_bytes(n, double_quant=True, block_size=64, tables=True):
    """Bytes of n weights of one matrix stored as NF4 (QLoRA, section 3).

    4 bits a weight; one scale for every block of weights, in float32, or with double quantization
    in one byte plus a float32 for every 256 scales.
    tables: count what bitsandbytes keeps for each matrix as well: 16 float32 levels, with double
    quantization 256 more and an offset.
    """
    scales = -(-n // block_size)  # rounded up
    constants = scales + 4 * -(-scales // 256) if double_quant else 4 * scales
    fixed = 4 * (16 + 257 * double_quant) if tables else 0
    return -(-n // 2) + constants + fixed


# owned by chapter 01
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
