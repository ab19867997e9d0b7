"""The words of the causal test and the form of its table; nothing here runs a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Partner = Literal["true", "shuffled", "constant"]
PARTNERS: tuple[Partner, ...] = get_args(Partner)

Weights = Literal["trained", "untrained", "fresh fusion"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
"""``untrained``: before the first step. ``fresh fusion``: trained encoders, fusion before it."""

ENTRY, BLOCK, WHOLE, END = "k-1 to k.fusion", "k.fusion to k", "k-1 to k", "last layers"
"""The transitions: a fusion's two halves, a layer as a whole, and the two streams at their ends."""

CKA, DIMENSION, ALIGNMENT = "cka", "dimension_change", "alignment_cka"
SCORE = "score:"
"""What the measures of tasks begin with; the task's name follows."""


@dataclass(frozen=True)
class Effect:
    """One measured value of one stream under one partner.

    ``cka``: debiased linear CKA between the two ends of a transition, as everywhere.
    ``alignment_cka``: that of the streams' last layers (the same value in both).
    ``dimension_change``: the natural log of the effective dimension after the transition over that
    before. ``score:TASK``: the task's own metric, with the labels of the samples that the stream
    has. ``crossing`` marks layers at which a fusion lies. ``value`` is NaN with a ``reason``.
    """

    stream: str
    layer: int
    transition: str
    crossing: bool
    pooling: str
    measure: str
    estimator: str
    value: float
    n: int
    reason: str = ""


STATES = ("weights", "partner")
"""The columns that say in which state of a model, and with whose partners, a value was measured."""

COLUMNS = (
    *("run_id", "key", "dataset", "model", "placement", "seed"),
    *STATES,
    *Effect.__dataclass_fields__,
    "params",
)
"""A row a run, weights, partner, stream, layer, transition and measure.

The columns of a store's kind ``interventions``, with what is known of the run. ``params`` is JSON:
what the row was made from; runs of one ``key`` were asked on the same samples in the same way.
"""
