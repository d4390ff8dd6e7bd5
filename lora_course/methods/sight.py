"""Two senses: vectors of a picture stand among the vectors of the words.

Liu et al. 2023, "Visual Instruction Tuning" (LLaVA), arXiv 2304.08485, section 4.1: a vision model
that stays as it is, one linear map from its vectors to those of words, a language model.
"""

import torch
from torch import nn

IMAGE = -200  # owned by chapter 16


# owned by chapter 16
class Sighted(nn.Module):
    """A causal LM that reads pictures: projector(states) stands where the ids are IMAGE.

    model: a causal LM of transformers, with LoRA or without; what trains in it stays as it is.
    projector: a module, (..., d_eye) -> (..., d). states: (B, n, d_eye), what an eye says of n
    parts of each picture; every row of input_ids, (B, T), holds IMAGE n times.
    """

    def __init__(self, model, projector):
        super().__init__()
        self.model, self.projector = model, projector

    def read(self, input_ids, states):
        """The vectors that the model gets instead of the ids: (B, T, d)."""
        X = self.model.get_input_embeddings()(input_ids.clamp(min=0))  # (B, T, d)
        seen = self.projector(states).to(X.dtype)  # (B, n, d)
        return X.masked_scatter((input_ids == IMAGE)[..., None], seen)

    def forward(self, input_ids, states, attention_mask, labels=None):
        """The model's output; its logits are (B, T, vocabulary)."""
        X = self.read(input_ids, states)
        return self.model(inputs_embeds=X, attention_mask=attention_mask, labels=labels)

    @torch.no_grad()
    def generate(self, input_ids, states, attention_mask, **settings):
        """As the model's own, but only what it adds: (B, new). settings: of generate()."""
        X = self.read(input_ids, states)
        return self.model.generate(inputs_embeds=X, attention_mask=attention_mask, **settings)


# owned by chapter 16
def insert_picture(ids, labels, n, at):
    """One row with n places for a picture before token number `at`: (ids, labels), two lists.

    ids, labels: lists of equal length, as data.encode gives them. Nothing is asked at a picture.
    """
    return ids[:at] + [IMAGE] * n + ids[at:], labels[:at] + [-100] * n + labels[at:]


# owned by chapter 16
@torch.no_grad()
def aligned(states, vectors):
    """A linear projector that takes states to vectors with the least squared error.

    states: (N, d_eye). vectors: (N, d), what each should become. Returns an nn.Linear.
    """
    ones = torch.ones(len(states), 1, device=states.device)
    # On the CPU: the solver for tall matrices that CUDA has wants full rank.
    both = torch.linalg.lstsq(torch.cat([states, ones], 1).cpu(), vectors.cpu()).solution
    made = nn.Linear(states.shape[1], vectors.shape[1])
    made.weight.copy_(both[:-1].T)
    made.bias.copy_(both[-1])
    return made.to(states.device)
