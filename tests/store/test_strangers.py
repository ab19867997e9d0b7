"""Stores of strangers: what does not pass the wall is one line, and everything else works."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.errors import InputError
from backend.store import Store, query, verify
from backend.store.kinds import MEASURES, PROJECTIONS, TRAINING_MEASURES
from backend.store.pack import pack
from backend.store.source import Part
from backend.store.wall import FREE_BYTES

RUN = "late-seed0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Path:
    """A run of which there is a table of each kind that is changed here."""
    folder: Path = tmp_path_factory.mktemp("strangers") / "store"
    store_factory.make_store(folder, ("late",), (0,), training=lambda *_: [(0, 0), (1, 5)])
    return folder


@pytest.fixture
def trained(tmp_path: Path, whole: Path) -> Store:
    """The same, to be broken."""
    return Store(shutil.copytree(whole, tmp_path / "store"))


def of(store: Store, name: str = "run.json") -> Path:
    return store.path / "runs" / RUN / name


def edited(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        raw = json.loads(path.read_text())
        change(raw)
        path.write_text(json.dumps(raw))

    return edit


def replaced_text(old: str, new: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return replace


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    path.unlink()
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the name of a socket has 107 letters
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (fifo, "not a regular file"),
        (bound_socket, "not a regular file"),
        (folder, "not a regular file"),
        (link_to("/dev/zero"), "leads out of the store"),
        (loop, "Too many levels"),
        (lambda p: p.write_bytes(b"[" * 200_000), "nested too deep"),
        (lambda p: p.write_bytes(b'{"a":' * 5_000), "nested too deep"),
        (lambda p: p.write_bytes(b" " * 5_000_000), "larger than"),
        (lambda p: p.write_bytes(b"\xff\xff{}"), "cannot be read"),
        (lambda p: p.write_bytes(b"7"), "expected a JSON object"),
        (replaced_text('"seed": 0', f'"seed": {"9" * 6000}'), "a number of 6,000 digits"),
        (replaced_text('"seed": 0', f'"seed": {2**63}'), "seed"),
        (replaced_text('"seed": 0', '"seed": 1e400'), "no finite number"),
        (replaced_text('"seed": 0', '"seed": NaN'), "no finite number"),
        (replaced_text('"seed": 0', '"seed": true'), "seed"),
        (replaced_text('"n": 48', f'"n": {10**18}'), "dataset.n"),
        (replaced_text("0-3:12", "0-9999:12"), "sites"),
        (replaced_text("0-3:12", f"0-{10**9}:12"), "not a site"),
        (replaced_text("0-3:12", f"0-3:{10**9}"), "not a site"),
        (edited(lambda raw: raw["model"].update(name="x" * 2**20)), "model.name"),
        (edited(lambda raw: raw["model"].update(streams=[])), "model.streams"),
        (edited(lambda raw: raw.update(run_id="../../x")), "run_id"),
        (edited(lambda raw: raw.update(schema_version=10**30)), "digits"),
    ],
)
def test_a_run_json_that_does_not_pass_is_one_line_and_the_other_runs_are_there(
    store: Store, break_it: Callable[[Path], None], said: str
) -> None:
    break_it(of(store))
    listing = Store(store.path).listing()
    (broken,) = listing.broken
    assert broken.run_id == RUN and said in broken.reason, broken.reason
    assert "\n" not in broken.reason and len(broken.reason) < 2_500 and not broken.closed
    assert len(listing.entries) == 3
    with pytest.raises(InputError):
        store.run(RUN)


@pytest.mark.parametrize("name", [b"caf\xe9", b"a b", b"[red]", b"\x1b[31m", b"-" * 200])
def test_a_folder_that_is_called_like_no_run_is_named_so_that_it_can_be_shown(
    store: Store, name: bytes
) -> None:
    runs = store.path / "runs"
    (runs / RUN).rename(runs / os.fsdecode(name))
    listed = CliRunner().invoke(app, ["runs", "--store", str(store.path)])
    assert listed.exit_code == 0 and "none-seed1" in listed.stdout and "\x1b" not in listed.output
    (broken,) = Store(store.path).listing().broken
    broken.run_id.encode()  # no half characters
    assert "is not valid" in broken.reason and broken.run_id in listed.output
    assert RUN not in store.run_ids() and len(store.run_ids()) == 3
    assert any("not valid as a run id" in str(finding) for finding in verify(store))


@pytest.mark.parametrize("what", ["run.json", "measures", "scores.parquet", "."])
def test_what_may_not_be_read_is_not_called_corrupt(
    store: Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Tests may run as root, to whom everything is open: the system is made to refuse."""
    closed = os.path.realpath(of(store, what))

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            real_path = "" if isinstance(path, int) else os.path.realpath(path)
            if real_path == closed or (what == "." and real_path.startswith(f"{closed}/")):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *args, **options)

        return call

    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr("io.open", refusing(open))
    opened = Store(store.path)
    if what == ".":
        monkeypatch.setattr(os, "stat", refusing(os.stat))
    (broken,) = opened.listing().broken
    assert "Permission denied" in broken.reason and broken.closed
    assert "corrupt" not in broken.reason and "elete" not in broken.reason


