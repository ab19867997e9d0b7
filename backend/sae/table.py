"""The words of reading layers through autoencoders, and the form of its rows; no model is run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from backend.measures.chance.ratios import Ratio
from backend.types import BLOCK

Tokens = Literal["text alone", "image", "text after image"]
TOKENS: tuple[Tokens, ...] = get_args(Tokens)

Control = Literal["", "random adapter", "shuffled captions", "another layer's"]
CONTROLS: tuple[Control, ...] = get_args(Control)
"""``""`` is no control: the trained model, its own captions, the layer's own autoencoder."""

ALL, REST = "all", "without the top one"
"""Coordinates that count. The top one is that with the largest mean size in text alone: a few
coordinates of language models are so large that they are most of every error."""

MSE, FVU, COSINE, L0, L0_SHARE, DEAD = "mse", "fvu", "cosine", "l0", "l0_share", "dead"
RISE, RECOVERED, OVERLAP, MATCH = "loss_rise", "loss_recovered", "overlap", "match_rate"
GAIN_OF = {OVERLAP: "overlap_gain", MATCH: "match_gain"}
CONVERGENCE = "convergence_layer"


@dataclass(frozen=True)
class Reading:
    """One value at one layer, of n samples, with its 95 % interval over samples in their groups.

    ``mse``: mean squared error of a number; ``fvu``: error over squared distance from the mean of
    these very tokens; ``cosine`` of a token with its reconstruction; ``l0``: features on in a
    token, ``l0_share`` of all there are; ``dead``: the share that is on in none of as many of these
    tokens as the kind with the fewest has (its expected value, without an interval).
    ``loss_rise`` (nats a word) and ``loss_recovered`` where these tokens are rebuilt: see
    :class:`backend.sae.splicing.Spliced`. ``overlap``: features on in a sample's tokens and in its
    caption alone, over those on in either (Jaccard). ``match_rate``: of a sample's strongest
    features, the share that belongs to its caption: described by one of its words where there is a
    description, else on in the caption alone (of text alone only described ones count, since all
    others do). ``overlap_gain`` and ``match_gain``: those less the same with another sample's
    caption, sample by sample. ``convergence_layer``, a row of the last layer read:
    see :func:`backend.sae.convergence.converged`. ``value`` is NaN with a ``reason``.
    """

    stream: str
    layer: int
    site: str
    tokens: Tokens
    control: Control
    coordinates: str
    measure: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    reason: str = ""


@dataclass(frozen=True)
class Options:
    """How layers are read: ``samples`` of the run, ``loss_samples`` of them with spliced layers.

    ``top`` features of a sample are matched with its caption.
    """

    samples: int = 128
    loss_samples: int = 32
    top: int = 10
    batch_size: int = 16
    seed: int = 0
    device: str = "auto"


def layers_between(low: float, high: float) -> str:
    """`` (95 % interval 10 to 14)`` of a layer, to be put behind it.

    An infinite end is "not reached"; nothing where both are, or where there is no interval.
    """
    if not (math.isfinite(low) or math.isfinite(high)):
        return ""
    ends = " to ".join("not reached" if math.isinf(end) else f"{end:.0f}" for end in (low, high))
    return f" (95 % interval {ends})"


STREAM_OF: dict[Tokens, str] = {
    "text alone": "text",
    "image": "image",
    "text after image": "text",
}
Key = tuple[int, Tokens, Control]
"""Layer, tokens and control."""


def reading_of(
    key: Key, measure: str, made: Ratio, n: int, coordinates: str = ALL, reason: str = ""
) -> Reading:
    """A measured ratio as a row."""
    layer, tokens, control = key
    return Reading(
        *(STREAM_OF[tokens], layer, BLOCK),
        tokens,
        control,
        coordinates,
        measure,
        *made[:3],
        n,
        reason,
    )
