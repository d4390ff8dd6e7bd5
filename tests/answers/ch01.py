"""Answers to the exercises of chapter 01, as learners give them."""

from tests.answers import Answer


def _peak(body):
    """An answer to 1.2 from the lines of its body."""
    head = "def peak_gb(states_gb, batch, tokens, hidden, blocks, vocabulary, checkpointing):\n"
    return head + "".join(f"    {line}\n" for line in body.strip().split("\n"))


RIGHT = [
    Answer(
        "full_gb",
        "one part after the other, in bytes",
        code="""
def full_gb(parameters, weight_bits, gradient_bits, master_bits, state_bits):
    total = 0
    for bits in (weight_bits, gradient_bits, master_bits, state_bits, state_bits):
        total += parameters * bits // 8
    return total / 10**9
""",
    ),
    Answer(
        "full_gb",
        "a tensor",
        code="""
import torch


def full_gb(parameters, weight_bits, gradient_bits, master_bits, state_bits):
    each = torch.tensor([weight_bits, gradient_bits, master_bits, 2.0 * state_bits]).sum()
    return parameters / 1e9 * each.item() / 8
""",
    ),
    Answer(
        "full_gb",
        "decimal numbers",
        code="""
from decimal import Decimal


def full_gb(parameters, weight_bits, gradient_bits, master_bits, state_bits):
    each = Decimal(weight_bits + gradient_bits + master_bits + state_bits + state_bits)
    return parameters * each / 8 / Decimal(10) ** 9
""",
    ),
    Answer(
        "adapter_file_mb",
        "a fraction",
        code="""
from fractions import Fraction


def adapter_file_mb(shapes, blocks, r, bits):
    sides = sum(map(sum, shapes))
    return Fraction(bits * r * blocks * sides, 8 * 10**6)
""",
    ),
    Answer("adapter_file_mb", "powers of ten", edits=(("/ 8 / 1e6", "/ (8 * 10**6)"),)),
    Answer(
        "adapter_file_mb",
        "A and B counted apart, with numpy",
        code="""
import numpy as np


def adapter_file_mb(shapes, blocks, r, bits):
    d_out, d_in = np.array(shapes).T
    in_A, in_B = r * d_in.sum(), d_out.sum() * r
    return blocks * (in_A + in_B) * bits / 8_000_000
""",
    ),
    Answer(
        "storage_gb",
        "a list, summed task by task",
        code="""
def storage_gb(tasks, parameters, adapter, bits):
    full, lora = 0, parameters
    for _ in range(tasks):
        full += parameters
        lora += adapter
    return [full * bits / 8e9, lora * bits / 8e9]
""",
    ),
    Answer(
        "storage_gb",
        "a tensor",
        code="""
import torch


def storage_gb(tasks, parameters, adapter, bits):
    numbers = torch.tensor([tasks * parameters, parameters + tasks * adapter]).double()
    return numbers * bits / 8 / 1e9
""",
    ),
    Answer(
        "what_fits",
        "in GB, exact constants of NF4, strictly less",
        code="""
def what_fits(parameters, linear, adapter, card_gib, reserve_gb):
    free = card_gib * 1.073741824 - reserve_gb
    nf4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8
    trained = adapter * (4 + 4 + 8)
    needs = (
        parameters * (2 + 2 + 4 + 8),
        parameters * 2 + trained,
        linear * nf4 + (parameters - linear) * 2 + trained,
    )
    return [need / 1e9 < free for need in needs]
""",
    ),
    Answer(
        "what_fits",
        "a numpy array",
        code="""
import numpy as np


def what_fits(parameters, linear, adapter, card_gib, reserve_gb):
    rest = parameters - linear
    weights = np.array([2 * parameters, 2 * parameters, 0.515875 * linear + 2 * rest])
    trained = np.array([14 * parameters, 16 * adapter, 16 * adapter])
    return weights + trained + reserve_gb * 1e9 <= card_gib * 1024**3
""",
    ),
    Answer(
        "peak_gb",
        "factors taken out",
        code=_peak("""
per_token = 8 * vocabulary
per_token += hidden * (34 + 2 * blocks if checkpointing else 34 * blocks)
return states_gb + batch * tokens * per_token / 1e9
"""),
    ),
    Answer(
        "peak_gb",
        "block by block",
        code=_peak("""
kept = 0.0
for _ in range(blocks):
    kept += batch * tokens * hidden * (2 if checkpointing else 34)
kept += batch * tokens * hidden * 34 * checkpointing
scores = batch * tokens * vocabulary * 4
return states_gb + kept / 10**9 + scores / 10**9 + scores / 10**9
"""),
    ),
    Answer(
        "what_fits",
        "numpy, in GB",
        code="""
import numpy as np


def what_fits(parameters, linear, adapter, card_gib, reserve_gb):
    room = card_gib * 2**30 / 1e9 - reserve_gb
    other = parameters - linear
    base = np.array([16 * parameters, 2 * parameters, 2 * other + linear * 4.127 / 8]) / 1e9
    return (base + np.array([0, 16, 16]) * adapter / 1e9) <= room
""",
    ),
    Answer(
        "what_fits",
        "the rest of the card, part by part",
        code="""
def what_fits(parameters, linear, adapter, card_gib, reserve_gb):
    left = (card_gib << 30) - int(reserve_gb * 10**9)
    trained = adapter * (4 + 4 + 4 + 4)
    return [
        left - (2 + 2 + 4 + 4 + 4) * parameters >= 0,
        left - 2 * parameters - trained > 0,
        left - 2 * (parameters - linear) - trained > 4.127 * linear / 8,
    ]
""",
    ),
]

