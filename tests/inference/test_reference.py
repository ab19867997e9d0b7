"""The reference pairs: what is kept of them, who may be compared, and whom a trace is of."""

import threading
import time

import numpy as np
import pytest

from backend.errors import InputError
from backend.inference.reference import MIN_PAIRS, Reference, angle_of_step, band, percentile
from backend.types import StreamSpec
from tests.inference.reference_pairs import (
    manifest_of,
    moved,
    ref,
    stored,
    trace_of,
    with_vectors,
    written,
)

SPECS = (StreamSpec.of("vision", "vision", 2, 6), StreamSpec.of("text", "text", 2, 6))


@pytest.fixture(scope="module")
def run(store_factory, tmp_path_factory):
    store = store_factory.make_store(
        tmp_path_factory.mktemp("reference"), ["late"], [0], dtype="float16"
    )
    return store.run("late-seed0")


def random_run(store_factory, path, n=30, offset=0.0, dtype="float32"):
    rng = np.random.default_rng(3)
    shift = np.zeros(6)
    shift[2] = offset
    vectors = {(r, "mean"): shift + rng.normal(size=(n, 6)) for s in SPECS for r in s.refs}
    return written(store_factory, path, manifest_of(store_factory, SPECS, dtype=dtype), vectors)


def test_vectors_of_a_trace_are_those_of_the_sites_that_both_have_in_order(run):
    reference = Reference.of(run, "mean")
    trace = trace_of(run, stored(run, 3))
    assert list(reference.vectors_of(trace)) == [r for spec in run.streams for r in spec.refs]
    fewer = trace_of(run, {k: v for k, v in stored(run, 3).items() if k[0].stream == "text"})
    assert {r.stream for r in reference.vectors_of(fewer)} == {"text"}


def test_neighbours_agree_with_distances_one_by_one_however_far_the_layer_is_from_0(
    store_factory, tmp_path
):
    run = random_run(store_factory, tmp_path, offset=200.0)
    reference = Reference.of(run, "mean")
    site = reference.sites[ref("vision 1")]
    x = run.vectors("vision", 1, "mean").astype(np.float64)
    for row in range(run.n):
        apart = [(np.sqrt(((x[row] - x[i]) ** 2).sum()), i) for i in range(run.n) if i != row]
        nearest = [i for _, i in sorted(apart)]
        assert site.near[row].tolist() == nearest
        assert np.allclose(site.near_distances[row], [d for d, _ in sorted(apart)], rtol=1e-4)
        rows, _ = site.nearest(run.vectors("vision", 1, "mean")[row], 5)
        assert rows.tolist() == [row, *nearest[:4]]


def test_more_neighbours_are_kept_than_candidates_are_spare(store_factory, tmp_path):
    run = random_run(store_factory, tmp_path, n=90)
    site = Reference.of(run, "mean").sites[ref("text 2")]
    x = run.vectors("text", 2, "mean").astype(np.float64)
    assert site.near.shape == (90, 50)
    assert site.near[17].tolist() == np.argsort(((x - x[17]) ** 2).sum(axis=1))[1:51].tolist()


def test_what_does_not_fit_is_thinned_evenly_with_its_maps(run):
    whole = Reference.of(run, "cls")
    width = sum(len(site.mean) for site in whole.sites.values())
    thinned = Reference.of(run, "cls", max_bytes=4 * width * 12)
    rows = np.linspace(0, run.n - 1, 12).round().astype(int)
    assert (thinned.n, thinned.total, whole.n) == (12, run.n, run.n)
    assert thinned.ids.tolist() == run.sample_ids()[rows].tolist()
    site = ref("text 3")
    stored_rows = run.vectors("text", 3, "cls")[rows]
    assert np.allclose(thinned.sites[site].rows + thinned.sites[site].mean, stored_rows, atol=1e-6)
    (key,) = whole.maps
    assert np.array_equal(thinned.maps[key][site], whole.maps[key][site][rows])


def test_a_trace_of_a_stored_pair_is_recognised_through_rounding_and_float_noise(
    store_factory, tmp_path
):
    rng = np.random.default_rng(0)
    vectors = {(r, "mean"): rng.normal(size=(30, 6)) for s in SPECS for r in s.refs}
    manifest = manifest_of(store_factory, SPECS, dtype="float16")
    run = written(store_factory, tmp_path, manifest, vectors)
    reference = Reference.of(run, "mean")
    for row in range(run.n):
        unrounded = {k: v[row] * (1 + 1e-6 * rng.normal(size=6)) for k, v in vectors.items()}
        trace = trace_of(run, unrounded)
        assert not np.array_equal(
            trace.vectors[ref("text 1"), "mean"], stored(run, row)[ref("text 1"), "mean"]
        )
        assert reference.row_of(trace) == row


