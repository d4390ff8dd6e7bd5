"""cache.py against rules worked out by hand, and against an independent replay of long traces."""

from collections import Counter, OrderedDict

import pytest
import torch

from lora_course.fast.cache import AdapterCache, adapter_bytes, zipf


def replay(trace, capacity, rule="recent", sizes=None):
    """(cache, names loaded) after a trace; an adapter is its own name, of size 1 or sizes[name]."""
    loaded = []
    cache = AdapterCache(
        lambda name: loaded.append(name) or name, lambda a: sizes[a] if sizes else 1, capacity, rule
    )
    for name in trace:
        assert cache.get(name) == name
        assert cache.bytes == sum(sizes[n] if sizes else 1 for n in cache.held) <= capacity
    return cache, loaded


def test_recent_lets_go_of_what_was_used_longest_ago():
    cache, loaded = replay("abcabd", 3)
    assert list(cache.held) == ["a", "b", "d"] and loaded == ["a", "b", "c", "d"]
    assert (cache.hits, cache.misses) == (2, 4)


def test_popular_lets_go_of_what_was_asked_for_least():
    cache, _ = replay("aabbbcd", 3, "popular")
    assert list(cache.held) == ["a", "b", "d"]  # c, asked for once, went
    cache, _ = replay("aabbbcdc", 3, "popular")
    assert set(cache.held) == {"a", "b", "c"}  # and d, also once, when c came back
    cache, _ = replay("abc", 2, "popular")
    assert list(cache.held) == ["b", "c"]  # of two equals the older one


def test_bytes_count_and_several_may_have_to_go():
    sizes = {"a": 3, "b": 4, "c": 2, "d": 6}
    cache, _ = replay("abcd", 9, sizes=sizes)
    assert list(cache.held) == ["c", "d"] and cache.bytes == 8
    with pytest.raises(ValueError, match="e has 10 bytes, and the cache holds 9"):
        cache = AdapterCache(str, lambda a: 10, 9)
        cache.get("e")
    assert (cache.hits, cache.misses, cache.held) == (0, 0, {})


@pytest.mark.parametrize("seed", range(3))
def test_against_another_way_to_write_it(seed):
    trace, room = zipf(20, 400, seed), 5
    order, recent = OrderedDict(), 0
    for name in trace:
        recent += name in order
        order[name] = order.pop(name, None)
        if len(order) > room:
            order.popitem(last=False)
    assert replay(trace, room)[0].hits == recent

    asked, since, held, popular = Counter(), {}, set(), 0
    for when, name in enumerate(trace):
        asked[name] += 1
        popular += name in held
        if name not in held and len(held) == room:
            held.remove(min(held, key=lambda n: (asked[n], since[n])))
        held.add(name)
        since[name] = when
    assert replay(trace, room, "popular")[0].hits == popular


def test_another_rule_is_refused():
    with pytest.raises(ValueError, match="rule='oldest'; expected 'recent' or 'popular'"):
        AdapterCache(str, len, 9, "oldest")


def test_bytes_of_an_adapter():
    factors = {"a.lora_A": torch.ones(2, 5), "a.lora_B": torch.ones(3, 2, dtype=torch.bfloat16)}
    assert adapter_bytes((factors, 2.0)) == 2 * 5 * 4 + 3 * 2 * 2


def test_a_trace_follows_zipf_and_its_seed():
    trace = zipf(8, 40_000, seed=1)
    assert trace == zipf(8, 40_000, seed=1) != zipf(8, 40_000, seed=2)
    counts, total = Counter(trace), sum(1 / k for k in range(1, 9))
    for k in range(8):
        assert counts[k] / 40_000 == pytest.approx(1 / (k + 1) / total, abs=0.01)
    flat = Counter(zipf(8, 40_000, seed=1, exponent=0))
    assert max(flat.values()) / 40_000 == pytest.approx(1 / 8, abs=0.01)
