"""Base and adapters as GGUF, the files of llama.cpp, written as its own two converters do."""

import json

from lora_course.inject import lora_layers

KINDS = ("F32", "F16", "Q8_0", "Q4_0")  # owned by chapter 18


# owned by chapter 18
def rope_rows(weight, heads):
    """The rows of q's or k's weight in the order of llama.cpp's rope. weight: (heads h, ...).

    Rope turns pairs of numbers of a head. transformers pairs row i with row i + h/2, llama.cpp with
    its neighbour; so the two halves of every head are interleaved.
    """
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


# owned by chapter 18
def engine_tensor(name, weight, config):
    """(name, weight) in llama.cpp's words: "blk.0.attn_q" for "model.layers.0.self_attn.q_proj".

    weight: the layer's weight or the B of its adapter; the first axis is the layer's output.
    Raises ValueError for a name that no Llama has.
    """
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    if names.get_name(name) is None:
        raise ValueError(f"A Llama file has no place for {name}. Merge the adapter first.")
    counts = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    heads = counts.get(name.split(".")[-1])
    return names.get_name(name), rope_rows(weight, heads) if heads else weight


# owned by chapter 18
def write_base(model, tokenizer, path, kind="F16"):
    """Write a Llama model and its byte-level BPE tokenizer to one GGUF file.

    kind: number format of the matrices, one of KINDS. Vectors stay float32; under Q4_0 the
    embedding is Q8_0 (llama.cpp's own tool keeps it finer, too). Raises ValueError for another
    kind, architecture, rope or tokenizer.
    """
    import gguf

    fits_engine(model.config, tokenizer, kind)
    file = gguf.GGUFWriter(path, "llama")
    write_sizes(file, model.config)
    write_tokenizer(file, tokenizer)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue  # without an output of its own, llama.cpp takes the embedding
        part, weight = engine_tensor(name.removesuffix(".weight"), weight, model.config)
        finer = kind == "Q4_0" and part in ("token_embd", "output")
        own = "F32" if weight.ndim == 1 else "Q8_0" if finer else kind
        write_tensor(file, f"{part}.weight", weight, own)
    finish(file)


# owned by chapter 18
def write_adapter(model, path, kind="F32"):
    """Write the LoRA of a Llama model, and nothing of its base, to one GGUF file.

    llama.cpp scales by alpha / r with the r of each B: one alpha must fit all layers. Raises
    ValueError without LoRA, for other methods, when scaling * r differs, and what write_base does.
    """
    import gguf

    layers = lora_layers(model)
    more = {type(x).__name__ for x in layers.values()} - {"LoRALinear", "LoRAConv1D", "LeanLoRA"}
    alphas = {layer.scaling * len(layer.lora_A) for layer in layers.values()}
    if more or len(alphas) != 1:  # DoRA has more than A and B, an embedding's lie the other way
        raise ValueError(
            "GGUF keeps A and B of linear layers and one alpha for all. This model has "
            f"{sorted(more) or (alphas and f'scaling * r of {sorted(alphas)}') or 'no LoRA'}. "
            "Inject LoRA with one lora_alpha, or merge the adapter and write_base."
        )
    fits_engine(model.config, None, kind)
    file = gguf.GGUFWriter(path, "llama")
    file.add_type("adapter")
    file.add_string("adapter.type", "lora")
    file.add_float32("adapter.lora.alpha", alphas.pop())
    for name, layer in layers.items():
        part, B = engine_tensor(name, layer.lora_B, model.config)  # (out, r): rows as the weight's
        write_tensor(file, f"{part}.weight.lora_a", layer.lora_A, kind)
        write_tensor(file, f"{part}.weight.lora_b", B, kind)
    finish(file)


def write_sizes(file, config):
    """The model's shape."""
    file.add_block_count(config.num_hidden_layers)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    for part in ("key_length", "value_length", "rope_dimension_count"):
        getattr(file, f"add_{part}")(config.head_dim)
    file.add_rope_freq_base(config.rope_parameters["rope_theta"])
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_vocab_size(config.vocab_size)


def write_tokenizer(file, tokenizer):
    """Tokens, merges and special tokens. No BOS is added: the chat template writes its own."""
    about = json.loads(tokenizer.backend_tokenizer.to_str())
    control = {t["id"] for t in about["added_tokens"] if t["special"]}
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens)
    file.add_token_types([3 if i in control else 1 for i in range(len(tokens))])  # control, normal
    file.add_token_merges([" ".join(pair) for pair in about["model"]["merges"]])
    for name in ("bos", "eos", "pad"):
        getattr(file, f"add_{name}_token_id")(getattr(tokenizer, f"{name}_token_id"))
    file.add_add_bos_token(False)


def write_tensor(file, name, tensor, kind):
    """Add one tensor in a number format: the Q kinds in blocks of 32 numbers of a row."""
    import gguf

    kind = gguf.GGMLQuantizationType[kind]
    values = tensor.detach().float().cpu().contiguous().numpy()
    file.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def finish(file):
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def fits_engine(config, tokenizer, kind):
    """Raise ValueError, with what to do, where this writer would write something wrong."""
    about = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer else {}
    pieces = (about.get("pre_tokenizer") or {}).get("type")
    wrong = {
        f"kind={kind!r} is none of {', '.join(KINDS)}": kind not in KINDS,
        f"the architecture is {config.model_type}, not llama": config.model_type != "llama",
        "the model has biases": any(vars(config).get(b) for b in ("attention_bias", "mlp_bias")),
        "the model scales its rope": config.model_type == "llama"
        and config.rope_parameters["rope_type"] != "default",
        "the tokenizer is no byte-level BPE as GPT-2's": tokenizer
        and (about["model"]["type"], pieces) != ("BPE", "ByteLevel"),
    }
    if reasons := [reason for reason, holds in wrong.items() if holds]:
        raise ValueError(
            f"Cannot write this as GGUF: {reasons[0]}. llama.cpp's convert_hf_to_gguf.py and "
            "convert_lora_to_gguf.py write more kinds of models."
        )
