"""Features of an image beside those of its caption, and beside those of another's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from backend.data.sample import Sample
from backend.interventions.partners import derangement
from backend.measures.chance.ratios import ratio
from backend.sae.gathering import Gathered
from backend.sae.table import (
    ALL,
    GAIN_OF,
    MATCH,
    OVERLAP,
    Control,
    Key,
    Options,
    Reading,
    Tokens,
    reading_of,
)

_LEAST_LETTERS = 3

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
        """Overlap and match rate; of the trained model also with captions of other samples.

        A caption's own features are all its own: text alone is matched by descriptions only.
        """
        asked = {OVERLAP: self._overlaps, MATCH: self._matches}
        if tokens == "text alone":
            asked = {MATCH: self._matches} if layer in self.descriptions else {}
        key: Key = (layer, tokens, control)
        rows = []
        for measure, of in asked.items():
            own = of(layer, tokens, control, np.arange(len(self.captions)))
            rows.append(self._row(key, measure, own))
            if not control:
                others = of(layer, tokens, control, self.partners)
                rows.append(self._row((layer, tokens, "shuffled captions"), measure, others))
                rows.append(self._row(key, GAIN_OF[measure], own - others))
        return rows

    def _row(self, key: Key, measure: str, values: np.ndarray) -> Reading:
        """The mean over the samples that have a value."""
        defined = ~np.isnan(values)
        groups = None if self.groups is None else self.groups[defined]
        made = ratio(values[defined], np.ones(int(defined.sum())), groups)
        reason = "" if defined.any() else "no feature is on"
        return reading_of(key, measure, made, int(defined.sum()), ALL, reason)

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
                if feature in described
                else bool(theirs[feature])
                for feature in own.strongest[at].tolist()
                if feature in described or tokens != "text alone"
            ]
            rates.append(float(np.mean(hits)) if hits else float("nan"))
        return np.array(rates)

    def _captions(self, layer: int) -> Gathered:
        return self.gathered[layer, "text alone", ""]


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    either = int((a | b).sum())
    return float((a & b).sum()) / either if either else float("nan")


def _words(text: str) -> frozenset[str]:
    """Words that say something, without case and a final s.

    Of three letters or more, and not among scikit-learn's words that any text has.
    """
    words = re.findall(r"\w+", text.casefold())
    return frozenset(
        word.removesuffix("s")
        for word in words
        if len(word) >= _LEAST_LETTERS and word not in ENGLISH_STOP_WORDS
    )
