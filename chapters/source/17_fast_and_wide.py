# %% [markdown]
# # 17 Fast and wide
#
# LoRA leaves out a third of the work. Why is its step often no faster than full
# fine-tuning, and what makes it fast, on one card and on many? About 80 minutes (two of
# them computing), after [chapter 16](16_pictures.ipynb).
#
# You will be able to
# - find what a training step spends its time and its bytes on;
# - write forward and backward of a layer by hand, and prove them right;
# - spread a run over processes and cards, and plan its hours and bytes.

# %%
import copy
import json
import time
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lora_course.bits.fourbit import load_four_bit
from lora_course.bridges.shipping import fastest
from lora_course.costs.memory import saved_bytes
from lora_course.fast.unpack import kernel  # noqa: F401
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show

# %%
quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
warnings.filterwarnings("ignore", ".*fan_in_fan_out.*")  # PEFT, when it meets a Conv1D
from peft import LoraConfig, get_peft_model

DEVICE, r = "cuda" if torch.cuda.is_available() else "cpu", 8
base, tokenizer, rows = load_base().to(DEVICE), load_tokenizer(), load_task()["train"]
batch = next(batches(rows, tokenizer, 8, steps=1, seed=0))
batch = {key: value.to(DEVICE) for key, value in batch.items()}


def with_peft(model, targets="all-linear", p=0.0):
    """PEFT's LoRA; its factors are float32 whatever the type of the base."""
    return get_peft_model(model, LoraConfig(r=r, lora_dropout=p, target_modules=targets)).train()


def ours(model, targets="all-linear", p=0.0):
    return inject_lora(model, targets, r, lora_dropout=p, seed=0).train()


print("one batch: (B, T) =", tuple(batch["input_ids"].shape))

# %% [markdown]
# ## 1 Two thirds of the work
#
# A product with W takes part three times in a step: forward, for the gradient of its
# input, for the gradient of W. LoRA leaves out the third, and adds small products.
#
# > **Myth check.** *LoRA makes fine-tuning significantly faster.* **Predict** LoRA's share
# > of the floating-point operations (FLOPs) of full fine-tuning, and of its seconds.

# %%
models = {
    "full": copy.deepcopy(base).train(),
    "PEFT": with_peft(copy.deepcopy(base)),
    "ours": ours(copy.deepcopy(base)),
}
flops = {}
for name, model in models.items():
    with FlopCounterMode(display=False) as counter:
        model(**batch, use_cache=False).loss.backward()
    flops[name] = counter.get_total_flops() / 1e9
print({name: f"{n / flops['full']:.2f} of the FLOPs" for name, n in flops.items()})


# %% tags=["nbval-ignore-output"]
def stepper(model):
    """A training step to call; it ends when the device has done all of it."""
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)

    @torch.enable_grad()
    def step(input_ids=None):
        adam.zero_grad()
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        adam.step()
        return loss.item()

    step()  # makes the optimizer's states
    return step


steps = {name: stepper(model) for name, model in models.items()}
seconds = fastest(steps, None, turns=8)
print({name: f"{s / seconds['full']:.2f} of the seconds" for name, s in seconds.items()})
assert not is_shipped() or seconds["PEFT"] / seconds["full"] > 0.05 + flops["PEFT"] / flops["full"]

# %% [markdown]
# > **Verdict: it depends on who wrote the step.** Hu et al. 2021 (section 4.2) report a
# > third more tokens per second on GPT-3; Biderman et al. 2024 (appendix I) measure PEFT's
# > LoRA some 15 % *slower* on eight H100. Something that is no FLOP takes time.
#
# ## 2 Operations and bytes
#
# Every operation reads and writes memory, a sum or a change of type as much as a product.
# **Predict:** how many does PEFT's layer ask for, forward, where a plain one asks for one?

# %%
class Operations(TorchDispatchMode):
    """Lists the operations that run inside the block; views, which move nothing, left out."""

    names = ()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and func.overloadpacket.__name__ != "_unsafe_view":
            self.names += (func.overloadpacket.__name__,)
        return func(*args, **(kwargs or {}))


