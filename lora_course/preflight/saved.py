"""The evidence of a folder: what was saved in it, and the base that it belongs to."""

import json
import re
from functools import cached_property
from pathlib import Path

import torch

from lora_course.preflight.report import Undecided

MODEL = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)")
ADAPTER = re.compile(r"adapter_model\.(safetensors|bin)|adapter\w*\.safetensors")


class Saved:
    """A folder, or one file of weights.

    Raises FileNotFoundError when there is nothing to examine: no folder, or no weights in it.
    """

    def __init__(self, folder, base=None):
        path = Path(folder).expanduser()
        self.folder, self.given_base = (path.parent if path.is_file() else path), base
        files = [path] if path.is_file() else sorted(path.glob("*"))
        self.model_files = [f for f in files if MODEL.fullmatch(f.name)]
        self.adapter_files = [f for f in files if ADAPTER.fullmatch(f.name)]
        if not self.model_files and not self.adapter_files:
            what = "it holds no weights" if path.is_dir() else "there is no such folder"
            raise FileNotFoundError(
                f"{folder}: {what}. Give a folder with adapter_model.safetensors, or with "
                "model.safetensors and config.json."
            )

    def read_json(self, name, folder=None):
        """The contents of a JSON file of the folder, {} where there is none."""
        file = (folder or self.folder) / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    @cached_property
    def config(self):
        """adapter_config.json. Undecided for a folder without an adapter."""
        if not self.adapter_files:
            raise Undecided("the folder holds no adapter")
        found = self.read_json("adapter_config.json")
        if not found:
            raise Undecided("there is no adapter_config.json")
        return found

    @cached_property
    def adapter(self):
        """{name: tensor} of the adapter's file. Undecided where there is none."""
        if not self.adapter_files:
            raise Undecided("the folder holds no adapter")
        return load_tensors(self.adapter_files[0])

    @cached_property
    def model_keys(self):
        """Names in the model's files. Undecided where there are none."""
        if not self.model_files:
            raise Undecided("the folder holds no whole model")
        return sorted(key for file in self.model_files for key in names_in(file))

    @cached_property
    def base(self):
        """The folder of the base on this machine. Undecided where it is not here."""
        named = self.given_base
        named = named or self.read_json("adapter_config.json").get("base_model_name_or_path")
        found = local_model(named)
        if found is None:
            raise Undecided(f"the base {named!r} is not on this machine" if named else "the base "
                            "is not named; give it with --base")  # fmt: skip
        return found

    @cached_property
    def base_shapes(self):
        """{name: shape} of the base's weights, built from its config without numbers."""
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(self.base)
        if not any("CausalLM" in a or "LMHead" in a for a in config.architectures or ()):
            raise Undecided("the base is no causal language model")
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        return {n: tuple(p.shape) for n, p in model.named_parameters(remove_duplicate=False)}


def local_model(named):
    """The folder of a model: a folder, or what the cache holds of a hub id; else None."""
    if not named:
        return None
    if str(named) == "base":
        from lora_course.kit.models import BASE

        return BASE
    folder = Path(named).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_absolute() or str(named).count("/") > 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(named), "config.json")
    return Path(found).parent if isinstance(found, str) else None


def load_tensors(file):
    """{name: tensor} of a file of weights; nothing in it is run."""
    if file.suffix == ".bin":
        return torch.load(file, map_location="cpu", weights_only=True)
    from safetensors.torch import load_file

    return load_file(file)


def names_in(file):
    """The names in a file of weights."""
    if file.suffix == ".bin":
        return list(load_tensors(file))
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return list(opened.keys())
