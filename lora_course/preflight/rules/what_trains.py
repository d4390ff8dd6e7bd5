"""Rules: does what shall train train, and nothing else?"""

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
