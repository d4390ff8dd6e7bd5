"""twin.py: it says equal where models are equal, and unequal where they are not."""

import copy

import pytest
import torch

from lora_course.bridges.twin import same_as_peft, twin
from lora_course.inject import inject_lora, lora_layers
from lora_course.methods.adalora import use_adalora
from lora_course.methods.dora import use_dora
from lora_course.methods.vera import use_vera
from tests.small_llama import batch, llama

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word", "ignore::UserWarning")


def pair(name):
    from peft import AdaLoraConfig, LoraConfig, VeraConfig

    base, common = llama(), {"target_modules": "all-linear"}
    use, config = {
        "lora": (lambda m: m, LoraConfig(r=3, lora_alpha=5, **common)),
        "dora": (use_dora, LoraConfig(r=3, lora_alpha=5, use_dora=True, **common)),
        "adalora": (use_adalora, AdaLoraConfig(init_r=3, lora_alpha=5, total_step=9, **common)),
        "vera": (lambda m: use_vera(m, seed=2), VeraConfig(r=3, projection_prng_key=2, **common)),
    }[name]
    return base, use(inject_lora(copy.deepcopy(base), r=3, lora_alpha=5, seed=0)), config


@pytest.mark.parametrize("name", ["lora", "dora", "adalora", "vera"])
def test_equal_models(name):
    assert same_as_peft(*pair(name), batch(0)) == (True, True)


@pytest.mark.parametrize("name", ["lora", "dora", "vera"])
def test_another_scale_is_seen(name):
    base, ours, config = pair(name)
    for layer in lora_layers(ours).values():
        if name == "vera":
            layer.lora_A.mul_(1.1)
        else:
            layer.scaling *= 1.1
    assert same_as_peft(base, ours, config, batch(0)) != (True, True)


def test_another_gradient_is_seen():
    """The undetached norm of DoRA: the same output, and gradients that PEFT does not have."""
    base, _, config = pair("dora")
    ours = use_dora(inject_lora(copy.deepcopy(base), r=3, lora_alpha=5, seed=0), detach_norm=False)
    assert same_as_peft(base, ours, config, batch(0)) == (True, False)


def test_other_layers_are_refused():
    base, ours, config = pair("lora")
    config.target_modules = {"q_proj"}
    with pytest.raises(ValueError, match="other numbers, for instance model"):
        twin(base, ours, config)
    assert torch.isfinite(ours(**batch(0)).loss)
