"""A run appears at once, whole; what is refused leaves nothing behind."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.errors import InputError
from backend.store import Manifest, Store, kinds
from backend.store.files import published
from backend.store.paths import part_name
from backend.types import LayerRef

V1 = (LayerRef("vision", 1), "cls")


def vectors(n: int, width: int = 12, dtype: str = "float32") -> dict:
    return {V1: np.ones((n, width), dtype=dtype)}


@pytest.fixture
def make(store_factory: ModuleType) -> ModuleType:
    return store_factory


def test_nothing_is_visible_before_commit(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
        assert store.run_ids() == () and store.runs().empty and store.broken() == []
        with pytest.raises(InputError, match="no run"):
            store.run("late-seed0")
        committed = writer.commit()
    assert committed.dataset.n == store.run("late-seed0").n == 5
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["late-seed0"]


def test_the_run_appears_by_a_rename_of_what_was_flushed(
    tmp_path: Path, make: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[int, set[str]]] = []

    def record(root: Path) -> None:
        flushed.append((root.stat().st_ino, {p.name for p in root.iterdir()}))

    monkeypatch.setattr("backend.store.writer.fsync_tree", record)
    with Store.create(tmp_path).writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
        writer.commit()
    run = tmp_path / "runs" / "late-seed0"
    without_commit = {p.name for p in run.iterdir()} - {"run.json"}
    assert flushed == [(run.stat().st_ino, without_commit)], "run.json is the last to be written"


def test_leaving_without_commit_keeps_the_parts(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    manifest = make.make_manifest()
    with pytest.raises(RuntimeError, match="power"), store.writer(manifest) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
        raise RuntimeError("power")
    with store.writer(manifest) as writer:
        assert writer.n_written == 5
        assert list(writer.written_ids()) == [f"macro-0000{i}" for i in range(5)]
        assert list(writer.sample_ids()) == list(writer.written_ids())
        assert writer.last_sample_id == "macro-00004"
        writer.write_part(make.make_samples(5, start=5), vectors(5))
        writer.commit()
    assert list(store.run("late-seed0").sample_ids()) == [f"macro-{i:05d}" for i in range(10)]


def test_other_work_of_the_same_name_is_discarded_with_a_warning(
    tmp_path: Path, make: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
    other = make.make_manifest(poolings=("cls",))
    with caplog.at_level(logging.WARNING), store.writer(other) as writer:
        assert writer.n_written == 0 and writer.last_sample_id is None
    assert "discarding unfinished work on run late-seed0" in caplog.text


def test_newer_package_versions_go_on_with_the_work(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    manifest = make.make_manifest()
    with store.writer(manifest) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
    later = manifest.model_copy(
        update={"versions": {"torch": "9"}, "created": "2027-01-01T00:00:00+00:00"}
    )
    with store.writer(later) as writer:
        assert writer.n_written == 5
        writer.commit()
    assert store.run("late-seed0").manifest.versions == {"torch": "9"}


def test_a_damaged_part_is_made_again_and_nothing_is_committed_before(
    tmp_path: Path, make: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as writer:
        for start in (0, 5, 10):
            writer.write_part(make.make_samples(5, start=start), vectors(5))
    samples, layer = parts_of(tmp_path)
    second = layer / part_name(5)
    second.write_bytes(second.read_bytes()[:-10])
    (samples / f".tmp-{0:032x}").write_bytes(b"half")
    (layer / part_name(99)).write_bytes(b"of a part without samples")
    with caplog.at_level(logging.WARNING), store.writer(make.make_manifest()) as writer:
        assert writer.n_written == 5 and writer.part_ends == (5,)
        assert writer.written == (range(5), range(10, 15)), "a worker may have written behind a gap"
        with pytest.raises(InputError, match="lacks the samples of rows 5 to 9"):
            writer.commit()
        writer.write_part(make.make_samples(8, start=5), vectors(8))
        assert writer.written == (range(5), range(5, 13))
    assert "dropping an unusable part" in caplog.text
    for folder in (samples, layer):
        assert sorted(p.name for p in folder.iterdir()) == [part_name(0), part_name(5)]


def test_a_part_whose_layers_a_power_cut_took_is_made_again(
    tmp_path: Path, make: ModuleType
) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
    (parts_of(tmp_path)[1] / part_name(0)).unlink()
    with store.writer(make.make_manifest()) as writer:
        assert writer.n_written == 0


def parts_of(store: Path) -> tuple[Path, Path]:
    """Where the samples and the one layer of the unfinished run lie."""
    run = store / "runs" / ".partial-late-seed0" / "run"
    return run / "samples", run / "activations" / "vision" / "1-cls"


def test_an_existing_run_is_refused_before_any_work(tmp_path: Path, make: ModuleType) -> None:
    store = make.make_store(tmp_path, ("late",), (0,), n=8)
    with (
        pytest.raises(InputError, match=r"run late-seed0 exists\. Choose another `run_id` or del"),
        store.writer(make.make_manifest()),
    ):
        pytest.fail("the writer must not open")
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["late-seed0"]


def test_replace_swaps_the_run_at_commit(tmp_path: Path, make: ModuleType) -> None:
    store = make.make_store(tmp_path, ("late",), (0,), n=8)
    with store.writer(make.make_manifest(), replace=True) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
        assert store.run("late-seed0").n == 8
        writer.commit()
    assert store.run("late-seed0").n == 5
    assert store.run("late-seed0").keys(kinds.MEASURES) == ()
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["late-seed0"]


def test_a_second_writer_is_refused_at_once(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as first:
        with (
            pytest.raises(InputError, match="another process is writing run late-seed0"),
            store.writer(make.make_manifest()),
        ):
            pytest.fail("the writer must not open")
        with store.writer(make.make_manifest("other")):
            pass
        first.write_part(make.make_samples(5), vectors(5))
        first.commit()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((4, 12), np.float32), r"shape \(4, 12\), expected \(5, 12\)"),
        (np.ones((5, 11), np.float32), r"shape \(5, 11\), expected \(5, 12\)"),
        (np.ones((5, 12), np.float64), "dtype float64, the manifest says float32"),
        (np.ones((5, 12), np.float16), "dtype float16, the manifest says float32"),
        (np.ones(60, np.float32), "shape"),
    ],
)
def test_vectors_of_a_wrong_shape_or_dtype_are_refused(
    tmp_path: Path, make: ModuleType, array: np.ndarray, said: str
) -> None:
    with Store.create(tmp_path).writer(make.make_manifest()) as writer:
        with pytest.raises(ValueError, match=said):
            writer.write_part(make.make_samples(5), {V1: array})
        assert writer.n_written == 0
        writer.write_part(make.make_samples(5), vectors(5))


def test_layers_that_the_model_does_not_have_are_refused(tmp_path: Path, make: ModuleType) -> None:
    ones = np.ones((5, 12), np.float32)
    with Store.create(tmp_path).writer(make.make_manifest(poolings=("cls",))) as writer:
        for key, said in (
            ((LayerRef("vision", 5), "cls"), "no layer 5"),
            ((LayerRef("vision", 2, "fusion"), "cls"), r"no layer 2\.fusion"),
            ((LayerRef("audio", 1), "cls"), "no stream 'audio'"),
            ((LayerRef("vision", 1), "mean"), "poolings are"),
        ):
            with pytest.raises(ValueError, match=said):
                writer.write_part(make.make_samples(5), {key: ones})
        assert writer.n_written == 0


def test_every_part_holds_the_same_layers_in_any_order(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    t1 = (LayerRef("text", 1), "cls")
    ones = np.ones((5, 12), np.float32)
    with store.writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), {V1: ones, t1: 2 * ones})
        with pytest.raises(ValueError, match=r"same layers as those before: \['text-1-cls'\]"):
            writer.write_part(make.make_samples(5, start=5), {V1: ones})
        writer.write_part(make.make_samples(5, start=5), {t1: 2 * ones, V1: ones})
        writer.commit()
    assert (store.run("late-seed0").vectors("text", 1) == 2).all()


def test_samples_need_the_manifests_columns(tmp_path: Path, make: ModuleType) -> None:
    samples = make.make_samples(5)
    at = samples.column_names.index
    irony = at("label_irony")
    with Store.create(tmp_path).writer(make.make_manifest()) as writer:
        for wrong, said in (
            (samples.drop_columns(["label_irony"]), r"missing columns \['label_irony'\]"),
            (samples.append_column("x", pa.nulls(5)), r"unknown columns \['x'\]"),
            (samples.set_column(irony, "label_irony", pa.array(list("abcde"))), "label_irony"),
            (samples.set_column(at("text"), "text", pa.nulls(5, pa.string())), "text holds 5 nul"),
            (samples.slice(0, 0), "at least one sample"),
        ):
            with pytest.raises(ValueError, match=said):
                writer.write_part(wrong, {})
        assert writer.n_written == 0
        writer.write_part(samples.drop_columns(["thumbnail"]), {})
        writer.commit()


def test_a_repeated_sample_id_is_refused(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
        with pytest.raises(InputError, match="sample id 'macro-00004' occurs twice"):
            writer.write_part(make.make_samples(5, start=4), vectors(5))
        twice = pa.concat_tables([make.make_samples(1, start=9)] * 2)
        with pytest.raises(InputError, match="sample id 'macro-00009' occurs twice"):
            writer.write_part(twice, vectors(2))
    with store.writer(make.make_manifest()) as writer:
        with pytest.raises(InputError, match="sample id 'macro-00000' occurs twice"):
            writer.write_part(make.make_samples(5), vectors(5))
        assert writer.n_written == 5


def test_commit_refuses_another_number_of_samples_and_keeps_the_parts(
    tmp_path: Path, make: ModuleType
) -> None:
    store = Store.create(tmp_path)
    manifest: Manifest = make.make_manifest().with_n(10)
    with store.writer(manifest) as writer:
        with pytest.raises(InputError, match="has 0 samples, expected 10"):
            writer.commit()
        writer.write_part(make.make_samples(5), vectors(5))
        with pytest.raises(InputError, match="has 5 samples, expected 10"):
            writer.commit()
    with store.writer(manifest) as writer:
        assert writer.n_written == 5
        writer.write_part(make.make_samples(5, start=5), vectors(5))
        writer.commit()
    assert store.run("late-seed0").n == 10


def test_an_empty_run_is_refused(tmp_path: Path, make: ModuleType) -> None:
    with (
        Store.create(tmp_path).writer(make.make_manifest()) as writer,
        pytest.raises(InputError, match="has 0 samples, expected some"),
    ):
        writer.commit()


def test_layers_can_be_read_before_commit_and_then_left_out(
    tmp_path: Path, make: ModuleType
) -> None:
    store = Store.create(tmp_path)
    manifest = make.make_manifest()
    written = make.make_vectors(manifest, 30)
    with store.writer(manifest) as writer:
        make.write_parts(writer, make.make_samples(30), written, 11)
        labels = [ref.label for ref in writer.layers("text", "mean")]
        assert labels == ["0", "1", "2", "3", "4.fusion", "4"]
        for (ref, pooling), array in written.items():
            np.testing.assert_array_equal(writer.vectors(ref.stream, ref.label, pooling), array)
        with pytest.raises(InputError, match=r"vision-3\.fusion-cls was not written"):
            writer.vectors("vision", "3.fusion")
        writer.add(kinds.MEASURES, make.make_measures(manifest, written), "default")
        writer.commit(keep_activations=False)
    run = store.run("late-seed0")
    assert not run.has_activations and not run.contents.paths.activations.exists()
    assert len(run.measures()) > 0


def test_a_checkpoint_keeps_only_trusted_formats(tmp_path: Path, make: ModuleType) -> None:
    store = make.make_store(tmp_path, ("late",), (0,), n=8)
    checkpoint = store.run("late-seed0").checkpoint
    assert sorted(p.name for p in checkpoint.iterdir()) == ["config.json", "model.safetensors"]
    with store.writer(make.make_manifest("other")) as writer:
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=r"not a checkpoint: config\.json is missing"):
            writer.add_checkpoint(tmp_path / "empty")


def test_scores_of_a_wrong_shape_are_refused(tmp_path: Path, make: ModuleType) -> None:
    with Store.create(tmp_path).writer(make.make_manifest()) as writer:
        with pytest.raises(ValueError, match=r"scores: missing columns \['split'\]"):
            writer.add(kinds.SCORES, pd.DataFrame({"task": ["a"], "metric": ["b"], "value": [1.0]}))
        writer.add(kinds.SCORES, make.make_scores("late", 0))


def test_a_closed_writer_does_nothing(tmp_path: Path, make: ModuleType) -> None:
    writer = Store.create(tmp_path).writer(make.make_manifest())
    with pytest.raises(ValueError, match="use it in a with statement"):
        writer.write_part(make.make_samples(5), vectors(5))
    with writer:
        pass
    with pytest.raises(ValueError, match="use it in a with statement"):
        writer.commit()


def test_files_are_laid_out_as_measured(tmp_path: Path, make: ModuleType) -> None:
    store = Store.create(tmp_path)
    with store.writer(make.make_manifest()) as writer:
        for start in range(0, 900, 300):
            writer.write_part(make.make_samples(300, start=start), vectors(300))
        writer.commit()
    run = tmp_path / "runs" / "late-seed0"
    layer = run / "activations" / "vision" / "1-cls"
    names = ["part-000000000.parquet", "part-000000300.parquet", "part-000000600.parquet"]
    assert sorted(p.name for p in layer.iterdir()) == names
    assert sorted(p.name for p in (run / "samples").iterdir()) == names
    vector = pq.read_metadata(layer / names[0]).row_group(0).column(1)
    assert (vector.physical_type, vector.compression) == ("FIXED_LEN_BYTE_ARRAY", "UNCOMPRESSED")
    assert pq.read_metadata(layer / names[0]).row_group(0).num_rows == 128
    samples = pq.read_metadata(run / "samples" / names[1])
    codecs = {
        samples.row_group(0).column(i).path_in_schema: samples.row_group(0).column(i).compression
        for i in range(samples.num_columns)
    }
    assert codecs["thumbnail"] == "UNCOMPRESSED"
    assert codecs["text"] == codecs["label_topics.list.element"] == "ZSTD"
    assert samples.row_group(0).num_rows == 256


def test_publishing_never_overwrites_and_never_leaves_a_half(tmp_path: Path) -> None:
    final = tmp_path / "x"
    with pytest.raises(RuntimeError, match="stop"), published(final) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    with published(final) as temporary:
        temporary.write_text("first")
    with pytest.raises(FileExistsError), published(final) as temporary:
        temporary.write_text("second")
    assert final.read_text() == "first"
    assert list(tmp_path.iterdir()) == [final]


def test_publishing_works_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with published(tmp_path / "x") as temporary:
        temporary.write_text("first")
    with pytest.raises(FileExistsError), published(tmp_path / "x") as temporary:
        temporary.write_text("second")
    assert (tmp_path / "x").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_is_one_line_and_keeps_what_was_captured(
    tmp_path: Path, make: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    with store.writer(make.make_manifest()) as writer:
        writer.write_part(make.make_samples(5), vectors(5))
        with monkeypatch.context() as patch:
            patch.setattr("backend.store.vectors.pq.write_table", full)
            with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
                writer.write_part(make.make_samples(5, start=5), vectors(5))
        with monkeypatch.context() as patch:
            patch.setattr("backend.store.writer.fsync_tree", full)
            with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
                writer.commit()
        assert writer.n_written == 5 and store.run_ids() == ()
    with store.writer(make.make_manifest()) as writer:
        writer.commit()
    assert store.run("late-seed0").n == 5
