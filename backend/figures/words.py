"""Words in a grid: layers as columns, ranks as rows, the darker the higher their score."""

from __future__ import annotations

import numpy as np
import pandas as pd

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
        texts[place] = escape(word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…")
        if at >= 0:
            texts[place] += f" @{at}"
        lines = [f"<b>{escape(word)}</b>", f"{score} {value:.3f}", f"layer {layer}, rank {rank}"]
        lines += [f"as at layer {at} in “{escape(around)}”"] if at >= 0 else []
        hovers[place] = "<br>".join(lines)
    names = [f"{k} {FUSION_MARK}" if k in spec.fusion_layers else str(k) for k in layers]
    trace = {
        "type": "heatmap",
        "x": layers,
        "y": [*range(1, ranks + 1)],
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
    settings = layout(height=ranks * _ROW_PX + 96, legend=False) | {
        "margin": {"l": 44, "r": 8, "t": 8, "b": 48},
        "xaxis": axis(
            f"{spec.name} layer (0 = embeddings)",
            tickvals=layers,
            ticktext=names,
            fixedrange=True,
            showgrid=False,
        ),
        "yaxis": axis(
            "rank", tickvals=[*range(1, ranks + 1)], autorange="reversed", fixedrange=True
        ),
    }
    return Parts([trace], settings)


def grid_px(spec: StreamSpec) -> int:
    """The width below which a grid scrolls sideways."""
    return _CELL_PX * (spec.depth + 1) + 120
