"""shipping.py and what chapter 12 claims of folders: a fresh process, merges, traps, serving."""

import copy
import json
import subprocess
import sys
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from lora_course.bits.fourbit import four_bit_layers, keep_packing, load_four_bit
from lora_course.bridges import shipping
from lora_course.kit.data import answers, exact_match, load_task
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.make_base import untrained
from tests.test_models import random_model

KINDS = ("llama", "gpt2", "qwen3")
CONFIG = LoraConfig(
    r=4, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
)


@pytest.fixture(autouse=True)
def still():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def tokenizer():
    return untrained.make_tokenizer(size=400)


def made(kind, tokenizer):
    """A base of random weights; "llama" is the course's own shape."""
    torch.manual_seed(0)
    if kind == "llama":
        return untrained.make_model(tokenizer).eval()
    return random_model(kind, len(tokenizer), positions=256).eval()


def adapted(base, name="court", seed=1):
    torch.manual_seed(seed)
    return get_peft_model(copy.deepcopy(base), copy.deepcopy(CONFIG), adapter_name=name).eval()


@pytest.fixture(scope="module")
def shipped(tokenizer, tmp_path_factory):
    """{kind or (kind, dtype): (folder, model in this process)}; each merged by PEFT and saved."""
    found = {}
    for kind in KINDS:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                merged = adapted(made(kind, tokenizer)).merge_and_unload().to(dtype)
            folder = tmp_path_factory.mktemp(f"{kind}_{str(dtype)[6:]}")
            merged.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            found[kind, dtype] = folder, merged
    return found


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_text(shipped, tokenizer):
    prompt = "Where is the mill?"
    said = shipping.stranger(prompt, [folder for folder, _ in shipped.values()])
    for (kind, dtype), text in zip(shipped, said, strict=True):
        assert not text.startswith(("ValueError", "OSError")), (kind, text)
        loaded = AutoModelForCausalLM.from_pretrained(shipped[kind, dtype][0])
        assert loaded.dtype == dtype and not any("lora" in n for n in loaded.state_dict())
        assert text == answers(loaded, tokenizer, [prompt])[0], (kind, dtype)


def test_the_stranger_is_one():
    """Neither PEFT nor this course can be imported where the folder is tried out."""
    head = shipping.STRANGER.split("from transformers")[0]
    for module in ("lora_course", "peft"):
        code = f"{head}\nimport {module}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert b"ModuleNotFoundError" in done.stderr


@pytest.mark.slow
def test_what_is_missing_breaks_it(tokenizer, tmp_path):
    merged = adapted(made("llama", tokenizer)).merge_and_unload()
    for name in ("complete", "no_tokenizer", "no_template"):
        merged.save_pretrained(tmp_path / name)
    tokenizer.save_pretrained(tmp_path / "complete")
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    bare.save_pretrained(tmp_path / "no_template")
    folders = [tmp_path / name for name in ("complete", "no_tokenizer", "no_template", "nowhere")]
    right, *wrong = shipping.stranger("Where is the mill?", folders)
    assert "Error" not in right
    assert all("Error: " in text for text in wrong) and "chat template" in wrong[1]


@pytest.mark.slow
def test_a_merged_model_beside_its_adapter_counts_twice(tokenizer, tmp_path):
    """FACTS D38."""
    model = adapted(made("llama", tokenizer), "default")
    model.save_pretrained(tmp_path / "crowded")
    ids = torch.arange(12).view(1, -1)
    with torch.no_grad():
        want = model(input_ids=ids).logits
        merged = model.merge_and_unload()
        for folder in ("crowded", "empty"):
            merged.save_pretrained(tmp_path / folder)
        crowded = AutoModelForCausalLM.from_pretrained(tmp_path / "crowded").eval()
        empty = AutoModelForCausalLM.from_pretrained(tmp_path / "empty").eval()
        torch.testing.assert_close(empty(input_ids=ids).logits, want, atol=1e-3, rtol=1e-3)
        assert (crowded(input_ids=ids).logits - want).norm() > 0.1 * want.norm()
    assert any("lora_" in name for name in crowded.state_dict())


def test_resized_embeddings_want_a_base_of_their_size(tokenizer, tmp_path):
    def longer():
        model = made("llama", tokenizer)
        model.resize_token_embeddings(len(tokenizer) + 1, mean_resizing=False)
        return model

    made("llama", tokenizer).save_pretrained(tmp_path / "base")
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    start.resize_token_embeddings(len(tokenizer) + 1, mean_resizing=False)
    model = get_peft_model(start, copy.deepcopy(CONFIG))
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(RuntimeError, match="size mismatch.*embed_tokens"):
        PeftModel.from_pretrained(made("llama", tokenizer), tmp_path / "adapter")
    PeftModel.from_pretrained(longer(), tmp_path / "adapter")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert again.get_input_embeddings().num_embeddings == len(tokenizer) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_measure_is_the_exact_match_of_generation(kind, tokenizer):
    model = made(kind, tokenizer)
    prompts = ["Where is the mill?", "Who paid 3 coins?", "What did Mira find?"]
    said = answers(model, tokenizer, prompts, max_new_tokens=24)
    rows = [{"prompt": p, "completion": s} for p, s in zip(prompts, said, strict=True)]
    rows[1]["completion"] = "the wrong one"
    right, loss, logits = shipping.measure(model, tokenizer, rows)
    assert right <= 2 / 3 + 1e-6 and loss > 0 and logits.shape[1] == len(tokenizer)


