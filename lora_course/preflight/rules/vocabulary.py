"""Rules: does the model know the tokens?"""

import json

import torch

from lora_course.preflight.report import ok, problem, some
from lora_course.preflight.rules.answers import _text
from lora_course.preflight.saved import local_model


def tokenizer_of_another_model(run):
    """Every id that the tokenizer can give is a row of the model's table."""
    rows = run.table.weight.shape[0]
    if hasattr(run.table, "num_embeddings"):
        rows = run.table.num_embeddings
    largest = {}
    if "input_ids" in run.batch:
        largest["a token of the batch"] = int(run.batch["input_ids"].max())
    if run.tokenizer is not None:
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            largest[name] = getattr(run.tokenizer, name, None)
        largest["the tokenizer's last token"] = len(run.tokenizer) - 1
    over = {name: i for name, i in largest.items() if i is not None and i >= rows}
    if not over:
        return ok(f"{rows} rows")
    return problem(
        f"The model has {rows} token vectors, and {some(f'{n} is {i}' for n, i in over.items())}.",
        "Load the tokenizer from the model's own folder, or call resize_token_embeddings() and "
        "train the new rows.",
    )


def _new_tokens(run):
    """Ids that were added to the tokenizer after it was loaded."""
    tokenizer = _text(run)
    folder = local_model(getattr(tokenizer, "name_or_path", ""))
    file = folder and folder / "tokenizer.json"
    if not file or not file.is_file():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    known = {token["id"] for token in told.get("added_tokens", ())}
    vocab = told.get("model", {}).get("vocab", ())
    known |= set(vocab.values()) if isinstance(vocab, dict) else set(range(len(vocab)))
    return sorted(set(tokenizer.get_vocab().values()) - known)


def new_tokens_untrained(run):
    """Tokens that were added have a vector that trains."""
    tokenizer, table = _text(run), run.table
    new = _new_tokens(run)
    if new is None:
        added = getattr(tokenizer, "get_added_vocab", dict)()
        new = _at_the_mean(table.weight, sorted(added.values()))
    used = set(run.batch["input_ids"].unique().tolist()) if "input_ids" in run.batch else set()
    new = [i for i in new if i < table.weight.shape[0] and i != tokenizer.pad_token_id]
    new = [i for i in new if i in used] or new
    run.must_train()
    modules = [m for n, m in run.model.named_modules() if m is table or table in m.modules()]
    near = [p for m in modules[-2:] for p in m.parameters(recurse=True)]
    if not new:
        return ok("no token is new")
    named = dict(run.model.named_modules())
    home = next(n for n, m in named.items() if m is table)
    inside = [n for n in run.trained if n.startswith(f"{home}.") or n.rpartition(".")[0] == home]
    tokens = [n for n in run.trained if "trainable_tokens" in n or ".embed" in n or "wte" in n]
    if inside or tokens or any(p.requires_grad for p in near if p is table.weight):
        return ok(f"{len(new)} new tokens, and their vectors train")
    told = some(tokenizer.convert_ids_to_tokens(new))
    return problem(
        f"{len(new)} tokens are new ({told}), and the table of token vectors is frozen: they stay "
        "at their random start.",
        "Set trainable_token_indices to their ids, or name the table in modules_to_save.",
    )


@torch.no_grad()
def _at_the_mean(weight, ids):
    """Those of `ids` whose rows lie at the mean of all rows, where resizing puts new ones."""
    ids = [i for i in ids if i < weight.shape[0]]
    if not ids or not weight.is_floating_point():
        return []
    rows = weight.float()
    mean = rows.mean(0)
    usual = (rows - mean).norm(dim=1).median()
    return [i for i in ids if (rows[i] - mean).norm() < 0.05 * usual]
