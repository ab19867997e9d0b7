"""SQL over a store: right, current, locked down, shared between threads."""

# ruff: noqa: S608 - the names of views come from this file

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.store import Store, looked_through, query, tables
from backend.store.kinds import (
    DRIVERS,
    KINDS,
    MEASURES,
    NEIGHBOURS,
    PROBES,
    REFITS,
    SCORES,
    Kind,
    kinds_of,
)
from backend.store.pack import pack
from backend.store.source import Part
from backend.store.tables import to_pandas
from backend.types import LayerRef

VIEWS = ("runs", "samples", *(kind.name for kind in KINDS))


def driver_rows(a: LayerRef, b: LayerRef) -> pd.DataFrame:
    """Two samples that drive a pair of layers."""
    places = {
        f"{name}_{side}": value
        for side, ref in (("a", a), ("b", b))
        for name, value in (("stream", ref.stream), ("layer", ref.layer), ("site", ref.site))
    }
    ranked = [(1, "macro-00003", 0.4), (-1, "macro-00005", -0.1)]
    rows = [
        {**places, "pooling": "cls", "rank": rank, "sample_id": sample_id, "share": share}
        for rank, sample_id, share in ranked
    ]
    return pd.DataFrame(rows)


def map_rows(name: str, ref: LayerRef, ids: np.ndarray) -> tuple[Kind, pd.DataFrame]:
    """One row of a kind that is made with the maps."""
    place = {"stream": ref.stream, "layer": ref.layer, "site": ref.site, "pooling": "cls"}
    if name == "refits":
        return REFITS, pd.DataFrame([{**place, "method": "umap", "movement": 0.5, "n": len(ids)}])
    row = {"sample_id": ids[0], **place, "rank": 1, "neighbour": ids[1]}
    return NEIGHBOURS, pd.DataFrame([row])


def probe_rows(ref: LayerRef) -> pd.DataFrame:
    """A probe of two classes on a layer of twelve numbers."""
    row = {
        "stream": ref.stream, "layer": ref.layer, "site": ref.site, "pooling": "cls",
        "task": "irony", "kind": "binary", "class": ["sincere", "ironic"], "n": 12,
        "converged": True, "mean": np.linspace(0.5, -1.0, 12).tobytes(),
        "scale": np.ones(12).tobytes(), "coefficients": np.ones(12, dtype=np.float32).tobytes(),
        "intercept": [0.0, 0.5],
    }  # fmt: skip
    return pd.DataFrame(row)


def test_views_hold_every_run_with_its_id(read_only_store: Store) -> None:
    store = read_only_store
    runs = store.query("SELECT * FROM runs ORDER BY run_id")
    assert list(runs["run_id"]) == list(store.run_ids())
    assert json.loads(runs.loc[0, "streams"])[0]["fusion_layers"] == [4]
    assert list(runs.loc[0, "poolings"]) == ["cls", "mean"]
    run = store.run("late-seed0")
    for view, frame in (
        ("samples", run.samples()),
        *((kind.name, to_pandas(run.table(kind))) for kind in kinds_of("run")),
    ):
        rows = store.query(f"SELECT * FROM {view} WHERE run_id = ?", ["late-seed0"])
        assert len(rows) == len(frame), view
        assert set(frame.columns) <= set(rows.columns), view


def test_a_measure_can_be_joined_with_its_placement(read_only_store: Store) -> None:
    sql = """
        SELECT placement, count(DISTINCT seed) AS seeds, avg(value) AS value
        FROM measures JOIN runs USING (run_id)
        WHERE measure = $measure AND stream_a = 'text' AND stream_b = 'text'
          AND layer_a = layer_b AND site_a = site_b AND estimator = 'biased'
        GROUP BY placement ORDER BY placement
    """
    rows = read_only_store.query(sql, {"measure": "cka"})
    assert list(rows["placement"]) == ["late", "none"]
    assert list(rows["seeds"]) == [2, 2]
    assert rows["value"].to_list() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("empty", [True, False])
