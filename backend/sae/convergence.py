"""From which layer on image tokens are rebuilt as well as text: the layer of convergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.measures.chance.bootstrap import LEAST_GROUPS
from backend.measures.chance.ratios import Ratio
from backend.measures.chance.seeds import LEVEL
from backend.measures.core.base import Float64
from backend.measures.core.result import NAN
from backend.sae.gathering import Gathered

MARGIN = 0.05
"""FVU of image tokens above that of text alone that still counts as the same."""
_RESAMPLES = 1000

Curve = tuple[Float64, Float64]
"""(layers, S) summed squared errors of each sample, and summed squared distances."""


def curve_of(gathered: Sequence[Gathered], rest: bool) -> Curve:
    """Of one kind of token over the layers."""
    name = "error_rest" if rest else "error"
    return (
        np.stack([one.column(name) for one in gathered]),
        np.stack([one.distances(rest) for one in gathered]),
    )


def converged(
    layers: Sequence[int], image: Curve, text: Curve, groups: np.ndarray | None, seed: int = 0
) -> Ratio:
    """The first of ``layers`` from which on, at every layer, FVU of image is that of text.

    That is: at most :data:`MARGIN` above it. NaN where the last layer is not such. The interval is
    that of percentiles over resamples of whole groups (the tokens' means stay those of all
    samples); an end is infinite where it lies among resamples in which it is not reached. NaN for
    fewer than ``LEAST_GROUPS`` groups.
    """
    n = image[0].shape[1]
    which = np.arange(n)
    if groups is not None:
        _, which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    count = int(which.max()) + 1
    value = float(_first(layers, image, text, np.ones((1, n)))[0])
    if count < LEAST_GROUPS:
        return Ratio(value if np.isfinite(value) else NAN, NAN, NAN, count)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)[:, which]
    found = _first(layers, image, text, weights.astype(np.float64))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Ratio(value if np.isfinite(value) else NAN, float(low), float(high), count)


def _first(layers: Sequence[int], image: Curve, text: Curve, weights: Float64) -> Float64:
    """(B,) the layer under each row of weights (B, S); infinite where it is not reached."""
    seen, said = (weights @ errors.T / (weights @ totals.T) for errors, totals in (image, text))
    near = seen <= said + MARGIN
    from_there_on = np.logical_and.accumulate(near[:, ::-1], axis=1)[:, ::-1]
    first = np.asarray(layers, dtype=np.float64)[from_there_on.argmax(axis=1)]
    return np.where(from_there_on.any(axis=1), first, np.inf)
