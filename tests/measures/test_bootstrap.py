"""Bootstrap intervals of CKA: the delete-one sums under them, coverage, width, undefined cases."""

import numpy as np
import pytest

from backend.errors import InputError
from backend.measures import cka, cka_matrix
from backend.measures.chance.bootstrap import _resampled, cka_intervals, delete_one
from backend.measures.chance.samples import sample_sums
from backend.measures.core.base import prepare


def sums_of(layers):
    return sample_sums([prepare(x, "x") for x in layers])


@pytest.fixture(scope="module")
def population():
    """Draws of two Gaussian layers with a common latent, and their exact CKA."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(3, 20)), rng.normal(size=(3, 30))
    noise = 1.5

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        latent = rng.normal(size=(n, 3))
        return (
            latent @ a + noise * rng.normal(size=(n, 20)),
            latent @ b + noise * rng.normal(size=(n, 30)),
        )

    xx, yy = a.T @ a + noise**2 * np.eye(20), b.T @ b + noise**2 * np.eye(30)
    truth = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(xx) * np.linalg.norm(yy))
    return draw, float(truth)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize("widths", [(3, 5), (50, 4)])
def test_values_without_one_sample_are_those_of_the_data_without_it(arrays, estimator, widths):
    layers = arrays.related(12, widths)
    whole, without = delete_one(sums_of(layers), estimator)
    found = without[:, 2] / np.sqrt(without[:, 0] * without[:, 1])
    expected = [
        arrays.reference_cka(*(np.delete(x, a, axis=0) for x in layers), estimator)
        for a in range(12)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    value = whole[2] / np.sqrt(whole[0] * whole[1])
    assert value == pytest.approx(arrays.reference_cka(*layers, estimator), rel=1e-12)
    if estimator == "debiased":  # U-statistics are the mean of their delete-one values
        np.testing.assert_allclose(without.mean(axis=0), whole, rtol=1e-10)


@pytest.mark.parametrize("n", [128, 512])
def test_intervals_cover_the_population_value_in_95_percent_of_draws(population, n):
    draw, truth = population
    draws = 300
    low, high, value = np.empty((3, draws))
    for seed in range(draws):
        sums = sums_of(draw(n, seed))
        low[seed], high[seed] = (end[2] for end in cka_intervals(sums, resamples=400))
        value[seed] = sums.statistics.debiased()[0, 1]
    assert 0.92 <= np.mean((low <= truth) & (truth <= high)) <= 0.98  # ± 2.4 sd of 300 draws
    assert max(np.mean(high < truth), np.mean(low > truth)) < 0.06
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * value.std(), rel=0.15)


def test_width_is_that_of_resampling_the_grams(population, arrays):
    draw, _ = population
    x, y = draw(100, 1)
    low, high = cka_intervals(sums_of([x, y]), level=0.9)
    rng = np.random.default_rng(3)
    # The naive bootstrap, all recomputed; copies of a row shift its centre, not its width.
    naive = [
        arrays.reference_cka(x[rows], y[rows], "debiased")
        for rows in rng.integers(100, size=(400, 100))
    ]
    width = np.subtract(*np.quantile(naive, [0.95, 0.05]))
    assert high[2] - low[2] == pytest.approx(width, rel=0.15)


def test_width_is_that_of_the_jackknife(population):
    draw, _ = population
    sums = sums_of(draw(300, 2))
    low, high = cka_intervals(sums, resamples=4000)
    _, without = delete_one(sums, "debiased")
    values = without[:, 2] / np.sqrt(without[:, 0] * without[:, 1])
    sd = np.sqrt(299 / 300 * ((values - values.mean()) ** 2).sum())
    assert high[2] - low[2] == pytest.approx(2 * 1.96 * sd, rel=0.05)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_resamples_of_each_hsic_lie_about_the_hsic_of_the_data(arrays, estimator):
    sums = sums_of(arrays.related(40, (30, 50)))
    whole, _ = delete_one(sums, estimator)
    drawn = _resampled(sums, slice(None), estimator, 4000, 0)
    # Their expectation is exactly the HSIC itself, whatever bias its influences have.
    np.testing.assert_array_less(
        abs(drawn.mean(axis=0) - whole), 4.5 * drawn.std(axis=0) / np.sqrt(len(drawn))
    )


def test_nearly_equal_layers_have_a_narrow_interval_below_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 30))
    result = cka(x, x + 0.1 * rng.normal(size=x.shape), interval=True)
    assert result.ci_low < float(result) < result.ci_high < 1
    assert result.ci_high - result.ci_low < 0.01


def test_matrix_has_the_intervals_of_the_pairs(arrays):
    layers = arrays.related(60, (5, 8, 40))
    matrix = cka_matrix(layers, interval=0.9)
    cross = cka_matrix(layers[:2], layers[2:], interval=0.9)
    for (i, j), single in (
        (pair, cka(layers[pair[0]], layers[pair[1]], interval=0.9))
        for pair in ((0, 1), (0, 2), (2, 1))
    ):
        assert matrix.ci_lows[i, j] == pytest.approx(single.ci_low, abs=1e-12)
        assert matrix.ci_highs[i, j] == pytest.approx(single.ci_high, abs=1e-12)
    np.testing.assert_allclose(cross.ci_lows, matrix.ci_lows[:2, 2:], atol=1e-12)
    assert (np.diag(matrix.ci_lows) == 1).all() and (np.diag(matrix.ci_highs) == 1).all()
    frame = matrix.to_frame()
    assert frame.ci_high.tolist() == matrix.ci_highs.ravel().tolist()
    plain = cka_matrix(layers)
    assert plain.ci_lows is None and plain.to_frame().ci_low.isna().all()


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_rbf_and_biased_values_lie_in_their_intervals(arrays, estimator):
    x, y = arrays.related(80, (5, 8))
    for kernel in ("linear", "rbf"):
        result = cka(x, y, kernel=kernel, estimator=estimator, interval=True)
        assert result.ci_low < float(result) < result.ci_high
        assert result.ci_high - result.ci_low < 0.3
        plain = cka(x, y, kernel=kernel, estimator=estimator)
        assert float(result) == pytest.approx(float(plain), abs=1e-13)


def test_interval_is_the_same_every_time_and_wider_at_a_higher_level(arrays):
    sums = sums_of(arrays.related(60, (5, 8)))
    first, again = cka_intervals(sums), cka_intervals(sums)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, cka_intervals(sums, seed=1))
    wide = cka_intervals(sums, level=0.99)
    assert wide[0][2] < first[0][2] and wide[1][2] > first[1][2]


def test_undefined_cells_have_no_interval(arrays):
    x = arrays.related(20, (4,))[0]
    matrix = cka_matrix([x, np.ones((20, 3))], interval=True)
    assert np.isnan(matrix.ci_lows).tolist() == [[False, True], [True, True]]
    few = cka(x[:4], x[:4] ** 2, interval=True)
    assert np.isnan(few.ci_low) and np.isfinite(float(few))
    # One sample carries all similarity of x: resamples without it have none.
    y = arrays.related(20, (4,), seed=1)[0]
    spike = 1e-3 * x
    spike[3] += 1000
    assert np.isnan(cka(spike, y, interval=True).ci_low)


@pytest.mark.parametrize("interval", [0.0, 1.0, 95, float("nan")])
def test_levels_outside_0_to_1_are_refused(arrays, interval):
    with pytest.raises(InputError, match=r"interval: must lie in \(0, 1\)"):
        cka(*arrays.related(10, (2, 2)), interval=interval)
    with pytest.raises(InputError, match="resamples: needs at least 2"):
        cka_intervals(sums_of(arrays.related(10, (2, 2))), resamples=1)


def test_chunks_of_resamples_and_pairs_do_not_change_the_ends(arrays, monkeypatch):
    sums = sums_of(arrays.related(40, (3, 4, 5)))
    whole = cka_intervals(sums)
    monkeypatch.setattr("backend.measures.chance.bootstrap._CHUNK", 2)
    monkeypatch.setattr("backend.measures.chance.bootstrap._WEIGHTS", 100)
    np.testing.assert_allclose(cka_intervals(sums), whole, atol=1e-13)
