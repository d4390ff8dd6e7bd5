"""Looking up: what the base model is good at, and what fine-tuning may make it forget.

A report says who did what; a question follows, and its full answer up to the word asked for.
"""

import random

from lora_course.kit.town import world

HELD_OUT = 10**9  # seeds from here on are never trained on


def lookups(count=50, facts=1):
    """Held-out reports with a question and the beginning of its answer.

    count: of each kind of question. facts: how many people do something in a report; with more
    than one, the right answer must also be told from the others.
    Returns a list of (kind, text, the word that comes next).
    """
    rng, rows = random.Random(HELD_OUT), []
    for kind, forms in world.QUESTIONS.items():
        for _ in range(count):
            drawn = world.draw_facts(rng, facts)
            words = rng.choice(drawn).words()
            question, answer = (part.format(**words) for part in rng.choice(forms))
            target = words[world.ANSWER[kind]]
            start = answer[: answer.index(target)].strip()
            rows.append((kind, f"{world.tell(rng, drawn)} {question} {start}".strip(), target))
    return rows


def probe(model, tokenizer, count=50, facts=1):
    """Reading back: for each kind of question, how often the next token is the right answer.

    count, facts: as in `lookups`. Returns {kind: share in [0, 1]}.
    """
    import torch

    hits = dict.fromkeys(world.QUESTIONS, 0)
    for kind, text, target in lookups(count, facts):
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            best = model(torch.tensor([ids], device=model.device)).logits[0, -1].argmax()
        hits[kind] += tokenizer.decode(best).strip() == target
    return {kind: n / count for kind, n in hits.items()}