def dictionary_bomb(path: Path) -> None:
    """3,000 times one text of 100 kB, which is written once."""
    rows = pq.read_table(path).slice(0, 1)
    table = pa.concat_tables([rows] * 3_000)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000), ["x" * 100_000])
    table = table.set_column(0, table.schema.names[0], texts)
    pq.write_table(table, path, compression="zstd", store_schema=False)


def page_bomb(path: Path) -> None:
    rows = pq.read_table(path).slice(0, 1)
    column = pa.array(["x" * (FREE_BYTES + 1)])
    table = rows.set_column(0, rows.schema.field(0), column)
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def row_bomb(path: Path) -> None:
    rows = pq.read_table(path)
    count = 1_000_000
    table = pa.table({f.name: pa.nulls(count, f.type) for f in rows.schema})
    pq.write_table(table, path, row_group_size=count)


def prefix_bomb(path: Path) -> None:
    rows = pq.read_table(path).slice(0, 1)
    table = pa.concat_tables([rows] * 3_000)
    column = pa.array(["x" * 30_000] * 3_000)
    pq.write_table(
        table.set_column(0, table.schema.field(0), column), path, compression="zstd",
        use_dictionary=False, column_encoding={table.schema.names[0]: "DELTA_BYTE_ARRAY"},
    )  # fmt: skip


@pytest.mark.parametrize("bomb", [dictionary_bomb, page_bomb, row_bomb, prefix_bomb])
@pytest.mark.parametrize(
    "name", ["measures/default.parquet", "scores.parquet", "samples/part-000000000.parquet"]
)
def test_a_small_file_that_would_become_large_is_refused_before_it_does(
    trained: Store, bomb: Callable[[Path], None], name: str
) -> None:
    path = of(trained, name)
    bomb(path)
    assert path.stat().st_size < 2_000_000
    before = pa.total_allocated_bytes()
    store = Store(trained.path)
    found = [str(finding) for finding in verify(store) if finding.file == name]
    said = ("would become", "bytes in one row", "nulls")
    assert found and any(word in found[0] for word in said), found
    if name.startswith("scores"):
        assert [broken.run_id for broken in store.listing().broken] == [RUN]
    elif name.startswith("samples"):
        (entry,) = store.listing().entries
        assert any(word in query.samples(store.source, entry).problems[0] for word in said)
    else:
        answer = query.measures(store.source, [Part(RUN, "default")], ["cka"])
        assert len(answer.table) == 0 and any(word in answer.problems[0] for word in said)
    assert pa.total_allocated_bytes() - before < FREE_BYTES


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.names.index(name)
    return table.set_column(at, pa.field(name, values.type), values)


def first(value: object) -> Callable[[pa.Table, str], pa.Array]:
    def change(table: pa.Table, name: str) -> pa.Array:
        return pa.array([value, *table[name].to_pylist()[1:]], table.schema.field(name).type)

    return change


def as_type(kind: pa.DataType) -> Callable[[pa.Table, str], pa.Array]:
    return lambda table, name: table[name].cast(kind).combine_chunks()


