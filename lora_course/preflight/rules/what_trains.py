"""Rules: does what shall train train, and nothing else?"""

from difflib import get_close_matches

from lora_course.preflight.adapted import is_declared
from lora_course.preflight.report import Undecided, ok, problem, some, warning

HEADS = ("score", "classifier", "qa_outputs", "classification_head", "v_head")


def nothing_trains(run):
    """Something must require a gradient."""
    if run.trained:
        count = sum(run.params[name].numel() for name in run.trained)
        return ok(f"{count:,} numbers train")
    why = "the adapter is frozen" if run.added else "every parameter is frozen"
    return problem(
        f"No parameter requires a gradient: {why}.",
        "Freeze the base before the adapter goes in, not after. An adapter that is loaded to be "
        "trained on needs PeftModel.from_pretrained(..., is_trainable=True).",
    )


def _unasked(run):
    """Names that train beside the adapter although no config says so."""
    if not run.added:
        raise Undecided("there is no adapter: all weights may train")
    declared = is_declared(run.model)
    return [n for n in run.trained if n not in run.added and not declared(n)]


def _is_ending(run, name):
    """True for the table of token vectors, the output head, or a new head on top."""
    base = getattr(run, "base", None)
    ends = [getattr(base, f"get_{side}_embeddings", lambda: None)() for side in ("input", "output")]
    weights = {id(p) for end in ends if end is not None for p in end.parameters()}
    return id(run.params[name]) in weights


def base_trains(run):
    """Beside an adapter the base is frozen."""
    names = [n for n in _unasked(run) if not _ending(run, n) and not _new_head(n)]
    wide = [n for n in names if run.params[n].dim() > 1]
    if not names:
        return ok("the base is frozen")
    count = sum(run.params[n].numel() for n in names)
    saw = f"{count:,} numbers of the base train beside the adapter: {some(names)}."
    do = (
        "Freeze the base: get_peft_model() and inject_lora() do it; an injection by hand needs "
        "requires_grad_(False) on everything but the factors. These weights will not be in the "
        "adapter's file."
    )
    return problem(saw, do) if wide else warning(saw, do)


def head_or_embeddings_train(run):
    """Token vectors and output head train only where a config asks for it."""
    names = [n for n in _unasked(run) if _ending(run, n)]
    if not names:
        return ok()
    return problem(
        f"{some(names)} of {run.params[names[0]].numel():,} numbers trains, and no modules_to_save "
        "names it, so it will be missing in the adapter's file.",
        "Freeze it, or ask for it: modules_to_save for the whole matrix, trainable_token_indices "
        "for new tokens.",
    )


def _ending(run, name):
    try:
        return _is_ending(run, name)
    except Undecided:
        return any(part in name for part in ("lm_head", "embed_tokens", "wte"))


def _new_head(name):
    return any(part in HEADS for part in name.split("."))


def new_head_frozen(run):
    """A new head on top of the model must train and be saved."""
    names = [n for n in run.params if _new_head(n) and n not in run.added]
    if not names or not run.added:
        return ok()
    labels = getattr(run.base.config, "id2label", None) or {}
    fresh = all(str(label).startswith("LABEL_") for label in labels.values())
    live = any(run.params[n].requires_grad for n in names) or any(_new_head(n) for n in run.added)
    if live or not fresh:
        return ok()
    return problem(
        f"{some(names)} is frozen, and its labels have no names: a new head, which stays random.",
        'Name it in modules_to_save, or give LoraConfig(task_type="SEQ_CLS"), which does.',
    )


def _configs(run):
    configs = getattr(run.model, "peft_config", None)
    if not isinstance(configs, dict):
        raise Undecided("there is no PEFT config to compare with")
    return list(configs.values())


def target_missed(run):
    """Each name that the config asks for is the name of some layer."""
    modules = [name for name, _ in run.model.named_modules()]
    ends = {name.split(".")[-1] for name in modules}
    missed = []
    for config in _configs(run):
        asked = getattr(config, "target_modules", None)
        asked = [] if isinstance(asked, str) or asked is None else list(asked)
        extra = getattr(config, "modules_to_save", None) or []
        asked += [name for name in extra if name not in HEADS]  # PEFT adds these by itself
        asked += list(getattr(config, "rank_pattern", None) or [])
        missed += [n for n in asked if not _hits(n, modules)]
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


def _hits(name, modules):
    import re

    if any(f".{module}".endswith(f".{name}") for module in modules):
        return True
    try:
        return any(re.search(rf"(^|\.){name}$", module) for module in modules)
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
    by_name = any(not isinstance(a, str) and a and {"lm_head", hit[0]} & set(a) for a in asked)
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
        return _configs(run)
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
