# %% [markdown]
# # 01 · What full fine-tuning costs
#
# **The question.** The file of a model with 7 billion parameters fits on a memory
# stick. Why does training it not fit on an 80 GB graphics card, and what can be left
# out?
#
# About 35 minutes to read and run, 45 for the exercises. Builds on: you have trained
# one model in PyTorch. Afterwards you can
# - count the bytes of a training step before you rent a GPU;
# - say which model fits which card, and by which method;
# - say what LoRA saves, and what it does not.

# %%
import torch
from IPython.display import Markdown
from torch.utils.flop_counter import FlopCounterMode

from lora_course.costs.calculator import calculator, fit_table
from lora_course.kit.models import load_base, quiet
from lora_course.kit.plots import COLORS, TEXT, figure, show
from lora_course.costs.shapes import SHAPES, meta_model

quiet()

# %% [markdown]
# ## 1 Weights
# `base` is the small language model of this course. Pieces of words, *tokens*, become
# vectors in the *embedding*, pass a stack of equal *blocks*, and leave through the
# *head* as one score, a *logit*, for each token of the vocabulary.
#
# A block has two parts. *Attention* mixes the vectors of earlier tokens into each one,
# by four matrices: query, key, value and output (`q_proj`, `k_proj`, `v_proj`,
# `o_proj`; «q» and «v» for short). The *MLP* works on each vector alone, by three more.
# *Norms* keep the vectors at one size.
#
# Each number that training may change is a *parameter*. Here each takes 4 bytes
# (float32).

# %%
base = load_base("base")
N = sum(p.numel() for p in base.parameters())
q = base.model.layers[0].self_attn.q_proj.weight
print(f"{N:,} parameters in {len(list(base.parameters()))} tensors")
print("one of them:", tuple(q.shape), q.dtype, q.numel() * q.element_size(), "bytes")
weights = sum(p.numel() * p.element_size() for p in base.parameters())
print(f"all of them: {weights:,} bytes, {weights / N:.1f} per parameter")

# %% [markdown]
# ## 2 Gradients
# **Predict.** We run one batch forward and backward. How many bytes does the model hold
# then, for each parameter? (Bytes depend on shapes, not on words. Any tokens will do.)

# %%
tokens = torch.arange(256)[None] % base.config.vocab_size  # (B, T): B texts of T tokens


def loss_of(model, tokens):
    return model(input_ids=tokens, labels=tokens, use_cache=False).loss


loss_of(base, tokens).backward()
gradients = sum(p.grad.nbytes for p in base.parameters())  # numel * element_size
print(f"{(weights + gradients) / N:.1f} bytes per parameter")

# %% [markdown]
# Each gradient has its parameter's size.
#
# ## 3 Optimizer
# *AdamW*, our *optimizer*, keeps two running averages for each parameter: $m$ of the
# gradient, $v$ of its square. It steps along $m / (\sqrt{v} + \epsilon)$, $\epsilon$ being
# tiny. **Predict:** which tensors are new after one step, how large?

# %%
optimizer = torch.optim.AdamW(base.parameters(), lr=1e-4)
optimizer.step()
for name, state in optimizer.state[q].items():
    print(f"{name:12}{str(tuple(state.shape)):12}{state.dtype}")

# %% [markdown]
# Two tensors as large as the weight itself, and one counter of 4 bytes. The same count
# for the whole model is the first of the course's own functions:

# %% tags=["quote"]
from lora_course.costs.memory import tensor_bytes, state_bytes

# %%
held = state_bytes(base, optimizer)
print(f"{'query matrix':13}{tensor_bytes(q):>11,} bytes, one tensor of the weights")
for part, size in held.items():
    print(f"{part:13}{size:>11,} bytes {size / N:6.1f} per parameter")
print(f"{'together':13}{sum(held.values()):>11,} bytes {sum(held.values()) / N:6.1f}")

