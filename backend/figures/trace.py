"""One pair among reference pairs: its path over the map of every layer, and its curves on bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.figures.curves import shading
from backend.figures.marks import Marks
from backend.figures.parts import Parts
from backend.figures.sites import named_sites, site_in_words, site_names
from backend.figures.theme import GRID, LEGEND, NEUTRAL, axis, escape, layout, rgba
from backend.types import LayerRef, StreamSpec

BAND = (("05", "95", 0.14), ("25", "75", 0.22))
"""Percentiles of the reference pairs between which a band lies, and its opacity."""

_PATH_COLOURS = ("#E11D48", "#0F9D76", "#8B6CC9", "#A88B00")
_PATH_DASHES = ("solid", "dash", "dot", "dashdot")
_PATH_MARKERS = ("circle", "square", "diamond", "triangle-up")
MOST_REFERENCES = 2_000
_MOST_TICKS = 17


@dataclass(frozen=True)
class PathStyle:
    """How the pair, or one of its counterfactuals, looks in every panel."""

    colour: str
    dash: str
    marker: str


def path_style(at: int) -> PathStyle:
    """The style of the ``at``-th path; the pair itself is the 0th."""
    ways = len(_PATH_COLOURS)
    return PathStyle(_PATH_COLOURS[at % ways], _PATH_DASHES[at % ways], _PATH_MARKERS[at % ways])


def path_map(
    labels: Sequence[str],
    reference: NDArray[np.float32],
    samples: Sequence[str],
    paths: Mapping[str, NDArray[np.float32]],
    *,
    title: str = "",
    height: int = 460,
) -> Parts:
    """The paths of pairs over the maps of a stream's sites, on axes that hold still.

    ``labels`` (L) name the sites in order, ``reference`` (L, n, 2) is where the reference
    ``samples`` lie at each, ``paths`` {name: (L, 2)} where each pair does, NaN where it has no
    place. The figure shows the last site; a frame a site, named by its label, shows the trail up to
    there. Its traces are the reference pairs, then trail and head of each path. Above 2,000
    reference samples every k-th is drawn. ValueError where shapes do not fit.
    """
    sites, n, _ = reference.shape
    if sites != len(labels) or n != len(samples):
        raise ValueError(f"{reference.shape} does not fit {len(labels)} sites, {len(samples)} ids")
    every = -(-n // MOST_REFERENCES)
    shown, ids = reference[:, ::every], [escape(one) for one in samples[::every]]

    def moving(at: int) -> list[dict[str, object]]:
        """What changes from frame to frame: all points, then a trail and a head a path."""
        out: list[dict[str, object]] = [
            {"type": "scatter", "x": shown[at, :, 0], "y": shown[at, :, 1]}
        ]
        for path in paths.values():
            trail = path[: at + 1]
            out.append({"type": "scatter", "x": trail[:, 0], "y": trail[:, 1]})
            out.append({"type": "scatter", "x": path[at : at + 1, 0], "y": path[at : at + 1, 1]})
        return out

    looks: list[dict[str, object]] = [
        {
            "mode": "markers",
            "marker": {"size": 6, "color": NEUTRAL, "opacity": 0.4},
            "name": f"{n:,} reference pairs" + (f" (one in {every})" if every > 1 else ""),
            "hovertext": ids,
            "hoverinfo": "text",
        }
    ]
    for at, name in enumerate(paths):
        style = path_style(at)
        looks += [
            {
                "mode": "lines+markers",
                "line": {"color": style.colour, "width": 2, "dash": style.dash},
                "marker": {"size": 5, "symbol": style.marker, "color": style.colour},
                "opacity": 0.7,
                "name": escape(name),
                "showlegend": False,
                "hovertext": [f"{escape(name)}, {escape(label)}" for label in labels],
                "hoverinfo": "text",
            },
            {
                "mode": "markers",
                "marker": {
                    "size": 15,
                    "symbol": style.marker,
                    "color": style.colour,
                    "line": {"width": 2, "color": "#FFFFFF"},
                },
                "name": escape(name),
                "hovertext": escape(name),
                "hoverinfo": "text",
            },
        ]
    quiet = {"showticklabels": False, "gridcolor": GRID, "zeroline": False, "ticks": ""}
    every_point = np.concatenate([reference.reshape(-1, 2), *paths.values()])
    low, high = np.nanmin(every_point, axis=0), np.nanmax(every_point, axis=0)
    pad = 0.05 * np.maximum(high - low, 1e-6)
    ranges = np.stack([low - pad, high + pad], axis=1).tolist()
    settings = layout(height=height) | {
        "hovermode": "closest",
        "dragmode": "pan",
        "legend": {**LEGEND, "itemsizing": "constant"},
        "margin": {"l": 34, "r": 10, "t": 10, "b": 34},
        "xaxis": {"title": {"text": escape(f"{title} 1")}, "range": ranges[0], **quiet},
        "yaxis": {"title": {"text": escape(f"{title} 2")}, "range": ranges[1], **quiet},
    }
    last = [{**moved, **look} for moved, look in zip(moving(sites - 1), looks, strict=True)]
    places = list(range(len(looks)))
    frames = [
        {"name": label, "data": moving(at), "traces": places} for at, label in enumerate(labels)
    ]
    return Parts(last, settings, frames)


def standing_curve(
    points: pd.DataFrame,
    spec: StreamSpec,
    *,
    y_title: str,
    colour: str,
    within: tuple[float, float],
    height: int = 290,
) -> Parts:
    """One quantity of pairs by layer, on the percentiles of the reference pairs.

    ``within`` are the first and the last position that are shown.

    ``points``: ``name`` (of the path) beside the columns of one curve of
    :func:`backend.inference.standing.standing`. The bands are those of the first path: the
    quantiles of the reference pairs and, where there are any, of mismatched ones.
    """
    first = points[points["name"].eq(points["name"].iloc[0])]
    traces: list[dict[str, object]] = []
    for prefix, hue, what in (
        ("chance_p", NEUTRAL, "mismatched pairs"),
        ("p", colour, "reference pairs"),
    ):
        rows = first.dropna(subset=[f"{prefix}50"]).sort_values("position")
        if rows.empty:
            continue
        for low, high, opacity in BAND:
            traces.append(
                {
                    "type": "scatter",
                    "x": [*rows["position"], *rows["position"][::-1]],
                    "y": [*rows[f"{prefix}{high}"], *rows[f"{prefix}{low}"][::-1]],
                    "fill": "toself",
                    "fillcolor": rgba(hue, opacity),
                    "line": {"width": 0},
                    "mode": "lines",
                    "hoverinfo": "skip",
                    "showlegend": False,
                }
            )
        traces.append(
            {
                "type": "scatter",
                "x": rows["position"].to_numpy(),
                "y": rows[f"{prefix}50"].to_numpy(),
                "mode": "lines",
                "line": {"width": 1.2, "color": hue, "dash": "dot"},
                "name": f"{what}, 5 to 95 %",
                "hoverinfo": "skip",
            }
        )
    for at, (name, rows) in enumerate(points.groupby("name", sort=False)):
        style = path_style(at)
        rows = rows.sort_values("position")
        traces.append(
            {
                "type": "scatter",
                "x": rows["position"].to_numpy(),
                "y": rows["value"].to_numpy(),
                "mode": "lines+markers",
                "line": {"color": style.colour, "width": 2.2, "dash": style.dash},
                "marker": {"size": 7, "symbol": style.marker, "color": style.colour},
                "name": escape(name),
                "meta": {"x": [*map(_label, rows["layer"], rows["site"])]},
                "hovertext": [
                    f"<b>{escape(name)}</b>, {layer_in_words(spec, layer, site)}<br>"
                    + _said(value, percentile, reason)
                    for layer, site, value, percentile, reason in rows[
                        ["layer", "site", "value", "percentile", "reason"]
                    ].itertuples(index=False, name=None)
                ],
                "hoverinfo": "text",
            }
        )
    settings = along_layers(spec, colour, within, height)
    return Parts(traces, settings | {"yaxis": axis(y_title, fixedrange=True)})


def along_layers(
    spec: StreamSpec, colour: str, within: tuple[float, float], height: int
) -> dict[str, object]:
    """The layout of curves over a stream's layers, those that fuse shaded; without a y axis.

    ``within`` are the first and the last position that are shown.
    """
    first, last = within
    shown = [ref.layer for ref in spec.layers if first <= ref.layer <= last]
    places = {ref.label: spec.position(ref) for ref in named_sites(spec)}
    places = {label: at for label, at in places.items() if first <= at <= last}
    names = site_names(places)
    return layout(height=height + names.px, legend=True) | {
        "hovermode": "closest",
        "margin": {"l": 56, "r": 24 if places else 10, "t": 52, "b": 40 + names.px},
        "shapes": shading(spec, colour),
        "annotations": names.annotations,
        "xaxis": axis(
            f"{spec.name} layer",
            below_px=names.px,
            range=[first - 0.5, last + 0.5],
            tickvals=shown[:: -(-len(shown) // _MOST_TICKS) or 1],
            fixedrange=True,
        ),
    }


def layer_mark(position: float) -> Marks:
    """A line at the layer that a strip stands at, over the whole height of a curve."""
    place = {"x0": position, "x1": position, "y0": 0, "y1": 1, "yref": "paper"}
    return ({"type": "line", **place, "line": {"color": NEUTRAL, "width": 2, "dash": "dot"}},)


def _said(value: float, percentile: float, reason: str) -> str:
    if np.isnan(value):
        return f"undefined: {escape(reason)}"
    among = "" if np.isnan(percentile) else f", above {percentile:.0f} % of reference pairs"
    return f"{value:.3f}{among}"


def layer_in_words(spec: StreamSpec, layer: int, site: str) -> str:
    """A row's site for a hover, ``vision layer 12.norm (after the final norm)``, escaped."""
    return escape(f"{spec.name} layer {site_in_words(LayerRef(spec.name, int(layer), str(site)))}")


def _label(layer: int, site: str) -> str:
    return LayerRef("", int(layer), str(site)).label
