"""Retrieval: a slow reference, perfect and chance cases, ties, the null, undefined cases."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from backend.errors import InputError
from backend.measures import retrieval
from backend.measures.core.groups import as_groups, half_of_groups


def halves(n, seed):
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


@pytest.mark.parametrize("seed", [0, 3])
def test_equals_scipys_procrustes_and_a_full_sort(arrays, seed):
    x, y = (a + 4 for a in arrays.related(90, (6, 6)))
    gallery, fit = halves(90, seed)
    a, b = (z - z[fit].mean(axis=0) for z in (x, y))
    mapped = a @ orthogonal_procrustes(a[fit], b[fit])[0]
    u, v = (z[gallery] / np.linalg.norm(z[gallery], axis=1)[:, None] for z in (mapped, b))
    cosines = u @ v.T
    result = retrieval(x, y, ks=(1, 5, 10), seed=seed)
    for found, table in ((result.x_to_y, cosines), (result.y_to_x, cosines.T)):
        places = (table > np.diag(table)[:, None]).sum(axis=1)
        for k in (1, 5, 10):
            assert float(found[k]) == pytest.approx((places < k).mean(), abs=1e-12)
            assert found[k].params["k"] == k and found[k].n == 45
            assert found[k].null_mean == pytest.approx(k / 45)
    assert result.x_to_y[5].params["direction"] == "x_to_y"
    assert 0 < float(result.x_to_y[1]) < float(result.x_to_y[10]) < 1


@pytest.mark.parametrize("widths", [(8, 8), (8, 20), (20, 8)])
def test_rotated_copies_of_any_width_are_found(arrays, widths):
    latent = np.random.default_rng(0).normal(size=(80, min(widths)))
    x, y = (latent @ arrays.orthogonal(d, seed=d)[: min(widths)] * 3 + 100 for d in widths)
    result = retrieval(x, y)
    assert float(result.x_to_y[1]) == float(result.y_to_x[1]) == 1
    assert result.x_to_y[1].dims == widths


def test_the_map_is_not_fitted_on_the_gallery():
    # Wide independent data: fitted on everything, the map would find nearly every partner.
    x, y = np.random.default_rng(0).normal(size=(2, 200, 100))
    for result in (retrieval(x, y).x_to_y[10], retrieval(x, y).y_to_x[10]):
        assert abs(result.z) < 4
        assert float(result) < 0.25


def test_shifts_scale_and_rotations_of_either_side_do_not_matter(arrays):
    x, y = arrays.related(100, (7, 12))
    before = retrieval(x, y)
    moved = retrieval(50 * x @ arrays.orthogonal(7) + 1000, 1e-3 * y @ arrays.orthogonal(12) - 7)
    for k in (1, 5, 10):
        assert float(moved.x_to_y[k]) == pytest.approx(float(before.x_to_y[k]), abs=1e-12)
        assert float(moved.y_to_x[k]) == pytest.approx(float(before.y_to_x[k]), abs=1e-12)
    assert float(retrieval(x, y, seed=1).x_to_y[5]) != float(before.x_to_y[5])


def test_a_gallery_of_copies_scores_chance():
    rng = np.random.default_rng(0)
    gallery, _ = halves(40, 0)
    x = rng.normal(size=(40, 5))
    y = x.copy()
    y[gallery] = y[gallery[0]]
    for k, result in retrieval(x, y).x_to_y.items():
        assert float(result) == pytest.approx(k / 20, abs=1e-12)
        assert result.null_sd == pytest.approx(0, abs=1e-9)


def test_null_is_that_of_shuffled_galleries(arrays):
    x, y = arrays.related(60, (6, 6))
    gallery, _ = halves(60, 0)
    result = retrieval(x, y, ks=(3,)).x_to_y[3]
    rng = np.random.default_rng(0)
    values = []
    for _ in range(300):
        shuffled = y.copy()
        shuffled[gallery] = y[rng.permutation(gallery)]
        values.append(float(retrieval(x, shuffled, ks=(3,)).x_to_y[3]))
    error = result.null_sd / math.sqrt(300)
    assert np.mean(values) == pytest.approx(result.null_mean, abs=4 * error)
    assert 0.85 < np.std(values) / result.null_sd < 1.15


def test_too_few_samples_for_the_map_are_warned_about(arrays):
    x, y = arrays.related(40, (30, 50))
    result = retrieval(x, y).x_to_y[1]
    assert tuple(map(str, result.warnings)) == (
        "20 samples determine 19 of 30 directions of the map: the others are left out",
    )
    assert not retrieval(x[:, :5], y).x_to_y[1].warnings


def test_what_cannot_be_mapped_is_nan_with_the_reason(arrays):
    x = arrays.related(40, (5,))[0]
    constant = retrieval(x, np.full((40, 3), 0.1)).x_to_y[1]
    assert math.isnan(float(constant)) and math.isnan(constant.null_mean)
    assert str(constant.reason) == "the samples that the map is fitted on are constant in y"
    _, fit = halves(40, 0)
    x[fit, 1:] = 0
    x[fit, 0] = np.arange(20) % 2
    y = np.zeros((40, 2))
    y[fit, 1] = np.arange(20) // 2 % 2
    assert "uncorrelated" in str(retrieval(x, y).y_to_x[5].reason)


@pytest.mark.parametrize(
    ("ks", "message"),
    [
        ((1, 20), "ks: R@20 in a gallery of 20 samples"),
        ((0,), "ks: R@0"),
        ((1.5,), "ks: R@1.5"),
        ((), "ks: no k was given"),
    ],
)
def test_impossible_ks_are_refused(arrays, ks, message):
    with pytest.raises(InputError, match=message):
        retrieval(*arrays.related(40, (5, 6)), ks=ks)


def test_unusable_arrays_are_refused_and_tensors_accepted(arrays):
    x, y = (a.astype(np.float16) for a in arrays.related(40, (5, 6)))
    tensors = retrieval(torch.from_numpy(x), torch.from_numpy(y))
    assert float(tensors.x_to_y[5]) == float(retrieval(x.astype(float), y.astype(float)).x_to_y[5])
    bad = y.copy()
    bad[3] = np.nan
    for other, message in [
        (bad, "y: NaN in 1 of 40 rows"),
        (y[:30], "y: 30 samples, but x has 40"),
        (y.astype(int), "y: expected floating-point"),
    ]:
        with pytest.raises(InputError, match=message):
            retrieval(x, other)
    with pytest.raises(InputError, match="needs at least 4 samples"):
        retrieval(x[:3], y[:3], ks=(1,))


def captions(photos, each, d=12, seed=0, alike=True):
    """(x, y, group): every photo ``each`` times, beside as many captions of it, in random order."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(photos), each))
    photo = rng.normal(size=(photos, d))[group]
    meant = photo if alike else rng.normal(size=(photos, d))[group]
    return photo, meant + 0.05 * rng.normal(size=meant.shape), group


