"""The one table of measures: everything that is said of a measure, once.

Part names and keys of the store, what ``fusionscope measure`` computes, labels, scales and choices
of pages, the state in the URL, and the property tests derive from :data:`MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from math import inf, sqrt
from types import MappingProxyType
from typing import Any, Literal

from backend.errors import InputError
from backend.measures.chance.seeds import Bounds
from backend.measures.core.result import MatrixResult, Result

Kind = Literal["pairwise", "single"]
Places = Literal["all", "across"]
Arguments = Mapping[str, Any]
Invariance = Literal["permutation", "shift", "scale", "orthogonal", "invertible"]

PRESETS = ("default", "thesis")

DIRECTIONS: frozenset[Invariance] = frozenset({"permutation", "scale"})

SIMILARITY: frozenset[Invariance] = frozenset({"permutation", "shift", "scale", "orthogonal"})


@dataclass(frozen=True)
class Use:
    """How a preset computes a measure.

    ``arguments`` are the keyword arguments that are passed, and the key of what is stored: with
    others it is another file. No more than ``max_samples`` are looked at, evenly spaced.
    ``together`` is ``"module:function"`` of :mod:`backend.measures.suite` where the measures of a
    part come from one pass: a function of :class:`~backend.measures.suite.layers.Layers` and the
    arguments of each that gives the rows of all of them; else every measure is called by itself.
    With ``drivers`` the samples that drive its cells are kept, too, with ``probes`` the probes that
    it fits.
    """

    arguments: Arguments = field(default_factory=dict)
    max_samples: int | None = None
    together: str = ""
    drivers: bool = False
    probes: bool = False


@dataclass(frozen=True)
class Measure:
    """A measure of one representation (``single``) or two (``pairwise``).

    ``function`` is ``"module:name"`` in :mod:`backend.measures.families`, imported on first use;
    empty where a value exists only as one of several from one pass. With ``matrix`` there is
    ``name_matrix`` beside it, for all pairs of a list of layers; with ``of_spectrum`` there is
    ``name_of``, which needs a layer's spectrum only and so works without its vectors.

    For people: ``label`` names it, ``meaning`` is the sentence beside a figure, ``axis`` the words
    on an axis. ``range`` are the exact bounds (None: depends on n and d). ``invariances`` are the
    maps of a representation that leave the value as it is; for a pairwise measure of each side on
    its own, except the permutation of rows, which must be common. A measure of more than one of the
    ``estimators`` takes the one wanted as ``estimator=``; the first is the default.

    Of a pairwise measure: ``symmetric`` says whether the order of the sides does not matter. Where
    it does both directions are stored, and ``direction`` words the one from {a} to {b}.
    ``similarity`` says whether alike means 1 (True) or, as for a distance, 0 (False);
    ``exact_on_itself`` whether a layer with itself is just that, or, as under a penalty, near it;
    ``equal_widths`` whether both sides must have the same d, and ``exceeds_widths`` whether it is
    defined only for more samples than d_x + d_y (or ranks that low). ``min_samples`` is the least n
    (:meth:`least_samples`).

    ``presets`` say how it is computed where, ``part`` in which file of the store it is kept
    (default: one of its own) and ``cost`` about how long that takes, for the progress bar.
    A measure with ``shared_space`` is undefined between two spaces that the model does not bring
    together (:func:`backend.measures.suite.pairs.in_shared_space`).
    ``places``: at all layers and pairs of layers, or only at those of two streams (``"across"``).
    A ``labelled`` measure needs the samples' labels; a ``grouped`` one takes ``groups=``, which
    samples belong together. tests/measures derives the property tests from
    all of these.
    """

    name: str
    label: str
    kind: Kind
    function: str
    range: tuple[float | None, float | None]
    invariances: frozenset[Invariance]
    source: str
    meaning: str
    presets: Mapping[str, Use]
    part: str = ""
    axis: str = ""
    estimators: tuple[str, ...] = ("sample",)
    symmetric: bool = True
    direction: str = ""
    similarity: bool = True
    exact_on_itself: bool = True
    min_samples: int = 2
    equal_widths: bool = False
    exceeds_widths: bool = False
    places: Places = "all"
    shared_space: bool = False
    labelled: bool = False
    grouped: bool = False
    matrix: bool = False
    of_spectrum: bool = False
    cost: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "part", self.part or self.name)
        object.__setattr__(self, "axis", self.axis or self.label)

    @property
    def on_itself(self) -> float:
        """Value of a pairwise measure between a representation and itself."""
        return 1.0 if self.similarity else 0.0

    def bounds(self, estimator: str = "") -> Bounds:
        """What intervals of a mean over seeds keep to: ``range``.

        Of a measure with a biased and a debiased estimator 0..1; single debiased values may lie
        below 0, and their expectation does not.
        """
        if "debiased" in self.estimators:
            return Bounds(0.0, 1.0, soft=estimator != "biased")
        low, high = self.range
        return Bounds(-inf if low is None else low, inf if high is None else high)

    @property
    def arguments(self) -> Arguments:
        """What the default preset passes."""
        return self.presets["default"].arguments

    def least_samples(self, arguments: Arguments) -> int:
        """The least n with these arguments: ``k`` neighbours, say, take k others."""
        neighbours: int = arguments.get("k", 0)
        return max(self.min_samples, neighbours + 1)

    def of(self, *sides: object, **arguments: Any) -> Result:
        """The measure of one (n, d) array or two, under its own name."""
        result: Result = self._named("")(*sides, **arguments)
        return replace(result, measure=self.name)

    def of_all(
        self, layers: list[Any], *, labels: list[str], **arguments: Any
    ) -> MatrixResult | None:
        """The measure of every layer with every other; None where it has no such form."""
        if not self.matrix:
            return None
        result: MatrixResult = self._named("_matrix")(layers, labels=labels, **arguments)
        return replace(result, measure=self.name)

    @property
    def from_spectrum(self) -> Callable[..., Result]:
        """``name_of(layer, spectrum, name, **arguments)``, of a measure with ``of_spectrum``."""
        return self._named("_of")

    def _named(self, ending: str) -> Callable[..., Any]:
        module, name = self.function.split(":")
        home = import_module(f"{__package__}.families.{module}")
        function: Callable[..., Any] = getattr(home, name + ending)
        return function


_MEMORY = 2_048  # all n² pairs of samples of 50 layers fit into a few GB
_KNN = {"default": Use({"k": 10, "metric": "euclidean"})}
# Kept once a pair of layers: its estimator names the direction.
_RECALLS = {"default": Use({"ks": (1, 5, 10), "seed": 0}, together="retrieval_rows:recall_rows")}
_PROBES = {
    "default": Use(
        {"folds": 5, "penalty": 0.03, "seed": 0}, _MEMORY, "layer_probes:probe_rows", probes=True
    )
}
_SPECTRUM = {preset: Use(together="dimensions:dimension_rows") for preset in PRESETS}
_EFFECTIVE = {
    preset: Use({"threshold": 0.95}, together="dimensions:dimension_rows") for preset in PRESETS
}
_GAP = {"default": Use()}

# fmt: off
MEASURES: Mapping[str, Measure] = MappingProxyType({m.name: m for m in (
    Measure("cka", "CKA", "pairwise", "kernel:cka", (None, 1.0), SIMILARITY, "Kornblith et al. 2019; Nguyen et al. 2021", "Linear CKA: do the samples lie in the same geometry, up to rotation and scale? 1 means the same geometry, unrelated layers are near 0.", {"default": Use({"resamples": 1000}, together="linear_cka:cka_rows", drivers=True), "thesis": Use({"kernel": "linear", "estimator": "biased"})}, estimators=("debiased", "biased"), min_samples=4, grouped=True, matrix=True, cost=4),  # noqa: E501
    Measure("cka_rbf", "CKA (RBF)", "pairwise", "kernel:cka", (None, 1.0), SIMILARITY, "Kornblith et al. 2019", "CKA with a Gaussian kernel: close neighbours count more than far ones.", {"default": Use({"kernel": "rbf", "bandwidth": 1.0}, _MEMORY)}, "rbf", estimators=("debiased", "biased"), min_samples=4, grouped=True, matrix=True, cost=2),  # noqa: E501
    Measure("procrustes", "Procrustes distance", "pairwise", "shape:procrustes", (0.0, sqrt(2)), SIMILARITY, "Schönemann 1966; Ding et al. 2021", "What is left after the best rotation and scale: 0 is the same shape, √2 nothing in common. Bright is alike.", {"default": Use({"normalise": True, "centre": True}), "thesis": Use({"normalise": False, "centre": False})}, "shape", similarity=False, matrix=True, cost=4),  # noqa: E501
    Measure("svcca", "SVCCA", "pairwise", "cca:svcca", (0.0, 1.0), SIMILARITY, "Raghu et al. 2017", "Mean correlation of the principal subspaces (99 % of the variance); every direction counts the same, however small. By chance it grows with dimensions per sample.", {"default": Use({"variance": 0.99}), "thesis": Use({"rank": 10})}, "cca", exceeds_widths=True, matrix=True, cost=6),  # noqa: E501
    Measure("pwcca", "PWCCA", "pairwise", "cca:pwcca", (0.0, 1.0), SIMILARITY - {"orthogonal"}, "Morcos et al. 2018", "Canonical correlations weighted by how much of the first layer they explain.", {"default": Use()}, "cca", symmetric=False, direction="weighted by {a}, with {b}", exceeds_widths=True, matrix=True),  # noqa: E501
    Measure("mean_cca", "Mean CCA", "pairwise", "cca:mean_cca", (0.0, 1.0), SIMILARITY | {"invertible"}, "Hotelling 1936; Raghu et al. 2017", "Mean canonical correlation of the whole layers; any invertible map leaves it as it is.", {"default": Use()}, "cca", exceeds_widths=True, matrix=True),  # noqa: E501
    Measure("linear_predictivity", "Linear predictivity R²", "pairwise", "predictivity:linear_predictivity", (None, 1.0), SIMILARITY - {"permutation"}, "Yamins et al. 2014; Kornblith et al. 2019", "How much of one layer's variance a linear map of the other predicts on held-out samples: 1 is all of it, 0 no more than the mean does, below 0 less than that.", {"default": Use({"folds": 5, "penalty": 0.1, "seed": 0}, 1_024)}, symmetric=False, direction="{a} predicts {b}", exact_on_itself=False, min_samples=10, grouped=True, matrix=True, cost=2),  # noqa: E501
    Measure("mutual_knn", "Mutual kNN", "pairwise", "neighbours:mutual_knn", (0.0, 1.0), SIMILARITY, "Huh et al. 2024", "Share of a sample's ten nearest neighbours that both layers agree on.", _KNN | {"thesis": Use({"k": 32, "metric": "euclidean"})}, "neighbours", grouped=True, matrix=True, cost=2),  # noqa: E501
    Measure("jaccard_knn", "Jaccard of kNN", "pairwise", "neighbours:jaccard_knn", (0.0, 1.0), SIMILARITY, "Jaccard 1901", "Neighbours that both layers agree on, out of all that either names.", _KNN, "neighbours", grouped=True, matrix=True),  # noqa: E501
    Measure("cknna", "CKNNA", "pairwise", "neighbours:cknna", (-1.0, 1.0), SIMILARITY, "Huh et al. 2024", "CKA that looks at mutual nearest neighbours only.", {"default": Use({"k": 10})}, "neighbours", grouped=True, matrix=True),  # noqa: E501
    Measure("rsa", "RSA", "pairwise", "rsa:rsa", (-1.0, 1.0), SIMILARITY, "Kriegeskorte et al. 2008", "Rank correlation of the two layers' sample-to-sample distances. 1 means the same order, unrelated layers are near 0.", {"default": Use({"comparison": "spearman", "distance": "euclidean"}, _MEMORY)}, min_samples=3, grouped=True, matrix=True, cost=2),  # noqa: E501
    Measure("modality_gap", "Modality gap", "pairwise", "gap:modality_gap", (0.0, 2.0), DIRECTIONS, "Liang et al. 2022", "Distance of the two clouds' centres on the unit sphere, in a space that both share.", _GAP, "gap", similarity=False, equal_widths=True, places="across", shared_space=True),  # noqa: E501
    Measure("alignment", "Alignment", "pairwise", "gap:alignment", (0.0, 4.0), DIRECTIONS, "Wang & Isola 2020", "Mean squared distance of true pairs on the unit sphere, in a space that both share: 0 is aligned.", _GAP, "gap", similarity=False, equal_widths=True, places="across", shared_space=True),  # noqa: E501
    *(Measure(f"recall_at_{k}", f"recall at {k}", "pairwise", "", (0.0, 1.0), SIMILARITY - {"permutation"}, "Hodosh et al. 2013", f"How often a sample's own partner is among the {k} nearest.", _RECALLS, "retrieval", places="across", cost=2) for k in (1, 5, 10)),  # noqa: E501
    Measure("effective_dimension", "Effective dimension", "single", "dimension:effective_dimension", (1.0, None), SIMILARITY, "Jolliffe 2002", "Principal components that hold 95 % of the variance.", _EFFECTIVE, "dimension", "components for 95 %", of_spectrum=True),  # noqa: E501
    Measure("participation_ratio", "Participation ratio", "single", "dimension:participation_ratio", (1.0, None), SIMILARITY, "Gao et al. 2017", "How evenly the variance is spread: 1 if one direction holds all of it, d if all share it.", _SPECTRUM, "dimension", "participation ratio", of_spectrum=True),  # noqa: E501
    Measure("effective_rank", "Effective rank", "single", "dimension:effective_rank", (1.0, None), SIMILARITY, "Roy & Vetterli 2007", "The exponential of the entropy of the singular values: small directions count as well.", _SPECTRUM, "dimension", "effective rank", of_spectrum=True),  # noqa: E501
    Measure("stable_rank", "Stable rank", "single", "dimension:stable_rank", (1.0, None), SIMILARITY, "Rudelson & Vershynin 2007", "The total variance over that of the largest direction.", _SPECTRUM, "dimension", "stable rank", of_spectrum=True),  # noqa: E501
    Measure("two_nn", "Intrinsic dimension", "single", "intrinsic:two_nn", (0.0, None), SIMILARITY, "Facco et al. 2017", "TwoNN: from the distances to a sample's two nearest neighbours; sees curved sheets, too.", {"default": Use({"discard": 0.1})}, "dimension", "intrinsic dimension (TwoNN)", min_samples=4),  # noqa: E501
    Measure("uniformity", "Uniformity", "single", "gap:uniformity", (-8.0, 0.0), DIRECTIONS | {"orthogonal"}, "Wang & Isola 2020", "How evenly the directions cover the sphere: 0 if all are the same, about -4 if they are spread over many dimensions.", _GAP, "gap", "uniformity", places="across"),  # noqa: E501
    Measure("linear_probe", "Linear probe", "single", "probes:linear_probe", (0.0, 1.0), frozenset({"shift"}), "Alain & Bengio 2017", "How well a linear classifier reads the labels off a layer's vectors.", _PROBES, "probes", labelled=True, grouped=True, estimators=("cross-validated",), cost=6),  # noqa: E501
)})
# fmt: on


def measure(name: str) -> Measure:
    """The measure of that name; InputError listing the names there are."""
    if name not in MEASURES:
        raise InputError(
            f"unknown measure {name!r}", hint=f"Choose one of {', '.join(sorted(MEASURES))}."
        )
    return MEASURES[name]


def one_layer() -> dict[str, Measure]:
    """What is shown of single layers, in the order of pages: not what takes labels."""
    return {n: m for n, m in MEASURES.items() if m.kind == "single" and not m.labelled}


def compared_ends() -> dict[str, Measure]:
    """{name: measure} of two streams in a space that they share: gap, alignment of pairs."""
    return {
        name: one
        for name, one in MEASURES.items()
        if one.places == "across" and one.part == "gap" and one.kind != "single"
    }


def two_layers() -> dict[str, Measure]:
    """What is shown of any two layers, in the order of pages."""
    return {n: m for n, m in MEASURES.items() if m.kind == "pairwise" and m.places == "all"}
