"""How each measure of two layers is worded and scaled wherever it is drawn."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

from backend.figures.theme import DIFFERENCE_SCALE, SIMILARITY_SCALE
from backend.measures.registry import MEASURES, Measure


@dataclass(frozen=True)
class Scale:
    """One measure of two layers: its name, its fixed range, and which end means alike.

    The range is fixed so that two figures can be compared; where an estimate may lie below 0 the
    colours still start there. ``diverging`` marks the scale of a difference, centred on 0. Of a
    measure that is not ``symmetric`` the row (a, b) is the value from a to b, worded by
    :meth:`directed`.
    """

    measure: str
    label: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    alike_is_high: bool = True
    diverging: bool = False
    symmetric: bool = True
    direction: str = ""

    def directed(self, a: str, b: str) -> str:
        """``"layer k-1 predicts layer k"``: which side is which; empty for a symmetric measure."""
        return self.direction.format(a=a, b=b)

    @property
    def colours(self) -> str:
        """Plotly's name of the colour scale: bright is alike; white is no difference."""
        if self.diverging:
            return DIFFERENCE_SCALE
        return SIMILARITY_SCALE if self.alike_is_high else f"{SIMILARITY_SCALE}_r"

    @property
    def ticks(self) -> list[float]:
        """Where the colour bar is labelled."""
        if self.diverging:
            return [self.low, self.low / 2, 0.0, self.high / 2, self.high]
        step = 0.25 if self.high < 2 else self.high / 4
        return [step * at for at in range(1 + int(self.high / step))]


def _registered(one: Measure) -> Scale:
    high = one.range[1]
    return Scale(
        one.name,
        one.label,
        one.meaning,
        0.0,
        1.0 if high is None else high,
        one.similarity,
        symmetric=one.symmetric,
        direction=one.direction,
    )


SCALES: dict[str, Scale] = {
    name: _registered(one) for name, one in MEASURES.items() if one.kind == "pairwise"
}
"""Of every registered measure of two layers."""


def difference_scale(scale: Scale, span: float) -> Scale:
    """The scale of a measure's difference between two runs: -span to span, white at 0."""
    label = f"{scale.label} difference"
    return replace(scale, label=label, low=-span, high=span, diverging=True)


def scale_of(measure: str) -> Scale:
    """The scale of a measure; one that is not known here gets its own name and 0 to 1."""
    return SCALES.get(measure) or Scale(measure, measure.replace("_", " "), "")


def scale_for(measure: str, params: str, n: int) -> Scale:
    """The scale of stored rows: a measure's own, unless its parameters change its range.

    The Procrustes distance without normalisation, as the thesis has it, lies between 0 and the
    √(2n) of rows of norm 1 that have nothing in common.
    """
    scale = scale_of(measure)
    if measure == "procrustes" and not json.loads(params or "{}").get("normalise", True):
        return replace(
            scale,
            label="Procrustes distance, not normalised",
            meaning="What is left after the best rotation, without centring or scaling: 0 is the "
            f"same, √(2n) = {math.sqrt(2 * n):.1f} nothing in common. Bright is alike.",
            high=math.sqrt(2 * n),
        )
    return scale


ESTIMATOR_NAMES = {
    "debiased": "debiased",
    "biased": "biased",
}
