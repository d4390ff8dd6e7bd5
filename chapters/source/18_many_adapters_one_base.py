# %% [markdown]
# # 18 Many adapters, one base; small devices
#
# Three departments or three thousand customers, each with an adapter of its own. How does
# one base serve them all, and how small may the machine be? About 70 minutes (two of them
# computing), after [chapter 12](12_merging_and_shipping.ipynb).
#
# You will be able to
# - run a batch in which every row has its own adapter;
# - keep on disk what does not fit, and say what each request waits for;
# - serve base and adapters with llama.cpp, in 16, 8 and 4 bits.

# %%
import copy
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import nn

# %%
from lora_course.adapters import lora_state_dict, read_adapter, save_adapter
from lora_course.bridges.engine import edge
from lora_course.bridges.gguf import finish, fits_engine, write_sizes, write_tensor, write_tokenizer
from lora_course.bridges.shipping import distance, fastest, measure
from lora_course.costs.shapes import meta_model
from lora_course.inject import find_targets, inject_lora, lora_layers, widths
from lora_course.kit.data import answers, batches, chat_prompt, load_task
from lora_course.kit.models import is_shipped, load_base, load_tokenizer, quiet
from lora_course.kit.plots import COLORS, figure, show
from lora_course.merge import merge
from lora_course.train import train

quiet()
from peft import LoraConfig, get_peft_model

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
base, tokenizer = load_base().to(DEVICE), load_tokenizer()
data = os.environ.get("LORA_COURSE_DATA")
DEPARTMENTS = ("clinic", "court", "helpdesk")
tasks = {name: load_task(data or name) for name in (*DEPARTMENTS, "questions")}
row = tasks["court"]["test"][0]
print(row["prompt"], row["completion"], sep="\n-> ")

# %% [markdown]
# ## 1 Customers
#
# Each department has its own form, and nothing in the report says which one is wanted: the
# adapter says it (chapter 07). Here they also have ranks of their own: 4, 8 and 16.

# %%
def adapter_for(name, r, size, steps):
    """A copy of the base with an adapter trained on one task."""
    model = inject_lora(copy.deepcopy(base), r=r, lora_alpha=2 * r, seed=r)
    rows = batches(tasks[name]["train"], tokenizer, size, steps, seed=0)
    train(model, rows, steps, lr=1e-2 if is_shipped() else 2e-4)
    return model.requires_grad_(False)


RANKS = {"clinic": 4, "court": 8, "helpdesk": 16}
trained = {name: adapter_for(name, r, 8, 40) for name, r in RANKS.items()}

# %%
quiz = {n: t["test"].select(range(min(50, len(t["test"])))) for n, t in tasks.items()}
right = lambda model, name: measure(model.to("cpu"), tokenizer, quiz[name])[0]  # noqa: E731
before = {name: right(copy.deepcopy(base), name) for name in DEPARTMENTS}
after = {name: right(copy.deepcopy(model), name) for name, model in trained.items()}
for name in DEPARTMENTS:
    print(f"{name:9} base over 10 %: {before[name] > 0.1}, adapter over 80 %: {after[name] > 0.8}")
assert not is_shipped() or (max(before.values()) < 0.1 and min(after.values()) > 0.8)

# %% [markdown]
# ## 2 A batch of strangers
#
# One report comes in for each department, at the same moment. A merged model knows one form
# only. Swapping adapters serves the rows one after the other, and a batch of one row wastes
# the machine: the weights are read for a single token.
#
# But the base's product, the large one, is the **same** for all rows. Only the small update
# differs: row b wants
#
# $$y_b = W x_b + s_{k(b)}\, B_{k(b)} A_{k(b)}\, x_b$$
#
# **Predict:** with all A in one tensor (K, r, in), which operation gives each row its own?

