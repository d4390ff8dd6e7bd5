"""What a model is, asked in one place: causal, whole numbers, which layers may have LoRA.

Every loader, injector and converter of the course asks here before it works, so that a model which
does not fit is refused with its reason, and not with wrong numbers later.
"""

import inspect
import json
import re
from functools import lru_cache
from pathlib import Path

HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how causal models are called


class Unfit(OSError):
    """A model that this course cannot use, with the reason."""


def look(source):
    """The config of a model, after a look at it that needs no weights.

    Raises Unfit, an OSError with the reason, for an adapter, a model that is stored quantized, and
    one that is no causal language model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    if (place := Path(source) / "adapter_config.json").is_file():
        base = json.loads(place.read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise Unfit(
            f"{source} holds an adapter (adapter_config.json), and a whole model was expected: "
            f"name its base, {base}. A merged model belongs in a folder of its own."
        )
    config = AutoConfig.from_pretrained(source)
    saved_as = (getattr(config, "architectures", None) or [HEADS[0]])[0]
    if stored := getattr(config, "quantization_config", None):
        kind = dict(stored).get("quant_method", "by some method")
        raise Unfit(
            f"{source} is stored quantized already ({kind}); the course begins with whole numbers. "
            "Give the model that it was made from, or model.dequantize() it and save that."
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not saved_as.endswith(HEADS):
        sees = any(getattr(config, f"{sense}_config", None) for sense in ("vision", "audio"))
        why = "an encoder and a decoder" if getattr(config, "is_encoder_decoder", False) else ""
        why = why or ("senses beside text" if sees else "no head for the next token")
        raise Unfit(
            f"{source} is a {config.model_type} ({saved_as}), which has {why}. Expected a causal "
            "language model, such as Llama, Qwen3 or GPT-2: it reads to the left only."
        )
    return config


def reads_left_only(model):
    """Whether what a token predicts is free of the tokens that follow, by a forward pass."""
    import torch

    rows = model.get_input_embeddings().num_embeddings
    ids = torch.tensor([[3, 5, 7, 9], [3, 5, 8, 2]], device=model.device) % rows  # (2, T)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :2].float()  # (2, 2, vocabulary)
    return torch.allclose(logits[0], logits[1], rtol=1e-3, atol=1e-3)


def stacks(model):
    """Expert weights that are no layers but one tensor for all experts, {name: parameter}."""
    return {
        f"{place}.{name}": p
        for place, module in model.named_modules()
        if not type(module).__module__.startswith(("torch.nn", "lora_course", "peft"))
        for name, p in module.named_parameters(recurse=False)
        if p.ndim == 3 and p.shape[0] > 1
    }


def share(model, names):
    """The share of the model's numbers that lie in these layers, in [0, 1]; tied ones once."""
    found = {p for name in names for p in model.get_submodule(name).parameters(recurse=False)}
    return sum(p.numel() for p in found) / sum(p.numel() for p in model.parameters())


@lru_cache
def read_past(kind):
    """Names of the parts whose .weight a module class uses itself, past their forward pass."""
    try:
        text = inspect.getsource(kind)
    except (OSError, TypeError):  # made in a notebook or by torch
        return frozenset()
    begun = r"    def (__init__|_?init_weights|tie_weights).*?(?=\n    def |\Z)"
    text = re.sub(begun, "", text, flags=re.S)
    text = re.sub(r"if self\.pretraining_tp.*?else:", "", text, flags=re.S)  # BLOOM, never taken
    asked = r"self\.(\w+)\.weight\b(?!\.(?:dtype|device|shape))"  # its type is not its numbers
    return frozenset(re.findall(asked, text))


def senses(model):
    """Names of the parts that other input than text goes through, such as a vision tower."""
    config = getattr(model, "config", None)
    if not any(getattr(config, f"{sense}_config", None) for sense in ("vision", "audio")):
        return []
    word = re.compile(r"(^|\.)\w*(vision|visual|image|audio|speech|multi_modal)\w*(\.|$)")
    return [name for name, _ in model.named_modules() if word.search(name)]


def fitting(model, layers, found):
    """The names of the layers that a rule hits, in the order of `layers`, after a look at them.

    layers: names of all that may have LoRA. found: {part of the rule: names that it hits}.
    Raises ValueError when LoRA on them would be lost, or would be another thing than in PEFT.
    """
    names = [name for name in layers if any(name in hits for hits in found.values())]
    blind = set(senses(model)) & set(names)
    if blind and "all-linear" in found:
        endings = sorted({n.rpartition(".")[2] for n in set(names) - blind})
        raise ValueError(
            f"all-linear hits {len(blind)} layers that text never goes through, such as "
            f"{min(blind)}. Name the language part by a regular expression: target_modules="
            f"r'.*language_model.*\\.({'|'.join(endings)})'."
        )
    parents = {name: model.get_submodule(name.rpartition(".")[0]) for name in names}
    past = [n for n, up in parents.items() if n.rpartition(".")[2] in read_past(type(up))]
    if past:
        rest = sorted({n.rpartition(".")[2] for n in set(names) - set(past)})
        raise ValueError(
            f"{type(parents[past[0]]).__name__} uses the weight of {past[0]} without calling the "
            f"layer, so LoRA on it would be lost. Choose other layers: target_modules={rest}."
        )
    experts = stacks(model) if "all-linear" in found else ()
    if experts:
        endings = sorted({n.rpartition(".")[2] for n in names})
        raise ValueError(
            f"all-linear reaches {share(model, names):.0%} of this model's numbers: its experts "
            f"are {len(experts)} stacks of matrices, such as {next(iter(experts))}, not layers, "
            f"and PEFT may adapt them too. Name what you want: target_modules={endings} for the "
            "layers alone; lora_course.methods.experts.inject_experts adds the stacks."
        )
    return names
