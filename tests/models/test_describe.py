"""What a model has to offer, read off it."""

from __future__ import annotations

import pytest
import torch

from backend.models.describe import compact_sites, describe
from backend.types import LayerRef
from tests.models.saved import tiny


@pytest.mark.parametrize(
    ("labels", "compact"),
    [
        (["0"], "0"),
        (["0", "1", "2", "2.norm", "2.projected"], "0-2, 2.norm, 2.projected"),
        (["0", "1", "2.fusion", "2", "3.fusion", "3"], "0-3, 2-3.fusion"),
        (["0", "1", "1.x", "2", "3", "3.x"], "0-3, 1.x, 3.x"),
        (["2", "5", "6"], "2, 5-6"),
    ],
)
def test_sites_are_written_as_runs(labels: list[str], compact: str) -> None:
    assert compact_sites(labels) == compact


def test_a_dual_encoder_meets_in_the_loss_alone_which_cannot_be_cut() -> None:
    made = describe(tiny("clip").adapter)
    assert (made.family, made.placement, made.seed) == ("clip", "", None)
    vision = next(stream for stream in made.streams if stream.name == "vision")
    assert vision.sites == ("0", "1", "2", "3", "4", "4.norm", "4.projected")
    assert vision.widths == (24, 24, 24, 24, 24, 24, 12)
    assert vision.poolings[0] == ("cls", "mean") and vision.poolings[-1] == ("cls",)
    assert [(m.layer, m.how, m.reads, m.cut) for m in vision.meets] == [(4, "loss", "text", False)]
    assert [(a.reads, a.sites) for a in vision.attention] == [("vision", ("1", "2", "3", "4"))]
    assert "cut" not in made.edits


def test_our_own_model_says_its_placement_and_that_its_meets_can_be_cut() -> None:
    made = describe(tiny("dual_stream").adapter)
    text = next(stream for stream in made.streams if stream.name == "text")
    assert [m.layer for m in text.meets] == [2, 3]
    assert all(m.how == "co" and m.reads == "vision" and m.cut for m in text.meets)
    assert "cut" in made.edits


def test_memory_counts_each_parameter_once_and_bytes_by_type() -> None:
    adapter = tiny("clip").adapter
    parameters = sum(p.numel() for p in adapter.module.parameters())
    memory = describe(adapter).memory
    assert memory.parameters == parameters
    assert memory.bytes_by_dtype["float32"] == 4 * parameters
    assert memory.bytes == sum(memory.bytes_by_dtype.values())
    adapter.module.half()
    assert describe(adapter).memory.bytes_by_dtype["float16"] == 2 * parameters


def test_a_gate_tells_how_far_it_is_open_and_what_is_missing_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = tiny("clip").adapter
    gates = {LayerRef("text", 2): torch.tensor([0.5, -0.5])}
    monkeypatch.setattr(adapter, "gates", lambda: gates)
    adapter.unsupported = {"cut": "its streams never meet"}
    made = describe(adapter)
    text = next(stream for stream in made.streams if stream.name == "text")
    assert [(g.site, g.size, g.mean_magnitude) for g in text.gates] == [("2", 2, 0.5)]
    assert made.unsupported == {"cut": "its streams never meet"}
