"""Measures that are not symmetric: each figure shows the direction that it says."""

import numpy as np
import pytest

from backend.figures import alignment_curves, layer_heatmap, transition_curves
from backend.figures.scales import SCALES
from backend.figures.seeds import pairs
from backend.figures.theme import Series
from backend.measures.registry import MEASURES
from backend.measures.suite.compute import measure_rows
from backend.measures.suite.layers import Layers
from backend.measures.suite.rows import tidy_frame
from backend.types import LayerRef, StreamSpec
from backend.views.cells import cell_view

VISION = StreamSpec.of("vision", "vision", 3, 6, (2,))
TEXT = StreamSpec.of("text", "text", 2, 4)
SPECS = (VISION, TEXT)
NAMES = [name for name, one in MEASURES.items() if not one.symmetric and one.matrix]


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 3))
    arrays = {
        ref: latent @ rng.normal(size=(3, spec.width)) + rng.normal(size=(60, spec.width))
        for spec in SPECS
        for ref in spec.refs
    }
    return Layers(arrays, "mean", {"vision": "vision", "text": "text"})


@pytest.fixture(scope="module", params=NAMES)
def stored(request, layers):
    """The rows of one measure, and its value between two layers."""
    one = MEASURES[request.param]
    frame = tidy_frame(measure_rows(one, one.arguments, layers)).assign(series="m", seed=0)

    def value(a, b):
        return one.of(layers.arrays[a], layers.arrays[b], **one.arguments)

    return one.name, frame, value


@pytest.fixture
def series():
    return [Series(key="m", label="m", colour="#123456", streams=SPECS)]


def test_a_matrix_reads_from_the_row_to_the_column(stored):
    name, frame, value = stored
    figure = layer_heatmap(frame, SPECS, SPECS, scale=SCALES[name])
    refs = [*VISION.layers, *TEXT.layers]
    expected = [[value(a, b) for b in refs] for a in refs]
    np.testing.assert_allclose(np.asarray(figure.data[0].z, float), expected, atol=1e-6)


def test_transitions_read_from_the_earlier_to_the_later_layer(stored, series):
    name, frame, value = stored
    figure = transition_curves(frame, series, "vision", scale=SCALES[name])
    expected = [value(*VISION.layers[k : k + 2]) for k in range(3)]
    drawn = [np.asarray(trace.y, float) for trace in figure.data if trace.y is not None]
    assert any(len(y) == 3 and np.allclose(y, expected, atol=1e-6) for y in drawn)


def test_matching_layers_read_from_the_stream_of_the_axis(stored, series):
    name, frame, value = stored
    figure = alignment_curves(frame, series, pair=("vision", "text"), scale=SCALES[name])
    matched = zip(VISION.layers, [TEXT.layers[k] for k in (0, 1, 1, 2)], strict=True)
    expected = [value(a, b) for a, b in matched]
    drawn = [np.asarray(trace.y, float) for trace in figure.data if trace.y is not None]
    assert any(len(y) == 4 and np.allclose(y, expected, atol=1e-6) for y in drawn)


def test_a_cell_is_that_of_its_direction(stored):
    name, frame, value = stored
    for a, b in (
        (LayerRef("vision", 3), LayerRef("vision", 1)),
        (LayerRef("text", 1), LayerRef("vision", 2)),
    ):
        for cell in ((a, b), (b, a)):
            assert cell_view(frame, cell, SCALES[name]).mean == pytest.approx(
                value(*cell), rel=1e-6
            )


def test_older_stores_that_kept_the_mean_of_both_directions_once_show_it_both_ways(stored, layers):
    name, frame, _ = stored
    once = frame[frame["layer_a"].le(frame["layer_b"]) & ~frame["stream_a"].gt(frame["stream_b"])]
    old = frame.loc[once.index].assign(params='{"directions": "mean"}')
    there, back = (
        pairs(old, *streams, name) for streams in (("text", "vision"), ("vision", "text"))
    )
    assert len(there) == len(back) > 0
    cells = ["layer_a", "site_a", "layer_b", "site_b", "value"]
    turned = back.rename(
        columns={"layer_a": "layer_b", "layer_b": "layer_a", "site_a": "site_b", "site_b": "site_a"}
    )
    assert sorted(map(tuple, there[cells].to_numpy())) == sorted(
        map(tuple, turned[cells].to_numpy())
    )
