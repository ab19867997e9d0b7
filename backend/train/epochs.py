"""How a training's dev scores went by epoch, from what its checkpoint says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from backend.errors import InputError
from backend.store.kinds import TRAINING_SCORES


def read_training_scores(folder: Path) -> pd.DataFrame | None:
    """Rows of :data:`backend.store.kinds.TRAINING_SCORES` of a checkpoint.

    None where it has no record, or one without scores, as a pretraining's; InputError for a broken
    one.
    """
    path = folder / "training.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = int(record["best_epoch"])
        rows = [
            {"epoch": row["epoch"], **score, "kept": row["epoch"] == kept}
            for row in record["history"]
            for score in row.get("dev", ())
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("training.json is broken", where=str(folder)) from error
    return pd.DataFrame(rows, columns=TRAINING_SCORES.schema.names) if rows else None