def test_of_captions_of_one_photo_any_partner_is_found():
    x, y, group = captions(60, 5)
    assert 0.1 < float(retrieval(x, y, ks=(1,)).x_to_y[1]) < 0.5, "one of five alike"
    result = retrieval(x, y, ks=(1,), groups=group)
    assert float(result.x_to_y[1]) == float(result.y_to_x[1]) == 1
    assert result.x_to_y[1].null_mean == pytest.approx(1 / 30, abs=0.01)


@pytest.mark.parametrize("sizes", [[4] * 20, [1, 2, 3] * 12, [5] * 8 + [9, 2] + [1] * 20])
def test_groups_equal_a_full_sort_and_their_null_that_of_shuffled_groups(sizes):
    rng = np.random.default_rng(1)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(group)
    shared = rng.normal(size=(len(sizes), 6))[group]
    x, y = (shared + rng.normal(size=(n, 6)) for _ in range(2))
    names = [f"g{at}" for at in group]
    result = retrieval(x, y, ks=(1, 4), groups=names, seed=2)
    gallery, fit = half_of_groups(as_groups(names, n), n, 2)
    assert not set(group[gallery]) & set(group[fit]) and abs(len(gallery) - n / 2) <= max(sizes)
    a, b = (z - z[fit].mean(axis=0) for z in (x, y))
    mapped = a @ orthogonal_procrustes(a[fit], b[fit])[0]
    u, v = (z[gallery] / np.linalg.norm(z[gallery], axis=1)[:, None] for z in (mapped, b))
    held, cosines = group[gallery], u @ v.T
    for k in (1, 4):
        found = result.x_to_y[k]
        first = held[np.argsort(-cosines, axis=1)[:, :k]]
        assert float(found) == pytest.approx((first == held[:, None]).any(axis=1).mean())
        count = {g: (held == g).sum() for g in set(held)}
        like = {g: [o for o in count if count[o] == count[g]] for g in count}
        rare = [g for g in count if len(like[g]) == 1]
        like |= dict.fromkeys(rare, rare)
        values = []
        for _ in range(400):
            partner = {}
            for kind in {tuple(members) for members in like.values()}:
                partner |= dict(zip(kind, rng.permutation(kind), strict=True))
            wanted = np.array([partner[g] for g in held])
            values.append((first == wanted[:, None]).any(axis=1).mean())
        error = found.null_sd / math.sqrt(400)
        assert np.mean(values) == pytest.approx(found.null_mean, abs=4 * error + 1e-12)
        assert 0.85 < np.std(values) / found.null_sd < 1.15


