"""Named placements mean the same relative depth in any encoders; impossible ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InputError
from backend.models.placement import (
    NAMES,
    Placement,
    check_placement,
    name_of,
    parse_placement,
)


def parse(text: str, t: int = 12, v: int = 12) -> Placement:
    return parse_placement(text, text_depth=t, vision_depth=v)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("none", ()),
        ("full", tuple(range(1, 13))),
        ("earliest", (1, 2, 3)),
        ("early", (4, 5, 6)),
        ("middle", (7, 8, 9)),
        ("late", (10, 11, 12)),
    ],
)
def test_names_on_twelve_layers_are_those_of_the_literature(
    name: str, layers: tuple[int, ...]
) -> None:
    assert parse(name) == Placement(name, layers, layers)


def test_asymmetric_is_per_stream() -> None:
    assert parse("asymmetric").pairs == ((7, 4), (8, 6), (9, 8), (10, 10))


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("searched_1", ((4, 7), (7, 9))),
        ("searched_2", ((8, 7), (10, 8), (11, 10), (12, 11))),
        ("hybrid_1", ((4, 4), (5, 5), (11, 11))),
        ("hybrid_2", ((5, 5), (11, 11), (12, 12))),
    ],
)
def test_published_lists_on_twelve_layers(name: str, pairs: tuple[tuple[int, int], ...]) -> None:
    assert parse(name).pairs == pairs
    assert parse(name).name == name


@pytest.mark.parametrize(
    ("name", "text", "vision"),
    [
        ("early", (2, 3), (5, 6)),
        ("middle", (4, 5), (8, 9)),
        ("late", (5, 6), (11, 12)),
        ("full", (1, 2, 3, 4, 5, 6), (2, 4, 6, 8, 10, 12)),
        ("asymmetric", (4, 5), (6, 10)),
        ("searched_1", (2, 4), (7, 9)),
        ("searched_2", (4, 5, 6), (7, 8, 11)),
        ("hybrid_1", (2, 3, 6), (4, 5, 11)),
        ("hybrid_2", (3, 6), (5, 12)),
    ],
)
def test_streams_of_different_depth(
    name: str, text: tuple[int, ...], vision: tuple[int, ...]
) -> None:
    assert parse(name, 6, 12) == Placement(name, text, vision)


def test_explicit_lists_are_one_based_and_per_stream() -> None:
    assert parse("text=7,8;vision=4,6").pairs == ((7, 4), (8, 6))


def test_lists_that_have_a_name_get_it() -> None:
    assert parse("vision=10,11,12; text=10,11,12").name == "late"
    assert parse("text=7,8;vision=4,6").name == "t7,8-v4,6"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latest", "'latest': no placement is called so"),
        (
            "text=13;vision=12",
            "fusion layer 13 is outside the text encoder, whose layers are 1..12",
        ),
        ("text=0;vision=1", "fusion layer 0 is outside"),
        ("text=1,2;vision=3", "must be equally long"),
        ("text=2,2;vision=3,4", "increasing"),
        ("text=3,2;vision=3,4", "increasing"),
        ("text=1", "both streams"),
        ("text=1;text=2", "given twice"),
        ("audio=1;vision=2", "'audio' is not a stream"),
        ("text=a;vision=2", "not a list of layer numbers"),
    ],
)
def test_impossible_placements_say_why_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_published_lists_spread_over_deeper_encoders() -> None:
    assert parse("hybrid_2", 24, 24).pairs == ((10, 10), (22, 22), (24, 24))


@given(st.sampled_from(NAMES), st.integers(1, 48), st.integers(1, 48))
def test_every_name_fits_every_depth_and_says_its_own_name(name: str, t: int, v: int) -> None:
    placement = check_placement(parse(name, t, v), text_depth=t, vision_depth=v)
    assert placement.name == name
    assert bool(placement.pairs) == (name != "none")


@given(
    st.sampled_from(NAMES),
    st.integers(4, 48),
    st.integers(4, 48),
)
def test_lists_are_recognised_unless_an_earlier_name_means_the_same(
    name: str, t: int, v: int
) -> None:
    placement = parse(name, t, v)
    found = name_of(placement.text, placement.vision, t, v)
    assert parse(found, t, v).pairs == placement.pairs
    if name in ("none", "full", "earliest", "early", "middle", "late") or min(t, v) >= 12:
        assert found == name
