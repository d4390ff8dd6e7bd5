"""Where a model comes from: a folder or a hub id; what it lacks, in one sentence."""

import os
from pathlib import Path

from lora_course.plumbing.model_facts import Unfit
from lora_course.plumbing.talk_facts import WORD, prompt_text, stop_ids


def present(source, file, what, variable="LORA_COURSE_MODEL"):
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
            f"HuggingFaceTB/SmolLM2-135M. Mend the path, or unset {variable} to use the model of "
            "the course."
        )
    return source


class Explained:
    """Turns the many errors of a failed load into one OSError that says what to do."""

    def __init__(self, source, what, variable="LORA_COURSE_MODEL"):
        self.source, self.what, self.variable = source, what, variable

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
            f"{self.variable} to use the model of the course. (The loader said: {first})"
        ) from error


def complete(tokenizer, rows, source):
    """Give a tokenizer the end and padding tokens it lacks; returns notes, a list of sentences.

    rows: of the model's token table, None where there is no model.
    Raises OSError for a tokenizer that does not work with the model, or cannot end an answer.
    """
    try:
        ends = stop_ids(tokenizer)
    except Exception as error:
        raise OSError(
            f"The tokenizer of {source} has a chat template that cannot be used: {error}. Mend "
            "chat_template.jinja, or set tokenizer.chat_template = None and save it."
        ) from error
    if not ends:
        raise OSError(
            f"The tokenizer of {source} has no end token, so no answer could end. Set "
            "tokenizer.eos_token to a token of its vocabulary and save it."
        )
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    words = {i: token for token, i in tokenizer.get_vocab().items()}
    beyond = sorted(i for i in words if rows is not None and i >= rows)
    asked = tokenizer(prompt_text(tokenizer, WORD), add_special_tokens=False)["input_ids"]
    if needed := set(beyond) & {*asked, *ends, tokenizer.pad_token_id}:
        raise OSError(
            f"The tokenizer of {source} needs token {min(needed)} ({words[min(needed)]!r}), and "
            f"the model has {rows} rows only. They belong to different models; or the model was "
            "not resized: model.resize_token_embeddings(len(tokenizer)), then save it."
        )
    notes = []
    if beyond:
        notes.append(
            f"{len(beyond)} tokens of {source}, such as {words[beyond[0]]!r}, have no row in the "
            "model: a text with one of them ends in an IndexError."
        )
    pair = tokenizer(["a\nb", "a b"], add_special_tokens=False)["input_ids"]
    if pair[0] == pair[1] and not tokenizer.chat_template:
        notes.append(
            f"The tokenizer of {source} does not tell a line break from a space: prompt and answer "
            "are parted by a space."
        )
    return notes
