"""AdaLoRA: many triplets of rank 1 in every layer; those that matter least are switched off.

Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", arXiv
2303.10512, section 3. W' = W + scaling * B diag(E) A; a triplet is an entry of E with its column of
B and its row of A. The budget is a number of triplets in the whole model; it shrinks while the
model trains, and layers keep as many as they are worth.
"""

import torch
from torch import nn

from lora_course.methods.descendant import Descendant, descend


# owned by chapter 14
class AdaLoRALinear(Descendant):
    """y = base_layer(x) + scaling * B (E * (A x)); A, B and E train, and E starts at 0."""

    def __init__(self, layer):
        super().__init__(layer)
        self.lora_E = nn.Parameter(torch.zeros_like(layer.lora_A[:, :1]))  # (r, 1)
        nn.init.normal_(self.lora_A, std=0.02)
        nn.init.normal_(self.lora_B, std=0.02)

    def forward(self, x):
        out = self.base_layer(x)  # (..., out)
        down = self.lora_dropout(x) @ (self.lora_A * self.lora_E).to(x.dtype).T  # (..., r)
        return (out + (self.scaling * down) @ self.lora_B.to(x.dtype).T).to(out.dtype)

    def delta(self):
        """scaling * B diag(E) A, (out, in)."""
        return self.scaling * self.lora_B @ (self.lora_A * self.lora_E)


# owned by chapter 14
def use_adalora(model):
    """Turn the LoRA layers of a model into AdaLoRA, in place; returns the model.

    model: after inject_lora with r = the first rank, usually 1.5 times the one to end with.
    """
    return descend(model, AdaLoRALinear)


# owned by chapter 14
def triplets(model):
    """{name: layer} of the layers with triplets that train."""
    found = {name: m for name, m in model.named_modules() if hasattr(m, "lora_E")}
    return {name: m for name, m in found.items() if m.lora_E.requires_grad}


# owned by chapter 14
def orthogonality(model):
    """How far rows of A and columns of B are from orthonormal; a half of it goes into the loss.

    The mean over all factors of |A A^T - I| and |B^T B - I|, as in PEFT; the paper squares the
    norms and adds them up. Factors may have further axes in front, which the result keeps.
    """
    factors = [P for m in triplets(model).values() for P in (m.lora_A, m.lora_B.mT)]  # (..., r, n)
    off = [P @ P.mT - torch.eye(P.shape[-2], device=P.device) for P in factors]
    return torch.stack([matrix.flatten(-2).norm(dim=-1) for matrix in off]).mean(0)


# owned by chapter 14
class RankAllocator:
    """Scores the triplets of a model step by step, and switches off what exceeds the budget.

    target_r: triplets to end with, for each layer on average. total_step: steps of the run.
    tinit, tfinal: steps at the start without a choice, at the end with the last choice kept.
    deltaT: choose every so many steps. beta1, beta2: how slowly the two averages move.
    """

    def __init__(
        self, model, target_r, total_step, tinit=0, tfinal=0, deltaT=1, beta1=0.85, beta2=0.85
    ):
        self.layers, self.averages, self.kept = triplets(model), {}, {}
        self.first = sum(m.lora_E.shape[-2] for m in self.layers.values())
        self.target = target_r * len(self.layers)
        self.last, self.tinit, self.deltaT = total_step - tfinal, tinit, deltaT
        self.betas = beta1, beta2

    def budget(self, step):
        """How many triplets may stay: from `first` to `target`, along a cube."""
        done = min(max((step - self.tinit) / (self.last - self.tinit), 0), 1)
        return int((self.first - self.target) * (1 - done) ** 3 + self.target)

    def observe(self, grads=None):
        """Smooth |weight * gradient| of every number, and how far it lies from that mean."""
        parts = [(n, part) for n in self.layers for part in ("lora_A", "lora_E", "lora_B")]
        for key, p in ((f"{n}.{part}", getattr(self.layers[n], part)) for n, part in parts):
            now = (p * (grads[key] if grads else p.grad)).abs()  # about what the loss is without p
            (mean, jump), (beta1, beta2) = self.averages.get(key, (0.0, 0.0)), self.betas
            mean = beta1 * mean + (1 - beta1) * now
            self.averages[key] = mean, beta2 * jump + (1 - beta2) * (now - mean).abs()

    def importance(self):
        """{layer: (..., r)}: score of E, plus the mean scores of its row of A and column of B."""
        s = {key: mean * jump for key, (mean, jump) in self.averages.items()}
        sides = {n: s[f"{n}.lora_A"].mean(-1) + s[f"{n}.lora_B"].mean(-2) for n in self.layers}
        return {name: s[f"{name}.lora_E"][..., 0] + both for name, both in sides.items()}

    @torch.no_grad()
    def step(self, step, grads=None):
        """Call it after optimizer.step() number `step`, from 0, and before zero_grad().

        grads: {parameter: gradient} when the parameters hold none.
        Returns what is switched on, {layer: (..., r) of bool}, as last chosen; {} before that.
        """
        if step < self.last:
            self.observe(grads)
        choose = self.tinit < step < self.last and step % self.deltaT == 0 or step == self.last
        off = self.first - self.budget(step)
        if choose and off:
            scores = self.importance()
            bar = torch.cat(list(scores.values()), -1).kthvalue(off, keepdim=True)[0]
            self.kept = {name: score > bar for name, score in scores.items()}
        for name, on in self.kept.items() if choose or step > self.last else ():
            self.layers[name].lora_E *= on[..., None]
        return self.kept
