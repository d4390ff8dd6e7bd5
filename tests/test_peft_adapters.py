import copy
import json
import math
import re
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from lora_course.adapters import lora_state_dict, read_adapter, save_adapter
from lora_course.bridges.fingerprint import fingerprint
from lora_course.bridges.peft_adapters import check_base, from_peft, read_peft, to_peft
from lora_course.inject import find_targets, inject_lora, lora_layers
from lora_course.kit.models import load_base
from lora_course.methods.rslora import use_rslora
from tests import architectures
from tests.test_models import random_model

IDS = torch.arange(12).view(2, 6)  # (B, T)


@pytest.fixture(autouse=True)
def no_warnings():
    """Everything that PEFT warns of is a failure here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*")
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")  # it mends itself
        yield


def make(kind):
    return load_base("base") if kind == "llama" else random_model(kind, 40).eval()


def ours(kind, target_modules="all-linear", r=3, lora_alpha=7, **settings):
    """A model whose adapter does something: both factors are random."""
    model = inject_lora(make(kind), target_modules, r, lora_alpha, seed=1, **settings)
    for n, p in model.named_parameters():
        if "lora_" in n:
            nn.init.normal_(p, std=0.05)
    return model


@torch.no_grad()
def logits(model, **kwargs):
    return model(input_ids=IDS, **kwargs).logits


def off(a, b):
    return float((a - b).norm() / b.norm())


each_kind = pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
EMBEDDING = {"llama": "embed_tokens", "gpt2": "wte", "qwen3": "embed_tokens"}


# There and back
@each_kind
def test_to_peft_loads_and_gives_equal_logits(kind, tmp_path):
    model = ours(kind)
    to_peft(model, tmp_path)
    theirs = PeftModel.from_pretrained(make(kind), tmp_path)
    assert off(logits(theirs), logits(model)) < 1e-5
    assert off(logits(theirs), logits(make(kind))) > 1e-2
    loaded = theirs.load_adapter(tmp_path, "again")
    assert not loaded.missing_keys and not loaded.unexpected_keys
    total = sum(p.numel() for n, p in theirs.named_parameters() if ".default." in n)
    assert total == sum(t.numel() for t in lora_state_dict(model).values())


@each_kind
def test_there_and_back_is_bit_equal(kind, tmp_path):
    model = ours(kind)
    save_adapter(model, tmp_path / "ours.safetensors")
    to_peft(model, tmp_path / "peft")
    back = from_peft(make(kind), tmp_path / "peft")
    save_adapter(back, tmp_path / "back.safetensors")
    (header, want), (again, got) = (
        read_adapter(tmp_path / f"{name}.safetensors") for name in ("ours", "back")
    )
    assert header == again and got.keys() == want.keys()
    assert all(torch.equal(got[n], want[n]) for n in want)
    assert torch.equal(logits(back), logits(model))
    assert all(p.requires_grad == ("lora_" in n) for n, p in back.named_parameters())


@each_kind
def test_equal_gradients(kind, tmp_path):
    model = ours(kind)
    to_peft(model, tmp_path)
    theirs = PeftModel.from_pretrained(make(kind), tmp_path, is_trainable=True).eval()
    for m in (model, theirs):
        m(input_ids=IDS, labels=IDS).loss.backward()
    got = {n: p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    want = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert len(got) == len(want)
    for name, grad in want.items():
        key = f"base_model.model.{name}.default.weight"
        torch.testing.assert_close(got[key], grad, rtol=1e-3, atol=1e-6)


@each_kind
def test_an_adapter_made_by_peft(kind, tmp_path):
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights=False,
        rank_pattern={"down_proj": 2, "mlp.c_proj": 2}, alpha_pattern={"up_proj": 3},
        use_rslora=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern")
        theirs = get_peft_model(make(kind), config).eval()
    theirs.save_pretrained(tmp_path)
    model = from_peft(make(kind), tmp_path)
    assert off(logits(model), logits(theirs)) < 1e-5
    to_peft(model, tmp_path / "again")
    assert off(
        logits(PeftModel.from_pretrained(make(kind), tmp_path / "again")), logits(theirs)
    ) < (1e-5)


@each_kind
def test_an_embedding(kind, tmp_path):
    model = ours(kind, [EMBEDDING[kind]])
    to_peft(model, tmp_path)
    assert all(
        "lora_embedding_" in key for key in load_file(tmp_path / "adapter_model.safetensors")
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        theirs = PeftModel.from_pretrained(make(kind), tmp_path)
    assert off(logits(theirs), logits(model)) < 1e-5
    assert torch.equal(logits(from_peft(make(kind), tmp_path)), logits(model))


def test_layers_with_a_rank_and_an_alpha_of_their_own(tmp_path):
    model = make("llama")
    target = model.model.layers[1].self_attn.q_proj
    inject_lora(model, ["q_proj", "up_proj"], r=3, lora_alpha=7, seed=1)
    from lora_course.lora import LoRALinear

    model.model.layers[1].self_attn.q_proj = LoRALinear(target, r=5, lora_alpha=11)
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B)
    to_peft(model, tmp_path)
    assert off(logits(PeftModel.from_pretrained(make("llama"), tmp_path)), logits(model)) < 1e-5
    assert torch.equal(logits(from_peft(make("llama"), tmp_path)), logits(model))


def test_rslora(tmp_path):
    model = use_rslora(ours("llama"))
    to_peft(model, tmp_path)
    assert read_peft(tmp_path)[0]["use_rslora"]
    assert off(logits(PeftModel.from_pretrained(make("llama"), tmp_path)), logits(model)) < 1e-5
    assert torch.equal(logits(from_peft(make("llama"), tmp_path)), logits(model))
    for layer in lora_layers(model).values():
        layer.scaling = 0.123
    with pytest.raises(ValueError, match="neither lora_alpha / r"):
        to_peft(model, tmp_path)


def test_nothing_to_convert():
    with pytest.raises(ValueError, match="no LoRA layers"):
        to_peft(make("llama"), "nowhere")


# A mixed batch
@each_kind
def test_a_mixed_batch_is_one_adapter_at_a_time(kind, tmp_path):
    names = ["one", "two", "__base__"]
    for seed, name in enumerate(names[:2]):
        model = ours(kind)
        torch.manual_seed(seed)
        for p in lora_state_dict(model).values():
            nn.init.normal_(p, std=0.05)
        to_peft(model, tmp_path / name)
    theirs = PeftModel.from_pretrained(make(kind), tmp_path / "one", adapter_name="one")
    theirs.load_adapter(tmp_path / "two", "two")
    wanted = {"__base__": logits(make(kind))}
    for name in names[:2]:
        theirs.set_adapter(name)
        wanted[name] = logits(theirs)
    assert off(wanted["one"], wanted["two"]) > 1e-2
    for pair in (["one", "two"], ["__base__", "one"], ["two", "two"]):
        mixed = logits(theirs, adapter_names=pair)
        for row, name in enumerate(pair):
            assert off(mixed[row], wanted[name][row]) < 1e-5


# Refusals
@pytest.mark.parametrize("spoil", ["dora", "module", "pissa", "bias"])
def test_more_than_lora_is_refused(spoil, tmp_path):
    settings = {
        "dora": {"use_dora": True},
        "module": {"modules_to_save": ["norm"]},
        "pissa": {"init_lora_weights": "pissa"},
        "bias": {"lora_bias": True},
    }[spoil]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two warnings about biases
        get_peft_model(make("llama"), LoraConfig(r=2, **settings)).save_pretrained(tmp_path)
    model = make("llama")
    with pytest.raises(ValueError, match="more than plain LoRA"):
        from_peft(model, tmp_path)
    assert not lora_layers(model)


def test_a_folder_that_does_not_fit(tmp_path):
    to_peft(ours("llama"), tmp_path)
    config = copy.deepcopy(make("llama").config)
    config.num_hidden_layers = 2
    small = type(make("llama"))(config)
    with pytest.raises(ValueError, match=r"no layer model.layers.2.*another base"):
        from_peft(small, tmp_path)
    config.intermediate_size = 64
    config.num_hidden_layers = 4
    narrow = type(make("llama"))(config)
    with pytest.raises(ValueError, match=r"down_proj.lora_A is \(3, 512\).*needs \(3, 64\)"):
        from_peft(narrow, tmp_path)
    assert all(p.requires_grad for p in narrow.parameters()) and not lora_layers(narrow)
    with pytest.raises(ValueError, match="LoRA already"):
        from_peft(ours("llama"), tmp_path)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"adapter_config.json and .*FileNotFoundError"):
        read_peft(tmp_path)
    to_peft(ours("llama"), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="not an intact adapter"):
        read_peft(tmp_path)


# The base
@each_kind
def test_fingerprint_is_of_the_base_alone(kind, tmp_path):
    seen = fingerprint(make(kind))
    model = ours(kind)
    assert fingerprint(model) == seen
    assert fingerprint(make(kind).bfloat16()) == seen
    to_peft(model, tmp_path)
    theirs = PeftModel.from_pretrained(make(kind), tmp_path)
    assert fingerprint(theirs) == seen
    check_base(theirs, tmp_path)


def test_check_base_tells_a_twin(tmp_path):
    to_peft(ours("llama"), tmp_path)
    other = make("llama")
    check_base(other, tmp_path)
    with torch.no_grad():
        other.model.layers[3].mlp.up_proj.weight.mul_(1.01)
    with pytest.raises(ValueError, match="belongs to the base .*Load the base"):
        check_base(other, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="not noted"):
        check_base(make("llama"), tmp_path)


def test_the_files(tmp_path):
    model = ours("llama")
    to_peft(model, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["r"] == 3 and config["lora_alpha"] == 7 and config["rank_pattern"] == {}
    assert len(config["target_modules"]) == 7 and config["inference_mode"]
    assert math.isclose(next(iter(lora_layers(model).values())).scaling, 7 / 3)
    save_adapter(model, tmp_path / "ours.safetensors")
    assert read_adapter(tmp_path / "ours.safetensors")[0]["r"] == 3


# The traps of chapter 08: loud where PEFT speaks, and what tells them where it does not
def inject(rule, **settings):
    return get_peft_model(make("llama"), LoraConfig(r=2, target_modules=rule, **settings))


def hits(model):
    return {n.split(".")[-1] for n, m in model.named_modules() if hasattr(m, "lora_A")}


@pytest.mark.parametrize("rule", ["q_proj,v_proj", ["query"], "q_proj"])
def test_a_rule_that_hits_nothing_is_loud(rule):
    with pytest.raises(ValueError, match="not found in the base model"):
        inject(rule)


def test_a_rule_that_hits_a_block_is_loud():
    with pytest.raises(ValueError, match="is not supported"):
        inject(r".*\.3\..*")


@pytest.mark.parametrize("entry", ["v_porj", r".*\.v_proj"])
def test_an_entry_that_hits_nothing_is_silent_and_find_targets_is_not(entry):
    rule = ["q_proj", entry]
    assert hits(inject(rule)) == {"q_proj"}
    with pytest.raises(ValueError, match="Near misses: .*v_proj"):
        find_targets(make("llama"), rule)


# What from_peft refuses, and what then is as it was
def changed(folder, **fields):
    """The folder with other fields in its config; a check sum of ours is taken out."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


