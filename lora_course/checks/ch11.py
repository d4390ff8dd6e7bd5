"""Checks of chapter 11: budget, settings, checkpointing, layers kept out, no repacking."""

import numpy as np

from lora_course.checks.core import Check, Verdict, array, close, tensor
from lora_course.checks.values import Refused, kind


# 11.1 The budget
def make_budget(seed):
    rng = np.random.default_rng(seed + 1100)
    sides = 1024 * rng.choice(np.arange(3, 9), size=(4, 2))  # (matrix, out and in)
    sides[0, 0] = sides[0, 1] + 1024  # never all square
    return {
        "shapes": sides,
        "rest": np.array(int(rng.integers(6, 20)) * 1_000_000),
        "r": np.array(rng.choice([16, 32, 64])),
        "tokens": np.array(128 * int(rng.integers(3, 20))),
        "vocabulary": np.array(1000 * int(rng.integers(30, 150))),
    }


def probe_budget(namespace, a):
    shapes = [tuple(int(n) for n in shape) for shape in a["shapes"]]
    rest, r, tokens, vocabulary = (int(a[k]) for k in ("rest", "r", "tokens", "vocabulary"))
    made = {}
    for prepared in (False, True):
        got = namespace["step_bytes"](list(shapes), rest, r, tokens, vocabulary, prepared)
        made[f"parts_{int(prepared)}"] = array(got, "the result").astype(float)
    return made


def judge_budget(inputs, outputs):
    rest, r = float(inputs["rest"]), float(inputs["r"])
    out, into = inputs["shapes"].T.astype(float)
    n, p = (out * into).sum(), r * (out + into).sum()
    logits = 4.0 * float(inputs["tokens"]) * float(inputs["vocabulary"])
    packed = n / 2 + n / 64 + 4 * n / 64 / 256
    near = lambda a, b: bool(abs(a - b) <= 3e-4 * abs(b))  # noqa: E731
    for prepared in (0, 1):
        parts = outputs[f"parts_{prepared}"]
        if parts.shape != (4,) or not np.all(np.isfinite(parts)):
            return Verdict(0.0, "other", f"the result has the shape {parts.shape}", "four numbers")
        width = 4 if prepared else 2
        weights, gradients, optimizer, logit = (float(v) for v in parts)
        known = {  # part: (seen, right, {wrong value: key})
            "gradients": (
                gradients,
                4 * p,
                {
                    "half_adapter": [4 * r * into.sum(), 4 * r * out.sum()],
                    "frozen_gradients": [k * (n + rest) + 4 * p * m for k in (2, 4) for m in (0, 1)]
                    + [2 * n, 4 * n],
                    "adapter_type": [2 * p],
                },
            ),
            "optimizer": (
                optimizer,
                8 * p,
                {"one_state": [4 * p], "frozen_state": [8 * (n + rest), 8 * (n + rest + p), 8 * n]},
            ),
            "weights": (
                weights,
                packed + width * rest + 4 * p,
                {
                    "no_constants": [n / 2 + width * rest + 4 * p],
                    "single": [n / 2 + n / 16 + width * rest + 4 * p],
                    "rest_4bit": [(n + rest) * packed / n + 4 * p, (n + rest) / 2 + 4 * p],
                    "prepared": [packed + (6 - width) * rest + 4 * p],
                    "no_adapter": [packed + width * rest],
                    "adapter_type": [packed + width * rest + 2 * p],
                },
            ),
            "logits": (logit, 2 * logits, {"logits_once": [logits], "no_logits": [0.0]}),
        }
        for part, (seen, right, wrong) in known.items():
            if near(seen, right):
                continue
            hits = (key for key, vs in wrong.items() if any(near(seen, v) or seen == v for v in vs))
            text = f"{part}: {seen:,.0f} bytes" + (" after the preparation" if prepared else "")
            return Verdict(0.0, next(hits, "other"), text, f"{right:,.0f} bytes")
    return Verdict(1.0)


