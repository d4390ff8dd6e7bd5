"""Where a model comes from: a folder or a hub id, and a failed load in one sentence."""

import os
from pathlib import Path

from lora_course.plumbing.model_facts import Unfit


def present(source, file, what):
    """`source` again, after a look at it: a folder must hold `file`; else it must be a hub id."""
    folder = Path(source)
    if folder.is_dir():
        if not (folder / file).is_file():
            raise OSError(
                f"The folder {source} is not {what}: it has no {file}. Expected a folder that "
                "holds what save_pretrained() writes, of the model and of the tokenizer. Save both "
                "into it, or unset LORA_COURSE_MODEL to use the model of the course."
            )
    elif source.startswith(("/", ".", "~")) or source.count("/") > 1 or "\\" in source:
        raise OSError(
            f"There is no folder {source}. Expected an existing folder, or a hub id such as "
            "HuggingFaceTB/SmolLM2-135M. Mend the path, or unset LORA_COURSE_MODEL to use the "
            "model of the course."
        )
    return source


class Explained:
    """Turns the many errors of a failed load into one OSError that says what to do."""

    def __init__(self, source, what):
        self.source, self.what = source, what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or not isinstance(error, Exception) or isinstance(error, Unfit):
            return
        if Path(self.source).is_dir():
            advice = "A file in that folder is missing or damaged: save or download it again."
        elif os.environ.get("HF_HUB_OFFLINE") == "1":
            advice = (
                "HF_HUB_OFFLINE=1 is set and this id is not in the local cache: unset it, or give "
                "a folder."
            )
        else:
            advice = (
                "Check the spelling of the id and the network (`lora-course doctor` tells whether "
                "the hub answers; a private or gated model also needs `hf auth login`)."
            )
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"The {self.what} {self.source!r} could not be loaded. {advice} Or unset "
            f"LORA_COURSE_MODEL to use the model of the course. (The loader said: {first})"
        ) from error