ODD = {
    "use_dora": True, "lora_bias": True, "bias": "all", "use_qalora": True,
    "modules_to_save": ["lm_head"], "layer_replication": [[0, 1]],
    "target_parameters": ["down_proj"], "trainable_token_indices": [1],
    "alora_invocation_tokens": [1], "qalora_group_size": 4, "init_lora_weights": "pissa",
    "a_field_of_next_year": {"strength": 2}, "peft_type": "LOHA",
}  # fmt: skip


@pytest.mark.parametrize("field", ODD)
def test_a_field_that_is_not_known_to_be_harmless_is_refused(field, tmp_path):
    to_peft(ours("llama"), tmp_path)
    model = make("llama")
    with pytest.raises(ValueError, match=f"more than plain LoRA.*{field}"):
        from_peft(model, changed(tmp_path, **{field: ODD[field]}))
    assert not lora_layers(model) and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("alpha", [None, "16", "missing"])
def test_without_lora_alpha_there_is_no_scale(alpha, tmp_path):
    to_peft(ours("llama"), tmp_path)
    changed(tmp_path, lora_alpha=alpha)
    if alpha == "missing":
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        del config["lora_alpha"]
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lora_alpha = .*number was expected"):
        from_peft(make("llama"), tmp_path)


def test_every_plain_field_of_peft_is_taken(tmp_path):
    """What PEFT itself writes for plain LoRA, with patterns, goes through."""
    config = LoraConfig(
        r=3, lora_alpha=7.5, target_modules="all-linear", rank_pattern={"q_proj": 5},
        alpha_pattern={"q_proj": 9.0}, use_rslora=True, lora_dropout=0.1, task_type="CAUSAL_LM",
        init_lora_weights=False, exclude_modules=["down_proj"],
    )  # fmt: skip
    theirs = get_peft_model(make("llama"), config).eval()
    theirs.save_pretrained(tmp_path)
    mine = from_peft(make("llama"), tmp_path)
    assert off(logits(mine), logits(theirs)) < 1e-5


