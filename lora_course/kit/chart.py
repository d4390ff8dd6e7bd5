"""What can be seen of a run without knowing its fault: losses, gradients, moves, one row (19)."""

import copy

import torch


@torch.random.fork_rng()
def evidence(patient):
    """What a person sees who trains a copy of the run: losses, gradients, what moved, one row.

    Returns a dict: losses, one for each batch; gradients and moved, {kind: largest number} for
    A, B and everything else; row, [(token, is it graded)] of the first row without its padding.
    The patient stays as it is, and dropout is drawn as for every other patient.
    """
    torch.manual_seed(0)
    model, optimizer = copy.deepcopy((patient.model.train(), patient.optimizer))
    parts = {"A": [], "B": [], "rest": []}
    for name, parameter in model.named_parameters():
        parts[{"lora_A": "A", "lora_B": "B"}.get(name.rpartition(".")[2], "rest")].append(parameter)
    start = {kind: [p.detach().clone() for p in found] for kind, found in parts.items()}
    losses, gradients = [], {}
    for batch in patient.batches:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        if not gradients:
            gradients = {
                kind: max([p.grad.abs().max().item() for p in found if p.grad is not None] or [0])
                for kind, found in parts.items()
            }
        optimizer.step()
    moved = {
        kind: max((p - q).abs().max().item() for p, q in zip(found, start[kind], strict=True))
        for kind, found in parts.items()
    }
    batch = patient.batches[0]
    real = batch["attention_mask"][0] == 1
    ids, labels = batch["input_ids"][0][real].tolist(), batch["labels"][0][real].tolist()
    words = [patient.tokenizer.decode([i]).strip() or "␣" for i in ids]
    row = [(word, label != -100) for word, label in zip(words, labels, strict=True)]
    padding = int((batch["labels"][~(batch["attention_mask"] == 1)] != -100).sum())
    return {"losses": losses, "gradients": gradients, "moved": moved, "row": row, "filler": padding}


def chart(patient):
    """Print the evidence of a run in five lines; returns it."""
    seen = evidence(patient)
    print("losses   ", " ".join(f"{loss:.1f}" for loss in seen["losses"][::3]))
    for kind in ("gradients", "moved"):
        found = ", ".join(f"{k} {'0' if v == 0 else 'yes'}" for k, v in seen[kind].items())
        print(f"{kind:9}", found)
    print("graded   ", " ".join(f"[{word}]" if on else word for word, on in seen["row"]))
    print("graded filler:", seen["filler"])
    return seen
