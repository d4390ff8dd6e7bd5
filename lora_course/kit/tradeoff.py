"""Two losses at once: what was learned against what was kept.

A run is a point (loss on the new, loss on the old); lower is better on both axes. Biderman et al.
2024, "LoRA Learns Less and Forgets Less", arXiv 2405.09673, section 4.3, plots runs this way.
"""


# owned by chapter 15
def pareto(points):
    """Numbers of the points that no other point beats: the Pareto front, by rising first value.

    points: a list of (new, old). A point is beaten when another one is no worse on both axes and
    better on one. Of equal points all stay. A point with nan is never on the front.
    """

    def beats(p, q):
        return p[0] <= q[0] and p[1] <= q[1] and tuple(p) != tuple(q)

    real = [n for n, p in enumerate(points) if p[0] == p[0] and p[1] == p[1]]
    front = [n for n in real if not any(beats(points[m], points[n]) for m in real)]
    return sorted(front, key=lambda n: tuple(points[n]))


# owned by chapter 15
def kept_at(new, old, level):
    """The loss on the old where the loss on the new first comes down to `level`; nan if never.

    new, old: equally many losses over the steps of one run. Between two measurements a straight
    line counts, so that runs can be compared at equal learning.
    """
    for n, loss in enumerate(new):
        if loss <= level:
            if n == 0 or loss == new[n - 1]:
                return float(old[n])
            share = (new[n - 1] - level) / (new[n - 1] - loss)
            return float(old[n - 1] + share * (old[n] - old[n - 1]))
    return float("nan")
