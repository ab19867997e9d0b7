"""A layer's samples on the plane, on axes that hold still from layer to layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.marks import Marks, outlined
from backend.figures.theme import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    GRID,
    LEGEND,
    SIMILARITY_SCALE,
    escape,
    layout,
)

WEBGL_ABOVE = 3_000
RASTER_ABOVE = 20_000
RING_PX = 10
SHARE_SCALE = "Cividis"
"""Made for colour-blind readers: it reads the same without red and green."""
_BINS = 72


def projection_ranges(frame: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """x and y ranges that hold every layer in ``frame``, with a margin of 5 %."""
    out = []
    for column in ("x", "y"):
        low, high = float(frame[column].min()), float(frame[column].max())
        if not low <= high:
            low, high = 0.0, 1.0
        pad = 0.05 * (high - low) or 1.0
        out.append((low - pad, high + pad))
    return out[0], out[1]


def projection_map(
    points: pd.DataFrame,
    ranges: tuple[tuple[float, float], tuple[float, float]],
    *,
    classes: Sequence[str],
    colours: Sequence[str] | None = None,
    markers: Sequence[str] | None = None,
    x_title: str = "UMAP 1",
    y_title: str = "UMAP 2",
    height: int = 600,
) -> go.Figure:
    """Samples of one layer, coloured by class.

    ``points``: ``sample_id``, ``x``, ``y`` and ``colour`` (one of ``classes``; anything else reads
    "no label"). Up to 20,000 points are markers whose ``customdata`` is the row's number in
    ``points``; above that a density raster is drawn, and a click returns the row nearest to the
    middle of the clicked bin. ``ranges`` are the same for every layer, so stepping moves points
    and not axes.
    """
    points = points.reset_index(drop=True)
    if len(points) > RASTER_ABOVE:
        traces = _raster(points, ranges)
    else:
        traces = _markers(points, classes, colours, markers)
    return _drawn(traces, ranges, x_title, y_title, height)


def share_map(
    points: pd.DataFrame,
    ranges: tuple[tuple[float, float], tuple[float, float]],
    *,
    title: str,
    x_title: str,
    y_title: str,
    height: int = 600,
) -> go.Figure:
    """Samples of one layer, coloured by a share on a scale from 0 to 1 that colour-blind see.

    ``points``: ``sample_id``, ``x``, ``y`` and ``share`` (0..1; NaN is drawn in grey). Otherwise
    as :func:`projection_map`; above 20,000 points the raster shows the mean share of each bin.
    """
    points = points.reset_index(drop=True)
    if len(points) > RASTER_ABOVE:
        traces = _raster(points, ranges, title)
    else:
        traces = _shares(points, title)
    return _drawn(traces, ranges, x_title, y_title, height)


def _drawn(
    traces: list[object],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    x_title: str,
    y_title: str,
    height: int,
) -> go.Figure:
    quiet = {"showticklabels": False, "gridcolor": GRID, "zeroline": False, "ticks": ""}
    # Set at once: Plotly validates the whole figure again on every update.
    settings = layout(height=height) | {
        "hovermode": "closest",
        "dragmode": "pan",
        "uirevision": "projection",
        "legend": {**LEGEND, "itemsizing": "constant"},
        "margin": {"l": 34, "r": 10, "t": 10, "b": 34},
        "xaxis": {"title": {"text": escape(x_title)}, "range": list(ranges[0]), **quiet},
        "yaxis": {"title": {"text": escape(y_title)}, "range": list(ranges[1]), **quiet},
    }
    return go.Figure(data=traces, layout=settings)


def _markers(
    points: pd.DataFrame,
    classes: Sequence[str],
    colours: Sequence[str] | None,
    markers: Sequence[str] | None,
) -> list[object]:
    trace = _trace_of(points)
    colours = colours or CLASS_COLOURS
    markers = markers or CLASS_MARKERS
    size = _size_of(points)
    known = set(classes)
    groups = [(name, points[points["colour"].eq(name)]) for name in classes]
    groups.append(("no label", points[~points["colour"].isin(known)]))
    traces = []
    for index, (name, rows) in enumerate(groups):
        if rows.empty:
            continue
        rest = name == "no label" and name not in known
        traces.append(
            trace(
                x=rows["x"].to_numpy(dtype=np.float32),
                y=rows["y"].to_numpy(dtype=np.float32),
                customdata=rows.index.to_numpy(dtype=np.int32),
                mode="markers",
                marker={
                    "size": size,
                    "color": "#9A9A9A" if rest else colours[index % len(colours)],
                    "symbol": markers[index % len(markers)],
                    "opacity": 0.75,
                    "line": {"width": 0},
                },
                name=f"{escape(name)} ({len(rows):,})",
                hovertext=[escape(sample) for sample in rows["sample_id"]],
                hovertemplate=f"%{{hovertext}}<br>{escape(name)}<extra></extra>",
            )
        )
    return traces


def _trace_of(points: pd.DataFrame) -> Callable[..., object]:
    trace: Callable[..., object] = go.Scattergl if len(points) > WEBGL_ABOVE else go.Scatter
    return trace


def _size_of(points: pd.DataFrame) -> int:
    return 8 if len(points) <= 1_500 else 6 if len(points) <= 6_000 else 4


def _shares(points: pd.DataFrame, title: str) -> list[object]:
    traces = []
    undefined = points["share"].isna()
    for rows, colour in ((points[undefined], "#9A9A9A"), (points[~undefined], None)):
        if rows.empty:
            continue
        share = rows["share"].to_numpy(dtype=np.float32)
        marker: dict[str, object] = {"size": _size_of(points), "opacity": 0.85}
        marker |= {"line": {"width": 0.5, "color": GRID}}
        said = "no value"
        if colour:
            marker["color"] = colour
        else:
            marker |= {"color": share, "cmin": 0, "cmax": 1, "colorscale": SHARE_SCALE}
            marker |= {"showscale": True, "colorbar": _colour_bar(title)}
            said = f"%{{marker.color:.0%}} {escape(title)}"
        traces.append(
            _trace_of(points)(
                x=rows["x"].to_numpy(dtype=np.float32),
                y=rows["y"].to_numpy(dtype=np.float32),
                customdata=rows.index.to_numpy(dtype=np.int32),
                mode="markers",
                marker=marker,
                name=f"no value ({len(rows):,})" if colour else escape(title),
                showlegend=bool(colour),
                hovertext=[escape(sample) for sample in rows["sample_id"]],
                hovertemplate=f"%{{hovertext}}<br>{said}<extra></extra>",
            )
        )
    return traces


def _colour_bar(title: str) -> dict[str, object]:
    return {"title": {"text": escape(title), "side": "right"}, "tickformat": ".0%", "thickness": 12}


def _raster(
    points: pd.DataFrame,
    ranges: tuple[tuple[float, float], tuple[float, float]],
    title: str = "",
) -> list[object]:
    xs = points["x"].to_numpy(dtype=np.float64)
    ys = points["y"].to_numpy(dtype=np.float64)
    counts, x_edges, y_edges = np.histogram2d(xs, ys, bins=_BINS, range=ranges)
    x_mid, y_mid = (x_edges[1:] + x_edges[:-1]) / 2, (y_edges[1:] + y_edges[:-1]) / 2
    with np.errstate(divide="ignore"):
        shade = np.where(counts > 0, np.log10(counts), np.nan)
    scale: dict[str, object] = {"colorscale": SIMILARITY_SCALE, "showscale": False}
    said = [f"{int(c):,} samples" for c in counts[counts > 0]]
    if title:
        known = points["share"].notna().to_numpy()
        shares = points["share"].to_numpy(dtype=np.float64)[known]
        x, y = xs[known], ys[known]
        sums = np.histogram2d(x, y, bins=_BINS, range=ranges, weights=shares)[0]
        with np.errstate(invalid="ignore"):
            shade = sums / np.histogram2d(x, y, bins=_BINS, range=ranges)[0]
        scale = {"colorscale": SHARE_SCALE, "colorbar": _colour_bar(title), "zmin": 0, "zmax": 1}
        said = [
            f"{text}, {'no value' if np.isnan(mean) else f'{mean:.0%}'} {escape(title)}"
            for text, mean in zip(said, shade[counts > 0], strict=True)
        ]
    heat = go.Heatmap(x=x_mid, y=y_mid, z=shade.T, hoverinfo="skip", **scale)
    i, j = np.nonzero(counts)
    bins = go.Scattergl(
        x=x_mid[i],
        y=y_mid[j],
        customdata=_nearest(xs, ys, x_mid[i], y_mid[j], x_edges, y_edges, i, j),
        mode="markers",
        marker={"size": 8, "symbol": "square", "color": "rgba(0,0,0,0)"},
        hovertext=said,
        hovertemplate="%{hovertext}<extra></extra>",
        name=f"{len(points):,} samples" + ("" if title else "; brighter is denser"),
    )
    return [heat, bins]


def _nearest(
    xs: np.ndarray,
    ys: np.ndarray,
    x_mid: np.ndarray,
    y_mid: np.ndarray,
    x_edges: np.ndarray,
    y_edges: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
) -> np.ndarray:
    """For every filled bin, the number of the point that lies nearest to its middle."""
    bin_x = np.clip(np.searchsorted(x_edges, xs, side="right") - 1, 0, _BINS - 1)
    bin_y = np.clip(np.searchsorted(y_edges, ys, side="right") - 1, 0, _BINS - 1)
    flat = bin_x * _BINS + bin_y
    centre_x = (x_edges[bin_x] + x_edges[bin_x + 1]) / 2
    centre_y = (y_edges[bin_y] + y_edges[bin_y + 1]) / 2
    order = np.lexsort(((xs - centre_x) ** 2 + (ys - centre_y) ** 2, flat))
    bins, first = np.unique(flat[order], return_index=True)
    nearest = dict(zip(bins.tolist(), order[first].tolist(), strict=True))
    return np.array([nearest.get(key, -1) for key in (i * _BINS + j).tolist()], dtype=np.int32)


def sample_mark(points: pd.DataFrame, sample_id: str) -> Marks:
    """A ring around a sample of :func:`projection_map`, once in every stream that is drawn."""
    here = points[points["sample_id"].eq(sample_id)]
    circle = {"type": "circle", "xsizemode": "pixel", "ysizemode": "pixel"} | {
        name: side * RING_PX for name, side in (("x0", -1), ("x1", 1), ("y0", -1), ("y1", 1))
    }
    # As exact as the points are drawn.
    places = here[["x", "y"]].to_numpy(dtype=np.float32).tolist()
    return tuple(
        ring for x, y in places for ring in outlined({**circle, "xanchor": x, "yanchor": y})
    )
