# %% [markdown]
# # 17 Fast and wide
#
# LoRA does less work than full fine-tuning. Why is its step often no faster, and what makes
# it fast, on one card and on many? About 80 minutes (two of them computing), after
# [chapter 16](16_pictures.ipynb).
#
# You will be able to
# - find what a training step spends its time and its bytes on;
# - write forward and backward of a layer by hand, and prove them right;
# - spread a run over processes and cards, and plan its hours and bytes.

# %%
import copy
import json
import math
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean

import torch
from IPython.display import Markdown
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lora_course.adapters import load_adapter, lora_state_dict, read_adapter
from lora_course.bits.fourbit import load_four_bit
from lora_course.bridges.shipping import fastest
from lora_course.costs.gpu_records import load_records, name_of
from lora_course.costs.memory import GB, GIB, nf4_bytes, saved_bytes  # noqa: F401
from lora_course.fast.unpack import kernel  # noqa: F401
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show

# %%
quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
warnings.filterwarnings("ignore", ".*fan_in_fan_out.*")  # PEFT, when it meets a Conv1D
from peft import LoraConfig, get_peft_model
import torch.distributed as dist  # noqa: F401
from torch.distributed.tensor import DTensor  # noqa: F401
from lora_course.costs.planner import (  # noqa: F401
    PEAK, SHAPES, factor_shapes, gathered_each_step, one_card, rank_peak, shapes_of,
)
from lora_course.fast.ranks import launch
from lora_course.fast.wide import train_wide

DEVICE, r = "cuda" if torch.cuda.is_available() else "cpu", 8
base, tokenizer, rows = load_base().to(DEVICE), load_tokenizer(), load_task()["train"]
batch = next(batches(rows, tokenizer, 8, steps=1, seed=0))
batch = {key: value.to(DEVICE) for key, value in batch.items()}
print("one batch: (B, T) =", tuple(batch["input_ids"].shape))


def with_peft(model, targets="all-linear", p=0.0):  # with float32 factors, PEFT's default
    return get_peft_model(model, LoraConfig(r=r, lora_dropout=p, target_modules=targets)).train()


def ours(model, targets="all-linear", p=0.0):
    return inject_lora(model, targets, r, lora_dropout=p, seed=0).train()


# %% [markdown]
# ## 1 Two thirds of the work
#
# Of three products with W (forward, its input's gradient, its own) LoRA leaves out one.
#
# > **Myth check.** *LoRA makes fine-tuning significantly faster.* **Predict** its share of
# > full fine-tuning's floating-point operations (FLOPs), and seconds.

# %%
models = {"PEFT": with_peft(copy.deepcopy(base)), "ours": ours(copy.deepcopy(base))}
models, flops = {"full": copy.deepcopy(base).train(), **models}, {}
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


