"""Labels by task, of a finished run and of one that is being written."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.store.labels import labels_of
from backend.types import TaskSpec


def test_labels_are_numbers_in_the_order_of_the_samples(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=20)
    run = store.run("late-seed0")
    labels = {task.name: values for task, values in run.labels().items()}
    assert list(labels) == ["irony", "object", "topics"]
    rows = range(20)
    np.testing.assert_array_equal(labels["irony"], [-1 if i == 16 else i % 2 for i in rows])
    np.testing.assert_array_equal(labels["object"], [i % 3 for i in rows])
    topics = [[i % 3 < 2, i % 3 == 1, i % 3 == 2] for i in rows]
    np.testing.assert_array_equal(labels["topics"], np.array(topics, dtype=int))


def test_a_run_that_is_being_written_has_the_same_labels(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_store(tmp_path / "s", placements=(), seeds=())
    manifest = store_factory.make_manifest()
    with store.writer(manifest) as writer:
        store_factory.write_parts(
            writer, store_factory.make_samples(20), store_factory.make_vectors(manifest, 20), 7
        )
        before = writer.labels()
        writer.commit()
    after = store.run(manifest.run_id).labels()
    assert before.keys() == after.keys() and before
    for task in after:
        np.testing.assert_array_equal(before[task], after[task])


def test_a_task_without_any_label_is_left_out_and_an_unknown_class_is_named() -> None:
    a, b = TaskSpec("a", "binary", ("x", "y")), TaskSpec("b", "multiclass", ("x", "y"))
    nothing = pa.chunked_array([pa.array([None, None], pa.int8())])
    columns = {"a": [nothing], "b": [pa.chunked_array([["y", None]])]}
    found = labels_of((a, b), columns, "samples.parquet")
    assert list(found) == [b] and found[b].tolist() == [1, -1]
    with pytest.raises(InputError, match=r"samples\.parquet: column label_b holds 'z'"):
        labels_of((b,), {"b": [pa.chunked_array([["z"]])]}, "samples.parquet")
