"""The tidy rows of a model: which pairs, which columns, what is undefined and why."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.measures import (
    cka,
    cka_contributions,
    cka_null,
    effective_dimension,
    effective_rank,
    holm,
    participation_ratio,
    stable_rank,
)
from backend.measures.suite import linear_cka
from backend.measures.suite.dimensions import dimension_rows, of_spectrum
from backend.measures.suite.layers import Layers
from backend.measures.suite.linear_cka import DRIVER_COLUMNS, cka_rows
from backend.measures.suite.rows import COLUMNS, tidy_frame
from backend.remarks import in_words
from backend.types import LayerRef, StreamSpec

VISION = StreamSpec.of("vision", "vision", 3, 7, (2, 3))
TEXT = StreamSpec.of("text", "text", 2, 5, (1,))


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(30, 3))
    # Text first: the rows must put vision first all the same.
    return {
        ref: (latent @ rng.normal(size=(3, spec.width)) + rng.normal(size=(30, spec.width))).astype(
            np.float32
        )
        for spec in (TEXT, VISION)
        for ref in spec.refs
    }


def suite(arrays, pooling="cls"):
    """CKA and what follows from each layer's spectrum."""
    layers = Layers(arrays, pooling)
    return tidy_frame([*cka_rows(layers).rows, *dimension_rows(layers, of_spectrum()).rows])


def drivers(arrays):
    return cka_rows(Layers(arrays, "cls")).drivers


@pytest.fixture(scope="module")
def frame(layers):
    return suite(layers)


def places(frame):
    a = zip(frame.stream_a, frame.layer_a, frame.site_a, strict=True)
    b = zip(frame.stream_b, frame.layer_b, frame.site_b, strict=True)
    return list(zip(a, b, strict=True))


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_cka_rows_hold_each_wanted_pair_once(frame, estimator):
    rows = frame[(frame.measure == "cka") & (frame.estimator == estimator)]

    def block(stream, k):
        return (stream, k, "block")

    def fusion(stream, k):
        return (stream, k, "fusion")

    expected = [(block(s, i), block(s, j)) for s, m in (("vision", 4), ("text", 3))
                for i in range(m) for j in range(i, m)]  # fmt: skip
    expected += [(block("vision", i), block("text", j)) for i in range(4) for j in range(3)]
    for stream, k in (("vision", 2), ("vision", 3), ("text", 1)):
        expected += [(block(stream, k - 1), fusion(stream, k))]
        expected += [(fusion(stream, k), block(stream, k))]
    assert sorted(places(rows)) == sorted(expected)


def test_cka_rows_have_the_values_and_nulls_of_the_pairwise_functions(frame, layers):
    rows = frame[frame.measure == "cka"]
    for row in rows.itertuples():
        x = layers[LayerRef(row.stream_a, row.layer_a, row.site_a)]
        y = layers[LayerRef(row.stream_b, row.layer_b, row.site_b)]
        assert row.value == pytest.approx(float(cka(x, y, estimator=row.estimator)), abs=1e-12)
        if row.estimator == "biased":
            assert (row.null_mean, row.null_sd) == pytest.approx(cka_null(x, y), abs=1e-12)
        else:
            assert row.null_mean == 0
            assert row.null_sd == pytest.approx(np.sqrt(2 / (30 * 27)))


def test_cka_rows_have_the_intervals_and_p_values_of_the_pairwise_function(frame, layers):
    rows = frame[frame.measure == "cka"]
    for row in rows.itertuples():
        x = layers[LayerRef(row.stream_a, row.layer_a, row.site_a)]
        y = layers[LayerRef(row.stream_b, row.layer_b, row.site_b)]
        debiased = row.estimator == "debiased"
        single = cka(x, y, estimator=row.estimator, interval=True, p_value=debiased)
        assert (row.ci_low, row.ci_high) == pytest.approx((single.ci_low, single.ci_high), abs=1e-9)
        if debiased and x is not y:
            assert row.p_value == pytest.approx(single.p_value, rel=1e-6)
        else:
            assert np.isnan(row.p_value) and np.isnan(row.p_corrected)
    assert frame[frame.measure != "cka"].p_value.isna().all()