def test_unrelated_captions_are_at_chance():
    z = []
    for seed in range(40):
        x, y, group = captions(40, 5, seed=seed, alike=False)
        found = retrieval(x, y, ks=(5,), groups=group).x_to_y[5]
        z.append((float(found) - found.null_mean) / found.null_sd)
    assert abs(np.mean(z)) < 0.5 and 0.6 < np.std(z) < 1.4


def test_tied_partners_share_the_places_that_are_left():
    x, _, group = captions(12, 2)
    copies = np.concatenate([np.ones((12, 1)), -np.ones((12, 1))])
    found = retrieval(x, copies, ks=(1, 4), groups=group).x_to_y
    gallery, _ = half_of_groups(as_groups(group, 24), 24, 0)
    for k in (1, 4):
        # the rows that are most alike, all tied: one of them has each of the first k places
        values = []
        for query in gallery:
            own = {at for at in gallery if group[at] == group[query]}
            sides = [{at for at in gallery if copies[at, 0] == sign} for sign in (1, -1)]
            missed = [
                math.comb(len(side - own), k) / math.comb(len(side), k)
                if len(side) >= k
                else math.nan
                for side in sides
            ]
            values.append([1 - miss for miss in missed])
        low, high = np.sort(values, axis=1).mean(axis=0)
        assert low - 1e-9 <= float(found[k]) <= high + 1e-9


def test_groups_that_cannot_be_are_refused_in_one_line(arrays):
    x, y = arrays.related(20, (4, 4))
    one = retrieval(x, y, ks=(1,), groups=["a"] * 20).x_to_y[1]
    assert math.isnan(one) and "two groups" in str(one.reason)
    for groups, said in (
        (["a"] * 19, "19 groups, but there are 20 samples"),
        (["a"] * 5 + [""] + ["b"] * 14, "sample 5 has none"),
        ([float("nan")] * 20, "sample 0 has none"),
    ):
        with pytest.raises(InputError, match=said):
            retrieval(x, y, groups=groups)
    alone = retrieval(x, y, ks=(1,), groups=range(20))
    assert float(alone.x_to_y[1]) == float(retrieval(x, y, ks=(1,)).x_to_y[1])
