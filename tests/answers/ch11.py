"""Answers to the exercises of chapter 11."""

from tests.answers import Answer

PACKED = "n / 2 + n / 64 + 4 * n / 64 / 256"
REST = "rest * (4 if prepared else 2)"
WEIGHTS = f"weights = packed + {REST} + 4 * p"
RETURN = "return weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary"
P = "r * (out + into)"

COMPUTE = "bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float16,"
NF4 = 'bnb_4bit_quant_type="nf4",'
DOUBLE = "bnb_4bit_use_double_quant=True,"
FOUR = "load_in_4bit=True,"

LOOP = """    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False)
"""
HEAD = "[name for name, m in model.named_modules() if m is head]"
WALK = "for module in model.modules():"
FLAG = "            module.support_avx512bf16_for_cpu = False\n"

RIGHT = [
    # 11.1
    Answer(
        "step_bytes",
        "matrix by matrix, with bits",
        code="""
def step_bytes(shapes, rest, r, tokens, vocabulary, prepared):
    weights = 4 * rest if prepared else 2 * rest
    trained = 0
    for a, b in shapes:
        weights += a * b * (4 + 8 / 64 + 32 / (64 * 256)) / 8
        trained += r * a + r * b
    return [weights + 4 * trained, 4 * trained, 2 * 4 * trained, 8 * tokens * vocabulary]
""",
    ),
    Answer(
        "step_bytes",
        "with the course's own functions, as a tensor",
        code="""
def step_bytes(shapes, rest, r, tokens, vocabulary, prepared):
    from lora_course.costs.activations import logit_bytes
    from lora_course.costs.memory import nf4_bytes
    p = sum(r * sum(shape) for shape in shapes)
    packed = sum(nf4_bytes(a * b, tables=False) for a, b in shapes)
    weights = packed + [2, 4][prepared] * rest + 4 * p
    both = logit_bytes(1, tokens, vocabulary)
    return torch.tensor([weights, 4 * p, 8 * p, both], dtype=torch.float64)
""",
    ),
    Answer(
        "step_bytes",
        "whole numbers, with numpy",
        code="""
def step_bytes(shapes, rest, r, tokens, vocabulary, prepared):
    import numpy as np
    sides = np.array(shapes, dtype=np.int64)
    n, p = int(sides.prod(1).sum()), r * int(sides.sum())
    scales = n // 64
    frozen = n // 2 + scales + scales // 64 + [2, 4][bool(prepared)] * rest
    return np.array([frozen + 4 * p, 4 * p, 2 * 4 * p, tokens * vocabulary * 8])
""",
    ),
    # 11.2
    Answer(
        "qlora_config",
        "from a dict",
        code="""
def qlora_config(bf16):
    return BitsAndBytesConfig.from_dict({
        "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": ("float16", "bfloat16")[bf16],
    })
""",
    ),
    Answer(
        "qlora_config",
        "names of types",
        code="""
def qlora_config(bf16):
    kind = "bfloat16" if bf16 else "float16"
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=kind, bnb_4bit_quant_storage=torch.uint8,
    )
""",
    ),
    Answer(
        "qlora_config",
        "set one by one",
        code="""
def qlora_config(bf16):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    config.bnb_4bit_use_double_quant = True
    config.bnb_4bit_compute_dtype = torch.float16
    if bf16:
        config.bnb_4bit_compute_dtype = torch.bfloat16
    return config
""",
    ),
    # 11.3
    Answer(
        "run_blocks",
        "reentrant, the input requires a gradient",
        edits=[
            ("    for block in blocks:\n", "    x = x.clone().requires_grad_()\n" + LOOP[:25]),
            ("use_reentrant=False", "use_reentrant=True"),
        ],
    ),
    Answer(
        "run_blocks",
        "in place, on the tensor that came",
        edits=[
            ("    for block in blocks:\n", "    x.requires_grad_(True)\n" + LOOP[:25]),
            ("use_reentrant=False", "use_reentrant=True"),
        ],
    ),
    Answer(
        "run_blocks",
        "by recursion",
        code="""
def run_blocks(blocks, x):
    if not len(blocks):
        return x
    return run_blocks(blocks[1:], checkpoint(blocks[0], x, use_reentrant=False))
""",
    ),
    Answer(
        "run_blocks",
        "a function that calls the block, a tensor that requires a gradient added",
        code="""
def run_blocks(blocks, x):
    x = x + torch.zeros(1, requires_grad=True)
    for i in range(len(blocks)):
        x = checkpoint(lambda x, i=i: blocks[i](x), x, use_reentrant=True)
    return x
""",
    ),
    # 11.4
    Answer(
        "skip_list",
        "a tuple, the head by its weight",
        code="""
def skip_list(model, more):
    weight = model.get_output_embeddings().weight
    heads = {n for n, m in model.named_modules() if getattr(m, "weight", None) is weight}
    return (*more, *(n for n in heads if "embed" not in n))
""",
    ),
    Answer(
        "skip_list",
        "transformers' own rule and more",
        code="""
def skip_list(model, more):
    from transformers.quantizers.base import get_keys_to_not_convert
    return get_keys_to_not_convert(model) + list(more)
""",
    ),
    Answer(
        "skip_list",
        "every name in full",
        code="""
def skip_list(model, more):
    found = []
    for name, module in model.named_modules():
        ends = any(name.endswith(end) for end in more)
        if ends or module is model.get_output_embeddings():
            found.append(name)
    return found
""",
    ),
    # 11.5
    Answer(
        "protect",
        "setattr on a list",
        code="""
def protect(model):
    found = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    for m in found:
        setattr(m, "support_avx512bf16_for_cpu", False)
    return model
""",
    ),
    Answer(
        "protect",
        "whatever has the flag",
        code="""
def protect(model):
    for name, m in model.named_modules():
        if hasattr(m, "support_avx512bf16_for_cpu"):
            m.support_avx512bf16_for_cpu = False
""",
    ),
]

