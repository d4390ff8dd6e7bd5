"""Rules for what was saved: will others get from this folder what was trained?"""

import re

import torch

from lora_course.preflight.adapted import ADDED
from lora_course.preflight.report import Undecided, ok, problem, some, warning
from lora_course.preflight.saved import load_tensors, local_model

PREFIX = "base_model.model."
ODD = re.compile(
    r"^base_model\.model\.base_model\.|_orig_mod|\.module\.|lora_(embedding_)?[AB]\.[^.]+\.weight$"
)
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
TABLES = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")


def _foreign(saved):
    """Names in the adapter's file that belong to no adapter, modules_to_save aside."""
    asked = saved.read_json("adapter_config.json").get("modules_to_save") or []
    known = ("trainable_tokens", ".modules_to_save.", *(f".{name}." for name in asked))
    return [key for key in saved.adapter if not ADDED.search(key) and not _any(known, f".{key}")]


def _any(parts, text):
    return any(part in text for part in parts)


def file_damaged(saved):
    """Every file can be read, and its numbers are numbers."""
    for file in saved.adapter_files + saved.model_files:
        try:
            tensors = load_tensors(file)
        except Exception as error:
            return problem(
                f"{file.name} cannot be read: {type(error).__name__}.", "Save or copy it again."
            )
        broken = [n for n, t in tensors.items() if t.is_floating_point() and not _finite(t)]
        if broken:
            return problem(
                f"{some(broken)} in {file.name} holds numbers that are not finite.",
                "Train again with a smaller rate or without float16; this file is lost.",
            )
    return ok()


def _finite(tensor):
    return bool(torch.isfinite(tensor.float()).all())


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


def base_differs(saved):
    """The base that the adapter was trained on is the one that it is put on."""
    named = saved.config.get("base_model_name_or_path")
    if not named:
        raise Undecided("adapter_config.json names no base")
    mark = _fingerprint(saved)
    if mark:
        from lora_course.bridges.fingerprint import fingerprint
        from lora_course.kit.models import load_base

        if fingerprint(load_base(str(saved.base))) == mark:
            return ok("the fingerprint is that of the base")
        return _differs(named, saved.base)
    if not saved.given_base or str(saved.given_base) == str(named):
        raise Undecided("no other base was given to compare with")
    other = local_model(named)
    if other is None:
        same = str(named).rstrip("/").split("/")[-1] == str(saved.base).rstrip("/").split("/")[-1]
        if same:
            return ok("the bases have one name")
        return warning(
            f"The adapter names the base {named}, which is not here, and {saved.base.name} was "
            "given.", "Make sure that they are one model.",
        )  # fmt: skip
    return ok("the same weights") if _same(other, saved.base) else _differs(named, saved.base)


def _differs(named, given):
    return problem(
        f"The adapter was trained on {named}, and {given} has other weights.",
        "Load the base that it was trained on.",
    )


def _fingerprint(saved):
    file = saved.adapter_files[0]
    if file.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return (opened.metadata() or {}).get("base")


def _same(one, two):
    """Whether two model folders hold the same weights; a sample of each file's numbers decides."""
    if one.resolve() == two.resolve():
        return True
    files = [sorted(f for f in folder.glob("*.safetensors")) for folder in (one, two)]
    if [f.name for f in files[0]] != [f.name for f in files[1]] or not files[0]:
        return False
    for mine, theirs in zip(*files, strict=True):
        a, b = load_tensors(mine), load_tensors(theirs)
        if a.keys() != b.keys() or not all(torch.equal(a[k], b[k]) for k in a):
            return False
    return True


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


def keys_would_not_load(saved):
    """Every name in the file is one that the loader looks for."""
    if not saved.adapter_files:
        odd = [k for k in saved.model_keys if k.startswith((PREFIX, "module.", "_orig_mod."))]
        if not odd:
            return ok()
        return problem(
            f"{len(odd)} names begin as {odd[0]}: the wrapper's name is in them.",
            "Save the model inside of the wrapper.",
        )
    if not (saved.folder / "adapter_config.json").is_file():
        raise Undecided("there is no adapter_config.json, so no loader of PEFT is meant")
    keys = [key for key in saved.adapter if "lora_" in key]
    odd = [key for key in keys if not key.startswith(PREFIX) or ODD.search(key)]
    if odd:
        return problem(
            f"{len(odd)} of {len(keys)} factors have names that PEFT does not look for, "
            f"{odd[0]} for instance: they would be left out, and the adapter would do nothing.",
            "Save with the PeftModel's own save_pretrained(folder), unwrapped and wrapped once.",
        )
    return _against_base(saved, keys)


def _against_base(saved, keys):
    shapes, misfits = saved.base_shapes, []
    for key in keys:
        place = key.removeprefix(PREFIX).partition(".lora_")[0]
        weight = shapes.get(f"{place}.weight")
        if weight is None or not set(saved.adapter[key].shape) & set(weight):
            misfits.append(place)
    if not misfits:
        return ok(f"all {len(keys)} factors fit the base")
    return problem(
        f"{len(misfits)} of {len(keys)} factors fit no layer of {saved.base.name}: "
        f"{some(sorted(set(misfits)))}.",
        "Load the base, of the class, that it was trained on: AutoModelForCausalLM and AutoModel "
        "name their layers differently.",
    )


def update_saved_zero(saved):
    """Each layer's update is something."""
    factors = {k: t for k, t in saved.adapter.items() if re.search(r"lora_(embedding_)?[AB]", k)}
    if not factors:
        raise Undecided("there are no LoRA factors")
    zero = [k for k, t in factors.items() if not t.any() and "expert" not in k]
    layers = len(factors) // 2
    if not zero:
        return ok(f"{layers} layers")
    return problem(
        f"The update of {len(zero)} of {layers} layers is zero: {some(zero, 1)}. They were never "
        "trained, or never loaded.",
        "Look at what the optimizer held and at the warnings of the load.",
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