# %% [markdown]
# Remember the last number. It holds for every model trained in float32 with AdamW.
#
# **→ [Exercise 1.1](../exercises/01_what_full_fine_tuning_costs.ipynb): bytes of full
# fine-tuning**, for any mixture of number types. (In a terminal, `lora-course start 01`
# makes your own copy in `work/`.)
#
# ## 4 Number types
# *bfloat16* («bf16») takes 2 bytes: the range of float32, fewer digits. Four recipes, in
# bytes per parameter:
#
# | recipe | weights | gradients | master copy | $m$ and $v$ | sum |
# |:--|--:|--:|--:|--:|--:|
# | float32 | 4 | 4 | – | 8 | **16** |
# | *mixed precision* | 2 | 2 | 4 | 8 | **16** |
# | bf16, float32 states | 2 | 2 | – | 8 | **12** |
# | pure bf16 | 2 | 2 | – | 4 | **8** |
#
# The *master copy* is a copy of the weights in float32. **Predict:** why would anyone
# pay for it? And will pure bf16 measure as the table says?

# %%
for dtype in (torch.float32, torch.bfloat16):
    weight = torch.tensor(1.0, dtype=dtype)
    for _ in range(100):
        weight += 0.001
    print(f"1 + 100 updates of 0.001 in {str(dtype):15} = {weight.item():.3f}")
half = load_base("base").bfloat16()
half.set_attn_implementation("eager")  # bf16 that runs on every CPU
optimizer = torch.optim.AdamW(half.parameters(), lr=1e-4)
loss_of(half, tokens).backward()
optimizer.step()
print(f"{sum(state_bytes(half, optimizer).values()) / N:.1f} bytes per parameter")

# %% [markdown]
# Near 1.0 the next bf16 number is 1.0078, so an update below half that gap is rounded
# away. The master copy catches it. Pure bf16 is cheap, and loses updates.
#
# ## 5 Models that do not fit in your memory
# On the *meta device* a tensor has a shape and no numbers. Counting works as before. GB
# means 10⁹ bytes here; a card named 80 GB holds 80 GiB = 80 · 2³⁰ bytes = 85.9 GB.
#
# **Myth check.** *Full fine-tuning of a 70B model needs at least 200 GB.* **Predict:**
# how far does 200 GB reach? And which models fit one 80 GB card in mixed precision?


# %%
def count(model):
    return sum(p.numel() for p in model.parameters())


models = {name: meta_model(name) for name in SHAPES}
print(f"{'model':14}{'parameters':>16}{'bf16 file':>14}{'pure bf16':>14}{'mixed':>14}")
for name, model in models.items():
    gb = [f"{count(model) * per / 1e9:11,.1f} GB" for per in (2, 8, 16)]
    print(f"{name:14}{count(model):>16,}{''.join(gb)}")

# %% [markdown]
# **Verdict: far too low.** 200 GB holds the bf16 weights, without gradients.
#
# ## 6 Activations
# For the gradient of a weight, backward needs the *input* of its layer. So forward
# keeps it, an *activation*. A *hook*, a function that PyTorch calls, shows them.

# %%
x, W1, W2 = torch.randn(5, 3), torch.randn(3, 4), torch.randn(4, 2)
W1.requires_grad_()
W2.requires_grad_()


def look(tensor):
    print("kept", tuple(tensor.shape), "a weight" if tensor is W2 else "")
    return tensor


with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
    h = torch.relu(x @ W1)  # (5, 4)
    y = h @ W2  # (5, 2)

# %% [markdown]
# The first line is `x`, for the gradient of `W1`. The weight is there anyway, so it
# does not count. `h` is kept twice, but it is one piece of memory. The course's counter
# follows these rules.

# %% tags=["quote"]
from lora_course.costs.memory import saved_bytes

# %% [markdown]
# «Eager» attention keeps a score for every pair of tokens. A fused *kernel* (a program on
# the chip, `sdpa`) makes the scores again in backward. *Checkpointing* keeps only each
# block's input, and runs the block again.
# **Predict:** which grow faster than the text?


