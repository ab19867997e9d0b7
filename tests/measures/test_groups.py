"""Samples that belong together: CKA, its chance and intervals, neighbours, predictivity."""

import itertools
from functools import partial

import numpy as np
import pytest

from backend.measures import (
    cka,
    cka_contributions,
    cka_matrix,
    cknna,
    jaccard_knn,
    linear_predictivity,
    mutual_knn,
    rsa,
    rsa_matrix,
)
from backend.measures.chance import inference
from backend.measures.chance.bootstrap import _resampled, cka_intervals
from backend.measures.chance.grams import HeldGrams, LinearGrams
from backend.measures.chance.grouped import by_group
from backend.measures.chance.samples import sample_sums, sample_sums_of_grams
from backend.measures.core.base import prepare
from backend.measures.core.groups import (
    as_groups,
    by_size,
    exchange_orders,
    exchanges,
    shuffled_orders,
)
from backend.measures.families import neighbour_null
from backend.measures.families import rsa as family_of_rsa

SIZES = (1, 2, 3, 5, 5, 1, 2, 4, 1)


def projected(gram, groups):
    """A Gram emptied inside the groups and brought to row sums of 0, by solving for u."""
    apart = (groups[:, None] != groups).astype(float)
    emptied = gram * apart
    u = np.linalg.solve(np.diag(apart.sum(axis=1)) + apart, -emptied.sum(axis=1))
    return apart * (emptied + u[:, None] + u)


def all_exchanges(groups):
    """Every order of the samples in which whole groups of one size change places."""
    kinds = by_size(groups)
    for ways in itertools.product(*(itertools.permutations(range(len(kind))) for kind in kinds)):
        order = np.empty(len(groups), dtype=int)
        for kind, way in zip(kinds, ways, strict=True):
            order[kind] = kind[list(way)]
        yield order


@pytest.fixture
def mixed():
    """Three layers of 24 samples in 9 groups of 1 to 5, not in order."""
    rng = np.random.default_rng(0)
    groups = as_groups(rng.permutation(np.repeat(np.arange(9), SIZES)), 24)
    return groups, [
        rng.normal(size=(24, d)) + 2 * rng.normal(size=(9, d))[groups] for d in (3, 40, 7)
    ]


def test_sums_by_group_are_those_of_the_projected_grams(arrays, mixed):
    groups, layers = mixed
    prepared = [prepare(x, "x") for x in layers]
    grams = np.stack([p.data @ p.data.T for p in prepared])
    diagonals = np.stack([np.diag(g) for g in grams])
    emptied = grams - np.stack([np.diag(d) for d in diagonals])
    expected = [projected(g, groups) for g in grams]
    linear = by_group(sample_sums(prepared), LinearGrams([p.data for p in prepared]), groups)
    held = by_group(sample_sums_of_grams(emptied, diagonals), HeldGrams(emptied, diagonals), groups)
    for sums in (linear, held):
        for column, (i, j) in enumerate(sums.pairs):
            terms = (expected[i] * expected[j]).sum(axis=1)
            np.testing.assert_allclose(sums.terms()[:, column], terms, atol=1e-14)
            assert sums.statistics.between[i, j] == pytest.approx(terms.sum(), abs=1e-13)


def test_groups_of_one_size_are_exchanged_and_no_others(mixed):
    groups, _ = mixed
    for order in shuffled_orders(groups, 24, 20, seed=0):
        for kind in by_size(groups):
            assert {tuple(order[members]) for members in kind} == set(map(tuple, kind))
    orders, every = exchange_orders(groups, 1000)
    assert every and len(orders) == len({tuple(o) for o in orders}) == 6 * 2 * 2
    assert exchanges(groups, 24) == 24 and exchanges(None, 5) == 120
    assert not exchange_orders(groups, 23)[1]


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_null_is_that_of_all_exchanges_of_groups(kernel):
    rng = np.random.default_rng(0)
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 6])
    x, y = (rng.normal(size=(7, d))[groups] + 0.5 * rng.normal(size=(13, d)) for d in (4, 6))
    result = cka(x, y, kernel=kernel, groups=groups, p_value=True)
    values = np.array(
        [float(cka(x, y[o], kernel=kernel, groups=groups)) for o in all_exchanges(groups)]
    )
    assert len(values) == 48
    assert result.null_mean == pytest.approx(values.mean(), abs=1e-6)
    assert result.null_sd == pytest.approx(values.std(), abs=1e-6)
    assert result.p_value == np.mean(values >= float(result) - 1e-9)


