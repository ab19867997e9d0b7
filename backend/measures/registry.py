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
    ``similarity`` whether alike means 1 (True) or, as for a distance, 0 (False), and
    ``exceeds_widths`` whether it is defined only for more samples than d_x + d_y (or ranks that
    low). tests/measures derives the property tests from all of these.
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
    exceeds_widths: bool = False

    @property
    def on_itself(self) -> float:
        """Value of a pairwise measure between a representation and itself."""
        return 1.0 if self.similarity else 0.0

    @property
    def call(self) -> Callable[..., Any]:
        """The function itself."""
        module, name = self.function.split(":")
        function: Callable[..., Any] = getattr(import_module(f"backend.measures.{module}"), name)
        return function


# fmt: off
MEASURES: dict[str, Measure] = {m.name: m for m in (
    Measure("cka", "CKA", "pairwise", "kernel:cka", (None, 1.0), SIMILARITY, ("debiased", "biased"), "Kornblith et al. 2019; Nguyen et al. 2021"),  # noqa: E501
    Measure("procrustes", "Procrustes distance", "pairwise", "shape:procrustes", (0.0, sqrt(2)), SIMILARITY, ("sample",), "Schönemann 1966; Ding et al. 2021", similarity=False),  # noqa: E501
    Measure("svcca", "SVCCA", "pairwise", "cca:svcca", (0.0, 1.0), SIMILARITY, ("sample",), "Raghu et al. 2017", exceeds_widths=True),  # noqa: E501
    Measure("pwcca", "PWCCA", "pairwise", "cca:pwcca", (0.0, 1.0), SIMILARITY - {"orthogonal"}, ("sample",), "Morcos et al. 2018", symmetric=False, exceeds_widths=True),  # noqa: E501
    Measure("mean_cca", "Mean CCA", "pairwise", "cca:mean_cca", (0.0, 1.0), SIMILARITY | {"invertible"}, ("sample",), "Hotelling 1936; Raghu et al. 2017", exceeds_widths=True),  # noqa: E501
    Measure("effective_dimension", "Effective dimension", "single", "dimension:effective_dimension", (1.0, None), SIMILARITY, ("sample",), "Jolliffe 2002"),  # noqa: E501
    Measure("participation_ratio", "Participation ratio", "single", "dimension:participation_ratio", (1.0, None), SIMILARITY, ("sample",), "Gao et al. 2017"),  # noqa: E501
)}
# fmt: on


def measure(name: str) -> Measure:
    """The measure of that name; InputError listing the names there are."""
    if name not in MEASURES:
        raise InputError(
            f"unknown measure {name!r}", hint=f"Choose one of {', '.join(sorted(MEASURES))}."
        )
    return MEASURES[name]
