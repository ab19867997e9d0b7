"""Fusionscope: how vision and language representations move, meet and change, layer by layer.

The data flows one way, and a package imports only from those to its left::

    data -> models -> capture -> store -> measures -> figures -> pages

``backend.jobs`` holds what the commands do (it may use all of them), ``backend.views`` what the
pages share (the view's state and its queries). ``import backend`` costs nothing: torch, timm and
umap are imported where a model runs or a projection is fitted, and nowhere else.
"""

__version__ = "0.1.0"
