"""What a capture without vectors measures is what is measured of the same vectors."""

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.measures import CKAStream
from backend.measures.streaming.stream_suite import stream_suite, streamed_pairs
from backend.measures.suite.dimensions import dimension_rows, of_spectrum
from backend.measures.suite.layers import Layers
from backend.measures.suite.linear_cka import cka_rows
from backend.measures.suite.rows import tidy_frame
from backend.remarks import in_words
from backend.types import LayerRef, StreamSpec, matched_layers

TEXT = StreamSpec.of("text", "text", 2, 5, (2,))
VISION = StreamSpec.of("vision", "vision", 4, 7, (1, 3))
PLACES = [f"{what}_{side}" for side in "ab" for what in ("stream", "layer", "site")]
KEYS = ["measure", *PLACES, "pooling", "estimator"]


def labels(pairs, refs):
    return [(f"{a.stream} {a.label}", f"{b.stream} {b.label}") for a, b in
            ((refs[i], refs[j]) for i, j in pairs)]  # fmt: skip


def at(pairs):
    return [(a.layer, b.layer) for a, b in pairs]


def test_streams_of_one_depth_match_layer_by_layer():
    a, b = StreamSpec.of("a", "text", 3, 4), StreamSpec.of("b", "vision", 3, 4)
    assert at(matched_layers(a, b)) == [(k, k) for k in range(4)]


def test_streams_of_two_depths_match_at_the_same_relative_depth_halves_up():
    deep, shallow = StreamSpec.of("a", "vision", 4, 4), StreamSpec.of("b", "text", 2, 4)
    assert at(matched_layers(deep, shallow)) == [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2)]
    assert at(matched_layers(shallow, deep)) == [(0, 0), (1, 1), (1, 2), (2, 3), (2, 4)]
    assert at(matched_layers(StreamSpec.of("a", "text", 0, 4), shallow)) == [(0, 0), (0, 1), (0, 2)]
    assert at(matched_layers(*[StreamSpec.of("a", "text", 0, 4)] * 2)) == [(0, 0)]


def test_consecutive_matching_and_fusion_pairs_are_summed_and_no_others():
    refs = [*TEXT.refs, *VISION.refs]
    assert labels(streamed_pairs([TEXT, VISION], "cls"), refs) == [
        *[(f"vision {k}", f"vision {k + 1}") for k in range(4)],
        *[(f"text {k}", f"text {k + 1}") for k in range(2)],
        *[(f"vision {k}", f"text {m}") for k, m in enumerate((0, 1, 1, 2, 2))],
        ("text 1", "text 2.fusion"),
        ("text 2.fusion", "text 2"),
        ("vision 0", "vision 1.fusion"),
        ("vision 1.fusion", "vision 1"),
        ("vision 2", "vision 3.fusion"),
        ("vision 3.fusion", "vision 3"),
    ]


@pytest.mark.parametrize("n", [6, 60])
def test_rows_are_those_of_the_vectors(arrays, n):
    streams = [TEXT, VISION]
    refs = [ref for spec in streams for ref in spec.refs]
    made = arrays.related(n, [spec.width for spec in streams for _ in spec.refs])
    layers = {ref: (x + 20).astype(np.float32) for ref, x in zip(refs, made, strict=True)}
    layers[LayerRef("vision", 0)] = np.full((n, 7), 0.3, dtype=np.float32)
    modalities = {"text": "text", "vision": "vision"}
    whole = Layers(layers, "cls", modalities)
    expected = tidy_frame([*cka_rows(whole).rows, *dimension_rows(whole, of_spectrum()).rows])
    compared = streamed_pairs(streams, "cls")
    stream = CKAStream(pairs=compared)
    for start in range(0, n, 7):
        stream.update([x[start : start + 7] for x in layers.values()])
    found = stream_suite(stream, refs, compared, "cls", modalities=modalities)
    assert list(found.columns) == list(expected.columns)
    assert (found.dtypes == expected.dtypes).all()
    both = found.merge(expected, on=KEYS, suffixes=("", "_full"), validate="one_to_one")
    assert len(both) == len(found) == 2 * len(compared) + len(of_spectrum()) * len(refs)
    # A stream keeps no sums a sample, which intervals and p-values need.
    assert found[["ci_low", "ci_high", "p_value", "p_corrected"]].isna().all(axis=None)
    for column in ("value", "null_mean", "null_sd"):
        np.testing.assert_allclose(both[column], both[f"{column}_full"], atol=1e-6, err_msg=column)
    for column in ("n", "params", "reason", "warnings"):
        pd.testing.assert_series_equal(both[column], both[f"{column}_full"], check_names=False)
    assert any(in_words(text).startswith("layer 0 of vision is") for text in both["reason"])


TOGETHER = {
    "each alone": (np.arange(30), False),
    "two of thirty": (np.r_[0, np.arange(29)], True),
    "five captions a photo": (np.arange(30) // 5, True),
    "all in one": (np.zeros(30, dtype=int), True),
}


@pytest.mark.parametrize(("groups", "shared"), TOGETHER.values(), ids=TOGETHER)
def test_samples_that_belong_together_leave_a_stream_no_null(arrays, groups, shared):
    refs = [*TEXT.refs, *VISION.refs]
    compared = streamed_pairs([TEXT, VISION], "cls")
    stream = CKAStream(pairs=compared)
    stream.update(arrays.related(30, [s.width for s in (TEXT, VISION) for _ in s.refs]))
    alone = stream_suite(stream, refs, compared, "cls")
    found = stream_suite(stream, refs, compared, "cls", groups=[f"photo {g}" for g in groups])
    pd.testing.assert_series_equal(found["value"], alone["value"])
    of_pairs = found["measure"].eq("cka")
    null = ["null_mean", "null_sd", "p_value", "p_corrected"]
    told = found["warnings"].map(in_words).str.contains("activations kept")
    if shared:
        assert found[null].isna().all(axis=None)
        assert told.equals(of_pairs)
        return
    assert not told.any()
    pd.testing.assert_frame_equal(found, alone)


def test_three_samples_are_too_few(arrays):
    stream = CKAStream()
    stream.update(arrays.related(3, (4, 5)))
    refs = [LayerRef("text", 0), LayerRef("text", 1)]
    with pytest.raises(InputError, match="needs at least 4 samples, got 3"):
        stream_suite(stream, refs, [(0, 1)], "cls")