# %%
torch.manual_seed(0)
W = torch.randn(7, 5)  # (out, in), the base
A, B = torch.randn(3, 2, 5), torch.randn(3, 7, 2)  # (K, r, in), (K, out, r); scale in B
rows = torch.tensor([2, 0, 0, 1])  # the adapter of each row
x = torch.randn(4, 6, 5)  # (B, T, in)
one_by_one = [x[b] @ W.T + x[b] @ A[k].T @ B[k].T for b, k in enumerate(rows)]
at_once = x @ W.T + torch.bmm(torch.bmm(x, A[rows].mT), B[rows].mT)  # (B, T, out)
print("picked", tuple(A[rows].shape), "equal:", torch.allclose(at_once, torch.stack(one_by_one)))

# %% [markdown]
# An index *gathers* a pair for each row; `bmm` multiplies row by row: two products for all.
#
# Ranks differ, a tensor has one shape. **Predict:** what do zeros do in the missing rows
# of A? How is a row served that wants **no** adapter?

# %%
wide_A, wide_B = torch.zeros(4, 3, 5), torch.zeros(4, 7, 3)  # room for r = 3, and for one more
wide_A[:3, :2], wide_B[:3, :, :2] = A, B
padded = x @ W.T + torch.bmm(torch.bmm(x, wide_A[rows].mT), wide_B[rows].mT)
print("padded to rank 3, equal:", torch.allclose(padded, at_once, atol=1e-5))
last = torch.bmm(torch.bmm(x, wide_A[[-1] * 4].mT), wide_B[[-1] * 4].mT)
print("the last pair is all zeros, its update too:", not last.any())

# %% [markdown]
# **[Exercise 18.1](../exercises/18_many_adapters_one_base.ipynb)**: the same for requests that
# stand one after the other without padding, as real engines keep them. ([The
# exercises](../exercises/18_many_adapters_one_base.ipynb); `lora-course start 18`.)
#
# The course's version: `gather` makes room, `stack` fills it, `pick` says whose row is whose.

# %% tags=["quote"]
from lora_course.fast.gathered import GatheredLoRA, gather, gathered_layers, pick, stack

# %%
many = gather(copy.deepcopy(base))
adapters = [(lora_state_dict(m), 2.0) for m in trained.values()]  # scaling = lora_alpha / r
stack(many, adapters)
ids = torch.randint(10, len(tokenizer), (5, 12), device=DEVICE)
pick(many, whose := [1, -1, 0, 2, 1])
with torch.no_grad():
    mixed = many(input_ids=ids).logits  # (5, T, vocabulary)
    models = [*trained.values(), base]
    alone = [models[k](input_ids=ids[b : b + 1]).logits for b, k in enumerate(whose)]
print("each row as with its adapter alone:", distance(mixed, torch.cat(alone)) < 1e-5)

# %% [markdown]
# **Predict:** one report, three times in one batch. What are the three answers?

# %%
pick(many, [0, 1, 2])
told = answers(many, tokenizer, [tasks["court"]["test"][1]["prompt"]] * 3)
for name, text in zip(DEPARTMENTS, told, strict=True):
    print(f"{name:9} {text[:60]}")

# %% [markdown]
# > **Myth check.** *For many tasks at once take bottleneck adapters, which can be swapped;
# > LoRA is second best, and large firms should serve bottlenecks by LoRAX.* You just saw a
# > batch of three. And [LoRAX](https://github.com/predibase/lorax) serves **LoRA** adapters
# > of PEFT and Ludwig; bottlenecks are no format of it. **Verdict: wrong.**
#
# PEFT has a mixed batch as well: `adapter_names`. In every layer it goes through the
# adapters of the batch, cuts out the rows of each, and multiplies. **Predict:** how does its
# time grow with the number of adapters? And the gathered one?
#
# The batch has 64 rows of one token each: a step of generation, in which every request gets
# its next token. A third way goes through the adapters outside of the model, and runs it once
# for each.

