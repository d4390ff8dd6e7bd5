"""Adapters on disk, and as many of them in memory as there is room for.

S-LoRA (Sheng et al. 2023, arXiv 2311.03285) keeps all adapters in main memory and fetches those of
the running requests to the GPU. The question is the same one level up, between disk and memory:
which one goes when there is no room?
"""

import random
from collections import Counter

RULES = ("recent", "popular")  # owned by chapter 18


# owned by chapter 18
class AdapterCache:
    """Adapters by name; what is not held is loaded, and what does not fit goes.

    load: name -> adapter. size: adapter -> bytes. capacity: bytes that may be held.
    rule: "recent" lets go of the one that was asked for longest ago (LRU); "popular" of the one
    asked for least often so far (LFU), of equals the one unused for longest.
    held: {name: adapter}, longest unused first. bytes: of these. hits, misses: so far.
    Raises ValueError for another rule, and in get() for an adapter larger than the capacity.
    """

    def __init__(self, load, size, capacity, rule="recent"):
        if rule not in RULES:
            raise ValueError(f"rule={rule!r}; expected {' or '.join(map(repr, RULES))}.")
        self.load, self.size, self.capacity, self.rule = load, size, capacity, rule
        self.held, self.asked = {}, Counter()
        self.bytes = self.hits = self.misses = 0

    def get(self, name):
        """The adapter of that name, from memory or, a miss, from disk."""
        self.asked[name] += 1
        if name in self.held:
            self.hits += 1
            self.held[name] = self.held.pop(name)  # to the end: used last
            return self.held[name]
        adapter = self.load(name)
        need = self.size(adapter)
        if need > self.capacity:
            raise ValueError(f"{name} has {need:,} bytes, and the cache holds {self.capacity:,}.")
        self.misses += 1
        while self.bytes + need > self.capacity:
            self.bytes -= self.size(self.held.pop(self.victim()))
        self.held[name], self.bytes = adapter, self.bytes + need
        return adapter

    def victim(self):
        """The name that goes next."""
        return (
            next(iter(self.held)) if self.rule == "recent" else min(self.held, key=self.asked.get)
        )


# owned by chapter 18
def adapter_bytes(adapter):
    """Bytes of an adapter in memory. adapter: (factors, scaling), factors {name: tensor}."""
    return sum(tensor.nbytes for tensor in adapter[0].values())


# owned by chapter 18
def zipf(count, requests, seed, exponent=1.0):
    """A trace of requests, whole numbers below `count`: number k is asked for with a weight of
    1 / (k + 1) ** exponent (Zipf's law: few are popular, most are rare)."""
    weights = [1 / (k + 1) ** exponent for k in range(count)]
    return random.Random(seed).choices(range(count), weights, k=requests)
