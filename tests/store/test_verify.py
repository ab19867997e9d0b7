"""verify reads everything and names what does not hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.store import Store, verify
from backend.store.tables import vector_type


def findings(store: Store) -> dict[tuple[str, str], str]:
    return {(f.run_id, f.file): f.problem for f in verify(store) if f.kind == "problem"}


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def set_manifest(path: Path, change: Callable[[Any], None]) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def test_a_good_store_has_no_findings(read_only_store: Store, tmp_path: Path) -> None:
    asked: list[str] = []
    assert verify(read_only_store, asked.append) == []
    assert asked == list(read_only_store.run_ids())
    assert verify(Store(tmp_path)) == []


@pytest.mark.parametrize(
    "name",
    [
        "samples.parquet",
        "activations/vision-2-cls.parquet",
        "activations/text-4.fusion-mean.parquet",
        "measures/default.parquet",
        "projections/pca.parquet",
        "scores.parquet",
    ],
)
def test_a_flipped_bit_anywhere_is_found(
    store: Store, flip: Callable[[Path], None], name: str
) -> None:
    flip(store.path / "runs" / "late-seed0" / name)
    found = findings(store)
    reasons = {file or run_id: text for (run_id, file), text in found.items()}
    text = next(iter(reasons.values()))
    assert len(found) == 1 and "corrupt" in text and name in text


def test_a_corrupt_thumbnail_is_found(store: Store) -> None:
    path = store.path / "runs" / "late-seed0" / "samples.parquet"
    content = path.read_bytes()
    at = content.index(b"WEBPVP8")
    path.write_bytes(content[: at + 10] + b"\xff\x00\xff" + content[at + 13 :])
    assert "corrupt" in findings(store)["late-seed0", "samples.parquet"]


def test_a_truncated_or_missing_file_is_found(store: Store) -> None:
    run = store.path / "runs" / "late-seed0"
    layer = run / "activations" / "vision-1-cls.parquet"
    layer.write_bytes(layer.read_bytes()[:-1])
    (run / "activations" / "text-0-mean.parquet").unlink()
    (store.path / "runs" / "none-seed0" / "samples.parquet").unlink()
    found = findings(store)
    assert "corrupt" in found["late-seed0", "activations/vision-1-cls.parquet"]
    assert found["late-seed0", "activations/text-0-mean.parquet"] == "file is missing"
    assert "file is missing" in found["none-seed0", "samples.parquet"]
    assert len(found) == 3


def test_rows_in_another_order_are_found(store: Store) -> None:
    path = store.path / "runs" / "late-seed0" / "activations" / "vision-1-cls.parquet"
    rewrite(path, lambda t: t.take([*range(40), 41, 40, *range(42, 48)]).cast(t.schema))
    problem = findings(store)["late-seed0", "activations/vision-1-cls.parquet"]
    assert problem == "row 40 is sample 'macro-00041', samples.parquet has 'macro-00040'"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.slice(0, 40), "40 rows, samples.parquet has 48"),
        (lambda t: t.rename_columns(["sample_id", "v"]), "columns are"),
        (
            lambda t: t.set_column(1, "vector", pa.nulls(48, pa.list_(pa.float32(), 12))),
            "vectors are",
        ),
        (
            lambda t: t.set_column(
                1,
                pa.field("vector", vector_type(6, "float32"), nullable=False),
                pa.FixedSizeListArray.from_arrays(
                    pa.array([0.0] * 288, pa.float32()), type=vector_type(6, "float32")
                ),
            ),
            r"vectors are fixed_size_list",
        ),
    ],
)
def test_vectors_of_a_wrong_shape_are_found(
    store: Store, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    path = store.path / "runs" / "late-seed0" / "activations" / "vision-1-cls.parquet"
    rewrite(path, change)
    assert said in findings(store)["late-seed0", "activations/vision-1-cls.parquet"]


def test_files_that_are_no_layers_are_found(store: Store) -> None:
    folder = store.path / "runs" / "late-seed0" / "activations"
    for name in ("vision-9-cls.parquet", "audio-1-cls.parquet", "notes.txt"):
        shutil.copy(folder / "vision-1-cls.parquet", folder / name)
    found = findings(store)
    assert len(found) == 3
    assert set(found.values()) == {"not a layer of this run's streams"}


def test_a_manifest_that_disagrees_is_found(store: Store) -> None:
    runs = store.path / "runs"
    set_manifest(runs / "late-seed0" / "run.json", lambda raw: raw["dataset"].update(n=40))
    set_manifest(runs / "none-seed0" / "run.json", lambda raw: raw.update(schema_version=3))
    set_manifest(runs / "none-seed1" / "run.json", lambda raw: raw["dataset"]["tasks"].pop())
    found = findings(store)
    assert found["late-seed0", "samples.parquet"] == "48 rows, run.json says 40"
    assert found["late-seed0", "measures/default.parquet"] == "n = 48, but the run has 40 samples"
    assert "newer Fusionscope" in found["none-seed0", "run.json"]
    assert "label_topics" in found["none-seed1", "samples.parquet"]


def test_a_repeated_sample_is_found(store: Store) -> None:
    path = store.path / "runs" / "late-seed1" / "samples.parquet"
    rewrite(path, lambda t: t.take([0, *range(47)]).cast(t.schema))
    assert findings(store)["late-seed1", "samples.parquet"] == "a sample id occurs twice"


def test_wrong_measures_and_projections_are_found(store: Store, store_factory: ModuleType) -> None:
    run = store.run("late-seed1")
    rows = run.measures().drop(columns="key")
    run.add_measures("deep", rows.assign(layer_a=99, site_a="block"))
    rewrite(run.paths.measure("default"), lambda t: t.drop_columns(["reason"]))
    deep = store.run("late-seed0").projections().drop(columns="key")
    run.add_projection("other", deep.assign(sample_id="stranger"))
    found = findings(store)
    assert "layer 99 is not a layer of this run" in found["late-seed1", "measures/deep.parquet"]
    assert (
        "rows of samples that the run does not have"
        in (found["late-seed1", "projections/other.parquet"])
    )
    assert any("reason" in problem for problem in found.values())


def test_a_damaged_checkpoint_is_found(store: Store) -> None:
    checkpoint = store.path / "runs" / "late-seed0" / "checkpoint"
    (checkpoint / "config.json").unlink()
    weights = checkpoint / "model.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    whole = len(header).to_bytes(8, "little") + header + bytes(8)
    for content, said in (
        (whole[:-3], "bytes, expected"),
        (whole[:20], "truncated safetensors header"),
        (b"", "truncated safetensors header"),
        (whole.replace(b'{"w"', b"xxxx"), "unreadable safetensors header"),
    ):
        weights.write_bytes(content)
        found = findings(store)
        assert found["late-seed0", "checkpoint/config.json"] == "file is missing"
        assert said in found["late-seed0", "checkpoint/model.safetensors"]
    weights.write_bytes(whole)
    assert ("late-seed0", "checkpoint/model.safetensors") not in findings(store)


def test_leftovers_are_information(store: Store, store_factory: ModuleType) -> None:
    with store.writer(store_factory.make_manifest("new")) as writer:
        writer.write_shard(store_factory.make_samples(3), {})
    (store.path / "runs" / ".deleted-old-123").mkdir()
    found = verify(store)
    assert [f.kind for f in found] == ["information", "information"]
    assert [f.file for f in found] == [".deleted-old-123", ".partial-new"]
    assert str(found[1]).startswith("new: .partial-new: unfinished work")
