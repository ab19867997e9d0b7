"""A result is a number with a record."""

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backend.measures import cka, cka_matrix, effective_dimension
from backend.measures.core.result import Result

X, Y = np.random.default_rng(0).normal(size=(2, 30, 5))


def test_it_computes_compares_sorts_and_formats_like_its_value():
    low, high = cka(X, Y), cka(X, X)
    assert isinstance(low, float) and low == low.value and float(low) == low.value
    assert (
        low < high and sorted([high, low]) == [low, high] and high - low == high.value - low.value
    )
    assert f"{low:+.3f} {low}" == f"{low.value:+.3f} {low.value}" and str(low) == str(low.value)
    assert round(low, 2) == round(low.value, 2) and json.loads(json.dumps([low])) == [low.value]
    dimension = effective_dimension(X, threshold=0.95)
    assert int(dimension) == dimension == 5 and isinstance(int(dimension), int)
    assert math.isnan(cka(X, np.ones((30, 2))))
    with pytest.raises(ValueError, match="NaN"):
        int(cka(X, np.ones((30, 2))))


def test_numpy_and_pandas_take_it_for_a_number():
    results = [cka(X, Y), cka(X, X)]
    assert np.asarray(results).dtype == np.float64
    frame = pd.DataFrame({"value": results})
    assert frame["value"].dtype == np.float64 and frame["value"].idxmax() == 1
    assert np.asarray(cka_matrix([X, Y])).shape == (2, 2)


def test_the_record_goes_with_it_and_is_kept_by_replace_and_pickle():
    result = cka(X, Y)
    assert "null_sd" in repr(result) and result.n == 30
    again = pickle.loads(pickle.dumps(result))  # noqa: S301 made in the line itself
    assert isinstance(again, Result) and again == result and repr(again) == repr(result)
    other = replace(result, value=0.5)
    assert other == 0.5 and (other.n, other.null_sd) == (30, result.null_sd)
