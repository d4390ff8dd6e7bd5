import torch

from lora_course.kit import pages
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.kit.town import probes, world


def test_the_answer_follows_the_prompt_and_stands_in_the_report():
    rows = probes.lookups(20, facts=2)
    assert [kind for kind, *_ in rows] == [kind for kind in world.QUESTIONS for _ in range(20)]
    assert rows == probes.lookups(20, facts=2)
    for _, text, word in rows:
        report, question = text.split("?")[0], text.split("?")[-1]
        assert word in report and word not in question.split()


def test_one_by_one_and_in_a_batch_it_is_the_same():
    base, tokenizer = load_base("base"), load_tokenizer("base")
    found = probes.probe(base, tokenizer, count=10, facts=2)
    kinds, texts, words = zip(*probes.lookups(10, facts=2), strict=True)
    batch = pages.ask(tokenizer, texts, words)
    with torch.no_grad():
        best = base(batch["input_ids"], batch["attention_mask"]).logits[:, :-1].argmax(-1)
    labels = batch["labels"][:, 1:]
    hits = (best == labels)[labels != -100].view(len(world.QUESTIONS), 10).float().mean(1)
    assert dict(zip(world.QUESTIONS, hits.tolist(), strict=True)) == {
        kind: torch.tensor(share).item() for kind, share in found.items()
    } and list(dict.fromkeys(kinds)) == list(world.QUESTIONS)
    assert min(found.values()) >= 0.9