def test_views_have_their_columns_where_tables_are_missing(
    tmp_path: Path, store_factory: ModuleType, read_only_store: Store, empty: bool
) -> None:
    store = Store.create(tmp_path)
    if not empty:
        store_factory.make_store(
            tmp_path, ("none",), (0,), n=8, scores=False, measures=False, projections=False
        )
    for view in VIEWS:
        expected = read_only_store.query(f"SELECT * FROM {view}")
        rows = store.query(f"SELECT * FROM {view}")
        wanted = [c for c in expected if not empty or not c.startswith("label_")]
        assert list(rows.columns) == wanted, view
    assert store.query("SELECT * FROM scores WHERE value > 0.5").empty


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
        writer.write_part(samples, {})
        writer.commit()
    pack([store], tmp_path / "packed.duckdb")
    for either in (store, Store(tmp_path / "packed.duckdb")):
        rows = either.query("SELECT * FROM samples ORDER BY run_id, sample_id")
        assert list(rows["label_object"]) == ["cat", "dog", "car", "cat", "0", "1", "0", "1"]
        assert list(rows["label_Odd-name.1"].isna()) == [True] * 4 + [False] * 4
        assert list(rows["label_topics"].isna()) == [False] * 4 + [True] * 4
        assert "thumbnail" not in rows
        assert [task.name for task in either.run("other").labels()] == ["object", "Odd-name.1"]


def test_unfinished_and_half_written_files_are_not_seen_and_finished_ones_are_at_once(
    store: Store, store_factory: ModuleType
) -> None:
    before = {view: len(store.query(f"SELECT * FROM {view}")) for view in VIEWS}
    (store.path / "runs" / "late-seed0" / "measures" / ".tmp-x").write_bytes(b"PAR1half")
    manifest = store_factory.make_manifest("new")
    with store.writer(manifest) as writer:
        vectors = store_factory.make_vectors(manifest, 5)
        writer.write_part(store_factory.make_samples(5), vectors)
        writer.add(MEASURES, store_factory.make_measures(manifest, vectors), "default")
        assert {view: len(store.query(f"SELECT * FROM {view}")) for view in VIEWS} == before
        writer.commit()
    assert len(store.query("SELECT * FROM samples WHERE run_id = 'new'")) == 5
    run = store.run("new")
    run.add(MEASURES, run.measures().drop(columns="key").head(7), "more")
    assert store.query("SELECT count(*) AS n FROM measures WHERE key = 'more'")["n"][0] == 7
    store.delete("new")
    assert {view: len(store.query(f"SELECT * FROM {view}")) for view in VIEWS} == before


def any_row(name: str) -> tuple[Kind, pd.DataFrame, str]:
    """A row of a kind that names no layer."""
    kind = next(kind for kind in kinds_of("run") if kind.name == name)
    any_of = {pa.string(): "", pa.int32(): 1, pa.int64(): 1, pa.float64(): 0.5, pa.bool_(): True}
    row = {field.name: any_of[field.type] for field in kind.schema}
    return kind, pd.DataFrame([row]), "default" if kind.keyed else ""


@pytest.mark.parametrize("name", ["samples", *(kind.name for kind in kinds_of("run"))])
def test_a_flipped_bit_is_left_out_and_named_rather_than_read_as_another_number(
    tmp_path: Path, store_factory: ModuleType, flip: Callable[[Path], None], name: str
) -> None:
    store = store_factory.make_store(
        tmp_path, ("late",), (0, 1), n=12, depth=4, training=lambda *_: ((0, 0),)
    )
    first, second = store.run("late-seed0"), store.run("late-seed1")
    if name == "drivers":
        pair = LayerRef("vision", 1), LayerRef("text", 1)
        for run in (first, second):
            run.add(DRIVERS, driver_rows(*pair), "default")
    if name == "probes":
        for run in (first, second):
            run.add(PROBES, probe_rows(LayerRef("text", 2)), "default")
    if name in ("neighbours", "refits"):
        for run in (first, second):
            run.add(*map_rows(name, LayerRef("text", 2), run.sample_ids()), "default")
    if name in ("sae", "sae_features", "sae_matches", "shared_space"):
        for run in (first, second):
            kind, rows, key = any_row(name)
            layer = {"stream": "text", "layer": 2, "site": "block"}
            place = {f"{what}{side}": of for side in kind.sides for what, of in layer.items()}
            mine = {"sample_id": run.sample_ids()[0]} if kind.samples else {}
            run.add(kind, rows.assign(**place, **mine), key)
    if name in ("training_scores", "interventions", "tokens"):
        for run in (first, second):
            run.add(*any_row(name))
    whole = set(store.query(f"SELECT run_id FROM {name}")["run_id"])
    assert "late-seed0" in whole
    if name == "samples":
        broken = first.contents.sample_files()[0]
    else:
        kind = next(kind for kind in KINDS if kind.name == name)
        broken = next(iter(first.contents.files(kind).values()))
    flip(broken)
    reopened = Store(tmp_path)
    if name == "scores":  # is read to list the run
        assert [item.run_id for item in reopened.broken()] == ["late-seed0"]
        rows = reopened.query(f"SELECT run_id FROM {name}")
    else:
        with pytest.warns(UserWarning, match=f"left out: .*{broken.name}: corrupt"):
            rows = reopened.query(f"SELECT run_id FROM {name}")
    assert set(rows["run_id"]) == whole - {"late-seed0"}


