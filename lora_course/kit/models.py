"""The models of the course: the small one that ships with it, or any causal LM of yours."""

import logging
import os
import warnings
from pathlib import Path

BASE = Path(__file__).resolve().parents[1] / "base"


def quiet():
    """Silences what is noise in a notebook: loading bars, and two warnings that nobody can heed.

    bitsandbytes logs a warning when the optional package `kernels` is missing, which the course
    does not need; PEFT reads a property of the model that transformers has renamed. Real warnings
    and errors are still shown.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def chosen(name=None):
    """The model to load, a hub id or a folder: `name`, else $LORA_COURSE_MODEL, else "base".

    "base" stands for the model that ships with the course.
    """
    name = name or os.environ.get("LORA_COURSE_MODEL") or "base"
    return str(BASE) if name == "base" else os.path.expanduser(name)


def is_shipped():
    """True when neither $LORA_COURSE_MODEL nor $LORA_COURSE_DATA puts in a model or data of yours.

    What a chapter claims of scores, it claims of the model and the data of the course.
    """
    return chosen() == str(BASE) and not os.environ.get("LORA_COURSE_DATA")


def load_base(name=None):
    """The pre-trained causal language model, in float32 and eval mode, on the CPU.

    name: "base" (ships with the course), a hub id or a folder; without it, $LORA_COURSE_MODEL
    counts, and without that, "base".

    Raises OSError when the model cannot be found or lacks a file: the message says what to do.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quiet()
    source = _present(chosen(name), "config.json", "a model")
    with _Explained(source, "model"):
        model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
    if report["missing_keys"]:
        raise OSError(
            f"The weights in {source} lack {len(report['missing_keys'])} tensors that its "
            f"config.json asks for, for instance {sorted(report['missing_keys'])[0]}. Weights and "
            "config.json must come from the same model: download or save the model again."
        )
    return model.eval()


def load_tokenizer(name=None):
    """The tokenizer of the model that `load_base(name)` loads.

    A tokenizer without a padding token gets its end-of-text token as one.
    Raises OSError when it cannot be found: the message says what to do.
    """
    from transformers import AutoTokenizer

    quiet()
    source = _present(chosen(name), "tokenizer_config.json", "a tokenizer")
    with _Explained(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _present(source, file, what, variable="LORA_COURSE_MODEL"):
    """`source` again, after a look at it: a folder must hold `file`; else it must be a hub id."""
    folder = Path(source)
    if folder.is_dir():
        if not (folder / file).is_file():
            raise OSError(
                f"The folder {source} is not {what}: it has no {file}. Expected a folder that "
                "holds what save_pretrained() writes, of the model and of the tokenizer. Save both "
                f"into it, or unset {variable} to use the model of the course."
            )
    elif source.startswith(("/", ".", "~")) or source.count("/") > 1 or "\\" in source:
        raise OSError(
            f"There is no folder {source}. Expected an existing folder, or a hub id such as "
            f"HuggingFaceTB/SmolLM2-135M. Mend the path, or unset {variable} to use the "
            "model of the course."
        )
    return source


class _Explained:
    """Turns the many errors of a failed load into one OSError that says what to do."""

    def __init__(self, source, what, variable="LORA_COURSE_MODEL"):
        self.source, self.what, self.variable = source, what, variable

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or not isinstance(error, Exception):
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
            f"{self.variable} to use the model of the course. (The loader said: {first})"
        ) from error
