"""Stores of every version are read for ever: one of each lies here as the bytes it was written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from backend.store import Store, kinds, verify
from backend.store.tables import samples_schema

VERSIONS = (1, 2)


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
    assert not (run.contents.paths.samples.exists() or run.manifest.parts)


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
    assert again.manifest.parts and again.manifest.schema_version == 3
    expected = np.load(old.path / "expected.npz")
    np.testing.assert_array_equal(again.vectors("text", 4), expected["text 4 cls"])
