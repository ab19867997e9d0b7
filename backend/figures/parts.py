"""A figure as Plotly's own settings, which nobody has checked."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

_TYPES = {
    np.dtype(kind): kind for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
}  # those that plotly.js reads as bytes


class Parts(NamedTuple):
    """The traces, the layout and the frames of a figure.

    What is drawn of a visitor's own pair is new with every press, and to check it takes Plotly
    several times as long as to make it: pages send the :attr:`json`. :meth:`figure` checks.
    """

    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    frames: Sequence[dict[str, Any]] = ()

    @property
    def json(self) -> str:
        """What Plotly's JavaScript draws; arrays are base64, undefined numbers null."""
        whole = {"data": self.traces, "layout": self.layout, "frames": list(self.frames)}
        encoded: str = PlotlyJSONEncoder(default=_packed).encode(whole)
        return encoded

    def figure(self) -> go.Figure:
        """As a figure of Plotly, whose ValueError names a setting that there is not."""
        return go.Figure(data=self.traces, layout=self.layout, frames=self.frames)


def _packed(value: Any) -> object:
    """An array (or a number) of NumPy for JSON; TypeError for what is none."""
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"a {type(value).__name__} is no part of a figure")
    if not isinstance(value, np.ndarray) or value.dtype not in _TYPES or not value.size:
        return value.tolist()
    packed = {
        "dtype": _TYPES[value.dtype],
        "bdata": base64.b64encode(np.ascontiguousarray(value).data).decode(),
    }
    if value.ndim > 1:
        packed["shape"] = ", ".join(map(str, value.shape))
    return packed
