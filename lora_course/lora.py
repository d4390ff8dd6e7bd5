"""The LoRA layer: a frozen weight W plus a trained update of rank r, W + (lora_alpha / r) * B @ A.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, section 4.1.
This file holds the whole idea. Chapter 03 builds it, chapter 04 puts it into a model.
"""

import math

import torch
from torch import nn


# owned by chapter 03
class LoRALinear(nn.Module):
    """y = base_layer(x) + (lora_alpha / r) * B A dropout(x); only A and B train.

    base_layer: nn.Linear, in -> out, with or without bias. It is kept, and frozen in place.
    r: rank, at least 1. lora_alpha: the update is scaled by lora_alpha / r.
    lora_dropout: share of x that is dropped on the way into A while training, in [0, 1).
    Raises TypeError for another kind of layer, ValueError for r or lora_dropout out of range.
    """

    def __init__(self, base_layer, r=8, lora_alpha=16, lora_dropout=0.0):
        super().__init__()
        d_in, d_out = self.sizes(base_layer)
        if r < 1:
            raise ValueError(f"r = {r}, but a rank is a whole number from 1 up; 8 is a good start.")
        if not 0 <= lora_dropout < 1:
            raise ValueError(f"lora_dropout = {lora_dropout}, but it must lie in [0, 1); 0 is off.")
        self.r, self.lora_alpha, self.scaling = r, lora_alpha, lora_alpha / r
        self.base_layer = base_layer.requires_grad_(False)
        self.lora_dropout = nn.Dropout(lora_dropout)
        # At least float32: small steps would be rounded away in bfloat16 or in 4 bits.
        dtype = torch.promote_types(base_layer.weight.dtype, torch.float32)
        device = base_layer.weight.device
        self.lora_A = nn.Parameter(torch.empty(r, d_in, dtype=dtype, device=device))
        self.lora_B = nn.Parameter(torch.empty(d_out, r, dtype=dtype, device=device))
        self.reset_parameters()

    def sizes(self, base_layer):
        """Input and output width of the layer; TypeError if this class cannot wrap it."""
        if not isinstance(base_layer, nn.Linear):
            kind = type(base_layer).__name__
            raise TypeError(f"{type(self).__name__} wraps an nn.Linear, but got a {kind}.")
        return base_layer.in_features, base_layer.out_features

    def reset_parameters(self):
        """A uniform in +-1/sqrt(in), B zero: the layer starts as its base layer."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, x):
        out = self.base_layer(x)  # (..., out)
        # The small factors are cast, not x: a float32 copy of x would be kept for backward.
        down = self.lora_dropout(x) @ self.lora_A.to(x.dtype).T  # (..., r)
        update = (self.scaling * down) @ self.lora_B.to(x.dtype).T  # (..., out)
        return (out + update).to(out.dtype)

    def get_delta_weight(self):
        """What the adapter adds to base_layer.weight, in that weight's layout: (out, in)."""
        return self.scaling * self.lora_B @ self.lora_A


# owned by chapter 03
class LoRAConv1D(LoRALinear):
    """LoRALinear for the Conv1D of transformers (GPT-2), which stores its weight as (in, out).

    The factors and the forward pass are the same; only the delta weight is transposed.
    """

    def sizes(self, base_layer):
        from transformers.pytorch_utils import Conv1D

        if not isinstance(base_layer, Conv1D):
            kind = type(base_layer).__name__
            raise TypeError(f"LoRAConv1D wraps a transformers Conv1D, but got a {kind}.")
        return tuple(base_layer.weight.shape)

    def get_delta_weight(self):
        """What the adapter adds to base_layer.weight: (in, out)."""
        return super().get_delta_weight().T


# owned by chapter 03
class LoRAEmbedding(LoRALinear):
    """LoRA for a table of token vectors: row t becomes W[t] + (lora_alpha / r) * B A[:, t].

    base_layer: nn.Embedding with n rows of width d. A: (r, n), starts at zero. B: (d, r), random.
    So A[:, t] stays zero, and the vector of token t unchanged, until t occurs in training.
    There is no dropout: the input is a token id, which cannot be partly dropped.
    """

    def __init__(self, base_layer, r=8, lora_alpha=16):
        super().__init__(base_layer, r, lora_alpha)

    def sizes(self, base_layer):
        if not isinstance(base_layer, nn.Embedding):
            kind = type(base_layer).__name__
            raise TypeError(f"LoRAEmbedding wraps an nn.Embedding, but got a {kind}.")
        return base_layer.num_embeddings, base_layer.embedding_dim

    def reset_parameters(self):
        """A zero, B normal, as in the reference code."""
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    def forward(self, ids):
        out = self.base_layer(ids)  # (..., d)
        pad = self.base_layer.padding_idx  # the padding row gets no gradient, as in the base
        rows = nn.functional.embedding(ids, self.lora_A.T, padding_idx=pad)  # (..., r)
        scaling = self.scaling * getattr(self.base_layer, "embed_scale", 1.0)  # Gemma's factor
        rows = (scaling * rows).to(out.dtype)  # few numbers, so that no wide float32 update is made
        return (out + rows @ self.lora_B.to(out.dtype).T).to(out.dtype)

    def get_delta_weight(self):
        """What the adapter adds to base_layer.weight: (n, d)."""
        return super().get_delta_weight().T
