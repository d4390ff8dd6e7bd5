"""Rules: is the adapter where the config says, once, and in use?"""

import re
from difflib import get_close_matches

from lora_course.preflight.report import Undecided, ok, problem, some, warning
from lora_course.preflight.rules.what_trains import HEADS


def target_missed(run):
    """Each name that the config asks for is the name of some layer."""
    modules = [name for name, _ in run.model.named_modules()]
    ends = {name.split(".")[-1] for name in modules}
    missed = []
    for config in run.configs:
        asked = getattr(config, "target_modules", None)
        asked = [] if isinstance(asked, str) or asked is None else list(asked)
        extra = getattr(config, "modules_to_save", None) or []
        asked += [name for name in extra if name not in HEADS]  # PEFT adds these by itself
        missed += [n for n in asked if not any(f".{m}".endswith(f".{n}") for m in modules)]
        patterns = [*(getattr(config, "rank_pattern", None) or {})]
        patterns += getattr(config, "alpha_pattern", None) or {}
        missed += [n for n in patterns if not any(_fits(n, m) for m in modules)]
    if not missed:
        return ok("every name hits a layer")
    near = sum((get_close_matches(n, ends, 1, 0.6) for n in missed), [])
    saw = f"{some(sorted(map(repr, missed)))} hits no layer, and PEFT says nothing."
    odd = [n for n in missed if set(n) & set("*+?[](|^$\\,")]
    if odd:
        return problem(
            saw, "In a list names are compared letter by letter. Give a regular expression as one "
            "text instead of a list.",
        )  # fmt: skip
    hint = f"Did you mean {some(near)}? " if near else ""
    do = f"{hint}Correct the name, or take it out of the list."
    return problem(saw, do) if near else warning(saw, do)


def _fits(pattern, name):
    """As PEFT reads the keys of rank_pattern: a regular expression for the end of a name."""
    try:
        return re.search(rf"(^|\.){pattern}$", name)
    except re.error:
        return False


def head_adapted(run):
    """A rule for layers leaves the output head alone, above all one that shares its weights."""
    head = getattr(run.base, "get_output_embeddings", lambda: None)()
    names = {n for n, m in run.model.named_modules() if m is head}
    hit = [p.layer for p in run.pairs if p.layer in names]
    if not hit:
        return ok()
    asked = [getattr(config, "target_modules", None) for config in _configs_or_none(run)]
    own = hit[0].split(".")[-1]
    by_name = any(own in (a if isinstance(a, str) else set(a)) for a in asked if a)
    tied = getattr(run.base.config, "tie_word_embeddings", False)
    tying = any(getattr(c, "ensure_weight_tying", False) for c in _configs_or_none(run))
    if (by_name and not tied) or tying:
        return ok("the head is adapted, and the config names it")
    shared = "It shares its matrix with the token vectors, so a merge changes both." if tied else ""
    return (problem if tied else warning)(
        f"The rule also hits the output head {hit[0]}. {shared}",
        "Take it out of target_modules (\"all-linear\" leaves it out), or set "
        "ensure_weight_tying=True.",
    )  # fmt: skip


def _configs_or_none(run):
    try:
        return run.configs
    except Undecided:
        return []


def wrapped_twice(run):
    """One adapter of PEFT inside another saves and loads under other names."""
    for name, _ in run.model.named_modules():
        if "base_model.model.base_model" in name:
            return problem(
                "A PeftModel holds a PeftModel: names read base_model.model.base_model.",
                "Load a fresh base and wrap it once: get_peft_model() or "
                "PeftModel.from_pretrained(), not both, and no peft_config for a trainer that is "
                "given a PeftModel.",
            )
    named = dict(run.model.named_modules())
    places = {p.layer: type(named.get(p.layer)) for p in run.pairs_or_none}
    own = {p: kind for p, kind in places.items() if not kind.__module__.startswith("peft")}
    inside = [p for p in own if any(p.startswith(f"{q}.") and own[q] is own[p] for q in own)]
    if inside:
        return problem(
            f"{len(inside)} adapted layers lie in an adapted layer: {some(inside)}.",
            "Load a fresh base and inject once.",
        )
    return ok()


def adapter_merged(run):
    """An adapter that is merged into the weights is not trained by a step."""
    merged = [n for n, m in run.model.named_modules() if getattr(m, "merged", False) is True]
    if not merged:
        return ok()
    return problem(
        f"The adapter is merged into {len(merged)} layers, {some(merged, 1)} for instance: the "
        "forward pass leaves the factors out.",
        "Call unmerge_adapter(), or unmerge(), before training goes on.",
    )


def adapter_of_another_base(run):
    """The adapter is on the base that its config names."""
    here = str(getattr(run.base, "name_or_path", "") or "")
    for config in run.configs:
        named = str(getattr(config, "base_model_name_or_path", "") or "")
        if not named or not here or _last(named) == _last(here):
            continue
        return warning(
            f"The adapter was made for {named}, and lies on {here}.",
            "Load the base that it was trained on, or correct base_model_name_or_path.",
        )
    return ok()


def _last(name):
    """The last part of a hub id or of a path, also of one in the cache of the hub."""
    cached = re.search(r"models--[^/]+--([^/]+)/", name)
    return cached[1] if cached else name.rstrip("/").split("/")[-1]
