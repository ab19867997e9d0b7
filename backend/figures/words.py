"""Words in a grid: layers as columns, ranks as rows, the darker the higher their score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.figures.parts import Parts
from backend.figures.theme import FUSION_MARK, SIMILARITY_SCALE, axis, escape, layout
from backend.types import StreamSpec

_CELL_PX, _ROW_PX = 84, 30
_LONGEST = 11


def word_grid(cells: pd.DataFrame, spec: StreamSpec, *, score: str, most: float) -> Parts:
    """The rows of :func:`backend.views.tokens.cells` of one token of ``spec``.

    ``score`` words the number of a cell, ``most`` is the highest it can be: the colours' end. The
    words may be any text. Layers at which another stream comes in are marked.
    """
    ranks = int(cells["rank"].max()) if len(cells) else 1
    layers = [*range(spec.depth + 1)]
    scores = np.full((ranks, len(layers)), np.nan)
    texts = np.full(scores.shape, "", dtype=object)
    hovers = np.full(scores.shape, "", dtype=object)
    for rank, layer, word, value, at, around in cells.itertuples(index=False, name=None):
        place = (int(rank) - 1, int(layer))
        scores[place] = value
        texts[place] = short_word(word)
        if at >= 0:
            texts[place] += f" @{at}"
        lines = [f"<b>{escape(word)}</b>", f"{score} {value:.3f}", f"layer {layer}, rank {rank}"]
        lines += [f"as at layer {at} in “{escape(around)}”"] if at >= 0 else []
        hovers[place] = "<br>".join(lines)
    names = [f"{k} {FUSION_MARK}" if k in spec.fusion_layers else str(k) for k in layers]
    title = f"{spec.name} layer (0 = embeddings)"
    return ranked_grid(scores, texts, hovers, names, title=title, score=score, most=most)


def ranked_grid(
    scores: NDArray[np.float64],
    texts: NDArray[np.object_],
    hovers: NDArray[np.object_],
    names: Sequence[str],
    *,
    title: str,
    score: str,
    most: float,
) -> Parts:
    """Ranks (rows, the first on top) by layers (columns): what is written and said of each cell.

    The three are (ranks, layers); ``names`` are the layers', ``title`` that of their axis. Column i
    lies at x = i, rank r at y = r.
    """
    ranks, layers = [*range(1, len(scores) + 1)], [*range(len(names))]
    trace = {
        "type": "heatmap",
        "x": layers,
        "y": ranks,
        "z": scores,
        "zmin": 0.0,
        "zmax": most,
        "colorscale": SIMILARITY_SCALE,
        "text": texts.tolist(),
        "texttemplate": "%{text}",
        "textfont": {"size": 11},
        "hovertext": hovers.tolist(),
        "hoverinfo": "text",
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": score, "side": "right"}, "thickness": 10},
    }
    settings = layout(height=len(ranks) * _ROW_PX + 96, legend=False) | {
        "margin": {"l": 44, "r": 8, "t": 8, "b": 48},
        "xaxis": axis(title, tickvals=layers, ticktext=names, fixedrange=True, showgrid=False),
        "yaxis": axis("rank", tickvals=ranks, autorange="reversed", fixedrange=True),
    }
    return Parts([trace], settings)


def short_word(text: str) -> str:
    """Any text, as long as a cell of a grid is wide."""
    return escape(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def grid_px(layers: int) -> int:
    """The width below which a grid of so many layers scrolls sideways."""
    return _CELL_PX * layers + 120
