"""What hiding each part of a pair does to the output, and whether attention says the same.

Occlusion of the picture as in Zeiler & Fergus 2014, words left out as in Li et al. 2016 (erasure):
:mod:`backend.inference.occlusion` runs them. Beside an attention map the rank correlation of the
two says how far attention explains the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.stats import spearmanr

from backend.inference.cache import Recall, content_key
from backend.inference.requests import Work
from backend.inference.values import Floats, Trace
from backend.types import LayerRef, Pooling

if TYPE_CHECKING:
    from backend.data.sample import Sample
    from backend.models.adapter import Adapter

Part = Literal["patches", "words"]
"""What is hidden, one after another."""
Fill = Literal["grey", "blur"]
"""What is seen in place of a patch."""

BATCH = 32
"""Pairs that run at once."""
LEAST_REGIONS = 3
"""Fewer have no rank correlation worth the name."""


@dataclass(frozen=True)
class ClassProbability:
    """The output that is watched: the probability of a class of a task."""

    task: str
    label: str


@dataclass(frozen=True)
class VectorShift:
    """What is watched where there is no task: a vector, by the size of its move over its norm."""

    ref: LayerRef
    pooling: Pooling


Target = ClassProbability | VectorShift


@dataclass(frozen=True, eq=False)
class Effects:
    """How much the output moves when each of R parts of a pair is hidden.

    ``regions`` (R, 4) are left, top, right, bottom in pixels of the picture, or (R, 2) start and
    end in characters of the caption. ``values`` (R,): of a :class:`ClassProbability` what hiding
    takes from it (negative: it rises), in -1..1; of a :class:`VectorShift` ||hidden - whole|| /
    ||whole||, NaN where that is undefined. ``shares`` (R, T) is which share of each token of
    ``stream`` lies in each region. ``whole`` is the probability without anything hidden, NaN for a
    vector. ``words`` are what left-out characters read, one a region; empty for a picture.
    """

    target: Target
    stream: str
    regions: Floats
    values: Floats
    shares: Floats
    whole: float
    words: tuple[str, ...] = ()

    def attention(self, weights: Floats) -> Floats:
        """(R,) of weights (T,) of the stream's tokens: what falls on each region."""
        summed: Floats = self.shares @ weights
        return summed


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation, -1..1, over ``n`` regions; NaN with a ``reason``."""

    value: float
    n: int
    reason: str = ""


def agreement(effects: Effects, weights: Floats) -> Agreement:
    """Whether the regions with more attention (``weights``, (T,)) are those with more effect.

    Effects count by their size, whichever way the output moves. Regions without a finite number on
    both sides are left out. Ties get their mean rank.
    """
    sizes, attention = np.abs(effects.values), effects.attention(weights)
    finite = np.isfinite(sizes) & np.isfinite(attention)
    sizes, attention, n = sizes[finite], attention[finite], int(finite.sum())
    if n < LEAST_REGIONS:
        return Agreement(float("nan"), n, f"{n} regions are too few: it takes {LEAST_REGIONS}")
    for name, side in (("effect", sizes), ("attention", attention)):
        if np.ptp(side) == 0:
            return Agreement(float("nan"), n, f"the {name} is the same in every region")
    return Agreement(float(spearmanr(sizes, attention).statistic), n)


def default_target(trace: Trace, modality: str) -> Target:
    """The likeliest class of the first task; without a task, the vector that says most.

    That is the last site of a stream that takes another one in, if there is any with a summary
    token and of another modality than the hidden one; where nothing meets, the last site of the
    hidden modality itself. Pooling is ``cls`` where there is one.
    """
    if trace.outputs:
        output = trace.outputs[0]
        return ClassProbability(output.task, output.classes[int(output.probabilities.argmax())])
    fused = [spec for spec in trace.streams if spec.fusion_layers]
    specs = fused or [spec for spec in trace.streams if spec.modality == modality]
    spec = max(
        specs or trace.streams,
        key=lambda spec: ("cls" in spec.poolings_of(spec.refs[-1]), spec.modality != modality),
    )
    poolings = spec.poolings_of(spec.refs[-1])
    return VectorShift(spec.refs[-1], "cls" if "cls" in poolings else "mean")


def hiding(trace: Trace, part: Part, fill: Fill = "grey") -> Work[Effects]:
    """Hide each patch or word of a pair, for the service; ``trace`` is that of the pair itself.

    The request has this one pair. InputError as of
    :func:`backend.inference.occlusion.patch_effects` and
    :func:`~backend.inference.occlusion.word_effects`.
    """

    def run(adapter: Adapter, samples: Sequence[Sample], recall: Recall) -> Effects:
        from backend.inference.occlusion import patch_effects, word_effects

        (sample,) = samples
        if part == "words":
            return word_effects(adapter, sample, trace)
        return patch_effects(adapter, sample, trace, fill=fill)

    return Work(content_key("hiding", part, fill), run, at_once=BATCH)
