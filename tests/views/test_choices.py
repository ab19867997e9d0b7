"""What a page shows where its address leaves it open."""

import pandas as pd

from backend.views.choices import pooling_of, poolings_in, variants_of
from backend.views.state import ViewState


def test_the_order_of_rows_does_not_choose_the_pooling():
    rows = pd.DataFrame(
        {"pooling": ["mean", "cls"], "estimator": "biased", "n": [8, 9], "params": "{}"}
    )
    for frame in (rows, rows[::-1]):
        assert poolings_in(frame) == ["cls", "mean"] == list(variants_of(frame))
        assert pooling_of(ViewState(), poolings_in(frame)) == "cls"
    assert poolings_in(rows[:1]) == ["mean"]
