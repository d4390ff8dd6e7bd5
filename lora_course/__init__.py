"""LoRA Course: build LoRA with your own hands. Heavy libraries are imported where they are used."""

__version__ = "0.1.0"


def progress():
    """The table of chapters and exercises: what is done, what is open, how many points."""
    from lora_course.learner.progress import progress_table

    return progress_table()


def __getattr__(name):
    """preflight, which examines a run, and PreflightCallback for a trainer, when asked for."""
    import importlib

    if name in ("preflight", "PreflightCallback"):
        return getattr(importlib.import_module("lora_course.preflight"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
