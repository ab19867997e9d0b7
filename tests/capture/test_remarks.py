"""What a capture says of texts that were cut and of values that are no numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from backend.capture import run as capture_run
from backend.capture.options import CaptureOptions
from backend.capture.remarks import LeftOut, NotFinite
from backend.data.base import Pair
from backend.data.sample import Sample
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.models.adapter import Adapter, Inputs
from backend.models.placement import Placement
from backend.store import Store
from backend.types import LayerRef, Record
from tests.tiny import tiny_checkpoint


def batch(**cut: list[int]) -> Inputs:
    roles = {"text": torch.zeros(2, 1, dtype=torch.int8)}
    return Inputs({}, roles, cut={stream: np.array(own) for stream, own in cut.items()})


@pytest.mark.parametrize(
    ("placement", "advice"),
    [
        (None, ""),
        (Placement("none", (), ()), ". Train it with a larger max_text_length to keep them"),
    ],
)
def test_what_a_model_did_not_take_is_said_with_its_share(caplog, placement, advice) -> None:
    left_out = LeftOut()
    left_out.add(batch(text=[3, 0], vision=[0, 0], audio=[0, 0]))
    left_out.add(batch(text=[0, 2], vision=[0, 7], audio=[0, 0]))
    left_out.tell(cast(Adapter, SimpleNamespace(name="model m", placement=placement)))
    assert caplog.messages == [
        "the text of 2 of 4 samples (50 %) has more than model m takes: 5 tokens were left out"
        + advice,
        "the vision of 1 of 4 samples (25 %) has more than model m takes: 7 tokens were left out"
        + advice,
    ]


def records(*ids: str) -> list[Record]:
    return [Record(sample_id, "", None, "test", "") for sample_id in ids]


def test_values_that_are_no_numbers_are_named_by_layer_with_a_sample(caplog) -> None:
    told = NotFinite()
    good, bad, worse = np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    bad[1, 2], worse[:] = np.nan, np.inf
    first, second = LayerRef("vision", 1), LayerRef("vision", 2, "fusion")
    told.add(records("a", "b"), {(first, "cls"): good, (second, "mean"): bad})
    told.add(records("c", "d"), {(first, "cls"): good, (second, "mean"): worse})
    told.tell("float16")
    assert caplog.messages == [
        "NaN or infinite values in 1 layer: vision 2.fusion (mean) of 3 of 4 samples such as b. "
        "These layers are stored, and measures leave them out. float16 holds numbers up to 65,504: "
        "capture with dtype float32"
    ]


def test_finite_values_and_ones_without_infinity_say_no_more_than_they_are(caplog) -> None:
    told = NotFinite()
    told.add(records("a", "b"), {(LayerRef("text", 0), "cls"): np.zeros((2, 3))})
    told.tell("float16")
    assert caplog.messages == []
    rows = {(LayerRef("text", k), "cls"): np.full((1, 2), np.nan) for k in range(7)}
    told.add(records("c"), rows)
    told.tell("float16")
    assert "in 7 layers" in caplog.text and "and 2 more" in caplog.text
    assert "65,504" not in caplog.text


def test_a_capture_with_nan_in_a_layer_goes_on_stores_it_and_says_which(tmp_path, caplog) -> None:
    request = CaptureRequest(
        model=str(tiny_checkpoint(tmp_path / "model")),
        data="macros",
        store=str(tmp_path / "store"),
        run_id="r",
        options=CaptureOptions(limit=6, batch_size=4, device="cpu"),
    )
    opened = open_request(request)
    block = opened.adapter.points()[LayerRef("vision", 3)].module
    with torch.no_grad():
        next(part for part in block.modules() if isinstance(part, nn.Linear)).weight.fill_(np.nan)
    run_capture(request, opened)
    assert Store(request.store).run("r").n == 6
    assert "vision 3 (cls) of 6 of 6 samples" in caplog.text
    assert "vision 2 (" not in caplog.text


class Sizes:
    """An adapter that only looks at how many pixels it is given at once."""

    def __init__(self) -> None:
        self.pixels: list[int] = []

    def encode(self, samples) -> Inputs:
        self.pixels.append(sum(i.width * i.height for s in samples for i in s.images))
        return Inputs({}, {"text": torch.zeros(len(samples), 1, dtype=torch.int8)})


def test_a_batch_is_full_with_so_many_pixels_whatever_its_samples(monkeypatch) -> None:
    monkeypatch.setattr(capture_run, "_BATCH_PIXELS", 1000)
    sides = [10, 10, 40, 10, 10, 10]
    pairs = (
        Pair(record, Sample("", (Image.new("RGB", (side, side)),)))
        for side, record in zip(sides, records(*"abcdef"), strict=True)
    )
    adapter = Sizes()
    options = CaptureOptions(batch_size=4)
    batches = list(capture_run._batches(cast(Adapter, adapter), pairs, options))
    assert [[r.sample_id for r in b.records] for b in batches] == [list("abc"), list("def")]
    assert adapter.pixels == [1800, 300]


@pytest.mark.parametrize("error", [IndexError("index out of range\nmore"), ValueError("bad")])
def test_a_model_that_cannot_read_the_first_batch_is_one_line(tmp_path, error) -> None:
    request = CaptureRequest(
        model=str(tiny_checkpoint(tmp_path / "model")),
        data="macros",
        store=str(tmp_path / "store"),
        options=CaptureOptions(limit=4, batch_size=4, device="cpu"),
    )
    opened = open_request(request)

    def broken(inputs: Inputs) -> dict[str, torch.Tensor]:
        raise error

    opened.adapter.forward = broken  # type: ignore[method-assign]
    first = str(error).splitlines()[0]
    with pytest.raises(InputError, match=rf"cannot read the first samples \(.*: {first}\)"):
        run_capture(request, opened)
