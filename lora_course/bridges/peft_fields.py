"""What the fields of PEFT's config mean here, and which are refused."""

import math
import re

from lora_course.inject import wrap

HARMLESS = (  # fields of PEFT's config that change nothing, or that are read here
    "auto_mapping base_model_name_or_path revision peft_version task_type inference_mode r "
    "lora_alpha lora_dropout use_rslora rank_pattern alpha_pattern target_modules exclude_modules "
    "layers_to_transform layers_pattern fan_in_fan_out init_lora_weights ensure_weight_tying"
).split()
OTHER_BASE = (
    "The adapter was trained on other numbers: on the same base in 4 bits, or on another base."
)


def check_plain(config, extra):
    """Raises ValueError unless a config of PEFT says plain LoRA; extra: names of other tensors."""
    from peft import LoraConfig

    if not isinstance(config.get("lora_alpha"), int | float):
        raise ValueError(
            f"adapter_config.json has lora_alpha = {config.get('lora_alpha')}, and a number was "
            "expected: without it the update has no scale. Ask whoever made the adapter."
        )
    plain = {**LoraConfig().to_dict(), "peft_type": "LORA"}
    odd = {
        key: sorted(value) if isinstance(value, list) else value
        for key, value in config.items()
        if key not in HARMLESS and value and value != plain.get(key)
    }
    if config.get("init_lora_weights", True) not in (True, False, "gaussian"):
        odd["init_lora_weights"] = config["init_lora_weights"]
    if config.get("peft_type") != "LORA" or odd or extra:
        raise ValueError(
            f"This adapter is more than plain LoRA: peft_type={config.get('peft_type')}, {odd}, "
            f"tensors beside the factors: {extra[:2]}. Keep it in PEFT."
        )


def filled(base, name, pair, config):
    """The LoRA layer around `base` with the factors of a folder; ValueError if they do not fit."""
    r = pair["lora_A"].shape[0]
    alpha = pattern_value(config.get("alpha_pattern"), name, config["lora_alpha"])
    layer = wrap(base, r, alpha, config.get("lora_dropout") or 0.0)
    layer.scaling = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
    for letter, tensor in pair.items():
        place = getattr(layer, letter)
        if place.shape != tensor.shape:
            raise ValueError(
                f"{name}.{letter} is {tuple(tensor.shape)} in the folder, and the model needs "
                f"{tuple(place.shape)}: it is another base."
            )
        place.data.copy_(tensor)
    return layer


def pattern_value(patterns, name, default):
    """The value of the first pattern whose end is the layer's name, as PEFT reads alpha_pattern."""
    hits = [v for key, v in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name)]
    return hits[0] if hits else default