@pytest.mark.parametrize("broken", ["shape", "layer", "half", "logits"])
def test_after_a_failure_the_model_is_as_it_was(broken, tmp_path, monkeypatch):
    to_peft(ours("llama"), tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    key = list(tensors)[-1]
    if broken == "shape":
        tensors[key] = tensors[key][:, :-1].contiguous()
    elif broken == "layer":
        tensors[key.replace("layers.", "layers.9")] = tensors.pop(key)
    elif broken == "half":
        del tensors[key]
    else:
        monkeypatch.setattr("lora_course.bridges.peft_adapters.off_from_peft", lambda *_: 0.3)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    model = make("llama")
    before = {n: p.clone() for n, p in model.named_parameters()}
    with pytest.raises(ValueError, match="another base|differ by 30%"):
        from_peft(model, tmp_path)
    now = dict(model.named_parameters())
    assert now.keys() == before.keys() and all(p.requires_grad for p in now.values())
    assert all(torch.equal(now[n], before[n]) for n in before)


def test_two_files_that_are_no_pair(tmp_path):
    """Killed between the two: weights of one adapter, config of another."""
    model = ours("llama")
    to_peft(model, tmp_path / "a")
    for layer in lora_layers(model).values():
        layer.lora_alpha, layer.scaling = 50, 50 / layer.r
    to_peft(model, tmp_path / "b")
    (tmp_path / "b/adapter_config.json").replace(tmp_path / "a/adapter_config.json")
    with pytest.raises(ValueError, match="are no pair"):
        from_peft(make("llama"), tmp_path / "a")
    to_peft(model, tmp_path / "a")
    changed_name = json.loads((tmp_path / "a/adapter_config.json").read_text())
    changed_name["base_model_name_or_path"] = "another/place"
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(changed_name))
    from_peft(make("llama"), tmp_path / "a")


