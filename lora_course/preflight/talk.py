"""Where in a row of tokens the answers begin and end, as far as the template or the text tells."""

import re
from functools import lru_cache
from itertools import accumulate

USER, ANSWER = "zebra quartz", "violet lantern"
KNOWN = (
    "<|assistant|>", "<|im_start|>assistant", "<|start_header_id|>assistant<|end_header_id|>",
    "<start_of_turn>model", "[/INST]", "### Response:", "### Answer:", "### Assistant:",
    "### Output:", "\nAssistant:", "\nASSISTANT:", " ASSISTANT:", "\nAnswer:", "\nA:",
    "<|turn>model", "<|Assistant|>", "<｜Assistant｜>",
)  # fmt: skip


def template_parts(tokenizer):
    """(opening, header, ending) of a template: before the question, between question and answer,
    after the answer. None where there is no template or it says nothing of this kind.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    talk = [{"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}]
    try:
        whole = tokenizer.apply_chat_template(talk, tokenize=False)
    except Exception:
        return None
    opening, found, rest = whole.partition(USER)
    header, answered, ending = rest.partition(ANSWER)
    return (opening, header, ending) if found and answered else None


def answer_header(tokenizer):
    """The text that announces an answer, or None: by the template's generation prompt."""
    parts = template_parts(tokenizer)
    if parts is None:
        return None
    asked = [{"role": "user", "content": USER}]
    try:
        bare = tokenizer.apply_chat_template(asked, tokenize=False)
        told = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    except Exception:
        return parts[1].strip() or None
    added = told.removeprefix(bare) if told.startswith(bare) else ""
    added = re.sub(r"<think>.*", "", added, flags=re.S)  # what a thinking model opens
    return added.strip() or parts[1].strip() or None


def opening_of(tokenizer):
    """What only the first question of a talk has before it, or None."""
    parts = template_parts(tokenizer)
    if parts is None or not parts[0].strip():
        return None
    turn = [{"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}]
    try:
        longer = tokenizer.apply_chat_template(turn + turn, tokenize=False)
    except Exception:
        return None
    opening = squeezed(parts[0])
    return opening if squeezed(longer).count(opening) == 1 else None


def end_ids(tokenizer, model=None):
    """Ids of the tokens that end an answer."""
    ids = {tokenizer.eos_token_id}
    config = getattr(model, "generation_config", None)
    stops = getattr(config, "eos_token_id", None)
    ids |= set(stops) if isinstance(stops, list | tuple) else {stops}
    parts = template_parts(tokenizer)
    if parts and parts[2].strip():
        told = tokenizer(parts[2].strip(), add_special_tokens=False)["input_ids"]
        special = set(tokenizer.all_special_ids) | set(_added(tokenizer))
        ids |= {i for i in told[:1] if i in special}
    return ids - {None}


def _added(tokenizer):
    get = getattr(tokenizer, "get_added_vocab", None)
    return get().values() if get else ()


def squeezed(text):
    """The text without its blanks: decoding puts some between special tokens and words."""
    return re.sub(r"\s", "", text)


class Reader:
    """Finds markers in rows of ids by their text."""

    def __init__(self, tokenizer):
        self.tokenizer, self.header = tokenizer, squeezed(answer_header(tokenizer) or "")
        self.piece = lru_cache(50_000)(lambda i: tokenizer.decode([i]))

    def answers(self, ids):
        """[(first token of the header, first token of the answer)] of each answer in a row."""
        if self.header:
            found = self._find(self.header, [squeezed(self.piece(i)) for i in ids])
            if found:
                return found
        pieces = [self.piece(i) for i in ids]
        text = "".join(pieces)
        mark = next((mark for mark in KNOWN if mark in text), None)
        return self._find(mark, pieces) if mark else []

    def _find(self, mark, pieces):
        ends = list(accumulate(map(len, pieces)))
        found = []
        for hit in re.finditer(re.escape(mark), "".join(pieces)):
            start = next(n for n, end in enumerate(ends) if end > hit.start())
            stop = next((n for n, end in enumerate(ends) if end > hit.end()), len(pieces))
            found.append((start, stop))
        return found
