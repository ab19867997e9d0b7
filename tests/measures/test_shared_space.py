"""Gap and alignment are distances within one space: between two there is none to measure."""

import numpy as np
import pytest

from backend.measures import MEASURES, modality_gap
from backend.measures.suite.compute import measure_rows
from backend.measures.suite.layers import Layers
from backend.measures.suite.rows import tidy_frame
from backend.remarks import in_words
from backend.types import LayerRef


@pytest.fixture(scope="module", params=["modality_gap", "alignment"])
def frame(request):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)) + 1
    rotated = x @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    arrays = {
        LayerRef("vision", 0): x,
        LayerRef("vision", 0, "norm"): x,
        LayerRef("vision", 0, "projected"): x,
        LayerRef("text", 0): rotated,
        LayerRef("text", 0, "norm"): rotated,
        LayerRef("text", 0, "projected"): 1.1 * x + 0.1 * rng.normal(size=(40, 6)),
    }
    measure = MEASURES[request.param]
    return tidy_frame(measure_rows(measure, measure.arguments, Layers(arrays, "cls")))


@pytest.mark.parametrize("site", ["block", "norm"])
def test_layers_of_equal_width_are_no_shared_space_and_the_reason_says_so(frame, site):
    (cell,) = frame[frame["site_a"].eq(site)].itertuples()
    assert np.isnan(cell.value)
    assert in_words(cell.reason).startswith("these are two spaces")
    assert cell.n == 40


def test_projections_have_their_distance(frame):
    (cell,) = frame[frame["site_a"].eq("projected")].itertuples()
    assert 0 < cell.value < 0.1 and cell.reason == ""


def test_a_layer_and_its_own_rotation_would_seem_far_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 30)) + 1
    assert modality_gap(x, x @ np.linalg.qr(rng.normal(size=(30, 30)))[0]) > 0.8