# %%
def activations(model, length):
    text = tokens[:, :length]
    return saved_bytes(lambda: loss_of(model, text), [*model.parameters(), tokens])


lengths, curves = range(32, 257, 32), {}
for kind in ("eager", "sdpa", "checkpointing"):
    model = load_base("base").train()
    model.set_attn_implementation("eager" if kind == "eager" else "sdpa")
    if kind == "checkpointing":
        model.activation_checkpointing_enable()
    curves[kind] = [activations(model, length) / 1e6 for length in lengths]
    print(f"{kind:14}", *(f"{size:6.1f}" for size in curves[kind]), "MB")
print(f"{'between steps':14}", f"{sum(held.values()) / 1e6:6.1f} MB")

# %%
fig, ax = figure(height=3.4)
for kind, role, marker in zip(curves, ("full", "base", "lora"), "os^", strict=True):
    ax.plot(lengths, curves[kind], marker=marker, color=COLORS[role])
    ax.text(261, curves[kind][-1], kind, va="center", color=TEXT[role])
ax.axhline(held["weights"] / 1e6, color=COLORS["grey"], linestyle="--", lw=1)
ax.text(24, held["weights"] / 1e6, "the weights", va="bottom", color=COLORS["grey"])
ax.set(xlabel="tokens in the text", ylabel="saved for backward (MB)")
ax.set(xlim=(20, 315), ylim=(0, None), xticks=(64, 128, 192, 256))
show(
    fig,
    caption="What forward keeps on `base` for one text, in float32. Eager attention "
    "bends upwards, the fused kernel is a straight line, checkpointing stays lowest.",
    alt="Three rising lines of saved megabytes against tokens from 32 to 256: eager "
    "attention is highest and curves upwards, sdpa is straight and lower, and "
    "checkpointing is lowest. A dashed line marks the size of the weights.",
)

# %% [markdown]
# Pairs grow with the square of the text, and eager attention keeps them. The other two
# grow with the text.
#
# ## 7 Logits, and an estimate
# The last layer gives (B, T, V) logits: for each of B texts and T places, one for each of
# the V tokens of the vocabulary, in float32. Their gradient is as large. For the blocks
# there is a rule of thumb. **Predict:** what is larger for Llama-3.1-8B, its weights in
# bf16 or the logits of 16 texts of 768 tokens? (Its vocabulary has 128,256 tokens.)

# %% tags=["quote"]
from lora_course.costs.activations import activation_bytes, logit_bytes


# %%
def on_meta(length):
    text = torch.zeros(1, length, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, length, length, dtype=torch.bfloat16, device="meta")
    return dict(input_ids=text, attention_mask=mask, labels=text, use_cache=False)


llama, config = models["Llama-2-7B"], models["Llama-2-7B"].config
counted = saved_bytes(lambda: llama(**on_meta(512)).loss, llama.parameters())
scores = config.num_hidden_layers * config.num_attention_heads * 512**2 * (4 + 2)
sizes = (1, 512, config.hidden_size, config.num_hidden_layers)
block = activation_bytes(*sizes, intermediate=config.intermediate_size)
print(
    f"Llama-3.1-8B, weights           {2 * count(models['Llama-3.1-8B']) / 1e9:6.2f} GB"
)
print(f"Llama-3.1-8B, 16 texts, logits  {logit_bytes(16, 768, 128_256) / 1e9:6.2f} GB")
print(f"Llama-2-7B, one text of 512     {counted / 1e9:6.2f} GB counted, eager")
print(f"  without attention scores      {(counted - scores) / 1e9:6.2f} GB counted")
print(f"  rule for a Llama block        {block / 1e9:6.2f} GB")
print(f"  older rule for a GPT block    {activation_bytes(*sizes) / 1e9:6.2f} GB")

