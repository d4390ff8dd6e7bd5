"""Pictures of the town: colored things in four places, 32 x 32 pixels, in changing light.

A scene says what is in a picture; `paint` makes the picture, with noise, never twice the same.
The split of a scene is read off the scene itself: no two splits share one.
"""

from typing import NamedTuple
from zlib import crc32

import numpy as np

from lora_course.kit.town.world import PREPOSITION

SIZE = 32  # pixels, both ways
SHAPES = {  # 11 x 11 pixels of every thing
    "key": "..###......|.#...#.....|.#...#.....|.#...#.....|..###......|...#.......|...#.......|"
    "...###.....|...#.......|...###.....|...#.......",
    "ladder": "..#.....#..|..#.....#..|..#######..|..#.....#..|..#.....#..|..#######..|"
    "..#.....#..|..#.....#..|..#######..|..#.....#..|..#.....#..",
    "hammer": "..#######..|..#######..|..#######..|.....#.....|.....#.....|.....#.....|"
    ".....#.....|.....#.....|.....#.....|.....#.....|.....#.....",
    "clock": "...#####...|..#.....#..|.#...#...#.|#....#....#|#....#....#|#....####.#|"
    "#.........#|#.........#|.#.......#.|..#.....#..|...#####...",
    "letter": "...........|...........|###########|##.......##|#.#.....#.#|#..#...#..#|"
    "#...#.#...#|#....#....#|#.........#|###########|...........",
    "candle": ".....#.....|....##.....|....##.....|...........|....###....|....###....|"
    "....###....|....###....|....###....|....###....|..#######..",
    "hat": "...........|...#####...|...#####...|...#####...|...#####...|...#####...|"
    "...#####...|###########|###########|...........|...........",
    "bucket": "...#####...|..#.....#..|.#.......#.|###########|.#########.|.#########.|"
    ".#########.|..#######..|..#######..|..#######..|...........",
}
COLORS = {
    "red": (0.90, 0.10, 0.10),
    "blue": (0.15, 0.25, 0.95),
    "green": (0.10, 0.80, 0.20),
    "yellow": (0.95, 0.90, 0.10),
    "white": (1.00, 1.00, 1.00),
    "black": (0.02, 0.02, 0.02),
}
PLACES = {  # ground color; the pattern is drawn in `ground`
    "garden": (0.45, 0.60, 0.35),
    "harbor": (0.40, 0.55, 0.65),
    "barn": (0.60, 0.47, 0.35),
    "tower": (0.52, 0.50, 0.50),
}
PAIRS = [f"{color} {thing}" for thing in SHAPES for color in COLORS]
LABELS = PAIRS + [f"{thing} {PREPOSITION[place]} {place}" for thing in SHAPES for place in PLACES]
MASKS = {
    name: np.array([[c == "#" for c in row] for row in rows.split("|")], np.float32)
    for name, rows in SHAPES.items()
}


class Scene(NamedTuple):
    """The place in each quarter, row by row, and the things as (thing, color, quarter 0 to 3).

    No two things of a scene share their name, color or quarter: each question has one answer.
    """

    places: tuple
    things: tuple


def draw_scene(rng):
    """All four places, and one to three things in them. rng: a random.Random."""
    count = rng.randint(1, 3)
    drawn = (rng.sample(pool, count) for pool in (list(SHAPES), list(COLORS), range(4)))
    places = tuple(rng.sample(list(PLACES), 4))
    return Scene(places, tuple(sorted(zip(*drawn, strict=True))))


def split_of(scene):
    """ "test" for one scene in ten, "validation" for one in ten, "train" for the others."""
    return {0: "test", 1: "validation"}.get(crc32(repr(scene).encode()) % 10, "train")


def scenes(rng, split, count):
    """`count` scenes of a split."""
    made = []
    while len(made) < count:
        scene = draw_scene(rng)
        if split_of(scene) == split:
            made.append(scene)
    return made


def ground(place, noise):
    """The ground of a place, (16, 16, 3). noise: a numpy Generator."""
    y, x = np.mgrid[:16, :16] + noise.integers(0, 8, (2, 1, 1))
    pattern = {
        "garden": noise.random((16, 16)) < 0.15,  # blades of grass
        "harbor": np.sin(x / 2 + y * 1.5) > 0.6,  # waves
        "barn": x % 6 == 0,  # planks
        "tower": (y % 6 == 0) | ((x + 4 * (y // 6 % 2)) % 8 == 0),  # bricks
    }[place]
    return np.array(PLACES[place], np.float32) * (1 - 0.25 * pattern[..., None])


def paint(scene, noise):
    """A picture of the scene, (3, 32, 32), float32 in [0, 1]. noise: a numpy Generator."""
    grounds = [ground(place, noise) for place in scene.places]
    picture = np.concatenate([np.hstack(grounds[:2]), np.hstack(grounds[2:])])
    for thing, color, quarter in scene.things:
        mask = MASKS[thing][..., None]
        top, left = noise.integers(0, 6, 2) + np.array(divmod(quarter, 2)) * 16
        hue = np.array(COLORS[color], np.float32) + noise.normal(0, 0.03, 3)
        patch = picture[top : top + 11, left : left + 11]
        patch += mask * (hue - patch)
    slope = noise.uniform(-0.15, 0.15, 2) @ (np.mgrid[:SIZE, :SIZE].reshape(2, -1) / SIZE - 0.5)
    light = noise.uniform(0.7, 1.1) + slope.reshape(SIZE, SIZE, 1)  # it comes from one side
    picture = picture * light + noise.normal(0, 0.04, picture.shape)
    return picture.clip(0, 1).astype(np.float32).transpose(2, 0, 1)


def batch(drawn, noise):
    """Pictures of the scenes `drawn`, as a vision model of transformers takes them.

    pixel_values: (B, 3, 32, 32), in [-1, 1]. labels: (B, labels), 1.0 for every one of LABELS that
    is right. pairs: (B, 4), for each quarter the place in PAIRS of what is there, or len(PAIRS).
    places: (B, 4), the place in PLACES.
    """
    import torch

    labels = torch.zeros(len(drawn), len(LABELS))
    pairs = torch.full((len(drawn), 4), len(PAIRS))
    places = torch.tensor(
        [[list(PLACES).index(place) for place in scene.places] for scene in drawn]
    )
    for row, scene in enumerate(drawn):
        for thing, color, quarter in scene.things:
            at, pair = scene.places[quarter], PAIRS.index(f"{color} {thing}")
            labels[row, [pair, LABELS.index(f"{thing} {PREPOSITION[at]} {at}")]] = 1
            pairs[row, quarter] = pair
    pixels = torch.from_numpy(np.stack([paint(scene, noise) for scene in drawn]))
    return {"pixel_values": 2 * pixels - 1, "labels": labels, "pairs": pairs, "places": places}


def picture_question(rng, scene, kinds=("color", "color", "color", "thing", "place")):
    """A question about a scene: (kind, question, answer), the answer one word.

    kinds: what is drawn from. Colors are asked most often: base has never looked one up.
    """
    kind, (thing, color, quarter) = rng.choice(kinds), rng.choice(scene.things)
    place = scene.places[quarter]
    return kind, *{
        "color": (f"What color is the {thing}?", color),
        "thing": (f"What is {PREPOSITION[place]} {place}?", thing),
        "place": (f"Where is the {thing}?", place),
    }[kind]