def test_p_values_are_corrected_over_each_two_streams(frame):
    rows = frame[(frame.measure == "cka") & (frame.estimator == "debiased")]
    families = rows.groupby(["stream_a", "stream_b"])
    assert len(families) == 3
    for _, family in families:
        np.testing.assert_array_equal(family.p_corrected, holm(family.p_value))


def test_drivers_are_the_extreme_samples_of_each_pair_of_two_streams(layers):
    rows = drivers(layers)
    assert {name: str(kind) for name, kind in rows.dtypes.items()} == DRIVER_COLUMNS
    cells = rows.groupby(["stream_a", "layer_a", "stream_b", "layer_b"], sort=False)
    assert sorted(cells.groups) == [("vision", i, "text", j) for i in range(4) for j in range(3)]
    for (a, i, b, j), cell in cells:
        share = cka_contributions(layers[LayerRef(a, i)], layers[LayerRef(b, j)])
        assert cell["rank"].tolist() == [1, 2, 3, 4, 5, -1, -2, -3, -4, -5]
        order = np.argsort(share)
        assert cell["sample"].tolist() == [*order[::-1][:5], *order[:5]]
        np.testing.assert_allclose(cell.share, share[cell["sample"]], rtol=1e-6)


def test_pairs_that_are_undefined_and_models_of_one_stream_have_no_drivers(layers):
    arrays = {**layers, LayerRef("vision", 0): np.ones((30, 7))}
    assert set(drivers(arrays).layer_a) == {1, 2, 3}
    alone = drivers({ref: x for ref, x in layers.items() if ref.stream == "text"})
    assert list(alone.columns) == list(DRIVER_COLUMNS) and alone.empty


def test_columns_and_types_are_those_of_the_store(frame):
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == COLUMNS
    assert set(frame.pooling) == {"cls"}
    assert set(frame.n) == {30}
    params = frame.drop_duplicates("measure").set_index("measure").params
    assert json.loads(params["effective_dimension"]) == {"threshold": 0.95}
    assert json.loads(params["cka"]) == {"kernel": "linear"}


def test_constant_cls_at_layer_0_says_what_it_does_not_depend_on(layers):
    arrays = dict(layers)
    for stream in ("vision", "text"):
        arrays[LayerRef(stream, 0)] = np.ones_like(arrays[LayerRef(stream, 0)])
    frame = suite(arrays, "cls")
    touched = (frame.layer_a == 0) | (frame.layer_b == 0)
    assert frame.value.isna().equals(touched)
    assert (frame.reason != "").equals(touched)
    for column in ("null_sd", "ci_low", "ci_high", "p_value", "p_corrected"):
        assert frame[touched][column].isna().all()
    vision = frame[(frame.measure == "participation_ratio") & touched].reason
    assert [*map(in_words, vision)] == [
        "layer 0 of text is constant: the summary token does not depend on the text yet",
        "layer 0 of vision is constant: the summary token does not depend on the image yet",
    ]


def test_constant_layer_elsewhere_is_named_without_a_story(layers):
    arrays = {**layers, LayerRef("vision", 2): np.ones((30, 7))}
    frame = suite(arrays, "mean")
    reasons = set(map(in_words, frame[frame.value.isna()].reason))
    assert reasons == {"layer 2 of vision is constant: every sample has the same vector"}


def test_unusable_layer_is_named(layers):
    bad = layers[LayerRef("text", 1, "fusion")].copy()
    bad[4] = np.nan
    with pytest.raises(InputError, match=r"layer 1.fusion of text: NaN in 1 of 30 rows"):
        suite({**layers, LayerRef("text", 1, "fusion"): bad}, "cls")
    with pytest.raises(InputError, match="needs at least 4 samples, got 3"):
        suite({ref: x[:3] for ref, x in layers.items()}, "cls")


