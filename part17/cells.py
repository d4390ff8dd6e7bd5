# %% [markdown]
# ## W1 Wide: several processes, one result
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
import tempfile
from pathlib import Path
from statistics import mean

import psutil

from lora_course.adapters import lora_state_dict, read_adapter
from lora_course.costs.gpu_records import load_records, name_of
from lora_course.costs.memory import GB, GIB
from lora_course.fast.wide import train_wide

rows = load_task()["train"]
model = inject_lora(load_base(), r=8, seed=0)  # on the CPU: it is compared with ranks there
weights = [p for p in model.parameters() if p.requires_grad]
for p in weights:
    torch.nn.init.normal_(p, std=0.1)
batch = next(batches(rows, tokenizer, 6, steps=1, seed=0))
# The prompt is learned as well, for once, so that rows ask for different numbers of tokens.
batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)

# %%
def gap(gradients, right):
    """How far some gradients lie from the right ones, as a share of their length."""
    wrong = sum((g - r).square().sum() for g, r in zip(gradients, right, strict=True))
    return (wrong / sum(r.square().sum() for r in right)).sqrt().item()


right = torch.autograd.grad(model(**batch).loss, weights)
shares = [{key: value[rank::2] for key, value in batch.items()} for rank in (0, 1)]
tokens = [(share["labels"][:, 1:] != -100).sum() for share in shares]  # what is asked for
each = [torch.autograd.grad(model(**share).loss, weights) for share in shares]
of_ranks = [(a + b) / 2 for a, b in zip(*each, strict=True)]
of_tokens = [(a * tokens[0] + b * tokens[1]) / sum(tokens) for a, b in zip(*each, strict=True)]
print("tokens asked for by the two ranks:", [n.item() for n in tokens])
print("mean of ranks is the whole batch's gradient:", gap(of_ranks, right) < 1e-3)
print("weighted by tokens it is:", gap(of_tokens, right) < 1e-3)
assert gap(of_tokens, right) < 1e-3 and (gap(of_ranks, right) > 1e-3 or tokens[0] == tokens[1])

# %% [markdown]
# Only where both have equally many tokens. So a rank divides the **sum** of its losses by
# its fair share of *all* tokens. (Exercise 17.3 had the same trap in time; here it is in
# space.) These two are all that changes in a step:

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
from lora_course.fast.ranks import launch

SCRIPT, folder = "lora_course.fast.wide", Path(tempfile.mkdtemp())


def told(lines):
    """What the ranks said, in order, without the launcher's words."""
    said = [line for line in lines if line.startswith(("rank", "loss", "going"))]
    return "\n".join(sorted(line for line in said if "process" not in line))


alone = inject_lora(load_base(), r=8, seed=0)
optimizer = torch.optim.AdamW([p for p in alone.parameters() if p.requires_grad], lr=1e-3)
data = batches(rows, tokenizer, 8, steps=10, seed=0)
losses = train_wide(alone, optimizer, data, 10, rank=0, world=1, checkpoint=folder / "alone.pt")
print(f"alone: loss {losses[0]:.2f} -> {losses[-1]:.2f}")
drops = any(m.p for m in alone.modules() if isinstance(m, torch.nn.Dropout))  # not in the course's

# %%
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
# ## W2 The base in shards
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
# Pieces must be equally long to be gathered in one message, so the last ones are filled up:
# 16 ranks store 16 rows of an A that has 8. Gradients are stored alike; AdamW's states
# only for true rows.
#
# **Exercise 17.4**: the bytes on a rank. In code FSDP is one call for each group of
# tensors that are gathered together:

# %% tags=["quote"]
from lora_course.fast.shards import shard, whole, local  # noqa: F401

# %%
expected = {}
for world in (1, 2):
    base = sum(4 * shard_numbers(p.shape, world) for p in alone.parameters() if not p.requires_grad)
    adapter = sum(4 * shard_numbers(p.shape, world) for p in alone.parameters() if p.requires_grad)
    expected[world] = (
        f"holds weights {base + adapter:,}, gradients {adapter:,}, optimizer {2 * adapter:,} bytes"
    )
print("predicted, whole:  a rank", expected[1])
print("predicted, shards: a rank", expected[2])

