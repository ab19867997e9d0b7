"""A model's captured layers, as what is measured of them takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from backend.measures.core.base import constant_reason
from backend.measures.suite.pairs import end_pairs, pairs
from backend.pooling import by_stream, of_stream
from backend.remarks import Place, Remark, remark
from backend.types import BLOCK, LayerRef, TaskSpec

Array = np.ndarray

_INPUTS = {"vision": "image", "text": "text", "audio": "recording"}


@dataclass(frozen=True, eq=False)
class Layers:
    """All captured layers of a model under one pooling: {layer: (n, d)}, rows the same samples.

    The sites of a stream are in the order of the computation, which says what is beside a named
    one. ``modalities`` maps stream names to modalities and defaults to the names. ``labels`` are
    those of the same samples by task, where they have any: (n,) class indices, or (n, classes) of 0
    and 1 if the task is multilabel; -1 where a sample has none. ``note`` goes with every row.
    ``groups`` (n,) names the group of each sample, where some belong together.
    ``spaces`` are those of :func:`backend.measures.suite.pairs.shared_spaces`. Under a pooling of
    two streams (:mod:`backend.pooling`) they are the layers of these two, and only the pairs of one
    with the other are compared: the others are those of either pooling.
    """

    arrays: Mapping[LayerRef, Array]
    pooling: str
    modalities: Mapping[str, str] = field(default_factory=dict)
    note: Remark | None = None
    labels: Mapping[TaskSpec, Array] = field(default_factory=dict)
    groups: Array | None = None
    spaces: Mapping[LayerRef, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Samples; 0 without layers."""
        return len(next(iter(self.arrays.values()), ()))

    @property
    def refs(self) -> list[LayerRef]:
        """The layers in the model's order."""
        return list(self.arrays)

    @property
    def blocks(self) -> list[LayerRef]:
        """The layers without the named sites."""
        return [ref for ref in self.arrays if ref.site == BLOCK]

    @property
    def at_ends(self) -> list[LayerRef]:
        """The named sites that are compared with those of another stream, in the model's order."""
        compared = {ref for pair in end_pairs(self.refs, self.modalities) for ref in pair}
        return [ref for ref in self.arrays if ref in compared]

    @property
    def of_two(self) -> bool:
        """Whether the pooling is one of two streams."""
        return bool(by_stream(self.pooling))

    @property
    def compared(self) -> list[tuple[int, int]]:
        """Indices of the pairs of sites that are compared, of two streams vision first."""
        refs = self.refs
        every = pairs(refs, self.modalities)
        return [p for p in every if not self.of_two or len({refs[i].stream for i in p}) == 2]

    @property
    def pairs(self) -> list[tuple[LayerRef, LayerRef]]:
        """Every pair of :attr:`compared`."""
        refs = self.refs
        return [(refs[i], refs[j]) for i, j in self.compared]

    @property
    def crossing(self) -> list[tuple[LayerRef, LayerRef]]:
        """Those of two streams."""
        return [(a, b) for a, b in self.pairs if a.stream != b.stream]

    def dims(self, *refs: LayerRef) -> tuple[int, ...]:
        """The widths of layers."""
        return tuple(int(self.arrays[ref].shape[1]) for ref in refs)

    def thinned(self, most: int | None) -> Layers:
        """At most ``most`` evenly spaced samples, with a note that says so."""
        n = self.n
        if most is None or n <= most:
            return self
        rows = np.linspace(0, n - 1, most).round().astype(int)
        return replace(
            self,
            arrays={ref: x[rows] for ref, x in self.arrays.items()},
            labels={task: labels[rows] for task, labels in self.labels.items()},
            groups=None if self.groups is None else self.groups[rows],
            note=remark("thinned", used=most, n=n),
        )


def site_name(ref: LayerRef) -> str:
    """``"layer 4 of vision"``, ``"layer 4.fusion of vision"``."""
    return str(place(ref))


def place(ref: LayerRef, run: str = "") -> Place:
    """The layer (of a run), as remarks name it."""
    return Place(ref.stream, ref.label, run)


def constant_layer_reason(
    ref: LayerRef, pooling: str, modalities: Mapping[str, str], run: str = ""
) -> Remark:
    """Why a layer whose samples all have the same vector has no measures."""
    at = place(ref, run)
    if (ref.layer, ref.site, of_stream(pooling, ref.stream)) == (0, BLOCK, "cls"):
        source = _INPUTS.get(modalities.get(ref.stream, ref.stream), "input")
        return remark("constant_input", at, input=source)
    return replace(constant_reason(""), layers=(at,))