def test_measure_on_a_trained_model():
    model, tokenizer = load_base("base"), load_tokenizer("base")
    rows = load_task("clinic")["test"].select(range(8))
    assert shipping.measure(model, tokenizer, rows)[0] == exact_match(model, tokenizer, rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_qlora_adapter_goes_into_the_dequantized_base(kind, tokenizer, tmp_path):
    base = made(kind, tokenizer)
    base.save_pretrained(tmp_path / "base")
    four = load_four_bit(str(tmp_path / "base"))
    torch.manual_seed(1)
    model = get_peft_model(four, copy.deepcopy(CONFIG)).eval()
    model.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(20).view(2, 10)

    def logits(ground):
        whole = PeftModel.from_pretrained(ground, tmp_path / "adapter").merge_and_unload()
        return whole.eval()(input_ids=ids).logits

    with torch.no_grad():
        want = model(input_ids=ids).logits
        off = {
            "dequantized": logits(shipping.dequantized(str(tmp_path / "base"))),
            "original": logits(base),
            "4-bit": logits(load_four_bit(str(tmp_path / "base"))),
        }
    off = {name: shipping.distance(got, want) for name, got in off.items()}
    assert off["dequantized"] < 1e-5 and min(off["original"], off["4-bit"]) > 1e-3


def test_dequantized_weights_are_those_of_the_layers(tokenizer, tmp_path):
    made("llama", tokenizer).save_pretrained(tmp_path)
    twin, four = shipping.dequantized(str(tmp_path)), load_four_bit(str(tmp_path))
    x = torch.randn(3, 128)
    for name, layer in four_bit_layers(four).items():
        if layer.in_features == 128:
            want = layer(x)
            torch.testing.assert_close(twin.get_submodule(name)(x), want, atol=1e-4, rtol=1e-3)


def test_a_lora_bias_loses_its_scale_in_four_bits():
    """FACTS D50: with PEFT 0.21.2. When this fails, PEFT is mended and the chapter must be, too."""
    import bitsandbytes as bnb

    config = LoraConfig(r=4, lora_alpha=32, lora_bias=True, target_modules=["0"])
    grown = {}
    for layer in (nn.Linear(64, 64), bnb.nn.Linear4bit(64, 64)):
        toy = keep_packing(nn.Sequential(layer).to("cpu"))
        toy.is_loaded_in_4bit = isinstance(layer, bnb.nn.Linear4bit)
        toy, before = get_peft_model(toy, config), layer.bias.clone()
        nn.init.ones_(toy.base_model.model[0].lora_B["default"].bias)
        grown[type(layer).__name__] = (toy.merge_and_unload()[0].bias - before).mean().item()
    assert grown == {"Linear": pytest.approx(8.0), "Linear4bit": pytest.approx(1.0)}


@pytest.mark.parametrize("kind", KINDS)
def test_updates_are_what_a_merge_adds(kind, tokenizer):
    base = made(kind, tokenizer)
    model = adapted(base)
    added = shipping.updates(model, "court")
    merged = model.merge_and_unload()
    got = {n: merged.get_submodule(n).weight - base.get_submodule(n).weight for n in added}
    assert shipping.distance(got, added) < 1e-5
    assert shipping.distance(torch.ones(3) * 2, torch.ones(3)) == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_for_all_is_one_at_a_time(kind, tokenizer):
    model = adapted(made(kind, tokenizer), "one")
    torch.manual_seed(2)
    model.add_adapter("two", copy.deepcopy(CONFIG))
    prompts = ["Where is the mill?", "Who paid 3 coins to the baker of the town?", "What?"]
    queue = [(name, p) for p in prompts for name in ("one", "two", "__base__")]
    said = shipping.serve(model, tokenizer, queue)
    for name in ("one", "two"):
        model.set_adapter(name)
        mine = [text for text, (whose, _) in zip(said, queue, strict=True) if whose == name]
        assert mine == answers(model, tokenizer, prompts)
    with model.disable_adapter():
        assert said[2::3] == answers(model, tokenizer, prompts)
    assert len(set(said)) > 3


def test_fastest_times_every_model(tokenizer):
    models = {"a": made("qwen3", tokenizer), "b": made("gpt2", tokenizer)}
    seconds = shipping.fastest(models, torch.arange(8).view(1, -1), turns=2)
    assert seconds.keys() == models.keys() and all(0 < s < 10 for s in seconds.values())


@pytest.mark.slow
def test_stranger_prints_json_only():
    assert json.loads(json.dumps(shipping.stranger("hello", []))) == []
