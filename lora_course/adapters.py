"""An adapter as a file: the trained factors alone, in safetensors, with a header that explains it.

The base model is not in the file. Whoever has the base needs nothing more than this file, which is
4 bytes for each number of A and B, and about 100 bytes for each tensor's name and shape.
"""

import json
from pathlib import Path
from zlib import crc32

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lora_course.inject import lora_layers, lora_targets
from lora_course.plumbing.files import write_atomically


# owned by chapter 05
def lora_state_dict(model):
    """The factors of the adapter, {name: tensor}, not copied.

    Raises ValueError when the model has no LoRA layers.
    """
    factors = {n: p.detach() for n, p in model.named_parameters() if ".lora_" in f".{n}"}
    if not factors:
        raise ValueError("This model has no LoRA layers, so there is no adapter: inject first.")
    return factors


def save_adapter(model, path, metadata=None):
    """Write the adapter, and nothing of the base, to one safetensors file, whole or not at all.

    metadata: a dict of notes for the header, such as {"task": "questions"}; values become text.
    Raises ValueError when the model has no LoRA layers.
    """
    factors = {n: t.cpu().contiguous() for n, t in lora_state_dict(model).items()}
    header = {key: str(value) for key, value in (metadata or {}).items()}
    header |= {key: json.dumps(value) for key, value in _describe(model).items()}
    header["crc32"] = _check_sum(header, save(factors))
    write_atomically(path, save(factors, header))


def read_adapter(path):
    """(header, factors) of an adapter file: a dict and {name: tensor}.

    Raises ValueError when the file is damaged or was not written by save_adapter.
    """
    data = Path(path).read_bytes()
    try:
        factors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        found = header.pop("crc32")
        if found != _check_sum(header, data):
            raise ValueError("its check sum does not fit its contents")
        for key in ("r", "lora_alpha", "scaling", "target_modules"):
            header[key] = json.loads(header[key])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not an intact file of save_adapter() ({len(data)} bytes; {error}). "
            "Save or copy it again."
        ) from error
    return header, factors


def load_adapter(model, path):
    """Put the factors of a file into a model with the same LoRA layers; returns the file's header.

    Raises ValueError when the file is damaged or does not fit the model, which is then as it was.
    """
    header, factors = read_adapter(path)
    places, about = lora_state_dict(model), _describe(model)
    wrong = []
    if factors.keys() != places.keys():
        wrong = ["target_modules"]
    elif any(getattr(layer, "merged", False) for layer in model.modules()):
        raise ValueError("The adapter of this model is merged into it. Unmerge, then load.")
    else:
        wrong = [key for key in ("r", "scaling") if header[key] != about[key]]
    misfits = [n for n, t in factors.items() if n in places and t.shape != places[n].shape]
    if wrong or misfits:
        pairs = [f"{key} = {header[key]}, and the model has {about[key]}" for key in wrong]
        pairs += [
            f"{n} of shape {tuple(factors[n].shape)}, and the model {tuple(places[n].shape)}"
            for n in misfits[:1]
        ]
        raise ValueError(
            f"{path} does not fit this model. It has {'; it has '.join(pairs)}. Inject into a "
            f"fresh base with target_modules={header['target_modules']}, r={header['r']}, "
            f"lora_alpha={header['lora_alpha']}, then load."
        )
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(factors[name])
    return header


def _describe(model):
    """What decides whether an adapter fits, and what inject_lora() needs to make room for it.

    A value that differs between layers is a dict {layer: value}.
    """
    layers, about = lora_layers(model), {"target_modules": lora_targets(model)}
    for key in ("r", "lora_alpha", "scaling"):
        values = {name: getattr(layer, key) for name, layer in layers.items()}
        about[key] = values if len(set(values.values())) > 1 else next(iter(values.values()))
    return about


def _check_sum(header, data):
    """A check sum of the notes and of the numbers in a safetensors file, eight characters."""
    start = 8 + int.from_bytes(data[:8], "little")
    return f"{crc32(data[start:], crc32(json.dumps(header, sort_keys=True).encode())):08x}"
