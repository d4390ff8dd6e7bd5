"""The models of the course: the small one that ships with it, or any causal LM of yours."""

import logging
import os
import warnings
from pathlib import Path

from lora_course.plumbing.model_facts import look, reads_left_only
from lora_course.plumbing.origin import Explained, complete, present

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

    Raises OSError when the model cannot be found or lacks a file, is no causal language model, is
    stored quantized, or is an adapter: the message says what to do.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quiet()
    source = looked_at(name)
    with Explained(source, "model"):
        model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
    if report["missing_keys"]:
        raise OSError(
            f"The weights in {source} lack {len(report['missing_keys'])} tensors that its "
            f"config.json asks for, for instance {sorted(report['missing_keys'])[0]}. Weights and "
            "config.json must come from the same model: download or save the model again."
        )
    if extra := sorted(report["unexpected_keys"]):
        warnings.warn(
            f"{len(extra)} tensors of {source}, such as {extra[0]}, have no place in the model "
            "that its config.json describes, and were left out.",
            stacklevel=2,
        )
    with Explained(source, "model"):
        left_only = reads_left_only(model.eval())
    if not left_only:
        raise OSError(
            f"{source} is a {type(model).__name__} in which a token sees the tokens after it. "
            "Expected a causal language model, such as Llama, Qwen3 or GPT-2."
        )
    return model


def looked_at(name=None):
    """The hub id or folder to load; OSError, before any weight is read, when it will not do."""
    source = present(chosen(name), "config.json", "a model")
    with Explained(source, "model"):
        look(source)
    return source


def load_tokenizer(name=None):
    """The tokenizer of the model that `load_base(name)` loads.

    A tokenizer without a padding token gets its end-of-text token as one, and one without that the
    token that ends an answer in its chat template.
    Raises OSError when it cannot be found, cannot end an answer, or asks for token vectors that the
    model does not have: the message says what to do.
    """
    from transformers import AutoConfig, AutoTokenizer

    quiet()
    source, rows = present(chosen(name), "tokenizer_config.json", "a tokenizer"), None
    with Explained(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source)
        if not Path(source).is_dir() or (Path(source) / "config.json").is_file():
            rows = getattr(AutoConfig.from_pretrained(source).get_text_config(), "vocab_size", None)
    for note in complete(tokenizer, rows, source):
        warnings.warn(note, stacklevel=2)
    return tokenizer
