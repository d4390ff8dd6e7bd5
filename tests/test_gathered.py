"""gathered.py against PEFT's mixed batch, and against each adapter alone."""

import copy

import pytest
import torch
from torch import nn

from lora_course.adapters import lora_state_dict
from lora_course.fast.gathered import GatheredLoRA, gather, pick, stack
from lora_course.inject import inject_lora, lora_layers
from tests.small_llama import llama
from tests.test_models import random_model

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word", "ignore::UserWarning")
SETTINGS = [(3, 7), (5, 2), (2, 9)]  # r, lora_alpha: no two alike
ROWS = [2, 0, -1, 1, 0]


def base(kind):
    return llama() if kind == "llama" else random_model(kind, 48).eval()


def alone(model, r, lora_alpha, seed):
    """A copy of the model with one adapter whose B is not zero."""
    made = inject_lora(copy.deepcopy(model), r=r, lora_alpha=lora_alpha, seed=seed)
    for layer in lora_layers(made).values():
        nn.init.normal_(layer.lora_B, std=0.3)
    return made


def parts(made):
    return lora_state_dict(made), next(iter(lora_layers(made).values())).scaling


@pytest.fixture(params=["llama", "gpt2", "qwen3"])
def three(request):
    """(base, three models with an adapter each, ids of five rows)."""
    model = base(request.param)
    made = [alone(model, *both, seed) for seed, both in enumerate(SETTINGS)]
    return model, made, torch.randint(3, 48, (5, 6), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(model, ids, **more):
    return model(input_ids=ids, **more).logits


def gathered(model, made):
    many = gather(copy.deepcopy(model))
    stack(many, [parts(one) for one in made])
    return many


def test_each_row_as_with_its_adapter_alone(three):
    model, made, ids = three
    many = gathered(model, made)
    assert torch.equal(logits(many, ids), logits(model, ids))  # nobody has chosen yet
    pick(many, ROWS)
    out = logits(many, ids)
    for b, k in enumerate(ROWS):
        want = logits(made[k] if k >= 0 else model, ids[b : b + 1])
        torch.testing.assert_close(out[b : b + 1], want, rtol=1e-5, atol=1e-5)
    apart = [logits(one, ids) for one in (*made, model)]
    assert min((a - b).abs().max() for i, a in enumerate(apart) for b in apart[:i]) > 0.05
    pick(many, None)
    assert torch.equal(logits(many, ids), logits(model, ids))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_equals_the_mixed_batch_of_peft(kind):
    from peft import LoraConfig, get_peft_model

    model = base(kind)
    ids = torch.randint(3, 48, (5, 6), generator=torch.Generator().manual_seed(1))
    theirs, ours = None, []
    for name, (r, lora_alpha) in zip("abc", SETTINGS, strict=True):
        config = LoraConfig(
            r=r, lora_alpha=lora_alpha, target_modules="all-linear", init_lora_weights=False,
            task_type="CAUSAL_LM",
        )  # fmt: skip
        if theirs is None:
            theirs = get_peft_model(copy.deepcopy(model), config, adapter_name=name).eval()
        else:
            theirs.add_adapter(name, config)
        layers = {n: m for n, m in theirs.base_model.model.named_modules() if hasattr(m, "lora_A")}
        factors = {}
        for place, layer in layers.items():
            factors |= {f"{place}.lora_A": layer.lora_A[name].weight.detach(),
                        f"{place}.lora_B": layer.lora_B[name].weight.detach()}  # fmt: skip
        ours.append((factors, lora_alpha / r))
    many = gather(copy.deepcopy(model))
    stack(many, ours)
    pick(many, ROWS)
    names = ["__base__" if k < 0 else "abc"[k] for k in ROWS]
    want = logits(theirs, ids, adapter_names=names)
    torch.testing.assert_close(logits(many, ids), want, rtol=1e-5, atol=1e-5)


def test_generation_takes_the_same_rows_at_every_step():
    model = base("llama")
    made = [alone(model, *both, seed) for seed, both in enumerate(SETTINGS)]
    many, ids = gathered(model, made), torch.randint(3, 48, (3, 4))
    pick(many, [1, 2, 0])
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    out = many.generate(input_ids=ids, **how)
    for b, k in enumerate((1, 2, 0)):
        assert torch.equal(out[b : b + 1], made[k].generate(input_ids=ids[b : b + 1], **how))


def test_float64_layer_by_hand():
    torch.manual_seed(0)
    layer = nn.Linear(7, 4).double()
    model = nn.Sequential(nn.Linear(3, 7).double(), layer)
    gather(model, ["1"])
    pairs = [(torch.randn(r, 7).double(), torch.randn(4, r).double()) for r in (2, 5)]
    stack(
        model,
        [({"1.lora_A": A, "1.lora_B": B}, s) for (A, B), s in zip(pairs, (3, 0.5), strict=True)],
    )
    x = torch.randn(3, 2, 7).double()
    pick(model, [1, 0, 1])
    y = model[1](x)
    for b, k in enumerate((1, 0, 1)):
        A, B = pairs[k]
        torch.testing.assert_close(y[b], layer(x[b]) + (3, 0.5)[k] * x[b] @ A.T @ B.T)
    assert model[1].factors_A.shape == (3, 5, 7) and not model[1].factors_A[0, 2:].any()
    assert isinstance(model[0], nn.Linear) and not any(p.requires_grad for p in model.parameters())


def test_layers_that_an_adapter_lacks_stay_the_base(three):
    model, _, ids = three
    some = inject_lora(copy.deepcopy(model), [next(iter(lora_layers(alone(model, 2, 3, 0))))], r=2)
    for layer in lora_layers(some).values():
        nn.init.normal_(layer.lora_B)
    many = gathered(model, [some])
    pick(many, [0] * len(ids))
    torch.testing.assert_close(logits(many, ids), logits(some, ids), rtol=1e-5, atol=1e-5)


def test_a_new_stack_takes_the_place_of_the_old_one(three):
    model, made, ids = three
    many = gathered(model, made)
    pick(many, ROWS)
    stack(many, [parts(made[1])])
    assert torch.equal(logits(many, ids), logits(model, ids))
    pick(many, [0] * 5)
    torch.testing.assert_close(logits(many, ids), logits(made[1], ids), rtol=1e-5, atol=1e-5)
    assert lora_state_dict(made[1]).keys() == parts(made[1])[0].keys()
    assert not [n for n in many.state_dict() if "factors" in n or n.endswith((".A", ".B"))]


def test_mistakes_are_named(three):
    model, made, ids = three
    many = gather(copy.deepcopy(model))
    with pytest.raises(ValueError, match="adapter 0: there are 0"):
        pick(many, [0] * 5)
    stack(many, [parts(one) for one in made])
    for rows in ([0, 3], [-2, 0]):
        with pytest.raises(ValueError, match="there are 3, from 0 on"):
            pick(many, rows)
    pick(many, [0, 1])
    for few in (ids, ids[:1]):
        with pytest.raises(ValueError, match="named adapters for 2"):
            logits(many, few)
    with pytest.raises(ValueError, match="no room for elsewhere.lora_A"):
        stack(many, [({"elsewhere.lora_A": torch.ones(1, 1)}, 1.0)])
    pick(many, [2, 2])  # the stack is as it was
    torch.testing.assert_close(
        logits(many, ids[:2]), logits(made[2], ids[:2]), rtol=1e-5, atol=1e-5
    )
    for function in (lambda: pick(model, None), lambda: stack(model, [])):
        with pytest.raises(ValueError, match="call gather"):
            function()
    assert not any(isinstance(m, GatheredLoRA) for m in model.modules())
