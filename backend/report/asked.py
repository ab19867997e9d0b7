"""What a report is about, and what each of its sections gives back."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from backend.figures.scales import Scale, scale_for
from backend.figures.theme import Series
from backend.pairing import Pair
from backend.report.document import Figure, Item, Missing
from backend.store.kinds import MEASURES
from backend.views import choices, queries, questions
from backend.views.groups import Overview, RunGroup
from backend.views.state import ViewState
from backend.views.store_access import StoreView
from backend.words import counted, listed


@dataclass(frozen=True)
class Asked:
    """A store, the settings of the view, and the chosen groups, which share their samples."""

    store: StoreView
    overview: Overview
    state: ViewState
    groups: tuple[RunGroup, ...]

    @cached_property
    def pair(self) -> Pair | None:
        """The two streams that are compared; None where no group has two."""
        choice = choices.pair_of(self.state, self.groups)
        return choice.pair if choice else None

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams of the groups, in the models' order."""
        return tuple(
            dict.fromkeys(spec.name for group in self.groups for spec in group.series.streams)
        )

    def held(self, groups: Sequence[RunGroup]) -> dict[str, tuple[str, ...]]:
        """{preset: measures that any run of the groups holds}."""
        names: dict[str, dict[str, None]] = {}
        for run_id in (run.run_id for group in groups for run in group.runs):
            keys = questions.keys_of(self.store, MEASURES, run_id)
            run = questions.run_at(self.store, run_id)
            for preset, held in queries.held_measures(run, keys).items():
                names.setdefault(preset, {}).update(dict.fromkeys(held))
        return {preset: tuple(held) for preset, held in names.items()}

    def missing(self, what: str, command: str) -> Missing:
        """That the runs lack something, and the command that makes it."""
        line = shlex.join(["fusionscope", command, "--store", self.store.origin])
        makes = self.store.adding("This makes them")
        return Missing(f"The chosen runs have no {what} yet. {makes}", (line,))


@dataclass(frozen=True)
class Part:
    """One page in the report.

    ``shown`` are the settings that were chosen where the view left them open; ``tables`` are the
    rows behind the figures, {title: rows as the store has them}.
    """

    items: tuple[Item, ...]
    shown: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Picked:
    """The rows of one measure of two layers under one preset, pooling and estimator."""

    rows: pd.DataFrame
    scale: Scale
    preset: str
    pooling: str
    estimator: str
    problems: tuple[str, ...]

    @property
    def shown(self) -> dict[str, Any]:
        """As settings of the view."""
        chosen = {"measure": self.scale.measure, "preset": self.preset, "pooling": self.pooling}
        return chosen | ({"estimator": self.estimator} if self.estimator else {})

    @property
    def words(self) -> str:
        """``CKA (debiased) of cls vectors``."""
        estimator = f" ({self.estimator})" if self.estimator else ""
        return f"{self.scale.label}{estimator} of {self.pooling} vectors"


def pick(
    asked: Asked,
    groups: tuple[RunGroup, ...],
    streams: Sequence[str],
    pair: Pair | None = None,
) -> Picked | Missing:
    """The measure that the view asks for, else the first one that the runs hold.

    What is about one ``pair`` alone may be of a pooling of these two.
    """
    choice = choices.measure_of(asked.state, asked.held(groups))
    table = questions.measures(asked.store, groups, (choice.measure,), choice.preset).answer()
    available = [] if table.frame.empty else choices.poolings_in(table.frame, pair)
    if not available:
        return asked.missing("measures", "measure")
    pooling = choices.pooling_of(asked.state, available, groups, streams)
    rows = table.frame[table.frame["pooling"].eq(pooling)]
    estimator = choices.estimator_of(asked.state, choices.estimators_in(rows))
    scale = scale_for(choice.measure, str(rows["params"].iloc[0]), int(rows["n"].min()))
    if estimator:
        rows = rows[rows["estimator"].eq(estimator)]
    return Picked(rows, scale, choice.preset, pooling, estimator, table.problems)


def series_of(groups: Sequence[RunGroup]) -> tuple[Series, ...]:
    """The curves of groups."""
    return tuple(group.series for group in groups)


def labels_of(groups: Sequence[RunGroup]) -> str:
    """``none, early and late``."""
    return listed(group.label for group in groups)


def figure(
    title: str, drawn: go.Figure, alt: str, caption: str = "", *, half: bool = False
) -> Figure:
    """A figure as an item."""
    return Figure(title, str(drawn.to_json(validate=False)), alt, caption, half)


def reading(
    rows: pd.DataFrame, groups: Sequence[RunGroup], fusing: str = "", *, panels: bool = False
) -> str:
    """How a figure of curves is read: n, seeds, where ``fusing`` shows, what chance would give.

    Fusion layers are shaded, but several curves in one panel have bars below the axis instead.
    """
    counts = sorted({int(n) for n in rows["n"].dropna()})
    out = [f"n = {listed(f'{n:,}' for n in counts)}"] if counts else []
    seeds = max((len(group.runs) for group in groups), default=0)
    if seeds > 1:
        out.append(f"line: mean of {counted(seeds, 'seed')}, band: min to max")
    if fusing:
        drawn = "shaded" if panels or len(groups) == 1 else "bars below the axis"
        out.append(f"{drawn}, and larger marks: {fusing}")
    null = rows["null_mean"].dropna() if "null_mean" in rows else pd.Series(dtype=float)
    if len(null):
        low, high = float(null.min()), float(null.max())
        chance = f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
        out.append(f"chance (the samples matched at random): {chance}, of each point in its label")
    return "; ".join(out) + "." if out else ""


Section = Callable[[Asked], Part]
