"""TwoNN: known dimensions, a slow reference, copies, undefined cases."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from backend.errors import InputError
from backend.measures import two_nn


def reference(x, discard):
    """The fit of the paper with scikit-learn's neighbours and numpy's least squares."""
    n = len(x)
    distances, _ = NearestNeighbors(n_neighbors=2).fit(x).kneighbors()
    ratios = np.sort(distances[:, 1] / distances[:, 0])
    used = int(n * (1 - discard))
    heights = -np.log(1 - np.arange(1, used + 1) / n)
    return np.linalg.lstsq(np.log(ratios[:used])[:, None], heights, rcond=None)[0][0]


@pytest.mark.parametrize("discard", [0.1, 0.3])
def test_equals_the_fit_on_scikit_learns_neighbours(arrays, discard):
    x = arrays.related(200, (7,))[0]
    assert float(two_nn(x, discard=discard)) == pytest.approx(reference(x, discard), rel=1e-10)
    assert two_nn(x, discard=discard).params == {"discard": discard}
    assert float(two_nn(x, discard=0)) == pytest.approx(reference(x, 1 / 200), rel=1e-10)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_uniform_data_have_their_dimension_also_in_a_wider_space(arrays, d):
    x = np.random.default_rng(0).uniform(size=(2000, d))
    wide = np.column_stack([x, np.zeros((2000, 20))]) @ arrays.orthogonal(20 + d)
    assert float(two_nn(wide)) == pytest.approx(d, rel=0.08)


def test_a_bent_sheet_has_two_dimensions_although_it_fills_three():
    u, v = np.random.default_rng(0).uniform(0.5, 3, size=(2, 2000))
    roll = np.column_stack([5 * u * np.cos(5 * u), 5 * u * np.sin(5 * u), 20 * v])
    assert float(two_nn(roll)) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("offset", [0, 1000])
def test_close_pairs_far_from_the_mean_keep_their_distances(offset):
    rng = np.random.default_rng(0)
    clusters = np.repeat(rng.normal(size=(10, 3)) * 100, 40, 0) + 0.02 * rng.normal(size=(400, 3))
    x = clusters + offset
    assert float(two_nn(x)) == pytest.approx(reference(x, 0.1), rel=1e-5)


def test_copies_are_left_out_and_said(arrays):
    x = arrays.related(100, (5,))[0]
    x[0, 0] = -0.0
    twice = np.concatenate([x, x[:30]])
    result = two_nn(twice)
    assert float(result) == pytest.approx(float(two_nn(x)), rel=1e-9)
    assert (
        str(result.warnings) == "30 of 130 rows of x are copies of another row: left out, 100 used"
    )
    assert result.n == 100
    assert not two_nn(x).warnings


@pytest.mark.parametrize("noise", [1e-15, 1e-12, 1e-9, 1e-7, 1e-6])
@pytest.mark.parametrize(("n", "d"), [(300, 6), (2000, 1), (900, 40)])
def test_copies_with_float_noise_are_copies(noise, n, d):
    rng = np.random.default_rng(0)
    # On a line a million steps of the noise long many rows lie between: steps of equal size there.
    x = rng.normal(size=(n, d)) if d > 1 else np.cumsum(0.5 + rng.uniform(size=(n, 1)), axis=0)
    twice = np.repeat(x, 2, axis=0)
    twice[1::2] *= 1 + noise * rng.normal(size=(n, d)) if d > 1 else 1 + noise * 0.1
    result = two_nn(twice)
    assert result.n == n
    assert float(result) == pytest.approx(float(two_nn(x)), rel=1e-3)
    assert tuple(map(str, result.warnings)) == (
        f"{n} of {2 * n} rows of x are copies of another row: left out, {n} used",
    )


def test_undefined_cases_are_nan_with_the_reason(arrays):
    for x, reason in [
        (np.full((9, 3), 0.1), "x is constant: every sample has the same vector"),
        (np.repeat(np.eye(3), 5, 0), "only 3 distinct samples"),
        (np.arange(9.0)[:, None][[1, 2, 3, 1]] * [1.0, 2], "only 3 distinct samples"),
        (np.eye(12), "the two nearest neighbours of each sample are equally far"),
    ]:
        result = two_nn(x)
        assert math.isnan(float(result)), reason
        assert str(result.reason).startswith(reason)


def test_unusable_input_is_refused_and_tensors_accepted(arrays):
    x = arrays.related(60, (5,))[0].astype(np.float16)
    assert float(two_nn(torch.from_numpy(x))) == float(two_nn(x))
    assert float(two_nn(x)) == pytest.approx(float(two_nn(x.astype(float))), rel=1e-12)
    for discard in (-0.1, 1, math.nan):
        with pytest.raises(InputError, match=r"discard: must lie in \[0, 1\)"):
            two_nn(x, discard=discard)
    bad = x.copy()
    bad[3] = np.nan
    with pytest.raises(InputError, match="x: NaN in 1 of 60 rows"):
        two_nn(bad)
    with pytest.raises(InputError, match="needs at least 4 samples, got 3"):
        two_nn(x[:3])
    with pytest.raises(InputError, match="expected floating-point"):
        two_nn(x.astype(int))