def test_warnings_travel_with_the_rows():
    rng = np.random.default_rng(0)
    arrays = {LayerRef("vision", k): rng.normal(size=(20, 30)) for k in range(2)}
    frame = suite(arrays, "cls").set_index(["measure", "estimator"])
    assert "n = 20 samples < d = 30" in in_words(frame.loc[("cka", "biased")].warnings.iloc[0])
    assert frame.loc[("cka", "debiased")].warnings.iloc[0] == ""
    few = {ref: x[:6] for ref, x in arrays.items()}
    frame = suite(few, "cls").set_index(["measure", "estimator"])
    said = in_words(frame.loc[("cka", "debiased")].warnings.iloc[0])
    assert said == "n = 6 samples: too few to tell similarity from chance"


def test_dimension_rows_are_those_of_the_single_functions_at_every_site(layers):
    arrays = {**layers, LayerRef("vision", 0): np.ones((30, 7))}
    asked = of_spectrum() | {"effective_dimension": {"threshold": 0.9}}
    rows = dimension_rows(Layers(arrays, "cls"), asked).rows
    functions = (
        ("effective_dimension", lambda x: effective_dimension(x, 0.9)),
        ("participation_ratio", participation_ratio),
        ("effective_rank", effective_rank),
        ("stable_rank", stable_rank),
    )
    expected = [(ref, name, float(f(x))) for ref, x in arrays.items() for name, f in functions]
    for row, (ref, name, value) in zip(rows, expected, strict=True):
        assert (row["stream_a"], row["layer_a"], row["site_a"]) == (ref.stream, ref.layer, ref.site)
        assert (row["stream_b"], row["layer_b"], row["site_b"]) == ("", -1, "")
        assert (row["measure"], row["pooling"]) == (name, "cls")
        assert row["value"] == pytest.approx(value, rel=1e-10, nan_ok=True)
        constant = ref == LayerRef("vision", 0)
        assert in_words(row["reason"]).endswith("depend on the image yet") == constant
    with pytest.raises(InputError, match=r"layer 1 of text: 29 samples, but .* has 30"):
        dimension_rows(Layers({**layers, LayerRef("text", 1): np.ones((29, 5))}, "cls"), asked)
    with pytest.raises(InputError, match="no layers were given"):
        dimension_rows(Layers({}, "cls"), asked)


def test_dimension_rows_hold_one_layer_at_a_time_a_worker(monkeypatch):
    monkeypatch.setattr("backend.measures.core.parallel.worker_count", lambda: 1)
    rng = np.random.default_rng(0)
    arrays = {
        LayerRef("vision", k): rng.normal(size=(16_000, 32)).astype(np.float32) for k in range(12)
    }
    tracemalloc.start()
    dimension_rows(Layers(arrays, "mean"), of_spectrum())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 8 * 16_000 * 32  # of the 12


def test_p_values_are_left_out_with_a_warning_where_all_pairs_of_samples_cost_too_much(
    layers, monkeypatch
):
    rng = np.random.default_rng(1)
    few = {ref: rng.normal(size=(101, x.shape[1])) for ref, x in layers.items() if ref.layer < 2}
    few[LayerRef("vision", 0)] = np.ones((101, 7))

    def rows_of(n):
        table = cka_rows(Layers({ref: x[:n] for ref, x in few.items()}, "cls"))
        return tidy_frame(table.rows), table.drivers

    whole, samples = rows_of(101)
    monkeypatch.setattr(linear_cka, "P_VALUE_WORK", 1.0)
    rest, same_samples = rows_of(101)
    exact = ["value", "ci_low", "ci_high", "null_mean", "null_sd"]
    np.testing.assert_allclose(rest[exact], whole[exact], atol=1e-10)
    pd.testing.assert_frame_equal(same_samples, samples)
    assert rest.p_value.isna().all() and rest.p_corrected.isna().all()
    tested = whole.p_value.notna()
    assert tested.sum() > 3
    said = rest.warnings.map(in_words).str.extract(r"left out above n = (\d+)")[0]
    assert said.notna().equals(tested)
    limit = int(said[tested].unique().item())
    # Up to it Grams are the cheaper way anyway.
    assert limit < 101
    assert not rows_of(limit)[0].warnings.str.contains("no_p_values").any()
    assert rows_of(limit + 1)[0].p_value.isna().all()
