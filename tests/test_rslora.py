"""rsLoRA against PEFT, and what padding a rank with zeros costs with and without it."""

import copy
import math

import pytest
import torch
from torch import nn

from lora_course.inject import inject_lora, lora_layers
from lora_course.methods.rslora import use_rslora
from tests.small_llama import batch, llama, peft_model, renamed

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word")


@pytest.mark.parametrize("r", [1, 2, 8, 64, 128])
def test_rslora_equals_peft(r):
    base, x = llama(), batch(0)
    ours = use_rslora(inject_lora(copy.deepcopy(base), r=r, lora_alpha=12, seed=0))
    theirs = peft_model(base, r, 12, use_rslora=True)
    factors = {renamed(n): p for n, p in theirs.named_parameters() if "lora_" in n}
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if p.requires_grad:
                nn.init.normal_(p, std=0.1)
                factors[name].copy_(p)
    scales = {layer.scaling for layer in lora_layers(ours).values()}
    wanted = {m.scaling["default"] for m in theirs.modules() if hasattr(m, "lora_A")}
    assert scales == wanted == {12 / math.sqrt(r)}
    mine, other = ours(**x).loss, theirs.eval()(**x).loss
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_rslora_needs_lora():
    with pytest.raises(ValueError, match="inject first"):
        use_rslora(llama())


@pytest.mark.parametrize("rslora, factor", [(False, 1 / 2), (True, 1 / math.sqrt(2))])
def test_zero_padding_a_rank_at_fixed_alpha(rslora, factor):
    """Twice the rank, nothing new in it: the update is half as large, or 0.71 under rsLoRA."""
    small = inject_lora(llama(), r=4, lora_alpha=12, seed=0)
    large = inject_lora(llama(), r=8, lora_alpha=12, seed=0)
    for model in (small, large):
        if rslora:
            use_rslora(model)
    pairs = zip(lora_layers(small).values(), lora_layers(large).values(), strict=True)
    for a, b in pairs:
        with torch.no_grad():
            nn.init.normal_(a.lora_B)
            b.lora_A.zero_()[:4].copy_(a.lora_A)
            b.lora_B.zero_()[:, :4].copy_(a.lora_B)
        torch.testing.assert_close(b.get_delta_weight(), factor * a.get_delta_weight())
