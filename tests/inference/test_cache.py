"""Kept results: by hash, up to a size and an age, shared without being changed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from backend.inference.cache import Recall, ResultCache, content_key, freeze, size_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def of_bytes(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def test_a_value_is_had_by_its_key_only(clock: Clock) -> None:
    cache = ResultCache(10_000, 60, clock)
    cache.put("a", of_bytes(10))
    assert cache.get("a") is not None and cache.get("b") is None
    cache.forget("a")
    cache.forget("never there")
    assert cache.get("a") is None and len(cache) == 0 and cache.bytes == 0


def test_the_least_recently_used_go_when_it_is_full(clock: Clock) -> None:
    cache = ResultCache(3_500, 60, clock)
    for key in "abc":
        cache.put(key, of_bytes(1_000))
    cache.get("a")
    cache.put("d", of_bytes(1_000))
    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]
    assert 3_000 <= cache.bytes <= 3_500


def test_what_is_larger_than_the_cache_drives_nothing_out(clock: Clock) -> None:
    cache = ResultCache(2_000, 60, clock)
    cache.put("a", of_bytes(1_000))
    cache.put("huge", of_bytes(5_000))
    assert cache.get("huge") is None and cache.get("a") is not None


def test_a_value_put_again_is_counted_once(clock: Clock) -> None:
    cache = ResultCache(10_000, 60, clock)
    cache.put("a", of_bytes(1_000))
    before = cache.bytes
    cache.put("a", of_bytes(1_000))
    assert cache.bytes == before and len(cache) == 1


def test_age_counts_from_when_it_was_put_in_however_often_it_is_asked_for(clock: Clock) -> None:
    cache = ResultCache(10_000, 60, clock)
    cache.put("a", 1)
    clock.now = 30
    cache.put("b", 2)
    clock.now = 59.9
    assert cache.get("a") == 1
    clock.now = 60
    assert cache.get("a") is None and cache.get("b") == 2


def test_it_says_when_there_is_more_to_drop(clock: Clock) -> None:
    cache = ResultCache(10_000, 60, clock)
    assert cache.drop_old() is None
    cache.put("a", 1)
    clock.now = 20
    cache.put("b", 2)
    assert cache.drop_old() == 40
    clock.now = 60
    assert cache.drop_old() == 20 and len(cache) == 1
    clock.now = 80
    assert cache.drop_old() is None and cache.bytes == 0


def test_arrays_that_are_shared_cannot_be_changed() -> None:
    array = np.zeros(3)
    freeze({"x": (array,)})
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@dataclass(frozen=True)
class Holder:
    first: np.ndarray
    rest: tuple[object, ...]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (np.zeros((100, 10), np.float32), 4_000),
        (np.zeros(10_000, np.uint8)[:10], 10_000),  # a view keeps all of it
        (Image.new("RGB", (100, 50)), 15_000),
        ("x" * 3_000, 3_000),
        (pd.DataFrame({"x": np.zeros(1_000)}), 8_000),
        (Holder(np.zeros(500), ({"k": np.zeros(500)}, None)), 8_000),
    ],
)
def test_sizes_are_those_of_the_contents(value: object, size: int) -> None:
    assert size <= size_of(value) <= size + 1_000


def test_what_is_held_twice_is_counted_once() -> None:
    array = np.zeros(10_000, np.uint8)
    assert size_of([array, array, array[:5], array[5:]]) < 11_000


def test_keys_tell_parts_apart() -> None:
    keys = {
        content_key("a", "bc"),
        content_key("ab", "c"),
        content_key(["a", "b"], "c"),
        content_key("a", ["b", "c"]),
        content_key("a", None),
        content_key("a", "null"),
        content_key("a", "\ud800"),  # a lone surrogate is a text as well
    }
    assert len(keys) == 7 and all(len(key) == 64 for key in keys)
    assert content_key("a", ["b"]) == content_key("a", ("b",))


def test_threads_may_share_it() -> None:
    cache = ResultCache(50_000, 60)
    wrong: list[object] = []

    def use(name: int) -> None:
        for turn in range(200):
            cache.put(f"{name}-{turn % 7}", np.full(500, name, np.uint8))
            value = cache.get(f"{name}-{turn % 7}")
            if value is not None and not (value == name).all():  # type: ignore[attr-defined]
                wrong.append(value)

    threads = [threading.Thread(target=use, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and cache.bytes <= 50_000
    cache.clear()
    assert cache.bytes == 0


def test_parts_are_made_once_a_content_and_only_what_is_kept_stays() -> None:
    cache = ResultCache(10_000, 60)
    asked: list[list[int]] = []

    def make(missing: list[int]) -> list[str]:
        asked.append(missing)
        return [f"made {at}" for at in missing]

    first = Recall(cache, "pair", "cpu")
    assert first.once(["a", "b"], make) == ["made 0", "made 1"] and len(cache) == 0
    first.keep()
    assert len(cache) == 2 and len(set(first.keys)) == 2
    again = Recall(cache, "pair", "cpu")
    assert again.once(["c", "b"], make) == ["made 0", "made 1"]
    assert again.once(["a"], make) == ["made 0"]
    assert asked == [[0, 1], [0]], "the parts of the same name are asked for once"
    Recall(cache, "pair", "cuda:0").once(["a"], make)
    Recall(cache, "other", "cpu").once(["a"], make)
    assert asked[2:] == [[0], [0]], "another device, another pair"
    for key in first.keys:
        cache.forget(key)
    assert len(cache) == 0
