"""The questions that are asked of a store, each one SQL statement with its values bound.

They are asked of the tables that can hold the answer and of no others: which those are follows
from the names of runs and keys, which cost a directory listing. Answers are Arrow tables, run by
run in the order asked for, and have a line for every table that could not be read.
"""

# ruff: noqa: S608 - statements are made of our own names; every value is bound

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import duckdb
import pandas as pd
import pyarrow as pa

from backend.errors import InputError
from backend.store import kinds, tables
from backend.store.connection import identifier, unreadable
from backend.store.index import Entry, table_of
from backend.store.kinds import (
    COMPARISONS,
    DRIVERS,
    MEASURES,
    NEIGHBOURS,
    PLACE_COLUMNS,
    PROJECTIONS,
    TRAINING_MEASURES,
    Kind,
    Side,
)
from backend.store.source import Part, Rows, Source
from backend.types import LayerRef

_ATTEMPTS = 5


class Answer(NamedTuple):
    """Rows, and one line for every table that could not be read and is not among them."""

    table: pa.Table
    problems: tuple[str, ...] = ()


def measures(
    source: Source,
    parts: Sequence[Part],
    names: Sequence[str],
    *,
    pooling: str | None = None,
    estimator: str | None = None,
) -> Answer:
    """Measures of the given names in some tables of :data:`MEASURES`."""
    equal = {"pooling": pooling, "estimator": estimator}
    return _asked(source, MEASURES, parts, equal, {"measure": names})


def offered(source: Source, parts: Sequence[Part], names: Sequence[str]) -> Answer:
    """What there is of some measures, and not the values themselves: a row for each measure,
    pooling and estimator, with the fewest samples (``n``) and one run's ``params``.
    """
    rows = source.rows(MEASURES, parts)
    sql = (
        "SELECT measure, pooling, estimator, min(n) AS n, min(params) AS params "
        f"FROM {rows.sql} WHERE list_contains($names, measure) GROUP BY ALL ORDER BY ALL"
    )
    return Answer(source.connection.rows(sql, {**rows.params, "names": list(names)}), rows.problems)


def measure_names(source: Source, parts: Sequence[Part]) -> Answer:
    """Which measures some tables of :data:`MEASURES` hold: key, measure."""
    rows = source.rows(MEASURES, parts)
    sql = f"SELECT DISTINCT key, measure FROM {rows.sql} ORDER BY ALL"
    return Answer(source.connection.rows(sql, rows.params), rows.problems)


def training_measures(source: Source, run_ids: Iterable[str]) -> Answer:
    """Measures while the models of some runs were trained."""
    return _asked(source, TRAINING_MEASURES, every_part(source, TRAINING_MEASURES, run_ids))


def projections(
    source: Source,
    parts: Sequence[Part],
    *,
    method: str | None = None,
    pooling: str | None = None,
    ref: LayerRef | None = None,
) -> Answer:
    """Coordinates of samples in some tables of :data:`PROJECTIONS`."""
    equal: dict[str, object] = {"method": method, "pooling": pooling}
    if ref is not None:
        equal |= {"stream": ref.stream, "layer": ref.layer, "site": ref.site}
    return _asked(source, PROJECTIONS, parts, equal)


def neighbours(source: Source, parts: Sequence[Part], pooling: str, ref: LayerRef) -> Answer:
    """The samples nearest to each sample at one site, in some tables of :data:`NEIGHBOURS`."""
    place = {"stream": ref.stream, "layer": ref.layer, "site": ref.site}
    return _asked(source, NEIGHBOURS, parts, {"pooling": pooling, **place})


def drivers(
    source: Source, parts: Sequence[Part], a: LayerRef, b: LayerRef, pooling: str
) -> Answer:
    """The samples that drive a pair of layers, in either order, in tables of :data:`DRIVERS`."""
    rows = source.rows(DRIVERS, parts)
    cell = f"{_at('_a', 'a')} AND {_at('_b', 'b')} OR {_at('_a', 'b')} AND {_at('_b', 'a')}"
    sql = f"SELECT * FROM {rows.sql} WHERE pooling = $pooling AND ({cell}) ORDER BY key, rank"
    places = {
        f"{name}_{ref}": value
        for ref, place in (("a", a), ("b", b))
        for name, value in (("stream", place.stream), ("layer", place.layer), ("site", place.site))
    }
    values = {**rows.params, **places, "pooling": pooling}
    return Answer(source.connection.rows(sql, values), rows.problems)


def comparisons(source: Source, parts: Sequence[Part], *, turned: bool) -> Answer:
    """Measures between the layers of two runs; ``turned`` swaps the sides."""
    rows = source.rows(COMPARISONS, parts)
    # A comparison's key ends in the digests of the runs that it was made from.
    names = ["regexp_replace(key, '\\.[0-9a-f]+\\.[0-9a-f]+$', '') AS key"]
    names += [f"{_other(name)} AS {name}" if turned else name for name in COMPARISONS.schema.names]
    sql = f"SELECT {', '.join(names)} FROM {rows.sql}"
    return Answer(source.connection.rows(sql, rows.params), rows.problems)


def every_row(source: Source, kind: Kind, parts: Sequence[Part]) -> Answer:
    """Some tables of a kind as they are."""
    return _asked(source, kind, parts)


def samples(source: Source, entry: Entry) -> Answer:
    """Ids, splits and labels of a run's samples in its order; no texts and no pictures."""
    rows = source.samples([entry])
    labels = [f"label_{task.name}" for task in entry.manifest.tasks]
    return Answer(_columns(source, rows, ["sample_id", "split", *labels]), rows.problems)