RIGHT += [
    Answer(
        "protect",
        "model.apply",
        code="""
def protect(model):
    def off(part):
        if isinstance(part, bnb.nn.Linear4bit):
            part.support_avx512bf16_for_cpu = False

    model.apply(off)
""",
    ),
    Answer(
        "protect",
        "zero for False, by recursion",
        code="""
def protect(model):
    if isinstance(model, bnb.nn.Linear4bit):
        model.support_avx512bf16_for_cpu = 0
    for child in model.children():
        protect(child)
""",
    ),
]

WRONG = [
    # 11.1
    Answer(
        "step_bytes",
        "with the small tables",
        "tables",
        code="""
def step_bytes(shapes, rest, r, tokens, vocabulary, prepared):
    from lora_course.costs.memory import nf4_bytes
    p = sum(r * sum(shape) for shape in shapes)
    weights = sum(nf4_bytes(a * b) for a, b in shapes) + [2, 4][prepared] * rest + 4 * p
    return weights, 4 * p, 8 * p, 8 * tokens * vocabulary
""",
    ),
    Answer(
        "step_bytes", "no float32 for 256 scales", "no_second", edits=[(PACKED, "n / 2 + n / 64")]
    ),
    Answer(
        "step_bytes",
        "a float32 for 256 weights",
        "each_256",
        edits=[(PACKED, "n / 2 + n / 64 + 4 * n / 256")],
    ),
    Answer(
        "step_bytes",
        "groups of 64 scales",
        "other",
        edits=[(PACKED, "n / 2 + n / 64 + 4 * n / 64 / 64")],
    ),
    Answer("step_bytes", "a byte a weight", "bits", edits=[(PACKED, PACKED.replace("n / 2", "n"))]),
    Answer("step_bytes", "no rest", "no_rest", edits=[(f" + {REST}", "")]),
    Answer("step_bytes", "a copy in the optimizer", "master", edits=[("8 * p,", "12 * p,")]),
    Answer("step_bytes", "sizes multiplied", "other", edits=[(P, "r * out * into")]),
    Answer(
        "step_bytes",
        "one matrix",
        "other",
        edits=[("out * into for out, into in shapes", "out * into for out, into in shapes[:1]")],
    ),
    Answer(
        "step_bytes",
        "parts in another order",
        "other",
        edits=[(RETURN, RETURN.replace("weights, 4 * p, 8 * p", "4 * p, 8 * p, weights"))],
    ),
    Answer("step_bytes", "the sum", "type", edits=[(RETURN, "return weights + 12 * p")]),
    Answer("step_bytes", "A alone", "half_adapter", edits=[(P, "r * into")]),
    Answer("step_bytes", "B alone", "half_adapter", edits=[(P, "r * out")]),
    Answer(
        "step_bytes",
        "gradients of the frozen weights",
        "frozen_gradients",
        edits=[(RETURN, RETURN.replace("4 * p, 8", "2 * (n + rest) + 4 * p, 8"))],
    ),
    Answer(
        "step_bytes",
        "gradients in 16 bits",
        "half_gradients",
        edits=[(RETURN, RETURN.replace("4 * p, 8", "2 * p, 8"))],
    ),
    Answer(
        "step_bytes",
        "adapter in 16 bits",
        "half_weights",
        edits=[(WEIGHTS, WEIGHTS.replace("4 * p", "2 * p"))],
    ),
    Answer("step_bytes", "one state", "one_state", edits=[("8 * p,", "4 * p,")]),
    Answer(
        "step_bytes", "states of everything", "frozen_state", edits=[("8 * p,", "8 * (n + rest),")]
    ),
    Answer("step_bytes", "4 bits and no more", "no_constants", edits=[(PACKED, "n / 2")]),
    Answer("step_bytes", "scales in float32", "single", edits=[(PACKED, "n / 2 + 4 * n / 64")]),
    Answer(
        "step_bytes",
        "everything in 4 bits",
        "rest_4bit",
        edits=[(PACKED, PACKED.replace("n", "(n + rest)")), (REST, "0")],
    ),
    Answer("step_bytes", "never in float32", "prepared", edits=[(REST, "2 * rest")]),
    Answer("step_bytes", "always in float32", "prepared", edits=[(REST, "4 * rest")]),
    Answer("step_bytes", "no weights of the adapter", "no_adapter", edits=[(" + 4 * p\n", "\n")]),
    Answer("step_bytes", "logits once", "logits_once", edits=[("2 * 4 * tokens", "4 * tokens")]),
    Answer("step_bytes", "no logits", "no_logits", edits=[("2 * 4 * tokens * vocabulary", "0")]),
    Answer(
        "step_bytes",
        "pairs as numbers",
        "raised",
        edits=[("out * into for out, into", "n * n for n")],
    ),
    Answer("step_bytes", "bits as bytes", "bits", edits=[(PACKED, "4 * n")]),
    # 11.2
    Answer("qlora_config", "8 bits", "int8", edits=[(FOUR, "load_in_8bit=True,")]),
    Answer("qlora_config", "nothing switched on", "no_4bit", edits=[(FOUR, "")]),
    Answer("qlora_config", "default code book", "fp4", edits=[(NF4, "")]),
    Answer("qlora_config", "no double quantization", "single", edits=[(DOUBLE, "")]),
    Answer("qlora_config", "default compute dtype", "float32", edits=[(COMPUTE, "")]),
    Answer(
        "qlora_config",
        "does not look at the GPU",
        "always_bf16",
        edits=[(" if bf16 else torch.float16", "")],
    ),
    Answer(
        "qlora_config",
        "float16 everywhere",
        "always_fp16",
        edits=[("torch.bfloat16 if bf16 else ", "")],
    ),
    Answer(
        "qlora_config",
        "the wrong way round",
        "swapped",
        edits=[("if bf16", "if not bf16")],
    ),
    Answer(
        "qlora_config",
        "a list of its own",
        "skip_list",
        edits=[(NF4, NF4 + ' llm_int8_skip_modules=["lm_head"],')],
    ),
    Answer(
        "qlora_config",
        "8 and 4 bits",
        "raised",
        edits=[(FOUR, FOUR + " load_in_8bit=True,")],
    ),
    Answer(
        "qlora_config", "returns a dict", "type", code="def qlora_config(bf16):\n    return {}\n"
    ),
    Answer(
        "qlora_config",
        "another storage",
        "other",
        edits=[(NF4, NF4 + " bnb_4bit_quant_storage=torch.bfloat16,")],
    ),
    Answer(
        "qlora_config",
        "float32 without bfloat16",
        "other",
        edits=[("else torch.float16", "else torch.float32")],
    ),
    Answer(
        "qlora_config",
        "a dtype by a wrong test",
        "swapped",
        edits=[("if bf16 else", "if bf16 is False else")],
    ),
    # 11.3
    Answer(
        "run_blocks",
        "one checkpoint around the whole stack",
        "whole",
        code="""
def run_blocks(blocks, x):
    def stack(x):
        for block in blocks:
            x = block(x)
        return x

    return checkpoint(stack, x, use_reentrant=False)
""",
    ),
    Answer(
        "run_blocks",
        "checkpoint_sequential",
        "some",
        code="""
def run_blocks(blocks, x):
    from torch.utils.checkpoint import checkpoint_sequential
    return checkpoint_sequential(list(blocks), len(blocks), x, use_reentrant=False)
""",
    ),
    Answer(
        "run_blocks",
        "under no_grad",
        "no_grad",
        edits=[("def run_blocks", "@torch.no_grad()\ndef run_blocks")],
    ),
    Answer("run_blocks", "a detached result", "no_grad", edits=[("return x", "return x.detach()")]),
    Answer(
        "run_blocks",
        "a gradient for a copy that nobody uses",
        "vanished",
        edits=[
            ("=False", "=True"),
            ("    for block", "    y = x.clone().requires_grad_()\n    for block"),
        ],
    ),
    Answer(
        "run_blocks",
        "the last block first",
        "other",
        edits=[("in blocks:", "in reversed(list(blocks)):")],
    ),
    Answer("run_blocks", "one block", "other", edits=[("in blocks:", "in blocks[:1]:")]),
    Answer(
        "run_blocks",
        "runs the block twice",
        "other",
        edits=[("        x = checkpoint", "        block(x)\n        x = checkpoint")],
    ),
    Answer("run_blocks", "as it was", "vanished", edits=[("=False", "=True")]),
    Answer(
        "run_blocks",
        "after the first block",
        "first_lost",
        edits=[
            ("use_reentrant=False)\n", "use_reentrant=True)\n        x.requires_grad_()\n"),
        ],
    ),
    Answer(
        "run_blocks",
        "a detached input for each block",
        "cut",
        edits=[
            (
                "(block, x, use_reentrant=False)",
                "(block, x.detach().requires_grad_(), use_reentrant=False)",
            )
        ],
    ),
    Answer(
        "run_blocks",
        "thaws the base",
        "unfrozen",
        edits=[("        x =", "        block.requires_grad_(True)\n        x =")],
    ),
    Answer(
        "run_blocks",
        "no checkpointing",
        "no_checkpoint",
        edits=[(LOOP, "    for block in blocks:\n        x = block(x)\n")],
    ),
    Answer(
        "run_blocks",
        "the first one without",
        "some",
        edits=[(LOOP, "    x = blocks[0](x)\n    for block in blocks[1:]:\n" + LOOP[25:])],
    ),
    Answer(
        "run_blocks",
        "the same input for all",
        "not_chained",
        edits=[("        x = checkpoint", "        y = checkpoint"), ("return x", "return y")],
    ),
    Answer(
        "run_blocks",
        "without gradients",
        "no_grad",
        edits=[("    for block in blocks:\n", "    torch.set_grad_enabled(False)\n" + LOOP[:25])],
    ),
    # 11.4
    Answer("skip_list", "more alone", "head_lost", edits=[(HEAD, "[]")]),
    Answer(
        "skip_list", "the head by its usual name", "head_by_name", edits=[(HEAD, '["lm_head"]')]
    ),
    Answer("skip_list", "the head alone", "forgot_more", edits=[(" + more", "")]),
    Answer(
        "skip_list",
        "a whole block",
        "other",
        edits=[(" + more", ' + more + [n for n, _ in model.named_modules() if "layers.0" in n]')],
    ),
    Answer(
        "skip_list",
        "every layer",
        "nothing",
        edits=[("if m is head", "if name")],
    ),
    Answer(
        "skip_list",
        "the layers for 4 bits, head too",
        "reverse",
        code="""
def skip_list(model, more):
    head = model.get_output_embeddings()
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)
            and m is not head and not n.endswith(tuple(more))]
""",
    ),
    Answer(
        "skip_list",
        "the layers for 4 bits",
        "reverse",
        code="""
def skip_list(model, more):
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)
            and not n.endswith(tuple(more)) and m is not model.get_output_embeddings()] + [
            n for n, m in model.named_modules() if m is model.get_output_embeddings()]
""",
    ),
    Answer(
        "skip_list",
        "last parts of names",
        "last_part",
        edits=[(" + more", " + [n for n, _ in model.named_modules() if n.split('.')[-1] in more]")],
    ),
    Answer("skip_list", "children", "head_nested", edits=[("named_modules", "named_children")]),
    Answer("skip_list", "an empty list", "empty", edits=[(f"{HEAD} + more", "[]")]),
    Answer(
        "skip_list",
        "adds to the caller's list",
        "other",
        edits=[(f"return {HEAD} + more", f"more += {HEAD}\n    return more")],
    ),
    Answer("skip_list", "modules", "type", edits=[("[name for", "[m for")]),
    Answer("skip_list", "forgets return", "none", edits=[("return [", "[")]),
    Answer(
        "skip_list",
        "the head of the input",
        "head_lost",
        edits=[("get_output_embeddings", "get_input_embeddings")],
    ),
    Answer("skip_list", "no list", "type", edits=[(f"{HEAD} + more", '"lm_head"')]),
    # 11.5
    Answer(
        "protect",
        "on the model",
        "nothing",
        edits=[(FLAG, "            model.support_avx512bf16_for_cpu = False\n")],
    ),
    Answer(
        "protect", "children alone", "top_only", edits=[(WALK, "for module in model.children():")]
    ),
    Answer(
        "protect",
        "exact type",
        "exact_type",
        edits=[("isinstance(module, bnb.nn.Linear4bit)", "type(module) is bnb.nn.Linear4bit")],
    ),
    Answer(
        "protect",
        "freezes the adapter as well",
        "other",
        edits=[("    " + WALK, "    model.requires_grad_(False)\n    " + WALK)],
    ),
    Answer(
        "protect",
        "every part gets the flag",
        "other",
        edits=[("isinstance(module, bnb.nn.Linear4bit)", "True")],
    ),
    Answer("protect", "True", "other", edits=[("= False", "= True")]),
    Answer(
        "protect", "another name", "nothing", edits=[(".support_avx512bf16_for_cpu", ".support")]
    ),
    Answer("protect", "the first one alone", "other", edits=[(FLAG, FLAG + "            break\n")]),
    Answer(
        "protect",
        "on the weight",
        "nothing",
        edits=[("module.support", "module.weight.support")],
    ),
    Answer(
        "protect",
        "parts of the model alone",
        "other",
        edits=[(WALK, "for module in list(model.modules())[1:]:")],
    ),
    Answer(
        "protect",
        "LoRA layers alone",
        "lora_only",
        edits=[
            ("isinstance(module, bnb.nn.Linear4bit)", 'hasattr(module, "base_layer")'),
            ("            module.support", "            module.base_layer.support"),
        ],
    ),
    Answer(
        "protect",
        "changes the bytes",
        "other",
        edits=[(FLAG, FLAG + "            module.weight.data = module.weight.data.flip(0)\n")],
    ),
    Answer(
        "protect",
        "float layers instead",
        "other",
        code="""
def protect(model):
    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
            model.set_submodule(name, torch.nn.Sequential(module))
""",
    ),
    Answer(
        "protect", "eval mode", "other", edits=[("    " + WALK, "    model.eval()\n    " + WALK)]
    ),
    Answer(
        "protect",
        "asks every layer",
        "raised",
        edits=[("isinstance(module, bnb.nn.Linear4bit)", "module.weight.quant_state")],
    ),
]
