"""How a model is asked and where its answers begin and end, in one place.

The tokenizer and its chat template decide that. What a checkpoint's generation file says, or what
a template writes before an answer, changes neither a metric nor where an answer ends.
"""

from contextlib import contextmanager
from functools import lru_cache

WORD = "lanternfish"  # stands for an answer, to see what a template puts around one


def opening(tokenizer):
    """What the tokenizer puts before a plain text, as text: "<s>" for a Llama, mostly nothing."""
    bare = tokenizer(WORD, add_special_tokens=False)["input_ids"]
    ids = tokenizer(WORD)["input_ids"]
    start = next((i for i in range(len(ids)) if ids[i : i + len(bare)] == bare), 0)
    return tokenizer.decode(ids[:start])


def prompt_text(tokenizer, prompt):
    """The text up to where the model's answer begins; special tokens are written out in it.

    A tokenizer without a chat template gets the prompt and a line break.
    """
    if not tokenizer.chat_template:
        return opening(tokenizer) + prompt + "\n"
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )


def around(tokenizer):
    """(lead, tail): what the chat template writes before an answer, and after it.

    lead is what follows the generation prompt, such as Qwen3's empty block of thoughts.
    """
    if not tokenizer.chat_template:
        return "", ""
    return _around(tokenizer, str(tokenizer.chat_template), tokenizer.eos_token)


@lru_cache
def _around(tokenizer, *changeable):  # what may be exchanged takes part in the key
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": WORD}]
    whole = tokenizer.apply_chat_template(talk, tokenize=False)
    before, found, tail = whole.rpartition(WORD)
    if not found:
        raise ValueError("its chat template leaves the assistant's words out")
    asked = prompt_text(tokenizer, "Hello")
    return before[len(asked) :] if before.startswith(asked) else "", tail


def stop_ids(tokenizer):
    """Ids of the tokens that end an answer: the template's own, and the end-of-text token."""
    first = tokenizer(around(tokenizer)[1].strip(), add_special_tokens=False)["input_ids"][:1]
    marks = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ends = [i for i in (*first, tokenizer.eos_token_id) if i in marks]
    return list(dict.fromkeys(ends))


def behind(tokenizer, lead, ids):
    """How many of the ids are the template's lead, or a block in its marks that is not empty.

    lead: its words. A model that leaves the lead out has answered all the same: 0.
    """

    def begun(n):
        return "".join(tokenizer.decode(ids[:n]).split())  # a tokenizer may write more spaces

    said, whole = begun(len(ids)), "".join(lead)
    if not lead or not said.startswith(lead[0]):
        return 0
    until = whole if said.startswith(whole) else lead[-1]
    if until is not whole and lead[0][0] not in "<[":  # words are no marks
        return 0
    return next((n for n in range(1, len(ids) + 1) if begun(n).endswith(until)), 0)


def answer_of(tokenizer, ids):
    """The answer in the token ids that a model made: without the template's lead and the end."""
    lead, tail = (text.strip() for text in around(tokenizer))
    ends = stop_ids(tokenizer)
    ids = ids[: next((n for n, i in enumerate(ids) if i in ends), len(ids))]
    ids = ids[behind(tokenizer, lead.split(), ids) :]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return text.partition(tail)[0].strip() if tail else text.strip()


def plain_settings(tokenizer):
    """Greedy generation up to the end of an answer, for model.generation_config."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False, num_beams=1, eos_token_id=stop_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip


@contextmanager
def greedy(model, tokenizer, max_new_tokens):
    """Inside the block model.generate(**batch) is greedy, whatever came with the checkpoint.

    max_new_tokens: of the answer; what the template writes before one comes on top.
    """
    lead = tokenizer(around(tokenizer)[0], add_special_tokens=False)["input_ids"]
    plain = plain_settings(tokenizer)
    plain.max_new_tokens = max_new_tokens + len(lead)
    owners = [m for m in model.modules() if "generation_config" in vars(m)]
    before = [m.generation_config for m in owners]
    for module in owners:
        module.generation_config = plain
    try:
        yield plain
    finally:
        for module, own in zip(owners, before, strict=True):
            module.generation_config = own
