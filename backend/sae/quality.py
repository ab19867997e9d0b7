"""How good an autoencoder is on activations: what it explains, and how many features that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from backend.errors import InputError
from backend.sae.autoencoder import SparseAutoencoder

_ROWS = 1024


@dataclass(frozen=True)
class Quality:
    """Of n rows of activations.

    ``explained`` is 1 - (sum of squared errors) / (sum of squared distances from the rows' mean):
    at most 1, below 0 where the mean alone would do better. ``mse`` is the mean squared error of a
    number (of a row and a dimension), ``cosine`` the mean cosine of a row with its reconstruction,
    ``l0`` the mean number of features on in a row, ``dead`` the share of features on in none.
    """

    n: int
    explained: float
    mse: float
    cosine: float
    l0: float
    dead: float


def quality(sae: SparseAutoencoder, rows: np.ndarray) -> Quality:
    """Of ``rows`` (n, d), which are those that it was not trained on. Cost: n d m.

    InputError for another width, and where all rows are equal (nothing to be explained).
    """
    n, d = rows.shape
    if d != sae.d:
        raise InputError(
            f"reads activations of width {sae.d:,}, these have {d:,}", where=sae.source.name
        )
    mean = np.mean(rows, axis=0, dtype=np.float64)
    error = total = cosine = on = 0.0
    used = torch.zeros(sae.count, dtype=torch.bool)
    with torch.inference_mode():
        for part in _parts(rows):
            x = torch.from_numpy(part)
            features, back = sae(x)
            error += float((x - back).double().pow(2).sum())
            total += float(((part - mean) ** 2).sum())
            cosine += float(torch.cosine_similarity(x, back, dim=1).double().sum())
            on += float((features > 0).sum())
            used |= (features > 0).any(dim=0)
    if not total:
        raise InputError("all activations are equal: there is nothing to be explained")
    return Quality(
        n=n,
        explained=1 - error / total,
        mse=error / (n * d),
        cosine=cosine / n,
        l0=on / n,
        dead=float((~used).double().mean()),
    )


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _ROWS):
        yield np.ascontiguousarray(rows[start : start + _ROWS], dtype=np.float32)
