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

from backend.store import Store, kinds, verify
from tests.watch import Watch

LAYER = "activations/vision/1-cls"


def findings(store: Store) -> dict[tuple[str, str], str]:
    return {(f.run_id, f.file): f.problem for f in verify(store) if f.kind == "problem"}


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def set_manifest(path: Path, change: Callable[[Any], None]) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def test_a_good_store_has_no_findings(read_only_store: Store, tmp_path: Path) -> None:
    watch = Watch()
    assert verify(read_only_store, watch) == []
    assert [told[-1] for told in watch.told] == list(read_only_store.run_ids())
    assert verify(Store(tmp_path)) == []


@pytest.mark.parametrize(
    "name",
    [
        "samples/part-000000020.parquet",
        "activations/vision/2-cls/part-000000000.parquet",
        "activations/text/4.fusion-mean/part-000000040.parquet",
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
    path = store.path / "runs" / "late-seed0" / "samples" / "part-000000020.parquet"
    content = path.read_bytes()
    at = content.index(b"WEBPVP8")
    path.write_bytes(content[: at + 10] + b"\xff\x00\xff" + content[at + 13 :])
    assert "corrupt" in findings(store)["late-seed0", "samples/part-000000020.parquet"]


def test_a_truncated_or_missing_file_is_found(store: Store) -> None:
    run = store.path / "runs" / "late-seed0"
    layer = run / "activations" / "vision" / "1-cls" / "part-000000000.parquet"
    layer.write_bytes(layer.read_bytes()[:-1])
    (run / "activations" / "vision" / "1-cls" / "part-000000040.parquet").unlink()
    shutil.rmtree(run / "activations" / "text" / "0-mean")
    (store.path / "runs" / "none-seed0" / "samples" / "part-000000000.parquet").unlink()
    problems = findings(store)
    assert "corrupt" in problems["late-seed0", f"{LAYER}/part-000000000.parquet"]
    assert problems["late-seed0", f"{LAYER}/part-000000040.parquet"] == "file is missing"
    assert problems["late-seed0", "activations/text/0-mean"] == "layer is missing"
    assert "is missing" in problems["none-seed0", "samples/part-000000000.parquet"]
    assert len(problems) == 4


def test_a_gap_between_the_parts_is_found(store: Store) -> None:
    run = store.path / "runs" / "late-seed0"
    for path in run.rglob("part-000000020.parquet"):
        path.unlink()
    problem = findings(store)["late-seed0", "samples/part-000000000.parquet"]
    assert problem == "20 rows, run.json and the names of the parts imply 40"


def test_rows_in_another_order_are_found(store: Store) -> None:
    path = store.path / "runs" / "late-seed0" / LAYER / "part-000000020.parquet"
    rewrite(path, lambda t: t.take([*range(10), 11, 10, *range(12, 20)]).cast(t.schema))
    problem = findings(store)["late-seed0", f"{LAYER}/part-000000020.parquet"]
    assert problem == "row 10 is sample macro-00031, the samples have macro-00030 there"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.slice(0, 12), "12 rows, its samples are 20"),
        (lambda t: t.rename_columns(["sample_id", "v"]), "columns are"),
        (
            lambda t: t.set_column(1, "vector", pa.nulls(20, pa.binary(24))),
            r"vectors are fixed_size_binary[24], run.json says 12 x float32",
        ),
    ],
)
def test_vectors_of_a_wrong_shape_are_found(
    store: Store, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    path = store.path / "runs" / "late-seed0" / LAYER / "part-000000000.parquet"
    rewrite(path, change)
    assert said in findings(store)["late-seed0", f"{LAYER}/part-000000000.parquet"]


def test_files_that_are_no_layers_are_found(store: Store) -> None:
    folder = store.path / "runs" / "late-seed0" / "activations"
    names = ("vision/9-cls/part-000000000.parquet", "audio/1-cls/part-000000000.parquet",
             "vision/1-cls/part-000000005.parquet", "notes.txt")  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "vision" / "1-cls" / "part-000000000.parquet", folder / name)
    problems = findings(store)
    assert set(problems) == {("late-seed0", f"activations/{name}") for name in names}
    assert set(problems.values()) == {"no part of a layer that run.json names"}


def test_a_manifest_that_disagrees_is_found(store: Store) -> None:
    runs = store.path / "runs"
    set_manifest(runs / "late-seed0" / "run.json", lambda raw: raw["dataset"].update(n=40))
    set_manifest(runs / "none-seed0" / "run.json", lambda raw: raw.update(schema_version=5))
    set_manifest(runs / "none-seed1" / "run.json", lambda raw: raw["dataset"]["tasks"].pop())
    found = findings(store)
    assert found["late-seed0", "samples/part-000000040.parquet"].startswith("8 rows")
    assert found["late-seed0", "measures/default.parquet"] == "n = 48, but the run has 40 samples"
    assert "newer Fusionscope" in found["none-seed0", "run.json"]
    assert "label_topics" in found["none-seed1", "samples/part-000000000.parquet"]


def test_a_repeated_sample_is_found(store: Store) -> None:
    path = store.path / "runs" / "late-seed1" / "samples" / "part-000000000.parquet"
    rewrite(path, lambda t: t.take([0, *range(19)]).cast(t.schema))
    assert findings(store)["late-seed1", "samples"] == "a sample id occurs twice"


def test_wrong_measures_and_projections_are_found(store: Store, store_factory: ModuleType) -> None:
    run = store.run("late-seed1")
    rows = run.measures().drop(columns="key")
    run.add(kinds.MEASURES, rows.assign(layer_a=99, site_a="block"), "deep")
    rewrite(run.contents.file(kinds.MEASURES, "default"), lambda t: t.drop_columns(["reason"]))
    deep = store.run("late-seed0").projections().drop(columns="key")
    run.add(kinds.PROJECTIONS, deep.assign(sample_id="stranger"), "other")
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


def test_a_directory_without_run_json_is_found_and_no_run(store: Store) -> None:
    (store.path / "runs" / "late-seed0" / "run.json").unlink()
    assert "late-seed0" not in store.run_ids()
    assert "run.json is missing" in findings(store)["late-seed0", ""]


def test_leftovers_are_information(store: Store, store_factory: ModuleType) -> None:
    with store.writer(store_factory.make_manifest("new")) as writer:
        writer.write_part(store_factory.make_samples(3), {})
    (store.path / "runs" / ".deleted-old-123").mkdir()
    found = verify(store)
    assert [f.kind for f in found] == ["information", "information"]
    assert [f.file for f in found] == [".deleted-old-123", ".partial-new"]
    assert str(found[1]).startswith("new: .partial-new: unfinished work")
