"""Which samples belong together: given, found, transitively; what crosses; what is missing."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from backend.data.groups import codes_of, components, crossing, examples_of, grouping

NOTHING = np.full(4, -1)
IDS = ["a", "b", "c", "d"]


def union_find(contents: list[np.ndarray]) -> list[int]:
    """The first sample of each sample's component, by the textbook's loop."""
    parent = list(range(len(contents[0])))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for codes in contents:
        first: dict[int, int] = {}
        for at, code in enumerate(codes.tolist()):
            if code >= 0:
                a, b = sorted((root(first.setdefault(code, at)), root(at)))
                parent[b] = a
    return [root(at) for at in range(len(parent))]


@pytest.mark.parametrize("seed", range(6))
def test_samples_are_joined_by_what_they_share_as_by_union_find(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 80))
    contents = [rng.integers(-1, n, n), rng.integers(-1, 2 * n, n)]
    labels, firsts = components(*contents)
    assert firsts[labels].tolist() == union_find(contents)
    assert np.array_equal(firsts, np.sort(firsts))
    found = grouping([f"id{i}" for i in range(n)], [None] * n, *contents)
    sizes = np.bincount(labels)
    assert (found.count, found.largest) == (len(sizes), sizes.max())
    assert found.sharing == sum(size for size in sizes if size > 1)
    if found.how == "found":
        assert found.names.tolist() == [f"id{i}" for i in union_find(contents)]
    else:
        assert found.names is None and len(sizes) == n


def test_an_image_and_a_text_join_three_samples_that_share_nothing_all_three() -> None:
    images, texts = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    found = grouping(IDS, [None] * 4, images, texts)
    assert found.names.tolist() == ["a", "a", "a", "d"]
    assert (found.how, found.count, found.largest, found.sharing) == ("found", 2, 3, 3)
    assert (found.repeats.images, found.repeats.texts) == (2, 2)
    assert found.repeats.examples == (("a", "b"), ("b", "c"))
    assert found.in_words == "2 groups (found), the largest of 3 samples"


def test_samples_without_image_and_text_share_nothing() -> None:
    found = grouping(IDS, [None] * 4, NOTHING, NOTHING)
    assert (found.how, found.names, found.count, found.in_words) == ("none", None, 4, "")


def test_groups_that_are_given_are_not_joined_by_what_is_equal_and_what_crosses_is_named() -> None:
    images, texts = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 2])
    given = grouping(IDS, ["x", "x", "y", "y"], images, texts)
    assert given.names.tolist() == ["x", "x", "y", "y"]
    assert (given.how, given.count, given.holes) == ("given", 2, ())
    assert (given.repeats.images, given.repeats.texts) == (3, 0)
    assert given.repeats.examples == (("a", "c"),)


def test_a_sample_without_a_group_where_others_have_one_is_alone_whatever_it_is_called() -> None:
    given = grouping(["a", "x", "c", "d"], ["x", None, "x", ""], NOTHING, NOTHING)
    assert given.holes == ("x", "d")
    assert given.names.tolist() == ["x", "x (alone)", "x", "d"]
    assert given.count == 3


def test_a_group_a_sample_is_given_and_leaves_everybody_alone() -> None:
    given = grouping(IDS, ["1", "2", "3", "4"], NOTHING, NOTHING)
    assert (given.how, given.names, given.count) == ("given", None, 4)
    assert given.in_words == "4 groups (given)"


@pytest.mark.parametrize("given", [["x"] * 4, [None] * 4])
def test_every_sample_in_one_group_is_one_group(given: list[str | None]) -> None:
    one = grouping(IDS, given, NOTHING, np.zeros(4, dtype=int))
    assert (one.count, one.largest, one.sharing) == (1, 4, 4)
    assert one.names.tolist() == [given[0] or "a"] * 4


def test_contents_are_numbered_as_they_first_occur_across_chunks_and_none_is_no_content() -> None:
    chunks = pa.chunked_array([["b", "a", ""], ["a", None, "c", "b"]])
    assert codes_of(chunks).tolist() == [0, 1, -1, 1, -1, 2, 0]
    assert codes_of(["x", None, "x", ""]).tolist() == [0, -1, 0, -1]
    assert codes_of([b"1", b"2", b"1"]).tolist() == [0, 1, 0]
    assert codes_of([]).tolist() == [] and codes_of([None, None]).tolist() == [-1, -1]


def test_what_crosses_units_is_what_two_of_them_have() -> None:
    contents, units = np.array([0, 0, 1, 1, 2, -1]), np.array([0, 1, 1, 1, 0, 0])
    crosses = crossing(contents, units)
    assert crosses.tolist() == [True, True, False, False, False, False]
    assert examples_of(contents, units, crosses) == ((0, 1),)


def test_a_hundred_thousand_samples_take_no_time() -> None:
    n, rng = 100_000, np.random.default_rng(0)
    ids = np.array([f"id{i}" for i in range(n)], dtype=object)
    texts = pa.chunked_array([[f"a caption, number {i}" for i in rng.integers(0, 10 * n, n)]])
    images = pa.chunked_array([[f"{i:016x}" for i in rng.integers(0, n, n)]])
    components(np.zeros(1, dtype=int))  # imports what it needs
    begun = time.process_time()
    found = grouping(ids, [None] * n, codes_of(images), codes_of(texts))
    assert time.process_time() - begun < 1.5  # 0.3 s on a quiet machine
    assert found.how == "found" and 0 < found.count < n
