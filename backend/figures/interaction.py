"""Two captions by two images: four paths in a grid, and what caption, image and pair change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.figures.parts import Parts
from backend.figures.theme import GRID, NEUTRAL, STYLES, axis, escape, layout
from backend.figures.trace import along_layers, layer_in_words, path_map
from backend.types import LayerRef, StreamSpec

MOST_IN_CELL = 500
"""Reference pairs that are drawn in each of the four cells."""

_MAP_PX = 220
_LINE_PX = 17
_GAP = 0.02
_STYLES = {"caption": STYLES["text"], "image": STYLES["vision"], "interaction": STYLES["fused"]}


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: the name of its path, and lines of words above and below its map."""

    path: str
    above: tuple[str, ...]
    below: tuple[str, ...] = ()


def path_grid(
    labels: Sequence[str],
    reference: NDArray[np.float32],
    samples: Sequence[str],
    paths: Mapping[str, NDArray[np.float32]],
    cells: Sequence[Cell],
) -> Parts:
    """Four paths, each alone over the same maps, on the same axes, which hold still.

    The first arguments are those of :func:`backend.figures.trace.path_map`, whose frames and styles
    these are; ``cells`` are the upper row and then the lower one. Above 500 reference samples every
    k-th is drawn. KeyError for a cell whose path is not among ``paths``.
    """
    every = -(-len(samples) // MOST_IN_CELL)
    whole = path_map(labels, reference[:, ::every], samples[::every], paths)
    first = {name: 1 + 2 * at for at, name in enumerate(paths)}
    # of each cell the reference pairs, the path's trail and its head
    places = [(0, first[cell.path], first[cell.path] + 1) for cell in cells]
    above = _LINE_PX * max(len(cell.above) for cell in cells) + 4
    below = _LINE_PX * max(len(cell.below) for cell in cells) + 4
    height = 2 * (above + _MAP_PX + below)
    settings: dict[str, Any] = layout(height=height, legend=False) | {
        "hovermode": "closest",
        "margin": {"l": 2, "r": 2, "t": 0, "b": 0},
        "annotations": [],
    }
    traces: list[dict[str, object]] = []
    for at, cell in enumerate(cells):
        row, column = divmod(at, 2)
        suffix = str(at + 1) if at else ""
        left, top = column * (0.5 + _GAP), (2 - row) / 2 - above / height
        domains = {"x": [left, left + 0.5 - _GAP], "y": [top - _MAP_PX / height, top]}
        for way, other in ("xy", "yx"):
            settings[f"{way}axis{suffix}"] = _quiet_axis(
                domains[way], whole.layout[f"{way}axis"]["range"], f"{other}{suffix}"
            )
        settings["annotations"] += [
            _words([f"<b>{escape(line)}</b>" for line in cell.above], left, top, "bottom"),
            _words([escape(line) for line in cell.below], left, domains["y"][0], "top"),
        ]
        on = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        traces += [whole.traces[place] | on for place in places[at]]
    order = [place for of_cell in places for place in of_cell]
    frames = [
        {
            "name": frame["name"],
            "data": [frame["data"][place] for place in order],
            "traces": list(range(len(order))),
        }
        for frame in whole.frames
    ]
    return Parts(traces, settings, frames)


def effect_curves(
    points: pd.DataFrame,
    spec: StreamSpec,
    parts: Mapping[str, str],
    *,
    colour: str,
    within: tuple[float, float],
    height: int = 290,
) -> Parts:
    """What caption, image and pair each change by layer, as parts of the length of all changes.

    ``points`` are the rows of one stream of :func:`backend.views.trace_grid.effects`, ``parts``
    what its columns are put down to (:data:`backend.views.trace_grid.PARTS`), ``colour`` that of
    the stream, ``within`` the first and the last position that are shown. Where the parts are
    undefined a cross says why.
    """
    points = points.sort_values("position")
    traces = [_curve(points, spec, part, name) for part, name in parts.items()]
    traces.append(_undefined(points[points["reason"].ne("")], spec))
    settings = along_layers(spec, colour, within, height)
    y = axis("part of the change", range=[-0.03, 1.03], fixedrange=True)
    return Parts(traces, settings | {"yaxis": y})


def _curve(points: pd.DataFrame, spec: StreamSpec, part: str, name: str) -> dict[str, object]:
    style = _STYLES[part]
    columns = ["layer", "site", f"{part}_part", f"{part}_effect"]
    return {
        "type": "scatter",
        "x": points["position"].to_numpy(),
        "y": points[f"{part}_part"].to_numpy(),
        "mode": "lines+markers",
        "line": {"color": style.colour, "width": 2.2, "dash": style.dash},
        "marker": {"size": 7, "symbol": style.marker, "color": style.colour},
        "name": escape(name),
        "meta": {"x": [*map(_label, points["layer"], points["site"])]},
        "hovertext": [
            f"<b>{escape(name)}</b>, {layer_in_words(spec, layer, site)}<br>"
            f"{size:.3f} of the length of all that changes<br>moves the vector by {effect:.3g}"
            for layer, site, size, effect in points[columns].itertuples(index=False, name=None)
        ],
        "hoverinfo": "text",
    }


def _undefined(gaps: pd.DataFrame, spec: StreamSpec) -> dict[str, object]:
    columns = ["layer", "site", "reason"]
    return {
        "type": "scatter",
        "x": gaps["position"].to_numpy(),
        "y": [0.0] * len(gaps),
        "mode": "markers",
        "marker": {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": NEUTRAL}},
        "name": "undefined",
        "showlegend": False,
        "hovertext": [
            f"{layer_in_words(spec, layer, site)}<br>undefined: {escape(reason)}"
            for layer, site, reason in gaps[columns].itertuples(index=False, name=None)
        ],
        "hoverinfo": "text",
    }


def _label(layer: int, site: str) -> str:
    return LayerRef("", int(layer), str(site)).label


def _quiet_axis(domain: list[float], span: list[float], anchor: str) -> dict[str, object]:
    return {
        "domain": domain, "range": span, "anchor": anchor, "fixedrange": True,
        "showticklabels": False, "gridcolor": GRID, "zeroline": False,
    }  # fmt: skip


def _words(lines: Sequence[str], x: float, y: float, side: str) -> dict[str, object]:
    return {
        "text": "<br>".join(lines),
        "x": x, "xref": "paper", "xanchor": "left",
        "y": y, "yref": "paper", "yanchor": side,
        "align": "left", "showarrow": False, "font": {"size": 11},
    }  # fmt: skip