step_bytes = Check(
    name="step_bytes",
    title="The budget",
    wants=("step_bytes",),
    difficulty=2,
    minutes=12,
    points=20,
    verified="weights, gradients, optimizer states and logits of three models, prepared and not",
    hints=(
        "Two kinds of weights are frozen: those in 4 bits, and the rest. Which numbers have a "
        "gradient?",
        "Only the adapter has gradients and states: r * (out + in) numbers for each matrix, in "
        "float32. A quantized weight takes 4 bits, its share of a one-byte scale, and that "
        "scale's share of a float32.",
        "`n` weights in 4 bits take `n / 2 + n / 64 + 4 * n / 64 / 256` bytes, the rest 2 or 4 "
        "bytes each. The adapter takes 4 bytes a number as weight, 4 as gradient, 8 in AdamW.",
    ),
    mistakes={
        "half_adapter": "Only one of the two factors is counted. A is (r, in), B is (out, r).",
        "frozen_gradients": "Frozen weights have no gradient. Only the adapter has.",
        "adapter_type": "The adapter is in float32: 4 bytes for each of its numbers.",
        "one_state": "AdamW keeps two numbers for each trained one: m and v, 4 bytes each.",
        "frozen_state": "The optimizer sees the adapter alone. Frozen weights have no states.",
        "no_constants": "The 4-bit codes are right, their scales are missing: a byte for 64 "
        "weights, and 4 bytes for 256 of those.",
        "single": "These are scales in float32. With double quantization each takes one byte, and "
        "4 bytes more for every 256 of them.",
        "rest_4bit": "Embedding, head and norms do not go into 4 bits: the rest takes 2 bytes "
        "each, or 4 after the preparation.",
        "prepared": "The preparation turns what is left in 16 bits into float32. So the rest takes "
        "4 bytes a number when `prepared`, else 2.",
        "no_adapter": "The adapter's own weights are missing: they lie beside the frozen ones.",
        "logits_once": "The logits take 4 bytes each in float32, and their gradient as much again.",
        "no_logits": "The logits are missing: one number for every token and every word.",
        "raised:TypeError": "`shapes` is a list of pairs. Take them apart with "
        "`for out, into in shapes`.",
        "other": "Work it out for one matrix of 2048 x 2048 first, part by part.",
    },
    make=make_budget,
    probe=probe_budget,
    judge=judge_budget,
)


# 11.2 The settings
def make_config(seed):
    return {"bf16": np.random.default_rng(seed + 1200).permutation([0, 1])}


def probe_config(namespace, a):
    import torch
    from transformers import BitsAndBytesConfig

    made, types = {}, [torch.float32, torch.float16, torch.bfloat16]
    for bf16 in (False, True) if a["bf16"][0] == 0 else (True, False):
        config = namespace["qlora_config"](bf16)
        if not isinstance(config, BitsAndBytesConfig):
            key = "none" if config is None else "type"
            raise Refused(key, f"the config is {kind(config)}.", "a BitsAndBytesConfig.")
        compute = config.bnb_4bit_compute_dtype
        made[f"config_{int(bf16)}"] = np.array(
            [
                bool(config.load_in_4bit),
                bool(config.load_in_8bit),
                config.bnb_4bit_quant_type == "nf4",
                bool(config.bnb_4bit_use_double_quant),
                types.index(compute) if compute in types else -1,
                config.llm_int8_skip_modules is not None,
            ],
            dtype=float,
        )
    return made


def judge_config(inputs, outputs):
    seen = {bf16: outputs[f"config_{bf16}"] for bf16 in (0, 1)}
    for bf16 in (0, 1):
        if seen[bf16].shape != (6,):
            return Verdict(0.0, "other")
        four, eight, nf4, double, _, skip = seen[bf16]
        for wrong, key, text in (
            (eight, "int8", "load_in_8bit is True"),
            (not four, "no_4bit", "load_in_4bit is False"),
            (not nf4, "fp4", "bnb_4bit_quant_type is not 'nf4'"),
            (not double, "single", "bnb_4bit_use_double_quant is False"),
            (skip, "skip_list", "llm_int8_skip_modules is set"),
        ):
            if wrong:
                return Verdict(0.0, key, text)
    found = tuple(float(seen[bf16][4]) for bf16 in (0, 1))  # without and with bfloat16
    if found == (1.0, 2.0):
        return Verdict(1.0)
    names = {0.0: "float32", 1.0: "float16", 2.0: "bfloat16"}
    text = "compute dtype {} without bfloat16 and {} with it".format(
        *(names.get(f, "another") for f in found)
    )
    keys = {(0.0, 0.0): "float32", (2.0, 2.0): "always_bf16", (1.0, 1.0): "always_fp16"}
    keys[2.0, 1.0] = "swapped"
    return Verdict(0.0, keys.get(found, "other"), text, "float16 and bfloat16")


