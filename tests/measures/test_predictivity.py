"""Linear predictivity against scikit-learn, fold by fold."""

import math

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from backend.errors import InputError
from backend.measures import linear_predictivity, linear_predictivity_matrix


@pytest.mark.parametrize(("n", "widths"), [(60, (8, 5)), (40, (90, 12)), (31, (4, 70))])
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 2.0])
def test_it_is_the_r2_of_ridge_regression_on_held_out_samples(arrays, n, widths, penalty):
    x, y = arrays.related(n, widths)
    predicted = np.empty_like(y)
    for fit, held in KFold(4, shuffle=True, random_state=3).split(x):
        alpha = penalty * n * x.var(axis=0).mean()
        predicted[held] = Ridge(alpha=alpha).fit(x[fit], y[fit]).predict(x[held])
    expected = r2_score(y, predicted, multioutput="variance_weighted")
    result = linear_predictivity(x, y, folds=4, penalty=penalty, seed=3)
    assert result == pytest.approx(expected, abs=1e-10)
    assert (result.n, result.dims) == (n, widths)


def test_a_layer_tells_its_projection_and_not_the_other_way_round(arrays):
    x = np.random.default_rng(0).normal(size=(400, 12))
    y = x[:, :2]
    assert linear_predictivity(x, y) > 0.98
    assert 0.1 < linear_predictivity(y, x) < 0.2  # 2 of 12 coordinates
    assert linear_predictivity(x, np.random.default_rng(1).normal(size=(400, 5))) < 0


def test_the_matrix_has_both_directions_rows_predict_columns(arrays):
    layers = arrays.related(40, (6, 9, 4))
    layers.append(np.ones((40, 3)))
    matrix = linear_predictivity_matrix(layers, labels=list("abcd"), folds=5, penalty=0.1, seed=0)
    for i, x in enumerate(layers):
        for j, y in enumerate(layers):
            alone = linear_predictivity(x, y)
            assert matrix.values[i, j] == pytest.approx(alone, abs=1e-12, nan_ok=True)
            assert math.isnan(alone) == (3 in (i, j))
    assert str(matrix.reasons[3, 0]) == "d is constant: every sample has the same vector"


def test_unusable_input_is_refused(arrays):
    x, y = arrays.related(9, (3, 4))
    with pytest.raises(InputError, match="needs at least 10 samples, got 9"):
        linear_predictivity(x, y)
    for wrong in ({"folds": 1}, {"penalty": 0.0}):
        with pytest.raises(InputError, match="2 folds or more and a penalty above 0"):
            linear_predictivity(x, y, **wrong)
