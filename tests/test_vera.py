"""vera.py against PEFT: the projections of a seed, forward, gradients, a training run."""

import copy

import pytest
import torch

from lora_course.adapters import lora_state_dict
from lora_course.inject import inject_lora, lora_layers
from lora_course.methods.vera import projections, use_vera
from tests.small_llama import batch, llama
from tests.test_descendant import stirred
from tests.test_models import random_model

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word", "ignore::UserWarning")


def pair(kind, r=5, seed=11, targets="all-linear"):
    from peft import VeraConfig, get_peft_model

    base = llama() if kind == "llama" else random_model("gpt2", 48).eval()
    ours = use_vera(inject_lora(copy.deepcopy(base), targets, r=r, seed=0), seed=seed)
    names = "all-linear" if targets == "all-linear" else targets
    config = VeraConfig(r=r, projection_prng_key=seed, target_modules=names)
    theirs = get_peft_model(copy.deepcopy(base), config).eval()
    return ours, theirs


def vectors(theirs):
    """{our name: PEFT's vector}."""
    found = {}
    for name, p in theirs.named_parameters():
        name = name.removeprefix("base_model.model.").removesuffix(".default")
        found[name.replace("vera_lambda", "lora_lambda")] = p
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_projections_equal_peft(kind):
    ours, theirs = pair(kind)
    for name, layer in lora_layers(ours).items():
        other = theirs.base_model.model.get_submodule(name)
        d_in, d_out = other.in_features, other.out_features
        assert torch.equal(layer.lora_A, other.vera_A["default"][:, :d_in])
        assert torch.equal(layer.lora_B, other.vera_B["default"][:d_out])


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_forward_and_gradients_equal_peft(kind):
    ours, theirs = pair(kind)
    other = vectors(theirs)
    stirred(ours)
    with torch.no_grad():
        for name, p in lora_state_dict(ours).items():
            other[name].copy_(p)
    mine, wanted = ours(**batch(0)), theirs(**batch(0))
    torch.testing.assert_close(mine.logits, wanted.logits, rtol=1e-5, atol=1e-5)
    mine.loss.backward()
    wanted.loss.backward()
    trained = {n: p for n, p in ours.named_parameters() if p.requires_grad}
    assert len(trained) == sum(p.requires_grad for p in theirs.parameters())
    for name, p in trained.items():
        torch.testing.assert_close(p.grad, other[name].grad, rtol=1e-4, atol=1e-6)


def test_vectors_equal_peft_after_training():
    ours, theirs = pair("llama", r=9)
    for model in (ours, theirs):
        adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01)
        for step in range(6):
            adam.zero_grad()
            model(**batch(step)).loss.backward()
            adam.step()
    other = vectors(theirs)
    for name, p in lora_state_dict(ours).items():
        torch.testing.assert_close(p, other[name].detach(), rtol=1e-3, atol=1e-5)
        assert (p - (0.1 if name.endswith("_d") else 0.0)).abs().max() > 1e-3, name


def test_merged_weights_equal_peft():
    ours, theirs = pair("llama")
    stirred(ours)
    other = vectors(theirs)
    with torch.no_grad():
        for name, p in lora_state_dict(ours).items():
            other[name].copy_(p)
    for name, layer in lora_layers(ours).items():
        wanted = theirs.base_model.model.get_submodule(name).get_delta_weight("default")
        torch.testing.assert_close(layer.get_delta_weight(), wanted, rtol=1e-5, atol=1e-7)


def test_two_layers_share_one_pair():
    """No layer holds a copy: their memory is that of the two shared matrices."""
    model = use_vera(inject_lora(llama(), r=6))
    layers = list(lora_layers(model).values())
    assert len({layer.lora_A.untyped_storage().data_ptr() for layer in layers}) == 1
    assert len({layer.lora_B.untyped_storage().data_ptr() for layer in layers}) == 1
    assert not any("lora_A" in key for key in model.state_dict())


def test_seeds():
    A, B = projections(4, 6, 5, seed=3)
    again, other = projections(4, 6, 5, seed=3), projections(4, 6, 5, seed=4)
    assert torch.equal(A, again[0]) and torch.equal(B, again[1])
    assert not torch.equal(A, other[0]) and not torch.equal(B, other[1])
    big = projections(300, 200, 100, seed=0)
    for matrix in big:
        bound = (6 / matrix.shape[1]) ** 0.5
        assert 0.99 * bound < matrix.abs().max() <= bound
        assert matrix.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