# %% [markdown]
# The count needs no numbers either, so it works for a model that we cannot run. A rule of thumb
# gives the order of magnitude; the count decides. **→
# [Exercise 1.2](../exercises/01_what_full_fine_tuning_costs.ipynb): repair a calculator** that
# forgets activations and logits.
#
# ## 8 Two thin matrices
# **LoRA** freezes a weight $W$ of shape (d_out, d_in) and puts two thin matrices beside
# it: $B$, shape (d_out, r), and $A$, shape (r, d_in). The layer gives $Wx + BAx$. Only
# these two, the *adapter* of *rank* r, are trained. Chapter 02 asks why that can do;
# chapter 03 builds it with care.
#
# **Myth check.** *On a 1024 × 1024 matrix, r = 8 trains 0.2 % of the numbers.* Count
# first.

# %%
r, d_out, d_in = 8, 1024, 1024
A, B = torch.empty(r, d_in), torch.empty(d_out, r)
print(f"{A.numel() + B.numel():,} of {d_out * d_in:,} numbers")
print(f"{(A.numel() + B.numel()) / (d_out * d_in):.4%}")

# %% [markdown]
# **Verdict: wrong, about eight times too low.** A rank-r pair has r · (d_in + d_out)
# numbers. Now a throw-away LoRA, good enough to count bytes with.

# %% tags=["quote"]
from lora_course.costs.memory import block_linears

# %%
QV = ("q_proj", "v_proj")


def beside(layer, inputs, output):
    return output + inputs[0] @ layer.A.T @ layer.B.T  # (B, T, d_out)


def add_thin(model, r, targets=None):
    """Freeze the model; put A and B beside its linear layers, or those in targets."""
    model.requires_grad_(False)
    for name, layer in block_linears(model).items():
        if targets is None or name.split(".")[-1] in targets:
            W = layer.weight  # (d_out, d_in)
            layer.A = torch.nn.Parameter(W.new_ones(r, W.shape[1]))  # (r, d_in)
            layer.B = torch.nn.Parameter(W.new_zeros(W.shape[0], r))  # (d_out, r)
            layer.register_forward_hook(beside)
    return model


# %% [markdown]
# **Predict.** Of weights, gradients, optimizer states and activations: which shrink on
# `base` with LoRA, and which do not?


# %%
def measure(model):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    saved = activations(model, 256)
    loss_of(model, tokens).backward()
    optimizer.step()
    return state_bytes(model, optimizer) | {"activations": saved}


measured = {
    "full": measure(load_base("base")),
    "LoRA q, v": measure(add_thin(load_base("base"), 8, QV)),
    "LoRA all": measure(add_thin(load_base("base"), 8)),
}
for method, parts in measured.items():
    sizes = "  ".join(f"{part} {size / 1e6:5.2f}" for part, size in parts.items())
    share = parts["activations"] / measured["full"]["activations"]
    print(f"{method:10} {sizes} MB ({share:.0%})")

# %%
fig, ax = figure(height=2.6)
roles = dict(weights="base", gradients="extra", optimizer="full", activations="qlora")
for row, parts in enumerate(measured.values()):
    left = 0
    for part, size in parts.items():
        mb, color, label = size / 1e6, COLORS[roles[part]], f"{size / 1e6:.1f}"
        ax.barh(-row, mb, left=left, color=color, edgecolor="white")
        if mb > 1:
            ax.text(left + mb / 2, -row, label, ha="center", va="center")
        if row == 0:
            ax.text(left + mb / 2, 0.5, part, ha="center", color=TEXT[roles[part]])
        left += mb
ax.set_yticks((0, -1, -2), measured)
ax.set(xlabel="MB on base, one text of 256 tokens, float32", ylim=(-2.5, 0.9))
show(
    fig,
    caption="LoRA takes away the gradients and the optimizer states. The weights stay, "
    "and so do most of the activations.",
    alt="Three stacked bars in megabytes: full fine-tuning, LoRA on q and v, LoRA on "
    "all linear layers. The LoRA bars keep the weights and most of the activations; "
    "gradients and optimizer states have shrunk to slivers.",
)

