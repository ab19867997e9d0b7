"""Two-dimensional coordinates of a stream's layers, made so that layers can be compared by eye.

project_layers    one (n, 2) map a layer; the same sample stays near its place from layer to layer
"""

from backend.projection.layers import METHODS, Method, project_layers

__all__ = ["METHODS", "Method", "project_layers"]