def test_a_broken_run_is_left_out_of_every_view(store: Store) -> None:
    (store.path / "runs" / "none-seed0" / "run.json").write_text("{")
    for view in VIEWS[:-1]:
        assert "none-seed0" not in set(store.query(f"SELECT run_id FROM {view}")["run_id"])
    assert "not valid JSON" in store.broken()[0].reason


def test_a_file_that_is_damaged_while_it_is_asked_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.run("late-seed0").contents.file(MEASURES, "default")
    path.write_bytes(bytes(path.stat().st_size))
    monkeypatch.setattr(looked_through, "_verdict", lambda file: ("", (0, 0)))
    with pytest.raises(InputError, match="a file of the store cannot be read") as caught:
        store.query("SELECT reason FROM measures")
    assert "\n" not in str(caught.value)


def test_wrong_parameters_are_not_taken_for_a_broken_file(read_only_store: Store) -> None:
    with pytest.raises(duckdb.InvalidInputException):
        read_only_store.query("SELECT * FROM runs WHERE run_id = ?", [])


@pytest.mark.parametrize("packed", [False, True])
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
def test_nothing_outside_the_store_can_be_read(store: Store, sql: str, packed: bool) -> None:
    (store.path.parent / "outside.txt").write_text("secret")
    asked = store
    if packed:
        pack([store], store.path.parent / "packed.duckdb", activations=False)
        asked = Store(store.path.parent / "packed.duckdb")
    with pytest.raises((duckdb.PermissionException, duckdb.CatalogException)):
        asked.query(sql.format(store=store.path))


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
def test_only_one_select_is_taken(store: Store, sql: str) -> None:
    with pytest.raises(ValueError, match="one SELECT statement and nothing else"):
        store.query(sql.format(store=store.path))
    assert not (store.path / "x.parquet").exists()


def test_the_lock_holds_without_the_check_on_statements(read_only_store: Store) -> None:
    with read_only_store.source.connection.cursor() as cursor:
        for sql in ("SET enable_external_access = true", "INSTALL httpfs", "ATTACH '/tmp/x.db'"):
            with pytest.raises(duckdb.Error):
                cursor.execute(sql)


def test_python_variables_are_out_of_reach_and_values_are_bound(read_only_store: Store) -> None:
    secret = read_only_store.query("SELECT 1 AS x")
    assert len(secret) == 1
    with pytest.raises(duckdb.CatalogException):
        read_only_store.query("SELECT * FROM secret")
    nasty = "x' OR 1=1 --"
    assert read_only_store.query("SELECT * FROM runs WHERE run_id = ?", [nasty]).empty
    assert read_only_store.query("SELECT ? AS x", [nasty])["x"][0] == nasty


@pytest.mark.parametrize("name", ["it's", "a [1] *?", "späti", "run=1"])
def test_a_store_may_have_any_name(tmp_path: Path, store_factory: ModuleType, name: str) -> None:
    store = store_factory.make_store(tmp_path / name, ("none",), (0,), n=8)
    pack([store], tmp_path / f"{name}.duckdb")
    for either in (store, Store(tmp_path / f"{name}.duckdb")):
        assert len(either.query("SELECT * FROM samples")) == 8
        assert len(either.query("SELECT * FROM measures")) > 0


