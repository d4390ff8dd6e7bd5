"""Rules for what was saved: will it load, and do what was trained?"""

import re

import torch

from lora_course.preflight.report import Undecided, ok, problem, some, warning
from lora_course.preflight.saved import load_tensors, local_model

PREFIX = "base_model.model."
ODD = re.compile(
    r"^base_model\.model\.base_model\.|_orig_mod|\.module\.|lora_(embedding_)?[AB]\.[^.]+\.weight$"
)


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
    """Whether two model folders hold the same weights, number for number."""
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
