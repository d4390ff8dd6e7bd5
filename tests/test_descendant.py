"""What DoRA, AdaLoRA and VeRA share: swapping layers, counts, files, merging, many at once."""

import copy

import pytest
import torch
from torch import nn

from lora_course.adapters import load_adapter, lora_state_dict, save_adapter
from lora_course.fast.many import losses, many_layers, train_many
from lora_course.inject import count_parameters, inject_lora, lora_layers
from lora_course.merge import merge, unmerge
from lora_course.methods.adalora import orthogonality, use_adalora
from lora_course.methods.dora import use_dora
from lora_course.methods.pissa import use_pissa
from lora_course.methods.vera import use_vera
from tests.small_llama import batch, llama
from tests.test_models import random_model

METHODS = {"dora": use_dora, "adalora": use_adalora, "vera": use_vera, "pissa": use_pissa}
each = pytest.mark.parametrize("name", METHODS)
pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word")


def stirred(model, std=0.1):
    """The model with every trained number moved from its start."""
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * std)
    return model


@each
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_starts_as_the_base(name, kind):
    """Conv1D keeps (in, out): a layer that mixes up the two would move the output."""
    base = llama() if kind == "llama" else random_model("gpt2", 48).eval()
    model = METHODS[name](inject_lora(copy.deepcopy(base), r=3, lora_alpha=5, seed=0))
    same = model(**batch(0)).logits, base(**batch(0)).logits
    torch.testing.assert_close(*same, rtol=1e-5, atol=1e-5)
    assert all(".lora_" in n for n, p in model.named_parameters() if p.requires_grad)


@each
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_merges_into_the_weights(name, kind):
    base = llama() if kind == "llama" else random_model("gpt2", 48).eval()
    model = stirred(METHODS[name](inject_lora(base, r=3, lora_alpha=5, seed=0)))
    wanted, weights = model(**batch(0)).logits, copy.deepcopy(model.state_dict())
    merge(model)
    assert not lora_layers(model)
    torch.testing.assert_close(model(**batch(0)).logits, wanted, rtol=1e-4, atol=1e-5)
    unmerge(model)
    torch.testing.assert_close(model(**batch(0)).logits, wanted, rtol=1e-4, atol=1e-5)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=1e-4, atol=1e-5)


def test_counts():
    """The formulas of the chapter, on layers whose sides differ."""
    base, r = llama(), 3
    shapes = [layer.lora_A.shape[1:] + layer.lora_B.shape[:1] for layer in
              lora_layers(inject_lora(copy.deepcopy(base), r=r)).values()]  # fmt: skip
    formulas = {
        "dora": lambda i, o: r * (i + o) + o, "adalora": lambda i, o: r * (i + o) + r,
        "vera": lambda i, o: r + o, "pissa": lambda i, o: r * (i + o),
    }  # fmt: skip
    for name, use in METHODS.items():
        model = use(inject_lora(copy.deepcopy(base), r=r))
        assert count_parameters(model)[0] == sum(formulas[name](*shape) for shape in shapes), name


@pytest.mark.parametrize("name", ["dora", "adalora", "vera"])
def test_saved_and_loaded(name, tmp_path):
    base = llama()
    model = stirred(METHODS[name](inject_lora(copy.deepcopy(base), r=3, seed=0)))
    save_adapter(model, tmp_path / "a.safetensors")
    fresh = METHODS[name](inject_lora(copy.deepcopy(base), r=3, seed=1))
    load_adapter(fresh, tmp_path / "a.safetensors")
    assert torch.equal(fresh(**batch(0)).logits, model(**batch(0)).logits)
    for name, tensor in lora_state_dict(fresh).items():
        assert torch.equal(tensor, lora_state_dict(model)[name])


@each
def test_refuses_what_it_cannot_do(name):
    use = METHODS[name]
    with pytest.raises(ValueError, match="inject_lora first"):
        use(llama())
    if name == "pissa":
        with pytest.raises(ValueError, match="r = 40"):
            use(inject_lora(llama(), r=40))
        return
    with pytest.raises(ValueError, match="no plain LoRA any more"):
        use(use(inject_lora(llama(), r=2)))
    with pytest.raises(TypeError, match="leave embeddings out"):
        use(inject_lora(llama(), ["embed_tokens"], r=2))
    packed = inject_lora(llama(), ["q_proj"], r=2)
    for layer in lora_layers(packed).values():
        layer.base_layer.weight = nn.Parameter(torch.zeros(8, dtype=torch.uint8), False)
    before = dict(packed.named_modules())
    with pytest.raises(ValueError, match="packed"):
        use(packed)
    assert dict(packed.named_modules()) == before


def test_a_layer_in_two_places_gets_one_successor():
    model = nn.ModuleDict({"a": nn.Linear(4, 6), "c": nn.Linear(6, 4)})
    model["b"] = model["a"]
    use_dora(inject_lora(model, ["a", "b"], r=2, seed=0))
    assert model["a"] is model["b"] and model["a"].lora_magnitude.shape == (6,)


@each
def test_dropout_acts_on_the_way_into_a_only(name):
    model = inject_lora(nn.Sequential(nn.Linear(40, 7)), ["0"], r=2, lora_dropout=0.5, seed=0)
    model = stirred(METHODS[name](model)).train()
    x = torch.randn(3, 40)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


# Many runs at once
@each
def test_many_layers_equal_single_runs(name):
    """Two rates side by side: each run's losses are those of a run alone, to float32's rounding."""

    def curve(rates):
        model = METHODS[name](inject_lora(llama(), r=3, lora_alpha=6, seed=0))
        torch.manual_seed(5)
        model = many_layers(stirred(model, 0.02), len(rates))
        rows = (batch(step) for step in range(6))
        return train_many(model, rows, 6, rates), model

    together, model = curve([0.003, 0.1])
    alone = torch.cat([curve([lr])[0] for lr in (0.003, 0.1)], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[-1, 0] - together[-1, 1]).abs() > 1e-3  # the runs did part
    with torch.no_grad():
        assert losses(model, batch(9), 2).shape == (2,)


def test_many_layers_equal_torch_adam():
    """One run of DoRA, held against torch.optim.Adam and autograd on the model itself."""
    single = use_dora(inject_lora(llama(), r=3, seed=0))
    many = many_layers(copy.deepcopy(single), 1)
    mine = train_many(many, (batch(s) for s in range(5)), 5, [0.01])[:, 0]
    adam = torch.optim.Adam([p for p in single.parameters() if p.requires_grad])
    for step in range(5):
        for group in adam.param_groups:
            group["lr"] = 0.01 * (1 - step / 5)
        loss = single(**batch(step)).loss
        torch.testing.assert_close(mine[step], loss.detach(), rtol=1e-4, atol=1e-5)
        adam.zero_grad()
        loss.backward()
        adam.step()


def test_penalty_and_after():
    model = many_layers(use_adalora(inject_lora(llama(), r=2, seed=0)), 2)
    seen, first = [], orthogonality(model)
    assert first.shape == (2,)
    after = lambda step, grads: seen.append((step, len(grads)))  # noqa: E731
    rows = (batch(s) for s in range(4))
    train_many(model, rows, 4, [0.01, 0.02], penalty=orthogonality, after=after)
    layers = sum(hasattr(m, "lora_E") and m.lora_E.requires_grad for m in model.modules())
    assert seen == [(step, 3 * layers) for step in range(4)]
    assert (orthogonality(model) < first).all()
