"""Every measure on one line: what pages, the command line and the property tests need to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import sqrt
from typing import Any, Literal

from backend.errors import InputError

Kind = Literal["pairwise", "single"]
Invariance = Literal["permutation", "shift", "scale", "orthogonal", "invertible"]

DIRECTIONS: frozenset[Invariance] = frozenset({"permutation", "scale"})

SIMILARITY: frozenset[Invariance] = frozenset({"permutation", "shift", "scale", "orthogonal"})


@dataclass(frozen=True)
class Measure:
    """A measure of one representation (``single``) or two (``pairwise``).

    ``function`` is ``"module:name"`` inside this package and is imported on first use.
    ``range`` are the exact bounds (None: depends on n and d). ``invariances`` are the maps of a
    representation that leave the value as it is; for a pairwise measure of each side on its own,
    except the permutation of rows, which must be common. A measure of more than one of the
    ``estimators`` takes the one wanted as ``estimator=``; the first is the default.

    Of a pairwise measure: ``symmetric`` says whether the order of the sides does not matter,
    ``similarity`` whether alike means 1 (True) or, as for a distance, 0 (False), ``equal_widths``
    whether both sides must have the same d, and ``exceeds_widths`` whether it is defined only for
    more samples than d_x + d_y (or ranks that low). ``min_samples`` is the least n at the default
    arguments, ``meaning`` a sentence for people who read a figure. tests/measures derives the
    property tests from all of these.
    """

    name: str
    label: str
    kind: Kind
    function: str
    range: tuple[float | None, float | None]
    invariances: frozenset[Invariance]
    estimators: tuple[str, ...]
    source: str
    symmetric: bool = True
    similarity: bool = True
    meaning: str = ""
    min_samples: int = 2
    equal_widths: bool = False
    exceeds_widths: bool = False

    @property
    def on_itself(self) -> float:
        """Value of a pairwise measure between a representation and itself."""
        return 1.0 if self.similarity else 0.0

    @property
    def call(self) -> Callable[..., Any]:
        """The function itself."""
        module, name = self.function.split(":")
        function: Callable[..., Any] = getattr(
            import_module(f"backend.measures.families.{module}"), name
        )
        return function


# fmt: off
MEASURES: dict[str, Measure] = {m.name: m for m in (
    Measure("cka", "CKA", "pairwise", "kernel:cka", (None, 1.0), SIMILARITY, ("debiased", "biased"), "Kornblith et al. 2019; Nguyen et al. 2021", min_samples=4, meaning="Linear CKA: do the samples lie in the same geometry, up to rotation and scale? 1 means the same geometry, unrelated layers are near 0."),  # noqa: E501
    Measure("procrustes", "Procrustes distance", "pairwise", "shape:procrustes", (0.0, sqrt(2)), SIMILARITY, ("sample",), "Schönemann 1966; Ding et al. 2021", similarity=False, meaning="What is left after the best rotation and scale: 0 is the same shape, √2 nothing in common. Bright is alike."),  # noqa: E501
    Measure("svcca", "SVCCA", "pairwise", "cca:svcca", (0.0, 1.0), SIMILARITY, ("sample",), "Raghu et al. 2017", exceeds_widths=True, meaning="Mean correlation of the principal subspaces (99 % of the variance); every direction counts the same, however small. By chance it grows with dimensions per sample."),  # noqa: E501
    Measure("pwcca", "PWCCA", "pairwise", "cca:pwcca", (0.0, 1.0), SIMILARITY - {"orthogonal"}, ("sample",), "Morcos et al. 2018", symmetric=False, exceeds_widths=True, meaning="Canonical correlations weighted by how much of the first layer they explain."),  # noqa: E501
    Measure("mean_cca", "Mean CCA", "pairwise", "cca:mean_cca", (0.0, 1.0), SIMILARITY | {"invertible"}, ("sample",), "Hotelling 1936; Raghu et al. 2017", exceeds_widths=True, meaning="Mean canonical correlation of the whole layers; any invertible map leaves it as it is."),  # noqa: E501
    Measure("mutual_knn", "Mutual kNN", "pairwise", "neighbours:mutual_knn", (0.0, 1.0), SIMILARITY, ("sample",), "Huh et al. 2024", min_samples=11, meaning="Share of a sample's ten nearest neighbours that both layers agree on."),  # noqa: E501
    Measure("jaccard_knn", "Jaccard of kNN", "pairwise", "neighbours:jaccard_knn", (0.0, 1.0), SIMILARITY, ("sample",), "Jaccard 1901", min_samples=11, meaning="Neighbours that both layers agree on, out of all that either names."),  # noqa: E501
    Measure("cknna", "CKNNA", "pairwise", "neighbours:cknna", (-1.0, 1.0), SIMILARITY, ("sample",), "Huh et al. 2024", min_samples=11, meaning="CKA that looks at mutual nearest neighbours only."),  # noqa: E501
    Measure("rsa", "RSA", "pairwise", "rsa:rsa", (-1.0, 1.0), SIMILARITY, ("sample",), "Kriegeskorte et al. 2008", min_samples=3, meaning="Rank correlation of the two layers' sample-to-sample distances. 1 means the same order, unrelated layers are near 0."),  # noqa: E501
    Measure("modality_gap", "Modality gap", "pairwise", "gap:modality_gap", (0.0, 2.0), DIRECTIONS, ("sample",), "Liang et al. 2022", similarity=False, equal_widths=True),  # noqa: E501
    Measure("alignment", "Alignment", "pairwise", "gap:alignment", (0.0, 4.0), DIRECTIONS, ("sample",), "Wang & Isola 2020", similarity=False, equal_widths=True),  # noqa: E501
    Measure("effective_dimension", "Effective dimension", "single", "dimension:effective_dimension", (1.0, None), SIMILARITY, ("sample",), "Jolliffe 2002"),  # noqa: E501
    Measure("participation_ratio", "Participation ratio", "single", "dimension:participation_ratio", (1.0, None), SIMILARITY, ("sample",), "Gao et al. 2017"),  # noqa: E501
    Measure("effective_rank", "Effective rank", "single", "dimension:effective_rank", (1.0, None), SIMILARITY, ("sample",), "Roy & Vetterli 2007"),  # noqa: E501
    Measure("stable_rank", "Stable rank", "single", "dimension:stable_rank", (1.0, None), SIMILARITY, ("sample",), "Rudelson & Vershynin 2007"),  # noqa: E501
    Measure("two_nn", "Intrinsic dimension (TwoNN)", "single", "intrinsic:two_nn", (0.0, None), SIMILARITY, ("sample",), "Facco et al. 2017", min_samples=4),  # noqa: E501
    Measure("uniformity", "Uniformity", "single", "gap:uniformity", (-8.0, 0.0), DIRECTIONS | {"orthogonal"}, ("sample",), "Wang & Isola 2020"),  # noqa: E501
)}
# fmt: on


def measure(name: str) -> Measure:
    """The measure of that name; InputError listing the names there are."""
    if name not in MEASURES:
        raise InputError(
            f"unknown measure {name!r}", hint=f"Choose one of {', '.join(sorted(MEASURES))}."
        )
    return MEASURES[name]
