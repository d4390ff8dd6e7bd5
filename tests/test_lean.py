"""The lean layer against autograd in float64, and against the plain layer in every type."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.adapters import lora_state_dict
from lora_course.bits.fourbit import four_bit_layers, load_four_bit
from lora_course.costs.memory import saved_bytes
from lora_course.fast.lean import LeanLoRA, LeanProduct, drop, make_lean
from lora_course.inject import inject_lora, lora_layers
from lora_course.lora import LoRAConv1D, LoRALinear
from lora_course.merge import merge
from lora_course.methods.descendant import descend
from lora_course.methods.dora import DoRALinear
from tests.small_llama import batch, llama

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word")


def layers(kind="linear", dtype=torch.float64, p=0.0, bias=True, r=3):
    """A plain LoRA layer 6 -> 10 with B that is not zero, and the lean one with equal numbers."""
    torch.manual_seed(0)
    if kind == "linear":
        plain = LoRALinear(nn.Linear(6, 10, bias=bias, dtype=dtype), r, 7, p)
    else:
        base = Conv1D(10, 6).to(dtype)
        nn.init.normal_(base.bias)
        plain = LoRAConv1D(base, r, 7, p)
    nn.init.normal_(plain.lora_B)
    return plain, LeanLoRA(copy.deepcopy(plain))


def both(plain, lean, x, seed=0):
    """Output and gradients of x, A and B, of each."""
    made = []
    for layer in (plain, lean):
        own = x.clone().requires_grad_()
        torch.manual_seed(seed)
        out = layer(own)
        out.square().sum().backward()
        made.append((out, own.grad, layer.lora_A.grad, layer.lora_B.grad))
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("needs", ["x", "A", "B", "all"])
def test_gradcheck(bias, needs):
    torch.manual_seed(0)
    x, W, A, B, b = (
        torch.randn(s, dtype=torch.float64) for s in ((5, 6), (10, 6), (3, 6), (10, 3), 10)
    )
    for name, t in {"x": x, "A": A, "B": B}.items():
        t.requires_grad_(needs in (name, "all"))

    def product(x, A, B):
        return LeanProduct.apply(x, W, None, b if bias else None, A, B, 7 / 3, 0.0, x.dtype)

    assert torch.autograd.gradcheck(product, (x, A, B))


def test_gradcheck_under_dropout():
    x, W, A, B = (
        torch.randn(s, dtype=torch.float64, requires_grad=True)
        for s in ((4, 6), (10, 6), (3, 6), (10, 3))
    )

    def product(x, A, B):
        torch.manual_seed(3)  # the same mask at every call
        return LeanProduct.apply(x, W.detach(), None, None, A, B, 7 / 3, 0.3, x.dtype)

    assert torch.autograd.gradcheck(product, (x, A, B))


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
def test_equal_to_the_plain_layer(kind, p, shape):
    torch.manual_seed(1)
    plain, lean = layers(kind, torch.float32, p)
    x = torch.randn(shape)
    if p:  # one mask for both, whichever way each draws it
        plain.lora_dropout.forward = lambda x: drop(x, torch.native_dropout(x, p, True)[1], p)
    for one, other in zip(*both(plain, lean, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_no_dropout_in_eval_mode():
    plain, lean = layers(p=0.5)
    x = torch.randn(4, 6, dtype=torch.float64)
    assert torch.allclose(plain.eval()(x), lean.eval()(x))
    assert not torch.allclose(lean(x), lean.train()(x))


def test_dropout_keeps_the_share_and_the_mean():
    kept = torch.native_dropout(torch.ones(100_000), 0.3, True)[1]
    x = drop(torch.ones(100_000), kept, 0.3)
    assert abs((x == 0).float().mean() - 0.3) < 0.01 and abs(x.mean() - 1) < 0.01


def lean_twin(model, p=0.0):
    """The model with plain LoRA whose B is not zero, and a copy of it made lean."""
    plain = inject_lora(model, "all-linear", r=4, lora_alpha=12, lora_dropout=p, seed=0)
    for layer in lora_layers(plain).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return plain, make_lean(copy.deepcopy(plain))


def gradients(model, made):
    """The loss of one batch, and {name: gradient}."""
    model.zero_grad()
    loss = model(**made).loss
    loss.backward()
    return loss.detach(), {
        n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad
    }


def close(plain, lean, made, rtol=1e-5):
    (one, want), (other, got) = gradients(plain, made), gradients(lean, made)
    torch.testing.assert_close(other, one, rtol=rtol, atol=0)
    assert want.keys() == got.keys() and len(want) == 2 * len(lora_layers(plain))
    for name, grad in want.items():
        assert (got[name] - grad).norm() <= rtol * 10 * grad.norm(), name
        assert got[name].dtype == grad.dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_model_made_lean_has_the_same_loss_and_gradients(dtype):
    plain, lean = lean_twin(llama().to(dtype))
    assert all(type(m) is LeanLoRA for m in lora_layers(lean).values())
    close(plain, lean, batch(0), 1e-10 if dtype == torch.float64 else 1e-5)


def test_bfloat16_base_with_float32_factors():
    plain, lean = lean_twin(llama().to(torch.bfloat16))
    assert next(p for n, p in lean.named_parameters() if "lora_" in n).dtype == torch.float32
    exact, _ = lean_twin(llama().double())
    exact.load_state_dict({n: t.double() for n, t in lean.state_dict().items()})
    (_, true), (_, one), (_, other) = (gradients(m, batch(0)) for m in (exact, plain, lean))
    error = lambda got: sum((got[n] - g).norm() ** 2 for n, g in true.items()).sqrt()  # noqa: E731
    assert error(other) < 1.2 * error(one)  # as near to float64 as the plain layer, or nearer


def test_autocast_gives_what_the_plain_layer_gives_there():
    plain, lean = lean_twin(llama())
    with torch.autocast("cpu", torch.bfloat16):
        assert (
            lora_layers(lean)["model.layers.0.self_attn.q_proj"](torch.randn(3, 32)).dtype
            == torch.bfloat16
        )
        close(plain, lean, batch(0), 2e-2)


def test_no_gradient_of_x_where_nothing_below_trains():
    plain, lean = layers()
    x = torch.randn(4, 6, dtype=torch.float64)
    lean(x).sum().backward()
    assert lean.lora_A.grad.any() and x.grad is None


def test_layer_used_twice_embeddings_and_checkpointing():
    model = llama()
    model.model.layers[1].mlp.up_proj = model.model.layers[0].mlp.up_proj
    plain, lean = lean_twin(model)
    close(plain, lean, batch(1))
    lean.train().gradient_checkpointing_enable({"use_reentrant": False})
    close(plain.train(), lean, batch(1))
    model = inject_lora(llama(), ["embed_tokens", "q_proj"], r=2)
    kinds = {type(m).__name__ for m in lora_layers(make_lean(model)).values()}
    assert kinds == {"LoRAEmbedding", "LeanLoRA"}


def test_names_files_and_merge_stay():
    plain, lean = lean_twin(llama())
    one, other = lora_state_dict(plain), lora_state_dict(lean)
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    assert plain.state_dict().keys() == lean.state_dict().keys()
    merge(plain), merge(lean)
    for name, p in plain.named_parameters():
        assert torch.equal(p, lean.get_parameter(name))


@pytest.mark.parametrize("p", [0.0, 0.1])
def test_saves_x_once_for_q_k_and_v(p):
    """By formula: what the layers of a block keep beside what the model keeps without LoRA."""
    plain, lean = lean_twin(llama(layers=1), p=p)
    made, kept = batch(0), {}
    for name, model in (("base", llama(layers=1)), ("plain", plain), ("lean", lean)):
        model.train()
        if name == "base":
            model.requires_grad_(False)
            model.get_input_embeddings().register_forward_hook(
                lambda m, i, out: out.requires_grad_()
            )
        known = [*model.parameters(), *model.buffers(), *made.values()]
        kept[name] = saved_bytes(lambda model=model: model(**made).loss, known)
    tokens, width, wide, r = 36, 32, 64, 4
    inputs = 4 * (2 * width + width + wide)  # of q, k, v; of gate, up; of o, which is kept anyway
    inputs -= 4 * width
    masks = (6 * width + wide) * (p > 0)
    small = 4 * 7 * r
    assert kept["lean"] <= kept["base"] + tokens * (inputs + masks + small) + 64
    assert kept["lean"] <= kept["plain"]


def test_refuses_what_it_cannot_make_lean():
    with pytest.raises(ValueError, match="None of 0"):
        make_lean(llama())
    dora = descend(inject_lora(llama(), "all-linear", r=2), DoRALinear)
    with pytest.raises(ValueError, match="None of 14"):
        make_lean(dora)
    lean = make_lean(inject_lora(llama(), "all-linear", r=2))
    with pytest.raises(ValueError, match="None of 14"):
        make_lean(lean)


@pytest.fixture(scope="module")
def four_bit():
    return load_four_bit("base", device="cpu")


@pytest.mark.parametrize("prepared", [False, True])
def test_on_a_four_bit_base(four_bit, prepared):
    model = copy.deepcopy(four_bit)
    if prepared:  # float32 between the layers, 16 bits in the products
        for layer in four_bit_layers(model).values():
            layer.compute_dtype = torch.bfloat16
    plain, lean = lean_twin(model)
    ids = torch.randint(10, 400, (2, 12), generator=torch.Generator().manual_seed(0))
    made = {"input_ids": ids, "labels": ids}
    close(plain, lean, made, 1e-1 if prepared else 1e-4)
    known = [*plain.parameters(), *lean.parameters(), *plain.buffers(), *lean.buffers(), ids]
    one, other = (saved_bytes(lambda m=m: m(**made).loss, known) for m in (plain, lean))
    factors = sum(p.numel() for p in lean.parameters() if p.requires_grad)
    assert other <= one + 2 * factors * prepared  # their casts; nothing that grows with the tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_compiled_layers_have_the_gradients_of_eager_ones(dtype, p):
    """torch 2.11 gave zeros, silently, where a Function returned what it had changed in place."""
    _, lean = lean_twin(llama().to(dtype), p)
    compiled = copy.deepcopy(lean)
    for layer in compiled.model.layers:
        layer.compile(backend="aot_eager")
    made = []
    for model in (lean.train(), compiled.train()):
        torch.manual_seed(0)
        made.append(gradients(model, batch(0)))
    (one, want), (other, got) = made
    assert abs(one - other) < 1e-3 * one and all(grad.any() for grad in got.values())
    if not p:  # the masks are drawn in another order
        rtol = 1e-5 if dtype == torch.float32 else 0.05
        assert all((got[n] - g).norm() <= rtol * g.norm() for n, g in want.items())


@pytest.mark.slow
def test_compiled_on_a_four_bit_base(four_bit):
    _, lean = lean_twin(copy.deepcopy(four_bit))
    compiled = copy.deepcopy(lean)
    for layer in compiled.model.layers:
        layer.compile(backend="aot_eager")
    ids = torch.randint(10, 400, (2, 12), generator=torch.Generator().manual_seed(0))
    close(lean, compiled, {"input_ids": ids, "labels": ids}, 1e-4)


def test_on_the_meta_device():
    lean = make_lean(inject_lora(llama().to("meta"), "all-linear", r=4, lora_dropout=0.1))
    ids = torch.zeros(2, 9, dtype=torch.long, device="meta")
    assert lean.train()(input_ids=ids).logits.shape == (2, 9, 48)