qlora_config = Check(
    name="qlora_config",
    title="The settings",
    wants=("qlora_config",),
    difficulty=1,
    minutes=6,
    points=10,
    verified="all three settings, with and without bfloat16, and the head left alone",
    hints=(
        "Print `BitsAndBytesConfig(load_in_4bit=True)` and look at each value that begins with "
        "`bnb_4bit`. Which would QLoRA's authors change?",
        "Three of them: the code book, the double quantization, and the type of the products, "
        "which depends on the argument.",
        '`load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
        "bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float16`.",
    ),
    mistakes={
        "type": "return the BitsAndBytesConfig itself.",
        "int8": "This is 8-bit quantization. QLoRA is `load_in_4bit=True`.",
        "no_4bit": "Nothing is quantized: set `load_in_4bit=True`.",
        "fp4": "The default code book is FP4. QLoRA's levels are those of NF4.",
        "single": "The scales stay in float32 by default. Double quantization must be asked for.",
        "float32": "Products in float32 are the default, and slow on a GPU. Choose a 16-bit type.",
        "always_bf16": "A GPU without bfloat16 must compute in float16. Look at the argument.",
        "always_fp16": "Where there is bfloat16, take it: float16 overflows above 65,504. Look at "
        "the argument.",
        "swapped": "The two types are the wrong way round. `bf16` says that the GPU has bfloat16.",
        "skip_list": "A list in llm_int8_skip_modules replaces the rule that keeps the head out. "
        "Leave it unset.",
        "raised:ValueError": "4 bits and 8 bits exclude each other: set load_in_4bit alone.",
        "other": "Compare your settings one by one with those of section 2.",
    },
    make=make_config,
    probe=probe_config,
    judge=judge_config,
)


# 11.3 Why the gradients vanish
DEPTH = 3


def make_blocks(seed):
    rng = np.random.default_rng(seed + 1300)
    f = lambda *shape: rng.normal(size=shape).astype(np.float32) / 2  # noqa: E731
    return {"x": f(2, 5, 6), "W": f(DEPTH, 6, 6), "A": f(DEPTH, 2, 6), "B": f(DEPTH, 6, 2)}


def probe_blocks(namespace, a):
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, W, A, B):
            super().__init__()
            self.weight = nn.Parameter(W, requires_grad=False)
            self.lora_A, self.lora_B, self.calls = nn.Parameter(A), nn.Parameter(B), 0

        def forward(self, x):
            self.calls += 1
            return torch.tanh(x @ self.weight.T + x @ self.lora_A.T @ self.lora_B.T)

    blocks = nn.ModuleList(Block(*(tensor(a[k][i]) for k in "WAB")) for i in range(DEPTH))
    norm = nn.Parameter(torch.ones(6))
    y = namespace["run_blocks"](blocks, tensor(a["x"]))
    made = {"y": array(y, "the result"), "calls_forward": array([b.calls for b in blocks])}
    if torch.is_tensor(y):
        (norm * y).square().sum().backward()
    for key in ("lora_A", "lora_B"):
        found = [getattr(b, key) for b in blocks]
        made[f"has_{key}"] = array([p.grad is not None for p in found]).astype(float)
        made[key] = array([torch.zeros_like(p) if p.grad is None else p.grad for p in found])
    made["calls"] = array([b.calls for b in blocks])
    made["frozen"] = array([not b.weight.requires_grad for b in blocks]).astype(float)
    return made