# %%
code, lines = launch(SCRIPT, "--cpu", "--out", folder / "shards", "--shard", ranks=2)
assert code == 0, "\n".join(lines)
print(told(lines))
if is_shipped():  # every first axis is even: both ranks hold the same
    assert told(lines).count(expected[2]) == 2

# %% [markdown]
# To the byte. What is not in these lines: activations, and the block that is whole for a
# moment.
#
# The adapter was in shards too. `full_tensor()` gathers it: **all** ranks must ask, or
# those that ask wait for ever. Then rank 0 writes one ordinary file.

# %%
from lora_course.adapters import load_adapter

fresh = inject_lora(load_base(), r=8, seed=1)
header = load_adapter(fresh, folder / "shards" / "adapter.safetensors")
shards = lora_state_dict(fresh)
off = gap([shards[name] for name in one], list(one.values()))
print("r of the file:", header["r"], "  the same adapter again:", off < 1e-3)
assert off < 1e-3 or drops  # each rank drops other inputs

# %% [markdown]
# ## W3 A rank dies
#
# Out of memory, a broken card: with many ranks one of them dies, sooner or later.
#
# **Predict:** two ranks, a checkpoint every 5 steps. Rank 1 is killed somewhere. What does
# rank 0 do, which waits for its gradients? Where does the next start begin, on *one* rank?

# %% tags=["nbval-ignore-output"]
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

# %% [markdown]
# The connection broke, and rank 0 said so and ended; the launcher ended with an error, and
# nothing was left running. Without a timeout (`join` sets two minutes) a rank that hangs
# instead of dying would keep the others waiting for half an hour.
#
# The checkpoint holds whole tensors, so any number of ranks can go on:

# %% tags=["nbval-ignore-output"]
code, lines = launch(SCRIPT, *OPTIONS, ranks=1)
print(told(lines))
assert code == 0 and any(line.startswith("going on after step") for line in lines)
assert (folder / "killed" / "adapter.safetensors").exists()

# %% [markdown]
# **Exercise 17.5**: two ranks that drift apart, and why.
#
# ## W4 Four bits in shards
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
# (bitsandbytes' guide «FSDP-QLoRA»; PEFT's guide «Fully Sharded Data Parallel». The same
# page: 70B on two 24 GB cards, 19.6 GB on each and 107 GB of main memory; without
# offloading 35.6 GB. No merging while sharded, and `paged_adamw_8bit` fails when it saves.)
#
# `fully_shard` is FSDP 2 and cuts each tensor by itself. **Predict:** does it need the
# storage type? Our base is packed into bytes. And are its scales cut as well?

# %%
code, lines = launch(SCRIPT, "--cpu", "--out", folder / "four", "--shard", "--four-bit", ranks=2)
assert code == 0, "\n".join(lines)
print(told(lines))

# %% [markdown]
# It runs with bytes. A scale is no parameter: `fully_shard` does not know it, and **every
# rank keeps all scales**, an eighth of a bit for each weight (chapter 10).
#
# ## W5 The planner
#
# Which cards, how many, for how long? What chapter 01 counts for one card, plus shards:

# %% tags=["quote"]
from lora_course.costs.planner import plan_run, rank_bytes  # noqa: F401

# %% tags=["quote"]
from lora_course.costs.planner import step_flops, share_of_peak, hours  # noqa: F401

# %% [markdown]
# Is it right? The stored runs of an H100 say (one card). A **share of the peak** is what a
# run makes of the 989 TFLOP/s in the data sheet; for each method its mean share is used.

# %%
from lora_course.costs.planner import PEAK, gathered_each_step, rank_peak

records = load_records("results")
share = {
    method: mean(share_of_peak(r) for r in records if r["method"] == method and not r["prepare"])
    for method in ("full", "lora", "qlora")
}
lines = ["| run | bytes, predicted / measured | time, predicted / measured |", "|:--|--:|--:|"]
for run in records:
    size = rank_peak(run) / run["peak"]
    time = hours(run, 1e6, share[run["method"]]) * 3600 * run["tokens_per_second"] / 1e6
    lines.append(f"| {name_of(run)} | {size:.2f} | {time:.2f} |")
    assert 0.9 < size < 1.1 and 0.75 < time < 1.25
print({method: round(value, 2) for method, value in share.items()})
Markdown("\n".join(lines))

