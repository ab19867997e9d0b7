"""``project``: coordinates for every site, only what is missing."""

import numpy as np
import pytest

from backend.errors import InputError
from backend.jobs.project import neighbours_key, project_run, project_source, projection_key
from backend.projection import nearest_samples, project_layers, refit_movements
from backend.store import kinds, verify
from tests.watch import Watch


@pytest.fixture
def bare(store_factory, tmp_path):
    def make(**options):
        defaults = {"placements": ["early"], "seeds": [0], "n": 16, "depth": 3, "width": 6}
        return store_factory.make_store(
            tmp_path / "store", **{**defaults, "measures": False, "projections": False, **options}
        )

    return make


def test_every_site_of_every_stream_gets_coordinates_in_sample_order(bare):
    run = bare().run("early-seed0")
    assert project_run(run, method="pca") == [
        key
        for pooling in ("cls", "mean")
        for key in (projection_key("pca", pooling), neighbours_key(pooling))
    ]
    frame = run.projections()
    for spec in run.streams:
        expected = project_layers(
            [run.vectors(spec.name, ref, "mean") for ref in spec.refs], method="pca"
        )
        for ref, points in zip(spec.refs, expected, strict=True):
            rows = frame[
                (frame.stream == spec.name) & (frame.layer == ref.layer)
                & (frame.site == ref.site) & (frame.pooling == "mean")
            ]  # fmt: skip
            assert rows.sample_id.tolist() == run.sample_ids().tolist()
            np.testing.assert_array_equal(rows[["x", "y"]].to_numpy(), points)


def test_umap_and_pca_have_keys_of_their_own_and_nothing_is_done_twice(bare, monkeypatch):
    run = bare().run("early-seed0")
    pca, near = project_run(run, method="pca", poolings=["cls"])
    (umap,) = project_run(run, method="umap", poolings=["cls"])
    assert pca != umap and near == neighbours_key("cls")
    assert run.keys(kinds.REFITS) == (umap,)
    assert set(run.projections().method) == {"pca", "umap"}
    monkeypatch.setattr("backend.jobs.project.project_layers", None)
    assert project_run(run, method="umap", poolings=["cls"]) == []
    assert projection_key("umap", "cls", seed=1) != umap


def test_neighbours_and_second_fits_are_added_to_a_run_that_has_its_maps(bare, monkeypatch):
    store = bare(depth=2)
    run = store.run("early-seed0")
    with monkeypatch.context() as patch:
        patch.setattr("backend.jobs.project._keys", only_projections)
        (key,) = project_run(run, poolings=["cls"])
    assert run.keys(kinds.NEIGHBOURS) == run.keys(kinds.REFITS) == ()
    monkeypatch.setattr("backend.jobs.project.project_layers", None)
    assert project_run(run, poolings=["cls"]) == [neighbours_key("cls"), key]
    assert verify(store) == []
    rows, refits = run.table(kinds.NEIGHBOURS).to_pandas(), run.table(kinds.REFITS).to_pandas()
    ids = run.sample_ids()
    for spec in run.streams:
        arrays = [run.vectors(spec.name, ref, "cls") for ref in spec.refs]
        maps = [run.projections(spec.name, ref, "cls")[["x", "y"]].to_numpy() for ref in spec.refs]
        expected = refit_movements(arrays, maps, seed=1)
        for ref, array, movement in zip(spec.refs, arrays, expected, strict=True):
            own = rows[
                rows.stream.eq(spec.name) & rows.layer.eq(ref.layer) & rows.site.eq(ref.site)
            ]
            near = nearest_samples(array, 10)
            assert own.neighbour.tolist() == ids[near].ravel().tolist()
            place = refits.stream.eq(spec.name) & refits.layer.eq(ref.layer)
            kept = refits[place & refits.site.eq(ref.site)].movement.tolist()
            assert kept == ([] if np.isnan(movement) else [pytest.approx(movement)])


def only_projections(method, pooling, seed):
    return {kinds.PROJECTIONS: projection_key(method, pooling, seed)}


def test_a_run_without_activations_is_skipped_with_the_command_that_makes_them(bare, caplog):
    run = bare(keep_activations="none").run("early-seed0")
    assert project_run(run, method="pca") == []
    assert "fusionscope capture --model" in caplog.messages[0]


def test_an_unfinished_run_is_projected_from_its_parts(bare, store_factory, tmp_path):
    finished = bare().run("early-seed0")
    store = store_factory.make_store(tmp_path / "other", placements=[], seeds=[])
    with store.writer(finished.manifest) as writer:
        store_factory.write_parts(
            writer,
            store_factory.make_samples(16),
            store_factory.make_vectors(finished.manifest, 16),
            7,
        )
        project_source(writer, method="pca")
        writer.commit(keep_activations=False)
    project_run(finished, method="pca")
    assert store.run("early-seed0").projections().equals(finished.projections())


def test_progress_names_the_stream(bare):
    watch = Watch()
    run = bare().run("early-seed0")
    project_run(run, method="pca", poolings=["cls"], progress=watch)
    assert [step[:2] for step in watch.told] == [(0, 2), (1, 2), (2, 2)]
    assert watch.told[0][2] == f"pca of {run.streams[0].name} cls vectors"


def test_an_unknown_method_is_refused(bare):
    with pytest.raises(InputError, match="unknown method 'tsne'"):
        project_run(bare().run("early-seed0"), method="tsne")