def judge_blocks(inputs, outputs):
    import torch

    W, A, B = (tensor(inputs[k], torch.float64) for k in "WAB")
    A.requires_grad_()
    B.requires_grad_()
    want = tensor(inputs["x"], torch.float64)
    for i in range(DEPTH):
        want = torch.tanh(want @ (W[i] + B[i] @ A[i]).T)
    want.square().sum().backward()
    same = lambda a, b: close(a, b, rtol=1e-3, atol=1e-4)  # noqa: E731
    if not same(outputs["y"], want.detach().numpy()):
        return Verdict(0.0, "output", "the output is another one", "every block once, in order")
    there = np.minimum(outputs["has_lora_A"], outputs["has_lora_B"])
    if there.shape != (DEPTH,) or not np.all(np.isin(there, (0, 1))):
        return Verdict(0.0, "other")
    if there.sum() < DEPTH:
        keys = {(0, 0, 0): "vanished", (0, 1, 1): "first_lost", (0, 0, 1): "cut"}
        key = keys.get(tuple(there.astype(int).tolist()), "other")
        text = f"{int(there.sum())} of {DEPTH} blocks have gradients in A and B"
        return Verdict(0.0, key, text, f"all {DEPTH}")
    right = same(outputs["lora_A"], A.grad.numpy()) and same(outputs["lora_B"], B.grad.numpy())
    if not right:
        seen = "every factor has a gradient, but a wrong one"
        return Verdict(0.0, "cut", seen, "gradients that flow through all blocks")
    if not np.all(outputs["frozen"]):
        return Verdict(0.0, "unfrozen", "a frozen weight requires a gradient", "frozen weights")
    if not np.array_equal(outputs["calls"], 2 * np.ones(DEPTH)):
        calls = outputs["calls"].tolist()
        key = "no_checkpoint" if np.array_equal(outputs["calls"], np.ones(DEPTH)) else "some"
        return Verdict(0.0, key, f"the blocks ran {calls} times in a step", "each one twice")
    return Verdict(1.0)


run_blocks = Check(
    name="run_blocks",
    title="Why the gradients vanish",
    wants=("run_blocks",),
    difficulty=3,
    minutes=12,
    points=20,
    verified="output, gradients of every factor, frozen weights, and each block run twice",
    hints=(
        "What does reentrant checkpointing ask of the **inputs** of a block, before it decides "
        "whether there is anything to do in the backward pass?",
        "The embedding is frozen, so `x` requires no gradient. There are two cures: let `x` "
        "require one, or take the other kind of checkpointing.",
        "`x = checkpoint(block, x, use_reentrant=False)` in the loop.",
    ),
    mistakes={
        "output": "Run `x` through every block once, in order, and return the result.",
        "vanished": "No factor gets a gradient, and nothing raises an error. Reentrant "
        "checkpointing looks at the inputs alone: none requires a gradient.",
        "first_lost": "The first block gets none: its input still requires no gradient. Cure it "
        "before the loop, not after the first block.",
        "cut": "The gradient does not flow from block to block. Is there a `detach()`?",
        "unfrozen": "The base is trained now. Let the input require a gradient, not the weights.",
        "no_checkpoint": "Gradients are right, but every block ran once: nothing is "
        "checkpointed, and all activations are kept.",
        "some": "Some blocks are not checkpointed. Each must run a second time in the backward "
        "pass.",
        "raised:RuntimeError": "If nothing requires a gradient, there is no backward pass. Do not "
        "run the blocks inside `torch.no_grad()`.",
        "other": "Print `x.requires_grad` before and after each block.",
    },
    make=make_blocks,
    probe=probe_blocks,
    judge=judge_blocks,
)


# 11.4 Keep the right layers out
_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")
_BIOGPT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
LINEARS = {
    "llama": [
        f"model.layers.{i}.{part}.{name}"
        for i in range(2)
        for part, names in (("self_attn", _LLAMA), ("mlp", _MLP))
        for name in names
    ]
    + ["lm_head"],
    "biogpt": [f"biogpt.layers.{i}.{name}" for i in range(2) for name in (*_BIOGPT, "fc1", "fc2")]
    + ["output_projection"],
}
MORE = {
    "llama": ("down_proj", "v_proj", "layers.1.mlp.up_proj", "self_attn.o_proj"),
    "biogpt": ("fc2", "v_proj", "layers.1.fc1", "self_attn.out_proj"),
}


