"""lora.py against peft's own layers in float64, and the properties every LoRA layer must have."""

import ast
import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_course.costs.memory import saved_bytes
from lora_course.lora import LoRAConv1D, LoRAEmbedding, LoRALinear

SHAPES = [(5, 7), (7, 5), (6, 6), (128, 64), (1, 3)]  # (in, out)
LEADING = [(), (3,), (2, 3), (2, 2, 3)]


def randomize(layer, seed=1):
    """Give A and B random values, so that the update is far from zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for factor in (layer.lora_A, layer.lora_B):
            factor.copy_(torch.randn(factor.shape, generator=generator, dtype=torch.float64))
    return layer


def linear(d_in, d_out, bias=True):
    torch.manual_seed(0)
    return nn.Linear(d_in, d_out, bias=bias, dtype=torch.float64)


def conv1d(d_in, d_out):
    torch.manual_seed(0)
    layer = Conv1D(d_out, d_in).double()
    nn.init.normal_(layer.bias)
    return layer


def embedding(n, d, padding_idx=None):
    torch.manual_seed(0)
    return nn.Embedding(n, d, padding_idx=padding_idx, dtype=torch.float64)


def peft_layer(base, r, lora_alpha):
    """peft's own layer around a copy of `base`."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=r,
        lora_alpha=lora_alpha,
        target_modules=["layer"],
        fan_in_fan_out=isinstance(base, Conv1D),
    )
    return inject_adapter_in_model(config, nn.ModuleDict({"layer": copy.deepcopy(base)}))["layer"]


def peft_twin(ours, base):
    """peft's layer around `base` with our factors, and its A and B."""
    twin = peft_layer(base, ours.r, ours.lora_alpha).double()
    if isinstance(base, nn.Embedding):
        factors = twin.lora_embedding_A["default"], twin.lora_embedding_B["default"]
    else:
        factors = twin.lora_A["default"].weight, twin.lora_B["default"].weight
    with torch.no_grad():
        factors[0].copy_(ours.lora_A)
        factors[1].copy_(ours.lora_B)
    return twin, factors


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def same_as_peft(ours, base, x):
    """Outputs, delta weight, and the gradients of input, A and B are equal in float64."""
    twin, (peft_a, peft_b) = peft_twin(ours, base)
    xs = [x.clone().requires_grad_(x.is_floating_point()) for _ in range(2)]
    outputs = [ours(xs[0]), twin(xs[1])]
    weights = torch.randn_like(outputs[0])
    for out in outputs:
        (out * weights).sum().backward()
    close(outputs[0], outputs[1])
    close(ours.lora_A.grad, peft_a.grad)
    close(ours.lora_B.grad, peft_b.grad)
    if x.is_floating_point():
        close(xs[0].grad, xs[1].grad)
    delta = ours.get_delta_weight()
    assert delta.shape == base.weight.shape
    close(delta, twin.get_delta_weight("default"))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d_in, d_out", SHAPES)
@pytest.mark.parametrize("r", [1, 4, 200])
def test_linear_equals_peft(d_in, d_out, r, bias):
    base = linear(d_in, d_out, bias)
    ours = randomize(LoRALinear(copy.deepcopy(base), r=r, lora_alpha=11))
    for leading in LEADING:
        ours.zero_grad()
        same_as_peft(ours, base, torch.randn(*leading, d_in, dtype=torch.float64))


@pytest.mark.parametrize("d_in, d_out", SHAPES)
@pytest.mark.parametrize("r", [1, 4, 200])
def test_conv1d_equals_peft(d_in, d_out, r):
    base = conv1d(d_in, d_out)
    ours = randomize(LoRAConv1D(copy.deepcopy(base), r=r, lora_alpha=11))
    assert ours.lora_A.shape == (r, d_in) and ours.lora_B.shape == (d_out, r)
    for leading in LEADING:
        ours.zero_grad()
        same_as_peft(ours, base, torch.randn(*leading, d_in, dtype=torch.float64))


@pytest.mark.parametrize("padding_idx", [None, 0, 3])
@pytest.mark.parametrize("n, d", [(9, 5), (5, 9), (6, 6)])
@pytest.mark.parametrize("r", [1, 4, 20])
def test_embedding_equals_peft(n, d, r, padding_idx):
    base = embedding(n, d, padding_idx)
    ours = randomize(LoRAEmbedding(copy.deepcopy(base), r=r, lora_alpha=11))
    for leading in LEADING:
        ours.zero_grad()
        same_as_peft(ours, base, torch.randint(0, n, leading))