@pytest.mark.parametrize("kind", ["DeepSeek-V3", "Qwen3-Next"])
def test_what_peft_would_read_otherwise_is_not_written(kind, tmp_path):
    """PEFT renames the targets of these; its logits would be off by a third and more."""
    model = architectures.make(kind)
    with pytest.raises(ValueError) as refused:
        inject_lora(model)
    rule = re.search(r"target_modules=(\[.*?\])", str(refused.value))[1]
    inject_lora(model, json.loads(rule.replace("'", '"')), r=2)
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="cannot be a folder of PEFT.*save_adapter"):
        to_peft(model, tmp_path / "a")
    assert not list((tmp_path / "a").iterdir())
    assert flags == {n: p.requires_grad for n, p in model.named_parameters()}
    assert torch.equal(state, torch.get_rng_state())


def test_a_proof_leaves_no_trace(tmp_path):
    model = ours("llama").train()
    flags, state = [p.requires_grad for p in model.parameters()], torch.get_rng_state()
    weights = [p.data_ptr() for p in model.parameters()]
    to_peft(model, tmp_path)
    assert model.training and flags == [p.requires_grad for p in model.parameters()]
    assert torch.equal(state, torch.get_rng_state())
    assert weights == [p.data_ptr() for p in model.parameters()]