# %%
warnings.filterwarnings("ignore", ".*fan_in_fan_out.*")  # PEFT, when it meets a Conv1D
how = dict(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
how = LoraConfig(r=8, lora_alpha=16, **how)
peft = get_peft_model(copy.deepcopy(base), how, "a0").eval()
for k in range(1, K := 64):
    peft.add_adapter(f"a{k}", how)
places = {n: peft.base_model.model.get_submodule(n) for n in find_targets(base, "all-linear")}
parts = [(f"{n}.lora_{c}", getattr(m, f"lora_{c}")) for n, m in places.items() for c in "AB"]
peft.requires_grad_(False).to(DEVICE)
strangers = [({n: part[f"a{k}"].weight for n, part in parts}, 2.0) for k in range(K)]

# %% tags=["nbval-ignore-output"]
stack(many, strangers)
tokens = torch.randint(10, len(tokenizer), (K, 1), device=DEVICE)
COUNTS, seconds, off = (1, 2, 4, 8, 16, 32, 64), {}, []


def in_turn(count):
    for k in range(count):
        pick(many, [k] * len(tokens[k::count]))
        many(input_ids=tokens[k::count])


for count in 6 * COUNTS:  # six rounds, so that whatever slows the machine slows all of them
    pick(many, [b % count for b in range(K)])
    names = [f"a{b % count}" for b in range(K)]
    off.append(distance(many(tokens).logits, peft(input_ids=tokens, adapter_names=names).logits))
    calls = {"base alone": base, "gathered": many}
    calls["PEFT"] = lambda input_ids, who=names: peft(input_ids=input_ids, adapter_names=who)
    calls["one by one"] = lambda input_ids, count=count: in_turn(count)
    for name, taken in fastest(calls, tokens, turns=1).items():
        seconds[name, count] = min(taken, seconds.get((name, count), taken))
gain = {count: seconds["PEFT", count] / seconds["gathered", count] for count in COUNTS}
print("equal to PEFT's:", max(off) < 1e-5)
print("times as fast:", {count: round(times, 1) for count, times in gain.items()})
assert max(off) < 1e-5 and (not is_shipped() or gain[32] > 3)

# %%
LOOKS = {"base alone": "grey x", "gathered": "lora o", "PEFT": "full s", "one by one": "base v"}
fig, ax = figure(7, 3.2)
for name, look in LOOKS.items():
    color, mark = look.split()
    speed = [K / seconds[name, count] for count in COUNTS]
    ax.loglog(COUNTS, speed, mark + "-", ms=5, color=COLORS[color], label=name)
ax.set(xlabel="different adapters among 64 rows", ylabel="tokens per second", xticks=COUNTS)
ax.set_xticklabels(COUNTS)
ax.minorticks_off()
ax.legend(fontsize=8)
show(
    fig,
    caption="Tokens per second of one forward pass of 64 rows. The gathered product does not "
    "mind how many adapters there are; the loops do.",
    alt="Four lines over the number of adapters, 1 to 64, both axes logarithmic. Base alone "
    "and gathered are flat, gathered below it; PEFT falls with the number of adapters, and one "
    "by one falls steepest.",
)
loops = min(seconds[name, 64] for name in ("PEFT", "one by one"))
assert not is_shipped() or loops > 1.5 * seconds["gathered", 64]

# %% [markdown]
# The loops make small products for each adapter, and a small product costs its start. Punica
# ([Chen et al. 2023](https://arxiv.org/abs/2310.18547)) made this one GPU kernel: up to 12
# times the throughput of serving without it, for 2 ms a token. It reads A and B where they
# lie; ours copies the picked pairs, once for a batch, and that copy is not in the times of
# «gathered» (in those of «one by one» it is).
#
# ## 3 What 64 customers weigh
#
# **Predict:** how much smaller is one base with 64 adapters than 64 merged models, here and
# for Llama-3.1-8B in 16 bits with r = 16?

# %%
def fleet(model, r, size, count=64):
    """(bytes of merged models, bytes of one base with adapters); size: bytes a number."""
    whole, layers = model.num_parameters(), find_targets(model, "all-linear")
    adapter = sum(r * sum(widths(model.get_submodule(n))) for n in layers)
    return count * whole * size, (whole + count * adapter) * size


for name, model, r, size in (("base", base, 8, 4), ("8B", meta_model("Llama-3.1-8B"), 16, 2)):
    merged, shared = fleet(model, r, size)
    print(f"{name:5} merged {merged / 1e9:8,.2f} GB, shared {shared / 1e9:6,.2f} GB, "
          f"a {merged / shared:.0f}th")  # fmt: skip
counted = sum(sum(t.nbytes for t in factors.values()) for factors, _ in strangers)
rooms = [(m.factors_A[:K], m.factors_B[:K]) for m in gathered_layers(many).values()]
stacked = sum(A.nbytes + B.nbytes for A, B in rooms)
print("the stack holds the adapters' bytes:", stacked == counted)

# %% [markdown]
# On `base` an adapter is a large share of a small model. On 8B it is half a percent.
#
# Zeros have bytes, too. **Predict:** 63 adapters of rank 4 and one of rank 64. How much of
# the stack is padding?

# %%
import random
from collections import Counter

ranks = [4] * 63 + [64]
print(f"padding: {1 - sum(ranks) / (len(ranks) * max(ranks)):.0%} of the stack")
print(f"for the mixed ranks of the departments: {1 - (4 + 8 + 16) / (3 * 16):.0%}")

# %% [markdown]
# One customer with a large rank makes everybody's seat large, and the product with it. vLLM has
# this as `--max-lora-rank`; S-LoRA pages A and B by rank instead ([Sheng et al.
# 2023](https://arxiv.org/abs/2311.03285)).
# **[Exercise 18.2](../exercises/18_many_adapters_one_base.ipynb)**: the bytes of a fleet.
#
# ## 4 More adapters than memory
#
# What does not fit waits on disk. Which adapter goes when another is wanted? The one that was used
# longest ago (*LRU*, least recently used), or the one that was asked for least (*LFU*, least
# frequently used)? **[Exercise 18.3](../exercises/18_many_adapters_one_base.ipynb)**: choose who
# goes, but nobody who is at work.

# %% tags=["quote"]
from lora_course.fast.cache import RULES, AdapterCache, adapter_bytes, zipf

# %% [markdown]
# A few customers ask often, most hardly ever. *Zipf's law*: number k of the list is
# asked for with weight 1 / k. **Predict:** the hit rate with room for a quarter of 64
# adapters, and which rule has more.

# %%
def hit_rate(trace, room, rule):
    """The share of requests whose adapter was in memory; each adapter has size 1."""
    cache = AdapterCache(lambda name: name, lambda adapter: 1, room, rule)
    for name in trace:
        cache.get(name)
    return cache.hits / len(trace)


trace, ROOMS = zipf(64, 3000, seed=0), (2, 4, 8, 16, 32, 48)
rates = {rule: [hit_rate(trace, room, rule) for room in ROOMS] for rule in RULES}
weights = [1 / k for k in range(1, 65)]
known = [sum(weights[:room]) / sum(weights) for room in ROOMS]  # the top ones, never let go
for rule in RULES:
    print(f"{rule:8}", " ".join(f"{rate:4.0%}" for rate in rates[rule]))
print(f"{'oracle':8}", " ".join(f"{rate:4.0%}" for rate in known))

# %%
LINES = {"recent": ("base", "o"), "popular": ("lora", "s"), "oracle": ("grey", "^")}
rates["oracle"] = known
fig, ax = figure(6.4, 3)
for name, (color, mark) in LINES.items():
    ax.plot(ROOMS, rates[name], mark + "-", ms=5, color=COLORS[color], label=name)
ax.set(xlabel="adapters in memory, of 64", ylabel="hit rate", ylim=(0, 1))
ax.legend(fontsize=8, loc="lower right")
show(
    fig,
    caption="3,000 requests by Zipf's law. Room for a quarter of the adapters serves well over "
    "half of the requests from memory.",
    alt="Three rising curves of hit rate over the number of adapters in memory, 2 to 48. "
    "Recent is lowest, popular above it, and the line of the most popular close to that.",
)
at = ROOMS.index(16)
assert all(p >= r for p, r in zip(rates["popular"], rates["recent"], strict=True))
assert rates["recent"][at] > 0.5

# %% [markdown]
# So popularity wins? (The *oracle* knew the most popular ones and never let them go.) That
# trace never changes. **Predict:** at noon other customers wake up, and the order of popularity
# turns round.

# %%
morning, afternoon = zipf(64, 1500, seed=1), [63 - k for k in zipf(64, 1500, seed=2)]
for rule in RULES:
    cache, half = AdapterCache(lambda name: name, lambda adapter: 1, 16, rule), []
    for part in (morning, afternoon):
        start = cache.hits
        for name in part:
            cache.get(name)
        half.append((cache.hits - start) / len(part))
    print(f"{rule:8} morning {half[0]:.0%}, afternoon {half[1]:.0%}")

# %% [markdown]
# Old fame blocks the seats; LRU forgets. (vLLM's adapter manager is an LRU cache.)
#
# Now with files, a model and a clock: 64 adapters on disk. **Predict:** what does a miss cost
# on top of a forward pass, and which percentile sees it?

# %%
shelf = Path(tempfile.mkdtemp())
model = inject_lora(copy.deepcopy(base), r=8, lora_alpha=16, seed=0)
for k, (factors, _) in enumerate(strangers):
    for name, place in lora_state_dict(model).items():
        place.copy_(factors[name])
    save_adapter(model, shelf / f"{k}.safetensors")


def from_disk(k):
    header, factors = read_adapter(shelf / f"{k}.safetensors")
    return factors, header["scaling"]


one = adapter_bytes(from_disk(0))
assert one == adapter_bytes(strangers[0])
print(f"64 files, {one / 4:,.0f} numbers each")

# %% tags=["nbval-ignore-output"]
def serve_trace(trace, room):
    """[(seconds, of which for the adapter, was it a hit)] of requests in turn, and the cache."""
    cache, log = AdapterCache(from_disk, adapter_bytes, room * one), []
    for k in trace:
        start, misses = time.perf_counter(), cache.misses
        adapter = cache.get(k)
        waited = time.perf_counter() - start
        stack(many, [adapter])
        pick(many, [0])
        many(ids[:1]).logits.argmax(-1).tolist()
        log.append((time.perf_counter() - start, waited, cache.misses == misses))
    return log, cache


print("room  hits  held MB   ms: median  95 %  99 %   a miss waits")
for room in (4, 16, 64):
    log, cache = serve_trace(zipf(64, 250, seed=3), room)
    cuts = quantiles([1000 * total for total, _, _ in log], n=100)
    wait = {hit: median(w for _, w, was in log if was == hit) for hit in (True, False)}
    print(f"{room:4} {cache.hits / len(log):5.0%} {cache.bytes / 1e6:8.1f}   ", end="")
    print(f"{cuts[49]:10.1f} {cuts[94]:5.1f} {cuts[98]:5.1f} {1000 * wait[False]:10.1f}")
    assert cache.bytes <= room * one and wait[False] > 5 * wait[True]

# %% [markdown]
# A miss waits over five times as long as a hit, but these files come from the system's own
# memory, so it is cheap beside the forward pass. The tail here holds whatever else the
# machine did, too. By arithmetic: an adapter of r = 16 for 8B has 84 MB in 16 bits; a disk of
# 3 GB/s needs 28 ms for it, and a network of 1 Gbit/s two thirds of a second. Then the tail
# is where misses live.
#
# ## 5 Who may share
#
# Three things are shared in a server: the base, a batch, and the *prefix cache*: keys and
# values of a prompt's beginning, kept for the next request that begins alike. **Predict:**
# the court's prompt was read with the court's adapter. May the help desk's answer go on from
# those keys and values?

# %%
text = chat_prompt(tokenizer, row["prompt"])
prompt = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]], device=DEVICE)
stack(many, adapters)


