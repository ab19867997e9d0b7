"""Recordings as models take them, and which moments their tokens are of."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np

from backend.data.sample import Audio
from backend.models.roles import Origins


def at_rate(audio: Audio, rate: int) -> np.ndarray:
    """(n,) float32: the recording at ``rate`` samples a second, filtered where it has another."""
    if audio.rate == rate:
        return audio.samples.astype(np.float32, copy=False)
    from scipy.signal import resample_poly

    common = gcd(audio.rate, rate)
    resampled: np.ndarray = resample_poly(audio.samples, rate // common, audio.rate // common)
    return resampled.astype(np.float32)


def moments(durations: Sequence[float], tokens: int, step_s: float) -> Origins:
    """Token t is of the ``step_s`` seconds from ``t * step_s`` on; those past the end have none.

    ``durations`` are in seconds. What a token's features are computed from overlaps its neighbours.
    """
    edges = np.arange(tokens + 1) * step_s
    spans = np.full((len(durations), tokens, 2), np.nan, dtype=np.float32)
    for row, duration in enumerate(durations):
        there = edges[:-1] < duration
        spans[row, there, 0] = edges[:-1][there]
        spans[row, there, 1] = np.minimum(edges[1:], duration)[there]
    return Origins("time", spans)
