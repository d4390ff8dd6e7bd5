"""A lean LoRA layer: the same numbers from fewer passes over memory, forward and backward by hand.

y = W x + scaling * B A dropout(x), as in lora.py (Hu et al. 2021, arXiv 2106.09685, section 4.1).
Autograd sees one operation in place of eight. It keeps x, which q, k and v share, r numbers a token
and, with dropout, a byte for each number of x. A 4-bit W is unpacked twice, and never kept.
"""

import torch
from torch import nn

from lora_course.fast.unpack import dense
from lora_course.inject import lora_layers


# owned by chapter 17
class LeanProduct(torch.autograd.Function):
    """x (N, in), weight (out, in) or packed with its state, A (r, in), B (out, r) -> (N, out).

    state: bitsandbytes' quant_state of a packed weight, else None. bias: (out,) or None.
    p: share of x that is dropped on the way into A. dtype: of the products and the output.
    Gradients: of x, A and B alone.
    """

    @staticmethod
    def forward(ctx, x, weight, state, bias, A, B, scaling, p, dtype):
        given, x = x, x.to(dtype)
        out = nn.functional.linear(x, dense(weight, state, dtype), dense(bias, None, dtype))
        dropped, kept = torch.native_dropout(x, p, True) if p else (x, None)
        a, b = A.to(dtype), B.to(dtype)  # what is cast is small
        down = scaling * (dropped @ a.T)  # (N, r)
        out = add_product(out, down, b.T)
        ctx.save_for_backward(given, kept, down, weight, a, b)
        ctx.state, ctx.scaling, ctx.p = state, scaling, p
        return out

    @staticmethod
    def backward(ctx, grad):
        x, kept, down, weight, a, b = ctx.saved_tensors  # what is large is made again
        small = ctx.scaling * (grad @ b)  # (N, r)
        grad_A = small.T @ drop(x.to(grad.dtype), kept, ctx.p)  # (r, in)
        grad_B = grad.T @ down  # (out, r)
        grad_x = grad @ dense(weight, ctx.state, grad.dtype)  # (N, in)
        if kept is None:
            grad_x = add_product(grad_x, small, a)
        else:
            grad_x += drop(small @ a, kept, ctx.p)
        return grad_x, None, None, None, grad_A, grad_B, None, None, None


# owned by chapter 17
def add_product(total, left, right):
    """total + left @ right, into total: the product is never a tensor of its own.

    A compiler makes one kernel of the sum and its neighbours. And torch 2.11 loses, without a word,
    every gradient of what a compiled Function changes in place and returns.
    """
    return total + left @ right if torch.compiler.is_compiling() else total.addmm_(left, right)


# owned by chapter 17
def drop(x, kept, p):
    """Dropout with a mask that was drawn before: x / (1 - p) where `kept`, else 0; None keeps x."""
    return x if kept is None else torch.ops.aten.native_dropout_backward(x, kept, 1 / (1 - p))


# owned by chapter 17
class LeanLoRA(nn.Module):
    """The parts of `layer`, a LoRALinear or LoRAConv1D on a plain or 4-bit base, run leanly."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer, self.lora_A, self.lora_B = layer.base_layer, layer.lora_A, layer.lora_B
        self.r, self.lora_alpha, self.scaling = layer.r, layer.lora_alpha, layer.scaling
        self.lora_dropout, self.training = layer.lora_dropout, layer.training

    def lay(self, matrix):
        """(out, in) as the base stores its weight, or back: a Conv1D keeps (in, out)."""
        return matrix if isinstance(self.base_layer, nn.Linear) else matrix.T

    def forward(self, x):
        base, kind, p = self.base_layer, x.device.type, self.lora_dropout.p * self.training
        auto = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        own = getattr(base, "compute_dtype", None) or x.dtype  # a 4-bit base names one
        dtype = torch.get_autocast_dtype(kind) if auto else own
        flat = x.reshape(-1, x.shape[-1])  # (N, in)
        frozen = self.lay(base.weight), getattr(base.weight, "quant_state", None), base.bias
        out = LeanProduct.apply(flat, *frozen, self.lora_A, self.lora_B, self.scaling, p, dtype)
        return out.view(*x.shape[:-1], -1).to(dtype if auto else x.dtype)

    def get_delta_weight(self):
        """What the adapter adds to base_layer.weight, in that weight's layout."""
        return self.lay(self.scaling * self.lora_B @ self.lora_A)


# owned by chapter 17
def make_lean(model):
    """Put LeanLoRA into the place of every LoRALinear and LoRAConv1D, in place; returns the model.

    Factors, names and files stay what they are, and so does LoRA on embeddings. Build the optimizer
    before or after. Raises ValueError where there is no such layer, only DoRA for instance.
    """
    layers = lora_layers(model, remove_duplicate=False)  # a layer used twice has two names
    # By name: a notebook has copies of the classes.
    plain = {n: m for n, m in layers.items() if type(m).__name__ in ("LoRALinear", "LoRAConv1D")}
    if not plain:
        raise ValueError(
            f"None of {len(layers)} LoRA layers is plain: call inject_lora, then this."
        )
    made = {layer: LeanLoRA(layer) for layer in dict.fromkeys(plain.values())}
    for name, layer in plain.items():
        model.set_submodule(name, made[layer])
    return model
