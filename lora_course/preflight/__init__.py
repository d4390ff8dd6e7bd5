"""Examines a training run before it is paid for: `lora_course.preflight(trainer)`.

This package can be called: `lora_course.preflight(...)` is `check_run(...)`. It looks and never
changes: weights, modes, random state, gradients and the data loader stay as they are, bit for bit.
"""

import importlib
import sys
from types import ModuleType


class _Callable(ModuleType):
    """The package, with a call: one name for the tool and for the folder that holds it."""

    def __call__(
        self, run, tokenizer=None, batch=None, optimizer=None, *, train_rows=None, test_rows=None,
        base=None, training=True, rules=None, show=True,
    ):  # fmt: skip
        """See lora_course.preflight.check.check_run, which this is."""
        from lora_course.preflight.check import check_run

        return check_run(
            run, tokenizer, batch, optimizer, train_rows=train_rows, test_rows=test_rows, base=base,
            training=training, rules=rules, show=show,
        )  # fmt: skip


sys.modules[__name__].__class__ = _Callable


HOMES = {  # what a reader imports from here, read when asked for: torch is slow to import
    "PreflightCallback": "callback",
    "RULES": "rules",
    "SAVED_RULES": "rules",
    **dict.fromkeys(("Finding", "Report", "Undecided", "ok", "problem", "warning"), "report"),
}


def __getattr__(name):
    if name == "preflight":
        return sys.modules[__name__]
    if name in HOMES:
        return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
