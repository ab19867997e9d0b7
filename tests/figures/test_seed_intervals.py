"""Intervals of means over seeds in the frames of figures keep to the range of the measure."""

import pandas as pd
import pytest

from backend.figures.difference import differences
from backend.figures.seeds import over_seeds
from backend.measures import MEASURES, mean_over_seeds
from tests.figures.frames import cka_frame

SPREAD = {0: 0.99, 1: 0.6, 2: 0.95}
BY = ["stream_a", "layer_a", "site_a", "stream_b", "layer_b", "site_b"]


def frame_of(estimator):
    frame = cka_frame()
    return frame.assign(value=frame["seed"].map(SPREAD), estimator=estimator)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_several_seeds_have_the_interval_of_the_measures_range(estimator):
    rows = over_seeds(frame_of(estimator), BY)
    bounds = MEASURES["cka"].bounds(estimator)
    expected = mean_over_seeds([*SPREAD.values()], bounds=bounds)
    assert rows["ci_low"].tolist() == pytest.approx([expected.low] * len(rows))
    assert rows["ci_high"].tolist() == pytest.approx([expected.high] * len(rows))
    assert expected.low > 0 and expected.high < 1 < mean_over_seeds([*SPREAD.values()]).high


def test_a_difference_is_not_bound_by_the_measures_range():
    frame = frame_of("debiased")
    shifted = frame[frame["series"].eq(frame["series"].iat[0])]
    other = shifted.assign(series="other", value=shifted["value"] - 0.5 * shifted["seed"])
    rows = over_seeds(differences(pd.concat([shifted, other]), "other"), BY)
    expected = mean_over_seeds([0.0, 0.5, 1.0])
    assert rows["ci_low"].tolist() == pytest.approx([expected.low] * len(rows))