TABLES = [
    ("measures/default", "layer_a", first(-1), "-1 is not a layer"),
    ("measures/default", "layer_a", first(10**9), "1000000000 is not a layer"),
    ("measures/default", "layer_b", first(10**9), "1000000000 is not a layer"),
    ("measures/default", "stream_a", first("audio"), "audio layer"),
    ("measures/default", "site_a", first("No Site"), "column site_a"),
    ("measures/default", "value", first(None), "column value holds 1 nulls"),
    ("measures/default", "measure", first(None), "column measure holds 1 nulls"),
    ("measures/default", "value", first(0.5), "must have a reason exactly"),
    ("measures/default", "reason", first("x" * 2**21), "bytes in one row"),
    ("measures/default", "n", first(10**12), "n = 1000000000000"),
    ("measures/default", "layer_a", as_type(pa.int64()), "column layer_a is int64"),
    ("measures/default", "value", as_type(pa.float32()), "column value is float"),
    ("measures/default", "measure", as_type(pa.binary()), "column measure is binary"),
    ("projections/pca", "x", first(float("inf")), "column x"),
    ("projections/pca", "sample_id", first("stranger"), "samples that the run does not have"),
    ("projections/pca", "sample_id", first(None), "column sample_id holds 1 nulls"),
    ("training_measures", "step", first(2**62), "column step holds"),
    ("training_measures", "epoch", first(-1), "column epoch holds"),
    ("samples/part-000000000", "sample_id", first(None), "column sample_id holds 1 nulls"),
    ("samples/part-000000000", "sample_id", first("macro-00001"), "occurs twice"),
    ("samples/part-000000000", "sample_id", first("macro-00047"), "occurs twice"),
    ("samples/part-000000000", "sample_id", first("x" * 10**6), "bytes in one row"),
    ("samples/part-000000000", "sample_id",
     lambda t, _: pa.array(range(len(t))), "column sample_id is int64"),
    ("samples/part-000000000", "text", first(None), "column text holds 1 nulls"),
    ("samples/part-000000000", "label_irony", first(7), "column label_irony holds 7"),
    ("samples/part-000000000", "label_object", first("bird"), "holds 'bird'"),
    ("samples/part-000000000", "label_topics", first(["sport"]), "holds 'sport'"),
    ("samples/part-000000000", "label_topics", first([None]), "column label_topics holds None"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "column", "change", "said"), TABLES)
def test_no_reader_gives_rows_that_cannot_be(
    trained: Store, name: str, column: str, change: Any, said: str
) -> None:
    path = of(trained, f"{name}.parquet")
    table = pq.read_table(path)
    assert column in table.column_names
    pq.write_table(with_column(table, column, change(table, column)), path)
    store = Store(trained.path)
    run, source = store.run(RUN), store.source
    (entry,) = store.listing().entries
    kind = {"measures": MEASURES, "projections": PROJECTIONS}.get(
        name.split("/")[0], TRAINING_MEASURES
    )
    if name.startswith("samples"):
        problems = query.samples(source, entry).problems
        read: Callable[[], object] = run.samples
    else:
        parts = query.every_part(source, kind, [RUN])
        answer = query.every_row(source, kind, parts)
        problems = answer.problems
        assert len(answer.table) == 0
        read = lambda: run.table(kind)  # noqa: E731
    assert len(problems) == 1 and said in problems[0] and name.split("/")[0] in problems[0]
    with pytest.raises(InputError) as caught:
        read()
    assert said in str(caught.value)
    assert any(said in finding.problem for finding in verify(store))
    with pytest.raises(InputError):
        pack([store], trained.path.parent / "out.duckdb")


