"""The dashboard's only caches. Every key holds the store's path and token; every cache is bounded.

Frames are shared between sessions and must not be changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.errors import InputError
from backend.figures.pairing import Pair
from backend.study import ClaimResult
from backend.types import LayerRef
from backend.views import queries, store_access, study
from backend.views.groups import Overview, RunGroup
from backend.views.queries import Comparable, Table
from backend.views.store_access import StoreView

Drawn = TypeVar("Drawn", go.Figure, dict[str, go.Figure])


@st.cache_resource(max_entries=4, show_spinner=False)
def _overview(path: str, token: str) -> Overview:
    return store_access.overview(path)


@st.cache_resource(max_entries=256, show_spinner=False)
def _run_measures(path: str, token: str, run_id: str, names: tuple[str, ...], preset: str) -> Table:
    return queries.run_measures(path, run_id, names, preset)


@st.cache_resource(max_entries=256, show_spinner=False)
def _measure_names(path: str, token: str, run_id: str) -> dict[str, tuple[str, ...]]:
    return queries.measure_names(path, run_id)


@st.cache_resource(max_entries=16, show_spinner=False)
def _measures(
    path: str,
    token: str,
    runs: tuple[tuple[str, str, str, int | None], ...],
    names: tuple[str, ...],
    preset: str,
) -> Table:
    return _of_groups(
        runs, [_run_measures(path, token, run_id, names, preset) for _, _, run_id, _ in runs]
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _training(path: str, token: str, runs: tuple[tuple[str, str, str, int | None], ...]) -> Table:
    return _of_groups(runs, [queries.run_training(path, run_id) for _, _, run_id, _ in runs])


def _of_groups(runs: tuple[tuple[str, str, str, int | None], ...], tables: list[Table]) -> Table:
    """Tables of runs as one, with what each run's rows belong to."""
    parts = [
        table.frame.assign(
            series=series, label=label, seed=pd.array([seed] * len(table.frame), dtype="Int64")
        )
        for (series, label, _, seed), table in zip(runs, tables, strict=True)
        if len(table.frame)
    ]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return Table(frame, tuple(problem for table in tables for problem in table.problems))


@st.cache_resource(max_entries=64, show_spinner=False)
def _cross(path: str, token: str, run_a: str, run_b: str) -> queries.Cross:
    return queries.cross(path, run_a, run_b)


@st.cache_resource(max_entries=8, show_spinner=False)
def _projections(path: str, token: str, run_id: str) -> Table:
    return queries.run_projections(path, run_id)


@st.cache_resource(max_entries=8, show_spinner=False)
def _samples(path: str, token: str, run_id: str) -> Table:
    return queries.run_samples(path, run_id)


@st.cache_data(max_entries=256, show_spinner=False)
def _sample(path: str, token: str, run_id: str, sample_id: str) -> queries.Sample:
    return queries.one_sample(path, run_id, sample_id)


@st.cache_data(max_entries=256, show_spinner=False)
def _drivers(
    path: str, token: str, run_id: str, a: LayerRef, b: LayerRef, pooling: str
) -> tuple[queries.Driver, ...]:
    return queries.drivers(path, run_id, (a, b), pooling)


@st.cache_data(max_entries=64, show_spinner=False)
def _comparable(path: str, token: str, run_ids: tuple[str, ...]) -> Comparable:
    return queries.comparable(path, run_ids)


@st.cache_resource(max_entries=16, show_spinner=False)
def _claims(
    path: str,
    token: str,
    dataset: str,
    pooling: str,
    estimator: str,
    pair: Pair | None,
    _measures: pd.DataFrame,
) -> tuple[tuple[ClaimResult, ...], pd.DataFrame]:
    overview = _overview(path, token)
    return study.claims_of(overview.runs, dataset, _measures, pooling, estimator, pair)


@st.cache_resource(max_entries=128, show_spinner=False)
def _figure(path: str, token: str, name: str, key: str, _build: Callable[[], object]) -> object:
    return _build()


def figure(store: StoreView, name: str, key: object, build: Callable[[], Drawn]) -> Drawn:
    """The figure (or figures by name) that ``build`` makes, kept under ``name`` and ``key``.

    ``key`` must hold everything that the figure depends on besides the store's content. Figures
    are shared and must not be changed.
    """
    return cast("Drawn", _figure(store.path, store.token, name, repr(key), build))


def overview(store: StoreView) -> Overview:
    """Every run of the store, grouped."""
    return _overview(store.path, store.token)


def measure_names(store: StoreView, groups: tuple[RunGroup, ...]) -> dict[str, tuple[str, ...]]:
    """{preset: measures that any run of the groups holds}; a run that cannot be read has none."""
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        for run in group.runs:
            try:
                held = _measure_names(store.path, store.token, run.run_id)
            except InputError:
                continue  # reading the measures themselves names the file
            for preset, names in held.items():
                found.setdefault(preset, {}).update(dict.fromkeys(names))
    return {preset: tuple(names) for preset, names in found.items()}


def measures(
    store: StoreView,
    groups: tuple[RunGroup, ...],
    names: tuple[str, ...],
    preset: str = "default",
) -> Table:
    """Named measures of all runs of the groups, with ``series``, ``label`` and ``seed``."""
    return _measures(store.path, store.token, _runs_of(groups), names, preset)


def training(store: StoreView, groups: tuple[RunGroup, ...]) -> Table:
    """Measures while the groups' models were trained, with ``series``, ``label`` and ``seed``."""
    return _training(store.path, store.token, _runs_of(groups))


def _runs_of(groups: tuple[RunGroup, ...]) -> tuple[tuple[str, str, str, int | None], ...]:
    return tuple(
        (group.key, group.label, run.run_id, run.seed) for group in groups for run in group.runs
    )


def cross(store: StoreView, run_a: str, run_b: str) -> queries.Cross:
    """CKA between the layers of two runs, as far as it was computed."""
    return _cross(store.path, store.token, run_a, run_b)


def projections(store: StoreView, run_id: str) -> Table:
    """All layer coordinates of one run."""
    return _projections(store.path, store.token, run_id)


def samples(store: StoreView, run_id: str) -> Table:
    """Ids, splits and labels of one run's samples."""
    return _samples(store.path, store.token, run_id)


def sample(store: StoreView, run_id: str, sample_id: str) -> queries.Sample:
    """One sample with text and thumbnail; InputError if it is not there."""
    return _sample(store.path, store.token, run_id, sample_id)


def drivers(
    store: StoreView, run_id: str, cell: tuple[LayerRef, LayerRef], pooling: str
) -> tuple[queries.Driver, ...]:
    """The samples that drive a pair of layers, by rank."""
    a, b = cell
    return _drivers(store.path, store.token, run_id, a, b, pooling)


def claims(
    store: StoreView,
    dataset: str,
    pooling: str,
    estimator: str,
    pair: Pair | None,
    measures: pd.DataFrame,
) -> tuple[tuple[ClaimResult, ...], pd.DataFrame]:
    """The study's claims asked of one dataset, and its points of alignment against score.

    ``pair`` are the streams whose alignment is asked for. ``measures`` are those of all its runs
    and follow from the store.
    """
    return _claims(store.path, store.token, dataset, pooling, estimator, pair, measures)


def comparable(store: StoreView, run_ids: tuple[str, ...]) -> Comparable:
    """Which runs share their samples with the first one."""
    return _comparable(store.path, store.token, run_ids)
