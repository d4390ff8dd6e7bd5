"""Muon: a matrix takes steps of one size in all its directions (Jordan et al. 2024).

torch.optim.Muon does the same in bfloat16, which a CPU without bfloat16 arithmetic computes three
times slower than the whole rest of a training step. Here it is float32.
"""

import math

import torch


def orthogonalize(G, steps=5):
    """Roughly U V^T of the SVD G = U S V^T, by Newton-Schulz steps. G: (m, n); so is the result.

    The coefficients drive every singular value into about 0.7 to 1.2, fast rather than exactly.
    """
    X = G.T if G.shape[0] > G.shape[1] else G
    X = X / (X.norm() + 1e-7)
    for _ in range(steps):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X.T if G.shape[0] > G.shape[1] else X


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, scaled to the size of AdamW's steps (Liu et al. 2025).

    params: matrices, (m, n). lr: as for AdamW. weight_decay: per step and lr.
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta = group["momentum"]
            for p in group["params"]:
                mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - beta)
                update = orthogonalize(p.grad.lerp(mean, beta))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))