@torch.no_grad()
def last_logits(reader, writer):
    """Logits after the prompt: all but its last token read with one adapter, that with another."""
    pick(many, [reader])
    past = many(prompt[:, :-1]).past_key_values
    pick(many, [writer])
    return many(prompt[:, -1:], past_key_values=past).logits


for reader, writer in ((2, 2), (1, 2), (-1, 2)):
    same = distance(last_logits(reader, writer), last_logits(2, 2)) < 1e-5
    print(f"read with {reader:2}, went on with {writer}: as all with {writer}: {same}")
assert distance(last_logits(1, 2), last_logits(2, 2)) > 1e-3

# %% [markdown]
# No: keys and values were made with B A in them. A prefix belongs to its adapter.
#
# **[Exercise 18.4](../exercises/18_many_adapters_one_base.ipynb)**: which requests share a batch,
# on an engine that mixes and on one that does not.
# **[Exercise 18.5](../exercises/18_many_adapters_one_base.ipynb)**: how much of a prompt comes from
# the prefix cache.
#
# ## 6 A real engine
#
# [llama.cpp](https://github.com/ggml-org/llama.cpp) runs models on CPUs, phones and GPUs. Its
# files are *GGUF*: sizes, tokenizer and weights in one. Weights go in almost as they are; two
# need care.
#
# *Rope* marks places by turning pairs of numbers in each head. transformers pairs number i
# with i + h/2; llama.cpp pairs neighbours. **Predict:** what has to happen to the rows of q
# and k?

