"""CKA from batches is the full-data value, whatever the batches."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InputError
from backend.measures import CKAStream, cka_matrix

WIDTHS = (6, 30, 11)


def feed(layers, sizes, **options):
    stream = CKAStream(**options)
    start = 0
    for size in sizes:
        stream.update([x[start : start + size] for x in layers])
        start += size
    return stream


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize("batch", [1, 7, 32, 200])
def test_batches_give_the_full_data_value_and_null(arrays, estimator, batch):
    layers = [x + 100 for x in arrays.related(200, WIDTHS)]
    sizes = [batch] * (200 // batch) + ([200 % batch] if 200 % batch else [])
    result = feed(layers, sizes).matrix(estimator=estimator)
    full = cka_matrix(layers, estimator=estimator)
    assert result.n == 200
    np.testing.assert_allclose(result.values, full.values, atol=1e-11)
    np.testing.assert_allclose(result.null_means, full.null_means, atol=1e-11)
    np.testing.assert_allclose(result.null_sds, full.null_sds, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=8),
    cut=st.integers(0, 8),
    offset=st.sampled_from([0, 50, 1000]),
    scale=st.sampled_from([1, 1e-3, 1e-5]),
)
def test_merging_two_streams_in_any_split_is_exact(sizes, cut, offset, scale):
    n = sum(sizes) + 4
    rng = np.random.default_rng(n)
    latent = rng.normal(size=(n, 2))
    layers = [
        scale * (latent @ rng.normal(size=(2, d)) + rng.normal(size=(n, d)) + offset)
        for d in (3, 8)
    ]
    sizes = [*sizes, 4]
    at = sum(sizes[:cut])
    left = feed([x[:at] for x in layers], sizes[:cut])
    right = feed([x[at:] for x in layers], sizes[cut:])
    merged = left.merge(right).matrix().values
    np.testing.assert_allclose(merged, cka_matrix(layers).values, atol=1e-8)


def test_wide_float32_layers_stay_within_1e6_of_float64(arrays):
    layers = [(x + 200).astype(np.float32) for x in arrays.related(300, (300, 290))]
    for estimator in ("biased", "debiased"):
        expected = arrays.reference_cka(*layers, estimator)
        value = feed(layers, [100] * 3).matrix(estimator=estimator).values[0, 1]
        assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("first", [1, 8, 256])
@pytest.mark.parametrize("outlier", [1000, 3000])
def test_a_massive_coordinate_in_the_first_sample_does_no_harm(arrays, outlier, first):
    layers = arrays.related(1500, (300, 300), seed=1, noise=3.0)
    layers[0][0, 3] += outlier
    layers[1][0, 7] += outlier
    layers = [x.astype(np.float32) for x in layers]
    stream = feed(layers, [first, *[256] * 4, 1500 - first - 1024])
    for estimator in ("biased", "debiased"):
        expected = arrays.reference_cka(*layers, estimator)
        value = stream.matrix(estimator=estimator).values[0, 1]
        assert value == pytest.approx(expected, abs=1e-8)


def test_consecutive_pairs_only_keep_less_and_leave_the_rest_nan(arrays):
    layers = arrays.related(60, WIDTHS)
    some, every = feed(layers, [60], pairs="consecutive"), feed(layers, [60])
    result = some.matrix()
    assert some.nbytes < every.nbytes
    np.testing.assert_allclose(result.values[0, 1], every.matrix().values[0, 1])
    assert np.isnan(result.values[0, 2]) and np.isnan(result.null_sds[0, 2])
    assert str(result.reasons[0, 2]) == "this pair of layers was not tracked"
    chosen = feed(layers, [60], pairs=[(2, 0)]).matrix().values
    assert np.isnan(chosen[0, 1]) and np.isfinite(chosen[0, 2])


def test_memory_does_not_grow_with_samples(arrays):
    layers = arrays.related(60, WIDTHS)
    assert feed(layers, [10]).nbytes == feed(layers, [10] * 6).nbytes


def test_constant_layer_is_nan_and_varying_later_it_is_not(arrays):
    x = arrays.related(40, (4,))[0].astype(np.float32)
    constant = np.full((40, 3), 0.1, dtype=np.float32)
    stream = feed([x, constant], [13, 27])
    result = stream.matrix(labels=["a", "b"])
    assert np.isnan(result.values).tolist() == [[False, True], [True, True]]
    assert str(result.reasons[0, 1]).startswith("b is constant")
    stream.update([x, x[:, :3]])
    assert np.isfinite(stream.matrix().values).all()


def test_a_bad_batch_is_refused_and_leaves_the_stream_as_it_was(arrays):
    layers = arrays.related(40, (4, 5))
    stream = feed(layers, [20, 20])
    before = stream.matrix().values
    bad = layers[1].copy()
    bad[2, 2] = np.inf
    for batch, message in [
        ([layers[0], bad], r"layers\[1\]: infinite values in 1 of 40 rows"),
        ([layers[0], layers[1][:7]], r"layers\[1\]: 7 samples, but layers\[0\] has 40"),
        ([layers[0]], r"widths \(4,\), but the stream has \(4, 5\)"),
        ([], "no layers"),
    ]:
        with pytest.raises(InputError, match=message):
            stream.update(batch)
    np.testing.assert_array_equal(stream.matrix().values, before)


def test_streams_that_do_not_fit_are_not_merged(arrays):
    layers = arrays.related(20, (4, 5, 6))
    stream = feed(layers, [20])
    for other in (feed(layers[:2], [20]), feed(layers, [20], pairs="consecutive")):
        with pytest.raises(InputError, match="different layers or pairs"):
            stream.merge(other)


def test_merging_leaves_the_other_stream_alone(arrays):
    layers = arrays.related(40, (4, 5))
    other = feed(layers, [40])
    before = other.matrix().values
    merged = CKAStream().merge(other)
    merged.update(layers)
    assert (other.n, merged.n) == (40, 80)
    np.testing.assert_array_equal(other.matrix().values, before)


def test_too_few_samples_and_unknown_pairs_are_refused(arrays):
    layers = arrays.related(3, (4, 5))
    with pytest.raises(InputError, match="needs at least 4 samples, got 3"):
        feed(layers, [3]).matrix()
    with pytest.raises(InputError, match="needs at least 2 samples, got 0"):
        CKAStream().matrix(estimator="biased")
    with pytest.raises(InputError, match="unknown pairs 'some'"):
        feed(layers, [3], pairs="some")
    with pytest.raises(InputError, match=r"outside 0\.\.1"):
        feed(layers, [3], pairs=[(0, 2)])


def test_a_stream_can_be_pickled(arrays):
    stream = feed(arrays.related(40, (4, 5)), [40])
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301
    np.testing.assert_array_equal(copy.matrix().values, stream.matrix().values)