# %% [markdown]
# **Myth check.** *With LoRA, only the adapter lies in GPU memory.* **Verdict: wrong.**
# The frozen weights are all there, for forward needs them. And most activations stay.
# On its way down to the adapters the gradient passes norms, attention and the MLP, which
# keep their inputs for it; and each $A$ needs the input of its layer.
#
# That was float32 throughout. On a bf16 base PEFT, the usual library (chapter 08), keeps
# its adapter in float32, and each adapted layer makes a float32 copy of its input. *Dropout*,
# which sets a random share of the input to zero, keeps a mask as well. **Predict:** does
# LoRA still keep less than full fine-tuning?

# %%
from peft import LoraConfig, get_peft_model


def in_bf16():
    model = load_base("base").bfloat16()
    model.set_attn_implementation("eager")
    return model


def in_peft(p):
    config = LoraConfig(r=8, target_modules="all-linear", lora_dropout=p)
    return get_peft_model(in_bf16().train(), config)


rows = {  # model; for the formula: bytes of a layer's own copy, of a mask on a GPU (here: 4)
    "full": (in_bf16(), None, 0),
    "LoRA all in bf16": (add_thin(in_bf16(), 8), 0, 0),
    "float32 adapter": (in_peft(0.0), 4, 0),
    "and dropout": (in_peft(0.05), 4, 1),
}
base_kept = {name: activations(row[0], 64) for name, row in rows.items()}
for name, (_, copy, mask) in rows.items():  # beside it: Llama-3.1-8B, a text of 1,024 tokens
    gb = activation_bytes(1, 1024, 4096, 32, 14336, False, copy, mask) / 1e9
    print(f"{name:17} base {base_kept[name] / base_kept['full']:5.0%}   8B {gb:5.2f} GB")
assert base_kept["full"] < base_kept["float32 adapter"] < base_kept["and dropout"]

# %% [markdown]
# No: more, at 8B too by the formula, most with dropout. Chapter 03's layer keeps no
# copy.
#
# ## 9 LoRA at full size
# LoRA holds 2 bytes for each frozen bf16 weight, and 16 for each number of its float32
# adapter. How many are there?

# %% tags=["quote"]
from lora_course.costs.memory import adapter_parameters

# %%
print(f"{'':14}{'r=8, q and v':>16}{'share':>8}{'r=16, all':>16}{'share':>8}")
for name, model in models.items():
    thin, wide = adapter_parameters(model, 8, QV), adapter_parameters(model, 16)
    shares = [f"{p / count(model):.3%}" for p in (thin, wide)]
    print(f"{name:14}{thin:>16,}{shares[0]:>8}{wide:>16,}{shares[1]:>8}")

# %% [markdown]
# Only these go to disk. **→ [Exercise 1.3](../exercises/01_what_full_fine_tuning_costs.ipynb): an
# adapter file. 1.4: storage for 100 tasks.**
#
# **Myth check.** *LoRA is 10,000 times more efficient in memory and compute.* The LoRA
# paper has the number (Hu et al. 2021, §4.2: GPT-3, r = 4). Of what?

# %%
n, layers, d, r = 175_255.8e6, 96, 12_288, 4
adapter = layers * 2 * r * (d + d)
print(f"trained numbers: about {round(n / adapter, -2):,.0f} times fewer")
print(f"GPU memory (the paper: 1.2 TB to 350 GB): {1200 / 350:.1f} times less")

# %% [markdown]
# **Verdict: true of what is trained and stored, not of memory.** Compute: section 11.
#
# ## 10 QLoRA: the frozen weights in 4 bits
# The frozen weights are now nearly everything. **QLoRA** (Dettmers et al. 2023, §3)
# stores them as *NF4*: 4 bits a weight, and a scale for each 64. *Double quantization*
# stores the scales in a byte each. Embeddings, norms and head stay in bf16. Chapter 10
# builds it.
#
# **Predict.** Llama-2-7B in mixed precision took 16 bytes a parameter. How many GB with
# LoRA, and how many with QLoRA?

