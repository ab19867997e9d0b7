"""One traced pair as the panels draw it: what was traced, among which pairs, at which sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.figures.trace import layer_mark
from backend.inference.values import Trace
from backend.types import LayerRef, Pooling, StreamSpec
from backend.views.store_access import StoreView
from backend.views.trace import Among, beside
from dashboard.chart import Step
from dashboard.downloads import Part
from dashboard.trace.live import Traced

GROUP = "trace"
"""What follows the page's layer strip."""

Steps = dict[str, Step]


@dataclass(frozen=True, eq=False)
class Side:
    """One of the pairs that stand side by side: the one that was traced last, or the pinned one.

    ``among`` is None where the model has no reference pairs in the store. ``spec`` is the stream
    whose layers the panels follow, ``at`` its site at each label of the strip, in order, of those
    that are shown. ``name`` is empty where one pair is shown alone; it begins the keys of elements
    and the titles of what can be taken away.
    """

    store: StoreView
    traced: Traced
    among: Among | None
    pooling: Pooling
    spec: StreamSpec
    at: Mapping[str, LayerRef]
    part: Part
    name: str = ""

    @property
    def traces(self) -> Mapping[str, Trace]:
        """{name: trace}, the pair itself first."""
        return self.traced.traces

    @property
    def trace(self) -> Trace:
        """The pair itself."""
        return next(iter(self.traces.values()))

    @property
    def refs(self) -> tuple[LayerRef, ...]:
        """The sites that are shown, each once, in order."""
        return tuple(dict.fromkeys(self.at.values()))

    def titled(self, what: str) -> str:
        """``what`` with the name of this side before it."""
        return f"{self.name} {what}".lstrip()

    def key(self, what: str) -> str:
        """The key of an element of this side."""
        return f"trace-{self.titled(what)}".replace(" ", "-")

    def beside(self, label: str, other: StreamSpec, refs: tuple[LayerRef, ...]) -> LayerRef:
        """The site of another stream, one of ``refs``, where the strip stands at ``label``."""
        return beside(self.spec, self.at[label], refs, other)

    def marks(self) -> Steps:
        """The line at each site of the strip, over a curve of its stream."""
        return {
            label: {"marks": layer_mark(self.spec.position(ref))} for label, ref in self.at.items()
        }
