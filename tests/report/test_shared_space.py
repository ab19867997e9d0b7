"""The report's section on a contrastive model's own space: first a command, then stored rows."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.capture.options import CaptureOptions
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.jobs.measure import measure_store
from backend.jobs.shared_space import SharedSpaceOptions, add_shared_space
from backend.report.build import report
from backend.report.document import Document, Figure, Heading, Missing
from backend.store import Store, kinds
from backend.store.tables import to_pandas
from backend.views.state import ViewState
from tests.models.saved import save_tiny

HEADING = Heading("If the model stopped here")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    request = CaptureRequest(
        model=str(save_tiny(folder / "clip")),
        data="macros:n=120",
        store=str(folder / "store"),
        run_id="clip",
        options=CaptureOptions(limit=24, device="cpu", pooling=("cls",)),
    )
    run_capture(request, open_request(request))
    measure_store(Store(folder / "store"), workers=1)
    return folder / "store"


def values(figure: Figure) -> list[float]:
    """The first curve with marks: the model's own space."""
    drawn: dict[str, Any] = json.loads(figure.json)
    y = next(one for one in drawn["data"] if one.get("mode") == "lines+markers")["y"]
    if isinstance(y, dict):
        y = np.frombuffer(base64.b64decode(y["bdata"]), y["dtype"])
    return [float(value) for value in y]


def figures(document: Document) -> dict[str, Figure]:
    return {one.title: one for one in document.sections[0].items if isinstance(one, Figure)}


def test_a_report_names_the_command_and_then_holds_what_it_wrote(path: Path) -> None:
    before = report(str(path), ViewState(), ["alignment"])
    assert HEADING in before.sections[0].items
    lines = [
        line
        for one in before.sections[0].items
        if isinstance(one, Missing)
        for line in one.commands
    ]
    assert lines == [f"fusionscope shared-space --store {path}"]
    run = Store(path).run("clip")
    add_shared_space(run, SharedSpaceOptions(device="cpu"))
    after = report(str(path), ViewState(), ["alignment"])
    drawn = figures(after)
    assert {f"Zero-shot, {task.name}" for task in run.labels()} <= set(drawn)
    rows = to_pandas(run.table(kinds.SHARED_SPACE))
    last = run.manifest.stream("text").depth
    own = rows[rows["space"].eq("own") & rows["layer_b"].eq(last) & rows["site_a"].eq("block")]
    for title, measure, estimator in (
        ("R@5, image to text", "recall_at_5", "image_to_text"),
        ("Modality gap", "modality_gap", "sample"),
    ):
        of = own[own["measure"].eq(measure) & own["estimator"].eq(estimator)]
        expected = of.sort_values("layer_a")["value"].tolist()
        assert values(drawn[title]) == pytest.approx(expected), title
        assert len(expected) == run.manifest.stream("vision").depth + 1
    assert "shared space" in after.provenance.tables
    after.to_html()
