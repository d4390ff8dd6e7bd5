# %% [markdown]
# # What no chapter shows
#
# Cells for claims about bytes, counts and behaviour that the chapters do not treat: each a
# function that prints what it found and asserts what [claims.md](claims.md) says of it. This
# file opens as a notebook in JupyterLab, and runs as a script: `python docs/claims_shown.py`.

# %%
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lora_course.costs.shapes import meta_model
from lora_course.kit.models import quiet

GPT3 = {"layers": 96, "d": 12288, "parameters": 175_255.8e6}  # LoRA paper, section 5.5


# %%
def gpt3_savings():
    """Parameters fell 10,000-fold, memory to a third: of 1.2 TB, 350 GB were left."""
    factors = GPT3["layers"] * 2 * 4 * 2 * GPT3["d"]  # q and v, r = 4, A and B of width d
    fewer = GPT3["parameters"] / factors
    saved = {"memory": 1 - 350 / 1200, "checkpoint": 1 - 35e6 / 350e9, "time": 1 - 32.5 / 43.1}
    print(f"{factors:,} factors, {fewer:,.0f} times fewer numbers;", saved)
    assert factors == 18_874_368 and 9_000 < fewer < 10_000
    assert round(saved["memory"], 2) == 0.71 and 0.2 < saved["time"] < 0.3


# %%
def lora_numbers(name, r, targets):
    """Numbers in the factors of PEFT's LoRA on a published shape, without its weights."""
    layers = meta_model(name).named_modules()
    ends = tuple(targets)
    pairs = [m for n, m in layers if isinstance(m, torch.nn.Linear) and n.endswith(ends)]
    return sum(r * (m.in_features + m.out_features) for m in pairs)


ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapter_files():
    """80 MB are r = 16 on all layers in 16 bits; 8 to 17 MB r = 8 on q and v."""
    large = lora_numbers("Llama-2-7B", 16, ALL)
    small = lora_numbers("Llama-2-7B", 8, ("q_proj", "v_proj"))
    for name, n in (("r = 16, all linear layers", large), ("r = 8, q and v", small)):
        print(f"{name}: {2 * n / 1e6:.1f} MB in 16 bits, {4 * n / 1e6:.1f} MB in float32")
    assert round(2 * large / 1e6) == 80 and round(4 * large / 1e6) == 160
    assert round(2 * small / 1e6, 1) == 8.4 and round(4 * small / 1e6, 1) == 16.8


# %%
def llama70b_factors():
    """r = 8 on q and v of Llama-2-70B: 16,384,000 numbers, not 16,384."""
    n = lora_numbers("Llama-2-70B", 8, ("q_proj", "v_proj"))
    print(f"{n:,}")
    assert n == 16_384_000 and 8 * (1024 + 1024) == 16_384


# %%
def bottleneck_numbers(layers, d, m):
    """Two bottleneck adapters in each layer: two matrices and two biases each (Houlsby 2019)."""
    return layers * 2 * (2 * d * m + d + m)


def bottleneck_files():
    """BERT-base with m = 64: 4.8 MB in 16 bits, 9.5 MB in float32; far below 50 MB."""
    n = bottleneck_numbers(12, 768, 64)
    print(f"{n:,} numbers, {2 * n / 1e6:.1f} MB in 16 bits, {4 * n / 1e6:.1f} MB in float32")
    assert round(2 * n / 1e6, 1) == 4.8 and round(4 * n / 1e6, 1) == 9.5


def bottleneck_shares():
    """Of BERT-base's 109.5 million parameters m = 64 is 2 %, m = 8 below, m = 256 above 1 %."""
    share = {m: bottleneck_numbers(12, 768, m) / 109.5e6 for m in (8, 64, 256)}
    print({m: f"{s:.1%}" for m, s in share.items()})
    assert share[8] < 0.01 < share[64] < share[256] < 0.09


# %%
def trained_biases():
    """bias="none" is the default; with "all" the base's own biases train, and it is gone."""
    quiet()  # before PEFT is imported, which imports bitsandbytes, which talks
    from peft import LoraConfig, get_peft_model

    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, attention_bias=True,
    )  # fmt: skip
    assert LoraConfig().bias == "none"
    ids, left = torch.arange(8)[None], {}
    for bias in ("none", "all", "lora_only"):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        before = model(input_ids=ids).logits.detach()
        targets = ["q_proj", "v_proj"]
        model = get_peft_model(model, LoraConfig(r=2, target_modules=targets, bias=bias))
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        with model.disable_adapter():
            left[bias] = torch.equal(model(input_ids=ids).logits, before)
    print("the base is left:", left)
    assert left == {"none": True, "all": False, "lora_only": False}


# %%
if __name__ == "__main__":
    for show in (
        gpt3_savings, adapter_files, llama70b_factors, bottleneck_files, bottleneck_shares,
        trained_biases,
    ):  # fmt: skip
        print(show.__name__, end=": ")
        show()