# %% [markdown]
# Bytes are exact; time is not. The share is not a constant: it depends on tokens per step,
# method and code (these runs had 1,024 tokens and PEFT). Measure ten steps of *yours*, put
# them into `share_of_peak`, then plan.
#
# **Predict:** 70B by LoRA on 2 cards, then 8. Which parts of a card's bytes shrink to a
# quarter?

# %%
GROUPS = {
    "base": (["base"], "base"),
    "adapter, gradients, states": (["adapter", "gradients", "optimizer"], "lora"),
    "gathered": (["gathered"], "extra"),
    "activations, logits": (["activations", "logits"], "qlora"),
}
cases = [(method, cards) for method in ("full", "lora", "qlora") for cards in (1, 2, 4, 8)]
found = [rank_bytes(plan_run("Llama-2-70B", m, 2, 2048), cards, True) for m, cards in cases]

# %%
fig, ax = figure(7, 3.6)
left = [0.0] * len(cases)
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
# gathered for a moment.
#
# Sharding is paid in messages: every card receives the weights of all others, forward and
# again backward. For 20 million tokens:

# %%
lines = ["| 8 × H100 | GB a card | hours | GB received a step | at 400 GB/s | at 12 GB/s |"]
lines.append("|:--|--:|--:|--:|--:|--:|")
for method in ("full", "lora", "qlora"):
    run = plan_run("Llama-2-70B", method, 2, 2048)
    size, traffic = rank_peak(run, 8, sharded=True) / GB, gathered_each_step(run, 8) / GB
    needed = hours(run, 20e6, share[method], cards=8)
    step = needed * 3600 / (20e6 / (8 * 2 * 2048))
    cells = [f"{size:.0f}", f"{needed:.1f}", f"{traffic:.0f}"]
    cells += [f"{traffic / speed / step:.0%} of a step" for speed in (400, 12)]
    lines.append(f"| {method} | " + " | ".join(cells) + " |")
Markdown("\n".join(lines))

# %% [markdown]
# Between cards of one machine (NVLink, hundreds of GB/s) the messages hide behind the
# work. Between machines (100 Gbit/s is 12 GB/s) they are the work: shard within a
# machine, copy between machines (`HSDP`), or fit the base on one card in 4 bits.
#
# > **Myth check.** *Fine-tuning a 13B model on eight A100 takes weeks.*

# %%
run = plan_run("Llama-2-13B", "full", 4, 1024)
for tokens, words in ((20e6, "three epochs of a 52,000-row instruction set"), (15e9, "15 billion")):
    days = hours(run, tokens, share["full"], cards=8, peak=PEAK["A100"]) / 24
    print(f"{words}: {days:.2g} days" if days > 1 else f"{words}: {60 * 24 * days:.0f} minutes")
print(f"on each card: {rank_peak(run, 8, sharded=True) / GB:.0f} GB")

# %% [markdown]
# > It depends on the tokens alone. A billion tokens of continued training take days or
# > weeks; an instruction set takes an hour. Memory is why eight cards are needed, and with
# > LoRA or QLoRA they are not.
#
# ## W6 Several machines
#
# The same script. Every machine runs the launcher once; they meet at one address. To
# copy; **not run here**:
#
# ```bash
# # on each of 2 machines with 8 cards; node0 is the first one's name
# torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-id 17 \
#     --rdzv-endpoint node0:29500 --max-restarts 3 \
#     -m lora_course.fast.wide --out /shared/run --shard
#
# # the same by accelerate; --machine_rank is 0 on the first and 1 on the second
# accelerate launch --multi_gpu --num_machines 2 --num_processes 16 --machine_rank 0 \
#     --main_process_ip node0 --main_process_port 29500 \
#     -m lora_course.fast.wide --out /shared/run --shard
# ```
#
# ```bash
# #!/bin/bash
# #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --time=04:00:00 --requeue
# head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-backend c10d \
#     --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:29500" \
#     -m lora_course.fast.wide --out /shared/run --shard
# ```
#
# `/shared` must be a disk that all see: the checkpoint lies there. One Slurm task a
# machine, because torchrun starts the ranks; `--requeue` starts a job again whose machine
# died, and the script goes on from its checkpoint; `--max-restarts` does so for a rank.
