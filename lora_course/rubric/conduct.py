"""The rubric's properties of what the merged model does: with new rows, and with old ones."""

import torch

from lora_course.bridges.shipping import measure
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
    before, after = (measure(m, p.tokenizer, p.hidden)[0] for m in (p.base, p.merged))
    enough = after >= 0.9 if p.shipped else after >= before
    return enough, f"{after:.0%} right, the base {before:.0%}"


def stops(p):
    """On hidden rows it ends its answer by itself, in 19 of 20."""
    rows, ended = p.hidden[:20], 0
    ends = p.merged.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends]) | {p.tokenizer.eos_token_id}
    for row in rows:
        ids, labels = encode(p.tokenizer, row["prompt"], row["completion"])
        asked = torch.tensor([[i for i, label in zip(ids, labels, strict=True) if label == -100]])
        room = len(ids) - asked.shape[1] + 8
        out = p.merged.generate(
            input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=room,
            do_sample=False, pad_token_id=p.tokenizer.pad_token_id,
        )  # fmt: skip
        ended += bool(ends & set(out[0, asked.shape[1] :].tolist()))
    holds = ended >= 0.95 * len(rows) if p.shipped else None
    return holds, f"{ended} of {len(rows)} answers end"


def old_skills(p):
    """Of the base's look-ups, reports without chat, the merged model keeps 9 of 10."""
    if not p.shipped:
        return None, "the look-ups are those of the course's model"
    before, after = (look_ups(m, p.tokenizer) for m in (p.base, p.merged))
    return after >= 0.9 * before, f"{after:.0%} right, the base {before:.0%}"
