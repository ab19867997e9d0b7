"""Features of an image beside those of its caption, and beside those of another's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from backend.data.sample import Sample
from backend.interventions.partners import derangement
from backend.measures.chance.ratios import ratio
from backend.sae.gathering import Gathered
from backend.sae.table import (
    ALL,
    MATCH,
    OVERLAP,
    Control,
    Key,
    Options,
    Reading,
    Tokens,
    reading_of,
)

_LEAST_LETTERS = 4

Descriptions = Mapping[int, Mapping[int, str]]
"""{layer: {feature: what it stands for}}"""


class Matching:
    """Features of an image beside those of its caption, and beside those of another's."""

    def __init__(
        self,
        samples: Sequence[Sample],
        groups: np.ndarray | None,
        gathered: Mapping[Key, Gathered],
        descriptions: Descriptions,
        options: Options,
    ) -> None:
        self.groups, self.gathered, self.options = groups, gathered, options
        self.descriptions = {
            layer: {feature: _words(text) for feature, text in own.items()}
            for layer, own in descriptions.items()
        }
        self.captions = [_words(sample.text) for sample in samples]
        names = None if groups is None else groups.tolist()
        self.partners = derangement(len(samples), options.seed, names)

    def rows(self, layer: int, tokens: Tokens, control: Control) -> list[Reading]:
        """Overlap and match rate; of the trained model also with captions of other samples."""
        kinds: list[tuple[Control, np.ndarray]] = [(control, np.arange(len(self.captions)))]
        if not control:
            kinds.append(("shuffled captions", self.partners))
        rows = []
        for name, whose in kinds:
            for measure, values in (
                (OVERLAP, self._overlaps(layer, tokens, control, whose)),
                (MATCH, self._matches(layer, tokens, control, whose)),
            ):
                defined = ~np.isnan(values)
                groups = None if self.groups is None else self.groups[defined]
                made = ratio(values[defined], np.ones(int(defined.sum())), groups)
                reason = "" if defined.any() else "no feature is on"
                key: Key = (layer, tokens, name)
                rows.append(reading_of(key, measure, made, int(defined.sum()), ALL, reason))
        return rows

    def _overlaps(
        self, layer: int, tokens: Tokens, control: Control, whose: np.ndarray
    ) -> np.ndarray:
        own, captions = self.gathered[layer, tokens, control], self._captions(layer)
        return np.array(
            [_jaccard(own.on(at), captions.on(other)) for at, other in enumerate(whose)]
        )

    def _matches(
        self, layer: int, tokens: Tokens, control: Control, whose: np.ndarray
    ) -> np.ndarray:
        own, captions = self.gathered[layer, tokens, control], self._captions(layer)
        described = self.descriptions.get(layer, {})
        rates = []
        for at, other in enumerate(whose.tolist()):
            theirs = captions.on(other)
            hits = [
                bool(described[feature] & self.captions[other])
                if described.get(feature)
                else bool(theirs[feature])
                for feature in own.strongest[at].tolist()
            ]
            rates.append(float(np.mean(hits)) if hits else float("nan"))
        return np.array(rates)

    def _captions(self, layer: int) -> Gathered:
        return self.gathered[layer, "text alone", ""]


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    either = int((a | b).sum())
    return float((a & b).sum()) / either if either else float("nan")


def _words(text: str) -> frozenset[str]:
    """Words that say something: of four letters or more, without case."""
    return frozenset(
        word for word in re.findall(r"\w+", text.casefold()) if len(word) >= _LEAST_LETTERS
    )
