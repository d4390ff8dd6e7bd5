"""From rows as they come to rows to train on: one format, and nothing twice, wrong or too long."""

import re
import unicodedata
from collections import Counter, defaultdict


# owned by chapter 20
def as_row(row):
    """A row in either format as {"prompt", "completion"}, without spaces at the ends.

    row: {"prompt", "completion"}, two str, or {"messages"}: a question and its answer, no more.
    Raises ValueError, which shows the row, for anything else.
    """
    if "messages" in row:
        roles = [message["role"] for message in row["messages"]]
        talk = roles == ["user", "assistant"]
        texts = [message["content"] for message in row["messages"]] if talk else []
    else:
        texts = [row.get("prompt"), row.get("completion")]
    if len(texts) != 2 or not all(isinstance(t, str) and t.strip() for t in texts):
        raise ValueError(f"Neither prompt and completion nor one question and answer: {row}")
    return {"prompt": texts[0].strip(), "completion": texts[1].strip()}


# owned by chapter 20
def words_of(text):
    """The words of a text, whatever its letters, spaces and punctuation: what copies share.

    Signs stay: 3 + 4 is not 3 - 4, and C++ is not C#.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[.,;:!?…'\"«»„“”‘’()\[\]{}]", " ", plain).split())


# owned by chapter 20
def strange(rows, common=0.5):
    """For each row the words of its completion that nothing explains: a list of sets.

    Neither the prompt has such a word, nor at least the share `common` of all completions.
    """
    told = [set(words_of(row["completion"]).split()) for row in rows]
    often = Counter(word for words in told for word in words)
    usual = {word for word, n in often.items() if n >= common * len(rows)}
    return [t - usual - set(words_of(r["prompt"]).split()) for t, r in zip(told, rows, strict=True)]


def cleaned(rows, test, tokens, limit, extractive=True):
    """(rows that stay, {why: numbers of those that went}). The first of several copies stays.

    rows: in either format. test: rows that must not be trained on. tokens: row -> its length.
    limit: the longest row. extractive: answers are made of words of the prompt, so that a
    completion with a strange word is wrong. What is wrong goes first, so that no wrong row can
    push out a right one that it resembles.
    """
    rows = [as_row(row) for row in rows]
    keys = [words_of(row["prompt"]) for row in rows]
    asked, seen, answers = {words_of(row["prompt"]) for row in test}, set(), defaultdict(set)
    odd = strange(rows) if extractive else [set()] * len(rows)
    for key, row, words in zip(keys, rows, odd, strict=True):
        if not words:
            answers[key].add(words_of(row["completion"]))
    went, kept = {"too long": [], "wrong": [], "contradiction": [], "leak": [], "copy": []}, []
    for n, (key, row, words) in enumerate(zip(keys, rows, odd, strict=True)):
        if tokens(row) > limit:
            went["too long"].append(n)
        elif words:
            went["wrong"].append(n)
        elif len(answers[key]) > 1:
            went["contradiction"].append(n)
        elif key in asked:
            went["leak"].append(n)
        elif key in seen:
            went["copy"].append(n)
        else:
            seen.add(key)
            kept.append(row)
    return kept, went


# owned by chapter 20
def split(rows, share, seed):
    """(train, validation) of rows without copies: which side a row is on depends on it alone.

    share: of the rows, about, that go to the validation side. The same row goes to the same side
    whatever else is in the file, and in whatever order, so a file that grows keeps its split.
    """
    import hashlib

    def draw(row):  # a number in [0, 1) from the words of the prompt
        words = f"{seed} {words_of(row['prompt'])}".encode()
        return int.from_bytes(hashlib.sha256(words).digest()[:8]) / 2**64

    held = [draw(row) < share for row in rows]
    return tuple([r for r, h in zip(rows, held, strict=True) if h == side] for side in (0, 1))