def test_another_caption_of_a_stored_image_is_another_pair_unless_it_is_named(run):
    reference = Reference.of(run, "mean")
    mixed = {key: stored(run, 4 if key[0].stream == "vision" else 9)[key] for key in stored(run, 4)}
    trace = trace_of(run, mixed)
    assert reference.row_of(trace) is None
    assert reference.row_of(trace, "macro-00004") == 4
    assert reference.row_of(moved(run, 4, 0.05)) is None
    with pytest.raises(InputError, match="'nobody' is none of the 48 reference pairs"):
        reference.row_of(trace, "nobody")


def test_vectors_that_are_not_finite_are_nobodys(run):
    reference = Reference.of(run, "mean")
    trace = trace_of(run, stored(run, 4))
    broken = with_vectors(trace, {(ref("text 2"), "mean"): np.full(12, np.inf)})
    assert reference.row_of(trace) == 4
    assert reference.row_of(broken) is None


def test_a_run_without_vectors_says_which_command_makes_them(store_factory, tmp_path):
    store = store_factory.make_store(tmp_path, ["late"], [0], keep_activations="none")
    with pytest.raises(InputError, match=r"keeps no activations.*fusionscope capture .*--run-id"):
        Reference.of(store.run("late-seed0"), "cls")


def test_a_pooling_without_vectors_says_which_there_is(store_factory, tmp_path):
    store = store_factory.make_store(tmp_path, ["late"], [0], poolings=("mean",))
    with pytest.raises(InputError, match="has no cls vectors of vision, only mean"):
        Reference.of(store.run("late-seed0"), "cls")


def test_few_pairs_are_no_reference(store_factory, tmp_path):
    run = random_run(store_factory, tmp_path, n=MIN_PAIRS - 1)
    with pytest.raises(InputError, match="7 reference pairs are too few: it takes 8"):
        Reference.of(run, "mean")
    assert Reference.of(random_run(store_factory, tmp_path / "8", n=8), "mean").n == 8


def test_another_model_or_width_or_no_common_site_is_one_line(store_factory, tmp_path):
    run = random_run(store_factory, tmp_path)
    reference = Reference.of(run, "mean")
    trace = trace_of(run, stored(run, 0))
    other = type(trace)(**{**vars(trace), "digest": "d2"})
    with pytest.raises(InputError, match=r"through tiny \(d2\).*through another model \(d1\)"):
        reference.vectors_of(other)
    wide = with_vectors(trace, {(ref("text 1"), "mean"): np.zeros(7)})
    with pytest.raises(InputError, match="layer 1 of text has width 7 in the pair and 6"):
        reference.vectors_of(wide)
    with pytest.raises(InputError, match="no mean vectors of a site in common"):
        reference.vectors_of(type(trace)(**{**vars(trace), "vectors": {}}))


def test_what_is_shared_cannot_be_written(run):
    reference = Reference.of(run, "cls")
    for site in reference.sites.values():
        for array in (site.rows, site.norms, site.steps, site.near, site.near_distances):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    for maps in reference.maps.values():
        assert not any(points.flags.writeable for points in maps.values())


def test_what_is_derived_is_made_once_for_all_threads(run):
    reference = Reference.of(run, "cls")
    made, seen = [], []

    def make():
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    threads = [
        threading.Thread(target=lambda: seen.append(reference.once("key", make))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert seen == made * 6


def test_a_percentile_counts_ties_half_and_leaves_out_the_own_and_the_undefined():
    values = np.array([1.0, 2.0, 2.0, 5.0, np.nan])
    assert percentile(values, 2.0) == 100 * (1 + 1) / 4
    assert percentile(values, 2.0, own=1) == 100 * (1 + 0.5) / 3
    assert percentile(values, 9.0) == 100
    assert np.isnan(percentile(values, np.nan))
    assert np.isnan(percentile(np.full(3, np.nan), 1.0))


def test_a_band_leaves_out_the_undefined():
    values = np.append(np.arange(101.0), np.nan)
    assert band(values, "x_") == {"x_p05": 5, "x_p25": 25, "x_p50": 50, "x_p75": 75, "x_p95": 95}
    assert all(np.isnan(value) for value in band(np.empty(0)).values())


def test_small_and_right_and_straight_angles_are_exact():
    a = np.array([1.0, 0.0])
    others = {0.0: [3, 0], 90.0: [0, 2], 180.0: [-1, 0], np.degrees(1e-6): [1, np.tan(1e-6)]}
    for angle, b in others.items():
        assert angle_of_step(a, np.array(b, dtype=float)) == pytest.approx(angle, rel=1e-7)
    assert np.isnan(angle_of_step(a, np.zeros(2)))
