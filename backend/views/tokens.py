"""An image's tokens in words, as the page Tokens shows them: patches to choose, words by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backend.figures.picture import Patches
from backend.inference.values import CONTEXT, INPUT, NEXT, ImageWords, Reading
from backend.pairing import image_among_words
from backend.types import StreamSpec
from backend.words import counted

READING_NAMES = {
    NEXT: "next word (logit lens)",
    INPUT: "nearest input embedding",
    CONTEXT: "nearest word in a text",
}
MEANINGS = {
    NEXT: "What the model would say next if it stopped at a layer: final norm, output layer, "
    "softmax. Numbers are probabilities. At the last layers an image token says what comes after "
    "it, not what it shows.",
    INPUT: "The input embedding with the highest cosine. Numbers are cosines. Image tokens need "
    "not lie near any of them.",
    CONTEXT: "The token of one of the texts with the highest cosine, as it is at whichever layer "
    "is nearest; the layer stands behind @. The texts go through the same blocks without an image.",
}
MOST_TEXTS = 48
"""Texts of a run that give words in their contexts."""

FIRST_IMAGE = 0


def why_not(streams: Sequence[StreamSpec], family: str) -> str:
    """Why a model's image tokens cannot be put into words, in a line; "" where they can."""
    if not streams or image_among_words(streams) is not None:
        return ""
    return (
        f"{family} models put no image tokens among the words of a language model, so there is no "
        "vocabulary to read them by. Models whose language model reads image tokens among words do."
    )


def chosen_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """At most ``MOST_TEXTS`` different texts, evenly spaced."""
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    if len(distinct) <= MOST_TEXTS:
        return tuple(distinct)
    places = np.linspace(0, len(distinct) - 1, MOST_TEXTS).round().astype(int)
    return tuple(distinct[at] for at in places)


def sources(said: Reading) -> str:
    """Of how many words and texts a reading of contexts is; "" for another one."""
    if not said.texts:
        return ""
    return (
        f"{counted(len(said.said), 'word')} of {counted(said.texts, 'text')} are compared with, as "
        "many of each text as there is room for."
    )


def patches(words: ImageWords, reading: str) -> Patches:
    """The footprints on the first image, with each token's word at the last layer as its hover."""
    own = (words.image == FIRST_IMAGE) & np.isfinite(words.boxes).all(axis=1)
    said = words.readings[reading]
    rows = [int(row) for row in np.flatnonzero(own)]
    hovers = [f"token {row}: {_word(said, row, -1, 0)}" for row in rows]
    return Patches(rows, words.boxes[rows], hovers)


def cells(words: ImageWords, reading: str, token: int) -> pd.DataFrame:
    """A token's words: rank, layer, word, score, ``at`` (a context's layer, else -1), around.

    ``token`` counts the content tokens from 0.
    """
    said = words.readings[reading]
    _, depth, most = said.words.shape
    rows = [
        {
            "rank": rank + 1,
            "layer": layer,
            "word": _word(said, token, layer, rank),
            "score": float(said.scores[token, layer, rank]),
            "at": -1 if said.layers is None else int(said.layers[token, layer, rank]),
            "around": said.within[said.words[token, layer, rank]] if said.within else "",
        }
        for rank in range(most)
        for layer in range(depth)
        if np.isfinite(said.scores[token, layer, rank])
    ]
    return pd.DataFrame(rows, columns=["rank", "layer", "word", "score", "at", "around"])


def _word(said: Reading, token: int, layer: int, rank: int) -> str:
    """A piece of text as a reader sees it: blanks and line breaks get a sign."""
    piece = said.said[said.words[token, layer, rank]]
    shown = piece.strip().replace("\n", "⏎")
    return shown or ("⏎" if "\n" in piece else "␣")
