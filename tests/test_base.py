"""What the shipped base model must be able to do, shown by training it for real."""

import time

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lora_course.kit import data, pages
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.kit.town import probes, world


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("base")


def fine_tune(model, tokenizer, task, steps, peak):
    """Plain AdamW on batches of 16, warm-up and linear decay; returns the seconds it took."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=peak, weight_decay=0.0)
    began = time.perf_counter()
    for step, batch in enumerate(data.batches(task["train"], tokenizer, 16, steps, seed=0)):
        for group in optimizer.param_groups:
            group["lr"] = peak * min((step + 1) / 20, max(0.05, 1 - step / steps))
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def with_lora(r):
    torch.manual_seed(0)
    config = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear")
    return get_peft_model(load_base("base"), config)


@pytest.mark.parametrize(
    "people", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow), 3]
)
def test_base_reads_back_every_kind_of_fact(people, tokenizer):
    """As `probes.probe` asks, but many at once: it is the same, test_probes.py says."""
    asked = sorted(probes.lookups(count=100, facts=people), key=lambda row: len(row[1]))
    base, hits = load_base("base"), dict.fromkeys(world.QUESTIONS, 0)
    for start in range(0, len(asked), 50):  # of like lengths
        kinds, texts, words = zip(*asked[start : start + 50], strict=True)
        batch = pages.ask(tokenizer, texts, words)
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            best = base(**batch).logits[:, :-1].argmax(-1)
        for kind, right in zip(kinds, (best == labels)[labels != -100].tolist(), strict=True):
            hits[kind] += right
    assert min(hits.values()) >= 90, hits


@pytest.mark.slow
def test_questions_from_nothing_to_nearly_all(tokenizer):
    """At most 10 % before; at least 90 % after a LoRA of at most 5 % of the parameters."""
    task = data.load_task("questions")
    model = with_lora(r=4)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained <= 0.05 * load_base("base").num_parameters()
    assert data.exact_match(model, tokenizer, task["test"]) <= 0.10
    seconds = fine_tune(model, tokenizer, task, steps=110, peak=5e-3)
    assert seconds <= 90, f"training took {seconds:.0f} s; a laptop has 90"
    assert data.exact_match(model, tokenizer, task["test"]) >= 0.90


@pytest.mark.slow
def test_hard_separates_rank_1_from_full_fine_tuning(tokenizer):
    task = data.load_task("hard")
    low, full = with_lora(r=1), load_base("base")
    fine_tune(low, tokenizer, task, steps=165, peak=5e-3)
    fine_tune(full, tokenizer, task, steps=165, peak=2e-3)
    low, full = (data.exact_match(m, tokenizer, task["test"]) for m in (low, full))
    assert full >= 0.9 and low <= full - 0.4, (low, full)
