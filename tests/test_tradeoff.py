import math
import random

import pytest

from lora_course.kit.tradeoff import kept_at, pareto


def by_definition(points):
    """Slowly, one point against every other."""
    front = []
    for n, (a, b) in enumerate(points):
        others = [p for m, p in enumerate(points) if m != n]
        beaten = any((c <= a and d < b) or (c < a and d <= b) for c, d in others)
        if not beaten:
            front.append(n)
    return front


def test_pareto_against_the_definition():
    rng = random.Random(0)
    for _ in range(300):
        points = [(rng.randrange(5), rng.randrange(5)) for _ in range(rng.randrange(1, 9))]
        assert sorted(pareto(points)) == by_definition(points)


def test_pareto_is_sorted_keeps_twins_and_leaves_out_diverged_runs():
    points = [(3, 1), (1, 3), (2, 2), (2, 2), (2, 3), (math.nan, 0), (0, math.nan)]
    assert pareto(points) == [1, 2, 3, 0]
    assert pareto([]) == []


def test_kept_at_a_level():
    new, old = [4.0, 2.0, 1.0], [1.0, 2.0, 6.0]
    assert kept_at(new, old, 2.0) == 2.0
    assert kept_at(new, old, 3.0) == pytest.approx(1.5)
    assert kept_at(new, old, 1.25) == pytest.approx(5.0)
    assert kept_at(new, old, 9.0) == 1.0
    assert math.isnan(kept_at(new, old, 0.5))
    assert kept_at([4.0, 1.0, 5.0], old, 4.0) == 1.0
