"""images.py: digits in splits by seed, surfaces whose masks lie where the defects are."""

import pytest
import torch

from lora_course.kit.images import DEFECTS, load_digits_split, strip, surfaces


def test_digits():
    from sklearn.datasets import load_digits

    first, again, other = load_digits_split(0), load_digits_split(0), load_digits_split(1)
    for made in (first, other):
        pixels, labels = made["train"]
        assert labels.bincount().tolist() == [10] * 10
        assert pixels.shape == (100, 3, 32, 32) and made["test"][0].shape == (500, 3, 32, 32)
        assert pixels.min() >= -1 and pixels.max() <= 1
        flat = [{tuple(p) for p in part[0][:, 0].flatten(1).tolist()} for part in made.values()]
        assert not flat[0] & flat[1]
    assert torch.equal(first["train"][0], again["train"][0])
    assert not torch.equal(first["train"][0], other["train"][0])
    small = torch.nn.functional.avg_pool2d(first["train"][0][:, :1], 4)[:, 0]  # about 8 x 8 again
    found = load_digits()
    known = torch.tensor(found.images, dtype=torch.float32) / 8 - 1
    nearest = torch.cdist(small.flatten(1), known.flatten(1)).argmin(1)
    assert (torch.tensor(found.target)[nearest] == first["train"][1]).float().mean() > 0.98


@pytest.mark.parametrize("per_class", [1, 5])
def test_fewer_digits(per_class):
    made = load_digits_split(3, per_class)
    assert made["train"][1].bincount().tolist() == [per_class] * 10
    assert len(made["test"][1]) == 500


def test_surfaces():
    pixels, masks = surfaces(0, 200)
    assert pixels.shape == (200, 3, 32, 32) and masks.shape == (200, 32, 32)
    assert pixels.min() >= -1 and pixels.max() <= 1 and masks.dtype == torch.int64
    assert set(masks.unique().tolist()) == set(range(len(DEFECTS)))
    clean = (masks == 0).flatten(1).all(1).float().mean()
    assert 0.02 < clean < 0.3
    again, other = surfaces(0, 200)[0], surfaces(1, 200)[0]
    assert torch.equal(pixels, again) and not torch.equal(pixels, other)
    grey = pixels.mean(1)
    level = torch.stack([g[m == 0].median() for g, m in zip(grey, masks, strict=True)])
    off = (grey - level[:, None, None]).abs()
    assert off[masks == 1].mean() > 2 * off[masks == 0].mean()
    assert off[masks == 2].mean() > 2 * off[masks == 0].mean()


def test_strip():
    from lora_course.kit.plots import figure

    pixels = torch.stack([torch.full((3, 4, 4), -1.0), torch.full((3, 4, 4), 1.0)])
    _, axes = figure(2, 1, ncols=2)
    strip(axes, pixels)
    assert [ax.images[0].get_array().mean() for ax in axes] == [0, 1]
    with pytest.raises(ValueError):
        strip(axes, pixels[:1])