# %%
class One(nn.Module):
    """A model of one bfloat16 layer, to put LoRA into."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(256, 512, bias=False, dtype=torch.bfloat16)

    def forward(self, x):
        return self.proj(x)


x = torch.randn(64, 256, dtype=torch.bfloat16, requires_grad=True)  # (N, in)
layers = {"plain": One(), "PEFT": with_peft(One(), ["proj"]), "ours": ours(One())}
for name, layer in layers.items():
    with Operations() as forward:
        y = layer(x)
    with Operations() as backward:
        y.backward(torch.ones_like(y))
    print(f"{name}: {len(forward.names)} + {len(backward.names)}  {' '.join(forward.names)}")

# %% [markdown]
# `_to_copy` changes a type: the factors are float32, x is bfloat16. PEFT changes **x**, and
# autograd keeps each copy, of q, k and v, until backward.
#
# **Predict:** the bytes kept for each number of x. And with dropout?

# %%
# Bytes for each number of x; what holds only r numbers a row is left out.
kept = lambda layer: saved_bytes(lambda: layer(x).sum(), layer.parameters()) // x.numel()  # noqa: E731
for p in (0.0, 0.1):
    made = {"full": One(), "PEFT": with_peft(One(), ["proj"], p), "ours": ours(One(), ["proj"], p)}
    print(f"dropout {p}:", {name: kept(layer) for name, layer in made.items()})

A = torch.randn(r, 256)
exact = x.double() @ A.double().T  # (N, r)
off = (x @ A.bfloat16().T - exact).norm() / exact.norm()
print(f"A cast to bfloat16: off by less than one unit of a bfloat16 output: {off < 2**-7}")

# %% [markdown]
# Cast the **factors**: they are small, the product is added to a bfloat16 number anyway,
# and the optimizer still moves float32 ones. That is what our layer does. (Under bf16
# autocast, as in TRL, PEFT's copies are cast once more, and are 16-bit ones.)
#
# **[Exercise 17.1](../exercises/17_fast_and_wide.ipynb)**: find the copies in any layer. ([The
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
shapes, s = ((6, 10), (7, 10), (r, 10), (7, r), (6, 7)), 1.5
x, W, A, B, g = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
x, A, B = (t.requires_grad_() for t in (x, A, B))
want = torch.autograd.grad(x @ W.T + s * (x @ A.T) @ B.T, (x, A, B), g)
with torch.no_grad():
    down, small = x @ A.T, s * g @ B  # (N, r) each; down is kept from forward
    found = g @ W + small @ A, small.T @ x, s * g.T @ down
for name, mine, right in zip(("x", "A", "B"), found, want, strict=True):
    print(f"gradient of {name} {tuple(mine.shape)}:", torch.allclose(mine, right))

# %% [markdown]
# Kept: x, and xAᵀ with its r numbers a token. W is there anyway, y is not needed. With
# dropout the mask is kept, a byte for each number of x, and what it left is made again.
#
# `torch.autograd.Function` takes such a pair, forward and backward, as one operation.
# **[Exercise 17.2](../exercises/17_fast_and_wide.ipynb)**: write it, with dropout.
#
# The course's own does two more things. The update is added *into* xWᵀ by one product
# (`addmm_`). And a 4-bit W is unpacked, in forward and again in backward, and never kept.

# %% tags=["quote"]
from lora_course.fast.unpack import BLOCK, SCALES, unpack, dense  # noqa: F401

# %% tags=["quote"]
from lora_course.fast.lean import add_product, drop, LeanProduct, LeanLoRA, make_lean  # noqa: F401

# %% [markdown]
# Names and files stay. **Predict** for the whole model, made lean: does the loss change?
# The bytes kept, with dropout, and on a base in 4 bits, where W would have to be unpacked
# to be kept?

# %%
def look(model, p):
    """Loss and gradient in eval mode; MB kept for backward while training with dropout p."""
    inputs = {key: value.to(model.device) for key, value in batch.items()}
    call = lambda: model(**inputs, use_cache=False).loss  # noqa: E731
    loss = (model.eval(), call())[1]
    weights = [w for w in model.parameters() if w.requires_grad]
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
    for layer in lora_layers(model).values():
        layer.lora_dropout.p = p
    known = [*model.train().parameters(), *model.buffers(), *inputs.values()]
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
product = lambda x, A, B: LeanProduct.apply(x, W, None, None, A, B, s, 0.0, x.dtype)  # noqa: E731
print("gradients are differences of outputs:", torch.autograd.gradcheck(product, (x, A, B)))

steps["lean"] = stepper(make_lean(ours(copy.deepcopy(base))))
seconds = fastest(steps, None, turns=12)
print({name: f"{t / seconds['full']:.2f} of the seconds" for name, t in seconds.items()})
assert not is_shipped() or seconds["lean"] < 1.3 * seconds["PEFT"]

# %% [markdown]
# ## 4 Compile
#
# `unpack` passes over memory many times. `torch.compile` writes **one** loop for it, in C++
# or for the GPU; for a model, `layer.compile()` does so with all that lies between two
# products. **Predict:** after how many calls is compiling won back?

# %% tags=["nbval-ignore-output"]
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

weight, state = quantize_4bit(torch.randn(2048, 2048, device=DEVICE), quant_type="nf4")
given = weight.view(-1), state.code, state.absmax, None, torch.float32
ways = {"bitsandbytes": lambda: dequantize_4bit(weight, state), "passes": lambda: unpack(*given)}
began = time.perf_counter()
try:
    compiled = torch.compile(unpack)
    made = compiled(*given).view(2048, 2048)
    if torch.equal(made, ways["bitsandbytes"]()):
        ways["one loop"] = lambda: compiled(*given)
    else:  # the loop came out of a cache, and was made for another processor
        print("Compiled, it gives OTHER numbers. It is not timed. Empty TORCHINDUCTOR_CACHE_DIR.")
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
# Count calls, not steps: a model of 7B calls `unpack` 448 times in one. (A whole model takes
# longer to compile: a long run wins that back, a try of ten steps does not.) What comes back
# is the same, bit for bit, else the cell would not time it. We saw it differ: torch 2.13 keeps
# what it compiles in a folder, and a loop made for AVX-512 gave **wrong numbers** where AVX2 was
# asked for. Give each kind of processor a folder of its own. And compare with bitsandbytes,
# whose loop is written by hand.
#
# > **A trap.** The record below was first made with a lean layer that returned what it had
# > changed in place. torch 2.11, compiled, **lost every gradient**, without a word, and such
# > a step is fast. Its times are not in the record. Compare the gradients before you believe
# > a speed.
#
# On a GPU with 7B shapes, by `benchmarks/training_step.py`. «course» is our layer before it
# was made lean, «autocast» PEFT under bf16 autocast, as TRL runs it. **Predict** the order of
# full fine-tuning, PEFT and lean, and what compiling adds to full fine-tuning.

# %%
def stored(name):
    """The arms of a record of benchmarks/training_step.py that ran to the end."""
    record = json.loads(Path(f"results/17/{name}.json").read_text(encoding="utf-8"))
    print(f"{name}: {record['device']}, {record['batch']} x {record['tokens']} tokens")
    return {arm: made for arm, made in record["arms"].items() if "error" not in made}


times, four = stored("times_Mistral-7B"), stored("times_Llama-3.1-8B_4bit")
peaks = {arm: made["peak, MB"] / 1e3 for arm, made in stored("bytes_Mistral-7B").items()}
print("GB at the peak:", {arm: round(size) for arm, size in peaks.items()})
fig, ax = figure(8, 3)
for row, (arm, made) in enumerate({**times, **four}.items()):
    color = COLORS["full" if "full" in arm else "extra" if "lean" in arm else "base"]
    ax.barh(row, made["ms"], color=color)
    first = four["peft:4bit"] if arm in four else times["full"]
    ax.text(made["ms"], row, f" {made['ms'] / first['ms']:.2f}", va="center")
ax.set(xlabel="ms a step", xlim=(0, 380), ylim=(len(times) + len(four) - 0.4, -0.6))
ax.set_yticks(range(len(times) + len(four)), [*times, *four])
show(
    fig,
    caption="A step. 7B: share of full fine-tuning's time; below, 8B in 4 bits: share of PEFT's.",
    alt="Bars. Lean is shorter than full, PEFT and course, a little shorter than autocast, and "
    "like full compiled. In 4 bits it is as long as PEFT.",
)

# %% [markdown]
# On this card, in one run of 12 steps, lean takes 0.84 of full fine-tuning's time and 0.74 of
# PEFT's, and has the lowest peak of the three. The course had hoped for 0.75 and 0.70. Full
# fine-tuning, compiled, is as fast as lean. In 4 bits, where both unpack by bitsandbytes, lean
# gained no time. Lean compiled, and `unpack` as one kernel, were not timed: run the benchmark.
# (On our small model, section 3, lean may win no time: each call has a price of its own.)
#
# ## 5 Wide: several processes, one result
#
# One card is full, or one card is slow: take several. Each runs a process of its own, a
# **rank**; all of them together are the **world**. Every rank holds the whole model,
# works on its share of the rows, and then the gradients are averaged (**data
# parallel**). With equal gradients all ranks make the same step.
#
# LoRA is made for this: of the whole model only the adapter's gradients travel.
#
# **Predict:** two ranks take three rows each. Each computes its mean loss, the two
# gradients are averaged. Is that the gradient of the six rows?

# %%
model = inject_lora(load_base(), r=8, seed=0)  # on the CPU: it is compared with ranks there
weights = [p for p in model.parameters() if p.requires_grad]
for p in weights:
    nn.init.normal_(p, std=0.1)
batch = next(batches(rows, tokenizer, 6, steps=1, seed=0))
# The prompt is learned as well, for once, so that rows ask for different numbers of tokens.
batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


def gap(gradients, right):
    """How far some gradients lie from the right ones, as a share of their length."""
    wrong = sum((g - r).square().sum() for g, r in zip(gradients, right, strict=True))
    return (wrong / sum(r.square().sum() for r in right)).sqrt().item()


right = torch.autograd.grad(model(**batch).loss, weights)
shares = [{key: value[rank::2] for key, value in batch.items()} for rank in (0, 1)]
tokens = [(share["labels"][:, 1:] != -100).sum() for share in shares]  # what is asked for
each = [torch.autograd.grad(model(**share).loss, weights) for share in shares]
ranks = gap([(a + b) / 2 for a, b in zip(*each, strict=True)], right) < 1e-3
weighted = [(a * tokens[0] + b * tokens[1]) / sum(tokens) for a, b in zip(*each, strict=True)]
print("tokens asked for by the two ranks:", [n.item() for n in tokens])
print("the mean of both is right:", ranks, "; weighted by tokens:", gap(weighted, right) < 1e-3)
assert gap(weighted, right) < 1e-3 and (not ranks or tokens[0] == tokens[1])

# %% [markdown]
# So a rank divides the **sum** of its losses by its fair share of *all* tokens.
# **[Exercise 17.3](../exercises/17_fast_and_wide.ipynb)** has the same trap in time: small batches
# instead of a large one. All that changes in a step:

# %% tags=["quote"]
from lora_course.fast.wide import share_loss, average_gradients  # noqa: F401

# %% [markdown]
# `all_reduce` gives every rank the sum of what all put in: **gloo** does it on a CPU,
# **NCCL** between NVIDIA's cards. PyTorch's `DistributedDataParallel` does the same while
# backward still runs.
#
# The script `lora_course/fast/wide.py` is the loop of chapter 05 around them: read it now.
# The launcher starts it once for each rank and says in `RANK` and `WORLD_SIZE` who is who.
#
# **Predict:** ten steps alone, in this kernel; ten steps on two ranks. Same adapter?

# %%
SCRIPT, folder = "lora_course.fast.wide", Path(tempfile.mkdtemp())


def told(lines):  # what the ranks said, in order, without the launcher's words
    said = [line for line in lines if line.startswith(("rank", "loss", "going"))]
    return "\n".join(sorted(line for line in said if "process" not in line))


alone = inject_lora(load_base(), r=8, seed=0)
optimizer = torch.optim.AdamW([p for p in alone.parameters() if p.requires_grad], lr=1e-3)
data = batches(rows, tokenizer, 8, steps=10, seed=0)
losses = train_wide(alone, optimizer, data, 10, rank=0, world=1, checkpoint=folder / "alone.pt")
drops = any(m.p for m in alone.modules() if isinstance(m, torch.nn.Dropout))  # not in the course's

code, lines = launch(SCRIPT, "--cpu", "--out", folder / "two", ranks=2)
assert code == 0, "\n".join(lines)
print(told(lines))
one = lora_state_dict(alone)
two = read_adapter(folder / "two" / "adapter.safetensors")[1]
off = gap([two[name] for name in one], list(one.values()))
print("the same adapter, to a thousandth of its length:", off < 1e-3)
assert off < 1e-3 or drops  # each rank drops other inputs

# %% [markdown]
# (In the tests, with one thread each, weights and gradients agree to a millionth.)
#
# `launch` calls `accelerate launch --multi_gpu`. **A trap:** without `--multi_gpu`, and
# without a GPU, `accelerate launch --num_processes 2` starts *one* process and says
# nothing. A script that prints its rank shows it. `torchrun --nproc-per-node 2` starts
# two anywhere.
#
# ## 6 The base in shards
#
# Both ranks hold the same frozen base. Why twice? **FSDP** (fully sharded data parallel,
# Zhao et al. 2023) cuts every tensor along its first axis, a piece for each rank. A block
# is gathered before it works, and let go afterwards.
#
# **Predict:** A has r = 8 rows. What does each of 3 ranks hold? And of 16?

# %% tags=["quote"]
from lora_course.costs.planner import shard_numbers

# %%
A = torch.zeros(8, 128)
for world in (2, 3, 16):
    pieces = [len(piece) for piece in A.chunk(world)]
    held = shard_numbers(A.shape, world)
    print(f"{world:2} ranks: rows {pieces}, every rank stores {held} numbers")

# %% [markdown]
# Pieces are filled up to equal length: 16 ranks store 16 rows of an A that has 8. Gradients too;
# AdamW's states only for true rows. **[Exercise 17.4](../exercises/17_fast_and_wide.ipynb)**: the
# bytes on a rank.
#
# FSDP is one call for each group that is gathered together:

# %% tags=["quote"]
from lora_course.fast.shards import shard, whole, local  # noqa: F401

# %%
held = [(4 * shard_numbers(p.shape, 2), p.requires_grad) for p in alone.parameters()]
all_of_it, adapter = sum(n for n, _ in held), sum(n for n, trains in held if trains)
expected = f"holds weights {all_of_it:,}, gradients {adapter:,}, optimizer {2 * adapter:,} bytes"
print("predicted: a rank", expected)

code, lines = launch(SCRIPT, "--cpu", "--out", folder / "shards", "--shard", ranks=2)
print(told(lines))
assert code == 0 and (not is_shipped() or told(lines).count(expected) == 2), "\n".join(lines)

# %% [markdown]
# To the byte, without activations and the block that is whole for a moment.
#
# The adapter was in shards too. `full_tensor()` gathers it: **all** ranks must ask, or
# those that ask wait for ever. Rank 0 writes the file.

# %%
fresh = inject_lora(load_base(), r=8, seed=1)
header = load_adapter(fresh, folder / "shards" / "adapter.safetensors")
shards = lora_state_dict(fresh)
off = gap([shards[name] for name in one], list(one.values()))
print("r of the file:", header["r"], "  the same adapter again:", off < 1e-3)
assert off < 1e-3 or drops  # each rank drops other inputs

# %% [markdown]
# ## 7 A rank dies
#
# With many ranks one dies, sooner or later.
#
# **Predict:** two ranks, a checkpoint every 5 steps; rank 1 is killed. What does rank 0 do,
# which waits for it? Where does the next start begin, on *one* rank?

# %% tags=["nbval-ignore-output"]
import psutil

OPTIONS, process = ("--cpu", "--out", folder / "killed", "--shard", "--steps", 40, "--every", 5), {}


def kill(line):
    """Note who is who; when the first checkpoint is there, kill rank 1."""
    if " is process " in line:
        process[line.split()[1]] = int(line.split()[-1])
    if line.startswith("step 5:"):
        psutil.Process(process["1"]).kill()


code, lines = launch(SCRIPT, *OPTIONS, ranks=2, look=kill)
print("exit code", code)
print(*[line for line in lines if line.startswith(("step", "rank 0 ends"))], sep="\n")
assert code != 0 and any(line.startswith("rank 0 ends") for line in lines)
assert not (folder / "killed" / "adapter.safetensors").exists()

# and now alone, from the checkpoint
code, lines = launch(SCRIPT, *OPTIONS, ranks=1)
print(told(lines))
assert code == 0 and any(line.startswith("going on after step") for line in lines)
assert (folder / "killed" / "adapter.safetensors").exists()

# %% [markdown]
# The connection broke, and rank 0 said so and ended; the launcher ended with an error. A rank
# that hangs breaks no connection: the others wait for the timeout, two minutes in `join`, half
# an hour by default (gloo). Any number of ranks can go on: the checkpoint holds whole tensors.
#
# **[Exercise 17.5](../exercises/17_fast_and_wide.ipynb)**: two ranks that drift apart, and why.
#
# ## 8 Four bits in shards
#
# FSDP and QLoRA together: half of an NF4 base on each of two cards. In the libraries it
# takes settings that look arbitrary. They are not run here:
#
# - `bnb_4bit_quant_storage=torch.bfloat16`, and `dtype` the same: FSDP 1 joins the tensors
#   of a group into one, so all must have one floating type. It changes what the bytes are
#   called, not what they say.
# - `fsdp_use_orig_params: false` with PEFT's `fsdp_auto_wrap_policy`: in FSDP 1 frozen and
#   trained tensors need groups of their own, or nothing is saved.
# - `fsdp_cpu_ram_efficient_loading: true`: one rank reads the file, not each.
# - `fsdp_offload_params: true`: shards wait in main memory. Less on the card, and slower.
#
# (Guides of bitsandbytes, «FSDP-QLoRA», and PEFT, «Fully Sharded Data Parallel»: 70B on two
# 24 GB cards, 19.6 GB on each and 107 GB of main memory; without offloading 35.6 GB.)
#
# `fully_shard` is FSDP 2 and cuts each tensor by itself. **Predict:** does it need the
# storage type? Our base is packed into bytes. And are its scales cut as well?

# %%
code, lines = launch(SCRIPT, "--cpu", "--out", folder / "four", "--shard", "--four-bit", ranks=2)
assert code == 0, "\n".join(lines)
print(told(lines))

# %% [markdown]
# Bytes will do. A scale is no parameter, so **every rank keeps all scales**, an eighth of a
# bit for each weight (chapter 10).
#
# ## 9 The planner
#
# Which cards, how many, for how long? Chapter 01's counts, plus shards:

# %% tags=["quote"]
from lora_course.costs.planner import (  # noqa: F401
    plan_run, scale_bytes, rank_bytes, step_flops, share_of_peak, hours,
)

# %% [markdown]
# Is it right? The stored runs of an H100 say. A **share of the peak** is what a run makes of
# the data sheet's 989 TFLOP/s; each method's mean is used.
#
# **Predict** also: of section 4's steps, how many ms are LoRA's own?

# %%
records = load_records("results")
plain = [(run["method"], share_of_peak(run)) for run in records if not run["prepare"]]
share = {method: mean(s for m, s in plain if m == method) for method, _ in plain}
lines = ["| run | bytes, predicted / measured | time, predicted / measured |", "|:--|--:|--:|"]
for run in records:
    size = rank_peak(run) / run["peak"]
    taken = hours(run, 1e6, share[run["method"]]) * 3600 * run["tokens_per_second"] / 1e6
    lines.append(f"| {name_of(run)} | {size:.2f} | {taken:.2f} |")
    assert 0.9 < size < 1.1 and 0.75 < taken < 1.25
Markdown("\n".join(lines))

# %%
plan = {m: plan_run("Mistral-7B", m, 2, 1024, checkpointing=False) for m in ("full", "lora")}
# AdamW reads weights, gradients and states, and writes three quarters of them, at 3.35 TB/s.
adam = 1.75 * times["full"]["states, MB"] / 3.35e6 * 1e3  # ms
rate = step_flops(plan["full"]) / (times["full:compiled"]["ms"] - adam)  # operations a ms
given = {"products": step_flops(plan["lora"]) / rate}
given["what compiling saves"] = times["full"]["ms"] - times["full:compiled"]["ms"]
print(f"0.75 of full fine-tuning: {0.75 * times['full']['ms']:.0f} ms")
for arm in ("lean", "autocast", "course", "peft"):
    parts = {**given, "LoRA's own": times[arm]["ms"] - sum(given.values())}
    print(f"{arm}:", " + ".join(f"{name} {ms:.0f}" for name, ms in parts.items()), "ms")

# %% [markdown]
# Time is rougher: measure ten steps of *yours*. The sums are an estimate, one rate for all
# products: uncompiled, lean needs half of its own part to reach 0.75.
#
# **Predict:** 70B by LoRA on 2 cards, then 8. Which bytes fall to a quarter?

# %%
GROUPS = {
    "base": (["base"], "base"),
    "adapter, gradients, states": (["adapter", "gradients", "optimizer"], "lora"),
    "gathered": (["gathered"], "extra"),
    "activations, logits": (["activations", "logits"], "qlora"),
}
cases = [(method, cards) for method in ("full", "lora", "qlora") for cards in (1, 2, 4, 8)]
found = [rank_bytes(plan_run("Llama-2-70B", m, 2, 2048), cards, True) for m, cards in cases]
(fig, ax), left = figure(7, 3.6), [0.0] * len(cases)
for label, (parts, color) in GROUPS.items():
    sizes = [sum(each[part] for part in parts) / GB for each in found]
    ax.barh(range(len(cases)), sizes, left=left, color=COLORS[color], label=label)
    left = [a + b for a, b in zip(left, sizes, strict=True)]
ax.axvline(80 * GIB / GB, color=COLORS["grey"], ls="--", lw=1)
ax.set(xlabel="GB on each card", xlim=(0, 300))
ax.set_yticks(range(len(cases)), [f"{m}, {cards}" for m, cards in cases])
ax.invert_yaxis()
ax.legend(loc="lower right")
show(
    fig,
    caption="Llama-2-70B, 2 rows of 2,048 tokens a card, in shards over 1 to 8 cards. The dashed "
    "line is a card of 80 GB. Full fine-tuning on one card (553 GB) leaves the picture.",
    alt="Twelve stacked bars. With twice the cards the base and the states halve; gathered blocks "
    "and activations stay. Below the line: QLoRA from one card, LoRA from two, full from eight.",
)

# %% [markdown]
# What belongs to the model is shared; what belongs to the *rows* is not, nor what is
# gathered for a moment. (A bar that ends at the line, as LoRA's on two cards, is no promise.)
#
# Sharding is paid in messages: every card receives the weights of all others, forward and
# again backward. (Gradients travel, too; they are left out.) For 20 million tokens, with
# LoRA's share of the peak from PEFT's step, which section 1 found slow:

# %%
lines = ["8 × H100 | GB a card | hours | GB received a step | at 400 GB/s | at 12 GB/s"]
lines += ["|".join(["--:"] * 6)]
for method in ("full", "lora", "qlora"):
    run = plan_run("Llama-2-70B", method, 2, 2048)
    size, traffic = rank_peak(run, 8, sharded=True) / GB, gathered_each_step(run, 8) / GB
    needed = hours(run, 20e6, share[method], cards=8)
    step = needed * 3600 * 8 * 2 * 2048 / 20e6
    cells = [f"{traffic / speed / step:.0%} of a step" for speed in (400, 12)]
    lines.append(" | ".join([f"{method} | {size:.0f} | {needed:.1f} | {traffic:.0f}", *cells]))
Markdown("\n".join(lines))

# %% [markdown]
# Within a machine (NVLink, hundreds of GB/s) messages can hide behind the work. Between
# machines (12 GB/s) 16 bits take longer: shard within, copy between (`HSDP`), or use
# 4 bits.
#
# > **Myth check.** *Fine-tuning a 13B model on eight A100 takes weeks.*

# %%
run = plan_run("Llama-2-13B", "full", 4, 1024)
for tokens, words in ((20e6, "three epochs of a 52,000-row instruction set"), (15e9, "15 billion")):
    days = hours(run, tokens, share["full"], cards=8, peak=PEAK["A100"]) / 24
    print(f"{words}: {days:.2g} days" if days > 1 else f"{words}: {60 * 24 * days:.0f} minutes")
print(f"on each card: {rank_peak(run, 8, sharded=True) / GB:.0f} GB")

# %% [markdown]
# > **Verdict: ask for the tokens.** If an A100 makes the share of its peak that the H100 made,
# > billions of tokens take days or weeks, an instruction set an hour. Memory is why several
# > cards are needed, and with LoRA or QLoRA fewer are.
#
# ## 10 Several machines
#
# The same script. Every machine runs the launcher once; they meet at one address. To
# copy; **not run here**:
#
# ```bash
# # on each of 2 machines with 8 cards; node0 is the first one's name
# torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-id 17 \
#     --rdzv-endpoint node0:29500 --max-restarts 3 \
#     -m lora_course.fast.wide --out /shared/run --shard --batch 64
#
# # the same by accelerate; --machine_rank is 0 on the first and 1 on the second
# accelerate launch --multi_gpu --num_machines 2 --num_processes 16 --machine_rank 0 \
#     --main_process_ip node0 --main_process_port 29500 \
#     -m lora_course.fast.wide --out /shared/run --shard --batch 64
# ```

# %% [markdown]
# With Slurm:
#
# ```bash
# #!/bin/bash
# #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --time=04:00:00 --requeue
# head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-backend c10d \
#     --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:29500" \
#     -m lora_course.fast.wide --out /shared/run --shard --batch 64
# ```
#
# `/shared` must be a disk that all see: the checkpoint lies there. One Slurm task a
# machine, because torchrun starts the ranks. `--requeue` starts a job again whose machine
# died; `--max-restarts` starts the ranks again when one of them died.

# %% [markdown]
# ## Takeaways
#
# - Fewer FLOPs are a promise. Passes over memory, copies and launches decide if it is kept.
# - Cast the small factors, never the activations. Keep x once; make again what is large.
# - A fast step is checked like any other: gradients first, then the clock.
# - Ranks and small batches weigh by **tokens**, or their sum is not the large batch.
# - Shards divide what belongs to the model, not what belongs to the rows.
#
# ## Problems without code
#
# 1. A frozen layer without LoRA keeps no x for backward. Why does one with LoRA keep it?
# 2. A compiled step takes half the time and half the memory. What do you look at first?
# 3. QLoRA of 70B: 2 cards or 8. Which bytes on a card do not change?
# 4. Two ranks ask for 10 and for 300 tokens and average their gradients. What is wrong?
#
# **Before:** [16 Pictures](16_pictures.ipynb). **Next:**
# [18 Many adapters, one base](18_many_adapters_one_base.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685) section 4.2, [LoRA Learns
# Less](https://arxiv.org/abs/2405.09673) appendix I, [FSDP](https://arxiv.org/abs/2304.11277),
# [QLoRA](https://arxiv.org/abs/2305.14314) section 3.