# %% tags=["quote"]
from lora_course.bridges.gguf import engine_tensor, rope_rows

# %%
def turned(x, place, neighbours):
    """x (heads, h) after rope at a place, in either pairing."""
    h = x.shape[-1]
    angle = place * 10000.0 ** -(torch.arange(0, h, 2, dtype=x.dtype) / h)  # (h / 2,)
    a, b = (x[:, ::2], x[:, 1::2]) if neighbours else x.chunk(2, -1)
    pair = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return torch.stack(pair, -1).flatten(-2) if neighbours else torch.cat(pair, -1)


q, k = torch.randn(2, 3 * 8, 5, dtype=torch.float64)  # weights of 3 heads of 8
u, v = torch.randn(2, 5, dtype=torch.float64)  # two tokens, at places 7 and 3


def score(q, k, how):
    """What the query of u says to the key of v, in each head."""
    return (turned((q @ u).view(3, 8), 7, how) * turned((k @ v).view(3, 8), 3, how)).sum(-1)


want = score(q, k, False)
print("as they are:  ", torch.allclose(score(q, k, True), want))
print("rows reordered:", torch.allclose(score(rope_rows(q, 3), rope_rows(k, 3), True), want))

# %% [markdown]
# An update is B A: **B** gets the new order, A stays. And `base` uses the
# embedding as head as well; the file holds it once.
#
# `gguf` and `xllamacpp` (llama.cpp for Python) are an extra. Without them the next cells say
# so, and the chapter goes on.

