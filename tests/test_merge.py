"""merge.py: merged models against unmerged ones, peft's own merge, and float64."""

import ast
import copy
import inspect
import warnings

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.pytorch_utils import Conv1D

from lora_course.lora import LoRAConv1D, LoRAEmbedding, LoRALinear
from lora_course.merge import adapter, concatenate, merge, unmerge

SMALL = {
    "vocab_size": 60, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
MADE = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=False)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, bos_token_id=1, eos_token_id=2)),
}
KINDS = {nn.Linear: LoRALinear, Conv1D: LoRAConv1D, nn.Embedding: LoRAEmbedding}
IDS = torch.arange(24).reshape(2, 12)
each_model = pytest.mark.parametrize("kind", MADE)


def inject(model, r=3, lora_alpha=7, dropout=0.0, embeddings=True, head=False, seed=1):
    """LoRA with random factors around every layer, the head left out unless asked for."""
    torch.manual_seed(seed)
    for name, base in list(model.named_modules()):
        kind = KINDS.get(type(base))
        if kind is None or (name == "lm_head" and not head):
            continue
        if kind is LoRAEmbedding:
            layer = kind(base, r, lora_alpha) if embeddings else base
        else:
            layer = kind(base, r, lora_alpha, dropout)
        model.set_submodule(name, layer.train(base.training))
    with torch.no_grad():
        for p in factors(model).values():
            p.copy_(torch.randn_like(p) * 0.2)
    return model


def factors(model):
    return {n: p for n, p in model.named_parameters() if "lora_" in n}


def state(model):
    return {n: p.detach().clone() for n, p in factors(model).items()}


def made(kind, dtype=torch.float32, **options):
    torch.manual_seed(0)
    return inject(MADE[kind]().to(dtype).eval(), **options)


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" not in n}


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def error(got, want):
    return ((got - want).norm() / want.norm()).item()


# Merged = unmerged
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("embeddings", [True, False])
@each_model
def test_merged_logits_equal_unmerged(kind, embeddings, dtype, bound):
    model = made(kind, dtype, embeddings=embeddings)
    unmerged, plain = logits(model), logits(MADE[kind]().to(dtype).eval())
    assert error(plain, unmerged) > 0.1  # the adapter does something
    merge(model)
    merged = logits(model)
    assert error(merged, unmerged) < bound
    assert torch.equal(logits(model), merged)  # and it does not drift
    unmerge(model)
    assert error(logits(model), unmerged) < bound


@each_model
def test_merged_model_is_a_plain_one(kind):
    plain = MADE[kind]()
    model = made(kind, embeddings=False)
    merge(model)
    assert [*model.state_dict()] == [*plain.state_dict()]
    assert model.num_parameters() == plain.num_parameters()
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]


@pytest.mark.parametrize("layer", ["linear", "conv", "square conv", "embedding"])
def test_single_layers(layer):
    torch.manual_seed(0)
    base = {
        "linear": nn.Linear(5, 8),
        "conv": Conv1D(8, 5),
        "square conv": Conv1D(6, 6),
        "embedding": nn.Embedding(9, 4, padding_idx=2),
    }[layer].double()
    model = inject(nn.Sequential(base)).double()
    width = base.weight.shape[1 if layer == "linear" else 0]
    x = torch.arange(9) if layer == "embedding" else torch.randn(3, width).double()
    before, want = base.weight.detach().clone(), model(x)
    merge(model)
    assert model[0] is base
    torch.testing.assert_close(model(x), want, rtol=1e-12, atol=1e-12)
    unmerge(model)
    torch.testing.assert_close(model[0].base_layer.weight.data, before, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model(x), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_same_weights_as_peft(kind):
    from peft import LoraConfig, get_peft_model

    ours = made(kind, torch.float64, embeddings=False)
    suffixes = sorted({n.split(".")[-1] for n, m in ours.named_modules() if hasattr(m, "lora_A")})
    torch.manual_seed(0)
    plain = MADE[kind]().double()
    config = LoraConfig(r=3, lora_alpha=7, target_modules=suffixes, fan_in_fan_out=kind == "gpt2")
    theirs = get_peft_model(plain, config).double()
    values = {n.replace("lora_A", "lora_A.default.weight"): p for n, p in factors(ours).items()}
    values = {n.replace("lora_B", "lora_B.default.weight"): p for n, p in values.items()}
    assert theirs.base_model.model.load_state_dict(values, strict=False).unexpected_keys == []
    merge(ours)
    want = theirs.merge_and_unload().state_dict()
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, want[name], rtol=1e-13, atol=1e-13)


