"""A layer with NaN or infinite vectors has reasons; every other layer has what it had."""

import numpy as np
import pandas as pd
import pytest

from backend.measures.suite.compute import compute
from backend.measures.suite.cross import cross_cka
from backend.measures.suite.finite import with_finite
from backend.measures.suite.layers import Layers
from backend.measures.suite.parts import parts_of
from backend.measures.suite.rows import tidy_frame
from backend.remarks import in_words
from backend.types import LayerRef, TaskSpec

BROKEN = {
    "one NaN": ([(3, 0, np.nan)], 1),
    "one infinite value": ([(5, 1, np.inf)], 1),
    "infinities that cancel": ([(5, 1, np.inf), (6, 1, -np.inf)], 2),
    "two in one sample": ([(7, 0, np.nan), (7, 2, np.nan)], 1),
    "every sample": ([(at, 1, np.nan) for at in range(24)], 24),
}
FINE = {
    "large": [(at, 0, 3e38) for at in range(24)],
    "huge sums": [(0, 0, 1.7e308), (1, 0, 1.7e308)],
}
VISION = LayerRef("vision", 1)


@pytest.fixture
def layers(arrays):
    made = arrays.related(24, (4, 5, 3, 6))
    refs = [LayerRef(stream, layer) for stream in ("vision", "text") for layer in (0, 1)]
    task = TaskSpec("joy", "binary", ("no", "yes"))
    return Layers(
        dict(zip(refs, made, strict=True)),
        "cls",
        {"vision": "vision", "text": "text"},
        labels={task: np.arange(24) % 2},
    )


def changed(layers, values):
    array = layers.arrays[VISION].copy()
    for row, column, value in values:
        array[row, column] = value
    return Layers({**layers.arrays, VISION: array}, "cls", layers.modalities, labels=layers.labels)


@pytest.mark.parametrize(("values", "count"), BROKEN.values(), ids=BROKEN)
def test_broken_layers_are_told_and_counted(layers, values, count):
    finite, why = with_finite(changed(layers, values))
    assert {ref: str(one) for ref, one in why.items()} == {
        VISION: f"layer 1 of vision has NaN or infinite values in {count} of 24 samples"
    }
    assert np.isfinite(finite.arrays[VISION]).all()
    assert all(finite.arrays[ref] is layers.arrays[ref] for ref in layers.refs if ref != VISION)


@pytest.mark.parametrize("values", FINE.values(), ids=FINE)
def test_large_values_are_finite(layers, values):
    same = changed(layers, values)
    assert with_finite(same) == (same, {})


@pytest.mark.parametrize("part", parts_of("default"), ids=lambda part: part.name)
def test_rows_of_a_broken_layer_say_so_and_all_others_stay(layers, part):
    table = compute(part, changed(layers, BROKEN["one NaN"][0]))
    rows, whole = tidy_frame(table.rows), tidy_frame(compute(part, layers).rows)
    broken = sum(
        rows[f"stream_{side}"].eq("vision") & rows[f"layer_{side}"].eq(1) for side in "ab"
    ).astype(bool)
    assert broken.any() and not broken.all()
    assert rows["reason"].map(in_words).str.contains("NaN or infinite").equals(broken)
    assert (
        rows.loc[broken, ["value", "ci_low", "null_mean", "null_sd", "p_value"]]
        .isna()
        .all(axis=None)
    )
    apart = ["p_corrected"]  # Holm's correction is over the cells that there are
    pd.testing.assert_frame_equal(
        rows[~broken].drop(columns=apart), whole[~broken].drop(columns=apart), rtol=1e-6
    )
    for probe in table.probes:
        assert (probe["stream"], probe["layer"]) != ("vision", 1)


def test_two_models_are_compared_where_their_layers_are_finite(layers):
    rows = cross_cka(layers, changed(layers, BROKEN["two in one sample"][0]), ("old", "new"))
    broken = rows["stream_b"].eq("vision") & rows["layer_b"].eq(1)
    said = rows["reason"].map(in_words)
    assert said[broken].str.startswith("layer 1 of vision of new has NaN").all()
    assert rows.loc[~broken, "value"].notna().all() and rows.loc[broken, "value"].isna().all()
