"""Where a figure or a table comes from: what it takes to make it again, or to doubt it.

Names and digests only, no path of the machine that it was made on: these files are sent around.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any, Self
from urllib.parse import urlencode

import pandas as pd

from backend import __version__
from backend.store.manifest import utc_now
from backend.views.groups import RunGroup, RunInfo
from backend.views.state import ViewState
from backend.views.store_access import StoreView, opened

LANDING = "runs"
"""The page that is at the bare address."""

_LIBRARIES = ("numpy", "pandas", "pyarrow", "duckdb", "scipy", "scikit-learn", "plotly")
_WHAT_WAS_MEASURED = ("measure", "params", "pooling", "estimator", "task", "metric", "split", "key")


@dataclass(frozen=True)
class RunRecord:
    """One run: its model and samples by their digests, and what made it.

    ``weights`` is the digest of weights and configuration, ``run_json`` the SHA-256 of the run's
    description, ``fingerprint`` that of the sample ids; ``token`` changes with any of its tables.
    """

    run_id: str
    group: str
    seed: int | None
    model: str
    family: str
    revision: str
    placement: str | None
    weights: str
    run_json: str
    dataset: str
    split: str
    fingerprint: str
    n: int
    created: str
    token: str
    versions: dict[str, str]

    @classmethod
    def of(cls, run: RunInfo, group: RunGroup, token: str) -> Self:
        """A run of a group, as it is now."""
        manifest = run.manifest
        return cls(
            run_id=run.run_id,
            group=group.label,
            seed=run.seed,
            model=manifest.model.name,
            family=manifest.model.family,
            revision=manifest.model.revision,
            placement=None if manifest.placement is None else manifest.placement.name,
            weights=manifest.model.digest,
            run_json=hashlib.sha256(run.entry.run_json).hexdigest(),
            dataset=manifest.dataset.name,
            split=manifest.dataset.split,
            fingerprint=manifest.dataset.fingerprint,
            n=run.n,
            created=manifest.created,
            token=token,
            versions=dict(manifest.versions),
        )


@dataclass(frozen=True)
class ViewRecord:
    """What was on the screen: opening ``address`` of the same store shows it again."""

    page: str
    address: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Provenance:
    """Store, runs, what was measured and how, the view, and the versions that made the file.

    ``tables`` has for each table one line for every distinct combination of measure, parameters,
    pooling, estimator and stored table, with the number of its rows and of the samples behind them.
    """

    made: str
    store: str
    views: tuple[ViewRecord, ...]
    runs: tuple[RunRecord, ...]
    tables: dict[str, tuple[dict[str, Any], ...]]
    versions: dict[str, str]

    def to_json(self) -> str:
        """As JSON for people."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def provenance(
    store: StoreView,
    groups: Sequence[RunGroup],
    views: Sequence[ViewRecord],
    tables: dict[str, pd.DataFrame],
) -> Provenance:
    """What there is to say of tables of these groups' runs, and of the figures drawn from them."""
    ask = opened(store.path)
    return Provenance(
        made=utc_now(),
        store=store.name,
        views=tuple(views),
        runs=tuple(
            RunRecord.of(run, group, ask.token(run.run_id))
            for group in groups
            for run in group.runs
        ),
        tables={title: measured(frame) for title, frame in tables.items()},
        versions={
            "fusionscope": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
    )


def view_record(page: str, state: ViewState) -> ViewRecord:
    """A page in a state in which nothing is left open; see :func:`settled`."""
    settings = state.to_query()
    query = f"?{urlencode(settings, safe=',~:')}" if settings else ""
    return ViewRecord(page, f"/{'' if page == LANDING else page}{query}", settings)


def settled(state: ViewState, groups: Sequence[RunGroup], shown: dict[str, Any]) -> ViewState:
    """The state with the groups and settings that the page chose where the address left it open.

    Of the settings those that an address has.
    """
    chosen = {"runs": tuple(group.key for group in groups)} if groups else {}
    held = {one.name for one in fields(ViewState)}
    return state.but(**chosen, **{key: value for key, value in shown.items() if key in held})


def measured(frame: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    """Which measures, under which parameters, a table holds; their rows, and n from least to most.

    Only the number of rows for a table of something else.
    """
    names = [name for name in _WHAT_WAS_MEASURED if name in frame.columns]
    if not names:
        return ({"rows": len(frame)},)
    out = []
    for values, rows in frame.groupby(names, sort=False, dropna=False):
        line: dict[str, Any] = dict(zip(names, values, strict=True))
        if "params" in line:
            line["params"] = json.loads(line["params"] or "{}")
        if "n" in rows.columns:
            line["n"] = sorted({int(n) for n in rows["n"].dropna()})
        out.append(line | {"rows": len(rows)})
    return tuple(out)
