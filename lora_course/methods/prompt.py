"""Prompt tuning: p trained vectors before the embedded tokens; the model itself stays as it is.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv 2104.08691,
section 2: the model reads [P; X], and only P, of shape (p, d), is trained.
"""

import torch
from torch import nn


# owned by chapter 13
class PromptTuning(nn.Module):
    """A causal LM that reads p trained vectors before every text.

    model: a causal LM of transformers; its parameters are frozen in place.
    init_ids: (p,) token ids whose vectors P starts with: a text, or words drawn at random.
    Numbers that train: p d. The context that is left for text is shorter by p.
    """

    def __init__(self, model, init_ids):
        super().__init__()
        self.model = model.requires_grad_(False)
        start = model.get_input_embeddings()(torch.as_tensor(init_ids, device=model.device))
        dtype = torch.promote_types(start.dtype, torch.float32)
        self.prompt = nn.Parameter(start.detach().to(dtype, copy=True))  # (p, d)
        self.train(model.training)

    @property
    def device(self):
        return self.model.device

    @property
    def config(self):
        return self.model.config

    def read(self, input_ids, attention_mask=None):
        """What the model gets instead of the ids: P and the token vectors, and the longer mask."""
        X = self.model.get_input_embeddings()(input_ids)  # (B, T, d)
        P = self.prompt.to(X.dtype).expand(len(X), -1, -1)  # (B, p, d)
        mask = longer_mask(input_ids, attention_mask, len(self.prompt))
        return {"inputs_embeds": torch.cat([P, X], dim=1), "attention_mask": mask}

    def forward(self, input_ids, attention_mask=None, labels=None):
        """The model's output; logits are (B, p + T, vocabulary). labels: (B, T), as for the model.

        Padding may stand on either side; the text after it keeps the positions p, p + 1, ...
        """
        inputs = self.read(input_ids, attention_mask)
        if labels is not None:  # nobody asks what comes after a vector of P
            labels = torch.cat([labels.new_full((len(labels), len(self.prompt)), -100), labels], 1)
        return self.model(**inputs, position_ids=positions(inputs["attention_mask"]), labels=labels)

    @torch.no_grad()
    def generate(self, input_ids, attention_mask=None, **settings):
        """As the model's own: (B, T + new), ids and what follows them. settings: of generate()."""
        new = self.model.generate(**self.read(input_ids, attention_mask), **settings)
        return torch.cat([input_ids, new], dim=1)


# owned by chapter 13
def longer_mask(input_ids, attention_mask, p):
    """(B, p + T): a one for each of the p trained positions, then the mask of the text."""
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    return torch.cat([mask.new_ones(len(mask), p), mask], dim=1)


# owned by chapter 13
def positions(attention_mask):
    """(B, T): the place of each token, counted without padding, as generate() counts it."""
    return (attention_mask.cumsum(1) - 1).clamp(min=0)
