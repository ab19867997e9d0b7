"""SQL over a store: right, current, locked down, shared between threads."""

# ruff: noqa: S608 - the names of views come from this file

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from backend.errors import InputError
from backend.store import Catalogue, Store

VIEWS = ("runs", "samples", "measures", "projections", "scores", "training_measures")


@pytest.fixture
def catalogue(store: Store) -> Iterator[Catalogue]:
    with Catalogue(store) as opened:
        yield opened


def test_views_hold_every_run_with_its_id(catalogue: Catalogue, store: Store) -> None:
    runs = catalogue.query("SELECT * FROM runs ORDER BY run_id")
    assert list(runs["run_id"]) == list(store.run_ids())
    assert json.loads(runs.loc[0, "streams"])[0]["fusion_layers"] == [4]
    assert list(runs.loc[0, "projections"]) == ["pca"]
    for view, frame in (
        ("samples", store.run("late-seed0").samples()),
        ("measures", store.run("late-seed0").measures()),
        ("projections", store.run("late-seed0").projections()),
        ("scores", store.run("late-seed0").scores()),
    ):
        rows = catalogue.query(f"SELECT * FROM {view} WHERE run_id = ?", ["late-seed0"])
        assert len(rows) == len(frame) > 0
        assert set(frame.columns) <= set(rows.columns), view


