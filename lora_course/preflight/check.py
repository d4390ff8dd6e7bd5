"""One examination: gather the evidence, ask each rule, put everything back as it was."""

import warnings
from pathlib import Path

from lora_course.preflight.report import Finding, Report, Undecided, named


def check_run(
    run, tokenizer=None, batch=None, optimizer=None, *, train_rows=None, test_rows=None, base=None,
    training=True, rules=None, show=True,
):  # fmt: skip
    """Examine a run, print what is wrong, return a Report. Nothing of the run is changed.

    run: a trainer of transformers or TRL; or a model, with tokenizer, batch (a dict of tensors or a
    DataLoader) and, where there is one, optimizer (or a list of them); or a folder, as text or
    Path, which holds a saved adapter or model.
    train_rows, test_rows: data sets or lists of dicts; a trainer brings its own.
    base: the folder or id of the base model, for a saved adapter; else its config is asked.
    training: False for a run that only evaluates: then what trains is not asked.
    rules: {function: chapter}; without it, RULES or, for a folder, SAVED_RULES.
    show: False prints nothing.

    Raises TypeError when `run` is none of these.
    """
    if isinstance(run, str | Path):
        from lora_course.preflight.rules import SAVED_RULES
        from lora_course.preflight.saved import Saved

        return _finish(_ask(Saved(run, base), rules or SAVED_RULES), show)
    import torch

    from lora_course.preflight.evidence import Run
    from lora_course.preflight.rules import RULES
    from lora_course.preflight.untouched import untouched

    trainer = run if hasattr(run, "model") and hasattr(run, "args") else None
    model = trainer.model if trainer is not None else run
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"preflight() was given a {type(run).__name__}. It examines a Trainer, a model with "
            "tokenizer and batch, or a folder."
        )
    with untouched(model, trainer):
        evidence = Run(model, tokenizer, batch, optimizer, trainer, train_rows, test_rows, training)
        findings = _ask(evidence, rules or RULES)
    return _finish(findings, show)


def _ask(evidence, rules):
    return [named(rule, _answer(rule, evidence), chapter) for rule, chapter in rules.items()]


def _answer(rule, evidence):
    """What one rule says. A rule that fails has examined nothing, and says so."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return rule(evidence) or Finding("ok")
    except Undecided as why:
        return Finding("not examined", str(why))
    except Exception as error:
        told = (str(error).strip() or "no message").splitlines()[0][:200]
        return Finding("not examined", f"{type(error).__name__}: {told}")


def _finish(findings, show):
    report = Report(findings)
    if show:
        print(report)
    return report
