"""Published model shapes, built on the meta device: every tensor has its shape, none has memory.

Dimensions as on the model cards; LLaMA-1 from arXiv 2302.13971, table 2.
"""

# name: architecture, hidden, intermediate, layers, heads, key/value heads, vocabulary, tied head
SHAPES = {
    "SmolLM2-135M": ("llama", 576, 1536, 30, 9, 3, 49152, True),
    "Qwen2.5-0.5B": ("qwen2", 896, 4864, 24, 14, 2, 151936, True),
    "Llama-2-7B": ("llama", 4096, 11008, 32, 32, 32, 32000, False),
    "Mistral-7B": ("mistral", 4096, 14336, 32, 32, 8, 32000, False),
    "Qwen2.5-7B": ("qwen2", 3584, 18944, 28, 28, 4, 152064, False),
    "Llama-3.1-8B": ("llama", 4096, 14336, 32, 32, 8, 128256, False),
    "Llama-2-13B": ("llama", 5120, 13824, 40, 40, 40, 32000, False),
    "LLaMA-33B": ("llama", 6656, 17920, 60, 52, 52, 32000, False),
    "LLaMA-65B": ("llama", 8192, 22016, 80, 64, 64, 32000, False),
    "Llama-2-70B": ("llama", 8192, 28672, 80, 64, 8, 32000, False),
}


def meta_model(name):
    """Return the model of that name on the meta device, in bfloat16: shapes without memory.

    Raises ValueError for a name that is not in SHAPES.
    """
    if name not in SHAPES:
        raise ValueError(f"No shape is called {name!r}. Choose from {', '.join(SHAPES)}.")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, hidden, intermediate, layers, heads, kv_heads, vocabulary, tied = SHAPES[name]
    config = AutoConfig.for_model(
        kind,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        pad_token_id=None,
        attn_implementation="eager",
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
