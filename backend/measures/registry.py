"""Every measure on one line: what pages, the command line and the property tests need to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
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
    except the permutation of rows, which must be common. tests/measures derives the property
    tests from them.
    """

    name: str
    label: str
    kind: Kind
    function: str
    range: tuple[float | None, float | None]
    invariances: frozenset[Invariance]
    estimators: tuple[str, ...]
    source: str

    @property
    def call(self) -> Callable[..., Any]:
        """The function itself."""
        module, name = self.function.split(":")
        function: Callable[..., Any] = getattr(import_module(f"backend.measures.{module}"), name)
        return function


# fmt: off
MEASURES: dict[str, Measure] = {m.name: m for m in (
    Measure("cka", "CKA", "pairwise", "kernel:cka", (None, 1.0), SIMILARITY, ("debiased", "biased"), "Kornblith et al. 2019; Nguyen et al. 2021"),  # noqa: E501
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
