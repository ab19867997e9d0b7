"""What a reader gets from a store, and what it is told when it cannot have it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.store import Run, Store, assert_comparable, kinds
from backend.types import LayerRef


def test_runs_has_one_row_a_run(read_only_store: Store) -> None:
    runs = read_only_store.runs().set_index("run_id")
    assert list(runs.index) == ["late-seed0", "late-seed1", "none-seed0", "none-seed1"]
    late = runs.loc["late-seed0"]
    assert (late["placement"], late["seed"], late["n"], late["split"]) == ("late", 0, 48, "test")
    assert late["streams"][0].fusion_layers == (4,)
    assert late["scores"]["irony.auroc"] == pytest.approx(0.93, abs=0.05)
    assert list(runs["has_activations"]) == [True, False, True, False]
    assert list(runs["has_checkpoint"]) == [True, False, True, False]


def test_one_task_gives_scores_by_metric_alone(tmp_path: Path, store_factory: ModuleType) -> None:
    store = Store.create(tmp_path)
    scores = pd.DataFrame(
        [("irony", "auroc", "train", 0.9), ("irony", "auroc", "test", 0.8)],
        columns=["task", "metric", "split", "value"],
    )
    with store.writer(store_factory.make_manifest()) as writer:
        writer.write_part(store_factory.make_samples(4), {})
        writer.add(kinds.SCORES, scores)
        writer.commit()
    assert store.run("late-seed0").score_summary() == {"auroc": 0.8}
    pd.testing.assert_frame_equal(store.run("late-seed0").scores(), scores)


def test_changing_what_runs_returned_changes_nothing(store: Store) -> None:
    store.runs().loc[0, "scores"].clear()
    assert store.runs().loc[0, "scores"]


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist\. Make the demo store with"):
        Store(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="neither the directory of a store nor a DuckDB file"):
        Store(tmp_path / "file")


def test_an_empty_directory_is_an_empty_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.runs().empty
    assert "run_id" in store.runs()
    assert store.broken() == []
    with pytest.raises(InputError, match=r"no run 'x'\. The store is empty"):
        store.run("x")


def test_an_unknown_run_names_the_near_ones(read_only_store: Store) -> None:
    with pytest.raises(InputError, match=r"no run 'late-seed7'\. Did you mean late-seed"):
        read_only_store.run("late-seed7")


def test_broken_runs_are_listed_and_the_others_read(
    store: Store, flip: Callable[[Path], None]
) -> None:
    runs = store.path / "runs"
    (runs / "late-seed0" / "run.json").write_text("{")
    raw = json.loads((runs / "none-seed0" / "run.json").read_text())
    (runs / "none-seed0" / "run.json").write_text(json.dumps(raw | {"schema_version": 5}))
    shutil.copytree(runs / "late-seed1", runs / "renamed")
    (runs / "not-a-run").mkdir()
    flip(runs / "none-seed1" / "scores.parquet")
    reasons = {item.run_id: item.reason for item in store.broken()}
    assert list(store.runs()["run_id"]) == ["late-seed1"]
    assert "not valid JSON" in reasons["late-seed0"]
    assert "newer Fusionscope" in reasons["none-seed0"]
    assert "its run.json says late-seed1" in reasons["renamed"]
    assert "not-a-run" not in reasons, "without run.json it is unfinished work"
    assert "corrupt" in reasons["none-seed1"] and "scores.parquet" in reasons["none-seed1"]
    assert not any("\n" in reason for reason in reasons.values())


def test_vectors_are_what_was_written(tmp_path: Path, store_factory: ModuleType) -> None:
    for dtype in ("float32", "float16"):
        manifest = store_factory.make_manifest(dtype=dtype)
        written = store_factory.make_vectors(manifest, 50)
        store = Store.create(tmp_path / dtype)
        with store.writer(manifest) as writer:
            store_factory.write_parts(writer, store_factory.make_samples(50), written, 17)
            writer.commit()
        run = store.run("late-seed0")
        assert set(run.captured()) == set(written)
        for (ref, pooling), array in written.items():
            read = run.vectors(ref.stream, ref, pooling)
            assert read.dtype == np.float32 and read.flags.c_contiguous and read.flags.writeable
            np.testing.assert_array_equal(read, array.astype(np.float32))


def test_nan_and_infinite_values_survive(tmp_path: Path, store_factory: ModuleType) -> None:
    values = np.arange(48, dtype=np.float32).reshape(4, 12)
    values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, -np.inf
    store = Store.create(tmp_path)
    with store.writer(store_factory.make_manifest()) as writer:
        writer.write_part(store_factory.make_samples(4), {(LayerRef("vision", 1), "cls"): values})
        writer.commit()
    np.testing.assert_array_equal(store.run("late-seed0").vectors("vision", 1), values)


def test_a_layer_may_be_named_in_four_ways(read_only_store: Store) -> None:
    run = read_only_store.run("late-seed0")
    block = run.vectors("text", 4)
    np.testing.assert_array_equal(run.vectors("text", "4"), block)
    np.testing.assert_array_equal(run.vectors("text", LayerRef("text", 4)), block)
    assert not np.array_equal(run.vectors("text", "4.fusion"), block)
    assert [ref.label for ref in run.layers("text")] == ["0", "1", "2", "3", "4.fusion", "4"]


@pytest.mark.parametrize(
    ("run_id", "stream", "layer", "pooling", "said"),
    [
        ("late-seed1", "vision", 1, "cls", "keeps no activations.*fusionscope capture --model"),
        ("late-seed0", "vision", 9, "cls", r"layer 9\. It has layers 0, 1, 2, 3, 4\.fusion, 4"),
        ("late-seed0", "vision", "3.fusion", "mean", r"no mean vectors of vision layer 3\.fusion"),
        ("late-seed0", "audio", 1, "cls", "no stream 'audio'"),
        ("late-seed0", "vision", 1, "max", "pooling 'max' is unknown"),
        ("late-seed0", "vision", "1x", "cls", "is not a layer"),
        ("late-seed0", "vision", LayerRef("text", 1), "cls", "is of stream 'text'"),
    ],
)
def test_missing_vectors_say_what_exists(
    read_only_store: Store, run_id: str, stream: str, layer: object, pooling: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_only_store.run(run_id).vectors(stream, layer, pooling)  # type: ignore[arg-type]


def test_a_pooling_that_was_not_captured_gives_the_command(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_store(tmp_path, ("late",), (0,), n=8, poolings=("cls",))
    with pytest.raises(InputError, match=r"no mean vectors of text, only cls.* --pooling mean"):
        store.run("late-seed0").vectors("text", 1, "mean")


def test_samples_leave_thumbnails_out_unless_named(read_only_store: Store) -> None:
    run = read_only_store.run("late-seed0")
    samples = run.samples()
    assert "thumbnail" not in samples and len(samples) == 48
    assert samples["label_irony"].dtype == pd.Int8Dtype()
    assert samples["label_irony"].isna().sum() == 2
    assert list(samples.loc[1, "label_topics"]) == ["work", "weather"]
    assert run.samples(["thumbnail"]).loc[0, "thumbnail"][:4] == b"RIFF"
    assert list(run.sample_ids()) == list(samples["sample_id"])


def test_samples_come_in_the_order_of_the_ids(tmp_path: Path, store_factory: ModuleType) -> None:
    store = Store.create(tmp_path)
    with store.writer(store_factory.make_manifest()) as writer:
        store_factory.write_parts(writer, store_factory.make_samples(700), {}, 300)
        writer.commit()
    run = store.run("late-seed0")
    wanted = ["macro-00650", "macro-00001", "macro-00299", "macro-00300", "macro-00255"]
    frame = run.samples(["sample_id", "text"], ids=wanted)
    assert list(frame["sample_id"]) == wanted
    assert [text.rsplit(" ", 1)[1] for text in frame["text"]] == ["650", "1", "299", "300", "255"]
    assert run.sample("macro-00411")["sample_id"] == "macro-00411"
    assert run.samples(ids=[]).empty
    with pytest.raises(InputError, match=r"no sample 'nope' \(and 1 others\)"):
        run.samples(ids=["nope", "macro-00001", "neither"])
    with pytest.raises(InputError, match="no sample column 'colour'"):
        run.samples(["colour"])


def test_measures_and_projections_are_filtered(read_only_store: Store) -> None:
    run = read_only_store.run("late-seed0")
    assert set(run.measures(["cka"])["measure"]) == {"cka"}
    assert len(run.measures()) > len(run.measures(["cka"])) > 0
    assert set(run.measures()["key"]) == {"default"}
    layer = run.projections("vision", "4.fusion", "cls")
    assert len(layer) == 48 and set(layer["site"]) == {"fusion"}
    assert len(run.projections(layer=LayerRef("vision", 2), pooling="mean")) == 48
    assert len(run.projections(layer=2, pooling="mean")) == 96
    assert run.projections(method="umap").empty


def test_a_run_without_results_gives_empty_tables(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_store(
        tmp_path, ("none",), (0,), n=8, measures=False, projections=False, scores=False
    )
    run = store.run("none-seed0")
    for frame in (run.measures(), run.projections(), run.scores()):
        assert frame.empty
    assert "value" in run.measures() and "x" in run.projections() and "task" in run.scores()
    assert run.score_summary() == {}


def test_measures_can_be_added_once(store: Store) -> None:
    run = store.run("late-seed0")
    before = store.token("late-seed0")
    rows = run.measures().drop(columns="key")
    run.add(kinds.MEASURES, rows.head(3), "again")
    assert run.keys(kinds.MEASURES) == ("again", "default")
    assert len(run.measures()) == len(rows) + 3
    assert store.token("late-seed0") != before
    with pytest.raises(InputError, match="measures 'again' exists and a store is never edited"):
        run.add(kinds.MEASURES, rows, "again")
    assert len(run.measures()) == len(rows) + 3
    projection = run.projections().drop(columns="key")
    run.add(kinds.PROJECTIONS, projection, "pca2")
    with pytest.raises(InputError, match="projections 'pca2' exists"):
        run.add(kinds.PROJECTIONS, projection, "pca2")
    with pytest.raises(InputError, match="is not valid"):
        run.add(kinds.MEASURES, rows, "../x")
    leftovers = [p.name for p in run.contents.paths.dir.rglob(".*")]
    assert leftovers == []


def test_adding_to_a_deleted_run_does_not_bring_it_back(store: Store) -> None:
    run = store.run("late-seed0")
    rows = run.measures().drop(columns="key")
    store.delete("late-seed0")
    with pytest.raises(InputError, match=r"run\.json is missing"):
        run.add(kinds.MEASURES, rows, "late")
    assert "late-seed0" not in store.run_ids()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("value", np.nan, "reason exactly when its value is NaN"),
        ("reason", "why", "reason exactly when its value is NaN"),
        ("site_a", "Site A", "site_a holds"),
        ("measure", None, "holds .* nulls"),
        ("layer_a", "four", "column layer_a is not int32"),
    ],
)
def test_measures_of_a_wrong_shape_are_refused(
    store: Store, column: str, value: object, said: str
) -> None:
    run = store.run("late-seed0")
    rows = run.measures().drop(columns="key")
    rows = rows[rows["value"].notna()].head(3)
    rows[column] = [value] * 3
    with pytest.raises(ValueError, match=said):
        run.add(kinds.MEASURES, rows, "bad")
    with pytest.raises(ValueError, match=r"missing columns \['n'\]"):
        run.add(kinds.MEASURES, rows.drop(columns="n"), "bad")
    assert run.keys(kinds.MEASURES) == ("default",)


def test_a_corrupt_file_is_named_and_no_traceback_of_pyarrow(
    store: Store, flip: Callable[[Path], None]
) -> None:
    run = store.run("late-seed0")
    cases = [
        (layer_of(run), lambda: run.vectors("vision", 1)),
        (run.contents.sample_files()[1], lambda: run.samples()),
        (run.contents.file(kinds.MEASURES, "default"), lambda: run.measures()),
        (run.contents.file(kinds.PROJECTIONS, "pca"), lambda: run.projections()),
        (run.contents.file(kinds.SCORES), lambda: run.scores()),
    ]
    for path, read in cases:
        good = path.read_bytes()
        for break_it in (flip, _cut, _empty):
            break_it(path)
            with pytest.raises(InputError, match="corrupt Parquet file") as caught:
                read()
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
            path.write_bytes(good)
        read()


def test_a_single_flipped_byte_never_becomes_another_number(store: Store) -> None:
    run = store.run("late-seed0")
    whole = run.vectors("vision", 1)
    path = layer_of(run)
    good = path.read_bytes()
    footer = int.from_bytes(good[-8:-4], "little")
    refused = 0
    for at in range(10, len(good) - footer - 8, 37):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        try:
            np.testing.assert_array_equal(run.vectors("vision", 1), whole)
        except InputError:
            refused += 1
    assert refused > 10


def test_a_file_of_another_layer_width_or_length_is_refused(store: Store) -> None:
    run = store.run("late-seed0")
    path = layer_of(run)
    raw = json.loads(run.contents.paths.manifest.read_text())
    raw["dataset"]["n"] = 47
    run.contents.paths.manifest.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=r"part-000000040\.parquet: holds 8 rows, expected 7"):
        store.run("late-seed0").vectors("vision", 1)
    raw["dataset"]["n"] = 48
    sites = raw["model"]["streams"][0]["sites"]
    raw["model"]["streams"][0]["sites"] = [entry.replace(":12", ":6") for entry in sites]
    run.contents.paths.manifest.write_text(json.dumps(raw))
    with pytest.raises(
        InputError, match=r"vectors are fixed_size_binary\[48\], run\.json says 6 x float32"
    ):
        store.run("late-seed0").vectors("vision", 1)
    assert path.exists()


def test_some_rows_are_read_in_any_order_and_from_any_part(read_only_store: Store) -> None:
    run = read_only_store.run("late-seed0")
    whole = run.vectors("text", "4.fusion", "mean")
    for rows in ([47, 0, 19, 20, 0], [], np.arange(48)[::-1]):
        some = run.vectors("text", "4.fusion", "mean", rows)
        np.testing.assert_array_equal(some, whole[np.array(rows, dtype=int)])
    for wrong in ([48], [-1]):
        with pytest.raises(IndexError, match=r"rows lie outside 0\.\.47"):
            run.vectors("text", 4, rows=wrong)


def test_a_missing_part_is_named(store: Store) -> None:
    run = store.run("late-seed0")
    layer_of(run).unlink()
    with pytest.raises(InputError, match=r"1-cls/part-000000020\.parquet: file is missing"):
        run.vectors("vision", 1)
    run.contents.sample_files()[0].unlink()
    with pytest.raises(InputError, match=r"samples/part-000000000\.parquet: file is missing"):
        store.run("late-seed0").vectors("text", 1)


def layer_of(run: Run) -> Path:
    """The middle part of one layer."""
    return run.contents.vector_files(LayerRef("vision", 1), "cls")[1]


def test_delete_removes_a_run_also_a_broken_one(store: Store) -> None:
    (store.path / "runs" / "late-seed0" / "run.json").write_text("{")
    store.delete("late-seed0")
    store.delete("none-seed1")
    assert list(store.runs()["run_id"]) == ["late-seed1", "none-seed0"]
    assert sorted(p.name for p in (store.path / "runs").iterdir()) == ["late-seed1", "none-seed0"]
    with pytest.raises(InputError, match="no run 'late-seed0'"):
        store.delete("late-seed0")
    with pytest.raises(InputError, match="is not valid"):
        store.delete("..")


def test_runs_of_the_same_samples_are_comparable(read_only_store: Store) -> None:
    runs = [read_only_store.run(run_id) for run_id in read_only_store.run_ids()]
    assert_comparable(runs)
    assert_comparable(runs[:1])
    assert_comparable([])


def test_runs_of_other_samples_are_refused_with_the_ids(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = Store.create(tmp_path)
    plain = store_factory.make_samples(10)
    reordered = plain.take([1, 0, *range(2, 10)])
    for run_id, samples in (
        ("base", plain),
        ("shifted", store_factory.make_samples(10, start=7)),
        ("reordered", reordered),
        ("shorter", plain.slice(0, 9)),
    ):
        with store.writer(store_factory.make_manifest(run_id)) as writer:
            writer.write_part(samples, {})
            writer.commit()
    for other, said in (
        ("shifted", r"7 samples only in base \(macro-00000, .*7 samples only in shifted"),
        ("reordered", "another order, 2 of 10 rows differ, first row 0"),
        ("shorter", r"1 samples only in base \(macro-00009\)"),
    ):
        with pytest.raises(InputError, match=said):
            assert_comparable([store.run("base"), store.run(other)])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _empty(path: Path) -> None:
    path.write_bytes(b"")