WRONG = [
    Answer("full_gb", "no weights", "no_weights", edits=(("weight_bits + grad", "grad"),)),
    Answer("full_gb", "no gradients", "no_gradients", edits=(("gradient_bits + m", "m"),)),
    Answer("full_gb", "no master copy", "no_master", edits=(("master_bits + 2", "2"),)),
    Answer("full_gb", "one state", "one_state", edits=(("2 * state_bits", "state_bits"),)),
    Answer("full_gb", "bits for bytes", "bits", edits=(("bits / 8 / 1e9", "bits / 1e9"),)),
    Answer("full_gb", "GiB", "gib", edits=(("/ 1e9", "/ 2**30"),)),
    Answer("full_gb", "bytes", "bytes", edits=((" / 1e9", ""),)),
    Answer("full_gb", "no return", "none", edits=(("return ", "gb = "),)),
    Answer("full_gb", "a text", "type", edits=(("/ 8 / 1e9", "/ 8 / 1e9 * 1.0, 'GB'"),)),
    Answer("full_gb", "MB", "unit", edits=(("1e9", "1e6"),)),
    Answer(
        "adapter_file_mb",
        "a full matrix",
        "full_matrix",
        edits=(("r * (d_out + d_in)", "d_out * d_in"),),
    ),
    Answer(
        "adapter_file_mb",
        "product instead of sum",
        "full_matrix",
        edits=(("r * (d_out + d_in)", "r * d_out * d_in"),),
    ),
    Answer("adapter_file_mb", "only A", "one_factor", edits=(("(d_out + d_in)", "d_in"),)),
    Answer("adapter_file_mb", "only B", "one_factor", edits=(("(d_out + d_in)", "d_out"),)),
    Answer("adapter_file_mb", "2 r d", "square", edits=(("(d_out + d_in)", "2 * d_in"),)),
    Answer("adapter_file_mb", "one block", "one_block", edits=(("blocks * sum", "sum"),)),
    Answer(
        "adapter_file_mb",
        "first matrix only",
        "one_matrix",
        edits=(("in shapes)", "in shapes[:1])"),),
    ),
    Answer(
        "adapter_file_mb",
        "returns inside the loop",
        "one_matrix",
        code="""
def adapter_file_mb(shapes, blocks, r, bits):
    numbers = 0
    for d_out, d_in in shapes:
        numbers += blocks * r * (d_out + d_in)
        return numbers * bits / 8 / 1e6
""",
    ),
    Answer("adapter_file_mb", "always float32", "fixed_type", edits=(("bits / 8", "4"),)),
    Answer("adapter_file_mb", "always bf16", "fixed_type", edits=(("bits / 8", "2"),)),
    Answer("adapter_file_mb", "bits for bytes", "bits", edits=(("bits / 8 / 1e6", "bits / 1e6"),)),
    Answer("adapter_file_mb", "MiB", "mib", edits=(("/ 1e6", "/ 2**20"),)),
    Answer("adapter_file_mb", "GB", "unit", edits=(("/ 1e6", "/ 1e9"),)),
    Answer("adapter_file_mb", "bytes", "unit", edits=((" / 1e6", ""),)),
    Answer("adapter_file_mb", "training state", "states", edits=(("bits / 8", "16"),)),
    Answer(
        "adapter_file_mb",
        "shapes as a matrix",
        "raised",
        edits=(("in shapes", "in shapes.T"),),
    ),
    Answer("adapter_file_mb", "a set of shapes", "once", edits=(("in shapes", "in set(shapes)"),)),
    Answer(
        "adapter_file_mb",
        "several numbers",
        "type",
        edits=(
            ("blocks * sum(", "blocks * list("),
            ("return numbers", "return np.array(numbers)"),
            ("    numbers", "    import numpy as np\n    numbers"),
        ),
    ),
    Answer("adapter_file_mb", "half of both factors", "other", edits=(("/ 8 /", "/ 16 /"),)),
    Answer(
        "adapter_file_mb", "whole bytes", "other", edits=(("bits / 8 / 1e6", "(bits // 16) / 1e6"),)
    ),
    Answer("storage_gb", "whole bytes a number", "whole_bytes", edits=(("bits / 8", "bits // 8"),)),
    Answer(
        "storage_gb",
        "a dict",
        "type",
        edits=(
            (
                "return tasks * parameters * gb, (parameters",
                "return {'full': tasks * parameters * gb, 'lora': (parameters",
            ),
            ("adapter) * gb", "adapter) * gb}"),
        ),
    ),
    Answer(
        "storage_gb",
        "the base counted in full only",
        "no_base",
        edits=(("(parameters + tasks", "(tasks"),),
    ),
    Answer("full_gb", "divides by 32", "other", edits=(("/ 8", "/ 32"),)),
    Answer("adapter_file_mb", "r twice", "rank_twice", edits=(("r * (", "r * r * ("),)),
    Answer(
        "storage_gb",
        "base each time",
        "base_per_task",
        edits=(("(parameters + tasks * adapter)", "tasks * (parameters + adapter)"),),
    ),
    Answer("storage_gb", "one adapter", "one_adapter", edits=(("tasks * adapter", "adapter"),)),
    Answer("storage_gb", "one copy", "one_copy", edits=(("return tasks * ", "return "),)),
    Answer(
        "storage_gb",
        "copies and base",
        "extra_copy",
        edits=(("return tasks *", "return (tasks + 1) *"),),
    ),
    Answer(
        "storage_gb",
        "other order",
        "swapped",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                "return (parameters + tasks * adapter) * gb, tasks * parameters * gb",
            ),
        ),
    ),
    Answer("storage_gb", "always bf16", "fixed_type", edits=(("bits / 8", "2"),)),
    Answer("storage_gb", "training state", "states", edits=(("bits / 8", "16"),)),
    Answer("storage_gb", "bits for bytes", "bits", edits=(("bits / 8", "bits"),)),
    Answer("storage_gb", "GiB", "gib", edits=(("1e9", "2**30"),)),
    Answer("storage_gb", "only LoRA", "type", edits=(("tasks * parameters * gb, ", ""),)),
    Answer("storage_gb", "forgets to return", "none", edits=(("return ", "pair = "),)),
    Answer("storage_gb", "MB", "unit", edits=(("1e9", "1e6"),)),
    Answer("what_fits", "GiB taken for GB", "gb_card", edits=(("2**30", "1e9"),)),
    Answer("what_fits", "no reserve", "no_reserve", edits=((" - reserve_gb * 1e9", ""),)),
    Answer(
        "what_fits",
        "weights and gradients",
        "full_bytes",
        edits=(("16 * parameters", "4 * parameters"),),
    ),
    Answer("what_fits", "pure bf16", "full_bytes", edits=(("16 * parameters", "8 * parameters"),)),
    Answer(
        "what_fits", "no master copy", "full_bytes", edits=(("16 * parameters", "12 * parameters"),)
    ),
    Answer("what_fits", "LoRA trains all", "frozen_states", edits=(("lora = 2 *", "lora = 16 *"),)),
    Answer(
        "what_fits",
        "states for all weights in both",
        "frozen_states",
        edits=(
            ("lora = 2 * parameters", "lora = 16 * parameters"),
            ("qlora = ", "qlora = 14 * parameters + "),
        ),
    ),
    Answer(
        "what_fits",
        "adapter without states",
        "adapter_states",
        edits=(("16 * adapter", "4 * adapter"),),
    ),
    Answer(
        "what_fits", "adapter in bf16", "adapter_states", edits=(("16 * adapter", "2 * adapter"),)
    ),
    Answer("what_fits", "no adapter", "adapter_states", edits=((" + 16 * adapter", ""),)),
    Answer(
        "what_fits",
        "everything in NF4",
        "all_quantized",
        edits=(("linear * 4.127 / 8 + 2 * (parameters - linear)", "parameters * 4.127 / 8"),),
    ),
    Answer("what_fits", "rest forgotten", "no_rest", edits=((" + 2 * (parameters - linear)", ""),)),
    Answer("what_fits", "no scales", "constants", edits=(("4.127", "4"),)),
    Answer("what_fits", "no double quantization", "constants", edits=(("4.127", "4.5"),)),
    Answer("what_fits", "bits for bytes", "half_byte", edits=(("4.127 / 8", "4.127"),)),
    Answer("what_fits", "a byte a weight", "half_byte", edits=(("4.127 / 8", "1"),)),
    Answer(
        "what_fits",
        "only the best",
        "best_only",
        code="""
def what_fits(parameters, linear, adapter, card_gib, reserve_gb):
    free = card_gib * 2**30 - reserve_gb * 1e9
    if 16 * parameters <= free:
        return True, False, False
    if 2 * parameters + 16 * adapter <= free:
        return False, True, False
    qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter
    return False, False, qlora <= free
""",
    ),
    Answer(
        "what_fits",
        "other order",
        "reversed",
        edits=(
            (
                "full <= free, lora <= free, qlora <= free",
                "qlora <= free, lora <= free, full <= free",
            ),
        ),
    ),
    Answer("what_fits", "the wrong way round", "inverted", edits=(("<=", ">"),)),
    Answer("what_fits", "one answer", "type", edits=((", lora <= free, qlora <= free", ""),)),
    Answer("what_fits", "names", "type", edits=(("return full <= free", "return 'full'"),)),
    Answer("what_fits", "adapter minus", "other", edits=(("+ 16 * adapter", "- 16 * adapter"),)),
    Answer("peak_gb", "as it was", "unchanged", code=_peak("return states_gb")),
    Answer(
        "peak_gb", "logits only", "no_activations", edits=(("(activations + logits)", "logits"),)
    ),
    Answer(
        "peak_gb",
        "activations only",
        "no_logits",
        edits=(("(activations + logits)", "activations"),),
    ),
    Answer("peak_gb", "new parts only", "no_states", edits=(("states_gb + (", "("),)),
    Answer(
        "peak_gb",
        "no gradient of the logits",
        "logits_once",
        edits=(("2 * 4 * batch", "4 * batch"),),
    ),
    Answer("peak_gb", "logits in bf16", "logits_once", edits=(("2 * 4 * batch", "2 * 2 * batch"),)),
    Answer("peak_gb", "one text in the blocks", "no_batch", edits=(("one = batch * ", "one = "),)),
    Answer("peak_gb", "one text in the logits", "no_batch", edits=(("4 * batch", "4"),)),
    Answer(
        "peak_gb",
        "one text everywhere",
        "no_batch",
        edits=(("one = batch * ", "one = "), ("4 * batch", "4")),
    ),
    Answer("peak_gb", "one block", "one_block", edits=((" * one * blocks", " * one"),)),
    Answer(
        "peak_gb", "checkpointing ignored", "always_kept", edits=(("if checkpointing", "if False"),)
    ),
    Answer(
        "peak_gb", "always checkpointing", "always_again", edits=(("if checkpointing", "if True"),)
    ),
    Answer(
        "peak_gb",
        "the wrong way round",
        "always_again",
        edits=(("if checkpointing", "if not checkpointing"),),
    ),
    Answer("peak_gb", "no live block", "no_live_block", edits=((" + 34 * one", ""),)),
    Answer(
        "peak_gb",
        "logits in every block",
        "per_block_logits",
        edits=(("tokens * vocabulary", "tokens * vocabulary * blocks"),),
    ),
    Answer("peak_gb", "GiB", "gib", edits=(("1e9", "2**30"),)),
    Answer("peak_gb", "bytes on top of GB", "bytes", edits=((" / 1e9", ""),)),
    Answer("peak_gb", "MB on top of GB", "unit", edits=(("1e9", "1e6"),)),
    Answer(
        "what_fits",
        "adapter missing in QLoRA",
        "adapter_states",
        edits=(
            (
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter",
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear)",
            ),
        ),
    ),
    Answer(
        "what_fits",
        "adapter missing in LoRA",
        "adapter_states",
        edits=(("lora = 2 * parameters + 16 * adapter", "lora = 2 * parameters"),),
    ),
    Answer(
        "what_fits",
        "adapter bf16 in QLoRA 2",
        "adapter_states",
        edits=(
            (
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter",
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 2 * adapter",
            ),
        ),
    ),
    Answer(
        "what_fits",
        "adapter in QLoRA 12 bytes",
        "adapter_states",
        edits=(
            (
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter",
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 12 * adapter",
            ),
        ),
    ),
    Answer(
        "what_fits",
        "adapter in LoRA 8 bytes",
        "adapter_states",
        edits=(("lora = 2 * parameters + 16 * adapter", "lora = 2 * parameters + 8 * adapter"),),
    ),
    Answer(
        "what_fits",
        "adapter in bf16 with states: 2+2+8",
        "adapter_states",
        edits=(("16 * adapter", "12 * adapter"),),
    ),
    Answer(
        "what_fits",
        "full without activations but master added",
        "full_bytes",
        edits=(("16 * parameters", "18 * parameters"),),
    ),
    Answer(
        "what_fits", "full 20 bytes", "full_bytes", edits=(("16 * parameters", "20 * parameters"),)
    ),
    Answer(
        "what_fits",
        "linear only (others forgotten) 4 bits",
        "no_rest",
        edits=(
            (
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter",
                "qlora = linear * 4 / 8 + 16 * adapter",
            ),
        ),
    ),
    Answer(
        "what_fits",
        "reserve ignored and GB card",
        "gb_card",
        edits=(("card_gib * 2**30 - reserve_gb * 1e9", "card_gib * 1e9"),),
    ),
    Answer(
        "what_fits",
        "both GiB",
        "reserve_unit",
        edits=(("card_gib * 2**30 - reserve_gb * 1e9", "(card_gib - reserve_gb) * 2**30"),),
    ),
    Answer(
        "what_fits",
        "both GB",
        "gb_card",
        edits=(("card_gib * 2**30 - reserve_gb * 1e9", "(card_gib - reserve_gb) * 1e9"),),
    ),
    Answer(
        "what_fits",
        "lora no frozen base",
        "no_base",
        edits=(("lora = 2 * parameters + 16 * adapter", "lora = 16 * adapter"),),
    ),
    Answer(
        "what_fits",
        "qlora no adapters no rest",
        "no_rest",
        edits=(
            (
                "qlora = linear * 4.127 / 8 + 2 * (parameters - linear) + 16 * adapter",
                "qlora = linear * 4.127 / 8",
            ),
        ),
    ),
    Answer(
        "what_fits",
        "adapter replaces base: 2*(parameters - adapter)",
        "in_place_of",
        edits=(("lora = 2 * parameters + 16", "lora = 2 * (parameters - adapter) + 16"),),
    ),
    Answer(
        "what_fits",
        "full includes adapter",
        "full_adapter",
        edits=(("full = 16 * parameters", "full = 16 * (parameters + adapter)"),),
    ),
    Answer(
        "what_fits",
        "or instead",
        "best_only",
        edits=(
            (
                "return full <= free, lora <= free, qlora <= free",
                "return full <= free, lora <= free, qlora <= free and not full <= free",
            ),
        ),
    ),
]

