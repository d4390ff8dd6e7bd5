"""The vision model of the course, `eye`, or any image classifier of yours.

What a chapter needs of one: a head of its own labels, and what it says of every patch.
"""

import os
from pathlib import Path

from lora_course.kit import models
from lora_course.plumbing.origin import Explained, present

EYE = Path(__file__).resolve().parents[1] / "eye"
VARIABLE = "LORA_COURSE_VISION_MODEL"


def chosen_eye(name=None):
    """The model to load, a hub id or a folder: `name`, else $LORA_COURSE_VISION_MODEL, else eye."""
    name = name or os.environ.get(VARIABLE) or "eye"
    return str(EYE) if name == "eye" else os.path.expanduser(name)


def is_shipped_eye():
    """True when the vision model is the one that ships with the course."""
    return chosen_eye() == str(EYE)


def load_eye(labels=None, name=None):
    """An image classifier, in float32 and eval mode, on the CPU.

    labels: names of your classes, for a new head with random weights; None keeps the model's own.
    Draws from torch's global generator when it makes a head.
    name: "eye" (ships with the course), a hub id or a folder; see chosen_eye.
    Raises OSError when the model cannot be found or is damaged: the message says what to do.
    """
    import torch
    from transformers import AutoModelForImageClassification
    from transformers.utils import logging

    models.quiet()
    source = present(chosen_eye(name), "config.json", "a model", VARIABLE)
    new = {}
    if labels is not None:
        new = {
            "id2label": dict(enumerate(labels)),
            "label2id": {n: i for i, n in enumerate(labels)},
        }
        new |= {"problem_type": "single_label_classification", "ignore_mismatched_sizes": True}
    told = logging.get_verbosity()
    try:
        if labels is not None:
            logging.set_verbosity_error()  # that the head is new is what was asked for
        with Explained(source, "vision model", VARIABLE):
            model = AutoModelForImageClassification.from_pretrained(
                source, dtype=torch.float32, **new
            )
    finally:
        logging.set_verbosity(told)
    return model.eval()


def fit(pixels, model):
    """Pictures in the size that the model takes. pixels: (B, 3, h, w). Returns (B, 3, H, W)."""
    from torch.nn.functional import interpolate

    size = getattr(model.config, "image_size", None)
    size = size or max(32, pixels.shape[-1])  # a convolutional network takes any
    if pixels.shape[-1] == size:
        return pixels
    return interpolate(pixels, (size, size), mode="bilinear", align_corners=False)


def patch_states(model, pixels):
    """What the model says of every patch, before its head: (B, d, rows, columns).

    pixels: (B, 3, h, w). A transformer's tokens are laid out as the patches lie; what stands before
    them (a class token, registers) is left out.
    """
    states = model.base_model(fit(pixels, model)).last_hidden_state
    if states.ndim == 4:  # a convolutional network has them in this form
        return states
    side = int(states.shape[1] ** 0.5)  # the few tokens before the patches do not fill a row more
    return states[:, -side * side :].mT.unflatten(2, (side, side))


# owned by chapter 16
def teach(model, pixels, labels, lr, steps, loss_of, seed=0, size=25):
    """Train what requires a gradient; returns the loss of each step.

    loss_of: (model, pixels, labels) -> loss. size: pictures in a batch, drawn from `seed`.
    """
    import torch

    weights = [p for p in model.parameters() if p.requires_grad]
    adam, losses = torch.optim.AdamW(weights, lr, weight_decay=0.0), []
    order, device = torch.Generator().manual_seed(seed), weights[0].device
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * min(1, (step + 1) / 10) * (1 - step / steps)
        some = torch.randperm(len(pixels), generator=order)[:size]
        loss = loss_of(model, pixels[some].to(device), labels[some].to(device))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses
