"""Pure functions from a tidy DataFrame to a Plotly figure; no torch, no Streamlit.

The same function serves a page, a notebook and an exported file.
"""

from backend.figures.dimensionality import dimension_curves
from backend.figures.heatmap import axis_refs, layer_heatmap
from backend.figures.placement import placement_drawing
from backend.figures.probes import probe_curves
from backend.figures.projection import projection_map
from backend.figures.scores import score_strip
from backend.figures.study import alignment_scatter, effect_forest
from backend.figures.theme import Series
from backend.figures.transitions import alignment_curves, transition_curves

__all__ = [
    "Series",
    "alignment_curves",
    "alignment_scatter",
    "axis_refs",
    "dimension_curves",
    "effect_forest",
    "layer_heatmap",
    "placement_drawing",
    "probe_curves",
    "projection_map",
    "score_strip",
    "transition_curves",
]
