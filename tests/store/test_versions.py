"""Stores of every version are read for ever: one of each lies here as the bytes it was written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from backend.store import Store, kinds, verify
from backend.store.pack import pack
from backend.store.tables import samples_schema

VERSIONS = (1, 2, 3)


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Two runs of 12 samples and a comparison; ``expected.npz`` is what its own version read."""
    with zipfile.ZipFile(Path(__file__).with_name(f"version_{request.param}.zip")) as archive:
        archive.extractall(tmp_path)
    return Store(tmp_path)


def test_every_vector_is_what_it_was(old: Store) -> None:
    run = old.run("late-seed0")
    expected = np.load(old.path / "expected.npz")
    names = {f"{ref.stream} {ref.label} {pooling}" for ref, pooling in run.captured()}
    assert names == set(expected.files) and len(names) == 12
    rows = [11, 0, 5, 5]
    for ref, pooling in run.captured():
        whole = expected[f"{ref.stream} {ref.label} {pooling}"]
        np.testing.assert_array_equal(run.vectors(ref.stream, ref, pooling), whole)
        np.testing.assert_array_equal(run.vectors(ref.stream, ref, pooling, rows), whole[rows])


def test_everything_else_is_there_and_nothing_is_wrong_with_it(old: Store) -> None:
    run = old.run("late-seed0")
    assert verify(old) == []
    assert list(run.samples()["sample_id"]) == [f"macro-{i:05d}" for i in range(12)]
    assert run.sample("macro-00007")["thumbnail"][:4] == b"RIFF"
    assert run.keys(kinds.MEASURES) == ("default",) and run.keys(kinds.PROJECTIONS) == ("pca",)
    assert len(run.drivers()) == 3 and len(run.scores()) == 12
    assert set(run.training_measures()["step"]) == {0, 20}
    assert old.pair("none-seed0", "late-seed0").keys() == ("k",)
    assert run.contents.paths.samples.exists() == run.manifest.parts


def test_samples_without_groups_and_digests_have_none_however_they_are_asked_for(
    old: Store, tmp_path: Path
) -> None:
    run = old.run("late-seed0")
    assert not run.manifest.grouped
    for frame in (run.samples(), run.samples(["image_digest", "group"], ["macro-00007"])):
        assert frame["group"].isna().all() and frame["image_digest"].isna().all()
    sql = 'SELECT run_id, sample_id, "group", image_digest FROM samples ORDER BY ALL'
    asked = old.query(sql)
    assert len(asked) == 24 and asked[["group", "image_digest"]].isna().all().all()
    packed = tmp_path / "packed.duckdb"
    pack([old], packed)
    assert Store(packed).query(sql).equals(asked)
    assert Store(packed).run("late-seed0").samples().equals(run.samples())


def test_equal_pictures_stand_for_equal_images_where_there_are_no_digests(old: Store) -> None:
    run = old.run("late-seed0")
    pictures = run.samples(["thumbnail"])["thumbnail"].tolist()
    expected = [pictures.index(picture) for picture in pictures]
    assert expected == list(range(12)) and run.groups() is None
    again = run.samples(["sample_id", "split", "text", "thumbnail"])
    again.loc[9, "thumbnail"] = again.loc[4, "thumbnail"]
    table = pa.Table.from_pandas(again, preserve_index=False)
    manifest = run.manifest.model_copy(
        update={"run_id": "twice", "dataset": run.manifest.dataset.model_copy(update={"n": 0})}
    )
    labels = run.contents.samples(
        samples_schema(manifest), [f"label_{task.name}" for task in manifest.tasks], None
    )
    for name in labels.column_names:
        table = table.append_column(name, labels[name])
    with old.writer(manifest) as writer:
        writer.write_part(table, {})
        writer.commit()
    names = [f"macro-{i:05d}" for i in range(12)]
    assert old.run("twice").groups().tolist() == [*names[:9], names[4], *names[10:]]


def test_results_are_added_as_to_any_run_and_run_json_stays_as_it_is(old: Store) -> None:
    run = old.run("late-seed0")
    before = run.contents.manifest()
    run.add(kinds.MEASURES, run.measures().drop(columns="key").head(2), "more")
    assert run.keys(kinds.MEASURES) == ("default", "more")
    assert run.contents.manifest() == before


def test_a_run_that_is_captured_again_has_parts(old: Store) -> None:
    run = old.run("late-seed0")
    with old.writer(run.manifest, replace=True) as writer:
        schema = samples_schema(run.manifest)
        vectors = {
            (ref, pooling): run.vectors(ref.stream, ref, pooling).astype(run.manifest.dtype)
            for ref, pooling in run.captured()
        }
        writer.write_part(run.contents.samples(schema, schema.names, None), vectors)
        writer.commit()
    again = old.run("late-seed0")
    assert again.manifest.parts and again.manifest.schema_version == 4
    assert again.manifest.grouped
    assert not [finding for finding in verify(old) if finding.kind == "problem"]
    expected = np.load(old.path / "expected.npz")
    np.testing.assert_array_equal(again.vectors("text", 4), expected["text 4 cls"])
