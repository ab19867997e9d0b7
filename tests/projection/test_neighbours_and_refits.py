"""Neighbours in the full space, and the movement of a map that nothing but a second fit makes."""

import itertools

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from backend.errors import InputError
from backend.projection import nearest_samples, project_layers, refit_movements
from backend.projection.geometry import movement, radius
from tests.projection.test_project_layers import drifting


@pytest.mark.parametrize(("offset", "dtype"), [(0, np.float32), (256, np.float32), (0, np.float16)])
def test_nearest_samples_are_those_of_scikit_learn(offset, dtype):
    x = (np.random.default_rng(0).normal(size=(70, 9)) + offset).astype(dtype)
    wide = x.astype(np.float64)
    expected = NearestNeighbors(n_neighbors=8, algorithm="brute").fit(wide).kneighbors()[1]
    np.testing.assert_array_equal(nearest_samples(x, 8), expected)


def test_tied_samples_keep_the_order_of_the_samples_in_every_layer():
    x = np.repeat(np.arange(3.0)[:, None], 6, axis=0) * np.ones((1, 4))
    near = nearest_samples(x, 3)
    assert near[0].tolist() == [1, 2, 3] and near[2].tolist() == [0, 1, 3]
    np.testing.assert_array_equal(near, nearest_samples(7 * x - 2, 3))


def test_a_constant_layer_has_no_neighbours_and_k_has_limits():
    assert nearest_samples(np.ones((5, 3)), 2).shape == (5, 0)
    for k in (0, 5):
        with pytest.raises(InputError, match=r"k: must lie in 1..4"):
            nearest_samples(np.eye(5), k)


def test_movement_is_the_median_in_radii_of_the_later_map():
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert radius(square) == pytest.approx(np.sqrt(2))
    shift = np.array([3.0, 4.0])
    assert movement(square + shift, 2 * square + shift) == pytest.approx(0.5)
    moved = square.copy()
    moved[0] += [0.0, 2.0]  # one of four: the median stays
    assert movement(square, moved) == 0
    assert np.isnan(movement(square, np.ones((4, 2))))
    assert np.isnan(movement(np.ones((4, 2)), square))


def test_a_second_fit_moves_as_much_as_a_next_layer_that_is_the_same():
    layers = drifting()
    constant = np.ones((90, 4), dtype=np.float32)
    maps = project_layers([constant, layers[0], layers[0]], seed=1)
    moved = refit_movements([constant, layers[0]], maps[:2], seed=1)
    assert np.isnan(moved[0])
    assert moved[1] == pytest.approx(movement(maps[1], maps[2]), abs=1e-6)
    assert 0 < moved[1] < 0.5


def test_layers_that_change_move_their_map_more_than_a_second_fit_does():
    rng = np.random.default_rng(0)
    groups = 8 * rng.normal(size=(6, 12))
    before = groups[np.arange(90) % 6] + rng.normal(size=(90, 12))
    after = groups[np.arange(90) // 15] + rng.normal(size=(90, 12))
    maps = project_layers([before, after])
    between = [movement(a, b) for a, b in itertools.pairwise(maps)]
    assert between[0] > 2 * refit_movements([before], maps[:1])[0]
