"""Attention beside its picture: words by meet, where the attention goes, how far it explains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backend.figures.marks import Marks, outlined
from backend.figures.parts import Parts
from backend.figures.picture import LESS, MORE
from backend.figures.theme import NEUTRAL, SIMILARITY_SCALE, axis, escape, layout

_WORD_PX = 24
_WORD_LETTERS = 14
_MOST_NUMBERED = 8
_SHARES = {
    "content": ("words or patches", "#2F7FC1", ""),
    "summary": ("CLS", "#D97706", "/"),
    "special": ("BOS, separators, registers", "#8B6CC9", "x"),
    "own": ("its own stream", "#858585", "."),
}
"""Name, colour and pattern of each share of the meter."""


def word_heat(table: pd.DataFrame, *, x_title: str) -> Parts:
    """Shares of attention (0..1) that fall on words (rows, the first on top) at meets (columns).

    The darkest is 0, the brightest the largest share. Column i lies at x = i.
    """
    values = 100 * table.to_numpy()
    labels, words = list(table.columns), list(table.index)
    few = len(labels) <= _MOST_NUMBERED
    heat = {
        "type": "heatmap",
        "z": values,
        "zmin": 0,
        "zmax": float(np.nanmax(values, initial=1e-9)),
        "colorscale": SIMILARITY_SCALE,
        "xgap": 1,
        "ygap": 1,
        "name": "words",
        "meta": {"x": [*map(escape, labels)], "y": [*map(escape, words)]},
        "hovertext": [
            [
                f"<b>{escape(word)}</b>, layer {escape(label)}: {value:.1f} %"
                for label, value in zip(labels, row, strict=True)
            ]
            for word, row in zip(words, values, strict=True)
        ],
        "hoverinfo": "text",
        "texttemplate": "%{z:.1f}" if few else None,
        "colorbar": {"title": {"text": "%", "side": "top"}, "thickness": 10, "outlinewidth": 0},
    }
    settings = layout(height=_WORD_PX * max(len(words), 4) + 76, legend=False) | {
        "hovermode": "closest",
        "margin": {"l": 96, "r": 10, "t": 10, "b": 66},
        "xaxis": _meets(labels, title=x_title),
        "yaxis": axis(
            "", range=[len(words) - 0.5, -0.5], showgrid=False, fixedrange=True,
            tickvals=list(range(len(words))), ticktext=[_short(one) for one in words],
        ),
    }  # fmt: skip
    return Parts([heat], settings)


def meter_bars(table: pd.DataFrame, *, height: int = 290) -> Parts:
    """Where attention goes at each meet, stacked to 100 %; ``table`` has a row a meet, in order.

    Columns ``stream``, ``label`` and the shares (0..1) of
    :class:`backend.inference.attention.Shares`. Row i lies at x = i. A share that is 0 at every
    meet is left out.
    """
    places = _places(table)
    few = len(places) <= _MOST_NUMBERED
    bars = [
        {
            "type": "bar",
            "x": list(range(len(places))),
            "y": 100 * table[column].to_numpy(),
            "name": name,
            "meta": {"x": places},
            "marker": {"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay"}},
            "hovertext": [
                f"<b>{escape(place)}</b><br>{name}: {100 * value:.0f} %"
                for place, value in zip(places, table[column], strict=True)
            ],
            "hoverinfo": "text",
            "text": [
                f"{100 * value:.0f}" if few and value >= 0.08 else "" for value in table[column]
            ],
            "textangle": 0,
            "textposition": "inside",
            "insidetextanchor": "middle",
        }
        for column, (name, colour, pattern) in _SHARES.items()
        if (table[column] > 0.0005).any()
    ]
    settings = layout(height=height) | {
        "barmode": "stack",
        "bargap": 0.3,
        "hovermode": "closest",
        "margin": {"l": 50, "r": 10, "t": 52, "b": 66},
        "xaxis": _meets(places, title="reading stream and layer"),
        "yaxis": axis("% of the attention", range=[0, 100], fixedrange=True),
    }
    return Parts(bars, settings)


def agreement_curve(table: pd.DataFrame, *, height: int = 290) -> Parts:
    """Spearman's rank correlation of attention and effect by meet, on -1..1.

    ``table`` are rows of :func:`backend.views.attention.agreements`; row i lies at x = i.
    """
    places = _places(table)
    said = [
        f"{value:.2f} over {n:,}" if value == value else f"undefined: {reason}"
        for value, n, reason in table[["value", "n", "reason"]].itertuples(index=False)
    ]
    curve = {
        "type": "scatter",
        "x": list(range(len(places))),
        "y": table["value"].to_numpy(),
        "mode": "lines+markers+text" if len(places) <= _MOST_NUMBERED else "lines+markers",
        "text": [f"{value:.2f}" if value == value else "" for value in table["value"]],
        "textposition": "top center",
        "line": {"color": "#0F9D76", "width": 2},
        "marker": {"size": 8, "symbol": "diamond", "color": "#0F9D76"},
        "name": "attention and effect",
        "meta": {"x": places},
        "hovertext": [
            f"<b>{escape(place)}</b><br>{escape(words)}"
            for place, words in zip(places, said, strict=True)
        ],
        "hoverinfo": "text",
    }
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0}
    settings = layout(height=height, legend=False) | {
        "hovermode": "closest",
        "margin": {"l": 50, "r": 10, "t": 14, "b": 66},
        "shapes": [{**zero, "line": {"color": NEUTRAL, "width": 1}}],
        "xaxis": _meets(places, title="reading stream and layer"),
        "yaxis": axis("rank correlation", range=[-1.1, 1.1], fixedrange=True),
    }
    return Parts([curve], settings)


def word_bars(words: Sequence[str], values: Sequence[float], *, title: str) -> Parts:
    """What leaving out each word does, a bar a word from the top; ``title`` names the axis.

    Blue takes from the output, orange adds to it.
    """
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": list(values),
        "y": list(range(len(words))),
        "marker": {"color": [LESS if value >= 0 else MORE for value in values]},
        "hovertext": [
            f"<b>{escape(word)}</b><br>{value:.4f}"
            for word, value in zip(words, values, strict=True)
        ],
        "hoverinfo": "text",
        "name": "words",
        "meta": {"x": [*map(escape, words)]},
    }
    settings = layout(height=_WORD_PX * max(len(words), 4) + 76, legend=False) | {
        "hovermode": "closest",
        "margin": {"l": 96, "r": 10, "t": 10, "b": 66},
        "xaxis": axis(title, zeroline=True, zerolinecolor=NEUTRAL, fixedrange=True),
        "yaxis": axis(
            "", range=[len(words) - 0.5, -0.5], showgrid=False, fixedrange=True,
            tickvals=list(range(len(words))), ticktext=[_short(one) for one in words],
        ),
    }  # fmt: skip
    return Parts([bars], settings)


def meet_mark(at: Sequence[int]) -> Marks:
    """Outlines of the columns ``at`` of any of these figures, over their whole height."""
    tall = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1}
    marks: list[dict[str, object]] = []
    for column in at:
        marks += outlined({**tall, "x0": column - 0.45, "x1": column + 0.45})
    return tuple(marks)


def _places(table: pd.DataFrame) -> list[str]:
    return [
        f"{stream} {label}" for stream, label in zip(table["stream"], table["label"], strict=True)
    ]


def _meets(places: Sequence[str], *, title: str) -> dict[str, object]:
    every = -(-len(places) // _MOST_NUMBERED)
    ticks = list(range(0, len(places), every))
    return axis(
        title, range=[-0.5, len(places) - 0.5], showgrid=False, fixedrange=True, tickangle=0,
        tickvals=ticks,
        ticktext=[escape(places[at]).replace(" ", "<br>").replace(".", "<br>.") for at in ticks],
    )  # fmt: skip


def _short(text: str) -> str:
    """What fits beside an axis."""
    return escape(text if len(text) <= _WORD_LETTERS else text[: _WORD_LETTERS - 1] + "…")
