"""The rubric's properties of what the merged model does: with new rows, and with old ones."""

import torch

from lora_course.kit import pages
from lora_course.kit.data import encode
from lora_course.kit.town import probes


# owned by chapter 20
@torch.no_grad()
def look_ups(model, tokenizer, count=25):
    """Share of the words that the model finds in reports with two facts, outside of any chat.

    count: of each of the four kinds of question.
    """
    _, texts, words = zip(*probes.lookups(count, facts=2), strict=True)
    batch = pages.ask(tokenizer, texts, words)
    labels = batch.pop("labels")[:, 1:]  # (B, T - 1)
    best = model(**batch).logits[:, :-1].argmax(-1)
    return (best == labels)[labels != -100].float().mean().item()


def score(p):
    """On hidden rows the merged model is right in 90 of 100; with your data, above the base."""
    before, after = (p.measure(model, "hidden")[0] for model in ("base", "merged"))
    enough = after >= 0.9 if p.shipped else after >= before
    return enough, f"{after:.0%} right, the base {before:.0%}"


def stops(p):
    """On hidden rows it ends its answer by itself, in 19 of 20."""
    coded = [encode(p.tokenizer, r["prompt"], r["completion"]) for r in p.hidden[:20]]
    asked = [ids[: labels.count(-100)] for ids, labels in coded]
    width, room = max(map(len, asked)), max(len(ids) - labels.count(-100) for ids, labels in coded)
    given = torch.full((len(asked), width), p.tokenizer.pad_token_id)  # padded on the left
    mask = torch.zeros_like(given)
    for row, seen, ids in zip(given, mask, asked, strict=True):
        row[width - len(ids) :], seen[width - len(ids) :] = torch.tensor(ids), 1
    out = p.merged.generate(
        input_ids=given, attention_mask=mask, max_new_tokens=room + 8, do_sample=False,
        pad_token_id=p.tokenizer.pad_token_id,
    )[:, width:]  # fmt: skip
    ends = p.merged.generation_config.eos_token_id
    ends = {p.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    ended = sum(bool(ends & set(row)) for row in out.tolist())
    holds = ended >= 0.95 * len(coded) if p.shipped else None
    return holds, f"{ended} of {len(coded)} answers end"


def old_skills(p):
    """Of the base's look-ups, reports without chat, the merged model keeps 9 of 10."""
    if not p.shipped:
        return None, "the look-ups are those of the course's model"
    before, after = (look_ups(m, p.tokenizer) for m in (p.base, p.merged))
    return after >= 0.9 * before, f"{after:.0%} right, the base {before:.0%}"
