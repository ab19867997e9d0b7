"""One pair or all pairs of layers, for measures that first reduce each layer to something small.

A measure says how to describe one layer (:attr:`Comparison.describe`: neighbour lists, ranks of
distances) and how to score descriptions against each other (:attr:`Comparison.score`). Validation,
parallel work, labels, reasons and records are the same for all of them and live here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import Float64, FloatArray, as_representation, same_samples
from backend.measures.core.pairs import grid
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import MatrixResult, Result
from backend.remarks import NOTHING, Remarks

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class Layer(Generic[State]):
    """One representation as a measure sees it; ``state`` is None where ``reason`` says why."""

    name: str
    d: int
    state: State | None
    reason: Remarks = NOTHING
    warnings: Remarks = NOTHING


@dataclass(frozen=True, eq=False)
class Scores:
    """Values of L row layers against M column layers and their null, each (L, M), and what is to be
    said of all of them.
    """

    values: Float64
    null_means: Float64
    null_sds: Float64
    warnings: Remarks = NOTHING


@dataclass(frozen=True)
class Comparison(Generic[State]):
    """A pairwise measure with its parameters fixed.

    ``work(n, d)`` are the multiply-adds of describing one layer. ``score`` gets the same list twice
    when the layers are compared with themselves.
    """

    measure: str
    params: Mapping[str, object]
    describe: Callable[[FloatArray, str], Layer[State]]
    score: Callable[[Sequence[State], Sequence[State]], Scores]
    work: Callable[[int, int], float]
    min_samples: int = 2
    estimator: str = "sample"


def compare(comparison: Comparison[State], x: object, y: object) -> Result:
    """The measure of ``x`` (n, d_x) and ``y`` (n, d_y)."""
    n, (a, b) = _described(comparison, [x, y], ["x", "y"])
    value = mean = sd = float("nan")
    warnings = NOTHING
    if a.state is not None and b.state is not None:
        scores = comparison.score([a.state], [b.state])
        warnings = scores.warnings
        value, mean, sd = (
            float(m[0, 0]) for m in (scores.values, scores.null_means, scores.null_sds)
        )
    return Result(
        measure=comparison.measure,
        value=value,
        n=n,
        dims=(a.d, b.d),
        estimator=comparison.estimator,
        params=comparison.params,
        null_mean=mean,
        null_sd=sd,
        warnings=Remarks.of(a.warnings, b.warnings, warnings),
        reason=Remarks.of(a.reason, b.reason),
    )


def compare_all(
    comparison: Comparison[State],
    layers: Sequence[object],
    others: Sequence[object] | None,
    labels: Sequence[str] | None,
    other_labels: Sequence[str] | None,
) -> MatrixResult:
    """The measure of every layer with every layer, or with every one of ``others``: (L, M)."""
    cells = grid(layers, others, labels, other_labels)
    rows = cells.rows
    n, described = _described(comparison, [*layers, *(others or ())], cells.names)
    left = described[: len(rows)]
    right = left if others is None else described[len(rows) :]
    at_left = [i for i, layer in enumerate(left) if layer.state is not None]
    at_right = [j for j, layer in enumerate(right) if layer.state is not None]
    values, means, sds = (np.full((len(left), len(right)), np.nan) for _ in range(3))
    warnings = NOTHING
    if at_left and at_right:
        states = [layer.state for layer in left if layer.state is not None]
        same = right is left
        across = states if same else [layer.state for layer in right if layer.state is not None]
        scores = comparison.score(states, across)
        warnings = scores.warnings
        at = np.ix_(at_left, at_right)
        values[at], means[at], sds[at] = scores.values, scores.null_means, scores.null_sds
    return MatrixResult(
        measure=comparison.measure,
        values=values,
        rows=rows,
        columns=tuple(layer.name for layer in right),
        n=n,
        estimator=comparison.estimator,
        params=comparison.params,
        null_means=means,
        null_sds=sds,
        warnings=Remarks.of(*(layer.warnings for layer in described), warnings),
        reasons={
            (i, j): reason
            for i, a in enumerate(left)
            for j, b in enumerate(right)
            if (reason := Remarks.of(a.reason, b.reason))
        },
    )


class MatrixForm(Protocol):
    """A pairwise measure for all pairs of layers; ``parameters`` are those of the pair's form."""

    def __call__(
        self,
        layers: Sequence[object],
        others: Sequence[object] | None = None,
        *,
        labels: Sequence[str] | None = None,
        other_labels: Sequence[str] | None = None,
        **parameters: Any,
    ) -> MatrixResult:
        """Of L layers (n, d_l) each with each, (L, L), or with each of M ``others``, (L, M)."""
        ...


def matrix_form(measure: Callable[..., Comparison[Any]]) -> MatrixForm:
    """:func:`compare_all` of the comparison that ``measure`` makes of its parameters."""

    def matrix(
        layers: Sequence[object],
        others: Sequence[object] | None = None,
        *,
        labels: Sequence[str] | None = None,
        other_labels: Sequence[str] | None = None,
        **parameters: Any,
    ) -> MatrixResult:
        return compare_all(measure(**parameters), layers, others, labels, other_labels)

    return matrix


def cell_by_cell(
    rows: Sequence[State],
    columns: Sequence[State],
    cell: Callable[[State, State], float],
    work: float,
) -> Float64:
    """``cell(a, b)`` for every pair, (L, M); of a list with itself each pair once.

    ``work`` are the multiply-adds of one cell.
    """
    same = rows is columns
    pairs = [(i, j) for i in range(len(rows)) for j in range(len(columns)) if not same or i <= j]
    computed = map_pieces(lambda p: cell(rows[p[0]], columns[p[1]]), pairs, work * len(pairs))
    values = np.empty((len(rows), len(columns)))
    for (i, j), value in zip(pairs, computed, strict=True):
        values[i, j] = value
        if same:
            values[j, i] = value
    return values


def _described(
    comparison: Comparison[State], layers: Sequence[object], names: Sequence[str]
) -> tuple[int, list[Layer[State]]]:
    if not layers:
        raise InputError("no layers were given", where="layers")
    arrays = [
        as_representation(x, name, min_samples=comparison.min_samples)
        for x, name in zip(layers, names, strict=True)
    ]
    n = same_samples(arrays, names)
    work = sum(comparison.work(n, array.shape[1]) for array in arrays)
    named = list(zip(arrays, names, strict=True))
    return n, map_pieces(lambda pair: comparison.describe(*pair), named, work)
