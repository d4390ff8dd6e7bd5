"""One training loop for every kind of fine-tuning: AdamW, warm-up and cosine, clipping, resume.

`train` holds the idea; the two functions under it write and read the checkpoint of a run.
Whatever requires a gradient is trained, so one loop serves LoRA and full fine-tuning.
AdamW: Loshchilov and Hutter 2017, arXiv 1711.05101. The cosine: the same, arXiv 1608.03983.
"""

import math
import os
from pathlib import Path
from zlib import crc32

import torch
from tqdm.auto import tqdm

from lora_course.plumbing.files import replacing


# owned by chapter 05
def learning_rate(step, steps, peak, warmup):
    """The learning rate of one step: up to `peak` in a straight line, then down along a cosine.

    step: from 0 to steps - 1. warmup: how many steps rise; the last of them has the peak.
    No step is spent on a rate of 0: the first has peak / warmup, and 0 comes after the last.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


# owned by chapter 05
def train(
    model, batches, steps, lr, warmup=10, weight_decay=0.0, clip=1.0, seed=0,
    groups=None, checkpoint=None, every=50,
):  # fmt: skip
    """Train what requires a gradient, leave the model in eval mode, return the loss of each step.

    batches: yields dicts of input_ids, attention_mask and labels, each (B, T); at least `steps`.
    lr: the highest learning rate. warmup: steps up to it. clip: the longest gradient allowed.
    seed: of dropout. groups: parameter groups of AdamW, which may have an `lr` each.
    checkpoint: a file, written every `every` steps. Where it exists the run goes on from it: give
    the same model, batches and settings, and the weights become those of an unbroken run.

    Raises ValueError when nothing can train, when the batches run out, or when the checkpoint is of
    another run; FloatingPointError when the loss is no longer a number.
    """
    groups = groups or [{"params": [p for p in model.parameters() if p.requires_grad]}]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    peaks = [group["lr"] for group in optimizer.param_groups]
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(p.requires_grad for p in weights):
        raise ValueError("Nothing requires a gradient, so nothing can train. Inject LoRA first.")
    plan = [steps, warmup, clip, seed, weight_decay, *peaks, *(list(p.shape) for p in weights)]
    losses, seen, expected = [], 0, 0  # seen: a check sum of all batches so far
    if checkpoint and Path(checkpoint).exists():
        losses, expected = load_checkpoint(checkpoint, plan, weights, optimizer)
    elif checkpoint:
        save_checkpoint(checkpoint, plan, weights, optimizer, losses, seen)
    done, device = len(losses), weights[0].device
    model.train()
    quiet = os.environ.get("TQDM_DISABLE") == "1"  # tqdm itself forgets it in a notebook
    bar = tqdm(total=steps, initial=done, unit="step", leave=False, disable=quiet)
    with bar, torch.random.fork_rng([device] if device.type == "cuda" else []):
        for step, batch in zip(range(steps), batches, strict=False):
            seen = crc32(batch["input_ids"].cpu().numpy().tobytes(), seen)
            if step < done:  # this step was made before the interruption
                if step == done - 1 and seen != expected:
                    raise ValueError(f"{checkpoint} saw other batches. Delete it to start anew.")
                continue
            torch.manual_seed(seed + step)  # a resumed run drops the same inputs
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = learning_rate(step, steps, peak, warmup)
            loss = model(**{key: value.to(device) for key, value in batch.items()}).loss
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"The loss of step {step} is {losses[-1]}. Either all labels of the batch are "
                    "-100, or the learning rate is too high."
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, clip)
            optimizer.step()
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
            if checkpoint and ((step + 1) % every == 0 or step + 1 == steps):
                save_checkpoint(checkpoint, plan, weights, optimizer, losses, seen)
    if len(losses) < steps:
        raise ValueError(f"The batches ended after {len(losses)} of {steps} steps. Give more.")
    model.eval()
    return losses


# owned by chapter 05
def save_checkpoint(path, plan, weights, optimizer, losses, seen):
    """Write what a run needs to go on: a kill leaves the old file or the new one, never a part."""
    state = {"plan": plan, "losses": losses, "seen": seen, "optimizer": optimizer.state_dict()}
    state["weights"] = [p.detach() for p in weights]
    with replacing(path) as draft:
        torch.save(state, draft)


# owned by chapter 05
def load_checkpoint(path, plan, weights, optimizer):
    """Put weights and optimizer back; returns the losses so far and the check sum of the batches.

    Raises ValueError, and changes nothing, when the file is damaged or belongs to another run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["plan"]
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of train(). Delete it to start anew.") from error
    if found != plan:
        raise ValueError(
            f"{path} is of another run: steps, warmup, clip, seed, weight_decay, learning rate and "
            f"shapes were {found[:7]}..., now they are {plan[:7]}... Delete it to start anew."
        )
    with torch.no_grad():
        for weight, value in zip(weights, state["weights"], strict=True):
            weight.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    return state["losses"], state["seen"]
