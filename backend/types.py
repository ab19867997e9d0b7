"""Small frozen values that every package shares. Nothing here imports beyond the standard library.

The layer convention, everywhere (code, files, URLs, plots): **0 is what enters the first block, k
is the output of block k, counted from 1**, before any final norm. A place beside a layer has a
name: ``4.fusion`` is the output of what brings the other modality in on entry to block 4,
``12.norm`` is after the final norm, ``12.projected`` a shared space. Layers and named places
together are a stream's *sites*; the model's adapter declares them in the order of the computation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

Pooling = Literal["cls", "mean"]
How = Literal["co", "cross", "gated", "joint", "add", "modulated", "loss"]
TaskKind = Literal["binary", "multiclass", "multilabel"]

POOLINGS: tuple[Pooling, ...] = ("cls", "mean")

BLOCK = "block"
"""The name of a site that is a layer itself, where a name must be written down."""

# By which metric a task is judged; the others are kept beside it.
_METRIC: dict[TaskKind, str] = {
    "binary": "auroc",
    "multilabel": "macro_f1",
    "multiclass": "accuracy",
}

_NAME = "[a-z][a-z0-9_]{0,31}"
_LABEL = re.compile(rf"(0|[1-9][0-9]{{0,3}})(?:\.({_NAME}))?")


@dataclass(frozen=True)
class LayerRef:
    """One place in a stream at which a representation is read.

    ``LayerRef("vision", 4)`` is the output of block 4; ``LayerRef("vision", 4, "fusion")`` is the
    output of the co-attention on entry to block 4. Where a site lies among the others is for its
    :class:`StreamSpec` to say.
    """

    stream: str
    layer: int
    site: str = BLOCK

    def __post_init__(self) -> None:
        if self.layer < 0 or not re.fullmatch(_NAME, self.site):
            raise ValueError(f"no such layer: {self.stream} {self.layer}.{self.site}")

    @property
    def label(self) -> str:
        """``"4"`` or ``"4.fusion"``: how the layer is written in files, URLs and plots."""
        return _label(self.layer, self.site)

    @classmethod
    def parse(cls, stream: str, label: str | int) -> LayerRef:
        """``parse("vision", "4.fusion")``; raises ValueError for anything that is not a layer."""
        match = _LABEL.fullmatch(str(label))
        if match is None or match[2] == BLOCK:
            raise ValueError(f"{label!r} is not a layer; expected a number or e.g. '4.fusion'")
        return cls(stream, int(match[1]), match[2] or BLOCK)


@dataclass(frozen=True)
class Site:
    """A declared place: a layer (``name`` is ``"block"``) or a named place at one, and its width.

    ``pooled``: the model itself has made one vector of the tokens there (CLIP's projection), which
    counts as pooling ``cls``; there is no other.
    """

    layer: int
    width: int
    name: str = BLOCK
    pooled: bool = False

    @property
    def label(self) -> str:
        """``"4"`` or ``"4.fusion"``."""
        return _label(self.layer, self.name)


@dataclass(frozen=True)
class Meet:
    """Where a stream takes another one in.

    ``layer`` is the block whose output is the first plain layer that has seen it; ``site`` is the
    label of the first site that has. ``how``: ``co`` (co-attention), ``cross`` (cross-attention),
    ``gated`` (cross-attention behind a learned gate), ``joint`` (self-attention over both), ``add``
    (features added between blocks), ``modulated`` (features scale and shift what a block computes
    and gate what it adds), ``loss`` (only the training loss compares them: nothing of the other
    stream is in the representation). ``reads`` is the other stream's name, empty where a
    store of version 1 does not say.
    """

    layer: int
    how: How
    reads: str
    site: str


@dataclass(frozen=True)
class StreamSpec:
    """One set of tokens on its way through a model: its sites in order, and where it meets others.

    ``poolings``: how its tokens become one vector; a stream without a summary token has no ``cls``
    (but a site after the model's own pooling has).
    ``note`` is a sentence that belongs beside every plot of the stream, such as that its last layer
    is not read by anything.
    ``space`` names the space that the layers lie in where it is declared that streams share one, as
    two sets of tokens in the same blocks do: streams of one name do. Empty: axes of its own.
    """

    name: str
    modality: str
    sites: tuple[Site, ...]
    meets: tuple[Meet, ...] = ()
    poolings: tuple[Pooling, ...] = POOLINGS
    note: str = ""
    space: str = ""

    def __post_init__(self) -> None:
        plain = [site.layer for site in self.sites if site.name == BLOCK]
        if not plain or plain != list(range(len(plain))):
            raise ValueError(f"the layers of {self.name} must be 0, 1, ..., depth, in order")
        labels = [site.label for site in self.sites]
        if len(set(labels)) != len(labels):
            raise ValueError(f"{self.name} declares a site twice")
        before = -1
        for site in self.sites:
            if site.name == BLOCK:
                before = site.layer
            elif before < 0 or not before <= site.layer <= before + 1:
                raise ValueError(f"{self.name} {site.label} does not lie beside layer {site.layer}")
        for meet in self.meets:
            if not 1 <= meet.layer <= self.depth:
                raise ValueError(
                    f"fusion layer {meet.layer} lies outside 1..{self.depth} of {self.name}"
                )
            if meet.site not in labels:
                raise ValueError(f"{self.name} meets at {meet.site}, which is none of its sites")

    @classmethod
    def of(
        cls,
        name: str,
        modality: str,
        depth: int,
        width: int,
        fusion_layers: Sequence[int] = (),
        *,
        reads: str = "",
        poolings: tuple[Pooling, ...] = POOLINGS,
    ) -> StreamSpec:
        """Layers 0..depth of one width; co-attention on entry to each fusion layer, as in ours."""
        fused = sorted(set(fusion_layers))
        outside = [k for k in fused if not 1 <= k <= depth]
        if outside:
            raise ValueError(f"fusion layers {outside} lie outside 1..{depth} of {name}")
        sites = [Site(0, width)]
        for k in range(1, depth + 1):
            sites += [Site(k, width, "fusion")] if k in fused else []
            sites.append(Site(k, width))
        meets = tuple(Meet(k, "co", reads, f"{k}.fusion") for k in fused)
        return cls(name, modality, tuple(sites), meets, poolings)

    @cached_property
    def depth(self) -> int:
        """The number of blocks."""
        return max(site.layer for site in self.sites if site.name == BLOCK)

    @cached_property
    def width(self) -> int:
        """d of the last layer."""
        return self.width_of(LayerRef(self.name, self.depth))

    @cached_property
    def fusion_layers(self) -> tuple[int, ...]:
        """The layers at which another stream comes in; a meet in the loss brings nothing in."""
        return tuple(sorted({meet.layer for meet in self.meets if meet.how != "loss"}))

    @cached_property
    def layers(self) -> tuple[LayerRef, ...]:
        """Layers 0..depth in order, without the named sites."""
        return tuple(LayerRef(self.name, k) for k in range(self.depth + 1))

    @cached_property
    def refs(self) -> tuple[LayerRef, ...]:
        """Every site in the order of the computation: 0, 1, ..., 4.fusion, 4, ..., 12.norm."""
        return tuple(LayerRef(self.name, site.layer, site.name) for site in self.sites)

    @cached_property
    def _places(self) -> dict[LayerRef, tuple[Site, float]]:
        """{ref: (site, position)}."""
        found: dict[LayerRef, tuple[Site, float]] = {}
        plain = [i for i, site in enumerate(self.sites) if site.name == BLOCK]
        for start, end in pairwise([*plain, len(self.sites)]):
            for step, i in enumerate(range(start, end)):
                site = self.sites[i]
                position = self.sites[start].layer + step / (end - start)
                found[LayerRef(self.name, site.layer, site.name)] = (site, position)
        return found

    def width_of(self, ref: LayerRef) -> int:
        """d at a site; KeyError for one that is not declared."""
        return self._places[ref][0].width

    def poolings_of(self, ref: LayerRef) -> tuple[Pooling, ...]:
        """How tokens become a vector at a site; KeyError for one that is not declared."""
        return ("cls",) if self._places[ref][0].pooled else self.poolings

    def position(self, ref: LayerRef) -> float:
        """Where a site lies on a layer axis: 4 is 4.0, a named site between its neighbours.

        ``4.fusion`` alone between 3 and 4 is 3.5; ``12.norm`` alone after 12 is 12.5. KeyError for
        a site that is not declared.
        """
        return self._places[ref][1]


def _label(layer: int, name: str) -> str:
    return str(layer) if name == BLOCK else f"{layer}.{name}"


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

    ``image`` says where the image is, in the loader's own terms (a path, a seed), ``audio`` and
    ``regions`` likewise; each is None where the dataset has none. ``source`` says where the row
    stands (``"train.jsonl row 12"``), for reports. ``group`` names what the sample has in common
    with others (its photo, its template, its film), "" where the dataset does not say: samples of
    one group are never parted.
    """

    sample_id: str
    text: str
    image: object
    split: str
    source: str
    labels: dict[str, Label] = field(default_factory=dict)
    audio: object = None
    regions: object = None
    group: str = ""
