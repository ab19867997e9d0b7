"""Figures: pure functions from a tidy DataFrame to a Plotly figure; colours are in ``theme``."""

from backend.figures import *  # noqa: F403
from backend.figures import __all__ as _figures
from backend.figures import theme

__all__ = [*_figures, "theme"]