# %% tags=["quote"]
from lora_course.costs.memory import nf4_bytes, training_bytes

# %%
n, METHODS = 4096 * 4096, ("full", "lora", "qlora")
for double in (False, True):
    bits = 8 * nf4_bytes(n, double) / n
    print(f"double quantization {str(double):6}{bits:.3f} bits a weight")
need = {n: {k: training_bytes(m, k) for k in METHODS} for n, m in models.items()}
print(f"\n{'GB, r = 16, all':16}" + "".join(f"{method:>10}" for method in METHODS))
for name, ways in need.items():
    totals = (sum(parts.values()) / 1e9 for parts in ways.values())
    print(f"{name:16}" + "".join(f"{total:10,.2f}" for total in totals))

# %%
names = ["SmolLM2-135M", "Qwen2.5-0.5B", "Llama-2-7B"]
names += ["Llama-3.1-8B", "Llama-2-13B", "Llama-2-70B"]
fig, ax = figure(width=8.8, height=4.6)
for x, name in enumerate(names):
    for shift, method in zip((-0.27, 0, 0.27), METHODS, strict=True):
        bottom, color = 0, COLORS[method]
        for size, alpha in zip(need[name][method].values(), (1, 0.6, 0.3), strict=True):
            ax.bar(x + shift, size / 1e9, 0.25, bottom, color=color, alpha=alpha)
            bottom += size / 1e9
        word, y = f"{bottom:,.{1 if bottom < 9.95 else 0}f}", min(bottom, 100) + 1
        ax.text(x + shift, y, word, ha="center", fontsize=8, color=TEXT[method])
for card in (16, 24, 48, 80):
    ax.hlines(card * 2**30 / 1e9, -0.5, 5.5, COLORS["grey"], "--", lw=1, zorder=0)
    ax.text(5.53, card * 2**30 / 1e9, f"{card} GB card", va="center", fontsize=9)
ax.legend(ax.containers[:9:3], ("full", "LoRA", "QLoRA"), loc=(0.01, 0.6))
ax.set_xticks(range(len(names)), ["\n".join(name.rsplit("-", 1)) for name in names])
ax.set(ylabel="GB between two steps", ylim=(0, 100), xlim=(-0.5, 6.2))
show(
    fig,
    caption="Weights (dark), gradients (lighter), master copy and optimizer states "
    "(lightest). Bars over 100 GB are cut, the number tells. Activations and logits come on top.",
    alt="Stacked bars for six models, 135 million to 70 billion parameters. Full "
    "fine-tuning of 7B is above every card line, its LoRA below the 16 GB line, QLoRA "
    "of 70B below the 48 GB line.",
)

# %% [markdown]
# **Myth check.** *QLoRA fine-tunes a 65B model on one card of 24 GB.*

# %%
for name in ("LLaMA-33B", "LLaMA-65B"):
    parts = training_bytes(models[name], "qlora", r=8, targets=QV)
    weights, together = parts["weights"] / 1e9, sum(parts.values()) / 1e9
    print(f"{name}: weights {weights:.1f} GB, together {together:.1f} GB")
print(f"a card of 24 GiB: {24 * 2**30 / 1e9:.1f} GB")

# %% [markdown]
# **Verdict: wrong.** The 4-bit weights alone are larger than the card. The paper's claim is 65B on
# 48 GB, and 33B on 24 GB (Dettmers et al. 2023, abstract and §4). **→
# [Exercise 1.5](../exercises/01_what_full_fine_tuning_costs.ipynb): which models fit, and by which
# method?**
#
# ## 11 Compute
# A product with $W$ costs 2 floating-point operations (*FLOPs*) for each weight and
# token. For each product backward needs the gradient of its input, and that of its
# weight if it is trained. **Predict.** How many times the FLOPs of forward does a full
# step take? And LoRA, which leaves out the gradients of $W$?


