"""How each measure of two layers is worded and scaled wherever it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from backend.figures.theme import DIFFERENCE_SCALE, SIMILARITY_SCALE


@dataclass(frozen=True)
class Scale:
    """One measure of two layers: its name, its fixed range, and which end means alike.

    The range is fixed so that two figures can be compared; ``alike`` is the end at which the two
    layers are the same. ``diverging`` marks the scale of a difference, centred on 0.
    """

    measure: str
    label: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    alike_is_high: bool = True
    diverging: bool = False

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
        return [0, 0.25, 0.5, 0.75, 1, 1.25][: 5 + (self.high > 1)]


_CHANCE_NEAR_0 = "1 means the same geometry, unrelated layers are near 0."

SCALES: dict[str, Scale] = {
    one.measure: one
    for one in (
        Scale(
            "cka",
            "CKA",
            "Linear CKA: do the samples lie in the same geometry, up to rotation and scale? "
            + _CHANCE_NEAR_0,
        ),
        Scale(
            "cka_rbf",
            "CKA (RBF)",
            "CKA with a Gaussian kernel: as CKA, but close neighbours count more than far ones. "
            + _CHANCE_NEAR_0,
        ),
        Scale(
            "svcca",
            "SVCCA",
            "Mean correlation of the principal subspaces (99 % of the variance); every direction "
            "counts the same, however small. By chance it grows with dimensions per sample.",
        ),
        Scale(
            "pwcca",
            "PWCCA",
            "Canonical correlations weighted by how much of the first layer they explain.",
        ),
        Scale(
            "mean_cca",
            "mean CCA",
            "Mean canonical correlation of the whole layers; any invertible map leaves it as it "
            "is.",
        ),
        Scale(
            "procrustes",
            "Procrustes distance",
            "What is left after the best rotation and scale: 0 is the same shape, √2 nothing in "
            "common. Bright is alike.",
            0.0,
            math.sqrt(2.0),
            alike_is_high=False,
        ),
        Scale(
            "mutual_knn",
            "mutual kNN",
            "Share of a sample's ten nearest neighbours that both layers agree on.",
        ),
        Scale(
            "jaccard_knn",
            "Jaccard kNN",
            "Neighbours that both layers agree on, out of all that either names.",
        ),
        Scale("cknna", "CKNNA", "CKA that looks at mutual nearest neighbours only."),
        Scale(
            "rsa",
            "RSA",
            "Rank correlation of the two layers' sample-to-sample distances. " + _CHANCE_NEAR_0,
        ),
        *(
            Scale(
                f"recall_at_{k}",
                f"recall at {k}",
                f"How often a sample's own partner is among the {k} nearest.",
            )
            for k in (1, 5, 10)
        ),
    )
}


def difference_scale(scale: Scale, span: float) -> Scale:
    """The scale of a measure's difference between two runs: -span to span, white at 0."""
    label = f"{scale.label} difference"
    return replace(scale, label=label, low=-span, high=span, diverging=True)


def scale_of(measure: str) -> Scale:
    """The scale of a measure; one that is not known here gets its own name and 0 to 1."""
    return SCALES.get(measure) or Scale(measure, measure.replace("_", " "), "")


ESTIMATOR_NAMES = {
    "debiased": "debiased",
    "biased": "biased",
    "image_to_text": "image to text",
    "text_to_image": "text to image",
}
