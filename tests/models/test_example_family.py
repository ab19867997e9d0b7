"""The example in docs/example_family: a package that brings a family, as it would be installed.

The conformance suite runs on it like on any family; here is what it shows of being a plug-in.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from postcards.family import Postcards
from postcards.tiny import tiny

from backend.models import registry
from backend.models.describe import describe
from backend.models.registry import families, family_class, open_model

PROJECT = Path(__file__).resolve().parents[2] / "docs" / "example_family" / "pyproject.toml"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points that its pyproject.toml declares."""
    declared = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]
    points = {
        group: [EntryPoint(name, value, group) for name, value in entries.items()]
        for group, entries in declared.items()
    }
    monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, []))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    adapter = tiny().adapter
    assert isinstance(adapter, Postcards)
    adapter.model.save_pretrained(tmp_path / "polly")
    adapter.processor.save_pretrained(tmp_path / "polly")
    return tmp_path / "polly"


def test_a_checkpoint_opens_through_the_entry_point_and_computes_the_same(
    installed: None, checkpoint: Path
) -> None:
    case = tiny()
    opened = open_model(str(checkpoint))
    assert type(opened) is Postcards
    assert opened.name == "polly" and len(opened.digest) == 16
    assert opened.streams == case.adapter.streams
    inputs = case.adapter.encode(case.samples)
    with torch.no_grad():
        expected = case.adapter.forward(inputs)["logits"]
        torch.testing.assert_close(opened.forward(opened.encode(case.samples))["logits"], expected)


def test_it_is_listed_with_the_families_and_is_not_one_of_ours(installed: None) -> None:
    assert families()["postcards"].target == "postcards.family:Postcards"
    assert family_class("postcards", "here") is Postcards
    assert "postcards" not in registry.FAMILIES


def test_its_bridge_is_described_with_its_gate_its_map_and_its_cut() -> None:
    vision, text = describe(tiny().adapter).streams
    assert vision.meets == () and vision.poolings[0] == ("mean",)
    (meet,) = text.meets
    assert (meet.layer, meet.how, meet.reads, meet.site) == (3, "gated", "vision", "3.fusion")
    assert meet.cut
    (gate,) = text.gates
    assert (gate.site, gate.size) == ("3.fusion", 1)
    assert gate.mean_magnitude == pytest.approx(0.4621, abs=1e-4)  # tanh 0.5
    assert [own.sites for own in text.attention if own.reads == "vision"] == [("3.fusion",)]


def test_a_text_that_is_too_long_is_counted_not_silently_cut() -> None:
    case = tiny()
    sample = case.samples[0]
    long = type(sample)("the cat is on the cup " * 8, sample.images)
    inputs = case.adapter.encode([sample, long])
    assert inputs.cut["text"].tolist() == [0, 48 + 2 - 32]
