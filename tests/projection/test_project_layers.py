"""Layer maps: deterministic, comparable from layer to layer, finite, honest about constants."""

import itertools

import numpy as np
import pytest
from sklearn.decomposition import PCA

from backend.errors import InputError
from backend.projection import project_layers
from backend.projection.geometry import align
from tests.watch import Watch

GROUPS = np.arange(90) % 6


def drifting(n=90, widths=(12,) * 5, seed=0):
    """Six groups of samples that turn, stretch and blur a little from layer to layer."""
    rng = np.random.default_rng(seed)
    d = widths[0]
    x = 3 * rng.normal(size=(6, d))[np.arange(n) % 6] + rng.normal(size=(n, d))
    layers = []
    for width in widths:
        layers.append(x[:, :width].astype(np.float32))
        turn = np.linalg.qr(np.eye(d) + 0.15 * rng.normal(size=(d, d)))[0]
        x = x @ turn * np.exp(0.3 * rng.normal(size=d)) + 0.3 * rng.normal(size=x.shape)
    return layers


def radius(points):
    return np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())


def displacement(maps):
    """Mean move of a sample between consecutive maps, in units of the map's radius."""
    pairs = itertools.pairwise(maps)
    return np.mean([np.linalg.norm(b - a, axis=1).mean() / radius(b) for a, b in pairs])


@pytest.fixture(scope="module")
def umap_maps():
    return project_layers(drifting())


def test_umap_moves_samples_less_than_independent_fits_even_when_those_are_aligned(umap_maps):
    alone = [project_layers([x])[0] for x in drifting()]
    aligned = alone[:1]
    for points in alone[1:]:
        aligned.append(align(points, aligned[-1]))
    assert displacement(umap_maps) < 0.75 * displacement(aligned)
    assert displacement(umap_maps) < 0.6 * displacement(alone)


def test_umap_keeps_the_groups_apart_in_every_layer(umap_maps):
    for points in umap_maps:
        centres = np.array([points[g == GROUPS].mean(axis=0) for g in range(6)])
        nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
        assert (nearest == GROUPS).mean() > 0.9


def test_umap_maps_share_one_scale(umap_maps):
    radii = [radius(points) for points in umap_maps]
    assert max(radii) < 1.5 * min(radii)


def test_the_same_seed_gives_the_same_map_and_another_seed_another(umap_maps):
    for a, b in zip(umap_maps, project_layers(drifting()), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(project_layers(drifting()[:1], seed=1)[0], umap_maps[0])


@pytest.mark.parametrize("method", ["umap", "pca"])
def test_coordinates_are_finite_float32_pairs_that_ignore_a_massive_offset(method):
    layers = drifting()[:2]
    shifted = [x.copy() for x in layers]
    for x in shifted:
        x[:, 3] += 256
    for points, moved in zip(
        project_layers(layers, method=method), project_layers(shifted, method=method), strict=True
    ):
        assert points.shape == (90, 2) and points.dtype == np.float32
        assert np.isfinite(points).all()
        if method == "pca":
            np.testing.assert_allclose(points, moved, atol=1e-3)


@pytest.mark.parametrize("method", ["umap", "pca"])
def test_a_constant_layer_is_one_point_at_the_centre_of_its_neighbour(method):
    a, b = drifting()[:2]
    constant = np.full((90, 12), 0.1, dtype=np.float32)
    maps = project_layers([constant, a, constant, b], method=method)
    plain = project_layers([a, b], method=method)
    np.testing.assert_array_equal(maps[1], plain[0])
    np.testing.assert_array_equal(maps[3], plain[1])
    for at in (0, 2):
        np.testing.assert_allclose(maps[at], np.tile(plain[0].mean(axis=0), (90, 1)), atol=1e-6)
    assert (project_layers([constant], method=method)[0] == 0).all()


@pytest.mark.parametrize("method", ["umap", "pca"])
@pytest.mark.parametrize("case", ["four samples", "a line", "copied rows", "one coordinate"])
def test_awkward_layers_still_get_finite_coordinates(method, case):
    x = drifting()[0]
    layer = {
        "four samples": x[:4],
        "a line": np.outer(np.arange(20), np.ones(5)).astype(np.float32),
        "copied rows": np.repeat(x[:6], 5, axis=0),
        "one coordinate": x[:, :1],
    }[case]
    for points in project_layers([layer, layer], method=method):
        assert points.shape == (len(layer), 2)
        assert np.isfinite(points).all()


def test_joint_pca_of_one_layer_is_its_pca():
    x = drifting()[0].astype(np.float64)
    points = project_layers([x], method="pca")[0]
    centred = x - x.mean(axis=0)
    expected = PCA(2).fit_transform(x) / np.linalg.norm(centred) * np.sqrt(len(x))
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-4)


def test_pca_weighs_layers_alike_whatever_their_scale():
    layers = drifting()
    scaled = [x * 10.0**k for k, x in enumerate(layers)]
    for a, b in zip(
        project_layers(layers, method="pca"), project_layers(scaled, method="pca"), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_pca_of_layers_of_different_width_is_aligned():
    maps = project_layers(drifting(widths=(12, 10, 12, 11)), method="pca")
    alone = [project_layers([x], method="pca")[0] for x in drifting(widths=(12, 10, 12, 11))]
    assert displacement(maps) <= displacement(alone)
    assert displacement(maps) < 0.5


def test_align_undoes_a_rigid_motion_and_never_scales():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(30, 2))
    angle = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(align(target @ angle + 5, target), target, atol=1e-6)
    assert radius(align(3 * target, target)) == pytest.approx(3 * radius(target), rel=1e-5)


def test_progress_counts_the_layers():
    watch = Watch()
    project_layers(drifting()[:2], progress=watch)
    assert [step[:2] for step in watch.told] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "tsne"}, "method: unknown method 'tsne'"),
        ({"n_neighbors": 1}, "n_neighbors: must be at least 2"),
        ({"min_dist": 2.0}, "min_dist: must lie between 0 and 1"),
        ({"seed": -1}, "seed: must lie between"),
    ],
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        project_layers(drifting()[:1], **arguments)


def test_unusable_layers_are_named():
    x = drifting()[0]
    with pytest.raises(InputError, match="x: needs at least 4 samples, got 3"):
        project_layers([x[:3]], names=["x"])
    with pytest.raises(InputError, match=r"layers\[1\]: 59 samples, but layers\[0\] has 90"):
        project_layers([x, x[:59]])
    with pytest.raises(InputError, match="no layers"):
        project_layers([])
