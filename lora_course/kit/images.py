"""Pictures to adapt a vision model to: real handwritten digits, and surfaces with defects.

Digits: the set that scikit-learn carries, 1797 of them in 8 x 8 pixels (Alpaydin and Kaynak 1998,
UCI repository). Surfaces: drawn here, with a class for every pixel.
"""

import numpy as np
import torch

SIZE = 32  # pixels, both ways
DEFECTS = ("good", "scratch", "stain")


def load_digits_split(seed, per_class=10):
    """{"train": (pixels, labels), "test": ...}: `per_class` digits of each kind, and 500 others.

    pixels: (N, 3, 32, 32) in [-1, 1]. labels: (N,), 0 to 9. seed: which digits; the two share none.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(seed))
    pixels = torch.tensor(found.images, dtype=torch.float32)[order] / 8 - 1  # (N, 8, 8), were 0..16
    labels = torch.tensor(found.target)[order]
    nth = torch.stack([(labels == digit).cumsum(0) for digit in range(10)], 1)
    nth = nth.gather(1, labels[:, None])[:, 0]  # the how manieth of its kind
    places = {"train": nth <= per_class}
    places["test"] = (nth > per_class) & ((nth > per_class).cumsum(0) <= 500)
    made = {}
    for split, place in places.items():
        wide = torch.nn.functional.interpolate(
            pixels[place][:, None], (SIZE, SIZE), mode="bilinear", align_corners=False
        )
        made[split] = wide.expand(-1, 3, -1, -1).contiguous(), labels[place]
    return made


def surfaces(seed, count):
    """Brushed metal with scratches and stains: (pixels, masks).

    pixels: (count, 3, 32, 32) in [-1, 1]. masks: (count, 32, 32), for each pixel its place in
    DEFECTS. Different seeds give different pictures; some have no defect.
    """
    rng = np.random.default_rng([16, seed])
    pixels = np.empty((count, SIZE, SIZE, 3), np.float32)
    masks = np.zeros((count, SIZE, SIZE), np.int64)
    for picture, mask in zip(pixels, masks, strict=True):
        lines = (
            rng.normal(0, 0.06, (SIZE, 1)) if rng.random() < 0.5 else rng.normal(0, 0.06, (1, SIZE))
        )
        grey = rng.uniform(0.4, 0.7) + lines + rng.normal(0, 0.03, (SIZE, SIZE))
        picture[:] = grey[..., None] * rng.uniform(0.9, 1.1, 3)
        for _ in range(0 if rng.random() < 0.2 else rng.integers(1, 3)):
            where = stain(rng)
            mask[where] = 2
            picture[where] *= rng.uniform(0.55, 0.8, 3)
        for _ in range(0 if not mask.any() and rng.random() < 0.4 else rng.integers(0, 3)):
            where = scratch(rng)
            mask[where] = 1
            picture[where] += rng.choice((-0.25, 0.25))
    picture_first = torch.from_numpy(pixels.clip(0, 1)).permute(0, 3, 1, 2).contiguous()
    return 2 * picture_first - 1, torch.from_numpy(masks)


def stain(rng):
    """The pixels of a blot, (32, 32) of bool."""
    y, x = np.mgrid[:SIZE, :SIZE]
    (cy, cx), (ry, rx) = rng.uniform(4, 28, 2), rng.uniform(3, 7, 2)
    wave = 1 + 0.25 * np.sin(3 * np.arctan2(y - cy, x - cx) + rng.uniform(0, 6))
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < wave**2


def scratch(rng):
    """The pixels of a thin straight line, (32, 32) of bool."""
    start, angle, length = rng.uniform(2, 30, 2), rng.uniform(0, np.pi), rng.uniform(10, 26)
    along = np.linspace(-length / 2, length / 2, 80)
    places = np.rint(start[:, None] + along * np.array([[np.sin(angle)], [np.cos(angle)]])).astype(
        int
    )
    places = places[:, ((places >= 0) & (places < SIZE)).all(0)]
    made = np.zeros((SIZE, SIZE), bool)
    made[tuple(places)] = True
    return made


def strip(axes, pixels):
    """Draw pictures side by side, one in each of the axes. pixels: (n, 3, H, W) in [-1, 1]."""
    for ax, picture in zip(axes, pixels, strict=True):
        ax.imshow((picture.permute(1, 2, 0).cpu() + 1) / 2)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
