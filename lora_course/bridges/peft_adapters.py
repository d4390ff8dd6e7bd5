"""An adapter of this course as a folder of PEFT, and back: the same numbers under other names.

PEFT's config says which layers, rank and alpha; its weights hold A and B. Our `layer.lora_A` is
`base_model.model.layer.lora_A.weight` there, for an embedding `...layer.lora_embedding_A`.
"""

import json
import math
import re
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lora_course.adapters import lora_state_dict
from lora_course.bridges.fingerprint import fingerprint, tie
from lora_course.bridges.peft_fields import OTHER_BASE, check_plain, filled
from lora_course.bridges.proof import off_from_peft, put_proved
from lora_course.inject import lora_layers, lora_targets, mark_only_lora_as_trainable
from lora_course.plumbing.model_facts import fitting

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # owned by chapter 08
PREFIX = "base_model.model."  # owned by chapter 08
KEY = re.compile(rf"{re.escape(PREFIX)}(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")


# owned by chapter 08
def peft_key(name, layer):
    """PEFT's name for a factor: `name` is ours, as in "layer.lora_A", `layer` holds the factor."""
    if isinstance(layer.base_layer, nn.Embedding):
        return PREFIX + name.replace("lora_", "lora_embedding_")
    return f"{PREFIX}{name}.weight"


# owned by chapter 08
def to_peft(model, folder):
    """Write the LoRA of `model` as a folder that PeftModel.from_pretrained loads.

    model: a causal language model after inject_lora; ranks and alphas may differ between layers.
    The header of the weights keeps a fingerprint of the base, for check_base, and a check sum of
    the config, so that the two files stay a pair.
    Raises ValueError when there is no LoRA, a scale is neither alpha / r nor alpha / sqrt(r), or
    PEFT reads another adapter from the folder than was meant; nothing is written then.
    """
    from peft import LoraConfig

    state, layers = lora_state_dict(model), lora_layers(model)
    plain = all(a.scaling == a.lora_alpha / a.r for a in layers.values())
    if not plain and any(a.scaling != a.lora_alpha / math.sqrt(a.r) for a in layers.values()):
        raise ValueError(
            "A layer's scaling is neither lora_alpha / r nor lora_alpha / sqrt(r), and PEFT knows "
            "no other. Set lora_alpha to scaling * r."
        )
    first, drafts = next(iter(layers.values())), Path(folder) / ".new"
    alphas = {re.escape(n): a.lora_alpha for n, a in layers.items()}
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=getattr(model, "name_or_path", None),
        r=first.r,
        lora_alpha=first.lora_alpha,
        rank_pattern={re.escape(n): a.r for n, a in layers.items() if a.r != first.r},
        alpha_pattern=alphas if len(set(alphas.values())) > 1 else {},
        lora_dropout=first.lora_dropout.p,
        use_rslora=not plain,
        target_modules=lora_targets(model),
        inference_mode=True,
    )
    places = {name: layers[name.rpartition(".")[0]] for name in state}
    factors = {peft_key(n, places[n]): t.cpu().contiguous() for n, t in state.items()}
    drafts.mkdir(parents=True, exist_ok=True)
    notes = {"format": "pt", "base": fingerprint(model), "config": tie(config.to_dict())}
    save_file(factors, drafts / WEIGHTS, notes)
    config.save_pretrained(drafts)
    put_proved(model, drafts, folder)  # once PEFT reads the same numbers back


def read_peft(folder):
    """(config, tensors, notes) of an adapter folder: the two files as they are, without a model.

    config: dict. tensors: {key: tensor}. notes: dict of text, the header of the weights.
    Raises ValueError when one of the files is missing or damaged, or they are no pair.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        with safe_open(str(folder / WEIGHTS), "pt") as file:
            tensors, notes = {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}
    except Exception as error:
        raise ValueError(
            f"{folder.name} is not an intact adapter of PEFT: it takes {CONFIG} and {WEIGHTS} "
            f"({type(error).__name__}). An adapter_model.bin can run code when it is opened; ask "
            "for safetensors."
        ) from error
    if notes.get("config", tie(config)) != tie(config):
        raise ValueError(f"{CONFIG} and {WEIGHTS} in {folder.name} are no pair: save both again.")
    return config, tensors, notes


def from_peft(model, folder):
    """Put the LoRA of a PEFT folder into a fresh base as layers of this course; returns the model.

    Warns when the folder names another base. Raises ValueError, and leaves the model as it was,
    when the folder holds more than LoRA factors (DoRA, biases, whole modules, an altered base),
    does not fit the model, or gives other logits in PEFT than here.
    """
    config, tensors, notes = read_peft(folder)
    check_plain(config, [key for key in tensors if not KEY.fullmatch(key)])
    if lora_layers(model):
        raise ValueError("This model has LoRA already: load a fresh base model.")
    found, bases = {}, dict(model.named_modules(remove_duplicate=False))
    for key, tensor in tensors.items():
        name, letter = KEY.fullmatch(key).groups()
        found.setdefault(name, {})[f"lora_{letter}"] = tensor
    lost = [name for name, pair in found.items() if name not in bases or len(pair) != 2]
    if lost or not found:
        raise ValueError(f"The model has no layer {(lost or ['at all'])[0]}: it is another base.")
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        fitting(model, list(found), {"of the folder": list(found)})
        layers = {name: filled(bases[name], name, pair, config) for name, pair in found.items()}
        for name, layer in layers.items():
            model.set_submodule(name, layer)
        off = off_from_peft(model, folder)
        if not off < (1e-3 if next(model.parameters()).dtype == torch.float32 else 5e-2):
            raise ValueError(f"PEFT gives logits that differ by {off:.0%}. Keep this one in PEFT.")
    except BaseException:
        for name in found:
            model.set_submodule(name, bases[name])
        nn.ParameterList(trained).requires_grad_(True)  # the wrappers froze some of them
        raise
    mark_only_lora_as_trainable(model)
    if "base" in notes and notes["base"] != (seen := fingerprint(model)):
        warnings.warn(f"{OTHER_BASE} It names {notes['base']}; this one is {seen}.", stacklevel=2)
    return model


# owned by chapter 08
def check_base(model, folder):
    """Raises ValueError when `folder`, from to_peft, was trained on another base than `model`."""
    config, _, notes = read_peft(folder)
    if notes.get("base", "") != (seen := fingerprint(model)):
        raise ValueError(
            f"The adapter belongs to the base {notes.get('base', '(not noted)')}, called "
            f"{Path(str(config.get('base_model_name_or_path'))).name}; this one is {seen}. Load "
            "the base that the adapter was trained on."
        )
