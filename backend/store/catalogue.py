"""SQL over a whole store: DuckDB views of its Parquet files, in memory, locked down.

The connection can read this store and nothing else: no other file, no network, no extension, no
change of settings, no statement but SELECT.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables
from backend.store.reader import BrokenRun, Store
from backend.store.run import Run

_RUNS = pa.schema(
    [
        *[(name, pa.string()) for name in ("run_id", "model", "family", "placement")],
        ("seed", pa.int64()),
        *[(name, pa.string()) for name in ("dataset", "split")],
        ("n", pa.int64()),
        ("fingerprint", pa.string()),
        ("poolings", pa.list_(pa.string())),
        *[(name, pa.string()) for name in ("dtype", "created", "streams")],
        ("has_activations", pa.bool_()),
        ("has_checkpoint", pa.bool_()),
        ("measures", pa.list_(pa.string())),
        ("projections", pa.list_(pa.string())),
    ]
)
_SAMPLES = pa.schema([(name, pa.string()) for name in ("sample_id", "split", "text")])
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
}


class Catalogue:
    """Queries over the runs of a store; safe to share between threads.

    Views (each row carries ``run_id``):

    - ``runs``: the columns of :meth:`Store.runs` without scores; ``streams`` is JSON text
    - ``samples``: sample_id, split, text, and every ``label_<task>`` of any run (NULL where a run
      has no such task, text where runs disagree on its type); no thumbnails
    - ``measures`` and ``projections``: with their ``key``
    - ``scores``

    Views follow the store: a run, measure or projection that appears is in the next query. What
    cannot be read is left out and named by :meth:`broken`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        # Resolved, because the locked connection compares paths as text.
        self._resolved = Store(store.path.resolve())
        self._lock = threading.Lock()
        self._token: str | None = None
        self._broken: list[BrokenRun] = []
        self._connection = _locked_connection(self._resolved.path)

    def close(self) -> None:
        """Close the connection; queries after this fail."""
        self._connection.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def broken(self) -> list[BrokenRun]:
        """Runs, or single files of runs, that the views leave out, with the reason."""
        self._refresh()
        return list(self._broken)

    def query(self, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> pd.DataFrame:
        """Run one SELECT; values go into ``params`` (``?`` or ``$name``) and are bound.

        A file that turns out to be corrupt or gone raises InputError; wrong SQL raises the error
        of DuckDB, any statement but a SELECT ValueError.
        """
        statements = duckdb.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise ValueError("the catalogue takes one SELECT statement and nothing else")
        self._refresh()
        try:
            return self._run(sql, params)
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            # A run that was deleted between the listing and the query is no fault of the query.
            if not self._refresh():
                raise InputError(
                    f"a file of the store cannot be read ({_first_line(error)})",
                    where=str(self.store.path),
                    hint="Find it with: fusionscope verify",
                ) from error
            return self._run(sql, params)

    def _run(self, sql: str, params: Sequence[object] | Mapping[str, object]) -> pd.DataFrame:
        bound = dict(params) if isinstance(params, Mapping) else list(params)
        with self._connection.cursor() as cursor:
            frame: pd.DataFrame = cursor.execute(sql, bound).df()
        return frame

    def _refresh(self) -> bool:
        """Rebuild the views if the store changed since; whether it had."""
        with self._lock:
            token = self._resolved.token()
            if token == self._token:
                return False
            listing = self._resolved.listing()
            runs, broken = listing.runs, list(listing.broken)
            measures = [(r.run_id, r.paths.measure(k)) for r in runs for k in r.measure_keys()]
            projected = [
                (r.run_id, r.paths.projection(k)) for r in runs for k in r.projection_keys()
            ]
            scores = [(r.run_id, r.paths.scores) for r in runs if r.paths.scores.exists()]
            statements = [
                _samples_view(runs, broken),
                _tidy_view("measures", tables.MEASURES, measures, broken),
                _tidy_view("projections", tables.PROJECTIONS, projected, broken),
                _tidy_view("scores", tables.SCORES, scores, broken),
            ]
            with self._connection.cursor() as cursor:
                cursor.register("_listing", _runs_table(listing.frame()))
                cursor.execute("BEGIN")
                cursor.execute("CREATE OR REPLACE TABLE runs AS SELECT * FROM _listing")
                for statement in statements:
                    cursor.execute(statement)
                cursor.execute("COMMIT")
                cursor.unregister("_listing")
            self._broken = sorted(broken, key=lambda item: item.run_id)
            self._token = token
            return True


def _locked_connection(root: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for setting in (
        "autoinstall_known_extensions=false",
        "autoload_known_extensions=false",
        "python_enable_replacements=false",
        "temp_directory=''",
        f"allowed_directories=[{_literal(str(root))}]",
        "enable_external_access=false",
        "lock_configuration=true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _runs_table(listing: pd.DataFrame) -> pa.Table:
    rows = listing.to_dict("records")
    for row in rows:
        row["streams"] = json.dumps([asdict(spec) for spec in row["streams"]])
        for name in ("poolings", "measures", "projections"):
            row[name] = list(row[name])
    return pa.Table.from_pylist([{k: row[k] for k in _RUNS.names} for row in rows], schema=_RUNS)


def _samples_view(runs: Iterable[Run], broken: list[BrokenRun]) -> str:
    """Runs may have different tasks, and tasks of one name but different kinds."""
    groups: dict[tuple[tuple[str, pa.DataType], ...], list[Path]] = defaultdict(list)
    kinds: dict[str, set[pa.DataType]] = defaultdict(set)
    for run in runs:
        schema = tables.samples_schema(run.manifest)
        if _readable(run.run_id, run.paths.samples, schema, broken):
            labels = tuple((f.name, f.type) for f in schema if f.name.startswith("label_"))
            groups[labels].append(run.paths.samples)
            for name, kind in labels:
                kinds[name].add(kind)
    selects = [_empty_select(_SAMPLES)]
    for labels, files in groups.items():
        columns = ["sample_id", "split", "text"]
        for name, _ in labels:
            quoted = _identifier(name)
            agreed = len(kinds[name]) == 1
            columns.append(quoted if agreed else f"CAST({quoted} AS VARCHAR) AS {quoted}")
        selects.append(_file_select(columns, files, levels_up=1, with_key=False))
    return f"CREATE OR REPLACE VIEW samples AS {' UNION ALL BY NAME '.join(selects)}"


def _tidy_view(
    name: str,
    schema: pa.Schema,
    files: Iterable[tuple[str, Path]],
    broken: list[BrokenRun],
) -> str:
    with_key = name != "scores"
    good = [path for run_id, path in files if _readable(run_id, path, schema, broken)]
    select = (
        _file_select(schema.names, good, levels_up=2 if with_key else 1, with_key=with_key)
        if good
        else _empty_select(schema, with_key=with_key)
    )
    return f"CREATE OR REPLACE VIEW {name} AS {select}"


def _file_select(
    columns: Sequence[str], files: Sequence[Path], *, levels_up: int, with_key: bool
) -> str:
    """SELECT over files, with the run id (and key) taken from each file's path."""
    run_id = "filename"
    for _ in range(levels_up):
        run_id = f"parse_dirpath({run_id})"
    names = [f"parse_filename({run_id}) AS run_id"]
    if with_key:
        names.append("parse_filename(filename, true) AS key")
    listed = ", ".join(_literal(str(path)) for path in files)
    # A view's definition cannot be bound; names come from schemas, paths are quoted above.
    source = f"read_parquet([{listed}], filename=true, hive_partitioning=false)"
    return f"SELECT {', '.join([*names, *columns])} FROM {source}"  # noqa: S608


def _empty_select(schema: pa.Schema, *, with_key: bool = False) -> str:
    """SELECT of the right columns and no rows."""
    columns = ["CAST(NULL AS VARCHAR) AS run_id"]
    if with_key:
        columns.append("CAST(NULL AS VARCHAR) AS key")
    columns += [f"CAST(NULL AS {_SQL_TYPES[f.type]}) AS {f.name}" for f in schema]
    return f"SELECT {', '.join(columns)} WHERE false"


def _readable(run_id: str, path: Path, schema: pa.Schema, broken: list[BrokenRun]) -> bool:
    """Whether the file's footer reads and has the right columns; else it is noted as broken."""
    try:
        with tables.open_parquet(path) as file:
            if file.schema_arrow.names != schema.names or file.schema_arrow.types != schema.types:
                raise InputError("columns are not those of this version", where=str(path))
    except InputError as error:
        broken.append(BrokenRun(run_id, str(error)))
        return False
    return True


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
