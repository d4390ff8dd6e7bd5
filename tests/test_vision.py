"""vision.py: the shipped eye, and image classifiers of other kinds made on the spot."""

import random

import numpy as np
import pytest
import torch

from lora_course.kit import vision
from lora_course.kit.models import BASE
from lora_course.kit.town import pictures


def random_classifier(kind):
    """An image classifier with random weights: convolutions, or a ViT of another family."""
    import transformers as t

    torch.manual_seed(0)
    if kind == "resnet":
        config = t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1],
                                layer_type="basic", num_labels=3)  # fmt: skip
        return t.ResNetForImageClassification(config)
    config = t.Dinov2Config(image_size=28, patch_size=7, hidden_size=24, num_hidden_layers=2,
                            num_attention_heads=2, num_labels=3)  # fmt: skip
    return t.Dinov2ForImageClassification(config)


def test_the_shipped_eye():
    eye = vision.load_eye(name="eye")
    assert type(eye).__name__ == "ViTForImageClassification" and not eye.training
    assert eye.num_parameters() <= 500_000
    assert [eye.config.id2label[i] for i in range(len(pictures.LABELS))] == pictures.LABELS
    size = lambda folder: sum(p.stat().st_size for p in folder.iterdir())  # noqa: E731
    assert size(vision.EYE) <= 2e6 and size(vision.EYE) + size(BASE) <= 12e6
    drawn = pictures.scenes(random.Random(5), "test", 300)
    batch = pictures.batch(drawn, np.random.default_rng(5))
    with torch.no_grad():
        logits = eye(pixel_values=batch["pixel_values"]).logits
    assert ((logits > 0) == batch["labels"].bool()).all(1).float().mean() > 0.5


@pytest.mark.parametrize("kind", ["resnet", "dinov2", "eye"])
def test_a_new_head_and_the_grid_of_states(kind, tmp_path, monkeypatch):
    if kind != "eye":
        random_classifier(kind).save_pretrained(tmp_path)
        monkeypatch.setenv(vision.VARIABLE, str(tmp_path))
        assert not vision.is_shipped_eye()
    labels = ["a", "b", "c", "d", "e"]
    torch.manual_seed(3)
    model = vision.load_eye(labels)
    pixels = torch.randn(2, 3, 32, 32)
    wanted = torch.tensor([4, 0])
    out = model(pixel_values=vision.fit(pixels, model), labels=wanted)
    assert out.logits.shape == (2, 5) and model.config.id2label[4] == "e"
    torch.testing.assert_close(out.loss, torch.nn.functional.cross_entropy(out.logits, wanted))
    grid = vision.patch_states(model, pixels)
    assert grid.ndim == 4 and grid.shape[2] == grid.shape[3] > 1


def test_patches_lie_as_in_the_picture():
    """A change in one corner of the picture changes the patch in that corner most."""
    torch.manual_seed(0)
    eye = vision.load_eye(name="eye")
    pixels = torch.zeros(1, 3, 32, 32)
    changed = pixels.clone()
    changed[:, 0, 4:8, 24:28] = 1.0  # row 1, column 6
    with torch.no_grad():
        moved = vision.patch_states(eye, changed) - vision.patch_states(eye, pixels)
    assert divmod(int(moved.norm(dim=1).flatten().argmax()), 8) == (1, 6)


def test_what_is_not_there_is_named(monkeypatch, tmp_path):
    with pytest.raises(OSError, match="unset LORA_COURSE_VISION_MODEL"):
        vision.load_eye(name=str(tmp_path / "none"))
    with pytest.raises(OSError, match="no config.json"):
        vision.load_eye(name=str(tmp_path))


def test_teach_trains_what_requires_a_gradient():
    torch.manual_seed(0)
    truth, model = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
    model.bias.requires_grad_(False)
    start = {name: p.clone() for name, p in model.state_dict().items()}
    pixels = torch.randn(60, 4)
    wanted = pixels @ truth.weight.detach().T + model.bias

    def loss_of(model, pixels, labels):
        assert len(pixels) == 20
        return torch.nn.functional.mse_loss(model(pixels), labels)

    losses = vision.teach(model, pixels, wanted, 0.1, 100, loss_of, size=20)
    assert len(losses) == 100 and losses[-1] < 1e-3 < losses[0]
    assert torch.equal(model.bias, start["bias"])
    model.load_state_dict(start)
    assert vision.teach(model, pixels, wanted, 0.1, 100, loss_of, size=20) == losses