def test_training_measures_can_be_asked_by_epoch_and_a_damaged_file_is_left_out(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_store(
        tmp_path, ("none", "late"), (0,), n=8, width=4,
        training=lambda placement, _: ((0, 0), (1, 5)) if placement == "late" else (),
    )  # fmt: skip
    frame = store.run("late-seed0").training_measures()
    sql = """
        SELECT run_id, epoch, step, max(value) AS top FROM training_measures
        WHERE measure = 'participation_ratio' GROUP BY ALL ORDER BY step
    """
    with Catalogue(store) as catalogue:
        found = catalogue.query(sql)
        assert len(catalogue.query("SELECT * FROM training_measures")) == len(frame)
        assert list(catalogue.query("SELECT * FROM training_measures")) == ["run_id", *frame]
    assert found[["run_id", "epoch", "step"]].to_numpy().tolist() == [
        ["late-seed0", 0, 0],
        ["late-seed0", 1, 5],
    ]
    path = store.run("late-seed0").paths.training_measures
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with Catalogue(store) as catalogue:
        assert catalogue.query("SELECT * FROM training_measures").empty
        assert "training_measures.parquet" in catalogue.broken()[0].reason


def test_a_measure_can_be_joined_with_its_placement(catalogue: Catalogue) -> None:
    sql = """
        SELECT placement, count(DISTINCT seed) AS seeds, avg(value) AS value
        FROM measures JOIN runs USING (run_id)
        WHERE measure = $measure AND stream_a = 'text' AND stream_b = 'text'
          AND layer_a = layer_b AND site_a = site_b AND estimator = 'biased'
        GROUP BY placement ORDER BY placement
    """
    rows = catalogue.query(sql, {"measure": "cka"})
    assert list(rows["placement"]) == ["late", "none"]
    assert list(rows["seeds"]) == [2, 2]
    assert rows["value"].to_list() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("options", [None, {"measures": False}, {"projections": False, "n": 8}])
def test_views_have_their_columns_where_files_are_missing(
    tmp_path: Path, store_factory: ModuleType, options: dict | None
) -> None:
    whole = store_factory.make_store(tmp_path / "whole", ("none",), (0,))
    store = (
        Store.create(tmp_path / "store")
        if options is None
        else store_factory.make_store(tmp_path / "store", ("none",), (0,), scores=False, **options)
    )
    with Catalogue(whole) as full, Catalogue(store) as catalogue:
        for view in VIEWS:
            expected = full.query(f"SELECT * FROM {view}")
            found = catalogue.query(f"SELECT * FROM {view}")
            wanted = [c for c in expected if options is not None or not c.startswith("label_")]
            assert list(found.columns) == wanted
        assert catalogue.query("SELECT * FROM scores WHERE value > 0.5").empty


def test_runs_with_other_tasks_share_one_view(tmp_path: Path, store_factory: ModuleType) -> None:
    store = store_factory.make_store(tmp_path, ("none",), (0,), n=4)
    manifest = store_factory.make_manifest("other")
    tasks = (
        manifest.dataset.tasks[0].model_copy(update={"name": "object"}),
        manifest.dataset.tasks[0].model_copy(update={"name": "Odd-name.1"}),
    )
    dataset = manifest.dataset.model_copy(update={"tasks": tasks})
    samples = store_factory.make_samples(4).drop_columns(["label_object", "label_topics"])
    names = {"label_irony": "label_object"}
    samples = samples.rename_columns(names).append_column(
        "label_Odd-name.1", samples["label_irony"]
    )
    with store.writer(manifest.model_copy(update={"dataset": dataset})) as writer:
        writer.write_shard(samples, {})
        writer.commit()
    with Catalogue(store) as catalogue:
        rows = catalogue.query("SELECT * FROM samples ORDER BY run_id, sample_id")
    assert list(rows["label_object"]) == ["cat", "dog", "car", "cat", "0", "1", "0", "1"]
    assert list(rows["label_Odd-name.1"].isna()) == [True] * 4 + [False] * 4
    assert list(rows["label_topics"].isna()) == [False] * 4 + [True] * 4
    assert "thumbnail" not in rows


def test_unfinished_and_half_written_files_are_not_seen(
    catalogue: Catalogue, store: Store, store_factory: ModuleType
) -> None:
    before = {view: len(catalogue.query(f"SELECT * FROM {view}")) for view in VIEWS}
    (store.path / "runs" / "late-seed0" / "measures" / ".tmp-x").write_bytes(b"PAR1half")
    manifest = store_factory.make_manifest("new")
    with store.writer(manifest) as writer:
        vectors = store_factory.make_vectors(manifest, 5)
        writer.write_shard(store_factory.make_samples(5), vectors)
        writer.add_measures("default", store_factory.make_measures(manifest, vectors))
        assert {view: len(catalogue.query(f"SELECT * FROM {view}")) for view in VIEWS} == before
        writer.commit()
    assert len(catalogue.query("SELECT * FROM samples WHERE run_id = 'new'")) == 5


def test_views_follow_the_store(catalogue: Catalogue, store: Store) -> None:
    count = "SELECT count(*) AS n FROM measures WHERE key = 'more'"
    assert catalogue.query(count)["n"][0] == 0
    run = store.run("none-seed1")
    run.add_measures("more", run.measures().drop(columns="key").head(7))
    assert catalogue.query(count)["n"][0] == 7
    store.delete("none-seed1")
    assert catalogue.query(count)["n"][0] == 0
    assert len(catalogue.query("SELECT * FROM runs")) == 3


def test_broken_runs_and_files_are_left_out_and_named(store: Store) -> None:
    (store.path / "runs" / "none-seed0" / "run.json").write_text("{")
    store.run("late-seed0").paths.projection("pca").write_bytes(b"PAR1")
    with Catalogue(store) as catalogue:
        assert "none-seed0" not in set(catalogue.query("SELECT run_id FROM samples")["run_id"])
        assert catalogue.query("SELECT * FROM projections").empty
        assert "late-seed0" in set(catalogue.query("SELECT run_id FROM samples")["run_id"])
        reasons = {item.run_id: item.reason for item in catalogue.broken()}
    assert "not valid JSON" in reasons["none-seed0"]
    assert "corrupt" in reasons["late-seed0"] and "pca.parquet" in reasons["late-seed0"]


@pytest.mark.parametrize(
    ("name", "view"), [("samples.parquet", "samples"), ("projections/pca.parquet", "projections")]
)
def test_a_flipped_bit_is_left_out_rather_than_read_as_another_number(
    store: Store, flip: Callable[[Path], None], name: str, view: str
) -> None:
    flip(store.path / "runs" / "late-seed0" / name)
    with Catalogue(store) as catalogue:
        assert "late-seed0" not in set(catalogue.query(f"SELECT run_id FROM {view}")["run_id"])
        reasons = [item.reason for item in catalogue.broken()]
    assert len(reasons) == 1 and "corrupt" in reasons[0] and name in reasons[0]


@pytest.mark.parametrize("broken", ["zeros", "flipped"])
def test_a_file_that_is_damaged_under_a_view_is_one_line(
    catalogue: Catalogue, store: Store, flip: Callable[[Path], None], broken: str
) -> None:
    assert len(catalogue.query("SELECT text FROM samples")) == 4 * 48
    path = store.run("late-seed0").paths.samples
    if broken == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        flip(path)
    with pytest.raises(InputError, match="a file of the store cannot be read") as caught:
        catalogue.query("SELECT text FROM samples")
    assert "\n" not in str(caught.value)


def test_wrong_parameters_are_not_taken_for_a_broken_file(catalogue: Catalogue) -> None:
    with pytest.raises(duckdb.InvalidInputException):
        catalogue.query("SELECT * FROM runs WHERE run_id = ?", [])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('{store}/../outside.txt')",
        "SELECT * FROM '{store}/../outside.txt'",
    ],
)
def test_nothing_outside_the_store_can_be_read(
    catalogue: Catalogue, store: Store, sql: str
) -> None:
    (store.path.parent / "outside.txt").write_text("secret")
    with pytest.raises((duckdb.PermissionException, duckdb.CatalogException)):
        catalogue.query(sql.format(store=store.path))


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{store}/x.parquet'",
        "SET enable_external_access = true",
        "ATTACH '{store}/x.db'",
        "INSTALL httpfs",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW samples",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_only_one_select_is_taken(catalogue: Catalogue, store: Store, sql: str) -> None:
    with pytest.raises(ValueError, match="one SELECT statement and nothing else"):
        catalogue.query(sql.format(store=store.path))
    assert not (store.path / "x.parquet").exists()


