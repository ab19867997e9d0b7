"""Linear predictivity: the share of one layer that a linear map of another predicts, held out.

Held-out errors are E Y with E (n, n) of the predictor alone, so that a pair costs the inner product
of EᵀE and Y Yᵀ.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core import base, comparison
from backend.measures.core.groups import Groups, as_groups
from backend.measures.core.result import Result
from backend.remarks import NOTHING, Remarks, remark

_Roles = tuple[base.Float64, base.Float64]  # EᵀE of a layer that predicts, Y Yᵀ of a target


def linear_predictivity(
    x: object,
    y: object,
    *,
    folds: int = 5,
    penalty: float = 0.1,
    seed: int = 0,
    groups: object = None,
) -> Result:
    """R² of predicting ``y`` (n, d_y) from ``x`` (n, d_x) on held-out samples; not symmetric.

    1 - Σ‖y - ŷ‖² / Σ‖y - ȳ‖² over all samples; ŷ is fitted to the other ``folds`` (drawn by
    ``seed``; whole ``groups``, n names, where samples belong together) by ridge regression:
    ``penalty`` · n · mean variance of a coordinate of ``x``.
    At most 1; 0 is no better than the mean, and unrelated ``x`` of many dimensions is worse.
    Invariant to shifts, isotropic scale and orthogonal maps of either side. Cost: about
    n²(d_x + d_y) + 4n³ multiply-adds, memory 16n² bytes a layer. NaN with a reason if a side is
    constant; InputError for unusable arrays and n < 2 ``folds``. (Yamins et al. 2014; fitted and
    tested on the same samples, R²_LR of Kornblith et al. 2019, which is 1 as soon as d >= n.)
    """
    how = _comparison(folds=folds, penalty=penalty, seed=seed, groups=groups)
    return comparison.compare(how, x, y)


def _comparison(
    *, folds: int, penalty: float, seed: int, groups: object = None
) -> comparison.Comparison[_Roles]:
    if not (folds >= 2 and penalty > 0):
        raise InputError("takes 2 folds or more and a penalty above 0", where="linear_predictivity")

    def describe(array: base.FloatArray, name: str) -> comparison.Layer[_Roles]:
        x, (n, d) = base.prepare(array, name), array.shape  # of norm 1: the variances sum to 1 / n
        if x.constant:
            return comparison.Layer(name, d, None, Remarks.of(base.constant_reason(name)))
        gram = np.asarray(x.data @ x.data.T, np.float64)
        together = as_groups(groups, n)
        count = n if together is None else int(together.max()) + 1
        if count < folds:
            few = remark("few_groups", groups=count, least=folds)
            return comparison.Layer(name, d, None, Remarks.of(few))
        # R Y are the residuals of a fit to all samples; R_ff⁻¹ (R Y)_f those of fold f left out.
        residual = penalty / d * np.linalg.inv(gram + penalty / d * np.eye(n)) - 1 / n
        miss = np.empty_like(gram)
        for held in _held(n, folds, seed, together):
            miss[held] = np.linalg.solve(residual[np.ix_(held, held)], residual[held])
        copies = Remarks.of(base.duplicate_warning(x, name))
        return comparison.Layer(name, d, (miss.T @ miss, gram), NOTHING, copies)

    name, params = "linear_predictivity", {"folds": folds, "penalty": penalty, "seed": seed}
    work = lambda n, d: n**2 * (d + 2.0 * n)  # noqa: E731
    return comparison.Comparison(name, params, describe, _score, work, 2 * folds)


def _held(n: int, folds: int, seed: int, groups: Groups | None) -> Iterator[NDArray[np.intp]]:
    """The samples of each fold, which parts no group."""
    from sklearn.model_selection import GroupKFold, KFold

    kind = KFold if groups is None else GroupKFold
    for _, held in kind(folds, shuffle=True, random_state=seed).split(np.zeros(n), groups=groups):
        yield held


def _score(rows: Sequence[_Roles], columns: Sequence[_Roles]) -> comparison.Scores:
    values = np.array([[1 - np.vdot(miss, gram) for _, gram in columns] for miss, _ in rows])
    return comparison.Scores(values, *np.full((2, *values.shape), np.nan))


linear_predictivity_matrix = comparison.matrix_form(_comparison)
