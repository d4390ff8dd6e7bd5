"""Rules: a base in 4 bits, and what 16 bits cost."""

import torch

from lora_course.preflight.report import Undecided, ok, problem, some, warning


def _packed(run):
    found = {
        name: module for name, module in run.model.named_modules()
        if hasattr(module, "quant_state") and hasattr(module, "compute_dtype")
    }  # fmt: skip
    if not found:
        raise Undecided("no layer is in 4 bits")
    return found


def four_bits_not_prepared(run):
    """Beside 4-bit layers the rest is frozen, and what is small is precise."""
    inside = {id(p) for m in _packed(run).values() for p in m.parameters()}
    rest = {n: p for n, p in run.params.items() if id(p) not in inside and n not in run.added}
    small = [n for n, p in rest.items() if p.dtype == torch.float16]
    halves = [n for n, p in rest.items() if p.dtype == torch.bfloat16 and p.dim() == 1]
    by_trl = any(kind.__module__.startswith("trl.") for kind in type(run.trainer).__mro__)
    if small or (halves and not by_trl):
        names = small or halves
        return (problem if small else warning)(
            f"The base is in 4 bits and {len(names)} other weights are {rest[names[0]].dtype}, "
            f"{some(names, 1)} for instance.".replace("torch.", ""),
            "Call prepare_model_for_kbit_training(model) before the adapter goes in.",
        )
    if not run.added and not any(n in rest for n in run.trained):
        raise Undecided("there is no adapter")
    return ok()


def head_in_4_bits(run):
    """The output head stays precise."""
    layers = _packed(run)
    head = getattr(run.base, "get_output_embeddings", lambda: None)()
    head = getattr(head, "base_layer", head)
    hit = [name for name, module in layers.items() if module is head]
    if not hit:
        return ok()
    return problem(
        f"The output head {hit[0]} is in 4 bits: its errors go into every prediction.",
        'Keep it out: BitsAndBytesConfig(llm_int8_skip_modules=["lm_head"]).',
    )


def weights_repacked(run):
    """4-bit weights were not laid out anew by an evaluation on a CPU."""
    hit = [
        name for name, module in _packed(run).items()
        if getattr(getattr(module.weight, "quant_state", None), "packing_format_for_cpu", False)
    ]  # fmt: skip
    if not hit:
        return ok()
    return problem(
        f"An evaluation on this CPU laid out {len(hit)} 4-bit layers anew. Gradients no longer "
        "pass through them, and a merge reads wrong numbers.",
        "Load the base again, and set support_avx512bf16_for_cpu = False on every Linear4bit "
        "before the first evaluation.",
    )


def computes_in_float32(run):
    """On a GPU 4-bit layers compute in 16 bits."""
    layers = _packed(run)
    slow = [
        n for n, m in layers.items()
        if m.compute_dtype == torch.float32 and m.weight.device.type == "cuda"
    ]  # fmt: skip
    if not any(m.weight.device.type == "cuda" for m in layers.values()):
        raise Undecided("the layers are not on a GPU")
    if not slow:
        return ok()
    return problem(
        f"{len(slow)} 4-bit layers compute in float32, which this GPU does many times slower.",
        "Set bnb_4bit_compute_dtype=torch.bfloat16.",
    )


def float32_copies(run):
    """A float32 adapter on a 16-bit base keeps a float32 copy of each layer's input."""
    wide = [p for p in run.active if p.first.dtype == torch.float32]
    kinds = {p.dtype for n, p in run.params.items() if n not in run.added and p.dim() > 1}
    if not wide or not kinds & {torch.bfloat16, torch.float16}:
        return ok()
    copies, kept = run.step.copies, run.step.kept
    if not copies or copies < 0.05 * kept:
        return ok("no copies are kept")
    return warning(
        f"{copies / 2**20:.3g} of {kept / 2**20:.3g} MB that {_rows(run)} rows keep for the "
        "backward pass are float32 copies of 16-bit inputs.",
        "Cast the factors instead of the input, as the course's layer does, or load the adapter "
        "with autocast_adapter_dtype=False. It costs memory and time, not quality.",
    )


def _rows(run):
    from lora_course.preflight.probe import FEW

    return min(FEW, len(run.batch.get("input_ids", ())))
