"""Runs of version 1 are read for ever, and stay on disk as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import InputError
from backend.store import Manifest
from backend.types import Meet, StreamSpec

VERSION_1 = (Path(__file__).parent / "run_version_1.json").read_bytes()


def read(raw: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(raw), where="run.json")


@pytest.fixture
def raw() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(VERSION_1)
    return made


def test_a_run_of_version_1_has_the_streams_that_it_always_had(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(VERSION_1)
    manifest = Manifest.read(path)
    vision, text = manifest.streams
    assert vision == StreamSpec.of("vision", "vision", 12, 48, (4, 5, 6), reads="text")
    assert text == StreamSpec.of("text", "text", 12, 48, (4, 5, 6), reads="vision")
    assert text.meets[0] == Meet(4, "co", "vision", "4.fusion")
    assert (manifest.schema_version, manifest.label, manifest.seed) == (4, "early", 0)
    assert manifest.placement is not None and manifest.placement.text == (4, 5, 6)
    assert (manifest.model.digest, manifest.model.revision) == ("bc6c218cc9d08323", "")
    assert manifest.dataset.n == 256 and len(manifest.captures) == 2 * 2 * 16
    assert path.read_bytes() == VERSION_1


def test_what_is_upgraded_can_be_written_and_read_as_the_present_version(
    raw: dict[str, Any],
) -> None:
    manifest = read(raw)
    assert Manifest.from_json(manifest.to_json(), where="again") == manifest
    assert not manifest.parts and json.loads(manifest.to_json())["parts"] is False


def test_who_reads_whom_is_open_where_there_are_not_two_streams(raw: dict[str, Any]) -> None:
    streams = raw["model"]["streams"]
    streams.append({**streams[0], "name": "audio", "modality": "fused"})
    assert {meet.reads for spec in read(raw).streams for meet in spec.meets} == {""}
    raw["model"]["streams"] = streams[:1]
    assert {meet.reads for spec in read(raw).streams for meet in spec.meets} == {""}


def test_a_released_model_of_version_1_is_not_the_placement_none(raw: dict[str, Any]) -> None:
    raw["model"]["family"] = "clip"
    for stream in raw["model"]["streams"]:
        stream["fusion_layers"] = []
    raw["placement"] = {"name": "none", "text": [], "vision": []}
    released = read(raw)
    assert released.placement is None and released.seed is None
    assert released.label == "bert-12x48 + vit-12x48"
    raw["model"]["family"] = "fusionscope-fusion"
    ours = read(raw)
    assert ours.label == "none" and ours.seed == 0


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ({"depth": ...}, "missing field model.streams.0.depth"),
        ({"depth": -1}, r"model\.streams\.0\.depth"),
        ({"depth": 10**9}, r"model\.streams\.0\.depth"),
        ({"width": 0}, r"model\.streams\.0\.width"),
        ({"width": "48"}, r"model\.streams\.0\.width"),
        ({"extra": 1}, "unknown field model.streams.0.extra"),
        ({"fusion_layers": [13]}, r"\[13\] lie outside 1\.\.12 of vision"),
        ({"fusion_layers": [1]}, "differs from the stream's"),
    ],
)
def test_a_broken_run_of_version_1_is_said_in_one_line(
    raw: dict[str, Any], stream: dict[str, Any], said: str
) -> None:
    for name, value in stream.items():
        if value is ...:
            del raw["model"]["streams"][0][name]
        else:
            raw["model"]["streams"][0][name] = value
    with pytest.raises(InputError, match=said) as caught:
        read(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": ...}, "missing field model"),
        ({"model": 3}, "model"),
        ({"placement": ...}, "missing field placement"),
        ({"seed": ...}, "missing field seed"),
    ],
)
def test_what_version_1_lacks_is_named(
    raw: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    for name, value in changes.items():
        if value is ...:
            del raw[name]
        else:
            raw[name] = value
    with pytest.raises(InputError, match=said):
        read(raw)
