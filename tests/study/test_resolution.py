"""Effective dimensions of too few samples: what is said, and what is refused."""

from dataclasses import replace

import pandas as pd
import pytest

from backend.study import StudyRun, fusion_compresses_vision
from backend.study.judging import judge
from backend.study.resolution import Resolution, Size, resolution
from backend.types import StreamSpec
from tests.study.frames import dimensions, measure, runs

WIDTH = 768


def wide(*placements: str) -> tuple[StudyRun, ...]:
    """Runs whose streams are as wide as BERT's."""

    other = {"vision": "text", "text": "vision"}

    def stream(spec: StreamSpec) -> StreamSpec:
        layers = spec.fusion_layers
        return StreamSpec.of(spec.name, spec.name, 4, WIDTH, layers, reads=other[spec.name])

    return tuple(replace(one, streams=tuple(map(stream, one.streams))) for one in runs(*placements))


def early(plain: float, fused: float, n: int, *, modality: str = "vision"):
    """The finding on a stream with dimensions ``plain`` and, from layer 1 on, ``fused``."""
    members, rows = wide("none", "early"), []
    for one in members:
        for stream in ("vision", "text"):
            size = plain if one.placement == "none" else fused * (1 + 0.001 * one.seed)
            rows += dimensions(one, stream, [plain, size, size, size, size])
    found = judge([fusion_compresses_vision(members, pd.DataFrame(rows).assign(n=n))])[0]
    return next(one for one in found.findings if one.subject == f"{modality}, early")


def test_with_ten_samples_a_dimension_nothing_is_added():
    assert resolution([(Size(20, 300), Size(30, 300))]) == Resolution(True)
    assert early(30, 20, 301).verdict == "supported"


@pytest.mark.parametrize("n", [WIDTH, WIDTH + 1, 2 * WIDTH])
def test_an_order_that_is_not_known_is_not_judged(n):
    """Also of more samples than a layer is wide: 205 and 164 true dimensions of 384 read 131 and
    134 at n = 400."""
    one = early(536, 180, n)
    assert (one.verdict, one.tested) == ("described", 0) and one.p != one.p
    assert one.notes == (
        f"Not judged: {n:,} samples for up to 536 dimensions or more do not tell which is larger; "
        "ten samples a dimension would be 5,360 or more.",
    )


def test_an_order_that_is_known_is_judged_and_the_change_is_at_least_that():
    # 40 is trusted at n = 400; 100 is "at least 100", and more than a quarter larger.
    one = early(100, 40, 402)
    assert one.verdict == "supported"
    assert "early fusion is at least 60 % lower than without fusion" in one.sentence
    assert "the true change is larger, by how much is not known" in one.notes[0]
    # 45 is not trusted and hardly larger than 40.
    assert early(45, 40, 402).verdict == "described"
    # Some layers up, others down: no bound.
    mixed = [(Size(100, 402), Size(40, 402)), (Size(40, 402), Size(100, 402))]
    assert not resolution(mixed).enough
    assert resolution(mixed[:1]).at_least
    # Both grow by an unknown factor, so which of them grows more is not known.
    steps = [(Size(20, 256), Size(60, 256)), (Size(20, 256), Size(50, 256))]
    assert resolution(steps).enough and not resolution(steps, nested=True).enough


def test_that_text_stays_as_it_is_takes_numbers_that_are_trusted():
    assert early(100, 100, WIDTH, modality="text").verdict == "described"
    assert early(100, 100, WIDTH + 1, modality="text").verdict == "described"
    assert early(100, 100, 1010, modality="text").verdict == "supported"
    assert early(30, 30, 301, modality="text").verdict == "supported"
    # Known to be larger is not known by how much.
    assert early(30, 100, 301, modality="text").verdict == "described"


@pytest.mark.parametrize(("n", "verdict"), [(WIDTH, "described"), (8000, "supported")])
def test_a_cross_attention_asks_for_the_same(n, verdict):
    members, rows = wide("none", "late"), []
    for one in members:
        rows += dimensions(one, "vision", [1.0, 500, 500, 500, 400])
        if one.placement == "late":
            place = (("vision", 4), ("", -1), 90.0 + 0.1 * one.seed)
            rows.append(measure(one.run_id, "effective_dimension", *place, site="fusion"))
    found = judge([fusion_compresses_vision(members, pd.DataFrame(rows).assign(n=n))])[0]
    assert [one.verdict for one in found.findings] == ["described", verdict]
    assert found.findings[1].notes[0].startswith("Not judged") is (n == WIDTH)
