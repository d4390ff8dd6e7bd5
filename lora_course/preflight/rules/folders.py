"""Rules for what was saved: is it all there, and nothing else?"""

from lora_course.preflight.adapted import ADDED
from lora_course.preflight.report import Undecided, ok, problem, some

TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
TABLES = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")


def _foreign(saved):
    """Names in the adapter's file that belong to no adapter, modules_to_save aside."""
    asked = saved.read_json("adapter_config.json").get("modules_to_save") or []
    known = ("trainable_tokens", ".modules_to_save.", *(f".{name}." for name in asked))
    return [key for key in saved.adapter if not ADDED.search(key) and not _any(known, f".{key}")]


def _any(parts, text):
    return any(part in text for part in parts)


def whole_model_saved(saved):
    """An adapter's file holds the adapter only."""
    if saved.adapter_files:
        keys = [k for k in _foreign(saved) if not any(t in k for t in TABLES)]
        if not keys:
            return ok(f"{saved.adapter_files[0].stat().st_size:,} bytes")
        return problem(
            f"{len(keys)} of {len(saved.adapter)} tensors in {saved.adapter_files[0].name} are the "
            f"base's own, {some(keys, 1)} for instance.",
            "Save with model.save_pretrained(folder) of the PeftModel, or save_adapter(): they "
            "write the factors alone.",
        )
    inside = [key for key in saved.model_keys if ADDED.search(key) or ".base_layer." in key]
    if not inside:
        return ok("a whole model without an adapter in it")
    return problem(
        f"The model's file holds base and adapter together ({some(inside, 1)}): no loader expects "
        "these names.",
        "Save the PeftModel itself for an adapter, or merge_and_unload() first, and save what it "
        "returns.",
    )


def merged_beside_adapter(saved):
    """A folder holds an adapter or a merged model, not both."""
    if not saved.adapter_files and not (saved.folder / "adapter_config.json").is_file():
        return ok("no adapter")
    if not saved.model_files:
        return ok("no whole model")
    return problem(
        f"{some(f.name for f in saved.model_files)} lies beside an adapter: transformers loads the "
        "merged model and puts the adapter on top of it once more.",
        "Give each a folder of its own.",
    )


def embeddings_saved(saved):
    """The token vectors are in the file only where that was asked for."""
    keys = [k for k in _foreign(saved) if any(t in k for t in TABLES)]
    asked = saved.config.get("target_modules") or []
    asked = [asked] if isinstance(asked, str) else asked
    if not keys or any(any(t in name for t in TABLES) for name in asked):
        return ok()
    size = sum(saved.adapter[k].numel() * saved.adapter[k].element_size() for k in keys)
    return problem(
        f"{some(keys)}: {size / 2**20:.1f} MB of token vectors are saved, and no modules_to_save "
        "names them.",
        "Save with save_embedding_layers=False where they were not trained; for new tokens use "
        "trainable_token_indices.",
    )


def tokenizer_missing(saved):
    """A tokenizer, and the template of the training, come along."""
    here = any((saved.folder / name).is_file() for name in TOKENIZER)
    if not here and saved.model_files:
        return problem(
            "There is no tokenizer beside the model.", "tokenizer.save_pretrained(folder)."
        )
    if not here:
        if any((saved.base / name).is_file() for name in TOKENIZER):
            return ok("the base has one")
        return problem(
            "There is no tokenizer beside the adapter, and none in the folder of its base.",
            "tokenizer.save_pretrained(folder).",
        )
    if _template(saved, saved.folder):
        return ok()
    if _template(saved, saved.base):
        return problem(
            "The tokenizer in this folder has no chat template, and that of the base has one.",
            "Set tokenizer.chat_template to the template of the training and save it again.",
        )
    return ok("neither this tokenizer nor that of the base has a template")


def _template(saved, folder):
    told = saved.read_json("tokenizer_config.json", folder).get("chat_template")
    return bool(told) or (folder / "chat_template.jinja").is_file()


def saved_tokenizer_too_large(saved):
    """The saved tokenizer gives no id that the model has no row for."""
    file = saved.folder / "tokenizer.json"
    if not file.is_file():
        raise Undecided("there is no tokenizer.json in the folder")
    told = saved.read_json("tokenizer.json")
    vocab = told.get("model", {}).get("vocab", ())
    ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
    last = max([*ids, *(t["id"] for t in told.get("added_tokens", ()))], default=-1)
    where = saved.folder if saved.model_files else saved.base
    rows = saved.read_json("config.json", where).get("vocab_size")
    tables = [t for k, t in (saved.adapter.items() if saved.adapter_files else ()) if
              any(name in k for name in TABLES) and t.dim() == 2 and "lora_" not in k]  # fmt: skip
    if rows is None:
        raise Undecided("config.json names no vocab_size")
    rows = max([rows, *(len(t) for t in tables)])
    grown = saved.read_json("adapter_config.json").get("trainable_token_indices")
    if last < rows or grown:
        return ok(f"{last + 1} tokens, {rows} rows")
    return problem(
        f"The tokenizer's last id is {last}, and the model has {rows} rows: whoever loads both "
        "gets an error or nonsense.",
        "Save the tokenizer of the training; for new tokens save their vectors as well, and "
        "resize before loading.",
    )
