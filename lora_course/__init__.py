"""LoRA Course: build LoRA with your own hands. Heavy libraries are imported where they are used."""

__version__ = "0.1.0"


def progress():
    """The table of chapters and exercises: what is done, what is open, how many points."""
    from lora_course.learner.progress import progress_table

    return progress_table()