# %% tags=["quote"]
from lora_course.bridges.gguf import KINDS, write_adapter, write_base

# %%
import json
import urllib.request
from importlib.util import find_spec

lacking = [name for name in ("gguf", "xllamacpp") if find_spec(name) is None]
ENGINE, folder = not lacking, Path(tempfile.mkdtemp())
if lacking:
    print(f"Not installed: {', '.join(lacking)}. `pip install -e .[edge]` brings them.")
else:
    try:
        fits_engine(base.config, tokenizer, "F16")
    except ValueError as error:
        ENGINE = print(error)
cpu = copy.deepcopy(base).to("cpu")
if ENGINE:
    for kind in KINDS:
        write_base(cpu, tokenizer, folder / f"base.{kind}.gguf", kind)
    for name, model in trained.items():
        write_adapter(model, folder / f"{name}.gguf", "F16")
        merge(whole := copy.deepcopy(model).to("cpu"))
        write_base(whole, tokenizer, folder / f"{name}.merged.gguf", "F16")
    for path in sorted(folder.glob("*.gguf")):
        print(f"{path.name:22} {path.stat().st_size / 1e6:.2f} MB")

# %% [markdown]
# Three merged files, or one base and three adapter files. Now the server, in this process,
# on this machine's own address; a request names its adapter.

# %% tags=["quote"]
from lora_course.bridges.engine import ask_engine, post, start_engine

# %% [markdown]
# **Predict:** one report, a request for each department and one for the base. How many of the
# greedy answers are PyTorch's, token for token?

