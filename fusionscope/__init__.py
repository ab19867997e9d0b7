"""Fusionscope: how vision and language representations move, meet and change, layer by layer.

    from fusionscope import Store, open_model, trace
    from fusionscope.measures import cka, cka_matrix
    from fusionscope.figures import transition_curves

What is here is what programs may rely on. Importing it costs nothing; a name is fetched when it is
first used, and torch is imported only where a model is opened.
"""

from typing import TYPE_CHECKING

from backend import __version__
from backend.errors import InputError

if TYPE_CHECKING:
    from backend.inference.notebook import trace
    from backend.models.registry import open_model
    from backend.store import Run, Store

__all__ = ["InputError", "Run", "Store", "__version__", "open_model", "trace"]


def __getattr__(name: str) -> object:
    if name in ("Run", "Store"):
        from backend import store

        return getattr(store, name)
    if name == "open_model":
        from backend.models.registry import open_model

        return open_model
    if name == "trace":
        from backend.inference.notebook import trace

        return trace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