def test_another_base_is_said(tmp_path):
    to_peft(ours("llama"), tmp_path)
    other = make("llama")
    with torch.no_grad():
        other.get_input_embeddings().weight[-1] += 0.5
    with pytest.warns(UserWarning, match="trained on other numbers"):
        from_peft(other, tmp_path)


def test_fingerprint_sees_every_row():
    model = make("llama")
    seen = {fingerprint(model)}
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table[-1, -1] += 1
        seen.add(fingerprint(model))
        list(model.parameters())[-2].view(-1)[-1] += 1
        seen.add(fingerprint(model))
    model.resize_token_embeddings(len(table) + 1, mean_resizing=False)
    seen.add(fingerprint(model))
    assert len(seen) == 4


def test_lost_keys(tmp_path):
    to_peft(ours("llama"), tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    bare = {key.removeprefix("base_model.model."): t for key, t in tensors.items()}
    save_file(bare, tmp_path / "adapter_model.safetensors")
    with pytest.warns(UserWarning, match="Found missing adapter keys"):
        theirs = PeftModel.from_pretrained(make("llama"), tmp_path)
    assert torch.equal(logits(theirs), logits(make("llama")))
    report = theirs.load_adapter(tmp_path, "again")  # not a word
    assert len(report.missing_keys) == len(report.unexpected_keys) == len(tensors)


def test_the_wrong_base(tmp_path):
    to_peft(ours("llama"), tmp_path)
    config = copy.deepcopy(make("llama").config)
    twin = type(make("llama"))(config).eval()
    with pytest.raises(ValueError, match="belongs to the base"):
        check_base(PeftModel.from_pretrained(twin, tmp_path), tmp_path)  # which loads in silence
    config.intermediate_size = 64
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(type(twin)(config), tmp_path)


def test_what_thaws(tmp_path):
    to_peft(ours("llama"), tmp_path)
    theirs = PeftModel.from_pretrained(make("llama"), tmp_path)
    counts = [theirs.get_nb_trainable_parameters()[0]]
    for act in (lambda: None, theirs.set_adapter):
        if act is theirs.set_adapter:
            act("default")
        else:
            with theirs.disable_adapter():
                pass
        counts.append(theirs.get_nb_trainable_parameters()[0])
        theirs.set_adapter("default", inference_mode=True)
        counts.append(theirs.get_nb_trainable_parameters()[0])
    assert counts[0] == counts[2] == counts[4] == 0 and counts[1] == counts[3] > 0


def test_get_peft_model_works_in_place_and_load_adapter_does_not_activate(tmp_path):
    mine = make("llama")
    theirs = get_peft_model(mine, LoraConfig(r=2))
    assert lora_layers(mine)
    theirs.save_pretrained(tmp_path)
    theirs.load_adapter(tmp_path, "second")
    assert theirs.active_adapter == "default"
    assert torch.equal(logits(theirs.unload()), logits(make("llama")))


def test_a_copy_of_a_tied_table():
    with pytest.warns(UserWarning, match="ensure_weight_tying"):
        alone = inject("all-linear", modules_to_save=["embed_tokens"])
    both = inject("all-linear", modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    for model, tied in ((alone, False), (both, True)):
        copy_of = model.get_input_embeddings().modules_to_save["default"].weight
        head = model.get_output_embeddings()
        head = head.modules_to_save["default"].weight if tied else head.weight
        assert (head is copy_of) == tied


def test_linear_is_not_the_average_and_cat_is():
    model = inject("all-linear", init_lora_weights=False)
    model.add_adapter("two", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    true = (layer.get_delta_weight("default") + layer.get_delta_weight("two")).detach() / 2
    for kind, exact in (("linear", False), ("cat", True)):
        pair = ["default", "two"], [0.5, 0.5]
        model.add_weighted_adapter(*pair, kind, combination_type=kind)
        assert (off(layer.get_delta_weight(kind).detach(), true) < 1e-5) == exact