# Round trips
def test_unmerge_in_float64_gives_the_weights_back():
    model = made("llama", torch.float64)
    layers = {n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    before, kept = weights(model), state(model)
    merge(model)
    unmerge(model)
    after = weights(model)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=1e-13, atol=1e-14)
    assert all(torch.equal(kept[n], p) for n, p in factors(model).items())
    assert all(model.get_submodule(n) is m for n, m in layers.items())
    assert not hasattr(model, "merged")


@pytest.mark.filterwarnings("ignore:Rounding to")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0])
def test_rounding_is_bounded_by_half_a_unit(dtype, size):
    """One rounding to merge, one to unmerge; each at most half a unit in the last place."""
    torch.manual_seed(0)
    base = nn.Linear(64, 48).to(dtype)
    model = inject(nn.Sequential(base))
    with torch.no_grad():
        model[0].lora_B *= size
    W, delta = base.weight.detach().double(), model[0].get_delta_weight().detach().double()
    merge(model)
    merged = base.weight.detach().double()
    assert base.weight.dtype == dtype
    half = torch.finfo(dtype).eps / 2 * 1.001 + torch.finfo(torch.float32).eps
    tiny = torch.finfo(dtype).smallest_normal
    bound = half * merged.abs() + tiny
    assert ((merged - (W + delta)).abs() <= bound).all()
    unmerge(model)
    back = base.weight.detach().double()
    assert ((back - W).abs() <= bound + half * back.abs() + tiny).all()
    if dtype != torch.float32:
        assert not torch.equal(back, W) or size == 1e-4


@pytest.mark.filterwarnings("ignore:Rounding to")
def test_small_updates_vanish_and_the_sum_is_rounded_once():
    model = inject(nn.Sequential(nn.Linear(4, 3, bias=False).bfloat16()), r=1, lora_alpha=1)
    W = model[0].base_layer.weight
    with torch.no_grad():
        W.fill_(1.0)  # the next bfloat16 above 1 is 1 + 2**-7
        model[0].lora_A.fill_(1.0)
        for add, expected in ((2**-8 * 0.99, 1.0), (2**-8 * 1.01, 1 + 2**-7)):
            model[0].lora_B.fill_(add)
            merge(model)
            assert (model[0].weight == expected).all()
            del model.merged
            model[0].weight = W
            model = nn.Sequential(LoRALinear(model[0], r=1, lora_alpha=1))
            model[0].lora_A.fill_(1.0)


# What is shared
def test_tied_embedding_is_not_changed_by_accident():
    model = made("llama", torch.float64)
    W, want = model.lm_head.weight, logits(model)
    before = W.detach().clone()
    merge(model)
    assert model.lm_head.weight is W and torch.equal(W, before)
    assert not torch.equal(model.model.embed_tokens.weight, before)
    assert error(logits(model), want) < 1e-12
    unmerge(model)
    assert model.model.embed_tokens.base_layer.weight is W is model.lm_head.weight
    assert torch.equal(W, before)


def test_tied_pair_with_lora_on_both_sides():
    model = made("llama", torch.float64, head=True)
    W, want = model.lm_head.base_layer.weight, logits(model)
    merge(model)
    assert error(logits(model), want) < 1e-12
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    unmerge(model)
    assert model.lm_head.base_layer.weight is W is model.model.embed_tokens.base_layer.weight


