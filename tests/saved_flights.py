"""Saved adapters and models, healthy and with one fault each; each maker gets an empty folder.

A maker returns (folder,) or (folder, base). Used by tests/test_preflight.py.
"""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from lora_course.adapters import save_adapter
from lora_course.bridges.peft_adapters import to_peft
from lora_course.inject import inject_lora
from lora_course.kit.models import BASE, load_base, load_tokenizer

from . import flights

SAVED_FAULTS, SAVED_HEALTHY = {}, {}
WEIGHTS = "adapter_model.safetensors"


def fault(*rules):
    def add(maker):
        SAVED_FAULTS[maker.__name__] = (rules, maker)
        return maker

    return add


def healthy(maker):
    SAVED_HEALTHY[maker.__name__] = maker
    return maker


def trained(**settings):
    """A PEFT model whose B is not zero."""
    model = flights.peft_model(**settings)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                p.normal_(std=0.02)
    return model


def saved(folder, **settings):
    folder = folder / "adapter"
    trained(**settings).save_pretrained(folder)
    return folder


def rewritten(folder, change):
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})
    return (folder,)


@healthy
def adapter_and_tokenizer(folder):
    made = saved(folder)
    load_tokenizer().save_pretrained(made)
    return (made,)


@healthy
def adapter_alone(folder):
    return (saved(folder),)


@healthy
def adapter_of_a_random_model(folder):
    folder = folder / "adapter"
    model = trained(kind="gpt2")
    model.save_pretrained(folder)
    return (folder,)


@healthy
def adapter_by_trl(folder):
    (trainer,), _ = flights.sft()
    trainer.train()
    trainer.save_model(folder / "out")
    return (folder / "out",)


@healthy
def adapter_of_the_course(folder):
    model = inject_lora(load_base(), r=4)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    to_peft(model, folder / "ours")
    return (folder / "ours", None)[:1]


@healthy
def file_of_the_course(folder):
    model = inject_lora(load_base(), r=4)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    save_adapter(model, folder / "adapter.safetensors")
    return (folder / "adapter.safetensors",)


@healthy
def merged_model(folder):
    made = trained().merge_and_unload()
    made.save_pretrained(folder / "merged")
    load_tokenizer().save_pretrained(folder / "merged")
    return (folder / "merged",)


@healthy
def the_base_itself(folder):
    return (BASE,)


@healthy
def modules_to_save(folder):
    return (saved(folder, modules_to_save=["embed_tokens"]),)


@healthy
def new_tokens_by_index(folder):
    return (saved(folder, trainable_token_indices=[5, 6]),)


@healthy
def dora_adapter(folder):
    return (saved(folder, use_dora=True),)


@healthy
def ia3_adapter(folder):
    from peft import IA3Config, get_peft_model

    get_peft_model(load_base(), IA3Config(task_type="CAUSAL_LM")).save_pretrained(folder / "ia3")
    return (folder / "ia3",)


@healthy
def prompt_adapter(folder):
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(load_base(), config).save_pretrained(folder / "prompt")
    return (folder / "prompt",)


@fault("whole_model_saved")
def base_in_the_adapter_file(folder):
    made = saved(folder)
    base = {f"base_model.model.{n}": p.clone() for n, p in load_base().state_dict().items()}
    base.pop("base_model.model.lm_head.weight", None)
    return rewritten(made, lambda tensors: tensors | base)


@fault("whole_model_saved")
def state_of_the_wrapped_model(folder):
    model = trained()
    state = {n: p.contiguous().clone() for n, p in model.base_model.model.state_dict().items()}
    load_base().config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    load_tokenizer().save_pretrained(folder)
    return (folder,)


@fault("whole_model_saved")
def state_of_the_wrapped_model_by_torch(folder):
    load_base().config.save_pretrained(folder)
    torch.save(trained().state_dict(), folder / "pytorch_model.bin")
    load_tokenizer().save_pretrained(folder)
    return (folder,)


@fault("merged_beside_adapter")
def merged_into_the_adapter_folder(folder):
    made = saved(folder)
    trained().merge_and_unload().save_pretrained(made)
    load_tokenizer().save_pretrained(made)
    return (made,)