def test_starts_where_peft_starts():
    """The same factor is zero as in peft, and the other has the same spread."""
    ours, peft = LoRALinear(nn.Linear(64, 32), r=16), peft_layer(nn.Linear(64, 32), 16, 8)
    assert torch.all(ours.lora_B == 0) and torch.all(peft.lora_B["default"].weight == 0)
    for a in (ours.lora_A, peft.lora_A["default"].weight):
        assert 0.95 * 64**-0.5 < a.abs().max() <= 64**-0.5
        assert abs(a.std().item() * (3 * 64) ** 0.5 - 1) < 0.1
    table, twin = (
        LoRAEmbedding(nn.Embedding(200, 32), r=16),
        peft_layer(nn.Embedding(200, 32), 16, 8),
    )
    assert torch.all(table.lora_A == 0) and torch.all(twin.lora_embedding_A["default"] == 0)
    for b in (table.lora_B, twin.lora_embedding_B["default"]):
        assert abs(b.std().item() - 1) < 0.15


@pytest.mark.parametrize("train", [True, False])
def test_starts_bit_equal_to_the_base_also_with_dropout(train):
    x = torch.randn(2, 3, 6)
    for base, wrap in [(nn.Linear(6, 4), LoRALinear), (Conv1D(4, 6), LoRAConv1D)]:
        want = base(x)
        layer = wrap(base, r=3, lora_dropout=0.5).train(train)
        assert torch.equal(layer(x), want)
    table = nn.Embedding(9, 4)
    ids = torch.randint(0, 9, (2, 3))
    want = table(ids)
    assert torch.equal(LoRAEmbedding(table, r=3).train(train)(ids), want)


@torch.no_grad()
def test_dropout_acts_on_the_input_of_A_only_while_training():
    base = linear(5, 8)
    layer = randomize(LoRALinear(base, r=6, lora_alpha=15, lora_dropout=0.5))
    x = torch.rand(2, 40, 5, dtype=torch.float64) + 1
    seen = (layer(x) - base(x)) @ torch.linalg.pinv(layer.get_delta_weight()).T  # what A was fed
    dropped = seen.abs() < 1e-9
    close(torch.where(dropped, 0.0, seen), torch.where(dropped, 0.0, 2 * x))
    assert 0.3 < dropped.double().mean() < 0.7
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    close(layer(x), base(x) + x @ layer.get_delta_weight().T)


def test_names_shapes_and_who_trains():
    layer = LoRALinear(nn.Linear(6, 4), r=3)
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        "lora_A": (3, 6),
        "lora_B": (4, 3),
        "base_layer.weight": (4, 6),
        "base_layer.bias": (4,),
    }
    for wrapped in (layer, LoRAConv1D(Conv1D(4, 6), r=3), LoRAEmbedding(nn.Embedding(6, 4), r=3)):
        trains = {name for name, p in wrapped.named_parameters() if p.requires_grad}
        assert trains == {"lora_A", "lora_B"}
        assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == 3 * (6 + 4)
        assert (wrapped.r, wrapped.lora_alpha, wrapped.scaling) == (3, 16, 16 / 3)


