"""Maps of a layer's samples: which points, in which colours, on which axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from backend.figures import projection_map, share_map
from backend.types import LayerRef, TaskSpec
from backend.views.layers import Colouring, coloured, points_at
from backend.views.neighbourhoods import NEIGHBOUR_COLOUR, changes

Ranges = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Shown:
    """The points of a map: those at ``refs`` of one pooling and method, coloured by ``colour``."""

    refs: tuple[LayerRef, ...]
    pooling: str
    method: str
    colour: Colouring
    tasks: tuple[TaskSpec, ...]


def best_method(frame: pd.DataFrame) -> str:
    """UMAP where there is UMAP, else the first method that there is."""
    return "umap" if frame["method"].eq("umap").any() else str(frame["method"].iloc[0])


def of_kind(frame: pd.DataFrame, pooling: str, method: str) -> pd.DataFrame:
    """The coordinates of one pooling and method."""
    return frame[frame["pooling"].eq(pooling) & frame["method"].eq(method)]


def map_points(coordinates: pd.DataFrame, samples: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """A map's points in the order of their numbers: sample_id, stream, x, y, colour.

    No colour where it is not one of classes.
    """
    frame = of_kind(coordinates, shown.pooling, shown.method)
    parts = [points_at(frame, ref) for ref in shown.refs]
    points = pd.concat(parts, ignore_index=True)
    if shown.colour.key == NEIGHBOUR_COLOUR:
        return points
    return coloured(points, samples, shown.tasks, shown.colour.key)


def sample_map(
    coordinates: pd.DataFrame,
    samples: pd.DataFrame,
    shown: Shown,
    ranges: Ranges,
    *,
    x_title: str,
    y_title: str,
    height: int = 600,
) -> go.Figure:
    """:func:`backend.figures.projection_map` of the points."""
    return projection_map(
        map_points(coordinates, samples, shown),
        ranges,
        classes=shown.colour.classes,
        colours=shown.colour.colours,
        markers=shown.colour.markers,
        x_title=x_title,
        y_title=y_title,
        height=height,
    )


def change_map(
    coordinates: pd.DataFrame,
    samples: pd.DataFrame,
    shown: Shown,
    ranges: Ranges,
    before: pd.DataFrame | None,
    after: pd.DataFrame,
    *,
    x_title: str,
    y_title: str,
    height: int = 600,
) -> go.Figure:
    """:func:`backend.figures.share_map` of the points, coloured by the neighbours that changed.

    ``before`` and ``after`` as :func:`backend.views.neighbourhoods.changes` takes them; all points
    are grey where there is no site before.
    """
    points = map_points(coordinates, samples, shown)
    found = None if before is None else changes(before, after)
    share = pd.Series(dtype=float) if found is None else found.frame.set_index("sample_id").changed
    points = points.assign(share=share.reindex(points["sample_id"]).to_numpy(dtype=float))
    return share_map(
        points,
        ranges,
        title=shown.colour.title,
        x_title=x_title,
        y_title=y_title,
        height=height,
    )


def clicked_sample(points: pd.DataFrame, customdata: object) -> str | None:
    """The sample of a clicked point, by the number that it carries; None where it carries none."""
    number = customdata[0] if isinstance(customdata, Sequence) and customdata else customdata
    if not isinstance(number, int | float) or not 0 <= int(number) < len(points):
        return None
    return str(points["sample_id"].iloc[int(number)])
