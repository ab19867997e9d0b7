"""What a table of interventions says in numbers: contrasts, and their means over seeds."""

from __future__ import annotations

import pandas as pd

from backend.interventions.table import CKA, WHOLE
from backend.measures.chance.seeds import mean_over_seeds

_KEYS = ["dataset", "model", "placement", "stream", "weights", "partner"]


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Mean CKA at transitions that cross a fusion minus that at the others, a row a seed.

    Columns dataset, model, placement, stream, weights, partner, seed, value. It describes: fusion
    layers also lie at certain depths. A placement that fuses everywhere has none; NaN does not
    count.
    """
    rows = table[table["measure"].eq(CKA) & table["transition"].eq(WHOLE) & table["value"].notna()]
    means = rows.groupby([*_KEYS, "seed", "crossing"], dropna=False, sort=False)["value"].mean()
    wide = means.unstack("crossing").reindex(columns=[True, False]).dropna()
    return (wide[True] - wide[False]).rename("value").reset_index()


def over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % t interval and number of seeds of each dataset, placement, stream and so on."""
    rows = []
    for at, own in values.groupby(_KEYS, dropna=False, sort=False):
        one = mean_over_seeds(own["value"].tolist())
        rows.append((*at, one.mean, one.low, one.high, one.seeds))
    return pd.DataFrame(rows, columns=[*_KEYS, "value", "low", "high", "seeds"])
