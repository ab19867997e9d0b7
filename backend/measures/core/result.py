"""Results are records: the value, what chance would give, how many samples, and what to beware of.

What cannot be computed is NaN with a reason, never a clamped or padded number. Reasons and warnings
are values (:mod:`backend.remarks`); their ``str()`` is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from backend.remarks import NOTHING, Remarks

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Result(float):
    """One measured number, and what is known of it. It *is* a float: the value.

    It computes, compares, sorts, formats (``f"{result:.3f}"``), becomes an int by Python's rule for
    floats, and goes into numpy and pandas like the number. ``repr()`` shows the whole record.

    ``null_mean`` and ``null_sd`` describe the value under a random matching of the samples,
    ``p_value`` is the probability of a value at least this high under it, ``p_corrected`` the same
    corrected for all the cells it was looked at with. They and the interval ``ci_low``..``ci_high``
    are NaN where they were not computed. ``dims`` are the widths of the representations and
    ``pooling`` how they were pooled, where that is known. ``reason`` says why the value is NaN and
    is empty otherwise.
    """

    measure: str
    value: float
    n: int
    dims: tuple[int, ...]
    estimator: str
    pooling: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    ci_low: float = NAN
    ci_high: float = NAN
    null_mean: float = NAN
    null_sd: float = NAN
    p_value: float = NAN
    p_corrected: float = NAN
    warnings: Remarks = NOTHING
    reason: Remarks = NOTHING

    def __new__(cls, measure: str, value: float, *rest: Any, **named: Any) -> Self:
        """A float of ``value``; the record is filled in by the dataclass."""
        return super().__new__(cls, value)

    def __getnewargs__(self) -> tuple[str, float]:  # type: ignore[override]
        return self.measure, self.value

    def __str__(self) -> str:
        return str(self.value)

    @property
    def z(self) -> float:
        """Standard deviations above the mean under chance; NaN where there is no null."""
        return (self.value - self.null_mean) / self.null_sd if self.null_sd > 0 else NAN


@dataclass(frozen=True, eq=False)
class MatrixResult:
    """A measure between every row layer and every column layer: ``values`` (L, M).

    ``numpy.asarray(result)`` is the matrix. ``null_means`` and ``null_sds`` (L, M) are None where
    the measure has no null; ``ci_lows`` and ``ci_highs``, ``p_values`` and ``p_corrected`` (over
    all cells of the matrix) are None where they were not asked for. ``reasons`` maps the (row,
    column) of each NaN to its explanation.
    """

    measure: str
    values: NDArray[np.float64]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    n: int
    estimator: str
    params: Mapping[str, object] = field(default_factory=dict)
    null_means: NDArray[np.float64] | None = None
    null_sds: NDArray[np.float64] | None = None
    ci_lows: NDArray[np.float64] | None = None
    ci_highs: NDArray[np.float64] | None = None
    p_values: NDArray[np.float64] | None = None
    p_corrected: NDArray[np.float64] | None = None
    warnings: Remarks = NOTHING
    reasons: Mapping[tuple[int, int], Remarks] = field(default_factory=dict)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False and dtype not in (None, np.float64):
            raise ValueError("a conversion of the values needs a copy")
        return np.array(self.values, dtype=dtype, copy=copy)

    def cell(self, i: int, j: int, dims: tuple[int, int]) -> Result:
        """The cell (i, j) as a record of its own; ``dims`` are the widths of its two layers.

        Of the warnings it has those that are about these two layers or about none.
        """

        def at(matrix: NDArray[np.float64] | None) -> float:
            return NAN if matrix is None else float(matrix[i, j])

        return Result(
            measure=self.measure,
            value=float(self.values[i, j]),
            n=self.n,
            dims=dims,
            estimator=self.estimator,
            params=self.params,
            ci_low=at(self.ci_lows),
            ci_high=at(self.ci_highs),
            null_mean=at(self.null_means),
            null_sd=at(self.null_sds),
            p_value=at(self.p_values),
            p_corrected=at(self.p_corrected),
            warnings=self.warnings.about(self.rows[i], self.columns[j]),
            reason=self.reasons.get((i, j), NOTHING),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(row layers, column layers)."""
        return len(self.rows), len(self.columns)

    @property
    def z(self) -> NDArray[np.float64]:
        """Standard deviations above chance, cell by cell; NaN where there is no null."""
        if self.null_means is None or self.null_sds is None:
            return np.full(self.shape, NAN)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = (self.values - self.null_means) / self.null_sds
        return np.where(self.null_sds > 0, scores, NAN)

    def to_frame(self) -> pd.DataFrame:
        """Tidy rows: row, column, value, ci_low, ci_high, null_mean, null_sd, z, p_value,
        p_corrected, n, estimator, reason (in words); NaN where something was not computed.
        """
        import pandas as pd

        row, column = np.indices(self.shape).reshape(2, -1)
        missing = np.full(self.shape, NAN)

        def cells(matrix: NDArray[np.float64] | None) -> NDArray[np.float64]:
            return (missing if matrix is None else matrix).ravel()

        return pd.DataFrame(
            {
                "measure": self.measure,
                "row": [self.rows[i] for i in row],
                "column": [self.columns[j] for j in column],
                "value": self.values.ravel(),
                "ci_low": cells(self.ci_lows),
                "ci_high": cells(self.ci_highs),
                "null_mean": cells(self.null_means),
                "null_sd": cells(self.null_sds),
                "z": self.z.ravel(),
                "p_value": cells(self.p_values),
                "p_corrected": cells(self.p_corrected),
                "n": self.n,
                "estimator": self.estimator,
                "reason": [
                    str(self.reasons.get((int(i), int(j)), NOTHING))
                    for i, j in zip(row, column, strict=True)
                ],
            }
        )
