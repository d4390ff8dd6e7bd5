"""Intruder dimensions: strong directions of a trained weight that the weight before never had.

Shuttleworth et al. 2024, "LoRA vs Full Fine-tuning: An Illusion of Equivalence", arXiv 2410.21228,
definition 1: a singular vector of the trained weight is an intruder when its cosine with every
singular vector of the weight before stays below epsilon. As in PEFT's `peft.tuners.lora.intruders`
the left singular vectors count, and of the trained weight only the k strongest.
"""

import torch


# owned by chapter 15
def likeness(before, after):
    """How like something old each direction of `after` is, strongest first: (k,), in [0, 1].

    before, after: (out, in), a weight before and after training; k is the smaller size. An entry is
    the largest |cosine| of a left singular vector of `after` with all of `before`.
    """
    U0, U1 = (torch.linalg.svd(w, full_matrices=False).U for w in (before, after))  # (out, k)
    return (U1.T @ U0).abs().amax(1)


# owned by chapter 15
def intruders(before, after, k=10, epsilon=0.5):
    """Which of the k strongest directions of `after` are intruders: their numbers from 0, (n,)."""
    return (likeness(before, after)[:k] < epsilon).nonzero()[:, 0]


# owned by chapter 15
def soften(before, after, keep=0.75, k=10, epsilon=0.5):
    """`after` with its intruders scaled down to `keep` of their singular value: (out, in).

    keep: from 0, take them out, to 1, leave all as it is. The paper's lambda, and in PEFT 0.21.2
    `mitigation_lambda` (whose description says the reverse of what its code does).
    """
    U, s, Vh = torch.linalg.svd(after, full_matrices=False)  # (out, m), (m,), (m, in)
    found = intruders(before, after, k, epsilon)
    return after - (1 - keep) * U[:, found] * s[found] @ Vh[found]
