"""A Llama of two layers, its batches, and its twin in PEFT: for the tests of the methods."""

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def llama(layers=2, width=32, wide=64, vocabulary=48):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=wide, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def batch(seed, rows=4, tokens=9):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 48, (rows, tokens), generator=generator)
    labels = ids.clone()
    labels[:, :4] = -100
    mask = torch.ones_like(ids)
    ids[0, -2:], mask[0, -2:], labels[0, -2:] = 0, 0, -100  # one row is shorter
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def peft_model(model, r, lora_alpha, use_rslora=False, targets="all-linear"):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=r, lora_alpha=lora_alpha, target_modules=targets, use_rslora=use_rslora,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(copy.deepcopy(model), config)


def renamed(name):
    """PEFT's name of a factor as ours."""
    name = name.removeprefix("base_model.model.").replace("lora_embedding_", "lora_")
    return name.removesuffix(".weight").removesuffix(".default")
