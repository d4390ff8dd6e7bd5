import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

from lora_course.kit import data, models
from lora_course.make_base import untrained


def random_model(kind, vocab, positions=128):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=positions)
        return GPT2LMHeadModel(config)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        )
    )  # fmt: skip


@pytest.fixture(params=["gpt2", "qwen3"])
def folder(request, tmp_path):
    """A model with random weights and its own tokenizer, without a chat template."""
    tokenizer = untrained.make_tokenizer(size=400)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    random_model(request.param, len(tokenizer)).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_another_model_takes_the_place_of_base(folder, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_MODEL", str(folder))
    model, tokenizer = models.load_base(), models.load_tokenizer()
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == 400
    assert model.dtype == torch.float32 and not model.training
    rows = data.load_task("questions")["test"].select(range(4))
    assert data.exact_match(model, tokenizer, rows) == 0.0
    batch = next(data.batches(rows, tokenizer, batch_size=2, steps=1, seed=0))
    assert torch.isfinite(model(**batch).loss)
    assert models.load_base("base").config.model_type == "llama"  # a name counts more


def test_base_is_what_the_card_says():
    model, tokenizer = models.load_base("base"), models.load_tokenizer("base")
    assert model.config.model_type == "llama" and 1e6 < model.num_parameters() < 3e6
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.pad_token != tokenizer.eos_token
    assert tokenizer.decode(tokenizer("Mira paid 3 coins.")["input_ids"]) == " Mira paid 3 coins."
    size = sum(file.stat().st_size for file in models.BASE.iterdir())
    assert size <= 12e6
    plain = AutoTokenizer.from_pretrained(models.BASE)
    assert plain("Where is the mill?")["input_ids"] == tokenizer("Where is the mill?")["input_ids"]


def test_bad_choices_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="no folder .*Mend the path"):
        models.load_base(str(tmp_path / "nothing"))
    with pytest.raises(OSError, match="no config.json.*save_pretrained"):
        models.load_base(str(tmp_path))
    with pytest.raises(OSError, match="no tokenizer_config.json"):
        models.load_tokenizer(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="'nobody/nothing' could not be loaded"):
        models.load_base("nobody/nothing")


def test_a_folder_that_lacks_weights(tmp_path):
    model = random_model("gpt2", 100)
    model.config.save_pretrained(tmp_path)
    with pytest.raises(OSError, match="could not be loaded. A file in that folder is missing"):
        models.load_base(str(tmp_path))
    state = model.state_dict()
    state.pop("transformer.h.1.mlp.c_fc.weight")
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(OSError, match="lack 1 tensors .*c_fc"):
        models.load_base(str(tmp_path))


def test_quiet_loading(capfd):
    models.load_base("base")
    out, err = capfd.readouterr()
    assert out == "" and err == ""