def test_untouched_tie_stays():
    model = made("llama", embeddings=False)
    merge(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_layer_used_twice_is_merged_once():
    torch.manual_seed(0)
    layer = nn.Linear(6, 6).double()
    model = nn.Sequential(layer, nn.ReLU(), layer)
    wrapped = LoRALinear(layer, r=2, lora_alpha=5)
    model[0] = model[2] = wrapped
    nn.init.normal_(wrapped.lora_B)
    x = torch.randn(3, 6).double()
    want = model(x)
    merge(model)
    assert model[0] is model[2] is layer
    torch.testing.assert_close(model(x), want, rtol=1e-12, atol=1e-12)
    unmerge(model)
    assert model[0] is model[2] is wrapped
    torch.testing.assert_close(model(x), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("embeddings", [True, False])
def test_saved_and_loaded(tmp_path, embeddings):
    model = made("llama", embeddings=embeddings)
    merge(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert error(logits(again), logits(model)) < 1e-6


# Modes
def test_merge_in_train_mode_with_dropout_gives_the_eval_result():
    model = made("llama", torch.float64, dropout=0.5)
    want = logits(model)
    model.train()
    assert error(logits(model), want) > 1e-3  # dropout acts
    merge(model)
    assert error(logits(model), want) < 1e-12
    model.eval()
    unmerge(model)
    assert not any(m.training for m in model.modules())
    assert error(logits(model), want) < 1e-12


def test_training_goes_on_after_a_round_trip():
    model = made("llama")
    trained = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" in n}
    merge(model)
    unmerge(model)
    model(IDS, labels=IDS).loss.backward()
    assert {n for n, p in factors(model).items() if p.grad is not None} == trained
    assert not any(m.base_layer.weight.requires_grad for m in model.modules() if hasattr(m, "r"))


def test_copy_of_a_merged_model_can_be_unmerged():
    model = made("gpt2")
    want, base = logits(model), weights(model)
    merge(model)
    twin = copy.deepcopy(model)
    unmerge(twin)
    assert error(logits(twin), want) < 1e-5 and hasattr(model, "merged")
    assert weights(twin).keys() == base.keys()
    assert error(logits(model), want) < 1e-5


# Refusals
def test_second_merge_is_refused():
    model = made("llama")
    merge(model)
    want, sizes = logits(model), weights(model)
    for again in (model, nn.ModuleDict({"inner": model})):
        with pytest.raises(ValueError, match="merged already"):
            merge(again)
    assert torch.equal(logits(model), want)
    assert all(torch.equal(sizes[n], w) for n, w in weights(model).items())
    unmerge(model)
    merge(model)  # fine again
    assert error(logits(model), want) < 1e-5


def test_merge_of_a_part_counts():
    model = made("llama")
    merge(model.model)
    with pytest.raises(ValueError, match="merged already"):
        merge(model)


def test_lora_on_top_of_a_final_merge():
    model = made("llama", torch.float64, embeddings=False)
    merge(model)
    inject(model, embeddings=False, seed=5)
    with pytest.raises(ValueError, match="merged already"):
        merge(model)
    with pytest.raises(ValueError, match="replaced since"):
        unmerge(model)
    del model.merged
    want = logits(model)
    merge(model)
    assert error(logits(model), want) < 1e-12


def test_nothing_to_merge_and_nothing_to_unmerge():
    plain = MADE["llama"]()
    for act, words in ((merge, "no LoRA layers"), (unmerge, "not merged")):
        with pytest.raises(ValueError, match=words):
            act(plain)
    with pytest.raises(ValueError, match="no LoRA layers inside"):
        merge(LoRALinear(nn.Linear(3, 4), r=2))
    model = made("llama")
    with pytest.raises(ValueError, match="not merged"):
        unmerge(model)


def test_packed_weights_are_refused_before_anything_changes():
    model = inject(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    packed = nn.Parameter(torch.ones(4, 4, dtype=torch.uint8), requires_grad=False)
    model[1].base_layer.weight = packed
    before = model[0].base_layer.weight
    with pytest.raises(ValueError, match="dequantize"):
        merge(model)
    assert model[0].base_layer.weight is before and isinstance(model[0], LoRALinear)


# Swapping
def test_adapter_puts_in_and_restores():
    model = made("gpt2")
    before, other = state(model), state(inject(MADE["gpt2"](), seed=9))
    places, want = {n: id(p) for n, p in factors(model).items()}, logits(model)
    with adapter(model, other) as inside:
        assert inside is model
        assert all(torch.equal(other[n], p) for n, p in factors(model).items())
        assert error(logits(model), want) > 0.01
    assert all(torch.equal(before[n], p) for n, p in factors(model).items())
    assert places == {n: id(p) for n, p in factors(model).items()}
    assert torch.equal(logits(model), want)


def test_adapter_restores_after_an_error_and_when_nested():
    model = made("llama")
    before = state(model)
    one, two = (state(inject(MADE["llama"](), seed=s)) for s in (8, 9))
    with pytest.raises(RuntimeError, match="midway"), adapter(model, one):
        with adapter(model, two):
            assert torch.equal(factors(model)[min(two)], two[min(two)])
        assert torch.equal(factors(model)[min(one)], one[min(one)])
        with adapter(model, two):
            raise RuntimeError("midway")
    assert all(torch.equal(before[n], p) for n, p in factors(model).items())


def test_adapter_does_not_change_the_state_that_was_given():
    model = made("llama")
    other = state(inject(MADE["llama"](), seed=9))
    copies = {n: t.clone() for n, t in other.items()}
    with adapter(model, other), torch.no_grad():
        for p in factors(model).values():
            p.add_(1)
    assert all(torch.equal(copies[n], other[n]) for n in other)


def test_a_merge_inside_the_block_ends_with_it():
    model = made("llama", torch.float64)
    want, other = logits(model), state(inject(MADE["llama"](), seed=9))
    with adapter(model, other):
        merge(model)
    assert not hasattr(model, "merged")
    assert error(logits(model), want) < 1e-12


@pytest.mark.parametrize("spoil", ["missing", "extra", "shape", "merged"])
def test_adapter_refuses_what_does_not_fit(spoil):
    model = made("llama")
    other, name = state(model), min(state(model))
    if spoil == "missing":
        del other[name]
    elif spoil == "extra":
        other["model.layers.9.lora_A"] = torch.zeros(1)
    elif spoil == "shape":
        other[name] = torch.zeros(5, 5)
    else:
        merge(model)
    before = state(model)
    with pytest.raises(ValueError, match="no room" if spoil == "merged" else "does not fit"):
        with adapter(model, other):
            pass
    assert all(torch.equal(before[n], p) for n, p in factors(model).items())


# Sums of adapters
def deltas(model):
    return {n: m.get_delta_weight() for n, m in model.named_modules() if hasattr(m, "lora_A")}


@pytest.mark.parametrize("weight", [None, [0.5, 0.5, 2.0]])
@each_model
def test_concatenation_is_the_exact_sum(kind, weight):
    shapes = {"r": (2, 3, 5), "lora_alpha": (7, 4, 11)}
    models = [
        made(kind, torch.float64, r=r, lora_alpha=a, seed=r)
        for r, a in zip(*shapes.values(), strict=True)
    ]
    joined = concatenate([state(m) for m in models], [7 / 2, 4 / 3, 11 / 5], weight)
    target = made(kind, torch.float64, r=10, lora_alpha=10)
    want = {
        name: sum(w * deltas(m)[name] for w, m in zip(weight or [1, 1, 1], models, strict=True))
        for name in deltas(target)
    }
    with adapter(target, joined):
        for name, delta in deltas(target).items():
            torch.testing.assert_close(delta, want[name], rtol=1e-12, atol=1e-13)


def test_concatenation_equals_peft():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    theirs = get_peft_model(
        MADE["llama"]().double(),
        LoraConfig(
            r=3, lora_alpha=7, target_modules=["q_proj", "up_proj"], init_lora_weights=False
        ),
        adapter_name="one",
    )
    second = LoraConfig(
        r=2, lora_alpha=5, target_modules=["q_proj", "up_proj"], init_lora_weights=False
    )
    theirs.add_adapter("two", second)
    theirs.double()
    weight = [0.7, 1.3]
    theirs.add_weighted_adapter(["one", "two"], weight, "sum", combination_type="cat")
    layers = {n: m for n, m in theirs.named_modules() if hasattr(m, "lora_A")}
    states = [
        {
            f"{n}.{key}": getattr(m, key)[which].weight
            for n, m in layers.items()
            for key in ("lora_A", "lora_B")
        }
        for which in ("one", "two")
    ]
    joined = concatenate(states, [7 / 3, 5 / 2], weight)
    for name, layer in layers.items():
        got = joined[f"{name}.lora_B"] @ joined[f"{name}.lora_A"]
        torch.testing.assert_close(got, layer.get_delta_weight("sum"), rtol=1e-12, atol=1e-13)


def test_averaging_the_factors_is_not_the_average():
    """FACTS: averaging A and B is off by about the size of the update itself."""
    one, two = (made("llama", torch.float64, seed=s) for s in (1, 2))
    mean = {n: (p + state(two)[n]) / 2 for n, p in state(one).items()}
    half = concatenate([state(one), state(two)], [7 / 3, 7 / 3], [0.5, 0.5])
    for name, delta in deltas(one).items():
        true = (delta + deltas(two)[name]) / 2
        wrong = 7 / 3 * mean[f"{name}.lora_B"] @ mean[f"{name}.lora_A"]
        right = half[f"{name}.lora_B"] @ half[f"{name}.lora_A"]
        if true.shape != wrong.shape:
            wrong, right = wrong.T, right.T
        assert 0.4 < error(wrong, true) < 1.6
        assert error(right, true) < 1e-12


def test_concatenate_refuses_what_does_not_fit():
    one = state(made("llama"))
    for states, scalings, weight in (([], [], None), ([one], [1, 2], None), ([one], [1], [1, 2])):
        with pytest.raises(ValueError, match="one scaling and one weight"):
            concatenate(states, scalings, weight)
    less = dict(one)
    gone = min(less)
    del less[gone]
    for states in ([one, less], [less, one]):
        with pytest.raises(ValueError, match=gone):
            concatenate(states, [1, 1])


def test_size():
    """merge and unmerge have at most 35 lines of code, without docstrings and blank lines."""
    count = 0
    for function in (merge, unmerge):
        source = inspect.getsource(function)
        body = ast.parse(source).body[0].body
        lines = source.splitlines()
        count += 1 + len([line for line in lines[body[0].end_lineno :] if line.strip()])
    assert count <= 35, f"{count} lines"


@each_model
def test_an_update_that_rounding_took_is_said(kind):
    """A step far below the last digit of bfloat16; one well above it, and float32, are silent."""
    for dtype, size, lost in (
        (torch.bfloat16, 1e-5, True),
        (torch.bfloat16, 1.0, False),
        (torch.float32, 1e-5, False),
    ):
        model = made(kind, dtype)
        with torch.no_grad():
            for name, p in factors(model).items():
                p.mul_(size if name.endswith("lora_B") else 1)
        places = [n for n, m in model.named_modules() if type(m) in KINDS.values()]
        before = {n: model.get_submodule(n).base_layer.weight.double() for n in places}
        update = {n: model.get_submodule(n).get_delta_weight().double() for n in places}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            merge(model)
        assert len(said) == lost, (dtype, size, said)
        if lost:
            off = [model.get_submodule(n).weight.double() - before[n] - update[n] for n in places]
            share = sum(e.square().sum() for e in off) / sum(
                u.square().sum() for u in update.values()
            )
            assert f"{share.sqrt():.0%} of the update" in str(said[0].message)
            assert "bfloat16" in str(said[0].message) and "float32 copy" in str(said[0].message)


def test_the_coarsest_type_is_named():
    """A float32 layer behind a bfloat16 one does not give its name to what the other lost."""
    model = inject(nn.Sequential(nn.Linear(8, 8).bfloat16(), nn.Linear(8, 8)), r=1, lora_alpha=1)
    with torch.no_grad():
        model[0].lora_A.fill_(1e-3)
        model[0].lora_B.fill_(1e-3)
        model[1].lora_B.zero_()
    with pytest.warns(UserWarning, match="Rounding to torch.bfloat16 took"):
        merge(model)
