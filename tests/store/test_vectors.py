"""Vectors are plain bytes of fixed length, which one expression turns into numbers anywhere."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import get_args

import duckdb
import numpy as np
import pandas as pd
import pytest

from backend.store import Store
from backend.store.manifest import Dtype
from backend.store.vectors import DUCKDB, PANDAS, part_rows
from backend.types import LayerRef

DOCS = Path(__file__).resolve().parents[2] / "docs" / "store.md"
FINITE = [1.0, -1.5, 0.0, -0.0, 6e-8, 6.1e-5, 65504.0, -1e-3, 0.1, 2.0, 1024.0]


@pytest.fixture(params=get_args(Dtype))
def stored(request: pytest.FixtureRequest, tmp_path: Path, store_factory: ModuleType):
    """(files of one layer, what was written): numbers of every sort, in two parts."""
    values = np.tile(np.array([*FINITE, np.inf], dtype=request.param), (150, 1))
    values[1, 3], values[2, 4] = np.nan, -np.inf
    store = Store.create(tmp_path)
    manifest = store_factory.make_manifest(dtype=request.param)
    with store.writer(manifest) as writer:
        for at in (slice(0, 140), slice(140, 150)):
            samples = store_factory.make_samples(at.stop - at.start, start=at.start)
            writer.write_part(samples, {(LayerRef("text", 2), "cls"): values[at]})
        writer.commit()
    run = store.run("late-seed0")
    np.testing.assert_array_equal(run.vectors("text", 2), values.astype(np.float32))
    return run.contents.vector_files(LayerRef("text", 2), "cls"), values, request.param


def test_duckdb_reads_them_with_the_documented_expression(stored) -> None:
    files, values, dtype = stored
    names = [str(path) for path in files]
    sql = f"SELECT {DUCKDB[dtype]} AS v FROM read_parquet($files) ORDER BY sample_id"  # noqa: S608
    rows = duckdb.connect().execute(sql, {"files": names}).fetchall()
    read = np.array([row[0] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(read, values.astype(np.float32))
    assert np.signbit(read[0, 3]) and not np.signbit(read[0, 2])


def test_pandas_reads_them_with_the_documented_expression(stored) -> None:
    files, values, dtype = stored
    frame = pd.concat([pd.read_parquet(path) for path in files])
    expression = PANDAS if dtype == "float32" else PANDAS.replace("<f4", "<f2")
    read = eval(expression, {"np": np, "frame": frame})  # noqa: S307 - our own text
    np.testing.assert_array_equal(read, values)


def test_the_documents_show_the_expressions_that_are_tested_here() -> None:
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    for expression in (PANDAS, *DUCKDB.values()):
        assert " ".join(expression.split()) in text


def test_parts_are_bounded_in_bytes_and_in_rows(store_factory: ModuleType) -> None:
    small = store_factory.make_manifest()
    assert part_rows(small) == 1024
    wide = store_factory.make_manifest(width=4096)
    sample = len(wide.captures) * 4096 * 4
    assert part_rows(wide) == 64 * 2**20 // sample
    half = store_factory.make_manifest(width=4096, dtype="float16")
    assert part_rows(half) == 2 * 64 * 2**20 // sample
