"""Every point of the search space is a placement, and every placement has points."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.models.placement import Placement, check_placement, parse_placement
from backend.search.sampling import in_memory, suggest
from backend.search.space import Space, space_of, subset

UNIT = st.floats(0, 1)


@given(st.data())
def test_any_numbers_are_an_increasing_list_within_the_stream(data: st.DataObject) -> None:
    among = data.draw(st.integers(1, 24))
    parts = data.draw(st.lists(UNIT, max_size=min(among, 6)))
    chosen = subset(parts, among)
    assert len(chosen) == len(parts)
    assert all(a < b for a, b in pairwise(chosen))
    assert not chosen or (chosen[0] >= 0 and chosen[-1] < among)


def test_uniform_numbers_make_every_list_equally_likely() -> None:
    draws = np.random.default_rng(0).random((20_000, 2))
    counts = Counter(subset(row, 5) for row in draws.tolist())
    assert set(counts) == set(combinations(range(5), 2))
    # 2,000 each; a sampler that goes from layer to layer would give the last pair three times that.
    assert max(abs(count - 2_000) for count in counts.values()) < 200


def test_the_ends_of_the_interval_are_the_ends_of_the_stream() -> None:
    assert subset([0.0] * 3, 12) == (0, 1, 2)
    assert subset([1.0] * 3, 12) == (9, 10, 11)
    lowest = [subset([float(part), 0.5], 12)[0] for part in np.linspace(0, 1, 50)]
    assert lowest == sorted(lowest)


@pytest.mark.parametrize(
    ("symmetric", "frozen"), [(False, (0, 0)), (True, (0, 0)), (False, (1, 2))]
)
def test_the_random_sampler_finds_every_placement_and_nothing_else(
    symmetric: bool, frozen: tuple[int, int]
) -> None:
    space = space_of((3, 4), fewest=0, most=2, symmetric=symmetric, frozen=frozen)
    found = set()
    for trial in range(400):
        study = in_memory([])
        params = study.ask(space.distributions()).params if not trial else _drawn(space, trial)
        text, vision = space.layers(params)
        check_placement(Placement("", text, vision), text_depth=3, vision_depth=4)
        assert all(k > frozen[0] for k in text)
        assert all(k > frozen[1] for k in vision)
        found.add((text, vision))
    assert len(found) == space.size


def _drawn(space: Space, seed: int) -> dict[str, object]:
    return suggest(space, "random", seed, [])


def test_symmetric_means_the_same_relative_depth() -> None:
    space = space_of((6, 12), fewest=6, most=6, symmetric=True)
    params = suggest(space, "random", 0, [])
    full = parse_placement("full", text_depth=6, vision_depth=12)
    assert space.layers(params) == (full.text, full.vision)
    assert space.size == 1
    low = space_of((6, 12), fewest=1, most=None, symmetric=True, frozen=(2, 9))
    assert (low.text, low.vision) == ((5, 6), (10, 12))
    for t, v in zip(low.text, low.vision, strict=True):
        assert Fraction(t, 6) == Fraction(v, 12)


def test_the_size_counts_both_streams() -> None:
    space = space_of((6, 12), fewest=1, most=2)
    assert space.size == 6 * 12 + comb(6, 2) * comb(12, 2)
    assert space_of((3, 12), fewest=1, most=None).most == 3
    assert space_of((12, 12), fewest=1, most=None).most == 4


@pytest.mark.parametrize(
    ("fewest", "most", "frozen", "said"),
    [
        (1, 7, (0, 0), "7 fusions do not fit: there are 6 layers"),
        (1, 3, (4, 0), "3 fusions do not fit: there are 2 layers"),
        (3, 2, (0, 0), "at least 3 and at most 2 fusions"),
        (1, None, (6, 0), "at least 1 and at most 0 fusions"),
    ],
)
def test_a_space_without_placements_is_refused(
    fewest: int, most: int | None, frozen: tuple[int, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        space_of((6, 12), fewest=fewest, most=most, frozen=frozen)
