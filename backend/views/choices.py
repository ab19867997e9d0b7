"""What a page shows where its address leaves it open: the decisions behind the widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from backend.measures.registry import PRESETS, compared_ends, two_layers
from backend.pairing import Pair, default_pair, stream_pairs
from backend.pooling import by_stream, of_stream
from backend.types import POOLINGS
from backend.views.groups import RunGroup
from backend.views.state import ESTIMATORS, ViewState

PAIRWISE = tuple(two_layers())
"""Measures that the pages about two layers offer, in order."""
ALIGNING = (
    *PAIRWISE,
    *compared_ends(),
)
"""What Alignment offers: these, and those that compare two streams only."""


@dataclass(frozen=True)
class MeasureChoice:
    """The presets and measures that there are to choose from, and the chosen ones."""

    presets: tuple[str, ...]
    preset: str
    measures: tuple[str, ...]
    measure: str


def measure_of(
    state: ViewState, held: Mapping[str, Sequence[str]], among: Sequence[str] = PAIRWISE
) -> MeasureChoice:
    """The state's preset and measure where the runs hold them, else the first that they hold.

    ``held`` is {preset: measures}; where it has none of ``among``, the first of these is chosen.
    """
    presets = tuple(preset for preset in PRESETS if set(held.get(preset, ())) & set(among))
    preset = state.preset if state.preset in presets else (presets or PRESETS)[0]
    measures = tuple(name for name in among if name in held.get(preset, ())) or tuple(among[:1])
    measure = state.measure if state.measure in measures else measures[0]
    return MeasureChoice(presets, preset, measures, measure)


def pooling_of(
    state: ViewState,
    available: Sequence[str],
    groups: Sequence[RunGroup] = (),
    streams: Sequence[str] = (),
) -> str:
    """The state's pooling where it is available.

    Else the first one that all these ``streams`` of the groups have, else the first one.
    """
    if state.pooling in available:
        return str(state.pooling)
    specs = [spec for group in groups for spec in group.series.streams if spec.name in streams]
    of_all = [
        name
        for name in available
        if all(of_stream(name, spec.name) in spec.poolings for spec in specs)
    ]
    return (of_all or list(available))[0]


def poolings_in(rows: pd.DataFrame, pair: Pair | None = None) -> list[str]:
    """The poolings of rows, in the order of :data:`POOLINGS`: rows come in any.

    Those of two streams (:mod:`backend.pooling`) follow where the rows are about this ``pair``.
    """
    held = set(rows["pooling"].unique())
    of_pair = [name for name in sorted(held) if pair and {*by_stream(name)} == {*pair}]
    return [*(pooling for pooling in POOLINGS if pooling in held), *of_pair]


def estimators_in(rows: pd.DataFrame) -> tuple[str, ...]:
    """The estimators to choose from; none of a measure that has but one way."""
    return tuple(kind for kind in ESTIMATORS if rows["estimator"].eq(kind).any())


def variants_of(
    frame: pd.DataFrame, pair: Pair | None = None
) -> dict[str, tuple[tuple[str, ...], int, str]]:
    """{pooling: its :func:`estimators_in`, smallest n, parameters} of one measure's rows.

    The poolings are :func:`poolings_in`.
    """
    of = {name: frame[frame["pooling"].eq(name)] for name in poolings_in(frame, pair)}
    return {
        name: (estimators_in(rows), int(rows["n"].min()), str(rows["params"].iloc[0]))
        for name, rows in of.items()
    }


def estimator_of(state: ViewState, kinds: Sequence[str]) -> str:
    """The state's estimator where it is one of ``kinds``, else the first; "" for none."""
    return state.estimator if state.estimator in kinds else next(iter(kinds), "")


@dataclass(frozen=True)
class PairChoice:
    """The two streams that are compared, and every pair that could be, that one first.

    ``refused`` is the pair that the state asks for and no group has.
    """

    pair: Pair
    options: tuple[Pair, ...]
    refused: Pair | None = None


def pair_of(state: ViewState, groups: Sequence[RunGroup]) -> PairChoice | None:
    """The state's pair where any group has it, else the first group's default pair.

    None where no group has two streams.
    """
    options = dict.fromkeys(p for group in groups for p in stream_pairs(group.series.streams))
    defaults = (default_pair(group.series.streams) for group in groups)
    first = next((pair for pair in defaults if pair), None)
    if first is None:
        return None
    ordered = (first, *(pair for pair in options if set(pair) != set(first)))
    asked = state.pair
    chosen = next((pair for pair in ordered if asked and set(pair) == set(asked)), None)
    return PairChoice(chosen or first, ordered, None if chosen else asked)


def focus_of(state: ViewState, groups: Sequence[RunGroup]) -> RunGroup:
    """The one group to show where only one can be: the chosen, else the last one that fuses."""
    named = [group for group in groups if group.key == state.focus]
    fusing = [group for group in groups if group.has_fusion]
    return (named or fusing[-1:] or list(groups))[0]


def only(groups: Sequence[RunGroup], run_ids: Sequence[str]) -> tuple[RunGroup, ...]:
    """The groups with these of their runs; a group that has none of them is left out."""
    allowed = set(run_ids)
    left = (
        replace(group, runs=tuple(run for run in group.runs if run.run_id in allowed))
        for group in groups
    )
    return tuple(group for group in left if group.runs)