# %%
if ENGINE:
    server = start_engine(folder / "base.F32.gguf", [folder / f"{n}.gguf" for n in DEPARTMENTS])
    ids = prompt[0].tolist()
    for place, name in [(None, "base"), *enumerate(DEPARTMENTS)]:
        model = cpu if place is None else trained[name].to("cpu")
        ours = model.generate(prompt.cpu(), max_new_tokens=24, do_sample=False)[0, len(ids) :]
        said = ask_engine(server, ids, place)
        equal = said["tokens"] == ours.tolist()
        print(f"{name:9} equal: {equal}  {said['content'][:50]}")
        assert equal or not is_shipped()

# %% [markdown]
# > **Myth check.** *Text is text: the engine's tokenizer is the same.* It has the same
# > pieces. Our tokenizer puts a space before a text, GPT-2's in llama.cpp does not.

# %%
if ENGINE:
    text = row["prompt"]
    want = tokenizer(text, add_special_tokens=False)["input_ids"]
    for name, sent in {"as it is": text, "with a space": " " + text}.items():
        got = post(server, "/tokenize", {"content": sent})["tokens"]
        print(f"{name:13} same tokens: {got == want}")

# %% [markdown]
# > **Verdict: compare token ids**, or send them, as `ask_engine` does.
#
# Two more habits of llama.cpp's server. Requests with different adapters [are not batched
# together](https://github.com/ggml-org/llama.cpp/tree/master/tools/server): it does not gather.
# And a request that names no adapter gets the scales of the start, not none.
#
# On a GPU, engines that gather; settings to copy, **not run here**:
#
# ```bash
# # vLLM: adapters are PEFT folders (chapter 08); a request names one as its "model"
# vllm serve meta-llama/Llama-3.1-8B-Instruct --enable-lora \
#     --lora-modules clinic=adapters/clinic court=adapters/court \
#     --max-loras 8 --max-lora-rank 16 --max-cpu-loras 64
# # LoRAX: loaded when the first request names it: "parameters": {"adapter_id": "..."}
# docker run --gpus all --shm-size 1g -p 8080:80 -v $PWD/data:/data \
#     ghcr.io/predibase/lorax:latest --model-id mistralai/Mistral-7B-Instruct-v0.1
# ```
#
# `--max-loras` is how many share a batch, `--max-cpu-loras` the room of section 4.
#
# ## 7 Fewer bits
#
# Q8_0 has 32 numbers and one 16-bit scale in a block: 8.5 bits a number. Q4_0 likewise: 4.5
# (chapter 10 built such blocks). A fourth adapter, for `questions`, is trained on the
# float32 base and put on each. **Predict:** bytes, speed, score.

# %%
trained["questions"] = adapter_for("questions", 8, 16, 120)
asked = quiz["questions"]
print("PyTorch, float32, over 80 %:", right(copy.deepcopy(trained["questions"]), "questions") > 0.8)

# %% tags=["nbval-ignore-output"]
def on_engine(kind):
    """MB, ms to load, tokens per second, score of one format; the server is gone at the end."""
    path, start = folder / f"base.{kind}.gguf", time.perf_counter()
    server = start_engine(path, [folder / "questions.gguf"])
    loaded, right, speed = time.perf_counter() - start, 0, []
    for row in asked:
        text = chat_prompt(tokenizer, row["prompt"])
        answer = ask_engine(server, tokenizer(text, add_special_tokens=False)["input_ids"], 0, 16)
        right += answer["content"].strip() == row["completion"]
        speed.append(answer["timings"]["predicted_per_second"])
    return path.stat().st_size / 1e6, loaded * 1e3, median(speed), right / len(asked)


if ENGINE:
    write_adapter(trained["questions"], folder / "questions.gguf", "F16")
    table = {kind: on_engine(kind) for kind in KINDS}
    for kind, (size, load, speed, score) in table.items():
        print(f"{kind:5} {size:5.2f} MB, {load:4.0f} ms, {speed:6,.0f} tokens/s, {score:4.0%}")
    size = {kind: numbers[0] for kind, numbers in table.items()}
    assert size["F32"] > size["F16"] > size["Q8_0"] > size["Q4_0"]
    assert not is_shipped() or min(table[k][3] for k in ("F32", "F16", "Q8_0")) > 0.8

