"""Is it the same adapter in PEFT? Ours and PEFT's on the same weights, compared."""

import copy
import shutil
import warnings
from contextlib import contextmanager

import torch
from torch import nn

from lora_course.inject import lora_layers
from lora_course.plumbing.files import put_all


@contextmanager
def in_peft(model, folder):
    """PEFT's model of the same base weights, not copied, with the adapter of a folder.

    Flags, modes and random numbers of `model` are as before when the block ends.
    """
    from peft import PeftModel

    weights = [*model.parameters(), *model.buffers()]
    bare = copy.deepcopy(model, {id(t): t for t in weights})  # the same tensors, other modules
    for name, layer in lora_layers(bare, remove_duplicate=False).items():
        bare.set_submodule(name, layer.base_layer)
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield PeftModel.from_pretrained(bare, str(folder)).eval()
    finally:
        nn.ParameterList(trained).requires_grad_(True)


def put_proved(model, drafts, folder):
    """Move a finished adapter folder into its place, once PEFT reads the same LoRA from it.

    Raises ValueError, and removes the drafts, when PEFT reads another one.
    """
    ours, why = lora_layers(model), ""
    try:
        with in_peft(model, drafts) as theirs:
            found = lora_layers(theirs.get_base_model())
            other = sorted(found.keys() ^ ours.keys())
            why = f"it puts LoRA in other places, such as {other[0]}" if other else ""
            for name in ours.keys() & found.keys():
                why = (
                    why or differs(ours[name], found[name]) and f"it reads other numbers at {name}"
                )
    except Exception as error:
        why = str(error).splitlines()[0]
    if why:
        shutil.rmtree(drafts)
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise ValueError(
            f"This adapter of a {kind} cannot be a folder of PEFT, which would not read it as it "
            f"is: {why}. Keep it in this course: save_adapter(), load_adapter(), merge()."
        )
    put_all(drafts, folder)


def differs(ours, theirs):
    """Whether a layer of PEFT holds other factors, or another scale, than ours."""
    table = len(getattr(theirs, "lora_embedding_A", ()))
    pair = [theirs.lora_embedding_A, theirs.lora_embedding_B] if table else []
    pair = pair or [theirs.lora_A, theirs.lora_B]
    A, B = (getattr(part["default"], "weight", part["default"]) for part in pair)
    same = (
        A.shape == ours.lora_A.shape
        and torch.equal(A.to(ours.lora_A), ours.lora_A)
        and torch.equal(B.to(ours.lora_B), ours.lora_B)
        and abs(theirs.scaling["default"] - ours.scaling) <= 1e-6 * abs(ours.scaling)
    )
    return not same


@torch.no_grad()
def off_from_peft(model, folder):
    """How far the logits of `model` are from those of PEFT with that folder, as a share."""
    was_training = model.training
    table = model.get_input_embeddings()
    rows = getattr(table, "base_layer", table).weight.shape[0]
    ids = torch.arange(3, 11, device=model.device)[None] % rows  # (1, T)
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):  # see keep_packing
            layer.support_avx512bf16_for_cpu = False
    try:
        with in_peft(model, folder) as theirs:
            want = theirs(input_ids=ids).logits.float()
        got = model.eval()(input_ids=ids).logits.float()
    finally:
        model.train(was_training)
    return ((got - want).norm() / want.norm()).item()


@torch.no_grad()
def check_rows(model):
    """Raises ValueError where a layer gets a batch as one long row: adapter_names fails there."""
    seen = set()
    look = [
        layer.register_forward_hook(lambda _, x, __: seen.add(x[0].shape[0]))
        for layer in model.modules()
        if hasattr(layer, "lora_A")
    ]
    try:
        model(input_ids=torch.tensor([[5, 6, 7], [7, 8, 9]], device=model.device))  # (B, T)
    finally:
        for hook in look:
            hook.remove()
    if seen != {2}:
        raise ValueError(
            f"In this {model.config.model_type}, some layers get a batch as one long row, so PEFT "
            "cannot tell which adapter a row wants. Use one adapter at a time: set_adapter()."
        )
