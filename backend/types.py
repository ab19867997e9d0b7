"""Small frozen values that every package shares. Nothing here imports beyond the standard library.

The layer convention, everywhere (code, files, URLs, plots): **0 is the output of the embeddings,
k is the output of block k, counted from 1**. At a fusion layer k the co-attention runs on entry to
block k; its own output is the *fusion output* ``k.fusion``, which lies between k-1 and k.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Modality = Literal["vision", "text", "fused"]
Site = Literal["block", "fusion"]
Pooling = Literal["cls", "mean"]
TaskKind = Literal["binary", "multiclass", "multilabel"]

POOLINGS: tuple[Pooling, ...] = ("cls", "mean")

# By which metric a task is judged; the others are kept beside it.
_METRIC: dict[TaskKind, str] = {
    "binary": "auroc",
    "multilabel": "macro_f1",
    "multiclass": "accuracy",
}

_LABEL = re.compile(r"(0|[1-9][0-9]{0,3})(\.fusion)?")


@dataclass(frozen=True)
class LayerRef:
    """One place in a stream at which a representation is read.

    ``LayerRef("vision", 4)`` is the output of block 4; ``LayerRef("vision", 4, "fusion")`` is the
    output of the co-attention on entry to block 4.
    """

    stream: str
    layer: int
    site: Site = "block"

    def __post_init__(self) -> None:
        if self.layer < 0 or (self.site == "fusion" and self.layer < 1):
            raise ValueError(f"no such layer: {self.stream} {self.label}")

    @property
    def label(self) -> str:
        """``"4"`` or ``"4.fusion"``: how the layer is written in files, URLs and plots."""
        return str(self.layer) if self.site == "block" else f"{self.layer}.fusion"

    @property
    def position(self) -> float:
        """Where the layer lies on a layer axis: 4 is 4.0, 4.fusion is 3.5 (after 3, before 4)."""
        return float(self.layer) if self.site == "block" else self.layer - 0.5

    @classmethod
    def parse(cls, stream: str, label: str | int) -> LayerRef:
        """``parse("vision", "4.fusion")``; raises ValueError for anything that is not a layer."""
        match = _LABEL.fullmatch(str(label))
        if match is None:
            raise ValueError(f"{label!r} is not a layer; expected a number or e.g. '4.fusion'")
        return cls(stream, int(match[1]), "fusion" if match[2] else "block")


@dataclass(frozen=True)
class StreamSpec:
    """A named sequence of layers of one modality: ``depth`` blocks, so layers 0..depth."""

    name: str
    modality: Modality
    depth: int
    width: int
    fusion_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fusion_layers", tuple(sorted(self.fusion_layers)))
        outside = [k for k in self.fusion_layers if not 1 <= k <= self.depth]
        if outside:
            raise ValueError(f"fusion layers {outside} lie outside 1..{self.depth} of {self.name}")

    @property
    def layers(self) -> tuple[LayerRef, ...]:
        """Layers 0..depth in order, without the fusion outputs."""
        return tuple(LayerRef(self.name, k) for k in range(self.depth + 1))

    @property
    def sites(self) -> tuple[LayerRef, ...]:
        """Everything that can be captured, in order: 0, 1, ..., k-1, k.fusion, k, ..., depth."""
        outputs = tuple(LayerRef(self.name, k, "fusion") for k in self.fusion_layers)
        return tuple(sorted((*self.layers, *outputs), key=lambda ref: ref.position))


def matched_layers(a: StreamSpec, b: StreamSpec) -> tuple[tuple[LayerRef, LayerRef], ...]:
    """Matching layers of two streams, (of ``a``, of ``b``): one pair a layer of the deeper stream.

    Equal depths match k with k. Otherwise the partner lies at the same relative depth: layer
    ``k * depth / deeper depth`` of the shallower stream, halves rounded up.
    """
    deeper = max(a.depth, b.depth)

    def at(spec: StreamSpec, k: int) -> LayerRef:
        return LayerRef(spec.name, (2 * k * spec.depth + deeper) // (2 * deeper) if deeper else 0)

    return tuple((at(a, k), at(b, k)) for k in range(deeper + 1))


@dataclass(frozen=True)
class TaskSpec:
    """What is predicted. ``classes`` names the outputs (for ``binary``: the names of 0 and 1).

    A label is an int (binary: 0 or 1; multiclass: an index into ``classes``), a tuple of indices
    (multilabel), or None where the sample has none.
    """

    name: str
    kind: TaskKind
    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Width of the task's head: 1 for binary, one logit a class otherwise."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def metric(self) -> str:
        """The metric by which the task is judged: AUROC, macro-F1 or accuracy."""
        return _METRIC[self.kind]


Label = int | tuple[int, ...] | None

NO_LABEL = -1
"""In arrays of labels: the sample has none for this task."""


@dataclass(frozen=True)
class Record:
    """One sample's metadata as a loader reads it, before its image is decoded.

    ``image`` says where the image is, in the loader's own terms (a path, a seed); ``source`` says
    where the row stands (``"train.jsonl row 12"``), for reports.
    """

    sample_id: str
    text: str
    image: object
    split: str
    source: str
    labels: dict[str, Label] = field(default_factory=dict)
