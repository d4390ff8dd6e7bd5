"""combine.py: TIES and DARE against PEFT's own, against a slow reference, and by their promises."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import merge_utils
from transformers import LlamaConfig, LlamaForCausalLM

from lora_course.methods.combine import dare, mix, ties, trim

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True,
}  # fmt: skip


def updates(n=3, shape=(7, 9), seed=0):
    return [t for t in torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("density", [0, 0.1, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.2, 1.5, -0.7]])
@pytest.mark.parametrize("shape", [(7, 9), (40,), (3, 4, 5)])
def test_ties_is_that_of_peft_to_the_bit(density, weights, shape):
    given = updates(shape=shape)
    theirs = merge_utils.ties(given, torch.tensor(weights), density)
    assert torch.equal(ties(given, density, weights), theirs)


def slow_ties(given, density, weights):
    """Entry by entry, in plain Python."""
    out = torch.zeros_like(given[0]).flatten()
    flat = [u.flatten().tolist() for u in given]
    for u in flat:
        order = sorted(range(len(u)), key=lambda i: -abs(u[i]))
        for i in order[int(density * len(u)) :]:
            u[i] = 0.0
    for i in range(len(out)):
        column = [u[i] for u in flat]
        sign = 1 if sum(column) >= 0 else -1
        agree = [w * v for w, v in zip(weights, column, strict=True) if v * sign > 0]
        out[i] = sum(agree) / len(agree) if agree else 0.0
    return out.view_as(given[0])


def test_ties_by_hand():
    given = updates(4, (5, 6), seed=3)
    for density in (0.2, 0.5, 1):
        for weights in ([1, 1, 1, 1], [0.5, 2, 1, 0.1]):
            got = ties(given, density, [float(w) for w in weights])
            torch.testing.assert_close(got, slow_ties(given, density, weights))
    one = ties(given[:1], 1.0)
    assert torch.equal(one, given[0])
    assert torch.equal(ties([given[0], -given[0]], 1.0), given[0].abs())  # a draw counts as plus


def test_trim_keeps_the_largest_of_each():
    (update,) = updates(1, (10, 10))
    kept = trim(update, 0.3)
    assert (kept != 0).sum() == 30 and torch.equal(kept[kept != 0], update[kept != 0])
    assert kept[kept != 0].abs().min() >= update[kept == 0].abs().max()
    assert kept.data_ptr() != update.data_ptr() and torch.equal(trim(update, 1), update)


def test_dare_is_that_of_peft_and_keeps_the_mean():
    (update,) = updates(1, (50, 40))
    torch.manual_seed(4)
    ours = dare(update, 0.3)
    torch.manual_seed(4)
    assert torch.equal(ours, merge_utils.dare_linear([update], torch.ones(1), 0.3))
    seed = torch.Generator().manual_seed(0)
    mean = torch.stack([dare(update, 0.5, seed) for _ in range(400)]).mean(0)
    assert (mean - update).norm() < 0.1 * update.norm()
    assert torch.equal(dare(update, 1.0), update)


@pytest.mark.parametrize("call", [trim, dare, lambda u, d: ties([u], d)])
@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan")])
def test_a_density_is_a_share(call, density):
    with pytest.raises(ValueError, match="density is"):
        call(torch.ones(3, 3), density)


def test_ties_wants_a_weight_for_each():
    with pytest.raises(ValueError, match="2 updates and 1 weights"):
        ties(updates(2), 0.5, [1.0])
    with pytest.raises(ValueError, match="0 updates"):
        ties([], 0.5)
    with pytest.raises(ValueError, match="density is 0"):
        dare(torch.ones(2), 0)


def adapters(scale=2.0):
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    config = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(base, config, adapter_name="one")
    model.add_adapter("two", copy.deepcopy(config))
    return model.eval()


def delta(model, name):
    layers = [m for m in model.modules() if name in getattr(m, "lora_A", {})]
    return torch.cat([m.get_delta_weight(name).detach().flatten() for m in layers])


def test_mix_replaces_the_last_mixture_and_cat_is_the_exact_sum():
    model = adapters()
    want = 0.3 * delta(model, "one") + 0.9 * delta(model, "two")
    for kind in ("ties_svd", "dare_linear", "svd", "cat"):
        mix(model, kind, ["one", "two"], [0.3, 0.9])
        assert model.active_adapter == "mix" and set(model.peft_config) == {"one", "two", "mix"}
    torch.testing.assert_close(delta(model, "mix"), want)


def test_linear_is_not_the_average():
    """FACTS D48: it averages the factors, so cross terms come in. svd loses what rank r cuts."""
    model = adapters()
    want = (delta(model, "one") + delta(model, "two")) / 2
    off = {}
    for kind in ("cat", "svd", "linear"):
        mix(model, kind, ["one", "two"], [0.5, 0.5])
        off[kind] = ((delta(model, "mix") - want).norm() / want.norm()).item()
    assert off["cat"] < 1e-5 < off["svd"] < 0.8 < off["linear"]


def test_peft_applies_ties_to_the_factors_unless_it_is_told_svd():
    model = adapters()
    mix(model, "ties_svd", ["one", "two"], [1.0, 1.0], density=0.5)
    layer = next(m for m in model.modules() if "mix" in getattr(m, "lora_A", {}))
    whole = ties([layer.get_delta_weight(n).detach() for n in ("one", "two")], 0.5)
    U, s, Vh = torch.linalg.svd(whole)
    cut = U[:, :3] * s[:3] @ Vh[:3]
    torch.testing.assert_close(layer.get_delta_weight("mix").detach(), cut, atol=1e-5, rtol=1e-4)
    mix(model, "ties", ["one", "two"], [1.0, 1.0], density=0.5)
    assert (layer.get_delta_weight("mix") - cut).norm() > 0.1 * cut.norm()
