"""gguf.py: what the files say, read again by `gguf`; that an engine agrees is test_engine.py's."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lora_course.bridges.gguf import KINDS, rope_rows, write_adapter, write_base
from lora_course.inject import inject_lora, lora_layers
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.methods.dora import use_dora
from tests.test_models import random_model

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def base():
    return load_base("base"), load_tokenizer("base")


def read(path):
    """({key: value}, {name: reader's tensor}) of a file."""
    file = gguf.GGUFReader(path)
    return {k: f.contents() for k, f in file.fields.items()}, {t.name: t for t in file.tensors}


def rotate_half(x, angles):  # transformers: i with i + h/2
    turned = torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1)
    return x * angles.cos().repeat(2) + turned * angles.sin().repeat(2)


def rotate_pairs(x, angles):  # llama.cpp: neighbours
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def test_rope_rows_give_the_same_scores_with_the_other_rope():
    torch.manual_seed(0)
    heads, h, d = 3, 8, 5
    q, k = (torch.randn(heads * h, d, dtype=torch.float64) for _ in range(2))
    x, y = torch.randn(2, d, dtype=torch.float64)

    def score(rotate, q, k):
        parts = []
        for W, token, place in ((q, x, 7), (k, y, 3)):
            angles = place * 10000.0 ** -(torch.arange(h // 2).double() * 2 / h)
            parts.append(rotate((W @ token).view(heads, h), angles))
        return (parts[0] * parts[1]).sum(-1)

    want = score(rotate_half, q, k)
    moved = score(rotate_pairs, rope_rows(q, heads), rope_rows(k, heads))
    torch.testing.assert_close(moved, want)
    assert (score(rotate_pairs, q, k) - want).abs().max() > 0.1
    one = torch.arange(heads * h)
    assert rope_rows(one, heads)[: h + 2].tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12]


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_in_the_file(base, tmp_path, kind):
    model, tokenizer = base
    write_base(model, tokenizer, tmp_path / "b.gguf", kind)
    fields, tensors = read(tmp_path / "b.gguf")
    assert "output.weight" not in tensors  # tied: the engine takes the embedding
    assert sum(t.n_elements for t in tensors.values()) == model.num_parameters()
    limit = {"F32": 0, "F16": 1e-3, "Q8_0": 0.01, "Q4_0": 0.12}[kind]
    state, config = model.state_dict(), model.config
    for ours, theirs, heads in (
        ("model.layers.1.self_attn.q_proj", "blk.1.attn_q", config.num_attention_heads),
        ("model.layers.2.self_attn.k_proj", "blk.2.attn_k", config.num_key_value_heads),
        ("model.layers.0.mlp.down_proj", "blk.0.ffn_down", None),
        ("model.layers.3.self_attn.o_proj", "blk.3.attn_output", None),
        ("model.embed_tokens", "token_embd", None),
        ("model.norm", "output_norm", None),
        ("model.layers.3.post_attention_layernorm", "blk.3.ffn_norm", None),
    ):
        want, found = state[f"{ours}.weight"], tensors[f"{theirs}.weight"]
        want = rope_rows(want, heads) if heads else want
        back = gguf.quants.dequantize(found.data, found.tensor_type).reshape(want.shape)
        off = np.linalg.norm(back - want.numpy()) / want.norm().item()
        assert off == 0 if want.ndim == 1 else off <= limit
    finer = {"Q4_0": "Q8_0"}.get(kind, kind)
    assert tensors["token_embd.weight"].tensor_type.name == finer
    assert tensors["blk.0.ffn_up.weight"].tensor_type.name == kind
    assert tensors["blk.0.attn_norm.weight"].tensor_type.name == "F32"


def test_sizes_and_tokenizer_are_those_of_the_model(base, tmp_path):
    model, tokenizer = base
    write_base(model, tokenizer, tmp_path / "b.gguf")
    fields, _ = read(tmp_path / "b.gguf")
    config = model.config
    expected = {
        "block_count": 4, "context_length": 256, "embedding_length": 128,
        "feed_forward_length": 512, "attention.head_count": 4, "attention.head_count_kv": 2,
        "rope.dimension_count": 32, "rope.freq_base": 10000.0, "vocab_size": 1232,
        "attention.key_length": 32, "attention.value_length": 32,
    }  # fmt: skip
    assert {key: fields[f"llama.{key}"] for key in expected} == expected
    assert fields["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(config.rms_norm_eps)
    tokens = fields["tokenizer.ggml.tokens"]
    assert tokens == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    kinds = fields["tokenizer.ggml.token_type"]
    control = {i for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL}
    assert control == set(tokenizer.added_tokens_decoder)
    assert fields["tokenizer.ggml.model"] == "gpt2" and fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert len(fields["tokenizer.ggml.merges"]) == len(tokens) - 256 - len(control)


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_an_adapter_file_holds_the_update(base, tmp_path, kind):
    """A and B as llama.cpp reads them: alpha / r * B A, rows in its own order."""
    model = inject_lora(copy.deepcopy(base[0]), r=4, lora_alpha=10, seed=0)
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B)
    write_adapter(model, tmp_path / "a.gguf", kind)
    fields, tensors = read(tmp_path / "a.gguf")
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert fields["general.architecture"] == "llama" and fields["adapter.lora.alpha"] == 10
    assert len(tensors) == 2 * len(lora_layers(model))
    for ours, theirs, heads in (
        ("model.layers.1.self_attn.q_proj", "blk.1.attn_q", 4),
        ("model.layers.2.self_attn.k_proj", "blk.2.attn_k", 2),
        ("model.layers.0.self_attn.v_proj", "blk.0.attn_v", None),
        ("model.layers.3.mlp.gate_proj", "blk.3.ffn_gate", None),
    ):
        a, b = (torch.tensor(tensors[f"{theirs}.weight.lora_{c}"].data) for c in "ab")
        delta = 10 / 4 * b.float() @ a.float()
        want = model.get_submodule(ours).get_delta_weight().detach()
        want = rope_rows(want, heads) if heads else want
        torch.testing.assert_close(delta, want, rtol=0, atol=1e-5 if kind == "F32" else 0.02)


def test_what_the_writer_cannot_write_is_refused(base, tmp_path):
    model, tokenizer = base
    path = tmp_path / "no.gguf"
    for kind in ("gpt2", "qwen3"):
        with pytest.raises(ValueError, match=f"the architecture is {kind}"):
            write_base(random_model(kind, 48), tokenizer, path)
        other = inject_lora(random_model(kind, 48), r=2)
        with pytest.raises(ValueError, match=f"the architecture is {kind}"):
            write_adapter(other, path)
    with pytest.raises(ValueError, match="kind='Q5_K' is none of F32, F16, Q8_0, Q4_0"):
        write_base(model, tokenizer, path, "Q5_K")
    with pytest.raises(ValueError, match="no LoRA"):
        write_adapter(model, path)
    mixed = inject_lora(copy.deepcopy(model), r=4, lora_alpha=8)
    next(iter(lora_layers(mixed).values())).scaling = 3.0
    with pytest.raises(ValueError, match=r"model has scaling \* r of \[8.0, 12"):
        write_adapter(mixed, path)
    dora = use_dora(inject_lora(copy.deepcopy(model), r=4))
    with pytest.raises(ValueError, match="has .'DoRALinear'.. .*merge"):
        write_adapter(dora, path)
    with pytest.raises(ValueError, match="no place for .*lora_A. Merge"):
        write_base(inject_lora(copy.deepcopy(model), r=4), tokenizer, tmp_path / "half.gguf")
    biased = copy.deepcopy(model)
    biased.config.mlp_bias = True
    with pytest.raises(ValueError, match="has biases"):
        write_base(biased, tokenizer, path)
    scaled = copy.deepcopy(model)
    scaled.config.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(ValueError, match="scales its rope"):
        write_base(scaled, tokenizer, path)
    assert not path.exists()
