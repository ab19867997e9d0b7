"""Streams in run.json: short enough to read, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from backend.store.streams import StreamInfo, parsed_sites, stream_summary, written_sites
from backend.types import Meet, Site, StreamSpec

WIDE = tuple(Site(k, 1024) for k in range(25))
CASES = {
    "one width": (WIDE, ["0-24:1024"]),
    "one layer": ((Site(0, 8),), ["0:8"]),
    "named sites": (
        (*WIDE[:13], Site(12, 1024, "norm"), Site(12, 512, "projected", True)),
        ["0-12:1024", "12.norm:1024", "12.projected:512 pooled"],
    ),
    "fusion between": (
        StreamSpec.of("text", "text", 5, 8, (3, 4)).sites,
        ["0-2:8", "3.fusion:8", "3:8", "4.fusion:8", "4-5:8"],
    ),
    "widths that change": (
        (Site(0, 8), Site(1, 8), Site(2, 16), Site(3, 8)),
        ["0-1:8", "2:16", "3:8"],
    ),
    "a pooled layer": ((Site(0, 8), Site(1, 8, pooled=True)), ["0:8", "1:8 pooled"]),
}


@pytest.mark.parametrize("case", CASES)
def test_sites_are_written_in_few_words_and_read_back(case: str) -> None:
    sites, written = CASES[case]
    assert written_sites(sites) == written
    assert parsed_sites(written) == tuple(sites)


@pytest.mark.parametrize(
    "entry",
    ["4", "4:0", "4:-1", "04:8", "4.:8", "4.Norm:8", "0-4.norm:8", "4:8 Pooled", "4:8\n", ""],
)
def test_what_is_no_site_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a site"):
        parsed_sites([entry])


def test_a_stream_is_the_same_after_it_was_written() -> None:
    spec = StreamSpec(
        "text_decoder",
        "text",
        (Site(0, 8), Site(1, 8), Site(2, 8, "cross"), Site(2, 8), Site(2, 4, "projected", True)),
        (Meet(2, "gated", "vision", "2.cross"), Meet(2, "loss", "vision", "2.projected")),
        ("mean",),
        "Its last layer is not read.",
    )
    info = StreamInfo.of(spec)
    assert info.spec == spec
    assert StreamInfo.model_validate_json(info.model_dump_json()).spec == spec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sites": ["0:8", "2:8"]}, r"must be 0, 1, \.\.\., depth"),
        ({"sites": []}, r"must be 0, 1, \.\.\., depth"),
        ({"sites": ["0:8", "0.a:8", "0.a:8"]}, "declares a site twice"),
        ({"sites": ["0-1:8", "4.norm:8"]}, "does not lie beside"),
        ({"poolings": ["cls", "cls"]}, "twice"),
        ({"poolings": ["tokens"]}, "poolings"),
        ({"modality": "a b"}, "modality"),
        ({"meets": [{"layer": 1, "how": "co", "reads": "b", "site": "9"}]}, "none of its sites"),
        ({"meets": [{"layer": 1, "how": "by", "reads": "b", "site": "1"}]}, "how"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    raw = {"name": "a", "modality": "text", "sites": ["0-1:8"], "poolings": ["cls"]}
    StreamInfo.model_validate(raw)
    with pytest.raises(ValidationError, match=said):
        StreamInfo.model_validate(raw | changes)


def test_any_modality_has_a_stream() -> None:
    assert StreamInfo.of(StreamSpec.of("sound", "audio", 1, 4)).spec.modality == "audio"


def test_a_summary_has_what_listings_promise() -> None:
    assert stream_summary(StreamSpec.of("text", "text", 4, 8, (2, 3))) == {
        "name": "text",
        "modality": "text",
        "depth": 4,
        "width": 8,
        "fusion_layers": [2, 3],
    }


def test_a_declared_space_is_written_and_no_space_leaves_no_trace() -> None:
    alone = StreamInfo.of(StreamSpec.of("text", "text", 1, 8))
    assert "space" not in alone.model_dump_json()
    assert StreamInfo.model_validate_json(alone.model_dump_json()).spec.space == ""
    shared = StreamInfo.of(replace(alone.spec, space="clip"))
    assert '"space":"clip"' in shared.model_dump_json()
    assert StreamInfo.model_validate_json(shared.model_dump_json()).spec == shared.spec
    with pytest.raises(ValidationError, match="space"):
        StreamInfo.model_validate(alone.model_dump() | {"space": "a b"})
