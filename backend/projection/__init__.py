"""Two-dimensional coordinates of a stream's layers, made so that layers can be compared by eye.

project_layers    one (n, 2) map a layer; the same sample stays near its place from layer to layer
refit_movements   how far each map moves when its layer is fitted a second time
nearest_samples   the k samples nearest to each sample, in a layer's full space
changed_share     which share of them are others in the next layer
"""

from backend.projection.layers import METHODS, Method, project_layers, refit_movements
from backend.projection.nearest import changed_share, nearest_samples

__all__ = [
    "METHODS",
    "Method",
    "changed_share",
    "nearest_samples",
    "project_layers",
    "refit_movements",
]
