"""Several processes write one run: disjoint ranges, each whole or not there."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.store import Store, verify
from backend.store.parts import PartWriter, Vectors
from backend.store.paths import part_name

RANGES = (range(10), range(10, 25), range(25, 31))


@pytest.fixture
def make(store_factory: ModuleType) -> ModuleType:
    return store_factory


def test_processes_write_ranges_in_any_order_and_the_coordinator_commits(
    tmp_path: Path, make: ModuleType
) -> None:
    store = Store.create(tmp_path)
    manifest = make.make_manifest()
    samples, vectors = make.make_samples(31), make.make_vectors(manifest, 31)
    with store.writer(manifest) as writer:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            work = [
                pool.submit(writer.parts.write, rows.start, *cut(samples, vectors, rows))
                for rows in reversed(RANGES)
            ]
            for item in work:
                item.result()
        assert writer.n_written == 0, "what others wrote is seen when it is looked for"
        writer.refresh()
        assert writer.written == RANGES and writer.n_written == 31
        writer.commit()
    run = store.run("late-seed0")
    assert verify(store) == [] and run.n == 31
    assert list(run.sample_ids()) == samples["sample_id"].to_pylist()
    for (ref, pooling), array in vectors.items():
        np.testing.assert_array_equal(run.vectors(ref.stream, ref, pooling), array)


def test_gaps_repeated_ids_and_taken_ranges_are_refused(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    manifest = make.make_manifest()
    samples, vectors = make.make_samples(31), make.make_vectors(manifest, 31)
    with store.writer(manifest) as writer:
        parts = pickle.loads(pickle.dumps(writer.parts))  # noqa: S301 - our own bytes
        assert isinstance(parts, PartWriter)
        parts.write(0, *cut(samples, vectors, RANGES[0]))
        parts.write(25, *cut(samples, vectors, RANGES[2]))
        with pytest.raises(InputError, match="lacks the samples of rows 10 to 24"):
            writer.commit()
        with pytest.raises(InputError, match=r"part-000000025\.parquet.*was written before"):
            parts.write(25, *cut(samples, vectors, RANGES[2]))
        twice = samples.slice(0, 15).set_column(
            0, "sample_id", pa.array([f"macro-{i:05d}" for i in range(9, 24)])
        )
        parts.write(10, twice, cut(samples, vectors, RANGES[1])[1])
        with pytest.raises(InputError, match="sample id 'macro-00009' occurs twice"):
            writer.commit()
    assert store.run_ids() == ()


def test_a_range_without_its_samples_does_not_count_and_is_cleared_away(
    tmp_path: Path, make: ModuleType
) -> None:
    store = Store.create(tmp_path)
    manifest = make.make_manifest()
    samples, vectors = make.make_samples(31), make.make_vectors(manifest, 31)
    with store.writer(manifest) as writer:
        for rows in RANGES[:2]:
            writer.parts.write(rows.start, *cut(samples, vectors, rows))
        run = writer.parts.paths
    (run.samples / part_name(10)).unlink()
    with store.writer(manifest) as writer:
        assert writer.written == RANGES[:1]
        assert not list(run.activations.rglob(part_name(10)))
        writer.write_part(*cut(samples, vectors, range(10, 31)))
        writer.commit()
    assert store.run("late-seed0").n == 31 and verify(store) == []


def cut(samples: pa.Table, vectors: Vectors, rows: range) -> tuple[pa.Table, Vectors]:
    """Some rows of both."""
    return (
        samples.slice(rows.start, len(rows)),
        {key: array[rows.start : rows.stop] for key, array in vectors.items()},
    )