def sample_columns(source: Source, entry: Entry, columns: Sequence[str]) -> pa.Table:
    """Columns of a run's samples in its order; InputError for what cannot be read."""
    rows = source.samples([entry])
    if rows.problems:
        raise InputError(rows.problems[0])
    return _columns(source, rows, columns)


def _columns(source: Source, rows: Rows, columns: Sequence[str]) -> pa.Table:
    sql = f"SELECT {', '.join(map(identifier, columns))} FROM {rows.sql}"
    return source.connection.rows(sql, rows.params)


def sample(
    source: Source, entry: Entry, sample_id: str, *, picture: bool = True
) -> dict[str, object]:
    """One sample of a run with its text, labels and thumbnail; InputError if it is not there.

    Without its ``picture`` it can be read where the thumbnails are damaged: these alone are not
    looked through before.
    """
    rows = source.samples([entry])
    if rows.problems:
        raise InputError(rows.problems[0])
    columns = "*" if picture else "* EXCLUDE (thumbnail)"
    sql = f"SELECT {columns} FROM {rows.sql} WHERE sample_id = $sample_id"
    answer = source.connection.rows(sql, {**rows.params, "sample_id": sample_id}).to_pylist()
    if not answer:
        raise InputError(f"run {entry.run_id} has no sample {sample_id!r}")
    return dict(answer[0])


def every_part(source: Source, kind: Kind, owners: Iterable[str]) -> list[Part]:
    """All tables of a kind that some runs (or pairs) have."""
    return [Part(owner, key) for owner in owners for key in source.keys(kind, owner)]


def select(
    source: Source, sql: str, params: Sequence[object] | Mapping[str, object] = ()
) -> pd.DataFrame:
    """A person's own SELECT over views of the whole store; see :meth:`Store.query`."""
    statements = duckdb.extract_statements(sql)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise ValueError("a store takes one SELECT statement and nothing else")
    bound = dict(params) if isinstance(params, Mapping) else list(params)
    named = {"runs", "samples", *(kind.name for kind in kinds.KINDS)} & set(
        re.findall(r"\w+", sql.lower())
    )
    views, problems = _views(source, named)
    for _ in range(_ATTEMPTS):
        fault: duckdb.Error | None = None
        try:
            table = _answer(source, views, sql, bound)
        except duckdb.Error as error:
            if not source.connection.is_about_a_file(error):
                raise
            fault = error
        if fault is None and not problems:
            break
        # A run that was deleted after the views were made is no fault of the question.
        before = (views, problems)
        views, problems = _views(source, named)
        if (views, problems) == before:
            if fault is not None:
                raise unreadable(source.connection.store, fault) from fault
            break
    else:
        raise InputError(
            "the store keeps changing while it is read",
            where=str(source.path),
            hint="Try again in a moment",
        )
    for problem in problems:
        warnings.warn(f"left out: {problem}", stacklevel=3)
    return tables.to_pandas(table)


def _views(source: Source, named: set[str]) -> tuple[dict[str, str], list[str]]:
    """{name: SELECT} of the views that a statement names, and what they leave out."""
    views: dict[str, str] = {}
    problems: list[str] = []
    entries = source.listing().entries
    for name in sorted(named - {"runs"}):
        if name == "samples":
            rows, columns = source.samples(entries), "* EXCLUDE (thumbnail)"
        else:
            kind = next(kind for kind in kinds.KINDS if kind.name == name)
            readable = {entry.run_id for entry in entries}
            owners = [o for o in source.owners(kind) if set(o.split("~")) <= readable]
            rows, columns = source.rows(kind, every_part(source, kind, owners)), "*"
        views[name] = f"SELECT {columns} FROM {rows.inlined()}"
        problems += rows.problems
    return views, problems


def _answer(
    source: Source, views: Mapping[str, str], sql: str, params: list[object] | dict[str, object]
) -> pa.Table:
    """The answer to a statement in a transaction of its own, which leaves no view behind."""
    with source.connection.cursor() as cursor:
        cursor.register("runs", _runs_table(source.listing().entries))
        cursor.execute("BEGIN")
        try:
            for name, definition in views.items():
                cursor.execute(f"CREATE TEMP VIEW {name} AS {definition}")
            return cursor.sql(sql, params=params).to_arrow_table()
        finally:
            cursor.execute("ROLLBACK")


def _runs_table(entries: Sequence[Entry]) -> pa.Table:
    """The view ``runs``: what listings show, without what only they need."""
    return table_of(entries).drop_columns(["state", "version", "run_json", "structure", "scores"])


def _asked(
    source: Source,
    kind: Kind,
    parts: Sequence[Part],
    equal: Mapping[str, object] | None = None,
    within: Mapping[str, Sequence[object]] | None = None,
) -> Answer:
    """Rows of a kind whose columns equal the values that are given, or are among several."""
    rows = source.rows(kind, parts)
    wanted = {name: value for name, value in (equal or {}).items() if value is not None}
    among = {name: list(values) for name, values in (within or {}).items()}
    tests = [f"{name} = ${name}" for name in wanted]
    tests += [f"list_contains(${name}, {name})" for name in among]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    sql = f"SELECT * FROM {rows.sql}{where}"
    return Answer(source.connection.rows(sql, {**rows.params, **wanted, **among}), rows.problems)


def _at(side: Side, ref: str) -> str:
    """That the place on a side of a row is the one whose values are bound as ``<column>_<ref>``."""
    columns = zip(DRIVERS.place_columns(side), PLACE_COLUMNS, strict=True)
    return " AND ".join(f"{column} = ${name}_{ref}" for column, name in columns)


def _other(column: str) -> str:
    """A column's name on the other side."""
    if column[:-2] in ("stream", "layer", "site"):
        return column[:-1] + {"a": "b", "b": "a"}[column[-1]]
    return column