def test_the_lock_holds_without_the_check_on_statements(catalogue: Catalogue) -> None:
    with catalogue._connection.cursor() as cursor:
        for sql in ("SET enable_external_access = true", "INSTALL httpfs", "ATTACH '/tmp/x.db'"):
            with pytest.raises(duckdb.Error):
                cursor.execute(sql)


def test_python_variables_are_out_of_reach(catalogue: Catalogue) -> None:
    secret = catalogue.query("SELECT 1 AS x")
    assert len(secret) == 1
    with pytest.raises(duckdb.CatalogException):
        catalogue.query("SELECT * FROM secret")


def test_values_are_bound_not_pasted(catalogue: Catalogue) -> None:
    nasty = "x' OR 1=1 --"
    assert catalogue.query("SELECT * FROM runs WHERE run_id = ?", [nasty]).empty
    assert catalogue.query("SELECT ? AS x", [nasty])["x"][0] == nasty


@pytest.mark.parametrize("name", ["it's", "a [1] *?", "späti", "run=1"])
def test_a_store_may_have_any_name(tmp_path: Path, store_factory: ModuleType, name: str) -> None:
    store = store_factory.make_store(tmp_path / name, ("none",), (0,), n=8)
    with Catalogue(store) as catalogue:
        assert len(catalogue.query("SELECT * FROM samples")) == 8
        assert len(catalogue.query("SELECT * FROM measures")) > 0


def test_threads_share_a_catalogue_while_runs_appear(
    store: Store, catalogue: Catalogue, store_factory: ModuleType
) -> None:
    stop = threading.Event()

    def ask(view: str) -> int:
        asked = 0
        while not stop.is_set():
            counts = catalogue.query(f"SELECT run_id, count(*) AS n FROM {view} GROUP BY run_id")
            assert counts["n"].nunique() == 1
            asked += 1
        return asked

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, view) for view in ("samples", "scores", "runs") * 2]
        for i in range(4):
            manifest = store_factory.make_manifest(f"new-{i}")
            with store.writer(manifest) as writer:
                writer.write_shard(store_factory.make_samples(48), {})
                writer.add_scores(store_factory.make_scores("late", 0))
                writer.commit()
        store.delete("new-0")
        stop.set()
        assert all(future.result() > 0 for future in asking)
    assert len(catalogue.query("SELECT * FROM runs")) == 7


def test_every_view_answers_on_a_store_of_fifteen_runs(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    with Catalogue(store_factory.make_store(tmp_path)) as catalogue:
        for view in VIEWS:
            catalogue.query(f"SELECT * FROM {view}")
        assert len(catalogue.query("SELECT * FROM measures WHERE measure = 'cka'")) > 1000