def test_groups_of_one_sample_each_change_nothing(arrays):
    x, y = arrays.related(30, (4, 9), noise=3)
    alone = [f"s{i}" for i in range(30)]
    for call in (
        lambda **more: cka(x, y, interval=True, p_value=True, **more),
        lambda **more: cka(x, y, kernel="rbf", interval=True, p_value=True, **more),
        lambda **more: cka(x, y, estimator="biased", interval=True, **more),
        lambda **more: cka_matrix([x, y], interval=True, p_value=True, **more).cell(0, 1, (4, 9)),
        lambda **more: mutual_knn(x, y, **more),
        lambda **more: jaccard_knn(x, y, **more),
        lambda **more: cknna(x, y, **more),
        lambda **more: rsa(x, y, **more),
        lambda **more: linear_predictivity(x, y, **more),
    ):
        assert repr(call()) == repr(call(groups=alone))


@pytest.mark.parametrize("m", [2, 5])
def test_copies_in_a_group_count_once(arrays, m):
    x, y = arrays.related(24, (4, 9))
    copies = [np.repeat(a, m, axis=0) for a in (x, y)]
    assert float(cka(*copies, groups=arrays.names(24, m))) == pytest.approx(
        float(cka(x, y)), abs=1e-12
    )
    assert float(cka(*copies)) > float(cka(x, y)) + 0.01


def test_intervals_and_p_values_of_copies_are_those_of_the_samples(arrays):
    x, y = arrays.related(100, (4, 9), noise=4)
    alone = cka(x, y, interval=True, p_value=True)
    groups = arrays.names(100, 3)
    copied = cka(np.repeat(x, 3, 0), np.repeat(y, 3, 0), groups=groups, interval=True, p_value=True)
    assert copied.ci_low == pytest.approx(alone.ci_low, abs=0.01)
    assert copied.ci_high == pytest.approx(alone.ci_high, abs=0.01)
    assert copied.null_sd == pytest.approx(alone.null_sd, rel=0.1)
    assert copied.z == pytest.approx(alone.z, rel=0.1)
    noise = np.random.default_rng(5).normal(size=(100, 6))
    ours, theirs = (
        cka(np.repeat(x, 3, 0), np.repeat(noise, 3, 0), groups=groups, p_value=True).p_value,
        cka(x, noise, p_value=True).p_value,
    )
    assert ours == pytest.approx(theirs, abs=0.04)


def test_independent_groups_are_above_chance_in_five_percent(arrays):
    found, naive = [], []
    groups = arrays.names(40, 5)
    for seed in range(3):
        left = [arrays.photos(40, 5, 8, 100 * seed + i) for i in range(8)]
        right = [arrays.photos(40, 5, 8, 100 * seed + 50 + i, noise=1.0) for i in range(8)]
        found.append(cka_matrix(left, right, p_value=True, groups=groups).p_values)
        naive.append(cka_matrix(left, right, p_value=True).p_values)
    p = np.concatenate(found)
    assert 0.015 < (p < 0.05).mean() < 0.10  # 192 pairs: 0.05 ± 3 sd
    assert 0.4 < p.mean() < 0.6
    assert (np.concatenate(naive) < 0.05).mean() > 0.8


def test_intervals_by_group_hold_the_true_value_and_those_of_samples_do_not():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 12)), rng.normal(size=(3, 10))
    noise = 1.5**2
    cross = np.linalg.norm(a.T @ b) ** 2
    truth = cross / (
        np.linalg.norm(a.T @ a + noise * np.eye(12)) * np.linalg.norm(b.T @ b + noise * np.eye(10))
    )
    at = np.arange(200) // 5
    held = {True: 0, False: 0}
    values = []
    for _ in range(120):
        latent = rng.normal(size=(40, 3))[at]
        x = latent @ a + 1.5 * rng.normal(size=(40, 12))[at]
        y = latent @ b + 1.5 * rng.normal(size=(40, 10))[at]
        for told in held:
            result = cka(x, y, interval=True, groups=at if told else None)
            held[told] += result.ci_low <= truth <= result.ci_high
        values.append(float(cka(x, y, groups=at)))
    assert 0.88 <= held[True] / 120 <= 0.99
    assert held[False] / 120 < 0.75
    assert np.mean(values) == pytest.approx(truth, abs=0.015)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_resamples_of_groups_lie_about_the_hsic_of_the_data(mixed, estimator):
    groups, layers = mixed
    prepared = [prepare(x, "x") for x in layers]
    sums = by_group(sample_sums(prepared), LinearGrams([p.data for p in prepared]), groups)
    drawn = _resampled(sums, slice(None), estimator, 4000, 0)
    if estimator == "debiased":
        whole = sums.terms().sum(axis=0)
    else:
        i, j = np.array(sums.pairs).T
        whole = (sums.statistics.off + sums.statistics.w)[i, j] / 24**2
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    np.testing.assert_array_less(abs(drawn.mean(axis=0) - whole), 4.5 * error)


