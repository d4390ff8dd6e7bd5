"""Which base is this? A check sum that an adapter can carry, since its shapes tell too little."""

import re
from zlib import crc32

import torch


@torch.no_grad()
def fingerprint(model):
    """Eight characters that tell one base from another: a check sum over a part of each weight.

    The same with and without an adapter, in PEFT and here, in float32 and bfloat16.
    """
    total, drop = 0, re.compile(r"base_layer\.|^base_model\.model\.")
    named = {drop.sub("", n): p for n, p in model.named_parameters() if ".lora_" not in f".{n}"}
    for name in sorted(named):
        part = named[name].flatten()[:1000].bfloat16().cpu()
        total = crc32(part.view(torch.int16).numpy().tobytes(), total)
    return f"{total:08x}"