RIGHT += [
    Answer(
        "full_gb",
        "Fraction",
        edits=(
            (
                "return parameters * bits / 8 / 1e9",
                (
                    "from fractions import Fraction\n"
                    "    return Fraction(int(parameters * bits), 8 * 10**9)"
                ),
            ),
        ),
    ),
    Answer(
        "full_gb",
        "numpy",
        edits=(
            (
                "return parameters * bits / 8 / 1e9",
                "import numpy as np\n    return np.array([parameters * bits / 8e9])[0]",
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "np float32",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                (
                    "import numpy as np\n"
                    "    return np.float64(states_gb + (activations + logits) / 1e9)"
                ),
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "ternary",
        edits=(
            (
                "if checkpointing:\n        activations = 2 * one * blocks + 34 * one",
                ("activations = one * (2 * blocks + 34) if checkpointing else activations"),
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "sum of tuples",
        edits=(
            (
                "numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)",
                "numbers = blocks * r * sum(sum(s) for s in shapes)",
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "numpy",
        edits=(
            (
                "numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)",
                (
                    "import numpy as np\n"
                    "    numbers = int(np.array(list(shapes)).sum()) * r * blocks"
                ),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "list",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                "return [tasks * parameters * gb, (parameters + tasks * adapter) * gb]",
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "tensor",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                (
                    "import torch\n"
                    "    return torch.tensor([tasks * parameters * gb, (parameters + tasks * "
                    "adapter) * gb])"
                ),
            ),
        ),
    ),
    Answer(
        "what_fits",
        "less than",
        edits=(("<= free", "< free"),),
    ),
    Answer(
        "what_fits",
        "list of ints",
        edits=(
            (
                "return full <= free, lora <= free, qlora <= free",
                "return [int(full <= free), int(lora <= free), int(qlora <= free)]",
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "full_gb",
        "master in place of the weights",
        "instead",
        edits=(
            (
                "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits",
                "bits = (master_bits or weight_bits) + gradient_bits + 2 * state_bits",
            ),
        ),
    ),
    Answer(
        "full_gb",
        "brackets",
        "double_master",
        edits=(
            (
                "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits",
                "bits = weight_bits + gradient_bits + 2 * (master_bits + state_bits)",
            ),
        ),
    ),
    Answer(
        "full_gb",
        "gradients in master precision",
        "other",
        edits=(
            (
                "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits",
                (
                    "bits = weight_bits + (master_bits or gradient_bits) + master_bits + 2 * "
                    "state_bits"
                ),
            ),
        ),
    ),
    Answer(
        "full_gb",
        "master also has states",
        "other",
        edits=(
            (
                "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits",
                (
                    "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits * (2 i"
                    "f master_bits else 1)"
                ),
            ),
        ),
    ),
    Answer(
        "full_gb",
        "a fixed 16 bytes",
        "fixed",
        edits=(
            ("bits = weight_bits + gradient_bits + master_bits + 2 * state_bits", "bits = 128"),
        ),
    ),
    Answer(
        "full_gb",
        "three states",
        "three_states",
        edits=(
            (
                "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits",
                "bits = weight_bits + gradient_bits + master_bits + 3 * state_bits",
            ),
        ),
    ),
    Answer(
        "full_gb",
        "states of weight size",
        "state_type",
        edits=(
            (
                "bits = weight_bits + gradient_bits + master_bits + 2 * state_bits",
                "bits = weight_bits + gradient_bits + master_bits + 2 * weight_bits",
            ),
        ),
    ),
    Answer(
        "full_gb",
        "times 8",
        "times_8",
        edits=(("/ 8 ", "* 8 "),),
    ),
    Answer(
        "full_gb",
        "rounded",
        "rounded",
        edits=(
            ("return parameters * bits / 8 / 1e9", "return round(parameters * bits / 8 / 1e9, 1)"),
        ),
    ),
    Answer(
        "full_gb",
        "floor of bytes per parameter, in GB",
        "rounded",
        edits=(("return parameters * bits / 8 / 1e9", "return parameters * (bits // 8) // 1e9"),),
    ),
    Answer(
        "full_gb",
        "string",
        "type",
        edits=(
            (
                "return parameters * bits / 8 / 1e9",
                "return f'{parameters * bits / 8 / 1e9:.2f} GB'",
            ),
        ),
    ),
    Answer(
        "full_gb",
        "1e-9 wrong: 10e9",
        "unit",
        edits=(("1e9", "10e9"),),
    ),
    Answer(
        "full_gb",
        "xor for power",
        "caret",
        edits=(("1e9", "(10^9)"),),
    ),
    Answer(
        "peak_gb",
        "logits per hidden",
        "logits_wide",
        edits=(("* vocabulary", "* vocabulary * hidden"),),
    ),
    Answer(
        "peak_gb",
        "checkpointing 36 per block",
        "all_again",
        edits=(
            ("activations = 2 * one * blocks + 34 * one", "activations = (2 + 34) * one * blocks"),
        ),
    ),
    Answer(
        "peak_gb",
        "34 without one",
        "no_live_block",
        edits=(
            ("activations = 2 * one * blocks + 34 * one", "activations = 2 * one * blocks + 34"),
        ),
    ),
    Answer(
        "peak_gb",
        "one block saved less",
        "one_less",
        edits=(
            (
                "activations = 2 * one * blocks + 34 * one",
                "activations = 2 * one * (blocks - 1) + 34 * one",
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "blocks forgotten",
        "one_block",
        edits=(("activations = 34 * one * blocks", "activations = 34 * one"),),
    ),
    Answer(
        "peak_gb",
        "states in bytes",
        "bytes",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                "return states_gb + activations + logits",
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "all divided",
        "no_states",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                "return (states_gb + activations + logits) / 1e9",
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "max of the two",
        "larger_only",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                "return states_gb + max(activations, logits) / 1e9",
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "activations in 16 bits: 34*2",
        "twice",
        edits=(("34 *", "2 * 34 *"),),
    ),
    Answer(
        "peak_gb",
        "bits",
        "divided",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                "return states_gb + (activations + logits) / 8 / 1e9",
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "checkpointed adds to all",
        "all_again",
        edits=(("activations = 2 * one * blocks + 34 * one", "activations += 2 * one * blocks"),),
    ),
    Answer(
        "peak_gb",
        "logits only if not checkpointing",
        "logits_forgotten",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                (
                    "if checkpointing:\n"
                    "        logits = 0\n"
                    "    return states_gb + (activations + logits) / 1e9"
                ),
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "none",
        "none",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                "states_gb + (activations + logits) / 1e9",
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "rank once",
        "rank_once",
        edits=(
            (
                "numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)",
                "numbers = blocks * sum(r * d_out + d_in for d_out, d_in in shapes)",
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "rank once, other",
        "rank_once",
        edits=(
            (
                "numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)",
                "numbers = blocks * sum(d_out + r * d_in for d_out, d_in in shapes)",
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "no rank",
        "no_rank",
        edits=(("r * (d_out", "(d_out"),),
    ),
    Answer(
        "adapter_file_mb",
        "last only",
        "one_matrix",
        edits=(
            (
                "numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)",
                ("for d_out, d_in in shapes:\n        numbers = blocks * r * (d_out + d_in)"),
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "early return",
        "one_matrix",
        edits=(
            (
                "numbers = blocks * sum(r * (d_out + d_in) for d_out, d_in in shapes)",
                (
                    "for d_out, d_in in shapes:\n"
                    "        numbers = blocks * r * (d_out + d_in)\n"
                    "        break"
                ),
            ),
        ),
    ),
    Answer(
        "adapter_file_mb",
        "Adam states too",
        "states",
        edits=(("bits / 8", "3 * bits / 8"),),
    ),
    Answer(
        "adapter_file_mb",
        "also the weight",
        "base_too",
        edits=(("r * (d_out + d_in)", "(d_out * d_in + r * (d_out + d_in))"),),
    ),
    Answer(
        "adapter_file_mb",
        "kB",
        "unit",
        edits=(("1e6", "1e3"),),
    ),
    Answer(
        "adapter_file_mb",
        "whole bytes per number",
        "whole_bytes",
        edits=(("bits / 8", "(bits // 8)"),),
    ),
    Answer(
        "adapter_file_mb",
        "int MB",
        "rounded",
        edits=(("return numbers * bits / 8 / 1e6", "return int(numbers * bits / 8 / 1e6)"),),
    ),
    Answer(
        "storage_gb",
        "first adapter in the base",
        "one_less",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                ("return tasks * parameters * gb, (parameters + (tasks - 1) * adapter) * gb"),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "list of the difference",
        "saved",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                (
                    "return tasks * parameters * gb, tasks * parameters * gb - (parameters + "
                    "tasks * adapter) * gb"
                ),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "adapter taken as share of base",
        "other",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                (
                    "return tasks * parameters * gb, (parameters + tasks * parameters * adapt"
                    "er) * gb"
                ),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "optimizer states too",
        "states",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                ("return tasks * 3 * parameters * gb, (parameters + 3 * tasks * adapter) * gb"),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "brackets lora",
        "brackets",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                "return tasks * parameters * gb, parameters + tasks * adapter * gb",
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "precedence",
        "other",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                "return tasks * parameters * gb, (parameters + tasks) * adapter * gb",
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "saved ratio",
        "saved",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                (
                    "return tasks * parameters * gb, tasks * parameters / (parameters + tasks"
                    " * adapter)"
                ),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "string",
        "type",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                (
                    "return f'{tasks * parameters * gb} GB', f'{(parameters + tasks * adapter"
                    ") * gb} GB'"
                ),
            ),
        ),
    ),
    Answer(
        "storage_gb",
        "TB",
        "unit",
        edits=(("1e9", "1e12"),),
    ),
    Answer(
        "what_fits",
        "reserve as GiB",
        "reserve_unit",
        edits=(("reserve_gb * 1e9", "reserve_gb * 2**30"),),
    ),
    Answer(
        "what_fits",
        "reserve added",
        "no_reserve",
        edits=((" - reserve_gb", " + reserve_gb"),),
    ),
    Answer(
        "what_fits",
        "lora 4-byte base",
        "float_base",
        edits=(("lora = 2 *", "lora = 4 *"),),
    ),
    Answer(
        "what_fits",
        "qlora all in NF4",
        "no_rest",
        edits=(("2 * (parameters - linear)", "0"),),
    ),
    Answer(
        "what_fits",
        "qlora half byte",
        "constants",
        edits=(("linear * 4.127 / 8", "linear * 0.5"),),
    ),
    Answer(
        "what_fits",
        "qlora rest counted whole",
        "rest_whole",
        edits=(("2 * (parameters - linear)", "2 * parameters"),),
    ),
    Answer(
        "what_fits",
        "rest in NF4, linear in bf16",
        "parts_exchanged",
        edits=(
            (
                "linear * 4.127 / 8 + 2 * (parameters - linear)",
                "2 * linear + (parameters - linear) * 4.127 / 8",
            ),
        ),
    ),
    Answer(
        "what_fits",
        "lora like full for all",
        "frozen_states",
        edits=(("lora = 2 * parameters + 16 * adapter", "lora = 16 * (parameters + adapter)"),),
    ),
    Answer(
        "what_fits",
        "nested: full false means lora true",
        "best_only",
        edits=(
            (
                "return full <= free, lora <= free, qlora <= free",
                (
                    "return full <= free, full > free and lora <= free, lora > free and qlora"
                    " <= free"
                ),
            ),
        ),
    ),
    Answer(
        "what_fits",
        "bytes",
        "other",
        edits=(("return full <= free, lora <= free, qlora <= free", "return full, lora, qlora"),),
    ),
    Answer(
        "what_fits",
        "names",
        "type",
        edits=(
            (
                "return full <= free, lora <= free, qlora <= free",
                (
                    "return [m for m, x in zip(('full','lora','qlora'), (full, lora, qlora)) "
                    "if x <= free]"
                ),
            ),
        ),
    ),
    Answer(
        "what_fits",
        "reversed comparison",
        "inverted",
        edits=(("<= free", ">= free"),),
    ),
    Answer(
        "what_fits",
        "best method",
        "type",
        edits=(
            (
                "return full <= free, lora <= free, qlora <= free",
                ("return 'full' if full <= free else 'lora' if lora <= free else 'qlora'"),
            ),
        ),
    ),
    Answer(
        "what_fits",
        "rest in float32",
        "rest_float",
        edits=(("2 * (parameters - linear)", "4 * (parameters - linear)"),),
    ),
    Answer(
        "what_fits",
        "GiB to the wrong power",
        "other",
        edits=(("2**30", "2**10"),),
    ),
    Answer(
        "storage_gb",
        "rounded",
        "rounded",
        edits=(
            (
                "return tasks * parameters * gb, (parameters + tasks * adapter) * gb",
                (
                    "return round(tasks * parameters * gb), round((parameters + tasks * adapt"
                    "er) * gb)"
                ),
            ),
        ),
    ),
    Answer(
        "peak_gb",
        "rounded to one digit",
        "rounded",
        edits=(
            (
                "return states_gb + (activations + logits) / 1e9",
                "return round(states_gb + (activations + logits) / 1e9, 1)",
            ),
        ),
    ),
]