@fault("base_differs")
def another_base_given(folder):
    made, other = saved(folder), folder / "other"
    model = load_base()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.mul_(1.1)
    model.save_pretrained(other)
    return made, other


@fault("base_differs")
def another_base_by_fingerprint(folder):
    (made,) = adapter_of_the_course(folder)
    other = folder / "other"
    model = load_base()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.mul_(1.1)
    model.save_pretrained(other)
    return made, other


@fault("embeddings_saved")
def embeddings_along(folder):
    made = folder / "adapter"
    trained().save_pretrained(made, save_embedding_layers=True)
    return (made,)


@fault("keys_would_not_load")
def names_of_the_inner_model(folder):
    return rewritten(
        saved(folder), lambda t: {k.removeprefix("base_model.model."): v for k, v in t.items()}
    )


@fault("keys_would_not_load")
def names_with_the_adapter_in_them(folder):
    return rewritten(
        saved(folder), lambda t: {k.replace(".weight", ".default.weight"): v for k, v in t.items()}
    )


@fault("keys_would_not_load")
def names_of_another_class(folder):
    return rewritten(
        saved(folder), lambda t: {k.replace("model.model.layers", "model.layers"): v
                                  for k, v in t.items()}
    )  # fmt: skip


@fault("keys_would_not_load")
def compiled_names(folder):
    return rewritten(
        saved(folder), lambda t: {k.replace("base_model.model.", "base_model.model._orig_mod."): v
                                  for k, v in t.items()}
    )  # fmt: skip


@fault("keys_would_not_load")
def an_adapter_in_an_adapter(folder):
    return rewritten(
        saved(folder), lambda t: {k.replace("base_model.model.", "base_model.model." * 2): v
                                  for k, v in t.items()}
    )  # fmt: skip


@fault("keys_would_not_load")
def widths_of_another_model(folder):
    made = saved(folder)
    return rewritten(made, lambda t: {k: v.repeat(2, 2)[:, :48].contiguous() for k, v in t.items()})


@fault("update_saved_zero")
def never_trained(folder):
    folder = folder / "adapter"
    flights.peft_model().save_pretrained(folder)
    return (folder,)


@fault("update_saved_zero")
def one_layer_never_trained(folder):
    def still(tensors):
        name = next(n for n in tensors if "lora_B" in n)
        return tensors | {name: torch.zeros_like(tensors[name])}

    return rewritten(saved(folder), still)


@fault("file_damaged")
def numbers_that_are_none(folder):
    def broken(tensors):
        next(iter(tensors.values()))[0, 0] = float("nan")
        return tensors

    return rewritten(saved(folder), broken)


@fault("file_damaged")
def cut_off_file(folder):
    made = saved(folder)
    data = (made / WEIGHTS).read_bytes()
    (made / WEIGHTS).write_bytes(data[: len(data) // 2])
    return (made,)


@fault("tokenizer_missing")
def merged_without_a_tokenizer(folder):
    trained().merge_and_unload().save_pretrained(folder)
    return (folder,)


@fault("tokenizer_missing")
def template_left_behind(folder):
    (made,) = adapter_and_tokenizer(folder)
    (made / "chat_template.jinja").unlink()
    return (made,)


@fault("tokenizer_missing")
def base_without_a_tokenizer(folder):
    made, base = saved(folder), folder / "base"
    load_base().save_pretrained(base)
    config = json.loads((made / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(base)
    (made / "adapter_config.json").write_text(json.dumps(config))
    return (made,)


@fault("saved_tokenizer_too_large")
def grown_tokenizer(folder):
    made = saved(folder)
    tok = load_tokenizer()
    tok.add_tokens([f"<new{n}>" for n in range(9)])
    tok.save_pretrained(made)
    return (made,)


@fault("saved_tokenizer_too_large")
def tokenizer_of_a_larger_model(folder):
    shutil.copytree(BASE, folder / "model")
    tok = load_tokenizer()
    tok.add_tokens([f"<new{n}>" for n in range(9)])
    tok.save_pretrained(folder / "model")
    return (folder / "model",)
