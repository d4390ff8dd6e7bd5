"""Prefix tuning: in every layer, p trained keys and values that the text can attend to.

Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv 2101.00190,
sections 4.2 and 4.3. To the model they are the past: p tokens which nobody wrote. The paper makes
them by an MLP while training; here, as in PEFT's default, they are trained themselves.
"""

import torch
from torch import nn
from transformers import DynamicCache

from lora_course.methods.prompt import PromptTuning, longer_mask, positions


# owned by chapter 13
class PrefixTuning(nn.Module):
    """A causal LM with p trained keys and values in each of its L layers.

    model: a causal LM of transformers; its parameters are frozen in place.
    init_ids: (p,) token ids; the prefix starts with the keys and values of this text. Their shape
    is the cache's own, so grouped-query attention has as many heads here as it has for keys.
    Numbers that train: p L 2 kv, with kv = key heads * head size. The text starts at position p.
    """

    def __init__(self, model, init_ids):
        super().__init__()
        self.model = model.requires_grad_(False)
        ids = torch.as_tensor(init_ids, device=model.device)[None]
        was = model.training
        with torch.no_grad():
            layers = model.eval()(input_ids=ids, use_cache=True).past_key_values.layers
        pairs = [torch.cat([layer.keys, layer.values]) for layer in layers]
        dtype = torch.promote_types(model.dtype, torch.float32)
        self.prefix = nn.Parameter(torch.stack(pairs).to(dtype))  # (L, 2, heads, p, head size)
        self.train(was)

    device, config = PromptTuning.device, PromptTuning.config

    @property
    def p(self):
        return self.prefix.shape[3]

    def past(self, rows):
        """A new cache for `rows` texts that holds the prefix; the model appends to it."""
        pairs = self.prefix.to(self.model.dtype)[:, :, None].expand(-1, -1, rows, -1, -1, -1)
        return DynamicCache([(k, v) for k, v in pairs])  # each (B, heads, p, head size)

    def forward(self, input_ids, attention_mask=None, labels=None):
        """The model's output; logits are (B, T, vocabulary), so labels stay as they are."""
        mask = longer_mask(input_ids, attention_mask, self.p)
        return self.model(
            input_ids=input_ids, attention_mask=mask, position_ids=positions(mask)[:, self.p :],
            past_key_values=self.past(len(input_ids)), labels=labels,
        )  # fmt: skip

    @torch.no_grad()
    def generate(self, input_ids, attention_mask=None, **settings):
        """As the model's own: (B, T + new). It gets p ids more, which the cache has read."""
        mask = longer_mask(input_ids, attention_mask, self.p)
        ids = torch.cat([input_ids.new_zeros(len(input_ids), self.p), input_ids], dim=1)
        past = self.past(len(input_ids))
        out = self.model.generate(ids, attention_mask=mask, past_key_values=past, **settings)
        return out[:, self.p :]
