"""Measures of representations: see the docstring of each, and ``MEASURES`` for all of them."""

from backend.measures import *  # noqa: F403
from backend.measures import __all__ as __all__
from backend.measures import __doc__ as __doc__
