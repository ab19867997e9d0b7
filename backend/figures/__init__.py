"""Pure functions from a tidy DataFrame to a Plotly figure; no torch, no Streamlit.

The same function serves a page, a notebook and an exported file.
"""

from backend.figures.causal import condition_figure
from backend.figures.cross import cross_heatmap
from backend.figures.difference import (
    alignment_differences,
    difference_heatmap,
    differences,
    dimension_differences,
    transition_differences,
)
from backend.figures.dimensionality import dimension_curves
from backend.figures.heatmap import axis_refs, layer_heatmap
from backend.figures.placement import placement_drawing
from backend.figures.probes import probe_curves
from backend.figures.projection import projection_map, share_map
from backend.figures.sae import match_curve, sae_curves
from backend.figures.scores import score_strip
from backend.figures.shared_space import shared_space_curves
from backend.figures.small_multiples import (
    alignment_panels,
    dimension_panels,
    transition_panels,
)
from backend.figures.study import alignment_scatter, effect_forest
from backend.figures.theme import Series
from backend.figures.training import training_curves, training_heatmap
from backend.figures.transitions import alignment_curves, transition_curves

__all__ = [
    "Series",
    "alignment_curves",
    "alignment_differences",
    "alignment_panels",
    "alignment_scatter",
    "axis_refs",
    "condition_figure",
    "cross_heatmap",
    "difference_heatmap",
    "differences",
    "dimension_curves",
    "dimension_differences",
    "dimension_panels",
    "effect_forest",
    "layer_heatmap",
    "match_curve",
    "placement_drawing",
    "probe_curves",
    "projection_map",
    "sae_curves",
    "score_strip",
    "share_map",
    "shared_space_curves",
    "training_curves",
    "training_heatmap",
    "transition_curves",
    "transition_differences",
    "transition_panels",
]