def make_skip(seed):
    rng = np.random.default_rng(seed + 1400)
    return {f"more_{kind}": rng.permutation(4)[:2] for kind in MORE}


def probe_skip(namespace, a):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    from lora_course.bits.fourbit import four_bit_config, four_bit_layers

    made = {}
    for family in LINEARS:
        config = AutoConfig.for_model(
            family, hidden_size=8, intermediate_size=16, num_hidden_layers=2, vocab_size=10,
            num_attention_heads=2, num_key_value_heads=2,
        )  # fmt: skip
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        more = [MORE[family][int(i)] for i in a[f"more_{family}"]]
        names = namespace["skip_list"](model, more)
        if not isinstance(names, (list, tuple, set)) or not all(type(n) is str for n in names):
            key = "none" if names is None else "type"
            raise Refused(key, f"the result is {kind(names)}.", "a list of names.")
        replace_with_bnb_linear(model, list(names), four_bit_config(torch.float32))
        packed = four_bit_layers(model)
        made[family] = array([n in packed for n in LINEARS[family]]).astype(float)
    return made


def judge_skip(inputs, outputs):
    lost = {}
    for family, names in LINEARS.items():
        more = tuple(MORE[family][int(i)] for i in inputs[f"more_{family}"])
        seen = outputs[family]
        if seen.shape != (len(names),):
            return Verdict(0.0, "other")
        packed = {name for name, there in zip(names, seen, strict=True) if there}
        want = {name for name in names[:-1] if not name.endswith(more)}
        if forgotten := packed - want - {names[-1]}:
            text = f"{len(forgotten)} layers are in 4 bits, such as {min(forgotten)}"
            return Verdict(0.0, "forgot_more", text, f"all that end in {more} kept out")
        if missing := want - packed:
            text = f"{len(missing)} layers more are kept out, such as {min(missing)}"
            key = "nothing" if not packed else "too_much"
            return Verdict(0.0, key, text, "only those, and the head")
        lost[family] = names[-1] in packed
    if any(lost.values()):
        key = "head_by_name" if not lost["llama"] else "head_lost"
        heads = [LINEARS[family][-1] for family, there in lost.items() if there]
        return Verdict(0.0, key, f"the head ({', '.join(heads)}) is in 4 bits", "it stays out")
    return Verdict(1.0)


skip_list = Check(
    name="skip_list",
    title="Keep the right layers out",
    wants=("skip_list",),
    difficulty=3,
    minutes=10,
    points=15,
    verified="a Llama and a BioGPT: the head, the named layers, and nothing else stay out",
    hints=(
        "Section 3: what does transformers do with its own rule when it is given a list?",
        "The list needs the head and the names in `more`. The head is called otherwise in other "
        "models: ask the model for it.",
        "`head = model.get_output_embeddings()`, then `[n for n, m in model.named_modules() if m "
        "is head] + more`.",
    ),
    mistakes={
        "head_lost": "The list replaces the rule that protects the head. Put the head's name into "
        "it.",
        "head_by_name": "The head is not called lm_head in every model. Ask "
        "`model.get_output_embeddings()`, and look its name up.",
        "forgot_more": "The names in `more` must be in the list, too.",
        "too_much": "The list matches ends of names. One of yours matches more than it should.",
        "nothing": "No layer is left in 4 bits. The list names what stays **out**.",
        "type": "return a list of names, each a text, also when there is only one.",
        "other": "Return a list of names: that of the head, and those in `more`.",
    },
    make=make_skip,
    probe=probe_skip,
    judge=judge_skip,
)


# 11.5 No repacking
def make_protect(seed):
    rng = np.random.default_rng(seed + 1500)
    return {"W": rng.normal(size=(4, 64, 64)).astype(np.float32)}