def test_threads_share_a_store_while_runs_appear(store: Store, store_factory: ModuleType) -> None:
    stop = threading.Event()

    def ask(view: str) -> int:
        asked = 0
        while not stop.is_set():
            counts = store.query(f"SELECT run_id, count(*) AS n FROM {view} GROUP BY run_id")
            assert counts["n"].nunique() == 1
            asked += 1
        return asked

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, view) for view in ("samples", "scores", "runs") * 2]
        for i in range(4):
            manifest = store_factory.make_manifest(f"new-{i}")
            with store.writer(manifest) as writer:
                writer.write_part(store_factory.make_samples(48), {})
                writer.add(SCORES, store_factory.make_scores("late", 0))
                writer.commit()
        store.delete("new-0")
        stop.set()
        assert all(future.result() > 0 for future in asking)
    assert len(store.query("SELECT * FROM runs")) == 7


def test_a_file_that_goes_while_it_is_read_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = tables.read_parquet

    def read_and_delete(path: Path, *args: object, **options: object) -> pa.Table:
        table = read(path, *args, **options)  # type: ignore[arg-type]
        path.unlink()
        return table

    monkeypatch.setattr(tables, "read_parquet", read_and_delete)
    with pytest.raises(InputError, match=r"part-000000000\.parquet: file is missing"):
        store.run(store.run_ids()[0]).samples()


def test_a_packed_store_that_goes_is_read_on_where_it_is_open_and_not_opened_again(
    store: Store, tmp_path: Path
) -> None:
    pack([store], tmp_path / "packed.duckdb")
    packed = Store(tmp_path / "packed.duckdb")
    run_id = packed.run_ids()[0]
    (tmp_path / "packed.duckdb").unlink()
    assert packed.run(run_id).samples().equals(store.run(run_id).samples())
    with pytest.raises(InputError, match="does not exist"):
        Store(tmp_path / "packed.duckdb")


def test_a_run_that_goes_after_it_was_listed_is_named_and_the_others_are_asked(
    store: Store,
) -> None:
    entries = store.listing().entries
    gone, *others = entries
    store.delete(gone.run_id)
    rows = store.source.samples(entries)
    (problem,) = rows.problems
    assert gone.run_id in problem and "file is missing" in problem
    table = store.source.connection.rows(f"SELECT DISTINCT run_id FROM {rows.sql}", rows.params)
    assert set(table["run_id"].to_pylist()) == {entry.run_id for entry in others}


def test_a_question_opens_only_the_tables_that_it_names(
    store: Store, flip: Callable[[Path], None]
) -> None:
    run = store.run("late-seed0")
    run.add(MEASURES, run.measures().drop(columns="key").head(3), "other")
    flip(run.contents.file(MEASURES, "default"))
    answer = query.measures(store.source, [Part("late-seed0", "other")], ["cka"])
    assert len(answer.table) == 3 and not answer.problems
    both = [Part("late-seed0", key) for key in run.keys(MEASURES)]
    answer = query.measures(store.source, both, ["cka"])
    assert len(answer.table) == 3 and "default.parquet: corrupt" in answer.problems[0]
    answer = query.measures(store.source, [Part("late-seed0", "gone")], ["cka"])
    assert not len(answer.table) and "gone.parquet: file is missing" in answer.problems[0]


def test_measures_are_selected_by_name_pooling_and_estimator(read_only_store: Store) -> None:
    source, run = read_only_store.source, read_only_store.run("late-seed0")
    frame = run.measures(["cka", "participation_ratio"])
    parts = query.every_part(source, MEASURES, ["late-seed0"])
    table = query.measures(source, parts, ["cka", "participation_ratio"]).table
    pd.testing.assert_frame_equal(to_pandas(table).drop(columns="run_id"), frame)
    some = query.measures(source, parts, ["cka"], pooling="mean", estimator="debiased").table
    chosen = frame.query("measure == 'cka' and pooling == 'mean' and estimator == 'debiased'")
    pd.testing.assert_frame_equal(
        to_pandas(some).drop(columns="run_id"), chosen.reset_index(drop=True)
    )


def test_the_questions_of_the_documentation_have_answers(read_only_store: Store) -> None:
    text = (Path(__file__).parents[2] / "docs/store.md").read_text(encoding="utf-8")
    asking = text.split("## Asking")[1].split("## One file")[0]
    answers = [read_only_store.query(sql) for sql in re.findall(r"```sql\n(.*?)```", asking, re.S)]
    assert len(answers) == 3 and all(len(answer) for answer in answers)
    named = re.findall(r"^\| `runs` \| one row a run: (.*?) \|$", asking, re.M)[0]
    columns = [word.split(" ")[0] for word in named.split(", ")]
    assert columns == list(read_only_store.query("SELECT * FROM runs"))