# %%
def flops(model):
    """FLOPs of the matrix products on 512 tokens: (forward, forward and backward)."""
    with FlopCounterMode(display=False) as forward:
        loss = model(**on_meta(512)).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    first = forward.get_total_flops()
    return first, first + backward.get_total_flops()


forward, full = flops(llama)
rule = 2 * count(llama) * 512
print(f"forward   {forward / 1e12:5.2f} TFLOP, {forward / rule:.3f} of 2 · N · tokens")
print(f"full step {full / 1e12:5.2f} TFLOP, {full / forward:.3f} times forward")

# %% [markdown]
# Backward multiplies twice where forward multiplies once: for the gradient of the
# input, and for that of the weight. Hence the rule of 6 FLOPs for each parameter and
# token.


# %%
def lora_step(r, targets=None, checkpointing=False):
    model = add_thin(meta_model("Llama-2-7B"), r, targets).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    return flops(model)[1]


steps = {
    "LoRA r=8, q and v": lora_step(8, QV),
    "LoRA r=16, all": lora_step(16),
    "  and checkpointing": lora_step(16, checkpointing=True),
}
for method, step in steps.items():
    print(f"{method:20}{step / 1e12:6.2f} TFLOP, {step / full:.2f} of a full step")

# %% [markdown]
# **Verdict on the 10,000: wrong for compute too.** About a third is saved, and
# checkpointing, which runs forward twice, spends that again. LoRA saves memory first.
#
# ## 12 Will it fit my GPU?
# Everything at the peak of a step, with estimates for activations and logits and 2 GB left
# for the driver. (As backward goes down the model, gradients take the place of activations;
# the larger of the two counts.) Batches of 4 × 512 tokens, checkpointing, r = 16 on all linear
# layers. Each cell: GB needed, and the smallest card.

# %%
Markdown(fit_table(batch=4, tokens=512, checkpointing=True))

# %% [markdown]
# The next cell gives the same with sliders; it needs a running kernel. Try: what makes
# Llama-3.1-8B with LoRA outgrow a card of 24 GB first, more tokens or a higher rank?

# %% tags=["nbval-ignore-output"]
calculator()
assert "24 GB card" in fit_table()

# %% [markdown]
# ## Takeaways
# - Full fine-tuning with AdamW holds 16 bytes for each parameter, in float32 and in mixed
#   precision, plus activations and logits.
# - LoRA keeps 2 of them for a frozen weight, and pays 16 for the few numbers it trains.
# - QLoRA brings a frozen weight of a linear layer down to about half a byte.
# - Activations and logits grow with the batch and the text, whatever the method. PEFT's
#   float32 adapter on a bf16 base keeps more activations than full fine-tuning.
# - A LoRA step takes about two thirds of the FLOPs.
#
# ## Problems without code
# 1. SGD without momentum steps along the gradient itself: it keeps no $m$ and no $v$.
#    What is left of the 16 bytes?
# 2. Why does LoRA on q and v keep fewer activations than LoRA on all layers?
# 3. What does QLoRA leave in bf16, and why does that matter more for 0.5B than for 70B?
# 4. Eight cards do 10¹⁵ FLOPs a second together. How long do 20 million tokens take
#    with a 13B model, at 6 FLOPs for each parameter and token?
#
# **Next:** [02 · Updates are low-rank](02_updates_are_low_rank.ipynb). **Exercises:**
# [01](../exercises/01_what_full_fine_tuning_costs.ipynb). **Sources:**
# [LoRA](https://arxiv.org/abs/2106.09685) §4.2;
# [QLoRA](https://arxiv.org/abs/2305.14314) §2–4; 16 bytes: [Biderman et al.
# 2024](https://arxiv.org/abs/2405.09673) appendix H; activations: [Korthikanti et al.
# 2022](https://arxiv.org/abs/2205.05198).
