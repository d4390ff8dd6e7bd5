"""Which base is this, and which config? Check sums, since shapes tell too little."""

import json
import re
from zlib import crc32

import torch

PIECE = 1 << 22  # numbers at a time, so that no second copy of a large weight is made
TIED = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules")


@torch.no_grad()
def fingerprint(model):
    """Eight characters that tell one base from another: a check sum over every weight, whole.

    The same with and without an adapter, in PEFT and here, in float32 and bfloat16.
    """
    total, drop = 0, re.compile(r"base_layer\.|^base_model\.model\.")
    named = {drop.sub("", n): p for n, p in model.named_parameters() if ".lora_" not in f".{n}"}
    for name in sorted(named):
        total = crc32(f"{name} {tuple(named[name].shape)}".encode(), total)
        for piece in named[name].detach().flatten().split(PIECE):
            total = crc32(piece.bfloat16().cpu().view(torch.int16).numpy(), total)
    return f"{total:08x}"


def tie(config):
    """A check sum of what in PEFT's config gives the tensors their meaning; config: a dict."""
    kept = {key: config.get(key) for key in TIED}
    kept["target_modules"] = sorted(kept["target_modules"] or ())
    return f"{crc32(json.dumps(kept, sort_keys=True).encode()):08x}"