# %% [markdown]
# A model this small fits into a processor's cache. A large one is read from memory for
# every token, and speed follows bytes.
#
# > **Myth check.** *LoRA lowers memory and computation, so that models run on phones.*
# > **Predict** the numbers: base, merged, adapter beside.

# %%
merge(whole := copy.deepcopy(trained["court"]).to("cpu"))
for name, model in {"base": cpu, "merged": whole, "beside": trained["court"]}.items():
    print(f"{name:7} {model.num_parameters() / cpu.num_parameters():.2f} of the base's numbers")

# %% [markdown]
# > **Verdict: misleading.** Merged it is exactly as large, beside it is larger. What shrinks
# > a model is fewer bits (or fewer numbers). LoRA shrinks **training**, and what each further
# > task needs on the device: a file of an adapter.
#
# | another claim about small devices | verdict | where |
# |:--|:--|:--|
# | a model copy for each task, or a small file | right | sections 3 and 6 |
# | merging costs no latency | right | chapters 07, 12 |
# | adapting a model needs less memory | right, for training | chapter 01 |
# | with LoRA one adapts GPT-4 | wrong: it needs the weights | – |
#
# Does it fit, how fast can it be? A token needs all weights and the keys and values so far.
# So: tokens per second ≤ bandwidth / bytes. A Raspberry Pi 5 has up to 16 GB of LPDDR4X, 32
# bits wide at 4,267 MT/s: 17 GB/s. A phone with LPDDR5X at 9,600 MT/s, taken as 64 bits wide:
# 77 GB/s. A quarter of the memory is left to the system. **Predict:** the 8B model on both, in
# 16 and in 4.5 bits.

# %%
DEVICES = {"Pi, 8 GB": (8, 4 * 4.267), "phone, 12 GB": (12, 8 * 9.6)}  # GB, GB/s
for name in ("SmolLM2-135M", "Qwen2.5-0.5B", "Llama-3.1-8B"):
    c = (model := meta_model(name)).config
    pairs = 2 * c.num_hidden_layers * c.num_key_value_heads * c.hidden_size / c.num_attention_heads
    for bits in (16, 4.5):  # and a cache of 2,048 tokens in 16 bits
        need = (model.num_parameters() * bits / 8 + pairs * 2 * 2048) / 1e9
        most = {d: speed / need * (need < 0.75 * room) for d, (room, speed) in DEVICES.items()}
        told = [f"{d}: " + (f"at most {s:3.0f}/s" if s else "no room") for d, s in most.items()]
        print(f"{name:13} {bits:4} bits {need:5.2f} GB;", "; ".join(told))

# %% [markdown]
# A bound: a processor can be slower. For a phone's chip [its maker
# names](https://www.fonearena.com/blog/408835/qualcomm-snapdragon-8-gen-3-features.html) up to
# 20 tokens per second, and models of up to 10 billion numbers. Both at once need fewer bits.
#
# ## Takeaways
#
# - The base multiplies all rows at once; an index gives each row its A and B.
# - Gathered time hardly depends on how many adapters a batch has. A loop's does.
# - A cache decides what a request waits for. Keys and values belong to their adapter.
# - Bits make a model small; adapters make its next task small.
#
# ## Problems without code
#
# 1. 1,000 adapters of an 8B model, each asked for once a day. What do you keep where?
# 2. Why can two merged models not share a batch, though their weights have the same shapes?
# 3. A customer's answers change when another customer is busy. Where do you look?
# 4. An adapter was trained beside a 4-bit base. You put it on Q4_0. Is that the same base?
# 5. Q4_0 gives 4.5 bits a number, and the file of `base` is larger than that. Why?
#
# **Before:** [17 Fast and wide](17_fast_and_wide.ipynb). **Next:** [19 The
# clinic](19_the_clinic.ipynb). **Sources:** [S-LoRA](https://arxiv.org/abs/2311.03285),
# [Punica](https://arxiv.org/abs/2310.18547), [llama.cpp's
# server](https://github.com/ggml-org/llama.cpp/tree/master/tools/server),
# [vLLM](https://docs.vllm.ai/en/latest/features/lora.html), [Raspberry Pi
# 5](https://www.raspberrypi.com/news/introducing-raspberry-pi-5/).