def test_a_column_that_is_missing_is_named(trained: Store) -> None:
    path = of(trained, "samples/part-000000000.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["text"]), path)
    with pytest.raises(InputError, match=r"part-000000000\.parquet: lacks the column text"):
        Store(trained.path).run(RUN).samples()


@pytest.mark.parametrize("n", [0, 47, 49, 2**30])
def test_run_json_is_not_believed_how_many_samples_there_are(trained: Store, n: int) -> None:
    edited(lambda raw: raw["dataset"].update(n=n))(of(trained))
    run = Store(trained.path).run(RUN)
    for read in (run.samples, run.sample_ids, lambda: run.vectors("vision", 1, "cls")):
        with pytest.raises(InputError):
            read()


def test_a_packed_file_is_read_behind_the_same_wall(trained: Store, tmp_path: Path) -> None:
    file = tmp_path / "packed.duckdb"
    pack([trained], file)
    statements = (
        ("UPDATE measures SET layer_a = -1 WHERE layer_a = 1", "measures"),
        ("UPDATE projections SET sample_id = NULL WHERE layer = 1", "projections"),
        ("UPDATE samples SET sample_id = 'macro-00001'", "samples"),
        ("UPDATE samples SET sample_id = repeat('x', 300000)", "samples"),
        ("UPDATE runs SET run_json = repeat('[', 100000)::BLOB", "runs"),
        ("UPDATE runs SET run_json = NULL", "runs"),
        ("INSERT INTO runs SELECT * REPLACE ('[/red]' AS run_id) FROM runs", "runs"),
        ("INSERT INTO runs SELECT * FROM runs", "runs"),
        ("UPDATE scores SET task = NULL", "runs"),
        ("UPDATE samples SET labels = '{'", "samples"),
        ("UPDATE samples SET labels = '[1]'", "samples"),
        ("UPDATE samples SET labels = replace(labels, '0', '{}')", "samples"),
        ("UPDATE measures SET run_id = '<b>'", "measures"),
        ("UPDATE measures SET key = NULL", "measures"),
        ("UPDATE projections SET key = 'other'", "projections"),
        (
            "INSERT INTO parts SELECT * REPLACE ('stolen' AS owner) FROM parts "
            "WHERE kind = 'measures'",
            "measures",
        ),
    )
    for number, (statement, where) in enumerate(statements):
        other = tmp_path / f"other-{number}.duckdb"
        other.write_bytes(file.read_bytes())
        connection = duckdb.connect(str(other))
        connection.execute(statement)
        connection.close()
        store = Store(other)
        if where == "runs":
            assert len(store.listing().broken) in (1, 2), statement
            continue
        (entry,) = store.listing().entries
        if where == "samples":
            problems = query.samples(store.source, entry).problems
        else:
            kind = MEASURES if where == "measures" else PROJECTIONS
            parts = query.every_part(store.source, kind, [RUN])
            problems = query.every_row(store.source, kind, parts).problems
        assert len(problems) == 1 and where in problems[0], (statement, problems)


def every_layer(store: Store) -> object:
    run = store.run(RUN)
    return [run.vectors(ref.stream, ref, pooling) for ref, pooling in run.captured()]


def many(table: str, column: str, kind: str = "VARCHAR") -> str:
    """A statement that makes 300 MB of a few kilobytes: DuckDB keeps equal texts once."""
    rows = f"(SELECT * FROM {table} LIMIT 1) AS one, range(100000)"  # noqa: S608 - ours
    column = f"(repeat('x', 3000)::{kind} AS {column})"
    return f"INSERT INTO {table} SELECT one.* REPLACE {column} FROM {rows}"  # noqa: S608


@pytest.mark.parametrize(
    ("statement", "read", "said"),
    [
        (many("samples", "thumbnail", "BLOB"), lambda s: s.run(RUN).samples(["thumbnail"]), ""),
        (many("captures", "stream"), lambda s: s.run(RUN).captured(), ""),
        (many("measures", "params"), lambda s: s.run(RUN).measures(), ""),
        (many("activations", "vector", "BLOB"), every_layer, "are not 48 of 12 numbers"),
        ("UPDATE activations SET row = 0", every_layer, "are not 48 of 12 numbers"),
        (many("parts", "key"), Store, ""),
    ],
)
def test_a_small_packed_file_that_would_become_large_is_refused_before_it_does(
    trained: Store,
    tmp_path: Path,
    statement: str,
    read: Callable[[Any], object],
    said: str,
) -> None:
    file = tmp_path / "packed.duckdb"
    pack([trained], file)
    with duckdb.connect(str(file)) as connection:
        connection.execute(statement)
    assert file.stat().st_size < 8_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match=said or "would become") as caught:
        read(file if read is Store else Store(file))
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    assert pa.total_allocated_bytes() - before < FREE_BYTES
