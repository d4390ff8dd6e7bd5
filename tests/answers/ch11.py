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
        "each_256",
        edits=[(PACKED, "n / 2 + n / 64 + 4 * n / 64 / 64")],
    ),
    Answer("step_bytes", "a byte a weight", "bits", edits=[(PACKED, PACKED.replace("n / 2", "n"))]),
    Answer("step_bytes", "no rest", "no_rest", edits=[(f" + {REST}", "")]),
    Answer("step_bytes", "a copy in the optimizer", "master", edits=[("8 * p,", "12 * p,")]),
    Answer("step_bytes", "sizes multiplied", "full_size", edits=[(P, "r * out * into")]),
    Answer(
        "step_bytes",
        "one matrix",
        "one_matrix",
        edits=[("out * into for out, into in shapes", "out * into for out, into in shapes[:1]")],
    ),
    Answer(
        "step_bytes",
        "parts in another order",
        "exchanged",
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
        "float32",
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
        "backwards",
        edits=[("in blocks:", "in reversed(list(blocks)):")],
    ),
    Answer("run_blocks", "one block", "not_all", edits=[("in blocks:", "in blocks[:1]:")]),
    Answer(
        "run_blocks",
        "runs the block twice",
        "twice",
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
        "in_place",
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
        "all_parts",
        edits=[("isinstance(module, bnb.nn.Linear4bit)", "True")],
    ),
    Answer("protect", "True", "allowed", edits=[("= False", "= True")]),
    Answer(
        "protect", "another name", "nothing", edits=[(".support_avx512bf16_for_cpu", ".support")]
    ),
    Answer(
        "protect", "the first one alone", "first_only", edits=[(FLAG, FLAG + "            break\n")]
    ),
    Answer(
        "protect",
        "on the weight",
        "nothing",
        edits=[("module.support", "module.weight.support")],
    ),
    Answer(
        "protect",
        "parts of the model alone",
        "root",
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

# Another round of novices' answers: written from the exercise's text alone
RIGHT += [
    Answer(
        "step_bytes",
        "ints numpy",
        "",
        edits=(
            (
                "return weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary",
                (
                    "import numpy as np\n"
                    "    return np.array([weights, 4 * p, 8 * p, 2 * 4 * tokens * "
                    "vocabulary])"
                ),
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "bits_per Fraction list",
        "",
        edits=(
            (
                "packed = n / 2 + n / 64 + 4 * n / 64 / 256",
                (
                    "from fractions import Fraction\n"
                    "    packed = Fraction(n) * (4 + Fraction(8, 64) + Fraction(32, 64 * "
                    "256)) / 8"
                ),
            ),
            (
                "weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary",
                "[int(weights), p * 4, p * 8, tokens * vocabulary * 8]",
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "torch numel",
        "",
        edits=(
            ("r * (out + into) for out, into", "o * r + r * i for (o, i)"),
            (
                "weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary",
                (
                    "tuple(torch.tensor([weights, 4 * p, 8 * p, 8 * tokens * vocabulary], "
                    "dtype=torch.float64))"
                ),
            ),
        ),
    ),
    Answer(
        "qlora_config",
        "strings",
        "",
        edits=(("torch.bfloat16 if bf16 else torch.float16", '"bfloat16" if bf16 else "float16"'),),
    ),
    Answer(
        "qlora_config",
        "positional attr",
        "",
        code="""
def qlora_config(bf16):
    c = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    c.bnb_4bit_use_double_quant = True
    c.bnb_4bit_compute_dtype = getattr(torch, "bfloat16" if bf16 else "float16")
    return c
""",
    ),
    Answer(
        "qlora_config",
        "from_dict",
        "",
        code="""
class QConfig(BitsAndBytesConfig):
    pass


def qlora_config(bf16):
    return QConfig(**{
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": (torch.float16, torch.bfloat16)[bool(bf16)]})
""",
    ),
    Answer(
        "skip_list", "last part of the name", "", edits=(("name for", "name.split('.')[-1] for"),)
    ),
    Answer(
        "skip_list",
        "regex",
        "",
        edits=(
            (
                "name for name, m in model.named_modules() if m is head] + more",
                ('n for n, m in model.named_modules() if m is head] + [".*" + e for e in more]'),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "tuple to list, full names",
        "",
        edits=(
            (
                "return [name for name, m in model.named_modules() if m is head] + more",
                (
                    "names = [n for n, m in model.named_modules() if m is head]\n"
                    '    names += [n for n, m in model.named_modules() if any(("." + '
                    'n).endswith("." + e) for e in more)]\n'
                    "    return names"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "more first, dict",
        "",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head] + "
                    "more"
                ),
                (
                    "where = {id(m): n for n, m in model.named_modules()}\n"
                    "    return [*more, where[id(model.get_output_embeddings())]]"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "tuple",
        "",
        edits=(
            (
                "[name for name, m in model.named_modules() if m is head] + more",
                "tuple([n for n, m in model.named_modules() if m is head] + more)",
            ),
        ),
    ),
    Answer(
        "protect",
        "hasattr",
        "",
        edits=(
            (
                "isinstance(module, bnb.nn.Linear4bit",
                "hasattr(module, 'support_avx512bf16_for_cpu'",
            ),
        ),
    ),
    Answer(
        "protect",
        "setattr, return model",
        "",
        edits=(
            (
                "module.support_avx512bf16_for_cpu = False",
                ("setattr(module, 'support_avx512bf16_for_cpu', False)\n    return model"),
            ),
        ),
    ),
    Answer(
        "protect",
        "apply",
        "",
        code="""
def protect(model):
    def forbid(m):
        if isinstance(m, bnb.nn.Linear4bit):
            setattr(m, "support_avx512bf16_for_cpu", False)

    model.apply(forbid)
""",
    ),
    Answer(
        "protect",
        "recursive",
        "",
        code="""
def protect(model):
    stack = [model]
    while stack:
        m = stack.pop()
        stack.extend(m.children())
        if isinstance(m, (bnb.nn.Linear4bit,)):
            m.support_avx512bf16_for_cpu = 0 > 1
""",
    ),
    Answer(
        "run_blocks",
        "x in place requires grad",
        "",
        edits=(
            (
                ("for block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "x.requires_grad_()\n"
                    "    for block in blocks:\n"
                    "        x = checkpoint(block, x, use_reentrant=True"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "detach once",
        "",
        edits=(
            (
                ("for block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "x = x.detach().requires_grad_()\n"
                    "    for block in blocks:\n"
                    "        x = checkpoint(block, x, use_reentrant=True"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "clone requires_grad non leaf dummy",
        "",
        edits=(
            (
                ("for block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "x = x + torch.zeros((), requires_grad=True)\n"
                    "    for block in blocks:\n"
                    "        x = checkpoint(block, x, use_reentrant=True"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "reduce, lambda",
        "",
        edits=(
            (
                (
                    "for block in blocks:\n"
                    "        x = checkpoint(block, x, use_reentrant=False)\n"
                    "    return x"
                ),
                (
                    "from functools import reduce\n"
                    "    return reduce(lambda h, b: checkpoint(lambda t: b(t), h, "
                    "use_reentrant=False, preserve_rng_state=False), blocks, x)"
                ),
            ),
        ),
    ),
]

# Another round of novices' answers: written from the exercise's text alone
WRONG += [
    Answer("step_bytes", "group scale 1 byte", "second_byte", edits=(("4 * n", "n"),)),
    Answer(
        "step_bytes",
        "4.127 bits",
        "rounded",
        edits=(("/ 2 + n / 64 + 4 * n / 64 / 256", "* 4.127 / 8"),),
    ),
    Answer("step_bytes", "rest always 2", "prepared", edits=(("(4 if prepared else 2)", "2"),)),
    Answer(
        "step_bytes",
        "rest flag reversed",
        "prepared",
        edits=(("4 if prepared else 2", "2 if prepared else 4"),),
    ),
    Answer(
        "step_bytes",
        "grads of rest too",
        "frozen_gradients",
        edits=(("* p, 8", "* (p + rest), 8"),),
    ),
    Answer("step_bytes", "logits bf16", "logits_once", edits=(("* 4 *", "* 2 *"),)),
    Answer(
        "step_bytes",
        "logits float32 only prepared",
        "logits_prepared",
        edits=(("* 4 *", "* (4 if prepared else 2) *"),),
    ),
    Answer("step_bytes", "p 2r", "half_adapter", edits=(("r * (out + into)", "2 * r * out"),)),
    Answer("step_bytes", "full grads", "frozen_gradients", edits=(("p, 8 * p", "n, 8 * n"),)),
    Answer("step_bytes", "no r", "no_rank", edits=(("r * ", ""),)),
    Answer("step_bytes", "order", "exchanged", edits=(("4 * p, 8", "8 * p, 4"),)),
    Answer(
        "step_bytes",
        "sum",
        "type",
        edits=(("weights, 4 * p, 8 * p,", "weights + 4 * p + 8 * p +"),),
    ),
    Answer(
        "step_bytes",
        "MB",
        "units",
        edits=(
            (
                "weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary",
                ("weights / 1e6, 4 * p / 1e6, 8 * p / 1e6, 2 * 4 * tokens * vocabulary / 1e6"),
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "bits",
        "units",
        edits=(("weights, 4 * p, 8 * p, 2 * 4", "weights * 8, 4 * p * 8, 8 * p * 8, 2 * 4 * 8"),),
    ),
    Answer(
        "step_bytes",
        "prepared casts the adapter only",
        "half_weights",
        edits=(("(4 if prepared else 2) + 4", "2 + (4 if prepared else 2)"),),
    ),
    Answer("qlora_config", "fp4", "fp4", edits=(('"nf4"', '"fp4"'),)),
    Answer("qlora_config", "NF4 upper", "fp4", edits=(('"nf4"', '"NF4"'),)),
    Answer(
        "qlora_config",
        "reversed",
        "swapped",
        edits=(("bfloat16 if bf16 else torch.float16", "float16 if bf16 else torch.bfloat16"),),
    ),
    Answer("qlora_config", "dict", "type", edits=(("BitsAndBytesConfig", "dict"),)),
    Answer(
        "qlora_config",
        "storage bf16",
        "other",
        edits=(
            (
                "load_in_4bit=True,",
                ("load_in_4bit=True,\n        bnb_4bit_quant_storage=torch.bfloat16,"),
            ),
        ),
    ),
    Answer(
        "qlora_config",
        "skip lm_head",
        "skip_list",
        edits=(
            (
                "load_in_4bit=True,",
                ("load_in_4bit=True,\n        llm_int8_skip_modules=['lm_head'],"),
            ),
        ),
    ),
    Answer(
        "qlora_config",
        "threshold",
        "other",
        edits=(("load_in_4bit=True,", ("load_in_4bit=True,\n        llm_int8_threshold=0.0,")),),
    ),
    Answer(
        "qlora_config",
        "double as string",
        "raised",
        edits=(("use_double_quant=True", "use_double_quant='True'"),),
    ),
    Answer(
        "qlora_config",
        "compute via torch.cuda",
        "always_fp16",
        edits=(("bf16 else", "torch.cuda.is_bf16_supported() else"),),
    ),
    Answer(
        "qlora_config",
        "has_fp16_weight",
        "other",
        edits=(
            ("load_in_4bit=True,", ("load_in_4bit=True,\n        llm_int8_has_fp16_weight=True,")),
        ),
    ),
    Answer(
        "skip_list",
        "lm_head constant",
        "head_by_name",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head"
                ),
                'return ["lm_head"',
            ),
        ),
    ),
    Answer(
        "skip_list",
        "only more",
        "head_lost",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head] +"
                ),
                "return",
            ),
        ),
    ),
    Answer(
        "skip_list",
        "only more copy",
        "head_lost",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head] + "
                    "more"
                ),
                "return list(more)",
            ),
        ),
    ),
    Answer("skip_list", "nested list", "type", edits=(("+ more\n", "+ [more]\n"),)),
    Answer(
        "skip_list",
        "last linear",
        "by_place",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head"
                ),
                (
                    "return [n for n, m in model.named_modules() if isinstance(m, "
                    "torch.nn.Linear)][-1:"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "contains head",
        "head_by_name",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head"
                ),
                'return [n for n, _ in model.named_modules() if "head" in n',
            ),
        ),
    ),
    Answer(
        "skip_list",
        "by vocab size",
        "by_size",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head"
                ),
                (
                    "return [n for n, m in model.named_modules() if isinstance(m, "
                    "torch.nn.Linear) and m.out_features == model.config.vocab_size"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list", "equal weights", "nothing", edits=(("m is head", "isinstance(m, type(head))"),)
    ),
    Answer(
        "skip_list",
        "everything",
        "nothing",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head] + "
                    "more"
                ),
                ("return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]"),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "module instead of name",
        "type",
        edits=(
            (
                (
                    "head = model.get_output_embeddings()\n"
                    "    return [name for name, m in model.named_modules() if m is head"
                ),
                "return [model.get_output_embeddings()",
            ),
        ),
    ),
    Answer(
        "skip_list",
        "string",
        "type",
        edits=(
            (
                "[name for name, m in model.named_modules() if m is head] + more",
                '",".join([n for n, m in model.named_modules() if m is head] + more)',
            ),
        ),
    ),
    Answer(
        "skip_list",
        "parent of head",
        "parent",
        edits=(("name for name", 'n.rsplit(".", 1)[0] for n'),),
    ),
    Answer(
        "skip_list",
        "weights tied name",
        "parameters",
        edits=(
            (
                "name for name, m in model.named_modules() if m is head",
                "n for n, p in model.named_parameters() if p is head.weight",
            ),
        ),
    ),
    Answer(
        "skip_list", "weight names", "parameters", edits=(("name for name", 'n + ".weight" for n'),)
    ),
    Answer(
        "protect",
        "LoRA base_layer only",
        "lora_only",
        code="""
def protect(model):
    for module in model.modules():
        if hasattr(module, "base_layer"):
            module.base_layer.support_avx512bf16_for_cpu = False
""",
    ),
    Answer(
        "protect",
        "all modules",
        "all_parts",
        edits=((("if isinstance(module, bnb.nn.Linear4bit):\n            module"), "module"),),
    ),
    Answer("protect", "none", "no_bool", edits=(("False", "None"),)),
    Answer("protect", "linear", "all_parts", edits=(("bnb.nn.Linear4bit", "torch.nn.Linear"),)),
    Answer(
        "protect",
        "name 4bit",
        "exact_type",
        edits=(("isinstance(module, bnb.nn.Linear4bit)", "type(module).__name__ == 'Linear4bit'"),),
    ),
    Answer(
        "protect", "first only", "first_only", edits=(("False", ("False\n            return")),)
    ),
    Answer(
        "protect",
        "other name",
        "nothing",
        edits=(("support_avx512bf16_for_cpu", "enable_optimized_cpu"),),
    ),
    Answer(
        "protect",
        "named q_proj",
        "nothing",
        code="""
def protect(model):
    for name, module in model.named_modules():
        if name.endswith("_proj"):
            module.support_avx512bf16_for_cpu = False
""",
    ),
    Answer("protect", "function", "no_bool", edits=(("False", "lambda: False"),)),
    Answer(
        "protect",
        "counts",
        "nothing",
        edits=(
            (
                "module.support_avx512bf16_for_cpu = False",
                "setattr(module.weight, 'support_avx512bf16_for_cpu', False)",
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "unfreeze all",
        "vanished",
        edits=(
            ("False", "True"),
            ("for block", ("for b in blocks:\n        b.requires_grad_(True)\n    for block")),
        ),
    ),
    Answer(
        "run_blocks",
        "requires grad in the loop detach",
        "cut",
        edits=(("x, use_reentrant=False", "x.detach().requires_grad_(), use_reentrant=True"),),
    ),
    Answer(
        "run_blocks",
        "first not checkpointed",
        "some",
        edits=(
            (
                ("for block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "x = blocks[0](x)\n"
                    "    for block in blocks[1:]:\n"
                    "        x = checkpoint(block, x, use_reentrant=True"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "one checkpoint around all",
        "whole",
        edits=(
            (
                (
                    "for block in blocks:\n"
                    "        x = checkpoint(block, x, use_reentrant=False)\n"
                    "    return x"
                ),
                (
                    "def run(x):\n"
                    "        for block in blocks:\n"
                    "            x = block(x)\n"
                    "        return x\n"
                    "\n"
                    "    return checkpoint(run, x, use_reentrant=False)"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "no_grad",
        "no_grad",
        edits=(
            (
                "for block in blocks:\n",
                ("with torch.no_grad():\n        for block in blocks:\n    "),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "enable_grad only",
        "vanished",
        edits=(
            (
                ("for block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "with torch.enable_grad():\n"
                    "        for block in blocks:\n"
                    "            x = checkpoint(block, x, use_reentrant=True"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "train() lists",
        "vanished",
        edits=(
            (
                "x = checkpoint(block, x, use_reentrant=False",
                ("block.train()\n        x = checkpoint(block, x, use_reentrant=True"),
            ),
        ),
    ),
    Answer("run_blocks", "reverse", "backwards", edits=(("in blocks", "in reversed(blocks)"),)),
    Answer("run_blocks", "residual", "residual", edits=(("checkpoint", "x + checkpoint"),)),
    Answer(
        "run_blocks",
        "checkpoint_sequential 1",
        "some",
        edits=(
            (
                (
                    "for block in blocks:\n"
                    "        x = checkpoint(block, x, use_reentrant=False)\n"
                    "    return x"
                ),
                (
                    "from torch.utils.checkpoint import checkpoint_sequential\n"
                    "    return checkpoint_sequential(torch.nn.Sequential(*blocks), 2, x, "
                    "use_reentrant=False)"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "every other",
        "some",
        edits=(
            (
                ("block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "i, block in enumerate(blocks):\n"
                    "        x = checkpoint(block, x, use_reentrant=False) if i % 2 == 0 "
                    "else block(x"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "only reentrant on first",
        "first_lost",
        edits=(
            (
                ("block in blocks:\n        x = checkpoint(block, x, use_reentrant=False"),
                (
                    "i, block in enumerate(blocks):\n"
                    "        x = checkpoint(block, x, use_reentrant=i == 0"
                ),
            ),
        ),
    ),
    Answer("run_blocks", "returns list", "other", edits=(("return x", "return [x]"),)),
    Answer(
        "run_blocks",
        "detached output",
        "no_grad",
        edits=(("return x", "return x.detach().requires_grad_()"),),
    ),
    Answer(
        "run_blocks",
        "wraps Variable of blocks params",
        "unfrozen",
        edits=(
            (
                "  x ",
                ("  for p in block.parameters():\n            p.requires_grad = True\n        x "),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "last not checkpointed",
        "some",
        edits=(
            (
                ("blocks:\n        x = checkpoint(block, x, use_reentrant=False)\n    return x"),
                (
                    "blocks[:-1]:\n"
                    "        x = checkpoint(block, x, use_reentrant=False)\n"
                    "    return blocks[-1](x)"
                ),
            ),
        ),
    ),
]

RIGHT += [
    Answer(
        "step_bytes",
        "whole numbers, numpy",
        edits=(
            (
                "packed = n / 2 + n / 64 + 4 * n / 64 / 256",
                "import numpy as np\n    packed = n // 2 + n // 64 + n // 64 // 64",
            ),
        ),
    ),
    Answer(
        "skip_list",
        "a set",
        edits=(
            (
                "return [name for name, m in model.named_modules() if m is head] + more",
                "return {n for n, m in model.named_modules() if m is head} | set(more)",
            ),
        ),
    ),
    Answer(
        "skip_list",
        "full names, head by identity",
        edits=(
            (
                "return [name for name, m in model.named_modules() if m is head] + more",
                (
                    "return [n for n, m in model.named_modules() if m is head or n.endswi"
                    "th(tuple(more))]"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "a clone each time",
        edits=(
            (
                "checkpoint(block, x, use_reentrant=False)",
                (
                    "checkpoint(block, x if x.requires_grad else x.clone().requires_grad_"
                    "(), use_reentrant=True)"
                ),
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "step_bytes",
        "scales of two bytes",
        "large_scales",
        edits=(("n / 64 + 4", "2 * n / 64 + 4"),),
    ),
    Answer(
        "step_bytes",
        "the matrices in float32 once prepared",
        "unquantized",
        edits=(
            (
                "packed = n / 2 + n / 64 + 4 * n / 64 / 256",
                (
                    "packed = n / 2 + n / 64 + 4 * n / 64 / 256\n    packed = 4 * n if pre"
                    "pared else packed"
                ),
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "the matrices in 16 bits",
        "unquantized",
        edits=(("packed = n / 2 + n / 64 + 4 * n / 64 / 256", "packed = 2 * n"),),
    ),
    Answer(
        "step_bytes",
        "weights with gradient and states",
        "counted_twice",
        edits=(("2) + 4 * p", "2) + 16 * p"),),
    ),
    Answer("step_bytes", "an 8-bit optimizer", "one_state", edits=(("8 * p,", "2 * p,"),)),
    Answer(
        "step_bytes", "logits without bytes", "logits_once", edits=(("2 * 4 * tokens", "tokens"),)
    ),
    Answer(
        "step_bytes",
        "logits three times",
        "logits_once",
        edits=(("2 * 4 * tokens", "12 * tokens"),),
    ),
    Answer(
        "step_bytes",
        "the adapter of one matrix",
        "one_matrix",
        edits=(("for out, into in shapes)  # numbers", "for out, into in shapes[:1])  # numbers"),),
    ),
    Answer(
        "step_bytes",
        "the last matrix in the 4 bits",
        "one_matrix",
        edits=(
            (
                "    n = sum(out * into for out, into in shapes)  # weights in 4 bits\n",
                "    for out, into in shapes:\n        n = out * into\n",
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "rest in one byte",
        "prepared",
        edits=(("4 if prepared else 2", "2 if prepared else 1"),),
    ),
    Answer(
        "step_bytes",
        "logits of one token",
        "no_logits",
        edits=(("tokens * vocabulary", "vocabulary"),),
    ),
    Answer(
        "step_bytes",
        "r times for each factor squared",
        "other",
        edits=(("r * (out + into)", "r * r * (out + into)"),),
    ),
    Answer(
        "step_bytes",
        "gigabytes in whole numbers",
        "units",
        edits=(
            (
                "return weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary",
                (
                    "return tuple(v / 2**30 for v in (weights, 4 * p, 8 * p, 8 * tokens *"
                    " vocabulary))"
                ),
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "blocks of 32",
        "large_scales",
        edits=(
            (
                "packed = n / 2 + n / 64 + 4 * n / 64 / 256",
                "packed = n / 2 + n / 32 + 4 * n / 32 / 256",
            ),
        ),
    ),
    Answer(
        "step_bytes",
        "order of the text: logits first",
        "exchanged",
        edits=(
            (
                "weights, 4 * p, 8 * p, 2 * 4 * tokens * vocabulary",
                "2 * 4 * tokens * vocabulary, weights, 4 * p, 8 * p",
            ),
        ),
    ),
    Answer(
        "qlora_config",
        "4 bits only with bfloat16",
        "by_argument",
        edits=(("load_in_4bit=True", "load_in_4bit=bf16"),),
    ),
    Answer(
        "qlora_config",
        "double quantization only without bfloat16",
        "by_argument",
        edits=(("double_quant=True", "double_quant=not bf16"),),
    ),
    Answer(
        "qlora_config",
        "the class",
        "type",
        code="""
def qlora_config(bf16):
    return BitsAndBytesConfig
""",
    ),
    Answer(
        "qlora_config",
        "an unknown keyword",
        "single",
        edits=(("bnb_4bit_use_double_quant", "bnb_4bit_double_quant"),),
    ),
    Answer(
        "qlora_config",
        "the storage in place of the products",
        "float32",
        edits=(("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"),),
    ),
    Answer(
        "qlora_config",
        "float32 with bfloat16",
        "float32",
        edits=(
            (
                "torch.bfloat16 if bf16 else torch.float16",
                "torch.float32 if bf16 else torch.float16",
            ),
        ),
    ),
    Answer(
        "qlora_config",
        "offload to the CPU as well",
        "other",
        edits=(
            ("load_in_4bit=True,", "load_in_4bit=True, llm_int8_enable_fp32_cpu_offload=True,"),
        ),
    ),
    Answer("skip_list", "the first of more", "one_of_more", edits=(("] + more", "] + more[:1]"),)),
    Answer(
        "skip_list",
        "append",
        "in_place",
        edits=(
            (
                ("    return [name for name, m in model.named_modules() if m is head] + more"),
                (
                    "    for name, m in model.named_modules():\n        if m is head:\n    "
                    "        more.append(name)\n    return more"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "model.lm_head",
        "raised",
        edits=(("model.get_output_embeddings()", "model.lm_head"),),
    ),
    Answer(
        "skip_list",
        "the embedding and the head",
        "other",
        edits=(
            ("if m is head]", "if m is head or 'self_attn' in name or 'attention.self' in name]"),
        ),
    ),
    Answer(
        "skip_list",
        "the names of the linear layers that end so, head forgotten",
        "head_lost",
        edits=(
            (
                "return [name for name, m in model.named_modules() if m is head] + more",
                ("return [n for n, m in model.named_modules() if n.endswith(tuple(more))]"),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "names that begin with an entry",
        "forgot_more",
        edits=(("+ more", "+ [n for n, _ in model.named_modules() if n.startswith(tuple(more))]"),),
    ),
    Answer(
        "skip_list",
        "a dict of names",
        "type",
        edits=(
            (
                "return [name for name, m in model.named_modules() if m is head] + more",
                (
                    "return dict.fromkeys([name for name, m in model.named_modules() if m"
                    " is head] + more)"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "the first block's layers",
        "other",
        edits=(
            (
                "+ more",
                (
                    "+ [n for n, _ in model.named_modules() if n.endswith(tuple(more)) an"
                    "d '.0.' in n]"
                ),
            ),
        ),
    ),
    Answer(
        "skip_list",
        "a generator",
        "type",
        edits=(
            (
                "return [name for name, m in model.named_modules() if m is head] + more",
                (
                    "return (n for n in [name for name, m in model.named_modules() if m i"
                    "s head] + more)"
                ),
            ),
        ),
    ),
    Answer(
        "protect",
        "after the loop",
        "first_only",
        edits=(
            (
                (
                    "    for module in model.modules():\n        if isinstance(module, bnb"
                    ".nn.Linear4bit):\n            module.support_avx512bf16_for_cpu = Fal"
                    "se"
                ),
                (
                    "    layers = [m for m in model.modules() if isinstance(m, bnb.nn.Lin"
                    "ear4bit)]\n    for layer in layers:\n        pass\n    layer.support_av"
                    "x512bf16_for_cpu = False"
                ),
            ),
        ),
    ),
    Answer("protect", "a text", "no_bool", edits=(("= False", "= 'False'"),)),
    Answer(
        "protect",
        "deletes the flag",
        "raised",
        edits=(
            ("module.support_avx512bf16_for_cpu = False", "del module.support_avx512bf16_for_cpu"),
        ),
    ),
    Answer(
        "protect",
        "two levels",
        "top_only",
        edits=(
            (
                "for module in model.modules():",
                ("for module in [m for c in model.children() for m in [c, *c.children()]]:"),
            ),
        ),
    ),
    Answer(
        "protect",
        "those that PEFT has not wrapped",
        "wrapped_left",
        edits=(
            ("for module in model.modules():", "for name, module in model.named_modules():"),
            (
                "isinstance(module, bnb.nn.Linear4bit)",
                "isinstance(module, bnb.nn.Linear4bit) and 'base_layer' not in name",
            ),
        ),
    ),
    Answer(
        "protect",
        "turned round",
        "allowed",
        edits=(("= False", "= not module.support_avx512bf16_for_cpu"),),
    ),
    Answer(
        "protect",
        "compares in place of setting",
        "nothing",
        edits=(("for_cpu = False", "for_cpu == False"),),
    ),
    Answer(
        "run_blocks",
        "returns inside the loop",
        "not_all",
        edits=(
            (
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n    return x"
                ),
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n        return x"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "leaves the last one out",
        "not_all",
        edits=(("in blocks:", "in blocks[:-1]:"),),
    ),
    Answer(
        "run_blocks",
        "each block twice in a row",
        "twice",
        edits=(
            (
                "        x = checkpoint(block, x, use_reentrant=False)\n",
                (
                    "        x = checkpoint(block, x, use_reentrant=False)\n        x = ch"
                    "eckpoint(block, x, use_reentrant=False)\n"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "runs them first, then checkpoints",
        "twice",
        edits=(
            (
                "    for block",
                "    y = x\n    for block in blocks:\n        y = block(y)\n    for block",
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "the mean of x and the block",
        "other",
        edits=(
            (
                "x = checkpoint(block, x, use_reentrant=False)",
                "x = (x + checkpoint(block, x, use_reentrant=False)) / 2",
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "a closure that reads the last block",
        "late",
        edits=(
            (
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n    return x"
                ),
                (
                    "    for block in blocks:\n        x = checkpoint(lambda h: block(h), "
                    "x, use_reentrant=False)\n    return x"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "factors frozen",
        "no_grad",
        edits=(
            (
                "        x = checkpoint",
                "        block.requires_grad_(False)\n        x = checkpoint",
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "no_grad for all but the last",
        "cut",
        edits=(
            (
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n    return x"
                ),
                (
                    "    with torch.no_grad():\n        for block in blocks[:-1]:\n        "
                    "    x = block(x)\n    return checkpoint(blocks[-1], x, use_reentrant="
                    "False)"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "x in float64",
        "no_grad",
        edits=(
            (
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n    return x"
                ),
                (
                    "    x = x.detach()\n    for block in blocks:\n        x = checkpoint(b"
                    "lock, x, use_reentrant=True)\n    return x"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "requires a gradient after the loop",
        "vanished",
        edits=(
            (
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n    return x"
                ),
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=True)\n    return x.requires_grad_()"
                ),
            ),
        ),
    ),
    Answer(
        "run_blocks",
        "a sum of all blocks",
        "not_chained",
        edits=(
            (
                (
                    "    for block in blocks:\n        x = checkpoint(block, x, use_reentr"
                    "ant=False)\n    return x"
                ),
                "    return sum(checkpoint(b, x, use_reentrant=False) for b in blocks)",
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "skip_list",
        "nothing where more is empty",
        "none",
        edits=(("    head = ", "    if not more:\n        return None\n    head = "),),
    ),
    Answer(
        "skip_list",
        "more itself where it is empty",
        "other",
        edits=(("    head = ", "    if not more:\n        return []\n    head = "),),
    ),
]

RIGHT += [
    Answer(
        "skip_list",
        "a copy that grows",
        code="""
def skip_list(model, more):
    kept = list(more)
    for name, module in model.named_modules():
        if module is model.get_output_embeddings() and name not in kept:
            kept.append(name)
    return kept
""",
    ),
    Answer(
        "skip_list",
        "sorted, without doubles",
        code="""
def skip_list(model, more):
    names = {id(m): n for n, m in model.named_modules()}
    return sorted({names[id(model.get_output_embeddings())], *more})
""",
    ),
]

WRONG += [
    Answer(
        "skip_list",
        "the last part of all",
        "by_place",
        edits=(
            (
                "[name for name, m in model.named_modules() if m is head]",
                "[list(model.named_modules())[-1][0]]",
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "skip_list", "more by its first entry", "raised", edits=(("] + more", "] + [more[0]]"),)
    ),
]
