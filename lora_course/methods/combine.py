"""Several updates of one weight in one: TIES and DARE, the rules that go beyond a weighted sum.

Both work on whole updates of the weight, not on the factors of LoRA: the product of two factors
that were combined on their own is another matrix. The plain sum is `merge.concatenate`.
TIES: Yadav et al. 2023, arXiv 2306.01708. DARE: Yu et al. 2023, arXiv 2311.03099.
"""

import torch


# owned by chapter 12
def trim(update, density):
    """The entries of largest absolute value, the share `density` of all; zero elsewhere.

    update: any shape. density: from 0 to 1; the number kept is rounded down.
    Raises ValueError when density lies outside.
    """
    if not 0 <= density <= 1:
        raise ValueError(f"density is {density}, it is a share: pass a number from 0 to 1.")
    flat = update.flatten()
    kept = torch.zeros_like(flat)
    largest = flat.abs().topk(int(density * flat.numel())).indices
    kept[largest] = flat[largest]
    return kept.view_as(update)


# owned by chapter 12
def ties(updates, density, weights=None):
    """Trim, elect a sign, merge (TIES): one update of the shape of each.

    updates: n tensors of one shape. density: see trim; each update is trimmed on its own.
    weights: n factors, used after the election; None takes 1 for all. Entries that agree are
    averaged, not added, so do not divide by n as well.
    Raises ValueError when updates are missing or numbers differ.
    """
    weights = [1.0] * len(updates) if weights is None else weights
    if not len(updates) or len(updates) != len(weights):
        raise ValueError(f"Got {len(updates)} updates and {len(weights)} weights: give as many.")
    trimmed = torch.stack([trim(update, density) for update in updates])  # (n, ...)
    sign = torch.where(trimmed.sum(0) >= 0, 1.0, -1.0)  # (...), the side with more mass
    agrees = trimmed.sign() == sign  # (n, ...); a trimmed entry agrees with nobody
    weights = torch.tensor(weights).view(-1, *[1] * updates[0].dim())  # (n, 1, ...)
    total = (trimmed * weights * agrees).sum(0)  # (...)
    return total / agrees.sum(0).clamp(min=1)


# owned by chapter 12
def dare(update, density, generator=None):
    """Drop entries at random and rescale what is left (DARE): equal to the update on average.

    update: any shape. density: above 0 and at most 1, the probability with which an entry stays.
    generator: a torch.Generator; None draws from the global one.
    Raises ValueError when density lies outside.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density is {density}: pass a share above 0 and at most 1.")
    stays = torch.bernoulli(torch.full_like(update, density), generator=generator)
    return update * stays / density


# owned by chapter 12
def mix(model, kind, adapters, weights, density=0.3):
    """Add a combination of adapters to a PEFT model as "mix", instead of the last, and activate it.

    kind: a combination_type of add_weighted_adapter. density: for kinds with "ties" or "dare".
    """
    model.set_adapter(adapters[0])
    if "mix" in model.peft_config:
        model.delete_adapter("mix")
    torch.manual_seed(0)  # DARE draws from the global generator
    options = {"density": density} if "ties" in kind or "dare" in kind else {}
    options["svd_full_matrices"] = False
    model.add_weighted_adapter(list(adapters), list(weights), "mix", kind, **options)
    model.set_adapter("mix")