def probe_protect(namespace, a):
    import bitsandbytes as bnb
    import torch
    from torch import nn

    def four(i, kind=bnb.nn.Linear4bit, **settings):
        layer = kind(64, 64, bias=False, compute_dtype=torch.float32, **settings)
        layer.weight = bnb.nn.Params4bit(tensor(a["W"][i]), requires_grad=False, quant_type="nf4")
        layer.to("cpu")
        layer.support_avx512bf16_for_cpu = True
        return layer

    class Wrapped(nn.Module):
        def __init__(self, base_layer):
            super().__init__()
            self.base_layer = base_layer
            self.lora_A = nn.ModuleDict({"default": nn.Linear(64, 2, bias=False)})

    model = nn.Sequential(
        four(0, quant_type="nf4"), nn.LayerNorm(64), nn.Linear(64, 64),
        nn.Sequential(Wrapped(four(1, quant_type="nf4")), nn.Tanh()),
        Wrapped(four(2, bnb.nn.LinearNF4)), nn.ModuleList([four(3, quant_type="nf4")]),
    )  # fmt: skip
    layers = [model[0], model[3][0].base_layer, model[4].base_layer, model[5][0]]
    before = [layer.weight.data.clone() for layer in layers]
    names = [name for name, _ in model.named_modules()]
    namespace["protect"](model)
    after = [layer.weight.data for layer in layers]
    same = [x.shape == y.shape and torch.equal(x, y) for x, y in zip(before, after, strict=True)]
    return {
        "on": array([bool(layer.support_avx512bf16_for_cpu) for layer in layers]).astype(float),
        "same": array(same).astype(float),
        "tree": float(names == [name for name, _ in model.named_modules()]),
        "training": float(model.training and all(m.training for m in model.modules())),
    }


def judge_protect(inputs, outputs):
    on, same = outputs["on"], outputs["same"]
    if on.shape != (4,) or same.shape != (4,):
        return Verdict(0.0, "other")
    if not outputs["tree"]:
        return Verdict(0.0, "replaced", "modules were replaced", "the same modules, a flag changed")
    if not np.all(same):
        return Verdict(0.0, "repacked", "packed weights have changed", "no forward pass")
    if np.any(on):
        keys = {(1, 1, 1, 1): "nothing", (0, 1, 1, 1): "top_only", (0, 0, 1, 0): "exact_type"}
        key = keys.get(tuple(on.astype(bool).astype(int).tolist()), "some")
        text = f"{int(np.sum(on != 0))} of 4 four-bit layers may still repack"
        return Verdict(0.0, key, text, "none")
    if not outputs["training"]:
        return Verdict(0.0, "mode", "the model was put into eval mode", "train mode, as before")
    return Verdict(1.0)


protect = Check(
    name="protect",
    title="No repacking",
    wants=("protect",),
    difficulty=2,
    minutes=6,
    points=10,
    verified="four-bit layers at the top, inside LoRA layers, and of a subclass",
    hints=(
        "Which layers repack, and where in a model do they hide after PEFT has wrapped them?",
        "Walk through **all** modules, at every depth. `isinstance` also finds subclasses.",
        "`for m in model.modules(): if isinstance(m, bnb.nn.Linear4bit): "
        "m.support_avx512bf16_for_cpu = False`.",
    ),
    mistakes={
        "nothing": "Every layer may still repack. The flag belongs to each Linear4bit, not to the "
        "model.",
        "top_only": "Only the outermost layers are reached. `model.modules()` goes all the way "
        "down, `children()` does not.",
        "exact_type": "A LinearNF4 is left out. Ask with isinstance, not for the exact type.",
        "some": "Some layers are left out. Walk through `model.modules()`.",
        "repacked": "The weights were packed anew: a forward pass ran in eval mode before the flag "
        "was off.",
        "replaced": "Change the flag of the layers that are there, and leave the tree as it is.",
        "mode": "Leave the mode of the model as it was.",
        "raised:AttributeError": "Only a Linear4bit has a 4-bit weight. Ask with isinstance first.",
        "other": "Set `support_avx512bf16_for_cpu` of every Linear4bit to False.",
    },
    make=make_protect,
    probe=probe_protect,
    judge=judge_protect,
)

EXERCISES = (step_bytes, qlora_config, run_blocks, skip_list, protect)