class One(nn.Module):
    """A model of one bfloat16 layer, to put LoRA into."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(256, 512, bias=False, dtype=torch.bfloat16)

    def forward(self, x):
        return self.proj(x)


x = torch.randn(64, 256, dtype=torch.bfloat16, requires_grad=True)  # (N, in)
for name, layer in {"plain": One(), "PEFT": with_peft(One(), ["proj"]), "ours": ours(One())}.items():
    with Operations() as forward:
        y = layer(x)
    with Operations() as backward:
        y.backward(torch.ones_like(y))
    print(f"{name}: {len(forward.names)} + {len(backward.names)}  {' '.join(forward.names)}")

# %% [markdown]
# `_to_copy` changes a type. The factors are float32, so that small steps are not rounded
# away (chapter 03), and x is bfloat16: one of them has to change. PEFT changes **x**, and
# autograd keeps the float32 copy until backward, one for q, one for k, one for v.
#
# **Predict:** how many bytes does a layer keep for each number of x? And with dropout?

# %%
def kept(layer):
    """Bytes kept for backward, for each number of x; what holds only r of them is left out."""
    return saved_bytes(lambda: layer(x).sum(), [*layer.parameters()]) // x.numel()


for p in (0.0, 0.1):
    made = {"full": One(), "PEFT": with_peft(One(), ["proj"], p), "ours": ours(One(), ["proj"], p)}
    print(f"dropout {p}:", {name: kept(layer) for name, layer in made.items()})

A, W = torch.randn(r, 256), torch.randn(512, 256)
exact = x.double() @ A.double().T  # (N, r)
for name, down in {"x in float32": x.float() @ A.T, "A in bfloat16": x @ A.bfloat16().T}.items():
    off = (down.double() - exact).norm() / exact.norm()
    print(f"{name}: off by {off:.0e}; in a bfloat16 output less than one unit: {off < 2**-7}")

# %% [markdown]
# Cast the **factors**: they are small, the product is added to a bfloat16 number anyway,
# and the optimizer still moves float32 ones. That is what our layer does. (Under bf16
# autocast, as in TRL, PEFT's copies are cast once more, and are 16-bit ones.)
#
# **Exercise 17.1**: find the copies in any layer. ([The
# exercises](../exercises/17_fast_and_wide.ipynb); `lora-course start 17`.)
#
# ## 3 Backward by hand
#
# With dropout off and s = alpha / r, and g the gradient of y, which autograd hands us:
#
# $$y = xW^T + s\,(xA^T)B^T,\quad g_x = gW + s\,(gB)A,\quad g_A = s\,(gB)^Tx,\quad
# g_B = s\,g^T(xA^T)$$
#
# **Predict:** which of x, xAᵀ, W, y must be kept for backward?

# %%
torch.manual_seed(0)
N, d_in, d_out, s = 6, 10, 7, 1.5
shapes = (N, d_in), (d_out, d_in), (r, d_in), (d_out, r), (N, d_out)
x, W, A, B, g = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
x, A, B = (t.requires_grad_() for t in (x, A, B))

y = x @ W.T + s * (x @ A.T) @ B.T  # (N, out)
want = torch.autograd.grad(y, (x, A, B), g)
with torch.no_grad():
    down = x @ A.T  # (N, r); kept
    small = s * g @ B  # (N, r); used twice
    found = g @ W + small @ A, small.T @ x, s * g.T @ down
for name, mine, right in zip(("x", "A", "B"), found, want, strict=True):
    print(f"gradient of {name} {tuple(mine.shape)}:", torch.allclose(mine, right))

# %% [markdown]
# Kept: x, and xAᵀ with its r numbers a token. W is there anyway, y is not needed. With
# dropout the mask is kept, a byte for each number of x, and what it left is made again.
#
# `torch.autograd.Function` takes such a pair, forward and backward, as one operation.
# **Exercise 17.2**: write it, with dropout.
#
# The course's own does two more things. The update is added *into* xWᵀ by one product
# (`addmm_`). And a 4-bit W is unpacked, in forward and again in backward, and never kept.

# %% tags=["quote"]
from lora_course.fast.unpack import BLOCK, SCALES, unpack, dense  # noqa: F401

# %% tags=["quote"]
from lora_course.fast.lean import add_product, drop, LeanProduct, LeanLoRA, make_lean  # noqa: F401

# %%
product = lambda x, A, B: LeanProduct.apply(x, W, None, None, A, B, s, 0.0, x.dtype)  # noqa: E731
print("equal to differences of outputs:", torch.autograd.gradcheck(product, (x, A, B)))

# %% [markdown]
# Names and files stay. **Predict** for the whole model, made lean: does the loss change?
# The bytes kept, with dropout, and on a base in 4 bits, where W would have to be unpacked
# to be kept?

# %%
def look(model, p):
    """Loss and gradient without dropout; MB kept for backward with dropout p."""
    inputs = {key: value.to(model.device) for key, value in batch.items()}
    call = lambda: model(**inputs, use_cache=False).loss  # noqa: E731
    loss = call()
    weights = [w for w in model.parameters() if w.requires_grad]
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
    for layer in lora_layers(model).values():
        layer.lora_dropout.p = p
    known = [*model.parameters(), *model.buffers(), *inputs.values()]
    return loss.item(), gradient, saved_bytes(call, known) / 1e6


for name, load in {"base": lambda: copy.deepcopy(base), "4 bits": load_four_bit}.items():
    plain = ours(load())
    for layer in lora_layers(plain).values():
        nn.init.normal_(layer.lora_B, std=0.02)
    (loss, grad, mb), (lean_loss, lean_grad, lean_mb) = (
        look(model, p=0.1) for model in (plain, make_lean(copy.deepcopy(plain)))
    )
    close = (grad - lean_grad).norm() < (1e-4 if grad.device.type == "cpu" else 0.1) * grad.norm()
    print(f"{name}: the same gradient: {close}; keeps less: {lean_mb < mb}")
    assert close and abs(loss - lean_loss) < 1e-2 * loss and lean_mb < mb

# %% tags=["nbval-ignore-output"]
steps["lean"] = stepper(make_lean(ours(copy.deepcopy(base))))
seconds = fastest(steps, None, turns=12)
print({name: f"{s / seconds['full']:.2f} of the seconds" for name, s in seconds.items()})
assert not is_shipped() or seconds["lean"] < 1.05 * seconds["PEFT"]

# %% [markdown]
# ## 4 Compile
#
# `unpack` above is eight passes over memory: shifts, look-ups, a product. PyTorch can write
# **one** loop for them, in C++ or for the GPU: `torch.compile(unpack)`. For a model it is
# `layer.compile()`, block by block: norms, sums and casts between two products become one
# pass. **Predict:** after how many calls is the time spent on compiling won back?

# %% tags=["nbval-ignore-output"]
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

weight, state = quantize_4bit(torch.randn(2048, 2048, device=DEVICE), quant_type="nf4")
given = weight.view(-1), state.code, state.absmax, None, torch.float32
ways = {"bitsandbytes": lambda: dequantize_4bit(weight, state), "passes": lambda: unpack(*given)}
began = time.perf_counter()
try:
    compiled = torch.compile(unpack)
    assert torch.equal(compiled(*given).view_as(state_dense := ways["bitsandbytes"]()), state_dense)
    ways["one loop"] = lambda: compiled(*given)
except Exception as error:  # no C++ compiler, or no Triton
    print(f"Nothing compiles here ({type(error).__name__}). Everything else runs without it.")
spent = time.perf_counter() - began
calls = {name: lambda input_ids, f=f: f().view(-1)[0].item() for name, f in ways.items()}
seconds = fastest(calls, None, turns=10)
print({name: f"{1e3 * s:.1f} ms" for name, s in seconds.items()})
if "one loop" in ways:
    won = max(seconds["passes"] - seconds["one loop"], 1e-9)
    print(f"compiled in {spent:.0f} s: won back after {spent / won:,.0f} calls")

# %% [markdown]
# A run of thousands of steps wins; a try of ten does not. (A model of 7B calls `unpack` 448
# times a step.) What comes back is the same, bit for bit.
#
# > **A trap.** The record below was first made with a lean layer that returned what it had
# > changed in place. torch 2.11, compiled, gave every gradient as **zero**, without a word:
# > half the time, half the memory, a loss that stood still. Compare the gradients before
# > you believe a speed.
#
# On a GPU with 7B shapes, by `benchmarks/training_step.py`. **Predict** the order of full
# fine-tuning, PEFT and lean, and what compiling adds.

# %%
KINDS = {"products": "base", "attention": "qlora", "optimizer": "full", "the rest": "extra"}
for path in sorted(Path("results/17").glob("training_step*.json")):
    record = json.loads(path.read_text(encoding="utf-8"))
    arms = {name: arm for name, arm in record["arms"].items() if "error" not in arm}
    fig, ax = figure(8, 0.6 + 0.4 * len(arms))
    for row, (name, arm) in enumerate(arms.items()):
        left = 0
        for kind, color in KINDS.items():
            ax.barh(row, width := arm.get(f"{kind}, ms", 0), left=left, color=COLORS[color])
            left += width
        ax.barh(row, arm["ms"] - left, left=left, color=COLORS["grey"])
        ax.text(arm["ms"], row, f" {arm['ms']:.0f} ms, {arm['peak, MB'] / 1e3:.0f} GB", va="center")
    print(record["device"], record["shape"], record["batch"], "x", record["tokens"])
    show(
        fig, 
        caption="x",
        alt="y",
    )