def test_the_base_stays_the_same_object_and_the_same_bits():
    base = nn.Linear(6, 4)
    before = copy.deepcopy(base.state_dict())
    layer = LoRALinear(base, r=2)
    assert layer.base_layer is base
    optimizer = torch.optim.AdamW([p for p in layer.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        layer(torch.randn(5, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert base.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert layer.lora_B.norm() > 0


@pytest.mark.parametrize("make", [
    lambda: LoRALinear(linear(6, 4), r=3, lora_dropout=0.1),
    lambda: LoRAConv1D(conv1d(6, 4), r=3),
    lambda: LoRAEmbedding(embedding(6, 4), r=3),
])  # fmt: skip
def test_copy_pickle_and_state_dict_keep_the_output(make):
    layer = randomize(make()).eval()
    is_table = isinstance(layer.base_layer, nn.Embedding)
    x = torch.randint(0, 6, (2, 3)) if is_table else torch.randn(2, 3, 6, dtype=torch.float64)
    loaded = make().eval()
    loaded.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(twin(x), layer(x))
    added = copy.deepcopy(layer.base_layer)
    with torch.no_grad():
        added.weight += layer.get_delta_weight()
    close(layer(x), added(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_base_keeps_its_dtype_and_gets_float32_factors(dtype):
    x = torch.randn(2, 3, 6, dtype=dtype)
    ids = torch.randint(0, 6, (2, 3))
    for base, wrap, inputs in [
        (nn.Linear(6, 4, dtype=dtype), LoRALinear, x),
        (Conv1D(4, 6).to(dtype), LoRAConv1D, x),
        (nn.Embedding(6, 4, dtype=dtype), LoRAEmbedding, ids),
    ]:
        layer = wrap(base, r=3)
        assert layer.lora_A.dtype == layer.lora_B.dtype == torch.float32
        assert torch.equal(layer(inputs), base(inputs))
        randomize(layer)(inputs).float().sum().backward()
        assert layer(inputs).dtype == dtype
        assert layer.lora_A.grad.abs().max() > 0 and layer.lora_B.grad.abs().max() > 0


HALVES = [torch.bfloat16, torch.float16]


def errors(layer, base, x, autocast, factors):
    """Relative errors of output and of the gradients of x, A, B against the same in float64."""
    exact = LoRALinear(copy.deepcopy(base).double(), r=8, lora_alpha=24)
    with torch.no_grad():
        exact.lora_A.copy_(factors[0])
        exact.lora_B.copy_(factors[1])
    g = torch.randn(*x.shape[:-1], base.out_features, dtype=x.dtype)
    made = []
    for module, inputs in ((layer, x.clone()), (exact, x.double())):
        inputs.requires_grad_()
        with torch.autocast("cpu", dtype=x.dtype, enabled=autocast and module is layer):
            out = module(inputs)
        out.backward(g.to(out.dtype))
        a, b = factors if module is layer else (exact.lora_A, exact.lora_B)
        made.append([out, inputs.grad, a.grad, b.grad])
    return [
        ((got.double() - want).norm() / want.norm()).item() for got, want in zip(*made, strict=True)
    ]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [0.01, 1.0])
def test_half_precision_is_as_exact_as_peft_under_autocast(dtype, size):
    """PEFT as its users run it in 16 bits, beside the course's layer; both against float64."""
    torch.manual_seed(0)
    base, x = nn.Linear(256, 192, dtype=dtype), torch.randn(4, 32, 256, dtype=dtype)
    ours = randomize(LoRALinear(copy.deepcopy(base), r=8, lora_alpha=24))
    ours.lora_B.data *= size / 16  # an update much smaller than the output, or of its size
    twin = peft_layer(base, ours.r, ours.lora_alpha)
    theirs = [twin.lora_A["default"].weight, twin.lora_B["default"].weight]
    for p, factor in zip(theirs, (ours.lora_A, ours.lora_B), strict=True):
        assert factor.dtype == torch.float32
        p.data = factor.data.clone()  # float32, as `get_peft_model` makes it on such a base
    mine = errors(ours, base, x, False, [ours.lora_A, ours.lora_B])
    peft = errors(twin, base, x, True, theirs)
    half_unit = torch.finfo(dtype).eps / 2
    for what, a, b in zip(("output", "x", "A", "B"), mine, peft, strict=True):
        print(f"{dtype} {size} {what:6} course {a:.2e}, PEFT under autocast {b:.2e}")
        assert a < 2 * half_unit, what
        assert a < 1.25 * b, what


@pytest.mark.parametrize("dtype", HALVES)
def test_no_float32_copy_of_x_is_kept(dtype):
    """For backward: x once for several layers, r numbers a token, and the cast factors."""
    x = torch.randn(100, 64, dtype=dtype, requires_grad=True)
    layers = [LoRALinear(nn.Linear(64, 48, dtype=dtype), r=2) for _ in range(3)]
    weights = [p for layer in layers for p in layer.parameters()]
    kept = saved_bytes(lambda: sum(layer(x * 1).float().sum() for layer in layers), weights)
    own = 3 * 2 * 100 * 64  # x * 1 has its own storage each time
    small = 3 * 2 * (100 * 2 + 2 * (64 + 48))
    assert kept <= own + small
    shared = saved_bytes(lambda: sum(layer(x).float().sum() for layer in layers), weights)
    assert shared <= 2 * 100 * 64 + small
    assert kept >= own


@pytest.mark.parametrize("compute", [torch.float32, *HALVES])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
def test_x_of_another_type_than_a_4_bit_base(dtype, compute):
    """A 4-bit layer takes x of any type and answers in it; so does the wrapped one."""
    bnb = pytest.importorskip("bitsandbytes")
    base = bnb.nn.Linear4bit(64, 64, compute_dtype=compute, quant_type="nf4").to("cpu")
    base.weight = bnb.nn.Params4bit(torch.randn(64, 64), quant_type="nf4").to("cpu")
    base.support_avx512bf16_for_cpu = False
    layer, x = LoRALinear(base, r=4), torch.randn(3, 64, dtype=dtype)
    assert torch.equal(layer(x), base(x)) and layer(x).dtype == dtype
    randomize(layer)
    got, want = layer(x), base(x).double() + x.double() @ layer.get_delta_weight().double().T
    torch.testing.assert_close(got.double(), want, rtol=0.02, atol=0.02 * want.abs().max().item())
    got.double().sum().backward()
    assert {p.grad.dtype for p in (layer.lora_A, layer.lora_B)} == {torch.float32}


@pytest.mark.parametrize("inside", HALVES)
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_autocast_gives_the_type_that_the_base_gives(dtype, inside):
    x, ids = torch.randn(2, 3, 6, dtype=dtype), torch.randint(0, 6, (2, 3))
    for base, wrap, inputs in [
        (nn.Linear(6, 4, dtype=dtype), LoRALinear, x),
        (Conv1D(4, 6).to(dtype), LoRAConv1D, x),
        (nn.Embedding(6, 4, dtype=dtype), LoRAEmbedding, ids),
    ]:
        layer = randomize(wrap(base, r=3))
        with torch.autocast("cpu", dtype=inside):
            out, want = layer(inputs), base(inputs)
        assert out.dtype == want.dtype
        out.float().sum().backward()
        assert layer.lora_A.grad.dtype == layer.lora_B.grad.dtype == torch.float32
        delta = layer.get_delta_weight()
        merged = copy.deepcopy(base).float()
        merged.weight.data += delta.data
        full = merged(inputs if inputs is ids else x.float())
        off = (out.float() - full).norm() / full.norm()
        assert off < 0.03, (wrap, off)


def test_autocast_and_meta_device():
    layer = LoRALinear(nn.Linear(6, 4), r=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, 6)).dtype == torch.bfloat16
    meta = LoRALinear(nn.Linear(6, 4, device="meta"), r=3)
    assert meta.lora_A.device.type == meta.lora_B.device.type == "meta"


def test_an_embedding_that_scales_its_output_equals_its_merged_self():
    from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

    base = Gemma3TextScaledWordEmbedding(9, 4, padding_idx=0, embed_scale=3.0).double()
    layer = randomize(LoRAEmbedding(base, r=2))
    ids = torch.randint(0, 9, (2, 5))
    got = layer(ids)
    with torch.no_grad():
        base.weight += layer.get_delta_weight()
    close(got, base(ids))


def test_the_padding_row_never_moves():
    base = embedding(9, 4, padding_idx=2)
    layer = LoRAEmbedding(base, r=2)
    optimizer = torch.optim.Adam([layer.lora_A, layer.lora_B], lr=0.1)
    for _ in range(3):
        layer(torch.tensor([2, 2, 5, 1])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = layer.get_delta_weight().abs().sum(1) > 0
    assert moved.tolist() == [row in (1, 5) for row in range(9)]


def test_half_the_output_when_r_doubles_by_padding_with_zeros():
    base, x = linear(5, 7), torch.randn(3, 5, dtype=torch.float64)
    small = randomize(LoRALinear(base, r=2, lora_alpha=9))
    large = LoRALinear(base, r=4, lora_alpha=9)
    with torch.no_grad():
        large.lora_A.copy_(torch.cat([small.lora_A, torch.zeros(2, 5)]))
        large.lora_B.copy_(torch.cat([small.lora_B, torch.zeros(7, 2)], dim=1))
    close(2 * (large(x) - base(x)), small(x) - base(x))


@pytest.mark.parametrize("wrap, right, wrong", [
    (LoRALinear, nn.Linear(3, 3), Conv1D(3, 3)),
    (LoRALinear, nn.Linear(3, 3), LoRALinear(nn.Linear(3, 3))),
    (LoRAConv1D, Conv1D(3, 3), nn.Linear(3, 3)),
    (LoRAConv1D, Conv1D(3, 3), nn.Conv1d(3, 3, 1)),
    (LoRAEmbedding, nn.Embedding(3, 3), nn.Linear(3, 3)),
])  # fmt: skip
def test_errors_say_what_was_given(wrap, right, wrong):
    with pytest.raises(TypeError, match=f"wraps .*{type(wrong).__name__}"):
        wrap(wrong)
    for r in (0, -1):
        with pytest.raises(ValueError, match=f"r = {r}"):
            wrap(right, r=r)
    if wrap is not LoRAEmbedding:
        for p in (1.0, -0.1, 5, float("nan")):
            with pytest.raises(ValueError, match="lora_dropout"):
                wrap(right, lora_dropout=p)
    assert all(p.requires_grad for p in right.parameters()), "a refused layer is left as it was"


def test_the_layer_can_be_read_at_one_sitting():
    """At most 40 lines of code in LoRALinear, without docstrings, comments and blank lines."""
    tree = ast.parse(inspect.getsource(LoRALinear))
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:]
    code = {line for node in ast.walk(tree) if hasattr(node, "lineno")
            for line in (node.lineno, node.end_lineno)}  # fmt: skip
    assert len(code) <= 40, f"LoRALinear has {len(code)} lines of code"
