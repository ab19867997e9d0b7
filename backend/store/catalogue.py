"""SQL over a whole store: DuckDB views of its Parquet files, in memory, locked down.

The connection can read this store and nothing else: no other file, no network, no extension, no
change of settings, no statement but SELECT.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables, views
from backend.store.reader import BrokenRun, Store
from backend.store.run import Run
from backend.store.views import literal

_ATTEMPTS = 5


class Catalogue:
    """Queries over the runs of a store; safe to share between threads.

    Views (each row carries ``run_id``):

    - ``runs``: the columns of :meth:`Store.runs` without scores; ``streams`` is JSON text
    - ``samples``: sample_id, split, text, and every ``label_<task>`` of any run (NULL where a run
      has no such task, text where runs disagree on its type); no thumbnails
    - ``measures`` and ``projections``: with their ``key``
    - ``scores``
    - ``training_measures``: measures with ``epoch`` and ``step``; see
      :meth:`Run.training_measures`

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
        self._intact: set[tuple[str, int, int, int]] = set()
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
        used = self._refresh()
        for _ in range(_ATTEMPTS):
            try:
                return self._run(sql, params)
            except duckdb.Error as error:
                if not self._is_about_a_file(error):
                    raise
                # A run that was deleted after the views were made is no fault of the query.
                now = self._refresh()
                if now == used:
                    raise InputError(
                        f"a file of the store cannot be read ({_first_line(error)})",
                        where=str(self.store.path),
                        hint="Find it with: fusionscope verify",
                    ) from error
                used = now
        raise self._restless()

    def _run(self, sql: str, params: Sequence[object] | Mapping[str, object]) -> pd.DataFrame:
        bound = dict(params) if isinstance(params, Mapping) else list(params)
        with self._connection.cursor() as cursor:
            frame: pd.DataFrame = cursor.execute(sql, bound).df()
        return frame

    def _is_about_a_file(self, error: duckdb.Error) -> bool:
        """Whether DuckDB failed on a file's content rather than on the statement."""
        # Its Parquet reader raises bare errors ("TProtocolException: Invalid data") for most
        # faults, and for some the error of a wrong parameter with the file's name in the text.
        return (
            type(error) is duckdb.Error
            or isinstance(error, duckdb.IOException)
            or (
                isinstance(error, duckdb.InvalidInputException)
                and str(self._resolved.path) in str(error)
            )
        )

    def _refresh(self) -> str:
        """Rebuild the views if the store changed; the token of the store that they show."""
        with self._lock:
            for _ in range(_ATTEMPTS):
                token = self._resolved.token()
                if token == self._token:
                    return token
                try:
                    self._rebuild()
                except duckdb.IOException:
                    continue  # a file went away between the listing and the view: list again
                self._token = token
                return token
            raise self._restless()

    def _restless(self) -> InputError:
        return InputError(
            "the store keeps changing while it is read",
            where=str(self.store.path),
            hint="Try again in a moment",
        )

    def _rebuild(self) -> None:
        listing = self._resolved.listing()
        runs = listing.runs
        broken = list(listing.broken)

        def usable(run: Run, path: Path, schema: pa.Schema, *, verify: bool = False) -> bool:
            if reason := self._fault(path, schema, verify=verify):
                broken.append(BrokenRun(run.run_id, reason))
            return not reason

        # The listing has just read measures and scores with their checksums.
        statements = [
            views.samples_view(
                [
                    run
                    for run in runs
                    if usable(
                        run, run.paths.samples, tables.samples_schema(run.manifest), verify=True
                    )
                ]
            ),
            views.keyed_view(
                "measures",
                tables.MEASURES,
                [
                    path
                    for run in runs
                    for path in map(run.paths.measure, run.measure_keys())
                    if usable(run, path, tables.MEASURES)
                ],
            ),
            views.keyed_view(
                "projections",
                tables.PROJECTIONS,
                [
                    path
                    for run in runs
                    for path in map(run.paths.projection, run.projection_keys())
                    if usable(run, path, tables.PROJECTIONS, verify=True)
                ],
            ),
            views.plain_view(
                "scores",
                tables.SCORES,
                [
                    run.paths.scores
                    for run in runs
                    if run.paths.scores.exists() and usable(run, run.paths.scores, tables.SCORES)
                ],
            ),
            views.plain_view(
                "training_measures",
                tables.TRAINING,
                [
                    path
                    for run in runs
                    if (path := run.paths.training_measures).exists()
                    and usable(run, path, tables.TRAINING, verify=True)
                ],
            ),
        ]
        with self._connection.cursor() as cursor:
            cursor.register("_listing", views.runs_table(listing))
            try:
                cursor.execute("BEGIN")
                cursor.execute("CREATE OR REPLACE TABLE runs AS SELECT * FROM _listing")
                for statement in statements:
                    cursor.execute(statement)
                cursor.execute("COMMIT")
            except duckdb.Error:
                cursor.execute("ROLLBACK")
                raise
            finally:
                cursor.unregister("_listing")
        self._broken = sorted(broken, key=lambda item: item.run_id)

    def _fault(self, path: Path, schema: pa.Schema, *, verify: bool) -> str:
        """Why a file must be left out; empty if it is fine.

        DuckDB does not verify page checksums and turns flipped bits into wrong numbers, so with
        ``verify`` every page is read here first, once for as long as the file stays what it is.
        """
        try:
            with tables.open_parquet(path) as file:
                found = file.schema_arrow
            if found.names != schema.names or found.types != schema.types:
                raise InputError("columns are not those of this version", where=str(path))
            info = path.stat()
            state = (str(path), info.st_ino, info.st_mtime_ns, info.st_size)
            if verify and state not in self._intact:
                tables.verify_pages(path, [name for name in schema.names if name != "thumbnail"])
                self._intact.add(state)
        except (InputError, FileNotFoundError) as error:
            return str(error)
        return ""


def _locked_connection(root: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for setting in (
        "autoinstall_known_extensions=false",
        "autoload_known_extensions=false",
        "python_enable_replacements=false",
        "temp_directory=''",
        f"allowed_directories=[{literal(str(root))}]",
        "enable_external_access=false",
        "lock_configuration=true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
