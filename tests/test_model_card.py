"""model_card.py: what the hub's own parser reads back, what is missing, and the compute."""

import re

import pytest
import torch
from huggingface_hub import ModelCard
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from lora_course.bridges.model_card import (
    EU_POINTS,
    NEEDED,
    card_problems,
    model_card,
    training_flops,
)
from lora_course.inject import count_parameters, inject_lora

FACTS = {
    "name": "court-forms", "base": "lab/base", "base_license": "mit", "license": "apache-2.0",
    "data": "court, generated: \"forms\" & reports", "rows": 1280,
    "hyperparameters": {"r": 8, "learning rate": 1e-2}, "changed": ["q_proj", "up_proj"],
    "parameters": 1_141_888, "trained": 90_112, "metric": "exact match", "before": 0.0,
    "after": 0.98, "test_rows": 50, "intended_use": "A course.", "limits": "Not for real cases.",
    "flops": 3.04e11, "input": "text", "how_to_load": "transformers",
}  # fmt: skip


def test_the_hub_reads_it_back(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(model_card(FACTS), encoding="utf-8")
    card = ModelCard.load(file)
    about = card.data
    assert (about.base_model, about.license, about.model_name) == (
        "lab/base",
        "apache-2.0",
        "court-forms",
    )
    assert about.get("base_model_relation") == "finetune"
    assert about.pipeline_tag == "text-generation" and about.library_name == "transformers"
    (result,) = about.eval_results
    assert result.dataset_split == "test" and result.metric_value == 0.98
    assert result.dataset_name == FACTS["data"]
    again = ModelCard(str(card)).data
    assert again.to_dict() == about.to_dict()
    assert card_problems(str(card)) == []


def test_the_facts_are_in_the_text():
    text = model_card(FACTS)
    for said in ("| learning rate | 0.01 |", "1,280 rows", "q_proj, up_proj", "| base | 0.0% |",
                 "| this model | 98.0% |", "3.0e+11 FLOP", "apache-2.0 (base: mit)"):  # fmt: skip
        assert said in text
    for where, what, _ in EU_POINTS:
        assert f"| {where} | {what} | " in text
    assert "not measured" in text and "recital 109" in text and "2024/1689" in text
    told = model_card(FACTS | {"energy": "3 Wh", "release": "1 March, this folder"})
    assert "| energy | 3 Wh |" in told and "1 March" in told


def test_the_points_of_the_regulation_are_all_there():
    """Annex XI, section 1: points 1 (a) to (f) and 2 (a) to (e); Article 53(1), (c) and (d)."""
    named = [where for where, _, _ in EU_POINTS]
    annex = [f"Annex XI 1(1)({c})" for c in "abcdef"] + [f"Annex XI 1(2)({c})" for c in "abcde"]
    assert named == [*annex, "Art. 53(1)(c)", "Art. 53(1)(d)"]


@pytest.mark.parametrize("key", NEEDED)
def test_no_fact_is_made_up(key):
    for missing in ({k: v for k, v in FACTS.items() if k != key}, FACTS | {key: None}):
        with pytest.raises(ValueError, match=re.escape(f"lacks {key} ({NEEDED[key]})")):
            model_card(missing)


def test_zero_is_a_fact():
    assert "| base | 0.0% |" in model_card(FACTS | {"before": 0.0})


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        ("base_model: ", "The base model is not named."),
        ("license: ", "There is no licence."),
        ("Changed modules: ", "It does not say which modules were changed."),
        ("## Intended use", "The section Intended use is missing or empty."),
        ("## Evaluation", "The section Evaluation is missing or empty."),
        ("A course.", "The section Intended use is missing or empty."),
        ("Not for real cases.", "The section Limits is missing or empty."),
    ],
)
def test_problems(cut, problem):
    lines = [line for line in model_card(FACTS).splitlines() if not line.startswith(cut)]
    assert card_problems("\n".join(lines)) == [problem]


def test_a_result_on_training_rows_is_none():
    text = model_card(FACTS).replace("split: test", "split: train")
    assert card_problems(text) == ["No result on a test split."]
    bare = card_problems("# nothing\n")
    assert len(bare) == 8


def test_training_flops_against_a_counter():
    """The estimate leaves attention, norms and the head's share out: within a fifth for a LoRA."""
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    total = model.num_parameters()
    trained = count_parameters(inject_lora(model, r=4, lora_alpha=8))[0]
    ids = torch.randint(0, 64, (2, 16))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    assert training_flops(total, trained, ids.numel()) == pytest.approx(
        counter.get_total_flops(), rel=0.2
    )
