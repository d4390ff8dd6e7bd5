"""PiSSA: train the largest pieces of the weight itself, and freeze the rest. LoftQ beside it.

Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation", arXiv
2404.02948, section 3. W = U S V^T; A and B get its first r pieces, the base keeps what is left, and
the sum is W. LoftQ: Li et al. 2023, arXiv 2310.08659, algorithm 1: A and B make up for what
quantization takes from the base.
"""

import torch
from torch import nn

from lora_course.inject import lora_layers


# owned by chapter 14
def principal(W, r):
    """The first r pieces of the SVD of W, (out, in), as factors: B (out, r) and A (r, in).

    Each gets the square root of a singular value; B @ A is the nearest matrix of rank r.
    Raises ValueError when W has fewer than r pieces.
    """
    if r > min(W.shape):
        raise ValueError(f"r = {r}, but a {tuple(W.shape)} weight has {min(W.shape)} pieces.")
    U, s, Vh = torch.linalg.svd(W.float(), full_matrices=False)  # (out, k), (k,), (k, in)
    root = s[:r].sqrt()  # (r,)
    return U[:, :r] * root, root[:, None] * Vh[:r]


# owned by chapter 14
@torch.no_grad()
def use_pissa(model):
    """Give every LoRA layer its base's first r pieces, and the base the rest; returns the model.

    model: after inject_lora, with LoRA on linear layers; any lora_alpha. It is changed in place,
    and its output is the same but for rounding. The base is another one afterwards: an adapter
    trained here is of no use on the original. A weight that another layer shares stays as it is
    there; the base layer gets one of its own.
    Raises ValueError when there is no LoRA, or r is larger than a side of a weight.
    """
    layers = list(lora_layers(model).values())
    if not layers:
        raise ValueError("This model has no LoRA layers to start: call inject_lora first.")
    lay = [(lambda M: M) if isinstance(m.base_layer, nn.Linear) else torch.t for m in layers]
    pairs = [principal(t(m.base_layer.weight), m.r) for m, t in zip(layers, lay, strict=True)]
    for layer, t, (B, A) in zip(layers, lay, pairs, strict=True):
        W = layer.base_layer.weight
        layer.lora_A.copy_(A / layer.scaling**0.5)
        layer.lora_B.copy_(B / layer.scaling**0.5)
        layer.base_layer.weight = nn.Parameter((W - t(B @ A)).to(W.dtype), requires_grad=False)
    return model


# owned by chapter 14
def loftq(W, r, quantized, steps=1):
    """Quantize, take up the error with r pieces, quantize what is left, and so on (LoftQ).

    W: (out, in). quantized: a function, weight -> the weight that its codes stand for.
    Returns Q (out, in), B (out, r) and A (r, in) with Q + B @ A near W. steps: at least 1.
    """
    B, A = W.new_zeros(len(W), r), W.new_zeros(r, W.shape[1])
    for _ in range(steps):
        Q = quantized(W - B @ A)
        B, A = principal(W - Q, r)
    return Q, B, A