def test_width_by_group_is_that_of_leaving_out_groups():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), rng.integers(1, 5, size=60))
    latent = rng.normal(size=(60, 3))[groups]
    x, y = (latent @ rng.normal(size=(3, d)) + rng.normal(size=(len(groups), d)) for d in (6, 9))
    result = cka(x, y, groups=groups, interval=True)
    without = np.array(
        [float(cka(x[at], y[at], groups=groups[at])) for at in (groups != g for g in range(60))]
    )
    sd = np.sqrt(59 / 60 * ((without - without.mean()) ** 2).sum())
    assert result.ci_high - result.ci_low == pytest.approx(2 * 1.96 * sd, rel=0.12)


def test_drivers_by_group_sum_to_one_and_leave_out_the_own_group(arrays):
    groups = arrays.names(20, 3)
    x, y = arrays.photos(20, 3, 5, 0), arrays.photos(20, 3, 5, 0, noise=0.3)
    assert cka_contributions(x, y, groups=groups).sum() == pytest.approx(1, abs=1e-12)


def test_what_groups_do_not_allow_is_nan_with_a_reason(arrays):
    x, y = arrays.related(40, (4, 5))

    def asked(groups):
        return cka(x, y, groups=groups, interval=True, p_value=True)

    three = asked(np.arange(40) % 3)
    assert (
        np.isnan(float(three)) and str(three.reason) == "it takes 4 groups of samples: there are 3"
    )
    one = asked(np.zeros(40))
    assert str(one.reason) == "it takes 4 groups of samples: there are 1"
    half = asked(np.r_[np.zeros(20), np.arange(1, 21)])
    assert str(half.reason) == "one group holds 20 of 40 samples: it must be less than half"
    ten = asked(np.repeat(np.arange(10), 4))
    assert np.isfinite([float(ten), ten.p_value, ten.null_sd]).all() and np.isnan(ten.ci_low)
    assert "no interval: it takes 32 groups of samples, and there are 10" in str(ten.warnings)
    unequal = asked(np.repeat(np.arange(8), (1, 2, 3, 4, 5, 6, 7, 12)))
    assert np.isfinite(float(unequal)) and np.isnan([unequal.p_value, unequal.null_sd]).all()
    assert "the groups can be exchanged in 1 ways, and it takes 20" in str(unequal.warnings)
    biased = cka(x, y, estimator="biased", groups=np.arange(40) // 2)
    assert np.isfinite(float(biased)) and np.isnan(biased.null_mean)
    assert biased.warnings.has("biased_in_groups")


def test_too_many_samples_in_groups_have_values_and_intervals_but_no_null(arrays, monkeypatch):
    x, y = arrays.photos(40, 2, 4, 0), arrays.photos(40, 2, 4, 1)
    monkeypatch.setattr(inference, "SHUFFLE_WORK", 1e5)
    result = cka(x, y, groups=arrays.names(40, 2), interval=True, p_value=True)
    assert np.isfinite([float(result), result.ci_low]).all()
    assert np.isnan([result.p_value, result.null_mean]).all()
    assert result.warnings.has("many_exchanges")
    assert cka(x, y, groups=arrays.names(40, 2)).warnings.has("not_by_group")
    monkeypatch.setattr(neighbour_null, "LARGEST", 79)
    monkeypatch.setattr(family_of_rsa, "LARGEST_IN_GROUPS", 79)
    for one in (partial(mutual_knn, k=3), rsa, partial(cka, kernel="rbf")):
        many = one(x, y, groups=arrays.names(40, 2))
        assert np.isfinite(float(many)) and np.isnan([many.null_mean, many.null_sd]).all()
        assert many.warnings.has("many_exchanges")
        unequal = one(x, y, groups=np.repeat(np.arange(8), (2, 4, 6, 8, 10, 12, 15, 23)))
        assert np.isfinite(float(unequal)) and np.isnan(unequal.null_sd)
        assert unequal.warnings.has("few_exchanges")


EXCHANGED = {
    "mutual_knn": partial(mutual_knn, k=3),
    "jaccard_knn": partial(jaccard_knn, k=3),
    "cknna": partial(cknna, k=3),
    "rsa spearman": rsa,
    "rsa pearson": partial(rsa, comparison="pearson"),
    "rsa cosine": partial(rsa, comparison="cosine", distance="correlation"),
    "rsa whitened": partial(rsa, comparison="cosine_cov"),
    "cka rbf": partial(cka, kernel="rbf"),
}


@pytest.mark.parametrize("measure", EXCHANGED.values(), ids=EXCHANGED)
@pytest.mark.parametrize("sizes", [(2,) * 5, (3,) * 4, (2, 2, 2, 2, 1, 1, 4)])
def test_null_in_groups_is_that_of_all_exchanges(measure, sizes):
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x, y = (
        rng.normal(size=(len(sizes), d))[groups] + 0.4 * rng.normal(size=(len(groups), d))
        for d in (6, 5)
    )
    result = measure(x, y, groups=groups)
    values = [float(measure(x, y[order], groups=groups)) for order in all_exchanges(groups)]
    assert result.null_mean == pytest.approx(np.mean(values), abs=1e-6)
    assert result.null_sd == pytest.approx(np.std(values), abs=1e-6)
    assert np.isnan(result.p_value)


def test_neighbours_are_sought_in_other_groups():
    rng = np.random.default_rng(4)
    groups = np.arange(40) // 4
    x, y = (rng.normal(size=(10, 5))[groups] + 0.3 * rng.normal(size=(40, 5)) for _ in range(2))
    shared = []
    for a in range(40):
        near = [
            set(sorted(np.flatnonzero(groups != groups[a]),
                       key=lambda b, z=z, a=a: np.linalg.norm(z[b] - z[a]))[:4])
            for z in (x, y)
        ]  # fmt: skip
        shared.append(len(near[0] & near[1]) / 4)
    assert float(mutual_knn(x, y, 4, groups=groups)) == pytest.approx(np.mean(shared), abs=1e-12)
    assert abs(mutual_knn(x, y, 4, groups=groups).z) < 3 < mutual_knn(x, y, 4).z
    few = mutual_knn(x, y, 37, groups=groups)
    assert np.isnan(float(few)) and "has 36 in other groups: too few for 37" in str(few.reason)


def test_predictivity_does_not_train_on_copies_of_what_it_predicts(arrays):
    x, y = arrays.photos(30, 4, 60, 0, noise=0.01), arrays.photos(30, 4, 3, 1)
    assert float(linear_predictivity(x, y)) > 0.8
    assert float(linear_predictivity(x, y, groups=arrays.names(30, 4))) < 0.1
    few = linear_predictivity(x, y, groups=np.arange(120) % 3)
    assert "it takes 5 groups of samples: there are 3" in str(few.reason)


MATRICES = {"rsa": (rsa, rsa_matrix, {}), "cka rbf": (cka, cka_matrix, {"kernel": "rbf"})}


@pytest.mark.parametrize(("measure", "matrix", "more"), MATRICES.values(), ids=MATRICES)
def test_null_of_a_matrix_in_groups_is_that_of_its_pairs(arrays, measure, matrix, more):
    groups = arrays.names(20, 3)
    layers = [arrays.photos(20, 3, 4, seed) for seed in range(10)]
    whole = matrix(layers, groups=groups, **more)
    across = matrix(layers[:2], layers[2:], groups=groups, **more)
    for i, j in ((0, 2), (1, 9), (0, 5)):
        single = measure(layers[i], layers[j], groups=groups, **more)
        for result, at in ((whole, (i, j)), (whole, (j, i)), (across, (i, j - 2))):
            assert result.null_means[at] == pytest.approx(single.null_mean, abs=1e-6)
            assert result.null_sds[at] == pytest.approx(single.null_sd, abs=1e-6)


def test_unrelated_layers_in_groups_are_as_alike_as_chance_says(arrays):
    left = [arrays.photos(30, 4, 8, seed) for seed in range(6)]
    right = [arrays.photos(30, 4, 8, 50 + seed, noise=0.5) for seed in range(6)]
    groups = arrays.names(30, 4)
    for _, matrix, more in MATRICES.values():
        z = matrix(left, right, groups=groups, **more).z
        assert abs(z.mean()) < 0.6 and 0.6 < z.std() < 1.5
    assert rsa_matrix(left, right).z.mean() > 2


def test_intervals_by_group_have_the_same_draws_every_time(arrays):
    prepared = [prepare(x, "x") for x in arrays.related(40, (4, 6))]
    grams = LinearGrams([p.data for p in prepared])
    alone = by_group(sample_sums(prepared), grams, np.arange(40))
    np.testing.assert_array_equal(cka_intervals(alone), cka_intervals(alone))
    of_samples = cka_intervals(sample_sums(prepared))
    np.testing.assert_allclose(cka_intervals(alone), of_samples, atol=0.05)
