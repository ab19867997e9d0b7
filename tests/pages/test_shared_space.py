"""Alignment's section on a contrastive model's own space: curves, chance, choices, commands."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from backend.capture.options import CaptureOptions
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.jobs.measure import measure_store
from backend.jobs.shared_space import SharedSpaceOptions, add_shared_space
from backend.store import Store, kinds
from backend.store.tables import to_pandas
from tests.models.saved import save_tiny
from tests.pages.harness import charts, open_page

Visit = Callable[[], AppTest]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    options = CaptureOptions(limit=24, device="cpu", pooling=("cls",))
    request = CaptureRequest(
        model=str(save_tiny(folder / "clip")),
        data="macros:n=120",
        store=str(folder / "store"),
        run_id="clip",
        options=options,
    )
    run_capture(request, open_request(request))
    measure_store(Store(folder / "store"), workers=1)
    return folder / "store"


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, path: Path) -> Visit:
    def go() -> AppTest:
        return open_page(monkeypatch, path, "alignment")

    return go


def unpacked(values: Any) -> list[float]:
    """What a figure holds, which the page gets as bytes."""
    if isinstance(values, dict):
        values = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return [float(value) for value in values]


def test_what_is_not_there_yet_is_a_command_and_then_curves_of_both_spaces(
    visit: Visit, path: Path
) -> None:
    at = visit()
    assert not at.exception
    assert any(f"fusionscope shared-space --store {path}" in code.value for code in at.code)
    run = Store(path).run("clip")
    add_shared_space(run, SharedSpaceOptions(device="cpu"))
    rows = to_pandas(run.table(kinds.SHARED_SPACE))
    at = visit()
    assert not at.exception
    shown = {key: one for key, one in charts(at).items() if key.startswith("shared-space")}
    assert set(shown) == {f"shared-space-{task.name}" for task in run.labels()}
    at.get_by_key("shared-space-measure").set_value("recall_at_5").run()
    drawn = charts(at)["shared-space-image_to_text"]
    own = next(one for one in drawn["data"] if one.get("mode") == "lines+markers")
    fitted, chance = (
        next(one for one in drawn["data"] if word in str(one.get("name")))
        for word in ("fitted", "chance")
    )
    last = run.manifest.stream("text").depth
    of = rows["measure"].eq("recall_at_5") & rows["estimator"].eq("image_to_text")
    of &= rows["layer_b"].eq(last) & rows["space"].eq("own")
    expected = rows[of].sort_values("layer_a")["value"].tolist()
    assert unpacked(own["y"]) == pytest.approx(expected)
    assert len(unpacked(fitted["x"])) == len(expected) and fitted["line"]["dash"] == "dash"
    assert unpacked(chance["y"]) == pytest.approx([5 / 12] * len(expected))
    at.get_by_key("shared-space-stop").set_value("text").run()
    moved = charts(at)["shared-space-image_to_text"]
    assert moved["layout"]["xaxis"]["title"]["text"].startswith("text layer")
    for measure in ("median_rank", "modality_gap", "alignment", "uniformity"):
        at.get_by_key("shared-space-measure").set_value(measure).run()
        assert not at.exception, measure
        assert any(key.startswith("shared-space") for key in charts(at)), measure
